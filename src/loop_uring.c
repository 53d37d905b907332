/* loop_uring.c: the loop on io_uring, the data plane of Linux 6.1 and later.
 *
 * One ring for each loop.  A turn is one io_uring_enter(2): it submits what was started, runs the kernel's deferred
 * work and sleeps until a completion or the deadline; then the completions that were there are dispatched by the
 * operation in the low four bits of their user_data, whose other bits are the address of the io.  No generation is
 * needed: an io is not released while anything submitted for it is outstanding, the cancellations included, and its
 * descriptor is closed only then.  So a peer sees its FIN at close even though close(2) alone, with a receive armed,
 * would not send one.
 *
 * Accept and receive are multishots; a shared listener is polled, and accepted from when it is ready: EPOLLEXCLUSIVE
 * lets a client wake the one that has waited longest, for each poll goes to the end of the kernel's list.  Receive
 * buffers are one reservation of address space, recv_bufs_max long, of which the ring of provided buffers holds the
 * first recv_bufs; a receive that finds it empty doubles that number up to the limit (memory is the kernel's to commit
 * when it writes), and beyond that starves, see loop.c.
 *
 * wake is a write to an eventfd that is never read: its multishot poll without IORING_POLL_ADD_LEVEL reports each
 * write.
 *
 * The ring is made disabled and enabled by the thread of the first turn, which IORING_SETUP_SINGLE_ISSUER then holds
 * to be the only one; the descriptor is registered with that thread to save a lookup in each call.  A full submission
 * queue is submitted in the middle of a turn: nothing that was started is lost.
 *
 * liburing 2.3 lacks io_uring_enable_rings and io_uring_setup_buf_ring in its shared object and knows no
 * IORING_ENTER_NO_IOWAIT; those calls are made here.  Built with WITHOUT_URING it only says that it is not there.
 */
#include "loop_backend.h"

#include <errno.h>
#include <stdlib.h>

#ifdef WITHOUT_URING

struct loop *loop_new_uring(const struct loop_conf *conf, const char **stage)
{
	(void)conf;
	if (stage)
		*stage = "built without io_uring";
	errno = ENOSYS;
	return NULL;
}

#else

#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SQ_ENTRIES 256u
#define CQ_ENTRIES 4096u
#define CQ_ENTRIES_MIN 512u
#define SEND_MAX ((size_t)1 << 30)              /* an SQE counts in 32 bits; a short count is allowed */
#define FEATURE_NO_IOWAIT (1u << 17)            /* IORING_FEAT_NO_IOWAIT, Linux 6.15 */
#define ENTER_NO_IOWAIT (1u << 7)               /* IORING_ENTER_NO_IOWAIT */

/* What a completion is for: the low bits of user_data. */
enum { UD_ACCEPT = 1, UD_RECV, UD_SEND, UD_HUP, UD_CONNECT, UD_CANCEL, UD_WAKE, UD_MASK = 15 };

struct uring {
	struct loop loop;
	struct io_uring ring;
	int enter_fd;
	unsigned enter_flags;                   /* IORING_ENTER_REGISTERED_RING once the thread is known */
	unsigned wait_flags;
	bool enabled;
	pthread_t thread;                       /* whose loop it is, when enabled */
	int wake_fd;
	struct io_uring_buf_ring *buf_ring;
	unsigned buf_mask;
	unsigned bufs, bufs_max, buf_size;
	char *buf_memory;
};

static struct uring *uring_of(struct loop *l)
{
	return container_of(l, struct uring, loop);
}

/* ---- entering the kernel ----------------------------------------------------------------------------------------- */

