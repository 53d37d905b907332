/* test_server_load.c: what is made of a loop's times, on a clock that only these tests know. */
#include "base/clock.h"
#include "server_load.h"

#include <check.h>
#include <stdlib.h>

#define MS NS_PER_MS

static struct load_meter m;

static void set_up(void)
{
	m = (struct load_meter){ .nmarks = 0 };
}

/* All in milliseconds. */
static void add(struct load_meter *meter, uint64_t at, uint64_t busy, uint64_t idle, uint64_t cpu)
{
	load_add(meter, &(struct load_reading){ 1000 * NS_PER_S + at * MS, busy * MS, idle * MS, cpu * MS });
}

/* A loop that has worked for one of each four seconds, evenly, until then. */
static void add_quarter(struct load_meter *meter, uint64_t at)
{
	add(meter, at, at / 4, at - at / 4, 0);
}

START_TEST(what_the_kernel_does_in_a_wait_is_work)
{
	add(&m, 1000, 200, 800, 300);
	ck_assert_uint_eq(m.now.busy_ns, 300 * MS);
	ck_assert_uint_eq(m.now.idle_ns, 700 * MS);
	add(&m, 2000, 900, 1100, 400);  /* blocked for most of it: no CPU, and no wait */
	ck_assert_uint_eq(m.now.busy_ns, 1000 * MS);
	ck_assert_uint_eq(m.now.idle_ns, 1000 * MS);
	add(&m, 2100, 950, 1150, 900);  /* of a CPU's clock that runs ahead no more counts than there was time */
	ck_assert_uint_eq(m.now.busy_ns, 1100 * MS);
	ck_assert_uint_eq(m.now.idle_ns, 1000 * MS);
}
END_TEST

START_TEST(what_is_read_in_the_midst_of_a_turns_end_makes_nothing_run_back)
{
	add(&m, 1000, 500, 500, 0);
	add(&m, 1010, 400, 510, 0);
	ck_assert_uint_eq(m.now.busy_ns, 500 * MS);
	add(&m, 1020, 505, 515, 0);
	ck_assert_uint_eq(m.now.busy_ns, 505 * MS);
	ck_assert_uint_eq(m.now.idle_ns, 515 * MS);
	add(&m, 900, 400, 500, 0);      /* another's reading, which came later */
	ck_assert_uint_eq(m.now.busy_ns, 505 * MS);
	ck_assert_uint_eq(m.now.at_ns, 1000 * NS_PER_S + 1020 * MS);
}
END_TEST

START_TEST(a_share_is_of_the_last_ten_seconds)
{
	ck_assert_double_eq(load_share(&m), 0);
	for (unsigned s = 1; s <= 60; s++)
		add(&m, 1000 * s, 0, 1000 * s, 0);
	ck_assert_double_eq(load_share(&m), 0);
	for (unsigned s = 1; s <= 30; s++) {
		add(&m, 60000 + 1000 * s, 1000 * s, 60000, 0);
		ck_assert_double_eq_tol(load_share(&m), s < 10 ? s / 10.0 : 1, 1e-6);
	}
}
END_TEST

START_TEST(a_share_is_of_a_life_that_is_shorter)
{
	add(&m, 400, 300, 100, 0);
	ck_assert_double_eq_tol(load_share(&m), 0.75, 1e-6);
	add(&m, 4000, 300, 3700, 0);
	ck_assert_double_eq_tol(load_share(&m), 0.075, 1e-6);
}
END_TEST

START_TEST(who_asks_often_changes_nothing_for_who_asks_seldom)
{
	struct load_meter often = { .nmarks = 0 };

	for (uint64_t at = 0; at <= 120000; at += 15000) {
		for (uint64_t t = at > 15000 ? at - 15000 : 0; t < at; t += 7)
			add_quarter(&often, t);
		add_quarter(&often, at);
		add_quarter(&m, at);
		ck_assert_uint_le(often.nmarks, LOAD_MARKS);
		ck_assert_uint_eq(often.now.busy_ns, m.now.busy_ns);
		ck_assert_uint_eq(often.now.idle_ns, m.now.idle_ns);
		ck_assert_double_eq_tol(load_share(&often), load_share(&m), 1e-3);
	}
	ck_assert_double_eq_tol(load_share(&m), 0.25, 1e-3);
}
END_TEST

START_TEST(a_share_holds_when_nobody_has_looked_for_long)
{
	add(&m, 1000, 1000, 0, 0);
	add(&m, 601000, 1000, 600000, 0);       /* nothing ran, so the monitor slept */
	ck_assert_double_eq(load_share(&m), 0);
	add(&m, 604000, 4000, 600000, 0);
	ck_assert_double_eq_tol(load_share(&m), 0.3, 1e-6);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("server_load");
	TCase *t = tcase_create("server_load");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, what_the_kernel_does_in_a_wait_is_work);
	tcase_add_test(t, what_is_read_in_the_midst_of_a_turns_end_makes_nothing_run_back);
	tcase_add_test(t, a_share_is_of_the_last_ten_seconds);
	tcase_add_test(t, a_share_is_of_a_life_that_is_shorter);
	tcase_add_test(t, who_asks_often_changes_nothing_for_who_asks_seldom);
	tcase_add_test(t, a_share_holds_when_nobody_has_looked_for_long);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
