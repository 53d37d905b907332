/* test_lane.c: when a route changes its lane.
 *
 * The rule is played by script: runs, holds and the time between them are the test's.  The meter is given threads that
 * really sleep and compute.  A lane's own part, pins and what is told of it, is asked with nobody else about.
 */
#include "lane.h"
#include "lane_meter.h"
#include "base/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUDGET (200 * NS_PER_US)
#define HOLD (2 * NS_PER_MS)
#define STALL (10 * NS_PER_MS)
#define RUNS 100u

static const struct lane_limits limits = { .budget_ns = BUDGET, .hold_ns = HOLD, .stall_ns = STALL, .runs = RUNS };
static struct lane_record rec;
static uint64_t now;

static void begin(enum lane_kind kind)
{
	rec = (struct lane_record){ .kind = kind, .pooled = kind == LANE_ADAPTIVE };
	now = NS_PER_S;
}

static bool ran_with(uint64_t ns, enum lane_cause cause, bool proof)
{
	struct lane_run run = { .longest_ns = ns, .cause = cause, .proof = proof };

	now += NS_PER_US;
	if (!lane_rule_ran(&rec, &limits, &run, now))
		return false;
	lane_rule_moved(&rec, &limits, false, false, now);
	return true;
}

static bool ran(uint64_t ns)
{
	return ran_with(ns, LANE_CPU, true);
}

static bool held(uint64_t ns, enum lane_cause cause)
{
	if (!lane_rule_held(&rec, &limits, ns, cause))
		return false;
	lane_rule_moved(&rec, &limits, true, true, now);
	return true;
}

/* Clean runs until it is promoted. */
static unsigned runs_to_promotion(void)
{
	unsigned n = 1;

	while (!ran(BUDGET / 10))
		ck_assert_uint_lt(n++, 10000000);
	return n;
}

START_TEST(a_route_is_promoted_by_as_many_clean_runs_as_are_asked_for)
{
	begin(LANE_ADAPTIVE);
	for (unsigned i = 1; i < RUNS; i++)
		ck_assert(!ran(BUDGET));
	ck_assert(ran(BUDGET));
	ck_assert(!rec.pooled);
	ck_assert_uint_eq(rec.runs, RUNS);
	ck_assert(!ran(BUDGET)); /* one that was still in the pool */
	ck_assert_uint_eq(rec.runs, RUNS);
}
END_TEST

START_TEST(one_run_in_a_hundred_may_be_over_the_budget)
{
	begin(LANE_ADAPTIVE);
	ck_assert(!ran(BUDGET + 1));
	ck_assert_uint_eq(runs_to_promotion(), RUNS - 1);

	begin(LANE_ADAPTIVE);
	ck_assert(!ran(BUDGET * 100));
	for (unsigned i = 0; i < RUNS / 2; i++)
		ck_assert(!ran(BUDGET));
	ck_assert(!ran(BUDGET + 1)); /* the second: all begins anew */
	ck_assert_uint_eq(rec.runs, 0);
	ck_assert_uint_eq(rec.over, 0);
	ck_assert_uint_eq(runs_to_promotion(), RUNS);
}
END_TEST

START_TEST(a_run_that_slept_begins_the_count_anew_however_short_it_was)
{
	begin(LANE_ADAPTIVE);
	for (unsigned i = 0; i < 50; i++) {
		for (unsigned k = 1; k < RUNS; k++)
			ck_assert(!ran(1000));
		ck_assert(!ran_with(1, LANE_BLOCKED, i % 2));
		ck_assert_uint_eq(rec.runs, 0);
	}
	ck_assert_uint_eq(runs_to_promotion(), RUNS);
}
END_TEST

START_TEST(runs_that_prove_nothing_are_not_counted)
{
	begin(LANE_ADAPTIVE);
	for (unsigned i = 0; i < RUNS / 2; i++)
		ck_assert(!ran(1000));
	for (unsigned i = 0; i < RUNS * 3; i++) {
		ck_assert(!ran_with(1000, LANE_CPU, false));         /* a short cut */
		ck_assert(!ran_with(BUDGET * 9, LANE_WAITED, true));  /* others had the CPU */
	}
	ck_assert_uint_eq(rec.runs, RUNS / 2);
	ck_assert(!ran_with(BUDGET + 1, LANE_CPU, false));
	ck_assert(!ran_with(BUDGET + 1, LANE_CPU, false));
	ck_assert_uint_eq(rec.runs, RUNS / 2);
	ck_assert_uint_eq(runs_to_promotion(), RUNS / 2);
}
END_TEST

