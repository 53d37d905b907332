/* pool.c: a bounded queue of jobs and the threads that run them.
 *
 * One mutex guards the queue, the counts and the histograms; it is held for a few dozen nanoseconds and never across a
 * system call or a callback.  A worker takes it once per job: to book the job it has run and to take the next, which
 * pool_queue.c picks.  Idle workers lie on a stack, each asleep on a futex of its own: the last to go idle is woken
 * first, those below reach their idle time and end.
 *
 * Whoever changes the state calls plan() before unlocking and perform() after it.  plan() decides whom to wake or
 * start: such a worker counts as `waking` until it holds the lock, and while one is, nobody wakes another; it makes
 * its own plan before it runs its job.  So a batch of short jobs costs a wake or two, and yet no job waits for a
 * running one to end while a worker could be had.  Where the next job's kind runs long, up to WIDE may be waking.
 *
 * Invariants, whenever the mutex is free (busy = running + blocked; tokens = limit + min(blocked, spares), or 0):
 *  - busy + idle + starting = threads; of the idle ones each is asleep in the list, or waking.
 *  - a job is taken only while busy < tokens, so never while `limit` others run, whatever limit and blocked were
 *    before. A worker that finds threads > limit + spares ends, one that finds no token rests.  A limit of 0 closes
 *    the pool.
 *  - if a job is queued and busy + waking < tokens, then a worker is waking, or no thread could be started.
 *  - a worker whose `woken` is set never ends before it has taken that wake.
 * Each worker has a line of its own (work_line.h) that says which job it runs and since when, for others to look at
 * without its help; one run in POOL_SAMPLED is looked at for whether the thread slept in it.
 *
 * Who finds jobs to give up takes them out under the mutex, as pool_drop does, and calls back without it.  Admission
 * is pool_places.c's.
 */
#include "pool_kind.h"
#include "pool_places.h"
#include "pool_queue.h"
#include "base/futex.h"
#include "base/list.h"
#include "base/thread.h"
#include "probe.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAGIC 0x6f6c706fu               /* "olpo" */
#define CACHE_LINE 64
#define IDLE_NS (10 * NS_PER_S)
#define SPAWN_RETRY_NS (10 * NS_PER_MS) /* after a thread could not be started, before the next is tried */
#define WIDE 4                          /* workers that may be waking at once for jobs that run long */
#define STACK_MIN ((size_t)64 << 10)
#define TARGET_NS (5 * NS_PER_MS)       /* CoDel's */
#define INTERVAL_NS (100 * NS_PER_MS)
#define RETRY_AFTER_MAX 3600

LOCK_ROLE(pool_role);

struct pool {
	uint32_t magic;

	/* Set once. */
	const char *name;
	char thread_name[16];                   /* Linux's bound, with the terminator */
	size_t stack;
	uint64_t idle_ns;
	unsigned spares;
	uint32_t tags;
	void (*thread_start)(void *arg, const struct work_line *line);
	void (*thread_stop)(void *arg, const struct work_line *line);
	void *arg;

	atomic_bool stalled;                    /* jobs are queued, and a thread for them could not be started */

	struct pool_places places;

	_Alignas(CACHE_LINE) pthread_mutex_t mutex;
	struct list idle GUARDED_BY(pool_role); /* workers asleep, the last to go idle first */
	unsigned tokens GUARDED_BY(pool_role);  /* see above */
	unsigned threads GUARDED_BY(pool_role), threads_max GUARDED_BY(pool_role);
	unsigned running GUARDED_BY(pool_role), blocked GUARDED_BY(pool_role), starting GUARDED_BY(pool_role);
	unsigned waking GUARDED_BY(pool_role);
	atomic_uint_fast64_t mean_ns;           /* of run, all kinds, the recent ones counting more; read without it */
	uint64_t done GUARDED_BY(pool_role), dropped GUARDED_BY(pool_role), waited GUARDED_BY(pool_role);
	uint64_t run_ns GUARDED_BY(pool_role);
	unsigned busy_max GUARDED_BY(pool_role);
	struct pool_kind *kinds GUARDED_BY(pool_role);

