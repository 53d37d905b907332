/* conn_home.c: all connections of one loop: their memory, making room, draining, breaking off.
 *
 * A loop keeps a few closed connections and outs for the next, newest first, so that what is used stays in the cache;
 * the rest goes back to the heap.  Two lists: `idle` holds the connections that wait for another request, longest
 * first, and `busy` the others, also those whose first request has not come: their clients may be about to send it, so
 * they are not closed to make room, but for the control plane's, where the newcomer may be a probe.  A connection moves
 * to idle when it begins to wait and only leaves when something else than sending is awaited, so an idle-listed one may
 * have a reply on its way: what it awaits decides.
 *
 * The loop's thread only.
 */
#include "base/clear.h"
#include "conn_internal.h"
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUT_SIZE ((size_t)8192)
#define SPARE_OUTS_MAX 64
#define SPARE_CONNS_MAX 256

/* ---- memory ------------------------------------------------------------------------------------------------------ */

struct conn_out *conn_take_out(struct conn *c)
{
	struct conn_home *h = c->home;
	struct conn_out *o = h->spare_outs;

	if (c->out)
		return c->out;
	if (o) {
		h->spare_outs = o->next;
		h->nspare_outs--;
	} else {
		o = malloc(OUT_SIZE);
		if (!o)
			return NULL;
		memset(o, 0, sizeof(*o));
	}
	o->po = (struct proto_out){ .room = o->room, .room_n = OUT_SIZE - sizeof(*o), .iov = o->iov,
		.iov_max = CONN_OUT_IOVS };
	o->stream = NULL;
	o->source = NULL;
	o->more = false;
	c->out = o;
	return o;
}

void conn_drop_out(struct conn *c)
{
	struct conn_home *h = c->home;
	struct conn_out *o = c->out;

	if (!o)
		return;
	c->out = NULL;
	buf_fini(&o->cipher);
	if (h->nspare_outs >= SPARE_OUTS_MAX) {
		free(o);
		return;
	}
	o->next = h->spare_outs;
	h->spare_outs = o;
	h->nspare_outs++;
}

struct conn *conn_new(struct conn_home *h)
{
	struct conn *c = h->spare_conns;

	if (c) {
		h->spare_conns = (struct conn *)c->node.next;
		h->nspare_conns--;
	} else {
		c = aligned_alloc(64, (sizeof(*c) + 63) & ~(size_t)63);
	}
	if (c)
		clear(c, sizeof(*c));
	return c;
}

void conn_recycle(struct conn *c)
{
	struct conn_home *h = c->home;

	if (h->nspare_conns >= SPARE_CONNS_MAX) {
		free(c);
		return;
	}
	c->node.next = (struct list *)h->spare_conns;
	h->spare_conns = c;
	h->nspare_conns++;
}

/* ---- all of a loop ----------------------------------------------------------------------------------------------- */

bool conn_close_idle(struct conn_home *h)
{
	for (struct list *n = h->idle.next; n != &h->idle; n = n->next) {
		struct conn *c = container_of(n, struct conn, node);

		if (c->awaits == AWAIT_IDLE && !c->dead) {
			conn_close(c);
			return true;
		}
	}
	return false;
}

/* One that lingers is not meant: its client may not have read its reply yet, and a reset could lose it. */
static bool has_no_head(const struct conn *c)
{
	return c->awaits == AWAIT_IDLE || c->awaits == AWAIT_HEAD;
}

static bool is_kept_waiting(const struct conn *c)
{
	return c->awaits != AWAIT_NOTHING;
}

static bool break_off_first(struct list *list, bool (*may)(const struct conn *c))
{
	for (struct list *n = list->next; n != list; n = n->next) {
		struct conn *c = container_of(n, struct conn, node);

		if (!c->dead && may(c)) {
			conn_reset(c);
			return true;
		}
	}
	return false;
}

bool conn_break_off(struct conn_home *h)
{
	return break_off_first(&h->busy, has_no_head) || break_off_first(&h->idle, is_kept_waiting) ||
		break_off_first(&h->busy, is_kept_waiting);
}

/* Relaxed: see http1.h. */
static void set_draining(struct conn_home *h, bool draining)
{
	atomic_store_explicit(&h->http1.draining, draining, memory_order_relaxed);
}

void conn_home_crowded(struct conn_home *h, bool crowded)
{
	set_draining(h, crowded || h->draining || h->closes);
}

static void drain_list(struct conn_home *h, struct list *list)
{
	for (struct list *n = list->next; n != list; n = n->next) {
		struct conn *c = container_of(n, struct conn, node);

		if (c->awaits == AWAIT_IDLE && !c->dead)
			conn_set_deadline(c, AWAIT_IDLE, h->loop->now_ns + CONN_DRAIN_IDLE_NS);
	}
}

void conn_home_drain(struct conn_home *h)
{
	h->draining = true;
	set_draining(h, true);
	drain_list(h, &h->idle);
	drain_list(h, &h->busy);
}

static void abort_list(struct list *list)
{
	for (struct list *n = list->next, *next; n != list; n = next) {
		next = n->next;
		conn_abort(container_of(n, struct conn, node));
	}
}

void conn_home_abort(struct conn_home *h)
{
	dispatch_abandon(h->dispatch);
	abort_list(&h->idle);
	abort_list(&h->busy);
}

int conn_home_init(struct conn_home *h, struct loop *l, struct dispatch *d, struct metrics_loop *m,
	const struct config *c)
{
	memset(h, 0, sizeof(*h));
	h->loop = l;
	h->dispatch = d;
	h->metrics = m;
	h->config = c;
	h->http1 = (struct http1_conf){ .target_max = c->target_max, .head_max = c->head_max,
		.fields_max = c->fields_max, .discard_max = 65536 };
	h->closes = model_of(c->model)->one_connection;
	set_draining(h, h->closes);
	h->holds = model_of(c->model)->slow_clients_hold;
	h->http1.fields = calloc((size_t)c->fields_max * 2 + 1, sizeof(*h->http1.fields));
	list_init(&h->busy);
	list_init(&h->idle);
	return h->http1.fields ? 0 : -ENOMEM;
}

void conn_home_fini(struct conn_home *h)
{
	while (h->spare_outs) {
		struct conn_out *o = h->spare_outs;

		h->spare_outs = o->next;
		free(o);
	}
	while (h->spare_conns) {
		struct conn *c = h->spare_conns;

		h->spare_conns = (struct conn *)c->node.next;
		free(c);
	}
	free(h->http1.fields);
}
