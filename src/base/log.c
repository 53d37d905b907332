/* log.c: lines for people and machines, written by a thread of their own.
 *
 * A caller formats its line (log_line.c) on its own stack, and holds the lock only to copy it behind the lines that
 * wait.  The writer takes all that wait at once, by exchanging the buffer they are in for an empty one, and holds no
 * lock while it writes: a reader that has stopped reading can block the writer, never a caller.  When the buffer is
 * full the line is dropped and counted; after the next successful write comes a line that says how many.
 *
 * Waking a thread costs a caller more than the whole line.  So the writer is woken only when it sleeps, and after a
 * write it first lingers a few milliseconds and writes what has come meanwhile: under load nobody is ever woken, and a
 * lone line is written at once.  An error, or a half full buffer, ends the lingering.
 *
 * The descriptor is a duplicate, so that the owner may close its own at any time.  It may be blocking or not; a pipe
 * is given whole lines, no more than PIPE_BUF at once, when poll(2) finds room: such a write does not block, and is
 * not torn by other processes that log to the same pipe.  A pipe whose reader is gone ends the writing for good (all
 * later lines count as dropped); a full disk loses what it could not take, and the line after that begins on a line of
 * its own.
 *
 * log_free waits a bounded time.  If the writer is then still stuck, the log becomes the writer's, which frees it when
 * its write returns, if ever.  The lock decides who frees: log_free, when it has seen `finished`; the writer, when it
 * sees `abandoned` as it finishes.
 *
 * Threads: log_new and log_free by the owner, once; the others by any.  The writer blocks all signals, so SIGPIPE
 * stays pending there and is lost.  Not async-signal-safe, and not usable in a child of fork.
 */
#include "log.h"
#include "clock.h"
#include "counter.h"
#include "log_line.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CAPACITY (UINT64_C(1) << 20)
#define PIECE_BYTES ((size_t)65536)             /* one write(2) to anything but a pipe */
#define LINGER_NS (5 * NS_PER_MS)
#define POLL_MS 100                             /* how soon a writer that waits for room sees that it was abandoned */

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line must fit in an atomic write to a pipe");

LOCK_ROLE(log_role);

enum writer_state { WRITER_AWAKE, WRITER_LINGERS, WRITER_SLEEPS };

struct log {
	/* Set by log_new. */
	int fd;
	enum log_format format;
	enum log_level level;
	struct log_field own;
	size_t capacity, piece_max;
	pthread_t thread;

	/* The writer's. */
	char *writing;
	bool torn;                                      /* the last byte written was not the end of a line */

	/* Everybody's. */
	pthread_mutex_t mutex;
	pthread_cond_t wake;                            /* for the writer */
	pthread_cond_t progress;                        /* for those who wait for the writer */
	char *filling GUARDED_BY(log_role);
	size_t n GUARDED_BY(log_role);                  /* bytes in it: whole lines */
	uint64_t queued GUARDED_BY(log_role);           /* bytes that were ever put in */
	uint64_t handled GUARDED_BY(log_role);          /* of these: written or given up */
	uint64_t untold GUARDED_BY(log_role);           /* dropped lines that no line has told of */
	enum writer_state state GUARDED_BY(log_role);
	bool stopping GUARDED_BY(log_role);             /* the writer is to end once nothing waits */
	bool broken GUARDED_BY(log_role);               /* nothing can be written any more */
	bool finished GUARDED_BY(log_role);             /* the writer will not touch the log again */
	bool abandoned GUARDED_BY(log_role);            /* the log is the writer's to free */

	/* Changed under the lock only, and read without it. */
	_Atomic uint64_t dropped;
};

static void lock(struct log *l) ACQUIRES(log_role);
static void unlock(struct log *l) RELEASES(log_role);
static void sleep_until_lines(struct log *l) REQUIRES(log_role);
static void linger(struct log *l) REQUIRES(log_role);
static void rouse(struct log *l) REQUIRES(log_role);
static void drop(struct log *l, uint64_t lines) REQUIRES(log_role);
static void give_up_writing(struct log *l) REQUIRES(log_role);
static bool wait_progress(struct log *l, uint64_t until_ns) REQUIRES(log_role);
static void write_waiting(struct log *l) REQUIRES(log_role);

/* ---- the lock ---------------------------------------------------------------------------------------------------- */

static UNCHECKED void lock(struct log *l)
{
	pthread_mutex_lock(&l->mutex);
}

static UNCHECKED void unlock(struct log *l)
{
	pthread_mutex_unlock(&l->mutex);
}

/* Waits for the condition until then; false when it is then. */
static bool wait_until(struct log *l, pthread_cond_t *condition, uint64_t until_ns)
{
	struct timespec t = clock_timespec(until_ns);

	return pthread_cond_timedwait(condition, &l->mutex, &t) != ETIMEDOUT;
}

