/* http1_trace.h: what an HTTP/1 connection says about bytes, as text that can be compared.
 *
 * A trace answers every request at once with a small reply, as a connection would, so that pipelined requests go on.
 * Pieces of a body are joined, because how a body is cut up depends on how it came.  What every event must satisfy is
 * checked on the way; a breach ends the program.
 */
#ifndef HTTP1_TRACE_H
#define HTTP1_TRACE_H

#include "base/clock.h"
#include "http1.h"
#include <offloop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_DATE "Sun, 06 Nov 1994 08:49:37 GMT"

struct trace {
	struct http1 http;
	char *text;
	size_t n, cap;
	bool in_body, refused;
};

static inline void trace_require(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "http1_trace: %s\n", what);
		abort();
	}
}

static inline void trace_add(struct trace *t, const char *p, size_t n)
{
	if (t->n + n + 1 > t->cap) {
		t->cap = 2 * (t->n + n + 1);
		t->text = realloc(t->text, t->cap);
		trace_require(t->text != NULL, "no memory");
	}
	if (n)
		memcpy(t->text + t->n, p, n);
	t->n += n;
	t->text[t->n] = '\0';
}

static inline void trace_str(struct trace *t, const char *s)
{
	trace_add(t, s, strlen(s));
}

static inline void trace_num(struct trace *t, const char *name, int64_t v)
{
	char s[64];

	snprintf(s, sizeof(s), "%s%lld", name, (long long)v);
	trace_str(t, s);
}

static inline void trace_part(struct trace *t, const struct head *h, const char *name, uint32_t at, uint32_t n)
{
	trace_require((uint64_t)at + n <= h->n, "an offset lies outside the head");
	trace_str(t, name);
	trace_add(t, h->base + at, n);
}

static inline void trace_fields(struct trace *t, const struct head *h)
{
	for (uint32_t i = 0; i < h->nfields; i++) {
		trace_part(t, h, "  ", h->fields[i].name, h->fields[i].name_n);
		trace_part(t, h, ": [", h->fields[i].value, h->fields[i].value_n);
		trace_num(t, "] ", h->fields[i].id);
		trace_str(t, "\n");
	}
}

/* Whether a path is said to be plain that is, and none that is not; what has no path of its own may be either. */
static inline void trace_plain(const struct head *h)
{
	const char *path = h->base + h->path;
	bool plain = !memchr(path, '.', h->path_n) && !memchr(path, '%', h->path_n);

	trace_require(plain ? h->path_plain || h->path_n == 1 : !h->path_plain, "plain or not, it is said otherwise");
}

static inline void trace_head(struct trace *t, const struct head *h)
{
	trace_plain(h);
	trace_part(t, h, "HEAD ", h->method_at, h->method_n);
	trace_part(t, h, " ", h->target, h->target_n);
	trace_num(t, " 1.", h->minor);
	trace_part(t, h, "\n  path=", h->path, h->path_n);
	trace_part(t, h, " query=", h->query, h->query_n);
	trace_part(t, h, " host=", h->host, h->host_n);
	trace_num(t, " length=", h->content_length);
	trace_str(t, h->has_body ? " body" : "");
	trace_str(t, h->chunked ? " chunked" : "");
	trace_str(t, h->expect_100 ? " expect" : "");
	trace_str(t, h->keep_alive ? " keep\n" : " close\n");
	trace_fields(t, h);
}

/* Replies, and throws the bytes away.  False when the connection ends. */
static inline bool trace_answer(struct trace *t)
{
	static const struct reply r = { .status = 200, .kind = BODY_BYTES, .body.bytes = { "ok", 2 }, .length = 2 };
	char room[512];
	struct iovec iov[4];
	struct proto_out out = { .room = room, .room_n = sizeof(room), .iov = iov, .iov_max = 4, .date = TRACE_DATE };
	struct proto *p = &t->http.proto;

	t->http.stream.reply = &r;
	trace_require(p->ops->drain(p, &out, SIZE_MAX) && out.finished, "a reply was not drained");
	p->ops->stream_end(p, &t->http.stream);
	if (out.close)
		trace_str(t, "CLOSE\n");
	return !out.close;
}

