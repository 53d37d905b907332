/* dispatch_lend.c: a worker that sends its own small reply.
 *
 * Two threads are woken for a sync request, its worker and then its loop.  Where nothing else is in flight the client
 * waits for both, and the loop's part is the larger; so there the worker sends the reply itself, and then tells the
 * loop, which books it.  With others in flight nothing would be gained: the loop is awake, and sends many at once.
 *
 * A loan and a claim make that safe.  When the request is queued its connection lends the stream (stream_ops.lend): it
 * has nothing to send and will have nothing, and its descriptor stays open until the loan ends, whatever becomes of it.
 * The worker uses it only when it has won the claim (CLAIM_WORKER), and gives it back with its message.  Where the loop
 * has won the claim, as the client has left or the deadline has come, the loan ends at once.  Where it has lost, the
 * worker is about to make a system call that does not wait, and its message is there in a moment; for so long a
 * connection that was broken off keeps its descriptor, and a deadline has not been missed.  A handler that commits a
 * stream ends the loan with its first message, since a stream is sent by the loop alone.
 *
 * What the kernel did not take, all of the reply or its end, the loop sends.  So no byte is sent twice, and none of
 * another reply can come between: the next request of the connection begins when the message has come.  What is counted
 * and logged of a request, and what ol_after has left, comes behind that message too, so a little after the client has
 * its reply; what others may be refused for meanwhile is counted without it, or makes that it is not lent.  The send is
 * not the handler's time.
 *
 * dispatch_send_own on the worker, the rest on the loop, which has one request lent at most.  r->lent is the loop's,
 * but for a worker that has won the claim: from then on until its message the loop leaves it as it is.
 */
#include "dispatch_internal.h"

/* What it holds until its message comes.  Its client, answered before that, could be refused for the request it has
 * just had answered: for want of a place on its route, or of memory for bodies. */
static bool holds_what_others_want(const struct ol_req *r)
{
	return r->counted_inflight || r->head.has_body;
}

void dispatch_lend(struct ol_req *r)
{
	struct stream *s = r->stream;

	if (holds_what_others_want(r) || !s->ops->lend(s))
		return;
	r->lent = s;
	r->lent_turn = loop_turns(r->home->loop);
	r->may_send = true;
	r->home->lent = r;
}

bool dispatch_is_crowded(const struct dispatch *d)
{
	unsigned answered = d->lent && exchange_sent_by_worker(d->lent);

	return d->nlive - answered > d->shared->requests_max;
}

/* Its loop is asleep, or in the turn in which it has handed r over: that turn begins with that, and then it goes to
 * sleep, unless the worker it has woken has taken its core. */
static bool loop_is_idle(const struct ol_req *r)
{
	const struct loop *l = r->home->loop;

	return loop_sleeps(l) || loop_turns(l) - r->lent_turn <= 1;
}

void dispatch_send_own(struct ol_req *r)
{
	uint64_t began_ns;

	if (r->streaming || !loop_is_idle(r) || !exchange_claim(r, CLAIM_WORKER))
		return;
	began_ns = clock_now_ns();
	r->lent->ops->send_own(r->lent, &r->reply, &r->arena, &r->own);
	pool_aside(clock_now_ns() - began_ns);
}
