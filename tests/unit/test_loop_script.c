/* test_loop_script.c: what loop.c decides for every backend, with a kernel that does as the test says.
 *
 * Multishots that end early, cancellations that come too late or too early, empty buffer rings, full descriptor tables,
 * completions after a close, and the nth operation failing: each written down, none by sleeping. */
#include "../loop_script.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An io that writes down what it was told. */
struct seen {
	struct loop_io io;
	struct loop *loop;
	char trace[512];        /* "r5 " received 5, "r-105. " received -105 and no more, "s", "h", "c", "a", "x" */
	char bytes[256];
	size_t nbytes;
	struct loop_buf kept[8];
	unsigned nkept;
	bool keep, stop_in_recv, close_in_recv, again_in_recv, close_in_sent, close_in_accept;
	unsigned released;
	struct iovec iov;
	struct msghdr msg;
};

static struct seen *seen_of(struct loop_io *io)
{
	return container_of(io, struct seen, io);
}

static void note(struct seen *s, char what, int res, bool more)
{
	size_t n = strlen(s->trace);

	ck_assert_uint_eq(s->released, 0);
	snprintf(s->trace + n, sizeof(s->trace) - n, "%s%c%d%s", n ? " " : "", what, res, more ? "" : ".");
}

static void received(struct loop_io *io, int res, const struct loop_buf *buf, bool more)
{
	struct seen *s = seen_of(io);

	note(s, 'r', res, more);
	ck_assert(more == (res > 0));
	ck_assert((buf != NULL) == (res > 0));
	if (res > 0) {
		ck_assert_uint_eq(buf->n, res);
		memcpy(s->bytes + s->nbytes, buf->p, buf->n);
		s->nbytes += buf->n;
		if (s->keep)
			s->kept[s->nkept++] = *buf;
		else
			loop_lend_back(io->loop, buf);
	}
	if (s->stop_in_recv)
		loop_recv_stop(io);
	if (s->again_in_recv && !more)
		ck_assert_int_eq(loop_recv(io), 0);
	if (s->close_in_recv)
		loop_close(io);
}

static void sent(struct loop_io *io, int res)
{
	note(seen_of(io), 's', res, false);
	if (seen_of(io)->close_in_sent)
		loop_close(io);
}

static void hung_up(struct loop_io *io, int res)
{
	note(seen_of(io), 'h', res, false);
}

static void connected(struct loop_io *io, int res)
{
	note(seen_of(io), 'c', res, false);
}

static void accepted(struct loop_io *io, int fd, bool more)
{
	note(seen_of(io), 'a', fd < 0 ? fd : 0, more);
	if (fd >= 0)
		close(fd);
	if (seen_of(io)->close_in_accept)
		loop_close(io);
}

static void released(struct loop_io *io)
{
	struct seen *s = seen_of(io);

	note(s, 'x', 0, true);
	s->released++;
	ck_assert_uint_eq(io->inflight, 0);
	ck_assert_int_eq(io->fd, -1);
	memset(io, 0xee, sizeof(*io));          /* the owner's again */
}

static const struct loop_io_ops ops = { accepted, received, sent, hung_up, connected, released };

static struct seen *seen_new(struct loop *l)
{
	struct seen *s = aligned_alloc(_Alignof(struct seen), sizeof(*s));

	memset(s, 0, sizeof(*s));
	s->loop = l;
	loop_io_init(&s->io, l, script_fd(), &ops);
	return s;
}

static void seen_free(struct seen *s)
{
	while (s->nkept > 0)
		loop_lend_back(s->loop, &s->kept[--s->nkept]);
	if (!s->released && !s->io.closing)
		loop_close(&s->io);
	script_turns(s->loop, 3);
	ck_assert_uint_eq(s->released, 1);
	free(s);
}

