/* offloop.h: HTTP services that mix code which must not block with code which must.
 *
 * A handler is declared in one of two lanes.  An `.async` handler runs inline on an event loop, on a fiber of its own;
 * a `.sync` handler runs on a thread of a bounded pool and may block.  The functions below work in both: where one has
 * to wait, it suspends an async handler (its loop goes on with other requests) and blocks a sync one (its thread
 * waits).  An `.adaptive` handler is written as a sync one; the server finds out which lane suits it.
 *
 * Handlers are concurrent in every lane: a server has several loops and several workers, so two requests for one route
 * may run at the same moment.  Data that requests share needs a lock, and no thread lock (pthread_mutex_t, std::mutex)
 * may be held across a call marked "suspends": use ol_mutex or ol_sem.  errno, the floating-point mode and a C++
 * exception in flight do not survive a suspension, and no exception may leave a handler.
 *
 * Where a function may be called stands in brackets:
 *   [owner]  in the handler that was given the request, or code it calls, in either lane; also in its middleware, its
 *            needs, and what it has left to ol_after
 *   [loop]   in a function that runs on a loop: the one given to ol_post
 *   [setup]  in on_start and on_stop
 *   [any]    on any thread
 *
 * Unless said otherwise a string is NUL-terminated UTF-8, a size is in bytes, and a function that returns int gives 0
 * or a negative errno.  Memory returned for a request belongs to the request and lives until its reply has been sent.
 */
#ifndef OFFLOOP_H
#define OFFLOOP_H

#include <jansson.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OL_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#define OL_TABLE_(type, t) (t)
#define OL_0_ = {} /* may be left out: without this g++ -Wextra wants every member named */
#else
#define OL_TABLE_(type, t) _Generic((t), const type * : (t), type * : (t))
#define OL_0_
#endif

#if defined(__GNUC__)
#define OL_PRINTF_(fmt, args) __attribute__((format(printf, fmt, args)))
#define OL_CHECKED_ __attribute__((warn_unused_result))
#else
#define OL_PRINTF_(fmt, args)
#define OL_CHECKED_
#endif

#define OL_COUNT_(t) (sizeof(t) / sizeof((t)[0]))

typedef struct ol_req ol_req;       /* one request and its reply */
typedef struct ol_server ol_server; /* the running server */

/* ---------------------------------------------------------------------------------------------------------------
 * Declaring an app
 * ------------------------------------------------------------------------------------------------------------ */

enum { OL_ADMIT_MAX = 8, OL_MIDDLEWARE_MAX = 8, OL_NEEDS_MAX = 8 };

/* A handler returns 0 having replied (ol_text, ol_json, ...).  Below 0: the status that a library call latched
 * (400, 408, 413, 422, 503), else 500.  0 without a reply, or above 0: 500.  Each such 500 is logged with its route and
 * tells the client nothing.  A second reply replaces the first until it is committed; from then on it gets
 * -EALREADY. */
typedef int ol_handler(ol_req *r);

enum ol_method { OL_METHOD_GET = 1, OL_METHOD_HEAD, OL_METHOD_POST, OL_METHOD_PUT, OL_METHOD_PATCH, OL_METHOD_DELETE,
	OL_METHOD_OPTIONS, OL_METHOD_TRACE };

struct ol_router;

/* Middleware is an onion around a handler, and runs in the handler's lane, on its thread.  It calls ol_next_run, at
 * most once, for what lies inside: the next middleware, and at last the needs and the handler.  That gives 0 when the
 * reply is there, whatever happened inside (a failure is a reply, too: look at ol_status), and the middleware may look
 * at it, add to it or replace it, unless it is a stream that has begun: what its head is to have is set before the
 * call.  A reply made before the call is dropped, but such a stream goes on.  Without the call it replies itself.  What
 * it returns counts as a handler's return. */
typedef struct ol_next ol_next;
typedef int ol_middleware(ol_req *r, ol_next *next);
int ol_next_run(ol_next *next, ol_req *r);                              /* [owner]; -EALREADY the second time */

