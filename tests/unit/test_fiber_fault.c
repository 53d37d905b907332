/*
 * test_fiber_fault.c: what ends a process on a fiber: an overflow, which is named, and other faults.
 *
 * Each deed is done in a child: this program run again with the name of the deed, so that its signal handlers are
 * installed afresh, also when Check does not fork.
 */
#include "fiber.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define NOINLINE __attribute__((noinline))

static struct fiber_pool *pool;
static char *program; /* this one, to run it again */

static void *volatile nowhere = (void *)16;
static volatile unsigned char sink;

static volatile unsigned deepest = UINT_MAX; /* never reached */

static NOINLINE unsigned recurse(unsigned n)
{
	volatile unsigned char frame[512];

	if (n == deepest)
		return n;
	frame[n % sizeof(frame)] = (unsigned char)n;
	sink = frame[0];
	return recurse(n + 1) + frame[n % sizeof(frame)];
}

static void overflow(void *arg)
{
	(void)arg;
	sink = (unsigned char)recurse(0);
}

/* A frame of 48 KiB, of which only the far end is touched. */
static NOINLINE void leap(void *arg)
{
	void *low, *high;

	(void)arg;
	fiber_stack_bounds(fiber_current(pool), &low, &high);
	*((volatile char *)low - 48 * KIB) = 1;
}

static void overflow_inside(void *arg)
{
	struct fiber *f;

	if (fiber_start(pool, 32 * KIB, "GET /inner", overflow, arg, &f) != 0)
		_exit(1);
}

static void touch_nowhere(void *arg)
{
	(void)arg;
	*(volatile char *)nowhere = 1;
}

static void send_bus(void *arg)
{
	(void)arg;
	raise(SIGBUS);
}

static void send_segv(void *arg)
{
	(void)arg;
	raise(SIGSEGV);
}

#ifndef NDEBUG
static void free_pool_around_itself(void *arg)
{
	(void)arg;
	fiber_pool_free(pool);
}
#endif

static void exit_seven(int sig)
{
	(void)sig;
	_exit(7);
}

static void exit_eight(int sig, siginfo_t *info, void *context)
{
	_exit(sig == SIGSEGV && info->si_addr == nowhere && context ? 8 : 1);
}

static void set_default(void)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
}

static void set_ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
}

static void set_plain_handler(void)
{
	signal(SIGSEGV, exit_seven);
}

static void set_handler(void)
{
	struct sigaction handler = { .sa_sigaction = exit_eight, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &handler, NULL);
}