/* Makes what was prepared visible to the kernel; the number of entries it has not consumed. */
static unsigned publish(struct uring *u)
{
	struct io_uring_sq *sq = &u->ring.sq;

	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

static int enter(struct uring *u, unsigned min, unsigned flags, struct io_uring_getevents_arg *arg)
{
	return io_uring_enter2((unsigned)u->enter_fd, publish(u), min, flags | u->enter_flags, (sigset_t *)(void *)arg,
		arg ? sizeof(*arg) : 0);
}

/* Room for one more operation.  NULL only before the first turn, or when the kernel refuses to go on for good. */
static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	while (!sqe && u->enabled) {
		int rc = enter(u, 0, 0, NULL);

		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
			return NULL;
		if (rc < 0)     /* let it post what it holds back, or free memory */
			enter(u, 0, IORING_ENTER_GETEVENTS, NULL);
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe;
}

static struct io_uring_sqe *prepare(struct uring *u, unsigned op, int fd, const void *addr, size_t len, uint64_t off,
	struct loop_io *io, unsigned ud)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	if (!sqe)
		return NULL;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)op;
	sqe->fd = fd;
	sqe->addr = (uintptr_t)addr;
	sqe->len = (uint32_t)len;
	sqe->off = off;
	sqe->user_data = (uintptr_t)io | ud;
	return sqe;
}

/* ---- receive buffers --------------------------------------------------------------------------------------------- */

static void give_buffer(struct uring *u, uint32_t id)
{
	io_uring_buf_ring_add(u->buf_ring, u->buf_memory + (size_t)id * u->buf_size, u->buf_size, (unsigned short)id,
		(int)u->buf_mask, 0);
	io_uring_buf_ring_advance(u->buf_ring, 1);
	u->loop.bufs_free++;
}

static void grow_buffers(struct uring *u, unsigned to)
{
	if (to > u->bufs_max)
		to = u->bufs_max;
	while (u->bufs < to)
		give_buffer(u, u->bufs++);
}

static void uring_lend_back(struct loop *l, uint32_t id)
{
	give_buffer(uring_of(l), id);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static void set_poll_events(struct io_uring_sqe *sqe, uint32_t events)
{
#if __BYTE_ORDER == __BIG_ENDIAN
	events = events << 16 | events >> 16;   /* the field began as 16 bits wide */
#endif
	sqe->poll32_events = events;
}

/* The kernel wakes one only of all that have an accept armed on a socket, and should that one be busy, nobody takes the
 * client.  A poll wakes all of them, which costs each client as many wake-ups as there are loops at rest; where
 * somebody looks after clients who are left, it wakes one, too. */
static int accept_shared(struct uring *u, struct loop_io *io)
{
	struct io_uring_sqe *sqe;

	loop_set_nonblocking(io->fd, true);
	sqe = prepare(u, IORING_OP_POLL_ADD, io->fd, NULL, 0, 0, io, UD_ACCEPT);
	if (!sqe)
		return -EAGAIN;
	set_poll_events(sqe, io->exclusive ? POLLIN | EPOLLEXCLUSIVE : POLLIN);
	return 0;
}

static int uring_accept(struct loop *l, struct loop_io *io)
{
	struct io_uring_sqe *sqe;

	if (io->shared)
		return accept_shared(uring_of(l), io);
	/* io_uring takes O_NONBLOCK to mean that it must not wait for a client either */
	loop_set_nonblocking(io->fd, false);
	sqe = prepare(uring_of(l), IORING_OP_ACCEPT, io->fd, NULL, 0, 0, io, UD_ACCEPT);
	if (!sqe)
		return -EAGAIN;
	sqe->accept_flags = SOCK_CLOEXEC;
	sqe->ioprio = io->one ? 0 : IORING_ACCEPT_MULTISHOT;
	return 0;
}

static int uring_recv(struct loop *l, struct loop_io *io)
{
	struct io_uring_sqe *sqe = prepare(uring_of(l), IORING_OP_RECV, io->fd, NULL, 0, 0, io, UD_RECV);

	if (!sqe)
		return -EAGAIN;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	sqe->flags = IOSQE_BUFFER_SELECT;       /* of group 0 */
	return 0;
}

static int uring_send(struct loop *l, struct loop_io *io, const struct msghdr *msg)
{
	struct uring *u = uring_of(l);
	struct io_uring_sqe *sqe;

	if (msg->msg_iovlen == 1 && msg->msg_iov->iov_len <= SEND_MAX && !msg->msg_control)
		sqe = prepare(u, IORING_OP_SEND, io->fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len, 0, io, UD_SEND);
	else
		sqe = prepare(u, IORING_OP_SENDMSG, io->fd, msg, 1, 0, io, UD_SEND);
	if (!sqe)
		return -EAGAIN;
	sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
	return 0;
}

static int uring_poll_hup(struct loop *l, struct loop_io *io)
{
	struct io_uring_sqe *sqe = prepare(uring_of(l), IORING_OP_POLL_ADD, io->fd, NULL, 0, 0, io, UD_HUP);

	if (!sqe)
		return -EAGAIN;
	set_poll_events(sqe, POLLRDHUP);
	return 0;
}

/* The address is read when the operation is submitted, so it is kept until the completion. */
static int uring_connect(struct loop *l, struct loop_io *io, const struct sockaddr *sa, socklen_t n)
{
	void *copy = malloc(n);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, sa, n);
	loop_set_nonblocking(io->fd, false);
	if (!prepare(uring_of(l), IORING_OP_CONNECT, io->fd, copy, 0, n, io, UD_CONNECT)) {
		free(copy);
		return -EAGAIN;
	}
	io->backend = copy;
	return 0;
}

