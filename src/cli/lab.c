/* lab.c: `offloop lab [OPTION ...]`.
 *
 * Answers which concurrency model suits which service, by measurement: one app runs under each of offloop's models,
 * and with --peers under other servers, through the same workloads, and what came of it is written as a report for
 * people and as JSON.  This file holds the command: it reads the options, looks at the machine, finds the peers, has
 * each workload measured (lab_cell.c), and writes both files.
 *
 * Everything stays on the loopback, is bounded in time, and ends: SIGINT, SIGTERM and SIGHUP set a flag that every wait
 * looks at, the servers are ended, and what there is by then is written, marked as stopped; when the lab is killed a
 * guardian ends them, and removes what they ran.  Both files are tried before anything is measured, so that no run is
 * lost to a misspelt folder, and at the end both are written, whatever becomes of the first.
 *
 * Exit status: 0, whatever came of single cells; 1 when it could not begin, no cell could be measured, or a file could
 * not be written; 2 for wrong options; 128 and the signal's number when one stopped it.
 */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/lab_cell.h"
#include "cli/lab_files.h"
#include "cli/lab_guard.h"
#include "cli/lab_out.h"
#include "cli/lab_report.h"
#include "cli/lab_verdict.h"
#include "cli/safe_text.h"
#include "offloop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FILES_BESIDE_IDLE 600   /* descriptors that a process needs beside its idle connections */

static volatile sig_atomic_t stop_signal;

static void on_stop(int signum)
{
	stop_signal = signum;
}

bool lab_stopped(void)
{
	return stop_signal != 0;
}

/* A standard stream that was closed becomes /dev/null: else a server's log or a pipe gets its number, and what is
 * printed goes there. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static void catch_signals(void)
{
	const struct sigaction stop = { .sa_handler = on_stop }, ignore = { .sa_handler = SIG_IGN };

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGHUP, &stop, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/* ---- what the report begins with --------------------------------------------------------------------------------- */

/* Somebody's text as JSON, which takes UTF-8 alone: what is none, or steers a terminal, becomes '?'.  NULL: no
 * memory. */
static json_t *text_json(const char *text)
{
	char *safe = strdup(text), *to = safe;
	json_t *o = NULL;
	bool good;

	while (safe && *text) {
		size_t n = safe_character(text, &good);

		if (good)
			to = mempcpy(to, text, n);
		else
			*to++ = '?';
		text += n;
	}
	if (safe) {
		*to = 0;
		o = json_string(safe);
	}
	free(safe);
	return o;
}

static json_t *command_line(int argc, char **argv)
{
	char line[1024] = "offloop lab";
	size_t at = strlen(line);

	for (int i = 1; i < argc && at < sizeof(line) - 1; i++)
		at += (size_t)snprintf(line + at, sizeof(line) - at, " %s", argv[i]);
	return text_json(line);
}

static json_t *plan_json(const struct lab_run *run)
{
	const struct lab_plan *p = &run->plan;
	const struct lab_machine *m = &run->machine;

	return json_pack("{s:i, s:f, s:s, s:i, s:s, s:b, s:f, s:i, s:i}", "rounds", (int)p->rounds, "secs", p->secs,
		"server_cpus", m->server_list, "server_cpu_count", (int)m->server_cpus, "load_cpus", m->load_list,
		"pinned", m->split, "guard", p->guard, "idle",
		(int)p->idle, "idle_asked", (int)p->idle_asked);
}

