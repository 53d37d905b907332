/* control_watch.c: what the monitor has seen, for /metrics and /stalls.
 *
 * Everything is read from atomics, or copied under the mutex of the book of stalls, which nobody holds for longer than
 * a copy: so it is told while every loop is stuck, and a stall is told while it goes on.
 *
 * As in control_metrics.c a template that several methods share is one sample, shown where the first of them stands.
 * What is of no route (work of ol_post whose request has gone; stalls nobody is blamed for) is route="none".
 *
 * How busy the loops are is told as counters, from which each who asks makes shares of the time since he last did; and
 * as a share of the last ten seconds, for who asks but once (server_load.c).
 *
 * The control loop's thread only: it is the one that answers.
 */
#include "control.h"
#include "base/clock.h"
#include "crew.h"
#include "loop.h"
#include "server_load.h"
#include "stall.h"
#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct control_watch {
	const ol_server *server;
	unsigned loops;
	struct stall latest[STALL_KEPT];
};

struct control_watch *control_watch_new(const ol_server *s)
{
	struct control_watch *w = calloc(1, sizeof(*w));
	struct server_info info;

	server_info(s, &info);
	if (!w)
		return NULL;
	w->server = s;
	w->loops = info.loops;
	return w;
}

void control_watch_free(struct control_watch *w)
{
	free(w);
}

/* ---- loops ------------------------------------------------------------------------------------------------------- */

enum load_figure { LOAD_BUSY, LOAD_IDLE, LOAD_SHARE };

static double load_figure(const struct loop_load *l, enum load_figure which)
{
	return which == LOAD_SHARE ? l->share : (double)(which == LOAD_BUSY ? l->busy_ns : l->idle_ns) / 1e9;
}

static int load_family(const struct control_watch *w, struct buf *b, enum load_figure which, const char *name,
	const char *help)
{
	int rc = metrics_text_family(b, name, which == LOAD_SHARE ? METRIC_TYPE_GAUGE : METRIC_TYPE_COUNTER, help);

	for (unsigned i = 0; !rc && i < w->loops; i++) {
		struct loop_load load = server_load_of(server_load(w->server), i);
		char loop[16];
		const char *const labels[] = { "loop", loop, NULL };

		snprintf(loop, sizeof(loop), "%u", i);
		rc = metrics_text_sample(b, name, labels, load_figure(&load, which));
	}
	return rc;
}

static int load(const struct control_watch *w, struct buf *b)
{
	int rc;

	server_load_look(server_load(w->server));
	if ((rc = load_family(w, b, LOAD_BUSY, "offloop_loop_busy_seconds_total",
		"Time a loop worked, on a CPU or not, or the kernel for it.")) ||
		(rc = load_family(w, b, LOAD_IDLE, "offloop_loop_idle_seconds_total",
			"Time a loop had nothing to do.")))
		return rc;
	return load_family(w, b, LOAD_SHARE, "offloop_loop_utilization_ratio",
		"Share of the last ten seconds that a loop worked; of other spans the two counters tell.");
}

