/* after.c: ol_after: what a request leaves to be done once its reply has been sent or given up.
 *
 * A place in the work's pool is taken at once, so a handler learns then whether it will be run, and what was accepted
 * is never lost to a queue that has filled up meanwhile.  What is left is kept in the exchange's arena, in order.
 *
 * When the connection is done with the exchange and its handler has ended, dispatch_release asks after_begin, and the
 * exchange lives on, off the books of the requests: it counts for the drain, but no longer against --requests-max, and
 * its connection serves the next.  What stands in a row for one pool is one job there; behind that comes another, for
 * the next pool.  So one piece of work runs at a time, and the exchange has a single owner, as it has while a handler
 * runs: the worker, or between two jobs the loop.
 *
 * A place is given back when its work has run.  The job itself holds one of them until it returns; the others are given
 * back one by one.  Nothing runs when the handler failed (`failed`, see chain.c), whatever middleware made of its
 * reply; then all places are given back.  A client that left, or a deadline that passed, is no failure.
 *
 * `cancelled` begins anew: of a client that left the work need not know.  It turns true again when the server's grace
 * is over.  Work that has not begun by then is dropped, and counted; the queue's other bounds (its time-out, CoDel)
 * never drop any.
 *
 * Where the model has no pools to run handlers in (--model asgi, tornado), all of it runs on the loop, on a fiber, as a
 * background task of an ASGI app: it takes its places as ever, which bound how much there may be.  It begins when the
 * loop has been in the kernel once more, so that the reply is with its client before anything holds the loop.
 *
 * Threads: ol_after by the request's owner; run_job and what it calls on a worker; the rest on the loop's.
 */
#include "chain.h"
#include "dispatch_internal.h"
#include "model.h"

#include <errno.h>

struct task {
	struct task *next;
	unsigned pool;
	int (*fn)(ol_req *r, void *arg);
	void *arg;
};

/* Of one request, in its arena.  Its owner's, but for `pool`: the loop's. */
struct after {
	struct task *head, *tail;
	unsigned run, failed, dropped;  /* since the loop has last looked */
	unsigned pool;                  /* where its job is */
	uint64_t turn;                  /* of the loop, after which it may begin there */
};

#define RETRY_NS (20 * NS_PER_MS)       /* until a fiber is tried for again */

static struct pool *pool_at(const struct ol_req *r, unsigned i)
{
	return r->home->shared->pools[i].pool;
}

static const struct model *model(const struct ol_req *r)
{
	return model_of(r->home->shared->config->model);
}

/* ---- leaving work ------------------------------------------------------------------------------------------------ */

static int leave(struct ol_req *r, const struct task *wanted)
{
	struct task *t = arena_alloc(&r->arena, sizeof(*t));
	struct after *a = r->after ? r->after : arena_alloc(&r->arena, sizeof(*a));

	if (!t || !a)
		return -ENOMEM;
	*t = *wanted;
	if (!r->after)
		*a = (struct after){ .head = t };
	else
		a->tail->next = t;
	a->tail = t;
	r->after = a;
	return 0;
}

int ol_after(ol_req *r, const char *pool, int (*fn)(ol_req *r, void *arg), void *arg)
{
	const struct dispatch_shared *s = r->home->shared;
	int rc, i = pool ? dispatch_pool_index(s, pool) : (int)s->npools - 1; /* "background" is the last */

	OWNS(r);
	if (r->background)
		return -EALREADY;
	if (i < 0)
		return -ENOENT;
	i = (int)model_pool(model(r), (unsigned)i);
	if (!pool_admit(pool_at(r, (unsigned)i)))
		return -EAGAIN;
	rc = leave(r, &(struct task){ .pool = (unsigned)i, .fn = fn, .arg = arg });
	if (rc < 0)
		pool_unadmit(pool_at(r, (unsigned)i));
	return rc;
}

/* ---- running it -------------------------------------------------------------------------------------------------- */

static struct task *pop(struct after *a)
{
	struct task *t = a->head;

	a->head = t->next;
	return t;
}

static void run(struct ol_req *r, const struct task *t)
{
	int rc;

	if (ol_cancelled(r)) {
		r->after->dropped++;
		return;
	}
	rc = t->fn(r, t->arg);
	r->after->run++;
	if (rc >= 0)
		return;
	r->after->failed++;
	chain_log_failure(r, "background work failed", rc);
}

/* On a worker. */
static void run_job(struct pool_job *job)
{
	struct ol_req *r = container_of(job, struct ol_req, job);
	struct loop *l = r->home->loop;
	struct after *a = r->after;
	unsigned pool = a->head->pool;

	(void)exchange_current(r);
	run(r, pop(a));
	while (a->head && a->head->pool == pool) {
		pool_unadmit(pool_at(r, pool));
		run(r, pop(a));
	}
	(void)exchange_current(NULL);
	loop_post(l, &r->done);
}

static void job_done(struct loop_msg *m);

static void submit(struct ol_req *r)
{
	struct dispatch *d = r->home;
	struct after *a = r->after;

	a->pool = a->head->pool;
	r->job = (struct pool_job){ .run = run_job, .tag = r->endpoint->index };
	r->done.fn = job_done;
	dispatch_enqueue(d, a->pool, &r->job);
}

static void count(struct ol_req *r)
{
	struct metrics_loop *m = r->home->metrics;
	struct after *a = r->after;

	metric_add(m, METRIC_AFTER_RUN, a->run);
	metric_add(m, METRIC_AFTER_FAILED, a->failed);
	metric_add(m, METRIC_AFTER_DROPPED, a->dropped);
	a->run = a->failed = a->dropped = 0;
}

