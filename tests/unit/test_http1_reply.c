/* test_http1_reply.c: what replies look like on the wire, whatever room and iovecs there are to put them in. */
#include "base/list.h"
#include "http1_trace.h"

#include <check.h>
#include <errno.h>

static struct head_field fields[200];
static struct http1_conf conf = { 8192, 16384, 100, 65536, false, fields };
static struct http1 http;

#define GET_1_1 "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_1_0 "GET / HTTP/1.0\r\n\r\n"
#define KEEP_1_0 "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
#define DATE "Date: " TRACE_DATE "\r\n"
#define TEXT "Content-Type: text/plain\r\n"

/* ---- a source of a body ------------------------------------------------------------------------------------------ */

/* Lends its text in pieces, then says `last`: 0, or an error.  A piece of no length: nothing now. */
struct source {
	struct body_source base;
	const struct slice *pieces;
	size_t npieces;
	int last;
	size_t piece, at;           /* what comes next */
	size_t lent, taken;
	unsigned calls, iov_most;
};

/* Check writes to a pipe at each of its assertions, which is too slow for what is done a million times. */
static void require(bool ok, const char *what)
{
	if (!ok)
		ck_abort_msg("%s", what);
}

static int lend(struct body_source *base, struct iovec *iov, unsigned *n, size_t budget)
{
	struct source *s = container_of(base, struct source, base);
	unsigned max = *n;

	require(max > 0 && budget > 0, "a source was asked for nothing");
	s->calls++;
	*n = 0;
	while (s->piece < s->npieces && *n < max && budget > 0) {
		struct slice p = s->pieces[s->piece];
		size_t k = p.n - s->at < budget ? p.n - s->at : budget;

		if (p.n == 0) {
			s->piece++;
			return 1;
		}
		iov[(*n)++] = (struct iovec){ (void *)(uintptr_t)(p.p + s->at), k };
		s->at += k;
		s->lent += k;
		budget -= k;
		if (s->at == p.n) {
			s->piece++;
			s->at = 0;
		}
	}
	return s->piece < s->npieces ? 1 : s->last;
}

static void taken(struct body_source *base, size_t n)
{
	struct source *s = container_of(base, struct source, base);

	s->taken += n;
	require(s->taken <= s->lent, "more was taken than lent");
}

static struct source source_of(const struct slice *pieces, size_t n, int last)
{
	return (struct source){ .base = { lend, taken }, .pieces = pieces, .npieces = n, .last = last };
}

/* ---- drains ------------------------------------------------------------------------------------------------------ */

struct drained {
	char *text;
	size_t n;
	bool finished, close, aborted, borrowed;
	unsigned calls;
};

static struct drained got;

static void start(const char *head)
{
	struct proto_event ev;

	http1_init(&http, &conf);
	http.proto.ops->feed(&http.proto, slice_of(head), &ev);
	ck_assert_int_eq(ev.kind, PROTO_HEAD);
	http.proto.ops->feed(&http.proto, (struct slice){ head, 0 }, &ev);
}

static void forget(void)
{
	free(got.text);
	got = (struct drained){ 0 };
}

static void keep(const struct proto_out *out)
{
	size_t n = 0;

	got.text = realloc(got.text, got.n + out->bytes + 1);
	require(got.text != NULL, "no memory");
	for (unsigned i = 0; i < out->niov; i++) {
		memcpy(got.text + got.n + n, out->iov[i].iov_base, out->iov[i].iov_len);
		n += out->iov[i].iov_len;
	}
	require(n == out->bytes, "the count of bytes is wrong");
	got.n += n;
	got.text[got.n] = '\0';
}

/* One call with a fresh out; true when it says so. */
static bool drain_once(size_t room_n, unsigned iov_max, size_t budget, struct source *s)
{
	char *room = malloc(room_n);
	struct iovec *iov = malloc(iov_max * sizeof(*iov));
	struct proto_out out = { .room = room, .room_n = room_n, .iov = iov, .iov_max = iov_max, .date = TRACE_DATE };
	bool said = http.proto.ops->drain(&http.proto, &out, budget);

	require(said == (out.bytes > 0 || out.finished), "drain did not say what it did");
	require(out.stream == &http.stream, "drain did not name the stream");
	require(out.used <= room_n && out.niov <= iov_max, "drain went beyond its room");
	keep(&out);
	if (out.lent) {
		require(out.borrowed, "lent bytes are borrowed");
		taken(&s->base, out.lent);
	}
	got.finished = got.finished || out.finished;
	got.close = got.close || out.close;
	got.aborted = got.aborted || out.aborted;
	got.borrowed = got.borrowed || out.borrowed;
	got.calls++;
	free(room);
	free(iov);
	return said;
}