START_TEST(the_first_hold_over_the_limit_demotes)
{
	begin(LANE_ADAPTIVE);
	runs_to_promotion();
	ck_assert(!held(HOLD - 1, LANE_BLOCKED));
	ck_assert(!held(HOLD * 100, LANE_WAITED));
	ck_assert_uint_eq(rec.holds, 0);
	ck_assert(held(HOLD, LANE_CPU));
	ck_assert(rec.pooled);
	ck_assert_uint_eq(rec.runs, 0);
	ck_assert(!held(HOLD * 9, LANE_BLOCKED)); /* one that began before */
	ck_assert_uint_eq(lane_rule_needed(&rec, &limits, now), RUNS * 2);
}
END_TEST

START_TEST(each_demotion_doubles_what_the_next_promotion_takes_up_to_a_bound)
{
	uint64_t expected = RUNS;

	begin(LANE_ADAPTIVE);
	for (int i = 0; i < 14; i++) {
		ck_assert_uint_eq(runs_to_promotion(), expected);
		ck_assert(held(HOLD, LANE_BLOCKED));
		expected = expected * 2 < RUNS * LANE_BACKOFF_MAX ? expected * 2 : RUNS * LANE_BACKOFF_MAX;
	}
	ck_assert_uint_eq(expected, RUNS * LANE_BACKOFF_MAX);
}
END_TEST

START_TEST(half_of_that_is_forgiven_with_each_ten_minutes)
{
	begin(LANE_ADAPTIVE);
	for (int i = 0; i < 3; i++) {
		runs_to_promotion();
		ck_assert(held(HOLD, LANE_CPU));
	}
	ck_assert_uint_eq(lane_rule_needed(&rec, &limits, now), 8 * RUNS);
	ck_assert_uint_eq(lane_rule_needed(&rec, &limits, now + LANE_FORGIVES_NS - 1), 8 * RUNS);
	ck_assert_uint_eq(lane_rule_needed(&rec, &limits, now + LANE_FORGIVES_NS), 4 * RUNS);
	ck_assert_uint_eq(lane_rule_needed(&rec, &limits, now + 2 * LANE_FORGIVES_NS), 2 * RUNS);
	ck_assert_uint_eq(lane_rule_needed(&rec, &limits, now + 500 * LANE_FORGIVES_NS), RUNS);
	now += 2 * LANE_FORGIVES_NS;
	ck_assert_uint_eq(runs_to_promotion(), 2 * RUNS);
	ck_assert(held(HOLD, LANE_CPU));
	ck_assert_uint_eq(lane_rule_needed(&rec, &limits, now), 4 * RUNS);
}
END_TEST

START_TEST(a_guarded_route_is_moved_at_its_fourth_stall_and_stays)
{
	begin(LANE_GUARDED);
	for (int i = 0; i < 50; i++) {
		ck_assert(!held(STALL - 1, LANE_BLOCKED));
		ck_assert(!held(STALL * 50, LANE_WAITED));
	}
	for (int i = 0; i < 3; i++)
		ck_assert(!held(STALL, i % 2 ? LANE_CPU : LANE_BLOCKED));
	ck_assert(held(STALL, LANE_CPU));
	for (unsigned i = 0; i < RUNS * 3; i++)
		ck_assert(!ran(1000));
	ck_assert(rec.pooled);
}
END_TEST

START_TEST(a_watched_route_is_spoken_of_once)
{
	unsigned said = 0;

	begin(LANE_WATCHED);
	for (int i = 0; i < 20; i++) {
		said += lane_rule_held(&rec, &limits, STALL, LANE_BLOCKED);
		ck_assert_uint_eq(said, i >= 3);
	}
	ck_assert_uint_eq(rec.holds, 20);
}
END_TEST

START_TEST(the_99th_percentile_is_what_one_run_in_a_hundred_exceeds)
{
	begin(LANE_ADAPTIVE);
	ck_assert_uint_eq(lane_rule_p99_ns(&rec), 0);
	ck_assert(!ran(1));
	ck_assert_uint_eq(lane_rule_p99_ns(&rec), NS_PER_US);
	for (int i = 0; i < 97; i++)
		ck_assert(!ran(30 * NS_PER_US));
	ck_assert(!ran(BUDGET));
	ck_assert_uint_eq(lane_rule_p99_ns(&rec), 256 * NS_PER_US); /* of 99, one is more than one in a hundred */
	ck_assert(ran(1000));
	ck_assert_uint_eq(lane_rule_p99_ns(&rec), 32 * NS_PER_US);
}
END_TEST