static void drop(struct log *l, uint64_t lines)
{
	l->untold += lines;
	counter_add(&l->dropped, lines);
}

static void rouse(struct log *l)
{
	l->state = WRITER_AWAKE;
	pthread_cond_signal(&l->wake);
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */

static uint64_t count_lines(const char *p, size_t n)
{
	const char *end = p + n;
	uint64_t lines = 0;

	for (; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	return lines;
}

static bool was_abandoned(struct log *l)
{
	bool answer;

	lock(l);
	answer = l->abandoned;
	unlock(l);
	return answer;
}

/* As many whole lines as one write may carry; the rest of a line, after a short write, counts as one. */
static size_t piece_of(const struct log *l, const char *p, size_t n)
{
	const char *newline;

	if (n <= l->piece_max)
		return n;
	newline = memrchr(p, '\n', l->piece_max);
	return newline ? (size_t)(newline + 1 - p) : l->piece_max;
}

/* One write when there is room; how many bytes it took (0: none yet), or -errno. */
static ssize_t write_some(struct log *l, const char *p, size_t n)
{
	struct pollfd ready = { .fd = l->fd, .events = POLLOUT };
	ssize_t done;
	int error;

	if (poll(&ready, 1, POLL_MS) <= 0)
		return 0;
	done = write(l->fd, p, piece_of(l, p, n));
	error = done < 0 ? errno : EIO;
	if (done > 0)
		return done;
	if (error == EAGAIN)            /* somebody else was faster, or poll sees room where there is too little */
		poll(NULL, 0, 1);
	return error == EINTR || error == EAGAIN ? 0 : -error;
}

/* Writes it all.  0, or -errno with *p and *n at what was not written; -ECANCELED when the log was abandoned. */
static int write_all(struct log *l, const char **p, size_t *n)
{
	while (*n > 0) {
		ssize_t done = was_abandoned(l) ? -ECANCELED : write_some(l, *p, *n);

		if (done < 0)
			return (int)done;
		if (done > 0) {
			l->torn = (*p)[done - 1] != '\n';
			*p += done;
			*n -= (size_t)done;
		}
	}
	return 0;
}

/* Ends the half line that a failed write has left. */
static int mend(struct log *l)
{
	const char *newline = "\n";
	size_t n = l->torn;

	return write_all(l, &newline, &n);
}

/* "123 lines dropped". */
static int write_notice(struct log *l, uint64_t lines)
{
	struct log_text o;
	char msg[48];
	const char *p = o.bytes;
	size_t n;

	snprintf(msg, sizeof(msg), "%ju line%s dropped", (uintmax_t)lines, lines == 1 ? "" : "s");
	n = log_compose(&o, l->format == LOG_JSON, LOG_WARN, slice_of(msg), NULL, 0, &l->own);
	return write_all(l, &p, &n);
}

/* The reader is gone: nothing that waits or comes will be written. */
static void give_up_writing(struct log *l)
{
	l->broken = true;
	drop(l, count_lines(l->filling, l->n));
	l->n = 0;
	l->handled = l->queued;
}

/* Writes what waits, and what had to be dropped; the lock is left meanwhile. */
static void write_waiting(struct log *l)
{
	uint64_t queued = l->queued, told = 0;
	char *batch = l->filling;
	const char *p = batch;
	size_t n = l->n;
	uint64_t untold = l->untold;
	int failed;

	l->filling = l->writing;
	l->writing = batch;
	l->n = 0;
	unlock(l);
	failed = mend(l);
	if (!failed)
		failed = write_all(l, &p, &n);
	if (!failed && untold && write_notice(l, untold) == 0)
		told = untold;
	lock(l);
	l->untold -= told;
	l->handled = queued;
	drop(l, count_lines(p, n));
	if (failed == -EPIPE || failed == -EBADF || failed == -EINVAL)
		give_up_writing(l);
	pthread_cond_broadcast(&l->progress);
}

static void sleep_until_lines(struct log *l)
{
	l->state = WRITER_SLEEPS;
	while (l->n == 0 && !l->stopping)
		pthread_cond_wait(&l->wake, &l->mutex);
	l->state = WRITER_AWAKE;
}

static void linger(struct log *l)
{
	uint64_t until = clock_now_ns() + LINGER_NS;

	if (l->stopping || l->n > l->capacity / 2)
		return;
	l->state = WRITER_LINGERS;
	while (l->state == WRITER_LINGERS && wait_until(l, &l->wake, until))
		continue;
	l->state = WRITER_AWAKE;
}

/* Nobody else knows the log any more. */
static UNCHECKED void destroy(struct log *l)
{
	pthread_cond_destroy(&l->progress);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->mutex);
	close(l->fd);
	free(l->filling);
	free(l->writing);
	free(l);
}

static void *writer_main(void *arg)
{
	struct log *l = arg;
	bool mine;

	lock(l);
	for (;;) {
		sleep_until_lines(l);
		if (l->n == 0 || l->abandoned)
			break;
		write_waiting(l);
		linger(l);
	}
	l->finished = true;
	mine = l->abandoned;
	pthread_cond_broadcast(&l->progress);
	unlock(l);
	if (mine)
		destroy(l);
	return NULL;
}

/* ---- the owner --------------------------------------------------------------------------------------------------- */

static void init_locks(struct log *l)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->wake, &attr);
	pthread_cond_init(&l->progress, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&l->mutex, NULL);
}

