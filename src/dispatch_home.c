/* dispatch_home.c: all exchanges of one loop: their memory, their handles, and when they are over.
 *
 * Every exchange ends in dispatch_release, called whenever one of these may have become true, and working when all are:
 * its handler has ended (state DONE), its connection is done with it (stream == NULL), no message of its pipes is on
 * its way.  One that has left work for after its reply goes on to that first (after_begin).  Exchanges keep their
 * memory for the next, the last used first: a handle is its slot and a generation that changes at release.
 *
 * The loop's thread only.
 */
#include "dispatch_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_MAX 256
#define SPARE_STACKS 64
#define NO_SLOT UINT32_MAX

/* ---- memory ------------------------------------------------------------------------------------------------------ */

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

void dispatch_count_in_flight(struct ol_req *r, int n)
{
	counter_add(&r->home->metrics->in_flight[r->endpoint->index], (uint64_t)n);
}

/* Read when no handler writes any more. */
static bool message_pending(const struct pipe *p)
{
	return p && p->posted;
}

void dispatch_release(struct ol_req *r)
{
	struct dispatch *d = r->home;

	if (r->state != EXCHANGE_DONE || r->stream || message_pending(r->in) || message_pending(r->out))
		return;
	if (r->after && after_begin(r))
		return;
	if (!r->answered && !r->overdue)
		metric_add(d->metrics, METRIC_DISCARDED, 1);
	if (r->endpoint)
		dispatch_count_in_flight(r, -1);
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

struct ol_req *dispatch_new(struct dispatch *d, struct stream *s, const struct head *h)
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

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

int dispatch_init(struct dispatch *d, struct loop *l, struct dispatch_shared *shared, struct metrics_loop *m)
{
	struct fiber_conf fc = { .live_max = shared->fibers_max, .spare_max = SPARE_STACKS };

	memset(d, 0, sizeof(*d));
	d->loop = l;
	d->shared = shared;
	d->metrics = m;
	d->free_slot = NO_SLOT;
	dispatch_queue_init(d);
	pthread_mutex_init(&d->nesting, NULL);
	list_init(&d->spare);
	list_init(&d->after);
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
	dispatch_queue_fini(d);
	fiber_pool_free(d->fibers);
	pthread_mutex_destroy(&d->nesting);
	free(d->slots);
	free(d->batches);
	d->slots = NULL;
	d->nslots = 0; /* every handle is stale from now on */
}
