/*
 * conn_app.h: the app that the tests of connections talk to, and where its handlers meet the test.
 *
 * Handlers run on the loop, which is the test's own thread, so plain variables are enough; only /held is a worker's.
 */
#ifndef OL_CONN_APP_H
#define OL_CONN_APP_H

#include "rooms.h"

#include <semaphore.h>

#define BIG ((size_t)200000)

static char big[BIG];
static unsigned releases;           /* of what was borrowed */
static unsigned runs, cancelled;    /* handlers begun; those that ended with -ECANCELED */
static ol_req *waiting;             /* the last one to call ol_wait, until it goes on */
static int body_rc;                 /* what the last body came to: its length or an error */
static sem_t held, letting_go;      /* /held: has begun; may end */

static inline void released_one(void *arg)
{
	++*(unsigned *)arg;
}

static inline int note_end(int rc)
{
	cancelled += rc == -ECANCELED;
	return rc;
}

/* Until the test calls ol_wake(waiting). */
static inline int meet(ol_req *r)
{
	int rc;

	waiting = r;
	rc = ol_wait(r, -1);
	waiting = NULL;
	return note_end(rc);
}

static inline int hello(ol_req *r)
{
	runs++;
	return ol_text(r, 200, "hello\n");
}

static inline int borrowed(ol_req *r)
{
	runs++;
	return ol_bytes_new(r, 200, "text/plain", big, BIG, released_one, &releases);
}

static inline int wait_first(ol_req *r)
{
	runs++;
	return meet(r) < 0 ? -1 : ol_text(r, 200, "waited\n");
}

static inline int echo(ol_req *r)
{
	size_t n;
	const char *body = ol_body(r, &n);

	runs++;
	body_rc = body ? (int)n : -1;
	return body ? ol_bytes(r, 200, NULL, body, n) : -1;
}

/* A .stream route: meets the test, then counts the body. */
static inline int upload(ol_req *r)
{
	static char buf[5000];
	ssize_t n;
	int sum = 0;

	runs++;
	body_rc = 0;
	if (!ol_query(r, "now") && meet(r) < 0)
		return -1;
	if (ol_query(r, "reply") && (ol_stream(r, 200, NULL) < 0 || ol_write(r, "begun\n", 6) < 0))
		return -1;
	while ((n = ol_body_read(r, buf, sizeof(buf))) > 0)
		sum += (int)n;
	body_rc = n < 0 ? (int)n : sum;
	if (n < 0)
		return note_end((int)n);
	return ol_query(r, "reply") ? 0 : ol_textf(r, 200, "%d\n", sum);
}

/* ?n= bytes in pieces of ?piece=, meeting the test before each when ?meet is given. */
static inline int stream(ol_req *r)
{
	int64_t n = 10, piece = 10;
	int rc = ol_query_int(r, "n", 0, 1 << 30, &n);

	runs++;
	rc = rc < 0 ? rc : ol_query_int(r, "piece", 1, BIG, &piece);
	rc = rc < 0 ? rc : ol_stream(r, 200, "text/plain");
	while (rc == 0 && n > 0) {
		size_t k = (size_t)(n < piece ? n : piece);

		if (ol_query(r, "meet"))
			rc = meet(r);
		rc = rc < 0 ? rc : note_end(ol_write(r, big, k));
		n -= (int64_t)k;
	}
	return rc < 0 || !ol_query(r, "break") ? rc : -EIO;
}

static inline int hold(ol_req *r)
{
	sem_post(&held);
	sem_wait(&letting_go);
	return ol_cancelled(r) ? -ECANCELED : ol_text(r, 200, "held\n");
}

static const struct ol_route routes[] = {
	OL_GET("/hello", .async = hello),
	OL_GET("/big", .async = borrowed),
	OL_GET("/wait", .async = wait_first),
	OL_POST("/wait", .async = wait_first),
	OL_POST("/echo", .async = echo),
	OL_POST("/up", .async = upload, .stream = 1),
	OL_POST("/late", .async = wait_first, .stream = 1),
	OL_GET("/stream", .async = stream),
	OL_GET("/held", .sync = hold),
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

static struct rooms rooms;

static inline void app_reset(void)
{
	memset(big, 'b', sizeof(big));
	releases = runs = cancelled = 0;
	waiting = NULL;
	body_rc = 0;
	sem_init(&held, 0, 0);
	sem_init(&letting_go, 0, 0);
}

static inline void set_up(void)
{
	app_reset();
	rooms_up(&rooms, &app, NULL);
}

static inline void tear_down(void)
{
	rooms_down(&rooms);
	ck_assert_ptr_null(waiting);
	sem_destroy(&held);
	sem_destroy(&letting_go);
}

/* Lets the handler that waits go on. */
static inline void go_on(void)
{
	ck_assert_ptr_nonnull(waiting);
	ol_wake(waiting);
	turn(&rooms);
}

/* A request with a body of n bytes, all of them when whole. */
static inline struct script_peer *post(struct script_peer *p, const char *target, size_t n, size_t sent)
{
	char head[200];

	snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", target, n);
	p = say(&rooms, p, head);
	for (size_t at = 0; at < sent; at += 4096)
		p = say_n(&rooms, p, big, sent - at < 4096 ? sent - at : 4096);
	return p;
}

#endif
