/* endpoints_chain.c: what runs around a handler, compiled from what app, mounts and route declare.
 *
 * Middleware is strung together outermost first.  Needs are flattened, so that at a request there is only a list to
 * walk: what a need needs stands before it, each need stands once however often it is named, and an override stands
 * where the need of its name would.  Flattening walks depth first, with the needs on the way to the present one on a
 * path on the stack: one that is met again on that path goes in a circle.  A need is known by its address; two that
 * differ but have one name would hide each other from ol_need_value, so that is refused.
 *
 * A chain is one piece of memory, list and all; a route with nothing around it has none.  An app with error handlers
 * gives each route a chain.
 *
 * Whatever is wrong is refused at start, in one line.  [setup] only.
 */
#include "endpoints_chain.h"
#include "chain.h"
#include "options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS (CHAIN_ERROR_MAX - CHAIN_ERROR_MIN + 1)

/* One route's chain in the making. */
struct making {
	struct endpoints_chains *all;
	const char *route;
	bool sync;
	ol_middleware *middleware[OL_MIDDLEWARE_MAX * (MOUNT_DEPTH_MAX + 2)];
	unsigned nmiddleware;
	const struct ol_need **needs;
	unsigned nneeds, room;
};

/* The needs on the way to one that is looked at, innermost first. */
struct path {
	const struct path *outer;
	const struct ol_need *need;
};

