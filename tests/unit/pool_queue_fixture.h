/*
 * pool_queue_fixture.h: what the tests of the queue share.
 *
 * Nothing runs here and no time passes but what a test says: `now` is a variable.
 */
#ifndef OL_POOL_QUEUE_FIXTURE_H
#define OL_POOL_QUEUE_FIXTURE_H

#include "pool_queue.h"

#include <check.h>
#include <string.h>

#define MANY 1000
#define TICK_NS (UINT64_C(1) << WHEEL_TICK_SHIFT)

static struct pool_queue q;
static struct pool_job jobs[MANY];
static struct pool_lost lost;
static uint64_t now;

static inline void expired(struct pool_job *job, enum pool_expiry why)
{
	ck_abort_msg("the queue itself calls nobody back: job %p, %d", (void *)job, why);
}

static inline void set_up(void)
{
	memset(jobs, 0, sizeof(jobs));
	memset(&lost, 0, sizeof(lost));
	now = 1000 * NS_PER_S;
	pool_queue_init(&q, false, 0, 0, now);
}

static inline void put_range(unsigned first, unsigned n)
{
	struct pool_batch b = { 0 };

	for (unsigned i = first; i < first + n; i++)
		pool_batch_add(&b, &jobs[i]);
	pool_queue_put(&q, &b, now);
	ck_assert_uint_eq(b.n, 0);
	ck_assert_ptr_null(b.head);
}

static inline void put(unsigned i)
{
	put_range(i, 1);
}

static inline void put_with_time(unsigned i, uint64_t expires_ns)
{
	jobs[i].expired = expired;
	jobs[i].expires_ns = expires_ns;
	put(i);
}

/* The index of the next job, -1 when there is none. */
static inline int take(void)
{
	struct pool_job *job = pool_queue_take(&q, now, &lost);

	ck_assert(!job || !job->queue);
	return job ? (int)(job - jobs) : -1;
}

static inline unsigned count_lost(enum pool_expiry why)
{
	unsigned n = 0;

	for (const struct pool_job *job = lost.by[why].head; job; job = job->next, n++)
		ck_assert_ptr_null(job->queue);
	ck_assert_uint_eq(n, lost.by[why].n);
	return n;
}

static inline int first_lost(enum pool_expiry why)
{
	return lost.by[why].head ? (int)(lost.by[why].head - jobs) : -1;
}

static inline void forget_lost(void)
{
	memset(&lost, 0, sizeof(lost));
}

static inline uint64_t sweep(void)
{
	uint64_t due;

	pool_queue_sweep(&q, now, &lost);
	due = pool_queue_due(&q);
	ck_assert_uint_gt(due, now);
	return due;
}

/* Runs the cases, each after the set-up given; what main returns. */
static inline int run_queue_suite(const char *name, TCase *cases[], size_t n, void (*before)(void))
{
	Suite *suite = suite_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	for (size_t i = 0; i < n; i++) {
		tcase_add_checked_fixture(cases[i], before, NULL);
		tcase_set_timeout(cases[i], 60);
		suite_add_tcase(suite, cases[i]);
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
