/* test_server.c: a server from start to its last reply, on a real backend (OFFLOOP_BACKEND) and real sockets.
 *
 * Handlers stop where the test holds them, so what is running when draining begins, or when the grace is over, is
 * certain.  What another thread will do is waited for by a blocking read with a bound.
 */
#include "server.h"
#include "exchange.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static sem_t begun, let_go;
static _Atomic int last_rc, stops;
static struct config config;
static struct log *text_log;
static ol_server *server;
static struct server_info info;
static char err[256], names[512];

static int quick(ol_req *r)
{
	return ol_text(r, 200, "quick\n");
}

static int hold(ol_req *r)
{
	sem_post(&begun);
	sem_wait(&let_go);
	return ol_text(r, 200, "held\n");
}

static int suspend(ol_req *r)
{
	int rc;

	sem_post(&begun);
	rc = ol_wait(r, -1);
	last_rc = rc;
	return rc < 0 ? rc : ol_text(r, 200, "woken\n");
}

static int pour(ol_req *r)
{
	static char bytes[100000];
	int rc = ol_stream(r, 200, NULL);

	sem_post(&begun);
	while (rc == 0)
		rc = ol_write(r, bytes, sizeof(bytes));
	last_rc = rc;
	return rc;
}

static const struct ol_route routes[] = {
	OL_GET("/quick", .async = quick),       OL_GET("/hold", .sync = hold),
	OL_GET("/suspend", .async = suspend),   OL_GET("/suspend-sync", .sync = suspend),
	OL_GET("/pour", .sync = pour),
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .data = &info };

static void on_stop(void *arg)
{
	ck_assert_ptr_eq(arg, &info);
	stops++;
}

static const char *option(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "dir") == 0 ? "/data" : NULL;
}

static ol_server *make(const struct ol_app *a)
{
	struct server_setup setup = { .app = a, .config = &config, .log = text_log, .option = option, .stop = on_stop,
		.stop_arg = &info };

	return server_new(&setup, err, sizeof(err));
}

static void set_up(void)
{
	const char *backend = getenv("OFFLOOP_BACKEND");
	struct log_conf lc = { .fd = STDERR_FILENO, .level = LOG_ERROR };

	config = (struct config){ .host = "127.0.0.1", .loops = 2, .pool_threads = 2, .pool_queue = 4,
		.backend = backend && strcmp(backend, "uring") == 0 ? BACKEND_URING : BACKEND_EVENT, .target_max = 8192,
		.head_max = 16384, .fields_max = 100, .body_max = 1 << 20, .body_total_max = 1 << 24,
		.head_timeout_ms = 60000, .body_rate_min = 240, .body_grace_ms = 5000, .keepalive_ms = 75000,
		.write_timeout_ms = 30000, .linger_ms = 1000, .connections_max = 100, .requests_max = 100,
		.fibers_max = 100, .backlog = 128, .idle_thread_ms = 10000 };
	last_rc = stops = 0;
	sem_init(&begun, 0, 0);
	sem_init(&let_go, 0, 0);
	text_log = log_new(&lc);
	ck_assert_ptr_nonnull(text_log);
	server = NULL;
}

static void listen_only(void)
{
	server = make(&app);
	ck_assert_msg(server != NULL, "%s", err);
	ck_assert_msg(server_listen(server, err, sizeof(err)) == 0, "%s", err);
	server_info(server, &info);
}

static void start(void)
{
	listen_only();
	ck_assert_msg(server_start(server, err, sizeof(err)) == 0, "%s", err);
	server_info(server, &info);
	ck_assert(info.ready);
}

static uint64_t patience(void)
{
	return clock_after_ms(clock_now_ns(), PATIENCE_MS);
}

/* Drains, and frees what has ended. */
static void finish(void)
{
	server_drain(server);
	ck_assert_int_eq(server_wait(server, patience()), 0);
	server_free(server);
	server = NULL;
}

static void tear_down(void)
{
	if (server)
		finish();
	log_free(text_log, 1000);
	sem_destroy(&begun);
	sem_destroy(&let_go);
}

static int dial(void)
{
	struct timeval t = { .tv_sec = PATIENCE_MS / 1000 };
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)info.port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The kernel may interrupt this thread to clean up behind the ring it has probed. */
static ssize_t receive(int fd, void *p, size_t n)
{
	ssize_t got;

	do
		got = recv(fd, p, n, 0);
	while (got < 0 && errno == EINTR);
	return got;
}

