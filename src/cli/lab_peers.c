/* lab_peers.c: servers of other makers that the lab can measure beside its own.
 *
 * A peer is a row of the table: how it is looked for (a Python package, or a program), which files of src/cli/lab/ it
 * runs, its command with holes for port and processes, and what it cannot do, each with its reason.  All answer the
 * lab's endpoints as their makers' documentation would have them written: what blocks goes where that framework puts
 * what blocks, and what computes for a millisecond where its users leave that.  Each has as many serving processes as
 * it has CPUs, since one would leave the others idle; gunicorn's sync workers have the number its documentation gives.
 *
 * Nothing is installed, and nothing is asked of the network: a peer that is not here is told of as missing.  Whether it
 * is here is asked of its program, in a process that starts in the root folder, so that no Python file of the folder
 * the lab was started in is taken for a package.  Packages are asked for their versions, not imported: that is ten
 * times quicker, and what cannot be imported fails, with a message, when it is started.  That process has a session of
 * its own, which is killed when it has told, or did not in time: nothing that it has started is left.
 *
 * Any thread; nothing is kept.
 */
#include "cli/lab_peers.h"
#include "base/clock.h"
#include "cli/lab.h"
#include "cli/lab_files.h"
#include "cli/lab_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS (5 * NS_PER_S)
#define LOOK_MS 20
#define SAID_MAX 512
#define PATHS_MORE ":/usr/local/sbin:/usr/sbin:/sbin"
#define ARGS 24

/* In a command, {program}, {port} and {processes} stand for what they say, wherever they stand in a word. */
struct lab_recipe {
	const char *programs[3];        /* the first that is in PATH; none for Python */
	const char *ask[8];             /* arguments that make it tell its version, or of Python its packages */
	const char *files[3];
	const char *argv[ARGS];
	bool many;                      /* processes: 2 x CPUs + 1 in place of one a CPU */
	const char *(*cannot)(const char *workload);
};

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* Prints the version of each package named; one after a '?' may be missing. */
#define ASK_PACKAGES \
	"import platform, sys\n" \
	"from importlib import metadata\n" \
	"said = []\n" \
	"for name in sys.argv[1:]:\n" \
	"    try:\n" \
	"        said.append(name.strip('?') + ' ' + metadata.version(name.strip('?')))\n" \
	"    except metadata.PackageNotFoundError:\n" \
	"        if name[0] != '?':\n" \
	"            sys.exit('the Python package ' + name + ' is not installed for ' + sys.executable)\n" \
	"print(', '.join(said + ['python ' + platform.python_version()]))\n"

#define PYTHON "{program}", "-B"
#define UVICORN PYTHON, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "{processes}", \
	"--backlog", "4096", "--timeout-keep-alive", "600", "--no-access-log", "--log-level", "error"
#define GUNICORN PYTHON, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "{processes}", \
	"--backlog", "4096", "--log-level", "error"

static const char *cannot_nothing(const char *workload)
{
	(void)workload;
	return NULL;
}

static const char *cannot_idle(const char *workload)
{
	return strcmp(workload, "idle") != 0 ? NULL :
		"a worker process has one connection at a time and closes it with its reply, so there are no idle "
		"connections to hold";
}

static const char *cannot_handlers(const char *workload)
{
	static const char *const can[] = { "trivial", "idle" };

	for (size_t i = 0; i < sizeof(can) / sizeof(can[0]); i++)
		if (strcmp(workload, can[i]) == 0)
			return NULL;
	return "nginx answers with a constant from its configuration: it runs no handler that could block, compute or "
		"take an upload";
}

static const struct lab_recipe fastapi = {
	.ask = { "fastapi", "uvicorn", "?uvloop", "?httptools" },
	.files = { "lab_work.py", "app_fastapi.py" },
	.argv = { UVICORN, "app_fastapi:app" },
	.cannot = cannot_nothing,
};

static const struct lab_recipe starlette = {
	.ask = { "starlette", "uvicorn", "?uvloop", "?httptools" },
	.files = { "lab_work.py", "app_starlette.py" },
	.argv = { UVICORN, "app_starlette:app" },
	.cannot = cannot_nothing,
};

static const struct lab_recipe flask_gthread = {
	.ask = { "flask", "gunicorn" },
	.files = { "lab_work.py", "app_flask.py" },
	.argv = { GUNICORN, "--worker-class", "gthread", "--threads", "40", "--worker-connections", "15000",
		"--keep-alive", "600", "app_flask:app" },
	.cannot = cannot_nothing,
};

static const struct lab_recipe flask_sync = {
	.ask = { "flask", "gunicorn" },
	.files = { "lab_work.py", "app_flask.py" },
	.argv = { GUNICORN, "--worker-class", "sync", "app_flask:app" },
	.many = true,
	.cannot = cannot_idle,
};

