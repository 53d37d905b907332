/* events.c: server-sent events (the HTML standard, §9.2): ol_events and ol_event.
 *
 * An event stream is a streamed reply (stream.c) of which the lines are written here.  It is committed at once, so that
 * the client hears that it is connected before the first event has come.
 *
 * A stream that is silent gets a comment now and then, so that proxies keep it, and so that a client that has gone
 * without a word is noticed: its kernel answers the comment with a reset.  The loop sends them by itself, whatever the
 * handler is doing: one timer a stream, armed when the loop first hears of it, looks how long ago bytes were last taken
 * from the pipe.  It puts a comment only where one event has ended and the next has not begun (the pipe is held in
 * between) and nothing is on its way; a client that is behind needs none.
 *
 * Lines are written piece by piece where they will be sent from, so an event of any size takes no memory of its own.
 * When memory runs out in the midst of one the stream is broken off: another event behind half of one would be read as
 * the rest of it.
 *
 * ol_events and ol_event run on the handler's thread, everything about the timer on the loop's.
 */
#include "dispatch.h"
#include "lane.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COMMENT SLICE(":\n\n")

struct events {
	struct ol_req *r;
	struct timer timer;
};

/* ---- comments ---------------------------------------------------------------------------------------------------- */

static uint64_t silence_ns(const struct ol_req *r)
{
	return r->home->shared->config->events_keepalive_ms * NS_PER_MS;
}

static void on_timer(struct timer *t)
{
	struct ol_req *r = container_of(t, struct events, timer)->r;
	struct loop *l = r->home->loop;
	uint64_t due = r->out->moved_ns + silence_ns(r);
	bool silent = l->now_ns >= due;

	if (!r->stream || r->state == EXCHANGE_DONE)
		return; /* the stream is over, or will be once all has been sent */
	wheel_add(&l->wheel, t, silent ? l->now_ns + silence_ns(r) : due);
	if (silent && !r->stream->ops->is_sending(r->stream) && pipe_interject(r->out, COMMENT))
		r->stream->ops->reply_ready(r->stream);
}

void events_begun(struct ol_req *r)
{
	struct loop *l = r->home->loop;

	if (silence_ns(r) > 0 && r->state != EXCHANGE_DONE && !timer_armed(&r->events->timer))
		wheel_add(&l->wheel, &r->events->timer, l->now_ns + silence_ns(r));
}

void events_fini(struct ol_req *r)
{
	if (r->events)
		wheel_del(&r->home->loop->wheel, &r->events->timer);
	r->events = NULL;
}

/* ---- the stream -------------------------------------------------------------------------------------------------- */

static int begin(struct ol_req *r)
{
	struct events *ev = arena_alloc(&r->arena, sizeof(*ev));
	int rc = ev ? ol_stream(r, 200, "text/event-stream") : -ENOMEM;

	rc = rc < 0 ? rc : ol_header_set(r, "Cache-Control", "no-cache");
	rc = rc < 0 ? rc : ol_header_set(r, "X-Accel-Buffering", "no"); /* what nginx heeds */
	if (rc < 0)
		return rc;
	ev->r = r;
	timer_init(&ev->timer, on_timer);
	r->events = ev;
	return 0;
}

int ol_events(ol_req *r, int retry_ms)
{
	char line[32];
	int rc, n;

	OWNS(r);
	if (retry_ms < 0)
		return -EINVAL;
	if (!r->park)
		return -EDEADLK;
	rc = begin(r);
	if (rc == 0 && r->endpoint->lane)
		lane_streams(r->endpoint->lane);
	if (rc < 0 || !stream_has_content(r))
		return rc;
	rc = stream_commit(r);
	n = retry_ms > 0 ? snprintf(line, sizeof(line), "retry: %d\n\n", retry_ms) : 0;
	if (rc == 0 && n > 0)
		rc = pipe_write(r->out, r->park, line, (size_t)n);
	else if (rc == 0)
		pipe_tell(r->out); /* of the head */
	return rc;
}

/* ---- an event ---------------------------------------------------------------------------------------------------- */

static int put_line(struct ol_req *r, struct slice name, struct slice value)
{
	struct slice line[] = { name, value, SLICE("\n") };

	return pipe_writev(r->out, r->park, line, 3);
}

/* A line for each of data's: they end in LF, CR LF or CR, and the client puts LF between them again. */
static int put_data(struct ol_req *r, const char *data)
{
	int rc;

	do {
		size_t n = strcspn(data, "\r\n");

		rc = put_line(r, SLICE("data: "), (struct slice){ data, n });
		data += n;
		if (*data == '\0')
			return rc;
		data += data[0] == '\r' && data[1] == '\n' ? 2 : 1;
	} while (rc == 0);
	return rc;
}

static int put_event(struct ol_req *r, const char *event, const char *id, const char *data)
{
	int rc = 0;

	if (event)
		rc = put_line(r, SLICE("event: "), slice_of(event));
	if (rc == 0 && id)
		rc = put_line(r, SLICE("id: "), slice_of(id));
	if (rc == 0)
		rc = put_data(r, data);
	return rc < 0 ? rc : pipe_write(r->out, r->park, "\n", 1);
}

static bool is_line(const char *s)
{
	return !s || s[strcspn(s, "\r\n")] == '\0';
}

int ol_event(ol_req *r, const char *event, const char *id, const char *data)
{
	int rc;

	OWNS(r);
	if (r->sealed)
		return -EALREADY;
	if (!r->streaming || !r->events || !data || !is_line(event) || !is_line(id))
		return -EINVAL;
	if (!stream_has_content(r))
		return stream_write_nothing(r, strlen(data));
	rc = stream_commit(r); /* it has failed in ol_events if nobody waits */
	if (rc < 0)
		return rc;
	pipe_hold(r->out);
	rc = put_event(r, event, id, data);
	if (rc == -ENOMEM)
		pipe_end(r->out, rc);
	pipe_tell(r->out);
	return rc;
}
