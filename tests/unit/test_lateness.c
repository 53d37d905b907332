/* test_lateness.c: what the monitor's own times say of the machine, on a clock that only these tests know. */
#include "base/clock.h"
#include "lateness.h"

#include <check.h>
#include <stdlib.h>

#define MS NS_PER_MS
#define PERIOD (5 * MS)
#define STOP (12 * MS)

static uint64_t now, suspended, cpu, waited;
static bool known;
static int asked;       /* for times */
static struct lateness l;
static int stop_in;     /* so many readings of the clock from now the process is stopped, for STOP; -1: it is not */

static uint64_t read_now(void *unused)
{
	(void)unused;
	if (stop_in >= 0 && stop_in-- == 0)
		now += STOP;
	return now;
}

static uint64_t read_suspended(void *unused)
{
	(void)unused;
	return suspended;
}

static bool read_times(void *unused, uint64_t *cpu_ns, uint64_t *waited_ns)
{
	(void)unused;
	asked++;
	*cpu_ns = cpu;
	*waited_ns = waited;
	return known;
}

static void set_up(void)
{
	const struct lateness_clock clock = { read_now, read_suspended, read_times, NULL };

	now = 1000 * MS;
	suspended = 0;
	cpu = 7 * MS;
	waited = 3 * MS;
	known = true;
	stop_in = -1;
	lateness_init(&l, &clock);
	lateness_look(&l);
	lateness_rest(&l, now + PERIOD);
}

/* The next look comes so much after it was due. */
static void look_late(uint64_t late)
{
	now = l.due_ns + late;
	lateness_look(&l);
}

/* Of a hold that this look is the first to see. */
static struct lateness_grant first(uint64_t start_ns)
{
	struct lateness_grant g;

	lateness_first(&l, &g, start_ns, PERIOD);
	return g;
}

static uint64_t unseen(uint64_t start_ns)
{
	return first(start_ns).unseen_ns;
}

START_TEST(a_look_in_time_has_lost_nothing)
{
	for (int i = 0; i < 100; i++) {
		look_late(MS / 10);
		lateness_rest(&l, now + PERIOD);
	}
	ck_assert_uint_eq(l.lost_ns, 0);
	ck_assert_uint_eq(l.margin_ns, 0);
	ck_assert_uint_eq(unseen(l.looked_ns - PERIOD), 0);
}
END_TEST

START_TEST(a_stop_while_it_slept_may_have_begun_with_that_sleep)
{
	look_late(7 * MS);
	ck_assert_uint_eq(l.lost_ns, 7 * MS);
	ck_assert_uint_eq(l.margin_ns, PERIOD);
	lateness_rest(&l, now + PERIOD);
	look_late(0);
	ck_assert_uint_eq(l.margin_ns, 0);
	ck_assert_uint_eq(l.lost_ns, 7 * MS);
	ck_assert_uint_eq(l.doubt_ns, 7 * MS + PERIOD);
}
END_TEST

START_TEST(lateness_that_its_own_wait_explains_is_not_lost)
{
	waited += 7 * MS;
	look_late(7 * MS);
	ck_assert_uint_eq(l.lost_ns, 0);
	ck_assert_uint_eq(l.margin_ns, 0);
	ck_assert_uint_eq(l.hidden_ns, 12 * MS);        /* but who had a CPU may have been stopped in it */
	lateness_rest(&l, now + PERIOD);
	waited += 2 * MS;
	look_late(7 * MS);
	ck_assert_uint_eq(l.lost_ns, 5 * MS);
}
END_TEST

START_TEST(a_stop_during_a_look_is_lost)
{
	look_late(0);
	now += 100 * MS;
	cpu += MS / 10;
	lateness_rest(&l, l.looked_ns + PERIOD);
	ck_assert_uint_eq(l.lost_ns, 100 * MS - MS / 10);
	ck_assert_uint_eq(l.due_ns, now);
	look_late(0);
	ck_assert_uint_eq(l.lost_ns, 100 * MS - MS / 10);
	ck_assert_uint_eq(l.margin_ns, 0);
}
END_TEST

START_TEST(a_stop_during_a_look_is_known_before_that_look_judges)
{
	look_late(0);
	now += 50 * MS;
	lateness_note(&l);
	ck_assert_uint_eq(l.lost_ns, 50 * MS);
	now += MS / 2;
	lateness_note(&l);
	lateness_rest(&l, now + PERIOD);
	ck_assert_uint_eq(l.lost_ns, 50 * MS);          /* and once only */
	ck_assert_uint_eq(l.doubt_ns, 50 * MS);
}
END_TEST

