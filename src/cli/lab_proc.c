/* lab_proc.c: what processes use, from /proc.
 *
 * A subject's processes are those of its session: it was started with one of its own, and neither servers that fork
 * workers nor their workers leave it.  That also finds those whose parent has gone.
 *
 * CPU time is read from each process's clock (clock_getcpuclockid), to the nanosecond and with the threads that have
 * ended; /proc/PID/stat would round each process to hundredths of a second, which is half of what a good server uses in
 * a sample.  Children that have ended and were waited for are in their parent's cutime and cstime, so what a worker
 * used that was replaced is not lost.  Memory is PSS (smaps_rollup): RSS would count what five processes share five
 * times.  Of a process that another user runs, or that may not be traced, it cannot be read; then what all of them have
 * is not known, and said to be so.
 *
 * What a process reads of itself and others here is a picture: one that ends while it is looked at is left out.
 */
#include "cli/lab_proc.h"
#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct stat_line {
	char state;
	int session;
	unsigned long long cutime, cstime;
	long threads;
};

/* Reads a file of /proc whole: its length, 0 when it cannot be read. */
static size_t slurp(const char *name, char *dst, size_t n)
{
	FILE *f = fopen(name, "re");
	size_t got = f ? fread(dst, 1, n - 1, f) : 0;

	if (f)
		fclose(f);
	dst[got] = 0;
	return got;
}

/* Behind the name in parentheses, which may hold anything (proc(5)): state, ppid, pgrp, session, 9 more up to stime. */
static bool read_stat(const char *pid, struct stat_line *s)
{
	char name[64], text[1024];
	const char *rest;

	snprintf(name, sizeof(name), "/proc/%.20s/stat", pid);
	if (!slurp(name, text, sizeof(text)) || !(rest = strrchr(text, ')')))
		return false;
	return sscanf(rest + 1, " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %llu %llu %*d %*d %ld",
		&s->state, &s->session, &s->cutime, &s->cstime, &s->threads) == 5;
}

static uint64_t cpu_clock_ns(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Adds its memory.  One that has ended, though nobody has waited for it, has none. */
static void add_pss(struct proc_use *u, const char *pid)
{
	char name[64], text[4096];
	struct stat_line s;
	const char *at;

	snprintf(name, sizeof(name), "/proc/%.20s/smaps_rollup", pid);
	if (slurp(name, text, sizeof(text)) && (at = strstr(text, "\nPss:")))
		u->pss_kb += strtoull(at + 5, NULL, 10);
	else if (read_stat(pid, &s) && s.state != 'Z' && s.state != 'X')
		u->pss_known = false;
}

void proc_use(pid_t session, bool memory, struct proc_use *u)
{
	uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
	DIR *proc = opendir("/proc");
	struct dirent *e;
	struct stat_line s;

	*u = (struct proc_use){ .pss_known = memory };
	while (proc && (e = readdir(proc))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !read_stat(e->d_name, &s) || s.session != session)
			continue;
		u->processes++;
		u->threads += (unsigned)s.threads;
		u->cpu_ns += cpu_clock_ns((pid_t)strtol(e->d_name, NULL, 10)) + (s.cutime + s.cstime) * tick_ns;
		if (memory)
			add_pss(u, e->d_name);
	}
	if (proc)
		closedir(proc);
}

uint64_t proc_busy_ns(const cpu_set_t *cpus)
{
	uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK), ticks = 0;
	unsigned long long user, nice, system, irq, softirq, steal;
	FILE *f = fopen("/proc/stat", "re");
	char line[512];
	unsigned cpu;

	while (f && fgets(line, sizeof(line), f))
		if (line[3] != ' ' && sscanf(line, "cpu%u %llu %llu %llu %*u %*u %llu %llu %llu", &cpu, &user, &nice,
			&system, &irq, &softirq, &steal) == 7 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, cpus))
			ticks += user + nice + system + irq + softirq + steal;
	if (f)
		fclose(f);
	return ticks * tick_ns;
}

uint64_t proc_own_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}
