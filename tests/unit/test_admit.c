/* test_admit.c: hooks that are asked before a request's body is read; and what goes with a request wherever it goes:
 * its values, and whose it is (ol_current).
 */
#include "rooms.h"

#include <semaphore.h>

static struct rooms rooms;
static int (*script)(ol_req *r);        /* what the first hook does; NULL: lets all pass */
static unsigned asked, second_asked, runs;
static int results[32], nresults;
static ol_req *waiting[2];
static unsigned nwaiting;
static ol_handle kept;
static char mark;                       /* something to point to */

static int first_hook(ol_req *r)
{
	asked++;
	ck_assert_ptr_eq(ol_current(), r);
	return script ? script(r) : 0;
}

static int second_hook(ol_req *r)
{
	(void)r;
	second_asked++;
	return 0;
}

static int handler(ol_req *r)
{
	runs++;
	return ol_textf(r, 200, "handled %s\n", ol_value(r, "who") ? (char *)ol_value(r, "who") : "nobody");
}

static int latching(ol_req *r)
{
	(void)r;
	runs++;
	return -1;
}

static int error_handler(ol_req *r)
{
	return ol_text(r, 200, "no hook's answer comes here\n");
}

/* ---- whose code runs --------------------------------------------------------------------------------------------- */

static int look(void *arg)
{
	ck_assert_ptr_eq(ol_current(), arg);
	ck_assert_ptr_eq(ol_value(arg, "mark"), &mark);
	return ol_value_set(arg, "from-offload", &mark);
}

static int look_twice(void *arg)
{
	int rc = ol_offload(arg, "later", look, arg);

	ck_assert_ptr_eq(ol_current(), arg);
	return rc;
}

static int current(ol_req *r)
{
	int rc;

	ck_assert_ptr_eq(ol_current(), r);
	ck_assert_ptr_null(ol_value(r, "mark"));
	ck_assert_int_eq(ol_value_set(r, "mark", r), 0);
	ck_assert_int_eq(ol_value_set(r, "other", r), 0);
	ck_assert_int_eq(ol_value_set(r, "mark", &mark), 0);
	ck_assert_int_eq(ol_offload(r, NULL, look, r), 0);
	ck_assert_ptr_eq(ol_current(), r);
	ck_assert_int_eq(ol_offload(r, NULL, look_twice, r), 0);
	ck_assert_ptr_eq(ol_current(), r);
	ck_assert_ptr_eq(ol_value(r, "from-offload"), &mark);
	ck_assert_ptr_eq(ol_value(r, "other"), r);
	ck_assert_int_eq(ol_value_set(r, "other", NULL), 0);
	ck_assert_ptr_null(ol_value(r, "other"));
	waiting[nwaiting++] = r;
	rc = ol_query(r, "wait") ? ol_wait(r, -1) : 0;
	ck_assert_ptr_eq(ol_current(), r);
	runs++;
	return rc < 0 ? rc : ol_text(r, 200, "mine\n");
}

static const struct ol_route routes[] = {
	OL_GET("/", .async = handler),
	OL_POST("/", .async = handler),
	OL_POST("/small", .async = handler, .body_max = 5),
	OL_POST("/up", .sync = handler, .stream = 1),
	OL_GET("/int/{n:int}", .async = handler, .data = &mark),
	OL_GET("/latching", .async = latching),
	OL_GET("/current/async", .async = current),
	OL_GET("/current/sync", .sync = current),
};
static const struct ol_on_error on_errors[] = { { 429, error_handler }, { 500, error_handler } };
static const struct ol_pool pools[] = { { .name = "later", .threads = 1 } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools),
	.admit = { first_hook, second_hook }, OL_ON_ERROR(on_errors) };

static void set_up(void)
{
	script = NULL;
	asked = second_asked = runs = nresults = nwaiting = 0;
	rooms_up(&rooms, &app, NULL);
}

static void tear_down(void)
{
	rooms_down(&rooms);
	ck_assert_ptr_null(ol_current());
}

static void check_counts(unsigned first, unsigned second, unsigned handlers, unsigned refused)
{
	ck_assert_uint_eq(asked, first);
	ck_assert_uint_eq(second_asked, second);
	ck_assert_uint_eq(runs, handlers);
	ck_assert_uint_eq(counted(&rooms, METRIC_REFUSED_BY_ADMIT), refused);
}

/* ---- admission --------------------------------------------------------------------------------------------------- */

static int too_many(ol_req *r)
{
	int rc = ol_header_set(r, "Retry-After", "7");

	return rc < 0 ? rc : ol_error(r, 429, "Slow down");
}

static int fails(ol_req *r)
{
	(void)r;
	return -EIO;
}

static int positive(ol_req *r)
{
	(void)r;
	return 3;
}

