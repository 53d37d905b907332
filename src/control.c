/* control.c: what the process tells about itself, and may be told, on a listener and a thread of its own.
 *
 * The control plane is an offloop app like any other: a table of routes with .async handlers, run as a second server
 * with one loop on libevent and small limits.  So the second backend is exercised in every process, and nothing here
 * speaks HTTP.  It must answer while every loop and every worker of the main server is stuck, so its handlers never
 * wait for them: they read atomics, the pools' statistics (a lock held for a few instructions) and /proc.
 *
 * It starts before the app's on_start, so that /readyz says 503 while that runs, and stops after the main server has
 * drained.
 *
 * A request that names a foreign Host is refused, so that a web page cannot read this through a name of its own that
 * resolves to this machine (DNS rebinding): what is let in are addresses of the loopback, "localhost", the host of
 * --control, and any literal address when --control is a wildcard address, since nobody can rebind a literal address.
 * HTTP/1.0 without a Host is no browser.  A unix socket is guarded by its file's permissions alone.  A PATCH must be
 * application/json: for that a browser asks first, on behalf of a page from elsewhere, and is not told yes (CORS).
 *
 * Threads: control_start and control_stop on the main thread, handlers on the control loop.
 */
#include "control.h"
#include "adviser.h"
#include "base/clock.h"
#include "exchange.h"
#include "dashboard.h"
#include "model.h"
#include "options_value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STOP_MS 250     /* for requests of the control plane itself, at the end */
#define PATIENCE_MS 2000        /* for a head, a body, or the rest of a connection */

struct control {
	ol_server *main;
	const struct log *log;
	double started;                 /* the process */
	struct control_watch *watch;
	struct config config;
	struct address address;
	ol_server *server;
	char listening[160];
};

/* ---- who may ask ------------------------------------------------------------------------------------------------- */

/* A Host without its port and brackets; false when it is too long to be one of ours. */
static bool host_name(const char *host, char *dst, size_t n)
{
	const char *start = *host == '[' ? host + 1 : host;
	size_t len = *host == '[' ? strcspn(start, "]") : strcspn(start, ":");

	if (len >= n)
		return false;
	memcpy(dst, start, len);
	dst[len] = 0;
	return true;
}

