/* test_unwind.c: a walk over a stack that was made up takes bounded time, and what it cannot know it calls probable. */
#include "base/clock.h"
#include "modules.h"
#include "peek.h"
#include "unwind.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) && defined(__linux__)

/* A function with a frame pointer that takes of the stack what `take` does, and then is at `inside`. */
#define FRAMED(name, take) \
	".type " name ", @function\n" \
	name ":\n" \
	".cfi_startproc\n" \
	"push %rbp\n" \
	".cfi_def_cfa_offset 16\n" \
	".cfi_offset 6, -16\n" \
	"mov %rsp, %rbp\n" \
	".cfi_def_cfa_register 6\n" \
	take \
	".globl " name "_inside\n" \
	name "_inside:\n" \
	"nop\n" \
	"leave\n" \
	".cfi_def_cfa 7, 8\n" \
	"ret\n" \
	".cfi_endproc\n" \
	".size " name ", .-" name "\n"

/* `framed` and its like are as compilers write them; `big` is long and jumps nowhere; `callers` calls both. */
__asm__(".text\n"
	FRAMED("framed",
	"sub $0x70, %rsp\n")
	FRAMED("framed_by_adding",
	"add $-128, %rsp\n")
	FRAMED("framed_by_pages",       /* gcc's -fstack-clash-protection */
	"sub $0x1000, %rsp\n"
	"orq $0, (%rsp)\n"
	"sub $0x1000, %rsp\n"
	"orq $0, (%rsp)\n"
	"sub $0x70, %rsp\n")
	FRAMED("framed_by_clang",
	"sub $0xfc0, %rsp\n"
	"movq $0, (%rsp)\n"
	"sub $0x1000, %rsp\n"
	"movq $0, (%rsp)\n"
	"sub $0x800, %rsp\n")
	FRAMED("framed_in_a_loop",      /* gcc's where there are many pages */
	"lea -0x6000(%rsp), %r11\n"
	"1: sub $0x1000, %rsp\n"
	"orq $0, (%rsp)\n"
	"cmp %r11, %rsp\n"
	"jne 1b\n"
	"sub $0x20, %rsp\n")
	FRAMED("framed_in_a_clang_loop",
	"mov %rsp, %r11\n"
	"sub $0x8000, %r11\n"
	"1: sub $0x1000, %rsp\n"
	"movq $0, (%rsp)\n"
	"cmp %r11, %rsp\n"
	"jne 1b\n"
	"sub $0x30, %rsp\n")
	".type big, @function\n"
	"big:\n"
	".cfi_startproc\n"
	".fill 60000, 1, 0x90\n"
	"ret\n"
	".cfi_endproc\n"
	".size big, .-big\n"
	".type callers, @function\n"
	"callers:\n"
	".cfi_startproc\n"
	".cfi_def_cfa 6, 16\n"
	".cfi_offset 6, -16\n"
	"call big\n"
	".globl after_big\n"
	"after_big:\n"
	"call framed\n"
	".globl after_framed\n"
	"after_framed:\n"
	"call *%rax\n"
	".globl after_pointer\n"
	"after_pointer:\n"
	"ret\n"
	".cfi_endproc\n"
	".size callers, .-callers\n"
	".type lying, @function\n"      /* by offsets that are no offsets, whatever they are multiplied by */
	"lying:\n"
	".cfi_startproc\n"
	".cfi_escape 0x05, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f\n" /* offset_extended */
	".cfi_escape 0x13, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x3f\n"    /* def_cfa_offset_sf */
	"nop\n"
	".globl lying_inside\n"
	"lying_inside:\n"
	"nop\n"
	"ret\n"
	".cfi_endproc\n"
	".size lying, .-lying\n");

extern const char framed_inside[], framed_by_adding_inside[], framed_by_pages_inside[], framed_by_clang_inside[],
	framed_in_a_loop_inside[], framed_in_a_clang_loop_inside[], lying_inside[];
extern const char after_big[], after_framed[], after_pointer[];

#define FRAME 0x70

static uintptr_t words[UNWIND_WORDS] __attribute__((aligned(16)));
static struct modules *modules;
static struct peek *peeking;

static void setup(void)
{
	modules = modules_new();
	peeking = peek_new();
	ck_assert(modules && peeking);
	memset(words, 0, sizeof(words));
}

static void teardown(void)
{
	modules_free(modules);
	peek_free(peeking);
}

/* A record at word i, of a call that returns there, whose caller has its own at word `next`; 0: it is the last. */
static void put_record(size_t i, const char *returns_to, size_t next)
{
	words[i] = next ? (uintptr_t)&words[next] : 0;
	words[i + 1] = (uintptr_t)returns_to;
}

/* So that nothing that a walk forgets to set is 0 by chance. */
__attribute__((noinline)) static void litter_the_stack(void)
{
	volatile unsigned char room[16384];

	for (size_t i = 0; i < sizeof(room); i++)
		room[i] = 0x5a;
}

/* Walks from there, below which the stack begins. */
static void walk_from(const char *inside, struct capture *out)
{
	struct unwind_stack s = { .peek = peeking, .modules = modules, .sp = (uintptr_t)words,
		.high = (uintptr_t)(words + UNWIND_WORDS), .words = words, .nwords = UNWIND_WORDS };
	struct unwind_regs r = { .pc = (uintptr_t)inside, .sp = (uintptr_t)words };

	memset(out, 0, sizeof(*out));
	litter_the_stack();
	unwind(&s, &r, out);
	ck_assert_uint_ge(out->nframes, 1);
	ck_assert_uint_eq(out->frames[0], r.pc);
}

