/*
 * pool_fixture.h: what the tests of the pool share.
 *
 * What a job does is decided by the test: a held job says that it has begun and waits until it is let go, so that what
 * the pool looks like meanwhile is certain and can be compared exactly.  Waiting is polling with a bound, never a hope.
 */
#ifndef OL_POOL_FIXTURE_H
#define OL_POOL_FIXTURE_H

#include "pool.h"

#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#define TAGS 4
#define MANY 200
#define PATIENCE_NS (20 * NS_PER_S)
#define STACK ((size_t)256 << 10)

#define EVENTUALLY(condition)                                                                     \
	do {                                                                                      \
		uint64_t end_ns_ = clock_now_ns() + PATIENCE_NS;                                  \
		while (!(condition)) {                                                            \
			ck_assert_msg(clock_now_ns() < end_ns_, "never came true: %s", #condition); \
			usleep(100);                                                              \
		}                                                                                 \
	} while (0)

static struct pool *pool;
static struct pool_job jobs[MANY];
static struct pool_job *order[MANY];    /* as they began */
static atomic_uint begun, ended, inside, peak;
static sem_t letting_go;
static _Atomic pthread_t ran_on;
static atomic_uint hooks_started, hooks_stopped;

static inline void set_up(void)
{
	pool = NULL;
	memset(jobs, 0, sizeof(jobs));
	atomic_store(&begun, 0);
	atomic_store(&ended, 0);
	atomic_store(&inside, 0);
	atomic_store(&peak, 0);
	atomic_store(&hooks_started, 0);
	atomic_store(&hooks_stopped, 0);
	sem_init(&letting_go, 0, 0);
}

static inline void tear_down(void)
{
	pool_free(pool);
	sem_destroy(&letting_go);
}

static inline void hook_start(void *arg, const struct work_line *line)
{
	(void)line;
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static inline void hook_stop(void *arg, const struct work_line *line)
{
	(void)arg;
	(void)line;
	atomic_fetch_add(&hooks_stopped, 1);
}

/* With the fixture's hooks and stack, unless told otherwise. */
static inline void make_pool_of(struct pool_conf conf)
{
	conf.name = "test";
	conf.stack = STACK;
	conf.tags = TAGS;
	if (!conf.thread_start) {
		conf.thread_start = hook_start;
		conf.thread_stop = hook_stop;
		conf.arg = &hooks_started;
	}
	pool = pool_new(&conf);
	ck_assert_ptr_nonnull(pool);
}

static inline void make_pool(unsigned threads, unsigned queue, uint64_t idle_ns)
{
	make_pool_of((struct pool_conf){ .threads = threads, .queue = queue, .idle_ns = idle_ns });
}

static inline struct pool_stats stats(void)
{
	struct pool_stats s;

	pool_stats(pool, &s);
	ck_assert_uint_eq(s.threads, s.running + s.blocked + s.idle + s.starting);
	ck_assert_uint_le(s.waking, s.idle + s.starting);
	ck_assert_uint_ge(s.waking, s.starting);
	ck_assert((s.oldest_queued_ns != 0) == (s.queued != 0));
	return s;
}

static inline bool resting(unsigned threads)
{
	struct pool_stats s = stats();

	return s.idle == threads && s.waking == 0 && s.running == 0 && s.queued == 0;
}

static inline void enter(struct pool_job *job)
{
	unsigned now_inside = atomic_fetch_add(&inside, 1) + 1, highest = atomic_load(&peak), place;

	while (now_inside > highest && !atomic_compare_exchange_weak(&peak, &highest, now_inside))
		;
	place = atomic_fetch_add(&begun, 1);
	if (place < MANY)
		order[place] = job;
}

static inline void run_at_once(struct pool_job *job)
{
	enter(job);
	atomic_store(&ran_on, pthread_self());
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&ended, 1);
}

static inline void run_held(struct pool_job *job)
{
	enter(job);
	while (sem_wait(&letting_go) != 0)
		;
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&ended, 1);
}

static inline void let_go(unsigned n)
{
	while (n-- > 0)
		sem_post(&letting_go);
}

static inline void prepare(struct pool_batch *batch, unsigned first, unsigned n, void (*run)(struct pool_job *))
{
	for (unsigned i = first; i < first + n; i++) {
		jobs[i].run = run;
		jobs[i].tag = 0;
		ck_assert(pool_admit(pool));
		pool_batch_add(batch, &jobs[i]);
	}
}

/* Splices jobs[first .. first+n-1] at once. */
static inline void submit(unsigned first, unsigned n, void (*run)(struct pool_job *))
{
	struct pool_batch batch = { 0 };

	prepare(&batch, first, n, run);
	ck_assert_uint_eq(batch.n, n);
	pool_splice(pool, &batch);
	ck_assert_uint_eq(batch.n, 0);
	ck_assert_ptr_null(batch.head);
}

/* Runs so many trivial jobs of tag 0 that their kind is known as short, and comes back when all threads rest. */
static inline void make_kind_short(unsigned threads)
{
	for (unsigned i = 0; i < 100; i++) {
		unsigned before = atomic_load(&ended);

		submit(0, 1, run_at_once);
		EVENTUALLY(atomic_load(&ended) == before + 1);
		EVENTUALLY(stats().running == 0);
	}
	EVENTUALLY(stats().waking == 0);
	ck_assert_uint_le(stats().threads, threads);
	atomic_store(&begun, 0);
	atomic_store(&ended, 0);
}

/* All threads have been up at once and are idle now. */
static inline void fill_and_rest(unsigned threads)
{
	submit(0, threads, run_held);
	EVENTUALLY(atomic_load(&begun) == threads);
	let_go(threads);
	EVENTUALLY(resting(threads));
	atomic_store(&begun, 0);
	atomic_store(&ended, 0);
}

/* Runs the cases; what main returns. */
static inline int run_suite(const char *name, TCase *cases[], size_t n)
{
	Suite *suite = suite_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	for (size_t i = 0; i < n; i++) {
		tcase_add_checked_fixture(cases[i], set_up, tear_down);
		tcase_set_timeout(cases[i], 60);
		suite_add_tcase(suite, cases[i]);
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
