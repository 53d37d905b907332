/* test_endpoints.c: what is refused at start, in one line that says what would be right; and what the tables become. */
#include "chain.h"
#include "endpoints.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct endpoints built;
static struct config config = { .pool_threads = 3, .pool_queue = 5, .background_threads = 2,
	.background_queue = 6, .body_max = 1000 };
static char err[256];

static int handler(ol_req *r)
{
	(void)r;
	return 0;
}

static void tear_down(void)
{
	endpoints_free(&built);
}

static int build(const struct ol_app *app)
{
	endpoints_free(&built);
	err[0] = '\0';
	return endpoints_build(&built, app, &config, err, sizeof(err));
}

/* The app is refused, and the line says so much. */
static void check_refused(const struct ol_app *app, const char *what)
{
	ck_assert_int_lt(build(app), 0);
	ck_assert_msg(strstr(err, what) != NULL, "\"%s\" does not say \"%s\"", err, what);
	ck_assert_ptr_null(strchr(err, '\n'));
	ck_assert_ptr_null(built.all);
	ck_assert_ptr_null(built.router);
}

static void refuse_route(const struct ol_route *route, const char *what)
{
	const struct ol_pool pools[] = { { .name = "db", .threads = 2 } };
	const struct ol_app app = { OL_APP_INIT, .routes = route, .nroutes = 1, .route_size = sizeof(*route),
		OL_POOLS(pools) };

	check_refused(&app, what);
}

static void refuse_pools(const struct ol_pool *pools, size_t n, const char *what)
{
	static const struct ol_route routes[] = { OL_GET("/", .async = handler) };
	const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .pools = pools, .npools = n,
		.pool_size = sizeof(*pools) };

	check_refused(&app, what);
}

#define ROUTE(...) (&(const struct ol_route){ __VA_ARGS__ })

START_TEST(a_route_has_one_lane)
{
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a"), "GET /a has no lane: set .async");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .sync = handler),
		"GET /a has two lanes");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .pool = "db"),
		".pool is for .sync and .adaptive");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .sync = handler, .stack = 65536),
		"GET /a: .stack is for .async and .adaptive routes: a .sync one has that of its pool's threads");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .stack = (size_t)1 << 50),
		"GET /a: a .stack of 1125899906842624 bytes is not in 0..1073741824");
}
END_TEST

START_TEST(a_route_has_a_method_a_path_and_a_pool_that_exists)
{
	refuse_route(ROUTE(.path = "/a", .async = handler), "needs a method and a path");
	refuse_route(ROUTE(.path = "/a"), "or with OL_MOUNT and a router"); /* OL_MOUNT("/a", NULL) */
	refuse_route(ROUTE(.method = OL_METHOD_GET, .async = handler), "needs a method and a path");
	refuse_route(ROUTE(.method = (enum ol_method)99, .path = "/a", .async = handler), "needs a method and a path");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "a", .async = handler), "a");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/{x:date}", .async = handler), "date");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .sync = handler, .pool = "bd"),
		"GET /a: no pool is called \"bd\"");
}
END_TEST

START_TEST(an_app_has_routes)
{
	static const struct ol_app app = { OL_APP_INIT };

	check_refused(&app, "has no routes");
}
END_TEST

START_TEST(routes_that_could_not_be_told_apart_are_refused)
{
	static const struct ol_route routes[] = {
		OL_GET("/a/{x}", .async = handler),
		OL_GET("/a/{y:int}", .sync = handler),
	};
	static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

	check_refused(&app, "/a/{x}");
	ck_assert_ptr_nonnull(strstr(err, "/a/{y:int}"));
}
END_TEST