/* Whatever comes, in any order: a promotion is never without its runs, nor the loop left without a hold or a hand. */
START_TEST(no_life_of_a_route_breaks_the_rule)
{
	unsigned seed = (unsigned)_i;

	begin(LANE_ADAPTIVE);
	for (unsigned i = 0, clean = 0; i < 20000; i++) {
		uint64_t ns = (uint64_t)rand_r(&seed) % (rand_r(&seed) % 50 ? BUDGET : BUDGET * 20);
		enum lane_cause cause = rand_r(&seed) % 200 ? LANE_CPU : rand_r(&seed) % 2 ? LANE_BLOCKED : LANE_WAITED;
		unsigned needed = lane_rule_needed(&rec, &limits, now);
		bool was = rec.pooled, moved;

		if (was) {
			moved = ran_with(ns, cause, true);
			clean = cause == LANE_BLOCKED ? 0 : clean + 1;
			ck_assert(!moved || (clean >= needed && cause != LANE_BLOCKED && rec.over * 100 <= rec.runs));
		} else {
			moved = held(ns, cause);
			ck_assert(moved == (ns >= HOLD && cause != LANE_WAITED));
			clean = 0;
		}
		ck_assert(moved == (was != rec.pooled));
		ck_assert_uint_ge(lane_rule_needed(&rec, &limits, now), RUNS);
		ck_assert_uint_le(lane_rule_needed(&rec, &limits, now), RUNS * LANE_BACKOFF_MAX);
		now += (uint64_t)rand_r(&seed) * 100;
	}
}
END_TEST

/* ---- the meter --------------------------------------------------------------------------------------------------- */

static void sleep_ms(long ms)
{
	struct timespec left = { 0, ms * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

static void spin_ms(long ms)
{
	struct timespec t, start;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	while ((t.tv_sec - start.tv_sec) * 1000000000 + t.tv_nsec - start.tv_nsec < ms * 1000000);
}

START_TEST(a_sleep_is_told_from_computing)
{
	struct lane_meter m;

	lane_meter_begin(&m);
	sleep_ms(5);
	lane_meter_end(&m);
	ck_assert_uint_ge(m.longest_ns, 5 * NS_PER_MS);
	ck_assert_int_eq(lane_meter_cause(&m, NS_PER_MS), LANE_BLOCKED);
	ck_assert_int_eq(lane_meter_cause(&m, NS_PER_S), LANE_BLOCKED);

	lane_meter_begin(&m);
	spin_ms(60);
	lane_meter_end(&m);
	ck_assert_uint_ge(m.longest_ns, 60 * NS_PER_MS);
	ck_assert_int_eq(lane_meter_cause(&m, 40 * NS_PER_MS), LANE_CPU);
}
END_TEST

START_TEST(what_is_between_pauses_is_nobodys)
{
	struct lane_meter m;

	lane_meter_begin(&m);
	lane_meter_pause(&m);
	sleep_ms(20);
	lane_meter_pause(&m);
	sleep_ms(20);
	lane_meter_go_on(&m);
	sleep_ms(20);
	lane_meter_go_on(&m);
	lane_meter_end(&m);
	ck_assert_int_ne(lane_meter_cause(&m, NS_PER_S), LANE_BLOCKED);
	ck_assert(m.certain_ns < 20 * NS_PER_MS);

	lane_meter_begin(&m);
	lane_meter_pause(&m);
	sleep_ms(20);
	lane_meter_end(&m); /* it has gone away from a pause */
	ck_assert(!m.has_slept);
}
END_TEST

static void *compete(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		;
	return NULL;
}

/* Two threads on one CPU: each is preempted, and its wall time about twice its own. */
START_TEST(a_wait_for_a_cpu_is_not_the_routes)
{
	atomic_bool stop = false;
	struct lane_meter m;
	cpu_set_t before, one;
	pthread_t other;

	sched_getaffinity(0, sizeof(before), &before);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &before))
			CPU_SET(i, &one);
	sched_setaffinity(0, sizeof(one), &one);
	pthread_create(&other, NULL, compete, &stop);
	do {
		lane_meter_begin(&m);
		spin_ms(50);
		lane_meter_end(&m);
	} while (m.longest_ns < 80 * NS_PER_MS); /* until they have met */
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	sched_setaffinity(0, sizeof(before), &before);
	ck_assert_uint_lt(m.certain_ns, m.longest_ns);
	ck_assert_int_eq(lane_meter_cause(&m, 75 * NS_PER_MS), LANE_WAITED);
	ck_assert_int_eq(lane_meter_cause(&m, 30 * NS_PER_MS), LANE_CPU);
}
END_TEST

