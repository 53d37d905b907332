/* test_deadline.c: requests whose .timeout comes while they are queued, run, or have just ended: who answers, what the
 * handler is told, and that each case is counted once.
 */
#include "deadline_app.h"

/* ---- on a worker ------------------------------------------------------------------------------------------------- */

START_TEST(a_handler_that_is_too_slow_is_answered_for_and_its_reply_thrown_away)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, LIMIT_MS - 10);
	ck_assert_str_eq(heard(p), "");
	pass_ms(&rooms, 20);
	ck_assert(IS_504(p));
	ck_counted(0, 1, 0, 0);
	ck_assert_uint_eq(running(1), 1);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_counted(0, 1, 0, 1);
	ck_assert_uint_eq(released, 1);
	ck_assert(!heard_of(p, "held"));
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 0);
}
END_TEST

START_TEST(the_connection_goes_on_while_the_handler_still_runs)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold") GET("/quick"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert(heard_of(p, "quick\n"));
	ck_assert(!p->closed);
	say(&rooms, p, GET("/quick"));
	ck_assert_uint_eq(times(p, "quick\n"), 2);
	ck_assert_uint_eq(ended, 0);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	say(&rooms, p, GET("/quick"));
	ck_assert_uint_eq(times(p, "quick\n"), 3);
}
END_TEST

START_TEST(places_stay_with_the_work_until_it_returns)
{
	struct script_peer *p = say(&rooms, NULL, GET("/single"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	forget_heard(p);
	say(&rooms, p, GET("/single"));
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ck_assert_uint_eq(runs, 1);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	say(&rooms, p, GET("/single"));
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(p, "held\n"));
}
END_TEST

START_TEST(a_handler_in_time_is_not_disturbed)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, LIMIT_MS - 10);
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(p, "held\n"));
	pass_ms(&rooms, PAST_MS);
	ck_assert(!heard_of(p, "504"));
	ck_counted(0, 0, 0, 0);
}
END_TEST

START_TEST(a_body_on_its_way_has_its_own_time)
{
	struct script_peer *p = say(&rooms, NULL, "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1");

	pass_ms(&rooms, PAST_MS);
	ck_assert_str_eq(heard(p), "");
	say(&rooms, p, "2");
	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	sem_post(&let_go);
}
END_TEST

/* ---- queued ------------------------------------------------------------------------------------------------------ */

START_TEST(a_queued_request_is_taken_back_and_never_runs)
{
	struct script_peer *first = say(&rooms, NULL, GET("/patient")), *p;

	UNTIL(&rooms, has_begun());
	p = say(&rooms, NULL, GET("/hold"));
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_counted(1, 0, 0, 0);
	ck_assert_uint_eq(dropped(1, DROP_DEADLINE), 1);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(first, "held\n"));
	ck_assert_uint_eq(runs, 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
}
END_TEST

START_TEST(its_place_in_the_queue_is_free_again)
{
	struct script_peer *p[5];

	say(&rooms, NULL, GET("/patient"));
	UNTIL(&rooms, has_begun());
	for (int i = 0; i < 4; i++)
		say(&rooms, NULL, GET("/hold"));
	p[0] = say(&rooms, NULL, GET("/patient"));
	ck_assert(heard_of(p[0], "HTTP/1.1 503 "));
	pass_ms(&rooms, PAST_MS);
	for (int i = 0; i < 4; i++) {
		p[i] = say(&rooms, NULL, GET("/patient"));
		ck_assert_str_eq(heard(p[i]), "");
		sem_post(&let_go);
	}
	sem_post(&let_go);
	for (int i = 0; i < 4; i++)
		UNTIL(&rooms, heard_of(p[i], "held\n"));
	ck_counted(4, 0, 0, 0);
}
END_TEST

/* Two requests are read in one turn, and the second holds the loop up: the deadline of the first comes before the pools
 * are given what was collected. */
START_TEST(a_request_that_no_pool_knows_yet_is_taken_back)
{
	struct script_peer *p = script_connect(rooms.loop), *q = script_connect(rooms.loop);

	turn(&rooms);
	script_give(p, GET("/hold"), strlen(GET("/hold")));
	script_give(q, GET("/jump"), strlen(GET("/jump")));
	turn(&rooms);
	ck_assert(heard_of(q, "late\n"));
	ck_assert(IS_504(p));
	ck_counted(1, 0, 0, 0);
	ck_assert_uint_eq(dropped(1, DROP_DEADLINE), 1);
	ck_assert_uint_eq(runs, 0);
	for (int i = 0; i < 5; i++)
		say(&rooms, NULL, GET("/patient"));     /* a thread and a queue of four: all places are there */
	ck_assert_uint_eq(counted(&rooms, METRIC_SHED), 0);
}
END_TEST

