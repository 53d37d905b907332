/* loop_script.c: see loop_script.h.
 *
 * One list of steps, each a completion for one operation of one peer, in the order the test wrote them.  wait goes
 * through those present once; a step whose operation is not in flight stays.  So data written before a receive is armed
 * is there when it is, and a cancellation (a step too) comes behind what was written before it, as in a completion
 * queue.  A peer is known by its descriptor, since the io on our side is often inside something the test cannot reach.
 *
 * One thread at a time, but for wake. */
#include "loop_script.h"
#include "../src/loop_backend.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct step {
	struct list node;
	struct script_peer *peer;       /* NULL: the listener's */
	unsigned op;
	int res;
	bool more;
	char *bytes;
};

struct script {
	struct loop loop;
	uint64_t time_ns;
	struct list steps, peers;
	struct loop_io *listener;
	unsigned accepting;             /* LOOP_ACCEPT while it is in flight */
	bool hold_sends, hold_cancels;
	unsigned fail_nth, started;
	int fail_err;
	int wake_fd;
	unsigned nbufs, buf_size;
	char *memory;
	uint32_t *free_bufs;
};

static struct script *script_of(struct loop *l)
{
	return container_of(l, struct script, loop);
}

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static struct step *add_step(struct script *s, struct script_peer *peer, unsigned op, int res, bool more)
{
	struct step *st = must(calloc(1, sizeof(*st)));

	*st = (struct step){ .peer = peer, .op = op, .res = res, .more = more };
	list_push_back(&s->steps, &st->node);
	return st;
}

static void free_step(struct step *st)
{
	list_del(&st->node);
	free(st->bytes);
	free(st);
}

/* The owner's memory may go: nothing may refer to it any more. */
static void forget(struct script *s, struct script_peer *p)
{
	for (struct list *node = s->steps.next; node != &s->steps; node = node->next) {
		struct step *st = container_of(node, struct step, node);

		if (st->peer == p)
			st->op = 0;     /* freed by wait, which may be walking over it */
	}
	p->io = NULL;
	p->closed = true;
}

static void deliver_recv(struct script *s, struct step *st)
{
	struct script_peer *p = st->peer;
	struct loop_buf buf;

	if (st->res > 0 && s->loop.bufs_free == 0) {    /* the bytes stay for another receive */
		p->flight &= ~(unsigned)LOOP_RECV;
		loop_received(p->io, -ENOBUFS, NULL, false);
		return;
	}
	if (!st->more)
		p->flight &= ~(unsigned)LOOP_RECV;
	if (st->res > 0) {
		buf.id = s->free_bufs[--s->loop.bufs_free];
		buf.p = s->memory + (size_t)buf.id * s->buf_size;
		buf.n = (uint32_t)st->res;
		memcpy(buf.p, st->bytes, buf.n);
	}
	st->op = 0;
	loop_received(p->io, st->res, st->res > 0 ? &buf : NULL, st->more);
}

/* Copies what the kernel would have taken. */
static void take_sent(struct script_peer *p, int res)
{
	size_t left = res > 0 ? (size_t)res : 0;

	for (size_t i = 0; i < p->msg->msg_iovlen && left > 0; i++) {
		size_t n = p->msg->msg_iov[i].iov_len < left ? p->msg->msg_iov[i].iov_len : left;

		if (buf_append(&p->out, p->msg->msg_iov[i].iov_base, n) < 0)
			abort();
		left -= n;
	}
	assert(left == 0);
	p->msg = NULL;
}

static void deliver_accept(struct script *s, struct step *st)
{
	bool more = st->more && !(st->res >= 0 && s->listener->one);

	if (!more)
		s->accepting = 0;
	st->op = 0;
	loop_accepted(s->listener, st->res, more);
}

static void deliver(struct script *s, struct step *st)
{
	struct script_peer *p = st->peer;
	unsigned op = st->op;

	if (op == LOOP_RECV) {
		deliver_recv(s, st);
		return;
	}
	p->flight &= ~op;
	st->op = 0;
	if (op == LOOP_SEND) {
		take_sent(p, st->res);
		loop_sent(p->io, st->res);
	} else if (op == LOOP_HUP) {
		loop_hung_up(p->io, st->res);
	} else {
		loop_connected(p->io, st->res);
	}
}

static void run_steps(struct script *s)
{
	struct list batch;
	struct list *node;

	list_init(&batch);
	list_splice(&batch, &s->steps);
	while ((node = list_pop(&batch))) {
		struct step *st = container_of(node, struct step, node);
		struct script_peer *p = st->peer;

		/* back in line first, so that forget() finds it */
		list_push_back(&s->steps, &st->node);
		if (st->op && !p && (s->accepting & st->op))
			deliver_accept(s, st);
		else if (st->op && p && (p->flight & st->op))
			deliver(s, st);
		if (p && p->io && p->io->closing && p->io->inflight == 0)
			forget(s, p);
	}
	for (node = s->steps.next; node != &s->steps;) {
		struct step *st = container_of(node, struct step, node);

		node = node->next;
		if (st->op == 0)
			free_step(st);
	}
}

