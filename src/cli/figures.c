/* figures.c: a page of Prometheus's text, and what two of them say together.
 *
 * The text is cut where it lies: names and labels are NUL-terminated in place, so a page costs its text and an array.
 * Most samples have a route, and are asked for by it, one route after the other; so they are also kept sorted by that.
 * Counters mean little by themselves, so what is asked for is mostly the difference between two pages, per second.
 * A histogram knows a time only within its bucket, so a quantile is told as what it is at most, or behind the last
 * bound as what it is more than: never as a number that nobody has measured.
 *
 * Buckets of several histograms are added by their bound, so families may be asked for over all labels.  Numbers are
 * read by strtod in the C locale, which the program never leaves.
 */
#include "cli/figures.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one page ---------------------------------------------------------------------------------------------------- */

/* Where the labels end that begin behind an opening brace: at the closing one; NULL when it is missing. */
static char *labels_end(char *at)
{
	bool quoted = false;

	for (; *at && (quoted || *at != '}'); at++) {
		if (quoted && *at == '\\' && at[1])
			at++;
		else if (*at == '"')
			quoted = !quoted;
	}
	return *at ? at : NULL;
}

/* Cuts one line; false when it is no sample. */
static bool read_sample(char *line, struct sample *s)
{
	size_t n = strcspn(line, "{ ");
	char *value = line + n, *end;

	if (*line == '#' || n == 0 || !line[n])
		return false;
	s->name = line;
	s->labels = value; /* "", once the name has been cut */
	if (*value == '{') {
		s->labels = value + 1;
		if (!(value = labels_end(value + 1)))
			return false;
		*value++ = 0;
	}
	if (*value)
		*value++ = 0;
	line[n] = 0;
	s->value = strtod(value, &end);
	return end > value && isfinite(s->value); /* a NaN says that there is nothing to say */
}

/* Copies a quoted value without its escapes; what stands behind it. */
static const char *unquote(const char *at, char *dst, size_t n)
{
	size_t len = 0;

	for (; *at && *at != '"'; at++) {
		bool escaped = *at == '\\' && at[1];

		at += escaped;
		if (len + 1 < n)
			dst[len++] = escaped && *at == 'n' ? '\n' : *at;
	}
	dst[len] = 0;
	return *at ? at + 1 : at;
}

bool sample_label(const struct sample *s, const char *label, char *dst, size_t n)
{
	size_t len = strlen(label);
	char ignored[1];

	for (const char *at = s->labels; *at;) {
		size_t name = strcspn(at, "=");
		bool wanted = name == len && memcmp(at, label, len) == 0;

		if (!at[name] || at[name + 1] != '"')
			return false;
		at = unquote(at + name + 2, wanted ? dst : ignored, wanted ? n : sizeof(ignored));
		if (wanted)
			return true;
		at += *at == ',';
	}
	return false;
}

static int by_route(const void *a, const void *b)
{
	const struct sample *const *x = a, *const *y = b;

	return strcmp((*x)->route, (*y)->route);
}

/* room: for all routes, which take less than the text they are in. */
static int index_routes(struct figures *f, size_t room)
{
	char *at = f->routes = malloc(room);

	f->by_route = calloc(f->n + 1, sizeof(*f->by_route));
	if (!at || !f->by_route)
		return -ENOMEM;
	for (size_t i = 0; i < f->n; i++) {
		struct sample *s = &f->samples[i];
		size_t n;

		if (!sample_label(s, "route", at, room))
			continue;
		s->route = at;
		f->by_route[f->nrouted++] = s;
		n = strlen(at) + 1;
		at += n;
		room -= n;
	}
	qsort(f->by_route, f->nrouted, sizeof(*f->by_route), by_route);
	return 0;
}

int figures_parse(struct figures *f, char *text, uint64_t at_ns)
{
	size_t lines = 1, n = strlen(text) + 1;

	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	*f = (struct figures){ .text = text, .at_ns = at_ns, .samples = calloc(lines, sizeof(*f->samples)) };
	if (!f->samples) {
		figures_fini(f);
		return -ENOMEM;
	}
	for (char *line = text, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		f->n += read_sample(line, &f->samples[f->n]);
	}
	if (index_routes(f, n) == 0)
		return 0;
	figures_fini(f);
	return -ENOMEM;
}

void figures_fini(struct figures *f)
{
	free(f->by_route);
	free(f->routes);
	free(f->samples);
	free(f->text);
	*f = (struct figures){ 0 };
}

/* ---- which samples ----------------------------------------------------------------------------------------------- */

