/* test_stream.c: replies that are streamed: pulled to their end or broken off, closed once in every case, without a
 * thread while the client is behind; and many small writes, that leave together.
 *
 * The kernel is loop_script.h's: a client reads when the test says so.  Sync routes run on two real threads; what they
 * do is waited for, never timed.
 */
#include "rooms.h"

#include <semaphore.h>

#define PIECE ((size_t)1000)

static char text[PIECE];
static atomic_uint pulls, opened, closed, wrong_thread;
static atomic_int last_rc;
static sem_t begun, go_on;

struct source {
	size_t left;
	bool fails, gated;
	struct pool *lane;      /* whose thread everything runs on; NULL: the loop's */
};

static void note_lane(const struct source *s)
{
	if (pool_current() != s->lane)
		atomic_fetch_add(&wrong_thread, 1);
}

static ssize_t pull(ol_req *r, void *arg, void *buf, size_t n)
{
	struct source *s = arg;
	size_t k = n < PIECE ? n : PIECE;

	note_lane(s);
	ck_assert_uint_ge(n, 4096);
	atomic_fetch_add(&pulls, 1);
	if (s->gated) {
		sem_post(&begun);
		sem_wait(&go_on);
	}
	if (s->left == 0)
		return s->fails ? -EIO : 0;
	k = k < s->left ? k : s->left;
	s->left -= k;
	memcpy(buf, text, k);
	ck_assert_int_eq(ol_text(r, 200, "instead"), -EALREADY);
	ck_assert_int_eq(ol_write(r, "x", 1), -EINVAL);
	return (ssize_t)k;
}

static void close_source(void *arg)
{
	note_lane(arg);
	atomic_fetch_add(&closed, 1);
	free(arg);
}

/* ?n= bytes; ?fails at their end; ?gated before each pull. */
static int begin(ol_req *r, int status)
{
	struct source *s = calloc(1, sizeof(*s));
	int64_t n = 0;

	if (!s || ol_query_int(r, "n", 0, 1 << 30, &n) < 0) {
		free(s);
		return -1;
	}
	s->left = (size_t)n;
	s->fails = ol_query(r, "fails");
	s->gated = ol_query(r, "gated");
	s->lane = pool_current();
	atomic_fetch_add(&opened, 1);
	return ol_pull(r, status, "text/plain", pull, close_source, s);
}

static int pulled(ol_req *r)
{
	return begin(r, 200);
}

static int bodiless(ol_req *r)
{
	return begin(r, 204);
}

static int replaced(ol_req *r)
{
	int rc = begin(r, 200);

	return rc < 0 ? rc : ol_text(r, 200, "another\n");
}

static int pulled_twice(ol_req *r)
{
	int rc = begin(r, 200);

	return rc < 0 ? rc : begin(r, 201);
}

static int failed(ol_req *r)
{
	int rc = begin(r, 200);

	return rc < 0 ? rc : -EIO;
}

static int committed(ol_req *r)
{
	int rc = ol_stream(r, 200, NULL);

	rc = rc < 0 ? rc : ol_write(r, "begun\n", 6);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(begin(r, 200), -EALREADY);
	return 0;
}

static int wrong_type(ol_req *r)
{
	struct source *s = calloc(1, sizeof(*s));

	s->lane = pool_current();
	atomic_fetch_add(&opened, 1);
	return ol_pull(r, 200, "text/\r\n", pull, close_source, s);
}

static int trailing(ol_req *r)
{
	int rc = begin(r, 200);

	return rc < 0 ? rc : ol_trailer_set(r, "X-Sum", "7");
}

/* ?n= writes of ten bytes. */
static int written(ol_req *r)
{
	int64_t n = 0;
	int rc = ol_query_int(r, "n", 0, 1 << 30, &n);

	rc = rc < 0 ? rc : ol_stream(r, 200, NULL);
	for (; rc == 0 && n > 0; n--)
		rc = ol_write(r, text, 10);
	atomic_store(&last_rc, rc);
	sem_post(&begun);
	return rc;
}

