/* http1.h: HTTP/1.1 (RFC 9112) and 1.0, sans I/O: bytes in, events out; replies in, bytes out. */
#ifndef OL_HTTP1_H
#define OL_HTTP1_H

#include "proto.h"

/* The same for all connections of a loop.  fields is scratch for fields_max fields plus as many trailers; a head event points
 * into it until the next feed of any connection of the loop. */
struct http1_conf {
	uint32_t target_max;    /* bytes; over it 414.  Default 8192 */
	uint32_t head_max;      /* bytes of request line and fields, CRLFs included; over it 431.  Default 16384 */
	uint32_t fields_max;    /* over it 431.  Default 100 */
	uint32_t discard_max;   /* of an unread body this much is read and thrown away to keep the connection.  Default 65536 */
	bool draining;          /* set while shutting down: replies say Connection: close */
	struct head_field *fields;
};

struct http1 {
	struct proto proto;
	const struct http1_conf *conf;
	struct stream stream;
	uint64_t body_left;     /* of the body or the present chunk */
	uint32_t scanned;       /* of an incomplete head: bytes that need not be looked at again for its end */
	uint32_t head_bytes;    /* of trailers and chunk lines, against head_max */
	uint8_t state;          /* http1.c */
	uint8_t out_state;
	uint8_t minor, method;
	bool keep_alive, head_only, expect_100, chunked_in, chunked_out, request_done, reply_done, continue_due, continue_sent;
	struct { uint64_t at; struct body_chain *chain; size_t chain_at; } out;     /* how far the reply has been drained */
};

/* p->proto is then usable through proto_ops; nothing to free, fini is harmless. */
void http1_init(struct http1 *p, const struct http1_conf *conf);

/* ---- the pure parts, for tests and fuzzing ---- */

/* Parses a request head from the start of `in`.  > 0: its length, h filled (h->fields = conf->fields); 0: incomplete;
 * below 0: minus the HTTP status to refuse it with, *why a static string that says what is wrong.
 * `scanned` bytes are known not to contain the head's end (0 on the first call). */
ssize_t http1_parse_head(const struct http1_conf *conf, struct slice in, uint32_t scanned, struct head *h, const char **why);

/* Writes status line and fields of a reply, the empty line included; 0 when dst is too small.  A pure function of its arguments.
 * framing: what stands for the body's length. */
enum http1_framing { HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_UNTIL_CLOSE, HTTP1_NO_BODY };
size_t http1_write_head(char *dst, size_t n, const struct reply *r, enum http1_framing framing, bool close, bool say_keep_alive,
	const char *date);
/* Room http1_write_head needs at most for r. */
size_t http1_head_size(const struct reply *r);

/* The standard reason phrase (RFC 9110 §15), "" for an unknown status. */
const char *http1_reason(int status);

/* Scanning is vectorised (http1_scan.c) by what the processor has at run time. */
enum http1_scan { HTTP1_SCAN_AUTO, HTTP1_SCAN_SCALAR };
/* For tests: forces the scalar code, or lets the processor decide again.  Not thread-safe. */
void http1_scan_select(enum http1_scan which);

#endif
