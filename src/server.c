/* server.c: an app, its listeners, its loop threads and its pools, from start to the last reply.
 *
 * Each loop thread has everything of its own: backend, listener, connections, dispatch, counters.  What they share is
 * constant once they run (routes, pools, config) but for a few atomics.  A server is put together in steps, each of
 * which can fail before the next has begun: server_new checks the app, server_listen takes the port, server_start
 * starts the threads; server_free takes down whatever of it there is.
 *
 * Draining, on each loop: the listener turns deaf and is closed when for 50 ms nothing more of what had completed its
 * handshake has been accepted (at once where others go on accepting from the same socket); connections without a
 * request end within a second; the others after their reply.  The thread ends when it has neither connections nor
 * requests left, nor work that these have left for after their reply, and the last one tells server_wait.
 *
 * A loop that has its share of --connections-max closes idle connections to make room for the next, lets replies end
 * their connections, and no longer accepts: clients wait in the kernel's backlog (but see `newcomers_first`).  What a
 * multishot accept had taken from there by then waits unread in `waiting`.
 *
 * Where a model has one connection at a time (`one`) the next is accepted, by itself, when nothing is left of the one
 * before it but its client's end: neither a reply nor a handler nor work for after the reply.  So whoever waits does so
 * in the kernel's backlog, where another worker process can take it; a drain closes the listener when that is empty.
 *
 * What others ask of a running server is in server_info.c.
 *
 * Threads: the functions of server.h on the one that runs the process, where they do not say otherwise; the rest on
 * its loop's.
 */
#include "server_internal.h"
#include "adviser.h"
#include "model.h"
#include "server_crew.h"
#include "server_load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEAF_NS (50 * NS_PER_MS)         /* without a client in a deaf listener's backlog, before it is closed */
#define DEAF_MAX_NS (5 * NS_PER_S)      /* of that, when descriptors are short */
#define ABANDON_NS (500 * NS_PER_MS)

/* A connection that waits for room. */
struct waiting {
	struct list node;
	int fd;
};

static void lock(ol_server *s) ACQUIRES(server_role);
static void unlock(ol_server *s) RELEASES(server_role);

static UNCHECKED void lock(ol_server *s)
{
	pthread_mutex_lock(&s->mutex);
}

static UNCHECKED void unlock(ol_server *s)
{
	pthread_mutex_unlock(&s->mutex);
}

static int __attribute__((format(printf, 3, 4))) fail(char *err, size_t err_n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, err_n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- made -------------------------------------------------------------------------------------------------------- */

static unsigned share(unsigned whole, unsigned parts)
{
	return (whole + parts - 1) / parts;
}

static int make_pools(ol_server *s, char *err, size_t err_n)
{
	const struct config *c = s->setup.config;
	unsigned n = s->endpoints.npools, streams = c->streams_sync_max;

	if (streams == 0 && model_of(c->model)->lane == MODEL_POOL)
		streams = POOL_THREADS_MAX; /* nothing is set aside for other requests */
	s->shared.pools = calloc(n, sizeof(*s->shared.pools));
	if (!s->shared.pools)
		return fail(err, err_n, "out of memory");
	s->shared.npools = n;
	s->crews = calloc(n, sizeof(*s->crews));
	if (!s->crews)
		return fail(err, err_n, "out of memory");
	for (unsigned i = 0; i < n; i++) {
		struct pool_conf pc = endpoints_pool_conf(&s->endpoints, i);
		int rc;

		pc.idle_ns = c->idle_thread_ms * NS_PER_MS;
		server_crew_hook(&pc, &s->crews[i], s, i);
		rc = dispatch_pool_init(&s->shared.pools[i], &pc, streams);
		if (rc < 0)
			return fail(err, err_n, "pool \"%s\": %s", pc.name, strerror(-rc));
	}
	return 0;
}

static void init_lock(ol_server *s)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&s->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
}

/* What dispatch is told, of all that is known by now. */
static void set_shared(ol_server *s)
{
	const struct config *c = s->setup.config;

	s->shared.server = s;
	s->shared.config = c;
	s->shared.log = s->setup.log;
	s->shared.router = s->endpoints.router;
	s->shared.endpoints = s->endpoints.all;
	s->shared.nendpoints = s->endpoints.n;
	s->shared.admit = s->endpoints.admit;
	s->endpoints.lanes.log = s->setup.log;
	s->shared.requests_max = share(c->requests_max, s->nloops);
	s->shared.fibers_max = share(c->fibers_max, s->nloops);
	atomic_init(&s->shared.data, s->setup.app->data);
}