/* Something that handlers need while they work: a connection to a database, the user who asks, a transaction.  A route
 * names what it needs in .needs; ol_need_value gives it to the handler.  Needs are acquired in the order named, each
 * once per request however often it is named, on the thread and in the job that will run the handler.  They are
 * released in the reverse order whatever happened, when the reply is complete in memory (a stream: after its last
 * write) and before it is sent.  ol_status then tells what the handler has come to, ol_cancelled whether anybody still
 * waits for it: one that has replied 201 too late is a 201, though its client got a 504. */
struct ol_need {
	const char *name OL_0_;
	/* 0 having set *value (NULL before); or having replied (ol_error(r, 401, ...)): then that is the reply, the
	 * handler is not called and this need is not released.  Below 0: as a handler's. */
	int (*acquire)(ol_req *r, void **value) OL_0_;
	void (*release)(ol_req *r, void *value) OL_0_;  /* may be NULL; a reply made here is ignored */
	int blocking OL_0_;                   /* 1: it may block, so no .async route may need it: checked at start */
	const struct ol_need *needs[OL_NEEDS_MAX] OL_0_; /* acquired before it; a circle is refused at start */
};

/* For tests: wherever a need of that name is needed, `with` takes its place (FastAPI's dependency_overrides). */
struct ol_override {
	const char *name;
	const struct ol_need *with;
};

/* How errors of one status look, instead of {"detail": ...}: called for what ol_error, a latched status or a failed
 * handler makes, in the route's lane, and for 404 and 405 of requests that no route takes, on the loop; ol_status and
 * ol_detail tell what it is about.  status is in 400..599, each once.  It replies with any status; 0 without a reply,
 * or a failure, leaves the error as it was.  Not called for what the server answers while nobody works for the request:
 * 400 of the protocol, 503 when a limit is reached, 504; nor for what an admit hook answers. */
struct ol_on_error {
	int status;
	ol_handler *handler;
};

enum ol_priority { OL_PRIORITY_NORMAL, OL_PRIORITY_HIGH };

/* One endpoint, or a router mounted under a prefix.  Declare it with OL_GET ... OL_MOUNT; set members in this order
 * (C++ insists on it).  Exactly one of async, sync and adaptive must be set; a route with none or two is refused at
 * start.
 *
 * path: segments between slashes, each a literal or one parameter: {name} any non-empty segment, {name:int} 64-bit
 * signed decimal, {name:float}, {name:uuid} (RFC 9562 §4, any case), {name:path} the rest of the path, slashes and all
 * (last segment only).  A literal segment wins over a parameter, a parameter over {name:path}.  A value that is not of
 * its type is answered with 422 before the handler runs.  Two routes of one method that could not be told apart are
 * refused at start, and so is a segment that another framework would take for a parameter: ":name", "*", "<name>". */
struct ol_route {
	enum ol_method method OL_0_;
	const char *path OL_0_;
	ol_handler *async OL_0_;              /* on the loop, on a fiber; must not block but in this header's calls */
	ol_handler *sync OL_0_;               /* on a thread of `pool`; may block */
	const char *pool OL_0_;               /* name of a pool in the app's table; NULL: the default pool */
	size_t stack OL_0_;                   /* bytes of fiber stack, not for .sync, up to 1 GiB; 0: 256 KiB */
	size_t body_max OL_0_;                /* largest request body; 0: the server's --body-max */
	int stream OL_0_;                     /* 1: starts when the head has arrived; it reads with ol_body_read */
	const void *data OL_0_;               /* the route's own, for ol_route_data() */
	const struct ol_router *mount OL_0_;  /* set by OL_MOUNT */
	unsigned max_inflight OL_0_;          /* its handlers queued or running, process-wide; more: 503.  0: any */
	unsigned timeout OL_0_;               /* ms from the whole request (.stream: head) to the reply; see below */
	unsigned queue_timeout OL_0_;         /* ms that it waits for a thread; then 503.  0: the pool's */
	enum ol_priority priority OL_0_;      /* in its pool's queue */
	const struct ol_need *needs[OL_NEEDS_MAX] OL_0_;       /* .needs = { &database, &user } */
	ol_middleware *middleware[OL_MIDDLEWARE_MAX] OL_0_;    /* outermost first, inside the app's */
	ol_handler *adaptive OL_0_;           /* where it does best: in `pool` first, see below */
};

