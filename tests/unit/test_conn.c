/* test_conn.c: a connection's bytes, in and out, however they are cut, and what it does with time and memory.
 *
 * The kernel is loop_script.h's: short sends, split receives, back-pressure, and deadlines happen where the test says.
 * How connections end stands in test_conn_end.c.
 */
#include "conn_app.h"

#define POST_ECHO "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nworld"
#define POST_CHUNKED                                                                            \
	"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"                  \
	"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"
#define PIPELINE GET("/hello") POST_ECHO "\r\n" POST_CHUNKED GET("/stream?n=30&piece=7") GET("/hello")

static struct buf whole;

/* What a client that sends it in one piece is answered. */
static void hear_whole(const char *text, size_t n)
{
	struct script_peer *p;

	set_up();
	p = say_n(&rooms, NULL, text, n);
	buf_fini(&whole);
	ck_assert_int_eq(buf_append(&whole, heard(p), p->out.n), 0);
	tear_down();
}

static bool same_but_for_the_date(const char *a, size_t an, const char *b, size_t bn)
{
	const char *at = a, *end = a + an;
	size_t date = strlen("Date: Sun, 22 Nov 2026 08:46:34 GMT");

	if (an != bn)
		return false;
	while (at < end) {
		if (strncmp(at, "Date: ", 6) == 0) {
			at += date;
			continue;
		}
		if (*at != b[at - a])
			return false;
		at++;
	}
	return true;
}

static void check_whole(struct script_peer *p)
{
	ck_assert_msg(same_but_for_the_date(heard(p), p->out.n, whole.p, whole.n), "%s\n--- is not ---\n%.*s", heard(p),
		(int)whole.n, whole.p);
}

/* ---- cut anywhere ------------------------------------------------------------------------------------------------ */

START_TEST(a_pipeline_cut_in_two_anywhere_is_answered_the_same)
{
	const char text[] = PIPELINE;
	size_t n = sizeof(text) - 1;

	hear_whole(text, n);
	ck_assert_ptr_nonnull(memmem(whole.p, whole.n, "abcde", 5));
	set_up();
	for (size_t cut = 1; cut < n; cut++) {
		struct script_peer *p = say_n(&rooms, NULL, text, cut);

		say_n(&rooms, p, text + cut, n - cut);
		check_whole(p);
		script_end(p, 0);
		turn(&rooms);
		ck_assert(p->closed);
	}
	tear_down();
	buf_fini(&whole);
}
END_TEST

START_TEST(a_pipeline_byte_by_byte_is_answered_the_same)
{
	const char text[] = PIPELINE;
	struct script_peer *p = NULL;

	hear_whole(text, sizeof(text) - 1);
	set_up();
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		p = say_n(&rooms, p, text + i, 1);
	check_whole(p);
	tear_down();
	buf_fini(&whole);
}
END_TEST

/* Sends what is due, `first` bytes and then `step` at a time. */
static void send_in_steps(struct script_peer *p, size_t first, size_t step)
{
	for (size_t n = first; p->msg; n = step) {
		size_t left = 0;

		for (size_t i = 0; i < p->msg->msg_iovlen; i++)
			left += p->msg->msg_iov[i].iov_len;
		script_sent(p, (int)(n < left ? n : left));
		turn(&rooms);
	}
}

START_TEST(a_reply_sent_short_anywhere_arrives_the_same)
{
	const char text[] = PIPELINE;

	hear_whole(text, sizeof(text) - 1);
	set_up();
	script_hold(rooms.loop, true, false);
	for (size_t cut = 1; cut < whole.n; cut++) {
		struct script_peer *p = say(&rooms, NULL, text);

		send_in_steps(p, cut, SIZE_MAX >> 2);
		check_whole(p);
		script_end(p, 0);
		turn(&rooms);
	}
	tear_down();
	buf_fini(&whole);
}
END_TEST

