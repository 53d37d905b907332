/* endpoints.c: checks an app's tables once, at start, and compiles them.
 *
 * The tables are const data of the app's, perhaps compiled against an older header whose structs were shorter: each
 * element is copied by the app's own stride (options_element), and a member it does not know reads as "not set".
 * Routers are mounted by walking them with the prefix; every route becomes one pattern of the router and, at the same
 * index, one endpoint.  What runs around its handler is compiled in endpoints_chain.c.  Where --model decides where
 * handlers run (model.c), that is done here: the app is checked as declared, and its endpoints are then placed.
 *
 * Whatever is wrong here would be wrong at every request, so it is refused before the server listens.  [setup] only.
 */
#include "endpoints.h"
#include "chain.h"
#include "dispatch.h"
#include "endpoints_chain.h"
#include "method.h"
#include "model.h"
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT "default"
#define BACKGROUND "background"
#define DEFAULT_THREADS 40
#define DEFAULT_QUEUE 1024
#define DEFAULT_TARGET_MS 5
#define DEFAULT_INTERVAL_MS 100
#define STACK_MAX ((size_t)1 << 30)
#define POOL_NAME_MAX 64
#define HOLD_BUDGETS 10         /* what demotes an adaptive route, in its budgets */

struct build {
	struct endpoints *e;
	struct endpoints_chains chains;
	const struct config *config;
	const struct model *model;
	char *err;
	size_t err_n;
};

