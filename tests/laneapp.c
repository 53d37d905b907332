/* laneapp.c: routes that may change their lane; served by the scenarios about that.
 *
 * Each replies with the thread that ran it: "pool" or "loop".  What a handler does on the way is chosen by its query:
 * ?how=sleep|spin|nap|offload&ms= blocks in a sleep, computes, waits as it should, or has a pool's thread block for it;
 * ?how=gate waits for the gate, as it should; ?status= replies with an error.  /gate waits until /open has been asked,
 * or for ?ms=; /events?ms= blocks and streams an event; /deep takes 200 KiB of stack, /deeper more than a fiber has.
 * It is never installed.
 */
#include <offloop.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KIB ((size_t)1024)

static sem_t gate;

static int64_t number(ol_req *r, const char *name, int64_t otherwise)
{
	const char *s = ol_query(r, name);

	return s ? strtoll(s, NULL, 10) : otherwise;
}

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

static int block(void *arg)
{
	sleep_ms(*(int64_t *)arg);
	return 0;
}

/* As a library that needs much stack, all of which it touches. */
static __attribute__((noinline)) unsigned deep(size_t kib)
{
	volatile char page[KIB];

	memset((char *)page, (int)kib, sizeof(page));
	return kib > 1 ? deep(kib - 1) + (unsigned char)page[kib % KIB] : (unsigned char)page[0];
}

static int deep_elsewhere(void *arg)
{
	return (int)(deep(*(size_t *)arg) & 0xff);
}

static const char *lane(void)
{
	char name[16] = "";

	pthread_getname_np(pthread_self(), name, sizeof(name));
	return strncmp(name, "ol-loop", 7) == 0 ? "loop" : "pool";
}

static int work(ol_req *r)
{
	const char *how = ol_query(r, "how");
	int64_t ms = number(r, "ms", 1);

	if (!how)
		return ol_textf(r, (int)number(r, "status", 200), "%s\n", lane());
	if (strcmp(how, "sleep") == 0)
		sleep_ms(ms);
	else if (strcmp(how, "spin") == 0)
		spin_ms(ms);
	else if (strcmp(how, "nap") == 0)
		(void)ol_sleep(r, ms);
	else if (strcmp(how, "gate") == 0)
		while (sem_trywait(&gate) != 0 && ol_sleep(r, 5) == 0)
			;
	else if (strcmp(how, "offload") == 0)
		(void)ol_offload(r, ol_query(r, "pool"), block, &ms);
	return ol_textf(r, 200, "%s\n", lane());
}

/* Blocks for ?ms=, and then streams an event. */
static int tell(ol_req *r)
{
	int rc;

	sleep_ms(number(r, "ms", 0));
	rc = ol_events(r, 0);
	return rc < 0 ? rc : ol_event(r, NULL, NULL, lane());
}

static int wait_at_gate(ol_req *r)
{
	int64_t ms = number(r, "ms", 60000);
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (ms > 0 && sem_timedwait(&gate, &until) < 0 && errno == EINTR)
		;
	return ol_textf(r, 200, "%s\n", lane());
}

static int open_gate(ol_req *r)
{
	sem_post(&gate);
	return ol_text(r, 200, "open\n");
}

static int go_deep(ol_req *r)
{
	size_t kib = *(const size_t *)ol_route_data(r), more = 1024;

	if (ol_query(r, "elsewhere"))
		return ol_textf(r, 200, "%s %d\n", lane(), ol_offload(r, NULL, deep_elsewhere, &more) >= 0);
	return ol_textf(r, 200, "%s %u\n", lane(), deep(kib) > 0);
}

/* Replies with what the body came to, read piece by piece. */
static int upload(ol_req *r)
{
	size_t sum = 0;
	char buf[512];
	ssize_t n;

	while ((n = ol_body_read(r, buf, sizeof(buf))) > 0)
		sum += (size_t)n;
	return n < 0 ? (int)n : ol_textf(r, 200, "%s %zu\n", lane(), sum);
}

static ssize_t some(ol_req *r, void *arg, void *buf, size_t n)
{
	size_t *left = arg, take = *left < n ? *left : n;

	(void)r;
	memset(buf, 'x', take);
	*left -= take;
	return (ssize_t)take;
}

static int pull(ol_req *r)
{
	size_t *left = malloc(sizeof(*left));

	if (!left)
		return -ENOMEM;
	*left = (size_t)number(r, "n", 0);
	return ol_pull(r, 200, "text/plain", some, free, left);
}

/* Lets nobody in who does not say please. */
static int polite(ol_req *r, ol_next *next)
{
	return ol_query(r, "please") ? ol_next_run(next, r) : ol_error(r, (int)number(r, "refuse", 200), "say please");
}

static int acquire(ol_req *r, void **value)
{
	(void)r;
	*value = NULL;
	return 0;
}

static const struct ol_need database = { .name = "database", .acquire = acquire, .blocking = 1 };
static const size_t within = 200, beyond = 512;

static const struct ol_route routes[] = {
	OL_GET("/work", .adaptive = work),
	OL_GET("/narrow", .adaptive = work, .pool = "narrow", .queue_timeout = 60000, .max_inflight = 2),
	OL_GET("/polite", .adaptive = work, .middleware = { polite }),
	OL_GET("/needy", .adaptive = work, .needs = { &database }),
	OL_GET("/deep", .adaptive = go_deep, .data = &within),
	OL_GET("/deeper", .adaptive = go_deep, .data = &beyond),
	OL_POST("/upload", .adaptive = upload, .stream = 1),
	OL_GET("/pull", .adaptive = pull),
	OL_GET("/gate", .async = wait_at_gate),
	OL_GET("/gate/adaptive", .adaptive = wait_at_gate),
	OL_GET("/events", .async = tell),
	OL_GET("/open", .sync = open_gate),
	OL_GET("/async", .async = work),
	OL_GET("/sync", .sync = work),
};
static const struct ol_pool pools[] = { { .name = "narrow", .threads = 1, .queue = 1 } };

static int on_start(ol_server *s)
{
	(void)s;
	return sem_init(&gate, 0, 0);
}

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), .on_start = on_start };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