/* The kernel as it was before 6.13: refuses MADV_GUARD_INSTALL. */
static void refuse_guard_markers(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 102, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = sizeof(code) / sizeof(*code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		_exit(77);
}

static const struct deed {
	const char *name;
	void (*prepare)(void);
	const char *route;
	size_t stack;
	fiber_fn *fn;
	bool in_thread;
	const char *text;   /* on stderr; NULL: whatever */
	int signal, status; /* how the process ends: 9 when nothing happened */
} deeds[] = {
	{ "overflow", NULL, "GET /x", 0, overflow, false, "GET /x (256 KiB)", SIGSEGV, 0 },
	{ "old kernel", refuse_guard_markers, "GET /x", 0, overflow, false, "GET /x (256 KiB)", SIGSEGV, 0 },
	{ "inner", NULL, "GET /x", 0, overflow_inside, false, "GET /inner (32 KiB)", SIGSEGV, 0 },
	{ "leap", NULL, "GET /x", 20000, leap, false, "GET /x (20 KiB)", SIGSEGV, 0 },
	{ "no name", NULL, NULL, 0, overflow, false, "a fiber (256 KiB)", SIGSEGV, 0 },
	{ "thread", NULL, "GET /y", 0, overflow, true, "GET /y (256 KiB)", SIGSEGV, 0 },
	{ "fault", set_default, "GET /x", 0, touch_nowhere, false, "", SIGSEGV, 0 },
	{ "fault ignored", set_ignored, "GET /x", 0, touch_nowhere, false, "", SIGSEGV, 0 },
	{ "fault in thread", set_default, "GET /x", 0, touch_nowhere, true, "", SIGSEGV, 0 },
	{ "fault handled", set_handler, "GET /x", 0, touch_nowhere, false, "", 0, 8 },
	{ "fault handled simply", set_plain_handler, "GET /x", 0, touch_nowhere, false, "", 0, 7 },
	{ "signal", set_default, "GET /x", 0, send_bus, false, "", SIGBUS, 0 },
	{ "signal ignored", set_ignored, "GET /x", 0, send_segv, false, "", 0, 9 },
	{ "signal handled simply", set_plain_handler, "GET /x", 0, send_segv, false, "", 0, 7 },
#ifndef NDEBUG
	{ "free", NULL, "GET /x", 0, free_pool_around_itself, false, NULL, SIGABRT, 0 },
#endif
};

static void *carry_out(void *arg)
{
	const struct deed *d = arg;
	struct fiber_conf conf = { .live_max = 3, .spare_max = 1 };
	struct fiber *f;

	if (d->prepare)
		d->prepare();
	pool = fiber_pool_new(&conf);
	if (!pool || fiber_start(pool, d->stack, d->route, d->fn, NULL, &f) != 0)
		_exit(1);
	_exit(9);
}

static void deed(const char *name)
{
	struct rlimit no_core = { 0, 0 };
	pthread_t t;

	setrlimit(RLIMIT_CORE, &no_core);
	for (size_t i = 0; i < sizeof(deeds) / sizeof(*deeds); i++) {
		if (strcmp(deeds[i].name, name) != 0)
			continue;
		if (!deeds[i].in_thread)
			carry_out((void *)(uintptr_t)&deeds[i]);
		if (pthread_create(&t, NULL, carry_out, (void *)(uintptr_t)&deeds[i]) == 0)
			pthread_join(t, NULL);
	}
	_exit(1);
}

/* Has the deed done by a process of its own; what that wrote to stderr, and its wait status. */
static int child(const char *name, char *text, size_t n)
{
	char flag[] = "--deed", what[64], *argv[] = { program, flag, what, NULL };
	int fds[2], status;
	size_t got = 0;
	ssize_t more;
	pid_t pid;

	snprintf(what, sizeof(what), "%s", name);
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		execvp(program, argv);
		_exit(127);
	}
	close(fds[1]);
	while (got + 1 < n && (more = read(fds[0], text + got, n - 1 - got)) > 0)
		got += (size_t)more;
	text[got] = '\0';
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(an_overflow_is_named_and_other_faults_go_where_they_went_before)
{
	const struct deed *d = &deeds[_i];
	char text[4096], expected[128] = "";
	int status = child(d->name, text, sizeof(text));
	const char *line = strstr(text, "offloop:"); /* a sanitizer may have written before it */

	if (d->text && *d->text)
		snprintf(expected, sizeof(expected), "offloop: stack overflow in %s: raise .stack\n", d->text);
	if (d->signal)
		ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == d->signal, "%s: %x %s", d->name, status, text);
	else
		ck_assert_msg(
			WIFEXITED(status) && WEXITSTATUS(status) == d->status, "%s: %x %s", d->name, status, text);
	if (d->text)
		ck_assert_str_eq(line ? line : "", expected);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("fiber_fault");
	TCase *ends = tcase_create("ends");
	SRunner *runner = srunner_create(suite);
	int failed;

	program = argv[0];
	if (argc == 3 && strcmp(argv[1], "--deed") == 0)
		deed(argv[2]);
	tcase_add_loop_test(ends, an_overflow_is_named_and_other_faults_go_where_they_went_before, 0,
		sizeof(deeds) / sizeof(*deeds));
	tcase_set_timeout(ends, 60);
	suite_add_tcase(suite, ends);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
