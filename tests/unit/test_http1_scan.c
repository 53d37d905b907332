/* test_http1_scan.c: the sets of bytes; every scanner finds the same end of a run and reads no byte too many. */
#include "http1.h"
#include "http1_scan.h"

#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALNUM "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static uint64_t seed = 1;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32);
}

/* ---- the sets ---------------------------------------------------------------------------------------------------- */

static void holds(const struct scan_class *c, const char *members, bool above)
{
	for (unsigned i = 0; scan_at(i); i++)
		for (int b = 0; b < 256; b++) {
			char byte = (char)b;
			bool member = b >= 0x80 ? above : b != 0 && strchr(members, b);

			ck_assert_msg((scan_at(i)->past(c, &byte, 0, 1) == 1) == member, "%s: byte %02x",
				scan_at(i)->name, (unsigned)b);
		}
}

START_TEST(a_token_is_made_of_what_rfc_9110_says)
{
	holds(&scan_token, "!#$%&'*+-.^_`|~" ALNUM, false);
}
END_TEST

START_TEST(a_value_is_made_of_visible_characters_blanks_and_obs_text)
{
	holds(&scan_value, "\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" ALNUM, true);
}
END_TEST

START_TEST(a_path_is_made_of_pchar_and_slashes)
{
	holds(&scan_path, "-_~!$&'()*+,;=:@/" ALNUM, false);
}
END_TEST

START_TEST(a_query_also_holds_what_browsers_do_not_escape)
{
	holds(&scan_query, "-._~!$&'()*+,;=:@/?[]\\^`{|}" ALNUM, false);
}
END_TEST

START_TEST(a_host_is_made_of_unreserved_and_sub_delims)
{
	holds(&scan_host, "-._~!$&'()*+,;=" ALNUM, false);
}
END_TEST

/* ---- agreement --------------------------------------------------------------------------------------------------- */

static const struct scan *scalar(void)
{
	unsigned i = 0;

	while (scan_at(i + 1))
		i++;
	return scan_at(i);
}

/* One page that can be used, between two that cannot. */
static char *island(size_t *page)
{
	char *p;

	*page = (size_t)sysconf(_SC_PAGESIZE);
	p = mmap(NULL, 3 * *page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(mprotect(p + *page, *page, PROT_READ | PROT_WRITE), 0);
	return p + *page;
}

static void agree_on(const char *p, size_t at, size_t end)
{
	static const struct scan_class *const classes[] = { &scan_token, &scan_value, &scan_path, &scan_query,
		&scan_host };
	size_t colon, want_colon, want;

	for (unsigned i = 0; scan_at(i); i++) {
		const struct scan *s = scan_at(i);

		for (size_t c = 0; c < 5; c++)
			if (s->past(classes[c], p, at, end) != scalar()->past(classes[c], p, at, end))
				ck_abort_msg("%s: class %zu, %zu to %zu", s->name, c, at, end);
		want = scalar()->field(p, at, end, &want_colon);
		if (s->field(p, at, end, &colon) != want || colon != want_colon)
			ck_abort_msg("%s: field, %zu to %zu", s->name, at, end);
	}
}

START_TEST(the_scalar_scanner_is_the_last_and_can_be_forced)
{
	ck_assert_str_eq(scalar()->name, "scalar");
	ck_assert_ptr_eq(scan_best(), scan_at(0));
	http1_scan_select(HTTP1_SCAN_SCALAR);
	ck_assert_ptr_eq(scan_best(), scalar());
	http1_scan_select(HTTP1_SCAN_AUTO);
	ck_assert_ptr_eq(scan_best(), scan_at(0));
}
END_TEST

START_TEST(every_scanner_finds_every_end_of_a_run)
{
	char text[200];

	for (size_t end = 0; end <= 130; end++)
		for (size_t stop = 0; stop <= end; stop++) {
			memset(text, 'a', sizeof(text));
			text[stop] = '\r';
			for (size_t at = 0; at <= stop; at += 7)
				agree_on(text, at, end);
		}
}
END_TEST

START_TEST(every_scanner_agrees_on_random_bytes)
{
	static const char likely[] = "abcXYZ09-_.:: \t\r\n%/?=&\x7f\x80\xff;,@[\"";
	size_t page, n;
	char *p = island(&page);

	for (int round = 0; round < 20000; round++) {
		n = rnd() % 150;
		for (size_t i = 0; i < n; i++)
			p[page - n + i] = rnd() % 8 ? 'a' : rnd() % 2 ? (char)rnd() :
				likely[rnd() % (sizeof(likely) - 1)];
		agree_on(p + page - n, n ? rnd() % n : 0, n);
	}
}
END_TEST

START_TEST(no_scanner_reads_behind_or_before_the_slice)
{
	size_t page;
	char *p = island(&page);

	memset(p, 'a', page);
	for (size_t n = 0; n < 100; n++)
		for (size_t at = 0; at <= n; at++) {
			agree_on(p + page - n, at, n);
			agree_on(p, at, n);
		}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http1: scanners");
	TCase *sets = tcase_create("sets"), *same = tcase_create("agreement");
	SRunner *r;
	int failed;

	tcase_add_test(sets, a_token_is_made_of_what_rfc_9110_says);
	tcase_add_test(sets, a_value_is_made_of_visible_characters_blanks_and_obs_text);
	tcase_add_test(sets, a_path_is_made_of_pchar_and_slashes);
	tcase_add_test(sets, a_query_also_holds_what_browsers_do_not_escape);
	tcase_add_test(sets, a_host_is_made_of_unreserved_and_sub_delims);
	tcase_add_test(same, the_scalar_scanner_is_the_last_and_can_be_forced);
	tcase_add_test(same, every_scanner_finds_every_end_of_a_run);
	tcase_add_test(same, every_scanner_agrees_on_random_bytes);
	tcase_add_test(same, no_scanner_reads_behind_or_before_the_slice);
	tcase_set_timeout(same, 60);
	suite_add_tcase(s, sets);
	suite_add_tcase(s, same);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