START_TEST(a_reply_sent_byte_by_byte_arrives_the_same)
{
	const char text[] = PIPELINE;
	struct script_peer *p;

	hear_whole(text, sizeof(text) - 1);
	set_up();
	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, text);
	send_in_steps(p, 1, 1);
	check_whole(p);
	tear_down();
	buf_fini(&whole);
}
END_TEST

START_TEST(a_large_borrowed_reply_goes_out_short_and_is_released_once)
{
	for (size_t step = 777; step < BIG; step *= 9) {
		struct script_peer *p;

		set_up();
		script_hold(rooms.loop, true, false);
		p = say(&rooms, NULL, GET("/big") GET("/hello"));
		ck_assert_uint_eq(releases, 0);
		send_in_steps(p, 1, step);
		ck_assert_uint_eq(releases, 1);
		ck_assert_uint_gt(p->out.n, BIG);
		ck_assert_uint_eq(times(p, "hello\n"), 1);
		tear_down();
	}
}
END_TEST

START_TEST(a_stream_that_is_sent_short_keeps_its_bytes)
{
	for (size_t step = 333; step < BIG; step *= 21) {
		struct script_peer *p;

		set_up();
		script_hold(rooms.loop, true, false);
		p = say(&rooms, NULL, "GET /stream?n=150000&piece=50000 HTTP/1.0\r\n\r\n");
		send_in_steps(p, 1, step);
		ck_assert_uint_eq(strlen(strstr(heard(p), "\r\n\r\n") + 4), 150000);
		ck_assert(p->closed);
		tear_down();
	}
}
END_TEST

/* ---- order ------------------------------------------------------------------------------------------------------- */

START_TEST(the_next_request_waits_until_the_reply_has_been_made)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait") GET("/hello"));

	ck_assert_uint_eq(runs, 1);
	ck_assert_uint_eq(p->out.n, 0);
	go_on();
	ck_assert_uint_eq(runs, 2);
	ck_assert(strstr(heard(p), "waited") < strstr(heard(p), "hello"));
}
END_TEST

START_TEST(replies_that_are_small_leave_in_one_send)
{
	struct script_peer *p;

	p = say(&rooms, NULL, GET("/hello"));
	unsigned before = script_started(rooms.loop);
	say(&rooms, p, GET("/hello") GET("/hello") GET("/hello"));
	ck_assert_uint_eq(script_started(rooms.loop), before + 1);
	ck_assert_uint_eq(times(p, "hello\n"), 4);
}
END_TEST

/* ---- input under back-pressure ----------------------------------------------------------------------------------- */

static void give_many(struct script_peer *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		script_give(p, big, 4096);
	turn(&rooms);
}

START_TEST(unparsed_input_stops_the_receive_and_its_parsing_starts_it_again)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));
	const char *next = GET("/hello");
	size_t n = strlen(next), sent = 0;

	while (p->flight & LOOP_RECV) {
		say(&rooms, p, next);
		sent++;
		ck_assert_uint_lt(sent * n, 200000);
	}
	ck_assert_uint_ge(sent * n, 64 * 1024);
	ck_assert(p->flight & LOOP_HUP);
	script_give(p, next, n);                /* stays in the socket */
	turn(&rooms);
	go_on();
	UNTIL(&rooms, p->flight & LOOP_RECV);
	turn(&rooms);
	ck_assert(!(p->flight & LOOP_HUP));
	UNTIL(&rooms, runs == sent + 2 && !p->msg);     /* cheap to ask, unlike the next */
	ck_assert_uint_eq(times(p, "hello\n"), sent + 1);
}
END_TEST