/* Five times one byte, and between them nothing until the test lets go. */
static int pausing(ol_req *r)
{
	int rc = ol_stream(r, 200, NULL);

	for (int i = 0; rc == 0 && i < 5; i++) {
		rc = ol_write(r, "t", 1);
		sem_post(&begun);
		if (pool_current())
			sem_wait(&go_on);
		while (!pool_current() && rc == 0 && sem_trywait(&go_on) < 0)
			rc = ol_sleep(r, 100);
	}
	return rc;
}

static int ping(ol_req *r)
{
	return ol_text(r, 200, "pong\n");
}

#define BOTH(path_, fn_) OL_GET("/a" path_, .async = fn_), OL_GET("/s" path_, .sync = fn_)
static const struct ol_route routes[] = {
	BOTH("/pulled", pulled), BOTH("/bodiless", bodiless), BOTH("/replaced", replaced), BOTH("/twice", pulled_twice),
	BOTH("/failed", failed), BOTH("/committed", committed), BOTH("/type", wrong_type), BOTH("/trailing", trailing),
	BOTH("/written", written), BOTH("/pausing", pausing), BOTH("/ping", ping),
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

static struct rooms rooms;

static void begin_test(const struct config *c)
{
	memset(text, 't', sizeof(text));
	pulls = opened = closed = wrong_thread = 0;
	last_rc = 1;
	sem_init(&begun, 0, 0);
	sem_init(&go_on, 0, 0);
	rooms_up(&rooms, &app, c);
}

static void set_up(void)
{
	begin_test(NULL);
}

/* What was opened has been closed, once, on the thread that pulled. */
static void tear_down(void)
{
	rooms_down(&rooms);
	ck_assert_uint_eq(atomic_load(&opened), atomic_load(&closed));
	ck_assert_uint_eq(atomic_load(&wrong_thread), 0);
	sem_destroy(&begun);
	sem_destroy(&go_on);
}

static const char *const lanes[] = { "/a", "/s" };

/* A request for lane and path, which has been given to its handler's lane. */
static struct script_peer *ask(const char *method, int lane, const char *path, const char *version)
{
	char request[200];

	snprintf(request, sizeof(request), "%s %s%s HTTP/%s\r\nHost: a\r\n\r\n", method, lanes[lane], path, version);
	return say(&rooms, NULL, request);
}

static size_t body_bytes(struct script_peer *p)
{
	size_t n = 0;

	for (const char *at = strstr(heard(p), "\r\n\r\n"); at && *at; at++)
		n += *at == 't';
	return n;
}

/* The client reads what is being sent to it, at most n bytes: how many. */
static size_t read_some(struct script_peer *p, size_t n)
{
	size_t there = 0;

	for (size_t i = 0; i < p->msg->msg_iovlen; i++)
		there += p->msg->msg_iov[i].iov_len;
	n = n < there ? n : there;
	script_sent(p, (int)n);
	turn(&rooms);
	return n;
}

static void read_all(struct script_peer *p)
{
	read_some(p, SIZE_MAX);
}

static void answered(struct script_peer *p)
{
	UNTIL(&rooms, rooms.dispatch.nlive == 0 && !p->msg);
}

/* ---- pulled ------------------------------------------------------------------------------------------------------ */

START_TEST(a_source_is_pulled_to_its_end_and_closed)
{
	struct script_peer *p = ask("GET", _i, "/pulled?n=300500", "1.1");

	answered(p);
	ck_assert(heard_of(p, "HTTP/1.1 200 OK"));
	ck_assert(heard_of(p, "Transfer-Encoding: chunked"));
	ck_assert(heard_of(p, "\r\n0\r\n\r\n"));
	ck_assert_uint_eq(body_bytes(p), 300500);
	ck_assert_uint_eq(atomic_load(&pulls), 302);
	ck_assert_uint_eq(atomic_load(&closed), 1);
	ck_assert(!p->closed);
}
END_TEST

START_TEST(an_empty_source_is_an_empty_reply)
{
	struct script_peer *p = ask("GET", _i, "/pulled", "1.1");

	answered(p);
	ck_assert(heard_of(p, "HTTP/1.1 200 OK"));
	ck_assert(heard_of(p, "\r\n\r\n0\r\n\r\n"));
	ck_assert_uint_eq(atomic_load(&pulls), 1);
}
END_TEST

START_TEST(a_client_of_1_0_gets_the_bytes_and_a_close)
{
	struct script_peer *p = ask("GET", _i, "/pulled?n=100000", "1.0");

	UNTIL(&rooms, p->closed);
	ck_assert(!heard_of(p, "chunked"));
	ck_assert_uint_eq(body_bytes(p), 100000);
}
END_TEST

START_TEST(what_has_no_content_is_not_pulled)
{
	struct script_peer *p = ask("HEAD", _i, "/pulled?n=10", "1.1"), *q = ask("GET", _i, "/bodiless?n=10", "1.1");

	answered(p);
	answered(q);
	ck_assert(heard_of(p, "HTTP/1.1 200 OK"));
	ck_assert(heard_of(q, "HTTP/1.1 204 No Content"));
	ck_assert_uint_eq(atomic_load(&pulls), 0);
	ck_assert_uint_eq(atomic_load(&closed), 2);
}
END_TEST

START_TEST(a_source_that_breaks_off_ends_the_connection_without_a_last_chunk)
{
	struct script_peer *p = ask("GET", _i, "/pulled?n=70000&fails", "1.1");

	UNTIL(&rooms, p->closed);
	ck_assert(heard_of(p, "HTTP/1.1 200 OK"));
	ck_assert(!heard_of(p, "\r\n0\r\n"));
	UNTIL(&rooms, atomic_load(&closed) == 1);
}
END_TEST

START_TEST(a_source_that_fails_before_its_first_byte_is_a_500)
{
	struct script_peer *p = ask("GET", _i, "/pulled?fails", "1.1");

	answered(p);
	ck_assert(heard_of(p, "HTTP/1.1 500 "));
	ck_assert(heard_of(p, "Internal Server Error\"}"));
	ck_assert(!p->closed);
}
END_TEST

START_TEST(a_reply_that_is_replaced_closes_its_source)
{
	struct script_peer *p = ask("GET", _i, "/replaced?n=10", "1.1"), *q = ask("GET", _i, "/twice?n=10", "1.1");

	answered(p);
	answered(q);
	ck_assert(heard_of(p, "another\n"));
	ck_assert(heard_of(q, "HTTP/1.1 201 "));
	ck_assert_uint_eq(body_bytes(q), 10);
	ck_assert_uint_eq(atomic_load(&pulls), 2);
	ck_assert_uint_eq(atomic_load(&closed), 3);
}
END_TEST

START_TEST(a_handler_that_fails_closes_its_source)
{
	struct script_peer *p = ask("GET", _i, "/failed?n=10", "1.1");

	answered(p);
	ck_assert(heard_of(p, "HTTP/1.1 500 "));
	ck_assert_uint_eq(atomic_load(&pulls), 0);
	ck_assert_uint_eq(atomic_load(&closed), 1);
}
END_TEST

START_TEST(a_source_that_comes_too_late_or_wrong_is_closed_at_once)
{
	struct script_peer *p = ask("GET", _i, "/committed?n=10", "1.1"), *q = ask("GET", _i, "/type", "1.1");

	answered(p);
	answered(q);
	ck_assert(heard_of(p, "begun\n\r\n0\r\n\r\n"));
	ck_assert(heard_of(q, "HTTP/1.1 500 "));
	ck_assert_uint_eq(atomic_load(&pulls), 0);
	ck_assert_uint_eq(atomic_load(&closed), 2);
}
END_TEST

START_TEST(a_pulled_reply_has_its_trailer)
{
	struct script_peer *p = ask("GET", _i, "/trailing?n=10", "1.1");

	answered(p);
	ck_assert(heard_of(p, "\r\n0\r\nX-Sum: 7\r\n\r\n"));
}
END_TEST

START_TEST(a_client_that_leaves_before_the_first_pull_is_not_pulled_for)
{
	struct script_peer *held[2], *p;

	for (int i = 0; i < 2; i++) {
		held[i] = ask("GET", 1, "/pulled?n=1&gated", "1.1");    /* both threads */
		(void)held[i];
	}
	UNTIL(&rooms, atomic_load(&pulls) == 2);
	p = ask("GET", 1, "/pulled?n=10", "1.1");
	script_end(p, -ECONNRESET);
	UNTIL(&rooms, p->closed);
	for (int i = 0; i < 4; i++)
		sem_post(&go_on);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	ck_assert_uint_eq(atomic_load(&pulls), 4);
	ck_assert_uint_eq(atomic_load(&opened), 2);
}
END_TEST

START_TEST(a_client_that_leaves_while_it_is_pulled_for_is_no_reason_to_go_on)
{
	struct script_peer *p = ask("GET", 1, "/pulled?n=1000000&gated", "1.1");

	UNTIL(&rooms, atomic_load(&pulls) == 1);
	script_end(p, -ECONNRESET);
	UNTIL(&rooms, p->closed);
	sem_post(&go_on);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	ck_assert_uint_eq(atomic_load(&pulls), 1);
	ck_assert_uint_eq(atomic_load(&closed), 1);
}
END_TEST

START_TEST(a_client_that_leaves_while_it_is_behind_ends_the_pulling)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask("GET", _i, "/pulled?n=1000000", "1.1");
	UNTIL(&rooms, p->msg && atomic_load(&pulls) > 64);
	script_end(p, -ECONNRESET);
	turn(&rooms);
	script_hold(rooms.loop, false, false);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	ck_assert_uint_lt(atomic_load(&pulls), 200);
	ck_assert_uint_eq(atomic_load(&closed), 1);
}
END_TEST

