/* lab_load.c: clients for a server on this machine's loopback.
 *
 * One thread, one epoll.  A group is a number of clients that do the same, and several groups run beside each other, so
 * that fast requests can be measured while others are blocked, trickle or rest.  Nearly all are closed loops: each
 * connection has one request under way, so a server is asked for no more than it answers.  A connection that the server
 * ends after its reply is opened again, and the next request's time includes that, since its client paid for it.
 *
 * A closed loop hides what it waits for: a server that answers twenty of forty requests and lets the others stand would
 * show the times of the twenty.  So a run ends with load_drain: replies that are under way are waited for, up to a
 * bound, and what is left then counts with the age it has reached, where that is more than any reply took.
 *
 * Slow clients move on a common tick of 20 ms: eight bytes of an upload, head and all, or 32 KiB of a download through
 * a small receive buffer.  Connections that failed are opened again on that tick, so a server that refuses is not
 * hammered.  Resting ones are opened 64 at a time, so that no listen queue overflows, and from an address for every
 * 20,000 of them, 127.0.0.2 and up, since one has not the ports for more.
 *
 * bench/load.c is another: it pipelines, sends bodies and fields of any size, knows only replies with a Content-Length,
 * and shares nothing with the lab, so that a mistake in the one shows beside the other.  Here replies are read as any
 * client must, for the peers' sake, and slow and resting clients run beside those that are measured.
 *
 * It is to cost less than what it measures: a request costs one send and one recv, epoll registrations change only
 * around a connect, and replies are parsed where they were received.  Where one thread is not enough all the same the
 * verdict tells (lab_contest.c).  A signal ends a run at the next turn.
 */
#include "cli/lab_load.h"
#include "base/clock.h"
#include "cli/lab.h"
#include "cli/lab_reply.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define IN_SIZE ((size_t)64 * 1024)
#define TICK_NS (20 * NS_PER_MS)
#define TRICKLE_BYTES 8
#define SIP_BYTES ((size_t)32 * 1024)
#define RESTERS_AT_ONCE 64
#define PER_SOURCE 20000        /* a source's ephemeral ports are 28,232, of which others use some (ip(7)) */

const char *const load_error_names[LOAD_ERRORS] = { "connect", "reset", "closed", "status", "protocol" };

enum state {
	UNBORN,         /* not opened, or not again */
	CONNECTING,
	ASKING,         /* its request is not wholly sent */
	WAITING,        /* for the reply */
	CLOSING,        /* the reply is there; the server is about to close */
	PAUSED,         /* LOAD_TRICKLE: until the next tick */
	RESTING,
};

struct conn {
	int fd;                 /* -1: none */
	uint32_t watched;       /* the epoll events it is registered for */
	enum state state;
	struct load_group *group;
	const struct request *request;
	size_t sent;
	uint64_t since;         /* when the present request began */
	struct reply reply;
};

/* What the clients of a group send. */
struct request {
	char text[512];
	size_t n;
};

struct load {
	struct sockaddr_in to;
	int epoll;
	bool draining;
	uint64_t tick_ns;       /* the next one */
	struct load_group *groups;
	size_t ngroups;
	struct request *requests;       /* one a group */
	struct conn *conns;
	size_t nconns;
	struct conn **again;    /* to be opened after this turn: a failure must not recur into another */
	size_t nagain;
	size_t asked, askers;   /* of LOAD_ASK: requests without their reply, and clients */
	uint64_t replied_ns;    /* when the last reply came; before one, when all began */
	size_t next;            /* LOAD_REST: none before it has yet to be opened */
	size_t unsettled;       /* LOAD_REST: connections that do not rest yet and have not failed */
	int rc;                 /* what made it give up */
	char in[IN_SIZE];
};

/* ---- states ------------------------------------------------------------------------------------------------------ */

static bool is_asked(const struct conn *c)
{
	return c->group->kind == LOAD_ASK &&
		(c->state == CONNECTING || c->state == ASKING || c->state == WAITING);
}

static void enter(struct load *l, struct conn *c, enum state state)
{
	l->asked -= is_asked(c);
	c->state = state;
	l->asked += is_asked(c);
}

