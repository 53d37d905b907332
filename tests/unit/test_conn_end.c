/* test_conn_end.c: how connections end: whatever they are at, whatever ends them, once, and with nothing left over.
 *
 * Sends and cancellations are held, so the kernel still has the reply while everything else is over; ASan sees bytes
 * given up too early, rooms_down() a connection or an exchange that stays.
 */
#include "conn_app.h"

#define CHUNKED(path) "POST " path " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

static struct script_peer *watched;
static size_t shut_at = SIZE_MAX;   /* bytes that had been sent to it when its socket was shut */

/* The C library's, for whoever calls it in this program. */
int shutdown(int fd, int how)
{
	(void)fd, (void)how;
	shut_at = watched ? watched->out.n : 0;
	return 0;
}

static void set_up_watch(void)
{
	set_up();
	watched = NULL;
	shut_at = SIZE_MAX;
}

/* ---- every state, every end -------------------------------------------------------------------------------------- */

/* What a connection is at. */
static void at_nothing(struct script_peer *p)
{
	(void)p;
}

static void at_idle(struct script_peer *p)
{
	say(&rooms, p, GET("/hello"));
	script_sent(p, (int)p->msg->msg_iov[0].iov_len);
	turn(&rooms);
}

static void at_head(struct script_peer *p)
{
	say(&rooms, p, "GET /he");
}

static void at_body(struct script_peer *p)
{
	post(p, "/echo", 100, 10);
}

static void at_running(struct script_peer *p)
{
	say(&rooms, p, GET("/wait") "GET /more");
}

static void at_worker(struct script_peer *p)
{
	say(&rooms, p, GET("/held"));
	UNTIL(&rooms, sem_trywait(&held) == 0);
}

static void at_sending(struct script_peer *p)
{
	say(&rooms, p, GET("/hello") GET("/hello"));
}

static void at_sending_borrowed(struct script_peer *p)
{
	say(&rooms, p, GET("/big") GET("/hello"));
}

static void at_sending_borrowed_short(struct script_peer *p)
{
	say(&rooms, p, GET("/big"));
	script_sent(p, 5000);
	turn(&rooms);
}

static void at_sending_then_running(struct script_peer *p)
{
	say(&rooms, p, GET("/hello") GET("/wait"));
}

static void at_stream_full(struct script_peer *p)
{
	say(&rooms, p, GET("/stream?n=1000000&piece=100000"));
}

static void at_stream_little(struct script_peer *p)
{
	say(&rooms, p, GET("/stream?meet=1"));
	go_on();
}

static void at_upload(struct script_peer *p)
{
	post(p, "/up", 1000, 100);
}

static void at_upload_reading(struct script_peer *p)
{
	post(p, "/up?now&reply", 1000, 100);
}

static void at_upload_paused(struct script_peer *p)
{
	post(p, "/up", 1 << 20, 300000);
}

static void at_paused(struct script_peer *p)
{
	say(&rooms, p, GET("/wait"));
	for (int i = 0; i < 30; i++)
		say_n(&rooms, p, big, 4096);
}

static void at_lingering(struct script_peer *p)
{
	say(&rooms, p, "bad\r\n\r\n");
	script_sent(p, (int)p->msg->msg_iov[0].iov_len);
	turn(&rooms);
	ck_assert_ptr_null(p->msg);
}

static void at_discarding(struct script_peer *p)
{
	post(p, "/nowhere", 100, 10);
	script_sent(p, (int)p->msg->msg_iov[0].iov_len);
	turn(&rooms);
}

/* What ends it. */
static void by_fin(struct script_peer *p)
{
	script_end(p, 0);
}

static void by_reset(struct script_peer *p)
{
	script_end(p, -ECONNRESET);
}

static void by_hup(struct script_peer *p)
{
	script_hup(p, POLLHUP | POLLERR);
}

static void by_send_error(struct script_peer *p)
{
	if (p->msg)
		script_sent(p, -EPIPE);
}

static void by_abort(struct script_peer *p)
{
	(void)p;
	conn_home_abort(&rooms.home);
}

