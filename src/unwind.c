/* unwind.c: from a thread's registers and a copy of its stack to its frames.
 *
 * Each step outwards is taken by the first of these that can:
 *
 *   the table      exact, and the usual one: libraries have it, and so has what gcc compiles (unwind_table.c);
 *   the record     where the frame pointer is known, it points at a pair {caller's frame pointer, return address};
 *   the size       what the function takes of the stack, by its first instructions, says where its record must be;
 *                  one that is there, and tells of a call that may be of this function, is it;
 *   the search     upwards through the stack for a record, or for a return address alone.  Such a frame is probable:
 *                  an old one, left behind by a call that has returned, looks the same.  So are all beyond it, for
 *                  they were found by what it says.
 *
 * Of a sleeping thread the kernel tells neither the frame pointer nor any other register a call preserves, so the first
 * function that has one, seen from libc outwards, needs its record found, unless something below has saved it.  That
 * finds the frame next to it; all others follow from it.  In a search a record that tells of a call to another function
 * is an old one, and one whose call instruction names the function goes before those that leave it open: a function
 * with a large frame, like AddressSanitizer's read, lies on top of what many others have left behind.
 *
 * Whatever the way: a caller's frame lies above its callee's, and within the stack; the return address lies in code and
 * behind a call instruction.  So a walk ends, and ends within bounds, whatever the stack holds; what searches may look
 * at is bounded besides, for the walk as a whole.  Addresses of callers are given as the last byte of the call, for the
 * next instruction may belong to another function.
 *
 * On the thread of the monitor; the stack's own thread is not asked for anything.
 */
#include "unwind.h"

#include <string.h>

#define WORD sizeof(uintptr_t)
#define CALL_MAX 7         /* bytes of the longest call instruction we know */
#define FUNCTION_MAX 65536 /* bytes of a function that is searched for jumps, */
#define CODE_MAX 262144    /* and of all of them in one walk */
#define CHAINS_MAX 64      /* records that are weighed in one search, */
#define PLACES_MAX (2 * UNWIND_WORDS) /* and words of the stack that are looked at in all searches of a walk */

bool unwind_word(struct unwind_stack *s, uintptr_t at, uintptr_t *out)
{
	size_t i = (at - s->sp) / WORD;

	if (at < s->sp || s->high < WORD || at > s->high - WORD || at % WORD)
		return false;
	if (i < s->nwords) {
		*out = s->words[i];
		return true;
	}
	s->read_beyond |= s->asleep;
	return s->asleep && peek(s->peek, at, out, WORD) == WORD;
}

/* Where a call goes to, as far as its instruction tells; 0: it does not.  `stub`: where a stub at that place leads
 * to. */
struct target {
	uintptr_t at, stub;
};

/* ---- is it a return address? ------------------------------------------------------------------------------------- */

#if defined(__x86_64__)

#define JUMP_MAX 6
#define JUMP_STEP 1
#define FP_ALIGN 16 /* a call leaves the stack aligned to that, and the frame pointer is saved next */
#define PROLOGUE_MAX 128   /* bytes of code in which a function takes its part of the stack */
#define PROLOGUE_ALIGN 256 /* what it may be aligned to there */

/* The length of `call r/m64`, opcode FF /2, by the byte behind the opcode and the one behind that. */
static size_t indirect_length(uint8_t modrm, uint8_t sib)
{
	unsigned mod = modrm >> 6, rm = modrm & 7;

	if ((modrm >> 3 & 7) != 2)
		return 0;
	if (mod == 3)
		return 2;
	if (mod == 0 && rm == 5)
		return 6;
	if (mod == 0 && rm == 4)
		return (sib & 7) == 5 ? 7 : 3;
	return (mod == 0 ? 2 : mod == 1 ? 3 : 6) + (rm == 4);
}

