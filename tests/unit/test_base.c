/* test_base.c: arena, buf, clock, list, slice. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

/* ---- arena ------------------------------------------------------------------------------------------------------- */

START_TEST(an_arena_uses_the_memory_it_was_given_first)
{
	_Alignas(16) char first[256];
	struct arena a;
	char *p;

	arena_init(&a, first + 1, sizeof(first) - 1);
	p = arena_alloc(&a, 100);
	ck_assert_ptr_eq(p, first + 16);
	ck_assert_uint_eq(a.heap, 0);
	p = arena_alloc(&a, 200);
	ck_assert(p < first || p >= first + sizeof(first));
	ck_assert_uint_ne(a.heap, 0);
	arena_reset(&a);
	ck_assert_uint_eq(a.heap, 0);
	ck_assert_ptr_eq(arena_alloc(&a, 240), first + 16);
	ck_assert_uint_eq(a.heap, 0);
	arena_reset(&a);
}
END_TEST

START_TEST(memory_too_small_to_align_is_left_alone)
{
	_Alignas(16) char first[32] = { 0 };
	struct arena a;

	arena_init(&a, first + 1, 14);
	memset(arena_alloc(&a, 1), 0xff, 16);
	for (size_t i = 0; i < sizeof(first); i++)
		ck_assert_int_eq(first[i], 0);
	arena_reset(&a);
}
END_TEST

START_TEST(no_bytes_are_still_a_valid_pointer_of_their_own)
{
	struct arena a;
	void *p, *q;

	arena_init(&a, NULL, 0);
	p = arena_alloc(&a, 0);
	q = arena_alloc(&a, 0);
	ck_assert_ptr_nonnull(p);
	ck_assert_ptr_nonnull(q);
	ck_assert_ptr_ne(p, q);
	arena_reset(&a);
}
END_TEST

START_TEST(sizes_that_cannot_be_are_refused)
{
	const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 14, SIZE_MAX - 15, SIZE_MAX - 16, PTRDIFF_MAX };
	struct arena a;

	arena_init(&a, NULL, 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		errno = 0;
		ck_assert_ptr_null(arena_alloc(&a, sizes[i]));
		ck_assert_int_eq(errno, ENOMEM);
	}
	errno = 0;
	ck_assert_ptr_null(arena_strndup(&a, "", SIZE_MAX));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_eq(a.heap, 0);
	ck_assert_ptr_nonnull(arena_alloc(&a, 1));
	arena_reset(&a);
}
END_TEST

START_TEST(pieces_are_aligned_and_never_overlap)
{
	enum { PIECES = 500 };
	static unsigned char *pieces[PIECES];
	static size_t sizes[PIECES];
	char first[1000];
	struct arena a;

	seed = 12345 + (uint64_t)_i;
	arena_init(&a, first, sizeof(first));
	for (size_t i = 0; i < PIECES; i++) {
		sizes[i] = rnd() >> (46 + rnd() % 18);
		pieces[i] = arena_alloc(&a, sizes[i]);
		ck_assert_ptr_nonnull(pieces[i]);
		ck_assert_uint_eq((uintptr_t)pieces[i] % 16, 0);
		memset(pieces[i], (int)(i % 251), sizes[i]);
	}
	for (size_t i = 0; i < PIECES; i++)
		for (size_t k = 0; k < sizes[i]; k++)
			if (pieces[i][k] != i % 251)
				ck_abort_msg("piece %zu was overwritten at %zu", i, k);
	arena_reset(&a);
}
END_TEST

START_TEST(blocks_double_up_to_64_kib)
{
	const size_t totals[] = { 4096, 8192, 16384, 32768, 65536, 131072, 196608 };
	struct arena a;
	size_t seen = 0, before = 0;

	arena_init(&a, NULL, 0);
	while (seen < sizeof(totals) / sizeof(*totals)) {
		ck_assert_ptr_nonnull(arena_alloc(&a, 16));
		if (a.heap != before)
			ck_assert_uint_eq(a.heap, totals[seen++]);
		before = a.heap;
	}
	arena_reset(&a);
}
END_TEST

