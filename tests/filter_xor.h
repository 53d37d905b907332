/* filter_xor.h: a filter that is no protection at all, but has what a real one has: a handshake, a key, records that
 * come in any pieces, and answers of its own at any time.
 *
 * The client begins with "XOR?" and a key byte, and is answered "XOR!".  Then both sides send records: two bytes of
 * length, high byte first, and so many bytes, each XORed with the key.  An empty record is a question: an empty one
 * comes back. */
#ifndef OL_FILTER_XOR_H
#define OL_FILTER_XOR_H

#include "../src/conn.h"

/* For conn_home.new_filter. */
struct filter *filter_xor_new(struct conn_home *h, int fd);
/* Those that have been made and not ended. */
unsigned filter_xor_live(void);

/* The client's side.  seal appends one record to out; open appends what whole records hold to plain, takes them from
 * cipher, and returns how many of them were empty. */
void filter_xor_seal(struct buf *out, char key, const void *p, size_t n);
unsigned filter_xor_open(struct buf *cipher, char key, struct buf *plain);

#endif
