/* test_loop.c: the operations of loop.h, held to its contract by the backend that OFFLOOP_BACKEND names (uring or
 * libevent).
 *
 * Real sockets, TCP and unix: the loop's end in an io that writes down what it is told (loop_seen.h), the far end a
 * plain descriptor of the test's.  Exits 77 when io_uring is asked for and not to be had. */
#include "../loop_seen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- accept ------------------------------------------------------------------------------------------------------ */

START_TEST(one_accept_takes_many_clients_until_it_is_stopped)
{
	struct sockaddr_in sa;
	struct loop *l = seen_loop(NULL);
	struct seen *s = seen_new(l, listen_tcp(&sa));
	int clients[10];

	ck_assert_int_eq(seen_accept(s), 0);
	ck_assert_int_eq(seen_accept(s), -EALREADY);
	for (int i = 0; i < 10; i++)
		clients[i] = connect_tcp(&sa);
	UNTIL(l, s->accepts == 10);
	seen_stop(s, LOOP_ACCEPT);
	UNTIL(l, s->accept_ended);
	ck_assert_int_eq(s->accept_error, -ECANCELED);
	clients[0] = (close(clients[0]), connect_tcp(&sa));
	seen_settle(l);
	ck_assert_int_eq(s->accepts, 10);
	ck_assert_int_eq(seen_accept(s), 0);
	UNTIL(l, s->accepts == 11);
	for (int i = 0; i < 11; i++)
		close(s->accepted_fd[i]);
	for (int i = 0; i < 10; i++)
		close(clients[i]);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(an_accept_of_one_leaves_the_others_in_the_backlog)
{
	struct sockaddr_in sa;
	struct loop *l = seen_loop(NULL);
	int fd = listen_tcp(&sa);
	struct pollfd backlog = { .fd = fd, .events = POLLIN };
	struct seen *s = seen_new(l, fd);
	int clients[3];

	for (int i = 0; i < 3; i++)
		clients[i] = connect_tcp(&sa);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(seen_accept_one(s), 0);
		ck_assert_int_eq(seen_accept_one(s), -EALREADY);
		UNTIL(l, s->accepts == i);
		seen_settle(l);
		ck_assert_int_eq(s->accepts, i);
		ck_assert_int_eq(s->accept_ended, i);
		ck_assert_int_eq(poll(&backlog, 1, 0), i < 3);
	}
	ck_assert_int_eq(seen_accept_one(s), 0);
	seen_stop(s, LOOP_ACCEPT);
	UNTIL(l, s->accept_ended == 4);
	ck_assert_int_eq(s->accept_error, -ECANCELED);
	for (int i = 0; i < 3; i++) {
		close(s->accepted_fd[i]);
		close(clients[i]);
	}
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_unix_socket_accepts_and_connects)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	socklen_t n = sizeof(sa);
	struct loop *l = seen_loop(NULL);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct seen *s, *c;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa.sun_family)), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	s = seen_new(l, fd);
	c = seen_new(l, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	ck_assert_int_eq(seen_accept(s), 0);
	ck_assert_int_eq(loop_connect(&c->io, (struct sockaddr *)&sa, n), 0);
	ck_assert_int_eq(c->connects, 0);
	memset(&sa, 0xff, sizeof(sa));                  /* it was copied */
	UNTIL(l, s->accepts == 1 && c->connects == 1);
	ck_assert_int_eq(c->connect_res, 0);
	ck_assert_int_eq(seen_recv(c), 0);
	write_all(s->accepted_fd[0], "hello", 5);
	UNTIL(l, c->received == 5);
	close(s->accepted_fd[0]);
	UNTIL(l, c->recv_ended);
	seen_free(c);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_client_of_a_shared_listener_waits_for_no_busy_loop)
{
	struct sockaddr_in sa;
	struct loop *busy = seen_loop(NULL), *idle = seen_loop(NULL);
	int fd = listen_tcp(&sa), clients[8];
	struct seen *first = seen_new(busy, dup(fd)), *second = seen_new(idle, fd);

	first->io.shared = second->io.shared = true;
	ck_assert_int_eq(seen_accept(first), 0);
	ck_assert_int_eq(seen_accept(second), 0);
	seen_settle(busy);
	for (int i = 0; i < 8; i++) {
		clients[i] = connect_tcp(&sa);
		UNTIL(idle, second->accepts == i + 1);
	}
	seen_settle(busy);                              /* which was woken, too, and finds nobody */
	ck_assert_int_eq(first->accepts, 0);
	close(clients[0]);
	clients[0] = connect_tcp(&sa);
	UNTIL(busy, first->accepts == 1);
	ck_assert(!first->accept_error && !second->accept_error);
	seen_stop(first, LOOP_ACCEPT);
	UNTIL(busy, first->accept_ended);
	ck_assert_int_eq(first->accept_error, -ECANCELED);
	close(clients[1]);
	clients[1] = connect_tcp(&sa);
	UNTIL(idle, second->accepts == 9);
	close(first->accepted_fd[0]);
	for (int i = 0; i < 9; i++)
		close(second->accepted_fd[i]);
	for (int i = 0; i < 8; i++)
		close(clients[i]);
	seen_free(first);
	seen_free(second);
	loop_free(busy);
	loop_free(idle);
}
END_TEST

