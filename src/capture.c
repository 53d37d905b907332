/* capture.c: what a thread of ours does now, seen from another thread, without disturbing it.
 *
 * A signal would make a thread that sleeps in nanosleep, poll or epoll_wait return EINTR, whatever SA_RESTART says.
 *
 * So a sleeping thread is read from outside.  /proc/thread-self/syscall tells whether it sleeps, in which system call,
 * with which arguments, and its SP and PC; the stack is copied from outside (peek.c).  That the thread has not run
 * meanwhile shows when the file says the same again and schedstat has counted no new time slice.  The file is opened
 * when the thread begins: once a process has given up privileges it belongs to root, until the process calls
 * prctl(PR_SET_DUMPABLE, 1), by which other processes of its user may read its memory; that is not for us to decide.
 * What anybody may read tells still whether the thread sleeps (stat), and in which of the kernel's functions (wchan).
 *
 * A running thread copies its own stack, in a handler of a real-time signal.  Whoever sends that signal with tgkill may
 * find that the thread has gone to sleep since it was looked at (tried: 87 of 5400 sleeps interrupted).  So the signal
 * comes from a timer of the thread's own CPU time: it runs out only while the thread is on a CPU, and Linux sends its
 * signal on the way back to user code (CONFIG_POSIX_CPU_TIMERS_TASK_WORK, x86 and arm64), when no system call is left
 * to be interrupted (tried: 0 of 28000).  The price is waiting for the next tick.  What has not been answered is
 * withdrawn.
 *
 * The handler calls nothing: it finds the thread by a thread-local pointer, claims the slot, and copies registers and
 * at most 64 KiB of stack.  The slot's state passes between the two threads:
 *
 *     FREE -> ASKED (capturer) -> TAKEN (handler) -> FULL (handler) -> FREE (capturer);  ASKED -> FREE: withdrawn
 *
 * A handler that comes late finds nothing asked, or serves what is asked by then, which is as good.  `where` is written
 * before ASKED and constant until FREE.  Frames are made of the copy afterwards, elsewhere (unwind.c).
 */
#include "capture.h"
#include "base/clock.h"
#include "modules.h"
#include "peek.h"
#include "unwind.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc 2.36 names it only for itself */
#endif

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN 1
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#define WORD sizeof(uintptr_t)
#define ANSWER_MS 100 /* how long a running thread has for its answer: a tick of its own CPU time, on a busy machine */
#define TRIES 3      /* a thread that wakes while it is read is looked at again */

enum slot_state { FREE, ASKED, TAKEN, FULL };

struct slot {
	_Atomic uint32_t state;
	struct capture_where where;
	bool stale; /* *where.seq was another one */
	struct unwind_regs regs;
	size_t nwords; /* 0: the thread was not on the stack it was said to be on */
	uintptr_t words[UNWIND_WORDS];
};

struct capture_thread {
	int state_fd; /* syscall, or where that is secret stat */
	int secret;   /* the errno for which it is */
	int schedstat_fd;
	pid_t tid;
	clockid_t cpu_clock;
	timer_t timer;
	bool has_timer; /* some sandboxes and emulators know no such timer: a running thread is not asked then */
	uintptr_t low, high;
	uint64_t asked_ns; /* the capturer's */
	struct slot slot;
};

struct capturer {
	struct modules *modules;
	struct peek *peek;
	uintptr_t words[UNWIND_WORDS];
};

/* ---- on the thread itself ---------------------------------------------------------------------------------------- */

static _Thread_local struct capture_thread *volatile this_thread;
static pthread_once_t signal_once = PTHREAD_ONCE_INIT;
static int signal_number; /* 0: none was left */

/* Reads what no compiler knows to be an object, redzones of ASan among it. */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void copy_words(
	uintptr_t *dst, uintptr_t from, size_t n)
{
	const volatile uintptr_t *src = (const volatile uintptr_t *)from;

	for (size_t i = 0; i < n; i++)
		dst[i] = src[i];
}

