/* test_http1_body.c: how bodies arrive, what follows a request, and what becomes of a body that nobody reads. */
#include "http1_examples.h"

#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define POST(n) "POST / HTTP/1.1\r\n" H "Content-Length: " #n "\r\n\r\n"
#define NEXT "GET /next HTTP/1.1\r\n" H "\r\n"

static void chunks_refused(const char *chunks)
{
	char text[2000];
	const char *trace;

	snprintf(text, sizeof(text), CHUNKED "%s", chunks);
	trace = told(slice_of(text));
	if (!strstr(trace, "REFUSE 400 "))
		ck_abort_msg("not refused:\n%s\n%s", chunks, trace);
}

static void chunks_accepted(const char *chunks, const char *part)
{
	char text[2000];
	const char *trace;

	snprintf(text, sizeof(text), CHUNKED "%s" NEXT, chunks);
	trace = told(slice_of(text));
	if (!strstr(trace, part) || !strstr(trace, "path=/next"))
		ck_abort_msg("not accepted:\n%s\n%s", chunks, trace);
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

START_TEST(chunks_are_joined_to_a_body)
{
	chunks_accepted("5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", "BODY hello, world\nEND\n");
	chunks_accepted("0\r\n\r\n", " chunked keep\n");
	chunks_accepted("000a\r\n0123456789\r\n00000000000000\r\n\r\n", "BODY 0123456789\nEND\n");
	chunks_accepted("A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "BODY \r\n\r\n\r\n\r\n\r\n\nEND\n");
}
END_TEST

START_TEST(a_malformed_chunk_size_is_refused)
{
	static const char *const lines[] = { "", "g", "-1", "+1", "0x1", " 1", "1 ", "1\t", "\t1", "1,", "1.", "1h",
		"\"1\"", "\x80" };
	char text[64];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(text, sizeof(text), "%s\r\na\r\n0\r\n\r\n", lines[i]);
		chunks_refused(text);
	}
}
END_TEST

START_TEST(a_chunk_size_that_overflows_is_refused)
{
	chunks_refused("8000000000000000\r\n");
	chunks_refused("ffffffffffffffff\r\n");
	chunks_refused("00000000000000001\r\na\r\n0\r\n\r\n");
	chunks_refused("10000000000000000\r\n");
}
END_TEST

START_TEST(a_chunk_may_be_as_large_as_63_bits)
{
	struct slice in = SLICE("7fffffffffffffff\r\n");
	const char *why;
	uint64_t size;
	size_t ext;

	ck_assert_int_eq(http1_parse_chunk_line(in, &size, &ext, &why), (ssize_t)in.n);
	ck_assert_uint_eq(size, INT64_MAX);
	ck_assert_uint_eq(ext, 0);
}
END_TEST

START_TEST(a_chunk_terminator_is_exactly_crlf)
{
	chunks_refused("1\na\r\n0\r\n\r\n");
	chunks_refused("1\r\na\n0\r\n\r\n");
	chunks_refused("1\r\na\r0\r\n\r\n");
	chunks_refused("1\r\r\na\r\n0\r\n\r\n");
	chunks_refused("1\r\nab\r\n0\r\n\r\n");
	chunks_refused("1\r\na0\r\n\r\n");
	chunks_refused("1\r\na\r\n0\n\r\n");
	chunks_refused("1\r\na\r\n0\r\n\n");
	chunks_refused("1\r\na\r\n0\r\n\r\r");
}
END_TEST

START_TEST(chunk_extensions_are_ignored)
{
	chunks_accepted("1;a\r\nx\r\n0\r\n\r\n", "BODY x\nEND\n");
	chunks_accepted("1;a=b;c;d=\"e \\\" ;\t\x80\"\r\nx\r\n0;z=\"\"\r\n\r\n", "BODY x\nEND\n");
}
END_TEST

START_TEST(malformed_chunk_extensions_are_refused)
{
	static const char *const lines[] = { "1;", "1;;a", "1; a", "1 ;a", "1;a =b", "1;a= b", "1;a=", "1;=b",
		"1;a=\"b", "1;a=\"b\"c",
		"1;a\x01", "1;a=\"\x01\"", "1;a=\"\\\x01\"", "1;a=\"\n\"", "1;a=\"\r\"", "1;a=\"\x7f\"", "1;a\rb",
		"1;a\nb", "1;a=b=c", "1;a@" };
	char text[64];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(text, sizeof(text), "%s\r\nx\r\n0\r\n\r\n", lines[i]);
		chunks_refused(text);
	}
}
END_TEST

