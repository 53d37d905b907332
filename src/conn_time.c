/* conn_time.c: what a connection waits for, and for how long.
 *
 * One timer a connection: what is awaited sets deadline_ns with a plain store, and the timer, when it fires, looks
 * whether that has moved.  So a request costs no timer operation.
 *
 * A head has a fixed time; a body has a grace, and then a least rate: each byte puts its deadline off.  A send has a
 * time in which it must get on; and while one follows the other without a pause the client must take so many bytes in
 * each span (--write-grace), so that none can hold a reply, or a thread, for hours.  That is only added up, and looked
 * at when a span ends.  Who is late is answered where that is possible (408), else closed or reset.
 *
 * In a model of a thread a request (--model wsgi) whoever is awaited in the middle of a request, or takes long to read
 * a large reply, holds a thread meanwhile (hold.c).
 *
 * The loop's thread only.
 */
#include "conn_internal.h"
#include "hold.h"

#define LONG_REPLY ((uint64_t)64 * 1024) /* what a socket may not take at once */
#define BODY_AHEAD_NS (60 * NS_PER_S)   /* how far a body may be ahead of its least rate */

/* ---- what is awaited --------------------------------------------------------------------------------------------- */

/* Its client has a part of the request to send yet, or much of the reply to read, and no handler runs for it. */
static bool is_slow(struct conn *c, enum awaits what)
{
	const struct ol_req *r = conn_stream(c)->req;

	switch (what) {
	case AWAIT_HEAD:
		return true;
	case AWAIT_BODY:
		return !r->in;
	case AWAIT_WRITE: /* what a handler streams, it waits for itself */
		return r && r->state == EXCHANGE_DONE && r->reply.kind != BODY_PULL && r->reply.length > LONG_REPLY;
	default:
		return false;
	}
}

static void hold_thread(struct conn *c, bool wanted)
{
	struct stream *s = conn_stream(c);

	if (wanted == (s->hold != NULL))
		return;
	if (wanted)
		hold_begin(c->home->dispatch, s);
	else
		hold_end(c->home->dispatch, s);
}

static bool changes_heads(const struct conn *c, enum awaits what)
{
	return (what == AWAIT_HEAD) != (c->awaits == AWAIT_HEAD);
}

/* Counts those whose next request has begun and has no exchange yet. */
static void set_awaits(struct conn *c, enum awaits what)
{
	if (changes_heads(c, what))
		metric_add(c->home->metrics, METRIC_HEADS, what == AWAIT_HEAD ? 1 : -1);
	if (c->home->holds)
		hold_thread(c, is_slow(c, what));
	c->awaits = what;
}

static __attribute__((noinline)) void set_deadline(struct conn *c, enum awaits what, uint64_t at_ns)
{
	set_awaits(c, what);
	c->deadline_ns = at_ns;
	if (at_ns < c->timer.at_ns)
		wheel_add(&c->home->loop->wheel, &c->timer, at_ns);
}

void conn_set_deadline(struct conn *c, enum awaits what, uint64_t at_ns)
{
	if (at_ns < c->timer.at_ns || changes_heads(c, what) || c->home->holds) {
		set_deadline(c, what, at_ns);
		return;
	}
	c->awaits = what; /* the steady path: nothing but stores */
	c->deadline_ns = at_ns;
}

static uint64_t after_ms(const struct conn *c, uint64_t ms)
{
	return clock_after_ms(c->home->loop->now_ns, (int64_t)ms);
}

static uint64_t idle_deadline(const struct conn *c)
{
	const struct config *cf = c->home->config;

	/* Relaxed: it is the loop's own. */
	if (c->home->draining || (c->used && atomic_load_explicit(&c->home->http1.draining, memory_order_relaxed)))
		return c->home->loop->now_ns + CONN_DRAIN_IDLE_NS;
	return after_ms(c, c->used ? cf->keepalive_ms : cf->head_timeout_ms);
}

/* A body that is awaited now has its grace; with no least rate it has all the time there is. */
static uint64_t body_deadline(const struct conn *c)
{
	const struct config *cf = c->home->config;

	return cf->body_rate_min ? after_ms(c, cf->body_grace_ms) : NEVER;
}

/* In the list of those that wait for a request, or of those that work. */
static void move_to(struct conn *c, struct list *list)
{
	list_del(&c->node);
	list_push_back(list, &c->node);
}