/* A thread that no signal is delivered to; 0 or the error number. */
static int start_writer(struct log *l)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&l->thread, NULL, writer_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

struct log *log_new(const struct log_conf *conf)
{
	size_t capacity = conf->capacity ? conf->capacity : CAPACITY;
	struct log *l = calloc(1, sizeof(*l));
	char *one, *other;
	struct stat st;
	int error;

	if (!l)
		return NULL;
	if (capacity < LOG_LINE_MAX)
		capacity = LOG_LINE_MAX;
	one = malloc(capacity);
	other = malloc(capacity);
	*l = (struct log){
		.fd = fcntl(conf->fd, F_DUPFD_CLOEXEC, 3),
		.format = conf->format,
		.level = conf->level,
		.own = conf->own,
		.capacity = capacity,
		.writing = one,
		.filling = other,
		.state = WRITER_AWAKE,
	};
	init_locks(l);
	error = l->fd < 0 || fstat(l->fd, &st) < 0 ? errno : 0;
	if (!error && (!one || !other))
		error = ENOMEM;
	if (!error) {
		l->piece_max = S_ISFIFO(st.st_mode) ? PIPE_BUF : PIECE_BYTES;
		error = start_writer(l);
	}
	if (error) {
		destroy(l);
		errno = error;
		return NULL;
	}
	return l;
}

/* Waits for the writer to write something, or to end; false when it is time to go. */
static bool wait_progress(struct log *l, uint64_t until_ns)
{
	if (l->state != WRITER_AWAKE)
		rouse(l);
	return wait_until(l, &l->progress, until_ns);
}

void log_flush(struct log *l, int ms)
{
	uint64_t until = clock_after_ms(clock_now_ns(), ms > 0 ? ms : 0), target;

	lock(l);
	target = l->queued;
	while (l->handled < target && wait_progress(l, until))
		continue;
	unlock(l);
}

void log_free(struct log *l, int drain_ms)
{
	uint64_t until = clock_after_ms(clock_now_ns(), drain_ms > 0 ? drain_ms : 0);
	pthread_t thread;
	bool finished;

	if (!l)
		return;
	lock(l);
	thread = l->thread;
	l->stopping = true;
	while (!l->finished && wait_progress(l, until))
		continue;
	finished = l->finished;
	l->abandoned = !finished;
	unlock(l);
	if (!finished) {
		pthread_detach(thread);
		return;
	}
	pthread_join(thread, NULL);
	destroy(l);
}

/* ---- the callers ------------------------------------------------------------------------------------------------- */

static void enqueue(struct log *l, enum log_level level, const char *p, size_t n)
{
	bool wake;

	lock(l);
	if (l->broken || n > l->capacity - l->n) {
		drop(l, 1);
	} else {
		memcpy(l->filling + l->n, p, n);
		l->n += n;
		l->queued += n;
	}
	wake = l->n > 0 && (l->state == WRITER_SLEEPS ||
		(l->state == WRITER_LINGERS && (level == LOG_ERROR || l->n > l->capacity / 2)));
	if (wake)
		l->state = WRITER_AWAKE;
	unlock(l);
	if (wake)
		pthread_cond_signal(&l->wake);
}

void log_line(struct log *l, enum log_level level, struct slice msg, const struct log_field *fields, size_t n)
{
	struct log_text o;

	if (level > l->level)
		return;
	n = log_compose(&o, l->format == LOG_JSON, level, msg, fields, n, &l->own);
	enqueue(l, level, o.bytes, n);
}

/* Half a line for the message: a line and its message together must fit on the stack of a small fiber. */
void log_vprintf(struct log *l, enum log_level level, const struct log_field *fields, size_t n, const char *fmt,
	va_list ap)
{
	char msg[LOG_TEXT_MAX];
	int len;

	if (level > l->level)
		return;
	len = vsnprintf(msg, sizeof(msg), fmt, ap);
	if (len < 0)
		return;
	if ((size_t)len >= sizeof(msg))
		len = sizeof(msg) - 1;
	log_line(l, level, (struct slice){ msg, (size_t)len }, fields, n);
}

void log_printf(struct log *l, enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vprintf(l, level, NULL, 0, fmt, ap);
	va_end(ap);
}

uint64_t log_dropped(const struct log *l)
{
	return counter_read(&l->dropped);
}
