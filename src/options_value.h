/* options_value.h: the texts of options as values. */
#ifndef OL_OPTIONS_VALUE_H
#define OL_OPTIONS_VALUE_H

#include "base/checked.h"
#include <stdbool.h>
#include <stdint.h>

/* Each: false when s is not of its kind. */
CHECKED bool value_number(const char *s, uint64_t *v);  /* "8000" */
CHECKED bool value_ms(const char *s, uint64_t *ms);     /* seconds: "30", "30s", "2.5" (up to 3 decimals); or "500ms" */
CHECKED bool value_bytes(const char *s, uint64_t *v);   /* "1048576", "1024k", "1M" or "1G", powers of 1024 */
CHECKED bool value_bool(const char *s, uint64_t *v);    /* true and false, yes and no, on and off, 1 and 0 */
CHECKED bool value_choice(const char *choices, const char *s, uint64_t *v); /* the place of s among "a|b|c", from 0 */

/* An address as --control takes it. */
struct address {
	bool off;               /* "off" */
	const char *unix_path;  /* behind "unix:"; NULL for TCP.  Points into the text */
	char host[256];         /* an address without brackets, or a name */
	unsigned port;
};

/* 0, or -EINVAL when text is not "HOST:PORT", "[ADDRESS]:PORT", "unix:PATH" or "off". */
CHECKED int value_address(const char *text, struct address *a);

#endif
