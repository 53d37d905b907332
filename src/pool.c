/* pool.c: a bounded queue of jobs and the threads that run them, as the others see them: made and unmade, admission,
 * jobs handed over, taken back and given up, resizing, figures.  The threads themselves are pool_worker.c's.
 *
 * One mutex guards the queue, the counts and the histograms; it is held for a few dozen nanoseconds and never across a
 * system call or a callback.  Whoever changes the state leaves it by pool_unlock_and_wake, which wakes and starts the
 * workers that the change asks for.
 *
 * Invariants, whenever the mutex is free (busy = running + blocked; tokens = limit + min(blocked, spares), or 0):
 *  - busy + idle + starting = threads; of the idle ones each is asleep in the list, or waking.
 *  - a job is taken only while busy < tokens, so never while `limit` others run, whatever limit and blocked were
 *    before. A worker that finds threads > limit + spares ends, one that finds no token rests.  A limit of 0 closes
 *    the pool.
 *  - if a job is queued and busy + waking < tokens, then a worker is waking, or no thread could be started.
 *
 * Who finds jobs to give up takes them out under the mutex, as pool_drop does, and calls back without it.  Admission
 * is pool_places.c's, the order of jobs pool_queue.c's.
 */
#include "pool_internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC 0x6f6c706fu               /* "olpo" */
#define IDLE_NS (10 * NS_PER_S)
#define STACK_MIN ((size_t)64 << 10)
#define TARGET_NS (5 * NS_PER_MS)       /* CoDel's */
#define INTERVAL_NS (100 * NS_PER_MS)
#define RETRY_AFTER_MAX 3600

static void set_limits(struct pool *p, unsigned threads, unsigned queue) REQUIRES(pool_role);
static void count_waiting(struct pool *p, unsigned n) REQUIRES(pool_role);
static void retry(struct pool *p) EXCLUDES(pool_role);

void pool_set_tokens(struct pool *p)
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
	pool_set_tokens(p);
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
	int err = posix_memalign((void **)&p, POOL_CACHE_LINE, sizeof(*p));

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

	pool_lock(p);
	assert(p->queue.queued == 0);
	while (p->alive > 0)
		pthread_cond_wait(&p->gone, &p->mutex);
	pool_unlock(p);
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

	pool_lock(p);
	if (now >= p->spawn_after_ns)
		atomic_store_explicit(&p->stalled, false, memory_order_relaxed); /* perform() sets it again */
	pool_unlock_and_wake(p, now);
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
	pool_lock(p);
	pool_places_leave(&p->places, 1);
	pool_unlock(p);
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

void pool_book_lost(struct pool *p, const struct pool_lost *lost)
{
	for (int why = 0; why < POOL_EXPIRIES; why++) {
		p->expired[why] += lost->by[why].n;
		pool_places_leave(&p->places, lost->by[why].n);
	}
}

void pool_tell_lost(struct pool_lost *lost)
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

	pool_lock(p);
	count_waiting(p, b->n);
	pool_queue_put(&p->queue, b, now);
	if (pool_queue_due(&p->queue) <= now) {
		pool_queue_sweep(&p->queue, now, &lost);
		pool_book_lost(p, &lost);
	}
	if (p->threads == 0)
		p->spawn_after_ns = 0;          /* nobody else would try again */
	pool_unlock_and_wake(p, now);
	if (pool_lost_any(&lost))
		pool_tell_lost(&lost);
}

uint64_t pool_expire(struct pool *p, uint64_t now)
{
	struct pool_lost lost = { 0 };
	uint64_t due;

	pool_lock(p);
	pool_queue_sweep(&p->queue, now, &lost);
	pool_book_lost(p, &lost);
	due = pool_queue_due(&p->queue);
	pool_unlock(p);
	pool_tell_lost(&lost);
	return due;
}

bool pool_drop(struct pool *p, struct pool_job *job)
{
	bool queued;

	pool_lock(p);
	queued = job->queue != NULL;
	if (queued) {
		pool_queue_remove(&p->queue, job);
		p->dropped++;
		pool_places_leave(&p->places, 1);
	}
	pool_unlock(p);
	return queued;
}

bool pool_replace(struct pool *p, struct pool_job *old, struct pool_job *job)
{
	bool queued;

	pool_lock(p);
	queued = old->queue != NULL;
	if (queued)
		pool_queue_replace(&p->queue, old, job);
	pool_unlock(p);
	return queued;
}

void pool_resize(struct pool *p, unsigned threads, unsigned queue)
{
	uint64_t now = clock_now_ns();

	assert(p->magic == MAGIC);
	pool_lock(p);
	set_limits(p, threads, queue);
	pool_unlock_and_wake(p, now);
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

	pool_lock(p);
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
	pool_unlock(p);
}

void pool_hist(const struct pool *pool, uint32_t tag, struct pool_hist *wait, struct pool_hist *run)
{
	struct pool *p = (struct pool *)pool;

	assert(tag < p->tags);
	pool_lock(p);
	*wait = p->kinds[tag].wait;
	*run = p->kinds[tag].run;
	pool_unlock(p);
}

struct pool_sleeps pool_sleeps(const struct pool *pool, uint32_t tag)
{
	struct pool *p = (struct pool *)pool;
	struct pool_sleeps s;

	assert(tag < p->tags);
	pool_lock(p);
	s = p->kinds[tag].sleeps;
	pool_unlock(p);
	return s;
}
