/* hold.h: a thread of the default pool that a slow client has, though no handler runs for it. */
#ifndef OL_HOLD_H
#define OL_HOLD_H

#include "base/checked.h"
#include <stdbool.h>

struct dispatch;
struct hold;
struct pool_job;
struct stream;

/* The client of s is awaited from now on: takes a place in the pool, and a thread when there is one.  s->hold is NULL
 * before; it stays so where the queue is full.  On the loop. */
void hold_begin(struct dispatch *d, struct stream *s);

/* No longer; s->hold is not NULL before, and is after it.  On the loop. */
void hold_end(struct dispatch *d, struct stream *s);

/* The turn's jobs are in their queues: lets those threads go whose holds have ended in it.  On the loop. */
void hold_let_go(struct dispatch *d);

/* The request of s is whole: its job, for which no place was taken, takes that of the hold in the queue, which is the
 * end of the hold.  False, and nothing is changed: the hold has its thread.  s->hold is not NULL before.  On the
 * loop. */
CHECKED bool hold_give_place(struct dispatch *d, struct stream *s, struct pool_job *job);

#endif
