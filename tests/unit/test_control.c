/* test_control.c: the control plane of a real server, asked over real sockets. */
#include "base/clock.h"
#include "control.h"
#include "offloop.h"
#include "server.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static pthread_barrier_t inside, leave, leave_loop;

/* These hold their thread, or their loop, from when the test has seen them begin until it lets them go. */
static int hold(ol_req *r)
{
	pthread_barrier_wait(&inside);
	pthread_barrier_wait(&leave);
	return ol_text(r, 200, "held\n");
}

static int hold_loop(ol_req *r)
{
	pthread_barrier_wait(&inside);
	pthread_barrier_wait(&leave_loop);
	return ol_text(r, 200, "held\n");
}

static int quick(ol_req *r)
{
	return ol_text(r, 200, "quick\n");
}

static const struct ol_route routes[] = {
	OL_GET("/quick", .async = quick),
	OL_POST("/quick", .async = quick),
	OL_GET("/hold-loop", .async = hold_loop),
	OL_GET("/hold-thread", .sync = hold, .pool = "narrow"),
	OL_GET("/items/{id:int}", .sync = quick, .pool = "narrow"),
};
static const struct ol_pool pools[] = { { .name = "narrow", .threads = 1, .queue = 1 } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };

static struct config config;
static struct log *text_log;
static ol_server *server;
static struct control *control;
static char err[256];

static const struct ol_app *served = &app;

static void set_up(const char *address)
{
	struct log_conf conf = { .fd = STDERR_FILENO, .level = LOG_WARN };
	struct server_setup setup = { .app = served, .config = &config };

	config = (struct config){ .host = "127.0.0.1", .control = address, .loops = 1, .pool_threads = 2,
		.pool_queue = 4, .backend = BACKEND_EVENT, .grace_ms = 5000, .target_max = 8192, .head_max = 16384,
		.fields_max = 100, .body_max = 1 << 20, .body_total_max = 1 << 24, .head_timeout_ms = 10000,
		.body_rate_min = 240, .body_grace_ms = 5000, .keepalive_ms = 75000, .write_timeout_ms = 30000,
		.linger_ms = 1000, .connections_max = 100, .requests_max = 100, .fibers_max = 100, .backlog = 128,
		.idle_thread_ms = 10000 };
	text_log = setup.log = log_new(&conf);
	ck_assert_ptr_nonnull(text_log);
	server = server_new(&setup, err, sizeof(err));
	ck_assert_msg(server != NULL, "%s", err);
	ck_assert_msg(server_listen(server, err, sizeof(err)) == 0, "%s", err);
	ck_assert_msg(control_start(&control, server, &config, text_log, err, sizeof(err)) == 0, "%s", err);
	pthread_barrier_init(&inside, NULL, 2);
	pthread_barrier_init(&leave, NULL, 2);
	pthread_barrier_init(&leave_loop, NULL, 2);
}

static void set_up_tcp(void)
{
	set_up("127.0.0.1:0");
}

static void start(void)
{
	ck_assert_msg(server_start(server, err, sizeof(err)) == 0, "%s", err);
}

/* For a server that was started. */
static void drain(void)
{
	server_drain(server);
	ck_assert_int_eq(server_wait(server, clock_after_ms(clock_now_ns(), 10000)), 0);
}

static void tear_down(void)
{
	ck_assert(control_stop(control));
	server_free(server);
	log_free(text_log, 1000);
	pthread_barrier_destroy(&inside);
	pthread_barrier_destroy(&leave);
	pthread_barrier_destroy(&leave_loop);
}

static int receive_buffer;      /* 0: as the kernel likes */

