/* test_memory.c: every allocation a request makes, made to fail, one at a time, until a whole run succeeds.
 *
 * The linker puts __wrap_ functions in front of the allocator (Makefile.am).  Whatever fails, the client is answered or
 * its connection closed, nothing leaks (rooms_down, and ASan), nobody waits for ever.  The scripted backend is
 * compiled into this program with an allocator that never fails, so that the test itself cannot be hit.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

static _Atomic long countdown;          /* above 0: allocations until the one that fails */
static _Thread_local bool sheltered;    /* the test's own code */

static bool fails(void)
{
	if (sheltered || atomic_load(&countdown) <= 0 || atomic_fetch_sub(&countdown, 1) != 1)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(align, n);
}

#include "base/buf.h"

static int sheltered_append(struct buf *b, const void *p, size_t n)
{
	bool was = sheltered;
	int rc;

	sheltered = true;
	rc = buf_append(b, p, n);
	sheltered = was;
	return rc;
}

#define malloc __real_malloc
#define calloc __real_calloc
#define aligned_alloc __real_aligned_alloc
#define buf_append sheltered_append
#include "../loop_script.c"
#include "rooms.h"
#undef malloc
#undef calloc
#undef aligned_alloc
#undef buf_append

static char big[100000];
static unsigned begun, released, left;

static void release(void *arg)
{
	(void)arg;
	released++;
}

static int hello(ol_req *r)
{
	if (ol_header_set(r, "X-One", "1") < 0 || ol_cookie_set(r, "a", "b", "Path=/") < 0)
		return -ENOMEM;
	return ol_textf(r, 200, "hello %s\n", ol_remote(r));
}

static int borrowed(ol_req *r)
{
	begun++;
	return ol_bytes_new(r, 200, "text/plain", big, sizeof(big), release, NULL);
}

static int echo(ol_req *r)
{
	size_t n;
	const char *body = ol_body(r, &n);

	return body ? ol_bytes(r, 200, NULL, body, n) : -1;
}

static int json(ol_req *r)
{
	json_t *body = ol_body_json(r);

	return body ? ol_json(r, 200, body) : -1;
}

static int large(ol_req *r)
{
	char *p = ol_alloc(r, 60000);

	if (!p)
		return -ENOMEM;
	memset(p, 'x', 60000);
	return ol_bytes(r, 200, NULL, p, 60000);
}

static int count(ol_req *r)
{
	char buf[3000];
	ssize_t n;
	int sum = 0;

	while ((n = ol_body_read(r, buf, sizeof(buf))) > 0)
		sum += (int)n;
	return n < 0 ? -1 : ol_textf(r, 200, "%d %s\n", sum, ol_trailer(r, "X-Sum") ? "with" : "without");
}

static int pour(ol_req *r)
{
	int rc = ol_stream(r, 200, NULL);

	for (int i = 0; i < 10 && rc == 0; i++)
		rc = ol_write(r, big, 30000);
	return rc < 0 ? rc : ol_trailer_set(r, "X-End", "yes");
}

static ssize_t pull(ol_req *r, void *arg, void *buf, size_t n)
{
	size_t *more = arg;

	(void)r;
	n = n < *more ? n : *more;
	memcpy(buf, big, n);
	*more -= n;
	return (ssize_t)n;
}

static void close_source(void *arg)
{
	(void)arg;
	released++;
}

static int pulled(ol_req *r)
{
	size_t *more = ol_alloc(r, sizeof(*more));

	if (!more)
		return -ENOMEM;
	*more = 200000;
	begun++;
	return ol_pull(r, 200, "text/x-long", pull, close_source, more);
}

static int events(ol_req *r)
{
	int rc = ol_events(r, 100);

	for (int i = 0; i < 3 && rc == 0; i++)
		rc = ol_event(r, "tick", "1", "one\ntwo");
	return rc;
}

static int add_one(void *arg)
{
	++*(int *)arg;
	return 0;
}

static int offload(ol_req *r)
{
	int n = 1, rc = ol_offload(r, NULL, add_one, &n);

	return rc < 0 ? rc : ol_textf(r, 200, "%d\n", n);
}

/* So much of the request's first memory is gone that each of those after it needs more. */
static int eat(ol_req *r, ol_next *next)
{
	if (!ol_alloc(r, 3500) || ol_value_set(r, "eaten", r) < 0)
		return -ENOMEM;
	return ol_next_run(next, r);
}

