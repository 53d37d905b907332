/* loop_event.c: the loop on libevent's raw events, where io_uring is not to be had, and always for the control plane.
 *
 * Readiness imitates completion: an operation is tried when libevent says that it can be, and its result is a
 * completion.  What has to be looked at is queued (a struct evio at most once) and served in wait after libevent has
 * returned, so no callback runs inside the call that started an operation.  wait serves what was queued before it,
 * polls or sleeps, and then serves twice more: once what became ready, and once what the callbacks of that started,
 * which makes an exchange of a small request and reply one turn.  Anything left keeps the next wait from sleeping.
 *
 * The queue is served in bursts, first the receives and sends of each, then its callbacks.  Taking turns for each
 * request would cost both sides their caches, and a client would fall asleep between replies, to be woken by each.  A
 * send that is stopped or closed before its turn is tried then; bytes received before a stop are told.
 *
 * Each io has one struct event, allocated with its first operation, whose interest follows from the state of the io and
 * is changed only when that differs.  Receiving is level-triggered and stays registered, so the steady path changes
 * nothing, and each turn receives at most one buffer from each connection.  While nothing is received a hang-up is
 * awaited edge-triggered with EV_CLOSED and EV_READ: libevent reports a reset as EV_READ alone, and unread data must
 * not keep the loop awake; what the edge was about is then asked of poll(2).  A send awaits EV_WRITE only when the
 * socket is full.
 *
 * Deadlines use a timerfd, since libevent's own timers are as coarse as the scheduler's tick; it is left alone when it
 * is already set to fire early enough: an early end of a wait does no harm.  wake writes to an eventfd that is never
 * read, whose event is edge-triggered.  Receive buffers are a stack of free ones, so that those in the cache are used
 * again first.
 *
 * Only the loop's thread enters this file, but for wake.  No bufferevent, no evhttp, no signal of libevent's.
 */
#include "loop_backend.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BURST 32                /* ios whose system calls are made together */
#define ACCEPTS_PER_TURN 64     /* of a shared listener one: the others were woken, too */
#define IOV_LOCAL 64
#define SEND_MAX ((size_t)1 << 30)      /* a result is an int; a short count is allowed */

/* What is known of an io beyond the io itself. */
struct evio {
	struct event event;
	struct loop_io *io;
	struct list node;               /* linked while it is queued */
	const struct msghdr *msg;       /* what is to be sent; NULL: nothing, or its result is in send_res */
	size_t sent;                    /* bytes of it that have gone */
	struct loop_buf buf;            /* what was received, while `received` and recv_res > 0 */
	int recv_res, send_res, connect_res, hup_res;
	bool received;                  /* and not yet told: recv_res */
	short interest;                 /* EV_* registered now; 0: none */
	uint8_t ready;                  /* LOOP_*: accept, recv and send can be tried, the others have their results */
};

struct evloop {
	struct loop loop;
	struct event_base *base;
	struct event wake_event, timer_event;
	int wake_fd, timer_fd;
	uint64_t timer_ns;              /* what the timer is set to; NEVER: not set */
	struct list queue;
	char *buf_memory;
	unsigned buf_size, bufs_max;
	uint32_t *free_bufs;            /* a stack of loop.bufs_free */
};

static struct evloop *evloop_of(struct loop *l)
{
	return container_of(l, struct evloop, loop);
}

/* ---- interest ---------------------------------------------------------------------------------------------------- */

static void queue(struct evio *e, unsigned op)
{
	e->ready |= (uint8_t)op;
	if (list_empty(&e->node))
		list_push_back(&evloop_of(e->io->loop)->queue, &e->node);
}

static unsigned awaited(const struct loop_io *io, unsigned ops)
{
	return io->armed & ~(unsigned)io->stopping & ops;
}

