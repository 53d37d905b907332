/* test_filter.c: the seam between loop and protocol, proved by a filter with a handshake (filter_xor.h).
 *
 * A client speaks through it as it would through TLS: pipelined, streamed and faulty requests, cut anywhere; and the
 * filter has something of its own to say while a reply is on its way.
 */
#include "../filter_xor.h"
#include "conn_app.h"

#define KEY 'k'

struct client {
	struct script_peer *peer;
	struct buf plain;           /* what the server said, after its "XOR!" */
	unsigned questions;         /* of ours that were answered */
	bool greeted;
};

static void set_up_filter(void)
{
	set_up();
	rooms.home.new_filter = filter_xor_new;
}

static void tear_down_filter(void)
{
	tear_down();
	ck_assert_uint_eq(filter_xor_live(), 0);
}

static struct client client(void)
{
	struct client c = { .peer = script_connect(rooms.loop) };

	turn(&rooms);
	return c;
}

static void client_fini(struct client *c)
{
	buf_fini(&c->plain);
}

/* What has come so far, as a string. */
static const char *listen_to(struct client *c)
{
	if (!c->greeted && c->peer->out.n >= 4) {
		ck_assert_int_eq(memcmp(buf_slice(&c->peer->out).p, "XOR!", 4), 0);
		buf_consume(&c->peer->out, 4);
		c->greeted = true;
	}
	if (c->greeted)
		c->questions += filter_xor_open(&c->peer->out, KEY, &c->plain);
	ck_assert_int_eq(buf_append(&c->plain, "", 1), 0);
	c->plain.n--;
	return c->plain.p + c->plain.off;
}

static void tell(struct client *c, const char *text)
{
	struct buf out = { 0 };

	filter_xor_seal(&out, KEY, text, strlen(text));
	say_n(&rooms, c->peer, out.p, out.n);
	buf_fini(&out);
}

static void greet(struct client *c)
{
	say(&rooms, c->peer, "XOR?k");
	(void)listen_to(c);
	ck_assert(c->greeted);
}

START_TEST(nothing_but_the_handshake_is_said_before_a_request)
{
	struct client c = client();

	say(&rooms, c.peer, "XO");
	ck_assert_uint_eq(c.peer->out.n, 0);
	say(&rooms, c.peer, "R?k");
	ck_assert_str_eq(listen_to(&c), "");
	ck_assert(c.greeted);
	tell(&c, GET("/hello"));
	ck_assert_ptr_nonnull(strstr(listen_to(&c), "\r\n\r\nhello\n"));
	client_fini(&c);
}
END_TEST

START_TEST(a_handshake_that_fails_closes_the_connection)
{
	struct client c = client();

	say(&rooms, c.peer, "GET / HTTP/1.1\r\n");
	ck_assert(c.peer->closed);
	ck_assert_uint_eq(c.peer->out.n, 0);
	client_fini(&c);
}
END_TEST

START_TEST(a_pipeline_behind_the_handshake_may_be_cut_anywhere)
{
	const char *text = GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nworld"
		GET("/nowhere");
	struct buf all = { 0 };

	ck_assert_int_eq(buf_append(&all, "XOR?k", 5), 0);
	filter_xor_seal(&all, KEY, text, 20);
	filter_xor_seal(&all, KEY, text + 20, strlen(text) - 20);
	for (size_t cut = 1; cut < all.n; cut++) {
		struct client c = client();
		const char *answer;

		say_n(&rooms, c.peer, all.p, cut);
		say_n(&rooms, c.peer, all.p + cut, all.n - cut);
		answer = listen_to(&c);
		ck_assert_ptr_nonnull(strstr(answer, "\r\n\r\nhello\nHTTP/1.1 200 OK\r\n"));
		ck_assert_ptr_nonnull(strstr(answer, "\r\n\r\nworldHTTP/1.1 404 "));
		script_end(c.peer, 0);
		turn(&rooms);
		ck_assert(c.peer->closed);
		client_fini(&c);
	}
	buf_fini(&all);
}
END_TEST

START_TEST(a_stream_goes_through_piece_by_piece)
{
	struct client c = client();

	greet(&c);
	tell(&c, "GET /stream?n=30&piece=10&meet=1 HTTP/1.0\r\n\r\n");
	for (int i = 0; i < 3; i++) {
		go_on();
		ck_assert_uint_eq(strlen(strstr(listen_to(&c), "\r\n\r\n") + 4), (size_t)(i + 1) * 10);
	}
	ck_assert(c.peer->closed);
	client_fini(&c);
}
END_TEST

