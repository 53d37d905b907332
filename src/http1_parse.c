/* http1_parse.c: the grammar of HTTP/1 requests: head, trailer section, chunk line.
 *
 * Strict where RFC 9112 leaves a choice: whatever two parsers could read differently is refused, and nothing is
 * repaired.  Lines end in CRLF only; there is exactly one blank between method, target and version; a folded line, a
 * blank before a colon, a control character, a second Content-Length or Host (also an equal one), any Transfer-Encoding
 * but a single "chunked", and an Expect but 100-continue are refused.
 *
 * The target (RFC 9112 §3.2) is origin-form, absolute-form with http or https, or "*" for OPTIONS.  Its path holds what
 * RFC 3986 §3.3 allows, strictly: browsers escape the rest.  Its query also holds the characters that browsers leave as
 * they are (WHATWG URL, query percent-encode set): [ ] \ ^ ` { | }.  A '#', a '"', '<' or '>', anything from 0x7f on, a
 * malformed escape and %00 are refused, and so are dot segments that lead above the root.  Dot segments within it stay
 * for the router.
 *
 * One pass from left to right, nothing is allocated or copied; fields are recorded as offsets.  The first fault in the
 * order of the bytes decides, whether the head came whole or in pieces: a step that runs out of bytes answers MORE, and
 * a step never answers for a prefix what it would not answer for the whole.  So an incomplete head may be looked at
 * again at any time, or not; it is when a line has ended or a limit is near, which bounds the work for a head that
 * trickles in.
 *
 * Pure functions; the only memory written is the caller's.  Any thread.
 */
#include "base/clear.h"
#include "http1.h"
#include "http1_scan.h"
#include "method.h"
#include "offloop.h"

#include <arpa/inet.h>
#include <limits.h>

enum { MORE = 0, OK = 1, DONE = 2 };    /* or minus a status */

#define METHOD_MAX 32   /* a longer one is not known, whatever it is */

/* Where a parse is, and what it has found out that a head does not record. */
struct cursor {
	const char *p;
	size_t at, end;
	const struct scan *scan;
	uint32_t seen;          /* a bit per enum field_id */
	const char *why;
};

static int refuse(struct cursor *c, int status, const char *why)
{
	c->why = why;
	return -status;
}

/* ---- small grammars ---------------------------------------------------------------------------------------------- */

/* The escape at c->at, which is its '%' (RFC 3986 §2.1).  Steps behind it. */
static int escape(struct cursor *c)
{
	int hi, lo;

	if (c->end - c->at < 3)
		return MORE;
	hi = ascii_hex(c->p[c->at + 1]);
	lo = ascii_hex(c->p[c->at + 2]);
	if (hi < 0 || lo < 0)
		return refuse(c, 400, "malformed percent-escape in the target");
	if ((hi | lo) == 0)
		return refuse(c, 400, "%00 in the target");
	c->at += 3;
	return OK;
}

/* [at, end) behind a host: nothing, or a port. */
static bool valid_port(const char *p, size_t at, size_t end)
{
	unsigned port = 0;

	if (at == end)
		return true;
	if (p[at] != ':' || end - at < 2 || end - at > 6)
		return false;
	while (++at < end) {
		if (!ascii_digit(p[at]))
			return false;
		port = port * 10 + (unsigned)(p[at] - '0');
	}
	return port <= 65535;
}

/* An IPv6 address in brackets at [at, end), then perhaps a port. */
static bool valid_ip6(const char *p, size_t at, size_t end)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	const char *close = memchr(p + at, ']', end - at);
	size_t n;

	if (!close)
		return false;
	n = (size_t)(close - (p + at + 1));
	if (n >= sizeof(text))
		return false;
	memcpy(text, p + at + 1, n);
	text[n] = '\0';
	return inet_pton(AF_INET6, text, &addr) == 1 && valid_port(p, (size_t)(close + 1 - p), end);
}

