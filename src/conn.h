/* conn.h: connections: the one place where loop, protocol and dispatch meet. */
#ifndef OL_CONN_H
#define OL_CONN_H

#include "base/checked.h"
#include "config.h"
#include "dispatch.h"
#include "http1.h"
#include "loop.h"
#include "metrics.h"

struct conn;
struct conn_out;

/* The connections of one loop, on its thread. */
struct conn_home {
	struct loop *loop;
	struct dispatch *dispatch;
	struct metrics_loop *metrics;
	const struct config *config;
	struct http1_conf http1;
	struct http_date date;
	struct list busy, idle;             /* idle: between requests, longest first */
	unsigned nconns;
	unsigned nlingering;                /* of those: answered for the last time, their clients' end is awaited */
	struct conn_out *spare_outs;
	struct conn *spare_conns;
	unsigned nspare_outs, nspare_conns;
	bool draining;
	bool closes;                        /* --model wsgi-sync: a reply always ends its connection */
	bool holds;                         /* --model wsgi: slow clients hold threads */
	void (*closed)(struct conn_home *h); /* a connection has gone; may be NULL */
	void *owner;
	/* For what is not cleartext; may be NULL.  When it gives NULL (no memory) the connection is closed. */
	struct filter *(*new_filter)(struct conn_home *h, int fd);
};

/* Everything is borrowed until conn_home_fini.  0 or -ENOMEM. */
CHECKED int conn_home_init(struct conn_home *h, struct loop *l, struct dispatch *d, struct metrics_loop *m,
	const struct config *c);
/* No connection may be open. */
void conn_home_fini(struct conn_home *h);

/* Takes fd, a connected socket; on -ENOMEM it is closed. */
CHECKED int conn_open(struct conn_home *h, int fd);

/* Closes the connection that has been idle longest, to make room: false when none is idle. */
bool conn_close_idle(struct conn_home *h);

/* Breaks off one that is not being answered, to make room: the oldest whose head has not come, or else the oldest of
 * the others that their clients keep waiting: false when there is none. */
bool conn_break_off(struct conn_home *h);

/* While others cannot be let in, a reply ends its connection. */
void conn_home_crowded(struct conn_home *h, bool crowded);

/* From now on replies end their connection, and connections without a request end within a second. */
void conn_home_drain(struct conn_home *h);

/* Breaks all of them off. */
void conn_home_abort(struct conn_home *h);

#endif
