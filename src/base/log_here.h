/* log_here.h: the log of a process that has no threads: whoever logs writes. */
#ifndef OL_LOG_HERE_H
#define OL_LOG_HERE_H

#include "log.h"

struct log_here {
	int fd;                 /* the caller's */
	enum log_format format;
	enum log_level level;   /* lines above it are not written */
	uint64_t dropped;       /* lines that no line has told of */
};

/* Writes the line, as log_line would, if the descriptor takes it now; else it is dropped, and told of when one can be
 * written again.  SIGPIPE is the caller's to ignore. */
void log_here(struct log_here *l, enum log_level level, struct slice msg, const struct log_field *fields, size_t n);
void log_here_printf(struct log_here *l, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