static int send_text(struct seen *s, const char *text)
{
	s->iov = (struct iovec){ (char *)(uintptr_t)text, strlen(text) };
	s->msg = (struct msghdr){ .msg_iov = &s->iov, .msg_iovlen = 1 };
	return loop_send(&s->io, &s->msg);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

START_TEST(bytes_given_before_a_receive_wait_for_it)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(loop_poll_hup(&s->io), 0);     /* so that there is a peer */
	script_give(script_peer_of(&s->io), "hello", 5);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "");
	ck_assert_int_eq(loop_recv(&s->io), 0);
	ck_assert_str_eq(s->trace, "");
	ck_assert_int_eq(loop_recv(&s->io), -EALREADY);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "r5");
	script_end(script_peer_of(&s->io), 0);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "r5 r0.");
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_multishot_that_ends_early_is_started_again_unnoticed)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(loop_recv(&s->io), 0);
	script_give_last(script_peer_of(&s->io), "one", 3);
	script_give(script_peer_of(&s->io), "three", 5);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "r3 r5");
	ck_assert_uint_eq(script_started(l), 2);
	ck_assert_uint_eq(s->io.inflight, 1);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_receive_stopped_with_its_last_bytes_ends_without_being_started_again)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	script_hold(l, false, true);
	s->stop_in_recv = true;
	ck_assert_int_eq(loop_recv(&s->io), 0);
	script_give_last(script_peer_of(&s->io), "one", 3);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "r3 r-125.");
	ck_assert_uint_eq(s->io.armed, 0);
	ck_assert_uint_eq(script_started(l), 1);
	script_hold(l, false, false);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(bytes_that_came_before_the_cancellation_are_still_delivered)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(loop_recv(&s->io), 0);
	script_give(script_peer_of(&s->io), "early", 5);
	loop_recv_stop(&s->io);
	loop_recv_stop(&s->io);                         /* twice does no harm */
	script_give(script_peer_of(&s->io), "late", 4);
	script_turns(l, 3);
	ck_assert_str_eq(s->trace, "r5 r-125.");
	ck_assert_int_eq(loop_recv(&s->io), 0);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "r5 r-125. r4");
	ck_assert_int_eq(memcmp(s->bytes, "earlylate", 9), 0);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_fin_that_overtakes_the_cancellation_is_the_one_end)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	script_hold(l, false, true);
	ck_assert_int_eq(loop_recv(&s->io), 0);
	loop_recv_stop(&s->io);
	script_end(script_peer_of(&s->io), 0);
	script_turns(l, 3);
	ck_assert_str_eq(s->trace, "r0.");
	ck_assert_uint_eq(s->io.inflight, 0);
	script_hold(l, false, false);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_receive_may_be_started_again_from_its_final_callback)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	s->again_in_recv = true;
	ck_assert_int_eq(loop_recv(&s->io), 0);
	loop_recv_stop(&s->io);
	script_turns(l, 1);
	script_give(script_peer_of(&s->io), "more", 4);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "r-125. r4");
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

START_TEST(a_starved_receive_goes_on_when_a_buffer_comes_back)
{
	const struct loop_conf conf = { .recv_bufs = 1, .recv_buf_size = 4 };
	struct loop *l = loop_new_script(&conf);
	struct seen *s = seen_new(l);

	s->keep = true;
	ck_assert_int_eq(loop_recv(&s->io), 0);
	script_give(script_peer_of(&s->io), "12345678", 8);
	script_turns(l, 5);
	ck_assert_str_eq(s->trace, "r4");
	ck_assert_uint_eq(l->count.starved, 1);
	ck_assert_uint_eq(s->io.armed, LOOP_RECV);
	ck_assert_uint_eq(s->io.inflight, 0);
	loop_lend_back(l, &s->kept[--s->nkept]);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "r4 r4");
	ck_assert_int_eq(memcmp(s->bytes, "12345678", 8), 0);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(one_buffer_that_comes_back_lets_every_starved_receive_wait_for_bytes_again)
{
	const struct loop_conf conf = { .recv_bufs = 1 };
	struct loop *l = loop_new_script(&conf);
	struct seen *holder = seen_new(l), *idle[5];

	holder->keep = true;
	ck_assert_int_eq(loop_recv(&holder->io), 0);
	script_give(script_peer_of(&holder->io), "x", 1);
	script_turns(l, 1);
	for (int i = 0; i < 5; i++) {
		idle[i] = seen_new(l);
		ck_assert_int_eq(loop_recv(&idle[i]->io), 0);
		script_end(script_peer_of(&idle[i]->io), -ENOBUFS);     /* as io_uring does at once on an empty ring */
	}
	script_turns(l, 1);
	for (int i = 0; i < 5; i++)
		ck_assert_uint_eq(idle[i]->io.inflight, 0);
	loop_lend_back(l, &holder->kept[--holder->nkept]);
	for (int i = 0; i < 4; i++)     /* one each, since none takes the buffer; no sleep while others are untried */
		ck_assert_int_eq(loop_turn(l, NEVER), 0);
	script_turns(l, 1);
	for (int i = 0; i < 5; i++) {
		ck_assert_uint_eq(idle[i]->io.inflight, 1);
		ck_assert_str_eq(idle[i]->trace, "");
		seen_free(idle[i]);
	}
	seen_free(holder);
	loop_free(l);
}
END_TEST

