/* endpoints_chain.h: from needs, middleware and error handlers as declared to what chain.c runs.  [setup] */
#ifndef OL_ENDPOINTS_CHAIN_H
#define OL_ENDPOINTS_CHAIN_H

#include "base/checked.h"
#include "endpoints.h"

#define MOUNT_DEPTH_MAX 8

/* A mount that a route stands in, and the one around that. */
struct endpoints_mount {
	const struct endpoints_mount *outer;
	const struct ol_route *mount;
};

/* What all routes of an app have in common. */
struct endpoints_chains {
	const struct ol_app *app;
	ol_handler *const *on_error;
	bool *overrode;         /* by index of the app's overrides: some route needs it */
	char *err;
	size_t err_n;
};

/* Checks hooks, error handlers and overrides, and fills e->admit and e->on_error (which endpoints_free frees).  0, or
 * -errno with one line in err. */
CHECKED int endpoints_chains_init(struct endpoints_chains *c, struct endpoints *e, const struct ol_app *app, char *err,
	size_t err_n);

/* What runs around a route (mount: innermost, NULL for none): *out is the caller's to free, NULL when nothing does.
 * name, sync: the route's.  0, or -errno with one line in err. */
CHECKED int endpoints_chain(struct endpoints_chains *c, const char *name, bool sync,
	const struct endpoints_mount *mount, const struct ol_route *route, struct chain **out);

/* When all routes are there: an override that none needs is refused.  0, or -errno with one line in err. */
CHECKED int endpoints_chains_check(const struct endpoints_chains *c);

/* Harmless on zeroed memory. */
void endpoints_chains_fini(struct endpoints_chains *c);

#endif
