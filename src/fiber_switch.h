/* fiber_switch.h: from one stack to another.  Private to fiber.c and the assembler beside it.
 *
 * fiber_enter calls fn(arg) on a fresh stack and fiber_switch goes over to a stack that waits.  Whoever leaves a stack
 * leaves its registers there: those that a call preserves, and the floating-point control words.  When fn returns, its
 * stack is empty again and control goes back to where `back` says at that moment, which is whoever entered or last
 * switched to it.  So fiber_enter returns when fn has ended or first switched back.
 *
 * x86-64 and aarch64 have a few lines of assembler each; elsewhere, or with -DFIBER_UCONTEXT, it is makecontext, which
 * costs two system calls a switch.  Assembler files include this too, for FIBER_ASM and for the notes at their end. */
#ifndef OL_FIBER_SWITCH_H
#define OL_FIBER_SWITCH_H

#if !defined(FIBER_UCONTEXT) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))
#define FIBER_ASM 1
#endif

#ifdef __ASSEMBLER__

/* What the linker reads at the end of an object.  The stack need not be executable: said in every object, also an empty
 * one, since one that is silent makes the whole program's executable.  And the protections that hold for the code in it
 * (x86: 1 indirect branch tracking, 2 shadow stack; aarch64: 1 BTI, 2 PAC): a program gets those that all its objects
 * have. */
	.macro	fiber_notes features:req
	.section .note.GNU-stack, "", %progbits
#if defined(__LP64__) && (defined(__CET__) || defined(__ARM_FEATURE_BTI_DEFAULT))
	.section .note.gnu.property, "a", %note
	.balign	8
	.long	4                       /* size of the name */
	.long	16                      /* size of the one property */
	.long	5                       /* NT_GNU_PROPERTY_TYPE_0 */
	.asciz	"GNU"
#ifdef __x86_64__
	.long	0xc0000002              /* GNU_PROPERTY_X86_FEATURE_1_AND */
#else
	.long	0xc0000000              /* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
#endif
	.long	4
	.long	\features
	.long	0                       /* padding */
#endif
	.endm

#else

/* Where a stack that is not running goes on. */
#ifdef FIBER_ASM

struct fiber_ctx {
	void *sp; /* its registers lie there */
};

__attribute__((visibility("hidden"))) void fiber_enter_asm(
	struct fiber_ctx *back, void *top, void (*fn)(void *), void *arg);

/* Leaves the present stack in *from and goes on with *to. */
__attribute__((visibility("hidden"))) void fiber_switch(struct fiber_ctx *from, const struct fiber_ctx *to);

/* The stack is [low, top), top aligned to 16; *self is for the fiber to leave itself in. */
static inline void fiber_enter(
	struct fiber_ctx *back, struct fiber_ctx *self, void *low, void *top, void (*fn)(void *), void *arg)
{
	(void)self;
	(void)low;
	fiber_enter_asm(back, top, fn, arg);
}

#else

#include <stdint.h>
#include <ucontext.h>

struct fiber_ctx {
	ucontext_t uc;
};

static inline void fiber_switch(struct fiber_ctx *from, const struct fiber_ctx *to)
{
	swapcontext(&from->uc, &to->uc);
}

/* makecontext passes ints, so each pointer goes in halves. */
static inline void fiber_entry(unsigned fn_high, unsigned fn_low, unsigned arg_high, unsigned arg_low)
{
	uintptr_t fn = (uintptr_t)((uint64_t)fn_high << 32 | fn_low);
	uintptr_t arg = (uintptr_t)((uint64_t)arg_high << 32 | arg_low);

	((void (*)(void *))fn)((void *)arg);
}

static inline void fiber_enter(
	struct fiber_ctx *back, struct fiber_ctx *self, void *low, void *top, void (*fn)(void *), void *arg)
{
	uint64_t f = (uintptr_t)fn, a = (uintptr_t)arg;

	getcontext(&self->uc);
	self->uc.uc_stack.ss_sp = low;
	self->uc.uc_stack.ss_size = (size_t)((char *)top - (char *)low);
	self->uc.uc_link = &back->uc;
	makecontext(&self->uc, (void (*)(void))fiber_entry, 4, (unsigned)(f >> 32), (unsigned)f, (unsigned)(a >> 32),
		(unsigned)a);
	swapcontext(&back->uc, &self->uc);
}

#endif
#endif
#endif
