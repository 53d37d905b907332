/* pool_kind.c: how long the jobs of one kind wait and run.
 *
 * Kept once for each tag of a pool, under the pool's mutex: a copy for each worker would take tags times workers, and
 * leaving the histograms out altogether did not measure.  Nothing here knows of threads; the pool calls it while it
 * books a job.
 */
#include "pool_kind.h"

#include <stdlib.h>

#define SAMPLE_NS_MAX (4 * POOL_LONG_NS) /* a run counts as at most this: one preempted thread makes no kind long */

const uint64_t pool_bucket_ns[POOL_BUCKETS] = {
	10 * NS_PER_US, 50 * NS_PER_US, 250 * NS_PER_US, 1 * NS_PER_MS, 2500 * NS_PER_US, 5 * NS_PER_MS, 10 * NS_PER_MS,
	25 * NS_PER_MS, 50 * NS_PER_MS, 100 * NS_PER_MS, 250 * NS_PER_MS, 500 * NS_PER_MS, 1 * NS_PER_S,
	2500 * NS_PER_MS, 5 * NS_PER_S, NEVER,
};

struct pool_kind *pool_kinds_new(uint32_t n)
{
	struct pool_kind *kinds = calloc(n > 0 ? n : 1, sizeof(kinds[0]));

	for (uint32_t i = 0; kinds && i < n; i++)
		kinds[i].mean_ns = SAMPLE_NS_MAX;
	return kinds;
}

static void hist_add(struct pool_hist *h, uint64_t ns)
{
	unsigned i = 0;

	while (ns > pool_bucket_ns[i])
		i++;
	h->bucket[i]++;
	h->count++;
	h->sum_ns += ns;
}

void pool_kind_waited(struct pool_kind *k, uint64_t ns)
{
	hist_add(&k->wait, ns);
}

void pool_kind_ran(struct pool_kind *k, uint64_t ns)
{
	hist_add(&k->run, ns);
	k->mean_ns = pool_mean(k->mean_ns, ns < SAMPLE_NS_MAX ? ns : SAMPLE_NS_MAX);
}

void pool_kind_sampled(struct pool_kind *k, bool slept)
{
	k->sleeps.sampled++;
	k->sleeps.slept += slept;
}
