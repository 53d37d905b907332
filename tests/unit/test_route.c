/* test_route.c: patterns, and the routes that paths find. */
#include <stdlib.h>

/* The arena and the router are compiled here once more, over allocators that can be told to fail; the linker then has
 * no use for the library's own. */
static long heap_allowed = -1; /* allocations that still succeed; below 0: all */

static int heap_refuses(void)
{
	if (heap_allowed > 0)
		heap_allowed--;
	else
		return heap_allowed == 0;
	return 0;
}

static void *scarce_malloc(size_t n)
{
	return heap_refuses() ? NULL : malloc(n);
}

static void *scarce_calloc(size_t n, size_t size)
{
	return heap_refuses() ? NULL : calloc(n, size);
}

static void *scarce_realloc(void *p, size_t n)
{
	return heap_refuses() ? NULL : realloc(p, n);
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#define realloc scarce_realloc
#include "base/arena.c"
#include "route.c"
#undef malloc
#undef calloc
#undef realloc

#include "../fuzz/fuzz_route.c"
#include <check.h>

static struct router *router;
static struct route_match found;

static void setup(void)
{
	router = router_new();
	ck_assert_ptr_nonnull(router);
}

static void teardown(void)
{
	router_free(router);
}

static void add(unsigned method, const char *prefix, const char *path)
{
	char err[256] = "";

	ck_assert_msg(router_add(router, method, prefix, path, path, err, sizeof(err)) == 0, "%s", err);
}

static void get(const char *path)
{
	add(OL_METHOD_GET, "", path);
}

/* Adding fails, and the message holds `hint`. */
static void refused(int error, const char *prefix, const char *path, const char *hint)
{
	char err[512] = "";
	size_t count = router_count(router);

	ck_assert_int_eq(router_add(router, OL_METHOD_GET, prefix, path, NULL, err, sizeof(err)), error);
	ck_assert_msg(strstr(err, hint) != NULL, "%s%s: %s", prefix, path, err);
	ck_assert_ptr_null(strchr(err, '\n'));
	ck_assert_uint_eq(router_count(router), count);
}

static enum route_result look_up(unsigned method, const char *path)
{
	memset(&found, 0xff, sizeof(found));
	return router_match(router, method, slice_of(path), &found);
}

/* The path leads to the pattern, with these values joined by '|'. */
static void leads_to(unsigned method, const char *path, const char *pattern, const char *values)
{
	char joined[256] = "";
	size_t n = 0;

	ck_assert_msg(look_up(method, path) == ROUTE_FOUND, "%s", path);
	ck_assert_str_eq(found.pattern->text, pattern);
	for (unsigned i = 0; i < found.pattern->nparams; i++)
		n += (size_t)snprintf(joined + n, sizeof(joined) - n, "%s%.*s", i ? "|" : "", (int)found.values[i].n,
			found.values[i].p);
	ck_assert_str_eq(joined, values);
	ck_assert_uint_eq(found.allow, 0);
}

static void finds(const char *path, const char *pattern, const char *values)
{
	leads_to(OL_METHOD_GET, path, pattern, values);
}

static void finds_not(const char *path, enum route_result result)
{
	ck_assert_msg(look_up(OL_METHOD_GET, path) == result, "%s", path);
	ck_assert_ptr_null(found.pattern);
}

START_TEST(literals_are_found_whole)
{
	get("/");
	get("/a");
	get("/a/b");
	get("/a/longer-than-one-word-of-the-hash");
	finds("/", "/", "");
	finds("/a", "/a", "");
	finds("/a/b", "/a/b", "");
	finds("/a/longer-than-one-word-of-the-hash", "/a/longer-than-one-word-of-the-hash", "");
	finds_not("/a/longer-than-one-word-of-the-hasH", ROUTE_NOT_FOUND);
	finds_not("/ab", ROUTE_NOT_FOUND);
	finds_not("/A", ROUTE_NOT_FOUND);
	finds_not("/a/b/c", ROUTE_NOT_FOUND);
	finds_not("//", ROUTE_SLASH);
}
END_TEST

START_TEST(an_empty_table_finds_nothing)
{
	finds_not("/", ROUTE_NOT_FOUND);
	finds_not("/a/b", ROUTE_NOT_FOUND);
}
END_TEST

START_TEST(a_parameter_takes_one_segment_that_is_not_empty)
{
	get("/items/{id}");
	get("/items/{id}/parts/{part:int}");
	finds("/items/7", "/items/{id}", "7");
	finds("/items/%2F", "/items/{id}", "%2F");
	finds("/items/7/parts/x", "/items/{id}/parts/{part:int}", "7|x");
	finds_not("/items/", ROUTE_NOT_FOUND);
	finds_not("/items//parts/1", ROUTE_NOT_FOUND);
	finds_not("/items/7/parts", ROUTE_NOT_FOUND);
}
END_TEST

START_TEST(the_rest_may_hold_slashes_and_be_empty)
{
	get("/files/{path:path}");
	finds("/files/", "/files/{path:path}", "");
	finds("/files/a", "/files/{path:path}", "a");
	finds("/files/a/b/", "/files/{path:path}", "a/b/");
	finds("/files//", "/files/{path:path}", "/");
	finds_not("/files", ROUTE_SLASH);
}
END_TEST

START_TEST(the_rest_of_everything)
{
	get("/{path:path}");
	finds("/", "/{path:path}", "");
	finds("//", "/{path:path}", "/");
	finds("/a/b", "/{path:path}", "a/b");
}
END_TEST

START_TEST(literals_win_over_parameters_and_these_over_the_rest)
{
	get("/a/{rest:path}");
	get("/a/{id}");
	get("/a/new");
	get("/a/");
	finds("/a/new", "/a/new", "");
	finds("/a/old", "/a/{id}", "old");
	finds("/a/old/x", "/a/{rest:path}", "old/x");
	finds("/a/new/x", "/a/{rest:path}", "new/x");
	finds("/a/", "/a/", "");
}
END_TEST

START_TEST(a_branch_that_fails_is_left_again)
{
	get("/a/b/c");
	get("/a/{x}/d");
	get("/{x}/b/e");
	get("/{rest:path}");
	finds("/a/b/c", "/a/b/c", "");
	finds("/a/b/d", "/a/{x}/d", "b");
	finds("/a/b/e", "/{x}/b/e", "a");
	finds("/a/b/f", "/{rest:path}", "a/b/f");
	finds("/a/b", "/{rest:path}", "a/b");
}
END_TEST

START_TEST(literals_are_compared_decoded)
{
	get("/na\xc3\xafve/x");
	get("/a-b/{id}");
	finds("/na\xc3\xafve/x", "/na\xc3\xafve/x", "");
	finds("/na%C3%afve/%78", "/na\xc3\xafve/x", "");
	finds("/%61-%62/%63", "/a-b/{id}", "%63");
	finds_not("/a%2Fb", ROUTE_NOT_FOUND);
	finds_not("/a-b%2Fx", ROUTE_NOT_FOUND);
}
END_TEST

START_TEST(an_encoded_segment_of_any_length_is_looked_up_safely)
{
	char literal[ROUTE_LITERAL_MAX + 2] = "/", path[4 * ROUTE_LITERAL_MAX + 2] = "/";

	memset(literal + 1, 'a', ROUTE_LITERAL_MAX);
	get(literal);
	for (size_t n = 1; n <= ROUTE_LITERAL_MAX + 5; n++) {
		memcpy(path + 3 * n - 2, "%61", 4);
		if (n == ROUTE_LITERAL_MAX)
			finds(path, literal, "");
		else
			finds_not(path, ROUTE_NOT_FOUND);
	}
}
END_TEST

START_TEST(methods_of_one_path_name_their_parameters_as_they_like)
{
	add(OL_METHOD_GET, "", "/items/{id:int}");
	add(OL_METHOD_DELETE, "", "/items/{item}");
	leads_to(OL_METHOD_GET, "/items/7", "/items/{id:int}", "7");
	ck_assert_int_eq(found.pattern->params[0].type, ROUTE_INT);
	ck_assert(slice_eq(found.pattern->params[0].name, SLICE("id")));
	leads_to(OL_METHOD_DELETE, "/items/7", "/items/{item}", "7");
	ck_assert_int_eq(found.pattern->params[0].type, ROUTE_STR);
	ck_assert(slice_eq(found.pattern->params[0].name, SLICE("item")));
}
END_TEST

START_TEST(head_is_served_by_get_unless_declared)
{
	add(OL_METHOD_GET, "", "/a");
	add(OL_METHOD_GET, "", "/b");
	add(OL_METHOD_HEAD, "", "/b");
	leads_to(OL_METHOD_HEAD, "/a", "/a", "");
	ck_assert_int_eq(found.pattern->method, OL_METHOD_GET);
	leads_to(OL_METHOD_HEAD, "/b", "/b", "");
	ck_assert_int_eq(found.pattern->method, OL_METHOD_HEAD);
}
END_TEST

#define BIT(m) (1U << OL_METHOD_##m)

START_TEST(a_path_without_the_method_tells_which_it_has)
{
	add(OL_METHOD_GET, "", "/a");
	add(OL_METHOD_DELETE, "", "/{x}");
	add(OL_METHOD_POST, "", "/p");
	ck_assert_int_eq(look_up(OL_METHOD_PUT, "/a"), ROUTE_METHOD);
	ck_assert_uint_eq(found.allow, BIT(GET) | BIT(HEAD) | BIT(DELETE) | BIT(OPTIONS));
	ck_assert_int_eq(look_up(OL_METHOD_OPTIONS, "/p"), ROUTE_METHOD);
	ck_assert_uint_eq(found.allow, BIT(POST) | BIT(DELETE) | BIT(OPTIONS));
	ck_assert_int_eq(look_up(OL_METHOD_HEAD, "/p"), ROUTE_METHOD);
}
END_TEST

START_TEST(a_less_literal_pattern_with_the_method_is_found)
{
	add(OL_METHOD_POST, "", "/a/b");
	add(OL_METHOD_GET, "", "/a/{x}");
	finds("/a/b", "/a/{x}", "b");
	leads_to(OL_METHOD_POST, "/a/b", "/a/b", "");
}
END_TEST

START_TEST(a_slash_too_many_or_too_few_is_told)
{
	get("/a");
	get("/b/");
	add(OL_METHOD_POST, "", "/c/{x}/");
	finds_not("/a/", ROUTE_SLASH);
	finds_not("/b", ROUTE_SLASH);
	finds_not("/c/1", ROUTE_SLASH);
	finds_not("/a//", ROUTE_NOT_FOUND);
	finds_not("/c/", ROUTE_NOT_FOUND);
	ck_assert_int_eq(look_up(OL_METHOD_GET, "/c/1/"), ROUTE_METHOD);
}
END_TEST

START_TEST(both_spellings_may_be_declared)
{
	get("/a");
	get("/a/");
	finds("/a", "/a", "");
	finds("/a/", "/a/", "");
}
END_TEST

START_TEST(a_redirect_never_leads_to_another_host)
{
	get("/{a}");
	get("/{a}/{b}");
	get("/{a}/{b}/");
	get("/");
	finds_not("//evil.example", ROUTE_NOT_FOUND);
	finds_not("//evil.example/", ROUTE_NOT_FOUND);
	finds_not("//evil.example/x/", ROUTE_NOT_FOUND);
	finds_not("//evil.example/x", ROUTE_NOT_FOUND);
}
END_TEST

START_TEST(a_prefix_stands_before_the_path)
{
	add(OL_METHOD_GET, "/api/{tenant}", "/items/{id}");
	add(OL_METHOD_GET, "/api/{tenant}", "/");
	add(OL_METHOD_GET, "/api/{tenant}", "");
	finds("/api/t/items/7", "/api/{tenant}/items/{id}", "t|7");
	finds("/api/t/", "/api/{tenant}/", "t");
	finds("/api/t", "/api/{tenant}", "t");
	refused(-EINVAL, "/api/", "/x", "must not end with '/'");
	refused(-EINVAL, "/", "/x", "must not end with '/'");
	refused(-EINVAL, "api", "/x", "must begin with '/'");
	refused(-EINVAL, "/a/{x}", "/b/{x}", "two parameters");
	refused(-EINVAL, "/a/{x:path}", "/b", "last segment");
}
END_TEST

START_TEST(a_parameter_as_others_write_it_is_refused_with_what_is_right)
{
	refused(-EINVAL, "", "/hello/:name", "\":name\" would match only itself; a parameter is written {name}");
	refused(-EINVAL, "", "/:id(\\d+)/x", "written {id}");
	refused(-EINVAL, "/:tenant", "/x", "written {tenant}");
	refused(-EINVAL, "", "/hello/*", "\"*\" would match only itself; the rest of a path is written {rest:path}");
	refused(-EINVAL, "", "/**", "{rest:path}");
	refused(-EINVAL, "", "/files/*path", "{path:path}");
	refused(-EINVAL, "", "/a/<int:id>", "\"<int:id>\": a parameter is written {name}");
}
END_TEST

START_TEST(a_colon_or_a_star_may_stand_in_a_literal)
{
	get("/jobs/all:cancel");
	get("/a*b/:/::1");
	get("/*.css");
	leads_to(OL_METHOD_GET, "/jobs/all:cancel", "/jobs/all:cancel", "");
}
END_TEST

START_TEST(bad_patterns_are_refused_with_a_hint)
{
	char literal[ROUTE_LITERAL_MAX + 3] = "/";

	refused(-EINVAL, "", "", "begin with '/'");
	refused(-EINVAL, "", "items", "\"/items\"");
	refused(-EINVAL, "", "/{a}{b}", "whole segment");
	refused(-EINVAL, "", "/x{a}", "whole segment");
	refused(-EINVAL, "", "/{a}x", "whole segment");
	refused(-EINVAL, "", "/{a", "whole segment");
	refused(-EINVAL, "", "/a}", "whole segment");
	refused(-EINVAL, "", "/{}", "no name");
	refused(-EINVAL, "", "/{:int}", "no name");
	refused(-EINVAL, "", "/{1a}", "no name");
	refused(-EINVAL, "", "/{a-b}", "no name");
	refused(-EINVAL, "", "/{a:integer}", "int, float, uuid and path");
	refused(-EINVAL, "", "/{a:}", "unknown type");
	refused(-EINVAL, "", "/{a:int:int}", "unknown type");
	refused(-EINVAL, "", "/{a}/{a:int}", "two parameters");
	refused(-EINVAL, "", "/{a:path}/b", "last segment");
	refused(-EINVAL, "", "/{a:path}/", "last segment");
	refused(-EINVAL, "", "/a//b", "empty segment");
	refused(-EINVAL, "", "//", "empty segment");
	refused(-EINVAL, "", "/a/./b", "dot segment");
	refused(-EINVAL, "", "/..", "dot segment");
	refused(-EINVAL, "", "/%41", "not an escape");
	refused(-EINVAL, "", "/a?b", "query");
	refused(-EINVAL, "", "/a#b", "'#'");
	refused(-EINVAL, "", "/a\tb", "0x09");
	refused(-EINVAL, "", "/a\n", "0x0a");
	refused(-EINVAL, "", "/a\"b", "0x22");
	refused(-EINVAL, "", "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}", "more than 16");
	memset(literal + 1, 'x', ROUTE_LITERAL_MAX + 1);
	refused(-EINVAL, "", literal, "longer than");
	finds_not("/a", ROUTE_NOT_FOUND);
}
END_TEST

START_TEST(a_route_without_path_or_method_is_refused)
{
	char err[200];

	ck_assert_int_eq(router_add(router, OL_METHOD_GET, "", NULL, NULL, err, sizeof(err)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "path"));
	ck_assert_int_eq(router_add(router, 0, "", "/x", NULL, err, sizeof(err)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "OL_GET"));
	ck_assert_int_eq(router_add(router, METHODS, "", "/x", NULL, NULL, 0), -EINVAL);
}
END_TEST

START_TEST(patterns_that_cannot_be_told_apart_are_refused_naming_both)
{
	get("/a/{id}");
	get("/f/{p:path}");
	get("/l");
	refused(-EEXIST, "", "/a/{name}", "GET \"/a/{id}\"");
	refused(-EEXIST, "", "/a/{n:int}", "GET \"/a/{n:int}\"");
	refused(-EEXIST, "", "/f/{q:path}", "/f/{p:path}");
	refused(-EEXIST, "", "/l", "\"/l\"");
	add(OL_METHOD_POST, "", "/a/{name}");
	get("/f/{q}");
}
END_TEST

START_TEST(sixteen_parameters_are_given_in_order)
{
	const char *pattern = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p:path}";

	get(pattern);
	finds("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", pattern, "1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16/17");
}
END_TEST

