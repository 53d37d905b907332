/* lab_subject.c: who is measured: offloop's models, and then the programs that lab_peers.c knows.
 *
 * Each model is given the settings that somebody who knows it would choose for this machine, and the report shows them:
 * a loop for each CPU where there is a loop, 40 threads where there is a pool of them (anyio's default, so FastAPI's
 * too), two processes a CPU and one more where a process does one thing at a time (gunicorn's advice).  All run on the
 * same CPUs, and peers by the same rule.
 *
 * Every model runs the same handlers.  Where that is not the whole story there is a variant, measured only where it
 * differs from its model: tornado with handlers rewritten to offload what blocks, which is how Tornado's programs are
 * written, and hybrid with the guard, which moves a handler that is in the wrong lane.  The guard learns from four
 * stalls of 50 ms, so that much time goes by before a sample of it counts.
 *
 * Tables and text only: nothing is started here.
 */
#include "cli/lab.h"
#include "cli/lab_peers.h"

#include <stdio.h>
#include <string.h>

static const struct lab_subject models[] = {
	{ .name = "hybrid", .what = "As declared: async handlers on the loop, sync ones on a thread of a bounded pool, "
		"as FastAPI and Starlette do.", .threads = "a loop for each CPU, pool of 40",
		.options = "--model hybrid --pool 40", .pool = 40 },
	{ .name = "asgi", .what = "Every handler on the loop, whatever it does: a pure ASGI app.",
		.threads = "a loop for each CPU", .options = "--model asgi" },
	{ .name = "tornado", .what = "Every handler on the loop, with a pool that a handler may offload to: what is "
		"not offloaded stops the loop.", .threads = "a loop for each CPU, pool of 40 to offload to",
		.options = "--model tornado --pool 40" },
	{ .name = "wsgi", .what = "Every handler on a thread of a bounded pool: Flask under gunicorn's threaded "
		"workers.",
		.threads = "pool of 40", .options = "--model wsgi --pool 40", .pool = 40 },
	{ .name = "wsgi-sync", .what = "A process does one request at a time and closes the connection: gunicorn's "
		"sync workers.", .threads = "one request a process", .options = "--model wsgi-sync", .many = true },
	{ .name = "tornado+offload", .what = "tornado with its handlers rewritten: what blocks is offloaded in the "
		"handler (ol_offload), as with Tornado's run_in_executor.",
		.threads = "a loop for each CPU, pool of 40 to offload to", .options = "--model tornado --pool 40",
		.as = "tornado", .only = "block10,block50,mixed", .pool = 40, .offloads = true },
	{ .name = "hybrid+guard", .what = "hybrid with --guard demote: an async handler that has blocked its loop four "
		"times goes to the pool.", .threads = "a loop for each CPU, pool of 40",
		.options = "--model hybrid --pool 40 --guard demote", .as = "hybrid", .only = "wrong-lane",
		.pool = 40, .settle_ms = 500 },
};

enum { MODELS = sizeof(models) / sizeof(models[0]) };

size_t lab_nsubjects(void)
{
	return MODELS + lab_npeers;
}

struct lab_subject lab_subject(size_t i)
{
	const struct lab_peer *peer = i < MODELS ? NULL : &lab_peers[i - MODELS];

	if (!peer)
		return models[i];
	return (struct lab_subject){ .name = peer->name, .what = peer->what, .threads = peer->threads,
		.offloads = peer->offloads, .timers = peer->timers, .peer = peer };
}

bool lab_takes_part(const struct lab_subject *s, const char *workload)
{
	size_t n = strlen(workload);

	for (const char *at = s->only; at; at = strchr(at, ','), at += at != NULL)
		if (strncmp(at, workload, n) == 0 && (at[n] == ',' || at[n] == 0))
			return true;
	return !s->only;
}

unsigned lab_processes(const struct lab_subject *s, const struct lab_setting *how)
{
	if (s->peer)
		return lab_peer_processes(s->peer, how->cpus);
	return s->many ? 2 * how->cpus + 1 : 1;
}

char *lab_model_command(const struct lab_subject *s, const struct lab_setting *how, const char *self, unsigned port)
{
	char workers[32] = "", *line;

	if (s->many)
		snprintf(workers, sizeof(workers), " --workers %u", lab_processes(s, how));
	if (asprintf(&line, "%s lab serve --port %u %s%s --loops %u --backend %s --connections-max %u --control off "
		"--log-level warn", self, port, s->options, workers, s->many ? 1 : how->cpus, how->backend,
		how->connections) < 0)
		return NULL;
	return line;
}
