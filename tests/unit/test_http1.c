/* test_http1.c: what is a request line and what is not. */
#include "http1_examples.h"

/* ---- whole requests ---------------------------------------------------------------------------------------------- */

START_TEST(a_plain_request_is_understood)
{
	ck_assert_str_eq(told(SLICE("GET /a/b?c=d&e HTTP/1.1\r\nHost: example.org:8080\r\nX-Y:  some text\t \r\n\r\n")),
		"HEAD GET /a/b?c=d&e 1.1\n"
		"  path=/a/b query=c=d&e host=example.org:8080 length=-1 keep\n"
		"  Host: [example.org:8080] 1\n"
		"  X-Y: [some text] 0\n"
		"END\n"
		"left 0 idle\n");
}
END_TEST

START_TEST(requests_may_follow_each_other_in_one_piece)
{
	const char *text = told(SLICE("GET /1 HTTP/1.1\r\n" H "\r\nPOST /2 HTTP/1.1\r\n"
		H "Content-Length: 3\r\n\r\nabc"
		"GET /3 HTTP/1.1\r\n" H "\r\n"));

	ck_assert_ptr_nonnull(strstr(text, "path=/1 "));
	ck_assert_ptr_nonnull(strstr(text, "path=/2 "));
	ck_assert_ptr_nonnull(strstr(text, "BODY abc\nEND\nHEAD GET /3 "));
}
END_TEST

START_TEST(every_method_of_ours_is_known)
{
	static const struct { const char *name; int id; } methods[] = { { "GET", OL_METHOD_GET }, { "HEAD",
		OL_METHOD_HEAD },
		{ "POST", OL_METHOD_POST }, { "PUT", OL_METHOD_PUT }, { "PATCH", OL_METHOD_PATCH },
		{ "DELETE", OL_METHOD_DELETE }, { "OPTIONS", OL_METHOD_OPTIONS }, { "TRACE", OL_METHOD_TRACE } };

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		struct head h;
		const char *why;

		ck_assert_int_gt(http1_parse_head(&conf, slice_of(with_target(methods[i].name, "/")), 0, &h, &why), 0);
		ck_assert_int_eq(h.method, methods[i].id);
		accepted(with_target(methods[i].name, "/"), NULL);
	}
}
END_TEST

/* ---- before and within the request line -------------------------------------------------------------------------- */

START_TEST(blank_lines_before_a_request_are_ignored)
{
	accepted("\r\nGET / HTTP/1.1\r\n" H "\r\n", NULL);
	accepted("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", NULL);
	ck_assert_str_eq(told(SLICE("\r\n\r")), "left 1 idle\n");
}
END_TEST

START_TEST(too_many_blank_lines_are_refused)
{
	refused("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 400);
}
END_TEST

START_TEST(half_a_blank_line_is_refused)
{
	refused("\nGET / HTTP/1.1\r\n" H "\r\n", 400);
	refused("\rGET / HTTP/1.1\r\n" H "\r\n", 400);
	refused("\r\r\nGET / HTTP/1.1\r\n" H "\r\n", 400);
	refused(" GET / HTTP/1.1\r\n" H "\r\n", 400);
}
END_TEST

START_TEST(connect_is_not_allowed)
{
	refused("CONNECT example.org:443 HTTP/1.1\r\n" H "\r\n", 405);
}
END_TEST

START_TEST(an_unknown_method_is_not_implemented)
{
	refused("BREW / HTTP/1.1\r\n" H "\r\n", 501);
	refused("get / HTTP/1.1\r\n" H "\r\n", 501);
	refused("GETS / HTTP/1.1\r\n" H "\r\n", 501);
	refused("PRI / HTTP/1.1\r\n" H "\r\n", 501);
	refused("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n\r\n", 501);
}
END_TEST

START_TEST(a_method_that_is_not_a_token_is_refused)
{
	refused("G@T / HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET\t/ HTTP/1.1\r\n" H "\r\n", 400);
	refused("G\x80T / HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET\r\n\r\n", 400);
	refused("{}", 400);
}
END_TEST

START_TEST(a_tls_hello_is_refused_at_its_first_byte)
{
	refused_slice(SLICE("\x16\x03\x01\x02"), 400);
	refused_slice(SLICE("\x16"), 400);
	refused_slice(SLICE("\0"), 400);
}
END_TEST

START_TEST(the_http2_preface_is_refused)
{
	refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400);
	refused("PRI *", 400);
}
END_TEST

