/*
 * test_fiber.c: fibers run in the order they are switched, on stacks that are used again, one or ten thousand of them.
 */
#include "fiber_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- order ------------------------------------------------------------------------------------------------------- */

static char trace[64];

static void note(char c)
{
	size_t n = strlen(trace);

	CHECK(n + 1 < sizeof(trace));
	trace[n] = c;
	trace[n + 1] = '\0';
}

static void three_steps(void *arg)
{
	const char *names = arg;

	for (unsigned i = 0; i < 3; i++) {
		note(names[i]);
		if (i < 2)
			suspend();
	}
}

START_TEST(a_fiber_goes_on_where_it_was)
{
	char upper[] = "ABC", lower[] = "abc";
	struct fiber *f, *g;

	pool_begin(0, 2, 2);
	trace[0] = '\0';
	f = begin(0, three_steps, upper);
	g = begin(0, three_steps, lower);
	ck_assert_uint_eq(fiber_pool_live(pool), 2);
	note('.');
	ck_assert(!fiber_resume(g));
	ck_assert(!fiber_resume(f));
	note('.');
	ck_assert(fiber_resume(f));
	ck_assert(fiber_resume(g));
	ck_assert_str_eq(trace, "Aa.bB.Cc");
	pool_end();
}
END_TEST

static void count_one(void *arg)
{
	++*(unsigned *)arg;
}

START_TEST(a_fiber_that_never_suspends_has_ended_when_start_returns)
{
	unsigned ran = 0;

	pool_begin(0, 1, 1);
	for (unsigned i = 0; i < 100000; i++)
		run_whole(0, count_one, &ran);
	ck_assert_uint_eq(ran, 100000);
	pool_end();
}
END_TEST

struct rung {
	unsigned depth;
	struct fiber *self, *next;
	bool suspended;
};

#define RUNGS 300
static struct rung rungs[RUNGS];

/* Each starts the next and is suspended in it; then each resumes the next, so that the deepest runs under all. */
static void climb(void *arg)
{
	struct rung *r = arg;

	r->self = fiber_current(pool);
	if (r->depth + 1 < RUNGS) {
		CHECK(fiber_start(pool, 0, "rung", climb, r + 1, &r->next) == 0);
		CHECK(r->next == r[1].self);
	}
	CHECK(fiber_current(pool) == r->self);
	suspend();
	CHECK(fiber_current(pool) == r->self);
	if (r->next)
		CHECK(fiber_resume(r->next));
	CHECK(fiber_current(pool) == r->self);
}

START_TEST(fibers_start_and_resume_one_another_at_any_depth)
{
	pool_begin(32 * KIB, RUNGS, 10);
	for (unsigned i = 0; i < RUNGS; i++)
		rungs[i] = (struct rung){ .depth = i };
	begin(0, climb, rungs);
	ck_assert_uint_eq(fiber_pool_live(pool), RUNGS);
	ck_assert(fiber_resume(rungs[0].self));
	pool_end();
}
END_TEST

/* ---- stacks and bounds ------------------------------------------------------------------------------------------- */

/* Writes a byte into every page from here down to the end of the stack, but for a little the compiler's frame needs. */
static NOINLINE void use_whole_stack(void *arg)
{
	volatile char here = 1;
	void *low, *high;
	size_t asked = *(size_t *)arg;

	fiber_stack_bounds(fiber_current(pool), &low, &high);
	CHECK((size_t)((char *)high - (char *)low) >= asked);
	CHECK((const char *)&here > (char *)low || UNDER_ASAN); /* there a local may lie elsewhere */
	for (char *p = (char *)high - 4096; p >= (char *)low; p -= 4096)
		*(volatile char *)p = 1;
	*(volatile char *)low = 1;
	suspend();
}

START_TEST(a_stack_is_as_large_as_asked)
{
	size_t sizes[] = { 0, 1, 16 * KIB, 64 * KIB + 1, 256 * KIB, 1024 * KIB, 8192 * KIB };
	struct fiber *f[7];

	pool_begin(128 * KIB, 7, 7);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 7; i++) {
			size_t asked = sizes[i] ? sizes[i] : 128 * KIB;

			f[i] = begin(sizes[i], use_whole_stack, &asked);
		}
		for (unsigned i = 0; i < 7; i++)
			ck_assert(fiber_resume(f[i]));
	}
	pool_end();
}
END_TEST

