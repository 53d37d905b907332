/* app.c: a process around a server, from argv to the exit status.
 *
 * ol_main reads the options, then brings things up in an order in which whatever can fail does so before the app's
 * on_start has opened anything: signals, log, server, listeners, control plane (which says "not ready" from here on),
 * on_start, loops.  It then waits for a reason to stop, and takes all down in the opposite order.  Each step that
 * failed leaves one line on stderr, "NAME: what was wrong"; the steps before it are undone, and the status is 1 (2 for
 * wrong options).
 *
 * The end.  SIGTERM, SIGINT or ol_server_stop: the server drains, for --grace at most.  When all that was accepted has
 * been answered, everything is freed and the status is 0.  When not, what still runs is cancelled; then the routes that
 * did not end are named in the log.  If any are left their threads cannot be joined, nor can what they use be freed,
 * nor can on_stop close it under them: the process ends at once with status 1.  A second signal does the same at any
 * time.
 *
 * With --workers all of this happens in each worker, from the log on.  It serves from the supervisor's listener, hears
 * from the supervisor when to end, and leaves SIGTERM and SIGINT to it (supervisor.c).
 *
 * Threads: ol_main's own; that of the signals, which calls caught(); and whoever calls ol_server_stop.  The last two
 * say so through an eventfd that only ol_main's thread reads.  SIGTTIN and SIGTTOU are not about the end: they resize
 * the default pool at once, on the signals' thread, from when there is a server until it is taken down.
 */
#include "base/clock.h"
#include "base/log.h"
#include "config.h"
#include "control.h"
#include "cpus.h"
#include "model.h"
#include "offloop.h"
#include "options.h"
#include "server.h"
#include "signals.h"
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define FLUSH_MS 1000   /* for a log nobody reads, at the end */

struct process {
	char name[256];                 /* what errors and --help call it */
	const struct ol_app *app;       /* the options' copy, as long as this version's */
	struct options *options;
	struct config config;
	struct log *log;
	struct signals *signals;
	ol_server *server;
	pthread_mutex_t mutex;          /* guards living: the server, for the signals' thread */
	ol_server *living;
	struct control *control;
	struct seat seat;               /* a worker's; fd -1: this process serves alone */
	char worker[16];                /* its number */
	_Atomic bool leaving;           /* it ends, and others go on accepting; release and acquire, with stop_fd */
	int stop_fd;                    /* eventfd: a reason to stop has come */
	uint64_t files;                 /* descriptors this process may have open */
	unsigned connections_asked;     /* --connections-max, before files bounded it */
};

extern char **environ;

/* ---- what is said ------------------------------------------------------------------------------------------------ */

static void complain(const struct process *p, const char *what)
{
	fprintf(stderr, "%s: %s\n", p->name, what);
}

/* A failed step without words of its own. */
static int complain_errno(const struct process *p, const char *what, int rc)
{
	fprintf(stderr, "%s: %s: %s\n", p->name, what, strerror(-rc));
	return rc;
}

/* argv[0] without the directory of its first word: "/usr/bin/offloop run ./app.so" is "offloop run ./app.so". */
static void set_name(struct process *p, const char *argv0)
{
	size_t word = strcspn(argv0, " ");
	const char *slash = memrchr(argv0, '/', word);

	snprintf(p->name, sizeof(p->name), "%s", slash ? slash + 1 : *argv0 ? argv0 : "offloop");
}

static const char *app_name(const struct process *p)
{
	return p->app->name ? p->app->name : p->name;
}

/* ---- why it stops ------------------------------------------------------------------------------------------------ */

static void stop(void *arg)
{
	struct process *p = arg;

	eventfd_write(p->stop_fd, 1);
}

/* The app's wish, which is for all workers. */
static void stop_all(void *arg)
{
	struct process *p = arg;

	if (p->seat.fd >= 0)
		seat_tell(&p->seat, SEAT_STOP);
	else
		stop(p);
}

static void set_living(struct process *p, ol_server *s)
{
	pthread_mutex_lock(&p->mutex);
	p->living = s;
	pthread_mutex_unlock(&p->mutex);
}

/* SIGTTIN and SIGTTOU: one thread more or fewer, as gunicorn's workers. */
static void step_pool(struct process *p, int sig)
{
	pthread_mutex_lock(&p->mutex);
	if (p->living)
		server_step(p->living, sig == SIGTTIN ? 1 : -1, sig == SIGTTIN ? "SIGTTIN" : "SIGTTOU");
	pthread_mutex_unlock(&p->mutex);
}

