/*
 * test_pool_threads.c: the pool's workers: who is woken, who ends and when, how they are from inside; statistics.
 *
 * Threads are made impossible to start by an address-space limit that leaves no room for their stacks.
 */
#include "pool_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define LARGE_STACK ((size_t)24 << 20)  /* more than a thread gets that asks for nothing */

/* ---- threads ----------------------------------------------------------------------------------------------------- */

START_TEST(idle_threads_end_by_themselves_and_come_back_when_needed)
{
	make_pool(6, 10, 5 * NS_PER_MS);
	ck_assert_uint_eq(stats().threads, 0);
	for (unsigned round = 1; round <= 3; round++) {
		submit(0, 6, run_held);
		EVENTUALLY(atomic_load(&begun) == 6 * round);
		ck_assert_uint_eq(stats().threads, 6);
		let_go(6);
		EVENTUALLY(stats().threads == 0);
		EVENTUALLY(atomic_load(&hooks_stopped) == 6 * round);
		ck_assert_uint_eq(atomic_load(&hooks_started), 6 * round);
		ck_assert_uint_eq(stats().started, 6 * round);
	}
}
END_TEST

START_TEST(threads_that_are_needed_again_before_their_time_stay)
{
	make_pool(2, 10, 3600 * NS_PER_S);
	fill_and_rest(2);
	for (unsigned i = 0; i < 50; i++) {
		submit(0, 1, run_at_once);
		EVENTUALLY(resting(2));
	}
	ck_assert_uint_eq(stats().started, 2);
}
END_TEST

START_TEST(the_last_worker_to_go_idle_is_woken_first)
{
	pthread_t first;

	make_pool(8, 10, 0);
	fill_and_rest(8);
	submit(0, 1, run_at_once);
	EVENTUALLY(stats().done == 9);
	EVENTUALLY(resting(8));
	first = atomic_load(&ran_on);
	for (unsigned i = 0; i < 50; i++) {
		submit(0, 1, run_at_once);
		EVENTUALLY(stats().done == 10 + i);
		EVENTUALLY(resting(8));
		ck_assert(pthread_equal(first, atomic_load(&ran_on)));
	}
}
END_TEST

START_TEST(one_job_after_the_other_takes_one_thread)
{
	make_pool(40, 10, 0);
	for (unsigned i = 1; i <= 100; i++) {
		submit(0, 1, run_at_once);
		EVENTUALLY(stats().done == i);
		EVENTUALLY(resting(1));
	}
	ck_assert_uint_eq(stats().started, 1);
	ck_assert_uint_eq(stats().woken, 99);
}
END_TEST

