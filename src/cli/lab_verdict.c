/* lab_verdict.c: which subject suits which workload, from what was measured.
 *
 * Each workload has the figure that decides it: requests a second where all requests are alike; where some are beside
 * others that block or dawdle, how long the fast ones took (p99), since that is what the others must not spoil; memory
 * for idle connections.
 *
 * How well a subject suits is a comparison of that figure: with the best one's, or, of fast requests, with the same
 * subject's when nothing is beside them (its trivial cell).  What else is wrong (requests that failed, a tail much
 * longer than the best one's, too few fast requests, a rate that idle connections have ruined) can only make it worse.
 * The limits stand below, and in the report, whose page shows these.
 *
 * The best are among those that suit: the one with the best median, and after it, median by median, whose spreads
 * overlap that one's, up to the first that is set apart.  Between them nothing has been shown, so they are not ranked.
 * A wide spread alone makes nobody one of them.
 *
 * A sentence holds the numbers it was made from, and nothing that they do not show.  Where they show why, it says that
 * too: requests a second times the time each waits are how many waited at once (Little's law), times CPU a request how
 * many CPUs were busy.  Rounds that other processes disturbed are told of, and where a grade rests on a cell without a
 * clean round it is in doubt.
 *
 * Pure: no clock, no files, nothing kept.  What is missing in the report or has the wrong type was not measured.
 */
#include "cli/lab_verdict.h"
#include "cli/lab_sentence.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
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
/* p99s that differ by no more are alike: so much a scheduler does to one and not to the other. */
#define BESIDE_ALIKE_MS 0.5
/* More names than so many are told of together. */
#define NAMED_MAX 3
/* Who is as fast as the best but has so many times his p99 is fair. */
#define TAIL 3
/* Of a pool's threads: when so many wait at once, all do. */
#define POOL_FULL 0.95
#define ERRORS_NO 0.01
#define ALONE "trivial"
#define SUBJECTS_MAX 64

/* ---- a workload and who ran it ----------------------------------------------------------------------------------- */

enum grade { NO, FAIR, YES };

/* What decides a workload. */
struct rule {
	const char *workload;           /* NULL: any other */
	const char *path;               /* of the figure that decides */
	bool least;                     /* the smaller the better */
	const char *unit;               /* behind it */
	void (*say)(struct sentence *, double);
	const char *beside;             /* beside what the fast requests were */
};

#define RATE "rps", false, " requests/s", sentence_count
#define FAST "fast.p99_ms", true, "", sentence_ms

static const struct rule rules[] = {
	{ "mixed", FAST, "blocking requests" },
	{ "slow", FAST, "slow clients" },
	{ "wrong-lane", FAST, "a handler that blocks in the wrong lane" },
	{ "idle", "memory_kb", true, "", sentence_mb, NULL },
	{ NULL, RATE, NULL },
};

struct runner {
	const char *name;
	const char *status;
	const json_t *cell;             /* NULL: there is none */
	struct figure deciding, rps, p99, cpu_us;
	double requests, errors;        /* of all rounds */
	double pool;                    /* requests that can block at once; 0: not known */
	bool figures;                   /* has those it is judged by, */
	bool measured;                  /* and requests were answered */
	enum grade grade;
	struct sentence reason;
	bool best;
	const json_t *alone;            /* its trivial cell */
	struct figure alone_rps, alone_p99;
};

struct contest {
	const struct rule *rule;
	double wait_ms;                 /* each request waits so long */
	struct runner runners[SUBJECTS_MAX];
	size_t n;
	const struct runner *first;     /* whose deciding figure is the best; NULL: nobody was measured */
	size_t nbest;                   /* that suit, and are told apart by nothing */
};

static bool ran(const json_t *cell)
{
	return strcmp(report_text(cell, "status"), "measured") == 0;
}

/* A variant is measured only where it differs from its model. */
static bool takes_part(const json_t *subject, const char *workload)
{
	const json_t *where = json_object_get(subject, "workloads");

	for (size_t i = 0; i < json_array_size(where); i++) {
		const char *name = json_string_value(json_array_get(where, i));

		if (name && strcmp(name, workload) == 0)
			return true;
	}
	return !json_is_array(where);
}

/* Its trivial cell; a variant's is its model's. */
static const json_t *find_alone(const json_t *report, const json_t *subject)
{
	return report_cell(report, report_text(subject, takes_part(subject, ALONE) ? "name" : "as"), ALONE);
}

