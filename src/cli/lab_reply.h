/* lab_reply.h: replies of HTTP/1.1, as a client reads them. */
#ifndef OL_CLI_LAB_REPLY_H
#define OL_CLI_LAB_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reply_said { REPLY_MORE, REPLY_DONE, REPLY_BAD };

/* One reply in the making.  Zeroed memory waits for its first byte. */
struct reply {
	unsigned char place;    /* where in the reply it is */
	bool close;             /* the connection ends after it; known once the head is read */
	bool chunked, sized;
	unsigned short status;
	unsigned short nline;   /* bytes of a line that was split */
	uint64_t left;          /* bytes of the body, or of its chunk, still to come */
	char line[256];         /* a longer line is kept to here: what we look for is shorter */
};

/* Takes bytes up to the reply's end, and says how many in *used.  After REPLY_DONE status and close hold, and the next
 * reply begins with zeroed memory; REPLY_BAD: it is no reply of HTTP/1.  Replies of 1xx are passed over. */
enum reply_said reply_feed(struct reply *r, const char *p, size_t n, size_t *used);

/* The connection has ended: whether that is how this reply ends (a body without length). */
bool reply_ends_here(const struct reply *r);

#endif
