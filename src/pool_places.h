/* pool_places.h: how many jobs may be in a pool at once, running and waiting: counted without a lock. */
#ifndef OL_POOL_PLACES_H
#define OL_POOL_PLACES_H

#include "base/checked.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Members aligned to cache lines: so is memory that holds one. */
struct pool_places {
	_Alignas(64) atomic_uint_fast64_t entered;      /* this and the next three: of those who come */
	atomic_uint_fast64_t left_seen;         /* a copy of `left`, so that coming in rarely reads the other line */
	atomic_uint_fast64_t capacity;
	atomic_uint_fast64_t refused;
	_Alignas(64) atomic_uint_fast64_t left; /* written under the pool's lock */
};

/* How many there are from now on: who comes in meanwhile goes by the old number or the new.  Nobody is put out. */
void pool_places_set(struct pool_places *pl, uint64_t capacity);

/* Takes one; false when all are taken.  Any thread. */
CHECKED bool pool_places_enter(struct pool_places *pl);

/* Takes one, even if all are taken.  Any thread. */
void pool_places_enter_anyway(struct pool_places *pl);

/* Gives n back.  Under the pool's lock. */
static inline void pool_places_leave(struct pool_places *pl, unsigned n)
{
	/* Relaxed: a count alone, and the lock keeps other writers away. */
	uint64_t left = atomic_load_explicit(&pl->left, memory_order_relaxed);

	atomic_store_explicit(&pl->left, left + n, memory_order_relaxed);
}

/* How many are taken, about.  Any thread. */
uint64_t pool_places_taken(const struct pool_places *pl);

/* How often there was none: a counter.  Any thread. */
uint64_t pool_places_refused(const struct pool_places *pl);

#endif