START_TEST(pools_have_names_of_their_own_and_sizes_that_can_be)
{
	refuse_pools((struct ol_pool[]){ { .threads = 1 } }, 1, "a pool has no name");
	refuse_pools((struct ol_pool[]){ { .name = "" } }, 1, "a pool has no name");
	refuse_pools((struct ol_pool[]){ { .name = "default" } }, 1, "size it by --pool and --queue");
	refuse_pools((struct ol_pool[]){ { .name = "background" } }, 1,
		"\"background\" is always there: size it by --background and --background-queue");
	refuse_pools((struct ol_pool[]){ { .name = "a" }, { .name = "a" } }, 2, "\"a\" is declared twice");
	refuse_pools((struct ol_pool[]){ { .name = "a", .threads = 10001 } }, 1,
		"\"a\": 10001 .threads are not in 1..10000");
	refuse_pools((struct ol_pool[]){ { .name = "a", .queue = 10000001 } }, 1,
		"\"a\": a .queue of 10000001 is not in 1..10000000");
	refuse_pools((struct ol_pool[]){ { .name = "a", .stack = ((size_t)1 << 30) + 1 } }, 1,
		"\"a\": a .stack of 1073741825 bytes is not in 0..1073741824");
	refuse_pools((struct ol_pool[]){ { .name = "a b" } }, 1, "\"a...\": a name is at most 64 letters, digits,");
	refuse_pools((struct ol_pool[]){ { .name = "a\nb" } }, 1, "a name is at most 64 letters");
	refuse_pools((struct ol_pool[]){ { .name = "a/b" } }, 1, "a name is at most 64 letters");
	refuse_pools((struct ol_pool[]){
		{ .name = "a2345678901234567890123456789012345678901234567890123456789012345" } }, 1, "at most 64");
}
END_TEST

START_TEST(times_and_priorities_are_within_reason)
{
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .queue_timeout = 5),
		"GET /a: .queue_timeout is for .sync and .adaptive routes");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .priority = OL_PRIORITY_HIGH),
		"GET /a: .priority is for .sync and .adaptive routes");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .timeout = 86400001),
		"GET /a: .timeout is in milliseconds, and 86400001 are not in 1..86400000");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .sync = handler, .queue_timeout = 86400001),
		"GET /a: .queue_timeout is in milliseconds");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .sync = handler, .priority = (enum ol_priority)2),
		"GET /a: .priority is 2: set OL_PRIORITY_NORMAL or OL_PRIORITY_HIGH");
	refuse_pools((struct ol_pool[]){ { .name = "a", .queue_timeout = 86400001 } }, 1, ".queue_timeout");
	refuse_pools((struct ol_pool[]){ { .name = "a", .spares = 10001 } }, 1, "10001 .spares");
	refuse_pools((struct ol_pool[]){ { .name = "a", .codel_target = 5 } }, 1, "are for .codel = 1");
	refuse_pools((struct ol_pool[]){ { .name = "a", .codel_interval = 5 } }, 1, "are for .codel = 1");
	refuse_pools((struct ol_pool[]){ { .name = "a", .codel = 1, .codel_target = 100 } }, 1,
		"a CoDel target of 100 ms is not below its interval of 100 ms");
	refuse_pools((struct ol_pool[]){ { .name = "a", .codel = 1, .codel_interval = 5 } }, 1, "5 ms");
}
END_TEST

START_TEST(a_routes_times_are_its_own_or_its_pools_or_the_servers)
{
	static const struct ol_route routes[] = {
		OL_GET("/server", .sync = handler),
		OL_GET("/pool", .sync = handler, .pool = "a", .priority = OL_PRIORITY_HIGH),
		OL_GET("/own", .sync = handler, .pool = "a", .timeout = 7, .queue_timeout = 8),
		OL_GET("/loop", .async = handler, .timeout = 9),
	};
	static const struct ol_pool pools[] = { { .name = "a", .queue_timeout = 6, .spares = 2, .codel = 1 } };
	static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };
	struct config c = { .queue_timeout_ms = 5, .pool_threads = 3, .pool_queue = 0, .pool_spares = 4, .codel = true,
		.codel_target_ms = 1, .codel_interval_ms = 2 };
	struct endpoints e;
	struct pool_conf pc;

	ck_assert_msg(endpoints_build(&e, &app, &c, err, sizeof(err)) == 0, "%s", err);
	ck_assert_uint_eq(e.all[0].queue_timeout_ns, 5 * NS_PER_MS);
	ck_assert_uint_eq(e.all[0].timeout_ns, 0);
	ck_assert_uint_eq(e.all[0].priority, 0);
	ck_assert_uint_eq(e.all[1].queue_timeout_ns, 6 * NS_PER_MS);
	ck_assert_uint_eq(e.all[1].priority, 1);
	ck_assert_uint_eq(e.all[2].queue_timeout_ns, 8 * NS_PER_MS);
	ck_assert_uint_eq(e.all[2].timeout_ns, 7 * NS_PER_MS);
	ck_assert_uint_eq(e.all[3].queue_timeout_ns, 0);
	ck_assert_uint_eq(e.all[3].timeout_ns, 9 * NS_PER_MS);
	pc = endpoints_pool_conf(&e, 0);
	ck_assert(pc.codel && pc.threads == 3 && pc.queue == 0 && pc.spares == 4);
	ck_assert(pc.codel_target_ns == NS_PER_MS && pc.codel_interval_ns == 2 * NS_PER_MS);
	pc = endpoints_pool_conf(&e, 1);
	ck_assert(pc.codel && pc.threads == 40 && pc.queue == 1024 && pc.spares == 2);
	ck_assert(pc.codel_target_ns == 5 * NS_PER_MS && pc.codel_interval_ns == 100 * NS_PER_MS);
	endpoints_free(&e);
}
END_TEST