static void by_drain(struct script_peer *p)
{
	(void)p;
	conn_home_drain(&rooms.home);
	pass_ms(&rooms, 1100);
}

static void by_time(struct script_peer *p)
{
	(void)p;
	for (int i = 0; i < 20; i++)
		pass_ms(&rooms, 5000);
}

static void by_room(struct script_peer *p)
{
	(void)p;
	(void)conn_close_idle(&rooms.home);
}

static void (*const states[])(struct script_peer *) = { at_nothing, at_idle, at_head, at_body, at_running, at_worker,
	at_sending, at_sending_borrowed, at_sending_borrowed_short, at_sending_then_running, at_stream_full,
	at_stream_little, at_upload, at_upload_reading, at_upload_paused, at_paused, at_lingering, at_discarding };
static void (*const ends[])(struct script_peer *) = { by_fin, by_reset, by_hup, by_send_error, by_abort, by_drain,
	by_time, by_room };

#define NSTATES ((int)(sizeof(states) / sizeof(states[0])))
#define NENDS ((int)(sizeof(ends) / sizeof(ends[0])))

/* The kernel ends what it still holds, the send last. */
static void end_flight(struct script_peer *p)
{
	for (unsigned op = LOOP_RECV; op <= LOOP_HUP && !p->closed; op *= 2)
		if (op != LOOP_SEND && p->io && (p->io->closing || (p->io->stopping & op)) && (p->flight & op)) {
			script_cancelled(p, op);
			turn(&rooms);
		}
	if (!p->closed && p->io && p->io->closing && p->msg) {
		script_sent(p, (int)p->msg->msg_iov[0].iov_len);
		turn(&rooms);
	}
}

static void run_one(int state, int first, int second)
{
	struct script_peer *p;

	set_up_watch();
	script_hold(rooms.loop, true, true);
	p = script_connect(rooms.loop);
	turn(&rooms);
	states[state](p);
	ends[first](p);
	turn(&rooms);
	ends[second](p);
	turn(&rooms);
	if (waiting && !p->closed)
		go_on();
	sem_post(&letting_go);
	end_flight(p);
	if (state == 7 || state == 8)           /* the large reply */
		ck_assert_uint_eq(releases, p->closed || p->msg == NULL);
	tear_down();
	ck_assert_uint_le(releases, 1);
	ck_assert_uint_eq(releases, state == 7 || state == 8);
}

START_TEST(it_ends_once_whatever_it_is_at_and_whatever_ends_it)
{
	for (int second = 0; second < NENDS; second++)
		for (int first = 0; first < NENDS; first++)
			run_one(_i, first, second);
}
END_TEST

/* ---- room and draining ------------------------------------------------------------------------------------------- */

START_TEST(a_connection_whose_reply_is_on_its_way_is_not_idle)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hello"));

	script_hold(rooms.loop, true, false);
	say(&rooms, p, GET("/big"));
	ck_assert(!conn_close_idle(&rooms.home));
	conn_home_drain(&rooms.home);
	pass_ms(&rooms, 5000);
	ck_assert(!p->closed);
	while (p->msg) {
		script_sent(p, (int)p->msg->msg_iov[0].iov_len);
		turn(&rooms);
	}
	ck_assert_uint_gt(p->out.n, BIG);
	pass_ms(&rooms, 1001);
	ck_assert(p->closed);
	ck_assert_uint_eq(releases, 1);
}
END_TEST

START_TEST(draining_finds_connections_that_are_closing_already)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hello"));

	script_hold(rooms.loop, true, true);
	ck_assert(conn_close_idle(&rooms.home));
	ck_assert(!conn_close_idle(&rooms.home));       /* it has been closed: no more room is made by that */
	conn_home_drain(&rooms.home);
	ck_assert_uint_eq(rooms.loop->wheel.armed, 0);
	script_cancelled(p, LOOP_RECV);
	turn(&rooms);
	ck_assert(p->closed);
	pass_ms(&rooms, 2000);
}
END_TEST

