/* loop.h: the event loop, and the seam behind which io_uring, libevent or a script does the work.  What a backend
 * itself needs is in loop_backend.h.
 *
 * The seam is completion-shaped: an operation is started, and a callback of its io says later how it ended.  The
 * contract:
 *
 *  1. Every started operation finishes exactly once (a multishot one: exactly one final completion, more == false),
 *     cancelled or not, and never inside the call that started it.  After loop_close the one sign of them all is
 *     `released`.
 *  2. A result is a byte count (or descriptor) or a negative errno.
 *  3. Bytes and iovecs handed to loop_send are the backend's until `sent`, also across loop_close.  A receive buffer
 *     is the receiver's from `received` until loop_lend_back.
 *  4. A loop_io's memory is the backend's from the first operation until `released`, which loop_close brings about once
 *     every operation has finished, and fd is lent to nobody.  Nothing is called for an io after that.
 *  5. Timers live above the seam: one wheel, one deadline passed to wait.  Other threads may call wake alone.
 *  6. Everything else is called on the loop's thread only.
 *
 * Rule 4 is why an operation can be known by the address of its io: there is no stale completion to guard against.
 * Descriptors are stream sockets in blocking mode (io_uring fails at once on a non-blocking one; libevent passes
 * MSG_DONTWAIT).  A listener's mode is set by loop_accept, a connecting socket's by loop_connect.
 *
 * A client of a shared listener is taken by whichever loop comes first: one that is busy, or stuck, keeps nobody.  With
 * `exclusive` a backend may let the kernel wake one of them only, and that one keeps its client while it is busy, until
 * another comes by, or is made to look by ending its accept and starting it anew.
 */
#ifndef OL_LOOP_H
#define OL_LOOP_H

#include "base/checked.h"
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
	/* fd is a new connection (the callee's, CLOEXEC) or a negative errno.  more == false: accepting has ended, also
	 * with the connection that loop_accept_one was for.
	 * -EMFILE, -ENFILE, -ENOBUFS or -ENOMEM with more == true: the tables are full.  Accepting rests for 100 ms, or
	 * until the loop closes a descriptor, and goes on by itself; said once, and again only after an accept has
	 * succeeded. */
	void (*accepted)(struct loop_io *io, int fd, bool more);
	/* res > 0: buf holds res bytes and is the callee's until lent back.  0: the peer's FIN (more == false).  Below
	 * 0: an errno (more == false); -ECANCELED after loop_recv_stop.  buf is NULL when res <= 0. */
	void (*received)(struct loop_io *io, int res, const struct loop_buf *buf, bool more);
	void (*sent)(struct loop_io *io, int res);          /* bytes sent, perhaps fewer than asked; or errno */
	void (*hung_up)(struct loop_io *io, int res);       /* poll events (POLLRDHUP, POLLHUP, POLLERR); or errno */
	void (*connected)(struct loop_io *io, int res);     /* 0 or errno */
	void (*released)(struct loop_io *io);               /* the memory is the owner's again; fd is closed */
};

enum { LOOP_ACCEPT = 1, LOOP_RECV = 2, LOOP_SEND = 4, LOOP_HUP = 8, LOOP_CONNECT = 16 };

/* A descriptor the loop works for, embedded in its owner, aligned to 16. */
struct loop_io {
	_Alignas(16) struct loop *loop;
	const struct loop_io_ops *ops;
	int fd;
	uint8_t armed;          /* LOOP_* of the operations that have not finished */
	uint8_t stopping;       /* LOOP_* of those that were asked to end */
	uint8_t inflight;       /* completions that are still to come from the backend */
	bool closing;
	bool one;               /* accepting ends with a connection */
	bool shared;            /* a listener that other loops or processes accept from, too; set before loop_accept */
	bool exclusive;         /* and somebody looks after clients whom nobody takes; as shared */
	bool lent;              /* another thread may use fd: loop_lend */
	void *backend;          /* the backend's own */
	struct list node;       /* the loop's: starved for buffers, accepting rests, or something is due */
};

/* Work for a loop, from any thread; embedded in its owner, which must keep it until fn has been called. */
struct loop_msg {
	struct loop_msg *next;
	void (*fn)(struct loop_msg *m);
};

struct loop_backend;

#define LOOP_LAGS 14
extern const uint64_t loop_lag_ns[LOOP_LAGS];   /* upper bounds; the last is NEVER */