static void registers(struct unwind_regs *r, const ucontext_t *u)
{
#if defined(__x86_64__)
	r->pc = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
	r->sp = (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
	r->fp = (struct unwind_reg){ (uintptr_t)u->uc_mcontext.gregs[REG_RBP], true };
	r->lr = (struct unwind_reg){ 0, false };
#elif defined(__aarch64__)
	r->pc = u->uc_mcontext.pc;
	r->sp = u->uc_mcontext.sp;
	r->fp = (struct unwind_reg){ u->uc_mcontext.regs[29], true };
	r->lr = (struct unwind_reg){ u->uc_mcontext.regs[30], true };
#else
	(void)u;
	*r = (struct unwind_regs){ 0 };
#endif
}

static size_t words_from(uintptr_t sp, const struct capture_where *where)
{
	size_t n;

	if (sp < where->low || sp >= where->high || sp % WORD)
		return 0;
	n = (where->high - sp) / WORD;
	return n < UNWIND_WORDS ? n : UNWIND_WORDS;
}

/* Relaxed will do in the thread that writes it; elsewhere acquire: what follows is not done before. */
static bool is_current(const struct capture_where *where)
{
	return !where->seq || atomic_load_explicit(where->seq, memory_order_acquire) == where->expected;
}

/* Calls nothing, so errno and everything else stay as they are. */
static void on_sample(int sig, siginfo_t *info, void *context)
{
	struct capture_thread *t = this_thread;
	uint32_t asked = ASKED;
	struct slot *s;

	(void)sig;
	(void)info;
	if (!t)
		return;
	s = &t->slot;
	/* Acquire: `where` is what was written before ASKED. */
	if (!atomic_compare_exchange_strong_explicit(
		    &s->state, &asked, TAKEN, memory_order_acquire, memory_order_relaxed))
		return;
	s->stale = !is_current(&s->where);
	registers(&s->regs, context);
	/* TSan calls a handler later, with the registers of the moment of the signal and the stack of another. */
	s->nwords = s->stale || UNDER_TSAN ? 0 : words_from(s->regs.sp, &s->where);
	copy_words(s->words, s->regs.sp, s->nwords);
	/* Release: whoever sees FULL sees the rest. */
	atomic_store_explicit(&s->state, FULL, memory_order_release);
}

/* The highest that nobody uses; libraries tend to count upwards from SIGRTMIN. */
static void signal_choose(void)
{
	struct sigaction ours = { .sa_sigaction = on_sample, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART }, old;

	sigfillset(&ours.sa_mask); /* no other handler runs on top and finds errno, or time, changed */
	for (int sig = SIGRTMAX; sig >= SIGRTMIN; sig--) {
		if (sigaction(sig, NULL, &old) != 0 || (old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)
			continue;
		if (sigaction(sig, &ours, NULL) == 0) {
			signal_number = sig;
			return;
		}
	}
}

int capture_signal(void)
{
	pthread_once(&signal_once, signal_choose);
	return signal_number;
}

/* Whether our handler is still there: without one the signal would end the process. */
static bool signal_is_ours(void)
{
	struct sigaction now;

	return sigaction(signal_number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
	       now.sa_sigaction == on_sample;
}

static int own_stack(struct capture_thread *t)
{
	pthread_attr_t attr;
	void *low;
	size_t size;
	int rc = pthread_getattr_np(pthread_self(), &attr);

	if (rc)
		return rc;
	rc = pthread_attr_getstack(&attr, &low, &size);
	pthread_attr_destroy(&attr);
	t->low = (uintptr_t)low;
	t->high = t->low + size;
	return rc;
}

static bool own_timer(struct capture_thread *t)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = capture_signal() };
	sigset_t set;

	if (event.sigev_signo == 0)
		return false;
	event.sigev_notify_thread_id = t->tid;
	sigemptyset(&set);
	sigaddset(&set, event.sigev_signo);
	return pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0 &&
	       timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &t->timer) == 0;
}