START_TEST(there_is_exactly_one_blank_between_the_parts)
{
	refused("GET  / HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET /  HTTP/1.1\r\n" H "\r\n", 400);
	refused("GET / HTTP/1.1 \r\n" H "\r\n", 400);
	refused("GET /\tHTTP/1.1\r\n" H "\r\n", 400);
	refused("GET / HTTP/1.1\t\r\n" H "\r\n", 400);
}
END_TEST

START_TEST(http_0_9_is_refused)
{
	refused("GET /\r\n\r\n", 400);
	refused("GET / HTTP/0.9\r\n" H "\r\n", 505);
}
END_TEST

START_TEST(a_later_minor_version_is_taken_as_1_1)
{
	accepted("GET / HTTP/1.2\r\n" H "\r\n", "GET / 1.1\n");
	accepted("GET / HTTP/1.9\r\n" H "\r\n", "GET / 1.1\n");
}
END_TEST

START_TEST(another_major_version_is_not_supported)
{
	refused("GET / HTTP/2.0\r\n" H "\r\n", 505);
	refused("GET / HTTP/3.1\r\n" H "\r\n", 505);
}
END_TEST

START_TEST(a_malformed_version_is_refused)
{
	static const char *const versions[] = { "http/1.1", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11", "HTTP/1.10",
		"HTTP/01.1",
		"HTTP/a.1", "HTTP/1.x", "HTTP 1.1", "HTP/1.1", "HTTP/1,1", "HTTP/-1.1", "HTTP/2", "HTTPS/1.1", "" };
	char text[100];

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		snprintf(text, sizeof(text), "GET / %s\r\n" H "\r\n", versions[i]);
		refused(text, 400);
	}
}
END_TEST

/* ---- the target -------------------------------------------------------------------------------------------------- */

START_TEST(every_character_of_a_path_is_taken)
{
	accepted(with_target("GET", "/azAZ09-._~!$&'()*+,;=:@/%20%7f%FF//"),
		"path=/azAZ09-._~!$&'()*+,;=:@/%20%7f%FF// query= ");
}
END_TEST

START_TEST(characters_that_a_path_must_escape_are_refused)
{
	char text[] = "/a?b";

	for (int b = 1; b < 256; b++) {
		text[2] = (char)b;
		if (!strchr("-._~!$&'()*+,;=:@/% ?", b) && !(b < 128 && strchr("0123456789", b)) && !((b | 32) >= 'a'
			&& (b | 32) <= 'z'))
			refused(with_target("GET", text), 400);
	}
}
END_TEST

START_TEST(every_character_that_browsers_leave_in_a_query_is_taken)
{
	accepted(with_target("GET", "/?azAZ09-._~!$&'()*+,;=:@/?[]\\^`{|}%20"),
		"query=azAZ09-._~!$&'()*+,;=:@/?[]\\^`{|}%20 ");
	accepted(with_target("GET", "/?"), "path=/ query= ");
}
END_TEST

START_TEST(characters_that_a_query_must_escape_are_refused)
{
	char text[] = "/?ab";

	for (int b = 1; b < 256; b++) {
		text[3] = (char)b;
		if (b < ' ' || b >= 0x7f || strchr("\"<>#", b))
			refused(with_target("GET", text), 400);
	}
}
END_TEST