ol_server *server_new(const struct server_setup *setup, char *err, size_t err_n)
{
	ol_server *s = calloc(1, sizeof(*s));

	if (!s) {
		fail(err, err_n, "out of memory");
		return NULL;
	}
	s->setup = *setup;
	s->nloops = setup->config->loops ? setup->config->loops : 1;
	init_lock(s);
	if (endpoints_build(&s->endpoints, setup->app, setup->config, err, err_n) < 0 ||
		make_pools(s, err, err_n) < 0) {
		server_free(s);
		return NULL;
	}
	set_shared(s);
	return s;
}

/* ---- listening --------------------------------------------------------------------------------------------------- */

/* Which backend: the one asked for, or io_uring if it can be had. */
static int pick_backend(ol_server *s, bool *uring, char *err, size_t err_n)
{
	const char *stage = "";
	int rc;

	*uring = false;
	if (s->setup.config->backend == BACKEND_EVENT)
		return 0;
	rc = loop_probe_uring(&stage);
	*uring = rc == 0;
	if (rc < 0 && s->setup.config->backend == BACKEND_URING)
		return fail(err, err_n, "--backend uring: %s: %s; use --backend libevent or auto", stage,
			strerror(-rc));
	if (rc < 0)
		snprintf(s->backend_why, sizeof(s->backend_why), "no io_uring: %s: %s", stage, strerror(-rc));
	return 0;
}

static int make_loop(ol_server *s, unsigned i, bool uring)
{
	struct server_loop *l = &s->loops[i];
	const char *stage;

	l->server = s;
	l->index = i;
	l->connections_max = share(s->setup.config->connections_max, s->nloops);
	l->loop = uring ? loop_new_uring(NULL, &stage) : loop_new_event(NULL);
	if (!l->loop)
		return -errno;
	return metrics_loop_init(&l->metrics, s->endpoints.n);
}

/* The monitor, unless it is off, who gives advice, and what is known of the loops' load. */
static int make_watch(ol_server *s, char *err, size_t err_n)
{
	int rc = s->setup.config->monitor == SWITCH_OFF ? 0 : server_crew_watch(s, &s->endpoints, &s->watch);

	if (rc == 0 && !(s->adviser = adviser_new(s)))
		rc = -errno;
	if (rc == 0 && !(s->load = server_load_new(s)))
		rc = -ENOMEM;
	return rc < 0 ? fail(err, err_n, "the monitor: %s", strerror(-rc)) : 0;
}

int server_listen(ol_server *s, char *err, size_t err_n)
{
	const struct config *c = s->setup.config;
	bool uring = false;
	int rc = s->setup.listen ?
		listen_share(&s->listen, s->setup.listen, s->nloops, err, err_n) :
		listen_open(&s->listen, c->host, c->port, c->unix_path, s->nloops, (int)c->backlog, err, err_n);

	if (rc == 0)
		rc = pick_backend(s, &uring, err, err_n);
	if (rc < 0)
		return rc;
	s->backend = uring ? "io_uring" : "libevent";
	s->exclusive = uring && s->setup.listen;
	s->loops = aligned_alloc(64, (s->nloops * sizeof(*s->loops) + 63) & ~(size_t)63);
	if (!s->loops)
		return fail(err, err_n, "out of memory");
	memset(s->loops, 0, s->nloops * sizeof(*s->loops));
	for (unsigned i = 0; i < s->nloops && rc == 0; i++) {
		rc = make_loop(s, i, uring);
		if (rc < 0)
			fail(err, err_n, "loop %u on %s: %s", i, s->backend, strerror(-rc));
	}
	return rc < 0 ? rc : make_watch(s, err, err_n);
}

/* ---- a loop's thread --------------------------------------------------------------------------------------------- */

/* It has a connection, or what one has left behind. */
static bool engaged(const struct server_loop *l)
{
	return l->home.nconns > l->home.nlingering || l->dispatch.nlive > 0 || l->dispatch.nafter > 0;
}

static int accept_next(struct server_loop *l)
{
	return l->one ? loop_accept_one(&l->listener) : loop_accept(&l->listener);
}

static void start_accepting(struct server_loop *l)
{
	if (l->listening && !l->full && !(l->listener.armed & LOOP_ACCEPT) && !(l->one && engaged(l)))
		(void)accept_next(l); /* cannot fail for an open listener with nothing armed */
}

static void log_accept_error(struct server_loop *l, int rc)
{
	struct log_field fields[] = {
		LOG_FIELD_INT("loop", l->index),
		LOG_FIELD_STR("error", slice_of(strerror(-rc))),
		LOG_FIELD_INT("connections", l->home.nconns),
	};

	log_line(l->server->setup.log, LOG_WARN, SLICE("cannot accept connections for now"), fields, 3);
}

