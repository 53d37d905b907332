/* arena.c: memory that is freed all at once.
 *
 * An arena hands out memory by moving a pointer, and takes nothing back before arena_reset.  It starts with memory of
 * the caller's, so that a small request never sees the heap; then it takes blocks, each as large as everything before
 * it, from 4 KiB up to 64 KiB.  An allocation that no ordinary block could hold gets a block of its own, and the
 * present block stays the present one, so that its rest is not lost.
 *
 * Invariants: `at` is always aligned to 16 and lies between the start and `end` of the present block; every piece
 * handed out is a multiple of 16 bytes and at least 16, so that no two share an address.  A block's first byte belongs
 * to its header, so a piece can end where `at` is only when it is the last of the present block, or when nothing of the
 * caller's memory has been used; arena_resize_last rests on that.
 *
 * Used by one thread at a time: whoever owns the exchange.  There is no free and no destructor.
 */
#include "arena.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_MIN ((size_t)4096)
#define BLOCK_MAX ((size_t)65536)

struct arena_block {
	struct arena_block *next;
	size_t n;                       /* bytes behind the header */
	_Alignas(16) char data[];
};

static void start(struct arena *a)
{
	a->at = a->first;
	a->end = a->first_end;
	a->blocks = NULL;
	a->heap = 0;
}

void arena_init(struct arena *a, void *first, size_t n)
{
	size_t skip = -(uintptr_t)first & 15;

	a->first = a->first_end = NULL;
	if (n > skip) {
		a->first = (char *)first + skip;
		a->first_end = (char *)first + n;
	}
	start(a);
}

void arena_reset(struct arena *a)
{
	for (struct arena_block *b = a->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	start(a);
}

static struct arena_block *take_block(struct arena *a, size_t n)
{
	struct arena_block *b;

	if (n > PTRDIFF_MAX - sizeof(*b)) {
		errno = ENOMEM;
		return NULL;
	}
	b = malloc(sizeof(*b) + n);
	if (!b) {
		errno = ENOMEM;
		return NULL;
	}
	b->next = a->blocks;
	b->n = n;
	a->blocks = b;
	a->heap += sizeof(*b) + n;
	return b;
}

static size_t next_block_size(const struct arena *a)
{
	size_t n = a->heap < BLOCK_MIN ? BLOCK_MIN : a->heap > BLOCK_MAX ? BLOCK_MAX : a->heap;

	return n - sizeof(struct arena_block);
}

void *arena_grow(struct arena *a, size_t n)
{
	size_t need = arena_size(n), usual = next_block_size(a);
	struct arena_block *b;

	if (need < n) {
		errno = ENOMEM;
		return NULL;
	}
	b = take_block(a, need > usual ? need : usual);
	if (!b)
		return NULL;
	if (need <= usual) {
		a->at = b->data + need;
		a->end = b->data + b->n;
	}
	return b->data;
}

bool arena_resize_last(struct arena *a, void *p, size_t old_n, size_t n)
{
	size_t old_size = arena_size(old_n), size = arena_size(n);
	char *start_of_last = p;

	if (a->at == a->first || start_of_last + old_size != a->at)
		return false;
	if (size < n || size > (size_t)(a->end - start_of_last))
		return false;
	a->at = start_of_last + size;
	return true;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *p = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;

	if (!p) {
		errno = ENOMEM;
		return NULL;
	}
	if (n)
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

/* Most texts fit in the rest of the block, and then they are formatted once. */
char *arena_vprintf(struct arena *a, size_t *len, const char *fmt, va_list ap)
{
	size_t room = (size_t)(a->end - a->at);
	char *p, *tried = a->at;
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(tried, room, fmt, again);
	va_end(again);
	if (n < 0) {
		errno = ENOMEM;
		return NULL;
	}
	p = arena_alloc(a, (size_t)n + 1);
	if (!p)
		return NULL;
	if (p != tried)
		vsnprintf(p, (size_t)n + 1, fmt, ap);
	if (len)
		*len = (size_t)n;
	return p;
}

char *arena_printf(struct arena *a, size_t *len, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = arena_vprintf(a, len, fmt, ap);
	va_end(ap);
	return p;
}
