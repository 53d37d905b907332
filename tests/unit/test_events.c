/* test_events.c: server-sent events: what goes over the wire, and the comments that a silent stream gets.
 *
 * The kernel is loop_script.h's: time passes when the test says so.  The .sync handlers run on real threads, and meet
 * the test at semaphores.
 */
#include "rooms.h"

#include <semaphore.h>

#define SILENCE 15000       /* ms, as rooms_config() has it */
#define COMMENT ":\n\n"

static sem_t begun, go_on;
static atomic_int last_rc;
static ol_req *waiting;         /* the async handler that waits for the test */
static char large[200000];

/* Until the test says go(): in either lane, and blocking the thread in the sync one. */
static void meet(ol_req *r)
{
	if (pool_current()) {
		sem_post(&begun);
		sem_wait(&go_on);
	} else {
		waiting = r;
		while (waiting && ol_wait(r, -1) == 0)
			continue;
		waiting = NULL;
	}
}

static int formats(ol_req *r)
{
	int rc = ol_events(r, 2500);

	ck_assert_int_eq(ol_write(r, "x", 1), -EINVAL);
	ck_assert_int_eq(ol_header_set(r, "X-Late", "1"), -EALREADY);
	ck_assert_int_eq(ol_event(r, "a\nb", NULL, "x"), -EINVAL);
	ck_assert_int_eq(ol_event(r, "a\rb", NULL, "x"), -EINVAL);
	ck_assert_int_eq(ol_event(r, NULL, "1\n", "x"), -EINVAL);
	ck_assert_int_eq(ol_event(r, NULL, NULL, NULL), -EINVAL);
	rc = rc < 0 ? rc : ol_event(r, NULL, NULL, "one");
	rc = rc < 0 ? rc : ol_event(r, "tick", "7", "first\nsecond\r\nthird\rfourth");
	rc = rc < 0 ? rc : ol_event(r, NULL, "", "");
	return rc < 0 ? rc : ol_event(r, NULL, NULL, "\n\r\n");
}

/* Silent until the test says go(), then one event; ?twice: silent again. */
static int silent(ol_req *r)
{
	int rc = ol_events(r, 0);

	for (int i = 0; rc == 0 && i < (ol_query(r, "twice") ? 2 : 1); i++) {
		meet(r);
		rc = ol_event(r, NULL, NULL, "now");
	}
	atomic_store(&last_rc, rc);
	return rc;
}

/* Does not look at what ol_events says; begins when the client has left. */
static int heedless(ol_req *r)
{
	int rc;

	meet(r);
	ck_assert_int_eq(ol_events(r, 0), -ECANCELED);
	rc = ol_event(r, NULL, NULL, large); /* more than waits for a client that is slow */
	atomic_store(&last_rc, rc);
	return rc;
}

static int enormous(ol_req *r)
{
	int rc = ol_events(r, 0);

	rc = rc < 0 ? rc : ol_event(r, NULL, NULL, large);
	atomic_store(&last_rc, rc);
	return rc;
}

static int wrong(ol_req *r)
{
	ck_assert_int_eq(ol_event(r, NULL, NULL, "x"), -EINVAL);
	ck_assert_int_eq(ol_events(r, -1), -EINVAL);
	ck_assert_int_eq(ol_stream(r, 200, NULL), 0);
	ck_assert_int_eq(ol_event(r, NULL, NULL, "x"), -EINVAL);
	return ol_text(r, 200, "right\n");
}

