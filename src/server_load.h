/* server_load.h: how much of their time the loops of a server have worked. */
#ifndef OL_SERVER_LOAD_H
#define OL_SERVER_LOAD_H

#include "base/checked.h"
#include "server.h"
#include <stdint.h>

/* ---- one loop's, by numbers alone -------------------------------------------------------------------------------- */

/* What a loop's counters and its thread's clock say at one moment. */
struct load_reading {
	uint64_t at_ns;
	uint64_t busy_ns, idle_ns;      /* idle: in its wait, where the kernel may send and receive for it */
	uint64_t cpu_ns;                /* of its thread, that included */
};

/* What had been counted at one moment. */
struct load_mark {
	uint64_t at_ns, busy_ns, idle_ns;
};

#define LOAD_MARK_NS UINT64_C(1000000000)       /* between two marks, at least */
#define LOAD_SHARE_NS (10 * LOAD_MARK_NS)       /* the time that load_share is of */
#define LOAD_MARKS 12                           /* so that they reach that far back */

struct load_meter {
	struct load_reading last;       /* the highest of each */
	struct load_mark now;
	struct load_mark marks[LOAD_MARKS];     /* oldest first; the first of all is the loop's start */
	unsigned nmarks;
};

/* The first one begins it, zeroed before. */
void load_add(struct load_meter *m, const struct load_reading *r);

/* What share of the last ten seconds before the last reading the loop worked, or of its whole life if that is shorter;
 * 0 before there is a reading. */
double load_share(const struct load_meter *m);

/* ---- all loops' -------------------------------------------------------------------------------------------------- */

struct server_load;

/* The server is borrowed until server_load_free; its loops are there.  NULL without memory. */
CHECKED struct server_load *server_load_new(const ol_server *s);
/* Takes NULL. */
void server_load_free(struct server_load *l);

/* Reads all loops.  Any thread.  Takes NULL. */
void server_load_look(struct server_load *l);

/* How long loop i has worked and waited since its start, and load_share, by the last look.  Any thread. */
struct loop_load {
	uint64_t busy_ns, idle_ns;
	double share;
};
struct loop_load server_load_of(struct server_load *l, unsigned i);

#endif
