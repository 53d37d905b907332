/*
 * test_capture.c: what a thread does is seen from outside: its system call and its handler's name, asleep and running,
 * on its own stack and on a fiber's; and it is not disturbed.
 *
 * Under TSan signals are delivered late, so a running thread gives no frames there; asleep or running is still told.
 */
#include "base/clock.h"
#include "capture.h"
#include "fiber_fixture.h"
#include "modules.h"
#include "symbols.h"
#include "syscalls.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOON_MS 10000

/* ---- a thread to look at ----------------------------------------------------------------------------------------- */

struct subject {
	void (*handler)(struct subject *s);
	bool on_fiber;
	pthread_t thread;
	sem_t ready;
	struct capture_thread *capture;
	struct capture_where where;
	_Atomic uint64_t seq;
	_Atomic bool stop;
	int pipe[2];
	pthread_mutex_t mutex;
	unsigned eintr, sleeps, calls; /* what the handler found */
};

static struct capturer *capturer;
static struct symbols *symbols;
static struct modules *modules;

static NOINLINE void run_handler(struct subject *s)
{
	sem_post(&s->ready);
	s->handler(s);
	s->calls++;
}

static void on_fiber(void *arg)
{
	struct subject *s = arg;
	void *low, *high;

	fiber_stack_bounds(fiber_current(pool), &low, &high);
	s->where.low = (uintptr_t)low;
	s->where.high = (uintptr_t)high;
	run_handler(s);
}

static void *live(void *arg)
{
	struct subject *s = arg;

	s->capture = capture_thread_new();
	CHECK(s->capture != NULL);
	if (!s->capture)
		exit(1);
	if (s->on_fiber) {
		pool_begin(0, 2, 2);
		CHECK(fiber_start(pool, 0, "subject", on_fiber, s, &(struct fiber *){ NULL }) == 0);
		fiber_pool_free(pool);
	} else {
		capture_thread_stack(s->capture, &s->where.low, &s->where.high);
		run_handler(s);
	}
	capture_thread_free(s->capture);
	return NULL;
}

static void subject_start(struct subject *s, void (*handler)(struct subject *s), bool fiber)
{
	*s = (struct subject){ .handler = handler, .on_fiber = fiber, .mutex = PTHREAD_MUTEX_INITIALIZER };
	s->where = (struct capture_where){ .seq = &s->seq, .expected = 0 };
	ck_assert_int_eq(sem_init(&s->ready, 0, 0), 0);
	ck_assert_int_eq(pipe(s->pipe), 0);
	pthread_mutex_lock(&s->mutex);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, live, s), 0);
	while (sem_wait(&s->ready) != 0)
		;
}

/* Lets go of whatever the handler waits for. */
static void subject_end(struct subject *s)
{
	atomic_store(&s->stop, true);
	ck_assert_int_eq(write(s->pipe[1], "x", 1), 1);
	pthread_mutex_unlock(&s->mutex);
	pthread_join(s->thread, NULL);
	close(s->pipe[0]);
	close(s->pipe[1]);
	sem_destroy(&s->ready);
	ck_assert_int_eq(wrong, 0);
}

static void setup(void)
{
	capturer = capturer_new();
	symbols = symbols_new();
	modules = modules_new();
	ck_assert(capturer && symbols && modules);
}

static void teardown(void)
{
	capturer_free(capturer);
	symbols_free(symbols);
	modules_free(modules);
}

/* ---- handlers ---------------------------------------------------------------------------------------------------- */

static _Thread_local volatile unsigned sink;

static NOINLINE void handler_that_sleeps(struct subject *s)
{
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		struct timespec t = { .tv_nsec = 50000000 }, left = { 0, 0 };

		s->eintr += nanosleep(&t, &left) != 0;
		CHECK(left.tv_sec == 0 && left.tv_nsec == 0);
	}
	sink++;
}

static NOINLINE void handler_that_reads(struct subject *s)
{
	char c;

	s->eintr = read(s->pipe[0], &c, 1) != 1;
	sink++;
}

