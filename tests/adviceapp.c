/* adviceapp.c: routes that were declared unwisely, each in a way of its own; served by the scenarios about advice and
 * about workers that hang.
 *
 * /hold?how=sleep|spin&ms= holds its loop as an .async handler must not: asleep, on a CPU.
 * /query?ms= sleeps in the pool "db", which has 2 threads; /hash?ms= computes in "crypt", which has 4; /gate reads the
 * FIFO of --gate in "db" until a test has written to it.  /short is .sync and needs not be.  /few lets one in at a
 * time.  /trace tells the ids of its traceparent, on the loop, /trace/sync on a thread.
 */
#include <offloop.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int gate = -1;

static void sleep_ms(int64_t ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* By the thread's own CPU time, so that a busy machine does not make it wait instead. */
static void spin_ms(int64_t ms)
{
	struct timespec t, start;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	while ((t.tv_sec - start.tv_sec) * 1000 + (t.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

static int for_ms(ol_req *r, void (*spend)(int64_t ms))
{
	int64_t ms = 20;

	if (ol_query_int(r, "ms", 0, 60000, &ms) < 0)
		return -1;
	spend(ms);
	return ol_text(r, 200, "done\n");
}

static int hold(ol_req *r)
{
	const char *how = ol_query(r, "how");

	return for_ms(r, how && strcmp(how, "spin") == 0 ? spin_ms : sleep_ms);
}

static int query(ol_req *r)
{
	return for_ms(r, sleep_ms);
}

static int hash(ol_req *r)
{
	return for_ms(r, spin_ms);
}

static int wait_at_gate(ol_req *r)
{
	char c;

	return read(gate, &c, 1) == 1 ? ol_text(r, 200, "through\n") : -EIO;
}

static int say(ol_req *r)
{
	return ol_text(r, 200, "short\n");
}

static int trace(ol_req *r)
{
	const char *trace_id = ol_trace_id(r), *span_id = ol_span_id(r);

	ol_log(r, OL_LOG_INFO, "traced");
	return ol_textf(r, 200, "%s %s", trace_id ? trace_id : "none", span_id ? span_id : "none");
}

static int on_start(ol_server *s)
{
	const char *path = ol_option_get(s, "gate");

	if (!path)
		return 0;
	gate = open(path, O_RDWR | O_CLOEXEC); /* for writing, too: so that it has no end */
	return gate < 0 ? -errno : 0;
}

static void on_stop(ol_server *s)
{
	(void)s;
	if (gate >= 0)
		close(gate);
}

static const struct ol_route routes[] = {
	OL_GET("/hold", .async = hold),
	OL_GET("/honest", .async = say),
	OL_GET("/query", .sync = query, .pool = "db"),
	OL_GET("/gate", .sync = wait_at_gate, .pool = "db"),
	OL_GET("/hash", .sync = hash, .pool = "crypt"),
	OL_GET("/short", .sync = say),
	OL_GET("/few", .sync = query, .max_inflight = 1),
	OL_GET("/trace", .async = trace),
	OL_GET("/trace/sync", .sync = trace),
};

static const struct ol_pool pools[] = {
	{ .name = "db", .threads = 2, .queue = 64 },
	{ .name = "crypt", .threads = 4, .queue = 64 },
};

static const struct ol_option options[] = { { "gate", "FIFO", NULL, "what /gate reads" } };

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), OL_APP_OPTIONS(options),
	.name = "adviceapp", .on_start = on_start, .on_stop = on_stop };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
