/*
 * test_pool_codel.c: the order of a pool's jobs while it is overloaded, when that begins and when it ends.
 */
#include "pool_queue_fixture.h"

#define TARGET (5 * NS_PER_MS)
#define INTERVAL (100 * NS_PER_MS)

static void set_up_codel(void)
{
	set_up();
	pool_queue_init(&q, true, TARGET, INTERVAL, now);
}

/* A range that may be shed. */
static void put_range_for_clients(unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++)
		jobs[i].expired = expired;
	put_range(first, n);
}

/* n jobs have waited `wait` when one of them is taken, and the others are removed. */
static void serve_one_after(unsigned n, uint64_t wait)
{
	put_range_for_clients(900, n);
	now += wait;
	ck_assert_int_ge(take(), 900);
	for (unsigned i = 900; i < 900 + n; i++)
		if (jobs[i].queue)
			pool_queue_remove(&q, &jobs[i]);
}

/* Every wait of an interval is over the target, and the interval ends: with `now` overload begins. */
static void overload(void)
{
	uint64_t end = now + 2 * INTERVAL;

	while (!q.overloaded) {
		ck_assert_uint_lt(now, end);
		serve_one_after(2, TARGET + 1);
	}
	ck_assert_uint_gt(q.window_end_ns, now);
	forget_lost();
}