#define BOTH(path_, fn_) OL_GET("/a" path_, .async = fn_), OL_GET("/s" path_, .sync = fn_)
static const struct ol_route routes[] = {
	BOTH("/formats", formats), BOTH("/silent", silent), BOTH("/enormous", enormous), BOTH("/wrong", wrong),
	BOTH("/heedless", heedless),
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

static struct rooms rooms;
static int lane;

static void up(const struct config *c)
{
	memset(large, 'L', sizeof(large) - 1);
	last_rc = 1;
	waiting = NULL;
	sem_init(&begun, 0, 0);
	sem_init(&go_on, 0, 0);
	rooms_up(&rooms, &app, c);
}

static void set_up(void)
{
	up(NULL);
}

static void tear_down(void)
{
	rooms_down(&rooms);
	sem_destroy(&begun);
	sem_destroy(&go_on);
}

static struct script_peer *ask(const char *method, int lane_, const char *path)
{
	char request[200];

	lane = lane_;
	snprintf(request, sizeof(request), "%s %s%s HTTP/1.1\r\nHost: a\r\n\r\n", method, lane ? "/s" : "/a", path);
	return say(&rooms, NULL, request);
}

/* The handler has got to meet(), and what it has written is out. */
static void wait_met(void)
{
	if (lane)
		UNTIL(&rooms, sem_trywait(&begun) == 0);
	else
		UNTIL(&rooms, waiting);
	turn(&rooms);
}

static void go(void)
{
	if (lane) {
		sem_post(&go_on);
	} else {
		ol_req *r = waiting;

		waiting = NULL;
		ol_wake(r);
	}
}

static void over(struct script_peer *p)
{
	UNTIL(&rooms, rooms.dispatch.nlive == 0 && !p->msg);
}

/* ---- the wire ---------------------------------------------------------------------------------------------------- */

/* The body without its chunks' frames. */
static const char *events_of(struct script_peer *p)
{
	static char text[300000];
	const char *at = strstr(heard(p), "\r\n\r\n");
	size_t n = 0;

	ck_assert_ptr_nonnull(at);
	for (at += 4; *at;) {
		char *end;
		size_t k = strtoul(at, &end, 16);

		ck_assert(end[0] == '\r' && end[1] == '\n');
		memcpy(text + n, end + 2, k);
		n += k;
		at = end + 2 + k + 2;
	}
	text[n] = '\0';
	return text;
}

START_TEST(events_are_written_as_the_standard_has_them)
{
	struct script_peer *p = ask("GET", _i, "/formats");

	over(p);
	ck_assert(heard_of(p, "HTTP/1.1 200 OK"));
	ck_assert(heard_of(p, "Content-Type: text/event-stream\r\n"));
	ck_assert(heard_of(p, "Cache-Control: no-cache\r\n"));
	ck_assert(heard_of(p, "X-Accel-Buffering: no\r\n"));
	ck_assert(!heard_of(p, "X-Late"));
	ck_assert_str_eq(events_of(p),
		"retry: 2500\n\n"
		"data: one\n\n"
		"event: tick\nid: 7\ndata: first\ndata: second\ndata: third\ndata: fourth\n\n"
		"id: \ndata: \n\n"
		"data: \ndata: \ndata: \n\n");
}
END_TEST

START_TEST(a_head_request_gets_the_head_alone)
{
	struct script_peer *p = ask("HEAD", _i, "/enormous");

	over(p);
	ck_assert(heard_of(p, "text/event-stream"));
	ck_assert(!heard_of(p, "LLL"));
	pass_ms(&rooms, SILENCE * 2);
	ck_assert(!heard_of(p, COMMENT));
}
END_TEST

START_TEST(what_is_no_event_stream_takes_no_events)
{
	struct script_peer *p = ask("GET", _i, "/wrong");

	over(p);
	ck_assert(heard_of(p, "right\n"));
}
END_TEST

/* ---- silence ----------------------------------------------------------------------------------------------------- */

START_TEST(the_head_comes_before_the_first_event)
{
	struct script_peer *p = ask("GET", _i, "/silent");

	wait_met();
	UNTIL(&rooms, heard_of(p, "\r\n\r\n"));
	ck_assert_str_eq(events_of(p), "");
	go();
	over(p);
}
END_TEST

START_TEST(a_silent_stream_gets_a_comment_while_its_handler_waits)
{
	struct script_peer *p = ask("GET", _i, "/silent?twice");

	wait_met();
	pass_ms(&rooms, SILENCE - 1000);
	ck_assert_str_eq(events_of(p), "");
	pass_ms(&rooms, 1100);
	ck_assert_str_eq(events_of(p), COMMENT);
	pass_ms(&rooms, SILENCE + 100);
	ck_assert_str_eq(events_of(p), COMMENT COMMENT);
	pass_ms(&rooms, SILENCE - 1000);
	go();                                   /* an event just before the next: silence begins anew */
	wait_met();
	pass_ms(&rooms, 2000);
	ck_assert_str_eq(events_of(p), COMMENT COMMENT "data: now\n\n");
	pass_ms(&rooms, SILENCE);
	ck_assert_str_eq(events_of(p), COMMENT COMMENT "data: now\n\n" COMMENT);
	go();
	over(p);
	ck_assert_uint_eq(rooms.loop->wheel.armed, 1);  /* the connection's own */
}
END_TEST

START_TEST(no_comment_stands_in_the_midst_of_an_event_nor_behind_a_slow_client)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask("GET", _i, "/enormous");
	for (;;) {
		size_t n = 0;

		UNTIL(&rooms, p->msg || rooms.dispatch.nlive == 0);
		if (!p->msg)
			break;
		pass_ms(&rooms, SILENCE + 1000);
		ck_assert_ptr_nonnull(p->msg);
		for (size_t i = 0; i < p->msg->msg_iovlen; i++)
			n += p->msg->msg_iov[i].iov_len;
		script_sent(p, (int)n);
		turn(&rooms);
	}
	over(p);
	ck_assert_int_eq(atomic_load(&last_rc), 0);
	ck_assert_uint_eq(strlen(events_of(p)), sizeof(large) - 1 + 8);
	ck_assert_ptr_null(strstr(events_of(p), ":\n"));
}
END_TEST