static unsigned threads_running(void)
{
	struct pool_stats s;

	pool_stats(rooms.shared.pools[0].pool, &s);
	return s.running + s.queued;
}

START_TEST(slow_readers_hold_no_thread)
{
	struct script_peer *slow[8], *p;

	script_hold(rooms.loop, true, false);
	for (size_t i = 0; i < 8; i++) {        /* more than threads and queue have room for together */
		slow[i] = ask("GET", 1, "/pulled?n=200000", "1.1");
		UNTIL(&rooms, slow[i]->msg && threads_running() == 0);
	}
	ck_assert_uint_lt(atomic_load(&pulls), 8 * 100);
	p = ask("GET", 1, "/ping", "1.1");
	UNTIL(&rooms, p->msg);                  /* answered meanwhile */
	script_hold(rooms.loop, false, false);
	for (size_t i = 0; i < 8; i++)
		read_all(slow[i]);
	for (size_t i = 0; i < 8; i++)
		answered(slow[i]);
	for (size_t i = 0; i < 8; i++)
		ck_assert_uint_eq(body_bytes(slow[i]), 200000);
	ck_assert_uint_eq(atomic_load(&closed), 8);
}
END_TEST

START_TEST(a_stream_that_goes_on_is_let_in_whatever_the_queue)
{
	struct script_peer *p, *q;

	script_hold(rooms.loop, true, false);
	p = ask("GET", 1, "/pulled?n=200000", "1.1");
	UNTIL(&rooms, p->msg && threads_running() == 0);
	for (int i = 0; i < 6; i++)             /* two threads, and four that wait */
		(void)ask("GET", 1, "/pulled?gated", "1.1");
	q = ask("GET", 1, "/ping", "1.1");
	UNTIL(&rooms, q->msg);                  /* refused */
	script_hold(rooms.loop, false, false);
	read_all(p);
	read_all(q);
	UNTIL(&rooms, heard_of(q, "HTTP/1.1 503 "));
	for (int i = 0; i < 6; i++)
		sem_post(&go_on);
	answered(p);
	ck_assert_uint_eq(body_bytes(p), 200000);
}
END_TEST

