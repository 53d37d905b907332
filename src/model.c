/* model.c: the rules of each --model: what it makes of an app that is written for the hybrid one.
 *
 * The same app runs under other frameworks' concurrency, so that models can be compared on equal code.  Each model is
 * true to its original in what a client can see: who waits for whom.
 *
 *   hybrid     FastAPI and Starlette: each handler in the lane it is declared in.
 *   asgi       a pure ASGI app under uvicorn: one loop, all handlers on it, and no pool: what is offloaded, and what is
 *              left for after the reply, holds the loop as well.
 *   tornado    the same, but ol_offload goes to its pool, as run_in_executor does.
 *   wsgi       Flask under gunicorn's threaded workers: every handler on a thread of one bounded pool, which the
 *              request has from its first byte to the last of its reply; a loop keeps connections that are idle.
 *   wsgi-sync  under gunicorn's sync workers: a process accepts a connection, reads its one request, answers and closes
 *              it, and only then accepts the next; others wait in the kernel's backlog.
 *
 * What differs from the originals: a handler of a route without .stream starts with the whole request; admit hooks run
 * on the loop, which also answers what no handler is asked about; limits and deadlines hold.
 *
 * Pure: numbers in, decisions out.  The lanes are set once, when an app's tables are compiled (endpoints.c), so that a
 * request asks no model where to go; what depends on one otherwise asks where it is rare.  Any thread.
 */
#include "model.h"

#include <stdio.h>

static const struct model models[] = {
	[MODEL_HYBRID] = { .name = "hybrid", .lane = MODEL_DECLARED },
	[MODEL_ASGI] = { .name = "asgi", .lane = MODEL_LOOP, .offload_inline = true, .loops = 1,
		.remedy = "run it under --model hybrid and declare it .sync: --model asgi has no threads" },
	[MODEL_TORNADO] = { .name = "tornado", .lane = MODEL_LOOP, .loops = 1,
		.remedy = "let it call what holds the loop by ol_offload" },
	[MODEL_WSGI] = { .name = "wsgi", .lane = MODEL_POOL, .slow_clients_hold = true, .loops = 1 },
	[MODEL_WSGI_SYNC] = { .name = "wsgi-sync", .lane = MODEL_POOL, .one_connection = true,
		.loops = 1, .threads = 1 },
};

const struct model *model_of(enum config_model m)
{
	return &models[m];
}

bool model_pooled(const struct model *m, bool declared)
{
	return m->lane == MODEL_DECLARED ? declared : m->lane == MODEL_POOL;
}

unsigned model_pool(const struct model *m, unsigned i)
{
	return m->lane == MODEL_POOL ? 0 : i;
}

bool model_works(const struct model *m, unsigned i)
{
	return model_pool(m, i) == i && !m->offload_inline;
}

bool model_fixes(const struct model *m, unsigned i, char *dst, size_t n)
{
	if (!model_works(m, i))
		snprintf(dst, n, "the server runs --model %s, in which this pool has no work", m->name);
	else if (m->threads)
		snprintf(dst, n, "the server runs --model %s, in which this pool is never resized", m->name);
	else
		return false;
	return true;
}

static const char *plural(unsigned n)
{
	return n == 1 ? "" : "s";
}

void model_text(char *dst, size_t n, const struct model *m, unsigned endpoints, unsigned loops, unsigned threads)
{
	int at = snprintf(dst, n, "model %s: %u endpoint%s ", m->name, endpoints, plural(endpoints));
	size_t used = at > 0 && (size_t)at < n ? (size_t)at : n;

	if (m->lane == MODEL_DECLARED)
		snprintf(dst + used, n - used, "as declared");
	else if (m->one_connection)
		snprintf(dst + used, n - used, "on one thread, one connection at a time");
	else if (m->lane == MODEL_POOL)
		snprintf(dst + used, n - used, "on pool default, %u thread%s", threads, plural(threads));
	else
		snprintf(dst + used, n - used, "on %u loop%s, ol_offload %s", loops, plural(loops),
			m->offload_inline ? "too" : "to its pools");
}
