/* test_park.c: one waiter and its wakers, on a fiber and on a thread, in every order.
 *
 * A fiber's wake is a message to its loop and its time-out a timer of that loop, so the order of the two is the test's
 * to choose: more messages than a turn runs, put before the wake, let the timer come first.
 */
#include "../loop_script.h"

#include "park.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define MESSAGES_A_TURN 64

/* A fiber that waits `waits` times. */
struct waiter {
	struct park park;
	struct fiber *fiber;
	uint64_t deadline_ns;
	int waits, results[4];
	unsigned done, resumed;
	bool ended;
	int *seen;              /* read after each wait; may be NULL */
	int saw;
};

static struct loop *loop;
static struct fiber_pool *fibers;
static struct loop_msg fillers[MESSAGES_A_TURN];

static void set_up(void)
{
	loop = loop_new_script(NULL);
	fibers = fiber_pool_new(&(struct fiber_conf){ .live_max = 4, .spare_max = 4 });
	ck_assert_ptr_nonnull(fibers);
}

static void tear_down(void)
{
	ck_assert_uint_eq(fiber_pool_live(fibers), 0);
	ck_assert_uint_eq(loop->wheel.armed, 0);
	fiber_pool_free(fibers);
	loop_free(loop);
}

static void resume(struct park *p)
{
	struct waiter *w = container_of(p, struct waiter, park);

	ck_assert_ptr_null(fiber_current(fibers));      /* never from inside another handler */
	w->resumed++;
	w->ended = fiber_resume(p->fiber);
}

static void wait_main(void *arg)
{
	struct waiter *w = arg;

	while ((int)w->done < w->waits) {
		w->results[w->done] = park_wait(&w->park, w->deadline_ns);
		w->done++;
		if (w->seen)
			w->saw = *w->seen;
	}
}

static void start(struct waiter *w, int waits, uint64_t deadline_ns)
{
	struct fiber *f;

	w->waits = waits;
	w->deadline_ns = deadline_ns;
	ck_assert_int_eq(fiber_start(fibers, 0, "waiter", wait_main, w, &f), 0);
	w->ended = f == NULL;
}

static void prepare(struct waiter *w)
{
	*w = (struct waiter){ .waits = 0 };
	park_init_fiber(&w->park, loop, fibers, resume);
}

static void nothing(struct loop_msg *m)
{
	(void)m;
}

/* Whatever is posted next is not run in the coming turn. */
static void fill_turn(void)
{
	for (int i = 0; i < MESSAGES_A_TURN; i++) {
		fillers[i].fn = nothing;
		loop_post(loop, &fillers[i]);
	}
}

static uint64_t in_ms(uint64_t ms)
{
	return loop->now_ns + ms * NS_PER_MS;
}

static void pass_ms(uint64_t ms)
{
	script_advance(loop, ms * NS_PER_MS);
	script_turns(loop, 1);
}

/* ---- on a fiber -------------------------------------------------------------------------------------------------- */

START_TEST(a_wake_before_the_wait_is_remembered)
{
	struct waiter w;

	prepare(&w);
	park_wake(&w.park);
	start(&w, 1, NEVER);
	ck_assert(w.ended);
	ck_assert_int_eq(w.results[0], 0);
	ck_assert_uint_eq(w.resumed, 0);
}
END_TEST

START_TEST(of_many_wakes_before_the_wait_one_is_remembered)
{
	struct waiter w;

	prepare(&w);
	park_wake(&w.park);
	park_wake(&w.park);
	park_wake(&w.park);
	start(&w, 2, in_ms(10));
	ck_assert(!w.ended);
	ck_assert_uint_eq(w.done, 1);
	pass_ms(20);
	ck_assert(w.ended);
	ck_assert_int_eq(w.results[1], -ETIMEDOUT);
}
END_TEST

START_TEST(a_wake_resumes_from_the_loop_and_not_from_the_waker)
{
	struct waiter w;
	int seen = 1;

	prepare(&w);
	w.seen = &seen;
	start(&w, 1, NEVER);
	ck_assert(!w.ended);
	script_turns(loop, 3);
	ck_assert_uint_eq(w.resumed, 0);
	seen = 2;
	park_wake(&w.park);
	park_wake(&w.park);
	ck_assert_uint_eq(w.resumed, 0);
	script_turns(loop, 1);
	ck_assert(w.ended);
	ck_assert_uint_eq(w.resumed, 1);
	ck_assert_int_eq(w.saw, 2);
	script_turns(loop, 2);
	ck_assert_uint_eq(w.resumed, 1);
}
END_TEST

