/* config.h: every number and name a server runs with, once flags, environment, file and defaults have been merged. */
#ifndef OL_CONFIG_H
#define OL_CONFIG_H

#include "base/log.h"
#include <stdbool.h>
#include <stdint.h>

/* What a pool may be sized to, at start and while running; at least 1 of each. */
#define POOL_THREADS_MAX 10000
#define POOL_QUEUE_MAX 10000000

/* Worker processes. */
#define WORKERS_MAX 1024

/* The longest time that may be given for anything. */
#define DAY_MS 86400000

enum config_model { MODEL_HYBRID, MODEL_ASGI, MODEL_TORNADO, MODEL_WSGI, MODEL_WSGI_SYNC };
enum config_guard { GUARD_OFF, GUARD_WARN, GUARD_DEMOTE };
enum config_backend { BACKEND_AUTO, BACKEND_URING, BACKEND_EVENT };
enum config_switch { SWITCH_OFF, SWITCH_ON };

/* options.c fills it (options_parse) from one table; the defaults are in that table and nowhere else.  Strings are
 * borrowed from the options. */
struct config {
	const char *host;               /* --host 127.0.0.1: an address or a name */
	unsigned port;                  /* --port 8000; 0: any free one */
	const char *unix_path;          /* --unix PATH: instead of host and port; NULL */
	const char *control;            /* --control 127.0.0.1:9190 or unix:PATH or off */
	enum config_model model;        /* --model hybrid: whose concurrency, see model.h */
	unsigned workers;               /* --workers 1: processes; 1: no supervisor */
	unsigned loops;                 /* --loops; 0: the CPUs of the cgroup's quota, divided among the workers */
	unsigned pool_threads;          /* --pool 40 */
	unsigned pool_queue;            /* --queue 1024 */
	unsigned pool_spares;           /* --pool-spares 0 */
	bool codel;                     /* --codel: of the default pool, as the two below */
	uint64_t codel_target_ms;       /* --codel-target 5 ms */
	uint64_t codel_interval_ms;     /* --codel-interval 100 ms */
	uint64_t queue_timeout_ms;      /* --queue-timeout 30 s, of pools that say nothing else; 0: none */
	unsigned background_threads;    /* --background 4 */
	unsigned background_queue;      /* --background-queue 1024 */
	enum config_guard guard;        /* --guard warn: what is done about .async routes that hold their loop */
	uint32_t adaptive_us;           /* --adaptive-us 200: what a run of an .adaptive route may take */
	uint32_t adaptive_runs;         /* --adaptive-runs 100 of those, and it runs on the loop */
	enum config_backend backend;    /* --backend auto|uring|libevent */
	uint64_t grace_ms;              /* --grace 30 (s) */
	enum log_format log_format;     /* --log-format text|json */
	enum log_level log_level;       /* --log-level info */
	bool access_log;                /* --access-log */

	/* limits; durations in ms here, in seconds (with fraction) on the command line */
	uint32_t target_max;            /* --target-max 8192: 414 */
	uint32_t head_max;              /* --head-max 16384: 431 */
	uint32_t fields_max;            /* --fields-max 100: 431 */
	uint64_t body_max;              /* --body-max 1 MiB: 413 */
	uint64_t body_total_max;        /* --body-total-max 256 MiB buffered in the process: 503 */
	uint64_t head_timeout_ms;       /* --head-timeout 10 s: 408 */
	uint64_t body_rate_min;         /* --body-rate-min 240 bytes/s: 408 */
	uint64_t body_grace_ms;         /* --body-grace 5 s before the rate counts */
	uint64_t keepalive_ms;          /* --keepalive-timeout 75 s */
	uint64_t write_timeout_ms;      /* --write-timeout 30 s without progress: the connection is reset */
	uint64_t write_rate_min;        /* --write-rate-min 240 bytes/s while something is to be sent: reset; 0: none */
	uint64_t write_grace_ms;        /* --write-grace 60 s over which that rate is taken */
	uint64_t events_keepalive_ms;   /* --events-keepalive 15 s of silence, then a comment; 0: none */
	uint64_t linger_ms;             /* --linger-timeout 5 s: reading on after an early error, so that it arrives */
	uint32_t connections_max;       /* --connections-max 10000; further ones wait in the kernel's backlog */
	bool newcomers_first;           /* or take the place of one that is not being answered: the control plane's */
	uint32_t requests_max;          /* --requests-max 10000 in flight: 503 */
	uint32_t fibers_max;            /* --fibers-max 10000 handlers on fibers, per process: 503 */
	uint32_t streams_sync_max;      /* --sync-streams-max: .stream requests on a pool's threads; 0: half of them */
	uint32_t backlog;               /* --backlog 4096 */
	uint64_t idle_thread_ms;        /* --pool-idle 10 s */
	enum config_switch monitor;     /* --monitor on */
	uint64_t stall_ms;              /* --stall-ms 10: a hold of a loop from here on is a stall */
	uint64_t worker_stall_ms;       /* --worker-stall-ms 30000: a job on a pool's thread from here on is one, too */
};

#endif
