/* http1_write.c: the text of replies: status line, fields, chunk framing.
 *
 * Pure functions from a reply to bytes.  Framing fields (Content-Length, Transfer-Encoding, Connection) and Date are
 * written here and nowhere else; the reply's own fields were checked when they were set and are copied as they are.
 *
 * A head usually fits where it is to go, and is then written once.  When it does not, it is written again for each
 * part, and what was sent before is left out: a sink counts down `skip` bytes before it keeps any.  So a part needs no
 * state but a count, nothing is allocated, and a head of any size passes through a small buffer.  That is quadratic in
 * the number of parts, of which there are few: heads of kilobytes through rooms of kilobytes.  A head that is sure to
 * fit, as nearly all are, is written by a copy of the same code that the compiler has made without these questions.
 *
 * What may differ when it is written again, the date, is put as one piece that is never cut (put_whole); the rest
 * depends only on arguments that stay the same.  Any thread.
 */
#include "base/clock.h"
#include "http1.h"

#include <assert.h>

#define INLINE static inline __attribute__((always_inline))

/* Takes text in pieces, leaves out the first `skip` bytes, and keeps the others while there is room. */
struct sink {
	char *at, *end;
	size_t skip;
	bool full;
	bool ample;     /* a constant: nothing is skipped, and there is room for all that will come */
};

static void put_far(struct sink *s, struct slice text)
{
	size_t skip = s->skip < text.n ? s->skip : text.n, room = (size_t)(s->end - s->at), n = text.n - skip;

	s->skip -= skip;
	if (s->full || n == 0)
		return;
	if (n > room) {
		s->full = true;
		n = room;
	}
	memcpy(s->at, text.p + skip, n);
	s->at += n;
}

INLINE void put(struct sink *s, struct slice text)
{
	if (!s->ample && (s->skip > 0 || s->full || text.n > (size_t)(s->end - s->at))) {
		put_far(s, text);
		return;
	}
	if (text.n)
		memcpy(s->at, text.p, text.n);
	s->at += text.n;
}

/* All of it or nothing. */
static void put_whole(struct sink *s, struct slice text)
{
	if (s->skip == 0 && text.n > (size_t)(s->end - s->at))
		s->full = true;
	else
		put(s, text);
}

static void put_field(struct sink *s, const struct reply_field *f)
{
	put(s, f->name);
	put(s, SLICE(": "));
	put(s, f->value);
	put(s, SLICE("\r\n"));
}

const char *http1_reason(int status)
{
	switch (status) {
	case 100: return "Continue";
	case 101: return "Switching Protocols";
	case 200: return "OK";
	case 201: return "Created";
	case 202: return "Accepted";
	case 203: return "Non-Authoritative Information";
	case 204: return "No Content";
	case 205: return "Reset Content";
	case 206: return "Partial Content";
	case 300: return "Multiple Choices";
	case 301: return "Moved Permanently";
	case 302: return "Found";
	case 303: return "See Other";
	case 304: return "Not Modified";
	case 305: return "Use Proxy";
	case 307: return "Temporary Redirect";
	case 308: return "Permanent Redirect";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 402: return "Payment Required";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 406: return "Not Acceptable";
	case 407: return "Proxy Authentication Required";
	case 408: return "Request Timeout";
	case 409: return "Conflict";
	case 410: return "Gone";
	case 411: return "Length Required";
	case 412: return "Precondition Failed";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 415: return "Unsupported Media Type";
	case 416: return "Range Not Satisfiable";
	case 417: return "Expectation Failed";
	case 421: return "Misdirected Request";
	case 422: return "Unprocessable Content";
	case 426: return "Upgrade Required";
	case 428: return "Precondition Required";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 451: return "Unavailable For Legal Reasons";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	case 511: return "Network Authentication Required";
	default: return "";
	}
}

INLINE void put_status(struct sink *s, int status)
{
	char line[] = "HTTP/1.1 000 ";

	if (status == 200) {
		put(s, SLICE("HTTP/1.1 200 OK\r\n"));
		return;
	}
	line[9] = (char)('0' + status / 100 % 10);
	line[10] = (char)('0' + status / 10 % 10);
	line[11] = (char)('0' + status % 10);
	put(s, (struct slice){ line, sizeof(line) - 1 });
	put(s, slice_of(http1_reason(status)));
	put(s, SLICE("\r\n"));
}