static int __attribute__((format(printf, 2, 3))) refuse(struct build *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b->err, b->err_n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

/* A name is a label of metrics, a word of the log, and a segment of the control plane's paths. */
static int check_pool_name(struct build *b, const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
	size_t n = strspn(name, good);

	if (name[n] == '\0' && n <= POOL_NAME_MAX)
		return 0;
	return refuse(b, "pool \"%.*s...\": a name is at most %d letters, digits, '_', '-' and '.'",
		(int)(n < POOL_NAME_MAX ? n : POOL_NAME_MAX), name, POOL_NAME_MAX);
}

static int check_pool(struct build *b, const struct ol_pool *p)
{
	if (!p->name || !*p->name)
		return refuse(b, "a pool has no name: set .name");
	if (check_pool_name(b, p->name) < 0)
		return -EINVAL;
	if (strcmp(p->name, DEFAULT) == 0)
		return refuse(b, "pool \"%s\" is always there: size it by --pool and --queue", p->name);
	if (strcmp(p->name, BACKGROUND) == 0)
		return refuse(b, "pool \"%s\" is always there: size it by --background and --background-queue",
			p->name);
	for (unsigned i = 0; i < b->e->npools; i++)
		if (strcmp(b->e->pools[i].name, p->name) == 0)
			return refuse(b, "pool \"%s\" is declared twice: give one another name", p->name);
	if (p->threads > POOL_THREADS_MAX)
		return refuse(b, "pool \"%s\": %u .threads are not in 1..%d", p->name, p->threads, POOL_THREADS_MAX);
	if (p->queue > POOL_QUEUE_MAX)
		return refuse(b, "pool \"%s\": a .queue of %u is not in 1..%d", p->name, p->queue, POOL_QUEUE_MAX);
	if (p->queue_timeout > DAY_MS)
		return refuse(b, "pool \"%s\": .queue_timeout is in milliseconds, and %u are not in 1..%d", p->name,
			p->queue_timeout, DAY_MS);
	if (p->spares > POOL_THREADS_MAX)
		return refuse(b, "pool \"%s\": %u .spares are not in 0..%d", p->name, p->spares, POOL_THREADS_MAX);
	if (p->stack > STACK_MAX)
		return refuse(b, "pool \"%s\": a .stack of %zu bytes is not in 0..%zu", p->name, p->stack, STACK_MAX);
	if (!p->codel && (p->codel_target || p->codel_interval))
		return refuse(b, "pool \"%s\": .codel_target and .codel_interval are for .codel = 1", p->name);
	return 0;
}

/* What was left out is filled in; what then does not fit together is refused. */
static int complete_pool(struct build *b, struct ol_pool *p)
{
	p->queue_timeout = p->queue_timeout ? p->queue_timeout : (unsigned)b->config->queue_timeout_ms;
	p->codel_target = p->codel_target ? p->codel_target : DEFAULT_TARGET_MS;
	p->codel_interval = p->codel_interval ? p->codel_interval : DEFAULT_INTERVAL_MS;
	if (p->codel && p->codel_target >= p->codel_interval)
		return refuse(b, "pool \"%s\": a CoDel target of %u ms is not below its interval of %u ms", p->name,
			p->codel_target, p->codel_interval);
	return 0;
}

static struct ol_pool default_pool(const struct config *c)
{
	return (struct ol_pool){ .name = DEFAULT, .threads = c->pool_threads, .queue = c->pool_queue,
		.spares = c->pool_spares, .codel = c->codel, .codel_target = (unsigned)c->codel_target_ms,
		.codel_interval = (unsigned)c->codel_interval_ms };
}

struct pool_conf endpoints_pool_conf(const struct endpoints *e, unsigned i)
{
	const struct ol_pool *p = &e->pools[i];

	return (struct pool_conf){ .name = p->name, .threads = p->threads, .queue = p->queue, .stack = p->stack,
		.spares = p->spares, .codel = p->codel != 0, .codel_target_ns = p->codel_target * NS_PER_MS,
		.codel_interval_ns = p->codel_interval * NS_PER_MS, .tags = e->n + 1,
		.thread_stop = dispatch_thread_ends };
}

static int add_pools(struct build *b, const struct ol_app *app)
{
	struct endpoints *e = b->e;
	int rc;

	e->pools = calloc(app->npools + 2, sizeof(*e->pools));
	if (!e->pools)
		return refuse(b, "out of memory");
	e->pools[e->npools++] = default_pool(b->config);
	rc = complete_pool(b, &e->pools[0]);
	for (size_t i = 0; i < app->npools && rc == 0; i++) {
		struct ol_pool *p = &e->pools[e->npools];

		options_element(p, sizeof(*p), app->pools, app->pool_size, i);
		rc = check_pool(b, p);
		p->threads = p->threads ? p->threads : DEFAULT_THREADS;
		p->queue = p->queue ? p->queue : DEFAULT_QUEUE;
		if (rc == 0)
			rc = complete_pool(b, p);
		if (rc == 0)
			e->npools++;
	}
	/* Last, so that every other pool may offload to it (wait.c). */
	e->pools[e->npools] = (struct ol_pool){ .name = BACKGROUND, .threads = b->config->background_threads,
		.queue = b->config->background_queue };
	if (rc == 0)
		rc = complete_pool(b, &e->pools[e->npools++]);
	return rc;
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

static int find_pool(struct build *b, const char *route, const char *name, unsigned *out)
{
	for (unsigned i = 0; i < b->e->npools; i++) {
		if (!name || strcmp(b->e->pools[i].name, name) == 0) {
			*out = i;
			return 0;
		}
	}
	return refuse(b, "%s: no pool is called \"%s\": declare it with OL_POOLS", route, name);
}

static int lanes_of(const struct ol_route *r)
{
	return (r->async != NULL) + (r->sync != NULL) + (r->adaptive != NULL);
}

static int check_route(struct build *b, const char *name, const struct ol_route *r)
{
	if (lanes_of(r) == 0)
		return refuse(b, "%s has no lane: set .async (runs on the loop), .sync (runs on a pool) or .adaptive "
			"(the server chooses)", name);
	if (lanes_of(r) > 1)
		return refuse(b, "%s has %s lanes: set one of .async, .sync and .adaptive", name,
			lanes_of(r) == 2 ? "two" : "three");
	if (r->async && r->pool)
		return refuse(b, "%s: .pool is for .sync and .adaptive routes: an .async one runs on the loop", name);
	if (r->sync && r->stack)
		return refuse(b, "%s: .stack is for .async and .adaptive routes: a .sync one has that of its pool's "
			"threads", name);
	if (r->stack > STACK_MAX)
		return refuse(b, "%s: a .stack of %zu bytes is not in 0..%zu", name, r->stack, STACK_MAX);
	if (r->async && (r->queue_timeout || r->priority))
		return refuse(b, "%s: %s is for .sync and .adaptive routes: an .async one waits for no thread", name,
			r->queue_timeout ? ".queue_timeout" : ".priority");
	if (r->timeout > DAY_MS || r->queue_timeout > DAY_MS)
		return refuse(b, "%s: %s is in milliseconds, and %u are not in 1..%d", name,
			r->timeout > DAY_MS ? ".timeout" : ".queue_timeout",
			r->timeout > DAY_MS ? r->timeout : r->queue_timeout, DAY_MS);
	if (r->priority != OL_PRIORITY_NORMAL && r->priority != OL_PRIORITY_HIGH)
		return refuse(b, "%s: .priority is %d: set OL_PRIORITY_NORMAL or OL_PRIORITY_HIGH", name,
			(int)r->priority);
	return 0;
}

static int grow(struct build *b)
{
	struct endpoints *e = b->e;
	uint32_t room = e->room ? e->room * 2 : 32;
	struct endpoint *all;

	if (e->n < e->room)
		return 0;
	all = realloc(e->all, room * sizeof(*all));
	if (!all)
		return refuse(b, "out of memory");
	memset(all + e->room, 0, (room - e->room) * sizeof(*all));
	e->all = all;
	e->room = room;
	return 0;
}

static struct inflight *new_inflight(unsigned max)
{
	struct inflight *in = aligned_alloc(_Alignof(struct inflight), sizeof *in);

	if (!in)
		return NULL;
	atomic_init(&in->now, 0);
	atomic_init(&in->refused, 0);
	in->max = max;
	return in;
}

static void set_pool(struct endpoint *p, const struct ol_route *r, const struct ol_pool *pool)
{
	p->pool_name = p->pooled ? pool->name : NULL;
	p->queue_timeout_ns = (r->queue_timeout ? r->queue_timeout : pool->queue_timeout) * NS_PER_MS;
	p->priority = r->priority == OL_PRIORITY_HIGH;
}

/* What a route needs that may block; NULL: nothing. */
static const char *blocking_need(const struct chain *c)
{
	for (unsigned i = 0; c && i < c->nneeds; i++)
		if (c->needs[i]->blocking)
			return c->needs[i]->name;
	return NULL;
}

/* For a route that may move, and may be moved by hand. */
static int add_lane(struct build *b, struct endpoint *p, const struct ol_route *r)
{
	enum config_guard guard = b->config->guard;
	const char *need = blocking_need(p->chain);

	if (r->sync || (r->async && guard == GUARD_OFF) || p->by_model)
		return 0;
	p->adaptive = r->adaptive && !need;
	p->lane = lane_new(&b->e->lanes, r->adaptive ? LANE_ADAPTIVE : guard == GUARD_WARN ? LANE_WATCHED :
		LANE_GUARDED, p->name, need);
	return p->lane ? 0 : refuse(b, "out of memory");
}

/* The largest stack that a handler of the app's, or what it offloads or leaves for later, may count on. */
static size_t largest_stack(const struct endpoints *e, size_t stack)
{
	for (unsigned i = 0; i < e->npools; i++)
		if (pool_stack_of(e->pools[i].stack) > stack)
			stack = pool_stack_of(e->pools[i].stack);
	return stack;
}

/* Where its handler runs, when that is the model's to say.  It gets at least the stack it would have had, and so does
 * what it offloads, which runs there too. */
static void place(struct build *b, struct endpoint *p, const struct ol_route *r)
{
	struct endpoints *e = b->e;
	size_t stack = largest_stack(e, r->stack);

	p->by_model = true;
	p->pool_index = model_pool(b->model, p->pool_index);
	if (!p->pooled) {
		p->stack = stack;
		return;
	}
	if (stack > pool_stack_of(e->pools[0].stack))
		e->pools[0].stack = stack;
	set_pool(p, r, &e->pools[p->pool_index]);
}

/* data: what the router keeps for the pattern, the app's own element. */
static int add_route(struct build *b, const char *prefix, const struct endpoints_mount *mount,
	const struct ol_route *r, const void *data)
{
	const char *method = method_name(r->method);
	struct endpoints *e = b->e;
	struct chain *chain = NULL;
	struct endpoint *p;
	char *name;
	int rc;

	if (!method || !r->path)
		return refuse(b, "%s%s: a route needs a method and a path: declare it with OL_GET, OL_POST, ..., "
			"or with OL_MOUNT and a router", prefix, r->path ? r->path : "");
	rc = grow(b);
	if (rc < 0)
		return rc;
	if (asprintf(&name, "%s %s%s", method, prefix, r->path) < 0)
		return refuse(b, "out of memory");
	p = &e->all[e->n++];
	*p = (struct endpoint){
		.handler = r->async ? r->async : r->sync ? r->sync : r->adaptive,
		.pooled = model_pooled(b->model, !r->async),
		.stream = r->stream,
		.index = e->n - 1,
		.stack = r->stack,
		.body_max = r->body_max ? r->body_max : b->config->body_max,
		.timeout_ns = r->timeout * NS_PER_MS,
		.data = r->data,
		.declared = r->async ? "async" : r->sync ? "sync" : "adaptive",
		.name = name,
	};
	if (r->max_inflight > 0 && !(p->inflight = new_inflight(r->max_inflight)))
		return refuse(b, "out of memory");
	rc = check_route(b, name, r);
	if (rc == 0)
		rc = router_add(e->router, r->method, prefix, r->path, data, b->err, b->err_n);
	if (rc == 0)
		rc = find_pool(b, name, r->pool, &p->pool_index);
	if (rc == 0)
		rc = endpoints_chain(&b->chains, name, !r->async, mount, r, &chain);
	p->chain = chain;
	if (rc == 0 && model_decides(b->model))
		place(b, p, r);
	if (rc == 0)
		rc = add_lane(b, p, r);
	if (rc == 0 && (p->pooled || p->lane) && !p->by_model)
		set_pool(p, r, &e->pools[p->pool_index]);
	return rc;
}

/* Where the app says how errors look, those of requests no route takes are shown to it on a fiber: by an endpoint
 * behind all others, which no pattern leads to; or where the model has all handlers. */
static int add_unrouted(struct build *b)
{
	static const struct route_pattern none = { .text = "" };
	static const struct ol_route route = { .path = "" };
	struct endpoints *e = b->e;
	struct chain *chain = NULL;
	char *name = strdup("requests without a route");
	int rc = name ? grow(b) : refuse(b, "out of memory");

	if (rc == 0)
		rc = endpoints_chain(&b->chains, name, false, NULL, &route, &chain);
	if (rc < 0) {
		free(name);
		return rc;
	}
	e->all[e->n] = (struct endpoint){ .pattern = &none, .index = e->n, .body_max = b->config->body_max,
		.pooled = model_pooled(b->model, false), .declared = "async", .name = name, .chain = chain };
	if (model_decides(b->model))
		place(b, &e->all[e->n], &route);
	return 0;
}

static int add_routes(struct build *b, const char *prefix, const struct endpoints_mount *mount,
	const struct ol_route *routes, size_t n, size_t stride, unsigned depth);

/* Members that mean nothing on a mount. */
static bool has_more_than_a_mount(const struct ol_route *r)
{
	return r->adaptive || r->pool || r->stack || r->body_max || r->stream || r->data || r->max_inflight ||
		r->timeout || r->queue_timeout || r->priority;
}

static int mount_router(struct build *b, const char *prefix, const struct endpoints_mount *outer,
	const struct ol_route *r, unsigned depth)
{
	struct endpoints_mount mount = { outer, r };
	char *whole;
	int rc;

	if (r->async || r->sync || r->adaptive)
		return refuse(b, "%s%s: a mount has no handler of its own", prefix, r->path ? r->path : "");
	if (has_more_than_a_mount(r))
		return refuse(b, "%s%s: a mount has .needs and .middleware only: set the others on its routes", prefix,
			r->path ? r->path : "");
	if (!r->path || r->path[0] != '/' || r->path[strlen(r->path) - 1] == '/')
		return refuse(b, "mount \"%s\": a prefix begins with / and does not end with it",
			r->path ? r->path : "");
	if (depth >= MOUNT_DEPTH_MAX)
		return refuse(b, "%s%s: routers are mounted more than %d deep: is one mounted in itself?", prefix,
			r->path, MOUNT_DEPTH_MAX);
	if (asprintf(&whole, "%s%s", prefix, r->path) < 0)
		return refuse(b, "out of memory");
	rc = add_routes(b, whole, &mount, r->mount->routes, r->mount->nroutes, r->mount->route_size, depth + 1);
	free(whole);
	return rc;
}

static int add_routes(struct build *b, const char *prefix, const struct endpoints_mount *mount,
	const struct ol_route *routes, size_t n, size_t stride, unsigned depth)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		struct ol_route r;

		options_element(&r, sizeof(r), routes, stride, i);
		if (r.mount)
			rc = mount_router(b, prefix, mount, &r, depth);
		else
			rc = add_route(b, prefix, mount, &r, (const char *)routes + i * stride);
	}
	return rc;
}

