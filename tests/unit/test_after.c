/* test_after.c: what ol_after leaves, in every order in which the reply is sent, the client leaves, the handler fails,
 * the pool is full, the loop drains and its grace ends.
 *
 * A piece of work notes that it ran, and stops where the test holds it; the loop's side of each race is a turn of the
 * scripted loop.  The pool "background" has one thread and a queue of two, "one" one thread and a queue of one.
 */
#include "rooms.h"

#include <semaphore.h>

enum { BACKGROUND_PLACES = 3, ONE_PLACES = 2 };

static struct rooms rooms;
static sem_t begun, let_go, handler_let_go;
static char ran[64];                    /* a letter for each piece of work that has begun, in order */
static _Atomic unsigned nran, inside, wrong, released;
static _Atomic int last_rc[8];
static ol_req *seen;

/* ---- what is left ------------------------------------------------------------------------------------------------ */

static int note(ol_req *r, void *arg)
{
	const char *letter = arg;

	wrong += inside++ != 0;         /* one at a time, though pools change */
	wrong += ol_cancelled(r) != 0;
	wrong += strcmp(ol_param(r, "name"), "x y") != 0;
	ran[nran] = *letter;
	nran++;
	inside--;
	return 0;
}

static int hold(ol_req *r, void *arg)
{
	int rc = note(r, arg);

	sem_post(&begun);
	sem_wait(&let_go);
	return rc;
}

static int fail_after(ol_req *r, void *arg)
{
	(void)note(r, arg);
	return -EIO;
}

static int insist(ol_req *r, void *arg)
{
	(void)note(r, arg);
	last_rc[0] = ol_text(r, 200, "no");
	last_rc[1] = ol_header_set(r, "X-Late", "1");
	last_rc[2] = ol_stream(r, 200, NULL);
	last_rc[3] = ol_write(r, "no", 2);
	last_rc[4] = ol_trailer_set(r, "X-Late", "1");
	last_rc[5] = ol_after(r, NULL, note, arg);
	last_rc[6] = ol_error(r, 500, "no");
	last_rc[7] = r->reply.status;
	return 0;
}

static int same_pool(void *arg)
{
	return *(int *)arg + 1;
}

/* The request is all there, and what suspends blocks the thread. */
static int use_it(ol_req *r, void *arg)
{
	int n = 41;
	char *more = ol_alloc(r, 10000);

	(void)note(r, arg);
	if (more)
		memset(more, 1, 10000);
	last_rc[0] = strcmp(ol_header(r, "Host"), "a");
	last_rc[1] = strcmp(ol_query(r, "q"), "1");
	last_rc[2] = ol_sleep(r, 1);
	last_rc[3] = ol_offload(r, "background", same_pool, &n);
	last_rc[4] = ol_offload(r, NULL, same_pool, &n);
	last_rc[5] = (int)ol_body_read(r, &n, sizeof(n));
	last_rc[6] = strncmp(ol_route_path(r), "/", 1);
	return 0;
}

static int wait_for_wake(ol_req *r, void *arg)
{
	sem_post(&begun);
	last_rc[0] = ol_wait(r, -1);
	(void)arg;
	return last_rc[0];
}

static int see_borrowed(ol_req *r, void *arg)
{
	last_rc[0] = (int)released;
	return note(r, arg);
}

/* ---- handlers ---------------------------------------------------------------------------------------------------- */

/* Leaves what ?work says, a letter each: b and B for the background (B holds), o for the pool "one", f fails. */
static int leave(ol_req *r)
{
	static char letters[256];
	const char *work = ol_query(r, "work");

	seen = r;
	for (; work && *work; work++) {
		char *letter = &letters[(unsigned char)*work];
		int rc;

		*letter = *work;
		switch (*work) {
		case 'B':
			rc = ol_after(r, NULL, hold, letter);
			break;
		case 'o':
			rc = ol_after(r, "one", note, letter);
			break;
		case 'f':
			rc = ol_after(r, "background", fail_after, letter);
			break;
		case 'i':
			rc = ol_after(r, NULL, insist, letter);
			break;
		case 'u':
			rc = ol_after(r, NULL, use_it, letter);
			break;
		case 'w':
			rc = ol_after(r, NULL, wait_for_wake, letter);
			break;
		case 'r':
			rc = ol_after(r, NULL, see_borrowed, letter);
			break;
		default:
			rc = ol_after(r, NULL, note, letter);
		}
		if (rc < 0)
			return ol_textf(r, 200, "%d\n", rc);
	}
	return ol_text(r, 200, "left\n");
}

