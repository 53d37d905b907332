/* route.c: the trie of path patterns.
 *
 * A pattern is cut at its slashes; each segment is an edge of the trie: a literal, a parameter {name}, or {name:path}
 * for all that is left.  So "/a" has one segment, "/a/" two, the last empty, and "/" has one empty segment.  A node
 * keeps at most one edge of each of the two parameter kinds (two names for one place are one edge; names and types are
 * a pattern's own, since GET and DELETE of one path may call its parameters differently) and, where a pattern ends, one
 * pattern per method.
 *
 * Literal edges of all nodes stand in one hash table, open addressing, keyed by (node, segment).  A lookup therefore
 * costs the same whether a node has one literal child or ten thousand.  What a client sends is only ever looked up,
 * never stored, so it cannot make the probes longer and the hash needs no secret.
 *
 * Matching goes down recursively and tries literal, parameter, rest in this order, going back when a branch fails.  The
 * node decides how many segments have been consumed, hence no node is visited twice, and the depth is that of the
 * deepest pattern.  A pattern without the method asked for does not end the search; its methods are collected for the
 * Allow field.
 *
 * A path that begins with "//" can match {name:path} alone, because a pattern's first segment is never empty when more
 * follow.  Hence a redirect to the path with or without its last slash never points to "//other-host/".
 *
 * Adding is for one thread, before matching begins; then everything is constant and any thread may match.  Nothing is
 * removed.  A failed router_add may leave nodes where no pattern ends: they are harmless.  Types are not looked at
 * while matching.
 */
#include "route.h"
#include "method.h"
#include "offloop.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Where patterns end: at least one of by_method is set. */
struct leaf {
	struct route_pattern *by_method[METHODS];
	uint32_t methods;       /* bit per method set above */
};

struct node {
	const struct node *parent;
	struct slice literal;   /* of the edge that leads here; nothing for parameters */
	struct node *param;     /* edge {name} */
	struct leaf *leaf;      /* patterns that end here */
	struct leaf *rest;      /* patterns that end here with {name:path} */
	uint32_t hash;          /* of parent and literal */
	bool has_literals;
};

struct router {
	struct arena memory;                    /* nodes, leaves, patterns */
	struct node root;
	struct node **table;                    /* literal edges; table_size is a power of two, at most half is used */
	size_t table_size, table_used;
	const struct route_pattern **patterns;
	size_t count, room;
};

/* ---- the table of literal edges ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 32;
}

/* All bytes of p in one word, n below 8: two halves that may overlap, or the first, middle and last byte. */
static uint64_t short_word(const char *p, size_t n)
{
	uint32_t first, last;

	if (n >= 4) {
		memcpy(&first, p, 4);
		memcpy(&last, p + n - 4, 4);
		return (uint64_t)last << 32 | first;
	}
	if (n == 0)
		return 0;
	first = (unsigned char)p[0];
	last = (unsigned char)p[n - 1];
	return first << 16 | last << 8 | (unsigned char)p[n / 2];
}

static uint32_t edge_hash(const struct node *parent, struct slice s)
{
	uint64_t h = mix(s.n, (uintptr_t)parent), word;

	for (; s.n >= 8; s.p += 8, s.n -= 8) {
		memcpy(&word, s.p, 8);
		h = mix(h, word);
	}
	return (uint32_t)mix(h, short_word(s.p, s.n));
}

/* The place of the edge in the table: where it is, or the free place where it belongs. */
static struct node **edge_place(const struct router *r, const struct node *parent, struct slice s, uint32_t hash)
{
	size_t mask = r->table_size - 1;

	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct node *n = r->table[i];

		if (!n || (n->hash == hash && n->parent == parent && slice_eq(n->literal, s)))
			return &r->table[i];
	}
}

