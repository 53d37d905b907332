/* log.h: lines for people and machines, written by a thread of their own.
 *
 *	2026-11-22T07:53:25.123Z info  request method=GET route=/x/{id} agent="a b" took=12.345ms
 *	{"time":"2026-11-22T07:53:25.123Z","level":"info","msg":"request","route":"/x/{id}","took":0.012345}
 */
#ifndef OL_LOG_H
#define OL_LOG_H

#include "checked.h"
#include "slice.h"
#include <stdarg.h>
#include <stdint.h>

struct log;

enum log_format { LOG_TEXT, LOG_JSON };
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG }; /* same order as enum ol_level */

/* One more thing a line says: a name and a string or a number. */
struct log_field {
	const char *name;                       /* a word of the program's own: it is written as it is */
	enum { LOG_STR, LOG_INT, LOG_US } kind; /* LOG_US: microseconds; "1.234ms" in text, seconds in JSON: 0.001234 */
	struct slice str;
	int64_t num;
};

#define LOG_FIELD_STR(name_, slice_) { .name = name_, .kind = LOG_STR, .str = slice_ }
#define LOG_FIELD_INT(name_, num_) { .name = name_, .kind = LOG_INT, .num = num_ }
#define LOG_FIELD_US(name_, us_) { .name = name_, .kind = LOG_US, .num = us_ }

struct log_conf {
	int fd;                 /* where lines go; duplicated.  Never made non-blocking (it may be shared) */
	enum log_format format;
	enum log_level level;   /* lines above it are not written */
	size_t capacity;        /* bytes of lines that may wait for the writer, which holds as many again; 0: 1 MiB */
	struct log_field own;   /* a number that each line ends with, even one that was cut; name NULL: none */
};

/* Starts the writer.  NULL with errno. */
CHECKED struct log *log_new(const struct log_conf *conf);

/* Waits at most drain_ms for what is queued to be written, then gives up on a reader that does not read (the writer is
 * stuck in write(2) then, and is left behind with the memory it uses).  Takes NULL. */
void log_free(struct log *l, int drain_ms);

/* Waits at most ms until what is queued now has been written.  Others may go on logging meanwhile: for a process that
 * ends without log_free, because threads that use the log cannot be joined.  Any thread. */
void log_flush(struct log *l, int ms);

/* Queues one line: time, level, message, fields.  Never waits for the reader: when the queue is full the line is
 * dropped and counted, and the writer says so when it can write again ("123 lines dropped").  Control characters and
 * invalid UTF-8 are escaped, so that a request can never forge a line; a line is cut at 4 KiB.  Any thread; not
 * async-signal-safe. */
void log_line(struct log *l, enum log_level level, struct slice msg, const struct log_field *fields, size_t n);

/* The same with a formatted message, cut at LOG_TEXT_MAX - 1 bytes. */
#define LOG_TEXT_MAX 2048
void log_vprintf(struct log *l, enum log_level level, const struct log_field *fields, size_t n, const char *fmt,
	va_list ap) __attribute__((format(printf, 5, 0)));
void log_printf(struct log *l, enum log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Lines dropped so far.  Any thread. */
uint64_t log_dropped(const struct log *l);

#endif
