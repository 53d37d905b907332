/* test_dispatch.c: from a head to a handler and back: who is admitted, who answers, and what becomes of a request whose
 * client, connection, handler and messages end in any order.
 *
 * Handlers on workers stop where the test holds them; the loop's side of each race is a turn of the scripted loop.
 */
#include "rooms.h"

#include <semaphore.h>

static struct rooms rooms;
static sem_t begun, let_go;
static _Atomic unsigned runs, ended, released, last_rc;
static ol_req *waiting;

static void release(void *arg)
{
	(void)arg;
	released++;
}

static int end_with(int rc)
{
	last_rc = (unsigned)-rc;
	ended++;
	return rc;
}

static int hold(ol_req *r)
{
	runs++;
	sem_post(&begun);
	sem_wait(&let_go);
	return end_with(ol_bytes_new(r, 200, NULL, "held\n", 5, release, NULL));
}

/* Streams: one write before the test lets it go, one behind that, and then until the pipe is full. */
static int pour(ol_req *r)
{
	static char bytes[20000];
	int rc = ol_stream(r, 200, NULL);

	runs++;
	if (!ol_query(r, "late"))
		rc = rc < 0 ? rc : ol_write(r, "first\n", 6);
	sem_post(&begun);
	sem_wait(&let_go);
	rc = rc < 0 ? rc : ol_write(r, "second\n", 7);
	for (int i = 0; i < 50 && rc == 0 && ol_query(r, "much"); i++)
		rc = ol_write(r, bytes, sizeof(bytes));
	return end_with(rc);
}

static int sip(ol_req *r)
{
	char buf[100];
	ssize_t n;

	runs++;
	sem_post(&begun);
	while ((n = ol_body_read(r, buf, sizeof(buf))) > 0)
		;
	sem_wait(&let_go);
	return end_with(n < 0 ? (int)n : ol_text(r, 200, "read\n"));
}

static int wait_for_it(ol_req *r)
{
	int rc;

	runs++;
	waiting = r;
	rc = ol_wait(r, -1);
	waiting = NULL;
	return end_with(rc < 0 ? rc : ol_text(r, 200, "waited\n"));
}

static int quick(ol_req *r)
{
	runs++;
	return ol_text(r, 200, "quick\n");
}

/* The last write, and the end, while the message of the first one is still on its way. */
static int write_and_end(ol_req *r)
{
	int rc = ol_stream(r, 200, NULL);

	return rc < 0 ? rc : ol_write(r, "all\n", 4);
}

static const struct ol_route routes[] = {
	OL_GET("/quick", .async = quick),       OL_GET("/quick-sync", .sync = quick, .pool = "one"),
	OL_POST("/quick", .async = quick),      OL_PUT("/quick", .async = quick),
	OL_GET("/hold", .sync = hold, .pool = "one"),
	OL_GET("/pour", .sync = pour, .pool = "one"),
	OL_POST("/sip", .sync = sip, .pool = "two", .stream = 1),
	OL_GET("/wait", .async = wait_for_it),
	OL_GET("/end", .async = write_and_end),
	OL_GET("/folder/", .async = quick),
};
static const struct ol_pool pools[] = { { .name = "one", .threads = 1, .queue = 1 },
	{ .name = "two", .threads = 2, .queue = 2 } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };

static void set_up(void)
{
	runs = ended = released = last_rc = 0;
	waiting = NULL;
	sem_init(&begun, 0, 0);
	sem_init(&let_go, 0, 0);
	rooms_up(&rooms, &app, NULL);
}

static void tear_down(void)
{
	for (int i = 0; i < 8; i++)
		sem_post(&let_go);
	rooms_down(&rooms);
	ck_assert_ptr_null(waiting);
	sem_destroy(&begun);
	sem_destroy(&let_go);
}

static bool has_begun(void)
{
	return sem_trywait(&begun) == 0;
}

static void leave(struct script_peer *p)
{
	script_end(p, -ECONNRESET);
	turn(&rooms);
}