	atomic_uint limit;                      /* written under the mutex */
	unsigned queue_max GUARDED_BY(pool_role);
	unsigned alive GUARDED_BY(pool_role);   /* threads, and those that are ending */
	uint64_t expired[POOL_EXPIRIES] GUARDED_BY(pool_role);
	uint64_t started GUARDED_BY(pool_role), spawn_failed GUARDED_BY(pool_role), woken GUARDED_BY(pool_role);
	uint64_t spawn_after_ns GUARDED_BY(pool_role);
	bool has_ended GUARDED_BY(pool_role);
	pthread_t ended GUARDED_BY(pool_role);  /* the last thread to end: the next one joins it, or pool_free does */
	pthread_cond_t gone;                    /* alive has become 0 */
	struct pool_queue queue GUARDED_BY(pool_role);
};

/* On its thread's own stack.  A wake may come when that is gone, see futex.h. */
struct worker {
	struct work_line line;                  /* which job it runs, for others to see */
	struct list node;                       /* in pool.idle; guarded by the pool's lock */
	_Atomic uint32_t woken;
	struct pool *pool;                      /* this and what follows is its own */
	bool in_job;
	unsigned blocks;                        /* pool_block_begin without its end */
	unsigned jobs;                          /* begun, counted to know which to sample */
	uint64_t aside_ns;                      /* of this one, not to be counted */
	struct pool_lost lost;                  /* given up, their `expired` not yet called */
};

/* System calls that a plan asks for, made once the mutex is free. */
struct calls {
	struct worker *wake[WIDE];
	unsigned nwake, nspawn;
};

static _Thread_local struct worker *self;

static void lock(struct pool *p) ACQUIRES(pool_role);
static void unlock(struct pool *p) RELEASES(pool_role);
static void plan(struct pool *p, uint64_t now, struct calls *c) REQUIRES(pool_role);
static void plan_wake(struct pool *p, struct list *node, struct calls *c) REQUIRES(pool_role);
static unsigned wake_width(const struct pool *p) REQUIRES(pool_role);
static void perform(struct pool *p, struct calls *c) EXCLUDES(pool_role);
static void unlock_and_perform(struct pool *p, uint64_t now) RELEASES(pool_role);
static void book_lost(struct pool *p, const struct pool_lost *lost) REQUIRES(pool_role);
static struct pool_job *take(struct pool *p, uint64_t now, struct pool_lost *lost) REQUIRES(pool_role);
static void set_tokens(struct pool *p) REQUIRES(pool_role);
static void unblock(struct pool *p) REQUIRES(pool_role);
static void book_run(struct pool *p, uint32_t tag, uint64_t ns) REQUIRES(pool_role);
static uint64_t work(struct pool *p, struct worker *w, struct pool_job *job, uint64_t now) REQUIRES(pool_role);
static uint64_t hand_over(struct pool *p, struct worker *w, uint64_t now) REQUIRES(pool_role);
static bool rest(struct pool *p, struct worker *w, uint64_t *now) REQUIRES(pool_role);
static void leave(struct pool *p, struct worker *w, uint64_t now) RELEASES(pool_role);
static void set_limits(struct pool *p, unsigned threads, unsigned queue) REQUIRES(pool_role);
static void count_waiting(struct pool *p, unsigned n) REQUIRES(pool_role);
static void retry(struct pool *p) EXCLUDES(pool_role);

static UNCHECKED void lock(struct pool *p)
{
	pthread_mutex_lock(&p->mutex);
}

static UNCHECKED void unlock(struct pool *p)
{
	pthread_mutex_unlock(&p->mutex);
}

/* ---- waking and starting ----------------------------------------------------------------------------------------- */

static unsigned wake_width(const struct pool *p)
{
	const struct pool_job *next = pool_queue_peek(&p->queue);

	return next && pool_kind_is_long(&p->kinds[next->tag]) ? WIDE : 1;
}

