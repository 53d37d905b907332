/*
 * deadline_app.h: the app that the tests of deadlines talk to.
 *
 * Handlers on workers stop where the test holds them; the loop's side of each race is a turn of the scripted loop, in
 * which messages run before timers, at most 64 of them: so the test decides which of the two comes first.
 */
#ifndef OL_DEADLINE_APP_H
#define OL_DEADLINE_APP_H

#include "rooms.h"

#include <semaphore.h>

#define LIMIT_MS 100
#define PAST_MS 150
#define MESSAGES_A_TURN 64

static struct rooms rooms;
static sem_t begun, let_go;
static _Atomic unsigned runs, ended, released, last_rc, offloaded, left_work;
static ol_req *waiting;

static inline void release(void *arg)
{
	(void)arg;
	released++;
}

static inline int end_with(int rc)
{
	last_rc = (unsigned)-rc;
	ended++;
	return rc;
}

static inline int hold(ol_req *r)
{
	runs++;
	sem_post(&begun);
	sem_wait(&let_go);
	return end_with(ol_bytes_new(r, 200, NULL, "held\n", 5, release, NULL));
}

/* ?mute: writes nothing before the test lets it go.  ?short: nothing after.  ?broken: nothing after, and fails. */
static inline int pour(ol_req *r)
{
	static char bytes[20000];
	int rc = ol_stream(r, 200, NULL);

	runs++;
	if (!ol_query(r, "mute"))
		rc = rc < 0 ? rc : ol_write(r, "first\n", 6);
	sem_post(&begun);
	sem_wait(&let_go);
	if (ol_query(r, "broken"))
		return end_with(-EIO);
	for (int i = 0; i < 50 && rc == 0 && !ol_query(r, "short"); i++)
		rc = ol_write(r, bytes, sizeof(bytes));
	return end_with(rc);
}

static inline int sip(ol_req *r)
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

static inline int wait_for_it(ol_req *r)
{
	int rc;

	runs++;
	waiting = r;
	rc = ol_wait(r, -1);
	waiting = NULL;
	return end_with(rc < 0 ? rc : ol_text(r, 200, "waited\n"));
}

static inline int trickle(ol_req *r)
{
	int rc = ol_stream(r, 200, NULL);

	runs++;
	waiting = r;
	while (rc == 0) {
		rc = ol_write(r, "drop\n", 5);
		if (rc == 0)
			rc = ol_wait(r, -1);
	}
	waiting = NULL;
	return end_with(rc);
}

static inline int work(void *arg)
{
	(void)arg;
	offloaded++;
	sem_post(&begun);
	sem_wait(&let_go);
	return 7;
}

static inline int elsewhere(ol_req *r)
{
	int rc = ol_offload(r, "one", work, NULL);

	runs++;
	return end_with(rc < 0 ? rc : ol_textf(r, 200, "%d\n", rc));
}

static inline ssize_t pull_more(ol_req *r, void *arg, void *buf, size_t n)
{
	(void)r, (void)arg;
	memset(buf, 'p', n);
	return (ssize_t)n;
}

/* Without end: whoever pulls is done when it is closed. */
static inline int pulled(ol_req *r)
{
	runs++;
	return ol_pull(r, 200, NULL, pull_more, release, NULL);
}

static inline int leave_work(ol_req *r, void *arg)
{
	(void)arg;
	left_work += ol_cancelled(r) ? 100 : 1;
	return 0;
}

static inline int hold_and_leave(ol_req *r)
{
	int rc = ol_after(r, NULL, leave_work, NULL);

	return rc < 0 ? rc : hold(r);
}

static inline int quick(ol_req *r)
{
	runs++;
	return ol_text(r, 200, "quick\n");
}

/* Holds the loop up for longer than any deadline. */
static inline int jump(ol_req *r)
{
	script_advance(rooms.loop, PAST_MS * NS_PER_MS);
	return ol_text(r, 200, "late\n");
}

