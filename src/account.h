/* account.h: where the time of a hold went, by what looks at its thread have told. */
#ifndef OL_ACCOUNT_H
#define OL_ACCOUNT_H

#include "stall.h"
#include <stdbool.h>
#include <stdint.h>

/* A thread's times at one moment. */
struct account_times {
	uint64_t at_ns;                 /* 0: not known */
	uint64_t cpu_ns, waited_ns;     /* on a CPU, and runnable without one, since it began */
};

/* One hold. */
struct account {
	uint64_t start_ns;
	struct account_times first;     /* at the first look */
	uint64_t cpu_ns, asleep_ns;     /* before it, taken from what it saw */
	uint64_t waited_ns;
	uint64_t slept_ns;              /* since then */
	uint64_t rest_ns;               /* since then, up to the last look: neither on a CPU nor waiting for one */
	bool asleep;                    /* at the last look */
};

/* The first look at a hold that began at start_ns; before: what was known of the thread at the look before that. */
void account_begin(struct account *a, uint64_t start_ns, const struct account_times *before,
	const struct account_times *now, bool asleep);

/* A later look. */
void account_look(struct account *a, const struct account_times *now, bool asleep);

/* The parts of the hold up to now, at its end or at a look; lost: see struct stall_parts. */
struct stall_parts account_parts(const struct account *a, const struct account_times *now, uint64_t lost);

#endif