static NOINLINE void handler_that_polls(struct subject *s)
{
	struct pollfd p = { .fd = s->pipe[0], .events = POLLIN };

	s->eintr = poll(&p, 1, -1) != 1;
	sink++;
}

static NOINLINE void handler_that_locks(struct subject *s)
{
	pthread_mutex_lock(&s->mutex);
	pthread_mutex_unlock(&s->mutex);
	sink++;
}

static NOINLINE void handler_that_spins(struct subject *s)
{
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed))
		sink++;
	sink++;
}

static NOINLINE unsigned some_depth(struct subject *s, unsigned n)
{
	volatile unsigned char room[200];

	room[n] = (unsigned char)n;
	if (n == 0)
		handler_that_reads(s);
	else
		sink += some_depth(s, n - 1);
	return room[n];
}

static NOINLINE void handler_that_is_deep(struct subject *s)
{
	sink += some_depth(s, 12);
}

static NOINLINE void handler_with_a_large_frame(struct subject *s)
{
	volatile char room[100000];

	room[0] = 1;
	handler_that_reads(s);
	sink += (unsigned)room[0];
}

/* Nothing but the frame pointer tells how large its frame is. */
static NOINLINE void handler_with_a_variable_frame(struct subject *s)
{
	volatile size_t n = 3000;
	volatile char *room = __builtin_alloca(n);

	s->eintr = read(s->pipe[0], (char *)room, 1) != 1;
	sink += (unsigned)room[0];
}

static void left_behind(unsigned depth);
static void (*const volatile through_pointer)(unsigned) = left_behind;

static NOINLINE void left_behind(unsigned depth)
{
	if (depth > 0)
		through_pointer(depth - 1);
	sink++;
}

static NOINLINE void read_above_old_frames(struct subject *s)
{
	char room[6000]; /* but for one byte never written to */

	s->eintr = read(s->pipe[0], room, 1) != 1;
	sink += (unsigned)room[0];
}

/* What has returned has left its frames where those of what sleeps are. */
static NOINLINE void handler_above_old_frames(struct subject *s)
{
	through_pointer(100);
	read_above_old_frames(s);
	sink++;
}

/* In libc, which has no frame pointers, most of the time. */
static int compare(const void *a, const void *b)
{
	return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}

static NOINLINE void handler_that_sorts(struct subject *s)
{
	static int numbers[4096];

	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		for (int i = 0; i < 4096; i++)
			numbers[i] = i * 7919 % 4096;
		qsort(numbers, 4096, sizeof(numbers[0]), compare);
	}
	sink++;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static void check_frames(const struct capture *c)
{
	bool changed;

	ck_assert_uint_le(c->nframes, CAPTURE_FRAMES);
	ck_assert_int_eq(modules_refresh(modules, &changed), 0);
	for (unsigned i = 0; i < c->nframes; i++)
		ck_assert(modules_is_code(modules, c->frames[i]));
	ck_assert(c->nframes == CAPTURE_FRAMES || c->probable >> c->nframes == 0);
	for (unsigned i = 1; i < c->nframes; i++) /* what was found by one that is probable is no better */
		ck_assert(!capture_is_probable(c, i - 1) || capture_is_probable(c, i));
}

/* The frame whose name begins with that; -1 without. */
static int frame_of(const struct capture *c, const char *name)
{
	char text[SYMBOL_TEXT_MAX];

	for (unsigned i = 0; i < c->nframes; i++) {
		symbols_format(symbols, c->frames[i], text, sizeof(text));
		if (strncmp(text, name, strlen(name)) == 0 && text[strlen(name)] == '+')
			return (int)i;
	}
	return -1;
}

static void print(const struct capture *c)
{
	char text[SYMBOL_TEXT_MAX];

	syscall_format(capturer, c, text, sizeof(text));
	printf("state %d %s\n", (int)c->state, text);
	for (unsigned i = 0; i < c->nframes; i++) {
		symbols_format(symbols, c->frames[i], text, sizeof(text));
		printf("  %2u %s%s\n", i, text, capture_is_probable(c, i) ? " (probably)" : "");
	}
}

