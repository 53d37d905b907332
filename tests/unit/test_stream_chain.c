/* test_stream_chain.c: replies that are pulled, among what runs around a handler: needs stay until the source is
 * closed, middleware may still add to the reply, an error of the source is shown to the app, a deadline ends it all.
 *
 * What happens is written down in the order it happens, on whichever thread; the kernel is loop_script.h's.
 */
#include "rooms.h"

static char happened[200];          /* handlers run one at a time here: a job's end is seen by its message */

static void note(const char *what)
{
	size_t n = strlen(happened);

	snprintf(happened + n, sizeof(happened) - n, "%s ", what);
}

static int acquire(ol_req *r, void **value)
{
	(void)r;
	*value = happened;
	note("acquire");
	return 0;
}

static void release(ol_req *r, void *value)
{
	(void)value;
	note("release");
	ck_assert_int_eq(ol_status(r), 200);
}

static const struct ol_need need = { .name = "need", .acquire = acquire, .release = release };

static int64_t left;

static ssize_t pull(ol_req *r, void *arg, void *buf, size_t n)
{
	size_t k = left < (int64_t)n ? (size_t)left : n;

	(void)arg;
	note(ol_need_value(r, "need") ? "pull" : "bare-pull");
	memset(buf, 'p', k);
	left -= (int64_t)k;
	return (ssize_t)k;
}

static ssize_t pull_quietly(ol_req *r, void *arg, void *buf, size_t n)
{
	(void)r;
	(void)arg;
	memset(buf, 'p', n);
	return (ssize_t)n;
}

static ssize_t break_off(ol_req *r, void *arg, void *buf, size_t n)
{
	(void)r;
	(void)arg;
	(void)buf;
	(void)n;
	note("fail");
	return -EIO;
}

static void close_source(void *arg)
{
	(void)arg;
	note("close");
}

static int needy(ol_req *r)
{
	left = 10;
	return ol_pull(r, 200, NULL, pull, close_source, NULL);
}

static int failing(ol_req *r)
{
	return ol_pull(r, 200, NULL, break_off, close_source, NULL);
}

static const ol_req *pulled_for;    /* the last one */

static int endless(ol_req *r)
{
	pulled_for = r;
	return ol_pull(r, 200, NULL, pull_quietly, close_source, NULL);
}

static int label(ol_req *r, ol_next *next)
{
	int rc = ol_next_run(next, r);

	note("middleware");
	return rc < 0 ? rc : ol_header_set(r, "X-Label", "yes");
}

static int on_500(ol_req *r)
{
	note("on_error");
	return ol_pull(r, 500, NULL, ol_query(r, "again") ? break_off : pull_quietly, close_source, NULL);
}

static int on_500_short(ol_req *r)
{
	note("on_error");
	return ol_text(r, 503, "sorry\n");
}

static int admit(ol_req *r)
{
	if (!ol_query(r, "admit"))
		return 0;
	ck_assert_int_eq(ol_pull(r, 200, NULL, pull, close_source, NULL), -EDEADLK);
	ck_assert_int_eq(ol_events(r, 0), -EDEADLK);
	return ol_text(r, 200, "at the door\n");
}

#define BOTH(path_, fn_, ...)                                                                   \
	OL_GET("/a" path_, .async = fn_, __VA_ARGS__), OL_GET("/s" path_, .sync = fn_, __VA_ARGS__)
static const struct ol_route routes[] = {
	BOTH("/needy", needy, .needs = { &need }),
	BOTH("/failing", failing, .stack = 0), BOTH("/endless", endless, .timeout = 1000),
	BOTH("/added", endless, .middleware = { label }),
	OL_GET("/may/move", .adaptive = endless),
};
static const struct ol_on_error again[] = { { 500, on_500 } };
static const struct ol_on_error once[] = { { 500, on_500_short } };
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .admit = { admit }, OL_ON_ERROR(once) };
static const struct ol_app app_again = { OL_APP_INIT, OL_ROUTES(routes), OL_ON_ERROR(again) };

static struct rooms rooms;

static void set_up(void)
{
	happened[0] = '\0';
	rooms_up(&rooms, &app, NULL);
}

static void tear_down(void)
{
	rooms_down(&rooms);
}

static struct script_peer *ask(int lane, const char *path)
{
	char request[200];

	snprintf(request, sizeof(request), "GET %s%s HTTP/1.1\r\nHost: a\r\n\r\n", lane ? "/s" : "/a", path);
	return say(&rooms, NULL, request);
}

static void over(struct script_peer *p)
{
	UNTIL(&rooms, rooms.dispatch.nlive == 0 && !p->msg);
}

