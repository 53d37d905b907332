/* lab_reply.c: replies of HTTP/1.1, as a client reads them.
 *
 * The lab measures servers of many makes, so it must find a reply's end however they tell it: by Content-Length, in
 * chunks, or by closing (RFC 9112 §6.3).  It is also what costs the loader most after its system calls: bytes are taken
 * where they lie, line by line in the head, and whole pieces at a time in the body; only a line that is split between
 * two reads is copied.
 *
 * Of the head four things count: version, status, length and whether the connection ends.  A sign that this is no
 * HTTP/1, a chunk's size that is none, or two lengths that differ make the reply bad; anything subtler is for tests of
 * servers, which this is not.  Trailers are passed over.
 *
 * Pure: bytes in, a verdict out; no descriptor, no clock, no memory of its own.
 */
#include "cli/lab_reply.h"
#include "base/slice.h"

enum place { STATUS_LINE, FIELDS, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILERS, UNTIL_CLOSE };

static bool take_number(struct slice s, unsigned base, uint64_t *v)
{
	uint64_t n = 0;

	if (s.n == 0 || s.n > 15)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int digit = ascii_hex(s.p[i]);

		if (digit < 0 || (unsigned)digit >= base)
			return false;
		n = n * base + (unsigned)digit;
	}
	*v = n;
	return true;
}

static bool take_status(struct reply *r, struct slice line)
{
	uint64_t status;

	if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || !ascii_digit(line.p[7]) || line.p[8] != ' ' ||
		!take_number((struct slice){ line.p + 9, 3 }, 10, &status) || status < 100)
		return false;
	r->status = (unsigned short)status;
	r->close = line.p[7] == '0';
	r->place = FIELDS;
	return true;
}

static void take_connection(struct reply *r, struct slice value)
{
	while (value.n > 0) {
		struct slice option = slice_trim(slice_cut(&value, ','));

		if (slice_eq_nocase(option, SLICE("close")))
			r->close = true;
		else if (slice_eq_nocase(option, SLICE("keep-alive")))
			r->close = false;
	}
}

static bool take_length(struct reply *r, struct slice value)
{
	uint64_t before = r->left;
	bool again = r->sized;

	r->sized = take_number(value, 10, &r->left);
	return r->sized && (!again || r->left == before);
}

/* false: the field spoils the reply. */
static bool take_field(struct reply *r, struct slice line)
{
	struct slice value = line, name = slice_cut(&value, ':');

	value = slice_trim(value);
	if (slice_eq_nocase(name, SLICE("content-length")))
		return take_length(r, value);
	if (slice_eq_nocase(name, SLICE("connection")))
		take_connection(r, value);
	else if (slice_eq_nocase(name, SLICE("transfer-encoding")))
		r->chunked = slice_eq_nocase(value, SLICE("chunked"));
	return true;
}

/* The head's blank line. */
static enum reply_said end_head(struct reply *r)
{
	if (r->status < 200) {
		*r = (struct reply){ .place = STATUS_LINE };
		return REPLY_MORE;
	}
	if (r->status == 204 || r->status == 304)
		return REPLY_DONE;
	if (r->chunked)
		r->place = CHUNK_SIZE;
	else if (r->sized)
		r->place = BODY;
	else
		r->place = UNTIL_CLOSE;
	r->close |= r->place == UNTIL_CLOSE;
	return r->place == BODY && r->left == 0 ? REPLY_DONE : REPLY_MORE;
}

/* One line, without its end. */
static enum reply_said take_line(struct reply *r, struct slice line)
{
	bool good = true;

	switch ((enum place)r->place) {
	case STATUS_LINE:
		good = take_status(r, line);
		break;
	case FIELDS:
		if (line.n == 0)
			return end_head(r);
		good = take_field(r, line);
		break;
	case CHUNK_SIZE:
		good = take_number(slice_trim(slice_cut(&line, ';')), 16, &r->left);
		r->place = r->left ? CHUNK : TRAILERS;
		break;
	case CHUNK_END:
		good = line.n == 0;
		r->place = CHUNK_SIZE;
		break;
	case TRAILERS:
		return line.n == 0 ? REPLY_DONE : REPLY_MORE;
	case BODY:
	case CHUNK:
	case UNTIL_CLOSE:
		break;
	}
	return good ? REPLY_MORE : REPLY_BAD;
}

/* Keeps what of a line does not end here. */
static void keep(struct reply *r, const char *p, size_t n)
{
	size_t room = sizeof(r->line) - r->nline;

	n = n < room ? n : room;
	memcpy(r->line + r->nline, p, n);
	r->nline = (unsigned short)(r->nline + n);
}

/* A line of what is at p, or as much of it as has come; *used says how much. */
static enum reply_said feed_line(struct reply *r, const char *p, size_t n, size_t *used)
{
	const char *end = memchr(p, '\n', n);
	struct slice line = { p, end ? (size_t)(end - p) : n };

	*used = line.n + (end != NULL);
	if (!end || r->nline > 0) {
		keep(r, p, line.n);
		line = (struct slice){ r->line, r->nline };
	}
	if (!end)
		return REPLY_MORE;
	r->nline = 0;
	line.n -= line.n > 0 && line.p[line.n - 1] == '\r';
	return take_line(r, line);
}

/* Bytes of a body; *used says how many. */
static enum reply_said feed_body(struct reply *r, size_t n, size_t *used)
{
	*used = r->place == UNTIL_CLOSE || n < r->left ? n : (size_t)r->left;
	if (r->place == UNTIL_CLOSE)
		return REPLY_MORE;
	r->left -= *used;
	if (r->left > 0)
		return REPLY_MORE;
	if (r->place == BODY)
		return REPLY_DONE;
	r->place = CHUNK_END;
	return REPLY_MORE;
}

enum reply_said reply_feed(struct reply *r, const char *p, size_t n, size_t *used)
{
	enum reply_said said = REPLY_MORE;

	*used = 0;
	while (said == REPLY_MORE && *used < n) {
		bool body = r->place == BODY || r->place == CHUNK || r->place == UNTIL_CLOSE;
		size_t took;

		said = body ? feed_body(r, n - *used, &took) : feed_line(r, p + *used, n - *used, &took);
		*used += took;
	}
	return said;
}

bool reply_ends_here(const struct reply *r)
{
	return r->place == UNTIL_CLOSE;
}
