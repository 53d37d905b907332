/* http1_bench.c: what parsing a request head and writing a reply head cost.
 *
 * Prints nanoseconds a head, the least of several rounds, for every scanner that the processor can run: a short head as
 * load generators send it, a browser's of about 700 bytes, and a whole exchange through feed and drain.  Pin it
 * (taskset) for figures worth comparing.
 */
#include "http1.h"
#include "http1_scan.h"
#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 500
#define REPEAT 2000    /* short rounds: the least of them was not interrupted */

static const char small[] =
	"GET /countries/SE HTTP/1.1\r\n"
	"Host: 127.0.0.1:8000\r\n"
	"User-Agent: load/1.0 (bench)\r\n"
	"Accept: */*\r\n"
	"\r\n";

static const char browser[] =
	"GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg?size=large&v=17 HTTP/1.1\r\n"
	"Host: www.example.com\r\n"
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
	"Chrome/126.0.0.0 Safari/537.36\r\n"
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
	"Accept-Language: en-GB,en;q=0.8,sv;q=0.5\r\n"
	"Accept-Encoding: gzip, deflate, br\r\n"
	"Connection: keep-alive\r\n"
	"Upgrade-Insecure-Requests: 1\r\n"
	"Sec-Fetch-Dest: document\r\n"
	"Sec-Fetch-Mode: navigate\r\n"
	"Sec-Fetch-Site: none\r\n"
	"Cookie: wp_ozh_wsa_visits=2; wp_ozh_wsa_visit_lasttime=xxxxxxxxxx; __utma=xxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx\r\n"
	"Referer: https://www.example.com/\r\n"
	"\r\n";

static struct head_field fields[200];
static struct http1_conf conf = { 8192, 16384, 100, 65536, false, fields };

static void fail(const char *what)
{
	fprintf(stderr, "http1_bench: %s\n", what);
	exit(1);
}

static void parse(const char *text, size_t n)
{
	struct head h;
	const char *why;

	if (http1_parse_head(&conf, (struct slice){ text, n }, 0, &h, &why) != (ssize_t)n)
		fail("a head was not parsed");
	__asm__ volatile("" : : "r"(&h) : "memory");
}

static void parse_small(void)
{
	parse(small, sizeof(small) - 1);
}

static void parse_browser(void)
{
	parse(browser, sizeof(browser) - 1);
}

static void write_head(void)
{
	static const struct reply r = { .status = 200, .type = { "text/plain", 10 }, .kind = BODY_BYTES, .length = 13 };
	char room[512];

	if (http1_write_head(room, sizeof(room), &r, HTTP1_LENGTH, false, false, "Sun, 06 Nov 1994 08:49:37 GMT") == 0)
		fail("a head was not written");
	__asm__ volatile("" : : "r"(room) : "memory");
}

static void exchange(void)
{
	static const struct reply r = { .status = 200, .type = { "text/plain", 10 }, .kind = BODY_BYTES,
		.body.bytes = { "Hello, World!", 13 }, .length = 13 };
	static struct http1 p;
	char room[512];
	struct iovec iov[4];
	struct proto_out out = { .room = room, .room_n = sizeof(room), .iov = iov, .iov_max = 4,
		.date = "Sun, 06 Nov 1994 08:49:37 GMT" };
	struct proto_event ev;
	size_t n;

	if (!p.conf)
		http1_init(&p, &conf);
	n = p.proto.ops->feed(&p.proto, (struct slice){ small, sizeof(small) - 1 }, &ev);
	if (ev.kind != PROTO_HEAD || n != sizeof(small) - 1)
		fail("no head");
	p.proto.ops->feed(&p.proto, (struct slice){ small, 0 }, &ev);
	p.stream.reply = &r;
	if (!p.proto.ops->drain(&p.proto, &out, 65536) || !out.finished)
		fail("no reply");
	p.proto.ops->stream_end(&p.proto, &p.stream);
}

static double measure(void (*fn)(void))
{
	uint64_t best = NEVER;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start = clock_now_ns(), took;

		for (int i = 0; i < REPEAT; i++)
			fn();
		took = clock_now_ns() - start;
		best = took < best ? took : best;
	}
	return (double)best / REPEAT;
}

int main(void)
{
	static const struct { const char *name; void (*fn)(void); } cases[] = {
		{ "head, small", parse_small }, { "head, browser", parse_browser }, { "reply head", write_head },
		{ "feed and drain", exchange },
	};

	printf("%zu and %zu bytes of head; ns each\n%-16s %8s %8s\n", sizeof(small) - 1, sizeof(browser) - 1, "",
		scan_at(0)->name, "scalar");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double vector, scalar;

		http1_scan_select(HTTP1_SCAN_AUTO);
		vector = measure(cases[i].fn);
		http1_scan_select(HTTP1_SCAN_SCALAR);
		scalar = measure(cases[i].fn);
		printf("%-16s %8.1f %8.1f\n", cases[i].name, vector, scalar);
	}
	return 0;
}