static void caught(void *arg, int sig, unsigned n)
{
	struct process *p = arg;
	const char *name = sig == SIGINT ? "SIGINT" : "SIGTERM";

	if (sig == SIGTTIN || sig == SIGTTOU) {
		step_pool(p, sig);
		return;
	}
	if (p->seat.fd >= 0) {
		log_printf(p->log, LOG_DEBUG, "%s: left to the supervisor", name);
		return;
	}
	if (n > 1) {
		log_printf(p->log, LOG_WARN, "%s, the second signal: ending at once", name);
		log_flush(p->log, FLUSH_MS);
		_exit(1);
	}
	log_printf(p->log, LOG_INFO, "%s: stopping", name);
	stop(p);
}

static void look(struct process *p)
{
	pthread_mutex_lock(&p->mutex);
	if (p->living)
		server_look(p->living);
	pthread_mutex_unlock(&p->mutex);
}

/* The supervisor has spoken.  False: for the last time. */
static bool ordered(void *arg)
{
	struct process *p = arg;
	enum seat_order order = seat_order(&p->seat);

	if (order == SEAT_LOOK)
		look(p);
	if (order == SEAT_LOOK || order == SEAT_NOTHING)
		return true;
	if (order == SEAT_ORPHAN)
		log_printf(p->log, LOG_WARN, "the supervisor is gone: stopping");
	atomic_store_explicit(&p->leaving, order == SEAT_LEAVE, memory_order_release);
	stop(p);
	return order != SEAT_ORPHAN;
}

/* Whether there is a reason to stop; waits for one when asked to. */
static bool stopping(const struct process *p, bool wait)
{
	struct pollfd fd = { .fd = p->stop_fd, .events = POLLIN };
	int n;

	do
		n = poll(&fd, 1, wait ? -1 : 0);
	while (n < 0 && errno == EINTR);
	return n > 0;
}

/* ---- before there are threads ------------------------------------------------------------------------------------ */

/* A standard stream that was closed becomes /dev/null: else a socket or a file of the app's gets its number, and what
 * is printed goes there. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* Prints what options_new had to tell. */
static void tell(const struct process *p, const struct buf *text, int status)
{
	struct slice s = buf_slice(text);

	if (status == 0)
		fwrite(s.p, 1, s.n, stdout);
	else
		fprintf(stderr, "%s: %.*s\n", p->name, (int)s.n, s.n ? s.p : "");
}

/* 0 when the server is to run; else *status is the exit status. */
static int read_options(struct process *p, int argc, char **argv, const struct ol_app *app, int *status)
{
	struct options_in in = { .program = p->name, .app = app, .argc = argc, .argv = argv, .env = environ };
	struct buf text = { 0 };

	p->options = options_new(&in, &text, status);
	if (!p->options)
		tell(p, &text, *status);
	buf_fini(&text);
	if (!p->options)
		return -EINVAL;
	p->app = options_app(p->options);
	p->config = *options_config(p->options);
	if (p->config.loops == 0)
		p->config.loops = cpus_allowed("") / p->config.workers;
	if (p->config.loops == 0)
		p->config.loops = 1;
	return 0;
}

/* Descriptors that are not connections: those of each loop and of the control plane, its clients, the log, and what
 * the app opens in each thread of the pool, as databases do.  A small table is shared out instead. */
static uint64_t spare_files(const struct config *c, uint64_t files)
{
	uint64_t spare = 48 + 6 * (uint64_t)c->loops + 2 * (uint64_t)c->pool_threads;

	return spare < files / 4 * 3 ? spare : files / 4 * 3;
}

/* Raises the soft limit of open files to the hard one, and bounds the connections by it: with a full table not even
 * the control plane could answer. */
static void limit_files(struct process *p)
{
	struct rlimit files;
	uint64_t room;

	p->connections_asked = p->config.connections_max;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	if (files.rlim_cur != files.rlim_max) {
		rlim_t before = files.rlim_cur;

		files.rlim_cur = files.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			files.rlim_cur = before;
	}
	p->files = files.rlim_cur;
	if (p->files == RLIM_INFINITY)
		return;
	room = p->files - spare_files(&p->config, p->files);
	if (p->config.connections_max > room)
		p->config.connections_max = room ? (uint32_t)room : 1;
}

/* ---- up ---------------------------------------------------------------------------------------------------------- */

static const char *app_option(void *arg, const char *name)
{
	return options_app_value(arg, name);
}

static int open_log(struct process *p)
{
	struct log_conf conf = { .fd = STDERR_FILENO, .format = p->config.log_format, .level = p->config.log_level };
	struct signals_watcher watcher = { .caught = caught, .readable = ordered, .fd = p->seat.fd, .arg = p };
	int rc;

	if (p->seat.fd >= 0)
		conf.own = (struct log_field)LOG_FIELD_INT("worker", p->seat.index);
	if (!(p->log = log_new(&conf)))
		return complain_errno(p, "the log's thread", -errno);
	rc = signals_watch(p->signals, &watcher);
	return rc ? complain_errno(p, "the signals' thread", rc) : 0;
}