START_TEST(a_job_behind_a_long_one_gets_a_thread_of_its_own)
{
	struct pool_batch batch = { 0 };

	make_pool(2, MANY, 0);
	make_kind_short(2);
	submit(0, 1, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	submit(1, 1, run_at_once);
	EVENTUALLY(atomic_load(&ended) == 1);
	submit(2, 1, run_at_once);
	EVENTUALLY(atomic_load(&ended) == 2);

	prepare(&batch, 3, 20, run_at_once);
	pool_splice(pool, &batch);
	EVENTUALLY(atomic_load(&ended) == 22);
	let_go(1);
	EVENTUALLY(atomic_load(&ended) == 23);
}
END_TEST

START_TEST(a_batch_whose_first_job_blocks_strands_none_of_the_others)
{
	struct pool_batch batch = { 0 };

	make_pool(3, MANY, 0);
	make_kind_short(3);
	for (unsigned round = 0; round < 20; round++) {
		atomic_store(&begun, 0);
		atomic_store(&ended, 0);
		prepare(&batch, 0, 2, run_held);
		prepare(&batch, 2, 30, run_at_once);
		pool_splice(pool, &batch);
		EVENTUALLY(atomic_load(&ended) == 30);
		EVENTUALLY(atomic_load(&inside) == 2);  /* taken before the others, but perhaps not begun */
		let_go(2);
		EVENTUALLY(atomic_load(&ended) == 32);
	}
}
END_TEST

START_TEST(blocking_jobs_of_a_kind_known_as_short_still_get_all_threads)
{
	make_pool(16, MANY, 0);
	make_kind_short(16);
	submit(0, 20, run_held);
	EVENTUALLY(atomic_load(&begun) == 16);
	ck_assert_uint_eq(stats().running, 16);
	ck_assert_uint_eq(stats().queued, 4);
	let_go(20);
	EVENTUALLY(atomic_load(&ended) == 20);
}
END_TEST

static atomic_bool hold_starting;

static void held_start(void *arg, const struct work_line *line)
{
	(void)arg;
	(void)line;
	while (atomic_load(&hold_starting))
		usleep(100);
}

static void make_held_pool(void)
{
	atomic_store(&hold_starting, false);
	pool = pool_new(&(struct pool_conf){ .name = "test", .threads = 8, .queue = MANY, .tags = TAGS,
		.thread_start = held_start });
	ck_assert_ptr_nonnull(pool);
}

static void let_threads_start_and_jobs_end(unsigned n)
{
	atomic_store(&hold_starting, false);
	EVENTUALLY(atomic_load(&begun) == n);
	let_go(n);
	EVENTUALLY(resting(stats().threads));
}

START_TEST(a_splice_starts_one_thread_and_leaves_the_others_to_that)
{
	make_held_pool();
	atomic_store(&hold_starting, true);
	submit(0, 6, run_held);
	ck_assert_uint_eq(stats().starting, 1);
	ck_assert_uint_eq(stats().waking, 1);
	ck_assert_uint_eq(stats().queued, 6);
	let_threads_start_and_jobs_end(6);
}
END_TEST

START_TEST(for_jobs_known_as_short_a_worker_starts_one_thread_at_a_time)
{
	make_held_pool();
	make_kind_short(1);
	atomic_store(&hold_starting, true);
	submit(0, 7, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	EVENTUALLY(stats().starting > 0);
	ck_assert_uint_eq(stats().starting, 1);
	let_threads_start_and_jobs_end(7);
}
END_TEST

/* The thread that the first worker starts is held back, so that one runs them all, and asks for no third. */
START_TEST(a_batch_of_short_jobs_wakes_one_worker_and_starts_one)
{
	make_held_pool();
	make_kind_short(1);
	EVENTUALLY(resting(1));
	ck_assert_uint_eq(stats().started, 1);
	ck_assert_uint_eq(stats().woken, 99);
	atomic_store(&hold_starting, true);
	submit(0, 64, run_at_once);
	EVENTUALLY(atomic_load(&ended) == 64);
	EVENTUALLY(stats().running == 0);
	ck_assert_uint_eq(stats().woken, 100);
	ck_assert_uint_eq(stats().starting, 1);
	ck_assert_uint_eq(stats().threads, 2);
	atomic_store(&hold_starting, false);
	EVENTUALLY(resting(2));
}
END_TEST

/* Two or three a batch are usual; the bound leaves room for threads that are preempted while they wake the next. */
START_TEST(batches_of_short_jobs_wake_few_of_many_idle_workers)
{
	uint64_t woken;

	make_pool(40, MANY, 0);
	fill_and_rest(40);
	make_kind_short(40);
	woken = stats().woken;
	for (unsigned i = 1; i <= 50; i++) {
		submit(0, 64, run_at_once);
		EVENTUALLY(atomic_load(&ended) == 64 * i);
		EVENTUALLY(resting(40));
	}
	ck_assert_uint_ge(stats().woken - woken, 50);
	ck_assert_uint_le(stats().woken - woken, 50 * 8);
	ck_assert_uint_eq(stats().started, 40);
}
END_TEST

START_TEST(for_jobs_that_may_run_long_a_worker_starts_several_threads)
{
	make_held_pool();
	fill_and_rest(1);
	atomic_store(&hold_starting, true);
	submit(0, 7, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	EVENTUALLY(stats().starting == 4);
	ck_assert_uint_eq(stats().queued, 6);
	let_threads_start_and_jobs_end(7);
}
END_TEST

static char thread_name[16];
static bool term_blocked, segv_blocked;
static size_t stack_size;
static struct pool *current_inside;

static void run_inspect(struct pool_job *job)
{
	pthread_attr_t attr;
	sigset_t set;

	pthread_getname_np(pthread_self(), thread_name, sizeof(thread_name));
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	term_blocked = sigismember(&set, SIGTERM) && sigismember(&set, SIGINT) && sigismember(&set, SIGPIPE) &&
		       sigismember(&set, SIGRTMIN);
	segv_blocked = sigismember(&set, SIGSEGV);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstacksize(&attr, &stack_size);
	pthread_attr_destroy(&attr);
	current_inside = pool_current();
	run_at_once(job);
}

START_TEST(a_worker_has_its_name_its_stack_its_pool_and_no_signals)
{
	sigset_t before, after;

	pool = pool_new(&(struct pool_conf){ .name = "a-very-long-name", .threads = 1, .queue = 1, .tags = 1,
		.stack = LARGE_STACK });
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	submit(0, 1, run_inspect);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	EVENTUALLY(stats().done == 1);
	ck_assert_str_eq(thread_name, "ol-a-very-long-");
	ck_assert(term_blocked);
	ck_assert(!segv_blocked);
	ck_assert_uint_ge(stack_size, LARGE_STACK);
	ck_assert_uint_ge(pool_stack(pool), LARGE_STACK);
	ck_assert_ptr_eq(current_inside, pool);
	ck_assert_ptr_null(pool_current());
	ck_assert_str_eq(pool_name(pool), "a-very-long-name");
	for (int sig = 1; sig < SIGRTMAX; sig++)
		ck_assert_int_eq(sigismember(&before, sig), sigismember(&after, sig));
}
END_TEST

START_TEST(a_stack_too_small_to_live_on_is_made_larger)
{
	pool = pool_new(&(struct pool_conf){ .name = "small", .threads = 1, .queue = 1, .tags = 1, .stack = 1 });
	submit(0, 1, run_inspect);
	EVENTUALLY(stats().done == 1);
	ck_assert_str_eq(thread_name, "ol-small");
}
END_TEST

START_TEST(a_stack_of_the_systems_default_is_told)
{
	pool = pool_new(&(struct pool_conf){ .name = "plain", .threads = 1, .queue = 1, .tags = 1 });
	submit(0, 1, run_inspect);
	EVENTUALLY(stats().done == 1);
	ck_assert_uint_ge(pool_stack(pool), (size_t)64 << 10);
	ck_assert_uint_le(pool_stack(pool), stack_size);
	ck_assert_uint_ge(pool_stack(pool) + ((size_t)1 << 20), stack_size);    /* but for guard and descriptor */
}
END_TEST

/* ---- threads that cannot be started ------------------------------------------------------------------------------ */

#define HUGE_STACK ((size_t)256 << 20)

static struct rlimit saved_limit;

/* Leaves room for what a process maps as it goes along, but not for a stack of HUGE_STACK. */
static void forbid_threads(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	struct rlimit r;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%llu", &pages), 1);
	fclose(f);
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &saved_limit), 0);
	r = saved_limit;
	r.rlim_cur = (rlim_t)(pages * (unsigned long long)sysconf(_SC_PAGESIZE) + HUGE_STACK / 2);
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &r), 0);
}