START_TEST(a_wake_takes_the_timer_back)
{
	struct waiter w;

	prepare(&w);
	start(&w, 2, in_ms(50));
	ck_assert_uint_eq(loop->wheel.armed, 1);
	park_wake(&w.park);
	script_turns(loop, 1);
	ck_assert_uint_eq(w.done, 1);
	ck_assert_int_eq(w.results[0], 0);
	ck_assert_uint_eq(loop->wheel.armed, 1);        /* the second wait's */
	pass_ms(60);
	ck_assert_int_eq(w.results[1], -ETIMEDOUT);
}
END_TEST

START_TEST(time_runs_out_at_the_deadline_and_not_before)
{
	struct waiter w;

	prepare(&w);
	start(&w, 1, in_ms(50));
	pass_ms(49);
	ck_assert_uint_eq(w.done, 0);
	pass_ms(3);
	ck_assert(w.ended);
	ck_assert_int_eq(w.results[0], -ETIMEDOUT);
}
END_TEST

START_TEST(a_deadline_that_has_passed_suspends_for_a_turn_only)
{
	struct waiter w;

	prepare(&w);
	start(&w, 1, 1);
	script_turns(loop, 1);
	ck_assert(w.ended);
	ck_assert_int_eq(w.results[0], -ETIMEDOUT);
}
END_TEST

START_TEST(a_wait_without_deadline_arms_no_timer)
{
	struct waiter w;

	prepare(&w);
	start(&w, 1, NEVER);
	ck_assert_uint_eq(loop->wheel.armed, 0);
	park_wake(&w.park);
	script_turns(loop, 1);
	ck_assert(w.ended);
}
END_TEST

START_TEST(a_timer_behind_a_wake_leaves_the_resumption_to_it)
{
	struct waiter w;

	prepare(&w);
	start(&w, 1, in_ms(10));
	fill_turn();
	park_wake(&w.park);
	pass_ms(20);                            /* the timer fires; the wake's message waits for the next turn */
	ck_assert_uint_eq(w.done, 0);
	ck_assert_uint_eq(w.resumed, 0);
	script_turns(loop, 1);
	ck_assert(w.ended);
	ck_assert_int_eq(w.results[0], 0);
	ck_assert_uint_eq(w.resumed, 1);
}
END_TEST

START_TEST(a_wake_behind_the_timer_is_the_next_waits)
{
	struct waiter w;

	prepare(&w);
	start(&w, 1, in_ms(10));
	pass_ms(20);
	ck_assert_int_eq(w.results[0], -ETIMEDOUT);
	park_wake(&w.park);
	script_turns(loop, 2);
	ck_assert_uint_eq(w.resumed, 1);
	w.done = 0;
	start(&w, 1, NEVER);
	ck_assert(w.ended);
	ck_assert_int_eq(w.results[0], 0);
}
END_TEST

static struct waiter *other;

static void wake_other(struct loop_msg *m)
{
	(void)m;
	park_wake(&other->park);
}

START_TEST(a_wake_between_the_message_and_the_resumption_is_taken_with_it)
{
	struct waiter w;
	struct loop_msg m = { .fn = wake_other };

	prepare(&w);
	other = &w;
	start(&w, 2, in_ms(1000));
	loop_post(loop, &m);                    /* runs before the wake's own message */
	park_wake(&w.park);
	script_turns(loop, 1);
	ck_assert_uint_eq(w.resumed, 1);
	ck_assert_uint_eq(w.done, 1);           /* one wake for the two */
	pass_ms(2000);
	ck_assert_int_eq(w.results[1], -ETIMEDOUT);
}
END_TEST

static void *wake_often(void *arg)
{
	struct waiter *w = arg;

	for (int i = 0; i < 2000; i++)
		park_wake(&w->park);
	return NULL;
}

static void wait_until_told(void *arg)
{
	struct waiter *w = arg;

	while (!w->waits) {
		int rc = park_wait(&w->park, 1);                /* time-outs and wakes, one behind the other */

		ck_assert(rc == 0 || rc == -ETIMEDOUT);
		w->done++;
	}
}

START_TEST(wakes_of_another_thread_and_timers_resume_once_each)
{
	struct waiter w;
	struct fiber *f;
	pthread_t thread;

	prepare(&w);
	ck_assert_int_eq(fiber_start(fibers, 0, "waiter", wait_until_told, &w, &f), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, wake_often, &w), 0);
	for (int i = 0; i < 3000; i++)
		script_turns(loop, 1);
	pthread_join(thread, NULL);
	w.waits = 1;
	script_turns(loop, 3);
	ck_assert(w.ended);
}
END_TEST