/* .timeout: when no reply has begun by then the client gets a 504 and ol_cancelled turns true.  Work that waits for a
 * thread is taken back; a handler that runs keeps its thread until it returns, and its reply is thrown away.  A stream
 * that has begun is broken off.  0: none.
 *
 * .adaptive: the server chooses, by what it measures.  The handler begins in the pool, on a stack of a fiber's size,
 * and may block.  When a hundred runs in a row (--adaptive-runs) never blocked, and all but one in a hundred were short
 * (--adaptive-us), its requests go to the loop; when it then holds a loop for too long, they go back to the pool, and
 * the next time it takes twice as many runs.  Waiting in this header's calls is not blocking.  A change is for requests
 * that start after it; a hold that never ends is not cured by it.  One that needs what may block (.blocking) stays in
 * the pool.
 *
 * A mount's .needs and .middleware are those of all its routes, before and around their own; its other members are
 * not set. */

/* A table of routes that can be mounted: static const struct ol_router api = { OL_ROUTES(api_routes) }; */
struct ol_router {
	const struct ol_route *routes;
	size_t nroutes, route_size;
};

#define OL_GET(path_, ...) { .method = OL_METHOD_GET, .path = path_, __VA_ARGS__ }        /* serves HEAD too */
#define OL_HEAD(path_, ...) { .method = OL_METHOD_HEAD, .path = path_, __VA_ARGS__ }
#define OL_POST(path_, ...) { .method = OL_METHOD_POST, .path = path_, __VA_ARGS__ }
#define OL_PUT(path_, ...) { .method = OL_METHOD_PUT, .path = path_, __VA_ARGS__ }
#define OL_PATCH(path_, ...) { .method = OL_METHOD_PATCH, .path = path_, __VA_ARGS__ }
#define OL_DELETE(path_, ...) { .method = OL_METHOD_DELETE, .path = path_, __VA_ARGS__ }
#define OL_OPTIONS(path_, ...) { .method = OL_METHOD_OPTIONS, .path = path_, __VA_ARGS__ }
#define OL_MOUNT(prefix_, ...) { .path = prefix_, .mount = __VA_ARGS__ }  /* ("/api", &api, .needs = { &user }) */

/* A named pool of worker threads.  Two are always there: "default", the first, sized by --pool and --queue; and
 * "background", the last, for ol_after, sized by --background and --background-queue.  Requests are taken first come,
 * first served, those of high priority before the others, but of nine at most eight while others wait. */
struct ol_pool {
	const char *name OL_0_;  /* at most 64 letters, digits, '_', '-' and '.' */
	unsigned threads OL_0_;  /* at most this many run at once; 0: 40 */
	unsigned queue OL_0_;    /* at most this many requests wait beyond those; more are answered 503.  0: 1024 */
	size_t stack OL_0_;      /* bytes of thread stack, used as touched; 0: the system's default, usually 8 MiB */
	unsigned queue_timeout OL_0_; /* ms a request waits for a thread, then 503; 0: the server's --queue-timeout */
	unsigned spares OL_0_;   /* threads beyond those while handlers are in ol_blocking_begin; 0: none */
	/* 1: sheds load by CoDel (RFC 8289, as servers use it): while for codel_interval ms no request has waited less
	 * than codel_target ms, the newest is served first, and who waited more than twice the target gets 503. */
	int codel OL_0_;
	unsigned codel_target OL_0_, codel_interval OL_0_;      /* ms; 0: 5 and 100 */
};

/* An option of the app's own, given as --name VALUE, OFFLOOP_NAME, or in the config file; read with ol_option_get(). */
struct ol_option {
	const char *name;   /* without the dashes; lower case, words joined by '-' */
	const char *arg;    /* what the value is called in --help, as "DIR"; NULL: a switch, "1" when given */
	const char *value;  /* its default; NULL: none */
	const char *help;   /* one line */
};

/* The app's own default for an option of the server, weaker than flag, environment and config file: {"port", "8080"} */
struct ol_default {
	const char *option, *value;
};

