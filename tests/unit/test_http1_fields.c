/* test_http1_fields.c: what are a request's fields and what are not, and what they say about its body. */
#include "http1_examples.h"

/* ---- fields ------------------------------------------------------------------------------------------------------ */

START_TEST(fields_that_matter_are_recognised_in_any_case)
{
	accepted("POST / HTTP/1.1\r\nhOSt: a\r\nCONNECTION: close\r\ncontent-LENGTH: 1\r\nexpect: 100-Continue\r\n"
		"Upgrade: x\r\ncookie: a=b\r\ncontent-type: t\r\ntrailer: z\r\n\r\n1",
		"  hOSt: [a] 1\n  CONNECTION: [close] 2\n  content-LENGTH: [1] 3\n  expect: [100-Continue] 5\n"
		"  Upgrade: [x] 6\n  cookie: [a=b] 7\n  content-type: [t] 8\n  trailer: [z] 9\n");
	accepted("POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-encoding: CHUNKED\r\n\r\n0\r\n\r\n", " chunked");
	accepted(with_field("Hosu: b\r\nCookiE2: x\r\nContent-Lengtj: 3\r\nConnectioN-: x"), "Hosu: [b] 0\n");
}
END_TEST

START_TEST(blanks_around_a_value_are_trimmed)
{
	accepted(with_field("A:\t b \tc\t \t"), "A: [b \tc] 0\n");
	accepted(with_field("A:"), "A: [] 0\n");
	accepted(with_field("A: \t "), "A: [] 0\n");
}
END_TEST

START_TEST(a_name_may_be_any_token)
{
	accepted(with_field("!#$%&'*+-.^_`|~09azAZ: v"), "!#$%&'*+-.^_`|~09azAZ: [v] 0\n");
}
END_TEST

START_TEST(a_name_that_is_not_a_token_is_refused)
{
	char line[] = "a?b: v";

	for (int b = 1; b < 256; b++) {
		line[1] = (char)b;
		if (b >= 0x80 || b <= ' ' || strchr("\"(),/;<=>?@[\\]{}\x7f", b))
			refused(with_field(line), 400);
	}
	refused_slice(SLICE("GET / HTTP/1.1\r\n" H "a\0b: v\r\n\r\n"), 400);
}
END_TEST