START_TEST(what_is_not_set_has_its_default)
{
	static const struct ol_pool pools[] = {
		{ .name = "a" },
		{ .name = "b", .threads = 7, .queue = 8, .stack = 9 },
	};
	static const char data[] = "x";
	static const struct ol_route routes[] = {
		OL_GET("/one", .async = handler),
		OL_POST("/two", .sync = handler, .pool = "b", .body_max = 7, .stream = 1, .data = data),
		OL_DELETE("/three", .sync = handler),
	};
	static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };

	ck_assert_msg(build(&app) == 0, "%s", err);
	ck_assert_uint_eq(built.npools, 4);
	ck_assert_str_eq(built.pools[3].name, "background");    /* the last, always */
	ck_assert_uint_eq(built.pools[3].threads, 2);
	ck_assert_uint_eq(built.pools[3].queue, 6);
	ck_assert_str_eq(built.pools[0].name, "default");
	ck_assert_uint_eq(built.pools[0].threads, 3);
	ck_assert_uint_eq(built.pools[0].queue, 5);
	ck_assert_uint_eq(built.pools[1].threads, 40);
	ck_assert_uint_eq(built.pools[1].queue, 1024);
	ck_assert_uint_eq(built.pools[2].threads, 7);
	ck_assert_uint_eq(built.pools[2].queue, 8);
	ck_assert_uint_eq(built.n, 3);
	ck_assert_str_eq(built.all[0].name, "GET /one");
	ck_assert(!built.all[0].pooled);
	ck_assert_ptr_null(built.all[0].pool_name);
	ck_assert_uint_eq(built.all[0].body_max, 1000);
	ck_assert_uint_eq(built.all[1].body_max, 7);
	ck_assert(built.all[1].pooled && built.all[1].stream);
	ck_assert_uint_eq(built.all[1].pool_index, 2);
	ck_assert_str_eq(built.all[1].pool_name, "b");
	ck_assert_ptr_eq(built.all[1].data, data);
	ck_assert_str_eq(built.all[2].pool_name, "default");
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(built.all[i].index, i);
		ck_assert_uint_eq(built.all[i].pattern->index, i);
	}
}
END_TEST

/* ---- mounting ---------------------------------------------------------------------------------------------------- */

static const struct ol_route leaf_routes[] = { OL_GET("/leaf", .async = handler), OL_GET("", .async = handler) };
static const struct ol_router leaf = { OL_ROUTES(leaf_routes) };
static const struct ol_route branch_routes[] = { OL_MOUNT("/{user}", &leaf), OL_GET("/own", .sync = handler) };
static const struct ol_router branch = { OL_ROUTES(branch_routes) };

START_TEST(routers_are_mounted_under_their_prefixes)
{
	static const struct ol_route routes[] = { OL_MOUNT("/api", &branch), OL_MOUNT("/x", &leaf) };
	static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

	ck_assert_msg(build(&app) == 0, "%s", err);
	ck_assert_uint_eq(built.n, 5);
	ck_assert_str_eq(built.all[0].name, "GET /api/{user}/leaf");
	ck_assert_str_eq(built.all[1].name, "GET /api/{user}");
	ck_assert_str_eq(built.all[2].name, "GET /api/own");
	ck_assert_str_eq(built.all[3].name, "GET /x/leaf");
	ck_assert_str_eq(built.all[4].pattern->text, "/x");
	ck_assert_ptr_eq(built.all[0].pattern->data, &leaf_routes[0]);
}
END_TEST