static void watch(struct load *l, struct conn *c, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	if (c->watched == events)
		return;
	if (epoll_ctl(l->epoll, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e) < 0)
		l->rc = -errno;
	c->watched = events;
}

static void close_connection(struct load *l, struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->watched = 0;
	enter(l, c, UNBORN);
}

/* Has the next of LOAD_REST opened, if there is one. */
static void open_next(struct load *l)
{
	while (l->next < l->nconns && l->conns[l->next].group->kind != LOAD_REST)
		l->next++;
	if (l->next < l->nconns)
		l->again[l->nagain++] = &l->conns[l->next++];
}

/* Once for each: those that rest, or whose server is about to close, have had their reply. */
static void settle(struct load *l, struct conn *c)
{
	if (c->group->kind != LOAD_REST || c->state == RESTING || c->state == CLOSING)
		return;
	l->unsettled--;
	open_next(l);
}

static void failed(struct load *l, struct conn *c, enum load_error kind)
{
	c->group->errors[kind]++;
	settle(l, c);
	close_connection(l, c);
}

/* Its server has closed it, as was to be. */
static void ended(struct load *l, struct conn *c)
{
	close_connection(l, c);
	if (c->group->kind != LOAD_REST && !l->draining)
		l->again[l->nagain++] = c;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void push(struct load *l, struct conn *c)
{
	bool trickles = c->group->kind == LOAD_TRICKLE;
	size_t rest = c->request->n - c->sent, n = trickles && rest > TRICKLE_BYTES ? TRICKLE_BYTES : rest;
	ssize_t sent = send(c->fd, c->request->text + c->sent, n, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		failed(l, c, LOAD_RESET);
		return;
	}
	c->sent += sent > 0 ? (size_t)sent : 0;
	enter(l, c, c->sent < c->request->n ? ASKING : WAITING);
	if (c->group->kind == LOAD_SIP && c->state == WAITING)
		watch(l, c, EPOLLRDHUP); /* the tick reads */
	else
		watch(l, c, c->state == ASKING && !trickles ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void ask(struct load *l, struct conn *c)
{
	c->reply = (struct reply){ .place = 0 };
	c->sent = 0;
	push(l, c);
}

uint32_t load_source(size_t nth)
{
	return INADDR_LOOPBACK + 1 + (uint32_t)(nth / PER_SOURCE);
}

/* Gives one that rests its source; the port is chosen with the connection, so that a source's ports are not used up by
 * other servers' connections. */
static int bind_source(const struct load *l, const struct conn *c)
{
	const struct sockaddr_in from = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(load_source((size_t)(c - l->conns))) };
	int one = 1;

	if (setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0 ||
		bind(c->fd, (const struct sockaddr *)&from, sizeof(from)) < 0)
		return -errno;
	return 0;
}

static void open_connection(struct load *l, struct conn *c)
{
	int one = 1, small = 16 * 1024;

	c->since = clock_now_ns();
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		l->rc = -errno;
		return;
	}
	if (c->group->kind == LOAD_REST && (l->rc = bind_source(l, c)))
		return;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (c->group->kind == LOAD_SIP)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	enter(l, c, CONNECTING);
	if (connect(c->fd, (struct sockaddr *)&l->to, sizeof(l->to)) == 0)
		ask(l, c);
	else if (errno == EINPROGRESS)
		watch(l, c, EPOLLOUT);
	else
		failed(l, c, LOAD_CONNECT);
}

static void open_again(struct load *l)
{
	size_t n = l->nagain;

	l->nagain = 0; /* each that comes again takes a place already read */
	for (size_t i = 0; i < n && l->rc == 0; i++)
		open_connection(l, l->again[i]);
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

static void answered(struct load *l, struct conn *c, uint64_t now)
{
	struct load_group *g = c->group;

	l->replied_ns = now;
	if (c->reply.status == 200) {
		g->requests++;
		histogram_add(&g->times, (now - c->since) / NS_PER_US);
	} else {
		g->errors[LOAD_STATUS]++;
	}
	settle(l, c);
	if (c->reply.close) {
		enter(l, c, CLOSING);
		watch(l, c, EPOLLIN);
		return;
	}
	if (c->sent < c->request->n) {  /* before it had the whole request: what follows would be taken for another */
		ended(l, c);
		return;
	}
	enter(l, c, g->kind == LOAD_REST || l->draining ? RESTING : g->kind == LOAD_TRICKLE ? PAUSED : ASKING);
	c->since = now;
	if (c->state == ASKING)
		ask(l, c);
}

static void at_end(struct load *l, struct conn *c, uint64_t now)
{
	if (c->state == CLOSING || c->state == RESTING || c->state == PAUSED) {
		ended(l, c);
	} else if (reply_ends_here(&c->reply)) {
		answered(l, c, now);
		ended(l, c);
	} else {
		failed(l, c, LOAD_CLOSED);
	}
}

static void readable(struct load *l, struct conn *c)
{
	size_t want = c->group->kind == LOAD_SIP ? SIP_BYTES : IN_SIZE, used;
	ssize_t n = recv(c->fd, l->in, want, 0);
	uint64_t now = clock_now_ns();
	enum reply_said said;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 && c->state != CLOSING) {
		failed(l, c, LOAD_RESET);
		return;
	}
	if (n <= 0) {
		at_end(l, c, now);
		return;
	}
	said = c->state == ASKING || c->state == WAITING ? reply_feed(&c->reply, l->in, (size_t)n, &used) : REPLY_BAD;
	if (said == REPLY_BAD || (said == REPLY_DONE && used < (size_t)n))
		failed(l, c, LOAD_PROTOCOL);
	else if (said == REPLY_DONE)
		answered(l, c, now);
}

static void connected(struct load *l, struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error)
		failed(l, c, LOAD_CONNECT);
	else
		ask(l, c);
}