/* host [":" port] at [at, end) (RFC 9110 §4.2, §7.2), without user information, and not empty. */
static bool valid_host(const struct scan *scan, const char *p, size_t at, size_t end)
{
	size_t start = at;

	if (at < end && p[at] == '[')
		return valid_ip6(p, at, end);
	for (;;) {
		at = scan->past(&scan_host, p, at, end);
		if (at == end || p[at] != '%')
			break;
		if (end - at < 3 || ascii_hex(p[at + 1]) < 0 || ascii_hex(p[at + 2]) < 0)
			return false;
		at += 3;
	}
	return at > start && valid_port(p, at, end);
}

/* ---- the method -------------------------------------------------------------------------------------------------- */

/* A token that is not a method of ours; c->at is behind its blank. */
static int method_unknown(struct cursor *c, struct slice name)
{
	if (slice_eq(name, SLICE("CONNECT")))
		return refuse(c, 405, "this is not a proxy");
	if (slice_eq(name, SLICE("PRI"))) {     /* RFC 9113 §3.4 */
		if (c->at == c->end)
			return MORE;
		if (c->p[c->at] == '*')
			return refuse(c, 400, "HTTP/2 is not spoken here");
	}
	return refuse(c, 501, "unknown method");
}

static int method(struct cursor *c, struct head *h)
{
	size_t n;

	if (c->end >= 4 && memcmp(c->p, "GET ", 4) == 0) {
		h->method = OL_METHOD_GET;
		h->method_n = 3;
		c->at = 4;
		return OK;
	}
	n = c->scan->past(&scan_token, c->p, 0, c->end);
	if (n > METHOD_MAX)
		return refuse(c, 501, "unknown method");
	if (n == c->end)
		return MORE;
	if (n == 0 || c->p[n] != ' ')
		return refuse(c, 400, "malformed method");
	c->at = n + 1;
	h->method_n = (uint16_t)n;
	h->method = (uint8_t)method_of((struct slice){ c->p, n });
	return h->method ? OK : method_unknown(c, (struct slice){ c->p, n });
}

/* ---- the target -------------------------------------------------------------------------------------------------- */

/* Whether a segment is "." (1) or ".." (2), dots perhaps written %2e; else 0. */
static int dots(const char *p, size_t n)
{
	int count = 0;

	for (size_t i = 0; i < n; count++) {
		if (p[i] == '.')
			i++;
		else if (n - i >= 3 && p[i] == '%' && p[i + 1] == '2' && (p[i + 2] | 0x20) == 'e')
			i += 3;
		else
			return 0;
	}
	return count <= 2 ? count : 0;
}

/* Whether a path with dot segments (RFC 3986 §5.2.4) ever leads above where it starts. */
static bool above_root(const char *p, size_t n)
{
	const char *end = p + n, *next;
	size_t depth = 0;

	for (p++; p <= end; p = next + 1) {
		next = memchr(p, '/', (size_t)(end - p));
		if (!next)
			next = end;
		switch (dots(p, (size_t)(next - p))) {
		case 0: depth++; break;
		case 1: break;
		default: if (depth-- == 0) return true;
		}
	}
	return false;
}

static int target_refuse(struct cursor *c)
{
	unsigned char b = (unsigned char)c->p[c->at];

	if (b == '#')
		return refuse(c, 400, "fragment in the target");
	if (b < ' ')
		return refuse(c, 400, "control character in the target");
	return refuse(c, 400, "character in the target that must be escaped");
}

/* Runs over bytes of the class and escapes, to the first other byte.  `room_end`: where the target grows too long.
 * *escaped: set when there was an escape. */
static int target_run(struct cursor *c, const struct scan_class *class, size_t room_end, bool *escaped)
{
	int r;

	for (;;) {
		c->at = c->scan->past(class, c->p, c->at, c->end);
		if (c->at > room_end)
			return refuse(c, 414, "target too long");
		if (c->at == c->end)
			return MORE;
		if (c->p[c->at] != '%')
			return OK;
		if ((r = escape(c)) != OK)
			return r;
		*escaped = true;
	}
}

