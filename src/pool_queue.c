/* pool_queue.c: the order of a pool's jobs.
 *
 * A lane for each priority, in the order in which jobs were put in.  The high lane goes first, but of nine jobs in a
 * row at most eight are its own while others wait, so neither lane starves.
 *
 * A job with `expired` may be given up.  Its expires_ns is looked at when its turn comes.  One that has waited long is
 * filed in a timing wheel as well, so that finding all that is due costs no look at those that are not: the first sweep
 * that finds it files it.  That sweep is due when the first of those not filed may be, so most jobs are gone before
 * they have cost more than a comparison.  The wheel is exact to a tick, and never early.
 *
 * CoDel as servers use it (Maurer, "Fail at Scale", ACM Queue 13(8), 2015; after RFC 8289): of each interval the least
 * wait is kept.  When even that was over the target, the queue does not merely even out a burst but stands: for the
 * next interval the pool is overloaded.  Then the newest job of a lane goes first, since it still has a client who
 * waits, and one that has waited over twice the target is given up.  The wait that counts is that of the oldest job
 * whenever a worker comes for one, which is what the next would wait if nobody were preferred (so serving the newest
 * does not look like recovery), and 0 when a worker finds none.  An interval in which no worker came is judged by the
 * oldest job at its end, if that has waited for all of it.
 *
 * A job without `expired` is never given up, so while overloaded it goes first once it has waited that long.  In a
 * lane the oldest is always the head: what is due to be shed is found there, and no job is looked at twice.
 */
#include "pool_queue.h"

static bool may_expire(const struct pool_job *job)
{
	return job->expired && job->expires_ns != 0 && job->expires_ns != NEVER;
}

static uint64_t waited(const struct pool_job *job, uint64_t now)
{
	return now > job->queued_ns ? now - job->queued_ns : 0;
}

/* ---- in and out -------------------------------------------------------------------------------------------------- */

/* Lists of jobs, the oldest at *head, the newest at *tail. */
static inline void put_last(struct pool_job **head, struct pool_job **tail, struct pool_job *job)
{
	job->next = NULL;
	job->prev = *tail;
	if (*tail)
		(*tail)->next = job;
	else
		*head = job;
	*tail = job;
}

static inline void take_out(struct pool_job **head, struct pool_job **tail, struct pool_job *job)
{
	if (job->prev)
		job->prev->next = job->next;
	else
		*head = job->next;
	if (job->next)
		job->next->prev = job->prev;
	else
		*tail = job->prev;
}

void pool_batch_add(struct pool_batch *b, struct pool_job *job)
{
	job->queue = NULL;
	put_last(&b->head, &b->tail, job);
	b->n++;
}

void pool_batch_remove(struct pool_batch *b, struct pool_job *job)
{
	take_out(&b->head, &b->tail, job);
	b->n--;
}

static struct pool_lane *lane_of(struct pool_queue *q, const struct pool_job *job)
{
	return &q->lanes[job->priority != 0];
}

void pool_queue_remove(struct pool_queue *q, struct pool_job *job)
{
	struct pool_lane *lane = lane_of(q, job);

	take_out(&lane->head, &lane->tail, job);
	if (lane->unfiled == job)
		lane->unfiled = job->next;
	if (may_expire(job)) {
		wheel_del(&q->wheel, &job->timer);
		q->expiring--;
	}
	job->queue = NULL;
	q->queued--;
}

/* Files what has come since the last sweep, each job once. */
static void file_jobs(struct pool_queue *q)
{
	for (int i = 0; i < POOL_PRIORITIES; i++) {
		for (struct pool_job *job = q->lanes[i].unfiled; job; job = job->next)
			if (may_expire(job))
				wheel_add(&q->wheel, &job->timer, job->expires_ns);
		q->lanes[i].unfiled = NULL;
	}
	q->unfiled_due_ns = NEVER;
}

static void give_up(struct pool_queue *q, struct pool_job *job, struct pool_lost *lost, enum pool_expiry why)
{
	pool_queue_remove(q, job);
	pool_batch_add(&lost->by[why], job);
}

static void expire(struct timer *t)
{
	struct pool_job *job = container_of(t, struct pool_job, timer);

	give_up(job->queue, job, job->queue->losing, POOL_TIMED_OUT);
}

void pool_queue_put(struct pool_queue *q, struct pool_batch *b, uint64_t now)
{
	struct pool_job *job = b->head, *next;

	if (now < q->put_ns)
		now = q->put_ns;        /* read by another thread a moment before it waited for the lock */
	q->put_ns = now;
	for (; job; job = next) {
		struct pool_lane *lane = lane_of(q, job);

		next = job->next;
		job->queued_ns = now;
		job->queue = q;
		put_last(&lane->head, &lane->tail, job);
		if (!lane->unfiled)
			lane->unfiled = job;
		if (may_expire(job)) {
			timer_init(&job->timer, expire);
			q->expiring++;
			if (job->expires_ns < q->unfiled_due_ns)
				q->unfiled_due_ns = job->expires_ns;
		}
	}
	q->queued += b->n;
	*b = (struct pool_batch){ 0 };
}

