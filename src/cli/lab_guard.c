/* lab_guard.c: who ends the servers when the lab cannot, and clears up.
 *
 * A lab that is killed (SIGKILL, or for want of memory) ends nobody.  PR_SET_PDEATHSIG reaches a server's first process
 * alone: it is not inherited, and the workers that nginx or gunicorn fork would serve on.  So the lab has a guardian, a
 * process that does nothing but read from a pipe to which only the lab holds the other end.  The end of file, which
 * comes however the lab ends, makes it kill the process groups it was told of, and then remove the folder in which they
 * had their files.
 *
 * A server's process tells of itself, before it becomes the server: it holds the pipe's end until then, so there is no
 * moment at which the lab may die and a server that can fork is unknown.  The lab tells when a group is gone, before it
 * waits for the group's first process: until then no other group can have its number.  When the lab is dead the groups
 * are killed at once, and a number is another's only if its whole group ended by itself in that moment.
 *
 * The guardian has a session of its own, so that Ctrl-C does not reach it, and no terminal or pipe of the lab's.
 *
 * One thread each.  A guardian that is killed itself leaves what PR_SET_PDEATHSIG does.
 */
#include "cli/lab_guard.h"
#include "base/clock.h"
#include "cli/lab.h"
#include "cli/lab_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES 100
#define PAUSE_NS (20 * NS_PER_MS)

static struct {
	pid_t pid;              /* 0: there is none */
	int tell;               /* the end that is written to: a group that joins, or, negative, one that leaves */
} guard;

/* ---- the guardian ------------------------------------------------------------------------------------------------ */

static void note(pid_t *groups, pid_t said)
{
	pid_t old = said < 0 ? -said : 0, new = said < 0 ? 0 : said;

	for (size_t i = 0; i < LAB_SUBJECTS_MAX; i++)
		if (groups[i] == old) {
			groups[i] = new;
			return;
		}
	assert(said < 0);       /* it ended before it could join; no more run at once than there are subjects */
}

/* What a killed process was about to make may come after its folder was looked through. */
static void clear(const char *folder)
{
	const struct timespec pause = clock_timespec(PAUSE_NS);

	for (unsigned tries = 0; tries < TRIES && !lab_folder_remove(folder); tries++)
		nanosleep(&pause, NULL);
}

static void be_guardian(int heard, const char *folder)
{
	pid_t groups[LAB_SUBJECTS_MAX] = { 0 }, said;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ssize_t n;

	setsid();
	prctl(PR_SET_NAME, "lab-guardian");
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	while ((n = read(heard, &said, sizeof(said))) != 0)
		if (n == sizeof(said))
			note(groups, said);
		else if (errno != EINTR)
			break;
	for (size_t i = 0; i < LAB_SUBJECTS_MAX; i++)
		if (groups[i] > 0)
			kill(-groups[i], SIGKILL);
	if (folder)
		clear(folder);
	_exit(0);
}

/* ---- the lab ----------------------------------------------------------------------------------------------------- */

int lab_guard_start(const char *folder)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	guard.pid = fork();
	if (guard.pid < 0) {
		int rc = -errno;

		guard.pid = 0;
		close(ends[0]);
		close(ends[1]);
		return rc;
	}
	if (guard.pid == 0) {
		close(ends[1]);
		be_guardian(ends[0], folder);
	}
	close(ends[0]);
	guard.tell = ends[1];
	return 0;
}

/* A pipe takes so few bytes whole or not at all; it fails only where the guardian was killed. */
static void tell(pid_t what)
{
	while (guard.pid > 0 && write(guard.tell, &what, sizeof(what)) < 0 && errno == EINTR)
		;
}

void lab_guard_join(void)
{
	tell(getpid());
}

void lab_guard_leave(pid_t group)
{
	tell(-group);
}

void lab_guard_stop(void)
{
	if (guard.pid == 0)
		return;
	close(guard.tell);
	while (waitpid(guard.pid, NULL, 0) < 0 && errno == EINTR)
		;
	guard.pid = 0;
}
