/* test_lend.c: replies that workers send by themselves, against all that may happen to a connection meanwhile.
 *
 * The connection of the scripted loop is given a real socket under its descriptor, so what a worker sends is read from
 * the far end, and what the loop sends is heard from the script.  send(2) is the test's too: it takes as many bytes as
 * it is told, and can be made to wait in the middle for as long as the test wants.  The loop is asleep when the test
 * says so: it stands in for it.
 */
#include "loop_backend.h"
#include "rooms.h"

#include <semaphore.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define LIMIT_MS 100
#define OWN "HTTP/1.1 200 OK\r\n"

static struct rooms rooms;
static sem_t begun, let_go, sending, send_on;
static _Atomic unsigned sends, after_runs;
static _Atomic int takes;           /* bytes of the next send; below 0: minus its errno */
static _Atomic bool waits;          /* in the middle of a send */
static char long_text[3000];
static int far[2];                  /* ours, and the one under the connection's descriptor */

/* Stands in for libc's: of conn_lend.c alone. */
ssize_t send(int fd, const void *p, size_t n, int flags)
{
	int most = takes;

	sends++;
	if (waits) {
		sem_post(&sending);
		sem_wait(&send_on);
	}
	if (most < 0) {
		errno = -most;
		return -1;
	}
	return syscall(SYS_sendto, fd, p, n < (size_t)most ? n : (size_t)most, flags, NULL, 0);
}

/* ---- the app ----------------------------------------------------------------------------------------------------- */

static int after(ol_req *r, void *arg)
{
	(void)r, (void)arg;
	after_runs++;
	return 0;
}

static int hold(ol_req *r)
{
	sem_post(&begun);
	sem_wait(&let_go);
	if (ol_query(r, "after"))
		return ol_after(r, NULL, after, NULL) < 0 ? -1 : ol_text(r, 200, "own\n");
	if (ol_query(r, "long"))
		return ol_bytes(r, 200, NULL, long_text, sizeof(long_text));
	if (ol_query(r, "stream"))
		return ol_stream(r, 200, NULL) < 0 ? -1 : ol_write(r, "own\n", 4);
	return ol_query(r, "fail") ? -EIO : ol_text(r, 200, "own\n");
}

static int quick(ol_req *r)
{
	return ol_text(r, 200, "quick\n");
}

static const struct ol_route routes[] = {
	OL_GET("/own", .sync = hold),
	OL_POST("/own", .sync = hold),
	OL_GET("/late", .sync = hold, .timeout = LIMIT_MS),
	OL_GET("/single", .sync = hold, .max_inflight = 1),
	OL_GET("/quick", .async = quick),
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

static void set_up(void)
{
	sem_init(&begun, 0, 0);
	sem_init(&let_go, 0, 0);
	sem_init(&sending, 0, 0);
	sem_init(&send_on, 0, 0);
	sends = after_runs = 0;
	takes = INT32_MAX;
	waits = false;
	memset(long_text, 'l', sizeof(long_text));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, far), 0);
	rooms_up(&rooms, &app, NULL);
}

static void tear_down(void)
{
	rooms_down(&rooms);
	close(far[0]);
	if (far[1] >= 0)
		close(far[1]);
}

/* ---- what the cases are told with -------------------------------------------------------------------------------- */

/* A client that has sent text, whose handler has begun and waits for let_go. */
static struct script_peer *ask(const char *text)
{
	struct script_peer *p = script_connect(rooms.loop);

	turn(&rooms);
	ck_assert_int_eq(dup2(far[1], p->fd), p->fd);
	close(far[1]);
	far[1] = -1;
	say(&rooms, p, text);
	UNTIL(&rooms, sem_trywait(&begun) == 0);
	return p;
}

/* The loop is asleep from now on, until it is turned. */
static void sleep_now(void)
{
	struct loop_msg *none = NULL;

	ck_assert(atomic_compare_exchange_strong(&rooms.loop->inbox, &none, LOOP_ARMED));
}

