/* test_trace.c: which traceparent fields are valid. */
#include "trace.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"
#define GOOD "00-" ID "-" SPAN "-01"

static struct trace got;

/* From memory of its own, so that a sanitizer sees what is read beyond it. */
static bool parse(const char *value)
{
	size_t n = strlen(value);
	char *copy = malloc(n ? n : 1);
	bool ok;

	memcpy(copy, value, n);
	ok = trace_parse((struct slice){ copy, n }, &got);
	free(copy);
	return ok;
}

START_TEST(a_valid_field_gives_both_ids)
{
	ck_assert(parse(GOOD));
	ck_assert_str_eq(got.trace_id, ID);
	ck_assert_str_eq(got.span_id, SPAN);
	ck_assert(parse("00-" ID "-" SPAN "-00"));
	ck_assert(parse("00-" ID "-" SPAN "-ff"));
}
END_TEST

START_TEST(a_later_version_may_go_on_after_a_dash)
{
	ck_assert(parse("01-" ID "-" SPAN "-01"));
	ck_assert(parse("cc-" ID "-" SPAN "-01-what-the-future-will-be-like"));
	ck_assert(parse("fe-" ID "-" SPAN "-01-"));
	ck_assert(!parse("cc-" ID "-" SPAN "-01.what"));
	ck_assert(!parse("cc-" ID "-" SPAN "-012"));
	ck_assert(!parse("ff-" ID "-" SPAN "-01"));
}
END_TEST

START_TEST(this_version_ends_with_its_flags)
{
	ck_assert(!parse(GOOD "-"));
	ck_assert(!parse(GOOD "-01"));
	ck_assert(!parse(GOOD " "));
	ck_assert(!parse(GOOD "0"));
}
END_TEST

START_TEST(ids_of_zeros_are_none)
{
	ck_assert(!parse("00-00000000000000000000000000000000-" SPAN "-01"));
	ck_assert(!parse("00-" ID "-0000000000000000-01"));
}
END_TEST

START_TEST(only_lower_case_hex_will_do)
{
	const char *good = GOOD;

	for (size_t i = 0; good[i]; i++) {
		static const char bad[] = "gG A/:`@\t";
		char s[sizeof(GOOD)];

		for (size_t k = 0; bad[k]; k++) {
			memcpy(s, good, sizeof(s));
			s[i] = bad[k];
			ck_assert_msg(!parse(s), "%s", s);
		}
	}
	ck_assert(!parse("00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01"));
}
END_TEST

START_TEST(what_is_too_short_is_not_read_beyond)
{
	for (size_t n = 0; n < sizeof(GOOD) - 1; n++) {
		char s[sizeof(GOOD)] = "";

		memcpy(s, GOOD, n);
		ck_assert_msg(!parse(s), "%s", s);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace");
	TCase *c = tcase_create("trace");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, a_valid_field_gives_both_ids);
	tcase_add_test(c, a_later_version_may_go_on_after_a_dash);
	tcase_add_test(c, this_version_ends_with_its_flags);
	tcase_add_test(c, ids_of_zeros_are_none);
	tcase_add_test(c, only_lower_case_hex_will_do);
	tcase_add_test(c, what_is_too_short_is_not_read_beyond);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