static struct runner runner(const json_t *report, const json_t *subject, const char *workload, const struct rule *rule)
{
	const char *name = report_text(subject, "name");
	const json_t *cell = report_cell(report, name, workload), *alone = find_alone(report, subject);
	struct runner r = { .name = name, .cell = cell, .status = report_text(cell, "status"), .alone = alone };
	struct figure fast = figure_of(cell, "fast.rps");

	r.deciding = figure_of(cell, rule->path);
	r.rps = figure_of(cell, "rps");
	r.p99 = figure_of(cell, "p99_ms");
	r.cpu_us = figure_of(cell, "cpu_us");
	r.pool = json_number_value(json_object_get(subject, "pool"));
	r.requests = rounds_sum(json_object_get(cell, "rounds"), "requests");
	r.errors = rounds_sum(json_object_get(cell, "rounds"), "errors");
	r.figures = ran(cell) && r.deciding.known && r.rps.known && (fast.known || !rule->beside);
	r.measured = r.figures && r.rps.mid > 0 && (fast.mid > 0 || !rule->beside);
	if (ran(alone)) {
		r.alone_rps = figure_of(alone, "rps");
		r.alone_p99 = figure_of(alone, "p99_ms");
	}
	return r;
}

static double failing(const struct runner *r)
{
	return r->errors > 0 ? r->errors / (r->requests + r->errors) : 0;
}

static bool better(const struct rule *rule, double a, double b)
{
	return rule->least ? a < b : a > b;
}

/* Who the others are compared with. */
static void find_first(struct contest *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		if (r->measured && failing(r) <= ERRORS_NO &&
			(!c->first || better(c->rule, r->deciding.mid, c->first->deciding.mid)))
			c->first = r;
	}
}

/* The best median of those that suit and are not yet marked. */
static struct runner *best_left(struct contest *c)
{
	struct runner *best = NULL;

	for (size_t i = 0; i < c->n; i++) {
		struct runner *r = &c->runners[i];

		if (r->measured && r->grade == YES && !r->best &&
			(!best || better(c->rule, r->deciding.mid, best->deciding.mid)))
			best = r;
	}
	return best;
}

static bool alike(const struct contest *c, const struct figure *a, const struct figure *b)
{
	double apart = a->mid < b->mid ? b->mid - a->mid : a->mid - b->mid;

	return figures_overlap(a, b) || (c->rule->beside && apart <= BESIDE_ALIKE_MS);
}

/* When all are graded: marks the best, and all that nothing sets apart from it. */
static void mark_best(struct contest *c)
{
	const struct runner *top = NULL;
	struct runner *r;

	while ((r = best_left(c)) && (!top || alike(c, &r->deciding, &top->deciding))) {
		r->best = true;
		top = top ? top : r;
		c->nbest++;
	}
}

/* ---- how well one suits ------------------------------------------------------------------------------------------ */

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

/* Whether all that can block at once did, but for the moments between two requests. */
static bool pool_full(const struct contest *c, const struct runner *r)
{
	return c->wait_ms > 0 && r->pool > 0 && r->rps.mid * c->wait_ms / 1000 >= POOL_FULL * r->pool;
}

static void say_limit(struct sentence *t, const struct contest *c, double pool)
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
	if (pool_full(c, r)) {
		sentence_say(t, ", ");
		say_limit(t, c, r->pool);
	}
	if (!best || best == r)
		return YES;
	say_compared(c, r, part, "the rate", t);
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
static enum grade doubts(const struct runner *r, enum grade grade, struct sentence *t)
{
	const json_t *rounds = json_object_get(r->cell, "rounds");
	size_t spoilt = rounds_dirty(rounds), n = json_array_size(rounds);
	double foreign = 0, value;

	if (r->errors > 0) {
		sentence_say(t, "; ");
		sentence_count(t, r->errors);
		sentence_say(t, " request%s failed (%.2f %%)", r->errors > 1 ? "s" : "", 100 * failing(r));
		grade = failing(r) > ERRORS_NO ? NO : worse(grade, FAIR);
	}
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
		return doubts(r, NO, t);
	}
	if (c->rule->beside)
		grade = judge_beside(c, r, t);
	else if (c->rule->least)
		grade = judge_idle(c, r, t);
	else
		grade = judge_rate(c, r, t);
	return doubts(r, grade, t);
}

/* ---- the verdict ------------------------------------------------------------------------------------------------- */

/* Its grade and the reason. */
static void judge_runner(const struct contest *c, struct runner *r)
{
	const char *why = report_text(r->cell, "why");

	if (r->figures)
		r->grade = judge(c, r, &r->reason);
	else if (strcmp(r->status, "cannot") == 0)
		sentence_say(&r->reason, "cannot run it: %s", why[0] ? why : "no reason was recorded");
	else if (ran(r->cell))
		sentence_say(&r->reason, "not judged: the report lacks its %s",
			r->deciding.known ? "requests a second" : c->rule->path);
	else
		sentence_say(&r->reason, "not measured: %s",
			why[0] ? why : r->status[0] ? r->status : "it was not part of the run");
}