static void plan_wake(struct pool *p, struct list *node, struct calls *c)
{
	struct worker *w = container_of(node, struct worker, node);

	list_del(node);
	/* Release: pairs with the sleeper's acquire.  What it needs to know it reads under the mutex anyway. */
	atomic_store_explicit(&w->woken, 1, memory_order_release);
	p->waking++;
	p->woken++;
	c->wake[c->nwake++] = w;
}

/* Decides whom to wake and how many threads to start, and counts them as waking from now on.  Starting a thread takes
 * ten times as long as waking one, so a loop starts only the first and leaves the others to that. */
static void plan(struct pool *p, uint64_t now, struct calls *c)
{
	unsigned width = wake_width(p), nspawn_max = self && self->pool == p ? WIDE : 1;

	c->nwake = c->nspawn = 0;
	while (p->threads - p->waking > p->threads_max && !list_empty(&p->idle) && c->nwake < WIDE)
		plan_wake(p, p->idle.prev, c);  /* too many threads: the longest idle one will see that and end */

	while (p->waking < width && p->waking < p->queue.queued &&
		p->running + p->blocked + p->waking < p->tokens && c->nwake < WIDE) {
		if (!list_empty(&p->idle)) {
			plan_wake(p, p->idle.next, c);
		} else if (c->nspawn < nspawn_max && now >= p->spawn_after_ns) {
			assert(p->threads < p->threads_max);
			p->threads++;
			p->alive++;
			p->starting++;
			p->waking++;
			c->nspawn++;
		} else {
			break;
		}
	}
}

static void *worker_main(void *arg);

/* Signals are for the threads that ask for them; only those that a thread's own fault raises reach a worker. */
static int start_thread(struct pool *p)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t blocked, saved;
	pthread_attr_t attr;
	pthread_t thread;
	int err = pthread_attr_init(&attr);

	if (err != 0)
		return -err;
	if (p->stack != 0)
		err = pthread_attr_setstacksize(&attr, p->stack);
	if (err == 0) {
		sigfillset(&blocked);
		for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
			sigdelset(&blocked, faults[i]);
		pthread_sigmask(SIG_SETMASK, &blocked, &saved);
		err = pthread_create(&thread, &attr, worker_main, p);
		pthread_sigmask(SIG_SETMASK, &saved, NULL);
	}
	pthread_attr_destroy(&attr);
	return -err;
}

/* Makes the calls of a plan.  Where threads cannot be started, it looks again for idle workers that came meanwhile. */
static void perform(struct pool *p, struct calls *c)
{
	while (c->nwake + c->nspawn > 0) {
		unsigned failed = 0;
		uint64_t now;

		for (unsigned i = 0; i < c->nwake; i++)
			futex_wake(&c->wake[i]->woken);
		for (unsigned i = 0; i < c->nspawn; i++)
			failed += start_thread(p) != 0;
		if (failed == 0)
			return;

		now = clock_now_ns();
		lock(p);
		p->threads -= failed;
		p->alive -= failed;
		p->starting -= failed;
		p->waking -= failed;
		p->spawn_failed += failed;
		p->spawn_after_ns = now + SPAWN_RETRY_NS;
		/* Relaxed: a hint to try again, acted on under the mutex. */
		atomic_store_explicit(&p->stalled, p->queue.queued > 0, memory_order_relaxed);
		plan(p, now, c);
		unlock(p);
	}
}

static void unlock_and_perform(struct pool *p, uint64_t now)
{
	struct calls c;

	plan(p, now, &c);
	unlock(p);
	perform(p, &c);
}

/* ---- the worker -------------------------------------------------------------------------------------------------- */

static void book_lost(struct pool *p, const struct pool_lost *lost)
{
	for (int why = 0; why < POOL_EXPIRIES; why++) {
		p->expired[why] += lost->by[why].n;
		pool_places_leave(&p->places, lost->by[why].n);
	}
}