START_TEST(what_a_route_needs_is_released_behind_the_last_pull)
{
	struct script_peer *p = ask(_i, "/needy");

	over(p);
	ck_assert_str_eq(happened, "acquire pull pull close release ");
	ck_assert(heard_of(p, "\r\na\r\npppppppppp\r\n0\r\n\r\n"));
}
END_TEST

START_TEST(a_source_that_fails_at_once_is_shown_to_the_app)
{
	struct script_peer *p = ask(_i, "/failing");

	over(p);
	ck_assert_str_eq(happened, "fail close on_error ");
	ck_assert(heard_of(p, "HTTP/1.1 503 "));
	ck_assert(heard_of(p, "sorry\n"));
}
END_TEST

START_TEST(what_the_app_pulls_instead_is_not_shown_to_it_again)
{
	struct script_peer *p;

	tear_down();
	happened[0] = '\0';
	rooms_up(&rooms, &app_again, NULL);
	p = ask(_i, "/failing?again");
	over(p);
	ck_assert_str_eq(happened, "fail close on_error fail close ");
	ck_assert(heard_of(p, "HTTP/1.1 500 "));
	ck_assert(heard_of(p, "Internal Server Error"));
}
END_TEST

START_TEST(middleware_may_add_to_a_reply_that_is_to_be_pulled)
{
	struct script_peer *p;

	script_hold(rooms.loop, true, false);
	p = ask(_i, "/added");
	UNTIL(&rooms, p->msg);
	ck_assert_str_eq(happened, "middleware ");
	script_hold(rooms.loop, false, false);
	script_sent(p, 100);
	UNTIL(&rooms, heard_of(p, "X-Label: yes\r\n"));
	script_end(p, -ECONNRESET);
	over(p);
	ck_assert_str_eq(happened, "middleware close ");
}
END_TEST

START_TEST(a_deadline_ends_a_stream_that_has_left_its_thread)
{
	struct script_peer *p;
	struct pool_stats s;

	script_hold(rooms.loop, true, false);
	p = ask(_i, "/endless");
	UNTIL(&rooms, p->msg);
	UNTIL(&rooms, (pool_stats(rooms.shared.pools[0].pool, &s), s.running == 0));
	pass_ms(&rooms, 1100);
	script_hold(rooms.loop, false, false);
	script_sent(p, 50);
	UNTIL(&rooms, p->closed);
	over(p);
	ck_assert_str_eq(happened, "close ");
	ck_assert(!heard_of(p, "\r\n0\r\n"));
}
END_TEST

START_TEST(who_measures_a_run_is_not_told_of_a_stream_that_has_left_its_thread)
{
	struct script_peer *p;
	struct pool_stats s;

	script_hold(rooms.loop, true, false);
	p = say(&rooms, NULL, "GET /may/move HTTP/1.1\r\nHost: a\r\n\r\n");
	UNTIL(&rooms, p->msg);
	UNTIL(&rooms, (pool_stats(rooms.shared.pools[0].pool, &s), s.running == 0));
	ck_assert(!pulled_for->park->pauses);
	script_hold(rooms.loop, false, false);
	script_sent(p, 100);
	for (int i = 0; i < 50; i++)
		turn(&rooms);
	script_end(p, -ECONNRESET);
	over(p);
	ck_assert_str_eq(happened, "close ");
}
END_TEST

START_TEST(nothing_is_pulled_at_the_door)
{
	struct script_peer *p = ask(_i, "/needy?admit");

	over(p);
	ck_assert(heard_of(p, "at the door\n"));
	ck_assert_str_eq(happened, "close ");
}
END_TEST

int main(void)
{
	TCase *all = tcase_create("all");
	TCase *cases[] = { all };

	tcase_add_checked_fixture(all, set_up, tear_down);
	tcase_add_loop_test(all, what_a_route_needs_is_released_behind_the_last_pull, 0, 2);
	tcase_add_loop_test(all, a_source_that_fails_at_once_is_shown_to_the_app, 0, 2);
	tcase_add_loop_test(all, what_the_app_pulls_instead_is_not_shown_to_it_again, 0, 2);
	tcase_add_loop_test(all, middleware_may_add_to_a_reply_that_is_to_be_pulled, 0, 2);
	tcase_add_loop_test(all, a_deadline_ends_a_stream_that_has_left_its_thread, 0, 2);
	tcase_add_test(all, who_measures_a_run_is_not_told_of_a_stream_that_has_left_its_thread);
	tcase_add_loop_test(all, nothing_is_pulled_at_the_door, 0, 2);
	return rooms_suite("stream_chain", cases, 1);
}