START_TEST(a_client_of_an_exclusive_listener_wakes_one_loop_or_whoever_looks_anew)
{
	struct sockaddr_in sa;
	struct loop *busy = seen_loop(NULL), *idle = seen_loop(NULL);
	int fd = listen_tcp(&sa), clients[2];
	struct seen *first = seen_new(busy, dup(fd)), *second = seen_new(idle, fd);

	first->io.shared = second->io.shared = first->io.exclusive = second->io.exclusive = true;
	ck_assert_int_eq(seen_accept(first), 0);
	seen_settle(busy);
	ck_assert_int_eq(seen_accept(second), 0);
	seen_settle(idle);
	clients[0] = connect_tcp(&sa);
	seen_settle(idle);                              /* libevent cannot ask for that: all are woken */
	ck_assert_int_eq(second->accepts, seen_on_uring() ? 0 : 1);
	seen_stop(second, LOOP_ACCEPT);
	UNTIL(idle, second->accept_ended);
	ck_assert_int_eq(second->accept_error, -ECANCELED);
	ck_assert_int_eq(seen_accept(second), 0);
	UNTIL(idle, second->accepts == 1);
	seen_settle(busy);                              /* too late, and behind the other from now on */
	ck_assert_int_eq(first->accepts, 0);
	clients[1] = connect_tcp(&sa);
	UNTIL(idle, second->accepts == 2);
	ck_assert_int_eq(first->accepts, 0);
	for (int i = 0; i < 2; i++) {
		close(second->accepted_fd[i]);
		close(clients[i]);
	}
	seen_free(first);
	seen_free(second);
	loop_free(busy);
	loop_free(idle);
}
END_TEST

START_TEST(a_crowd_at_a_shared_listener_is_let_in_to_the_last)
{
	struct sockaddr_in sa;
	struct loop *l = seen_loop(NULL);
	struct seen *s = seen_new(l, listen_tcp(&sa));
	int clients[50];

	s->io.shared = true;
	s->io.exclusive = _i > 0;
	for (int i = 0; i < 50; i++)
		clients[i] = connect_tcp(&sa);
	ck_assert_int_eq(seen_accept(s), 0);
	UNTIL(l, s->accepts == 50);
	for (int i = 0; i < 50; i++) {
		close(s->accepted_fd[i]);
		close(clients[i]);
	}
	seen_free(s);
	loop_free(l);
}
END_TEST

/* Lowers the limit on descriptors to those in use. */
static struct rlimit forbid_descriptors(void)
{
	struct rlimit was, now;
	int fd = dup(0);

	ck_assert_int_ge(fd, 0);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &was);
	now = was;
	now.rlim_cur = (rlim_t)fd;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	return was;
}

