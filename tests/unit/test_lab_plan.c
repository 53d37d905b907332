/* test_lab_plan.c: what `offloop lab` is asked for, who runs how, and what rounds come to. */
#include "cli/lab.h"
#include "cli/lab_cell.h"
#include "cli/lab_server.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The lab's own is set by signals; here nothing stops it. */
bool lab_stopped(void)
{
	return false;
}

static char err[512];
static struct lab_plan plan;

/* The options in one line, separated by blanks. */
static int options(const char *line)
{
	static char text[512];
	char *argv[32] = { "lab" }, *rest = text;
	int argc = 1;

	snprintf(text, sizeof(text), "%s", line);
	*err = 0;
	while (*line && rest)
		argv[argc++] = strsep(&rest, " ");
	return lab_options(&plan, argc, argv, err, sizeof(err));
}

static void refused(const char *line, const char *why)
{
	ck_assert_int_eq(options(line), -EINVAL);
	ck_assert_msg(strstr(err, why) && !strchr(err, '\n'), "%s: %s", line, err);
}

static bool has(const char *name)
{
	for (size_t i = 0; i < lab_nsubjects(); i++)
		if (strcmp(lab_subject(i).name, name) == 0)
			return plan.subjects >> i & 1;
	ck_abort_msg("no subject %s", name);
	return false;
}

START_TEST(without_options_all_models_go_through_all_workloads)
{
	ck_assert_int_eq(options(""), 0);
	ck_assert_uint_eq(plan.rounds, 3);
	ck_assert_double_eq(plan.secs, 0.45);
	ck_assert_uint_eq(plan.workloads, (1u << lab_nworkloads) - 1);
	ck_assert(has("hybrid") && has("asgi") && has("tornado") && has("wsgi") && has("wsgi-sync"));
	ck_assert(!has("node") && !has("fastapi"));
	ck_assert_str_eq(plan.out, "lab.html");
	ck_assert_str_eq(plan.json, "lab.json");
}
END_TEST

START_TEST(peers_come_when_asked_for)
{
	ck_assert_int_eq(options("--peers"), 0);
	ck_assert(has("hybrid") && has("node") && has("nginx"));
	ck_assert_int_eq(options("--only node,hybrid --peers"), 0);
	ck_assert(has("node") && has("hybrid") && !has("asgi") && !has("nginx"));
	refused("--only node", "give --peers");
}
END_TEST

START_TEST(single_options_win_over_short_and_long)
{
	ck_assert_int_eq(options("--rounds 2 --long"), 0);
	ck_assert_uint_eq(plan.rounds, 2);
	ck_assert_double_eq(plan.secs, 2);
	ck_assert_int_eq(options("--long --secs=0.25 --guard=0 --idle 50 --backend libevent"), 0);
	ck_assert_uint_eq(plan.rounds, 6);
	ck_assert_double_eq(plan.secs, 0.25);
	ck_assert_double_eq(plan.guard, 0);
	ck_assert_uint_eq(plan.idle, 50);
	ck_assert_str_eq(plan.backend, "libevent");
}
END_TEST

START_TEST(workloads_are_chosen_by_name)
{
	ck_assert_int_eq(options("--workloads idle,trivial"), 0);
	ck_assert_int_eq(__builtin_popcount(plan.workloads), 2);
	for (size_t i = 0; i < lab_nworkloads; i++)
		ck_assert_int_eq(plan.workloads >> i & 1, strcmp(lab_workloads[i].name, "idle") == 0 ||
			strcmp(lab_workloads[i].name, "trivial") == 0);
}
END_TEST

START_TEST(wrong_options_are_refused_in_one_line)
{
	refused("--only hybird", "did you mean hybrid?");
	refused("--only hybrid,", "there is no subject \"\"");
	refused("--only zzzzzzzzzz", "there are hybrid, asgi");
	refused("--workloads trivail", "did you mean trivial?");
	refused("--rounds 0", "1 to 50");
	refused("--rounds 51", "1 to 50");
	refused("--rounds -1", "1 to 50");
	refused("--secs 0", "0.05 to 60");
	refused("--secs nan", "0.05 to 60");
	refused("--secs 1x", "0.05 to 60");
	refused("--guard -1", "0.12");
	refused("--idle 50001", "50000");
	refused("--backend epoll", "libevent");
	refused("--out=", "a file's name");
	refused("--rounds", "missing");
	refused("--peers=yes", "no value");
	refused("--round 3", "did you mean --rounds?");
	refused("--frobnicate", "unknown option");
	refused("hybrid", "too many");
}
END_TEST

