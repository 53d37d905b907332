/* afterapp.c: an app that leaves work for after its replies, and one whose handlers say that they block.
 *
 * GET /a/leave and /s/leave (on the loop, on a pool) leave what ?work=abc says, a letter each, in ?pool=NAME: lower
 * case notes itself at once, 'G' waits at a gate first, 'F' fails, 'S' is stuck and does not look whether the grace is
 * over.
 * GET /ran has the letters in the order they ran, GET /let-go?n=N opens the gate for N, GET /many leaves as much as it
 * may.  GET /block/{kind} holds a thread of a small pool at the gate, saying so (wait) or not (silent); GET /most tells
 * how many were in there at once.  It is never installed.
 */
#include <offloop.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static ol_sem gate = OL_SEM_INIT(0);
static pthread_mutex_t ran_lock = PTHREAD_MUTEX_INITIALIZER;
static char ran[1 << 16];
static size_t nran;
static atomic_int inside, most;

/* ---- work -------------------------------------------------------------------------------------------------------- */

/* What it was left with is the request's own memory; so is what it reads of the request. */
static int note(ol_req *r, const char *arg)
{
	const char *tag = ol_header(r, "X-Tag"), *value = ol_value(r, "tag");

	pthread_mutex_lock(&ran_lock);
	if (nran < sizeof(ran))
		ran[nran++] = *arg;
	pthread_mutex_unlock(&ran_lock);
	if (tag && (!value || strcmp(tag, value) != 0 || strcmp(tag, arg + 1) != 0))
		abort();
	ol_log(r, OL_LOG_INFO, "ran %c", *arg);
	return 0;
}

static int work(ol_req *r, void *arg)
{
	const char *letter = arg;
	int rc;

	switch (*letter) {
	case 'G':
		rc = ol_sem_wait(r, &gate, -1);
		return rc < 0 ? rc : note(r, letter);
	case 'F':
		note(r, letter);
		return -EIO;
	case 'S':
		note(r, letter);
		for (;;)
			nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
	default:
		return note(r, letter);
	}
}

static int leave(ol_req *r)
{
	const char *letters = ol_query(r, "work"), *tag = ol_header(r, "X-Tag");
	int rc = ol_value_set(r, "tag", (void *)(uintptr_t)tag);

	for (; rc == 0 && letters && *letters; letters++) {
		char *arg = ol_printf(r, "%c%s", *letters, tag ? tag : "");

		rc = arg ? ol_after(r, ol_query(r, "pool"), work, arg) : -ENOMEM;
	}
	return ol_textf(r, 200, "%d\n", rc);
}

static int leave_and_fail(ol_req *r)
{
	return leave(r) < 0 ? -ENOMEM : -EIO;
}

static int many(ol_req *r)
{
	int64_t n = 1000;
	int taken = 0, full = 0;

	if (ol_query_int(r, "n", 0, 100000, &n) < 0)
		return -1;
	for (int64_t i = 0; i < n; i++) {
		char *arg = ol_strdup(r, "m");
		int rc = arg ? ol_after(r, NULL, work, arg) : -ENOMEM;

		if (rc < 0 && rc != -EAGAIN)
			return rc;
		taken += rc == 0;
		full += rc == -EAGAIN;
	}
	return ol_textf(r, 200, "%d %d\n", taken, full);
}

static int show_ran(ol_req *r)
{
	int rc;

	pthread_mutex_lock(&ran_lock);
	rc = ol_bytes(r, 200, NULL, ran, nran);
	pthread_mutex_unlock(&ran_lock);
	return rc;
}

static int let_go(ol_req *r)
{
	int64_t n = 1;

	if (ol_query_int(r, "n", 0, 100000, &n) < 0)
		return -1;
	for (int64_t i = 0; i < n; i++)
		ol_sem_post(&gate);
	return ol_text(r, 200, "let go\n");
}

/* ---- blocking ---------------------------------------------------------------------------------------------------- */

static int wait_at_gate(ol_req *r)
{
	int now = atomic_fetch_add(&inside, 1) + 1, seen = atomic_load(&most), rc;

	while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
		;
	rc = ol_sem_wait(r, &gate, -1);
	atomic_fetch_sub(&inside, 1);
	return rc < 0 ? rc : ol_text(r, 200, "through\n");
}

static int silent(ol_req *r)
{
	return wait_at_gate(r);
}

static int blocking(ol_req *r)
{
	int rc;

	ol_blocking_begin(r);
	rc = wait_at_gate(r);
	ol_blocking_end(r);
	return rc;
}

/* Says so and forgets to take it back. */
static int forgetful(ol_req *r)
{
	ol_blocking_begin(r);
	return wait_at_gate(r);
}

static int show_most(ol_req *r)
{
	return ol_textf(r, 200, "%d\n", atomic_exchange(&most, 0));
}

#define BOTH(path, handler) OL_GET("/a" path, .async = handler), OL_GET("/s" path, .sync = handler, .pool = "work")
#define BLOCKING(path, pool_) \
	OL_GET("/" path "/silent", .sync = silent, .pool = pool_), \
	OL_GET("/" path "/blocking", .sync = blocking, .pool = pool_), \
	OL_GET("/" path "/forgetful", .sync = forgetful, .pool = pool_)

static const struct ol_route routes[] = {
	BOTH("/leave", leave),
	BOTH("/fail", leave_and_fail),
	BOTH("/many", many),
	OL_GET("/ran", .async = show_ran),
	OL_GET("/let-go", .async = let_go),
	BLOCKING("spared", "spared"),
	BLOCKING("narrow", "narrow"),
	OL_GET("/loop/blocking", .async = blocking),
	OL_GET("/most", .async = show_most),
};

static const struct ol_pool pools[] = {
	{ .name = "work", .threads = 4 },
	{ .name = "spared", .threads = 1, .spares = 2 },
	{ .name = "narrow", .threads = 1 },
};

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), .name = "afterapp" };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
