/* test_after_loop.c: what ol_after leaves where the model has no pool for it, and it runs on the loop: when it begins,
 * in which order, and what becomes of it without a fiber, without its client, and at the end of the grace.
 *
 * Everything runs on the test's own thread, so a piece of work can look at what its client has heard by then.  The pool
 * "background" has three places.
 */
#include "rooms.h"

static struct rooms rooms;
static struct script_peer *client;      /* whose reply must have been sent before work begins */
static char ran[64];                    /* a letter for each piece of work that has begun, in order */
static unsigned too_soon;
static int last_rc;

static int note(ol_req *r, void *arg)
{
	ck_assert_ptr_eq(ol_current(), r);
	ck_assert_str_eq(ol_query(r, "q"), "1");
	too_soon += client && !client->closed && !heard_of(client, "\r\n\r\n0\n");
	ran[strlen(ran)] = *(const char *)arg;
	return 0;
}

static int wait_for_wake(ol_req *r, void *arg)
{
	(void)note(r, arg);
	last_rc = ol_wait(r, -1);
	return last_rc;
}

static int count_up(void *arg)
{
	return ++*(int *)arg;
}

static int offload(ol_req *r, void *arg)
{
	int n = 41;

	(void)note(r, arg);
	last_rc = ol_offload(r, NULL, count_up, &n) == n ? n : -1;
	return 0;
}

/* Leaves what ?work says, a letter each: w waits, o offloads, the others note themselves. */
static int leave(ol_req *r)
{
	static char letters[256];
	const char *work = ol_query(r, "work");
	int rc = 0;

	for (; work && *work && rc == 0; work++) {
		char *letter = &letters[(unsigned char)*work];

		*letter = *work;
		rc = ol_after(r, NULL, *work == 'w' ? wait_for_wake : *work == 'o' ? offload : note, letter);
	}
	return ol_textf(r, 200, "%d\n", rc);
}

static int leave_and_fail(ol_req *r)
{
	(void)leave(r);
	return -EIO;
}

static int stay(ol_req *r)
{
	return ol_wait(r, -1);
}

static const struct ol_route routes[] = { OL_GET("/a", .async = leave), OL_GET("/s", .sync = leave),
	OL_GET("/fail", .sync = leave_and_fail), OL_GET("/stay", .async = stay) };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

static void up_with(enum config_model model, unsigned fibers)
{
	struct config c = rooms_config();

	c.model = model;
	c.fibers_max = fibers;
	client = NULL;
	memset(ran, 0, sizeof(ran));
	too_soon = 0;
	last_rc = 1;
	rooms_up(&rooms, &app, &c);
}

static void up(void)
{
	up_with(MODEL_ASGI, 100);
}

static void down(void)
{
	rooms_down(&rooms);
	ck_assert_uint_eq(too_soon, 0);
}

/* No work is left, and all its places have been given back. */
static void check_done(unsigned run, unsigned failed, unsigned dropped)
{
	struct pool *background = rooms.shared.pools[rooms.shared.npools - 1].pool;

	UNTIL(&rooms, rooms.dispatch.nafter == 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_RUN), run);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_FAILED), failed);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), dropped);
	for (int i = 0; i < 3; i++)
		ck_assert(pool_admit(background));
	ck_assert(!pool_admit(background));
	for (int i = 0; i < 3; i++)
		pool_unadmit(background);
}

START_TEST(it_begins_when_the_reply_has_been_sent)
{
	client = script_connect(rooms.loop);
	script_give(client, GET("/a?q=1&work=abc"), strlen(GET("/a?q=1&work=abc")));
	UNTIL(&rooms, strlen(ran) == 3);
	ck_assert_str_eq(ran, "abc");
	check_done(3, 0, 0);
	forget_heard(client);
	say(&rooms, client, GET("/s?q=1&work=de"));
	ck_assert_str_eq(ran, "abcde");
	check_done(5, 0, 0);
}
END_TEST

