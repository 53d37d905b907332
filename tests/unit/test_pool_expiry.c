/*
 * test_pool_expiry.c: jobs that a running pool gives up, by time or by CoDel: by whom they are found, who is told, and
 * that each job runs, is given up, or is taken back, once; whose turn it is.
 *
 * Workers are held while jobs wait, and pool_expire is told a time to come, so nothing depends on how fast a test is.
 */
#include "pool_fixture.h"

#include <stdlib.h>

#define LATER (3600 * NS_PER_S)

static atomic_uint told[POOL_EXPIRIES];
static struct pool_job *told_order[MANY];
static atomic_uint ntold;
static pthread_t told_on;

static void tell(struct pool_job *job, enum pool_expiry why)
{
	unsigned place = atomic_fetch_add(&ntold, 1);

	if (place < MANY)
		told_order[place] = job;
	told_on = pthread_self();
	atomic_fetch_add(&told[why], 1);
}

static void set_up_telling(void)
{
	atomic_store(&ntold, 0);
	for (int why = 0; why < POOL_EXPIRIES; why++)
		atomic_store(&told[why], 0);
}

/* jobs[0 .. held-1] occupy all workers. */
static void hold_workers(unsigned held)
{
	submit(0, held, run_held);
	EVENTUALLY(atomic_load(&begun) == held);
}

static void may_expire(unsigned first, unsigned n, uint64_t expires_ns)
{
	for (unsigned i = first; i < first + n; i++) {
		jobs[i].expired = tell;
		jobs[i].expires_ns = expires_ns;
	}
}

/* Queues n jobs whose time will come soon, and has not when this returns, and then one that has all the time.  A
 * splice gives up what is due: where the test was too slow it begins again.  Returns what pool_stats counted so far. */
static uint64_t submit_expiring(unsigned first, unsigned n, uint64_t *soon)
{
	for (uint64_t delay = 5 * NS_PER_MS; delay < PATIENCE_NS; delay *= 2) {
		*soon = clock_now_ns() + delay;
		may_expire(first, n, *soon);
		submit(first, n + 1, run_at_once);
		if (atomic_load(&ntold) == 0)
			return stats().expired[POOL_TIMED_OUT];
		ck_assert(pool_drop(pool, &jobs[first + n]));
		EVENTUALLY(pool_expire(pool, clock_now_ns()) == NEVER);
		set_up_telling();
	}
	ck_abort_msg("too slow a machine");
	return 0;
}

/* ---- by time ----------------------------------------------------------------------------------------------------- */

START_TEST(a_worker_gives_up_a_job_whose_time_has_come_and_takes_the_next)
{
	uint64_t soon, before;

	make_pool(1, 3, 0);
	hold_workers(1);
	before = submit_expiring(1, 2, &soon);
	ck_assert(!pool_admit(pool));
	EVENTUALLY(clock_now_ns() > soon);
	ck_assert_uint_eq(stats().queued, 3);
	let_go(1);
	EVENTUALLY(stats().done == 2);
	ck_assert_ptr_eq(order[1], &jobs[3]);
	ck_assert_uint_eq(atomic_load(&told[POOL_TIMED_OUT]), 2);
	ck_assert_ptr_eq(told_order[0], &jobs[1]);
	ck_assert_ptr_eq(told_order[1], &jobs[2]);
	ck_assert_uint_eq(stats().expired[POOL_TIMED_OUT], before + 2);
	ck_assert_uint_eq(stats().expired[POOL_SHED], 0);
	may_expire(1, 2, 0);
	submit(0, 4, run_held);                 /* all places are free */
	ck_assert(!pool_admit(pool));
	let_go(4);
	EVENTUALLY(stats().done == 6);
}
END_TEST

START_TEST(pool_expire_gives_up_what_is_due_while_all_workers_are_held)
{
	uint64_t at = clock_now_ns() + LATER;

	make_pool(2, 20, 0);
	hold_workers(2);
	ck_assert_uint_eq(pool_expire(pool, at), NEVER);
	may_expire(2, 3, at);
	may_expire(6, 1, at + LATER);
	submit(2, 6, run_at_once);
	ck_assert_uint_le(pool_expire(pool, at - 1), at + 2 * NS_PER_MS);
	ck_assert_uint_eq(atomic_load(&ntold), 0);
	ck_assert_uint_gt(pool_expire(pool, at + 2 * NS_PER_MS), at + 2 * NS_PER_MS);
	ck_assert_uint_eq(atomic_load(&told[POOL_TIMED_OUT]), 3);
	ck_assert(pthread_equal(told_on, pthread_self()));
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_ptr_eq(told_order[i], &jobs[2 + i]);
		ck_assert(!pool_drop(pool, &jobs[2 + i]));
	}
	ck_assert_uint_eq(stats().queued, 3);
	ck_assert_uint_eq(stats().expired[POOL_TIMED_OUT], 3);
	ck_assert(pool_drop(pool, &jobs[6]));
	ck_assert_uint_eq(pool_expire(pool, at + 2 * LATER), NEVER);
	let_go(2);
	EVENTUALLY(stats().done == 4);
	ck_assert_uint_eq(atomic_load(&ntold), 3);
}
END_TEST