START_TEST(a_starved_receive_can_be_stopped_and_closed)
{
	const struct loop_conf conf = { .recv_bufs = 1 };
	struct loop *l = loop_new_script(&conf);
	struct seen *a = seen_new(l), *b = seen_new(l);

	l->bufs_free = 0;
	ck_assert_int_eq(loop_recv(&a->io), 0);
	ck_assert_int_eq(loop_recv(&b->io), 0);
	script_end(script_peer_of(&a->io), -ENOBUFS);
	script_end(script_peer_of(&b->io), -ENOBUFS);
	script_turns(l, 2);
	loop_recv_stop(&a->io);
	loop_close(&b->io);
	ck_assert_str_eq(a->trace, "");
	ck_assert_str_eq(b->trace, "");
	script_turns(l, 1);
	ck_assert_str_eq(a->trace, "r-125.");
	ck_assert_str_eq(b->trace, "x0");
	seen_free(a);
	seen_free(b);
	loop_free(l);
}
END_TEST

START_TEST(a_starved_receive_that_was_stopped_can_still_be_closed)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	l->bufs_free = 0;
	ck_assert_int_eq(loop_recv(&s->io), 0);
	script_end(script_peer_of(&s->io), -ENOBUFS);
	script_turns(l, 1);
	loop_recv_stop(&s->io);
	loop_close(&s->io);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "x0");
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- accepting --------------------------------------------------------------------------------------------------- */

START_TEST(a_full_table_is_told_once_and_tried_again_every_100_ms)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(loop_accept(&s->io), 0);
	for (int i = 1; i <= 5; i++) {
		script_accept(l, -EMFILE, false);
		script_turns(l, 3);
		ck_assert_uint_eq(script_started(l), i);
		ck_assert_str_eq(s->trace, "a-24");
		script_advance(l, 99 * NS_PER_MS);
		script_turns(l, 2);
		ck_assert_uint_eq(script_started(l), i);
		script_advance(l, 1 * NS_PER_MS);
		script_turns(l, 2);
		ck_assert_uint_eq(script_started(l), i + 1);
	}
	script_connect(l);
	script_accept(l, -EMFILE, false);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "a-24 a0 a-24");
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_descriptor_that_is_closed_ends_the_rest_at_once)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l), *other = seen_new(l);

	ck_assert_int_eq(loop_accept(&s->io), 0);
	script_accept(l, -ENFILE, false);
	script_turns(l, 3);
	ck_assert_uint_eq(script_started(l), 1);
	seen_free(other);
	ck_assert_uint_eq(script_started(l), 2);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(an_accept_of_one_goes_on_until_it_has_one)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(loop_accept_one(&s->io), 0);
	script_accept(l, -ECONNABORTED, false);
	script_turns(l, 2);
	ck_assert_uint_eq(script_started(l), 2);
	script_accept(l, -EMFILE, false);
	script_turns(l, 2);
	script_advance(l, 100 * NS_PER_MS);
	script_turns(l, 2);
	script_connect(l);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "a-24 a0.");
	ck_assert_uint_eq(s->io.armed, 0);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(an_accept_that_rests_can_be_stopped_and_closed)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *a = seen_new(l), *b = seen_new(l);

	ck_assert_int_eq(loop_accept(&a->io), 0);
	script_accept(l, -EMFILE, false);
	script_turns(l, 1);
	loop_stop_ops(&a->io, LOOP_ACCEPT);
	script_turns(l, 1);
	ck_assert_str_eq(a->trace, "a-24 a-125.");
	b->close_in_accept = true;
	l->table_full = false;
	ck_assert_int_eq(loop_accept(&b->io), 0);
	script_accept(l, -EMFILE, false);
	script_turns(l, 2);
	ck_assert_str_eq(b->trace, "a-24 x0");
	seen_free(a);
	seen_free(b);
	loop_free(l);
}
END_TEST

