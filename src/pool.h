/* pool.h: bounded pools of threads that run jobs.  Knows nothing of HTTP. */
#ifndef OL_POOL_H
#define OL_POOL_H

#include "base/checked.h"
#include "base/clock.h"
#include "wheel.h"
#include "work_line.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;
struct pool_queue;

/* Why a job that was queued will not run. */
enum pool_expiry {
	POOL_TIMED_OUT,     /* it waited until its expires_ns */
	POOL_SHED,          /* CoDel gave it up: the pool is overloaded, and it has waited too long for that */
	POOL_EXPIRIES
};

/* One piece of work, embedded in its owner.  Exactly one of these happens to a job that was spliced: `run` is called,
 * on a worker; `expired` is called, on any thread, with no lock held; pool_drop took it back.  The pool does not touch
 * the job once run or expired has begun (they may free it). */
struct pool_job {
	struct pool_job *next, *prev;               /* the pool's */
	void (*run)(struct pool_job *job);
	void (*expired)(struct pool_job *job, enum pool_expiry why); /* NULL: it never expires and is never shed */
	uint64_t queued_ns;                         /* set by pool_splice */
	uint64_t expires_ns;                        /* from then on it does not start; 0 or NEVER: at any time */
	uint32_t tag;                               /* the caller's: which route; index of the histograms */
	uint8_t priority;                           /* 0, or 1: before those of 0 */
	struct pool_queue *queue;                   /* the pool's: where it waits; NULL: nowhere */
	struct timer timer;                         /* the pool's */
};

struct pool_conf {
	const char *name;                           /* borrowed for the pool's life */
	unsigned threads;                           /* limit of running jobs */
	unsigned queue;                             /* jobs admitted beyond those */
	size_t stack;                               /* bytes; 0: the system's default */
	uint64_t idle_ns;                           /* an idle thread ends after this; 0: 10 s */
	unsigned spares;                            /* threads beyond the limit while jobs are in pool_block_begin */
	bool codel;                                 /* sheds by CoDel, newest first while overloaded */
	uint64_t codel_target_ns, codel_interval_ns; /* 0: 5 ms and 100 ms */
	uint32_t tags;                              /* number of tags: jobs carry 0 .. tags-1 */
	/* On each worker, first and last; may be NULL.  line: what it says of itself, until thread_stop returns. */
	void (*thread_start)(void *arg, const struct work_line *line), (*thread_stop)(void *arg,
		const struct work_line *line);
	void *arg;
};

/* NULL with errno.  No thread is started before the first job. */
CHECKED struct pool *pool_new(const struct pool_conf *conf);

/* Waits for running jobs and ends the threads.  Nothing may be queued.  Takes NULL. */
void pool_free(struct pool *p);

/* Takes a place for one job: false when threads + queue jobs are admitted already, and one more for each token lent by
 * pool_block_begin (counted as rejected).  A place is given back when the job's run has returned, before its `expired`
 * is called, or when pool_drop took it.  An admitted job must reach pool_splice or pool_unadmit.  Any thread. */
CHECKED bool pool_admit(struct pool *p);

/* Takes a place beyond all bounds, for a job whose work has begun and goes on: it was let in before.  Any thread. */
void pool_readmit(struct pool *p);

/* Gives back the place of a job that will not be spliced.  Any thread. */
void pool_unadmit(struct pool *p);

/* Seconds, 1 to 3600, after which what runs and waits now will probably be done, at the pace of late.  Cheap: takes no
 * lock.  Any thread. */
unsigned pool_retry_after_s(const struct pool *p);

/* Jobs on their way to a pool, collected by one thread.  Zeroed memory is an empty batch. */
struct pool_batch {
	struct pool_job *head, *tail;
	unsigned n;
};

void pool_batch_add(struct pool_batch *b, struct pool_job *job);
/* Takes a job out that is in it, before it is spliced; its place goes by pool_unadmit. */
void pool_batch_remove(struct pool_batch *b, struct pool_job *job);

/* Queues the batch under one lock hold, and wakes or starts a worker where that is needed: at most one worker is waking
 * at a time (four for a tag that runs long), and a worker that finds more queued wakes the next before it runs its own
 * job; the last to go idle is woken first.  Empties the batch.  Any thread.
 * Where no thread can be started (EAGAIN) jobs stay queued: for the workers there are, or else until the next splice or
 * refused pool_admit tries again.  A splice of an empty batch does so too, and costs nothing otherwise. */
void pool_splice(struct pool *p, struct pool_batch *b);

