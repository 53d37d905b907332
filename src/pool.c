/* pool.c: a bounded queue of jobs and the threads that run them.
 *
 * One mutex guards the queue, the counts and the histograms; it is held for a few dozen nanoseconds and never across a
 * system call.  A worker takes it once per job: to book the job it has run and to take the next.  Idle workers lie on
 * a stack, each asleep on a futex of its own: the last to go idle is woken first, those below reach their idle time
 * and end.
 *
 * Whoever changes the state calls plan() before unlocking and perform() after it.  plan() decides whom to wake or
 * start: a woken (or starting) worker counts as `waking` until it holds the lock, and while one is, nobody wakes
 * another; the woken one makes its own plan before it runs its job.  So a batch of short jobs costs a wake or two, and
 * yet no job waits for a running one to end while a worker could be had.  Where the next job's kind runs long, up to
 * WIDE may be waking.
 *
 * Invariants, whenever the mutex is free:
 *  - running + idle + starting = threads, and a worker that finds threads > limit ends before it takes a job: so none
 *    starts while `limit` others run, whatever the limit was before.  A limit of 0 closes the pool.
 *  - if a job is queued and running + waking < limit, then a worker is waking, or no thread could be started.
 *  - a worker whose `woken` is set never ends before it has taken that wake.
 * Admission is two counters that only grow: `entered` (whoever admits) and `left` (under the mutex).  A stale `left`
 * is too small, so it can refuse a job but never let in one too many.
 *
 * Any thread may splice, drop, resize and read.  What a job does, and in which order jobs end, is not known here.
 */
#include "pool.h"
#include "base/futex.h"
#include "base/list.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC 0x6f6c706fu               /* "olpo" */
#define CACHE_LINE 64
#define IDLE_NS (10 * NS_PER_S)
#define SPAWN_RETRY_NS (10 * NS_PER_MS) /* after a thread could not be started, before the next is tried */
#define LONG_NS (50 * NS_PER_US)        /* a kind of job that runs longer than this is woken for widely */
#define SAMPLE_NS_MAX (4 * LONG_NS)     /* a run counts as at most this: one preempted thread makes no kind long */
#define WIDE 4                          /* workers that may be waking at once for those */
#define MEAN_SHIFT 4                    /* the running mean moves by 1/16 of the difference */
#define STACK_MIN ((size_t)64 << 10)

const uint64_t pool_bucket_ns[POOL_BUCKETS] = {
	10 * NS_PER_US, 50 * NS_PER_US, 250 * NS_PER_US, 1 * NS_PER_MS, 2500 * NS_PER_US, 5 * NS_PER_MS, 10 * NS_PER_MS,
	25 * NS_PER_MS, 50 * NS_PER_MS, 100 * NS_PER_MS, 250 * NS_PER_MS, 1 * NS_PER_S, 5 * NS_PER_S, NEVER,
};

LOCK_ROLE(pool_role);

/* What is known of one kind of job.  Kept once, under the mutex: a copy for each worker would take tags × workers, and
 * leaving the histograms out altogether did not measure. */
struct kind {
	struct pool_hist wait, run;
	uint64_t mean_ns;                       /* of run, the recent ones counting more */
};

struct pool {
	uint32_t magic;

	/* Set once. */
	const char *name;
	char thread_name[16];                   /* Linux's bound, with the terminator */
	size_t stack;
	uint64_t idle_ns;
	uint32_t tags;
	void (*thread_start)(void *arg), (*thread_stop)(void *arg);
	void *arg;

	/* Written by those who admit. */
	_Alignas(CACHE_LINE) atomic_uint_fast64_t entered;
	atomic_uint_fast64_t left_seen;         /* a copy of `left`, so that admitting rarely reads the workers' line */
	atomic_uint_fast64_t capacity;
	atomic_uint_fast64_t rejected;
	atomic_bool stalled;                    /* jobs are queued, and a thread for them could not be started */