static int open_server(struct process *p)
{
	struct server_setup setup = { .app = p->app, .config = &p->config, .log = p->log, .option = app_option,
		.option_arg = p->options, .stop = stop_all, .broken = stop, .stop_arg = p,
		.listen = p->seat.fd >= 0 ? &p->seat.listen : NULL,
		.worker = p->seat.fd >= 0 ? p->worker : NULL };
	char err[512] = "";
	int rc;

	snprintf(p->worker, sizeof(p->worker), "%u", p->seat.index);
	p->server = server_new(&setup, err, sizeof(err));
	rc = p->server ? server_listen(p->server, err, sizeof(err)) : -EINVAL;
	listen_close(&p->seat.listen);
	if (rc < 0 ||
		control_start(&p->control, p->server, &p->config, p->log, err, sizeof(err))) {
		complain(p, err);
		return -EINVAL;
	}
	set_living(p, p->server);
	return 0;
}

/* Tells of the pools that may have work, and gives what their threads may cost in stack, in bytes: the most the kernel
 * may have to find, while it gives only what is touched. */
static uint64_t log_pools(const struct process *p, const struct server_info *info, enum log_level level)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < info->pools; i++) {
		struct pool *pool = server_pool(p->server, i);
		struct pool_stats stats;
		uint64_t most;

		if (!server_pool_works(p->server, i))
			continue;
		pool_stats(pool, &stats);
		most = (uint64_t)(stats.limit + stats.spares) * pool_stack(pool);
		log_line(p->log, level, SLICE("pool"), (struct log_field[]){
			LOG_FIELD_STR("name", slice_of(pool_name(pool))), LOG_FIELD_INT("threads", stats.limit),
			LOG_FIELD_INT("queue", stats.queue_max),
			LOG_FIELD_INT("stack_bytes", (int64_t)pool_stack(pool)),
			LOG_FIELD_INT("stack_bytes_max", (int64_t)most) }, 5);
		all += most;
	}
	return all;
}

/* An address as a browser takes it; a unix socket as it is. */
static void url(char *dst, size_t n, const char *address)
{
	snprintf(dst, n, "%s%s", strncmp(address, "unix:", 5) == 0 ? "" : "http://", address);
}

/* What is not as the app declares it. */
static void log_model(const struct process *p, const struct server_info *info)
{
	const struct model *m = model_of(p->config.model);
	struct pool_stats stats;
	char text[160];

	if (!model_decides(m))
		return;
	pool_stats(server_pool(p->server, 0), &stats);
	model_text(text, sizeof(text), m, (unsigned)router_count(server_router(p->server)), info->loops, stats.limit);
	log_printf(p->log, LOG_INFO, "%s", text);
}

/* The numbers that hold, however they came about.  The line that says "listening on" is the sign of readiness. */
static void log_start(const struct process *p)
{
	const struct config *c = &p->config;
	bool first = p->seat.index == 0;        /* of all workers, which are alike */
	char address[256], control[256] = "off", text[768];
	struct server_info info;
	uint64_t stacks;

	server_info(p->server, &info);
	if (info.backend_why && first)
		log_printf(p->log, LOG_WARN, "running on %s: %s", info.backend, info.backend_why);
	if (c->connections_max < p->connections_asked && first)
		log_printf(p->log, LOG_WARN,
			"--connections-max %u lowered to %u: this process may open %" PRIu64 " files",
			p->connections_asked, (unsigned)c->connections_max, p->files);
	if (first)
		log_model(p, &info);
	stacks = log_pools(p, &info, first ? LOG_INFO : LOG_DEBUG);
	url(address, sizeof(address), info.address);
	if (p->control)
		url(control, sizeof(control), control_address(p->control));
	snprintf(text, sizeof(text), "%s listening on %s", app_name(p), address);
	log_line(p->log, LOG_INFO, slice_of(text), (struct log_field[]){ LOG_FIELD_STR("control", slice_of(control)),
		LOG_FIELD_INT("loops", info.loops), LOG_FIELD_STR("backend", slice_of(info.backend)),
		LOG_FIELD_INT("connections_max", c->connections_max), LOG_FIELD_INT("requests_max", c->requests_max),
		LOG_FIELD_INT("pool_stack_bytes_max", (int64_t)stacks),
		LOG_FIELD_INT("grace_ms", (int64_t)c->grace_ms),
		LOG_FIELD_INT("pid", getpid()) }, p->seat.fd >= 0 ? 8 : 7);
}

