/* loop.c: the part of the event loop that does not depend on how the kernel is asked.
 *
 * A turn: before_wait, another try for operations that could not go on, the backend's wait, which submits, sleeps and
 * runs completions, then messages from other threads (at most 64), timers, and last what is due: `released`, and the
 * end of operations that were stopped while nothing of theirs was in flight.  So what a sleep was ended by has run with
 * the turn.
 *
 * The inbox is a stack whose head is NULL, LOOP_ARMED or the newest message (Treiber, 1986).  Before it sleeps the loop
 * replaces NULL by ARMED, and does not sleep if it cannot; the one thread that replaces ARMED by its message wakes the
 * loop.  Every change is to the one word, so its modification order alone rules out a lost wake-up: a message is either
 * seen by the loop's exchange, or put on a head that was ARMED.  The loop takes the whole stack and turns it round, so
 * each thread's messages run in the order it posted them.
 *
 * An operation is `armed` from its start until its last callback.  Meanwhile it is in flight (counted in io->inflight),
 * or parked: a receive that found no buffer, on `starved`, and an accept that found no room for a descriptor, on
 * `resting`.  io->node is linked exactly while an operation is parked or something is due, so a parked operation can be
 * ended here.  An operation that the kernel ended early, as a multishot is when the completion queue overflows, is
 * started again without its owner's noticing.  After loop_close every completion only counts down; at 0, and when it is
 * lent to nobody, the descriptor is closed (only then, so that nothing submitted can meet a successor of that number)
 * and `released` is due at the end of the turn.
 *
 * All of it runs on the loop's thread but loop_post and loop_sleeps.  It knows nothing of HTTP, and does not decide who
 * may open what.
 */
#include "loop_backend.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define MESSAGES_PER_TURN 64
#define REST_NS (100 * NS_PER_MS)

const uint64_t loop_lag_ns[LOOP_LAGS] = { 100 * NS_PER_US, NS_PER_MS, 2500 * NS_PER_US, 5 * NS_PER_MS, 10 * NS_PER_MS,
	25 * NS_PER_MS, 50 * NS_PER_MS, 100 * NS_PER_MS, 250 * NS_PER_MS, 500 * NS_PER_MS, NS_PER_S,
	2500 * NS_PER_MS, 5 * NS_PER_S, NEVER };

void loop_init(struct loop *l, const struct loop_backend *backend)
{
	l->backend = backend;
	list_init(&l->starved);
	list_init(&l->resting);
	list_init(&l->due);
	l->rest_ns = NEVER;
	l->mark_ns = loop_clock(l);
	wheel_init(&l->wheel, l->now_ns);
}

struct loop_conf loop_conf_full(const struct loop_conf *conf)
{
	struct loop_conf full = conf ? *conf : (struct loop_conf){ .recv_bufs = 0 };

	if (full.recv_bufs == 0)
		full.recv_bufs = 64;
	if (full.recv_bufs_max == 0)
		full.recv_bufs_max = 1024;
	if (full.recv_bufs_max > 32768)         /* what a ring of provided buffers can hold */
		full.recv_bufs_max = 32768;
	if (full.recv_bufs > full.recv_bufs_max)
		full.recv_bufs = full.recv_bufs_max;
	if (full.recv_buf_size == 0)
		full.recv_buf_size = 4096;
	return full;
}

void loop_set_nonblocking(int fd, bool nonblocking)
{
	int mode = fcntl(fd, F_GETFL);

	if (mode >= 0 && !(mode & O_NONBLOCK) == nonblocking)
		(void)fcntl(fd, F_SETFL, mode ^ O_NONBLOCK);
}

void loop_free(struct loop *l)
{
	if (l)
		l->backend->free(l);
}

uint64_t loop_clock(struct loop *l)
{
	return l->now_ns = l->backend->clock ? l->backend->clock(l) : clock_now_ns();
}

/* Relaxed, here and below: figures that are each read for their own sake. */
static void count_turn(struct loop *l, uint64_t ns)
{
	unsigned i = 0;

	while (ns > loop_lag_ns[i])
		i++;
	counter_add(&l->count.lag[i], 1);
	counter_add(&l->count.busy_ns, ns);
}

uint64_t loop_wait_begins(struct loop *l)
{
	uint64_t now = loop_clock(l);

	count_turn(l, now - l->mark_ns);
	atomic_store_explicit(&l->count.since, now | 1, memory_order_relaxed);
	return now;
}

/* What comes in a sleep ends it; what a wait finds at once may have come while the loop worked, since the last one. */
void loop_wait_ended(struct loop *l, uint64_t began_ns)
{
	uint64_t now = loop_clock(l);

	l->heard_ns = now - began_ns < NS_PER_MS ? l->mark_ns : now;
	l->mark_ns = now;
	counter_add(&l->count.idle_ns, l->mark_ns - began_ns);
	atomic_store_explicit(&l->count.since, l->mark_ns & ~UINT64_C(1), memory_order_relaxed);
}