/* Calls back for what was given up, and empties it.  A job may be gone once its `expired` has begun. */
static void tell_lost(struct pool_lost *lost)
{
	for (int why = 0; why < POOL_EXPIRIES; why++) {
		struct pool_job *job = lost->by[why].head, *next;

		for (; job; job = next) {
			next = job->next;
			job->expired(job, (enum pool_expiry)why);
		}
	}
	*lost = (struct pool_lost){ 0 };
}

/* The next job, which holds a token from now on; NULL when there is none, or no token. */
static struct pool_job *take(struct pool *p, uint64_t now, struct pool_lost *lost)
{
	struct pool_job *job;

	if (p->running + p->blocked >= p->tokens)
		return NULL;
	job = pool_queue_take(&p->queue, now, lost);
	if (pool_lost_any(lost))
		book_lost(p, lost);
	if (!job)
		return NULL;
	p->running++;
	if (p->running + p->blocked > p->busy_max)
		p->busy_max = p->running + p->blocked;
	/* `now` may be the end of the job before, a moment older than this one. */
	pool_kind_waited(&p->kinds[job->tag], now > job->queued_ns ? now - job->queued_ns : 0);
	return job;
}

/* Relaxed: the mutex keeps other writers away, and a reader wants a recent number. */
static void book_run(struct pool *p, uint32_t tag, uint64_t ns)
{
	uint64_t mean = p->done > 0 ? atomic_load_explicit(&p->mean_ns, memory_order_relaxed) : ns;

	p->done++;
	p->run_ns += ns;
	pool_kind_ran(&p->kinds[tag], ns);
	atomic_store_explicit(&p->mean_ns, pool_mean(mean, ns), memory_order_relaxed);
}

/* How often the calling thread has gone to sleep. */
static long sleeps(void)
{
	struct rusage use;

	return getrusage(RUSAGE_THREAD, &use) == 0 ? use.ru_nvcsw : 0;
}

/* Runs a job that was taken at `now`; gives the time of its end. */
static uint64_t work(struct pool *p, struct worker *w, struct pool_job *job, uint64_t now)
{
	bool sampled = w->jobs++ % POOL_SAMPLED == 0;
	uint32_t tag = job->tag;
	uint64_t end;
	long slept;

	PROBE3(handoff, p->name, tag, (int64_t)(now - job->queued_ns));
	unlock_and_perform(p, now);
	if (pool_lost_any(&w->lost)) {
		tell_lost(&w->lost);
		now = clock_now_ns();
	}
	slept = sampled ? sleeps() : 0;
	w->in_job = true;
	work_begin(&w->line, tag, now);
	job->run(job);
	work_end(&w->line);
	w->in_job = false;
	slept = sampled ? sleeps() - slept : 0;
	end = clock_now_ns();

	lock(p);
	if (w->blocks > 0) {
		w->blocks = 0;
		unblock(p);
	}
	p->running--;
	pool_places_leave(&p->places, 1);
	book_run(p, tag, end - now - w->aside_ns);
	w->aside_ns = 0;
	if (sampled)
		pool_kind_sampled(&p->kinds[tag], slept > 0);
	return end;
}

/* Calls back for jobs that were given up while none was found to run.  The worker counts as waking meanwhile, as it
 * will look again. */
static uint64_t hand_over(struct pool *p, struct worker *w, uint64_t now)
{
	p->waking++;
	unlock_and_perform(p, now);
	tell_lost(&w->lost);
	now = clock_now_ns();
	lock(p);
	p->waking--;
	return now;
}

/* Goes idle.  True: woken, and *now is the time; false: idle for too long. */
static bool rest(struct pool *p, struct worker *w, uint64_t *now)
{
	uint64_t until = *now < NEVER - p->idle_ns ? *now + p->idle_ns : NEVER;

	/* Relaxed: wakers write it under the mutex. */
	atomic_store_explicit(&w->woken, 0, memory_order_relaxed);
	list_push_front(&p->idle, &w->node);
	unlock_and_perform(p, *now);

	/* Acquire: pairs with the waker's release. */
	while (atomic_load_explicit(&w->woken, memory_order_acquire) == 0 && futex_wait(&w->woken, 0, until))
		;
	*now = clock_now_ns();

	lock(p);
	if (atomic_load_explicit(&w->woken, memory_order_relaxed) == 0) {
		list_del(&w->node);
		return false;
	}
	p->waking--;
	return true;
}

