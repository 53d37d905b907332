/* ask.c: asks a control plane, for the commands that show what it tells.
 *
 * One question, one connection, one thread that waits: a blocking socket with time-outs needs no event loop.  The
 * question is HTTP/1.0, so the reply's body ends where the connection does and is never chunked; a Content-Length must
 * be kept, else the reply has been cut off.  Bounds: a second to connect or to wait for more, PATIENCE_NS for all of
 * it, BODY_MAX of memory.
 *
 * What goes wrong is told in one line that names the address and, where there is a likely reason, asks about it.
 */
#include "cli/ask.h"
#include "base/buf.h"
#include "base/clock.h"
#include "options_value.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_NS (5 * NS_PER_S)
#define BODY_MAX ((size_t)64 << 20)
#define PIECE 65536

int ask_check(const char *address, char *err, size_t err_n)
{
	struct address a;

	if (value_address(address, &a) == 0 && !a.off)
		return 0;
	snprintf(err, err_n, "\"%s\" is no address: HOST:PORT, [ADDRESS]:PORT or unix:PATH", address);
	return -EINVAL;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

/* A socket connected to that, or -errno.  A connect that takes longer than the time to send ends with EINPROGRESS. */
static int connect_to(int family, const struct sockaddr *to, socklen_t n)
{
	static const struct timeval second = { .tv_sec = 1 };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
	if (connect(fd, to, n) == 0)
		return fd;
	rc = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	close(fd);
	return rc;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	if (n >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, n);
	return connect_to(AF_UNIX, (const struct sockaddr *)&to, sizeof(to));
}

static int connect_tcp(const char *host, unsigned port, const char **why)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	char service[8];
	int rc, fd = -EADDRNOTAVAIL;

	snprintf(service, sizeof(service), "%u", port);
	if ((rc = getaddrinfo(host, service, &hints, &found))) {
		*why = gai_strerror(rc);
		return -EADDRNOTAVAIL;
	}
	for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
		fd = connect_to(at->ai_family, at->ai_addr, at->ai_addrlen);
	freeaddrinfo(found);
	return fd;
}

static int open_address(const char *address, const struct address *a, char *err, size_t err_n)
{
	const char *why = NULL;
	int fd = a->unix_path ? connect_unix(a->unix_path) : connect_tcp(a->host, a->port, &why);

	if (fd < 0)
		snprintf(err, err_n, "cannot connect to %s: %s%s", address, why ? why : strerror(-fd),
			fd == -ECONNREFUSED || fd == -ENOENT ? ": is a server running with --control?" : "");
	return fd;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static int send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		}
	}
	return 0;
}

/* Everything until the other side closes, with a NUL behind it that is not counted. */
static int receive_all(int fd, uint64_t deadline, struct buf *b)
{
	for (;;) {
		char *room = buf_reserve(b, PIECE + 1);
		ssize_t got;

		if (!room)
			return -ENOMEM;
		got = recv(fd, room, PIECE, 0);
		if (got == 0) {
			*room = 0;
			return 0;
		}
		if (got < 0 && errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (got > 0)
			buf_added(b, (size_t)got);
		if (b->n > BODY_MAX)
			return -EMSGSIZE;
		if (clock_now_ns() > deadline)
			return -ETIMEDOUT;
	}
}

static int talk(int fd, const struct address *a, const char *path, struct buf *b)
{
	bool six = strchr(a->host, ':') != NULL;
	char request[1024];
	int n = snprintf(request, sizeof(request),
		"GET %s HTTP/1.0\r\nHost: %s%s%s\r\nAccept: application/json, text/plain\r\n\r\n",
		path, six ? "[" : "", a->unix_path ? "localhost" : a->host, six ? "]" : "");
	uint64_t deadline = clock_now_ns() + PATIENCE_NS;
	int rc = (size_t)n < sizeof(request) ? send_all(fd, request, (size_t)n) : -ENAMETOOLONG;

	return rc ? rc : receive_all(fd, deadline, b);
}

/* The value of a field of the head, which ends in an empty line; NULL when it has none. */
static const char *field(const char *head, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line && strncmp(line, "\r\n\r\n", 4) != 0;
		line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':')
			return line + 3 + n;
	return NULL;
}

/* Takes status and body from what came; 0, -EPROTO when it is no HTTP, or -EPIPE when it has been cut off. */
static int take(struct buf *b, struct answer *a)
{
	char *text = b->p + b->off, *body = strstr(text, "\r\n\r\n");
	const char *length;

	if (strncmp(text, "HTTP/1.", 7) != 0 || strlen(text) < 12 || !body)
		return -EPROTO;
	a->status = (int)strtol(text + 9, NULL, 10);
	length = field(text, "Content-Length");
	body += 4;
	a->n = b->n - (size_t)(body - text);
	if (length && strtoull(length, NULL, 10) != a->n)
		return -EPIPE;
	memmove(b->p, body, a->n + 1);
	a->body = b->p;
	return 0;
}

int ask(const char *address, const char *path, struct answer *a, char *err, size_t err_n)
{
	struct buf b = { 0 };
	struct address to;
	int rc, fd;

	*a = (struct answer){ 0 };
	if ((rc = ask_check(address, err, err_n)) || (rc = value_address(address, &to)))
		return rc;
	if ((fd = open_address(address, &to, err, err_n)) < 0)
		return fd;
	rc = talk(fd, &to, path, &b);
	close(fd);
	if (rc == 0 && (rc = take(&b, a)) == 0)
		return 0;
	if (rc == -EPROTO)
		snprintf(err, err_n, "what answers at %s does not speak HTTP", address);
	else if (rc == -EPIPE)
		snprintf(err, err_n, "the answer of %s was cut off", address);
	else
		snprintf(err, err_n, "no answer from %s: %s", address, strerror(-rc));
	buf_fini(&b);
	return rc;
}