static void wait_once(void *arg)
{
	(void)arg;
	suspend();
}

static void *stack_low(const struct fiber *f)
{
	void *low, *high;

	fiber_stack_bounds(f, &low, &high);
	return low;
}

/* One more fiber of that size comes and goes; where its stack was. */
static void *visit(size_t stack)
{
	struct fiber *f = begin(stack, wait_once, NULL);
	void *low = stack_low(f);

	ck_assert(fiber_resume(f));
	return low;
}

static bool mapped(void *at)
{
	unsigned char resident;

	return mincore(at, 1, &resident) == 0;
}

START_TEST(a_stack_is_used_again_by_the_next_fiber_of_its_size)
{
	void *a, *b;

	pool_begin(64 * KIB, 10, 10);
	a = visit(0);
	b = visit(128 * KIB);
	ck_assert_ptr_ne(a, b);
	ck_assert(mapped(a));
	ck_assert(mapped(b));
	ck_assert_ptr_eq(visit(64 * KIB), a);
	ck_assert_ptr_eq(visit(128 * KIB), b);
	ck_assert_ptr_eq(visit(0), a);
	pool_end();
	ck_assert(!mapped(a));
	ck_assert(!mapped(b));
}
END_TEST

START_TEST(stacks_over_spare_max_are_unmapped)
{
	struct fiber *f[8];
	void *low[8];
	unsigned left = 0;

	pool_begin(64 * KIB, 8, 3);
	for (unsigned i = 0; i < 8; i++) {
		f[i] = begin(0, wait_once, NULL);
		low[i] = stack_low(f[i]);
	}
	for (unsigned i = 0; i < 8; i++)
		ck_assert(fiber_resume(f[i]));
	for (unsigned i = 0; i < 8; i++)
		left += mapped(low[i]);
	ck_assert_uint_eq(left, 3);
	pool_end();
}
END_TEST

START_TEST(a_size_in_use_keeps_a_stack_though_other_sizes_had_filled_the_bound)
{
	struct fiber *f[3];
	void *low;

	pool_begin(64 * KIB, 4, 3);
	for (unsigned i = 0; i < 3; i++)
		f[i] = begin(0, wait_once, NULL);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(fiber_resume(f[i]));
	low = visit(96 * KIB);
	ck_assert(mapped(low));
	ck_assert_ptr_eq(visit(96 * KIB), low);
	pool_end();
}
END_TEST

START_TEST(without_spares_every_fiber_gets_a_new_stack)
{
	pool_begin(64 * KIB, 1, 0);
	for (unsigned i = 0; i < 100; i++)
		ck_assert(!mapped(visit(i % 2 ? 0 : 32 * KIB)));
	pool_end();
}
END_TEST

START_TEST(more_than_live_max_are_refused)
{
	struct fiber *f[3], *refused = (struct fiber *)&pool;
	unsigned ran = 0;

	pool_begin(0, 3, 1);
	for (unsigned i = 0; i < 3; i++)
		f[i] = begin(0, wait_once, NULL);
	ck_assert_int_eq(fiber_start(pool, 0, "over", count_one, &ran, &refused), -EAGAIN);
	ck_assert_ptr_null(refused);
	ck_assert_uint_eq(ran, 0);
	ck_assert(fiber_resume(f[1]));
	run_whole(0, count_one, &ran);
	ck_assert_uint_eq(ran, 1);
	ck_assert(fiber_resume(f[0]));
	ck_assert(fiber_resume(f[2]));
	pool_end();
}
END_TEST

START_TEST(a_stack_that_cannot_be_had_is_out_of_memory)
{
	struct fiber *f;
	unsigned ran = 0;

	pool_begin(0, 3, 1);
	ck_assert_int_eq(fiber_start(pool, SIZE_MAX, "huge", count_one, &ran, &f), -ENOMEM);
	ck_assert_int_eq(fiber_start(pool, SIZE_MAX / 8, "huge", count_one, &ran, &f), -ENOMEM);
	ck_assert_uint_eq(ran, 0);
	ck_assert_uint_eq(fiber_pool_live(pool), 0);
	run_whole(0, count_one, &ran);
	pool_end();
}
END_TEST

