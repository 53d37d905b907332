/* fiber_x86_64.S: the switch for x86-64 (System V ABI §3.2.1: which registers a call preserves).
 *
 * A waiting stack holds, from where its sp points: MXCSR (4 bytes) and the x87 control word (2), r15, r14, r13, r12,
 * rbx, rbp, the address to go on at.  Control words are loaded without looking: asking for the present ones costs more.
 *
 * The processor predicts a `ret` from the calls it has seen, and a switch breaks those pairs: fiber_switch leaves by an
 * indirect jump, which is predicted by where it went last.  fiber_enter leaves by `ret`, for a fiber that never waits
 * comes back to the very call that entered it.
 *
 * Indirect branch tracking: the jump goes to a return address, where no endbr64 stands, so it is marked notrack, as a
 * compiler marks its switch tables.  Shadow stacks would have to be switched too; they are not, and the note says so.
 */
#include "fiber_switch.h"

#if defined(FIBER_ASM) && defined(__x86_64__)

	.macro	save slot
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r15, 0
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%rsp, \slot
	.endm

/* From here to the stack at rax. */
	.macro	load
	movq	%rax, %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbp
	.endm

	.text

/* void fiber_switch(struct fiber_ctx *from, const struct fiber_ctx *to) */
	.globl	fiber_switch
	.hidden	fiber_switch
	.type	fiber_switch, @function
	.balign	16
fiber_switch:
	.cfi_startproc
	endbr64
	save	(%rdi)
	movq	(%rsi), %rax
	load
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register rip, rcx
	notrack jmp *%rcx
	.cfi_endproc
	.size	fiber_switch, . - fiber_switch

/* void fiber_enter_asm(struct fiber_ctx *back, void *top, void (*fn)(void *), void *arg) */
	.globl	fiber_enter_asm
	.hidden	fiber_enter_asm
	.type	fiber_enter_asm, @function
	.balign	16
fiber_enter_asm:
	.cfi_startproc
	endbr64
	save	(%rdi)
	.cfi_remember_state
	movq	%rsi, %rsp
	.cfi_undefined rip              /* a backtrace of the fiber ends here, */
	xorl	%ebp, %ebp              /* for those who follow frame pointers too */
	pushq	$0
	pushq	%rdi                    /* sp is aligned to 16 again, as a call wants it */
	movq	%rcx, %rdi
	call	*%rdx
	popq	%rdi
	movq	(%rdi), %rax
	.cfi_restore_state
	load
	ret
	.cfi_endproc
	.size	fiber_enter_asm, . - fiber_enter_asm

	fiber_notes 1
#else
	fiber_notes 3
#endif