static bool is_meant(const struct sample *s, struct where where)
{
	char value[512];

	return !where.label || (sample_label(s, where.label, value, sizeof(value)) && strcmp(value, where.value) == 0);
}

/* How many of those that have a route come before it, or with `too` before the next one. */
static size_t before_route(const struct figures *f, const char *route, bool too)
{
	size_t low = 0, high = f->nrouted;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(f->by_route[middle]->route, route) < too)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* A walk over those that are meant. */
struct walk {
	const struct figures *f;
	struct where where;
	bool routed;            /* they are all of by_route[at, end), else some of samples[at, end) */
	size_t at, end;
};

static struct walk walk_begin(const struct figures *f, struct where where)
{
	bool routed = where.label && strcmp(where.label, "route") == 0;

	return (struct walk){ .f = f, .where = where, .routed = routed,
		.at = routed ? before_route(f, where.value, false) : 0,
		.end = routed ? before_route(f, where.value, true) : f->n };
}

/* The next one whose name begins with the first n characters of that, its NUL perhaps among them; NULL at the end. */
static const struct sample *walk_next(struct walk *w, const char *name, size_t n)
{
	while (w->at < w->end) {
		const struct sample *s = w->routed ? w->f->by_route[w->at] : &w->f->samples[w->at];

		w->at++;
		if (strncmp(s->name, name, n) == 0 && (w->routed || is_meant(s, w->where)))
			return s;
	}
	return NULL;
}

bool figures_sum(const struct figures *f, const char *name, struct where where, double *sum)
{
	struct walk w = walk_begin(f, where);
	const struct sample *s;
	bool found = false;

	*sum = 0;
	while ((s = walk_next(&w, name, strlen(name) + 1))) {
		*sum += s->value;
		found = true;
	}
	return found;
}

/* ---- two pages --------------------------------------------------------------------------------------------------- */

double figures_rate(const struct figures *now, const struct figures *then, const char *name, struct where where)
{
	double a = 0, b = 0, rate;

	if (!then || then->at_ns >= now->at_ns || !figures_sum(now, name, where, &b))
		return 0;
	figures_sum(then, name, where, &a);
	rate = (b - a) / ((double)(now->at_ns - then->at_ns) / 1e9);
	return rate > 0 && isfinite(rate) ? rate : 0;
}

static bool has_status(const struct sample *s, const char *status)
{
	char value[8];

	return !status || (sample_label(s, "status", value, sizeof(value)) &&
		strncmp(value, status, strlen(status)) == 0);
}

static void add_bucket(struct spread *out, double le, double count)
{
	unsigned i = 0;

	while (i < out->n && out->le[i] < le)
		i++;
	if (i < out->n && out->le[i] == le) {
		out->count[i] += count;
		return;
	}
	if (out->n == SPREAD_MAX)
		return;
	memmove(&out->le[i + 1], &out->le[i], (out->n - i) * sizeof(*out->le));
	memmove(&out->count[i + 1], &out->count[i], (out->n - i) * sizeof(*out->count));
	out->le[i] = le;
	out->count[i] = count;
	out->n++;
}

/* Adds one page's counts, or takes them away. */
static void add_page(const struct figures *f, const char *name, struct where where, const char *status, double sign,
	struct spread *out)
{
	struct walk w = walk_begin(f, where);
	size_t n = strlen(name);
	const struct sample *s;
	char le[32];

	while ((s = walk_next(&w, name, n))) {
		if (!has_status(s, status))
			continue;
		if (strcmp(s->name + n, "_sum") == 0)
			out->sum += sign * s->value;
		else if (strcmp(s->name + n, "_bucket") == 0 && sample_label(s, "le", le, sizeof(le)))
			add_bucket(out, strcmp(le, "+Inf") == 0 ? (double)INFINITY : strtod(le, NULL), sign * s->value);
	}
}

void figures_gain(const struct figures *now, const struct figures *then, const char *name, struct where where,
	const char *status, struct spread *out)
{
	*out = (struct spread){ .n = 0 };
	if (!then)
		return;
	add_page(now, name, where, status, 1, out);
	add_page(then, name, where, status, -1, out);
}

double spread_count(const struct spread *s)
{
	return s->n ? s->count[s->n - 1] : 0;
}

double spread_quantile(const struct spread *s, double q, char *bound)
{
	double rank = q * spread_count(s);
	unsigned i = 0;

	*bound = '<';
	if (!(rank > 0))
		return -1;
	while (i < s->n - 1 && s->count[i] < rank)
		i++;
	if (!isinf(s->le[i]))
		return s->le[i];
	*bound = '>';
	return i > 0 ? s->le[i - 1] : -1;
}
