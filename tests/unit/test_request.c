/* test_request.c: what a handler learns of its request, however it was written. */
#include "rooms.h"

#include <math.h>

static struct rooms rooms;
static void (*look)(ol_req *r);
static unsigned looked;
static ssize_t read_rc;

static int run_look(ol_req *r)
{
	look(r);
	looked++;
	return ol_text(r, 200, "looked\n");
}

static int latched(ol_req *r)
{
	look(r);
	looked++;
	return -1;
}

static int read_all(ol_req *r)
{
	char buf[7];
	ssize_t n;
	ssize_t sum = 0;

	while ((n = ol_body_read(r, buf, sizeof(buf))) > 0)
		sum += n;
	read_rc = n < 0 ? n : sum;
	looked++;
	return n < 0 ? -1 : ol_textf(r, 200, "%zd\n", sum);
}

static const char data[] = "the route's own";

static const struct ol_route routes[] = {
	OL_GET("/look", .async = run_look, .data = data),
	OL_GET("/look/{id:int}/{x:float}/{u:uuid}/{name}/{rest:path}", .sync = run_look),
	OL_POST("/look", .async = run_look, .body_max = 100),
	OL_POST("/latched", .async = latched),
	OL_POST("/stream", .async = run_look, .stream = 1, .body_max = 100),
	OL_POST("/latched-stream", .async = latched, .stream = 1, .body_max = 100),
	OL_POST("/read", .async = read_all, .stream = 1, .body_max = 100),
	OL_POST("/read-sync", .sync = read_all, .stream = 1, .body_max = 100),
};
static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .data = &rooms };

static void set_up(void)
{
	looked = 0;
	rooms_up(&rooms, &app, NULL);
}

static void tear_down(void)
{
	rooms_down(&rooms);
}

/* A handler looks; the reply. */
static const char *ask(const char *request, void (*fn)(ol_req *r))
{
	struct script_peer *p;

	look = fn;
	looked = 0;
	p = say(&rooms, NULL, request);
	UNTIL(&rooms, rooms.dispatch.nlive == 0);
	turn(&rooms);
	return heard(p);
}

static void check_looked(const char *request, void (*fn)(ol_req *r))
{
	const char *reply = ask(request, fn);

	ck_assert_msg(looked == 1, "%s", reply);
}

#define REQUEST(line, fields) line " HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define POST(path, fields, n, body)                                                             \
	"POST " path " HTTP/1.1\r\nHost: a\r\nContent-Length: " #n "\r\n" fields "\r\n" body

/* ---- the line ---------------------------------------------------------------------------------------------------- */

static void look_at_line(ol_req *r)
{
	for (int again = 0; again < 2; again++) {       /* what one call makes of the head does not harm the next */
		ck_assert_str_eq(ol_method(r), "GET");
		ck_assert_str_eq(ol_target(r), "/x/../look?a=1&b");
		ck_assert_str_eq(ol_path(r), "/look");
		ck_assert_str_eq(ol_route_path(r), "/look");
		ck_assert_ptr_eq(ol_route_data(r), data);
		ck_assert_ptr_eq(ol_app_data(r), &rooms);
		ck_assert_str_eq(ol_remote(r), "unknown");
		ck_assert_str_eq(ol_query(r, "a"), "1");
		ck_assert_str_eq(ol_query(r, "b"), "");
		ck_assert_str_eq(ol_header(r, "HOST"), "a");
	}
	ck_assert_int_eq(ol_cancelled(r), 0);
}

START_TEST(the_request_line_is_there_in_every_form)
{
	check_looked(REQUEST("GET /x/../look?a=1&b", ""), look_at_line);
}
END_TEST

static void look_at_params(ol_req *r)
{
	ck_assert_str_eq(ol_param(r, "id"), "-17");
	ck_assert_int_eq(ol_param_int(r, "id"), -17);
	ck_assert(fabs(ol_param_float(r, "x") - 2.5) < 1e-9);
	ck_assert_str_eq(ol_param(r, "u"), "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6");
	ck_assert_str_eq(ol_param(r, "name"), "a b/c");
	ck_assert_str_eq(ol_param(r, "rest"), "d/e f/");
	ck_assert_str_eq(ol_path(r), "/look/-17/2.5/F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6/a b/c/d/e f/");
}