static int leave_held(ol_req *r)
{
	int rc = leave(r);

	sem_post(&begun);
	sem_wait(&handler_let_go);
	return ol_query(r, "fails") ? -EIO : rc;
}

static int leave_and_fail(ol_req *r)
{
	(void)leave(r);
	return -EIO;
}

static int leave_and_forget(ol_req *r)
{
	static char letter = 'b';

	return ol_after(r, NULL, note, &letter);
}

static int leave_and_500(ol_req *r)
{
	(void)leave(r);
	return ol_error(r, 500, "as it must be");
}

static int leave_and_latch(ol_req *r)
{
	(void)leave(r);
	return ol_invalid(r, "body", NULL, "no", "value_error");
}

static int leave_404(ol_req *r)
{
	(void)leave(r);
	return ol_error(r, 404, "no such thing");
}

static int leave_stream(ol_req *r)
{
	int rc = leave(r);

	if (rc == 0)
		rc = ol_stream(r, 200, NULL);
	if (rc == 0)
		rc = ol_write(r, "streamed\n", 9);
	return ol_query(r, "broken") ? -EIO : rc;
}

static void release(void *arg)
{
	(void)arg;
	released++;
}

static int leave_borrowed(ol_req *r)
{
	static const char lent[100000] = "lent\n"; /* too long to be copied: it is sent from where it lies */

	(void)leave(r);
	return ol_bytes_new(r, 200, NULL, lent, sizeof(lent), release, NULL);
}

static int nowhere(ol_req *r)
{
	return ol_textf(r, 200, "%d\n", ol_after(r, "nowhere", note, NULL));
}

#define BOTH(path, handler) \
	OL_GET("/a" path "/{name}", .async = handler), OL_GET("/s" path "/{name}", .sync = handler, .pool = "one")

static const struct ol_route routes[] = {
	BOTH("/leave", leave), BOTH("/fail", leave_and_fail), BOTH("/forget", leave_and_forget),
	BOTH("/500", leave_and_500), BOTH("/latch", leave_and_latch), BOTH("/404", leave_404),
	BOTH("/stream", leave_stream), BOTH("/borrowed", leave_borrowed), BOTH("/nowhere", nowhere),
	OL_GET("/held/{name}", .sync = leave_held),
	OL_GET("/late/{name}", .sync = leave_held, .timeout = 50),
	OL_GET("/turned-away/{name}", .sync = leave),
	OL_POST("/unread/{name}", .async = leave, .stream = 1),
	OL_POST("/body/{name}", .sync = leave),
};
static const struct ol_pool pools[] = { { .name = "one", .threads = 1, .queue = 1 } };

/* Turns some requests away, having left work of its own. */
static int turn_away(ol_req *r)
{
	static char letter = 'h';

	if (strncmp(ol_path(r), "/turned-away/", 13) != 0)
		return 0;
	return ol_after(r, NULL, note, &letter) < 0 ? -1 : ol_error(r, 429, "not now");
}

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), .admit = { turn_away } };

/* ---- fixture ----------------------------------------------------------------------------------------------------- */

static const char *const lanes[] = { "/a", "/s" };

static void set_up(void)
{
	memset(ran, 0, sizeof(ran));
	nran = inside = wrong = released = 0;
	for (int i = 0; i < 8; i++)
		last_rc[i] = 12345;
	sem_init(&begun, 0, 0);
	sem_init(&let_go, 0, 0);
	sem_init(&handler_let_go, 0, 0);
	rooms_up(&rooms, &app, NULL);
}

