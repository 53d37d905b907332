/* lab.h: the parts of `offloop lab`, and what they tell each other. */
#ifndef OL_CLI_LAB_H
#define OL_CLI_LAB_H

#include "base/checked.h"
#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- who is measured (lab_subject.c) ----------------------------------------------------------------------------- */

enum { LAB_SUBJECTS_MAX = 32, LAB_WORKLOADS_MAX = 16 };

struct lab_peer;

/* One of offloop's models, or a server of another maker's. */
struct lab_subject {
	const char *name, *what;
	const struct lab_peer *peer;    /* NULL: a model */
	const char *threads;
	const char *options;            /* models: what their servers are started with, beside what all are */
	const char *as;                 /* a variant: of which model; NULL: it is none */
	const char *only;               /* a variant: the workloads where it differs, with commas between */
	unsigned pool;                  /* models: requests that can block at once; 0: as many as loops or processes */
	unsigned settle_ms;             /* a variant: so much longer goes by before what it does is counted */
	bool many;                      /* models: 2 x CPUs + 1 processes */
	bool offloads;                  /* asked for handlers that offload what blocks: /offload50, not /block50 */
	bool timers;                    /* nothing blocks there: what waits is a timer, and takes no thread */
};

/* How many there are, and the one at a place below that: models first. */
size_t lab_nsubjects(void);
struct lab_subject lab_subject(size_t i);

/* Whether it is measured under this workload: a variant is where it differs from its model. */
bool lab_takes_part(const struct lab_subject *s, const char *workload);

/* How all of them are run. */
struct lab_setting {
	unsigned cpus;                  /* that servers have */
	unsigned connections;           /* that one must take */
	const char *backend;            /* of the models' loops */
	const char *folder;             /* in which peers have theirs; NULL: none is to run */
};

/* Processes that serve, where a subject is run so. */
unsigned lab_processes(const struct lab_subject *s, const struct lab_setting *how);

/* A model's command, as one line; `self` is the program. */
CHECKED char *lab_model_command(const struct lab_subject *s, const struct lab_setting *how, const char *self,
	unsigned port);

/* ---- what is measured (lab_work.c) ------------------------------------------------------------------------------- */

struct lab_group {
	const char *path;               /* NULL: there is none */
	const char *path_offloaded;     /* where a subject offloads itself; NULL: the same */
	unsigned connections;
	int kind;                       /* of enum load_kind */
	unsigned blocks_ms;             /* that a request blocks whoever runs it */
};

struct lab_workload {
	const char *name, *what;
	struct lab_group fast, beside;  /* what is measured, and what goes on beside it */
	bool all;                       /* the cell's own figures are of both, and those of `fast` extra */
	unsigned idle;                  /* connections that rest meanwhile */
	const char *no_memory;          /* why memory is not compared here; NULL: it is */
};

extern const struct lab_workload lab_workloads[];
extern const size_t lab_nworkloads;

/* What a subject is asked for, as "GET / beside GET /block50"; that of NULL is what those are who do not offload. */
void lab_paths(const struct lab_workload *w, const struct lab_subject *s, char *dst, size_t n);

/* Clients beside those that are measured, of all sorts. */
int lab_beside(const struct lab_workload *w);

/* ---- what is asked for (lab_options.c) --------------------------------------------------------------------------- */

struct lab_plan {
	bool peers;
	uint32_t subjects, workloads;   /* places in the tables above, a bit each */
	unsigned rounds;
	double secs, guard;             /* a sample's length; CPUs of others that make it dirty */
	unsigned idle, idle_asked;      /* connections that rest: as many as there can be, as were asked for */
	const char *backend, *out, *json;
};

/* 0; -EINVAL with one line in err; 1: help is asked for. */
CHECKED int lab_options(struct lab_plan *p, int argc, char **argv, char *err, size_t n);

/* ---- where it is measured (lab_machine.c) ------------------------------------------------------------------------ */

struct lab_machine {
	unsigned cpus;          /* that we may use */
	bool split;             /* server and load have CPUs of their own */
	cpu_set_t all, server, load;
	char server_list[256], load_list[256];
	unsigned server_cpus;
	unsigned files;         /* descriptors that a process may have */
};

/* Finds the CPUs, divides them, and raises the limit of open files.  0 or -errno. */
CHECKED int lab_machine_init(struct lab_machine *m);

/* The CPUs of a set as "0-3,8". */
void lab_cpu_list(const cpu_set_t *set, char *dst, size_t n);

/* The report's "machine".  NULL: no memory. */
json_t *lab_machine_json(const struct lab_machine *m);

/* ---- the parts --------------------------------------------------------------------------------------------------- */

/* Whether SIGINT, SIGTERM or SIGHUP has come. */
bool lab_stopped(void);

/* `offloop lab serve [OPTION ...]`: the exit status. */
int lab_serve(int argc, char **argv);

/* `offloop lab peer NAME DIR`: the exit status. */
int lab_peer(int argc, char **argv);

#endif
