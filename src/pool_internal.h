/* pool_internal.h: a pool as its own files know it.  Nobody else includes it. */
#ifndef OL_POOL_INTERNAL_H
#define OL_POOL_INTERNAL_H

#include "pool_kind.h"
#include "pool_places.h"
#include "pool_queue.h"
#include "base/list.h"
#include "base/thread.h"

#include <pthread.h>

LOCK_ROLE(pool_role);

#define POOL_CACHE_LINE 64

struct pool {
	uint32_t magic;

	/* Set once. */
	const char *name;
	char thread_name[16];                   /* Linux's bound, with the terminator */
	size_t stack;
	uint64_t idle_ns;
	unsigned spares;
	uint32_t tags;
	void (*thread_start)(void *arg, const struct work_line *line);
	void (*thread_stop)(void *arg, const struct work_line *line);
	void *arg;

	atomic_bool stalled;                    /* jobs are queued, and a thread for them could not be started */

	struct pool_places places;

	_Alignas(POOL_CACHE_LINE) pthread_mutex_t mutex;
	struct list idle GUARDED_BY(pool_role); /* workers asleep, the last to go idle first */
	unsigned tokens GUARDED_BY(pool_role);  /* see pool.c */
	unsigned threads GUARDED_BY(pool_role), threads_max GUARDED_BY(pool_role);
	unsigned running GUARDED_BY(pool_role), blocked GUARDED_BY(pool_role), starting GUARDED_BY(pool_role);
	unsigned waking GUARDED_BY(pool_role);
	atomic_uint_fast64_t mean_ns;           /* of run, all kinds, the recent ones counting more; read without it */
	uint64_t done GUARDED_BY(pool_role), dropped GUARDED_BY(pool_role), waited GUARDED_BY(pool_role);
	uint64_t run_ns GUARDED_BY(pool_role);
	unsigned busy_max GUARDED_BY(pool_role);
	struct pool_kind *kinds GUARDED_BY(pool_role);

	atomic_uint limit;                      /* written under the mutex */
	unsigned queue_max GUARDED_BY(pool_role);
	unsigned alive GUARDED_BY(pool_role);   /* threads, and those that are ending */
	uint64_t expired[POOL_EXPIRIES] GUARDED_BY(pool_role);
	uint64_t started GUARDED_BY(pool_role), spawn_failed GUARDED_BY(pool_role), woken GUARDED_BY(pool_role);
	uint64_t spawn_after_ns GUARDED_BY(pool_role);
	bool has_ended GUARDED_BY(pool_role);
	pthread_t ended GUARDED_BY(pool_role);  /* the last thread to end: the next one joins it, or pool_free does */
	pthread_cond_t gone;                    /* alive has become 0 */
	struct pool_queue queue GUARDED_BY(pool_role);
};

static inline void pool_lock(struct pool *p) ACQUIRES(pool_role);
static inline void pool_unlock(struct pool *p) RELEASES(pool_role);

static inline UNCHECKED void pool_lock(struct pool *p)
{
	pthread_mutex_lock(&p->mutex);
}

static inline UNCHECKED void pool_unlock(struct pool *p)
{
	pthread_mutex_unlock(&p->mutex);
}

/* Whoever has changed the state unlocks so: workers are woken and started as it asks for. */
void pool_unlock_and_wake(struct pool *p, uint64_t now) RELEASES(pool_role);

/* After limit, queue_max or blocked has changed. */
void pool_set_tokens(struct pool *p) REQUIRES(pool_role);

/* Counts what was given up, under the lock; then calls back for it and empties it, without the lock.  A job may be gone
 * once its `expired` has begun. */
void pool_book_lost(struct pool *p, const struct pool_lost *lost) REQUIRES(pool_role);
void pool_tell_lost(struct pool_lost *lost);

#endif
