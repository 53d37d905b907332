/* test_lab_verdict.c: who suits which workload, said with the numbers that show it, and nothing without. */
#include "cli/lab_verdict.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static json_t *report, *verdicts;

static void setup(void)
{
	report = json_pack("{s[] s[] s[]}", "subjects", "workloads", "cells");
	ck_assert_ptr_nonnull(report);
	verdicts = NULL;
}

static void teardown(void)
{
	json_decref(report);
	json_decref(verdicts);
}

/* ---- making a report --------------------------------------------------------------------------------------------- */

static void workload(const char *name)
{
	ck_assert_int_eq(json_array_append_new(json_object_get(report, "workloads"),
		json_pack("{ss}", "name", name)), 0);
}

static void subject(const char *name)
{
	ck_assert_int_eq(json_array_append_new(json_object_get(report, "subjects"),
		json_pack("{ss}", "name", name)), 0);
}

static json_t *cell(const char *who, const char *what, const char *status, const char *why)
{
	json_t *c = json_pack("{ss ss ss ss* s[]}", "subject", who, "workload", what, "status", status, "why", why,
		"rounds");

	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(json_array_append_new(json_object_get(report, "cells"), c), 0);
	return c;
}

/* Requests a second, p99 in ms, CPU us a request; of the fast ones requests a second, less than 0 for none, and p99. */
struct round {
	double rps, p99, cpu, fast_rps, fast_p99;
};

static json_t *figures(const struct round *r)
{
	json_t *o = json_pack("{sf si si sf sf si}", "rps", r->rps, "requests", (int)r->rps, "errors", 0, "p99_ms",
		r->p99, "cpu_us", r->cpu, "memory_kb", 10240);

	ck_assert_ptr_nonnull(o);
	if (r->fast_rps >= 0)
		ck_assert_int_eq(json_object_set_new(o, "fast", json_pack("{sf sf}", "rps", r->fast_rps, "p99_ms",
			r->fast_p99)), 0);
	return o;
}

/* A measured cell; the median is the middle one of three rounds, or the one. */
static json_t *measured(const char *who, const char *what, const struct round *rounds, size_t n)
{
	json_t *c = cell(who, what, "measured", NULL);

	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(json_array_append_new(json_object_get(c, "rounds"), figures(&rounds[i])), 0);
	ck_assert_int_eq(json_object_set_new(c, "median", figures(&rounds[n / 2])), 0);
	return c;
}

#define ROUND(rps, p99, cpu) { rps, p99, cpu, -1, 0 }
#define MEASURED(subject, workload, ...) \
	measured(subject, workload, (const struct round[]){ __VA_ARGS__ }, \
		sizeof((const struct round[]){ __VA_ARGS__ }) / sizeof(struct round))

/* The first round of a cell, to be spoilt. */
static json_t *first_round(json_t *c)
{
	return json_array_get(json_object_get(c, "rounds"), 0);
}

/* ---- reading the verdict ----------------------------------------------------------------------------------------- */

static const json_t *verdict(const char *name)
{
	if (!verdicts)
		verdicts = lab_verdicts(report);
	ck_assert_ptr_nonnull(verdicts);
	for (size_t i = 0; i < json_array_size(verdicts); i++) {
		const json_t *v = json_array_get(verdicts, i);

		if (strcmp(json_string_value(json_object_get(v, "workload")), name) == 0)
			return v;
	}
	ck_abort_msg("no verdict on %s", name);
	return NULL;
}

/* "" for a subject of which it is not said. */
static const char *suits(const char *who, const char *what)
{
	const json_t *all = json_object_get(verdict(what), "suits");
	const char *s = json_string_value(json_object_get(all, who));

	return s ? s : "";
}

static const char *reason(const char *who, const char *what)
{
	return json_string_value(json_object_get(json_object_get(verdict(what), "reason"), who));
}

static const char *why(const char *what)
{
	return json_string_value(json_object_get(verdict(what), "why"));
}

static void best_is(const char *what, const char *names)
{
	char *best = json_dumps(json_object_get(verdict(what), "best"), JSON_COMPACT);

	ck_assert_str_eq(best, names);
	free(best);
}

/* ---- rates ------------------------------------------------------------------------------------------------------- */

