/* fiber.h: stackful coroutines that never change their thread. */
#ifndef OL_FIBER_H
#define OL_FIBER_H

#include "base/checked.h"
#include <stdbool.h>
#include <stddef.h>

struct fiber;

/* The fibers of one thread, and the stacks that wait to be used again.  Only its thread touches it. */
struct fiber_pool;

struct fiber_conf {
	size_t stack;       /* default stack, bytes; 0: 256 KiB; rounded up to pages, at least 16 KiB */
	unsigned live_max;  /* bound on fibers that have started and not ended */
	unsigned spare_max; /* stacks kept for reuse; what is over is unmapped */
};

/* Must be called on the thread that will run the fibers: it also gives that thread an alternate signal stack, on which
 * the first stack overflow of a fiber is reported.  NULL with errno. */
CHECKED struct fiber_pool *fiber_pool_new(const struct fiber_conf *conf);

/* On the thread that made it; no fiber may be live.  Takes NULL. */
void fiber_pool_free(struct fiber_pool *p);

unsigned fiber_pool_live(const struct fiber_pool *p);

typedef void fiber_fn(void *arg);

/* Starts fn(arg) on a stack of at least `stack` bytes (0: the default) and runs it until it ends or first suspends.
 * `name` (borrowed until the end; a route) is what a stack overflow is reported under.
 * *out: the fiber when it has suspended, NULL when it has already ended.
 * 0, or -EAGAIN at live_max, -ENOMEM without memory for a stack: fn has not run then. */
CHECKED int fiber_start(struct fiber_pool *p, size_t stack, const char *name, fiber_fn *fn, void *arg,
	struct fiber **out);

/* Goes on with a suspended fiber until it suspends again or ends; true when it has ended (f is then invalid).  May be
 * called by the thread's own stack or by another fiber of the pool (nested). */
bool fiber_resume(struct fiber *f);

/* Called on a fiber: goes back to whoever started or resumed it, until fiber_resume.  errno is not kept. */
void fiber_suspend(struct fiber *f);

/* The fiber that runs now on this pool's thread; NULL on the thread's own stack. */
struct fiber *fiber_current(const struct fiber_pool *p);

/* Where its stack lies, for whoever walks it: [low, high). */
void fiber_stack_bounds(const struct fiber *f, void **low, void **high);

#endif
