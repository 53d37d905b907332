/* lab_contest.c: who ran a workload, and who did it best.
 *
 * Each workload has the figure that decides it: requests a second where all requests are alike; where some are beside
 * others that block or dawdle, how long the fast ones took (p99), since that is what the others must not spoil; memory
 * for idle connections.
 *
 * Everybody is compared with the first: who has the best median of that figure, and fails next to nothing.  The best
 * are among those that suit (lab_grade.c says who): the one with the best median, and after it, median by median, whose
 * spreads overlap that one's, up to the first that is set apart.  Between them nothing has been shown, so they are not
 * ranked.  A wide spread alone makes nobody one of them.
 *
 * Where requests block, who waits by a timer instead is shown, and judged, but is no measure for the others: no thread
 * limits it, and a call that blocks could not be written so.
 *
 * The load is one thread.  Where that was busy all the time, and the server was not, the figures are what the load can
 * do, and the server can do more.
 *
 * Pure: no clock, no files, nothing kept.  What is missing in the report or has the wrong type was not measured.
 */
#include "cli/lab_contest.h"

#include <stdlib.h>
#include <string.h>

/* Of a pool's threads: when so many wait at once, all do. */
#define POOL_FULL 0.95

/* ---- who ran it, by which figure --------------------------------------------------------------------------------- */

#define RATE "rps", false, " requests/s", sentence_count
#define FAST "fast.p99_ms", true, "", sentence_ms

static const struct rule rules[] = {
	{ "mixed", FAST, "blocking requests" },
	{ "slow", FAST, "slow clients" },
	{ "wrong-lane", FAST, "a handler that blocks in the wrong lane" },
	{ "idle", "memory_kb", true, "", sentence_mb, NULL },
	{ NULL, RATE, NULL },
};

bool cell_ran(const json_t *cell)
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
	r.cpus = figure_of(cell, "cpus");
	r.load_cpus = figure_of(cell, "load_cpus");
	r.timers = json_is_true(json_object_get(subject, "timers"));
	r.pool = json_number_value(json_object_get(subject, "pool"));
	r.requests = rounds_sum(json_object_get(cell, "rounds"), "requests");
	r.errors = rounds_sum(json_object_get(cell, "rounds"), "errors");
	r.figures = cell_ran(cell) && r.deciding.known && r.rps.known && (fast.known || !rule->beside);
	r.measured = r.figures && r.rps.mid > 0 && (fast.mid > 0 || !rule->beside);
	if (cell_ran(alone)) {
		r.alone_rps = figure_of(alone, "rps");
		r.alone_p99 = figure_of(alone, "p99_ms");
	}
	return r;
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

/* ---- who is best ------------------------------------------------------------------------------------------------- */

double runner_failing(const struct runner *r)
{
	return r->errors > 0 ? r->errors / (r->requests + r->errors) : 0;
}

bool runner_competes(const struct contest *c, const struct runner *r)
{
	return c->wait_ms <= 0 || !r->timers || c->all_timers;
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

		if (r->measured && runner_competes(c, r) && runner_failing(r) <= ERRORS_NO &&
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

		if (r->measured && runner_competes(c, r) && r->grade == YES && !r->best &&
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

void contest_rank(struct contest *c)
{
	const struct runner *top = NULL;
	struct runner *r;

	while ((r = best_left(c)) && (!top || alike(c, &r->deciding, &top->deciding))) {
		r->best = true;
		top = top ? top : r;
		c->nbest++;
	}
}

const struct runner *contest_next(const struct contest *c)
{
	const struct runner *next = NULL;

	for (size_t i = 0; i < c->n; i++) {
		const struct runner *r = &c->runners[i];

		if (r->measured && runner_competes(c, r) && !r->best && runner_failing(r) <= ERRORS_NO &&
			(!next || better(c->rule, r->deciding.mid, next->deciding.mid)))
			next = r;
	}
	return next;
}

bool runner_fills_pool(const struct contest *c, const struct runner *r)
{
	return c->wait_ms > 0 && r->pool > 0 && r->rps.mid * c->wait_ms / 1000 >= POOL_FULL * r->pool;
}

bool runner_outran_load(const struct contest *c, const struct runner *r)
{
	return r->cpus.known && r->load_cpus.known && r->load_cpus.mid >= LOAD_BUSY &&
		r->cpus.mid <= (1 - SERVER_LEFT) * c->server_cpus;
}

struct contest *contest_new(const json_t *report, const char *workload)
{
	const json_t *subjects = json_object_get(report, "subjects");
	struct contest *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->rule = rule_of(workload);
	c->wait_ms = wait_of(workload);
	figure_number(json_object_get(report, "plan"), "server_cpu_count", &c->server_cpus);
	for (size_t i = 0; i < json_array_size(subjects) && c->n < CONTEST_MAX; i++)
		if (takes_part(json_array_get(subjects, i), workload))
			c->runners[c->n++] = runner(report, json_array_get(subjects, i), workload, c->rule);
	c->all_timers = true;
	for (size_t i = 0; i < c->n; i++)
		c->all_timers = c->all_timers && (c->runners[i].timers || !c->runners[i].measured);
	find_first(c);
	return c;
}

void contest_free(struct contest *c)
{
	for (size_t i = 0; c && i < c->n; i++)
		free(c->runners[i].reason.p);
	free(c);
}
