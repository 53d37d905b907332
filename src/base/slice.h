/* slice.h: bytes that belong to somebody else. */
#ifndef OL_SLICE_H
#define OL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* n bytes at p, borrowed; not NUL-terminated; p may be NULL when n is 0. */
struct slice {
	const char *p;
	size_t n;
};

#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })

static inline struct slice slice_of(const char *s)
{
	return (struct slice){ s, strlen(s) };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* What stands before the first `at` of *rest, which is stepped over; all of it when there is none. */
static inline struct slice slice_cut(struct slice *rest, char at)
{
	const char *end = rest->n ? memchr(rest->p, at, rest->n) : NULL;
	struct slice head = { rest->p, end ? (size_t)(end - rest->p) : rest->n };

	rest->p += head.n + (end != NULL);
	rest->n -= head.n + (end != NULL);
	return head;
}

/* Without the blanks and tabs around it (RFC 9110 §5.6.3, OWS). */
static inline struct slice slice_trim(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s.p++, s.n--;
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static inline bool ascii_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* The value of a hexadecimal digit; -1 when it is none. */
static inline int ascii_hex(char c)
{
	if (ascii_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Equal but for the case of ASCII letters (RFC 9110 §5.1). */
static inline bool slice_eq_nocase(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

#endif
