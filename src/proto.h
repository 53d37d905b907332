/* proto.h: what stands between a connection and a request, whatever the protocol.
 *
 * Three seams meet here.  A protocol is sans-I/O: it is fed slices and says what they mean (events), and drains replies
 * into iovecs; it never reads, writes, waits or allocates an exchange.  A stream is one request and its reply on a
 * connection:  HTTP/1 has one, a multiplexed protocol many; departure, deadline and flow control belong to the stream,
 * not the connection.  A filter sits between the loop and the protocol and turns cipher into plain text and back.
 * Everything here belongs to one loop's thread, except where stated.
 */
#ifndef OL_PROTO_H
#define OL_PROTO_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/peer.h"
#include "base/slice.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ol_req;

/* ---- the head of a request --------------------------------------------------------------------------------------- */

/* Fields that the server itself looks at, or refuses in a trailer section; the rest are FIELD_OTHER. */
enum field_id { FIELD_OTHER, FIELD_HOST, FIELD_CONNECTION, FIELD_CONTENT_LENGTH, FIELD_TRANSFER_ENCODING, FIELD_EXPECT,
	FIELD_UPGRADE, FIELD_COOKIE, FIELD_CONTENT_TYPE, FIELD_TRAILER };

/* Offsets count from head.base, so that the whole head can be moved with one memcpy. */
struct head_field {
	uint32_t name, value, value_n;
	uint16_t name_n;
	uint16_t id;    /* enum field_id */
};

struct head {
	const char *base;       /* n bytes, borrowed until the next feed: a HEAD event's user copies what it keeps */
	uint32_t n;
	uint32_t target, target_n;
	uint32_t path, path_n;  /* raw, valid escapes, begins with '/' (or is "*"); dot segments still in it */
	uint32_t query, query_n;/* without '?'; query_n = 0 when there is none */
	uint32_t host, host_n;  /* authority: the target's when it is absolute, else Host's; host_n = 0: none (1.0) */
	uint16_t method_n;      /* the method's name is at offset `method_at` */
	uint32_t method_at;
	uint8_t method;         /* enum ol_method */
	uint8_t minor;          /* HTTP/1.minor */
	bool has_body;          /* BODY events may follow before END */
	bool chunked;
	bool expect_100;        /* the client may wait for a 100 before it sends the body */
	bool keep_alive;        /* the client lets the connection go on after the reply */
	bool path_plain;        /* the path has neither an escape nor a dot, so path_normalize would change nothing */
	int64_t content_length; /* -1: not known (chunked) or not given */
	uint32_t nfields;
	const struct head_field *fields;
};

static inline struct slice head_slice(const struct head *h, uint32_t at, uint32_t n)
{
	return (struct slice){ h->base + at, n };
}

/* ---- the reply --------------------------------------------------------------------------------------------------- */

struct reply_field {
	struct reply_field *next;
	struct slice name, value;
};

/* A body that is produced while it is sent.  lend: up to *n iovecs of at most `budget` bytes in all that come next; *n:
 * how many were lent.  They stay the source's until `taken`.  Returns 1 when more may follow (perhaps later: *n is 0
 * when there is nothing now; the stream's owner calls `resume` when there is), 0 when what was lent is the last, -errno
 * when the body is broken off.  Lending again without `taken` in between continues behind what was lent.  taken: bytes
 * lent before have been copied or sent, in order. */
struct body_source {
	int (*lend)(struct body_source *src, struct iovec *iov, unsigned *n, size_t budget);
	void (*taken)(struct body_source *src, size_t bytes);
};

enum body_kind { BODY_NONE, BODY_BYTES, BODY_CHAIN, BODY_PULL };

struct body_chain {
	struct body_chain *next;
	struct slice bytes;
};

/* A reply stays structured until a protocol drains it.  Everything in it is the exchange's and stays until `sent`. */
struct reply {
	int status;
	struct slice type;              /* Content-Type; n = 0: none */
	struct reply_field *fields;     /* checked when set: no CR, LF, NUL; none that framing owns */
	struct reply_field *trailers;
	enum body_kind kind;
	bool close;                     /* the connection ends after this reply */
	union {
		struct slice bytes;             /* BODY_BYTES */
		struct body_chain *chain;       /* BODY_CHAIN */
		struct body_source *source;     /* BODY_PULL: length not known */
	} body;
	uint64_t length;                /* BODY_BYTES, BODY_CHAIN */
};

/* ---- the stream -------------------------------------------------------------------------------------------------- */

struct stream;

struct own_send;

/* What a request asks of its connection.  On the loop's thread, but for send_own. */
struct stream_ops {
	void (*reply_ready)(struct stream *s);  /* s->reply is set, or its source has more to lend */
	void (*want_body)(struct stream *s);    /* the body is awaited now (100-continue), or there is room for more */
	bool (*is_sending)(const struct stream *s); /* bytes of its connection have not been taken by the kernel */
	void (*reset)(struct stream *s);        /* break the reply off; with the connection where nothing less can */
	/* The stream goes to a worker, which may send a small reply by itself: true, and until unlend the connection
	 * neither sends anything nor goes away.  False where it has something else to send, or something to add. */
	bool (*lend)(struct stream *s);
	/* On that worker, which alone may send now: hands r to the kernel, if it is small and made whole, in memory of
	 * `arena`; o says how far that went. */
	void (*send_own)(struct stream *s, const struct reply *r, struct arena *arena, struct own_send *o);
	void (*unlend)(struct stream *s);
	/* Unlent, with s->reply set, of which the worker has sent something: as reply_ready, for the rest. */
	void (*own_sent)(struct stream *s, const struct own_send *o);
};

