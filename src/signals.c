/* signals.c: the signals that a server understands, waited for by a thread of their own.
 *
 * SIGTERM and SIGINT end it, SIGTTIN and SIGTTOU make its default pool larger and smaller; app.c does so.  A thread of
 * its own, because a second SIGTERM must end the process whatever the others do: the main thread may be in the app's
 * on_start or on_stop, or waiting for stuck handlers.  All four are blocked in every thread (they inherit the mask of
 * the one that called signals_new, before there were others) and read from a signalfd, so that no code runs in a signal
 * handler; what `caught` may do is therefore not limited.  An eventfd tells the thread to end.  It waits for one
 * descriptor more, by which a worker's supervisor speaks; a supervisor has no threads and reads the signalfd itself.
 *
 * The kernel sends SIGTTIN and SIGTTOU too, to a background process that uses its terminal; not while they are blocked:
 * then writing succeeds and reading fails with EIO (POSIX, 11.1.4).  So a log on a terminal resizes nothing.
 *
 * SIGPIPE and SIGXFSZ are ignored while the server runs: a client that has left is an EPIPE, a full file an EFBIG.
 * SIGHUP and all others stay as they are.  Two signals that arrive before the first was read are one, as signals are;
 * and SIGTERM or SIGINT is still the first when it is repeated at once, or else timeout(1), which sends it twice, would
 * end the process without the replies it owes.
 */
#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signals {
	struct signals_watcher watcher;
	struct signals_first first;
	int fd, end_fd;
	bool watching;
	pthread_t thread;
	sigset_t old_mask;
	struct sigaction old_pipe, old_xfsz;
};

static void *wait_for_signals(void *arg)
{
	struct signals *s = arg;
	struct signals_watcher *w = &s->watcher;
	struct pollfd fds[3] = { { .fd = s->end_fd, .events = POLLIN }, { .fd = s->fd, .events = POLLIN },
		{ .fd = w->fd, .events = POLLIN } };
	int sig;

	for (unsigned ends = 0;;) {
		if (poll(fds, 3, -1) < 0)
			continue;       /* EINTR: a signal of the app's */
		if (fds[0].revents)
			return NULL;
		if (fds[2].revents && !w->readable(w->arg))
			fds[2].fd = -1;
		sig = signals_next(s);
		ends += sig == SIGTERM || sig == SIGINT;
		if (sig > 0)
			w->caught(w->arg, sig, ends);
	}
}

int signals_fd(const struct signals *s)
{
	return s->fd;
}

bool signals_same(struct signals_first *first, int sig, uint64_t now_ns)
{
	if (sig != SIGTERM && sig != SIGINT)
		return false;
	if (first->sig)
		return sig == first->sig && now_ns - first->at_ns < SIGNALS_SAME_NS;
	*first = (struct signals_first){ sig, now_ns };
	return false;
}

int signals_next(struct signals *s)
{
	struct signalfd_siginfo info;

	while (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (!signals_same(&s->first, (int)info.ssi_signo, clock_now_ns()))
			return (int)info.ssi_signo;
	return 0;
}

struct signals *signals_new(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct signals *s = calloc(1, sizeof(*s));
	sigset_t set;
	int rc;

	if (!s)
		return NULL;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTTIN);
	sigaddset(&set, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &set, &s->old_mask);
	sigaction(SIGPIPE, &ignore, &s->old_pipe);
	sigaction(SIGXFSZ, &ignore, &s->old_xfsz);
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->end_fd = -1;
	if (s->fd >= 0)
		return s;
	rc = errno;
	signals_free(s);
	errno = rc;
	return NULL;
}

int signals_watch(struct signals *s, const struct signals_watcher *w)
{
	int rc;

	s->watcher = *w;
	s->end_fd = eventfd(0, EFD_CLOEXEC);    /* not before: a process forked since signals_new has its own */
	if (s->end_fd < 0)
		return -errno;
	rc = pthread_create(&s->thread, NULL, wait_for_signals, s);
	s->watching = rc == 0;
	return -rc;
}

/* One that came too late would stop the process (which is what they do by default) as soon as it is not blocked. */
static void discard_resizing(void)
{
	struct timespec now = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTTIN);
	sigaddset(&set, SIGTTOU);
	while (sigtimedwait(&set, NULL, &now) > 0)
		;
}

void signals_free(struct signals *s)
{
	if (!s)
		return;
	if (s->watching) {
		eventfd_write(s->end_fd, 1);
		pthread_join(s->thread, NULL);
	}
	discard_resizing();
	pthread_sigmask(SIG_SETMASK, &s->old_mask, NULL);
	sigaction(SIGPIPE, &s->old_pipe, NULL);
	sigaction(SIGXFSZ, &s->old_xfsz, NULL);
	if (s->fd >= 0)
		close(s->fd);
	if (s->end_fd >= 0)
		close(s->end_fd);
	free(s);
}
