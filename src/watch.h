/* watch.h: who holds a loop: what each loop says of the app's code that runs on it, and the monitor that looks.
 *
 * The loop's side is a cache line it writes when it enters and leaves code of the app's.  Everything here that takes a
 * struct watch_loop takes NULL too, and does nothing then: the monitor is off.
 */
#ifndef OL_WATCH_H
#define OL_WATCH_H

#include "base/checked.h"
#include "base/clock.h"
#include "base/counter.h"
#include "probe.h"
#include "stall.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capture_thread;
struct crew;
struct crew_pool;
struct log;

/* What the app's code that holds the loop was called as. */
enum watch_what { WATCH_HANDLER, WATCH_POST, WATCH_HOOK };

/* What a loop says of itself: written by its thread, read by the monitor.  seq is odd while code of the app's runs and
 * changes with every entry and every exit; the other members hold while it is odd and does not change. */
struct watch_line {
	_Alignas(64) _Atomic uint64_t seq;
	_Atomic uint64_t start_ns;
	_Atomic uintptr_t low, high;    /* its fiber's stack; 0: it runs on the thread's own */
	_Atomic uint32_t route;
	_Atomic uint32_t what;
};

/* What all loops share with the monitor; apart from what it writes often.  Loops read it at each entry. */
struct watch_shared {
	_Alignas(64) _Atomic uint64_t tick_ns;  /* when the monitor last looked, */
	_Atomic uint64_t due_ns;        /* and is to look again, or to have done with looking; NEVER: it sleeps */
	_Atomic uint64_t lost_ns;       /* how long the machine has stood still, at most, as far as it noticed */
	_Atomic uint32_t asleep;        /* 1: it sleeps, and must be woken by who enters */
};

#define WATCH_LOOK_NS (2 * NS_PER_MS)   /* a look, or waking up for one, takes no longer when nothing is amiss */

#define WATCH_BUCKETS 15
extern const uint64_t watch_bucket_ns[WATCH_BUCKETS];       /* upper bounds; the last is NEVER */

/* How long the code of one route held one loop each time: written by that loop. */
struct watch_holds {
	_Atomic uint64_t bucket[WATCH_BUCKETS];
	_Atomic uint64_t sum_ns;
};

/* A hold over the limit, left for the monitor by its loop when it was over. */
struct watch_long {
	uint64_t seq, start_ns, end_ns;
	uint64_t cpu_ns, waited_ns;     /* the thread's times at its end */
	uint32_t route;
	enum watch_what what;
	bool told;                      /* its route has been judged for it by the loop */
	_Atomic uint32_t victims;       /* requests that came to the loop while it was held */
	_Atomic uint32_t age;           /* turns that have begun since; from WATCH_OLD on nothing is added */
};

#define WATCH_LONG 32           /* of those, a ring: what the monitor has not fetched when it is full is only counted */
#define WATCH_OLD 3

/* One loop.  Its first line is shared with the monitor; the rest is the loop's, read by others where it is atomic. */
struct watch_loop {
	struct watch_line line;
	struct watch_shared *shared;
	uint64_t limit_ns;
	struct watch_holds *holds;      /* by route; the last for code of no route */
	uint32_t nroutes;
	uint32_t aging;                 /* the first of `longs` whose victims are still counted */
	_Atomic uint64_t told_seq;      /* the last hold that somebody claimed */
	pthread_mutex_t looking;        /* held by who uses `thread`, and to take it away */
	struct capture_thread *thread;  /* NULL: /proc does not tell, or the loop's thread has ended */
	_Alignas(64) _Atomic uint32_t longs_end;        /* the loop: where the next goes */
	_Atomic uint32_t longs_begin;   /* the monitor: what it fetches next */
	_Atomic uint64_t longs_lost;    /* the ring was full */
	struct watch_long longs[WATCH_LONG];
};

/* ---- the loop's side --------------------------------------------------------------------------------------------- */

