/* conn_internal.h: a connection, as conn.c, conn_lend.c and conn_time.c (one of them) and conn_home.c (all of a loop)
 * see it. */
#ifndef OL_CONN_INTERNAL_H
#define OL_CONN_INTERNAL_H

#include "base/checked.h"
#include "conn.h"

#define CONN_OUT_IOVS 24
#define CONN_DRAIN_IDLE_NS NS_PER_S     /* a connection without a request lives on this long once draining has begun */

/* One send: what the protocol drained, until the loop has sent it.  An idle connection has none. */
struct conn_out {
	struct conn_out *next;
	struct proto_out po;
	struct msghdr msg;
	struct iovec iov[CONN_OUT_IOVS];
	struct stream *stream;          /* ends once this is sent: its reply is named by iov */
	struct body_source *source;     /* lent po.lent bytes */
	bool more;                      /* a stream's: what follows is asked for once this is sent */
	size_t left;                    /* bytes not sent yet */
	struct buf cipher;              /* what the filter made of it */
	char room[];
};

struct conn {
	struct loop_io io;
	struct conn_home *home;
	struct proto *proto;
	struct filter *filter;
	struct list node;               /* home's busy or idle; it may still be in idle while its reply is sent */
	struct timer timer;
	uint64_t deadline_ns;
	uint64_t request_ns;            /* when the present request's head came, then its end */
	uint64_t body_due_ns;           /* its body must have gone on by then */
	uint64_t stall_ns;              /* what is being sent must have got on by then */
	uint64_t span_end_ns;           /* and by then span_bytes must be enough */
	uint64_t span_bytes;
	struct slice direct;            /* received bytes that are being parsed in place; only within pump */
	struct buf in;                  /* received bytes that could not be parsed yet */
	struct buf answer;              /* what the filter has to say itself, for the next send */
	struct conn_out *out;
	struct peer peer;
	uint8_t awaits;                 /* enum awaits */
	bool used;                      /* a request has come */
	bool held_up;                   /* it was accepted after its loop had been held; before its first request */
	bool request_open;              /* its END has not come */
	bool pumping, eof, paused;
	bool refused;                   /* nothing more is fed */
	bool closing_reply, aborted;    /* the last reply has been drained; it was broken off */
	bool lingering, dead;
	struct http1 http1;
};

enum awaits { AWAIT_NOTHING, AWAIT_IDLE, AWAIT_HEAD, AWAIT_BODY, AWAIT_WRITE, AWAIT_LINGER };

static inline bool conn_sending(const struct conn *c)
{
	return c->io.armed & LOOP_SEND;
}

static inline struct stream *conn_stream(struct conn *c)
{
	return &c->http1.stream;
}

static inline struct conn *conn_of(struct stream *s)
{
	return container_of(s, struct conn, http1.stream);
}

/* ---- conn.c ------------------------------------------------------------------------------------------------------ */

/* Moves whatever can be moved, in and out. */
void conn_pump(struct conn *c);
/* Asks who it is, once there is something to say about it. */
void conn_meet(struct conn *c);
/* Closes the descriptor; `released` follows.  Harmless the second time. */
void conn_close(struct conn *c);
/* Ends the connection and what runs for it.  A reply that a send still names stays until `released`. */
void conn_abort(struct conn *c);
/* As conn_abort, and throws away what the kernel has not sent, so that a client that does not read costs nothing. */
void conn_reset(struct conn *c);

/* The reply of s has been handed to the kernel, or copied for it. */
void conn_end_stream(struct conn *c, struct stream *s);

/* ---- conn_lend.c: as in proto.h ---------------------------------------------------------------------------------- */

bool conn_lend(struct stream *s);
void conn_send_own(struct stream *s, const struct reply *r, struct arena *arena, struct own_send *o);
void conn_unlend(struct stream *s);
void conn_own_sent(struct stream *s, const struct own_send *o);

/* ---- conn_time.c ------------------------------------------------------------------------------------------------- */

void conn_timer_init(struct conn *c);
/* The connection is being closed: nothing is awaited any more. */
void conn_timer_stop(struct conn *c);
/* What is awaited next, and until when; NEVER: for as long as it takes. */
void conn_set_deadline(struct conn *c, enum awaits what, uint64_t at_ns);
/* Decides what is awaited next, and by when. */
void conn_await(struct conn *c);
/* A send has been started. */
void conn_await_write(struct conn *c);
/* The end of what the client still sends. */
void conn_await_linger(struct conn *c);
/* A body is awaited from now on; n bytes of it have come, and put its deadline off by what they may take. */
void conn_body_awaited(struct conn *c);
void conn_body_came(struct conn *c, size_t n);

/* ---- conn_home.c ------------------------------------------------------------------------------------------------- */

/* c->out, made if there is none; NULL without memory. */
CHECKED struct conn_out *conn_take_out(struct conn *c);
/* Gives c->out back, if there is one. */
void conn_drop_out(struct conn *c);
/* A zeroed connection; NULL without memory. */
CHECKED struct conn *conn_new(struct conn_home *h);
void conn_recycle(struct conn *c);

#endif