START_TEST(a_long_look_that_computed_or_waited_for_a_cpu_has_lost_nothing)
{
	look_late(0);
	now += 30 * MS;
	cpu += 20 * MS;
	waited += 10 * MS;
	lateness_rest(&l, now + PERIOD);
	ck_assert_uint_eq(l.lost_ns, 0);
}
END_TEST

/* Waits at its wake-ups, and in its looks. */
START_TEST(short_waits_do_not_add_up_to_an_explanation)
{
	const uint64_t wait = _i % 2 == 0 ? MS / 2 : MS / 9;

	for (int i = 0; i < 14; i++) {
		waited += wait;
		look_late(_i < 2 ? wait : 0);
		now += _i < 2 ? 0 : wait;
		lateness_rest(&l, now + PERIOD);
	}
	look_late(12 * MS);
	ck_assert_uint_eq(l.lost_ns, 12 * MS);
}
END_TEST

START_TEST(short_waits_take_nothing_from_an_explanation_but_their_own)
{
	for (int i = 0; i < 15; i++) {
		waited += MS / 9;
		look_late(MS / 9);
		lateness_rest(&l, now + PERIOD);
	}
	waited += 12 * MS;
	look_late(12 * MS);
	ck_assert_uint_eq(l.lost_ns, 0);
	ck_assert_uint_eq(l.hidden_ns, 12 * MS + PERIOD);
}
END_TEST

START_TEST(a_wait_explains_what_it_can_after_looks_that_were_late_or_long_by_themselves)
{
	look_late(MS / 20 * 9);
	lateness_rest(&l, now + PERIOD);
	look_late(_i == 0 ? 0 : MS / 10 * 9);
	now += _i == 0 ? MS / 10 * 9 : _i == 2 ? 5 * MS : 0;
	cpu += _i == 0 ? MS / 10 * 9 : _i == 2 ? 5 * MS : 0;
	lateness_rest(&l, now + PERIOD);
	waited += 4 * MS;
	look_late(4 * MS);
	ck_assert_uint_eq(l.lost_ns, 0);
}
END_TEST

START_TEST(what_it_did_in_place_of_sleeping_explains_nothing)
{
	lateness_rest(&l, NEVER);
	lateness_leave(&l);
	now += 30 * MS;
	cpu += 20 * MS;
	waited += 10 * MS;
	lateness_wake(&l, now);
	lateness_look(&l);
	now += STOP;
	lateness_note(&l);
	ck_assert_uint_eq(l.lost_ns, STOP);
}
END_TEST

START_TEST(looks_in_time_seldom_ask_for_its_times)
{
	lateness_leave(&l);     /* which it may have done once */
	asked = 0;
	for (int i = 0; i < 100; i++) {
		look_late(MS / 50);
		now += MS / 50;
		cpu += MS / 50;
		lateness_rest(&l, now + PERIOD);
	}
	ck_assert_int_ge(asked, 1);
	ck_assert_int_le(asked, 10);
}
END_TEST

START_TEST(what_earlier_looks_took_explains_nothing)
{
	for (int i = 0; i < 15; i++) {
		look_late(0);
		now += MS / 5 * 4;
		cpu += MS / 5 * 2;
		waited += MS / 5 * 2;
		lateness_rest(&l, now + PERIOD);
	}
	look_late(0);
	now += STOP;
	lateness_note(&l);
	ck_assert_uint_eq(l.lost_ns, STOP);
}
END_TEST

START_TEST(what_short_looks_took_explains_nothing)
{
	for (int i = 0; i < 4; i++) {
		look_late(0);
		now += MS / 9;
		cpu += MS / 18;
		waited += MS / 18;
		lateness_rest(&l, now + PERIOD);
	}
	if (_i == 0) {
		look_late(0);
		now += STOP;
		lateness_note(&l);
		ck_assert_uint_eq(l.lost_ns, STOP);
	} else if (_i == 1) {
		look_late(0);
		now += STOP;
		waited += STOP;
		lateness_note(&l);
		ck_assert_uint_eq(l.hiding_ns, STOP);
	} else {
		l.due_ns = NEVER;       /* in place of the last of these */
		now += 900 * MS;
		lateness_look(&l);
		ck_assert_uint_eq(unseen(now - STOP), STOP);
	}
}
END_TEST

