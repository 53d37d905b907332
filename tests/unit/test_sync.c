/* test_sync.c: what handlers wait for: locks, time, each other, and work on a pool; in both lanes, with cancellation
 * and time-out racing what they wait for.
 *
 * A fiber's races are in the order of its loop's messages and timers, and so the test's to choose.  For threads the
 * test holds the semaphore's own lock while both sides come up to it.
 */
#include "rooms.h"

#include <pthread.h>
#include <semaphore.h>

#define FILLERS 64              /* messages a turn runs */

static struct rooms rooms;
static ol_sem sem, gate;
static ol_mutex mutex;
static ol_req *last;            /* the handler that ran last */
static ol_handle handle;
static int results[8];
static _Atomic int nresults, inside, most, offloads, total;
static sem_t begun, let_go;
static pthread_t loop_thread;

static void note(int rc)
{
	results[nresults] = rc;
	nresults++;
}

static int64_t timeout_of(ol_req *r)
{
	int64_t ms = -1;

	return ol_query_int(r, "ms", -1, 1 << 30, &ms) < 0 ? -1 : ms;
}

static int take(ol_req *r)
{
	int rc;

	last = r;
	rc = ol_sem_wait(r, &sem, timeout_of(r));
	note(rc);
	return ol_textf(r, 200, "%d\n", rc);
}

static int nap(ol_req *r)
{
	int rc;

	last = r;
	rc = ol_sleep(r, timeout_of(r));
	note(rc);
	return ol_textf(r, 200, "%d\n", rc);
}

static int await_wake(ol_req *r)
{
	int rc;

	last = r;
	handle = ol_handle_of(r);
	sem_post(&begun);
	rc = ol_wait(r, timeout_of(r));
	note(rc);
	return ol_textf(r, 200, "%d\n", rc);
}

/* Adds one to a plain number under the mutex, suspending in the middle. */
static int add(ol_req *r)
{
	static int plain;
	int before;

	if (ol_mutex_lock(r, &mutex) < 0)
		return -1;
	if (++inside > most)
		most = inside;
	before = plain;
	if (ol_sleep(r, 0) < 0)
		return -1;
	plain = before + 1;
	total = plain;
	inside--;
	ol_mutex_unlock(&mutex);
	return ol_text(r, 200, "added\n");
}

static int hold_worker(void *arg)
{
	(void)arg;
	offloads++;
	ck_assert(!pthread_equal(pthread_self(), loop_thread));
	sem_post(&begun);
	sem_wait(&let_go);
	return 7;
}

static int quick_work(void *arg)
{
	offloads++;
	return *(int *)arg;
}

static int offload(ol_req *r)
{
	int rc;

	last = r;
	rc = ol_offload(r, ol_query(r, "pool"), hold_worker, NULL);
	note(rc);
	return ol_textf(r, 200, "%d\n", rc);
}

/* Works for the request on the worker: waits and writes as the handler would. */
static int work_with(void *arg)
{
	ol_req *r = arg;

	if (ol_stream(r, 200, NULL) < 0 || ol_write(r, "from a worker\n", 14) < 0)
		return -1;
	sem_post(&begun);
	return ol_sem_wait(r, &gate, -1) < 0 ? -2 : ol_write(r, "done\n", 5);
}

static int offload_request(ol_req *r)
{
	int rc = ol_offload(r, "b", work_with, r);

	note(rc);
	return rc;
}

static int nested(void *arg)
{
	ol_req *r = arg;
	int five = 5;

	note(ol_offload(r, "b", quick_work, &five));    /* its own pool: at once */
	note(ol_offload(r, "c", quick_work, &five));    /* a later one */
	note(ol_offload(r, NULL, quick_work, &five));   /* an earlier one */
	note(ol_offload(r, "none", quick_work, &five));
	return 0;
}

static int offload_nested(ol_req *r)
{
	note(ol_offload(r, "b", nested, r));
	return ol_text(r, 200, "nested\n");
}

