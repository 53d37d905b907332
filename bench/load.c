/* load.c: an HTTP load client for servers on this machine.
 *
 *     load --port N [--host ADDRESS] [--path PATH] [--connections N] [--pipeline N] [--seconds S] [--close]
 *          [--vary N] [--fields N] [--body N] [--announce]
 *
 * A closed loop on one thread: each connection sends `--pipeline` requests in one write, waits for all their replies,
 * and sends the next.  With --close each request has a connection of its own, which lasts until the server has closed
 * it; its time then includes the connect.  Else what happens before every connection has had its first replies does not
 * count, and with --announce a line "begun" tells that they have.  After --seconds (60 at most) one line of JSON tells
 * what happened: requests answered with 200 and the microseconds they took, errors by kind, bytes received, and the
 * client's own CPU.
 *
 * --vary asks for N paths in turn: "{}" in the path stands for a number of five digits.  --fields adds so many header
 * fields to each request.  --body makes it a POST with so many bytes.
 *
 * It must cost less than what it measures: a connection costs one recv and one send a turn, its epoll registration
 * changes only around a connect or a full socket buffer, and a reply whose head equals the last one parsed is not
 * parsed again (heads change with their Date, once a second).  Nearly all that is left is the kernel's TCP.  Bodies
 * need a Content-Length; a chunked reply is an error of kind "protocol".  The lab's clients (src/cli/lab_load.c) read
 * all replies, since other makers' servers send them, and do without pipelines and sizes; the two share nothing, so
 * that a mistake in the one shows beside the other.
 *
 * A connection that failed is opened again; one that cannot connect is given up, and with the last of them the run
 * ends.  Only addresses of the loopback are taken: this is no tool to bother other machines with. */
#include "../src/base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16384
#define PIPELINE_MAX 64
#define SECONDS_MAX 60
#define VARY_MAX 100000
#define FIELDS_MAX 1000
#define BODY_MAX (16u << 20)
#define BATCHES_BYTES_MAX ((size_t)256 << 20)
#define FIELD_BYTES 32     /* of one line of --fields */
#define PATH_BYTES_MAX 2048
#define IN_SIZE 16384       /* more than a reply head; bodies may be longer */
#define EVENTS 256
#define WARM_SECONDS 10

enum error { ERROR_CONNECT, ERROR_RESET, ERROR_CLOSED, ERROR_STATUS, ERROR_PROTOCOL, ERRORS };

static const char *const error_names[ERRORS] = { "connect", "reset", "closed", "status", "protocol" };

struct conn {
	int fd;
	bool warm;
	uint32_t watched;       /* the epoll events it is registered for */
	unsigned owed;          /* replies awaited */
	const char *batch;      /* what it sends now */
	size_t unsent;          /* bytes of it */
	size_t have;            /* bytes in `in` */
	uint64_t left;          /* bytes of the present reply still to come; 0: its head has not been read */
	uint64_t since;         /* when the batch was sent; with --close, when the connect began */
	char in[IN_SIZE];
};

/* The last reply head that was parsed. */
struct known_head {
	char text[1024];
	size_t n;
	uint64_t total;         /* head and body */
	int status;
};

/* Times in buckets: 32 for each power of two, so a bucket is at most 3 % wide. */
struct histogram {
	uint64_t bucket[64 * 32], n, max;
};

struct load {
	struct sockaddr_storage to;
	socklen_t to_n;
	const char *host, *path;
	unsigned port, connections, pipeline, vary, fields, body;
	double seconds;
	bool close_each, announce;

	int epoll;
	char *batches;          /* `vary` times `pipeline` requests, as they are sent */
	size_t batch_n;
	unsigned turn;          /* the batch that is sent next */
	struct conn *conns;
	struct conn **again;    /* to be opened after this turn: a failure must not recur into another */
	unsigned nagain, alive;
	unsigned warm;          /* connections that have had their first replies */
	struct known_head known;
	struct histogram times;
	uint64_t requests, bytes, errors[ERRORS];
};

