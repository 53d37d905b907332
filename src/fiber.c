/* fiber.c: stackful coroutines that never change their thread.
 *
 * A stack is one anonymous mapping, committed by the kernel as it is touched:
 *
 *     low end                                                    high end
 *     | guard | stack, growing down ................ | struct fiber | colour |
 *
 * The fiber lies at the top of its own stack, so that starting one touches a page that is needed anyway.  "Colour" is a
 * few bytes that differ from stack to stack: without them the hot ends of all stacks would fall into the same few sets
 * of the processor's cache.  The guard is made of page-table markers where the kernel has them (MADV_GUARD_INSTALL,
 * Linux 6.13): stacks then merge into one mapping, and their number is not bounded by vm.max_map_count; else it is
 * protected memory, which costs two mappings a stack.  It is wide enough for a function that skips over 64 KiB without
 * touching them.
 *
 * A fiber that has ended leaves an empty stack, which waits in the list of its size; starting the next one is a call on
 * that stack, and when it never suspends that is nearly all it costs.  All the work around a switch is done in run(),
 * on the side of whoever started or resumed the fiber.
 *
 * Invariants: a fiber is RUNNING exactly when it is pool->current or in the chain of `below` under it; live counts
 * those that run or are suspended; every other one is in exactly one list of spares.
 *
 * One thread enters a pool: the one that made it.  A fault on a stack's guard is reported on that thread's alternate
 * signal stack, by a handler that only reads.  Not done here: scheduling (whoever resumes decides), cancelling (a
 * suspended fiber can only be resumed), and finding a frame of more than 64 KiB that never touches the guard.
 */
#include "fiber.h"
#include "fiber_switch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define UNDER_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN 1
#endif

#ifdef UNDER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef UNDER_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13; younger than the C library of most systems that have it */
#endif

#define KIB ((size_t)1024)
#define STACK_DEFAULT (256 * KIB)
#define STACK_MIN (16 * KIB) /* room for a signal frame with all vector registers, and the handler it belongs to */
#define GUARD (64 * KIB)
#define ALTSTACK (64 * KIB) /* a handler that was there before ours runs on it too */
#define COLOURS 16
#define COLOUR_STEP 64 /* a line of the cache */

#define ON_THREAD(p) assert(pthread_equal((p)->thread, pthread_self()))

enum fiber_state { SPARE, RUNNING, SUSPENDED };

/* All stacks of one size. */
struct stack_class {
	struct stack_class *next;
	size_t stack; /* usable bytes, whole pages */
	size_t map;   /* bytes of a mapping */
	struct fiber *spares;
	unsigned nspares;
};

struct fiber {
	struct fiber_ctx self; /* where it goes on; valid while SUSPENDED */
	struct fiber_ctx back; /* where the one below goes on; valid while RUNNING */
	struct fiber_pool *pool;
	struct fiber *below; /* RUNNING: who started or resumed it, NULL for the thread itself; SPARE: the next one */
	fiber_fn *fn;
	void *arg;
	const char *name;
	enum fiber_state state;
	unsigned valgrind_id;
	struct stack_class *class;
	char *map;
#ifdef UNDER_ASAN
	void *fake, *below_fake; /* what finds uses after return, of the fiber and of the one below */
	const void *below_low;
	size_t below_size;
#endif
#ifdef UNDER_TSAN
	void *tsan, *below_tsan;
#endif
};

struct fiber_pool {
	struct fiber *current;
	unsigned live, live_max;
	unsigned spares, spare_max;
	struct stack_class first; /* the default size, and by its `next` the others in order of first use */
	unsigned made;            /* stacks mapped so far, for their colour */
	bool markers;             /* guards can be page-table markers */
	size_t page;
	pthread_t thread;
	struct fiber_pool *sibling; /* the next pool of this thread */
	char *altstack;             /* NULL: the thread had one before */
	size_t altstack_size;
};

/* The two things here that are global.  A signal handler is given no pointer of ours and signal dispositions belong to
 * the process, so the pools of a thread are found from the thread (initial-exec: reading it in the handler never
 * allocates), and the handlers are installed once, remembering what was there before. */
static _Thread_local __attribute__((tls_model("initial-exec"))) struct fiber_pool *thread_pools;
static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
static struct sigaction previous_segv, previous_bus; /* written in the once, before a handler can read them */

static size_t round_up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* ---- reporting an overflow --------------------------------------------------------------------------------------- */

static bool in_guard(const struct fiber *f, const char *at)
{
	return at >= f->map && at < f->map + GUARD;
}

/* The running fiber of this thread whose guard holds the address; NULL when it is none of them.  All of a chain are
 * looked at, since the one below may overflow while it is starting the next. */