static unsigned places_free(unsigned pool)
{
	struct pool *p = rooms.shared.pools[pool].pool;
	unsigned n = 0;

	while (pool_admit(p))
		n++;
	for (unsigned i = 0; i < n; i++)
		pool_unadmit(p);
	return n;
}

/* All that was accepted is accounted for, and every place has come back. */
static void tear_down(void)
{
	for (int i = 0; i < 8; i++) {
		sem_post(&let_go);
		sem_post(&handler_let_go);
	}
	UNTIL(&rooms, rooms.dispatch.nlive == 0 && rooms.dispatch.nafter == 0);
	UNTIL(&rooms, places_free(1) == ONE_PLACES && places_free(2) == BACKGROUND_PLACES);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_BACKGROUND), 0);
	ck_assert(list_empty(&rooms.dispatch.after));
	rooms_down(&rooms);
	sem_destroy(&begun);
	sem_destroy(&let_go);
	sem_destroy(&handler_let_go);
}

static bool has_begun(void)
{
	return sem_trywait(&begun) == 0;
}

static bool at_rest(void)
{
	return rooms.dispatch.nlive == 0 && rooms.dispatch.nafter == 0;
}

/* A request of a client (NULL: a new one): path is formatted. */
static struct script_peer *__attribute__((format(printf, 2, 3))) ask(struct script_peer *p, const char *path, ...)
{
	char text[256];
	size_t n;
	va_list ap;

	n = (size_t)snprintf(text, sizeof(text), "GET ");
	va_start(ap, path);
	n += (size_t)vsnprintf(text + n, sizeof(text) - n, path, ap);
	va_end(ap);
	snprintf(text + n, sizeof(text) - n, " HTTP/1.1\r\nHost: a\r\n\r\n");
	return say(&rooms, p, text);
}

static void leave_for_good(struct script_peer *p)
{
	script_end(p, -ECONNRESET);
	turn(&rooms);
}

/* ---- it runs ----------------------------------------------------------------------------------------------------- */

START_TEST(work_runs_in_the_order_left_one_piece_at_a_time)
{
	struct script_peer *p = ask(NULL, "%s/leave/x%%20y?work=abocd", lanes[_i]);

	UNTIL(&rooms, heard_of(p, "left\n") || heard_of(p, "-11\n"));
	ck_assert(heard_of(p, "-11\n"));        /* three places for four: the last was refused, and only that */
	UNTIL(&rooms, at_rest());
	ck_assert_str_eq(ran, "aboc");
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_RUN), 4);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_FAILED), 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), 0);
}
END_TEST

START_TEST(work_waits_until_the_reply_has_been_sent)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask(NULL, "%s/borrowed/x%%20y?work=r", lanes[_i]);
	UNTIL(&rooms, p->msg);
	for (int i = 0; i < 50; i++)
		turn(&rooms);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	ck_assert_uint_eq(rooms.dispatch.nafter, 0);
	script_sent(p, 1000);
	turn(&rooms);
	ck_assert_uint_eq(rooms.dispatch.nlive, 1);
	for (turn(&rooms); p->msg; turn(&rooms))
		script_sent(p, (int)p->msg->msg_iov[0].iov_len);
	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert_int_eq(last_rc[0], 1);
	ck_assert_uint_gt(p->out.n, 100000);
}
END_TEST

START_TEST(work_holds_up_neither_the_client_nor_its_next_request)
{
	struct script_peer *p = ask(NULL, "%s/leave/x%%20y?work=B", lanes[_i]);

	UNTIL(&rooms, has_begun());
	ck_assert(heard_of(p, "left\n"));
	ck_assert_uint_eq(rooms.dispatch.nlive, 0);
	ck_assert_uint_eq(rooms.dispatch.nafter, 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_BACKGROUND), 1);
	for (unsigned i = 0; i < 3; i++) {
		ask(p, "%s/leave/x%%20y", lanes[_i]);
		UNTIL(&rooms, times(p, "left\n") == i + 2);
	}
	ck_assert_uint_eq(rooms.dispatch.nafter, 1);
	sem_post(&let_go);
	UNTIL(&rooms, at_rest());
}
END_TEST