/* before: the CALL_MAX bytes that end at `at`. */
static bool is_call(struct peek *p, const uint8_t *before, uintptr_t at, struct target *target)
{
	const uint8_t *op;
	int32_t distance;

	*target = (struct target){ 0, 0 };
	memcpy(&distance, before + CALL_MAX - 4, sizeof(distance));
	if (before[CALL_MAX - 5] == 0xe8) {
		target->at = at + (uintptr_t)(intptr_t)distance;
		return true;
	}
	op = before + CALL_MAX - 6;
	if (op[0] == 0xff && op[1] == 0x15) { /* call *slot(%rip): how other files are called without a stub */
		peek(p, at + (uintptr_t)(intptr_t)distance, &target->at, sizeof(target->at));
		return true;
	}
	for (size_t n = 2; n <= CALL_MAX; n++) {
		op = before + CALL_MAX - n;
		if (op[0] == 0xff && indirect_length(op[1], n > 2 ? op[2] : 0) == n)
			return true;
	}
	return false;
}

/* A linker's stub ends in `jmp *slot(%rip)`, behind an endbr64 and a bnd prefix at most. */
static void through_stub(struct peek *p, struct target *target)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	uint8_t code[11];
	size_t i = 0;
	int32_t distance;

	if (peek_constant(p, target->at, code, sizeof(code)) != sizeof(code))
		return;
	if (memcmp(code, endbr64, sizeof(endbr64)) == 0)
		i = sizeof(endbr64);
	i += code[i] == 0xf2;
	if (code[i] != 0xff || code[i + 1] != 0x25)
		return;
	memcpy(&distance, code + i + 2, sizeof(distance));
	peek(p, target->at + i + 6 + (uintptr_t)(intptr_t)distance, &target->stub, sizeof(target->stub));
}

/* Whether the JUMP_MAX bytes at `at` end in a direct jump: `jmp rel32`, or a conditional one. */
static bool is_jump(const uint8_t *op, uintptr_t at, uintptr_t *to)
{
	int32_t distance;

	if (op[1] != 0xe9 && (op[0] != 0x0f || (op[1] & 0xf0) != 0x80))
		return false;
	memcpy(&distance, op + 2, sizeof(distance));
	*to = at + JUMP_MAX + (uintptr_t)(intptr_t)distance;
	return true;
}

/* The length of an instruction that touches the page just taken, gcc's or clang's; 0: it is none. */
static size_t touch_length(const uint8_t *op)
{
	static const uint8_t orq[] = { 0x48, 0x83, 0x0c, 0x24, 0 }, movq[] = { 0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0 };

	if (memcmp(op, orq, sizeof(orq)) == 0)
		return sizeof(orq);
	return memcmp(op, movq, sizeof(movq)) == 0 ? sizeof(movq) : 0;
}

/* Whether the instruction at op sets r11 to so many bytes below the stack pointer: where a loop that takes the stack
 * page by page ends.  It is gcc's `lea -n(%rsp),%r11`, or clang's `sub $n,%r11` behind a move. */
static bool sets_limit(const uint8_t *op, size_t *bytes)
{
	static const uint8_t lea[] = { 0x4c, 0x8d, 0x9c, 0x24 }, sub[] = { 0x49, 0x81, 0xeb };
	bool by_lea = memcmp(op, lea, sizeof(lea)) == 0;
	int32_t n;

	if (!by_lea && memcmp(op, sub, sizeof(sub)) != 0)
		return false;
	memcpy(&n, op + (by_lea ? sizeof(lea) : sizeof(sub)), sizeof(n));
	*bytes = (size_t)(by_lea ? -(int64_t)n : n);
	return true;
}

/* The length of an instruction that adds a constant to the stack pointer, or aligns it; *n is that, negative where it
 * goes down; 0: it is none.  Compilers write `add $-128` where `sub $128` is longer. */
static size_t moves_stack(const uint8_t *op, bool *aligns, int32_t *n)
{
	bool wide = op[1] == 0x81;

	if (op[0] != 0x48 || (op[1] != 0x83 && !wide) || (op[2] != 0xec && op[2] != 0xc4 && op[2] != 0xe4))
		return 0;
	memcpy(n, op + 3, sizeof(*n));
	if (!wide)
		*n = (int8_t)op[3];
	*aligns = op[2] == 0xe4;
	if (op[2] == 0xec)
		*n = *n == INT32_MIN ? 0 : -*n;
	return wide ? 7 : 4;
}