static int undeclared(ol_req *r)
{
	(void)ol_param(r, "nonesuch");
	return 0;
}

static int latches(ol_req *r)
{
	return ol_invalid(r, "header", "x-key", "field required", "value_error.missing");
}

static int latches_and_passes(ol_req *r)
{
	return latches(r) < 0 ? 0 : -1;
}

START_TEST(a_request_that_all_hooks_let_pass_is_handled)
{
	ck_assert(heard_of(say(&rooms, NULL, GET("/")), "handled nobody\n"));
	check_counts(1, 1, 1, 0);
	say(&rooms, NULL, GET("/none"));        /* no route: no hook */
	check_counts(1, 1, 1, 0);
}
END_TEST

START_TEST(the_first_hook_that_replies_has_answered)
{
	struct script_peer *p;

	script = too_many;
	p = say(&rooms, NULL, GET("/"));
	ck_assert(heard_of(p, "HTTP/1.1 429 "));
	ck_assert(heard_of(p, "\r\nRetry-After: 7\r\n"));
	ck_assert(heard_of(p, "{\"detail\":\"Slow down\"}"));
	check_counts(1, 0, 0, 1);
	script = NULL;
	forget_heard(p);
	say(&rooms, p, GET("/"));
	ck_assert(heard_of(p, "handled nobody\n"));
}
END_TEST

