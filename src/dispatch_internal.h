/* dispatch_internal.h: what the files of dispatch tell each other.  On the loop's thread. */
#ifndef OL_DISPATCH_INTERNAL_H
#define OL_DISPATCH_INTERNAL_H

#include "base/checked.h"
#include "dispatch.h"

/* The pool of a sync route's request. */
static inline struct dispatch_pool *dispatch_pool_of(const struct ol_req *r)
{
	return &r->home->shared->pools[r->endpoint->pool_index];
}

/* Around code of the app's that runs for r on a fiber of its loop; it ends with dispatch_leave_app. */
void dispatch_enter_fiber(const struct ol_req *r, const struct fiber *f);

/* ---- dispatch_home.c --------------------------------------------------------------------------------------------- */

/* An exchange for what has begun on s; NULL without memory. */
CHECKED struct ol_req *dispatch_new(struct dispatch *d, struct stream *s, const struct head *h);
/* Ends r when nothing holds it any more; else does nothing. */
void dispatch_release(struct ol_req *r);
/* Requests of r's route that have begun and not ended: read by whoever names the routes that are stuck. */
void dispatch_count_in_flight(struct ol_req *r, int n);

/* ---- dispatch_queue.c -------------------------------------------------------------------------------------------- */

/* Takes a job of this loop back from pool `index`, spliced or not yet: false when a worker has begun it. */
CHECKED bool dispatch_withdraw(struct dispatch *d, unsigned index, struct pool_job *job);
/* Lets another job, for which no place was taken, have the place of one; likewise false. */
CHECKED bool dispatch_replace(struct dispatch *d, unsigned index, struct pool_job *old, struct pool_job *job);
void dispatch_queue_init(struct dispatch *d);
void dispatch_queue_fini(struct dispatch *d);

/* ---- dispatch_end.c ---------------------------------------------------------------------------------------------- */

/* The reply is complete, and no handler runs or will. */
void dispatch_answer(struct ol_req *r);
void dispatch_answer_error(struct ol_req *r, int status, const char *detail);
/* Tells those who work for r, or may soon, that nobody waits for it. */
void dispatch_tell(struct ol_req *r, enum dispatch_drop why);
/* 503: a limit is reached; the other: of its pool, which knows when to come again. */
void dispatch_shed(struct ol_req *r, const char *detail);
void dispatch_shed_pool(struct ol_req *r, const char *detail);
/* The handler may start from now on: its route's .timeout begins. */
void dispatch_await(struct ol_req *r);

/* ---- dispatch_lend.c --------------------------------------------------------------------------------------------- */

/* r, all that its loop has to do, is about to be queued: its worker may send its reply. */
void dispatch_lend(struct ol_req *r);
/* On its worker, when all else is done: sends the reply, if it may. */
void dispatch_send_own(struct ol_req *r);
/* More requests are in flight than may be, without one whose client may have its reply already. */
bool dispatch_is_crowded(const struct dispatch *d);
/* It will not, or has. */
static inline void dispatch_unlend(struct ol_req *r)
{
	struct stream *s = r->lent;

	if (!s)
		return;
	r->lent = NULL;
	r->home->lent = NULL;
	s->ops->unlend(s);
}

/* ---- dispatch_lane.c --------------------------------------------------------------------------------------------- */

/* On a worker, for a route that may move: runs a part of r's job on a stack of a fiber's size, and measures it if its
 * lane depends on that.  0, and *over: what the part gave; -errno without a stack: it has not run. */
CHECKED int dispatch_lane_work(struct ol_req *r, bool (*part)(struct ol_req *r_), bool *over);

/* A hold of the loop that is measured begins, and is over. */
void dispatch_lane_entered(struct dispatch *d, const struct endpoint *e);
void dispatch_lane_left(struct dispatch *d, const struct endpoint *e);

/* Around what runs of r on the loop.  r may be gone after it. */
static inline void dispatch_lane_enter(struct ol_req *r)
{
	/* Relaxed: whether a hold is measured orders nothing. */
	if (atomic_load_explicit(&r->endpoint->measured, memory_order_relaxed))
		dispatch_lane_entered(r->home, r->endpoint);
}

static inline void dispatch_lane_leave(struct dispatch *d, const struct endpoint *e)
{
	if (d->metered)
		dispatch_lane_left(d, e);
}

/* ---- after.c ----------------------------------------------------------------------------------------------------- */

/* The reply of r, which has left work, is over.  True: the work begins, and ends with another dispatch_release; false:
 * none is to run. */
CHECKED bool after_begin(struct ol_req *r);
/* The grace is over: what has not begun is dropped, and what runs is told. */
void after_abandon(struct dispatch *d);

#endif
