/* dispatch_queue.c: a loop's jobs on their way into the pools.
 *
 * Jobs of one turn of the loop are collected by pool and spliced together before the loop waits (dispatch_flush).  A
 * pool that cannot start the thread it needs is asked again in a while, and the log is told.
 *
 * The loop's thread only.
 */
#include "dispatch_internal.h"

#define RETRY_NS (20 * NS_PER_MS)
#define TELL_NS (10 * NS_PER_S)

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
	metric_set(d->metrics, METRIC_IN_FLIGHT, d->nlive);
	metric_set(d->metrics, METRIC_FIBERS, fiber_pool_live(d->fibers));
	if (d->batched > 0)
		splice(d);
}

void dispatch_queue_init(struct dispatch *d)
{
	timer_init(&d->retry, on_retry);
}

void dispatch_queue_fini(struct dispatch *d)
{
	wheel_del(&d->loop->wheel, &d->retry);
}
