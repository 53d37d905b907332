/* wheel.c: the timers of one thread, in a hierarchical timing wheel.
 *
 * Times are counted in ticks of 2^20 ns, rounded up, so that a timer never fires early.  A tick is read as a number of
 * eight digits in base 64, and each level of the wheel is one digit.  A timer lives at the level of the highest digit
 * in which its tick differs from the wheel's, in the slot of its own digit there.  From this rule follows everything
 * else:
 *
 *  - Every occupied slot of a level lies above the wheel's own digit, so nothing ever wraps around, and the lowest bit
 *    of the lowest level with any bit set is the next thing to happen.
 *  - A timer's place is a function of its tick and the wheel's, so a timer that is deleted need not remember it.
 *  - The wheel may move to any tick before the start of that next slot without touching a timer.  When it reaches the
 *    start, the slot's timers fire or move to a finer level; each moves at most once a level.
 *
 * A run first moves the wheel to the present and gathers what is due in a list of its own, in order of ticks, and only
 * then calls back.  So a callback may add and delete any timer: one that waits in the gathered list leaves it like any
 * other list, and one added for a time that has passed goes to `due`, which is the next run's, and cannot keep this run
 * going.
 *
 * Belongs to one thread.  Knows nothing of the clock but what it is told; a clock that steps back fires nothing.
 */
#include "wheel.h"

static uint64_t tick_of(uint64_t at_ns)
{
	return (at_ns >> WHEEL_TICK_SHIFT) + ((at_ns & ((UINT64_C(1) << WHEEL_TICK_SHIFT) - 1)) != 0);
}

/* The last tick that a clock can reach is 2^44 - 1; a timer rounded up beyond it never fires. */
static uint64_t ns_of(uint64_t tick)
{
	return tick > NEVER >> WHEEL_TICK_SHIFT ? NEVER : tick << WHEEL_TICK_SHIFT;
}

struct place {
	unsigned level, slot;
};

/* Where a timer for `tick` lives, which is after the wheel's own. */
static struct place place_of(const struct wheel *w, uint64_t tick)
{
	unsigned level = (63 - (unsigned)__builtin_clzll(tick ^ w->tick)) / WHEEL_BITS;

	return (struct place){ level, (unsigned)(tick >> (level * WHEEL_BITS)) & (WHEEL_SLOTS - 1) };
}

static void put(struct wheel *w, struct timer *t, uint64_t tick)
{
	struct place at = place_of(w, tick);

	list_push_back(&w->slots[at.level][at.slot], &t->node);
	w->occupied[at.level] |= UINT64_C(1) << at.slot;
}

void wheel_init(struct wheel *w, uint64_t now_ns)
{
	w->tick = now_ns >> WHEEL_TICK_SHIFT;
	w->armed = 0;
	list_init(&w->due);
	for (unsigned l = 0; l < WHEEL_LEVELS; l++) {
		w->occupied[l] = 0;
		for (unsigned s = 0; s < WHEEL_SLOTS; s++)
			list_init(&w->slots[l][s]);
	}
}

void wheel_add(struct wheel *w, struct timer *t, uint64_t at_ns)
{
	uint64_t tick = tick_of(at_ns);

	wheel_del(w, t);
	if (at_ns == NEVER)
		return;
	t->at_ns = at_ns;
	w->armed++;
	if (tick > w->tick)
		put(w, t, tick);
	else
		list_push_back(&w->due, &t->node);
}

void wheel_del(struct wheel *w, struct timer *t)
{
	uint64_t tick = tick_of(t->at_ns);

	if (!timer_armed(t))
		return;
	list_del(&t->node);
	t->at_ns = NEVER;
	w->armed--;
	if (tick > w->tick) {
		struct place at = place_of(w, tick);

		if (list_empty(&w->slots[at.level][at.slot]))
			w->occupied[at.level] &= ~(UINT64_C(1) << at.slot);
	}
}

/* The first tick of the next slot that holds timers, and its place; NEVER when all are empty. */
static uint64_t next_slot(const struct wheel *w, struct place *at)
{
	for (unsigned l = 0; l < WHEEL_LEVELS; l++) {
		unsigned shift = l * WHEEL_BITS, above = shift + WHEEL_BITS;

		if (!w->occupied[l])
			continue;
		*at = (struct place){ l, (unsigned)__builtin_ctzll(w->occupied[l]) };
		return w->tick >> above << above | (uint64_t)at->slot << shift;
	}
	return NEVER;
}

/* The wheel stands at the start of this slot: what is due at its first tick fires, the rest goes to finer levels. */
static void empty_slot(struct wheel *w, struct place at, struct list *firing)
{
	struct list moved, *node;

	list_init(&moved);
	list_splice(&moved, &w->slots[at.level][at.slot]);
	w->occupied[at.level] &= ~(UINT64_C(1) << at.slot);
	while ((node = list_pop(&moved))) {
		struct timer *t = container_of(node, struct timer, node);
		uint64_t tick = tick_of(t->at_ns);

		if (tick > w->tick)
			put(w, t, tick);
		else
			list_push_back(firing, node);
	}
}

void wheel_run(struct wheel *w, uint64_t now_ns)
{
	uint64_t now = now_ns >> WHEEL_TICK_SHIFT, start;
	struct list firing, *node;
	struct place at;

	list_init(&firing);
	list_splice(&firing, &w->due);
	while ((start = next_slot(w, &at)) <= now) {
		w->tick = start;
		empty_slot(w, at, &firing);
	}
	if (now > w->tick)
		w->tick = now;
	while ((node = list_pop(&firing))) {
		struct timer *t = container_of(node, struct timer, node);

		t->at_ns = NEVER;
		w->armed--;
		t->fn(t);
	}
}

uint64_t wheel_next(const struct wheel *w)
{
	struct place at;

	if (!list_empty(&w->due))
		return ns_of(w->tick);
	return ns_of(next_slot(w, &at));
}