/* An app is const data: const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };  For
 * `offloop run` in C++, declare it first, since a constant is local to its file: extern "C" const struct ol_app app;
 * Set members in this order.  Members are only ever added at the end; the sizes tell the library which ones the caller
 * knows. */
struct ol_app {
	size_t size OL_0_;
	const struct ol_route *routes OL_0_;
	size_t nroutes OL_0_, route_size OL_0_;
	const struct ol_pool *pools OL_0_;
	size_t npools OL_0_, pool_size OL_0_;
	const struct ol_option *options OL_0_;
	size_t noptions OL_0_, option_size OL_0_;
	const struct ol_default *defaults OL_0_;
	size_t ndefaults OL_0_, default_size OL_0_;
	const char *name OL_0_;               /* for the start line and --help; NULL: the program's */
	int (*on_start)(ol_server *s) OL_0_;  /* before the first connection; below 0: the server does not start */
	void (*on_stop)(ol_server *s) OL_0_;  /* after the last reply; also after an on_start that failed */
	void *data OL_0_;                     /* first value of ol_server_data() */
	ol_middleware *middleware[OL_MIDDLEWARE_MAX] OL_0_;     /* around every route, outermost first */
	/* Asked in this order for each request that has found its route, before its body is read.  They run on the
	 * loop's own stack: they must not block, and what suspends gives -EDEADLK.  0: go on; or having replied: that
	 * is the answer (429, 503, 401).  Below 0: as a handler's. */
	ol_handler *admit[OL_ADMIT_MAX] OL_0_;
	const struct ol_on_error *on_error OL_0_;
	size_t non_error OL_0_, on_error_size OL_0_;
	const struct ol_override *overrides OL_0_;
	size_t noverrides OL_0_, override_size OL_0_;
};

#define OL_APP_INIT .size = sizeof(struct ol_app)
#define OL_ROUTES(t) \
	.routes = OL_TABLE_(struct ol_route, t), .nroutes = OL_COUNT_(t), .route_size = sizeof((t)[0])
#define OL_POOLS(t) .pools = OL_TABLE_(struct ol_pool, t), .npools = OL_COUNT_(t), .pool_size = sizeof((t)[0])
#define OL_APP_OPTIONS(t) \
	.options = OL_TABLE_(struct ol_option, t), .noptions = OL_COUNT_(t), .option_size = sizeof((t)[0])
#define OL_DEFAULTS(t) \
	.defaults = OL_TABLE_(struct ol_default, t), .ndefaults = OL_COUNT_(t), .default_size = sizeof((t)[0])
#define OL_ON_ERROR(t) \
	.on_error = OL_TABLE_(struct ol_on_error, t), .non_error = OL_COUNT_(t), .on_error_size = sizeof((t)[0])
#define OL_OVERRIDES(t) \
	.overrides = OL_TABLE_(struct ol_override, t), .noverrides = OL_COUNT_(t), .override_size = sizeof((t)[0])

/* Runs the app until SIGTERM or SIGINT, and returns the process's exit status: 0 after a clean drain, 1 when it could
 * not start or requests were stuck at the end of --grace, 2 for wrong options.  Call it once, from main, before the
 * program has threads.  argv is that of main; `./app --help` lists the options.  app is borrowed. */
int ol_main(int argc, char **argv, const struct ol_app *app);

/* Asks the server to drain and ol_main to return, as SIGTERM does.  [any] */
void ol_server_stop(ol_server *s);

/* Changes a pool (NULL: the default one) while it runs: at most `threads` requests run and `queue` more wait; 0 leaves
 * one as it is.  Raising starts waiting requests at once; lowering interrupts none: a thread over the limit ends when
 * its request does, and requests that wait already go on waiting.  The pool's share of .stream requests follows, unless
 * --sync-streams-max has set it.  -ENOENT: no such pool; -EINVAL: over 10000 threads or a queue of 10000000; -ENOTSUP:
 * the --model gives the pool no work (asgi: all; wsgi, wsgi-sync: all but the default one), or always one thread
 * (wsgi-sync).  Not after on_stop.  [any] */
int ol_pool_resize(ol_server *s, const char *name, unsigned threads, unsigned queue);