static bool graded(const struct runner *r)
{
	return r->figures || strcmp(r->status, "cannot") == 0;
}

static bool all_dirty(const json_t *cell)
{
	const json_t *rounds = json_object_get(cell, "rounds");

	return json_array_size(rounds) > 0 && rounds_dirty(rounds) == json_array_size(rounds);
}

/* Why a grade is in doubt: it rests on a cell without a clean round.  "": it is not. */
static void say_doubt(const struct contest *c, const struct runner *r, struct sentence *t)
{
	bool by_first = c->first && !(c->rule->beside && r->alone_p99.known);

	if (!r->figures)
		return;
	if (all_dirty(r->cell))
		sentence_say(t, "other processes disturbed every round");
	else if (by_first && all_dirty(c->first->cell))
		sentence_say(t, "other processes disturbed every round of %s, with which it is compared",
			c->first->name);
	else if ((c->rule->beside || c->rule->least) && all_dirty(r->alone))
		sentence_say(t, "other processes disturbed every round of " ALONE ", with which it is compared");
}

/* The best of those that are not among the best. */
static const struct runner *next_of(const struct contest *c)
{
	const struct runner *next = NULL;

	for (size_t i = 0; i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		if (r->measured && !r->best && failing(r) <= ERRORS_NO &&
			(!next || better(c->rule, r->deciding.mid, next->deciding.mid)))
			next = r;
	}
	return next;
}

/* The figure, and of rates the p99 beside it. */
static void say_deciding(struct sentence *t, const struct rule *rule, const struct runner *r)
{
	rule->say(t, r->deciding.mid);
	sentence_say(t, "%s", rule->unit);
	sentence_spread(t, &r->deciding, rule->say);
	if (!rule->least && r->p99.known) {
		sentence_say(t, ", p99 ");
		sentence_ms(t, r->p99.mid);
	}
}

struct range {
	double low, high;
};

static void widen(struct range *range, double value, bool first)
{
	range->low = first || value < range->low ? value : range->low;
	range->high = first || value > range->high ? value : range->high;
}

static void say_range(struct sentence *t, const struct range *range, void (*one)(struct sentence *, double))
{
	one(t, range->low);
	if (range->high <= range->low)
		return;
	sentence_say(t, " to ");
	one(t, range->high);
}

/* The best, each with his figure, or, when they are many, the least and the most of theirs. */
static void say_best(struct sentence *t, const struct contest *c)
{
	struct range deciding = { 0, 0 }, p99 = { 0, 0 };
	const char *between = c->nbest <= NAMED_MAX && !c->rule->least ? "; " : ", ";
	size_t nth = 0, full = 0;
	double pool = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		if (!r->best)
			continue;
		widen(&deciding, r->deciding.mid, nth == 0);
		widen(&p99, r->p99.mid, nth == 0);
		full += pool_full(c, r) && (nth == 0 || r->pool == pool);
		pool = nth == 0 ? r->pool : pool;
		sentence_say(t, "%s%s", nth++ == 0 ? "" : between, r->name);
		if (c->nbest <= NAMED_MAX) {
			sentence_say(t, " with ");
			say_deciding(t, c->rule, r);
		}
	}
	if (c->nbest > NAMED_MAX) {
		sentence_say(t, " with ");
		say_range(t, &deciding, c->rule->say);
		sentence_say(t, "%s", c->rule->unit);
		if (!c->rule->least) {
			sentence_say(t, ", p99 ");
			say_range(t, &p99, sentence_ms);
		}
	}
	if (c->nbest > 1)
		sentence_say(t, "; they are not told apart");
	if (full > 0 && full == c->nbest) {
		sentence_say(t, full > 1 ? ": all " : "; ");
		say_limit(t, c, pool);
	}
}

/* Who comes behind the best, or has a better figure and does not suit. */
static void say_next(struct sentence *t, const struct contest *c)
{
	const struct runner *next = next_of(c);
	bool ahead = next && c->nbest > 0 && next == c->first;

	if (!next)
		return;
	if (c->nbest == 0)
		sentence_say(t, "%s is nearest with ", next->name);
	else if (ahead)
		sentence_say(t, "; %s does not suit so well, with ", next->name);
	else
		sentence_say(t, "; next is %s with ", next->name);
	say_deciding(t, c->rule, next);
}