START_TEST(the_best_is_who_answers_most_and_the_others_are_measured_by_him)
{
	workload("trivial");
	subject("hybrid");
	subject("wsgi");
	subject("flask");
	MEASURED("hybrid", "trivial", ROUND(178000, 0.8, 5), ROUND(182340, 0.9, 5.42), ROUND(185000, 1, 6));
	MEASURED("wsgi", "trivial", ROUND(90000, 1.5, 10), ROUND(91170, 1.6, 10.9), ROUND(92000, 2, 11));
	MEASURED("flask", "trivial", ROUND(3800, 20, 250), ROUND(3900, 21, 256), ROUND(4000, 22, 260));
	best_is("trivial", "[\"hybrid\"]");
	ck_assert_str_eq(why("trivial"), "hybrid with 182,340 requests/s (178,000 to 185,000), p99 0.90 ms; next is "
		"wsgi with 91,170 requests/s (90,000 to 92,000), p99 1.6 ms");
	ck_assert_str_eq(suits("hybrid", "trivial"), "yes");
	ck_assert_str_eq(reason("hybrid", "trivial"), "182,340 requests/s (178,000 to 185,000), p99 0.90 ms, 5.4 "
		"\xc2\xb5s of CPU each, so 0.99 CPUs were busy");
	ck_assert_str_eq(suits("wsgi", "trivial"), "fair");
	ck_assert_str_eq(suits("flask", "trivial"), "no");
	ck_assert_str_eq(reason("flask", "trivial"), "3,900 requests/s (3,800 to 4,000), p99 21 ms, 256 \xc2\xb5s of "
		"CPU each, so 1.00 CPUs were busy; 2.1 % of the rate of hybrid");
}
END_TEST

START_TEST(whose_spreads_overlap_are_not_ranked)
{
	workload("trivial");
	subject("hybrid");
	subject("asgi");
	MEASURED("hybrid", "trivial", ROUND(100, 1, 5), ROUND(150, 1, 5), ROUND(200, 1, 5));
	MEASURED("asgi", "trivial", ROUND(140, 1, 5), ROUND(145, 1, 5), ROUND(150, 1, 5));
	best_is("trivial", "[\"hybrid\",\"asgi\"]");
	ck_assert_str_eq(why("trivial"), "hybrid with 150 requests/s (100 to 200), p99 1.0 ms; asgi with 145 "
		"requests/s (140 to 150), p99 1.0 ms; they are not told apart");
	ck_assert_ptr_nonnull(strstr(reason("asgi", "trivial"),
		"; 97 % of the rate of hybrid, and their spreads overlap"));
}
END_TEST

START_TEST(many_who_are_best_are_told_of_together)
{
	static const char *const names[] = { "a", "b", "c", "d" };

	workload("cpu");
	for (size_t i = 0; i < 4; i++) {
		subject(names[i]);
		MEASURED(names[i], "cpu", ROUND(900, 1, 5), ROUND(950 + 10 * (double)i, 1, 5), ROUND(1000, 1, 5));
	}
	ck_assert_str_eq(why("cpu"), "a, b, c, d with 950 to 980 requests/s, p99 1.0 ms; they are not told apart");
}
END_TEST

START_TEST(a_single_round_ranks_nobody_who_is_near)
{
	workload("trivial");
	subject("hybrid");
	subject("asgi");
	subject("wsgi");
	MEASURED("hybrid", "trivial", ROUND(1000, 1, 5));
	MEASURED("asgi", "trivial", ROUND(900, 1, 5));
	MEASURED("wsgi", "trivial", ROUND(500, 1, 5));
	best_is("trivial", "[\"hybrid\",\"asgi\"]");
	ck_assert_ptr_nonnull(strstr(reason("asgi", "trivial"),
		"; 90 % of the rate of hybrid, too near to be told apart by one round"));
	ck_assert_ptr_nonnull(strstr(why("trivial"), "next is wsgi with 500 requests/s, p99 1.0 ms; of one clean "
		"round"));
}
END_TEST

START_TEST(how_many_waited_at_once_follows_from_the_rate)
{
	workload("block50");
	subject("hybrid");
	subject("asgi");
	MEASURED("hybrid", "block50", ROUND(790, 80, 20), ROUND(796, 81, 21), ROUND(798, 82, 22));
	MEASURED("asgi", "block50", ROUND(19.5, 3200, 20), ROUND(19.8, 3240, 21), ROUND(19.9, 3300, 22));
	ck_assert_ptr_nonnull(strstr(reason("hybrid", "block50"), ", so 39.8 waited at once"));
	ck_assert_str_eq(suits("asgi", "block50"), "no");
	ck_assert_str_eq(reason("asgi", "block50"), "19.8 requests/s (19.5 to 19.9), p99 3240 ms, 21 \xc2\xb5s of CPU "
		"each, so 1.0 waited at once; 2.5 % of the rate of hybrid");
}
END_TEST

START_TEST(a_long_tail_spoils_a_good_rate)
{
	workload("block10");
	subject("hybrid");
	subject("wsgi");
	MEASURED("hybrid", "block10", ROUND(3900, 18, 20), ROUND(3950, 19, 20), ROUND(3980, 20, 20));
	MEASURED("wsgi", "block10", ROUND(3900, 90, 20), ROUND(3940, 95, 20), ROUND(3960, 99, 20));
	ck_assert_str_eq(suits("wsgi", "block10"), "fair");
	ck_assert_ptr_nonnull(strstr(reason("wsgi", "block10"), "p99 95 ms"));
	ck_assert_ptr_nonnull(strstr(reason("wsgi", "block10"), ", but the p99 of hybrid was 19 ms"));
}
END_TEST