START_TEST(a_fragment_is_refused)
{
	refused(with_target("GET", "/a#b"), 400);
	refused(with_target("GET", "/a?b#c"), 400);
	refused(with_target("GET", "http://a#b"), 400);
	refused(with_target("GET", "#"), 400);
}
END_TEST

START_TEST(a_nul_in_the_target_is_refused)
{
	refused_slice(SLICE("GET /\0 HTTP/1.1\r\n" H "\r\n"), 400);
	refused_slice(SLICE("GET /?\0 HTTP/1.1\r\n" H "\r\n"), 400);
}
END_TEST

START_TEST(malformed_escapes_are_refused)
{
	refused(with_target("GET", "/%"), 400);
	refused(with_target("GET", "/%2"), 400);
	refused(with_target("GET", "/%zz"), 400);
	refused(with_target("GET", "/%2g"), 400);
	refused(with_target("GET", "/%%41"), 400);
	refused(with_target("GET", "/?a=%u1234"), 400);
	refused(with_target("GET", "/?a=100%"), 400);
	refused(with_target("GET", "/%+1"), 400);
}
END_TEST

START_TEST(an_escaped_nul_is_refused)
{
	refused(with_target("GET", "/a%00"), 400);
	refused(with_target("GET", "/?a=%00"), 400);
}
END_TEST

START_TEST(dot_segments_above_the_root_are_refused)
{
	static const char *const above[] = { "/..", "/../", "/../a", "/a/../..", "/a/../../b", "/./..", "/%2e%2e",
		"/%2E.", "/.%2e/a",
		"/a/%2e%2e/%2e%2e/", "/a/b/../../..", "/../a/b/c", "http://a/..", "/a/.././../b?c" };

	for (size_t i = 0; i < sizeof(above) / sizeof(above[0]); i++)
		refused(with_target("GET", above[i]), 400);
}
END_TEST

START_TEST(dot_segments_within_the_root_are_left_alone)
{
	static const char *const within_root[] = { "/.", "/./", "/a/..", "/a/../b", "/a/./../b/..", "/...", "/..a",
		"/a..", "/.a", "/a/%2e%2E",
		"//..", "/a/b/../..", "/%2e%2e%2e", "/?/../..", "/a%2f..", "/.%2f" };

	for (size_t i = 0; i < sizeof(within_root) / sizeof(within_root[0]); i++)
		accepted(with_target("GET", within_root[i]), NULL);
}
END_TEST

START_TEST(an_absolute_target_gives_path_query_and_host)
{
	accepted(with_target("GET", "http://example.org/a?b"), "path=/a query=b host=example.org ");
	accepted(with_target("GET", "HTTPS://[::1]:81/a"), "path=/a query= host=[::1]:81 ");
	accepted(with_target("GET", "http://example.org"), "path=/ query= host=example.org ");
	accepted(with_target("GET", "http://example.org?b"), "path=/ query=b host=example.org ");
}
END_TEST

START_TEST(an_absolute_target_still_needs_a_host)
{
	refused("GET http://example.org/ HTTP/1.1\r\n\r\n", 400);
	refused("GET http://example.org/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
}
END_TEST

START_TEST(a_malformed_authority_is_refused)
{
	static const char *const targets[] = { "http://", "http:///", "http://?", "http://user@a/", "http://a:b@c/",
		"http://a:/",
		"http://a:65536/", "http://[::1/", "http://a\\b/", "http://a b/", "http://a,b c/" };

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		refused(with_target("GET", targets[i]), 400);
}
END_TEST

START_TEST(another_form_of_target_is_refused)
{
	static const char *const targets[] = { "", "a", "a/b", "example.org:80", "ftp://a/", "http:/a", "http",
		"httpx://a", "file:///a",
		"?a", "**", "*/", "*?", "%2f" };

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		refused(with_target("GET", targets[i]), 400);
		refused(with_target("OPTIONS", targets[i]), 400);
	}
}
END_TEST