START_TEST(requests_in_the_background_do_not_count_against_the_bound_of_requests)
{
	struct script_peer *p;

	rooms.shared.requests_max = 1;
	p = ask(NULL, "/a/leave/x%%20y?work=B");
	UNTIL(&rooms, has_begun());
	ask(p, "/a/leave/x%%20y?work=b");
	ck_assert_uint_eq(times(p, "left\n"), 2);
	sem_post(&let_go);
	UNTIL(&rooms, at_rest());
	ck_assert_uint_eq(counted(&rooms, METRIC_SHED), 0);
	ck_assert_str_eq(ran, "Bb");
}
END_TEST

START_TEST(a_piece_that_fails_is_counted_and_the_next_one_runs)
{
	ask(NULL, "%s/leave/x%%20y?work=fb", lanes[_i]);
	UNTIL(&rooms, nran == 2 && at_rest());
	ck_assert_str_eq(ran, "fb");
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_RUN), 2);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_FAILED), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_HANDLER_ERRORS), 0);
}
END_TEST

START_TEST(work_cannot_reply_nor_leave_more)
{
	struct script_peer *p = ask(NULL, "%s/leave/x%%20y?work=i", lanes[_i]);

	UNTIL(&rooms, nran == 1 && at_rest());
	for (int i = 0; i < 7; i++)
		ck_assert_msg(last_rc[i] == -EALREADY, "call %d: %d", i, last_rc[i]);
	ck_assert_int_eq(last_rc[7], 200);
	ck_assert_uint_eq(times(p, "HTTP/1.1 "), 1);
}
END_TEST

START_TEST(the_request_is_still_there)
{
	ask(NULL, "%s/leave/x%%20y?work=u&q=1", lanes[_i]);
	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert_int_eq(last_rc[0], 0);
	ck_assert_int_eq(last_rc[1], 0);
	ck_assert_int_eq(last_rc[2], 0);
	ck_assert_int_eq(last_rc[3], 42);
	ck_assert_int_eq(last_rc[4], -EDEADLK);
	ck_assert_int_eq(last_rc[5], 0);
	ck_assert_int_eq(last_rc[6], 0);
}
END_TEST

START_TEST(what_is_left_of_a_body_does_not_come_any_more)
{
	struct script_peer *p =
		say(&rooms, NULL, "POST /unread/x%20y?work=u&q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");

	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert(heard_of(p, "left\n"));
	ck_assert(last_rc[5] == 2 || last_rc[5] == -ECANCELED);
}
END_TEST

START_TEST(a_body_that_was_read_stays)
{
	say(&rooms, NULL, "POST /body/x%20y?work=u&q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert_int_eq(last_rc[5], 4);
	ck_assert_uint_eq(atomic_load(&rooms.shared.body_bytes), 0);
}
END_TEST

START_TEST(what_the_reply_borrowed_is_given_back_before)
{
	struct script_peer *p = ask(NULL, "%s/borrowed/x%%20y?work=r", lanes[_i]);

	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert(heard_of(p, "lent\n"));
	ck_assert_int_eq(last_rc[0], 1);
	ck_assert_uint_eq(released, 1);
}
END_TEST

static void wake(ol_req *r, void *arg)
{
	(void)arg;
	if (r)
		ol_wake(r);
}

START_TEST(a_handle_holds_until_the_work_has_ended)
{
	ol_handle h;

	ask(NULL, "%s/leave/x%%20y?work=w", lanes[_i]);
	UNTIL(&rooms, has_begun());
	h = (ol_handle){ &rooms.dispatch, seen->slot, seen->gen };
	ck_assert_int_eq(ol_post(h, wake, NULL), 0);
	UNTIL(&rooms, at_rest());
	ck_assert_int_eq(last_rc[0], 0);
	ck_assert_ptr_null(dispatch_lookup(&rooms.dispatch, h.slot_, h.gen_));
}
END_TEST

START_TEST(behind_a_stream_work_begins_at_its_end)
{
	struct script_peer *p = ask(NULL, "%s/stream/x%%20y?work=b", lanes[_i]);

	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert(heard_of(p, "streamed\n"));
	ck_assert(heard_of(p, "\r\n0\r\n\r\n"));
	ask(p, "%s/stream/x%%20y?work=b&broken", lanes[_i]);
	UNTIL(&rooms, p->closed && at_rest());
	ck_assert_uint_eq(nran, 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), 1);
}
END_TEST