START_TEST(a_chunk_line_over_its_limit_is_refused_before_it_ends)
{
	char line[400] = "1;";
	const char *why;
	uint64_t size;
	size_t ext;

	memset(line + 2, 'a', 398);
	ck_assert_int_eq(http1_parse_chunk_line((struct slice){ line, 255 }, &size, &ext, &why), 0);
	ck_assert_int_eq(http1_parse_chunk_line((struct slice){ line, 256 }, &size, &ext, &why), -400);
	memcpy(line + 254, "\r\n", 2);
	ck_assert_int_eq(http1_parse_chunk_line((struct slice){ line, 256 }, &size, &ext, &why), 256);
	ck_assert_uint_eq(ext, 253);
}
END_TEST

START_TEST(all_chunk_extensions_together_are_bounded)
{
	char *text = malloc(40000);
	size_t n = (size_t)snprintf(text, 40000, CHUNKED);

	for (int i = 0; i < 170; i++) {
		n += (size_t)snprintf(text + n, 40000 - n, "1;");
		memset(text + n, 'a', 100);
		n += 100;
		n += (size_t)snprintf(text + n, 40000 - n, "\r\nx\r\n");
	}
	ck_assert_ptr_nonnull(strstr(told((struct slice){ text, n }), "REFUSE 400 too many chunk extensions"));
	free(text);
}
END_TEST

/* ---- trailers ---------------------------------------------------------------------------------------------------- */

START_TEST(trailers_are_told_at_the_end)
{
	chunks_accepted("1\r\nx\r\n0\r\nDigest: a \r\nX:\r\n\r\n", "BODY x\nEND\n  Digest: [a] 0\n  X: [] 0\n");
}
END_TEST

START_TEST(fields_that_frame_or_route_are_refused_in_trailers)
{
	static const char *const names[] = { "Content-Length", "Transfer-Encoding", "Host", "Connection", "Expect",
		"Upgrade", "Trailer",
		"Cookie", "content-type" };
	char text[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "0\r\n%s: 1\r\n\r\n", names[i]);
		chunks_refused(text);
	}
}
END_TEST

START_TEST(trailers_are_parsed_as_strictly_as_fields)
{
	chunks_refused("0\r\nA : b\r\n\r\n");
	chunks_refused("0\r\nA: b\r\n c\r\n\r\n");
	chunks_refused("0\r\nA: b\n\r\n");
	chunks_refused("0\r\nA: \x01\r\n\r\n");
	chunks_refused("0\r\nA\r\n\r\n");
	chunks_refused("0\r\n: b\r\n\r\n");
	chunks_refused("0\r\n" NEXT);
}
END_TEST

START_TEST(trailers_over_a_limit_are_refused)
{
	char *text = malloc(40000);
	size_t n = (size_t)snprintf(text, 40000, CHUNKED "0\r\n"), start = n;

	for (int i = 0; i < 101; i++)
		n += (size_t)snprintf(text + n, 40000 - n, "A: b\r\n");
	ck_assert_ptr_nonnull(strstr(told((struct slice){ text, n }), "REFUSE 431 "));
	n = start + (size_t)snprintf(text + start, 40000 - start, "A: ");
	memset(text + n, 'b', 17000);
	ck_assert_ptr_nonnull(strstr(told((struct slice){ text, n + 17000 }), "REFUSE 431 "));
	free(text);
}
END_TEST

/* ---- bodies by length -------------------------------------------------------------------------------------------- */

START_TEST(a_body_ends_after_its_length)
{
	ck_assert_ptr_nonnull(strstr(told(SLICE(POST(5) "hello" NEXT)), "BODY hello\nEND\nHEAD GET /next "));
	ck_assert_ptr_nonnull(strstr(told(SLICE(POST(0) NEXT)), "length=0 keep\n"));
	ck_assert_ptr_nonnull(strstr(told(SLICE(POST(10) "hello")), "BODY hello\nleft 0\n"));
}
END_TEST