/* What a worker has sent of its reply by itself. */
struct own_send {
	struct slice rest;      /* what the kernel has not taken; the arena's */
	size_t sent;            /* bytes that it has; 0: none, and the reply is sent as ever */
	bool close;             /* it says that the connection ends */
};

/* Only the loop's thread touches a stream, and it goes with its connection: what workers share of a request (who may
 * answer it, whether anybody still waits) is in the exchange, which outlives both. */
struct stream {
	const struct stream_ops *ops;
	struct ol_req *req;             /* the exchange; NULL when there is none */
	const struct reply *reply;      /* set when it may be drained */
	const struct peer *peer;        /* the connection's other end */
	uint32_t id;                    /* counts the requests of a connection whose stream is used again */
	bool body_paused;               /* the exchange cannot take more of the body now */
	struct hold *hold;              /* a thread that its slow client has (hold.c); NULL: none */
};

/* ---- the protocol ------------------------------------------------------------------------------------------------ */

enum proto_event_kind {
	PROTO_MORE,     /* nothing to tell; feed again with more bytes (what was not consumed comes again) */
	PROTO_BUSY,     /* no more until a reply has been drained or resume is called; the same bytes come again */
	PROTO_HEAD,     /* a request has begun: stream, head */
	PROTO_BODY,     /* stream, data: a piece of its body, decoded; points into what was fed */
	PROTO_END,      /* stream: its request is complete; head: fields holds the trailers, base what they count from.
			 * Also when its reply is over, and what was left of the body has been thrown away. */
	PROTO_REFUSE,   /* stream, status, why: answer that and close.  A stream whose request had begun may already
			 * have a req.  status 0: a reply is under way or was sent, so only close. */
};

struct proto_event {
	enum proto_event_kind kind;
	struct stream *stream;
	const struct head *head;
	struct slice data;
	int status;
	const char *why;    /* a static string */
};

#define PROTO_ROOM_MIN 64

/* Where drain puts what is to be sent.  The caller provides room and iovecs; drain fills them from niov and used on. */
struct proto_out {
	char *room;             /* for heads, framing and small bodies */
	size_t room_n, used;
	struct iovec *iov;
	unsigned niov, iov_max;
	size_t bytes;           /* in iov, all together */
	size_t lent;            /* bytes of a PULL source among them (for its `taken`, once sent) */
	bool borrowed;          /* some iovec points into the reply: it must stay until these bytes are sent */
	bool finished;          /* this stream's reply is all in iov: it ends once sent, at once when not borrowed */
	bool close;             /* the connection ends after these bytes */
	bool aborted;           /* the source broke off (finished and close are set too): close without a proper end */
	const char *date;       /* HTTP_DATE_LEN bytes */
	struct stream *stream;  /* whose bytes these are */
};

struct proto;

struct proto_ops {
	void (*fini)(struct proto *p);
	/* Consumes a prefix of `in` (also 0 bytes) and says one thing about it.  The count consumed.  What `ev` held
	 * before does not matter: its kind is always set on return, and what goes with that kind. */
	size_t (*feed)(struct proto *p, struct slice in, struct proto_event *ev);
	/* Adds what is ready to be sent, at most about `budget` bytes, of one stream.  True when something was added or
	 * finished.  Where room or iovecs run short it stops, and goes on in the next call; each call with a fresh
	 * `out` (at least one iovec and PROTO_ROOM_MIN bytes of room) gets further.  Bytes that a PULL source lent to
	 * the last call must have been taken before the next one. */
	bool (*drain)(struct proto *p, struct proto_out *out, size_t budget);
	/* The stream's body is awaited (a 100 may be due), or its source can lend again, or it can take body again. */
	void (*resume)(struct proto *p, struct stream *s);
	/* Its reply was sent, or the exchange is gone: the stream may be used for the next request. */
	void (*stream_end)(struct proto *p, struct stream *s);
	bool (*want_read)(const struct proto *p);   /* feed would not say BUSY */
	bool (*idle)(const struct proto *p);        /* between requests: no byte of one has been seen */
	/* What comes next is the stream's reply, all of it, and can be written elsewhere: p stays as it is until
	 * `written`, or until that is not to be any more. */
	bool (*can_lend)(const struct proto *p);
	/* Meanwhile, on any thread: the text of r as drain would give it; its length, or 0: it is not made whole, or
	 * longer than n.  *close: it says that the connection ends. */
	size_t (*write)(const struct proto *p, const struct reply *r, const char *date, char *dst, size_t n,
		bool *close);
	/* It stands for what drain would have given. */
	void (*written)(struct proto *p, bool close);
};

struct proto {
	const struct proto_ops *ops;
};

/* ---- the filter -------------------------------------------------------------------------------------------------- */

struct filter;

/* in: cipher text has come; plain text is appended to plain, what must be answered at once (a handshake) to out.
 * out: plain text is to be sent; cipher text is appended to out.  0, or -errno: the connection is closed. */
struct filter_ops {
	int (*in)(struct filter *f, struct slice cipher, struct buf *plain, struct buf *out);
	int (*out)(struct filter *f, const struct iovec *iov, unsigned n, struct buf *out);
	void (*fini)(struct filter *f);
};

struct filter {
	const struct filter_ops *ops;
};

#endif
