/* fuzz_http1.c: any bytes, fed to an HTTP/1 connection in several ways, must tell the same.
 *
 * The way is the first byte of the input, the rest is what a client sends: whole, and in steps of 1 to 64 bytes, by the
 * vectorised and by the scalar code.  Every piece is fed from memory of exactly its size, so that a sanitizer sees any
 * read beyond it, and limits are small, so that they are met.  What events must satisfy by themselves is checked by the
 * trace.
 */
#include "../unit/http1_trace.h"

static struct head_field fields[2 * 8];
static const struct http1_conf conf = { .target_max = 64, .head_max = 512, .fields_max = 8, .discard_max = 32,
	.fields = fields };

/* As trace_text, but each piece is a copy of exactly its size. */
static char *trace_copies(struct slice in, size_t step)
{
	struct trace t;
	size_t at = 0, have = 0;
	bool more = true;

	trace_init(&t, &conf);
	while (more && have < in.n) {
		char *copy;

		have = in.n - have < step ? in.n : have + step;
		copy = malloc(have - at);
		trace_require(copy != NULL || have == at, "no memory");
		memcpy(copy, in.p + at, have - at);
		at += trace_feed(&t, (struct slice){ copy, have - at }, &more);
		free(copy);
	}
	trace_close(&t, in.n - at);
	return t.text;
}

static void require_same(char *want, char *got)
{
	if (strcmp(want, got) != 0) {
		fprintf(stderr, "told\n%s\ninstead of\n%s\n", got, want);
		abort();
	}
	free(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = { (const char *)data + 1, size - 1 }, pieces = in;
	char *want, *ended;

	if (size < 2 || size > 4096)
		return 0;
	http1_scan_select(HTTP1_SCAN_AUTO);
	want = trace_copies(in, in.n);
	ended = malloc(in.n + 1);
	trace_require(ended != NULL, "no memory");
	memcpy(ended, in.p, in.n);
	ended[in.n] = '\n';
	/* What is refused as a whole is refused in pieces at the latest when its line ends. */
	if (trace_is_refusal(want))
		pieces = (struct slice){ ended, in.n + 1 };
	require_same(want, trace_copies(pieces, 1u + data[0] % 64));
	http1_scan_select(HTTP1_SCAN_SCALAR);
	require_same(want, trace_copies(in, in.n));
	require_same(want, trace_copies(pieces, 1));
	free(ended);
	free(want);
	return 0;
}