/* ---- the backend ------------------------------------------------------------------------------------------------- */

static int started(struct script *s)
{
	s->started++;
	if (s->fail_nth > 0 && --s->fail_nth == 0)
		return s->fail_err;
	return 0;
}

static struct script_peer *find(struct script *s, int fd)
{
	for (struct list *node = s->peers.prev; node != &s->peers; node = node->prev) {
		struct script_peer *p = container_of(node, struct script_peer, node);

		if (p->fd == fd && !p->closed)
			return p;
	}
	return NULL;
}

static struct script_peer *new_peer(struct script *s, int fd)
{
	struct script_peer *p = must(calloc(1, sizeof(*p)));

	p->loop = &s->loop;
	p->fd = fd;
	list_push_back(&s->peers, &p->node);
	return p;
}

static int start(struct loop *l, struct loop_io *io, unsigned op, struct script_peer **out)
{
	struct script *s = script_of(l);
	struct script_peer *p = find(s, io->fd);
	int rc = started(s);

	if (rc < 0)
		return rc;
	if (!p)
		p = new_peer(s, io->fd);
	p->io = io;
	assert(!(p->flight & op));
	p->flight |= op;
	*out = p;
	return 0;
}

static int sc_accept(struct loop *l, struct loop_io *io)
{
	struct script *s = script_of(l);
	int rc = started(s);

	if (rc < 0)
		return rc;
	assert(!s->accepting);
	s->listener = io;
	s->accepting = LOOP_ACCEPT;
	return 0;
}

static int sc_recv(struct loop *l, struct loop_io *io)
{
	struct script_peer *p;

	return start(l, io, LOOP_RECV, &p);
}

static int sc_send(struct loop *l, struct loop_io *io, const struct msghdr *msg)
{
	struct script *s = script_of(l);
	struct script_peer *p;
	size_t n = 0;
	int rc = start(l, io, LOOP_SEND, &p);

	if (rc < 0)
		return rc;
	p->msg = msg;
	for (size_t i = 0; i < msg->msg_iovlen; i++)
		n += msg->msg_iov[i].iov_len;
	if (!s->hold_sends)
		add_step(s, p, LOOP_SEND, (int)n, false);
	return 0;
}

static int sc_poll_hup(struct loop *l, struct loop_io *io)
{
	struct script_peer *p;

	return start(l, io, LOOP_HUP, &p);
}

static int sc_connect(struct loop *l, struct loop_io *io, const struct sockaddr *sa, socklen_t n)
{
	struct script_peer *p;

	(void)sa, (void)n;
	return start(l, io, LOOP_CONNECT, &p);
}

static void sc_stop(struct loop *l, struct loop_io *io, unsigned ops)
{
	struct script *s = script_of(l);
	struct script_peer *p = find(s, io->fd);

	if (s->hold_cancels)
		return;
	if (ops & LOOP_ACCEPT)
		add_step(s, NULL, LOOP_ACCEPT, -ECANCELED, false);
	for (unsigned op = LOOP_RECV; op <= LOOP_CONNECT; op *= 2)
		if (p && (ops & p->flight & op))
			add_step(s, p, op, -ECANCELED, false);
}

static void sc_close(struct loop *l, struct loop_io *io)
{
	struct script *s = script_of(l);
	struct script_peer *p = find(s, io->fd);

	sc_stop(l, io, io->armed & ~(unsigned)io->stopping);
	if (p && io->inflight == 0)
		forget(s, p);
}

static void sc_lend_back(struct loop *l, uint32_t id)
{
	struct script *s = script_of(l);

	assert(l->bufs_free < s->nbufs && id < s->nbufs);
	memset(s->memory + (size_t)id * s->buf_size, 0xdd, s->buf_size);       /* not the receiver's any more */
	s->free_bufs[l->bufs_free++] = id;
}

static bool steps_fit(const struct script *s)
{
	for (const struct list *node = s->steps.next; node != &s->steps; node = node->next) {
		const struct step *st = container_of(node, const struct step, node);

		if (st->op & (st->peer ? st->peer->flight : s->accepting))
			return true;
	}
	return false;
}

static int sc_wait(struct loop *l, uint64_t deadline_ns)
{
	struct script *s = script_of(l);
	struct pollfd p = { .fd = s->wake_fd, .events = POLLIN };
	uint64_t began = loop_wait_begins(l), count;
	int rc = 1;

	if (deadline_ns > began && !steps_fit(s)) {
		rc = poll(&p, 1, deadline_ns == NEVER ? 10000 : 1);
		if (rc == 1 && read(s->wake_fd, &count, sizeof(count)) < 0)
			return -errno;
	}
	loop_wait_ended(l, began);
	run_steps(s);
	return rc == 0 && deadline_ns == NEVER ? -ETIMEDOUT : 0;
}

