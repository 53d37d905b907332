/* test_advice.c: what is advised for which numbers, and for which nothing is. */
#include "advice.h"
#include "base/clock.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MS NS_PER_MS
#define US NS_PER_US

static struct advice got;

/* ---- holds ------------------------------------------------------------------------------------------------------- */

static struct advice_hold report(void)
{
	return (struct advice_hold){ .blocked = 4, .loop = 0, .ns = 412 * MS, .call = "read(fd 17)", .victims = 96,
		.cpus = 2 };
}

START_TEST(a_route_that_blocked_its_loop_four_times_should_be_sync)
{
	struct advice_hold in = report();

	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.evidence, "held loop 0 for 412 ms in read(fd 17), 96 requests waited");
	ck_assert_str_eq(got.remedy, "declare it .sync");
	in.cpu = 3;
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.remedy, "declare it .sync");
	in.call = "";
	in.victims = 1;
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.evidence, "held loop 0 for 412 ms, blocked, 1 request waited");
	in.remedy = "let it call what holds the loop by ol_offload";
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.remedy, in.remedy);
}
END_TEST

START_TEST(a_route_that_computes_on_its_loop_needs_a_pool_as_large_as_the_cpus)
{
	struct advice_hold in = report();

	in.blocked = 1;
	in.cpu = 3;
	in.ns = 2500 * US;
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.evidence, "held loop 0 for 2.5 ms on CPU, 96 requests waited");
	ck_assert_str_eq(got.remedy, "declare it .sync in a pool of about as many threads as CPUs (2)");
}
END_TEST

START_TEST(a_route_that_streams_events_is_not_advised_to_hold_a_thread_for_each)
{
	struct advice_hold in = report();

	in.streams = true;
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.remedy,
		"let ol_offload do what blocks: it streams events, so as .sync each of them would hold a thread");
	in.cpu = 9;
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.remedy,
		"let ol_offload compute: it streams events, so as .sync each of them would hold a thread");
}
END_TEST

START_TEST(a_route_that_was_moved_already_should_be_declared_so)
{
	struct advice_hold in = report();

	in.mover = "the guard";
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.remedy,
		"the guard has moved it to a pool; let its declaration follow: declare it .sync");
	in.cpu = 9;
	in.mover = "someone";
	ck_assert(advice_hold(&in, &got));
	ck_assert_str_eq(got.remedy, "someone has moved it to a pool; let its declaration follow: "
		"declare it .sync in a pool of about as many threads as CPUs (2)");
}
END_TEST

START_TEST(three_holds_are_not_enough)
{
	struct advice_hold in = report();

	in.blocked = 3;
	ck_assert(!advice_hold(&in, &got));
	in.blocked = 0;
	in.cpu = 3;
	ck_assert(!advice_hold(&in, &got));
	in.blocked = in.cpu = 0;        /* what waited for a CPU is in neither */
	ck_assert(!advice_hold(&in, &got));
}
END_TEST

/* ---- short runs -------------------------------------------------------------------------------------------------- */

static struct advice_short brief(void)
{
	return (struct advice_short){ .pool = "default", .runs = 1000, .p99_ns = 10 * US, .p999_ns = 50 * US,
		.hop_ns = 35 * US, .sampled = 16, .stall_ns = 10 * MS };
}

START_TEST(a_route_shorter_than_its_hop_should_be_async)
{
	struct advice_short in = brief();

	ck_assert(advice_short(&in, false, &got));
	ck_assert_str_eq(got.evidence, "ran 1000 times in pool default, 99% of them for at most 10 us and none asleep, "
		"having waited 35 us for a thread on average");
	ck_assert_str_eq(got.remedy, "declare it .async");
}
END_TEST

START_TEST(one_that_slept_or_ran_long_or_seldom_should_stay_where_it_is)
{
	struct advice_short in = brief();

	in.slept = 1;
	ck_assert(!advice_short(&in, false, &got));
	ck_assert(!advice_short(&in, true, &got));
	in = brief();
	in.p99_ns = 50 * US;
	ck_assert(!advice_short(&in, false, &got));
	in = brief();
	in.p999_ns = 25 * MS;
	ck_assert(!advice_short(&in, false, &got));
	in = brief();
	in.runs = 999;
	ck_assert(!advice_short(&in, false, &got));
	in = brief();
	in.sampled = 9;
	ck_assert(!advice_short(&in, false, &got));
	in = brief();
	in.p99_ns = UINT64_MAX;
	ck_assert(!advice_short(&in, false, &got));
}
END_TEST

