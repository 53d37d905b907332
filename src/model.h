/* model.h: whose concurrency a server has: the rules of each --model. */
#ifndef OL_MODEL_H
#define OL_MODEL_H

#include "base/checked.h"
#include "config.h"
#include <stdbool.h>
#include <stddef.h>

/* Where handlers run. */
enum model_lane {
	MODEL_DECLARED,         /* each in its own lane */
	MODEL_LOOP,             /* all of them on a loop, on fibers */
	MODEL_POOL,             /* all of them on threads of the default pool, which does for every other one */
};

struct model {
	const char *name;
	enum model_lane lane;
	bool offload_inline;    /* there is no pool to offload to: it is done where it is asked for */
	bool slow_clients_hold; /* a request has its thread from its first byte to the last of its reply */
	bool one_connection;    /* a process has one at a time, and that ends with its reply */
	unsigned loops;         /* of a process, unless it is told otherwise; 0: one a CPU */
	unsigned threads;       /* of the default pool, always; 0: as many as it is told */
	const char *remedy;     /* of a route that holds its loop; NULL: another lane */
};

const struct model *model_of(enum config_model m);

/* A model that is not hybrid's gives every route its lane, and none moves. */
static inline bool model_decides(const struct model *m)
{
	return m->lane != MODEL_DECLARED;
}

/* Where the handler of a route that is declared so runs: on the pool, or on the loop. */
CHECKED bool model_pooled(const struct model *m, bool declared);

/* The pool (by its place in the app's table) that does the work of pool i. */
CHECKED unsigned model_pool(const struct model *m, unsigned i);

/* Whether pool i ever has work: a handler's, or what is offloaded. */
CHECKED bool model_works(const struct model *m, unsigned i);

/* Whether pool i has one size for good; then dst, which ends with a NUL, says why. */
CHECKED bool model_fixes(const struct model *m, unsigned i, char *dst, size_t n);

/* What the model has made of the app, for the log: "model wsgi: 12 endpoints on pool default, 40 threads".  dst ends
 * with a NUL. */
void model_text(char *dst, size_t n, const struct model *m, unsigned endpoints, unsigned loops, unsigned threads);

#endif
