/* stream.c: replies whose length is not known before: ol_stream and ol_write, and those that are pulled.
 *
 * The body of such a reply is a pipe, from the heap: the handler writes, the connection's loop lends what is there to
 * the protocol, and the pipe decides when either waits (pipe.c).  The first write claims the reply for the handler
 * (exchange.c) and so commits it; from then on the pipe is there for both sides, and the exchange keeps it until the
 * loop has sent or given up the reply.  Until then a stream is a reply like others, which the handler may replace.
 *
 * A pulled stream is written by stream_pull once its handler has returned (chain.c): the app's function fills room in
 * the pipe.  What it pulls from is closed once, whatever happens: here at the end, or by whoever drops the stream.
 * Where nothing is held for the request but its pool's thread, that is given back while the pipe is full, and another
 * job goes on when there is room (may_leave): a client that reads slowly costs no thread.
 *
 * Replies without content (HEAD, 204, 304) have a pipe that nobody writes: what the handler writes is counted and
 * forgotten, and nothing is pulled.
 *
 * Everything runs on the handler's thread, except stream_drop, which is called by whoever owns the exchange.
 */
#include "dispatch.h"
#include "exchange.h"
#include "model.h"

#include <errno.h>
#include <stdlib.h>

/* What a reply is pulled from. */
struct pull {
	ssize_t (*fn)(ol_req *r, void *arg, void *buf, size_t n);
	void (*close)(void *arg);       /* NULL when it has been called, or there is none */
	void *arg;
	bool busy;                      /* fn runs */
	bool over;                      /* it has come to its end, one way or another */
};

static void close_pull(struct pull *pull)
{
	void (*fn)(void *arg) = pull->close;

	pull->close = NULL;
	if (fn)
		fn(pull->arg);
}

void stream_drop(struct ol_req *r)
{
	if (r->pull) {
		close_pull(r->pull);
		r->pull = NULL;
	}
	if (r->out) {
		pipe_fini(r->out);
		free(r->out);
		r->out = NULL;
	}
	r->streaming = false;
	r->events = NULL; /* its timer runs only from the commit on, and is stopped by then */
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

bool stream_has_content(const struct ol_req *r)
{
	return r->head.method != OL_METHOD_HEAD && r->reply.status != 204 && r->reply.status != 304;
}

int stream_commit(struct ol_req *r)
{
	if (!r->committed && !exchange_claim(r, CLAIM_HANDLER))
		return -ECANCELED;
	r->committed = true;
	return 0;
}

int stream_write_nothing(struct ol_req *r, size_t n)
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
	int rc;

	OWNS(r);
	if (r->sealed)
		return -EALREADY;
	if (!r->streaming || r->pull || r->events)
		return -EINVAL;
	if (!r->park)
		return -EDEADLK;
	if (!stream_has_content(r))
		return stream_write_nothing(r, n); /* the head is sent when the handler returns */
	rc = stream_commit(r);
	return rc == 0 && n > 0 ? pipe_write(r->out, r->park, p, n) : rc;
}

/* ---- pulled ------------------------------------------------------------------------------------------------------ */

int ol_pull(ol_req *r, int status, const char *type, ssize_t (*pull)(ol_req *r_, void *arg_, void *buf, size_t n),
	void (*close)(void *arg_), void *arg)
{
	struct pull *p = arena_alloc(&r->arena, sizeof(*p));
	int rc = !p ? -ENOMEM : !r->park ? -EDEADLK : ol_stream(r, status, type);

	OWNS(r);
	if (rc < 0) {
		if (close)
			close(arg);
		return rc;
	}
	r->out->refill = dispatch_pull_again;
	*p = (struct pull){ .fn = pull, .close = close, .arg = arg };
	r->pull = p;
	return 0;
}

bool stream_is_pulling(const struct ol_req *r)
{
	return r->pull && r->pull->busy;
}

/* What the source gives next goes into the room: the bytes put there. */
static ssize_t pull_once(struct ol_req *r, void *room, size_t n)
{
	struct pull *pull = r->pull;
	ssize_t got;
	int rc;

	pull->busy = true;
	got = pull->fn(r, pull->arg, room, n);
	pull->busy = false;
	assert(got <= (ssize_t)n); /* else it has written over other memory */
	rc = got > 0 ? stream_commit(r) : 0;
	return rc < 0 ? rc : got;
}

/* Room in the pipe, as pipe_reserve gives it.  -EAGAIN: it has left; so whoever is told of its pauses on this thread is
 * taken off before. */
static ssize_t reserve(struct ol_req *r, bool may_leave, void **room)
{
	void (*pauses)(struct park *p, bool begins) = r->park->pauses;
	ssize_t n;

	park_pauses(r->park, true);
	if (may_leave)
		r->park->pauses = NULL;
	n = pipe_reserve(r->out, may_leave ? NULL : r->park, room);
	if (n == -EAGAIN)
		return n;
	r->park->pauses = pauses;
	park_pauses(r->park, false);
	return n;
}

/* Until the end, *rc 0, or an error.  False: it has left, and nothing here is its own any more. */
static bool pull_all(struct ol_req *r, bool may_leave, int *rc)
{
	ssize_t n;

	do {
		void *room;

		n = reserve(r, may_leave, &room);
		if (n == -EAGAIN)
			return false;
		if (n < 0)
			break;
		n = pull_once(r, room, (size_t)n);
		park_pauses(r->park, true);
		pipe_added(r->out, n > 0 ? (size_t)n : 0);
		park_pauses(r->park, false);
	} while (n > 0);
	*rc = (int)n;
	return true;
}

bool stream_is_open(const struct ol_req *r)
{
	return r->pull && !r->pull->over;
}

/* A model of a thread a request has it kept to the end. */
static bool keeps_thread(const struct ol_req *r)
{
	return model_of(r->home->shared->config->model)->lane == MODEL_POOL;
}

bool stream_pull(struct ol_req *r, bool may_leave, int *rc)
{
	*rc = 0;
	may_leave = may_leave && !keeps_thread(r);
	if (stream_has_content(r) && !exchange_given_up(r) && !pull_all(r, may_leave, rc))
		return false;
	r->pull->over = true;
	close_pull(r->pull);
	return true;
}
