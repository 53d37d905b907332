/* buf.c: bytes that grow at the end and are consumed at the front.
 *
 * The content lies in one piece, at p + off.  Room at the end is made by moving the content to the front of the memory
 * when at least half of what is in use has been consumed, else by moving it to twice the memory; so each byte is moved
 * a constant number of times on average, however the two ends are used.
 *
 * Invariant: off + n <= cap, and off is 0 when n is 0.  Memory is never given back before buf_fini; who reads much once
 * and is then idle calls that.  Used by one thread at a time.
 */
#include "buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define CAP_MIN ((size_t)256)

/* Moves the content to the start of new memory that has room for n more bytes; 0 or -ENOMEM. */
static int grow(struct buf *b, size_t n)
{
	size_t cap = b->cap < CAP_MIN ? CAP_MIN : b->cap;
	char *p;

	if (n > PTRDIFF_MAX - b->n)
		return -ENOMEM;
	while (cap < b->n + n)
		cap *= 2;
	p = malloc(cap);
	if (!p)
		return -ENOMEM;
	if (b->n)
		memcpy(p, b->p + b->off, b->n);
	free(b->p);
	*b = (struct buf){ .p = p, .n = b->n, .cap = cap };
	return 0;
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
