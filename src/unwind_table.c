/* unwind_table.c: one frame outwards, by the table that compilers write for exceptions.
 *
 * .eh_frame says for each instruction of a function where its caller's registers are (DWARF 5 §6.4; the encoding of
 * pointers is that of the Linux Standard Base, Core §10.5).  .eh_frame_hdr holds an array sorted by address, in which
 * the function's entry (FDE) is found; the entry names a common one (CIE), and both carry a little program, which is
 * run up to the instruction in question.  Of all registers three matter here: the frame's end (CFA), the frame pointer
 * and the return address; the rest is parsed and skipped.
 *
 * Libraries are mostly built without frame pointers but with this table, so it is what leads exactly from a system call
 * in libc back to the handler that called it.
 *
 * The table is read with peek_constant: its library may be unloaded meanwhile, and a lie in it must not be followed
 * into memory that is not there.  Every loop ends with the bytes it reads, which are few and bounded.  Expressions
 * (DWARF's stack machine) are not evaluated, but for the one of the linker's stubs: such a frame is UNKNOWN.
 *
 * On the thread of the monitor only.
 */
#include "unwind.h"

#include <string.h>

#if defined(__x86_64__)
#define REG_SP_DWARF 7
#define REG_FP_DWARF 6
#define REG_RA_DWARF 16
#elif defined(__aarch64__)
#define REG_SP_DWARF 31
#define REG_FP_DWARF 29
#define REG_RA_DWARF 30
#else
#define REG_SP_DWARF (-1)
#define REG_FP_DWARF (-2)
#define REG_RA_DWARF (-3)
#endif

#define ENTRY_MAX 1024 /* bytes of an entry that are read; a long function's program is cut there */
#define REMEMBERED 8   /* depth of remember_state */
#define RECORD ((int64_t)(2 * sizeof(uintptr_t))) /* frame pointer and return address, next to the CFA */
#define SAVED_MAX 1024 /* bytes of registers that a function saves */

/* Encodings of a pointer: the low half says its size, the high one what it counts from. */
#define PE_ABS 0x00
#define PE_UDATA2 0x02
#define PE_UDATA4 0x03
#define PE_UDATA8 0x04
#define PE_SDATA2 0x0a
#define PE_SDATA4 0x0b
#define PE_SDATA8 0x0c
#define PE_PCREL 0x10
#define PE_DATAREL 0x30
#define PE_OMIT 0xff

/* Bytes being read, and the address they come from.  After the end everything is 0 and `bad` is set. */
struct reader {
	const uint8_t *p, *end;
	uintptr_t at; /* the address of p */
	bool bad;
};

struct entry {
	uint8_t bytes[ENTRY_MAX];
	struct reader body; /* behind length and id */
	uintptr_t id_at;    /* the address of the id, and */
	uint32_t id;        /* the id: 0 in a CIE; in an FDE how far back its CIE is */
	bool cut;           /* longer than ENTRY_MAX */
};

struct common {
	uint64_t code_align;
	int64_t data_align;
	uint64_t return_register;
	uint8_t encoding;
	bool augmented, is_signal;
};

enum rule_kind { SAME, AT_CFA, UNDEFINED, STRANGE };

struct rule {
	enum rule_kind kind;
	int64_t offset;
};

struct row {
	uint64_t cfa_register;
	int64_t cfa_offset;
	bool cfa_strange;
	uint8_t stub; /* the linker's stubs: they have pushed a word from this byte of their 16 on; 0: no stub */
	int64_t lowest; /* the place farthest below the CFA that a register is saved at */
	struct rule fp, ra;
};

static uint64_t take(struct reader *r, size_t n)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->p) < n) {
		r->bad = true;
		r->p = r->end;
		return 0;
	}
	memcpy(&v, r->p, n); /* both machines are little-endian */
	r->p += n;
	r->at += n;
	return v;
}

static void skip(struct reader *r, uint64_t n)
{
	if (n > (uint64_t)(r->end - r->p)) {
		r->bad = true;
		n = (uint64_t)(r->end - r->p);
	}
	r->p += n;
	r->at += n;
}

