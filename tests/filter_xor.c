/* filter_xor.c: see filter_xor.h.  One loop's thread, but for the count of the living. */
#include "filter_xor.h"

#include "../src/base/list.h"

#include <errno.h>
#include <stdlib.h>

#define RECORD_MAX ((size_t)1000)   /* small, so that a reply is many */
#define HELLO_N ((size_t)5)

struct filter_xor {
	struct filter filter;
	struct buf in;          /* cipher text of which no record is whole yet */
	bool agreed;
	char key;
};

static _Atomic unsigned live;

static struct filter_xor *of(struct filter *f)
{
	return container_of(f, struct filter_xor, filter);
}

/* Takes one record from s: its whole length, 0 when it is not all there. */
static size_t open_record(struct slice s, char key, struct buf *plain, int *rc)
{
	size_t n = s.n < 2 ? 0 : (size_t)(unsigned char)s.p[0] << 8 | (unsigned char)s.p[1];
	char *to;

	*rc = 0;
	if (s.n < 2 || s.n < n + 2)
		return 0;
	to = buf_reserve(plain, n);
	if (!to) {
		*rc = -ENOMEM;
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		to[i] = (char)(s.p[2 + i] ^ key);
	buf_added(plain, n);
	return n + 2;
}

static int seal_record(struct buf *out, char key, const char *p, size_t n)
{
	char *to = buf_reserve(out, n + 2);

	if (!to)
		return -ENOMEM;
	to[0] = (char)(n >> 8);
	to[1] = (char)n;
	for (size_t i = 0; i < n; i++)
		to[2 + i] = (char)(p[i] ^ key);
	buf_added(out, n + 2);
	return 0;
}

static int greet(struct filter_xor *x, struct buf *out)
{
	struct slice s = buf_slice(&x->in);

	if (s.n < HELLO_N)
		return 0;
	if (memcmp(s.p, "XOR?", 4) != 0)
		return -EPROTO;
	x->key = s.p[4];
	x->agreed = true;
	buf_consume(&x->in, HELLO_N);
	return buf_append(out, "XOR!", 4);
}

static int in(struct filter *f, struct slice cipher, struct buf *plain, struct buf *out)
{
	struct filter_xor *x = of(f);
	int rc = buf_append(&x->in, cipher.p, cipher.n);
	size_t n;

	if (rc == 0 && !x->agreed)
		rc = greet(x, out);
	while (rc == 0 && x->agreed && (n = open_record(buf_slice(&x->in), x->key, plain, &rc)) > 0) {
		buf_consume(&x->in, n);
		if (n == 2)
			rc = seal_record(out, x->key, NULL, 0);
	}
	return rc;
}

static int out(struct filter *f, const struct iovec *iov, unsigned n, struct buf *cipher)
{
	struct filter_xor *x = of(f);
	int rc = 0;

	for (unsigned i = 0; i < n; i++)
		for (size_t at = 0, k; at < iov[i].iov_len && rc == 0; at += k) {
			k = iov[i].iov_len - at < RECORD_MAX ? iov[i].iov_len - at : RECORD_MAX;
			rc = seal_record(cipher, x->key, (char *)iov[i].iov_base + at, k);
		}
	return rc;
}

static void fini(struct filter *f)
{
	buf_fini(&of(f)->in);
	free(of(f));
	live--;
}

static const struct filter_ops ops = { in, out, fini };

struct filter *filter_xor_new(struct conn_home *h, int fd)
{
	struct filter_xor *x = calloc(1, sizeof(*x));

	(void)h, (void)fd;
	if (!x)
		return NULL;
	x->filter.ops = &ops;
	live++;
	return &x->filter;
}

unsigned filter_xor_live(void)
{
	return live;
}

void filter_xor_seal(struct buf *to, char key, const void *p, size_t n)
{
	if (seal_record(to, key, p, n) < 0)
		abort();
}

unsigned filter_xor_open(struct buf *cipher, char key, struct buf *plain)
{
	unsigned empty = 0;
	size_t n;
	int rc;

	while ((n = open_record(buf_slice(cipher), key, plain, &rc)) > 0) {
		buf_consume(cipher, n);
		empty += n == 2;
	}
	return empty;
}