START_TEST(a_full_descriptor_table_lets_accepting_rest_and_then_go_on)
{
	struct sockaddr_in sa;
	struct loop *l = seen_loop(NULL);
	struct seen *s = seen_new(l, listen_tcp(&sa)), *spare = seen_new(l, open("/dev/null", O_RDONLY | O_CLOEXEC));
	int a = connect_tcp(&sa), b;
	struct rlimit was;

	s->io.shared = _i > 0;
	b = connect_tcp(&sa);
	was = forbid_descriptors();
	ck_assert_int_eq(seen_accept(s), 0);
	UNTIL(l, s->accept_error);
	ck_assert_int_eq(s->accept_error, -EMFILE);
	ck_assert_int_eq(s->accept_ended, 0);
	s->accept_error = 0;
	ck_assert_uint_lt(seen_turns_in(l, 250), 40);   /* it does not spin */
	ck_assert_int_eq(s->accept_error, 0);           /* and is not said again */
	ck_assert_int_eq(s->accepts, 0);
	seen_close(spare);                                /* room for one */
	UNTIL(l, s->accepts == 1);
	setrlimit(RLIMIT_NOFILE, &was);
	UNTIL(l, s->accepts == 2);
	for (int i = 0; i < 2; i++)
		close(s->accepted_fd[i]);
	close(a);
	close(b);
	seen_free(spare);
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- receive ----------------------------------------------------------------------------------------------------- */

START_TEST(what_is_received_can_be_sent_back)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	s->echo = true;
	ck_assert_int_eq(seen_recv(s), 0);
	ck_assert_int_eq(seen_recv(s), -EALREADY);
	for (int i = 1; i <= 50; i++) {
		char text[32];
		int n = snprintf(text, sizeof(text), "message %d", i);

		write_all(ends[1], text, (size_t)n);
		UNTIL(l, s->sends == i);
		ck_assert_int_eq(s->send_res, n);
		read_all(ends[1], text, (size_t)n);
	}
	close(ends[1]);
	UNTIL(l, s->recv_ended);
	ck_assert_int_eq(s->recv_end, 0);
	ck_assert_uint_eq(s->io.armed, 0);
	seen_settle(l);
	ck_assert_int_eq(s->recv_ended, 1);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(much_data_comes_whole_and_in_order)
{
	enum { MUCH = 300000 };
	struct loop *l = seen_loop(NULL);
	char *data = malloc(MUCH);
	size_t at = 0;
	struct seen *s;
	int ends[2];

	for (int i = 0; i < MUCH; i++)
		data[i] = (char)(i * 31 + i / 251);
	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_recv(s), 0);
	while (at < MUCH) {
		ssize_t n = send(ends[1], data + at, MUCH - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		at += n > 0 ? (size_t)n : 0;
		ck_assert_int_eq(loop_turn(l, 0), 0);
	}
	close(ends[1]);
	UNTIL(l, s->recv_ended);
	ck_assert_int_eq(s->recv_end, 0);
	ck_assert_uint_eq(s->nbytes, MUCH);
	ck_assert_int_eq(memcmp(s->bytes, data, MUCH), 0);
	free(data);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_stopped_receive_leaves_later_bytes_in_the_socket)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	for (int i = 1; i <= 5; i++) {
		ck_assert_int_eq(seen_recv(s), 0);
		write_all(ends[1], "a", 1);
		UNTIL(l, s->received == 2 * i - 1);
		seen_stop(s, LOOP_RECV);
		seen_stop(s, LOOP_RECV);
		UNTIL(l, s->recv_ended == i);
		ck_assert_int_eq(s->recv_end, -ECANCELED);
		write_all(ends[1], "b", 1);
		seen_settle(l);
		ck_assert_int_eq(s->received, 2 * i - 1);
		if (i < 5) {                            /* the b is the first of what comes next */
			ck_assert_int_eq(seen_recv(s), 0);
			UNTIL(l, s->received == 2 * i);
			seen_stop(s, LOOP_RECV);
			UNTIL(l, s->recv_ended == i + 1);
			s->recv_ended = i;
		}
	}
	ck_assert_int_eq(memcmp(s->bytes, "ababababa", 9), 0);
	close(ends[1]);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_receive_stopped_before_any_turn_ends_too)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_recv(s), 0);
	seen_stop(s, LOOP_RECV);
	UNTIL(l, s->recv_ended);
	ck_assert_int_eq(s->recv_end, -ECANCELED);
	close(ends[1]);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_reset_is_econnreset)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(0, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_recv(s), 0);
	write_all(ends[1], "before", 6);
	UNTIL(l, s->received == 6);
	reset_tcp(ends[1]);
	UNTIL(l, s->recv_ended);
	ck_assert_int_eq(s->recv_end, -ECONNRESET);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_reset_right_behind_bytes_is_noticed)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(0, ends);
	s = seen_new(l, ends[0]);
	write_all(ends[1], "before", 6);
	reset_tcp(ends[1]);
	ck_assert_int_eq(seen_recv(s), 0);
	UNTIL(l, s->recv_ended);
	ck_assert_int_eq(s->recv_end, -ECONNRESET);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(receives_without_buffers_wait_for_one_to_be_lent_back)
{
	const struct loop_conf conf = { .recv_bufs = 1, .recv_bufs_max = 4, .recv_buf_size = 64 };
	struct loop *l = seen_loop(&conf);
	struct seen *s[6];
	int ends[6][2], got;

	for (int i = 0; i < 6; i++) {
		make_pair(i % 2, ends[i]);
		s[i] = seen_new(l, ends[i][0]);
		s[i]->keep = true;
		ck_assert_int_eq(seen_recv(s[i]), 0);
		write_all(ends[i][1], "hello", 5);
	}
	UNTIL(l, s[0]->nkept + s[1]->nkept + s[2]->nkept + s[3]->nkept + s[4]->nkept + s[5]->nkept == 4);
	seen_settle(l);
	ck_assert_uint_gt(l->count.starved, 0);
	ck_assert_uint_eq(l->bufs_free, 0);
	for (int i = 0; i < 6; i++)
		ck_assert_uint_eq(s[i]->io.armed, LOOP_RECV);
	for (got = 0; got < 6;) {
		got = 0;
		for (int i = 0; i < 6; i++) {
			seen_lend_back(s[i]);
			got += s[i]->received == 5;
		}
		seen_patience = clock_now_ns() + 10 * NS_PER_S;
		if (got < 6)
			seen_turn(l);
	}
	seen_settle(l);
	ck_assert_uint_eq(l->bufs_free, 4);
	for (int i = 0; i < 6; i++) {           /* those that starved while idle hear again */
		write_all(ends[i][1], "again", 5);
		UNTIL(l, s[i]->received == 10);
		ck_assert_int_eq(memcmp(s[i]->bytes, "helloagain", 10), 0);
		loop_lend_back(l, &s[i]->kept[--s[i]->nkept]);
	}
	for (int i = 0; i < 6; i++) {
		close(ends[i][1]);
		UNTIL(l, s[i]->recv_ended);
		seen_free(s[i]);
	}
	loop_free(l);
}
END_TEST

