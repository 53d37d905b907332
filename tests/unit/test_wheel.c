/*
 * test_wheel.c: the timing wheel against a model that is too simple to be wrong.
 *
 * The model is an array: what is armed, for when, and in which run it was armed.  Random operations with fixed seeds go
 * to both, from outside and from callbacks, and after every run they must agree on what has fired.
 */
#include "wheel.h"

#include <check.h>
#include <stdlib.h>

#define TICK (UINT64_C(1) << WHEEL_TICK_SHIFT)
#define YEAR (365 * 24 * 3600 * NS_PER_S)

static struct wheel wheel;

struct probe {
	struct timer timer;
	unsigned fired;
	struct probe *victim;   /* what the callback deletes */
	struct probe *arms;     /* what the callback arms, for arm_at */
	uint64_t arm_at;
};

static void probe_fired(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);

	ck_assert(!timer_armed(t));
	p->fired++;
	if (p->victim)
		wheel_del(&wheel, &p->victim->timer);
	if (p->arms)
		wheel_add(&wheel, &p->arms->timer, p->arm_at);
}

static void probe_init(struct probe *p)
{
	*p = (struct probe){ 0 };
	timer_init(&p->timer, probe_fired);
}

START_TEST(zeroed_memory_is_an_idle_timer)
{
	struct timer t = { 0 };

	wheel_init(&wheel, 0);
	ck_assert(!timer_armed(&t));
	wheel_del(&wheel, &t);
	ck_assert_uint_eq(wheel.armed, 0);
	wheel_add(&wheel, &t, TICK);
	ck_assert(timer_armed(&t));
	wheel_del(&wheel, &t);
	ck_assert(!timer_armed(&t));
}
END_TEST

START_TEST(an_empty_wheel_asks_for_nothing)
{
	wheel_init(&wheel, 5 * NS_PER_S);
	ck_assert(wheel_next(&wheel) == NEVER);
	wheel_run(&wheel, YEAR);
	ck_assert(wheel_next(&wheel) == NEVER);
}
END_TEST

START_TEST(a_timer_never_fires_early_and_at_most_a_tick_late)
{
	const uint64_t now = 7 * NS_PER_S + 12345;
	const uint64_t waits[] = { 0, 1, TICK - 1, TICK, TICK + 1, 50 * NS_PER_MS, 64 * TICK,
		64 * TICK + 1, 75 * NS_PER_S, 4096 * TICK - 1, 3600 * NS_PER_S, YEAR, 3 * YEAR, 400 * YEAR };
	struct probe p;

	for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
		wheel_init(&wheel, now);
		probe_init(&p);
		wheel_add(&wheel, &p.timer, now + waits[i]);
		wheel_run(&wheel, now + waits[i] - 1);
		ck_assert_msg(p.fired == 0, "wait %zu fired early", i);
		wheel_run(&wheel, now + waits[i] + TICK);
		ck_assert_msg(p.fired == 1, "wait %zu did not fire", i);
		ck_assert(wheel_next(&wheel) == NEVER);
	}
}
END_TEST

START_TEST(a_time_that_has_passed_fires_in_the_next_run)
{
	struct probe p;

	wheel_init(&wheel, 9 * NS_PER_S);
	probe_init(&p);
	wheel_add(&wheel, &p.timer, 3 * NS_PER_S);
	ck_assert(wheel_next(&wheel) <= 9 * NS_PER_S);
	wheel_run(&wheel, 9 * NS_PER_S);
	ck_assert_uint_eq(p.fired, 1);
}
END_TEST

START_TEST(a_clock_that_steps_back_fires_nothing_and_loses_nothing)
{
	struct probe p;

	wheel_init(&wheel, 4097 * TICK);
	probe_init(&p);
	wheel_add(&wheel, &p.timer, 4098 * TICK);
	wheel_run(&wheel, TICK);
	ck_assert_uint_eq(p.fired, 0);
	wheel_del(&wheel, &p.timer);
	ck_assert(wheel_next(&wheel) == NEVER);
	wheel_add(&wheel, &p.timer, 4098 * TICK);
	wheel_run(&wheel, 4098 * TICK);
	ck_assert_uint_eq(p.fired, 1);
}
END_TEST

START_TEST(a_timer_can_be_moved_and_disarmed_by_adding_it_again)
{
	struct probe p;

	wheel_init(&wheel, 0);
	probe_init(&p);
	wheel_add(&wheel, &p.timer, NS_PER_S);
	wheel_add(&wheel, &p.timer, 2 * NS_PER_S);
	ck_assert_uint_eq(wheel.armed, 1);
	wheel_run(&wheel, NS_PER_S + TICK);
	ck_assert_uint_eq(p.fired, 0);
	wheel_add(&wheel, &p.timer, NEVER);
	ck_assert(!timer_armed(&p.timer));
	ck_assert(wheel_next(&wheel) == NEVER);
	wheel_run(&wheel, YEAR);
	ck_assert_uint_eq(p.fired, 0);
}
END_TEST

