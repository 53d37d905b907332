/* dispatch_end.c: how requests end: answered, refused for want of room, sent, or given up.
 *
 * dispatch_answer hands the reply to the connection, which says dispatch_sent when it is out.  A client that leaves
 * before that ends the request at once where nobody works for it: a queued job is taken back, before it costs a thread.
 * Where a handler runs it is told (cancel) and goes on until it returns; what it then has to say is discarded.
 *
 * The loop's thread only.
 */
#include "dispatch_internal.h"

#include <errno.h>

/* ---- answering --------------------------------------------------------------------------------------------------- */

/* The reply is complete. */
void dispatch_answer(struct ol_req *r)
{
	struct stream *s = r->stream;

	r->state = EXCHANGE_DONE;
	if (!s) {
		dispatch_release(r);
		return;
	}
	s->reply = &r->reply;
	s->ops->reply_ready(s);
}

void dispatch_answer_error(struct ol_req *r, int status, const char *detail)
{
	reply_error(r, status, detail);
	dispatch_answer(r);
}

void dispatch_shed(struct ol_req *r, const char *detail)
{
	metric_add(r->home->metrics, METRIC_SHED, 1);
	reply_error(r, 503, detail);
	(void)reply_field_add(r, "Retry-After", SLICE("1"));
	dispatch_answer(r);
}

/* ---- sent -------------------------------------------------------------------------------------------------------- */

static void log_access(struct ol_req *r, uint64_t ns)
{
	struct dispatch *d = r->home;
	char remote[PEER_TEXT_MAX];
	uint64_t bytes = r->out ? r->out->total : r->reply.length;
	struct log_field fields[] = {
		LOG_FIELD_STR("method", head_slice(&r->head, r->head.method_at, r->head.method_n)),
		LOG_FIELD_STR("target", head_slice(&r->head, r->head.target, r->head.target_n)),
		LOG_FIELD_INT("status", r->reply.status),
		LOG_FIELD_INT("bytes", (int64_t)bytes),
		LOG_FIELD_US("duration", (int64_t)(ns / NS_PER_US)),
		LOG_FIELD_STR("remote", ((struct slice){ remote, peer_format(remote, &r->peer) })),
		LOG_FIELD_STR("route", slice_of(r->endpoint ? r->endpoint->pattern->text : "")),
		LOG_FIELD_STR("lane", slice_of(!r->endpoint ? "" : r->endpoint->sync ? "sync" : "async")),
	};

	log_line(d->shared->log, LOG_INFO, SLICE("request"), fields, sizeof(fields) / sizeof(fields[0]));
}

void dispatch_sent(struct dispatch *d, struct stream *s)
{
	struct ol_req *r = s->req;
	uint64_t ns = loop_clock(d->loop) - r->start_ns;

	metrics_request(d->metrics, r->endpoint ? r->endpoint->index : d->shared->nendpoints, r->head.method,
		r->reply.status, ns);
	if (d->shared->config->access_log)
		log_access(r, ns);
	s->req = NULL;
	s->reply = NULL;
	r->stream = NULL;
	r->answered = true;
	dispatch_release(r);
}

/* ---- given up ---------------------------------------------------------------------------------------------------- */

/* Tells a handler that runs, or may, that nobody waits. */
static void cancel(struct ol_req *r)
{
	/* Relaxed: park_wake orders it for who waits; who polls needs no more. */
	atomic_store_explicit(&r->cancelled, true, memory_order_relaxed);
	if (r->offload)
		offload_cancel(r->offload);
	if (r->park)
		park_wake(r->park);
}

/* A queued job that no worker has begun is taken back. */
static bool drop_job(struct ol_req *r)
{
	if (r->state != EXCHANGE_QUEUED || !pool_drop(dispatch_pool_of(r)->pool, &r->job))
		return false;
	dispatch_leave(r);
	return true;
}

void dispatch_gone(struct dispatch *d, struct stream *s)
{
	struct ol_req *r = s->req;

	if (!r)
		return;
	metric_add(d->metrics, METRIC_DEPARTED, 1);
	s->req = NULL;
	s->reply = NULL;
	r->stream = NULL;
	if (r->state == EXCHANGE_HEAD || r->state == EXCHANGE_BODY || drop_job(r))
		r->state = EXCHANGE_DONE;
	if (r->state != EXCHANGE_DONE) {
		cancel(r); /* first, so that who is told by a pipe or the claim knows why */
		if (!exchange_claim(r, CLAIM_LOOP))
			pipe_end(r->out, -ECANCELED); /* it streams */
		if (r->in)
			pipe_end(r->in, -ECANCELED);
	}
	dispatch_release(r);
}

void dispatch_cancel(struct dispatch *d, struct stream *s)
{
	struct ol_req *r = s->req;

	(void)d;
	if (!r || r->state == EXCHANGE_DONE)
		return;
	if (drop_job(r))
		dispatch_answer_error(r, 503, "The request was cancelled");
	else if (r->state == EXCHANGE_QUEUED || r->state == EXCHANGE_RUNNING)
		cancel(r);
}