/* The whole reply to a request; `got` is set. */
static const char *drain(const char *head, const struct reply *r, struct source *s, size_t room_n, unsigned iov_max,
	size_t budget)
{
	forget();
	start(head);
	http.stream.reply = r;
	while (!got.finished)
		if (!drain_once(room_n, iov_max, budget, s))
			ck_assert_msg(s != NULL && s->piece > 0, "stuck after %s", got.text);
	return got.text;
}

static const char *whole(const char *head, const struct reply *r)
{
	return drain(head, r, NULL, 16384, 64, SIZE_MAX);
}

static const struct reply hello = { .status = 200, .type = { "text/plain", 10 }, .kind = BODY_BYTES,
	.body.bytes = { "Hello", 5 }, .length = 5 };

/* ---- heads ------------------------------------------------------------------------------------------------------- */

START_TEST(a_reply_is_status_fields_and_body)
{
	struct reply_field second = { .name = SLICE("X-B"), .value = SLICE("2") }, first = { &second, SLICE("X-A"),
		SLICE("1") };
	struct reply r = hello;

	r.fields = &first;
	ck_assert_str_eq(whole(GET_1_1, &r),
		"HTTP/1.1 200 OK\r\n" DATE TEXT "Content-Length: 5\r\nX-A: 1\r\nX-B: 2\r\n\r\nHello");
	ck_assert(!got.close);
	ck_assert(!got.borrowed);
}
END_TEST

START_TEST(every_status_has_its_reason_and_unknown_ones_none)
{
	static const struct { int status; const char *line; } lines[] = { { 200, "HTTP/1.1 200 OK\r\n" },
		{ 404, "HTTP/1.1 404 Not Found\r\n" }, { 422, "HTTP/1.1 422 Unprocessable Content\r\n" }, { 299,
		"HTTP/1.1 299 \r\n" } };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct reply r = { .status = lines[i].status };

		ck_assert_int_eq(strncmp(whole(GET_1_1, &r), lines[i].line, strlen(lines[i].line)), 0);
	}
	for (int status = 100; status < 600; status++)
		ck_assert_uint_le(strlen(http1_reason(status)), 31);
}
END_TEST

START_TEST(a_head_is_written_whole_or_not_at_all)
{
	struct reply_field f = { .name = SLICE("X-A"), .value = SLICE("1") };
	struct reply r = { .status = 431, .type = SLICE("text/plain"), .fields = &f, .kind = BODY_BYTES,
		.length = UINT64_MAX };
	char room[1000];

	for (enum http1_framing as = HTTP1_LENGTH; as <= HTTP1_NO_BODY; as++) {
		size_t len = http1_write_head(room, sizeof(room), &r, as, true, false, TRACE_DATE);

		ck_assert_uint_gt(len, 0);
		ck_assert_uint_eq(http1_write_head(room, len, &r, as, true, false, TRACE_DATE), len);
		ck_assert_uint_eq(http1_write_head(room, len - 1, &r, as, true, false, TRACE_DATE), 0);
	}
}
END_TEST

