/* conn_lend.c: a connection of which a worker sends the reply: lent, sent on, and booked.
 *
 * dispatch_lend.c says when that is done and why it is safe.  A connection can be lent when it has nothing to send, no
 * filter that would have to see the bytes, and a protocol that can tell beforehand that all of what comes next is the
 * stream's reply.  Nothing of it changes then what a reply looks like but the start of a drain, which is an atomic: a
 * reply may miss it by a moment, as one that has just been sent does.
 *
 * The worker writes the text on its stack and sends a copy in the exchange's arena, so that what the kernel does not
 * take is still there when the loop sends it; the send does not wait.  The date is its thread's own.
 *
 * Back on the loop the protocol is told that the reply has been written, and the connection goes on as after a send of
 * its own; of one that is not out yet the rest is sent, as bytes that are borrowed from the exchange.
 *
 * conn_send_own on the worker, and there nothing else of the connection is written; the rest on the loop's thread.
 */
#include "conn_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define OWN_MAX ((size_t)2048)  /* a reply that is longer is sent by the loop */

bool conn_lend(struct stream *s)
{
	struct conn *c = conn_of(s);

	if (c->filter || c->out || conn_sending(c) || c->dead || !c->proto->ops->can_lend(c->proto))
		return false;
	loop_lend(&c->io);
	return true;
}

void conn_unlend(struct stream *s)
{
	loop_unlend(&conn_of(s)->io);
}

/* ---- on the worker ----------------------------------------------------------------------------------------------- */

static const char *date_text(void)
{
	static _Thread_local struct http_date date;

	return http_date_text(&date, clock_now_ns());
}

/* What the kernel takes at once; nothing where that is an error, which the loop's own send will meet again. */
static size_t send_now(int fd, const char *p, size_t n)
{
	ssize_t sent;

	do
		sent = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent > 0 ? (size_t)sent : 0;
}

void conn_send_own(struct stream *s, const struct reply *r, struct arena *arena, struct own_send *o)
{
	struct conn *c = conn_of(s);
	char text[OWN_MAX], *kept;
	size_t n = c->proto->ops->write(c->proto, r, date_text(), text, sizeof(text), &o->close);

	if (n == 0 || !(kept = arena_alloc(arena, n)))
		return;
	memcpy(kept, text, n);
	o->sent = send_now(c->io.fd, kept, n);
	o->rest = (struct slice){ kept + o->sent, n - o->sent };
}

/* ---- back on the loop -------------------------------------------------------------------------------------------- */

static int take_rest(struct conn *c, struct slice rest)
{
	struct conn_out *o = conn_take_out(c);

	if (!o)
		return -ENOMEM;
	o->iov[0] = (struct iovec){ (void *)(uintptr_t)rest.p, rest.n };
	o->po.niov = 1;
	o->po.bytes = rest.n;
	o->po.borrowed = true;
	o->stream = conn_stream(c);
	return 0;
}

void conn_own_sent(struct stream *s, const struct own_send *o)
{
	struct conn *c = conn_of(s);

	c->proto->ops->written(c->proto, o->close);
	c->closing_reply = o->close;
	metric_add(c->home->metrics, METRIC_BYTES_OUT, (int64_t)o->sent);
	if (o->rest.n == 0)
		conn_end_stream(c, s);
	else if (take_rest(c, o->rest) < 0)
		conn_abort(c);
	conn_pump(c);
}
