/* fuzz_route.c: a table of patterns and paths against a matcher that tries every pattern.
 *
 * The input is text.  A line "1/items/{id}" adds a pattern for method 1 (enum ol_method), "?1/items/7" looks up a path.
 * The plain matcher compares segment by segment and writes down of which kind each was ('l'iteral, 'p'arameter,
 * 'r'est); of the patterns that match, the one whose kinds sort first is right.
 */
#include "offloop.h"
#include "route.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATTERNS_MAX 64
#define LINE_MAX_ 200

struct plain_match {
	char kinds[LINE_MAX_];
	struct slice values[ROUTE_PARAMS_MAX];
	unsigned nvalues;
};

static void must(bool ok, const char *what, struct slice about)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_route: %s: %.*s\n", what, (int)about.n, about.p);
	abort();
}

/* The segment behind the slash at *at; *at then stands at the next slash or the end. */
static struct slice take_segment(struct slice path, size_t *at)
{
	size_t start = *at + 1, end = start;

	while (end < path.n && path.p[end] != '/')
		end++;
	*at = end;
	return (struct slice){ path.p + start, end - start };
}

static char segment_kind(struct slice s)
{
	if (s.n == 0 || s.p[0] != '{')
		return 'l';
	return s.n > 6 && memcmp(s.p + s.n - 6, ":path}", 6) == 0 ? 'r' : 'p';
}

static bool literal_is(struct slice literal, struct slice segment)
{
	char decoded[LINE_MAX_ + 1];
	ssize_t n = percent_decode(decoded, segment, false);

	return n >= 0 && slice_eq(literal, (struct slice){ decoded, (size_t)n });
}

static bool plain_matches(struct slice pattern, struct slice path, struct plain_match *m)
{
	size_t at = 0, pattern_at = 0, n = 0;

	m->nvalues = 0;
	while (at < path.n && pattern_at < pattern.n) {
		size_t start = at + 1;
		struct slice want = take_segment(pattern, &pattern_at), have = take_segment(path, &at);
		char kind = segment_kind(want);

		m->kinds[n++] = kind;
		m->kinds[n] = '\0';
		if (kind == 'r') {
			m->values[m->nvalues++] = (struct slice){ path.p + start, path.n - start };
			return true;
		}
		if (kind == 'p' ? have.n == 0 : !literal_is(want, have))
			return false;
		if (kind == 'p')
			m->values[m->nvalues++] = have;
	}
	return at == path.n && pattern_at == pattern.n;
}

static bool same_shape(struct slice a, struct slice b)
{
	size_t a_at = 0, b_at = 0;

	while (a_at < a.n && b_at < b.n) {
		struct slice s = take_segment(a, &a_at), t = take_segment(b, &b_at);

		if (segment_kind(s) != segment_kind(t) || (segment_kind(s) == 'l' && !slice_eq(s, t)))
			return false;
	}
	return a_at == a.n && b_at == b.n;
}

static bool shape_known(const struct router *r, unsigned method, struct slice pattern)
{
	for (size_t i = 0; i < router_count(r); i++)
		if (router_at(r, i)->method == method && same_shape(slice_of(router_at(r, i)->text), pattern))
			return true;
	return false;
}

static void check_add(struct router *r, unsigned method, struct slice line)
{
	char path[LINE_MAX_ + 1], err[256] = "";
	size_t before = router_count(r);
	bool known = shape_known(r, method, line);
	int error;

	memcpy(path, line.p, line.n);
	path[line.n] = '\0';
	error = router_add(r, method, "", path, NULL, err, sizeof(err));
	must(error != 0 || !known, "added twice", line);
	must(error != -EEXIST || known, "called a double without being one", line);
	must((error == 0) == (err[0] == '\0'), "a message without an error, or none with one", line);
	must(router_count(r) == before + (error == 0), "counted wrongly", line);
	if (error == 0)
		must(strcmp(router_at(r, before)->text, path) == 0, "kept another text", line);
}