static int query(struct cursor *c, struct head *h, size_t room_end)
{
	bool escaped;
	int r;

	h->query = (uint32_t)++c->at;
	if ((r = target_run(c, &scan_query, room_end, &escaped)) != OK)
		return r;
	h->query_n = (uint32_t)(c->at - h->query);
	return c->p[c->at] == ' ' ? OK : target_refuse(c);
}

/* path [ "?" query ] " ", at the path's '/' */
static int origin_form(struct cursor *c, struct head *h, size_t room_end)
{
	size_t start = c->at;
	bool dotted = false, escaped = false;
	int r;

	for (;; c->at++) {
		if ((r = target_run(c, &scan_path, room_end, &escaped)) != OK)
			return r;
		if (c->p[c->at] != '.')
			break;
		dotted = true;
	}
	h->path = (uint32_t)start;
	h->path_n = (uint32_t)(c->at - start);
	if (c->p[c->at] != ' ' && c->p[c->at] != '?')
		return target_refuse(c);
	h->path_plain = !dotted && !escaped;
	if (!h->path_plain && above_root(c->p + start, h->path_n)) /* dots may all be written %2e */
		return refuse(c, 400, "the target leads above the root");
	return c->p[c->at] == '?' ? query(c, h, room_end) : OK;
}

/* "http://" or "https://" at c->at, in any case (RFC 3986 §3.1). */
static int scheme(struct cursor *c)
{
	static const char http[] = "http://", https[] = "https://";
	size_t left = c->end - c->at, n = 0;
	const char *p = c->p + c->at, *want = http;

	for (; want[n]; n++) {
		if (n == left)
			return MORE;
		if (n == 4 && ascii_lower(p[4]) == 's')
			want = https;
		if (ascii_lower(p[n]) != want[n])
			return refuse(c, 400, "malformed target");
	}
	c->at += n;
	return OK;
}

/* scheme "://" authority path [ "?" query ] " " (RFC 9112 §3.2.2).  An empty path is "/", for which the slash before
 * the authority serves. */
static int absolute_form(struct cursor *c, struct head *h, size_t room_end)
{
	size_t host;
	int r;

	if ((r = scheme(c)) != OK)
		return r;
	for (host = c->at; c->at < c->end; c->at++)
		if (c->p[c->at] == '/' || c->p[c->at] == '?' || (unsigned char)c->p[c->at] <= ' ')
			break;
	if (c->at > room_end)
		return refuse(c, 414, "target too long");
	if (c->at == c->end)
		return MORE;
	if (!valid_host(c->scan, c->p, host, c->at))
		return refuse(c, 400, "malformed authority in the target");
	h->host = (uint32_t)host;
	h->host_n = (uint32_t)(c->at - host);
	if (c->p[c->at] == '/')
		return origin_form(c, h, room_end);
	h->path = (uint32_t)host - 1;
	h->path_n = 1;
	if (c->p[c->at] == '?')
		return query(c, h, room_end);
	return c->p[c->at] == ' ' ? OK : target_refuse(c);
}

/* "*" " " (RFC 9112 §3.2.4) */
static int asterisk_form(struct cursor *c, struct head *h)
{
	if (h->method != OL_METHOD_OPTIONS)
		return refuse(c, 400, "target * with a method other than OPTIONS");
	h->path = (uint32_t)c->at++;
	h->path_n = 1;
	if (c->at == c->end)
		return MORE;
	return c->p[c->at] == ' ' ? OK : refuse(c, 400, "malformed target");
}

static int target(struct cursor *c, struct head *h, uint32_t target_max)
{
	size_t start = c->at, room_end = start + target_max;
	int r;

	if (c->at == c->end)
		return MORE;
	if (c->p[c->at] == '/')
		r = origin_form(c, h, room_end);
	else if (c->p[c->at] == '*')
		r = asterisk_form(c, h);
	else
		r = absolute_form(c, h, room_end);
	h->target = (uint32_t)start;
	h->target_n = (uint32_t)(c->at++ - start);
	return r;
}

