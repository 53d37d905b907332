/* wait.c: sleeping, offloading, waiting for another thread, and the request's memory: the public calls that suspend.
 *
 * Each waits by the park of whoever runs the handler now (r->park): a fiber's own, or a thread's.  While a fiber's work
 * is offloaded, the worker that runs it is the one who works for the request, so r->park is then a thread's, and the
 * fiber sleeps on its own until the worker's message says that the work is done.  That message is the worker's last
 * touch of the offload, which lives on the fiber's stack: the fiber cannot leave before it has been run.
 *
 * Cancellation never kills: it wakes the park, and what waits sees `cancelled` and returns -ECANCELED.  Work that has
 * started in a pool is waited for; work that is still queued is taken back.  What a fiber waits for only its loop
 * knows; what a worker waits for is told to the loop (`nested`), under a lock that the worker takes again before it
 * goes on, so that it is alive while the loop looks at it.
 *
 * No circle of waiting pools can form.  Who waits for a pool and holds a thread meanwhile is a worker of one before it
 * in the table, since ol_offload runs at once what is for the worker's own pool and refuses what is for an earlier one;
 * a fiber that waits holds none.  So the workers of the last pool, "background", wait for no pool: their jobs end, and
 * its queue moves.  Then those of the last but one wait only for what will end, and so on up to the default pool.  That
 * holds whatever the sizes (a pool has at least one thread, and one that is made smaller still finishes what runs and
 * then what waits), and for ol_after too: it only leaves work, and what it left runs on a worker and is bound by the
 * same rule.  Of a full queue nobody waits for room: -EAGAIN.  What the rule cannot see is a wait for another request
 * that needs the waiter's thread: an ol_mutex or ol_sem that is held across an ol_offload, by one whose work queues
 * behind those who want it.
 */
#include "dispatch.h"
#include "model.h"
#include "trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS (20 * NS_PER_MS)

struct offload {
	struct pool_job job;
	int (*fn)(void *arg);
	void *arg;
	int rc;
	ol_req *req;
	struct pool *pool;
	unsigned index;         /* of the pool */
	struct park thread;     /* of the worker, or of the thread that waits */
	struct loop_msg msg;
	bool done;              /* loop */
};

int ol_cancelled(const ol_req *r)
{
	/* Relaxed: a hint by which no other memory is read. */
	return atomic_load_explicit(&r->cancelled, memory_order_relaxed);
}

int ol_sleep(ol_req *r, int64_t ms)
{
	uint64_t deadline;

	OWNS(r);
	if (!r->park)
		return -EDEADLK;
	deadline = clock_after_ms(park_clock(r->park), ms < 0 ? 0 : ms);
	do {
		if (ol_cancelled(r))
			return -ECANCELED;
	} while (park_wait(r->park, deadline) != -ETIMEDOUT);
	return 0;
}

/* ---- offload ----------------------------------------------------------------------------------------------------- */

static void offload_done(struct loop_msg *m)
{
	struct offload *off = container_of(m, struct offload, msg);

	off->done = true;
	park_wake(&off->req->own_park);
}

static void run_offload(struct offload *off)
{
	ol_req *was = exchange_current(off->req);

	off->rc = off->fn(off->arg);
	(void)exchange_current(was);
}

static void run_for_fiber(struct pool_job *job)
{
	struct offload *off = container_of(job, struct offload, job);

	run_offload(off);
	loop_post(off->req->home->loop, &off->msg);
}

static void run_for_thread(struct pool_job *job)
{
	struct offload *off = container_of(job, struct offload, job);

	run_offload(off);
	park_wake(&off->thread);
}

static int offload_from_fiber(ol_req *r, struct offload *off)
{
	struct dispatch *d = r->home;

	off->job.run = run_for_fiber;
	off->msg.fn = offload_done;
	r->park = &off->thread;
	r->offload = off;
	dispatch_enqueue(d, off->index, &off->job);
	while (!off->done)
		(void)park_wait(&r->own_park, NEVER);
	r->offload = NULL;
	r->park = &r->own_park;
	return off->rc;
}

/* Takes off, for which a worker waits, out of its pool's queue, if it still is there.  Locked. */
static void take_back_nested(struct offload *off)
{
	ol_req *r = off->req;
	enum dispatch_drop why = r->told - 1;

	if (!pool_drop(off->pool, &off->job))
		return;
	/* Relaxed: a count. */
	atomic_fetch_add_explicit(&r->home->shared->pools[off->index].dropped[why], 1, memory_order_relaxed);
	off->rc = -ECANCELED;
	park_wake(&off->thread);
}

/* The loop must know before the job can run, since what runs may wait for another itself; but it can take back only
 * what is queued. */
static struct offload *submit_nested(struct offload *off, struct pool_batch *batch)
{
	ol_req *r = off->req;
	struct offload *outer;

	pthread_mutex_lock(&r->home->nesting);
	outer = r->nested;
	r->nested = off;
	pthread_mutex_unlock(&r->home->nesting);

	pool_splice(off->pool, batch);

	pthread_mutex_lock(&r->home->nesting);
	if (r->told)
		take_back_nested(off);
	pthread_mutex_unlock(&r->home->nesting);
	return outer;
}

/* The park has one wake: the work has ended, or was taken back.  While the pool cannot start the thread it needs, a
 * splice now and then has it try again. */
static int offload_from_thread(struct offload *off)
{
	struct dispatch *d = off->req->home;
	struct pool_batch batch = { 0 };
	struct offload *outer;
	uint64_t until;

	off->job.run = run_for_thread;
	pool_batch_add(&batch, &off->job);
	outer = submit_nested(off, &batch);
	do {
		pool_splice(off->pool, &batch);
		until = pool_stalled(off->pool) ? clock_now_ns() + RETRY_NS : NEVER;
	} while (park_wait(&off->thread, until) < 0);

	pthread_mutex_lock(&d->nesting);
	off->req->nested = outer;
	pthread_mutex_unlock(&d->nesting);
	return off->rc;
}