START_TEST(a_refusal_does_not_wait_for_the_body)
{
	static const char *const paths[] = { "/", "/up" };

	script = too_many;
	for (int i = 0; i < 2; i++) {
		char head[200];
		struct script_peer *p;

		snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nfour", paths[i]);
		script = too_many;
		p = say(&rooms, NULL, head);
		ck_assert(heard_of(p, "HTTP/1.1 429 "));
		forget_heard(p);
		script = NULL;
		say(&rooms, p, "more" GET("/"));
		ck_assert_msg(heard_of(p, "handled nobody\n"), "%s", heard(p));
	}
	script = too_many;
	ck_assert(heard_of(say(&rooms, NULL,
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n"), "HTTP/1.1 429 "));
}
END_TEST

START_TEST(hooks_are_asked_before_anything_else_is_answered)
{
	script = too_many;
	ck_assert(heard_of(say(&rooms, NULL, GET("/int/x")), "HTTP/1.1 429 "));
	ck_assert(heard_of(say(&rooms, NULL,
		"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"), "HTTP/1.1 429 "));
	script = NULL;
	ck_assert(heard_of(say(&rooms, NULL, GET("/int/x")), "HTTP/1.1 422 "));
	ck_assert(heard_of(say(&rooms, NULL,
		"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"), "HTTP/1.1 413 "));
	check_counts(4, 2, 0, 2);
}
END_TEST

START_TEST(a_hook_that_fails_refuses_as_a_handler_does)
{
	script = fails;
	ck_assert(heard_of(say(&rooms, NULL, GET("/")), "HTTP/1.1 500 "));
	script = positive;
	ck_assert(heard_of(say(&rooms, NULL, GET("/")), "HTTP/1.1 500 "));
	script = undeclared;
	ck_assert(heard_of(say(&rooms, NULL, GET("/")), "{\"detail\":\"Internal Server Error\"}"));
	script = latches;
	ck_assert(heard_of(say(&rooms, NULL, GET("/")), "\"loc\":[\"header\",\"x-key\"]"));
	check_counts(4, 0, 0, 4);
}
END_TEST

START_TEST(what_a_hook_latches_does_not_stay_when_it_lets_the_request_pass)
{
	script = latches_and_passes;
	ck_assert(heard_of(say(&rooms, NULL, GET("/")), "handled nobody\n"));
	ck_assert(heard_of(say(&rooms, NULL, GET("/int/x")), "\"loc\":[\"path\",\"n\"]"));
	ck_assert(heard_of(say(&rooms, NULL, GET("/latching")), "no hook's answer"));   /* a 500 of the handler's */
	check_counts(3, 3, 2, 0);
}
END_TEST

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static ssize_t note_n(ssize_t rc)
{
	results[nresults++] = (int)rc;
	return rc;
}

static int suspends(ol_req *r)
{
	static ol_sem sem = OL_SEM_INIT(1);
	static ol_mutex mutex = OL_MUTEX_INIT;
	char buf[4];

	note_n(ol_sleep(r, 1));
	note_n(ol_wait(r, 1));
	note_n(ol_sem_wait(r, &sem, 0));
	note_n(ol_mutex_lock(r, &mutex));
	note_n(ol_offload(r, NULL, nothing, NULL));
	note_n(ol_body_read(r, buf, sizeof(buf)));
	note_n(ol_body(r, NULL) == NULL && ol_body_json(r) == NULL ? -EDEADLK : 0);
	note_n(ol_stream(r, 200, NULL) < 0 ? 0 : ol_write(r, "x", 1));
	return ol_empty(r, 204);
}

START_TEST(what_would_suspend_does_not_in_a_hook)
{
	struct script_peer *p;

	script = suspends;
	p = say(&rooms, NULL, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
	ck_assert(heard_of(p, "HTTP/1.1 204 "));
	ck_assert_int_eq(nresults, 8);
	for (int i = 0; i < nresults; i++)
		ck_assert_msg(results[i] == -EDEADLK, "%d gave %d", i, results[i]);
}
END_TEST

static int asks(ol_req *r)
{
	size_t n = 1;

	ck_assert_str_eq(ol_header(r, "Host"), "a");
	ck_assert_ptr_nonnull(ol_remote(r));
	ck_assert_str_eq(ol_path(r), "/int/5");
	ck_assert_str_eq(ol_route_path(r), "/int/{n:int}");
	ck_assert_ptr_eq(ol_route_data(r), &mark);
	ck_assert_int_eq(ol_param_int(r, "n"), 5);
	ck_assert_str_eq(ol_query(r, "q"), "z");
	ck_assert_str_eq(ol_method(r), "GET");
	ck_assert_int_eq(ol_status(r), 0);
	ck_assert_str_eq(ol_body(r, &n), "");   /* there is none */
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(ol_header_set(r, "X-Left", "3"), 0);
	return ol_value_set(r, "who", ol_strdup(r, "the hook's"));
}

START_TEST(a_hook_reads_the_request_and_leaves_values_and_fields)
{
	struct script_peer *p;

	script = asks;
	p = say(&rooms, NULL, GET("/int/5?q=z"));
	ck_assert(heard_of(p, "handled the hook's\n"));
	ck_assert(heard_of(p, "\r\nX-Left: 3\r\n"));
}
END_TEST

static int keeps(ol_req *r)
{
	kept = ol_handle_of(r);
	return 0;
}

static void wake_it(ol_req *r, void *arg)
{
	(void)arg;
	ck_assert_ptr_null(ol_current());
	if (r)
		ol_wake(r);
}

START_TEST(a_request_that_is_not_yet_handled_may_be_woken)
{
	struct script_peer *p;

	script = keeps;
	p = say(&rooms, NULL, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
	ck_assert_int_eq(ol_post(kept, wake_it, NULL), 0);
	turn(&rooms);
	say(&rooms, p, "dy");
	ck_assert(heard_of(p, "handled nobody\n"));
}
END_TEST

/* ---- whose ------------------------------------------------------------------------------------------------------- */

START_TEST(code_knows_whose_it_is_in_both_lanes_and_in_the_pools_it_goes_to)
{
	struct script_peer *p = say(&rooms, NULL, GET("/current/sync"));

	UNTIL(&rooms, heard_of(p, "mine\n"));
	p = say(&rooms, NULL, GET("/current/async"));
	UNTIL(&rooms, heard_of(p, "mine\n"));
	ck_assert_ptr_null(ol_current());
}
END_TEST

START_TEST(a_fiber_that_goes_on_has_its_own_request_again)
{
	struct script_peer *p[2];

	for (unsigned i = 0; i < 2; i++) {
		p[i] = say(&rooms, NULL, GET("/current/async?wait=1"));
		UNTIL(&rooms, nwaiting == i + 1);
		ck_assert_ptr_null(ol_current());
	}
	for (int i = 1; i >= 0; i--) {
		ol_wake(waiting[i]);
		UNTIL(&rooms, heard_of(p[i], "mine\n"));
	}
	check_counts(2, 2, 2, 0);
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one");
	TCase *cases[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, a_request_that_all_hooks_let_pass_is_handled);
	tcase_add_test(one, the_first_hook_that_replies_has_answered);
	tcase_add_test(one, a_refusal_does_not_wait_for_the_body);
	tcase_add_test(one, hooks_are_asked_before_anything_else_is_answered);
	tcase_add_test(one, a_hook_that_fails_refuses_as_a_handler_does);
	tcase_add_test(one, what_a_hook_latches_does_not_stay_when_it_lets_the_request_pass);
	tcase_add_test(one, what_would_suspend_does_not_in_a_hook);
	tcase_add_test(one, a_hook_reads_the_request_and_leaves_values_and_fields);
	tcase_add_test(one, a_request_that_is_not_yet_handled_may_be_woken);
	tcase_add_test(one, code_knows_whose_it_is_in_both_lanes_and_in_the_pools_it_goes_to);
	tcase_add_test(one, a_fiber_that_goes_on_has_its_own_request_again);
	return rooms_suite("admit", cases, sizeof(cases) / sizeof(cases[0]));
}