static void walk(struct capture *out)
{
	walk_from(framed_inside, out);
}

static bool first_caller_is(const struct capture *c, const char *returns_to, bool probable)
{
	return c->nframes > 1 && c->frames[1] == (uintptr_t)returns_to - 1 && capture_is_probable(c, 1) == probable;
}

START_TEST(a_record_is_found_by_the_size_of_its_frame)
{
	struct capture c;

	put_record(4, after_pointer, 30);       /* left behind: it may be the one, too, and comes first */
	put_record(6, after_framed, 30);        /* and one that even names the function */
	put_record(FRAME / 8, after_pointer, 30);
	put_record(30, after_big, 0);
	walk(&c);
	ck_assert(first_caller_is(&c, after_pointer, false));
	ck_assert_uint_eq(c.nframes, 3);
	ck_assert(!capture_is_probable(&c, 2));
}
END_TEST

static const struct {
	const char *inside;
	size_t frame;
} taken[] = {
	{ framed_by_adding_inside, 128 },
	{ framed_by_pages_inside, 2 * 0x1000 + 0x70 },
	{ framed_by_clang_inside, 0xfc0 + 0x1000 + 0x800 },
	{ framed_in_a_loop_inside, 0x6000 + 0x20 },
	{ framed_in_a_clang_loop_inside, 0x8000 + 0x30 },
};

START_TEST(a_record_is_found_however_its_frame_was_taken)
{
	size_t record = taken[_i].frame / 8;
	struct capture c;

	put_record(4, after_pointer, record + 16);
	put_record(record, after_pointer, record + 16);
	put_record(record - 4, after_pointer, record + 16); /* left behind, near it */
	put_record(record + 16, after_big, 0);
	walk_from(taken[_i].inside, &c);
	ck_assert(first_caller_is(&c, after_pointer, false));
	ck_assert_uint_eq(c.nframes, 3);
}
END_TEST

START_TEST(in_a_search_a_call_of_the_function_goes_before_one_that_may_be)
{
	struct capture c;

	put_record(4, after_pointer, 30);
	put_record(22, after_framed, 30);       /* more was taken of the stack than the function begins with */
	put_record(30, after_big, 0);
	walk(&c);
	ck_assert(first_caller_is(&c, after_framed, true));
}
END_TEST

START_TEST(all_beyond_a_probable_frame_is_probable)
{
	struct capture c;

	put_record(22, after_pointer, 30);
	put_record(30, after_big, 40);
	put_record(40, after_big, 0);
	walk(&c);
	ck_assert(first_caller_is(&c, after_pointer, true));
	ck_assert_uint_eq(c.nframes, 4);
	ck_assert(capture_is_probable(&c, 2) && capture_is_probable(&c, 3));
}
END_TEST

START_TEST(a_record_of_a_call_to_another_function_is_passed_over)
{
	struct capture c;

	put_record(FRAME / 8, after_big, 30);   /* where it should be, but it is an old one */
	put_record(22, after_pointer, 30);
	put_record(30, after_big, 0);
	walk(&c);
	ck_assert(first_caller_is(&c, after_pointer, true));
}
END_TEST

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Each record calls for a look through all of `big`. */
START_TEST(a_stack_full_of_old_records_takes_bounded_time)
{
	struct capture c;
	uint64_t begin_ns = cpu_ns();

	for (size_t i = 0; i + 4 < UNWIND_WORDS; i += 2)
		put_record(i, after_big, i + 2);
	walk(&c);
	ck_assert_uint_lt(cpu_ns() - begin_ns, NS_PER_S);
}
END_TEST

/* Return addresses that are no part of a record, as far as the stack reaches, and no frame's end. */
START_TEST(a_stack_full_of_return_addresses_takes_bounded_time)
{
	struct capture c;
	uint64_t begin_ns = cpu_ns();

	for (size_t i = 0; i < UNWIND_WORDS; i++)
		words[i] = (uintptr_t)after_pointer;
	walk(&c);
	ck_assert_uint_lt(cpu_ns() - begin_ns, NS_PER_S);
	ck_assert_uint_le(c.nframes, CAPTURE_FRAMES);
}
END_TEST

START_TEST(a_table_may_lie_in_its_numbers)
{
	struct capture c;

	words[8] = (uintptr_t)after_pointer;
	walk_from(lying_inside, &c);
	ck_assert(first_caller_is(&c, after_pointer, true));
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_record_is_found_by_the_size_of_its_frame);
	tcase_add_loop_test(
		tc, a_record_is_found_however_its_frame_was_taken, 0, (int)(sizeof(taken) / sizeof(taken[0])));
	tcase_add_test(tc, in_a_search_a_call_of_the_function_goes_before_one_that_may_be);
	tcase_add_test(tc, all_beyond_a_probable_frame_is_probable);
	tcase_add_test(tc, a_record_of_a_call_to_another_function_is_passed_over);
	tcase_add_test(tc, a_stack_full_of_old_records_takes_bounded_time);
	tcase_add_test(tc, a_stack_full_of_return_addresses_takes_bounded_time);
	tcase_add_test(tc, a_table_may_lie_in_its_numbers);
}

#else

/* The stacks above are made of x86-64's instructions; test_capture.c walks over real ones anywhere. */
static void add_tests(TCase *tc)
{
	(void)tc;
}

#endif

int main(void)
{
	Suite *suite = suite_create("unwind");
	TCase *tc = tcase_create("unwind");
	SRunner *runner = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
