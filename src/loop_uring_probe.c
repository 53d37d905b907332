/* loop_uring_probe.c: whether io_uring does here what offloop needs of it.
 *
 * That a ring can be made says little: containers forbid it (EPERM), emulations lack it (ENOSYS) or parts of it, and a
 * kernel may accept an operation and then fail it.  So a small loop is made with the very flags, features, operations
 * and buffer ring of the real ones, and a message is sent through it: multishot accept, connect, send, multishot
 * receive, the FIN and two closes, over a unix socket with a name of the kernel's choosing, since a sandbox may have no
 * network.  Anything but success within a second means libevent; the stage says where it ended.
 *
 * Called once at start, on any thread; the loop it uses is gone when it returns.  Built without io_uring it reports
 * what loop_new_uring reports.
 */
#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define PROBE_TIME (1 * NS_PER_S)
#define PROBE_TEXT "offloop"

struct probe {
	struct loop_io listener, client, server;
	struct msghdr msg;
	struct iovec iov;
	const char *stage;      /* reached so far */
	unsigned open;          /* ios not yet released */
	int rc;                 /* 1 while it goes on */
};

static struct probe *probe_of(struct loop_io *io)
{
	return io->loop->owner;
}

static void end(struct probe *p, int rc)
{
	if (p->rc == 1)
		p->rc = rc;
}

static void try(struct probe *p, const char *stage, int rc)
{
	p->stage = stage;
	if (rc < 0)
		end(p, rc);
}

static void released(struct loop_io *io)
{
	probe_of(io)->open--;
}

static void received(struct loop_io *io, int res, const struct loop_buf *buf, bool more)
{
	struct probe *p = probe_of(io);

	(void)more;
	if (res > 0) {
		bool same = res == sizeof(PROBE_TEXT) && memcmp(buf->p, PROBE_TEXT, sizeof(PROBE_TEXT)) == 0;

		loop_lend_back(io->loop, buf);
		try(p, "loopback receive", same ? 0 : -EBADMSG);
		loop_close(&p->client);
		p->stage = "loopback end of file";
	} else {
		end(p, res);
	}
}

static const struct loop_io_ops server_ops = { .received = received, .released = released };

static void accepted(struct loop_io *io, int fd, bool more)
{
	struct probe *p = probe_of(io);

	(void)more;
	if (fd < 0) {
		end(p, fd);
		return;
	}
	loop_io_init(&p->server, io->loop, fd, &server_ops);
	p->open++;
	try(p, "loopback receive", loop_recv(&p->server));
}

static const struct loop_io_ops listener_ops = { .accepted = accepted, .released = released };

static void sent(struct loop_io *io, int res)
{
	if (res != sizeof(PROBE_TEXT))
		end(probe_of(io), res < 0 ? res : -EIO);
}

static void connected(struct loop_io *io, int res)
{
	struct probe *p = probe_of(io);

	if (res < 0) {
		end(p, res);
		return;
	}
	p->iov = (struct iovec){ PROBE_TEXT, sizeof(PROBE_TEXT) };
	p->msg = (struct msghdr){ .msg_iov = &p->iov, .msg_iovlen = 1 };
	try(p, "loopback send", loop_send(io, &p->msg));
}

static const struct loop_io_ops client_ops = { .connected = connected, .sent = sent, .released = released };

/* A listener at an abstract address that the kernel picks (unix(7), autobind). */
static int listen_anywhere(struct sockaddr_un *sa, socklen_t *n)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*n = sizeof(*sa);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)sa, sizeof(sa->sun_family)) < 0 || listen(fd, 1) < 0 ||
		getsockname(fd, (struct sockaddr *)sa, n) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

static int start(struct probe *p, struct loop *l)
{
	struct sockaddr_un sa;
	socklen_t n;
	int fd = listen_anywhere(&sa, &n);

	p->stage = "loopback socket";
	if (fd < 0)
		return fd;
	loop_io_init(&p->listener, l, fd, &listener_ops);
	p->open++;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	loop_io_init(&p->client, l, fd, &client_ops);
	p->open++;
	p->stage = "loopback accept";
	fd = loop_accept(&p->listener);
	return fd < 0 ? fd : loop_connect(&p->client, (struct sockaddr *)&sa, n);
}

/* Closes what start and the callbacks opened.  An io that was never started has no loop. */
static int finish(struct probe *p, struct loop *l, uint64_t deadline_ns)
{
	struct loop_io *const ios[] = { &p->listener, &p->client, &p->server };
	int rc = 0;

	for (size_t i = 0; i < sizeof(ios) / sizeof(ios[0]); i++)
		if (ios[i]->loop && !ios[i]->closing)
			loop_close(ios[i]);
	while (p->open > 0 && rc == 0 && l->now_ns < deadline_ns)
		rc = loop_turn(l, deadline_ns);
	return p->open > 0 && rc == 0 ? -ETIMEDOUT : rc;
}

static int send_to_itself(struct loop *l, const char **stage)
{
	struct probe p = { .rc = 1 };
	uint64_t deadline_ns = l->now_ns + PROBE_TIME;
	int rc;

	l->owner = &p;
	rc = start(&p, l);
	while (rc == 0 && p.rc == 1 && l->now_ns < deadline_ns)
		rc = loop_turn(l, deadline_ns);
	end(&p, rc < 0 ? rc : -ETIMEDOUT);
	*stage = p.stage;
	rc = finish(&p, l, l->now_ns + PROBE_TIME);
	if (p.rc == 0 && rc < 0) {
		*stage = "loopback close";
		return rc;
	}
	return p.rc;
}

int loop_probe_uring(const char **stage)
{
	const struct loop_conf small = { .recv_bufs = 2, .recv_bufs_max = 4 };
	const char *ignored;
	struct loop *l;
	int rc;

	if (!stage)
		stage = &ignored;
	l = loop_new_uring(&small, stage);
	if (!l)
		return -errno;
	rc = send_to_itself(l, stage);
	loop_free(l);
	if (rc == 0)
		*stage = NULL;
	return rc;
}