static bool all_gone(void)
{
	return rooms.dispatch.nlive == 0;
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

START_TEST(what_no_route_takes_is_answered_by_the_server)
{
	ck_assert(heard_of(say(&rooms, NULL, GET("/none")), "HTTP/1.1 404 "));
	ck_assert(heard_of(say(&rooms, NULL, "DELETE /quick HTTP/1.1\r\nHost: a\r\n\r\n"),
		"\r\nAllow: GET, HEAD, POST, PUT, OPTIONS\r\n"));
	ck_assert(heard_of(say(&rooms, NULL, "OPTIONS /quick HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 204 "));
	ck_assert(heard_of(say(&rooms, NULL, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 204 "));
	ck_assert(heard_of(say(&rooms, NULL, GET("/folder?a=b")), "\r\nLocation: /folder/?a=b\r\n"));
	ck_assert(heard_of(say(&rooms, NULL, GET("/quick/")), "\r\nLocation: /quick\r\n"));
	ck_assert(heard_of(say(&rooms, NULL, GET("//quick/")), "HTTP/1.1 404 "));
	ck_assert(heard_of(say(&rooms, NULL, GET("/../quick")), "HTTP/1.1 400 "));
	ck_assert_uint_eq(runs, 0);
}
END_TEST

START_TEST(each_request_is_counted_where_it_belongs)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));

	ck_assert_uint_eq(atomic_load(&rooms.metrics.in_flight[7]), 1);
	ol_wake(waiting);
	turn(&rooms);
	ck_assert_uint_eq(atomic_load(&rooms.metrics.in_flight[7]), 0);
	say(&rooms, p, GET("/none"));
	ck_assert_uint_eq(counted(&rooms, METRIC_REQUESTS), 2);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 0);
}
END_TEST

/* ---- admission --------------------------------------------------------------------------------------------------- */

START_TEST(a_pool_takes_its_threads_and_its_queue_and_no_more)
{
	struct script_peer *p[3];

	for (int i = 0; i < 3; i++)
		p[i] = say(&rooms, NULL, GET("/hold"));
	UNTIL(&rooms, has_begun());
	ck_assert(heard_of(p[2], "HTTP/1.1 503 "));
	ck_assert(heard_of(p[2], "\r\nRetry-After: 1\r\n"));
	ck_assert_uint_eq(counted(&rooms, METRIC_SHED), 1);
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(p[0], "held\n"));
	UNTIL(&rooms, has_begun());
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(p[1], "held\n"));
	ck_assert_uint_eq(runs, 2);
	ck_assert_uint_eq(released, 2);
}
END_TEST

START_TEST(fibers_have_a_bound_and_come_back)
{
	struct config c = rooms_config();
	struct script_peer *p;
	ol_req *first;

	tear_down();
	c.fibers_max = 1;
	set_up();
	rooms_down(&rooms);
	rooms_up(&rooms, &app, &c);
	say(&rooms, NULL, GET("/wait"));
	first = waiting;
	p = say(&rooms, NULL, GET("/wait"));
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ol_wake(first);
	turn(&rooms);
	ck_assert(heard_of(say(&rooms, NULL, GET("/quick")), "quick\n"));
}
END_TEST

START_TEST(requests_in_flight_have_a_bound)
{
	struct script_peer *p;

	rooms.shared.requests_max = 1;
	say(&rooms, NULL, GET("/wait"));
	p = say(&rooms, NULL, GET("/quick"));
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ol_wake(waiting);
	turn(&rooms);
	say(&rooms, p, GET("/quick"));
	ck_assert(heard_of(p, "quick\n"));
}
END_TEST

#define SIP "POST /sip HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"

START_TEST(streaming_requests_may_not_hold_all_threads)
{
	struct script_peer *a = say(&rooms, NULL, SIP), *b = say(&rooms, NULL, SIP);

	ck_assert(heard_of(b, "HTTP/1.1 503 "));        /* half of two */
	UNTIL(&rooms, has_begun());
	say(&rooms, a, "0123456789");
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(a, "read\n"));
	b = say(&rooms, NULL, SIP "0123456789");
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(b, "read\n"));
}
END_TEST

