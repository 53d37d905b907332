/* server_crew.h: a server's pools and the monitor, joined. */
#ifndef OL_SERVER_CREW_H
#define OL_SERVER_CREW_H

#include "base/checked.h"
#include "crew.h"
#include "endpoints.h"
#include "server.h"

/* For the hooks of one pool. */
struct server_crew {
	const ol_server *server;
	unsigned pool;
};

/* Sets the hooks of pool i, by which its threads become known to the server's monitor.  *c is borrowed. */
void server_crew_hook(struct pool_conf *conf, struct server_crew *c, const ol_server *s, unsigned i);

/* Makes the monitor of a server's loops and pools, not yet started.  e is borrowed.  0 or -errno. */
CHECKED int server_crew_watch(ol_server *s, struct endpoints *e, struct watch **out);

#endif
