/*
 * test_pool_queue.c: the order of a pool's jobs: priorities, expiry; all of it against a plain list.
 */
#include "pool_queue_fixture.h"

#include <stdlib.h>
#include <sys/mman.h>

/* ---- order ------------------------------------------------------------------------------------------------------- */

START_TEST(jobs_come_out_in_the_order_in_which_they_were_put_in)
{
	ck_assert_int_eq(take(), -1);
	put_range(0, 3);
	put_range(3, 1);
	now += 3600 * NS_PER_S;
	put_range(4, 5);
	ck_assert_uint_eq(q.queued, 9);
	for (int i = 0; i < 9; i++)
		ck_assert_int_eq(take(), i);
	ck_assert_int_eq(take(), -1);
	ck_assert_uint_eq(q.queued, 0);
}
END_TEST

START_TEST(high_priority_goes_first_and_each_priority_keeps_its_order)
{
	for (unsigned i = 0; i < 10; i++)
		jobs[i].priority = i % 3 == 0;
	put_range(0, 10);
	ck_assert_ptr_eq(pool_queue_peek(&q), &jobs[0]);
	for (unsigned i = 0; i < 10; i += 3)
		ck_assert_int_eq(take(), (int)i);
	ck_assert_ptr_eq(pool_queue_peek(&q), &jobs[1]);
	for (unsigned i = 0; i < 10; i++)
		if (i % 3 != 0)
			ck_assert_int_eq(take(), (int)i);
	ck_assert_ptr_null(pool_queue_peek(&q));
}
END_TEST

START_TEST(of_nine_jobs_at_most_eight_are_high_while_others_wait)
{
	unsigned high = 0, taken[2] = { 0, 0 };

	for (unsigned i = 0; i < 100; i++)
		jobs[i].priority = i >= 10;
	put_range(0, 100);
	for (unsigned i = 0; i < 90; i++) {
		bool is_high = take() >= 10;

		taken[is_high]++;
		high = is_high ? high + 1 : 0;
		ck_assert_uint_le(high, POOL_HIGH_MAX);
	}
	ck_assert_uint_eq(taken[0], 10);
	ck_assert_uint_eq(taken[1], 80);
	for (int i = 90; i < 100; i++)          /* nobody else waits: no turn is left out */
		ck_assert_int_eq(take(), i);
}
END_TEST

START_TEST(turns_that_nobody_else_waited_for_are_not_counted)
{
	for (unsigned i = 0; i < 40; i++)
		jobs[i].priority = i != 39;
	put_range(0, 38);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(take(), i);
	put(39);
	for (int i = 20; i < 28; i++)
		ck_assert_int_eq(take(), i);
	ck_assert_int_eq(take(), 39);
	ck_assert_int_eq(take(), 28);
}
END_TEST

START_TEST(a_normal_job_waits_for_eight_high_ones_however_many_come)
{
	unsigned next = 1;

	for (unsigned i = 1; i < MANY; i++)
		jobs[i].priority = 1;
	put(0);
	for (unsigned before = 0;; before++) {
		put_range(next, 3);
		next += 3;
		if (take() == 0) {
			ck_assert_uint_eq(before, POOL_HIGH_MAX);
			break;
		}
	}
}
END_TEST

START_TEST(a_job_can_be_removed_from_anywhere)
{
	static const unsigned gone[] = { 0, 1, 5, 6, 11 };
	unsigned k = 0;

	for (unsigned i = 0; i < 12; i++)
		jobs[i].priority = i % 2;
	put_range(0, 12);
	for (unsigned i = 0; i < 5; i++) {
		pool_queue_remove(&q, &jobs[gone[i]]);
		ck_assert_ptr_null(jobs[gone[i]].queue);
	}
	ck_assert_uint_eq(q.queued, 7);
	for (unsigned turn = 0; turn < 2; turn++)
		for (unsigned i = 0; i < 12; i++)
			if (i % 2 == 1 - turn && i != 0 && i != 1 && i != 5 && i != 6 && i != 11) {
				ck_assert_int_eq(take(), (int)i);
				k++;
			}
	ck_assert_uint_eq(k, 7);
	put(5);
	pool_queue_remove(&q, &jobs[5]);
	ck_assert_int_eq(take(), -1);
	put(5);
	ck_assert_int_eq(take(), 5);
}
END_TEST