void loop_load(const struct loop *l, uint64_t now_ns, uint64_t *busy_ns, uint64_t *idle_ns)
{
	uint64_t since = counter_read(&l->count.since);
	uint64_t more = since > 0 && now_ns > since ? now_ns - since : 0;

	*busy_ns = counter_read(&l->count.busy_ns) + (since & 1 ? 0 : more);
	*idle_ns = counter_read(&l->count.idle_ns) + (since & 1 ? more : 0);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

void loop_post(struct loop *l, struct loop_msg *m)
{
	/* relaxed: the exchange below decides whether it still holds */
	struct loop_msg *head = atomic_load_explicit(&l->inbox, memory_order_relaxed);

	do {
		m->next = head == LOOP_ARMED ? NULL : head;
		/* release: what m refers to is written before the loop can see m */
	} while (!atomic_compare_exchange_weak_explicit(
		&l->inbox, &head, m, memory_order_release, memory_order_relaxed));
	if (head == LOOP_ARMED)
		l->backend->wake(l);
}

bool loop_sleeps(const struct loop *l)
{
	/* Relaxed: it may have changed by the time it is told. */
	return atomic_load_explicit(&l->inbox, memory_order_relaxed) == LOOP_ARMED;
}

/* Takes all there is, oldest first. */
static struct loop_msg *take_inbox(struct loop *l, bool slept)
{
	struct loop_msg *m, *next, *in_order = NULL;

	/* relaxed: a glance, so that a turn without messages writes nothing */
	if (atomic_load_explicit(&l->inbox, memory_order_relaxed) == NULL)
		return NULL;
	/* acquire: pairs with loop_post's release */
	m = atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire);
	if (m == LOOP_ARMED)
		return NULL;
	if (slept)
		counter_add(&l->count.wakes, 1);
	for (; m; m = next) {
		next = m->next;
		m->next = in_order;
		in_order = m;
	}
	return in_order;
}

static void run_messages(struct loop *l)
{
	struct loop_msg *m;

	for (int i = 0; i < MESSAGES_PER_TURN && (m = l->todo); i++) {
		l->todo = m->next;
		m->fn(m);
	}
}

void loop_run_late(struct loop *l)
{
	do {
		run_messages(l);
		if (!l->todo)
			l->todo = take_inbox(l, false);
	} while (l->todo);
}

/* Announces that the loop is about to sleep; false when a message has come. */
static bool arm_inbox(struct loop *l)
{
	struct loop_msg *none = NULL;

	/* relaxed: nothing is published with it, and loop_post learns all it needs from the word itself */
	return atomic_compare_exchange_strong_explicit(&l->inbox, &none, LOOP_ARMED, memory_order_relaxed,
		memory_order_relaxed);
}

/* ---- operations that could not go on ----------------------------------------------------------------------------- */

static void park(struct loop *l, struct loop_io *io, unsigned op)
{
	list_push_back(op == LOOP_RECV ? &l->starved : &l->resting, &io->node);
}

/* Puts an armed operation back into the kernel's hands; when even that fails it waits its turn. */
static void start_again(struct loop_io *io, unsigned op)
{
	struct loop *l = io->loop;
	int rc = op == LOOP_RECV ? l->backend->recv(l, io) : l->backend->accept(l, io);

	if (rc == 0) {
		io->inflight++;
		return;
	}
	if (op == LOOP_ACCEPT)
		l->rest_ns = l->now_ns + REST_NS;
	park(l, io, op);
}

static void retry_accepts(struct loop *l)
{
	struct list ready;
	struct list *node;

	if (l->rest_ns > l->now_ns)
		return;
	l->rest_ns = NEVER;
	list_init(&ready);
	list_splice(&ready, &l->resting);
	while ((node = list_pop(&ready)))
		start_again(container_of(node, struct loop_io, node), LOOP_ACCEPT);
}

/* As many receives as there are buffers.  True when more could be tried once those have shown whether they take one. */
static bool retry_starved(struct loop *l)
{
	unsigned n = l->bufs_free;
	struct list *node;

	if (n == 0)
		return false;
	while (n-- && (node = list_pop(&l->starved)))
		start_again(container_of(node, struct loop_io, node), LOOP_RECV);
	return !list_empty(&l->starved);
}

/* To be asked whenever one of these may have become true: nothing is in flight any more, and fd is nobody else's. */
static void finish_close(struct loop_io *io)
{
	struct loop *l = io->loop;

	if (!io->closing || io->inflight > 0 || io->lent)
		return;
	if (io->fd >= 0) {
		close(io->fd);
		io->fd = -1;
		l->rest_ns = list_empty(&l->resting) ? NEVER : 0;
	}
	list_push_back(&l->due, &io->node);
}

