/* lab_stats.c: times in buckets, and what several rounds come to.
 *
 * A load of a hundred thousand requests a second leaves no room to keep each time, so they are counted in buckets: the
 * first 128 are a microsecond wide, and from there on each power of two is cut into 64.  A percentile is then off by
 * 0.8 % at most, far below what differs between two rounds, and adding costs a shift and an increment.
 *
 * Percentiles are by nearest rank: the p99 of 200 times is the 198th, and the p99.9 of fewer than a thousand is the
 * longest of them.  Rounds are brought together by the median, which one disturbed round does not move, and are shown
 * with the least and the most.
 *
 * Pure: no clock, no memory of its own.
 */
#include "cli/lab_stats.h"

#include <stdlib.h>

static unsigned bucket_of(uint64_t us)
{
	unsigned shift, i;

	if (us < 2 * HISTOGRAM_FINE)
		return (unsigned)us;
	shift = 57u - (unsigned)__builtin_clzll(us);    /* leaves 64 to 127 */
	i = shift * HISTOGRAM_FINE + (unsigned)(us >> shift);
	return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

/* The middle of a bucket. */
static double bucket_us(unsigned i)
{
	unsigned shift;

	if (i < 2 * HISTOGRAM_FINE)
		return i;
	shift = i / HISTOGRAM_FINE - 1;
	return (double)((uint64_t)(HISTOGRAM_FINE + i % HISTOGRAM_FINE) << shift) +
		(double)((UINT64_C(1) << shift) - 1) / 2;
}

void histogram_add(struct histogram *h, uint64_t us)
{
	h->bucket[bucket_of(us)]++;
	h->n++;
	h->max_us = us > h->max_us ? us : h->max_us;
}

void histogram_merge(struct histogram *h, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->bucket[i] += from->bucket[i];
	h->n += from->n;
	h->max_us = from->max_us > h->max_us ? from->max_us : h->max_us;
}

double histogram_us(const struct histogram *h, double part)
{
	double exact = part * (double)h->n, max = (double)h->max_us;
	uint64_t rank = (uint64_t)exact, seen = 0;

	rank += (double)rank < exact || rank == 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank && seen > 0)
			return bucket_us(i) < max ? bucket_us(i) : max;
	}
	return max;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double stats_median(double *values, size_t n)
{
	if (n == 0)
		return 0;
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
