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
 * its reply.
 *
 * dispatch_lend and dispatch_unlend on the loop, dispatch_send_own on the worker.  r->lent is the loop's, but for a
 * worker that has won the claim: from then on until its message the loop leaves it as it is.
 */
#include "dispatch_internal.h"

/* Its places are given back behind its message.  Where there is one alone its client, answered before that, could be
 * refused for the request it has just had answered. */
static bool holds_the_only_place(const struct ol_req *r)
{
	return r->counted_inflight || r->home->shared->requests_max == 1;
}

void dispatch_lend(struct ol_req *r)
{
	struct stream *s = r->stream;

	if (r->in || holds_the_only_place(r) || !s->ops->lend(s))
		return;
	r->lent = s;
	r->lent_turn = loop_turns(r->home->loop);
	r->may_send = true;
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
	if (r->streaming || !loop_is_idle(r) || !exchange_claim(r, CLAIM_WORKER))
		return;
	r->lent->ops->send_own(r->lent, &r->reply, &r->arena, &r->own);
}
