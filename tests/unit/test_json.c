/* test_json.c: our writer against json_dumpb, and for reals against libc, and the depth check in front of jansson's
 * parser. */
#include "json.h"
#include <check.h>
#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The arena is compiled here once more, over an allocator that can be told to fail; the linker then has no use for the
 * library's own. */
static long heap_allowed = -1; /* allocations that still succeed; below 0: all */

static void *scarce_heap(size_t n)
{
	if (heap_allowed == 0)
		return NULL;
	if (heap_allowed > 0)
		heap_allowed--;
	return malloc(n);
}

#define malloc scarce_heap
#include "base/arena.c"
#undef malloc

#define FLAGS (JSON_COMPACT | JSON_ENCODE_ANY)

static char first[512];
static struct arena arena;

static void setup(void)
{
	arena_init(&arena, first, sizeof(first));
}

static void teardown(void)
{
	arena_reset(&arena);
}

/* xorshift64*: the same values in every run. */
static uint64_t state;

static uint64_t random64(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(2685821657736338717);
}

static unsigned below(unsigned n)
{
	return (unsigned)(random64() >> 33) % n;
}

/* Both writers agree on v, which is given up. */
static void same(json_t *v)
{
	size_t n = json_dumpb(v, NULL, 0, FLAGS);
	char *theirs = malloc(n + 1);
	struct slice ours;

	ck_assert_ptr_nonnull(theirs);
	ck_assert_uint_gt(n, 0);
	ck_assert_uint_eq(json_dumpb(v, theirs, n, FLAGS), n);
	theirs[n] = '\0';
	ck_assert_int_eq(json_write(&arena, v, &ours), 0);
	if (ours.n != n || memcmp(ours.p, theirs, n) != 0)
		ck_abort_msg("ours: %.*s\ntheirs: %s", (int)ours.n, ours.p, theirs);
	free(theirs);
	json_decref(v);
}

/* The digits of a number's text from the first that is not 0 to the last; nothing of 0. */
static size_t digits_of(const char *text, size_t n, char *digits)
{
	size_t count = 0;

	for (size_t i = 0; i < n && text[i] != 'e'; i++)
		if (text[i] >= (count > 0 ? '0' : '1') && text[i] <= '9')
			digits[count++] = text[i];
	while (count > 0 && digits[count - 1] == '0')
		count--;
	return count;
}

/* v is written with the fewest digits that read back as v, and of those the nearest, in JSON's form of a real. */
static void shortest(double v)
{
	char text[40], least[40], digits[40], expected[40];
	json_t *value = json_real(v);
	struct slice ours;
	size_t n;
	int precision = fabs(v) < DBL_MIN ? 0 : 14, exponent;

	ck_assert_int_eq(json_write(&arena, value, &ours), 0);
	json_decref(value);
	ck_assert_uint_lt(ours.n, sizeof(text));
	memcpy(text, ours.p, ours.n);
	text[ours.n] = '\0';
	do
		snprintf(least, sizeof(least), "%.*e", precision, v);
	while (strtod(least, NULL) != v && precision++ < 17);
	n = digits_of(least, strlen(least), expected);
	if (strtod(text, NULL) != v || digits_of(text, ours.n, digits) != n || memcmp(digits, expected, n) != 0)
		ck_abort_msg("%.17g is written as %s, not %s", v, text, least);
	exponent = (int)strtol(strchr(least, 'e') + 1, NULL, 10);
	if (exponent < -4 || exponent >= 17)
		ck_assert_ptr_nonnull(strchr(text, 'e'));
	else
		ck_assert(!strchr(text, 'e') && strchr(text, '.') && text[ours.n - 1] != '.');
}