START_TEST(parameters_are_typed_and_decoded)
{
	const char *reply;

	check_looked(REQUEST("GET /look/-17/2.5/F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6/a%20b%2Fc/d/e%20f/", ""),
		look_at_params);
	reply = ask(REQUEST("GET /look/x/y/z/a/b", ""), look_at_params);
	ck_assert_uint_eq(looked, 0);
	ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 422 "));
	ck_assert_ptr_nonnull(strstr(reply, "{\"detail\":[{\"loc\":[\"path\",\"id\"],\"msg\":\"value is not a valid "
		"integer\",\"type\":\"type_error.integer\"},{\"loc\":[\"path\",\"x\"]"));
	ck_assert_ptr_nonnull(strstr(reply, "\"type_error.uuid\"}]}"));
}
END_TEST

/* ---- the query --------------------------------------------------------------------------------------------------- */

static void look_at_query(ol_req *r)
{
	int64_t n = 5;

	ck_assert_str_eq(ol_query(r, "a"), "1");        /* the first of two */
	ck_assert_str_eq(ol_query(r, "sp ace"), "x y&z=");
	ck_assert_str_eq(ol_query(r, "empty"), "");
	ck_assert_str_eq(ol_query(r, "flag"), "");
	ck_assert_str_eq(ol_query(r, "eq"), "b=c");
	ck_assert_ptr_null(ol_query(r, "none"));
	ck_assert_ptr_null(ol_query(r, ""));
	ck_assert_int_eq(ol_query_int(r, "none", 0, 9, &n), 0);
	ck_assert_int_eq(n, 5);
	ck_assert_int_eq(ol_query_int(r, "n", -9, 9, &n), 0);
	ck_assert_int_eq(n, -3);
	ck_assert_int_eq(ol_query_int(r, "n", 0, 9, &n), -EINVAL);
	ck_assert_int_eq(ol_query_int(r, "n", -9, -4, &n), -EINVAL);
	ck_assert_int_eq(ol_query_int(r, "a", 1, 1, &n), 0);
	ck_assert_int_eq(ol_query_int(r, "flag", 0, 9, &n), -EINVAL);
	ck_assert_int_eq(ol_query_int(r, "eq", 0, 9, &n), -EINVAL);
	ck_assert_int_eq(n, 1);
}

START_TEST(the_query_is_decoded_and_checked)
{
	check_looked(REQUEST("GET /look?&a=1&a=2&sp+ace=x%20y%26z%3D&empty=&flag&=x&eq=b=c&n=-3&", ""), look_at_query);
}
END_TEST

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static void look_at_fields(ol_req *r)
{
	const char *value;

	ck_assert_str_eq(ol_header(r, "x-one"), "1");
	ck_assert_str_eq(ol_header(r, "X-EMPTY"), "");
	ck_assert_str_eq(ol_header(r, "X-Blank"), "");
	ck_assert_str_eq(ol_header(r, "X-Wide"), "a  b");
	ck_assert_ptr_null(ol_header(r, "X-On"));
	ck_assert_str_eq(ol_method(r), "GET");          /* empty values point somewhere harmless */
	ck_assert_str_eq(ol_header_at(r, 0, &value), "Host");
	ck_assert_str_eq(value, "a");
	ck_assert_str_eq(ol_header_at(r, 1, &value), "X-One");
	ck_assert_str_eq(ol_header_at(r, 2, NULL), "X-One");
	ck_assert_ptr_null(ol_header_at(r, 8, &value));
	ck_assert_str_eq(ol_cookie(r, "a"), "1");
	ck_assert_str_eq(ol_cookie(r, "b"), "quoted");
	ck_assert_str_eq(ol_cookie(r, "c"), "x=y");
	ck_assert_str_eq(ol_cookie(r, "d"), "");
	ck_assert_str_eq(ol_cookie(r, "e"), "second field");
	ck_assert_ptr_null(ol_cookie(r, "f"));
	ck_assert_ptr_null(ol_cookie(r, ""));
}

START_TEST(fields_and_cookies_are_found_by_name)
{
	check_looked(REQUEST("GET /look", "X-One: 1\r\nX-One: 2\r\nX-Empty:\r\nX-Blank:  \t\r\nX-Wide: \ta  b \r\n"
		"Cookie: a=1; b=\"quoted\";c=x=y; d=\r\nCookie: e=second field; a=2\r\n"), look_at_fields);
}
END_TEST

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