START_TEST(a_job_that_replaces_another_comes_in_its_turn_and_expires_at_its_own_time)
{
	static const unsigned first_middle_last[] = { 0, 2, 4 };

	put_range(0, 3);
	put_with_time(3, now + 10 * NS_PER_S);
	put(4);
	if (_i > 0)
		sweep();                                /* which files those with a time */
	for (int i = 0; i < 3; i++) {
		struct pool_job *old = &jobs[first_middle_last[i]], *job = old + 10;

		job->expired = expired;
		job->expires_ns = now + NS_PER_S;
		pool_queue_replace(&q, old, job);
		ck_assert_ptr_null(old->queue);
		ck_assert_uint_eq(job->queued_ns, old->queued_ns);
	}
	ck_assert_uint_eq(q.queued, 5);
	ck_assert_int_eq(take(), 10);
	ck_assert_int_eq(take(), 1);
	now += 2 * NS_PER_S;
	sweep();
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 2);
	ck_assert_int_eq(first_lost(POOL_TIMED_OUT), 12);
	ck_assert_int_eq(take(), 3);
	ck_assert_int_eq(take(), -1);
}
END_TEST

START_TEST(the_oldest_is_known_and_a_clock_that_was_read_early_makes_none_older)
{
	uint64_t first = now;

	ck_assert_uint_eq(pool_queue_oldest(&q), NEVER);
	jobs[1].priority = 1;
	put(0);
	now += 7;
	put(1);
	ck_assert_uint_eq(pool_queue_oldest(&q), first);
	ck_assert_int_eq(take(), 1);
	ck_assert_uint_eq(pool_queue_oldest(&q), first);
	now -= 5;                               /* who put 2 waited for the lock meanwhile */
	put(2);
	ck_assert_uint_eq(jobs[2].queued_ns, first + 7);
	ck_assert_int_eq(take(), 0);
	ck_assert_int_eq(take(), 2);
}
END_TEST

/* ---- expiry ------------------------------------------------------------------------------------------------------ */

START_TEST(a_job_does_not_start_once_its_time_has_come)
{
	put_with_time(0, now + 10);
	put_with_time(1, now + 20);
	put_with_time(2, now + 21);
	put(3);
	now += 9;
	ck_assert_int_eq(take(), 0);
	now += 11;
	ck_assert_int_eq(take(), 2);
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 1);
	ck_assert_int_eq(first_lost(POOL_TIMED_OUT), 1);
	ck_assert_int_eq(take(), 3);
	ck_assert_uint_eq(pool_queue_due(&q), NEVER);
}
END_TEST

START_TEST(only_expired_jobs_are_left_and_take_gives_none)
{
	for (unsigned i = 0; i < 6; i++) {
		jobs[i].priority = i % 2;
		put_with_time(i, now + 10);
	}
	now += 10;
	ck_assert_int_eq(take(), -1);
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 6);
	ck_assert_uint_eq(count_lost(POOL_SHED), 0);
	ck_assert_uint_eq(q.queued, 0);
}
END_TEST