static const struct ol_route routes[] = {
	OL_GET("/a/take", .async = take),               OL_GET("/s/take", .sync = take),
	OL_GET("/a/nap", .async = nap),                 OL_GET("/s/nap", .sync = nap),
	OL_GET("/a/wait", .async = await_wake),         OL_GET("/s/wait", .sync = await_wake),
	OL_GET("/a/add", .async = add),                 OL_GET("/s/add", .sync = add),
	OL_GET("/a/offload", .async = offload),         OL_GET("/s/offload", .sync = offload),
	OL_GET("/a/request", .async = offload_request), OL_GET("/s/request", .sync = offload_request),
	OL_GET("/a/nested", .async = offload_nested),   OL_GET("/s/nested", .sync = offload_nested),
};
static const struct ol_pool pools[] = { { .name = "b", .threads = 1, .queue = 1 }, { .name = "c", .threads = 1 } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };

static void set_up(void)
{
	sem = (ol_sem)OL_SEM_INIT(0);
	gate = (ol_sem)OL_SEM_INIT(0);
	mutex = (ol_mutex)OL_MUTEX_INIT;
	last = NULL;
	nresults = inside = most = offloads = total = 0;
	sem_init(&begun, 0, 0);
	sem_init(&let_go, 0, 0);
	loop_thread = pthread_self();
	rooms_up(&rooms, &app, NULL);
}

static void tear_down(void)
{
	rooms_down(&rooms);
	ck_assert_ptr_null(sem.head_);
	ck_assert_ptr_null(sem.tail_);
	sem_destroy(&begun);
	sem_destroy(&let_go);
}

static struct loop_msg fillers[FILLERS];

static void nothing(struct loop_msg *m)
{
	(void)m;
}

static void fill_turn(void)
{
	for (int i = 0; i < FILLERS; i++) {
		fillers[i].fn = nothing;
		loop_post(rooms.loop, &fillers[i]);
	}
}

static void leave(struct script_peer *p)
{
	script_end(p, -ECONNRESET);
	script_turns(rooms.loop, 1);
}

/* ---- semaphores on fibers ---------------------------------------------------------------------------------------- */

START_TEST(units_go_to_who_came_first)
{
	struct script_peer *p[3];

	for (int i = 0; i < 3; i++)
		p[i] = say(&rooms, NULL, GET("/a/take"));
	ck_assert_int_eq(nresults, 0);
	for (int i = 0; i < 3; i++) {
		ol_sem_post(&sem);
		turn(&rooms);
		ck_assert_int_eq(nresults, i + 1);
		ck_assert(heard_of(p[i], "\r\n\r\n0\n"));
	}
}
END_TEST

START_TEST(a_unit_that_is_there_is_taken_without_waiting)
{
	ol_sem_post(&sem);
	ol_sem_post(&sem);
	say(&rooms, NULL, GET("/a/take"));
	ck_assert_int_eq(nresults, 1);
	ck_assert_uint_eq(sem.count_, 1);
}
END_TEST

START_TEST(a_unit_that_was_handed_over_cannot_be_snatched)
{
	struct script_peer *q;

	say(&rooms, NULL, GET("/a/take"));
	fill_turn();
	ol_sem_post(&sem);                      /* granted; the fiber goes on only in the turn after the next */
	q = script_connect(rooms.loop);
	script_turns(rooms.loop, 1);
	script_give(q, GET("/a/take"), strlen(GET("/a/take")));
	turn(&rooms);
	ck_assert_int_eq(nresults, 1);
	ck_assert_uint_eq(q->out.n, 0);
	ol_sem_post(&sem);
	turn(&rooms);
	ck_assert_int_eq(nresults, 2);
}
END_TEST

