/* test_hold.c: threads that slow clients have in a model of a thread a request: when they have one, whatever becomes of
 * the client, and that all are given back.
 *
 * The default pool has two threads and a queue of four; its workers are real, the rest is scripted.
 */
#include "rooms.h"

#define HALF "POST /whole HTTP/1.1\r\nHost: a\r\nConte"
#define REST "nt-Length: 2\r\n\r\nhi"

static struct rooms rooms;
static _Atomic unsigned reading;

static char order[8];          /* the bodies' first letters, as their handlers came */
static _Atomic unsigned came;

static int whole(ol_req *r)
{
	order[came++ % sizeof(order)] = ol_body(r, NULL)[0];
	return ol_text(r, 200, ol_body(r, NULL));
}

static int piecemeal(ol_req *r)
{
	char c;

	reading++;
	return ol_body_read(r, &c, 1) == 1 ? ol_text(r, 200, "read") : -1;
}

static const struct ol_route routes[] = { OL_POST("/whole", .async = whole),
	OL_POST("/pieces", .async = piecemeal, .stream = 1) };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

static void up(void)
{
	struct config c = rooms_config();

	c.model = MODEL_WSGI;
	reading = came = 0;
	rooms_up(&rooms, &app, &c);
}

static void down(void)
{
	rooms_down(&rooms);
}

static struct pool_stats stats(void)
{
	struct pool_stats s;

	pool_stats(rooms.shared.pools[0].pool, &s);
	return s;
}

/* Holds, and those of them that have a thread. */
static void check_holds(unsigned all, unsigned threads)
{
	UNTIL(&rooms, rooms.dispatch.nholds == all && stats().running == threads && stats().queued == all - threads);
}

START_TEST(a_request_in_pieces_has_a_thread_until_it_is_whole)
{
	struct script_peer *p = say(&rooms, NULL, HALF);

	check_holds(1, 1);
	say(&rooms, p, "nt-Length: 2\r\n\r\n");
	check_holds(1, 1);
	say(&rooms, p, "hi");
	UNTIL(&rooms, heard_of(p, "\r\n\r\nhi"));
	check_holds(0, 0);
	ck_assert_uint_eq(atomic_load(&rooms.shared.pools[0].dropped[DROP_CLIENT_LEFT]), 0);
}
END_TEST

START_TEST(one_that_is_whole_within_a_turn_needs_none)
{
	struct script_peer *p = script_connect(rooms.loop);

	script_give(p, "GET /nonesuch HTT", 17);
	script_give(p, "P/1.1\r\nHost: a\r\n\r\n", 18);
	UNTIL(&rooms, heard_of(p, " 404 "));
	check_holds(0, 0);
	ck_assert_uint_eq(stats().threads, 0);
}
END_TEST

START_TEST(an_idle_connection_and_a_handler_that_reads_have_none)
{
	struct script_peer *p = say(&rooms, NULL, "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");

	UNTIL(&rooms, reading == 1);
	ck_assert_uint_eq(rooms.dispatch.nholds, 0);
	say(&rooms, p, "hi");
	UNTIL(&rooms, heard_of(p, "read"));
	check_holds(0, 0);
}
END_TEST

START_TEST(holds_wait_and_are_bounded_as_requests_are)
{
	struct script_peer *p[8];

	for (int i = 0; i < 8; i++)
		p[i] = say(&rooms, NULL, HALF);
	check_holds(6, 2);
	say(&rooms, p[0], REST);
	UNTIL(&rooms, heard_of(p[0], "\r\n\r\nhi")); /* its own thread was free for it, and went to the next hold */
	check_holds(5, 2);
	say(&rooms, p[5], REST); /* it has waited, and still does, but it is in */
	ck_assert(!heard_of(p[5], " 503 "));
	for (int i = 1; i < 5; i++)
		say(&rooms, p[i], REST);
	for (int i = 1; i < 6; i++)
		UNTIL(&rooms, heard_of(p[i], "\r\n\r\nhi"));
	say(&rooms, p[6], REST); /* these had none */
	say(&rooms, p[7], REST);
	UNTIL(&rooms, heard_of(p[6], "\r\n\r\nhi") && heard_of(p[7], "\r\n\r\nhi"));
	check_holds(0, 0);
}
END_TEST

START_TEST(one_that_becomes_whole_while_it_waits_keeps_its_place)
{
	struct script_peer *p[5];

	for (int i = 0; i < 4; i++)
		p[i] = say(&rooms, NULL, HALF);
	check_holds(4, 2);
	p[4] = say(&rooms, NULL, HALF "nt-Length: 2\r\n\r\nE.");
	say(&rooms, p[3], "nt-Length: 2\r\n\r\nD.");
	UNTIL(&rooms, rooms.dispatch.nholds == 3 && stats().queued == 3);
	say(&rooms, p[2], "nt-Length: 2\r\n\r\nC.");
	UNTIL(&rooms, rooms.dispatch.nholds == 2 && stats().queued == 3);
	say(&rooms, p[1], "nt-Length: 2\r\n\r\nB.");
	UNTIL(&rooms, heard_of(p[4], "\r\n\r\nE."));
	ck_assert_int_eq(memcmp(order, "BCDE", 4), 0);
	say(&rooms, p[0], REST);
	UNTIL(&rooms, heard_of(p[0], "\r\n\r\nhi"));
	check_holds(0, 0);
	ck_assert_uint_eq(stats().dropped, 0);
}
END_TEST

START_TEST(a_client_that_leaves_gives_its_own_back)
{
	struct script_peer *p[4];

	for (int i = 0; i < 4; i++)
		p[i] = say(&rooms, NULL, HALF);
	check_holds(4, 2);
	script_end(p[3], -ECONNRESET); /* while it waits */
	check_holds(3, 2);
	script_end(p[0], -ECONNRESET); /* while it has a thread */
	check_holds(2, 2);
	pass_ms(&rooms, 10000); /* 408 */
	ck_assert(heard_of(p[1], " 408 ") && heard_of(p[2], " 408 "));
	check_holds(0, 0);
}
END_TEST

START_TEST(all_are_given_back_when_everything_is_broken_off)
{
	for (int i = 0; i < 4; i++)
		say(&rooms, NULL, HALF);
	check_holds(4, 2);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("wsgi");

	tcase_add_checked_fixture(t, up, down);
	tcase_add_test(t, a_request_in_pieces_has_a_thread_until_it_is_whole);
	tcase_add_test(t, one_that_is_whole_within_a_turn_needs_none);
	tcase_add_test(t, an_idle_connection_and_a_handler_that_reads_have_none);
	tcase_add_test(t, holds_wait_and_are_bounded_as_requests_are);
	tcase_add_test(t, one_that_becomes_whole_while_it_waits_keeps_its_place);
	tcase_add_test(t, a_client_that_leaves_gives_its_own_back);
	tcase_add_test(t, all_are_given_back_when_everything_is_broken_off);
	return rooms_suite("hold", &t, 1);
}
