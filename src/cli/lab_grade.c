/* lab_grade.c: how well a subject suits a workload, and why, in a sentence.
 *
 * It is a comparison of the figure that decides: with the best one's, or, of fast requests, with the same subject's
 * when nothing is beside them (its trivial cell).  What else is wrong (requests that failed, a tail much longer than
 * the best one's, too few fast requests, a rate that idle connections have ruined) can only make it worse.  The limits
 * stand below, and in the report, whose page shows these.
 *
 * A sentence holds the numbers it was made from, and nothing that they do not show.  Where they show why, it says that
 * too: requests a second times the time each waits are how many waited at once (Little's law), times CPU a request how
 * many CPUs were busy.
 *
 * Pure: no clock, no files, nothing kept.
 */
#include "cli/lab_contest.h"
#include "cli/lab_verdict.h"

#include <string.h>

/* Of the best: what is enough to suit, and what is still fair. */
#define RATE_YES 0.8
#define RATE_FAIR 0.4
/* Of the same subject's rate when nothing is beside the fast requests. */
#define LEFT_YES 0.3
#define LEFT_FAIR 0.1
/* p99 of fast requests: this many times what it is alone, or this many milliseconds more. */
#define BESIDE_YES 3
#define BESIDE_YES_MS 5
#define BESIDE_FAIR 10
#define BESIDE_FAIR_MS 25
/* Who is as fast as the best but has so many times his p99 is fair. */
#define TAIL 3

/* ---- grades ------------------------------------------------------------------------------------------------------ */

static enum grade grade_rate(double part)
{
	return part >= RATE_YES ? YES : part >= RATE_FAIR ? FAIR : NO;
}

static enum grade grade_left(double part)
{
	return part >= LEFT_YES ? YES : part >= LEFT_FAIR ? FAIR : NO;
}

static enum grade grade_tail(double p99, double alone)
{
	if (p99 <= BESIDE_YES * alone || p99 <= alone + BESIDE_YES_MS)
		return YES;
	return p99 <= BESIDE_FAIR * alone || p99 <= alone + BESIDE_FAIR_MS ? FAIR : NO;
}

static enum grade worse(enum grade a, enum grade b)
{
	return a < b ? a : b;
}

/* ---- reasons ----------------------------------------------------------------------------------------------------- */

static void say_rate(struct sentence *t, const struct runner *r)
{
	sentence_count(t, r->rps.mid);
	sentence_say(t, " requests/s");
	sentence_spread(t, &r->rps, sentence_count);
	if (r->p99.known) {
		sentence_say(t, ", p99 ");
		sentence_ms(t, r->p99.mid);
	}
	if (r->cpu_us.known) {
		sentence_say(t, ", ");
		sentence_us(t, r->cpu_us.mid);
		sentence_say(t, " of CPU each");
	}
}

void say_pool_limit(struct sentence *t, const struct contest *c, double pool)
{
	sentence_say(t, "limited by %.0f threads: %.0f / %.0f ms", pool, pool, c->wait_ms);
}

/* Whose figure it is compared with, and by how much they differ. */
static void say_compared(const struct contest *c, const struct runner *r, double part, const char *of,
	struct sentence *t)
{
	sentence_say(t, "; ");
	sentence_percent(t, part);
	sentence_say(t, " of %s of %s", of, c->first->name);
	if (figures_overlap(&r->deciding, &c->first->deciding))
		sentence_say(t, r->deciding.rounds < 2 || c->first->deciding.rounds < 2 ?
			", too near to be told apart by one round" : ", and their spreads overlap");
}

static enum grade judge_rate(const struct contest *c, const struct runner *r, struct sentence *t)
{
	const struct runner *best = c->first;
	double part = best ? r->rps.mid / best->rps.mid : 1;