START_TEST(no_time_no_callback_and_never_all_mean_that_a_job_stays)
{
	jobs[0].expired = expired;              /* no time */
	jobs[1].expires_ns = now + 1;           /* nobody to tell */
	jobs[2].expired = expired;
	jobs[2].expires_ns = NEVER;
	put_range(0, 3);
	ck_assert_uint_eq(pool_queue_due(&q), NEVER);
	now += UINT64_C(1) << 55;
	ck_assert_uint_eq(sweep(), NEVER);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(take(), i);
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

/* Follows due() until the job is found: never early, at most one tick late, in few steps. */
START_TEST(a_sweep_when_due_finds_a_job_at_its_time)
{
	static const uint64_t after[] = { 1, NS_PER_MS, 30 * NS_PER_MS, 99 * NS_PER_MS, 2 * NS_PER_S, 30 * NS_PER_S,
		3600 * NS_PER_S, 40 * 24 * 3600 * NS_PER_S };

	for (unsigned i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
		uint64_t at = now + after[i];
		unsigned steps = 0;

		put_with_time(i, at);
		while (count_lost(POOL_TIMED_OUT) == 0) {
			uint64_t due = pool_queue_due(&q);

			ck_assert_uint_lt(steps++, 10);
			ck_assert_uint_le(due, at + TICK_NS);
			now = due > now ? due : now;
			sweep();
		}
		ck_assert_int_eq(first_lost(POOL_TIMED_OUT), (int)i);
		ck_assert_uint_ge(now, at);
		ck_assert_uint_le(now, at + TICK_NS);
		forget_lost();
	}
}
END_TEST

START_TEST(a_sweep_takes_out_what_is_due_from_anywhere_and_leaves_the_rest_in_order)
{
	for (unsigned i = 0; i < 300; i++) {
		jobs[i].priority = i % 2;
		if (i % 3 == 0)
			put(i);
		else
			put_with_time(i, now + (i % 3 == 1 ? NS_PER_S : 5 * NS_PER_S));
	}
	now += NS_PER_S - 1;
	sweep();
	ck_assert(!pool_lost_any(&lost));
	now += TICK_NS + 1;
	sweep();
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 100);
	ck_assert_uint_eq(q.queued, 200);
	forget_lost();
	for (int i = 1, high = 0; high < 8; i += 2)
		if (i % 3 != 1) {
			ck_assert_int_eq(take(), i);
			high++;
		}
	ck_assert_int_eq(take(), 0);
	now += 5 * NS_PER_S;
	ck_assert_uint_eq(sweep(), NEVER);
	while (q.queued > 0)
		ck_assert_int_eq(take() % 3, 0);
	ck_assert_int_eq(take(), -1);
}
END_TEST

START_TEST(a_sweep_looks_once_at_a_job_that_is_not_due)
{
	size_t size = MANY * sizeof(struct pool_job);
	struct pool_job *far = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pool_batch b = { 0 };
	uint64_t due;

	ck_assert_ptr_ne(far, MAP_FAILED);
	for (unsigned i = 0; i < MANY; i++) {
		far[i].expired = expired;
		far[i].expires_ns = now + 40 * NS_PER_S;
		pool_batch_add(&b, &far[i]);
	}
	pool_queue_put(&q, &b, now);
	sweep();                                /* files them */
	jobs[0].priority = 1;                   /* in a lane of its own, so that it is nobody's neighbour */
	put_with_time(0, now + 3 * NS_PER_MS);
	ck_assert_int_eq(mprotect(far, size, PROT_NONE), 0);
	now += 5 * NS_PER_MS;
	due = sweep();
	ck_assert_int_eq(mprotect(far, size, PROT_READ | PROT_WRITE), 0);
	ck_assert_int_eq(first_lost(POOL_TIMED_OUT), 0);
	ck_assert_uint_gt(due, now + NS_PER_S); /* and it will not be asked for again and again */
	pool_queue_init(&q, false, 0, 0, now);
	munmap(far, size);
}
END_TEST

START_TEST(a_sweep_files_what_has_come_since_the_last)
{
	for (int i = 0; i < 6; i++)
		put_with_time(i, now + (uint64_t)(i + 1) * 10 * NS_PER_MS);
	ck_assert_uint_le(pool_queue_due(&q), now + 10 * NS_PER_MS);
	pool_queue_remove(&q, &jobs[0]);        /* the first that is not filed, one in the middle, the last */
	pool_queue_remove(&q, &jobs[3]);
	pool_queue_remove(&q, &jobs[5]);
	sweep();
	pool_queue_remove(&q, &jobs[1]);        /* filed */
	jobs[0].expired = expired;
	put_with_time(0, now + 20 * NS_PER_MS); /* behind filed ones */
	now += 30 * NS_PER_MS + 2 * TICK_NS;
	sweep();
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 2);
	ck_assert_int_eq(take(), 4);
	ck_assert_int_eq(take(), -1);
	ck_assert_uint_eq(pool_queue_due(&q), NEVER);
}
END_TEST

