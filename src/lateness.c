/* lateness.c: how far the monitor can trust the times it sees, since the machine may have stood still meanwhile.
 *
 * A process that is stopped (SIGSTOP, a frozen cgroup, a guest that is paused) ages like one that blocks.  Who watches
 * it is stopped too, and that can be told: time in which the monitor neither computed, nor waited for a CPU, nor meant
 * to sleep, was lost.  As far as its own wait for a CPU explains that it is late, the loops' times tell the same story
 * and can be trusted.
 *
 * - Past the time at which a look was due: lost, but for the wait.  Such a stop began while the monitor slept, nobody
 *   knows when; so besides this there is a margin, all of that sleep.
 * - A thread without a CPU is not stopped before it gets one.  So a wait of the monitor's may hide a stop of the
 *   loops', which looks as if they were blocked: `hidden` is as much as that may have been.
 * - During a look: lost, but for its CPU time and its wait.
 * - While it was to wake up, as who woke it says: lost, but for the wait.
 * - Before the first look at a hold nothing is known of its thread; of that time what may have been lost counts as lost
 *   as a whole.
 *
 * A hold is granted the greatest of its looks' margins, and not their sum: on a machine that is late all the time that
 * would be longer than the hold, and stops that follow each other within one hold are rare.
 *
 * Less than a millisecond is never lost: timers are late by themselves, by what the hardware and the kernel make of
 * it.  Times of the thread are asked for when something is to be explained, and now and then besides, so that waits too
 * short to matter do not add up to an explanation.
 *
 * The clock is the caller's, so tests run on a clock of their own.  One thread.
 */
#include "lateness.h"
#include "base/clock.h"
#include "stall.h"

#define SELF_LOOKS 16
#define SELF_WAIT (NS_PER_MS / 5)

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t without(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* How long this thread has been on a CPU, and waited for one, since it was last asked. */
static void own_times(struct lateness *l, uint64_t *cpu_ns, uint64_t *waited_ns)
{
	uint64_t cpu, waited;

	*cpu_ns = *waited_ns = 0;
	if (!l->clock.times(l->clock.arg, &cpu, &waited))
		return;
	*cpu_ns = cpu - l->cpu_ns;
	*waited_ns = waited - l->waited_ns;
	l->cpu_ns = cpu;
	l->waited_ns = waited;
}

void lateness_init(struct lateness *l, const struct lateness_clock *clock)
{
	uint64_t cpu, waited;

	*l = (struct lateness){ .clock = *clock, .due_ns = NEVER };
	own_times(l, &cpu, &waited);
	l->suspended_ns = l->clock.suspended_ns(l->clock.arg);
}

void lateness_wake(struct lateness *l, uint64_t since_ns)
{
	l->due_ns = l->rested_ns = since_ns;
}

void lateness_look(struct lateness *l)
{
	uint64_t now = l->clock.now_ns(l->clock.arg), suspended = l->clock.suspended_ns(l->clock.arg);
	uint64_t late = without(now, l->due_ns), cpu, lost;

	l->woken = now < l->due_ns;
	l->waited_now_ns = 0;
	if (late > SELF_WAIT || l->woken || l->looks++ % SELF_LOOKS == 0)
		own_times(l, &cpu, &l->waited_now_ns);
	lost = stall_lost(late, l->waited_now_ns, without(suspended, l->suspended_ns));
	l->margin_ns = lost > 0 && late > 0 ? l->due_ns - l->rested_ns : 0;
	l->hidden_ns = late < NS_PER_MS ? 0 : without(now - l->rested_ns, lost + l->margin_ns);
	l->gap_ns = l->noted_ns + lost + l->margin_ns;
	l->noted_ns = 0;
	l->lost_ns += lost;
	l->doubt_ns += lost + l->margin_ns;
	l->suspended_ns = suspended;
	l->looked_ns = l->told_ns = now;
}

void lateness_note(struct lateness *l)
{
	uint64_t now = l->clock.now_ns(l->clock.arg), cpu, waited, lost;

	if (now < l->told_ns + NS_PER_MS)
		return;
	own_times(l, &cpu, &waited);
	lost = stall_lost(now - l->told_ns, cpu + waited, 0);
	l->noted_ns += lost;
	l->lost_ns += lost;
	l->doubt_ns += lost;
	l->told_ns = now;
}

void lateness_rest(struct lateness *l, uint64_t due_ns)
{
	lateness_note(l);
	l->rested_ns = l->clock.now_ns(l->clock.arg);
	l->due_ns = greater(due_ns, l->rested_ns);
}

uint64_t lateness_unseen(const struct lateness *l, uint64_t start_ns, uint64_t period_ns)
{
	uint64_t age = without(l->looked_ns, start_ns), lost = l->gap_ns;
	uint64_t missed = age > period_ns + NS_PER_MS ? age - period_ns : 0;

	if (l->woken)   /* when the hold began */
		lost = greater(lost, stall_lost(age, l->waited_now_ns, 0));
	return greater(missed, lost < age ? lost : age) + l->noted_ns;
}