/* The cancellation counts as in flight too: until it has been carried out, the address it names must not be reused. */
static void cancel(struct uring *u, struct loop_io *io, unsigned ud)
{
	uint64_t target = (uintptr_t)io | ud;

	if (prepare(u, IORING_OP_ASYNC_CANCEL, -1, (void *)(uintptr_t)target, 0, 0, io, UD_CANCEL))
		io->inflight++;
}

static void uring_stop(struct loop *l, struct loop_io *io, unsigned ops)
{
	static const struct { unsigned op, ud; } known[] = {
		{ LOOP_ACCEPT, UD_ACCEPT }, { LOOP_RECV, UD_RECV }, { LOOP_SEND, UD_SEND }, { LOOP_HUP, UD_HUP },
		{ LOOP_CONNECT, UD_CONNECT },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (ops & known[i].op)
			cancel(uring_of(l), io, known[i].ud);
}

static void uring_close(struct loop *l, struct loop_io *io)
{
	uring_stop(l, io, io->armed & ~(unsigned)io->stopping);
}

/* ---- completions ------------------------------------------------------------------------------------------------- */

static void poll_wake(struct uring *u)
{
	struct io_uring_sqe *sqe =
		prepare(u, IORING_OP_POLL_ADD, u->wake_fd, NULL, IORING_POLL_ADD_MULTI, 0, NULL, UD_WAKE);

	if (sqe)
		set_poll_events(sqe, POLLIN);
}

/* A shared listener may be ready.  One client a turn, so that others who were woken have theirs; who has come too late
 * looks out for the next. */
static void complete_accept_poll(struct loop_io *io, int res)
{
	bool wanted = res > 0 && !io->closing && !(io->stopping & LOOP_ACCEPT);

	if (wanted) {
		res = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
		if (res < 0)
			res = errno == EAGAIN ? -EINTR : -errno;
	} else if (res >= 0) {
		res = -ECANCELED;
	}
	loop_accepted(io, res, false);
}

static void complete_recv(struct uring *u, struct loop_io *io, int res, unsigned flags)
{
	uint32_t id = flags >> IORING_CQE_BUFFER_SHIFT;
	bool more = flags & IORING_CQE_F_MORE;

	if (flags & IORING_CQE_F_BUFFER)
		u->loop.bufs_free--;
	if (res > 0) {
		struct loop_buf buf = { u->buf_memory + (size_t)id * u->buf_size, (uint32_t)res, id };

		loop_received(io, res, &buf, more);
		return;
	}
	if (flags & IORING_CQE_F_BUFFER)
		give_buffer(u, id);
	if (res == -ENOBUFS)
		grow_buffers(u, u->bufs * 2);
	loop_received(io, res, NULL, more);
}

static void complete(struct uring *u, uint64_t user_data, int res, unsigned flags)
{
	struct loop_io *io = (struct loop_io *)(uintptr_t)(user_data & ~(uint64_t)UD_MASK);

	switch (user_data & UD_MASK) {
	case UD_RECV:
		complete_recv(u, io, res, flags);
		break;
	case UD_SEND:
		loop_sent(io, res);
		break;
	case UD_ACCEPT:
		if (io->shared)
			complete_accept_poll(io, res);
		else
			loop_accepted(io, res, flags & IORING_CQE_F_MORE);
		break;
	case UD_HUP:
		loop_hung_up(io, res);
		break;
	case UD_CONNECT:
		free(io->backend);
		io->backend = NULL;
		loop_connected(io, res);
		break;
	case UD_CANCEL:
		loop_settled(io);
		break;
	case UD_WAKE:
		if (!(flags & IORING_CQE_F_MORE))
			poll_wake(u);
		break;
	}
}

/* Those that are there now; what a callback brings about comes in the next turn. */
static void dispatch(struct uring *u)
{
	struct io_uring_cq *cq = &u->ring.cq;
	unsigned head = *cq->khead, tail = io_uring_smp_load_acquire(cq->ktail);

	while (head != tail) {
		const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
		uint64_t user_data = cqe->user_data;
		unsigned flags = cqe->flags;
		int res = cqe->res;

		io_uring_smp_store_release(cq->khead, ++head);  /* before the callback: it may have to submit */
		complete(u, user_data, res, flags);
	}
}

static int enable(struct uring *u)
{
	struct io_uring_rsrc_update self = { .offset = UINT32_MAX, .data = (uint64_t)u->ring.ring_fd };
	int rc = io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	if (rc < 0)
		return rc;
	u->enabled = true;
	u->thread = pthread_self();
	rc = io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_RING_FDS, &self, 1);
	if (rc == 1) {
		u->enter_fd = (int)self.offset;
		u->enter_flags = IORING_ENTER_REGISTERED_RING;
	}
	poll_wake(u);
	return 0;
}

