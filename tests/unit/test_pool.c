/*
 * test_pool.c: the pool's queue: order, admission, the limit while it is changed, taking jobs back.
 */
#include "pool_fixture.h"

#include <sched.h>
#include <stdlib.h>

/* ---- order and admission ----------------------------------------------------------------------------------------- */

START_TEST(jobs_begin_in_the_order_in_which_they_were_spliced)
{
	make_pool(1, MANY, 0);
	submit(0, 50, run_held);
	submit(50, 1, run_held);
	submit(51, MANY - 51, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	ck_assert_uint_eq(stats().queued, MANY - 1);
	let_go(MANY);
	EVENTUALLY(atomic_load(&ended) == MANY);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_ptr_eq(order[i], &jobs[i]);
	ck_assert_uint_eq(stats().started, 1);
}
END_TEST

START_TEST(admission_stops_exactly_at_threads_plus_queue)
{
	struct pool_batch batch = { 0 };

	make_pool(2, 3, 0);
	prepare(&batch, 0, 5, run_held);
	ck_assert(!pool_admit(pool));
	pool_splice(pool, &batch);
	ck_assert(!pool_admit(pool));
	EVENTUALLY(atomic_load(&begun) == 2);
	ck_assert(!pool_admit(pool));
	ck_assert_uint_eq(stats().rejected, 3);
	ck_assert_uint_eq(stats().queued, 3);

	let_go(1);
	EVENTUALLY(stats().done == 1);
	submit(5, 1, run_held);
	ck_assert(!pool_admit(pool));
	let_go(5);
	EVENTUALLY(stats().done == 6);
}
END_TEST

START_TEST(resizing_moves_the_bound_of_admission)
{
	struct pool_batch batch = { 0 };

	make_pool(1, 1, 0);
	prepare(&batch, 0, 2, run_at_once);
	ck_assert(!pool_admit(pool));
	pool_resize(pool, 1, 3);
	prepare(&batch, 2, 2, run_at_once);
	ck_assert(!pool_admit(pool));
	pool_resize(pool, 1, 0);
	ck_assert(!pool_admit(pool));
	ck_assert_uint_eq(stats().queue_max, 0);
	pool_splice(pool, &batch);
	EVENTUALLY(stats().done == 4);
	submit(0, 1, run_at_once);
	EVENTUALLY(stats().done == 5);
}
END_TEST

static atomic_uint admitted_inside, admitted_peak, admitted;
static pthread_barrier_t start_line;

static void *admit_many(void *arg)
{
	unsigned got = 0;

	pthread_barrier_wait(&start_line);
	for (unsigned i = 0; i < *(unsigned *)arg; i++)
		got += pool_admit(pool);
	atomic_fetch_add(&admitted, got);
	return NULL;
}

START_TEST(threads_that_admit_at_once_share_exactly_the_places_there_are)
{
	pthread_t threads[4];
	unsigned tries = 50000;

	atomic_store(&admitted, 0);
	pthread_barrier_init(&start_line, NULL, 4);
	make_pool(1, 99999, 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, admit_many, &tries), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start_line);
	ck_assert_uint_eq(atomic_load(&admitted), 100000);
	ck_assert_uint_eq(stats().rejected, 100000);
}
END_TEST

static void *come_and_go(void *arg)
{
	unsigned refused = 0;

	pthread_barrier_wait(&start_line);
	for (unsigned i = 0; i < *(unsigned *)arg; i++) {
		if (pool_admit(pool))
			pool_unadmit(pool);
		else
			refused++;
	}
	atomic_fetch_add(&admitted, *(unsigned *)arg - refused);
	return NULL;
}

START_TEST(nobody_is_refused_while_there_is_a_place_for_each)
{
	pthread_t threads[3];
	unsigned times = 100000;

	atomic_store(&admitted, 0);
	pthread_barrier_init(&start_line, NULL, 3);
	make_pool(1, 2, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, &times), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start_line);
	ck_assert_uint_eq(atomic_load(&admitted), 300000);
	ck_assert_uint_eq(stats().rejected, 0);
}
END_TEST

#define CHURN_JOBS 2000

struct churn_job {
	struct pool_job job;
	atomic_bool busy;
};

static void run_churn(struct pool_job *job)
{
	atomic_fetch_sub(&admitted_inside, 1);
	atomic_store(&((struct churn_job *)job)->busy, false);
}

