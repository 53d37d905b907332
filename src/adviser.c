/* adviser.c: looks at a server's numbers and says what to change.
 *
 * What to say is decided in advice.c, by numbers alone; here they are gathered.  A window is what has happened since a
 * look that is one to two minutes old (younger at first: since the start).  For that two earlier readings are kept of
 * everything that is counted: `base`, which the window begins with, and `next`, which takes its place when it is a
 * minute old.  Holds of loops count from the start: a handler that blocks once an hour blocks.
 *
 * Each route and each pool has a place for each kind of advice.  What is given stays until its numbers no longer call
 * for it, by laxer thresholds than it came by; without numbers nothing is said.  The log is told when something becomes
 * true, and of the same thing not again within ten minutes.
 *
 * The monitor has it look once a second, and whoever asks for the advice does, too; so both may come at once, and one
 * mutex guards everything.  Under it pools, crew and the book of stalls are asked, each by a short lock of its own.
 * Nothing here is on a request's way.
 */
#include "adviser.h"
#include "advice.h"
#include "base/clock.h"
#include "base/thread.h"
#include "cpus.h"
#include "crew.h"
#include "exchange.h"
#include "lane.h"
#include "model.h"
#include "stall.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_NS (60 * NS_PER_S)
#define TELL_AGAIN_NS (600 * NS_PER_S)
#define STACK_ASSUMED ((size_t)8 << 20)

LOCK_ROLE(adviser_role);

enum route_advice { HOLDS_LOOP, NEEDS_NO_THREAD, INFLIGHT_REFUSES, ROUTE_ADVICES };
enum pool_advice { THREADS, QUEUE_REFUSES, WAITS_TOO_LONG, STREAMS_REFUSED, POOL_ADVICES };

static const char *const route_kinds[] = { "holds-loop", "needs-no-thread", "max-inflight" };
static const char *const pool_kinds[] = { "threads", "queue", "queue-timeout", "streams" };

/* One place for advice. */
struct given {
	struct advice *advice;          /* NULL: none is given */
	struct timespec since;
	uint64_t told_ns;               /* 0: never */
};

/* Of one pool at one moment: all of it only grows, but for `unfinished`. */
struct pool_reading {
	uint64_t at_ns;
	uint64_t jobs, waited, run_ns, refused, streams, timed_out;
	uint64_t wait[POOL_BUCKETS], wait_ns;
	struct crew_times times;
	bool timed;
};

/* Of one route. */
struct route_reading {
	uint64_t at_ns;
	uint64_t requests, refused;
	struct pool_hist wait, run;     /* in its pool */
	struct pool_sleeps sleeps;
};

struct pool_place {
	struct pool_reading base, next, now;
	struct given given[POOL_ADVICES];
	unsigned threads_max;
};

struct route_place {
	struct route_reading base, next, now;
	struct given given[ROUTE_ADVICES];
};

struct adviser {
	const ol_server *server;
	struct log *log;
	uint64_t stall_ns, start_ns;
	uint64_t looked_ns GUARDED_BY(adviser_role);    /* the last look */
	unsigned cpus, npools, nloops;
	size_t nroutes;
	const struct metrics_loop **loops;
	pthread_mutex_t mutex;
	struct pool_place *pools GUARDED_BY(adviser_role);
	struct route_place *routes GUARDED_BY(adviser_role);
};

static void lock(struct adviser *a) ACQUIRES(adviser_role);
static void unlock(struct adviser *a) RELEASES(adviser_role);
static void look(struct adviser *a, uint64_t now_ns) REQUIRES(adviser_role);
static void look_at_route(struct adviser *a, uint32_t i, uint64_t now_ns) REQUIRES(adviser_role);
static void look_at_pool(struct adviser *a, unsigned i, uint64_t now_ns) REQUIRES(adviser_role);
static json_t *all_json(struct adviser *a) REQUIRES(adviser_role);

static UNCHECKED void lock(struct adviser *a)
{
	pthread_mutex_lock(&a->mutex);
}

static UNCHECKED void unlock(struct adviser *a)
{
	pthread_mutex_unlock(&a->mutex);
}

/* ---- what there is to say ---------------------------------------------------------------------------------------- */

/* "GET /report held loop 0 ...: declare it .sync", "pool db: 16 threads ...: raise threads to about 40" */
static void write_text(char *dst, size_t n, const char *what, const char *name, const struct advice *advice)
{
	snprintf(dst, n, "%s%s%s%s %s: %s", what, what[0] ? " " : "", name, what[0] ? ":" : "", advice->evidence,
		advice->remedy);
}