/* Gives back the places of all that is left. */
static void drop_all(struct ol_req *r)
{
	struct after *a = r->after;

	while (a->head) {
		pool_unadmit(pool_at(r, pop(a)->pool));
		a->dropped++;
	}
}

static void end(struct ol_req *r)
{
	struct dispatch *d = r->home;

	count(r);
	r->after = NULL;
	r->state = EXCHANGE_DONE;
	list_del(&r->node);
	metric_set(d->metrics, METRIC_BACKGROUND, --d->nafter);
	d->nlive++; /* dispatch_release takes it off again */
	dispatch_release(r);
}

static void job_done(struct loop_msg *m)
{
	struct ol_req *r = container_of(m, struct ol_req, done);

	if (r->home->abandoned)
		drop_all(r);
	if (r->after->head) {
		count(r);
		submit(r);
	} else {
		end(r);
	}
}

/* ---- on the loop ------------------------------------------------------------------------------------------------- */

static void run_all(void *arg)
{
	struct ol_req *r = arg;

	dispatch_enter_fiber(r, fiber_current(r->home->fibers));
	while (r->after->head) {
		unsigned pool = r->after->head->pool;

		run(r, pop(r->after));
		pool_unadmit(pool_at(r, pool));
	}
}

static void inline_ran(struct ol_req *r, bool ended)
{
	(void)exchange_current(NULL);
	dispatch_leave_app(r->home);
	if (!ended)
		return;
	r->fiber = NULL;
	end(r);
}

static void inline_resume(struct park *p)
{
	struct ol_req *r = container_of(p, struct ol_req, own_park);

	dispatch_enter_fiber(r, p->fiber);
	(void)exchange_current(r);
	inline_ran(r, fiber_resume(p->fiber));
}

static void inline_retry(struct timer *t);

static void inline_start(struct ol_req *r)
{
	struct dispatch *d = r->home;
	int rc;

	if (d->abandoned) {
		drop_all(r);
		end(r);
		return;
	}
	(void)exchange_current(r);
	rc = fiber_start(d->fibers, r->endpoint->stack, r->endpoint->name, run_all, r, &r->fiber);
	if (rc == 0) {
		inline_ran(r, !r->fiber);
		return;
	}
	(void)exchange_current(NULL); /* there are as many as may be, or no memory: it was taken, so it will run */
	timer_init(&r->deadline, inline_retry);
	wheel_add(&d->loop->wheel, &r->deadline, d->loop->now_ns + RETRY_NS);
}

static void inline_retry(struct timer *t)
{
	inline_start(container_of(t, struct ol_req, deadline));
}

/* Its loop has handed the reply to the kernel when another turn has begun. */
static void inline_due(struct loop_msg *m)
{
	struct ol_req *r = container_of(m, struct ol_req, done);

	if (loop_turns(r->home->loop) == r->after->turn)
		loop_post(r->home->loop, &r->done);
	else
		inline_start(r);
}

static void inline_submit(struct ol_req *r)
{
	struct loop *l = r->home->loop;

	park_init_fiber(&r->own_park, l, r->home->fibers, inline_resume);
	r->after->turn = loop_turns(l);
	r->done.fn = inline_due;
	loop_post(l, &r->done);
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

bool after_begin(struct ol_req *r)
{
	struct dispatch *d = r->home;

	if (r->failed || d->abandoned) {
		drop_all(r);
		count(r);
		r->after = NULL;
		return false;
	}
	if (r->in)
		pipe_end(r->in, -ECANCELED); /* nothing more of the body will come */
	reply_fini(r); /* what it borrowed is not kept waiting */
	r->state = EXCHANGE_BACKGROUND;
	r->background = r->sealed = true;
	/* Relaxed, here and in after_abandon: as in dispatch_end.c.  The splice below orders these for the worker. */
	atomic_store_explicit(&r->cancelled, false, memory_order_relaxed);
	atomic_store_explicit(&r->woken, false, memory_order_relaxed);
	r->told = 0;
	list_push_back(&d->after, &r->node);
	metric_set(d->metrics, METRIC_BACKGROUND, ++d->nafter);
	d->nlive--;
	r->park = &r->own_park;
	if (model(r)->lane == MODEL_LOOP) {
		inline_submit(r);
	} else {
		park_init_thread(&r->own_park);
		submit(r);
	}
	return true;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void take_back(struct ol_req *r)
{
	struct after *a = r->after;

	if (model(r)->lane == MODEL_LOOP) { /* what has not begun drops itself when its turn comes */
		dispatch_tell(r, DROP_SHUTDOWN);
	} else if (dispatch_take_back(r->home, a->pool, &r->job, DROP_SHUTDOWN)) {
		(void)pop(a); /* its place has been given back */
		a->dropped++;
		drop_all(r);
		end(r);
	} else {
		dispatch_tell(r, DROP_SHUTDOWN);
	}
}

/* All are told before one is woken: its worker would take the next. */
void after_abandon(struct dispatch *d)
{
	for (struct list *n = d->after.next; n != &d->after; n = n->next)
		atomic_store_explicit(
			&container_of(n, struct ol_req, node)->cancelled, true, memory_order_relaxed);
	for (struct list *n = d->after.next, *next; n != &d->after; n = next) {
		next = n->next;
		take_back(container_of(n, struct ol_req, node));
	}
}