START_TEST(a_whole_interval_of_long_waits_is_overload)
{
	uint64_t end = now + INTERVAL;

	while (now + TARGET + 1 < end) {
		serve_one_after(2, TARGET + 1);
		ck_assert(!q.overloaded);
	}
	serve_one_after(2, TARGET + 1);
	ck_assert(q.overloaded);
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

START_TEST(one_short_wait_in_each_interval_means_that_there_is_none)
{
	for (unsigned i = 0; i < 200; i++) {
		serve_one_after(2, i % 10 == 0 ? TARGET : 3 * TARGET / 2);
		ck_assert(!q.overloaded);
	}
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

START_TEST(a_burst_that_is_over_within_an_interval_is_none)
{
	put_range_for_clients(0, 30);
	for (int i = 0; i < 30; i++) {
		now += 2 * NS_PER_MS;
		ck_assert_int_eq(take(), i);
	}
	ck_assert_int_eq(take(), -1);           /* a worker that finds nothing saw a wait of 0 */
	now += INTERVAL / 2;
	put_range_for_clients(30, 2);
	now += 3 * TARGET;
	ck_assert_int_eq(take(), 30);
	ck_assert(!q.overloaded);
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

START_TEST(one_long_wait_after_a_quiet_time_is_no_overload)
{
	for (int i = 0; i < 3; i++) {
		now += 7 * INTERVAL;            /* nobody came, and then one had to wait for a thread to start */
		put_range_for_clients(0, 1);
		now += 4 * TARGET;
		ck_assert_int_eq(take(), 0);
		ck_assert(!q.overloaded);
		ck_assert_int_eq(take(), -1);
	}
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

START_TEST(while_overloaded_the_newest_goes_first)
{
	overload();
	for (unsigned i = 0; i < 5; i++) {
		put_range_for_clients(i, 1);
		now += NS_PER_MS;
	}
	for (int i = 4; i >= 0; i--)
		ck_assert_int_eq(take(), i);
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

START_TEST(while_overloaded_high_still_goes_first_and_not_always)
{
	overload();
	for (unsigned i = 0; i < 20; i++)
		jobs[i].priority = i >= 2;
	put_range_for_clients(0, 20);
	for (int i = 19; i >= 12; i--)
		ck_assert_int_eq(take(), i);
	ck_assert_int_eq(take(), 1);
	ck_assert_int_eq(take(), 11);
}
END_TEST

START_TEST(while_overloaded_who_waited_over_twice_the_target_is_given_up)
{
	overload();
	jobs[1].priority = 1;
	put_range_for_clients(0, 3);
	now += 1;
	put_range_for_clients(3, 1);
	now += 2 * TARGET - 1;
	ck_assert_int_eq(take(), 3 - 2);        /* exactly twice is not over it */
	ck_assert(!pool_lost_any(&lost));
	now += 1;
	ck_assert_int_eq(take(), 3);
	ck_assert_uint_eq(count_lost(POOL_SHED), 2);
	ck_assert_int_eq(first_lost(POOL_SHED), 0);
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 0);
	ck_assert_uint_eq(q.queued, 0);
}
END_TEST

START_TEST(a_job_that_cannot_be_shed_goes_first_once_it_has_waited_that_long)
{
	overload();
	put_range_for_clients(0, 1);
	put_range(1, 1);
	put_range_for_clients(2, 1);
	now += 2 * TARGET + 1;
	put_range_for_clients(3, 2);
	ck_assert_int_eq(take(), 1);
	ck_assert_uint_eq(count_lost(POOL_SHED), 1);    /* 2 stood behind it, and is given up when it is seen */
	ck_assert_int_eq(take(), 4);
	ck_assert_uint_eq(count_lost(POOL_SHED), 2);
	ck_assert_int_eq(take(), 3);
}
END_TEST

START_TEST(overload_ends_with_an_interval_in_which_somebody_waited_less)
{
	overload();
	serve_one_after(1, TARGET / 2);
	ck_assert(q.overloaded);
	while (q.overloaded)
		serve_one_after(1, TARGET + 1);
	ck_assert_uint_le(now, q.window_end_ns);
	put_range_for_clients(0, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(take(), i);
}
END_TEST

/* One job a millisecond more than can be served: what is left over stands in the queue until it is shed. */
START_TEST(serving_the_newest_at_once_does_not_look_like_recovery)
{
	unsigned newest = 0, served_newest = 0;

	for (unsigned ms = 0; ms < 450; ms++) {
		put_range_for_clients(newest, 2);
		newest += 2;
		served_newest += take() == (int)newest - 1;
		now += NS_PER_MS;
		ck_assert(q.overloaded == (ms >= 200));
	}
	ck_assert_uint_eq(served_newest, 250);
	ck_assert_uint_gt(count_lost(POOL_SHED), 400);
	ck_assert_uint_le(q.queued, 2 * TARGET / NS_PER_MS + 2);
}
END_TEST

START_TEST(overload_is_forgotten_when_nobody_came_for_a_while)
{
	overload();
	serve_one_after(1, TARGET + 1);
	now += 3600 * NS_PER_S;
	put_range_for_clients(0, 3);
	ck_assert_int_eq(take(), 0);
	ck_assert(!q.overloaded);
	now += 3 * TARGET;
	ck_assert_int_eq(take(), 1);
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

START_TEST(an_interval_without_any_worker_is_judged_by_the_oldest_and_sweeps_shed)
{
	uint64_t due;

	ck_assert_uint_eq(pool_queue_due(&q), NEVER);
	put_range_for_clients(0, 3);
	due = pool_queue_due(&q);
	ck_assert_uint_eq(due, now + INTERVAL);
	now = due - 1;
	ck_assert_uint_eq(sweep(), due);
	put_range_for_clients(3, 1);
	now = due;
	due = sweep();
	ck_assert(q.overloaded);
	ck_assert_uint_eq(count_lost(POOL_SHED), 3);
	ck_assert_uint_eq(due, now + 2 * TARGET);       /* when the last will have waited too long */
	now = due;
	ck_assert_uint_eq(sweep(), NEVER);
	ck_assert_uint_eq(count_lost(POOL_SHED), 4);
}
END_TEST

START_TEST(an_interval_without_any_worker_and_with_nobody_waiting_long_is_none)
{
	now += INTERVAL - TARGET;
	put_range_for_clients(0, 2);
	now += TARGET;
	sweep();
	ck_assert(!q.overloaded);
	now += INTERVAL;
	sweep();
	ck_assert(q.overloaded);
}
END_TEST

START_TEST(a_job_that_cannot_be_shed_makes_no_sweep_due_again_and_again)
{
	unsigned sweeps = 0;
	uint64_t end;

	overload();
	put_range(0, 2);
	end = now + 10 * INTERVAL;
	while (now < end) {
		now = pool_queue_due(&q);
		sweep();
		sweeps++;
	}
	ck_assert_uint_le(sweeps, 11);
	ck_assert(!pool_lost_any(&lost));
	ck_assert_int_eq(take(), 0);
}
END_TEST

START_TEST(what_expires_and_would_be_shed_is_given_up_once)
{
	overload();
	for (unsigned i = 0; i < 4; i++)
		put_with_time(i, now + (i % 2 ? TARGET : NS_PER_S));
	now += 3 * TARGET;
	sweep();
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 2);
	ck_assert_uint_eq(count_lost(POOL_SHED), 2);
	ck_assert_uint_eq(pool_queue_due(&q), NEVER);
}
END_TEST

int main(void)
{
	TCase *codel = tcase_create("CoDel");

	tcase_add_test(codel, a_whole_interval_of_long_waits_is_overload);
	tcase_add_test(codel, one_short_wait_in_each_interval_means_that_there_is_none);
	tcase_add_test(codel, a_burst_that_is_over_within_an_interval_is_none);
	tcase_add_test(codel, one_long_wait_after_a_quiet_time_is_no_overload);
	tcase_add_test(codel, while_overloaded_the_newest_goes_first);
	tcase_add_test(codel, while_overloaded_high_still_goes_first_and_not_always);
	tcase_add_test(codel, while_overloaded_who_waited_over_twice_the_target_is_given_up);
	tcase_add_test(codel, a_job_that_cannot_be_shed_goes_first_once_it_has_waited_that_long);
	tcase_add_test(codel, overload_ends_with_an_interval_in_which_somebody_waited_less);
	tcase_add_test(codel, serving_the_newest_at_once_does_not_look_like_recovery);
	tcase_add_test(codel, overload_is_forgotten_when_nobody_came_for_a_while);
	tcase_add_test(codel, an_interval_without_any_worker_is_judged_by_the_oldest_and_sweeps_shed);
	tcase_add_test(codel, an_interval_without_any_worker_and_with_nobody_waiting_long_is_none);
	tcase_add_test(codel, a_job_that_cannot_be_shed_makes_no_sweep_due_again_and_again);
	tcase_add_test(codel, what_expires_and_would_be_shed_is_given_up_once);

	return run_queue_suite("pool codel", &codel, 1, set_up_codel);
}
