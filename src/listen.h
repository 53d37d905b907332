/* listen.h: listening sockets. */
#ifndef OL_LISTEN_H
#define OL_LISTEN_H

#include "base/checked.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Where a server listens.  TCP: one socket a loop, over which SO_REUSEPORT spreads the clients.  A unix path, or what a
 * supervisor has opened for several processes: one for all. */
struct listen {
	int *fds;               /* n of them */
	unsigned n;
	bool shared;            /* each of them is a duplicate of one socket, which others accept from, too */
	bool borrowed;          /* the path is not ours to remove on closing */
	unsigned port;          /* the one bound; 0 for unix */
	char address[160];      /* "127.0.0.1:8000", "[::1]:8000", "unix:/run/x.sock" */
	char *unix_path;        /* removed once, by the first that deafens or closes, if it is still our socket's */
	dev_t unix_dev;
	ino_t unix_ino;
	_Atomic bool unix_removed;
};

/* Binds and listens for n loops.  host is an address or a name; unix_path, when not NULL, is used instead of host and
 * port.  A path where a dead server left its socket is taken over; one where somebody answers is in use.  0, or -errno
 * with one line in err.  [setup] */
CHECKED int listen_open(struct listen *l, const char *host, unsigned port, const char *unix_path, unsigned n,
	int backlog, char *err, size_t err_n);

/* A listener for n loops of this process, by duplicates of the socket in `from`, a listener of one.  0 or -errno with
 * one line in err.  [setup] */
CHECKED int listen_share(struct listen *l, const struct listen *from, unsigned n, char *err, size_t err_n);

/* Makes a TCP listener deaf: further SYNs are dropped, so that their senders try again (at the successor), while
 * handshakes under way complete and can be accepted.  Closing it when none has come for 50 ms resets nobody.  A unix
 * listener: removes its path.  0, or -errno where a process may not filter its sockets (-EPERM): the listener hears on
 * then, and closing it may reset a client that comes at that moment. */
CHECKED int listen_deafen(struct listen *l, unsigned i);

/* Closes what is still open, and removes a unix path that is not borrowed. */
void listen_close(struct listen *l);

#endif