START_TEST(a_wide_spread_makes_nobody_one_of_the_best)
{
	workload("cpu");
	subject("hybrid");
	subject("wsgi");
	subject("wsgi-sync");
	MEASURED("hybrid", "cpu", ROUND(990, 9, 5), ROUND(1000, 9, 5), ROUND(1010, 9, 5));
	MEASURED("wsgi", "cpu", ROUND(860, 9, 5), ROUND(870, 9, 5), ROUND(880, 9, 5));
	MEASURED("wsgi-sync", "cpu", ROUND(460, 9, 5), ROUND(850, 9, 5), ROUND(1005, 9, 5));
	best_is("cpu", "[\"hybrid\"]");
	ck_assert_str_eq(suits("wsgi-sync", "cpu"), "yes");
}
END_TEST

START_TEST(who_does_not_suit_is_not_the_best_however_wide_its_spread)
{
	workload("trivial");
	subject("hybrid");
	subject("wsgi");
	MEASURED("hybrid", "trivial", ROUND(46000, 1, 5), ROUND(46668, 1, 5), ROUND(47000, 1, 5));
	MEASURED("wsgi", "trivial", ROUND(17000, 1, 5), ROUND(17379, 1, 5), ROUND(46500, 1, 5));
	best_is("trivial", "[\"hybrid\"]");
	ck_assert_str_eq(suits("wsgi", "trivial"), "no");
	ck_assert_ptr_nonnull(strstr(reason("wsgi", "trivial"),
		"; 37 % of the rate of hybrid, and their spreads overlap"));
}
END_TEST

START_TEST(a_few_percent_are_no_difference)
{
	workload("trivial");
	subject("hybrid");
	subject("asgi");
	subject("wsgi");
	MEASURED("hybrid", "trivial", ROUND(1000, 1, 5), ROUND(1000, 1, 5));
	MEASURED("asgi", "trivial", ROUND(975, 1, 5), ROUND(975, 1, 5));
	MEASURED("wsgi", "trivial", ROUND(965, 1, 5), ROUND(965, 1, 5));
	best_is("trivial", "[\"hybrid\",\"asgi\"]");
}
END_TEST

START_TEST(a_full_pool_is_told_to_be_the_limit)
{
	workload("block10");
	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(json_array_append_new(json_object_get(report, "subjects"),
			json_pack("{ss si}", "name", i ? "wsgi" : "hybrid", "pool", 40)), 0);
	MEASURED("hybrid", "block10", ROUND(3980, 18, 20), ROUND(3990, 18, 20));
	MEASURED("wsgi", "block10", ROUND(3980, 18, 20), ROUND(3985, 18, 20));
	ck_assert_ptr_nonnull(strstr(reason("wsgi", "block10"), ", limited by 40 threads: 40 / 10 ms"));
	ck_assert_ptr_nonnull(strstr(why("block10"),
		"; they are not told apart: all limited by 40 threads: 40 / 10 ms"));
}
END_TEST

START_TEST(who_waits_by_a_timer_is_no_measure_for_calls_that_block)
{
	workload("block10");
	workload("cpu");
	subject("wsgi");
	ck_assert_int_eq(json_array_append_new(json_object_get(report, "subjects"),
		json_pack("{ss sb}", "name", "node", "timers", 1)), 0);
	MEASURED("wsgi", "block10", ROUND(3980, 18, 20), ROUND(3990, 18, 20));
	MEASURED("node", "block10", ROUND(5400, 16, 70), ROUND(5400, 16, 70));
	MEASURED("wsgi", "cpu", ROUND(700, 18, 20), ROUND(700, 18, 20));
	MEASURED("node", "cpu", ROUND(1000, 16, 70), ROUND(1000, 16, 70));
	best_is("block10", "[\"wsgi\"]");
	ck_assert_str_eq(suits("node", "block10"), "yes");
	ck_assert_ptr_nonnull(strstr(reason("node", "block10"), "; 135 % of the rate of wsgi; it waits by a timer"));
	ck_assert_ptr_nonnull(strstr(why("block10"), "; node, which blocks nothing and waits by a timer, had 5,400 "
		"requests/s, p99 16 ms"));
	best_is("cpu", "[\"node\"]");
	ck_assert_str_eq(suits("wsgi", "cpu"), "fair");
}
END_TEST

