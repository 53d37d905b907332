/* lab_server.c: a subject as a process on this machine.
 *
 * A server is started on a port that was free and is kept from others until it answers: a socket of ours is bound to
 * it, and since that does not listen, who names the port and sets SO_REUSEADDR, as servers do, may bind it, too.  It
 * has a session of its own: Ctrl-C in the terminal then reaches the lab alone, which ends its servers itself, and
 * whatever a server forks can be found and ended with it.
 * Should the lab be killed, its first process dies at once (PR_SET_PDEATHSIG), and what it has forked by the guardian's
 * hand (lab_guard.c).  What it writes goes to a file in memory, so that a server that cannot start can be quoted.
 *
 * No shell sees a command.  Variables named OFFLOOP_... are kept from servers: what they run with is what the report
 * shows.  Peers get their files in a folder of their own, which goes when they do.
 *
 * A server is ready when it has answered a request for / with 200.  To end it takes SIGTERM and a second's patience,
 * then SIGKILL for its whole process group; it answers nobody any more.
 *
 * One thread.  Every process is ended by its number, and waited for before that number could be another's.
 */
#include "cli/lab_server.h"
#include "base/clock.h"
#include "cli/lab_files.h"
#include "cli/lab_guard.h"
#include "cli/lab_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_NS (15 * NS_PER_S)
#define STOP_NS NS_PER_S
#define LOOK_NS (5 * NS_PER_MS)
#define SHOWN_PORT 8000

extern char **environ;

/* ---- commands ---------------------------------------------------------------------------------------------------- */

/* A line as words, in one allocation that ends with NULL; NULL: no memory. */
static char **words_of(const char *line)
{
	size_t n = strlen(line) + 1, words = 1;
	char **argv, *text;

	for (const char *c = line; *c; c++)
		words += *c == ' ';
	if (!(argv = malloc((words + 1) * sizeof(char *) + n)))
		return NULL;
	text = memcpy(argv + words + 1, line, n);
	for (size_t i = 0; i < words; i++)
		argv[i] = strsep(&text, " ");
	argv[words] = NULL;
	return argv;
}

/* A word as a shell is to be given it. */
static void put_word(FILE *f, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+,-./:=@_";

	if (*word && word[strspn(word, plain)] == 0) {
		fputs(word, f);
		return;
	}
	putc('\'', f);
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", f);
		else
			putc(*word, f);
	putc('\'', f);
}

char *lab_line_of(char **argv)
{
	char *line = NULL;
	size_t n;
	FILE *f = open_memstream(&line, &n);

	if (!f)
		return NULL;
	for (size_t i = 0; argv[i]; i++) {
		fputs(i ? " " : "", f);
		put_word(f, argv[i]);
	}
	if (fclose(f) == 0)
		return line;
	free(line);
	return NULL;
}

/* Its command, in one allocation; NULL: no memory.  `self` is the program that runs models. */
static char **command_of(const struct lab_subject *subject, const struct lab_setting *how,
	const struct lab_found *found, const char *self, unsigned port)
{
	char *line, **argv;

	if (subject->peer)
		return lab_peer_command(subject->peer, found->program, port, how->cpus);
	line = lab_model_command(subject, how, self, port);
	argv = line ? words_of(line) : NULL;
	free(line);
	return argv;
}

char *lab_server_command(const struct lab_subject *subject, const struct lab_setting *how,
	const struct lab_found *found)
{
	char **argv = command_of(subject, how, found, "offloop", SHOWN_PORT);
	char *line = argv ? lab_line_of(argv) : NULL;

	free(argv);
	return line;
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* A port that nobody else is given while the socket is open.  0 or -errno. */
static int hold_port(struct lab_server *s)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sa);
	const int yes = 1;

	s->held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->held < 0 || setsockopt(s->held, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
		bind(s->held, (struct sockaddr *)&sa, n) < 0 || getsockname(s->held, (struct sockaddr *)&sa, &n) < 0)
		return -errno;
	s->port = ntohs(sa.sin_port);
	return 0;
}

static void let_go_of_port(struct lab_server *s)
{
	if (s->held >= 0)
		close(s->held);
	s->held = -1;
}

/* The environment without what would change a server.  NULL: no memory. */
static char **clean_environment(void)
{
	static char production[] = "NODE_ENV=production", no_bytecode[] = "PYTHONDONTWRITEBYTECODE=1";
	size_t n = 0, kept = 0;
	char **env;

	while (environ[n])
		n++;
	if (!(env = calloc(n + 3, sizeof(char *))))
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "OFFLOOP_", 8) != 0)
			env[kept++] = environ[i];
	env[kept++] = production;
	env[kept++] = no_bytecode;
	return env;
}