/* ---- the rest of the request line -------------------------------------------------------------------------------- */

static int version(struct cursor *c, struct head *h)
{
	static const char form[] = "HTTP/0.0\r\n";
	const char *p = c->p + c->at;
	size_t left = c->end - c->at;

	if (left >= 10 && memcmp(p, "HTTP/1.1\r\n", 10) == 0) {
		c->at += 10;
		return OK;
	}
	for (size_t i = 0; i < 10; i++) {
		if (i == left)
			return MORE;
		if (form[i] == '0' ? ascii_digit(p[i]) : p[i] == form[i])
			continue;
		return refuse(c, 400, i < 8 ? "malformed version" : "the request line does not end in CRLF");
	}
	if (p[5] != '1')
		return refuse(c, 505, "only HTTP/1 is spoken here");
	h->minor = p[7] != '0';     /* a later minor version is answered as 1.1 (RFC 9110 §2.5) */
	c->at += 10;
	return OK;
}

static int request_line(struct cursor *c, const struct http1_conf *conf, struct head *h)
{
	int r;

	if ((r = method(c, h)) != OK || (r = target(c, h, conf->target_max)) != OK)
		return r;
	return version(c, h);
}

/* ---- field lines ------------------------------------------------------------------------------------------------- */

static inline uint64_t load64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static inline uint32_t load32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

/* Whether a token is `lower`, n bytes of lower-case letters and hyphens, in any case; n is a constant of 4 or more.
 * Setting bit 5 makes letters lower and leaves hyphens alone, and no other byte of a token becomes one of them. */
static inline __attribute__((always_inline)) bool named(const char *p, const char *lower, size_t n)
{
	const uint64_t wide = UINT64_C(0x2020202020202020);

	if (n < 8)
		return (load32(p) | (uint32_t)wide) == load32(lower)
			&& (load32(p + n - 4) | (uint32_t)wide) == load32(lower + n - 4);
	return (load64(p) | wide) == load64(lower) && (n <= 16 || (load64(p + 8) | wide) == load64(lower + 8))
		&& (load64(p + n - 8) | wide) == load64(lower + n - 8);
}

static inline uint16_t identify(const char *p, size_t n)
{
	switch (n) {
	case 4: return named(p, "host", 4) ? FIELD_HOST : FIELD_OTHER;
	case 6:
		if (named(p, "cookie", 6))
			return FIELD_COOKIE;
		return named(p, "expect", 6) ? FIELD_EXPECT : FIELD_OTHER;
	case 7:
		if (named(p, "upgrade", 7))
			return FIELD_UPGRADE;
		return named(p, "trailer", 7) ? FIELD_TRAILER : FIELD_OTHER;
	case 10: return named(p, "connection", 10) ? FIELD_CONNECTION : FIELD_OTHER;
	case 12: return named(p, "content-type", 12) ? FIELD_CONTENT_TYPE : FIELD_OTHER;
	case 14: return named(p, "content-length", 14) ? FIELD_CONTENT_LENGTH : FIELD_OTHER;
	case 17: return named(p, "transfer-encoding", 17) ? FIELD_TRANSFER_ENCODING : FIELD_OTHER;
	default: return FIELD_OTHER;
	}
}

static int name_refuse(struct cursor *c, size_t stop)
{
	char b = c->p[stop];

	if (stop == c->at)
		return refuse(c, 400, b == ' ' || b == '\t' ? "folded line" : "malformed field name");
	if (b == ' ' || b == '\t')
		return refuse(c, 400, "blank before a field's colon");
	return refuse(c, 400, b == '\r' || b == '\n' ? "field line without a colon" : "malformed field name");
}

