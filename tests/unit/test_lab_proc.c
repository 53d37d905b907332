/* test_lab_proc.c: what processes use is known, or said not to be. */
#include "cli/lab_proc.h"

#include <check.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static pid_t ward;      /* a session of one process that waits to be killed */

/* Root may read of everybody; nobody may not. */
static void become_nobody(void)
{
	if (geteuid() == 0 && (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY)))
		_exit(3);
}

static void start_ward(bool traceable)
{
	int ready[2];
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	ward = fork();
	ck_assert_int_ge(ward, 0);
	if (ward == 0) {
		become_nobody();
		if (setsid() < 0 || prctl(PR_SET_DUMPABLE, traceable) || prctl(PR_SET_PDEATHSIG, SIGKILL))
			_exit(3);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(3);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void end_ward(void)
{
	kill(ward, SIGKILL);
	waitpid(ward, NULL, 0);
}

/* As nobody sees it: 0 known, 1 not. */
static int look(void)
{
	struct proc_use u;
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		become_nobody();
		proc_use(ward, true, &u);
		_exit(u.processes != 1 ? 4 : u.pss_known ? u.pss_kb > 0 ? 0 : 5 : 1);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 6;
}

START_TEST(memory_that_may_not_be_read_is_not_known)
{
	start_ward(false);
	ck_assert_int_eq(look(), 1);
	end_ward();
}
END_TEST

START_TEST(memory_that_may_be_read_is_known)
{
	start_ward(true);
	ck_assert_int_eq(look(), 0);
	end_ward();
}
END_TEST

START_TEST(one_that_has_ended_has_no_memory)
{
	siginfo_t info;
	struct proc_use u;

	start_ward(true);
	kill(ward, SIGKILL);
	ck_assert_int_eq(waitid(P_PID, (id_t)ward, &info, WEXITED | WNOWAIT), 0);
	proc_use(ward, true, &u);
	ck_assert_uint_eq(u.processes, 1);
	ck_assert(u.pss_known);
	ck_assert_uint_eq(u.pss_kb, 0);
	end_ward();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab_proc");
	TCase *c = tcase_create("lab_proc");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_test(c, memory_that_may_not_be_read_is_not_known);
	tcase_add_test(c, memory_that_may_be_read_is_known);
	tcase_add_test(c, one_that_has_ended_has_no_memory);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
