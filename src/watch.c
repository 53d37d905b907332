/* watch.c: the loops' side of the watch, and what it is made of.
 *
 * A loop writes its line (struct watch_line) when code of the app's begins on it, goes on, or gives it back: a few
 * stores and one reading of the clock, at the end, which the loop needs there anyway.  The start is the loop's last
 * reading of its clock: of the turn's beginning, or of the end of the last hold or reply.  So a hold is measured never
 * too short, and too long by what the server itself did since then: about a microsecond for a request, and at most a
 * tick of the monitor, a few milliseconds.  Every hold that ends is counted by route.
 *
 * One that has reached the limit is also put into the loop's ring of long ones, with the thread's CPU time at its end,
 * before its seq changes: so the monitor (monitor.c) finds it there whenever it sees that the hold is over, even if it
 * saw nothing of it before.
 *
 * Victims are requests that were there while the loop was held.  Those that the kernel had reported before are still
 * dispatched in the same turn, the others are gathered by the wait of the next turn, and of connections that were
 * accepted in either the first request comes one turn later: so requests that begin in those turns are counted.  That
 * is an approximation: it also counts what became ready after the hold and before that wait, microseconds later, and a
 * request whose bytes were there but not complete counts when its head is.
 *
 * Threads: watch_new to watch_start: the owner's; watch_enter to watch_request: the loop's; watch_read: the monitor's.
 * All the loop writes has one writer.  Judging, telling and looking at stacks are done elsewhere.
 */
#include "watch.h"
#include "base/futex.h"
#include "capture.h"
#include "crew.h"
#include "monitor.h"
#include "stall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define US NS_PER_US
#define MS NS_PER_MS

const uint64_t watch_bucket_ns[WATCH_BUCKETS] = { 10 * US, 100 * US, 1 * MS, 2500 * US, 5 * MS, 10 * MS, 25 * MS,
	50 * MS, 100 * MS, 250 * MS, 500 * MS, 1000 * MS, 2500 * MS, 5000 * MS, NEVER };

struct watch {
	struct watch_shared shared;
	struct watch_loop *loops;
	unsigned nloops;
	uint32_t nroutes;
	uint64_t limit_ns;
	struct stall_book *book;
	struct crew *crew;
	struct monitor *monitor;
};

/* ---- what is rarely done by a loop ------------------------------------------------------------------------------- */

void watch_wake(struct watch_shared *s, uint64_t now_ns)
{
	/* Relaxed, both: from now on it is awaited; and the word itself decides who wakes, while the monitor looks at
	 * the lines by their own orders. */
	atomic_store_explicit(&s->due_ns, now_ns + WATCH_LOOK_NS, memory_order_relaxed);
	if (atomic_exchange_explicit(&s->asleep, 0, memory_order_relaxed))
		futex_wake(&s->asleep);
}

void watch_over_limit(struct watch_loop *w, uint64_t start_ns, uint64_t end_ns)
{
	uint32_t end = atomic_load_explicit(&w->longs_end, memory_order_relaxed);
	struct watch_long *l = &w->longs[end % WATCH_LONG];

	/* Acquire: the monitor has done with the slot before the loop writes it again. */
	if (end - atomic_load_explicit(&w->longs_begin, memory_order_acquire) == WATCH_LONG) {
		counter_add(&w->longs_lost, 1);
		return;
	}
	if (end + 1 - w->aging > WATCH_LONG)
		w->aging = end + 1 - WATCH_LONG;
	l->seq = counter_read(&w->line.seq);
	l->start_ns = start_ns;
	l->end_ns = end_ns;
	l->route = atomic_load_explicit(&w->line.route, memory_order_relaxed);
	l->what = (enum watch_what)atomic_load_explicit(&w->line.what, memory_order_relaxed);
	l->told = counter_read(&w->told_seq) == l->seq;
	if (!w->thread || capture_thread_times(w->thread, &l->cpu_ns, &l->waited_ns) < 0)
		l->cpu_ns = l->waited_ns = 0;
	atomic_store_explicit(&l->victims, 0, memory_order_relaxed);
	atomic_store_explicit(&l->age, 0, memory_order_relaxed);
	/* Release: the monitor sees the entry whole. */
	atomic_store_explicit(&w->longs_end, end + 1, memory_order_release);
}

