/* control_metrics.c: the text of /metrics.
 *
 * Gathers what others count: the loops (metrics.c), the pools, the routes' lanes, the log, and the process itself as
 * Prometheus's client libraries name it.  A family's samples stand together, so there is one pass a family.
 *
 * Pools and lanes are told by route template.  Two methods may share a template, and Prometheus refuses a page that has
 * a sample twice: such routes are one sample, shown where the first of them stands.  Jobs of a pool are tagged with the
 * index of their route's pattern, for ol_offload too, so a route may show up in several pools; it is shown where it
 * ran.
 *
 * A figure of the process that cannot be read (no descriptor left to read it with) is left out.  Nothing here waits for
 * a loop or a worker.  The first error ends the writing; it can only be -ENOMEM.  Any thread.
 */
#include "control.h"
#include "exchange.h"
#include "lane.h"
#include "pool.h"
#include "route.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* What is being written, so that steps need no checks in between: after an error nothing more is added. */
struct page {
	const ol_server *server;
	const struct router *router;
	struct server_info info;
	struct pool_stats *pools;       /* one look at each, so that what is told of a pool fits together */
	struct server_refused *refused;
	struct buf *b;
	int rc;
};

unsigned control_loops(const ol_server *s, const struct metrics_loop ***out)
{
	struct server_info info;

	server_info(s, &info);
	*out = calloc(info.loops ? info.loops : 1, sizeof(**out));
	for (unsigned i = 0; *out && i < info.loops; i++)
		(*out)[i] = server_metrics(s, i);
	return *out ? info.loops : 0;
}

static void family(struct page *p, const char *name, enum metric_type type, const char *help)
{
	if (!p->rc)
		p->rc = metrics_text_family(p->b, name, type, help);
}

static void sample(struct page *p, const char *name, const char *const *labels, double value)
{
	if (!p->rc)
		p->rc = metrics_text_sample(p->b, name, labels, value);
}

static void single(struct page *p, const char *name, enum metric_type type, const char *help, double value)
{
	family(p, name, type, help);
	sample(p, name, NULL, value);
}

/* Which of those that share a listener it is, where there are several. */
static void worker(struct page *p)
{
	static const char name[] = "offloop_worker_info";
	const char *const labels[] = { "worker", server_setup(p->server)->worker, NULL };

	if (!labels[1])
		return;
	family(p, name, METRIC_TYPE_GAUGE, "1; which worker this is, from 0.");
	sample(p, name, labels, 1);
}

/* ---- loops and routes -------------------------------------------------------------------------------------------- */

static const char *template_of(void *arg, uint32_t route)
{
	const struct page *p = arg;

	return router_at(p->router, route)->text;
}

static void loops(struct page *p)
{
	const struct metrics_loop **all;
	unsigned n = control_loops(p->server, &all);

	if (!p->rc)
		p->rc = all ? metrics_text_loops(p->b, all, n, template_of, p) : -ENOMEM;
	free(all);
}

/* All routes that share a template. */
struct lanes {
	bool may[2], now[2];    /* to the loop, to the pool: one may go there; one goes there */
	bool move;              /* one of them may */
	uint64_t moves[2];
};

static void add_lanes(const struct page *p, uint32_t route, struct lanes *sum)
{
	const struct endpoint *e = server_route(p->server, route);
	bool pooled = endpoint_pooled(e);
	struct lane_look look;

	sum->may[pooled] = sum->now[pooled] = true;
	if (!e->lane)
		return;
	lane_look(e->lane, &look);
	sum->move |= !look.need;
	sum->may[!pooled] |= !look.need;
	sum->moves[0] += look.moves[0];
	sum->moves[1] += look.moves[1];
}

static void lanes_of(const struct page *p, const struct route_pattern *first, struct lanes *sum)
{
	const struct route_pattern *one = first;

	*sum = (struct lanes){ .move = false };
	do
		add_lanes(p, one->index, sum);
	while ((one = one->same) != first);
}

/* For each template and each lane that one of its routes may run in; moved: how often they have changed to it. */
static void lanes(struct page *p, const char *name, bool moved)
{
	for (size_t i = 0; i < router_count(p->router); i++) {
		const struct route_pattern *first = router_at(p->router, i);
		struct lanes all;

		if (!route_is_first(first))
			continue;
		lanes_of(p, first, &all);
		if (moved && !all.move)
			continue;
		for (unsigned k = 0; k < 2; k++) {
			const char *const labels[] = { "route", first->text, "lane", k ? "sync" : "async", NULL };

			if (all.may[k])
				sample(p, name, labels, moved ? (double)all.moves[k] : all.now[k]);
		}
	}
}

static void lanes_and_moves(struct page *p)
{
	static const char now[] = "offloop_route_lane", moves[] = "offloop_route_moves_total";

	family(p, now, METRIC_TYPE_GAUGE, "1 for a lane that requests of a route go to now; 0 for one they may go to.");
	lanes(p, now, false);
	family(p, moves, METRIC_TYPE_COUNTER, "Changes of a route to a lane, by the server or by hand.");
	lanes(p, moves, true);
}