static json_t *subject_json(struct lab_run *run, size_t i)
{
	const struct lab_subject s = lab_subject(i);
	const struct lab_found *found = &run->found[i];
	bool installed = !s.peer || found->program, everywhere = true;
	json_t *where = json_array();
	char *command = installed ? lab_server_command(&s, &run->how, found) : NULL;
	json_t *o = json_pack("{s:s, s:s, s:s, s:s?, s:i, s:s, s:o, s:b, s:s?}", "name", s.name, "kind",
		s.peer ? "peer" : "model", "what", s.what, "version", s.peer ? found->version : "offloop " OL_VERSION,
		"processes", (int)lab_processes(&s, &run->how), "threads", s.threads, "command",
		command ? text_json(command) : json_null(), "installed", installed, "why", found->why);

	for (size_t w = 0; w < lab_nworkloads; w++) {
		const char *name = lab_workloads[w].name;

		if (!lab_takes_part(&s, name))
			everywhere = false;
		else if (run->plan.workloads >> w & 1)
			json_array_append_new(where, json_string(name));
	}
	if (s.pool)
		json_object_set_new(o, "pool", json_integer(s.pool));
	if (s.timers)
		json_object_set_new(o, "timers", json_true());
	if (s.as)
		json_object_set_new(o, "as", json_string(s.as));
	if (!everywhere)
		json_object_set(o, "workloads", where);
	json_decref(where);
	free(command);
	return o;
}

static json_t *workload_json(const struct lab_run *run, const struct lab_workload *w)
{
	char path[128];
	json_t *o;

	lab_paths(w, NULL, path, sizeof(path));
	o = json_pack("{s:s, s:s, s:i, s:s}", "name", w->name, "what", w->what, "connections",
		(int)w->fast.connections, "measures", path);
	if (w->no_memory)
		json_object_set_new(o, "no_memory", json_string(w->no_memory));
	if (w->beside.path)
		json_object_set_new(o, "beside", json_integer(lab_beside(w)));
	if (w->idle)
		json_object_set_new(o, "idle", json_integer(run->plan.idle));
	return o;
}