/* Backends embed this as their first member. */
struct loop {
	const struct loop_backend *backend;
	uint64_t now_ns;                        /* read once after each wait; loop_clock reads it anew */
	uint64_t heard_ns;                      /* what the last wait told of has not come before this */
	struct wheel wheel;
	struct loop_msg *todo;                  /* messages taken from the inbox, in order, not yet run */
	void (*before_wait)(struct loop *l);    /* set by the owner; may be NULL: hand over what was collected */
	void *owner;
	bool stopping;
	bool table_full;                        /* accepted() has been told, and no accept has succeeded since */
	unsigned bufs_free;                     /* receive buffers the backend could fill */
	struct list starved;                    /* ios that found no receive buffer, in that order */
	struct list resting;                    /* ios whose accepting rests until rest_ns */
	struct list due;                        /* ios to be released, or whose waiting operation was stopped */
	uint64_t rest_ns;
	uint64_t mark_ns;                       /* when the last wait ended */
	struct {
		_Atomic uint64_t turns;
		_Atomic uint64_t wakes;         /* sleeps that a message ended */
		_Atomic uint64_t starved;       /* times a receive found no buffer */
		_Atomic uint64_t busy_ns;
		_Atomic uint64_t idle_ns;       /* in wait, what the kernel did there for us included */
		_Atomic uint64_t since;         /* when the present wait (odd) or work (even) began, in ns; not exact */
		_Atomic uint64_t lag[LOOP_LAGS];/* turns by how long they worked: what becomes ready waits that long */
	} count;                                /* written by the loop's thread, read by any */
	/* A Treiber stack: NULL, LOOP_ARMED while the loop may sleep, or the newest message. */
	_Alignas(64) _Atomic(struct loop_msg *) inbox;
};

struct loop_conf {
	unsigned recv_bufs;     /* receive buffers to start with; 0: 64 */
	unsigned recv_bufs_max; /* doubling up to; 0: 1024; at most 32768 */
	unsigned recv_buf_size; /* bytes each; 0: 4096 */
};

/* One of the backends; conf may be NULL, and stage too.  NULL with errno and, for loop_new_uring, the stage that failed
 * in *stage (a static string).  May be called on another thread than the one that will run the loop; io_uring then
 * takes at most 256 operations before the first turn (-EAGAIN). */
struct loop *loop_new_uring(const struct loop_conf *conf, const char **stage);
struct loop *loop_new_event(const struct loop_conf *conf);

/* io_uring as offloop needs it: set up, features, buffer rings, and a message sent to itself.  0, or a negative errno
 * with the stage that failed. */
CHECKED int loop_probe_uring(const char **stage);

/* Every io must have been released, and no thread may still be inside loop_post.  Takes NULL.  The loop need not have
 * run; not while it runs.  Messages that were not run are forgotten: loop_run_late first. */
void loop_free(struct loop *l);

/* Runs, on the calling thread, the messages that came after the loop had ended, so that what they own is given back. */
void loop_run_late(struct loop *l);

/* Runs until loop_stop: before_wait, wait, completions, messages (at most 64 a turn), timers, and so on.  The calling
 * thread is the loop's from then on.  0 after loop_stop, or the -errno of a wait that failed for good. */
CHECKED int loop_run(struct loop *l);
void loop_stop(struct loop *l);                             /* [loop] */

/* One turn of loop_run; waits until the deadline at most.  For tests and for draining. */
int loop_turn(struct loop *l, uint64_t deadline_ns);

/* Whether it waits, and what is posted has to wake it: a hint.  Any thread. */
bool loop_sleeps(const struct loop *l);

/* Hands m to the loop's thread.  Any thread.  The caller must not touch m afterwards. */
void loop_post(struct loop *l, struct loop_msg *m);

/* fd is the io's from now on. */
void loop_io_init(struct loop_io *io, struct loop *l, int fd, const struct loop_io_ops *ops);

/* Starts operations.  0, or -errno when it cannot be started (nothing will be called then): -EALREADY while the same
 * one is armed, -EBADF after loop_close, -EAGAIN or -ENOMEM.
 * Accept and recv are multishots, but for accept_one, which takes one connection from the backlog.  A send's msg and
 * what it names stay until `sent`; the address of a connect is copied.  poll_hup is one shot: a FIN, also behind unread
 * data, or a reset. */
int loop_accept(struct loop_io *io);
int loop_accept_one(struct loop_io *io);
CHECKED int loop_recv(struct loop_io *io);
CHECKED int loop_send(struct loop_io *io, const struct msghdr *msg);
int loop_poll_hup(struct loop_io *io);
CHECKED int loop_connect(struct loop_io *io, const struct sockaddr *sa, socklen_t n);

void loop_recv_stop(struct loop_io *io);                    /* `received` follows, more == false, unless it has ended */
void loop_stop_ops(struct loop_io *io, unsigned ops);       /* the same for a set of LOOP_* */
void loop_close(struct loop_io *io);                        /* cancels everything, closes fd, then `released`; once */

/* Until loop_unlend another thread may use fd: it stays open, and `released` does not come, loop_close or not. */
void loop_lend(struct loop_io *io);
void loop_unlend(struct loop_io *io);

/* Gives a receive buffer back to the backend. */
void loop_lend_back(struct loop *l, const struct loop_buf *buf);

/* How long the loop has worked and waited, the present work or wait included.  Any thread; not after loop_free. */
void loop_load(const struct loop *l, uint64_t now_ns, uint64_t *busy_ns, uint64_t *idle_ns);

/* Turns it has begun.  Any thread; exact on the loop's. */
static inline uint64_t loop_turns(const struct loop *l)
{
	/* Relaxed: the loop's thread wrote it itself, and others want a number. */
	return atomic_load_explicit(&l->count.turns, memory_order_relaxed);
}

/* The time anew, for work that has taken long since now_ns was read.  [loop] */
uint64_t loop_clock(struct loop *l);

#endif
