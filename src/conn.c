/* conn.c: the one file that joins loop, protocol and dispatch.
 *
 * A connection moves bytes: what the loop received goes through the filter (if any) and is fed to the protocol, whose
 * events go to dispatch; replies that dispatch has ready are drained by the protocol into an `out` and sent.  All of
 * that is conn_pump, which takes steps until neither end can move, then sends what was collected in one operation and
 * sets the deadline for what is awaited next.  Calls that come back from dispatch while it runs (an inline handler's
 * reply) only find it running: its loop goes on.
 *
 * Input is parsed where it was received; only what could not be parsed yet is copied (c->in), at most about 64 KiB:
 * then receiving stops until half of that is left, and a hang-up is watched for instead.  Output that borrows from a
 * reply keeps the exchange until it is sent; small replies are copied, so a batch of pipelined requests is answered by
 * one send.
 *
 * Departures: a reset, or a hang-up, ends the request's claim on anybody (dispatch_gone).  A FIN within 100 ms of the
 * request is a half-close and is answered; a later one cancels, but the reply is still sent (close and shutdown look
 * the same on TCP).
 *
 * A connection's memory is the loop's until `released`; so is a reply that a send still names.  All on the loop's
 * thread.  What a connection waits for, and how long, is in conn_time.c; all connections of a loop are in conn_home.c;
 * one on which a worker sends the reply by itself is in conn_lend.c.
 */
#include "conn_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_HIGH ((size_t)64 * 1024)      /* unparsed input, beyond what a head may have: stop receiving here */
#define INPUT_LOW (INPUT_HIGH / 2)          /* and go on below this */
#define DRAIN_BUDGET ((size_t)64 * 1024)    /* bytes of a streamed body in one send */
#define HALF_CLOSE_NS (100 * NS_PER_MS)

static void update_recv(struct conn *c);

/* ---- closing ----------------------------------------------------------------------------------------------------- */

void conn_close(struct conn *c)
{
	if (c->dead)
		return;
	c->dead = true;
	conn_timer_stop(c);
	loop_close(&c->io);
}

void conn_abort(struct conn *c)
{
	struct dispatch *d = c->home->dispatch;

	if (c->dead)
		return;
	if (conn_sending(c) && c->out->po.borrowed)
		dispatch_cancel(d, conn_stream(c));
	else
		dispatch_gone(d, conn_stream(c));
	conn_close(c);
}

void conn_reset(struct conn *c)
{
	struct linger now = { 1, 0 };

	(void)setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	conn_abort(c);
}

static void on_released(struct loop_io *io)
{
	struct conn *c = container_of(io, struct conn, io);
	struct conn_home *h = c->home;

	dispatch_gone(h->dispatch, conn_stream(c));
	conn_drop_out(c);
	buf_fini(&c->in);
	buf_fini(&c->answer);
	c->proto->ops->fini(c->proto);
	if (c->filter)
		c->filter->ops->fini(c->filter);
	list_del(&c->node);
	h->nlingering -= c->lingering;
	conn_recycle(c);
	h->nconns--;
	metric_set(h->metrics, METRIC_CONNECTIONS, h->nconns);
	if (h->closed)
		h->closed(h);
}

/* The last reply is out.  What the client still sends is read and thrown away for a while: closing over unread data
 * would reset the connection, and the client might never see the reply (RFC 9112 §9.6).  A client that has not asked
 * for the end itself may have sent its next request before it hears of it. */