START_TEST(what_a_look_waited_for_a_cpu_may_hide_a_stop)
{
	struct lateness_grant seen, fresh;

	look_late(0);
	seen = first(now - 2 * MS);
	now += 15 * MS;
	cpu += MS;
	waited += 9 * MS;
	ck_assert_uint_eq(lateness_granted(&l, &seen), 5 * MS); /* it was stopped itself when it had its CPU */
	ck_assert_uint_eq(seen.hidden_ns, 9 * MS);
	lateness_rest(&l, now + PERIOD);
	look_late(0);
	lateness_again(&l, &seen);
	ck_assert_uint_eq(lateness_granted(&l, &seen), 5 * MS);
	ck_assert_uint_eq(seen.hidden_ns, 9 * MS);
	fresh = first(now - 8 * MS);                    /* it began in that look */
	ck_assert_uint_eq(fresh.unseen_ns, 5 * MS);
	ck_assert_uint_eq(fresh.hidden_ns, 3 * MS);     /* all that is left */
	lateness_rest(&l, now + PERIOD);
	look_late(0);
	ck_assert_uint_eq(first(now - 2 * MS).hidden_ns, 0);
	lateness_again(&l, &seen);
	ck_assert_uint_eq(seen.hidden_ns, 9 * MS);      /* the greatest of its looks' */
}
END_TEST

START_TEST(a_wait_before_the_first_look_at_a_hold_may_hide_a_stop_of_that_hold_only)
{
	waited += 7 * MS;
	look_late(7 * MS);
	ck_assert_uint_eq(first(now - 4 * MS).unseen_ns, 0);
	ck_assert_uint_eq(first(now - 4 * MS).hidden_ns, 4 * MS);
	ck_assert_uint_eq(first(now - 11 * MS).unseen_ns, 6 * MS);
	ck_assert_uint_eq(first(now - 11 * MS).hidden_ns, 5 * MS);
}
END_TEST

START_TEST(no_stop_falls_between_a_look_and_the_sleep_after_it)
{
	look_late(0);
	stop_in = _i;
	lateness_rest(&l, now + PERIOD);
	if (stop_in >= 0)       /* it has not read the clock so often: so in the sleep */
		now += STOP;
	stop_in = -1;
	now = now > l.due_ns ? now : l.due_ns;
	lateness_look(&l);
	ck_assert_uint_eq(l.lost_ns + l.margin_ns, STOP);
}
END_TEST

START_TEST(before_the_first_look_at_a_hold_all_may_be_lost_that_it_cannot_explain)
{
	uint64_t start = now + MS;

	look_late(7 * MS);
	ck_assert_uint_eq(unseen(start), 11 * MS); /* until now, all of it */
	ck_assert_uint_eq(unseen(now - 2 * MS), 2 * MS);
	now += 20 * MS;
	lateness_note(&l);
	ck_assert_uint_eq(unseen(start), 31 * MS);
	lateness_rest(&l, now + PERIOD);
	look_late(0);                                   /* what began in that look, before the stop */
	ck_assert_uint_eq(unseen(now - 26 * MS), 21 * MS);
	ck_assert_uint_eq(unseen(now - MS), MS);
}
END_TEST

START_TEST(a_hold_that_woke_it_has_lost_what_the_wake_up_took)
{
	lateness_rest(&l, NEVER);
	now += 900 * MS;
	lateness_look(&l);
	ck_assert_uint_eq(l.lost_ns, 0);
	ck_assert_uint_eq(unseen(now - MS / 10), 0);
	ck_assert_uint_eq(unseen(now - 4 * MS), 4 * MS);
	lateness_rest(&l, NEVER);
	now += 900 * MS;
	waited += 4 * MS;                               /* there was no CPU for it */
	lateness_look(&l);
	ck_assert_uint_eq(unseen(now - 4 * MS), 0);
	ck_assert_uint_eq(first(now - 4 * MS).hidden_ns, 4 * MS);
	ck_assert_uint_eq(unseen(now - 30 * MS), 26 * MS);
}
END_TEST

START_TEST(a_wake_up_that_took_long_may_have_been_a_stop)
{
	lateness_rest(&l, NEVER);
	now += 900 * MS;
	lateness_wake(&l, now - 12 * MS);
	lateness_look(&l);
	ck_assert_uint_eq(l.lost_ns, 12 * MS);
	ck_assert_uint_eq(l.doubt_ns, 12 * MS);
	ck_assert_uint_eq(unseen(now - 12 * MS), 12 * MS);
	lateness_rest(&l, NEVER);
	now += 900 * MS;
	waited += 12 * MS;                              /* there was no CPU for it */
	lateness_wake(&l, now - 12 * MS);
	lateness_look(&l);
	ck_assert_uint_eq(l.lost_ns, 12 * MS);
	ck_assert_uint_eq(l.hidden_ns, 12 * MS);
}
END_TEST