/* ---- written ----------------------------------------------------------------------------------------------------- */

/* Whether the handler writes no more until the client has read: its pipe is full, or it has ended.  Its exchange may be
 * gone before the last of its bytes are sent. */
static bool stands_still(void)
{
	struct pipe *out;
	bool still;

	if (rooms.dispatch.nlive == 0)
		return true;
	out = rooms.dispatch.slots[0].req->out;
	pthread_mutex_lock(&out->lock);
	still = out->waiting || out->ended;
	pthread_mutex_unlock(&out->lock);
	return still;
}

START_TEST(ten_thousand_writes_are_a_handful_of_sends)
{
	unsigned sends = 0, chunks;
	uint64_t wakes = atomic_load(&rooms.loop->count.wakes);
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask("GET", _i, "/written?n=10000", "1.1");
	for (;;) {
		UNTIL(&rooms, p->msg || rooms.dispatch.nlive == 0);
		if (!p->msg)
			break;
		UNTIL(&rooms, stands_still());
		sends++;
		read_all(p);
		turn(&rooms);
	}
	answered(p);
	ck_assert_int_eq(atomic_load(&last_rc), 0);
	chunks = times(p, "t\r\n");
	ck_assert_uint_le(sends, 6);
	ck_assert_uint_le(chunks, sends);       /* each as large as it can be */
	ck_assert_uint_le(atomic_load(&rooms.loop->count.wakes) - wakes, 20);
	ck_assert_uint_eq(body_bytes(p), 100000);
}
END_TEST

