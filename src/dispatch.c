/* dispatch.c: from a request's head to its handler, in its lane, and back.
 *
 * The connection tells what comes (head, body, end); dispatch finds the route, checks parameters and size, and then
 * starts the handler: an async one at once on a fiber; a sync one by way of its pool.  Jobs are collected during a turn
 * of the loop and handed to the pools together (dispatch_queue.c), so a busy loop takes each pool's lock once a turn.
 * A worker's last act is to post the exchange's `done` message, which brings it back here.
 *
 * Which lane is read from the endpoint when the handler may start, and kept by the request (r->pooled): a route that
 * moves (lane.c) takes along none that has started.
 *
 * A handler starts when its request is whole, so that a slow client holds no worker; a .stream route's starts with the
 * head.  Before its body is waited for, the app's admit hooks are asked, here on the loop's own stack.  An error that
 * is found before the handler could start is started in its stead where the app says how such errors look
 * (answer_found); without a route that is on a fiber here, by an endpoint that no pattern leads to.
 *
 * What is done for routes that may move is in dispatch_lane.c; how requests end is in dispatch_end.c, their memory in
 * dispatch_home.c, their places and pools in dispatch_pool.c.
 *
 * All of this runs on the loop's thread, except the jobs (workers), expire_job and the dispatch_body_ functions (any).
 */
#include "chain.h"
#include "dispatch_internal.h"
#include "hold.h"
#include "lane.h"
#include "method.h"
#include "probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void start(struct ol_req *r);

/* ---- answering --------------------------------------------------------------------------------------------------- */

/* What the server has found out by itself.  When it is an error, the app may have a say in how that looks: in the
 * route's lane, or for a request without a route on a fiber here. */
static void answer_found(struct ol_req *r)
{
	const struct dispatch_shared *s = r->home->shared;
	const struct endpoint *e = r->endpoint ? r->endpoint : &s->endpoints[s->nendpoints];

	if (!r->error_new || !chain_has_on_error(e->chain, r->reply.status)) {
		dispatch_answer(r);
		return;
	}
	if (!r->endpoint) {
		r->endpoint = e;
		dispatch_count_in_flight(r, 1);
	}
	r->stream->body_paused = r->head.has_body; /* nobody will read it; what is left of it can wait for the reply */
	start(r);
}

/* "GET, HEAD, OPTIONS" in the arena. */
static struct slice allow_text(struct ol_req *r, uint32_t allow)
{
	char *p = arena_alloc(&r->arena, 64);
	size_t n = 0;

	for (unsigned i = 1; p && i < METHODS; i++) {
		struct slice name = slice_of(method_name(i));

		if (!(allow >> i & 1))
			continue;
		if (n > 0) {
			memcpy(p + n, ", ", 2);
			n += 2;
		}
		memcpy(p + n, name.p, name.n);
		n += name.n;
	}
	return (struct slice){ p, n };
}

static void answer_method(struct ol_req *r, uint32_t allow)
{
	struct slice text;

	if (r->head.method == OL_METHOD_OPTIONS) {
		reply_reset(r);
		r->reply.status = 204;
	} else {
		reply_error(r, 405, "Method Not Allowed");
	}
	text = allow_text(r, allow);
	(void)reply_field_add(r, "Allow", text);
	answer_found(r);
}

/* 307 to the path with its trailing slash added or removed. */
static void answer_slash(struct ol_req *r)
{
	struct slice path = r->raw_path, query = head_slice(&r->head, r->head.query, r->head.query_n);
	size_t n = path.n;
	char *p = arena_alloc(&r->arena, path.n + query.n + 2);

	if (!p || (path.n > 1 && path.p[1] == '/')) { /* "//host" would send the client to another server */
		reply_error(r, 404, "Not Found");
		answer_found(r);
		return;
	}
	memcpy(p, path.p, path.n);
	if (path.p[path.n - 1] == '/')
		n--;
	else
		p[n++] = '/';
	if (query.n > 0) {
		p[n++] = '?';
		memcpy(p + n, query.p, query.n);
		n += query.n;
	}
	reply_reset(r);
	r->reply.status = 307;
	(void)reply_field_add(r, "Location", (struct slice){ p, n });
	dispatch_answer(r);
}