/* From the room on from which it is written without asking for more, whatever it says. */
START_TEST(no_plain_head_is_longer_than_it_is_said_to_be)
{
	struct reply r = { .type = SLICE("text/plain; charset=utf-8"), .kind = BODY_BYTES, .length = UINT64_MAX };
	size_t bound = HTTP1_PLAIN_HEAD_MAX + r.type.n, longest = 0;
	char *exact = malloc(bound), tight[HTTP1_PLAIN_HEAD_MAX + 100];

	for (r.status = 100; r.status < 600; r.status++)
		for (enum http1_framing as = HTTP1_LENGTH; as <= HTTP1_NO_BODY; as++)
			for (int say = 0; say < 3; say++) {
				size_t len = http1_write_head(exact, bound, &r, as, say == 1, say == 2, TRACE_DATE);

				require(len > 0 && len <= bound, "longer than it is said to be");
				require(http1_write_head(tight, len, &r, as, say == 1, say == 2, TRACE_DATE) == len &&
					memcmp(tight, exact, len) == 0, "it hangs on the room");
				longest = len > longest ? len : longest;
			}
	ck_assert_uint_eq(longest, strlen("HTTP/1.1 431 Request Header Fields Too Large\r\n" DATE
		"Content-Type: \r\nContent-Length: 18446744073709551615\r\nConnection: keep-alive\r\n\r\n") +
		r.type.n);
	ck_assert_uint_le(longest, bound);
	free(exact);
}
END_TEST

START_TEST(an_empty_reply_has_a_length_of_0)
{
	struct reply r = { .status = 404 };

	ck_assert_str_eq(whole(GET_1_1, &r), "HTTP/1.1 404 Not Found\r\n" DATE "Content-Length: 0\r\n\r\n");
}
END_TEST

START_TEST(replies_that_cannot_have_a_body_have_neither_length_nor_body)
{
	struct reply r = hello;

	r.type.n = 0;
	r.status = 204;
	ck_assert_str_eq(whole(GET_1_1, &r), "HTTP/1.1 204 No Content\r\n" DATE "\r\n");
	r.status = 304;
	ck_assert_str_eq(whole(GET_1_1, &r), "HTTP/1.1 304 Not Modified\r\n" DATE "\r\n");
	ck_assert(!got.close);
}
END_TEST

