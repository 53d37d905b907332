/* test_deadline_stream.c: requests whose .timeout comes while their reply is streamed or their body still read: the
 * client sees what is incomplete, the handler is told, and the connection goes on where it can.
 */
#include "deadline_app.h"

/* ---- streams ----------------------------------------------------------------------------------------------------- */

START_TEST(a_stream_that_has_begun_is_broken_off)
{
	struct script_peer *p = say(&rooms, NULL, GET("/pour"));

	UNTIL(&rooms, has_begun());
	UNTIL(&rooms, heard_of(p, "first\n"));
	pass_ms(&rooms, PAST_MS);
	ck_assert(p->closed);
	ck_assert(!heard_of(p, "504"));
	ck_assert(!heard_of(p, "\r\n0\r\n"));
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_counted(0, 0, 1, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
}
END_TEST

START_TEST(a_fibers_stream_is_broken_off)
{
	struct script_peer *p = say(&rooms, NULL, GET("/trickle"));

	ck_assert(heard_of(p, "drop\n"));
	pass_ms(&rooms, PAST_MS);
	ck_assert(p->closed);
	ck_assert(!heard_of(p, "\r\n0\r\n"));
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_counted(0, 0, 1, 0);
}
END_TEST

START_TEST(a_writer_that_waits_for_its_client_is_woken_by_the_deadline)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, GET("/pour"));
	UNTIL(&rooms, has_begun());
	sem_post(&let_go);
	UNTIL(&rooms, p->msg);
	for (int i = 0; i < 50; i++)
		turn(&rooms);
	ck_assert_uint_eq(ended, 0);
	pass_ms(&rooms, PAST_MS);
	UNTIL(&rooms, ended == 1);
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_counted(0, 0, 1, 0);
	script_hold(rooms.loop, false, false);
	script_sent(p, 1);
	UNTIL(&rooms, p->closed);
	ck_assert(!heard_of(p, "\r\n0\r\n"));
}
END_TEST

