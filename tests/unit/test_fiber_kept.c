/*
 * test_fiber_kept.c: what a switch keeps: the registers a call preserves and the floating-point mode; and that whoever
 * walks a fiber's stack comes to its end.
 */
#include "fiber_fixture.h"

#include <execinfo.h>
#include <fenv.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define KEPT 4
#define CLOBBERED \
	"rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", \
		"xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static uint64_t kept[KEPT]; /* what the registers held after the call */

/* Calls fn(arg) with patterns in the registers a call preserves (r15 holds the stack pointer), and reads them again. */
static NOINLINE void call_with(void (*fn)(void *), void *arg, const uint64_t before[KEPT])
{
	register uint64_t a __asm__("rbx") = before[0], b __asm__("r12") = before[1];
	register uint64_t c __asm__("r13") = before[2], d __asm__("r14") = before[3];

	__asm__ volatile("movq %%rsp, %%r15\n\tsubq $128, %%rsp\n\tandq $-16, %%rsp\n\tcall *%%rax\n\tmovq %%r15, %%rsp"
			 : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+a"(fn), "+D"(arg)
			 :
			 : CLOBBERED);
	memcpy(kept, ((uint64_t[]){ a, b, c, d }), sizeof(kept));
}

#elif defined(__aarch64__)
#define KEPT 12
#define CLOBBERED \
	"x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", \
		"x30", "memory", "cc", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d16", "d17", "d18", "d19", \
		"d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28", "d29", "d30", "d31"

static uint64_t kept[KEPT];

static NOINLINE void call_with(void (*fn)(void *), void *arg, const uint64_t before[KEPT])
{
	register uint64_t a __asm__("x19") = before[0], b __asm__("x20") = before[1], c __asm__("x21") = before[2];
	register uint64_t d __asm__("x22") = before[3], e __asm__("x23") = before[4], f __asm__("x24") = before[5];
	register uint64_t g __asm__("d8") = before[6], h __asm__("d9") = before[7], i __asm__("d10") = before[8];
	register uint64_t j __asm__("d11") = before[9], k __asm__("d14") = before[10], l __asm__("d15") = before[11];
	register void *x0 __asm__("x0") = arg;

	__asm__ volatile("blr %[fn]"
			 : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+w"(g), "+w"(h), "+w"(i), "+w"(j),
			 "+w"(k), "+w"(l), "+r"(x0)
			 : [fn] "r"(fn)
			 : CLOBBERED);
	memcpy(kept, ((uint64_t[]){ a, b, c, d, e, f, g, h, i, j, k, l }), sizeof(kept));
}
#endif

#ifdef KEPT
/* Called through a pointer, so that the compiler keeps nothing in registers that it sees the callee leave alone. */
static void (*volatile caller)(void (*fn)(void *), void *arg, const uint64_t before[KEPT]) = call_with;

static void suspend_call(void *arg)
{
	(void)arg;
	suspend();
}

static void resume_call(void *arg)
{
	fiber_resume(arg);
}

static void start_call(void *arg)
{
	struct fiber **f = arg;

	CHECK(fiber_start(pool, 0, "kept", suspend_call, NULL, f) == 0);
}

static void call_and_compare(void (*fn)(void *), void *arg, uint64_t seed)
{
	uint64_t before[KEPT];

	for (unsigned i = 0; i < KEPT; i++)
		before[i] = (seed + i) * UINT64_C(0x9e3779b97f4a7c15);
	caller(fn, arg, before);
	CHECK(memcmp(before, kept, sizeof(before)) == 0);
}

static void keep_registers(void *arg)
{
	for (unsigned i = 0; i < 5; i++)
		call_and_compare(suspend_call, NULL, *(uint64_t *)arg + i * 100);
}

START_TEST(registers_are_kept)
{
	uint64_t seeds[2] = { 1, 1000 };
	struct fiber *f, *g, *h;

	pool_begin(0, 3, 3);
	f = begin(0, keep_registers, &seeds[0]);
	g = begin(0, keep_registers, &seeds[1]);
	for (unsigned i = 0; i < 5; i++) {
		call_and_compare(resume_call, f, i + 5000);
		call_and_compare(resume_call, g, i + 6000);
	}
	call_and_compare(start_call, &h, 7000);
	call_and_compare(resume_call, h, 8000);
	pool_end();
}
END_TEST
#endif

static double third(void)
{
	volatile double one = 1.0, three = 3.0;

	return one / three;
}

/* The mode is really in force, for SSE as for the x87 (long double). */
static bool rounds(int mode)
{
	volatile long double one = 1.0L, three = 3.0L;
	volatile long double up = one / three * three;
	bool upward = third() > 0.3333333333333333148 && up >= 1.0L;

	if (RUNNING_ON_VALGRIND) /* it divides as if there were one mode */
		return fegetround() == mode;
	return fegetround() == mode && upward == (mode == FE_UPWARD);
}

static void set_rounding(void *arg)
{
	int mode = *(int *)arg;

	CHECK(fegetround() == FE_TONEAREST);
	fesetround(mode);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(rounds(mode));
		suspend();
	}
	CHECK(rounds(mode));
}

START_TEST(each_fiber_keeps_its_floating_point_mode_and_the_thread_its_own)
{
	int up = FE_UPWARD, down = FE_DOWNWARD;
	struct fiber *f, *g;

	pool_begin(0, 2, 2);
	f = begin(0, set_rounding, &up);
	ck_assert(rounds(FE_TONEAREST));
	g = begin(0, set_rounding, &down);
	for (unsigned i = 0; i < 3; i++) {
		fiber_resume(f);
		ck_assert(rounds(FE_TONEAREST));
		fiber_resume(g);
		ck_assert(rounds(FE_TONEAREST));
	}
	pool_end();
}
END_TEST

/* ---- a backtrace ------------------------------------------------------------------------------------------------- */

#ifndef FIBER_UCONTEXT /* there it ends as the C library has it */
static NOINLINE void frames_end(void *arg)
{
	void **frame = __builtin_frame_address(0), *low, *high;
	void *pcs[32];
	unsigned n = 0;

	(void)arg;
	fiber_stack_bounds(fiber_current(pool), &low, &high);
	for (; frame && n < 32; n++) {
		CHECK((void *)frame > low && (void *)frame < high);
		if (wrong)
			return;
		frame = *frame;
	}
	CHECK(n >= 2 && n < 8);
	CHECK(backtrace(pcs, 32) < 8);
}

START_TEST(a_backtrace_ends_at_the_fibers_entry)
{
	pool_begin(0, 1, 1);
	run_whole(0, frames_end, NULL);
	pool_end();
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("fiber_kept");
	TCase *kept_case = tcase_create("kept");
	SRunner *runner = srunner_create(suite);
	int failed;

#ifdef KEPT
	tcase_add_test(kept_case, registers_are_kept);
#endif
	tcase_add_test(kept_case, each_fiber_keeps_its_floating_point_mode_and_the_thread_its_own);
#ifndef FIBER_UCONTEXT
	tcase_add_test(kept_case, a_backtrace_ends_at_the_fibers_entry);
#endif
	suite_add_tcase(suite, kept_case);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