/* ---- it does not run --------------------------------------------------------------------------------------------- */

START_TEST(nothing_runs_when_the_handler_failed)
{
	static const char *const failures[] = { "fail", "forget", "500", "latch" };
	struct script_peer *p = NULL;
	uint64_t dropped = 0;

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		p = ask(p, "%s/%s/x%%20y?work=bbb", lanes[_i], failures[i]);
		UNTIL(&rooms, times(p, "HTTP/1.1 ") == i + 1);
		ck_assert_uint_eq(times(p, "HTTP/1.1 500 ") + times(p, "HTTP/1.1 422 "), i + 1);
		ck_assert_uint_eq(places_free(2), BACKGROUND_PLACES);
		dropped += i == 1 ? 1 : 3;
		ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), dropped);
	}
	ck_assert_uint_eq(nran, 0);
	ask(p, "%s/404/x%%20y?work=b", lanes[_i]);      /* that is an answer, no failure */
	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert(heard_of(p, "HTTP/1.1 404 "));
}
END_TEST

START_TEST(a_full_pool_says_so_and_loses_nothing)
{
	struct script_peer *p = ask(NULL, "/a/leave/x%%20y?work=B"), *q;

	UNTIL(&rooms, has_begun());
	ask(p, "/a/leave/x%%20y?work=bbb");             /* two wait */
	ck_assert(heard_of(p, "-11\n"));
	q = ask(NULL, "/a/leave/x%%20y?work=b");
	ck_assert(heard_of(q, "-11\n"));
	sem_post(&let_go);
	UNTIL(&rooms, at_rest());
	ck_assert_str_eq(ran, "Bbb");
	UNTIL(&rooms, places_free(2) == BACKGROUND_PLACES);
	ask(q, "/a/leave/x%%20y?work=b");
	UNTIL(&rooms, nran == 4);
}
END_TEST

START_TEST(a_pool_that_is_not_there_takes_nothing)
{
	struct script_peer *p = ask(NULL, "%s/nowhere/x%%20y", lanes[_i]);

	UNTIL(&rooms, heard_of(p, "-2\n"));
	UNTIL(&rooms, at_rest());
}
END_TEST

/* ---- clients that leave ------------------------------------------------------------------------------------------ */

START_TEST(work_runs_though_the_client_left_before_the_reply)
{
	struct script_peer *p = ask(NULL, "/held/x%%20y?work=b");

	UNTIL(&rooms, has_begun());
	leave_for_good(p);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 1);
	ck_assert_uint_eq(nran, 0);                     /* the handler may still fail */
	sem_post(&handler_let_go);
	UNTIL(&rooms, nran == 1 && at_rest());          /* note() has seen that it is not cancelled */
	ck_assert_uint_eq(counted(&rooms, METRIC_DISCARDED), 1);
}
END_TEST

START_TEST(nothing_runs_when_the_client_left_and_the_handler_failed)
{
	struct script_peer *p = ask(NULL, "/held/x%%20y?work=b&fails");

	UNTIL(&rooms, has_begun());
	leave_for_good(p);
	sem_post(&handler_let_go);
	UNTIL(&rooms, at_rest());
	ck_assert_uint_eq(nran, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), 1);
}
END_TEST

START_TEST(work_runs_though_the_client_left_while_the_reply_was_sent)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask(NULL, "%s/leave/x%%20y?work=b", lanes[_i]);
	UNTIL(&rooms, p->msg);
	script_end(p, -ECONNRESET);
	turn(&rooms);
	script_sent(p, -EPIPE);
	UNTIL(&rooms, nran == 1 && at_rest());
}
END_TEST