static void cancel_fiber(struct offload *off, enum dispatch_drop why)
{
	if (off->done || !dispatch_take_back(off->req->home, off->index, &off->job, why))
		return;
	off->rc = -ECANCELED;
	off->done = true;
	park_wake(&off->req->own_park);
}

void offload_cancel(ol_req *r, enum dispatch_drop why)
{
	if (r->offload)
		cancel_fiber(r->offload, why);
	pthread_mutex_lock(&r->home->nesting);
	r->told = why + 1;
	if (r->nested)
		take_back_nested(r->nested);
	pthread_mutex_unlock(&r->home->nesting);
}

static unsigned index_of_current(const struct dispatch_shared *s, const struct pool *here)
{
	unsigned i = 0;

	while (i < s->npools && s->pools[i].pool != here)
		i++;
	return i;
}

int ol_offload(ol_req *r, const char *pool, int (*fn)(void *arg), void *arg)
{
	struct dispatch_shared *s = r->home->shared;
	const struct model *m = model_of(s->config->model);
	struct pool *here = pool_current();
	int i = dispatch_pool_index(s, pool);
	struct offload off = { .fn = fn, .arg = arg, .req = r, .job.tag = r->endpoint->index };
	int rc;

	OWNS(r);
	if (!r->park)
		return -EDEADLK;
	if (i < 0)
		return -ENOENT;
	off.index = model_pool(m, (unsigned)i);
	off.pool = s->pools[off.index].pool;
	if (here == off.pool)
		return dispatch_lane_offload(r, fn, arg);
	if (here && index_of_current(s, here) > off.index)
		return -EDEADLK;
	if (ol_cancelled(r))
		return -ECANCELED;
	if (m->offload_inline)
		return fn(arg);
	if (!pool_admit(off.pool))
		return -EAGAIN;
	park_init_thread(&off.thread);
	if (!here)
		return offload_from_fiber(r, &off);
	park_pauses(r->park, true);
	rc = offload_from_thread(&off);
	park_pauses(r->park, false);
	return rc;
}

/* ---- waiting for what is outside --------------------------------------------------------------------------------- */

void ol_blocking_begin(ol_req *r)
{
	OWNS(r);
	pool_block_begin();
}

void ol_blocking_end(ol_req *r)
{
	OWNS(r);
	pool_block_end();
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

struct post {
	struct loop_msg msg;
	struct dispatch *home;
	uint32_t slot, gen;
	void (*fn)(ol_req *r, void *arg);
	void *arg;
};

ol_handle ol_handle_of(ol_req *r)
{
	OWNS(r);
	return (ol_handle){ r->home, r->slot, r->gen };
}

static void run_post(struct loop_msg *m)
{
	struct post *p = container_of(m, struct post, msg);

	struct ol_req *r = dispatch_lookup(p->home, p->slot, p->gen);

	dispatch_enter_app(p->home, r, WATCH_POST);
	p->fn(r, p->arg);
	dispatch_leave_app(p->home);
	free(p);
}

int ol_post(ol_handle h, void (*fn)(ol_req *r, void *arg), void *arg)
{
	struct post *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct post){ .msg.fn = run_post, .home = h.loop_, .slot = h.slot_, .gen = h.gen_, .fn = fn, .arg = arg };
	loop_post(p->home->loop, &p->msg);
	return 0;
}

int ol_wait(ol_req *r, int64_t timeout_ms)
{
	uint64_t deadline;
	int rc = 0;

	OWNS(r);
	if (!r->park)
		return -EDEADLK;
	deadline = clock_after_ms(park_clock(r->park), timeout_ms); /* NEVER below 0 */
	/* Acquire: what the waker wrote before ol_wake is seen. */
	while (!atomic_exchange_explicit(&r->woken, false, memory_order_acquire)) {
		if (ol_cancelled(r))
			return -ECANCELED;
		if (rc < 0)
			return rc;
		rc = park_wait(r->park, deadline);
	}
	return 0;
}

void ol_wake(ol_req *r)
{
	/* Release: pairs with ol_wait's acquire. */
	atomic_store_explicit(&r->woken, true, memory_order_release);
	if (r->park) /* else its handler has not been started */
		park_wake(r->park);
}

/* ---- memory and the log ------------------------------------------------------------------------------------------ */

void *ol_alloc(ol_req *r, size_t n)
{
	OWNS(r);
	return arena_alloc(&r->arena, n);
}

char *ol_strdup(ol_req *r, const char *s)
{
	OWNS(r);
	return arena_strndup(&r->arena, s, strlen(s));
}

char *ol_printf_(ol_req *r, const char *fmt, ...)
{
	va_list ap;
	char *text;

	OWNS(r);
	va_start(ap, fmt);
	text = arena_vprintf(&r->arena, NULL, fmt, ap);
	va_end(ap);
	return text;
}

void ol_log_(ol_req *r, enum ol_level level, const char *fmt, ...)
{
	struct trace t;
	bool traced = trace_of(r, &t);
	struct log_field fields[] = { LOG_FIELD_STR("route", slice_of(r->endpoint->name)),
		LOG_FIELD_STR("trace_id", slice_of(traced ? t.trace_id : "")) };
	va_list ap;

	OWNS(r);
	va_start(ap, fmt);
	log_vprintf(r->home->shared->log, (enum log_level)level, fields, traced ? 2 : 1, fmt, ap);
	va_end(ap);
}