START_TEST(help_is_asked_for_anywhere)
{
	ck_assert_int_eq(options("--peers --help"), 1);
	ck_assert_int_eq(options("-h"), 1);
}
END_TEST

START_TEST(every_model_has_the_settings_of_its_original)
{
	const struct lab_setting how = { .cpus = 2, .connections = 10600, .backend = "uring" };

	for (size_t i = 0; i < lab_nsubjects(); i++) {
		const struct lab_subject s = lab_subject(i);
		bool sync = strcmp(s.name, "wsgi-sync") == 0;
		char *command = s.peer ? NULL : lab_model_command(&s, &how, "offloop", 8000);

		if (s.peer)
			continue;
		ck_assert_ptr_nonnull(strstr(command, "offloop lab serve --port 8000 --model"));
		ck_assert_ptr_nonnull(strstr(command, s.as ? s.as : s.name));
		ck_assert_ptr_nonnull(strstr(command, "--backend uring --connections-max 10600"));
		ck_assert_ptr_nonnull(strstr(command, sync ? "--workers 5" : "--loops 2"));
		ck_assert_uint_eq(lab_processes(&s, &how), sync ? 5 : 1);
		free(command);
	}
}
END_TEST

START_TEST(a_command_that_is_shown_can_be_given_to_a_shell)
{
	char *words[] = { "python3", "-m", "it's here", "", "$HOME", "a=b:8000", NULL }, *line = lab_line_of(words);

	ck_assert_str_eq(line, "python3 -m 'it'\\''s here' '' '$HOME' a=b:8000");
	free(line);
}
END_TEST

START_TEST(the_estimate_knows_who_waits_and_who_cannot)
{
	ck_assert_int_eq(options("--long --only hybrid --workloads block50"), 0);
	ck_assert_double_lt(lab_estimate(&plan), 6 * 2.5);
	/* A loop that is blocked needs 44 times 50 ms for one reply to each. */
	ck_assert_int_eq(options("--long --only asgi --workloads block50"), 0);
	ck_assert_double_gt(lab_estimate(&plan), 6 * 3);
	ck_assert_int_eq(options("--peers --only nginx --workloads block50"), 0);
	ck_assert_double_eq(lab_estimate(&plan), 0);
}
END_TEST

START_TEST(who_offloads_is_asked_for_what_offloads)
{
	static const char *const they[] = { "tornado+offload", "tornado-py" };

	for (size_t i = 0; i < lab_nsubjects(); i++) {
		const char *name = lab_subject(i).name;

		ck_assert_int_eq(lab_subject(i).offloads, strcmp(name, they[0]) == 0 || strcmp(name, they[1]) == 0);
	}
	for (size_t i = 0; i < lab_nworkloads; i++)
		ck_assert_int_eq(strncmp(lab_workloads[i].fast.path, "/block", 6) == 0,
			lab_workloads[i].fast.path_offloaded != NULL);
}
END_TEST

START_TEST(a_variant_is_measured_where_it_differs_from_its_model)
{
	for (size_t i = 0; i < lab_nsubjects(); i++) {
		const struct lab_subject s = lab_subject(i);
		unsigned n = 0;

		for (size_t w = 0; w < lab_nworkloads; w++)
			n += lab_takes_part(&s, lab_workloads[w].name);
		if (!s.as)
			ck_assert_uint_eq(n, lab_nworkloads);
		else if (strcmp(s.as, "tornado") == 0)
			ck_assert(lab_takes_part(&s, "block10") && lab_takes_part(&s, "block50") &&
				lab_takes_part(&s, "mixed") && n == 3);
		else
			ck_assert(lab_takes_part(&s, "wrong-lane") && !lab_takes_part(&s, "wrong") && n == 1);
	}
}
END_TEST

START_TEST(what_a_subject_is_asked_for_is_told)
{
	const struct lab_subject plain = { .name = "plain" }, offloads = { .name = "offloads", .offloads = true };
	char text[128];

	for (size_t i = 0; i < lab_nworkloads; i++) {
		const struct lab_workload *w = &lab_workloads[i];

		lab_paths(w, &offloads, text, sizeof(text));
		if (strcmp(w->name, "mixed") == 0)
			ck_assert_str_eq(text, "GET / beside GET /offload50");
		if (strcmp(w->name, "block10") == 0)
			ck_assert_str_eq(text, "GET /offload10");
		lab_paths(w, &plain, text, sizeof(text));
		if (strcmp(w->name, "mixed") == 0)
			ck_assert_str_eq(text, "GET / beside GET /block50");
		if (strcmp(w->name, "slow") == 0)
			ck_assert_str_eq(text, "GET / beside POST /upload and GET /big");
	}
}
END_TEST

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