static int acquire(ol_req *r, void **value)
{
	*value = ol_alloc(r, 5000);
	begun += *value != NULL;
	return *value ? 0 : -ENOMEM;
}

static void give_back(ol_req *r, void *value)
{
	(void)r;
	released += value != NULL;
}

static const struct ol_need need = { .name = "need", .acquire = acquire, .release = give_back };

static int needy(ol_req *r)
{
	(void)ol_alloc(r, 5000);
	return ol_need_value(r, "need") ? ol_error(r, 418, "short and stout") : -EIO;
}

static int on_error(ol_req *r)
{
	(void)ol_alloc(r, 5000);
	return ol_textf(r, ol_status(r), "[%s]\n", ol_detail(r));
}

static int pull_error(ol_req *r)
{
	size_t *more = ol_alloc(r, sizeof(*more));

	if (!more)
		return -ENOMEM;
	*more = 70000;
	begun++;
	return ol_pull(r, 410, NULL, pull, close_source, more);
}

static int gone(ol_req *r)
{
	return ol_error(r, 410, "gone");
}

static int background(ol_req *r, void *arg)
{
	(void)arg;
	return ol_alloc(r, 5000) ? 0 : -ENOMEM;
}

static int leave(ol_req *r)
{
	for (int i = 0; i < 2; i++)
		if (ol_alloc(r, 5000) && ol_after(r, NULL, background, NULL) == 0)
			left++;
	return ol_text(r, 200, "left\n");
}

static int replace(ol_req *r, ol_next *next)
{
	int rc = ol_next_run(next, r);

	return rc < 0 ? rc : ol_textf(r, 200, "%d %s\n", ol_status(r), ol_method(r));
}

static int admit(ol_req *r)
{
	return ol_query(r, "x") ? ol_value_set(r, "admitted", r) : 0;
}

static const struct ol_route routes[] = {
	OL_GET("/async/needy", .async = needy, .needs = { &need }, .middleware = { eat }),
	OL_GET("/sync/needy", .sync = needy, .needs = { &need }, .middleware = { eat }),
	OL_GET("/async/hello/{name}", .async = hello),      OL_GET("/sync/hello/{name}", .sync = hello),
	OL_GET("/adaptive/hello/{name}", .adaptive = hello),
	OL_GET("/async/big", .async = borrowed),            OL_GET("/sync/big", .sync = borrowed),
	OL_POST("/async/echo", .async = echo),              OL_POST("/sync/echo", .sync = echo),
	OL_POST("/async/json", .async = json),              OL_POST("/sync/json", .sync = json),
	OL_GET("/async/large", .async = large),             OL_GET("/sync/large", .sync = large),
	OL_POST("/async/count", .async = count, .stream = 1), OL_POST("/sync/count", .sync = count, .stream = 1),
	OL_POST("/async/buffered", .async = count),
	OL_GET("/async/pour", .async = pour),               OL_GET("/sync/pour", .sync = pour),
	OL_GET("/async/pulled", .async = pulled),           OL_GET("/sync/pulled", .sync = pulled),
	OL_GET("/async/events", .async = events),           OL_GET("/sync/events", .sync = events),
	OL_GET("/async/offload", .async = offload),         OL_GET("/sync/offload", .sync = offload),
	OL_GET("/int/{n:int}", .async = hello),
	OL_GET("/async/leave", .async = leave),             OL_GET("/sync/leave", .sync = leave),
	OL_GET("/async/gone", .async = gone),               OL_GET("/sync/gone", .sync = gone),
	OL_GET("/async/held", .async = pulled, .needs = { &need }),
	OL_GET("/sync/held", .sync = pulled, .needs = { &need }),
	OL_POST("/async/upload", .async = count, .stream = 1, .timeout = 5000, .needs = { &need },
		.middleware = { replace }),
	OL_POST("/sync/upload", .sync = count, .stream = 1, .timeout = 5000, .needs = { &need },
		.middleware = { replace }),
};
static const struct ol_on_error on_errors[] = { { 418, on_error }, { 404, on_error }, { 422, on_error },
	{ 410, pull_error } };
static const struct ol_override overrides[] = { { "need", &need } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .admit = { admit }, OL_ON_ERROR(on_errors),
	OL_OVERRIDES(overrides) };

#define POST(path, n, body) "POST " path " HTTP/1.1\r\nHost: a\r\nContent-Length: " #n "\r\n\r\n" body
#define CHUNKS                                                                                  \
	" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"          \
	"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"

