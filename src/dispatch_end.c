/* dispatch_end.c: how requests end: answered, refused for want of room, overdue, sent, or given up.
 *
 * dispatch_answer hands the reply to the connection, which says dispatch_sent when it is out.  Two things may come
 * first, a client that leaves and the deadline of a route with .timeout.  Both end the request at once where nobody
 * works for it yet: a job that is batched or queued is taken back, before it costs a thread.  Where a handler runs,
 * both tell it (`cancelled`, its park woken, its pipes broken) and neither stops it: it keeps its thread and its places
 * until it returns, and what it then has to say is thrown away and counted.
 *
 * Who answers an overdue request is settled by the claim.  The loop has won: the client is given a reply that is
 * constant, since the exchange's own belongs to whoever runs the handler, and the connection goes on.  The handler has
 * committed a stream: that is broken off, so that the client sees it is incomplete.  A worker is sending the reply by
 * itself: that is in time.  Any other reply that is made whole claims nothing, so it is late from the moment the timer
 * has fired, even with its message under way.
 *
 * A deadline's timer is armed only while a handler owes a reply: dispatch_answer and a departure disarm it, and so does
 * the end of what is sent, since a stream may be over before its handler's message has come.
 *
 * The loop's thread only.
 */
#include "dispatch_internal.h"
#include "trace.h"

#include <errno.h>
#include <stdio.h>

#define OVERDUE "The request took too long"

/* ---- answering --------------------------------------------------------------------------------------------------- */

/* Costs who has no deadline a branch. */
static void disarm(struct ol_req *r)
{
	if (timer_armed(&r->deadline))
		wheel_del(&r->home->loop->wheel, &r->deadline);
}

void dispatch_answer(struct ol_req *r)
{
	struct stream *s = r->stream;

	r->state = EXCHANGE_DONE;
	disarm(r);
	dispatch_unlend(r);
	if (r->given_up)
		metric_add(r->home->metrics, METRIC_LATE, 1);
	if (!s || r->given_up) {
		dispatch_release(r);
		return;
	}
	s->reply = &r->reply;
	if (r->own.sent > 0)
		s->ops->own_sent(s, &r->own);
	else
		s->ops->reply_ready(s);
}

void dispatch_answer_error(struct ol_req *r, int status, const char *detail)
{
	reply_error(r, status, detail);
	dispatch_answer(r);
}

static void shed(struct ol_req *r, const char *detail, struct slice retry_after)
{
	metric_add(r->home->metrics, METRIC_SHED, 1);
	reply_error(r, 503, detail);
	(void)reply_field_add(r, "Retry-After", retry_after);
	dispatch_answer(r);
}

void dispatch_shed(struct ol_req *r, const char *detail)
{
	shed(r, detail, SLICE("1"));
}

void dispatch_shed_pool(struct ol_req *r, const char *detail)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", pool_retry_after_s(dispatch_pool_of(r)->pool));

	shed(r, detail, (struct slice){ text, (size_t)n });
}

/* ---- sent -------------------------------------------------------------------------------------------------------- */

/* What is told is the reply that was sent: r->reply may still be its handler's. */
static void log_access(struct ol_req *r, const struct reply *reply, uint64_t ns)
{
	struct dispatch *d = r->home;
	char remote[PEER_TEXT_MAX];
	struct trace t;
	bool traced = trace_of(r, &t);
	uint64_t bytes = reply->kind == BODY_PULL ? r->out->total : reply->length;
	struct log_field fields[] = {
		LOG_FIELD_STR("method", head_slice(&r->head, r->head.method_at, r->head.method_n)),
		LOG_FIELD_STR("target", head_slice(&r->head, r->head.target, r->head.target_n)),
		LOG_FIELD_INT("status", reply->status),
		LOG_FIELD_INT("bytes", (int64_t)bytes),
		LOG_FIELD_US("duration", (int64_t)(ns / NS_PER_US)),
		LOG_FIELD_STR("remote", ((struct slice){ remote, peer_format(remote, &r->peer) })),
		LOG_FIELD_STR("route", slice_of(r->endpoint ? r->endpoint->pattern->text : "")),
		LOG_FIELD_STR("lane", slice_of(!r->endpoint ? "" : r->pooled ? "sync" : "async")),
		LOG_FIELD_STR("trace_id", slice_of(traced ? t.trace_id : "")), /* last: left out where there is none */
	};

	log_line(d->shared->log, LOG_INFO, SLICE("request"), fields, sizeof(fields) / sizeof(fields[0]) - !traced);
}

void dispatch_sent(struct dispatch *d, struct stream *s)
{
	struct ol_req *r = s->req;
	uint64_t ns = (d->just_ended == r ? d->loop->now_ns : loop_clock(d->loop)) - r->start_ns;

	d->just_ended = NULL;
	metrics_request(d->metrics, r->endpoint ? r->endpoint->index : d->shared->nendpoints, r->head.method,
		s->reply->status, r->pooled, ns);
	if (d->shared->config->access_log)
		log_access(r, s->reply, ns);
	disarm(r);
	s->req = NULL;
	s->reply = NULL;
	r->stream = NULL;
	r->answered = true;
	dispatch_release(r);
}