/* The handler ends while the loop is asleep, and its message comes. */
static void end_asleep(void)
{
	sleep_now();
	sem_post(&let_go);
	while (loop_sleeps(rooms.loop))
		sched_yield();
}

/* What the worker has sent; nothing is "". */
static const char *own(void)
{
	static char text[5000];
	ssize_t n = recv(far[0], text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_own(const char *text)
{
	return strncmp(text, OWN, strlen(OWN)) == 0 && ends_with(text, "\r\n\r\nown\n");
}

static bool is_over(void)
{
	return rooms.dispatch.nlive == 0;
}

/* ---- sent -------------------------------------------------------------------------------------------------------- */

START_TEST(a_lone_reply_is_sent_by_its_worker_and_booked_by_the_loop)
{
	struct script_peer *p = ask(GET("/own"));
	const char *text;

	end_asleep();
	text = own();
	ck_assert_msg(is_own(text), "%s", text);
	UNTIL(&rooms, is_over());
	ck_assert_str_eq(heard(p), "");
	ck_assert_uint_eq(counted(&rooms, METRIC_BYTES_OUT), strlen(text));
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
	ck_assert(!p->closed);
	say(&rooms, p, GET("/quick"));
	ck_assert(heard_of(p, "quick\n"));
}
END_TEST

START_TEST(a_worker_that_is_done_before_its_loop_has_gone_to_sleep_sends_too)
{
	struct script_peer *p = script_connect(rooms.loop);

	turn(&rooms);
	ck_assert_int_eq(dup2(far[1], p->fd), p->fd);
	script_give(p, GET("/own"), strlen(GET("/own")));
	script_turns(rooms.loop, 2); /* in which it comes, and in which it is handed over */
	sem_wait(&begun);
	sem_post(&let_go);
	while (sends == 0)
		sched_yield();
	UNTIL(&rooms, is_over());
	ck_assert(is_own(own()));
	ck_assert_str_eq(heard(p), "");
}
END_TEST

START_TEST(one_connection_has_one_after_the_other_sent_so)
{
	struct script_peer *p = ask(GET("/own"));

	for (unsigned i = 1; i <= 3; i++) {
		end_asleep();
		ck_assert(is_own(own()));
		UNTIL(&rooms, is_over());
		ck_assert_uint_eq(sends, i);
		say(&rooms, p, GET("/own"));
		UNTIL(&rooms, sem_trywait(&begun) == 0);
	}
	sem_post(&let_go);
	UNTIL(&rooms, is_over());
}
END_TEST

START_TEST(a_request_that_came_behind_it_is_answered_when_it_has_been_booked)
{
	struct script_peer *p = ask(GET("/own") GET("/quick"));

	end_asleep();
	ck_assert(is_own(own()));
	ck_assert_str_eq(heard(p), "");
	UNTIL(&rooms, heard_of(p, "quick\n"));
	ck_assert_uint_eq(times(p, "HTTP/1.1 200"), 1);
}
END_TEST

START_TEST(what_is_left_for_after_the_reply_runs_after_it)
{
	ask(GET("/own?after"));
	end_asleep();
	ck_assert(is_own(own()));
	ck_assert_uint_eq(after_runs, 0);
	UNTIL(&rooms, after_runs == 1);
}
END_TEST

START_TEST(an_error_is_sent_so_too)
{
	ask(GET("/own?fail"));
	end_asleep();
	ck_assert_int_eq(strncmp(own(), "HTTP/1.1 500 ", 13), 0);
	UNTIL(&rooms, is_over());
	ck_assert_uint_eq(counted(&rooms, METRIC_HANDLER_ERRORS), 1);
}
END_TEST

START_TEST(of_a_head_request_the_head_is_sent)
{
	const char *text;

	ask("HEAD /own HTTP/1.1\r\nHost: a\r\n\r\n");
	end_asleep();
	text = own();
	ck_assert(strstr(text, "\r\nContent-Length: 4\r\n") && ends_with(text, "\r\n\r\n"));
}
END_TEST

START_TEST(a_reply_that_says_close_ends_the_connection)
{
	struct script_peer *p = ask("GET /own HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

	end_asleep();
	ck_assert_ptr_nonnull(strstr(own(), "\r\nConnection: close\r\n"));
	UNTIL(&rooms, p->closed);
}
END_TEST

START_TEST(a_drain_that_begins_while_the_handler_runs_makes_it_say_close)
{
	struct script_peer *p = ask(GET("/own"));

	conn_home_drain(&rooms.home);
	end_asleep();
	ck_assert_ptr_nonnull(strstr(own(), "\r\nConnection: close\r\n"));
	UNTIL(&rooms, is_over());
	script_end(p, 0);
	UNTIL(&rooms, p->closed);
}
END_TEST

START_TEST(a_client_that_has_sent_its_fin_is_answered_and_closed)
{
	struct script_peer *p = ask(GET("/own"));

	script_end(p, 0);
	turn(&rooms);
	ck_assert(!p->closed);
	end_asleep();
	ck_assert(is_own(own()));
	UNTIL(&rooms, p->closed);
}
END_TEST

/* ---- left to the loop -------------------------------------------------------------------------------------------- */

START_TEST(a_loop_that_is_awake_sends_it)
{
	struct script_peer *p = ask(GET("/own"));

	sem_post(&let_go);
	UNTIL(&rooms, is_over());
	turn(&rooms);
	if (sends == 0) /* turning it made it sleep now and then */
		ck_assert(is_own(heard(p)));
	else
		ck_assert(is_own(own()));
}
END_TEST

START_TEST(a_reply_beside_others_is_sent_by_the_loop)
{
	struct script_peer *p = ask(GET("/own")), *q = say(&rooms, NULL, GET("/own"));

	UNTIL(&rooms, sem_trywait(&begun) == 0);
	sleep_now();
	sem_post(&let_go);
	sem_post(&let_go);
	UNTIL(&rooms, is_over());
	turn(&rooms);
	ck_assert_uint_le(sends, 1); /* the first may have been sent by its worker */
	ck_assert(is_own(heard(q)));
	ck_assert(sends == 1 ? is_own(own()) : is_own(heard(p)));
}
END_TEST

/* Who has its answer has left its place. */
START_TEST(a_reply_of_a_route_with_counted_places_is_sent_by_the_loop)
{
	struct script_peer *p = ask(GET("/single"));

	end_asleep();
	UNTIL(&rooms, is_over());
	turn(&rooms);
	ck_assert_uint_eq(sends, 0);
	ck_assert(is_own(heard(p)));
}
END_TEST

/* Nor is one that has its answer counted before that is booked. */
START_TEST(who_has_been_answered_may_ask_again_though_a_loop_takes_one_request)
{
	struct script_peer *p, *again;

	rooms.shared.requests_max = 1;
	p = ask(GET("/own"));
	again = script_connect(rooms.loop);
	turn(&rooms);
	end_asleep();
	ck_assert(is_own(own()));
	script_give(again, GET("/quick"), strlen(GET("/quick")));
	UNTIL(&rooms, is_over());
	turn(&rooms);
	ck_assert_msg(heard_of(again, "quick\n"), "%s", heard(again));
	ck_assert_str_eq(heard(p), "");
}
END_TEST

START_TEST(a_reply_beside_which_the_loop_takes_no_more_requests_keeps_its_place)
{
	struct script_peer *second;

	rooms.shared.requests_max = 1;
	(void)ask(GET("/own"));
	second = script_connect(rooms.loop);
	turn(&rooms);
	script_give(second, GET("/quick"), strlen(GET("/quick")));
	UNTIL(&rooms, heard_of(second, "503"));
	end_asleep();
	UNTIL(&rooms, is_over());
}
END_TEST

START_TEST(a_reply_to_a_request_with_a_body_is_sent_by_the_loop)
{
	struct script_peer *p = ask("POST /own HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");

	end_asleep();
	UNTIL(&rooms, is_over());
	turn(&rooms);
	ck_assert_uint_eq(sends, 0);
	ck_assert(is_own(heard(p)));
}
END_TEST

START_TEST(what_is_long_or_streamed_is_sent_by_the_loop)
{
	struct script_peer *p = ask(GET("/own?long"));

	end_asleep();
	UNTIL(&rooms, is_over());
	ck_assert_uint_eq(strlen(strstr(heard(p), "\r\n\r\n") + 4), sizeof(long_text));
	forget_heard(p);
	say(&rooms, p, GET("/own?stream"));
	UNTIL(&rooms, sem_trywait(&begun) == 0);
	end_asleep();
	UNTIL(&rooms, heard_of(p, "\r\n0\r\n\r\n"));
	ck_assert(heard_of(p, "\r\n4\r\nown\n\r\n"));
	ck_assert_uint_eq(sends, 0);
}
END_TEST

START_TEST(what_the_kernel_does_not_take_is_sent_by_the_loop)
{
	struct script_peer *p;
	char whole[10000];
	size_t n;

	takes = 1 + _i * 23;
	p = ask(GET("/own"));
	end_asleep();
	snprintf(whole, sizeof(whole), "%s", own());
	n = strlen(whole);
	ck_assert_uint_eq(n, (unsigned)takes);
	ck_assert_str_eq(heard(p), "");
	script_hold(rooms.loop, true, false);
	turn(&rooms);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1); /* its memory is being sent */
	script_hold(rooms.loop, false, false);
	script_sent(p, 1);
	UNTIL(&rooms, is_over());
	memcpy(whole + n, heard(p), strlen(heard(p)) + 1);
	ck_assert_msg(is_own(whole), "%s", whole);
	ck_assert_uint_eq(counted(&rooms, METRIC_BYTES_OUT), strlen(whole));
	say(&rooms, p, GET("/quick"));
	ck_assert(heard_of(p, "quick\n"));
}
END_TEST

START_TEST(a_send_that_fails_is_tried_again_by_the_loop)
{
	struct script_peer *p;

	takes = _i ? -EPIPE : -EAGAIN;
	p = ask(GET("/own"));
	end_asleep();
	UNTIL(&rooms, is_over());
	turn(&rooms);
	ck_assert_uint_eq(sends, 1);
	ck_assert_str_eq(own(), "");
	ck_assert(is_own(heard(p)));
}
END_TEST

/* ---- the client leaves ------------------------------------------------------------------------------------------- */

START_TEST(a_client_that_leaves_while_the_handler_runs_is_sent_nothing)
{
	struct script_peer *p = ask(GET("/own"));

	script_end(p, -ECONNRESET);
	UNTIL(&rooms, p->closed);
	ck_assert_uint_eq(rooms.home.nconns, 0); /* the loan has ended at once */
	end_asleep();
	UNTIL(&rooms, is_over());
	ck_assert_uint_eq(sends, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 1);
}
END_TEST

START_TEST(a_client_that_leaves_in_the_middle_of_the_send_keeps_its_descriptor_until_that_is_over)
{
	struct script_peer *p;

	waits = true;
	takes = _i ? INT32_MAX : 10;
	p = ask(GET("/own"));
	sleep_now();
	sem_post(&let_go);
	sem_wait(&sending);
	script_end(p, -ECONNRESET);
	script_turns(rooms.loop, 8);
	ck_assert_uint_eq(rooms.home.nconns, 1);
	ck_assert_int_ge(fcntl(p->fd, F_GETFD), 0);
	sem_post(&send_on);
	UNTIL(&rooms, p->closed && is_over());
	ck_assert_uint_eq(rooms.home.nconns, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 1);
}
END_TEST

/* ---- its deadline comes ------------------------------------------------------------------------------------------ */

START_TEST(a_handler_that_is_overdue_sends_nothing)
{
	struct script_peer *p = ask(GET("/late"));

	pass_ms(&rooms, LIMIT_MS + 10);
	ck_assert(heard_of(p, "HTTP/1.1 504 "));
	say(&rooms, p, GET("/quick"));
	ck_assert(heard_of(p, "quick\n"));
	end_asleep();
	UNTIL(&rooms, is_over());
	ck_assert_uint_eq(sends, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_LATE), 1);
}
END_TEST

START_TEST(a_reply_that_is_being_sent_is_in_time)
{
	struct script_peer *p;

	waits = true;
	p = ask(GET("/late"));
	sleep_now();
	sem_post(&let_go);
	sem_wait(&sending);
	pass_ms(&rooms, LIMIT_MS + 10);
	sem_post(&send_on);
	UNTIL(&rooms, is_over());
	ck_assert(is_own(own()));
	ck_assert_str_eq(heard(p), "");
	ck_assert_uint_eq(counted(&rooms, METRIC_LATE), 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEADLINE_RUNNING), 0);
	say(&rooms, p, GET("/quick"));
	ck_assert(heard_of(p, "quick\n"));
}
END_TEST

