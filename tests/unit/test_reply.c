/* test_reply.c: what a handler says, what it may take back, and what comes of its return value. */
#include "rooms.h"

#include <math.h>

static struct rooms rooms;
static int results[64], nresults;
static unsigned released[8];
static int (*script)(ol_req *r);        /* what the handler does */

static void note(int rc)
{
	results[nresults++] = rc;
}

static void release(void *arg)
{
	++*(unsigned *)arg;
}

static int run_script(ol_req *r)
{
	return script(r);
}

static const struct ol_route routes[] = {
	OL_GET("/a/{name}", .async = run_script),
	OL_GET("/s/{name}", .sync = run_script),
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

static void set_up(void)
{
	nresults = 0;
	memset(released, 0, sizeof(released));
	rooms_up(&rooms, &app, NULL);
}

static void tear_down(void)
{
	rooms_down(&rooms);
}

/* Asks in one lane; the whole reply. */
static const char *ask_with(const char *request, int (*fn)(ol_req *r))
{
	struct script_peer *p;

	nresults = 0;
	memset(released, 0, sizeof(released));
	script = fn;
	p = say(&rooms, NULL, request);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	turn(&rooms);
	return heard(p);
}

static const char *ask(int (*fn)(ol_req *r))
{
	(void)ask_with(GET("/s/x"), fn);
	return ask_with(GET("/a/x"), fn);
}

static void check_status(const char *reply, int status)
{
	char line[32];

	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	ck_assert_msg(strncmp(reply, line, strlen(line)) == 0, "not %d: %s", status, reply);
}

static const char *body_of(const char *reply)
{
	return strstr(reply, "\r\n\r\n") + 4;
}

static bool has_line(const char *reply, const char *line)
{
	char text[300];
	const char *end = body_of(reply), *at;

	snprintf(text, sizeof(text), "\r\n%s\r\n", line);
	at = strstr(reply, text);
	return at && at < end;
}

/* ---- return values ----------------------------------------------------------------------------------------------- */

static int reply_then_fail(ol_req *r)
{
	(void)!ol_header_set(r, "X-Secret", "1");
	(void)!ol_text(r, 200, "secret\n");
	return -EIO;
}

static int reply_then_positive(ol_req *r)
{
	(void)!ol_text(r, 200, "secret\n");
	return 1;
}

static int no_reply(ol_req *r)
{
	(void)r;
	return 0;
}

static int latch_422(ol_req *r)
{
	(void)!ol_text(r, 200, "secret\n");
	(void)ol_invalid(r, "query", "q\"", "first", "t.1");
	return ol_invalid(r, "body", NULL, "second", "t.2");
}

static int latch_422_and_reply(ol_req *r)
{
	(void)ol_invalid(r, "query", "q", "m", "t");
	return ol_text(r, 200, "after all\n");
}

static int undeclared(ol_req *r)
{
	(void)ol_param(r, "nmae");
	return ol_text(r, 200, "secret\n");
}

static int undeclared_number(ol_req *r)
{
	ck_assert_int_eq(ol_param_int(r, "no"), 0);
	ck_assert(fpclassify(ol_param_float(r, "no")) == FP_ZERO);
	return ol_invalid(r, "query", "q", "m", "t");
}

START_TEST(a_500_tells_the_client_nothing)
{
	int (*const failing[])(ol_req *) = { reply_then_fail, reply_then_positive, no_reply, undeclared,
		undeclared_number };

	for (size_t i = 0; i < sizeof(failing) / sizeof(failing[0]); i++) {
		uint64_t before = counted(&rooms, METRIC_HANDLER_ERRORS);
		const char *reply = ask(failing[i]);

		check_status(reply, 500);
		ck_assert_str_eq(body_of(reply), "{\"detail\":\"Internal Server Error\"}");
		ck_assert(!has_line(reply, "X-Secret: 1"));
		ck_assert_uint_eq(counted(&rooms, METRIC_HANDLER_ERRORS), before + 2);
	}
}
END_TEST

START_TEST(a_latched_status_is_the_reply_of_who_returns_below_zero)
{
	const char *reply = ask(latch_422);

	check_status(reply, 422);
	ck_assert_str_eq(body_of(reply), "{\"detail\":["
		"{\"loc\":[\"query\",\"q\\\"\"],\"msg\":\"first\",\"type\":\"t.1\"},"
		"{\"loc\":[\"body\"],\"msg\":\"second\",\"type\":\"t.2\"}]}");
	check_status(ask(latch_422_and_reply), 200);
}
END_TEST

/* ---- replacing --------------------------------------------------------------------------------------------------- */

static int replace(ol_req *r)
{
	note(ol_text(r, 200, "one\n"));
	note(ol_header_set(r, "X-Kept", "yes"));
	note(ol_json_new(r, 201, json_pack("{s:i}", "two", 2)));
	note(ol_error(r, 404, "three"));
	note(ol_stream(r, 200, NULL));
	return ol_text(r, 202, "last\n");
}

START_TEST(the_last_reply_is_the_one_and_fields_stay)
{
	const char *reply = ask(replace);

	check_status(reply, 202);
	ck_assert_str_eq(body_of(reply), "last\n");
	ck_assert(has_line(reply, "X-Kept: yes"));
	ck_assert(has_line(reply, "Content-Type: text/plain; charset=utf-8"));
	ck_assert(has_line(reply, "Content-Length: 5"));
	for (int i = 0; i < nresults; i++)
		ck_assert_int_eq(results[i], 0);
}
END_TEST

static int fail_to_replace(ol_req *r)
{
	note(ol_text(r, 200, "kept\n"));
	note(ol_text(r, 199, "x"));
	note(ol_text(r, 600, "x"));
	note(ol_json(r, 200, NULL));
	note(ol_json_new(r, 99, json_object()));
	note(ol_bytes(r, 200, "a\r\nb", "x", 1));
	note(ol_bytes_new(r, 200, "a\nb", "x", 1, release, &released[0]));
	note(ol_redirect(r, 304, "/"));
	note(ol_redirect(r, 302, "/\r\nX: y"));
	note(ol_stream(r, 0, NULL));
	note(ol_json_new(r, 200, json_real(1.5)));
	return ol_text(r, 200, "kept\n");
}

static int fail_and_keep(ol_req *r)
{
	note(ol_bytes_new(r, 200, NULL, "kept\n", 5, release, &released[0]));
	note(ol_json(r, 200, NULL));
	note(ol_redirect(r, 302, "/\r\n"));
	note(ol_bytes_new(r, 1000, NULL, "x", 1, release, &released[1]));
	note((int)released[0]);
	return 0;
}

START_TEST(a_reply_that_cannot_be_leaves_the_one_there_was)
{
	const char *reply = ask(fail_to_replace);

	check_status(reply, 200);
	for (int i = 1; i < 10; i++)
		ck_assert_int_lt(results[i], 0);
	ck_assert_uint_eq(released[0], 1);
	reply = ask(fail_and_keep);
	ck_assert_str_eq(body_of(reply), "kept\n");
	ck_assert_int_eq(results[4], 0);
	ck_assert_uint_eq(released[0], 1);
	ck_assert_uint_eq(released[1], 1);
}
END_TEST

static int after_commit(ol_req *r)
{
	note(ol_stream(r, 200, NULL));
	note(ol_header_set(r, "X-Early", "yes"));
	note(ol_write(r, "x", 1));
	note(ol_text(r, 500, "late"));
	note(ol_header_set(r, "X-Late", "yes"));
	note(ol_bytes_new(r, 200, NULL, "x", 1, release, &released[0]));
	note(ol_stream(r, 200, NULL));
	note(ol_error(r, 500, "late"));
	note(ol_empty(r, 204));
	note(ol_redirect(r, 302, "/"));
	note(ol_trailer_set(r, "X-Trailer", "end"));
	return 0;
}

START_TEST(what_comes_after_the_first_write_is_refused)
{
	const char *reply = ask(after_commit);

	check_status(reply, 200);
	for (int i = 3; i < 10; i++)
		ck_assert_int_eq(results[i], -EALREADY);
	ck_assert_int_eq(results[10], 0);
	ck_assert(has_line(reply, "X-Early: yes"));
	ck_assert(!has_line(reply, "X-Late: yes"));
	ck_assert_str_eq(body_of(reply), "1\r\nx\r\n0\r\nX-Trailer: end\r\n\r\n");
	ck_assert_uint_eq(released[0], 1);
}
END_TEST

/* ---- borrowed memory --------------------------------------------------------------------------------------------- */

static int borrow_thrice(ol_req *r)
{
	note(ol_bytes_new(r, 200, NULL, "one", 3, release, &released[0]));
	note(ol_bytes_new(r, 200, NULL, "two", 3, release, &released[1]));
	note((int)released[0]);
	note((int)released[1]);
	return ol_bytes_new(r, 200, "application/x", "three", 5, release, &released[2]);
}

static int borrow_and_fail(ol_req *r)
{
	(void)!ol_bytes_new(r, 200, NULL, "one", 3, release, &released[0]);
	return -EIO;
}

static int borrow_then_stream(ol_req *r)
{
	(void)!ol_bytes_new(r, 200, NULL, "one", 3, release, &released[0]);
	return ol_stream(r, 200, NULL) < 0 ? -1 : ol_write(r, "two", 3);
}

static int borrow_for_ever(ol_req *r)
{
	return ol_bytes_new(r, 200, NULL, "literal\n", 8, NULL, NULL);
}

static int borrow_nothing(ol_req *r)
{
	return ol_bytes_new(r, 200, NULL, NULL, 0, release, &released[0]);
}

START_TEST(borrowed_memory_is_given_back_once)
{
	const char *reply = ask(borrow_thrice);

	ck_assert_str_eq(body_of(reply), "three");
	ck_assert(has_line(reply, "Content-Type: application/x"));
	ck_assert_int_eq(results[2], 1);
	ck_assert_int_eq(results[3], 0);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(released[i], 1);
	check_status(ask(borrow_and_fail), 500);
	ck_assert_uint_eq(released[0], 1);
	ck_assert_str_eq(body_of(ask(borrow_then_stream)), "3\r\ntwo\r\n0\r\n\r\n");
	ck_assert_uint_eq(released[0], 1);
	ck_assert_str_eq(body_of(ask(borrow_for_ever)), "literal\n");
	ck_assert(has_line(ask(borrow_nothing), "Content-Length: 0"));
	ck_assert_uint_eq(released[0], 1);
	(void)ask_with("HEAD /a/x HTTP/1.1\r\nHost: a\r\n\r\n", borrow_thrice);
	ck_assert_uint_eq(released[2], 1);
}
END_TEST

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static int fields(ol_req *r)
{
	note(ol_header_set(r, "X-A", "1"));
	note(ol_header_add(r, "x-a", "2"));
	note(ol_header_add(r, "X-B", ""));
	note(ol_header_set(r, "X-C", "old"));
	note(ol_header_set(r, "x-c", "new"));
	note(ol_header_add(r, "X-D", "tab\tand \xc3\xa9"));
	note(ol_header_set(r, "content-TYPE", "image/x"));
	note(ol_cookie_set(r, "c", "v", "Path=/; HttpOnly"));
	note(ol_cookie_set(r, "d", "", NULL));
	return ol_text(r, 200, "x");
}

static int wrong_fields(ol_req *r)
{
	static const char *const names[] = { "", "a b", "a:", "a\r", "\xc3\xa9", "X\n", "(x)" };
	static const char *const values[] = { "\r\nX: y", "a\nb", "a\rb", "\x01", "\x7f" };
	static const char *const reserved[] = { "Content-Length", "transfer-encoding", "Connection", "DATE",
		"Trailer" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		note(ol_header_add(r, names[i], "v") == -EINVAL ? 0 : -1);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		note(ol_header_set(r, "X-V", values[i]) == -EINVAL ? 0 : -1);
		note(ol_cookie_set(r, "c", values[i], NULL) == -EINVAL ? 0 : -1);
		note(ol_cookie_set(r, "c", "v", values[i]) == -EINVAL ? 0 : -1);
	}
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		note(ol_header_set(r, reserved[i], "v") == -EPERM ? 0 : -1);
	note(ol_cookie_set(r, "c;", "v", NULL) == -EINVAL ? 0 : -1);
	note(ol_cookie_set(r, "c", "a;b", NULL) == -EINVAL ? 0 : -1);
	note(ol_trailer_set(r, "X-T", "v") == -EINVAL ? 0 : -1); /* no stream */
	return ol_text(r, 200, "clean");
}

START_TEST(fields_are_set_added_and_replaced)
{
	const char *reply = ask(fields);

	for (int i = 0; i < nresults; i++)
		ck_assert_int_eq(results[i], 0);
	ck_assert(has_line(reply, "X-A: 1"));
	ck_assert(has_line(reply, "x-a: 2"));
	ck_assert(has_line(reply, "x-c: new"));
	ck_assert(!has_line(reply, "X-C: old"));
	ck_assert(has_line(reply, "X-D: tab\tand \xc3\xa9"));
	ck_assert(has_line(reply, "Content-Type: image/x"));
	ck_assert(has_line(reply, "Set-Cookie: c=v; Path=/; HttpOnly"));
	ck_assert(has_line(reply, "Set-Cookie: d="));
}
END_TEST

START_TEST(nothing_that_could_end_a_line_gets_into_a_field)
{
	const char *reply = ask(wrong_fields);

	for (int i = 0; i < nresults; i++)
		ck_assert_msg(results[i] == 0, "the %d. was accepted", i);
	ck_assert_str_eq(body_of(reply), "clean");
	ck_assert_ptr_null(strstr(reply, "X-V"));
	ck_assert_ptr_null(strstr(reply, "Set-Cookie"));
}
END_TEST

/* ---- kinds of replies -------------------------------------------------------------------------------------------- */

static int empty(ol_req *r)
{
	return ol_empty(r, 204);
}

static int redirect(ol_req *r)
{
	return ol_redirect(r, 303, "/else?x=1");
}

static int deep(ol_req *r)
{
	json_t *v = json_array();

	for (int i = 0; i < 5000; i++) {
		json_t *outer = json_array();

		json_array_append_new(outer, v);
		v = outer;
	}
	return ol_json_new(r, 200, v);
}

static int own_error(ol_req *r)
{
	return ol_error(r, 418, "a \"pot\"\n");
}

static int stream_nothing(ol_req *r)
{
	return ol_stream(r, 200, "text/csv");
}

static int stream_writes_nothing(ol_req *r)
{
	note(ol_stream(r, 200, "text/csv"));
	note(ol_write(r, "", 0));
	return results[1];
}

static int write_without_stream(ol_req *r)
{
	note(ol_write(r, "x", 1));
	return ol_text(r, 200, "x");
}

static int formatted(ol_req *r)
{
	return ol_textf(r, 200, "%s %d", ol_param(r, "name"), 7);
}

START_TEST(each_kind_of_reply_is_framed_as_it_should)
{
	const char *reply = ask(empty);

	check_status(reply, 204);
	ck_assert_ptr_null(strstr(reply, "Content-Length"));
	reply = ask(redirect);
	check_status(reply, 303);
	ck_assert(has_line(reply, "Location: /else?x=1"));
	check_status(ask(deep), 500);
	reply = ask(own_error);
	check_status(reply, 418);
	ck_assert_str_eq(body_of(reply), "{\"detail\":\"a \\\"pot\\\"\\n\"}");
	ck_assert_str_eq(body_of(ask(stream_nothing)), "0\r\n\r\n");
	ck_assert_str_eq(body_of(ask(stream_writes_nothing)), "0\r\n\r\n");
	(void)ask(write_without_stream);
	ck_assert_int_eq(results[0], -EINVAL);
	ck_assert_str_eq(body_of(ask(formatted)), "x 7");
	reply = ask_with("HEAD /a/x HTTP/1.1\r\nHost: a\r\n\r\n", formatted);
	ck_assert(has_line(reply, "Content-Length: 3"));
	ck_assert_str_eq(body_of(reply), "");
	reply = ask_with("HEAD /a/x HTTP/1.1\r\nHost: a\r\n\r\n", borrow_then_stream);
	check_status(reply, 200);
	ck_assert_str_eq(body_of(reply), "");
}
END_TEST

static int big_text(ol_req *r)
{
	char *p = ol_alloc(r, 300001);

	memset(p, 'y', 300000);
	p[300000] = '\0';
	return ol_text(r, 200, p);
}

static int many_fields(ol_req *r)
{
	char name[32];

	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "X-%d", i);
		if (ol_header_add(r, name, "some value or other") < 0)
			return -1;
	}
	return ol_text(r, 200, "x");
}