static uint64_t take_uleb(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0;; shift += 7) {
		uint64_t byte = take(r, 1);

		if (shift < 64)
			v |= (byte & 0x7f) << shift;
		if (r->bad || !(byte & 0x80))
			return v;
	}
}

static int64_t take_sleb(struct reader *r)
{
	uint64_t v = 0, byte;
	unsigned shift = 0;

	do {
		byte = take(r, 1);
		if (shift < 64)
			v |= (byte & 0x7f) << shift;
		shift += 7;
	} while (!r->bad && (byte & 0x80));
	if (shift < 64 && (byte & 0x40))
		v |= ~UINT64_C(0) << shift;
	return (int64_t)v;
}

/* data: what PE_DATAREL counts from. */
static uint64_t take_pointer(struct reader *r, uint8_t encoding, uintptr_t data)
{
	uintptr_t from = r->at;
	uint64_t v;

	switch (encoding & 0x0f) {
	case PE_ABS:
	case PE_UDATA8:
	case PE_SDATA8:
		v = take(r, 8);
		break;
	case PE_UDATA4:
		v = take(r, 4);
		break;
	case PE_SDATA4:
		v = (uint64_t)(int64_t)(int32_t)take(r, 4);
		break;
	case PE_UDATA2:
		v = take(r, 2);
		break;
	case PE_SDATA2:
		v = (uint64_t)(int64_t)(int16_t)take(r, 2);
		break;
	default:
		r->bad = true;
		return 0;
	}
	switch (encoding & 0x70) {
	case PE_ABS:
		return v;
	case PE_PCREL:
		return v + from;
	case PE_DATAREL:
		return v + data;
	default:
		r->bad = true;
		return 0;
	}
}

/* ---- finding the entry ------------------------------------------------------------------------------------------- */

/* Reads the entry at `at`. */
static bool entry_read(struct peek *p, uintptr_t at, struct entry *e)
{
	uint32_t head[2];
	size_t n;

	if (peek_constant(p, at, head, sizeof(head)) != sizeof(head) || head[0] < 4 || head[0] == UINT32_MAX)
		return false;
	n = head[0] - 4;
	e->id = head[1];
	e->id_at = at + 4;
	e->cut = n > sizeof(e->bytes);
	if (e->cut)
		n = sizeof(e->bytes);
	e->body = (struct reader){ .p = e->bytes, .end = e->bytes + n, .at = at + 8 };
	return peek_constant(p, at + 8, e->bytes, n) == n;
}

/* The address of the FDE for pc: the last in the sorted array that begins at or below it.  0 without. */
static uintptr_t entry_find(struct peek *p, const struct module *m, uintptr_t pc)
{
	struct reader r = { .at = m->unwind };
	uint8_t head[32];
	uint64_t low = 0, high;
	size_t n = peek_constant(p, m->unwind, head, sizeof(head));
	uint8_t encoding;
	int32_t pair[2];

	r.p = head;
	r.end = head + n;
	if (take(&r, 1) != 1)
		return 0;
	encoding = (uint8_t)take(&r, 1);
	if (take(&r, 2) != (PE_UDATA4 | (PE_DATAREL | PE_SDATA4) << 8) || encoding == PE_OMIT)
		return 0;
	take_pointer(&r, encoding, m->unwind);
	high = take(&r, 4);
	if (r.bad || high > (m->high - m->unwind) / sizeof(pair))
		return 0;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (peek_constant(p, r.at + middle * sizeof(pair), pair, sizeof(pair)) != sizeof(pair))
			return 0;
		if (m->unwind + (uintptr_t)(intptr_t)pair[0] <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || peek_constant(p, r.at + (low - 1) * sizeof(pair), pair, sizeof(pair)) != sizeof(pair))
		return 0;
	return m->unwind + (uintptr_t)(intptr_t)pair[1];
}

