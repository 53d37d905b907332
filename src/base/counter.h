/* counter.h: numbers with one writer that any thread may read. */
#ifndef OL_COUNTER_H
#define OL_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

/* Adds n (below 0: as its two's complement).  By the counter's one writer.
 *
 * Relaxed, and no read-modify-write: no other thread writes, so no addition is lost, and a reader wants a recent
 * number, whole, but no order between it and anything else. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Relaxed: see above. */
static inline uint64_t counter_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
