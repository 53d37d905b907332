/* adviser.h: looks at a server's numbers and says what to change. */
#ifndef OL_ADVISER_H
#define OL_ADVISER_H

#include "base/checked.h"
#include "server.h"
#include <stdint.h>

struct adviser;

/* The server is borrowed until adviser_free; its routes and pools are there.  NULL with errno. */
CHECKED struct adviser *adviser_new(const ol_server *s);
/* Takes NULL. */
void adviser_free(struct adviser *a);

/* Looks at all there is to see, and logs what has become true.  Any thread.  Takes NULL. */
void adviser_look(struct adviser *a, uint64_t now_ns);

/* What is advised now, after a look: [{"kind", "name", "method", "route", "pool", "lane", "evidence", "remedy", "text",
 * "since"}].  Any thread.  NULL without memory. */
CHECKED json_t *adviser_json(struct adviser *a);

#endif
