/* supervisor.h: worker processes that serve one port. */
#ifndef OL_SUPERVISOR_H
#define OL_SUPERVISOR_H

#include "base/checked.h"
#include "config.h"
#include "listen.h"
#include "signals.h"
#include <stdbool.h>

/* A worker's place: what it is given when it is forked. */
struct seat {
	unsigned index;                 /* from 0 */
	int fd;                         /* the line to the supervisor; -1: there is none, this process serves alone */
	struct listen listen;           /* what it accepts from; listen_close is the worker's, once it has its share */
	char control[320];              /* where its control plane listens: config.control, index further on */
};

struct supervisor_setup {
	const char *name;               /* for complaints */
	const char *app;                /* for the log */
	const struct config *config;    /* borrowed */
	struct signals *signals;        /* read until it returns; a worker may go on with it */
};

/* Opens the listener, starts config->workers processes, and looks after them until they are to end and have ended.  In
 * each worker it returns SUPERVISOR_SEATED with its seat filled; in the supervisor the exit status, what went wrong
 * having been said.  The process must have no threads. */
#define SUPERVISOR_SEATED (-1)
int supervisor_run(const struct supervisor_setup *setup, struct seat *seat);

/* What a worker tells its supervisor; never waits.  Any thread. */
enum seat_word {
	SEAT_READY = 'r',               /* it serves */
	SEAT_EXCLUSIVE = 'e',           /* and a client may wake it alone: somebody must look after those who wait */
	SEAT_STOP = 's',                /* the app wants all to end */
};
void seat_tell(const struct seat *seat, enum seat_word word);

/* What the supervisor wants of it, when seat->fd can be read. */
enum seat_order {
	SEAT_NOTHING,
	SEAT_DRAIN = 'd',               /* all end */
	SEAT_LEAVE = 'l',               /* this one ends, and the others go on */
	SEAT_LOOK = 'k',                /* clients wait in the backlog: server_look */
	SEAT_ORPHAN = 'o',              /* the supervisor is gone: as SEAT_DRAIN, to be asked no more */
};
enum seat_order seat_order(const struct seat *seat);

#endif