START_TEST(a_request_that_runs_when_draining_begins_is_answered_with_a_close)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait")), *q = say(&rooms, NULL, "GET /hel");

	conn_home_drain(&rooms.home);
	pass_ms(&rooms, 5000);
	go_on();
	ck_assert(heard_of(p, "Connection: close\r\n"));
	say(&rooms, q, "lo HTTP/1.1\r\nHost: a\r\n\r\n");
	ck_assert(heard_of(q, "hello\n"));
	pass_ms(&rooms, 5000);
	ck_assert(p->closed && q->closed);
}
END_TEST

START_TEST(a_request_on_its_way_behind_the_last_reply_resets_nothing)
{
	struct script_peer *p = watched = say(&rooms, NULL, GET("/wait")), *q;

	conn_home_drain(&rooms.home);
	go_on();
	ck_assert_uint_eq(shut_at, p->out.n);
	say(&rooms, p, GET("/hello"));
	ck_assert(!p->closed);
	ck_assert_uint_eq(runs, 1);
	script_end(p, 0);
	turn(&rooms);
	ck_assert(p->closed);
	q = say(&rooms, NULL, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	ck_assert(q->closed);           /* it said itself that nothing would follow */
}
END_TEST

START_TEST(the_longest_idle_connection_makes_room)
{
	struct script_peer *a = say(&rooms, NULL, GET("/hello")), *b = say(&rooms, NULL, GET("/hello"));

	say(&rooms, a, GET("/hello"));
	ck_assert(conn_close_idle(&rooms.home));
	turn(&rooms);
	ck_assert(b->closed);
	ck_assert(!a->closed);
}
END_TEST

/* ---- half-closes ------------------------------------------------------------------------------------------------- */

START_TEST(a_fin_right_behind_the_request_is_answered)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));

	pass_ms(&rooms, 50);
	script_end(p, 0);
	turn(&rooms);
	ck_assert_uint_eq(cancelled, 0);
	go_on();
	ck_assert(heard_of(p, "waited\n"));
	ck_assert(p->closed);
}
END_TEST

START_TEST(a_fin_that_may_have_come_while_the_loop_was_held_is_no_later_one)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));

	script_advance(rooms.loop, 150 * NS_PER_MS);    /* the loop looks at nothing meanwhile */
	script_end(p, 0);
	turn(&rooms);
	ck_assert_uint_eq(cancelled, 0);
	go_on();
	ck_assert(heard_of(p, "waited\n"));
	ck_assert(p->closed);
}
END_TEST

START_TEST(a_later_fin_cancels_and_the_reply_is_sent_all_the_same)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));

	pass_ms(&rooms, 150);
	script_end(p, 0);
	turn(&rooms);
	ck_assert_uint_eq(cancelled, 1);
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ck_assert(p->closed);
}
END_TEST

START_TEST(a_fin_behind_a_body_that_waits_to_be_read_is_no_departure)
{
	struct script_peer *p = post(NULL, "/up", 110000, 110000);

	script_end(p, 0);
	turn(&rooms);
	ck_assert(!p->closed);
	go_on();
	UNTIL(&rooms, p->closed);
	ck_assert_int_eq(body_rc, 110000);
	ck_assert(heard_of(p, "110000\n"));
}
END_TEST

START_TEST(a_fin_within_a_body_that_waits_ends_it_when_the_rest_has_been_read)
{
	struct script_peer *p = post(NULL, "/up", 110001, 110000);

	script_end(p, 0);
	turn(&rooms);
	go_on();
	UNTIL(&rooms, p->closed);
	ck_assert_int_eq(body_rc, -ECANCELED);
	ck_assert_uint_eq(p->out.n, 0);
}
END_TEST

START_TEST(a_fin_within_a_body_ends_it_at_once)
{
	struct script_peer *p = post(NULL, "/echo", 10, 9);

	script_end(p, 0);
	turn(&rooms);
	ck_assert(p->closed);
	ck_assert_uint_eq(runs, 0);
}
END_TEST

START_TEST(a_fin_within_a_body_is_told_to_a_handler_that_has_begun_its_reply)
{
	struct script_peer *p = post(NULL, "/up?now&reply", 10, 9);

	ck_assert(heard_of(p, "begun\n"));
	script_end(p, 0);
	turn(&rooms);
	ck_assert(p->closed);
	ck_assert_int_lt(body_rc, 0);
}
END_TEST

