/* pipe.c: bytes between a loop and a handler.
 *
 * A streamed reply is a pipe that the handler writes and the loop lends to the protocol as iovecs; a streamed request
 * body is a pipe that the loop pushes into and the handler reads.  The handler's side waits by its park, so it may be a
 * fiber on the loop itself or a worker thread; the loop's side never waits.  All state is under one mutex that is held
 * for a copy of at most one block or for pointer work.
 *
 * Telling the loop costs an eventfd write when it sleeps, so it is told once: `told` is set by the side that tells and
 * is only cleared by the loop when it finds nothing left to do (lend finds no byte, or push finds the pipe full).
 * While bytes are on their way out, further writes cost no notice, and small writes leave together.
 *
 * A handler may also make its bytes where they are sent from: it reserves room in the last block, fills it without the
 * lock, and says how much there is.  Such a block (`filling`) is not freed, however much of it has been sent.  Who does
 * not want to wait for room goes away, and `refill` is called on the loop when there is some: all that makes room
 * happens there.
 *
 * Wakes are given under the lock, which the waiter takes before it goes on: so its park is alive.  A message to the
 * loop may still be on its way when a handler on the loop itself has ended: `posted` says so, and the exchange stays
 * until it has come.
 */
#include "pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)16 * 1024)
#define ROOM_MIN ((size_t)4096)     /* what is reserved is at least this much */

struct pipe_block {
	struct pipe_block *next;
	size_t off, n;      /* content is data[off .. n) */
	char data[BLOCK_SIZE - sizeof(void *) - 2 * sizeof(size_t)];
};

static int lend(struct body_source *src, struct iovec *iov, unsigned *n, size_t budget);
static void taken(struct body_source *src, size_t bytes);

static void on_message(struct loop_msg *m)
{
	struct pipe *p = container_of(m, struct pipe, msg);

	pthread_mutex_lock(&p->lock);
	p->posted = false;
	pthread_mutex_unlock(&p->lock);
	p->ready(p);
}

void pipe_init(struct pipe *p, struct loop *l, void *owner, void (*ready)(struct pipe *p_))
{
	memset(p, 0, sizeof(*p));
	p->source = (struct body_source){ lend, taken };
	pthread_mutex_init(&p->lock, NULL);
	p->owner = owner;
	p->loop = l;
	p->msg.fn = on_message;
	p->ready = ready;
	p->asked = true;
}

void pipe_fini(struct pipe *p)
{
	while (p->head) {
		struct pipe_block *b = p->head;

		p->head = b->next;
		free(b);
	}
	pthread_mutex_destroy(&p->lock);
}

/* The last block, or a new one behind it, with at least `least` bytes of room; NULL without memory.  Locked. */
static struct pipe_block *roomy_tail(struct pipe *p, size_t least)
{
	struct pipe_block *b = p->tail;

	if (b && sizeof(b->data) - b->n >= least)
		return b;
	b = malloc(sizeof(*b));
	if (!b)
		return NULL;
	b->next = NULL;
	b->off = b->n = 0;
	if (p->tail)
		p->tail->next = b;
	else
		p->head = b;
	p->tail = b;
	return b;
}

/* Copies as much of src as fits the last block, or a new one: the bytes taken, 0 without memory. */
static size_t append(struct pipe *p, const char *src, size_t n)
{
	struct pipe_block *b = roomy_tail(p, 1);
	size_t room;

	if (!b)
		return 0;
	room = sizeof(b->data) - b->n;
	if (n > room)
		n = room;
	memcpy(b->data + b->n, src, n);
	b->n += n;
	p->bytes += n;
	return n;
}

/* Drops n bytes at the front. */
static void consume(struct pipe *p, size_t n)
{
	p->bytes -= n;
	while (n > 0) {
		struct pipe_block *b = p->head;
		size_t have = b->n - b->off;

		if (n < have) {
			b->off += n;
			return;
		}
		n -= have;
		if (b == p->filling) { /* the last one */
			b->off = b->n;
			return;
		}
		p->head = b->next;
		if (!p->head)
			p->tail = NULL;
		free(b);
	}
}

/* The loop will call ready.  Locked. */
static void tell_loop(struct pipe *p)
{
	if (p->told)
		return;
	p->told = true;
	if (p->posted)
		return; /* the message on its way says this too; it cannot be sent twice at once */
	p->posted = true;
	loop_post(p->loop, &p->msg);
}

/* Locked. */
static void wake_handler(struct pipe *p)
{
	if (p->waiting)
		park_wake(p->waiting);
}

/* Gives up the lock while the handler waits. */
static void wait_handler(struct pipe *p, struct park *w)
{
	p->waiting = w;
	pthread_mutex_unlock(&p->lock);
	(void)park_wait(w, NEVER); /* woken early or not, the caller looks again */
	pthread_mutex_lock(&p->lock);
	p->waiting = NULL;
}

/* Waits while the pipe is full: 0, or the error that broke it.  Locked. */
static int wait_room(struct pipe *p, struct park *w)
{
	while (p->bytes >= PIPE_HIGH && !p->error) {
		if (p->held)
			tell_loop(p);
		wait_handler(p, w);
	}
	return p->error;
}

static int write_piece(struct pipe *p, struct park *w, const char *at, size_t n)
{
	while (n > 0) {
		int rc = wait_room(p, w);
		size_t took;

		if (rc < 0)
			return rc;
		took = append(p, at, n);
		if (took == 0)
			return -ENOMEM;
		at += took;
		n -= took;
		if (!p->held)
			tell_loop(p);
	}
	return 0;
}

