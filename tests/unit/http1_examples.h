/* http1_examples.h: takes an example of HTTP/1 through all the ways it can arrive and be scanned.
 *
 * Whole, cut in two at every byte, byte by byte, by the vectorised and by the scalar code, and with its end against a
 * page that cannot be read: all must tell the same.
 */
#ifndef HTTP1_EXAMPLES_H
#define HTTP1_EXAMPLES_H

#include "http1_trace.h"
#include <check.h>
#include <sys/mman.h>
#include <unistd.h>

static struct head_field example_fields[200];
static struct http1_conf conf = { 8192, 16384, 100, 65536, false, example_fields };

#define H "Host: a\r\n"

static inline void agree(char *want, char *got, const char *how, size_t at)
{
	if (strcmp(want, got) != 0)
		ck_abort_msg("%s at %zu told\n%s\ninstead of\n%s", how, at, got, want);
	free(got);
}

/* The trace of a copy that ends where a page without access begins. */
static inline char *trace_at_guard(struct slice in)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (in.n + page - 1) / page * page + page;
	char *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p, *text;

	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(mprotect(map + room, page, PROT_NONE), 0);
	p = map + room - in.n;
	memcpy(p, in.p, in.n);
	text = trace_text(&conf, (struct slice){ p, in.n }, in.n, 1);
	munmap(map, room + page);
	return text;
}

/* The one trace of an example; static, until the next.  What is refused as a whole must be refused in pieces too,
 * for the same reason, at the latest when its line ends: then an LF is added that makes it so. */
static inline const char *told(struct slice in)
{
	static char *text;
	struct slice pieces = in;
	char *ended = malloc(in.n + 1);

	free(text);
	text = trace_text(&conf, in, in.n, 1);
	ck_assert_ptr_nonnull(ended);
	memcpy(ended, in.p, in.n);
	ended[in.n] = '\n';
	if (trace_is_refusal(text))
		pieces = (struct slice){ ended, in.n + 1 };
	for (int scalar = 0; scalar < 2; scalar++) {
		http1_scan_select(scalar ? HTTP1_SCAN_SCALAR : HTTP1_SCAN_AUTO);
		agree(text, trace_text(&conf, pieces, 0, 1), "byte by byte", 0);
		for (size_t cut = 0; cut <= in.n; cut += in.n < 1024 ? 1 : 251)
			agree(text, trace_text(&conf, pieces, cut, pieces.n), "cut in two", cut);
		agree(text, trace_at_guard(in), "before a guard page", 0);
	}
	http1_scan_select(HTTP1_SCAN_AUTO);
	free(ended);
	return text;
}

static inline void refused_slice(struct slice in, int status)
{
	char want[16];
	const char *text = told(in);

	snprintf(want, sizeof(want), "REFUSE %d ", status);
	if (strncmp(text, want, strlen(want)) != 0)
		ck_abort_msg("not refused with %d:\n%.*s\nbut\n%s", status, (int)in.n, in.p, text);
}

static inline void refused(const char *in, int status)
{
	refused_slice(slice_of(in), status);
}

/* One request that is accepted, and perhaps what its trace must hold. */
static inline void accepted(const char *in, const char *part)
{
	const char *text = told(slice_of(in));

	if (strncmp(text, "HEAD ", 5) != 0 || !strstr(text, "END\n") || strstr(text, "REFUSE"))
		ck_abort_msg("not accepted:\n%s\n%s", in, text);
	if (part && !strstr(text, part))
		ck_abort_msg("not \"%s\" in the trace of\n%s\n%s", part, in, text);
}

/* A head with this target, field line or value. */
static inline const char *with_target(const char *method, const char *target)
{
	static char text[20000];

	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n" H "\r\n", method, target);
	return text;
}

static inline const char *with_field(const char *line)
{
	static char text[40000];

	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" H "%s\r\n\r\n", line);
	return text;
}

static inline const char *with_host(const char *host)
{
	static char text[1000];

	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
	return text;
}

#endif