START_TEST(those_who_all_wait_by_timers_are_compared)
{
	workload("block10");
	ck_assert_int_eq(json_array_append_new(json_object_get(report, "subjects"),
		json_pack("{ss sb}", "name", "node", "timers", 1)), 0);
	MEASURED("node", "block10", ROUND(5400, 16, 70), ROUND(5400, 16, 70));
	best_is("block10", "[\"node\"]");
	ck_assert_ptr_null(strstr(why("block10"), "timer"));
}
END_TEST

/* Of three rounds: how many CPUs the server and the load kept busy. */
static void busy(json_t *c, double server, double load)
{
	json_t *median = json_object_get(c, "median");

	ck_assert_int_eq(json_object_set_new(median, "cpus", json_real(server)), 0);
	ck_assert_int_eq(json_object_set_new(median, "load_cpus", json_real(load)), 0);
}

START_TEST(a_load_that_can_do_no_more_is_told_to_be_the_limit)
{
	ck_assert_int_eq(json_object_set_new(report, "plan", json_pack("{si}", "server_cpu_count", 4)), 0);
	workload("trivial");
	subject("outran");
	subject("matched");
	subject("slow");
	busy(MEASURED("outran", "trivial", ROUND(1000, 1, 5), ROUND(1000, 1, 5)), 3.1, 0.99);
	busy(MEASURED("matched", "trivial", ROUND(1000, 1, 5), ROUND(1000, 1, 5)), 3.7, 0.99);
	busy(MEASURED("slow", "trivial", ROUND(100, 1, 5), ROUND(100, 1, 5)), 2, 0.5);
	ck_assert_ptr_nonnull(strstr(reason("outran", "trivial"), "; the load was the limit: its thread was busy 99 % "
		"of the time, the server 3.10 of its 4 CPUs"));
	ck_assert_ptr_null(strstr(reason("matched", "trivial"), "the load was"));
	ck_assert_ptr_null(strstr(reason("slow", "trivial"), "the load was"));
	ck_assert_ptr_nonnull(strstr(why("trivial"), "; the load was the limit of outran; next is slow"));
}
END_TEST

START_TEST(of_a_run_that_does_not_tell_its_cpus_no_load_was_the_limit)
{
	workload("trivial");
	subject("hybrid");
	busy(MEASURED("hybrid", "trivial", ROUND(1000, 1, 5), ROUND(1000, 1, 5)), 0.5, 0.99);
	ck_assert_ptr_null(strstr(reason("hybrid", "trivial"), "the load was"));
}
END_TEST

/* ---- beside others ----------------------------------------------------------------------------------------------- */

#define BESIDE(fast_rps, fast_p99) { 900, 100, 20, fast_rps, fast_p99 }

static void mixed(void)
{
	workload("trivial");
	workload("mixed");
	subject("hybrid");
	subject("asgi");
	MEASURED("hybrid", "trivial", ROUND(1000, 2, 5), ROUND(1000, 2.1, 5), ROUND(1000, 2.2, 5));
	MEASURED("asgi", "trivial", ROUND(1000, 2, 5), ROUND(1000, 2.1, 5), ROUND(1000, 2.2, 5));
}

START_TEST(fast_requests_are_judged_by_how_fast_they_are_alone)
{
	mixed();
	MEASURED("hybrid", "mixed", BESIDE(800, 2.8), BESIDE(800, 3), BESIDE(800, 3.1));
	MEASURED("asgi", "mixed", BESIDE(19, 101), BESIDE(19, 103), BESIDE(19, 110));
	best_is("mixed", "[\"hybrid\"]");
	ck_assert_str_eq(suits("hybrid", "mixed"), "yes");
	ck_assert_str_eq(suits("asgi", "mixed"), "no");
	ck_assert_str_eq(reason("asgi", "mixed"), "beside blocking requests the fast requests' p99 was 103 ms (101 ms "
		"to 110 ms), in trivial 2.1 ms; 19 of them a second, 1.9 % of its rate in trivial");
	ck_assert_str_eq(why("mixed"), "by the fast requests' p99 hybrid with 3.0 ms (2.8 ms to 3.1 ms); next is asgi "
		"with 103 ms (101 ms to 110 ms)");
}
END_TEST

START_TEST(a_good_p99_of_few_requests_is_not_enough)
{
	mixed();
	MEASURED("hybrid", "mixed", BESIDE(290, 2), BESIDE(290, 2), BESIDE(290, 2));
	MEASURED("asgi", "mixed", BESIDE(99, 2), BESIDE(99, 2), BESIDE(99, 2));
	ck_assert_str_eq(suits("hybrid", "mixed"), "fair");
	ck_assert_str_eq(suits("asgi", "mixed"), "no");
	ck_assert_ptr_nonnull(strstr(reason("asgi", "mixed"), "99 of them a second, 9.9 % of its rate in trivial"));
}
END_TEST

