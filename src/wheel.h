/* wheel.h: timers of one thread. */
#ifndef OL_WHEEL_H
#define OL_WHEEL_H

#include "base/clock.h"
#include "base/list.h"
#include <stdint.h>

/* Embedded in its owner; zeroed memory, or after timer_init, is an idle timer. */
struct timer {
	struct list node;
	uint64_t at_ns;                 /* when it is due, while it is armed */
	void (*fn)(struct timer *t);    /* called once, idle again by then; may add or delete any timer */
};

#define WHEEL_BITS 6
#define WHEEL_SLOTS (1u << WHEEL_BITS)
#define WHEEL_LEVELS 8                  /* every 64-bit time has a place: 44 bits of ticks fit in 8 * 6 */
#define WHEEL_TICK_SHIFT 20             /* a tick is 2^20 ns, about 1.05 ms */

/* Hierarchical timing wheel (Varghese and Lauck, 1987): add and delete in constant time.  A timer never fires early and
 * at most about one tick late (plus however late wheel_run is called). */
struct wheel {
	uint64_t tick;                                  /* all timers up to this tick have fired */
	uint64_t occupied[WHEEL_LEVELS];                /* one bit a slot that holds timers */
	struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
	struct list due;                                /* armed for a time that had passed: the next run's first */
	unsigned armed;                                 /* timers in it */
};

void wheel_init(struct wheel *w, uint64_t now_ns);

static inline void timer_init(struct timer *t, void (*fn)(struct timer *))
{
	list_init(&t->node);
	t->at_ns = NEVER;
	t->fn = fn;
}

static inline bool timer_armed(const struct timer *t)
{
	return t->node.next && !list_empty(&t->node);
}

/* Arms an idle timer, or moves an armed one.  at_ns = NEVER disarms it; a time that has passed fires in the next
 * run. */
void wheel_add(struct wheel *w, struct timer *t, uint64_t at_ns);

/* Harmless on an idle timer. */
void wheel_del(struct wheel *w, struct timer *t);

/* Fires everything due at now_ns, in order of ticks.  Timers that a callback adds for the past fire in the next run. */
void wheel_run(struct wheel *w, uint64_t now_ns);

/* When wheel_run must next be called: never later than the first tick at which a timer can fire, perhaps earlier (to
 * move timers to a finer level); NEVER when there are none. */
uint64_t wheel_next(const struct wheel *w);

#endif