START_TEST(time_runs_out_and_leaves_the_queue_in_order)
{
	say(&rooms, NULL, GET("/a/take?ms=1000"));
	say(&rooms, NULL, GET("/a/take?ms=10"));
	say(&rooms, NULL, GET("/a/take?ms=1000"));
	pass_ms(&rooms, 15);
	ck_assert_int_eq(nresults, 1);
	ck_assert_int_eq(results[0], -ETIMEDOUT);
	ol_sem_post(&sem);
	ol_sem_post(&sem);
	turn(&rooms);
	ck_assert_int_eq(nresults, 3);
	ck_assert_int_eq(results[2], 0);
	say(&rooms, NULL, GET("/a/take?ms=0"));
	pass_ms(&rooms, 1);
	ck_assert_int_eq(results[3], -ETIMEDOUT);
}
END_TEST

START_TEST(the_last_in_the_queue_may_leave_and_others_join)
{
	say(&rooms, NULL, GET("/a/take?ms=1000"));
	say(&rooms, NULL, GET("/a/take?ms=10"));
	pass_ms(&rooms, 15);
	say(&rooms, NULL, GET("/a/take?ms=1000"));
	ol_sem_post(&sem);
	ol_sem_post(&sem);
	turn(&rooms);
	ck_assert_int_eq(nresults, 3);
}
END_TEST

START_TEST(a_post_before_the_timer_counts_though_the_timer_runs_first)
{
	say(&rooms, NULL, GET("/a/take?ms=10"));
	fill_turn();
	ol_sem_post(&sem);
	pass_ms(&rooms, 20);
	ck_assert_int_eq(results[0], 0);
	ck_assert_uint_eq(sem.count_, 0);
}
END_TEST

START_TEST(a_post_behind_the_timer_is_kept_for_the_next)
{
	say(&rooms, NULL, GET("/a/take?ms=10"));
	pass_ms(&rooms, 20);
	ol_sem_post(&sem);
	turn(&rooms);
	ck_assert_int_eq(results[0], -ETIMEDOUT);
	ck_assert_uint_eq(sem.count_, 1);
}
END_TEST

START_TEST(who_leaves_holds_nothing)
{
	leave(say(&rooms, NULL, GET("/a/take")));
	turn(&rooms);
	ck_assert_int_eq(results[0], -ECANCELED);
	ol_sem_post(&sem);
	ck_assert_uint_eq(sem.count_, 1);
}
END_TEST

START_TEST(a_post_that_comes_with_the_departure_is_not_lost)
{
	struct script_peer *p = say(&rooms, NULL, GET("/a/take"));

	ol_sem_post(&sem);                      /* granted, not yet resumed: it holds the unit and says so */
	leave(p);
	turn(&rooms);
	ck_assert_int_eq(nresults, 1);
	ck_assert_int_eq(results[0], 0);
	ck_assert_uint_eq(sem.count_, 0);

	p = say(&rooms, NULL, GET("/a/take"));
	fill_turn();
	leave(p);                               /* cancelled, not yet resumed */
	ol_sem_post(&sem);
	turn(&rooms);
	ck_assert_int_eq(nresults, 2);
	ck_assert_uint_eq(sem.count_, results[1] == -ECANCELED);
}
END_TEST

/* ---- semaphores on threads, and both ----------------------------------------------------------------------------- */

static bool queued(void)
{
	bool yes;

	pthread_mutex_lock(&sem.lock_);
	yes = sem.head_ != NULL;
	pthread_mutex_unlock(&sem.lock_);
	return yes;
}

START_TEST(a_thread_waits_and_is_woken)
{
	struct script_peer *p = say(&rooms, NULL, GET("/s/take"));

	UNTIL(&rooms, queued());
	ol_sem_post(&sem);
	UNTIL(&rooms, heard_of(p, "\r\n\r\n0\n"));
}
END_TEST

START_TEST(a_thread_whose_client_leaves_goes_on)
{
	struct script_peer *p = say(&rooms, NULL, GET("/s/take"));

	UNTIL(&rooms, queued());
	leave(p);
	UNTIL(&rooms, nresults == 1);
	ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert(!queued());
}
END_TEST