void watch_wake(struct watch_shared *s, uint64_t now_ns);
void watch_over_limit(struct watch_loop *w, uint64_t start_ns, uint64_t end_ns);
void watch_age(struct watch_loop *w);
void watch_add_victim(struct watch_loop *w, bool late);
bool watch_held_up(const struct watch_loop *w);

static inline void watch_count(struct watch_holds *h, uint64_t ns)
{
	unsigned i = 0;

	while (ns > watch_bucket_ns[i])
		i++;
	counter_add(&h->bucket[i], 1);
	counter_add(&h->sum_ns, ns);
}

/* Code of the app's begins, or goes on, on this loop; now_ns: the loop's last reading of the clock.
 *
 * Each member is stored with release, so that none is seen before the seq that ended the last hold (on x86 that costs
 * nothing); the last store publishes them.  `asleep` may be read before that store is seen by others: the monitor,
 * which looks once more a while after it has said that it sleeps, sees it then. */
static inline void watch_enter(struct watch_loop *w, enum watch_what what, uint32_t route, uint64_t now_ns,
	const void *low, const void *high)
{
	uint64_t tick;

	if (!w)
		return;
	/* Relaxed, both: a bound on how far back now_ns may lie; seq has one writer. */
	tick = atomic_load_explicit(&w->shared->tick_ns, memory_order_relaxed);
	atomic_store_explicit(&w->line.start_ns, tick > now_ns ? tick : now_ns, memory_order_release);
	atomic_store_explicit(&w->line.low, (uintptr_t)low, memory_order_release);
	atomic_store_explicit(&w->line.high, (uintptr_t)high, memory_order_release);
	atomic_store_explicit(&w->line.route, route, memory_order_release);
	atomic_store_explicit(&w->line.what, what, memory_order_release);
	atomic_store_explicit(&w->line.seq, counter_read(&w->line.seq) + 1, memory_order_release);
	if (atomic_load_explicit(&w->shared->asleep, memory_order_relaxed))
		watch_wake(w->shared, now_ns);
}

/* It has come back to the loop; now_ns has just been read.  True: it was held for so long that the monitor will judge.
 * Release: who sees that the hold is over finds it among the long ones, if it was one. */
static inline bool watch_leave(struct watch_loop *w, uint64_t now_ns)
{
	uint64_t start, ns;
	uint32_t route;

	if (!w)
		return false;
	start = counter_read(&w->line.start_ns);
	route = atomic_load_explicit(&w->line.route, memory_order_relaxed);
	ns = now_ns > start ? now_ns - start : 0;
	watch_count(&w->holds[route], ns);
	PROBE2(hold, route, ns);
	if (ns >= w->limit_ns)
		watch_over_limit(w, start, now_ns);
	atomic_store_explicit(&w->line.seq, counter_read(&w->line.seq) + 1, memory_order_release);
	return ns >= w->limit_ns;
}

/* How long the machine has stood still by now_ns, at most, as far as the monitor has noticed (watch_lost), or is late
 * and may yet notice (watch_may_be_lost): then perhaps ever since it last looked.  Relaxed: a number, for its own
 * sake. */
static inline uint64_t watch_lost(const struct watch_loop *w)
{
	return w ? atomic_load_explicit(&w->shared->lost_ns, memory_order_relaxed) : 0;
}

static inline uint64_t watch_may_be_lost(const struct watch_loop *w, uint64_t now_ns)
{
	uint64_t tick, due;

	if (!w)
		return 0;
	/* The monitor may look at this moment.  Acquire, both, and lost_ns after them: a look of which either is seen
	 * has told by then what was lost before it (publish); of one that is not seen all the time since the one before
	 * counts.  tick_ns can be later than now_ns, beside what was due before that look. */
	tick = atomic_load_explicit(&w->shared->tick_ns, memory_order_acquire);
	due = atomic_load_explicit(&w->shared->due_ns, memory_order_acquire);
	return watch_lost(w) + (now_ns > due && now_ns > tick ? now_ns - tick : 0);
}

/* On the loop, when a hold begins that it judges itself, and when that is over: how much of it may be nobody's doing.
 * What the loop's thread waited for a CPU, and what may be lost.  Some system calls each. */
