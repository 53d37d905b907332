/* test_lab_work.c: a sample's figures, of a server that a test has made up: a process that answers / and fails the
 * rest, and beside it one that has computed and ends within the sample. */
#include "base/clock.h"
#include "cli/lab_work.h"

#include <arpa/inet.h>
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNS 200

static struct lab_server server;
static struct timespec thought; /* of the server's, before a reply */
static uint64_t stops_ns, stopped_ns;   /* how long after its start it stops once, and for how long */
static json_t *sample;  /* the last that was taken; NULL: none */

bool lab_stopped(void)
{
	return false;
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

/* A 404 closes, since an upload that has not wholly arrived would be taken for the next request. */
static bool reply(int fd)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	static const char no[] = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
	char in[1024];
	ssize_t n = recv(fd, in, sizeof(in), 0);
	const char *text = n >= 6 && memcmp(in, "GET / ", 6) == 0 ? ok : no;

	nanosleep(&thought, NULL);
	return n > 0 && send(fd, text, strlen(text), MSG_NOSIGNAL) > 0 && text == ok;
}

static void serve(int listener)
{
	struct pollfd fds[CONNS] = { { listener, POLLIN, 0 } };
	uint64_t stop = stops_ns ? clock_now_ns() + stops_ns : UINT64_MAX;
	nfds_t n = 1;

	while (poll(fds, n, -1) >= 0) {
		if (clock_now_ns() >= stop) {
			const struct timespec pause = clock_timespec(stopped_ns);

			nanosleep(&pause, NULL);
			stop = UINT64_MAX;
		}
		for (nfds_t i = n; i-- > 1;)
			if (fds[i].revents && !reply(fds[i].fd)) {
				close(fds[i].fd);
				fds[i] = fds[--n];
			}
		if (fds[0].revents && n < CONNS)
			fds[n++] = (struct pollfd){ accept(listener, NULL, NULL), POLLIN, 0 };
	}
}

/* A process of the server's that has used a tenth of a second of CPU when this returns, which is more than the server
 * will, and ends in a while. */
static void compute_and_end(void)
{
	struct timespec used = { 0 }, a_while = clock_timespec(400 * NS_PER_MS);
	int done[2];
	char byte;

	signal(SIGCHLD, SIG_IGN);
	if (pipe(done) || fork() != 0) {
		close(done[1]);
		if (read(done[0], &byte, 1) < 0)
			_exit(3);
		return;
	}
	while (used.tv_sec == 0 && used.tv_nsec < 100000000)
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	nanosleep(&a_while, NULL);
	_exit(0);
}

static void start(bool computes)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0), ready[2];
	char byte;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, n), 0);
	ck_assert_int_eq(listen(fd, 512), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	ck_assert_int_eq(pipe(ready), 0);
	server = (struct lab_server){ .subject = lab_subject(0), .port = ntohs(sa.sin_port), .log = -1 };
	server.pid = fork();
	ck_assert_int_ge(server.pid, 0);
	if (server.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		if (computes)
			compute_and_end();
		close(ready[0]);
		close(ready[1]);
		serve(fd);
		_exit(3);
	}
	close(fd);
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 0);
	close(ready[0]);
}

static enum lab_outcome try(const char *workload, double secs, char why[400])
{
	const struct lab_plan plan = { .rounds = 1, .secs = secs, .guard = 1024 };
	struct lab_machine machine = { .cpus = 1 };
	const struct lab_workload *w = lab_workloads;
	double foreign;

	while (strcmp(w->name, workload) != 0)
		w++;
	CPU_ZERO(&machine.all);
	*why = 0;
	json_decref(sample);
	sample = NULL;
	return lab_sample(&plan, &machine, w, &server, &sample, &foreign, why, 400);
}

static void take(const char *workload, double secs)
{
	char why[400];

	ck_assert_msg(try(workload, secs, why) == LAB_MEASURED, "%s", why);
}

/* Tests may run in one process, one after the other. */
static void setup(void)
{
	thought = (struct timespec){ 0 };
	stops_ns = stopped_ns = 0;
	server.pid = 0;
}

static void teardown(void)
{
	if (server.pid > 0) {
		kill(-server.pid, SIGKILL);
		waitpid(server.pid, NULL, 0);
	}
	json_decref(sample);
	sample = NULL;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

START_TEST(errors_are_counted_where_the_requests_are)
{
	start(false);
	/* On a busy machine once may not be enough for slow clients to fail. */
	do
		take("slow", 0.1);
	while (json_integer_value(json_object_get(json_object_get(sample, "sipping"), "errors")) == 0);
	ck_assert_int_gt(json_integer_value(json_object_get(sample, "requests")), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(sample, "errors")), 0);
	ck_assert_uint_eq(json_object_size(json_object_get(sample, "error_kinds")), 0);
	take("mixed", 0.1);
	ck_assert_int_gt(json_integer_value(json_object_get(sample, "errors")), 0);
	ck_assert_int_gt(json_integer_value(json_object_get(json_object_get(sample, "error_kinds"), "status")), 0);
}
END_TEST

START_TEST(cpu_time_that_a_process_took_with_it_is_not_known)
{
	const json_t *cpu;

	thought.tv_nsec = 5000000;
	start(true);
	take("trivial", 0.6);
	cpu = json_object_get(sample, "cpu_us");
	/* Where the machine was so busy that the process had ended before the sample, the time is known. */
	ck_assert(json_is_null(cpu) || json_real_value(cpu) < 1e6);
}
END_TEST

START_TEST(a_server_that_stops_answering_has_failed)
{
	char why[400];

	stops_ns = 200 * NS_PER_MS;
	stopped_ns = 1000 * NS_PER_S;
	start(false);
	ck_assert_int_eq(try("trivial", 0.3, why), LAB_FAILED);
	ck_assert_ptr_nonnull(strstr(why, "it stopped answering"));
}
END_TEST

START_TEST(a_server_that_goes_on_is_measured)
{
	stops_ns = 200 * NS_PER_MS;
	stopped_ns = 700 * NS_PER_MS;   /* beyond the sample's end, and what is waited for without doubts */
	start(false);
	take("trivial", 0.2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab_work");
	TCase *c = tcase_create("lab_work");
	SRunner *r;
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, errors_are_counted_where_the_requests_are);
	tcase_add_test(c, cpu_time_that_a_process_took_with_it_is_not_known);
	tcase_add_test(c, a_server_that_stops_answering_has_failed);
	tcase_add_test(c, a_server_that_goes_on_is_measured);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
