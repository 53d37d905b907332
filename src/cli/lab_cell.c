/* lab_cell.c: rounds, and what they come to.
 *
 * A cell is one subject under one workload.  For a workload all subjects are started, then measured in turn, round by
 * round, so that whatever the machine does for a while hits all of them, and ended; with one CPU's worth of them idle
 * they cost each other nothing.  Where connections rest a server starts anew for each round, since memory it has had
 * would be taken for memory it needs.
 *
 * A sample during which others used more of these CPUs than --guard allows is dirty, and taken again, at most twice,
 * and for at most an eighth of the time that all samples take, so that a busy machine makes a run only a little longer;
 * the cleanest is kept, and marked if it is dirty still.  What a cell comes to is the median of its clean rounds, or of
 * all when none is clean, with the least and the most beside it.
 *
 * A cell always says what became of it: measured, cannot (the model does not do this), failed, or missing, each with
 * why.  It fails as a whole: rounds before are not shown, for they would speak of a server that then broke.
 */
#include "cli/lab_cell.h"
#include "base/clock.h"
#include "cli/lab_stats.h"
#include "cli/lab_work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 2
#define ROUNDS_MAX 64

struct cell {
	json_t *json, *rounds;
	bool open;              /* nothing but rounds stands in its way */
};

static const char stopped[] = "the run was stopped before it was measured";

/* ---- what rounds come to ----------------------------------------------------------------------------------------- */

/* The values of one figure, where it is a number. */
static size_t values_of(const json_t *rounds, const char *group, const char *key, bool dirty_too, double *values)
{
	const json_t *round;
	size_t i, n = 0;

	json_array_foreach(rounds, i, round) {
		const json_t *v = json_object_get(group ? json_object_get(round, group) : round, key);

		if (json_is_number(v) && (dirty_too || !json_is_true(json_object_get(round, "dirty"))) &&
			n < ROUNDS_MAX)
			values[n++] = json_number_value(v);
	}
	return n;
}

/* The medians of all figures of `like`, a round or a group of one. */
static json_t *medians(const json_t *rounds, const char *group, const json_t *like, bool dirty_too)
{
	json_t *o = json_object(), *v;
	double values[ROUNDS_MAX];
	const char *key;

	json_object_foreach((json_t *)like, key, v) {
		size_t n = values_of(rounds, group, key, dirty_too, values);

		if (json_is_object(v) && !group && strcmp(key, "error_kinds") != 0)
			json_object_set_new(o, key, medians(rounds, key, v, dirty_too));
		else if (n > 0)
			json_object_set_new(o, key, lab_number(stats_median(values, n)));
		else if (json_is_null(v))
			json_object_set_new(o, key, json_null());
	}
	return o;
}

static json_t *spread(const json_t *rounds, const char *key, bool dirty_too)
{
	double values[ROUNDS_MAX], least, most;
	size_t n = values_of(rounds, NULL, key, dirty_too, values);

	if (n == 0)
		return json_null();
	least = most = values[0];
	for (size_t i = 1; i < n; i++) {
		least = values[i] < least ? values[i] : least;
		most = values[i] > most ? values[i] : most;
	}
	return json_pack("[o, o]", lab_number(least), lab_number(most));
}

int lab_cell_sum(json_t *cell)
{
	const json_t *rounds = json_object_get(cell, "rounds"), *round;
	bool dirty_too = true;
	size_t i;

	json_array_foreach(rounds, i, round)
		dirty_too = dirty_too && json_is_true(json_object_get(round, "dirty"));
	if (json_array_size(rounds) == 0)
		return 0;
	return json_object_set_new(cell, "median", medians(rounds, NULL, json_array_get(rounds, 0), dirty_too)) ||
		json_object_set_new(cell, "spread", json_pack("{s:o, s:o, s:o, s:o}", "rps",
		spread(rounds, "rps", dirty_too), "p50_ms", spread(rounds, "p50_ms", dirty_too), "p99_ms",
		spread(rounds, "p99_ms", dirty_too), "cpu_us", spread(rounds, "cpu_us", dirty_too))) ? -ENOMEM : 0;
}

/* ---- one cell ---------------------------------------------------------------------------------------------------- */

static void conclude(struct cell *c, const char *status, const char *why)
{
	json_object_set_new(c->json, "status", json_string(status));
	json_object_set_new(c->json, "why", json_string(why));
	json_array_clear(c->rounds);
	c->open = false;
}

static int open_cell(struct cell *c, const struct lab_subject *s, const struct lab_workload *w)
{
	char path[128];

	lab_paths(w, s, path, sizeof(path));
	c->rounds = json_array();
	c->json = json_pack("{s:s, s:s, s:s, s:s, s:o?}", "subject", s->name, "workload", w->name, "path", path,
		"status", "measured", "rounds", c->rounds);
	c->open = c->json != NULL;
	return c->json ? 0 : -ENOMEM;
}

