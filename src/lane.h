/* lane.h: the lanes of routes that may change theirs, and who changes them. */
#ifndef OL_LANE_H
#define OL_LANE_H

#include "base/checked.h"
#include "lane_rule.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

struct lane;
struct log;

/* What a server's routes have in common. */
struct lane_terms {
	struct lane_limits limits;
	struct log *log;
};

#define LANE_ALWAYS (~0u)       /* in *measured */

/* By hand; AUTO: as declared. */
enum lane_pin { LANE_AUTO, LANE_ASYNC, LANE_SYNC };

/* A route's, in its declared lane: an adaptive one begins in the pool, an .async one on the loop.  need: what it needs
 * that may block, so that it stays in the pool for good; NULL: nothing.  pooled: where its next request goes, set from
 * here on by this alone; measured: see lane_suspect.  Everything is borrowed until lane_free.  NULL without memory. */
CHECKED struct lane *lane_new(const struct lane_terms *terms, enum lane_kind kind, const char *route, const char *need);
void lane_bind(struct lane *l, _Atomic bool *pooled, _Atomic unsigned *measured);      /* before anything below */
void lane_free(struct lane *l);                         /* takes NULL */

/* What a stretch of a run may take. */
uint64_t lane_budget(const struct lane *l);

/* A hold of a loop by it from here on is to be told. */
uint64_t lane_hold_limit(const struct lane *l);

/* A run in the pool is over.  The worker that ran it. */
void lane_ran(struct lane *l, const struct lane_run *run);

/* It has held its loop for too long, whatever that was due to: the next runs there are measured, if they may move it.
 * The loop it ran on. */
void lane_suspect(struct lane *l);

/* A run that was measured was not too long.  The loop it ran on. */
void lane_passed(struct lane *l);

/* It holds a loop for hold_ns by now, or has: told once for each hold.  Any thread; waits for no handler. */
void lane_held(struct lane *l, uint64_t hold_ns, enum lane_cause cause);

/* It streams events: its replies last for as long as their clients stay, and in the pool each would hold a thread.  So
 * an .async route is not moved there, or is moved back.  Whoever runs it. */
void lane_streams(struct lane *l);

/* Pins it.  by: who, for the log.  -EPERM: it stays where it is, since it needs what may block (lane_look).  Any
 * thread. */
CHECKED int lane_pin(struct lane *l, enum lane_pin pin, const char *by);

#define LANE_WHY_MAX 160

struct lane_look {
	enum lane_kind kind;
	const char *need;       /* as above */
	enum lane_pin pin;
	bool pooled;
	bool streams;           /* it streams events, so no hold moves it */
	unsigned runs, over;    /* clean ones in the pool, and those of them over the budget: since the last that was
	                         * not, or, on the loop, those that brought it there */
	unsigned needed;        /* that many bring it to the loop */
	uint64_t p99_ns;        /* their 99th percentile is at most this */
	unsigned holds;         /* that counted, since it came to the loop */
	uint64_t held;          /* counters: all those, */
	uint64_t moves[2];      /* changes of its lane: to the loop, to the pool */
	struct timespec moved;  /* CLOCK_REALTIME, of the last; 0: none */
	char why[LANE_WHY_MAX]; /* the evidence for that */
};

/* A consistent look.  Any thread. */
void lane_look(struct lane *l, struct lane_look *look);

#endif