/* The head of a CIE; what remains in e->body is its program. */
static bool common_read(struct entry *e, struct common *common)
{
	struct reader *r = &e->body;
	char augmentation[8];
	size_t n = 0;
	uint8_t version = (uint8_t)take(r, 1);
	uint64_t length;

	*common = (struct common){ .encoding = PE_ABS };
	do {
		augmentation[n] = (char)take(r, 1);
	} while (augmentation[n] && ++n < sizeof(augmentation));
	if (e->id != 0 || (version != 1 && version != 3) || n == sizeof(augmentation))
		return false;
	common->code_align = take_uleb(r);
	common->data_align = take_sleb(r);
	common->return_register = version == 1 ? take(r, 1) : take_uleb(r);
	common->augmented = augmentation[0] == 'z';
	if (!common->augmented)
		return augmentation[0] == '\0' && !r->bad;
	length = take_uleb(r);
	if (r->bad || length > (uint64_t)(r->end - r->p))
		return false;
	struct reader rest = { .p = r->p, .end = r->p + length, .at = r->at };
	skip(r, length);
	for (const char *a = augmentation + 1; *a; a++) {
		if (*a == 'R')
			common->encoding = (uint8_t)take(&rest, 1);
		else if (*a == 'L')
			take(&rest, 1);
		else if (*a == 'P')
			take_pointer(&rest, (uint8_t)take(&rest, 1), 0);
		else if (*a == 'S')
			common->is_signal = true;
		else if (*a != 'B')
			return false;
	}
	return !rest.bad;
}

/* ---- running the program ----------------------------------------------------------------------------------------- */

struct run {
	const struct common *common;
	struct row now, first, remembered[REMEMBERED]; /* first: what the CIE's program left */
	unsigned nremembered;
	uint64_t place, wanted; /* both from the function's beginning */
};

static void set_rule(struct row *row, uint64_t reg, enum rule_kind kind, int64_t offset)
{
	if (kind == AT_CFA && offset < row->lowest)
		row->lowest = offset;
	if (reg == REG_FP_DWARF)
		row->fp = (struct rule){ kind, offset };
	else if (reg == REG_RA_DWARF)
		row->ra = (struct rule){ kind, offset };
}

static void restore(struct run *run, uint64_t reg)
{
	if (reg == REG_FP_DWARF)
		run->now.fp = run->first.fp;
	else if (reg == REG_RA_DWARF)
		run->now.ra = run->first.ra;
}

static void set_cfa(struct row *row, uint64_t reg, int64_t offset)
{
	row->cfa_register = reg;
	row->cfa_offset = offset;
	row->cfa_strange = false;
	row->stub = 0;
}

/* An expression.  One is known by heart: x86-64 linkers describe all their stubs at once by
 * rsp + 8 + ((rip & 15) >= literal) * 8 */
static void set_cfa_expression(struct row *row, struct reader *r)
{
	static const uint8_t stubs[] = { 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0 /* literal */, 0x2a, 0x33, 0x24, 0x22 };
	uint64_t n = take_uleb(r);
	const uint8_t *p = r->p;

	skip(r, n);
	row->cfa_strange = true;
	if (r->bad || n != sizeof(stubs) || memcmp(p, stubs, 6) != 0 || memcmp(p + 7, stubs + 7, 4) != 0 ||
		p[6] <= 0x30 || p[6] > 0x3f)
		return;
	set_cfa(row, REG_SP_DWARF, 8);
	row->stub = p[6] & 0x0f;
}

static bool remember(struct run *run)
{
	if (run->nremembered == REMEMBERED)
		return false;
	run->remembered[run->nremembered++] = run->now;
	return true;
}

static bool recall(struct run *run)
{
	if (run->nremembered == 0)
		return false;
	run->now = run->remembered[--run->nremembered];
	return true;
}

/* What the table gives in units of the CIE's.  In one that lies both may be any number, so the product wraps. */
static int64_t scaled(const struct run *run, uint64_t n)
{
	return (int64_t)(n * (uint64_t)run->common->data_align);
}