static json_t *random_string(void)
{
	static const char *const pieces[] = { "a", "hello", "\"", "\\", "/", "\b\f\n\r\t", "\x01\x1f\x7f", "\xc3\xa9",
		"\xe2\x80\xa8", "\xf0\x9f\x98\x80", "0123456789abcdef", "plain text, long enough for a vector or two ",
		"\xed\x9f\xbf",
		"\xef\xbf\xbf", "\xf4\x8f\xbf\xbf" };
	char s[600];
	size_t n = 0;

	for (unsigned i = below(12); i > 0; i--) {
		const char *piece = pieces[below(sizeof(pieces) / sizeof(pieces[0]))];

		memcpy(s + n, piece, strlen(piece));
		n += strlen(piece);
		if (below(20) == 0)
			s[n++] = '\0';
	}
	return json_stringn(s, n);
}

static double random_double(void)
{
	uint64_t bits = random64();
	double v;

	switch (below(6)) {
	case 0:
		return (double)(int64_t)random64();
	case 1:
		return (double)below(1000000) / 100;
	case 2:
		return (double)(int)below(2000) - 1000;
	case 3:
		return ldexp((double)(random64() >> 11), (int)below(300) - 200);
	case 4: /* few digits: exact ties are more likely */
		return ldexp((double)below(4096), (int)below(120) - 60);
	default:
		memcpy(&v, &bits, sizeof(v));
		return isfinite(v) ? v : 0.1;
	}
}

static json_t *random_value(unsigned depth)
{
	json_t *v;
	char key[600];

	switch (below(depth > 0 ? 9 : 7)) {
	case 0:
		return json_null();
	case 1:
		return json_true();
	case 2:
		return json_false();
	case 3:
		return json_integer((json_int_t)(random64() >> below(64)) * (below(2) ? 1 : -1));
	case 4:
		return json_real((double)below(1000000) / 64);  /* so few digits that every jansson writes the same */
	case 5:
	case 6:
		return random_string();
	case 7:
		v = json_array();
		for (unsigned i = below(9); i > 0; i--)
			json_array_append_new(v, random_value(depth - 1));
		return v;
	default:
		v = json_object();
		for (unsigned i = below(9); i > 0; i--) {
			json_t *name = random_string();

			snprintf(key, sizeof(key), "%s", json_string_value(name));
			json_decref(name);
			json_object_set_new(v, key, random_value(depth - 1));
		}
		return v;
	}
}

START_TEST(random_values_are_written_as_jansson_writes_them)
{
	state = 0x9e3779b97f4a7c15;
	for (int i = 0; i < 20000; i++) {
		same(random_value(6));
		arena_reset(&arena);
	}
}
END_TEST

START_TEST(random_doubles_have_the_fewest_digits)
{
	state = 88172645463325252;
	for (int i = 0; i < 100000; i++) {
		shortest(random_double());
		arena_reset(&arena);
	}
}
END_TEST

START_TEST(doubles_at_the_edges_have_the_fewest_digits)
{
	static const double edges[] = { 0.0, -0.0, 1.0, -1.0, 0.1, 0.5, 100.0, 1e5, 1e15, 1e16, 1e17, 1e18, 1e22, 1e23,
		1e-4, 9.9999999999999991e-5, 1e-5, 1e-11, 1e-12, 1e42, 1e43, 1e44, 1e45, 5e-324,
		2.2250738585072014e-308, 2.2250738585072009e-308, 1.7976931348623157e308,
		9007199254740992.0, 9007199254740993.0,
		99999999999999999.0, 0.3, 2.5, 1.0000000000000002, 123456789012345678.0, 4503599627370496.5 };

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		for (int step = -2; step <= 2; step++) {
			double v = edges[i];

			for (int s = 0; s < abs(step); s++)
				v = nextafter(v, step < 0 ? -INFINITY : INFINITY);
			if (isfinite(v)) {
				shortest(v);
				shortest(-v);
			}
		}
	for (int e = -1074; e < 1024; e++) {
		shortest(ldexp(1, e));
		shortest(nextafter(ldexp(1, e), INFINITY));
		shortest(nextafter(ldexp(1, e), 0));
	}
	for (int e = -323; e <= 308; e++) {
		char text[16];

		snprintf(text, sizeof(text), "1e%d", e);
		shortest(strtod(text, NULL));
		shortest(nextafter(strtod(text, NULL), INFINITY));
		shortest(nextafter(strtod(text, NULL), 0));
	}
}
END_TEST