START_TEST(work_runs_behind_a_504_when_its_handler_succeeds_late)
{
	struct script_peer *p = ask(NULL, "/late/x%%20y?work=b"), *q;

	UNTIL(&rooms, has_begun());
	q = ask(NULL, "/late/x%%20y?work=b&fails");
	UNTIL(&rooms, has_begun());
	pass_ms(&rooms, 60);
	ck_assert(heard_of(p, "HTTP/1.1 504 ") && heard_of(q, "HTTP/1.1 504 "));
	ck_assert_uint_eq(nran, 0);
	sem_post(&handler_let_go);
	sem_post(&handler_let_go);
	UNTIL(&rooms, at_rest());                       /* note() has seen that it is not cancelled */
	ck_assert_str_eq(ran, "b");
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), 1);
}
END_TEST

START_TEST(an_admit_hook_may_leave_work_behind_its_answer)
{
	struct script_peer *p = ask(NULL, "/turned-away/x%%20y?work=b");

	ck_assert(heard_of(p, "HTTP/1.1 429 "));
	UNTIL(&rooms, nran == 1 && at_rest());
	ck_assert_str_eq(ran, "h");
}
END_TEST

START_TEST(a_client_that_leaves_while_work_runs_changes_nothing)
{
	struct script_peer *p = ask(NULL, "%s/leave/x%%20y?work=Bb", lanes[_i]);

	UNTIL(&rooms, has_begun());
	leave_for_good(p);
	ck_assert(p->closed);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEPARTED), 0);
	sem_post(&let_go);
	UNTIL(&rooms, at_rest());
	ck_assert_str_eq(ran, "Bb");
}
END_TEST

/* ---- the end ----------------------------------------------------------------------------------------------------- */

START_TEST(a_drain_lets_work_end)
{
	struct script_peer *p = ask(NULL, "/a/leave/x%%20y?work=B"), *q = ask(NULL, "/held/x%%20y?work=b");

	UNTIL(&rooms, has_begun());
	conn_home_drain(&rooms.home);
	pass_ms(&rooms, 1100);
	ck_assert(p->closed && !q->closed);
	sem_post(&handler_let_go);
	UNTIL(&rooms, heard_of(q, "left\n"));
	script_end(q, 0);
	UNTIL(&rooms, rooms.home.nconns == 0);
	ck_assert_uint_eq(rooms.dispatch.nafter, 2);    /* what a loop's thread waits for */
	sem_post(&let_go);
	UNTIL(&rooms, at_rest());
	ck_assert_str_eq(ran, "Bb");
}
END_TEST

static void post_first(ol_req *r, void *arg)
{
	(void)arg;
	if (r)
		ol_wake(r);
}

START_TEST(at_the_end_of_the_grace_what_runs_is_told_and_what_waits_is_dropped)
{
	struct script_peer *p = ask(NULL, "/a/leave/x%%20y?work=wb"), *q;

	UNTIL(&rooms, has_begun());
	q = ask(NULL, "/a/leave/x%%20y?work=b");
	ck_assert(heard_of(p, "left\n") && heard_of(q, "left\n"));
	ck_assert_uint_eq(rooms.dispatch.nafter, 2);
	turn(&rooms);                                   /* its job is in the pool's queue */
	dispatch_abandon(&rooms.dispatch);
	UNTIL(&rooms, at_rest());
	ck_assert_int_eq(last_rc[0], -ECANCELED);
	ck_assert_uint_eq(nran, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_RUN), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_FAILED), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), 2);
}
END_TEST

START_TEST(what_is_on_its_way_to_the_pool_when_the_grace_ends_does_not_begin)
{
	struct script_peer *p = ask(NULL, "/held/x%%20y?work=ob");

	UNTIL(&rooms, has_begun());
	leave_for_good(p);
	sem_post(&handler_let_go);
	UNTIL(&rooms, rooms.dispatch.nafter == 1);      /* its job is in the batch of this turn, and not spliced */
	dispatch_abandon(&rooms.dispatch);
	UNTIL(&rooms, at_rest());
	ck_assert_uint_eq(nran, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), 2);
}
END_TEST

