/* dispatch_lane.c: requests of routes that may move, in whichever lane they are.
 *
 * In the pool they run on a stack of the size that they would have on the loop: each worker that meets one keeps a
 * fiber for them.  So a handler that needs more stack is found out before it is ever promoted, by the same words that
 * name the route on the loop, and a route can be moved up without anybody having to know how deep it goes.  What waits
 * on a worker blocks its thread, on a fiber or not; the fiber is suspended only for what the handler offloads to the
 * very pool it runs in, which would have a thread's stack if it came from the loop, and so has it here.
 *
 * Runs of an adaptive route are measured (lane_meter.c), but for where it waits in a way that would suspend it on the
 * loop: there it holds nobody.  A run proves the route short when its handler has run to its end and has replied with
 * something other than an error; that it slept counts however it ended.  On the loop each hold is measured, and judged
 * when it is over, before anything else is begun there.  So is that of a guarded route which has just held its loop for
 * too long: the monitor sees such a hold a few milliseconds after its end, and the next request may come before.  What
 * of it may be nobody's doing is taken off first; if too little is left, the monitor is to judge, which knows more.
 *
 * Routes that do not move come here for nothing.  dispatch_lane_work on a worker, dispatch_lane_left on the loop.
 */
#include "chain.h"
#include "dispatch_internal.h"
#include "lane.h"

#include <errno.h>

#define SPARE_STACKS 2  /* of a worker, for routes that differ in size */

/* A worker's; made when it is first needed. */
static _Thread_local struct fiber_pool *fibers;

static struct fiber_pool *worker_fibers(void)
{
	static const struct fiber_conf conf = { .live_max = 1, .spare_max = SPARE_STACKS };

	if (!fibers)
		fibers = fiber_pool_new(&conf);
	return fibers;
}

void dispatch_thread_ends(void *unused, const struct work_line *nor_this)
{
	(void)unused, (void)nor_this;
	fiber_pool_free(fibers);
	fibers = NULL;
}

/* A part of a request's job, on a worker. */
struct lane_work {
	struct ol_req *req;             /* the loop's, once the part has given false */
	bool (*part)(struct ol_req *r_);
	bool over;                      /* what it gave */
	bool measured;
	struct lane_meter meter;
	int (*fn)(void *arg);           /* what it wants to have run outside its fiber, */
	void *arg;
	int rc;                         /* and what that gave */
};

/* What this worker runs; NULL: nothing of this kind. */
static _Thread_local struct lane_work *running;

static void pauses(struct park *p, bool begins)
{
	(void)p;
	if (begins)
		lane_meter_pause(&running->meter);
	else
		lane_meter_go_on(&running->meter);
}

/* For who looks at the worker: it is on its fiber from now on, or on the thread's own stack. */
static void say_stack(const struct fiber *f)
{
	void *low = NULL, *high = NULL;

	if (f)
		fiber_stack_bounds(f, &low, &high);
	pool_on_stack(low, high);
}

static void work(void *arg)
{
	struct lane_work *w = arg;

	say_stack(fiber_current(fibers));
	if (w->measured)
		lane_meter_begin(&w->meter);
	w->over = w->part(w->req);
	if (w->measured)
		lane_meter_end(&w->meter);
	if (w->over)
		w->req->own_park.pauses = NULL;
	say_stack(NULL);
}

/* On the loop fn would run in the pool, on a thread's stack: so it does here, while the fiber waits. */
int dispatch_lane_offload(struct ol_req *r, int (*fn)(void *arg), void *arg)
{
	struct fiber *here = fibers ? fiber_current(fibers) : NULL;
	struct lane_work *w = running;

	if (!here)
		return fn(arg);
	park_pauses(&r->own_park, true);
	w->fn = fn;
	w->arg = arg;
	say_stack(NULL);
	fiber_suspend(here);
	say_stack(here);
	park_pauses(&r->own_park, false);
	return w->rc;
}

static int run_on_fiber(struct lane_work *w, const struct endpoint *e)
{
	struct fiber_pool *mine = worker_fibers();
	struct fiber *f;
	int rc = mine ? fiber_start(mine, e->stack, e->name, work, w, &f) : -ENOMEM;
	bool ended = rc < 0 || !f;

	while (!ended) {
		w->rc = w->fn(w->arg);
		ended = fiber_resume(f);
	}
	return rc;
}

/* Whether the whole of it can prove a route short; the request is still the worker's. */
static bool is_proof(const struct lane_work *w)
{
	const struct ol_req *r = w->req;

	return w->part == chain_run && w->over && (r->reached || !r->endpoint->chain) && r->reply.status < 400;
}

int dispatch_lane_work(struct ol_req *r, bool (*part)(struct ol_req *r_), bool *over)
{
	const struct endpoint *e = r->endpoint; /* r may be gone when it has run */
	struct lane_work w = { .req = r, .part = part, .measured = e->adaptive };
	int rc;

	running = &w;
	r->own_park.pauses = w.measured ? pauses : NULL;
	rc = run_on_fiber(&w, e);
	running = NULL;
	if (rc < 0) {
		r->own_park.pauses = NULL;
		return rc;
	}
	*over = w.over;
	if (w.measured)
		lane_ran(e->lane, &(struct lane_run){ .longest_ns = w.meter.longest_ns, .proof = is_proof(&w),
			.cause = lane_meter_cause(&w.meter, lane_budget(e->lane)) });
	return 0;
}

void dispatch_lane_entered(struct dispatch *d, const struct endpoint *e)
{
	d->metered = true;
	if (!e->adaptive)
		d->mark = watch_mark(d->watch);
	lane_meter_begin(&d->meter);
}

/* Whether all of the hold was the route's own doing, as far as that can be told already: its thread had a CPU when it
 * wanted one, and the machine did not stand still.  What an adaptive route may take is too short to ask. */
static bool is_certain(const struct dispatch *d, const struct endpoint *e, uint64_t limit)
{
	uint64_t end = d->meter.begun_ns + d->meter.longest_ns;

	return e->adaptive || d->meter.longest_ns >= limit + watch_nobodys(d->watch, &d->mark, end);
}

/* What is not certain is left to the monitor. */
void dispatch_lane_left(struct dispatch *d, const struct endpoint *e)
{
	uint64_t limit = lane_hold_limit(e->lane);

	d->metered = false;
	if (!lane_meter_end_over(&d->meter, limit))
		lane_passed(e->lane);
	else if (is_certain(d, e, limit) && watch_claim(d->watch))
		lane_held(e->lane, d->meter.longest_ns, lane_meter_cause(&d->meter, limit));
}