/* Relaxed here and below: the monitor reads age and victims for their own sake, and a victim is counted before the age
 * that ends the counting, by a release. */
void watch_age(struct watch_loop *w)
{
	uint32_t end = atomic_load_explicit(&w->longs_end, memory_order_relaxed);

	for (uint32_t i = w->aging; i != end; i++) {
		struct watch_long *l = &w->longs[i % WATCH_LONG];
		uint32_t age = atomic_load_explicit(&l->age, memory_order_relaxed) + 1;

		if (age == WATCH_OLD)
			w->aging = i + 1;
		atomic_store_explicit(&l->age, age, memory_order_release);
	}
}

void watch_add_victim(struct watch_loop *w, bool late)
{
	uint32_t end = atomic_load_explicit(&w->longs_end, memory_order_relaxed);

	for (uint32_t i = w->aging; i != end; i++) {
		struct watch_long *l = &w->longs[i % WATCH_LONG];

		if (late || atomic_load_explicit(&l->age, memory_order_relaxed) < WATCH_OLD - 1)
			atomic_fetch_add_explicit(&l->victims, 1, memory_order_relaxed);
	}
}

/* Relaxed: who claims first is decided by the word alone.  The loop may be holds ahead of a monitor that claims an
 * older one, so the word only grows. */
