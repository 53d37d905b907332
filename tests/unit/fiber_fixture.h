/* fiber_fixture.h: one pool for the tests of fibers, and a way to be wrong on a fiber.
 *
 * On a fiber nothing is asserted with Check, which may leave a failed test by longjmp: CHECK remembers the first line
 * that was wrong, and pool_end, on the test's own stack, asserts that there was none. */
#ifndef FIBER_FIXTURE_H
#define FIBER_FIXTURE_H

#include "fiber.h"

#include <check.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif
#ifdef __SANITIZE_ADDRESS__
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif

#define KIB ((size_t)1024)
#define NOINLINE __attribute__((noinline))

static int wrong; /* the first line of a failed CHECK */
#define CHECK(condition) \
	do { \
		if (!(condition) && wrong == 0) \
			wrong = __LINE__; \
	} while (0)

static struct fiber_pool *pool;

static inline void pool_begin(size_t stack, unsigned live_max, unsigned spare_max)
{
	struct fiber_conf conf = { .stack = stack, .live_max = live_max, .spare_max = spare_max };

	pool = fiber_pool_new(&conf);
	ck_assert_ptr_nonnull(pool);
	wrong = 0;
}

static inline void pool_end(void)
{
	ck_assert_ptr_null(fiber_current(pool));
	ck_assert_uint_eq(fiber_pool_live(pool), 0);
	fiber_pool_free(pool);
	ck_assert_int_eq(wrong, 0);
}

/* Starts a fiber that must suspend. */
static inline struct fiber *begin(size_t stack, fiber_fn *fn, void *arg)
{
	struct fiber *f;

	ck_assert_int_eq(fiber_start(pool, stack, "GET /test", fn, arg, &f), 0);
	ck_assert_ptr_nonnull(f);
	return f;
}

/* Runs a fiber that must not suspend. */
static inline void run_whole(size_t stack, fiber_fn *fn, void *arg)
{
	struct fiber *f;

	ck_assert_int_eq(fiber_start(pool, stack, "GET /test", fn, arg, &f), 0);
	ck_assert_ptr_null(f);
}

static inline void suspend(void)
{
	fiber_suspend(fiber_current(pool));
}

#endif
