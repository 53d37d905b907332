/* lab_proc.h: what processes use, from /proc. */
#ifndef OL_CLI_LAB_PROC_H
#define OL_CLI_LAB_PROC_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* All processes of a session, which a server's processes are. */
struct proc_use {
	uint64_t cpu_ns;        /* user and system, of those that have ended too */
	uint64_t pss_kb;        /* memory, with what is shared divided among those that share it */
	bool pss_known;         /* it could be read of all of them */
	unsigned processes, threads;
};

/* memory: whether to look at it, which takes a millisecond a process. */
void proc_use(pid_t session, bool memory, struct proc_use *u);

/* CPU time that went by in these CPUs, whoever for, as far as nobody was idle; what a hypervisor took is part of it. */
uint64_t proc_busy_ns(const cpu_set_t *cpus);

/* CPU time of this process. */
uint64_t proc_own_ns(void);

#endif
