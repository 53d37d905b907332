/* percent.h: percent-encoding (RFC 3986 §2.1) and dot segments (§5.2.4). */
#ifndef OL_PERCENT_H
#define OL_PERCENT_H

#include "base/checked.h"
#include "base/slice.h"
#include <stdbool.h>
#include <sys/types.h>

/* Decodes %XX of s to dst (room for s.n; may be s.p itself); '+' becomes a space when plus is set.  The length, or -1
 * for a malformed escape.  %00 is decoded like any other: who needs a C string looks for NUL. */
CHECKED ssize_t percent_decode(char *dst, struct slice s, bool plus);

/* Removes the dot segments of an absolute path (no query) in place, also those whose dots are written %2e: the new
 * length, never more than n; -1 when the path does not begin with '/', '..' would leave the root, an escape is
 * malformed, or one decodes to NUL.  Other escapes stay as they are: %2F is data, not a separator.  "//" holds an empty
 * segment, which '..' removes like any other.  Paths with neither "/." nor '%' are recognised quickly. */
CHECKED ssize_t path_normalize(char *p, size_t n);

#endif
