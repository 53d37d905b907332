/* http1.c: one HTTP/1 connection as a state machine that is fed bytes and drained of bytes (RFC 9112 §6 to §9).
 *
 * Inward, feed walks IN_HEAD, a body by length or by chunks, IN_END, IN_DONE, and tells one event a call.  Pieces of a
 * body point into what was fed.  Heads, chunk lines and trailer sections are consumed only when they are complete, so
 * the caller keeps at most head_max bytes of them.  From HEAD on one stream is active; what follows its request waits
 * (BUSY) until stream_end, so requests are answered, and have their effects, in order.
 *
 * Outward, drain walks OUT_HEAD, OUT_BODY, OUT_LAST, OUT_DONE, and may stop after any byte for want of room, iovecs or
 * budget; `out.at` counts what has been given of the present part.  Whether the connection goes on is settled when the
 * head of the reply is begun: keep_alive only ever falls.
 *
 * A reply may be finished before its request.  What is left of the body is then read and thrown away, up to
 * discard_max, so that the connection can be kept; unless it is known to be longer, or the client still waits for a 100
 * that will not come: such replies say close.  100 Continue is sent only when resume says that the body is awaited,
 * before any of the body has come and before the final head (RFC 9110 §10.1.1).
 *
 * After a REFUSE nothing more is taken in (IN_DEAD); the only thing left to do is to drain a reply, which says close.
 *
 * A reply may also be written by another thread (write), between can_lend and written on the loop's: it reads what does
 * not change while a whole reply is awaited, and writes nothing of the connection's.
 *
 * Nothing is allocated; the loop's thread only, but for that.
 */
#include "http1.h"
#include "base/clear.h"
#include "base/list.h"
#include "offloop.h"

enum { IN_HEAD, IN_LENGTH, IN_CHUNK_LINE, IN_CHUNK, IN_CHUNK_END, IN_TRAILERS, IN_END, IN_DONE, IN_DEAD };
enum { OUT_HEAD, OUT_BODY, OUT_LAST, OUT_DONE };

#define BLANK_LINES_MAX 16  /* bytes of CRLFs before a request line (RFC 9112 §2.2) */
#define COPY_MAX 2048       /* a body up to this is copied behind its head: one iovec, and nothing stays borrowed */
#define SOURCE_IOVS 16      /* pieces taken from a PULL source at a time */