	_Alignas(CACHE_LINE) pthread_mutex_t mutex;
	struct pool_job *head GUARDED_BY(pool_role), *tail GUARDED_BY(pool_role);
	struct list idle GUARDED_BY(pool_role); /* workers asleep, the last to go idle first */
	unsigned queued GUARDED_BY(pool_role);
	unsigned limit GUARDED_BY(pool_role);
	unsigned threads GUARDED_BY(pool_role), running GUARDED_BY(pool_role), starting GUARDED_BY(pool_role);
	unsigned waking GUARDED_BY(pool_role);
	atomic_uint_fast64_t left;              /* written under the mutex, read without it */
	uint64_t done GUARDED_BY(pool_role), dropped GUARDED_BY(pool_role), waited GUARDED_BY(pool_role);
	struct kind *kinds GUARDED_BY(pool_role);

	unsigned queue_max GUARDED_BY(pool_role);
	unsigned alive GUARDED_BY(pool_role);   /* threads, and those that are ending */
	uint64_t started GUARDED_BY(pool_role), spawn_failed GUARDED_BY(pool_role);
	uint64_t spawn_after_ns GUARDED_BY(pool_role);
	bool has_ended GUARDED_BY(pool_role);
	pthread_t ended GUARDED_BY(pool_role);  /* the last thread to end: the next one joins it, or pool_free does */
	pthread_cond_t gone;                    /* alive has become 0 */
};

/* On its thread's own stack.  A wake may come when that is gone, see futex.h. */
struct worker {
	struct list node;                       /* in pool.idle; guarded by the pool's lock */
	_Atomic uint32_t woken;
};

/* System calls that a plan asks for, made once the mutex is free. */
struct calls {
	struct worker *wake[WIDE];
	unsigned nwake, nspawn;
};

static _Thread_local struct pool *current;

static void lock(struct pool *p) ACQUIRES(pool_role);
static void unlock(struct pool *p) RELEASES(pool_role);
static void plan(struct pool *p, uint64_t now, struct calls *c) REQUIRES(pool_role);
static void plan_wake(struct pool *p, struct list *node, struct calls *c) REQUIRES(pool_role);
static unsigned wake_width(const struct pool *p) REQUIRES(pool_role);
static void perform(struct pool *p, struct calls *c) EXCLUDES(pool_role);
static void unlock_and_perform(struct pool *p, uint64_t now) RELEASES(pool_role);
static void leave_place(struct pool *p) REQUIRES(pool_role);
static void unlink_job(struct pool *p, struct pool_job *job) REQUIRES(pool_role);
static struct pool_job *take(struct pool *p, uint64_t now) REQUIRES(pool_role);
static uint64_t work(struct pool *p, struct pool_job *job, uint64_t now) REQUIRES(pool_role);
static bool rest(struct pool *p, struct worker *w, uint64_t *now) REQUIRES(pool_role);
static void leave(struct pool *p, uint64_t now) RELEASES(pool_role);
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

static void hist_add(struct pool_hist *h, uint64_t ns)
{
	unsigned i = 0;

	while (ns > pool_bucket_ns[i])
		i++;
	h->bucket[i]++;
	h->count++;
	h->sum_ns += ns;
}

static void mean_add(struct kind *k, uint64_t ns)
{
	int64_t sample = (int64_t)(ns < SAMPLE_NS_MAX ? ns : SAMPLE_NS_MAX), mean = (int64_t)k->mean_ns;

	k->mean_ns = (uint64_t)(mean + (sample - mean) / (1 << MEAN_SHIFT));
}

/* ---- waking and starting ----------------------------------------------------------------------------------------- */

static unsigned wake_width(const struct pool *p)
{
	return p->head && p->kinds[p->head->tag].mean_ns > LONG_NS ? WIDE : 1;
}

static void plan_wake(struct pool *p, struct list *node, struct calls *c)
{
	struct worker *w = container_of(node, struct worker, node);

	list_del(node);
	/* Release: pairs with the sleeper's acquire.  What it needs to know it reads under the mutex anyway. */
	atomic_store_explicit(&w->woken, 1, memory_order_release);
	p->waking++;
	c->wake[c->nwake++] = w;
}

/* Decides whom to wake and how many threads to start, and counts them as waking from now on.  Starting a thread takes
 * ten times as long as waking one, so a loop starts only the first and leaves the others to that. */
