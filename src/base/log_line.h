/* log_line.h: one line of the log, as text or JSON. */
#ifndef OL_LOG_LINE_H
#define OL_LOG_LINE_H

#include "log.h"
#include <stdbool.h>

#define LOG_LINE_MAX 4096       /* the longest line, with its newline */

/* A line being written.  Once something did not fit, nothing but the tail is added. */
struct log_text {
	char *at, *end;
	bool json, cut;
	char bytes[LOG_LINE_MAX];
};

/* Writes the line of now into o->bytes; its length.  own: as in struct log_conf.  Any thread. */
size_t log_compose(struct log_text *o, bool json, enum log_level level, struct slice msg,
	const struct log_field *fields, size_t n, const struct log_field *own);

#endif