INLINE void put_length(struct sink *s, uint64_t length)
{
	char text[24], *p = text + sizeof(text);

	*--p = '\n';
	*--p = '\r';
	do
		*--p = (char)('0' + length % 10);
	while (length /= 10);
	put(s, SLICE("Content-Length: "));
	put(s, (struct slice){ p, (size_t)(text + sizeof(text) - p) });
}

INLINE void put_date(struct sink *s, const char *date)
{
	char line[6 + HTTP_DATE_LEN + 2];
	bool fits = s->ample || (s->skip == 0 && !s->full && sizeof(line) <= (size_t)(s->end - s->at));
	char *p = fits ? s->at : line; /* a line that is made elsewhere and then copied waits for its own stores */

	memcpy(p, "Date: ", 6);
	memcpy(p + 6, date, HTTP_DATE_LEN);
	memcpy(p + 6 + HTTP_DATE_LEN, "\r\n", 2);
	if (fits)
		s->at += sizeof(line);
	else
		put_whole(s, (struct slice){ line, sizeof(line) });
}

INLINE void put_head(struct sink *s, const struct reply *r, enum http1_framing framing, bool close, bool say_keep_alive,
	const char *date)
{
	put_status(s, r->status);
	put_date(s, date);
	if (r->type.n) {
		put(s, SLICE("Content-Type: "));
		put(s, r->type);
		put(s, SLICE("\r\n"));
	}
	if (framing == HTTP1_LENGTH)
		put_length(s, r->kind == BODY_NONE ? 0 : r->length);
	else if (framing == HTTP1_CHUNKED)
		put(s, SLICE("Transfer-Encoding: chunked\r\n"));
	if (close)
		put(s, SLICE("Connection: close\r\n"));
	else if (say_keep_alive)
		put(s, SLICE("Connection: keep-alive\r\n"));
	for (const struct reply_field *f = r->fields; f; f = f->next)
		put_field(s, f);
	put(s, SLICE("\r\n"));
}

size_t http1_write_head_part(char *dst, size_t n, size_t skip, bool *whole, const struct reply *r,
	enum http1_framing framing, bool close, bool say_keep_alive, const char *date)
{
	struct sink s = { .at = dst, .end = dst + n, .skip = skip };

	if (skip == 0 && !r->fields && n >= HTTP1_PLAIN_HEAD_MAX + r->type.n) {
		struct sink ample = { .at = dst, .ample = true };

		put_head(&ample, r, framing, close, say_keep_alive, date);
		assert(ample.at <= dst + HTTP1_PLAIN_HEAD_MAX + r->type.n);
		*whole = true;
		return (size_t)(ample.at - dst);
	}
	put_head(&s, r, framing, close, say_keep_alive, date);
	*whole = !s.full;
	return (size_t)(s.at - dst);
}

size_t http1_write_head(char *dst, size_t n, const struct reply *r, enum http1_framing framing, bool close,
	bool say_keep_alive, const char *date)
{
	bool whole;
	size_t len = http1_write_head_part(dst, n, 0, &whole, r, framing, close, say_keep_alive, date);

	return whole ? len : 0;
}

size_t http1_write_last_chunk_part(char *dst, size_t n, size_t skip, bool *whole, const struct reply_field *trailers)
{
	struct sink s = { .at = dst, .end = dst + n, .skip = skip };

	put(&s, SLICE("0\r\n"));
	for (const struct reply_field *f = trailers; f; f = f->next)
		put_field(&s, f);
	put(&s, SLICE("\r\n"));
	*whole = !s.full;
	return (size_t)(s.at - dst);
}

size_t http1_write_chunk_head(char *dst, uint64_t size)
{
	unsigned digits = size ? (67 - (unsigned)__builtin_clzll(size)) / 4 : 1;

	for (unsigned i = digits; i-- > 0; size >>= 4)
		dst[i] = "0123456789abcdef"[size & 15];
	memcpy(dst + digits, "\r\n", 2);
	return digits + 2;
}
