/* lab_verdict.c: which subject suits which workload, from what was measured.
 *
 * Each workload has the figure that decides it: requests a second where all requests are alike; where some are beside
 * others that block or dawdle, how long the fast ones took (p99), since that is what the others must not spoil; memory
 * for idle connections.  The best is who has most or least of it, with all whose spreads overlap his: between them
 * nothing has been shown, so they are not ranked (lab_sentence.c).
 *
 * How well a subject suits is then a comparison: with the best, or, of fast requests, with the same subject's when
 * nothing is beside them (its trivial cell).  The limits stand below, and in the report, whose page shows these.  Who
 * lets requests fail is the best of nothing.
 *
 * A sentence holds the numbers it was made from, and nothing that they do not show.  Where they show why, it says that
 * too: requests a second times the time each waits are how many waited at once (Little's law), times CPU a request how
 * many CPUs were busy.  Rounds that other processes disturbed are told of.
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
/* More names than so many are told of together. */
#define NAMED_MAX 3
/* Who is as fast as the best but has so many times his p99 is fair. */
#define TAIL 3
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
	bool figures;                   /* has those it is judged by, */
	bool measured;                  /* and requests were answered */
	bool best;
	struct figure alone_rps, alone_p99; /* of its trivial cell */
};

struct contest {
	const struct rule *rule;
	double wait_ms;                 /* each request waits so long */
	struct runner runners[SUBJECTS_MAX];
	size_t n;
	const struct runner *first;     /* whose deciding figure is the best; NULL: nobody was measured */
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static const json_t *find_cell(const json_t *report, const char *subject, const char *workload)
{
	const json_t *cells = json_object_get(report, "cells");

	for (size_t i = 0; i < json_array_size(cells); i++) {
		const json_t *cell = json_array_get(cells, i);

		if (strcmp(text_of(cell, "subject"), subject) == 0 && strcmp(text_of(cell, "workload"), workload) == 0)
			return cell;
	}
	return NULL;
}

static double sum(const json_t *cell, const char *key)
{
	const json_t *rounds = json_object_get(cell, "rounds");
	double all = 0, value;

	for (size_t i = 0; i < json_array_size(rounds); i++)
		if (figure_number(json_array_get(rounds, i), key, &value))
			all += value;
	return all;
}

static bool ran(const json_t *cell)
{
	return strcmp(text_of(cell, "status"), "measured") == 0;
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
	return find_cell(report, text_of(subject, takes_part(subject, ALONE) ? "name" : "as"), ALONE);
}

static struct runner runner(const json_t *report, const json_t *subject, const char *workload, const struct rule *rule)
{
	const char *name = text_of(subject, "name");
	const json_t *cell = find_cell(report, name, workload), *alone = find_alone(report, subject);
	struct runner r = { .name = name, .cell = cell, .status = text_of(cell, "status") };
	struct figure fast = figure_of(cell, "fast.rps");

