/* metrics.c: counters with one writer each, summed on reading; and the text they are shown as.
 *
 * A loop counts in memory of its own (struct metrics_loop) with plain relaxed loads and stores: it is the only writer,
 * so no increment is lost, and the control plane, which reads while the loop writes, needs each number whole but no
 * order between them.  A sum over loops is therefore not a snapshot of one moment; it never runs backwards.
 *
 * Durations are kept by route, method, status and the lane each request ran in, so a route that moves has two of them.
 * A histogram is made when its first request ends, linked in front of its route's list with a release store, and never
 * taken out before metrics_loop_fini: a reader's acquire load of a link sees the histogram behind it complete.  A route
 * has few methods and statuses, so its list is short, and after the first few requests nothing allocates.
 *
 * The text is Prometheus's exposition format 0.0.4, written so that `promtool check metrics` has nothing to say:
 * seconds and bytes as units, counters that end in _total, cumulative buckets of which the last is +Inf and equals
 * _count.  Numbers are the shortest decimals that read back as the same value, whatever the locale.
 *
 * metrics_loop_init and _fini: by the loop's owner.  metrics_text_*: the reader's thread.  Process and pool figures are
 * the control plane's business.
 */
#include "metrics.h"
#include "base/clock.h"
#include "method.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define US NS_PER_US
#define MS NS_PER_MS

const uint64_t metric_bucket_ns[METRIC_BUCKETS] = { 100 * US, 250 * US, 500 * US, 1 * MS, 2500 * US, 5 * MS, 10 * MS,
	25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, 1000 * MS, 2500 * MS, 5000 * MS, 10000 * MS, NEVER };

/* ---- counting ---------------------------------------------------------------------------------------------------- */

int metrics_loop_init(struct metrics_loop *m, uint32_t nroutes)
{
	for (int i = 0; i < METRIC_COUNT; i++)
		atomic_init(&m->value[i], 0);
	m->nroutes = nroutes;
	m->routes = calloc((size_t)nroutes + 1, sizeof(*m->routes));
	m->in_flight = calloc((size_t)nroutes + 1, sizeof(*m->in_flight));
	return m->routes && m->in_flight ? 0 : -ENOMEM;
}

void metrics_loop_fini(struct metrics_loop *m)
{
	for (uint32_t i = 0; m->routes && i <= m->nroutes; i++) {
		struct metric_hist *next, *h = atomic_load_explicit(&m->routes[i], memory_order_relaxed);

		for (; h; h = next) {
			next = atomic_load_explicit(&h->next, memory_order_relaxed);
			free(h);
		}
	}
	free(m->routes);
	free(m->in_flight);
	m->routes = NULL;
	m->in_flight = NULL;
}

static bool same_key(const struct metric_hist *h, unsigned method, int status, bool pooled)
{
	return h->status == status && h->method == method && h->pooled == pooled;
}

/* The histogram of (route, method, status, lane); made when there is none; NULL without memory. */
static struct metric_hist *hist_of(struct metrics_loop *m, uint32_t route, unsigned method, int status, bool pooled)
{
	/* relaxed: only this thread links */
	struct metric_hist *first = atomic_load_explicit(&m->routes[route], memory_order_relaxed), *h;

	for (h = first; h; h = atomic_load_explicit(&h->next, memory_order_relaxed))
		if (same_key(h, method, status, pooled))
			return h;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->status = (uint16_t)status;
	h->method = (uint8_t)method;
	h->pooled = pooled;
	atomic_init(&h->next, first);
	/* release: pairs with the reader's acquire, so that it sees what was written above */
	atomic_store_explicit(&m->routes[route], h, memory_order_release);
	return h;
}

void metrics_request(struct metrics_loop *m, uint32_t route, unsigned method, int status, bool pooled, uint64_t ns)
{
	struct metric_hist *h = hist_of(m, route < m->nroutes ? route : m->nroutes, method, status, pooled);
	unsigned i = 0;

	if (!h)
		return;
	while (ns > metric_bucket_ns[i])
		i++;
	counter_add(&h->bucket[i], 1);
	counter_add(&h->sum_ns, ns);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static int append(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int metrics_text_family(struct buf *b, const char *name, enum metric_type type, const char *help)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };
	const char *const parts[] = { "# HELP ", name, " ", help, "\n# TYPE ", name, " ", types[type], "\n" };
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(parts) / sizeof(parts[0]); i++)
		rc = append(b, parts[i]);
	return rc;
}

/* The shortest decimal that reads back as v.  printf and strtod may use another decimal point than '.'; they agree
 * with each other, and whatever the point is it is replaced at the end. */
static void number(char *dst, size_t n, double v)
{
	char *at = dst;

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(dst, n, "%.*g", digits, v);
		if (strtod(dst, NULL) == v)
			break;
	}
	for (const char *from = dst; *from; at++) {
		*at = strchr("0123456789+-e", *from) ? *from++ : '.';
		if (*at == '.')
			from += strcspn(from, "0123456789+-e");
	}
	*at = 0;
}

