/* loop_seen.c: see loop_seen.h.  Every callback holds the io to the contract of loop.h: nothing from inside a call,
 * nothing after `released`, bytes exactly when there is more to come. */
#include "loop_seen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool seen_on_uring(void)
{
	const char *want = getenv("OFFLOOP_BACKEND");

	return want && strcmp(want, "uring") == 0;
}

struct loop *seen_loop(const struct loop_conf *conf)
{
	struct loop *l = seen_on_uring() ? loop_new_uring(conf, NULL) : loop_new_event(conf);

	ck_assert_ptr_nonnull(l);
	return l;
}

int seen_skip(void)
{
	const char *stage = NULL;
	int rc = seen_on_uring() ? loop_probe_uring(&stage) : 0;

	if (rc < 0)
		printf("skipped: no io_uring here: %s: %s\n", stage, strerror(-rc));
	return rc < 0 ? 77 : 0;
}

static struct seen *seen_of(struct loop_io *io)
{
	struct seen *s = container_of(io, struct seen, io);

	ck_assert(!s->in_call);
	ck_assert_int_eq(s->released, 0);
	return s;
}

int seen_send(struct seen *s, const void *p, size_t n)
{
	int rc;

	s->iov[0] = (struct iovec){ (void *)(uintptr_t)p, n };
	s->msg = (struct msghdr){ .msg_iov = s->iov, .msg_iovlen = 1 };
	s->in_call = true;
	rc = loop_send(&s->io, &s->msg);
	s->in_call = false;
	return rc;
}

int seen_recv(struct seen *s)
{
	int rc;

	s->in_call = true;
	rc = loop_recv(&s->io);
	s->in_call = false;
	return rc;
}

int seen_accept(struct seen *s)
{
	int rc;

	s->in_call = true;
	rc = loop_accept(&s->io);
	s->in_call = false;
	return rc;
}

int seen_accept_one(struct seen *s)
{
	int rc;

	s->in_call = true;
	rc = loop_accept_one(&s->io);
	s->in_call = false;
	return rc;
}

int seen_hup(struct seen *s)
{
	int rc;

	s->in_call = true;
	rc = loop_poll_hup(&s->io);
	s->in_call = false;
	return rc;
}

void seen_stop(struct seen *s, unsigned ops)
{
	s->in_call = true;
	loop_stop_ops(&s->io, ops);
	s->in_call = false;
}

void seen_close(struct seen *s)
{
	s->in_call = true;
	loop_close(&s->io);
	s->in_call = false;
}

static void accepted(struct loop_io *io, int fd, bool more)
{
	struct seen *s = seen_of(io);

	if (fd >= 0) {
		ck_assert(more == !io->one);
		ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
		s->accepted_fd[s->accepts++ % 64] = fd;
	} else {
		s->accept_error = fd;
	}
	s->accept_ended += !more;
	if (s->close_at_once)
		seen_close(s);
}

/* Does to another io what the test wants, once; it has the same in mind. */
static void strike(struct seen *s)
{
	struct seen *stops = s->stops, *closes = s->closes;

	s->stops = s->closes = NULL;
	if (stops) {
		stops->stops = NULL;
		seen_stop(stops, LOOP_RECV);
	}
	if (closes) {
		closes->closes = NULL;
		seen_close(closes);
	}
}

static void received(struct loop_io *io, int res, const struct loop_buf *buf, bool more)
{
	struct seen *s = seen_of(io);

	ck_assert(more == (res > 0));
	ck_assert(buf ? res > 0 && buf->n == (uint32_t)res : res <= 0);
	if (res > 0) {
		s->received += res;
		s->bytes = realloc(s->bytes, s->nbytes + buf->n);
		ck_assert_ptr_nonnull(s->bytes);
		memcpy(s->bytes + s->nbytes, buf->p, buf->n);
		s->nbytes += buf->n;
		if (s->echo) {
			memcpy(s->echoed, buf->p, buf->n);
			ck_assert_int_eq(seen_send(s, s->echoed, buf->n), 0);
		}
		if (s->keep)
			s->kept[s->nkept++] = *buf;
		else
			loop_lend_back(io->loop, buf);
		strike(s);
	} else {
		s->recv_end = res;
		s->recv_ended++;
	}
	if (s->close_at_once)
		seen_close(s);
}