static short wanted(const struct evio *e)
{
	const struct loop_io *io = e->io;
	unsigned open = awaited(io, ~(e->ready & (unsigned)(LOOP_SEND | LOOP_CONNECT | LOOP_HUP)));
	short want = EV_PERSIST;

	if (open == LOOP_RECV && !loop_parked(io))
		return EV_READ | EV_PERSIST;            /* the common case */
	if (open & (LOOP_SEND | LOOP_CONNECT))
		want |= EV_WRITE;
	if ((open & (LOOP_RECV | LOOP_ACCEPT)) && !loop_parked(io))
		want |= EV_READ;
	else if (open & LOOP_HUP)
		want |= EV_READ | EV_CLOSED | EV_ET;
	return want == EV_PERSIST ? 0 : want;
}

static int hup_state(const struct loop_io *io)
{
	struct pollfd p = { .fd = io->fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) == 1 ? p.revents : 0;
}

/* libevent's callback: notes what can be done. */
static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct evio *e = arg;
	struct loop_io *io = e->io;

	(void)fd;
	if (e->interest & EV_ET) {
		if ((what & (EV_READ | EV_CLOSED)) && (e->hup_res = hup_state(io)))
			queue(e, LOOP_HUP);
	} else if (what & EV_READ) {
		queue(e, io->armed & (LOOP_RECV | LOOP_ACCEPT));
	}
	if (what & EV_WRITE)
		queue(e, io->armed & (LOOP_SEND | LOOP_CONNECT));
}

/* Brings the registration in line with the state. */
static int update(struct evio *e)
{
	struct evloop *el = evloop_of(e->io->loop);
	short want = wanted(e);

	if (want == e->interest)
		return 0;
	if (e->interest)
		event_del(&e->event);
	e->interest = 0;
	if (!want)
		return 0;
	if (event_assign(&e->event, el->base, e->io->fd, want, on_event, e) < 0 || event_add(&e->event, NULL) < 0)
		return -(errno ? errno : ENOMEM);
	e->interest = want;
	return 0;
}

