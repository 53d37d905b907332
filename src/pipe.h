/* pipe.h: a bounded stream of bytes between a loop and a handler, in either direction and either lane. */
#ifndef OL_PIPE_H
#define OL_PIPE_H

#include "base/checked.h"
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
	struct park *waiting;                   /* the handler's, while it waits */
	void *owner;                            /* the exchange it belongs to */
	struct loop *loop;
	struct loop_msg msg;                    /* from the handler's side to the loop's */
	void (*ready)(struct pipe *p);          /* on the loop: there is something to lend, or room again */
};

/* ready is called on the loop l, once for each time that there is something for it to do. */
void pipe_init(struct pipe *p, struct loop *l, void *owner, void (*ready)(struct pipe *p));
/* No side may be inside, nor a message on its way (posted). */
void pipe_fini(struct pipe *p);

/* ---- the handler's side ------------------------------------------------------------------------------------------ */

/* Writes all n bytes, waiting on w while the pipe is full.  0; the error that broke the pipe; -ENOMEM. */
CHECKED int pipe_write(struct pipe *p, struct park *w, const void *src, size_t n);

/* At least one byte, at most n; 0 at the end; the error that broke the pipe.  Waits on w. */
CHECKED ssize_t pipe_read(struct pipe *p, struct park *w, void *dst, size_t n);

/* ---- the loop's side --------------------------------------------------------------------------------------------- */

/* Adds what has come, whatever the level: 0 or -ENOMEM.  *full: the pipe is above its high mark; `ready` says when it
 * no longer is. */
CHECKED int pipe_push(struct pipe *p, const void *src, size_t n, bool *full);

/* No more will come; error 0 for a proper end, else what both sides get from now on.  Wakes the handler.  Either side's
 * thread; the first call counts. */
void pipe_end(struct pipe *p, int error);

#endif
