/* loop_bench.c: the bare seam as a server, to tell what the loop costs apart from HTTP.
 *
 * Answers whatever arrives with one fixed response, a copy for each blank line that ends a request (so pipelining
 * works), through loop_accept, loop_recv and loop_send and nothing else.  One thread, one listener on 127.0.0.1.
 *
 *     loop_bench PORT      OFFLOOP_BACKEND=uring|libevent
 *
 * It reads no request, so it is a bound and not a server: what it costs over a bare ring is the seam's price. */
#include "../src/loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPLY "HTTP/1.1 200 OK\r\nServer: loop\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n" \
	"Date: Sun, 22 Nov 2026 05:30:00 GMT\r\n\r\nHello, World!"
#define REPLY_LEN (sizeof(REPLY) - 1)
#define REPLIES_MAX 64

struct client {
	struct loop_io io;
	struct iovec iov;
	struct msghdr msg;
	unsigned matched;       /* bytes of CR LF CR LF seen at the end */
	unsigned owed;          /* replies not yet being sent */
	bool last;              /* the client asked for a close */
	bool ended;
};

static char replies[REPLIES_MAX * REPLY_LEN];

static void reply(struct client *c)
{
	unsigned n = c->owed < REPLIES_MAX ? c->owed : REPLIES_MAX;

	if (n == 0 || (c->io.armed & LOOP_SEND))
		return;
	c->owed -= n;
	c->iov = (struct iovec){ replies, n * REPLY_LEN };
	c->msg = (struct msghdr){ .msg_iov = &c->iov, .msg_iovlen = 1 };
	if (loop_send(&c->io, &c->msg) < 0)
		loop_close(&c->io);
}

static unsigned count_requests(struct client *c, const char *p, uint32_t n)
{
	unsigned found = 0, matched = c->matched;

	for (uint32_t i = 0; i < n; i++) {
		if (p[i] == (matched & 1 ? '\n' : '\r'))
			matched++;
		else
			matched = p[i] == '\r';
		if (matched == 4) {
			found++;
			matched = 0;
		}
	}
	c->matched = matched;
	return found;
}

static void received(struct loop_io *io, int res, const struct loop_buf *buf, bool more)
{
	struct client *c = container_of(io, struct client, io);

	(void)more;
	if (res > 0) {
		c->owed += count_requests(c, buf->p, buf->n);
		c->last |= memmem(buf->p, buf->n, "ction: close", 12) != NULL;
		loop_lend_back(io->loop, buf);
		reply(c);
	} else if (!(io->armed & LOOP_SEND)) {
		loop_close(io);
	} else {
		c->ended = true;
	}
}

static void sent(struct loop_io *io, int res)
{
	struct client *c = container_of(io, struct client, io);

	if (res < 0 || ((c->last || c->ended) && c->owed == 0))
		loop_close(io);
	else
		reply(c);
}

static void released(struct loop_io *io)
{
	free(container_of(io, struct client, io));
}

static const struct loop_io_ops client_ops = { .received = received, .sent = sent, .released = released };

static void accepted(struct loop_io *io, int fd, bool more)
{
	struct client *c;

	if (fd < 0) {
		fprintf(stderr, "loop_bench: accept: %s%s\n", strerror(-fd), more ? "" : ", no more");
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	loop_io_init(&c->io, io->loop, fd, &client_ops);
	if (loop_recv(&c->io) < 0)
		loop_close(&c->io);
}

static const struct loop_io_ops listener_ops = { .accepted = accepted };

static int listen_on(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));    /* inherited by what is accepted */
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4096) < 0) {
		perror("loop_bench: listen");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	const char *want = getenv("OFFLOOP_BACKEND"), *stage = NULL;
	bool event = want && strcmp(want, "libevent") == 0;
	struct loop *l = event ? loop_new_event(NULL) : loop_new_uring(NULL, &stage);
	struct loop_io listener;

	if (!l) {
		fprintf(stderr, "loop_bench: %s: %s\n", stage ? stage : "libevent", strerror(errno));
		return 1;
	}
	for (size_t i = 0; i < REPLIES_MAX; i++)
		memcpy(replies + i * REPLY_LEN, REPLY, REPLY_LEN);
	loop_io_init(&listener, l, listen_on(argc > 1 ? (int)strtol(argv[1], NULL, 10) : 8080), &listener_ops);
	if (loop_accept(&listener) < 0)
		return 1;
	return loop_run(l) < 0;
}