START_TEST(patterns_are_kept_in_order_with_their_data)
{
	static const int data = 7;
	char path[] = "/x/{y:uuid}";

	get("/a");
	ck_assert_int_eq(router_add(router, OL_METHOD_PATCH, "/p", path, &data, NULL, 0), 0);
	memset(path, '#', sizeof(path)); /* it has been copied */
	ck_assert_uint_eq(router_count(router), 2);
	ck_assert_str_eq(router_at(router, 0)->text, "/a");
	ck_assert_str_eq(router_at(router, 1)->text, "/p/x/{y:uuid}");
	ck_assert_uint_eq(router_at(router, 1)->index, 1);
	ck_assert_uint_eq(router_at(router, 1)->method, OL_METHOD_PATCH);
	ck_assert_ptr_eq(router_at(router, 1)->data, &data);
	ck_assert_int_eq(router_at(router, 1)->params[0].type, ROUTE_UUID);
}
END_TEST

START_TEST(patterns_of_one_text_are_a_ring)
{
	const struct route_pattern *p[5];

	get("/a/{x}");
	ck_assert_int_eq(router_add(router, OL_METHOD_PUT, "/a", "/{y}", NULL, NULL, 0), 0);    /* the same paths */
	ck_assert_int_eq(router_add(router, OL_METHOD_POST, "/a", "/{x}", NULL, NULL, 0), 0);
	ck_assert_int_eq(router_add(router, OL_METHOD_DELETE, "", "/a/{x}", NULL, NULL, 0), 0);
	get("/b");
	for (unsigned i = 0; i < 5; i++)
		p[i] = router_at(router, i);
	ck_assert_ptr_eq(p[0]->same->same->same, p[0]);
	ck_assert(p[0]->same == p[2] || p[0]->same == p[3]);
	ck_assert(p[1]->same == p[1] && p[4]->same == p[4]);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(route_is_first(p[i]), i != 2 && i != 3);
}
END_TEST