struct capture_thread *capture_thread_new(void)
{
	const int flags = O_RDONLY | O_CLOEXEC;
	struct capture_thread *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (t == MAP_FAILED)
		return NULL;
	t->tid = (pid_t)syscall(SYS_gettid);
	t->schedstat_fd = open("/proc/thread-self/schedstat", flags); /* may be absent: then without waiting times */
	t->state_fd = open("/proc/thread-self/syscall", flags);
	if (t->state_fd < 0) {
		t->secret = errno;
		t->state_fd = open("/proc/thread-self/stat", flags);
	}
	err = t->state_fd < 0 ? errno : 0;
	if (!err)
		err = own_stack(t);
	if (!err)
		err = pthread_getcpuclockid(pthread_self(), &t->cpu_clock);
	if (!err) {
		t->has_timer = own_timer(t);
		this_thread = t;
		return t;
	}
	if (t->state_fd >= 0)
		close(t->state_fd);
	if (t->schedstat_fd >= 0)
		close(t->schedstat_fd);
	munmap(t, sizeof(*t));
	errno = err;
	return NULL;
}

void capture_thread_free(struct capture_thread *t)
{
	if (!t)
		return;
	this_thread = NULL; /* from here on a handler does nothing */
	if (t->has_timer)
		timer_delete(t->timer);
	close(t->state_fd);
	if (t->schedstat_fd >= 0)
		close(t->schedstat_fd);
	munmap(t, sizeof(*t));
}

bool capture_thread_answers(const struct capture_thread *t)
{
	return t->has_timer;
}

void capture_thread_stack(const struct capture_thread *t, uintptr_t *low, uintptr_t *high)
{
	*low = t->low;
	*high = t->high;
}

/* ---- what /proc tells -------------------------------------------------------------------------------------------- */

/* The file's text from its beginning, NUL-terminated; false when it cannot be read. */
static bool read_text(int fd, char *dst, size_t n)
{
	ssize_t got = fd < 0 ? -1 : pread(fd, dst, n - 1, 0);

	if (got <= 0)
		return false;
	dst[got] = '\0';
	return true;
}

struct schedstat {
	unsigned long long cpu_ns, waited_ns, slices;
};

static bool read_schedstat(const struct capture_thread *t, struct schedstat *s)
{
	char text[80], *at = text;

	*s = (struct schedstat){ 0 };
	if (!read_text(t->schedstat_fd, text, sizeof(text)))
		return false;
	s->cpu_ns = strtoull(at, &at, 10);
	s->waited_ns = strtoull(at, &at, 10);
	s->slices = strtoull(at, &at, 10);
	return true;
}

int capture_thread_times(const struct capture_thread *t, uint64_t *cpu_ns, uint64_t *waited_ns)
{
	struct schedstat s;
	struct timespec cpu; /* up to now, where schedstat's is that of the last tick */

	if (clock_gettime(t->cpu_clock, &cpu) != 0)
		return -errno;
	read_schedstat(t, &s);
	*cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_S + (uint64_t)cpu.tv_nsec;
	*waited_ns = s.waited_ns;
	return 0;
}

/* A thread at one moment. */
struct glance {
	enum capture_state state;
	int64_t syscall;
	uint64_t args[6];
	uintptr_t sp, pc;
	unsigned long long slices;
};

/* "running", or the number of the call, its arguments unless the number is -1, SP and PC. */
static void read_syscall(const char *text, struct glance *g)
{
	char *at = (char *)text;

	if (text[0] == 'r') {
		g->state = CAPTURE_RUNNING;
		return;
	}
	g->state = CAPTURE_SLEEPING;
	g->syscall = strtoll(at, &at, 10);
	for (unsigned i = 0; i < 6 && g->syscall != -1; i++)
		g->args[i] = strtoull(at, &at, 16);
	g->sp = strtoull(at, &at, 16);
	g->pc = strtoull(at, &at, 16);
}