START_TEST(a_starving_loop_does_not_spin)
{
	const struct loop_conf conf = { .recv_bufs = 1, .recv_bufs_max = 1 };
	struct loop *l = seen_loop(&conf);
	struct seen *a, *b;
	int one[2], two[2];

	make_pair(_i, one);
	make_pair(_i, two);
	a = seen_new(l, one[0]);
	b = seen_new(l, two[0]);
	a->keep = b->keep = true;
	ck_assert_int_eq(seen_recv(a), 0);
	ck_assert_int_eq(seen_recv(b), 0);
	write_all(one[1], "x", 1);
	write_all(two[1], "y", 1);
	UNTIL(l, a->nkept + b->nkept == 1);
	seen_settle(l);
	ck_assert_uint_lt(seen_turns_in(l, 100), 10);
	close(one[1]);
	close(two[1]);
	seen_free(a);
	seen_free(b);
	loop_free(l);
}
END_TEST

/* ---- send -------------------------------------------------------------------------------------------------------- */

START_TEST(a_large_send_is_complete_although_the_peer_reads_little_by_little)
{
	enum { LARGE = 6000000 };
	struct loop *l = seen_loop(NULL);
	char *data = malloc(LARGE), part[50000];
	size_t got = 0;
	struct seen *s;
	int ends[2];

	for (int i = 0; i < LARGE; i++)
		data[i] = (char)(i * 7 + i / 253);
	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	s->iov[0] = (struct iovec){ data, 1 };
	s->iov[1] = (struct iovec){ data + 1, LARGE - 1000001 };
	s->iov[2] = (struct iovec){ data + LARGE - 1000000, 1000000 };
	s->msg = (struct msghdr){ .msg_iov = s->iov, .msg_iovlen = 3 };
	ck_assert_int_eq(loop_send(&s->io, &s->msg), 0);
	ck_assert_int_eq(s->sends, 0);
	seen_settle(l);
	ck_assert_int_eq(s->sends, 0);          /* it does not fit into the socket */
	while (got < LARGE) {
		ssize_t n = recv(ends[1], part, sizeof(part), MSG_DONTWAIT);

		if (n > 0) {
			ck_assert_int_eq(memcmp(part, data + got, (size_t)n), 0);
			got += (size_t)n;
		}
		ck_assert_int_eq(loop_turn(l, 0), 0);
	}
	UNTIL(l, s->sends == 1);
	ck_assert_int_eq(s->send_res, LARGE);
	close(ends[1]);
	seen_free(s);
	free(data);
	loop_free(l);
}
END_TEST