static int uring_wait(struct loop *l, uint64_t deadline_ns)
{
	struct uring *u = uring_of(l);
	struct __kernel_timespec ts;
	struct io_uring_getevents_arg arg = { .sigmask = 0 };
	uint64_t began;
	int rc;

	if (!u->enabled && (rc = enable(u)) < 0)
		return rc;
	began = loop_wait_begins(l);
	if (deadline_ns <= began) {
		rc = enter(u, 0, IORING_ENTER_GETEVENTS, NULL);
	} else if (deadline_ns == NEVER) {
		rc = enter(u, 1, u->wait_flags, &arg);
	} else {
		ts.tv_sec = (int64_t)((deadline_ns - began) / NS_PER_S);
		ts.tv_nsec = (long long)((deadline_ns - began) % NS_PER_S);
		arg.ts = (uintptr_t)&ts;
		rc = enter(u, 1, u->wait_flags, &arg);
	}
	loop_wait_ended(l, began);
	/* EBUSY: completions must be taken first, which is what comes now */
	if (rc < 0 && rc != -EINTR && rc != -ETIME && rc != -EAGAIN && rc != -EBUSY)
		return rc;
	dispatch(u);
	return 0;
}

static void uring_wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n = write(uring_of(l)->wake_fd, &one, sizeof(one));

	(void)n;        /* fails only when the counter is at its end, after 2^64 - 2 of these */
}

/* ---- making and unmaking ----------------------------------------------------------------------------------------- */

static void uring_free(struct loop *l)
{
	struct uring *u = uring_of(l);

	if (u->enter_flags && pthread_equal(u->thread, pthread_self())) {
		struct io_uring_rsrc_update self = { .offset = (uint32_t)u->enter_fd };

		io_uring_register((unsigned)u->ring.ring_fd, IORING_UNREGISTER_RING_FDS, &self, 1);
	}
	if (u->ring.ring_fd >= 0)
		io_uring_queue_exit(&u->ring);
	if (u->wake_fd >= 0)
		close(u->wake_fd);
	if (u->buf_ring)
		munmap(u->buf_ring, (u->buf_mask + 1) * sizeof(struct io_uring_buf));
	if (u->buf_memory)
		munmap(u->buf_memory, (size_t)u->bufs_max * u->buf_size);
	free(u);
}

static const struct loop_backend uring_backend = {
	.free = uring_free, .accept = uring_accept, .recv = uring_recv, .stop = uring_stop,
	.send = uring_send, .poll_hup = uring_poll_hup, .connect = uring_connect, .close = uring_close,
	.lend_back = uring_lend_back, .wait = uring_wait, .wake = uring_wake,
};

