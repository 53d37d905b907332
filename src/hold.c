/* hold.c: a thread that a request has before its handler starts, or still has when that has returned (--model wsgi).
 *
 * A threaded WSGI server reads a request on the thread that will run it, and sends the reply from there.  Here the loop
 * does both, so while a client is slow at either a job without work holds a thread in its stead: it waits in the pool's
 * queue as a request does, and then on its thread until the loop lets it go.  So as many slow clients as there are
 * threads keep all others waiting, as they would there.
 *
 * conn_time.c knows when a client is awaited.  A request that has become whole takes its hold's place in the queue.  If
 * the hold has its thread by then, the request is let in beyond the bounds of the queue and before the others, and the
 * thread is let go when the request's own job is in the queue, so that it is what the thread does next.  In other
 * models there are no holds.
 *
 * A hold belongs to the loop, which takes it back while it is queued; once a worker runs it, it is the loop's again,
 * and freed, by the message that is the worker's last touch.  hold_run on a worker, the rest on the loop's thread.
 */
#include "hold.h"
#include "dispatch_internal.h"

#include <stdlib.h>

struct hold {
	struct pool_job job;
	struct loop_msg ended;
	struct dispatch *home;
	struct hold *next;      /* of those to be let go in this turn */
	struct park park;       /* of the worker */
	_Atomic bool over;      /* the loop has let it go */
};

static void forget(struct hold *h)
{
	h->home->nholds--;
	free(h);
}

static void on_ended(struct loop_msg *m)
{
	forget(container_of(m, struct hold, ended));
}

static void hold_run(struct pool_job *job)
{
	struct hold *h = container_of(job, struct hold, job);

	/* Acquire: pairs with hold_let_go, whose last touch is the wake, which the message is behind. */
	while (!atomic_load_explicit(&h->over, memory_order_acquire))
		(void)park_wait(&h->park, NEVER);
	loop_post(h->home->loop, &h->ended);
}

void hold_begin(struct dispatch *d, struct stream *s)
{
	struct hold *h;

	if (!pool_admit(d->shared->pools[0].pool))
		return;
	h = calloc(1, sizeof(*h));
	if (!h) {
		pool_unadmit(d->shared->pools[0].pool);
		return;
	}
	h->home = d;
	h->job.run = hold_run;
	h->job.tag = s->req && s->req->endpoint ? s->req->endpoint->index : d->shared->nendpoints;
	h->ended.fn = on_ended;
	park_init_thread(&h->park);
	d->nholds++;
	s->hold = h;
	dispatch_enqueue(d, 0, &h->job);
}

void hold_end(struct dispatch *d, struct stream *s)
{
	struct hold *h = s->hold;

	s->hold = NULL;
	if (dispatch_withdraw(d, 0, &h->job)) {
		forget(h);
		return;
	}
	h->next = d->ending;
	d->ending = h;
	d->batched++; /* something is to be done at the end of the turn */
}

bool hold_give_place(struct dispatch *d, struct stream *s, struct pool_job *job)
{
	struct hold *h = s->hold;

	if (!dispatch_replace(d, 0, &h->job, job))
		return false;
	s->hold = NULL;
	forget(h);
	return true;
}

void hold_let_go(struct dispatch *d)
{
	while (d->ending) {
		struct hold *h = d->ending;

		d->ending = h->next;
		atomic_store_explicit(&h->over, true, memory_order_release);
		park_wake(&h->park); /* it is freed by a message, so not before this has returned */
	}
}
