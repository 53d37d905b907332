/* dispatch.c: from a request's head to its handler, in its lane, and back.
 *
 * The connection tells what comes (head, body, end, departure); dispatch finds the route, checks parameters and size,
 * and then starts the handler: an async one at once on a fiber; a sync one by way of its pool.  Jobs are collected
 * during a turn of the loop and handed to the pools together (dispatch_flush), so a busy loop takes each pool's lock
 * once a turn.  A worker's last act is to post the exchange's `done` message, which brings it back here.
 *
 * A handler starts when its request is whole, so that a slow client holds no worker; a .stream route's starts with the
 * head.
 *
 * Every exchange ends in `release`, called whenever one of these may have become true, and working when all are: its
 * handler has ended (state DONE), its connection is done with it (stream == NULL), no message of its pipes is on its
 * way.  Exchanges keep their memory for the next: a handle is its slot and a generation that changes at release.
 *
 * All of this runs on the loop's thread, except run_job (worker) and the two dispatch_body_ functions (any).
 */
#include "dispatch.h"
#include "method.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_MAX 256
#define SPARE_STACKS 64
#define NO_SLOT UINT32_MAX
#define RETRY_NS (20 * NS_PER_MS)
#define TELL_NS (10 * NS_PER_S)

/* ---- exchanges of this loop -------------------------------------------------------------------------------------- */