START_TEST(ten_thousand_routes_are_all_found)
{
	char path[64];

	for (int i = 0; i < 10000; i++) {
		snprintf(path, sizeof(path), "/v%d/things-%d/{id}/%d", i % 7, i, i * 31);
		get(path);
	}
	for (int i = 0; i < 10000; i++) {
		snprintf(path, sizeof(path), "/v%d/things-%d/x/%d", i % 7, i, i * 31);
		ck_assert_int_eq(look_up(OL_METHOD_GET, path), ROUTE_FOUND);
		ck_assert_uint_eq(found.pattern->index, (unsigned)i);
		snprintf(path, sizeof(path), "/v%d/things-%d/x/%d", i % 7, i, i * 31 + 1);
		ck_assert_int_eq(look_up(OL_METHOD_GET, path), ROUTE_NOT_FOUND);
	}
}
END_TEST

START_TEST(random_tables_match_as_when_every_pattern_is_tried)
{
	static const char *const pieces[] = { "a", "b", "c", "%61", "%2f", "{x}", "{y}", "{z:int}", "{r:path}", "",
		"aa" };
	uint64_t x = 88172645463325252;
	char text[4096];

	for (int i = 0; i < 20000; i++) {
		size_t n = 0;

		for (int line = 0; line < 40; line++) {
			bool lookup = line >= 15;

			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d", lookup ? "?" : "",
				(int)(x >> 40) % 3 + 1);
			for (int k = (int)(x >> 33) % 4; k >= 0; k--) {
				x ^= x << 13, x ^= x >> 7, x ^= x << 17;
				n += (size_t)snprintf(text + n, sizeof(text) - n, "/%s", pieces[(x >> 20) % 11]);
			}
			text[n++] = '\n';
		}
		LLVMFuzzerTestOneInput((const uint8_t *)text, n);
	}
}
END_TEST