START_TEST(a_streamed_body_waits_while_its_handler_does_not_read)
{
	struct script_peer *p = post(NULL, "/up", 1 << 20, 0);

	give_many(p, 50);
	pass_ms(&rooms, 60000);                 /* it is the handler who is slow: no deadline runs */
	ck_assert(!p->closed);
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_BODY), 0);
	give_many(p, 206);
	ck_assert(!(p->flight & LOOP_RECV));
	go_on();
	UNTIL(&rooms, heard_of(p, "1048576\n"));
	ck_assert_int_eq(body_rc, 1 << 20);
}
END_TEST

START_TEST(a_departure_is_seen_while_input_waits)
{
	struct script_peer *p = post(NULL, "/up", 1 << 20, 0);

	give_many(p, 60);
	ck_assert(p->flight & LOOP_HUP);
	script_hup(p, POLLHUP);
	turn(&rooms);
	ck_assert(p->closed);
	ck_assert_uint_eq(cancelled, 1);
}
END_TEST

START_TEST(a_departure_is_seen_when_input_waits_again)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));
	const char *next = GET("/hello"), *wait = GET("/wait");

	while (p->flight & LOOP_RECV)
		say(&rooms, p, next);
	ck_assert(p->flight & LOOP_HUP);
	script_hold(rooms.loop, false, true);   /* the hang-up's watch ends late */
	script_cancelled(p, LOOP_RECV);
	go_on();
	UNTIL(&rooms, p->flight & LOOP_RECV);
	ck_assert(p->io->stopping & LOOP_HUP);
	say(&rooms, p, wait);
	UNTIL(&rooms, waiting);
	while (!(p->io->stopping & LOOP_RECV))
		say(&rooms, p, next);
	script_cancelled(p, LOOP_RECV);
	script_cancelled(p, LOOP_HUP);
	turn(&rooms);
	ck_assert(!(p->flight & LOOP_RECV));
	ck_assert(p->flight & LOOP_HUP);
	script_hold(rooms.loop, false, false);
	script_hup(p, POLLHUP);
	turn(&rooms);
	ck_assert(p->closed);
	ck_assert_uint_eq(cancelled, 1);
}
END_TEST

/* ---- deadlines --------------------------------------------------------------------------------------------------- */

START_TEST(a_head_that_comes_too_slowly_is_answered_408)
{
	struct script_peer *p = say(&rooms, NULL, "GET /he");

	for (int i = 0; i < 9; i++) {
		pass_ms(&rooms, 1000);
		say(&rooms, p, "l");
	}
	ck_assert_uint_eq(p->out.n, 0);
	pass_ms(&rooms, 1001);
	ck_assert(heard_of(p, "HTTP/1.1 408 "));
	ck_assert(heard_of(p, "Connection: close"));
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_HEAD), 1);
	pass_ms(&rooms, 5001);
	ck_assert(p->closed);
}
END_TEST

START_TEST(a_head_behind_a_discarded_body_has_its_own_deadline)
{
	struct script_peer *p = post(NULL, "/nowhere", 10, 0);

	ck_assert(heard_of(p, "HTTP/1.1 404 "));
	say(&rooms, p, "0123456789GET /he");
	pass_ms(&rooms, 10001);
	ck_assert(heard_of(p, "HTTP/1.1 408 "));
}
END_TEST

START_TEST(the_rest_of_a_body_that_does_not_come_closes_without_a_second_reply)
{
	struct script_peer *p = post(NULL, "/nowhere", 10, 4);

	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
	pass_ms(&rooms, 10001);
	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
	ck_assert(p->closed);
}
END_TEST

START_TEST(a_silent_connection_is_closed_and_a_kept_one_later)
{
	struct script_peer *fresh = script_connect(rooms.loop), *kept = say(&rooms, NULL, GET("/hello"));

	pass_ms(&rooms, 10001);
	ck_assert(fresh->closed);
	ck_assert_uint_eq(fresh->out.n, 0);
	pass_ms(&rooms, 64000);
	ck_assert(!kept->closed);
	pass_ms(&rooms, 1000);
	ck_assert(kept->closed);
}
END_TEST