/* What a pool (NULL: the default one) does now: threads (running, blocked in ol_blocking_begin, idle, starting) that
 * add up to `threads`; requests that wait, and for how long the oldest has.  Set size to sizeof(struct ol_pool_info).
 * -ENOENT.  Cheap enough for an admit hook.  [any] */
struct ol_pool_info {
	size_t size;
	unsigned limit, queue_max;
	unsigned threads, running, blocked, idle, starting;
	unsigned queued;
	unsigned oldest_ms;
};
int ol_pool_look(ol_server *s, const char *name, struct ol_pool_info *info);

/* The app's own pointer, for what on_start opened.  Set it in on_start; requests read it with ol_app_data.  The server
 * never looks at what it points to. */
void ol_server_data_set(ol_server *s, void *data);       /* [setup] */
void *ol_server_data(const ol_server *s);                /* [any] */
void *ol_app_data(const ol_req *r);                      /* [owner] */
ol_server *ol_server_of(const ol_req *r);                /* [owner] */

/* The value of one of the app's own options: its string, or NULL when it was not given and has no default.  [any]
 * Borrowed from the server. */
const char *ol_option_get(const ol_server *s, const char *name);

/* ---------------------------------------------------------------------------------------------------------------
 * The request  [owner]
 * ------------------------------------------------------------------------------------------------------------ */

/* The method as sent ("GET"); the path, percent-decoded, without query; the target exactly as sent; the template of the
 * route that matched ("/reports/{id:int}"); its .data; the client's address ("192.0.2.1:4711", "unix:"). */
const char *ol_method(const ol_req *r);
const char *ol_path(const ol_req *r);
const char *ol_target(const ol_req *r);
const char *ol_route_path(const ol_req *r);
const void *ol_route_data(const ol_req *r);
const char *ol_remote(ol_req *r);

/* The trace that the client says the request is part of, and the client's own span in it: 32 and 16 hex digits of its
 * traceparent field (W3C Trace Context); NULL when it has none that is valid.  Lines of the access log and of ol_log
 * tell the first as trace_id. */
const char *ol_trace_id(ol_req *r);
const char *ol_span_id(ol_req *r);

/* A parameter of the route, percent-decoded.  A name the route does not declare: NULL (0 for the numbers) and a latched
 * 500 that names it in the log. */
const char *ol_param(ol_req *r, const char *name);
int64_t ol_param_int(ol_req *r, const char *name);
double ol_param_float(ol_req *r, const char *name);

/* The first query parameter of that name, decoded ('+' is a space); NULL when absent, "" when it has no value. */
const char *ol_query(ol_req *r, const char *name);

/* The same as a number.  Absent: *value is left as it is.  Not a decimal integer, or outside min..max: -EINVAL, and a
 * 422 in FastAPI's shape is latched. */
OL_CHECKED_ int ol_query_int(ol_req *r, const char *name, int64_t min, int64_t max, int64_t *value);

/* The first header field of that name (any case), without surrounding blanks; NULL when absent.  ol_header_at walks
 * them all in the order sent: NULL past the last. */
const char *ol_header(ol_req *r, const char *name);
const char *ol_header_at(ol_req *r, size_t i, const char **value);

/* The value of the first cookie of that name (RFC 6265 §4.2; case counts), quotes removed; NULL when absent. */
const char *ol_cookie(ol_req *r, const char *name);

/* The whole request body, NUL-terminated for convenience; *n (may be NULL) is its length.  Without a body: "" and 0.
 * suspends on a .stream route, and gives what ol_body_read has not taken before; elsewhere the body is there before the
 * handler starts.  NULL when it could not be read: the status is latched (400, 408, 413, 503), return -1. */
const char *ol_body(ol_req *r, size_t *n);

/* The next bytes of the body, at most n; 0 at its end; -EMSGSIZE, -ETIMEDOUT, -ECANCELED, -EBADMSG (bad chunk), the
 * status latched.  suspends until some have come.  On a route without .stream it reads from the buffered body. */
OL_CHECKED_ ssize_t ol_body_read(ol_req *r, void *buf, size_t n);