/* The instructions that name a register first. */
static bool run_on_register(struct run *run, struct reader *r, uint8_t op)
{
	uint64_t reg = take_uleb(r);

	switch (op) {
	case 0x05: /* offset_extended */
		set_rule(&run->now, reg, AT_CFA, scaled(run, take_uleb(r)));
		return true;
	case 0x11: /* offset_extended_sf */
		set_rule(&run->now, reg, AT_CFA, scaled(run, (uint64_t)take_sleb(r)));
		return true;
	case 0x06: /* restore_extended */
		restore(run, reg);
		return true;
	case 0x07: /* undefined */
		set_rule(&run->now, reg, UNDEFINED, 0);
		return true;
	case 0x08: /* same_value */
		set_rule(&run->now, reg, SAME, 0);
		return true;
	case 0x09: /* register */
	case 0x14: /* val_offset */
	case 0x15: /* val_offset_sf */
		take_uleb(r);
		set_rule(&run->now, reg, STRANGE, 0);
		return true;
	case 0x10: /* expression */
	case 0x16: /* val_expression */
		skip(r, take_uleb(r));
		set_rule(&run->now, reg, STRANGE, 0);
		return true;
	case 0x0c: /* def_cfa */
		set_cfa(&run->now, reg, (int64_t)take_uleb(r));
		return true;
	case 0x12: /* def_cfa_sf */
		set_cfa(&run->now, reg, scaled(run, (uint64_t)take_sleb(r)));
		return true;
	case 0x0d: /* def_cfa_register */
		run->now.cfa_register = reg;
		return true;
	default:
		return false;
	}
}

/* One instruction; false for one that is not known. */
static bool run_one(struct run *run, struct reader *r)
{
	uint8_t op = (uint8_t)take(r, 1), low = op & 0x3f;
	uint64_t code_align = run->common->code_align;

	switch (op & 0xc0) {
	case 0x40: /* advance_loc */
		run->place += low * code_align;
		return true;
	case 0x80: /* offset */
		set_rule(&run->now, low, AT_CFA, scaled(run, take_uleb(r)));
		return true;
	case 0xc0: /* restore */
		restore(run, low);
		return true;
	}
	switch (op) {
	case 0x00: /* nop */
	case 0x2d: /* aarch64: the return address is signed from here on, or no longer; it is stripped in any case */
		return true;
	case 0x02: /* advance_loc1, 2, 4 */
		run->place += take(r, 1) * code_align;
		return true;
	case 0x03:
		run->place += take(r, 2) * code_align;
		return true;
	case 0x04:
		run->place += take(r, 4) * code_align;
		return true;
	case 0x0a: /* remember_state */
		return remember(run);
	case 0x0b: /* restore_state */
		return recall(run);
	case 0x0e: /* def_cfa_offset */
		run->now.cfa_offset = (int64_t)take_uleb(r);
		return true;
	case 0x13: /* def_cfa_offset_sf */
		run->now.cfa_offset = scaled(run, (uint64_t)take_sleb(r));
		return true;
	case 0x0f: /* def_cfa_expression */
		set_cfa_expression(&run->now, r);
		return true;
	case 0x2e: /* GNU_args_size */
		take_uleb(r);
		return true;
	default:
		return run_on_register(run, r, op);
	}
}

/* Runs until the row for run->wanted is there: advancing beyond that place changes the place alone. */
static bool run_program(struct run *run, struct entry *e)
{
	struct reader *r = &e->body;

	while (r->p < r->end) {
		if (!run_one(run, r) || r->bad)
			return false;
		if (run->place > run->wanted)
			return true;
	}
	return !e->cut;
}

/* What the table holds for one place: the FDE, behind its head, and what its CIE says. */
struct found {
	struct entry fde, cie;
	struct common common;
	struct unwind_function fn;
};