START_TEST(a_stopped_send_reports_what_has_gone)
{
	enum { LARGE = 20000000 };
	struct loop *l = seen_loop(NULL);
	char *data = calloc(1, LARGE), part[65536];
	size_t got = 0;
	struct seen *s;
	ssize_t n;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_send(s, data, LARGE), 0);
	seen_settle(l);
	seen_stop(s, LOOP_SEND);
	UNTIL(l, s->sends);
	ck_assert_int_gt(s->send_res, 0);
	ck_assert_int_lt(s->send_res, LARGE);
	seen_free(s);
	while ((n = recv(ends[1], part, sizeof(part), 0)) > 0)
		got += (size_t)n;
	ck_assert_int_eq(n, 0);
	ck_assert_uint_gt(got, 0);
	close(ends[1]);
	free(data);
	loop_free(l);
}
END_TEST

START_TEST(a_send_to_a_peer_that_is_gone_fails_without_a_signal)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	if (_i == 0)
		reset_tcp(ends[1]);
	else
		close(ends[1]);
	for (int i = 1; i <= 2; i++) {
		ck_assert_int_eq(seen_send(s, "text", 4), 0);
		UNTIL(l, s->sends == i);
	}
	ck_assert_int_eq(s->send_res, -EPIPE);
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- hang-up ----------------------------------------------------------------------------------------------------- */

START_TEST(a_fin_behind_unread_bytes_hangs_up)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	write_all(ends[1], "unread", 6);
	ck_assert_int_eq(seen_hup(s), 0);
	seen_settle(l);
	write_all(ends[1], "more", 4);
	seen_settle(l);
	ck_assert_int_eq(s->hups, 0);
	close(ends[1]);
	UNTIL(l, s->hups);
	ck_assert_int_gt(s->hup_res, 0);
	seen_settle(l);
	ck_assert_int_eq(s->hups, 1);
	ck_assert_int_eq(seen_recv(s), 0);
	UNTIL(l, s->recv_ended);
	ck_assert_int_eq(s->received, 10);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_reset_hangs_up)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(0, ends);
	s = seen_new(l, ends[0]);
	write_all(ends[1], "unread", 6);
	ck_assert_int_eq(seen_hup(s), 0);
	seen_settle(l);
	reset_tcp(ends[1]);
	UNTIL(l, s->hups);
	ck_assert_int_gt(s->hup_res, 0);
	ck_assert(s->hup_res & (POLLHUP | POLLERR));
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(awaiting_a_hang_up_with_unread_bytes_does_not_spin)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	write_all(ends[1], "unread", 6);
	ck_assert_int_eq(seen_hup(s), 0);
	seen_settle(l);
	ck_assert_uint_lt(seen_turns_in(l, 100), 10);
	seen_stop(s, LOOP_HUP);
	UNTIL(l, s->hups);
	ck_assert_int_eq(s->hup_res, -ECANCELED);
	close(ends[1]);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_hang_up_is_told_beside_a_receive_and_a_send)
{
	enum { LARGE = 20000000 };
	struct loop *l = seen_loop(NULL);
	char *data = calloc(1, LARGE);
	struct seen *s;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_hup(s), 0);
	ck_assert_int_eq(seen_send(s, data, LARGE), 0);
	seen_settle(l);
	ck_assert_int_eq(seen_recv(s), 0);
	write_all(ends[1], "hello", 5);
	UNTIL(l, s->received == 5);
	seen_stop(s, LOOP_RECV);
	UNTIL(l, s->recv_ended);
	seen_settle(l);
	ck_assert_int_eq(s->hups + s->sends, 0);
	ck_assert_int_eq(seen_recv(s), 0);
	close(ends[1]);
	UNTIL(l, s->hups && s->sends && s->recv_ended == 2);
	ck_assert_int_ne(s->send_res, LARGE);
	seen_free(s);
	free(data);
	loop_free(l);
}
END_TEST