START_TEST(an_asterisk_is_for_options_only)
{
	accepted(with_target("OPTIONS", "*"), "path=* ");
	refused(with_target("GET", "*"), 400);
}
END_TEST

START_TEST(a_target_may_be_as_long_as_the_limit)
{
	char *target = malloc(9000);

	memset(target, 'a', 9000);
	target[0] = '/';
	target[8192] = '\0';
	accepted(with_target("GET", target), NULL);
	target[4000] = '?';
	accepted(with_target("OPTIONS", target), NULL);
	free(target);
}
END_TEST

START_TEST(a_target_over_the_limit_is_refused_before_it_ends)
{
	char *target = malloc(9000);

	memset(target, 'a', 9000);
	target[0] = '/';
	target[8193] = '\0';
	refused(with_target("GET", target), 414);
	target[4000] = '?';
	refused(with_target("OPTIONS", target), 414);
	memcpy(target, "http://", 7);
	refused(with_target("GET", target), 414);
	memcpy(target, "GET /aaa", 8);
	target[8198] = '\0';
	memset(target + 8192, 'a', 6);
	refused(target, 414);
	free(target);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("http1: request lines");
	TCase *line = tcase_create("request line"), *tgt = tcase_create("target");

	tcase_set_timeout(tgt, 60);
	tcase_add_test(line, a_plain_request_is_understood);
	tcase_add_test(line, requests_may_follow_each_other_in_one_piece);
	tcase_add_test(line, every_method_of_ours_is_known);
	tcase_add_test(line, blank_lines_before_a_request_are_ignored);
	tcase_add_test(line, too_many_blank_lines_are_refused);
	tcase_add_test(line, half_a_blank_line_is_refused);
	tcase_add_test(line, connect_is_not_allowed);
	tcase_add_test(line, an_unknown_method_is_not_implemented);
	tcase_add_test(line, a_method_that_is_not_a_token_is_refused);
	tcase_add_test(line, a_tls_hello_is_refused_at_its_first_byte);
	tcase_add_test(line, the_http2_preface_is_refused);
	tcase_add_test(line, there_is_exactly_one_blank_between_the_parts);
	tcase_add_test(line, http_0_9_is_refused);
	tcase_add_test(line, a_later_minor_version_is_taken_as_1_1);
	tcase_add_test(line, another_major_version_is_not_supported);
	tcase_add_test(line, a_malformed_version_is_refused);
	tcase_add_test(tgt, every_character_of_a_path_is_taken);
	tcase_add_test(tgt, characters_that_a_path_must_escape_are_refused);
	tcase_add_test(tgt, every_character_that_browsers_leave_in_a_query_is_taken);
	tcase_add_test(tgt, characters_that_a_query_must_escape_are_refused);
	tcase_add_test(tgt, a_fragment_is_refused);
	tcase_add_test(tgt, a_nul_in_the_target_is_refused);
	tcase_add_test(tgt, malformed_escapes_are_refused);
	tcase_add_test(tgt, an_escaped_nul_is_refused);
	tcase_add_test(tgt, dot_segments_above_the_root_are_refused);
	tcase_add_test(tgt, dot_segments_within_the_root_are_left_alone);
	tcase_add_test(tgt, an_absolute_target_gives_path_query_and_host);
	tcase_add_test(tgt, an_absolute_target_still_needs_a_host);
	tcase_add_test(tgt, a_malformed_authority_is_refused);
	tcase_add_test(tgt, another_form_of_target_is_refused);
	tcase_add_test(tgt, an_asterisk_is_for_options_only);
	tcase_add_test(tgt, a_target_may_be_as_long_as_the_limit);
	tcase_add_test(tgt, a_target_over_the_limit_is_refused_before_it_ends);
	suite_add_tcase(s, line);
	suite_add_tcase(s, tgt);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
