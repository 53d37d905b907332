/* http1.h: HTTP/1.1 (RFC 9112) and 1.0, sans I/O: bytes in, events out; replies in, bytes out. */
#ifndef OL_HTTP1_H
#define OL_HTTP1_H

#include "proto.h"
#include <stdatomic.h>

/* The same for all connections of a loop.  fields is scratch for fields_max fields plus as many trailers; a head
 * event points into it until the next feed of any connection of the loop. */
struct http1_conf {
	uint32_t target_max;    /* bytes; over it 414.  Default 8192 */
	uint32_t head_max;      /* bytes of request line and fields, CRLFs included; over it 431.  Default 16384 */
	uint32_t fields_max;    /* over it 431.  Default 100 */
	uint32_t discard_max;   /* an unread body is thrown away up to here to keep the connection.  Default 65536 */
	_Atomic bool draining;  /* set while connections should go: replies say Connection: close.  Relaxed, as a reply
				 * that is being written by another thread may not hear of it any more */
	struct head_field *fields;  /* 2 * fields_max of them */
};

struct http1 {
	struct proto proto;
	const struct http1_conf *conf;
	struct stream stream;
	struct head head;       /* of the last HEAD or END event */
	uint64_t body_left;     /* of the body or the present chunk */
	uint32_t scanned;       /* of an incomplete head or trailer section: bytes that earlier calls have looked at */
	uint32_t extra_bytes;   /* of blank lines before the head, then of chunk extensions */
	uint32_t discard_left;
	uint8_t state;          /* http1.c */
	uint8_t out_state;
	uint8_t minor;
	bool keep_alive;        /* nothing has been found yet that ends the connection after this reply */
	bool head_only, expect_100, body_seen, chunked_out, discarding;
	bool continue_due, continue_sent, reply_begun, reply_done;
	struct { uint64_t at; const struct body_chain *chain; } out;     /* how far the reply has been drained */
};

/* p->proto is then usable through proto_ops; nothing to free, fini is harmless. */
void http1_init(struct http1 *p, const struct http1_conf *conf);

/* ---- the pure parts, for tests and fuzzing ----------------------------------------------------------------------- */

/* Parses a request head from the start of `in`.  > 0: its length, h filled (h->fields = conf->fields); 0:
 * incomplete; below 0: minus the HTTP status to refuse it with, *why a static string that says what is wrong (of h,
 * method and minor are valid as far as they were read: minor is 1 until known).  The first fault in the order of the
 * bytes decides, so that the answer does not depend on how the bytes arrive.  `scanned`: as many bytes were there in
 * an earlier call that returned 0 for this head; they are not looked at again until a line ends or a limit is
 * reached. */
ssize_t http1_parse_head(const struct http1_conf *conf, struct slice in, uint32_t scanned, struct head *h,
	const char **why);

/* The same for the trailer section of a chunked body, empty line included: of h only base, n, nfields and fields
 * (conf->fields + conf->fields_max) are set.  A field that frames, routes or modifies a request is refused. */
ssize_t http1_parse_trailers(const struct http1_conf *conf, struct slice in, uint32_t scanned, struct head *h,
	const char **why);

/* The line before a chunk, at most HTTP1_CHUNK_LINE_MAX bytes.  > 0: its length with CRLF, *size the chunk's (at most
 * INT64_MAX), *extension the length of what stood behind it; 0: incomplete; -400. */
#define HTTP1_CHUNK_LINE_MAX 256
ssize_t http1_parse_chunk_line(struct slice in, uint64_t *size, size_t *extension, const char **why);

/* What stands for the body's length in a reply's head. */
enum http1_framing { HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_UNTIL_CLOSE, HTTP1_NO_BODY };

/* Writes status line and fields of a reply, the empty line included; 0 when dst is too small.  A pure function of its
 * arguments; date is HTTP_DATE_LEN bytes. */
size_t http1_write_head(char *dst, size_t n, const struct reply *r, enum http1_framing framing, bool close,
	bool say_keep_alive, const char *date);

/* What a head without fields of the handler's has besides its media type, at most; with as much room it is written
 * without asking for any. */
#define HTTP1_PLAIN_HEAD_MAX 256

/* The same text from its byte `skip` on, as much as fits into n (at least PROTO_ROOM_MIN); *whole: that was the rest
 * of it.  The Date line is never cut, so that a head written over several seconds still has one date. */
size_t http1_write_head_part(char *dst, size_t n, size_t skip, bool *whole, const struct reply *r,
	enum http1_framing framing, bool close, bool say_keep_alive, const char *date);

/* The last chunk, the trailer fields and the empty line: likewise. */
size_t http1_write_last_chunk_part(char *dst, size_t n, size_t skip, bool *whole, const struct reply_field *trailers);

/* The line before a chunk of `size` bytes; its length.  dst has room for HTTP1_CHUNK_HEAD_MAX. */
#define HTTP1_CHUNK_HEAD_MAX 18
size_t http1_write_chunk_head(char *dst, uint64_t size);

/* The standard reason phrase (RFC 9110 §15), "" for an unknown status. */
const char *http1_reason(int status);

/* Scanning is vectorised (http1_scan.c) by what the processor has at run time. */
enum http1_scan { HTTP1_SCAN_AUTO, HTTP1_SCAN_SCALAR };
/* For tests: forces the scalar code, or lets the processor decide again.  Not thread-safe. */
void http1_scan_select(enum http1_scan which);

#endif
