/* dispatch_queue.c: a loop's jobs on their way into the pools, and out of them again.
 *
 * Jobs of one turn of the loop are collected by pool and spliced together before the loop waits (dispatch_flush).  A
 * pool that cannot start the thread it needs is asked again in a while, and the log is told.
 *
 * Jobs that may not wait for ever, by time-out or by CoDel, are given up by the pool, which looks at them when a worker
 * comes by and whenever it is told to.  For when no worker does, each loop has one lazy timer for its jobs in all
 * pools.  It is armed for the first that may be due and knows no job: when it fires the pools say when to look again.
 * So a job costs a comparison, and a loop whose jobs never wait one look in each queue_timeout.
 *
 * A job may be taken back until a worker has begun it.  One that has not been spliced (queued_ns is 0) no pool knows.
 *
 * The loop's thread only.
 */
#include "dispatch_internal.h"
#include "hold.h"

#define RETRY_NS (20 * NS_PER_MS)
#define TELL_NS (10 * NS_PER_S)
#define LOOK_AGAIN_NS NS_PER_MS         /* the least time between two looks for expired jobs */

/* Something is to be done at the end of the turn: the job may have to be given up one day. */
static void will_be_due(struct dispatch *d, unsigned index, const struct pool_job *job)
{
	uint64_t interval = d->shared->pools[index].codel_interval_ns;

	d->batched++;
	if (job->expires_ns < d->expires_ns && job->expires_ns > 0)
		d->expires_ns = job->expires_ns;
	if (interval && d->loop->now_ns + interval < d->expires_ns)
		d->expires_ns = d->loop->now_ns + interval;
}

void dispatch_enqueue(struct dispatch *d, unsigned index, struct pool_job *job)
{
	pool_batch_add(&d->batches[index], job);
	will_be_due(d, index, job);
}

bool dispatch_replace(struct dispatch *d, unsigned index, struct pool_job *old, struct pool_job *job)
{
	if (old->queued_ns == 0) { /* not spliced yet */
		pool_batch_remove(&d->batches[index], old);
		pool_batch_add(&d->batches[index], job);
	} else if (!pool_replace(d->shared->pools[index].pool, old, job)) {
		return false;
	}
	will_be_due(d, index, job);
	return true;
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
	if (d->expires_ns < d->expire.at_ns)
		wheel_add(&d->loop->wheel, &d->expire, d->expires_ns);
	d->expires_ns = NEVER;
	for (unsigned i = 0; i < d->shared->npools; i++) {
		struct pool *p = d->shared->pools[i].pool;

		pool_splice(p, &d->batches[i]);
		if (!pool_stalled(p))
			continue;
		tell_stalled(d, p);
		if (!timer_armed(&d->retry))
			wheel_add(&d->loop->wheel, &d->retry, d->loop->now_ns + RETRY_NS);
	}
	if (d->ending)
		hold_let_go(d);
}

static void on_retry(struct timer *t)
{
	splice(container_of(t, struct dispatch, retry));
}

static void on_expire(struct timer *t)
{
	struct dispatch *d = container_of(t, struct dispatch, expire);
	uint64_t now = d->loop->now_ns, next = NEVER;

	for (unsigned i = 0; i < d->shared->npools; i++) {
		uint64_t at = pool_expire(d->shared->pools[i].pool, now);

		next = at < next ? at : next;
	}
	if (next < now + LOOK_AGAIN_NS)
		next = now + LOOK_AGAIN_NS;
	wheel_add(&d->loop->wheel, &d->expire, next);
}

bool dispatch_withdraw(struct dispatch *d, unsigned index, struct pool_job *job)
{
	struct dispatch_pool *p = &d->shared->pools[index];

	if (job->queued_ns != 0)
		return pool_drop(p->pool, job);
	pool_batch_remove(&d->batches[index], job); /* not spliced yet */
	pool_unadmit(p->pool);
	return true;
}

bool dispatch_take_back(struct dispatch *d, unsigned index, struct pool_job *job, enum dispatch_drop why)
{
	if (!dispatch_withdraw(d, index, job))
		return false;
	atomic_fetch_add_explicit(&d->shared->pools[index].dropped[why], 1, memory_order_relaxed);
	return true;
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

void dispatch_queue_init(struct dispatch *d)
{
	timer_init(&d->retry, on_retry);
	timer_init(&d->expire, on_expire);
	d->expires_ns = NEVER;
}

void dispatch_queue_fini(struct dispatch *d)
{
	wheel_del(&d->loop->wheel, &d->retry);
	wheel_del(&d->loop->wheel, &d->expire);
}