static const struct lab_recipe tornado = {
	.ask = { "tornado" },
	.files = { "lab_work.py", "app_tornado.py" },
	.argv = { PYTHON, "app_tornado.py", "{port}", "{processes}" },
	.cannot = cannot_nothing,
};

static const struct lab_recipe node = {
	.programs = { "node", "nodejs" },
	.ask = { "-p", "'node ' + process.versions.node" },
	.files = { "app_node.js" },
	.argv = { "{program}", "app_node.js", "{port}", "{processes}" },
	.cannot = cannot_nothing,
};

static const struct lab_recipe nginx = {
	.programs = { "nginx" },
	.ask = { "-v" },
	.files = { "nginx.conf" },
	.argv = { "{program}", "-p", "./", "-e", "stderr", "-c", "nginx.conf" },
	.cannot = cannot_handlers,
};

const struct lab_peer lab_peers[] = {
	{ "fastapi",
		"FastAPI under uvicorn: `async def` on the event loop, `def` on a thread of anyio's pool.",
		"a process: 1 loop, anyio's limit of 40 threads", false, false, &fastapi },
	{ "starlette",
		"Starlette under uvicorn: coroutines on the event loop, plain functions on a thread of anyio's pool.",
		"a process: 1 loop, anyio's limit of 40 threads", false, false, &starlette },
	{ "flask-gthread",
		"Flask under gunicorn's threaded workers: one lane, a thread for each request that runs.",
		"a process: 40 threads", false, false, &flask_gthread },
	{ "flask-sync",
		"Flask under gunicorn's sync workers: one request a process at a time, no keep-alive.",
		"a process: 1 thread", false, false, &flask_sync },
	{ "tornado-py",
		"Tornado itself: handlers on the event loop, what computes for a millisecond among them; those that "
		"block are written to hand that to an executor (run_in_executor), so tornado+offload is the model to "
		"compare it with there, and tornado elsewhere.",
		"a process: 1 loop, an executor of 40 threads", true, false, &tornado },
	{ "node",
		"Node's http: one loop; it has no blocking sleep to move elsewhere, so what waits 10 or 50 ms is a "
		"timer (setTimeout) and takes no thread, and what computes runs on the loop.",
		"a process: 1 loop", false, true, &node },
	{ "nginx",
		"nginx answering with a constant: what a server without an app can do.",
		"a process: 1 loop", false, false, &nginx },
};
const size_t lab_npeers = sizeof(lab_peers) / sizeof(lab_peers[0]);

const char *lab_peer_cannot(const struct lab_peer *peer, const char *workload)
{
	return peer->recipe->cannot(workload);
}

unsigned lab_peer_processes(const struct lab_peer *peer, unsigned cpus)
{
	return peer->recipe->many ? 2 * cpus + 1 : cpus;
}

/* ---- asking a program -------------------------------------------------------------------------------------------- */

/* In the child: its output, both kinds, goes to fd. */
static void __attribute__((noreturn)) become(char **argv, int fd)
{
	int none = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setsid();
	lab_guard_join();
	if (none < 0 || dup2(none, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0 ||
		chdir("/"))
		_exit(126);
	execv(argv[0], argv);
	_exit(127);
}

/* Reads into said until the end or the deadline: 0, -ETIMEDOUT, -EINTR when the lab is stopped, or -errno.  What does
 * not fit is dropped. */
static int hear(int fd, uint64_t deadline, char said[SAID_MAX])
{
	char piece[SAID_MAX];
	size_t n = 0;

	while (!lab_stopped()) {
		struct pollfd ready = { fd, POLLIN, 0 };
		/* Never for long: a signal may come before the wait. */
		int rc = poll(&ready, 1, LOOK_MS);
		ssize_t got;

		if (rc == 0 && clock_now_ns() >= deadline)
			return -ETIMEDOUT;
		if (rc == 0)
			continue;
		got = rc < 0 ? -1 : read(fd, piece, sizeof(piece));
		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == 0) {
			said[n] = 0;
			return 0;
		}
		for (ssize_t i = 0; i < got && n < SAID_MAX - 1; i++)
			said[n++] = piece[i];
		if (clock_now_ns() >= deadline)
			return -ETIMEDOUT;
	}
	return -EINTR;
}