static int table_grow(struct router *r)
{
	struct node **old = r->table;
	size_t old_size = r->table_size;

	r->table = calloc(old_size * 2, sizeof(*r->table));
	if (!r->table) {
		r->table = old;
		return -ENOMEM;
	}
	r->table_size = old_size * 2;
	for (size_t i = 0; i < old_size; i++)
		if (old[i])
			*edge_place(r, old[i]->parent, old[i]->literal, old[i]->hash) = old[i];
	free(old);
	return 0;
}

static void *zalloc(struct router *r, size_t n)
{
	void *p = arena_alloc(&r->memory, n);

	return p ? memset(p, 0, n) : NULL;
}

/* The child behind the literal s, made when it is not there; NULL without memory.  s is kept. */
static struct node *literal_child(struct router *r, struct node *parent, struct slice s)
{
	uint32_t hash = edge_hash(parent, s);
	struct node *n = *edge_place(r, parent, s, hash);

	if (n)
		return n;
	if (r->table_used >= r->table_size / 2 && table_grow(r) != 0)
		return NULL;
	n = zalloc(r, sizeof(*n));
	if (!n)
		return NULL;
	n->parent = parent;
	n->literal = s;
	n->hash = hash;
	*edge_place(r, parent, s, hash) = n;
	r->table_used++;
	parent->has_literals = true;
	return n;
}

static struct node *param_child(struct router *r, struct node *parent)
{
	if (!parent->param)
		parent->param = zalloc(r, sizeof(*parent->param));
	return parent->param;
}

struct router *router_new(void)
{
	struct router *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	arena_init(&r->memory, NULL, 0);
	r->table_size = 64;
	r->table = calloc(r->table_size, sizeof(*r->table));
	if (!r->table) {
		free(r);
		return NULL;
	}
	return r;
}

void router_free(struct router *r)
{
	if (!r)
		return;
	arena_reset(&r->memory);
	free(r->table);
	free(r->patterns);
	free(r);
}

size_t router_count(const struct router *r)
{
	return r->count;
}

const struct route_pattern *router_at(const struct router *r, size_t i)
{
	assert(i < r->count);
	return r->patterns[i];
}

/* ---- reading a pattern ------------------------------------------------------------------------------------------- */

/* A pattern while it is added, and where its complaint goes. */
struct draft {
	struct route_pattern *pattern;
	char *err;
	size_t err_n;
};