static const struct fiber *overflown(const char *at)
{
	for (const struct fiber_pool *p = thread_pools; p; p = p->sibling)
		for (const struct fiber *f = p->current; f; f = f->below)
			if (in_guard(f, at))
				return f;
	return NULL;
}

struct line {
	char text[512];
	size_t n;
};

static void line_add(struct line *l, const char *s)
{
	for (; *s && l->n < sizeof(l->text); s++)
		l->text[l->n++] = *s;
}

static void line_add_number(struct line *l, size_t number)
{
	char digits[24], *p = digits + sizeof(digits);

	*--p = '\0';
	do
		*--p = (char)('0' + number % 10);
	while (number /= 10);
	line_add(l, p);
}

/* In a signal handler, with the stack of a broken fiber below it: write(2) and nothing else. */
static void report_overflow(const struct fiber *f)
{
	struct line l = { .n = 0 };

	line_add(&l, "offloop: stack overflow in ");
	line_add(&l, f->name ? f->name : "a fiber");
	line_add(&l, " (");
	line_add_number(&l, f->class->stack / KIB);
	line_add(&l, " KiB): raise .stack\n");
	l.text[sizeof(l.text) - 1] = '\n';
	if (write(STDERR_FILENO, l.text, l.n) < 0)
		return; /* there is nobody left to tell */
}

/* Lets the fault happen again, with nobody to catch it.  A signal that was sent would not: so it is sent anew. */
static void die_by(int sig, bool was_sent)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	sigaction(sig, &dfl, NULL);
	if (was_sent)
		raise(sig);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *previous = sig == SIGBUS ? &previous_bus : &previous_segv;
	bool was_sent = info->si_code <= 0;
	const struct fiber *f = was_sent ? NULL : overflown(info->si_addr);

	if (f) {
		report_overflow(f);
		die_by(sig, false);
	} else if (previous->sa_flags & SA_SIGINFO) {
		previous->sa_sigaction(sig, info, context);
	} else if (previous->sa_handler == SIG_DFL || (previous->sa_handler == SIG_IGN && !was_sent)) {
		die_by(sig, was_sent); /* the kernel does not let a real fault be ignored */
	} else if (previous->sa_handler != SIG_IGN) {
		previous->sa_handler(sig);
	}
}

static void handle(int sig, struct sigaction *previous)
{
	struct sigaction ours;

	sigaction(sig, NULL, previous);
	ours = *previous; /* the previous handler's mask holds for ours, which calls it */
	ours.sa_sigaction = on_fault;
	ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (previous->sa_flags & (SA_NODEFER | SA_RESTART));
	sigaction(sig, &ours, NULL);
}

static void install_handlers(void)
{
	handle(SIGSEGV, &previous_segv);
	handle(SIGBUS, &previous_bus);
}