/* Ends the calling thread's part in the pool.  Each thread that ends joins the one that ended before it. */
static void leave(struct pool *p, struct worker *w, uint64_t now)
{
	pthread_t before;
	bool has_before;

	p->threads--;
	unlock_and_perform(p, now);
	if (p->thread_stop)
		p->thread_stop(p->arg, &w->line);

	lock(p);
	has_before = p->has_ended;
	before = p->ended;
	p->has_ended = true;
	p->ended = pthread_self();
	if (--p->alive == 0)
		pthread_cond_signal(&p->gone);
	unlock(p);
	if (has_before)
		pthread_join(before, NULL);
}

static void *worker_main(void *arg)
{
	struct pool *p = arg;
	struct worker w = { .pool = p };
	uint64_t now;

	self = &w;
	list_init(&w.node);
	pthread_setname_np(pthread_self(), p->thread_name);
	if (p->thread_start)
		p->thread_start(p->arg, &w.line);
	now = clock_now_ns();

	lock(p);
	p->starting--;
	p->waking--;
	p->started++;
	while (p->threads <= p->threads_max) {
		struct pool_job *job = take(p, now, &w.lost);

		if (job)
			now = work(p, &w, job, now);
		else if (pool_lost_any(&w.lost))
			now = hand_over(p, &w, now);
		else if (!rest(p, &w, &now))
			break;
	}
	leave(p, &w, now);
	return NULL;
}

/* ---- for the others ---------------------------------------------------------------------------------------------- */

/* After limit, queue_max or blocked has changed. */
static void set_tokens(struct pool *p)
{
	unsigned limit = atomic_load_explicit(&p->limit, memory_order_relaxed);
	unsigned lent = p->blocked < p->spares ? p->blocked : p->spares;

	p->tokens = limit > 0 ? limit + lent : 0;
	p->threads_max = limit > 0 ? limit + p->spares : 0;
	pool_places_set(&p->places, (uint64_t)p->tokens + p->queue_max);
}

static void set_limits(struct pool *p, unsigned threads, unsigned queue)
{
	/* Relaxed: read without the mutex for an estimate only. */
	atomic_store_explicit(&p->limit, threads, memory_order_relaxed);
	p->queue_max = queue;
	set_tokens(p);
}

static size_t stack_size(size_t wanted)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), least = (size_t)sysconf(_SC_THREAD_STACK_MIN) + STACK_MIN;

	if (wanted == 0)
		return 0;
	if (wanted < least)
		wanted = least;
	return (wanted + page - 1) / page * page;
}

UNCHECKED struct pool *pool_new(const struct pool_conf *conf)
{
	struct pool *p = NULL;
	int err = posix_memalign((void **)&p, CACHE_LINE, sizeof(*p));

	if (err != 0) {
		errno = err;
		return NULL;
	}
	*p = (struct pool){
		.magic = MAGIC, .name = conf->name, .stack = stack_size(conf->stack),
		.idle_ns = conf->idle_ns != 0 ? conf->idle_ns : IDLE_NS, .spares = conf->spares, .tags = conf->tags,
		.thread_start = conf->thread_start, .thread_stop = conf->thread_stop, .arg = conf->arg,
	};
	p->kinds = pool_kinds_new(conf->tags);
	if (!p->kinds) {
		free(p);
		errno = ENOMEM;
		return NULL;
	}
	snprintf(p->thread_name, sizeof(p->thread_name), "ol-%.12s", conf->name);
	list_init(&p->idle);
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->gone, NULL);
	pool_queue_init(&p->queue, conf->codel, conf->codel_target_ns != 0 ? conf->codel_target_ns : TARGET_NS,
		conf->codel_interval_ns != 0 ? conf->codel_interval_ns : INTERVAL_NS, clock_now_ns());
	set_limits(p, conf->threads, conf->queue);
	return p;
}