static void die(int status, const char *what, const char *detail)
{
	fprintf(stderr, "load: %s%s%s\n", what, *detail ? ": " : "", detail);
	exit(status);
}

/* ---- times ------------------------------------------------------------------------------------------------------- */

static unsigned bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < 32)
		return (unsigned)ns;
	shift = 58u - (unsigned)__builtin_clzll(ns);
	return (shift + 1) * 32 + (unsigned)(ns >> shift & 31);
}

/* The middle of a bucket. */
static double bucket_ns(unsigned i)
{
	unsigned shift;

	if (i < 32)
		return i;
	shift = i / 32 - 1;
	return (double)((UINT64_C(32) + i % 32) << shift) + (double)(UINT64_C(1) << shift) / 2;
}

static void histogram_add(struct histogram *h, uint64_t ns)
{
	h->bucket[bucket_of(ns)]++;
	h->n++;
	h->max = ns > h->max ? ns : h->max;
}

static double percentile_us(const struct histogram *h, double part)
{
	uint64_t rank = (uint64_t)(part * (double)h->n), seen = 0;
	double max = (double)h->max;

	for (unsigned i = 0; i < sizeof(h->bucket) / sizeof(h->bucket[0]); i++) {
		seen += h->bucket[i];
		if (seen > rank)
			return (bucket_ns(i) < max ? bucket_ns(i) : max) / 1000;
	}
	return max / 1000;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void watch(struct load *l, struct conn *c, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	if (c->watched == events)
		return;
	if (epoll_ctl(l->epoll, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e) < 0)
		die(1, "epoll", strerror(errno));
	c->watched = events;
}

static void reopen_later(struct load *l, struct conn *c)
{
	close(c->fd);
	c->fd = -1;
	l->again[l->nagain++] = c;
}

static void failed(struct load *l, struct conn *c, enum error kind)
{
	l->errors[kind]++;
	if (kind != ERROR_CONNECT) {
		reopen_later(l, c);
		return;
	}
	close(c->fd);
	c->fd = -1;
	l->alive--;
}

static void push(struct load *l, struct conn *c)
{
	ssize_t n = send(c->fd, c->batch + l->batch_n - c->unsent, c->unsent, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		failed(l, c, ERROR_RESET);
		return;
	}
	c->unsent -= n > 0 ? (size_t)n : 0;
	watch(l, c, c->unsent > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void ask(struct load *l, struct conn *c, uint64_t now)
{
	if (!l->close_each)
		c->since = now;
	c->owed = l->pipeline;
	c->batch = l->batches + l->turn * l->batch_n;
	c->unsent = l->batch_n;
	l->turn = l->turn + 1 < l->vary ? l->turn + 1 : 0;
	push(l, c);
}

static void open_connection(struct load *l, struct conn *c)
{
	int one = 1;

	c->watched = c->owed = 0;
	c->have = c->unsent = c->left = 0;
	c->since = clock_now_ns();
	c->fd = socket(l->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die(1, "socket", strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&l->to, l->to_n) == 0)
		ask(l, c, c->since);
	else if (errno == EINPROGRESS)
		watch(l, c, EPOLLOUT);
	else
		failed(l, c, ERROR_CONNECT);
}

static void reopen(struct load *l)
{
	unsigned n = l->nagain;

	l->nagain = 0; /* each that fails again takes a place already read */
	for (unsigned i = 0; i < n; i++)
		open_connection(l, l->again[i]);
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

/* The value of Content-Length in the lines up to end, which is behind the head's last CRLF; -1 when there is none. */
static int64_t content_length(const char *line, const char *end)
{
	static const char name[] = "content-length:";

	while (line < end) {
		const char *next = memchr(line, '\n', (size_t)(end - line));

		if (strncasecmp(line, name, sizeof(name) - 1) == 0)
			return (int64_t)strtoll(line + sizeof(name) - 1, NULL, 10);
		line = next ? next + 1 : end;
	}
	return -1;
}

/* Parses the head at p into l->known: its length, 0 when it is not whole, -1 when it is none that we understand. */
static ssize_t parse_head(struct load *l, const char *p, size_t n)
{
	struct known_head *k = &l->known;
	const char *blank = memmem(p, n, "\r\n\r\n", 4);
	size_t head_n;
	int64_t body;

	k->n = 0;
	if (!blank)
		return n < IN_SIZE ? 0 : -1;
	head_n = (size_t)(blank - p) + 4;
	if (head_n < 16 || memcmp(p, "HTTP/1.", 7) != 0 || p[8] != ' ')
		return -1;
	k->status = (int)strtol(p + 9, NULL, 10);
	body = k->status == 204 || k->status == 304 ? 0 : content_length(p, blank + 2);
	if (k->status < 200 || body < 0)
		return -1;
	k->total = head_n + (uint64_t)body;
	if (head_n <= sizeof(k->text)) {
		memcpy(k->text, p, head_n);
		k->n = head_n;
	}
	return (ssize_t)head_n;
}

static ssize_t read_head(struct load *l, const char *p, size_t n)
{
	const struct known_head *k = &l->known;

	if (k->n > 0 && n >= k->n && memcmp(p, k->text, k->n) == 0)
		return (ssize_t)k->n;
	return parse_head(l, p, n);
}

static void count_reply(struct load *l, struct conn *c, uint64_t now)
{
	c->owed--;
	if (l->known.status != 200) {
		l->errors[ERROR_STATUS]++;
		return;
	}
	l->requests++;
	histogram_add(&l->times, now - c->since);
}

/* Takes the replies in c->in: false when they are not such. */
static bool consume(struct load *l, struct conn *c, uint64_t now)
{
	size_t at = 0;

	while (at < c->have) {
		size_t rest = c->have - at;

		if (c->left == 0) {
			ssize_t n = c->owed > 0 ? read_head(l, c->in + at, rest) : -1;

			if (n < 0)
				return false;
			if (n == 0)
				break;
			c->left = l->known.total;
			count_reply(l, c, now); /* by its head: its body is on the same way */
		}
		rest = rest < c->left ? rest : (size_t)c->left;
		at += rest;
		c->left -= rest;
	}
	c->have -= at;
	memmove(c->in, c->in + at, c->have);
	return true;
}

static void ask_again(struct load *l, struct conn *c, uint64_t now)
{
	l->warm += !c->warm;
	c->warm = true;
	ask(l, c, now);
}

static void readable(struct load *l, struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, 0);
	uint64_t now = clock_now_ns();

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 0 && l->close_each && c->owed == 0 && c->left == 0) {
		reopen_later(l, c);
		return;
	}
	if (n <= 0) {
		failed(l, c, n < 0 ? ERROR_RESET : ERROR_CLOSED);
		return;
	}
	l->bytes += (uint64_t)n;
	c->have += (size_t)n;
	if (!consume(l, c, now) || (c->owed == 0 && c->unsent > 0))
		failed(l, c, ERROR_PROTOCOL); /* or refused before all of it was sent */
	else if (c->owed == 0 && c->left == 0 && !l->close_each)
		ask_again(l, c, now);
}

static void connected(struct load *l, struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error)
		failed(l, c, ERROR_CONNECT);
	else
		ask(l, c, clock_now_ns());
}

static void happened(struct load *l, struct conn *c, uint32_t events)
{
	if (c->watched == EPOLLOUT)
		connected(l, c);
	else if (events & ~(uint32_t)EPOLLOUT)
		readable(l, c);
	else
		push(l, c);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void turn(struct load *l, int wait_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(l->epoll, events, EVENTS, l->nagain ? 0 : wait_ms);

	for (int i = 0; i < n; i++)
		happened(l, events[i].data.ptr, events[i].events);
	reopen(l);
}

/* Opens all connections and, unless each is for one request, waits until they are in their stride: for a while. */
static void begin(struct load *l)
{
	uint64_t give_up = clock_now_ns() + WARM_SECONDS * NS_PER_S;

	l->alive = l->connections;
	for (unsigned i = 0; i < l->connections; i++)
		open_connection(l, &l->conns[i]);
	if (l->close_each)
		return;
	while (l->warm < l->alive && clock_now_ns() < give_up)
		turn(l, 100);
	l->requests = l->bytes = 0;
	memset(&l->times, 0, sizeof(l->times));
	if (l->announce) {
		puts("begun");
		fflush(stdout);
	}
}

/* Until the end or until nothing can connect: the nanoseconds it took. */
static uint64_t run(struct load *l)
{
	uint64_t start, end, now;

	begin(l);
	now = start = clock_now_ns();
	end = start + (uint64_t)(l->seconds * (double)NS_PER_S);
	while (l->alive > 0 && now < end) {
		turn(l, (int)((end - now) / NS_PER_MS) + 1);
		now = clock_now_ns();
	}
	return now - start;
}

static void report(const struct load *l, uint64_t took_ns)
{
	struct rusage u;
	double cpu_us;

	getrusage(RUSAGE_SELF, &u);
	cpu_us = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
		(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
	printf("{\"requests\": %llu, \"seconds\": %.6f, \"errors\": {", (unsigned long long)l->requests,
		(double)took_ns / 1e9);
	for (int i = 0; i < ERRORS; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", error_names[i], (unsigned long long)l->errors[i]);
	printf("}, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f",
		percentile_us(&l->times, 0.5), percentile_us(&l->times, 0.9), percentile_us(&l->times, 0.99),
		(double)l->times.max / 1000);
	printf(", \"bytes\": %llu, \"cpu_us\": %.0f}\n", (unsigned long long)l->bytes, cpu_us);
}

/* The head of a request for path number `i`; what of the path is not a number is the same for all, and as long. */
static size_t write_head(const struct load *l, char *to, size_t room, unsigned i)
{
	const char *number = l->vary > 0 ? strstr(l->path, "{}") : NULL, *rest = number ? number + 2 : "";
	int before = (int)(number ? (size_t)(number - l->path) : strlen(l->path)), n;
	bool v6 = l->to.ss_family == AF_INET6;
	char digits[16] = "", length[48] = "";

	if (number)
		snprintf(digits, sizeof(digits), "%05u", i);
	if (l->body > 0)
		snprintf(length, sizeof(length), "Content-Length: %u\r\n", l->body);
	n = snprintf(to, room, "%s %.*s%s%s HTTP/1.1\r\nHost: %s%s%s:%u\r\nUser-Agent: load\r\nAccept: */*\r\n%s%s",
		l->body > 0 ? "POST" : "GET", before, l->path, digits, rest, v6 ? "[" : "", l->host, v6 ? "]" : "",
		l->port, l->close_each ? "Connection: close\r\n" : "", length);
	for (unsigned f = 0; f < l->fields; f++)
		n += snprintf(to + n, room - (size_t)n, "X-Field-%03u: a value of 15\r\n", f);
	return (size_t)(n + snprintf(to + n, room - (size_t)n, "\r\n"));
}

static void make_batches(struct load *l)
{
	size_t room = strlen(l->path) + strlen(l->host) + 256 + (size_t)l->fields * FIELD_BYTES, n;
	unsigned paths = l->vary > 0 ? l->vary : 1;
	char *head = malloc(room), *to;

	if (!head)
		die(1, "out of memory", "");
	n = write_head(l, head, room, 0) + l->body;
	l->batch_n = l->pipeline * n;
	if (l->batch_n > BATCHES_BYTES_MAX / paths)
		die(2, "--vary, --pipeline, --fields and --body together make too many bytes", "");
	to = l->batches = malloc(paths * l->batch_n);
	if (!to)
		die(1, "out of memory", "");
	for (unsigned i = 0; i < paths; i++) {
		size_t head_n = write_head(l, head, room, i);

		for (unsigned k = 0; k < l->pipeline; k++, to += n) {
			memcpy(to, head, head_n);
			memset(to + head_n, 'x', l->body);
		}
	}
	free(head);
}

/* ---- the command line -------------------------------------------------------------------------------------------- */

/* Fills l->to; only with the loopback. */
static void set_address(struct load *l)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&l->to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&l->to;

	if (inet_pton(AF_INET, l->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)l->port);
		l->to_n = sizeof(*v4);
		if (ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
			return;
	} else if (inet_pton(AF_INET6, l->host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)l->port);
		l->to_n = sizeof(*v6);
		if (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr))
			return;
	}
	die(2, "--host takes an address of the loopback only, as 127.0.0.1; not", l->host);
}

static unsigned number(const char *option, const char *text, unsigned min, unsigned max)
{
	char *end, why[128];
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || v < min || v > max) {
		snprintf(why, sizeof(why), "\"%.40s\" is not a number in %u..%u", text, min, max);
		die(2, option, why);
	}
	return (unsigned)v;
}