struct watch_mark {
	uint64_t lost_ns, waited_ns;
};
struct watch_mark watch_mark(const struct watch_loop *w);
uint64_t watch_nobodys(const struct watch_loop *w, const struct watch_mark *since, uint64_t now_ns);

/* Whether requests that come to the loop now may have waited behind a long hold. */
static inline bool watch_aftermath(const struct watch_loop *w)
{
	return w && w->aging != atomic_load_explicit(&w->longs_end, memory_order_relaxed); /* its own */
}

/* A turn of the loop begins. */
static inline void watch_turn(struct watch_loop *w)
{
	if (watch_aftermath(w))
		watch_age(w);
}

/* A request begins.  late: it is the first of a connection that was accepted while watch_held_up. */
static inline void watch_request(struct watch_loop *w, bool late)
{
	if (watch_aftermath(w))
		watch_add_victim(w, late);
}

/* Who judges a route for the present hold: the loop, once it is over, which claims it before watch_leave, or the
 * monitor, while it lasts.  True for who asks first, and without a monitor for the loop. */
CHECKED bool watch_claim(struct watch_loop *w);

/* ---- the monitor's side ------------------------------------------------------------------------------------------ */

/* For the hold that began with this seq. */
CHECKED bool watch_claim_seq(struct watch_loop *w, uint64_t seq);

/* A line, as far as it holds. */
struct watch_view {
	uint64_t seq;                   /* 0: no code of the app's runs; the rest is nothing then */
	uint64_t start_ns;
	uintptr_t low, high;
	uint32_t route;
	enum watch_what what;
};
struct watch_view watch_read(const struct watch_line *line);

/* ---- the monitor ------------------------------------------------------------------------------------------------- */

struct watch;

struct watch_conf {
	unsigned loops;
	uint32_t nroutes;
	uint64_t limit_ns;              /* a hold from here on is a stall */
	struct log *log;
	const char *(*name)(void *arg, uint32_t route); /* "GET /x"; kept for the watch's life */
	stall_told *held;               /* of each stall that a route's handler is blamed for, as soon as that is known,
	                                 * but those that the loop has claimed; NULL: nobody is told */
	void *arg;
	unsigned pools;                 /* and how to ask about them; the rest may be left out with 0 */
	uint64_t worker_limit_ns;       /* a job from here on is a stall of its worker */
	const char *(*pool_name)(void *arg, unsigned pool);
	void (*pool_look)(void *arg, unsigned pool, struct crew_pool *now);
	void (*tick)(void *arg, uint64_t now_ns);       /* see monitor.h; may be NULL */
	void *pools_arg;                /* of these three */
};

/* Everything is borrowed until watch_free.  NULL with errno. */
CHECKED struct watch *watch_new(const struct watch_conf *conf);

/* Ends the monitor's thread: nobody is looked at any more.  Takes NULL. */
void watch_stop(struct watch *w);

/* Stops it.  No loop may enter code of the app's any more, and all workers have left.  Takes NULL. */
void watch_free(struct watch *w);

/* On the thread of loop i, once, before it serves: makes it known.  What cannot be had (no /proc) is done without.
 * NULL for a NULL w. */
struct watch_loop *watch_attach(struct watch *w, unsigned i);

/* On the same thread, last thing it does. */
void watch_detach(struct watch_loop *l);

/* Starts the monitor's thread, once all loops are known.  0 or -errno. */
CHECKED int watch_start(struct watch *w);

/* ---- what it has seen; any thread -------------------------------------------------------------------------------- */

/* How long code of a route (nroutes: of none) held loops, summed over them. */
struct watch_hist {
	uint64_t bucket[WATCH_BUCKETS];
	uint64_t sum_ns, count;
};
void watch_hist(const struct watch *w, uint32_t route, struct watch_hist *sum);

/* The stalls: the latest of them, and their counts. */
struct stall_book *watch_book(struct watch *w);

/* The workers; NULL for a NULL w. */
struct crew *watch_crew(struct watch *w);

#endif