int main(void)
{
	TCase *sent = tcase_create("sent"), *left = tcase_create("left to the loop"), *gone = tcase_create("gone");
	TCase *all[] = { sent, left, gone };

	for (size_t i = 0; i < 3; i++)
		tcase_add_checked_fixture(all[i], set_up, tear_down);
	tcase_add_test(sent, a_lone_reply_is_sent_by_its_worker_and_booked_by_the_loop);
	tcase_add_test(sent, a_worker_that_is_done_before_its_loop_has_gone_to_sleep_sends_too);
	tcase_add_test(sent, one_connection_has_one_after_the_other_sent_so);
	tcase_add_test(sent, a_request_that_came_behind_it_is_answered_when_it_has_been_booked);
	tcase_add_test(sent, what_is_left_for_after_the_reply_runs_after_it);
	tcase_add_test(sent, an_error_is_sent_so_too);
	tcase_add_test(sent, of_a_head_request_the_head_is_sent);
	tcase_add_test(sent, a_reply_that_says_close_ends_the_connection);
	tcase_add_test(sent, a_drain_that_begins_while_the_handler_runs_makes_it_say_close);
	tcase_add_test(sent, a_client_that_has_sent_its_fin_is_answered_and_closed);
	tcase_add_test(left, a_loop_that_is_awake_sends_it);
	tcase_add_test(left, a_reply_beside_others_is_sent_by_the_loop);
	tcase_add_test(left, a_reply_of_a_route_with_counted_places_is_sent_by_the_loop);
	tcase_add_test(left, who_has_been_answered_may_ask_again_though_a_loop_takes_one_request);
	tcase_add_test(left, a_reply_beside_which_the_loop_takes_no_more_requests_keeps_its_place);
	tcase_add_test(left, a_reply_to_a_request_with_a_body_is_sent_by_the_loop);
	tcase_add_test(left, what_is_long_or_streamed_is_sent_by_the_loop);
	tcase_add_loop_test(left, what_the_kernel_does_not_take_is_sent_by_the_loop, 0, 6);
	tcase_add_loop_test(left, a_send_that_fails_is_tried_again_by_the_loop, 0, 2);
	tcase_add_test(gone, a_client_that_leaves_while_the_handler_runs_is_sent_nothing);
	tcase_add_loop_test(gone,
		a_client_that_leaves_in_the_middle_of_the_send_keeps_its_descriptor_until_that_is_over, 0, 2);
	tcase_add_test(gone, a_handler_that_is_overdue_sends_nothing);
	tcase_add_test(gone, a_reply_that_is_being_sent_is_in_time);
	return rooms_suite("lend", all, 3);
}