static void sent(struct loop_io *io, int res)
{
	struct seen *s = seen_of(io);

	s->sends++;
	s->send_res = res;
	if (s->close_at_once)
		seen_close(s);
}

static void hung_up(struct loop_io *io, int res)
{
	struct seen *s = seen_of(io);

	s->hups++;
	s->hup_res = res;
	if (s->close_at_once)
		seen_close(s);
}

static void connected(struct loop_io *io, int res)
{
	struct seen *s = seen_of(io);

	s->connects++;
	s->connect_res = res;
}

static void released(struct loop_io *io)
{
	struct seen *s = seen_of(io);

	s->released++;
	memset(io, 0xee, sizeof(*io));          /* the owner's again: nobody may look at it */
}

static const struct loop_io_ops ops = { accepted, received, sent, hung_up, connected, released };

struct seen *seen_new(struct loop *l, int fd)
{
	struct seen *s = aligned_alloc(_Alignof(struct seen), sizeof(*s));

	ck_assert_ptr_nonnull(s);
	ck_assert_int_ge(fd, 0);
	memset(s, 0, sizeof(*s));
	s->loop = l;
	loop_io_init(&s->io, l, fd, &ops);
	return s;
}

uint64_t seen_patience;

void seen_turn(struct loop *l)
{
	ck_assert_uint_lt(clock_now_ns(), seen_patience);
	ck_assert_int_eq(loop_turn(l, seen_patience), 0);
}

void seen_settle(struct loop *l)
{
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(loop_turn(l, 0), 0);
}

uint64_t seen_turns_in(struct loop *l, unsigned ms)
{
	uint64_t turns = l->count.turns, end = clock_now_ns() + ms * NS_PER_MS;

	while (clock_now_ns() < end)
		ck_assert_int_eq(loop_turn(l, end), 0);
	return l->count.turns - turns;
}

void seen_lend_back(struct seen *s)
{
	while (s->nkept > 0)
		loop_lend_back(s->loop, &s->kept[--s->nkept]);
}

void seen_free(struct seen *s)
{
	seen_lend_back(s);
	if (!s->released) {
		if (!s->io.closing)
			seen_close(s);
		UNTIL(s->loop, s->released);
	}
	seen_settle(s->loop);
	free(s->bytes);
	free(s);
}

/* ---- sockets ----------------------------------------------------------------------------------------------------- */

int listen_tcp(struct sockaddr_in *sa)
{
	socklen_t n = sizeof(*sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_eq(bind(fd, (struct sockaddr *)sa, n), 0);
	ck_assert_int_eq(listen(fd, 128), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)sa, &n), 0);
	return fd;
}

int connect_tcp(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)sa, sizeof(*sa)), 0);
	return fd;
}

void make_pair(int i, int ends[2])
{
	struct sockaddr_in sa;
	int listener;

	if (i == 1) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		return;
	}
	listener = listen_tcp(&sa);
	ends[1] = connect_tcp(&sa);
	ends[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(ends[0], 0);
	close(listener);
}

void write_all(int fd, const char *p, size_t n)
{
	ck_assert_int_eq(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

void read_all(int fd, const char *want, size_t n)
{
	char got[4096];

	ck_assert_uint_le(n, sizeof(got));
	ck_assert_int_eq(recv(fd, got, n, MSG_WAITALL), (ssize_t)n);
	ck_assert_int_eq(memcmp(got, want, n), 0);
}

void reset_tcp(int fd)
{
	struct linger now = { .l_onoff = 1 };

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}