START_TEST(a_stream_without_a_write_is_answered_for)
{
	struct script_peer *p = say(&rooms, NULL, GET("/pour?mute"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_assert(!p->closed);
	ck_counted(0, 1, 0, 1);
}
END_TEST

START_TEST(a_stream_for_head_is_answered_for)
{
	struct script_peer *p = say(&rooms, NULL, "HEAD /pour HTTP/1.1\r\nHost: a\r\n\r\n");

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(heard_of(p, "HTTP/1.1 504 "));
	ck_assert(!heard_of(p, "detail"));
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_counted(0, 1, 0, 1);
	say(&rooms, p, GET("/quick"));
	ck_assert(heard_of(p, "quick\n"));
}
END_TEST

/* The handler has written its last, and its message comes behind the deadline: nothing is missing, so nothing is
 * broken off. */
START_TEST(a_stream_that_is_whole_is_not_broken_off)
{
	struct script_peer *p = say(&rooms, NULL, GET("/pour?short"));
	struct loop_msg *newest;

	UNTIL(&rooms, has_begun());
	UNTIL(&rooms, heard_of(p, "first\n"));
	fill_the_inbox();
	newest = atomic_load(&rooms.loop->inbox);
	sem_post(&let_go);
	wait_for_message_behind(newest);
	pass_ms(&rooms, PAST_MS);
	UNTIL(&rooms, all_gone());
	ck_assert(heard_of(p, "\r\n0\r\n\r\n"));
	ck_assert(!p->closed);
	ck_counted(0, 0, 0, 0);
}
END_TEST

/* The end of the stream has been sent, whatever it was, and the handler's message is still on its way: the deadline
 * comes to nothing. */
START_TEST(a_stream_that_is_over_before_its_message_has_no_deadline)
{
	static const char *const paths[] = { GET("/pour?short"), GET("/pour?broken") };

	for (unsigned i = 0; i < 2; i++) {
		struct loop_msg *newest;
		struct script_peer *p;

		script_hold(rooms.loop, true, false);
		p = say(&rooms, NULL, paths[i]);
		UNTIL(&rooms, has_begun());
		UNTIL(&rooms, p->msg);
		for (int k = 0; k < 20; k++)
			fill_the_inbox();
		newest = atomic_load(&rooms.loop->inbox);
		sem_post(&let_go);
		wait_for_message_behind(newest);
		script_hold(rooms.loop, false, false);
		script_sent(p, 1);
		turn(&rooms);
		ck_assert_int_eq(heard_of(p, "\r\n0\r\n\r\n"), i == 0);
		ck_assert_int_eq(p->closed, i == 1);
		ck_assert(!all_gone());
		pass_ms(&rooms, PAST_MS);
		ck_assert(!all_gone());
		UNTIL(&rooms, all_gone());
		ck_counted(0, 0, 0, 0);
	}
}
END_TEST

/* Its client does not read, so it holds no thread when its time is over: one closes what it pulls from. */
START_TEST(a_pulled_stream_is_broken_off_and_closed)
{
	static const char *const paths[] = { GET("/pulled"), GET("/pulled/here") };

	for (unsigned i = 0; i < 2; i++) {
		struct script_peer *p;

		script_hold(rooms.loop, true, false);
		p = say(&rooms, NULL, paths[i]);
		UNTIL(&rooms, p->msg);
		for (int k = 0; k < 50; k++)
			turn(&rooms);
		UNTIL(&rooms, running(1) == 0);
		ck_assert_uint_eq(released, i);
		pass_ms(&rooms, PAST_MS);
		UNTIL(&rooms, released == i + 1);
		ck_counted(0, 0, i + 1, 0);
		script_hold(rooms.loop, false, false);
		script_sent(p, 1);
		UNTIL(&rooms, p->closed);
		ck_assert(!heard_of(p, "\r\n0\r\n"));
		UNTIL(&rooms, all_gone());
	}
}
END_TEST

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

#define SIP(n) "POST /sip HTTP/1.1\r\nHost: a\r\nContent-Length: " #n "\r\n\r\n"

START_TEST(a_reader_is_told_and_the_rest_of_the_body_thrown_away)
{
	struct script_peer *p = say(&rooms, NULL, SIP(10) "0123");

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert(!p->closed);
	say(&rooms, p, "456789" GET("/quick"));
	ck_assert(heard_of(p, "quick\n"));
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_counted(0, 1, 0, 1);
}
END_TEST

START_TEST(a_body_that_is_too_long_to_throw_away_ends_the_connection)
{
	struct script_peer *p = say(&rooms, NULL, SIP(900000) "0123");

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert(heard_of(p, "\r\nConnection: close\r\n"));
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
}
END_TEST

/* The end of the body comes while the 504 waits for its turn: the handler, which may look for trailers, is left
 * alone. */
START_TEST(the_rest_of_a_body_comes_before_the_504_is_sent)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL,
		GET("/quick") "POST /sip HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n01\r\n");
	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_counted(0, 1, 0, 0);
	say(&rooms, p, "2\r\n23\r\n0\r\nX-Sum: 4\r\n\r\n");
	script_hold(rooms.loop, false, false);
	script_sent(p, 1);
	UNTIL(&rooms, IS_504(p));
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	say(&rooms, p, GET("/quick"));
	ck_assert_uint_eq(times(p, "quick\n"), 2);
}
END_TEST

START_TEST(a_client_that_waits_for_a_100_gets_the_504)
{
	struct script_peer *p = say(&rooms, NULL,
		"POST /sip HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");

	UNTIL(&rooms, has_begun());
	UNTIL(&rooms, heard_of(p, "HTTP/1.1 100 "));
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_assert_uint_eq(times(p, "HTTP/1.1 100 "), 1);
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, a_stream_that_has_begun_is_broken_off);
	tcase_add_test(one, a_fibers_stream_is_broken_off);
	tcase_add_test(one, a_writer_that_waits_for_its_client_is_woken_by_the_deadline);
	tcase_add_test(one, a_stream_without_a_write_is_answered_for);
	tcase_add_test(one, a_stream_for_head_is_answered_for);
	tcase_add_test(one, a_stream_that_is_whole_is_not_broken_off);
	tcase_add_test(one, a_stream_that_is_over_before_its_message_has_no_deadline);
	tcase_add_test(one, a_pulled_stream_is_broken_off_and_closed);
	tcase_add_test(one, a_reader_is_told_and_the_rest_of_the_body_thrown_away);
	tcase_add_test(one, a_body_that_is_too_long_to_throw_away_ends_the_connection);
	tcase_add_test(one, the_rest_of_a_body_comes_before_the_504_is_sent);
	tcase_add_test(one, a_client_that_waits_for_a_100_gets_the_504);
	return rooms_suite("deadline_stream", all, 1);
}