static int connect_to(const char *address)
{
	struct timeval patience = { .tv_sec = 20 };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	bool tcp = strncmp(address, "unix:", 5) != 0;
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (receive_buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	if (tcp)
		in.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
	else
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", address + 5);
	ck_assert_int_eq(connect(fd, tcp ? (void *)&in : (void *)&un, tcp ? sizeof(in) : sizeof(un)), 0);
	return fd;
}

/* Sends a GET, with a Host unless host is NULL; the caller closes. */
static int ask(const char *address, const char *path, const char *host)
{
	char text[512];
	int fd = connect_to(address), n;

	if (host)
		n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path,
			host);
	else
		n = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n\r\n", path);
	ck_assert_int_eq(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
	return fd;
}

static char reply[1 << 18];

static int answer(int fd);

/* Sends a PATCH to the control plane: its status. */
static int patch(const char *path, const char *host, const char *type, const char *body)
{
	char text[512];
	int fd = connect_to(control_address(control));
	int n = snprintf(text, sizeof(text), "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n"
		"Content-Length: %zu\r\nConnection: close\r\n\r\n%s", path, host, type, strlen(body), body);

	ck_assert_int_eq(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
	return answer(fd);
}

/* Reads a reply to its end: its status; its body stays in `reply`. */
static int answer(int fd)
{
	size_t n = 0;
	ssize_t got;
	char *body;
	int status;

	while ((got = recv(fd, reply + n, sizeof(reply) - 1 - n, 0)) > 0)
		n += (size_t)got;
	ck_assert_int_eq(got, 0);
	close(fd);
	reply[n] = 0;
	ck_assert_int_eq(sscanf(reply, "HTTP/1.1 %d ", &status), 1);
	body = strstr(reply, "\r\n\r\n");
	ck_assert_ptr_nonnull(body);
	memmove(reply, body + 4, strlen(body + 4) + 1);
	return status;
}

static int get(const char *path, const char *host)
{
	return answer(ask(control_address(control), path, host));
}

static int ask_main(const char *path)
{
	struct server_info info;

	server_info(server, &info);
	return ask(info.address, path, "localhost");
}

START_TEST(it_is_alive_at_once_and_ready_between_start_and_drain)
{
	ck_assert_int_eq(get("/livez", "localhost"), 200);
	ck_assert_str_eq(reply, "ok\n");
	ck_assert_int_eq(get("/readyz", "localhost"), 503);
	start();
	ck_assert_int_eq(get("/readyz", "localhost"), 200);
	drain();
	ck_assert_int_eq(get("/readyz", "localhost"), 503);
	ck_assert_int_eq(get("/livez", "localhost"), 200);
}
END_TEST

START_TEST(everything_can_be_read_before_the_server_has_started)
{
	ck_assert_int_eq(get("/metrics", "localhost"), 200);
	ck_assert_int_eq(get("/routes", "localhost"), 200);
	ck_assert_int_eq(get("/pools", "localhost"), 200);
	ck_assert_int_eq(get("/", "localhost"), 200);
	ck_assert_int_eq(get("/nothing", "localhost"), 404);
}
END_TEST

START_TEST(only_a_host_of_this_machine_is_answered)
{
	static const char *const ours[] = { "localhost", "LOCALHOST:9190", "127.0.0.1", "127.1.2.3:80",
		"[::1]:9190", "[::1]" };
	static const char *const foreign[] = { "evil.example", "evil.example:9190", "localhost.evil.example",
		"127.0.0.1.evil.example", "192.0.2.1", "[2001:db8::1]", "127.0.0.1evil" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		ck_assert_msg(get("/livez", ours[i]) == 200, "%s", ours[i]);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		ck_assert_msg(get("/metrics", foreign[i]) == 403, "%s", foreign[i]);
		ck_assert_ptr_null(strstr(reply, "offloop_"));
	}
	ck_assert_int_eq(get("/livez", NULL), 200);
}
END_TEST

START_TEST(a_wildcard_address_answers_for_any_literal_address_but_no_name)
{
	set_up("0.0.0.0:0");
	ck_assert_int_eq(get("/livez", "192.0.2.1:9190"), 200);
	ck_assert_int_eq(get("/livez", "[2001:db8::1]"), 200);
	ck_assert_int_eq(get("/livez", "evil.example"), 403);
	tear_down();
}
END_TEST

START_TEST(a_unix_socket_answers_for_any_host)
{
	char address[128];

	snprintf(address, sizeof(address), "unix:/tmp/test_control.%d", (int)getpid());
	set_up(address);
	ck_assert_str_eq(control_address(control), address);
	ck_assert_int_eq(get("/livez", "evil.example"), 200);
	tear_down();
	ck_assert_int_ne(access(address + 5, F_OK), 0);
}
END_TEST

START_TEST(it_can_be_off)
{
	set_up("off");
	ck_assert_ptr_null(control);
	tear_down();
}
END_TEST

START_TEST(a_taken_port_is_one_line)
{
	struct control *second;

	config.control = control_address(control);
	ck_assert_int_lt(control_start(&second, server, &config, text_log, err, sizeof(err)), 0);
	ck_assert_ptr_null(second);
	ck_assert_msg(strncmp(err, "--control: ", 11) == 0 && !strchr(err, '\n'), "%s", err);
}
END_TEST

/* The number behind "key" of the object in an array whose `by` is `name` (and whose method, when given, is method). */
static json_int_t number_of(const char *by, const char *name, const char *method, const char *key)
{
	json_t *all = json_loads(reply, 0, NULL), *one;
	json_int_t n = -1;
	size_t i;

	ck_assert_ptr_nonnull(all);
	json_array_foreach(all, i, one)
		if (strcmp(json_string_value(json_object_get(one, by)), name) == 0 &&
			(!method || strcmp(json_string_value(json_object_get(one, "method")), method) == 0))
			n = json_integer_value(json_object_get(one, key));
	json_decref(all);
	return n;
}

/* A worker has sent its reply before it books what it has run. */
static void wait_until_booked(const char *pool, json_int_t jobs)
{
	do
		ck_assert_int_eq(get("/pools", "localhost"), 200);
	while (number_of("name", pool, NULL, "done") != jobs);
}

START_TEST(routes_and_pools_tell_what_happened)
{
	start();
	ck_assert_int_eq(answer(ask_main("/quick")), 200);
	ck_assert_int_eq(answer(ask_main("/quick")), 200);
	ck_assert_int_eq(answer(ask_main("/items/7")), 200);
	drain();
	ck_assert_int_eq(get("/routes", "localhost"), 200);
	ck_assert_ptr_nonnull(strstr(reply,
		"{\"method\":\"GET\",\"route\":\"/quick\",\"lane\":\"async\",\"pool\":null,\"requests\":2,"
		"\"timeout\":0,\"queue_timeout\":0,\"priority\":null,\"declared\":\"async\","));
	ck_assert_ptr_nonnull(strstr(reply, "{\"method\":\"GET\",\"route\":\"/items/{id:int}\",\"lane\":\"sync\","
		"\"pool\":\"narrow\",\"requests\":1,\"timeout\":0,"));
	ck_assert_int_eq(number_of("route", "/quick", "POST", "requests"), 0);
	wait_until_booked("narrow", 1);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "limit"), 1);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "queue"), 1);
	ck_assert_int_eq(number_of("name", "default", NULL, "limit"), 2);
	ck_assert_int_eq(number_of("name", "default", NULL, "done"), 0);
}
END_TEST

