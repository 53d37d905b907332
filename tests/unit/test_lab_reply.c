/* test_lab_reply.c: replies as the lab's clients read them, each split at every byte. */
#include "cli/lab_reply.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a reply of these bytes comes to, given in two pieces; the first ends at `split`. */
static enum reply_said feed(struct reply *r, const char *text, size_t split, size_t *used)
{
	size_t n = strlen(text), first;
	enum reply_said said;

	*r = (struct reply){ .place = 0 };
	said = reply_feed(r, text, split, &first);
	*used = first;
	if (said != REPLY_MORE)
		return said;
	ck_assert_uint_eq(first, split);
	said = reply_feed(r, text + split, n - split, used);
	*used += split;
	return said;
}

/* It is whole after `length` bytes, however it is split. */
static void whole(const char *text, size_t length, unsigned status, bool closes)
{
	for (size_t split = 0; split <= strlen(text); split++) {
		struct reply r;
		size_t used;

		ck_assert_msg(feed(&r, text, split, &used) == REPLY_DONE, "split at %zu: %s", split, text);
		ck_assert_msg(used == length, "split at %zu: %zu bytes of %s", split, used, text);
		ck_assert_uint_eq(r.status, status);
		ck_assert_int_eq(r.close, closes);
	}
}

static void whole_to_the_end(const char *text, bool closes)
{
	whole(text, strlen(text), 200, closes);
}

static void bad(const char *text)
{
	for (size_t split = 0; split <= strlen(text); split++) {
		struct reply r;
		size_t used;

		ck_assert_msg(feed(&r, text, split, &used) == REPLY_BAD, "split at %zu: %s", split, text);
	}
}

#define OK "HTTP/1.1 200 OK\r\n"

START_TEST(a_length_ends_a_reply)
{
	whole_to_the_end(OK "Content-Length: 5\r\n\r\nhello", false);
	whole_to_the_end(OK "content-length:5\r\nServer: x\r\n\r\nhello", false);
	whole_to_the_end(OK "Content-Length: 0\r\n\r\n", false);
	whole(OK "Content-Length: 5\r\n\r\nhelloHTTP/1.1", sizeof(OK) - 1 + 26, 200, false);
	whole_to_the_end(OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false);
}
END_TEST

START_TEST(the_last_chunk_ends_a_reply)
{
	whole_to_the_end(OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false);
	whole_to_the_end(OK "Transfer-Encoding: Chunked\r\n\r\nA;x=1\r\n0123456789\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n",
		false);
	whole_to_the_end(OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false);
}
END_TEST

START_TEST(some_statuses_have_no_body)
{
	whole("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1", 27, 204, false);
	whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 48, 304, false);
}
END_TEST

START_TEST(interim_replies_are_passed_over)
{
	whole_to_the_end("HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" OK "Content-Length: 2\r\n\r\nhi", false);
}
END_TEST

START_TEST(whether_the_connection_ends_is_told)
{
	whole_to_the_end(OK "Connection: close\r\nContent-Length: 2\r\n\r\nhi", true);
	whole_to_the_end(OK "connection: foo, CLOSE\r\nContent-Length: 2\r\n\r\nhi", true);
	whole_to_the_end("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", true);
	whole_to_the_end("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", false);
}
END_TEST

START_TEST(a_body_without_length_ends_with_its_connection)
{
	static const char text[] = OK "Server: x\r\n\r\nhello";

	for (size_t split = 0; split < sizeof(text); split++) {
		struct reply r;
		size_t used;

		ck_assert_int_eq(feed(&r, text, split, &used), REPLY_MORE);
		ck_assert(reply_ends_here(&r));
		ck_assert(r.close);
		ck_assert_uint_eq(used, sizeof(text) - 1);
	}
}
END_TEST

START_TEST(half_a_reply_does_not_end_with_its_connection)
{
	struct reply r = { .place = 0 };
	size_t used;

	ck_assert_int_eq(reply_feed(&r, "HT", 2, &used), REPLY_MORE);
	ck_assert(!reply_ends_here(&r));
	r = (struct reply){ .place = 0 };
	ck_assert_int_eq(reply_feed(&r, OK "Content-Length: 5\r\n\r\nhell", sizeof(OK) - 1 + 25, &used), REPLY_MORE);
	ck_assert(!reply_ends_here(&r));
}
END_TEST

START_TEST(a_line_longer_than_any_we_look_for_is_passed_over)
{
	char text[2000];
	size_t n = (size_t)snprintf(text, sizeof(text), OK "X-Long: ");

	memset(text + n, 'x', 1000);
	snprintf(text + n + 1000, sizeof(text) - n - 1000, "\r\nContent-Length: 2\r\n\r\nhi");
	whole_to_the_end(text, false);
}
END_TEST

START_TEST(what_is_no_reply_is_refused)
{
	bad("SSH-2.0-OpenSSH_9.2\r\n");
	bad("HTTP/2 200 OK\r\n\r\n");
	bad("HTTP/1.1 2x0 OK\r\n\r\n");
	bad("HTTP/1.1 000 OK\r\n\r\n");
	bad("HTTP/1.1\r\n\r\n");
	bad("\r\n" OK "\r\n");
	bad(OK "Content-Length: five\r\n\r\n");
	bad(OK "Content-Length: -5\r\n\r\n");
	bad(OK "Content-Length: 99999999999999999999\r\n\r\n");
	bad(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\nxyz\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab_reply");
	TCase *c = tcase_create("lab_reply");
	SRunner *r;
	int failed;

	tcase_add_test(c, a_length_ends_a_reply);
	tcase_add_test(c, the_last_chunk_ends_a_reply);
	tcase_add_test(c, some_statuses_have_no_body);
	tcase_add_test(c, interim_replies_are_passed_over);
	tcase_add_test(c, whether_the_connection_ends_is_told);
	tcase_add_test(c, a_body_without_length_ends_with_its_connection);
	tcase_add_test(c, half_a_reply_does_not_end_with_its_connection);
	tcase_add_test(c, a_line_longer_than_any_we_look_for_is_passed_over);
	tcase_add_test(c, what_is_no_reply_is_refused);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