/* A thread that has an alternate stack (a sanitizer's, a crash reporter's) keeps it. */
static int altstack_init(struct fiber_pool *p)
{
	stack_t old, ours;
	char *at;

	if (sigaltstack(NULL, &old) != 0 || !(old.ss_flags & SS_DISABLE))
		return 0;
	p->altstack_size = round_up(ALTSTACK + getauxval(AT_MINSIGSTKSZ), p->page);
	at = mmap(NULL, p->altstack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	ours = (stack_t){ .ss_sp = at, .ss_size = p->altstack_size };
	if (sigaltstack(&ours, NULL) != 0) {
		munmap(at, p->altstack_size);
		return -EINVAL;
	}
	p->altstack = at;
	return 0;
}

/* Another pool of the thread may rely on the alternate stack: the last one to go inherits it. */
static void altstack_fini(struct fiber_pool *p)
{
	stack_t now;

	if (!p->altstack)
		return;
	if (thread_pools) {
		thread_pools->altstack = p->altstack;
		thread_pools->altstack_size = p->altstack_size;
		return;
	}
	if (sigaltstack(NULL, &now) == 0 && now.ss_sp == p->altstack)
		sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
	munmap(p->altstack, p->altstack_size);
}

/* ---- stacks ------------------------------------------------------------------------------------------------------ */

/* Whether the kernel guards a page as asked.  Emulators accept advice they do not know, and an absent guard would let
 * one request's stack run into another's unseen: so the page is touched, by a system call, which answers EFAULT. */
static bool markers_work(size_t page)
{
	char *at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = eventfd(0, EFD_CLOEXEC);
	bool work = false;

	if (at != MAP_FAILED && fd >= 0 && madvise(at, page, MADV_GUARD_INSTALL) == 0)
		work = write(fd, at, sizeof(uint64_t)) < 0 && errno == EFAULT;
	if (fd >= 0)
		close(fd);
	if (at != MAP_FAILED)
		munmap(at, page);
	return work;
}

/* Markers may be refused in locked memory (mlockall), hence the second way. */
static int guard(const struct fiber_pool *p, char *map)
{
	if (p->markers && madvise(map, GUARD, MADV_GUARD_INSTALL) == 0)
		return 0;
	return mprotect(map, GUARD, PROT_NONE);
}

/* Told to valgrind and TSan, whose record of a stack lives as long as the stack. */
static void stack_told(struct fiber *f)
{
	f->valgrind_id = VALGRIND_STACK_REGISTER(f->map + GUARD, f);
#ifdef UNDER_TSAN
	f->tsan = __tsan_create_fiber(0);
#endif
}

static void stack_untold(struct fiber *f)
{
	VALGRIND_STACK_DEREGISTER(f->valgrind_id);
#ifdef UNDER_TSAN
	__tsan_destroy_fiber(f->tsan);
#endif
}

/* MAP_STACK keeps huge pages away, which would commit eight stacks at once; before Linux 6.7 it did not, and it takes a
 * call.  Nothing else tells one stack's mapping from the next one's, so that they can merge. */
static struct fiber *stack_new(struct fiber_pool *p, struct stack_class *c)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
	char *map = mmap(NULL, c->map, PROT_READ | PROT_WRITE, flags, -1, 0);
	size_t colour = p->made % COLOURS * COLOUR_STEP;
	struct fiber *f;

	if (map == MAP_FAILED)
		return NULL;
	if (!p->markers)
		madvise(map, c->map, MADV_NOHUGEPAGE);
	if (guard(p, map) != 0) {
		munmap(map, c->map);
		return NULL;
	}
	p->made++;
	f = (struct fiber *)(void *)(map + c->map - colour - round_up(sizeof(*f), 64));
	f->pool = p;
	f->class = c;
	f->map = map;
	stack_told(f);
	return f;
}

static void stack_free(struct fiber *f)
{
	stack_untold(f);
	munmap(f->map, f->class->map);
}

static void class_init(const struct fiber_pool *p, struct stack_class *c, size_t stack)
{
	size_t top = COLOURS * COLOUR_STEP + round_up(sizeof(struct fiber), 64);

	*c = (struct stack_class){ .stack = stack, .map = GUARD + stack + round_up(top, p->page) };
}

/* The class of stacks of that size; NULL without memory.  A program has a few sizes, one for each kind of route. */
static struct stack_class *class_of(struct fiber_pool *p, size_t stack)
{
	struct stack_class *c = &p->first, **end;

	if (stack == 0)
		return c;
	if (stack > SIZE_MAX / 4)
		return NULL;
	stack = round_up(stack < STACK_MIN ? STACK_MIN : stack, p->page);
	for (; c; c = *end) {
		if (c->stack == stack)
			return c;
		end = &c->next;
	}
	c = malloc(sizeof(*c));
	if (!c)
		return NULL;
	class_init(p, c, stack);
	*end = c;
	return c;
}

static struct fiber *spare_pop(struct fiber_pool *p, struct stack_class *c)
{
	struct fiber *f = c->spares;

	if (!f)
		return NULL;
	c->spares = f->below;
	c->nspares--;
	p->spares--;
	return f;
}

static void spare_push(struct fiber_pool *p, struct fiber *f)
{
	struct stack_class *c = f->class;

	f->below = c->spares;
	c->spares = f;
	c->nspares++;
	p->spares++;
}