static void look_at_body(ol_req *r)
{
	char buf[8];
	size_t n = 99;
	const char *body = ol_body(r, &n);

	ck_assert_uint_eq(n, 11);
	ck_assert_int_eq(memcmp(body, "hello\0world", 12), 0);  /* and a NUL behind it */
	ck_assert_ptr_eq(ol_body(r, NULL), body);
	ck_assert_int_eq(ol_body_read(r, buf, 0), 0);
	ck_assert_int_eq(ol_body_read(r, buf, 6), 6);
	ck_assert_int_eq(ol_body_read(r, buf, 8), 5);
	ck_assert_int_eq(memcmp(buf, "world", 5), 0);
	ck_assert_int_eq(ol_body_read(r, buf, 8), 0);
}

static void look_at_nothing(ol_req *r)
{
	char buf[8];
	size_t n = 99;

	ck_assert_str_eq(ol_body(r, &n), "");
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(ol_body_read(r, buf, 8), 0);
	ck_assert_ptr_null(ol_trailer(r, "X-T"));
}

static void say_body(const char *path, void (*fn)(ol_req *r))
{
	static const char body[] = "hello\0world";
	char head[200];
	struct script_peer *p;

	look = fn;
	looked = 0;
	snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", path);
	p = say(&rooms, NULL, head);
	say_n(&rooms, p, body, 3);
	say_n(&rooms, p, body + 3, 8);
	turn(&rooms);
	ck_assert_uint_eq(looked, 1);
}

START_TEST(a_body_is_whole_in_one_piece_and_piece_by_piece)
{
	say_body("/look", look_at_body);
	say_body("/stream", look_at_body);
	check_looked(REQUEST("POST /look", "Content-Length: 0\r\n"), look_at_nothing);
	check_looked(REQUEST("POST /stream", "Content-Length: 0\r\n"), look_at_nothing);
	check_looked(REQUEST("POST /stream", "Transfer-Encoding: chunked\r\n") "0\r\n\r\n", look_at_nothing);
	check_looked(REQUEST("GET /look", ""), look_at_nothing);
}
END_TEST

static void look_at_trailers(ol_req *r)
{
	char buf[4];

	if (looked == 0 && strcmp(ol_route_path(r), "/stream") == 0)
		ck_assert_ptr_null(ol_trailer(r, "X-Sum"));     /* not before the end of the body */
	while (ol_body_read(r, buf, sizeof(buf)) > 0)
		;
	ck_assert_str_eq(ol_trailer(r, "x-sum"), "1 2");
	ck_assert_str_eq(ol_trailer(r, "X-More"), "");
	ck_assert_ptr_null(ol_trailer(r, "X-Other"));
}

#define WITH_TRAILERS "5\r\nhello\r\n0\r\nX-Sum: 1 2 \r\nX-More:\r\n\r\n"

START_TEST(trailers_are_there_once_the_body_has_been_read)
{
	check_looked(REQUEST("POST /look", "Transfer-Encoding: chunked\r\n") WITH_TRAILERS, look_at_trailers);
	check_looked(REQUEST("POST /stream", "Transfer-Encoding: chunked\r\n") WITH_TRAILERS, look_at_trailers);
}
END_TEST

static void look_at_json(ol_req *r)
{
	json_t *v = ol_body_json(r);

	ck_assert_ptr_nonnull(v);
	ck_assert_ptr_eq(ol_body_json(r), v);
	ck_assert_int_eq(json_integer_value(json_object_get(v, "a")), 1);
}

static void look_at_bad_json(ol_req *r)
{
	ck_assert_ptr_null(ol_body_json(r));
}

START_TEST(a_body_is_json_or_a_422)
{
	const char *reply;

	check_looked(POST("/look", "", 7, "{\"a\":1}"), look_at_json);
	check_looked(POST("/stream", "", 7, "{\"a\":1}"), look_at_json);
	reply = ask(POST("/latched", "", 7, "{\"a\":1,"), look_at_bad_json);
	ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 422 "));
	ck_assert_ptr_nonnull(strstr(reply, "\"loc\":[\"body\""));
	ck_assert_ptr_nonnull(strstr(ask(POST("/latched", "", 0, ""), look_at_bad_json), "HTTP/1.1 422 "));
}
END_TEST

static void look_at_too_much(ol_req *r)
{
	char buf[8];
	size_t n;

	ck_assert_ptr_null(ol_body(r, &n));
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(ol_body_read(r, buf, sizeof(buf)), -EMSGSIZE);        /* never a part as if it were all */
	ck_assert_ptr_null(ol_body(r, &n));
	ck_assert_ptr_null(ol_body_json(r));
}