START_TEST(a_comment_that_is_not_taken_is_not_followed_by_another)
{
	struct script_peer *p = ask("GET", _i, "/silent");

	wait_met();
	script_hold(rooms.loop, true, false);
	pass_ms(&rooms, SILENCE + 100);
	ck_assert_ptr_nonnull(p->msg);
	pass_ms(&rooms, SILENCE - 5000);        /* the send's own deadline is 30 s */
	pass_ms(&rooms, 6000);
	script_hold(rooms.loop, false, false);
	script_sent(p, 3 + 5);                  /* "3\r\n", the comment, "\r\n" */
	turn(&rooms);
	ck_assert_str_eq(events_of(p), COMMENT);
	go();
	over(p);
}
END_TEST

START_TEST(a_client_that_has_gone_is_found_by_the_comment)
{
	struct script_peer *p = ask("GET", _i, "/silent?twice");

	wait_met();
	script_hold(rooms.loop, true, false);
	pass_ms(&rooms, SILENCE + 100);
	script_sent(p, -EPIPE);
	turn(&rooms);
	ck_assert(p->closed);
	script_hold(rooms.loop, false, false);
	if (lane)
		sem_post(&go_on);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	ck_assert_int_eq(atomic_load(&last_rc), -ECANCELED);
	ck_assert_uint_eq(rooms.loop->wheel.armed, 0);
}
END_TEST

START_TEST(events_for_a_client_that_had_left_before_go_nowhere)
{
	struct script_peer *p = ask("GET", _i, "/heedless");

	wait_met();
	script_end(p, -ECONNRESET);
	turn(&rooms);
	if (lane)
		sem_post(&go_on);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	ck_assert_int_eq(atomic_load(&last_rc), -ECANCELED);
}
END_TEST

START_TEST(without_a_keepalive_there_is_no_comment)
{
	struct config c = rooms_config();
	struct script_peer *p;

	c.events_keepalive_ms = 0;
	up(&c);
	p = ask("GET", _i, "/silent");
	wait_met();
	pass_ms(&rooms, 100 * SILENCE);
	ck_assert_str_eq(events_of(p), "");
	go();
	over(p);
	tear_down();
}
END_TEST

int main(void)
{
	TCase *wire = tcase_create("wire"), *silence = tcase_create("silence"), *bare = tcase_create("bare");
	TCase *cases[] = { wire, silence, bare };

	for (size_t i = 0; i < 2; i++)
		tcase_add_checked_fixture(cases[i], set_up, tear_down);
	tcase_add_loop_test(wire, events_are_written_as_the_standard_has_them, 0, 2);
	tcase_add_loop_test(wire, a_head_request_gets_the_head_alone, 0, 2);
	tcase_add_loop_test(wire, what_is_no_event_stream_takes_no_events, 0, 2);
	tcase_add_loop_test(silence, the_head_comes_before_the_first_event, 0, 2);
	tcase_add_loop_test(silence, a_silent_stream_gets_a_comment_while_its_handler_waits, 0, 2);
	tcase_add_loop_test(silence, no_comment_stands_in_the_midst_of_an_event_nor_behind_a_slow_client, 0, 2);
	tcase_add_loop_test(silence, a_comment_that_is_not_taken_is_not_followed_by_another, 0, 2);
	tcase_add_loop_test(silence, a_client_that_has_gone_is_found_by_the_comment, 0, 2);
	tcase_add_loop_test(silence, events_for_a_client_that_had_left_before_go_nowhere, 0, 2);
	tcase_add_loop_test(bare, without_a_keepalive_there_is_no_comment, 0, 2);
	return rooms_suite("events", cases, 3);
}
