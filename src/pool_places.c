/* pool_places.c: places in a pool, taken before a job is queued and given back when it has run or will not.
 *
 * They are taken by threads that must not wait for the pool's lock, and given back under it.  So there are two
 * counters that only grow: `entered`, moved by compare and exchange, and `left`, which has one writer at a time.
 * Inside are entered - left.
 *
 * Never one too many: who enters has read `left` before the exchange, and by then it can only have grown; the exchange
 * succeeds only where `entered` has not moved.  So at that moment no more were inside than it had reckoned with.  A
 * copy of `left` that is old is too small, so it can make a place look taken but never free; before anybody is refused
 * `left` itself is read.
 *
 * Never refused without need: `entered` is read before `left`, so when they differ by the capacity that many were
 * inside at the second reading; when `left` is even the larger, others came and went in between, and both are read
 * again. Who enters anyway makes the difference larger than the capacity, and nobody else gets in until it is smaller.
 */
#include "pool_places.h"

void pool_places_set(struct pool_places *pl, uint64_t capacity)
{
	/* Relaxed: no other memory goes with it. */
	atomic_store_explicit(&pl->capacity, capacity, memory_order_relaxed);
}

bool pool_places_enter(struct pool_places *pl)
{
	/* Acquire keeps the order of the two readings; the counts carry no other data, so the rest is relaxed. */
	uint64_t entered = atomic_load_explicit(&pl->entered, memory_order_acquire);
	uint64_t left = atomic_load_explicit(&pl->left_seen, memory_order_relaxed);

	for (;;) {
		uint64_t capacity = atomic_load_explicit(&pl->capacity, memory_order_relaxed);

		if (entered - left >= capacity) {
			left = atomic_load_explicit(&pl->left, memory_order_relaxed);
			atomic_store_explicit(&pl->left_seen, left, memory_order_relaxed);
			if (entered < left) {   /* others came and went since it was read */
				entered = atomic_load_explicit(&pl->entered, memory_order_acquire);
				continue;
			}
			if (entered - left >= capacity)
				break;
		}
		if (atomic_compare_exchange_weak_explicit(
				&pl->entered, &entered, entered + 1, memory_order_acquire, memory_order_acquire))
			return true;
	}
	atomic_fetch_add_explicit(&pl->refused, 1, memory_order_relaxed);
	return false;
}

void pool_places_enter_anyway(struct pool_places *pl)
{
	/* Relaxed: who is entering sees it, or its exchange fails. */
	atomic_fetch_add_explicit(&pl->entered, 1, memory_order_relaxed);
}

uint64_t pool_places_taken(const struct pool_places *pl)
{
	/* Relaxed: they need not fit together exactly. */
	uint64_t left = atomic_load_explicit(&pl->left, memory_order_relaxed);
	uint64_t entered = atomic_load_explicit(&pl->entered, memory_order_relaxed);

	return entered > left ? entered - left : 0;
}

uint64_t pool_places_refused(const struct pool_places *pl)
{
	return atomic_load_explicit(&pl->refused, memory_order_relaxed);        /* a statistic */
}
