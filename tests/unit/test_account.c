/* test_account.c: where a hold's time went, by looks at a thread that only these tests know: it computes, sleeps, waits
 * for a CPU, or has its CPU stolen, which the kernel accounts as nothing at all. */
#include "account.h"
#include "base/clock.h"
#include "stall.h"

#include <check.h>
#include <stdlib.h>

#define MS NS_PER_MS
#define US NS_PER_US
#define LIMIT (10 * MS)
#define PERIOD (7500 * US)
#define BEGUN (1000 * MS)
#define PIECES 8

enum does { COMPUTES, SLEEPS, WAITS, STOLEN };

/* What the thread does from BEGUN on, one after the other. */
struct piece {
	enum does does;
	uint64_t ns;
};

/* A wait is accounted when it is over. */
static struct account_times times_at(const struct piece *p, uint64_t at_ns, enum does *now)
{
	struct account_times t = { .at_ns = at_ns, .cpu_ns = 77 * MS, .waited_ns = 33 * MS };
	uint64_t left = at_ns - BEGUN;

	for (; p->ns > 0 && left >= p->ns; left -= p->ns, p++) {
		t.cpu_ns += p->does == COMPUTES ? p->ns : 0;
		t.waited_ns += p->does == WAITS ? p->ns : 0;
	}
	t.cpu_ns += p->does == COMPUTES ? left : 0;
	*now = p->does;
	return t;
}

/* What is made of a hold from `start` to `end`, looked at first at `first`, a period after the look before, then when
 * it reaches the limit and a period after each look. */
static struct stall_parts parts_of(const struct piece *p, uint64_t start, uint64_t first, uint64_t end)
{
	enum does now;
	struct account_times t = times_at(p, BEGUN + first - PERIOD, &now), before = t;
	struct account a;
	uint64_t at = first;

	t = times_at(p, BEGUN + at, &now);
	account_begin(&a, BEGUN + start, &before, &t, now == SLEEPS);
	for (;;) {
		uint64_t next = at + PERIOD;

		if (at < start + LIMIT && next > start + LIMIT)
			next = start + LIMIT;
		if (next >= end)
			break;
		at = next;
		t = times_at(p, BEGUN + at, &now);
		account_look(&a, &t, now == SLEEPS);
	}
	t = times_at(p, BEGUN + end, &now);
	return account_parts(&a, &t, 0);
}

/* A hold of `wall` that begins 20 ms after BEGUN, wherever the looks fall; before it the loop does `idle`. */
static void each_phase(enum does idle, const struct piece *hold, void (*check)(const struct stall_parts *p))
{
	struct piece all[PIECES + 1] = { { idle, 20 * MS } };
	uint64_t wall = 0;

	for (int i = 0; hold[i].ns > 0; i++) {
		all[i + 1] = hold[i];
		wall += hold[i].ns;
	}
	for (uint64_t phase = 0; phase < PERIOD; phase += 100 * US) {
		struct stall_parts p = parts_of(all, 20 * MS, 20 * MS + phase, 20 * MS + wall);

		ck_assert_uint_eq(p.wall, wall);
		ck_assert_uint_eq(p.cpu + p.waited + p.blocked, wall);
		check(&p);
	}
}

static void is_nobodys(const struct stall_parts *p)
{
	ck_assert_int_eq(stall_judge(p, LIMIT), STALL_RUNNABLE);
}

static void is_blocked(const struct stall_parts *p)
{
	ck_assert_int_eq(stall_judge(p, LIMIT), STALL_BLOCKED);
}

static void is_cpu(const struct stall_parts *p)
{
	ck_assert_int_eq(stall_judge(p, LIMIT), STALL_CPU);
}

START_TEST(who_sleeps_for_a_little_over_the_limit_blocks)
{
	static const struct piece hold[PIECES] = { { COMPUTES, 20 * US }, { SLEEPS, 12 * MS }, { COMPUTES, 20 * US } };

	each_phase(SLEEPS, hold, is_blocked);
	each_phase(COMPUTES, hold, is_blocked);
}
END_TEST

START_TEST(who_computes_for_a_little_over_the_limit_is_told_to)
{
	static const struct piece hold[PIECES] = { { COMPUTES, 12 * MS } };

	each_phase(SLEEPS, hold, is_cpu);
	each_phase(COMPUTES, hold, is_cpu);
}
END_TEST