	say_rate(t, r);
	if (c->wait_ms > 0)
		sentence_say(t, ", so %.1f waited at once", r->rps.mid * c->wait_ms / 1000);
	else if (r->cpu_us.known && r->cpu_us.mid > 0)
		sentence_say(t, ", so %.2f CPUs were busy", r->rps.mid * r->cpu_us.mid / 1e6);
	if (runner_fills_pool(c, r)) {
		sentence_say(t, ", ");
		say_pool_limit(t, c, r->pool);
	}
	if (!best || best == r)
		return YES;
	say_compared(c, r, part, "the rate", t);
	if (!runner_competes(c, r))
		sentence_say(t, "; it waits by a timer, as a call that blocks cannot, so the others are not compared "
			"with it");
	if (grade_rate(part) != YES || !best->p99.known || r->p99.mid <= TAIL * best->p99.mid ||
		figures_overlap(&r->p99, &best->p99))
		return grade_rate(part);
	sentence_say(t, ", but the p99 of %s was ", best->name);
	sentence_ms(t, best->p99.mid);
	return FAIR;
}

/* Without a figure of its own to compare with, the best one's must do. */
static enum grade judge_by_best(const struct contest *c, const struct runner *r, struct sentence *t)
{
	if (!c->first || c->first == r)
		return YES;
	sentence_say(t, "; the p99 of %s was ", c->first->name);
	sentence_ms(t, c->first->deciding.mid);
	return grade_tail(r->deciding.mid, c->first->deciding.mid);
}

/* Fast requests beside others: how many of them are left, of what it does when there are no others, and their p99. */
static enum grade judge_beside(const struct contest *c, const struct runner *r, struct sentence *t)
{
	struct figure rps = figure_of(r->cell, "fast.rps");
	double part;

	sentence_say(t, "beside %s the fast requests' p99 was ", c->rule->beside);
	sentence_ms(t, r->deciding.mid);
	sentence_spread(t, &r->deciding, sentence_ms);
	if (r->alone_p99.known) {
		sentence_say(t, ", in " ALONE " ");
		sentence_ms(t, r->alone_p99.mid);
	}
	sentence_say(t, "; ");
	sentence_count(t, rps.mid);
	sentence_say(t, " of them a second");
	if (!r->alone_p99.known || !r->alone_rps.known || r->alone_rps.mid <= 0)
		return judge_by_best(c, r, t);
	part = rps.mid / r->alone_rps.mid;
	sentence_say(t, ", ");
	sentence_percent(t, part);
	sentence_say(t, " of its rate in " ALONE);
	return worse(grade_left(part), grade_tail(r->deciding.mid, r->alone_p99.mid));
}

static enum grade judge_idle(const struct contest *c, const struct runner *r, struct sentence *t)
{
	enum grade grade = c->first ? grade_rate(c->first->deciding.mid / r->deciding.mid) : YES;
	double left = r->alone_rps.known && r->alone_rps.mid > 0 ? r->rps.mid / r->alone_rps.mid : 1;
	struct figure held = figure_of(r->cell, "idle.held"), each = figure_of(r->cell, "idle.bytes_each");

	sentence_say(t, "in ");
	sentence_mb(t, r->deciding.mid);
	sentence_spread(t, &r->deciding, sentence_mb);
	if (held.known) {
		sentence_say(t, " it held ");
		sentence_count(t, held.mid);
		sentence_say(t, " idle connections");
	}
	if (each.known) {
		sentence_say(t, ", ");
		sentence_count(t, each.mid);
		sentence_say(t, " bytes each,");
	}
	sentence_say(t, " and answered ");
	sentence_count(t, r->rps.mid);
	sentence_say(t, " requests/s");
	if (r->alone_rps.known) {
		sentence_say(t, ", ");
		sentence_percent(t, left);
		sentence_say(t, " of its rate in " ALONE);
	}
	if (r->p99.known) {
		sentence_say(t, ", p99 ");
		sentence_ms(t, r->p99.mid);
	}
	if (c->first && c->first != r)
		say_compared(c, r, r->deciding.mid / c->first->deciding.mid, "the memory", t);
	return left < RATE_FAIR && !figures_overlap(&r->rps, &r->alone_rps) ? worse(grade, FAIR) : grade;
}