static struct ol_route round_routes[1];
static const struct ol_router round_and_round = { round_routes, 1, sizeof(round_routes[0]) };

START_TEST(a_router_mounted_in_itself_is_refused)
{
	round_routes[0] = (struct ol_route)OL_MOUNT("/again", &round_and_round);
	refuse_route(&round_routes[0], "is one mounted in itself?");
}
END_TEST

START_TEST(a_prefix_is_a_path_without_its_last_slash)
{
	refuse_route(ROUTE(.path = "/", .mount = &leaf), "mount \"/\"");
	refuse_route(ROUTE(.path = "/a/", .mount = &leaf), "mount \"/a/\"");
	refuse_route(ROUTE(.path = "a", .mount = &leaf), "mount \"a\"");
	refuse_route(ROUTE(.path = "", .mount = &leaf), "mount \"\"");
	refuse_route(ROUTE(.mount = &leaf), "mount \"\"");
	refuse_route(ROUTE(.path = "/a", .async = handler, .mount = &leaf), "a mount has no handler");
}
END_TEST

/* ---- what runs around handlers ----------------------------------------------------------------------------------- */

static int acquire(ol_req *r, void **value)
{
	(void)r;
	(void)value;
	return 0;
}

static int middleware(ol_req *r, ol_next *next)
{
	return ol_next_run(next, r);
}

static int other_middleware(ol_req *r, ol_next *next)
{
	return ol_next_run(next, r);
}

static const struct ol_need db = { .name = "db", .acquire = acquire, .blocking = 1 };
static const struct ol_need fake_db = { .name = "db", .acquire = acquire };
static const struct ol_need user = { .name = "user", .acquire = acquire, .needs = { &db } };
static const struct ol_need clock_need = { .name = "clock", .acquire = acquire };
static const struct ol_need nameless = { .acquire = acquire }, empty = { .name = "empty" };

#define NEEDS(...) ROUTE(.method = OL_METHOD_GET, .path = "/a", .sync = handler, .needs = { __VA_ARGS__ })

/* The names of a route's needs, in the order they are acquired. */
static const char *needs_of(uint32_t index)
{
	static char names[2000];
	const struct chain *c = built.all[index].chain;

	names[0] = '\0';
	for (unsigned i = 0; c && i < c->nneeds; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s ", c->needs[i]->name);
	return names;
}

START_TEST(needs_are_flattened_in_order_each_once)
{
	static const struct ol_route inner_routes[] = {
		OL_GET("/b", .sync = handler, .needs = { &clock_need, &user, &db }),
		OL_GET("/c", .sync = handler),
	};
	static const struct ol_router inner = { OL_ROUTES(inner_routes) };
	static const struct ol_route routes[] = {
		OL_GET("/", .sync = handler, .needs = { &clock_need, &user, &db, &clock_need }),
		OL_GET("/none", .async = handler),
		OL_MOUNT("/in", &inner, .needs = { &db }),
	};
	static const struct ol_app a = { OL_APP_INIT, OL_ROUTES(routes) };

	ck_assert_msg(build(&a) == 0, "%s", err);
	ck_assert_str_eq(needs_of(0), "clock db user ");
	ck_assert_ptr_null(built.all[1].chain);
	ck_assert_str_eq(needs_of(2), "db clock user ");
	ck_assert_str_eq(needs_of(3), "db ");
}
END_TEST

START_TEST(a_need_may_need_more_than_a_route_can_name)
{
	enum { WIDE = OL_NEEDS_MAX };
	static char names[1 + WIDE + WIDE * WIDE][16];
	static struct ol_need all[1 + WIDE + WIDE * WIDE];

	for (int i = 0; i < 1 + WIDE + WIDE * WIDE; i++) {
		snprintf(names[i], sizeof(names[i]), "n%d", i);
		all[i] = (struct ol_need){ .name = names[i], .acquire = acquire };
		for (int k = 0; k < WIDE && WIDE * i + 1 + k < 1 + WIDE + WIDE * WIDE; k++)
			all[i].needs[k] = &all[WIDE * i + 1 + k];
	}
	const struct ol_route routes[] = { OL_GET("/", .async = handler, .needs = { &all[0] }) };
	const struct ol_app a = { OL_APP_INIT, OL_ROUTES(routes) };

	ck_assert_msg(build(&a) == 0, "%s", err);
	ck_assert_uint_eq(built.all[0].chain->nneeds, 73);
	ck_assert_int_eq(strncmp(needs_of(0), "n9 n10 ", 7), 0);
	ck_assert_ptr_eq(built.all[0].chain->needs[72], &all[0]);
}
END_TEST

static struct ol_need round_one = { .name = "one", .acquire = acquire };
static struct ol_need round_two = { .name = "two", .acquire = acquire, .needs = { &round_one } };

START_TEST(needs_that_cannot_be_are_refused)
{
	static const struct ol_need twin = { .name = "db", .acquire = acquire };
	static const struct ol_need over_twin = { .name = "over", .acquire = acquire, .needs = { &twin } };
	static const struct ol_need self_named = { .name = "db", .acquire = acquire, .needs = { &db } };

	refuse_route(NEEDS(&nameless), "GET /a has a need without a name");
	refuse_route(NEEDS(&empty), "GET /a: need \"empty\" has no .acquire");
	refuse_route(NEEDS(&db, &twin), "GET /a has two needs called \"db\"");
	refuse_route(NEEDS(&user, &over_twin), "GET /a has two needs called \"db\"");
	refuse_route(NEEDS(&self_named), "GET /a has two needs called \"db\"");
	refuse_route(NEEDS(&clock_need, NULL, &db), "GET /a: .needs[2] stands behind a NULL");
	round_one.needs[0] = &round_two;
	refuse_route(NEEDS(&round_two), "need \"two\" goes in a circle: it is needed by \"one\"");
	round_one.needs[0] = &round_one;
	refuse_route(NEEDS(&round_two), "need \"one\" goes in a circle: it is needed by \"one\"");
}
END_TEST

START_TEST(an_async_route_needs_nothing_that_blocks)
{
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .needs = { &db }),
		"GET /a is .async but needs \"db\", which may block (.blocking): declare it .sync");
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler, .needs = { &clock_need, &user }),
		"GET /a is .async but its need \"user\" needs \"db\"");
}
END_TEST