static void finished(struct loop_io *io, unsigned op)
{
	io->armed &= (uint8_t)~op;
	io->stopping &= (uint8_t)~op;
}

/* res: the last connection, or why there are no more. */
static void finish_accept(struct loop_io *io, int res)
{
	finished(io, LOOP_ACCEPT);
	io->ops->accepted(io, res, false);
}

static void finish_recv(struct loop_io *io, int res)
{
	finished(io, LOOP_RECV);
	io->ops->received(io, res, NULL, false);
}

static void run_due(struct loop *l)
{
	struct list batch;
	struct list *node;

	if (list_empty(&l->due))
		return;
	list_init(&batch);
	list_splice(&batch, &l->due);
	while ((node = list_pop(&batch))) {
		struct loop_io *io = container_of(node, struct loop_io, node);

		if (io->closing)
			io->ops->released(io);
		else if (io->armed & LOOP_RECV)
			finish_recv(io, -ECANCELED);
		else
			finish_accept(io, -ECANCELED);
	}
}

/* ---- the turn ---------------------------------------------------------------------------------------------------- */

int loop_turn(struct loop *l, uint64_t deadline_ns)
{
	bool pending, armed;
	uint64_t next;
	int rc;

	counter_add(&l->count.turns, 1);
	if (l->before_wait)
		l->before_wait(l);
	retry_accepts(l);
	pending = retry_starved(l);
	pending |= l->todo || l->stopping || !list_empty(&l->due);

	next = wheel_next(&l->wheel);
	if (next > l->rest_ns)
		next = l->rest_ns;
	if (deadline_ns > next)
		deadline_ns = next;
	armed = !pending && deadline_ns > l->now_ns && arm_inbox(l);
	rc = l->backend->wait(l, armed ? deadline_ns : 0);
	if (!l->todo)
		l->todo = take_inbox(l, armed);
	run_messages(l);
	wheel_run(&l->wheel, l->now_ns);
	run_due(l);
	return rc;
}

int loop_run(struct loop *l)
{
	int rc = 0;

	l->mark_ns = loop_clock(l);     /* until now it did not work, it was made */
	while (!l->stopping && rc == 0)
		rc = loop_turn(l, NEVER);
	l->stopping = false;
	return rc;
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
}

/* ---- what owners call -------------------------------------------------------------------------------------------- */

void loop_io_init(struct loop_io *io, struct loop *l, int fd, const struct loop_io_ops *ops)
{
	assert(((uintptr_t)io & 15) == 0);
	*io = (struct loop_io){ .loop = l, .ops = ops, .fd = fd };
	list_init(&io->node);
}

/* Whether op may be started; it is armed then. */
static int begin(struct loop_io *io, unsigned op)
{
	if (io->closing)
		return -EBADF;
	if (io->armed & op)
		return -EALREADY;
	io->armed |= (uint8_t)op;
	return 0;
}

/* The backend's word on that: counted when it took it, else forgotten. */
static int began(struct loop_io *io, unsigned op, int rc)
{
	if (rc == 0)
		io->inflight++;
	else
		io->armed &= (uint8_t)~op;
	return rc;
}

static int start_accept(struct loop_io *io, bool one)
{
	int rc = begin(io, LOOP_ACCEPT);

	if (rc)
		return rc;
	io->one = one;
	return began(io, LOOP_ACCEPT, io->loop->backend->accept(io->loop, io));
}

int loop_accept(struct loop_io *io)
{
	return start_accept(io, false);
}

int loop_accept_one(struct loop_io *io)
{
	return start_accept(io, true);
}

int loop_recv(struct loop_io *io)
{
	int rc = begin(io, LOOP_RECV);

	return rc ? rc : began(io, LOOP_RECV, io->loop->backend->recv(io->loop, io));
}

int loop_send(struct loop_io *io, const struct msghdr *msg)
{
	int rc = begin(io, LOOP_SEND);

	return rc ? rc : began(io, LOOP_SEND, io->loop->backend->send(io->loop, io, msg));
}

int loop_poll_hup(struct loop_io *io)
{
	int rc = begin(io, LOOP_HUP);

	return rc ? rc : began(io, LOOP_HUP, io->loop->backend->poll_hup(io->loop, io));
}

int loop_connect(struct loop_io *io, const struct sockaddr *sa, socklen_t n)
{
	int rc = begin(io, LOOP_CONNECT);

	return rc ? rc : began(io, LOOP_CONNECT, io->loop->backend->connect(io->loop, io, sa, n));
}

void loop_recv_stop(struct loop_io *io)
{
	loop_stop_ops(io, LOOP_RECV);
}

