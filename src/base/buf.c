/* buf.c: bytes that grow at the end and are consumed at the front.
 *
 * The content lies in one piece, at p + off.  Room at the end is made by moving the content to the front of the memory
 * when at least half of what is in use has been consumed, else by moving it to twice the memory; so each byte is moved
 * a constant number of times on average, however the two ends are used.  Where the end is known, the memory is made to
 * measure in a few larger steps, and never far ahead of what has come: whoever announces much and sends little holds
 * little.
 *
 * Invariant: off + n <= cap, and off is 0 when n is 0.  Memory is never given back before buf_fini; who reads much once
 * and is then idle calls that.  Used by one thread at a time.
 */
#include "buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define CAP_MIN ((size_t)256)
#define AHEAD_MIN ((size_t)2048)        /* whose end is known gets so much at once, */
#define AHEAD 8u                        /* or so many times what has come */

/* Moves the content to the start of `cap` bytes of memory, which it must fit; 0 or -ENOMEM. */
static int move(struct buf *b, size_t cap)
{
	char *p = b->off ? malloc(cap) : realloc(b->p, cap); /* of much memory realloc moves pages, not bytes */

	if (!p)
		return -ENOMEM;
	if (b->off) {
		memcpy(p, b->p + b->off, b->n);
		free(b->p);
	}
	*b = (struct buf){ .p = p, .n = b->n, .cap = cap };
	return 0;
}

/* Memory with room for n more bytes; 0 or -ENOMEM. */
static int grow(struct buf *b, size_t n)
{
	size_t cap = b->cap < CAP_MIN ? CAP_MIN : b->cap;

	if (n > PTRDIFF_MAX - b->n)
		return -ENOMEM;
	while (cap < b->n + n)
		cap *= 2;
	return move(b, cap);
}

char *buf_reserve(struct buf *b, size_t n)
{
	if (b->p && n <= b->cap - b->off - b->n)
		return b->p + b->off + b->n;
	if (b->off >= b->n && b->p && n <= b->cap - b->n) {
		memmove(b->p, b->p + b->off, b->n);
		b->off = 0;
	} else if (grow(b, n) < 0) {
		errno = ENOMEM;
		return NULL;
	}
	return b->p + b->n;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
	char *end = buf_reserve(b, n);

	if (!end)
		return -ENOMEM;
	if (n)
		memcpy(end, p, n);
	b->n += n;
	return 0;
}

int buf_append_towards(struct buf *b, const void *p, size_t n, size_t whole)
{
	size_t cap = AHEAD_MIN;

	if (n > b->cap - b->off - b->n && b->n < whole && n <= whole - b->n) {
		if (b->n + n > cap / AHEAD)
			cap = b->n + n > whole / AHEAD ? whole : (b->n + n) * AHEAD;
		if (move(b, cap < whole ? cap : whole) < 0)
			return -ENOMEM;
	}
	return buf_append(b, p, n);
}

void buf_consume(struct buf *b, size_t n)
{
	b->n -= n;
	b->off = b->n ? b->off + n : 0;
}

void buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}