START_TEST(middleware_is_strung_together_outermost_first)
{
	static const struct ol_route inner_routes[] = {
		OL_GET("/a", .async = handler, .middleware = { middleware, middleware }),
	};
	static const struct ol_router inner = { OL_ROUTES(inner_routes) };
	static const struct ol_route outer_routes[] = { OL_MOUNT("/y", &inner, .middleware = { other_middleware }) };
	static const struct ol_router outer = { OL_ROUTES(outer_routes) };
	static const struct ol_route routes[] = {
		OL_MOUNT("/x", &outer, .middleware = { middleware }),
		OL_GET("/b", .async = handler),
	};
	static const struct ol_app a = { OL_APP_INIT, OL_ROUTES(routes), .middleware = { other_middleware } };
	ol_middleware *const expected[] = { other_middleware, middleware, other_middleware, middleware, middleware };

	ck_assert_msg(build(&a) == 0, "%s", err);
	ck_assert_uint_eq(built.all[0].chain->nmiddleware, 5);
	for (int i = 0; i < 5; i++)
		ck_assert(built.all[0].chain->middleware[i] == expected[i]);
	ck_assert_uint_eq(built.all[1].chain->nmiddleware, 1);
	refuse_route(ROUTE(.method = OL_METHOD_GET, .path = "/a", .async = handler,
		.middleware = { middleware, NULL, NULL, middleware }), "GET /a: .middleware[3] stands behind a NULL");
}
END_TEST

START_TEST(a_mount_has_needs_and_middleware_only)
{
	refuse_route(ROUTE(.path = "/a", .mount = &leaf, .timeout = 1), "/a: a mount has .needs and .middleware only");
	refuse_route(ROUTE(.path = "/a", .mount = &leaf, .max_inflight = 1), ".needs and .middleware only");
	refuse_route(ROUTE(.path = "/a", .mount = &leaf, .needs = { &db }),
		"GET /a/leaf is .async but needs \"db\"");
}
END_TEST

static void refuse_override(const struct ol_override *o, size_t n, const char *what)
{
	static const struct ol_route some[] = { OL_GET("/", .sync = handler, .needs = { &user }) };
	const struct ol_app a = { OL_APP_INIT, OL_ROUTES(some), .overrides = o, .noverrides = n,
		.override_size = sizeof(*o) };

	check_refused(&a, what);
}

