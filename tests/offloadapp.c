/* offloadapp.c: an app in which every lane offloads to every pool, to show that no circle of them can stand still.
 *
 * GET /LANE?to=a.b.c runs in that lane (async, or the pool of that name), offloads to the pool "a" a function that
 * offloads to "b" one that offloads to "c"; the reply has what each ol_offload gave, outermost first.  GET /after/POOL
 * does so in work that it leaves for after its reply; GET /results has what came of it.  GET /hold/POOL takes a thread
 * of a pool until GET /let-go?n=N lets N of them go.  Pools have one thread each, so whoever waits for one waits for
 * somebody in particular.  It is never installed.
 */
#include <offloop.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEP = 4, RESULTS_SIZE = 1 << 20 };

/* Where a walk through the pools stands. */
struct walk {
	ol_req *r;
	const char *left;       /* of the way: "b.c" */
	int rc[DEEP];           /* what each step gave */
	int steps;
};

static ol_sem gate = OL_SEM_INIT(0);

/* Lines "LANE WAY: 0 0 -35", of walks whose request has no reply for them. */
static pthread_mutex_t results_lock = PTHREAD_MUTEX_INITIALIZER;
static char results[RESULTS_SIZE];
static size_t nresults;

/* Goes one pool on. */
static int step(void *arg)
{
	struct walk *w = arg;
	size_t n = strcspn(w->left, ".");
	char pool[32];
	int at = w->steps;

	if (n == 0 || at == DEEP)
		return 0;
	snprintf(pool, sizeof(pool), "%.*s", (int)n, w->left);
	w->left += n + (w->left[n] == '.');
	w->steps++;
	w->rc[at] = ol_offload(w->r, pool, step, w);
	return 0;
}

/* "0 0 -35" in the request's memory. */
static char *walk(ol_req *r)
{
	const char *to = ol_query(r, "to");
	struct walk w = { .r = r, .left = to ? to : "" };
	char *text = ol_strdup(r, "");

	(void)step(&w);
	for (int i = 0; i < w.steps && text; i++)
		text = ol_printf(r, "%s%s%d", text, i ? " " : "", w.rc[i]);
	return text;
}

static void tell(ol_req *r, const char *what)
{
	pthread_mutex_lock(&results_lock);
	nresults += (size_t)snprintf(results + nresults, sizeof(results) - nresults, "%s %s: %s\n", ol_path(r),
		ol_query(r, "to"), what);
	if (nresults >= sizeof(results))
		abort();
	pthread_mutex_unlock(&results_lock);
}

static int run(ol_req *r)
{
	char *text = walk(r);

	if (!text)
		return -1;
	if (ol_cancelled(r))
		tell(r, text); /* nobody else will hear of it */
	return ol_text(r, 200, text);
}

static int run_after(ol_req *r, void *arg)
{
	char *text = walk(r);

	(void)arg;
	if (!text)
		return -1;
	tell(r, text);
	return 0;
}

static int leave(ol_req *r)
{
	int rc = ol_after(r, ol_param(r, "pool"), run_after, NULL);

	return ol_textf(r, 200, "%d", rc);
}

static int show_results(ol_req *r)
{
	int rc;

	pthread_mutex_lock(&results_lock);
	rc = ol_bytes(r, 200, NULL, results, nresults);
	pthread_mutex_unlock(&results_lock);
	return rc;
}

static int wait_at_gate(void *arg)
{
	return ol_sem_wait(arg, &gate, -1);
}

static int hold(ol_req *r)
{
	return ol_textf(r, 200, "%d", ol_offload(r, ol_param(r, "pool"), wait_at_gate, r));
}

static int let_go(ol_req *r)
{
	int64_t n = 1;

	if (ol_query_int(r, "n", 0, 1000, &n) < 0)
		return -1;
	for (int64_t i = 0; i < n; i++)
		ol_sem_post(&gate);
	return ol_text(r, 200, "let go\n");
}

static const struct ol_route routes[] = {
	OL_GET("/async", .async = run),
	OL_GET("/default", .sync = run),
	OL_GET("/a", .sync = run, .pool = "a"),
	OL_GET("/b", .sync = run, .pool = "b"),
	OL_GET("/c", .sync = run, .pool = "c"),
	OL_GET("/d", .sync = run, .pool = "d"),
	OL_GET("/background", .sync = run, .pool = "background"),
	OL_GET("/after/{pool}", .async = leave),
	OL_GET("/hold/{pool}", .async = hold),
	OL_GET("/let-go", .async = let_go),
	OL_GET("/results", .async = show_results),
};

static const struct ol_pool pools[] = {
	{ .name = "a", .threads = 1 }, { .name = "b", .threads = 1 }, { .name = "c", .threads = 1 },
	{ .name = "d", .threads = 1 },
};

static const struct ol_default defaults[] = { { "pool", "1" }, { "background", "1" } };

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), OL_DEFAULTS(defaults),
	.name = "offloadapp" };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