static bool plain_any(const struct router *r, struct slice path)
{
	struct plain_match m;

	for (size_t i = 0; i < router_count(r); i++)
		if (plain_matches(slice_of(router_at(r, i)->text), path, &m))
			return true;
	return false;
}

static bool plain_slash(const struct router *r, struct slice path)
{
	char longer[LINE_MAX_ + 2];

	memcpy(longer, path.p, path.n);
	longer[path.n] = '/';
	if (plain_any(r, (struct slice){ longer, path.n + 1 }))
		return true;
	return path.n > 1 && path.p[path.n - 1] == '/' && plain_any(r, (struct slice){ path.p, path.n - 1 });
}

static bool serves(unsigned declared, unsigned asked)
{
	return declared == asked || (asked == OL_METHOD_HEAD && declared == OL_METHOD_GET);
}

/* What router_match ought to give. */
static enum route_result plain_lookup(const struct router *r, unsigned method, struct slice path,
	struct route_match *out)
{
	struct plain_match best, m;
	uint32_t allow = 0;

	out->pattern = NULL;
	for (size_t i = 0; i < router_count(r); i++) {
		const struct route_pattern *p = router_at(r, i);
		int order;

		if (!plain_matches(slice_of(p->text), path, &m))
			continue;
		allow |= 1U << p->method | (p->method == OL_METHOD_GET ? 1U << OL_METHOD_HEAD : 0);
		if (!serves(p->method, method))
			continue;
		order = out->pattern ? strcmp(m.kinds, best.kinds) : -1;
		if (order < 0 || (order == 0 && p->method == method)) {
			out->pattern = p;
			best = m;
		}
	}
	out->allow = 0;
	if (out->pattern) {
		memcpy(out->values, best.values, sizeof(best.values));
		return ROUTE_FOUND;
	}
	if (allow) {
		out->allow = allow | 1U << OL_METHOD_OPTIONS;
		return ROUTE_METHOD;
	}
	return plain_slash(r, path) ? ROUTE_SLASH : ROUTE_NOT_FOUND;
}

static void check_match(const struct router *r, unsigned method, struct slice line)
{
	char *path = malloc(line.n);
	struct route_match ours, plain;
	enum route_result result;
	ssize_t n;

	must(path != NULL, "no memory", line);
	memcpy(path, line.p, line.n);
	n = path_normalize(path, line.n);
	if (n > 0) {
		struct slice s = { path, (size_t)n };

		result = router_match(r, method, s, &ours);
		must(result == plain_lookup(r, method, s, &plain), "another result", s);
		must(ours.pattern == plain.pattern, "another pattern", s);
		must(ours.allow == plain.allow, "other methods allowed", s);
		for (unsigned i = 0; ours.pattern && i < ours.pattern->nparams; i++)
			must(slice_eq(ours.values[i], plain.values[i]), "another value", s);
		must(result != ROUTE_SLASH || n < 3 || memcmp(path, "//", 2) != 0, "redirected to another host", s);
	}
	free(path);
}

static void check_line(struct router *r, struct slice line)
{
	bool lookup = line.n > 0 && line.p[0] == '?';
	unsigned method;

	line.p += lookup;
	line.n -= lookup;
	if (line.n < 2 || line.n > LINE_MAX_ || line.p[0] < '1' || line.p[0] > '8' || memchr(line.p, '\0', line.n))
		return;
	method = (unsigned)(line.p[0] - '0');
	line.p++;
	line.n--;
	if (lookup)
		check_match(r, method, line);
	else if (router_count(r) < PATTERNS_MAX)
		check_add(r, method, line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct router *r = router_new();
	size_t at = 0;

	must(r != NULL, "no memory", SLICE(""));
	while (at < size) {
		const uint8_t *newline = memchr(data + at, '\n', size - at);
		size_t n = newline ? (size_t)(newline - data) - at : size - at;

		check_line(r, (struct slice){ (const char *)data + at, n });
		at += n + 1;
	}
	router_free(r);
	return 0;
}
