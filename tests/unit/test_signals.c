/* test_signals.c: which of the signals that end a server are one and the same. */
#include "signals.h"

#include <check.h>
#include <signal.h>

#define MS NS_PER_MS

START_TEST(the_first_is_no_repetition)
{
	struct signals_first first = { 0 };

	ck_assert(!signals_same(&first, SIGTERM, 0));
	ck_assert_int_eq(first.sig, SIGTERM);
}
END_TEST

START_TEST(the_same_one_at_once_is_still_the_first)
{
	struct signals_first first = { 0 };

	ck_assert(!signals_same(&first, SIGINT, 7000 * MS));
	ck_assert(signals_same(&first, SIGINT, 7000 * MS));
	ck_assert(signals_same(&first, SIGINT, 7300 * MS));
	ck_assert(signals_same(&first, SIGINT, 7500 * MS - 1));
}
END_TEST

START_TEST(the_same_one_later_is_a_second_however_often_it_came_before)
{
	struct signals_first first = { 0 };

	ck_assert(!signals_same(&first, SIGTERM, 7000 * MS));
	ck_assert(signals_same(&first, SIGTERM, 7499 * MS));
	ck_assert(!signals_same(&first, SIGTERM, 7500 * MS));
	ck_assert(!signals_same(&first, SIGTERM, 7501 * MS));
}
END_TEST

START_TEST(the_other_one_is_a_second_at_once)
{
	struct signals_first first = { 0 };

	ck_assert(!signals_same(&first, SIGTERM, 7000 * MS));
	ck_assert(!signals_same(&first, SIGINT, 7000 * MS));
}
END_TEST

START_TEST(each_resizing_counts)
{
	struct signals_first first = { 0 };

	for (int i = 0; i < 3; i++) {
		ck_assert(!signals_same(&first, SIGTTIN, 0));
		ck_assert(!signals_same(&first, SIGTTOU, 0));
	}
	ck_assert_int_eq(first.sig, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("signals");
	TCase *c = tcase_create("signals");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, the_first_is_no_repetition);
	tcase_add_test(c, the_same_one_at_once_is_still_the_first);
	tcase_add_test(c, the_same_one_later_is_a_second_however_often_it_came_before);
	tcase_add_test(c, the_other_one_is_a_second_at_once);
	tcase_add_test(c, each_resizing_counts);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