/* The body as JSON, parsed at the first call and owned by the request.  NULL: not JSON, nested deeper than 64, or with
 * \u0000 in a string; 422 is latched, return -1. */
json_t *ol_body_json(ol_req *r);

/* A trailer field of a chunked request (RFC 9110 §6.5), once the body has been read to its end; else NULL. */
const char *ol_trailer(ol_req *r, const char *name);

/* Latches a 422 with one more entry {"loc": [in, name], "msg", "type"} of FastAPI's shape; in is "body", "query",
 * "path" or "header"; name may be NULL: then loc is [in].  The strings are copied.  Gives -EINVAL, for
 * return ol_invalid(r, "body", "text", "field required", "value_error.missing"); */
int ol_invalid(ol_req *r, const char *in, const char *name, const char *msg, const char *type);

/* ---------------------------------------------------------------------------------------------------------------
 * The reply  [owner]
 *
 * Each gives 0, -EALREADY when a reply is committed, -ENOMEM, or -EINVAL (a status outside 200..599; a control
 * character in a header), so that a handler can end with `return ol_text(...)`.  A media type is copied; NULL:
 * text/plain in UTF-8.
 * ------------------------------------------------------------------------------------------------------------ */

int ol_text(ol_req *r, int status, const char *text);                   /* text/plain; copied */
#define ol_textf(r, status, ...) ol_textf_((r), (status), "" __VA_ARGS__) /* the format must be a literal */
int ol_textf_(ol_req *r, int status, const char *fmt, ...) OL_PRINTF_(3, 4);

/* Compact; a real has the fewest digits that read back as the same number, and ".0" or an exponent where it would look
 * like an integer.  A value nested deeper than 64, or in itself: -ELOOP; with text that is not UTF-8: -EINVAL. */
int ol_json(ol_req *r, int status, const json_t *value);                /* borrows value, only during the call */
int ol_json_new(ol_req *r, int status, json_t *value);                  /* steals value, also on error; NULL: -ENOMEM */

int ol_bytes(ol_req *r, int status, const char *type, const void *p, size_t n);     /* copied */

/* Borrows p until the reply has been sent (or discarded); then calls release(arg) once, on any thread.  release may be
 * NULL for memory that outlives the server.  On error release is called before the return. */
int ol_bytes_new(ol_req *r, int status, const char *type, const void *p, size_t n,
	void (*release)(void *arg), void *arg);

int ol_empty(ol_req *r, int status);                                    /* no body: 204, 304 */
int ol_error(ol_req *r, int status, const char *detail);                /* {"detail": detail} */
int ol_redirect(ol_req *r, int status, const char *location);           /* 301, 302, 303, 307, 308 */

/* The status of the reply as it stands, 0 without one, 500 for a stream that was broken off; and what an error of it
 * says ("" for other replies; of a 422 of ol_invalid the list of its entries, as JSON text). */
int ol_status(const ol_req *r);
const char *ol_detail(const ol_req *r);

/* Header fields of the reply: set replaces, add appends.  They outlive a reply that the handler replaces, not one that
 * a 500 or a latched status replaces.  Copied.  Content-Type has one value.  Connection, Content-Length, Date,
 * Keep-Alive, Trailer, Transfer-Encoding and Upgrade are the server's: -EPERM. */
int ol_header_set(ol_req *r, const char *name, const char *value);
int ol_header_add(ol_req *r, const char *name, const char *value);

/* Set-Cookie (RFC 6265 §4.1): attributes is what follows the value, as "Path=/; HttpOnly; SameSite=Lax", or NULL. */
int ol_cookie_set(ol_req *r, const char *name, const char *value, const char *attributes);

/* A reply whose length is not known before: ol_stream starts it, the first ol_write commits it, the handler's return
 * ends it (a return below 0 breaks it off, so that the client sees it is incomplete).  HTTP/1.1 gets chunks, 1.0 a
 * close.  ol_write copies n bytes; suspends while the client is more than 64 KiB behind; -ECANCELED when it has left;
 * nothing is sent for HEAD, 204 and 304.  Small writes leave together.  A trailer (RFC 9110 §6.5) may be set until the
 * handler returns; it is sent to HTTP/1.1 clients.  Without ol_stream: -EINVAL. */
