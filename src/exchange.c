/* exchange.c: the life of one request and its reply.
 *
 * An exchange begins when a head has been accepted and ends when two things are true: its handler (and whatever that
 * offloaded) has returned, and its connection is done with the reply.  Until then its arena, its fiber and its reply
 * stay.  It has one owner at a time: the loop, or the one worker that runs its handler; only pool_splice and the loop's
 * inbox pass it on, so handlers need no lock for it.  While a worker owns it, two words of it are shared with the
 * loop: `claim` and `cancelled`.
 *
 * The claim decides who has a streamed reply.  The handler claims at its first ol_write: from then on the pipe is there
 * for both sides.  The loop claims when it gives the stream up, and a handler that writes after that gets -ECANCELED.
 * Both use one compare-and-swap.  A reply made whole needs no claim: the handler's end brings it to the loop, which
 * sends it or, when nobody waits any more, discards and counts it.
 *
 * exchange_finish runs on the handler's thread, so that error bodies and JSON are made there and the loop has only to
 * send.
 */
#include "exchange.h"
#include "dispatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef OL_DEBUG
bool exchange_owned(const struct ol_req *r)
{
	/* A fiber's request belongs to the thread of its loop; a worker's to whoever the pool runs it on. */
	return r->park->loop ? fiber_current(r->home->fibers) != NULL : pool_current() != NULL;
}
#endif

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

	memset(r, 0, sizeof(*r));
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

bool exchange_claim(struct ol_req *r, int who)
{
	int found = CLAIM_OPEN;

	/* Acquire/release: the loop's reasons for giving up, and the handler's reply, are seen by the other side. */
	return atomic_compare_exchange_strong_explicit(
			&r->claim, &found, who, memory_order_acq_rel, memory_order_acquire) ||
		found == who;
}

static void log_failure(struct ol_req *r, const char *what, const char *detail)
{
	struct log_field fields[] = {
		LOG_FIELD_STR("route", slice_of(r->endpoint->name)),
		LOG_FIELD_STR("error", slice_of(detail)),
	};

	log_line(r->home->shared->log, LOG_ERROR, slice_of(what), fields, 2);
}

static void fail(struct ol_req *r, const char *what, const char *detail)
{
	log_failure(r, what, detail);
	reply_error(r, 500, "Internal Server Error");
}

/* What a number below 0 says; -1 is what a handler returns when it has nothing to say. */
static const char *reason(int rc, char *text, size_t n)
{
	return rc == -1 ? "it returned -1" : strerror_r(-rc, text, n);
}

void exchange_finish(struct ol_req *r, int rc)
{
	char text[64];

	if (r->streaming && r->committed) {
		if (rc != 0 && !ol_cancelled(r))
			log_failure(r, "handler broke off its stream",
				rc < 0 ? reason(rc, text, sizeof(text)) : "it returned a number above 0");
		pipe_end(r->out, rc == 0 ? 0 : -ECONNABORTED);
		return;
	}
	if (r->latched == 500)
		reply_error(r, 500, "Internal Server Error"); /* logged when it was latched */
	else if (rc < 0 && r->latched)
		reply_latched(r);
	else if (rc < 0 && ol_cancelled(r))
		reply_error(r, 503, "The request was cancelled");
	else if (rc < 0)
		fail(r, "handler failed", reason(rc, text, sizeof(text)));
	else if (rc > 0)
		fail(r, "handler failed", "it returned a number above 0");
	else if (!r->replied)
		fail(r, "handler failed", "it returned 0 without a reply");
	else if (r->streaming)
		pipe_end(r->out, 0); /* a stream without a write: an empty body */
}
