/* work_line.h: what a worker's thread says of itself: which job it runs, and since when. */
#ifndef OL_WORK_LINE_H
#define OL_WORK_LINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Written by the worker alone, at the beginning and the end of each job, and read by any thread.  It lies on the
 * worker's own stack, where nobody else writes: so it shares its cache line with nobody, wherever it begins.  (To align
 * it would be in vain where AddressSanitizer moves a frame's variables to the heap.) */
struct work_line {
	_Atomic uint64_t since_ns;      /* 0: it runs none */
	_Atomic uint32_t tag;           /* holds while since_ns is not 0 and does not change */
	_Atomic uintptr_t low, high;    /* the fiber's stack it runs on; 0: the thread's own */
};

/* Relaxed: who looks at a stack finds the stack pointer on it, or does without. */
static inline void work_on_stack(struct work_line *l, const void *low, const void *high)
{
	atomic_store_explicit(&l->low, (uintptr_t)low, memory_order_relaxed);
	atomic_store_explicit(&l->high, (uintptr_t)high, memory_order_relaxed);
}

/* Release, both: tag is not seen before the end of the job before it, nor since_ns before tag.  On x86 plain stores. */
static inline void work_begin(struct work_line *l, uint32_t tag, uint64_t now_ns)
{
	atomic_store_explicit(&l->tag, tag, memory_order_release);
	atomic_store_explicit(&l->since_ns, now_ns, memory_order_release);
}

/* Relaxed: what the job has done is nobody's here; the next begin is ordered behind it. */
static inline void work_end(struct work_line *l)
{
	atomic_store_explicit(&l->since_ns, 0, memory_order_relaxed);
}

/* The job that runs; false when none does, or another one by now.  Acquire: pairs with work_begin, and since_ns is read
 * again after tag. */
static inline bool work_read(const struct work_line *l, uint64_t *since_ns, uint32_t *tag)
{
	*since_ns = atomic_load_explicit(&l->since_ns, memory_order_acquire);
	*tag = atomic_load_explicit(&l->tag, memory_order_acquire);
	return *since_ns != 0 && atomic_load_explicit(&l->since_ns, memory_order_relaxed) == *since_ns;
}

#endif