START_TEST(reals_are_written_as_people_write_them)
{
	struct slice out;
	json_t *v = json_pack("[fffffffffff]", 0.1, 300.102, 0.1 + 0.2, -0.0, 2.0, 1e16, 1e17, 0.0001, 0.00001, 5e-324,
		1.7976931348623157e308);

	ck_assert_int_eq(json_write(&arena, v, &out), 0);
	ck_assert(slice_eq(out, SLICE("[0.1,300.102,0.30000000000000004,-0.0,2.0,10000000000000000.0,1e17,0.0001,1e-5,"
		"5e-324,1.7976931348623157e308]")));
	json_decref(v);
}
END_TEST

START_TEST(a_locale_with_a_decimal_comma_changes_nothing)
{
	struct slice out;
	json_t *v = json_pack("[ff]", 1.5, 1.5e300);

	/* Where no such locale is installed the case shows only that the C locale works. */
	if (!setlocale(LC_NUMERIC, "de_DE.UTF-8"))
		setlocale(LC_NUMERIC, "sv_SE.UTF-8");
	ck_assert_int_eq(json_write(&arena, v, &out), 0);
	setlocale(LC_NUMERIC, "C");
	ck_assert(slice_eq(out, SLICE("[1.5,1.5e300]")));
	json_decref(v);
}
END_TEST

START_TEST(integers_of_every_length_are_written)
{
	same(json_integer(INT64_MIN));
	same(json_integer(INT64_MAX));
	same(json_integer(0));
	for (json_int_t p = 1; p < INT64_MAX / 10; p *= 10) {
		same(json_integer(p));
		same(json_integer(p - 1));
		same(json_integer(-p));
		same(json_integer(1 - p));
		same(json_integer(p * 10 - 1));
	}
}
END_TEST

START_TEST(every_byte_is_escaped_at_every_place_of_a_string)
{
	for (int length = 1; length <= 40; length++)
		for (int place = 0; place < length; place++)
			for (int byte = 0; byte < 0x80; byte++) {
				char s[40];

				memset(s, 'x', sizeof(s));
				s[place] = (char)byte;
				same(json_stringn(s, (size_t)length));
				arena_reset(&arena);
			}
}
END_TEST

START_TEST(a_string_of_escapes_alone_grows_the_text)
{
	char s[5000];

	memset(s, 1, sizeof(s));
	same(json_stringn(s, sizeof(s)));
}
END_TEST

START_TEST(keys_are_escaped_and_keep_their_order)
{
	json_t *v = json_object();
	struct slice out;

	json_object_set_new(v, "z\"\n", json_integer(1));
	json_object_set_new(v, "a", json_object());
	json_object_set_new(v, "\xc3\xa9", json_array());
	json_object_setn_new(v, "n\0l", 3, json_null());
	ck_assert_int_eq(json_write(&arena, v, &out), 0);
	ck_assert(slice_eq(out, SLICE("{\"z\\\"\\n\":1,\"a\":{},\"\xc3\xa9\":[],\"n\\u0000l\":null}")));
	same(v);
}
END_TEST

START_TEST(malformed_utf8_is_refused_exactly_where_jansson_refuses_it)
{
	state = 42;
	for (int i = 0; i < 200000; i++) {
		unsigned char s[24];
		size_t n = 1 + below(sizeof(s) - 1);
		struct slice out;
		json_t *v;
		int ours;

		for (size_t k = 0; k < n; k++) {
			static const unsigned char likely[] = { 0x80, 0xbf, 0xc2, 0xc0, 0xdf, 0xe0, 0xed, 0xef, 0xf0,
				0xf4, 0xf5, 0xff, 0xa0, 0x9f, 0x90, 0x8f, 'x' };

			s[k] = likely[below(sizeof(likely))];
		}
		v = json_stringn_nocheck((char *)s, n);
		ours = json_write(&arena, v, &out);
		ck_assert_int_eq(ours, json_dumpb(v, NULL, 0, FLAGS) > 0 ? 0 : -EINVAL);
		json_decref(v);
		arena_reset(&arena);
	}
}
END_TEST