/* A worker's handler may have to wait for the loop here; on the loop it would not. */
static void lock_handler(struct pipe *p, struct park *w)
{
	park_pauses(w, true);
	pthread_mutex_lock(&p->lock);
}

static void unlock_handler(struct pipe *p, struct park *w)
{
	pthread_mutex_unlock(&p->lock);
	park_pauses(w, false);
}

int pipe_writev(struct pipe *p, struct park *w, const struct slice *pieces, unsigned n)
{
	int rc = 0;

	lock_handler(p, w);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = write_piece(p, w, pieces[i].p, pieces[i].n);
	unlock_handler(p, w);
	return rc;
}

int pipe_write(struct pipe *p, struct park *w, const void *src, size_t n)
{
	return pipe_writev(p, w, &(struct slice){ src, n }, 1);
}

void pipe_hold(struct pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->held = true;
	pthread_mutex_unlock(&p->lock);
}

void pipe_tell(struct pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->held = false;
	tell_loop(p);
	pthread_mutex_unlock(&p->lock);
}

ssize_t pipe_reserve(struct pipe *p, struct park *w, void **room)
{
	struct pipe_block *b = NULL;
	ssize_t rc;

	pthread_mutex_lock(&p->lock);
	if (!w && p->bytes >= PIPE_HIGH && !p->error) {
		p->left = true;
		rc = -EAGAIN;
	} else {
		rc = wait_room(p, w);
	}
	if (rc == 0) {
		b = p->filling = roomy_tail(p, ROOM_MIN);
		rc = b ? (ssize_t)(sizeof(b->data) - b->n) : -ENOMEM;
	}
	if (b)
		*room = b->data + b->n;
	pthread_mutex_unlock(&p->lock);
	return rc;
}

void pipe_added(struct pipe *p, size_t n)
{
	pthread_mutex_lock(&p->lock);
	p->filling->n += n;
	p->filling = NULL;
	p->bytes += n;
	if (n > 0)
		tell_loop(p);
	pthread_mutex_unlock(&p->lock);
}

ssize_t pipe_read(struct pipe *p, struct park *w, void *dst, size_t n)
{
	char *at = dst;
	size_t got = 0;
	ssize_t rc;

	if (n == 0)
		return 0;
	lock_handler(p, w);
	while (p->bytes == 0 && !p->ended) {
		if (!p->asked)
			tell_loop(p);
		p->asked = true;
		wait_handler(p, w);
	}
	while (got < n && p->bytes > 0) {
		struct pipe_block *b = p->head;
		size_t have = b->n - b->off, take = n - got < have ? n - got : have;

		memcpy(at + got, b->data + b->off, take);
		got += take;
		consume(p, take);
	}
	if (p->bytes < PIPE_LOW && !p->ended)
		tell_loop(p);
	rc = got > 0 ? (ssize_t)got : p->error;
	unlock_handler(p, w);
	return rc;
}

int pipe_push(struct pipe *p, const void *src, size_t n, bool *full)
{
	const char *at = src;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	while (n > 0 && !p->ended) {
		size_t took = append(p, at, n);

		if (took == 0) {
			rc = -ENOMEM;
			break;
		}
		at += took;
		n -= took;
	}
	*full = p->bytes >= PIPE_HIGH;
	p->told = !*full; /* only a full pipe has anything to tell: that there is room again */
	wake_handler(p);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

/* Unlocks, and calls back the handler that went away for want of room, if it is due. */
static void unlock_and_refill(struct pipe *p, bool due)
{
	bool refill = due && p->left;

	if (refill)
		p->left = false;
	pthread_mutex_unlock(&p->lock);
	if (refill)
		p->refill(p);
}

bool pipe_end(struct pipe *p, int error)
{
	bool first, proper;

	pthread_mutex_lock(&p->lock);
	first = !p->ended;
	if (first) {
		p->ended = true;
		p->error = error;
		wake_handler(p);
	}
	proper = p->error == 0;
	unlock_and_refill(p, first);
	return proper;
}

bool pipe_interject(struct pipe *p, struct slice text)
{
	bool did;

	pthread_mutex_lock(&p->lock);
	did = !p->held && !p->ended && p->bytes == 0 && append(p, text.p, text.n) > 0;
	if (did)
		p->told = true; /* the caller sees to it */
	pthread_mutex_unlock(&p->lock);
	return did;
}

static int lend(struct body_source *src, struct iovec *iov, unsigned *n, size_t budget)
{
	struct pipe *p = container_of(src, struct pipe, source);
	unsigned max = *n, k = 0;
	size_t skip, left = budget;
	int rc;

	pthread_mutex_lock(&p->lock);
	skip = p->lent;
	for (struct pipe_block *b = p->head; b && k < max && left > 0; b = b->next) {
		size_t have = b->n - b->off, take;

		if (skip >= have) {
			skip -= have;
			continue;
		}
		take = have - skip < left ? have - skip : left;
		iov[k].iov_base = b->data + b->off + skip;
		iov[k++].iov_len = take;
		p->lent += take;
		left -= take;
		skip = 0;
	}
	*n = k;
	if (p->error)
		rc = p->error;
	else if (p->ended && p->lent == p->bytes)
		rc = 0;
	else
		rc = 1;
	p->told = k > 0;    /* nothing found: the next write tells again */
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static void taken(struct body_source *src, size_t bytes)
{
	struct pipe *p = container_of(src, struct pipe, source);

	pthread_mutex_lock(&p->lock);
	p->lent -= bytes;
	p->total += bytes;
	p->moved_ns = p->loop->now_ns;
	consume(p, bytes);
	if (p->bytes < PIPE_LOW)
		wake_handler(p);
	unlock_and_refill(p, p->bytes < PIPE_LOW);
}