START_TEST(fast_requests_that_got_no_answer_are_not_the_fastest)
{
	mixed();
	MEASURED("hybrid", "mixed", BESIDE(800, 30), BESIDE(800, 30), BESIDE(800, 30));
	MEASURED("asgi", "mixed", BESIDE(0, 0), BESIDE(0, 0), BESIDE(0, 0));
	best_is("mixed", "[]");
	ck_assert_str_eq(why("mixed"), "by the fast requests' p99 hybrid is nearest with 30 ms");
	ck_assert_str_eq(suits("asgi", "mixed"), "no");
	ck_assert_str_eq(reason("asgi", "mixed"), "none of the fast requests were answered in time");
	ck_assert_str_eq(suits("hybrid", "mixed"), "no");
}
END_TEST

START_TEST(without_the_figure_alone_the_best_one_is_the_measure)
{
	workload("slow");
	subject("hybrid");
	subject("wsgi");
	MEASURED("hybrid", "slow", BESIDE(800, 3), BESIDE(800, 3), BESIDE(800, 3));
	MEASURED("wsgi", "slow", BESIDE(100, 300), BESIDE(100, 310), BESIDE(100, 320));
	ck_assert_str_eq(suits("hybrid", "slow"), "yes");
	ck_assert_str_eq(suits("wsgi", "slow"), "no");
	ck_assert_ptr_nonnull(strstr(reason("wsgi", "slow"), "; the p99 of hybrid was 3.0 ms"));
}
END_TEST

START_TEST(half_a_millisecond_sets_no_fast_requests_apart)
{
	mixed();
	subject("wsgi");
	MEASURED("hybrid", "mixed", BESIDE(800, 0.15), BESIDE(800, 0.15));
	MEASURED("asgi", "mixed", BESIDE(800, 0.6), BESIDE(800, 0.6));
	MEASURED("wsgi", "trivial", ROUND(1000, 2, 5), ROUND(1000, 2, 5));
	MEASURED("wsgi", "mixed", BESIDE(800, 0.7), BESIDE(800, 0.7));
	best_is("mixed", "[\"hybrid\",\"asgi\"]");
}
END_TEST

START_TEST(a_variant_is_judged_where_it_runs_and_by_what_its_model_is_alone)
{
	mixed();
	ck_assert_int_eq(json_array_append_new(json_object_get(report, "subjects"),
		json_pack("{ss ss s[s]}", "name", "asgi+x", "as", "asgi", "workloads", "mixed")), 0);
	MEASURED("asgi+x", "mixed", BESIDE(400, 5), BESIDE(400, 5), BESIDE(400, 5));
	ck_assert_str_eq(suits("asgi+x", "mixed"), "yes");
	ck_assert_ptr_nonnull(strstr(reason("asgi+x", "mixed"), ", in trivial 2.1 ms; 400 of them a second"));
	ck_assert_ptr_null(json_object_get(json_object_get(verdict("trivial"), "reason"), "asgi+x"));
}
END_TEST

START_TEST(a_measured_cell_without_the_figure_that_decides_is_not_judged)
{
	workload("slow");
	subject("hybrid");
	MEASURED("hybrid", "slow", ROUND(100, 1, 1));
	best_is("slow", "[]");
	ck_assert_str_eq(suits("hybrid", "slow"), "");
	ck_assert_str_eq(reason("hybrid", "slow"), "not judged: the report lacks its fast.p99_ms");
	ck_assert_str_eq(why("slow"), "nobody ran it so that it could be judged");
}
END_TEST

/* ---- idle connections -------------------------------------------------------------------------------------------- */

START_TEST(idle_connections_are_judged_by_memory_and_by_what_they_leave)
{
	json_t *c;

	workload("trivial");
	workload("idle");
	subject("hybrid");
	subject("node");
	MEASURED("hybrid", "trivial", ROUND(1000, 2, 5), ROUND(1000, 2, 5));
	MEASURED("node", "trivial", ROUND(1000, 2, 5), ROUND(1000, 2, 5));
	c = MEASURED("hybrid", "idle", ROUND(970, 2, 5), ROUND(970, 2, 5));
	json_object_set_new(json_object_get(c, "median"), "idle", json_pack("{si si}", "held", 9998, "bytes_each",
		312));
	c = MEASURED("node", "idle", ROUND(500, 4, 9), ROUND(500, 4, 9));
	json_object_set_new(json_object_get(c, "median"), "memory_kb", json_integer(204800));
	for (size_t i = 0; i < 2; i++)
		json_object_set_new(json_array_get(json_object_get(c, "rounds"), i), "memory_kb", json_integer(204800));
	best_is("idle", "[\"hybrid\"]");
	ck_assert_str_eq(reason("hybrid", "idle"), "in 10.0 MB it held 9,998 idle connections, 312 bytes each, and "
		"answered 970 requests/s, 97 % of its rate in trivial, p99 2.0 ms");
	ck_assert_str_eq(suits("hybrid", "idle"), "yes");
	ck_assert_str_eq(suits("node", "idle"), "no");
	ck_assert_ptr_nonnull(strstr(reason("node", "idle"), "; 2000 % of the memory of hybrid"));
	ck_assert_str_eq(why("idle"), "by memory hybrid with 10.0 MB; next is node with 200 MB");
}
END_TEST