/* "1234 (name) S ...", where the name may be anything. */
static void read_stat(const char *text, struct glance *g)
{
	const char *behind = strrchr(text, ')');

	if (!behind || behind[1] != ' ')
		return;
	g->state = behind[2] == 'R' ? CAPTURE_RUNNING : CAPTURE_SLEEPING;
	g->syscall = -1;
}

static void glance(const struct capture_thread *t, struct glance *g)
{
	char text[512];
	struct schedstat s;

	memset(g, 0, sizeof(*g)); /* compared as bytes */
	read_schedstat(t, &s);
	g->slices = s.slices;
	if (!read_text(t->state_fd, text, sizeof(text)))
		return;
	if (t->secret)
		read_stat(text, g);
	else
		read_syscall(text, g);
}

/* The kernel's function that it sleeps in; "" when it has woken, or the kernel has no names. */
static void read_channel(const struct capture_thread *t, char channel[CAPTURE_CHANNEL_MAX])
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", (int)t->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!read_text(fd, channel, CAPTURE_CHANNEL_MAX) || channel[0] == '0')
		channel[0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* What is told of a sleeping thread but its frames. */
static void tell_sleep(const struct capture_thread *t, const struct glance *g, struct capture *out)
{
	out->state = CAPTURE_SLEEPING;
	out->syscall = g->syscall;
	memcpy(out->args, g->args, sizeof(out->args));
	out->secret = t->secret;
	if (t->secret)
		read_channel(t, out->channel);
}

/* ---- on the thread that looks ------------------------------------------------------------------------------------ */

struct capturer *capturer_new(void)
{
	struct capturer *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	c->modules = modules_new();
	c->peek = peek_new();
	if (c->modules && c->peek)
		return c;
	capturer_free(c);
	errno = ENOMEM;
	return NULL;
}

void capturer_free(struct capturer *c)
{
	if (!c)
		return;
	modules_free(c->modules);
	peek_free(c->peek);
	free(c);
}

size_t capture_read(struct capturer *c, uintptr_t at, void *dst, size_t n)
{
	return peek(c->peek, at, dst, n);
}

/* Takes back what was asked, or discards the answer; false while the handler is at it. */
static bool withdraw(struct capture_thread *t)
{
	uint32_t asked = ASKED;

	if (atomic_load_explicit(&t->slot.state, memory_order_relaxed) == FREE)
		return true;
	timer_settime(t->timer, 0, &(struct itimerspec){ .it_value = { 0, 0 } }, NULL);
	/* Relaxed: nothing that the handler wrote is read.  Acquire below: its writes come before our next ones. */
	if (atomic_compare_exchange_strong_explicit(
		    &t->slot.state, &asked, FREE, memory_order_relaxed, memory_order_relaxed))
		return true;
	if (atomic_load_explicit(&t->slot.state, memory_order_acquire) != FULL)
		return false;
	atomic_store_explicit(&t->slot.state, FREE, memory_order_relaxed);
	return true;
}

/* False when they are not to be used: the stack was read beyond the copy, and t may have run meanwhile. */
static bool make_frames(struct capturer *c, const struct unwind_regs *regs, uintptr_t high, const uintptr_t *words,
	size_t n, struct capture *out)
{
	struct unwind_stack stack = { .peek = c->peek,
		.modules = c->modules,
		.sp = regs->sp,
		.high = high,
		.words = words,
		.nwords = n,
		.asleep = out->state == CAPTURE_SLEEPING };
	bool changed = false;

	if (n == 0 || modules_refresh(c->modules, &changed) != 0)
		return true;
	if (changed)
		peek_forget(c->peek);
	unwind(&stack, regs, out);
	return !stack.read_beyond;
}

static bool still(const struct capture_thread *t, const struct glance *g)
{
	struct glance again;

	glance(t, &again);
	return memcmp(g, &again, sizeof(again)) == 0;
}

/* True when the thread slept while it was read; *out is whole then. */
static bool look_asleep(struct capturer *c, const struct capture_thread *t, const struct capture_where *where,
	const struct glance *g, struct capture *out)
{
	struct unwind_regs regs = { .pc = g->pc, .sp = g->sp };
	size_t n = words_from(g->sp, where);

	n = peek(c->peek, g->sp, c->words, n * WORD) / WORD;
	tell_sleep(t, g, out);
	if (!still(t, g))
		return false;
	return make_frames(c, &regs, where->high, c->words, n, out) || still(t, g);
}

int capture_glance(const struct capture_thread *t, const struct capture_where *where, struct capture *out)
{
	struct glance g;

	glance(t, &g);
	*out = (struct capture){ .state = g.state, .syscall = -1 };
	if (g.state == CAPTURE_SLEEPING)
		tell_sleep(t, &g, out);
	return is_current(where) ? 0 : -ESTALE;
}

static int ask(struct capture_thread *t, const struct capture_where *where)
{
	const struct itimerspec soon = { .it_value = { .tv_nsec = 1 } };

	if (!t->has_timer || !signal_is_ours())
		return 0;
	t->slot.where = *where;
	t->asked_ns = clock_now_ns();
	/* Release: the handler that sees ASKED sees `where`. */
	atomic_store_explicit(&t->slot.state, ASKED, memory_order_release);
	return timer_settime(t->timer, 0, &soon, NULL) == 0 ? -EINPROGRESS : 0;
}

static bool same_where(const struct capture_where *a, const struct capture_where *b)
{
	return a->low == b->low && a->high == b->high && a->seq == b->seq && a->expected == b->expected;
}

/* The answer, when it is there: 0 or -ESTALE; else -EINPROGRESS. */
static int look_answer(struct capturer *c, struct capture_thread *t, struct capture *out)
{
	const struct slot *s = &t->slot;
	int rc = 0;

	/* Acquire: pairs with the handler's release. */
	if (atomic_load_explicit(&s->state, memory_order_acquire) != FULL)
		return -EINPROGRESS;
	if (s->stale)
		rc = -ESTALE;
	else
		make_frames(c, &s->regs, s->where.high, s->words, s->nwords, out);
	withdraw(t);
	return rc;
}

static int look_running(struct capture_thread *t, const struct capture_where *where)
{
	uint32_t state = atomic_load_explicit(&t->slot.state, memory_order_relaxed);

	if (state == FREE)
		return ask(t, where);
	if (clock_now_ns() - t->asked_ns < ANSWER_MS * NS_PER_MS)
		return -EINPROGRESS;
	withdraw(t);
	return 0;
}

int capture_look(struct capturer *c, struct capture_thread *t, const struct capture_where *where, struct capture *out)
{
	struct glance g;
	int rc = 0;

	*out = (struct capture){ .state = CAPTURE_RUNNING, .syscall = -1 };
	if (atomic_load_explicit(&t->slot.state, memory_order_relaxed) != FREE) {
		if (!same_where(&t->slot.where, where) && !withdraw(t))
			return is_current(where) ? 0 : -ESTALE;
		rc = look_answer(c, t, out);
		if (rc != -EINPROGRESS)
			return rc;
	}
	for (unsigned i = 0; i < TRIES; i++) {
		*out = (struct capture){ .syscall = -1 };
		glance(t, &g);
		if (g.state != CAPTURE_SLEEPING || look_asleep(c, t, where, &g, out))
			break;
		g.state = CAPTURE_RUNNING;
	}
	if (g.state != CAPTURE_SLEEPING)
		*out = (struct capture){ .state = g.state, .syscall = -1 };
	if (!is_current(where))
		rc = -ESTALE;
	else
		rc = g.state == CAPTURE_RUNNING ? look_running(t, where) : 0;
	if (rc != -EINPROGRESS)
		withdraw(t);
	return rc;
}