/* What the stack pointer of fn lies below its frame pointer while it calls: what registers are saved in, and what is
 * taken of the stack among the first instructions: at once, or page by page, where each is touched before the next one
 * is taken (-fstack-clash-protection).  *slack: by how much more at most, since `and $-n,%rsp` aligns what is below.
 * Instructions are told by their bytes alone, which may be those of others; who asks finds a record at that place, or
 * none. */
static size_t frame_size(struct unwind_stack *s, const struct unwind_function *fn, size_t *slack)
{
	static const uint8_t at_limit[] = { 0x4c, 0x39, 0xdc }; /* cmp %r11,%rsp */
	uint8_t code[PROLOGUE_MAX + 32] = { 0 };
	size_t n = fn->high - fn->low < PROLOGUE_MAX ? fn->high - fn->low : PROLOGUE_MAX;
	size_t size = fn->saved, limit = 0;

	*slack = 0;
	if (peek_constant(s->peek, fn->low, code, n) != n)
		return size;
	for (size_t i = 0; i < n; i++) {
		bool aligns = false, in_loop;
		int32_t by = 0;
		size_t length = moves_stack(code + i, &aligns, &by), touch;

		if (sets_limit(code + i, &limit) || by >= 0)
			continue;
		if (aligns) {
			*slack = by >= -PROLOGUE_ALIGN ? (size_t)-by - 1 : *slack;
			continue;
		}
		touch = touch_length(code + i + length);
		length += touch;
		if (!touch)
			return size + (size_t)-(int64_t)by;
		in_loop = memcmp(code + i + length, at_limit, sizeof(at_limit)) == 0;
		size += in_loop ? limit : (size_t)-(int64_t)by;
		i += length - 1;
	}
	return size;
}

static uintptr_t strip(uintptr_t address)
{
	return address;
}

#elif defined(__aarch64__)

#define JUMP_MAX 4
#define JUMP_STEP 4
#define FP_ALIGN 8

static bool is_call(struct peek *p, const uint8_t *before, uintptr_t at, struct target *target)
{
	uint32_t op;

	(void)p;
	memcpy(&op, before + CALL_MAX - 4, sizeof(op));
	*target = (struct target){ 0, 0 };
	if ((op & 0xfc000000) == 0x94000000) { /* BL: 26 bits of words, signed */
		target->at = at - 4 + (uintptr_t)((int64_t)((uint64_t)op << 38) >> 36);
		return true;
	}
	return (op & 0xfffffc1f) == 0xd63f0000 || (op & 0xfefff800) == 0xd63f0800; /* BLR; BLRAA and its kin */
}

/* A linker's stub begins with `adrp x16, ...`, behind a BTI at most; where it leads to is not looked up. */
static void through_stub(struct peek *p, struct target *target)
{
	uint32_t code[2];

	if (peek_constant(p, target->at, code, sizeof(code)) == sizeof(code) &&
		((code[0] & 0x9f00001f) == 0x90000010 || (code[1] & 0x9f00001f) == 0x90000010))
		*target = (struct target){ 0, 0 };
}

/* B, and B.cond */
static bool is_jump(const uint8_t *op, uintptr_t at, uintptr_t *to)
{
	uint32_t code;

	memcpy(&code, op, sizeof(code));
	if ((code & 0xfc000000) == 0x14000000)
		*to = at + (uintptr_t)((int64_t)((uint64_t)code << 38) >> 36);
	else if ((code & 0xff000010) == 0x54000000)
		*to = at + (uintptr_t)((int64_t)((uint64_t)(code >> 5) << 45) >> 43);
	else
		return false;
	return true;
}

/* The record lies at the bottom of the frame. */
static size_t frame_size(struct unwind_stack *s, const struct unwind_function *fn, size_t *slack)
{
	(void)s;
	(void)fn;
	*slack = 0;
	return 0;
}

/* Without the signature that pointer authentication puts into the upper bits. */
static uintptr_t strip(uintptr_t address)
{
	return address & ((UINT64_C(1) << 48) - 1);
}

#else