/* Backslash, quote and line feed are escaped in a label's value. */
static int append_escaped(struct buf *b, const char *s)
{
	int rc = 0;

	while (!rc && *s) {
		size_t plain = strcspn(s, "\\\"\n");

		rc = buf_append(b, s, plain);
		s += plain;
		if (!rc && *s) {
			rc = append(b, *s == '\n' ? "\\n" : *s == '"' ? "\\\"" : "\\\\");
			s++;
		}
	}
	return rc;
}

/* One label; `first` says whether the brace is still to be opened. */
static int append_label(struct buf *b, const char *name, const char *value, bool first)
{
	int rc = append(b, first ? "{" : ",");

	if (rc || (rc = append(b, name)) || (rc = append(b, "=\"")) || (rc = append_escaped(b, value)))
		return rc;
	return append(b, "\"");
}

/* name + suffix and the labels, without the closing brace; *open: there are some. */
static int begin_line(struct buf *b, const char *name, const char *suffix, const char *const *labels, bool *open)
{
	int rc = append(b, name);

	*open = false;
	if (!rc)
		rc = append(b, suffix);
	for (; !rc && labels && labels[0]; labels += 2, *open = true)
		rc = append_label(b, labels[0], labels[1], !*open);
	return rc;
}

/* name + suffix, the labels, and a value that is text already. */
static int line(struct buf *b, const char *name, const char *suffix, const char *const *labels, const char *value)
{
	bool open;
	int rc = begin_line(b, name, suffix, labels, &open);

	if (rc || (rc = append(b, open ? "} " : " ")) || (rc = append(b, value)))
		return rc;
	return append(b, "\n");
}

int metrics_text_sample(struct buf *b, const char *name, const char *const *labels, double value)
{
	char text[40];

	number(text, sizeof(text), value);
	return line(b, name, "", labels, text);
}

/* Counters exceed what a double holds exactly; integers are written as they are. */
static int integer_line(struct buf *b, const char *name, const char *suffix, const char *const *labels, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return line(b, name, suffix, labels, text);
}

/* A bound in seconds, as number() would write it, but without the detour by which that is slow. */
static void bound_text(char *dst, size_t n, uint64_t ns)
{
	char *end;

	if (ns == NEVER) {
		snprintf(dst, n, "+Inf");
	} else if (ns < 100 * US) {
		number(dst, n, (double)ns / 1e9);       /* 1e-05 */
	} else {
		snprintf(dst, n, "%" PRIu64 ".%09" PRIu64, ns / NS_PER_S, ns % NS_PER_S);
		for (end = dst + strlen(dst); end[-1] == '0'; end--)
			continue;
		end[end[-1] == '.' ? -1 : 0] = '\0';
	}
}

/* The _bucket lines, which are alike but for their ends.  *count: all of them. */
static int bucket_lines(struct buf *b, struct slice begun, const uint64_t *bounds_ns, const uint64_t *buckets,
	unsigned n, uint64_t *count)
{
	char bound[40], end[80];
	int rc = 0;

	*count = 0;
	for (unsigned i = 0; !rc && i < n; i++) {
		*count += buckets[i];
		bound_text(bound, sizeof(bound), bounds_ns[i]);
		snprintf(end, sizeof(end), "%s\"} %" PRIu64 "\n", bound, *count);
		rc = buf_append(b, begun.p, begun.n);
		if (!rc)
			rc = append(b, end);
	}
	return rc;
}

int metrics_text_hist(struct buf *b, const char *name, const char *const *labels, const uint64_t *bounds_ns,
	const uint64_t *buckets, unsigned n, uint64_t sum_ns)
{
	struct buf begun = { 0 };
	uint64_t count = 0;
	char text[40];
	bool open;
	int rc = begin_line(&begun, name, "_bucket", labels, &open);

	if (!rc)
		rc = append(&begun, open ? ",le=\"" : "{le=\"");
	if (!rc)
		rc = bucket_lines(b, buf_slice(&begun), bounds_ns, buckets, n, &count);
	buf_fini(&begun);
	if (rc)
		return rc;
	number(text, sizeof(text), (double)sum_ns / 1e9);
	rc = line(b, name, "_sum", labels, text);
	return rc ? rc : integer_line(b, name, "_count", labels, count);
}

/* ---- the loops' -------------------------------------------------------------------------------------------------- */

static int counter(struct buf *b, const struct metrics_loop *const *loops, unsigned n, int id, const char *name,
	const char *help)
{
	uint64_t sum = 0;
	int rc = metrics_text_family(b, name, METRIC_TYPE_COUNTER, help);

	for (unsigned i = 0; i < n; i++)
		sum += counter_read(&loops[i]->value[id]);
	return rc ? rc : integer_line(b, name, "", NULL, sum);
}