START_TEST(a_body_must_come_at_the_lowest_rate_once_its_grace_is_over)
{
	struct script_peer *p = post(NULL, "/echo", 10000, 0);

	pass_ms(&rooms, 4900);
	ck_assert_uint_eq(p->out.n, 0);
	say_n(&rooms, p, big, 240);             /* a second's worth */
	pass_ms(&rooms, 1000);
	ck_assert_uint_eq(p->out.n, 0);
	pass_ms(&rooms, 200);
	ck_assert(heard_of(p, "HTTP/1.1 408 "));
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_BODY), 1);
	ck_assert_uint_eq(runs, 0);
}
END_TEST

START_TEST(a_body_far_ahead_of_its_rate_may_rest_a_minute_and_no_longer)
{
	struct script_peer *p = post(NULL, "/echo", 200000, 190000);    /* thirteen minutes' worth */

	pass_ms(&rooms, 64900);
	ck_assert_uint_eq(p->out.n, 0);
	pass_ms(&rooms, 200);
	ck_assert(heard_of(p, "HTTP/1.1 408 "));
	ck_assert_uint_eq(runs, 0);
}
END_TEST

START_TEST(a_slow_streamed_body_is_told_once_to_a_handler_that_takes_its_time)
{
	struct script_peer *p = post(NULL, "/up", 100, 10);

	pass_ms(&rooms, 6000);
	for (int i = 0; i < 20; i++)
		pass_ms(&rooms, 10);
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_BODY), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_REFUSED), 1);
	go_on();
	ck_assert_int_eq(body_rc, -ETIMEDOUT);
	ck_assert(heard_of(p, "HTTP/1.1 408 "));
}
END_TEST

START_TEST(no_body_deadline_runs_before_a_100_has_been_asked_for)
{
	struct script_peer *p = say(&rooms, NULL,
		"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");

	pass_ms(&rooms, 60000);                 /* the handler waits for something else */
	ck_assert_uint_eq(p->out.n, 0);
	go_on();
	ck_assert_str_eq(heard(p), "HTTP/1.1 100 Continue\r\n\r\n");
	pass_ms(&rooms, 4900);
	say(&rooms, p, "hello");
	ck_assert(heard_of(p, "\r\n\r\n5\n"));
}
END_TEST

START_TEST(a_body_sent_without_waiting_for_its_100_is_taken)
{
	struct script_peer *p = say(&rooms, NULL,
		"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");

	go_on();
	ck_assert(heard_of(p, "\r\n\r\n5\n"));
}
END_TEST

/* A server with odd limits answers as any. */
static void check_with(struct config *c)
{
	struct script_peer *p;

	app_reset();
	rooms_up(&rooms, &app, c);
	p = say(&rooms, NULL, GET("/hello"));
	ck_assert(heard_of(p, "hello\n"));
	post(p, "/echo", 6000, 6000);
	ck_assert_int_eq(body_rc, 6000);
	post(p, "/up?now", 20, 6);
	pass_ms(&rooms, 0);
	post(p, "/up?now", 20, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_BODY), 0);
	say_n(&rooms, p, big, 14);
	ck_assert_int_eq(body_rc, 20);
	rooms_down(&rooms);
}

START_TEST(limits_without_bound_never_come)
{
	struct config c = rooms_config();

	c.head_timeout_ms = c.body_grace_ms = c.keepalive_ms = INT64_MAX;
	c.write_timeout_ms = c.write_grace_ms = c.linger_ms = INT64_MAX;
	check_with(&c);
	c.head_timeout_ms = c.body_grace_ms = c.keepalive_ms = UINT64_MAX;
	c.write_timeout_ms = c.write_grace_ms = c.linger_ms = UINT64_MAX;
	c.body_rate_min = c.write_rate_min = UINT64_MAX;
	check_with(&c);
	c.body_rate_min = c.write_rate_min = 1;
	check_with(&c);
	c = rooms_config();
	c.body_rate_min = 0;
	check_with(&c);
}
END_TEST