START_TEST(a_post_and_a_departure_at_once_lose_no_unit_of_a_thread)
{
	for (int i = 0; i < 8; i++) {
		struct script_peer *p = say(&rooms, NULL, GET("/s/take"));

		UNTIL(&rooms, queued());
		pthread_mutex_lock(&sem.lock_); /* so that it wakes up to both */
		script_end(p, -ECONNRESET);
		script_turns(rooms.loop, 1);
		pthread_mutex_unlock(&sem.lock_);
		ol_sem_post(&sem);
		UNTIL(&rooms, nresults == 1);
		ck_assert(results[0] == 0 || results[0] == -ECANCELED);
		ck_assert_uint_eq(sem.count_, results[0] == -ECANCELED);
		sem.count_ = 0;
		nresults = 0;
		UNTIL(&rooms, rooms.dispatch.nlive == 0);
	}
}
END_TEST

START_TEST(a_threads_time_runs_out)
{
	struct script_peer *p = say(&rooms, NULL, GET("/s/take?ms=5"));

	UNTIL(&rooms, p->out.n > 0);
	ck_assert_int_eq(results[0], -ETIMEDOUT);
}
END_TEST

START_TEST(one_at_a_time_is_inside_whichever_lane_it_is_in)
{
	struct script_peer *p[12];
	bool all = false;

	for (int i = 0; i < 12; i++) {
		p[i] = say(&rooms, NULL, i % 3 == 0 ? GET("/s/add") : GET("/a/add"));
		script_advance(rooms.loop, 2 * NS_PER_MS);
	}
	for (int i = 0; i < 20000 && !all; i++) {
		script_advance(rooms.loop, 2 * NS_PER_MS);
		ck_assert_int_eq(loop_turn(rooms.loop, loop_clock(rooms.loop) + NS_PER_MS), 0); /* threads, too */
		all = true;
		for (int k = 0; k < 12; k++)
			all = all && heard_of(p[k], "added\n");
	}
	ck_assert(all);
	ck_assert_int_eq(most, 1);
	ck_assert_int_ge(total, 12);
	ck_assert_uint_eq(mutex.sem_.count_, 1);
}
END_TEST

/* ---- sleeping, waiting, posting ---------------------------------------------------------------------------------- */

START_TEST(a_sleep_ends_when_its_time_has_come)
{
	struct script_peer *p = say(&rooms, NULL, GET("/a/nap?ms=50"));

	pass_ms(&rooms, 40);
	ck_assert_uint_eq(p->out.n, 0);
	pass_ms(&rooms, 10);
	ck_assert(heard_of(p, "\r\n\r\n0\n"));
	say(&rooms, p, GET("/a/nap?ms=-1"));
	pass_ms(&rooms, 1);
	ck_assert_int_eq(nresults, 2);
}
END_TEST

START_TEST(a_sleep_ends_with_the_departure)
{
	leave(say(&rooms, NULL, GET("/a/nap?ms=1000000")));
	turn(&rooms);
	ck_assert_int_eq(results[0], -ECANCELED);
	leave(say(&rooms, NULL, GET("/s/nap?ms=1000000")));
	UNTIL(&rooms, nresults == 2 || rooms.dispatch.nlive == 0);
}
END_TEST

static unsigned posts, stale;

static void wake_up(ol_req *r, void *arg)
{
	ck_assert(pthread_equal(pthread_self(), loop_thread));
	ck_assert_ptr_eq(arg, &posts);
	posts++;
	stale += r == NULL;
	if (r)
		ol_wake(r);
}

static void *post_from_afar(void *arg)
{
	(void)arg;
	ck_assert_int_eq(ol_post(handle, wake_up, &posts), 0);
	return NULL;
}

static void check_post(const char *text)
{
	struct script_peer *p = say(&rooms, NULL, text);
	pthread_t thread;

	posts = stale = 0;
	UNTIL(&rooms, sem_trywait(&begun) == 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, post_from_afar, NULL), 0);
	UNTIL(&rooms, heard_of(p, "\r\n\r\n0\n"));
	pthread_join(thread, NULL);
	ck_assert_uint_eq(posts, 1);
	ck_assert_uint_eq(stale, 0);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	(void)post_from_afar(NULL);             /* it has gone: told so */
	turn(&rooms);
	ck_assert_uint_eq(stale, 1);
	say(&rooms, p, GET("/a/nap?ms=1000"));  /* the memory has been taken for another */
	(void)post_from_afar(NULL);
	turn(&rooms);
	ck_assert_uint_eq(stale, 2);
	ck_assert_uint_eq(posts, 3);
	leave(p);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
}