/* ---- a client that reads slowly ---------------------------------------------------------------------------------- */

/* Whether the handler has written so much that the client cannot catch up with it soon: one that has nothing to read
 * for a moment is not slow, and begins a new span. */
static bool far_ahead(const struct script_peer *p)
{
	struct pipe *out = rooms.dispatch.slots[0].req->out;
	bool far;

	pthread_mutex_lock(&out->lock);
	far = p->msg && out->bytes >= PIPE_LOW;
	pthread_mutex_unlock(&out->lock);
	return far;
}

/* The client takes n bytes every ten seconds, `times_` times or until it is closed. */
static void read_slowly(struct script_peer *p, size_t n, int times_)
{
	for (int i = 0; i < times_ && !p->closed; i++) {
		pass_ms(&rooms, 10000);
		for (size_t left = n; left > 0 && !p->closed;) {
			UNTIL(&rooms, far_ahead(p));
			left -= read_some(p, left);
		}
	}
}

START_TEST(who_reads_more_slowly_than_the_least_rate_is_reset)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask("GET", _i, "/written?n=1000000", "1.1");
	UNTIL(&rooms, p->msg);
	read_slowly(p, 2390, 5);
	ck_assert(!p->closed);
	read_slowly(p, 2390, 1);
	ck_assert(p->closed);
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_WRITE_RATE), 1);
	ck_assert_uint_eq(counted(&rooms, METRIC_TIMEOUT_WRITE), 0);
	script_hold(rooms.loop, false, false);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	ck_assert_int_eq(atomic_load(&last_rc), -ECANCELED);    /* and holds no thread any more */
}
END_TEST

START_TEST(who_reads_at_the_least_rate_is_kept)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask("GET", _i, "/written?n=1000000", "1.1");
	UNTIL(&rooms, p->msg);
	read_all(p);                            /* the head, and as much as was there */
	UNTIL(&rooms, p->msg);
	read_slowly(p, 2890, 60);
	ck_assert(!p->closed);
	read_slowly(p, 2000, 20);               /* what it was ahead before does not count */
	ck_assert(p->closed);
	script_hold(rooms.loop, false, false);
}
END_TEST