START_TEST(an_override_takes_the_needs_place_everywhere)
{
	static const struct ol_route routes[] = {
		OL_GET("/", .sync = handler, .needs = { &user, &db, &fake_db }),
		OL_GET("/async", .async = handler, .needs = { &user }),      /* what blocked has been replaced */
	};
	static const struct ol_override overrides[] = { { "db", &fake_db } };
	static const struct ol_app a = { OL_APP_INIT, OL_ROUTES(routes), OL_OVERRIDES(overrides) };

	ck_assert_msg(build(&a) == 0, "%s", err);
	ck_assert_str_eq(needs_of(0), "db user ");
	ck_assert_ptr_eq(built.all[0].chain->needs[0], &fake_db);
	ck_assert_ptr_eq(built.all[1].chain->needs[0], &fake_db);
}
END_TEST

START_TEST(overrides_that_cannot_be_are_refused)
{
	static const struct ol_need wraps = { .name = "db", .acquire = acquire, .needs = { &db } };

	refuse_override((struct ol_override[]){ { NULL, &fake_db } }, 1, "an override has no name");
	refuse_override((struct ol_override[]){ { "db", NULL } }, 1, "set .with");
	refuse_override((struct ol_override[]){ { "db", &clock_need } }, 1,
		"is called \"clock\": give it the same name");
	refuse_override((struct ol_override[]){ { "db", &nameless } }, 1, "give it the same name");
	refuse_override((struct ol_override[]){ { "db", &fake_db }, { "db", &db } }, 2, "\"db\" is declared twice");
	refuse_override((struct ol_override[]){ { "clock", &clock_need } }, 1,
		"override \"clock\": no route needs that");
	refuse_override((struct ol_override[]){ { "db", &wraps } }, 1, "goes in a circle");
}
END_TEST

static void refuse_on_error(const struct ol_on_error *on, size_t n, const char *what)
{
	static const struct ol_route some[] = { OL_GET("/", .async = handler) };
	const struct ol_app a = { OL_APP_INIT, OL_ROUTES(some), .on_error = on, .non_error = n,
		.on_error_size = sizeof(*on) };

	check_refused(&a, what);
}

START_TEST(error_handlers_are_one_for_each_error)
{
	static const struct ol_route routes[] = { OL_GET("/", .async = handler) };
	static const struct ol_on_error on[] = { { 400, handler }, { 599, handler } };
	static const struct ol_app a = { OL_APP_INIT, OL_ROUTES(routes), OL_ON_ERROR(on) };

	ck_assert_msg(build(&a) == 0, "%s", err);
	for (uint32_t i = 0; i <= built.n; i++) {
		ck_assert(chain_has_on_error(built.all[i].chain, 400));
		ck_assert(chain_has_on_error(built.all[i].chain, 599));
		ck_assert(!chain_has_on_error(built.all[i].chain, 404));
		ck_assert(!chain_has_on_error(built.all[i].chain, 399));
		ck_assert(!chain_has_on_error(built.all[i].chain, 600));
	}
	ck_assert_uint_eq(built.all[built.n].index, built.n);
	refuse_on_error((struct ol_on_error[]){ { 399, handler } }, 1,
		"on_error for 399: an error's status is in 400..599");
	refuse_on_error((struct ol_on_error[]){ { 600, handler } }, 1, "on_error for 600");
	refuse_on_error((struct ol_on_error[]){ { 404, NULL } }, 1, "on_error for 404 has no handler");
	refuse_on_error((struct ol_on_error[]){ { 404, handler }, { 404, handler } }, 2, "404 is declared twice");
}
END_TEST

START_TEST(admit_hooks_have_no_gap)
{
	static const struct ol_route routes[] = { OL_GET("/", .async = handler) };
	static const struct ol_app gap = { OL_APP_INIT, OL_ROUTES(routes), .admit = { handler, NULL, handler } };
	static const struct ol_app full = { OL_APP_INIT, OL_ROUTES(routes),
		.admit = { handler, handler, handler, handler, handler, handler, handler, handler } };

	check_refused(&gap, "admit[2] stands behind a NULL");
	ck_assert_msg(build(&full) == 0, "%s", err);
	ck_assert(built.admit[7] == handler && !built.admit[8]);
}
END_TEST

