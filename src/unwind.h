/* unwind.h: from a thread's registers and a copy of its stack to its frames.  Private to capture.c. */
#ifndef OL_UNWIND_H
#define OL_UNWIND_H

#include "capture.h"
#include "modules.h"
#include "peek.h"

#define UNWIND_WORDS 8192   /* 64 KiB on machines of 64 bits */

/* What is known of a register. */
struct unwind_reg {
	uintptr_t value;
	bool known;
};

struct unwind_regs {
	uintptr_t pc, sp;
	struct unwind_reg fp;   /* the frame pointer, rbp or x29 */
	struct unwind_reg lr;   /* aarch64: where a function returns to that has not saved it yet */
};

/* The stack as it was copied: [sp, sp + nwords), of a stack that ends at high. */
struct unwind_stack {
	struct peek *peek;
	const struct modules *modules;
	uintptr_t sp, high;
	const uintptr_t *words;
	size_t nwords;
	bool asleep;                    /* so what lies above the copy may be read too; */
	bool read_beyond;               /* and was */
	size_t code_read;               /* of functions that were searched for jumps: bytes, so far; */
	size_t places;                  /* of this stack that searches have looked at, so far */
};

/* One word of the stack; false when `at` is not within it. */
CHECKED bool unwind_word(struct unwind_stack *s, uintptr_t at, uintptr_t *out);

/* Fills out->frames, nframes and probable. */
void unwind(struct unwind_stack *s, const struct unwind_regs *regs, struct capture *out);

enum unwind_step {
	STEP_DONE,      /* *r is the caller's */
	STEP_END,       /* the table says that nobody called */
	STEP_NEEDS_FP,  /* the function has a frame pointer, which is not known */
	STEP_UNKNOWN,   /* no table, or none that can be followed */
};

/* Where a function's code lies; low 0: not known. */
struct unwind_function {
	uintptr_t low, high;
	size_t saved;   /* bytes below its frame pointer that registers are saved in, as unwind_by_table knows it */
};

/* The function that pc lies in, as the table has it; false where there is none. */
CHECKED bool unwind_function(struct unwind_stack *s, uintptr_t pc, struct unwind_function *fn);

/* One frame outwards by the compiler's table (.eh_frame).  `called`: pc is a return address.  *r is as it was unless
 * DONE; *fn is the function pc lies in, as far as a table knows. */
CHECKED enum unwind_step unwind_by_table(struct unwind_stack *s, const struct module *m, bool called,
	struct unwind_regs *r, struct unwind_function *fn);

#endif
