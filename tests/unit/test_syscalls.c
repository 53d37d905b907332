/* test_syscalls.c: a system call is told with what it waits for: its file, its socket by the peer, its path. */
#include "capture.h"
#include "syscalls.h"

#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct capturer *capturer;

static void setup(void)
{
	capturer = capturer_new();
	ck_assert_ptr_nonnull(capturer);
}

static void teardown(void)
{
	capturer_free(capturer);
}

static void check_call(int64_t number, uint64_t a, uint64_t b, const char *expected)
{
	struct capture c = { .state = CAPTURE_SLEEPING, .syscall = number, .args = { a, b } };
	char text[SYSCALL_TEXT_MAX], cut[16];

	ck_assert_uint_eq(syscall_format(capturer, &c, text, sizeof(text)), strlen(text));
	ck_assert_str_eq(text, expected);
	syscall_format(capturer, &c, cut, sizeof(cut));
	ck_assert_uint_lt(strlen(cut), sizeof(cut));
	ck_assert_int_eq(strncmp(cut, expected, 8), 0);
}

START_TEST(calls_are_told_with_what_they_wait_for)
{
	char expected[200], path[] = "/tmp/offloop-capture-XXXXXX";
	int fd = mkstemp(path), pair[2];

	ck_assert_int_ge(fd, 0);
	snprintf(expected, sizeof(expected), "fdatasync(fd %d, %s)", fd, path);
	check_call(SYS_fdatasync, (uint64_t)fd, 0, expected);
	snprintf(expected, sizeof(expected), "openat(%s)", path);
	check_call(SYS_openat, (uint64_t)AT_FDCWD, (uint64_t)(uintptr_t)path, expected);
	ck_assert_int_eq(unlink(path), 0);
	close(fd);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(expected, sizeof(expected), "recvfrom(fd %d, unix socket)", pair[0]);
	check_call(SYS_recvfrom, (uint64_t)pair[0], 0, expected);
	close(pair[0]);
	close(pair[1]);
	check_call(SYS_read, 12345, 0, "read(fd 12345)");
	check_call(SYS_openat, 0, 16, "openat()");
	check_call(SYS_openat, 0, (uint64_t)(uintptr_t)"/caf\xe9/\"/\x1b/\xc3", "openat(/caf?/?/?/?)");
	check_call(9999, 0, 0, "syscall 9999");
	check_call(-1, 0, 0, "page fault");
}
END_TEST

START_TEST(sockets_are_told_by_their_peer)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);
	char expected[200];

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&at, len), 0);
	snprintf(expected, sizeof(expected), "read(fd %d, socket 127.0.0.1:%d)", client, ntohs(at.sin_port));
	check_call(SYS_read, (uint64_t)client, 0, expected);
	snprintf(expected, sizeof(expected), "accept4(fd %d, socket listening on 127.0.0.1:%d)", listener,
		ntohs(at.sin_port));
	check_call(SYS_accept4, (uint64_t)listener, 0, expected);
	close(client);
	close(listener);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("syscalls");
	TCase *tc = tcase_create("syscalls");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, calls_are_told_with_what_they_wait_for);
	tcase_add_test(tc, sockets_are_told_by_their_peer);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
