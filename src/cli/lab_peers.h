/* lab_peers.h: servers of other makers that the lab can measure beside its own. */
#ifndef OL_CLI_LAB_PEERS_H
#define OL_CLI_LAB_PEERS_H

#include "base/checked.h"
#include <stdbool.h>
#include <stddef.h>

struct lab_recipe;

struct lab_peer {
	const char *name;               /* the subject's, unlike that of any model */
	const char *what;               /* one sentence */
	const char *threads;            /* what its processes consist of */
	bool offloads;                  /* asked for handlers that offload what blocks: /offload50, not /block50 */
	bool timers;                    /* nothing blocks there: what waits is a timer, and takes no thread */
	const struct lab_recipe *recipe;
};

extern const struct lab_peer lab_peers[];
extern const size_t lab_npeers;

/* What lab_peer_find has found; each string is the caller's, until lab_found_fini. */
struct lab_found {
	char *program;                  /* NULL when it is not here */
	char *version;                  /* "fastapi 0.92.0, uvicorn 0.17.6, python 3.11.2"; NULL when it is not here */
	char *why;                      /* a sentence when it is not here, else NULL */
	bool hangs;                     /* its program was asked, and did not answer in time */
};

/* Looks whether a peer is here, by asking its program for its version: 0, also when it is not here, or -errno.  Python
 * is $PYTHON, /usr/bin/python3 without that; other programs are looked for in PATH and where servers are.  Waits for
 * the program, five seconds at most, and no longer than until lab_stopped(), which is -EINTR; nothing of it is left. */
CHECKED int lab_peer_find(const struct lab_peer *peer, struct lab_found *found);

/* Whether the same program is asked for both: where it hangs for the one it hangs for the other. */
bool lab_peers_share(const struct lab_peer *a, const struct lab_peer *b);

void lab_found_fini(struct lab_found *found);

/* NULL when it can run the workload, else a sentence that says why not. */
const char *lab_peer_cannot(const struct lab_peer *peer, const char *workload);

/* How many processes serve, where it has so many CPUs. */
unsigned lab_peer_processes(const struct lab_peer *peer, unsigned cpus);

/* Writes the peer's files into folder, in which none of them may be yet.  0 or -errno. */
CHECKED int lab_peer_write(const struct lab_peer *peer, const char *folder, unsigned port, unsigned cpus);

/* The command that starts the peer, whose program was found, on 127.0.0.1:port.  It is for execv and wants the folder
 * of its files as working directory and a process group of its own, since some peers start more processes than one:
 * SIGTERM to the group ends them all.  One allocation, the caller's, that ends with NULL.  NULL: no memory. */
CHECKED char **lab_peer_command(const struct lab_peer *peer, const char *program, unsigned port, unsigned cpus);

#endif
