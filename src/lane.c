/* lane.c: the lanes of routes that may change theirs.
 *
 * A route that may move has one of these: an .adaptive one always, an .async one unless the guard is off.  Others have
 * none, and pay nothing: where a request goes is one byte of its endpoint, read where the declared lane would have been
 * read.  Here alone that byte is written, and what leads to it is judged (lane_rule.c), logged and counted.
 *
 * A change is for the requests that start after it.  Those that are queued or run stay where they are, and what they
 * prove comes too late: runs in the pool of a route that has been promoted meanwhile, and further holds of one that has
 * been demoted, are not looked at.  So one slow moment is one demotion, however many requests had a part in it, and a
 * hold that never ends cannot be cured: only kept from being joined by another.
 *
 * An .async route that streams events is warned of only: there its replies last for as long as their clients stay, and
 * cost the loop nothing between two events, where in the pool each would hold a thread.
 *
 * Who tells of a hold: for runs that are measured (an adaptive route's always, a guarded one's once it has held a loop)
 * the loop, before it begins anything else, so that the next request already goes by what follows; of others the
 * monitor, a few milliseconds later; and of any that lasts and lasts the monitor, meanwhile.
 *
 * By hand a lane is pinned: then nothing moves it until that is taken back, and evidence begins anew.
 *
 * A mutex guards the evidence, held for a few dozen instructions: by a worker at the end of a run in the pool, by a
 * loop only when it was held for too long, by the monitor and the control plane now and then.  Each lies on cache lines
 * of its own.  Lines are logged under it, so that the log tells changes in their order.
 */
#include "lane.h"
#include "base/log.h"
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MORE_FIELDS 3
#define SUSPECT_RUNS 100        /* are measured after a long hold that may have been nobody's fault */

LOCK_ROLE(lane_role);

struct lane {
	_Alignas(64) pthread_mutex_t mutex;
	const struct lane_terms *terms;
	const char *route, *need;
	enum lane_kind kind;
	_Atomic bool streams;           /* events; never taken back.  Relaxed: written with the mutex held */
	_Atomic bool *pooled;           /* relaxed, both: a request goes by what it sees, which orders nothing */
	_Atomic unsigned *measured;
	struct lane_record rec GUARDED_BY(lane_role);
	enum lane_pin pin GUARDED_BY(lane_role);
	struct lane_look last GUARDED_BY(lane_role); /* of which held, moves, moved and why are kept */
};

static void lock(struct lane *l) ACQUIRES(lane_role);
static void unlock(struct lane *l) RELEASES(lane_role);

static UNCHECKED void lock(struct lane *l)
{
	pthread_mutex_lock(&l->mutex);
}

static UNCHECKED void unlock(struct lane *l)
{
	pthread_mutex_unlock(&l->mutex);
}

static const char *lane_name(bool pooled)
{
	return pooled ? "sync" : "async";
}

static const char *cause_name(enum lane_cause cause)
{
	return cause == LANE_BLOCKED ? "blocked" : "computing";
}

static int64_t us(uint64_t ns)
{
	return (int64_t)(ns / NS_PER_US);
}

static double ms(uint64_t ns)
{
	return (double)ns / (double)NS_PER_MS;
}