START_TEST(a_huge_piece_does_not_lose_the_rest_of_the_block)
{
	struct arena a;
	char *p, *q;

	arena_init(&a, NULL, 0);
	p = arena_alloc(&a, 16);
	ck_assert_ptr_nonnull(arena_alloc(&a, 1000000));
	q = arena_alloc(&a, 16);
	ck_assert_ptr_eq(q, p + 16);
	arena_reset(&a);
}
END_TEST

START_TEST(only_the_last_piece_can_be_resized_and_only_within_its_block)
{
	_Alignas(16) char first[128];
	struct arena a;
	char *p, *q;

	arena_init(&a, first, sizeof(first));
	p = arena_alloc(&a, 10);
	q = arena_alloc(&a, 20);
	ck_assert(!arena_resize_last(&a, p, 10, 11));
	ck_assert(arena_resize_last(&a, q, 20, 112));
	ck_assert(!arena_resize_last(&a, q, 112, 113));
	ck_assert(!arena_resize_last(&a, q, 112, SIZE_MAX));
	ck_assert(arena_resize_last(&a, q, 112, 0));
	ck_assert_ptr_eq(arena_alloc(&a, 1), q + 16);
	p = arena_alloc(&a, 100000);
	ck_assert(!arena_resize_last(&a, p, 100000, 100));
	arena_reset(&a);
}
END_TEST

START_TEST(texts_are_formatted_whether_or_not_they_fit)
{
	char first[61], expected[300], pad[256];
	struct arena a;

	memset(pad, 'x', sizeof(pad) - 1);
	pad[sizeof(pad) - 1] = '\0';
	for (int n = 0; n < 255; n++) {
		size_t len = 0;
		char *p;

		arena_init(&a, first, sizeof(first));
		p = arena_printf(&a, &len, "%.*s|%d", n, pad, n);
		snprintf(expected, sizeof(expected), "%.*s|%d", n, pad, n);
		ck_assert_str_eq(p, expected);
		ck_assert_uint_eq(len, strlen(expected));
		memset(arena_alloc(&a, 16), 0, 16);
		ck_assert_str_eq(p, expected);
		arena_reset(&a);
	}
	ck_assert_str_eq(arena_strndup(&a, "abcdef", 3), "abc");
	ck_assert_str_eq(arena_strndup(&a, NULL, 0), "");
	arena_reset(&a);
}
END_TEST

/* ---- buf --------------------------------------------------------------------------------------------------------- */

START_TEST(a_buf_gives_back_what_was_put_in)
{
	struct buf b = { 0 };
	uint64_t put = 0, got = 0;

	seed = 777 + (uint64_t)_i;
	ck_assert_ptr_null(buf_slice(&b).p);
	for (unsigned step = 0; step < 20000; step++) {
		size_t n = rnd() >> (54 + rnd() % 10);

		if (rnd() % 2) {
			unsigned char *p = (unsigned char *)buf_reserve(&b, n);

			for (size_t i = 0; i < n; i++)
				p[i] = (unsigned char)(put++ * 31 >> 3);
			buf_added(&b, n);
		} else {
			struct slice s = buf_slice(&b);

			n = n < s.n ? n : s.n;
			for (size_t i = 0; i < n; i++)
				if ((unsigned char)s.p[i] != (unsigned char)(got++ * 31 >> 3))
					ck_abort_msg("byte %ju is wrong", (uintmax_t)got);
			buf_consume(&b, n);
		}
		if (buf_slice(&b).n != put - got || b.off + b.n > b.cap || (b.n == 0 && b.off != 0))
			ck_abort_msg("broken at step %u", step);
	}
	buf_fini(&b);
	ck_assert_ptr_null(b.p);
}
END_TEST

START_TEST(a_buf_starts_at_256_bytes_and_doubles)
{
	struct buf b = { 0 };

	ck_assert_int_eq(buf_append(&b, "x", 1), 0);
	ck_assert_uint_eq(b.cap, 256);
	ck_assert_ptr_nonnull(buf_reserve(&b, 256));
	ck_assert_uint_eq(b.cap, 512);
	ck_assert_ptr_nonnull(buf_reserve(&b, 5000));
	ck_assert_uint_eq(b.cap, 8192);
	buf_fini(&b);
}
END_TEST