START_TEST(a_splice_gives_up_what_is_due)
{
	uint64_t soon;

	make_pool(1, 20, 0);
	hold_workers(1);
	submit_expiring(1, 1, &soon);
	EVENTUALLY(clock_now_ns() > soon + 2 * NS_PER_MS);
	ck_assert_uint_eq(atomic_load(&ntold), 0);
	may_expire(4, 1, 1);                    /* over before it came */
	submit(3, 2, run_at_once);
	ck_assert_uint_eq(atomic_load(&ntold), 2);
	ck_assert(pthread_equal(told_on, pthread_self()));
	let_go(1);
	EVENTUALLY(stats().done == 3);
}
END_TEST

static struct pool_stats seen;
static bool dropped_inside, admitted_inside;

/* Whatever a callback may want: the job's memory back, a look, another job taken back, another queued. */
static void tell_and_do_everything(struct pool_job *job, enum pool_expiry why)
{
	struct pool_batch batch = { 0 };

	seen = stats();
	dropped_inside = pool_drop(pool, &jobs[1]);
	admitted_inside = pool_admit(pool);
	jobs[2].run = run_at_once;
	pool_batch_add(&batch, &jobs[2]);
	pool_splice(pool, &batch);
	free(job);
	tell(NULL, why);
}

static void queue_one_that_does_everything(uint64_t expires_ns)
{
	struct pool_job *job = calloc(1, sizeof(*job));
	struct pool_batch batch = { 0 };

	job->run = run_at_once;
	job->expired = tell_and_do_everything;
	job->expires_ns = expires_ns;
	ck_assert(pool_admit(pool));
	pool_batch_add(&batch, job);
	pool_splice(pool, &batch);
}

START_TEST(who_is_told_may_use_the_pool_and_free_the_job)
{
	uint64_t at = clock_now_ns() + LATER;

	make_pool(1, 2, 0);
	hold_workers(1);
	queue_one_that_does_everything(at);
	submit(1, 1, run_at_once);
	pool_expire(pool, at + 2 * NS_PER_MS);
	ck_assert_uint_eq(atomic_load(&told[POOL_TIMED_OUT]), 1);
	ck_assert_uint_eq(seen.queued, 1);
	ck_assert(dropped_inside && admitted_inside);
	let_go(1);
	EVENTUALLY(stats().done == 2);
	ck_assert_ptr_eq(order[1], &jobs[2]);
}
END_TEST

START_TEST(a_worker_that_found_nothing_to_run_looks_again_when_it_has_told)
{
	uint64_t soon, delay = 5 * NS_PER_MS;

	make_pool(1, 2, 0);
	hold_workers(1);
	for (;; delay *= 2) {
		soon = clock_now_ns() + delay;
		queue_one_that_does_everything(soon);
		if (atomic_load(&ntold) == 0)
			break;
		ck_assert(pool_drop(pool, &jobs[2]));   /* the splice was too slow, and has told already */
		set_up_telling();
	}
	EVENTUALLY(clock_now_ns() > soon);
	let_go(1);
	EVENTUALLY(stats().done == 2);
	ck_assert_ptr_eq(order[1], &jobs[2]);
	ck_assert(!dropped_inside && admitted_inside);
	ck_assert(!pthread_equal(told_on, pthread_self()));
	ck_assert_uint_eq(seen.queued, 0);
	ck_assert_uint_eq(seen.idle, 1);        /* it runs no job, and will look again */
	ck_assert_uint_eq(seen.waking, 1);
	EVENTUALLY(resting(1));
}
END_TEST

/* ---- run, given up, or taken back -------------------------------------------------------------------------------- */

#define ROUNDS 3000

static pthread_barrier_t line;
static uint64_t race_at;
static unsigned ndropped;

static void *race_drop(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&line);
		ndropped += pool_drop(pool, arg);
		pthread_barrier_wait(&line);
	}
	return NULL;
}

static void *race_expire(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&line);
		pool_expire(pool, race_at);
		pthread_barrier_wait(&line);
	}
	return NULL;
}