/* The supervisor may say that all serve now: what each has said of itself stands before that. */
static void tell_ready(const struct process *p)
{
	struct server_info info;

	server_info(p->server, &info);
	log_flush(p->log, FLUSH_MS / 10);
	if (info.exclusive)
		seat_tell(&p->seat, SEAT_EXCLUSIVE);
	seat_tell(&p->seat, SEAT_READY);
}

static int call_on_start(const struct process *p)
{
	int rc = p->app->on_start ? p->app->on_start(p->server) : 0;

	if (rc < 0)
		complain_errno(p, "on_start", rc);
	return rc < 0 ? rc : 0;
}

/* ---- down -------------------------------------------------------------------------------------------------------- */

/* One line each in the log. */
static void log_lines(struct log *log, char *lines)
{
	for (char *line = lines, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		if (end > line)
			log_printf(log, LOG_ERROR, "stuck: %.*s", (int)(end - line), line);
		end += *end == '\n';
	}
}

/* Answers what was accepted.  Does not return when something is stuck. */
static void drain(struct process *p)
{
	uint64_t start = clock_now_ns();
	double grace = (double)p->config.grace_ms / 1000;
	unsigned stuck;
	char names[4096] = "";

	log_printf(p->log, LOG_INFO, "draining, for %g s at most", grace);
	if (atomic_load_explicit(&p->leaving, memory_order_acquire))
		server_leave(p->server);
	else
		server_drain(p->server);
	if (server_wait(p->server, clock_after_ms(start, (int64_t)p->config.grace_ms)) == 0)
		return;
	log_printf(p->log, LOG_WARN, "the grace of %g s is over: cancelling what still runs", grace);
	stuck = server_abandon(p->server, names, sizeof(names));
	if (stuck == 0)
		return;
	log_lines(p->log, names);
	log_printf(p->log, LOG_ERROR, "%u request%s stuck: ending without %s", stuck, stuck == 1 ? " is" : "s are",
		stuck == 1 ? "it" : "them");
	log_flush(p->log, FLUSH_MS);
	_exit(1);
}

/* From on_start to on_stop. */
static int serve(struct process *p)
{
	char err[512] = "";
	int rc = call_on_start(p);

	if (!rc && !stopping(p, false)) {
		rc = server_start(p->server, err, sizeof(err));
		if (rc) {
			complain(p, err);
		} else {
			log_start(p);
			if (p->seat.fd >= 0)
				tell_ready(p);
			(void)stopping(p, true);
			drain(p);
		}
	}
	if (p->app->on_stop)
		p->app->on_stop(p->server);
	return rc;
}

/* Does not return when the control plane is stuck: its thread still looks at all this. */
static void close_process(struct process *p, int status)
{
	if (!control_stop(p->control)) {
		log_flush(p->log, FLUSH_MS);
		_exit(status);
	}
	set_living(p, NULL);
	server_free(p->server);
	signals_free(p->signals);
	log_free(p->log, FLUSH_MS);
	if (p->stop_fd >= 0)
		close(p->stop_fd);
	if (p->seat.fd >= 0)
		close(p->seat.fd);
	options_free(p->options);
}

static int run(struct process *p)
{
	int status = 1;

	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->stop_fd < 0)
		complain_errno(p, "eventfd", -errno);
	else if (open_log(p) == 0 && open_server(p) == 0 && serve(p) == 0)
		status = 0;
	close_process(p, status);
	return status;
}

/* As run; in a worker it does not return, since what main does behind ol_main is for one process to do. */
static int supervise(struct process *p)
{
	struct supervisor_setup setup = { .name = p->name, .app = app_name(p), .config = &p->config,
		.signals = p->signals };
	int status = supervisor_run(&setup, &p->seat);

	if (status == SUPERVISOR_SEATED) {
		p->config.control = p->seat.control;
		atomic_init(&p->leaving, true); /* there are no threads yet */
		exit(run(p));
	}
	close_process(p, status);
	return status;
}

int ol_main(int argc, char **argv, const struct ol_app *app)
{
	struct process p = { .stop_fd = -1, .seat.fd = -1, .mutex = PTHREAD_MUTEX_INITIALIZER };
	int status;

	open_standard_streams();
	json_object_seed(0);
	set_name(&p, argc > 0 ? argv[0] : "");
	if (read_options(&p, argc, argv, app, &status))
		return status;
	limit_files(&p);
	p.signals = signals_new();
	if (!p.signals) {
		complain_errno(&p, "signals", -errno);
		close_process(&p, 1);
		return 1;
	}
	return p.config.workers > 1 ? supervise(&p) : run(&p);
}