START_TEST(an_emptied_buf_keeps_its_memory)
{
	struct buf b = { 0 };
	char *p;

	ck_assert_int_eq(buf_append(&b, "abc", 3), 0);
	p = b.p;
	buf_consume(&b, 3);
	ck_assert_int_eq(buf_append(&b, NULL, 0), 0);
	ck_assert_ptr_eq(buf_reserve(&b, 256), p);
	buf_fini(&b);
}
END_TEST

START_TEST(a_steady_stream_through_a_buf_does_not_grow_it)
{
	struct buf b = { 0 };
	char piece[100] = { 0 };

	ck_assert_int_eq(buf_append(&b, piece, 50), 0);
	for (int i = 0; i < 100000; i++) {
		if (buf_append(&b, piece, sizeof(piece)) < 0)
			ck_abort();
		buf_consume(&b, sizeof(piece));
	}
	ck_assert_uint_le(b.cap, 512);
	buf_fini(&b);
}
END_TEST

/* `whole` bytes come in pieces of n: how often the memory was made anew, each time no further ahead than promised. */
static int steps_towards(size_t whole, size_t n)
{
	static char piece[4096];
	struct buf b = { 0 };
	size_t cap = 0, wrong = 0;
	int steps = 0;

	while (b.n < whole) {
		size_t take = n < whole - b.n ? n : whole - b.n;

		memset(piece, (int)(b.n % 251), take);
		ck_assert_int_eq(buf_append_towards(&b, piece, take, whole), 0);
		steps += b.cap != cap;
		cap = b.cap;
		ck_assert_uint_le(cap, whole);
		ck_assert_uint_le(cap, b.n * 8 > 2048 ? b.n * 8 : 2048);
	}
	ck_assert_uint_eq(cap, whole);
	for (size_t i = 0; i < whole; i++)      /* an assertion a byte would take seconds */
		wrong += (unsigned char)b.p[i] != i / n * n % 251;
	ck_assert_uint_eq(wrong, 0);
	buf_fini(&b);
	return steps;
}

START_TEST(a_buf_whose_end_is_known_gets_there_in_few_steps)
{
	ck_assert_int_eq(steps_towards(1, 1), 1);
	ck_assert_int_eq(steps_towards(100, 1), 1);
	ck_assert_int_eq(steps_towards(16384, 7), 2);
	ck_assert_int_eq(steps_towards(((size_t)1 << 20) + 1, 4096), 3);
}
END_TEST

START_TEST(a_buf_that_gets_more_than_was_announced_takes_it)
{
	struct buf b = { 0 };

	ck_assert_int_eq(buf_append_towards(&b, "abc", 3, 4), 0);
	ck_assert_int_eq(buf_append_towards(&b, "defg", 4, 4), 0);
	ck_assert_int_eq(buf_append_towards(&b, "h", 1, 0), 0);
	ck_assert(slice_eq(buf_slice(&b), SLICE("abcdefgh")));
	ck_assert_int_eq(buf_append_towards(&b, "", SIZE_MAX - 2, SIZE_MAX), -ENOMEM);
	ck_assert(slice_eq(buf_slice(&b), SLICE("abcdefgh")));
	buf_fini(&b);
}
END_TEST

START_TEST(a_buf_refuses_sizes_that_cannot_be_and_keeps_its_content)
{
	struct buf b = { 0 };

	ck_assert_int_eq(buf_append(&b, "abc", 3), 0);
	errno = 0;
	ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_int_eq(buf_append(&b, "", SIZE_MAX - 2), -ENOMEM);
	ck_assert(slice_eq(buf_slice(&b), SLICE("abc")));
	buf_fini(&b);
}
END_TEST

/* ---- clock ------------------------------------------------------------------------------------------------------- */

static void check_date(time_t t, const char *expected)
{
	char text[HTTP_DATE_LEN + 1] = { 0 };

	http_date_format(text, t);
	ck_assert_str_eq(text, expected);
}

