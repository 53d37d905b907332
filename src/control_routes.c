/* control_routes.c: /routes: what is told of each route, and its lane pinned by hand.
 *
 * The lane a route is declared in is told beside the one its next request goes to, and for those that may move the
 * evidence that decides.  PATCH /routes pins a lane, or takes that back; what it says is wrong is answered as FastAPI
 * would answer it (422), a route that does not exist with 404, and one that does not move with 409 and the reason.
 *
 * Nothing here waits for a loop or a worker: a lane's mutex is held for a few instructions.  On the control loop.
 */
#include "control.h"
#include "exchange.h"
#include "lane.h"
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *lane_name(bool pooled)
{
	return pooled ? "sync" : "async";
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

/* ---- what is told ------------------------------------------------------------------------------------------------ */

static json_t *pin_json(enum lane_pin pin)
{
	return pin == LANE_AUTO ? json_null() : json_string(lane_name(pin == LANE_SYNC));
}

static json_t *change_json(const struct lane_look *look)
{
	char time[ISO_TIME_LEN + 1] = "";

	if (look->moved.tv_sec == 0)
		return json_null();
	iso_time_format(time, look->moved);
	return json_pack("{ss ss}", "time", time, "why", look->why);
}

/* Why --guard demote does not move it, though it is .async; NULL: it would, or is not asked. */
static const char *unmoved(const struct lane_look *look)
{
	return look->kind == LANE_GUARDED && look->streams ?
		"it streams events, each of which would hold a thread" : NULL;
}

/* Of one that may move. */
static json_t *evidence_json(const struct lane_look *look)
{
	json_t *e = json_pack("{si sI sI sI so ss?}", "holds", (int)look->holds, "held", (json_int_t)look->held,
		"to_async", (json_int_t)look->moves[0], "to_sync", (json_int_t)look->moves[1], "last_change",
		change_json(look), "unmoved", unmoved(look));

	if (look->kind != LANE_ADAPTIVE)
		return e;
	json_object_set_new(e, "runs", json_integer(look->runs));
	json_object_set_new(e, "runs_needed", json_integer(look->needed));
	json_object_set_new(e, "over_budget", json_integer(look->over));
	json_object_set_new(e, "p99_at_most_seconds", look->runs ? json_real(seconds(look->p99_ns)) : json_null());
	return e;
}

/* Why its lane is not to be changed; NULL: it is. */
static const char *fixed(const ol_server *s, const struct endpoint *e, char *text, size_t n)
{
	struct lane_look look;

	if (e->by_model) {
		snprintf(text, n, "the server runs --model %s, in which no route moves",
			model_of(server_setup(s)->config->model)->name);
		return text;
	}
	if (!e->lane)
		return e->pool_name ? "it is declared .sync: only .adaptive and guarded .async routes move" :
			"it is declared .async and not guarded: start with --guard warn or --guard demote";
	lane_look(e->lane, &look);
	if (!look.need)
		return NULL;
	snprintf(text, n, "it needs \"%s\", which may block", look.need);
	return text;
}

static json_t *route_json(const ol_server *s, const struct route_pattern *p, uint64_t requests)
{
	const struct endpoint *e = server_route(s, p->index);
	struct lane_look look = { .pin = LANE_AUTO };
	const char *pool = e->pool_name;
	char text[160];

	if (!pool && endpoint_pooled(e)) /* declared .async, and moved */
		pool = server_pool_declared(s, e->pool_index)->name;
	if (e->lane)
		lane_look(e->lane, &look);
	return json_pack("{ss ss ss ss? sI si si ss? ss so ss? so}", "method", metrics_method(p->method), "route",
		p->text, "lane", lane_name(endpoint_pooled(e)), "pool", pool, "requests",
		(json_int_t)requests, "timeout", (int)(e->timeout_ns / NS_PER_MS), "queue_timeout",
		pool ? (int)(e->queue_timeout_ns / NS_PER_MS) : 0, "priority",
		!pool ? NULL : e->priority ? "high" : "normal", "declared", e->declared, "pinned",
		pin_json(look.pin), "fixed", fixed(s, e, text, sizeof(text)), "evidence",
		e->lane ? evidence_json(&look) : json_null());
}

static json_t *one_json(const ol_server *s, const struct route_pattern *p)
{
	const struct metrics_loop **loops;
	unsigned n = control_loops(s, &loops);
	json_t *one = loops ? route_json(s, p, metrics_route_requests(loops, n, p->index)) : NULL;

	free(loops);
	return one;
}

json_t *control_routes_json(const ol_server *s)
{
	const struct router *router = server_router(s);
	json_t *all = json_array();

	for (size_t i = 0; i < router_count(router); i++)
		json_array_append_new(all, one_json(s, router_at(router, i)));
	return all;
}

/* ---- by hand ----------------------------------------------------------------------------------------------------- */

struct wish {
	const char *route;
	enum lane_pin pin;
};

static int read_lane(ol_req *r, const char *lane, enum lane_pin *pin)
{
	static const char *const names[] = { [LANE_AUTO] = "auto", [LANE_ASYNC] = "async", [LANE_SYNC] = "sync" };

	for (int i = LANE_AUTO; i <= LANE_SYNC; i++) {
		if (lane && strcmp(lane, names[i]) == 0) {
			*pin = (enum lane_pin)i;
			return 0;
		}
	}
	return ol_invalid(r, "body", "lane", "value is not one of \"sync\", \"async\" and \"auto\"", "type_error.enum");
}

/* 0 when all of the body is fine; else everything that is wrong with it has been latched. */
static int read_wish(ol_req *r, const json_t *body, struct wish *w)
{
	const json_t *route = json_object_get(body, "route"), *lane = json_object_get(body, "lane");
	const char *name;
	json_t *v;
	int rc = 0;

	if (!json_is_object(body))
		return ol_invalid(r, "body", NULL, "value is not a valid dict", "type_error.dict");
	w->route = json_string_value(route);
	if (!route)
		rc |= ol_invalid(r, "body", "route", "field required", "value_error.missing");
	else if (!w->route)
		rc |= ol_invalid(r, "body", "route", "str type expected", "type_error.str");
	if (!lane)
		rc |= ol_invalid(r, "body", "lane", "field required", "value_error.missing");
	else
		rc |= read_lane(r, json_string_value(lane), &w->pin);
	json_object_foreach((json_t *)(uintptr_t)body, name, v)
		if (strcmp(name, "route") != 0 && strcmp(name, "lane") != 0)
			rc |= ol_invalid(r, "body", name, "extra fields not permitted", "value_error.extra");
	return rc;
}

static const struct route_pattern *find_route(const ol_server *s, const char *name)
{
	const struct router *router = server_router(s);

	for (size_t i = 0; i < router_count(router); i++)
		if (strcmp(server_route(s, router_at(router, i)->index)->name, name) == 0)
			return router_at(router, i);
	return NULL;
}

int control_pin(ol_req *r, const ol_server *s)
{
	const json_t *body = ol_body_json(r);
	struct wish w = { .pin = LANE_AUTO };
	const struct route_pattern *p;
	const struct endpoint *e;
	const char *why;
	char text[160];

	if (!body || read_wish(r, body, &w))
		return -1;
	p = find_route(s, w.route);
	if (!p)
		return ol_error(r, 404, "no route has this name: it is a method and a template, as \"GET /x/{id}\"");
	e = server_route(s, p->index);
	why = fixed(s, e, text, sizeof(text));
	if (why)
		return ol_error(r, 409, why);
	if (lane_pin(e->lane, w.pin, ol_remote(r)) < 0)
		return -1;
	return ol_json_new(r, 200, one_json(s, p));
}