static bool find(struct peek *p, const struct module *m, uintptr_t pc, struct found *f)
{
	uintptr_t at = m->unwind ? entry_find(p, m, pc) : 0;
	uint64_t length;

	if (!at || !entry_read(p, at, &f->fde) || f->fde.id == 0 || !entry_read(p, f->fde.id_at - f->fde.id, &f->cie) ||
		!common_read(&f->cie, &f->common))
		return false;
	f->fn = (struct unwind_function){ .low = take_pointer(&f->fde.body, f->common.encoding, 0) };
	length = take_pointer(&f->fde.body, f->common.encoding & 0x0f, 0);
	f->fn.high = f->fn.low + length;
	if (f->common.augmented)
		skip(&f->fde.body, take_uleb(&f->fde.body));
	return !f->fde.body.bad && pc >= f->fn.low && pc - f->fn.low < length;
}

bool unwind_function(struct unwind_stack *s, uintptr_t pc, struct unwind_function *fn)
{
	const struct module *m = modules_find(s->modules, pc);
	struct found f;

	if (!m || !find(s->peek, m, pc, &f))
		return false;
	*fn = f.fn;
	return true;
}

/* The row for pc. */
static bool find_row(struct peek *p, const struct module *m, uintptr_t pc, struct unwind_function *fn, struct row *row)
{
	struct found f;
	struct run run = { .common = &f.common, .wanted = UINT64_MAX };

	if (!find(p, m, pc, &f))
		return false;
	*fn = f.fn;
	if (f.common.is_signal || f.common.return_register != REG_RA_DWARF || !run_program(&run, &f.cie))
		return false;
	run.first = run.now;
	run.place = 0;
	run.wanted = pc - f.fn.low;
	if (!run_program(&run, &f.fde))
		return false;
	*row = run.now;
	if (row->lowest < -RECORD && row->lowest > -SAVED_MAX)
		fn->saved = (size_t)-row->lowest - RECORD;
	return true;
}

/* ---- taking the step --------------------------------------------------------------------------------------------- */

static enum unwind_step frame_end(const struct row *row, const struct unwind_regs *r, uintptr_t *cfa)
{
	if (row->cfa_strange)
		return STEP_UNKNOWN;
	if (row->cfa_register == REG_SP_DWARF)
		*cfa = r->sp + (uintptr_t)row->cfa_offset + (row->stub && (r->pc & 15) >= row->stub ? 8 : 0);
	else if (row->cfa_register != REG_FP_DWARF)
		return STEP_UNKNOWN;
	else if (!r->fp.known)
		return STEP_NEEDS_FP;
	else
		*cfa = r->fp.value + (uintptr_t)row->cfa_offset;
	return STEP_DONE;
}

static struct unwind_reg apply(struct unwind_stack *s, const struct rule *rule, uintptr_t cfa, struct unwind_reg same)
{
	struct unwind_reg out = { 0, false };

	if (rule->kind == SAME)
		return same;
	if (rule->kind == AT_CFA)
		out.known = unwind_word(s, cfa + (uintptr_t)rule->offset, &out.value);
	return out;
}

enum unwind_step unwind_by_table(
	struct unwind_stack *s, const struct module *m, bool called, struct unwind_regs *r, struct unwind_function *fn)
{
	struct unwind_reg ra, fp;
	enum unwind_step step;
	struct row row;
	uintptr_t cfa;

	*fn = (struct unwind_function){ 0 };
	if (!find_row(s->peek, m, r->pc - called, fn, &row))
		return STEP_UNKNOWN;
	if (row.ra.kind == UNDEFINED)
		return STEP_END;
	step = frame_end(&row, r, &cfa);
	if (step != STEP_DONE)
		return step;
	if (cfa < r->sp || cfa > s->high || (called && cfa == r->sp))
		return STEP_UNKNOWN;
	ra = apply(s, &row.ra, cfa, r->lr);
	if (!ra.known)
		return STEP_UNKNOWN;
	fp = apply(s, &row.fp, cfa, r->fp);
	*r = (struct unwind_regs){ .pc = ra.value, .sp = cfa, .fp = fp };
	return STEP_DONE;
}