/* The ring, as large as memory and RLIMIT_MEMLOCK allow. */
static int set_up_ring(struct uring *u)
{
	int rc = -ENOMEM;

	for (unsigned cq = CQ_ENTRIES; rc == -ENOMEM && cq >= CQ_ENTRIES_MIN; cq /= 2) {
		struct io_uring_params p = {
			.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
				IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
				IORING_SETUP_CLAMP,
			.cq_entries = cq,
		};

		rc = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
		if (rc < 0)
			u->ring.ring_fd = -1;
	}
	return rc;
}

static int check_features(const struct uring *u)
{
	unsigned need = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
		IORING_FEAT_CQE_SKIP;

	return (u->ring.features & need) == need ? 0 : -ENOTSUP;
}

/* SEND_ZC is not used: its presence tells Linux 6.0, the first whose multishot receives are sound. */
static int check_opcodes(struct uring *u)
{
	static const int need[] = { IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_SEND, IORING_OP_SENDMSG,
		IORING_OP_POLL_ADD, IORING_OP_CONNECT, IORING_OP_ASYNC_CANCEL, IORING_OP_SEND_ZC };
	struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
	int rc = probe ? 0 : -ENOTSUP;

	for (size_t i = 0; probe && i < sizeof(need) / sizeof(need[0]); i++)
		if (!io_uring_opcode_supported(probe, need[i]))
			rc = -ENOTSUP;
	io_uring_free_probe(probe);
	return rc;
}

static unsigned power_of_two(unsigned n)
{
	unsigned p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static int set_up_buffers(struct uring *u, const struct loop_conf *conf)
{
	const int prot = PROT_READ | PROT_WRITE;
	unsigned entries = power_of_two(conf->recv_bufs_max);
	struct io_uring_buf_reg reg = { .ring_entries = entries };
	void *p;
	int rc;

	u->bufs_max = conf->recv_bufs_max;
	u->buf_size = conf->recv_buf_size;
	u->buf_mask = entries - 1;
	p = mmap(NULL, entries * sizeof(struct io_uring_buf), prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	u->buf_ring = p;
	p = mmap(NULL, (size_t)u->bufs_max * u->buf_size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	u->buf_memory = p;
	reg.ring_addr = (uintptr_t)u->buf_ring;
	rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (rc < 0)
		return rc;
	io_uring_buf_ring_init(u->buf_ring);
	grow_buffers(u, conf->recv_bufs);
	return 0;
}

static int set_up(struct uring *u, const struct loop_conf *conf, const char **stage)
{
	int rc;

	*stage = "setup";
	if ((rc = set_up_ring(u)) < 0)
		return rc;
	u->enter_fd = u->ring.ring_fd;
	u->wait_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	if (u->ring.features & FEATURE_NO_IOWAIT)
		u->wait_flags |= ENTER_NO_IOWAIT;
	*stage = "features";
	if ((rc = check_features(u)) < 0)
		return rc;
	*stage = "opcodes";
	if ((rc = check_opcodes(u)) < 0)
		return rc;
	*stage = "buffer ring";
	if ((rc = set_up_buffers(u, conf)) < 0)
		return rc;
	*stage = "eventfd";
	u->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return u->wake_fd < 0 ? -errno : 0;
}

struct loop *loop_new_uring(const struct loop_conf *conf, const char **stage)
{
	struct loop_conf full = loop_conf_full(conf);
	const char *ignored;
	struct uring *u = aligned_alloc(_Alignof(struct uring), sizeof(*u));
	int rc;

	if (!stage)
		stage = &ignored;
	*stage = "memory";
	if (!u)
		return NULL;
	memset(u, 0, sizeof(*u));
	u->ring.ring_fd = u->wake_fd = -1;
	loop_init(&u->loop, &uring_backend);
	if ((rc = set_up(u, &full, stage)) < 0) {
		uring_free(&u->loop);
		errno = -rc;
		return NULL;
	}
	*stage = NULL;
	return &u->loop;
}

#endif