START_TEST(only_a_hold_over_the_limit_is_looked_into)
{
	struct lane_meter m;

	lane_meter_begin(&m);
	ck_assert(!lane_meter_end_over(&m, 100 * NS_PER_S));
	sleep_ms(5);
	ck_assert(lane_meter_end_over(&m, 5 * NS_PER_MS));
	ck_assert_int_eq(lane_meter_cause(&m, 5 * NS_PER_MS), LANE_BLOCKED);
}
END_TEST

/* ---- a lane ------------------------------------------------------------------------------------------------------ */

static struct lane_terms terms;
static _Atomic bool pooled;
static _Atomic unsigned measured;
static struct lane *lane;
static int lines[2];

static void lane_up(enum lane_kind kind, const char *need)
{
	struct log_conf lc = { .level = LOG_DEBUG };

	ck_assert_int_eq(pipe(lines), 0);
	lc.fd = lines[1];
	terms = (struct lane_terms){ .limits = limits, .log = log_new(&lc) };
	terms.limits.runs = 3;
	ck_assert_ptr_nonnull(terms.log);
	atomic_store(&pooled, kind == LANE_ADAPTIVE);
	lane = lane_new(&terms, kind, "GET /x", need);
	ck_assert_ptr_nonnull(lane);
	lane_bind(lane, &pooled, &measured);
}

