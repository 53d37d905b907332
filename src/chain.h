/* chain.h: what runs around a handler: middleware, needs, error handlers; and admit hooks before it. */
#ifndef OL_CHAIN_H
#define OL_CHAIN_H

#include "base/checked.h"
#include "offloop.h"
#include <stdbool.h>

#define CHAIN_ERROR_MIN 400
#define CHAIN_ERROR_MAX 599

/* Around one endpoint's handler.  Constant once the server has started. */
struct chain {
	ol_middleware *const *middleware;       /* outermost first: the app's, the mounts', the route's */
	unsigned nmiddleware;
	const struct ol_need *const *needs;     /* in the order they are acquired; no two of one name */
	unsigned nneeds;
	ol_handler *const *on_error;            /* by status, from CHAIN_ERROR_MIN; NULL: the app has none */
};

/* The handler and all that is around it, to its reply: the last thing that is done with r in its lane.  A request whose
 * reply is an error already (answered before its handler) is only shown to on_error.  On the handler's thread.
 * False: a .sync reply that is pulled has left its thread, and is not to be touched (stream_pull). */
bool chain_run(struct ol_req *r);
/* Goes on with such a reply. */
CHECKED bool chain_go_on(struct ol_req *r);

/* Logs that something of the request's (what) has failed, with its route and its return rc. */
void chain_log_failure(struct ol_req *r, const char *what, int rc);

/* Whether the app has a say in how errors of that status look. */
CHECKED bool chain_has_on_error(const struct chain *c, int status);

/* Asks the app's admit hooks: true when the request may go on; false: the reply is made.  On the loop's own stack,
 * before r has a park. */
CHECKED bool chain_admit(struct ol_req *r);

#endif