START_TEST(the_last_moments_of_the_clock_do_not_wrap)
{
	struct probe p, q;

	wheel_init(&wheel, NEVER - 10 * TICK);
	probe_init(&p);
	probe_init(&q);
	wheel_add(&wheel, &p.timer, NEVER - 2 * TICK);
	wheel_add(&wheel, &q.timer, NEVER - 1);
	wheel_run(&wheel, wheel_next(&wheel) - 1);
	ck_assert_uint_eq(p.fired, 0);
	wheel_run(&wheel, NEVER);
	ck_assert_uint_eq(p.fired, 1);
	ck_assert_uint_eq(q.fired, 0);
	ck_assert(wheel_next(&wheel) == NEVER);
}
END_TEST

START_TEST(a_callback_may_delete_a_timer_of_the_slot_being_fired)
{
	struct probe p, q;

	wheel_init(&wheel, 0);
	probe_init(&p);
	probe_init(&q);
	p.victim = &q;
	wheel_add(&wheel, &p.timer, NS_PER_S);
	wheel_add(&wheel, &q.timer, NS_PER_S);
	wheel_run(&wheel, 2 * NS_PER_S);
	ck_assert_uint_eq(p.fired, 1);
	ck_assert_uint_eq(q.fired, 0);
	ck_assert_uint_eq(wheel.armed, 0);
}
END_TEST

START_TEST(a_callback_may_move_a_timer_of_the_slot_being_fired)
{
	struct probe p, q;

	wheel_init(&wheel, 0);
	probe_init(&p);
	probe_init(&q);
	p.arms = &q;
	p.arm_at = 5 * NS_PER_S;
	wheel_add(&wheel, &p.timer, NS_PER_S);
	wheel_add(&wheel, &q.timer, NS_PER_S);
	wheel_run(&wheel, 2 * NS_PER_S);
	ck_assert_uint_eq(q.fired, 0);
	wheel_run(&wheel, 6 * NS_PER_S);
	ck_assert_uint_eq(q.fired, 1);
}
END_TEST

START_TEST(a_callback_that_arms_itself_for_the_past_waits_for_the_next_run)
{
	struct probe p;

	wheel_init(&wheel, 0);
	probe_init(&p);
	p.arms = &p;
	p.arm_at = 2 * NS_PER_S;        /* after the tick it first fires at, before the time of the run */
	wheel_add(&wheel, &p.timer, NS_PER_S);
	wheel_run(&wheel, 10 * NS_PER_S);
	ck_assert_uint_eq(p.fired, 1);
	wheel_run(&wheel, 10 * NS_PER_S);
	ck_assert_uint_eq(p.fired, 2);
}
END_TEST

START_TEST(following_wheel_next_takes_few_runs_and_ends_on_the_tick)
{
	const uint64_t at = 100 * YEAR + 12345;
	struct probe p;
	unsigned runs = 0;
	uint64_t now = 0;

	wheel_init(&wheel, 0);
	probe_init(&p);
	wheel_add(&wheel, &p.timer, at);
	while (!p.fired) {
		ck_assert(wheel_next(&wheel) > now);
		now = wheel_next(&wheel);
		wheel_run(&wheel, now);
		ck_assert_uint_le(++runs, WHEEL_LEVELS);
	}
	ck_assert(now >= at && now - at < TICK);
}
END_TEST

/* The model.  ck_assert writes to Check's pipe each time, which is too slow for millions of assertions. */
#define MUST(condition) do { if (!(condition)) ck_abort_msg("run %ju: " #condition, (uintmax_t)run); } while (0)

#define TIMERS 200

static struct model {
	struct timer timer;
	bool armed;
	uint64_t at, armed_in_run;
} model[TIMERS];

static uint64_t seed, now, run;
static bool running;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t tick_after(uint64_t at)
{
	return at / TICK + (at % TICK != 0);
}

/* A span whose size is spread evenly over the powers of two: all levels of the wheel get their share. */
static uint64_t rnd_span(unsigned max_bits)
{
	return rnd() >> (64 - max_bits) >> rnd() % max_bits;
}

