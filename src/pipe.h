/* pipe.h: a bounded stream of bytes between a loop and a handler, in either direction and either lane. */
#ifndef OL_PIPE_H
#define OL_PIPE_H

#include "base/checked.h"
#include "base/slice.h"
#include "park.h"
#include "proto.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define PIPE_HIGH ((size_t)64 * 1024)   /* a writer waits from here on */
#define PIPE_LOW (PIPE_HIGH / 2)        /* and goes on below this */

struct pipe_block;

/* One end is the loop, which never waits; the other the handler, on a fiber or a thread, which does. */
struct pipe {
	struct body_source source;              /* a reply's body: the loop lends from the pipe */
	pthread_mutex_t lock;                   /* guards what follows, down to `waiting` */
	struct pipe_block *head, *tail;
	size_t bytes;                           /* in the blocks */
	size_t lent;                            /* of these, lent to the protocol */
	uint64_t total;                         /* taken so far */
	bool asked;                             /* the loop need not be told that a first byte is awaited */
	bool ended;                             /* the writer has said its last */
	int error;                              /* broken: what the other side gets */
	bool told;                              /* the loop knows that there is something to do, or will soon */
	bool posted;                            /* msg is on its way: the pipe must stay until `ready` was called */
	struct pipe_block *filling;             /* the last block, while the handler fills it */
	bool held;                              /* the handler is in the midst of something */
	bool left;                              /* the handler has gone away until there is room */
	struct park *waiting;                   /* the handler's, while it waits */
	uint64_t moved_ns;                      /* loop: when bytes were last taken */
	void *owner;                            /* the exchange it belongs to */
	struct loop *loop;
	struct loop_msg msg;                    /* from the handler's side to the loop's */
	void (*ready)(struct pipe *p);          /* on the loop: there is something to lend, or room again */
	void (*refill)(struct pipe *p);         /* on the loop: there is room for a handler that has left, or an end */
};

/* ready is called on the loop l, once for each time that there is something for it to do. */
void pipe_init(struct pipe *p, struct loop *l, void *owner, void (*ready)(struct pipe *p));
/* No side may be inside, nor a message on its way (posted). */
void pipe_fini(struct pipe *p);

/* ---- the handler's side ------------------------------------------------------------------------------------------ */

/* Writes all n bytes, waiting on w while the pipe is full.  0; the error that broke the pipe; -ENOMEM. */
CHECKED int pipe_write(struct pipe *p, struct park *w, const void *src, size_t n);
/* The same for n pieces. */
CHECKED int pipe_writev(struct pipe *p, struct park *w, const struct slice *pieces, unsigned n);

/* From pipe_hold to pipe_tell nothing is put between what is written (pipe_interject), and the loop is told of it only
 * at the end, or when the handler has to wait.  pipe_tell alone has the loop look, though there may be nothing. */
void pipe_hold(struct pipe *p);
void pipe_tell(struct pipe *p);

/* Room to be filled, at least 4 KiB: its size.  Waits on w while the pipe is full.  The error that broke the pipe;
 * -ENOMEM.  pipe_added follows, with the bytes put there (0: none), and nothing is written in between.
 * w is NULL: does not wait.  -EAGAIN: full, and the handler's side must not touch the pipe again before p->refill has
 * been called, on the loop: once, when there is room or the pipe has ended.  That may happen before this returns. */
CHECKED ssize_t pipe_reserve(struct pipe *p, struct park *w, void **room);
void pipe_added(struct pipe *p, size_t n);

/* At least one byte, at most n; 0 at the end; the error that broke the pipe.  Waits on w. */
CHECKED ssize_t pipe_read(struct pipe *p, struct park *w, void *dst, size_t n);

/* ---- the loop's side --------------------------------------------------------------------------------------------- */

/* Adds what has come, whatever the level: 0 or -ENOMEM.  *full: the pipe is above its high mark; `ready` says when it
 * no longer is. */
CHECKED int pipe_push(struct pipe *p, const void *src, size_t n, bool *full);

/* Adds text if nothing is in the pipe, nothing held, and it has not ended: whether it did.  The caller then sees to it
 * that it is lent. */
CHECKED bool pipe_interject(struct pipe *p, struct slice text);

/* No more will come; error 0 for a proper end, else what both sides get from now on.  Wakes the handler.  Either side's
 * thread; the first call counts: true when its end was a proper one. */
bool pipe_end(struct pipe *p, int error);

#endif