/* Counts itself inside only when it is admitted, and no more before its place is given back: never above the bound. */
static void *churn(void *arg)
{
	struct churn_job mine[8];

	(void)arg;
	memset(mine, 0, sizeof(mine));
	for (unsigned done = 0; done < CHURN_JOBS;) {
		struct churn_job *c = &mine[done % 8];
		struct pool_batch batch = { 0 };
		unsigned highest, now_inside;

		if (atomic_load(&c->busy) || !pool_admit(pool)) {
			sched_yield();
			continue;
		}
		done++;
		now_inside = atomic_fetch_add(&admitted_inside, 1) + 1;
		highest = atomic_load(&admitted_peak);
		while (now_inside > highest && !atomic_compare_exchange_weak(&admitted_peak, &highest, now_inside))
			;
		atomic_store(&c->busy, true);
		c->job.run = run_churn;
		pool_batch_add(&batch, &c->job);
		pool_splice(pool, &batch);
	}
	for (unsigned i = 0; i < 8; i++)
		EVENTUALLY(!atomic_load(&mine[i].busy));
	return NULL;
}

START_TEST(the_bound_holds_while_jobs_come_and_go)
{
	pthread_t threads[3];

	atomic_store(&admitted_inside, 0);
	atomic_store(&admitted_peak, 0);
	make_pool(2, 3, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_le(atomic_load(&admitted_peak), 5);
	EVENTUALLY(stats().done == 3 * CHURN_JOBS);
	ck_assert_uint_ge(atomic_load(&admitted_peak), 3);
}
END_TEST

/* ---- the limit --------------------------------------------------------------------------------------------------- */

START_TEST(raising_the_limit_starts_waiting_jobs_at_once)
{
	make_pool(1, 20, 0);
	submit(0, 8, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	ck_assert_uint_eq(stats().queued, 7);
	pool_resize(pool, 5, 20);
	EVENTUALLY(atomic_load(&begun) == 5);
	ck_assert_uint_eq(stats().running, 5);
	ck_assert_uint_eq(stats().queued, 3);
	ck_assert_uint_eq(stats().limit, 5);
	let_go(8);
	EVENTUALLY(stats().done == 8);
	ck_assert_uint_eq(atomic_load(&peak), 5);
}
END_TEST

START_TEST(lowering_the_limit_preempts_nobody_and_starts_nobody_until_enough_have_ended)
{
	make_pool(4, 20, 0);
	submit(0, 4, run_held);
	EVENTUALLY(atomic_load(&begun) == 4);
	pool_resize(pool, 2, 20);
	submit(4, 1, run_held);
	ck_assert_uint_eq(stats().running, 4);
	for (unsigned left = 3; left >= 2; left--) {
		let_go(1);
		EVENTUALLY(stats().running == left);
		EVENTUALLY(stats().threads == left);
		ck_assert_uint_eq(stats().queued, 1);
		ck_assert_uint_eq(atomic_load(&begun), 4);
	}
	let_go(1);
	EVENTUALLY(atomic_load(&begun) == 5);
	ck_assert_uint_eq(stats().running, 2);
	let_go(2);
	EVENTUALLY(resting(2));
}
END_TEST

START_TEST(lowering_the_limit_ends_idle_threads_beyond_it)
{
	make_pool(20, 20, 0);
	fill_and_rest(20);
	pool_resize(pool, 3, 20);
	EVENTUALLY(resting(3));
	EVENTUALLY(atomic_load(&hooks_stopped) == 17);
	submit(0, 20, run_at_once);
	EVENTUALLY(stats().done == 40);
}
END_TEST

START_TEST(a_limit_of_zero_holds_everything_back)
{
	make_pool(0, 20, 0);
	submit(0, 10, run_at_once);
	ck_assert_uint_eq(stats().threads, 0);
	ck_assert_uint_eq(stats().queued, 10);
	pool_resize(pool, 2, 20);
	EVENTUALLY(stats().done == 10);
	pool_resize(pool, 0, 20);
	EVENTUALLY(stats().threads == 0);
	submit(0, 10, run_at_once);
	ck_assert_uint_eq(stats().queued, 10);
	pool_resize(pool, 1, 20);
	EVENTUALLY(stats().done == 20);
	ck_assert_uint_eq(atomic_load(&inside), 0);
}
END_TEST

START_TEST(raising_the_limit_starts_waiters_in_the_order_in_which_they_came)
{
	make_pool(1, 50, 0);
	submit(0, 30, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	for (unsigned limit = 2; limit <= 30; limit++) {
		pool_resize(pool, limit, 50);
		EVENTUALLY(atomic_load(&begun) == limit);
	}
	let_go(30);
	EVENTUALLY(stats().done == 30);
	for (unsigned i = 0; i < 30; i++)
		ck_assert_ptr_eq(order[i], &jobs[i]);
}
END_TEST

START_TEST(a_token_is_held_until_the_work_has_returned)
{
	make_pool(2, 10, 0);
	submit(0, 4, run_held);
	EVENTUALLY(atomic_load(&begun) == 2);
	for (unsigned i = 0; i < 50; i++) {
		pool_resize(pool, i % 3, 10);
		ck_assert(!pool_drop(pool, &jobs[0]));
		ck_assert(!pool_drop(pool, &jobs[1]));
		ck_assert_uint_eq(stats().running, 2);
	}
	pool_resize(pool, 2, 10);
	ck_assert_uint_eq(atomic_load(&begun), 2);
	let_go(1);
	EVENTUALLY(atomic_load(&begun) == 3);
	ck_assert_uint_eq(stats().running, 2);
	let_go(3);
	EVENTUALLY(stats().done == 4);
}
END_TEST

static void *resize_many(void *arg)
{
	unsigned seed = *(unsigned *)arg;

	for (unsigned i = 0; i < 3000; i++)
		pool_resize(pool, 1 + (unsigned)rand_r(&seed) % 5, MANY);
	return NULL;
}

START_TEST(threads_that_resize_at_once_let_no_more_start_than_the_highest_limit)
{
	unsigned seeds[] = { 1, 2, 3 }, round = 0;
	pthread_t threads[3];

	make_pool(5, MANY, NS_PER_MS);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, resize_many, &seeds[i]), 0);
	for (; round < 40; round++) {
		submit(round % 2 * 100, 100, run_at_once);
		EVENTUALLY(atomic_load(&ended) == 100 * (round + 1));
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_le(atomic_load(&peak), 5);
	EVENTUALLY(stats().done == 100 * round);
	ck_assert_uint_le(stats().limit, 5);
}
END_TEST

START_TEST(statistics_tell_who_runs_who_waits_and_who_had_to_wait)
{
	make_pool(3, 20, 0);
	submit(0, 2, run_held);
	EVENTUALLY(atomic_load(&begun) == 2);
	ck_assert_uint_eq(stats().waited, 0);
	submit(2, 3, run_held);                 /* one token is left */
	EVENTUALLY(atomic_load(&begun) == 3);
	ck_assert_uint_eq(stats().running, 3);
	ck_assert_uint_eq(stats().queued, 2);
	ck_assert_uint_eq(stats().waited, 2);
	pool_resize(pool, 1, 20);               /* more tokens are out than there are */
	submit(5, 1, run_held);
	ck_assert_uint_eq(stats().waited, 3);
	pool_resize(pool, 10, 20);
	EVENTUALLY(atomic_load(&begun) == 6);
	submit(6, 4, run_held);
	ck_assert_uint_eq(stats().waited, 3);
	EVENTUALLY(stats().running == 10);
	ck_assert_uint_eq(stats().limit, 10);
	let_go(10);
	EVENTUALLY(stats().done == 10);
	ck_assert_uint_eq(stats().waited, 3);
}
END_TEST

static uint64_t set_aside_ns;   /* by the last job that did */

static void run_and_set_aside(struct pool_job *job)
{
	uint64_t began = clock_now_ns();

	enter(job);
	usleep(5000);
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&ended, 1);
	if (job != jobs) {
		set_aside_ns = clock_now_ns() - began;
		pool_aside(set_aside_ns);
	}
}

START_TEST(what_a_job_sets_aside_is_not_counted_as_run)
{
	uint64_t run_ns, start;

	pool_aside(NS_PER_S);                   /* no effect here */
	make_pool(1, 20, 0);
	submit(0, 1, run_and_set_aside);
	EVENTUALLY(stats().done == 1);
	run_ns = stats().run_ns;
	ck_assert_uint_ge(run_ns, 5 * NS_PER_MS);
	start = clock_now_ns();
	submit(1, 1, run_and_set_aside);
	EVENTUALLY(stats().done == 2);
	/* What else all of that took may be the run's: the thread may have had no CPU before the job began. */
	ck_assert_uint_le(stats().run_ns - run_ns, clock_now_ns() - start - set_aside_ns);
	submit(0, 1, run_and_set_aside);        /* it is of one job only */
	EVENTUALLY(stats().done == 3);
	ck_assert_uint_ge(stats().run_ns - run_ns, 5 * NS_PER_MS);
}
END_TEST

static void run_for_a_while(struct pool_job *job)
{
	uint64_t until = clock_now_ns() + (uint64_t)(job - jobs) * 500;

	enter(job);
	while (clock_now_ns() < until)
		;
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&ended, 1);
}

