/* endpoints.h: from the app's tables to what dispatch runs. */
#ifndef OL_ENDPOINTS_H
#define OL_ENDPOINTS_H

#include "base/checked.h"
#include "config.h"
#include "exchange.h"
#include "lane.h"
#include "offloop.h"
#include "route.h"
#include "stall.h"

struct endpoints {
	struct router *router;
	struct endpoint *all;           /* by pattern index; behind them that of requests no route takes */
	uint32_t n, room;
	struct ol_pool *pools;          /* pools[0] is the default one, the last is "background" */
	unsigned npools;
	struct lane_terms lanes;        /* of routes that may move; its log is set by who has one, before any runs */
	ol_handler *admit[OL_ADMIT_MAX + 1];
	ol_handler **on_error;          /* by status, from CHAIN_ERROR_MIN; NULL: the app has none */
};

/* Checks pools and routes, mounted ones too, and makes the table.  0, or -errno with one line in err that says what is
 * wrong and what would be right. */
CHECKED int endpoints_build(struct endpoints *e, const struct ol_app *app, const struct config *config, char *err,
	size_t err_n);

/* How pool i is to be made, but for what is the same for all. */
struct pool_conf endpoints_pool_conf(const struct endpoints *e, unsigned i);

/* "GET /x", of the endpoint with that index; arg: the endpoints. */
const char *endpoints_name(void *arg, uint32_t index);

/* The monitor blames a route for a stall; arg: the endpoints.  Any thread. */
void endpoints_held(void *arg, uint32_t index, uint64_t hold_ns, enum stall_cause cause);

/* Harmless on zeroed memory. */
void endpoints_free(struct endpoints *e);

#endif
