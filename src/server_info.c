/* server_info.c: what others ask of a server: the control plane, the program around it, and the app.
 *
 * Nothing here has a part in a request's life.  What is read is constant once the server runs (routes, pools, where it
 * listens), or counted by those who do the work and summed on reading, so it may be asked while every loop and pool is
 * stuck.  What is changed, a pool's size or the app's pointer, is passed on to whoever guards it.
 *
 * Threads: any.
 */
#include "model.h"
#include "server_internal.h"

void server_info(const ol_server *s, struct server_info *info)
{
	*info = (struct server_info){
		.backend = s->backend,
		.backend_why = s->backend_why[0] ? s->backend_why : NULL,
		.loops = s->nloops,
		.port = s->listen.port,
		.address = s->listen.address,
		.ready = atomic_load_explicit(&s->serving, memory_order_relaxed),
		.pools = s->shared.npools, .exclusive = s->exclusive,
	};
}

const struct router *server_router(const ol_server *s)
{
	return s->endpoints.router;
}

struct pool *server_pool(const ol_server *s, unsigned i)
{
	return s->shared.pools[i].pool;
}

bool server_pool_works(const ol_server *s, unsigned i)
{
	return model_works(model_of(s->setup.config->model), i);
}

void server_pool_refused(const ol_server *s, unsigned i, struct server_refused *n)
{
	struct dispatch_pool *p = &s->shared.pools[i];
	struct pool_stats stats;

	pool_stats(p->pool, &stats);
	*n = (struct server_refused){ .queue_full = stats.rejected,
		.streams = atomic_load_explicit(&p->streams_refused, memory_order_relaxed),
		.queue_timeout = stats.expired[POOL_TIMED_OUT], .codel = stats.expired[POOL_SHED],
		.left = atomic_load_explicit(&p->dropped[DROP_CLIENT_LEFT], memory_order_relaxed),
		.deadline = atomic_load_explicit(&p->dropped[DROP_DEADLINE], memory_order_relaxed),
		.shutdown = atomic_load_explicit(&p->dropped[DROP_SHUTDOWN], memory_order_relaxed) };
	for (uint32_t k = 0; k < s->endpoints.n; k++)
		if (s->endpoints.all[k].pool_name && s->endpoints.all[k].pool_index == i)
			n->max_inflight += server_route_refused(s, k);
}

uint64_t server_route_refused(const ol_server *s, uint32_t index)
{
	const struct inflight *in = s->endpoints.all[index].inflight;

	return in ? atomic_load_explicit(&in->refused, memory_order_relaxed) : 0;
}

unsigned server_route_inflight_max(const ol_server *s, uint32_t index)
{
	const struct inflight *in = s->endpoints.all[index].inflight;

	return in ? in->max : 0;
}

const struct ol_pool *server_pool_declared(const ol_server *s, unsigned i)
{
	return &s->endpoints.pools[i];
}

int server_resize(ol_server *s, const char *pool, unsigned threads, unsigned queue, const char *by)
{
	return dispatch_resize(&s->shared, pool, threads, queue, by);
}

void server_step(ol_server *s, int threads, const char *by)
{
	dispatch_step(&s->shared, threads, by);
}

int ol_pool_resize(ol_server *s, const char *name, unsigned threads, unsigned queue)
{
	return dispatch_resize(&s->shared, name, threads, queue, "ol_pool_resize");
}

int ol_pool_look(ol_server *s, const char *name, struct ol_pool_info *info)
{
	return dispatch_look(&s->shared, name, info);
}

struct watch *server_watch(const ol_server *s)
{
	return s->watch;
}

struct adviser *server_adviser(const ol_server *s)
{
	return s->adviser;
}

struct server_load *server_load(const ol_server *s)
{
	return s->load;
}

const struct server_setup *server_setup(const ol_server *s)
{
	return &s->setup;
}

const struct loop *server_loop_of(const ol_server *s, unsigned loop)
{
	return s->loops[loop].loop;
}

uint64_t server_loop_cpu_ns(const ol_server *s, unsigned loop)
{
	clockid_t clock = atomic_load_explicit(&s->loops[loop].cpu_clock, memory_order_relaxed);
	struct timespec cpu;

	if (clock == 0 || clock_gettime(clock, &cpu) < 0)
		return 0;
	return (uint64_t)cpu.tv_sec * NS_PER_S + (uint64_t)cpu.tv_nsec;
}

const struct endpoint *server_route(const ol_server *s, uint32_t index)
{
	return &s->endpoints.all[index];
}

const struct metrics_loop *server_metrics(const ol_server *s, unsigned loop)
{
	return &s->loops[loop].metrics;
}

void ol_server_stop(ol_server *s)
{
	if (s->setup.stop)
		s->setup.stop(s->setup.stop_arg);
}

void ol_server_data_set(ol_server *s, void *data)
{
	/* Release: pairs with ol_app_data's acquire. */
	atomic_store_explicit(&s->shared.data, data, memory_order_release);
}

void *ol_server_data(const ol_server *s)
{
	/* Acquire: as ol_app_data. */
	return atomic_load_explicit(&s->shared.data, memory_order_acquire);
}

const char *ol_option_get(const ol_server *s, const char *name)
{
	return s->setup.option ? s->setup.option(s->setup.option_arg, name) : NULL;
}

void ol_server_log_(ol_server *s, enum ol_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vprintf(s->setup.log, (enum log_level)level, NULL, 0, fmt, ap);
	va_end(ap);
}