int ol_stream(ol_req *r, int status, const char *type);
OL_CHECKED_ int ol_write(ol_req *r, const void *p, size_t n);
int ol_trailer_set(ol_req *r, const char *name, const char *value);

/* A stream that is pulled: when the handler has returned 0, pull(r, arg, buf, n) is called in the same lane again and
 * again, whenever the client can take more: it gives the number of bytes put into buf (at most n, which is 4 KiB or
 * more), 0 at the end, below 0 to break the reply off (before the first byte: as a handler's).  It may wait, but
 * neither write nor reply.  Then close(arg) is called in that lane, once, also when pull never was (HEAD, another
 * reply, a client that has left), before what the route needs is released; close may be NULL.  On error it is called
 * before the return.  A .sync route without .needs holds no thread while its client is behind: pull and close may be
 * called on several, one after the other.  [owner]; in an admit hook -EDEADLK */
int ol_pull(ol_req *r, int status, const char *type, ssize_t (*pull)(ol_req *r, void *arg, void *buf, size_t n),
	void (*close)(void *arg), void *arg);

/* Server-sent events (the HTML standard, §9.2): ol_events starts a stream of type text/event-stream that nothing caches
 * or buffers, and commits it; retry_ms (0: not sent) tells the client when to come back.  ol_event sends one: event and
 * id may be NULL, data may have several lines; it suspends as ol_write does, which such a stream does not take.
 * -ECANCELED: nobody waits for it any more.  -EINVAL: event or id has a line break, data is NULL, retry_ms is below 0,
 * or there was no ol_events, which gives -EDEADLK in an admit hook.  A stream that is silent for --events-keepalive
 * seconds gets a comment, so that proxies keep it and a client that has gone is noticed. */
int ol_events(ol_req *r, int retry_ms);
OL_CHECKED_ int ol_event(ol_req *r, const char *event, const char *id, const char *data);

/* ---------------------------------------------------------------------------------------------------------------
 * Waiting, memory, other threads
 * ------------------------------------------------------------------------------------------------------------ */

/* Waits ms milliseconds.  suspends.  -ECANCELED as soon as nobody waits for the reply any more (ol_cancelled).
 * [owner] */
int ol_sleep(ol_req *r, int64_t ms);

/* Runs fn(arg) on a thread of the pool (NULL: the default one) and gives what it returned.  suspends.  -EAGAIN: the
 * pool's queue is full; -ECANCELED: nobody waited any more before fn started; -ENOENT: no such pool.  From a sync
 * handler of the same pool fn runs at once on the same thread; to another pool it must be one later in the app's table,
 * else -EDEADLK, so that pools can never wait for each other in a circle (the default pool comes first).  fn may use r
 * as the handler does while it runs.  [owner] */
int ol_offload(ol_req *r, const char *pool, int (*fn)(void *arg), void *arg);

/* Says that a .sync handler now waits for something outside (a database, a peer, a lock of a library's): meanwhile
 * its pool may run one more, within its .spares.  Pairs nest; what is open when the handler returns is closed.  In an
 * .async handler both do nothing.  [owner] */
void ol_blocking_begin(ol_req *r);
void ol_blocking_end(ol_req *r);

/* Leaves work for after the reply: fn(r, arg) runs on a thread of the pool (NULL: "background") once the reply has been
 * sent or given up, one after the other in the order left, and holds up neither the client nor the connection's next
 * request.  The request's memory, parameters and values stay for it; it cannot reply.  Below 0 is logged with the
 * route.  Nothing runs when the handler fails (below 0, a 500).  Draining waits for it; ol_cancelled turns true when
 * the grace is over.  -EAGAIN: the pool is full, fn will not run; -ENOENT; -ENOMEM; -EALREADY: this is such work.
 * [owner], until the handler returns */
OL_CHECKED_ int ol_after(ol_req *r, const char *pool, int (*fn)(ol_req *r, void *arg), void *arg);

/* 1 when nobody waits for the reply any more: the client left, the route's .timeout is over, or the server's grace.
 * [any], while it works for r */
int ol_cancelled(const ol_req *r);

