/* test_lab_stats.c: times in buckets, and medians. */
#include "cli/lab_stats.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct histogram h;

static void setup(void)
{
	memset(&h, 0, sizeof(h));
}

static void close_to(double got, double expected, double part)
{
	ck_assert_msg(got >= expected * (1 - part) && got <= expected * (1 + part), "%f is not %f", got, expected);
}

START_TEST(an_empty_histogram_has_no_times)
{
	ck_assert_double_eq(histogram_us(&h, 0.5), 0);
	ck_assert_double_eq(histogram_us(&h, 1), 0);
}
END_TEST

START_TEST(short_times_are_kept_to_the_microsecond)
{
	for (unsigned us = 0; us < 128; us++) {
		setup();
		histogram_add(&h, us);
		histogram_add(&h, 1000000);
		ck_assert_double_eq(histogram_us(&h, 0.5), us);
	}
}
END_TEST

START_TEST(no_time_is_off_by_more_than_a_hundredth)
{
	for (uint64_t us = 1; us < UINT64_C(30000000000); us += us / 7 + 1) {
		setup();
		histogram_add(&h, us);
		histogram_add(&h, us * 2);
		close_to(histogram_us(&h, 0.5), (double)us, 0.008);
	}
}
END_TEST

START_TEST(percentiles_are_by_nearest_rank)
{
	for (unsigned us = 1; us <= 100; us++)
		histogram_add(&h, us);
	ck_assert_double_eq(histogram_us(&h, 0), 1);
	ck_assert_double_eq(histogram_us(&h, 0.01), 1);
	ck_assert_double_eq(histogram_us(&h, 0.5), 50);
	ck_assert_double_eq(histogram_us(&h, 0.501), 51);
	ck_assert_double_eq(histogram_us(&h, 0.99), 99);
	ck_assert_double_eq(histogram_us(&h, 0.999), 100);
	ck_assert_double_eq(histogram_us(&h, 1), 100);
}
END_TEST

START_TEST(no_percentile_is_above_the_longest)
{
	histogram_add(&h, 50001);
	ck_assert_double_le(histogram_us(&h, 0.5), 50001);
	ck_assert_double_le(histogram_us(&h, 1), 50001);
	ck_assert_uint_eq(h.max_us, 50001);
}
END_TEST

START_TEST(a_time_beyond_all_bounds_is_counted)
{
	histogram_add(&h, UINT64_MAX);
	histogram_add(&h, UINT64_C(1) << 40);
	ck_assert_uint_eq(h.n, 2);
	ck_assert_double_gt(histogram_us(&h, 0.1), 9 * 3600e6);
}
END_TEST

START_TEST(merged_histograms_have_the_times_of_both)
{
	static struct histogram other;

	for (unsigned us = 1; us <= 50; us++)
		histogram_add(us % 2 ? &h : &other, us);
	histogram_merge(&h, &other);
	ck_assert_uint_eq(h.n, 50);
	ck_assert_uint_eq(h.max_us, 50);
	ck_assert_double_eq(histogram_us(&h, 0.5), 25);
}
END_TEST

START_TEST(the_median_is_the_middle_one_or_between_the_middle_two)
{
	double odd[] = { 9, 1, 5 }, even[] = { 4, 1, 100, 2 }, one[] = { 7 };

	ck_assert_double_eq(stats_median(odd, 3), 5);
	ck_assert_double_eq(stats_median(even, 4), 3);
	ck_assert_double_eq(stats_median(one, 1), 7);
	ck_assert_double_eq(stats_median(one, 0), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab_stats");
	TCase *c = tcase_create("lab_stats");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_test(c, an_empty_histogram_has_no_times);
	tcase_add_test(c, short_times_are_kept_to_the_microsecond);
	tcase_add_test(c, no_time_is_off_by_more_than_a_hundredth);
	tcase_add_test(c, percentiles_are_by_nearest_rank);
	tcase_add_test(c, no_percentile_is_above_the_longest);
	tcase_add_test(c, a_time_beyond_all_bounds_is_counted);
	tcase_add_test(c, merged_histograms_have_the_times_of_both);
	tcase_add_test(c, the_median_is_the_middle_one_or_between_the_middle_two);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