/* ---- on a thread ------------------------------------------------------------------------------------------------- */

START_TEST(a_thread_takes_a_wake_that_came_before)
{
	struct park p;

	park_init_thread(&p);
	park_wake(&p);
	park_wake(&p);
	ck_assert_int_eq(park_wait(&p, NEVER), 0);
	ck_assert_int_eq(park_wait(&p, clock_now_ns()), -ETIMEDOUT);
}
END_TEST

START_TEST(a_thread_wakes_at_its_deadline_and_not_before)
{
	struct park p;
	uint64_t deadline = clock_now_ns() + 20 * NS_PER_MS;

	park_init_thread(&p);
	ck_assert_int_eq(park_wait(&p, deadline), -ETIMEDOUT);
	ck_assert_uint_ge(clock_now_ns(), deadline);
	ck_assert_int_eq(park_wait(&p, 0), -ETIMEDOUT);
}
END_TEST

struct relay {
	struct park to, from;
	int value;
};

static void *answer(void *arg)
{
	struct relay *r = arg;

	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(park_wait(&r->to, NEVER), 0);
		r->value++;                     /* plain: the wakes order it */
		park_wake(&r->from);
	}
	return NULL;
}

START_TEST(what_was_written_before_a_wake_is_seen_after_it)
{
	struct relay r = { .value = 0 };
	pthread_t thread;

	park_init_thread(&r.to);
	park_init_thread(&r.from);
	ck_assert_int_eq(pthread_create(&thread, NULL, answer, &r), 0);
	for (int i = 0; i < 1000; i++) {
		r.value++;
		park_wake(&r.to);
		ck_assert_int_eq(park_wait(&r.from, NEVER), 0);
		ck_assert_int_eq(r.value, 2 * (i + 1));
	}
	pthread_join(thread, NULL);
}
END_TEST

static void *wake_and_forget(void *arg)
{
	park_wake(arg);
	return NULL;
}

START_TEST(a_wake_that_comes_with_the_time_out_is_taken_once)
{
	for (int i = 0; i < 200; i++) {
		struct park p;
		pthread_t thread;
		int first, second;

		park_init_thread(&p);
		ck_assert_int_eq(pthread_create(&thread, NULL, wake_and_forget, &p), 0);
		first = park_wait(&p, clock_now_ns() + (uint64_t)i * 1000);
		pthread_join(thread, NULL);
		second = park_wait(&p, clock_now_ns());
		ck_assert((first == 0 && second == -ETIMEDOUT) || (first == -ETIMEDOUT && second == 0));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("park");
	TCase *fiber = tcase_create("fiber"), *thread = tcase_create("thread");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(fiber, set_up, tear_down);
	tcase_add_test(fiber, a_wake_before_the_wait_is_remembered);
	tcase_add_test(fiber, of_many_wakes_before_the_wait_one_is_remembered);
	tcase_add_test(fiber, a_wake_resumes_from_the_loop_and_not_from_the_waker);
	tcase_add_test(fiber, a_wake_takes_the_timer_back);
	tcase_add_test(fiber, time_runs_out_at_the_deadline_and_not_before);
	tcase_add_test(fiber, a_deadline_that_has_passed_suspends_for_a_turn_only);
	tcase_add_test(fiber, a_wait_without_deadline_arms_no_timer);
	tcase_add_test(fiber, a_timer_behind_a_wake_leaves_the_resumption_to_it);
	tcase_add_test(fiber, a_wake_behind_the_timer_is_the_next_waits);
	tcase_add_test(fiber, a_wake_between_the_message_and_the_resumption_is_taken_with_it);
	tcase_add_test(fiber, wakes_of_another_thread_and_timers_resume_once_each);
	tcase_add_test(thread, a_thread_takes_a_wake_that_came_before);
	tcase_add_test(thread, a_thread_wakes_at_its_deadline_and_not_before);
	tcase_add_test(thread, what_was_written_before_a_wake_is_seen_after_it);
	tcase_add_test(thread, a_wake_that_comes_with_the_time_out_is_taken_once);
	tcase_set_timeout(fiber, 60);
	tcase_set_timeout(thread, 60);
	suite_add_tcase(suite, fiber);
	suite_add_tcase(suite, thread);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