/* Each round one job waits at a closed pool; then at once one thread takes it back, one gives it up, one opens the
 * pool.  Every other round nobody opens it, so that the other two meet. */
START_TEST(of_run_expired_and_drop_exactly_one_happens)
{
	pthread_t dropper, expirer;

	ndropped = 0;
	make_pool(0, MANY, 0);
	pthread_barrier_init(&line, NULL, 3);
	ck_assert_int_eq(pthread_create(&dropper, NULL, race_drop, &jobs[0]), 0);
	ck_assert_int_eq(pthread_create(&expirer, NULL, race_expire, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct pool_stats s;

		may_expire(0, 1, clock_now_ns() + LATER);
		race_at = jobs[0].expires_ns + 2 * NS_PER_MS;
		submit(0, 1, run_at_once);
		pthread_barrier_wait(&line);
		if (i % 2)
			pool_resize(pool, 1, MANY);
		pthread_barrier_wait(&line);
		EVENTUALLY(stats().done + stats().dropped + stats().expired[POOL_TIMED_OUT] == i + 1);
		s = stats();
		ck_assert_uint_eq(s.done, atomic_load(&ended));
		ck_assert_uint_eq(s.dropped, ndropped);
		ck_assert_uint_eq(s.expired[POOL_TIMED_OUT], atomic_load(&ntold));
		ck_assert_uint_eq(s.queued, 0);
		pool_resize(pool, 0, MANY);
	}
	pthread_join(dropper, NULL);
	pthread_join(expirer, NULL);
	pthread_barrier_destroy(&line);
	ck_assert_uint_gt(ndropped, 0);
	ck_assert_uint_gt(atomic_load(&ntold), 0);
	ck_assert_uint_eq(atomic_load(&ntold) + ndropped + atomic_load(&ended), ROUNDS);
}
END_TEST

/* ---- overload ---------------------------------------------------------------------------------------------------- */

START_TEST(an_overloaded_pool_sheds_and_serves_the_newest_first)
{
	uint64_t target = 60 * NS_PER_S, interval = 600 * NS_PER_S, later;

	make_pool_of((struct pool_conf){ .threads = 1, .queue = 20, .codel = true, .codel_target_ns = target,
		.codel_interval_ns = interval });
	hold_workers(1);
	may_expire(1, 3, 0);
	submit(1, 3, run_at_once);
	later = clock_now_ns() + interval;
	ck_assert_uint_eq(pool_expire(pool, later), later + interval);
	ck_assert(!stats().overloaded);         /* in this one a worker came, and nobody had waited */
	ck_assert_uint_eq(atomic_load(&ntold), 0);
	later += interval;
	ck_assert_uint_eq(pool_expire(pool, later), NEVER);
	ck_assert(stats().overloaded);
	ck_assert_uint_eq(atomic_load(&told[POOL_SHED]), 3);
	ck_assert_uint_eq(stats().expired[POOL_SHED], 3);
	ck_assert_uint_eq(stats().expired[POOL_TIMED_OUT], 0);

	may_expire(4, 3, 0);
	submit(4, 4, run_at_once);
	let_go(1);
	EVENTUALLY(stats().done == 5);
	for (unsigned i = 1; i < 5; i++)
		ck_assert_ptr_eq(order[i], &jobs[8 - i]);
	ck_assert_uint_eq(atomic_load(&ntold), 3);
}
END_TEST

/* ---- whose turn it is -------------------------------------------------------------------------------------------- */

START_TEST(high_priority_runs_first_and_starves_nobody)
{
	make_pool(1, MANY, 0);
	hold_workers(1);
	for (unsigned i = 1; i < 31; i++)
		jobs[i].priority = i >= 4;      /* three normal ones, then 27 high ones */
	submit(1, 3, run_at_once);
	submit(4, 27, run_at_once);
	let_go(1);
	EVENTUALLY(stats().done == 31);
	for (unsigned i = 1, normal = 1, high = 4; i < 31; i++)
		ck_assert_ptr_eq(order[i], i % 9 == 0 ? &jobs[normal++] : &jobs[high++]);
}
END_TEST

/* Two threads that splice in turn, and by the order of these splices, not of their jobs' admission. */
static void *splice_odd(void *arg)
{
	struct pool_batch batches[10] = { { .n = 0 } };

	(void)arg;
	for (unsigned k = 0; k < 10; k++)
		prepare(&batches[k], 100 + 10 * k, 3, run_at_once);
	pthread_barrier_wait(&line);
	for (unsigned k = 0; k < 10; k++) {
		pthread_barrier_wait(&line);
		pool_splice(pool, &batches[k]);
		pthread_barrier_wait(&line);
	}
	return NULL;
}

START_TEST(batches_of_several_sources_are_served_in_the_order_of_their_splices)
{
	struct pool_batch batch = { 0 };
	pthread_t other;
	unsigned at = 1;

	make_pool(1, MANY, 0);
	hold_workers(1);
	pthread_barrier_init(&line, NULL, 2);
	ck_assert_int_eq(pthread_create(&other, NULL, splice_odd, NULL), 0);
	pthread_barrier_wait(&line);            /* all of the other's jobs are admitted */
	for (unsigned k = 0; k < 10; k++) {
		prepare(&batch, 1 + 5 * k, 5, run_at_once);
		pool_splice(pool, &batch);
		pthread_barrier_wait(&line);
		pthread_barrier_wait(&line);
	}
	pthread_join(other, NULL);
	pthread_barrier_destroy(&line);
	let_go(1);
	EVENTUALLY(stats().done == 81);
	for (unsigned k = 0; k < 10; k++) {
		for (unsigned i = 0; i < 5; i++)
			ck_assert_ptr_eq(order[at++], &jobs[1 + 5 * k + i]);
		for (unsigned i = 0; i < 3; i++)
			ck_assert_ptr_eq(order[at++], &jobs[100 + 10 * k + i]);
	}
}
END_TEST

/* ---- places ------------------------------------------------------------------------------------------------------ */

START_TEST(a_place_can_be_given_back_without_a_job)
{
	make_pool(1, 1, 0);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert(pool_admit(pool));
		ck_assert(pool_admit(pool));
		ck_assert(!pool_admit(pool));
		pool_unadmit(pool);
		ck_assert(pool_admit(pool));
		pool_unadmit(pool);
		pool_unadmit(pool);
	}
	submit(0, 2, run_at_once);
	EVENTUALLY(stats().done == 2);
}
END_TEST

