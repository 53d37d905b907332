/*
 * rooms.h: every room between loop and handler, on one scripted loop: what the tests of those rooms share.
 *
 * An app's routes are built by endpoints.c; a listener, conn.c and dispatch.c run on the loop of loop_script.h, whose
 * time and completions are the test's; sync routes run on real pools.  Nothing sleeps: what another thread will do is
 * waited for by turning the loop until it has been seen (UNTIL), with a bound.
 *
 *     static struct rooms rooms;          zeroed by rooms_up
 *     rooms_up(&rooms, &app, NULL);
 *     p = say(&rooms, NULL, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
 *     ck_assert_str_eq(heard(p), "...");
 *     rooms_down(&rooms);                 everything must have been given back by then
 */
#ifndef OL_ROOMS_H
#define OL_ROOMS_H

#include "../loop_script.h"

#include "conn.h"
#include "dispatch.h"
#include "endpoints.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rooms {
	struct config config;
	struct log *log;
	struct endpoints endpoints;
	struct dispatch_shared shared;
	struct metrics_loop metrics;
	struct loop *loop;
	struct dispatch dispatch;
	struct conn_home home;
	struct loop_io listener;
	unsigned closed;            /* connections that have gone */
	unsigned released;          /* listeners */
};

/* Turns the loop until the condition holds: what other threads owe comes by its inbox. */
#define UNTIL(r, condition)                                                                     \
	do {                                                                                    \
		int left_ = 20000;                                                              \
		while (!(condition)) {                                                          \
			ck_assert_msg(left_-- > 0, "never came true: %s", #condition);          \
			ck_assert_int_eq(loop_turn((r)->loop, (r)->loop->now_ns + NS_PER_MS), 0); \
		}                                                                               \
	} while (0)

static inline struct config rooms_config(void)
{
	return (struct config){ .loops = 1, .pool_threads = 2, .pool_queue = 4, .background_threads = 1,
		.background_queue = 2, .target_max = 8192, .head_max = 16384, .fields_max = 100, .body_max = 1 << 20,
		.body_total_max = 1 << 24, .head_timeout_ms = 10000, .body_rate_min = 240, .body_grace_ms = 5000,
		.keepalive_ms = 75000, .write_timeout_ms = 30000, .write_rate_min = 240, .write_grace_ms = 60000,
		.linger_ms = 5000, .events_keepalive_ms = 15000, .connections_max = 100, .requests_max = 100,
		.fibers_max = 100, .idle_thread_ms = 10000 };
}

static inline struct rooms *rooms_of(struct loop *l)
{
	return l->owner;
}

static inline void rooms_before_wait(struct loop *l)
{
	dispatch_flush(&rooms_of(l)->dispatch);
}

static inline void rooms_accepted(struct loop_io *io, int fd, bool more)
{
	(void)more;
	if (fd >= 0 && conn_open(&rooms_of(io->loop)->home, fd) < 0)
		return; /* without memory: it has been closed */
}

static inline void rooms_released(struct loop_io *io)
{
	rooms_of(io->loop)->released++;
}

static inline void rooms_closed(struct conn_home *h)
{
	((struct rooms *)h->owner)->closed++;
}

static inline void rooms_pools(struct rooms *r)
{
	r->shared.npools = r->endpoints.npools;
	r->shared.pools = calloc(r->endpoints.npools, sizeof(*r->shared.pools));
	for (unsigned i = 0; i < r->shared.npools; i++) {
		struct pool_conf pc = endpoints_pool_conf(&r->endpoints, i);

		ck_assert_int_eq(dispatch_pool_init(&r->shared.pools[i], &pc, 0), 0);
	}
}

/* config: NULL for rooms_config(). */
static inline void rooms_up(struct rooms *r, const struct ol_app *app, const struct config *config)
{
	static const struct loop_io_ops listener_ops = { .accepted = rooms_accepted, .released = rooms_released };
	struct log_conf lc = { .level = LOG_ERROR };
	char err[256];
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	memset(r, 0, sizeof(*r));
	r->config = config ? *config : rooms_config();
	lc.fd = fd;
	r->log = log_new(&lc);
	close(fd);
	ck_assert_ptr_nonnull(r->log);
	ck_assert_msg(endpoints_build(&r->endpoints, app, &r->config, err, sizeof(err)) == 0, "%s", err);
	r->shared.config = &r->config;
	r->shared.log = r->log;
	r->shared.router = r->endpoints.router;
	r->shared.endpoints = r->endpoints.all;
	r->shared.nendpoints = r->endpoints.n;
	r->shared.admit = r->endpoints.admit;
	r->shared.requests_max = r->config.requests_max;
	r->shared.fibers_max = r->config.fibers_max;
	atomic_init(&r->shared.data, app->data);
	rooms_pools(r);
	ck_assert_int_eq(metrics_loop_init(&r->metrics, r->endpoints.n), 0);
	r->loop = loop_new_script(NULL);
	r->loop->owner = r;
	r->loop->before_wait = rooms_before_wait;
	ck_assert_int_eq(dispatch_init(&r->dispatch, r->loop, &r->shared, &r->metrics), 0);
	ck_assert_int_eq(conn_home_init(&r->home, r->loop, &r->dispatch, &r->metrics, &r->config), 0);
	r->home.closed = rooms_closed;
	r->home.owner = r;
	loop_io_init(&r->listener, r->loop, script_fd(), &listener_ops);
	ck_assert_int_eq(loop_accept(&r->listener), 0);
}

static inline uint64_t counted(const struct rooms *r, enum metric m)
{
	return atomic_load(&r->metrics.value[m]);
}

/* Breaks off what is still open and waits until connections and requests are gone; then nothing may be left. */
static inline void rooms_down(struct rooms *r)
{
	script_hold(r->loop, false, false);
	conn_home_abort(&r->home);
	UNTIL(r, r->home.nconns == 0 && r->dispatch.nlive == 0 && r->dispatch.nafter == 0 &&
		r->dispatch.nholds == 0);
	ck_assert_uint_eq(atomic_load(&r->shared.body_bytes), 0);
	for (uint32_t i = 0; i < r->endpoints.n; i++) {
		struct inflight *in = r->endpoints.all[i].inflight;

		ck_assert_uint_eq(atomic_load(&r->metrics.in_flight[i]), 0);
		ck_assert(!in || atomic_load(&in->now) == 0);
	}
	ck_assert_uint_eq(r->closed, counted(r, METRIC_ACCEPTED));
	ck_assert(list_empty(&r->home.busy) && list_empty(&r->home.idle));
	loop_close(&r->listener);
	UNTIL(r, r->released == 1);
	ck_assert_uint_eq(r->loop->wheel.armed, 0);
	for (unsigned i = 0; i < r->shared.npools; i++) {
		ck_assert_uint_eq(atomic_load(&r->shared.pools[i].streams), 0);
		dispatch_pool_fini(&r->shared.pools[i]);
	}
	conn_home_fini(&r->home);
	dispatch_fini(&r->dispatch);
	loop_free(r->loop);
	metrics_loop_fini(&r->metrics);
	free(r->shared.pools);
	endpoints_free(&r->endpoints);
	log_free(r->log, 1000);
}

static inline void turn(struct rooms *r)
{
	script_turns(r->loop, 4);
}

/* Time goes by, a bit at a time, so that every timer sees its moment. */
static inline void pass_ms(struct rooms *r, uint64_t ms)
{
	script_advance(r->loop, ms * NS_PER_MS);
	script_turns(r->loop, 2);
	script_advance(r->loop, 3 * NS_PER_MS);
	turn(r);
}

/* The client (NULL: a new one) sends text. */
static inline struct script_peer *say_n(struct rooms *r, struct script_peer *p, const char *text, size_t n)
{
	if (!p) {
		p = script_connect(r->loop);
		turn(r);
	}
	script_give(p, text, n);
	turn(r);
	return p;
}

static inline struct script_peer *say(struct rooms *r, struct script_peer *p, const char *text)
{
	return say_n(r, p, text, strlen(text));
}

/* All it has been sent, as a string. */
static inline const char *heard(struct script_peer *p)
{
	ck_assert_int_eq(buf_append(&p->out, "", 1), 0);
	p->out.n--;
	return buf_slice(&(struct buf){ p->out.p, p->out.off, p->out.n + 1, p->out.cap }).p;
}

static inline bool heard_of(struct script_peer *p, const char *text)
{
	return strstr(heard(p), text) != NULL;
}

/* How often text occurs in what it has been sent. */
static inline unsigned times(struct script_peer *p, const char *text)
{
	unsigned n = 0;

	for (const char *at = heard(p); (at = strstr(at, text)); at += strlen(text))
		n++;
	return n;
}

static inline void forget_heard(struct script_peer *p)
{
	buf_consume(&p->out, p->out.n);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

/* Runs the cases; what main returns. */
static inline int rooms_suite(const char *name, TCase *cases[], size_t n)
{
	Suite *suite = suite_create(name);
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < n; i++) {
		tcase_set_timeout(cases[i], 60);
		suite_add_tcase(suite, cases[i]);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
