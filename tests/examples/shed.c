/* shed.c: when a pool cannot keep up, requests are turned away early, the least important ones first.
 *
 * The hook looks at how long the oldest request has been waiting for a thread, which says how long a new one would
 * have to wait.  Each route says in its .data how much of that it puts up with: reports are shed after --patience-low
 * milliseconds, orders after --patience.  A route without .data costs no thread and is never shed.
 *
 * ./shed --report /var/lib/reports/today
 */
#include <offloop.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct importance {
	const char *patience; /* the option that tells how long its requests may have to wait */
};

static const struct importance high = { "patience" }, low = { "patience-low" };

static int shed(ol_req *r)
{
	const struct importance *importance = ol_route_data(r);
	struct ol_pool_info work = { .size = sizeof(work) };
	int rc = importance ? ol_pool_look(ol_server_of(r), "work", &work) : -ENOENT;

	if (rc < 0 || work.oldest_ms < strtoul(ol_option_get(ol_server_of(r), importance->patience), NULL, 10))
		return 0;
	rc = ol_header_set(r, "Retry-After", "1");
	return rc < 0 ? rc : ol_error(r, 503, "Busy with more important requests");
}

/* Reads a file, which may be slow. */
static int report(ol_req *r)
{
	FILE *f = fopen(ol_option_get(ol_server_of(r), "report"), "r");
	char text[4096];
	size_t n;

	if (!f)
		return -errno;
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	return ol_bytes(r, 200, NULL, text, n);
}

static int order(ol_req *r)
{
	return ol_text(r, 201, "ordered\n");
}

static int show_pool(ol_req *r)
{
	struct ol_pool_info work = { .size = sizeof(work) };
	int rc = ol_pool_look(ol_server_of(r), "work", &work);

	return rc < 0 ? rc : ol_json_new(r, 200, json_pack("{s:i, s:i, s:i}", "running", (int)work.running, "queued",
		(int)work.queued, "oldest_ms", (int)work.oldest_ms));
}

static const struct ol_route routes[] = {
	OL_GET("/report", .sync = report, .pool = "work", .data = &low),
	OL_POST("/order", .sync = order, .pool = "work", .data = &high),
	OL_GET("/pool", .async = show_pool),
};

static const struct ol_pool pools[] = { { .name = "work", .threads = 2 } };

static const struct ol_option options[] = {
	{ "report", "FILE", "/etc/os-release", "what GET /report reads" },
	{ "patience", "MS", "500", "shed everything when somebody has waited for so long" },
	{ "patience-low", "MS", "50", "shed reports when somebody has waited for so long" },
};

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), OL_APP_OPTIONS(options),
	.admit = { shed } };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