/* ---- apps of other ages ------------------------------------------------------------------------------------------ */

/* As a header of an earlier day would have declared it. */
struct old_route {
	enum ol_method method;
	const char *path;
	ol_handler *async, *sync;
};

/* And one of a later day. */
struct new_route {
	struct ol_route known;
	const char *unknown[4];
};

START_TEST(an_older_apps_routes_are_read_by_its_own_stride)
{
	static const struct old_route routes[] = {
		{ OL_METHOD_GET, "/one", handler, NULL }, { OL_METHOD_POST, "/two", NULL, handler } };
	const struct ol_app app = { OL_APP_INIT, .routes = (const struct ol_route *)(const void *)routes, .nroutes = 2,
		.route_size = sizeof(routes[0]) };

	ck_assert_msg(build(&app) == 0, "%s", err);
	ck_assert_str_eq(built.all[1].name, "POST /two");
	ck_assert_str_eq(built.all[1].pool_name, "default");
	ck_assert_uint_eq(built.all[1].body_max, 1000);
	ck_assert(!built.all[1].stream);
}
END_TEST

START_TEST(a_newer_apps_routes_are_read_as_far_as_we_know_them)
{
	static const struct new_route routes[] = {
		{ OL_GET("/one", .async = handler), { "a", "b", "c", "d" } },
		{ OL_GET("/two", .sync = handler), { "e", "f", "g", "h" } } };
	const struct ol_app app = { OL_APP_INIT, .routes = &routes[0].known, .nroutes = 2,
		.route_size = sizeof(routes[0]) };

	ck_assert_msg(build(&app) == 0, "%s", err);
	ck_assert_str_eq(built.all[1].name, "GET /two");
	ck_assert(built.all[1].pooled);
}
END_TEST

/* A route of each lane, and the one that none takes, as a model has them: lane, pool and stack. */
static void check_placed(enum config_model model, bool pooled, const char *pool, size_t stack)
{
	static const struct ol_route routes[] = { OL_GET("/a", .async = handler, .stack = (size_t)48 << 20),
		OL_GET("/s", .sync = handler, .pool = "db"), OL_GET("/d", .adaptive = handler, .queue_timeout = 7) };
	static const struct ol_pool pools[] = { { .name = "db", .threads = 2, .stack = (size_t)32 << 20 } };
	static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };
	struct config c = config;

	c.model = model;
	c.guard = GUARD_WARN;
	endpoints_free(&built);
	ck_assert_int_eq(endpoints_build(&built, &app, &c, err, sizeof(err)), 0);
	for (unsigned i = 0; i <= built.n; i++) {
		ck_assert_int_eq(built.all[i].pooled, pooled);
		ck_assert_pstr_eq(built.all[i].pool_name, pool);
		ck_assert(!pooled || built.all[i].pool_index == 0);
		ck_assert(built.all[i].by_model && !built.all[i].adaptive && !built.all[i].lane);
		ck_assert(pooled || built.all[i].stack >= stack);
	}
	ck_assert_str_eq(built.all[0].declared, "async");
	ck_assert_str_eq(built.all[1].declared, "sync");
	ck_assert_str_eq(built.all[2].declared, "adaptive");
	ck_assert(!pooled || built.pools[0].stack == stack);
	ck_assert(!pooled || built.all[2].queue_timeout_ns == 7 * NS_PER_MS);
}

START_TEST(a_model_has_every_handler_in_its_lane_on_as_much_stack_as_ever)
{
	check_placed(MODEL_ASGI, false, NULL, (size_t)32 << 20);
	ck_assert_uint_eq(built.all[0].stack, (size_t)48 << 20);
	check_placed(MODEL_TORNADO, false, NULL, (size_t)32 << 20);
	check_placed(MODEL_WSGI, true, "default", (size_t)48 << 20);
	check_placed(MODEL_WSGI_SYNC, true, "default", (size_t)48 << 20);
}
END_TEST