__attribute__((format(printf, 3, 4))) static int refuse(const struct draft *d, int error, const char *fmt, ...)
{
	const char *method = method_name(d->pattern->method);
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (d->err_n == 0)
		return error;
	snprintf(d->err, d->err_n, "%s \"%s\": %s", method ? method : "route", d->pattern->text, why);
	for (char *c = d->err; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?'; /* of the pattern; this is to be one line */
	return error;
}

/* Formats a slice with "%.*s"; what is longer than fits in a line is cut. */
#define CUT(s) (int)((s).n < 64 ? (s).n : 64), (s).p

static bool param_type(struct slice s, enum route_param_type *type)
{
	static const struct {
		struct slice name;
		enum route_param_type type;
	} types[] = {
		{ { "int", 3 }, ROUTE_INT },
		{ { "float", 5 }, ROUTE_FLOAT },
		{ { "uuid", 4 }, ROUTE_UUID },
		{ { "path", 4 }, ROUTE_PATH },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (slice_eq(types[i].name, s)) {
			*type = types[i].type;
			return true;
		}
	return false;
}

static bool letter_or_digit(char c)
{
	return ascii_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

static bool name_ok(struct slice s)
{
	if (s.n == 0 || ascii_digit(s.p[0]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!letter_or_digit(s.p[i]) && s.p[i] != '_')
			return false;
	return true;
}

/* Reads what stands between the braces of a parameter's segment and adds it to the pattern. */
static int read_param(const struct draft *d, struct slice inside, bool last)
{
	struct route_pattern *p = d->pattern;
	const char *colon = memchr(inside.p, ':', inside.n);
	struct slice name = { inside.p, colon ? (size_t)(colon - inside.p) : inside.n };
	enum route_param_type type = ROUTE_STR;

	if (!name_ok(name))
		return refuse(d, -EINVAL,
			"\"%.*s\" is no name for a parameter; use letters, digits and '_', as in {item_id}", CUT(name));
	for (unsigned i = 0; i < p->nparams; i++)
		if (slice_eq(p->params[i].name, name))
			return refuse(d, -EINVAL, "two parameters are called \"%.*s\"; rename one", CUT(name));
	if (colon) {
		struct slice word = { colon + 1, inside.n - name.n - 1 };

		if (!param_type(word, &type))
			return refuse(d, -EINVAL,
				"unknown type \"%.*s\"; there are int, float, uuid and path, and {%.*s} for any text",
				CUT(word), CUT(name));
	}
	if (type == ROUTE_PATH && !last)
		return refuse(d, -EINVAL, "{%.*s:path} takes the rest of the path, so it must be the last segment",
			CUT(name));
	if (p->nparams == ROUTE_PARAMS_MAX)
		return refuse(d, -EINVAL, "more than %d parameters; pass some in the query", ROUTE_PARAMS_MAX);
	p->params[p->nparams++] = (struct route_param){ name, type };
	return 0;
}

/* Characters of a path segment (RFC 3986 §3.3) that may stand in a literal, and bytes of UTF-8. */
static bool literal_char(char c)
{
	return (unsigned char)c >= 0x80 || letter_or_digit(c) || (c != '\0' && strchr(" -._~!$&'()*+,;=:@", c));
}

/* Refuses what other frameworks write for a parameter (":id", "*", "*path", "<int:id>"): as a literal it would match
 * nothing that a client asks for, and nobody would be told.  A colon further on ("/jobs/1:cancel") is a literal's. */
static int check_foreign(const struct draft *d, struct slice s)
{
	struct slice name = { s.p + 1, 0 };

	while (1 + name.n < s.n && (letter_or_digit(name.p[name.n]) || name.p[name.n] == '_'))
		name.n++;
	if (s.n > 0 && s.p[0] == ':' && name_ok(name))
		return refuse(d, -EINVAL,
			"\"%.*s\" would match only itself; a parameter is written {%.*s}, or with a type {%.*s:int}",
			CUT(s), CUT(name), CUT(name));
	if (slice_eq(s, SLICE("*")) || slice_eq(s, SLICE("**")) ||
		(s.n > 0 && s.p[0] == '*' && name.n + 1 == s.n && name_ok(name))) {
		name = name.n > 0 ? name : SLICE("rest");
		return refuse(d, -EINVAL, "\"%.*s\" would match only itself; the rest of a path is written {%.*s:path}",
			CUT(s), CUT(name));
	}
	if (s.n > 0 && s.p[0] == '<')
		return refuse(d, -EINVAL, "\"%.*s\": a parameter is written {name}, or with a type {name:int}", CUT(s));
	return 0;
}

static int check_literal(const struct draft *d, struct slice s, bool last)
{
	int error = check_foreign(d, s);

	if (error)
		return error;
	if (s.n == 0 && !last)
		return refuse(d, -EINVAL, "an empty segment (\"//\"); write one slash");
	if (memchr(s.p, '{', s.n) || memchr(s.p, '}', s.n))
		return refuse(d, -EINVAL, "\"%.*s\": a parameter must be a whole segment, as in /{name}/", CUT(s));
	if (slice_eq(s, SLICE(".")) || slice_eq(s, SLICE("..")))
		return refuse(d, -EINVAL, "the dot segment \"%.*s\" never reaches a route; leave it out", CUT(s));
	if (s.n > ROUTE_LITERAL_MAX)
		return refuse(d, -EINVAL, "a segment longer than %d bytes", ROUTE_LITERAL_MAX);
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%')
			return refuse(d, -EINVAL, "\"%.*s\": write the character itself, not an escape", CUT(s));
		if (c == '?' || c == '#')
			return refuse(d, -EINVAL, "a path ends before '%c'; read a query with ol_query", c);
		if (!literal_char(c))
			return refuse(d, -EINVAL, "the byte 0x%02x cannot stand in a path", (unsigned char)c);
	}
	return 0;
}

/* Joins the ring of those in the leaf that have its text. */
static void join_same(struct route_pattern *p, const struct leaf *leaf)
{
	p->same = p;
	for (unsigned i = 0; i < METHODS; i++) {
		struct route_pattern *q = leaf->by_method[i];

		if (q && strcmp(q->text, p->text) == 0) {
			p->same = q->same;
			q->same = p;
			return;
		}
	}
}

/* Makes the pattern one of the leaf's, which is made too when there is none. */
static int end_pattern(struct router *r, const struct draft *d, struct leaf **leaf)
{
	struct route_pattern *p = d->pattern;
	const struct route_pattern *other;

	if (!*leaf)
		*leaf = zalloc(r, sizeof(**leaf));
	if (!*leaf)
		return refuse(d, -ENOMEM, "not enough memory");
	other = (*leaf)->by_method[p->method];
	if (other)
		return refuse(d, -EEXIST,
			"cannot be told apart from %s \"%s\", which was declared before; change or remove one",
			method_name(other->method), other->text);
	join_same(p, *leaf);
	(*leaf)->by_method[p->method] = p;
	(*leaf)->methods |= UINT32_C(1) << p->method;
	return 0;
}

static bool is_param(struct slice s)
{
	return s.n >= 2 && s.p[0] == '{' && memchr(s.p, '}', s.n) == s.p + s.n - 1;
}

/* Goes down the pattern's text, making the edges that are not there. */
static int add_segments(struct router *r, const struct draft *d)
{
	struct route_pattern *p = d->pattern;
	struct node *node = &r->root;
	const char *at = p->text + 1;

	for (;;) {
		const char *end = strchrnul(at, '/');
		struct slice s = { at, (size_t)(end - at) };
		bool last = *end == '\0';
		int error;

		if (is_param(s)) {
			error = read_param(d, (struct slice){ s.p + 1, s.n - 2 }, last);
			if (error)
				return error;
			if (p->params[p->nparams - 1].type == ROUTE_PATH)
				return end_pattern(r, d, &node->rest);
			node = param_child(r, node);
		} else {
			error = check_literal(d, s, last);
			if (error)
				return error;
			node = literal_child(r, node, s);
		}
		if (!node)
			return refuse(d, -ENOMEM, "not enough memory");
		if (last)
			return end_pattern(r, d, &node->leaf);
		at = end + 1;
	}
}

static int check_start(const struct draft *d, const char *prefix, const char *path)
{
	size_t n = strlen(prefix);

	if (!path)
		return refuse(d, -EINVAL, "a route needs a path, \"/\" at least");
	if (d->pattern->method == 0 || d->pattern->method >= METHODS)
		return refuse(d, -EINVAL, "no method; declare it with OL_GET, OL_POST and the like");
	if (n > 0 && prefix[0] != '/')
		return refuse(d, -EINVAL, "the prefix \"%s\" must begin with '/'", prefix);
	if (n > 0 && prefix[n - 1] == '/')
		return refuse(d, -EINVAL, "the prefix \"%s\" must not end with '/', since paths begin with one",
			prefix);
	if (path[0] != '/' && (n == 0 || path[0] != '\0'))
		return refuse(d, -EINVAL, "the path must begin with '/': \"/%s\"", path);
	return 0;
}

static int reserve_pattern(struct router *r)
{
	size_t room = r->room ? r->room * 2 : 64;
	void *p;

	if (r->count < r->room)
		return 0;
	p = realloc(r->patterns, room * sizeof(*r->patterns));
	if (!p)
		return -ENOMEM;
	r->patterns = p;
	r->room = room;
	return 0;
}

int router_add(struct router *r, unsigned method, const char *prefix, const char *path, const void *data,
	char *err, size_t err_n)
{
	struct route_pattern unnamed = { .text = path ? path : "", .method = method };
	struct draft d = { &unnamed, err, err_n };
	int error = check_start(&d, prefix, path);

	if (error)
		return error;
	if (reserve_pattern(r) != 0)
		return refuse(&d, -ENOMEM, "not enough memory");
	d.pattern = zalloc(r, sizeof(*d.pattern));
	if (d.pattern)
		d.pattern->text = arena_printf(&r->memory, NULL, "%s%s", prefix, path);
	if (!d.pattern || !d.pattern->text) {
		d.pattern = &unnamed;
		return refuse(&d, -ENOMEM, "not enough memory");
	}
	d.pattern->method = method;
	d.pattern->index = (uint32_t)r->count;
	d.pattern->data = data;
	error = add_segments(r, &d);
	if (error)
		return error;
	r->patterns[r->count++] = d.pattern;
	return 0;
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

/* One way down the trie.  The path ends before n; with extra_slash one more '/' is thought behind it. */
struct walk {
	const struct router *r;
	struct route_match *m;
	const char *p;
	size_t n;
	unsigned method;        /* 0: any */
	uint32_t allow;         /* methods of matching patterns that lack the one asked for */
	bool extra_slash;
	bool escaped;           /* there is a '%' in it */
};

static const struct node *find_literal(const struct router *r, const struct node *from, struct slice s)
{
	return *edge_place(r, from, s, edge_hash(from, s));
}

/* The same for a segment with escapes.  Out of line, so that the buffer is not in every frame of descend. */
__attribute__((noinline)) static const struct node *find_encoded(const struct router *r, const struct node *from,
	struct slice s)
{
	char decoded[3 * ROUTE_LITERAL_MAX]; /* what is longer encoded is also longer than any literal decoded */
	ssize_t n = s.n > sizeof(decoded) ? -1 : percent_decode(decoded, s, false);

	return n < 0 ? NULL : find_literal(r, from, (struct slice){ decoded, (size_t)n });
}

/* The child behind the literal that the segment stands for, or NULL. */
static inline const struct node *literal_of(const struct walk *w, const struct node *from, struct slice s)
{
	if (!from->has_literals)
		return NULL;
	return w->escaped && memchr(s.p, '%', s.n) ? find_encoded(w->r, from, s) : find_literal(w->r, from, s);
}

/* The leaf's pattern for the method, or NULL. */
static const struct route_pattern *choose(struct walk *w, const struct leaf *leaf)
{
	const struct route_pattern *p;

	if (w->method == 0)
		return leaf->by_method[__builtin_ctz(leaf->methods)];
	p = leaf->by_method[w->method];
	if (!p && w->method == OL_METHOD_HEAD)
		p = leaf->by_method[OL_METHOD_GET];
	if (!p)
		w->allow |= leaf->methods;
	return p;
}

/* The pattern that matches from `node` on: the segment at offset `at` has not been consumed, `nvalues` values have been
 * set. */
static const struct route_pattern *descend(struct walk *w, const struct node *node, size_t at, unsigned nvalues);

/* The same once an edge has led to `to`, consuming the segment that ends at `end`. */
static const struct route_pattern *arrive(struct walk *w, const struct node *to, size_t end, bool last,
	unsigned nvalues)
{
	if (!last)
		return descend(w, to, end + 1, nvalues);
	return to->leaf ? choose(w, to->leaf) : NULL;
}

static const struct route_pattern *descend(struct walk *w, const struct node *node, size_t at, unsigned nvalues)
{
	size_t left = at < w->n ? w->n - at : 0; /* 0 also behind an extra slash, where at is n + 1 */
	struct slice rest = { w->p + w->n - left, left };
	const char *slash = memchr(rest.p, '/', left);
	struct slice segment = { rest.p, slash ? (size_t)(slash - rest.p) : left };
	bool last = !slash && !(w->extra_slash && at <= w->n);
	const struct route_pattern *found = NULL;
	const struct node *literal = literal_of(w, node, segment);

	if (literal)
		found = arrive(w, literal, at + segment.n, last, nvalues);
	if (!found && node->param && segment.n > 0) {
		w->m->values[nvalues] = segment;
		found = arrive(w, node->param, at + segment.n, last, nvalues + 1);
	}
	if (!found && node->rest) {
		w->m->values[nvalues] = rest;
		found = choose(w, node->rest);
	}
	return found;
}

/* Whether the path would match for some method with its trailing slash added or removed. */
static bool matches_but_for_slash(struct walk *w)
{
	w->method = 0;
	if (w->n > 1 && w->p[w->n - 1] == '/') {
		w->n--;
		if (descend(w, &w->r->root, 1, 0))
			return true;
		w->n++;
	}
	w->extra_slash = true;
	return descend(w, &w->r->root, 1, 0) != NULL;
}

enum route_result router_match(const struct router *r, unsigned method, struct slice path, struct route_match *m)
{
	struct walk w = { .r = r, .m = m, .p = path.p, .n = path.n, .method = method };

	assert(method > 0 && method < METHODS && path.n > 0 && path.p[0] == '/');
	w.escaped = memchr(path.p, '%', path.n) != NULL;
	m->allow = 0;
	m->pattern = descend(&w, &r->root, 1, 0);
	if (m->pattern)
		return ROUTE_FOUND;
	if (w.allow) {
		m->allow = w.allow | UINT32_C(1) << OL_METHOD_OPTIONS;
		if (w.allow & UINT32_C(1) << OL_METHOD_GET)
			m->allow |= UINT32_C(1) << OL_METHOD_HEAD;
		return ROUTE_METHOD;
	}
	return matches_but_for_slash(&w) ? ROUTE_SLASH : ROUTE_NOT_FOUND;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

bool route_value_int(struct slice v, int64_t *out)
{
	bool minus = v.n > 0 && v.p[0] == '-';
	uint64_t limit = minus ? UINT64_C(1) << 63 : INT64_MAX, n = 0;

	if (v.n == minus || v.n > 19 + (size_t)minus)
		return false;
	for (size_t i = minus; i < v.n; i++) {
		if (!ascii_digit(v.p[i]))
			return false;
		n = n * 10 + (uint64_t)(v.p[i] - '0'); /* 19 digits stay below 2^64 */
	}
	if (n > limit)
		return false;
	*out = minus ? (int64_t)(0 - n) : (int64_t)n;
	return true;
}

/* Steps over digits; false when there are none. */
static bool skip_digits(const char **at)
{
	const char *start = *at;

	while (ascii_digit(**at))
		(*at)++;
	return *at > start;
}

static bool float_syntax(const char *s)
{
	if (*s == '-')
		s++;
	if (!skip_digits(&s))
		return false;
	if (*s == '.') {
		s++;
		if (!skip_digits(&s))
			return false;
	}
	if (ascii_lower(*s) == 'e') {
		s++;
		if (*s == '+' || *s == '-')
			s++;
		if (!skip_digits(&s))
			return false;
	}
	return *s == '\0';
}

bool route_value_float(struct slice v, double *out)
{
	char text[256];
	locale_t c_locale;
	double number;

	if (v.n == 0 || v.n >= sizeof(text) || memchr(v.p, '\0', v.n))
		return false;
	memcpy(text, v.p, v.n);
	text[v.n] = '\0';
	if (!float_syntax(text))
		return false;
	c_locale = newlocale(LC_ALL_MASK, "C", NULL); /* a constant of libc's, nothing is allocated */
	if (!c_locale)
		return false;
	number = strtod_l(text, NULL, c_locale);
	freelocale(c_locale);
	if (!isfinite(number))
		return false;
	*out = number;
	return true;
}

bool route_value_uuid(struct slice v)
{
	if (v.n != 36)
		return false;
	for (size_t i = 0; i < v.n; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		char c = ascii_lower(v.p[i]);

		if (dash ? c != '-' : !ascii_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
	}
	return true;
}