START_TEST(what_is_no_value_is_refused)
{
	struct slice out;
	json_t *v = json_object();

	ck_assert_int_eq(json_write(&arena, NULL, &out), -EINVAL);
	json_object_set_new_nocheck(v, "\xff", json_null());
	ck_assert_int_eq(json_write(&arena, v, &out), -EINVAL);
	json_decref(v);
}
END_TEST

/* An array in an array ... with `levels` brackets. */
static json_t *nested(int levels)
{
	json_t *v = json_array();

	while (--levels > 0)
		v = json_pack(levels % 2 ? "[o]" : "{s:o}", levels % 2 ? (void *)v : (void *)"k", v);
	return v;
}

START_TEST(sixty_four_levels_are_written_and_sixty_five_are_not)
{
	struct slice out;
	json_t *v = nested(JSON_DEPTH_MAX + 1);

	same(nested(JSON_DEPTH_MAX));
	ck_assert_int_eq(json_write(&arena, v, &out), -ELOOP);
	json_decref(v);
}
END_TEST

START_TEST(a_value_that_contains_itself_ends_in_an_error)
{
	struct slice out;
	json_t *a = json_object(), *b = json_object();

	json_object_set_new(a, "b", b); /* a owns b; b borrows a, so that the circle can be undone */
	json_object_set(b, "a", a);
	ck_assert_int_eq(json_write(&arena, a, &out), -ELOOP);
	json_object_del(b, "a");
	json_decref(a);
}
END_TEST

START_TEST(one_value_in_two_places_is_no_circle)
{
	json_t *shared = json_pack("[ii]", 1, 2), *v = json_pack("[OO{sO}]", shared, shared, "k", shared);

	json_decref(shared);
	same(v);
}
END_TEST

START_TEST(a_large_value_grows_over_many_blocks)
{
	json_t *v = json_array();

	for (int i = 0; i < 20000; i++)
		json_array_append_new(v, json_pack("{s:i,s:s}", "id", i, "name", "somebody with a name"));
	same(v);
}
END_TEST

START_TEST(text_is_given_back_after_an_error_and_cut_to_size_after_success)
{
	struct slice out;
	json_t *bad = json_stringn_nocheck("\xff", 1), *good = json_string("x");
	char *at = arena_alloc(&arena, 16);

	ck_assert_int_eq(json_write(&arena, bad, &out), -EINVAL);
	ck_assert_int_eq(json_write(&arena, good, &out), 0);
	ck_assert_ptr_eq((void *)(uintptr_t)arena_alloc(&arena, 1), (void *)(uintptr_t)(out.p + 16));
	ck_assert(out.p - at <= 32);
	json_decref(bad);
	json_decref(good);
}
END_TEST

/* ---- quoting ----------------------------------------------------------------------------------------------------- */

static void check_quote(struct slice s)
{
	char quoted[6 * 40 + 2 + 1], theirs[6 * 40 + 2];
	json_t *v = json_stringn(s.p, s.n);
	size_t n;

	memset(quoted, '#', sizeof(quoted));
	n = json_quote(quoted, s);
	ck_assert_uint_le(n, 6 * s.n + 2);
	ck_assert_int_eq(quoted[6 * s.n + 2], '#');
	ck_assert_uint_eq(json_dumpb(v, theirs, sizeof(theirs), FLAGS), n);
	ck_assert_mem_eq(quoted, theirs, n);
	json_decref(v);
}

START_TEST(quoting_gives_what_jansson_writes)
{
	char s[40];

	check_quote(SLICE(""));
	check_quote(SLICE("\x01\x02\x03"));
	check_quote(SLICE("na\xc3\xafve \"quoted\" \\ /"));
	memset(s, 2, sizeof(s));
	check_quote((struct slice){ s, sizeof(s) });
}
END_TEST