START_TEST(adding_survives_the_failure_of_any_allocation)
{
	bool failed = true;

	for (long n = 0; failed; n++) {
		struct router *r;
		int error = 0, added = 0;

		ck_assert_int_lt(n, 10000);
		heap_allowed = n;
		r = router_new();
		for (int i = 0; r && error == 0 && i < 200; i++) {
			char path[64], err[200] = "";

			snprintf(path, sizeof(path), "/some/place/%d/{x}/%d", i, i);
			error = router_add(r, OL_METHOD_GET, "", path, NULL, err, sizeof(err));
			if (error) {
				ck_assert_int_eq(error, -ENOMEM);
				ck_assert_ptr_nonnull(strstr(err, "memory"));
			}
			added += error == 0;
		}
		heap_allowed = -1;
		failed = !r || error;
		if (r)
			ck_assert_uint_eq(router_count(r), (size_t)added);
		for (int i = 0; i < added; i++) { /* what was added still works */
			struct route_match m;
			char path[64];

			snprintf(path, sizeof(path), "/some/place/%d/v/%d", i, i);
			ck_assert_int_eq(router_match(r, OL_METHOD_GET, slice_of(path), &m), ROUTE_FOUND);
		}
		router_free(r);
	}
	router_free(NULL);
}
END_TEST