bool watch_claim_seq(struct watch_loop *w, uint64_t seq)
{
	uint64_t told = atomic_load_explicit(&w->told_seq, memory_order_relaxed);

	while (told < seq)
		if (atomic_compare_exchange_weak_explicit(
			&w->told_seq, &told, seq, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

bool watch_claim(struct watch_loop *w)
{
	return !w || watch_claim_seq(w, counter_read(&w->line.seq));
}

bool watch_held_up(const struct watch_loop *w)
{
	uint32_t last;

	if (!watch_aftermath(w))
		return false;
	last = atomic_load_explicit(&w->longs_end, memory_order_relaxed) - 1;
	return atomic_load_explicit(&w->longs[last % WATCH_LONG].age, memory_order_relaxed) < WATCH_OLD - 1;
}

static uint64_t waited(const struct watch_loop *w)
{
	uint64_t cpu_ns, waited_ns;

	return w && w->thread && capture_thread_times(w->thread, &cpu_ns, &waited_ns) == 0 ? waited_ns : 0;
}

struct watch_mark watch_mark(const struct watch_loop *w)
{
	return (struct watch_mark){ watch_lost(w), waited(w) };
}

uint64_t watch_nobodys(const struct watch_loop *w, const struct watch_mark *since, uint64_t now_ns)
{
	uint64_t lost = watch_may_be_lost(w, now_ns), waited_ns = waited(w);

	return lost - since->lost_ns + (waited_ns > since->waited_ns ? waited_ns - since->waited_ns : 0);
}

/* ---- what the monitor reads -------------------------------------------------------------------------------------- */

/* The line, if the app's code runs and goes on running while it is read.  Each member is loaded with acquire, so that
 * seq is read again after all of them: had one been of a later hold, that reading would show it. */
struct watch_view watch_read(const struct watch_line *line)
{
	struct watch_view v = { .seq = atomic_load_explicit(&line->seq, memory_order_acquire) };
	uint64_t seq = v.seq;

	v.start_ns = atomic_load_explicit(&line->start_ns, memory_order_acquire);
	v.low = atomic_load_explicit(&line->low, memory_order_acquire);
	v.high = atomic_load_explicit(&line->high, memory_order_acquire);
	v.route = atomic_load_explicit(&line->route, memory_order_acquire);
	v.what = (enum watch_what)atomic_load_explicit(&line->what, memory_order_acquire);
	if (!(seq & 1) || atomic_load_explicit(&line->seq, memory_order_relaxed) != seq)
		v.seq = 0;
	return v;
}

/* ---- made and unmade --------------------------------------------------------------------------------------------- */

static int init_loop(struct watch *w, struct watch_loop *l)
{
	pthread_mutex_init(&l->looking, NULL);
	l->shared = &w->shared;
	l->limit_ns = w->limit_ns;
	l->nroutes = w->nroutes;
	l->holds = calloc((size_t)w->nroutes + 1, sizeof(*l->holds));
	return l->holds ? 0 : -ENOMEM;
}

static struct crew *make_crew(struct watch *w, const struct watch_conf *conf)
{
	struct crew_conf cc = { .pools = conf->pools, .nroutes = conf->nroutes, .limit_ns = conf->worker_limit_ns,
		.pool_name = conf->pool_name, .pool_look = conf->pool_look, .arg = conf->pools_arg, .book = w->book,
		.shared = &w->shared };

	return crew_new(&cc);
}

struct watch *watch_new(const struct watch_conf *conf)
{
	struct watch *w = aligned_alloc(_Alignof(struct watch), sizeof(*w));
	struct monitor_conf mc = { .loops = conf->loops, .limit_ns = conf->limit_ns, .tick = conf->tick,
		.tick_arg = conf->pools_arg };
	int rc = -ENOMEM;

	if (!w)
		return NULL;
	memset(w, 0, sizeof(*w));
	atomic_init(&w->shared.due_ns, NEVER);
	w->nroutes = conf->nroutes;
	w->limit_ns = conf->limit_ns;
	w->loops = aligned_alloc(_Alignof(struct watch_loop), conf->loops * sizeof(*w->loops));
	if (!w->loops)
		goto failed;
	memset(w->loops, 0, conf->loops * sizeof(*w->loops));
	w->nloops = conf->loops;
	rc = 0;
	for (unsigned i = 0; i < conf->loops; i++)
		rc |= init_loop(w, &w->loops[i]);
	if (rc < 0)
		goto failed;
	w->book = stall_book_new(conf->nroutes, conf->name, conf->arg, conf->log);
	w->crew = w->book ? make_crew(w, conf) : NULL;
	mc.watched = w->loops;
	mc.shared = &w->shared;
	mc.book = w->book;
	if (w->book)
		stall_book_tell(w->book, conf->held, conf->arg);
	mc.crew = w->crew;
	w->monitor = w->crew ? monitor_new(&mc) : NULL;
	if (w->monitor)
		return w;
	rc = -errno;
failed:
	watch_free(w);
	errno = -rc;
	return NULL;
}

void watch_stop(struct watch *w)
{
	if (w && w->monitor)
		monitor_stop(w->monitor);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	monitor_free(w->monitor);
	crew_free(w->crew);
	for (unsigned i = 0; i < w->nloops; i++) {
		free(w->loops[i].holds);
		pthread_mutex_destroy(&w->loops[i].looking);
	}
	free(w->loops);
	stall_book_free(w->book);
	free(w);
}

struct watch_loop *watch_attach(struct watch *w, unsigned i)
{
	if (!w)
		return NULL;
	w->loops[i].thread = capture_thread_new();
	return &w->loops[i];
}

void watch_detach(struct watch_loop *l)
{
	struct capture_thread *t;

	if (!l)
		return;
	pthread_mutex_lock(&l->looking);
	t = l->thread;
	l->thread = NULL;
	pthread_mutex_unlock(&l->looking);
	capture_thread_free(t);
}

int watch_start(struct watch *w)
{
	return monitor_start(w->monitor);
}

/* ---- what it has seen -------------------------------------------------------------------------------------------- */

void watch_hist(const struct watch *w, uint32_t route, struct watch_hist *sum)
{
	*sum = (struct watch_hist){ .count = 0 };
	for (unsigned i = 0; i < w->nloops; i++) {
		const struct watch_holds *h = &w->loops[i].holds[route];

		for (unsigned j = 0; j < WATCH_BUCKETS; j++) {
			uint64_t n = counter_read(&h->bucket[j]);

			sum->bucket[j] += n;
			sum->count += n;
		}
		sum->sum_ns += counter_read(&h->sum_ns);
	}
}

struct stall_book *watch_book(struct watch *w)
{
	return w->book;
}

struct crew *watch_crew(struct watch *w)
{
	return w ? w->crew : NULL;
}