static inline bool within(struct slice in, const char *p, size_t n)
{
	return p >= in.p && p + n <= in.p + in.n;
}

static inline void trace_body(struct trace *t, struct slice data)
{
	if (!t->in_body)
		trace_str(t, "BODY ");
	trace_add(t, data.p, data.n);
	t->in_body = true;
}

/* One event.  False when nothing more will come. */
static inline bool trace_event(struct trace *t, struct slice in, const struct proto_event *ev)
{
	if (t->in_body && ev->kind != PROTO_BODY && ev->kind != PROTO_MORE) {
		trace_str(t, "\n");
		t->in_body = false;
	}
	switch (ev->kind) {
	case PROTO_HEAD:
		trace_require(within(in, ev->head->base, ev->head->n), "a head lies outside what was fed");
		trace_head(t, ev->head);
		return true;
	case PROTO_BODY:
		trace_require(ev->data.n > 0 && within(in, ev->data.p, ev->data.n), "a body lies outside what was fed");
		trace_body(t, ev->data);
		return true;
	case PROTO_END:
		trace_str(t, "END\n");
		trace_fields(t, ev->head);
		return trace_answer(t);
	case PROTO_REFUSE:
		trace_num(t, "REFUSE ", ev->status);
		trace_str(t, " ");
		trace_str(t, ev->why);
		trace_str(t, "\n");
		t->refused = true;
		return false;
	default:
		return false;
	}
}

/* Feeds `in`, all that is there, until nothing more is to be told; the bytes consumed.  *more: it would take more. */
static inline size_t trace_feed(struct trace *t, struct slice in, bool *more)
{
	struct proto *p = &t->http.proto;
	struct proto_event ev;
	size_t at = 0, n;
	bool goes_on;

	do {
		struct slice rest = { in.p + at, in.n - at };
		bool wanted = p->ops->want_read(p);

		n = p->ops->feed(p, rest, &ev);
		trace_require(n <= rest.n, "more was consumed than was fed");
		trace_require(wanted == (ev.kind != PROTO_BUSY), "want_read was wrong");
		at += n;
		goes_on = trace_event(t, rest, &ev);
	} while (goes_on);
	*more = ev.kind == PROTO_MORE;
	return at;
}

static inline void trace_init(struct trace *t, const struct http1_conf *conf)
{
	memset(t, 0, sizeof(*t));
	http1_init(&t->http, conf);
	trace_str(t, "");
}

/* Says what is left: how much was not consumed, and whether the connection is between requests. */
static inline void trace_close(struct trace *t, size_t left)
{
	if (t->in_body)
		trace_str(t, "\n");
	if (!t->refused) {
		trace_num(t, "left ", (int64_t)left);
		trace_str(t, t->http.proto.ops->idle(&t->http.proto) ? " idle\n" : "\n");
	}
}

/* Whether a trace ends in a refusal: its last line says so. */
static inline bool trace_is_refusal(const char *text)
{
	const char *last = text + strlen(text);

	for (last -= last > text; last > text && last[-1] != '\n'; last--)
		;
	return strncmp(last, "REFUSE ", 7) == 0;
}

/* The trace of `in` when first `first` bytes come and then `step` at a time.  The caller frees it. */
static inline char *trace_text(const struct http1_conf *conf, struct slice in, size_t first, size_t step)
{
	struct trace t;
	size_t at = 0, have = first < in.n ? first : in.n;
	bool more = true;

	trace_init(&t, conf);
	for (;;) {
		at += trace_feed(&t, (struct slice){ in.p + at, have - at }, &more);
		if (!more || have == in.n)
			break;
		have = in.n - have < step ? in.n : have + step;
	}
	trace_close(&t, in.n - at);
	return t.text;
}

#endif