static void finish(struct conn *c)
{
	bool unread = c->refused || c->in.n > 0 || c->request_open || c->http1.head.keep_alive;

	if (c->aborted) {
		conn_reset(c);
		return;
	}
	if (c->eof || !unread) {
		conn_close(c);
		return;
	}
	(void)shutdown(c->io.fd, SHUT_WR);
	c->lingering = true;
	c->home->nlingering++;
	buf_fini(&c->in);
	update_recv(c);
	conn_await_linger(c);
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

void conn_end_stream(struct conn *c, struct stream *s)
{
	dispatch_sent(c->home->dispatch, s);
	c->proto->ops->stream_end(c->proto, s);
}

/* Lets the protocol add to what will be sent next: true when it did.  Of a stream's body it is asked once a send: what
 * the handler writes meanwhile collects, and goes out together, without a notice. */
static bool drain(struct conn *c)
{
	struct conn_out *o;
	bool did;

	if (conn_sending(c) || c->closing_reply || (c->out && (c->out->stream || c->out->source || c->out->more)))
		return false;
	if (!conn_stream(c)->reply && !c->http1.continue_due)
		return false;
	o = conn_take_out(c);
	if (!o) {
		conn_abort(c);
		return false;
	}
	o->po.finished = false;
	o->po.date = http_date_text(&c->home->date, c->home->loop->now_ns);
	did = c->proto->ops->drain(c->proto, &o->po, DRAIN_BUDGET);
	if (o->po.lent > 0)
		o->source = conn_stream(c)->reply->body.source;
	o->more = did && !o->po.finished && conn_stream(c)->reply && conn_stream(c)->reply->kind == BODY_PULL;
	c->closing_reply = o->po.close;
	c->aborted = o->po.aborted;
	if (o->po.finished && o->po.borrowed)
		o->stream = o->po.stream;
	else if (o->po.finished)
		conn_end_stream(c, o->po.stream);
	return did;
}

static void start_send(struct conn *c)
{
	if (loop_send(&c->io, &c->out->msg) < 0)
		conn_abort(c);
	else
		conn_await_write(c);
}

/* Replaces plain text by what the filter makes of it, behind what the filter has to say itself. */
static int encrypt(struct conn *c)
{
	struct conn_out *o = conn_take_out(c);
	struct slice s;
	int rc;

	if (!o)
		return -ENOMEM;
	o->cipher = c->answer;
	c->answer = (struct buf){ 0 };
	rc = c->filter->ops->out(c->filter, o->iov, o->po.niov, &o->cipher);
	s = buf_slice(&o->cipher);
	o->iov[0] = (struct iovec){ (void *)(uintptr_t)s.p, s.n };
	o->po.niov = 1;
	o->po.bytes = s.n;
	return rc;
}

/* No reply will follow what has been drained. */
static bool said_all(struct conn *c)
{
	return c->closing_reply || (c->refused && !conn_stream(c)->req);
}

/* Sends what was collected. */
static void flush(struct conn *c)
{
	struct conn_out *o;

	if (conn_sending(c))
		return;
	if (c->filter && (c->out || c->answer.n > 0) && encrypt(c) < 0) {
		conn_abort(c);
		return;
	}
	o = c->out;
	if (!o || o->po.bytes == 0) {
		conn_drop_out(c);
		if (said_all(c))
			finish(c);
		return;
	}
	o->left = o->po.bytes;
	o->msg.msg_iov = o->iov;
	o->msg.msg_iovlen = o->po.niov;
	start_send(c);
}

/* Steps over n bytes that have been sent. */
static void advance(struct msghdr *m, size_t n)
{
	while (n > 0 && n >= m->msg_iov->iov_len) {
		n -= m->msg_iov->iov_len;
		m->msg_iov++;
		m->msg_iovlen--;
	}
	if (n > 0) {
		m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + n;
		m->msg_iov->iov_len -= n;
	}
}

static void all_sent(struct conn *c)
{
	struct conn_out *o = c->out;
	struct stream *s = o->stream;

	if (o->source)
		o->source->taken(o->source, o->po.lent);
	conn_drop_out(c);
	if (s)
		conn_end_stream(c, s);
	if (said_all(c))
		finish(c);
	else
		conn_pump(c);
}

static void on_sent(struct loop_io *io, int res)
{
	struct conn *c = container_of(io, struct conn, io);

	if (res <= 0) {
		conn_abort(c);
		return;
	}
	metric_add(c->home->metrics, METRIC_BYTES_OUT, res);
	c->span_bytes += (uint64_t)res;
	c->out->left -= (size_t)res;
	if (c->out->left == 0) {
		all_sent(c);
		return;
	}
	advance(&c->out->msg, (size_t)res);
	start_send(c);
}

/* ---- input ------------------------------------------------------------------------------------------------------- */

void conn_meet(struct conn *c)
{
	if (!c->used)
		peer_of_fd(&c->peer, c->io.fd);
	c->used = true;
}

static void begin_request(struct conn *c, struct stream *s, const struct head *h)
{
	struct conn_home *home = c->home;

	conn_meet(c);
	c->request_open = true;
	c->request_ns = home->loop->now_ns;
	conn_body_awaited(c);
	watch_request(home->dispatch->watch, c->held_up);
	c->held_up = false;
	dispatch_head(home->dispatch, s, h);
}

static void take_body(struct conn *c, struct stream *s, struct slice data)
{
	conn_body_came(c, data.n);
	dispatch_body(c->home->dispatch, s, data);
}

static struct slice input(const struct conn *c)
{
	if (c->direct.n > 0)
		return c->direct;
	return c->in.n > 0 ? buf_slice(&c->in) : SLICE("");
}

static void consume(struct conn *c, size_t n)
{
	if (c->direct.n > 0) {
		c->direct.p += n;
		c->direct.n -= n;
	} else {
		buf_consume(&c->in, n);
	}
}

/* Feeds the protocol once: true when that moved something. */
static bool feed(struct conn *c)
{
	struct dispatch *d = c->home->dispatch;
	struct proto_event ev;
	struct slice in = input(c);
	size_t n;

	if (c->closing_reply || c->refused || c->lingering)
		return false;
	n = c->proto->ops->feed(c->proto, in, &ev);
	switch (ev.kind) {
	case PROTO_MORE:
	case PROTO_BUSY:
		break;
	case PROTO_HEAD:
		begin_request(c, ev.stream, ev.head);
		break;
	case PROTO_BODY:
		take_body(c, ev.stream, ev.data);
		break;
	case PROTO_END:
		c->request_open = false;
		c->request_ns = c->home->loop->now_ns;
		dispatch_end(d, ev.stream, ev.head);
		break;
	case PROTO_REFUSE:
		c->refused = true;
		conn_meet(c);
		if (ev.status > 0 || ev.stream->req)
			dispatch_refuse(d, ev.stream, ev.status, ev.why);
		break;
	}
	consume(c, n);
	return n > 0 || (ev.kind != PROTO_MORE && ev.kind != PROTO_BUSY);
}

/* Receives, or not, as there is room for it. */
static void update_recv(struct conn *c)
{
	unsigned armed = c->io.armed;

	if (c->eof || c->dead)
		return;
	if (!c->paused && c->in.n >= INPUT_HIGH + c->home->config->head_max) {
		c->paused = true;
		loop_recv_stop(&c->io);
		if (!(armed & LOOP_HUP))
			(void)loop_poll_hup(&c->io); /* without it a departure is seen when the reply is sent */
	} else if (c->paused && c->in.n < INPUT_LOW) {
		c->paused = false;
		loop_stop_ops(&c->io, LOOP_HUP);
	}
	if (!c->paused && !(armed & LOOP_RECV) && loop_recv(&c->io) < 0)
		conn_abort(c);
}

/* After a FIN there is nothing to wait for but a reply that is being made.  A body of which all has been taken that
 * will ever come, but not its end, can never be whole. */
static void close_if_over(struct conn *c)
{
	struct stream *s = conn_stream(c);

	if (!c->eof || c->dead || c->lingering || conn_sending(c))
		return;
	if (!s->req) {
		conn_close(c);
		return;
	}
	if (!c->request_open || s->body_paused || c->refused)
		return;
	c->refused = true;
	if (s->reply)
		dispatch_refuse(c->home->dispatch, s, 0, NULL); /* its handler may still be reading */
	else
		conn_abort(c);
}

void conn_pump(struct conn *c)
{
	if (c->pumping || c->dead || c->lingering)
		return;
	c->pumping = true;
	/* Input first: a body that is there already needs no 100. */
	while (!c->dead && (feed(c) || drain(c)))
		;
	c->pumping = false;
	if (c->dead)
		return;
	if (c->direct.n > 0 && buf_append(&c->in, c->direct.p, c->direct.n) < 0) {
		conn_abort(c);
		return;
	}
	c->direct = (struct slice){ NULL, 0 };
	flush(c);
	if (c->dead || c->lingering)
		return;
	close_if_over(c);
	update_recv(c);
	if (!c->dead)
		conn_await(c);
}

static void take_bytes(struct conn *c, struct slice s)
{
	int rc = 0;

	metric_add(c->home->metrics, METRIC_BYTES_IN, (int64_t)s.n);
	if (c->lingering)
		return; /* for a time, not up to a size: many clients read no reply before they have sent all */
	if (c->filter)
		rc = c->filter->ops->in(c->filter, s, &c->in, &c->answer);
	else if (c->in.n > 0)
		rc = buf_append(&c->in, s.p, s.n);
	else
		c->direct = s;
	if (rc < 0)
		conn_abort(c);
	else
		conn_pump(c);
}

/* A FIN: when it does not come right behind the request, nobody may be waiting any more.  By when it came at the
 * earliest: a loop that was held meanwhile reads it late. */
static void cancel_if_late(struct conn *c)
{
	if (conn_stream(c)->req && !c->request_open && c->home->loop->heard_ns > c->request_ns + HALF_CLOSE_NS)
		dispatch_cancel(c->home->dispatch, conn_stream(c));
}

static void on_fin(struct conn *c)
{
	c->eof = true;
	if (c->lingering) {
		conn_close(c);
		return;
	}
	cancel_if_late(c);
	conn_pump(c);
	if (!c->dead)
		close_if_over(c);
}

static void on_received(struct loop_io *io, int res, const struct loop_buf *buf, bool more)
{
	struct conn *c = container_of(io, struct conn, io);

	if (res > 0) {
		take_bytes(c, (struct slice){ buf->p, (size_t)res });
		loop_lend_back(c->home->loop, buf);
		if (!more && !c->dead && !c->pumping)
			update_recv(c);
	} else if (res == 0) {
		on_fin(c);
	} else if (res == -ECANCELED) {
		update_recv(c); /* it may be wanted again by now */
	} else {
		conn_abort(c);
	}
}

/* While receiving is paused. */
static void on_hung_up(struct loop_io *io, int res)
{
	struct conn *c = container_of(io, struct conn, io);

	if (res == -ECANCELED && c->paused)
		(void)loop_poll_hup(&c->io); /* stopped at the end of one pause, and there is another by now */
	if (res < 0)
		return;
	if (res & (POLLHUP | POLLERR))
		conn_abort(c);
	else
		cancel_if_late(c);
}

/* ---- what dispatch calls ----------------------------------------------------------------------------------------- */

static void reply_ready(struct stream *s)
{
	conn_pump(conn_of(s));
}

static void want_body(struct stream *s)
{
	struct conn *c = conn_of(s);

	conn_body_awaited(c);
	c->proto->ops->resume(c->proto, s);
	conn_pump(c);
}

static void reset(struct stream *s)
{
	conn_abort(conn_of(s));
}

static bool is_sending(const struct stream *s)
{
	return conn_sending(container_of(s, const struct conn, http1.stream));
}

static const struct stream_ops stream_ops = {
	.reply_ready = reply_ready,
	.want_body = want_body,
	.is_sending = is_sending,
	.reset = reset,
	.lend = conn_lend,
	.send_own = conn_send_own,
	.unlend = conn_unlend,
	.own_sent = conn_own_sent,
};

static const struct loop_io_ops io_ops = {
	.received = on_received,
	.sent = on_sent,
	.hung_up = on_hung_up,
	.released = on_released,
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

int conn_open(struct conn_home *h, int fd)
{
	struct conn *c = conn_new(h);

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->home = h;
	c->held_up = watch_held_up(h->dispatch->watch);
	loop_io_init(&c->io, h->loop, fd, &io_ops);
	http1_init(&c->http1, &h->http1);
	c->proto = &c->http1.proto;
	c->http1.stream.ops = &stream_ops;
	c->http1.stream.peer = &c->peer;
	c->filter = h->new_filter ? h->new_filter(h, fd) : NULL;
	conn_timer_init(c);
	list_init(&c->node);
	h->nconns++;
	metric_add(h->metrics, METRIC_ACCEPTED, 1);
	metric_set(h->metrics, METRIC_CONNECTIONS, h->nconns);
	conn_await(c);
	if ((h->new_filter && !c->filter) || loop_recv(&c->io) < 0)
		conn_abort(c);
	return 0;
}
