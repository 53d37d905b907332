/* park.h: how a handler waits, on a fiber or on a thread, for somebody to wake it. */
#ifndef OL_PARK_H
#define OL_PARK_H

#include "fiber.h"
#include "loop.h"
#include <stdatomic.h>
#include <stdint.h>

/* One waiter.  A wake that comes before the wait is remembered (one is); a wait may return early, so callers wait in a
 * loop on a condition of their own. */
struct park {
	_Atomic uint32_t state;
	bool timed_out;                         /* fiber: the timer came first */
	struct loop *loop;                      /* fiber: its loop; NULL for a thread */
	struct fiber *fiber;                    /* fiber: who waits, while it waits */
	struct fiber_pool *fibers;
	void (*resume)(struct park *p);         /* fiber: goes on with it, on the loop's thread, outside any fiber */
	void (*pauses)(struct park *p, bool begins); /* thread: who is told of park_pauses; NULL: nobody */
	struct timer timer;
	struct loop_msg msg;
};

/* A waiter that runs on a fiber of `fibers` on the loop's thread; resume must call fiber_resume(p->fiber). */
void park_init_fiber(struct park *p, struct loop *l, struct fiber_pool *fibers, void (*resume)(struct park *p));

/* A waiter that is a thread. */
void park_init_thread(struct park *p);

/* Waits until woken: 0; or until deadline_ns has passed: -ETIMEDOUT.  By the waiter. */
int park_wait(struct park *p, uint64_t deadline_ns);

/* What waits on this thread from now on, or has, is not of the handler's doing: a fiber would be suspended for it, or
 * would not meet it.  They nest, and park_wait says so itself.  On a fiber, and for NULL, nobody is told. */
static inline void park_pauses(struct park *p, bool begins)
{
	if (p && p->pauses)
		p->pauses(p, begins);
}

/* The time by the clock that deadlines are of: for a fiber its loop's.  By the waiter. */
uint64_t park_clock(const struct park *p);

/* Any thread.  The caller must know that p is alive until it returns: it holds a lock that the waiter takes before it
 * goes on, or is the thread that frees p. */
void park_wake(struct park *p);

#endif