START_TEST(a_handler_that_ends_after_the_grace_leaves_nothing)
{
	ask(NULL, "/held/x%%20y?work=bb");
	UNTIL(&rooms, has_begun());
	dispatch_abandon(&rooms.dispatch);
	conn_home_abort(&rooms.home);
	sem_post(&handler_let_go);
	UNTIL(&rooms, at_rest());
	ck_assert_uint_eq(nran, 0);
	ck_assert_uint_eq(counted(&rooms, METRIC_AFTER_DROPPED), 2);
}
END_TEST

START_TEST(a_wake_of_the_handlers_time_is_not_the_works)
{
	ol_handle h;

	ask(NULL, "/held/x%%20y?work=w");
	UNTIL(&rooms, has_begun());
	h = (ol_handle){ &rooms.dispatch, seen->slot, seen->gen };
	ck_assert_int_eq(ol_post(h, post_first, NULL), 0);
	turn(&rooms);
	sem_post(&handler_let_go);
	UNTIL(&rooms, has_begun());
	for (int i = 0; i < 50; i++)
		turn(&rooms);
	ck_assert_int_eq(last_rc[0], 12345);
	ck_assert_int_eq(ol_post(h, post_first, NULL), 0);
	UNTIL(&rooms, at_rest());
	ck_assert_int_eq(last_rc[0], 0);
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_loop_test(one, work_runs_in_the_order_left_one_piece_at_a_time, 0, 2);
	tcase_add_loop_test(one, work_waits_until_the_reply_has_been_sent, 0, 2);
	tcase_add_loop_test(one, work_holds_up_neither_the_client_nor_its_next_request, 0, 2);
	tcase_add_test(one, requests_in_the_background_do_not_count_against_the_bound_of_requests);
	tcase_add_loop_test(one, a_piece_that_fails_is_counted_and_the_next_one_runs, 0, 2);
	tcase_add_loop_test(one, work_cannot_reply_nor_leave_more, 0, 2);
	tcase_add_loop_test(one, the_request_is_still_there, 0, 2);
	tcase_add_test(one, what_is_left_of_a_body_does_not_come_any_more);
	tcase_add_test(one, a_body_that_was_read_stays);
	tcase_add_loop_test(one, what_the_reply_borrowed_is_given_back_before, 0, 2);
	tcase_add_loop_test(one, a_handle_holds_until_the_work_has_ended, 0, 2);
	tcase_add_loop_test(one, behind_a_stream_work_begins_at_its_end, 0, 2);
	tcase_add_loop_test(one, nothing_runs_when_the_handler_failed, 0, 2);
	tcase_add_test(one, a_full_pool_says_so_and_loses_nothing);
	tcase_add_loop_test(one, a_pool_that_is_not_there_takes_nothing, 0, 2);
	tcase_add_test(one, work_runs_though_the_client_left_before_the_reply);
	tcase_add_test(one, nothing_runs_when_the_client_left_and_the_handler_failed);
	tcase_add_loop_test(one, work_runs_though_the_client_left_while_the_reply_was_sent, 0, 2);
	tcase_add_test(one, work_runs_behind_a_504_when_its_handler_succeeds_late);
	tcase_add_test(one, an_admit_hook_may_leave_work_behind_its_answer);
	tcase_add_loop_test(one, a_client_that_leaves_while_work_runs_changes_nothing, 0, 2);
	tcase_add_test(one, a_drain_lets_work_end);
	tcase_add_test(one, at_the_end_of_the_grace_what_runs_is_told_and_what_waits_is_dropped);
	tcase_add_test(one, what_is_on_its_way_to_the_pool_when_the_grace_ends_does_not_begin);
	tcase_add_test(one, a_handler_that_ends_after_the_grace_leaves_nothing);
	tcase_add_test(one, a_wake_of_the_handlers_time_is_not_the_works);
	return rooms_suite("after", all, 1);
}