START_TEST(a_job_that_was_taken_or_removed_does_not_expire)
{
	put_with_time(0, now + NS_PER_MS);
	put_with_time(1, now + NS_PER_MS);
	ck_assert_int_eq(take(), 0);
	pool_queue_remove(&q, &jobs[1]);
	ck_assert_uint_eq(pool_queue_due(&q), NEVER);
	now += NS_PER_S;
	sweep();
	ck_assert(!pool_lost_any(&lost));
	put_with_time(0, now + NS_PER_MS);      /* used again */
	now += NS_PER_S;
	sweep();
	ck_assert_int_eq(first_lost(POOL_TIMED_OUT), 0);
}
END_TEST

START_TEST(a_job_put_in_after_its_time_is_due_at_once)
{
	put_with_time(0, now - NS_PER_S);
	put_with_time(1, 1);
	ck_assert_uint_le(pool_queue_due(&q), now);
	sweep();
	ck_assert_uint_eq(count_lost(POOL_TIMED_OUT), 2);
	ck_assert_uint_eq(q.queued, 0);
}
END_TEST

START_TEST(without_codel_the_order_stays_however_long_they_wait)
{
	for (unsigned i = 0; i < 20; i++)
		jobs[i].expired = expired;
	put_range(0, 20);
	for (int i = 0; i < 20; i++) {
		now += NS_PER_S;
		sweep();
		ck_assert_int_eq(take(), i);
	}
	ck_assert(!q.overloaded);
	ck_assert(!pool_lost_any(&lost));
}
END_TEST

/* ---- against a reference ----------------------------------------------------------------------------------------- */

struct model {
	unsigned waiting[MANY], n, high_run;
};

static void model_remove(struct model *m, unsigned k)
{
	memmove(&m->waiting[k], &m->waiting[k + 1], (m->n - k - 1) * sizeof(m->waiting[0]));
	m->n--;
}

static int model_first(const struct model *m, unsigned priority)
{
	for (unsigned k = 0; k < m->n; k++)
		if (jobs[m->waiting[k]].priority == priority)
			return (int)k;
	return -1;
}

static bool model_is_over(unsigned i)
{
	return jobs[i].expired && jobs[i].expires_ns != 0 && jobs[i].expires_ns <= now;
}

static int model_take(struct model *m)
{
	for (;;) {
		int high = model_first(m, 1), normal = model_first(m, 0), k;
		unsigned i;

		k = high >= 0 && (normal < 0 || m->high_run < 8) ? high : normal;
		if (k < 0)
			return -1;
		i = m->waiting[k];
		model_remove(m, (unsigned)k);
		if (model_is_over(i))
			continue;
		m->high_run = jobs[i].priority && normal >= 0 ? m->high_run + 1 : 0;
		return (int)i;
	}
}

static unsigned find_idle(const struct model *m, unsigned *seed)
{
	for (;;) {
		unsigned i = (unsigned)rand_r(seed) % MANY, k = 0;

		while (k < m->n && m->waiting[k] != i)
			k++;
		if (k == m->n)
			return i;
	}
}