static int streamed_status;

/* More than would wait in memory for a client. */
static int stream_without_content(ol_req *r)
{
	static const char piece[40000];
	int rc = ol_stream(r, streamed_status, NULL);

	for (int i = 0; i < 10 && rc == 0; i++)
		rc = ol_write(r, piece, sizeof(piece));
	note(rc);
	return rc;
}

START_TEST(a_stream_under_a_status_without_content_ends)
{
	static const int statuses[] = { 204, 304 };

	for (size_t i = 0; i < 2; i++) {
		streamed_status = statuses[i];
		check_status(ask(stream_without_content), streamed_status);
		ck_assert_int_eq(results[0], 0);
	}
}
END_TEST

static int stream_without_end(ol_req *r)
{
	int rc = ol_stream(r, 200, NULL);

	while (rc == 0)
		rc = ol_write(r, "tick\n", 5);
	note(rc);
	return rc;
}

START_TEST(an_endless_stream_asked_for_by_head_lets_others_run_and_ends_with_its_client)
{
	static const char *const requests[] = { "HEAD /a/x HTTP/1.1\r\nHost: a\r\n\r\n",
		"HEAD /s/x HTTP/1.1\r\nHost: a\r\n\r\n" };

	for (size_t i = 0; i < 2; i++) {
		struct script_peer *p;

		nresults = 0;
		script = stream_without_end;
		p = say(&rooms, NULL, requests[i]);
		turn(&rooms);
		ck_assert_int_eq(nresults, 0);
		script_end(p, -ECONNRESET);
		UNTIL(&rooms, rooms.dispatch.nlive == 0);
		ck_assert_int_eq(results[0], -ECANCELED);
	}
}
END_TEST

