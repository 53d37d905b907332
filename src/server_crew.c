/* server_crew.c: what joins pools and monitor, which do not know each other.
 *
 * A pool calls hooks on each of its threads, first and last: there the thread is made known to the monitor's crew, or
 * to nobody when the monitor is off.  The monitor in turn asks here what a pool is called and how busy it is, which
 * takes the pool's lock for a few instructions, and once a second lets the adviser have its look and the loops' load be
 * read.
 *
 * Threads: joining and leaving on the worker's own; what the monitor asks, on the monitor's.
 */
#include "server_crew.h"
#include "adviser.h"
#include "dispatch.h"
#include "server_load.h"
#include "watch.h"

#include <errno.h>

static void join(void *arg, const struct work_line *line)
{
	const struct server_crew *c = arg;

	crew_join(watch_crew(server_watch(c->server)), c->pool, line);
}

static void leave(void *arg, const struct work_line *line)
{
	const struct server_crew *c = arg;

	dispatch_thread_ends(NULL, line);
	crew_leave(watch_crew(server_watch(c->server)), line);
}

void server_crew_hook(struct pool_conf *conf, struct server_crew *c, const ol_server *s, unsigned i)
{
	*c = (struct server_crew){ s, i };
	conf->thread_start = join;
	conf->thread_stop = leave;
	conf->arg = c;
}

static const char *name_of(void *arg, unsigned pool)
{
	return pool_name(server_pool(arg, pool));
}

static void look_at(void *arg, unsigned pool, struct crew_pool *now)
{
	struct pool_stats s;

	pool_stats(server_pool(arg, pool), &s);
	*now = (struct crew_pool){ .limit = s.limit, .busy = s.running + s.blocked, .queued = s.queued,
		.oldest_ns = s.oldest_queued_ns };
}

static void tick(void *arg, uint64_t now_ns)
{
	adviser_look(server_adviser(arg), now_ns);
	server_load_look(server_load(arg));
}

int server_crew_watch(ol_server *s, struct endpoints *e, struct watch **out)
{
	const struct config *c = server_setup(s)->config;
	struct server_info info;
	struct watch_conf wc = { .nroutes = e->n, .limit_ns = c->stall_ms * NS_PER_MS, .log = server_setup(s)->log,
		.name = endpoints_name, .held = endpoints_held, .arg = e,
		.worker_limit_ns = c->worker_stall_ms * NS_PER_MS, .pool_name = name_of, .pool_look = look_at,
		.tick = tick, .pools_arg = s };

	server_info(s, &info);
	wc.loops = info.loops;
	wc.pools = info.pools;
	*out = watch_new(&wc);
	return *out ? 0 : -errno;
}