START_TEST(a_client_that_left_in_the_same_turn_costs_no_thread)
{
	struct script_peer *p = script_connect(rooms.loop), *q = script_connect(rooms.loop);

	turn(&rooms);
	script_give(p, GET("/patient"), strlen(GET("/patient")));
	script_give(q, GET("/patient"), strlen(GET("/patient")));
	script_end(p, -ECONNRESET);
	UNTIL(&rooms, has_begun());
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(q, "held\n"));
	ck_assert_uint_eq(runs, 1);
	ck_assert_uint_eq(dropped(1, DROP_CLIENT_LEFT), 1);
}
END_TEST

START_TEST(work_taken_back_at_the_end_of_the_grace_is_counted_as_that)
{
	say(&rooms, NULL, GET("/patient"));
	UNTIL(&rooms, has_begun());
	say(&rooms, NULL, GET("/patient"));
	say(&rooms, NULL, GET("/wait"));
	conn_home_drain(&rooms.home);
	conn_home_abort(&rooms.home);
	turn(&rooms);
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_assert_uint_eq(dropped(1, DROP_SHUTDOWN), 1);
	ck_assert_uint_eq(dropped(1, DROP_CLIENT_LEFT), 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_ABANDONED), 3);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 0);
}
END_TEST

/* ---- who comes first --------------------------------------------------------------------------------------------- */

START_TEST(a_reply_that_has_come_wins_over_a_deadline_of_the_same_turn)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	sem_post(&let_go);
	wait_for_message();
	pass_ms(&rooms, PAST_MS);
	ck_assert(heard_of(p, "held\n"));
	ck_assert(!heard_of(p, "504"));
	ck_counted(0, 0, 0, 0);
}
END_TEST

START_TEST(a_reply_whose_message_comes_behind_the_deadline_is_late)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));
	struct loop_msg *newest;

	UNTIL(&rooms, has_begun());
	fill_the_inbox();
	newest = atomic_load(&rooms.loop->inbox);
	sem_post(&let_go);
	wait_for_message_behind(newest);
	pass_ms(&rooms, PAST_MS);
	UNTIL(&rooms, all_gone());
	ck_assert(IS_504(p));
	ck_assert(!heard_of(p, "held"));
	ck_counted(0, 1, 0, 1);
	ck_assert_uint_eq(released, 1);
}
END_TEST

START_TEST(a_fiber_that_ends_in_the_turn_of_its_deadline_is_in_time)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));

	ol_wake(waiting);
	pass_ms(&rooms, PAST_MS);
	ck_assert(heard_of(p, "waited\n"));
	ck_assert(!heard_of(p, "504"));
	ck_counted(0, 0, 0, 0);
}
END_TEST

START_TEST(a_departure_behind_the_504_before_it_is_sent)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, GET("/hold"));
	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert_ptr_nonnull(p->msg);
	script_end(p, -ECONNRESET);
	turn(&rooms);
	script_sent(p, -EPIPE);
	turn(&rooms);
	ck_assert(p->closed);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_counted(0, 1, 0, 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
	ck_assert_uint_eq(released, 1);
}
END_TEST

START_TEST(a_reply_that_comes_while_the_504_is_being_sent)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, GET("/hold") GET("/quick"));
	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	sem_post(&let_go);
	UNTIL(&rooms, counted(&rooms, METRIC_LATE) == 1);
	script_hold(rooms.loop, false, false);
	script_sent(p, 10);
	UNTIL(&rooms, heard_of(p, "quick\n"));
	ck_assert(IS_504(p));
	ck_assert(!heard_of(p, "held"));
	ck_assert_uint_eq(released, 1);
}
END_TEST

/* The reply before it is still on its way: the 504 waits for it, and the handler ends before it can be sent. */
START_TEST(a_504_behind_a_reply_that_is_being_sent)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, GET("/quick") GET("/hold"));
	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_counted(0, 1, 0, 0);
	sem_post(&let_go);
	UNTIL(&rooms, counted(&rooms, METRIC_LATE) == 1);
	ck_assert_str_eq(heard(p), "");
	script_hold(rooms.loop, false, false);
	script_sent(p, 1);
	UNTIL(&rooms, IS_504(p));
	ck_assert(heard_of(p, "quick\n"));
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
}
END_TEST

START_TEST(a_later_fin_and_then_the_deadline)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	script_advance(rooms.loop, 0);
	script_end(p, 0);               /* at once: a half-close, whose client waits */
	turn(&rooms);
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert(p->closed);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_counted(0, 1, 0, 1);
}
END_TEST

