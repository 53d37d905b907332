/* chainapp.c: an app for the scenarios of needs, middleware, error handlers and values, most of it in both lanes.
 *
 * A "db" of ten connections may block its thread, as client libraries do; a "slot" of ten suspends.  Whoever holds one
 * waits until it is let go (/let-go), so that scenarios know what is held.  Every part of a request notes the thread it
 * runs on, and /stats tells what was acquired, released, and how often a part ran elsewhere.  With CHAINAPP_FAKE=1 the
 * db is overridden, as a test of an app would.  It is never installed.
 */
#include <offloop.h>

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONNECTIONS 10

static sem_t connections;
static ol_sem slots = OL_SEM_INIT(CONNECTIONS);
static ol_sem letting_go = OL_SEM_INIT(0);
static atomic_int out, most_out, acquired, released, elsewhere, handled, closed;

static int64_t number(ol_req *r, const char *name, int64_t otherwise)
{
	const char *s = ol_query(r, name);

	return s ? strtoll(s, NULL, 10) : otherwise;
}

static bool asked(ol_req *r, const char *name)
{
	return ol_query(r, name) != NULL;
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/* All parts of a request run on the thread of the first. */
static void note_thread(ol_req *r)
{
	pid_t now = (pid_t)syscall(SYS_gettid), *first = ol_value(r, "thread");

	if (ol_current() != r || (first && *first != now))
		atomic_fetch_add(&elsewhere, 1);
	if (first)
		return;
	first = ol_alloc(r, sizeof(*first));
	if (first) {
		*first = now;
		if (ol_value_set(r, "thread", first) < 0)
			atomic_fetch_add(&elsewhere, 1);
	}
}

/* ---- needs ------------------------------------------------------------------------------------------------------- */

static void take_one(void)
{
	int now = atomic_fetch_add(&out, 1) + 1, most = atomic_load(&most_out);

	while (now > most && !atomic_compare_exchange_weak(&most_out, &most, now))
		continue;
	atomic_fetch_add(&acquired, 1);
}

static void give_one(void)
{
	atomic_fetch_sub(&out, 1);
	atomic_fetch_add(&released, 1);
}

static int acquire_db(ol_req *r, void **value)
{
	static const char real[] = "a real connection";

	note_thread(r);
	while (sem_wait(&connections) < 0)
		continue;
	take_one();
	*value = (void *)(uintptr_t)real;
	return 0;
}

static void release_db(ol_req *r, void *value)
{
	(void)value;
	note_thread(r);
	give_one();
	sem_post(&connections);
}

static int acquire_slot(ol_req *r, void **value)
{
	int rc = ol_sem_wait(r, &slots, -1);

	note_thread(r);
	if (rc < 0)
		return rc;
	take_one();
	*value = &slots;
	return 0;
}

static void release_slot(ol_req *r, void *value)
{
	note_thread(r);
	if (asked(r, "slow-release"))
		(void)ol_sleep(r, 1);
	give_one();
	ol_sem_post(value);
}

static int acquire_user(ol_req *r, void **value)
{
	const char *name = ol_header(r, "X-User");

	note_thread(r);
	*value = (void *)(uintptr_t)name;
	return name ? 0 : ol_error(r, 401, "Who are you?");
}

static int acquire_fake(ol_req *r, void **value)
{
	static const char fake[] = "a fake";

	(void)r;
	*value = (void *)(uintptr_t)fake;
	return 0;
}

static const struct ol_need db = { .name = "db", .acquire = acquire_db, .release = release_db, .blocking = 1 };
static const struct ol_need slot = { .name = "slot", .acquire = acquire_slot, .release = release_slot };
static const struct ol_need user = { .name = "user", .acquire = acquire_user };
static const struct ol_need fake_db = { .name = "db", .acquire = acquire_fake };
static const struct ol_override overrides[] = { { "db", &fake_db } };

/* ---- handlers ---------------------------------------------------------------------------------------------------- */

static int wait_to_be_let_go(ol_req *r)
{
	return ol_sem_wait(r, &letting_go, -1);
}

static ssize_t pull(ol_req *r, void *arg, void *buf, size_t n)
{
	int64_t *left = arg;

	note_thread(r);
	if (*left <= 0)
		return asked(r, "break") ? -EIO : 0;
	n = n < (size_t)*left ? n : (size_t)*left;
	memset(buf, 'z', n);
	*left -= (int64_t)n;
	return (ssize_t)n;
}

static void close_pull(void *arg)
{
	(void)arg;
	atomic_fetch_add(&closed, 1);
}

static int pulled(ol_req *r)
{
	int64_t *left = ol_alloc(r, sizeof(*left));

	if (!left)
		return -ENOMEM;
	*left = number(r, "pull", 0);
	return ol_pull(r, 200, NULL, pull, close_pull, left);
}

static int streamed(ol_req *r)
{
	char piece[1000];
	int rc = ol_stream(r, 200, NULL);

	memset(piece, 'y', sizeof(piece));
	for (int64_t n = number(r, "stream", 0); n > 0 && rc == 0; n--)
		rc = ol_write(r, piece, sizeof(piece));
	return rc == 0 && asked(r, "break") ? -EIO : rc;
}

/* Does what the query says while it holds what its route needs. */
static int work(ol_req *r)
{
	int rc;

	note_thread(r);
	atomic_fetch_add(&handled, 1);
	if (asked(r, "hold")) {
		rc = wait_to_be_let_go(r);
		note_thread(r);
		if (rc < 0)
			return rc;
	}
	if (asked(r, "fail"))
		return -EIO;
	if (asked(r, "error"))
		return ol_error(r, (int)number(r, "error", 500), "as asked");
	if (asked(r, "stream"))
		return streamed(r);
	if (asked(r, "pull"))
		return pulled(r);
	return ol_text(r, 200, "worked\n");
}

static int query_db(ol_req *r)
{
	const char *connection = ol_need_value(r, "db");
	int rc = work(r);

	return rc < 0 || asked(r, "error") || asked(r, "stream") || asked(r, "pull") ? rc :
		ol_textf(r, 200, "by %s\n", connection);
}

static int greet(ol_req *r)
{
	return ol_textf(r, 200, "Hello, %s!\n", (const char *)ol_need_value(r, "user"));
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* Somewhere else, for the same request. */
static int add_words(void *arg)
{
	ol_req *r = ol_current();
	char *text;

	if (r != arg)
		return -EIO;
	text = ol_printf(r, "%s, from a pool", (const char *)ol_value(r, "words"));
	return text ? ol_value_set(r, "words", text) : -ENOMEM;
}

static int offload_again(void *arg)
{
	return ol_offload(arg, "last", add_words, arg);
}

static int values(ol_req *r)
{
	int rc = ol_value_set(r, "words", ol_strdup(r, "from the handler"));

	rc = rc < 0 ? rc : ol_offload(r, NULL, add_words, r);
	rc = rc < 0 ? rc : ol_offload(r, "last", add_words, r);
	rc = rc < 0 ? rc : ol_sleep(r, 1);
	if (rc == 0 && ol_current() != r)
		rc = -EIO;
	rc = rc < 0 ? rc : ol_offload(r, NULL, offload_again, r);
	return rc < 0 ? rc : ol_textf(r, 200, "%s; %s\n", (char *)ol_value(r, "words"), (char *)ol_value(r, "agent"));
}

/* ---- middleware and errors --------------------------------------------------------------------------------------- */

/* Around all routes: a number for each request, on every reply that can still take a field. */
static int number_it(ol_req *r, ol_next *next)
{
	static atomic_int numbers;
	const char *agent = ol_header(r, "User-Agent");
	char *text = ol_printf(r, "%d", atomic_fetch_add(&numbers, 1) + 1);
	int rc;

	note_thread(r);
	if (!text)
		return -ENOMEM;
	rc = ol_value_set(r, "agent", ol_strdup(r, agent ? agent : "nobody"));
	if (rc == 0)
		rc = ol_header_set(r, "X-Request", text); /* for streams */
	if (rc == 0)
		rc = ol_next_run(next, r);
	if (rc < 0)
		return rc;
	note_thread(r);
	(void)ol_header_set(r, "X-Request", text); /* for errors, which start without fields; too late for streams */
	return 0;
}

/* Around the routes under /guarded. */
static int guard(ol_req *r, ol_next *next)
{
	if (!ol_header(r, "X-Key"))
		return ol_error(r, 403, "No key");
	return ol_next_run(next, r);
}

static int outrage(ol_req *r, ol_next *next)
{
	int rc = ol_next_run(next, r);

	if (rc == 0 && asked(r, "outrage"))
		return -EIO;
	return rc < 0 ? rc : ol_header_set(r, "X-Seen", ol_status(r) == 200 ? "200" : "other");
}

/* Problem details (RFC 9457). */
static int problem(ol_req *r)
{
	int rc = ol_header_set(r, "Content-Type", "application/problem+json");

	return rc < 0 ? rc : ol_json_new(r, ol_status(r), json_pack("{s:s, s:i, s:s}", "title", ol_detail(r), "status",
		ol_status(r), "instance", ol_path(r)));
}

static int clumsy(ol_req *r)
{
	(void)r;
	return -EDOM;
}

/* ---- what scenarios need ----------------------------------------------------------------------------------------- */

static int let_go(ol_req *r)
{
	for (int64_t n = number(r, "n", 1); n > 0; n--)
		ol_sem_post(&letting_go);
	return ol_text(r, 200, "let go\n");
}

static int stats(ol_req *r)
{
	return ol_json_new(r, 200, json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "out", atomic_load(&out), "most",
		atomic_load(&most_out), "acquired", atomic_load(&acquired), "released", atomic_load(&released),
		"elsewhere", atomic_load(&elsewhere), "handled", atomic_load(&handled), "closed",
		atomic_load(&closed)));
}

static const struct ol_route guarded_routes[] = {
	OL_GET("/a", .async = work, .middleware = { outrage }),
	OL_GET("/s", .sync = work, .pool = "work", .middleware = { outrage }),
	OL_GET("/a/greet", .async = greet, .needs = { &user }),
	OL_GET("/s/greet", .sync = greet, .pool = "work", .needs = { &user }),
};
static const struct ol_router guarded = { OL_ROUTES(guarded_routes) };

static const struct ol_route routes[] = {
	OL_GET("/db", .sync = query_db, .pool = "work", .needs = { &db }),
	OL_GET("/db/soon", .sync = query_db, .pool = "work", .timeout = 50, .needs = { &db }),
	OL_GET("/a/slot", .async = work, .needs = { &slot }),
	OL_GET("/s/slot", .sync = work, .pool = "work", .needs = { &slot }),
	OL_GET("/a/slot/soon", .async = work, .timeout = 50, .needs = { &slot }),
	OL_GET("/s/slot/soon", .sync = work, .pool = "work", .timeout = 50, .needs = { &slot }),
	OL_GET("/a/greet", .async = greet, .needs = { &user, &slot }),
	OL_GET("/s/greet", .sync = greet, .pool = "work", .needs = { &user, &slot }),
	OL_GET("/a/values", .async = values),
	OL_GET("/s/values", .sync = values),
	OL_GET("/a/int/{n:int}", .async = work),
	OL_GET("/s/int/{n:int}", .sync = work, .pool = "work"),
	OL_MOUNT("/guarded", &guarded, .middleware = { guard }),
	OL_GET("/let-go", .async = let_go),
	OL_GET("/stats", .async = stats),
};
static const struct ol_pool pools[] = {
	{ .name = "work", .threads = 40, .queue = 100 },
	{ .name = "last", .threads = 2 },
};
static const struct ol_on_error on_errors[] = {
	{ 404, problem }, { 405, problem }, { 422, problem }, { 500, problem }, { 410, clumsy }, { 418, problem },
};

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), .name = "chainapp",
	.middleware = { number_it }, OL_ON_ERROR(on_errors) };

int main(int argc, char **argv)
{
	struct ol_app mine = app;

	if (getenv("CHAINAPP_FAKE")) {
		mine.overrides = overrides;
		mine.noverrides = 1;
		mine.override_size = sizeof(overrides[0]);
	}
	sem_init(&connections, 0, CONNECTIONS);
	return ol_main(argc, argv, &mine);
}