static bool loopback(const char *name)
{
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, name, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, name, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

static bool literal(const char *name)
{
	struct in6_addr six;
	struct in_addr four;

	return inet_pton(AF_INET, name, &four) == 1 || inet_pton(AF_INET6, name, &six) == 1;
}

static bool may_ask(const struct control *c, const char *host)
{
	bool wildcard = strcmp(c->address.host, "0.0.0.0") == 0 || strcmp(c->address.host, "::") == 0;
	char name[256];

	if (c->address.unix_path || !host)
		return true;
	if (!host_name(host, name, sizeof(name)))
		return false;
	return slice_eq_nocase(slice_of(name), SLICE("localhost")) || loopback(name) || (wildcard && literal(name)) ||
		slice_eq_nocase(slice_of(name), slice_of(c->address.host));
}

/* ---- what they are told ------------------------------------------------------------------------------------------ */

static int show_index(ol_req *r)
{
	return dashboard_page(r,
		"/livez    200 while this process lives\n"
		"/readyz   200 while it takes requests, 503 while it starts or drains\n"
		"/metrics  Prometheus text\n"
		"/routes   routes, their lanes and requests, as JSON\n"
		"/pools    pools, their threads and queues, as JSON\n"
		"/stalls   the latest stalls, of loops, threads and pools: route, cause, stack, as JSON\n"
		"/advice   what to change, and the evidence for it, as JSON\n"
		"PATCH /routes  pins a lane, by {\"route\": \"GET /x\", \"lane\": \"sync\"}, \"async\" or \"auto\"\n"
		"PATCH /pools/{name}  resizes one, by {\"threads\": 80, \"queue\": 512} as application/json\n");
}

static int show_live(ol_req *r)
{
	return ol_text(r, 200, "ok\n");
}

static int show_ready(ol_req *r)
{
	const struct control *c = ol_app_data(r);
	struct server_info info;

	server_info(c->main, &info);
	return info.ready ? ol_text(r, 200, "ready\n") : ol_text(r, 503, "not ready\n");
}

static int show_metrics(ol_req *r)
{
	const struct control *c = ol_app_data(r);
	struct buf b = { 0 };
	struct slice text;

	if (control_metrics(c->main, c->log, c->started, &b) || control_watch_metrics(c->watch, &b)) {
		buf_fini(&b);
		return -ENOMEM;
	}
	text = buf_slice(&b);
	return ol_bytes_new(r, 200, "text/plain; version=0.0.4; charset=utf-8", text.p, text.n, free, b.p);
}

static int show_routes(ol_req *r)
{
	const struct control *c = ol_app_data(r);

	return ol_json_new(r, 200, control_routes_json(c->main));
}

static const struct model *model_of_server(const ol_server *server)
{
	return model_of(server_setup(server)->config->model);
}

/* What a pool does and has done, and how it is set up.  Times in ms, but for oldest_queued_seconds. */
static json_t *pool_json(const ol_server *server, unsigned i)
{
	const struct pool *pool = server_pool(server, i);
	const struct ol_pool *p = server_pool_declared(server, i);
	struct server_refused n;
	struct pool_stats s;
	uint64_t now, oldest = 0;
	char why[160];

	server_pool_refused(server, i, &n);
	pool_stats(pool, &s);
	now = clock_now_ns();
	if (s.queued && s.oldest_queued_ns && s.oldest_queued_ns < now)
		oldest = now - s.oldest_queued_ns;
	return json_pack("{ss si si si si si si si si sI sI sI sI sI sf si si sb sb si si ss?}", "name",
		pool_name(pool), "limit", (int)s.limit, "queue", (int)s.queue_max, "threads", (int)s.threads,
		"running", (int)s.running, "blocked", (int)s.blocked, "idle", (int)s.idle,
		"starting", (int)s.starting, "queued", (int)s.queued,
		"done", (json_int_t)s.done, "waited", (json_int_t)s.waited, "rejected",
		(json_int_t)(n.queue_full + n.max_inflight + n.streams + n.queue_timeout + n.codel), "dropped",
		(json_int_t)(n.left + n.deadline + n.shutdown), "started", (json_int_t)s.started,
		"oldest_queued_seconds", (double)oldest / 1e9, "spares", (int)p->spares, "queue_timeout",
		(int)p->queue_timeout, "codel", p->codel, "overloaded", s.overloaded, "codel_target",
		(int)p->codel_target, "codel_interval", (int)p->codel_interval, "fixed",
		model_fixes(model_of_server(server), i, why, sizeof(why)) ? why : NULL);
}

/* Those that may have work. */
static int show_pools(ol_req *r)
{
	const struct control *c = ol_app_data(r);
	json_t *all = json_array();
	struct server_info info;

	server_info(c->main, &info);
	for (unsigned i = 0; i < info.pools; i++)
		if (server_pool_works(c->main, i))
			json_array_append_new(all, pool_json(c->main, i));
	return ol_json_new(r, 200, all);
}

static int show_stalls(ol_req *r)
{
	const struct control *c = ol_app_data(r);

	return ol_json_new(r, 200, control_stalls(c->watch));
}

static int show_advice(ol_req *r)
{
	const struct control *c = ol_app_data(r);

	return ol_json_new(r, 200, adviser_json(server_adviser(c->main)));
}

/* ---- what they may tell ------------------------------------------------------------------------------------------ */

/* Whether a Content-Type is application/json, with or without parameters (RFC 9110 §8.3.1). */
static bool is_json(const char *type)
{
	size_t n = type ? strcspn(type, "; \t") : 0;

	return slice_eq_nocase((struct slice){ type, n }, SLICE("application/json"));
}

/* One size of the body into *size.  What is wrong with it is latched as FastAPI would say it. */
static int read_size(ol_req *r, const char *name, const json_t *v, unsigned max, unsigned *size)
{
	json_int_t n = json_integer_value(v);
	char msg[80];

	if (!json_is_integer(v))
		return ol_invalid(r, "body", name, "value is not a valid integer", "type_error.integer");
	if (n < 1)
		return ol_invalid(r, "body", name, "ensure this value is greater than or equal to 1",
			"value_error.number.not_ge");
	snprintf(msg, sizeof(msg), "ensure this value is less than or equal to %u", max);
	if (n > (json_int_t)max)
		return ol_invalid(r, "body", name, msg, "value_error.number.not_le");
	*size = (unsigned)n;
	return 0;
}

/* 0 when all of the body is fine; else everything that is wrong with it has been latched. */
static int read_sizes(ol_req *r, json_t *body, unsigned *threads, unsigned *queue)
{
	const char *name;
	json_t *v;
	int rc = 0;

	if (!json_is_object(body))
		return ol_invalid(r, "body", NULL, "value is not a valid dict", "type_error.dict");
	if (json_object_size(body) == 0)
		return ol_invalid(r, "body", NULL, "give threads, queue, or both", "value_error.missing");
	json_object_foreach(body, name, v) {
		if (strcmp(name, "threads") == 0)
			rc |= read_size(r, name, v, POOL_THREADS_MAX, threads);
		else if (strcmp(name, "queue") == 0)
			rc |= read_size(r, name, v, POOL_QUEUE_MAX, queue);
		else
			rc |= ol_invalid(r, "body", name, "extra fields not permitted", "value_error.extra");
	}
	return rc;
}

static int refuse_type(ol_req *r)
{
	ol_header_set(r, "Accept-Patch", "application/json");   /* RFC 5789 §2.2 */
	return ol_error(r, 415, "a change must be application/json");
}

static int pin_lane(ol_req *r)
{
	const struct control *c = ol_app_data(r);

	return is_json(ol_header(r, "Content-Type")) ? control_pin(r, c->main) : refuse_type(r);
}

static int resize_pool(ol_req *r)
{
	const struct control *c = ol_app_data(r);
	const char *name = ol_param(r, "name");
	unsigned threads = 0, queue = 0, i = 0;
	struct server_info info;
	json_t *body;
	char why[160];

	if (!is_json(ol_header(r, "Content-Type")))
		return refuse_type(r);
	server_info(c->main, &info);
	while (i < info.pools && strcmp(pool_name(server_pool(c->main, i)), name) != 0)
		i++;
	if (i == info.pools)
		return ol_error(r, 404, "no pool has this name");
	if (!(body = ol_body_json(r)) || read_sizes(r, body, &threads, &queue))
		return -1;
	if (model_fixes(model_of_server(c->main), i, why, sizeof(why)))
		return ol_error(r, 409, why);
	if (server_resize(c->main, name, threads, queue, ol_remote(r)))
		return -1;
	return ol_json_new(r, 200, pool_json(c->main, i));
}

/* ---- the app ----------------------------------------------------------------------------------------------------- */

/* What stands behind a route once its Host has been looked at. */
struct view {
	ol_handler *show;
};

static int enter(ol_req *r)
{
	const struct view *view = ol_route_data(r);

	if (!may_ask(ol_app_data(r), ol_header(r, "Host")))
		return ol_error(r, 403, "the control plane does not answer for this Host");
	ol_header_set(r, "Cache-Control", "no-store");
	return view->show(r);
}

static const struct view view_index = { show_index }, view_live = { show_live }, view_ready = { show_ready },
	view_metrics = { show_metrics }, view_routes = { show_routes }, view_pools = { show_pools },
	view_stalls = { show_stalls }, view_advice = { show_advice }, view_resize = { resize_pool },
	view_pin = { pin_lane },
	view_file = { dashboard_file };

static const struct ol_route control_routes[] = {
	OL_GET("/", .async = enter, .data = &view_index),
	OL_GET("/dashboard/{file}", .async = enter, .data = &view_file),
	OL_GET("/livez", .async = enter, .data = &view_live),
	OL_GET("/readyz", .async = enter, .data = &view_ready),
	OL_GET("/metrics", .async = enter, .data = &view_metrics),
	OL_GET("/routes", .async = enter, .data = &view_routes),
	OL_PATCH("/routes", .async = enter, .data = &view_pin),
	OL_GET("/pools", .async = enter, .data = &view_pools),
	OL_GET("/stalls", .async = enter, .data = &view_stalls),
	OL_GET("/advice", .async = enter, .data = &view_advice),
	OL_PATCH("/pools/{name}", .async = enter, .data = &view_resize),
};

static const struct ol_app control_app = { OL_APP_INIT, OL_ROUTES(control_routes), .name = "control" };

static void shorten(uint64_t *ms, uint64_t most)
{
	if (*ms > most)
		*ms = most;
}

/* One loop and few connections.  Those that say nothing, or half of something, or do not read, must not keep a probe
 * out: when all places are taken, the oldest of them gives way.  Who asks here is near and has little to say. */
static void set_config(struct control *c, const struct config *main_config)
{
	c->config = *main_config;
	c->config.host = c->address.host;
	c->config.port = c->address.port;
	c->config.unix_path = c->address.unix_path;
	c->config.model = MODEL_HYBRID;
	c->config.loops = 1;
	c->config.backend = BACKEND_EVENT;
	c->config.pool_threads = 1;
	c->config.pool_queue = 1;
	c->config.background_threads = 1;
	c->config.background_queue = 1;
	c->config.guard = GUARD_OFF;
	c->config.access_log = false;
	c->config.monitor = SWITCH_OFF;
	c->config.grace_ms = STOP_MS;
	c->config.body_max = 4096;
	c->config.body_total_max = 1 << 20;
	c->config.connections_max = 64;
	c->config.newcomers_first = true;
	c->config.requests_max = 64;
	c->config.fibers_max = 64;
	c->config.backlog = 64;
	shorten(&c->config.head_timeout_ms, PATIENCE_MS);
	shorten(&c->config.body_grace_ms, PATIENCE_MS);
	shorten(&c->config.linger_ms, PATIENCE_MS);
}

static int start_server(struct control *c, struct log *log, char *err, size_t err_n)
{
	struct server_setup setup = { .app = &control_app, .config = &c->config, .log = log };
	struct server_info info;
	int rc;

	if (!(c->server = server_new(&setup, err, err_n)))
		return -EINVAL;
	ol_server_data_set(c->server, c);
	if ((rc = server_listen(c->server, err, err_n)) || (rc = server_start(c->server, err, err_n)))
		return rc;
	server_info(c->server, &info);
	snprintf(c->listening, sizeof(c->listening), "%s", info.address);
	return 0;
}

/* Where a worker listens the user has not said, but a rule (supervisor.c), which is told with what is wrong there. */
static void complain(const struct control *c, const char *worker, const char *why, char *err, size_t err_n)
{
	if (worker && c && c->address.unix_path)
		snprintf(err, err_n, "--control: worker %s listens on that path with .%s behind it: %s", worker, worker,
			why);
	else if (worker && strcmp(worker, "0") != 0)
		snprintf(err, err_n, "--control: worker %s listens %s port%s further on: %s", worker, worker,
			strcmp(worker, "1") == 0 ? "" : "s", why);
	else
		snprintf(err, err_n, "--control: %s", why);
}

int control_start(struct control **out, ol_server *main_server, const struct config *config, struct log *log,
	char *err, size_t err_n)
{
	struct control *c = NULL;
	char why[400] = "";
	int rc = -ENOMEM;

	*out = NULL;
	if (strcmp(config->control, "off") == 0)
		return 0;
	if (!(c = calloc(1, sizeof(*c))) || (rc = value_address(config->control, &c->address)))
		goto failed;
	rc = -ENOMEM;
	if (!(c->watch = control_watch_new(main_server)))
		goto failed;
	c->main = main_server;
	c->log = log;
	c->started = control_process_start();
	set_config(c, config);
	if ((rc = start_server(c, log, why, sizeof(why))))
		goto failed;
	*out = c;
	return 0;
failed:
	complain(c, server_setup(main_server)->worker, *why ? why : strerror(-rc), err, err_n);
	if (c) {
		server_free(c->server);
		control_watch_free(c->watch);
	}
	free(c);
	return rc;
}

bool control_stop(struct control *c)
{
	char names[512];

	if (!c)
		return true;
	server_drain(c->server);
	if (server_wait(c->server, clock_after_ms(clock_now_ns(), STOP_MS)) < 0 &&
		server_abandon(c->server, names, sizeof(names)) > 0 && server_wait(c->server, 0) < 0)
		return false;
	server_free(c->server);
	control_watch_free(c->watch);
	free(c);
	return true;
}

const char *control_address(const struct control *c)
{
	return c->listening;
}