START_TEST(a_blank_before_the_colon_is_refused)
{
	refused(with_field("A : b"), 400);
	refused(with_field("A\t: b"), 400);
	refused("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400);
}
END_TEST

START_TEST(a_line_without_name_or_colon_is_refused)
{
	refused(with_field(": b"), 400);
	refused(with_field("A"), 400);
	refused(with_field("A b"), 400);
}
END_TEST

START_TEST(a_folded_line_is_refused)
{
	refused(with_field("A: b\r\n c"), 400);
	refused(with_field("A: b\r\n\tc"), 400);
	refused(with_field("A: b\r\n "), 400);
	refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
}
END_TEST

START_TEST(a_bare_lf_is_refused)
{
	refused("GET / HTTP/1.1\n" H "\r\n", 400);
	refused("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
	refused(with_field("A: b\nC: d"), 400);
	refused("GET / HTTP/1.1\r\n" H "\n", 400);
	refused("GET / HTTP/1.1\r\n" H "A\n: b\r\n\r\n", 400);
}
END_TEST

START_TEST(a_bare_cr_is_refused)
{
	refused("GET / HTTP/1.1\rHost: a\r\n\r\n", 400);
	refused("GET / HTTP/1.1\r\r\n" H "\r\n", 400);
	refused(with_field("A: b\rC: d"), 400);
	refused(with_field("A: b\r"), 400);
	refused("GET / HTTP/1.1\r\n" H "\rA", 400);
	refused("GET /\rHTTP/1.1\r\n" H "\r\n", 400);
}
END_TEST

START_TEST(control_characters_in_a_value_are_refused)
{
	char line[] = "A: b?c";

	for (int b = 1; b < 256; b++) {
		line[4] = (char)b;
		if ((b < ' ' && b != '\t') || b == 0x7f)
			refused(with_field(line), 400);
		else
			accepted(with_field(line), NULL);
	}
	refused_slice(SLICE("GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n"), 400);
}
END_TEST

START_TEST(as_many_fields_as_the_limit_are_taken_and_no_more)
{
	char text[4096] = "GET / HTTP/1.1\r\n" H;
	size_t n = strlen(text);

	for (int i = 1; i < 100; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "A%d: b\r\n", i);
	snprintf(text + n, sizeof(text) - n, "\r\n");
	accepted(text, "A99: [b]");
	snprintf(text + n, sizeof(text) - n, "A100: b\r\n\r\n");
	refused(text, 431);
	snprintf(text + n, sizeof(text) - n, "A");
	refused(text, 431);
}
END_TEST

START_TEST(a_head_over_the_limit_is_refused_before_it_ends)
{
	char *text = malloc(20000);
	size_t n = (size_t)snprintf(text, 20000, "GET / HTTP/1.1\r\n" H "A: ");

	memset(text + n, 'b', 20000 - n);
	memcpy(text + 16380, "\r\n\r\n", 5);
	accepted(text, NULL);
	memcpy(text + 16380, "b\r\n\r\n", 6);
	refused(text, 431);
	memset(text + n, 'b', 20000 - n);
	refused_slice((struct slice){ text, 16384 }, 431);
	ck_assert_str_eq(told((struct slice){ text, 16383 }), "left 16383\n");
	free(text);
}
END_TEST

/* ---- Host -------------------------------------------------------------------------------------------------------- */

START_TEST(a_host_is_required_in_1_1)
{
	refused("GET / HTTP/1.1\r\n\r\n", 400);
	refused("GET / HTTP/1.1\r\nA: b\r\n\r\n", 400);
	accepted("GET / HTTP/1.0\r\n\r\n", "host= ");
}
END_TEST

START_TEST(a_second_host_is_refused)
{
	refused("GET / HTTP/1.1\r\n" H "Host: b\r\n\r\n", 400);
	refused("GET / HTTP/1.1\r\n" H H "\r\n", 400);
	refused("GET / HTTP/1.0\r\n" H H "\r\n", 400);
}
END_TEST

START_TEST(names_and_addresses_are_hosts)
{
	static const char *const hosts[] = { "a", "example.org", "EXAMPLE.org.", "127.0.0.1", "127.0.0.1:8000", "a:0",
		"a:65535",
		"[::1]", "[2001:db8::1]:443", "[::ffff:192.0.2.1]", "a_b-c~d!$&'()*+,;=", "%C3%A5.example" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		accepted(with_host(hosts[i]), hosts[i]);
}
END_TEST

START_TEST(a_malformed_host_is_refused)
{
	static const char *const hosts[] = { "", ":80", "a:", "a:65536", "a:99999", "a:000080", "a:8o", "a:-1",
		"a:80:80", "a b", "a\tb", "a/b",
		"a?b", "a#b", "user@a", "http://a", "[", "[]", "[::1", "::1", "[::1]x", "[::1]:", "[::g]", "[v1.a]",
		"[fe80::1%25eth0]",
		"[127.0.0.1]", "[::1]80", "[0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:0:1]", "a%", "a%2",
		"a%zz", "a\"b", "a<b>",
		"a\\b", "a^b", "a`b", "a{b}", "a|b", "\x80", "a, b" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		refused(with_host(hosts[i]), 400);
	refused("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400);
}
END_TEST

/* ---- framing ----------------------------------------------------------------------------------------------------- */

START_TEST(a_content_length_is_digits)
{
	accepted(with_field("Content-Length: 0"), "length=0 keep");
	accepted("POST / HTTP/1.1\r\n" H "Content-Length: 0003\r\n\r\nabc", "length=3 body keep");
}
END_TEST

START_TEST(a_malformed_content_length_is_refused)
{
	static const char *const lengths[] = { "", "+1", "-1", " ", "1 2", "1,1", "1, 1", "0x1", "1.0", "1e3", "a",
		"1a", "\xc2\xb2",
		"\"1\"", "1;" };
	char line[64];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		snprintf(line, sizeof(line), "Content-Length: %s", lengths[i]);
		refused(with_field(line), 400);
	}
}
END_TEST

START_TEST(a_second_content_length_is_refused_even_if_equal)
{
	refused(with_field("Content-Length: 0\r\nContent-Length: 0"), 400);
	refused(with_field("Content-Length: 0\r\nContent-Length: 1"), 400);
}
END_TEST

START_TEST(a_content_length_beyond_63_bits_is_too_large)
{
	struct head h;
	const char *why;

	ck_assert_int_gt(http1_parse_head(&conf, slice_of(with_field("Content-Length: 9223372036854775807")), 0, &h,
		&why), 0);
	ck_assert_int_eq(h.content_length, INT64_MAX);
	refused(with_field("Content-Length: 9223372036854775808"), 413);
	refused(with_field("Content-Length: 18446744073709551617"), 413);
	refused(with_field("Content-Length: 99999999999999999999999999999999999999999999999999"), 413);
	refused(with_field("Content-Length: 99999999999999999999999999999999999999999999x"), 400);
}
END_TEST

START_TEST(content_length_with_transfer_encoding_is_refused)
{
	refused(with_field("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400);
	refused(with_field("Transfer-Encoding: chunked\r\nContent-Length: 1"), 400);
}
END_TEST

START_TEST(a_transfer_encoding_other_than_chunked_is_refused)
{
	static const char *const codings[] = { "", "identity", "gzip", "gzip, chunked", "chunked, gzip",
		"chunked, chunked", "chunked,",
		",chunked", "xchunked", "chunked ;a", "chunked;q=1", "\"chunked\"", "chun\tked", "chunked\x0b" };
	char line[64];

	for (size_t i = 0; i < sizeof(codings) / sizeof(codings[0]); i++) {
		snprintf(line, sizeof(line), "Transfer-Encoding: %s", codings[i]);
		refused(with_field(line), 400);
	}
}
END_TEST

START_TEST(a_second_transfer_encoding_is_refused)
{
	refused(with_field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400);
	refused(with_field("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), 400);
}
END_TEST

START_TEST(a_transfer_encoding_in_1_0_is_refused)
{
	refused("POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}
END_TEST

/* ---- Expect and Connection --------------------------------------------------------------------------------------- */

START_TEST(an_expectation_other_than_100_continue_fails)
{
	refused(with_field("Expect: 200-ok"), 417);
	refused(with_field("Expect:"), 417);
	refused(with_field("Expect: 100-continue, x"), 417);
	accepted("GET / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", NULL);
}
END_TEST

START_TEST(an_expectation_counts_only_with_a_body_and_in_1_1)
{
	struct head h;
	const char *why;

	ck_assert_int_gt(http1_parse_head(&conf, slice_of(with_field("Expect: 100-continue")), 0, &h, &why), 0);
	ck_assert(!h.expect_100);
	ck_assert_int_gt(http1_parse_head(&conf, slice_of(with_field("Expect: 100-CONTINUE\r\nContent-Length: 1")), 0,
		&h, &why), 0);
	ck_assert(h.expect_100);
	ck_assert_int_gt(http1_parse_head(&conf,
		SLICE("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"), 0, &h,
		&why), 0);
	ck_assert(!h.expect_100);
}
END_TEST

START_TEST(the_connection_field_decides_about_the_connection)
{
	accepted(with_field("Connection: close"), " close\n");
	accepted(with_field("Connection: x,CLOSE\t"), " close\n");
	accepted(with_field("Connection: keep-alive, close"), " close\n");
	accepted(with_field("Connection: close\r\nConnection: keep-alive"), " close\n");
	accepted(with_field("Connection: closed, , x-close"), " keep\n");
	accepted(with_field("Connection:"), " keep\n");
	accepted("GET / HTTP/1.0\r\n\r\n", " close\n");
	accepted("GET / HTTP/1.0\r\nConnection: a ,\tKeep-Alive\r\n\r\n", " keep\n");
	accepted("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", " close\n");
}
END_TEST

/* ---- cost -------------------------------------------------------------------------------------------------------- */

/* What was looked at is made unreadable as a head: to look again would be to refuse it. */
START_TEST(a_head_that_trickles_in_is_not_read_over_and_over)
{
	char text[16384];
	size_t n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" H "A: b");
	struct head h;
	const char *why;

	memset(text + n, 'b', sizeof(text) - n);
	ck_assert_int_eq(http1_parse_head(&conf, (struct slice){ text, n }, 0, &h, &why), 0);
	for (uint32_t have = (uint32_t)n + 1; have < 16384; have++) {
		text[have - 3] = '\0';
		if (have != 8192 + 9)   /* where the target may have come to its limit */
			ck_assert_int_eq(http1_parse_head(&conf, (struct slice){ text, have }, have - 1, &h, &why), 0);
	}
	ck_assert_int_eq(http1_parse_head(&conf, (struct slice){ text, 16384 }, 16383, &h, &why), -400);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("http1: fields");
	TCase *field = tcase_create("fields"), *frame = tcase_create("framing");

	tcase_set_timeout(field, 60);
	tcase_set_timeout(frame, 60);
	tcase_add_test(field, fields_that_matter_are_recognised_in_any_case);
	tcase_add_test(field, blanks_around_a_value_are_trimmed);
	tcase_add_test(field, a_name_may_be_any_token);
	tcase_add_test(field, a_name_that_is_not_a_token_is_refused);
	tcase_add_test(field, a_blank_before_the_colon_is_refused);
	tcase_add_test(field, a_line_without_name_or_colon_is_refused);
	tcase_add_test(field, a_folded_line_is_refused);
	tcase_add_test(field, a_bare_lf_is_refused);
	tcase_add_test(field, a_bare_cr_is_refused);
	tcase_add_test(field, control_characters_in_a_value_are_refused);
	tcase_add_test(field, as_many_fields_as_the_limit_are_taken_and_no_more);
	tcase_add_test(field, a_head_over_the_limit_is_refused_before_it_ends);
	tcase_add_test(field, a_head_that_trickles_in_is_not_read_over_and_over);
	tcase_add_test(frame, a_host_is_required_in_1_1);
	tcase_add_test(frame, a_second_host_is_refused);
	tcase_add_test(frame, names_and_addresses_are_hosts);
	tcase_add_test(frame, a_malformed_host_is_refused);
	tcase_add_test(frame, a_content_length_is_digits);
	tcase_add_test(frame, a_malformed_content_length_is_refused);
	tcase_add_test(frame, a_second_content_length_is_refused_even_if_equal);
	tcase_add_test(frame, a_content_length_beyond_63_bits_is_too_large);
	tcase_add_test(frame, content_length_with_transfer_encoding_is_refused);
	tcase_add_test(frame, a_transfer_encoding_other_than_chunked_is_refused);
	tcase_add_test(frame, a_second_transfer_encoding_is_refused);
	tcase_add_test(frame, a_transfer_encoding_in_1_0_is_refused);
	tcase_add_test(frame, an_expectation_other_than_100_continue_fails);
	tcase_add_test(frame, an_expectation_counts_only_with_a_body_and_in_1_1);
	tcase_add_test(frame, the_connection_field_decides_about_the_connection);
	suite_add_tcase(s, field);
	suite_add_tcase(s, frame);
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