/* In the child; what goes wrong is told in the log. */
static void become(char **argv, char **env, const char *folder, const cpu_set_t *cpus, int log, pid_t lab)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	lab_guard_join();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != lab)   /* it has ended meanwhile */
		_exit(1);
	if ((folder && chdir(folder) < 0) || sched_setaffinity(0, sizeof(*cpus), cpus) < 0 ||
		dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(1);
	execvpe(argv[0], argv, env);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* A peer's files, in a folder of its own. */
static int lay_out(struct lab_server *s, const struct lab_setting *how)
{
	s->folder = lab_folder_new(how->folder);
	return s->folder ? lab_peer_write(s->subject.peer, s->folder, s->port, how->cpus) : -errno;
}

int lab_server_start(struct lab_server *s, const struct lab_subject *subject, const struct lab_setting *how,
	const struct lab_found *found, const cpu_set_t *cpus, char *why, size_t n)
{
	char **argv = NULL, **env = clean_environment();
	pid_t lab = getpid();
	int rc;

	*s = (struct lab_server){ .subject = *subject, .log = -1, .held = -1 };
	rc = hold_port(s);
	if (rc == 0)
		argv = command_of(subject, how, found, "/proc/self/exe", s->port);
	if (rc == 0 && (!argv || !env))
		rc = -ENOMEM;
	if (rc == 0 && subject->peer)
		rc = lay_out(s, how);
	if (rc == 0 && ((s->log = memfd_create("lab", MFD_CLOEXEC)) < 0 || (s->pid = fork()) < 0)) {
		rc = -errno;
		s->pid = 0;
	}
	if (rc == 0 && s->pid == 0)
		become(argv, env, s->folder, cpus, s->log, lab);
	if (rc < 0)
		snprintf(why, n, "it could not be started: %s", strerror(-rc));
	free(argv);
	free(env);
	return rc;
}

bool lab_server_runs(struct lab_server *s)
{
	siginfo_t ended = { .si_pid = 0 };

	return s->pid > 0 && waitid(P_PID, (id_t)s->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0;
}

void lab_server_log(const struct lab_server *s, char *dst, size_t n)
{
	ssize_t got = s->log >= 0 ? pread(s->log, dst, n - 1, 0) : 0;

	dst[got > 0 ? got : 0] = 0;
}

void lab_server_said(const struct lab_server *s, char *dst, size_t n)
{
	char text[8192], *line;
	size_t end;

	lab_server_log(s, text, sizeof(text));
	end = strlen(text);
	while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' '))
		text[--end] = 0;
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	snprintf(dst, n, "%s", line);
	for (char *c = dst; *c; c++)
		*c = (unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f ? '?' : *c;
}

void lab_server_end(const struct lab_server *s, char *dst, size_t n)
{
	siginfo_t ended = { .si_pid = 0 };
	char said[200];

	if (waitid(P_PID, (id_t)s->pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0)
		ended.si_status = 0;
	lab_server_said(s, said, sizeof(said));
	snprintf(dst, n, "%s %d%s%s", ended.si_code == CLD_EXITED ? "with status" : "by signal", ended.si_status,
		*said ? ": " : "", said);
}

int lab_server_uring(const struct lab_server *s, const struct lab_setting *how, char *why, size_t n)
{
	static const char mark[] = "running on libevent: ";
	char text[8192], *at;

	*why = 0;
	if (strcmp(how->backend, "libevent") == 0)
		return -1;
	lab_server_log(s, text, sizeof(text));
	if (!(at = strstr(text, mark)))
		return 1;
	snprintf(why, n, "%.*s", (int)strcspn(at + sizeof(mark) - 1, "\n"), at + sizeof(mark) - 1);
	return 0;
}

/* Whether a request for / is answered with 200. */
static bool answers(unsigned port)
{
	struct load_group *g = calloc(1, sizeof(*g));
	struct load *l = NULL;
	bool good = false;

	if (g) {
		*g = (struct load_group){ .path = "/", .connections = 1, .kind = LOAD_REST };
		good = load_new(&l, port, g, 1) == 0 && load_run(l, NS_PER_S) == 0 && g->requests > 0;
	}
	load_free(l);
	free(g);
	return good;
}

int lab_server_ready(struct lab_server *s, char *why, size_t n)
{
	const struct timespec pause = clock_timespec(LOOK_NS);
	uint64_t end = clock_now_ns() + READY_NS;
	char said[240];

	while (lab_server_runs(s) && clock_now_ns() < end && !lab_stopped()) {
		if (answers(s->port)) {
			let_go_of_port(s);
			return 0;
		}
		nanosleep(&pause, NULL);
	}
	if (lab_stopped())
		return -EINTR;
	if (lab_server_runs(s)) {
		lab_server_said(s, said, sizeof(said));
		snprintf(why, n, "it did not answer within 15 s%s%s", *said ? ": " : "", said);
	} else {
		lab_server_end(s, said, sizeof(said));
		snprintf(why, n, "it ended at its start %s", said);
	}
	return -ECHILD;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

/* What is left of it, and of what it has started, which we inherit. */
static void kill_rest(struct lab_server *s)
{
	kill(s->pid, SIGKILL);  /* it may not have its group yet */
	kill(-s->pid, SIGKILL);
	lab_guard_leave(s->pid);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	while (waitpid(-s->pid, NULL, 0) > 0)
		;
}

void lab_servers_stop(struct lab_server *servers, size_t n)
{
	const struct timespec pause = clock_timespec(LOOK_NS);
	uint64_t end = clock_now_ns() + STOP_NS;
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		if (servers[i].pid > 0)
			kill(servers[i].subject.peer ? -servers[i].pid : servers[i].pid, SIGTERM);
	do {
		left = 0;
		for (size_t i = 0; i < n; i++)
			left += servers[i].pid > 0 && lab_server_runs(&servers[i]);
		if (left > 0)
			nanosleep(&pause, NULL);
	} while (left > 0 && clock_now_ns() < end);
	for (size_t i = 0; i < n; i++) {
		if (servers[i].pid > 0)
			kill_rest(&servers[i]);
		if (servers[i].log >= 0)
			close(servers[i].log);
		let_go_of_port(&servers[i]);
		lab_folder_free(servers[i].folder);
		servers[i].folder = NULL;
		servers[i].pid = 0;
		servers[i].log = -1;
	}
}