/* Of all routes that share a template: whether one has a .max_inflight, and how many it has kept out. */
static bool route_refused(const struct page *p, const struct route_pattern *first, double *n)
{
	const struct route_pattern *one = first;
	bool limited = false;

	*n = 0;
	do {
		limited |= server_route_inflight_max(p->server, one->index) > 0;
		*n += (double)server_route_refused(p->server, one->index);
	} while ((one = one->same) != first);
	return limited;
}

static void rejected_by_routes(struct page *p)
{
	static const char name[] = "offloop_route_rejected_total";
	double n;

	family(p, name, METRIC_TYPE_COUNTER, "Requests that were not let in by a limit of their route's own.");
	for (size_t i = 0; i < router_count(p->router); i++) {
		const struct route_pattern *first = router_at(p->router, i);
		const char *const labels[] = { "route", first->text, "reason", "max_inflight", NULL };

		if (route_is_first(first) && route_refused(p, first, &n))
			sample(p, name, labels, n);
	}
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

static void look_at_pools(struct page *p)
{
	p->pools = calloc(p->info.pools, sizeof(*p->pools));
	p->refused = calloc(p->info.pools, sizeof(*p->refused));
	if (!p->pools || !p->refused) {
		p->rc = -ENOMEM;
		return;
	}
	for (unsigned i = 0; i < p->info.pools; i++) {
		pool_stats(server_pool(p->server, i), &p->pools[i]);
		server_pool_refused(p->server, i, &p->refused[i]);
	}
}

/* A sample of pool i, perhaps with one more label; none of a pool without work, which would look like one at rest. */
static void pool_sample(struct page *p, const char *name, unsigned i, const char *label, const char *label_value,
	double value)
{
	const char *const labels[] = { "pool", pool_name(server_pool(p->server, i)), label, label_value, NULL };

	if (server_pool_works(p->server, i))
		sample(p, name, labels, value);
}

static void pool_gauges(struct page *p)
{
	static const char limit[] = "offloop_pool_limit", queued[] = "offloop_pool_queued",
		threads[] = "offloop_pool_threads";

	family(p, limit, METRIC_TYPE_GAUGE, "Jobs of a pool that may run at once.");
	for (unsigned i = 0; i < p->info.pools; i++)
		pool_sample(p, limit, i, NULL, NULL, p->pools[i].limit);
	family(p, queued, METRIC_TYPE_GAUGE, "Jobs that wait for a thread of the pool.");
	for (unsigned i = 0; i < p->info.pools; i++)
		pool_sample(p, queued, i, NULL, NULL, p->pools[i].queued);
	family(p, threads, METRIC_TYPE_GAUGE, "Threads of a pool, each in one state.");
	for (unsigned i = 0; i < p->info.pools; i++) {
		pool_sample(p, threads, i, "state", "running", p->pools[i].running);
		pool_sample(p, threads, i, "state", "blocked", p->pools[i].blocked);
		pool_sample(p, threads, i, "state", "idle", p->pools[i].idle);
		pool_sample(p, threads, i, "state", "starting", p->pools[i].starting);
	}
}

static void pool_counters(struct page *p)
{
	static const char rejected[] = "offloop_pool_rejected_total", dropped[] = "offloop_pool_dropped_total";

	family(p, rejected, METRIC_TYPE_COUNTER, "Requests and offloads that a pool did not take, or gave up.");
	for (unsigned i = 0; i < p->info.pools; i++) {
		pool_sample(p, rejected, i, "reason", "queue_full", (double)p->refused[i].queue_full);
		pool_sample(p, rejected, i, "reason", "max_inflight", (double)p->refused[i].max_inflight);
		pool_sample(p, rejected, i, "reason", "streams", (double)p->refused[i].streams);
		pool_sample(p, rejected, i, "reason", "queue_timeout", (double)p->refused[i].queue_timeout);
		pool_sample(p, rejected, i, "reason", "codel", (double)p->refused[i].codel);
	}
	family(p, dropped, METRIC_TYPE_COUNTER, "Queued jobs that were taken back before they ran.");
	for (unsigned i = 0; i < p->info.pools; i++) {
		pool_sample(p, dropped, i, "reason", "client_left", (double)p->refused[i].left);
		pool_sample(p, dropped, i, "reason", "deadline", (double)p->refused[i].deadline);
		pool_sample(p, dropped, i, "reason", "shutdown", (double)p->refused[i].shutdown);
	}
}

static void add_hist(struct pool_hist *sum, const struct pool_hist *h)
{
	for (int i = 0; i < POOL_BUCKETS; i++)
		sum->bucket[i] += h->bucket[i];
	sum->count += h->count;
	sum->sum_ns += h->sum_ns;
}

/* Wait (or run) times in pool of all routes that share a template. */
static void pool_hist_of(struct page *p, const struct pool *pool, const struct route_pattern *first, const char *name,
	bool run)
{
	const char *const labels[] = { "pool", pool_name(pool), "route", first->text, NULL };
	const struct route_pattern *one = first;
	struct pool_hist sum = { .count = 0 }, h[2];

	do {
		pool_hist(pool, one->index, &h[0], &h[1]);
		add_hist(&sum, &h[run]);
	} while ((one = one->same) != first);
	if (sum.count && !p->rc)
		p->rc = metrics_text_hist(p->b, name, labels, pool_bucket_ns, sum.bucket, POOL_BUCKETS, sum.sum_ns);
}

static void pool_hists(struct page *p, const char *name, const char *help, bool run)
{
	family(p, name, METRIC_TYPE_HISTOGRAM, help);
	for (unsigned i = 0; i < p->info.pools; i++)
		for (size_t j = 0; j < router_count(p->router); j++)
			if (route_is_first(router_at(p->router, j)))
				pool_hist_of(p, server_pool(p->server, i), router_at(p->router, j), name, run);
}

static void pools(struct page *p)
{
	look_at_pools(p);
	if (!p->rc) {
		pool_gauges(p);
		pool_counters(p);
	}
	free(p->pools);
	free(p->refused);
	pool_hists(p, "offloop_pool_queue_wait_seconds", "Time from a job's queueing to its start.", false);
	pool_hists(p, "offloop_pool_run_seconds", "Time a job ran on its thread.", true);
}

/* ---- the process ------------------------------------------------------------------------------------------------- */

/* A small file of /proc, NUL-terminated; false when it cannot be read. */
static bool read_proc(const char *path, char *dst, size_t n)
{
	FILE *f = fopen(path, "re");
	size_t got = f ? fread(dst, 1, n - 1, f) : 0;

	if (f)
		fclose(f);
	dst[got] = 0;
	return got > 0;
}

double control_process_start(void)
{
	unsigned long long ticks;
	struct timespec boot, now;
	char text[1024], *after;
	double started;

	/* the command's name, in parentheses, may hold anything: count from the last one */
	if (!read_proc("/proc/self/stat", text, sizeof(text)) || !(after = strrchr(text, ')')) ||
		sscanf(after + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
		&ticks) != 1)
		return 0;
	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_REALTIME, &now);
	started = (double)(now.tv_sec - boot.tv_sec) + (double)(now.tv_nsec - boot.tv_nsec) / 1e9 +
		(double)ticks / (double)sysconf(_SC_CLK_TCK);
	return (double)(long long)(started * 100) / 100;        /* a tick's precision */
}

