/* supervisor.c: worker processes that serve one port.
 *
 * The supervisor opens the listener, forks workers that all accept from it, and looks after them on a libevent loop:
 * two signalfds (one for SIGCHLD), a line to each worker, and a timer.  It has no thread, before or after, so that each
 * fork copies a whole process; and it waits for nothing but that loop, so its log drops lines rather than wait for a
 * reader.
 *
 * A line is a pair of sockets.  The worker says when it serves, and when the app wants all to end; the supervisor says
 * when the worker is to end.  Signals could not say that: those of a terminal go to all processes of a group, and who
 * signals by name means the supervisor too.  When the supervisor dies, however that happens, the line closes and the
 * worker drains as if told: no other process holds the supervisor's end.
 *
 * At the start worker 0 goes first, and the others follow when it serves, so that what is wrong is said once.  Until
 * all have served, one that ends ends the server with its status.  From then on one that ends is replaced: BACKOFF_MS
 * later, and after twice that each time again, up to BACKOFF_MAX_MS, until one has served for STEADY_NS.
 *
 * Where the kernel wakes one worker for a client, and not all (loop.h), that one may be held by a handler, have no
 * room, or die as it is woken.  So who knocks wakes the supervisor as well, once in LOOK_MS: it looks whether somebody
 * waits a while later, and if so lets all workers look, ever more seldom as long as that lasts, as it does when all are
 * busy.
 *
 * The end: the listener turns deaf, all workers are told, each answers what it has accepted, and who takes longer than
 * the grace and MARGIN_MS is killed.  The supervisor serves nobody: should all of them die, those in the backlog are
 * reset, and the log says so.  SIGTTIN and SIGTTOU change how many there are to be; tend() does what that takes.
 */
#include "supervisor.h"
#include "base/clock.h"
#include "base/log_here.h"
#include "options_value.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_MS 100u
#define BACKOFF_MAX_MS 10000u
#define STEADY_NS (10 * NS_PER_S)
#define MARGIN_MS 5000          /* for on_stop, and the last lines of the log */
#define LOOK_MS 5               /* after a client has come */
#define LOOK_MAX_MS 160         /* doubling up to, while somebody waits */

struct worker {
	struct supervisor *s;
	unsigned index;
	pid_t pid;              /* 0: there is no process now */
	int fd;                 /* the line to it, while there is */
	struct event said;
	bool ready, told, killed;
	uint64_t started_ns, ready_ns;
	uint64_t due_ns;        /* when it is killed; without a process, when the next may start */
	unsigned backoff_ms;    /* before the last start; 0: none was needed */
};

struct supervisor {
	const struct supervisor_setup *setup;
	struct address control;
	struct log_here log;
	struct listen listen;
	struct worker *workers; /* WORKERS_MAX places */
	unsigned used;          /* the first so many have ever been taken */
	unsigned wanted;        /* the first so many are to be taken */
	bool serving;           /* all of them have been ready */
	bool ending;
	unsigned ends;          /* SIGTERM and SIGINT so far */
	int status;
	struct event_base *base;
	struct event signalled, died, timer;
	struct event knocked, look;     /* somebody has come to the listener; has he been let in? */
	int look_ms;
	int died_fd;            /* signalfd of SIGCHLD */
	sigset_t old_mask;
	struct sigaction old_child;
};

static uint64_t grace_ns(const struct supervisor *s)
{
	return (s->setup->config->grace_ms + MARGIN_MS) * NS_PER_MS;
}

static unsigned running(const struct supervisor *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->used; i++)
		n += s->workers[i].pid > 0;
	return n;
}

static void failed(struct supervisor *s, int status)
{
	if (s->status == 0)
		s->status = status;
}

