/* loop_backend.h: what a backend provides, and what the loop does for it.  For loop*.c and test backends only. */
#ifndef OL_LOOP_BACKEND_H
#define OL_LOOP_BACKEND_H

#include "base/counter.h"
#include "loop.h"

#define LOOP_ARMED ((struct loop_msg *)1)   /* the inbox of a loop that may sleep */

/* The operations are called with io->armed already set for the new one.  A backend that returned 0 owes its completion,
 * counted in io->inflight by the loop, and pays it with one of the loop_* functions below, from inside wait. */
struct loop_backend {
	void (*free)(struct loop *l);
	int (*accept)(struct loop *l, struct loop_io *io);
	int (*recv)(struct loop *l, struct loop_io *io);
	void (*stop)(struct loop *l, struct loop_io *io, unsigned ops);     /* cancel those LOOP_*, all in flight */
	int (*send)(struct loop *l, struct loop_io *io, const struct msghdr *msg);
	int (*poll_hup)(struct loop *l, struct loop_io *io);
	int (*connect)(struct loop *l, struct loop_io *io, const struct sockaddr *sa, socklen_t n);
	void (*close)(struct loop *l, struct loop_io *io);   /* bring inflight to 0, now or later; then fd is closed */
	void (*lend_back)(struct loop *l, uint32_t id);
	int (*wait)(struct loop *l, uint64_t deadline_ns);   /* submit, wait, run completions; 0: do not sleep */
	void (*wake)(struct loop *l);                        /* any thread: makes wait return */
	uint64_t (*clock)(struct loop *l);                   /* NULL: clock_now_ns */
};

/* Fills the common part, all zero before. */
void loop_init(struct loop *l, const struct loop_backend *backend);

/* conf with its defaults filled in and its limits kept. */
struct loop_conf loop_conf_full(const struct loop_conf *conf);

/* Sets or clears O_NONBLOCK.  Where that fails so does the operation it was for. */
void loop_set_nonblocking(int fd, bool nonblocking);

/* Completions as the kernel gives them.  more == false: the operation is not in flight any more; whether it has
 * finished for its owner too is decided here, so that every backend treats stopping, closing, full tables and empty
 * buffer rings alike.  The io is valid on return (it is released at the end of a turn), but may be closing. */
void loop_accepted(struct loop_io *io, int res, bool more);
void loop_received(struct loop_io *io, int res, const struct loop_buf *buf, bool more);
void loop_sent(struct loop_io *io, int res);
void loop_hung_up(struct loop_io *io, int res);
void loop_connected(struct loop_io *io, int res);
void loop_settled(struct loop_io *io);      /* a completion of the backend's own that it had added to io->inflight */

/* The operation is armed but not in flight: its io is starved or rests. */
static inline bool loop_parked(const struct loop_io *io)
{
	return !list_empty(&io->node);
}

/* Around the sleep in wait: the time before it, and the one read after it. */
uint64_t loop_wait_begins(struct loop *l);
void loop_wait_ended(struct loop *l, uint64_t began_ns);

#endif
