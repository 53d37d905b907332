/* stall.h: a loop that was held too long: who is to blame, what is remembered, and what the log is told. */
#ifndef OL_STALL_H
#define OL_STALL_H

#include "base/checked.h"
#include "capture.h"
#include "symbols.h"
#include "syscalls.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct log;

/* ---- judging: numbers in, a verdict out -------------------------------------------------------------------------- */

enum stall_cause {
	STALL_CPU,          /* the route's code was computing */
	STALL_BLOCKED,      /* it waited in the kernel */
	STALL_RUNNABLE,     /* it could have gone on, but had no CPU: a starved host; nobody's fault */
	STALL_LATE,         /* nobody was watching: the machine was suspended, or the monitor itself had no CPU */
	STALL_CAUSES,
	STALL_UNKNOWN = STALL_CAUSES    /* /proc did not tell; never of a loop's */
};

const char *stall_cause_name(enum stall_cause cause);

/* Where the time of a hold went; ns. */
struct stall_parts {
	uint64_t wall;
	uint64_t cpu, waited;   /* on a CPU; runnable without one */
	uint64_t blocked;       /* the rest */
	uint64_t lost;          /* of wall: while the monitor was late, and not for want of a CPU */
	uint64_t hidden;        /* of blocked: while the monitor had no CPU, so that it would not know of a stop */
};

/* How much of a hold nobody can speak for. */
static inline uint64_t stall_late(const struct stall_parts *p)
{
	return p->lost + p->hidden < p->wall ? p->lost + p->hidden : p->wall;
}

/* The parts of a hold of `wall`, of which `seen` have been watched, by the thread's times at both ends of that. */
struct stall_parts stall_divide(uint64_t wall, uint64_t seen, uint64_t cpu, uint64_t waited, uint64_t lost);

/* What a hold over the limit is due to. */
enum stall_cause stall_judge(const struct stall_parts *p, uint64_t limit_ns);

static inline bool stall_blames(enum stall_cause cause)
{
	return cause == STALL_CPU || cause == STALL_BLOCKED;
}

/* The age at which a hold that goes on is told of, after one was told at `told` (0: not yet). */
uint64_t stall_next_told(uint64_t told, uint64_t limit_ns);

/* How much of the monitor's lateness says that the machine stood still: what its own wait for a CPU (waited_ns) does
 * not explain, and what the machine was suspended for. */
uint64_t stall_lost(uint64_t late_ns, uint64_t waited_ns, uint64_t suspended_ns);

/* ---- remembering ------------------------------------------------------------------------------------------------- */

#define STALL_KEPT 64
#define STALL_STACK 3072
#define STALL_TEXT 1024

enum stall_kind {
	STALL_LOOP,             /* a loop is held */
	STALL_WORKER,           /* a pool's worker runs one job for very long */
	STALL_POOL,             /* all workers of a pool are busy, and jobs wait: nobody is blamed */
};

const char *stall_kind_name(enum stall_kind kind);

struct stall {
	uint64_t id;            /* from 1; 0: the place is empty */
	struct timespec began;  /* CLOCK_REALTIME */
	enum stall_kind kind;
	unsigned loop;          /* of STALL_LOOP */
	const char *pool;       /* of the others; borrowed */
	uint32_t route;         /* nroutes: of none, as when nobody is blamed */
	const char *name;       /* "GET /x"; NULL: nobody is blamed */
	const char *what;       /* "handler", "ol_post", "hook"; "job" on a worker */
	struct stall_parts parts;
	enum stall_cause cause;
	uint32_t victims;
	bool ongoing;
	enum capture_state state;
	char syscall[SYSCALL_TEXT_MAX]; /* "" when none is known */
	int secret;             /* the errno for which the kernel does not tell where it sleeps; 0: it does */
	unsigned nframes;
	uint32_t probable;
	char stack[STALL_STACK];        /* a NUL-terminated line for each frame */
	char text[STALL_TEXT];  /* of STALL_POOL: what its workers wait for */
};

/* Takes over what a look at its thread has found; call: the text of the system call.  symbols may be NULL. */
void stall_look(struct stall *s, struct symbols *symbols, const struct capture *look, const char *call);

/* Why a stall has no stack; NULL when it has one, or there is no more to say. */
const char *stall_no_stack(const struct stall *s);

/* When a moment of the monotonic clock was, by CLOCK_REALTIME. */
struct timespec stall_real_time(uint64_t at_ns);

struct stall_book;

/* Counts and the latest stalls.  name is kept.  NULL with errno. */
CHECKED struct stall_book *stall_book_new(uint32_t nroutes, const char *(*name)(void *arg, uint32_t route), void *arg,
	struct log *log);
void stall_book_free(struct stall_book *b);
/* Before any is counted: who is told of each stall of a handler's as it is counted, which may be while it lasts.  By
 * the monitor. */
typedef void stall_told(void *arg, uint32_t route, uint64_t hold_ns, enum stall_cause cause);
void stall_book_tell(struct stall_book *b, stall_told *told, void *arg);

/* By the monitor.  A new entry: its id, which s->id becomes too. */
uint64_t stall_open(struct stall_book *b, struct stall *s);
/* Replaces the entry of s->id, if it is still among the latest. */
void stall_change(struct stall_book *b, const struct stall *s);
/* Forgets it: it was none after all. */
void stall_retract(struct stall_book *b, uint64_t id);
/* Tells who is to be told of the routes that are blamed; once a stall. */
void stall_blame(struct stall_book *b, const struct stall *s);
/* Counts it, by route and cause; once a stall. */
void stall_count(struct stall_book *b, const struct stall *s);
void stall_count_victims(struct stall_book *b, const struct stall *s);
/* Counts n that nobody could look at. */
void stall_count_unseen(struct stall_book *b, uint64_t n);
/* One line for the log, unless there have been too many; those are counted. */
void stall_tell(struct stall_book *b, const struct stall *s, uint64_t now_ns);
/* What the route is called, for an entry. */
const char *stall_route_name(const struct stall_book *b, uint32_t route);
uint32_t stall_no_route(const struct stall_book *b);

/* Any thread.  The latest, newest first: at most STALL_KEPT into out; how many. */
unsigned stall_latest(struct stall_book *b, struct stall *out);
/* The worst of all of a loop, that route and cause, by its length and its victims; false when there is none. */
struct stall_hold {
	unsigned loop;
	uint64_t ns;
	uint32_t victims;
	char syscall[SYSCALL_TEXT_MAX];
};
CHECKED bool stall_worst(struct stall_book *b, uint32_t route, enum stall_cause cause, struct stall_hold *out);
uint64_t stall_total(const struct stall_book *b, uint32_t route, enum stall_cause cause);
uint64_t stall_victims(const struct stall_book *b, uint32_t route);
/* Lines the log was spared. */
uint64_t stall_untold(const struct stall_book *b);

/* The first line of its stack that is of no use to who reads only one; NULL past the last. */
const char *stall_frame(const struct stall *s, unsigned i);

#endif
