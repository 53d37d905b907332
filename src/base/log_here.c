/* log_here.c: the log of a process that has no threads: whoever logs writes.
 *
 * For a supervisor, which forks and so cannot have a writer.  It must not wait for the log's reader either, for then
 * nobody would start its workers again.  A line is written whole when poll(2) finds room (for a pipe that is room for
 * PIPE_BUF bytes, and no line is longer), else dropped and counted; the next one that can be written is preceded by a
 * line that says how many were dropped.  A descriptor that takes nothing any more drops them all.
 *
 * One thread.  A child of fork may use its copy as well.
 */
#include "log_here.h"
#include "log_line.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line must fit in an atomic write to a pipe");

static bool write_line(const struct log_here *l, enum log_level level, struct slice msg, const struct log_field *fields,
	size_t n)
{
	struct pollfd ready = { .fd = l->fd, .events = POLLOUT };
	struct log_field none = { 0 };
	struct log_text o;

	n = log_compose(&o, l->format == LOG_JSON, level, msg, fields, n, &none);
	return poll(&ready, 1, 0) == 1 && write(l->fd, o.bytes, n) == (ssize_t)n;
}

static bool tell_dropped(struct log_here *l)
{
	char msg[48];

	snprintf(msg, sizeof(msg), "%" PRIu64 " line%s dropped", l->dropped, l->dropped == 1 ? "" : "s");
	if (!write_line(l, LOG_WARN, slice_of(msg), NULL, 0))
		return false;
	l->dropped = 0;
	return true;
}

void log_here(struct log_here *l, enum log_level level, struct slice msg, const struct log_field *fields, size_t n)
{
	if (level > l->level)
		return;
	if ((l->dropped > 0 && !tell_dropped(l)) || !write_line(l, level, msg, fields, n))
		l->dropped++;
}

void log_here_printf(struct log_here *l, enum log_level level, const char *fmt, ...)
{
	char msg[LOG_TEXT_MAX];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (len >= 0)
		log_here(l, level, slice_of(msg), NULL, 0);
}