START_TEST(quoting_replaces_malformed_utf8)
{
	char out[100];
	struct slice quoted = { out, json_quote(out, SLICE("a\xff\xc3(\xed\xa0\x80")) };

	ck_assert(slice_eq(quoted, SLICE("\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"")));
}
END_TEST

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

static void refused(const char *text, size_t offset, const char *reason)
{
	const char *why = NULL;
	size_t at = 999;

	ck_assert_ptr_null(json_parse(&arena, slice_of(text), &why, &at));
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, reason) != NULL, "%s: %s", text, why);
	ck_assert_uint_eq(at, offset);
	for (const char *c = why; *c; c++)
		ck_assert_uint_ge((unsigned char)*c, 0x20);
}

START_TEST(any_value_may_stand_at_the_top)
{
	static const char *const texts[] = { "1", "-0.5", "\"s\"", "null", "true", "[]", "{}", " [1, {\"a\": [2]}] " };
	const char *why;
	size_t at;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_t *v = json_parse(&arena, slice_of(texts[i]), &why, &at);

		ck_assert_ptr_nonnull(v);
		same(v);
	}
}
END_TEST

START_TEST(bad_text_is_refused_with_a_reason_and_an_offset)
{
	refused("", 0, "end of file");
	refused("[1,]", 4, "unexpected token");
	refused("[1] x", 5, "end of file expected");
	refused("nul", 3, "invalid token");
	refused("1e999", 5, "overflow");
	refused("99999999999999999999", 20, "too big");
	refused("\"a\nb\"", 2, "unexpected newline");
	refused("\"\xff\"", 1, "unable to decode");
}
END_TEST

START_TEST(a_string_with_nul_is_refused)
{
	refused("\"a\\u0000b\"", 10, "u0000");
	refused("{\"a\\u0000b\":1}", 11, "u0000");
}
END_TEST

START_TEST(the_last_of_two_members_with_one_name_wins)
{
	const char *why;
	size_t at;
	json_t *v = json_parse(&arena, SLICE("{\"a\":1,\"a\":2}"), &why, &at);

	ck_assert_int_eq(json_integer_value(json_object_get(v, "a")), 2);
	json_decref(v);
}
END_TEST

START_TEST(sixty_four_levels_are_read_and_sixty_five_are_not)
{
	char text[2 * (JSON_DEPTH_MAX + 1) + 1];
	const char *why;
	size_t at;
	json_t *v;

	memset(text, '[', JSON_DEPTH_MAX);
	memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	v = json_parse(&arena, (struct slice){ text, 2 * JSON_DEPTH_MAX }, &why, &at);
	ck_assert_ptr_nonnull(v);
	same(v);
	memset(text, '[', JSON_DEPTH_MAX + 1);
	memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
	text[sizeof(text) - 1] = '\0';
	refused(text, JSON_DEPTH_MAX, "64 levels");
}
END_TEST

START_TEST(brackets_in_strings_are_not_levels)
{
	char text[300] = "[\"\\\"\\\\";
	size_t n = strlen(text);
	const char *why;
	size_t at;
	json_t *v;

	memset(text + n, '[', 200);
	memcpy(text + n + 200, "\"]", 3);
	v = json_parse(&arena, slice_of(text), &why, &at);
	ck_assert_ptr_nonnull(v);
	json_decref(v);
}
END_TEST

START_TEST(siblings_are_not_levels)
{
	char text[402] = "[";
	const char *why;
	size_t at;
	json_t *v;

	for (int i = 0; i < 100; i++)
		memcpy(text + 1 + i * 4, "{}, ", 4);
	memcpy(text + 1 + 99 * 4, "[] ]", 4);
	v = json_parse(&arena, (struct slice){ text, 401 }, &why, &at);
	ck_assert_ptr_nonnull(v);
	json_decref(v);
}
END_TEST

START_TEST(empty_text_without_an_address_is_bad_text)
{
	const char *why;
	size_t at;

	ck_assert_ptr_null(json_parse(&arena, (struct slice){ NULL, 0 }, &why, &at));
	ck_assert_ptr_nonnull(why);
}
END_TEST

/* ---- memory that runs out ---------------------------------------------------------------------------------------- */

static long allowed; /* allocations that still succeed; below 0: all */

