/* advice.h: what to change, and the evidence for it: numbers in, sentences out. */
#ifndef OL_ADVICE_H
#define OL_ADVICE_H

#include "base/checked.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADVICE_EVIDENCE_MAX 384
#define ADVICE_REMEDY_MAX 160

/* "SUBJECT EVIDENCE: REMEDY", as in "GET /report" "held loop 0 for 412 ms in read(fd 17), 96 requests waited" "declare
 * it .sync". */
struct advice {
	char evidence[ADVICE_EVIDENCE_MAX], remedy[ADVICE_REMEDY_MAX];
};

/* Each of the functions below gives true and fills *out where its numbers call for advice, else false.  `was`: the
 * same was given until now; then it takes less to go on giving it, so that what is said does not flicker. */

/* ---- an .async route that holds its loop ------------------------------------------------------------------------- */

#define ADVICE_HOLDS 4

struct advice_hold {
	uint64_t blocked, cpu;          /* holds over the limit, by what they were due to; others do not count */
	/* The worst of the greater kind: where, for how long, in which call ("" when that is not known), and how many
	 * requests waited. */
	unsigned loop;
	uint64_t ns;
	const char *call;
	uint64_t victims;
	unsigned cpus;
	const char *remedy;             /* where another lane is none; else NULL */
	bool streams;                   /* it streams events, each of which would hold a thread */
	const char *mover;              /* who has moved it to a pool: "the guard"; NULL: nobody, it is on its loop */
};
CHECKED bool advice_hold(const struct advice_hold *in, struct advice *out);

/* ---- a .sync route that needs no thread -------------------------------------------------------------------------- */

#define ADVICE_RUNS 1000
#define ADVICE_SAMPLES 10

struct advice_short {
	const char *pool;
	uint64_t runs;                  /* in the window */
	uint64_t p99_ns, p999_ns;       /* of their run times: at most this */
	uint64_t hop_ns;                /* how long they waited for a thread on average */
	uint64_t sampled, slept;        /* runs in which somebody looked, and those in which the thread slept */
	uint64_t stall_ns;              /* what would be a stall on a loop */
};
CHECKED bool advice_short(const struct advice_short *in, bool was, struct advice *out);

/* ---- how many threads a pool should have ------------------------------------------------------------------------- */

#define ADVICE_JOBS 20                                  /* in the window, at least */
#define ADVICE_WINDOW_NS UINT64_C(1000000000)           /* the shortest window that tells anything */
#define ADVICE_UNUSED_NS (600 * UINT64_C(1000000000))   /* after so long it can be told what was never used */

struct advice_pool {
	const char *setting;            /* what sets its threads: "--pool", ".threads" */
	unsigned threads, cpus;
	unsigned threads_max;           /* what memory and limits allow */
	uint64_t window_ns;
	uint64_t jobs;                  /* begun in the window */
	uint64_t waited;                /* came in the window when no thread was left for them */
	uint64_t refused;               /* in the window, for want of room */
	uint64_t wait_ns;               /* in the window: time all jobs waited for a thread, */
	uint64_t wait_p99_ns;
	uint64_t busy_ns;               /* time all threads were in jobs, */
	bool known;                     /* of which these parts are known: */
	uint64_t cpu_ns, runnable_ns;   /* on a CPU; waiting for one */
	uint64_t age_ns, done;          /* since the start: time, jobs, and the most threads in use at once */
	unsigned used_max;
};
CHECKED bool advice_threads(const struct advice_pool *in, bool was, struct advice *out);

/* How many threads would do what comes, blocked as it is: as many as jobs are there at once while all threads are busy
 * (Little's law), but not more than keep the CPUs busy, nor than there may be. */
unsigned advice_threads_wanted(const struct advice_pool *in);

/* ---- who is refused ---------------------------------------------------------------------------------------------- */

#define ADVICE_REFUSED 10

struct advice_refused {
	const char *what;               /* "its queue of 64 being full" */
	const char *remedy;             /* "raise .queue, or the threads" */
	uint64_t refused, offered;      /* in the window; offered: with those that were refused */
	uint64_t window_ns;
};
CHECKED bool advice_refused(const struct advice_refused *in, bool was, struct advice *out);

/* ---- histograms -------------------------------------------------------------------------------------------------- */

/* The q-th (0 to 1) of what a histogram counts is at most this: the upper bound of its bucket, UINT64_MAX of the last;
 * 0 when it counts nothing. */
uint64_t advice_quantile_bound(const uint64_t *bounds, const uint64_t *counts, unsigned n, double q);

/* About what it is, as if what lies in a bucket were spread evenly; 0 when it counts nothing. */
uint64_t advice_quantile_about(const uint64_t *bounds, const uint64_t *counts, unsigned n, double q);

#endif