START_TEST(retry_after_is_what_is_inside_at_the_pace_of_late)
{
	struct pool_hist wait, run;
	uint64_t start;

	make_pool(2, MANY, 0);
	ck_assert_uint_eq(pool_retry_after_s(pool), 1);
	submit(0, 1, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	ck_assert_uint_eq(pool_retry_after_s(pool), 1);
	start = clock_now_ns();
	EVENTUALLY(clock_now_ns() > start + 50 * NS_PER_MS);
	let_go(1);
	EVENTUALLY(stats().done == 1);
	ck_assert_uint_eq(pool_retry_after_s(pool), 1);
	pool_hist(pool, 0, &wait, &run);

	submit(0, 150, run_held);
	ck_assert_uint_eq(pool_retry_after_s(pool), run.sum_ns * 150 / 2 / NS_PER_S + 1);
	ck_assert_uint_ge(pool_retry_after_s(pool), 4);
	pool_resize(pool, 1, MANY);
	ck_assert_uint_eq(pool_retry_after_s(pool), run.sum_ns * 150 / NS_PER_S + 1);
	for (unsigned i = 0; i < 100000; i++)
		pool_readmit(pool);
	ck_assert_uint_eq(pool_retry_after_s(pool), 3600);
	let_go(150);
	EVENTUALLY(stats().done == 151);
}
END_TEST

int main(void)
{
	TCase *time = tcase_create("time"), *race = tcase_create("race"), *overload = tcase_create("overload");
	TCase *turns = tcase_create("turns"), *places = tcase_create("places");
	TCase *cases[] = { time, race, overload, turns, places };

	tcase_add_test(time, a_worker_gives_up_a_job_whose_time_has_come_and_takes_the_next);
	tcase_add_test(time, pool_expire_gives_up_what_is_due_while_all_workers_are_held);
	tcase_add_test(time, a_splice_gives_up_what_is_due);
	tcase_add_test(time, who_is_told_may_use_the_pool_and_free_the_job);
	tcase_add_test(time, a_worker_that_found_nothing_to_run_looks_again_when_it_has_told);
	tcase_add_test(race, of_run_expired_and_drop_exactly_one_happens);
	tcase_add_test(overload, an_overloaded_pool_sheds_and_serves_the_newest_first);
	tcase_add_test(turns, high_priority_runs_first_and_starves_nobody);
	tcase_add_test(turns, batches_of_several_sources_are_served_in_the_order_of_their_splices);
	tcase_add_test(places, a_place_can_be_given_back_without_a_job);
	tcase_add_test(places, retry_after_is_what_is_inside_at_the_pace_of_late);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tcase_add_checked_fixture(cases[i], set_up_telling, NULL);
	return run_suite("pool expiry", cases, sizeof(cases) / sizeof(cases[0]));
}
