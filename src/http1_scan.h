/* http1_scan.h: finds where a run of allowed bytes ends, many bytes at a time. */
#ifndef OL_HTTP1_SCAN_H
#define OL_HTTP1_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* A set of bytes: b is in it when lo[b & 15] & hi[b >> 4] is not 0. */
struct scan_class {
	uint8_t lo[16], hi[16];
};

/* RFC 9110 §5.6.2: what methods and field names are made of. */
extern const struct scan_class scan_token;
/* RFC 9110 §5.5: what may stand in a field's value: visible characters, blanks, obs-text. */
extern const struct scan_class scan_value;
/* RFC 3986 §3.3: pchar and '/', without '%' and '.', which deserve a look each. */
extern const struct scan_class scan_path;
/* RFC 3986 §3.4, without '%', and what WHATWG URL leaves unencoded in a query: [ ] \ ^ ` { | } */
extern const struct scan_class scan_query;
/* RFC 3986 §3.2.2: a registered name, without '%'. */
extern const struct scan_class scan_host;

/* One implementation.  Only bytes p[0] to p[end - 1] are read; those before `at` may be read too, and do not matter. */
struct scan {
	const char *name;
	/* The first place in [at, end) whose byte is not in the class; end when there is none. */
	size_t (*past)(const struct scan_class *c, const char *p, size_t at, size_t end);
	/* A field line that starts at `at`.  *colon: the first byte that is not of its name.  When that is a ':', the
	 * first byte behind it that a value cannot hold; else *colon again.  Either is `end` when the bytes run out. */
	size_t (*field)(const char *p, size_t at, size_t end, size_t *colon);
};

/* The best for this processor (or the one that http1_scan_select forced).  Any thread. */
const struct scan *scan_best(void);

/* The i-th that this processor can run, the best first, the scalar one last; then NULL. */
const struct scan *scan_at(unsigned i);

#endif
