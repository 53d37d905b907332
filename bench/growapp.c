/* growapp.c: the app whose costs bench/growth.py plots: one knob for each thing that a cost may grow with.
 *
 *     growapp ROUTES [OPTION...]
 *
 * `/` is trivial on the loop, `/sync` on the pool.  `/sleep/{us}` holds a pool thread for so many microseconds: with a
 * small pool and many clients requests queue.  `/bytes/{n}` replies with n bytes, `/take` takes a body.  Beside these
 * stand ROUTES routes "/area-00000/items/{id:int}" and so on, all neighbours in the router.
 *
 * It is an ordinary app of the public header; only its table of routes is made at its start.
 */
#include <offloop.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define HELLO "Hello, World!"
#define BODY_MAX ((size_t)1 << 20)
#define ROUTES_MAX 100000

static char bytes[BODY_MAX];

static int text(ol_req *r)
{
	return ol_text(r, 200, HELLO);
}

static int item(ol_req *r)
{
	return ol_param_int(r, "id") > 0 ? ol_text(r, 200, HELLO) : ol_error(r, 404, "no such item");
}

static int hold(ol_req *r)
{
	int64_t us = ol_param_int(r, "us");
	struct timespec left = { us / 1000000, us % 1000000 * 1000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
	return ol_text(r, 200, HELLO);
}

static int give(ol_req *r)
{
	int64_t n = ol_param_int(r, "n");

	if (n < 0 || (size_t)n > BODY_MAX)
		return ol_error(r, 404, "a body has 0 to 1048576 bytes");
	return ol_bytes_new(r, 200, "application/octet-stream", bytes, (size_t)n, NULL, NULL);
}

static int take(ol_req *r)
{
	size_t n = 0;

	return ol_body(r, &n) ? ol_text(r, 200, HELLO) : ol_error(r, 500, "no body");
}

static const struct ol_route fixed[] = {
	OL_GET("/", .async = text),
	OL_GET("/sync", .sync = text),
	OL_GET("/sleep/{us:int}", .sync = hold),
	OL_GET("/bytes/{n:int}", .async = give),
	OL_POST("/take", .async = take),
};

#define FIXED (sizeof(fixed) / sizeof(fixed[0]))
#define PATH 48          /* "/area-N/items/{id:int}" for any N */

/* The fixed routes and n more; they stay until the process ends. */
static struct ol_route *make_routes(size_t n)
{
	struct ol_route *routes = calloc(FIXED + n, sizeof(*routes));
	char *paths = calloc(n + 1, PATH);

	if (!routes || !paths) {
		free(routes);
		free(paths);
		return NULL;
	}
	for (size_t i = 0; i < FIXED; i++)
		routes[i] = fixed[i];
	for (size_t i = 0; i < n; i++) {
		snprintf(paths + i * PATH, PATH, "/area-%05zu/items/{id:int}", i);
		routes[FIXED + i] = (struct ol_route)OL_GET(paths + i * PATH, .async = item);
	}
	return routes;
}

static const struct ol_default defaults[] = {
	{ "control", "off" },
	{ "loops", "1" },
	{ "log-level", "error" },
};

int main(int argc, char **argv)
{
	struct ol_app app = { OL_APP_INIT, OL_DEFAULTS(defaults), .name = "growapp" };
	char *end = NULL;
	unsigned long n = argc > 1 ? strtoul(argv[1], &end, 10) : 0;

	if (argc < 2 || *end || end == argv[1] || n > ROUTES_MAX) {
		fprintf(stderr, "usage: growapp ROUTES [OPTION...], ROUTES 0 to %d\n", ROUTES_MAX);
		return 2;
	}
	app.routes = make_routes(n);
	app.nroutes = FIXED + n;
	app.route_size = sizeof(struct ol_route);
	if (!app.routes) {
		fputs("growapp: out of memory\n", stderr);
		return 1;
	}
	argv[1] = argv[0];
	return ol_main(argc - 1, argv + 1, &app);
}
