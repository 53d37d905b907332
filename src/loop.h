/* loop.h: the event loop, and the seam behind which io_uring, libevent or a script does the work.
 *
 * The seam is completion-shaped: an operation is started, and a callback of its io says later how it ended.  The contract:
 *
 *  1. Every started operation finishes exactly once (a multishot one: exactly one final completion, more == false),
 *     cancelled or not, and never inside the call that started it.  After loop_close the one sign of them all is `released`.
 *  2. A result is a byte count (or descriptor) or a negative errno.
 *  3. Bytes and iovecs handed to loop_send are the backend's until `sent`, also across loop_close.  A receive buffer is the
 *     receiver's from `received` until loop_lend_back.
 *  4. A loop_io's memory is the backend's from the first operation until `released`, which loop_close brings about once
 *     every operation has finished.  Nothing is called for an io after that.
 *  5. Timers live above the seam: one wheel, one deadline passed to wait.  wake is the only operation for other threads.
 *  6. Everything else is called on the loop's thread only.
 *
 * Rule 4 is why an operation can be known by the address of its io: there is no stale completion to guard against.
 */
#ifndef OL_LOOP_H
#define OL_LOOP_H

#include "wheel.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct loop;
struct loop_io;

/* A piece of received data: n bytes at p.  id and p are the backend's. */
struct loop_buf {
	char *p;
	uint32_t n;
	uint32_t id;
};

/* What an io's completions call, on the loop's thread.  Members for operations that are never started may be NULL. */
struct loop_io_ops {
	/* fd is a new connection (the callee's, CLOEXEC) or a negative errno.  more == false: accepting has ended. */
	void (*accepted)(struct loop_io *io, int fd, bool more);
	/* res > 0: buf holds res bytes and is the callee's until lent back.  0: the peer's FIN (more == false).  Below 0: an
	 * errno (more == false); -ECANCELED after loop_recv_stop or loop_close.  buf is NULL when res <= 0. */
	void (*received)(struct loop_io *io, int res, const struct loop_buf *buf, bool more);
	void (*sent)(struct loop_io *io, int res);          /* bytes sent, perhaps fewer than asked; or errno */
	void (*hung_up)(struct loop_io *io, int res);       /* poll events (POLLRDHUP, POLLHUP, POLLERR); or errno */
	void (*connected)(struct loop_io *io, int res);     /* 0 or errno */
	void (*released)(struct loop_io *io);               /* the memory is the owner's again; the descriptor is closed */
};

enum { LOOP_ACCEPT = 1, LOOP_RECV = 2, LOOP_SEND = 4, LOOP_HUP = 8, LOOP_CONNECT = 16 };

/* A descriptor the loop works for, embedded in its owner, aligned to 16. */
struct loop_io {
	_Alignas(16) struct loop *loop;
	const struct loop_io_ops *ops;
	int fd;
	uint8_t armed;          /* LOOP_* of the operations that have not finished */
	bool closing;
	uint16_t inflight;      /* completions that are still to come */
	void *backend;          /* the backend's own */
	struct list node;       /* the loop's: starved for buffers, or waiting to be released */
};

/* Work for a loop, from any thread; embedded in its owner, which must keep it until fn has been called. */
struct loop_msg {
	struct loop_msg *next;
	void (*fn)(struct loop_msg *m);
};

struct loop_backend {
	const char *name;
	void (*free)(struct loop *l);
	int (*accept)(struct loop *l, struct loop_io *io);
	int (*recv)(struct loop *l, struct loop_io *io);
	void (*stop)(struct loop *l, struct loop_io *io, unsigned ops);     /* cancel those LOOP_* */
	int (*send)(struct loop *l, struct loop_io *io, const struct msghdr *msg);
	int (*poll_hup)(struct loop *l, struct loop_io *io);
	int (*connect)(struct loop *l, struct loop_io *io, const struct sockaddr *sa, socklen_t n);
	void (*close)(struct loop *l, struct loop_io *io);
	void (*lend_back)(struct loop *l, uint32_t id);
	int (*wait)(struct loop *l, uint64_t deadline_ns);   /* submit what was started, wait, run completions */
	void (*wake)(struct loop *l);                        /* any thread: makes wait return */
};

/* Backends embed this as their first member. */
struct loop {
	const struct loop_backend *backend;
	uint64_t now_ns;                        /* read once after each wait; loop_clock reads it anew */
	struct wheel wheel;
	struct loop_msg *todo;                  /* messages taken from the inbox, in order, not yet run */
	void (*before_wait)(struct loop *l);    /* set by the owner; may be NULL: hand over what was collected */
	void *owner;
	bool stopping;
	struct {
		uint64_t turns, wakes, starved;
		uint64_t busy_ns, idle_ns;
	} count;
	_Alignas(64) _Atomic(struct loop_msg *) inbox; /* Treiber stack: NULL, LOOP_ARMED while the loop may sleep, or messages */
};

struct loop_conf {
	unsigned recv_bufs;     /* receive buffers to start with; 0: 64 */
	unsigned recv_bufs_max; /* doubling up to; 0: 1024 */
	unsigned recv_buf_size; /* bytes each; 0: 4096 */
};

/* One of the backends.  NULL with errno and, for loop_new_uring, the stage that failed in *stage (a static string). */
struct loop *loop_new_uring(const struct loop_conf *conf, const char **stage);
struct loop *loop_new_event(const struct loop_conf *conf);

/* io_uring as offloop needs it: set up, features, buffer rings, and a message sent to itself.  0, or a negative errno with
 * the stage that failed. */
int loop_probe_uring(const char **stage);

/* Every io must have been released.  Takes NULL.  The loop need not have run; not while it runs. */
void loop_free(struct loop *l);

/* Runs until loop_stop: completions, messages (at most 64 a turn), timers, before_wait, wait.  The calling thread is the
 * loop's from then on. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);                             /* [loop] */

/* One turn of loop_run; waits until the deadline at most.  For tests and for draining. */
int loop_turn(struct loop *l, uint64_t deadline_ns);

/* Hands m to the loop's thread.  Any thread.  The caller must not touch m afterwards. */
void loop_post(struct loop *l, struct loop_msg *m);

/* Starts operations.  0, or -errno when it cannot be started (nothing will be called then). */
void loop_io_init(struct loop_io *io, struct loop *l, int fd, const struct loop_io_ops *ops);
int loop_accept(struct loop_io *io);                        /* multishot */
int loop_recv(struct loop_io *io);                          /* multishot */
int loop_send(struct loop_io *io, const struct msghdr *msg);/* one at a time; msg and what it names stay until sent */
int loop_poll_hup(struct loop_io *io);                      /* one shot: the peer's FIN, also behind unread data, or a reset */
int loop_connect(struct loop_io *io, const struct sockaddr *sa, socklen_t n);
void loop_recv_stop(struct loop_io *io);                    /* `received` follows with more == false, unless it has ended */
void loop_stop_ops(struct loop_io *io, unsigned ops);
void loop_close(struct loop_io *io);                        /* cancels everything, closes fd, then `released`; once */
void loop_lend_back(struct loop *l, const struct loop_buf *buf);

static inline uint64_t loop_clock(struct loop *l)
{
	return l->now_ns = clock_now_ns();
}

/* For backends: an operation of io has finished.  True when its callback may be called; false after loop_close took over. */
void loop_op_started(struct loop_io *io, unsigned op);
void loop_op_done(struct loop_io *io, unsigned op);

#define LOOP_ARMED ((struct loop_msg *)1)

#endif