/* How often line stands in the reply. */
static unsigned times(const char *line)
{
	unsigned n = 0;

	for (const char *at = reply; (at = strstr(at, line)); at++)
		n++;
	return n;
}

#define DURATION "http_server_request_duration_seconds_count"
#define IN_NARROW "{pool=\"narrow\",route=\"/items/{id:int}\"} 1\n"

START_TEST(metrics_tell_what_happened_and_each_sample_once)
{
	start();
	ck_assert_int_eq(answer(ask_main("/quick")), 200);
	ck_assert_int_eq(answer(ask_main("/items/7")), 200);
	ck_assert_int_eq(answer(ask_main("/nothing")), 404);
	drain();
	wait_until_booked("narrow", 1);
	ck_assert_int_eq(get("/metrics", "localhost"), 200);
	ck_assert_uint_eq(times("\noffloop_requests_total 3\n"), 1);
	ck_assert_uint_eq(times("\n" DURATION "{route=\"/items/{id:int}\",method=\"GET\",status=\"200\","
		"lane=\"sync\"} 1\n"), 1);
	ck_assert_uint_eq(times("\n" DURATION "{route=\"none\",method=\"GET\",status=\"404\",lane=\"none\"} 1\n"), 1);
	ck_assert_uint_eq(times("\noffloop_route_lane{route=\"/quick\",lane=\"async\"} 1\n"), 1);
	ck_assert_uint_eq(times("\noffloop_pool_run_seconds_count" IN_NARROW), 1);
	ck_assert_uint_eq(times("\noffloop_pool_queue_wait_seconds_count" IN_NARROW), 1);
	ck_assert_uint_eq(times("\noffloop_pool_limit{pool=\"narrow\"} 1\n"), 1);
	ck_assert_uint_eq(times("\noffloop_pool_rejected_total{pool=\"narrow\",reason=\"queue_full\"} 0\n"), 1);
	ck_assert_uint_eq(times("\noffloop_build_info{version=\"" OL_VERSION "\",backend=\"libevent\"} 1\n"), 1);
	ck_assert_uint_eq(times("\nprocess_start_time_seconds "), 1);
	ck_assert_uint_eq(times("\nprocess_open_fds "), 1);
}
END_TEST

