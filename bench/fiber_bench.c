/* fiber_bench.c: what fibers cost, in nanoseconds.
 *
 *     fiber_bench [LIVE]     how many fibers wait at once in the crowd cases; 1000
 *
 * Each case runs several times and the fastest run counts: what a machine shared with others adds is never negative.  A
 * pair is there and back: two switches. */
#include "base/clock.h"
#include "fiber.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 7
#define OPS 2000000

struct bench {
	struct fiber_pool *pool;
	struct fiber **crowd;
	unsigned live;
};

static void end_at_once(void *arg)
{
	(void)arg;
}

static void suspend_for_ever(void *arg)
{
	struct bench *b = arg;
	struct fiber *self = fiber_current(b->pool);

	while (b->live)
		fiber_suspend(self);
}

static struct fiber *start(struct bench *b, size_t stack, fiber_fn *fn)
{
	struct fiber *f;

	if (fiber_start(b->pool, stack, "bench", fn, b, &f) != 0) {
		fputs("fiber_bench: no fiber\n", stderr);
		exit(1);
	}
	return f;
}

static void start_and_end(struct bench *b)
{
	for (unsigned i = 0; i < OPS; i++)
		start(b, 0, end_at_once);
}

static void start_and_end_other_size(struct bench *b)
{
	for (unsigned i = 0; i < OPS; i++)
		start(b, 65536, end_at_once);
}

static void resume_one(struct bench *b)
{
	for (unsigned i = 0; i < OPS; i++)
		fiber_resume(b->crowd[0]);
}

static void resume_crowd(struct bench *b)
{
	for (unsigned i = 0, at = 0; i < OPS; i++) {
		fiber_resume(b->crowd[at]);
		at = at + 1 == b->live ? 0 : at + 1;
	}
}

static void report(const char *what, void (*fn)(struct bench *), struct bench *b, unsigned ops)
{
	uint64_t best = NEVER;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t begun = clock_now_ns(), took;

		fn(b);
		took = clock_now_ns() - begun;
		best = took < best ? took : best;
	}
	printf("%-44s %8.1f ns\n", what, (double)best / ops);
}

static void gather_and_disperse(struct bench *b)
{
	unsigned n = b->live;

	for (unsigned i = 0; i < n; i++)
		b->crowd[i] = start(b, 0, suspend_for_ever);
	b->live = 0;
	for (unsigned i = 0; i < n; i++)
		fiber_resume(b->crowd[i]);
	b->live = n;
}

static void crowd_cases(struct bench *b, unsigned spare_max)
{
	struct fiber_conf conf = { .live_max = b->live, .spare_max = spare_max };
	char what[64];

	b->pool = fiber_pool_new(&conf);
	if (!b->pool)
		exit(1);
	snprintf(what, sizeof(what), "start, suspend, resume, end; %u live, %u kept", b->live, spare_max);
	report(what, gather_and_disperse, b, b->live);
	fiber_pool_free(b->pool);
}

int main(int argc, char **argv)
{
	unsigned live = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
	struct fiber_conf conf = { .live_max = live + 1, .spare_max = 64 };
	struct bench b = { .pool = fiber_pool_new(&conf), .crowd = calloc(live + 1, sizeof(*b.crowd)), .live = live };

	if (!b.pool || !b.crowd || live == 0)
		return 1;
	report("start and end", start_and_end, &b, OPS);
	report("start and end, not the default stack", start_and_end_other_size, &b, OPS);
	for (unsigned i = 0; i < live; i++)
		b.crowd[i] = start(&b, 0, suspend_for_ever);
	report("resume and suspend, always the same", resume_one, &b, OPS);
	report("resume and suspend, each in turn", resume_crowd, &b, OPS);
	b.live = 0;
	for (unsigned i = 0; i < live; i++)
		fiber_resume(b.crowd[i]);
	fiber_pool_free(b.pool);
	b.live = live;
	crowd_cases(&b, live);
	crowd_cases(&b, 0);
	free(b.crowd);
	return 0;
}
