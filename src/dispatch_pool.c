/* dispatch_pool.c: the pools as requests see them, and the places a request takes before it may run.
 *
 * A pool bounds by itself how many jobs it admits.  Two more bounds stand before it: a route's .max_inflight, and how
 * many .stream requests may hold threads of one pool, since their clients decide for how long.  Each is a count that
 * loops share and that is taken by compare-and-exchange, so that it is exact: it is never over its bound, and nobody is
 * refused because somebody else was just being refused.  A route without such a bound touches neither.
 *
 * A place is taken when the handler is about to be queued or started, and given back when it has returned or its job
 * was taken back.  So it follows the work, not the client: one that left gives back none while its handler runs, and a
 * body that comes slowly holds none, unless the route reads it as a stream.
 *
 * Sizes change while all that goes on.  Whoever resizes holds the pool's mutex from reading the old sizes to having
 * logged the new ones, so that two half resizes do not undo each other and the log tells them in their order.  Requests
 * never take that mutex.  A pool that has no work in the server's model, or always the same threads, is not resized.
 *
 * Threads: dispatch_enter and dispatch_leave on the request's loop; resizing and looking up on any.
 */
#include "dispatch_internal.h"
#include "model.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static unsigned streams_of(const struct dispatch_pool *p, unsigned threads)
{
	return p->streams_fixed ? p->streams_fixed : (threads + 1) / 2;
}

int dispatch_pool_init(struct dispatch_pool *p, const struct pool_conf *conf, unsigned streams)
{
	memset(p, 0, sizeof *p);
	p->pool = pool_new(conf);
	if (!p->pool)
		return -errno;
	p->name = conf->name;
	p->codel_interval_ns = conf->codel ? conf->codel_interval_ns : 0;
	p->streams_fixed = streams;
	atomic_init(&p->streams_max, streams_of(p, conf->threads));
	pthread_mutex_init(&p->resizing, NULL);
	return 0;
}

void dispatch_pool_fini(struct dispatch_pool *p)
{
	if (!p->pool)
		return;
	pool_free(p->pool);
	p->pool = NULL;
	pthread_mutex_destroy(&p->resizing);
}