START_TEST(it_answers_while_every_loop_and_worker_is_held)
{
	int on_thread, queued, on_loop;

	start();
	on_thread = ask_main("/hold-thread");
	pthread_barrier_wait(&inside);
	queued = ask_main("/items/1");
	do      /* the loop queues it soon */
		ck_assert_int_eq(get("/pools", "localhost"), 200);
	while (number_of("name", "narrow", NULL, "queued") != 1);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "running"), 1);
	pthread_barrier_wait(&leave);
	ck_assert_int_eq(answer(on_thread), 200);
	ck_assert_int_eq(answer(queued), 200);

	on_loop = ask_main("/hold-loop");
	pthread_barrier_wait(&inside);
	ck_assert_int_eq(get("/livez", "localhost"), 200);
	ck_assert_int_eq(get("/readyz", "localhost"), 200);
	ck_assert_int_eq(get("/metrics", "localhost"), 200);
	ck_assert_int_eq(get("/routes", "localhost"), 200);
	ck_assert_int_eq(get("/pools", "localhost"), 200);
	pthread_barrier_wait(&leave_loop);
	ck_assert_int_eq(answer(on_loop), 200);
	drain();
}
END_TEST

#define JSON "application/json"

START_TEST(a_pool_is_resized_while_every_loop_and_worker_is_held)
{
	int on_thread, on_loop, queued;

	start();
	on_thread = ask_main("/hold-thread");
	pthread_barrier_wait(&inside);
	queued = ask_main("/items/1");
	do
		ck_assert_int_eq(get("/pools", "localhost"), 200);
	while (number_of("name", "narrow", NULL, "queued") != 1);
	on_loop = ask_main("/hold-loop");
	pthread_barrier_wait(&inside);
	ck_assert_int_eq(patch("/pools/narrow", "localhost", JSON, "{\"threads\": 2, \"queue\": 9}"), 200);
	ck_assert_ptr_nonnull(strstr(reply, "{\"name\":\"narrow\",\"limit\":2,\"queue\":9,"));
	do      /* the one that waited runs, though neither the loop nor the other thread has made a step */
		ck_assert_int_eq(get("/pools", "localhost"), 200);
	while (number_of("name", "narrow", NULL, "done") != 1);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "running"), 1);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "waited"), 1);
	pthread_barrier_wait(&leave);
	pthread_barrier_wait(&leave_loop);
	ck_assert_int_eq(answer(on_thread), 200);
	ck_assert_int_eq(answer(on_loop), 200);
	ck_assert_int_eq(answer(queued), 200);
	drain();
}
END_TEST

