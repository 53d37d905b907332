/* fuzz_percent.c: decoding and normalising of any bytes, against plain implementations that keep lists and copies. */
#include "percent.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_percent: %s\n", what);
	abort();
}

static int plain_escape(struct slice s, size_t i)
{
	static const char digits[] = "0123456789abcdef";
	const char *high, *low;

	if (i + 2 >= s.n || s.p[i + 1] == '\0' || s.p[i + 2] == '\0')
		return -1;
	high = strchr(digits, ascii_lower(s.p[i + 1]));
	low = strchr(digits, ascii_lower(s.p[i + 2]));
	return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static ssize_t plain_decode(char *dst, struct slice s, bool plus)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		int c = (unsigned char)s.p[i];

		if (c == '+' && plus)
			c = ' ';
		if (c == '%') {
			c = plain_escape(s, i);
			if (c < 0)
				return -1;
			i += 2;
		}
		dst[n++] = (char)c;
	}
	return (ssize_t)n;
}

static void check_decode(struct slice s, bool plus)
{
	char *expected = malloc(s.n + 1), *apart = malloc(s.n + 1), *in_place = malloc(s.n + 1);
	ssize_t n, m;

	must(expected && apart && in_place, "no memory");
	if (s.n)
		memcpy(in_place, s.p, s.n);
	n = plain_decode(expected, s, plus);
	m = percent_decode(apart, s, plus);
	must(n == m, "another length than the plain decoder's");
	must(n < 0 || memcmp(expected, apart, (size_t)n) == 0, "other bytes than the plain decoder's");
	must(percent_decode(in_place, (struct slice){ in_place, s.n }, plus) == n, "another length in place");
	must(n < 0 || memcmp(expected, in_place, (size_t)n) == 0, "other bytes in place");
	free(expected);
	free(apart);
	free(in_place);
}

#define SEGMENTS_MAX 512

/* Decoded dots of a segment: 0 for what is no dot segment, -1 for what no path may hold. */
static int plain_dots(struct slice s)
{
	char *decoded = malloc(s.n + 1);
	ssize_t n = plain_decode(decoded, s, false);
	int dots = 0;

	for (size_t i = 0; i < s.n && n >= 0; i++)
		if (s.p[i] == '%' && plain_escape(s, i) == 0)
			n = -1;
	if (n < 0)
		dots = -1;
	else if (n == 1 && decoded[0] == '.')
		dots = 1;
	else if (n == 2 && memcmp(decoded, "..", 2) == 0)
		dots = 2;
	free(decoded);
	return dots;
}

/* RFC 3986 §5.2.4 with a list of segments.  The result in dst (room for s.n). */
static ssize_t plain_normalize(char *dst, struct slice s)
{
	struct slice segments[SEGMENTS_MAX];
	size_t count = 0, n = 0;

	if (s.n == 0 || s.p[0] != '/')
		return -1;
	for (size_t at = 1; at <= s.n;) {
		const char *slash = memchr(s.p + at, '/', s.n - at);
		struct slice segment = { s.p + at, slash ? (size_t)(slash - s.p) - at : s.n - at };
		int dots = plain_dots(segment);

		at += segment.n + 1;
		if (dots < 0 || (dots == 2 && count == 0))
			return -1;
		if (dots == 2)
			count--;
		if (dots == 0)
			segments[count++] = segment;
		else if (!slash)
			segments[count++] = SLICE("");
	}
	for (size_t i = 0; i < count; i++) {
		dst[n++] = '/';
		if (segments[i].n)
			memcpy(dst + n, segments[i].p, segments[i].n);
		n += segments[i].n;
	}
	return (ssize_t)n;
}

static void check_no_dots(const char *p, size_t n)
{
	for (size_t at = 0, end; at < n; at = end) {
		const char *slash = memchr(p + at + 1, '/', n - at - 1);

		end = slash ? (size_t)(slash - p) : n;
		must(plain_dots((struct slice){ p + at + 1, end - at - 1 }) == 0, "a dot or bad escape is left");
	}
}

static void check_normalize(struct slice s)
{
	char *path = malloc(s.n + 1), *expected = malloc(s.n + 1);
	ssize_t n, m;

	must(path && expected, "no memory");
	if (s.n)
		memcpy(path, s.p, s.n);
	path[s.n] = '#';
	n = path_normalize(path, s.n);
	m = plain_normalize(expected, s);
	must(n == m, "another length than the plain one's");
	must(path[s.n] == '#', "written behind the end");
	if (n >= 0) {
		must(n > 0 && (size_t)n <= s.n && path[0] == '/', "no path, or longer than before");
		must(memcmp(path, expected, (size_t)n) == 0, "another path than the plain one's");
		check_no_dots(path, (size_t)n);
		must(path_normalize(path, (size_t)n) == n, "another length the second time");
		must(memcmp(path, expected, (size_t)n) == 0, "another path the second time");
	}
	free(path);
	free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s = { (const char *)data, size };

	if (size > SEGMENTS_MAX - 1)
		return 0;
	check_decode(s, false);
	check_decode(s, true);
	check_normalize(s);
	return 0;
}
