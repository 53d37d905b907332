/* lab_contest.h: who ran a workload, and who did it best: what verdicts are made of. */
#ifndef OL_CLI_LAB_CONTEST_H
#define OL_CLI_LAB_CONTEST_H

#include "base/checked.h"
#include "cli/lab_sentence.h"

/* p99s of fast requests that differ by no more are alike: so much a scheduler does to one and not to the other. */
#define BESIDE_ALIKE_MS 0.5
/* Who fails a greater part of his requests does not suit. */
#define ERRORS_NO 0.01
/* The load can do no more when its thread is busy for such a part of the time, nor a server when it leaves less than
 * this of its CPUs. */
#define LOAD_BUSY 0.95
#define SERVER_LEFT 0.1
/* The workload that shows what a subject does when nothing is beside its requests. */
#define ALONE "trivial"

enum { CONTEST_MAX = 64 };

enum grade { NO, FAIR, YES };

/* What decides a workload. */
struct rule {
	const char *workload;           /* NULL: any other */
	const char *path;               /* of the figure that decides */
	bool least;                     /* the smaller the better */
	const char *unit;               /* behind it */
	void (*say)(struct sentence *, double);
	const char *beside;             /* beside what the fast requests were */
};

struct runner {
	const char *name;
	const char *status;
	const json_t *cell;             /* NULL: there is none */
	struct figure deciding, rps, p99, cpu_us;
	struct figure cpus, load_cpus;  /* that it, and the load, kept busy */
	double requests, errors;        /* of all rounds */
	double pool;                    /* requests that can block at once; 0: not known */
	bool timers;                    /* what is to block waits by a timer there */
	bool figures;                   /* has those it is judged by, */
	bool measured;                  /* and requests were answered */
	enum grade grade;
	struct sentence reason;
	bool best;
	const json_t *alone;            /* its trivial cell */
	struct figure alone_rps, alone_p99;
};

struct contest {
	const struct rule *rule;
	double wait_ms;                 /* each request waits so long */
	bool all_timers;                /* so nobody blocks */
	double server_cpus;             /* that each of them has; 0: not known */
	struct runner runners[CONTEST_MAX];
	size_t n;
	const struct runner *first;     /* whose deciding figure is the best; NULL: nobody was measured */
	size_t nbest;                   /* that suit, and are told apart by nothing */
};

/* Who ran the workload, with their figures; nobody is graded yet.  NULL: no memory. */
CHECKED struct contest *contest_new(const json_t *report, const char *workload);

void contest_free(struct contest *c);

/* When all are graded: marks the best, and all that nothing sets apart from it. */
void contest_rank(struct contest *c);

/* The best of those that compete and are not among the best; NULL: there is none. */
const struct runner *contest_next(const struct contest *c);

/* Whether others are compared with it: not where requests block and its own do not. */
bool runner_competes(const struct contest *c, const struct runner *r);

/* Whether a cell was measured. */
bool cell_ran(const json_t *cell);

/* The part of its requests that failed. */
double runner_failing(const struct runner *r);

/* Whether all that can block at once did, but for the moments between two requests. */
bool runner_fills_pool(const struct contest *c, const struct runner *r);

/* Whether it could have done more, and the load could not. */
bool runner_outran_load(const struct contest *c, const struct runner *r);

/* lab_grade.c: its grade, and the reason in a sentence. */
void runner_judge(const struct contest *c, struct runner *r);

/* What limits those who fill a pool of so many threads. */
void say_pool_limit(struct sentence *t, const struct contest *c, double pool);

#endif