	r.deciding = figure_of(cell, rule->path);
	r.rps = figure_of(cell, "rps");
	r.p99 = figure_of(cell, "p99_ms");
	r.cpu_us = figure_of(cell, "cpu_us");
	r.requests = sum(cell, "requests");
	r.errors = sum(cell, "errors");
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

/* Finds the best, and marks all that nothing sets apart from it. */
static void rank(struct contest *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		if (r->measured && failing(r) <= ERRORS_NO &&
			(!c->first || better(c->rule, r->deciding.mid, c->first->deciding.mid)))
			c->first = r;
	}
	for (size_t i = 0; c->first && i < c->n; i++) {
		struct runner *r = &c->runners[i];

		r->best = r->measured && failing(r) <= ERRORS_NO && figures_overlap(&r->deciding, &c->first->deciding);
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

static enum grade judge_rate(const struct contest *c, const struct runner *r, struct sentence *t)
{
	const struct runner *best = c->first;
	double part = best ? r->rps.mid / best->rps.mid : 1;
	enum grade grade = r->best ? YES : grade_rate(part);

	say_rate(t, r);
	if (c->wait_ms > 0)
		sentence_say(t, ", so %.1f waited at once", r->rps.mid * c->wait_ms / 1000);
	else if (r->cpu_us.known && r->cpu_us.mid > 0)
		sentence_say(t, ", so %.2f CPUs were busy", r->rps.mid * r->cpu_us.mid / 1e6);
	if (best && best != r && r->best)
		sentence_say(t, "; its spread overlaps that of %s", best->name);
	else if (best && best != r)
		sentence_say(t, "; %.2g of what %s did", part, best->name);
	if (grade == YES && best && best->p99.known && r->p99.low > TAIL * best->p99.high) {
		sentence_say(t, ", but the p99 of %s was ", best->name);
		sentence_ms(t, best->p99.mid);
		grade = FAIR;
	}
	return grade;
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
	sentence_say(t, ", %.2g of its rate in " ALONE, part);
	return worse(grade_left(part), grade_tail(r->deciding.mid, r->alone_p99.mid));
}

static enum grade judge_idle(const struct runner *r, struct sentence *t)
{
	double part = r->alone_rps.known && r->alone_rps.mid > 0 ? r->rps.mid / r->alone_rps.mid : 1;
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
	if (r->alone_rps.known)
		sentence_say(t, ", %.2f of its rate in " ALONE, part);
	if (r->p99.known) {
		sentence_say(t, ", p99 ");
		sentence_ms(t, r->p99.mid);
	}
	return r->alone_rps.known && figures_overlap(&r->rps, &r->alone_rps) ? YES : grade_rate(part);
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
		sentence_say(t, "; %zu of %zu rounds disturbed%s: other processes used up to %.2f CPUs", spoilt, n,
			spoilt < n ? " and left out" : "", foreign);
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
		grade = judge_idle(r, t);
	else
		grade = judge_rate(c, r, t);
	return doubts(r, grade, t);
}

/* ---- the verdict ------------------------------------------------------------------------------------------------- */

static int put(json_t *object, const char *key, json_t *value)
{
	return value && json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
}

static int judge_runner(const struct contest *c, const struct runner *r, json_t *suits, json_t *reasons)
{
	static const char *const names[] = { [NO] = "no", [FAIR] = "fair", [YES] = "yes" };
	const char *why = text_of(r->cell, "why");
	struct sentence t = { NULL, 0, false };
	int rc = 0;

	if (r->figures) {
		rc = put(suits, r->name, json_string(names[judge(c, r, &t)]));
	} else if (strcmp(r->status, "cannot") == 0) {
		rc = put(suits, r->name, json_string("no"));
		sentence_say(&t, "cannot run it: %s", why[0] ? why : "no reason was recorded");
	} else if (ran(r->cell)) {
		sentence_say(&t, "not judged: the report lacks its %s",
			r->deciding.known ? "requests a second" : c->rule->path);
	} else {
		sentence_say(&t, "not measured: %s",
			why[0] ? why : r->status[0] ? r->status : "it was not part of the run");
	}
	if (rc) {
		free(t.p);
		return rc;
	}
	return put(reasons, r->name, sentence_json(&t));
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

static void say_deciding(struct sentence *t, const struct rule *rule, const struct figure *f)
{
	rule->say(t, f->mid);
	sentence_say(t, "%s", rule->unit);
	sentence_spread(t, f, rule->say);
}

/* The best, each with his figure, or, when they are many, the least and the most of theirs. */
static void say_best(struct sentence *t, const struct contest *c, size_t best)
{
	double low = 0, high = 0;

	for (size_t i = 0, nth = 0; i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		if (!r->best)
			continue;
		low = nth == 0 || r->deciding.mid < low ? r->deciding.mid : low;
		high = nth == 0 || r->deciding.mid > high ? r->deciding.mid : high;
		sentence_say(t, "%s%s", nth++ == 0 ? "" : ", ", r->name);
		if (best <= NAMED_MAX) {
			sentence_say(t, " with ");
			say_deciding(t, c->rule, &r->deciding);
		}
	}
	if (best > NAMED_MAX) {
		sentence_say(t, " with ");
		c->rule->say(t, low);
		sentence_say(t, " to ");
		c->rule->say(t, high);
		sentence_say(t, "%s", c->rule->unit);
	}
	if (best > 1)
		sentence_say(t, ", whose spreads overlap, so they are not ranked");
}

static json_t *why_best(const struct contest *c, const json_t *best)
{
	const char *what = c->rule->beside ? "by the fast requests' p99 " : c->rule->least ? "by memory " : "";
	const struct runner *next = next_of(c);
	struct sentence t = { NULL, 0, false };

	if (!c->first) {
		sentence_say(&t, "nobody ran it so that it could be judged");
		return sentence_json(&t);
	}
	sentence_say(&t, "%s", what);
	say_best(&t, c, json_array_size(best));
	if (next) {
		sentence_say(&t, "; next is %s with ", next->name);
		say_deciding(&t, c->rule, &next->deciding);
	}
	if (c->first->deciding.rounds < 2)
		sentence_say(&t, "; of one round, so differences of less than a fifth are not ranked");
	return sentence_json(&t);
}

static json_t *verdict(const struct contest *c, const char *workload)
{
	json_t *suits = json_object(), *reasons = json_object(), *best = json_array(), *out = json_object();
	int rc = suits && reasons && best && out ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		rc = judge_runner(c, r, suits, reasons);
		if (rc == 0 && r->best)
			rc = json_array_append_new(best, json_string(r->name)) ? -ENOMEM : 0;
	}
	if (rc == 0)
		rc = put(out, "workload", json_string(workload));
	if (rc == 0)
		rc = put(out, "why", why_best(c, best));
	if (rc == 0 && json_object_set(out, "best", best) == 0 && json_object_set(out, "suits", suits) == 0 &&
		json_object_set(out, "reason", reasons) == 0)
		rc = 0;
	else
		rc = -ENOMEM;
	json_decref(suits);
	json_decref(reasons);
	json_decref(best);
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
	const char *name = text_of(workload, "name");
	struct contest *c = calloc(1, sizeof(*c));
	json_t *out;

	if (!c)
		return NULL;
	c->rule = rule_of(name);
	c->wait_ms = wait_of(name);
	for (size_t i = 0; i < json_array_size(subjects) && c->n < SUBJECTS_MAX; i++)
		if (takes_part(json_array_get(subjects, i), name))
			c->runners[c->n++] = runner(report, json_array_get(subjects, i), name, c->rule);
	rank(c);
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
	return json_pack("{s:{s:f, s:f}, s:{s:f, s:f}, s:{s:i, s:i}, s:{s:i, s:i}, s:i, s:f}",
		"rate", "yes", RATE_YES, "fair", RATE_FAIR, "left", "yes", LEFT_YES, "fair", LEFT_FAIR,
		"p99_times", "yes", BESIDE_YES, "fair", BESIDE_FAIR, "p99_more_ms", "yes", BESIDE_YES_MS, "fair",
		BESIDE_FAIR_MS, "tail", TAIL, "failed", ERRORS_NO);
}