UNCHECKED void pool_free(struct pool *p)
{
	if (!p)
		return;
	assert(p->magic == MAGIC);
	pool_resize(p, 0, 0);

	lock(p);
	assert(p->queue.queued == 0);
	while (p->alive > 0)
		pthread_cond_wait(&p->gone, &p->mutex);
	unlock(p);
	if (p->has_ended)
		pthread_join(p->ended, NULL);

	pthread_cond_destroy(&p->gone);
	pthread_mutex_destroy(&p->mutex);
	free(p->kinds);
	p->magic = 0;
	free(p);
}

bool pool_stalled(const struct pool *p)
{
	/* Relaxed: a hint; the retry itself takes the lock. */
	return atomic_load_explicit(&p->stalled, memory_order_relaxed);
}

/* Tries again to start a thread, when it is time. */
static void retry(struct pool *p)
{
	uint64_t now = clock_now_ns();

	lock(p);
	if (now >= p->spawn_after_ns)
		atomic_store_explicit(&p->stalled, false, memory_order_relaxed); /* perform() sets it again */
	unlock_and_perform(p, now);
}

bool pool_admit(struct pool *p)
{
	if (pool_places_enter(&p->places))
		return true;
	if (pool_stalled(p))
		retry(p);
	return false;
}

void pool_readmit(struct pool *p)
{
	pool_places_enter_anyway(&p->places);
}

void pool_unadmit(struct pool *p)
{
	lock(p);
	pool_places_leave(&p->places, 1);
	unlock(p);
}

unsigned pool_retry_after_s(const struct pool *p)
{
	/* Relaxed, both: an estimate. */
	uint64_t mean_ns = atomic_load_explicit(&p->mean_ns, memory_order_relaxed);
	unsigned limit = atomic_load_explicit(&p->limit, memory_order_relaxed);
	double inside = (double)pool_places_taken(&p->places);
	double s = inside * (double)mean_ns / (double)(limit > 0 ? limit : 1) / (double)NS_PER_S;

	return s < RETRY_AFTER_MAX ? (unsigned)s + 1 : RETRY_AFTER_MAX;
}

/* Of n jobs that come now, those before which jobs enough run or wait to take every token. */
static void count_waiting(struct pool *p, unsigned n)
{
	unsigned before = p->running + p->blocked + p->queue.queued;
	unsigned free_tokens = before < p->tokens ? p->tokens - before : 0;

	p->waited += n > free_tokens ? n - free_tokens : 0;
}

void pool_splice(struct pool *p, struct pool_batch *b)
{
	struct pool_lost lost = { 0 };
	uint64_t now;

	assert(p->magic == MAGIC);
	if (b->n == 0) {
		if (pool_stalled(p))
			retry(p);
		return;
	}
	for (const struct pool_job *job = b->head; job; job = job->next)
		assert(job->tag < p->tags);
	now = clock_now_ns();

	lock(p);
	count_waiting(p, b->n);
	pool_queue_put(&p->queue, b, now);
	if (pool_queue_due(&p->queue) <= now) {
		pool_queue_sweep(&p->queue, now, &lost);
		book_lost(p, &lost);
	}
	if (p->threads == 0)
		p->spawn_after_ns = 0;          /* nobody else would try again */
	unlock_and_perform(p, now);
	if (pool_lost_any(&lost))
		tell_lost(&lost);
}

uint64_t pool_expire(struct pool *p, uint64_t now)
{
	struct pool_lost lost = { 0 };
	uint64_t due;

	lock(p);
	pool_queue_sweep(&p->queue, now, &lost);
	book_lost(p, &lost);
	due = pool_queue_due(&p->queue);
	unlock(p);
	tell_lost(&lost);
	return due;
}

bool pool_drop(struct pool *p, struct pool_job *job)
{
	bool queued;

	lock(p);
	queued = job->queue != NULL;
	if (queued) {
		pool_queue_remove(&p->queue, job);
		p->dropped++;
		pool_places_leave(&p->places, 1);
	}
	unlock(p);
	return queued;
}

