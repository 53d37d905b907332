/* test_listen.c: listening sockets: who may have an address, and how it is given back. */
#include "listen.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct listen first, second;
static char err[256], folder[] = "/tmp/test_listen.XXXXXX", path[64];

static void set_up(void)
{
	memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/sock", folder);
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	err[0] = '\0';
}

static void tear_down(void)
{
	listen_close(&first);
	listen_close(&second);
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

static int open_tcp(struct listen *l, unsigned port, unsigned n)
{
	return listen_open(l, "127.0.0.1", port, NULL, n, 16, err, sizeof(err));
}

static int open_unix(struct listen *l, unsigned n)
{
	return listen_open(l, NULL, 0, path, n, 16, err, sizeof(err));
}

/* Connects: a descriptor or -errno. */
static int dial_unix(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), rc;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : fd;
	if (rc < 0)
		close(fd);
	return rc;
}

static int dial_tcp(unsigned port, int flags)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0), rc;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS ? -errno : fd;
	if (rc < 0)
		close(fd);
	return rc;
}

static bool can_accept(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* ---- TCP --------------------------------------------------------------------------------------------------------- */

START_TEST(each_loop_has_a_socket_on_one_port)
{
	char text[32];

	ck_assert_msg(open_tcp(&first, 0, 3) == 0, "%s", err);
	ck_assert_uint_gt(first.port, 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", first.port);
	ck_assert_str_eq(first.address, text);
	for (unsigned i = 0; i < 3; i++) {
		struct sockaddr_in sa;
		socklen_t n = sizeof(sa);

		ck_assert_int_eq(getsockname(first.fds[i], (struct sockaddr *)&sa, &n), 0);
		ck_assert_uint_eq(ntohs(sa.sin_port), first.port);
		ck_assert(fcntl(first.fds[i], F_GETFD) & FD_CLOEXEC);
	}
}
END_TEST

START_TEST(a_port_in_use_is_refused_although_its_loops_share_it)
{
	for (unsigned n = 1; n <= 3; n++) {
		ck_assert_int_eq(open_tcp(&first, 0, n), 0);
		ck_assert_int_eq(open_tcp(&second, first.port, 1), -EADDRINUSE);
		ck_assert_ptr_nonnull(strstr(err, "another server has it"));
		ck_assert_ptr_null(strchr(err, '\n'));
		ck_assert_int_eq(open_tcp(&second, first.port, 2), -EADDRINUSE);
		ck_assert_ptr_null(second.fds);
		listen_close(&first);
	}
}
END_TEST

START_TEST(a_port_that_was_given_back_can_be_had_at_once)
{
	unsigned port;
	int client, server;

	ck_assert_int_eq(open_tcp(&first, 0, 2), 0);
	port = first.port;
	client = dial_tcp(port, 0);
	ck_assert_int_ge(client, 0);
	server = accept(first.fds[can_accept(first.fds[0]) ? 0 : 1], NULL, NULL);
	ck_assert_int_ge(server, 0);
	listen_close(&first);
	close(server);                          /* the server's side waits in TIME_WAIT */
	close(client);
	ck_assert_msg(open_tcp(&second, port, 2) == 0, "%s", err);
}
END_TEST

START_TEST(an_accepted_connection_does_not_wait_to_fill_its_packets)
{
	int client, server, on = 0;
	socklen_t n = sizeof(on);

	ck_assert_int_eq(open_tcp(&first, 0, 1), 0);
	client = dial_tcp(first.port, 0);
	server = accept(first.fds[0], NULL, NULL);
	ck_assert_int_eq(getsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
	ck_assert_int_ne(on, 0);
	close(client);
	close(server);
}
END_TEST

START_TEST(a_deaf_listener_keeps_who_has_come_and_hears_nobody_else)
{
	struct pollfd p = { .events = POLLOUT };
	int early, late, server, rc;

	ck_assert_int_eq(open_tcp(&first, 0, 1), 0);
	early = dial_tcp(first.port, 0);
	ck_assert_int_ge(early, 0);
	rc = listen_deafen(&first, 0);
	if (rc == -EPERM) {
		puts("skipped: a_deaf_listener: this process may not filter its sockets");
		close(early);
		listen_close(&first);
		return;
	}
	ck_assert_int_eq(rc, 0);
	late = dial_tcp(first.port, SOCK_NONBLOCK);
	ck_assert_int_ge(late, 0);
	server = accept(first.fds[0], NULL, NULL);
	ck_assert_int_ge(server, 0);
	ck_assert(!can_accept(first.fds[0]));
	p.fd = late;
	ck_assert_int_eq(poll(&p, 1, 0), 0);            /* neither connected nor refused */
	listen_close(&first);
	ck_assert_int_eq(write(server, "x", 1), 1);
	p = (struct pollfd){ .fd = early, .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	ck_assert_int_eq(p.revents, POLLIN);            /* and not a reset */
	close(early);
	close(late);
	close(server);
}
END_TEST

START_TEST(what_is_shared_is_one_socket_that_outlives_who_shares_it)
{
	int fd;

	ck_assert_int_eq(open_tcp(&first, 0, 1), 0);
	ck_assert(!first.shared);
	ck_assert_msg(listen_share(&second, &first, 2, err, sizeof(err)) == 0, "%s", err);
	ck_assert(second.shared);
	ck_assert_uint_eq(second.port, first.port);
	ck_assert_str_eq(second.address, first.address);
	fd = dial_tcp(first.port, 0);
	ck_assert(can_accept(first.fds[0]) && can_accept(second.fds[0]) && can_accept(second.fds[1]));
	listen_close(&second);
	ck_assert(can_accept(first.fds[0]));
	close(fd);
	fd = dial_tcp(first.port, 0);
	ck_assert_int_ge(fd, 0);
	close(fd);
	listen_close(&first);
}
END_TEST

START_TEST(an_address_that_is_not_here_is_one_line)
{
	ck_assert_int_lt(listen_open(&first, "192.0.2.1", 0, NULL, 1, 16, err, sizeof(err)), 0);
	ck_assert_int_eq(strncmp(err, "cannot listen on 192.0.2.1", 26), 0);
	ck_assert_int_lt(listen_open(&first, "no such host", 0, NULL, 1, 16, err, sizeof(err)), 0);
	ck_assert_ptr_nonnull(strstr(err, "give an address of this machine"));
	ck_assert_ptr_null(strchr(err, '\n'));
}
END_TEST

START_TEST(an_ipv6_address_stands_in_brackets)
{
	int rc = listen_open(&first, "::1", 0, NULL, 2, 16, err, sizeof(err));

	if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT || rc == -EINVAL)
		return;                         /* no IPv6 here */
	ck_assert_msg(rc == 0, "%s", err);
	ck_assert_int_eq(strncmp(first.address, "[::1]:", 6), 0);
}
END_TEST

/* ---- unix -------------------------------------------------------------------------------------------------------- */

START_TEST(a_unix_path_is_one_socket_for_all_loops)
{
	int fd;

	ck_assert_msg(open_unix(&first, 3) == 0, "%s", err);
	ck_assert_uint_eq(first.port, 0);
	ck_assert_int_eq(strncmp(first.address, "unix:/tmp/", 10), 0);
	fd = dial_unix();
	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < 3; i++)
		ck_assert(can_accept(first.fds[i]));
	close(fd);
	listen_close(&first);
	ck_assert_int_eq(dial_unix(), -ENOENT);
}
END_TEST

START_TEST(closing_what_is_shared_leaves_the_path_and_a_drain_removes_it)
{
	int fd;

	ck_assert_msg(open_unix(&first, 1) == 0, "%s", err);
	ck_assert_msg(listen_share(&second, &first, 2, err, sizeof(err)) == 0, "%s", err);
	listen_close(&second);
	fd = dial_unix();
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_msg(listen_share(&second, &first, 1, err, sizeof(err)) == 0, "%s", err);
	ck_assert_int_eq(listen_deafen(&second, 0), 0);
	ck_assert_int_eq(dial_unix(), -ENOENT);
	listen_close(&second);
	listen_close(&first);
}
END_TEST

START_TEST(a_path_that_a_dead_server_left_is_taken_over)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);                              /* as a crash leaves it */
	ck_assert_int_eq(dial_unix(), -ECONNREFUSED);
	ck_assert_msg(open_unix(&first, 1) == 0, "%s", err);
	fd = dial_unix();
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

START_TEST(a_path_where_somebody_listens_is_refused_and_left_alone)
{
	int fd;

	ck_assert_int_eq(open_unix(&first, 1), 0);
	ck_assert_int_eq(open_unix(&second, 2), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(err, path));
	fd = dial_unix();
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

START_TEST(a_path_that_is_another_file_is_refused_and_left_alone)
{
	struct stat st;
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	close(fd);
	ck_assert_int_eq(open_unix(&first, 1), -EEXIST);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISREG(st.st_mode));
}
END_TEST

START_TEST(a_path_too_long_for_a_socket_is_refused)
{
	char longer[300];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_int_eq(listen_open(&first, NULL, 0, longer, 1, 16, err, sizeof(err)), -ENAMETOOLONG);
}
END_TEST

START_TEST(a_path_that_another_server_has_taken_by_force_is_left_alone)
{
	int fd;

	ck_assert_int_eq(open_unix(&first, 1), 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(open_unix(&second, 1), 0);
	ck_assert_int_eq(listen_deafen(&first, 0), 0);
	listen_close(&first);
	fd = dial_unix();
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

START_TEST(a_successors_socket_is_not_removed)
{
	int fd;

	ck_assert_int_eq(open_unix(&first, 2), 0);
	ck_assert_int_eq(listen_deafen(&first, 0), 0);
	ck_assert_int_eq(dial_unix(), -ENOENT);
	ck_assert_msg(open_unix(&second, 2) == 0, "%s", err);
	ck_assert_int_eq(listen_deafen(&first, 1), 0);  /* the other loop is later */
	fd = dial_unix();
	ck_assert_int_ge(fd, 0);
	close(fd);
	for (int i = 0; i < 2; i++) {
		close(first.fds[i]);            /* so that the file system may use the number again */
		first.fds[i] = -1;
	}
	listen_close(&second);
	ck_assert_msg(open_unix(&second, 2) == 0, "%s", err);
	listen_close(&first);                   /* its requests took long */
	fd = dial_unix();
	ck_assert_int_ge(fd, 0);
	close(fd);
	listen_close(&second);
	ck_assert_int_eq(dial_unix(), -ENOENT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("listen");
	TCase *tcp = tcase_create("tcp"), *local = tcase_create("unix");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcp, set_up, tear_down);
	tcase_add_checked_fixture(local, set_up, tear_down);
	tcase_add_test(tcp, each_loop_has_a_socket_on_one_port);
	tcase_add_test(tcp, a_port_in_use_is_refused_although_its_loops_share_it);
	tcase_add_test(tcp, a_port_that_was_given_back_can_be_had_at_once);
	tcase_add_test(tcp, an_accepted_connection_does_not_wait_to_fill_its_packets);
	tcase_add_test(tcp, a_deaf_listener_keeps_who_has_come_and_hears_nobody_else);
	tcase_add_test(tcp, what_is_shared_is_one_socket_that_outlives_who_shares_it);
	tcase_add_test(tcp, an_address_that_is_not_here_is_one_line);
	tcase_add_test(tcp, an_ipv6_address_stands_in_brackets);
	tcase_add_test(local, a_unix_path_is_one_socket_for_all_loops);
	tcase_add_test(local, closing_what_is_shared_leaves_the_path_and_a_drain_removes_it);
	tcase_add_test(local, a_path_that_a_dead_server_left_is_taken_over);
	tcase_add_test(local, a_path_where_somebody_listens_is_refused_and_left_alone);
	tcase_add_test(local, a_path_that_is_another_file_is_refused_and_left_alone);
	tcase_add_test(local, a_path_too_long_for_a_socket_is_refused);
	tcase_add_test(local, a_path_that_another_server_has_taken_by_force_is_left_alone);
	tcase_add_test(local, a_successors_socket_is_not_removed);
	suite_add_tcase(suite, tcp);
	suite_add_tcase(suite, local);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