/* Looks until the answer is whole. */
static int look(struct subject *s, struct capture *c)
{
	int rc;

	while ((rc = capture_look(capturer, s->capture, &s->where, c)) == -EINPROGRESS)
		usleep(500);
	if (rc == 0)
		check_frames(c);
	return rc;
}

/* Looks until it sleeps in a call whose text begins with that. */
static void look_asleep(struct subject *s, const char *call, struct capture *c)
{
	uint64_t end = clock_after_ms(clock_now_ns(), SOON_MS);
	char text[SYSCALL_TEXT_MAX] = "";

	do {
		usleep(200);
		ck_assert_int_eq(look(s, c), 0);
		syscall_format(capturer, c, text, sizeof(text));
	} while ((c->state != CAPTURE_SLEEPING || strncmp(text, call, strlen(call)) != 0) && clock_now_ns() < end);
	if (c->state != CAPTURE_SLEEPING || strncmp(text, call, strlen(call)) != 0)
		print(c);
	ck_assert_int_eq(c->state, CAPTURE_SLEEPING);
	ck_assert_int_eq(strncmp(text, call, strlen(call)), 0);
}

static void must_name(const struct capture *c, const char *handler)
{
	int frame = frame_of(c, handler);

	if (frame < 0 || capture_is_probable(c, (unsigned)frame))
		print(c);
	ck_assert_int_ge(frame, 0);
	ck_assert(!capture_is_probable(c, (unsigned)frame));
}

/* The function below the handlers is found too, and nothing is found that was not called. */
static void must_have_its_caller(const struct capture *c, bool fiber)
{
	int frame = frame_of(c, "run_handler");

	if (frame < 0 || (fiber && frame_of(c, "on_fiber") < 0 && !UNDER_ASAN))
		print(c);
	ck_assert_int_ge(frame, 0);
}

static const struct {
	void (*handler)(struct subject *s);
	const char *name, *call;
} sleepers[] = {
	{ handler_that_sleeps, "handler_that_sleeps", "clock_nanosleep" },
	{ handler_that_reads, "handler_that_reads", "read(fd %d, pipe)" },
	{ handler_that_polls, "handler_that_polls", "poll(fd %d, pipe)" },
	{ handler_that_locks, "handler_that_locks", "futex(0x%llx)" },
	{ handler_that_is_deep, "handler_that_is_deep", "read(fd %d, pipe)" },
	{ handler_with_a_large_frame, "handler_with_a_large_frame", "read(fd %d, pipe)" },
	{ handler_with_a_variable_frame, "handler_with_a_variable_frame", "read(fd %d, pipe)" },
	{ handler_above_old_frames, "handler_above_old_frames", "read(fd %d, pipe)" },
};
#define SLEEPERS ((int)(sizeof(sleepers) / sizeof(sleepers[0])))

static void call_text(const struct subject *s, const char *format, char *dst, size_t n)
{
	const char *mark = strchr(format, '%');

	if (!mark)
		snprintf(dst, n, "%s", format);
	else if (mark[1] == 'd')
		snprintf(dst, n, "%.*s%d%s", (int)(mark - format), format, s->pipe[0], mark + 2);
	else
		snprintf(dst, n, "%.*s%llx)", (int)(mark - format), format, (unsigned long long)(uintptr_t)&s->mutex);
}

static void see_sleeper(int i, bool fiber)
{
	struct capture c;
	struct subject s;
	char call[64];

	subject_start(&s, sleepers[i].handler, fiber);
	call_text(&s, sleepers[i].call, call, sizeof(call));
	look_asleep(&s, call, &c);
	must_name(&c, sleepers[i].name);
	must_have_its_caller(&c, fiber);
	ck_assert_int_lt(frame_of(&c, "left_behind"), 0);
	subject_end(&s);
	ck_assert_uint_eq(s.eintr, 0);
}

START_TEST(a_sleeping_handler_is_named_with_its_call)
{
	see_sleeper(_i, false);
}
END_TEST

START_TEST(a_handler_that_sleeps_on_a_fiber_is_named_with_its_call)
{
	see_sleeper(_i, true);
}
END_TEST

