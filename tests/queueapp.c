/* queueapp.c: an app for the scenarios of queues and deadlines: small pools, handlers that end when the test lets them,
 * and a list of who ran, in which order.
 *
 * Pool "narrow" has one thread, so what waits for it waits behind /hold; "shed" has one and sheds by CoDel; "wide" is
 * for what must not be delayed by them.  It is never installed.
 */
#include <offloop.h>

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_MS 200

static sem_t letting_go;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char order[4096]; /* names, each with a comma behind it */
static atomic_uint told; /* handlers that have learnt that nobody waits any more */

static void block_ms(int64_t ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* Ends when it is let go, whoever has left meanwhile. */
static int hold(ol_req *r)
{
	while (sem_wait(&letting_go) != 0)
		;
	return ol_text(r, 200, "held\n");
}

static int let_go(ol_req *r)
{
	const char *n = ol_query(r, "n");

	for (int i = 0; i < (n ? strtol(n, NULL, 10) : 1); i++)
		sem_post(&letting_go);
	return ol_text(r, 200, "let go\n");
}

static int note(ol_req *r)
{
	size_t n;

	pthread_mutex_lock(&lock);
	n = strlen(order);
	snprintf(order + n, sizeof(order) - n, "%s,", ol_param(r, "name"));
	pthread_mutex_unlock(&lock);
	return ol_text(r, 200, "noted\n");
}

static int show_order(ol_req *r)
{
	char *copy;

	pthread_mutex_lock(&lock);
	copy = ol_strdup(r, order);
	pthread_mutex_unlock(&lock);
	return copy ? ol_text(r, 200, copy) : -ENOMEM;
}

static int block(ol_req *r)
{
	const char *ms = ol_query(r, "ms");

	block_ms(ms ? strtol(ms, NULL, 10) : 0);
	return ol_text(r, 200, "blocked\n");
}

/* ---- who is told ------------------------------------------------------------------------------------------------- */

static int end_with(ol_req *r, int rc)
{
	if (rc == -ECANCELED && ol_cancelled(r))
		atomic_fetch_add(&told, 1);
	return rc;
}

static int poll_cancelled(ol_req *r)
{
	while (!ol_cancelled(r))
		block_ms(2);
	return end_with(r, -ECANCELED);
}

static int nap(ol_req *r)
{
	int rc = ol_sleep(r, 60000);

	return rc < 0 ? end_with(r, rc) : ol_text(r, 200, "slept\n");
}

static int stream(ol_req *r)
{
	int rc = ol_stream(r, 200, NULL);

	while (rc == 0) {
		rc = ol_write(r, "drop\n", 5);
		if (rc == 0)
			rc = ol_sleep(r, 5);
	}
	return end_with(r, rc);
}

static int upload(ol_req *r)
{
	char buf[4096];
	ssize_t n, sum = 0;

	while ((n = ol_body_read(r, buf, sizeof(buf))) > 0)
		sum += n;
	return n < 0 ? end_with(r, (int)n) : ol_textf(r, 200, "%zd\n", sum);
}

static int show_told(ol_req *r)
{
	return ol_textf(r, 200, "%u\n", atomic_load(&told));
}

/* ---- where it is ------------------------------------------------------------------------------------------------- */

static int show_loop(ol_req *r)
{
	char name[16];

	if (pthread_getname_np(pthread_self(), name, sizeof(name)) != 0)
		return -1;
	return ol_textf(r, 200, "%s", name);
}

/* ?known=N: as an app that was built when the struct had so many bytes. */
static int look(ol_req *r)
{
	const char *known = ol_query(r, "known");
	struct ol_pool_info i;
	int rc;

	memset(&i, 0x55, sizeof(i));
	i.size = known ? strtoul(known, NULL, 10) : sizeof(i);
	rc = ol_pool_look(ol_server_of(r), ol_query(r, "pool"), &i);
	if (rc < 0)
		return ol_textf(r, 404, "%s", rc == -ENOENT ? "ENOENT" : "?");
	return ol_json_new(r, 200, json_pack("{sI sI sI sI sI sI sI sI sI sI}", "size", (json_int_t)i.size, "limit",
		(json_int_t)i.limit, "queue_max", (json_int_t)i.queue_max, "threads", (json_int_t)i.threads, "running",
		(json_int_t)i.running, "blocked", (json_int_t)i.blocked, "idle", (json_int_t)i.idle, "starting",
		(json_int_t)i.starting, "queued", (json_int_t)i.queued, "oldest_ms", (json_int_t)i.oldest_ms));
}

/* Its place is lent to whoever waits, meanwhile. */
static int block_outside(ol_req *r)
{
	ol_blocking_begin(r);
	block_ms(2);
	ol_blocking_end(r);
	return ol_text(r, 200, "back\n");
}

static const struct ol_route routes[] = {
	OL_GET("/hold", .sync = hold, .pool = "narrow"),
	OL_GET("/block", .sync = block, .pool = "narrow"),
	OL_GET("/note/{name}", .sync = note, .pool = "narrow"),
	OL_GET("/high/{name}", .sync = note, .pool = "narrow", .priority = OL_PRIORITY_HIGH),
	OL_GET("/impatient/{name}", .sync = note, .pool = "narrow", .queue_timeout = 100),
	OL_GET("/timed/hold", .sync = hold, .pool = "narrow", .max_inflight = 1, .timeout = TIMEOUT_MS),
	OL_GET("/timed/note/{name}", .sync = note, .pool = "narrow", .timeout = TIMEOUT_MS),
	OL_GET("/timed/nap", .async = nap, .timeout = TIMEOUT_MS),
	OL_GET("/timed/poll", .sync = poll_cancelled, .pool = "wide", .timeout = TIMEOUT_MS),
	OL_GET("/timed/stream/async", .async = stream, .timeout = TIMEOUT_MS),
	OL_GET("/timed/stream/sync", .sync = stream, .pool = "wide", .timeout = TIMEOUT_MS),
	OL_POST("/timed/upload", .sync = upload, .pool = "wide", .stream = 1, .timeout = TIMEOUT_MS),
	OL_GET("/poll", .sync = poll_cancelled, .pool = "wide"),
	OL_GET("/wide/note/{name}", .sync = note, .pool = "wide"),
	OL_GET("/wide/outside", .sync = block_outside, .pool = "wide"),
	OL_GET("/shed/hold", .sync = hold, .pool = "shed"),
	OL_GET("/shed/note/{name}", .sync = note, .pool = "shed"),
	OL_GET("/default/hold", .sync = hold),
	OL_GET("/default/note/{name}", .sync = note),
	OL_GET("/order", .async = show_order),
	OL_GET("/let-go", .async = let_go),
	OL_GET("/told", .async = show_told),
	OL_GET("/loop", .async = show_loop),
	OL_GET("/look", .async = look),
};
static const struct ol_pool pools[] = {
	{ .name = "narrow", .threads = 1, .queue = 32 },
	{ .name = "wide", .threads = 4, .queue = 32, .spares = 2 },
	{ .name = "shed", .threads = 1, .queue = 32, .codel = 1 },
};

static int on_start(ol_server *s)
{
	(void)s;
	return sem_init(&letting_go, 0, 0);
}

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), .name = "queueapp",
	.on_start = on_start };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
