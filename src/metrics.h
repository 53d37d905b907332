/* metrics.h: counters with one writer each, summed on reading; and the text they are shown as. */
#ifndef OL_METRICS_H
#define OL_METRICS_H

#include "base/buf.h"
#include "base/checked.h"
#include "base/counter.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* COUNTER(id, name, help) and GAUGE(id, name, help), one a line in metrics.def: everything a loop counts by itself. */
enum metric {
#define COUNTER(id, name, help) METRIC_##id,
#define GAUGE(id, name, help) METRIC_##id,
#include "metrics.def"
#undef COUNTER
#undef GAUGE
	METRIC_COUNT
};

#define METRIC_BUCKETS 17
extern const uint64_t metric_bucket_ns[METRIC_BUCKETS];     /* upper bounds; the last is NEVER */

/* Durations of one (route, method, status, lane), written by one loop. */
struct metric_hist {
	_Atomic uint64_t bucket[METRIC_BUCKETS];    /* not cumulative */
	_Atomic uint64_t sum_ns;
	uint16_t status;
	uint8_t method;
	bool pooled;                                /* they ran, or were to run, on a worker */
	_Atomic(struct metric_hist *) next;         /* of the same route; published with release */
};

/* What one loop counts.  One writer: the loop's thread; readers are the control plane's. */
struct metrics_loop {
	_Atomic uint64_t value[METRIC_COUNT];
	uint32_t nroutes;                           /* patterns; index nroutes is for requests no route took */
	_Atomic(struct metric_hist *) *routes;      /* nroutes + 1 lists */
	_Atomic uint64_t *in_flight;                /* by route: requests that have begun and not ended */
};

/* 0 or -ENOMEM. */
CHECKED int metrics_loop_init(struct metrics_loop *m, uint32_t nroutes);
/* The writer must have ended.  Harmless after a failed init. */
void metrics_loop_fini(struct metrics_loop *m);

/* By the loop's thread. */
static inline void metric_add(struct metrics_loop *m, enum metric id, int64_t n)
{
	counter_add(&m->value[id], (uint64_t)n);
}

/* By the loop's thread.  Relaxed: as counter_add. */
static inline void metric_set(struct metrics_loop *m, enum metric id, uint64_t v)
{
	atomic_store_explicit(&m->value[id], v, memory_order_relaxed);
}

/* A request that ended after ns.  route: index of its pattern, or nroutes.  pooled: its lane.  By the loop's thread;
 * when memory for a new histogram is short the sample is left out. */
void metrics_request(struct metrics_loop *m, uint32_t route, unsigned method, int status, bool pooled, uint64_t ns);

/* Prometheus text format 0.0.4.  metrics_text_family before its samples; labels: name, value pairs, ended by NULL;
 * values are escaped. */
enum metric_type { METRIC_TYPE_COUNTER, METRIC_TYPE_GAUGE, METRIC_TYPE_HISTOGRAM };
CHECKED int metrics_text_family(struct buf *b, const char *name, enum metric_type type, const char *help);
CHECKED int metrics_text_sample(struct buf *b, const char *name, const char *const *labels, double value);
/* _bucket, _sum and _count lines; bucket counts not cumulative, bounds in ns, the last bound NEVER (+Inf). */
CHECKED int metrics_text_hist(struct buf *b, const char *name, const char *const *labels, const uint64_t *bounds_ns,
	const uint64_t *buckets, unsigned n, uint64_t sum_ns);

/* The name of an enum ol_method, "_OTHER" for what is none. */
const char *metrics_method(unsigned method);

/* Requests of one route (or of none: index nroutes) that have ended, summed over n loops. */
uint64_t metrics_route_requests(const struct metrics_loop *const *loops, unsigned n, uint32_t route);

/* All of the loops' counters (summed), gauges (one sample a {loop}) and http_server_request_duration_seconds (summed).
 * template gives a pattern's, no two of one method; requests no route took are of "none", in no lane. */
CHECKED int metrics_text_loops(struct buf *b, const struct metrics_loop *const *loops, unsigned n,
	const char *(*template)(void *arg, uint32_t route), void *arg);

#endif