START_TEST(a_patch_is_looked_at_before_it_changes_anything)
{
	static const char *const bad[] = { "{\"threads\":0}", "{\"threads\":10001}", "{\"queue\":1.5}",
		"{\"queue\":7,\"x\":1}", "{}", "[]", "", "{", "null" };

	ck_assert_int_eq(patch("/pools/narrow", "evil.example", JSON, "{\"threads\":3}"), 403);
	ck_assert_int_eq(patch("/pools/narrow", "localhost", "text/plain", "{\"threads\":3}"), 415);
	ck_assert_int_eq(patch("/pools/other", "localhost", JSON, "{\"threads\":3}"), 404);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(patch("/pools/narrow", "localhost", JSON, bad[i]) == 422, "%s", bad[i]);
	ck_assert_int_eq(get("/pools", "localhost"), 200);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "limit"), 1);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "queue"), 1);
}
END_TEST

START_TEST(a_pool_is_resized_by_its_name_by_half_and_by_steps)
{
	ck_assert_int_eq(ol_pool_resize(server, "nonesuch", 1, 1), -ENOENT);
	ck_assert_int_eq(ol_pool_resize(server, "narrow", 10001, 0), -EINVAL);
	ck_assert_int_eq(ol_pool_resize(server, "narrow", 0, 10000001), -EINVAL);
	ck_assert_int_eq(ol_pool_resize(server, "narrow", 0, 0), 0);
	ck_assert_int_eq(ol_pool_resize(server, "narrow", 7, 0), 0);
	ck_assert_int_eq(ol_pool_resize(server, NULL, 0, 8), 0);
	server_step(server, -1, "test");
	server_step(server, -1, "test");        /* not below 1 */
	ck_assert_int_eq(get("/pools", "localhost"), 200);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "limit"), 7);
	ck_assert_int_eq(number_of("name", "narrow", NULL, "queue"), 1);
	ck_assert_int_eq(number_of("name", "default", NULL, "limit"), 1);
	ck_assert_int_eq(number_of("name", "default", NULL, "queue"), 8);
}
END_TEST

static void *step_many(void *up)
{
	for (int i = 0; i < 500; i++)
		if (up)
			server_step(server, 1, "test");
		else
			ck_assert_int_eq(ol_pool_resize(server, NULL, 0, 100 + (unsigned)i), 0);
	return NULL;
}

START_TEST(resizes_of_several_threads_do_not_undo_each_other)
{
	pthread_t threads[4];
	int up;

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, step_many, i < 2 ? &up : NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(get("/pools", "localhost"), 200);
	ck_assert_int_eq(number_of("name", "default", NULL, "limit"), 1002);
	ck_assert_int_eq(number_of("name", "default", NULL, "queue"), 599);
}
END_TEST

/* ---- many routes ------------------------------------------------------------------------------------------------- */

#define FEW 500
#define MANY 4000

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* What the text of /metrics takes of a CPU now. */
static uint64_t text_takes(void)
{
	struct control_watch *w = control_watch_new(server);
	uint64_t start = cpu_ns(), took;
	struct buf b = { 0 };

	ck_assert_int_eq(control_metrics(server, text_log, 0, &b), 0);
	ck_assert_int_eq(control_watch_metrics(w, &b), 0);
	took = cpu_ns() - start;
	buf_fini(&b);
	control_watch_free(w);
	return took;
}

/* The least of several, for so many routes, of which two share a template. */
static uint64_t metrics_take(unsigned n)
{
	struct ol_route *all = calloc(n, sizeof(*all));
	char (*paths)[24] = calloc(n, sizeof(*paths));
	uint64_t best = NEVER, took;
	struct ol_app many = app;

	for (unsigned i = 0; i < n; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/r%u/{id}", i / 2);
		all[i] = i % 2 ? (struct ol_route)OL_GET(paths[i], .async = quick) :
			(struct ol_route)OL_POST(paths[i], .sync = quick);
	}
	many.routes = all;
	many.nroutes = n;
	served = &many;
	set_up_tcp();
	for (int i = 0; i < 3; i++)
		best = (took = text_takes()) < best ? took : best;
	tear_down();
	served = &app;
	free(all);
	free(paths);
	return best;
}

