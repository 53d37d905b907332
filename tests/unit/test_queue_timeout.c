/* test_queue_timeout.c: requests that wait for a thread for too long, or for a pool that is overloaded: who looks, who
 * answers, and what becomes of one whose client or deadline ends it while that is being said.
 *
 * The scripted loop's clock is set to that of the pools once, and then stands ahead of it by what the test lets go by:
 * queued jobs wait behind one that the test holds, so no worker looks at them.
 */
#include "rooms.h"

#include <semaphore.h>

#define QUEUE_MS 1000
#define LIMIT_MS 3000
#define MESSAGES_A_TURN 64

static struct rooms rooms;
static sem_t begun, let_go;
static _Atomic unsigned runs;
static char order[16];

static int hold(ol_req *r)
{
	sem_post(&begun);
	sem_wait(&let_go);
	return ol_text(r, 200, "held\n");
}

static int note(ol_req *r)
{
	order[runs] = *(const char *)ol_route_data(r);
	runs++; /* behind it: who sees the count sees the letter */
	return ol_text(r, 200, "ran\n");
}

static int work(void *arg)
{
	(void)arg;
	runs++;
	return 7;
}

static int elsewhere(ol_req *r)
{
	return ol_textf(r, 200, "%d\n", ol_offload(r, "one", work, NULL));
}

static const struct ol_route routes[] = {
	OL_GET("/hold", .sync = hold, .pool = "one"),
	OL_GET("/soon", .sync = note, .pool = "one", .queue_timeout = QUEUE_MS, .data = "s"),
	OL_GET("/both", .sync = note, .pool = "one", .queue_timeout = QUEUE_MS, .timeout = LIMIT_MS, .max_inflight = 1,
		.data = "b"),
	OL_GET("/late", .sync = note, .pool = "one", .data = "l"),
	OL_GET("/high", .sync = note, .pool = "one", .priority = OL_PRIORITY_HIGH, .data = "h"),
	OL_GET("/elsewhere", .async = elsewhere),
	OL_GET("/shed/hold", .sync = hold, .pool = "shed"),
	OL_GET("/shed", .sync = note, .pool = "shed", .data = "c"),
};
static const struct ol_pool pools[] = { { .name = "one", .threads = 1, .queue = 4, .queue_timeout = 10 * QUEUE_MS },
	{ .name = "shed", .threads = 1, .queue = 8, .queue_timeout = 100 * QUEUE_MS, .codel = 1 } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };

static bool has_begun(void)
{
	return sem_trywait(&begun) == 0;
}

static bool all_gone(void)
{
	return rooms.dispatch.nlive == 0;
}

/* The pools are up, and a worker of each is held. */
static void set_up(void)
{
	runs = 0;
	memset(order, 0, sizeof(order));
	sem_init(&begun, 0, 0);
	sem_init(&let_go, 0, 0);
	rooms_up(&rooms, &app, NULL);
	if (clock_now_ns() > rooms.loop->now_ns)
		script_advance(rooms.loop, clock_now_ns() - rooms.loop->now_ns);
	say(&rooms, NULL, GET("/hold"));
	UNTIL(&rooms, has_begun());
}

static void tear_down(void)
{
	sem_post(&let_go);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	pass_ms(&rooms, 300 * QUEUE_MS);
	ck_assert(!timer_armed(&rooms.dispatch.expire));
	rooms_down(&rooms);
	sem_destroy(&begun);
	sem_destroy(&let_go);
}

static struct pool_stats stats(unsigned pool)
{
	struct pool_stats s;

	pool_stats(rooms.shared.pools[pool].pool, &s);
	return s;
}

static void nothing(ol_req *r, void *arg)
{
	(void)r, (void)arg;
}

START_TEST(a_request_that_waits_too_long_is_answered_and_never_runs)
{
	struct script_peer *p = say(&rooms, NULL, GET("/soon"));

	pass_ms(&rooms, QUEUE_MS - 10);
	ck_assert_str_eq(heard(p), "");
	pass_ms(&rooms, 20);
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ck_assert(heard_of(p, "waited too long for a thread"));
	ck_assert(heard_of(p, "\r\nRetry-After: "));
	ck_assert_uint_eq(stats(1).expired[POOL_TIMED_OUT], 1);
	ck_assert_uint_eq(stats(1).dropped, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_SHED), 1);
	sem_post(&let_go);
	UNTIL(&rooms, all_gone());
	ck_assert_uint_eq(runs, 0);
	say(&rooms, p, GET("/soon"));
	UNTIL(&rooms, heard_of(p, "ran\n"));
}
END_TEST

START_TEST(each_waits_for_its_own_time)
{
	struct script_peer *late = say(&rooms, NULL, GET("/late")), *soon = say(&rooms, NULL, GET("/soon"));

	pass_ms(&rooms, QUEUE_MS + 10);
	ck_assert(heard_of(soon, "HTTP/1.1 503 "));
	ck_assert_str_eq(heard(late), "");
	pass_ms(&rooms, 8 * QUEUE_MS);
	ck_assert_str_eq(heard(late), "");
	pass_ms(&rooms, QUEUE_MS);
	ck_assert(heard_of(late, "HTTP/1.1 503 "));
}
END_TEST