START_TEST(memory_that_could_not_be_read_is_not_the_least)
{
	json_t *c;

	workload("idle");
	subject("hybrid");
	subject("nginx");
	MEASURED("hybrid", "idle", ROUND(970, 2, 5));
	c = MEASURED("nginx", "idle", ROUND(970, 2, 5));
	json_object_set_new(json_object_get(c, "median"), "memory_kb", json_null());
	json_object_set_new(first_round(c), "memory_kb", json_null());
	best_is("idle", "[\"hybrid\"]");
	ck_assert_str_eq(suits("nginx", "idle"), "");
	ck_assert_str_eq(reason("nginx", "idle"), "not judged: the report lacks its memory_kb");
}
END_TEST

START_TEST(a_subject_is_graded_by_the_limits_that_are_told)
{
	json_t *limits = lab_limits();
	double yes, fair;

	ck_assert_int_eq(json_unpack(limits, "{s:{s:F, s:F}}", "rate", "yes", &yes, "fair", &fair), 0);
	json_decref(limits);
	workload("trivial");
	subject("best");
	subject("enough");
	subject("less");
	subject("little");
	MEASURED("best", "trivial", ROUND(1000, 1, 1), ROUND(1000, 1, 1));
	MEASURED("enough", "trivial", ROUND(1000 * yes, 1, 1), ROUND(1000 * yes, 1, 1));
	MEASURED("less", "trivial", ROUND(1000 * yes - 1, 1, 1), ROUND(1000 * yes - 1, 1, 1));
	MEASURED("little", "trivial", ROUND(1000 * fair - 1, 1, 1), ROUND(1000 * fair - 1, 1, 1));
	ck_assert_str_eq(suits("enough", "trivial"), "yes");
	ck_assert_str_eq(suits("less", "trivial"), "fair");
	ck_assert_str_eq(suits("little", "trivial"), "no");
}
END_TEST

/* ---- what was not measured, or not well -------------------------------------------------------------------------- */

START_TEST(who_cannot_does_not_suit_and_says_why)
{
	workload("idle");
	subject("wsgi-sync");
	cell("wsgi-sync", "idle", "cannot", "it closes each connection with its reply");
	ck_assert_str_eq(suits("wsgi-sync", "idle"), "no");
	ck_assert_str_eq(reason("wsgi-sync", "idle"), "cannot run it: it closes each connection with its reply");
	best_is("idle", "[]");
}
END_TEST

START_TEST(of_who_failed_or_is_missing_nothing_is_said_but_that)
{
	workload("trivial");
	subject("node");
	subject("nginx");
	subject("asgi");
	cell("node", "trivial", "failed", "it ended with status 1");
	cell("nginx", "trivial", "missing", "there is no program nginx in PATH");
	ck_assert_str_eq(suits("node", "trivial"), "");
	ck_assert_str_eq(reason("node", "trivial"), "not measured: it ended with status 1");
	ck_assert_str_eq(suits("nginx", "trivial"), "");
	ck_assert_str_eq(reason("nginx", "trivial"), "not measured: there is no program nginx in PATH");
	ck_assert_str_eq(reason("asgi", "trivial"), "not measured: it was not part of the run");
}
END_TEST

START_TEST(who_fails_requests_is_not_the_best)
{
	json_t *c;

	workload("trivial");
	subject("hybrid");
	subject("asgi");
	c = MEASURED("hybrid", "trivial", ROUND(2000, 1, 5), ROUND(2000, 1, 5));
	json_object_set_new(first_round(c), "errors", json_integer(100));
	c = MEASURED("asgi", "trivial", ROUND(1000, 1, 5), ROUND(1000, 1, 5));
	json_object_set_new(first_round(c), "errors", json_integer(1));
	best_is("trivial", "[]");
	ck_assert_str_eq(suits("hybrid", "trivial"), "no");
	ck_assert_ptr_nonnull(strstr(reason("hybrid", "trivial"), "; 100 requests failed (2.44 %)"));
	ck_assert_str_eq(suits("asgi", "trivial"), "fair");
	ck_assert_ptr_nonnull(strstr(reason("asgi", "trivial"), "; 1 request failed (0.05 %)"));
}
END_TEST