static void allow_threads(void)
{
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &saved_limit), 0);
}

static void make_huge_pool(unsigned threads, unsigned queue)
{
	pool = pool_new(&(struct pool_conf){ .name = "huge", .threads = threads, .queue = queue, .tags = TAGS,
		.stack = HUGE_STACK });
	ck_assert_ptr_nonnull(pool);
}

START_TEST(jobs_for_which_no_thread_could_be_started_wait_for_the_next_splice)
{
	make_huge_pool(1, 10);
	forbid_threads();
	submit(0, 2, run_at_once);
	submit(2, 1, run_at_once);
	allow_threads();
	ck_assert_uint_eq(stats().queued, 3);
	ck_assert_uint_eq(stats().threads, 0);
	ck_assert_uint_eq(stats().waking, 0);
	ck_assert_uint_eq(stats().spawn_failed, 2);
	submit(3, 1, run_at_once);
	EVENTUALLY(stats().done == 4);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_ptr_eq(order[i], &jobs[i]);
}
END_TEST

static struct pool_stats splice_nothing(void)
{
	struct pool_batch nothing = { 0 };

	pool_splice(pool, &nothing);
	return stats();
}

START_TEST(splicing_nothing_tries_again_to_start_a_thread)
{
	make_huge_pool(4, 10);
	forbid_threads();
	submit(0, 1, run_at_once);
	EVENTUALLY(splice_nothing().spawn_failed > 2);
	allow_threads();
	ck_assert_uint_eq(stats().queued, 1);
	EVENTUALLY(splice_nothing().done == 1);
}
END_TEST

