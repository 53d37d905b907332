/* test_chain.c: what runs around a handler, in which order, and what becomes of the reply when a part of it fails.
 *
 * Each part writes its name into a trace: +a a need is acquired, -a it is released, (m a middleware begins, m) it ends,
 * h the handler, e an error handler; behind a colon stands the status as it is then.  What a part does is told by the
 * query: /a?h=fail&m=twice.  Every case runs in both lanes, and must come to the same trace and reply.
 */
#include "rooms.h"

#include <sys/syscall.h>

static struct rooms rooms;
static char trace[500];
static pid_t thread;                /* of the parts that have run; -1: not all on the same one */
static ol_req *meeting;             /* who waits for the test */

static void __attribute__((format(printf, 1, 2))) note(const char *fmt, ...)
{
	size_t n = strlen(trace);
	pid_t now = (pid_t)syscall(SYS_gettid);
	va_list ap;

	thread = thread == 0 || thread == now ? now : -1;
	va_start(ap, fmt);
	vsnprintf(trace + n, sizeof(trace) - n, fmt, ap);
	va_end(ap);
}

/* Whether the query tells this part to do that. */
static bool told(ol_req *r, const char *part, const char *what)
{
	const char *does = ol_query(r, part);

	return does && strcmp(does, what) == 0;
}

/* What any part may be told to do instead of its work; 1: nothing of that. */
static int misbehave(ol_req *r, const char *part)
{
	if (told(r, part, "fail"))
		return -EIO;
	if (told(r, part, "positive"))
		return 7;
	if (told(r, part, "reply"))
		return ol_textf(r, 200, "by %s\n", part);
	if (told(r, part, "teapot"))
		return ol_error(r, 418, "short and stout");
	if (told(r, part, "latch"))
		return ol_invalid(r, "query", "q", "no good", "value_error");
	if (told(r, part, "undeclared"))
		return ol_param(r, "nonesuch") ? -1 : 0;
	if (told(r, part, "reply-and-fail"))
		return ol_text(r, 200, "secret\n") < 0 ? 0 : -EIO;
	return 1;
}

/* Waits for the test, or until the client has left. */
static int meet(ol_req *r)
{
	int rc;

	meeting = r;
	rc = ol_wait(r, -1);
	meeting = NULL;
	return rc;
}

static int acquire(ol_req *r, void **value, const char *name)
{
	int rc;

	ck_assert_ptr_null(*value);
	note(" +%s", name);
	if (told(r, name, "wait"))
		ck_assert_int_eq(meet(r) < 0, ol_cancelled(r));
	rc = misbehave(r, name);
	*value = (void *)(uintptr_t)name;
	return rc == 1 ? 0 : rc;
}

static void release(ol_req *r, void *value, const char *name)
{
	ck_assert_ptr_eq(value, name);
	if (told(r, name, "wait-in-release"))
		ck_assert_int_eq(meet(r) < 0, ol_cancelled(r));
	note(" -%s:%d", name, ol_status(r));
	ck_assert_int_eq(ol_text(r, 200, "too late\n"), -EALREADY);
	ck_assert_int_eq(ol_error(r, 500, "too late"), -EALREADY);
	ck_assert_int_eq(ol_header_set(r, "X-Late", "1"), -EALREADY);
	ck_assert_int_lt(ol_write(r, "late", 4), 0);
	if (told(r, name, "latch-in-release"))
		(void)ol_param(r, "nonesuch");
}

static const char name_a[] = "a", name_b[] = "b", name_c[] = "c";

static int acquire_a(ol_req *r, void **value) { return acquire(r, value, name_a); }
static void release_a(ol_req *r, void *value) { release(r, value, name_a); }
static int acquire_b(ol_req *r, void **value)
{
	ck_assert_ptr_eq(ol_need_value(r, "a"), name_a);
	ck_assert_ptr_null(ol_need_value(r, "b"));
	return acquire(r, value, name_b);
}
static void release_b(ol_req *r, void *value)
{
	ck_assert_ptr_eq(ol_need_value(r, "a"), name_a);
	release(r, value, name_b);
}
static int acquire_c(ol_req *r, void **value) { return acquire(r, value, name_c); }
static void release_c(ol_req *r, void *value) { release(r, value, name_c); }