/* Values of the request's own, by name (any string, compared by content; borrowed until the request ends, as is the
 * value).  They go wherever the request goes: middleware, needs, handler, ol_offload, ol_after.  NULL: not set. */
int ol_value_set(ol_req *r, const char *name, void *value);             /* -ENOMEM.  [owner] */
void *ol_value(const ol_req *r, const char *name);                      /* [owner] */

/* What a need of the route was acquired as; NULL while it is not held.  NULL for a name the route does not need, and a
 * latched 500 that names it.  [owner] */
void *ol_need_value(ol_req *r, const char *name);

/* The request that the calling thread or fiber works for now, for code that was not handed it; else NULL.  [any] */
ol_req *ol_current(void);

/* Memory of the request's: aligned to 16, freed with it.  NULL when there is none.  [owner] */
void *ol_alloc(ol_req *r, size_t n);
char *ol_strdup(ol_req *r, const char *s);
#define ol_printf(r, ...) ol_printf_((r), "" __VA_ARGS__)               /* the format must be a literal */
char *ol_printf_(ol_req *r, const char *fmt, ...) OL_PRINTF_(2, 3);

/* One line to the server's log, at most 2047 bytes, with the route.  [owner] */
enum ol_level { OL_LOG_ERROR, OL_LOG_WARN, OL_LOG_INFO, OL_LOG_DEBUG };
#define ol_log(r, level, ...) ol_log_((r), (level), "" __VA_ARGS__)     /* the format must be a literal */
void ol_log_(ol_req *r, enum ol_level level, const char *fmt, ...) OL_PRINTF_(3, 4);

/* The same without a request, from on_start and threads of the app's own.  [any] */
#define ol_server_log(s, level, ...) ol_server_log_((s), (level), "" __VA_ARGS__)
void ol_server_log_(ol_server *s, enum ol_level level, const char *fmt, ...) OL_PRINTF_(3, 4);

/* Locks that handlers of both lanes may share, and hold across suspensions.  First come, first served.  They start with
 * OL_MUTEX_INIT and OL_SEM_INIT(n).  The waits suspend; -ECANCELED when nobody waits for the reply any more (nothing is
 * held then), -ETIMEDOUT.  ol_sem_post may be called by anyone.  Not recursive. */
typedef struct ol_sem {
	pthread_mutex_t lock_;
	unsigned count_;
	struct ol_waiter_ *head_, *tail_;
} ol_sem;
typedef struct ol_mutex {
	ol_sem sem_;
} ol_mutex;
#define OL_SEM_INIT(n) { PTHREAD_MUTEX_INITIALIZER, (n), NULL, NULL }
#define OL_MUTEX_INIT { OL_SEM_INIT(1) }
OL_CHECKED_ int ol_mutex_lock(ol_req *r, ol_mutex *m);                  /* [owner] */
void ol_mutex_unlock(ol_mutex *m);                                      /* [any] */
OL_CHECKED_ int ol_sem_wait(ol_req *r, ol_sem *s, int64_t timeout_ms);  /* [owner]; below 0: no limit */
void ol_sem_post(ol_sem *s);                                            /* [any] */

/* A name for a request that other threads may keep.  It costs nothing to hold, and outlives the request: then it is
 * stale.  It must not be used after on_stop. */
typedef struct ol_handle {
	void *loop_;
	uint32_t slot_, gen_;
} ol_handle;
ol_handle ol_handle_of(ol_req *r);                                      /* [owner] */

/* Runs fn(r, arg) on the request's loop, once, soon; r is NULL when the handle is stale.  fn must not block, and may
 * call only ol_wake, ol_cancelled and what is marked [any].  -ENOMEM: fn will not run.  [any] */
OL_CHECKED_ int ol_post(ol_handle h, void (*fn)(ol_req *r, void *arg), void *arg);

/* Waits for ol_wake.  A wake that came first is remembered (one is).  suspends.  -ETIMEDOUT after timeout_ms (below 0:
 * no limit), -ECANCELED.  [owner] */
OL_CHECKED_ int ol_wait(ol_req *r, int64_t timeout_ms);
void ol_wake(ol_req *r);                                                /* [loop] */

#ifdef __cplusplus
}
#endif
#endif