/* Jobs wait for a thread that could not be started: somebody must splice again in a while.  Any thread. */
bool pool_stalled(const struct pool *p);

/* Gives up queued jobs whose expires_ns has come, or which CoDel gives up, and calls their `expired`.  Returns when it
 * should be called again, always after now_ns: at most a tick of the wheel (1.05 ms) after the next expires_ns, perhaps
 * before it; NEVER while no job that waits can be given up.  A worker that meets one does the same, and so does
 * pool_splice, so this is only needed while all workers are busy.  Costs what it gives up, not what waits.  Any
 * thread. */
uint64_t pool_expire(struct pool *p, uint64_t now_ns);

/* The job that the calling worker runs waits for something outside until pool_block_end: meanwhile one more may run, up
 * to `spares` of them.  Its own token it keeps, so after the end more than the limit may run for a while: nobody is
 * preempted, and no job starts until there is a token again.  Pairs nest; run's return closes what is open.  No effect
 * on threads that run no job. */
void pool_block_begin(void);
void pool_block_end(void);

/* So much of what the job that the calling worker runs has taken was not its own work: it is not counted as run.  No
 * effect on other threads. */
void pool_aside(uint64_t ns);

/* Takes a queued job back: true, and run will never be called; false when it runs, has run, or was not queued (not yet
 * spliced).  Any thread; the caller must know that the job's memory is alive. */
CHECKED bool pool_drop(struct pool *p, struct pool_job *job);

/* Gives a queued job's place in the queue to another, which is of the same priority and has taken no place: true, and
 * old's run will never be called.  False as for pool_drop, and nothing has changed.  old never expires.  Any thread. */
CHECKED bool pool_replace(struct pool *p, struct pool_job *old, struct pool_job *job);

/* Changes the limit and the queue bound while running.  Raising it wakes waiters at once; lowering never preempts: a
 * thread over the limit ends when its job does.  At a limit of 0 jobs are queued and none starts.  Any thread. */
void pool_resize(struct pool *p, unsigned threads, unsigned queue);

/* The calling worker goes on on that stack, [low, high); NULLs: on its own again.  For who looks at it from outside.
 * No effect on threads that run no job. */
void pool_on_stack(const void *low, const void *high);

/* The pool whose worker is the calling thread; NULL elsewhere. */
struct pool *pool_current(void);

const char *pool_name(const struct pool *p);

/* Bytes of stack that each of its threads may use up, the system's default included. */
size_t pool_stack(const struct pool *p);
/* What pool_conf.stack comes to, in bytes: 0 is the system's default. */
size_t pool_stack_of(size_t wanted);

/* A consistent look: all of it was true at one moment.  What anyio's limiter calls borrowed tokens is `running`, its
 * tasks waiting are `queued`. */
struct pool_stats {
	unsigned limit, queue_max, spares;
	unsigned threads, running, blocked, idle, starting; /* threads = the sum of the others */
	unsigned queued, waking;
	uint64_t oldest_queued_ns;                  /* when the job came that waits longest; 0 when none does */
	uint64_t done, rejected, dropped;           /* counters since pool_new: jobs run, refused, taken back */
	uint64_t expired[POOL_EXPIRIES];            /* counters: given up, by reason */
	bool overloaded;                            /* by CoDel */
	uint64_t waited;                            /* counter: jobs that came when no token was left for them */
	uint64_t run_ns;                            /* counter: time that the jobs of `done` ran */
	unsigned busy_max;                          /* the most that were running or blocked at once, ever */
	uint64_t started, spawn_failed, woken;      /* counters: threads started, that could not be, idle ones woken */
};
void pool_stats(const struct pool *p, struct pool_stats *s);

/* Histogram buckets of seconds, for wait and run: bounds in ns, the last NEVER.  Bucket i counts what is at most bound
 * i and more than bound i - 1 (not cumulative). */
#define POOL_BUCKETS 16
extern const uint64_t pool_bucket_ns[POOL_BUCKETS];
struct pool_hist {
	uint64_t bucket[POOL_BUCKETS], count, sum_ns;
};
/* The histograms of one tag.  Any thread. */
void pool_hist(const struct pool *p, uint32_t tag, struct pool_hist *wait, struct pool_hist *run);

/* Of the jobs of one tag: how many were looked at for that, the first of each thread and from then on one in
 * POOL_SAMPLED of it; and in how many of these the thread slept, in whatever.  Any thread. */
#define POOL_SAMPLED 64
struct pool_sleeps {
	uint64_t sampled, slept;
};
struct pool_sleeps pool_sleeps(const struct pool *p, uint32_t tag);

#endif