/* Looks until it has been seen on a CPU, which it may have to wait for. */
static void look_running(struct subject *s, struct capture *c)
{
	uint64_t end = clock_after_ms(clock_now_ns(), SOON_MS);

	do {
		ck_assert_int_eq(look(s, c), 0);
		ck_assert_int_eq(c->state, CAPTURE_RUNNING);
	} while (c->nframes == 0 && !UNDER_TSAN && clock_now_ns() < end);
}

static void see_runner(void (*handler)(struct subject *s), const char *name, bool fiber)
{
	struct capture c;
	struct subject s;

	subject_start(&s, handler, fiber);
	for (unsigned i = 0; i < 5; i++) {
		look_running(&s, &c);
		if (UNDER_TSAN)
			continue;
		must_name(&c, name);
		must_have_its_caller(&c, fiber);
	}
	subject_end(&s);
}

START_TEST(a_handler_that_spins_is_named)
{
	see_runner(handler_that_spins, "handler_that_spins", _i);
}
END_TEST

START_TEST(a_handler_that_runs_in_libc_is_named)
{
	see_runner(handler_that_sorts, "handler_that_sorts", _i);
}
END_TEST

/* ---- not disturbing ---------------------------------------------------------------------------------------------- */

#define NAP_NS 30000

static NOINLINE void handler_that_alternates(struct subject *s)
{
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		struct timespec nap = { .tv_nsec = NAP_NS };
		uint64_t end = clock_now_ns() + (s->sleeps % 8 ? 20 : 6000) * NS_PER_US;

		while (clock_now_ns() < end)
			sink++;
		s->eintr += nanosleep(&nap, NULL) != 0;
		s->sleeps++;
	}
}

START_TEST(ten_thousand_looks_interrupt_no_sleep)
{
	unsigned asleep = 0, running = 0, frames = 0;
	struct capture c;
	struct subject s;

	subject_start(&s, handler_that_alternates, _i);
	for (unsigned i = 0; i < 10000; i++) {
		int rc = capture_look(capturer, s.capture, &s.where, &c);

		ck_assert(rc == 0 || rc == -EINPROGRESS);
		ck_assert_int_ne(c.state, CAPTURE_UNKNOWN);
		check_frames(&c);
		asleep += c.state == CAPTURE_SLEEPING;
		running += c.state == CAPTURE_RUNNING;
		frames += rc == 0 && c.state == CAPTURE_RUNNING && c.nframes > 0;
		if (rc == 0 && c.nframes > 0)
			must_name(&c, "handler_that_alternates");
		if (i % 8 == 0)
			usleep(100);
	}
	subject_end(&s);
	printf("%u looks found it asleep, %u running, %u of those with frames; %u sleeps, %u interrupted\n", asleep,
		running, frames, s.sleeps, s.eintr);
	ck_assert_uint_eq(s.eintr, 0);
	ck_assert_uint_gt(asleep, 0);
	ck_assert_uint_gt(running, 0);
	ck_assert(UNDER_TSAN || frames > 0);
}
END_TEST

/* ---- what no longer holds ---------------------------------------------------------------------------------------- */

START_TEST(a_look_at_what_is_over_says_so)
{
	struct capture c;
	struct subject s;

	subject_start(&s, handler_that_reads, true);
	look_asleep(&s, "read", &c);
	atomic_store(&s.seq, 1);
	ck_assert_int_eq(look(&s, &c), -ESTALE);
	s.where.expected = 1;
	ck_assert_int_eq(look(&s, &c), 0);
	ck_assert_uint_gt(c.nframes, 0);
	subject_end(&s);
}
END_TEST

START_TEST(an_answer_about_what_is_over_is_not_used)
{
	uint64_t end = clock_after_ms(clock_now_ns(), SOON_MS);
	struct capture c;
	struct subject s;
	int rc;

	subject_start(&s, handler_that_spins, false);
	do { /* one that was given before it was over is good */
		atomic_store(&s.seq, 0);
		ck_assert_int_eq(capture_look(capturer, s.capture, &s.where, &c), -EINPROGRESS);
		atomic_store(&s.seq, 1);
		rc = look(&s, &c);
	} while (rc == 0 && clock_now_ns() < end);
	ck_assert_int_eq(rc, -ESTALE);
	s.where.expected = 1;
	look_running(&s, &c);
	if (!UNDER_TSAN)
		must_name(&c, "handler_that_spins");
	subject_end(&s);
}
END_TEST