#define JUMP_MAX 4
#define JUMP_STEP 4
#define FP_ALIGN 8

static bool is_call(struct peek *p, const uint8_t *before, uintptr_t at, struct target *target)
{
	(void)p;
	(void)before;
	(void)at;
	*target = (struct target){ 0, 0 };
	return false;
}

static void through_stub(struct peek *p, struct target *target)
{
	(void)p;
	(void)target;
}

static bool is_jump(const uint8_t *op, uintptr_t at, uintptr_t *to)
{
	(void)op;
	(void)at;
	(void)to;
	return false;
}

static size_t frame_size(struct unwind_stack *s, const struct unwind_function *fn, size_t *slack)
{
	(void)s;
	(void)fn;
	*slack = 0;
	return 0;
}

static uintptr_t strip(uintptr_t address)
{
	return address;
}

#endif

static bool is_return(struct unwind_stack *s, uintptr_t address, struct target *target)
{
	uint8_t before[CALL_MAX];

	return address > CALL_MAX && modules_is_code(s->modules, address - 1) &&
	       peek_constant(s->peek, address - CALL_MAX, before, CALL_MAX) == CALL_MAX &&
	       is_call(s->peek, before, address, target);
}

/* ---- records and the search -------------------------------------------------------------------------------------- */

/* Whether a frame pointer of that value can belong to a frame that ends above sp. */
static bool is_fp(struct unwind_stack *s, uintptr_t fp, uintptr_t sp)
{
	return fp >= sp && fp % FP_ALIGN == 0 && s->high >= 2 * WORD && fp <= s->high - 2 * WORD;
}

/* The caller's registers by the record at fp; *target as is_call's. */
static bool by_record(struct unwind_stack *s, uintptr_t fp, struct unwind_regs *r, struct target *target)
{
	uintptr_t saved, address;

	if (!is_fp(s, fp, r->sp) || !unwind_word(s, fp, &saved) || !unwind_word(s, fp + WORD, &address))
		return false;
	address = strip(address);
	if (!is_return(s, address, target))
		return false;
	*r = (struct unwind_regs){ .pc = address, .sp = fp + 2 * WORD, .fp = { saved, true } };
	return true;
}

enum calls { NO, MAYBE, YES };

/* Whether the function that begins at `from` jumps into fn: its last call (a tail call), or a part that the compiler
 * has put elsewhere. */
static enum calls jumps_into(struct unwind_stack *s, uintptr_t from, const struct unwind_function *fn)
{
	struct unwind_function jumper;
	uint8_t op[JUMP_MAX];
	uintptr_t to;

	if (!unwind_function(s, from, &jumper) || jumper.high - jumper.low > FUNCTION_MAX ||
		s->code_read + (jumper.high - jumper.low) > CODE_MAX)
		return MAYBE;
	s->code_read += jumper.high - jumper.low;
	for (uintptr_t at = jumper.low; at + JUMP_MAX <= jumper.high; at += JUMP_STEP)
		if (peek_constant(s->peek, at, op, sizeof(op)) == sizeof(op) && is_jump(op, at, &to) && to >= fn->low &&
			to < fn->high)
			return YES;
	return NO;
}

/* Whether that is a call of fn, through a stub or a tail call perhaps. */
static enum calls calls(struct unwind_stack *s, const struct unwind_function *fn, struct target target)
{
	if (!target.at || !fn->low)
		return MAYBE;
	if (target.at == fn->low)
		return YES;
	through_stub(s->peek, &target);
	if (!target.at || (target.stub && !modules_find(s->modules, target.stub)))
		return MAYBE;
	if (target.stub == fn->low)
		return YES;
	return jumps_into(s, target.stub ? target.stub : target.at, fn);
}

/* Whether a record at `at` leads to a record again, or is the chain's last; *caller and *target are what it tells. */
static bool is_chain(struct unwind_stack *s, uintptr_t at, struct unwind_regs *caller, struct target *target)
{
	struct unwind_regs next;
	struct target other;
	uintptr_t saved;

	if (!unwind_word(s, at, &saved) || (saved && (saved <= at || !is_fp(s, saved, at))) ||
		!by_record(s, at, caller, target))
		return false;
	next = *caller;
	return !saved || by_record(s, saved, &next, &other);
}

