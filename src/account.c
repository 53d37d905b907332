/* account.c: where the time of a hold went, by what looks at its thread have told.
 *
 * The kernel says how long a thread has been on a CPU, and how long it waited for one.  What is left of the wall time
 * is not yet time asleep: a hypervisor that gives a virtual CPU's time to somebody else, or a wait that still goes on,
 * leaves such a rest too, of a thread that could have gone on.  So a rest counts as blocked only around a look that saw
 * the thread asleep: from the look before it to the look after it, or to the hold's end.  Any other rest counts as a
 * wait for a CPU, which is nobody's fault; but as much of it as the machine may have stood still stays in what is
 * blocked, of which that is taken off when the hold is judged.
 *
 * Looks are less than the limit apart, and one is due when the limit is reached; so who sleeps through a hold is seen.
 * Counting voluntary switches instead would find short sleeps between looks, too, but not how long they were: a page
 * fault beside a stolen CPU would be blamed.
 *
 * Of the time before the first look the thread's times say too much, for they go back to the look before, and the hold
 * began between the two.  Who is seen running has computed at most as long as they say, and who is seen asleep has
 * slept but for what it must have computed even if it did nothing else before the hold.  Waits may have been the
 * hold's.
 *
 * The times come from the caller, each set read at one moment while the hold lasted or ended.  One thread.
 */
#include "account.h"

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t without(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Since the first look. */
static uint64_t rest(const struct account *a, const struct account_times *now)
{
	return without(without(now->at_ns, a->first.at_ns),
		without(now->cpu_ns, a->first.cpu_ns) + without(now->waited_ns, a->first.waited_ns));
}

static uint64_t slept(const struct account *a, const struct account_times *now, bool asleep)
{
	return a->slept_ns + (a->asleep || asleep ? without(rest(a, now), a->rest_ns) : 0);
}

void account_begin(struct account *a, uint64_t start_ns, const struct account_times *before,
	const struct account_times *now, bool asleep)
{
	uint64_t age = without(now->at_ns, start_ns), cpu = 0, sure;

	*a = (struct account){ .start_ns = start_ns, .first = *now, .asleep = asleep };
	if (before->at_ns) {
		cpu = without(now->cpu_ns, before->cpu_ns);
		sure = lesser(without(cpu, without(start_ns, before->at_ns)), age);
		a->waited_ns = lesser(without(now->waited_ns, before->waited_ns), age - sure);
		a->cpu_ns = asleep ? sure : greater(sure, lesser(cpu, age - a->waited_ns));
	}
	if (asleep)
		a->asleep_ns = age - a->cpu_ns - a->waited_ns;
}

void account_look(struct account *a, const struct account_times *now, bool asleep)
{
	a->slept_ns = slept(a, now, asleep);
	a->rest_ns = rest(a, now);
	a->asleep = asleep;
}

struct stall_parts account_parts(const struct account *a, const struct account_times *now, uint64_t lost)
{
	uint64_t wall = without(now->at_ns, a->start_ns), left;
	struct stall_parts p = { .wall = wall, .lost = lesser(lost, wall) };

	/* A wait counts when it is over, so one that began before the first look may be longer than the time since. */
	p.waited = lesser(a->waited_ns + without(now->waited_ns, a->first.waited_ns), wall);
	p.cpu = lesser(a->cpu_ns + without(now->cpu_ns, a->first.cpu_ns), wall - p.waited);
	left = wall - p.waited - p.cpu;
	p.blocked = lesser(a->asleep_ns + slept(a, now, false) + p.lost, left);
	p.waited += left - p.blocked;
	return p;
}