static bool open_files(double *count)
{
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		return false;
	*count = -1;            /* the directory itself */
	for (struct dirent *e; (e = readdir(dir));)
		*count += e->d_name[0] != '.';
	closedir(dir);
	return true;
}

static bool resident(double *bytes)
{
	unsigned long long pages;
	char text[256];

	if (!read_proc("/proc/self/statm", text, sizeof(text)) || sscanf(text, "%*s %llu", &pages) != 1)
		return false;
	*bytes = (double)pages * (double)sysconf(_SC_PAGESIZE);
	return true;
}

static void process(struct page *p, double started)
{
	struct timespec cpu;
	struct rlimit files;
	double v;

	if (started > 0)
		single(p, "process_start_time_seconds", METRIC_TYPE_GAUGE,
			"When the process started, in seconds since 1970.", started);
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
		single(p, "process_cpu_seconds_total", METRIC_TYPE_COUNTER, "CPU time the process has used.",
			(double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
	if (open_files(&v))
		single(p, "process_open_fds", METRIC_TYPE_GAUGE, "Files that are open.", v);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
		single(p, "process_max_fds", METRIC_TYPE_GAUGE, "Files that may be open.", (double)files.rlim_cur);
	if (resident(&v))
		single(p, "process_resident_memory_bytes", METRIC_TYPE_GAUGE, "Memory that is in use.", v);
}

int control_metrics(const ol_server *s, const struct log *log, double started, struct buf *b)
{
	struct page p = { .server = s, .router = server_router(s), .b = b };
	const char *build[] = { "version", OL_VERSION, "backend", NULL, NULL };

	server_info(s, &p.info);
	build[3] = p.info.backend;
	family(&p, "offloop_build_info", METRIC_TYPE_GAUGE, "1; what is running.");
	sample(&p, "offloop_build_info", build, 1);
	worker(&p);
	loops(&p);
	lanes_and_moves(&p);
	rejected_by_routes(&p);
	pools(&p);
	single(&p, "offloop_log_dropped_total", METRIC_TYPE_COUNTER, "Log lines lost because nobody read them in time.",
		(double)log_dropped(log));
	process(&p, started);
	return p.rc;
}
