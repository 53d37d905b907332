/* route.h: from a method and a path to a route.  Knows nothing of requests or lanes. */
#ifndef OL_ROUTE_H
#define OL_ROUTE_H

#include "base/arena.h"
#include "base/checked.h"
#include "base/slice.h"
#include "percent.h"
#include <stdbool.h>
#include <stdint.h>

#define ROUTE_PARAMS_MAX 16   /* parameters in one pattern */
#define ROUTE_LITERAL_MAX 255 /* bytes in one literal segment */

enum route_param_type { ROUTE_STR, ROUTE_INT, ROUTE_FLOAT, ROUTE_UUID, ROUTE_PATH };

/* What a pattern declares of one parameter. */
struct route_param {
	struct slice name;
	enum route_param_type type;
};

/* One added pattern. */
struct route_pattern {
	const char *text;           /* the whole template, prefix included; the router's memory */
	unsigned method;            /* enum ol_method */
	unsigned nparams;
	struct route_param params[ROUTE_PARAMS_MAX];
	uint32_t index;             /* order of addition, from 0 */
	const void *data;           /* the caller's */
	const struct route_pattern *same;   /* the next with this text, of another method: a ring, mostly of one */
};

/* Whether none with its text was added before it. */
static inline bool route_is_first(const struct route_pattern *p)
{
	for (const struct route_pattern *q = p->same; q != p; q = q->same)
		if (q->index < p->index)
			return false;
	return true;
}

struct router;

/* NULL with errno ENOMEM. */
CHECKED struct router *router_new(void);

/* Takes NULL. */
void router_free(struct router *r);

/* Adds prefix + path for method.  The prefix is "" or begins with '/' and does not end with one; behind one that is not
 * empty the path may be "".  Both may hold parameters.  A literal is written as it reads, decoded: "/naïve", never
 * "/na%C3%AFve".  "/a" and "/a/" are two patterns.  The strings are copied; data is the caller's.
 * 0, or a negative errno with one line in err (what is wrong, what would be right):
 * -EINVAL no path or method; a bad pattern: not starting with '/', a parameter that is not a whole segment, unknown
 *         type, bad or repeated name, {x:path} not last, too many parameters, an escape, a character a path cannot
 *         hold, an empty segment before the last, dot segments;
 * -EEXIST it could not be told apart from an earlier pattern of the method (err names both);  -ENOMEM. */
CHECKED int router_add(struct router *r, unsigned method, const char *prefix, const char *path, const void *data,
	char *err, size_t err_n);

/* Patterns in order of addition; i below router_count. */
size_t router_count(const struct router *r);
const struct route_pattern *router_at(const struct router *r, size_t i);

enum route_result {
	ROUTE_FOUND,        /* pattern and values are set */
	ROUTE_NOT_FOUND,    /* 404 */
	ROUTE_METHOD,       /* the path is known, not with this method: `allow` holds the ones it has */
	ROUTE_SLASH,        /* not known, but it would be with the trailing slash added or removed: 307 */
};

struct route_match {
	const struct route_pattern *pattern;
	struct slice values[ROUTE_PARAMS_MAX];  /* as in the path given; still percent-encoded */
	uint32_t allow;                         /* bit per enum ol_method; HEAD where GET is, OPTIONS always.  Else 0 */
};

/* Looks up a path: begins with '/', no query, dot segments removed, escapes valid (path_normalize).  Literal segments
 * are compared decoded.  HEAD falls back to GET.  Of the patterns that match and have the method the most literal one
 * from the left wins: a literal segment before {name}, {name} (not empty) before {x:path} (may be empty).  Types are
 * not checked here.  No allocation; at most one visit per node of the trie and try (the path as it is, then for
 * ROUTE_SLASH with and without the slash), so the time is bounded by the table, not by the request.  Any thread, once
 * all patterns are added. */
enum route_result router_match(const struct router *r, unsigned method, struct slice path, struct route_match *m);

/* Whether a decoded value is of the type, and for int and float its number: int is an optional '-' and 1 to 19 digits
 * within int64_t; float is an optional '-', digits, an optional fraction and exponent, finite, at most 255 characters
 * (no inf, nan, hex), read the same in every locale; uuid is RFC 9562 §4 in any case.  ROUTE_STR and ROUTE_PATH:
 * always.  *out only if true. */
CHECKED bool route_value_int(struct slice v, int64_t *out);
CHECKED bool route_value_float(struct slice v, double *out);
CHECKED bool route_value_uuid(struct slice v);

#endif
