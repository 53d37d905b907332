/* arena.h: memory that is freed all at once. */
#ifndef OL_ARENA_H
#define OL_ARENA_H

#include "slice.h"
#include <stdarg.h>
#include <stddef.h>

struct arena_block;

/* Bump allocator: first the memory it was given, then blocks of the heap.  Used by one thread at a time. */
struct arena {
	char *at, *end;             /* free part of the present block */
	char *first, *first_end;    /* the caller's memory */
	struct arena_block *blocks; /* what arena_reset frees */
	size_t heap;                /* bytes taken from the heap */
};

/* Starts with n bytes at `first`, which stay the caller's (n may be 0). */
void arena_init(struct arena *a, void *first, size_t n);

/* Gives everything back; what was allocated is gone, the caller's memory is free again. */
void arena_reset(struct arena *a);

/* The path out of line: a new block. */
void *arena_grow(struct arena *a, size_t n);

/* What n bytes take: a multiple of 16, at least 16; 0 when that cannot be said in a size_t. */
static inline size_t arena_size(size_t n)
{
	return (n + (n == 0) + 15) & ~(size_t)15;
}

/* n bytes aligned to 16, not cleared; NULL with errno ENOMEM.  n = 0 gives a valid pointer. */
static inline void *arena_alloc(struct arena *a, size_t n)
{
	size_t room = (size_t)(a->end - a->at), need = arena_size(n);
	char *p = a->at;

	if (__builtin_expect(need < n || need > room, 0))
		return arena_grow(a, n);
	a->at += need;
	return p;
}

/* Lets the most recent allocation p grow or shrink to n bytes where it stands; false when it cannot. */
bool arena_resize_last(struct arena *a, void *p, size_t old_n, size_t n);

/* A NUL-terminated copy; NULL with ENOMEM. */
char *arena_strndup(struct arena *a, const char *s, size_t n);

/* Formatted, NUL-terminated; *len (may be NULL) without the NUL.  NULL with ENOMEM. */
char *arena_vprintf(struct arena *a, size_t *len, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));
char *arena_printf(struct arena *a, size_t *len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
