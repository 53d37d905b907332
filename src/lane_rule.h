/* lane_rule.h: when a route changes its lane: numbers in, a verdict out. */
#ifndef OL_LANE_RULE_H
#define OL_LANE_RULE_H

#include "base/checked.h"
#include "base/clock.h"
#include <stdbool.h>
#include <stdint.h>

/* What a hold, or a stretch of a run, spent its time in. */
enum lane_cause {
	LANE_CPU,       /* computing */
	LANE_BLOCKED,   /* asleep in the kernel, outside what would have suspended it */
	LANE_WAITED,    /* runnable, without a CPU: nobody's fault, so it proves nothing */
};

/* Which routes one is about. */
enum lane_kind {
	LANE_ADAPTIVE,  /* .adaptive: the server chooses */
	LANE_WATCHED,   /* .async, --guard warn: moved by hand only */
	LANE_GUARDED,   /* .async, --guard demote */
};

/* What a server asks of its routes. */
struct lane_limits {
	uint64_t budget_ns;     /* --adaptive-us: a clean run holds its thread for less at a time */
	uint64_t hold_ns;       /* a hold of a loop from here on demotes an adaptive route */
	uint64_t stall_ns;      /* --stall-ms: one from here on counts against an .async route */
	unsigned runs;          /* --adaptive-runs: this many, of which one in a hundred may be over the budget */
};

#define LANE_BUCKETS 24                         /* up to 1 us, 2 us, 4 us ... */
#define LANE_HOLDS 4                            /* of an .async route: then it is moved, or warned of */
#define LANE_BACKOFF_MAX 1024                   /* times lane_limits.runs, at most */
#define LANE_FORGIVES_NS (600 * NS_PER_S)       /* what a demotion has doubled is halved after so long */

/* One route's, in which `pooled` says where its requests go.  The runs are those in the pool since the last one that
 * was not clean, the holds those that counted since it came to the loop. */
struct lane_record {
	enum lane_kind kind;
	bool pooled;
	unsigned needed;                /* runs before it is promoted, as of demoted_ns; 0: as many as ever */
	uint64_t demoted_ns;            /* 0: it never was */
	unsigned runs, over;            /* of the runs, those that were over the budget */
	unsigned bucket[LANE_BUCKETS];  /* of the runs, by their longest stretch */
	unsigned holds;
};

/* How a run in the pool went. */
struct lane_run {
	uint64_t longest_ns;            /* the longest stretch between two waits that would suspend a fiber */
	enum lane_cause cause;          /* BLOCKED: it slept in one of them; WAITED: it was only preempted */
	bool proof;                     /* the handler ran to its end; else how long that took proves nothing */
};

/* A run in the pool is over.  True: the route has proven short, and is to be promoted (lane_rule_moved). */
CHECKED bool lane_rule_ran(struct lane_record *rec, const struct lane_limits *lim, const struct lane_run *run,
	uint64_t now_ns);

/* A loop was, or is, held.  True: the route is to be moved to the pool (for LANE_WATCHED: to be warned of, once). */
CHECKED bool lane_rule_held(struct lane_record *rec, const struct lane_limits *lim, uint64_t hold_ns,
	enum lane_cause cause);

/* It runs in this lane from now on.  blamed: it was moved for a hold, so the next promotion takes twice the runs. */
void lane_rule_moved(struct lane_record *rec, const struct lane_limits *lim, bool pooled, bool blamed, uint64_t now_ns);

/* Clean runs that a promotion takes at that moment. */
unsigned lane_rule_needed(const struct lane_record *rec, const struct lane_limits *lim, uint64_t now_ns);

/* The 99th percentile of the runs' longest stretches: at most this much; 0 without runs. */
uint64_t lane_rule_p99_ns(const struct lane_record *rec);

#endif
