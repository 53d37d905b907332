/* pool_queue.h: in which order a pool's jobs start, and which are given up.  No threads, no clock, no lock: its owner
 * keeps others out and says what time it is. */
#ifndef OL_POOL_QUEUE_H
#define OL_POOL_QUEUE_H

#include "pool.h"

#define POOL_PRIORITIES 2
#define POOL_HIGH_MAX 8         /* jobs of priority 1 that are taken in a row while others wait */

/* Jobs that were given up.  Zeroed memory is none. */
struct pool_lost {
	struct pool_batch by[POOL_EXPIRIES];
};

static inline bool pool_lost_any(const struct pool_lost *l)
{
	return l->by[POOL_TIMED_OUT].n + l->by[POOL_SHED].n > 0;
}

struct pool_lane {
	struct pool_job *head, *tail;           /* as they were put in, the oldest first */
	struct pool_job *unfiled;               /* the first that has come since the last sweep; NULL: none */
};

struct pool_queue {
	struct pool_lane lanes[POOL_PRIORITIES];
	unsigned queued;                        /* jobs in all lanes */
	unsigned expiring;                      /* of these, the ones that may become due */
	unsigned high_run;                      /* of priority 1 in a row, while others waited */
	uint64_t put_ns;                        /* of the last put: no job seems older than those before it */

	bool codel, overloaded;
	uint64_t target_ns, interval_ns;
	uint64_t window_end_ns;                 /* of the interval that is being watched */
	uint64_t least_ns;                      /* the least wait met in it; NEVER: none yet */

	uint64_t unfiled_due_ns;                /* none of those not in the wheel is due before; NEVER */
	struct pool_lost *losing;               /* while the wheel runs: where its jobs go */
	struct wheel wheel;                     /* large, so that nothing that is looked at often lies behind it */
};

/* codel false: the other two are not looked at. */
void pool_queue_init(struct pool_queue *q, bool codel, uint64_t target_ns, uint64_t interval_ns, uint64_t now_ns);

/* Puts all jobs of the batch in, in its order, and empties it. */
void pool_queue_put(struct pool_queue *q, struct pool_batch *b, uint64_t now_ns);

/* The next job to start, NULL when there is none; what is given up on the way to it is added to `lost`. */
struct pool_job *pool_queue_take(struct pool_queue *q, uint64_t now_ns, struct pool_lost *lost);

/* Adds to `lost` all that is due, without taking any: each job costs constant time, once, when it is due. */
void pool_queue_sweep(struct pool_queue *q, uint64_t now_ns, struct pool_lost *lost);

/* When a sweep may next have something to do; perhaps before that, and at most one tick of the wheel after a job's
 * expires_ns.  After a sweep it is later than that sweep; NEVER when nothing can become due.  Cheap. */
uint64_t pool_queue_next_due(const struct pool_queue *q);

static inline uint64_t pool_queue_due(const struct pool_queue *q)
{
	return q->expiring > 0 || q->codel ? pool_queue_next_due(q) : NEVER;
}

/* Takes a job out that is in the queue. */
void pool_queue_remove(struct pool_queue *q, struct pool_job *job);

/* Puts job where old is, which never expires, and as if it had come when that did; both of one priority. */
void pool_queue_replace(struct pool_queue *q, struct pool_job *old, struct pool_job *job);

/* The job that take would probably give; NULL when there is none. */
static inline const struct pool_job *pool_queue_peek(const struct pool_queue *q)
{
	return q->lanes[1].head ? q->lanes[1].head : q->lanes[0].head;
}

/* When the job came that has waited longest; NEVER when there is none. */
uint64_t pool_queue_oldest(const struct pool_queue *q);

#endif
