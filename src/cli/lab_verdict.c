/* lab_verdict.c: which subject suits which workload, from what was measured: the report's verdicts.
 *
 * Of each workload its verdict says who is best and with what figures, and who comes next; of each subject how well it
 * suits, and why.  Who ran, and who is best, is lab_contest.c's to find; grades and their reasons are lab_grade.c's.
 *
 * What is told of the best has their numbers, or, when they are many, the least and the most of them, and nothing that
 * these do not show.  Where a grade rests on a cell without a clean round, its own or the one it is compared with, it
 * is in doubt, and the verdict says by what.
 *
 * Pure: no clock, no files, nothing kept.  What is missing in the report or has the wrong type was not measured.
 */
#include "cli/lab_verdict.h"
#include "cli/lab_contest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* More names than so many are told of together. */
#define NAMED_MAX 3

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
		full += runner_fills_pool(c, r) && (nth == 0 || r->pool == pool);
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
		say_pool_limit(t, c, pool);
	}
}

/* Of whom among the best the figures are the load's more than theirs. */
static void say_outran(struct sentence *t, const struct contest *c)
{
	size_t nth = 0;

	for (size_t i = 0; i < c->n; i++)
		if (c->runners[i].best && runner_outran_load(c, &c->runners[i]))
			sentence_say(t, "%s%s", nth++ == 0 ? "; the load was the limit of " : ", ", c->runners[i].name);
}

/* Who comes behind the best, or has a better figure and does not suit. */
static void say_next(struct sentence *t, const struct contest *c)
{
	const struct runner *next = contest_next(c);
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

/* Who does not compete. */
static void say_beside(struct sentence *t, const struct contest *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		if (!r->measured || runner_competes(c, r))
			continue;
		sentence_say(t, "; %s, which blocks nothing and waits by a timer, had ", r->name);
		say_deciding(t, c->rule, r);
	}
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
	say_outran(&t, c);
	say_next(&t, c);
	say_beside(&t, c);
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

/* NULL: no memory. */
static json_t *verdict(struct contest *c, const char *workload)
{
	json_t *out = json_pack("{s:s, s:[], s:{}, s:{}, s:{}}", "workload", workload, "best", "suits", "doubt",
		"reason");
	int rc = out ? 0 : -ENOMEM;

	for (size_t i = 0; i < c->n; i++)
		runner_judge(c, &c->runners[i]);
	contest_rank(c);
	for (size_t i = 0; rc == 0 && i < c->n; i++)
		rc = put_runner(c, &c->runners[i], out);
	if (rc == 0)
		rc = report_put(out, "why", why_best(c));
	if (rc == 0)
		return out;
	json_decref(out);
	return NULL;
}

static json_t *judge_workload(const json_t *report, const char *workload)
{
	struct contest *c = contest_new(report, workload);
	json_t *out = c ? verdict(c, workload) : NULL;

	contest_free(c);
	return out;
}

json_t *lab_verdicts(const json_t *report)
{
	const json_t *workloads = json_object_get(report, "workloads");
	json_t *out = json_array();

	for (size_t i = 0; out && i < json_array_size(workloads); i++) {
		const char *name = report_text(json_array_get(workloads, i), "name");

		if (json_array_append_new(out, judge_workload(report, name))) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}