START_TEST(disturbed_rounds_are_told_of)
{
	json_t *c;

	workload("trivial");
	subject("hybrid");
	c = MEASURED("hybrid", "trivial", ROUND(2000, 1, 5), ROUND(2000, 1, 5), ROUND(2000, 1, 5));
	json_object_set_new(first_round(c), "dirty", json_true());
	json_object_set_new(first_round(c), "foreign", json_real(0.314));
	json_object_set_new(first_round(c), "rps", json_real(3));
	ck_assert_ptr_nonnull(strstr(reason("hybrid", "trivial"), "2,000 requests/s, "));
	ck_assert_ptr_nonnull(strstr(reason("hybrid", "trivial"),
		"; 1 of 3 rounds was disturbed and left out: other processes used up to 0.31 CPUs"));
}
END_TEST

static void spoil(json_t *c)
{
	size_t i;
	json_t *round;

	json_array_foreach(json_object_get(c, "rounds"), i, round)
		json_object_set_new(round, "dirty", json_true());
}

static const char *doubt(const char *who, const char *what)
{
	const char *said = json_string_value(json_object_get(json_object_get(verdict(what), "doubt"), who));

	return said ? said : "";
}

START_TEST(what_rests_on_disturbed_rounds_alone_is_in_doubt)
{
	json_t *c;

	mixed();
	MEASURED("hybrid", "mixed", BESIDE(800, 2.8), BESIDE(800, 3));
	spoil(MEASURED("asgi", "mixed", BESIDE(19, 101), BESIDE(19, 103)));
	c = json_array_get(json_object_get(report, "cells"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(c, "subject")), "hybrid");
	spoil(c);
	ck_assert_str_eq(doubt("asgi", "mixed"), "other processes disturbed every round");
	ck_assert_str_eq(doubt("hybrid", "mixed"), "other processes disturbed every round of trivial, with which it is "
		"compared");
	ck_assert_ptr_nonnull(strstr(reason("asgi", "mixed"), "; all 2 rounds were disturbed: "));
}
END_TEST

START_TEST(a_clean_round_is_enough_not_to_be_in_doubt)
{
	workload("trivial");
	subject("hybrid");
	subject("asgi");
	json_object_set_new(first_round(MEASURED("hybrid", "trivial", ROUND(10, 1, 5), ROUND(10, 1, 5))), "dirty",
		json_true());
	MEASURED("asgi", "trivial", ROUND(9, 1, 5), ROUND(9, 1, 5));
	ck_assert_str_eq(doubt("hybrid", "trivial"), "");
	ck_assert_str_eq(doubt("asgi", "trivial"), "");
}
END_TEST

START_TEST(who_is_compared_with_a_disturbed_one_is_in_doubt)
{
	workload("trivial");
	subject("hybrid");
	subject("asgi");
	spoil(MEASURED("hybrid", "trivial", ROUND(10, 1, 5), ROUND(10, 1, 5)));
	MEASURED("asgi", "trivial", ROUND(9, 1, 5), ROUND(9, 1, 5));
	ck_assert_str_eq(doubt("asgi", "trivial"), "other processes disturbed every round of hybrid, with which it is "
		"compared");
}
END_TEST

/* ---- the conclusion ---------------------------------------------------------------------------------------------- */

static const char *concluded(json_t *conclusion, const char *what)
{
	for (size_t i = 0; i < json_array_size(conclusion); i++) {
		const json_t *line = json_array_get(conclusion, i);

		if (strcmp(json_string_value(json_object_get(line, "for")), what) == 0)
			return json_string_value(json_object_get(line, "text"));
	}
	return "";
}

START_TEST(the_conclusion_names_who_suits_all_of_a_kind)
{
	json_t *conclusion;

	json_decref(report);
	report = json_loads("{\"subjects\": [{\"name\": \"a\", \"kind\": \"model\"}, {\"name\": \"b\", \"kind\": "
		"\"model\"}, {\"name\": \"a+\", \"kind\": \"model\", \"as\": \"a\"}], \"verdicts\": ["
		"{\"workload\": \"block10\", \"best\": [\"a\", \"b\"], \"suits\": {\"a\": \"yes\", \"b\": "
		"\"yes\"}}, {\"workload\": \"block50\", \"best\": [\"a\"], \"suits\": {\"a\": \"yes\", \"b\": "
		"\"yes\"}, \"doubt\": {\"b\": \"x\"}},"
		"{\"workload\": \"wrong-lane\", \"best\": [\"a+\"], \"suits\": {\"a\": \"no\", \"b\": "
		"\"fair\", \"a+\": \"yes\"}},"
		"{\"workload\": \"idle\", \"best\": [], \"suits\": {\"a\": \"fair\", \"b\": \"no\"}}]}", 0, NULL);
	ck_assert_ptr_nonnull(report);
	conclusion = lab_conclusion(report);
	ck_assert_uint_eq(json_array_size(conclusion), 4);
	ck_assert_str_eq(concluded(conclusion, "Mostly blocking calls"), "a; also suited: b (?)");
	ck_assert_str_eq(concluded(conclusion, "A handler in the wrong lane"), "a+");
	ck_assert_str_eq(concluded(conclusion, "Many idle connections"), "nobody suits well; fair: a");
	ck_assert_str_eq(concluded(conclusion, "One model for everything"), "a suits 2 of 4 workloads; wrong-lane: no "
		"(a+ suits), idle: fair.  b suits 2 of 4 workloads; wrong-lane: fair, idle: no");
	json_decref(conclusion);
}
END_TEST