/* What the log has said. */
static const char *lane_down(void)
{
	static char text[8192];
	size_t n = 0;
	ssize_t got;

	lane_free(lane);
	log_free(terms.log, 10000);
	close(lines[1]);
	while ((got = read(lines[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	close(lines[0]);
	text[n] = '\0';
	return text;
}

static void clean_runs(unsigned n)
{
	while (n-- > 0)
		lane_ran(lane, &(struct lane_run){ .longest_ns = 1000, .cause = LANE_CPU, .proof = true });
}

static struct lane_look look(void)
{
	struct lane_look l;

	lane_look(lane, &l);
	return l;
}

START_TEST(each_change_is_told_with_its_evidence)
{
	const char *said;

	lane_up(LANE_ADAPTIVE, NULL);
	ck_assert(look().pooled && look().moved.tv_sec == 0);
	clean_runs(3);
	ck_assert(!atomic_load(&pooled));
	ck_assert(look().moves[0] == 1 && look().runs == 3 && look().needed == 3 && look().p99_ns == NS_PER_US);
	ck_assert_str_eq(look().why, "it proved short: 3 runs never slept, 0 of them over 200 us");
	lane_held(lane, HOLD + 1500 * NS_PER_US, LANE_BLOCKED);
	lane_held(lane, HOLD * 7, LANE_BLOCKED);
	ck_assert(atomic_load(&pooled));
	ck_assert(look().moves[1] == 1 && look().held == 1 && look().needed == 6 && look().runs == 0);
	ck_assert_str_eq(look().why, "it held a loop for 3.5 ms, blocked; allowed are 2.0 ms");
	ck_assert_int_ne(look().moved.tv_sec, 0);
	said = lane_down();
	ck_assert_ptr_nonnull(strstr(said, " info  route moved route=\"GET /x\" from=sync to=async why=\"it proved"));
	ck_assert_ptr_nonnull(strstr(said, " runs=3 p99_at_most="));
	ck_assert_ptr_nonnull(strstr(said, " warn  route moved route=\"GET /x\" from=async to=sync why=\"it held"));
	ck_assert_ptr_nonnull(strstr(said, " cause=blocked holds=1"));
	ck_assert_ptr_null(strstr(said, "14.0 ms"));
}
END_TEST

START_TEST(a_pinned_lane_is_left_alone_until_it_is_let_go)
{
	lane_up(LANE_ADAPTIVE, NULL);
	ck_assert_int_eq(lane_pin(lane, LANE_SYNC, "me"), 0);
	clean_runs(50);
	ck_assert(atomic_load(&pooled) && look().runs == 0 && look().pin == LANE_SYNC);
	ck_assert_int_eq(lane_pin(lane, LANE_ASYNC, "me"), 0);
	lane_held(lane, STALL * 5, LANE_CPU);
	ck_assert(!atomic_load(&pooled) && look().held == 1);
	ck_assert(look().moves[0] == 1 && look().moves[1] == 0);
	ck_assert_int_eq(lane_pin(lane, LANE_AUTO, "me"), 0);
	ck_assert(atomic_load(&pooled) && look().needed == 3);
	clean_runs(3);
	ck_assert(!atomic_load(&pooled));
	ck_assert_ptr_nonnull(strstr(lane_down(),
		"lane pinned route=\"GET /x\" from=sync to=sync why=\"pinned by hand\" by=me"));
}
END_TEST

START_TEST(a_guarded_route_that_has_held_its_loop_is_measured_for_a_while)
{
	lane_up(LANE_GUARDED, NULL);
	ck_assert_uint_eq(atomic_load(&measured), 0);
	lane_suspect(lane);
	for (unsigned i = 0; i < 60; i++)
		lane_passed(lane);
	ck_assert_uint_gt(atomic_load(&measured), 0);
	lane_suspect(lane);
	for (unsigned i = 0; i < 99; i++)
		lane_passed(lane);
	ck_assert_uint_eq(atomic_load(&measured), 1);
	lane_passed(lane);
	lane_passed(lane);
	ck_assert_uint_eq(atomic_load(&measured), 0);
	(void)lane_down();
}
END_TEST

START_TEST(one_that_was_to_blame_is_measured_until_it_is_moved)
{
	lane_up(LANE_GUARDED, NULL);
	lane_held(lane, STALL, LANE_WAITED);
	ck_assert_uint_eq(atomic_load(&measured), 0);
	lane_held(lane, STALL, LANE_BLOCKED);
	for (unsigned i = 0; i < 1000; i++)
		lane_passed(lane);
	ck_assert_uint_eq(atomic_load(&measured), LANE_ALWAYS);
	for (unsigned i = 1; i < LANE_HOLDS; i++)
		lane_held(lane, STALL, LANE_BLOCKED);
	ck_assert(atomic_load(&pooled));
	ck_assert_int_eq(lane_pin(lane, LANE_AUTO, "me"), 0);
	ck_assert_uint_eq(atomic_load(&measured), 0);
	(void)lane_down();
}
END_TEST

START_TEST(an_async_route_that_streams_events_is_not_moved_for_its_holds)
{
	const char *said;

	lane_up(LANE_GUARDED, NULL);
	lane_streams(lane);
	for (unsigned i = 0; i < 2 * LANE_HOLDS; i++)
		lane_held(lane, STALL, LANE_BLOCKED);
	ck_assert(!atomic_load(&pooled) && look().streams && look().held == 2 * LANE_HOLDS);
	ck_assert_int_eq(lane_pin(lane, LANE_SYNC, "me"), 0);           /* by hand it is */
	lane_streams(lane);
	ck_assert(atomic_load(&pooled));
	said = lane_down();
	ck_assert_ptr_nonnull(strstr(said, " warn  guard does not move route route=\"GET /x\" holds=4 "));
	ck_assert_ptr_null(strstr(said, "holds=5"));
}
END_TEST

START_TEST(one_that_was_moved_before_it_streamed_events_is_moved_back)
{
	lane_up(LANE_GUARDED, NULL);
	for (unsigned i = 0; i < LANE_HOLDS; i++)
		lane_held(lane, STALL, LANE_BLOCKED);
	ck_assert(atomic_load(&pooled));
	lane_streams(lane);
	ck_assert(!atomic_load(&pooled) && look().moves[0] == 1);
	ck_assert_str_eq(look().why, "it streams events: in the pool each stream holds a thread");
	(void)lane_down();
	lane_up(LANE_ADAPTIVE, NULL);
	lane_streams(lane);                     /* the server has chosen, and goes on choosing */
	ck_assert(atomic_load(&pooled));
	clean_runs(3);
	lane_held(lane, STALL, LANE_BLOCKED);
	ck_assert(atomic_load(&pooled) && look().moves[1] == 1);
	(void)lane_down();
}
END_TEST

START_TEST(who_is_only_warned_of_is_never_measured_and_an_adaptive_one_always)
{
	lane_up(LANE_WATCHED, NULL);
	lane_suspect(lane);
	lane_held(lane, STALL, LANE_BLOCKED);
	ck_assert_uint_eq(atomic_load(&measured), 0);
	(void)lane_down();
	lane_up(LANE_ADAPTIVE, NULL);
	lane_passed(lane);
	lane_suspect(lane);
	ck_assert_uint_eq(atomic_load(&measured), LANE_ALWAYS);
	(void)lane_down();
}
END_TEST

START_TEST(what_needs_something_that_may_block_is_not_pinned_to_a_loop)
{
	lane_up(LANE_ADAPTIVE, "database");
	ck_assert_int_eq(lane_pin(lane, LANE_ASYNC, "me"), -EPERM);
	ck_assert(atomic_load(&pooled) && look().pin == LANE_AUTO);
	ck_assert_str_eq(look().need, "database");
	ck_assert_int_eq(lane_pin(lane, LANE_SYNC, "me"), 0);
	(void)lane_down();
}
END_TEST

START_TEST(an_async_route_is_warned_of_or_moved_as_the_guard_says)
{
	const char *said;

	lane_up(LANE_WATCHED, NULL);
	for (int i = 0; i < 9; i++)
		lane_held(lane, STALL, LANE_CPU);
	ck_assert(!atomic_load(&pooled) && look().held == 9);
	said = lane_down();
	ck_assert_ptr_nonnull(strstr(said, "guard would move route route=\"GET /x\" holds=4"));
	ck_assert_ptr_null(strstr(strstr(said, "guard would move") + 1, "guard would move"));

	lane_up(LANE_GUARDED, NULL);
	for (int i = 0; i < 9; i++)
		lane_held(lane, STALL, LANE_CPU);
	ck_assert(atomic_load(&pooled) && look().held == 4);
	ck_assert_ptr_nonnull(strstr(look().why, " ms; hold 4 over that"));
	clean_runs(50);
	ck_assert(atomic_load(&pooled));
	ck_assert_int_eq(lane_pin(lane, LANE_AUTO, "me"), 0);
	ck_assert(!atomic_load(&pooled) && look().holds == 0);
	(void)lane_down();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lane");
	TCase *rule = tcase_create("rule"), *meter = tcase_create("meter"), *told = tcase_create("lane");
	SRunner *runner;
	int failed;

	tcase_add_test(rule, a_route_is_promoted_by_as_many_clean_runs_as_are_asked_for);
	tcase_add_test(rule, one_run_in_a_hundred_may_be_over_the_budget);
	tcase_add_test(rule, a_run_that_slept_begins_the_count_anew_however_short_it_was);
	tcase_add_test(rule, runs_that_prove_nothing_are_not_counted);
	tcase_add_test(rule, the_first_hold_over_the_limit_demotes);
	tcase_add_test(rule, each_demotion_doubles_what_the_next_promotion_takes_up_to_a_bound);
	tcase_add_test(rule, half_of_that_is_forgiven_with_each_ten_minutes);
	tcase_add_test(rule, a_guarded_route_is_moved_at_its_fourth_stall_and_stays);
	tcase_add_test(rule, a_watched_route_is_spoken_of_once);
	tcase_add_test(rule, the_99th_percentile_is_what_one_run_in_a_hundred_exceeds);
	tcase_add_loop_test(rule, no_life_of_a_route_breaks_the_rule, 1, 21);
	tcase_add_test(meter, a_sleep_is_told_from_computing);
	tcase_add_test(meter, what_is_between_pauses_is_nobodys);
	tcase_add_test(meter, a_wait_for_a_cpu_is_not_the_routes);
	tcase_add_test(meter, only_a_hold_over_the_limit_is_looked_into);
	tcase_add_test(told, each_change_is_told_with_its_evidence);
	tcase_add_test(told, a_pinned_lane_is_left_alone_until_it_is_let_go);
	tcase_add_test(told, a_guarded_route_that_has_held_its_loop_is_measured_for_a_while);
	tcase_add_test(told, one_that_was_to_blame_is_measured_until_it_is_moved);
	tcase_add_test(told, an_async_route_that_streams_events_is_not_moved_for_its_holds);
	tcase_add_test(told, one_that_was_moved_before_it_streamed_events_is_moved_back);
	tcase_add_test(told, who_is_only_warned_of_is_never_measured_and_an_adaptive_one_always);
	tcase_add_test(told, what_needs_something_that_may_block_is_not_pinned_to_a_loop);
	tcase_add_test(told, an_async_route_is_warned_of_or_moved_as_the_guard_says);
	tcase_set_timeout(rule, 60);
	tcase_set_timeout(meter, 60);
	suite_add_tcase(suite, rule);
	suite_add_tcase(suite, meter);
	suite_add_tcase(suite, told);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