/* ---- errors in mid-body ------------------------------------------------------------------------------------------ */

START_TEST(a_fault_behind_an_early_reply_does_not_lose_it)
{
	struct script_peer *p = say(&rooms, NULL, CHUNKED("/nowhere") "5\r\nhello\r\nxyz\r\n");

	ck_assert(heard_of(p, "HTTP/1.1 404 "));
	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
	ck_assert(!p->closed);                  /* it lingers */
	script_end(p, 0);
	turn(&rooms);
	ck_assert(p->closed);
}
END_TEST

START_TEST(a_fault_in_what_was_not_read_does_not_lose_the_reply)
{
	struct script_peer *p = say(&rooms, NULL, CHUNKED("/late") "12000\r\n");

	watched = p;
	for (size_t n = 0; n < 0x12000; n += 4096)
		script_give(p, big, 4096);
	say(&rooms, p, "\r\nxyz\r\n");
	go_on();
	turn(&rooms);
	ck_assert(heard_of(p, "waited\n"));
	ck_assert_uint_eq(shut_at, p->out.n);
}
END_TEST

START_TEST(a_fault_while_an_early_reply_is_sent_does_not_cut_it)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, CHUNKED("/nowhere") "5\r\nhello\r\n");
	ck_assert_ptr_nonnull(p->msg);
	say(&rooms, p, "xyz\r\n");
	ck_assert(!p->io->closing);
	ck_assert_ptr_nonnull(p->msg);
	watched = p;
	ck_assert_uint_eq(shut_at, SIZE_MAX);
	script_sent(p, (int)p->msg->msg_iov[0].iov_len);
	turn(&rooms);
	ck_assert(heard_of(p, "Not Found"));
	ck_assert_uint_eq(shut_at, p->out.n);
	pass_ms(&rooms, 5001);                  /* not the ten seconds of a head */
	ck_assert(p->closed);
	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
}
END_TEST

START_TEST(a_fault_in_a_body_is_told_at_once_to_a_handler_that_has_begun_its_reply)
{
	struct script_peer *p = say(&rooms, NULL, CHUNKED("/up?now&reply") "5\r\nhello\r\n");

	ck_assert(heard_of(p, "begun\n"));
	say(&rooms, p, "xyz\r\n");
	ck_assert_int_eq(body_rc, -EBADMSG);
	ck_assert(p->closed);
}
END_TEST

START_TEST(a_fault_in_a_streamed_body_is_answered_by_what_the_handler_returns)
{
	struct script_peer *p = say(&rooms, NULL, CHUNKED("/up?now") "5\r\nhello\r\nxyz\r\n");

	ck_assert_int_eq(body_rc, -EBADMSG);
	ck_assert(heard_of(p, "HTTP/1.1 400 "));
	ck_assert(heard_of(p, "Connection: close"));
}
END_TEST