static const struct ol_need need_a = { .name = "a", .acquire = acquire_a, .release = release_a };
static const struct ol_need need_b = { .name = "b", .acquire = acquire_b, .release = release_b, .needs = { &need_a } };
static const struct ol_need need_c = { .name = "c", .acquire = acquire_c, .release = release_c,
	.needs = { &need_a, &need_b } };

/* Middleware; `m` is outside of `n`. */
static int around(ol_req *r, ol_next *next, const char *name)
{
	int rc;

	note(" (%s", name);
	if (told(r, name, "stream-first"))
		ck_assert_int_eq(ol_stream(r, 200, NULL), 0);
	rc = misbehave(r, name);
	if (rc != 1)
		return rc;
	if (told(r, name, "silent"))
		return 0;
	if (told(r, name, "write-first")) {
		ck_assert_int_eq(ol_stream(r, 200, NULL), 0);
		ck_assert_int_eq(ol_write(r, "first\n", 6), 0);
	}
	if (told(r, name, "reply-first"))
		ck_assert_int_eq(ol_text(r, 200, "first\n"), 0);
	ck_assert_int_eq(ol_header_set(r, "X-Before", name), told(r, "m", "write-first") ? -EALREADY : 0);
	ck_assert_int_eq(ol_header_add(r, "X-Around", name), told(r, "m", "write-first") ? -EALREADY : 0);
	ck_assert_int_eq(ol_next_run(next, r), 0);
	note(" %s:%d)", name, ol_status(r));
	if (told(r, name, "twice"))
		return ol_next_run(next, r);
	if (told(r, name, "twice-ignored"))
		ck_assert_int_eq(ol_next_run(next, r), -EALREADY);
	if (told(r, name, "fail-after"))
		return -EIO;
	if (told(r, name, "minus-one"))
		return -1;
	if (told(r, name, "replace"))
		return ol_textf(r, 203, "%d became mine\n", ol_status(r));
	if (told(r, name, "header"))
		return ol_header_set(r, "X-After", name);
	if (told(r, name, "say"))
		return ol_textf(r, 200, "said: %s\n", ol_detail(r));
	return 0;
}

static int middleware_m(ol_req *r, ol_next *next) { return around(r, next, "m"); }
static int middleware_n(ol_req *r, ol_next *next) { return around(r, next, "n"); }
static int middleware_o(ol_req *r, ol_next *next) { return around(r, next, "o"); }

static int handler(ol_req *r)
{
	int rc;

	note(" h");
	ck_assert_int_eq(ol_status(r), told(r, "m", "write-first") ? 200 : 0);
	if (ol_query(r, "need"))
		return ol_textf(r, 200, "%p\n", ol_need_value(r, ol_query(r, "need")));
	if (told(r, "h", "wait"))
		ck_assert_int_eq(meet(r) < 0, ol_cancelled(r));
	rc = misbehave(r, "h");
	if (rc != 1)
		return rc;
	if (told(r, "h", "silent"))
		return 0;
	if (told(r, "h", "stream") || told(r, "h", "break") || told(r, "h", "stream-undeclared")) {
		rc = ol_stream(r, 200, "text/plain");
		rc = rc < 0 ? rc : ol_write(r, "streamed\n", 9);
		if (told(r, "h", "stream-undeclared"))
			(void)ol_param(r, "nonesuch");
		return told(r, "h", "break") ? -EIO : rc;
	}
	if (told(r, "h", "empty-stream"))
		return ol_stream(r, 200, NULL);
	if (told(r, "h", "write-nothing"))
		return ol_write(r, "", 0);
	return ol_text(r, 200, "handled\n");
}