/* The io's own part, made at its first operation. */
static struct evio *evio_of(struct loop_io *io)
{
	struct evio *e = io->backend;

	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->io = io;
	list_init(&e->node);
	return io->backend = e;
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static void ev_lend_back(struct loop *l, uint32_t id)
{
	evloop_of(l)->free_bufs[l->bufs_free++] = id;
}

static int ev_accept(struct loop *l, struct loop_io *io)
{
	struct evio *e = evio_of(io);

	(void)l;
	if (!e)
		return -ENOMEM;
	loop_set_nonblocking(io->fd, true);
	return update(e);
}

static int ev_recv(struct loop *l, struct loop_io *io)
{
	struct evio *e = evio_of(io);

	(void)l;
	return e ? update(e) : -ENOMEM;
}

static int ev_poll_hup(struct loop *l, struct loop_io *io)
{
	return ev_recv(l, io);
}

/* Sends what is left of a message after the first e->sent bytes, until it has gone (its length), or the socket is full
 * (-EAGAIN), or an error, which is reported only when nothing has gone. */
static int send_rest(struct evio *e, const struct msghdr *msg)
{
	struct iovec local[IOV_LOCAL];

	for (;;) {
		struct msghdr part = { .msg_iov = local };
		size_t skip = e->sent, room = SEND_MAX - e->sent;
		ssize_t n;

		for (size_t i = 0; i < msg->msg_iovlen && part.msg_iovlen < IOV_LOCAL; i++) {
			const struct iovec *v = &msg->msg_iov[i];
			size_t gone = v->iov_len < skip ? v->iov_len : skip;
			size_t left = v->iov_len - gone < room ? v->iov_len - gone : room;

			skip -= gone;
			room -= left;
			if (left > 0)
				local[part.msg_iovlen++] = (struct iovec){ (char *)v->iov_base + gone, left };
		}
		if (part.msg_iovlen == 0)
			return (int)e->sent;
		n = sendmsg(e->io->fd, &part, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || e->sent == 0 ? -errno : (int)e->sent;
		e->sent += (size_t)n;
	}
}

/* The same; the common case is one piece that fits. */
static int send_msg(struct evio *e)
{
	const struct iovec *v = e->msg->msg_iov;
	ssize_t n;

	if (e->sent > 0 || e->msg->msg_iovlen != 1 || v->iov_len > SEND_MAX)
		return send_rest(e, e->msg);
	n = send(e->io->fd, v->iov_base, v->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == (ssize_t)v->iov_len)
		return (int)n;
	if (n > 0)
		e->sent = (size_t)n;
	else if (n < 0 && errno != EINTR)
		return -errno;
	return send_rest(e, e->msg);
}

/* Tries what is to be sent.  False: the socket has no room, so nothing is to be said yet. */
static bool send_on(struct evio *e)
{
	int res;

	if (!e->msg)
		return true;
	res = send_msg(e);
	if (res == -EAGAIN)
		return false;
	e->msg = NULL;
	e->send_res = res;
	return true;
}

/* It will not go on.  What has gone counts for more than why. */
static void send_ended(struct evio *e, int why)
{
	e->msg = NULL;
	e->send_res = e->sent ? (int)e->sent : why;
	queue(e, LOOP_SEND);
}

static int ev_send(struct loop *l, struct loop_io *io, const struct msghdr *msg)
{
	struct evio *e = evio_of(io);

	(void)l;
	if (!e)
		return -ENOMEM;
	e->msg = msg;
	e->sent = 0;
	queue(e, LOOP_SEND);
	return 0;
}

static int ev_connect(struct loop *l, struct loop_io *io, const struct sockaddr *sa, socklen_t n)
{
	struct evio *e = evio_of(io);
	int res;

	(void)l;
	if (!e)
		return -ENOMEM;
	loop_set_nonblocking(io->fd, true);
	res = connect(io->fd, sa, n) == 0 ? 0 : -errno;
	if (res == -EINPROGRESS || res == -EINTR) {
		e->connect_res = -EINPROGRESS;
		return update(e);
	}
	e->connect_res = res;
	queue(e, LOOP_CONNECT);
	return 0;
}

/* A send is to end: if it is still to be tried, it is tried.  False: not all of it has gone. */
static bool send_due(struct evio *e)
{
	return e->msg && (e->ready & LOOP_SEND) ? send_on(e) : !e->msg;
}

static void ev_stop(struct loop *l, struct loop_io *io, unsigned ops)
{
	struct evio *e = io->backend;

	(void)l;
	if ((ops & LOOP_SEND) && !send_due(e))
		send_ended(e, -ECANCELED);
	if ((ops & LOOP_CONNECT) && !(e->ready & LOOP_CONNECT))
		e->connect_res = -ECANCELED;
	if ((ops & LOOP_HUP) && !(e->ready & LOOP_HUP))
		e->hup_res = -ECANCELED;
	queue(e, ops);
	update(e);
}

static void ev_close(struct loop *l, struct loop_io *io)
{
	struct evio *e = io->backend;

	io->inflight = 0;       /* the kernel holds nothing of ours */
	if (!e)
		return;
	send_due(e);
	if (e->received && e->recv_res > 0)
		ev_lend_back(l, e->buf.id);
	if (e->interest)
		event_del(&e->event);
	list_del(&e->node);
	free(e);
	io->backend = NULL;
}

/* ---- serving ----------------------------------------------------------------------------------------------------- */

static void serve_accept(struct loop_io *io)
{
	int most = io->shared ? 1 : ACCEPTS_PER_TURN;

	for (int i = 0; i < most; i++) {
		int fd;

		if (io->closing || !awaited(io, LOOP_ACCEPT))
			return;
		fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0) {
			loop_accepted(io, -errno, false);
			return;
		}
		loop_accepted(io, fd, !io->one);
	}
}

/* Receives what there is into a buffer, if one is free.  False: nothing has come. */
static bool receive(struct evio *e)
{
	struct evloop *el = evloop_of(e->io->loop);
	ssize_t n;

	e->recv_res = -ENOBUFS;
	e->received = true;
	if (el->loop.bufs_free == 0)
		return true;
	e->buf.id = el->free_bufs[--el->loop.bufs_free];
	e->buf.p = el->buf_memory + (size_t)e->buf.id * el->buf_size;
	do
		n = recv(e->io->fd, e->buf.p, el->buf_size, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	e->recv_res = n < 0 ? -errno : (int)n;
	e->buf.n = n > 0 ? (uint32_t)n : 0;
	if (n <= 0)
		ev_lend_back(&el->loop, e->buf.id);
	e->received = e->recv_res != -EAGAIN;
	return e->received;
}

/* Tells what was received.  An end that was asked for since is told in the next pass. */
static void serve_recv(struct evio *e)
{
	struct loop_io *io = e->io;
	struct loop_buf buf;

	if (!e->received && (io->stopping & LOOP_RECV)) {
		loop_received(io, -ECANCELED, NULL, false);
		return;
	}
	if (!e->received && !receive(e))
		return;
	e->received = false;
	if (io->stopping & LOOP_RECV)
		queue(e, LOOP_RECV);
	buf = e->buf;           /* e may be gone before the receiver has done with it */
	loop_received(io, e->recv_res, e->recv_res > 0 ? &buf : NULL, e->recv_res > 0);
}

static int connect_result(struct evio *e)
{
	int err = 0;
	socklen_t n = sizeof(err);

	if (e->connect_res != -EINPROGRESS)
		return e->connect_res;
	if (getsockopt(e->io->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
		err = errno;
	return -err;
}

/* One pass over what an io has to report.  Each callback may close it, which frees e. */
static void serve(struct evio *e)
{
	struct loop_io *io = e->io;
	unsigned ready = e->ready;

	e->ready = 0;
	if ((ready & LOOP_CONNECT) && (io->armed & LOOP_CONNECT))
		loop_connected(io, connect_result(e));
	if (!io->closing && (ready & LOOP_SEND) && (io->armed & LOOP_SEND) && send_on(e))
		loop_sent(io, e->send_res);
	if (!io->closing && (ready & LOOP_RECV) && (io->armed & LOOP_RECV) && !loop_parked(io))
		serve_recv(e);
	if (!io->closing && (ready & LOOP_ACCEPT) && (io->armed & LOOP_ACCEPT) && !loop_parked(io)) {
		if (io->stopping & LOOP_ACCEPT)
			loop_accepted(io, -ECANCELED, false);
		else
			serve_accept(io);
	}
	if (!io->closing && (ready & LOOP_HUP) && (io->armed & LOOP_HUP))
		loop_hung_up(io, e->hup_res);
	if (!io->closing && update(e) < 0 && e->msg)
		send_ended(e, -ENOMEM);
}

static bool could_receive(const struct evio *e)
{
	const struct loop_io *io = e->io;

	return (e->ready & LOOP_RECV) && awaited(io, LOOP_RECV) && !loop_parked(io) && io->loop->bufs_free > 0;
}

/* The send and the receive that serve would tell of; what came to nothing is not ready any more.  A receive that finds
 * no buffer is left to serve: others may have given theirs back until then. */
static void attempt(struct evio *e)
{
	if ((e->ready & LOOP_SEND) && !send_on(e))
		e->ready &= (uint8_t)~LOOP_SEND;
	if (could_receive(e) && !receive(e))
		e->ready &= (uint8_t)~LOOP_RECV;
}

static void serve_queue(struct evloop *el)
{
	struct list batch, burst;
	struct list *node;

	list_init(&batch);
	list_init(&burst);
	list_splice(&batch, &el->queue);
	while (!list_empty(&batch)) {
		for (int i = 0; i < BURST && (node = list_pop(&batch)); i++) {
			list_push_back(&burst, node);
			attempt(container_of(node, struct evio, node));
		}
		while ((node = list_pop(&burst)))
			serve(container_of(node, struct evio, node));
	}
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct evloop *el = arg;

	(void)fd, (void)what;
	el->timer_ns = NEVER;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;        /* it has made event_base_loop return, which is all */
}

static void set_timer(struct evloop *el, uint64_t deadline_ns)
{
	struct itimerspec at = { .it_value = clock_timespec(deadline_ns) };

	if (deadline_ns >= el->timer_ns)
		return;
	if (timerfd_settime(el->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
		el->timer_ns = deadline_ns;
}

static int ev_wait(struct loop *l, uint64_t deadline_ns)
{
	struct evloop *el = evloop_of(l);
	int flags = EVLOOP_ONCE;
	uint64_t began;
	int rc;

	if (!list_empty(&el->queue)) {
		serve_queue(el);
		flags |= EVLOOP_NONBLOCK;
	}
	began = loop_wait_begins(l);
	if (deadline_ns <= began)
		flags |= EVLOOP_NONBLOCK;
	else
		set_timer(el, deadline_ns);
	rc = event_base_loop(el->base, flags);
	loop_wait_ended(l, began);
	if (rc < 0)
		return -(errno ? errno : EIO);
	serve_queue(el);
	serve_queue(el);
	return 0;
}

static void ev_wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n = write(evloop_of(l)->wake_fd, &one, sizeof(one));

	(void)n;        /* fails only when the counter is at its end, after 2^64 - 2 of these */
}

/* ---- making and unmaking ----------------------------------------------------------------------------------------- */

static void ev_free(struct loop *l)
{
	struct evloop *el = evloop_of(l);

	if (el->timer_fd >= 0) {
		event_del(&el->wake_event);
		event_del(&el->timer_event);
	}
	if (el->base)
		event_base_free(el->base);
	if (el->wake_fd >= 0)
		close(el->wake_fd);
	if (el->timer_fd >= 0)
		close(el->timer_fd);
	if (el->buf_memory)
		munmap(el->buf_memory, (size_t)el->bufs_max * el->buf_size);
	free(el->free_bufs);
	free(el);
}

static const struct loop_backend event_backend = {
	.free = ev_free, .accept = ev_accept, .recv = ev_recv, .stop = ev_stop, .send = ev_send,
	.poll_hup = ev_poll_hup, .connect = ev_connect, .close = ev_close, .lend_back = ev_lend_back, .wait = ev_wait,
	.wake = ev_wake,
};

static int set_up_buffers(struct evloop *el, const struct loop_conf *conf)
{
	void *p;

	el->bufs_max = conf->recv_bufs_max;
	el->buf_size = conf->recv_buf_size;
	el->free_bufs = malloc(el->bufs_max * sizeof(el->free_bufs[0]));
	if (!el->free_bufs)
		return -ENOMEM;
	p = mmap(NULL, (size_t)el->bufs_max * el->buf_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	el->buf_memory = p;
	for (uint32_t id = el->bufs_max; id-- > 0;)
		ev_lend_back(&el->loop, id);
	return 0;
}

static int set_up_base(struct evloop *el)
{
	struct event_config *conf = event_config_new();

	if (!conf)
		return -ENOMEM;
	event_config_set_flag(conf, EVENT_BASE_FLAG_NOLOCK);
	event_config_require_features(conf, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
	el->base = event_base_new_with_config(conf);
	event_config_free(conf);
	return el->base ? 0 : -ENOTSUP;
}

/* The eventfd and the timerfd: edge-triggered, never read. */
static int set_up_events(struct evloop *el)
{
	const short how = EV_READ | EV_ET | EV_PERSIST;

	el->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (el->wake_fd < 0)
		return -errno;
	el->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (el->timer_fd < 0)
		return -errno;
	if (event_assign(&el->wake_event, el->base, el->wake_fd, how, on_wake, el) < 0 ||
		event_assign(&el->timer_event, el->base, el->timer_fd, how, on_timer, el) < 0 ||
		event_add(&el->wake_event, NULL) < 0 || event_add(&el->timer_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

struct loop *loop_new_event(const struct loop_conf *conf)
{
	struct loop_conf full = loop_conf_full(conf);
	struct evloop *el = aligned_alloc(_Alignof(struct evloop), sizeof(*el));
	int rc;

	if (!el)
		return NULL;
	memset(el, 0, sizeof(*el));
	el->wake_fd = el->timer_fd = -1;
	el->timer_ns = NEVER;
	list_init(&el->queue);
	loop_init(&el->loop, &event_backend);
	if ((rc = set_up_buffers(el, &full)) < 0 || (rc = set_up_base(el)) < 0 || (rc = set_up_events(el)) < 0) {
		ev_free(&el->loop);
		errno = -rc;
		return NULL;
	}
	return &el->loop;
}
