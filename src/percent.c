/* percent.c: percent-encoding and dot segments.
 *
 * Two pure functions, any thread, no allocation.  percent_decode turns one piece of a target (a segment, a query value)
 * into the bytes it stands for.  path_normalize works on the path as it was sent and leaves it encoded, because
 * decoding before splitting would make %2F a separator: a segment is first cut out at real slashes and only then
 * understood.
 *
 * Both go over their input once, left to right, and never write ahead of where they read.  That is why they may work in
 * place, and why the result is never longer.
 *
 * path_normalize keeps p[0..out) a normal path throughout: a sequence of segments, each with its leading slash, none a
 * dot segment.  So one look at it is enough, and a second call changes nothing.
 *
 * What it does not do: it neither decodes escapes of unreserved characters nor joins slashes, and a value decoded later
 * may hold "../" that was sent as "..%2F".  Whoever makes file names of values must look again.
 */
#include "percent.h"

#include <string.h>

/* The byte that the escape at the start of p stands for; -1 when it is malformed or longer than the n bytes there. */
static int escape_value(const char *p, size_t n)
{
	int high, low;

	if (n < 3)
		return -1;
	high = ascii_hex(p[1]);
	low = ascii_hex(p[2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

ssize_t percent_decode(char *dst, struct slice s, bool plus)
{
	size_t in = 0, out = 0;

	while (in < s.n) {
		int c;

		if (s.p[in] != '%') {
			dst[out++] = plus && s.p[in] == '+' ? ' ' : s.p[in];
			in++;
			continue;
		}
		c = escape_value(s.p + in, s.n - in);
		if (c < 0)
			return -1;
		dst[out++] = (char)c;
		in += 3;
	}
	return (ssize_t)out;
}

/* How many dots the segment consists of, 1 or 2; 0: it is no dot segment; -1: a bad escape, or one of NUL. */
static int segment_dots(const char *p, const char *end)
{
	int dots = 0;
	bool other = false;

	while (p < end) {
		int c = *p;

		if (c == '%') {
			c = escape_value(p, (size_t)(end - p));
			if (c <= 0)
				return -1;
			p += 2;
		}
		p++;
		if (c == '.' && dots < 2)
			dots++;
		else
			other = true;
	}
	return other ? 0 : dots;
}

ssize_t path_normalize(char *p, size_t n)
{
	size_t in = 0, out = 0;

	if (n == 0 || p[0] != '/')
		return -1;
	/* memchr is much faster than memmem, and most paths have no dot at all */
	if (!memchr(p, '%', n) && (!memchr(p, '.', n) || !memmem(p, n, "/.", 2)))
		return (ssize_t)n;
	while (in < n) { /* p[in] is the slash before a segment */
		const char *slash = memchr(p + in + 1, '/', n - in - 1);
		size_t end = slash ? (size_t)(slash - p) : n;
		int dots = segment_dots(p + in + 1, p + end);

		if (dots < 0 || (dots == 2 && out == 0))
			return -1;
		if (dots == 0) {
			memmove(p + out, p + in, end - in);
			out += end - in;
		}
		if (dots == 2)
			while (p[--out] != '/')
				;
		if (dots > 0 && end == n)
			p[out++] = '/';
		in = end;
	}
	return (ssize_t)out;
}