START_TEST(one_clients_error_does_not_end_accepting)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(loop_accept(&s->io), 0);
	script_accept(l, -ECONNABORTED, false);
	script_turns(l, 1);
	script_connect(l);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "a0");
	script_accept(l, -EINVAL, false);       /* but the listener's does */
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "a0 a-22.");
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_connection_accepted_after_the_close_is_closed)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);
	int fd;

	ck_assert_int_eq(loop_accept(&s->io), 0);
	fd = script_connect(l)->fd;
	loop_close(&s->io);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "x0");
	ck_assert_int_eq(close(fd), -1);
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- sending, hanging up, connecting ----------------------------------------------------------------------------- */

START_TEST(a_short_send_reports_what_has_gone)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);
	struct script_peer *p;

	script_hold(l, true, false);
	ck_assert_int_eq(send_text(s, "Hello, World!"), 0);
	p = script_peer_of(&s->io);
	script_turns(l, 3);
	ck_assert_str_eq(s->trace, "");
	script_sent(p, 5);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "s5.");
	ck_assert_uint_eq(p->out.n, 5);
	ck_assert_int_eq(memcmp(buf_slice(&p->out).p, "Hello", 5), 0);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(a_second_send_is_refused_until_the_first_has_completed)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(send_text(s, "one"), 0);
	ck_assert_int_eq(loop_send(&s->io, &s->msg), -EALREADY);
	ck_assert_str_eq(s->trace, "");
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "s3.");
	ck_assert_int_eq(send_text(s, "two"), 0);
	script_turns(l, 1);
	ck_assert_int_eq(memcmp(buf_slice(&script_peer_of(&s->io)->out).p, "onetwo", 6), 0);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(hanging_up_and_connecting_are_reported_once)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);
	struct sockaddr sa = { .sa_family = AF_UNIX };

	ck_assert_int_eq(loop_connect(&s->io, &sa, sizeof(sa)), 0);
	ck_assert_int_eq(loop_poll_hup(&s->io), 0);
	script_connected(script_peer_of(&s->io), -ECONNREFUSED);
	script_hup(script_peer_of(&s->io), 0x2000);
	script_turns(l, 3);
	ck_assert_str_eq(s->trace, "c-111. h8192.");
	ck_assert_uint_eq(s->io.armed, 0);
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- closing ----------------------------------------------------------------------------------------------------- */

START_TEST(after_a_close_late_completions_of_any_kind_bring_one_released)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);
	struct script_peer *p;

	script_hold(l, true, true);
	ck_assert_int_eq(loop_recv(&s->io), 0);
	ck_assert_int_eq(send_text(s, "text"), 0);
	ck_assert_int_eq(loop_poll_hup(&s->io), 0);
	p = script_peer_of(&s->io);
	loop_close(&s->io);
	ck_assert_int_eq(loop_recv(&s->io), -EBADF);
	script_turns(l, 3);
	ck_assert_str_eq(s->trace, "");
	ck_assert(!p->closed);
	script_give(p, "late bytes", 10);
	script_sent(p, 2);                      /* its bytes are still read: they are the backend's */
	script_cancelled(p, LOOP_HUP);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "");
	ck_assert_uint_eq(l->bufs_free, 64);
	script_give_last(p, "end", 3);
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "x0");
	ck_assert(p->closed);
	ck_assert_uint_eq(p->out.n, 2);
	ck_assert_uint_eq(l->bufs_free, 64);
	script_hold(l, false, false);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(an_io_may_be_closed_in_each_of_its_callbacks)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *a = seen_new(l), *b = seen_new(l), *c = seen_new(l), *d = seen_new(l);

	a->close_in_recv = b->close_in_recv = c->close_in_sent = d->close_in_accept = true;
	ck_assert_int_eq(loop_recv(&a->io), 0);
	script_give(script_peer_of(&a->io), "one", 3);
	script_give(script_peer_of(&a->io), "two", 3);
	ck_assert_int_eq(loop_recv(&b->io), 0);
	script_give_last(script_peer_of(&b->io), "one", 3);
	ck_assert_int_eq(send_text(c, "text"), 0);
	ck_assert_int_eq(loop_recv(&c->io), 0);
	ck_assert_int_eq(loop_accept(&d->io), 0);
	script_connect(l);
	script_turns(l, 3);
	ck_assert_str_eq(a->trace, "r3 x0");
	ck_assert_str_eq(b->trace, "r3 x0");
	ck_assert_str_eq(c->trace, "s4. x0");
	ck_assert_str_eq(d->trace, "a0 x0");
	seen_free(a);
	seen_free(b);
	seen_free(c);
	seen_free(d);
	loop_free(l);
}
END_TEST

