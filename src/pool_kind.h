/* pool_kind.h: what a pool knows of one kind of job (a tag).  Under the pool's lock. */
#ifndef OL_POOL_KIND_H
#define OL_POOL_KIND_H

#include "pool.h"

struct pool_kind {
	struct pool_hist wait, run;
	struct pool_sleeps sleeps;
	uint64_t mean_ns;                       /* of run, the recent ones counting more, long ones as if shorter */
};

/* n kinds of which nothing is known, to be freed with free(); NULL: no memory. */
CHECKED struct pool_kind *pool_kinds_new(uint32_t n);

void pool_kind_waited(struct pool_kind *k, uint64_t ns);
void pool_kind_ran(struct pool_kind *k, uint64_t ns);
void pool_kind_sampled(struct pool_kind *k, bool slept);

#define POOL_LONG_NS (50 * NS_PER_US)

/* True: it runs so long that many workers may be woken at once; so until a dozen runs have shown otherwise. */
static inline bool pool_kind_is_long(const struct pool_kind *k)
{
	return k->mean_ns > POOL_LONG_NS;
}

/* A mean of which every new sample is 1/16. */
static inline uint64_t pool_mean(uint64_t mean_ns, uint64_t ns)
{
	int64_t mean = (int64_t)mean_ns;

	return (uint64_t)(mean + ((int64_t)ns - mean) / 16);
}

#endif
