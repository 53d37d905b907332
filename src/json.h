/* json.h: JSON text, written by our own code from jansson's values and read by jansson behind a depth check. */
#ifndef OL_JSON_H
#define OL_JSON_H

#include "base/arena.h"
#include "base/checked.h"
#include "base/slice.h"
#include <jansson.h>

#define JSON_DEPTH_MAX 64

/* Writes v into the arena as json_dumpb(v, JSON_COMPACT | JSON_ENCODE_ANY) would, byte for byte (JSON_PRESERVE_ORDER is
 * how jansson iterates since 2.8), but reals with the fewest digits that read back as the same number.  0; -ELOOP:
 * nested deeper than JSON_DEPTH_MAX (also catches circular values); -EINVAL: something jansson would not dump (NULL, a
 * string or key of invalid UTF-8); -ENOMEM.  *out only on success.  v is borrowed and not changed.  Any thread that
 * owns v. */
CHECKED int json_write(struct arena *a, const json_t *v, struct slice *out);

/* Parses any JSON value.  NULL with why (one line, a static or arena string) and at (byte offset) set: bad syntax,
 * nested deeper than JSON_DEPTH_MAX, \u0000 in a string (C strings end there), a number that does not fit, no memory.
 * Of members with one name the last wins.  The depth is checked by one pass over the text before jansson sees it.  A
 * new reference. */
CHECKED json_t *json_parse(struct arena *a, struct slice text, const char **why, size_t *at);

/* s as a JSON string with its quotes, as jansson would write it; invalid UTF-8 becomes U+FFFD.  At dst, room
 * for 6 n + 2; the length written. */
size_t json_quote(char *dst, struct slice s);

#endif