void conn_await(struct conn *c)
{
	struct conn_home *h = c->home;

	if (c->lingering || conn_sending(c))
		return; /* set when that began */
	if (conn_stream(c)->req) {
		bool body = c->request_open && !c->refused && !conn_stream(c)->body_paused;

		conn_set_deadline(c, body ? AWAIT_BODY : AWAIT_NOTHING, body ? c->body_due_ns : NEVER);
	} else if (c->in.n > 0 || !c->proto->ops->idle(c->proto)) {
		if (c->awaits != AWAIT_HEAD)
			conn_set_deadline(c, AWAIT_HEAD, after_ms(c, h->config->head_timeout_ms));
	} else if (c->awaits != AWAIT_IDLE) {
		conn_set_deadline(c, AWAIT_IDLE, idle_deadline(c));
		move_to(c, c->used ? &h->idle : &h->busy);
		return;
	} else {
		return;
	}
	if (c->awaits != AWAIT_IDLE)
		move_to(c, &h->busy);
}

/* A span begins in which the client must take its share. */
static void begin_span(struct conn *c)
{
	const struct config *cf = c->home->config;

	c->span_end_ns = cf->write_rate_min ? after_ms(c, cf->write_grace_ms) : NEVER;
	c->span_bytes = 0;
}

static void await_send(struct conn *c)
{
	conn_set_deadline(c, AWAIT_WRITE, c->stall_ns < c->span_end_ns ? c->stall_ns : c->span_end_ns);
}

void conn_await_write(struct conn *c)
{
	if (c->awaits != AWAIT_WRITE) /* there has been a time when nothing was to be sent */
		begin_span(c);
	c->stall_ns = after_ms(c, c->home->config->write_timeout_ms);
	await_send(c);
}

void conn_await_linger(struct conn *c)
{
	conn_set_deadline(c, AWAIT_LINGER, after_ms(c, c->home->config->linger_ms));
}

void conn_body_awaited(struct conn *c)
{
	c->body_due_ns = body_deadline(c);
}

/* Not by more than a minute from now, else who sends a megabyte at once could keep it in memory for an hour. */
void conn_body_came(struct conn *c, size_t n)
{
	uint64_t latest;

	if (c->body_due_ns == NEVER)
		return;
	latest = body_deadline(c) + BODY_AHEAD_NS;
	c->body_due_ns += n * NS_PER_S / c->home->config->body_rate_min;
	if (c->body_due_ns > latest)
		c->body_due_ns = latest;
}

/* ---- deadlines that have passed ---------------------------------------------------------------------------------- */

static void refuse_slow(struct conn *c, enum metric counter, const char *why)
{
	metric_add(c->home->metrics, counter, 1);
	if (!conn_stream(c)->req && c->request_open) {
		conn_close(c); /* answered already; this is the rest of its body */
		return;
	}
	c->refused = true;
	conn_meet(c);
	dispatch_refuse(c->home->dispatch, conn_stream(c), 408, why);
	conn_pump(c);
}

static bool took_enough(const struct conn *c)
{
	const struct config *cf = c->home->config;

	return (double)c->span_bytes >= (double)cf->write_rate_min * (double)cf->write_grace_ms / 1000;
}

/* A send has got stuck, or a span has ended. */
static void look_at_send(struct conn *c)
{
	bool stuck = c->home->loop->now_ns >= c->stall_ns;

	if (stuck || !took_enough(c)) {
		metric_add(c->home->metrics, stuck ? METRIC_TIMEOUT_WRITE : METRIC_TIMEOUT_WRITE_RATE, 1);
		conn_reset(c);
		return;
	}
	begin_span(c);
	await_send(c);
}

static void on_deadline(struct conn *c)
{
	switch ((enum awaits)c->awaits) {
	case AWAIT_NOTHING:
		break;
	case AWAIT_IDLE:
	case AWAIT_LINGER:
		conn_close(c);
		break;
	case AWAIT_HEAD:
		refuse_slow(c, METRIC_TIMEOUT_HEAD, "The request's head came too slowly");
		break;
	case AWAIT_BODY:
		refuse_slow(c, METRIC_TIMEOUT_BODY, "The request's body came too slowly");
		break;
	case AWAIT_WRITE:
		look_at_send(c);
		break;
	}
}

static void on_timer(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);

	if (c->home->loop->now_ns >= c->deadline_ns)
		on_deadline(c);
	else if (!c->dead && c->deadline_ns != NEVER)
		wheel_add(&c->home->loop->wheel, &c->timer, c->deadline_ns);
}

void conn_timer_init(struct conn *c)
{
	timer_init(&c->timer, on_timer);
}

void conn_timer_stop(struct conn *c)
{
	set_awaits(c, AWAIT_NOTHING);
	wheel_del(&c->home->loop->wheel, &c->timer);
}