START_TEST(any_sequence_of_operations_gives_what_a_plain_list_would)
{
	unsigned seed = 1 + (unsigned)_i, given = 0, taken = 0, removed = 0, gone = 0;
	static struct model m;

	memset(&m, 0, sizeof(m));
	for (unsigned step = 0; step < 20000; step++) {
		unsigned what = (unsigned)rand_r(&seed) % 10;

		now += (unsigned)rand_r(&seed) % (8 * TICK_NS);
		if (what < 5 && m.n < 200) {
			unsigned i = find_idle(&m, &seed);

			jobs[i].priority = rand_r(&seed) % 3 == 0;
			jobs[i].expired = rand_r(&seed) % 4 == 0 ? NULL : expired;
			jobs[i].expires_ns = rand_r(&seed) % 4 ? now + (unsigned)rand_r(&seed) % (900 * TICK_NS) : 0;
			put(i);
			m.waiting[m.n++] = i;
			given++;
		} else if (what < 8) {
			int got = take();

			ck_assert_int_eq(got, model_take(&m));
			taken += got >= 0;
		} else if (what == 8 && m.n > 0) {
			unsigned k = (unsigned)rand_r(&seed) % m.n;

			if (jobs[m.waiting[k]].queue) {
				pool_queue_remove(&q, &jobs[m.waiting[k]]);
				removed++;
				model_remove(&m, k);
			}
		} else {
			sweep();
			/* What is left may be over by less than a tick. */
			for (unsigned k = m.n; k-- > 0;) {
				const struct pool_job *job = &jobs[m.waiting[k]];

				ck_assert(job->queue || model_is_over(m.waiting[k]));
				ck_assert(!job->queue || !model_is_over(m.waiting[k]) ||
					now < job->expires_ns + TICK_NS);
				if (!job->queue)
					model_remove(&m, k);
			}
		}
		gone += count_lost(POOL_TIMED_OUT);
		ck_assert_uint_eq(count_lost(POOL_SHED), 0);
		forget_lost();
		ck_assert_uint_eq(q.queued, m.n);
		ck_assert_uint_eq(given, taken + removed + gone + q.queued);
	}
	ck_assert_uint_gt(taken, 1000);
	ck_assert_uint_gt(gone, 100);
}
END_TEST

int main(void)
{
	TCase *order = tcase_create("order"), *expiry = tcase_create("expiry");
	TCase *cases[] = { order, expiry };

	tcase_add_test(order, jobs_come_out_in_the_order_in_which_they_were_put_in);
	tcase_add_test(order, high_priority_goes_first_and_each_priority_keeps_its_order);
	tcase_add_test(order, of_nine_jobs_at_most_eight_are_high_while_others_wait);
	tcase_add_test(order, turns_that_nobody_else_waited_for_are_not_counted);
	tcase_add_test(order, a_normal_job_waits_for_eight_high_ones_however_many_come);
	tcase_add_test(order, a_job_can_be_removed_from_anywhere);
	tcase_add_loop_test(order, a_job_that_replaces_another_comes_in_its_turn_and_expires_at_its_own_time, 0, 2);
	tcase_add_test(order, the_oldest_is_known_and_a_clock_that_was_read_early_makes_none_older);
	tcase_add_loop_test(order, any_sequence_of_operations_gives_what_a_plain_list_would, 0, 4);

	tcase_add_test(expiry, a_job_does_not_start_once_its_time_has_come);
	tcase_add_test(expiry, only_expired_jobs_are_left_and_take_gives_none);
	tcase_add_test(expiry, no_time_no_callback_and_never_all_mean_that_a_job_stays);
	tcase_add_test(expiry, a_sweep_when_due_finds_a_job_at_its_time);
	tcase_add_test(expiry, a_sweep_takes_out_what_is_due_from_anywhere_and_leaves_the_rest_in_order);
	tcase_add_test(expiry, a_sweep_looks_once_at_a_job_that_is_not_due);
	tcase_add_test(expiry, a_sweep_files_what_has_come_since_the_last);
	tcase_add_test(expiry, a_job_that_was_taken_or_removed_does_not_expire);
	tcase_add_test(expiry, a_job_put_in_after_its_time_is_due_at_once);
	tcase_add_test(expiry, without_codel_the_order_stays_however_long_they_wait);

	return run_queue_suite("pool queue", cases, sizeof(cases) / sizeof(cases[0]), set_up);
}