/* Eight times the routes: were each compared with all, it would be sixty-four times the work. */
#define CROWD 200       /* three times as many as are let in */

/* That many clients ask for nothing that can be answered; then probes come.  How long these took. */
static uint64_t probes_take(const char *says, size_t n)
{
	int fds[CROWD];
	uint64_t began, took;

	receive_buffer = 2048;
	for (unsigned i = 0; i < CROWD; i++) {
		fds[i] = connect_to(control_address(control));
		/* who is shown out meanwhile may hear of it here */
		(void)!send(fds[i], says, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	receive_buffer = 0;
	began = clock_now_ns();
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(get("/livez", "localhost"), 200);
	took = clock_now_ns() - began;
	for (unsigned i = 0; i < CROWD; i++)
		close(fds[i]);
	return took;
}

/* The best of ten: a busy machine may be slow, and a full backlog costs a second, but whoever waited for the crowd
 * would do so each time. */
static void crowd(const char *says, size_t n)
{
	uint64_t best = NEVER, took;

	start();
	for (int i = 0; i < 10 && best >= NS_PER_S; i++)
		best = (took = probes_take(says, n)) < best ? took : best;
	ck_assert_uint_lt(best, NS_PER_S);      /* a head alone has two */
	drain();
}

START_TEST(a_probe_is_answered_beside_any_number_of_silent_clients)
{
	crowd("", 0);
}
END_TEST

START_TEST(a_probe_is_answered_beside_any_number_of_half_requests)
{
	static const char half[] = "GET /metrics HTTP/1.1\r\nHost: loc";

	crowd(half, sizeof(half) - 1);
}
END_TEST

START_TEST(a_probe_is_answered_beside_any_number_of_clients_that_do_not_read)
{
	static const char one[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static char many[200 * (sizeof(one) - 1)];

	for (unsigned i = 0; i < 200; i++)
		memcpy(many + i * (sizeof(one) - 1), one, sizeof(one) - 1);
	crowd(many, sizeof(many));
}
END_TEST

START_TEST(metrics_of_many_routes_take_as_much_more_as_there_are_more)
{
	ck_assert_uint_lt(metrics_take(MANY), metrics_take(FEW) * 24);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control");
	TCase *t = tcase_create("tcp"), *own = tcase_create("other addresses");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(t, set_up_tcp, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, it_is_alive_at_once_and_ready_between_start_and_drain);
	tcase_add_test(t, everything_can_be_read_before_the_server_has_started);
	tcase_add_test(t, only_a_host_of_this_machine_is_answered);
	tcase_add_test(t, a_taken_port_is_one_line);
	tcase_add_test(t, routes_and_pools_tell_what_happened);
	tcase_add_test(t, metrics_tell_what_happened_and_each_sample_once);
	tcase_add_test(t, it_answers_while_every_loop_and_worker_is_held);
	tcase_add_test(t, a_pool_is_resized_while_every_loop_and_worker_is_held);
	tcase_add_test(t, a_patch_is_looked_at_before_it_changes_anything);
	tcase_add_test(t, a_pool_is_resized_by_its_name_by_half_and_by_steps);
	tcase_add_test(t, resizes_of_several_threads_do_not_undo_each_other);
	tcase_add_test(t, a_probe_is_answered_beside_any_number_of_silent_clients);
	tcase_add_test(t, a_probe_is_answered_beside_any_number_of_half_requests);
	tcase_add_test(t, a_probe_is_answered_beside_any_number_of_clients_that_do_not_read);
	tcase_set_timeout(own, 60);
	tcase_add_test(own, a_wildcard_address_answers_for_any_literal_address_but_no_name);
	tcase_add_test(own, a_unix_socket_answers_for_any_host);
	tcase_add_test(own, it_can_be_off);
	tcase_add_test(own, metrics_of_many_routes_take_as_much_more_as_there_are_more);
	suite_add_tcase(suite, t);
	suite_add_tcase(suite, own);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
