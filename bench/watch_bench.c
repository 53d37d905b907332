/* watch_bench.c: what the watch over the loops costs, in nanoseconds a hold and in the monitor's share of a CPU.
 *
 * A hold is what every .async request has at least one of: an entry into the app's code and the return from it.  Each
 * case runs several times and the fastest run counts.  The first two are the marks alone, then one reading of the clock
 * is added, as dispatch does it: a request whose reply is sent at once used to read the clock itself then, and does no
 * more, so that part of it is no addition.
 *
 * The monitor's share is taken while this thread does nothing but short holds, and while it does nothing; both on one
 * CPU, since on another that has nothing else to do it is charged with that CPU's waking up, 133 times a second.
 */
#include "base/clock.h"
#include "base/log.h"
#include "watch.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7
#define OPS 2000000
#define ROUTES 64
#define BUSY_NS (2 * NS_PER_S)

static volatile uint64_t sink;

static void marks(struct watch_loop *l)
{
	for (uint64_t i = 0; i < OPS; i++) {
		watch_enter(l, WATCH_HANDLER, i % ROUTES, i, &i, &i);
		__asm__ volatile("" ::: "memory");
		watch_leave(l, i + 100);
	}
}

static void marks_and_clock(struct watch_loop *l)
{
	uint64_t now = clock_now_ns();

	for (uint64_t i = 0; i < OPS; i++) {
		watch_enter(l, WATCH_HANDLER, i % ROUTES, now, &i, &i);
		__asm__ volatile("" ::: "memory");
		now = clock_now_ns();
		watch_leave(l, now);
	}
}

static void clock_alone(struct watch_loop *l)
{
	(void)l;
	for (uint64_t i = 0; i < OPS; i++)
		sink = clock_now_ns();
}

static void report(const char *what, void (*fn)(struct watch_loop *l), struct watch_loop *l)
{
	uint64_t best = NEVER;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = clock_now_ns(), ns;

		fn(l);
		ns = clock_now_ns() - start;
		best = ns < best ? ns : best;
	}
	printf("%-44s %7.2f ns\n", what, (double)best / OPS);
}

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What all threads but this one use meanwhile. */
static void report_share(const char *what, struct watch_loop *busy)
{
	double wall = seconds(CLOCK_MONOTONIC), all = seconds(CLOCK_PROCESS_CPUTIME_ID),
	       mine = seconds(CLOCK_THREAD_CPUTIME_ID);
	uint64_t end = clock_now_ns() + BUSY_NS;

	if (busy)
		while (clock_now_ns() < end)
			for (int i = 0; i < 1000; i++) {
				watch_enter(busy, WATCH_HANDLER, 0, clock_now_ns(), &i, &i);
				watch_leave(busy, clock_now_ns());
			}
	else
		usleep(BUSY_NS / NS_PER_US);
	wall = seconds(CLOCK_MONOTONIC) - wall;
	mine = seconds(CLOCK_THREAD_CPUTIME_ID) - mine;
	all = seconds(CLOCK_PROCESS_CPUTIME_ID) - all;
	printf("%-44s %7.3f %%\n", what, (all - mine) / wall * 100);
}

static void stay_here(void)
{
	int cpu = sched_getcpu();
	cpu_set_t here;

	CPU_ZERO(&here);
	if (cpu >= 0)
		CPU_SET((size_t)cpu, &here);
	if (cpu < 0 || sched_setaffinity(0, sizeof(here), &here) < 0)
		perror("watch_bench: not on one CPU");
}

static const char *name(void *arg, uint32_t route)
{
	(void)arg;
	(void)route;
	return "GET /";
}

int main(void)
{
	struct log_conf lc = { .fd = STDERR_FILENO, .level = LOG_ERROR };
	struct watch_conf wc = { .loops = 2, .nroutes = ROUTES, .limit_ns = 10 * NS_PER_MS, .name = name };
	struct watch_loop *l;
	struct watch *w;

	wc.log = log_new(&lc);
	w = wc.log ? watch_new(&wc) : NULL;
	if (!w || !(l = watch_attach(w, 0))) {
		fputs("watch_bench: no memory\n", stderr);
		return 1;
	}
	report("a hold, monitor off", marks, NULL);
	report("a hold, marks only, nobody looking", marks, l);
	report("reading the clock", clock_alone, NULL);
	report("a hold with its clock, nobody looking", marks_and_clock, l);
	stay_here();
	if (watch_start(w) < 0) {
		fputs("watch_bench: no thread\n", stderr);
		return 1;
	}
	report("a hold with its clock, while it looks", marks_and_clock, l);
	report_share("the monitor, of one CPU, under load", l);
	usleep(50000);
	report_share("the monitor, of one CPU, idle", NULL);
	watch_detach(l);
	watch_free(w);
	log_free(wc.log, 100);
	return 0;
}
