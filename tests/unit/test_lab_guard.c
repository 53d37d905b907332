/* test_lab_guard.c: what a server has forked ends with a killed lab, its files go, and who has left lives on. */
#include "cli/lab_files.h"
#include "cli/lab_guard.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The worker holds the first; closing the second ends it. */
static int lives[2], may_live[2];
static char *folder;    /* of a file */

/* Becomes a server that forks a worker, says so, and is ended with the lab, as a server's first process is.  The worker
 * inherits the shell's 8, which is lives, and reads from 9, which is may_live. */
static void serve(int ready)
{
	int up[] = { fcntl(ready, F_DUPFD, 20), fcntl(lives[1], F_DUPFD, 20), fcntl(may_live[0], F_DUPFD, 20) };

	setsid();
	lab_guard_join();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 3; i++)
		if (up[i] < 0 || dup2(up[i], 7 + i) < 0)
			_exit(3);
	close_range(10, ~0U, 0);
	execl("/bin/sh", "sh", "-c", "cat <&9 & echo >&7; exec cat <&9", (char *)NULL);
	_exit(3);
}

static void be_lab(bool leaves)
{
	int ready[2];
	char byte;
	pid_t server;

	if (lab_guard_start(folder) || pipe2(ready, O_CLOEXEC))
		_exit(3);
	server = fork();
	if (server == 0)
		serve(ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		_exit(3);
	if (leaves)
		lab_guard_leave(server);
	raise(SIGKILL);
}

static void kill_a_lab(bool leaves)
{
	int status;
	pid_t lab;

	ck_assert_int_eq(pipe2(lives, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(may_live, O_CLOEXEC), 0);
	folder = lab_folder_new(NULL);
	ck_assert_ptr_nonnull(folder);
	ck_assert_int_eq(lab_folder_write(folder, "file", "x", 1), 0);
	lab = fork();
	ck_assert_int_ge(lab, 0);
	if (lab == 0)
		be_lab(leaves);
	close(lives[1]);
	ck_assert_int_eq(waitpid(lab, &status, 0), lab);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Whether the worker has ended; it is waited for so long. */
static bool worker_ended(int ms)
{
	struct pollfd end = { lives[0], POLLIN, 0 };

	return poll(&end, 1, ms) == 1 && (end.revents & POLLHUP);
}

/* The guardian's last act. */
static void await_folders_end(void)
{
	const struct timespec pause = { .tv_nsec = 10000000 };

	while (access(folder, F_OK) == 0)
		nanosleep(&pause, NULL);
	free(folder);
}

START_TEST(what_a_server_has_forked_ends_with_a_lab_that_is_killed)
{
	kill_a_lab(false);
	ck_assert(worker_ended(50000));
	close(may_live[1]);
	await_folders_end();
}
END_TEST

START_TEST(who_has_left_is_left_alone)
{
	kill_a_lab(true);
	ck_assert(!worker_ended(100));
	close(may_live[1]);
	ck_assert(worker_ended(50000));
	await_folders_end();
}
END_TEST

START_TEST(a_guardian_ends_when_it_is_told_to)
{
	ck_assert_int_eq(lab_guard_start(NULL), 0);
	lab_guard_stop();
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	lab_guard_stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab_guard");
	TCase *c = tcase_create("lab_guard");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_test(c, what_a_server_has_forked_ends_with_a_lab_that_is_killed);
	tcase_add_test(c, who_has_left_is_left_alone);
	tcase_add_test(c, a_guardian_ends_when_it_is_told_to);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