void pool_queue_replace(struct pool_queue *q, struct pool_job *old, struct pool_job *job)
{
	struct pool_lane *lane = lane_of(q, old);

	job->queued_ns = old->queued_ns;
	job->queue = q;
	job->next = old->next;
	job->prev = old->prev;
	*(job->prev ? &job->prev->next : &lane->head) = job;
	*(job->next ? &job->next->prev : &lane->tail) = job;
	if (lane->unfiled == old)
		lane->unfiled = job;
	old->queue = NULL;
	if (may_expire(job)) {
		timer_init(&job->timer, expire);
		wheel_add(&q->wheel, &job->timer, job->expires_ns);     /* where a sweep comes by it is filed anew */
		q->expiring++;
	}
}

uint64_t pool_queue_oldest(const struct pool_queue *q)
{
	uint64_t oldest = NEVER;

	for (int i = 0; i < POOL_PRIORITIES; i++)
		if (q->lanes[i].head && q->lanes[i].head->queued_ns < oldest)
			oldest = q->lanes[i].head->queued_ns;
	return oldest;
}

/* ---- overload ---------------------------------------------------------------------------------------------------- */

static uint64_t longest_wait(const struct pool_queue *q, uint64_t now)
{
	uint64_t oldest = pool_queue_oldest(q);

	return oldest < now ? now - oldest : 0;
}

/* Judges the interval when it is over, and begins the next.  What was seen in an interval that ended long ago says
 * nothing of now. */
static void judge(struct pool_queue *q, uint64_t now)
{
	uint64_t least = q->least_ns;

	if (now < q->window_end_ns)
		return;
	if (least == NEVER || now - q->window_end_ns >= q->interval_ns) {
		least = longest_wait(q, now);
		if (least < q->interval_ns)
			least = 0; /* it has not stood for all of an interval: a thread may just be starting */
	}
	q->overloaded = least > q->target_ns;
	q->window_end_ns = now + q->interval_ns;
	q->least_ns = NEVER;
}

/* A worker has come for a job. */
static void observe(struct pool_queue *q, uint64_t now)
{
	uint64_t wait = longest_wait(q, now);

	judge(q, now);
	if (wait < q->least_ns)
		q->least_ns = wait;
}

static bool overdue(const struct pool_queue *q, const struct pool_job *job, uint64_t now)
{
	return waited(job, now) > 2 * q->target_ns;
}

static void shed(struct pool_queue *q, uint64_t now, struct pool_lost *lost)
{
	for (int i = 0; i < POOL_PRIORITIES; i++) {
		struct pool_job *job;

		while ((job = q->lanes[i].head) && job->expired && overdue(q, job, now))
			give_up(q, job, lost, POOL_SHED);
	}
}

/* ---- whose turn it is -------------------------------------------------------------------------------------------- */

static struct pool_lane *next_lane(struct pool_queue *q)
{
	struct pool_lane *normal = &q->lanes[0], *high = &q->lanes[1];

	return high->head && (!normal->head || q->high_run < POOL_HIGH_MAX) ? high : normal;
}

static struct pool_job *next_job(const struct pool_queue *q, const struct pool_lane *lane, uint64_t now)
{
	if (!q->overloaded || !lane->head || overdue(q, lane->head, now))
		return lane->head;
	return lane->tail;
}

struct pool_job *pool_queue_take(struct pool_queue *q, uint64_t now, struct pool_lost *lost)
{
	struct pool_job *job;

	if (q->codel) {
		observe(q, now);
		if (q->overloaded)
			shed(q, now, lost);
	}
	while ((job = next_job(q, next_lane(q), now)) && may_expire(job) && job->expires_ns <= now)
		give_up(q, job, lost, POOL_TIMED_OUT);
	if (!job)
		return NULL;
	q->high_run = job->priority != 0 && q->lanes[0].head ? q->high_run + 1 : 0;
	pool_queue_remove(q, job);
	return job;
}

/* ---- what is due ------------------------------------------------------------------------------------------------- */

void pool_queue_sweep(struct pool_queue *q, uint64_t now, struct pool_lost *lost)
{
	if (q->expiring > 0) {
		file_jobs(q);
		q->losing = lost;
		wheel_run(&q->wheel, now);
		q->losing = NULL;
	}
	if (q->codel && q->queued > 0) {
		judge(q, now);
		if (q->overloaded)
			shed(q, now, lost);
	}
}

/* When the interval ends, or before that, when the first job will have waited too long.  One that must not be shed is
 * left to the workers, and those behind it with it. */
static uint64_t codel_due(const struct pool_queue *q)
{
	uint64_t due = q->window_end_ns;

	for (int i = 0; q->overloaded && i < POOL_PRIORITIES; i++) {
		const struct pool_job *job = q->lanes[i].head;

		if (job && job->expired && job->queued_ns + 2 * q->target_ns < due)
			due = job->queued_ns + 2 * q->target_ns + 1;
	}
	return due;
}

uint64_t pool_queue_next_due(const struct pool_queue *q)
{
	uint64_t due = q->wheel.armed > 0 ? wheel_next(&q->wheel) : NEVER, codel;

	if (q->expiring > 0 && q->unfiled_due_ns < due)
		due = q->unfiled_due_ns;
	if (!q->codel || q->queued == 0)
		return due;
	codel = codel_due(q);
	return codel < due ? codel : due;
}

void pool_queue_init(struct pool_queue *q, bool codel, uint64_t target_ns, uint64_t interval_ns, uint64_t now)
{
	*q = (struct pool_queue){ .codel = codel, .target_ns = target_ns, .interval_ns = interval_ns,
		.window_end_ns = now + interval_ns, .least_ns = NEVER, .unfiled_due_ns = NEVER };
	wheel_init(&q->wheel, now);
}