/* ---- departures -------------------------------------------------------------------------------------------------- */

START_TEST(a_queued_request_whose_client_left_never_runs)
{
	struct script_peer *first = say(&rooms, NULL, GET("/hold")), *second;

	UNTIL(&rooms, has_begun());
	second = say(&rooms, NULL, GET("/hold"));
	leave(second);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	say(&rooms, NULL, GET("/quick-sync"));          /* its place is free */
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(first, "held\n"));
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(runs, 2);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_SHED), 0);
}
END_TEST

START_TEST(a_queued_request_whose_client_closed_late_is_taken_back)
{
	struct script_peer *second;

	say(&rooms, NULL, GET("/hold"));
	UNTIL(&rooms, has_begun());
	second = say(&rooms, NULL, GET("/hold"));
	pass_ms(&rooms, 200);
	script_end(second, 0);
	turn(&rooms);
	ck_assert(heard_of(second, "HTTP/1.1 503 "));
	ck_assert(second->closed);
	ck_assert_uint_eq(runs, 1);
}
END_TEST

START_TEST(a_running_handler_whose_client_left_is_told_and_its_reply_discarded)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	leave(p);
	ck_assert(p->closed);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(released, 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 1);
}
END_TEST

START_TEST(a_departure_before_the_first_write_wins_the_claim)
{
	struct script_peer *p = say(&rooms, NULL, GET("/pour?late"));

	UNTIL(&rooms, has_begun());
	leave(p);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
}
END_TEST

START_TEST(a_departure_behind_the_first_write_breaks_the_stream)
{
	struct script_peer *p = say(&rooms, NULL, GET("/pour?much"));

	UNTIL(&rooms, has_begun());
	UNTIL(&rooms, heard_of(p, "first\n"));
	leave(p);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
}
END_TEST

START_TEST(a_departure_with_the_first_writes_message_under_way_waits_for_it)
{
	struct script_peer *p = say(&rooms, NULL, GET("/pour"));

	while (!has_begun())                            /* no turn: the message stays in the inbox */
		;
	script_end(p, -ECONNRESET);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert(last_rc == ECANCELED || last_rc == 0);
}
END_TEST

START_TEST(a_writer_that_waits_for_its_client_is_woken_by_the_departure)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, GET("/pour?much"));
	UNTIL(&rooms, has_begun());
	sem_post(&let_go);
	UNTIL(&rooms, p->msg);
	for (int i = 0; i < 50; i++)
		turn(&rooms);
	ck_assert_uint_eq(ended, 0);
	script_end(p, -ECONNRESET);
	turn(&rooms);
	script_sent(p, -EPIPE);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
}
END_TEST

START_TEST(a_reader_that_waits_for_its_client_is_woken_by_the_departure)
{
	struct script_peer *p = say(&rooms, NULL, SIP "01");

	UNTIL(&rooms, has_begun());
	leave(p);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(last_rc, ECANCELED);
}
END_TEST

START_TEST(an_exchange_stays_until_its_pipes_message_has_come)
{
	struct loop_msg *inbox;
	struct script_peer *p = say(&rooms, NULL, GET("/end"));

	ck_assert(heard_of(p, "all\n"));
	ck_assert(heard_of(p, "\r\n0\r\n\r\n"));
	turn(&rooms);
	inbox = atomic_load(&rooms.loop->inbox);
	ck_assert(inbox == NULL || (uintptr_t)inbox == 1);
	ck_assert(all_gone());
	say(&rooms, p, GET("/end") GET("/quick") GET("/end"));
	ck_assert_uint_eq(times(p, "all\n"), 3);
	ck_assert(all_gone());
}
END_TEST