/* Waits until the process has ended, which is left to be waited for: 0, -ETIMEDOUT or -EINTR. */
static int await(pid_t pid, uint64_t deadline)
{
	const struct timespec pause = clock_timespec(NS_PER_MS);
	siginfo_t ended = { .si_pid = 0 };

	while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid == 0) {
		if (lab_stopped())
			return -EINTR;
		if (clock_now_ns() >= deadline)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Ends it and all it has started; until it is waited for its number is its own. */
static int end(pid_t pid)
{
	int status = 0;

	kill(pid, SIGKILL);     /* it may not have its group yet */
	kill(-pid, SIGKILL);
	lab_guard_leave(pid);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* Runs argv and keeps what it said: its exit status, 256 when a signal ended it, or -errno. */
static int converse(char **argv, char said[SAID_MAX])
{
	int ends[2], status = 0, rc;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0)
		become(argv, ends[1]);
	rc = pid < 0 ? -errno : 0;
	close(ends[1]);
	if (pid > 0) {
		uint64_t deadline = clock_now_ns() + PATIENCE_NS;

		rc = hear(ends[0], deadline, said);
		if (rc == 0)
			rc = await(pid, deadline);
		status = end(pid);
	}
	close(ends[0]);
	return rc ? rc : WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

static void printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

/* Its last line, as text that any terminal or file can hold. */
static char *last_line(char said[SAID_MAX])
{
	size_t n = strlen(said);
	char *line;

	while (n > 0 && (said[n - 1] == '\n' || said[n - 1] == '\r'))
		said[--n] = 0;
	line = strrchr(said, '\n');
	line = line ? line + 1 : said;
	printable(line);
	return line;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

/* The path of a program of this name, new; NULL when there is none, or no memory. */
static char *in_path(const char *name)
{
	const char *path = getenv("PATH");
	struct slice rest;
	char *all, *found = NULL;

	if (asprintf(&all, "%s" PATHS_MORE, path ? path : "/usr/local/bin:/usr/bin:/bin") < 0)
		return NULL;
	rest = slice_of(all);
	while (!found && rest.n > 0) {
		struct slice folder = slice_cut(&rest, ':');

		/* A folder relative to wherever we are is no place to trust. */
		if (folder.n == 0 || folder.p[0] != '/')
			continue;
		if (asprintf(&found, "%.*s/%s", (int)folder.n, folder.p, name) < 0)
			found = NULL;
		if (found && access(found, X_OK)) {
			free(found);
			found = NULL;
		}
	}
	free(all);
	return found;
}

/* Not resolved: it is by its path that the Python of a virtual environment knows where its packages are. */
static char *find_python(void)
{
	const char *python = getenv("PYTHON");
	char *here, *found = NULL;

	if (!python || !python[0] || python[0] == '/')
		return strdup(python && python[0] ? python : "/usr/bin/python3");
	if (!strchr(python, '/'))
		return in_path(python);
	here = getcwd(NULL, 0);
	if (here && asprintf(&found, "%s/%s", here, python) < 0)
		found = NULL;
	free(here);
	return found;
}

static char *find_program(const struct lab_recipe *recipe)
{
	char *found = NULL;

	if (!recipe->programs[0])
		return find_python();
	for (size_t i = 0; !found && recipe->programs[i]; i++)
		found = in_path(recipe->programs[i]);
	return found;
}

/* The command that makes it tell its version, borrowed. */
static void asking(const struct lab_recipe *recipe, char *program, char *argv[ARGS])
{
	static const char *const python[] = { "-B", "-c", ASK_PACKAGES };
	size_t n = 0;

	argv[n++] = program;
	for (size_t i = 0; !recipe->programs[0] && i < sizeof(python) / sizeof(python[0]); i++)
		argv[n++] = (char *)(uintptr_t)python[i];
	for (size_t i = 0; recipe->ask[i]; i++)
		argv[n++] = (char *)(uintptr_t)recipe->ask[i];
	argv[n] = NULL;
}

/* What the program told becomes what was found. */
static int settle(const struct lab_peer *peer, struct lab_found *found, int rc, char said[SAID_MAX])
{
	const char *line = rc >= 0 ? last_line(said) : "";
	int n;

	found->hangs = rc == -ETIMEDOUT;
	if (rc == 0 && line[0]) {
		const char *version = strncmp(line, "nginx version: nginx/", 21) == 0 ? line + 21 : NULL;

		n = asprintf(&found->version, "%s%s", version ? "nginx " : "", version ? version : line);
		return n < 0 ? -ENOMEM : 0;
	}
	if (rc == -ETIMEDOUT)
		n = asprintf(&found->why, "%s did not tell its version within 5 seconds", found->program);
	else if (rc == 127)
		n = asprintf(&found->why, "%s cannot be run", found->program);
	else if (line[0])
		n = asprintf(&found->why, "%s", line);
	else
		n = asprintf(&found->why, "%s does not tell which version of %s it is", found->program, peer->name);
	free(found->program);
	found->program = NULL;
	if (n < 0)
		return -ENOMEM;
	printable(found->why);
	return 0;
}

int lab_peer_find(const struct lab_peer *peer, struct lab_found *found)
{
	const struct lab_recipe *recipe = peer->recipe;
	char said[SAID_MAX] = "", *argv[ARGS];
	int rc;

	*found = (struct lab_found){ .program = find_program(recipe) };
	if (!found->program) {
		rc = asprintf(&found->why, "there is no program %s in PATH",
			recipe->programs[0] ? recipe->programs[0] : getenv("PYTHON"));
		return rc < 0 ? -ENOMEM : 0;
	}
	asking(recipe, found->program, argv);
	rc = converse(argv, said);
	if (rc < 0 && rc != -ETIMEDOUT) {
		lab_found_fini(found);
		return rc;
	}
	if ((rc = settle(peer, found, rc, said)))
		lab_found_fini(found);
	return rc;
}

bool lab_peers_share(const struct lab_peer *a, const struct lab_peer *b)
{
	const char *const *programs = a->recipe->programs, *const *others = b->recipe->programs;

	return programs[0] && others[0] ? strcmp(programs[0], others[0]) == 0 : !programs[0] && !others[0];
}

void lab_found_fini(struct lab_found *found)
{
	free(found->program);
	free(found->version);
	free(found->why);
	*found = (struct lab_found){ .program = NULL };
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* What stands for the holes of a command or a file. */
struct filling {
	char port[16], processes[16];
	const char *program;
};

static struct filling filling(const struct lab_peer *peer, const char *program, unsigned port, unsigned cpus)
{
	struct filling f = { .program = program };

	snprintf(f.port, sizeof(f.port), "%u", port);
	snprintf(f.processes, sizeof(f.processes), "%u", lab_peer_processes(peer, cpus));
	return f;
}

/* What a hole at the start of the text stands for, with how long its name is; NULL: there is none. */
static const char *hole_at(struct slice text, const struct filling *f, size_t *name_n)
{
	const struct {
		struct slice name;
		const char *value;
	} holes[] = { { SLICE("{program}"), f->program }, { SLICE("{port}"), f->port },
		{ SLICE("{processes}"), f->processes } };

	for (size_t i = 0; i < sizeof(holes) / sizeof(holes[0]); i++)
		if (holes[i].name.n <= text.n && memcmp(text.p, holes[i].name.p, holes[i].name.n) == 0) {
			*name_n = holes[i].name.n;
			return holes[i].value;
		}
	return NULL;
}

/* Writes text with its holes filled, and a NUL, to out; counts only, when out is NULL.  How many bytes that is. */
static size_t fill(struct slice text, const struct filling *f, char *out)
{
	size_t n = 0, skip;

	for (; text.n > 0; text.p += skip, text.n -= skip) {
		const char *value = hole_at(text, f, &skip);
		struct slice piece = value ? slice_of(value) : (struct slice){ text.p, 1 };

		skip = value ? skip : 1;
		if (out)
			memcpy(out + n, piece.p, piece.n);
		n += piece.n;
	}
	if (out)
		out[n] = 0;
	return n + 1;
}

static int write_filled(const char *folder, const char *name, const struct filling *f)
{
	struct slice file = lab_file(name);
	size_t n = fill(file, f, NULL);
	char *text = malloc(n);
	int rc;

	if (!text)
		return -ENOMEM;
	fill(file, f, text);
	rc = lab_folder_write(folder, name, text, n - 1);
	free(text);
	return rc;
}

int lab_peer_write(const struct lab_peer *peer, const char *folder, unsigned port, unsigned cpus)
{
	const struct filling f = filling(peer, "", port, cpus);
	int rc = 0;

	for (size_t i = 0; rc == 0 && peer->recipe->files[i]; i++) {
		const char *name = peer->recipe->files[i];
		struct slice file = lab_file(name);

		/* A script has braces of its own; only the configuration has holes. */
		rc = strstr(name, ".conf") ? write_filled(folder, name, &f) :
			lab_folder_write(folder, name, file.p, file.n);
	}
	return rc;
}

char **lab_peer_command(const struct lab_peer *peer, const char *program, unsigned port, unsigned cpus)
{
	const struct filling f = filling(peer, program, port, cpus);
	const char *const *words = peer->recipe->argv;
	size_t n = 0, bytes = 0;
	char **argv, *text;

	for (; words[n]; n++)
		bytes += fill(slice_of(words[n]), &f, NULL);
	if (!(argv = malloc((n + 1) * sizeof(*argv) + bytes)))
		return NULL;
	text = (char *)(argv + n + 1);
	for (size_t i = 0; i < n; i++) {
		argv[i] = text;
		text += fill(slice_of(words[i]), &f, text);
	}
	argv[n] = NULL;
	return argv;
}