static void say_load_limit(struct sentence *t, const struct contest *c, const struct runner *r)
{
	sentence_say(t, "; the load was the limit: its thread was busy ");
	sentence_percent(t, r->load_cpus.mid);
	sentence_say(t, " of the time, the server %.2f of its %.0f CPU%s", r->cpus.mid, c->server_cpus,
		c->server_cpus > 1 ? "s" : "");
}

static void say_spoilt(struct sentence *t, size_t spoilt, size_t n, double foreign)
{
	if (n == 1)
		sentence_say(t, "; its only round was disturbed");
	else if (spoilt == n)
		sentence_say(t, "; all %zu rounds were disturbed", n);
	else
		sentence_say(t, "; %zu of %zu rounds %s disturbed and left out", spoilt, n,
			spoilt == 1 ? "was" : "were");
	sentence_say(t, ": other processes used up to %.2f CPUs", foreign);
}

/* What makes the numbers less than they seem. */
static enum grade doubts(const struct contest *c, const struct runner *r, enum grade grade, struct sentence *t)
{
	const json_t *rounds = json_object_get(r->cell, "rounds");
	size_t spoilt = rounds_dirty(rounds), n = json_array_size(rounds);
	double foreign = 0, value;

	if (r->errors > 0) {
		sentence_say(t, "; ");
		sentence_count(t, r->errors);
		sentence_say(t, " request%s failed (%.2f %%)", r->errors > 1 ? "s" : "", 100 * runner_failing(r));
		grade = runner_failing(r) > ERRORS_NO ? NO : worse(grade, FAIR);
	}
	if (runner_outran_load(c, r))
		say_load_limit(t, c, r);
	for (size_t i = 0; i < n; i++) {
		const json_t *round = json_array_get(rounds, i);

		if (round_dirty(round) && figure_number(round, "foreign", &value) && value > foreign)
			foreign = value;
	}
	if (spoilt > 0)
		say_spoilt(t, spoilt, n, foreign);
	return grade;
}

static enum grade judge(const struct contest *c, const struct runner *r, struct sentence *t)
{
	enum grade grade;

	if (!r->measured) {
		sentence_say(t, "%s requests were answered in time", c->rule->beside ? "none of the fast" : "no");
		return doubts(c, r, NO, t);
	}
	if (c->rule->beside)
		grade = judge_beside(c, r, t);
	else if (c->rule->least)
		grade = judge_idle(c, r, t);
	else
		grade = judge_rate(c, r, t);
	return doubts(c, r, grade, t);
}

void runner_judge(const struct contest *c, struct runner *r)
{
	const char *why = report_text(r->cell, "why");

	if (r->figures)
		r->grade = judge(c, r, &r->reason);
	else if (strcmp(r->status, "cannot") == 0)
		sentence_say(&r->reason, "cannot run it: %s", why[0] ? why : "no reason was recorded");
	else if (cell_ran(r->cell))
		sentence_say(&r->reason, "not judged: the report lacks its %s",
			r->deciding.known ? "requests a second" : c->rule->path);
	else
		sentence_say(&r->reason, "not measured: %s",
			why[0] ? why : r->status[0] ? r->status : "it was not part of the run");
}

json_t *lab_limits(void)
{
	return json_pack("{s:{s:f, s:f}, s:{s:f, s:f}, s:{s:i, s:i}, s:{s:i, s:i}, s:i, s:f, s:f, s:f, s:f, s:f, s:f}",
		"rate", "yes", RATE_YES, "fair", RATE_FAIR, "left", "yes", LEFT_YES, "fair", LEFT_FAIR,
		"p99_times", "yes", BESIDE_YES, "fair", BESIDE_FAIR, "p99_more_ms", "yes", BESIDE_YES_MS, "fair",
		BESIDE_FAIR_MS, "tail", TAIL, "failed", ERRORS_NO, "alike", FIGURES_ALIKE, "alike_one",
		FIGURES_ALIKE_ONE, "alike_ms", BESIDE_ALIKE_MS, "load_busy", LOAD_BUSY, "server_left", SERVER_LEFT);
}