START_TEST(a_later_fin_tells_a_running_handler_and_its_reply_is_sent)
{
	struct script_peer *p = say(&rooms, NULL, GET("/hold"));

	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, 200);
	script_end(p, 0);
	turn(&rooms);
	sem_post(&let_go);
	UNTIL(&rooms, p->closed);
	ck_assert(heard_of(p, "held\n"));
	ck_assert_uint_eq(released, 1);
}
END_TEST

START_TEST(exchanges_are_used_again_and_handles_are_not)
{
	struct script_peer *p = say(&rooms, NULL, GET("/wait"));
	ol_handle a, b;
	ol_req *r = waiting;

	a = (ol_handle){ &rooms.dispatch, r->slot, r->gen };
	ol_wake(r);
	turn(&rooms);
	ck_assert_ptr_null(dispatch_lookup(&rooms.dispatch, a.slot_, a.gen_));
	say(&rooms, p, GET("/wait"));
	ck_assert_ptr_eq(waiting, r);                   /* the same memory */
	b = (ol_handle){ &rooms.dispatch, r->slot, r->gen };
	ck_assert_ptr_null(dispatch_lookup(&rooms.dispatch, a.slot_, a.gen_));
	ck_assert_ptr_eq(dispatch_lookup(&rooms.dispatch, b.slot_, b.gen_), r);
	ck_assert_ptr_null(dispatch_lookup(&rooms.dispatch, 1 << 30, 1));
	ol_wake(r);
	turn(&rooms);
}
END_TEST

START_TEST(many_requests_at_once_have_slots_of_their_own)
{
	enum { MANY = 300 };
	static ol_req *all[MANY];
	struct config c = rooms_config();

	rooms_down(&rooms);
	c.requests_max = c.fibers_max = MANY;
	rooms_up(&rooms, &app, &c);
	for (int i = 0; i < MANY; i++) {
		say(&rooms, NULL, GET("/wait"));
		all[i] = waiting;
	}
	for (int i = 0; i < MANY; i++)
		ck_assert_ptr_eq(dispatch_lookup(&rooms.dispatch, all[i]->slot, all[i]->gen), all[i]);
	for (int i = 0; i < MANY; i++)
		ol_wake(all[i]);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(ended, MANY);
	ck_assert_uint_lt(rooms.dispatch.nspare, MANY);         /* not all of their memory is kept */
	ck_assert(heard_of(say(&rooms, NULL, GET("/quick")), "quick\n"));
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, what_no_route_takes_is_answered_by_the_server);
	tcase_add_test(one, each_request_is_counted_where_it_belongs);
	tcase_add_test(one, a_pool_takes_its_threads_and_its_queue_and_no_more);
	tcase_add_test(one, fibers_have_a_bound_and_come_back);
	tcase_add_test(one, requests_in_flight_have_a_bound);
	tcase_add_test(one, streaming_requests_may_not_hold_all_threads);
	tcase_add_test(one, a_queued_request_whose_client_left_never_runs);
	tcase_add_test(one, a_queued_request_whose_client_closed_late_is_taken_back);
	tcase_add_test(one, a_running_handler_whose_client_left_is_told_and_its_reply_discarded);
	tcase_add_test(one, a_departure_before_the_first_write_wins_the_claim);
	tcase_add_test(one, a_departure_behind_the_first_write_breaks_the_stream);
	tcase_add_test(one, a_departure_with_the_first_writes_message_under_way_waits_for_it);
	tcase_add_test(one, a_writer_that_waits_for_its_client_is_woken_by_the_departure);
	tcase_add_test(one, a_reader_that_waits_for_its_client_is_woken_by_the_departure);
	tcase_add_test(one, an_exchange_stays_until_its_pipes_message_has_come);
	tcase_add_test(one, a_later_fin_tells_a_running_handler_and_its_reply_is_sent);
	tcase_add_test(one, exchanges_are_used_again_and_handles_are_not);
	tcase_add_test(one, many_requests_at_once_have_slots_of_their_own);
	return rooms_suite("dispatch", all, 1);
}