static uintptr_t align_up(uintptr_t at)
{
	return at + (-at & (FP_ALIGN - 1));
}

/* The caller's registers by the record of fn, which has one, where it must lie by the size of its frame. */
static bool by_size(struct unwind_stack *s, const struct unwind_function *fn, struct unwind_regs *r)
{
	size_t slack;
	uintptr_t at = align_up(r->sp + frame_size(s, fn, &slack)), end = at + slack;

	for (; at <= end; at += FP_ALIGN) {
		struct unwind_regs caller = *r;
		struct target target;

		if (is_chain(s, at, &caller, &target) && calls(s, fn, target) != NO) {
			*r = caller;
			return true;
		}
	}
	return false;
}

/* Searches for it: the lowest that tells of a call which is one of fn; failing that, which may be one; failing that,
 * the lowest. */
static bool search_record(struct unwind_stack *s, const struct unwind_function *fn, struct unwind_regs *r)
{
	uintptr_t end = s->sp + s->nwords * WORD;
	enum calls known = NO;
	struct unwind_regs best = *r;
	unsigned chains = 0;

	for (uintptr_t at = align_up(r->sp); at < end && known != YES && chains < CHAINS_MAX; at += FP_ALIGN) {
		struct unwind_regs caller = *r;
		struct target target;
		enum calls verdict;

		if (++s->places > PLACES_MAX)
			break;
		if (!is_chain(s, at, &caller, &target))
			continue;
		verdict = calls(s, fn, target);
		if (chains++ == 0 || verdict > known) {
			best = caller;
			known = verdict;
		}
	}
	*r = best;
	return chains > 0;
}

static bool search_return(struct unwind_stack *s, struct unwind_regs *r)
{
	uintptr_t end = s->sp + s->nwords * WORD, below = 0;
	struct target target;

	for (uintptr_t at = r->sp + (-r->sp & (WORD - 1)); at < end; at += WORD) {
		uintptr_t word;

		if (++s->places > PLACES_MAX || !unwind_word(s, at, &word))
			return false;
		if (is_return(s, strip(word), &target)) {
			*r = (struct unwind_regs){ .pc = strip(word), .sp = at + WORD };
			if (below > at && is_fp(s, below, at + WORD))
				r->fp = (struct unwind_reg){ below, true };
			return true;
		}
		below = word;
	}
	return false;
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

/* One frame outwards; false at the end.  *searched when it is but probable that r's function was called from there. */
static bool step(struct unwind_stack *s, bool called, struct unwind_regs *r, bool *searched)
{
	const struct module *m = modules_find(s->modules, r->pc - called);
	struct unwind_function fn = { 0 };
	enum unwind_step by_table = m ? unwind_by_table(s, m, called, r, &fn) : STEP_UNKNOWN;
	struct target target;

	*searched = false;
	if (by_table == STEP_DONE) {
		r->pc = strip(r->pc);
		return is_return(s, r->pc, &target);
	}
	if (by_table == STEP_END)
		return false;
	if (r->fp.known && by_record(s, r->fp.value, r, &target))
		return true;
	if (by_table == STEP_NEEDS_FP && by_size(s, &fn, r))
		return true;
	*searched = true;
	if (by_table == STEP_NEEDS_FP && search_record(s, &fn, r))
		return true;
	/* Where a known chain of records has ended, what lies above is no frame of ours. */
	return !(called && r->fp.known) && search_return(s, r);
}

void unwind(struct unwind_stack *s, const struct unwind_regs *regs, struct capture *out)
{
	struct unwind_regs r = *regs;
	bool searched, probable = false;

	out->frames[0] = r.pc;
	out->nframes = 1;
	out->probable = 0;
	while (out->nframes < CAPTURE_FRAMES && step(s, out->nframes > 1, &r, &searched)) {
		probable |= searched;
		out->probable |= (uint32_t)probable << out->nframes;
		out->frames[out->nframes++] = r.pc - 1;
	}
}
