/* lab_load.h: clients for a server on this machine's loopback. */
#ifndef OL_CLI_LAB_LOAD_H
#define OL_CLI_LAB_LOAD_H

#include "base/checked.h"
#include "cli/lab_stats.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum load_error { LOAD_CONNECT, LOAD_RESET, LOAD_CLOSED, LOAD_STATUS, LOAD_PROTOCOL, LOAD_ERRORS };

extern const char *const load_error_names[LOAD_ERRORS];

enum load_kind {
	LOAD_ASK,       /* a closed loop: sends a request, waits for its reply, sends the next */
	LOAD_REST,      /* one request, and then stays, silent */
	LOAD_TRICKLE,   /* a closed loop of uploads, which leave eight bytes at a time */
	LOAD_SIP,       /* a closed loop of downloads, which are taken 32 KiB at a time */
};

/* Clients that all do the same.  The first three are the caller's to set. */
struct load_group {
	const char *path;       /* borrowed */
	unsigned connections;
	enum load_kind kind;

	uint64_t requests;      /* answered with 200 */
	uint64_t errors[LOAD_ERRORS];
	unsigned unanswered;    /* at the end of load_drain */
	struct histogram times; /* from the request's first byte, or from connecting for it, to the reply's last */
};

struct load;

/* ngroups clients' groups, borrowed, for 127.0.0.1:port.  0 or -errno. */
CHECKED int load_new(struct load **l, unsigned port, struct load_group *groups, size_t ngroups);

/* The address from which the nth connection that rests comes. */
uint32_t load_source(size_t nth);

/* Lets them work for so long; ends early when lab_stopped(), or when all there are rest.  0 or -errno. */
CHECKED int load_run(struct load *l, uint64_t ns);

/* Counts anew from now on. */
void load_reset(struct load *l);

/* Lets what has been asked be answered, for at most so long, and sends nothing new.  0 or -errno. */
CHECKED int load_wait(struct load *l, uint64_t ns);

/* Whether all clients of LOAD_ASK wait for a reply, and nobody has had one for so long. */
bool load_silent(const struct load *l, uint64_t ns);

/* The same for the last time: what is then left is counted as unanswered, and its age is among the times when it is
 * longer than all of them: it would be longer still. */
CHECKED int load_drain(struct load *l, uint64_t ns);

/* Connections of LOAD_REST that rest and are open at both ends. */
unsigned load_held(struct load *l);

/* Closes all connections. */
void load_free(struct load *l);

#endif