static int lag(const struct control_watch *w, struct buf *b)
{
	static const char name[] = "offloop_loop_lag_seconds";
	int rc = metrics_text_family(b, name, METRIC_TYPE_HISTOGRAM,
		"Time a loop worked between two waits: what becomes ready meanwhile waits as long at most.");

	for (unsigned i = 0; !rc && i < w->loops; i++) {
		const struct loop *l = server_loop_of(w->server, i);
		uint64_t bucket[LOOP_LAGS];
		char loop[16];
		const char *const labels[] = { "loop", loop, NULL };

		for (unsigned j = 0; j < LOOP_LAGS; j++)
			bucket[j] = counter_read(&l->count.lag[j]);
		snprintf(loop, sizeof(loop), "%u", i);
		rc = metrics_text_hist(b, name, labels, loop_lag_ns, bucket, LOOP_LAGS,
			counter_read(&l->count.busy_ns));
	}
	return rc;
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

static const char *text_of(const struct router *r, size_t i)
{
	return i < router_count(r) ? router_at(r, i)->text : "none";
}

/* Behind j, the next index that shares i's template; past the end when that would be i again. */
static size_t next_same(const struct router *r, size_t i, size_t j)
{
	size_t next = j < router_count(r) ? router_at(r, j)->same->index : i;

	return next == i ? router_count(r) + 1 : next;
}

/* Whether an earlier route has the template of route i. */
static bool is_told(const struct router *r, size_t i)
{
	return i < router_count(r) && !route_is_first(router_at(r, i));
}

static int holds(const struct watch *w, const struct router *r, struct buf *b)
{
	static const char name[] = "offloop_loop_hold_seconds";
	int rc = metrics_text_family(b, name, METRIC_TYPE_HISTOGRAM,
		"Time a route's code held a loop at a stretch, from when it was called or resumed.");

	for (size_t i = 0; !rc && i <= router_count(r); i++) {
		const char *const labels[] = { "route", text_of(r, i), NULL };
		struct watch_hist sum = { .count = 0 }, one;

		for (size_t j = i; !is_told(r, i) && j <= router_count(r); j = next_same(r, i, j)) {
			watch_hist(w, (uint32_t)j, &one);
			for (unsigned k = 0; k < WATCH_BUCKETS; k++)
				sum.bucket[k] += one.bucket[k];
			sum.count += one.count;
			sum.sum_ns += one.sum_ns;
		}
		if (sum.count > 0)
			rc = metrics_text_hist(b, name, labels, watch_bucket_ns, sum.bucket, WATCH_BUCKETS, sum.sum_ns);
	}
	return rc;
}

static int stalls(const struct stall_book *book, const struct router *r, struct buf *b)
{
	static const char name[] = "offloop_loop_stalls_total";
	int rc = metrics_text_family(b, name, METRIC_TYPE_COUNTER,
		"Holds of a loop over --stall-ms, by route and what they were due to.");

	for (size_t i = 0; !rc && i <= router_count(r); i++) {
		for (int cause = 0; !rc && cause < STALL_CAUSES; cause++) {
			const char *const labels[] = { "route", text_of(r, i), "cause",
				stall_cause_name((enum stall_cause)cause), NULL };
			uint64_t n = 0;

			for (size_t j = i; !is_told(r, i) && j <= router_count(r); j = next_same(r, i, j))
				n += stall_total(book, (uint32_t)j, (enum stall_cause)cause);
			if (n > 0)
				rc = metrics_text_sample(b, name, labels, (double)n);
		}
	}
	return rc;
}

static int victims(const struct stall_book *book, const struct router *r, struct buf *b)
{
	static const char name[] = "offloop_loop_stall_victims_total";
	int rc = metrics_text_family(b, name, METRIC_TYPE_COUNTER,
		"Requests that waited while a route held their loop over --stall-ms.");

	for (size_t i = 0; !rc && i <= router_count(r); i++) {
		const char *const labels[] = { "route", text_of(r, i), NULL };
		uint64_t n = 0;

		for (size_t j = i; !is_told(r, i) && j <= router_count(r); j = next_same(r, i, j))
			n += stall_victims(book, (uint32_t)j);
		if (n > 0)
			rc = metrics_text_sample(b, name, labels, (double)n);
	}
	return rc;
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

static int pool_stalls(const struct control_watch *w, const struct crew *crew, const struct router *r, unsigned pool,
	struct buf *b)
{
	int rc = 0;

	for (size_t i = 0; !rc && i <= router_count(r); i++) {
		const char *const labels[] = { "pool", pool_name(server_pool(w->server, pool)), "route", text_of(r, i),
			NULL };
		uint64_t n = 0;

		for (size_t j = i; !is_told(r, i) && j <= router_count(r); j = next_same(r, i, j))
			n += crew_stalls(crew, pool, (uint32_t)j);
		if (n > 0)
			rc = metrics_text_sample(b, "offloop_pool_stalls_total", labels, (double)n);
	}
	return rc;
}

static int workers(const struct control_watch *w, const struct crew *crew, const struct router *r, struct buf *b)
{
	static const char starvations[] = "offloop_pool_starvations_total";
	struct server_info info;
	int rc = metrics_text_family(b, "offloop_pool_stalls_total", METRIC_TYPE_COUNTER,
		"Jobs that held a thread of their pool over --worker-stall-ms.");

	server_info(w->server, &info);
	for (unsigned i = 0; !rc && i < info.pools; i++)
		rc = pool_stalls(w, crew, r, i, b);
	if (!rc)
		rc = metrics_text_family(b, starvations, METRIC_TYPE_COUNTER,
			"Times that all threads of a pool were busy while a job waited for over a second.");
	for (unsigned i = 0; !rc && i < info.pools; i++) {
		const char *const labels[] = { "pool", pool_name(server_pool(w->server, i)), NULL };

		if (server_pool_works(w->server, i))
			rc = metrics_text_sample(b, starvations, labels, (double)crew_starvations(crew, i));
	}
	return rc;
}

int control_watch_metrics(struct control_watch *w, struct buf *b)
{
	struct watch *watch = server_watch(w->server);
	const struct router *r = server_router(w->server);
	struct stall_book *book = watch ? watch_book(watch) : NULL;
	int rc = load(w, b);

	if (rc || (rc = lag(w, b)) || !watch)
		return rc;
	if ((rc = holds(watch, r, b)) || (rc = stalls(book, r, b)) || (rc = victims(book, r, b)) ||
		(rc = workers(w, watch_crew(watch), r, b)))
		return rc;
	rc = metrics_text_family(b, "offloop_loop_stalls_unlogged_total", METRIC_TYPE_COUNTER,
		"Lines about stalls that the log was spared, because there were too many.");
	return rc ? rc : metrics_text_sample(b, "offloop_loop_stalls_unlogged_total", NULL,
		(double)stall_untold(book));
}

/* ---- the latest -------------------------------------------------------------------------------------------------- */

/* To the microsecond, as in the log. */
static json_t *milliseconds(uint64_t ns)
{
	return json_real((double)(ns / NS_PER_US) / 1000);
}

static json_t *text_or_null(const char *s)
{
	return s && *s ? json_string(s) : json_null();
}

static json_t *stack_json(const struct stall *s)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < s->nframes; i++)
		json_array_append_new(all, json_pack("{ss sb}", "at", stall_frame(s, i), "probable",
			(int)(s->probable >> i & 1)));
	return all;
}

