/* testapp.c: an app for the scenarios: a route for each call of the public header, most of them in both lanes.
 *
 * Routes under /a run on the loop, the same functions under /s on a pool: a scenario asks both and expects the same.
 * What a handler does is chosen by query parameters, so that scenarios need no code of their own.  It is never
 * installed.
 */
#include <offloop.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static ol_mutex lock = OL_MUTEX_INIT;
static ol_sem three = OL_SEM_INIT(3);
static ol_sem letting_go = OL_SEM_INIT(0); /* what /hold waits for */
static int inside, most_inside;
static atomic_int insisting_over; /* how many more of /insist may end */
static atomic_int wakers; /* threads that hold a handle; on_stop waits for them */

static int64_t number(ol_req *r, const char *name, int64_t otherwise)
{
	const char *s = ol_query(r, name);

	return s ? strtoll(s, NULL, 10) : otherwise;
}

static void block_ms(int64_t ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

static int text(ol_req *r)
{
	return ol_text(r, 200, "hello\n");
}

static int status(ol_req *r)
{
	return ol_textf(r, (int)number(r, "is", 200), "%s", "a status\n");
}

static int bytes(ol_req *r)
{
	int64_t n = number(r, "n", 0);
	char *p = malloc((size_t)n + 1);

	if (!p)
		return -ENOMEM;
	memset(p, 'x', (size_t)n);
	return ol_bytes_new(r, 200, "application/octet-stream", p, (size_t)n, free, p);
}

static int json(ol_req *r)
{
	return ol_json_new(r, 200, json_pack("{s:s, s:[i,i], s:n}", "a", "b\"\n", "list", 1, 2, "none"));
}

static int error(ol_req *r)
{
	return ol_error(r, 418, "a \"teapot\"");
}

static int redirect(ol_req *r)
{
	return ol_redirect(r, 303, "/a/text");
}

static int empty(ol_req *r)
{
	return ol_empty(r, 204);
}

static int headers(ol_req *r)
{
	const char *name = ol_query(r, "name"), *value = ol_query(r, "value");
	int rc = ol_header_set(r, name ? name : "X-Test", value ? value : "1");

	if (rc == 0)
		rc = ol_cookie_set(r, "id", "abc", "Path=/; HttpOnly");
	return ol_textf(r, 200, "%d\n", rc);
}

static int twice(ol_req *r)
{
	ol_text(r, 500, "first");
	return ol_text(r, 200, "second");
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static int fail(ol_req *r)
{
	ol_text(r, 200, "secret");
	return -EIO;
}

static int forget(ol_req *r)
{
	(void)r;
	return 0;
}

static int positive(ol_req *r)
{
	ol_text(r, 200, "no");
	return 7;
}

static int undeclared(ol_req *r)
{
	ol_param(r, "nonesuch");
	return ol_text(r, 200, "no");
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int params(ol_req *r)
{
	return ol_textf(r, 200, "%s|%lld|%g|%s\n", ol_param(r, "name"), (long long)ol_param_int(r, "n"),
		ol_param_float(r, "f"),
		ol_param(r, "rest"));
}

static int uuid(ol_req *r)
{
	return ol_textf(r, 200, "%s\n", ol_param(r, "id"));
}

static int limit(ol_req *r)
{
	int64_t n = 10;

	if (ol_query_int(r, "limit", 1, 250, &n) < 0)
		return -1;
	return ol_textf(r, 200, "%lld\n", (long long)n);
}

static int whoami(ol_req *r)
{
	const char *header = ol_header(r, "X-Test"), *cookie = ol_cookie(r, "id"), *q = ol_query(r, "q");

	return ol_textf(r, 200, "%s %s %s %s header=%s cookie=%s q=%s remote=%s\n", ol_method(r), ol_path(r),
		ol_target(r),
		ol_route_path(r), header ? header : "-", cookie ? cookie : "-", q ? q : "-", ol_remote(r));
}

static int echo(ol_req *r)
{
	size_t n;
	const char *body = ol_body(r, &n);
	const char *type = ol_header(r, "Content-Type"), *trailer;

	if (!body)
		return -1;
	trailer = ol_trailer(r, "X-Sum");
	if (trailer)
		ol_header_set(r, "X-Trailer", trailer);
	return ol_bytes(r, 200, type, body, n);
}

static int count(ol_req *r)
{
	char buf[1000];
	size_t sum = 0;
	ssize_t n;

	while ((n = ol_body_read(r, buf, sizeof(buf))) > 0) {
		sum += (size_t)n;
		if (number(r, "slow", 0) && ol_sleep(r, number(r, "slow", 0)) < 0)
			return -1;
	}
	if (n < 0)
		return (int)n;
	return ol_textf(r, 200, "%zu\n", sum);
}

static int body_json(ol_req *r)
{
	json_t *v = ol_body_json(r);

	if (!v)
		return -1;
	return ol_json(r, 201, v);
}

static int invalid(ol_req *r)
{
	ol_invalid(r, "body", "text", "field required", "value_error.missing");
	ol_invalid(r, "body", NULL, "value is not a valid dict", "type_error.dict");
	return ol_invalid(r, "header", "x-y", "no \"good\"", "value_error");
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static int nap(ol_req *r)
{
	int rc = ol_sleep(r, number(r, "ms", 10));

	if (rc < 0)
		ol_log(r, OL_LOG_WARN, "nap ended early: %s", strerror(-rc));
	return rc < 0 ? rc : ol_text(r, 200, "rested\n");
}

static int block(ol_req *r)
{
	block_ms(number(r, "ms", 10));
	return ol_text(r, 200, "blocked\n");
}

static int work(void *arg)
{
	int *n = arg;

	block_ms(*n);
	*n += 1;
	return 42;
}

static int offload(ol_req *r)
{
	int n = (int)number(r, "ms", 5), rc = ol_offload(r, ol_query(r, "pool"), work, &n);

	return ol_textf(r, 200, "%d %d\n", rc, n);
}

struct nested {
	ol_req *r;
	const char *pool;
};

static int nested_work(void *arg)
{
	struct nested *n = arg;
	int ms = 1;

	if (ol_sleep(n->r, 2) < 0)
		return -1;
	return ol_offload(n->r, n->pool, work, &ms);
}

static int nested(ol_req *r)
{
	struct nested n = { r, ol_query(r, "then") };

	return ol_textf(r, 200, "%d\n", ol_offload(r, ol_query(r, "pool"), nested_work, &n));
}

static int mutex(ol_req *r)
{
	static int value;
	int mine, rc = ol_mutex_lock(r, &lock);

	if (rc < 0)
		return rc;
	mine = value;
	rc = ol_sleep(r, 1);
	value = mine + 1;
	ol_mutex_unlock(&lock);
	return rc < 0 ? rc : ol_textf(r, 200, "%d\n", mine + 1);
}

static int sem(ol_req *r)
{
	static ol_mutex count_lock = OL_MUTEX_INIT;
	int rc = ol_sem_wait(r, &three, number(r, "timeout", -1)), most;

	if (rc < 0)
		return ol_textf(r, 200, "%s\n", rc == -ETIMEDOUT ? "timed out" : "cancelled");
	if (ol_mutex_lock(r, &count_lock) == 0) {
		if (++inside > most_inside)
			most_inside = inside;
		ol_mutex_unlock(&count_lock);
	}
	rc = ol_sleep(r, number(r, "ms", 5));
	if (ol_mutex_lock(r, &count_lock) == 0) {
		inside--;
		ol_mutex_unlock(&count_lock);
	}
	most = most_inside;
	ol_sem_post(&three);
	return rc < 0 ? rc : ol_textf(r, 200, "%d\n", most);
}

struct wake {
	ol_handle handle;
	int ms;
};

static void wake_it(ol_req *r, void *arg)
{
	free(arg);
	if (r)
		ol_wake(r);
}

static void *waker(void *arg)
{
	struct wake *w = arg;

	block_ms(w->ms);
	if (ol_post(w->handle, wake_it, w) < 0)
		free(w);
	atomic_fetch_sub(&wakers, 1);
	return NULL;
}

static int post(ol_req *r)
{
	struct wake *w = malloc(sizeof(*w));
	pthread_t thread;
	int rc;

	if (!w)
		return -ENOMEM;
	*w = (struct wake){ ol_handle_of(r), (int)number(r, "ms", 5) };
	atomic_fetch_add(&wakers, 1);
	if (pthread_create(&thread, NULL, waker, w) != 0) {
		atomic_fetch_sub(&wakers, 1);
		free(w);
		return -EAGAIN;
	}
	pthread_detach(thread);
	rc = ol_wait(r, number(r, "timeout", 5000));
	return ol_textf(r, 200, "%s\n", rc == 0 ? "woken" : strerror(-rc));
}

static int cancelled(ol_req *r)
{
	for (int64_t left = number(r, "ms", 5000); left > 0; left -= 5) {
		if (ol_cancelled(r)) {
			ol_log(r, OL_LOG_INFO, "saw that the client left");
			return ol_text(r, 200, "cancelled\n");
		}
		if (ol_sleep(r, 5) < 0)
			continue;
	}
	return ol_text(r, 200, "nobody left\n");
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static int stream(ol_req *r)
{
	int64_t n = number(r, "n", 3), size = number(r, "size", 6);
	int64_t gap = number(r, "gap", 0), broken = number(r, "broken", -1);
	char *piece = ol_alloc(r, (size_t)size + 1);
	int rc = piece ? ol_stream(r, 200, "text/plain") : -ENOMEM;

	if (rc == 0)
		memset(piece, 'y', (size_t)size);
	for (int64_t i = 0; i < n && rc == 0; i++) {
		if (i == broken)
			return -EIO;
		rc = ol_write(r, piece, (size_t)size);
		if (rc == 0 && gap > 0)
			rc = ol_sleep(r, gap);
	}
	if (rc == 0 && ol_query(r, "trailer"))
		rc = ol_trailer_set(r, "X-Sum", ol_query(r, "trailer"));
	return rc;
}

/* ---- deep -------------------------------------------------------------------------------------------------------- */

static int recurse(ol_req *r, int64_t depth)
{
	volatile char pad[4096];

	memset((char *)pad, (int)depth, sizeof(pad));
	return depth > 0 ? recurse(r, depth - 1) + pad[0] * 0 : 0;
}

static int deep(ol_req *r)
{
	int rc = recurse(r, number(r, "kb", 16) / 4);

	return rc < 0 ? rc : ol_text(r, 200, "came back\n");
}

/* Waits until it is let go, or its client has left. */
static int hold(ol_req *r)
{
	int rc = ol_sem_wait(r, &letting_go, -1);

	return rc < 0 ? rc : ol_text(r, 200, "held\n");
}

/* Waits until it is let go, whoever left. */
static int insist(ol_req *r)
{
	while (atomic_load(&insisting_over) == 0)
		block_ms(1);
	atomic_fetch_sub(&insisting_over, 1);
	return ol_text(r, 200, "insisted\n");
}

static int let_go(ol_req *r)
{
	for (int64_t n = number(r, "n", 0); n > 0; n--)
		ol_sem_post(&letting_go);
	atomic_fetch_add(&insisting_over, (int)number(r, "insisting", 0));
	return ol_text(r, 200, "let go\n");
}

static int resize(ol_req *r)
{
	int rc = ol_pool_resize(ol_app_data(r), ol_query(r, "pool"), (unsigned)number(r, "threads", 0),
		(unsigned)number(r, "queue", 0));

	return ol_textf(r, 200, "%s\n", rc == 0 ? "0" : rc == -ENOENT ? "ENOENT" : rc == -EINVAL ? "EINVAL" :
		rc == -ENOTSUP ? "ENOTSUP" : "?");
}

static int crash(ol_req *r)
{
	(void)r;
	abort();
}

static int stop(ol_req *r)
{
	ol_server_stop(ol_app_data(r));
	return ol_text(r, 200, "stopping\n");
}

#define ROUTES(lane, pool_) \
	{ \
		OL_GET("/text", .lane = text, .pool = pool_), OL_GET("/status", .lane = status, .pool = pool_), \
		OL_GET("/bytes", .lane = bytes, .pool = pool_), OL_GET("/json", .lane = json, .pool = pool_), \
		OL_GET("/error", .lane = error, .pool = pool_), OL_GET("/redirect", .lane = redirect, .pool = pool_), \
		OL_GET("/empty", .lane = empty, .pool = pool_), OL_GET("/headers", .lane = headers, .pool = pool_), \
		OL_GET("/twice", .lane = twice, .pool = pool_), OL_GET("/fail", .lane = fail, .pool = pool_), \
		OL_GET("/forget", .lane = forget, .pool = pool_), \
		OL_GET("/positive", .lane = positive, .pool = pool_), \
		OL_GET("/undeclared", .lane = undeclared, .pool = pool_), \
		OL_GET("/params/{name}/{n:int}/{f:float}/{rest:path}", .lane = params, .pool = pool_), \
		OL_GET("/uuid/{id:uuid}", .lane = uuid, .pool = pool_), \
		OL_GET("/limit", .lane = limit, .pool = pool_), \
		OL_GET("/whoami", .lane = whoami, .pool = pool_), \
		OL_GET("/whoami/{rest:path}", .lane = whoami, .pool = pool_), \
		OL_POST("/echo", .lane = echo, .pool = pool_), OL_PUT("/echo", .lane = echo, .pool = pool_), \
		OL_POST("/small", .lane = echo, .pool = pool_, .body_max = 10), \
		OL_POST("/count", .lane = count, .pool = pool_, .body_max = 1 << 30, .stream = 1), \
		OL_POST("/collect", .lane = echo, .pool = pool_, .stream = 1), \
		OL_POST("/ignore", .lane = text, .pool = pool_, .body_max = 1 << 30, .stream = 1), \
		OL_POST("/json", .lane = body_json, .pool = pool_), \
		OL_GET("/invalid", .lane = invalid, .pool = pool_), \
		OL_GET("/nap", .lane = nap, .pool = pool_), OL_GET("/block", .lane = block, .pool = pool_), \
		OL_GET("/offload", .lane = offload, .pool = pool_), OL_GET("/nested", .lane = nested, .pool = pool_), \
		OL_GET("/mutex", .lane = mutex, .pool = pool_), OL_GET("/sem", .lane = sem, .pool = pool_), \
		OL_GET("/post", .lane = post, .pool = pool_), OL_GET("/cancelled", .lane = cancelled, .pool = pool_), \
		OL_GET("/stream", .lane = stream, .pool = pool_), OL_GET("/deep", .lane = deep, .pool = pool_), \
		OL_GET("/hold", .lane = hold, .pool = pool_), OL_GET("/resize", .lane = resize, .pool = pool_), \
		OL_GET("/crash", .lane = crash, .pool = pool_), OL_GET("/stop", .lane = stop, .pool = pool_), \
	}

static const struct ol_route async_routes[] = ROUTES(async, NULL);
static const struct ol_route sync_routes[] = ROUTES(sync, "second");
static const struct ol_router async_router = { OL_ROUTES(async_routes) }, sync_router = { OL_ROUTES(sync_routes) };

static const struct ol_route routes[] = {
	OL_MOUNT("/a", &async_router),
	OL_MOUNT("/s", &sync_router),
	OL_GET("/", .async = text),
	OL_GET("/one", .sync = block, .pool = "one"),
	OL_POST("/one/count", .sync = count, .pool = "one", .stream = 1),
	OL_GET("/slash/", .async = text),
	OL_GET("/default/hold", .sync = hold),
	OL_GET("/one/insist", .sync = insist, .pool = "one"),
	OL_GET("/let-go", .async = let_go),
	OL_GET("/capped/a", .async = hold, .max_inflight = 3),
	OL_GET("/capped/s", .sync = hold, .pool = "third", .max_inflight = 3),
	OL_GET("/capped/insist", .sync = insist, .pool = "third", .max_inflight = 1),
	OL_POST("/capped/body", .sync = echo, .pool = "third", .max_inflight = 1),
};

static const struct ol_pool pools[] = {
	{ .name = "one", .threads = 1, .queue = 1 },
	{ .name = "second", .threads = 8 },
	{ .name = "third", .threads = 4 },
};

static const struct ol_option options[] = {
	{ "fail-start", NULL, NULL, "let on_start fail" },
	{ "greeting", "WORD", "hello", "what on_start says" },
};

static int on_start(ol_server *s)
{
	if (ol_option_get(s, "fail-start"))
		return -ENOENT;
	ol_server_data_set(s, s);
	ol_server_log(s, OL_LOG_INFO, "on_start: %s", ol_option_get(s, "greeting"));
	return 0;
}

static void on_stop(ol_server *s)
{
	(void)s;
	while (atomic_load(&wakers) > 0)
		block_ms(1);
	fputs("on_stop\n", stderr);
}

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), OL_APP_OPTIONS(options), .name = "testapp",
	.on_start = on_start, .on_stop = on_stop };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