static void sc_wake(struct loop *l)
{
	uint64_t one = 1;

	if (write(script_of(l)->wake_fd, &one, sizeof(one)) < 0)
		abort();
}

static uint64_t sc_clock(struct loop *l)
{
	return script_of(l)->time_ns;
}

static void sc_free(struct loop *l)
{
	struct script *s = script_of(l);
	struct list *node;

	while (!list_empty(&s->steps)) {
		struct step *st = container_of(s->steps.next, struct step, node);

		if (st->op == LOOP_ACCEPT && st->res >= 0)
			close(st->res);         /* never accepted */
		free_step(st);
	}
	while ((node = list_pop(&s->peers))) {
		struct script_peer *p = container_of(node, struct script_peer, node);

		buf_fini(&p->out);
		free(p);
	}
	close(s->wake_fd);
	free(s->memory);
	free(s->free_bufs);
	free(s);
}

static const struct loop_backend script_backend = {
	.free = sc_free, .accept = sc_accept, .recv = sc_recv, .stop = sc_stop, .send = sc_send,
	.poll_hup = sc_poll_hup, .connect = sc_connect, .close = sc_close, .lend_back = sc_lend_back, .wait = sc_wait,
	.wake = sc_wake, .clock = sc_clock,
};

struct loop *loop_new_script(const struct loop_conf *conf)
{
	struct loop_conf full = loop_conf_full(conf);
	struct script *s = must(aligned_alloc(_Alignof(struct script), sizeof(*s)));

	memset(s, 0, sizeof(*s));
	s->time_ns = 1000 * NS_PER_S;
	list_init(&s->steps);
	list_init(&s->peers);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->nbufs = full.recv_bufs;
	s->buf_size = full.recv_buf_size;
	s->memory = must(malloc((size_t)s->nbufs * s->buf_size));
	s->free_bufs = must(malloc(s->nbufs * sizeof(s->free_bufs[0])));
	loop_init(&s->loop, &script_backend);
	for (uint32_t id = 0; id < s->nbufs; id++)
		sc_lend_back(&s->loop, id);
	return &s->loop;
}

/* ---- the test's side --------------------------------------------------------------------------------------------- */

void script_advance(struct loop *l, uint64_t ns)
{
	script_of(l)->time_ns += ns;
}

void script_turns(struct loop *l, int n)
{
	while (n-- > 0)
		if (loop_turn(l, 0) < 0)
			abort();
}

int script_fd(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

struct script_peer *script_connect(struct loop *l)
{
	struct script *s = script_of(l);
	struct script_peer *p = new_peer(s, script_fd());

	add_step(s, NULL, LOOP_ACCEPT, p->fd, true);
	return p;
}

struct script_peer *script_peer_of(struct loop_io *io)
{
	return find(script_of(io->loop), io->fd);
}

void script_accept(struct loop *l, int res, bool more)
{
	add_step(script_of(l), NULL, LOOP_ACCEPT, res, more);
}

static void give(struct script_peer *p, const char *bytes, size_t n, bool more)
{
	struct step *st = add_step(script_of(p->loop), p, LOOP_RECV, (int)n, more);

	st->bytes = must(malloc(n));
	memcpy(st->bytes, bytes, n);
}

void script_give(struct script_peer *p, const void *bytes, size_t n)
{
	const char *at = bytes;
	size_t size = script_of(p->loop)->buf_size;

	for (; n > size; at += size, n -= size)
		give(p, at, size, true);
	if (n > 0)
		give(p, at, n, true);
}

void script_give_last(struct script_peer *p, const void *bytes, size_t n)
{
	assert(n > 0 && n <= script_of(p->loop)->buf_size);
	give(p, bytes, n, false);
}

void script_end(struct script_peer *p, int res)
{
	add_step(script_of(p->loop), p, LOOP_RECV, res, false);
}

void script_sent(struct script_peer *p, int res)
{
	add_step(script_of(p->loop), p, LOOP_SEND, res, false);
}

void script_hup(struct script_peer *p, int events)
{
	add_step(script_of(p->loop), p, LOOP_HUP, events, false);
}

void script_connected(struct script_peer *p, int res)
{
	add_step(script_of(p->loop), p, LOOP_CONNECT, res, false);
}

void script_cancelled(struct script_peer *p, unsigned op)
{
	assert(op != LOOP_ACCEPT);
	add_step(script_of(p->loop), p, op, -ECANCELED, false);
}

void script_hold(struct loop *l, bool sends, bool cancels)
{
	script_of(l)->hold_sends = sends;
	script_of(l)->hold_cancels = cancels;
}

void script_fail(struct loop *l, unsigned nth, int err)
{
	script_of(l)->fail_nth = nth;
	script_of(l)->fail_err = err;
}

unsigned script_started(const struct loop *l)
{
	return container_of(l, const struct script, loop)->started;
}