static struct http1 *of(struct proto *proto)
{
	return container_of(proto, struct http1, proto);
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- inward ------------------------------------------------------------------------------------------------------ */

static void next_request(struct http1 *p)
{
	p->state = IN_HEAD;
	p->out_state = OUT_HEAD;
	p->scanned = p->extra_bytes = 0;
	p->keep_alive = true;
	p->head_only = p->expect_100 = p->body_seen = p->chunked_out = p->discarding = false;
	p->continue_due = p->continue_sent = p->reply_begun = p->reply_done = false;
	p->out.at = 0;
	p->out.chain = NULL;
	p->stream.reply = NULL;
	p->stream.body_paused = false;
	p->stream.id++;
}

static void refuse(struct http1 *p, struct proto_event *ev, int status, const char *why)
{
	p->state = IN_DEAD;
	p->keep_alive = p->continue_due = false;
	ev->kind = PROTO_REFUSE;
	ev->status = p->reply_begun ? 0 : status;
	ev->why = why;
}

/* Takes CRLFs before a request line; the bytes consumed. */
static size_t feed_blank_lines(struct http1 *p, struct slice in)
{
	size_t n = 0;

	while (n + 1 < in.n && in.p[n] == '\r' && in.p[n + 1] == '\n')
		n += 2;
	p->extra_bytes += (uint32_t)min_size(n, BLANK_LINES_MAX + 2);
	return n;
}

static void begin_request(struct http1 *p, struct proto_event *ev)
{
	const struct head *h = &p->head;

	p->minor = h->minor;
	p->keep_alive = h->keep_alive;
	p->head_only = h->method == OL_METHOD_HEAD;
	p->expect_100 = h->expect_100;
	p->body_left = h->chunked ? 0 : h->has_body ? (uint64_t)h->content_length : 0;
	p->state = h->chunked ? IN_CHUNK_LINE : h->has_body ? IN_LENGTH : IN_END;
	p->scanned = p->extra_bytes = 0;
	ev->kind = PROTO_HEAD;
	ev->head = h;
}

static size_t feed_head(struct http1 *p, struct slice in, struct proto_event *ev)
{
	size_t blank = p->scanned ? 0 : feed_blank_lines(p, in);
	struct slice rest = { in.p + blank, in.n - blank };
	const char *why = NULL;
	ssize_t n;

	if (p->extra_bytes > BLANK_LINES_MAX) {
		refuse(p, ev, 400, "too many blank lines before a request");
		return blank;
	}
	if (rest.n == 0 || (rest.n == 1 && rest.p[0] == '\r'))
		return blank;
	n = http1_parse_head(p->conf, rest, p->scanned, &p->head, &why);
	if (n > 0) {
		begin_request(p, ev);
		return blank + (size_t)n;
	}
	p->scanned = (uint32_t)rest.n;
	if (n < 0) {
		p->minor = p->head.minor;
		p->head_only = p->head.method == OL_METHOD_HEAD;
		refuse(p, ev, (int)-n, why);
	}
	return blank;
}

/* Bytes of a body that nobody will read; 0 when there have been too many. */
static size_t discard(struct http1 *p, size_t n, struct proto_event *ev)
{
	if (n > p->discard_left) {
		refuse(p, ev, 413, "too much body left after the reply");
		return 0;
	}
	p->discard_left -= (uint32_t)n;
	return n;
}

/* Content: all that is there of the body or chunk.  Says BODY unless it is discarded. */
static size_t feed_content(struct http1 *p, struct slice in, struct proto_event *ev)
{
	size_t n = in.n < p->body_left ? in.n : (size_t)p->body_left;

	if (n == 0 || (p->discarding && discard(p, n, ev) == 0))
		return 0;
	p->body_seen = true;
	p->continue_due = false;
	p->body_left -= n;
	if (p->body_left == 0)
		p->state = p->state == IN_CHUNK ? IN_CHUNK_END : IN_END;
	if (!p->discarding) {
		ev->kind = PROTO_BODY;
		ev->data = (struct slice){ in.p, n };
	}
	return n;
}

/* The CRLF behind a chunk's content. */
static size_t feed_chunk_end(struct http1 *p, struct slice in, struct proto_event *ev)
{
	if ((in.n > 0 && in.p[0] != '\r') || (in.n > 1 && in.p[1] != '\n')) {
		refuse(p, ev, 400, "chunk does not end in CRLF");
		return 0;
	}
	if (in.n < 2)
		return 0;
	p->state = IN_CHUNK_LINE;
	return 2;
}

static size_t feed_chunk_line(struct http1 *p, struct slice in, struct proto_event *ev)
{
	const char *why = NULL;
	size_t extension = 0;
	uint64_t size;
	ssize_t n = http1_parse_chunk_line(in, &size, &extension, &why);

	if (n < 0) {
		refuse(p, ev, (int)-n, why);
		return 0;
	}
	if (n == 0)
		return 0;
	p->extra_bytes += (uint32_t)extension;
	if (p->extra_bytes > p->conf->head_max) {
		refuse(p, ev, 400, "too many chunk extensions");
		return 0;
	}
	p->body_seen = true;
	p->continue_due = false;
	p->body_left = size;
	p->state = size ? IN_CHUNK : IN_TRAILERS;
	p->scanned = 0;
	return (size_t)n;
}

static size_t feed_trailers(struct http1 *p, struct slice in, struct proto_event *ev)
{
	const char *why = NULL;
	ssize_t n;

	if (in.n == 0)
		return 0;
	n = http1_parse_trailers(p->conf, in, p->scanned, &p->head, &why);
	if (n > 0) {
		p->state = IN_END;
		return (size_t)n;
	}
	p->scanned = (uint32_t)in.n;
	if (n < 0)
		refuse(p, ev, (int)-n, why);
	return 0;
}

/* END; if the reply is over too, the next request may follow at once. */
static void feed_end(struct http1 *p, struct proto_event *ev)
{
	if (!p->head.chunked)
		p->head.nfields = 0;
	p->state = IN_DONE;
	ev->kind = PROTO_END;
	ev->head = &p->head;
	if (p->discarding)
		next_request(p);
}

static size_t step(struct http1 *p, struct slice in, struct proto_event *ev)
{
	switch (p->state) {
	case IN_HEAD: return feed_head(p, in, ev);
	case IN_LENGTH:
	case IN_CHUNK: return feed_content(p, in, ev);
	case IN_CHUNK_LINE: return feed_chunk_line(p, in, ev);
	case IN_CHUNK_END: return feed_chunk_end(p, in, ev);
	case IN_TRAILERS: return feed_trailers(p, in, ev);
	case IN_END: feed_end(p, ev); return 0;
	default: ev->kind = PROTO_BUSY; return 0;
	}
}

static bool want_read(const struct proto *proto)
{
	const struct http1 *p = container_of(proto, const struct http1, proto);

	if (p->state == IN_DONE || p->state == IN_DEAD)
		return false;
	return !p->stream.body_paused || p->discarding || p->state == IN_HEAD || p->state == IN_END;
}

/* Steps until there is something to tell, or a step neither consumed anything nor changed the state. */
static size_t feed(struct proto *proto, struct slice in, struct proto_event *ev)
{
	struct http1 *p = of(proto);
	size_t at = 0, n;
	uint8_t before;

	*ev = (struct proto_event){ .kind = PROTO_MORE, .stream = &p->stream };
	if (!want_read(proto)) {
		ev->kind = PROTO_BUSY;
		return 0;
	}
	do {
		before = p->state;
		n = step(p, (struct slice){ in.p + at, in.n - at }, ev);
		at += n;
	} while (ev->kind == PROTO_MORE && (n > 0 || p->state != before));
	return at;
}

static bool idle(const struct proto *proto)
{
	const struct http1 *p = container_of(proto, const struct http1, proto);

	return p->state == IN_HEAD && p->scanned == 0;
}

/* ---- outward: where bytes go ------------------------------------------------------------------------------------- */

static bool room_is_last(const struct proto_out *out)
{
	const struct iovec *last = out->niov ? &out->iov[out->niov - 1] : NULL;

	return last && (char *)last->iov_base + last->iov_len == out->room + out->used;
}

/* Bytes that can be written to the room now. */
static size_t room_left(const struct proto_out *out)
{
	return room_is_last(out) || out->niov < out->iov_max ? out->room_n - out->used : 0;
}

/* n bytes have been written to the room. */
static void add_room(struct proto_out *out, size_t n)
{
	if (n == 0)
		return;
	if (room_is_last(out))
		out->iov[out->niov - 1].iov_len += n;
	else
		out->iov[out->niov++] = (struct iovec){ out->room + out->used, n };
	out->used += n;
	out->bytes += n;
}

static void add_copy(struct proto_out *out, struct slice text)
{
	memcpy(out->room + out->used, text.p, text.n);
	add_room(out, text.n);
}

static void add_borrowed(struct proto_out *out, struct iovec v)
{
	out->iov[out->niov++] = v;
	out->bytes += v.iov_len;
	out->borrowed = true;
}

/* ---- outward: the parts of a reply ------------------------------------------------------------------------------- */

static bool bodiless(int status)
{
	return status < 200 || status == 204 || status == 304;
}

static enum http1_framing framing(const struct http1 *p, const struct reply *r)
{
	if (bodiless(r->status))
		return HTTP1_NO_BODY;
	if (r->kind != BODY_PULL)
		return HTTP1_LENGTH;
	return p->minor > 0 ? HTTP1_CHUNKED : HTTP1_UNTIL_CLOSE;
}

/* Whether what is left of the request, as far as it is known, can be read and thrown away once the reply is over. */
static bool can_discard(const struct http1 *p)
{
	if (p->expect_100 && !p->continue_sent && !p->body_seen)
		return false;
	return p->body_left <= p->conf->discard_max;
}

static bool is_draining(const struct http1 *p)
{
	return atomic_load_explicit(&p->conf->draining, memory_order_relaxed);
}

static void begin_reply(struct http1 *p, const struct reply *r)
{
	enum http1_framing f = framing(p, r);

	if (r->close || is_draining(p) || f == HTTP1_UNTIL_CLOSE || p->state == IN_DEAD || !can_discard(p))
		p->keep_alive = false;
	p->chunked_out = f == HTTP1_CHUNKED;
	p->reply_begun = true;
	p->continue_due = false;
	p->out.chain = r->kind == BODY_CHAIN ? r->body.chain : NULL;
}

static void drain_head(struct http1 *p, const struct reply *r, struct proto_out *out)
{
	size_t room = room_left(out), n;
	bool whole;

	if (room < PROTO_ROOM_MIN)
		return;
	if (!p->reply_begun)
		begin_reply(p, r);
	n = http1_write_head_part(out->room + out->used, room, (size_t)p->out.at, &whole, r, framing(p, r),
		!p->keep_alive, p->minor == 0 && p->keep_alive, out->date);
	add_room(out, n);
	p->out.at += n;
	if (!whole)
		return;
	p->out.at = 0;
	p->out_state = p->head_only || bodiless(r->status) || r->kind == BODY_NONE ? OUT_DONE : OUT_BODY;
}

/* Gives what comes next of a piece that is there in full; the bytes given, at most `budget`. */
static size_t give(struct proto_out *out, struct slice piece, size_t budget)
{
	size_t n = min_size(piece.n, budget);

	if (n <= COPY_MAX && n <= room_left(out))
		add_copy(out, (struct slice){ piece.p, n });
	else if (out->niov < out->iov_max)
		add_borrowed(out, (struct iovec){ (void *)(uintptr_t)piece.p, n });
	else
		n = 0;
	return n;
}

static void drain_bytes(struct http1 *p, const struct reply *r, struct proto_out *out, size_t budget)
{
	struct slice bytes = r->body.bytes;

	if (p->out.at < bytes.n)
		p->out.at += give(out, (struct slice){ bytes.p + p->out.at, bytes.n - (size_t)p->out.at }, budget);
	if (p->out.at == bytes.n)
		p->out_state = OUT_DONE;
}

static void drain_chain(struct http1 *p, struct proto_out *out, size_t budget)
{
	for (; p->out.chain; p->out.chain = p->out.chain->next, p->out.at = 0) {
		struct slice bytes = p->out.chain->bytes;

		if (p->out.at < bytes.n) {
			struct slice left = { bytes.p + p->out.at, bytes.n - (size_t)p->out.at };
			size_t n = give(out, left, budget);

			p->out.at += n;
			budget -= n;
			if (n < left.n)
				return;
		}
	}
	p->out_state = OUT_DONE;
}

/* The source has broken off: the client must be able to tell, so there is no last chunk and no orderly close. */
static void abort_reply(struct http1 *p, struct proto_out *out)
{
	p->keep_alive = false;
	p->out_state = OUT_DONE;
	out->aborted = true;
}

/* What a source lent goes out as it is, or as one chunk. */
static void give_lent(struct http1 *p, struct proto_out *out, const struct iovec *iov, unsigned n, size_t total,
	bool copy)
{
	if (p->chunked_out)
		add_room(out, http1_write_chunk_head(out->room + out->used, total));
	for (unsigned i = 0; i < n; i++)
		if (copy)
			add_copy(out, (struct slice){ iov[i].iov_base, iov[i].iov_len });
		else
			add_borrowed(out, iov[i]);
	if (p->chunked_out)
		add_copy(out, SLICE("\r\n"));
	if (!copy)
		out->lent += total;
}

/* Lends once from the source.  Little is copied and taken at once, unless bytes lent before must be taken first.
 * Without the iovecs to borrow (the chunk's frame needs one before and one behind), no more is asked for than can be
 * copied. */
static void drain_source(struct http1 *p, struct body_source *source, struct proto_out *out, size_t budget)
{
	size_t frame = p->chunked_out ? HTTP1_CHUNK_HEAD_MAX + 2 : 0, room = room_left(out), total = 0;
	unsigned slots = out->iov_max - out->niov, frame_slots = p->chunked_out ? 2 : 0, n = SOURCE_IOVS;
	bool must_copy = slots <= frame_slots, copy;
	struct iovec iov[SOURCE_IOVS];
	int r;

	if (budget == 0 || room < frame || (must_copy && (room == frame || out->lent > 0)))
		return;
	if (must_copy)
		budget = min_size(budget, room - frame);
	else
		n = (unsigned)min_size(n, slots - frame_slots);
	r = source->lend(source, iov, &n, budget);
	if (r < 0) {
		abort_reply(p, out);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	copy = must_copy || (total <= COPY_MAX && total + frame <= room && out->lent == 0);
	if (total > 0) {
		give_lent(p, out, iov, n, total, copy);
		if (copy)
			source->taken(source, total);
	}
	if (r == 0)
		p->out_state = p->chunked_out ? OUT_LAST : OUT_DONE;
}

static void drain_body(struct http1 *p, const struct reply *r, struct proto_out *out, size_t budget)
{
	switch (r->kind) {
	case BODY_BYTES: drain_bytes(p, r, out, budget); break;
	case BODY_CHAIN: drain_chain(p, out, budget); break;
	case BODY_PULL: drain_source(p, r->body.source, out, budget); break;
	case BODY_NONE: p->out_state = OUT_DONE; break;
	}
}

static void drain_last_chunk(struct http1 *p, const struct reply *r, struct proto_out *out)
{
	size_t room = room_left(out), n;
	bool whole;

	if (room == 0)
		return;
	n = http1_write_last_chunk_part(out->room + out->used, room, (size_t)p->out.at, &whole, r->trailers);
	add_room(out, n);
	p->out.at += n;
	if (whole)
		p->out_state = OUT_DONE;
}

static void drain_continue(struct http1 *p, struct proto_out *out)
{
	if (p->stream.reply || room_left(out) < PROTO_ROOM_MIN)
		return;
	add_copy(out, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
	p->continue_due = false;
	p->continue_sent = true;
}

static bool drain(struct proto *proto, struct proto_out *out, size_t budget)
{
	struct http1 *p = of(proto);
	const struct reply *r = p->stream.reply;
	size_t before = out->bytes;

	out->stream = &p->stream;
	if (p->continue_due)
		drain_continue(p, out);
	if (!r || p->reply_done)
		return out->bytes > before;
	if (p->out_state == OUT_HEAD)
		drain_head(p, r, out);
	if (p->out_state == OUT_BODY)
		drain_body(p, r, out, budget);
	if (p->out_state == OUT_LAST)
		drain_last_chunk(p, r, out);
	if (p->out_state != OUT_DONE)
		return out->bytes > before;
	p->reply_done = true;
	out->finished = true;
	out->close = out->close || !p->keep_alive;
	return true;
}

/* ---- outward, on another thread ---------------------------------------------------------------------------------- */

static bool can_lend(const struct proto *proto)
{
	const struct http1 *p = container_of(proto, const struct http1, proto);

	return p->state == IN_DONE && !p->reply_begun && !p->continue_due && can_discard(p);
}

/* Reads only what stays as it is while the stream is lent. */
static size_t write_reply(const struct proto *proto, const struct reply *r, const char *date, char *dst, size_t n,
	bool *close)
{
	const struct http1 *p = container_of(proto, const struct http1, proto);
	bool no_body = p->head_only || bodiless(r->status) || r->kind == BODY_NONE;
	struct slice body = no_body ? (struct slice){ dst, 0 } : r->body.bytes;
	size_t head;

	if (r->kind != BODY_BYTES && r->kind != BODY_NONE)
		return 0;
	*close = r->close || !p->keep_alive || is_draining(p);
	head = http1_write_head(dst, n, r, framing(p, r), *close, p->minor == 0 && !*close, date);
	if (head == 0 || body.n > n - head)
		return 0;
	if (body.n > 0)
		memcpy(dst + head, body.p, body.n);
	return head + body.n;
}

static void written(struct proto *proto, bool close)
{
	struct http1 *p = of(proto);

	p->keep_alive = !close;
	p->reply_begun = p->reply_done = true;
	p->out_state = OUT_DONE;
}

/* ---- the stream -------------------------------------------------------------------------------------------------- */

static void resume(struct proto *proto, struct stream *s)
{
	struct http1 *p = of(proto);
	bool body_to_come = p->state == IN_LENGTH || p->state == IN_CHUNK_LINE;

	(void)s;
	if (p->expect_100 && body_to_come && !p->body_seen && !p->continue_sent && !p->reply_begun)
		p->continue_due = true;
}

static void stream_end(struct proto *proto, struct stream *s)
{
	struct http1 *p = of(proto);

	s->reply = NULL;
	s->body_paused = false;
	p->continue_due = false;
	if (p->state == IN_HEAD || p->state == IN_DEAD)
		return;
	if (!p->reply_done || !p->keep_alive) {
		p->state = IN_DEAD;
	} else if (p->state == IN_DONE || p->state == IN_END) {
		next_request(p);
	} else {
		p->discarding = true;
		p->discard_left = p->conf->discard_max;
	}
}

static void fini(struct proto *proto)
{
	(void)proto;
}

static const struct proto_ops ops = {
	.fini = fini,
	.feed = feed,
	.drain = drain,
	.resume = resume,
	.stream_end = stream_end,
	.want_read = want_read,
	.idle = idle,
	.can_lend = can_lend,
	.write = write_reply,
	.written = written,
};

void http1_init(struct http1 *p, const struct http1_conf *conf)
{
	clear(p, sizeof(*p));
	p->proto.ops = &ops;
	p->conf = conf;
	p->minor = 1;
	next_request(p);
}