static double duration(const char *text)
{
	char *end;
	double v = strtod(text, &end);

	if (*end || end == text || !(v >= 0.01 && v <= SECONDS_MAX))
		die(2, "--seconds takes 0.01 to 60; not", text);
	return v;
}

static const char *checked_path(const char *text)
{
	if (text[0] != '/' || strlen(text) > PATH_BYTES_MAX)
		die(2, "--path begins with a slash and has at most 2048 bytes; not", text);
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c == 0x7f)
			die(2, "--path holds a blank or a control character", "");
	return text;
}

static void read_options(struct load *l, int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' }, { "host", required_argument, NULL, 'h' },
		{ "path", required_argument, NULL, 'u' }, { "connections", required_argument, NULL, 'c' },
		{ "pipeline", required_argument, NULL, 'n' }, { "seconds", required_argument, NULL, 's' },
		{ "close", no_argument, NULL, 'x' }, { "vary", required_argument, NULL, 'v' },
		{ "fields", required_argument, NULL, 'f' }, { "body", required_argument, NULL, 'b' },
		{ "announce", no_argument, NULL, 'a' }, { NULL, 0, NULL, 0 },
	};

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 'p': l->port = number("--port", optarg, 1, 65535); break;
		case 'h': l->host = optarg; break;
		case 'u': l->path = checked_path(optarg); break;
		case 'c': l->connections = number("--connections", optarg, 1, CONNECTIONS_MAX); break;
		case 'n': l->pipeline = number("--pipeline", optarg, 1, PIPELINE_MAX); break;
		case 's': l->seconds = duration(optarg); break;
		case 'x': l->close_each = true; break;
		case 'a': l->announce = true; break;
		case 'v': l->vary = number("--vary", optarg, 1, VARY_MAX); break;
		case 'f': l->fields = number("--fields", optarg, 0, FIELDS_MAX); break;
		case 'b': l->body = number("--body", optarg, 0, BODY_MAX); break;
		default: exit(2);
		}
	}
	if (optind < argc)
		die(2, "unknown argument", argv[optind]);
	if (l->port == 0)
		die(2, "--port is missing", "");
	if (l->close_each && l->pipeline > 1)
		die(2, "--close and --pipeline exclude each other", "");
	if (l->vary > 0 && !strstr(l->path, "{}"))
		die(2, "--vary needs {} in the path, where the number goes; not", l->path);
	set_address(l);
}

int main(int argc, char **argv)
{
	static struct load l = { .host = "127.0.0.1", .path = "/", .connections = 64, .pipeline = 1, .seconds = 2 };
	uint64_t took;

	read_options(&l, argc, argv);
	make_batches(&l);
	l.conns = calloc(l.connections, sizeof(*l.conns));
	l.again = calloc(l.connections, sizeof(struct conn *));
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!l.conns || !l.again || l.epoll < 0)
		die(1, "cannot begin", strerror(errno));
	took = run(&l);
	report(&l, took);
	free(l.conns);
	free(l.again);
	free(l.batches);
	return l.alive > 0 ? 0 : 1;
}