/* It runs on the default pool's threads then, and no route may say so. */
START_TEST(what_is_offloaded_to_a_pool_of_large_stacks_has_one_in_every_model)
{
	static const struct ol_route routes[] = { OL_GET("/a", .async = handler) };
	static const struct ol_pool pools[] = { { .name = "deep", .stack = (size_t)64 << 20 } };
	static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools) };
	struct config c = config;

	c.model = MODEL_WSGI;
	ck_assert_int_eq(endpoints_build(&built, &app, &c, err, sizeof(err)), 0);
	ck_assert_uint_eq(built.pools[0].stack, (size_t)64 << 20);
	c.model = MODEL_ASGI;
	endpoints_free(&built);
	ck_assert_int_eq(endpoints_build(&built, &app, &c, err, sizeof(err)), 0);
	ck_assert_uint_eq(built.all[0].stack, (size_t)64 << 20);
}
END_TEST

START_TEST(what_a_route_needs_is_checked_as_declared_in_every_model)
{
	static const struct ol_route good[] = { OL_GET("/s", .sync = handler, .needs = { &db }) };
	static const struct ol_route bad[] = { OL_GET("/a", .async = handler, .needs = { &db }) };
	const struct ol_app apps[] = { { OL_APP_INIT, OL_ROUTES(good) }, { OL_APP_INIT, OL_ROUTES(bad) } };

	for (int m = MODEL_HYBRID; m <= MODEL_WSGI_SYNC; m++) {
		struct config c = config;

		c.model = (enum config_model)m;
		endpoints_free(&built);
		ck_assert_int_eq(endpoints_build(&built, &apps[0], &c, err, sizeof(err)), 0);
		endpoints_free(&built);
		ck_assert_int_lt(endpoints_build(&built, &apps[1], &c, err, sizeof(err)), 0);
	}
}
END_TEST

START_TEST(many_routes_find_room)
{
	enum { MANY = 500 };
	static struct ol_route routes[MANY];
	static char paths[MANY][16];
	const struct ol_app app = { OL_APP_INIT, .routes = routes, .nroutes = MANY, .route_size = sizeof(routes[0]) };

	for (int i = 0; i < MANY; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/r%d", i);
		routes[i] = (struct ol_route)OL_GET(paths[i], .async = handler);
	}
	ck_assert_msg(build(&app) == 0, "%s", err);
	for (int i = 0; i < MANY; i++)
		ck_assert_str_eq(built.all[i].name + 4, paths[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("endpoints");
	TCase *one = tcase_create("one");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(one, NULL, tear_down);
	tcase_add_test(one, a_route_has_one_lane);
	tcase_add_test(one, a_route_has_a_method_a_path_and_a_pool_that_exists);
	tcase_add_test(one, an_app_has_routes);
	tcase_add_test(one, routes_that_could_not_be_told_apart_are_refused);
	tcase_add_test(one, pools_have_names_of_their_own_and_sizes_that_can_be);
	tcase_add_test(one, times_and_priorities_are_within_reason);
	tcase_add_test(one, a_routes_times_are_its_own_or_its_pools_or_the_servers);
	tcase_add_test(one, what_is_not_set_has_its_default);
	tcase_add_test(one, routers_are_mounted_under_their_prefixes);
	tcase_add_test(one, a_router_mounted_in_itself_is_refused);
	tcase_add_test(one, a_prefix_is_a_path_without_its_last_slash);
	tcase_add_test(one, needs_are_flattened_in_order_each_once);
	tcase_add_test(one, a_need_may_need_more_than_a_route_can_name);
	tcase_add_test(one, needs_that_cannot_be_are_refused);
	tcase_add_test(one, an_async_route_needs_nothing_that_blocks);
	tcase_add_test(one, middleware_is_strung_together_outermost_first);
	tcase_add_test(one, a_mount_has_needs_and_middleware_only);
	tcase_add_test(one, an_override_takes_the_needs_place_everywhere);
	tcase_add_test(one, overrides_that_cannot_be_are_refused);
	tcase_add_test(one, error_handlers_are_one_for_each_error);
	tcase_add_test(one, admit_hooks_have_no_gap);
	tcase_add_test(one, an_older_apps_routes_are_read_by_its_own_stride);
	tcase_add_test(one, a_newer_apps_routes_are_read_as_far_as_we_know_them);
	tcase_add_test(one, a_model_has_every_handler_in_its_lane_on_as_much_stack_as_ever);
	tcase_add_test(one, what_is_offloaded_to_a_pool_of_large_stacks_has_one_in_every_model);
	tcase_add_test(one, what_a_route_needs_is_checked_as_declared_in_every_model);
	tcase_add_test(one, many_routes_find_room);
	suite_add_tcase(suite, one);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
