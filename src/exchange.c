/* exchange.c: the life of one request and its reply.
 *
 * An exchange begins when a head has been accepted and ends when three things are true: its handler (and whatever that
 * offloaded) has returned, its connection is done with the reply, and what the handler has left for after that
 * (after.c) has run.  Until then its arena stays, its fiber until the first and its reply until the second.  It has one
 * owner at a time: the loop, or the one worker that works for it; only pool_splice and the loop's inbox pass it on, so
 * handlers need no lock for it.  While a worker owns it, two words of it are shared with the loop: `claim` and
 * `cancelled`.
 *
 * The claim decides who has a streamed reply.  The handler claims at its first ol_write: from then on the pipe is there
 * for both sides.  The loop claims when it gives the stream up, and a handler that writes after that gets -ECANCELED.
 * Both use one compare-and-swap.  A reply made whole needs no claim where the handler's end brings it to the loop: that
 * sends it or, when nobody waits any more, discards and counts it.  A worker that sends it by itself claims it first
 * (dispatch_lend.c).
 *
 * For whom a thread works (ol_current) is a word of the thread's: whoever starts or resumes a request's code there says
 * so before and takes it back after, so that a fiber that goes on has its own request again, and nobody's code none.
 */
#include "exchange.h"
#include "base/clear.h"
#include "dispatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef OL_DEBUG
bool exchange_owned(const struct ol_req *r)
{
	/* A fiber's request belongs to the thread of its loop; a worker's to whoever the pool runs it on; without a
	 * park (admit hooks) it is the loop's. */
	if (!r->park)
		return pool_current() == NULL;
	return r->park->loop ? fiber_current(r->home->fibers) != NULL : pool_current() != NULL;
}
#endif

/* initial-exec: one load, where the general model calls a function; the library is there when the program starts. */
static _Thread_local __attribute__((tls_model("initial-exec"))) ol_req *current;

struct ol_req *exchange_current(struct ol_req *r)
{
	struct ol_req *was = current;

	current = r;
	return was;
}

ol_req *ol_current(void)
{
	return current;
}

/* Copies head and fields into the arena: one memcpy each, since fields are offsets. */
static int copy_head(struct ol_req *r, const struct head *h)
{
	char *base = arena_alloc(&r->arena, h->n + 1);
	struct head_field *fields = arena_alloc(&r->arena, h->nfields * sizeof(*fields));

	if (!base || !fields)
		return -ENOMEM;
	/* A request that was refused early has neither, and memcpy takes no NULL. */
	if (h->n > 0)
		memcpy(base, h->base, h->n);
	base[h->n] = '\0';
	if (h->nfields > 0)
		memcpy(fields, h->fields, h->nfields * sizeof(*fields));
	r->head = *h;
	r->head.base = base;
	r->head.fields = fields;
	return 0;
}

int exchange_init(struct ol_req *r, struct dispatch *home, struct stream *s, const struct head *h, uint64_t now_ns)
{
	uint32_t slot = r->slot, gen = r->gen;

	clear(r, sizeof(*r));
#ifdef OL_DEBUG
	r->magic = EXCHANGE_MAGIC;
#endif
	r->slot = slot;
	r->gen = gen;
	r->home = home;
	r->stream = s;
	r->start_ns = now_ns;
	if (s->peer)
		r->peer = *s->peer;
	r->fields_end = &r->reply.fields;
	r->trailers_end = &r->reply.trailers;
	arena_init(&r->arena, (char *)r + sizeof(*r), EXCHANGE_SIZE - sizeof(*r));
	return copy_head(r, h);
}

void exchange_fini(struct ol_req *r)
{
	request_fini(r);
	reply_fini(r);
	arena_reset(&r->arena);
#ifdef OL_DEBUG
	r->magic = 0;
#endif
}

bool exchange_given_up(const struct ol_req *r)
{
	/* Relaxed: a hint; the claim itself decides. */
	return atomic_load_explicit(&r->claim, memory_order_relaxed) == CLAIM_LOOP;
}

bool exchange_sent_by_worker(const struct ol_req *r)
{
	/* Relaxed: asked after a claim of the loop's own has failed, which has ordered it, or for nothing that needs
	 * an order. */
	return atomic_load_explicit(&r->claim, memory_order_relaxed) == CLAIM_WORKER;
}

bool exchange_claim(struct ol_req *r, int who)
{
	int found = CLAIM_OPEN;

	/* Acquire/release: the loop's reasons for giving up, and the handler's reply, are seen by the other side. */
	return atomic_compare_exchange_strong_explicit(
			&r->claim, &found, who, memory_order_acq_rel, memory_order_acquire) ||
		found == who;
}
