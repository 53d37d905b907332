/* peer.c: the address of a socket's other end.
 *
 * Asked for once a connection, when its first request begins, and kept in 24 bytes instead of a sockaddr_storage's 128,
 * since an idle connection should cost little.  It is copied into each request, so that a handler on another thread can
 * have it printed without touching the connection.  Any thread.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void peer_of_fd(struct peer *p, int fd)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	memset(p, 0, sizeof(*p));
	if (getpeername(fd, (struct sockaddr *)&ss, &n) < 0)
		return;
	p->family = ss.ss_family;
	if (ss.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&ss;

		p->port = ntohs(in->sin_port);
		memcpy(p->addr, &in->sin_addr, 4);
	} else if (ss.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;

		p->port = ntohs(in6->sin6_port);
		memcpy(p->addr, &in6->sin6_addr, 16);
	}
}

size_t peer_format(char *dst, const struct peer *p)
{
	char addr[INET6_ADDRSTRLEN];
	int n;

	if ((p->family == AF_INET || p->family == AF_INET6) && inet_ntop(p->family, p->addr, addr, sizeof(addr)))
		n = snprintf(dst, PEER_TEXT_MAX, p->family == AF_INET ? "%s:%u" : "[%s]:%u", addr, p->port);
	else
		n = snprintf(dst, PEER_TEXT_MAX, "%s", p->family == AF_UNIX ? "unix:" : "unknown");
	return (size_t)n;
}