/* What is still accepted while draining is served at once. */
static bool has_room(const struct server_loop *l)
{
	return l->draining || l->home.nconns < l->connections_max;
}

static void let_in(struct server_loop *l, int fd)
{
	if (conn_open(&l->home, fd) < 0)
		metric_add(&l->metrics, METRIC_ACCEPT_ERRORS, 1);
}

static void let_wait(struct server_loop *l, int fd)
{
	struct waiting *w = malloc(sizeof(*w));

	if (!w) {
		metric_add(&l->metrics, METRIC_ACCEPT_ERRORS, 1);
		close(fd);
		return;
	}
	w->fd = fd;
	list_push_back(&l->waiting, &w->node);
	if (!conn_close_idle(&l->home) && l->server->setup.config->newcomers_first)
		(void)conn_break_off(&l->home);
	if (l->full)
		return;
	l->full = true;
	conn_home_crowded(&l->home, true);
	loop_stop_ops(&l->listener, LOOP_ACCEPT);
}

/* Lets in as many of those that wait as there is room for. */
static void let_in_waiting(struct server_loop *l)
{
	while (has_room(l) && !list_empty(&l->waiting)) {
		struct waiting *w = container_of(list_pop(&l->waiting), struct waiting, node);

		let_in(l, w->fd);
		free(w);
	}
	if (!l->full || !list_empty(&l->waiting))
		return;
	l->full = false;
	conn_home_crowded(&l->home, false);
	start_accepting(l);
}

static void on_accepted(struct loop_io *io, int fd, bool more)
{
	struct server_loop *l = container_of(io, struct server_loop, listener);

	l->backlog = true;
	if (fd >= 0) {
		if (has_room(l))
			let_in(l, fd);
		else
			let_wait(l, fd);
	} else if (fd != -ECANCELED) {
		metric_add(&l->metrics, METRIC_ACCEPT_ERRORS, 1);
		log_accept_error(l, fd);
		(void)conn_close_idle(&l->home); /* a full table may have room for one then */
	}
	if (!more)
		start_accepting(l);
}

static void on_conn_closed(struct conn_home *h)
{
	let_in_waiting(h->owner);
}

static void on_listener_released(struct loop_io *io)
{
	struct server_loop *l = container_of(io, struct server_loop, listener);

	l->server->listen.fds[l->index] = -1;
}

static void close_listener(struct server_loop *l)
{
	if (!l->listening)
		return;
	l->listening = false;
	wheel_del(&l->loop->wheel, &l->close_listener);
	loop_close(&l->listener);
}

/* Closes a deaf listener once its backlog has been empty for a while: a loop that is late, or has no descriptor left
 * for those it would accept, goes on. */
static void on_deaf(struct timer *t)
{
	struct server_loop *l = container_of(t, struct server_loop, close_listener);
	uint64_t now = l->loop->now_ns;

	/* The backlog waits for that, and where that has just ended nobody has looked at the backlog yet. */
	if (l->one && l->deaf && (engaged(l) || !(l->listener.armed & LOOP_ACCEPT))) {
		l->deaf_ns = now;
		l->backlog = true;
	}
	if (!l->backlog || now - l->deaf_ns > (l->deaf ? DEAF_MAX_NS : DEAF_NS)) {
		close_listener(l);
		return;
	}
	l->backlog = false;
	wheel_add(&l->loop->wheel, t, now + DEAF_NS);
}

static void log_not_deaf(struct server_loop *l, int rc)
{
	char text[64];
	struct log_field fields[] = {
		LOG_FIELD_INT("loop", l->index),
		LOG_FIELD_STR("error", slice_of(strerror_r(-rc, text, sizeof(text)))),
	};

	log_line(l->server->setup.log, LOG_WARN,
		SLICE("cannot filter new connections: one that comes as the listener closes is reset"), fields, 2);
}

static void turn_deaf(struct server_loop *l)
{
	int rc = listen_deafen(&l->server->listen, l->index);

	l->deaf = rc == 0;
	if (!l->deaf)
		log_not_deaf(l, rc);
	l->deaf_ns = l->loop->now_ns;
	l->backlog = true;
	on_deaf(&l->close_listener);
}

static void on_drain(struct loop_msg *m)
{
	struct server_loop *l = container_of(m, struct server_loop, drain);

	l->draining = true;
	let_in_waiting(l);
	if (l->server->leaving)
		close_listener(l);
	else
		turn_deaf(l);
	conn_home_drain(&l->home);
}