#define TEXT_MAX (ADVICE_EVIDENCE_MAX + ADVICE_REMEDY_MAX + 256)

/* Gives what was found, or takes back what was given.  what: "pool" for a pool. */
static void give(struct adviser *a, struct given *g, const char *what, const char *name, bool found,
	const struct advice *advice, uint64_t now_ns)
{
	bool was = g->advice != NULL;
	char text[TEXT_MAX];

	if (!found) {
		free(g->advice);
		g->advice = NULL;
		return;
	}
	if (!was && !(g->advice = malloc(sizeof(*g->advice))))
		return;
	*g->advice = *advice;
	if (was)
		return;
	clock_gettime(CLOCK_REALTIME, &g->since);
	if (g->told_ns && now_ns - g->told_ns < TELL_AGAIN_NS)
		return;
	g->told_ns = now_ns;
	write_text(text, sizeof(text), what, name, advice);
	log_line(a->log, LOG_WARN, SLICE("advice"), (struct log_field[]){ LOG_FIELD_STR("text", slice_of(text)) }, 1);
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

static struct pool *pool_of(const struct adviser *a, const struct endpoint *e)
{
	return e->pool_name ? server_pool(a->server, e->pool_index) : NULL;
}

static void read_route(const struct adviser *a, uint32_t i, struct route_reading *r, uint64_t now_ns)
{
	const struct endpoint *e = server_route(a->server, i);
	struct pool *pool = pool_of(a, e);

	*r = (struct route_reading){ .at_ns = now_ns };
	if (e->inflight) {
		r->requests = metrics_route_requests(a->loops, a->nloops, i);
		r->refused = server_route_refused(a->server, i);
	}
	if (pool) {
		pool_hist(pool, i, &r->wait, &r->run);
		r->sleeps = pool_sleeps(pool, i);
	}
}

static struct pool_hist hist_since(const struct pool_hist *now, const struct pool_hist *base)
{
	struct pool_hist d = { .count = now->count - base->count, .sum_ns = now->sum_ns - base->sum_ns };

	for (unsigned i = 0; i < POOL_BUCKETS; i++)
		d.bucket[i] = now->bucket[i] - base->bucket[i];
	return d;
}

/* What its lane says of an .async route. */
static void add_lane(const struct endpoint *e, struct advice_hold *in)
{
	struct lane_look look;

	if (!e->lane)
		return;
	lane_look(e->lane, &look);
	in->streams = look.streams;
	if (look.pooled)
		in->mover = look.pin == LANE_SYNC ? "someone" : "the guard";
}

/* An .async route that holds its loop. */
static bool holds(const struct adviser *a, uint32_t i, struct advice *advice)
{
	struct watch *watch = server_watch(a->server);
	struct stall_book *book = watch ? watch_book(watch) : NULL;
	struct advice_hold in = { .cpus = a->cpus, .call = "",
		.remedy = model_of(server_setup(a->server)->config->model)->remedy };
	struct stall_hold worst;

	if (!book || server_route(a->server, i)->pool_name)
		return false;
	in.blocked = stall_total(book, i, STALL_BLOCKED);
	in.cpu = stall_total(book, i, STALL_CPU);
	if (in.blocked + in.cpu < ADVICE_HOLDS ||
		!stall_worst(book, i, in.blocked >= in.cpu ? STALL_BLOCKED : STALL_CPU, &worst))
		return false;
	in.loop = worst.loop;
	in.ns = worst.ns;
	in.call = worst.syscall;
	in.victims = worst.victims;
	add_lane(server_route(a->server, i), &in);
	return advice_hold(&in, advice);
}

/* A .sync route that needs no thread; an .adaptive one finds its way by itself, and what a model has put there is not
 * the app's to change. */
static bool is_short(const struct adviser *a, uint32_t i, const struct route_place *p, bool was, struct advice *advice)
{
	const struct endpoint *e = server_route(a->server, i);
	struct pool_hist wait = hist_since(&p->now.wait, &p->base.wait), run = hist_since(&p->now.run, &p->base.run);
	struct advice_short in = { .pool = e->pool_name, .runs = run.count, .stall_ns = a->stall_ns,
		.sampled = p->now.sleeps.sampled - p->base.sleeps.sampled,
		.slept = p->now.sleeps.slept - p->base.sleeps.slept };

	if (!e->pool_name || e->lane || e->by_model || e->stream || run.count == 0 || wait.count == 0)
		return false;
	in.p99_ns = advice_quantile_bound(pool_bucket_ns, run.bucket, POOL_BUCKETS, 0.99);
	in.p999_ns = advice_quantile_bound(pool_bucket_ns, run.bucket, POOL_BUCKETS, 0.999);
	in.hop_ns = wait.sum_ns / wait.count;
	return advice_short(&in, was, advice);
}

static bool inflight_refuses(const struct adviser *a, uint32_t i, const struct route_place *p, bool was,
	struct advice *advice)
{
	struct advice_refused in = { .refused = p->now.refused - p->base.refused,
		.offered = p->now.requests - p->base.requests, .window_ns = p->now.at_ns - p->base.at_ns };
	char what[96], remedy[96];

	if (in.refused == 0)
		return false;
	snprintf(what, sizeof(what), "%u of its handlers being in flight",
		server_route_inflight_max(a->server, i));
	snprintf(remedy, sizeof(remedy), "raise its .max_inflight (%u)", server_route_inflight_max(a->server, i));
	in.what = what;
	in.remedy = remedy;
	return advice_refused(&in, was, advice);
}

static void look_at_route(struct adviser *a, uint32_t i, uint64_t now_ns)
{
	struct route_place *p = &a->routes[i];
	const char *name = server_route(a->server, i)->name;
	struct given *g = p->given;
	struct advice advice;

	read_route(a, i, &p->now, now_ns);
	if (now_ns - p->next.at_ns >= WINDOW_NS) {
		p->base = p->next;
		p->next = p->now;
	}
	give(a, &g[HOLDS_LOOP], "", name, holds(a, i, &advice), &advice, now_ns);
	give(a, &g[NEEDS_NO_THREAD], "", name, is_short(a, i, p, g[NEEDS_NO_THREAD].advice, &advice), &advice, now_ns);
	give(a, &g[INFLIGHT_REFUSES], "", name, inflight_refuses(a, i, p, g[INFLIGHT_REFUSES].advice, &advice), &advice,
		now_ns);
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

static void read_pool(const struct adviser *a, unsigned i, struct pool_reading *r, struct pool_stats *stats,
	uint64_t now_ns)
{
	struct crew *crew = watch_crew(server_watch(a->server));
	const struct pool *pool = server_pool(a->server, i);
	struct server_refused refused;

	*r = (struct pool_reading){ .at_ns = now_ns };
	server_pool_refused(a->server, i, &refused);
	pool_stats(pool, stats);
	r->run_ns = stats->run_ns;
	r->waited = stats->waited;
	r->refused = refused.queue_full;
	r->streams = refused.streams;
	r->timed_out = refused.queue_timeout;
	r->timed = crew && crew_times(crew, i, now_ns, &r->times);
	for (uint32_t k = 0; k <= a->nroutes; k++) {
		struct pool_hist wait, run;

		pool_hist(pool, k, &wait, &run);
		for (unsigned j = 0; j < POOL_BUCKETS; j++)
			r->wait[j] += wait.bucket[j];
		r->wait_ns += wait.sum_ns;
		r->jobs += wait.count;
	}
}

/* What sets a pool's threads (queue). */
static const char *setting_of(const struct adviser *a, unsigned i, bool queue)
{
	if (i == 0)
		return queue ? "--queue" : "--pool";
	if (i == a->npools - 1)
		return queue ? "--background-queue" : "--background";
	return queue ? ".queue" : ".threads";
}

static uint64_t since(uint64_t now, uint64_t base)
{
	return now > base ? now - base : 0;
}

static bool threads(const struct adviser *a, unsigned i, const struct pool_place *p, const struct pool_stats *stats,
	bool was, struct advice *advice)
{
	const struct pool_reading *now = &p->now, *base = &p->base;
	struct advice_pool in = { .setting = setting_of(a, i, false), .threads = stats->limit, .cpus = a->cpus,
		.threads_max = p->threads_max, .window_ns = now->at_ns - base->at_ns, .jobs = now->jobs - base->jobs,
		.waited = now->waited - base->waited, .refused = now->refused - base->refused,
		.wait_ns = now->wait_ns - base->wait_ns,
		.known = now->timed && base->timed,
		.cpu_ns = since(now->times.cpu_ns, base->times.cpu_ns),
		.runnable_ns = since(now->times.waited_ns, base->times.waited_ns),
		.busy_ns = since(now->run_ns + now->times.unfinished_ns, base->run_ns + base->times.unfinished_ns),
		.age_ns = now->at_ns - a->start_ns, .done = stats->done, .used_max = stats->busy_max };
	uint64_t wait[POOL_BUCKETS];

	for (unsigned j = 0; j < POOL_BUCKETS; j++)
		wait[j] = now->wait[j] - base->wait[j];
	in.wait_p99_ns = advice_quantile_about(pool_bucket_ns, wait, POOL_BUCKETS, 0.99);
	return advice_threads(&in, was, advice);
}

static bool refuses(const struct pool_place *p, enum pool_advice kind, const char *what, const char *remedy,
	uint64_t refused, struct advice *advice)
{
	struct advice_refused in = { .what = what, .remedy = remedy, .refused = refused,
		.offered = p->now.jobs - p->base.jobs + refused, .window_ns = p->now.at_ns - p->base.at_ns };

	return advice_refused(&in, p->given[kind].advice, advice);
}

static void look_at_refusals(struct adviser *a, unsigned i, struct pool_place *p, const struct pool_stats *stats,
	uint64_t now_ns)
{
	const char *name = pool_name(server_pool(a->server, i)), *queue = setting_of(a, i, true);
	struct advice advice;
	char what[96], remedy[128];

	snprintf(what, sizeof(what), "its queue of %u being full", stats->queue_max);
	snprintf(remedy, sizeof(remedy), "raise %s or %s", setting_of(a, i, false), queue);
	give(a, &p->given[QUEUE_REFUSES], "pool", name, refuses(p, QUEUE_REFUSES, what, remedy,
		p->now.refused - p->base.refused, &advice), &advice, now_ns);
	snprintf(remedy, sizeof(remedy), "raise %s, or its queue_timeout", setting_of(a, i, false));
	give(a, &p->given[WAITS_TOO_LONG], "pool", name, refuses(p, WAITS_TOO_LONG,
		"which waited longer than their queue_timeout", remedy, p->now.timed_out - p->base.timed_out, &advice),
		&advice, now_ns);
	snprintf(remedy, sizeof(remedy), "raise --sync-streams-max or %s", setting_of(a, i, false));
	give(a, &p->given[STREAMS_REFUSED], "pool", name, refuses(p, STREAMS_REFUSED,
		"so many .stream requests holding its threads", remedy, p->now.streams - p->base.streams, &advice),
		&advice, now_ns);
}

static void look_at_pool(struct adviser *a, unsigned i, uint64_t now_ns)
{
	struct pool_place *p = &a->pools[i];
	struct given *g = &p->given[THREADS];
	struct pool_stats stats;
	struct advice advice;

	read_pool(a, i, &p->now, &stats, now_ns);
	if (now_ns - p->next.at_ns >= WINDOW_NS) {
		p->base = p->next;
		p->next = p->now;
	}
	give(a, g, "pool", pool_name(server_pool(a->server, i)), threads(a, i, p, &stats, g->advice, &advice), &advice,
		now_ns);
	look_at_refusals(a, i, p, &stats, now_ns);
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

/* Who comes with a time read before another's look goes by that one's: windows never run backwards. */
static void look(struct adviser *a, uint64_t now_ns)
{
	if (now_ns < a->looked_ns)
		now_ns = a->looked_ns;
	a->looked_ns = now_ns;
	for (uint32_t i = 0; i < a->nroutes; i++)
		look_at_route(a, i, now_ns);
	for (unsigned i = 0; i < a->npools; i++)
		look_at_pool(a, i, now_ns);
}

void adviser_look(struct adviser *a, uint64_t now_ns)
{
	if (!a)
		return;
	lock(a);
	look(a, now_ns);
	unlock(a);
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

static void append(json_t *all, const struct given *g, const char *kind, const char *what, const char *name,
	const struct endpoint *e, const char *pool)
{
	char time[ISO_TIME_LEN + 1] = "", text[TEXT_MAX];

	if (!g->advice)
		return;
	iso_time_format(time, g->since);
	write_text(text, sizeof(text), what, name, g->advice);
	json_array_append_new(all, json_pack("{ss ss? ss? ss? ss? ss? ss? ss ss ss ss}", "kind", kind, "name",
		e ? e->name : NULL, "method", e ? metrics_method(e->pattern->method) : NULL, "route",
		e ? e->pattern->text : NULL, "pool", pool, "lane",
		!e ? NULL : endpoint_pooled(e) ? "sync" : "async", "declared", e ? e->declared : NULL,
		"evidence", g->advice->evidence, "remedy", g->advice->remedy, "text", text, "since", time));
}

static json_t *all_json(struct adviser *a)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < a->nroutes; i++) {
		const struct endpoint *e = server_route(a->server, i);

		for (unsigned k = 0; k < ROUTE_ADVICES; k++)
			append(all, &a->routes[i].given[k], route_kinds[k], "", e->name, e, e->pool_name);
	}
	for (unsigned i = 0; i < a->npools; i++) {
		const char *name = pool_name(server_pool(a->server, i));

		for (unsigned k = 0; k < POOL_ADVICES; k++)
			append(all, &a->pools[i].given[k], pool_kinds[k], "pool", name, NULL, name);
	}
	return all;
}

json_t *adviser_json(struct adviser *a)
{
	json_t *all;

	if (!a)
		return json_array();
	lock(a);
	look(a, clock_now_ns());
	all = all_json(a);
	unlock(a);
	return all;
}

/* ---- made and unmade --------------------------------------------------------------------------------------------- */

/* The number in a file, as of cgroup's limits; `most` when there is none ("max"). */
static uint64_t limit_in(const char *path, uint64_t most)
{
	FILE *f = fopen(path, "re");
	unsigned long long n;

	if (!f)
		return most;
	if (fscanf(f, "%llu", &n) != 1 || n > most)
		n = most;
	fclose(f);
	return n;
}

/* Threads whose stacks fit into half of the memory, and that the cgroup lets be. */
static unsigned threads_max(const struct pool *pool)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
	size_t stack = pool_stack(pool) ? pool_stack(pool) : STACK_ASSUMED;
	uint64_t n = limit_in("/sys/fs/cgroup/memory.max", memory) / 2 / stack;

	n = n > POOL_THREADS_MAX ? POOL_THREADS_MAX : n;
	return (unsigned)limit_in("/sys/fs/cgroup/pids.max", n);
}

UNCHECKED struct adviser *adviser_new(const ol_server *s)
{
	struct adviser *a = calloc(1, sizeof(*a));
	struct server_info info;
	struct pool_stats stats;

	if (!a)
		return NULL;
	server_info(s, &info);
	a->server = s;
	a->log = server_setup(s)->log;
	a->stall_ns = server_setup(s)->config->stall_ms * NS_PER_MS;
	a->start_ns = clock_now_ns();
	a->cpus = cpus_allowed("");
	a->npools = info.pools;
	a->nloops = info.loops;
	a->nroutes = router_count(server_router(s));
	pthread_mutex_init(&a->mutex, NULL);
	a->pools = calloc(a->npools, sizeof(*a->pools));
	a->routes = calloc(a->nroutes ? a->nroutes : 1, sizeof(*a->routes));
	a->loops = calloc(a->nloops, sizeof(*a->loops));
	if (!a->pools || !a->routes || !a->loops) {
		adviser_free(a);
		errno = ENOMEM;
		return NULL;
	}
	for (unsigned i = 0; i < a->nloops; i++)
		a->loops[i] = server_metrics(s, i);
	for (uint32_t i = 0; i < a->nroutes; i++) {
		read_route(a, i, &a->routes[i].next, a->start_ns);
		a->routes[i].base = a->routes[i].next;
	}
	for (unsigned i = 0; i < a->npools; i++) {
		a->pools[i].threads_max = threads_max(server_pool(s, i));
		read_pool(a, i, &a->pools[i].next, &stats, a->start_ns);
		a->pools[i].base = a->pools[i].next;
	}
	return a;
}

UNCHECKED void adviser_free(struct adviser *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; a->routes && i < a->nroutes; i++)
		for (unsigned k = 0; k < ROUTE_ADVICES; k++)
			free(a->routes[i].given[k].advice);
	for (unsigned i = 0; a->pools && i < a->npools; i++)
		for (unsigned k = 0; k < POOL_ADVICES; k++)
			free(a->pools[i].given[k].advice);
	free(a->pools);
	free(a->routes);
	free(a->loops);
	pthread_mutex_destroy(&a->mutex);
	free(a);
}