enum { HOLD, SINGLE, POUR, SIP_, WAIT, TRICKLE, ELSEWHERE, QUICK };
static const struct ol_route routes[] = {
	[HOLD] = OL_GET("/hold", .sync = hold, .pool = "one", .timeout = LIMIT_MS),
	[SINGLE] = OL_GET("/single", .sync = hold, .pool = "two", .max_inflight = 1, .timeout = LIMIT_MS),
	[POUR] = OL_GET("/pour", .sync = pour, .pool = "one", .timeout = LIMIT_MS),
	[SIP_] = OL_POST("/sip", .sync = sip, .pool = "two", .stream = 1, .timeout = LIMIT_MS),
	[WAIT] = OL_GET("/wait", .async = wait_for_it, .timeout = LIMIT_MS),
	[TRICKLE] = OL_GET("/trickle", .async = trickle, .timeout = LIMIT_MS),
	[ELSEWHERE] = OL_GET("/elsewhere", .async = elsewhere, .timeout = LIMIT_MS),
	[QUICK] = OL_GET("/quick", .async = quick, .timeout = LIMIT_MS),
	OL_GET("/jump", .async = jump),
	OL_GET("/pulled", .sync = pulled, .pool = "one", .timeout = LIMIT_MS),
	OL_GET("/pulled/here", .async = pulled, .timeout = LIMIT_MS),
	OL_GET("/after", .sync = hold_and_leave, .pool = "one", .timeout = LIMIT_MS),
	OL_POST("/hold", .sync = hold, .pool = "one", .timeout = LIMIT_MS),
	OL_GET("/patient", .sync = hold, .pool = "one"),
};
static const struct ol_pool pools[] = { { .name = "one", .threads = 1, .queue = 4 },
	{ .name = "two", .threads = 2, .queue = 2 } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };

static inline void set_up(void)
{
	runs = ended = released = last_rc = offloaded = left_work = 0;
	waiting = NULL;
	sem_init(&begun, 0, 0);
	sem_init(&let_go, 0, 0);
	rooms_up(&rooms, &app, NULL);
}

static inline void tear_down(void)
{
	for (int i = 0; i < 8; i++)
		sem_post(&let_go);
	rooms_down(&rooms);
	ck_assert_ptr_null(waiting);
	sem_destroy(&begun);
	sem_destroy(&let_go);
}

static inline bool has_begun(void)
{
	return sem_trywait(&begun) == 0;
}

static inline bool all_gone(void)
{
	return rooms.dispatch.nlive == 0;
}

static inline void leave(struct script_peer *p)
{
	script_end(p, -ECONNRESET);
	turn(&rooms);
}

/* What each deadline so far came to, and what handlers said after it. */
static inline void ck_counted(unsigned queued, unsigned running, unsigned streaming, unsigned late)
{
	ck_assert_uint_eq(counted(&rooms, METRIC_DEADLINE_QUEUED), queued);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEADLINE_RUNNING), running);
	ck_assert_uint_eq(counted(&rooms, METRIC_DEADLINE_STREAMING), streaming);
	ck_assert_uint_eq(counted(&rooms, METRIC_LATE), late);
}

static inline unsigned dropped(unsigned pool, enum dispatch_drop why)
{
	return (unsigned)atomic_load(&rooms.shared.pools[pool].dropped[why]);
}

static inline unsigned running(unsigned pool)
{
	struct pool_stats s;

	pool_stats(rooms.shared.pools[pool].pool, &s);
	return s.running;
}

/* A worker's message lies in the inbox; no turn has been taken. */
static inline void wait_for_message(void)
{
	uintptr_t at;

	do
		at = (uintptr_t)atomic_load(&rooms.loop->inbox);
	while (at <= 1);        /* empty, or the loop's mark that it sleeps */
}

static inline void nothing(ol_req *r, void *arg)
{
	(void)r, (void)arg;
}

/* As many messages as are read in a turn, so that what comes behind them finds the timers first. */
static inline void fill_the_inbox(void)
{
	ol_handle stale = { &rooms.dispatch, 0, 0 };

	for (int i = 0; i < MESSAGES_A_TURN; i++)
		ck_assert_int_eq(ol_post(stale, nothing, NULL), 0);
}

/* The newest message is a worker's, behind those of fill_the_inbox. */
static inline void wait_for_message_behind(struct loop_msg *newest)
{
	while (atomic_load(&rooms.loop->inbox) == newest)
		;
}

#define IS_504(p) (heard_of(p, "HTTP/1.1 504 ") && heard_of(p, "{\"detail\":\"The request took too long\"}"))

#endif