/* A slot for new memory: 0 or -ENOMEM. */
static int take_slot(struct dispatch *d, struct ol_req *r)
{
	uint32_t i = d->free_slot;

	if (i == NO_SLOT) {
		uint32_t n = d->nslots ? d->nslots * 2 : 64;
		struct exchange_slot *slots = realloc(d->slots, n * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		for (uint32_t k = d->nslots; k < n; k++)
			slots[k] = (struct exchange_slot){ NULL, 1, k + 1 < n ? k + 1 : NO_SLOT };
		i = d->nslots;
		d->slots = slots;
		d->nslots = n;
	}
	d->free_slot = d->slots[i].next_free;
	d->slots[i].req = r;
	r->slot = i;
	r->gen = d->slots[i].gen;
	return 0;
}

static void free_memory(struct dispatch *d, struct ol_req *r)
{
	struct exchange_slot *slot = &d->slots[r->slot];

	slot->req = NULL;
	slot->next_free = d->free_slot;
	d->free_slot = r->slot;
	free(r);
}

static struct ol_req *new_memory(struct dispatch *d)
{
	struct list *node = list_pop(&d->spare);
	struct ol_req *r;

	if (node) {
		d->nspare--;
		return container_of(node, struct ol_req, node);
	}
	r = malloc(EXCHANGE_SIZE);
	if (r && take_slot(d, r) < 0) {
		free(r);
		r = NULL;
	}
	return r;
}

/* Read by whoever names the routes that are stuck. */
static void count_in_flight(struct ol_req *r, int n)
{
	counter_add(&r->home->metrics->in_flight[r->endpoint->index], (uint64_t)n);
}

/* Read when no handler writes any more. */
static bool message_pending(const struct pipe *p)
{
	return p && p->posted;
}

static void release(struct ol_req *r)
{
	struct dispatch *d = r->home;

	if (r->state != EXCHANGE_DONE || r->stream || message_pending(r->in) || message_pending(r->out))
		return;
	if (!r->answered)
		metric_add(d->metrics, METRIC_DISCARDED, 1);
	if (r->endpoint)
		count_in_flight(r, -1);
	exchange_fini(r);
	d->nlive--;
	r->gen = ++d->slots[r->slot].gen;
	if (d->nspare < SPARE_MAX) {
		list_push_front(&d->spare, &r->node);
		d->nspare++;
	} else {
		free_memory(d, r);
	}
}

static struct ol_req *new_exchange(struct dispatch *d, struct stream *s, const struct head *h)
{
	struct ol_req *r = new_memory(d);

	if (!r)
		return NULL;
	if (exchange_init(r, d, s, h, d->loop->now_ns) < 0) {
		arena_reset(&r->arena);
		free_memory(d, r);
		return NULL;
	}
	d->nlive++;
	s->req = r;
	return r;
}

struct ol_req *dispatch_lookup(struct dispatch *d, uint32_t slot, uint32_t gen)
{
	return slot < d->nslots && d->slots[slot].gen == gen ? d->slots[slot].req : NULL;
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

/* The reply is complete. */
static void answer(struct ol_req *r)
{
	struct stream *s = r->stream;

	r->state = EXCHANGE_DONE;
	if (!s) {
		release(r);
		return;
	}
	s->reply = &r->reply;
	s->ops->reply_ready(s);
}

static void answer_error(struct ol_req *r, int status, const char *detail)
{
	reply_error(r, status, detail);
	answer(r);
}

static void shed(struct ol_req *r, const char *detail)
{
	metric_add(r->home->metrics, METRIC_SHED, 1);
	reply_error(r, 503, detail);
	(void)reply_field_add(r, "Retry-After", SLICE("1"));
	answer(r);
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
	answer(r);
}

/* 307 to the path with its trailing slash added or removed. */
static void answer_slash(struct ol_req *r)
{
	struct slice path = r->raw_path, query = head_slice(&r->head, r->head.query, r->head.query_n);
	size_t n = path.n;
	char *p = arena_alloc(&r->arena, path.n + query.n + 2);

	if (!p || (path.n > 1 && path.p[1] == '/')) { /* "//host" would send the client to another server */
		answer_error(r, 404, "Not Found");
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
	answer(r);
}

void dispatch_stream_ready(struct pipe *p)
{
	struct ol_req *r = p->owner;

	if (!r->stream) {
		release(r);
		return;
	}
	r->stream->reply = &r->reply;
	r->stream->ops->reply_ready(r->stream);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static struct dispatch_pool *pool_of(struct ol_req *r)
{
	return &r->home->shared->pools[r->endpoint->pool_index];
}

static void handler_ended(struct ol_req *r)
{
	dispatch_leave(r);
	if (r->reply.status == 500)
		metric_add(r->home->metrics, METRIC_HANDLER_ERRORS, 1);
	answer(r);
}

static void enter_app(struct dispatch *d, const struct ol_req *r, enum watch_what what, const struct fiber *f)
{
	uint32_t route = r && r->endpoint ? r->endpoint->index : d->shared->nendpoints;
	void *low = NULL, *high = NULL;

	if (f)
		fiber_stack_bounds(f, &low, &high);
	watch_enter(d->watch, what, route, r ? (uint64_t)r->gen << 32 | r->slot : 0, d->loop->now_ns, low, high);
}

void dispatch_enter_app(struct dispatch *d, const struct ol_req *r, enum watch_what what)
{
	if (d->watch)
		enter_app(d, r, what, NULL);
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

	dispatch_leave_app(d);
	if (!ended)
		return;
	r->fiber = NULL;
	d->just_ended = d->watch ? r : NULL;
	handler_ended(r);
}

static void resume(struct park *p)
{
	struct ol_req *r = container_of(p, struct ol_req, own_park);

	if (r->home->watch)
		enter_app(r->home, r, WATCH_HANDLER, p->fiber);
	fiber_ran(r, fiber_resume(p->fiber));
}

static void fiber_main(void *arg)
{
	struct ol_req *r = arg;

	if (r->home->watch)
		enter_app(r->home, r, WATCH_HANDLER, fiber_current(r->home->fibers));
	exchange_finish(r, r->endpoint->handler(r));
}

static void start_async(struct ol_req *r)
{
	struct dispatch *d = r->home;
	const struct endpoint *e = r->endpoint;

	park_init_fiber(&r->own_park, d->loop, d->fibers, resume);
	r->park = &r->own_park;
	r->state = EXCHANGE_RUNNING;
	if (fiber_start(d->fibers, e->stack, e->name, fiber_main, r, &r->fiber) < 0) {
		dispatch_leave(r);
		shed(r, "Too many requests are being handled");
	} else {
		fiber_ran(r, r->fiber == NULL);
	}
}

static void job_done(struct loop_msg *m)
{
	handler_ended(container_of(m, struct ol_req, done));
}

/* On a worker. */
static void run_job(struct pool_job *job)
{
	struct ol_req *r = container_of(job, struct ol_req, job);
	struct loop *l = r->home->loop;

	exchange_finish(r, r->endpoint->handler(r));
	loop_post(l, &r->done);
}

static void start_sync(struct ol_req *r)
{
	struct dispatch *d = r->home;

	if (!pool_admit(pool_of(r)->pool)) {
		dispatch_leave(r);
		shed(r, "The pool's queue is full");
		return;
	}
	park_init_thread(&r->own_park);
	r->park = &r->own_park;
	r->state = EXCHANGE_QUEUED;
	r->job.run = run_job;
	r->job.tag = r->endpoint->index;
	r->done.fn = job_done;
	pool_batch_add(&d->batches[r->endpoint->pool_index], &r->job);
	d->batched++;
}

static void start(struct ol_req *r)
{
	const char *full = dispatch_enter(r);

	if (full)
		shed(r, full);
	else if (r->endpoint->sync)
		start_sync(r);
	else
		start_async(r);
}

/* Jobs wait, and no thread can be started for them, for want of memory or by a limit.  Said every ten seconds, as
 * long as it lasts. */
static void tell_stalled(struct dispatch *d, const struct pool *p)
{
	struct log_field pool = LOG_FIELD_STR("pool", slice_of(pool_name(p)));

	if (d->loop->now_ns < d->tell_stalled_ns)
		return;
	d->tell_stalled_ns = d->loop->now_ns + TELL_NS;
	log_line(d->shared->log, LOG_WARN, SLICE("cannot start a thread for now: requests wait"), &pool, 1);
}

/* Hands each pool its jobs; where a thread could not be started it is tried again soon. */
static void splice(struct dispatch *d)
{
	d->batched = 0;
	for (unsigned i = 0; i < d->shared->npools; i++) {
		struct pool *p = d->shared->pools[i].pool;

		pool_splice(p, &d->batches[i]);
		if (!pool_stalled(p))
			continue;
		tell_stalled(d, p);
		if (!timer_armed(&d->retry))
			wheel_add(&d->loop->wheel, &d->retry, d->loop->now_ns + RETRY_NS);
	}
}

static void on_retry(struct timer *t)
{
	splice(container_of(t, struct dispatch, retry));
}

void dispatch_flush(struct dispatch *d)
{
	watch_turn(d->watch);
	d->just_ended = NULL;
	metric_set(d->metrics, METRIC_IN_FLIGHT, d->nlive);
	metric_set(d->metrics, METRIC_FIBERS, fiber_pool_live(d->fibers));
	if (d->batched > 0)
		splice(d);
}

/* ---- what the connection tells ----------------------------------------------------------------------------------- */

/* The request's pipe has room again, or its handler waits for the first byte. */
static void body_ready(struct pipe *p)
{
	struct ol_req *r = p->owner;

	if (!r->stream) {
		release(r);
		return;
	}
	r->stream->body_paused = false;
	r->stream->ops->want_body(r->stream);
}

static void start_stream(struct ol_req *r)
{
	r->in = malloc(sizeof(*r->in));
	if (!r->in) {
		shed(r, "Out of memory");
		return;
	}
	pipe_init(r->in, r->home->loop, r, body_ready);
	r->in->asked = !r->head.expect_100;
	r->stream->body_paused = r->head.expect_100; /* the client may wait for a 100, so nobody waits for it */
	start(r);
}

static void take_route(struct ol_req *r, const struct route_match *m)
{
	int rc;

	r->endpoint = &r->home->shared->endpoints[m->pattern->index];
	count_in_flight(r, 1);
	rc = request_params(r, m);
	if (rc == -EINVAL) {
		reply_latched(r);
		answer(r);
	} else if (rc < 0) {
		shed(r, "Out of memory");
	} else if (r->head.content_length > 0 && (uint64_t)r->head.content_length > r->endpoint->body_max) {
		reply_latch(r, 413);
		reply_latched(r);
		answer(r);
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
		shed(r, "Out of memory");
		return;
	}
	if (path[0] == '*') { /* OPTIONS *: about the server (RFC 9110 §9.3.7) */
		answer_method(r, 1u << OL_METHOD_GET | 1u << OL_METHOD_HEAD | 1u << OL_METHOD_POST |
			1u << OL_METHOD_PUT | 1u << OL_METHOD_PATCH | 1u << OL_METHOD_DELETE | 1u << OL_METHOD_OPTIONS);
		return;
	}
	n = path_normalize(path, r->head.path_n);
	if (n < 0) {
		answer_error(r, 400, "The path is malformed");
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
		answer_error(r, 404, "Not Found");
		break;
	}
}

void dispatch_head(struct dispatch *d, struct stream *s, const struct head *h)
{
	struct ol_req *r = new_exchange(d, s, h);

	metric_add(d->metrics, METRIC_REQUESTS, 1);
	if (!r)
		s->ops->reset(s);
	else if (d->nlive > d->shared->requests_max)
		shed(r, "Too many requests are in flight");
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

	if (r->body_seen > r->endpoint->body_max) {
		reply_latch(r, 413);
		reply_latched(r);
		answer(r);
	} else if (!dispatch_body_room(s, data.n)) {
		r->reply.close = true;
		shed(r, "Too many request bodies are being buffered");
	} else if (buf_append(&r->body, data.p, data.n) < 0) {
		dispatch_body_free(s, data.n);
		shed(r, "Out of memory");
	}
}

void dispatch_body(struct dispatch *d, struct stream *s, struct slice data)
{
	struct ol_req *r = s->req;

	(void)d;
	if (!r)
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
	if (!r || r->state == EXCHANGE_DONE)
		return;
	rc = request_trailers(r, trailers);
	if (r->in) {
		pipe_end(r->in, rc);
	} else if (rc < 0) {
		shed(r, "Out of memory");
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
		r = new_exchange(d, s, &none);
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
	answer(r);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

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
	uint64_t ns = (d->just_ended == r ? d->loop->now_ns : loop_clock(d->loop)) - r->start_ns;

	d->just_ended = NULL;
	metrics_request(d->metrics, r->endpoint ? r->endpoint->index : d->shared->nendpoints, r->head.method,
		r->reply.status, ns);
	if (d->shared->config->access_log)
		log_access(r, ns);
	s->req = NULL;
	s->reply = NULL;
	r->stream = NULL;
	r->answered = true;
	release(r);
}

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
	if (r->state != EXCHANGE_QUEUED || !pool_drop(pool_of(r)->pool, &r->job))
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
	release(r);
}

void dispatch_cancel(struct dispatch *d, struct stream *s)
{
	struct ol_req *r = s->req;

	(void)d;
	if (!r || r->state == EXCHANGE_DONE)
		return;
	if (drop_job(r))
		answer_error(r, 503, "The request was cancelled");
	else if (r->state == EXCHANGE_QUEUED || r->state == EXCHANGE_RUNNING)
		cancel(r);
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

int dispatch_init(struct dispatch *d, struct loop *l, struct dispatch_shared *shared, struct metrics_loop *m)
{
	struct fiber_conf fc = { .live_max = shared->fibers_max, .spare_max = SPARE_STACKS };

	memset(d, 0, sizeof(*d));
	d->loop = l;
	d->shared = shared;
	d->metrics = m;
	d->free_slot = NO_SLOT;
	timer_init(&d->retry, on_retry);
	list_init(&d->spare);
	d->batches = calloc(shared->npools + 1, sizeof(*d->batches));
	d->fibers = fiber_pool_new(&fc);
	if (d->batches && d->fibers)
		return 0;
	dispatch_fini(d);
	return -ENOMEM;
}

void dispatch_fini(struct dispatch *d)
{
	struct list *node;

	while ((node = list_pop(&d->spare)))
		free(container_of(node, struct ol_req, node));
	wheel_del(&d->loop->wheel, &d->retry);
	fiber_pool_free(d->fibers);
	free(d->slots);
	free(d->batches);
	d->slots = NULL;
	d->nslots = 0; /* every handle is stale from now on */
}