static void happened(struct load *l, struct conn *c, uint32_t events)
{
	if (c->state == CONNECTING)
		connected(l, c);
	else if (events & ~(uint32_t)EPOLLOUT)
		readable(l, c);
	else
		push(l, c);
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

/* What slow clients do next, and another try for those that failed. */
static void tick(struct load *l, uint64_t now)
{
	if (now < l->tick_ns)
		return;
	l->tick_ns = now + TICK_NS;
	for (size_t i = 0; i < l->nconns && l->rc == 0 && !l->draining; i++) {
		struct conn *c = &l->conns[i];

		if (c->state == UNBORN && c->group->kind != LOAD_REST)
			open_connection(l, c);
		else if (c->group->kind == LOAD_SIP && c->state == WAITING)
			readable(l, c);
		else if (c->group->kind == LOAD_TRICKLE && c->state == PAUSED)
			ask(l, c);
		else if (c->group->kind == LOAD_TRICKLE && c->state == ASKING)
			push(l, c);
	}
}

static void turn(struct load *l, uint64_t end)
{
	struct epoll_event events[EVENTS];
	uint64_t now = clock_now_ns(), until = end < l->tick_ns ? end : l->tick_ns;
	int wait_ms = l->nagain > 0 || until <= now ? 0 : (int)((until - now) / NS_PER_MS) + 1;
	int n = epoll_wait(l->epoll, events, EVENTS, wait_ms);

	for (int i = 0; i < n; i++)
		happened(l, events[i].data.ptr, events[i].events);
	open_again(l);
	tick(l, clock_now_ns());
}

static bool only_rest(const struct load *l)
{
	for (size_t i = 0; i < l->ngroups; i++)
		if (l->groups[i].kind != LOAD_REST)
			return false;
	return l->unsettled == 0;
}

int load_run(struct load *l, uint64_t ns)
{
	uint64_t end = clock_now_ns() + ns;

	l->draining = false;
	while (l->rc == 0 && clock_now_ns() < end && !lab_stopped() && !only_rest(l))
		turn(l, end);
	return l->rc;
}

void load_reset(struct load *l)
{
	for (size_t i = 0; i < l->ngroups; i++) {
		struct load_group *g = &l->groups[i];

		g->requests = 0;
		memset(g->errors, 0, sizeof(g->errors));
		memset(&g->times, 0, sizeof(g->times));
	}
}

/* Those below the longest time say nothing that is not known. */
static void count_ages(struct load *l, uint64_t now)
{
	for (size_t g = 0; g < l->ngroups; g++) {
		struct load_group *group = &l->groups[g];
		uint64_t longest_us = group->times.max_us;

		for (size_t i = 0; i < l->nconns; i++) {
			const struct conn *c = &l->conns[i];
			uint64_t age_us = (now - c->since) / NS_PER_US;

			if (c->group == group && is_asked(c) && age_us > longest_us)
				histogram_add(&group->times, age_us);
		}
	}
}

int load_wait(struct load *l, uint64_t ns)
{
	uint64_t end = clock_now_ns() + ns;

	l->draining = true;
	while (l->rc == 0 && l->asked > 0 && clock_now_ns() < end && !lab_stopped())
		turn(l, end);
	return l->rc;
}

bool load_silent(const struct load *l, uint64_t ns)
{
	return l->askers > 0 && l->asked == l->askers && clock_now_ns() - l->replied_ns > ns;
}

int load_drain(struct load *l, uint64_t ns)
{
	int rc = load_wait(l, ns);
	uint64_t now = clock_now_ns();

	for (size_t i = 0; i < l->nconns; i++) {
		struct conn *c = &l->conns[i];

		c->group->unanswered += is_asked(c);
	}
	count_ages(l, now);
	return rc;
}

unsigned load_held(struct load *l)
{
	unsigned held = 0;
	char byte;

	for (size_t i = 0; i < l->nconns; i++) {
		const struct conn *c = &l->conns[i];

		held += c->state == RESTING && c->group->kind == LOAD_REST &&
			recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
	}
	return held;
}

/* ---- the beginning and the end ----------------------------------------------------------------------------------- */

static void make_request(struct request *r, const struct load_group *g, unsigned port)
{
	static const char body[] = "It takes its time: this is what a client on a bad line sends.\n";
	int n = snprintf(r->text, sizeof(r->text), "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: offloop-lab\r\n"
		"Accept: */*\r\n", g->kind == LOAD_TRICKLE ? "POST" : "GET", g->path, port);

	if (g->kind == LOAD_TRICKLE)
		n += snprintf(r->text + n, sizeof(r->text) - (size_t)n, "Content-Length: %zu\r\n\r\n%s",
			sizeof(body) - 1, body);
	else
		n += snprintf(r->text + n, sizeof(r->text) - (size_t)n, "\r\n");
	r->n = (size_t)n;
}

/* Everybody on the list of those to be opened, of the resting ones only the first. */
static void prepare(struct load *l)
{
	struct conn *c = l->conns;

	for (size_t i = 0; i < l->ngroups; i++) {
		struct load_group *g = &l->groups[i];

		make_request(&l->requests[i], g, ntohs(l->to.sin_port));
		for (unsigned k = 0; k < g->connections; k++, c++) {
			*c = (struct conn){ .fd = -1, .group = g, .request = &l->requests[i] };
			if (g->kind == LOAD_REST)
				l->unsettled++;
			else
				l->again[l->nagain++] = c;
		}
	}
	for (unsigned i = 0; i < RESTERS_AT_ONCE; i++)
		open_next(l);
}

int load_new(struct load **out, unsigned port, struct load_group *groups, size_t ngroups)
{
	struct load *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	l->groups = groups;
	l->ngroups = ngroups;
	for (size_t i = 0; i < ngroups; i++)
		l->nconns += groups[i].connections;
	for (size_t i = 0; i < ngroups; i++)
		l->askers += groups[i].kind == LOAD_ASK ? groups[i].connections : 0;
	l->replied_ns = clock_now_ns();
	l->conns = calloc(l->nconns, sizeof(*l->conns));
	l->again = calloc(l->nconns, sizeof(struct conn *));
	l->requests = calloc(ngroups, sizeof(*l->requests));
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!l->conns || !l->again || !l->requests || l->epoll < 0) {
		int rc = l->epoll < 0 ? -errno : -ENOMEM;

		load_free(l);
		return rc;
	}
	prepare(l);
	*out = l;
	return 0;
}

void load_free(struct load *l)
{
	if (!l)
		return;
	for (size_t i = 0; l->conns && i < l->nconns; i++)
		if (l->conns[i].fd >= 0)
			close(l->conns[i].fd);
	if (l->epoll >= 0)
		close(l->epoll);
	free(l->conns);
	free(l->again);
	free(l->requests);
	free(l);
}