/* The stack of f is over the bound: one of the size with the most spares goes, so that none in use is without. */
static void spare_replace(struct fiber_pool *p, struct fiber *f)
{
	struct stack_class *most = f->class;
	struct fiber *other;

	for (struct stack_class *c = &p->first; c; c = c->next)
		if (c->nspares > most->nspares)
			most = c;
	other = most == f->class ? NULL : spare_pop(p, most);
	if (other)
		spare_push(p, f);
	stack_free(other ? other : f);
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

struct fiber_pool *fiber_pool_new(const struct fiber_conf *conf)
{
	struct fiber_pool *p = calloc(1, sizeof(*p));
	size_t stack = conf->stack ? conf->stack : STACK_DEFAULT;
	int err = EINVAL;

	if (!p)
		return NULL;
	p->live_max = conf->live_max;
	p->spare_max = conf->spare_max;
	p->page = (size_t)sysconf(_SC_PAGESIZE);
	p->thread = pthread_self();
	if (stack > SIZE_MAX / 4 || GUARD % p->page != 0)
		goto failed;
	class_init(p, &p->first, round_up(stack < STACK_MIN ? STACK_MIN : stack, p->page));
	p->markers = markers_work(p->page);
	err = -altstack_init(p);
	if (err)
		goto failed;
	pthread_once(&handlers_once, install_handlers);
	p->sibling = thread_pools;
	thread_pools = p;
	return p;
failed:
	free(p);
	errno = err;
	return NULL;
}

static void classes_free(struct fiber_pool *p)
{
	struct fiber *f;

	for (struct stack_class *c = &p->first, *next; c; c = next) {
		next = c->next;
		while ((f = spare_pop(p, c)))
			stack_free(f);
		if (c != &p->first)
			free(c);
	}
}

void fiber_pool_free(struct fiber_pool *p)
{
	struct fiber_pool **at = &thread_pools;

	if (!p)
		return;
	ON_THREAD(p);
	assert(p->live == 0);
	classes_free(p);
	while (*at != p)
		at = &(*at)->sibling;
	*at = p->sibling;
	altstack_fini(p);
	free(p);
}

unsigned fiber_pool_live(const struct fiber_pool *p)
{
	return p->live;
}

struct fiber *fiber_current(const struct fiber_pool *p)
{
	return p->current;
}

void fiber_stack_bounds(const struct fiber *f, void **low, void **high)
{
	*low = f->map + GUARD;
	*high = (void *)(uintptr_t)f;
}

/* ---- switching --------------------------------------------------------------------------------------------------- */

/* The sanitizers hear of a switch just before run() makes it and just after it comes back.  Between that and the
 * fiber's own code nothing runs but uninstrumented lines, so it need not be said on the other side as well. */
static inline void told_enter(struct fiber *f)
{
#ifdef UNDER_ASAN
	__sanitizer_start_switch_fiber(&f->below_fake, f->map + GUARD, (size_t)((char *)f - f->map - GUARD));
	__sanitizer_finish_switch_fiber(f->fake, &f->below_low, &f->below_size);
#endif
#ifdef UNDER_TSAN
	f->below_tsan = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(f->tsan, 0);
#endif
	(void)f;
}

static inline void told_leave(struct fiber *f)
{
#ifdef UNDER_TSAN
	__tsan_switch_to_fiber(f->below_tsan, 0);
#endif
#ifdef UNDER_ASAN
	f->fake = NULL;
	__sanitizer_start_switch_fiber(f->state == SUSPENDED ? &f->fake : NULL, f->below_low, f->below_size);
	__sanitizer_finish_switch_fiber(f->below_fake, NULL, NULL);
#endif
	(void)f;
}

/* The first function on a fiber's stack. */
static void body(void *arg)
{
	struct fiber *f = arg;

	f->fn(f->arg);
	f->state = SPARE;
}

/* Lets f run, from its beginning or from where it is suspended, until it suspends or ends; true when it has ended. */
static inline bool run(struct fiber_pool *p, struct fiber *f, bool fresh)
{
	f->below = p->current;
	f->state = RUNNING;
	p->current = f;
	told_enter(f);
	if (fresh)
		fiber_enter(&f->back, &f->self, f->map + GUARD, f, body, f);
	else
		fiber_switch(&f->back, &f->self);
	told_leave(f);
	p->current = f->below;
	return f->state != SUSPENDED;
}

static inline void retire(struct fiber_pool *p, struct fiber *f)
{
	p->live--;
	if (p->spares < p->spare_max)
		spare_push(p, f);
	else
		spare_replace(p, f);
}

int fiber_start(struct fiber_pool *p, size_t stack, const char *name, fiber_fn *fn, void *arg, struct fiber **out)
{
	struct stack_class *c;
	struct fiber *f;

	ON_THREAD(p);
	*out = NULL;
	if (p->live >= p->live_max)
		return -EAGAIN;
	c = class_of(p, stack);
	if (!c)
		return -ENOMEM;
	f = spare_pop(p, c);
	if (!f)
		f = stack_new(p, c);
	if (!f)
		return -ENOMEM;
	p->live++;
	f->fn = fn;
	f->arg = arg;
	f->name = name;
	if (run(p, f, true))
		retire(p, f);
	else
		*out = f;
	return 0;
}

bool fiber_resume(struct fiber *f)
{
	struct fiber_pool *p = f->pool;

	ON_THREAD(p);
	assert(f->state == SUSPENDED);
	if (!run(p, f, false))
		return false;
	retire(p, f);
	return true;
}

void fiber_suspend(struct fiber *f)
{
	assert(f == f->pool->current);
	f->state = SUSPENDED;
	fiber_switch(&f->self, &f->back);
}
