/* lab_app.c: the app that `offloop lab` measures, and `offloop lab serve`, which runs it.
 *
 * One app for all models: what differs between two of them is then the model alone.  Its handlers stand for what
 * services do: answer at once, wait for a database that knows only blocking calls (a nap), compute for about a
 * millisecond, or do the wrong thing, which is to block though declared async.  A nap costs no CPU, as a database's
 * answer would not; the computation is a fixed number of steps, not a time, so that two of them on one CPU take twice
 * as long.  How many are a millisecond of this machine is found at the start, as the peers find theirs: the best of
 * several short runs by the thread's own CPU clock, which does not run while other subjects that start have the CPU.
 *
 * It is an app like any other, through the public header alone, and takes every option of the server.  The programs
 * that it is compared with (--peers) answer the same paths.
 */
#include "base/clock.h"
#include "cli/lab.h"
#include "offloop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BIG_BYTES ((size_t)1024 * 1024)
#define RUNS 50
#define RUN_STEPS 20000

static char big[BIG_BYTES];
static unsigned steps;          /* of a millisecond; written before any thread starts */

static int hello(ol_req *r)
{
	return ol_text(r, 200, "Hello, World!\n");
}

/* Blocks the thread that runs it for so many milliseconds. */
static void nap(unsigned ms)
{
	struct timespec left = { .tv_nsec = (long)ms * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static unsigned nap_of(const ol_req *r)
{
	return *(const unsigned *)ol_route_data(r);
}

static int block(ol_req *r)
{
	nap(nap_of(r));
	return hello(r);
}

static int nap_elsewhere(void *arg)
{
	nap(*(const unsigned *)arg);
	return 0;
}

static int offload(ol_req *r)
{
	unsigned ms = nap_of(r);
	int rc = ol_offload(r, NULL, nap_elsewhere, &ms);

	return rc < 0 ? ol_error(r, 503, "no thread to be had") : hello(r);
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t step_on(unsigned n)
{
	volatile uint64_t seed = 1;
	uint64_t x = seed;

	for (unsigned i = 0; i < n; i++)
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return x;
}

static unsigned steps_in_a_millisecond(void)
{
	uint64_t best = UINT64_MAX;
	volatile uint64_t sink;

	for (int i = 0; i < RUNS; i++) {
		uint64_t start = thread_cpu_ns(), took;

		sink = step_on(RUN_STEPS);
		took = thread_cpu_ns() - start;
		best = took > 0 && took < best ? took : best;
	}
	(void)sink;
	return (unsigned)(RUN_STEPS * NS_PER_MS / best) + 1;
}

static int compute(ol_req *r)
{
	return ol_textf(r, 200, "%016llx\n", (unsigned long long)step_on(steps));
}

static int upload(ol_req *r)
{
	size_t n;

	if (!ol_body(r, &n))
		return -1;
	return ol_textf(r, 200, "%zu bytes\n", n);
}

static int download(ol_req *r)
{
	return ol_bytes_new(r, 200, "application/octet-stream", big, sizeof(big), NULL, NULL);
}

static const unsigned ms10 = 10, ms50 = 50;

static const struct ol_route routes[] = {
	OL_GET("/", .async = hello),
	OL_GET("/sync", .sync = hello),
	OL_GET("/block10", .sync = block, .data = &ms10),
	OL_GET("/block50", .sync = block, .data = &ms50),
	OL_GET("/offload10", .async = offload, .data = &ms10),
	OL_GET("/offload50", .async = offload, .data = &ms50),
	OL_GET("/wrong50", .async = block, .data = &ms50),
	OL_GET("/cpu", .sync = compute),
	OL_POST("/upload", .sync = upload),
	OL_GET("/big", .sync = download),
};

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .name = "offloop lab's app" };

int lab_serve(int argc, char **argv)
{
	static char name[] = "offloop lab serve";

	argv[0] = name;
	steps = steps_in_a_millisecond();
	return ol_main(argc, argv, &app);
}
