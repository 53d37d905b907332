/* test_endpoints.c: what is refused at start, in one line that says what would be right; and what the tables become. */
#include "endpoints.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct endpoints built;
static struct config config = { .pool_threads = 3, .pool_queue = 5, .body_max = 1000 };
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
		".pool is for .sync");
}
END_TEST

START_TEST(a_route_has_a_method_a_path_and_a_pool_that_exists)
{
	refuse_route(ROUTE(.path = "/a", .async = handler), "needs a method and a path");
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
	refuse_pools((struct ol_pool[]){ { .name = "a" }, { .name = "a" } }, 2, "\"a\" is declared twice");
	refuse_pools((struct ol_pool[]){ { .name = "a", .threads = 10001 } }, 1, "10001 threads");
	refuse_pools((struct ol_pool[]){ { .name = "a", .queue = 10000001 } }, 1, "a queue of 10000001");
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
	ck_assert_uint_eq(built.npools, 3);
	ck_assert_str_eq(built.pools[0].name, "default");
	ck_assert_uint_eq(built.pools[0].threads, 3);
	ck_assert_uint_eq(built.pools[0].queue, 5);
	ck_assert_uint_eq(built.pools[1].threads, 40);
	ck_assert_uint_eq(built.pools[1].queue, 1024);
	ck_assert_uint_eq(built.pools[2].threads, 7);
	ck_assert_uint_eq(built.pools[2].queue, 8);
	ck_assert_uint_eq(built.n, 3);
	ck_assert_str_eq(built.all[0].name, "GET /one");
	ck_assert(!built.all[0].sync);
	ck_assert_ptr_null(built.all[0].pool_name);
	ck_assert_uint_eq(built.all[0].body_max, 1000);
	ck_assert_uint_eq(built.all[1].body_max, 7);
	ck_assert(built.all[1].sync && built.all[1].stream);
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
	ck_assert(built.all[1].sync);
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
	tcase_add_test(one, what_is_not_set_has_its_default);
	tcase_add_test(one, routers_are_mounted_under_their_prefixes);
	tcase_add_test(one, a_router_mounted_in_itself_is_refused);
	tcase_add_test(one, a_prefix_is_a_path_without_its_last_slash);
	tcase_add_test(one, an_older_apps_routes_are_read_by_its_own_stride);
	tcase_add_test(one, a_newer_apps_routes_are_read_as_far_as_we_know_them);
	tcase_add_test(one, many_routes_find_room);
	suite_add_tcase(suite, one);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