/* Nobody else resizes, so between two looks running may grow only as far as the limit (the old one, where it has just
 * been changed). */
START_TEST(no_sequence_of_resizes_lets_more_jobs_start_than_the_limit)
{
	unsigned limit = 4, seed = 1 + (unsigned)_i, before = 0;

	make_pool(limit, MANY, NS_PER_MS);
	for (unsigned round = 0; round < 60; round++) {
		unsigned target = atomic_load(&ended) + 40;

		submit(round % 2 * 40, 40, run_for_a_while);
		while (atomic_load(&ended) < target) {
			struct pool_stats s;

			if (rand_r(&seed) % 4 == 0) {
				before = before > limit ? before : limit;
				limit = (unsigned)rand_r(&seed) % 9;
				pool_resize(pool, limit, MANY);
			}
			for (int i = 0; i < 3; i++) {
				s = stats();
				ck_assert_uint_eq(s.limit, limit);
				ck_assert_uint_le(s.running, before > limit ? before : limit);
				before = s.running;
				usleep((useconds_t)rand_r(&seed) % 60);
			}
		}
	}
	ck_assert_uint_le(atomic_load(&peak), 8);
	EVENTUALLY(stats().done == 60 * 40);
}
END_TEST

/* ---- taking jobs back -------------------------------------------------------------------------------------------- */