/* ---- many -------------------------------------------------------------------------------------------------------- */

static uint64_t sum;

static void add_twice(void *arg)
{
	volatile uint64_t mark[32];
	uint64_t n = (uintptr_t)arg;

	for (unsigned i = 0; i < 32; i++)
		mark[i] = n + i;
	suspend();
	for (unsigned i = 0; i < 32; i++)
		CHECK(mark[i] == n + i);
	sum += n;
}

static unsigned count_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n = 0;

	ck_assert_ptr_nonnull(f);
	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

/* An emulator may take the advice and do nothing; then the page can still be read. */
static bool kernel_has_guard_markers(void)
{
	void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fds[2];
	bool has;

	ck_assert_int_eq(pipe(fds), 0);
	has = madvise(at, 65536, 102) == 0 && write(fds[1], at, 1) < 0;
	close(fds[0]);
	close(fds[1]);
	munmap(at, 65536);
	return has;
}

START_TEST(ten_thousand_fibers_live_at_once)
{
	/* TSan takes at most about 8,000, and valgrind searches its stacks one by one. */
	unsigned n = UNDER_TSAN ? 4000 : RUNNING_ON_VALGRIND ? 500 : 10000, before;
	struct fiber **f = calloc(n, sizeof(*f));

	pool_begin(0, n, n);
	sum = 0;
	before = count_mappings();
	for (unsigned i = 0; i < n; i++)
		f[i] = begin(0, add_twice, (void *)(uintptr_t)i);
	ck_assert_uint_eq(fiber_pool_live(pool), n);
	if (kernel_has_guard_markers() && !UNDER_ASAN && !UNDER_TSAN && !RUNNING_ON_VALGRIND)
		ck_assert_uint_lt(count_mappings() - before, 100);
	for (unsigned i = 0; i < n; i++)
		ck_assert(fiber_resume(f[(i * 7919ULL) % n]));
	ck_assert_uint_eq(sum, (uint64_t)n * (n - 1) / 2);
	pool_end();
	free(f);
}
END_TEST

/* A random schedule and a model of it: which fibers are suspended, and the chain of those that run. */

#define ACTORS 48

struct actor {
	struct fiber *f;
	enum { IDLE, LIVE, WAITING } state;
	unsigned steps;
};

static struct actor actors[ACTORS];
static const struct actor *chain[ACTORS];
static unsigned depth, live;
static bool closing; /* nothing is started any more */
static uint64_t random_state;

static unsigned random_below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state >> 11) % n);
}

static void act(void *arg);

/* Starts or resumes one that is not running, from wherever this is called. */
static void poke(void)
{
	static const size_t stacks[] = { 0, 0, 48 * KIB, 96 * KIB, 20000 };
	struct actor *a = &actors[random_below(ACTORS)];
	struct fiber *self = fiber_current(pool);
	unsigned depth_before = depth;

	if (a->state == LIVE || (closing && a->state == IDLE))
		return;
	if (a->state == WAITING) {
		a->state = LIVE;
		chain[depth++] = a;
		CHECK(fiber_resume(a->f) == (a->state == IDLE));
	} else {
		*a = (struct actor){ .state = LIVE, .steps = random_below(12) };
		chain[depth++] = a;
		live++;
		CHECK(fiber_start(pool, stacks[random_below(5)], "actor", act, a, &a->f) == 0);
		CHECK((a->f == NULL) == (a->state == IDLE));
	}
	CHECK(depth == depth_before);
	CHECK(fiber_current(pool) == self);
	CHECK(fiber_pool_live(pool) == live);
}

static void act(void *arg)
{
	struct actor *a = arg;
	volatile uint64_t mark[64];
	struct fiber *self = fiber_current(pool);

	for (unsigned i = 0; i < 64; i++)
		mark[i] = (uintptr_t)a + i;
	for (; a->steps > 0; a->steps--) {
		CHECK(depth > 0 && chain[depth - 1] == a);
		if (random_below(3) == 0) {
			poke();
			continue;
		}
		depth--;
		a->state = WAITING;
		fiber_suspend(self);
		CHECK(fiber_current(pool) == self);
	}
	for (unsigned i = 0; i < 64; i++)
		CHECK(mark[i] == (uintptr_t)a + i);
	depth--;
	live--;
	a->state = IDLE;
}