START_TEST(a_refused_job_tries_again_to_start_a_thread_for_those_that_wait)
{
	make_huge_pool(1, 0);
	forbid_threads();
	submit(0, 1, run_at_once);
	ck_assert(!pool_admit(pool));
	allow_threads();
	EVENTUALLY(pool_admit(pool));
	ck_assert_uint_eq(stats().done, 1);
}
END_TEST

START_TEST(the_threads_there_are_run_all_jobs_when_no_more_can_be_started)
{
	make_huge_pool(8, MANY);
	submit(0, 1, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	forbid_threads();
	submit(1, 100, run_at_once);
	ck_assert_uint_ge(stats().spawn_failed, 1);
	let_go(1);
	EVENTUALLY(stats().done == 101);
	allow_threads();
	ck_assert_uint_eq(stats().started, 1);
	ck_assert_uint_eq(stats().threads, 1);
}
END_TEST

START_TEST(a_job_behind_a_long_one_gets_its_thread_once_threads_can_be_started_again)
{
	make_huge_pool(2, MANY);
	submit(0, 1, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	forbid_threads();
	submit(1, 1, run_at_once);
	allow_threads();
	ck_assert_uint_eq(stats().spawn_failed, 1);
	EVENTUALLY(splice_nothing().done == 1);
	ck_assert_uint_eq(atomic_load(&inside), 1);
	let_go(1);
	EVENTUALLY(stats().done == 2);
}
END_TEST

/* ---- statistics -------------------------------------------------------------------------------------------------- */

START_TEST(histograms_count_waiting_and_running_by_tag)
{
	struct pool_batch batch = { 0 };
	struct pool_hist wait, run;
	uint64_t held_ns, free_ns, in_buckets = 0;
	unsigned slow_bucket = 0;

	make_pool(1, 10, 0);
	submit(0, 1, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	prepare(&batch, 1, 1, run_at_once);
	jobs[1].tag = 3;
	pool_splice(pool, &batch);
	held_ns = clock_now_ns();
	EVENTUALLY(clock_now_ns() - held_ns > 12 * NS_PER_MS);
	free_ns = clock_now_ns();
	held_ns = free_ns - held_ns;
	let_go(1);
	EVENTUALLY(stats().done == 2);
	free_ns = clock_now_ns() - free_ns;

	pool_hist(pool, 0, &wait, &run);
	ck_assert_uint_eq(wait.count, 1);
	ck_assert_uint_eq(run.count, 1);
	ck_assert_uint_ge(run.sum_ns, held_ns);
	while (run.sum_ns > pool_bucket_ns[slow_bucket])
		slow_bucket++;
	ck_assert_uint_eq(run.bucket[slow_bucket], 1);

	pool_hist(pool, 3, &wait, &run);
	ck_assert_uint_eq(wait.count, 1);
	ck_assert_uint_eq(run.count, 1);
	ck_assert_uint_ge(wait.sum_ns, held_ns);
	ck_assert_uint_le(run.sum_ns, free_ns);
	for (unsigned i = 0; i < POOL_BUCKETS; i++)
		in_buckets += wait.bucket[i];
	ck_assert_uint_eq(in_buckets, 1);

	pool_hist(pool, 1, &wait, &run);
	ck_assert_uint_eq(wait.count + run.count, 0);
	ck_assert_uint_eq(pool_bucket_ns[POOL_BUCKETS - 1], NEVER);
}
END_TEST

START_TEST(the_head_of_the_queue_says_since_when_it_waits)
{
	uint64_t before = clock_now_ns();

	make_pool(1, 10, 0);
	submit(0, 2, run_held);
	EVENTUALLY(atomic_load(&begun) == 1);
	ck_assert_uint_ge(stats().oldest_queued_ns, before);
	ck_assert_uint_le(stats().oldest_queued_ns, clock_now_ns());
	let_go(2);
	EVENTUALLY(stats().done == 2);
}
END_TEST

/* ---- the end ----------------------------------------------------------------------------------------------------- */

START_TEST(a_pool_can_be_freed_unused_with_idle_threads_and_as_null)
{
	pool_free(NULL);
	make_pool(4, 10, 0);
	pool_free(pool);
	make_pool(20, 20, 0);
	fill_and_rest(20);
	pool_free(pool);
	pool = NULL;
	ck_assert_uint_eq(atomic_load(&hooks_started), 20);
	ck_assert_uint_eq(atomic_load(&hooks_stopped), 20);
}
END_TEST

static void *let_go_when_freeing(void *arg)
{
	struct pool_stats s;

	/* The pool cannot go away before the last job was let go. */
	do
		pool_stats(arg, &s);
	while (s.limit != 0);
	ck_assert_uint_eq(s.running, 3);
	let_go(3);
	return NULL;
}

START_TEST(freeing_waits_for_running_jobs)
{
	pthread_t helper;

	make_pool(5, 10, 0);
	submit(0, 3, run_held);
	EVENTUALLY(atomic_load(&begun) == 3);
	ck_assert_int_eq(pthread_create(&helper, NULL, let_go_when_freeing, pool), 0);
	pool_free(pool);
	pool = NULL;
	ck_assert_uint_eq(atomic_load(&ended), 3);
	pthread_join(helper, NULL);
}
END_TEST

/* ---- everything at once ------------------------------------------------------------------------------------------ */

#define STRESS_JOBS 3000

struct stress {
	struct pool_job jobs[STRESS_JOBS];
	atomic_uchar runs[STRESS_JOBS];
	unsigned taken_back;
	unsigned seed;
};

static struct stress stress[3];
static atomic_bool stress_over;

static void run_stress(struct pool_job *job)
{
	struct stress *s = &stress[job->tag];
	size_t i = (size_t)(job - s->jobs);

	enter(job);
	atomic_fetch_add(&s->runs[i], 1);
	if (i % 97 == 0)
		usleep(200);
	atomic_fetch_sub(&inside, 1);
}

/* Splices batches of 1 to 40, and takes some of them back again. */
static void *stress_submit(void *arg)
{
	struct stress *s = arg;
	unsigned done = 0;

	while (done < STRESS_JOBS) {
		struct pool_batch batch = { 0 };
		unsigned n = 1 + (unsigned)rand_r(&s->seed) % 40, first = done;

		for (; batch.n < n && done < STRESS_JOBS && pool_admit(pool); done++) {
			s->jobs[done].run = run_stress;
			s->jobs[done].tag = (uint32_t)(s - stress);
			pool_batch_add(&batch, &s->jobs[done]);
		}
		pool_splice(pool, &batch);
		for (unsigned i = first; i < done; i += 7)
			if (pool_drop(pool, &s->jobs[i])) {
				s->taken_back++;
				ck_assert_uint_eq(atomic_fetch_add(&s->runs[i], 1), 0);
			}
	}
	return NULL;
}

static void *stress_resize(void *arg)
{
	unsigned seed = 7;

	(void)arg;
	while (!atomic_load(&stress_over)) {
		pool_resize(pool, 1 + (unsigned)rand_r(&seed) % 6, 20 + (unsigned)rand_r(&seed) % 100);
		stats();
		usleep((useconds_t)rand_r(&seed) % 300);
	}
	return NULL;
}

START_TEST(every_admitted_job_runs_once_or_is_taken_back_once)
{
	pthread_t submitters[3], resizer;
	uint64_t taken_back = 0;
	struct pool_stats s;

	atomic_store(&stress_over, false);
	memset(stress, 0, sizeof(stress));
	make_pool(4, 60, 100 * NS_PER_US);
	for (unsigned i = 0; i < 3; i++) {
		stress[i].seed = i + 1;
		ck_assert_int_eq(pthread_create(&submitters[i], NULL, stress_submit, &stress[i]), 0);
	}
	ck_assert_int_eq(pthread_create(&resizer, NULL, stress_resize, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(submitters[i], NULL);
		taken_back += stress[i].taken_back;
	}
	atomic_store(&stress_over, true);
	pthread_join(resizer, NULL);

	EVENTUALLY(stats().done + stats().dropped == 3 * STRESS_JOBS);
	s = stats();
	ck_assert_uint_eq(s.dropped, taken_back);
	for (unsigned t = 0; t < 3; t++) {
		struct pool_hist wait, run;

		for (unsigned i = 0; i < STRESS_JOBS; i++)
			ck_assert_uint_eq(atomic_load(&stress[t].runs[i]), 1);
		pool_hist(pool, t, &wait, &run);
		ck_assert_uint_eq(wait.count, STRESS_JOBS - stress[t].taken_back);
		ck_assert_uint_eq(run.count, wait.count);
		ck_assert_uint_eq(wait.bucket[POOL_BUCKETS - 1], 0);    /* nor did one wait for less than no time */
	}
	EVENTUALLY(stats().threads == 0);
	ck_assert_uint_le(atomic_load(&peak), 6);
}
END_TEST

int main(void)
{
	TCase *threads = tcase_create("threads"), *failing = tcase_create("no threads"), *end = tcase_create("the end");
	TCase *cases[] = { threads, failing, end };

	tcase_add_test(threads, idle_threads_end_by_themselves_and_come_back_when_needed);
	tcase_add_test(threads, threads_that_are_needed_again_before_their_time_stay);
	tcase_add_test(threads, the_last_worker_to_go_idle_is_woken_first);
	tcase_add_test(threads, one_job_after_the_other_takes_one_thread);
	tcase_add_test(threads, a_job_behind_a_long_one_gets_a_thread_of_its_own);
	tcase_add_test(threads, a_batch_whose_first_job_blocks_strands_none_of_the_others);
	tcase_add_test(threads, blocking_jobs_of_a_kind_known_as_short_still_get_all_threads);
	tcase_add_test(threads, a_splice_starts_one_thread_and_leaves_the_others_to_that);
	tcase_add_test(threads, for_jobs_known_as_short_a_worker_starts_one_thread_at_a_time);
	tcase_add_test(threads, a_batch_of_short_jobs_wakes_one_worker_and_starts_one);
	tcase_add_test(threads, batches_of_short_jobs_wake_few_of_many_idle_workers);
	tcase_add_test(threads, for_jobs_that_may_run_long_a_worker_starts_several_threads);
	tcase_add_test(threads, a_worker_has_its_name_its_stack_its_pool_and_no_signals);
	tcase_add_test(threads, a_stack_too_small_to_live_on_is_made_larger);
	tcase_add_test(threads, a_stack_of_the_systems_default_is_told);

	tcase_add_test(failing, jobs_for_which_no_thread_could_be_started_wait_for_the_next_splice);
	tcase_add_test(failing, splicing_nothing_tries_again_to_start_a_thread);
	tcase_add_test(failing, a_refused_job_tries_again_to_start_a_thread_for_those_that_wait);
	tcase_add_test(failing, the_threads_there_are_run_all_jobs_when_no_more_can_be_started);
	tcase_add_test(failing, a_job_behind_a_long_one_gets_its_thread_once_threads_can_be_started_again);

	tcase_add_test(end, histograms_count_waiting_and_running_by_tag);
	tcase_add_test(end, the_head_of_the_queue_says_since_when_it_waits);
	tcase_add_test(end, a_pool_can_be_freed_unused_with_idle_threads_and_as_null);
	tcase_add_test(end, freeing_waits_for_running_jobs);
	tcase_add_test(end, every_admitted_job_runs_once_or_is_taken_back_once);

	return run_suite("pool threads", cases, sizeof(cases) / sizeof(cases[0]));
}