START_TEST(a_stream_that_has_nothing_to_send_has_no_rate)
{
	struct script_peer *p = ask("GET", _i, "/pausing", "1.1");

	for (int i = 0; i < 5; i++) {
		UNTIL(&rooms, sem_trywait(&begun) == 0);
		turn(&rooms);
		pass_ms(&rooms, 100000);
		ck_assert(!p->closed);
		sem_post(&go_on);
		if (_i == 0)
			pass_ms(&rooms, 200);
	}
	answered(p);
	ck_assert_uint_eq(body_bytes(p), 5);
}
END_TEST

START_TEST(with_no_least_rate_a_client_may_take_its_time)
{
	struct config c = rooms_config();
	struct script_peer *p;

	c.write_rate_min = 0;
	begin_test(&c);
	script_hold(rooms.loop, true, false);
	p = ask("GET", _i, "/written?n=1000000", "1.1");
	UNTIL(&rooms, p->msg);
	read_slowly(p, 1, 30);
	ck_assert(!p->closed);
	tear_down();
}
END_TEST

int main(void)
{
	TCase *pulled_ = tcase_create("pulled"), *slow = tcase_create("slow"), *written_ = tcase_create("written");
	TCase *rate = tcase_create("rate"), *no_rate = tcase_create("no_rate");
	TCase *cases[] = { pulled_, slow, written_, rate, no_rate };

	for (size_t i = 0; i < 4; i++)
		tcase_add_checked_fixture(cases[i], set_up, tear_down);
	tcase_add_loop_test(pulled_, a_source_is_pulled_to_its_end_and_closed, 0, 2);
	tcase_add_loop_test(pulled_, an_empty_source_is_an_empty_reply, 0, 2);
	tcase_add_loop_test(pulled_, a_client_of_1_0_gets_the_bytes_and_a_close, 0, 2);
	tcase_add_loop_test(pulled_, what_has_no_content_is_not_pulled, 0, 2);
	tcase_add_loop_test(pulled_, a_source_that_breaks_off_ends_the_connection_without_a_last_chunk, 0, 2);
	tcase_add_loop_test(pulled_, a_source_that_fails_before_its_first_byte_is_a_500, 0, 2);
	tcase_add_loop_test(pulled_, a_reply_that_is_replaced_closes_its_source, 0, 2);
	tcase_add_loop_test(pulled_, a_handler_that_fails_closes_its_source, 0, 2);
	tcase_add_loop_test(pulled_, a_source_that_comes_too_late_or_wrong_is_closed_at_once, 0, 2);
	tcase_add_loop_test(pulled_, a_pulled_reply_has_its_trailer, 0, 2);
	tcase_add_test(slow, a_client_that_leaves_before_the_first_pull_is_not_pulled_for);
	tcase_add_test(slow, a_client_that_leaves_while_it_is_pulled_for_is_no_reason_to_go_on);
	tcase_add_loop_test(slow, a_client_that_leaves_while_it_is_behind_ends_the_pulling, 0, 2);
	tcase_add_test(slow, slow_readers_hold_no_thread);
	tcase_add_test(slow, a_stream_that_goes_on_is_let_in_whatever_the_queue);
	tcase_add_loop_test(written_, ten_thousand_writes_are_a_handful_of_sends, 0, 2);
	tcase_add_loop_test(rate, who_reads_more_slowly_than_the_least_rate_is_reset, 0, 2);
	tcase_add_loop_test(rate, who_reads_at_the_least_rate_is_kept, 0, 2);
	tcase_add_loop_test(rate, a_stream_that_has_nothing_to_send_has_no_rate, 0, 2);
	tcase_add_loop_test(no_rate, with_no_least_rate_a_client_may_take_its_time, 0, 2);
	return rooms_suite("stream", cases, 5);
}