START_TEST(nonsense_counts_as_not_measured)
{
	static const char *const reports[] = { "{}", "{\"workloads\":3,\"subjects\":{},\"cells\":\"x\"}",
		"{\"workloads\":[1,{},{\"name\":7}],\"subjects\":[null,{\"name\":[]}],\"cells\":[[],{\"status\":3}]}",
		"{\"workloads\":[{\"name\":\"trivial\"}],\"subjects\":[{\"name\":\"a\"}],\"cells\":[{\"subject\":\"a\","
		"\"workload\":\"trivial\",\"status\":\"measured\",\"rounds\":[null,{\"rps\":\"9\"}],"
		"\"median\":{\"rps\":-1,\"p99_ms\":\"x\"}}]}" };

	for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++) {
		json_t *r = json_loads(reports[i], 0, NULL), *v;

		ck_assert_ptr_nonnull(r);
		v = lab_verdicts(r);
		ck_assert(json_is_array(v));
		ck_assert_int_eq(lab_judge(r), 0);
		for (size_t n = 0; n < json_array_size(v); n++)
			ck_assert_uint_eq(json_object_size(json_object_get(json_array_get(v, n), "suits")), 0);
		json_decref(v);
		json_decref(r);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab verdict");
	TCase *c = tcase_create("lab verdict");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, the_best_is_who_answers_most_and_the_others_are_measured_by_him);
	tcase_add_test(c, whose_spreads_overlap_are_not_ranked);
	tcase_add_test(c, many_who_are_best_are_told_of_together);
	tcase_add_test(c, a_single_round_ranks_nobody_who_is_near);
	tcase_add_test(c, how_many_waited_at_once_follows_from_the_rate);
	tcase_add_test(c, a_long_tail_spoils_a_good_rate);
	tcase_add_test(c, a_wide_spread_makes_nobody_one_of_the_best);
	tcase_add_test(c, who_does_not_suit_is_not_the_best_however_wide_its_spread);
	tcase_add_test(c, a_few_percent_are_no_difference);
	tcase_add_test(c, a_full_pool_is_told_to_be_the_limit);
	tcase_add_test(c, who_waits_by_a_timer_is_no_measure_for_calls_that_block);
	tcase_add_test(c, those_who_all_wait_by_timers_are_compared);
	tcase_add_test(c, a_load_that_can_do_no_more_is_told_to_be_the_limit);
	tcase_add_test(c, of_a_run_that_does_not_tell_its_cpus_no_load_was_the_limit);
	tcase_add_test(c, fast_requests_are_judged_by_how_fast_they_are_alone);
	tcase_add_test(c, a_good_p99_of_few_requests_is_not_enough);
	tcase_add_test(c, fast_requests_that_got_no_answer_are_not_the_fastest);
	tcase_add_test(c, without_the_figure_alone_the_best_one_is_the_measure);
	tcase_add_test(c, half_a_millisecond_sets_no_fast_requests_apart);
	tcase_add_test(c, a_variant_is_judged_where_it_runs_and_by_what_its_model_is_alone);
	tcase_add_test(c, a_measured_cell_without_the_figure_that_decides_is_not_judged);
	tcase_add_test(c, idle_connections_are_judged_by_memory_and_by_what_they_leave);
	tcase_add_test(c, a_subject_is_graded_by_the_limits_that_are_told);
	tcase_add_test(c, memory_that_could_not_be_read_is_not_the_least);
	tcase_add_test(c, who_cannot_does_not_suit_and_says_why);
	tcase_add_test(c, of_who_failed_or_is_missing_nothing_is_said_but_that);
	tcase_add_test(c, who_fails_requests_is_not_the_best);
	tcase_add_test(c, disturbed_rounds_are_told_of);
	tcase_add_test(c, what_rests_on_disturbed_rounds_alone_is_in_doubt);
	tcase_add_test(c, a_clean_round_is_enough_not_to_be_in_doubt);
	tcase_add_test(c, who_is_compared_with_a_disturbed_one_is_in_doubt);
	tcase_add_test(c, the_conclusion_names_who_suits_all_of_a_kind);
	tcase_add_test(c, nonsense_counts_as_not_measured);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed > 0;
}