static void model_change(void)
{
	struct model *m = &model[rnd() % TIMERS];
	uint64_t span = rnd_span(58);

	m->armed = rnd() % 4 != 0;
	if (!m->armed) {
		wheel_del(&wheel, &m->timer);
	} else {
		m->at = rnd() % 8 == 0 ? now - (span < now ? span : now) : now + span;
		m->armed_in_run = running ? run : 0;
		wheel_add(&wheel, &m->timer, m->at);
	}
	MUST(timer_armed(&m->timer) == m->armed);
}

static void model_fired(struct timer *t)
{
	struct model *m = container_of(t, struct model, timer);

	MUST(m->armed);
	MUST(m->at <= now);
	MUST(m->armed_in_run != run);
	m->armed = false;
	for (uint64_t n = rnd() % 3; n > 0; n--)
		model_change();
}

/* What the model says about when a run is needed: never later than the first tick that is due. */
static void model_check_next(void)
{
	uint64_t first = NEVER, next = wheel_next(&wheel);
	unsigned armed = 0;

	for (size_t i = 0; i < TIMERS; i++)
		if (model[i].armed) {
			armed++;
			if (tick_after(model[i].at) * TICK < first)
				first = tick_after(model[i].at) * TICK;
		}
	MUST(wheel.armed == armed);
	MUST((next == NEVER) == (armed == 0));
	if (armed && first / TICK > now / TICK) {
		MUST(next <= first);
		MUST(next > now);
	} else if (armed) {
		MUST(next <= now);
	}
}

static void model_run(void)
{
	run++;
	running = true;
	wheel_run(&wheel, now);
	running = false;
	for (size_t i = 0; i < TIMERS; i++)
		if (model[i].armed && model[i].armed_in_run != run)
			MUST(tick_after(model[i].at) > now / TICK);
	model_check_next();
}

START_TEST(random_operations_agree_with_a_naive_model)
{
	seed = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(_i + 1);
	now = _i % 2 ? rnd_span(50) : 0;
	run = 0;
	wheel_init(&wheel, now);
	for (size_t i = 0; i < TIMERS; i++)
		model[i] = (struct model){ .timer = { .fn = model_fired } };
	for (unsigned step = 0; step < 20000 && now < NEVER / 2; step++) {
		unsigned what = rnd() % 8;

		if (what < 5)
			model_change();
		else if (what == 5 && wheel_next(&wheel) != NEVER && wheel_next(&wheel) > now)
			now = wheel_next(&wheel) - rnd() % 2;
		else
			now += rnd() % 64 ? rnd_span(36) : rnd_span(56);
		if (what >= 5)
			model_run();
	}
}
END_TEST

static uint64_t order_last;

static void in_order(struct timer *t)
{
	struct model *m = container_of(t, struct model, timer);

	ck_assert_msg(tick_after(m->at) >= order_last, "fired out of order");
	order_last = tick_after(m->at);
}

START_TEST(one_long_run_fires_in_order_of_ticks)
{
	seed = UINT64_C(0xdeadbeefcafef00d) + (uint64_t)_i;
	order_last = 0;
	wheel_init(&wheel, 0);
	for (size_t i = 0; i < TIMERS; i++) {
		model[i] = (struct model){ .at = 1 + rnd_span(56), .timer = { .fn = in_order } };
		wheel_add(&wheel, &model[i].timer, model[i].at);
	}
	wheel_run(&wheel, NEVER);
	ck_assert_uint_eq(wheel.armed, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wheel");
	TCase *one = tcase_create("one timer"), *many = tcase_create("many timers");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(one, zeroed_memory_is_an_idle_timer);
	tcase_add_test(one, an_empty_wheel_asks_for_nothing);
	tcase_add_test(one, a_timer_never_fires_early_and_at_most_a_tick_late);
	tcase_add_test(one, a_time_that_has_passed_fires_in_the_next_run);
	tcase_add_test(one, a_clock_that_steps_back_fires_nothing_and_loses_nothing);
	tcase_add_test(one, a_timer_can_be_moved_and_disarmed_by_adding_it_again);
	tcase_add_test(one, the_last_moments_of_the_clock_do_not_wrap);
	tcase_add_test(one, a_callback_may_delete_a_timer_of_the_slot_being_fired);
	tcase_add_test(one, a_callback_may_move_a_timer_of_the_slot_being_fired);
	tcase_add_test(one, a_callback_that_arms_itself_for_the_past_waits_for_the_next_run);
	tcase_add_test(one, following_wheel_next_takes_few_runs_and_ends_on_the_tick);
	tcase_add_loop_test(many, random_operations_agree_with_a_naive_model, 0, 16);
	tcase_add_loop_test(many, one_long_run_fires_in_order_of_ticks, 0, 16);
	tcase_set_timeout(many, 60);
	suite_add_tcase(suite, one);
	suite_add_tcase(suite, many);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