START_TEST(dates_are_written_as_the_standard_shows_them)
{
	check_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");         /* RFC 9110 §5.6.7 */
	check_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
	check_date(-1, "Wed, 31 Dec 1969 23:59:59 GMT");
	check_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
	check_date(4107542399, "Sun, 28 Feb 2100 23:59:59 GMT");
	check_date(253402300799, "Fri, 31 Dec 9999 23:59:59 GMT");
	check_date(253402300800, "Fri, 31 Dec 9999 23:59:59 GMT");
	check_date(INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
	check_date(INT64_MIN, "Mon, 01 Jan 0001 00:00:00 GMT");
}
END_TEST

/* strftime's %Y is not padded to four digits. */
static struct digits {
	char text[12];
} digits(int year)
{
	struct digits d;

	snprintf(d.text, sizeof(d.text), "%04d", year);
	return d;
}

START_TEST(dates_agree_with_the_c_library_from_the_year_1_to_9999)
{
	char text[HTTP_DATE_LEN + 1] = { 0 }, expected[64];

	seed = 4242;
	for (int i = 0; i < 50000; i++) {
		time_t t = (time_t)(rnd() % UINT64_C(315537897600)) - 62135596800;
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(expected, sizeof(expected), "%a, %d %b 0000 %H:%M:%S GMT", &tm);
		memcpy(expected + 12, digits(tm.tm_year + 1900).text, 4);
		http_date_format(text, t);
		if (strcmp(text, expected) != 0)
			ck_abort_msg("%s, not %s", text, expected);
	}
}
END_TEST

START_TEST(the_wall_clock_is_looked_up_every_100_ms_and_no_more)
{
	struct http_date d = { 0 };
	const uint64_t now = 5 * NS_PER_S;
	char text[HTTP_DATE_LEN + 1];
	time_t before, after;

	do {
		d = (struct http_date){ 0 };
		before = time(NULL);
		http_date_text(&d, now);
		after = time(NULL);
	} while (before != after);
	http_date_format(text, before);
	text[HTTP_DATE_LEN] = '\0';
	ck_assert_str_eq(d.text, text);

	d.second = 0;
	memcpy(d.text, "stale", 5);
	ck_assert_int_eq(memcmp(http_date_text(&d, now + 100 * NS_PER_MS - 1), "stale", 5), 0);
	ck_assert_int_ne(memcmp(http_date_text(&d, now + 100 * NS_PER_MS), "stale", 5), 0);
	ck_assert_uint_eq(strlen(d.text), HTTP_DATE_LEN);
}
END_TEST

START_TEST(times_of_the_log_are_iso_8601_with_milliseconds)
{
	char text[ISO_TIME_LEN + 1] = { 0 };

	iso_time_format(text, (struct timespec){ 784111777, 999999999 });
	ck_assert_str_eq(text, "1994-11-06T08:49:37.999Z");
	iso_time_format(text, (struct timespec){ 951782399, 7000000 });
	ck_assert_str_eq(text, "2000-02-28T23:59:59.007Z");
	iso_time_format(text, (struct timespec){ 951782400, 10999999 });
	ck_assert_str_eq(text, "2000-02-29T00:00:00.010Z");
}
END_TEST

START_TEST(deadlines_do_not_wrap)
{
	ck_assert(clock_after_ms(5, -1) == NEVER);
	ck_assert(clock_after_ms(5, 0) == 5);
	ck_assert(clock_after_ms(5, 7) == 5 + 7 * NS_PER_MS);
	ck_assert(clock_after_ms(5, INT64_MAX) == NEVER);
	ck_assert(clock_after_ms(NEVER - 5, 1) == NEVER);
	ck_assert(clock_now_ns() <= clock_now_ns());
}
END_TEST

/* ---- list and slice ---------------------------------------------------------------------------------------------- */

struct item {
	int value;
	struct list node;
};

START_TEST(lists_keep_their_order_when_pushed_spliced_and_popped)
{
	struct item items[6];
	struct list a, b, *node;

	list_init(&a);
	list_init(&b);
	for (int i = 0; i < 6; i++)
		items[i].value = i;
	list_push_back(&a, &items[1].node);
	list_push_back(&a, &items[2].node);
	list_push_front(&a, &items[0].node);
	for (int i = 3; i < 6; i++)
		list_push_back(&b, &items[i].node);
	list_splice(&a, &b);
	ck_assert(list_empty(&b));
	list_splice(&a, &b);
	list_del(&items[4].node);
	list_del(&items[4].node);
	for (int i = 0; i < 6; i++) {
		if (i == 4)
			continue;
		node = list_pop(&a);
		ck_assert_ptr_nonnull(node);
		ck_assert_int_eq(container_of(node, struct item, node)->value, i);
	}
	ck_assert_ptr_null(list_pop(&a));
}
END_TEST

START_TEST(slices_compare_by_content_and_only_letters_fold)
{
	struct slice none = { NULL, 0 };

	ck_assert(slice_eq(none, SLICE("")));
	ck_assert(slice_eq(slice_of("abc"), SLICE("abc")));
	ck_assert(!slice_eq(SLICE("abc"), SLICE("abd")));
	ck_assert(!slice_eq(SLICE("abc"), SLICE("ab")));
	ck_assert(slice_eq_nocase(SLICE("Content-LENGTH"), SLICE("content-length")));
	ck_assert(!slice_eq_nocase(SLICE("@[`{"), SLICE("`{@[")));
	ck_assert(slice_eq_nocase(none, none));
}
END_TEST

static TCase *arena_case(void)
{
	TCase *t = tcase_create("arena");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_arena_uses_the_memory_it_was_given_first);
	tcase_add_test(t, memory_too_small_to_align_is_left_alone);
	tcase_add_test(t, no_bytes_are_still_a_valid_pointer_of_their_own);
	tcase_add_test(t, sizes_that_cannot_be_are_refused);
	tcase_add_loop_test(t, pieces_are_aligned_and_never_overlap, 0, 4);
	tcase_add_test(t, blocks_double_up_to_64_kib);
	tcase_add_test(t, a_huge_piece_does_not_lose_the_rest_of_the_block);
	tcase_add_test(t, only_the_last_piece_can_be_resized_and_only_within_its_block);
	tcase_add_test(t, texts_are_formatted_whether_or_not_they_fit);
	return t;
}

