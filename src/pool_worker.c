/* pool_worker.c: the threads of a pool: woken, started, running jobs, resting and ending; and what a job says to the
 * thread it runs on.
 *
 * A worker takes the pool's mutex once per job: to book the job it has run and to take the next, which pool_queue.c
 * picks.  Idle workers lie on a stack, each asleep on a futex of its own: the last to go idle is woken first, those
 * below reach their idle time and end.
 *
 * Whoever changes the state calls plan() before unlocking and perform() after it.  plan() decides whom to wake or
 * start: such a worker counts as `waking` until it holds the lock, and while one is, nobody wakes another; it makes
 * its own plan before it runs its job.  So a batch of short jobs costs a wake or two, and yet no job waits for a
 * running one to end while a worker could be had.  Where the next job's kind runs long, up to WIDE may be waking.
 *
 * The invariants are pool.c's; and a worker whose `woken` is set never ends before it has taken that wake.
 * Each worker has a line of its own (work_line.h) that says which job it runs and since when, for others to look at
 * without its help; one run in POOL_SAMPLED is looked at for whether the thread slept in it.
 */
#include "pool_internal.h"
#include "base/futex.h"
#include "probe.h"

#include <assert.h>
#include <signal.h>
#include <sys/resource.h>

#define SPAWN_RETRY_NS (10 * NS_PER_MS) /* after a thread could not be started, before the next is tried */
#define WIDE 4                          /* workers that may be waking at once for jobs that run long */

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

static void plan(struct pool *p, uint64_t now, struct calls *c) REQUIRES(pool_role);
static void plan_wake(struct pool *p, struct list *node, struct calls *c) REQUIRES(pool_role);
static unsigned wake_width(const struct pool *p) REQUIRES(pool_role);
static void perform(struct pool *p, struct calls *c) EXCLUDES(pool_role);
static struct pool_job *take(struct pool *p, uint64_t now, struct pool_lost *lost) REQUIRES(pool_role);
static void unblock(struct pool *p) REQUIRES(pool_role);
static void book_run(struct pool *p, uint32_t tag, uint64_t ns) REQUIRES(pool_role);
static uint64_t work(struct pool *p, struct worker *w, struct pool_job *job, uint64_t now) REQUIRES(pool_role);
static uint64_t hand_over(struct pool *p, struct worker *w, uint64_t now) REQUIRES(pool_role);
static bool rest(struct pool *p, struct worker *w, uint64_t *now) REQUIRES(pool_role);
static void leave(struct pool *p, struct worker *w, uint64_t now) RELEASES(pool_role);

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
		pool_lock(p);
		p->threads -= failed;
		p->alive -= failed;
		p->starting -= failed;
		p->waking -= failed;
		p->spawn_failed += failed;
		p->spawn_after_ns = now + SPAWN_RETRY_NS;
		/* Relaxed: a hint to try again, acted on under the mutex. */
		atomic_store_explicit(&p->stalled, p->queue.queued > 0, memory_order_relaxed);
		plan(p, now, c);
		pool_unlock(p);
	}
}

void pool_unlock_and_wake(struct pool *p, uint64_t now)
{
	struct calls c;

	plan(p, now, &c);
	pool_unlock(p);
	perform(p, &c);
}

/* ---- the worker -------------------------------------------------------------------------------------------------- */

/* The next job, which holds a token from now on; NULL when there is none, or no token. */
static struct pool_job *take(struct pool *p, uint64_t now, struct pool_lost *lost)
{
	struct pool_job *job;

	if (p->running + p->blocked >= p->tokens)
		return NULL;
	job = pool_queue_take(&p->queue, now, lost);
	if (pool_lost_any(lost))
		pool_book_lost(p, lost);
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
	pool_unlock_and_wake(p, now);
	if (pool_lost_any(&w->lost)) {
		pool_tell_lost(&w->lost);
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

	pool_lock(p);
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
	pool_unlock_and_wake(p, now);
	pool_tell_lost(&w->lost);
	now = clock_now_ns();
	pool_lock(p);
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
	pool_unlock_and_wake(p, *now);

	/* Acquire: pairs with the waker's release. */
	while (atomic_load_explicit(&w->woken, memory_order_acquire) == 0 && futex_wait(&w->woken, 0, until))
		;
	*now = clock_now_ns();

	pool_lock(p);
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
	pool_unlock_and_wake(p, now);
	if (p->thread_stop)
		p->thread_stop(p->arg, &w->line);

	pool_lock(p);
	has_before = p->has_ended;
	before = p->ended;
	p->has_ended = true;
	p->ended = pthread_self();
	if (--p->alive == 0)
		pthread_cond_signal(&p->gone);
	pool_unlock(p);
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

	pool_lock(p);
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

/* ---- from within a job ------------------------------------------------------------------------------------------- */

/* A blocked job is a running one again. */
static void unblock(struct pool *p)
{
	p->blocked--;
	p->running++;
	pool_set_tokens(p);
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
	pool_lock(p);
	p->running--;
	p->blocked++;
	pool_set_tokens(p);
	pool_unlock_and_wake(p, now);
}

/* Frees no token and wakes nobody.  A worker that was waking for the token that was lent finds none, and rests. */
void pool_block_end(void)
{
	struct worker *w = self;

	if (!w || w->blocks == 0 || --w->blocks > 0)
		return;
	pool_lock(w->pool);
	unblock(w->pool);
	pool_unlock(w->pool);
}

struct pool *pool_current(void)
{
	return self ? self->pool : NULL;
}
