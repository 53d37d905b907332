/* peer.h: who is at the other end of a socket, in 24 bytes. */
#ifndef OL_PEER_H
#define OL_PEER_H

#include <stddef.h>
#include <stdint.h>

struct peer {
	uint16_t family;    /* AF_INET, AF_INET6, AF_UNIX; 0: not known */
	uint16_t port;      /* host order */
	uint8_t addr[16];   /* network order; the first 4 for AF_INET */
};

#define PEER_TEXT_MAX 64

/* Asks the kernel (getpeername); family 0 when it does not know any more. */
void peer_of_fd(struct peer *p, int fd);

/* "192.0.2.1:4711", "[2001:db8::1]:4711", "unix:" or "unknown"; NUL-terminated, at most PEER_TEXT_MAX.  Its length. */
size_t peer_format(char *dst, const struct peer *p);

#endif