START_TEST(a_queued_job_that_was_taken_back_never_runs)
{
	static const unsigned taken[] = { 1, 5, 9 };    /* head, middle, tail of what is queued */
	unsigned left = 0;

	make_pool(1, 9, 0);
	submit(0, 1, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	submit(1, 9, run_held);
	ck_assert(!pool_admit(pool));
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(pool_drop(pool, &jobs[taken[i]]));
		ck_assert(!pool_drop(pool, &jobs[taken[i]]));
	}
	ck_assert_uint_eq(stats().dropped, 3);
	ck_assert_uint_eq(stats().queued, 6);
	submit(10, 3, run_held);        /* their places are free */
	ck_assert(!pool_admit(pool));
	let_go(10);
	EVENTUALLY(stats().done == 10);
	for (unsigned i = 0; i < 13; i++)
		if (i != 1 && i != 5 && i != 9)
			ck_assert_ptr_eq(order[left++], &jobs[i]);
}
END_TEST

START_TEST(the_only_queued_job_can_be_taken_back_and_queued_again)
{
	make_pool(1, 5, 0);
	submit(0, 1, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	submit(1, 1, run_held);
	ck_assert(pool_drop(pool, &jobs[1]));
	ck_assert_uint_eq(stats().queued, 0);
	submit(1, 1, run_held);
	let_go(2);
	EVENTUALLY(stats().done == 2);
}
END_TEST

START_TEST(a_job_that_runs_has_run_or_was_not_spliced_cannot_be_taken_back)
{
	struct pool_batch batch = { 0 };

	make_pool(1, 5, 0);
	prepare(&batch, 0, 1, run_held);
	ck_assert(!pool_drop(pool, &jobs[0]));
	pool_splice(pool, &batch);
	EVENTUALLY(atomic_load(&begun) == 1);
	ck_assert(!pool_drop(pool, &jobs[0]));
	let_go(1);
	EVENTUALLY(stats().done == 1);
	ck_assert(!pool_drop(pool, &jobs[0]));
	ck_assert_uint_eq(stats().dropped, 0);
}
END_TEST

int main(void)
{
	TCase *admission = tcase_create("order and admission");
	TCase *limit = tcase_create("limit"), *drop = tcase_create("drop");
	TCase *cases[] = { admission, limit, drop };

	tcase_add_test(admission, jobs_begin_in_the_order_in_which_they_were_spliced);
	tcase_add_test(admission, admission_stops_exactly_at_threads_plus_queue);
	tcase_add_test(admission, resizing_moves_the_bound_of_admission);
	tcase_add_test(admission, threads_that_admit_at_once_share_exactly_the_places_there_are);
	tcase_add_test(admission, nobody_is_refused_while_there_is_a_place_for_each);
	tcase_add_test(admission, the_bound_holds_while_jobs_come_and_go);

	tcase_add_test(limit, raising_the_limit_starts_waiting_jobs_at_once);
	tcase_add_test(limit, lowering_the_limit_preempts_nobody_and_starts_nobody_until_enough_have_ended);
	tcase_add_test(limit, lowering_the_limit_ends_idle_threads_beyond_it);
	tcase_add_test(limit, a_limit_of_zero_holds_everything_back);
	tcase_add_test(limit, raising_the_limit_starts_waiters_in_the_order_in_which_they_came);
	tcase_add_test(limit, a_token_is_held_until_the_work_has_returned);
	tcase_add_test(limit, threads_that_resize_at_once_let_no_more_start_than_the_highest_limit);
	tcase_add_test(limit, what_a_job_sets_aside_is_not_counted_as_run);
	tcase_add_test(limit, statistics_tell_who_runs_who_waits_and_who_had_to_wait);
	tcase_add_loop_test(limit, no_sequence_of_resizes_lets_more_jobs_start_than_the_limit, 0, 4);

	tcase_add_test(drop, a_queued_job_that_was_taken_back_never_runs);
	tcase_add_test(drop, the_only_queued_job_can_be_taken_back_and_queued_again);
	tcase_add_test(drop, a_job_that_runs_has_run_or_was_not_spliced_cannot_be_taken_back);

	return run_suite("pool", cases, sizeof(cases) / sizeof(cases[0]));
}