/* CRLF at `at`, where neither name nor value can go on. */
static int line_end(struct cursor *c, size_t at)
{
	if (c->p[at] != '\r')
		return refuse(c, 400, c->p[at] == '\n' ? "bare LF" : "control character in a field");
	if (at + 1 == c->end)
		return MORE;
	if (c->p[at + 1] != '\n')
		return refuse(c, 400, "bare CR");
	c->at = at + 2;
	return OK;
}

/* One line of fields, f filled; DONE for the empty one.  `full`: there must be no more fields. */
static inline int field_line(struct cursor *c, struct head_field *f, bool full)
{
	const char *p = c->p;
	size_t start = c->at, colon, value, stop, end;
	int r;

	if (start == c->end)
		return MORE;
	if (p[start] == '\r')
		return (r = line_end(c, start)) == OK ? DONE : r;
	if (full)
		return refuse(c, 431, "too many fields");
	stop = c->scan->field(p, start, c->end, &colon);
	if (colon - start > UINT16_MAX)
		return refuse(c, 431, "field name too long");
	if (colon == c->end)
		return MORE;
	if (colon == start || p[colon] != ':')
		return name_refuse(c, colon);
	if (stop == c->end)
		return MORE;
	if ((r = line_end(c, stop)) != OK)
		return r;
	for (value = colon + 1; p[value] == ' ' || p[value] == '\t'; value++)
		;
	for (end = stop; end > value && (p[end - 1] == ' ' || p[end - 1] == '\t'); end--)
		;
	*f = (struct head_field){
		.name = (uint32_t)start, .name_n = (uint16_t)(colon - start),
		.value = (uint32_t)value, .value_n = (uint32_t)(end - value),
		.id = identify(p + start, colon - start),
	};
	return OK;
}

/* ---- the fields that matter here --------------------------------------------------------------------------------- */

static int host(struct cursor *c, struct head *h, const struct head_field *f)
{
	if (c->seen & 1u << FIELD_HOST)
		return refuse(c, 400, "more than one Host");
	if (!valid_host(c->scan, c->p, f->value, f->value + f->value_n))
		return refuse(c, 400, "malformed Host");
	if (h->host_n == 0) {   /* an absolute target goes before (RFC 9112 §3.2.2) */
		h->host = f->value;
		h->host_n = f->value_n;
	}
	return OK;
}

/* RFC 9112 §6.3: a list of equal lengths could be taken; it is refused. */
static int content_length(struct cursor *c, struct head *h, struct slice v)
{
	int64_t n = 0;
	bool over = false;

	if (c->seen & 1u << FIELD_CONTENT_LENGTH)
		return refuse(c, 400, "more than one Content-Length");
	if (c->seen & 1u << FIELD_TRANSFER_ENCODING)
		return refuse(c, 400, "Content-Length with Transfer-Encoding");
	if (v.n == 0)
		return refuse(c, 400, "malformed Content-Length");
	for (size_t i = 0; i < v.n; i++) {
		if (!ascii_digit(v.p[i]))
			return refuse(c, 400, "malformed Content-Length");
		over = over || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, v.p[i] - '0', &n);
	}
	if (over)
		return refuse(c, 413, "Content-Length too large");
	h->content_length = n;
	h->has_body = n > 0;
	return OK;
}

static int transfer_encoding(struct cursor *c, struct head *h, struct slice v)
{
	if (c->seen & 1u << FIELD_TRANSFER_ENCODING)
		return refuse(c, 400, "more than one Transfer-Encoding");
	if (c->seen & 1u << FIELD_CONTENT_LENGTH)
		return refuse(c, 400, "Content-Length with Transfer-Encoding");
	if (h->minor == 0)
		return refuse(c, 400, "Transfer-Encoding in HTTP/1.0");
	if (!slice_eq_nocase(v, SLICE("chunked")))
		return refuse(c, 400, "Transfer-Encoding other than chunked");
	h->chunked = h->has_body = true;
	return OK;
}