START_TEST(an_io_that_never_did_anything_is_released_but_not_inside_loop_close)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	loop_close(&s->io);
	ck_assert_str_eq(s->trace, "");
	script_turns(l, 1);
	ck_assert_str_eq(s->trace, "x0");
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- failing ----------------------------------------------------------------------------------------------------- */

/* A small conversation in which each operation in turn cannot be started: whatever happens, every io is released, every
 * buffer comes back, and an operation that could not be started reports nothing. */
START_TEST(the_nth_operation_failing_loses_no_io_and_no_buffer)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);
	bool recv, sending, hup;

	script_fail(l, (unsigned)_i + 1, -EAGAIN);
	recv = loop_recv(&s->io) == 0;
	sending = send_text(s, "text") == 0;
	hup = loop_poll_hup(&s->io) == 0;
	ck_assert_int_eq(s->io.armed, (recv ? LOOP_RECV : 0) | (sending ? LOOP_SEND : 0) | (hup ? LOOP_HUP : 0));
	ck_assert_int_eq(s->io.inflight, recv + sending + hup);
	script_give_last(script_peer_of(&s->io), "one", 3);     /* started again: may be the one that fails */
	script_give_last(script_peer_of(&s->io), "two", 3);
	script_give(script_peer_of(&s->io), "six", 3);
	script_turns(l, 5);
	ck_assert_uint_eq(s->nbytes, recv ? 9 : 0);
	loop_close(&s->io);
	script_turns(l, 3);
	ck_assert_uint_eq(s->released, 1);
	ck_assert_uint_eq(l->bufs_free, 64);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(an_accept_that_cannot_be_started_again_is_tried_later)
{
	struct loop *l = loop_new_script(NULL);
	struct seen *s = seen_new(l);

	ck_assert_int_eq(loop_accept(&s->io), 0);
	script_fail(l, 1, -EAGAIN);
	script_accept(l, -EPROTO, false);
	script_turns(l, 2);
	ck_assert_uint_eq(s->io.inflight, 0);
	script_advance(l, 100 * NS_PER_MS);
	script_connect(l);
	script_turns(l, 2);
	ck_assert_str_eq(s->trace, "a0");
	seen_free(s);
	loop_free(l);
}
END_TEST

/* ---- turns ------------------------------------------------------------------------------------------------------- */

struct numbered {
	struct loop_msg msg;
	int n;
};

static int ran[300], nran;

static void run_numbered(struct loop_msg *m)
{
	ran[nran++] = container_of(m, struct numbered, msg)->n;
}

START_TEST(at_most_64_messages_run_in_a_turn_and_in_order)
{
	struct loop *l = loop_new_script(NULL);
	static struct numbered m[150];

	nran = 0;
	for (int i = 0; i < 150; i++) {
		m[i] = (struct numbered){ { .fn = run_numbered }, i };
		loop_post(l, &m[i].msg);
	}
	for (int turn = 1; turn <= 2; turn++) {
		ck_assert_int_eq(loop_turn(l, NEVER), 0);       /* does not sleep while messages are left */
		ck_assert_int_eq(nran, turn * 64);
	}
	script_turns(l, 1);
	ck_assert_int_eq(nran, 150);
	for (int i = 0; i < 150; i++)
		ck_assert_int_eq(ran[i], i);
	loop_free(l);
}
END_TEST

struct late {
	struct numbered m;
	struct loop *loop;
};