START_TEST(a_stack_other_than_the_one_in_use_gives_no_frames)
{
	struct capture_where elsewhere;
	struct capture c;
	struct subject s;

	subject_start(&s, _i ? handler_that_spins : handler_that_reads, true);
	elsewhere = s.where;
	capture_thread_stack(s.capture, &s.where.low, &s.where.high);
	for (unsigned i = 0; i < 5; i++) {
		usleep(1000);
		ck_assert_int_eq(look(&s, &c), 0);
		ck_assert_uint_eq(c.nframes, 0);
	}
	s.where = elsewhere;
	if (_i)
		look_running(&s, &c);
	else
		ck_assert_int_eq(look(&s, &c), 0);
	ck_assert(UNDER_TSAN || c.nframes > 0);
	subject_end(&s);
}
END_TEST

START_TEST(a_handler_of_the_app_in_place_of_ours_is_respected)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL }, ours;
	struct capture c;
	struct subject s;

	subject_start(&s, handler_that_spins, false);
	ck_assert_int_eq(sigaction(capture_signal(), &dfl, &ours), 0);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(look(&s, &c), 0);
		ck_assert_int_eq(c.state, CAPTURE_RUNNING);
		ck_assert_uint_eq(c.nframes, 0);
		usleep(10000);
	}
	ck_assert_int_eq(sigaction(capture_signal(), &ours, NULL), 0);
	subject_end(&s);
}
END_TEST

