/* listen.c: opening listening sockets so that a port in use is an error, and closing them so that no client is reset.
 *
 * With SO_REUSEPORT set a second server would silently share the port of a first one.  So the first socket is bound
 * and listens without it: the bind fails when somebody listens on the port already, the listen when two servers have
 * bound it at the same moment.  The option is set on it afterwards, and the other loops' sockets are put beside it.  A
 * unix socket refuses SO_REUSEPORT: the loops share one by duplicates of its descriptor.  So do the loops of all
 * processes under a supervisor, on TCP too: with a socket of its own each would keep a backlog of its own, and with a
 * process that died or is busy its clients would be lost or wait, while others are idle.
 *
 * Closing a TCP listener resets the connections in its backlog, whose clients have completed a handshake and think
 * they are being served.  So it is first given a classic BPF filter that drops every SYN; what had completed by then
 * is accepted for a little while, and then nothing is left to reset.
 *
 * Set-up only, and listen_deafen on the loop's thread, or the supervisor's, which has but one.
 */
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TCP_FLAGS_AT 13 /* offset in the TCP header, where a socket filter's packet begins */
#define TCP_SYN 0x02

static int fail(char *err, size_t err_n, const char *address, const char *what, int rc)
{
	const char *hint = rc == -EADDRINUSE ? ": another server has it; stop that or choose another" : "";

	snprintf(err, err_n, "cannot listen on %s: %s: %s%s", address, what, strerror(-rc), hint);
	return rc;
}

static int set(int fd, int level, int name)
{
	int one = 1;

	return setsockopt(fd, level, name, &one, sizeof(one)) < 0 ? -errno : 0;
}

/* A listening TCP socket; `shared`: beside one that listens already. */
static int listen_tcp(const struct sockaddr *sa, socklen_t n, bool shared, int backlog, int *out)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	rc = set(fd, SOL_SOCKET, SO_REUSEADDR);
	if (rc == 0 && sa->sa_family == AF_INET6)
		rc = set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (rc == 0)
		rc = set(fd, IPPROTO_TCP, TCP_NODELAY); /* its connections inherit it */
	if (rc == 0 && shared)
		rc = set(fd, SOL_SOCKET, SO_REUSEPORT);
	if (rc == 0 && (bind(fd, sa, n) < 0 || listen(fd, backlog) < 0))
		rc = -errno;
	if (rc == 0 && !shared)
		rc = set(fd, SOL_SOCKET, SO_REUSEPORT);
	if (rc < 0)
		close(fd);
	else
		*out = fd;
	return rc;
}

static void name_tcp(struct listen *l, const struct sockaddr_storage *ss)
{
	char addr[INET6_ADDRSTRLEN] = "?";

	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

		inet_ntop(AF_INET6, &in6->sin6_addr, addr, sizeof(addr));
		l->port = ntohs(in6->sin6_port);
		snprintf(l->address, sizeof(l->address), "[%s]:%u", addr, l->port);
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

		inet_ntop(AF_INET, &in->sin_addr, addr, sizeof(addr));
		l->port = ntohs(in->sin_port);
		snprintf(l->address, sizeof(l->address), "%s:%u", addr, l->port);
	}
}

static int open_at(struct listen *l, const struct addrinfo *ai, int backlog)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);
	int rc = listen_tcp(ai->ai_addr, ai->ai_addrlen, false, backlog, &l->fds[0]);

	if (rc == 0 && getsockname(l->fds[0], (struct sockaddr *)&ss, &n) < 0)
		rc = -errno;
	for (unsigned i = 1; rc == 0 && i < l->n; i++)
		rc = listen_tcp((struct sockaddr *)&ss, n, true, backlog, &l->fds[i]);
	if (rc == 0)
		name_tcp(l, &ss);
	return rc;
}

static void close_fds(struct listen *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (l->fds[i] >= 0)
			close(l->fds[i]);
		l->fds[i] = -1;
	}
}

static int open_tcp(struct listen *l, const char *host, unsigned port, int backlog, char *err, size_t err_n)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *list = NULL;
	char service[16], address[128];
	int rc;

	snprintf(service, sizeof(service), "%u", port);
	snprintf(address, sizeof(address), "%s port %u", host, port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0) {
		snprintf(err, err_n, "cannot listen on %s: %s: give an address of this machine, as 127.0.0.1 or ::",
			address, gai_strerror(rc));
		return -EINVAL;
	}
	rc = open_at(l, list, backlog);
	freeaddrinfo(list);
	if (rc < 0) {
		close_fds(l);
		return fail(err, err_n, address, "bind", rc);
	}
	return 0;
}