/* ---- values ------------------------------------------------------------------------------------------------------ */

START_TEST(integers_are_signed_and_fit_64_bits)
{
	static const struct {
		const char *text;
		int64_t value;
	} good[] = { { "0", 0 }, { "7", 7 }, { "-7", -7 }, { "007", 7 }, { "-0", 0 },
		{ "9223372036854775807", INT64_MAX }, { "-9223372036854775808", INT64_MIN },
		{ "0000000000000000001", 1 } };
	static const char *const bad[] = { "", "-", "+7", " 7", "7 ", "7.0", "1e3", "0x7", "--7", "9223372036854775808",
		"-9223372036854775809", "9999999999999999999", "18446744073709551617", "00000000000000000001",
		"\xd9\xa3" };
	int64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(route_value_int(slice_of(good[i].text), &v), "%s", good[i].text);
		ck_assert_int_eq(v, good[i].value);
	}
	v = 42;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!route_value_int(slice_of(bad[i]), &v) && v == 42, "%s", bad[i]);
	ck_assert(!route_value_int((struct slice){ NULL, 0 }, &v));
	ck_assert(!route_value_int(SLICE("1\0"), &v));
}
END_TEST

START_TEST(floats_are_decimal_and_finite)
{
	static const struct {
		const char *text;
		double value;
	} good[] = { { "0", 0 }, { "1.5", 1.5 }, { "-1.5e3", -1500 }, { "1E-2", 0.01 }, { "1e+2", 100 },
		{ "007.50", 7.5 }, { "1e-400", 0 }, { "0.1", 0.1 } };
	static const char *const bad[] = { "", "-", ".5", "5.", "1e", "1e+", "+1", " 1", "1 ", "inf", "nan", "-inf",
		"0x1p3", "1e999", "1,5", "1.5.5", "1e5.5", "infinity", "1f" };
	char digits[256];
	double v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(route_value_float(slice_of(good[i].text), &v), "%s", good[i].text);
		ck_assert(v >= good[i].value && v <= good[i].value);
	}
	v = 42;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!route_value_float(slice_of(bad[i]), &v) && v > 41, "%s", bad[i]);
	memset(digits, '0', sizeof(digits));
	ck_assert(route_value_float((struct slice){ digits, 255 }, &v));
	ck_assert(!route_value_float((struct slice){ digits, 256 }, &v));
	ck_assert(!route_value_float(SLICE("1\0"), &v));
	ck_assert(!route_value_float((struct slice){ NULL, 0 }, &v));
}
END_TEST