static TCase *buf_case(void)
{
	TCase *t = tcase_create("buf");

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, a_buf_gives_back_what_was_put_in, 0, 4);
	tcase_add_test(t, a_buf_starts_at_256_bytes_and_doubles);
	tcase_add_test(t, an_emptied_buf_keeps_its_memory);
	tcase_add_test(t, a_steady_stream_through_a_buf_does_not_grow_it);
	tcase_add_test(t, a_buf_whose_end_is_known_gets_there_in_few_steps);
	tcase_add_test(t, a_buf_that_gets_more_than_was_announced_takes_it);
	tcase_add_test(t, a_buf_refuses_sizes_that_cannot_be_and_keeps_its_content);
	return t;
}

static TCase *clock_case(void)
{
	TCase *t = tcase_create("clock");

	tcase_add_test(t, dates_are_written_as_the_standard_shows_them);
	tcase_add_test(t, dates_agree_with_the_c_library_from_the_year_1_to_9999);
	tcase_add_test(t, the_wall_clock_is_looked_up_every_100_ms_and_no_more);
	tcase_add_test(t, times_of_the_log_are_iso_8601_with_milliseconds);
	tcase_add_test(t, deadlines_do_not_wrap);
	return t;
}

static TCase *list_case(void)
{
	TCase *t = tcase_create("list and slice");

	tcase_add_test(t, lists_keep_their_order_when_pushed_spliced_and_popped);
	tcase_add_test(t, slices_compare_by_content_and_only_letters_fold);
	return t;
}

int main(void)
{
	Suite *suite = suite_create("base");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, arena_case());
	suite_add_tcase(suite, buf_case());
	suite_add_tcase(suite, clock_case());
	suite_add_tcase(suite, list_case());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