static json_t *why_best(const struct contest *c)
{
	const char *what = c->rule->beside ? "by the fast requests' p99 " : c->rule->least ? "by memory " : "";
	struct sentence t = { NULL, 0, false };

	if (!c->first) {
		sentence_say(&t, "nobody ran it so that it could be judged");
		return sentence_json(&t);
	}
	sentence_say(&t, "%s", what);
	say_best(&t, c);
	say_next(&t, c);
	if (c->first->deciding.rounds < 2)
		sentence_say(&t, "; of one clean round, so differences of less than a fifth are not ranked");
	return sentence_json(&t);
}

/* What is said of one runner.  0 or -ENOMEM. */
static int put_runner(const struct contest *c, struct runner *r, json_t *out)
{
	static const char *const names[] = { [NO] = "no", [FAIR] = "fair", [YES] = "yes" };
	struct sentence doubt = { NULL, 0, false };
	int rc = report_put(json_object_get(out, "reason"), r->name, sentence_json(&r->reason));

	say_doubt(c, r, &doubt);
	if (rc == 0 && graded(r))
		rc = report_put(json_object_get(out, "suits"), r->name, json_string(names[r->grade]));
	if (rc == 0 && r->best)
		rc = json_array_append_new(json_object_get(out, "best"), json_string(r->name)) ? -ENOMEM : 0;
	if (rc == 0 && (doubt.n > 0 || doubt.failed))
		return report_put(json_object_get(out, "doubt"), r->name, sentence_json(&doubt));
	free(doubt.p);
	return rc;
}

static json_t *verdict(struct contest *c, const char *workload)
{
	json_t *out = json_pack("{s:s, s:[], s:{}, s:{}, s:{}}", "workload", workload, "best", "suits", "doubt",
		"reason");
	int rc = out ? 0 : -ENOMEM;

	for (size_t i = 0; i < c->n; i++)
		judge_runner(c, &c->runners[i]);
	mark_best(c);
	for (size_t i = 0; rc == 0 && i < c->n; i++)
		rc = put_runner(c, &c->runners[i], out);
	if (rc == 0)
		rc = report_put(out, "why", why_best(c));
	for (size_t i = 0; i < c->n; i++)
		free(c->runners[i].reason.p);
	if (rc == 0)
		return out;
	json_decref(out);
	return NULL;
}

static const struct rule *rule_of(const char *workload)
{
	const struct rule *rule = rules;

	while (rule->workload && strcmp(rule->workload, workload) != 0)
		rule++;
	return rule;
}

/* Of "block10" 10: requests wait as many milliseconds as is in the workload's name. */
static double wait_of(const char *workload)
{
	return strncmp(workload, "block", 5) == 0 ? strtod(workload + strcspn(workload, "0123456789"), NULL) : 0;
}

static json_t *judge_workload(const json_t *report, const json_t *workload)
{
	const json_t *subjects = json_object_get(report, "subjects");
	const char *name = report_text(workload, "name");
	struct contest *c = calloc(1, sizeof(*c));
	json_t *out;

	if (!c)
		return NULL;
	c->rule = rule_of(name);
	c->wait_ms = wait_of(name);
	for (size_t i = 0; i < json_array_size(subjects) && c->n < SUBJECTS_MAX; i++)
		if (takes_part(json_array_get(subjects, i), name))
			c->runners[c->n++] = runner(report, json_array_get(subjects, i), name, c->rule);
	find_first(c);
	out = verdict(c, name);
	free(c);
	return out;
}

json_t *lab_verdicts(const json_t *report)
{
	const json_t *workloads = json_object_get(report, "workloads");
	json_t *out = json_array();

	for (size_t i = 0; out && i < json_array_size(workloads); i++)
		if (json_array_append_new(out, judge_workload(report, json_array_get(workloads, i)))) {
			json_decref(out);
			return NULL;
		}
	return out;
}

json_t *lab_limits(void)
{
	return json_pack("{s:{s:f, s:f}, s:{s:f, s:f}, s:{s:i, s:i}, s:{s:i, s:i}, s:i, s:f, s:f, s:f, s:f}",
		"rate", "yes", RATE_YES, "fair", RATE_FAIR, "left", "yes", LEFT_YES, "fair", LEFT_FAIR,
		"p99_times", "yes", BESIDE_YES, "fair", BESIDE_FAIR, "p99_more_ms", "yes", BESIDE_YES_MS, "fair",
		BESIDE_FAIR_MS, "tail", TAIL, "failed", ERRORS_NO, "alike", FIGURES_ALIKE, "alike_one",
		FIGURES_ALIKE_ONE, "alike_ms", BESIDE_ALIKE_MS);
}
