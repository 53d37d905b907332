/* trace.h: whose trace a request belongs to, as its client says. */
#ifndef OL_TRACE_H
#define OL_TRACE_H

#include "base/checked.h"
#include "base/slice.h"
#include <stdbool.h>

#define TRACE_ID_LEN 32
#define SPAN_ID_LEN 16

struct ol_req;

/* Both NUL-terminated, in lower case. */
struct trace {
	char trace_id[TRACE_ID_LEN + 1], span_id[SPAN_ID_LEN + 1];
};

/* A field value of traceparent (W3C Trace Context, Level 1 §3.2); false: it is not valid. */
CHECKED bool trace_parse(struct slice value, struct trace *t);

/* The request's own; false: it has none, or not one that is valid.  By whoever may read its head. */
CHECKED bool trace_of(const struct ol_req *r, struct trace *t);

#endif