START_TEST(a_stolen_cpu_is_nobodys_fault)
{
	static const struct piece first[PIECES] = { { STOLEN, 14 * MS }, { COMPUTES, MS } };
	static const struct piece last[PIECES] = { { COMPUTES, MS }, { STOLEN, 16 * MS }, { COMPUTES, 10 * US } };
	static const struct piece twice[PIECES] = { { STOLEN, 7 * MS }, { COMPUTES, MS }, { STOLEN, 7 * MS } };
	static const struct piece busy[PIECES] = { { WAITS, 6 * MS }, { COMPUTES, MS }, { STOLEN, 8 * MS } };
	static const struct piece unseen[PIECES] = { { STOLEN, 7 * MS }, { COMPUTES, 5 * MS } };
	const struct piece *const holds[] = { first, last, twice, busy, unseen };

	for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++) {
		each_phase(SLEEPS, holds[i], is_nobodys);
		each_phase(COMPUTES, holds[i], is_nobodys);
	}
}
END_TEST

START_TEST(who_waited_for_a_cpu_before_the_first_look_has_not_computed_then)
{
	static const struct piece hold[PIECES] = { { WAITS, 7 * MS }, { COMPUTES, 5 * MS } };

	each_phase(SLEEPS, hold, is_nobodys);
	each_phase(COMPUTES, hold, is_nobodys);
}
END_TEST

START_TEST(who_sleeps_and_has_its_cpu_stolen_besides_blocks_for_what_it_slept)
{
	static const struct piece hold[PIECES] = { { SLEEPS, 25 * MS }, { STOLEN, 50 * MS }, { COMPUTES, MS } };
	const struct piece all[] = { { SLEEPS, 20 * MS }, hold[0], hold[1], hold[2], { COMPUTES, 0 } };
	struct stall_parts p = parts_of(all, 20 * MS, 22 * MS, 96 * MS);

	ck_assert_uint_ge(p.blocked, 25 * MS);
	ck_assert_uint_le(p.blocked, 25 * MS + PERIOD);
	ck_assert_int_eq(stall_judge(&p, LIMIT), STALL_BLOCKED);
}
END_TEST

START_TEST(time_that_may_be_lost_is_left_for_the_judge)
{
	const struct account_times start = { BEGUN, 0, 0 }, end = { BEGUN + 30 * MS, 2 * MS, 0 };
	struct stall_parts p;
	struct account a;

	account_begin(&a, BEGUN, &start, &start, false);
	p = account_parts(&a, &end, 25 * MS);
	ck_assert_uint_eq(p.lost, 25 * MS);
	ck_assert_uint_eq(p.blocked, 25 * MS);
	ck_assert_uint_eq(p.waited, 3 * MS);
	ck_assert_int_eq(stall_judge(&p, LIMIT), STALL_LATE);
}
END_TEST

START_TEST(times_that_go_back_are_nothing)
{
	const struct account_times before = { BEGUN - MS, 50 * MS, 50 * MS }, first = { BEGUN + MS, 60 * MS, 60 * MS };
	const struct account_times end = { BEGUN + 12 * MS, 55 * MS, 55 * MS };
	struct stall_parts p;
	struct account a;

	account_begin(&a, BEGUN, &before, &first, false);
	p = account_parts(&a, &end, 0);
	ck_assert_uint_eq(p.cpu + p.waited + p.blocked, 12 * MS);
	ck_assert_uint_le(p.cpu, MS);
	ck_assert_uint_eq(p.blocked, 0);
	ck_assert(!stall_blames(stall_judge(&p, LIMIT)));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("account");
	TCase *c = tcase_create("holds");

	tcase_add_test(c, who_sleeps_for_a_little_over_the_limit_blocks);
	tcase_add_test(c, who_computes_for_a_little_over_the_limit_is_told_to);
	tcase_add_test(c, a_stolen_cpu_is_nobodys_fault);
	tcase_add_test(c, who_waited_for_a_cpu_before_the_first_look_has_not_computed_then);
	tcase_add_test(c, who_sleeps_and_has_its_cpu_stolen_besides_blocks_for_what_it_slept);
	tcase_add_test(c, time_that_may_be_lost_is_left_for_the_judge);
	tcase_add_test(c, times_that_go_back_are_nothing);
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