void endpoints_held(void *arg, uint32_t index, uint64_t hold_ns, enum stall_cause cause)
{
	const struct endpoints *e = arg;

	if (e->all[index].lane && stall_blames(cause))
		lane_held(e->all[index].lane, hold_ns, cause == STALL_CPU ? LANE_CPU : LANE_BLOCKED);
}

/* A hold on the loop may be some times longer than a run in the pool, of which one in a hundred is let off; but what is
 * a stall is always too long. */
static void set_lane_limits(struct lane_limits *lim, const struct config *c)
{
	*lim = (struct lane_limits){ .budget_ns = c->adaptive_us * NS_PER_US, .stall_ns = c->stall_ms * NS_PER_MS,
		.runs = c->adaptive_runs };
	lim->hold_ns = HOLD_BUDGETS * lim->budget_ns;
	if (lim->hold_ns > lim->stall_ns)
		lim->hold_ns = lim->stall_ns;
}

int endpoints_build(struct endpoints *e, const struct ol_app *app, const struct config *config, char *err,
	size_t err_n)
{
	struct build b = { .e = e, .config = config, .model = model_of(config->model), .err = err, .err_n = err_n };
	int rc;

	memset(e, 0, sizeof(*e));
	set_lane_limits(&e->lanes.limits, config);
	e->router = router_new();
	rc = e->router ? add_pools(&b, app) : refuse(&b, "out of memory");
	if (rc == 0 && config->guard == GUARD_DEMOTE && config->monitor == SWITCH_OFF)
		rc = refuse(&b, "--guard demote acts on what the monitor sees: leave out --monitor off");
	if (rc == 0)
		rc = endpoints_chains_init(&b.chains, e, app, err, err_n);
	if (rc == 0)
		rc = add_routes(&b, "", NULL, app->routes, app->nroutes, app->route_size, 0);
	if (rc == 0 && e->n == 0)
		rc = refuse(&b, "the app has no routes: declare them with OL_ROUTES");
	if (rc == 0)
		rc = add_unrouted(&b);
	if (rc == 0)
		rc = endpoints_chains_check(&b.chains);
	for (uint32_t i = 0; rc == 0 && i < e->n; i++) { /* the table does not move any more */
		e->all[i].pattern = router_at(e->router, i);
		if (e->all[i].lane)
			lane_bind(e->all[i].lane, &e->all[i].pooled, &e->all[i].measured);
	}
	endpoints_chains_fini(&b.chains);
	if (rc < 0)
		endpoints_free(e);
	return rc;
}

const char *endpoints_name(void *arg, uint32_t index)
{
	const struct endpoints *e = arg;

	return e->all[index].name;
}

void endpoints_free(struct endpoints *e)
{
	for (uint32_t i = 0; i < e->room; i++) { /* zeros behind the last */
		free((char *)(uintptr_t)e->all[i].name);
		free(e->all[i].inflight);
		lane_free(e->all[i].lane);
		free((struct chain *)(uintptr_t)e->all[i].chain);
	}
	free(e->on_error);
	free(e->all);
	free(e->pools);
	router_free(e->router);
	memset(e, 0, sizeof(*e));
}