START_TEST(uuids_are_36_characters_in_either_case)
{
	static const char *const bad[] = { "", "6ba7b810-9dad-11d1-80b4-00c04fd430c",
		"6ba7b810-9dad-11d1-80b4-00c04fd430c80",
		"6ba7b8109dad11d180b400c04fd430c8", "6ba7b810-9dad-11d1-80b4_00c04fd430c8",
		"6ba7b810-9dad-11d1-80b4-00c04fd430g8",
		"{6ba7b810-9dad-11d1-80b4-00c04fd430}", "6ba7b81-09dad-11d1-80b4-00c04fd430c8" };

	ck_assert(route_value_uuid(SLICE("6ba7b810-9dad-11d1-80b4-00c04fd430c8")));
	ck_assert(route_value_uuid(SLICE("6BA7B810-9DAD-11D1-80B4-00C04FD430C8")));
	ck_assert(route_value_uuid(SLICE("00000000-0000-0000-0000-000000000000")));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!route_value_uuid(slice_of(bad[i])), "%s", bad[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("route");
	TCase *c = tcase_create("route");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 100);
	tcase_add_test(c, literals_are_found_whole);
	tcase_add_test(c, an_empty_table_finds_nothing);
	tcase_add_test(c, a_parameter_takes_one_segment_that_is_not_empty);
	tcase_add_test(c, the_rest_may_hold_slashes_and_be_empty);
	tcase_add_test(c, the_rest_of_everything);
	tcase_add_test(c, literals_win_over_parameters_and_these_over_the_rest);
	tcase_add_test(c, a_branch_that_fails_is_left_again);
	tcase_add_test(c, literals_are_compared_decoded);
	tcase_add_test(c, an_encoded_segment_of_any_length_is_looked_up_safely);
	tcase_add_test(c, methods_of_one_path_name_their_parameters_as_they_like);
	tcase_add_test(c, head_is_served_by_get_unless_declared);
	tcase_add_test(c, a_path_without_the_method_tells_which_it_has);
	tcase_add_test(c, a_less_literal_pattern_with_the_method_is_found);
	tcase_add_test(c, a_slash_too_many_or_too_few_is_told);
	tcase_add_test(c, both_spellings_may_be_declared);
	tcase_add_test(c, a_redirect_never_leads_to_another_host);
	tcase_add_test(c, a_prefix_stands_before_the_path);
	tcase_add_test(c, a_parameter_as_others_write_it_is_refused_with_what_is_right);
	tcase_add_test(c, a_colon_or_a_star_may_stand_in_a_literal);
	tcase_add_test(c, bad_patterns_are_refused_with_a_hint);
	tcase_add_test(c, a_route_without_path_or_method_is_refused);
	tcase_add_test(c, patterns_that_cannot_be_told_apart_are_refused_naming_both);
	tcase_add_test(c, sixteen_parameters_are_given_in_order);
	tcase_add_test(c, patterns_are_kept_in_order_with_their_data);
	tcase_add_test(c, patterns_of_one_text_are_a_ring);
	tcase_add_test(c, ten_thousand_routes_are_all_found);
	tcase_add_test(c, random_tables_match_as_when_every_pattern_is_tried);
	tcase_add_test(c, adding_survives_the_failure_of_any_allocation);
	tcase_add_test(c, integers_are_signed_and_fit_64_bits);
	tcase_add_test(c, floats_are_decimal_and_finite);
	tcase_add_test(c, uuids_are_36_characters_in_either_case);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
