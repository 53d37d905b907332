/* lab_server.h: a subject as a process on this machine. */
#ifndef OL_CLI_LAB_SERVER_H
#define OL_CLI_LAB_SERVER_H

#include "base/checked.h"
#include "cli/lab.h"
#include "cli/lab_peers.h"
#include <sys/types.h>

struct lab_server {
	struct lab_subject subject;
	char *folder;           /* a peer's: where its files are */
	pid_t pid;              /* also its session; 0: it does not run */
	unsigned port;
	int log;                /* what it says: a file in memory; -1: none */
	int held;               /* keeps its port for it until it answers; -1: it needs no keeping */
};

/* Starts it, on these CPUs; found: a peer's.  0, or -errno with one line in why. */
CHECKED int lab_server_start(struct lab_server *s, const struct lab_subject *subject, const struct lab_setting *how,
	const struct lab_found *found, const cpu_set_t *cpus, char *why, size_t n);

/* Waits until it answers.  0, or -errno with one line in why; it may then run or not. */
CHECKED int lab_server_ready(struct lab_server *s, char *why, size_t n);

/* Whether it still runs. */
bool lab_server_runs(struct lab_server *s);

/* How it ended, and the last line it said, for people: "by signal 9", "with status 1: no such module". */
void lab_server_end(const struct lab_server *s, char *dst, size_t n);

/* The last line it said, for people; "" when nothing. */
void lab_server_said(const struct lab_server *s, char *dst, size_t n);

/* All it said, at most n - 1 bytes. */
void lab_server_log(const struct lab_server *s, char *dst, size_t n);

/* What a model's server has said of io_uring, once it is ready: 1 or 0, with why it does without; -1: it was not to use
 * it. */
int lab_server_uring(const struct lab_server *s, const struct lab_setting *how, char *why, size_t n);

/* Ends them all: SIGTERM, and after a second SIGKILL, to whatever is left of their sessions. */
void lab_servers_stop(struct lab_server *servers, size_t n);

/* Words as a line for a shell, in quotes where they need them; the caller's.  NULL: no memory. */
CHECKED char *lab_line_of(char **argv);

/* What it is started with, as one line, at port 8000; the caller's.  NULL: no memory. */
CHECKED char *lab_server_command(const struct lab_subject *subject, const struct lab_setting *how,
	const struct lab_found *found);

#endif
