/* route_bench.c: what finding a route costs, with few routes and with many.
 *
 * Usage: route_bench [seconds per measurement, default 0.2].  Tables of 10 to 10,000 routes in the shape of a REST
 * interface are looked up with paths in a shuffled order, so that the large tables do not stay in the first cache.  A
 * lookup is path_normalize and router_match, as for a request.  The fastest of five turns counts.
 */
#include "base/clock.h"
#include "offloop.h"
#include "route.h"
#include <stdio.h>
#include <stdlib.h>

#define TURNS 5
#define PATHS 1024

static char paths[PATHS][64];

static void add(struct router *r, const char *path)
{
	char err[200];

	if (router_add(r, OL_METHOD_GET, "", path, NULL, err, sizeof(err)) != 0) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
}

static struct router *table(int routes)
{
	struct router *r = router_new();
	char path[64];

	if (!r)
		abort();
	for (int i = 0; i < routes; i++) {
		snprintf(path, sizeof(path), "/api/v%d/resource-%d/{id:int}/parts", i % 3, i / 3);
		add(r, path);
	}
	return r;
}

static void fill_paths(int routes, const char *format)
{
	for (int i = 0; i < PATHS; i++) {
		int route = (int)((unsigned)i * 2654435761U % (unsigned)routes);

		snprintf(paths[i], sizeof(paths[i]), format, route % 3, route / 3);
	}
}

/* Nanoseconds a lookup. */
static double turn(const struct router *r, uint64_t ns)
{
	uint64_t start = clock_now_ns(), now;
	unsigned long n = 0, hits = 0;

	do {
		for (int i = 0; i < PATHS; i++) {
			struct route_match m;
			struct slice path = slice_of(paths[i]);

			path.n = (size_t)path_normalize(paths[i], path.n);
			hits += router_match(r, OL_METHOD_GET, path, &m) == ROUTE_FOUND;
		}
		n += PATHS;
		now = clock_now_ns();
	} while (now - start < ns);
	if (hits != 0 && hits != n)
		abort();
	return (double)(now - start) / (double)n;
}

static void measure(int routes, const char *name, const char *format, uint64_t ns)
{
	struct router *r = table(routes);
	double best = 1e18;

	fill_paths(routes, format);
	for (int i = 0; i < TURNS; i++) {
		double t = turn(r, ns / TURNS);

		best = t < best ? t : best;
	}
	printf("%8d  %-28s %8.1f\n", routes, name, best);
	router_free(r);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.2;
	uint64_t ns = (uint64_t)(seconds * (double)NS_PER_S);
	static const int sizes[] = { 10, 100, 1000, 10000 };

	printf("%8s  %-28s %8s\n", "routes", "path", "ns");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		measure(sizes[i], "found, one parameter", "/api/v%d/resource-%d/4711/parts", ns);
		measure(sizes[i], "found, with an escape", "/api/v%d/resourc%%65-%d/4711/parts", ns);
		measure(sizes[i], "not found", "/api/v%d/resource-%d/4711/parts/x", ns);
	}
	return 0;
}