START_TEST(a_post_finds_its_request_until_that_has_ended)
{
	check_post(GET("/a/wait"));
	check_post(GET("/s/wait"));
}
END_TEST

START_TEST(a_handle_of_a_loop_that_never_had_so_many_is_stale)
{
	say(&rooms, NULL, GET("/a/wait"));
	posts = stale = 0;
	handle.slot_ = 1 << 20;
	(void)post_from_afar(NULL);
	turn(&rooms);
	ck_assert_uint_eq(stale, 1);
}
END_TEST

START_TEST(a_wake_is_not_taken_for_anything_else)
{
	struct script_peer *p = say(&rooms, NULL, GET("/a/nap?ms=100"));

	ol_wake(last);
	turn(&rooms);
	ck_assert_int_eq(nresults, 0);
	pass_ms(&rooms, 110);
	ck_assert_int_eq(results[0], 0);
	say(&rooms, p, GET("/a/take?ms=100"));
	ol_wake(last);
	turn(&rooms);
	ck_assert_int_eq(nresults, 1);
	pass_ms(&rooms, 110);
	ck_assert_int_eq(results[1], -ETIMEDOUT);
}
END_TEST

START_TEST(a_wait_ends_by_time_and_by_departure)
{
	say(&rooms, NULL, GET("/a/wait?ms=10"));
	pass_ms(&rooms, 15);
	ck_assert_int_eq(results[0], -ETIMEDOUT);
	leave(say(&rooms, NULL, GET("/a/wait")));
	turn(&rooms);
	ck_assert_int_eq(results[1], -ECANCELED);
}
END_TEST

/* ---- offloading -------------------------------------------------------------------------------------------------- */

static void check_offload(const char *text)
{
	struct script_peer *p = say(&rooms, NULL, text);

	UNTIL(&rooms, sem_trywait(&begun) == 0);
	sem_post(&let_go);
	UNTIL(&rooms, heard_of(p, "\r\n\r\n7\n"));
}

START_TEST(work_is_done_elsewhere_and_its_result_comes_back)
{
	check_offload(GET("/a/offload"));
	check_offload(GET("/a/offload?pool=b"));
	check_offload(GET("/s/offload?pool=b"));
	check_offload(GET("/s/offload"));
	ck_assert_int_eq(offloads, 4);
}
END_TEST

START_TEST(work_that_is_queued_is_taken_back_when_the_client_leaves)
{
	struct script_peer *first = say(&rooms, NULL, GET("/a/offload?pool=b")), *second;

	UNTIL(&rooms, sem_trywait(&begun) == 0);
	second = say(&rooms, NULL, GET("/a/offload?pool=b"));
	leave(second);
	turn(&rooms);
	ck_assert_int_eq(results[0], -ECANCELED);
	leave(first);                           /* that one runs, and is waited for */
	turn(&rooms);
	ck_assert_int_eq(nresults, 1);
	sem_post(&let_go);
	UNTIL(&rooms, nresults == 2);
	ck_assert_int_eq(results[1], 7);
	ck_assert_int_eq(offloads, 1);
}
END_TEST

START_TEST(work_is_refused_when_the_queue_is_full_and_places_come_back)
{
	struct script_peer *p;

	say(&rooms, NULL, GET("/a/offload?pool=b"));
	UNTIL(&rooms, sem_trywait(&begun) == 0);
	say(&rooms, NULL, GET("/a/offload?pool=b"));
	p = say(&rooms, NULL, GET("/a/offload?pool=b"));
	ck_assert_int_eq(results[0], -EAGAIN);
	sem_post(&let_go);
	sem_post(&let_go);
	UNTIL(&rooms, nresults == 3);
	sem_post(&let_go);
	say(&rooms, p, GET("/a/offload?pool=b"));
	UNTIL(&rooms, nresults == 4);
	ck_assert_int_eq(results[3], 7);
	ck_assert_int_eq(sem_trywait(&begun), 0);
	ck_assert_int_eq(sem_trywait(&begun), 0);
}
END_TEST