START_TEST(a_large_stream_and_a_borrowed_reply_go_through)
{
	struct client c = client();

	greet(&c);
	tell(&c, GET("/big") "GET /stream?n=300000&piece=70000 HTTP/1.0\r\n\r\n");
	UNTIL(&rooms, c.peer->closed);
	ck_assert_uint_gt(strlen(listen_to(&c)), BIG + 300000);
	ck_assert_uint_eq(releases, 1);
	client_fini(&c);
}
END_TEST

START_TEST(a_refusal_goes_through_and_lingers)
{
	struct client c = client();

	greet(&c);
	tell(&c, "GET / HTTP/1.1\r\nbad field\r\n\r\n");
	ck_assert_int_eq(strncmp(listen_to(&c), "HTTP/1.1 400 ", 13), 0);
	ck_assert(!c.peer->closed);
	script_end(c.peer, 0);
	turn(&rooms);
	ck_assert(c.peer->closed);
	client_fini(&c);
}
END_TEST

START_TEST(what_the_filter_says_itself_waits_for_the_send_under_way)
{
	struct client c = client();

	greet(&c);
	script_hold(rooms.loop, true, false);
	tell(&c, GET("/big"));
	for (int i = 0; i < 3; i++) {
		tell(&c, "");
		ck_assert_ptr_nonnull(c.peer->msg);
	}
	while (c.peer->msg) {
		script_sent(c.peer, (int)(c.peer->msg->msg_iov[0].iov_len + 1) / 2);
		turn(&rooms);
	}
	ck_assert_uint_gt(strlen(listen_to(&c)), BIG);
	ck_assert_uint_eq(c.questions, 3);
	client_fini(&c);
}
END_TEST

START_TEST(what_the_filter_says_itself_needs_no_reply_to_go_with)
{
	struct client c = client();

	greet(&c);
	tell(&c, "");
	(void)listen_to(&c);
	ck_assert_uint_eq(c.questions, 1);
	tell(&c, GET("/wait"));
	tell(&c, "");
	(void)listen_to(&c);
	ck_assert_uint_eq(c.questions, 2);
	go_on();
	ck_assert_ptr_nonnull(strstr(listen_to(&c), "waited\n"));
	client_fini(&c);
}
END_TEST

START_TEST(a_connection_ends_while_the_filter_has_something_to_say)
{
	struct client c = client();

	greet(&c);
	script_hold(rooms.loop, true, true);
	tell(&c, GET("/big"));
	tell(&c, "");
	script_end(c.peer, -ECONNRESET);
	turn(&rooms);
	ck_assert_uint_eq(releases, 0);
	script_sent(c.peer, 100);
	turn(&rooms);
	ck_assert(c.peer->closed);
	ck_assert_uint_eq(releases, 1);
	client_fini(&c);
}
END_TEST

static struct filter *no_filter(struct conn_home *h, int fd)
{
	(void)h, (void)fd;
	return NULL;
}

START_TEST(a_filter_that_cannot_be_made_does_not_let_clear_text_through)
{
	struct client c;

	rooms.home.new_filter = no_filter;
	c = client();
	ck_assert(c.peer->closed);
	client_fini(&c);
}
END_TEST

int main(void)
{
	TCase *seam = tcase_create("seam"), *all[] = { seam };

	tcase_add_checked_fixture(seam, set_up_filter, tear_down_filter);
	tcase_add_test(seam, nothing_but_the_handshake_is_said_before_a_request);
	tcase_add_test(seam, a_handshake_that_fails_closes_the_connection);
	tcase_add_test(seam, a_pipeline_behind_the_handshake_may_be_cut_anywhere);
	tcase_add_test(seam, a_stream_goes_through_piece_by_piece);
	tcase_add_test(seam, a_large_stream_and_a_borrowed_reply_go_through);
	tcase_add_test(seam, a_refusal_goes_through_and_lingers);
	tcase_add_test(seam, what_the_filter_says_itself_waits_for_the_send_under_way);
	tcase_add_test(seam, what_the_filter_says_itself_needs_no_reply_to_go_with);
	tcase_add_test(seam, a_connection_ends_while_the_filter_has_something_to_say);
	tcase_add_test(seam, a_filter_that_cannot_be_made_does_not_let_clear_text_through);
	return rooms_suite("filter", all, 1);
}