/* A socket file nobody listens on any more is in the way of bind. */
static int remove_stale(const struct sockaddr_un *sa, socklen_t n)
{
	struct stat st;
	int fd, rc = 0;

	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)sa, n) == 0 || errno != ECONNREFUSED)
		rc = -EADDRINUSE;
	else if (unlink(sa->sun_path) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int bind_unix(const char *path, int backlog, int *out)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, rc;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path));
	rc = remove_stale(&sa, sizeof(sa));
	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, backlog) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	*out = fd;
	return 0;
}

/* The descriptors from the i-th on: of the same socket as fd. */
static int duplicate(struct listen *l, int fd, unsigned i)
{
	l->shared = l->n > 1;
	for (; i < l->n; i++) {
		l->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (l->fds[i] < 0)
			return -errno;
	}
	return 0;
}

static int open_unix(struct listen *l, const char *path, int backlog, char *err, size_t err_n)
{
	int rc = bind_unix(path, backlog, &l->fds[0]);
	struct stat st;

	if (rc == 0 && lstat(path, &st) == 0) {
		l->unix_path = strdup(path);
		l->unix_dev = st.st_dev;
		l->unix_ino = st.st_ino;
		if (!l->unix_path) {
			unlink(path);
			rc = -ENOMEM;
		}
	}
	if (rc == 0)
		rc = duplicate(l, l->fds[0], 1);
	snprintf(l->address, sizeof(l->address), "unix:%s", path);
	return rc < 0 ? fail(err, err_n, l->address, "bind", rc) : 0;
}

/* n descriptors, none open. */
static int init(struct listen *l, unsigned n, char *err, size_t err_n)
{
	memset(l, 0, sizeof(*l));
	l->fds = malloc(n * sizeof(*l->fds));
	if (!l->fds) {
		snprintf(err, err_n, "out of memory");
		return -ENOMEM;
	}
	l->n = n;
	for (unsigned i = 0; i < n; i++)
		l->fds[i] = -1;
	return 0;
}

int listen_open(struct listen *l, const char *host, unsigned port, const char *unix_path, unsigned n, int backlog,
	char *err, size_t err_n)
{
	int rc = init(l, n, err, err_n);

	if (rc < 0)
		return rc;
	if (unix_path)
		rc = open_unix(l, unix_path, backlog, err, err_n);
	else
		rc = open_tcp(l, host, port, backlog, err, err_n);
	if (rc < 0)
		listen_close(l);
	return rc;
}

int listen_share(struct listen *l, const struct listen *from, unsigned n, char *err, size_t err_n)
{
	int rc = init(l, n, err, err_n);

	if (rc < 0)
		return rc;
	l->port = from->port;
	memcpy(l->address, from->address, sizeof(l->address));
	if (from->unix_path && !(l->unix_path = strdup(from->unix_path)))
		rc = -ENOMEM;
	l->unix_dev = from->unix_dev;
	l->unix_ino = from->unix_ino;
	if (rc == 0)
		rc = duplicate(l, from->fds[0], 0);
	l->shared = l->borrowed = true;
	if (rc < 0) {
		snprintf(err, err_n, "cannot share %s: %s", l->address, strerror(-rc));
		listen_close(l);
	}
	return rc;
}

/* Once, and never what a successor has bound: while our socket is open no other file can have its number.  Relaxed: who
 * comes second does nothing. */
static void remove_path(struct listen *l)
{
	struct stat st;

	if (atomic_exchange_explicit(&l->unix_removed, true, memory_order_relaxed))
		return;
	if (lstat(l->unix_path, &st) == 0 && st.st_dev == l->unix_dev && st.st_ino == l->unix_ino)
		(void)unlink(l->unix_path);
}

int listen_deafen(struct listen *l, unsigned i)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS_AT),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TCP_SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	if (l->unix_path) {
		remove_path(l);
		return 0;
	}
	return setsockopt(l->fds[i], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

void listen_close(struct listen *l)
{
	if (!l->fds)
		return;
	if (l->unix_path && !l->borrowed)
		remove_path(l);
	close_fds(l);
	free(l->unix_path);
	free(l->fds);
	memset(l, 0, sizeof(*l));
}