START_TEST(many_requests_move_the_timer_once)
{
	uint64_t at;

	say(&rooms, NULL, GET("/late"));
	at = rooms.dispatch.expire.at_ns;
	ck_assert(at != NEVER);
	pass_ms(&rooms, 10);
	say(&rooms, NULL, GET("/late"));
	say(&rooms, NULL, GET("/late"));
	ck_assert_uint_eq(rooms.dispatch.expire.at_ns, at);
	say(&rooms, NULL, GET("/soon"));
	ck_assert_uint_lt(rooms.dispatch.expire.at_ns, at);
}
END_TEST

START_TEST(a_client_that_leaves_while_its_request_is_being_given_up)
{
	struct script_peer *p = say(&rooms, NULL, GET("/both"));

	(void)pool_expire(rooms.shared.pools[1].pool, rooms.loop->now_ns + 2 * QUEUE_MS * NS_PER_MS);
	script_end(p, -ECONNRESET);             /* before the message */
	turn(&rooms);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 1);
	ck_assert_uint_eq(stats(1).expired[POOL_TIMED_OUT], 1);
	ck_assert_uint_eq(stats(1).dropped, 0);
}
END_TEST

START_TEST(a_deadline_that_comes_before_the_news_of_the_time_out)
{
	struct script_peer *p = say(&rooms, NULL, GET("/both"));
	ol_handle stale = { &rooms.dispatch, 0, 0 };

	for (int i = 0; i < MESSAGES_A_TURN; i++)
		ck_assert_int_eq(ol_post(stale, nothing, NULL), 0);
	(void)pool_expire(rooms.shared.pools[1].pool, rooms.loop->now_ns + 2 * QUEUE_MS * NS_PER_MS);
	script_advance(rooms.loop, (LIMIT_MS + 10) * NS_PER_MS);
	turn(&rooms);
	ck_assert(heard_of(p, "HTTP/1.1 504 "));
	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
	UNTIL(&rooms, rooms.dispatch.nlive == 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_LATE), 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 0);
	say(&rooms, p, GET("/both"));           /* its place is free */
	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
}
END_TEST

START_TEST(a_time_out_before_the_deadline_disarms_it)
{
	struct script_peer *p = say(&rooms, NULL, GET("/both"));

	pass_ms(&rooms, QUEUE_MS + 10);
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	pass_ms(&rooms, LIMIT_MS);
	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEADLINE_QUEUED) + counted(&rooms, METRIC_DEADLINE_RUNNING), 0);
}
END_TEST

START_TEST(offloaded_work_waits_as_long_as_its_request)
{
	struct script_peer *p = say(&rooms, NULL, GET("/elsewhere"));

	pass_ms(&rooms, 50 * QUEUE_MS);
	ck_assert_uint_eq(stats(1).queued, 1);
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(p, "7\n"));
}
END_TEST

START_TEST(those_of_high_priority_go_first)
{
	say(&rooms, NULL, GET("/late"));
	say(&rooms, NULL, GET("/late"));
	say(&rooms, NULL, GET("/high"));
	sem_post(&let_go);
	UNTIL(&rooms, runs == 3);
	ck_assert_str_eq(order, "hll");
}
END_TEST

START_TEST(an_overloaded_pool_gives_up_who_waited_long)
{
	struct script_peer *p;

	say(&rooms, NULL, GET("/shed/hold"));
	UNTIL(&rooms, has_begun());
	p = say(&rooms, NULL, GET("/shed"));
	for (int i = 0; i < 10; i++)
		pass_ms(&rooms, 50);
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ck_assert(heard_of(p, "The pool is overloaded"));
	ck_assert(heard_of(p, "\r\nRetry-After: "));
	ck_assert_uint_eq(stats(2).expired[POOL_SHED], 1);
	sem_post(&let_go);
}
END_TEST

START_TEST(a_full_queue_says_when_to_come_again)
{
	struct script_peer *p = NULL;

	for (int i = 0; i < 5; i++)
		p = say(&rooms, NULL, GET("/late"));
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ck_assert(heard_of(p, "\r\nRetry-After: "));
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, a_request_that_waits_too_long_is_answered_and_never_runs);
	tcase_add_test(one, each_waits_for_its_own_time);
	tcase_add_test(one, many_requests_move_the_timer_once);
	tcase_add_test(one, a_client_that_leaves_while_its_request_is_being_given_up);
	tcase_add_test(one, a_deadline_that_comes_before_the_news_of_the_time_out);
	tcase_add_test(one, a_time_out_before_the_deadline_disarms_it);
	tcase_add_test(one, offloaded_work_waits_as_long_as_its_request);
	tcase_add_test(one, those_of_high_priority_go_first);
	tcase_add_test(one, an_overloaded_pool_gives_up_who_waited_long);
	tcase_add_test(one, a_full_queue_says_when_to_come_again);
	return rooms_suite("queue_timeout", all, 1);
}
