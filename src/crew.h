/* crew.h: the workers of the pools, as the monitor sees them. */
#ifndef OL_CREW_H
#define OL_CREW_H

#include "base/checked.h"
#include "work_line.h"
#include <stdbool.h>
#include <stdint.h>

struct capturer;
struct crew;
struct stall_book;
struct symbols;
struct watch_shared;

/* What a pool says of itself. */
struct crew_pool {
	unsigned limit, busy, queued;
	uint64_t oldest_ns;             /* when the job came that waits longest; 0: none waits */
};

struct crew_conf {
	unsigned pools;
	uint32_t nroutes;               /* jobs carry 0 .. nroutes as tags; the last is of no route */
	uint64_t limit_ns;              /* a job that runs for longer is a stall */
	const char *(*pool_name)(void *arg, unsigned pool);
	void (*pool_look)(void *arg, unsigned pool, struct crew_pool *now); /* must not wait for long */
	void *arg;
	struct stall_book *book;
	struct watch_shared *shared;    /* to wake the monitor by */
};

/* Everything is borrowed until crew_free.  NULL with errno. */
CHECKED struct crew *crew_new(const struct crew_conf *conf);
/* When all workers have left.  Takes NULL. */
void crew_free(struct crew *c);

/* On a worker's thread: it begins (ends) its work for that pool.  Both take a NULL crew. */
void crew_join(struct crew *c, unsigned pool, const struct work_line *line);
void crew_leave(struct crew *c, const struct work_line *line);

/* ---- the monitor ------------------------------------------------------------------------------------------------- */

/* When it is to be looked at next; NEVER while it has no workers.  Any thread. */
uint64_t crew_due(const struct crew *c);

/* Looks at all of them.  lost_ns: how long the machine has stood still, all in all.  capturer and symbols may be
 * NULL. */
void crew_look(struct crew *c, struct capturer *capturer, struct symbols *symbols, uint64_t now_ns, uint64_t lost_ns);

/* ---- what it has seen; any thread -------------------------------------------------------------------------------- */

/* Jobs of the route that ran for longer than the limit; times that all workers were busy while others waited. */
uint64_t crew_stalls(const struct crew *c, unsigned pool, uint32_t route);
uint64_t crew_starvations(const struct crew *c, unsigned pool);

/* What the workers of a pool have spent since it began: on CPUs, runnable without one, and in jobs that have not ended
 * yet.  False when that is not known of all of them. */
struct crew_times {
	uint64_t cpu_ns, waited_ns, unfinished_ns;
};
CHECKED bool crew_times(struct crew *c, unsigned pool, uint64_t now_ns, struct crew_times *t);

#endif