/* Somebody waits in the backlog: an accept that is started anew sees that, also where the kernel has woken another. */
static void on_look(struct loop_msg *m)
{
	struct server_loop *l = container_of(m, struct server_loop, look);

	/* Release: what the loop has done with the message comes before it is posted anew. */
	atomic_store_explicit(&l->looking, false, memory_order_release);
	if (l->listening)
		loop_stop_ops(&l->listener, LOOP_ACCEPT);
}

static void on_abandon(struct loop_msg *m)
{
	struct server_loop *l = container_of(m, struct server_loop, abandon);

	close_listener(l);
	conn_home_abort(&l->home);
}

static bool over(const struct server_loop *l)
{
	return l->draining && l->server->listen.fds[l->index] < 0 && l->home.nconns == 0 && l->dispatch.nlive == 0 &&
		l->dispatch.nafter == 0 && l->dispatch.nholds == 0;
}

static void before_wait(struct loop *loop)
{
	struct server_loop *l = loop->owner;

	dispatch_flush(&l->dispatch);
	if (l->one)
		start_accepting(l);
	if (l->draining && over(l))
		loop_stop(loop);
}

static void report(ol_server *s, enum stage stage)
{
	lock(s);
	s->reached[stage]++;
	pthread_cond_broadcast(&s->changed);
	unlock(s);
}

static int set_up(struct server_loop *l)
{
	static const struct loop_io_ops listener_ops = { .accepted = on_accepted, .released = on_listener_released };
	ol_server *s = l->server;
	int rc = dispatch_init(&l->dispatch, l->loop, &s->shared, &l->metrics);

	if (rc < 0)
		return rc;
	l->dispatch.watch = watch_attach(s->watch, l->index);
	rc = conn_home_init(&l->home, l->loop, &l->dispatch, &l->metrics, s->setup.config);
	if (rc < 0) {
		dispatch_fini(&l->dispatch);
		return rc;
	}
	l->home.closed = on_conn_closed;
	l->home.owner = l;
	l->loop->owner = l;
	l->loop->before_wait = before_wait;
	timer_init(&l->close_listener, on_deaf);
	l->drain.fn = on_drain;
	l->abandon.fn = on_abandon;
	l->look.fn = on_look;
	loop_io_init(&l->listener, l->loop, s->listen.fds[l->index], &listener_ops);
	l->listener.shared = s->listen.shared;
	l->listener.exclusive = s->exclusive;
	list_init(&l->waiting);
	l->listening = true;
	l->one = model_of(s->setup.config->model)->one_connection;
	rc = accept_next(l);
	if (rc < 0) {
		conn_home_fini(&l->home);
		dispatch_fini(&l->dispatch);
	}
	return rc;
}

static void log_loop_failed(struct server_loop *l, int rc)
{
	struct log_field fields[] = {
		LOG_FIELD_INT("loop", l->index),
		LOG_FIELD_STR("error", slice_of(strerror(-rc))),
	};

	log_line(l->server->setup.log, LOG_ERROR, SLICE("an event loop cannot go on"), fields, 2);
}

static void serve(struct server_loop *l)
{
	ol_server *s = l->server;
	int rc = loop_run(l->loop);

	if (rc < 0) {
		/* Its connections cannot be ended any more, so this thread never counts as ended, and the process
		 * does not wait for it beyond the grace. */
		log_loop_failed(l, rc);
		if (s->setup.broken)
			s->setup.broken(s->setup.stop_arg);
		return;
	}
	conn_home_fini(&l->home);
	dispatch_fini(&l->dispatch);
	l->ended = true;
	report(s, ENDED);
}

static void *loop_thread(void *arg)
{
	struct server_loop *l = arg;
	clockid_t cpu;
	char name[16];

	snprintf(name, sizeof(name), "ol-loop%u", l->index % 1000);
	pthread_setname_np(pthread_self(), name);
	if (pthread_getcpuclockid(pthread_self(), &cpu) == 0)
		atomic_store_explicit(&l->cpu_clock, cpu, memory_order_relaxed);
	if (set_up(l) < 0) {
		report(l->server, FAILED);
	} else {
		report(l->server, READY);
		serve(l);
	}
	watch_detach(l->dispatch.watch);
	l->dispatch.watch = NULL;
	return NULL;
}

