/* control.h: what the process tells about itself, and may be told, on a listener and a thread of its own. */
#ifndef OL_CONTROL_H
#define OL_CONTROL_H

#include "base/buf.h"
#include "base/checked.h"
#include "config.h"
#include "server.h"
#include <stdbool.h>
#include <stddef.h>

struct control;

/* Tells what `main_server` does, and resizes its pools, on config->control.  Everything is borrowed until control_stop.
 * 0 and *out; *out is NULL when the address is "off".  -errno with one line in err. */
CHECKED int control_start(struct control **out, ol_server *main_server, const struct config *config, struct log *log,
	char *err, size_t err_n);

/* Ends it within a second.  Before server_free of the main server.  Takes NULL.  False: its thread is stuck, and what
 * was borrowed must stay. */
bool control_stop(struct control *c);

/* Where it listens, as in server_info. */
const char *control_address(const struct control *c);

/* When this process started, in seconds since 1970; 0 when that cannot be read.  Asked for once: the clocks it is
 * made from drift apart, and the answer must not change. */
double control_process_start(void);

/* The text of /metrics, appended to b: the loops', pools', routes' and process's figures.  started: as above.  0 or
 * -ENOMEM.  Any thread. */
CHECKED int control_metrics(const ol_server *s, const struct log *log, double started, struct buf *b);

/* ---- control_watch.c: what the monitor has seen; on the control loop's thread ---- */

struct control_watch;

/* NULL without memory. */
struct control_watch *control_watch_new(const ol_server *s);
void control_watch_free(struct control_watch *w);

/* The loops' load, holds and stalls, appended to b.  0 or -ENOMEM. */
CHECKED int control_watch_metrics(struct control_watch *w, struct buf *b);

/* The latest stalls, newest first.  NULL without memory. */
json_t *control_stalls(struct control_watch *w);

/* control_routes.c: all routes, for GET /routes; and what PATCH /routes wants done, and replies. */
CHECKED json_t *control_routes_json(const ol_server *s);
CHECKED int control_pin(ol_req *r, const ol_server *s);

/* The loops' counters: how many there are, with `out` pointing to an array that is the caller's to free. */
unsigned control_loops(const ol_server *s, const struct metrics_loop ***out);

#endif