/* ---- given up ---------------------------------------------------------------------------------------------------- */

static enum dispatch_drop departure(const struct dispatch *d)
{
	return d->abandoned ? DROP_SHUTDOWN : DROP_CLIENT_LEFT;
}

/* First of all, so that a handler that is told by the claim, a pipe or its park knows why. */
static void mark_cancelled(struct ol_req *r)
{
	/* Relaxed: those order it for who waits; who polls needs no more. */
	atomic_store_explicit(&r->cancelled, true, memory_order_relaxed);
}

static void wake(struct ol_req *r, enum dispatch_drop why)
{
	offload_cancel(r, why);
	if (r->park)
		park_wake(r->park);
}

void dispatch_tell(struct ol_req *r, enum dispatch_drop why)
{
	mark_cancelled(r);
	wake(r, why);
}

/* A job that no worker has begun is taken back. */
static bool drop_job(struct ol_req *r, enum dispatch_drop why)
{
	if (r->state != EXCHANGE_QUEUED ||
		!dispatch_take_back(r->home, r->endpoint->pool_index, &r->job, why))
		return false;
	dispatch_leave(r);
	return true;
}

void dispatch_gone(struct dispatch *d, struct stream *s)
{
	struct ol_req *r = s->req;

	if (!r)
		return;
	metric_add(d->metrics, d->abandoned ? METRIC_ABANDONED : METRIC_DEPARTED, 1);
	disarm(r);
	s->req = NULL;
	s->reply = NULL;
	r->stream = NULL;
	if (r->state == EXCHANGE_HEAD || r->state == EXCHANGE_BODY || drop_job(r, departure(d)))
		r->state = EXCHANGE_DONE;
	if (r->state != EXCHANGE_DONE) {
		dispatch_tell(r, departure(d));
		if (!exchange_claim(r, CLAIM_LOOP) && !exchange_sent_by_worker(r))
			pipe_end(r->out, -ECANCELED); /* it streams */
		if (r->in)
			pipe_end(r->in, -ECANCELED);
	}
	if (!exchange_sent_by_worker(r))
		dispatch_unlend(r);
	dispatch_release(r);
}

void dispatch_cancel(struct dispatch *d, struct stream *s)
{
	struct ol_req *r = s->req;

	if (!r || r->state == EXCHANGE_DONE)
		return;
	if (drop_job(r, departure(d)))
		dispatch_answer_error(r, 503, "The request was cancelled");
	else if (r->state == EXCHANGE_QUEUED || r->state == EXCHANGE_RUNNING)
		dispatch_tell(r, departure(d));
}

void dispatch_abandon(struct dispatch *d)
{
	d->abandoned = true;
	after_abandon(d);
}

/* ---- overdue ----------------------------------------------------------------------------------------------------- */

/* Answers in the handler's stead. */
static void give_up(struct ol_req *r)
{
	static const struct reply overdue = {
		.status = 504,
		.type = { "application/json", sizeof("application/json") - 1 },
		.kind = BODY_BYTES,
		.body.bytes = { "{\"detail\":\"" OVERDUE "\"}", sizeof("{\"detail\":\"" OVERDUE "\"}") - 1 },
		.length = sizeof("{\"detail\":\"" OVERDUE "\"}") - 1,
	};

	metric_add(r->home->metrics, METRIC_DEADLINE_RUNNING, 1);
	r->given_up = true;
	r->stream->reply = &overdue;
	r->stream->ops->reply_ready(r->stream);
}

/* The handler's stream is not complete, and the client must see that. */
static void break_off(struct ol_req *r)
{
	metric_add(r->home->metrics, METRIC_DEADLINE_STREAMING, 1);
	r->stream->ops->reply_ready(r->stream); /* without its reply yet, its message will come */
}

static void on_deadline(struct timer *t)
{
	struct ol_req *r = container_of(t, struct ol_req, deadline);
	bool won, whole;

	if (drop_job(r, DROP_DEADLINE)) {
		metric_add(r->home->metrics, METRIC_DEADLINE_QUEUED, 1);
		dispatch_answer_error(r, 504, OVERDUE);
		return;
	}
	mark_cancelled(r);
	won = exchange_claim(r, CLAIM_LOOP);
	if (!won && exchange_sent_by_worker(r))
		return; /* in time */
	dispatch_unlend(r);
	r->overdue = true;
	whole = !won && pipe_end(r->out, -ECANCELED); /* the handler has just ended it */
	if (r->in)
		pipe_end(r->in, -ECANCELED);
	wake(r, DROP_DEADLINE); /* last: what it does then changes nothing of this */
	if (won)
		give_up(r);
	else if (!whole)
		break_off(r);
}

void dispatch_await(struct ol_req *r)
{
	timer_init(&r->deadline, on_deadline);
	wheel_add(&r->home->loop->wheel, &r->deadline, r->home->loop->now_ns + r->endpoint->timeout_ns);
}