START_TEST(limits_of_nothing_refuse_and_close_in_order)
{
	struct config c = rooms_config();
	struct script_peer *p;

	app_reset();
	c.head_timeout_ms = c.body_grace_ms = c.keepalive_ms = c.linger_ms = 0;
	rooms_up(&rooms, &app, &c);
	p = say(&rooms, NULL, GET("/hello"));
	pass_ms(&rooms, 5);
	ck_assert(p->closed);
	p = script_connect(rooms.loop);
	pass_ms(&rooms, 5);
	ck_assert(p->closed);
	rooms_down(&rooms);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_reset_after_a_while)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, true);
	p = say(&rooms, NULL, GET("/big"));
	pass_ms(&rooms, 29000);
	script_sent(p, 1000);                   /* a little is read, and time runs anew */
	turn(&rooms);
	pass_ms(&rooms, 29000);
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_WRITE), 0);
	pass_ms(&rooms, 1100);
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_WRITE), 1);
	ck_assert_uint_eq(releases, 0);         /* the kernel may still be reading it */
	script_cancelled(p, LOOP_RECV);
	turn(&rooms);
	ck_assert_uint_eq(releases, 0);
	script_sent(p, 1000);
	turn(&rooms);
	ck_assert_uint_eq(releases, 1);
	ck_assert(p->closed);
}
END_TEST

int main(void)
{
	TCase *cut = tcase_create("cut"), *one = tcase_create("one"), *odd = tcase_create("odd");
	TCase *all[] = { cut, one, odd };

	tcase_add_test(cut, a_pipeline_cut_in_two_anywhere_is_answered_the_same);
	tcase_add_test(cut, a_pipeline_byte_by_byte_is_answered_the_same);
	tcase_add_test(cut, a_reply_sent_short_anywhere_arrives_the_same);
	tcase_add_test(cut, a_reply_sent_byte_by_byte_arrives_the_same);
	tcase_add_test(cut, a_large_borrowed_reply_goes_out_short_and_is_released_once);
	tcase_add_test(cut, a_stream_that_is_sent_short_keeps_its_bytes);
	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, the_next_request_waits_until_the_reply_has_been_made);
	tcase_add_test(one, replies_that_are_small_leave_in_one_send);
	tcase_add_test(one, unparsed_input_stops_the_receive_and_its_parsing_starts_it_again);
	tcase_add_test(one, a_streamed_body_waits_while_its_handler_does_not_read);
	tcase_add_test(one, a_departure_is_seen_while_input_waits);
	tcase_add_test(one, a_departure_is_seen_when_input_waits_again);
	tcase_add_test(one, a_head_that_comes_too_slowly_is_answered_408);
	tcase_add_test(one, a_head_behind_a_discarded_body_has_its_own_deadline);
	tcase_add_test(one, the_rest_of_a_body_that_does_not_come_closes_without_a_second_reply);
	tcase_add_test(one, a_silent_connection_is_closed_and_a_kept_one_later);
	tcase_add_test(one, a_body_must_come_at_the_lowest_rate_once_its_grace_is_over);
	tcase_add_test(one, a_body_far_ahead_of_its_rate_may_rest_a_minute_and_no_longer);
	tcase_add_test(one, a_slow_streamed_body_is_told_once_to_a_handler_that_takes_its_time);
	tcase_add_test(one, no_body_deadline_runs_before_a_100_has_been_asked_for);
	tcase_add_test(one, a_body_sent_without_waiting_for_its_100_is_taken);
	tcase_add_test(one, a_client_that_does_not_read_is_reset_after_a_while);
	tcase_add_test(odd, limits_without_bound_never_come);
	tcase_add_test(odd, limits_of_nothing_refuse_and_close_in_order);
	return rooms_suite("conn", all, sizeof(all) / sizeof(all[0]));
}
