/* lane_meter.c: what a thread spends its time in while it runs code of the app's.
 *
 * Time is measured by the wall, and explained by the kernel's accounts of the thread (getrusage): a voluntary switch
 * means that it slept, an involuntary one that it was preempted.  Neither: then all of the stretch was computing.  Only
 * preempted: then the CPU time tells, less a tick of the clock, by which the account may be behind.  So a starved host
 * never makes a stretch longer than it was.
 *
 * Reading the accounts is a system call of some 0.3 us, so only those are measured whose lane depends on it.
 *
 * A meter belongs to the thread it was begun on.
 */
#include "lane_meter.h"

#include <string.h>
#include <sys/resource.h>

#define TICK_NS (10 * NS_PER_MS)        /* the longest that kernels are built with: HZ=100 */

static uint64_t timeval_ns(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_usec * NS_PER_US;
}

static struct rusage accounts(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);   /* cannot fail: both arguments are right */
	return u;
}

static uint64_t cpu_ns(const struct rusage *u)
{
	return timeval_ns(&u->ru_utime) + timeval_ns(&u->ru_stime);
}

static void open_stretch(struct lane_meter *m)
{
	struct rusage u = accounts();

	m->cpu_ns = cpu_ns(&u);
	m->slept = u.ru_nvcsw;
	m->preempted = u.ru_nivcsw;
	m->begun_ns = clock_now_ns();
}

static void close_stretch(struct lane_meter *m, uint64_t now_ns)
{
	uint64_t ns = now_ns > m->begun_ns ? now_ns - m->begun_ns : 0, certain = ns;
	struct rusage u = accounts();

	if (u.ru_nivcsw != m->preempted) {
		certain = cpu_ns(&u) - m->cpu_ns;
		certain = certain > TICK_NS ? certain - TICK_NS : 0;
	}
	m->has_slept |= u.ru_nvcsw != m->slept;
	m->longest_ns = ns > m->longest_ns ? ns : m->longest_ns;
	m->certain_ns = certain > m->certain_ns ? certain : m->certain_ns;
}

void lane_meter_begin(struct lane_meter *m)
{
	memset(m, 0, sizeof(*m));
	open_stretch(m);
}

void lane_meter_pause(struct lane_meter *m)
{
	if (m->outside++ == 0)
		close_stretch(m, clock_now_ns());
}

void lane_meter_go_on(struct lane_meter *m)
{
	if (--m->outside == 0)
		open_stretch(m);
}

void lane_meter_end(struct lane_meter *m)
{
	if (m->outside == 0)
		close_stretch(m, clock_now_ns());
}

bool lane_meter_end_over(struct lane_meter *m, uint64_t limit_ns)
{
	uint64_t now = clock_now_ns();

	if (now < m->begun_ns + limit_ns)
		return false;
	close_stretch(m, now);
	return true;
}

enum lane_cause lane_meter_cause(const struct lane_meter *m, uint64_t limit_ns)
{
	if (m->has_slept)
		return LANE_BLOCKED;
	return m->longest_ns < limit_ns || m->certain_ns >= limit_ns ? LANE_CPU : LANE_WAITED;
}