static int gauge(struct buf *b, const struct metrics_loop *const *loops, unsigned n, int id, const char *name,
	const char *help)
{
	int rc = metrics_text_family(b, name, METRIC_TYPE_GAUGE, help);

	for (unsigned i = 0; !rc && i < n; i++) {
		char loop[16];
		const char *const labels[] = { "loop", loop, NULL };

		snprintf(loop, sizeof(loop), "%u", i);
		rc = integer_line(b, name, "", labels, counter_read(&loops[i]->value[id]));
	}
	return rc;
}

/* Adds what one loop has of (route, method, status, lane). */
static void collect(const struct metrics_loop *m, uint32_t route, const struct metric_hist *key, uint64_t *bucket,
	uint64_t *sum_ns)
{
	/* acquire: pairs with hist_of's release */
	const struct metric_hist *h = atomic_load_explicit(&m->routes[route], memory_order_acquire);

	for (; h; h = atomic_load_explicit(&h->next, memory_order_acquire)) {
		if (!same_key(h, key->method, key->status, key->pooled))
			continue;
		for (unsigned i = 0; i < METRIC_BUCKETS; i++)
			bucket[i] += counter_read(&h->bucket[i]);
		*sum_ns += counter_read(&h->sum_ns);
	}
}

/* Whether one of the first n loops has a histogram of (route, method, status, lane). */
static bool has(const struct metrics_loop *const *loops, unsigned n, uint32_t route, const struct metric_hist *key)
{
	for (unsigned i = 0; i < n; i++) {
		const struct metric_hist *h = atomic_load_explicit(&loops[i]->routes[route], memory_order_acquire);

		for (; h; h = atomic_load_explicit(&h->next, memory_order_acquire))
			if (same_key(h, key->method, key->status, key->pooled))
				return true;
	}
	return false;
}

const char *metrics_method(unsigned method)
{
	const char *name = method_name(method);

	return name ? name : "_OTHER";
}

#define DURATION "http_server_request_duration_seconds"

/* The lane in which those requests ran: a route that moves has one after the other. */
static const char *lane_name(const struct metrics_loop *m, uint32_t route, bool pooled)
{
	return route == m->nroutes ? "none" : pooled ? "sync" : "async";
}

/* All samples of one route; each (method, status, lane) where the first loop that has it is visited. */
static int durations(struct buf *b, const struct metrics_loop *const *loops, unsigned n, uint32_t route,
	const char *template)
{
	int rc = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct metric_hist *h = atomic_load_explicit(&loops[i]->routes[route], memory_order_acquire);

		for (; !rc && h; h = atomic_load_explicit(&h->next, memory_order_acquire)) {
			uint64_t bucket[METRIC_BUCKETS] = { 0 }, sum_ns = 0;
			char status[8];
			const char *const labels[] = { "route", template, "method", metrics_method(h->method),
				"status", status, "lane", lane_name(loops[0], route, h->pooled), NULL };

			if (has(loops, i, route, h))
				continue;
			snprintf(status, sizeof(status), "%u", (unsigned)h->status);
			for (unsigned j = i; j < n; j++)
				collect(loops[j], route, h, bucket, &sum_ns);
			rc = metrics_text_hist(b, DURATION, labels, metric_bucket_ns, bucket, METRIC_BUCKETS, sum_ns);
		}
	}
	return rc;
}

uint64_t metrics_route_requests(const struct metrics_loop *const *loops, unsigned n, uint32_t route)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct metric_hist *h = atomic_load_explicit(&loops[i]->routes[route], memory_order_acquire);

		for (; h; h = atomic_load_explicit(&h->next, memory_order_acquire))
			for (unsigned j = 0; j < METRIC_BUCKETS; j++)
				sum += counter_read(&h->bucket[j]);
	}
	return sum;
}

int metrics_text_loops(struct buf *b, const struct metrics_loop *const *loops, unsigned n,
	const char *(*template)(void *arg, uint32_t route), void *arg)
{
	int rc = 0;

#define COUNTER(id, name, help) rc = rc ? rc : counter(b, loops, n, METRIC_##id, name, help);
#define GAUGE(id, name, help) rc = rc ? rc : gauge(b, loops, n, METRIC_##id, name, help);
#include "metrics.def"
#undef COUNTER
#undef GAUGE
	if (rc || n == 0)
		return rc;
	rc = metrics_text_family(b, DURATION, METRIC_TYPE_HISTOGRAM,
		"Time from a request's head to the end of its reply.");
	for (uint32_t route = 0; !rc && route <= loops[0]->nroutes; route++)
		rc = durations(b, loops, n, route, route < loops[0]->nroutes ? template(arg, route) : "none");
	return rc;
}
