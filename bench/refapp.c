/* refapp.c: the reference app of the benchmarks: one route for each thing a server can be asked to do.
 *
 * `/` and `/json` are answered on the loop, `/sync` by a trivial handler on the pool (so `/sync` minus `/` is the price
 * of the hop), `/sleep10` and `/sleep50` block a pool thread, `/bad50` blocks the loop although it says async, `/cpu`
 * computes for about a millisecond on the pool.  Run it quietly: refapp --port N --loops 1 --pool 40.  It is an
 * ordinary app of the public header.
 */
#include <offloop.h>

#include <errno.h>
#include <time.h>

#define HELLO "Hello, World!"
#define CPU_ROUNDS 490000 /* about a millisecond */

static int text(ol_req *r)
{
	return ol_text(r, 200, HELLO);
}

static int json(ol_req *r)
{
	return ol_json_new(r, 200, json_pack("{ss}", "message", HELLO));
}

static int block(ol_req *r, long ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
	return ol_text(r, 200, HELLO);
}

static int block10(ol_req *r)
{
	return block(r, 10);
}

static int block50(ol_req *r)
{
	return block(r, 50);
}

static int cpu(ol_req *r)
{
	unsigned x = 2463534242u, sum = 0;

	for (int i = 0; i < CPU_ROUNDS; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		sum += x;
	}
	return ol_textf(r, 200, "%u", sum);
}

static const struct ol_route routes[] = {
	OL_GET("/", .async = text),
	OL_GET("/json", .async = json),
	OL_GET("/sync", .sync = text),
	OL_GET("/sleep10", .sync = block10),
	OL_GET("/sleep50", .sync = block50),
	OL_GET("/bad50", .async = block50),
	OL_GET("/cpu", .sync = cpu),
};

static const struct ol_default defaults[] = {
	{ "control", "off" },
	{ "loops", "1" },
	{ "log-level", "error" },
	{ "connections-max", "20000" },
};

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_DEFAULTS(defaults), .name = "refapp" };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
