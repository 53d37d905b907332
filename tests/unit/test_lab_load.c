/* test_lab_load.c: clients of the lab against a server that does as a test says: answer, close, refuse, say nothing. */
#include "base/clock.h"
#include "cli/lab.h"
#include "cli/lab_load.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS 400
#define MS NS_PER_MS

bool lab_stopped(void)
{
	return false;
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

enum manner { ANSWERS, CHUNKS, CLOSES_AFTER, CLOSES_UNSAID, HANGS_UP, RESETS, BABBLES, NOT_FOUND, SILENT };

static struct server {
	pthread_t thread;
	int stop[2];            /* a pipe: its end of file ends the thread */
	unsigned port;
	enum manner manner;
	bool uploads;           /* requests have bodies */
	unsigned quiet_after;   /* so many replies, then none; 0: never */
	struct pollfd fds[CONNS];
	size_t n;
	unsigned accepted, replies, reads; /* read when the thread has ended */
	uint32_t last_from;     /* whom it has accepted last */
} server;

static const char *text_of(enum manner m)
{
	switch (m) {
	case CHUNKS: return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
	case CLOSES_AFTER: return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
	case CLOSES_UNSAID: return "HTTP/1.0 200 OK\r\n\r\nok";
	case BABBLES: return "what?\r\n\r\n";
	case NOT_FOUND: return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
	default: return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	}
}

/* Whether the connection ends. */
static bool reply(struct server *s, int fd)
{
	const struct linger reset = { .l_onoff = 1 };
	const char *text = text_of(s->manner);

	if (s->manner == RESETS)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (s->manner == RESETS || s->manner == HANGS_UP)
		return true;
	if (s->manner == SILENT || (s->quiet_after > 0 && s->replies >= s->quiet_after))
		return false;
	s->replies++;
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return true;
	return s->manner == CLOSES_AFTER || s->manner == CLOSES_UNSAID;
}

/* A request ends with its blank line, or with the full stop of its body. */
static void serve_one(struct server *s, size_t i)
{
	char in[1024];
	ssize_t n = recv(s->fds[i].fd, in, sizeof(in), 0);
	const char *end = s->uploads ? ".\n" : "\r\n\r\n";
	size_t len = strlen(end);

	s->reads++;
	if (n > 0 && !((size_t)n >= len && memcmp(in + (size_t)n - len, end, len) == 0 && reply(s, s->fds[i].fd)))
		return;
	close(s->fds[i].fd);
	s->fds[i] = s->fds[--s->n];
}

static void *serve(void *arg)
{
	struct server *s = arg;

	while (poll(s->fds, s->n, -1) >= 0 && s->fds[0].revents == 0) {
		for (size_t i = s->n; i-- > 2;)
			if (s->fds[i].revents)
				serve_one(s, i);
		if (s->fds[1].revents && s->n < CONNS) {
			struct sockaddr_in from = { .sin_port = 0 };
			socklen_t n = sizeof(from);
			int fd = accept(s->fds[1].fd, (struct sockaddr *)&from, &n);

			s->fds[s->n++] = (struct pollfd){ fd, POLLIN, 0 };
			s->last_from = ntohl(from.sin_addr.s_addr);
			s->accepted++;
		}
	}
	for (size_t i = 0; i < s->n; i++)
		close(s->fds[i].fd);
	return NULL;
}

static void start(enum manner manner)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	server = (struct server){ .manner = manner, .n = 2 };
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, n), 0);
	ck_assert_int_eq(listen(fd, 512), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	server.port = ntohs(sa.sin_port);
	ck_assert_int_eq(pipe(server.stop), 0);
	server.fds[0] = (struct pollfd){ server.stop[0], POLLIN, 0 };
	server.fds[1] = (struct pollfd){ fd, POLLIN, 0 };
}

static void run_server(void)
{
	ck_assert_int_eq(pthread_create(&server.thread, NULL, serve, &server), 0);
}

