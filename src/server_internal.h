/* server_internal.h: a server, as server.c (its life) and server_info.c (what others ask of it) see it. */
#ifndef OL_SERVER_INTERNAL_H
#define OL_SERVER_INTERNAL_H

#include "base/thread.h"
#include "conn.h"
#include "dispatch.h"
#include "endpoints.h"
#include "listen.h"
#include "loop.h"
#include "server.h"

LOCK_ROLE(server_role);

/* What a loop thread comes to: READY or FAILED, and after READY at last ENDED. */
enum stage { READY, FAILED, ENDED, STAGES };

struct server_loop {
	ol_server *server;
	unsigned index;
	struct loop *loop;
	struct metrics_loop metrics;
	struct dispatch dispatch;
	struct conn_home home;
	struct loop_io listener;
	struct timer close_listener;
	uint64_t deaf_ns;               /* since when the listener is deaf */
	bool deaf;                      /* it hears no new client; else nothing is gained by waiting for its silence */
	bool backlog;                   /* somebody has been found in its backlog lately */
	unsigned connections_max;       /* its share */
	struct list waiting;            /* accepted, but over it; not empty exactly while `full` */
	bool one;                       /* one connection at a time, --model wsgi-sync */
	bool listening, full, draining;
	pthread_t thread;
	_Atomic clockid_t cpu_clock;    /* of its thread, 0 until that runs; relaxed: a number alone */
	bool threaded, ended;           /* its thread was started; has run its loop to the end */
	struct loop_msg drain, abandon, look;
	_Atomic bool looking;           /* `look` is on its way, and the loop's */
};

struct ol_server {
	struct server_setup setup;
	struct endpoints endpoints;
	struct dispatch_shared shared;
	struct listen listen;
	struct watch *watch;            /* NULL: --monitor off */
	struct server_crew *crews;      /* by pool */
	struct adviser *adviser;
	struct server_load *load;
	struct server_loop *loops;
	unsigned nloops;
	const char *backend;
	char backend_why[160];
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	unsigned reached[STAGES] GUARDED_BY(server_role);       /* how many loop threads have come to a stage */
	_Atomic bool serving;           /* relaxed: for /readyz only */
	bool exclusive;                 /* of those who share the listener one is woken for a client */
	bool leaving;                   /* set before the loops are told to drain: others accept from the listener */
};

#endif