START_TEST(a_reply_to_head_has_the_fields_of_get_and_no_body)
{
	struct source s = source_of(NULL, 0, 0);
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base };

	ck_assert_str_eq(whole("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &hello),
		"HTTP/1.1 200 OK\r\n" DATE TEXT "Content-Length: 5\r\n\r\n");
	ck_assert_str_eq(whole("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &r),
		"HTTP/1.1 200 OK\r\n" DATE "Transfer-Encoding: chunked\r\n\r\n");
	ck_assert_uint_eq(s.calls, 0);
}
END_TEST

/* ---- the connection ---------------------------------------------------------------------------------------------- */

START_TEST(a_1_0_client_is_closed_on_unless_it_asks_otherwise)
{
	ck_assert_str_eq(whole(GET_1_0, &hello),
		"HTTP/1.1 200 OK\r\n" DATE TEXT "Content-Length: 5\r\nConnection: close\r\n\r\nHello");
	ck_assert(got.close);
	ck_assert_str_eq(whole(KEEP_1_0, &hello),
		"HTTP/1.1 200 OK\r\n" DATE TEXT "Content-Length: 5\r\nConnection: keep-alive\r\n\r\nHello");
	ck_assert(!got.close);
}
END_TEST

START_TEST(a_reply_says_close_when_client_handler_or_server_want_it)
{
	struct reply r = hello;

	whole("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &hello);
	ck_assert(got.close && strstr(got.text, "\r\nConnection: close\r\n"));
	r.close = true;
	whole(GET_1_1, &r);
	ck_assert(got.close && strstr(got.text, "\r\nConnection: close\r\n"));
	whole(KEEP_1_0, &r);
	ck_assert(got.close && strstr(got.text, "\r\nConnection: close\r\n"));
	conf.draining = true;
	whole(GET_1_1, &hello);
	conf.draining = false;
	ck_assert(got.close && strstr(got.text, "\r\nConnection: close\r\n"));
}
END_TEST

/* ---- written elsewhere ------------------------------------------------------------------------------------------- */

/* The same request and reply twice: drained, and written as by a worker. */
static void ck_written_as_drained(const char *head, const struct reply *r)
{
	char text[1000];
	const char *expected = whole(head, r);
	bool close = false;
	size_t n;

	start(head);
	ck_assert(http.proto.ops->can_lend(&http.proto));
	n = http.proto.ops->write(&http.proto, r, TRACE_DATE, text, sizeof(text), &close);
	ck_assert_uint_eq(n, got.n);
	ck_assert_mem_eq(text, expected, n);
	ck_assert_int_eq(close, got.close);
	ck_assert_uint_eq(http.proto.ops->write(&http.proto, r, TRACE_DATE, text, n - 1, &close), 0);
	http.proto.ops->written(&http.proto, close);
	ck_assert(!http.proto.ops->can_lend(&http.proto));
	http.proto.ops->stream_end(&http.proto, &http.stream);
	ck_assert_int_eq(http.proto.ops->want_read(&http.proto), !close);
}

START_TEST(what_is_written_elsewhere_is_what_would_have_been_drained)
{
	static const char *const heads[] = { GET_1_1, GET_1_0, KEEP_1_0, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" };
	struct reply_field field = { NULL, SLICE("X-A"), SLICE("1") };
	struct reply replies[] = { hello, hello, hello, { .status = 204 }, { .status = 304 }, { .status = 404 },
		{ .status = 200, .kind = BODY_BYTES } };

	replies[1].fields = &field;
	replies[2].close = true;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		for (size_t k = 0; k < sizeof(replies) / sizeof(replies[0]); k++)
			ck_written_as_drained(heads[i], &replies[k]);
	conf.draining = true;
	ck_written_as_drained(GET_1_1, &hello);
	conf.draining = false;
}
END_TEST

START_TEST(what_is_not_whole_or_not_alone_is_not_written_elsewhere)
{
	struct body_chain chain = { NULL, SLICE("Hello") };
	struct reply r = { .status = 200, .kind = BODY_CHAIN, .body.chain = &chain, .length = 5 };
	char text[1000];
	bool close;

	start(GET_1_1);
	ck_assert_uint_eq(http.proto.ops->write(&http.proto, &r, TRACE_DATE, text, sizeof(text), &close), 0);
	r.kind = BODY_PULL;
	ck_assert_uint_eq(http.proto.ops->write(&http.proto, &r, TRACE_DATE, text, sizeof(text), &close), 0);
	start("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
	ck_assert(!http.proto.ops->can_lend(&http.proto));
}
END_TEST

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

static char large[10000];

static void fill_large(void)
{
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (char)('a' + i % 26);
}

START_TEST(a_small_body_is_copied_and_a_large_one_borrowed)
{
	struct reply r = hello;

	fill_large();
	r.body.bytes = (struct slice){ large, r.length = 1000 };
	whole(GET_1_1, &r);
	ck_assert(!got.borrowed);
	r.body.bytes = (struct slice){ large, r.length = sizeof(large) };
	whole(GET_1_1, &r);
	ck_assert(got.borrowed);
	ck_assert_mem_eq(got.text + got.n - sizeof(large), large, sizeof(large));
}
END_TEST

START_TEST(no_call_drains_much_more_than_its_budget)
{
	struct reply r = hello;

	fill_large();
	r.body.bytes = (struct slice){ large, r.length = sizeof(large) };
	drain(GET_1_1, &r, NULL, 16384, 64, 3000);
	ck_assert_uint_eq(got.calls, 4);
	ck_assert_mem_eq(got.text + got.n - sizeof(large), large, sizeof(large));
}
END_TEST

static const struct slice pieces[] = { { "Hello", 5 }, { ", ", 2 }, { NULL, 0 }, { "World", 5 } };

START_TEST(a_pulled_body_is_chunked)
{
	struct source s = source_of(pieces, 4, 0);
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base };

	ck_assert_str_eq(drain(GET_1_1, &r, &s, 4096, 64, SIZE_MAX),
		"HTTP/1.1 200 OK\r\n" DATE "Transfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n5\r\nWorld\r\n0\r\n\r\n");
	ck_assert(!got.close);
	ck_assert(!got.borrowed);
	ck_assert_uint_eq(s.taken, 12);
}
END_TEST

START_TEST(a_pulled_body_ends_with_the_connection_for_1_0)
{
	struct source s = source_of(pieces, 4, 0);
	struct reply_field trailer = { .name = SLICE("Digest"), .value = SLICE("x") };
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base, .trailers = &trailer };

	ck_assert_str_eq(drain(KEEP_1_0, &r, &s, 4096, 64, SIZE_MAX),
		"HTTP/1.1 200 OK\r\n" DATE "Connection: close\r\n\r\nHello, World");
	ck_assert(got.close && !got.aborted);
}
END_TEST

START_TEST(an_empty_pulled_body_is_one_last_chunk)
{
	struct source s = source_of(NULL, 0, 0);
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base };

	ck_assert_str_eq(drain(GET_1_1, &r, &s, 4096, 64, SIZE_MAX),
		"HTTP/1.1 200 OK\r\n" DATE "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}
END_TEST

START_TEST(trailers_follow_the_last_chunk)
{
	struct source s = source_of(pieces, 1, 0);
	struct reply_field second = { .name = SLICE("B"), .value = SLICE("2") }, first = { &second, SLICE("A"),
		SLICE("1") };
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base, .trailers = &first };

	ck_assert_ptr_nonnull(strstr(drain(GET_1_1, &r, &s, 4096, 64, SIZE_MAX),
		"\r\n\r\n5\r\nHello\r\n0\r\nA: 1\r\nB: 2\r\n\r\n"));
}
END_TEST

START_TEST(a_source_that_breaks_off_leaves_the_reply_without_an_end)
{
	struct source s = source_of(pieces, 4, -EIO);
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base };
	const char *text = drain(GET_1_1, &r, &s, 4096, 64, SIZE_MAX);

	ck_assert(got.aborted && got.close && got.finished);
	ck_assert_ptr_null(strstr(text, "\r\n0\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "\r\n\r\n7\r\nHello, \r\n"));
	s = source_of(pieces, 4, -EIO);
	drain(GET_1_0, &r, &s, 4096, 64, SIZE_MAX);
	ck_assert(got.aborted && got.close);
}
END_TEST

START_TEST(a_source_with_nothing_now_is_asked_again_later)
{
	static const struct slice late[] = { { NULL, 0 }, { "x", 1 } };
	struct source s = source_of(late, 2, 0);
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base };

	start(GET_1_1);
	http.stream.reply = &r;
	forget();
	ck_assert(drain_once(4096, 8, SIZE_MAX, &s));
	ck_assert(!got.finished);
	http.proto.ops->resume(&http.proto, &http.stream);
	ck_assert(drain_once(4096, 8, SIZE_MAX, &s));
	ck_assert(got.finished);
	ck_assert(!drain_once(4096, 8, SIZE_MAX, &s));
}
END_TEST

START_TEST(chunk_sizes_are_written_in_hex)
{
	static const struct { uint64_t size; const char *text; } sizes[] = { { 1, "1\r\n" }, { 15, "f\r\n" }, { 16,
		"10\r\n" },
		{ 0xabcde, "abcde\r\n" }, { UINT64_MAX, "ffffffffffffffff\r\n" } };
	char dst[HTTP1_CHUNK_HEAD_MAX + 1];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		dst[http1_write_chunk_head(dst, sizes[i].size)] = '\0';
		ck_assert_str_eq(dst, sizes[i].text);
	}
}
END_TEST

/* ---- every room -------------------------------------------------------------------------------------------------- */

/* The text of a chunked reply without its chunks: head, body, trailer section. */
static char *dechunk(const char *text, size_t n)
{
	char *out = malloc(n + 1), *dst = out;
	const char *p = strstr(text, "\r\n\r\n") + 4;
	uint64_t size;
	size_t ext;
	const char *why;

	ck_assert_ptr_nonnull(out);
	memcpy(dst, text, (size_t)(p - text));
	dst += p - text;
	do {
		ssize_t k = http1_parse_chunk_line((struct slice){ p, (size_t)(text + n - p) }, &size, &ext, &why);

		ck_assert_int_gt(k, 0);
		p += k;
		memcpy(dst, p, size);
		dst += size;
		p += size;
		if (size) {
			ck_assert_mem_eq(p, "\r\n", 2);
			p += 2;
		}
	} while (size);
	memcpy(dst, p, (size_t)(text + n - p) + 1);
	return out;
}

static void same_in_every_room(const char *head, const struct reply *r, struct source *s, bool chunked)
{
	static const unsigned iovs[] = { 1, 2, 3, 4, 9 };
	static const size_t budgets[] = { 5, 70, 1000, SIZE_MAX };
	struct source fresh = { 0 };
	char *want = NULL;

	if (s)
		fresh = *s;
	for (size_t room = 600; room >= PROTO_ROOM_MIN; room -= room > 150 ? 7 : 1) {
		const char *text;
		char *plain;

		if (s)
			*s = fresh;
		text = drain(head, r, s, room == 600 ? 65536 : room, iovs[room % 5],
			room == 600 ? SIZE_MAX : budgets[room % 4]);
		plain = chunked ? dechunk(text, got.n) : strdup(text);
		if (!want)
			want = strdup(plain);
		ck_assert_str_eq(plain, want);
		if (s)
			ck_assert_uint_eq(s->taken, s->lent);
		free(plain);
	}
	free(want);
}

START_TEST(a_body_of_bytes_is_the_same_in_every_room)
{
	struct reply r = hello;

	fill_large();
	same_in_every_room(GET_1_1, &r, NULL, false);
	r.body.bytes = (struct slice){ large, r.length = 5000 };
	same_in_every_room(GET_1_0, &r, NULL, false);
}
END_TEST

START_TEST(a_chain_is_the_same_in_every_room)
{
	struct body_chain c = { NULL, SLICE("end") }, b = { &c, { large, 3000 } };
	struct body_chain a = { &b, { NULL, 0 } }, first = { &a, SLICE("begin") };
	struct reply r = { .status = 200, .kind = BODY_CHAIN, .body.chain = &first, .length = 3008 };

	fill_large();
	same_in_every_room(GET_1_1, &r, NULL, false);
	ck_assert_uint_eq(got.n - (size_t)(strstr(got.text, "\r\n\r\n") + 4 - got.text), 3008);
}
END_TEST

START_TEST(a_head_larger_than_the_room_is_the_same_in_every_room)
{
	struct reply_field third = { .name = SLICE("X-Last"), .value = SLICE("z") };
	struct reply_field second = { &third, SLICE("X-Large"), { large, 3000 } };
	struct reply_field first = { &second, SLICE("X-First"), SLICE("a") };
	struct reply r = hello;

	fill_large();
	r.fields = &first;
	same_in_every_room(GET_1_1, &r, NULL, false);
	same_in_every_room(GET_1_0, &r, NULL, false);
}
END_TEST

START_TEST(a_pulled_body_is_the_same_in_every_room)
{
	static const struct slice some[] = { { "Hello", 5 }, { large, 5000 }, { NULL, 0 }, { ", ", 2 }, { NULL, 0 },
		{ large, 300 }, { "x", 1 } };
	struct source s = source_of(some, sizeof(some) / sizeof(some[0]), 0);
	struct reply_field second = { .name = SLICE("B"), .value = { large, 500 } }, first = { &second, SLICE("A"),
		SLICE("1") };
	struct reply r = { .status = 200, .kind = BODY_PULL, .body.source = &s.base, .trailers = &first };

	fill_large();
	same_in_every_room(GET_1_1, &r, &s, true);
	s = source_of(some, sizeof(some) / sizeof(some[0]), 0);
	same_in_every_room(GET_1_0, &r, &s, false);
}
END_TEST

START_TEST(the_date_of_a_head_is_of_one_moment)
{
	struct reply_field f = { .name = SLICE("X-Large"), .value = { large, 200 } };
	struct reply r = hello;
	char head[600], room[600];
	bool last;

	fill_large();
	r.fields = &f;
	for (size_t room_n = PROTO_ROOM_MIN; room_n < 400; room_n++) {
		size_t n = 0;

		do {
			size_t k = http1_write_head_part(room, room_n, n, &last, &r, HTTP1_LENGTH, false, false,
				n ? "Sun, 06 Nov 1994 08:49:38 GMT" : TRACE_DATE);

			ck_assert_uint_gt(k, 0);
			memcpy(head + n, room, k);
			n += k;
		} while (!last);
		head[n] = '\0';
		ck_assert(strstr(head, "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n") || strstr(head,
			"\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\n"));
	}
}
END_TEST

START_TEST(replies_of_one_connection_can_share_a_room)
{
	char room[1024];
	struct iovec iov[4];
	struct proto_out out = { .room = room, .room_n = sizeof(room), .iov = iov, .iov_max = 4, .date = TRACE_DATE };
	struct proto_event ev;

	start(GET_1_1);
	for (int i = 0; i < 3; i++) {
		http.stream.reply = &hello;
		out.finished = false;
		ck_assert(http.proto.ops->drain(&http.proto, &out, SIZE_MAX));
		ck_assert(out.finished && !out.borrowed);
		http.proto.ops->stream_end(&http.proto, &http.stream);
		http.proto.ops->feed(&http.proto, SLICE(GET_1_1), &ev);
		http.proto.ops->feed(&http.proto, (struct slice){ NULL, 0 }, &ev);
		ck_assert_int_eq(ev.kind, PROTO_END);
	}
	ck_assert_uint_eq(out.niov, 1);
	ck_assert_uint_eq(iov[0].iov_len,
		3 * (size_t)(strlen("HTTP/1.1 200 OK\r\n" DATE TEXT "Content-Length: 5\r\n\r\nHello")));
}
END_TEST

START_TEST(no_room_at_all_drains_nothing_and_loses_nothing)
{
	char room[PROTO_ROOM_MIN];
	struct iovec iov[1] = { { room, 10 } };
	struct proto_out full = { .room = room, .room_n = sizeof(room), .used = 10, .iov = iov, .niov = 1, .iov_max = 1,
		.date = TRACE_DATE };

	start(GET_1_1);
	http.stream.reply = &hello;
	ck_assert(!http.proto.ops->drain(&http.proto, &full, SIZE_MAX));
	ck_assert_uint_eq(full.used, 10);
	forget();
	while (!got.finished)
		ck_assert(drain_once(64, 1, SIZE_MAX, NULL));
	ck_assert_str_eq(got.text, "HTTP/1.1 200 OK\r\n" DATE TEXT "Content-Length: 5\r\n\r\nHello");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("http1: replies");
	TCase *head = tcase_create("heads"), *body = tcase_create("bodies"), *room = tcase_create("rooms");

	tcase_add_test(head, a_reply_is_status_fields_and_body);
	tcase_add_test(head, every_status_has_its_reason_and_unknown_ones_none);
	tcase_add_test(head, a_head_is_written_whole_or_not_at_all);
	tcase_add_test(head, no_plain_head_is_longer_than_it_is_said_to_be);
	tcase_add_test(head, an_empty_reply_has_a_length_of_0);
	tcase_add_test(head, replies_that_cannot_have_a_body_have_neither_length_nor_body);
	tcase_add_test(head, a_reply_to_head_has_the_fields_of_get_and_no_body);
	tcase_add_test(head, a_1_0_client_is_closed_on_unless_it_asks_otherwise);
	tcase_add_test(head, a_reply_says_close_when_client_handler_or_server_want_it);
	tcase_add_test(head, what_is_written_elsewhere_is_what_would_have_been_drained);
	tcase_add_test(head, what_is_not_whole_or_not_alone_is_not_written_elsewhere);
	tcase_add_test(body, a_small_body_is_copied_and_a_large_one_borrowed);
	tcase_add_test(body, no_call_drains_much_more_than_its_budget);
	tcase_add_test(body, a_pulled_body_is_chunked);
	tcase_add_test(body, a_pulled_body_ends_with_the_connection_for_1_0);
	tcase_add_test(body, an_empty_pulled_body_is_one_last_chunk);
	tcase_add_test(body, trailers_follow_the_last_chunk);
	tcase_add_test(body, a_source_that_breaks_off_leaves_the_reply_without_an_end);
	tcase_add_test(body, a_source_with_nothing_now_is_asked_again_later);
	tcase_add_test(body, chunk_sizes_are_written_in_hex);
	tcase_add_test(room, a_body_of_bytes_is_the_same_in_every_room);
	tcase_add_test(room, a_chain_is_the_same_in_every_room);
	tcase_add_test(room, a_head_larger_than_the_room_is_the_same_in_every_room);
	tcase_add_test(room, a_pulled_body_is_the_same_in_every_room);
	tcase_add_test(room, the_date_of_a_head_is_of_one_moment);
	tcase_add_test(room, replies_of_one_connection_can_share_a_room);
	tcase_add_test(room, no_room_at_all_drains_nothing_and_loses_nothing);
	tcase_set_timeout(room, 60);
	suite_add_tcase(s, head);
	suite_add_tcase(s, body);
	suite_add_tcase(s, room);
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