static void *scarce_malloc(size_t n)
{
	if (allowed == 0)
		return NULL;
	if (allowed > 0)
		allowed--;
	return malloc(n);
}

START_TEST(parsing_survives_the_failure_of_any_allocation)
{
	const struct slice text = SLICE("{\"a\":[1,2.5,\"s\",null],\"b\":{\"c\":true}}");
	json_malloc_t old_malloc;
	json_free_t old_free;
	bool done = false;

	json_get_alloc_funcs(&old_malloc, &old_free);
	json_set_alloc_funcs(scarce_malloc, free);
	for (long n = 0; !done; n++) {
		const char *why = NULL;
		size_t at;
		json_t *v;

		ck_assert_int_lt(n, 1000);
		allowed = n;
		v = json_parse(&arena, text, &why, &at);
		allowed = -1;
		done = v != NULL;
		if (!v)
			ck_assert_ptr_nonnull(why);
		json_decref(v);
	}
	json_set_alloc_funcs(old_malloc, old_free);
}
END_TEST

START_TEST(writing_survives_the_failure_of_any_allocation)
{
	json_t *v = json_array();
	struct slice out;
	int error = -ENOMEM;

	for (int i = 0; i < 3000; i++)
		json_array_append_new(v, json_string("a string of some length"));
	for (long n = 0; error != 0; n++) {
		ck_assert_int_eq(error, -ENOMEM);
		ck_assert_int_lt(n, 1000);
		heap_allowed = n;
		error = json_write(&arena, v, &out);
		heap_allowed = -1;
		if (n == 0)
			ck_assert_int_eq(error, -ENOMEM);
		if (error != 0)
			arena_reset(&arena);
	}
	same(v);
}
END_TEST

static Suite *json_suite(void)
{
	Suite *s = suite_create("json");
	TCase *c = tcase_create("write");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, random_values_are_written_as_jansson_writes_them);
	tcase_add_test(c, random_doubles_have_the_fewest_digits);
	tcase_add_test(c, doubles_at_the_edges_have_the_fewest_digits);
	tcase_add_test(c, reals_are_written_as_people_write_them);
	tcase_add_test(c, a_locale_with_a_decimal_comma_changes_nothing);
	tcase_add_test(c, integers_of_every_length_are_written);
	tcase_add_test(c, every_byte_is_escaped_at_every_place_of_a_string);
	tcase_add_test(c, a_string_of_escapes_alone_grows_the_text);
	tcase_add_test(c, keys_are_escaped_and_keep_their_order);
	tcase_add_test(c, malformed_utf8_is_refused_exactly_where_jansson_refuses_it);
	tcase_add_test(c, what_is_no_value_is_refused);
	tcase_add_test(c, sixty_four_levels_are_written_and_sixty_five_are_not);
	tcase_add_test(c, a_value_that_contains_itself_ends_in_an_error);
	tcase_add_test(c, one_value_in_two_places_is_no_circle);
	tcase_add_test(c, a_large_value_grows_over_many_blocks);
	tcase_add_test(c, text_is_given_back_after_an_error_and_cut_to_size_after_success);
	tcase_add_test(c, writing_survives_the_failure_of_any_allocation);
	tcase_add_test(c, quoting_gives_what_jansson_writes);
	tcase_add_test(c, quoting_replaces_malformed_utf8);
	suite_add_tcase(s, c);

	c = tcase_create("read");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, any_value_may_stand_at_the_top);
	tcase_add_test(c, bad_text_is_refused_with_a_reason_and_an_offset);
	tcase_add_test(c, a_string_with_nul_is_refused);
	tcase_add_test(c, the_last_of_two_members_with_one_name_wins);
	tcase_add_test(c, sixty_four_levels_are_read_and_sixty_five_are_not);
	tcase_add_test(c, brackets_in_strings_are_not_levels);
	tcase_add_test(c, siblings_are_not_levels);
	tcase_add_test(c, empty_text_without_an_address_is_bad_text);
	tcase_add_test(c, parsing_survives_the_failure_of_any_allocation);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(json_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