START_TEST(a_reply_may_be_much_larger_than_a_send)
{
	const char *reply = ask(big_text);

	ck_assert(has_line(reply, "Content-Length: 300000"));
	ck_assert_uint_eq(strlen(body_of(reply)), 300000);
	reply = ask(many_fields);
	ck_assert(has_line(reply, "X-0: some value or other"));
	ck_assert(has_line(reply, "X-1999: some value or other"));
	ck_assert_str_eq(body_of(reply), "x");
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, a_500_tells_the_client_nothing);
	tcase_add_test(one, a_latched_status_is_the_reply_of_who_returns_below_zero);
	tcase_add_test(one, the_last_reply_is_the_one_and_fields_stay);
	tcase_add_test(one, a_reply_that_cannot_be_leaves_the_one_there_was);
	tcase_add_test(one, what_comes_after_the_first_write_is_refused);
	tcase_add_test(one, borrowed_memory_is_given_back_once);
	tcase_add_test(one, fields_are_set_added_and_replaced);
	tcase_add_test(one, nothing_that_could_end_a_line_gets_into_a_field);
	tcase_add_test(one, each_kind_of_reply_is_framed_as_it_should);
	tcase_add_test(one, a_stream_under_a_status_without_content_ends);
	tcase_add_test(one, an_endless_stream_asked_for_by_head_lets_others_run_and_ends_with_its_client);
	tcase_add_test(one, a_reply_may_be_much_larger_than_a_send);
	return rooms_suite("reply", all, 1);
}