START_TEST(what_is_said_of_a_short_route_stays_while_it_is_nearly_true)
{
	struct advice_short in = brief();

	in.p99_ns = 50 * US;
	ck_assert(advice_short(&in, true, &got));
	in.runs = 500;
	ck_assert(advice_short(&in, true, &got));
	in.p99_ns = 71 * US;
	ck_assert(!advice_short(&in, true, &got));
	in = brief();
	in.runs = 499;
	ck_assert(!advice_short(&in, true, &got));
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/* 16 threads, always busy for 10 s, 94% blocked; jobs wait 1.5 times as long as they run. */
static struct advice_pool db(void)
{
	return (struct advice_pool){ .setting = ".threads", .threads = 16, .cpus = 8, .threads_max = 10000,
		.window_ns = 10 * NS_PER_S, .jobs = 1600, .waited = 1500, .wait_ns = 240 * NS_PER_S,
		.wait_p99_ns = 210 * MS, .busy_ns = 160 * NS_PER_S, .known = true, .cpu_ns = 8 * NS_PER_S,
		.runnable_ns = 1600 * MS, .age_ns = 10 * NS_PER_S, .done = 1600, .used_max = 16 };
}

/* The same, but computing. */
static struct advice_pool crypt(void)
{
	struct advice_pool in = db();

	in.threads = in.used_max = 4;
	in.cpus = 2;
	in.busy_ns = 40 * NS_PER_S;
	in.cpu_ns = 19 * NS_PER_S;
	in.runnable_ns = 20 * NS_PER_S;
	return in;
}

START_TEST(a_pool_whose_threads_are_blocked_needs_more_of_them)
{
	struct advice_pool in = db();

	ck_assert(advice_threads(&in, false, &got));
	ck_assert_str_eq(got.evidence, "16 threads 94% blocked, queue wait p99 210 ms");
	ck_assert_str_eq(got.remedy, "raise threads to about 40 (.threads)");
}
END_TEST

START_TEST(what_was_refused_counts_among_what_was_there)
{
	struct advice_pool in = db();

	in.refused = 1600;
	ck_assert_uint_eq(advice_threads_wanted(&in), 55);      /* 16 x (1 + 1.5 + 1) = 56 */
}
END_TEST

START_TEST(no_more_threads_than_keep_the_cpus_busy)
{
	struct advice_pool in = db();

	in.cpus = 1;            /* each needs 8 / 158 of one: 19 of them fill it */
	ck_assert_uint_eq(advice_threads_wanted(&in), 20);
	in.runnable_ns += 30 * NS_PER_S;        /* waiting for a CPU is no need for one */
	ck_assert_uint_eq(advice_threads_wanted(&in), 16);
}
END_TEST

START_TEST(no_more_threads_than_memory_allows)
{
	struct advice_pool in = db();

	in.threads_max = 25;
	ck_assert(advice_threads(&in, false, &got));
	ck_assert_str_eq(got.remedy, "raise threads to about 25 (.threads), as many as memory and limits allow");
	in.threads_max = 16;
	ck_assert(!advice_threads(&in, false, &got));
	in.threads_max = 1;
	ck_assert(!advice_threads(&in, false, &got));
	in.threads_max = 0;
	ck_assert(!advice_threads(&in, false, &got));
}
END_TEST

START_TEST(threads_that_compute_are_told_how_many_cpus_there_are)
{
	struct advice_pool in = crypt();

	ck_assert(advice_threads(&in, false, &got));
	ck_assert_str_eq(got.evidence, "4 threads 98% on a CPU or waiting for one, queue wait p99 210 ms");
	ck_assert_str_eq(got.remedy, "CPU-bound: more threads than 2 will not help");
}
END_TEST

START_TEST(fewer_threads_than_cpus_may_become_as_many)
{
	struct advice_pool in = crypt();

	in.threads = in.used_max = 1;
	in.cpus = 4;
	in.busy_ns = in.cpu_ns = 10 * NS_PER_S;
	in.runnable_ns = 0;
	ck_assert(advice_threads(&in, false, &got));
	ck_assert_str_eq(got.evidence, "1 thread 0% blocked, queue wait p99 210 ms");
	ck_assert_str_eq(got.remedy, "raise threads to about 4 (.threads)");
}
END_TEST

START_TEST(a_pool_that_keeps_up_is_left_alone)
{
	struct advice_pool in = db();

	in.waited = 700;        /* most found a thread */
	ck_assert(!advice_threads(&in, false, &got));
	in = db();
	in.wait_p99_ns = 9 * MS;
	ck_assert(!advice_threads(&in, false, &got));
	in = db();
	in.wait_ns = 20 * NS_PER_S;     /* 18 threads would do: hardly more */
	ck_assert(!advice_threads(&in, false, &got));
}
END_TEST

START_TEST(nothing_is_said_of_threads_without_evidence)
{
	struct advice_pool in = db();

	in.known = false;
	ck_assert(!advice_threads(&in, false, &got));
	in = db();
	in.jobs = 19;
	ck_assert(!advice_threads(&in, false, &got));
	in = db();
	in.window_ns = 999 * MS;
	ck_assert(!advice_threads(&in, false, &got));
	in = (struct advice_pool){ .setting = "--pool", .threads = 40, .cpus = 2, .threads_max = 1000, .known = true };
	ck_assert(!advice_threads(&in, false, &got));
	in.threads = 0;
	in.window_ns = 10 * NS_PER_S;
	ck_assert(!advice_threads(&in, true, &got));
}
END_TEST

START_TEST(what_is_said_of_threads_stays_while_it_is_nearly_true)
{
	struct advice_pool in = db();

	in.waited = 500;
	in.wait_p99_ns = 6 * MS;
	in.wait_ns = 24 * NS_PER_S;     /* 18 */
	ck_assert(!advice_threads(&in, false, &got));
	ck_assert(advice_threads(&in, true, &got));
	in.wait_p99_ns = 4 * MS;
	ck_assert(!advice_threads(&in, true, &got));
	in = crypt();
	in.cpu_ns = 13 * NS_PER_S;
	in.runnable_ns = 12 * NS_PER_S;
	in.wait_ns = 0;
	ck_assert(!advice_threads(&in, false, &got));
	ck_assert(advice_threads(&in, true, &got));
}
END_TEST

START_TEST(threads_that_were_never_used_are_told)
{
	struct advice_pool in = { .setting = "--pool", .threads = 40, .cpus = 2, .threads_max = 1000, .known = true,
		.window_ns = 60 * NS_PER_S, .age_ns = 3600 * NS_PER_S, .done = 5000, .used_max = 3 };

	ck_assert(advice_threads(&in, false, &got));
	ck_assert_str_eq(got.evidence, "threads 40, at most 3 were ever used");
	ck_assert_str_eq(got.remedy, "about 6 would do (--pool)");
	in.used_max = 1;
	ck_assert(advice_threads(&in, false, &got));
	ck_assert_str_eq(got.evidence, "threads 40, at most 1 was ever used");
}
END_TEST

START_TEST(threads_that_may_yet_be_used_are_not_told)
{
	struct advice_pool all = { .setting = "--pool", .threads = 40, .cpus = 2, .threads_max = 1000, .known = true,
		.window_ns = 60 * NS_PER_S, .age_ns = 3600 * NS_PER_S, .done = 5000, .used_max = 3 }, in = all;

	in.age_ns = 599 * NS_PER_S;
	ck_assert(!advice_threads(&in, false, &got));
	in = all;
	in.done = 999;
	ck_assert(!advice_threads(&in, false, &got));
	in = all;
	in.used_max = 11;
	ck_assert(!advice_threads(&in, false, &got));
	ck_assert(advice_threads(&in, true, &got));
	in.used_max = 0;
	ck_assert(!advice_threads(&in, false, &got));
	in = all;
	in.threads = 7;
	in.used_max = 1;
	ck_assert(!advice_threads(&in, false, &got));
}
END_TEST

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

START_TEST(who_is_refused_often_is_told_what_to_raise)
{
	struct advice_refused in = { .what = "its queue of 64 being full", .remedy = "raise .threads or .queue",
		.refused = 120, .offered = 1500, .window_ns = 60 * NS_PER_S };

	ck_assert(advice_refused(&in, false, &got));
	ck_assert_str_eq(got.evidence, "refused 120 of 1500 requests (8%) in 60 s, its queue of 64 being full");
	ck_assert_str_eq(got.remedy, "raise .threads or .queue");
}
END_TEST

START_TEST(a_few_refusals_are_what_limits_are_for)
{
	struct advice_refused in = { .what = "", .remedy = "", .refused = 9, .offered = 10, .window_ns = NS_PER_S };

	ck_assert(!advice_refused(&in, false, &got));
	ck_assert(advice_refused(&in, true, &got));
	in.refused = 99;
	in.offered = 10000;
	ck_assert(!advice_refused(&in, false, &got));
	ck_assert(advice_refused(&in, true, &got));
	in.refused = 49;
	ck_assert(!advice_refused(&in, true, &got));
	in = (struct advice_refused){ .what = "", .remedy = "", .window_ns = NS_PER_S };
	ck_assert(!advice_refused(&in, true, &got));
}
END_TEST

/* ---- histograms -------------------------------------------------------------------------------------------------- */

static const uint64_t bounds[] = { 10, 100, 1000, UINT64_MAX };

START_TEST(a_quantile_lies_in_its_bucket)
{
	const uint64_t counts[] = { 0, 90, 10, 0 };

	ck_assert_uint_eq(advice_quantile_bound(bounds, counts, 4, 0.5), 100);
	ck_assert_uint_eq(advice_quantile_bound(bounds, counts, 4, 0.9), 100);
	ck_assert_uint_eq(advice_quantile_bound(bounds, counts, 4, 0.99), 1000);
	ck_assert_uint_eq(advice_quantile_about(bounds, counts, 4, 0.5), 60);
	ck_assert_uint_eq(advice_quantile_about(bounds, counts, 4, 0.95), 550);
	ck_assert_uint_eq(advice_quantile_about(bounds, counts, 4, 1), 1000);
}
END_TEST

START_TEST(what_is_beyond_all_bounds_is_at_least_the_last)
{
	const uint64_t counts[] = { 0, 0, 0, 5 };

	ck_assert_uint_eq(advice_quantile_bound(bounds, counts, 4, 0.5), UINT64_MAX);
	ck_assert_uint_eq(advice_quantile_about(bounds, counts, 4, 0.5), 1000);
}
END_TEST

START_TEST(nothing_has_no_quantile)
{
	const uint64_t counts[] = { 0, 0, 0, 0 };

	ck_assert_uint_eq(advice_quantile_bound(bounds, counts, 4, 0.5), 0);
	ck_assert_uint_eq(advice_quantile_about(bounds, counts, 4, 0.99), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("advice");
	TCase *c = tcase_create("advice");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, a_route_that_blocked_its_loop_four_times_should_be_sync);
	tcase_add_test(c, a_route_that_computes_on_its_loop_needs_a_pool_as_large_as_the_cpus);
	tcase_add_test(c, a_route_that_was_moved_already_should_be_declared_so);
	tcase_add_test(c, three_holds_are_not_enough);
	tcase_add_test(c, a_route_that_streams_events_is_not_advised_to_hold_a_thread_for_each);
	tcase_add_test(c, a_route_shorter_than_its_hop_should_be_async);
	tcase_add_test(c, one_that_slept_or_ran_long_or_seldom_should_stay_where_it_is);
	tcase_add_test(c, what_is_said_of_a_short_route_stays_while_it_is_nearly_true);
	tcase_add_test(c, a_pool_whose_threads_are_blocked_needs_more_of_them);
	tcase_add_test(c, what_was_refused_counts_among_what_was_there);
	tcase_add_test(c, no_more_threads_than_keep_the_cpus_busy);
	tcase_add_test(c, no_more_threads_than_memory_allows);
	tcase_add_test(c, threads_that_compute_are_told_how_many_cpus_there_are);
	tcase_add_test(c, fewer_threads_than_cpus_may_become_as_many);
	tcase_add_test(c, a_pool_that_keeps_up_is_left_alone);
	tcase_add_test(c, nothing_is_said_of_threads_without_evidence);
	tcase_add_test(c, what_is_said_of_threads_stays_while_it_is_nearly_true);
	tcase_add_test(c, threads_that_were_never_used_are_told);
	tcase_add_test(c, threads_that_may_yet_be_used_are_not_told);
	tcase_add_test(c, who_is_refused_often_is_told_what_to_raise);
	tcase_add_test(c, a_few_refusals_are_what_limits_are_for);
	tcase_add_test(c, a_quantile_lies_in_its_bucket);
	tcase_add_test(c, what_is_beyond_all_bounds_is_at_least_the_last);
	tcase_add_test(c, nothing_has_no_quantile);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