START_TEST(a_body_with_a_get_is_read_too)
{
	ck_assert_ptr_nonnull(strstr(told(SLICE("GET / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nhi" NEXT)),
		"BODY hi\nEND\nHEAD"));
}
END_TEST

/* ---- one connection, step by step -------------------------------------------------------------------------------- */

static struct http1 http;
static struct proto_event ev;

/* Feeds s in one call; the bytes consumed. */
static size_t feed(const char *s)
{
	return http.proto.ops->feed(&http.proto, slice_of(s), &ev);
}

static void start(const char *head)
{
	http1_init(&http, &conf);
	ck_assert_uint_eq(feed(head), strlen(head));
	ck_assert_int_eq(ev.kind, PROTO_HEAD);
}

static const struct reply ok = { .status = 200, .kind = BODY_BYTES, .body.bytes = { "ok", 2 }, .length = 2 };
static char sent[4096];

/* Drains everything; what was sent is in `sent`. */
static struct proto_out drain(const struct reply *r)
{
	char room[1024];
	struct iovec iov[8];
	struct proto_out out = { .room = room, .room_n = sizeof(room), .iov = iov, .iov_max = 8, .date = TRACE_DATE };
	size_t n = 0;

	http.stream.reply = r;
	http.proto.ops->drain(&http.proto, &out, SIZE_MAX);
	for (unsigned i = 0; i < out.niov; i++) {
		memcpy(sent + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	sent[n] = '\0';
	ck_assert_uint_eq(n, out.bytes);
	return out;
}

static void end_stream(void)
{
	http.proto.ops->stream_end(&http.proto, &http.stream);
}

static bool says_close(void)
{
	return strstr(sent, "\r\nConnection: close\r\n") != NULL;
}

START_TEST(a_connection_is_idle_only_between_requests)
{
	const struct proto_ops *ops;

	http1_init(&http, &conf);
	ops = http.proto.ops;
	ck_assert(ops->idle(&http.proto));
	ck_assert_uint_eq(feed("\r\n"), 2);
	ck_assert(ops->idle(&http.proto));
	ck_assert_uint_eq(feed("G"), 0);
	ck_assert(!ops->idle(&http.proto));
	ck_assert_uint_eq(feed(NEXT), strlen(NEXT));
	ck_assert(!ops->idle(&http.proto));
	feed("");
	ck_assert_int_eq(ev.kind, PROTO_END);
	ck_assert(!ops->idle(&http.proto));
	drain(&ok);
	ck_assert(!ops->idle(&http.proto));
	end_stream();
	ck_assert(ops->idle(&http.proto));
}
END_TEST

START_TEST(the_next_request_waits_for_the_end_of_the_stream)
{
	uint32_t id;

	start(NEXT);
	id = http.stream.id;
	ck_assert_uint_eq(feed(NEXT), 0);
	ck_assert_int_eq(ev.kind, PROTO_END);
	ck_assert(!http.proto.ops->want_read(&http.proto));
	ck_assert_uint_eq(feed(NEXT), 0);
	ck_assert_int_eq(ev.kind, PROTO_BUSY);
	ck_assert(drain(&ok).finished);
	feed(NEXT);
	ck_assert_int_eq(ev.kind, PROTO_BUSY);
	end_stream();
	ck_assert_ptr_null(http.stream.reply);
	ck_assert_uint_eq(feed(NEXT), strlen(NEXT));
	ck_assert_int_eq(ev.kind, PROTO_HEAD);
	ck_assert_uint_ne(http.stream.id, id);
}
END_TEST

START_TEST(a_paused_body_is_not_taken)
{
	start(POST(10));
	http.stream.body_paused = true;
	ck_assert(!http.proto.ops->want_read(&http.proto));
	ck_assert_uint_eq(feed("hello"), 0);
	ck_assert_int_eq(ev.kind, PROTO_BUSY);
	http.stream.body_paused = false;
	http.proto.ops->resume(&http.proto, &http.stream);
	ck_assert_uint_eq(feed("hello"), 5);
	ck_assert_int_eq(ev.kind, PROTO_BODY);
	http.stream.body_paused = true;
	ck_assert_uint_eq(feed("world"), 0);
	http.stream.body_paused = false;
	ck_assert_uint_eq(feed("world"), 5);
	http.stream.body_paused = true;
	feed("");
	ck_assert_int_eq(ev.kind, PROTO_END);
}
END_TEST

START_TEST(what_is_left_of_a_body_is_discarded_after_the_reply)
{
	start(POST(10));
	feed("hello");
	ck_assert(!drain(&ok).close);
	ck_assert(!says_close());
	end_stream();
	ck_assert(http.proto.ops->want_read(&http.proto));
	ck_assert_uint_eq(feed("wor"), 3);
	ck_assert_int_eq(ev.kind, PROTO_MORE);
	ck_assert_uint_eq(feed("ld" NEXT), 2);
	ck_assert_int_eq(ev.kind, PROTO_END);
	ck_assert_uint_eq(feed(NEXT), strlen(NEXT));
	ck_assert_int_eq(ev.kind, PROTO_HEAD);
}
END_TEST

START_TEST(what_is_left_of_chunks_is_discarded_after_the_reply)
{
	start(CHUNKED);
	ck_assert(!drain(&ok).close);
	end_stream();
	ck_assert_uint_eq(feed("5\r\nhello\r\n0\r\nA: b\r\n\r\n" NEXT), 21);
	ck_assert_int_eq(ev.kind, PROTO_END);
	ck_assert_uint_eq(feed(NEXT), strlen(NEXT));
	ck_assert_int_eq(ev.kind, PROTO_HEAD);
	ck_assert_str_eq(http.head.base + http.head.path, "/next HTTP/1.1\r\n" H "\r\n");
}
END_TEST

START_TEST(a_paused_body_is_discarded_all_the_same)
{
	start(POST(5));
	http.stream.body_paused = true;
	drain(&ok);
	end_stream();
	ck_assert_uint_eq(feed("hello" NEXT), 5);
	ck_assert_int_eq(ev.kind, PROTO_END);
	ck_assert_uint_eq(feed(NEXT), strlen(NEXT));
	ck_assert_int_eq(ev.kind, PROTO_HEAD);
}
END_TEST

START_TEST(a_reply_before_a_body_too_long_to_discard_says_close)
{
	start(POST(65537));
	ck_assert(drain(&ok).close);
	ck_assert(says_close());
	end_stream();
	feed("x");
	ck_assert_int_eq(ev.kind, PROTO_BUSY);
	start(POST(65537));
	feed("x");
	ck_assert(!drain(&ok).close);
}
END_TEST

START_TEST(a_reply_within_a_chunk_too_large_to_discard_says_close)
{
	start(CHUNKED);
	feed("10002\r\nx");
	ck_assert(drain(&ok).close);
	ck_assert(says_close());
}
END_TEST

START_TEST(more_chunks_than_may_be_discarded_end_the_connection)
{
	static char data[65537];

	memset(data, 'x', 65536);
	start(CHUNKED);
	ck_assert(!drain(&ok).close);
	end_stream();
	feed("10000\r\n");
	ck_assert_uint_eq(feed(data), 65536);
	feed("\r\n1\r\n");
	ck_assert_int_eq(ev.kind, PROTO_MORE);
	feed("x");
	ck_assert_int_eq(ev.kind, PROTO_REFUSE);
	ck_assert_int_eq(ev.status, 0);
	ck_assert(!http.proto.ops->want_read(&http.proto));
}
END_TEST

START_TEST(a_bad_chunk_is_refused_and_only_a_closing_reply_can_follow)
{
	start(CHUNKED);
	feed("1\r\nx\r\n");
	ck_assert_int_eq(ev.kind, PROTO_BODY);
	feed("\r\nzz\r\n");
	ck_assert_int_eq(ev.kind, PROTO_REFUSE);
	ck_assert_int_eq(ev.status, 400);
	ck_assert_ptr_eq(ev.stream, &http.stream);
	feed(NEXT);
	ck_assert_int_eq(ev.kind, PROTO_BUSY);
	ck_assert(drain(&ok).close);
	ck_assert(says_close());
	end_stream();
	feed(NEXT);
	ck_assert_int_eq(ev.kind, PROTO_BUSY);
}
END_TEST

START_TEST(a_bad_chunk_under_a_reply_cannot_be_answered)
{
	start(CHUNKED);
	drain(&ok);
	feed("zz\r\n");
	ck_assert_int_eq(ev.kind, PROTO_REFUSE);
	ck_assert_int_eq(ev.status, 0);
}
END_TEST

START_TEST(a_stream_that_ends_without_its_reply_ends_the_connection)
{
	start(NEXT);
	feed("");
	end_stream();
	feed(NEXT);
	ck_assert_int_eq(ev.kind, PROTO_BUSY);
	ck_assert(!http.proto.ops->want_read(&http.proto));
}
END_TEST

START_TEST(a_refused_head_is_answered_without_a_body)
{
	http1_init(&http, &conf);
	feed("HEAD /a#b HTTP/1.1\r\n");
	ck_assert_int_eq(ev.kind, PROTO_REFUSE);
	ck_assert(drain(&ok).close);
	ck_assert_ptr_nonnull(strstr(sent, "Content-Length: 2\r\n"));
	ck_assert_ptr_null(strstr(sent, "\r\n\r\nok"));
}
END_TEST

/* ---- 100 Continue ------------------------------------------------------------------------------------------------ */

#define EXPECTING "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

static void resume(void)
{
	http.proto.ops->resume(&http.proto, &http.stream);
}

START_TEST(a_100_is_sent_once_when_the_body_is_awaited)
{
	start(EXPECTING);
	ck_assert_uint_eq(drain(NULL).bytes, 0);
	resume();
	ck_assert(!drain(NULL).finished);
	ck_assert_str_eq(sent, CONTINUE);
	resume();
	ck_assert_uint_eq(drain(NULL).bytes, 0);
	ck_assert_uint_eq(feed("hello"), 5);
	feed("");
	ck_assert(!drain(&ok).close);
}
END_TEST

START_TEST(a_100_is_sent_for_chunks_too)
{
	start("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
	resume();
	drain(NULL);
	ck_assert_str_eq(sent, CONTINUE);
}
END_TEST

START_TEST(no_100_is_sent_to_a_client_that_did_not_ask)
{
	start(POST(5));
	resume();
	ck_assert_uint_eq(drain(NULL).bytes, 0);
	start("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	resume();
	ck_assert_uint_eq(drain(NULL).bytes, 0);
}
END_TEST

START_TEST(no_100_is_sent_once_the_body_is_coming)
{
	start(EXPECTING);
	feed("h");
	resume();
	ck_assert_uint_eq(drain(NULL).bytes, 0);
	start(EXPECTING);
	resume();
	feed("h");
	ck_assert_uint_eq(drain(NULL).bytes, 0);
}
END_TEST

START_TEST(no_100_is_sent_with_or_after_the_reply)
{
	start(EXPECTING);
	resume();
	drain(&ok);
	ck_assert_int_eq(strncmp(sent, "HTTP/1.1 200 ", 13), 0);
	resume();
	ck_assert_uint_eq(drain(&ok).bytes, 0);
}
END_TEST

START_TEST(a_reply_instead_of_a_100_says_close)
{
	start(EXPECTING);
	ck_assert(drain(&ok).close);
	ck_assert(says_close());
}
END_TEST

/* ---- anything ---------------------------------------------------------------------------------------------------- */

START_TEST(mutated_requests_tell_the_same_however_they_come)
{
	static const char *const seeds[] = {
		POST(5) "hello" NEXT,
		CHUNKED "5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n" NEXT,
		"OPTIONS http://[::1]:80/a/../b?c=%20d HTTP/1.1\r\n" H "Connection: a, close\r\n\r\n",
		NEXT "\r\n" NEXT,
	};
	static const char bytes[] = "\r\n \t:;,=%/?.#\"0159aAfF\x80\x7f\x01";
	uint64_t x = 88172645463325252u;
	char text[512];

	for (int round = 0; round < 3000; round++) {
		const char *from = seeds[round % 4];
		size_t n = strlen(from);

		memcpy(text, from, n);
		for (int i = 0; i < 1 + round % 3; i++) {
			size_t at;

			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			at = (size_t)(x >> 32) % n;
			if (x % 3 == 0) {
				memmove(text + at, text + at + 1, n - at - 1);
				n--;
			} else if (x % 3 == 1) {
				text[at] = bytes[(x >> 16) % (sizeof(bytes) - 1)];
			} else {
				memmove(text + at + 1, text + at, n - at);
				text[at] = bytes[(x >> 16) % (sizeof(bytes) - 1)];
				n++;
			}
		}
		told((struct slice){ text, n });
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("http1: bodies");
	TCase *chunk = tcase_create("chunks"), *conn = tcase_create("connection"), *cont = tcase_create("100 Continue"),
		*any = tcase_create("anything");

	tcase_add_test(chunk, chunks_are_joined_to_a_body);
	tcase_add_test(chunk, a_malformed_chunk_size_is_refused);
	tcase_add_test(chunk, a_chunk_size_that_overflows_is_refused);
	tcase_add_test(chunk, a_chunk_may_be_as_large_as_63_bits);
	tcase_add_test(chunk, a_chunk_terminator_is_exactly_crlf);
	tcase_add_test(chunk, chunk_extensions_are_ignored);
	tcase_add_test(chunk, malformed_chunk_extensions_are_refused);
	tcase_add_test(chunk, a_chunk_line_over_its_limit_is_refused_before_it_ends);
	tcase_add_test(chunk, all_chunk_extensions_together_are_bounded);
	tcase_add_test(chunk, trailers_are_told_at_the_end);
	tcase_add_test(chunk, fields_that_frame_or_route_are_refused_in_trailers);
	tcase_add_test(chunk, trailers_are_parsed_as_strictly_as_fields);
	tcase_add_test(chunk, trailers_over_a_limit_are_refused);
	tcase_add_test(conn, a_body_ends_after_its_length);
	tcase_add_test(conn, a_body_with_a_get_is_read_too);
	tcase_add_test(conn, a_connection_is_idle_only_between_requests);
	tcase_add_test(conn, the_next_request_waits_for_the_end_of_the_stream);
	tcase_add_test(conn, a_paused_body_is_not_taken);
	tcase_add_test(conn, what_is_left_of_a_body_is_discarded_after_the_reply);
	tcase_add_test(conn, what_is_left_of_chunks_is_discarded_after_the_reply);
	tcase_add_test(conn, a_paused_body_is_discarded_all_the_same);
	tcase_add_test(conn, a_reply_before_a_body_too_long_to_discard_says_close);
	tcase_add_test(conn, a_reply_within_a_chunk_too_large_to_discard_says_close);
	tcase_add_test(conn, more_chunks_than_may_be_discarded_end_the_connection);
	tcase_add_test(conn, a_bad_chunk_is_refused_and_only_a_closing_reply_can_follow);
	tcase_add_test(conn, a_bad_chunk_under_a_reply_cannot_be_answered);
	tcase_add_test(conn, a_stream_that_ends_without_its_reply_ends_the_connection);
	tcase_add_test(conn, a_refused_head_is_answered_without_a_body);
	tcase_add_test(cont, a_100_is_sent_once_when_the_body_is_awaited);
	tcase_add_test(cont, a_100_is_sent_for_chunks_too);
	tcase_add_test(cont, no_100_is_sent_to_a_client_that_did_not_ask);
	tcase_add_test(cont, no_100_is_sent_once_the_body_is_coming);
	tcase_add_test(cont, no_100_is_sent_with_or_after_the_reply);
	tcase_add_test(cont, a_reply_instead_of_a_100_says_close);
	tcase_add_test(any, mutated_requests_tell_the_same_however_they_come);
	tcase_set_timeout(any, 120);
	suite_add_tcase(s, chunk);
	suite_add_tcase(s, conn);
	suite_add_tcase(s, cont);
	suite_add_tcase(s, any);
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