START_TEST(lingering_reads_on_although_input_had_been_stopped)
{
	struct script_peer *p = say(&rooms, NULL, "GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

	for (int i = 0; i < 40; i++)
		script_give(p, big, 4096);
	turn(&rooms);
	ck_assert(!(p->flight & LOOP_RECV));
	go_on();
	turn(&rooms);
	ck_assert(heard_of(p, "waited\n"));
	ck_assert(!p->closed);
	ck_assert(p->flight & LOOP_RECV);
	script_end(p, 0);
	turn(&rooms);
	ck_assert(p->closed);
}
END_TEST

START_TEST(one_that_lingers_is_broken_off_after_those_whose_head_has_not_come)
{
	struct script_peer *lingers = say(&rooms, NULL, "bad\r\n\r\n"), *starts;

	ck_assert(heard_of(lingers, "HTTP/1.1 400 "));
	starts = say(&rooms, NULL, "GET /he");
	ck_assert(conn_break_off(&rooms.home));
	turn(&rooms);
	ck_assert(starts->closed && !lingers->closed);
	ck_assert(conn_break_off(&rooms.home));
	turn(&rooms);
	ck_assert(lingers->closed);
	ck_assert(!conn_break_off(&rooms.home));
}
END_TEST

/* ---- operations that cannot be started --------------------------------------------------------------------------- */

START_TEST(the_nth_operation_may_fail_to_start)
{
	const char *text = GET("/hello") GET("/big") GET("/stream?n=200000&piece=30000");
	unsigned before, ops;
	struct script_peer *p;

	set_up();
	before = script_started(rooms.loop);
	say(&rooms, NULL, text);
	pass_ms(&rooms, 10);
	for (int i = 0; i < 10; i++)
		turn(&rooms);
	ops = script_started(rooms.loop) - before;
	ck_assert_uint_gt(ops, 5);
	tear_down();
	for (unsigned n = 1; n <= ops; n++) {
		app_reset();
		rooms_up(&rooms, &app, NULL);
		script_fail(rooms.loop, n, -ENOMEM);
		p = say(&rooms, NULL, text);
		UNTIL(&rooms, p->closed || rooms.home.nconns == 0);
		rooms_down(&rooms);
		ck_assert_uint_le(releases, 1);
		ck_assert_ptr_null(waiting);
	}
}
END_TEST

START_TEST(a_stream_that_breaks_off_is_reset_and_not_ended)
{
	struct script_peer *p = say(&rooms, NULL, GET("/stream?n=30&break=1"));

	ck_assert(p->closed);
	ck_assert(!heard_of(p, "\r\n0\r\n"));
}
END_TEST

int main(void)
{
	TCase *matrix = tcase_create("matrix"), *one = tcase_create("one"), *ops = tcase_create("ops");
	TCase *all[] = { matrix, one, ops };

	tcase_add_loop_test(matrix, it_ends_once_whatever_it_is_at_and_whatever_ends_it, 0, NSTATES);
	tcase_add_checked_fixture(one, set_up_watch, tear_down);
	tcase_add_test(one, a_connection_whose_reply_is_on_its_way_is_not_idle);
	tcase_add_test(one, draining_finds_connections_that_are_closing_already);
	tcase_add_test(one, a_request_that_runs_when_draining_begins_is_answered_with_a_close);
	tcase_add_test(one, a_request_on_its_way_behind_the_last_reply_resets_nothing);
	tcase_add_test(one, the_longest_idle_connection_makes_room);
	tcase_add_test(one, a_fin_right_behind_the_request_is_answered);
	tcase_add_test(one, a_fin_that_may_have_come_while_the_loop_was_held_is_no_later_one);
	tcase_add_test(one, a_later_fin_cancels_and_the_reply_is_sent_all_the_same);
	tcase_add_test(one, a_fin_behind_a_body_that_waits_to_be_read_is_no_departure);
	tcase_add_test(one, a_fin_within_a_body_that_waits_ends_it_when_the_rest_has_been_read);
	tcase_add_test(one, a_fin_within_a_body_ends_it_at_once);
	tcase_add_test(one, a_fin_within_a_body_is_told_to_a_handler_that_has_begun_its_reply);
	tcase_add_test(one, a_fault_behind_an_early_reply_does_not_lose_it);
	tcase_add_test(one, a_fault_in_what_was_not_read_does_not_lose_the_reply);
	tcase_add_test(one, a_fault_while_an_early_reply_is_sent_does_not_cut_it);
	tcase_add_test(one, a_fault_in_a_body_is_told_at_once_to_a_handler_that_has_begun_its_reply);
	tcase_add_test(one, a_fault_in_a_streamed_body_is_answered_by_what_the_handler_returns);
	tcase_add_test(one, lingering_reads_on_although_input_had_been_stopped);
	tcase_add_test(one, one_that_lingers_is_broken_off_after_those_whose_head_has_not_come);
	tcase_add_test(one, a_stream_that_breaks_off_is_reset_and_not_ended);
	tcase_add_test(ops, the_nth_operation_may_fail_to_start);
	return rooms_suite("conn_end", all, sizeof(all) / sizeof(all[0]));
}