/* ---- connect ----------------------------------------------------------------------------------------------------- */

START_TEST(connecting_succeeds_and_is_refused)
{
	struct sockaddr_in sa, nobody;
	struct loop *l = seen_loop(NULL);
	int listener = listen_tcp(&sa), gone = listen_tcp(&nobody), peer;
	struct seen *ok = seen_new(l, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	struct seen *refused = seen_new(l, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

	close(gone);
	ck_assert_int_eq(loop_connect(&ok->io, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(loop_connect(&refused->io, (struct sockaddr *)&nobody, sizeof(nobody)), 0);
	ck_assert_int_eq(ok->connects + refused->connects, 0);
	UNTIL(l, ok->connects && refused->connects);
	ck_assert_int_eq(ok->connect_res, 0);
	ck_assert_int_eq(refused->connect_res, -ECONNREFUSED);
	peer = accept(listener, NULL, NULL);
	ck_assert_int_eq(seen_send(ok, "hello", 5), 0);
	UNTIL(l, ok->sends);
	read_all(peer, "hello", 5);
	ck_assert_int_eq(seen_recv(ok), 0);
	write_all(peer, "there", 5);
	UNTIL(l, ok->received == 5);
	close(peer);
	close(listener);
	seen_free(ok);
	seen_free(refused);
	loop_free(l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop operations");
	TCase *t = tcase_create("contract");
	SRunner *runner;
	int failed;

	if ((failed = seen_skip()))
		return failed;
	tcase_add_test(t, one_accept_takes_many_clients_until_it_is_stopped);
	tcase_add_test(t, an_accept_of_one_leaves_the_others_in_the_backlog);
	tcase_add_test(t, a_unix_socket_accepts_and_connects);
	tcase_add_test(t, a_client_of_a_shared_listener_waits_for_no_busy_loop);
	tcase_add_test(t, a_client_of_an_exclusive_listener_wakes_one_loop_or_whoever_looks_anew);
	tcase_add_loop_test(t, a_crowd_at_a_shared_listener_is_let_in_to_the_last, 0, 2);
	tcase_add_loop_test(t, a_full_descriptor_table_lets_accepting_rest_and_then_go_on, 0, 2);
	tcase_add_loop_test(t, what_is_received_can_be_sent_back, 0, 2);
	tcase_add_loop_test(t, much_data_comes_whole_and_in_order, 0, 2);
	tcase_add_loop_test(t, a_stopped_receive_leaves_later_bytes_in_the_socket, 0, 2);
	tcase_add_loop_test(t, a_receive_stopped_before_any_turn_ends_too, 0, 2);
	tcase_add_test(t, a_reset_is_econnreset);
	tcase_add_test(t, a_reset_right_behind_bytes_is_noticed);
	tcase_add_test(t, receives_without_buffers_wait_for_one_to_be_lent_back);
	tcase_add_loop_test(t, a_starving_loop_does_not_spin, 0, 2);
	tcase_add_loop_test(t, a_large_send_is_complete_although_the_peer_reads_little_by_little, 0, 2);
	tcase_add_loop_test(t, a_stopped_send_reports_what_has_gone, 0, 2);
	tcase_add_loop_test(t, a_send_to_a_peer_that_is_gone_fails_without_a_signal, 0, 2);
	tcase_add_loop_test(t, a_fin_behind_unread_bytes_hangs_up, 0, 2);
	tcase_add_test(t, a_reset_hangs_up);
	tcase_add_loop_test(t, awaiting_a_hang_up_with_unread_bytes_does_not_spin, 0, 2);
	tcase_add_loop_test(t, a_hang_up_is_told_beside_a_receive_and_a_send, 0, 2);
	tcase_add_test(t, connecting_succeeds_and_is_refused);
	tcase_set_timeout(t, 120);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
