/* route.h: from a method and a path to a route.  Knows nothing of requests or lanes. */
#ifndef OL_ROUTE_H
#define OL_ROUTE_H

#include "base/arena.h"
#include "base/slice.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ROUTE_METHODS 9      /* one more than the greatest enum ol_method */
#define ROUTE_PARAMS_MAX 16  /* parameters in one pattern */

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
};

struct router;

struct router *router_new(void);
void router_free(struct router *r);

/* Adds prefix + path for method.  0, or a negative errno with one line in err (what is wrong, what would be right):
 * -EINVAL a bad pattern: not starting with '/', a parameter that is not a whole segment, unknown type, bad or repeated
 *         name, {x:path} not last, too many parameters, an escape or character a path cannot hold, dot segments;
 * -EEXIST it could not be told apart from an earlier pattern of the method (err names both);  -ENOMEM. */
int router_add(struct router *r, unsigned method, const char *prefix, const char *path, const void *data,
	char *err, size_t err_n);

/* Patterns in order of addition. */
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
	uint32_t allow;                         /* bit per enum ol_method; HEAD where GET is, OPTIONS always */
};

/* Looks up a path: begins with '/', no query, dot segments removed, escapes valid (path_normalize).  Literal segments are
 * compared decoded.  HEAD falls back to GET.  Types are not checked here.  No allocation; at most one visit per node of the
 * trie, so the time is bounded by the table, not by the request.  Any thread, once all patterns are added. */
enum route_result router_match(const struct router *r, unsigned method, struct slice path, struct route_match *m);

/* Whether a decoded value is of the type, and for int and float its number: int is an optional '-' and 1 to 19 digits within
 * int64_t; float is digits with an optional fraction and exponent (no inf, nan, hex).  ROUTE_STR and ROUTE_PATH: always. */
bool route_value_int(struct slice v, int64_t *out);
bool route_value_float(struct slice v, double *out);
bool route_value_uuid(struct slice v);

/* Decodes %XX of s to dst (room for s.n); '+' becomes a space when plus is set.  The length, or -1 for a bad escape. */
ssize_t percent_decode(char *dst, struct slice s, bool plus);

/* RFC 3986 §5.2.4 on an absolute path, in place, also for dots written as %2e: the new length; -1 when '..' would leave the
 * root, an escape is malformed, or one decodes to NUL.  Paths with neither dots nor '%' are recognised quickly. */
ssize_t path_normalize(char *p, size_t n);

#endif