START_TEST(it_may_wait_and_its_connection_goes_on_meanwhile)
{
	client = say(&rooms, NULL, GET("/a?q=1&work=wx"));
	ck_assert_str_eq(ran, "w");
	ck_assert_uint_eq(rooms.dispatch.nafter, 1);
	forget_heard(client);
	say(&rooms, client, GET("/a?q=1&work=y"));
	ck_assert_str_eq(ran, "wy");
	script_end(client, 0); /* of its client it need not know */
	turn(&rooms);
	ck_assert_str_eq(ran, "wy");
	dispatch_abandon(&rooms.dispatch);
	turn(&rooms);
	ck_assert_int_eq(last_rc, -ECANCELED);
	ck_assert_str_eq(ran, "wy");
	check_done(2, 1, 1);
}
END_TEST

START_TEST(what_has_not_begun_is_dropped_when_the_grace_is_over)
{
	say(&rooms, NULL, GET("/stay"));
	client = script_connect(rooms.loop);
	script_give(client, GET("/a?q=1&work=ab"), strlen(GET("/a?q=1&work=ab")));
	UNTIL(&rooms, rooms.dispatch.nafter == 1);
	ck_assert_str_eq(ran, "");
	dispatch_abandon(&rooms.dispatch);
	check_done(0, 0, 2);
	ck_assert_str_eq(ran, "");
}
END_TEST

START_TEST(a_handler_that_fails_leaves_nothing)
{
	ck_assert(heard_of(say(&rooms, NULL, GET("/fail?q=1&work=abc")), " 500 "));
	check_done(0, 0, 3);
	ck_assert_str_eq(ran, "");
}
END_TEST

START_TEST(there_is_no_more_of_it_than_there_are_places)
{
	struct script_peer *p = say(&rooms, NULL, GET("/a?q=1&work=wab"));

	ck_assert(heard_of(p, "\r\n\r\n0\n"));
	forget_heard(p);
	ck_assert(heard_of(say(&rooms, p, GET("/a?q=1&work=c")), "\r\n\r\n-11\n")); /* EAGAIN */
	dispatch_abandon(&rooms.dispatch);
	check_done(1, 1, 2);
}
END_TEST

START_TEST(without_a_fiber_it_is_tried_again)
{
	struct script_peer *other;

	up_with(MODEL_ASGI, 1);
	client = script_connect(rooms.loop);
	other = script_connect(rooms.loop);
	turn(&rooms);
	script_give(client, GET("/a?q=1&work=ab"), strlen(GET("/a?q=1&work=ab")));
	script_give(other, GET("/stay"), strlen(GET("/stay")));
	turn(&rooms);
	pass_ms(&rooms, 50);
	ck_assert_uint_eq(rooms.dispatch.nafter, 1);
	ck_assert_str_eq(ran, "");
	script_end(other, -ECONNRESET);
	turn(&rooms);
	pass_ms(&rooms, 20);
	ck_assert_str_eq(ran, "ab");
	check_done(2, 0, 0);
	down();
}
END_TEST

START_TEST(it_may_offload_where_there_is_a_pool_for_that)
{
	up_with(MODEL_TORNADO, 100);
	client = say(&rooms, NULL, GET("/s?q=1&work=oa"));
	check_done(2, 0, 0);
	ck_assert_int_eq(last_rc, 42);
	ck_assert_str_eq(ran, "oa");
	down();
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("asgi"), tcase_create("others") };

	tcase_add_checked_fixture(cases[0], up, down);
	tcase_add_test(cases[0], it_begins_when_the_reply_has_been_sent);
	tcase_add_test(cases[0], it_may_wait_and_its_connection_goes_on_meanwhile);
	tcase_add_test(cases[0], what_has_not_begun_is_dropped_when_the_grace_is_over);
	tcase_add_test(cases[0], a_handler_that_fails_leaves_nothing);
	tcase_add_test(cases[0], there_is_no_more_of_it_than_there_are_places);
	tcase_add_test(cases[1], without_a_fiber_it_is_tried_again);
	tcase_add_test(cases[1], it_may_offload_where_there_is_a_pool_for_that);
	return rooms_suite("after, on the loop", cases, 2);
}