/* A server for it; when there is none the cell says why. */
static void start(struct lab_run *run, struct cell *c, struct lab_server *server, size_t subject)
{
	const struct lab_subject s = lab_subject(subject);
	char why[400];

	if (lab_server_start(server, &s, &run->how, &run->found[subject], &run->machine.server, why, sizeof(why)))
		conclude(c, "failed", why);
}

/* The machine's io_uring, as the first model that is measured has found it. */
static void note_uring(struct lab_run *run, const struct lab_server *server)
{
	json_t *machine = json_object_get(run->report, "machine");
	char why[200];
	int has;

	if (server->subject.peer || json_object_get(machine, "io_uring"))
		return;
	has = lab_server_uring(server, &run->how, why, sizeof(why));
	json_object_set_new(machine, "io_uring", has < 0 ? json_null() : json_boolean(has));
	json_object_set_new(machine, "io_uring_why", *why ? json_string(why) : json_null());
}

static void await(struct cell *c, struct lab_server *server)
{
	char why[400] = "";

	if (!c->open)
		return;
	if (lab_server_ready(server, why, sizeof(why)) && !lab_stopped())
		conclude(c, "failed", why);
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

/* One sample, taken again while it is dirty and that may be; the cleanest is the round. */
static void take_round(struct lab_run *run, struct cell *c, struct lab_server *server, const struct lab_workload *w)
{
	json_t *best = NULL, *round = NULL;
	double foreign = 0, least = 0;
	enum lab_outcome outcome;
	char why[400] = "";

	for (unsigned tries = 0;; tries++) {
		uint64_t began = clock_now_ns(), took;

		outcome = lab_sample(&run->plan, &run->machine, w, server, &round, &foreign, why, sizeof(why));
		if (outcome != LAB_MEASURED)
			break;
		if (!best || foreign < least) {
			json_decref(best);
			best = round;
			least = foreign;
		} else {
			json_decref(round);
		}
		took = clock_now_ns() - began;
		if (foreign <= run->plan.guard || tries == REPEATS || took > run->repeats_ns || w->idle)
			break;
		run->repeats_ns -= took; /* the next one will take about as long */
	}
	if (best) {
		json_array_append_new(c->rounds, best);
		note_uring(run, server); /* by now its log has been written */
	} else if (!lab_stopped()) {
		conclude(c, outcome == LAB_CANNOT ? "cannot" : "failed", why);
	}
}

/* Round after round for all, whoever is left. */
static void take_rounds(struct lab_run *run, struct cell *cells, struct lab_server *servers,
	const struct lab_workload *w)
{
	for (unsigned r = 0; r < run->plan.rounds; r++) {
		for (size_t i = 0; i < lab_nsubjects() && !lab_stopped(); i++) {
			if (!cells[i].open)
				continue;
			lab_progress(run, w->name, lab_subject(i).name, r + 1);
			if (w->idle && r > 0) {
				lab_servers_stop(&servers[i], 1);
				start(run, &cells[i], &servers[i], i);
				await(&cells[i], &servers[i]);
			}
			if (cells[i].open && !lab_stopped())
				take_round(run, &cells[i], &servers[i], w);
		}
	}
}

static int finish(struct lab_run *run, struct cell *c)
{
	int rc;

	if (c->open && json_array_size(c->rounds) == 0)
		conclude(c, "missing", stopped);
	rc = lab_cell_sum(c->json);
	run->cells_done++;
	if (!lab_stopped() || c->open)
		lab_progress_cell(run, c->json);
	if (json_array_append_new(json_object_get(run->report, "cells"), c->json))
		rc = -ENOMEM;
	return rc;
}

int lab_cells(struct lab_run *run, unsigned workload)
{
	const struct lab_workload *w = &lab_workloads[workload];
	struct lab_server servers[LAB_SUBJECTS_MAX];
	struct cell cells[LAB_SUBJECTS_MAX];
	int rc = 0;

	for (size_t i = 0; i < LAB_SUBJECTS_MAX; i++) {
		servers[i] = (struct lab_server){ .log = -1, .held = -1 };
		cells[i] = (struct cell){ .json = NULL };
	}
	for (size_t i = 0; i < lab_nsubjects() && rc == 0; i++) {
		const struct lab_subject s = lab_subject(i);
		const char *cannot = s.peer ? lab_peer_cannot(s.peer, w->name) : NULL;

		if (!(run->plan.subjects >> i & 1) || !lab_takes_part(&s, w->name) ||
			(rc = open_cell(&cells[i], &s, w)))
			continue;
		if (s.peer && !run->found[i].program)
			conclude(&cells[i], "missing", run->found[i].why);
		else if (cannot)
			conclude(&cells[i], "cannot", cannot);
		else if (!lab_stopped())
			start(run, &cells[i], &servers[i], i);
	}
	for (size_t i = 0; i < lab_nsubjects() && rc == 0 && !lab_stopped(); i++)
		await(&cells[i], &servers[i]);
	if (rc == 0)
		take_rounds(run, cells, servers, w);
	lab_servers_stop(servers, lab_nsubjects());
	for (size_t i = 0; i < lab_nsubjects(); i++)
		if (cells[i].json && finish(run, &cells[i]))
			rc = -ENOMEM;
	return rc;
}