void dispatch_stream_ready(struct pipe *p)
{
	struct ol_req *r = p->owner;

	dispatch_unlend(r);
	if (!r->stream || r->given_up) {
		dispatch_release(r);
		return;
	}
	if (r->events)
		events_begun(r);
	r->stream->reply = &r->reply;
	r->stream->ops->reply_ready(r->stream);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void handler_ended(struct ol_req *r)
{
	dispatch_leave(r);
	if (r->erred)
		metric_add(r->home->metrics, METRIC_HANDLER_ERRORS, 1);
	dispatch_answer(r);
}

static void enter_app(struct dispatch *d, const struct ol_req *r, enum watch_what what, const struct fiber *f)
{
	uint32_t route = r && r->endpoint ? r->endpoint->index : d->shared->nendpoints;
	void *low = NULL, *high = NULL;

	if (f)
		fiber_stack_bounds(f, &low, &high);
	watch_enter(d->watch, what, route, d->loop->now_ns, low, high);
}

void dispatch_enter_app(struct dispatch *d, const struct ol_req *r, enum watch_what what)
{
	if (d->watch)
		enter_app(d, r, what, NULL);
}

void dispatch_enter_fiber(const struct ol_req *r, const struct fiber *f)
{
	if (r->home->watch)
		enter_app(r->home, r, WATCH_HANDLER, f);
}

void dispatch_leave_app(struct dispatch *d)
{
	if (d->watch)
		watch_leave(d->watch, loop_clock(d->loop));
}

/* The reply of a handler that has ended is as old as that reading of the clock, if it is sent at once. */
static void fiber_ran(struct ol_req *r, bool ended)
{
	struct dispatch *d = r->home;

	if (d->watch && watch_leave(d->watch, loop_clock(d->loop)) && r->endpoint->lane)
		lane_suspect(r->endpoint->lane);
	if (!ended)
		return;
	r->fiber = NULL;
	d->just_ended = d->watch ? r : NULL;
	handler_ended(r);
}

static void resume(struct park *p)
{
	struct ol_req *r = container_of(p, struct ol_req, own_park);
	const struct endpoint *e = r->endpoint;
	struct dispatch *d = r->home;
	bool ended;

	dispatch_enter_fiber(r, p->fiber);
	dispatch_lane_enter(r);
	(void)exchange_current(r);
	ended = fiber_resume(p->fiber);
	(void)exchange_current(NULL);
	dispatch_lane_leave(d, e);
	fiber_ran(r, ended);
}

static void fiber_main(void *arg)
{
	struct ol_req *r = arg;

	dispatch_enter_fiber(r, fiber_current(r->home->fibers));
	(void)chain_run(r); /* a fiber waits where a job would leave */
}

static void start_async(struct ol_req *r)
{
	struct dispatch *d = r->home;
	const struct endpoint *e = r->endpoint;
	int rc;

	park_init_fiber(&r->own_park, d->loop, d->fibers, resume);
	r->park = &r->own_park;
	r->state = EXCHANGE_RUNNING;
	dispatch_lane_enter(r);
	(void)exchange_current(r);
	rc = fiber_start(d->fibers, e->stack, e->name, fiber_main, r, &r->fiber);
	(void)exchange_current(NULL);
	dispatch_lane_leave(d, e);
	if (rc < 0) {
		dispatch_leave(r);
		dispatch_shed(r, "Too many requests are being handled");
	} else {
		fiber_ran(r, r->fiber == NULL);
	}
}

static void job_done(struct loop_msg *m)
{
	handler_ended(container_of(m, struct ol_req, done));
}

/* A message of a worker's, as job_timed_out. */
static void job_without_stack(struct loop_msg *m);

/* On a worker that has no stack of a fiber's size for it.  One that has not begun is refused; a stream that was begun
 * is broken off, so that nothing of the app's runs but what closes it. */
static bool without_stack(struct ol_req *r, bool (*part)(struct ol_req *r_))
{
	if (part == chain_run) {
		r->done.fn = job_without_stack;
		return true;
	}
	pipe_end(r->out, -ENOMEM);
	return part(r);
}

/* On a worker.  A pulled stream may leave its thread before it is over: then r is the loop's until dispatch_pull_again,
 * which may have come already. */
static void work(struct ol_req *r, bool (*part)(struct ol_req *r_))
{
	struct loop *l = r->home->loop;
	bool over;

	(void)exchange_current(r);
	if (!r->endpoint->lane)
		over = part(r);
	else if (dispatch_lane_work(r, part, &over) < 0)
		over = without_stack(r, part);
	(void)exchange_current(NULL);
	if (!over)
		return;
	if (r->may_send && r->done.fn == job_done)
		dispatch_send_own(r);
	loop_post(l, &r->done);
}

static void run_job(struct pool_job *job)
{
	work(container_of(job, struct ol_req, job), chain_run);
}

static void run_pull(struct pool_job *job)
{
	work(container_of(job, struct ol_req, job), chain_go_on);
}

void dispatch_pull_again(struct pipe *p)
{
	struct ol_req *r = p->owner;

	r->state = EXCHANGE_RUNNING; /* its job is not taken back: what it pulls from is to be closed on a worker */
	r->job = (struct pool_job){ .run = run_pull, .tag = r->endpoint->index };
	pool_readmit(dispatch_pool_of(r)->pool);
	dispatch_enqueue(r->home, r->endpoint->pool_index, &r->job);
}

/* It has waited in the queue for too long, and will not run. */
static void job_refused(struct ol_req *r, const char *why)
{
	dispatch_leave(r);
	if (r->stream && !r->given_up) {
		dispatch_shed_pool(r, why);
	} else {
		r->state = EXCHANGE_DONE;
		dispatch_release(r);
	}
}

static void job_timed_out(struct loop_msg *m)
{
	job_refused(container_of(m, struct ol_req, done), "The request waited too long for a thread");
}

static void job_shed(struct loop_msg *m)
{
	job_refused(container_of(m, struct ol_req, done), "The pool is overloaded");
}

static void job_without_stack(struct loop_msg *m)
{
	job_refused(container_of(m, struct ol_req, done), "No memory for a stack");
}

/* On any thread. */
static void expire_job(struct pool_job *job, enum pool_expiry why)
{
	struct ol_req *r = container_of(job, struct ol_req, job);

	r->done.fn = why == POOL_SHED ? job_shed : job_timed_out;
	loop_post(r->home->loop, &r->done);
}

/* A request whose client was slow, by the place it has, or for the thread it has.  One of a route that goes first takes
 * no place among those that do not. */
static void enqueue_held(struct ol_req *r)
{
	if (!r->job.priority && hold_give_place(r->home, r->stream, &r->job))
		return;
	pool_readmit(dispatch_pool_of(r)->pool);
	r->job.priority = 1;
	dispatch_enqueue(r->home, r->endpoint->pool_index, &r->job);
}

static void start_sync(struct ol_req *r)
{
	struct dispatch *d = r->home;
	const struct endpoint *e = r->endpoint;

	if (!r->stream->hold && !pool_admit(dispatch_pool_of(r)->pool)) {
		dispatch_leave(r);
		dispatch_shed_pool(r, "The pool's queue is full");
		return;
	}
	park_init_thread(&r->own_park);
	r->park = &r->own_park;
	r->state = EXCHANGE_QUEUED;
	r->job.run = run_job;
	r->job.expired = expire_job;
	r->job.tag = e->index;
	r->job.priority = e->priority;
	r->job.expires_ns = e->queue_timeout_ns ? d->loop->now_ns + e->queue_timeout_ns : NEVER;
	r->done.fn = job_done;
	if (r->stream->hold) {
		enqueue_held(r);
		return;
	}
	if (d->nlive == 1) /* with others in flight the loop is awake, or will be before this one has run */
		dispatch_lend(r);
	dispatch_enqueue(d, e->pool_index, &r->job);
}

/* Its lane is the one its route has now. */
static void start(struct ol_req *r)
{
	const char *full;

	r->pooled = endpoint_pooled(r->endpoint);
	full = dispatch_enter(r);
	if (full) {
		if (r->pooled)
			dispatch_shed_pool(r, full);
		else
			dispatch_shed(r, full);
		return;
	}
	if (r->endpoint->timeout_ns)
		dispatch_await(r);
	PROBE2(dispatch, r->endpoint->name, r->pooled ? "sync" : "async");
	if (r->pooled)
		start_sync(r);
	else
		start_async(r);
}

/* ---- what the connection tells ----------------------------------------------------------------------------------- */

/* The request's pipe has room again, or its handler waits for the first byte. */
static void body_ready(struct pipe *p)
{
	struct ol_req *r = p->owner;

	if (!r->stream || r->overdue) {
		dispatch_release(r);
		return;
	}
	r->stream->body_paused = false;
	r->stream->ops->want_body(r->stream);
}

static void start_stream(struct ol_req *r)
{
	r->in = malloc(sizeof(*r->in));
	if (!r->in) {
		dispatch_shed(r, "Out of memory");
		return;
	}
	pipe_init(r->in, r->home->loop, r, body_ready);
	r->in->asked = !r->head.expect_100;
	r->stream->body_paused = r->head.expect_100; /* the client may wait for a 100, so nobody waits for it */
	start(r);
}

/* Whether the app's admit hooks let the request pass; else its reply is made. */
static bool admit(struct ol_req *r)
{
	bool yes;

	if (!*r->home->shared->admit)
		return true;
	dispatch_enter_app(r->home, r, WATCH_HOOK);
	(void)exchange_current(r);
	yes = chain_admit(r);
	(void)exchange_current(NULL);
	dispatch_leave_app(r->home);
	if (!yes)
		metric_add(r->home->metrics, METRIC_REFUSED_BY_ADMIT, 1);
	if (r->erred)
		metric_add(r->home->metrics, METRIC_HANDLER_ERRORS, 1);
	return yes;
}

static void answer_latched(struct ol_req *r)
{
	reply_latched(r);
	answer_found(r);
}

static void take_route(struct ol_req *r, const struct route_match *m)
{
	int rc;

	r->endpoint = &r->home->shared->endpoints[m->pattern->index];
	r->pooled = endpoint_pooled(r->endpoint); /* for the access log, if it never starts */
	dispatch_count_in_flight(r, 1);
	rc = request_params(r, m);
	if (rc == -ENOMEM) {
		dispatch_shed(r, "Out of memory");
	} else if (!admit(r)) {
		dispatch_answer(r);
	} else if (rc < 0) {
		answer_latched(r);
	} else if (r->head.content_length > 0 && (uint64_t)r->head.content_length > r->endpoint->body_max) {
		reply_latch(r, 413);
		answer_latched(r);
	} else if (r->head.has_body && r->endpoint->stream) {
		start_stream(r);
	} else if (r->head.has_body) {
		r->state = EXCHANGE_BODY;
		r->stream->ops->want_body(r->stream);
	}
	/* without a body: dispatch_end comes at once and starts it */
}

static void find_route(struct ol_req *r)
{
	struct route_match m;
	char *path = arena_strndup(&r->arena, r->head.base + r->head.path, r->head.path_n);
	ssize_t n;

	if (!path) {
		dispatch_shed(r, "Out of memory");
		return;
	}
	if (path[0] == '*') { /* OPTIONS *: about the server (RFC 9110 §9.3.7) */
		answer_method(r, 1u << OL_METHOD_GET | 1u << OL_METHOD_HEAD | 1u << OL_METHOD_POST |
			1u << OL_METHOD_PUT | 1u << OL_METHOD_PATCH | 1u << OL_METHOD_DELETE | 1u << OL_METHOD_OPTIONS);
		return;
	}
	n = r->head.path_plain ? (ssize_t)r->head.path_n : path_normalize(path, r->head.path_n);
	if (n < 0) {
		dispatch_answer_error(r, 400, "The path is malformed");
		return;
	}
	r->raw_path = (struct slice){ path, (size_t)n };
	switch (router_match(r->home->shared->router, r->head.method, r->raw_path, &m)) {
	case ROUTE_FOUND:
		take_route(r, &m);
		break;
	case ROUTE_METHOD:
		answer_method(r, m.allow);
		break;
	case ROUTE_SLASH:
		answer_slash(r);
		break;
	case ROUTE_NOT_FOUND:
		reply_error(r, 404, "Not Found");
		answer_found(r);
		break;
	}
}

void dispatch_head(struct dispatch *d, struct stream *s, const struct head *h)
{
	struct ol_req *r = dispatch_new(d, s, h);

	metric_add(d->metrics, METRIC_REQUESTS, 1);
	if (!r)
		s->ops->reset(s);
	else if (dispatch_is_crowded(d))
		dispatch_shed(r, "Too many requests are in flight");
	else
		find_route(r);
}

bool dispatch_body_room(struct dispatch_shared *s, size_t n)
{
	/* Relaxed: a bound, it orders nothing. */
	if (atomic_fetch_add_explicit(&s->body_bytes, n, memory_order_relaxed) + n <= s->config->body_total_max)
		return true;
	atomic_fetch_sub_explicit(&s->body_bytes, n, memory_order_relaxed);
	return false;
}

void dispatch_body_free(struct dispatch_shared *s, size_t n)
{
	if (n > 0)
		atomic_fetch_sub_explicit(&s->body_bytes, n, memory_order_relaxed);
}

static void push_body(struct ol_req *r, struct slice data)
{
	bool full = false;

	if (r->body_seen > r->endpoint->body_max)
		pipe_end(r->in, -EMSGSIZE);
	else if (pipe_push(r->in, data.p, data.n, &full) < 0)
		pipe_end(r->in, -ENOMEM);
	if (r->stream)
		r->stream->body_paused = full;
}

static void buffer_body(struct ol_req *r, struct slice data)
{
	struct dispatch_shared *s = r->home->shared;
	size_t whole = r->head.content_length > 0 ? (size_t)r->head.content_length + 1 : 0; /* with ol_body's '\0' */

	if (r->body_seen > r->endpoint->body_max) {
		reply_latch(r, 413);
		answer_latched(r);
	} else if (!dispatch_body_room(s, data.n)) {
		r->reply.close = true;
		dispatch_shed(r, "Too many request bodies are being buffered");
	} else if (buf_append_towards(&r->body, data.p, data.n, whole) < 0) {
		dispatch_body_free(s, data.n);
		dispatch_shed(r, "Out of memory");
	}
}

void dispatch_body(struct dispatch *d, struct stream *s, struct slice data)
{
	struct ol_req *r = s->req;

	(void)d;
	if (!r || r->overdue)
		return;
	r->body_seen += data.n;
	if (r->in)
		push_body(r, data);
	else if (r->state == EXCHANGE_BODY)
		buffer_body(r, data);
}

void dispatch_end(struct dispatch *d, struct stream *s, const struct head *trailers)
{
	struct ol_req *r = s->req;
	int rc;

	(void)d;
	if (!r || r->overdue || r->state == EXCHANGE_DONE)
		return;
	/* An error may be on its way to its reply: then nobody reads the rest. */
	if (!r->in && r->state != EXCHANGE_HEAD && r->state != EXCHANGE_BODY)
		return;
	rc = request_trailers(r, trailers);
	if (r->in) {
		pipe_end(r->in, rc);
	} else if (rc < 0) {
		dispatch_shed(r, "Out of memory");
	} else {
		r->body_whole = true;
		start(r);
	}
}

void dispatch_refuse(struct dispatch *d, struct stream *s, int status, const char *why)
{
	static const struct head none = { .base = "", .minor = 1, .method = OL_METHOD_GET, .content_length = -1 };
	struct ol_req *r = s->req;

	metric_add(d->metrics, METRIC_REFUSED, 1);
	if (!r)
		r = dispatch_new(d, s, &none);
	if (!r) {
		s->ops->reset(s);
		return;
	}
	if (r->in) { /* the handler runs: it is told, and answers with what its read latches */
		pipe_end(r->in, status == 408 ? -ETIMEDOUT : status == 413 ? -EMSGSIZE : -EBADMSG);
		return;
	}
	if (r->state != EXCHANGE_HEAD && r->state != EXCHANGE_BODY)
		return;
	reply_error(r, status, why);
	r->reply.close = true;
	dispatch_answer(r);
}