bool pool_replace(struct pool *p, struct pool_job *old, struct pool_job *job)
{
	bool queued;

	lock(p);
	queued = old->queue != NULL;
	if (queued)
		pool_queue_replace(&p->queue, old, job);
	unlock(p);
	return queued;
}

/* A blocked job is a running one again. */
static void unblock(struct pool *p)
{
	p->blocked--;
	p->running++;
	set_tokens(p);
}

void pool_on_stack(const void *low, const void *high)
{
	if (self)
		work_on_stack(&self->line, low, high);
}

void pool_aside(uint64_t ns)
{
	if (self && self->in_job)
		self->aside_ns += ns;
}

void pool_block_begin(void)
{
	struct worker *w = self;
	struct pool *p;
	uint64_t now;

	if (!w || !w->in_job || w->blocks++ > 0)
		return;
	p = w->pool;
	now = clock_now_ns();
	lock(p);
	p->running--;
	p->blocked++;
	set_tokens(p);
	unlock_and_perform(p, now);
}

/* Frees no token and wakes nobody.  A worker that was waking for the token that was lent finds none, and rests. */
void pool_block_end(void)
{
	struct worker *w = self;

	if (!w || w->blocks == 0 || --w->blocks > 0)
		return;
	lock(w->pool);
	unblock(w->pool);
	unlock(w->pool);
}

void pool_resize(struct pool *p, unsigned threads, unsigned queue)
{
	uint64_t now = clock_now_ns();

	assert(p->magic == MAGIC);
	lock(p);
	set_limits(p, threads, queue);
	unlock_and_perform(p, now);
}

struct pool *pool_current(void)
{
	return self ? self->pool : NULL;
}

const char *pool_name(const struct pool *p)
{
	return p->name;
}

size_t pool_stack_of(size_t wanted)
{
	size_t size = stack_size(wanted);
	pthread_attr_t attr;

	if (size || pthread_attr_init(&attr) != 0)
		return size;
	pthread_attr_getstacksize(&attr, &size);
	pthread_attr_destroy(&attr);
	return size;
}

size_t pool_stack(const struct pool *p)
{
	return pool_stack_of(p->stack);
}

/* Reading locks too; the pool itself is never const. */
void pool_stats(const struct pool *pool, struct pool_stats *s)
{
	struct pool *p = (struct pool *)pool;

	lock(p);
	*s = (struct pool_stats){
		.limit = atomic_load_explicit(&p->limit, memory_order_relaxed),
		.queue_max = p->queue_max, .spares = p->spares,
		.threads = p->threads, .running = p->running, .blocked = p->blocked, .starting = p->starting,
		.idle = p->threads - p->running - p->blocked - p->starting,
		.queued = p->queue.queued, .waking = p->waking,
		.oldest_queued_ns = p->queue.queued > 0 ? pool_queue_oldest(&p->queue) : 0,
		.done = p->done, .dropped = p->dropped, .waited = p->waited, .overloaded = p->queue.overloaded,
		.started = p->started, .spawn_failed = p->spawn_failed, .woken = p->woken,
		.run_ns = p->run_ns, .busy_max = p->busy_max,
		.rejected = pool_places_refused(&p->places),
	};
	for (int why = 0; why < POOL_EXPIRIES; why++)
		s->expired[why] = p->expired[why];
	unlock(p);
}

void pool_hist(const struct pool *pool, uint32_t tag, struct pool_hist *wait, struct pool_hist *run)
{
	struct pool *p = (struct pool *)pool;

	assert(tag < p->tags);
	lock(p);
	*wait = p->kinds[tag].wait;
	*run = p->kinds[tag].run;
	unlock(p);
}

struct pool_sleeps pool_sleeps(const struct pool *pool, uint32_t tag)
{
	struct pool *p = (struct pool *)pool;
	struct pool_sleeps s;

	assert(tag < p->tags);
	lock(p);
	s = p->kinds[tag].sleeps;
	unlock(p);
	return s;
}