static json_t *summed(const char *rounds)
{
	json_t *cell = json_pack("{s:o}", "rounds", json_loads(rounds, 0, NULL));

	ck_assert_int_eq(lab_cell_sum(cell), 0);
	return cell;
}

static double median(const json_t *cell, const char *key)
{
	return json_number_value(json_object_get(json_object_get(cell, "median"), key));
}

static double edge(const json_t *cell, const char *key, size_t i)
{
	return json_number_value(json_array_get(json_object_get(json_object_get(cell, "spread"), key), i));
}

START_TEST(rounds_come_to_their_median_and_spread)
{
	json_t *cell = summed("[{\"rps\": 300, \"p99_ms\": 1, \"dirty\": false, \"fast\": {\"rps\": 7}},"
		"{\"rps\": 100, \"p99_ms\": 3, \"dirty\": false, \"fast\": {\"rps\": 9}},"
		"{\"rps\": 200, \"p99_ms\": 2, \"dirty\": false, \"fast\": {\"rps\": 8}}]");

	ck_assert_double_eq(median(cell, "rps"), 200);
	ck_assert_double_eq(median(cell, "p99_ms"), 2);
	ck_assert_double_eq(edge(cell, "rps", 0), 100);
	ck_assert_double_eq(edge(cell, "rps", 1), 300);
	ck_assert_double_eq(json_number_value(json_object_get(json_object_get(json_object_get(cell, "median"), "fast"),
		"rps")), 8);
	json_decref(cell);
}
END_TEST

START_TEST(dirty_rounds_count_only_where_all_are)
{
	json_t *some = summed("[{\"rps\": 300, \"dirty\": false}, {\"rps\": 100, \"dirty\": true}]");
	json_t *all = summed("[{\"rps\": 300, \"dirty\": true}, {\"rps\": 100, \"dirty\": true}]");

	ck_assert_double_eq(median(some, "rps"), 300);
	ck_assert_double_eq(edge(some, "rps", 0), 300);
	ck_assert_double_eq(median(all, "rps"), 200);
	json_decref(some);
	json_decref(all);
}
END_TEST

START_TEST(a_figure_that_no_round_has_is_null)
{
	json_t *cell = summed("[{\"rps\": 0, \"cpu_us\": null, \"dirty\": false}]"), *none = summed("[]");

	ck_assert(json_is_null(json_object_get(json_object_get(cell, "median"), "cpu_us")));
	ck_assert(json_is_null(json_object_get(json_object_get(cell, "spread"), "cpu_us")));
	ck_assert_double_eq(median(cell, "rps"), 0);
	ck_assert_ptr_null(json_object_get(none, "median"));
	json_decref(cell);
	json_decref(none);
}
END_TEST

START_TEST(cpus_are_listed_as_ranges)
{
	cpu_set_t set;
	char text[64];

	CPU_ZERO(&set);
	lab_cpu_list(&set, text, sizeof(text));
	ck_assert_str_eq(text, "");
	CPU_SET(0, &set);
	CPU_SET(1, &set);
	CPU_SET(2, &set);
	CPU_SET(5, &set);
	CPU_SET(1023, &set);
	lab_cpu_list(&set, text, sizeof(text));
	ck_assert_str_eq(text, "0-2,5,1023");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab_plan");
	TCase *c = tcase_create("lab_plan");
	SRunner *r;
	int failed;

	tcase_add_test(c, without_options_all_models_go_through_all_workloads);
	tcase_add_test(c, peers_come_when_asked_for);
	tcase_add_test(c, single_options_win_over_short_and_long);
	tcase_add_test(c, workloads_are_chosen_by_name);
	tcase_add_test(c, wrong_options_are_refused_in_one_line);
	tcase_add_test(c, help_is_asked_for_anywhere);
	tcase_add_test(c, every_model_has_the_settings_of_its_original);
	tcase_add_test(c, a_command_that_is_shown_can_be_given_to_a_shell);
	tcase_add_test(c, the_estimate_knows_who_waits_and_who_cannot);
	tcase_add_test(c, who_offloads_is_asked_for_what_offloads);
	tcase_add_test(c, a_variant_is_measured_where_it_differs_from_its_model);
	tcase_add_test(c, what_a_subject_is_asked_for_is_told);
	tcase_add_test(c, rounds_come_to_their_median_and_spread);
	tcase_add_test(c, dirty_rounds_count_only_where_all_are);
	tcase_add_test(c, a_figure_that_no_round_has_is_null);
	tcase_add_test(c, cpus_are_listed_as_ranges);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