void loop_stop_ops(struct loop_io *io, unsigned ops)
{
	struct loop *l = io->loop;

	ops &= io->armed & ~(unsigned)io->stopping;
	if (io->closing || ops == 0)
		return;
	io->stopping |= (uint8_t)ops;
	if (loop_parked(io) && (ops & (LOOP_RECV | LOOP_ACCEPT))) {
		list_del(&io->node);
		list_push_back(&l->due, &io->node);
		ops &= ~(unsigned)(LOOP_RECV | LOOP_ACCEPT);
	}
	if (ops)
		l->backend->stop(l, io, ops);
}

void loop_close(struct loop_io *io)
{
	assert(!io->closing);
	io->closing = true;
	if (loop_parked(io)) {
		list_del(&io->node);
		io->armed &= (uint8_t)~(LOOP_RECV | LOOP_ACCEPT);
	}
	io->loop->backend->close(io->loop, io);
	finish_close(io);
}

void loop_lend(struct loop_io *io)
{
	assert(!io->lent && !io->closing);
	io->lent = true;
}

void loop_unlend(struct loop_io *io)
{
	assert(io->lent);
	io->lent = false;
	finish_close(io);
}

void loop_lend_back(struct loop *l, const struct loop_buf *buf)
{
	l->backend->lend_back(l, buf->id);
}

/* ---- what backends call ------------------------------------------------------------------------------------------ */

void loop_settled(struct loop_io *io)
{
	assert(io->inflight > 0);
	io->inflight--;
	finish_close(io);
}

/* The kernel has ended op although neither its owner nor the peer asked for that. */
static void ended_early(struct loop_io *io, unsigned op)
{
	if (!(io->stopping & op))
		start_again(io, op);
	else if (op == LOOP_RECV)
		finish_recv(io, -ECANCELED);
	else
		finish_accept(io, -ECANCELED);
}

static void rest(struct loop_io *io, int res)
{
	struct loop *l = io->loop;

	l->rest_ns = l->now_ns + REST_NS;
	park(l, io, LOOP_ACCEPT);
	if (!l->table_full) {
		l->table_full = true;
		io->ops->accepted(io, res, true);
	}
}

/* Errors of accept(2) that are about one client, or the network, and not about the listener. */
static bool passing(int res)
{
	switch (-res) {
	case ECONNABORTED: case EPERM: case EINTR: case ENETDOWN: case EPROTO: case ENOPROTOOPT: case EHOSTDOWN:
	case ENONET: case EHOSTUNREACH: case ENETUNREACH: case ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

void loop_accepted(struct loop_io *io, int res, bool more)
{
	if (io->closing) {
		if (res >= 0)
			close(res);
		if (!more)
			loop_settled(io);
		return;
	}
	io->inflight -= !more;
	if (res >= 0) {
		io->loop->table_full = false;
		if (io->one) {
			finish_accept(io, res);
			return;
		}
		io->ops->accepted(io, res, true);
		if (!more && !io->closing)
			ended_early(io, LOOP_ACCEPT);
	} else if (more) {
		return;         /* one client's error, and the kernel goes on */
	} else if (passing(res)) {
		ended_early(io, LOOP_ACCEPT);
	} else if (res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM) {
		if (io->stopping & LOOP_ACCEPT)
			finish_accept(io, -ECANCELED);
		else
			rest(io, res);
	} else {
		finish_accept(io, res);
	}
}

void loop_received(struct loop_io *io, int res, const struct loop_buf *buf, bool more)
{
	struct loop *l = io->loop;

	if (io->closing) {
		if (res > 0)
			loop_lend_back(l, buf);
		if (!more)
			loop_settled(io);
		return;
	}
	io->inflight -= !more;
	if (res > 0) {
		io->ops->received(io, res, buf, true);
		if (!more && !io->closing)
			ended_early(io, LOOP_RECV);
	} else if (res == -ENOBUFS) {
		counter_add(&l->count.starved, 1);
		if (io->stopping & LOOP_RECV)
			finish_recv(io, -ECANCELED);
		else
			park(l, io, LOOP_RECV);
	} else {
		finish_recv(io, res);
	}
}

void loop_sent(struct loop_io *io, int res)
{
	if (io->closing) {
		loop_settled(io);
		return;
	}
	io->inflight--;
	finished(io, LOOP_SEND);
	io->ops->sent(io, res);
}

void loop_hung_up(struct loop_io *io, int res)
{
	if (io->closing) {
		loop_settled(io);
		return;
	}
	io->inflight--;
	finished(io, LOOP_HUP);
	io->ops->hung_up(io, res);
}

void loop_connected(struct loop_io *io, int res)
{
	if (io->closing) {
		loop_settled(io);
		return;
	}
	io->inflight--;
	finished(io, LOOP_CONNECT);
	io->ops->connected(io, res);
}
