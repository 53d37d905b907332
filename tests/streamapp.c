/* streamapp.c: what the scenarios of streams and events talk to: each route in both lanes, under /a and /s.
 *
 * Where a handler must wait for the test it waits at a gate, which /open?gate=N opens for good; what handlers have seen
 * is counted, and told by /seen.
 */
#include <offloop.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GATES 8

static atomic_uint opened, closed, pulls, writes, cancelled, reading, waiting;
static _Atomic(int64_t) taken;                  /* bytes of uploads that handlers have read */
static atomic_bool gate[GATES];

/* Waits in small steps, in either lane, so that a client that leaves is seen.  -ECANCELED. */
static int pass(ol_req *r, int64_t i)
{
	int rc = 0;

	atomic_fetch_add(&waiting, 1);
	while (rc == 0 && !atomic_load(&gate[i]))
		rc = ol_sleep(r, 2);
	atomic_fetch_sub(&waiting, 1);
	if (rc == -ECANCELED)
		atomic_fetch_add(&cancelled, 1);
	return rc;
}

static int open_gate(ol_req *r)
{
	int64_t i = 0;

	if (ol_query_int(r, "gate", 0, GATES - 1, &i) < 0)
		return -1;
	atomic_store(&gate[i], true);
	return ol_text(r, 200, "open\n");
}

static int seen(ol_req *r)
{
	return ol_json_new(r, 200, json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:I}", "opened", (int)opened, "closed",
		(int)closed, "pulls", (int)pulls, "writes", (int)writes, "cancelled", (int)cancelled, "reading",
		(int)reading, "waiting", (int)waiting, "taken", (json_int_t)taken));
}

static int ping(ol_req *r)
{
	return ol_text(r, 200, "pong\n");
}

/* ---- pulled ------------------------------------------------------------------------------------------------------ */

struct source {
	int64_t at, n, piece, fail;     /* fails at that byte, unless below 0 */
};

static ssize_t pull(ol_req *r, void *arg, void *buf, size_t n)
{
	struct source *s = arg;
	int64_t k = s->piece < (int64_t)n ? s->piece : (int64_t)n;

	(void)r;
	atomic_fetch_add(&pulls, 1);
	if (s->at == s->fail)
		return -EIO;
	k = k < s->n - s->at ? k : s->n - s->at;
	if (s->fail >= 0 && s->at + k > s->fail)
		k = s->fail - s->at;
	for (int64_t i = 0; i < k; i++)
		((char *)buf)[i] = (char)('a' + (s->at + i) % 26);
	s->at += k;
	return (ssize_t)k;
}

static void close_source(void *arg)
{
	atomic_fetch_add(&closed, 1);
	free(arg);
}

/* ?n= bytes in pieces of ?piece=, breaking off at ?fail=; ?then=text replaces it, ?then=error fails. */
static int pulled(ol_req *r)
{
	struct source *s = calloc(1, sizeof(*s));
	const char *then = ol_query(r, "then");
	int rc;

	if (!s)
		return -ENOMEM;
	*s = (struct source){ .n = 100000, .piece = 4096, .fail = -1 };
	if (ol_query_int(r, "n", 0, INT64_MAX, &s->n) < 0 || ol_query_int(r, "piece", 1, 1 << 20, &s->piece) < 0 ||
		ol_query_int(r, "fail", 0, INT64_MAX, &s->fail) < 0) {
		free(s);
		return -1;
	}
	atomic_fetch_add(&opened, 1);
	rc = ol_pull(r, 200, "text/plain", pull, close_source, s);
	if (rc == 0 && ol_query(r, "trailer"))
		rc = ol_trailer_set(r, "X-Sum", "26");
	if (rc == 0 && then)
		return strcmp(then, "text") == 0 ? ol_text(r, 200, "another\n") : -EIO;
	return rc;
}

/* ---- written ----------------------------------------------------------------------------------------------------- */

/* ?n= writes of ?piece= bytes. */
static int written(ol_req *r)
{
	int64_t n = 10, piece = 10;
	char buf[4096];
	int rc;

	if (ol_query_int(r, "n", 0, INT64_MAX, &n) < 0 || ol_query_int(r, "piece", 1, sizeof(buf), &piece) < 0)
		return -1;
	memset(buf, 'w', sizeof(buf));
	rc = ol_stream(r, 200, "text/plain");
	for (; rc == 0 && n > 0; n--) {
		rc = ol_write(r, buf, (size_t)piece);
		atomic_fetch_add(&writes, 1);
	}
	if (rc == -ECANCELED)
		atomic_fetch_add(&cancelled, 1);
	return rc;
}

/* ---- uploads ----------------------------------------------------------------------------------------------------- */

/* Reads nothing until gate 0 is open, then all of it in pieces. */
static int upload(ol_req *r)
{
	char buf[3000];
	int64_t sum = 0;
	ssize_t n;
	int rc;

	atomic_fetch_add(&reading, 1);
	rc = pass(r, 0);
	while (rc == 0 && (n = ol_body_read(r, buf, sizeof(buf))) != 0) {
		if (n < 0)
			rc = (int)n;
		else
			sum += n;
		atomic_store(&taken, sum);
	}
	return rc < 0 ? rc : ol_textf(r, 200, "%lld\n", (long long)sum);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* ?n= events of ?lines= lines each; then silent until gate 1 is open, and one more. */
static int events(ol_req *r)
{
	int64_t n = 1, lines = 1;
	char *data;
	int rc;

	if (ol_query_int(r, "n", 0, 1 << 20, &n) < 0 || ol_query_int(r, "lines", 1, 1 << 16, &lines) < 0)
		return -1;
	data = ol_alloc(r, (size_t)lines * 5);
	if (!data)
		return -ENOMEM;
	for (int64_t i = 0; i < lines; i++)
		memcpy(data + i * 5, "line\n", 5);
	data[lines * 5 - 1] = '\0';
	rc = ol_events(r, 1500);
	for (int64_t i = 0; rc == 0 && i < n; i++)
		rc = ol_event(r, "tick", ol_printf(r, "%lld", (long long)i), data);
	if (rc == 0)
		rc = pass(r, 1);
	return rc < 0 ? rc : ol_event(r, "end", NULL, "bye");
}

/* Silent in a call that only a thread may make, until gate 2 is open. */
static int blocked(ol_req *r)
{
	int rc = ol_events(r, 0);

	atomic_fetch_add(&waiting, 1);
	while (!atomic_load(&gate[2]) && !ol_cancelled(r))
		nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
	atomic_fetch_sub(&waiting, 1);
	rc = rc < 0 ? rc : ol_event(r, NULL, NULL, "bye");
	if (rc == -ECANCELED)
		atomic_fetch_add(&cancelled, 1);
	return rc;
}

#define BOTH(path_, fn_) OL_GET("/a" path_, .async = fn_), OL_GET("/s" path_, .sync = fn_)
static const struct ol_route routes[] = {
	OL_GET("/open", .async = open_gate),
	OL_GET("/seen", .async = seen),
	BOTH("/ping", ping),
	BOTH("/pulled", pulled),
	BOTH("/written", written),
	BOTH("/events", events),
	OL_GET("/s/blocked", .sync = blocked),
	OL_POST("/a/upload", .async = upload, .stream = 1, .body_max = 1 << 30),
	OL_POST("/s/upload", .sync = upload, .stream = 1, .body_max = 1 << 30),
};

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