static void *post_late(void *arg)
{
	struct late *late = arg;

	loop_post(late->loop, &late->m.msg);
	return NULL;
}

START_TEST(a_sleeping_turn_is_ended_by_a_message_of_another_thread)
{
	struct loop *l = loop_new_script(NULL);
	struct late late = { { { .fn = run_numbered }, 7 }, l };
	pthread_t t;

	nran = 0;
	ck_assert_int_eq(pthread_create(&t, NULL, post_late, &late), 0);
	while (nran == 0)
		ck_assert_int_eq(loop_turn(l, NEVER), 0);
	ck_assert_int_eq(ran[0], 7);
	pthread_join(t, NULL);
	loop_free(l);
}
END_TEST

static uint64_t fired_ns;
static struct loop *fired_loop;

static void fired(struct timer *t)
{
	(void)t;
	fired_ns = fired_loop->now_ns;
}

START_TEST(timers_follow_the_time_of_the_script)
{
	struct loop *l = loop_new_script(NULL);
	uint64_t start = l->now_ns;
	struct timer t;

	fired_loop = l;
	fired_ns = 0;
	timer_init(&t, fired);
	wheel_add(&l->wheel, &t, start + 10 * NS_PER_S);
	script_advance(l, 10 * NS_PER_S - 1);
	script_turns(l, 3);
	ck_assert_uint_eq(fired_ns, 0);
	script_advance(l, 3 * NS_PER_MS);
	script_turns(l, 3);
	ck_assert_uint_ge(fired_ns, start + 10 * NS_PER_S);
	loop_free(l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop, scripted");
	TCase *io = tcase_create("operations"), *rest = tcase_create("turns and failures");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(io, bytes_given_before_a_receive_wait_for_it);
	tcase_add_test(io, a_multishot_that_ends_early_is_started_again_unnoticed);
	tcase_add_test(io, a_receive_stopped_with_its_last_bytes_ends_without_being_started_again);
	tcase_add_test(io, bytes_that_came_before_the_cancellation_are_still_delivered);
	tcase_add_test(io, a_fin_that_overtakes_the_cancellation_is_the_one_end);
	tcase_add_test(io, a_receive_may_be_started_again_from_its_final_callback);
	tcase_add_test(io, a_starved_receive_goes_on_when_a_buffer_comes_back);
	tcase_add_test(io, one_buffer_that_comes_back_lets_every_starved_receive_wait_for_bytes_again);
	tcase_add_test(io, a_starved_receive_can_be_stopped_and_closed);
	tcase_add_test(io, a_starved_receive_that_was_stopped_can_still_be_closed);
	tcase_add_test(io, a_full_table_is_told_once_and_tried_again_every_100_ms);
	tcase_add_test(io, a_descriptor_that_is_closed_ends_the_rest_at_once);
	tcase_add_test(io, an_accept_of_one_goes_on_until_it_has_one);
	tcase_add_test(io, an_accept_that_rests_can_be_stopped_and_closed);
	tcase_add_test(io, one_clients_error_does_not_end_accepting);
	tcase_add_test(io, a_connection_accepted_after_the_close_is_closed);
	tcase_add_test(io, a_short_send_reports_what_has_gone);
	tcase_add_test(io, a_second_send_is_refused_until_the_first_has_completed);
	tcase_add_test(io, hanging_up_and_connecting_are_reported_once);
	tcase_add_test(io, after_a_close_late_completions_of_any_kind_bring_one_released);
	tcase_add_test(io, an_io_may_be_closed_in_each_of_its_callbacks);
	tcase_add_test(io, an_io_that_never_did_anything_is_released_but_not_inside_loop_close);
	tcase_add_loop_test(rest, the_nth_operation_failing_loses_no_io_and_no_buffer, 0, 6);
	tcase_add_test(rest, an_accept_that_cannot_be_started_again_is_tried_later);
	tcase_add_test(rest, at_most_64_messages_run_in_a_turn_and_in_order);
	tcase_add_test(rest, a_sleeping_turn_is_ended_by_a_message_of_another_thread);
	tcase_add_test(rest, timers_follow_the_time_of_the_script);
	tcase_set_timeout(rest, 30);
	suite_add_tcase(suite, io);
	suite_add_tcase(suite, rest);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
