/* server.h: an app, its listeners, its loop threads and its pools. */
#ifndef OL_SERVER_H
#define OL_SERVER_H

#include "base/checked.h"
#include "base/log.h"
#include "config.h"
#include "metrics.h"
#include "offloop.h"
#include "pool.h"
#include "route.h"
#include "watch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adviser;
struct server_load;
struct endpoint;
struct listen;

/* What server_new needs to know beyond the app.  Everything is borrowed until server_free. */
struct server_setup {
	const struct ol_app *app;
	const struct config *config;
	struct log *log;
	const char *(*option)(void *arg, const char *name); /* for ol_option; may be NULL */
	void *option_arg;
	void (*stop)(void *arg);                            /* for ol_server_stop; any thread; may be NULL */
	void (*broken)(void *arg);                          /* a loop cannot go on; its thread; may be NULL */
	void *stop_arg;                                     /* of both */
	const struct listen *listen;                        /* the socket to share; NULL: it opens its own */
	const char *worker;                                 /* its number among those who share it; NULL: it is alone */
};

/* Checks the app (routes, lanes, pools) and compiles it.  No thread and no socket yet.  NULL with one line in err. */
CHECKED ol_server *server_new(const struct server_setup *setup, char *err, size_t err_n);

/* Binds the listeners and picks the backend: a port in use is known before on_start runs.  0, or -errno with err. */
CHECKED int server_listen(ol_server *s, char *err, size_t err_n);

/* Starts the loop threads; from now on connections are accepted.  0, or -errno with err. */
CHECKED int server_start(ol_server *s, char *err, size_t err_n);

/* Somebody waits for longer than usual in a shared listener's backlog: lets all loops look for clients.  Any thread,
 * once it has started. */
void server_look(ol_server *s);

/* Begins to drain: no more connections, idle ones end within a second, requests that were accepted are answered.  Any
 * thread, once.  server_drain: all who share the listener do so, and what waits in its backlog is accepted before.
 * server_leave: the others go on, and take that. */
void server_drain(ol_server *s);
void server_leave(ol_server *s);

/* Waits until everything has drained, at most until deadline_ns (clock_now_ns).  0, or -ETIMEDOUT. */
int server_wait(ol_server *s, uint64_t deadline_ns);

/* The grace is over: cancels what still runs, so that suspended handlers end with -ECANCELED and connections close.
 * The loops get at most half a second for it.  Fills names with a line for each route that is stuck ("GET /slow: 3
 * requests") and one for heads that are not complete, and returns how many requests. */
CHECKED unsigned server_abandon(ol_server *s, char *names, size_t n);

/* After a complete drain: joins the threads and frees all.  After server_abandon found stuck requests the threads
 * cannot be joined and this must not be called: the process ends instead.  Takes NULL; also for a server that was never
 * started. */
void server_free(ol_server *s);

/* For the start line, the control plane and tests. */
struct server_info {
	const char *backend;            /* "io_uring" or "libevent" */
	const char *backend_why;        /* why not io_uring, one line; NULL */
	unsigned loops, port;
	const char *address;            /* "127.0.0.1:8000", "[::1]:8000", "unix:/run/x" */
	bool exclusive;                 /* it wants server_look to be called: see loop.h */
	bool ready;                     /* started and not draining */
	unsigned pools;
};
void server_info(const ol_server *s, struct server_info *info);

const struct router *server_router(const ol_server *s);             /* patterns' data: const struct ol_route * */
struct pool *server_pool(const ol_server *s, unsigned i);           /* i < info.pools; 0 is the default pool */
bool server_pool_works(const ol_server *s, unsigned i);             /* else nobody is told of it */
const struct endpoint *server_route(const ol_server *s, uint32_t index);    /* exchange.h: its name, its lane */
unsigned server_route_inflight_max(const ol_server *s, uint32_t index); /* its .max_inflight; 0: none */

/* Requests that were not let in, or not kept, and why; those of a route: by its .max_inflight.  And work that was taken
 * back before it ran. */
struct server_refused {
	uint64_t queue_full, max_inflight, streams, queue_timeout, codel;
	uint64_t left, deadline, shutdown;
};
void server_pool_refused(const ol_server *s, unsigned i, struct server_refused *n);
/* What the app's table and the options say of pool i, completed. */
const struct ol_pool *server_pool_declared(const ol_server *s, unsigned i);
uint64_t server_route_refused(const ol_server *s, uint32_t index);

/* Changes a pool (NULL: the default one) while it runs; 0 leaves threads or queue as it is.  by: who wants it, for the
 * log.  -ENOENT; -EINVAL: over POOL_THREADS_MAX or POOL_QUEUE_MAX; -ENOTSUP: the model gives it one size for good.
 * server_step: so many threads more (or fewer) for the default pool; at its bounds, and where the model has it at one
 * size, nothing is changed, and that is logged.  Any thread. */
CHECKED int server_resize(ol_server *s, const char *pool, unsigned threads, unsigned queue, const char *by);
void server_step(ol_server *s, int threads, const char *by);

struct adviser *server_adviser(const ol_server *s);
struct server_load *server_load(const ol_server *s);
const struct server_setup *server_setup(const ol_server *s);        /* what it was made with */
struct watch *server_watch(const ol_server *s);                     /* NULL: --monitor off */
const struct loop *server_loop_of(const ol_server *s, unsigned i);  /* for loop_load and its counts */
uint64_t server_loop_cpu_ns(const ol_server *s, unsigned i);        /* of its thread; 0 when that does not run */
const struct metrics_loop *server_metrics(const ol_server *s, unsigned loop);

#endif
