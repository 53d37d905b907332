/* options_table.c: the options of the server.
 *
 * Each stands here once, with its name, kind, place in struct config, default, range and help; flag, variable, key of
 * the file, lines of --help and errors are made from that (options.c).  An option is added by a line here and a member
 * of struct config; offloop.1 describes it.  --help lists them in this order, group by group.
 *
 * Constant data; any thread.
 */
#include "options_table.h"
#include "config.h"

#define MEMBER(m) .at = offsetof(struct config, m), .size = sizeof(((struct config *)0)->m)
#define K UINT64_C(1024)
#define S UINT64_C(1000)
#define DAY ((uint64_t)DAY_MS)

const struct option options_table[] = {
	{ "host", STRING, WHERE, MEMBER(host), "127.0.0.1", .arg = "HOST", .help = "address or name to listen on" },
	{ "port", NUMBER, WHERE, MEMBER(port), "8000", 0, 65535, "N", "port to listen on; 0: any that is free" },
	{ "unix", STRING, WHERE, MEMBER(unix_path), NULL, .arg = "PATH", .help = "listen on a unix socket instead" },
	{ "control", ADDRESS, WHERE, MEMBER(control), "127.0.0.1:9190", .arg = "ADDRESS",
		.help = "control plane: HOST:PORT, unix:PATH or off" },
	{ "backlog", NUMBER, WHERE, MEMBER(backlog), "4096", 1, 65535, "N", "connections the kernel keeps waiting" },

	{ "model", ENUM, LANES, MEMBER(model), "hybrid", .arg = "hybrid|asgi|tornado|wsgi|wsgi-sync",
		.help = "whose concurrency it has; hybrid: as declared" },
	{ "workers", NUMBER, LANES, MEMBER(workers), "1", 1, WORKERS_MAX, "N",
		"processes that share the port; what follows is of each" },
	{ "loops", NUMBER, LANES, MEMBER(loops), "0", 0, 1024, "N", "event loops; 0: one a CPU this process may use" },
	{ "pool", NUMBER, LANES, MEMBER(pool_threads), "40", 1, POOL_THREADS_MAX, "N", "threads of the default pool" },
	{ "queue", NUMBER, LANES, MEMBER(pool_queue), "1024", 0, POOL_QUEUE_MAX, "N",
		"requests that wait for it; over it 503" },
	{ "queue-timeout", SECONDS, LANES, MEMBER(queue_timeout_ms), "30", 0, DAY, "SECONDS",
		"for a pool's thread to be free; then 503; 0: none" },
	{ "codel", BOOL, LANES, MEMBER(codel), "false", .help = "the default pool sheds load by CoDel" },
	{ "codel-target", SECONDS, LANES, MEMBER(codel_target_ms), "5ms", 1, DAY, "SECONDS",
		"a wait that is no overload" },
	{ "codel-interval", SECONDS, LANES, MEMBER(codel_interval_ms), "100ms", 1, DAY, "SECONDS",
		"when all wait longer for this, it sheds" },
	{ "pool-spares", NUMBER, LANES, MEMBER(pool_spares), "0", 0, POOL_THREADS_MAX, "N",
		"its threads beyond --pool while handlers are blocking" },
	{ "background", NUMBER, LANES, MEMBER(background_threads), "4", 1, POOL_THREADS_MAX, "N",
		"threads for work left for after the reply" },
	{ "background-queue", NUMBER, LANES, MEMBER(background_queue), "1024", 0, POOL_QUEUE_MAX, "N",
		"pieces of such work that wait; over it none is taken" },
	{ "pool-idle", SECONDS, LANES, MEMBER(idle_thread_ms), "10", 1, DAY, "SECONDS",
		"an idle pool thread ends after" },
	{ "sync-streams-max", NUMBER, LANES, MEMBER(streams_sync_max), "0", 0, 10000, "N",
		"streaming requests on one pool's threads; 0: half of them" },
	{ "backend", ENUM, LANES, MEMBER(backend), "auto", .arg = "auto|uring|libevent",
		.help = "what drives the loops" },
	{ "monitor", ENUM, LANES, MEMBER(monitor), "on", .arg = "off|on",
		.help = "watch the loops for handlers that hold them" },
	{ "stall-ms", NUMBER, LANES, MEMBER(stall_ms), "10", 1, 60000, "N",
		"a handler that holds a loop for so many ms is reported" },
	{ "worker-stall-ms", NUMBER, LANES, MEMBER(worker_stall_ms), "30000", 10, DAY_MS, "N",
		"a handler that holds a thread for so many ms is reported" },
	{ "guard", ENUM, LANES, MEMBER(guard), "warn", .arg = "off|warn|demote",
		.help = "what is done about .async routes that stall their loop" },
	{ "adaptive-us", NUMBER, LANES, MEMBER(adaptive_us), "200", 10, 1000000, "N",
		"an .adaptive run of up to so many us is short" },
	{ "adaptive-runs", NUMBER, LANES, MEMBER(adaptive_runs), "100", 1, 1000000, "N",
		"short runs in a row bring it to the loop" },
	{ "grace", SECONDS, LANES, MEMBER(grace_ms), "30", 0, DAY, "SECONDS",
		"time to answer what was accepted, at the end" },

	{ "connections-max", NUMBER, LIMITS, MEMBER(connections_max), "10000", 1, 10000000, "N", "open connections" },
	{ "requests-max", NUMBER, LIMITS, MEMBER(requests_max), "10000", 1, 10000000, "N",
		"requests in flight; over it 503" },
	{ "fibers-max", NUMBER, LIMITS, MEMBER(fibers_max), "10000", 1, 10000000, "N",
		"async handlers in flight; over it 503" },
	{ "target-max", BYTES, LIMITS, MEMBER(target_max), "8k", 16, 1024 * K, "BYTES", "request target; over it 414" },
	{ "head-max", BYTES, LIMITS, MEMBER(head_max), "16k", 256, 1024 * K, "BYTES", "request head; over it 431" },
	{ "fields-max", NUMBER, LIMITS, MEMBER(fields_max), "100", 1, 10000, "N", "header fields; over it 431" },
	{ "body-max", BYTES, LIMITS, MEMBER(body_max), "1M", 0, K * K * K * K, "BYTES", "request body; over it 413" },
	{ "body-total-max", BYTES, LIMITS, MEMBER(body_total_max), "256M", 0, K * K * K * K, "BYTES",
		"bodies in memory, all together; over it 503" },
	{ "head-timeout", SECONDS, LIMITS, MEMBER(head_timeout_ms), "10", 1, DAY, "SECONDS",
		"for a request head to arrive; then 408" },
	{ "body-grace", SECONDS, LIMITS, MEMBER(body_grace_ms), "5", 0, DAY, "SECONDS",
		"before a body's rate counts" },
	{ "body-rate-min", BYTES, LIMITS, MEMBER(body_rate_min), "240", 0, K * K * K, "BYTES",
		"a second a body must come at, else 408" },
	{ "keepalive-timeout", SECONDS, LIMITS, MEMBER(keepalive_ms), "75", 1, DAY, "SECONDS",
		"an idle connection is closed after" },
	{ "write-timeout", SECONDS, LIMITS, MEMBER(write_timeout_ms), "30", 1, DAY, "SECONDS",
		"a connection that takes no bytes is reset after" },
	{ "write-grace", SECONDS, LIMITS, MEMBER(write_grace_ms), "60", 1, DAY, "SECONDS",
		"over which a client's reading is measured" },
	{ "write-rate-min", BYTES, LIMITS, MEMBER(write_rate_min), "240", 0, K * K * K, "BYTES",
		"a second a client must read, else it is reset; 0: any" },
	{ "events-keepalive", SECONDS, LIMITS, MEMBER(events_keepalive_ms), "15", 0, DAY, "SECONDS",
		"a comment after this silence of an event stream; 0: none" },
	{ "linger-timeout", SECONDS, LIMITS, MEMBER(linger_ms), "5", 0, DAY, "SECONDS",
		"reading on after an early error, so that it arrives" },

	{ "log-format", ENUM, LOGS, MEMBER(log_format), "text", .arg = "text|json", .help = "how lines look" },
	{ "log-level", ENUM, LOGS, MEMBER(log_level), "info", .arg = "error|warn|info|debug",
		.help = "what is logged" },
	{ "access-log", BOOL, LOGS, MEMBER(access_log), "false", .help = "log every request" },

	{ "config", FILE_NAME, OTHER, .arg = "FILE", .help = "read options from a JSON file: {\"port\": 8000, ...}" },
	{ "help", ACTION, OTHER, .help = "show this" },
	{ "version", ACTION, OTHER, .help = "show the version" },
};

const size_t options_table_n = sizeof(options_table) / sizeof(options_table[0]);

_Static_assert(MODEL_HYBRID == 0 && MODEL_ASGI == 1 && MODEL_TORNADO == 2 && MODEL_WSGI == 3 && MODEL_WSGI_SYNC == 4,
	"choices of --model");
_Static_assert(GUARD_OFF == 0 && GUARD_WARN == 1 && GUARD_DEMOTE == 2, "choices of --guard");
_Static_assert(BACKEND_AUTO == 0 && BACKEND_URING == 1 && BACKEND_EVENT == 2, "choices of --backend");
_Static_assert(SWITCH_OFF == 0 && SWITCH_ON == 1, "choices of --monitor");
_Static_assert(LOG_TEXT == 0 && LOG_JSON == 1, "choices of --log-format");
_Static_assert(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3, "choices of --log-level");