/* The report without its cells.  0 or -ENOMEM. */
static int begin_report(struct lab_run *run, int argc, char **argv)
{
	json_t *subjects = json_array(), *workloads = json_array();
	char started[ISO_TIME_LEN + 1] = "";
	struct timespec now;

	for (size_t i = 0; i < lab_nsubjects(); i++)
		if (run->plan.subjects >> i & 1)
			json_array_append_new(subjects, subject_json(run, i));
	for (size_t i = 0; i < lab_nworkloads; i++)
		if (run->plan.workloads >> i & 1)
			json_array_append_new(workloads, workload_json(run, &lab_workloads[i]));
	clock_gettime(CLOCK_REALTIME, &now);
	iso_time_format(started, now);
	run->report = json_pack("{s:i, s:s, s:s, s:f, s:b, s:o, s:o, s:o, s:o, s:o, s:[]}", "offloop_lab", 1, "version",
		OL_VERSION, "started", started, "seconds", 0.0, "stopped", 0, "command", command_line(argc, argv),
		"machine", lab_machine_json(&run->machine), "plan", plan_json(run), "subjects", subjects, "workloads",
		workloads, "cells");
	return run->report ? 0 : -ENOMEM;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* A program that hangs is asked once, not for each of its peers. */
static int find_peers(struct lab_run *run)
{
	const struct lab_peer *hangs = NULL;
	const char *why = NULL;
	int rc = 0;

	for (size_t i = 0; i < lab_nsubjects() && rc == 0; i++) {
		const struct lab_subject s = lab_subject(i);
		struct lab_found *found = &run->found[i];

		if (!s.peer || !(run->plan.subjects >> i & 1))
			continue;
		if (hangs && lab_peers_share(s.peer, hangs)) {
			found->why = strdup(why);
			rc = found->why ? 0 : -ENOMEM;
			continue;
		}
		rc = lab_peer_find(s.peer, found);
		if (rc == 0 && found->hangs) {
			hangs = s.peer;
			why = found->why;
		}
	}
	return rc;
}

/* Fewer idle connections where a process may not open so many files. */
static void fit_idle(struct lab_run *run)
{
	unsigned room = run->machine.files > FILES_BESIDE_IDLE ? run->machine.files - FILES_BESIDE_IDLE : 1;

	run->plan.idle_asked = run->plan.idle;
	if (run->plan.idle <= room)
		return;
	fprintf(stderr, "offloop lab: %u idle connections in place of %u: a process may open %u files here\n", room,
		run->plan.idle, run->machine.files);
	run->plan.idle = room;
}

static unsigned count_cells(const struct lab_plan *p)
{
	unsigned n = 0;

	for (size_t i = 0; i < lab_nsubjects(); i++) {
		const struct lab_subject s = lab_subject(i);

		for (size_t w = 0; w < lab_nworkloads; w++)
			if ((p->subjects >> i & 1) && (p->workloads >> w & 1))
				n += lab_takes_part(&s, lab_workloads[w].name);
	}
	return n;
}

static int prepare(struct lab_run *run, int argc, char **argv)
{
	int rc = lab_machine_init(&run->machine);

	if (rc == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		rc = -errno;
	if (rc == 0)
		rc = lab_guard_start(run->folder);
	if (rc == 0)
		rc = find_peers(run);
	if (rc)
		return rc;
	fit_idle(run);
	run->how = (struct lab_setting){ .cpus = run->machine.server_cpus,
		.connections = run->plan.idle + FILES_BESIDE_IDLE, .backend = run->plan.backend,
		.folder = run->folder };
	run->cells = count_cells(&run->plan);
	run->repeats_ns = (uint64_t)(run->cells * run->plan.rounds * run->plan.secs * (double)NS_PER_S / 8);
	run->began_ns = run->told_ns = clock_now_ns();
	lab_progress_plan(run);
	return begin_report(run, argc, argv);
}

static int measure(struct lab_run *run)
{
	int rc = 0;

	for (unsigned w = 0; w < lab_nworkloads && rc == 0; w++)
		if (run->plan.workloads >> w & 1)
			rc = lab_cells(run, w);
	json_object_set_new(run->report, "seconds",
		json_real((double)((clock_now_ns() - run->began_ns) / NS_PER_MS) / 1000));
	json_object_set_new(run->report, "stopped", json_boolean(lab_stopped()));
	return rc ? rc : lab_judge(run->report);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* Whether both files can be written, and are two: 0; else the exit status, after one line on stderr. */
static int check_files(const struct lab_plan *p)
{
	char *json, *page;
	bool same;

	if (lab_out_check(p->json) || lab_out_check(p->out))
		return 1;
	json = lab_out_place(p->json);
	page = lab_out_place(p->out);
	same = json && page && strcmp(json, page) == 0;
	free(json);
	free(page);
	if (same)
		fprintf(stderr, "offloop lab: --json %s and --out %s are one file; give each its own\n", p->json,
			p->out);
	return same ? 2 : 0;
}

static int write_json(const json_t *report, const char *path)
{
	char *json = json_dumps(report, JSON_INDENT(1));
	int rc = json ? lab_out_write(path, (struct slice){ json, strlen(json) }) : -ENOMEM;

	if (!json)
		fprintf(stderr, "offloop lab: cannot make %s: %s\n", path, strerror(-rc));
	free(json);
	return rc;
}

static int write_files(const struct lab_run *run)
{
	int json = write_json(run->report, run->plan.json);
	int page = lab_report_write(run->report, run->plan.out);

	if (json == 0 && page == 0)
		fprintf(stderr, "offloop lab: %s and %s are written\n", run->plan.out, run->plan.json);
	else if (json == 0 || page == 0)
		fprintf(stderr, "offloop lab: %s is written\n", json == 0 ? run->plan.json : run->plan.out);
	return json ? json : page;
}

/* 0 or -errno, after a line. */
static int make_folder(struct lab_run *run)
{
	int rc;

	if (!run->plan.peers || (run->folder = lab_folder_new(NULL)))
		return 0;
	rc = -errno;
	fprintf(stderr, "offloop lab: there is no folder for the files of --peers: %s (TMPDIR names another place)\n",
		strerror(-rc));
	return rc;
}

static void fini(struct lab_run *run)
{
	lab_guard_stop();
	lab_folder_free(run->folder);
	for (size_t i = 0; i < LAB_SUBJECTS_MAX; i++)
		lab_found_fini(&run->found[i]);
	json_decref(run->report);
}

static bool has_measured(const json_t *report)
{
	const json_t *cell;
	size_t i;

	json_array_foreach(json_object_get(report, "cells"), i, cell)
		if (strcmp(json_string_value(json_object_get(cell, "status")), "measured") == 0)
			return true;
	return false;
}

/* The exit status. */
static int lab(struct lab_run *run, int argc, char **argv)
{
	int rc = check_files(&run->plan);

	if (rc)
		return rc;
	catch_signals();
	if (make_folder(run))
		return 1;
	rc = prepare(run, argc, argv);
	if (rc == 0)
		rc = measure(run);
	if (rc)
		fprintf(stderr, "offloop lab: %s\n",
			rc == -EINTR ? "stopped before anything was measured" : strerror(-rc));
	else
		rc = write_files(run);
	if (stop_signal)
		return 128 + stop_signal;
	if (rc)
		return 1;
	if (has_measured(run->report))
		return 0;
	fprintf(stderr, "offloop lab: nothing could be measured: each cell of the report says why\n");
	return 1;
}

static int run(int argc, char **argv)
{
	static struct lab_run lab_run;
	char err[512];
	int rc, status;

	if (argc > 1 && strcmp(argv[1], "serve") == 0)
		return lab_serve(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return lab_peer(argc - 1, argv + 1);
	open_standard_streams();
	rc = lab_options(&lab_run.plan, argc, argv, err, sizeof(err));
	if (rc == 1) {
		printf("Usage: offloop %s\n\n%s", command_lab.usage, command_lab.details);
		return 0;
	}
	if (rc) {
		fprintf(stderr, "offloop lab: %s\n", err);
		return 2;
	}
	status = lab(&lab_run, argc, argv);
	fini(&lab_run);
	return status;
}

const struct command command_lab = { "lab", "lab [--peers] [OPTION ...]", "measure the models side by side",
	"Runs one app under each model (hybrid, asgi, tornado, wsgi, wsgi-sync) through the same workloads, and\n"
	"writes a report, lab.html, and what was measured, lab.json.  Where that changes something two variants are\n"
	"measured, too: tornado+offload, with handlers rewritten to offload what blocks, and hybrid+guard, with\n"
	"--guard demote.  Everything stays on the loopback.  It takes about two minutes, with --peers five, and\n"
	"with --long about five times as long; at its start it says how long about.\n"
	"\n"
	"  --peers            measure servers of other makers, too, as far as they are installed; those written in\n"
	"                     Python with the one that the environment's PYTHON names (/usr/bin/python3)\n"
	"  --only NAME,...    only these models and peers\n"
	"  --workloads W,...  only these: trivial, block10, block50, cpu, mixed, slow, idle, wrong-lane\n"
	"  --short, --long    3 rounds of 0.45 s (the default), or 6 rounds of 2 s\n"
	"  --rounds N         so many rounds, from 1 to 50\n"
	"  --secs S           samples of so many seconds, from 0.05 to 60\n"
	"  --guard CPUS       take a sample again when others used more of the CPUs than this (0.12)\n"
	"  --idle N           connections that rest in the workload idle (10000)\n"
	"  --backend NAME     what drives the models' loops: auto, uring or libevent\n"
	"  --out FILE         the report (lab.html)\n"
	"  --json FILE        what was measured (lab.json)\n"
	"\n"
	"offloop lab serve [OPTION ...] runs the app that is measured; offloop lab serve --help lists its options.\n"
	"offloop lab peer NAME DIR makes the folder DIR with a peer's files, and prints the command that starts it.\n"
	"\n"
	"An app of your own is measured by hand: it has the same models.  Start it under each, and let a load\n"
	"tool ask for what your clients ask for, as with wrk:\n"
	"  ./app --model hybrid --port 8000 &      and then asgi, tornado, wsgi, wsgi-sync\n"
	"  wrk -c 64 -d 10 --latency http://127.0.0.1:8000/path\n",
	run };