START_TEST(a_signal_that_the_app_uses_is_not_taken)
{
	struct sigaction theirs = { .sa_handler = SIG_IGN };
	pid_t child = fork(); /* the signal is chosen once a process */
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		sigaction(SIGRTMAX, &theirs, NULL);
		_exit(capture_signal() != SIGRTMAX - 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- elsewhere --------------------------------------------------------------------------------------------------- */

static void forbid(int call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void forbid_vm_readv(void)
{
	forbid(SYS_process_vm_readv);
}

/* As a server does that begins as root; only this thread and those it starts later lose what root may. */
static void drop_privileges(void)
{
	if (getuid() == 0)
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	else
		ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 0), 0);
}

static void see_after(void (*deed)(void))
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct capture c;
		struct subject s;

		teardown();
		setup(); /* they are a process's own */
		subject_start(&s, handler_that_reads, true);
		deed();
		look_asleep(&s, "read", &c);
		must_name(&c, "handler_that_reads");
		subject_end(&s);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

START_TEST(a_sandbox_without_process_vm_readv_is_no_hindrance)
{
	if (!UNDER_TSAN) /* which cannot start threads in a child */
		see_after(forbid_vm_readv);
}
END_TEST

START_TEST(without_timers_a_running_thread_is_not_asked)
{
	pid_t child;
	int status;

	if (UNDER_TSAN)
		return; /* which cannot start threads in a child */
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct capture c;
		struct subject s;

		forbid(SYS_timer_create);
		subject_start(&s, handler_that_spins, false);
		ck_assert(!capture_thread_answers(s.capture));
		ck_assert_int_eq(capture_look(capturer, s.capture, &s.where, &c), 0);
		ck_assert_int_eq(c.state, CAPTURE_RUNNING);
		ck_assert_uint_eq(c.nframes, 0);
		subject_end(&s);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(privileges_may_be_dropped)
{
	if (!UNDER_TSAN)
		see_after(drop_privileges);
}
END_TEST

/* In a child that has dropped them; `again`: and lets the kernel tell all the same. */
static void see_one_that_begins_after(bool again)
{
	char text[SYSCALL_TEXT_MAX];
	struct capture c;
	struct subject s;

	teardown();
	setup();
	drop_privileges();
	if (again)
		ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
	subject_start(&s, handler_that_reads, false);
	if (again) {
		look_asleep(&s, "read", &c);
		must_name(&c, "handler_that_reads");
		ck_assert_int_eq(c.secret, 0);
	} else {
		look_asleep(&s, "", &c);
		ck_assert_int_eq(c.secret, EACCES);
		ck_assert_uint_eq(c.nframes, 0);
		syscall_format(capturer, &c, text, sizeof(text));
		ck_assert(text[0] == '\0' || strncmp(text, "the kernel's ", 13) == 0);
	}
	subject_end(&s);
	ck_assert_uint_eq(s.eintr, 0);
	subject_start(&s, handler_that_spins, false);
	look_running(&s, &c);
	must_name(&c, "handler_that_spins");
	ck_assert_int_eq(c.secret, 0);
	subject_end(&s);
}

START_TEST(a_thread_that_begins_without_privileges_is_told_as_far_as_may_be)
{
	pid_t child;
	int status;

	if (UNDER_TSAN)
		return; /* which cannot start threads in a child */
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		see_one_that_begins_after(_i);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(times_of_a_thread_are_told)
{
	uint64_t cpu, waited, cpu_later, waited_later, end = clock_after_ms(clock_now_ns(), SOON_MS);
	struct subject s;

	subject_start(&s, handler_that_spins, false);
	ck_assert_int_eq(capture_thread_times(s.capture, &cpu, &waited), 0);
	do {
		usleep(1000);
		ck_assert_int_eq(capture_thread_times(s.capture, &cpu_later, &waited_later), 0);
	} while (cpu_later == cpu && clock_now_ns() < end);
	ck_assert_uint_gt(cpu_later, cpu);
	ck_assert_uint_ge(waited_later, waited);
	subject_end(&s);
}
END_TEST

START_TEST(a_look_at_a_sleeping_thread_is_cheap)
{
	struct capture c;
	struct subject s;
	uint64_t begin_ns;

	subject_start(&s, handler_that_reads, _i);
	look_asleep(&s, "read", &c);
	begin_ns = clock_now_ns();
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(capture_look(capturer, s.capture, &s.where, &c), 0);
	printf("a look at a sleeping thread with %u frames: %.1f us\n", c.nframes,
		(double)(clock_now_ns() - begin_ns) / 1000 / NS_PER_US);
	subject_end(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("capture");
	TCase *tc = tcase_create("capture");
	SRunner *runner = srunner_create(suite);
	int failed;

	setvbuf(stdout, NULL, _IOLBF, 0); /* what a test prints before it fails is seen */
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	/* First: without CK_FORK the signal is chosen by the first test that needs it. */
	tcase_add_test(tc, a_signal_that_the_app_uses_is_not_taken);
	tcase_add_loop_test(tc, a_sleeping_handler_is_named_with_its_call, 0, SLEEPERS);
	tcase_add_loop_test(tc, a_handler_that_sleeps_on_a_fiber_is_named_with_its_call, 0, SLEEPERS);
	tcase_add_loop_test(tc, a_handler_that_spins_is_named, 0, 2);
	tcase_add_loop_test(tc, a_handler_that_runs_in_libc_is_named, 0, 2);
	tcase_add_loop_test(tc, ten_thousand_looks_interrupt_no_sleep, 0, 2);
	tcase_add_test(tc, a_look_at_what_is_over_says_so);
	tcase_add_test(tc, an_answer_about_what_is_over_is_not_used);
	tcase_add_loop_test(tc, a_stack_other_than_the_one_in_use_gives_no_frames, 0, 2);
	tcase_add_test(tc, a_handler_of_the_app_in_place_of_ours_is_respected);
	tcase_add_test(tc, a_sandbox_without_process_vm_readv_is_no_hindrance);
	tcase_add_test(tc, without_timers_a_running_thread_is_not_asked);
	tcase_add_test(tc, privileges_may_be_dropped);
	tcase_add_loop_test(tc, a_thread_that_begins_without_privileges_is_told_as_far_as_may_be, 0, 2);
	tcase_add_test(tc, times_of_a_thread_are_told);
	tcase_add_loop_test(tc, a_look_at_a_sleeping_thread_is_cheap, 0, 2);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