static int __attribute__((format(printf, 2, 3))) refuse(const struct endpoints_chains *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->err, c->err_n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int no_memory(const struct endpoints_chains *c)
{
	(void)refuse(c, "out of memory");
	return -ENOMEM;
}

/* ---- the app's --------------------------------------------------------------------------------------------------- */

static int set_admit(struct endpoints_chains *c, struct endpoints *e)
{
	for (unsigned i = 0; i < OL_ADMIT_MAX; i++) {
		e->admit[i] = c->app->admit[i];
		if (i > 0 && e->admit[i] && !e->admit[i - 1])
			return refuse(c, "admit[%u] stands behind a NULL, which ends the list: close the gap", i);
	}
	return 0;
}

static int set_on_error(struct endpoints_chains *c, struct endpoints *e)
{
	const struct ol_app *app = c->app;

	if (app->non_error == 0)
		return 0;
	e->on_error = calloc(ERRORS, sizeof(*e->on_error));
	if (!e->on_error)
		return no_memory(c);
	c->on_error = e->on_error;
	for (size_t i = 0; i < app->non_error; i++) {
		struct ol_on_error on;

		options_element(&on, sizeof(on), app->on_error, app->on_error_size, i);
		if (on.status < CHAIN_ERROR_MIN || on.status > CHAIN_ERROR_MAX)
			return refuse(c, "on_error for %d: an error's status is in %d..%d", on.status, CHAIN_ERROR_MIN,
				CHAIN_ERROR_MAX);
		if (!on.handler)
			return refuse(c, "on_error for %d has no handler", on.status);
		if (e->on_error[on.status - CHAIN_ERROR_MIN])
			return refuse(c, "on_error for %d is declared twice", on.status);
		e->on_error[on.status - CHAIN_ERROR_MIN] = on.handler;
	}
	return 0;
}

static struct ol_override override_at(const struct ol_app *app, size_t i)
{
	struct ol_override o;

	options_element(&o, sizeof(o), app->overrides, app->override_size, i);
	return o;
}

/* The index of the override of that name before the end-th; end when there is none. */
static size_t find_override(const struct ol_app *app, const char *name, size_t end)
{
	size_t i = 0;

	while (i < end && strcmp(override_at(app, i).name, name) != 0)
		i++;
	return i;
}

static int check_overrides(struct endpoints_chains *c)
{
	const struct ol_app *app = c->app;

	c->overrode = calloc(app->noverrides + 1, sizeof(*c->overrode));
	if (!c->overrode)
		return no_memory(c);
	for (size_t i = 0; i < app->noverrides; i++) {
		struct ol_override o = override_at(app, i);

		if (!o.name || !*o.name)
			return refuse(c, "an override has no name: set that of the need it replaces");
		if (!o.with)
			return refuse(c, "override \"%s\" has no need to take its place: set .with", o.name);
		if (!o.with->name || strcmp(o.with->name, o.name) != 0)
			return refuse(c, "override \"%s\": the need that takes its place is called \"%s\": give it the "
				"same name", o.name, o.with->name ? o.with->name : "");
		if (find_override(app, o.name, i) < i)
			return refuse(c, "override \"%s\" is declared twice", o.name);
	}
	return 0;
}

int endpoints_chains_init(struct endpoints_chains *c, struct endpoints *e, const struct ol_app *app, char *err,
	size_t err_n)
{
	int rc;

	*c = (struct endpoints_chains){ .app = app, .err = err, .err_n = err_n };
	rc = set_admit(c, e);
	if (rc == 0)
		rc = set_on_error(c, e);
	if (rc == 0)
		rc = check_overrides(c);
	return rc;
}

int endpoints_chains_check(const struct endpoints_chains *c)
{
	for (size_t i = 0; i < c->app->noverrides; i++)
		if (!c->overrode[i])
			return refuse(c, "override \"%s\": no route needs that: is it spelt as the need's .name?",
				override_at(c->app, i).name);
	return 0;
}

void endpoints_chains_fini(struct endpoints_chains *c)
{
	free(c->overrode);
	c->overrode = NULL;
}

/* ---- needs ------------------------------------------------------------------------------------------------------- */

/* The need that is meant by this one. */
static const struct ol_need *overridden(struct endpoints_chains *c, const struct ol_need *need)
{
	size_t i = find_override(c->app, need->name, c->app->noverrides);

	if (i == c->app->noverrides)
		return need;
	c->overrode[i] = true;
	return override_at(c->app, i).with;
}

static int append(struct making *m, const struct ol_need *need)
{
	if (m->nneeds == m->room) {
		unsigned room = m->room ? m->room * 2 : 16;
		const struct ol_need **needs = realloc(m->needs, room * sizeof(*needs));

		if (!needs)
			return no_memory(m->all);
		m->needs = needs;
		m->room = room;
	}
	m->needs[m->nneeds++] = need;
	return 0;
}

/* by: who needs it; NULL for the route. */
static int check_need(const struct making *m, const struct path *by, const struct ol_need *need)
{
	const char *of = by ? by->need->name : NULL;

	if (!need->acquire)
		return refuse(m->all, "%s: need \"%s\" has no .acquire", m->route, need->name);
	if (need->blocking && !m->sync)
		return refuse(m->all,
			"%s is .async but %s%s%sneeds \"%s\", which may block (.blocking): declare it .sync", m->route,
			of ? "its need \"" : "", of ? of : "", of ? "\" " : "", need->name);
	for (const struct path *p = by; p; p = p->outer) {
		if (p->need == need)
			return refuse(m->all,
				"%s: need \"%s\" goes in a circle: it is needed by \"%s\", which it needs", m->route,
				need->name, of);
		if (strcmp(p->need->name, need->name) == 0)
			return refuse(m->all, "%s has two needs called \"%s\": give one another name", m->route,
				need->name);
	}
	for (unsigned i = 0; i < m->nneeds; i++)
		if (strcmp(m->needs[i]->name, need->name) == 0)
			return refuse(m->all, "%s has two needs called \"%s\": give one another name", m->route,
				need->name);
	return 0;
}

static bool is_there(const struct making *m, const struct ol_need *need)
{
	for (unsigned i = 0; i < m->nneeds; i++)
		if (m->needs[i] == need)
			return true;
	return false;
}

static int add_needs(struct making *m, const struct path *by, const struct ol_need *const *needs);

static int add_need(struct making *m, const struct path *by, const struct ol_need *need)
{
	struct path path = { by, NULL };
	int rc;

	if (!need->name || !*need->name)
		return refuse(m->all, "%s has a need without a name: set .name", m->route);
	path.need = need = overridden(m->all, need);
	if (is_there(m, need))
		return 0;
	rc = check_need(m, by, need);
	if (rc == 0)
		rc = add_needs(m, &path, need->needs);
	if (rc == 0)
		rc = append(m, need);
	return rc;
}

static int add_needs(struct making *m, const struct path *by, const struct ol_need *const *needs)
{
	int rc = 0;

	for (unsigned i = 0; i < OL_NEEDS_MAX && rc == 0; i++) {
		if (i > 0 && needs[i] && !needs[i - 1])
			return refuse(m->all, "%s: .needs[%u] stands behind a NULL, which ends the list: close the gap",
				m->route, i);
		if (needs[i])
			rc = add_need(m, by, needs[i]);
	}
	return rc;
}

/* ---- chains ------------------------------------------------------------------------------------------------------ */

static int add_middleware(struct making *m, ol_middleware *const *list)
{
	for (unsigned i = 0; i < OL_MIDDLEWARE_MAX; i++) {
		if (i > 0 && list[i] && !list[i - 1])
			return refuse(m->all,
				"%s: .middleware[%u] stands behind a NULL, which ends the list: close the gap",
				m->route, i);
		if (list[i])
			m->middleware[m->nmiddleware++] = list[i];
	}
	return 0;
}

/* Of the mounts, outermost first. */
static int add_mounts(struct making *m, const struct endpoints_mount *mount)
{
	int rc;

	if (!mount)
		return 0;
	rc = add_mounts(m, mount->outer);
	if (rc == 0)
		rc = add_middleware(m, mount->mount->middleware);
	if (rc == 0)
		rc = add_needs(m, NULL, mount->mount->needs);
	return rc;
}

/* NULL with 0 when there is nothing in it. */
static int make_chain(const struct making *m, struct chain **out)
{
	size_t middleware = m->nmiddleware * sizeof(m->middleware[0]), needs = m->nneeds * sizeof(m->needs[0]);
	struct chain *c;
	char *lists;

	*out = NULL;
	if (middleware + needs == 0 && !m->all->on_error)
		return 0;
	c = malloc(sizeof(*c) + middleware + needs);
	if (!c)
		return no_memory(m->all);
	lists = (char *)(c + 1);
	*c = (struct chain){
		.middleware = (ol_middleware *const *)(void *)lists,
		.nmiddleware = m->nmiddleware,
		.needs = (const struct ol_need *const *)(void *)(lists + middleware),
		.nneeds = m->nneeds,
		.on_error = m->all->on_error,
	};
	memcpy(lists, m->middleware, middleware);
	if (needs > 0)
		memcpy(lists + middleware, m->needs, needs);
	*out = c;
	return 0;
}

int endpoints_chain(struct endpoints_chains *c, const char *name, bool sync, const struct endpoints_mount *mount,
	const struct ol_route *route, struct chain **out)
{
	struct making m = { .all = c, .route = name, .sync = sync };
	int rc = add_middleware(&m, c->app->middleware);

	if (rc == 0)
		rc = add_mounts(&m, mount);
	if (rc == 0)
		rc = add_middleware(&m, route->middleware);
	if (rc == 0)
		rc = add_needs(&m, NULL, route->needs);
	if (rc == 0)
		rc = make_chain(&m, out);
	free(m.needs);
	return rc;
}