#define LONG "0123456789012345678901234567890123456789012345678901"
#define TOO_MUCH(path)                                                                          \
	REQUEST("POST " path, "Transfer-Encoding: chunked\r\n") "34\r\n" LONG "\r\n34\r\n" LONG "\r\n"

START_TEST(a_body_over_its_routes_limit_is_a_413)
{
	const char *reply = ask(POST("/look", "", 101, ""), look_at_too_much);

	ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 413 "));
	ck_assert_uint_eq(looked, 0);
	reply = ask(TOO_MUCH("/look"), look_at_too_much);
	ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 413 "));
	ck_assert_uint_eq(looked, 0);
	reply = ask(POST("/stream", "", 101, ""), look_at_too_much);
	ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 413 "));
	reply = ask(TOO_MUCH("/latched-stream"), look_at_too_much);
	ck_assert_uint_eq(looked, 1);
	ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 413 "));
	ck_assert_ptr_nonnull(strstr(reply, "Connection: close"));
	reply = ask(TOO_MUCH("/read-sync"), NULL);
	ck_assert_int_eq(read_rc, -EMSGSIZE);
	ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 413 "));
}
END_TEST

START_TEST(a_body_of_exactly_the_limit_is_taken)
{
	static char body[101];
	char text[300];

	memset(body, 'x', 100);
	snprintf(text, sizeof(text), POST("/read", "", 100, "%s"), body);
	(void)ask(text, NULL);
	ck_assert_int_eq(read_rc, 100);
	snprintf(text, sizeof(text), POST("/read-sync", "", 100, "%s"), body);
	(void)ask(text, NULL);
	ck_assert_int_eq(read_rc, 100);
}
END_TEST

START_TEST(bodies_buffered_in_the_process_have_a_bound)
{
	struct script_peer *a, *b;

	rooms.config.body_total_max = 60;
	look = look_at_nothing;
	a = say(&rooms, NULL, POST("/latched", "", 50, "0123456789012345678901234567890123456789"));
	b = say(&rooms, NULL, POST("/latched", "", 50, "0123456789012345678901234567890123456789"));
	ck_assert(heard_of(b, "HTTP/1.1 503 "));
	ck_assert(heard_of(b, "Retry-After: 1"));
	ck_assert_uint_eq(a->out.n, 0);
	script_end(a, -ECONNRESET);
	turn(&rooms);
	ck_assert_uint_eq(atomic_load(&rooms.shared.body_bytes), 0);
	ck_assert_ptr_nonnull(strstr(ask(POST("/read", "", 50, "01234567890123456789012345678901234567890123456789"),
		NULL), "HTTP/1.1 200 "));       /* a streamed one is not buffered */
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void look_at_memory(ol_req *r)
{
	char *small = ol_alloc(r, 0), *large = ol_alloc(r, 1 << 20), *copy = ol_strdup(r, "copy");

	ck_assert_ptr_nonnull(small);
	ck_assert_uint_eq((uintptr_t)large % 16, 0);
	memset(large, 'x', 1 << 20);
	ck_assert_str_eq(copy, "copy");
	ck_assert_str_eq(ol_printf(r, "%d %s", 7, copy), "7 copy");
	ck_assert_ptr_null(ol_alloc(r, SIZE_MAX));
}

START_TEST(memory_lives_as_long_as_the_request)
{
	check_looked(REQUEST("GET /look", ""), look_at_memory);
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("one"), *all[] = { one };

	tcase_add_checked_fixture(one, set_up, tear_down);
	tcase_add_test(one, the_request_line_is_there_in_every_form);
	tcase_add_test(one, parameters_are_typed_and_decoded);
	tcase_add_test(one, the_query_is_decoded_and_checked);
	tcase_add_test(one, fields_and_cookies_are_found_by_name);
	tcase_add_test(one, a_body_is_whole_in_one_piece_and_piece_by_piece);
	tcase_add_test(one, trailers_are_there_once_the_body_has_been_read);
	tcase_add_test(one, a_body_is_json_or_a_422);
	tcase_add_test(one, a_body_over_its_routes_limit_is_a_413);
	tcase_add_test(one, a_body_of_exactly_the_limit_is_taken);
	tcase_add_test(one, bodies_buffered_in_the_process_have_a_bound);
	tcase_add_test(one, memory_lives_as_long_as_the_request);
	return rooms_suite("request", all, 1);
}
