/* fiber_aarch64.S: the switch for aarch64 (AAPCS64 §6.1: which registers a call preserves).
 *
 * A waiting stack holds, from where its sp points: x19 to x28, x29 and x30 (the frame pointer and the address to go on
 * at), d8 to d15, and FPCR, which is loaded only where it differs, for writing it empties the pipeline of some cores.
 *
 * As on x86-64, fiber_switch leaves by an indirect jump, since a `ret` would be predicted wrong, but for programs with
 * branch target identification: a return address is no landing pad for any branch but `ret`.
 */
#include "fiber_switch.h"

#if defined(FIBER_ASM) && defined(__aarch64__)

#define FRAME 176

	.macro	save slot
	sub	sp, sp, #FRAME
	.cfi_adjust_cfa_offset FRAME
	stp	x19, x20, [sp]
	.cfi_rel_offset x19, 0
	.cfi_rel_offset x20, 8
	stp	x21, x22, [sp, #16]
	.cfi_rel_offset x21, 16
	.cfi_rel_offset x22, 24
	stp	x23, x24, [sp, #32]
	.cfi_rel_offset x23, 32
	.cfi_rel_offset x24, 40
	stp	x25, x26, [sp, #48]
	.cfi_rel_offset x25, 48
	.cfi_rel_offset x26, 56
	stp	x27, x28, [sp, #64]
	.cfi_rel_offset x27, 64
	.cfi_rel_offset x28, 72
	stp	x29, x30, [sp, #80]
	.cfi_rel_offset x29, 80
	.cfi_rel_offset x30, 88
	stp	d8, d9, [sp, #96]
	.cfi_rel_offset d8, 96
	.cfi_rel_offset d9, 104
	stp	d10, d11, [sp, #112]
	.cfi_rel_offset d10, 112
	.cfi_rel_offset d11, 120
	stp	d12, d13, [sp, #128]
	.cfi_rel_offset d12, 128
	.cfi_rel_offset d13, 136
	stp	d14, d15, [sp, #144]
	.cfi_rel_offset d14, 144
	.cfi_rel_offset d15, 152
	mrs	x9, fpcr
	str	x9, [sp, #160]
	mov	x10, sp
	str	x10, [\slot]
	.endm

/* From here to the stack at x11. */
	.macro	load
	mrs	x9, fpcr
	mov	sp, x11
	ldr	x10, [sp, #160]
	cmp	x9, x10
	b.eq	1f
	msr	fpcr, x10
1:	ldp	x19, x20, [sp]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #FRAME
	.cfi_def_cfa sp, 0
	.cfi_restore x19
	.cfi_restore x20
	.cfi_restore x21
	.cfi_restore x22
	.cfi_restore x23
	.cfi_restore x24
	.cfi_restore x25
	.cfi_restore x26
	.cfi_restore x27
	.cfi_restore x28
	.cfi_restore x29
	.cfi_restore x30
	.cfi_restore d8
	.cfi_restore d9
	.cfi_restore d10
	.cfi_restore d11
	.cfi_restore d12
	.cfi_restore d13
	.cfi_restore d14
	.cfi_restore d15
	.endm

	.text

/* void fiber_switch(struct fiber_ctx *from, const struct fiber_ctx *to) */
	.globl	fiber_switch
	.hidden	fiber_switch
	.type	fiber_switch, %function
	.balign	16
fiber_switch:
	.cfi_startproc
	hint	#34                     /* bti c */
	save	x0
	ldr	x11, [x1]
	load
#ifdef __ARM_FEATURE_BTI_DEFAULT
	ret
#else
	br	x30
#endif
	.cfi_endproc
	.size	fiber_switch, . - fiber_switch

/* void fiber_enter_asm(struct fiber_ctx *back, void *top, void (*fn)(void *), void *arg) */
	.globl	fiber_enter_asm
	.hidden	fiber_enter_asm
	.type	fiber_enter_asm, %function
	.balign	16
fiber_enter_asm:
	.cfi_startproc
	hint	#34                     /* bti c */
	save	x0
	.cfi_remember_state
	mov	sp, x1
	.cfi_undefined x30              /* a backtrace of the fiber ends here, */
	mov	x29, #0                 /* for those who follow frame pointers too */
	mov	x30, #0
	str	x0, [sp, #-16]!
	mov	x0, x3
	blr	x2
	ldr	x0, [sp]
	ldr	x11, [x0]
	.cfi_restore_state
	load
	ret
	.cfi_endproc
	.size	fiber_enter_asm, . - fiber_enter_asm

	fiber_notes 1
#else
	fiber_notes 3
#endif