int dispatch_pool_index(const struct dispatch_shared *s, const char *name)
{
	for (unsigned i = 0; i < s->npools; i++)
		if (!name || strcmp(s->pools[i].name, name) == 0)
			return (int)i;
	return -1;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

/* With p->resizing held. */
static void resize(struct dispatch_shared *s, struct dispatch_pool *p, unsigned threads, unsigned queue, const char *by)
{
	struct pool_stats was;

	pool_stats(p->pool, &was);
	threads = threads ? threads : was.limit;
	queue = queue ? queue : was.queue_max;
	atomic_store_explicit(&p->streams_max, streams_of(p, threads), memory_order_relaxed);
	pool_resize(p->pool, threads, queue);
	log_line(s->log, LOG_INFO, SLICE("pool resized"), (struct log_field[]){
		LOG_FIELD_STR("name", slice_of(p->name)), LOG_FIELD_STR("by", slice_of(by)),
		LOG_FIELD_INT("threads_from", was.limit), LOG_FIELD_INT("threads_to", threads),
		LOG_FIELD_INT("queue_from", was.queue_max), LOG_FIELD_INT("queue_to", queue),
		LOG_FIELD_INT("stack_bytes_max", (int64_t)((threads + was.spares) * pool_stack(p->pool))) }, 7);
}

int dispatch_resize(struct dispatch_shared *s, const char *name, unsigned threads, unsigned queue, const char *by)
{
	int i = dispatch_pool_index(s, name);
	char why[160];

	if (i < 0)
		return -ENOENT;
	if (threads > POOL_THREADS_MAX || queue > POOL_QUEUE_MAX)
		return -EINVAL;
	if (model_fixes(model_of(s->config->model), (unsigned)i, why, sizeof(why)))
		return -ENOTSUP;
	pthread_mutex_lock(&s->pools[i].resizing);
	resize(s, &s->pools[i], threads, queue, by);
	pthread_mutex_unlock(&s->pools[i].resizing);
	return 0;
}

void dispatch_step(struct dispatch_shared *s, int threads, const char *by)
{
	struct dispatch_pool *p = &s->pools[0];
	struct pool_stats now;
	int64_t wanted;
	char why[160];

	if (model_fixes(model_of(s->config->model), 0, why, sizeof(why))) {
		log_printf(s->log, LOG_WARN, "%s: pool \"%s\" stays as it is: %s", by, p->name, why);
		return;
	}
	pthread_mutex_lock(&p->resizing);
	pool_stats(p->pool, &now);
	wanted = (int64_t)now.limit + threads;
	if (wanted < 1 || wanted > POOL_THREADS_MAX)
		log_printf(s->log, LOG_WARN, "%s: pool \"%s\" stays at %u threads: it may have 1 to %d", by, p->name,
			now.limit, POOL_THREADS_MAX);
	else
		resize(s, p, (unsigned)wanted, 0, by);
	pthread_mutex_unlock(&p->resizing);
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

int dispatch_look(const struct dispatch_shared *s, const char *name, struct ol_pool_info *info)
{
	int i = dispatch_pool_index(s, name);
	size_t size = info->size < sizeof(*info) ? info->size : sizeof(*info); /* what the caller knows of it */
	struct ol_pool_info all;
	struct pool_stats now;
	uint64_t age = 0;

	if (i < 0)
		return -ENOENT;
	pool_stats(s->pools[i].pool, &now);
	if (now.queued)
		age = clock_now_ns() - now.oldest_queued_ns;
	all = (struct ol_pool_info){ .size = size, .limit = now.limit, .queue_max = now.queue_max,
		.threads = now.threads, .running = now.running, .blocked = now.blocked, .idle = now.idle,
		.starting = now.starting, .queued = now.queued,
		.oldest_ms = age / NS_PER_MS < UINT_MAX ? (unsigned)(age / NS_PER_MS) : UINT_MAX };
	memcpy(info, &all, size);
	return 0;
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

/* Relaxed: a bound, it orders nothing. */
static bool take(_Atomic unsigned *n, unsigned max)
{
	unsigned now = atomic_load_explicit(n, memory_order_relaxed);

	while (now < max)
		if (atomic_compare_exchange_weak_explicit(n, &now, now + 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

static bool enter_route(struct ol_req *r)
{
	struct inflight *in = r->endpoint->inflight;

	if (!in)
		return true;
	r->counted_inflight = take(&in->now, in->max);
	if (!r->counted_inflight)
		atomic_fetch_add_explicit(&in->refused, 1, memory_order_relaxed);
	return r->counted_inflight;
}

static bool enter_streams(struct ol_req *r)
{
	struct dispatch_pool *p = dispatch_pool_of(r);

	if (!r->pooled || !r->in)
		return true;
	r->counted_stream = take(&p->streams, atomic_load_explicit(&p->streams_max, memory_order_relaxed));
	if (!r->counted_stream)
		atomic_fetch_add_explicit(&p->streams_refused, 1, memory_order_relaxed);
	return r->counted_stream;
}

const char *dispatch_enter(struct ol_req *r)
{
	if (!enter_route(r))
		return "Too many requests for this route are being handled";
	if (enter_streams(r))
		return NULL;
	dispatch_leave(r);
	return "Too many streaming requests hold the pool's threads";
}

void dispatch_leave(struct ol_req *r)
{
	if (r->counted_stream)
		atomic_fetch_sub_explicit(&dispatch_pool_of(r)->streams, 1, memory_order_relaxed);
	if (r->counted_inflight)
		atomic_fetch_sub_explicit(&r->endpoint->inflight->now, 1, memory_order_relaxed);
	r->counted_stream = r->counted_inflight = false;
}