static void complain(const struct supervisor *s, const char *what, int error)
{
	fprintf(stderr, "%s: %s: %s\n", s->setup->name, what, strerror(error));
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

void seat_tell(const struct seat *seat, enum seat_word word)
{
	char c = (char)word;

	(void)send(seat->fd, &c, 1, MSG_DONTWAIT | MSG_NOSIGNAL);       /* fails when nobody is there any more */
}

enum seat_order seat_order(const struct seat *seat)
{
	char c;
	ssize_t n = recv(seat->fd, &c, 1, MSG_DONTWAIT);

	if (n == 1)
		return (enum seat_order)c;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? SEAT_NOTHING : SEAT_ORPHAN;
}

static void say(const struct worker *w, enum seat_order order)
{
	char c = (char)order;

	(void)send(w->fd, &c, 1, MSG_DONTWAIT | MSG_NOSIGNAL);          /* fails when it has just died */
}

static void tell(struct worker *w, enum seat_order order)
{
	w->told = true;
	w->due_ns = clock_now_ns() + grace_ns(w->s);
	say(w, order);
}

/* ---- who waits at the door --------------------------------------------------------------------------------------- */

static void look_in_ms(struct supervisor *s, int ms)
{
	struct timeval left = { 0, ms * 1000 };

	s->look_ms = ms;
	event_add(&s->look, &left);
}

static void on_knock(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	look_in_ms(arg, LOOK_MS);
}

/* It has read all it was told.  One that is frozen is told no more, so that its line has room for the end. */
static bool hears(const struct worker *w)
{
	int unread = 0;

	return w->ready && ioctl(w->fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *s = arg;
	struct pollfd door = { .fd = s->listen.fds[0], .events = POLLIN };

	(void)fd, (void)what;
	if (poll(&door, 1, 0) <= 0) {
		event_add(&s->knocked, NULL);
		return;
	}
	for (unsigned i = 0; i < s->used; i++)
		if (hears(&s->workers[i]))
			say(&s->workers[i], SEAT_LOOK);
	look_in_ms(s, s->look_ms < LOOK_MAX_MS ? 2 * s->look_ms : LOOK_MAX_MS);
}

static void attend_door(struct supervisor *s)
{
	if (!event_pending(&s->look, EV_TIMEOUT, NULL))
		event_add(&s->knocked, NULL);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void end_all(struct supervisor *s)
{
	unsigned n = running(s);
	int rc;

	if (s->ending)
		return;
	s->ending = true;
	s->wanted = 0;
	rc = listen_deafen(&s->listen, 0);
	if (rc < 0)
		log_here_printf(&s->log, LOG_WARN,
			"cannot filter new connections: one that comes as the listener closes is reset: %s",
			strerror(-rc));
	if (n > 0)
		log_here_printf(&s->log, LOG_INFO, "draining %u worker%s, for %g s at most", n, n == 1 ? "" : "s",
			(double)s->setup->config->grace_ms / 1000);
}

/* One that leaves alone, by SIGTTOU, and has to be killed is logged, and is no part of how all ended. */
static void kill_worker(struct worker *w)
{
	w->killed = true;
	if (w->s->ending)
		failed(w->s, 1);
	kill(w->pid, SIGKILL);
}

static void on_end_signal(struct supervisor *s, const char *name)
{
	if (++s->ends == 1) {
		log_here_printf(&s->log, LOG_INFO, "%s: stopping", name);
		end_all(s);
		return;
	}
	log_here_printf(&s->log, LOG_WARN, "%s, the second signal: ending at once", name);
	end_all(s);
	failed(s, 1);
	for (unsigned i = 0; i < s->used; i++)
		if (s->workers[i].pid > 0)
			kill_worker(&s->workers[i]);
}

/* ---- how many ---------------------------------------------------------------------------------------------------- */

/* Where worker i's control plane listens; false when there is no such port. */
static bool control_of(const struct supervisor *s, unsigned i, char *dst, size_t n)
{
	const struct address *a = &s->control;
	unsigned port = a->port ? a->port + i : 0;

	if (a->off)
		snprintf(dst, n, "off");
	else if (a->unix_path)
		snprintf(dst, n, "unix:%s.%u", a->unix_path, i);
	else
		snprintf(dst, n, strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host, port);
	return port <= 65535;
}

/* Says so once all that are wanted serve. */
static void check_serving(struct supervisor *s)
{
	bool tcp = !s->listen.unix_path;
	char text[512];

	for (unsigned i = 0; i < s->wanted; i++)
		if (!s->workers[i].ready)
			return;
	if (s->serving || s->ending)
		return;
	s->serving = true;
	snprintf(text, sizeof(text), "%s serving on %s%s", s->setup->app, tcp ? "http://" : "", s->listen.address);
	log_here(&s->log, LOG_INFO, slice_of(text), (struct log_field[]){ LOG_FIELD_INT("workers", s->wanted),
		LOG_FIELD_INT("pid", getpid()) }, 2);
}

static void one_more(struct supervisor *s)
{
	char control[320];

	if (s->wanted == WORKERS_MAX || !control_of(s, s->wanted, control, sizeof(control))) {
		log_here_printf(&s->log, LOG_WARN, "SIGTTIN: there can be no more than %u workers", s->wanted);
		return;
	}
	s->wanted++;
	s->used = s->used > s->wanted ? s->used : s->wanted;
	log_here_printf(&s->log, LOG_INFO, "SIGTTIN: %u workers", s->wanted);
}

static void one_fewer(struct supervisor *s)
{
	if (s->wanted == 1) {
		log_here_printf(&s->log, LOG_WARN, "SIGTTOU: the last worker stays");
		return;
	}
	s->wanted--;
	log_here_printf(&s->log, LOG_INFO, "SIGTTOU: %u worker%s", s->wanted, s->wanted == 1 ? "" : "s");
	check_serving(s);       /* it may have been the one that did not yet */
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *s = arg;
	int sig;

	(void)fd, (void)what;
	while ((sig = signals_next(s->setup->signals)) > 0) {
		if (sig == SIGTERM || sig == SIGINT)
			on_end_signal(s, sig == SIGINT ? "SIGINT" : "SIGTERM");
		else if (!s->ending)
			sig == SIGTTIN ? one_more(s) : one_fewer(s);
	}
}

/* ---- what workers say -------------------------------------------------------------------------------------------- */

static void hear(struct worker *w)
{
	struct supervisor *s = w->s;
	ssize_t n;
	char c;

	while ((n = recv(w->fd, &c, 1, MSG_DONTWAIT)) == 1) {
		if (c == SEAT_READY) {
			w->ready = true;
			w->ready_ns = clock_now_ns();
			check_serving(s);
		} else if (c == SEAT_EXCLUSIVE) {
			attend_door(s);
		} else if (c == SEAT_STOP && !s->ending) {
			log_here_printf(&s->log, LOG_INFO, "worker %u: the app asks for the end: stopping", w->index);
			end_all(s);
		}
	}
	if (n == 0)
		event_del(&w->said);    /* it is about to end, or has closed what it should not */
}

static void on_said(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	hear(arg);
}

/* ---- how they end ------------------------------------------------------------------------------------------------ */

/* One line: who, of what, how long it lived, and when its successor starts. */
static void log_death(struct worker *w, pid_t pid, int status, bool replaced)
{
	bool by_signal = WIFSIGNALED(status);
	uint64_t lived = clock_now_ns() - w->started_ns;
	struct log_field fields[] = {
		LOG_FIELD_INT("worker", w->index),
		LOG_FIELD_INT("pid", pid),
		LOG_FIELD_INT(by_signal ? "signal" : "status", by_signal ? WTERMSIG(status) : WEXITSTATUS(status)),
		LOG_FIELD_US("lived", (int64_t)(lived / NS_PER_US)),
		LOG_FIELD_INT("restart_ms", w->backoff_ms),
	};
	char text[128];

	if (by_signal)
		snprintf(text, sizeof(text), "a worker was killed: %s", strsignal(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "a worker has ended");
	log_here(&w->s->log, LOG_ERROR, slice_of(text), fields, replaced ? 5 : 4);
}

/* Sets when the next one starts. */
static void back_off(struct worker *w)
{
	uint64_t now = clock_now_ns();

	if (w->backoff_ms == 0 || (w->ready && now - w->ready_ns >= STEADY_NS))
		w->backoff_ms = BACKOFF_MS;
	else
		w->backoff_ms = w->backoff_ms < BACKOFF_MAX_MS / 2 ? 2 * w->backoff_ms : BACKOFF_MAX_MS;
	w->due_ns = now + w->backoff_ms * NS_PER_MS;
}

/* What was wrong the worker has said, if it could. */
static void fail_start(struct worker *w, int status)
{
	const char *who = w->ready ? "all" : "it";

	if (WIFSIGNALED(status))
		fprintf(stderr, "%s: worker %u was killed before %s served: %s\n", w->s->setup->name, w->index, who,
			strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == 0 || w->ready)
		fprintf(stderr, "%s: worker %u has ended before %s served\n", w->s->setup->name, w->index, who);
	failed(w->s, WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
	end_all(w->s);
}

static void ended(struct worker *w, int status)
{
	struct supervisor *s = w->s;
	bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0, expected;
	pid_t pid = w->pid;

	hear(w);        /* its last words */
	expected = w->told || s->ending;
	event_del(&w->said);
	close(w->fd);
	w->fd = -1;
	w->pid = 0;
	if (expected) {
		w->due_ns = 0;
		w->backoff_ms = 0;
		if (!good && s->ending && !w->killed)
			failed(s, 1);   /* of a killed one kill_worker has said so, if it was to end with all */
		if (!good && !w->killed)
			log_death(w, pid, status, false);
	} else if (!s->serving) {
		fail_start(w, status);
	} else {
		back_off(w);
		log_death(w, pid, status, true);
	}
	w->ready = false;
}

static void on_death(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *s = arg;
	struct signalfd_siginfo info;
	int status;

	(void)what;
	while (read(fd, &info, sizeof(info)) > 0)
		;
	for (unsigned i = 0; i < s->used; i++)
		if (s->workers[i].pid > 0 && waitpid(s->workers[i].pid, &status, WNOHANG) == s->workers[i].pid)
			ended(&s->workers[i], status);
}

/* ---- how they begin ---------------------------------------------------------------------------------------------- */

/* What the supervisor has beyond its listener, given up: by itself at the end, and by each worker at its beginning. */
static void give_up(struct supervisor *s)
{
	for (unsigned i = 0; s->workers && i < s->used; i++) {
		if (s->workers[i].fd < 0)
			continue;
		event_del(&s->workers[i].said);
		close(s->workers[i].fd);
	}
	if (s->died_fd >= 0) {
		event_del(&s->signalled);
		event_del(&s->died);
		event_del(&s->timer);
		event_del(&s->knocked);
		event_del(&s->look);
		close(s->died_fd);
		sigaction(SIGCHLD, &s->old_child, NULL);
		pthread_sigmask(SIG_SETMASK, &s->old_mask, NULL);
	}
	if (s->base)
		event_base_free(s->base);
	free(s->workers);
}

/* In the child.  event_reinit first: until then what is done to the base is done to the supervisor's, too. */
static void take_seat(struct worker *w, int fd, struct seat *seat)
{
	struct supervisor *s = w->s;

	if (event_reinit(s->base) < 0) {
		complain(s, "a worker's beginning", errno);
		_exit(1);
	}
	*seat = (struct seat){ .index = w->index, .fd = fd, .listen = s->listen };
	seat->listen.borrowed = true;
	(void)control_of(s, w->index, seat->control, sizeof(seat->control));
	give_up(s);
}

/* Forks one: 1 in the worker, its seat filled, 0 in the supervisor, or -errno. */
static int start(struct worker *w, struct seat *seat)
{
	struct supervisor *s = w->s;
	int line[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
		return -errno;
	fflush(NULL);   /* what waits in a buffer would be written by both */
	pid = fork();
	if (pid == 0) {
		close(line[0]);
		take_seat(w, line[1], seat);
		return 1;
	}
	close(line[1]);
	if (pid < 0) {
		pid = -errno;
		close(line[0]);
		return pid;
	}
	w->pid = pid;
	w->fd = line[0];
	w->ready = w->told = w->killed = false;
	w->started_ns = clock_now_ns();
	w->due_ns = NEVER;
	event_assign(&w->said, s->base, w->fd, EV_READ | EV_PERSIST, on_said, w);
	event_add(&w->said, NULL);
	return 0;
}

static void cannot_start(struct worker *w, int rc)
{
	struct supervisor *s = w->s;

	if (!s->serving) {
		complain(s, "cannot start a worker", -rc);
		failed(s, 1);
		end_all(s);
		return;
	}
	back_off(w);
	log_here(&s->log, LOG_ERROR, SLICE("cannot start a worker"), (struct log_field[]){
		LOG_FIELD_INT("worker", w->index), LOG_FIELD_STR("error", slice_of(strerror(-rc))),
		LOG_FIELD_INT("restart_ms", w->backoff_ms) }, 3);
}

/* ---- looking after them ------------------------------------------------------------------------------------------ */

/* Worker 0 first. */
static bool may_start(const struct worker *w, uint64_t now)
{
	const struct supervisor *s = w->s;

	return w->index < s->wanted && now >= w->due_ns && (s->serving || w->index == 0 || s->workers[0].ready);
}

/* Does what is due.  True in a new worker. */
static bool tend(struct worker *w, uint64_t now, struct seat *seat)
{
	struct supervisor *s = w->s;
	int rc = 0;

	if (w->pid == 0 && may_start(w, now)) {
		rc = start(w, seat);
		if (rc < 0)
			cannot_start(w, rc);
	} else if (w->pid > 0 && !w->told && w->index >= s->wanted) {
		tell(w, s->ending ? SEAT_DRAIN : SEAT_LEAVE);
	} else if (w->pid > 0 && now >= w->due_ns && !w->killed) {
		log_here(&s->log, LOG_ERROR, SLICE("a worker did not end within its grace: killing it"),
			(struct log_field[]){ LOG_FIELD_INT("worker", w->index), LOG_FIELD_INT("pid", w->pid) }, 2);
		kill_worker(w);
	}
	return rc > 0;
}

/* When tend() has something to do that no event tells of. */
static uint64_t next_due(const struct supervisor *s)
{
	uint64_t next = NEVER;

	for (unsigned i = 0; i < s->used; i++) {
		const struct worker *w = &s->workers[i];
		bool counts = w->pid > 0 ? !w->killed : w->index < s->wanted && w->due_ns > 0;

		if (w->pid > 0 && !w->told && w->index >= s->wanted)
			return 0;       /* the end began behind its turn: another could not be started */
		if (counts && w->due_ns < next)
			next = w->due_ns;
	}
	return next;
}

/* One turn of the loop, until something has happened or is due. */
static int wait_for_news(struct supervisor *s)
{
	uint64_t next = next_due(s), now = clock_now_ns();
	struct timeval left = { 0, 0 };

	if (next == NEVER) {
		event_del(&s->timer);
	} else {
		next = next > now ? (next - now) / NS_PER_US + 1 : 0;
		left = (struct timeval){ (time_t)(next / 1000000), (suseconds_t)(next % 1000000) };
		event_add(&s->timer, &left);
	}
	return event_base_loop(s->base, EVLOOP_ONCE) < 0 ? -EIO : 0;
}

/* Those whom nobody has let in, since the workers did not end as they should, are reset when the listener is closed. */
static void tell_of_left(struct supervisor *s)
{
	struct pollfd door = { .fd = s->listen.fds[0], .events = POLLIN };

	if (poll(&door, 1, 0) > 0)
		log_here_printf(&s->log, LOG_WARN, "all workers have ended, and clients still wait: they are reset");
}

/* Until all have ended: the exit status.  SUPERVISOR_SEATED in a worker. */
static int look_after(struct supervisor *s, struct seat *seat)
{
	for (;;) {
		uint64_t now = clock_now_ns();

		for (unsigned i = 0; i < s->used; i++)
			if (tend(&s->workers[i], now, seat))
				return SUPERVISOR_SEATED;
		if (s->ending && running(s) == 0) {
			tell_of_left(s);
			return s->status;
		}
		if (wait_for_news(s) < 0) {
			complain(s, "the supervisor's loop", errno);
			return 1;       /* the workers see its end */
		}
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;        /* it has ended the wait, which is all */
}

/* SIGCHLD may be ignored since before us, and then nobody could be waited for. */
static int set_up(struct supervisor *s)
{
	struct sigaction standard = { .sa_handler = SIG_DFL };
	sigset_t child;

	s->workers = calloc(WORKERS_MAX, sizeof(*s->workers));
	if (!s->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		s->workers[i] = (struct worker){ .s = s, .index = i, .fd = -1 };
	s->base = event_base_new();
	if (!s->base)
		return -ENOMEM;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	s->died_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->died_fd < 0)
		return -errno;
	pthread_sigmask(SIG_BLOCK, &child, &s->old_mask);
	sigaction(SIGCHLD, &standard, &s->old_child);
	event_assign(&s->signalled, s->base, signals_fd(s->setup->signals), EV_READ | EV_PERSIST, on_signal, s);
	event_assign(&s->died, s->base, s->died_fd, EV_READ | EV_PERSIST, on_death, s);
	event_assign(&s->timer, s->base, -1, 0, on_timer, s);
	event_assign(&s->knocked, s->base, s->listen.fds[0], EV_READ, on_knock, s);
	event_assign(&s->look, s->base, -1, 0, on_look, s);
	return event_add(&s->signalled, NULL) < 0 || event_add(&s->died, NULL) < 0 ? -EIO : 0;
}

int supervisor_run(const struct supervisor_setup *setup, struct seat *seat)
{
	const struct config *c = setup->config;
	struct supervisor s = { .setup = setup, .used = c->workers, .wanted = c->workers, .died_fd = -1,
		.log = { .fd = STDERR_FILENO, .format = c->log_format, .level = c->log_level } };
	char err[512] = "";
	int status = 1, rc;

	if (value_address(c->control, &s.control) < 0 || !control_of(&s, s.wanted - 1, err, sizeof(err))) {
		fprintf(stderr, "%s: --control: port %u and one for each of %u workers: the last is over 65535\n",
			setup->name, s.control.port, s.wanted);
		return 2;
	}
	if (listen_open(&s.listen, c->host, c->port, c->unix_path, 1, (int)c->backlog, err, sizeof(err)) < 0)
		fprintf(stderr, "%s: %s\n", setup->name, err);
	else if ((rc = set_up(&s)) < 0)
		complain(&s, "the supervisor", -rc);
	else
		status = look_after(&s, seat);
	if (status == SUPERVISOR_SEATED)
		return status;
	give_up(&s);
	listen_close(&s.listen);
	return status;
}