static const char *state_name(enum capture_state state)
{
	return state == CAPTURE_RUNNING ? "running" : state == CAPTURE_SLEEPING ? "sleeping" : NULL;
}

static json_t *stall_json(const struct control_watch *w, const struct stall *s)
{
	const struct router *r = server_router(w->server);
	const struct route_pattern *p = s->name ? router_at(r, s->route) : NULL;
	char time[ISO_TIME_LEN + 1] = "";

	iso_time_format(time, s->began);
	return json_pack("{sI ss ss so ss? so so so ss? so ss s{so so so so} so so so so so si sb}", "id",
		(json_int_t)s->id, "time", time, "kind", stall_kind_name(s->kind),
		"loop", s->kind == STALL_LOOP ? json_integer(s->loop) : json_null(), "pool", s->pool,
		"name", text_or_null(s->name),
		"method", text_or_null(p ? metrics_method(p->method) : NULL), "route", text_or_null(p ? p->text : NULL),
		"in", s->what, "ms", milliseconds(s->parts.wall), "cause", stall_cause_name(s->cause),
		"parts", "cpu_ms", milliseconds(s->parts.cpu), "runnable_ms", milliseconds(s->parts.waited),
		"blocked_ms", milliseconds(s->parts.blocked), "late_ms", milliseconds(stall_late(&s->parts)),
		"state", text_or_null(p ? state_name(s->state) : NULL), "syscall", text_or_null(p ? s->syscall : NULL),
		"stack", stack_json(s), "no_stack", text_or_null(p ? stall_no_stack(s) : NULL),
		"text", text_or_null(s->text), "victims", (int)s->victims, "ongoing", s->ongoing);
}

json_t *control_stalls(struct control_watch *w)
{
	struct watch *watch = server_watch(w->server);
	unsigned n = watch ? stall_latest(watch_book(watch), w->latest) : 0;
	json_t *all = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(all, stall_json(w, &w->latest[i]));
	return all;
}