int server_start(ol_server *s, char *err, size_t err_n)
{
	unsigned started = 0, failed;
	int rc = 0;

	while (started < s->nloops && rc == 0) {
		rc = -pthread_create(&s->loops[started].thread, NULL, loop_thread, &s->loops[started]);
		if (rc == 0)
			s->loops[started++].threaded = true;
	}
	lock(s);
	while (s->reached[READY] + s->reached[FAILED] < started)
		pthread_cond_wait(&s->changed, &s->mutex);
	failed = s->reached[FAILED];
	unlock(s);
	if (rc == 0 && failed == 0 && s->watch)
		rc = watch_start(s->watch);
	if (rc == 0 && failed == 0) {
		atomic_store_explicit(&s->serving, true, memory_order_relaxed);
		return 0;
	}
	fail(err, err_n, "cannot start threads: %s", rc < 0 ? strerror(-rc) : "out of memory");
	for (unsigned i = 0; i < started; i++)
		loop_post(s->loops[i].loop, &s->loops[i].drain);
	(void)server_wait(s, NEVER); /* those that run may have a request by now */
	return rc < 0 ? rc : -ENOMEM;
}

void server_look(ol_server *s)
{
	for (unsigned i = 0; i < s->nloops; i++) /* acquire: pairs with on_look's release */
		if (!atomic_exchange_explicit(&s->loops[i].looking, true, memory_order_acquire))
			loop_post(s->loops[i].loop, &s->loops[i].look);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

void server_leave(ol_server *s)
{
	s->leaving = true;
	server_drain(s);
}

void server_drain(ol_server *s)
{
	atomic_store_explicit(&s->serving, false, memory_order_relaxed);
	for (unsigned i = 0; i < s->nloops; i++)
		loop_post(s->loops[i].loop, &s->loops[i].drain);
}

int server_wait(ol_server *s, uint64_t deadline_ns)
{
	struct timespec at = clock_timespec(deadline_ns);
	int rc = 0;

	lock(s);
	while (s->reached[ENDED] < s->reached[READY] && rc == 0)
		rc = deadline_ns == NEVER ?
			pthread_cond_wait(&s->changed, &s->mutex) :
			pthread_cond_timedwait(&s->changed, &s->mutex, &at);
	unlock(s);
	return rc == 0 ? 0 : -ETIMEDOUT;
}

/* Requests of one route in flight on all loops. */
static unsigned in_flight(const ol_server *s, uint32_t index)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nloops; i++)
		n += (unsigned)counter_read(&s->loops[i].metrics.in_flight[index]);
	return n;
}

/* Requests that have begun and have no route yet. */
static unsigned heads_pending(const ol_server *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nloops; i++)
		n += (unsigned)counter_read(&s->loops[i].metrics.value[METRIC_HEADS]);
	return n;
}

static unsigned name_stuck(const ol_server *s, char *names, size_t n)
{
	unsigned sum = 0;
	size_t at = 0;

	names[0] = '\0';
	for (uint32_t i = 0; i <= s->endpoints.n + 1; i++) { /* behind the routes: those of none, and those to come */
		bool begun = i <= s->endpoints.n;
		unsigned k = begun ? in_flight(s, i) : heads_pending(s);

		sum += k;
		if (k > 0 && at < n)
			at += (size_t)snprintf(names + at, n - at, "%s%s: %u request%s", at ? "\n" : "",
				begun ? s->endpoints.all[i].name : "heads that are not complete", k,
				k == 1 ? "" : "s");
	}
	return sum;
}

unsigned server_abandon(ol_server *s, char *names, size_t n)
{
	unsigned stuck = name_stuck(s, names, n);

	for (unsigned i = 0; i < s->nloops; i++)
		loop_post(s->loops[i].loop, &s->loops[i].abandon);
	if (server_wait(s, clock_now_ns() + ABANDON_NS) < 0 && stuck == 0) {
		snprintf(names, n, "a loop's thread does not end");
		stuck = 1;
	}
	return stuck;
}

void server_free(ol_server *s)
{
	if (!s)
		return;
	for (unsigned i = 0; s->loops && i < s->nloops; i++)
		if (s->loops[i].threaded)
			pthread_join(s->loops[i].thread, NULL);
	watch_stop(s->watch); /* it looks at pools */
	/* A worker may still be waking the loop it has just handed its work back to: pools first. */
	for (unsigned i = 0; i < s->shared.npools; i++)
		dispatch_pool_fini(&s->shared.pools[i]);
	adviser_free(s->adviser);
	server_load_free(s->load);
	watch_free(s->watch);
	for (unsigned i = 0; s->loops && i < s->nloops; i++) {
		if (s->loops[i].ended)
			loop_run_late(s->loops[i].loop); /* posts to requests that had ended */
		loop_free(s->loops[i].loop);
		metrics_loop_fini(&s->loops[i].metrics);
	}
	listen_close(&s->listen);
	free(s->loops);
	free(s->shared.pools);
	free(s->crews);
	endpoints_free(&s->endpoints);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}