static int expect(struct cursor *c, struct head *h, struct slice v)
{
	if (h->minor == 0)
		return OK;
	if (!slice_eq_nocase(v, SLICE("100-continue")))
		return refuse(c, 417, "unknown expectation");
	h->expect_100 = true;
	return OK;
}

/* Bits of `seen` above those of the fields. */
enum { SAID_CLOSE = 1 << 16, SAID_KEEP_ALIVE = 1 << 17 };

/* A list of tokens, of which two matter; `whole` weighs them. */
static int connection(struct cursor *c, struct slice v)
{
	while (v.n > 0) {
		struct slice token = slice_trim(slice_cut(&v, ','));

		if (slice_eq_nocase(token, SLICE("close")))
			c->seen |= SAID_CLOSE;
		else if (slice_eq_nocase(token, SLICE("keep-alive")))
			c->seen |= SAID_KEEP_ALIVE;
	}
	return OK;
}

static int field_known(struct cursor *c, struct head *h, const struct head_field *f)
{
	struct slice v = { c->p + f->value, f->value_n };
	int r = OK;

	switch (f->id) {
	case FIELD_HOST: r = host(c, h, f); break;
	case FIELD_CONTENT_LENGTH: r = content_length(c, h, v); break;
	case FIELD_TRANSFER_ENCODING: r = transfer_encoding(c, h, v); break;
	case FIELD_EXPECT: r = expect(c, h, v); break;
	case FIELD_CONNECTION: r = connection(c, v); break;
	default: break;
	}
	c->seen |= 1u << f->id;
	return r;
}

static int fields(struct cursor *c, const struct http1_conf *conf, struct head *h)
{
	int r;

	for (;;) {
		struct head_field *f = &conf->fields[h->nfields];

		r = field_line(c, f, h->nfields == conf->fields_max);
		if (r != OK)
			return r == DONE ? OK : r;
		if (f->id != FIELD_OTHER && (r = field_known(c, h, f)) != OK)
			return r;
		h->nfields++;
	}
}

/* What only the whole head can tell. */
static int whole(struct cursor *c, struct head *h)
{
	if (h->minor > 0 && !(c->seen & 1u << FIELD_HOST))
		return refuse(c, 400, "no Host");
	h->expect_100 = h->expect_100 && h->has_body;
	/* RFC 9112 §9.3: "close" wins over "keep-alive". */
	h->keep_alive = !(c->seen & SAID_CLOSE) && (h->minor > 0 || c->seen & SAID_KEEP_ALIVE);
	h->n = (uint32_t)c->at;
	return OK;
}

/* ---- entry points ------------------------------------------------------------------------------------------------ */

/* Whether the bytes since the last look cannot change its outcome, MORE: no line has ended or begun, nothing is out
 * of place, and the target has not come to its limit (counted from behind "OPTIONS ", the longest method). */
static bool nothing_new(const struct cursor *c, size_t scanned, size_t head_max, size_t target_max)
{
	size_t target_end = 9 + target_max;

	if (scanned == 0 || scanned > c->end || c->end >= head_max || (scanned < target_end && c->end >= target_end))
		return false;
	return c->scan->past(&scan_value, c->p, scanned - 1, c->end) == c->end;
}

static ssize_t outcome(struct cursor *c, int r, size_t head_max, const char **why)
{
	if (r == MORE && c->end >= head_max)
		r = refuse(c, 431, "head too large");
	if (r < 0)
		*why = c->why;
	return r == OK ? (ssize_t)c->at : r;
}

ssize_t http1_parse_head(const struct http1_conf *conf, struct slice in, uint32_t scanned, struct head *h,
	const char **why)
{
	struct cursor c = { .p = in.p, .end = in.n < conf->head_max ? in.n : conf->head_max, .scan = scan_best() };
	int r;

	clear(h, sizeof(*h));
	h->base = in.p;
	h->minor = 1;
	h->content_length = -1;
	h->fields = conf->fields;
	if (nothing_new(&c, scanned, conf->head_max, conf->target_max))
		return MORE;
	if ((r = request_line(&c, conf, h)) == OK && (r = fields(&c, conf, h)) == OK)
		r = whole(&c, h);
	return outcome(&c, r, conf->head_max, why);
}