static void plan(struct pool *p, uint64_t now, struct calls *c)
{
	unsigned width = wake_width(p), nspawn_max = current == p ? WIDE : 1;

	c->nwake = c->nspawn = 0;
	while (p->threads - p->waking > p->limit && !list_empty(&p->idle) && c->nwake < WIDE)
		plan_wake(p, p->idle.prev, c);  /* too many threads: the longest idle one will see that and end */

	while (p->waking < width && p->waking < p->queued && p->running + p->waking < p->limit && c->nwake < WIDE) {
		if (!list_empty(&p->idle)) {
			plan_wake(p, p->idle.next, c);
		} else if (p->threads < p->limit && c->nspawn < nspawn_max && now >= p->spawn_after_ns) {
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
		atomic_store_explicit(&p->stalled, p->queued > 0, memory_order_relaxed);
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

/* Relaxed: a count alone, and the mutex keeps other writers away. */
static void leave_place(struct pool *p)
{
	uint64_t left = atomic_load_explicit(&p->left, memory_order_relaxed);

	atomic_store_explicit(&p->left, left + 1, memory_order_relaxed);
}

static void unlink_job(struct pool *p, struct pool_job *job)
{
	if (job->prev)
		job->prev->next = job->next;
	else
		p->head = job->next;
	if (job->next)
		job->next->prev = job->prev;
	else
		p->tail = job->prev;
	job->queued = false;
	p->queued--;
}

/* The next job, which holds a token from now on; NULL when there is none.  The caller is one of at most `limit` threads
 * and does not run yet. */
static struct pool_job *take(struct pool *p, uint64_t now)
{
	struct pool_job *job = p->head;

	if (!job)
		return NULL;
	assert(p->running < p->limit);
	unlink_job(p, job);
	p->running++;
	/* `now` may be the end of the job before, a moment older than this one. */
	hist_add(&p->kinds[job->tag].wait, now > job->queued_ns ? now - job->queued_ns : 0);
	return job;
}

/* Runs a job that was taken at `now`; gives the time of its end. */
static uint64_t work(struct pool *p, struct pool_job *job, uint64_t now)
{
	uint32_t tag = job->tag;
	uint64_t end;

	unlock_and_perform(p, now);
	job->run(job);
	end = clock_now_ns();

	lock(p);
	p->running--;
	p->done++;
	leave_place(p);
	hist_add(&p->kinds[tag].run, end - now);
	mean_add(&p->kinds[tag], end - now);
	return end;
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
static void leave(struct pool *p, uint64_t now)
{
	pthread_t before;
	bool has_before;

	p->threads--;
	unlock_and_perform(p, now);
	if (p->thread_stop)
		p->thread_stop(p->arg);

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
	struct worker w;
	uint64_t now;

	current = p;
	list_init(&w.node);
	pthread_setname_np(pthread_self(), p->thread_name);
	if (p->thread_start)
		p->thread_start(p->arg);
	now = clock_now_ns();

	lock(p);
	p->starting--;
	p->waking--;
	p->started++;
	while (p->threads <= p->limit) {
		struct pool_job *job = take(p, now);

		if (job)
			now = work(p, job, now);
		else if (!rest(p, &w, &now))
			break;
	}
	leave(p, now);
	return NULL;
}

/* ---- for the others ---------------------------------------------------------------------------------------------- */

static void set_limits(struct pool *p, unsigned threads, unsigned queue)
{
	p->limit = threads;
	p->queue_max = queue;
	/* Relaxed: who admits meanwhile goes by the old bound or the new. */
	atomic_store_explicit(&p->capacity, (uint64_t)threads + queue, memory_order_relaxed);
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
		.idle_ns = conf->idle_ns != 0 ? conf->idle_ns : IDLE_NS, .tags = conf->tags,
		.thread_start = conf->thread_start, .thread_stop = conf->thread_stop, .arg = conf->arg,
	};
	p->kinds = calloc(conf->tags > 0 ? conf->tags : 1, sizeof(p->kinds[0]));
	if (!p->kinds) {
		free(p);
		errno = ENOMEM;
		return NULL;
	}
	snprintf(p->thread_name, sizeof(p->thread_name), "ol-%.12s", conf->name);
	list_init(&p->idle);
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->gone, NULL);
	for (uint32_t i = 0; i < conf->tags; i++)
		p->kinds[i].mean_ns = SAMPLE_NS_MAX; /* long, until a dozen runs have shown otherwise */
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
	assert(p->queued == 0);
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
	/* `entered` is read before `left`: when they differ by the capacity, that many were inside at the second
	 * reading. When the exchange succeeds `entered` has not moved, and `left` can only have grown.  Acquire keeps
	 * that order; the counts carry no other data, so the rest is relaxed. */
	uint64_t entered = atomic_load_explicit(&p->entered, memory_order_acquire);
	uint64_t left = atomic_load_explicit(&p->left_seen, memory_order_relaxed);

	for (;;) {
		uint64_t capacity = atomic_load_explicit(&p->capacity, memory_order_relaxed);

		if (entered - left >= capacity) {
			left = atomic_load_explicit(&p->left, memory_order_relaxed);
			atomic_store_explicit(&p->left_seen, left, memory_order_relaxed);
			if (entered - left >= capacity)
				break;
		}
		if (atomic_compare_exchange_weak_explicit(
				&p->entered, &entered, entered + 1, memory_order_acquire, memory_order_acquire))
			return true;
	}
	atomic_fetch_add_explicit(&p->rejected, 1, memory_order_relaxed); /* a statistic */
	if (atomic_load_explicit(&p->stalled, memory_order_relaxed))
		retry(p);
	return false;
}

void pool_batch_add(struct pool_batch *b, struct pool_job *job)
{
	job->next = NULL;
	job->prev = b->tail;
	job->queued = false;
	if (b->tail)
		b->tail->next = job;
	else
		b->head = job;
	b->tail = job;
	b->n++;
}

/* Of n jobs that come now, those before which jobs enough run or wait to take every token. */
static void count_waiting(struct pool *p, unsigned n)
{
	unsigned before = p->running + p->queued, tokens = before < p->limit ? p->limit - before : 0;

	p->waited += n > tokens ? n - tokens : 0;
}

void pool_splice(struct pool *p, struct pool_batch *b)
{
	uint64_t now;

	assert(p->magic == MAGIC);
	if (b->n == 0) {
		if (pool_stalled(p))
			retry(p);
		return;
	}
	now = clock_now_ns();

	lock(p);
	for (struct pool_job *job = b->head; job; job = job->next) {
		assert(job->tag < p->tags);
		job->queued_ns = now;
		job->queued = true;
	}
	b->head->prev = p->tail;
	if (p->tail)
		p->tail->next = b->head;
	else
		p->head = b->head;
	p->tail = b->tail;
	count_waiting(p, b->n);
	p->queued += b->n;
	*b = (struct pool_batch){ 0 };
	if (p->threads == 0)
		p->spawn_after_ns = 0;          /* nobody else would try again */
	unlock_and_perform(p, now);
}

bool pool_drop(struct pool *p, struct pool_job *job)
{
	bool queued;

	lock(p);
	queued = job->queued;
	if (queued) {
		unlink_job(p, job);
		p->dropped++;
		leave_place(p);
	}
	unlock(p);
	return queued;
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
	return current;
}

const char *pool_name(const struct pool *p)
{
	return p->name;
}

size_t pool_stack(const struct pool *p)
{
	size_t size = p->stack;
	pthread_attr_t attr;

	if (size || pthread_attr_init(&attr) != 0)
		return size;
	pthread_attr_getstacksize(&attr, &size);
	pthread_attr_destroy(&attr);
	return size;
}

/* Reading locks too; the pool itself is never const. */
void pool_stats(const struct pool *pool, struct pool_stats *s)
{
	struct pool *p = (struct pool *)pool;

	lock(p);
	*s = (struct pool_stats){
		.limit = p->limit, .queue_max = p->queue_max,
		.threads = p->threads, .running = p->running, .starting = p->starting,
		.idle = p->threads - p->running - p->starting,
		.queued = p->queued, .waking = p->waking,
		.oldest_queued_ns = p->head ? p->head->queued_ns : 0,
		.done = p->done, .dropped = p->dropped, .waited = p->waited,
		.started = p->started, .spawn_failed = p->spawn_failed,
		.rejected = atomic_load_explicit(&p->rejected, memory_order_relaxed),
	};
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
