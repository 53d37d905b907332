/* buf.h: bytes that grow at the end and are consumed at the front. */
#ifndef OL_BUF_H
#define OL_BUF_H

#include "checked.h"
#include "slice.h"
#include <stddef.h>

/* Zeroed memory is an empty buf.  Bytes off..off+n of p are its content. */
struct buf {
	char *p;
	size_t off, n, cap;
};

static inline struct slice buf_slice(const struct buf *b)
{
	return (struct slice){ b->n ? b->p + b->off : NULL, b->n };
}

/* Room for n more bytes behind the content (doubling, at least 256); the place to write them, or NULL with ENOMEM.
 * Then buf_added(n) makes what was written part of the content. */
CHECKED char *buf_reserve(struct buf *b, size_t n);

static inline void buf_added(struct buf *b, size_t n)
{
	b->n += n;
}

/* 0 or -ENOMEM. */
CHECKED int buf_append(struct buf *b, const void *p, size_t n);

/* As buf_append, for a content that is to have `whole` bytes in the end: it is then moved less often, and has memory of
 * exactly `whole` bytes.  At most 2 KiB, or eight times what has come, are taken ahead of it. */
CHECKED int buf_append_towards(struct buf *b, const void *p, size_t n, size_t whole);

/* Drops the first n bytes; when none are left the memory is kept for the next content. */
void buf_consume(struct buf *b, size_t n);

/* Frees the memory; the buf is empty and can be used again. */
void buf_fini(struct buf *b);

#endif