START_TEST(a_departure_disarms_the_deadline)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	leave(p);
	pass_ms(&rooms, PAST_MS);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_counted(0, 0, 0, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 1);
}
END_TEST

START_TEST(a_drain_waits_for_the_handler_behind_its_504)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	conn_home_drain(&rooms.home);
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert(heard_of(p, "\r\nConnection: close\r\n"));
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	conn_home_abort(&rooms.home);           /* and the grace ends */
	turn(&rooms);
	ck_assert_uint_eq(counted(&rooms, METRIC_ABANDONED), 0);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_counted(0, 1, 0, 1);
}
END_TEST

START_TEST(the_grace_ends_with_the_504_still_unsent)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, GET("/hold"));
	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert_ptr_nonnull(p->msg);
	conn_home_abort(&rooms.home);
	turn(&rooms);
	script_sent(p, 1);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_counted(0, 1, 0, 1);
}
END_TEST

START_TEST(what_a_late_handler_has_left_for_afterwards_is_done)
{
	struct script_peer *p = say(&rooms, NULL, GET("/after"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert_uint_eq(left_work, 0);
	sem_post(&let_go);
	UNTIL(&rooms, left_work == 1);          /* and it is not told of the deadline */
	ck_counted(0, 1, 0, 1);
}
END_TEST

/* ---- on a fiber -------------------------------------------------------------------------------------------------- */

START_TEST(a_fiber_is_told_and_its_client_answered)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait") GET("/quick"));

	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert(heard_of(p, "quick\n"));
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_counted(0, 1, 0, 1);
}
END_TEST

START_TEST(offloaded_work_that_is_queued_is_taken_back)
{
	struct script_peer *p;

	say(&rooms, NULL, GET("/patient"));
	UNTIL(&rooms, has_begun());
	p = say(&rooms, NULL, GET("/elsewhere"));
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	UNTIL(&rooms, ended == 1);
	ck_assert_uint_eq(last_rc, ECANCELED);
	ck_assert_uint_eq(dropped(1, DROP_DEADLINE), 1);
	ck_assert_uint_eq(offloaded, 0);
	ck_counted(0, 1, 0, 1);
}
END_TEST

START_TEST(offloaded_work_that_runs_is_waited_for)
{
	struct script_peer *p = say(&rooms, NULL, GET("/elsewhere"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, PAST_MS);
	ck_assert(IS_504(p));
	ck_assert_uint_eq(ended, 0);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(dropped(1, DROP_DEADLINE), 0);
	ck_counted(0, 1, 0, 1);
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, a_handler_that_is_too_slow_is_answered_for_and_its_reply_thrown_away);
	tcase_add_test(one, the_connection_goes_on_while_the_handler_still_runs);
	tcase_add_test(one, places_stay_with_the_work_until_it_returns);
	tcase_add_test(one, a_handler_in_time_is_not_disturbed);
	tcase_add_test(one, a_body_on_its_way_has_its_own_time);
	tcase_add_test(one, a_queued_request_is_taken_back_and_never_runs);
	tcase_add_test(one, its_place_in_the_queue_is_free_again);
	tcase_add_test(one, a_request_that_no_pool_knows_yet_is_taken_back);
	tcase_add_test(one, a_client_that_left_in_the_same_turn_costs_no_thread);
	tcase_add_test(one, work_taken_back_at_the_end_of_the_grace_is_counted_as_that);
	tcase_add_test(one, a_reply_that_has_come_wins_over_a_deadline_of_the_same_turn);
	tcase_add_test(one, a_reply_whose_message_comes_behind_the_deadline_is_late);
	tcase_add_test(one, a_fiber_that_ends_in_the_turn_of_its_deadline_is_in_time);
	tcase_add_test(one, a_departure_behind_the_504_before_it_is_sent);
	tcase_add_test(one, a_reply_that_comes_while_the_504_is_being_sent);
	tcase_add_test(one, a_504_behind_a_reply_that_is_being_sent);
	tcase_add_test(one, a_later_fin_and_then_the_deadline);
	tcase_add_test(one, a_departure_disarms_the_deadline);
	tcase_add_test(one, a_drain_waits_for_the_handler_behind_its_504);
	tcase_add_test(one, the_grace_ends_with_the_504_still_unsent);
	tcase_add_test(one, what_a_late_handler_has_left_for_afterwards_is_done);
	tcase_add_test(one, a_fiber_is_told_and_its_client_answered);
	tcase_add_test(one, offloaded_work_that_is_queued_is_taken_back);
	tcase_add_test(one, offloaded_work_that_runs_is_waited_for);
	return rooms_suite("deadline", all, 1);
}