static bool streams(const struct lane *l)
{
	return atomic_load_explicit(&l->streams, memory_order_relaxed);
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

/* Its requests go there from now on, for the reason that l->last.why says and `more` (at most MORE_FIELDS) gives in
 * numbers. */
static void move(struct lane *l, const char *what, bool pooled, bool blamed, const struct log_field *more, size_t n)
	REQUIRES(lane_role);

static void move(struct lane *l, const char *what, bool pooled, bool blamed, const struct log_field *more, size_t n)
{
	struct log_field fields[4 + MORE_FIELDS] = {
		LOG_FIELD_STR("route", slice_of(l->route)),
		LOG_FIELD_STR("from", slice_of(lane_name(l->rec.pooled))),
		LOG_FIELD_STR("to", slice_of(lane_name(pooled))),
		LOG_FIELD_STR("why", slice_of(l->last.why)),
	};

	if (n > 0)
		memcpy(fields + 4, more, n * sizeof(*more));
	l->last.moves[pooled] += pooled != l->rec.pooled;
	clock_gettime(CLOCK_REALTIME, &l->last.moved);
	lane_rule_moved(&l->rec, &l->terms->limits, pooled, blamed, clock_now_ns());
	atomic_store_explicit(l->pooled, pooled, memory_order_relaxed);
	if (l->kind == LANE_GUARDED)
		atomic_store_explicit(l->measured, 0, memory_order_relaxed);
	log_line(l->terms->log, blamed ? LOG_WARN : LOG_INFO, slice_of(what), fields, 4 + n);
}

static void promote(struct lane *l) REQUIRES(lane_role);

static void promote(struct lane *l)
{
	uint64_t p99 = lane_rule_p99_ns(&l->rec);
	struct log_field more[] = { LOG_FIELD_INT("runs", l->rec.runs), LOG_FIELD_US("p99_at_most", us(p99)),
		LOG_FIELD_INT("over_budget", l->rec.over) };

	snprintf(l->last.why, sizeof(l->last.why), "it proved short: %u runs never slept, %u of them over %lld us",
		l->rec.runs, l->rec.over, (long long)us(l->terms->limits.budget_ns));
	move(l, "route moved", false, false, more, 3);
}

void lane_ran(struct lane *l, const struct lane_run *run)
{
	lock(l);
	if (l->pin == LANE_AUTO && lane_rule_ran(&l->rec, &l->terms->limits, run, clock_now_ns()))
		promote(l);
	unlock(l);
}

static void warn(struct lane *l, uint64_t hold_ns, enum lane_cause cause) REQUIRES(lane_role);

static void warn(struct lane *l, uint64_t hold_ns, enum lane_cause cause)
{
	bool stays = streams(l);
	struct log_field fields[] = { LOG_FIELD_STR("route", slice_of(l->route)),
		LOG_FIELD_INT("holds", l->rec.holds), LOG_FIELD_US("last", us(hold_ns)),
		LOG_FIELD_STR("cause", slice_of(cause_name(cause))),
		LOG_FIELD_STR("remedy", stays ? SLICE("let ol_offload do what blocks: it streams events, and in the "
			"pool each stream would hold a thread") :
			SLICE("PATCH /routes moves it now, --guard demote by itself")) };

	log_line(l->terms->log, LOG_WARN, stays ? SLICE("guard does not move route") : SLICE("guard would move route"),
		fields, 5);
}

static void demote(struct lane *l, uint64_t hold_ns, enum lane_cause cause) REQUIRES(lane_role);

static void demote(struct lane *l, uint64_t hold_ns, enum lane_cause cause)
{
	unsigned holds = l->rec.holds;
	struct log_field more[] = { LOG_FIELD_US("hold", us(hold_ns)), LOG_FIELD_STR("cause",
		slice_of(cause_name(cause))), LOG_FIELD_INT("holds", holds) };
	int n;

	n = snprintf(l->last.why, sizeof(l->last.why), "it held a loop for %.1f ms, %s; allowed are %.1f ms",
		ms(hold_ns), cause_name(cause), ms(lane_hold_limit(l)));
	if (holds > 1)
		snprintf(l->last.why + n, sizeof(l->last.why) - (size_t)n, "; hold %u over that", holds);
	move(l, "route moved", true, true, more, 3);
}

void lane_suspect(struct lane *l)
{
	unsigned now = atomic_load_explicit(l->measured, memory_order_relaxed);

	while (l->kind == LANE_GUARDED && now < SUSPECT_RUNS)
		if (atomic_compare_exchange_weak_explicit(l->measured, &now, SUSPECT_RUNS, memory_order_relaxed,
			memory_order_relaxed))
			return;
}

void lane_passed(struct lane *l)
{
	unsigned now = atomic_load_explicit(l->measured, memory_order_relaxed);

	/* What another loop has changed meanwhile stands; one run more or less is measured then. */
	if (now > 0 && now != LANE_ALWAYS)
		(void)atomic_compare_exchange_strong_explicit(l->measured, &now, now - 1, memory_order_relaxed,
			memory_order_relaxed);
}

void lane_held(struct lane *l, uint64_t hold_ns, enum lane_cause cause)
{
	unsigned before;
	bool due;

	lock(l);
	before = l->rec.holds;
	due = lane_rule_held(&l->rec, &l->terms->limits, hold_ns, cause) && l->pin == LANE_AUTO;
	l->last.held += l->rec.holds - before;
	if (l->kind == LANE_GUARDED && l->rec.holds > before)
		atomic_store_explicit(l->measured, LANE_ALWAYS, memory_order_relaxed);
	if (due && l->kind != LANE_ADAPTIVE && (l->kind == LANE_WATCHED || streams(l))) {
		if (l->rec.holds == LANE_HOLDS)
			warn(l, hold_ns, cause);
	} else if (due) {
		demote(l, hold_ns, cause);
	}
	unlock(l);
}

void lane_streams(struct lane *l)
{
	if (streams(l))
		return;
	lock(l);
	atomic_store_explicit(&l->streams, true, memory_order_relaxed);
	if (l->kind == LANE_GUARDED && l->rec.pooled && l->pin == LANE_AUTO) {
		snprintf(l->last.why, sizeof(l->last.why), "it streams events: in the pool each stream holds a thread");
		move(l, "route moved", false, false, NULL, 0);
	}
	unlock(l);
}

/* ---- by hand ----------------------------------------------------------------------------------------------------- */

int lane_pin(struct lane *l, enum lane_pin pin, const char *by)
{
	struct log_field who = LOG_FIELD_STR("by", slice_of(by));

	if (l->need && pin == LANE_ASYNC)
		return -EPERM;
	lock(l);
	l->pin = pin;
	snprintf(l->last.why, sizeof(l->last.why), "%s", pin == LANE_AUTO ? "as declared again" : "pinned by hand");
	move(l, pin == LANE_AUTO ? "lane unpinned" : "lane pinned",
		pin == LANE_AUTO ? l->kind == LANE_ADAPTIVE : pin == LANE_SYNC, false, &who, 1);
	unlock(l);
	return 0;
}

/* ---- looking, making --------------------------------------------------------------------------------------------- */

uint64_t lane_budget(const struct lane *l)
{
	return l->terms->limits.budget_ns;
}

uint64_t lane_hold_limit(const struct lane *l)
{
	return l->kind == LANE_ADAPTIVE ? l->terms->limits.hold_ns : l->terms->limits.stall_ns;
}

void lane_look(struct lane *l, struct lane_look *look)
{
	lock(l);
	*look = l->last;
	look->kind = l->kind;
	look->need = l->need;
	look->pin = l->pin;
	look->pooled = l->rec.pooled;
	look->streams = streams(l);
	look->holds = l->rec.holds;
	look->needed = lane_rule_needed(&l->rec, &l->terms->limits, clock_now_ns());
	look->runs = l->rec.runs;
	look->over = l->rec.over;
	look->p99_ns = lane_rule_p99_ns(&l->rec);
	unlock(l);
}

struct lane *lane_new(const struct lane_terms *terms, enum lane_kind kind, const char *route, const char *need)
{
	struct lane *l = aligned_alloc(_Alignof(struct lane), sizeof(*l));

	if (!l)
		return NULL;
	memset(l, 0, sizeof(*l));
	pthread_mutex_init(&l->mutex, NULL);
	l->terms = terms;
	l->kind = kind;
	l->route = route;
	l->need = need;
	lock(l);
	l->rec.kind = kind;
	l->rec.pooled = kind == LANE_ADAPTIVE;
	unlock(l);
	return l;
}

void lane_bind(struct lane *l, _Atomic bool *pooled, _Atomic unsigned *measured)
{
	l->pooled = pooled;
	l->measured = measured;
	atomic_store_explicit(measured, l->kind == LANE_ADAPTIVE ? LANE_ALWAYS : 0, memory_order_relaxed);
}

void lane_free(struct lane *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->mutex);
	free(l);
}