START_TEST(a_suspended_machine_is_lost_whenever_it_looks)
{
	suspended += 3 * NS_PER_S;
	look_late(0);
	ck_assert_uint_eq(l.lost_ns, 3 * NS_PER_S);
	lateness_rest(&l, NEVER);
	suspended += NS_PER_S;
	now += MS;
	lateness_look(&l);
	ck_assert_uint_eq(l.lost_ns, 4 * NS_PER_S);
	ck_assert_uint_eq(unseen(now - MS / 2), MS / 2);
}
END_TEST

START_TEST(without_times_of_its_own_nothing_is_explained)
{
	known = false;
	waited += 7 * MS;
	look_late(7 * MS);
	ck_assert_uint_eq(l.lost_ns, 7 * MS);
}
END_TEST

/* A process that is stopped for a while at any moment of a hold that computes, or sleeps, for less than the limit: the
 * monitor looks as it does.  What is certain, the margin and what was not seen cover the stop, wherever it begins. */
START_TEST(a_stop_is_covered_wherever_it_begins)
{
	for (uint64_t begins = 0; begins < 2 * PERIOD; begins += MS / 4)
		for (uint64_t length = 2 * MS; length < 40 * MS; length += MS) {
			uint64_t start, stop, lost;

			set_up();
			start = now;            /* the hold's, just after a look */
			stop = start + begins;
			if (stop < l.due_ns) {
				now = stop + length < l.due_ns ? l.due_ns : stop + length;
				lateness_look(&l);
				lost = unseen(start);
			} else {
				uint64_t before;

				look_late(0);
				lost = unseen(start);
				before = l.lost_ns;
				lateness_rest(&l, now + PERIOD);
				now = stop + length < l.due_ns ? l.due_ns : stop + length;
				lateness_look(&l);
				lost += l.lost_ns - before + l.margin_ns;
			}
			if (now >= l.due_ns + MS)       /* else it is shorter than a look's time */
				ck_assert_uint_ge(lost, length);
		}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("lateness");
	TCase *c = tcase_create("looks");

	tcase_add_checked_fixture(c, set_up, NULL);
	tcase_add_test(c, a_look_in_time_has_lost_nothing);
	tcase_add_test(c, a_stop_while_it_slept_may_have_begun_with_that_sleep);
	tcase_add_test(c, lateness_that_its_own_wait_explains_is_not_lost);
	tcase_add_test(c, a_stop_during_a_look_is_lost);
	tcase_add_test(c, a_stop_during_a_look_is_known_before_that_look_judges);
	tcase_add_test(c, a_long_look_that_computed_or_waited_for_a_cpu_has_lost_nothing);
	tcase_add_loop_test(c, short_waits_do_not_add_up_to_an_explanation, 0, 4);
	tcase_add_test(c, short_waits_take_nothing_from_an_explanation_but_their_own);
	tcase_add_loop_test(c, a_wait_explains_what_it_can_after_looks_that_were_late_or_long_by_themselves, 0, 3);
	tcase_add_test(c, what_it_did_in_place_of_sleeping_explains_nothing);
	tcase_add_test(c, looks_in_time_seldom_ask_for_its_times);
	tcase_add_test(c, what_earlier_looks_took_explains_nothing);
	tcase_add_loop_test(c, what_short_looks_took_explains_nothing, 0, 3);
	tcase_add_test(c, what_a_look_waited_for_a_cpu_may_hide_a_stop);
	tcase_add_test(c, a_wait_before_the_first_look_at_a_hold_may_hide_a_stop_of_that_hold_only);
	tcase_add_loop_test(c, no_stop_falls_between_a_look_and_the_sleep_after_it, 0, 4);
	tcase_add_test(c, before_the_first_look_at_a_hold_all_may_be_lost_that_it_cannot_explain);
	tcase_add_test(c, a_hold_that_woke_it_has_lost_what_the_wake_up_took);
	tcase_add_test(c, a_wake_up_that_took_long_may_have_been_a_stop);
	tcase_add_test(c, a_suspended_machine_is_lost_whenever_it_looks);
	tcase_add_test(c, without_times_of_its_own_nothing_is_explained);
	tcase_add_test(c, a_stop_is_covered_wherever_it_begins);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