static int on_error(ol_req *r)
{
	note(" e:%d", ol_status(r));
	if (told(r, "e", "wait"))
		ck_assert_int_eq(meet(r) < 0, ol_cancelled(r));
	if (told(r, "e", "fail")) {
		(void)ol_header_set(r, "Content-Type", "image/png");
		ck_assert_int_eq(ol_header_set(r, "X-Before", "e"), 0);
		return ol_bytes(r, 200, "image/png", "?", 1) < 0 ? 0 : -EIO;
	}
	if (told(r, "e", "silent"))
		return ol_header_set(r, "X-Error", "seen");
	if (told(r, "e", "again"))
		return ol_error(r, 418, "another error");
	if (told(r, "e", "undeclared"))
		return ol_param(r, "nonesuch") ? -1 : 0;
	return ol_textf(r, ol_status(r), "[%s]\n", ol_detail(r));
}

#define LANES(lane_, ...) \
	OL_GET("/" #lane_, .lane_ = handler, __VA_ARGS__), OL_GET("/" #lane_ "/int/{n:int}", .lane_ = handler), \
	OL_POST("/" #lane_ "/small", .lane_ = handler, .body_max = 10)

static const struct ol_route inner_routes[] = {
	OL_GET("/async", .async = handler, .needs = { &need_c }, .middleware = { middleware_o }),
	OL_GET("/sync", .sync = handler, .needs = { &need_c }, .middleware = { middleware_o }),
};
static const struct ol_router inner = { OL_ROUTES(inner_routes) };
static const struct ol_route routes[] = {
	LANES(async, .needs = { &need_b, &need_a, &need_b }, .middleware = { middleware_n }),
	LANES(sync, .needs = { &need_b, &need_a, &need_b }, .middleware = { middleware_n }),
	OL_MOUNT("/in", &inner, .needs = { &need_a }, .middleware = { middleware_n }),
};
static const struct ol_on_error on_errors[] = {
	{ 413, on_error },
	{ 404, on_error }, { 405, on_error }, { 418, on_error }, { 422, on_error }, { 500, on_error },
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .middleware = { middleware_m },
	OL_ON_ERROR(on_errors) };
static const struct ol_app plain_app = { OL_APP_INIT, OL_ROUTES(routes), .middleware = { middleware_m } };

static void up(const struct ol_app *which)
{
	trace[0] = '\0';
	thread = 0;
	meeting = NULL;
	rooms_up(&rooms, which, NULL);
}

static void set_up(void)
{
	up(&app);
}

static void set_up_plain(void)
{
	up(&plain_app);
}

static void tear_down(void)
{
	rooms_down(&rooms);
}

/* What one request says and leaves in the trace. */
static const char *ask(const char *method, const char *path, const char *query)
{
	char request[300];
	struct script_peer *p;

	snprintf(request, sizeof(request), "%s %s?%s HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", method, path,
		query);
	trace[0] = '\0';
	thread = 0;
	p = say(&rooms, NULL, request);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	turn(&rooms);
	ck_assert_int_ne(thread, -1);
	return heard(p);
}

/* body NULL: it is broken off, somewhere. */
static void check(const char *path, const char *query, int status, const char *body, const char *expected)
{
	const char *reply = ask("GET", path, query), *at = strstr(reply, "\r\n\r\n");

	ck_assert_msg(at != NULL, "no reply: %s", reply);
	ck_assert_msg(strtol(reply + 9, NULL, 10) == status, "%s?%s: not %d: %s", path, query, status, reply);
	if (body)
		ck_assert_msg(strcmp(at + 4, body) == 0, "%s?%s: not \"%s\": %s", path, query, body, reply);
	else
		ck_assert_msg(!strstr(at + 4, "\r\n0\r\n"), "%s?%s: not broken off: %s", path, query, reply);
	ck_assert_msg(strcmp(trace, expected) == 0, "%s?%s: not \"%s\": %s", path, query, expected, trace);
	ck_assert_ptr_null(strstr(reply, "X-Late"));
}

/* In both lanes the same. */
static void both(const char *query, int status, const char *body, const char *expected)
{
	check("/async", query, status, body, expected);
	check("/sync", query, status, body, expected);
}

#define JSON_500 "{\"detail\":\"Internal Server Error\"}"

/* ---- order ------------------------------------------------------------------------------------------------------- */

START_TEST(needs_and_handler_run_inside_of_the_middleware)
{
	both("", 200, "handled\n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
}
END_TEST

START_TEST(a_mounts_needs_and_middleware_are_those_of_its_routes)
{
	check("/in/async", "", 200, "handled\n", " (m (n (o +a +b +c h -c:200 -b:200 -a:200 o:200) n:200) m:200)");
	check("/in/sync", "", 200, "handled\n", " (m (n (o +a +b +c h -c:200 -b:200 -a:200 o:200) n:200) m:200)");
}
END_TEST

START_TEST(a_need_may_wait_and_the_chain_goes_on_where_it_was)
{
	struct script_peer *p = say(&rooms, NULL, GET("/async?b=wait&h=wait&a=wait-in-release"));

	for (int i = 0; i < 3; i++) {
		ck_assert_ptr_nonnull(meeting);
		ol_wake(meeting);
		turn(&rooms);
	}
	ck_assert_ptr_null(meeting);
	ck_assert(heard_of(p, "handled\n"));
	ck_assert_str_eq(trace, " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
}
END_TEST

START_TEST(a_route_with_nothing_around_it_has_no_chain)
{
	static const struct ol_route some[] = {
		OL_GET("/bare", .async = handler),
		OL_GET("/needs", .sync = handler, .needs = { &need_a }),
	};
	static const struct ol_app bare = { OL_APP_INIT, OL_ROUTES(some) };

	tear_down();
	up(&bare);
	ck_assert_ptr_null(rooms.endpoints.all[0].chain);
	ck_assert_ptr_nonnull(rooms.endpoints.all[1].chain);
	check("/bare", "", 200, "handled\n", " h");
	check("/needs", "", 200, "handled\n", " +a h -a:200");
	check("/bare", "h=fail", 500, JSON_500, " h");
}
END_TEST

/* ---- handlers ---------------------------------------------------------------------------------------------------- */

START_TEST(a_failure_is_a_reply_to_those_outside)
{
	both("h=fail", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("h=positive", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("h=silent", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("h=reply-and-fail", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("h=undeclared", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("h=teapot", 418, "{\"detail\":\"short and stout\"}", " (m (n +a +b h -b:418 -a:418 n:418) m:418)");
	both("h=latch", 422,
		"{\"detail\":[{\"loc\":[\"query\",\"q\"],\"msg\":\"no good\",\"type\":\"value_error\"}]}",
		" (m (n +a +b h -b:422 -a:422 n:422) m:422)");
}
END_TEST

START_TEST(a_latched_status_is_used_up_by_the_return_it_answers)
{
	both("h=latch&n=minus-one", 500, JSON_500, " (m (n +a +b h -b:422 -a:422 n:422) m:500)");
	both("h=undeclared&n=replace", 203, "500 became mine\n", " (m (n +a +b h -b:500 -a:500 n:500) m:203)");
	both("a=latch-in-release", 200, "handled\n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
}
END_TEST

START_TEST(a_need_is_had_while_it_is_held_and_an_unknown_one_is_a_500)
{
	char line[40];

	snprintf(line, sizeof(line), "%p\n", (const void *)name_b);
	both("need=b", 200, line, " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	both("need=c", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
}
END_TEST

/* ---- needs ------------------------------------------------------------------------------------------------------- */

START_TEST(what_was_acquired_before_a_failure_is_released_and_no_more)
{
	both("a=fail", 500, JSON_500, " (m (n +a n:500) m:500)");
	both("b=fail", 500, JSON_500, " (m (n +a +b -a:500 n:500) m:500)");
	both("b=positive", 500, JSON_500, " (m (n +a +b -a:500 n:500) m:500)");
	both("b=reply-and-fail", 500, JSON_500, " (m (n +a +b -a:500 n:500) m:500)");
	both("b=latch", 422,
		"{\"detail\":[{\"loc\":[\"query\",\"q\"],\"msg\":\"no good\",\"type\":\"value_error\"}]}",
		" (m (n +a +b -a:422 n:422) m:422)");
}
END_TEST

START_TEST(a_need_may_reply_instead_of_the_handler)
{
	both("b=reply", 200, "by b\n", " (m (n +a +b -a:200 n:200) m:200)");
	both("a=teapot", 418, "{\"detail\":\"short and stout\"}", " (m (n +a n:418) m:418)");
}
END_TEST

START_TEST(a_need_that_latches_a_500_but_was_acquired_is_released)
{
	both("b=undeclared", 500, JSON_500, " (m (n +a +b -b:500 -a:500 n:500) m:500)");
}
END_TEST

START_TEST(a_reply_that_middleware_made_before_is_none_of_the_needs)
{
	both("m=reply-first", 200, "handled\n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	both("m=reply-first&h=silent", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
}
END_TEST

/* ---- middleware -------------------------------------------------------------------------------------------------- */

START_TEST(middleware_may_answer_by_itself)
{
	both("m=reply", 200, "by m\n", " (m");
	both("n=reply", 200, "by n\n", " (m (n m:200)");
	both("n=teapot", 418, "{\"detail\":\"short and stout\"}", " (m (n m:418)");
}
END_TEST

START_TEST(middleware_that_fails_is_answered_as_a_handler)
{
	both("m=fail", 500, JSON_500, " (m");
	both("n=fail", 500, JSON_500, " (m (n m:500)");
	both("n=positive", 500, JSON_500, " (m (n m:500)");
	both("n=silent", 500, JSON_500, " (m (n m:500)");
	both("m=silent", 500, JSON_500, " (m");
	both("n=fail-after", 500, JSON_500, " (m (n +a +b h -b:200 -a:200 n:200) m:500)");
	both("m=fail-after", 500, JSON_500, " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
}
END_TEST

START_TEST(what_is_inside_runs_once)
{
	both("n=twice-ignored", 200, "handled\n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	both("n=twice", 500, JSON_500, " (m (n +a +b h -b:200 -a:200 n:200) m:500)");
}
END_TEST

START_TEST(middleware_replaces_the_reply_or_adds_to_it)
{
	both("m=replace", 203, "200 became mine\n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	both("m=replace&h=fail", 203, "500 became mine\n", " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("m=say&h=teapot", 200, "said: short and stout\n", " (m (n +a +b h -b:418 -a:418 n:418) m:418)");
	both("m=say", 200, "said: \n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	ck_assert(strstr(ask("GET", "/async", "m=header&h=fail"), "\r\nX-After: m\r\n"));
	ck_assert(strstr(ask("GET", "/sync", "h=teapot"), "\r\nX-Before: n\r\n"));
}
END_TEST

START_TEST(a_failure_is_counted_whatever_becomes_of_its_reply)
{
	both("m=replace&h=fail", 203, "500 became mine\n", " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("n=twice", 500, JSON_500, " (m (n +a +b h -b:200 -a:200 n:200) m:500)");
	both("b=fail&n=fail-after", 500, JSON_500, " (m (n +a +b -a:500 n:500) m:500)");
	both("h=teapot", 418, "{\"detail\":\"short and stout\"}", " (m (n +a +b h -b:418 -a:418 n:418) m:418)");
	ck_assert_uint_eq(counted(&rooms, METRIC_HANDLER_ERRORS), 6);
}
END_TEST

/* ---- streams ----------------------------------------------------------------------------------------------------- */

START_TEST(a_stream_ends_when_the_outermost_has_returned)
{
	both("h=stream", 200, "9\r\nstreamed\n\r\n0\r\n\r\n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	both("h=empty-stream", 200, "0\r\n\r\n", " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
}
END_TEST

START_TEST(a_stream_that_is_committed_is_only_broken_off)
{
	both("h=break", 200, NULL, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("h=stream-undeclared", 200, NULL, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
	both("h=stream&m=fail-after", 200, NULL, " (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	both("h=stream&n=replace", 200, NULL, " (m (n +a +b h -b:200 -a:200 n:200) m:500)");
}
END_TEST

START_TEST(what_is_inside_of_a_committed_stream_works_for_it)
{
	both("m=write-first&h=write-nothing", 200, "6\r\nfirst\n\r\n0\r\n\r\n",
		" (m (n +a +b h -b:200 -a:200 n:200) m:200)");
	both("m=write-first&b=fail", 200, NULL, " (m (n +a +b -a:500 n:500) m:500)");
	both("m=write-first", 200, NULL, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
}
END_TEST

START_TEST(a_stream_that_is_not_committed_is_replaced)
{
	both("h=empty-stream&n=replace", 203, "200 became mine\n", " (m (n +a +b h -b:200 -a:200 n:200) m:203)");
	both("h=empty-stream&n=fail-after", 500, JSON_500, " (m (n +a +b h -b:200 -a:200 n:200) m:500)");
	both("m=stream-first&h=fail", 500, JSON_500, " (m (n +a +b h -b:500 -a:500 n:500) m:500)");
}
END_TEST

/* ---- who leaves -------------------------------------------------------------------------------------------------- */

START_TEST(what_was_acquired_is_released_though_the_client_has_left)
{
	static const struct {
		const char *request, *trace;
	} cases[] = {
		{ GET("/async?b=wait"), " (m (n +a +b h -b:200 -a:200 n:200) m:200)" },
		{ GET("/async?h=wait"), " (m (n +a +b h -b:200 -a:200 n:200) m:200)" },
		{ GET("/async?b=wait&h=fail"), " (m (n +a +b h -b:503 -a:503 n:503) m:503)" },
		{ GET("/async?a=wait-in-release"), " (m (n +a +b h -b:200 -a:200 n:200) m:200)" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct script_peer *p;

		trace[0] = '\0';
		p = say(&rooms, NULL, cases[i].request);
		ck_assert_ptr_nonnull(meeting);
		script_end(p, -ECONNRESET);
		turn(&rooms);
		ck_assert_uint_eq(rooms.dispatch.nlive, 0);
		ck_assert_msg(strcmp(trace, cases[i].trace) == 0, "%s: %s", cases[i].request, trace);
	}
}
END_TEST

/* ---- error handlers ---------------------------------------------------------------------------------------------- */

START_TEST(each_error_is_shown_once_as_soon_as_its_function_returns)
{
	both("h=teapot", 418, "[short and stout]\n", " (m (n +a +b h e:418 -b:418 -a:418 n:418) m:418)");
	both("h=fail", 500, "[Internal Server Error]\n", " (m (n +a +b h e:500 -b:500 -a:500 n:500) m:500)");
	both("b=fail", 500, "[Internal Server Error]\n", " (m (n +a +b e:500 -a:500 n:500) m:500)");
	both("n=fail-after", 500, "[Internal Server Error]\n", " (m (n +a +b h -b:200 -a:200 n:200) e:500 m:500)");
	both("m=teapot", 418, "[short and stout]\n", " (m e:418");
	both("h=undeclared", 500, "[Internal Server Error]\n", " (m (n +a +b h e:500 -b:500 -a:500 n:500) m:500)");
}
END_TEST

START_TEST(an_error_of_many_entries_is_shown_as_their_list)
{
	both("h=latch", 422, "[[{\"loc\":[\"query\",\"q\"],\"msg\":\"no good\",\"type\":\"value_error\"}]]\n",
		" (m (n +a +b h e:422 -b:422 -a:422 n:422) m:422)");
}
END_TEST

START_TEST(an_error_handler_that_fails_leaves_the_error_as_it_was)
{
	const char *reply;

	both("e=fail&h=teapot", 418, "{\"detail\":\"short and stout\"}",
		" (m (n +a +b h e:418 -b:418 -a:418 n:418) m:418)");
	reply = ask("GET", "/async", "e=fail&h=teapot");
	ck_assert(strstr(reply, "\r\nContent-Type: application/json\r\n"));
	ck_assert(strstr(reply, "\r\nX-Around: m\r\nX-Before: n\r\nX-Around: n\r\n"));
	ck_assert(!strstr(reply, "X-Before: e"));
	both("e=undeclared&h=teapot", 418, "{\"detail\":\"short and stout\"}",
		" (m (n +a +b h e:418 -b:418 -a:418 n:418) m:418)");
	both("e=fail&h=latch", 422,
		"{\"detail\":[{\"loc\":[\"query\",\"q\"],\"msg\":\"no good\",\"type\":\"value_error\"}]}",
		" (m (n +a +b h e:422 -b:422 -a:422 n:422) m:422)");
}
END_TEST

START_TEST(an_error_handler_may_keep_the_error_or_make_another)
{
	both("e=silent&h=teapot", 418, "{\"detail\":\"short and stout\"}",
		" (m (n +a +b h e:418 -b:418 -a:418 n:418) m:418)");
	ck_assert(strstr(ask("GET", "/sync", "e=silent&h=teapot"), "\r\nX-Error: seen\r\n"));
	both("e=again&h=fail", 418, "{\"detail\":\"another error\"}",
		" (m (n +a +b h e:500 -b:418 -a:418 n:418) m:418)");
}
END_TEST

START_TEST(errors_before_the_handler_are_shown_in_the_routes_lane)
{
	const char *list = "[[{\"loc\":[\"path\",\"n\"],\"msg\":\"value is not a valid integer\","
			   "\"type\":\"type_error.integer\"}]]\n";
	pid_t loop = (pid_t)syscall(SYS_gettid);

	check("/async/int/x", "", 422, list, " e:422");
	ck_assert_int_eq(thread, loop);
	check("/sync/int/x", "", 422, list, " e:422");
	ck_assert_int_ne(thread, loop);
}
END_TEST

START_TEST(errors_of_requests_without_a_route_are_shown_on_the_loop)
{
	const char *reply;

	check("/none", "", 404, "[Not Found]\n", " e:404");
	check("/none", "e=fail", 404, "{\"detail\":\"Not Found\"}", " e:404");
	reply = ask("DELETE", "/async", "");
	ck_assert(strstr(reply, "HTTP/1.1 405 ") && strstr(reply, "\r\nAllow: GET, HEAD, OPTIONS\r\n"));
	ck_assert(strstr(reply, "[Method Not Allowed]\n"));
	reply = ask("DELETE", "/async", "e=fail");
	ck_assert(strstr(reply, "HTTP/1.1 405 ") && strstr(reply, "\r\nAllow: GET, HEAD, OPTIONS\r\n"));
	ck_assert_int_eq(thread, (pid_t)syscall(SYS_gettid));
	ck_assert(strstr(ask("OPTIONS", "/async", ""), "HTTP/1.1 204 "));
	ck_assert_str_eq(trace, "");
}
END_TEST

START_TEST(an_error_handler_without_a_route_may_wait)
{
	struct script_peer *p = say(&rooms, NULL,
		"POST /none?e=wait HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfour");

	ck_assert_ptr_nonnull(meeting);
	ck_assert_uint_eq(atomic_load(&rooms.metrics.in_flight[rooms.endpoints.n]), 1);
	say(&rooms, p, "more");
	ol_wake(meeting);
	turn(&rooms);
	ck_assert(heard_of(p, "[Not Found]\n"));
	ck_assert_uint_eq(atomic_load(&rooms.metrics.in_flight[rooms.endpoints.n]), 0);
	forget_heard(p);
	say(&rooms, p, GET("/async")); /* the body was thrown away, and the connection goes on */
	ck_assert(heard_of(p, "handled\n"));
	p = say(&rooms, NULL, GET("/none?e=wait"));
	script_end(p, -ECONNRESET);
	turn(&rooms);
	ck_assert_uint_eq(rooms.dispatch.nlive, 0);
}
END_TEST

START_TEST(a_body_that_turns_out_too_large_is_an_error_like_others)
{
	static const char *const paths[] = { "/async/small", "/sync/small" };

	for (int i = 0; i < 2; i++) {
		char head[200];
		struct script_peer *p;

		snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
			paths[i]);
		trace[0] = '\0';
		p = say(&rooms, NULL, head);
		say(&rooms, p, "14\r\n01234567890123456789\r\n");
		say(&rooms, p, "0\r\n\r\n");
		UNTIL(&rooms, heard_of(p, "[The body is too large]\n"));
		ck_assert_str_eq(trace, " e:413");
		snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", paths[i]);
		p = say(&rooms, NULL, head);
		UNTIL(&rooms, heard_of(p, "[The body is too large]\n"));
	}
}
END_TEST

int main(void)
{
	TCase *plain = tcase_create("plain"), *errors = tcase_create("errors");
	TCase *cases[] = { plain, errors };

	tcase_add_checked_fixture(plain, set_up_plain, tear_down);
	tcase_add_test(plain, needs_and_handler_run_inside_of_the_middleware);
	tcase_add_test(plain, a_mounts_needs_and_middleware_are_those_of_its_routes);
	tcase_add_test(plain, a_need_may_wait_and_the_chain_goes_on_where_it_was);
	tcase_add_test(plain, a_route_with_nothing_around_it_has_no_chain);
	tcase_add_test(plain, a_failure_is_a_reply_to_those_outside);
	tcase_add_test(plain, a_latched_status_is_used_up_by_the_return_it_answers);
	tcase_add_test(plain, a_need_is_had_while_it_is_held_and_an_unknown_one_is_a_500);
	tcase_add_test(plain, what_was_acquired_before_a_failure_is_released_and_no_more);
	tcase_add_test(plain, a_need_may_reply_instead_of_the_handler);
	tcase_add_test(plain, a_need_that_latches_a_500_but_was_acquired_is_released);
	tcase_add_test(plain, a_reply_that_middleware_made_before_is_none_of_the_needs);
	tcase_add_test(plain, middleware_may_answer_by_itself);
	tcase_add_test(plain, middleware_that_fails_is_answered_as_a_handler);
	tcase_add_test(plain, what_is_inside_runs_once);
	tcase_add_test(plain, middleware_replaces_the_reply_or_adds_to_it);
	tcase_add_test(plain, a_failure_is_counted_whatever_becomes_of_its_reply);
	tcase_add_test(plain, a_stream_ends_when_the_outermost_has_returned);
	tcase_add_test(plain, a_stream_that_is_committed_is_only_broken_off);
	tcase_add_test(plain, what_is_inside_of_a_committed_stream_works_for_it);
	tcase_add_test(plain, a_stream_that_is_not_committed_is_replaced);
	tcase_add_test(plain, what_was_acquired_is_released_though_the_client_has_left);
	tcase_add_checked_fixture(errors, set_up, tear_down);
	tcase_add_test(errors, each_error_is_shown_once_as_soon_as_its_function_returns);
	tcase_add_test(errors, an_error_of_many_entries_is_shown_as_their_list);
	tcase_add_test(errors, an_error_handler_that_fails_leaves_the_error_as_it_was);
	tcase_add_test(errors, an_error_handler_may_keep_the_error_or_make_another);
	tcase_add_test(errors, errors_before_the_handler_are_shown_in_the_routes_lane);
	tcase_add_test(errors, errors_of_requests_without_a_route_are_shown_on_the_loop);
	tcase_add_test(errors, an_error_handler_without_a_route_may_wait);
	tcase_add_test(errors, a_body_that_turns_out_too_large_is_an_error_like_others);
	return rooms_suite("chain", cases, sizeof(cases) / sizeof(cases[0]));
}
