/* stream.c: replies whose length is not known before: ol_stream and ol_write.
 *
 * The body of such a reply is a pipe, from the heap: the handler writes, the connection's loop lends what is there to
 * the protocol, and the pipe decides when either waits (pipe.c).  The first write claims the reply for the handler
 * (exchange.c) and so commits it; from then on the pipe is there for both sides, and the exchange keeps it until the
 * loop has sent or given up the reply.  Until then a stream is a reply like others, which the handler may replace.
 *
 * Replies without content (HEAD, 204, 304) have a pipe that nobody writes: what the handler writes is counted and
 * forgotten.
 *
 * Everything runs on the handler's thread, except stream_drop, which is called by whoever owns the exchange.
 */
#include "dispatch.h"
#include "exchange.h"

#include <errno.h>
#include <stdlib.h>

void stream_drop(struct ol_req *r)
{
	if (r->out) {
		pipe_fini(r->out);
		free(r->out);
		r->out = NULL;
	}
	r->streaming = false;
}

int ol_stream(ol_req *r, int status, const char *type)
{
	struct pipe *p = malloc(sizeof(*p));
	struct slice t;
	int rc = p ? reply_type(r, type, &t) : -ENOMEM;

	if (rc == 0)
		rc = reply_begin(r, status, t);
	if (rc < 0) {
		free(p);
		return rc;
	}
	pipe_init(p, r->home->loop, r, dispatch_stream_ready);
	r->out = p;
	r->streaming = true;
	r->reply.kind = BODY_PULL;
	r->reply.body.source = &p->source;
	return 0;
}

/* Whether what is written is sent at all (RFC 9110 §6.4.1). */
static bool has_content(const struct ol_req *r)
{
	return r->head.method != OL_METHOD_HEAD && r->reply.status != 204 && r->reply.status != 304;
}

/* Nobody is sent these bytes, so nobody's pace holds the handler up; but a stream that has no end must neither keep its
 * loop from others nor outlive its client. */
static int write_nothing(struct ol_req *r, size_t n)
{
	r->unsent += n;
	if (r->unsent < PIPE_HIGH)
		return 0;
	r->unsent = 0;
	(void)park_wait(r->park, 0); /* a turn of the loop */
	return ol_cancelled(r) ? -ECANCELED : 0;
}

int ol_write(ol_req *r, const void *p, size_t n)
{
	OWNS(r);
	if (!r->streaming)
		return -EINVAL;
	if (r->sealed)
		return -EALREADY;
	if (!r->park)
		return -EDEADLK;
	if (!has_content(r))
		return write_nothing(r, n); /* the head is sent when the handler returns */
	if (!r->committed) {
		if (!exchange_claim(r, CLAIM_HANDLER))
			return -ECANCELED;
		r->committed = true;
	}
	return n > 0 ? pipe_write(r->out, r->park, p, n) : 0;
}