ssize_t http1_parse_trailers(const struct http1_conf *conf, struct slice in, uint32_t scanned, struct head *h,
	const char **why)
{
	struct cursor c = { .p = in.p, .end = in.n < conf->head_max ? in.n : conf->head_max, .scan = scan_best() };
	struct head_field *f = conf->fields + conf->fields_max;
	int r;

	h->base = in.p;
	h->fields = f;
	h->nfields = 0;
	if (nothing_new(&c, scanned, conf->head_max, SIZE_MAX / 2))
		return MORE;
	while ((r = field_line(&c, &f[h->nfields], h->nfields == conf->fields_max)) == OK) {
		if (f[h->nfields].id != FIELD_OTHER) {
			r = refuse(&c, 400, "field that a trailer must not hold");
			break;
		}
		h->nfields++;
	}
	h->n = (uint32_t)c.at;
	return outcome(&c, r == DONE ? OK : r, conf->head_max, why);
}

/* *( ";" token [ "=" ( token / quoted-string ) ] ), without blanks (RFC 9112 §7.1.1), to the CR. */
static int chunk_extensions(struct cursor *c)
{
	while (c->at < c->end && c->p[c->at] == ';') {
		size_t name = ++c->at;

		c->at = c->scan->past(&scan_token, c->p, name, c->end);
		if (c->at < c->end && c->at == name)
			return refuse(c, 400, "malformed chunk extension");
		if (c->at == c->end || c->p[c->at] != '=')
			continue;
		name = ++c->at;
		if (name < c->end && c->p[name] == '"') {
			while (++c->at < c->end && c->p[c->at] != '"') {
				if (c->p[c->at] == '\\' && ++c->at == c->end)
					break;
				if (c->scan->past(&scan_value, c->p, c->at, c->at + 1) == c->at)
					return refuse(c, 400, "malformed chunk extension");
			}
			if (c->at < c->end)
				c->at++;
			continue;
		}
		c->at = c->scan->past(&scan_token, c->p, name, c->end);
		if (c->at < c->end && c->at == name)
			return refuse(c, 400, "malformed chunk extension");
	}
	return c->at == c->end ? MORE : OK;
}

static int chunk_line(struct cursor *c, uint64_t *size, size_t *extension)
{
	size_t digits = 0;
	int r, v;

	for (*size = 0; c->at < c->end && (v = ascii_hex(c->p[c->at])) >= 0; c->at++) {
		if (++digits > 16)
			return refuse(c, 400, "chunk size too long");
		*size = *size << 4 | (unsigned)v;
	}
	if (c->at == c->end)
		return MORE;
	if (digits == 0)
		return refuse(c, 400, "malformed chunk size");
	if (*size > INT64_MAX)
		return refuse(c, 400, "chunk size too large");
	if ((r = chunk_extensions(c)) != OK)
		return r;
	*extension = c->at - digits;
	if (c->p[c->at] != '\r')
		return refuse(c, 400, "malformed chunk line");
	return line_end(c, c->at);
}

ssize_t http1_parse_chunk_line(struct slice in, uint64_t *size, size_t *extension, const char **why)
{
	struct cursor c = { .p = in.p, .end = in.n < HTTP1_CHUNK_LINE_MAX ? in.n : HTTP1_CHUNK_LINE_MAX,
		.scan = scan_best() };
	int r = chunk_line(&c, size, extension);

	if (r == MORE && c.end == HTTP1_CHUNK_LINE_MAX)
		r = refuse(&c, 400, "chunk line too long");
	if (r < 0)
		*why = c.why;
	return r == OK ? (ssize_t)c.at : r;
}