static void check_request(const char *text)
{
	struct script_peer *p;

	nresults = 0;
	p = say(&rooms, NULL, text);
	UNTIL(&rooms, sem_trywait(&begun) == 0);
	UNTIL(&rooms, heard_of(p, "from a worker\n"));
	ol_sem_post(&gate);
	UNTIL(&rooms, heard_of(p, "done\n"));
	UNTIL(&rooms, nresults == 1);
	ck_assert_int_eq(results[0], 0);
	forget_heard(p);
	nresults = 0;
	say(&rooms, p, text);
	UNTIL(&rooms, sem_trywait(&begun) == 0);
	leave(p);                               /* the worker waits for the request: it is woken */
	UNTIL(&rooms, nresults == 1);
	ck_assert_int_eq(results[0], -2);
}

START_TEST(the_work_may_use_the_request_as_its_handler_does)
{
	check_request(GET("/a/request"));
	check_request(GET("/s/request"));
}
END_TEST

static void check_nested(const char *text)
{
	struct script_peer *p;

	nresults = 0;
	p = say(&rooms, NULL, text);
	UNTIL(&rooms, heard_of(p, "nested\n"));
	ck_assert_int_eq(nresults, 5);
	ck_assert_int_eq(results[0], 5);
	ck_assert_int_eq(results[1], 5);
	ck_assert_int_eq(results[2], -EDEADLK);
	ck_assert_int_eq(results[3], -ENOENT);
	ck_assert_int_eq(results[4], 0);
}

START_TEST(pools_wait_for_later_pools_only)
{
	check_nested(GET("/a/nested"));
	check_nested(GET("/s/nested"));
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, units_go_to_who_came_first);
	tcase_add_test(one, a_unit_that_is_there_is_taken_without_waiting);
	tcase_add_test(one, a_unit_that_was_handed_over_cannot_be_snatched);
	tcase_add_test(one, time_runs_out_and_leaves_the_queue_in_order);
	tcase_add_test(one, the_last_in_the_queue_may_leave_and_others_join);
	tcase_add_test(one, a_post_before_the_timer_counts_though_the_timer_runs_first);
	tcase_add_test(one, a_post_behind_the_timer_is_kept_for_the_next);
	tcase_add_test(one, who_leaves_holds_nothing);
	tcase_add_test(one, a_post_that_comes_with_the_departure_is_not_lost);
	tcase_add_test(one, a_thread_waits_and_is_woken);
	tcase_add_test(one, a_thread_whose_client_leaves_goes_on);
	tcase_add_test(one, a_post_and_a_departure_at_once_lose_no_unit_of_a_thread);
	tcase_add_test(one, a_threads_time_runs_out);
	tcase_add_test(one, one_at_a_time_is_inside_whichever_lane_it_is_in);
	tcase_add_test(one, a_sleep_ends_when_its_time_has_come);
	tcase_add_test(one, a_sleep_ends_with_the_departure);
	tcase_add_test(one, a_post_finds_its_request_until_that_has_ended);
	tcase_add_test(one, a_handle_of_a_loop_that_never_had_so_many_is_stale);
	tcase_add_test(one, a_wake_is_not_taken_for_anything_else);
	tcase_add_test(one, a_wait_ends_by_time_and_by_departure);
	tcase_add_test(one, work_is_done_elsewhere_and_its_result_comes_back);
	tcase_add_test(one, work_that_is_queued_is_taken_back_when_the_client_leaves);
	tcase_add_test(one, work_is_refused_when_the_queue_is_full_and_places_come_back);
	tcase_add_test(one, the_work_may_use_the_request_as_its_handler_does);
	tcase_add_test(one, pools_wait_for_later_pools_only);
	return rooms_suite("sync", all, 1);
}