/* Each ends its connection by itself. */
static const char *const talks[] = {
	GET("/async/hello/a%20b?x=1"), GET("/sync/hello/a"), GET("/adaptive/hello/a"),
	GET("/async/big"), GET("/sync/big"),
	POST("/async/echo", 3, "abc"), POST("/sync/echo", 3, "abc"), POST("/async/json", 9, "{\"a\":[1]}"),
	POST("/sync/json", 9, "{\"a\":[1]}"), GET("/async/large"), GET("/sync/large"),
	"POST /async/buffered" CHUNKS, "POST /async/count" CHUNKS, "POST /sync/count" CHUNKS,
	"POST /async/echo" CHUNKS, GET("/async/pour"), GET("/sync/pour"), GET("/async/offload"),
	GET("/async/pulled"), GET("/sync/pulled"), GET("/async/events"), GET("/sync/events"),
	GET("/sync/offload"), GET("/int/x"), GET("/nowhere"), GET("/async/needy"), GET("/sync/needy"),
	"DELETE /async/big HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
	GET("/async/leave"), GET("/sync/leave"), GET("/async/gone"), GET("/sync/gone"), GET("/async/held"),
	GET("/sync/held"), "POST /async/upload" CHUNKS, "POST /sync/upload" CHUNKS,
	GET("/async/hello/a") GET("/async/hello/b") POST("/sync/echo", 3, "abc"),
};
#define NTALKS ((int)(sizeof(talks) / sizeof(talks[0])))

static struct rooms rooms;

/* As UNTIL, whose checks allocate. */
static void wait_for_the_end(void)
{
	const struct dispatch *d = &rooms.dispatch;

	for (int i = 0; i < 20000 && rooms.home.nconns + d->nlive + d->nafter > 0; i++)
		if (loop_turn(rooms.loop, rooms.loop->now_ns + NS_PER_MS) < 0)
			abort();
}

/* True when the nth allocation was not reached. */
static bool run(const char *text, long nth)
{
	struct script_peer *p;
	bool whole;

	begun = released = left = 0;
	sheltered = true;
	rooms_up(&rooms, &app, NULL);
	p = script_connect(rooms.loop);
	script_give(p, text, strlen(text) / 2);
	sheltered = false;
	atomic_store(&countdown, nth);
	turn(&rooms);
	if (rooms.home.nconns > 0) {
		script_give(p, text + strlen(text) / 2, strlen(text) - strlen(text) / 2);
		script_end(p, 0);
	}
	wait_for_the_end();
	whole = atomic_exchange(&countdown, 0) > 0;
	ck_assert_uint_eq(rooms.home.nconns + rooms.dispatch.nlive + rooms.dispatch.nafter, 0);
	ck_assert_uint_eq(left, counted(&rooms, METRIC_AFTER_RUN) + counted(&rooms, METRIC_AFTER_DROPPED));
	if (whole)
		ck_assert_uint_gt(p->out.n, 0);
	ck_assert(!heard_of(p, "without"));     /* a trailer that was sent is there, or the request is refused */
	rooms_down(&rooms);
	ck_assert_uint_eq(begun, released);
	return whole;
}

START_TEST(any_allocation_may_fail)
{
	long n = 1;

	while (!run(talks[_i], n))
		n++;
	ck_assert_int_gt(n, 2);
}
END_TEST

START_TEST(an_apps_tables_may_lack_memory_anywhere)
{
	struct config config = rooms_config();
	struct endpoints e;
	char err[200];
	bool whole;
	long n = 0;
	int rc;

	do {
		err[0] = '\0';
		atomic_store(&countdown, ++n);
		rc = endpoints_build(&e, &app, &config, err, sizeof(err));
		whole = atomic_exchange(&countdown, 0) > 0;
		ck_assert_msg(rc == 0 || strstr(err, "memory"), "%s", err);
		endpoints_free(&e);
	} while (!whole);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_gt(n, 30);
}
END_TEST

int main(void)
{
	TCase *nth = tcase_create("nth"), *all[] = { nth };

	json_set_alloc_funcs(__wrap_malloc, free);
	tcase_add_loop_test(nth, any_allocation_may_fail, 0, NTALKS);
	tcase_add_test(nth, an_apps_tables_may_lack_memory_anywhere);
	return rooms_suite("memory", all, 1);
}