static void stop(void)
{
	close(server.stop[1]);
	pthread_join(server.thread, NULL);
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static struct load_group group;
static struct load *load;

static void clients(enum load_kind kind, unsigned n)
{
	group = (struct load_group){ .path = "/", .connections = n, .kind = kind };
	ck_assert_int_eq(load_new(&load, server.port, &group, 1), 0);
}

/* Lets them work until so many of something have been counted. */
static void until(const uint64_t *counter, uint64_t n)
{
	for (unsigned slices = 0; *counter < n; slices++) {
		ck_assert_msg(slices < 6000, "%llu of %llu", (unsigned long long)*counter, (unsigned long long)n);
		ck_assert_int_eq(load_run(load, 10 * MS), 0);
	}
}

static uint64_t errors(void)
{
	uint64_t n = 0;

	for (int i = 0; i < LOAD_ERRORS; i++)
		n += group.errors[i];
	return n;
}

static void finish(void)
{
	load_free(load);
	stop();
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

START_TEST(requests_follow_each_other_on_one_connection)
{
	start(_i ? CHUNKS : ANSWERS);
	run_server();
	clients(LOAD_ASK, 4);
	until(&group.requests, 200);
	ck_assert_int_eq(load_drain(load, 10 * NS_PER_S), 0);
	finish();
	ck_assert_uint_eq(group.requests, server.replies);
	ck_assert_uint_eq(group.times.n, server.replies);
	ck_assert_uint_eq(server.accepted, 4);
	ck_assert_uint_eq(errors(), 0);
	ck_assert_uint_eq(group.unanswered, 0);
}
END_TEST

START_TEST(a_connection_that_the_server_ends_is_opened_again)
{
	start(_i ? CLOSES_UNSAID : CLOSES_AFTER);
	run_server();
	clients(LOAD_ASK, 4);
	until(&group.requests, 100);
	finish();
	ck_assert_uint_ge(server.accepted, 100);
	ck_assert_uint_eq(errors(), 0);
}
END_TEST

START_TEST(errors_are_counted_by_kind)
{
	static const struct { enum manner manner; enum load_error kind; } cases[] = { { HANGS_UP, LOAD_CLOSED },
		{ RESETS, LOAD_RESET }, { BABBLES, LOAD_PROTOCOL }, { NOT_FOUND, LOAD_STATUS } };

	start(cases[_i].manner);
	run_server();
	clients(LOAD_ASK, 2);
	until(&group.errors[cases[_i].kind], 4);
	finish();
	ck_assert_uint_eq(errors(), group.errors[cases[_i].kind]);
	ck_assert_uint_eq(group.requests, 0);
}
END_TEST

START_TEST(who_is_refused_tries_again_and_is_counted)
{
	start(ANSWERS);
	close(server.fds[1].fd);
	close(server.stop[0]);
	close(server.stop[1]);
	clients(LOAD_ASK, 2);
	until(&group.errors[LOAD_CONNECT], 6);
	load_free(load);
	ck_assert_uint_eq(group.requests, 0);
}
END_TEST

START_TEST(what_is_never_answered_counts_with_its_age)
{
	start(ANSWERS);
	server.quiet_after = 5;
	run_server();
	clients(LOAD_ASK, 8);
	until(&group.requests, 5);
	/* Who has not waited longer than any reply took is not told of. */
	ck_assert_int_eq(load_drain(load, 50 * MS + 2 * NS_PER_US * group.times.max_us), 0);
	finish();
	ck_assert_uint_eq(group.requests, 5);
	ck_assert_uint_eq(group.unanswered, 8);
	ck_assert_uint_eq(group.times.n, 5 + 8);
	ck_assert_double_ge(histogram_us(&group.times, 0.5), 50000);
}
END_TEST

START_TEST(what_is_under_way_is_waited_for_and_nothing_new_is_sent)
{
	uint64_t before;

	start(ANSWERS);
	clients(LOAD_ASK, 8);
	ck_assert_int_eq(load_run(load, 20 * MS), 0);   /* the kernel takes them; nobody answers yet */
	ck_assert_uint_eq(group.requests, 0);
	run_server();
	before = clock_now_ns();
	ck_assert_int_eq(load_drain(load, 60 * NS_PER_S), 0);
	ck_assert_uint_lt(clock_now_ns() - before, 50 * NS_PER_S);
	finish();
	ck_assert_uint_eq(group.requests, 8);
	ck_assert_uint_eq(server.replies, 8);
	ck_assert_uint_eq(group.unanswered, 0);
}
END_TEST

START_TEST(counting_anew_forgets_what_was)
{
	start(ANSWERS);
	run_server();
	clients(LOAD_ASK, 1);
	until(&group.requests, 5);
	load_reset(load);
	ck_assert_uint_eq(group.requests, 0);
	ck_assert_uint_eq(group.times.n, 0);
	until(&group.requests, 5);
	finish();
}
END_TEST

START_TEST(resting_connections_ask_once_and_stay)
{
	start(ANSWERS);
	run_server();
	clients(LOAD_REST, 300);
	ck_assert_int_eq(load_run(load, 60 * NS_PER_S), 0);     /* ends when all rest */
	ck_assert_uint_eq(load_held(load), 300);
	finish();
	ck_assert_uint_eq(group.requests, 300);
	ck_assert_uint_eq(server.replies, 300);
}
END_TEST

START_TEST(resting_connections_come_from_as_many_addresses_as_they_need)
{
	ck_assert_uint_eq(load_source(0), 0x7f000002);
	ck_assert_uint_eq(load_source(19999), 0x7f000002);
	ck_assert_uint_eq(load_source(20000), 0x7f000003);
	ck_assert_uint_eq(load_source(49999), 0x7f000004);
	start(ANSWERS);
	run_server();
	clients(LOAD_REST, 1);
	ck_assert_int_eq(load_run(load, 60 * NS_PER_S), 0);
	ck_assert_uint_eq(load_held(load), 1);
	finish();
	ck_assert_uint_eq(server.last_from, load_source(0));
}
END_TEST

START_TEST(connections_that_are_not_kept_do_not_rest)
{
	start(_i ? HANGS_UP : CLOSES_AFTER);
	run_server();
	clients(LOAD_REST, 100);
	ck_assert_int_eq(load_run(load, 60 * NS_PER_S), 0);
	ck_assert_uint_eq(load_held(load), 0);
	finish();
	ck_assert_uint_eq(server.accepted, 100);
}
END_TEST

/* Takes a connection's request, lets clients work until there is one, and writes back, with nobody between: its
 * socket. */
static int answer_by_hand(int fd, const char *text)
{
	char in[1024];
	ssize_t n;

	fd = accept(fd, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	while ((n = recv(fd, in, sizeof(in), MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		ck_assert_int_eq(load_run(load, 10 * MS), 0);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	return fd;
}

START_TEST(who_babbles_while_it_closes_is_waited_for_once)
{
	int babbling, late;

	start(CLOSES_AFTER);
	clients(LOAD_REST, 2);
	ck_assert_int_eq(load_run(load, 50 * MS), 0);
	babbling = answer_by_hand(server.fds[1].fd, text_of(CLOSES_AFTER));
	until(&group.requests, 1);
	ck_assert_int_eq(send(babbling, "more", 4, MSG_NOSIGNAL), 4);
	until(&group.errors[LOAD_PROTOCOL], 1);
	/* The other one is still waited for, */
	late = answer_by_hand(server.fds[1].fd, text_of(ANSWERS));
	until(&group.requests, 2);
	/* and then nobody. */
	ck_assert_int_eq(load_run(load, 60 * NS_PER_S), 0);
	ck_assert_uint_eq(load_held(load), 1);
	close(babbling);
	close(late);
	load_free(load);
	for (int i = 0; i < 2; i++)
		close(server.fds[i].fd);
	close(server.stop[1]);
}
END_TEST

START_TEST(a_trickle_arrives_in_small_pieces)
{
	start(ANSWERS);
	server.uploads = true;
	run_server();
	clients(LOAD_TRICKLE, 1);
	until(&group.requests, 1);
	finish();
	ck_assert_uint_eq(errors(), 0);
	ck_assert_uint_ge(server.reads, 3);
	ck_assert_double_ge(histogram_us(&group.times, 0), 200000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab_load");
	TCase *c = tcase_create("lab_load");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 100);
	tcase_add_loop_test(c, requests_follow_each_other_on_one_connection, 0, 2);
	tcase_add_loop_test(c, a_connection_that_the_server_ends_is_opened_again, 0, 2);
	tcase_add_loop_test(c, errors_are_counted_by_kind, 0, 4);
	tcase_add_test(c, who_is_refused_tries_again_and_is_counted);
	tcase_add_test(c, what_is_never_answered_counts_with_its_age);
	tcase_add_test(c, what_is_under_way_is_waited_for_and_nothing_new_is_sent);
	tcase_add_test(c, counting_anew_forgets_what_was);
	tcase_add_test(c, resting_connections_ask_once_and_stay);
	tcase_add_test(c, resting_connections_come_from_as_many_addresses_as_they_need);
	tcase_add_loop_test(c, connections_that_are_not_kept_do_not_rest, 0, 2);
	tcase_add_test(c, who_babbles_while_it_closes_is_waited_for_once);
	tcase_add_test(c, a_trickle_arrives_in_small_pieces);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
