/* lab_stats.h: times in buckets, and what several rounds come to. */
#ifndef OL_CLI_LAB_STATS_H
#define OL_CLI_LAB_STATS_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_FINE = 64, HISTOGRAM_BUCKETS = HISTOGRAM_FINE * 30 };

/* Times in microseconds, 64 buckets for each power of two: up to 127 us to the microsecond, above that a bucket is at
 * most 1.6 % wide.  Zeroed memory is an empty one.  What is over nine hours counts as that. */
struct histogram {
	uint64_t bucket[HISTOGRAM_BUCKETS];
	uint64_t n, max_us;
};

void histogram_add(struct histogram *h, uint64_t us);

/* Adds all of `from`. */
void histogram_merge(struct histogram *h, const struct histogram *from);

/* The time that `part` (0 to 1) of all stay at or below (nearest rank), as the middle of its bucket and never above the
 * longest; 0 of an empty one. */
double histogram_us(const struct histogram *h, double part);

/* The middle of n values, or the mean of the two in the middle; sorts them.  0 of none. */
double stats_median(double *values, size_t n);

#endif