/* Reads until `end` is the last of it. */
static void hear(int fd, const char *end)
{
	char buf[4096];
	size_t n = 0;
	ssize_t got;

	buf[0] = '\0';
	while (n < strlen(end) || strcmp(buf + n - strlen(end), end) != 0) {
		got = receive(fd, buf + n, sizeof(buf) - 1 - n);
		ck_assert_msg(got > 0, "%s behind \"%s\"", got < 0 ? strerror(errno) : "the end", buf);
		n += (size_t)got;
		buf[n] = '\0';
	}
}

/* The server closes in order: whatever was still to come, and then the end. */
static void hear_close(int fd)
{
	char buf[65536];
	ssize_t got;

	while ((got = receive(fd, buf, sizeof(buf))) > 0)
		;
	ck_assert_msg(got == 0, "%s", strerror(errno));
	close(fd);
}

static void until_begun(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += PATIENCE_MS / 1000;
	ck_assert_int_eq(sem_timedwait(&begun, &t), 0);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

START_TEST(a_server_may_be_freed_at_every_step)
{
	server_free(NULL);
	server_free(make(&app));
	listen_only();
	server_free(server);
	start();
	finish();
}
END_TEST

START_TEST(an_app_that_cannot_be_is_refused_before_there_is_a_socket)
{
	static const struct ol_route wrong[] = { OL_GET("/x", .sync = quick, .pool = "none") };
	static const struct ol_app bad = { OL_APP_INIT, OL_ROUTES(wrong) };

	ck_assert_ptr_null(make(&bad));
	ck_assert_ptr_nonnull(strstr(err, "no pool is called \"none\""));
}
END_TEST

START_TEST(a_port_is_one_servers)
{
	ol_server *second;

	start();
	config.port = info.port;
	second = make(&app);
	ck_assert_int_eq(server_listen(second, err, sizeof(err)), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(err, "another server has it"));
	server_free(second);
	finish();
	listen_only();                          /* and it can be had again at once */
	server_free(server);
	server = NULL;
}
END_TEST

START_TEST(what_the_setup_gives_is_what_is_asked_for)
{
	listen_only();
	ck_assert_ptr_eq(ol_server_data(server), &info);
	ol_server_data_set(server, &config);
	ck_assert_ptr_eq(ol_server_data(server), &config);
	ck_assert_str_eq(ol_option_get(server, "dir"), "/data");
	ck_assert_ptr_null(ol_option_get(server, "none"));
	ol_server_stop(server);
	ck_assert_int_eq(stops, 1);
	ck_assert_uint_eq(info.loops, 2);
	ck_assert_uint_eq(info.pools, 2);
	ck_assert(!info.ready);
	ck_assert_str_eq(pool_name(server_pool(server, 0)), "default");
	ck_assert_str_eq(pool_name(server_pool(server, 1)), "background");
	ck_assert_ptr_null(server_route(server, 0)->pool_name);
	ck_assert_str_eq(server_route(server, 1)->pool_name, "default");
	server_free(server);
	server = NULL;
}
END_TEST

/* ---- draining ---------------------------------------------------------------------------------------------------- */

START_TEST(a_request_that_runs_is_answered_and_then_all_ends)
{
	int fd, idle;

	start();
	idle = dial();
	say(idle, GET("/quick"));
	hear(idle, "quick\n");
	fd = dial();
	say(fd, GET("/hold"));
	until_begun();
	server_drain(server);
	server_info(server, &info);
	ck_assert(!info.ready);
	ck_assert_int_eq(server_wait(server, clock_now_ns()), -ETIMEDOUT);
	hear_close(idle);
	sem_post(&let_go);
	hear(fd, "held\n");
	hear_close(fd);
	ck_assert_int_eq(server_wait(server, patience()), 0);
	server_free(server);
	server = NULL;
}
END_TEST

START_TEST(who_has_connected_when_draining_begins_is_served)
{
	int fd[20];

	start();
	for (int i = 0; i < 20; i++)
		fd[i] = dial();
	server_drain(server);
	for (int i = 0; i < 20; i++)
		say(fd[i], GET("/quick"));
	for (int i = 0; i < 20; i++) {
		hear(fd[i], "quick\n");
		hear_close(fd[i]);
	}
	ck_assert_int_eq(server_wait(server, patience()), 0);
	server_free(server);
	server = NULL;
}
END_TEST

/* ---- when the grace is over -------------------------------------------------------------------------------------- */

START_TEST(what_waits_is_cancelled_when_the_grace_is_over)
{
	int fd[3];

	start();
	for (int i = 0; i < 3; i++)
		fd[i] = dial();
	say(fd[0], GET("/suspend"));
	say(fd[1], GET("/suspend-sync"));
	say(fd[2], GET("/pour"));               /* and nobody reads */
	for (int i = 0; i < 3; i++)
		until_begun();
	server_drain(server);
	ck_assert_uint_eq(server_abandon(server, names, sizeof(names)), 3);
	ck_assert_ptr_nonnull(strstr(names, "GET /suspend: 1 request"));
	ck_assert_ptr_nonnull(strstr(names, "GET /suspend-sync: 1 request"));
	ck_assert_ptr_nonnull(strstr(names, "GET /pour: 1 request"));
	ck_assert_int_eq(server_wait(server, patience()), 0);
	ck_assert_int_eq(last_rc, -ECANCELED);
	server_free(server);
	server = NULL;
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}
END_TEST

START_TEST(what_does_not_come_back_is_named)
{
	int fd[2];

	start();
	for (int i = 0; i < 2; i++) {
		fd[i] = dial();
		say(fd[i], GET("/hold"));
		until_begun();
	}
	server_drain(server);
	ck_assert_uint_eq(server_abandon(server, names, sizeof(names)), 2);
	ck_assert_ptr_nonnull(strstr(names, "GET /hold: 2 requests"));
	ck_assert_ptr_null(strstr(names, "/quick"));
	ck_assert_int_eq(server_wait(server, clock_now_ns()), -ETIMEDOUT);
	sem_post(&let_go);
	sem_post(&let_go);
	ck_assert_int_eq(server_wait(server, patience()), 0);   /* it was only late */
	server_free(server);
	server = NULL;
	close(fd[0]);
	close(fd[1]);
}
END_TEST

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

START_TEST(an_idle_connection_makes_room_for_one_that_waits)
{
	int fd[4];

	config.loops = 1;
	config.connections_max = 2;
	start();
	for (int i = 0; i < 4; i++) {
		fd[i] = dial();
		say(fd[i], GET("/quick"));
		hear(fd[i], "quick\n");
	}
	hear_close(fd[0]);                      /* the longest idle went first */
	hear_close(fd[1]);
	say(fd[3], GET("/quick"));
	hear(fd[3], "quick\n");
	close(fd[2]);
	close(fd[3]);
}
END_TEST

START_TEST(connections_over_the_bound_wait_while_all_others_work)
{
	int fd[2], late[3];

	config.loops = 1;
	config.connections_max = 2;
	start();
	for (int i = 0; i < 2; i++) {
		fd[i] = dial();
		say(fd[i], GET("/hold"));
		until_begun();
	}
	for (int i = 0; i < 3; i++) {
		late[i] = dial();
		say(late[i], GET("/quick"));
	}
	sem_post(&let_go);
	for (int i = 0; i < 3; i++)
		hear(late[i], "quick\n");       /* none of them was turned away */
	sem_post(&let_go);
	for (int i = 0; i < 2; i++) {
		hear(fd[i], "held\n");
		close(fd[i]);
	}
	for (int i = 0; i < 3; i++)
		close(late[i]);
}
END_TEST

START_TEST(who_waits_for_room_when_draining_begins_is_served)
{
	int fd, late;

	config.loops = 1;
	config.connections_max = 1;
	start();
	fd = dial();
	say(fd, GET("/hold"));
	until_begun();
	late = dial();
	say(late, GET("/quick"));
	server_drain(server);
	hear(late, "quick\n");
	hear_close(late);
	sem_post(&let_go);
	hear(fd, "held\n");
	hear_close(fd);
	ck_assert_int_eq(server_wait(server, patience()), 0);
	server_free(server);
	server = NULL;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("server");
	TCase *one = tcase_create("one");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_set_timeout(one, 60);
	tcase_add_test(one, a_server_may_be_freed_at_every_step);
	tcase_add_test(one, an_app_that_cannot_be_is_refused_before_there_is_a_socket);
	tcase_add_test(one, a_port_is_one_servers);
	tcase_add_test(one, what_the_setup_gives_is_what_is_asked_for);
	tcase_add_test(one, a_request_that_runs_is_answered_and_then_all_ends);
	tcase_add_test(one, who_has_connected_when_draining_begins_is_served);
	tcase_add_test(one, what_waits_is_cancelled_when_the_grace_is_over);
	tcase_add_test(one, what_does_not_come_back_is_named);
	tcase_add_test(one, an_idle_connection_makes_room_for_one_that_waits);
	tcase_add_test(one, connections_over_the_bound_wait_while_all_others_work);
	tcase_add_test(one, who_waits_for_room_when_draining_begins_is_served);
	suite_add_tcase(suite, one);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
