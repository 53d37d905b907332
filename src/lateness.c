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
 * - During a look: lost, but for its CPU time and its wait; and what it waited for is hidden just the same.
 * - While it was to wake up, as who woke it says: lost, but for the wait.
 * - Before the first look at a hold nothing is known of its thread; of that time what may have been lost counts as lost
 *   as a whole.
 *
 * A hold is granted the greatest of its looks' margins, and not their sum: on a machine that is late all the time that
 * would be longer than the hold, and stops that follow each other within one hold are rare.  So with what is hidden.
 *
 * Less than a millisecond is never lost: timers are late by themselves, by what the hardware and the kernel make of
 * it.  Times of the thread cost more than the rest of a look, so they are asked for only when there is something to
 * explain, and before what looks may have used unasked comes to much; that much explains nothing.  A look ends at the
 * moment at which the sleep after it begins, so that no time is between the two.
 *
 * The clock is the caller's, so tests run on a clock of their own.  One thread.
 */
#include "lateness.h"
#include "base/clock.h"
#include "stall.h"

#define UNASKED_MAX (NS_PER_MS / 2)     /* what a wait may fail to explain, so that it is still not lost */

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
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
	l->unasked_ns = 0;
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

/* Asks how long it waited for a CPU before this look, if that may matter: always of one that is late. */
static void ask(struct lateness *l, uint64_t late_ns)
{
	uint64_t unasked = l->unasked_ns, cpu;

	l->waited_now_ns = 0;
	l->unasked_ns += late_ns;
	if (l->woken || l->away || l->unasked_ns >= UNASKED_MAX)
		own_times(l, &cpu, &l->waited_now_ns);
	l->away = false;
	l->explained_ns = without(l->waited_now_ns, unasked);
}

/* How much of the time before this look may hide a stop; waits that are too short cannot. */
static uint64_t hidden(const struct lateness *l, uint64_t now_ns, uint64_t late_ns, uint64_t lost_ns)
{
	if (late_ns >= NS_PER_MS)
		return without(now_ns - l->rested_ns, lost_ns + l->margin_ns);
	return l->woken && l->waited_now_ns >= NS_PER_MS ? l->waited_now_ns : 0;
}

void lateness_look(struct lateness *l)
{
	uint64_t now = l->clock.now_ns(l->clock.arg), suspended = l->clock.suspended_ns(l->clock.arg);
	uint64_t late = without(now, l->due_ns), lost;

	l->woken = now < l->due_ns;
	ask(l, late);
	lost = stall_lost(late, l->explained_ns, without(suspended, l->suspended_ns));
	l->margin_ns = lost > 0 && late > 0 ? l->due_ns - l->rested_ns : 0;
	l->hidden_ns = greater(l->hiding_ns, hidden(l, now, late, lost));
	l->gap_ns = l->noted_ns + lost + l->margin_ns;
	l->noted_ns = l->hiding_ns = 0;
	l->lost_ns += lost;
	l->doubt_ns += lost + l->margin_ns;
	l->suspended_ns = suspended;
	l->looked_ns = l->told_ns = now;
}

/* Up to now_ns. */
static void note(struct lateness *l, uint64_t now_ns)
{
	uint64_t took = now_ns - l->told_ns, unasked = l->unasked_ns, cpu, waited, lost;

	if (took < NS_PER_MS)
		return;
	own_times(l, &cpu, &waited);
	lost = stall_lost(took, without(cpu + waited, unasked), 0);
	l->noted_ns += lost;
	l->hiding_ns += without(took, without(cpu, unasked) + lost);
	l->lost_ns += lost;
	l->doubt_ns += lost;
	l->told_ns = now_ns;
}

void lateness_note(struct lateness *l)
{
	note(l, l->clock.now_ns(l->clock.arg));
}

void lateness_rest(struct lateness *l, uint64_t due_ns)
{
	uint64_t cpu, waited;

	l->rested_ns = l->clock.now_ns(l->clock.arg);
	note(l, l->rested_ns);
	l->unasked_ns += l->rested_ns - l->told_ns;
	if (l->unasked_ns >= UNASKED_MAX)
		own_times(l, &cpu, &waited);
	l->due_ns = greater(due_ns, l->rested_ns);
}

void lateness_leave(struct lateness *l)
{
	l->away = true;
}

/* Of the time from the hold's start until the look that has first seen it: how much may have been lost. */
static uint64_t unseen(const struct lateness *l, uint64_t age_ns, uint64_t period_ns)
{
	uint64_t missed = age_ns > period_ns + NS_PER_MS ? age_ns - period_ns : 0, lost = l->gap_ns;

	if (l->woken)   /* when the hold began */
		lost = greater(lost, stall_lost(age_ns, l->explained_ns, 0));
	return greater(missed, lesser(lost, age_ns));
}

void lateness_first(struct lateness *l, struct lateness_grant *g, uint64_t start_ns, uint64_t period_ns)
{
	uint64_t age = without(l->looked_ns, start_ns), lost;

	lateness_note(l);
	lost = unseen(l, age, period_ns);
	*g = (struct lateness_grant){ .lost_ns = l->lost_ns, .unseen_ns = lost + l->noted_ns,
		.hidden_ns = lesser(l->hidden_ns, age - lost) };
}

void lateness_again(const struct lateness *l, struct lateness_grant *g)
{
	g->margin_ns = greater(g->margin_ns, l->margin_ns);
	g->hidden_ns = greater(g->hidden_ns, l->hidden_ns);
}

uint64_t lateness_granted(struct lateness *l, struct lateness_grant *g)
{
	lateness_note(l);
	g->hidden_ns = greater(g->hidden_ns, l->hiding_ns);
	return l->lost_ns - g->lost_ns + g->unseen_ns + g->margin_ns;
}