START_TEST(a_random_schedule_agrees_with_a_model)
{
	memset(actors, 0, sizeof(actors));
	depth = live = 0;
	closing = false;
	random_state = (uint64_t)_i * 77777 + 1;
	pool_begin(64 * KIB, ACTORS, 8);
	for (unsigned i = 0; i < 20000; i++)
		poke();
	closing = true;
	while (live > 0)
		poke();
	pool_end();
}
END_TEST

static void *own_fibers(void *arg)
{
	struct fiber_conf conf = { .stack = 32 * KIB, .live_max = 4, .spare_max = 4 };
	struct fiber_pool *mine = fiber_pool_new(&conf);
	struct fiber *f;

	for (unsigned i = 0; mine && i < 10000; i++)
		if (fiber_start(mine, i % 3 * 20000, "own", count_one, arg, &f) != 0)
			return NULL;
	fiber_pool_free(mine);
	return NULL;
}

START_TEST(threads_have_pools_of_their_own)
{
	unsigned ran[3] = { 0 };
	pthread_t t[3];

	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, own_fibers, &ran[i]), 0);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		ck_assert_uint_eq(ran[i], 10000);
	}
}
END_TEST

static void *altstack_comes_and_goes(void *arg)
{
	struct fiber_conf conf = { .live_max = 1, .spare_max = 1 };
	struct fiber_pool *p, *q;
	stack_t before, during, between, after;

	sigaltstack(NULL, &before);
	p = fiber_pool_new(&conf);
	q = fiber_pool_new(&conf);
	sigaltstack(NULL, &during);
	fiber_pool_free(p);
	sigaltstack(NULL, &between);
	CHECK(mapped(during.ss_sp));
	fiber_pool_free(q);
	sigaltstack(NULL, &after);
	CHECK(!(during.ss_flags & SS_DISABLE));
	CHECK(between.ss_sp == during.ss_sp && between.ss_flags == during.ss_flags);
	CHECK(after.ss_flags == before.ss_flags);
	if (!(before.ss_flags & SS_DISABLE))
		CHECK(during.ss_sp == before.ss_sp && after.ss_sp == before.ss_sp);
	return arg;
}

START_TEST(the_alternate_signal_stack_stays_until_the_threads_last_pool_goes)
{
	pthread_t t;

	wrong = 0;
	ck_assert_int_eq(pthread_create(&t, NULL, altstack_comes_and_goes, NULL), 0);
	pthread_join(t, NULL);
	ck_assert_int_eq(wrong, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fiber");
	TCase *one = tcase_create("switching"), *stacks = tcase_create("stacks"), *many = tcase_create("many");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(one, a_fiber_goes_on_where_it_was);
	tcase_add_test(one, a_fiber_that_never_suspends_has_ended_when_start_returns);
	tcase_add_test(one, fibers_start_and_resume_one_another_at_any_depth);
	tcase_add_test(stacks, a_stack_is_as_large_as_asked);
	tcase_add_test(stacks, a_stack_is_used_again_by_the_next_fiber_of_its_size);
	tcase_add_test(stacks, stacks_over_spare_max_are_unmapped);
	tcase_add_test(stacks, a_size_in_use_keeps_a_stack_though_other_sizes_had_filled_the_bound);
	tcase_add_test(stacks, without_spares_every_fiber_gets_a_new_stack);
	tcase_add_test(stacks, more_than_live_max_are_refused);
	tcase_add_test(stacks, a_stack_that_cannot_be_had_is_out_of_memory);
	tcase_add_test(many, ten_thousand_fibers_live_at_once);
	tcase_add_loop_test(many, a_random_schedule_agrees_with_a_model, 0, 8);
	tcase_add_test(many, threads_have_pools_of_their_own);
	tcase_add_test(many, the_alternate_signal_stack_stays_until_the_threads_last_pool_goes);
	tcase_set_timeout(one, 60);
	tcase_set_timeout(many, 120);
	suite_add_tcase(suite, one);
	suite_add_tcase(suite, stacks);
	suite_add_tcase(suite, many);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
