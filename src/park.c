/* park.c: one waiter and its wakers.
 *
 * Everything a handler can wait for (time, a lock, a pool thread, a body, a slow client) ends in park_wait, and so the
 * same handler code runs in either lane: a fiber is suspended and its loop goes on, a thread sleeps on a futex.
 *
 * The state is one word.  EMPTY: nobody waits.  PARKED: the waiter sleeps, or is about to.  WOKEN: a wake has come that
 * no wait has taken yet.  Whoever moves PARKED away owns the resumption: a waker posts the park's message to the loop
 * (so a fiber is only ever resumed from the loop's own stack, never from inside another handler), or wakes the futex;
 * the timer resumes the fiber itself.  Since exactly one of them succeeds, a fiber is never resumed twice, and no
 * message is under way for a park whose fiber already runs.
 *
 * Orders: the exchange that wakes is a release, the one that takes the wake an acquire, so what the waker wrote before
 * is seen after.  Parking a fiber is a release, too: who then wakes it writes the park's message, which the loop has
 * just had in its hands.  The futex wake is the last thing a waker does with a park, which may be gone by then
 * (futex.h).
 */
#include "park.h"
#include "base/futex.h"

#include <errno.h>

enum { EMPTY, PARKED, WOKEN };

static void resume_by_message(struct loop_msg *m)
{
	struct park *p = container_of(m, struct park, msg);

	wheel_del(&p->loop->wheel, &p->timer);
	p->resume(p);
}

static void resume_by_timer(struct timer *t)
{
	struct park *p = container_of(t, struct park, timer);
	uint32_t parked = PARKED;

	/* Relaxed: waiter and timer are one thread. */
	if (!atomic_compare_exchange_strong_explicit(
			&p->state, &parked, EMPTY, memory_order_relaxed, memory_order_relaxed))
		return; /* woken meanwhile: its message resumes */
	p->timed_out = true;
	p->resume(p);
}

void park_init_fiber(struct park *p, struct loop *l, struct fiber_pool *fibers, void (*resume)(struct park *p_))
{
	atomic_init(&p->state, EMPTY);
	p->pauses = NULL;
	p->loop = l;
	p->fibers = fibers;
	p->fiber = NULL;
	p->resume = resume;
	p->msg.fn = resume_by_message;
	timer_init(&p->timer, resume_by_timer);
}

void park_init_thread(struct park *p)
{
	atomic_init(&p->state, EMPTY);
	p->loop = NULL;
	p->pauses = NULL;
}

static int wait_fiber(struct park *p, uint64_t deadline_ns)
{
	uint32_t empty = EMPTY;

	p->timed_out = false;
	p->fiber = fiber_current(p->fibers);
	if (atomic_compare_exchange_strong_explicit(
			&p->state, &empty, PARKED, memory_order_acq_rel, memory_order_acquire)) {
		wheel_add(&p->loop->wheel, &p->timer, deadline_ns);
		fiber_suspend(p->fiber);
	}
	if (p->timed_out)
		return -ETIMEDOUT;
	/* WOKEN, by the waker's exchange; take it. */
	atomic_exchange_explicit(&p->state, EMPTY, memory_order_acquire);
	return 0;
}

static int wait_thread(struct park *p, uint64_t deadline_ns)
{
	uint32_t empty = EMPTY;

	park_pauses(p, true);
	if (atomic_compare_exchange_strong_explicit(
			&p->state, &empty, PARKED, memory_order_acquire, memory_order_acquire)) {
		while (atomic_load_explicit(&p->state, memory_order_acquire) == PARKED &&
			futex_wait(&p->state, PARKED, deadline_ns))
			continue;
	}
	park_pauses(p, false);
	/* A wake that came with the time-out counts as a wake. */
	return atomic_exchange_explicit(&p->state, EMPTY, memory_order_acquire) == WOKEN ? 0 : -ETIMEDOUT;
}

int park_wait(struct park *p, uint64_t deadline_ns)
{
	return p->loop ? wait_fiber(p, deadline_ns) : wait_thread(p, deadline_ns);
}

uint64_t park_clock(const struct park *p)
{
	return p->loop ? loop_clock(p->loop) : clock_now_ns();
}

void park_wake(struct park *p)
{
	struct loop *l = p->loop;

	if (atomic_exchange_explicit(&p->state, WOKEN, memory_order_acq_rel) != PARKED)
		return;
	if (l)
		loop_post(l, &p->msg);
	else
		futex_wake(&p->state);
}
