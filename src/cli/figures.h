/* figures.h: a page of Prometheus's text, and what two of them say together. */
#ifndef OL_CLI_FIGURES_H
#define OL_CLI_FIGURES_H

#include "base/checked.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sample {
	const char *name;
	char *labels;           /* what stands between the braces, still escaped; "" without any */
	const char *route;      /* its label of that name, without escapes; NULL: it has none */
	double value;
};

struct figures {
	char *text, *routes;
	struct sample *samples;
	size_t n;
	struct sample **by_route;       /* those that have one, sorted by it */
	size_t nrouted;
	uint64_t at_ns;         /* when it was asked for; clock_now_ns */
};

/* Steals text, which is the caller's no more, also on an error: -ENOMEM.  Lines that are no samples are left
 * out, and those whose value is no finite number. */
CHECKED int figures_parse(struct figures *f, char *text, uint64_t at_ns);

/* The figures are empty then. */
void figures_fini(struct figures *f);

/* Which samples are meant: those whose label `label` is `value`; all, when label is NULL. */
struct where {
	const char *label, *value;
};

/* The value of a sample's label into dst, cut off at n; false when it has none of that name. */
bool sample_label(const struct sample *s, const char *label, char *dst, size_t n);

/* The sum of a metric's samples; false when there is none. */
bool figures_sum(const struct figures *f, const char *name, struct where where, double *sum);

/* How much that sum has grown a second; then may be NULL: 0. */
double figures_rate(const struct figures *now, const struct figures *then, const char *name, struct where where);

/* What a family of histograms has gained between two pages.  Counts are cumulative, and le[n - 1] is infinite. */
#define SPREAD_MAX 40

struct spread {
	unsigned n;
	double le[SPREAD_MAX], count[SPREAD_MAX];
	double sum;
};

/* name without _bucket.  Of samples whose label `status` begins with `status`, unless that is NULL. */
void figures_gain(const struct figures *now, const struct figures *then, const char *name, struct where where,
	const char *status, struct spread *out);

/* How many it has counted. */
double spread_count(const struct spread *s);

/* What a quantile is at most, in seconds, and *bound '<', or what it is more than and '>'; below 0 when nothing is
 * known of it. */
double spread_quantile(const struct spread *s, double q, char *bound);

#endif
