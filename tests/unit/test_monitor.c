/* test_monitor.c: what the monitor makes of holds that go on: what it tells of them must stay true, whatever the thread
 * that holds the loop does next, and every answer must tell the same; and when it reads names.  The loop is a thread
 * of the test's own. */
#include "base/clock.h"
#include "base/log.h"
#include "monitor.h"
#include "stall.h"
#include "watch.h"

#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS NS_PER_MS
#define LIMIT (10 * MS)

/* Until it has seen what the test waits for; with a bound that only a broken monitor reaches. */
#define UNTIL(condition)                                                       \
	do {                                                                   \
		uint64_t end_ = clock_now_ns() + 30 * NS_PER_S;                \
		while (!(condition)) {                                         \
			ck_assert_msg(clock_now_ns() < end_, "%s", #condition);\
			usleep(500);                                           \
		}                                                              \
	} while (0)

static struct watch *watch;
static struct log *text_log;
static char log_path[] = "/tmp/test_monitorXXXXXX";
static void (*hold)(void);      /* what the loop does */
static _Atomic bool over;       /* the hold is to end */
static _Atomic bool quiet;      /* nobody else wants the loop's CPU */
static _Atomic bool turned;     /* it is over, and as many turns have begun as may add victims */
static _Atomic bool halt;       /* the monitor is to stop where it asks for a name */
static sem_t attached, halted, resumed, let_go;
static cpu_set_t cpus;          /* the loop's, if it may only use one */
static pid_t loop_tid;
static struct stall latest[STALL_KEPT];

static const char *name_of(void *arg, uint32_t route)
{
	static const char *const names[] = { "GET /first", "GET /second" };

	(void)arg;
	if (atomic_exchange(&halt, false)) {
		sem_post(&halted);
		sem_wait(&resumed);
	}
	return names[route];
}

static void set_up(void)
{
	struct log_conf lc = { .level = LOG_DEBUG };
	struct watch_conf wc = { .loops = 1, .nroutes = 2, .limit_ns = LIMIT, .name = name_of };

	memcpy(log_path + strlen(log_path) - 6, "XXXXXX", 6);
	lc.fd = mkstemp(log_path);
	ck_assert_int_ge(lc.fd, 0);
	wc.log = text_log = log_new(&lc);
	close(lc.fd);
	watch = watch_new(&wc);
	ck_assert_ptr_nonnull(watch);
	sem_init(&attached, 0, 0);
	sem_init(&halted, 0, 0);
	sem_init(&resumed, 0, 0);
	sem_init(&let_go, 0, 0);
	over = quiet = turned = halt = false;
	CPU_ZERO(&cpus);
}

static void tear_down(void)
{
	watch_free(watch);
	log_free(text_log, 1000);
	unlink(log_path);
}

static uint64_t cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* By its own CPU time, so that a busy machine does not make it wait instead. */
static void spin(uint64_t ns)
{
	for (uint64_t end = cpu_time() + ns; cpu_time() < end;)
		;
}

/* The monitor's and the test's first CPU, which they leave to others. */
static void share_one_cpu(void)
{
	cpu_set_t rest;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(rest), &rest), 0);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&cpus) == 0; i++)
		if (CPU_ISSET(i, &rest)) {
			CPU_SET(i, &cpus);
			CPU_CLR(i, &rest);
		}
	if (CPU_COUNT(&rest) > 0)
		ck_assert_int_eq(sched_setaffinity(0, sizeof(rest), &rest), 0);
}

/* The loop gives way to whatever else runs on its CPU from now on, and this will.  Not before: beside others' work it
 * would hardly begin. */
static void *hog(void *unused)
{
	const struct sched_param none = { 0 };

	ck_assert_int_eq(sched_setscheduler(loop_tid, SCHED_IDLE, &none), 0);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
	while (!atomic_load(&quiet))
		;
	return unused;
}

/* A loop that is held once. */
static void *held_loop(void *unused)
{
	struct watch_loop *l = watch_attach(watch, 0);

	loop_tid = gettid();
	sem_post(&attached);
	UNTIL(atomic_load(&l->shared->tick_ns) > 0);
	if (CPU_COUNT(&cpus) > 0)
		ck_assert_int_eq(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
	watch_enter(l, WATCH_HANDLER, 1, clock_now_ns(), NULL, NULL);
	hold();
	watch_leave(l, clock_now_ns());
	for (int i = 0; i < WATCH_OLD; i++)
		watch_turn(l);
	atomic_store(&turned, true);
	UNTIL(stall_latest(watch_book(watch), latest) == 0 || !latest[0].ongoing);
	watch_detach(l);
	return unused;
}

static pthread_t begin(void (*how)(void))
{
	pthread_t t;

	hold = how;
	ck_assert_int_eq(pthread_create(&t, NULL, held_loop, NULL), 0);
	sem_wait(&attached);
	ck_assert_int_eq(watch_start(watch), 0);
	return t;
}

static void spin_until_over(void)
{
	while (!atomic_load(&over))
		;
}

/* Nobody else wants the loop's CPU any more, and the hold ends.  Who may put the loop back among the others, which only
 * root may, does: beside others' work it would end late. */
static void end_hold(pthread_t loop, pthread_t other)
{
	const struct sched_param none = { 0 };

	atomic_store(&over, true);
	atomic_store(&quiet, true);
	pthread_join(other, NULL);
	(void)sched_setscheduler(loop_tid, SCHED_OTHER, &none);
	pthread_join(loop, NULL);
}

/* A look at the loop's stack is not asked for again once it has been had, or after this. */
#define SEEN (6 * LIMIT)

START_TEST(who_computes_and_loses_its_cpu_is_never_told_to_block)
{
	struct stall_book *b = watch_book(watch);
	static struct stall now[STALL_KEPT];
	pthread_t loop, other;
	uint64_t end;

	share_one_cpu();
	loop = begin(spin_until_over);
	/* So much that it remains the cause where the machine stands still for a while. */
	UNTIL(stall_latest(b, now) == 1 && now[0].parts.cpu > 5 * SEEN + now[0].parts.lost);
	ck_assert_int_eq(pthread_create(&other, NULL, hog, NULL), 0);
	end = clock_now_ns() + 500 * MS;
	while (clock_now_ns() < end) {
		usleep(2000);
		ck_assert_uint_eq(stall_latest(b, now), 1);
		ck_assert_int_ne(now[0].cause, STALL_BLOCKED);
	}
	end_hold(loop, other);
	ck_assert_uint_eq(stall_total(b, 1, STALL_BLOCKED), 0);
	ck_assert_uint_eq(stall_total(b, 1, STALL_CPU), 1);
}
END_TEST

static void sleep_and_go_on(void)
{
	usleep(SEEN / NS_PER_US * 2);
	spin_until_over();
}

START_TEST(who_has_slept_and_now_waits_for_a_cpu_blocks_no_longer)
{
	struct stall_book *b = watch_book(watch);
	static struct stall now[STALL_KEPT];
	pthread_t loop, other;
	share_one_cpu();
	loop = begin(sleep_and_go_on);
	UNTIL(stall_latest(b, now) == 1);
	ck_assert_int_eq(pthread_create(&other, NULL, hog, NULL), 0);
	do {
		usleep(2000);
		ck_assert_uint_eq(stall_latest(b, now), 1);
		/* A look may be late, by the machine's fault or for want of a CPU. */
		ck_assert_uint_lt(now[0].parts.blocked, SEEN * 3 + now[0].parts.lost + now[0].parts.hidden);
	} while (now[0].parts.wall < SEEN * 15);
	end_hold(loop, other);
}
END_TEST

/* Longer than what a stall that goes on is told of, and counted, first; and then even longer on a CPU. */
static void sleep_and_compute(void)
{
	sleep(1);
	usleep(50000);
	spin(1500 * MS);
}

START_TEST(a_stall_that_was_counted_is_told_as_what_it_was_counted_as)
{
	struct stall_book *b = watch_book(watch);
	static struct stall now[STALL_KEPT];
	pthread_t loop = begin(sleep_and_compute);

	UNTIL(stall_latest(b, now) == 1 && now[0].parts.cpu > 1200 * MS);
	pthread_join(loop, NULL);
	ck_assert_uint_eq(stall_latest(b, now), 1);
	ck_assert_uint_eq(stall_total(b, 1, STALL_BLOCKED), 1);
	ck_assert_uint_eq(stall_total(b, 1, STALL_CPU), 0);
	ck_assert_int_eq(now[0].cause, STALL_BLOCKED);
	ck_assert_str_eq(now[0].name, "GET /second");
}
END_TEST

static void wait_to_be_let_go(void)
{
	sem_wait(&let_go);
}

START_TEST(a_hold_that_ends_and_is_forgotten_by_its_loop_within_one_look_keeps_what_was_seen_of_it)
{
	struct stall_book *b = watch_book(watch);
	static struct stall now[STALL_KEPT];
	pthread_t loop = begin(wait_to_be_let_go);

	UNTIL(stall_total(b, 1, STALL_BLOCKED) == 1);   /* told, so that a late monitor cannot take it back */
	atomic_store(&halt, true);
	sem_wait(&halted);                              /* in the middle of a look at it */
	sem_post(&let_go);
	UNTIL(atomic_load(&turned));
	sem_post(&resumed);
	pthread_join(loop, NULL);
	ck_assert_uint_eq(stall_latest(b, now), 1);
	ck_assert_str_eq(now[0].name, "GET /second");
	ck_assert_int_eq(now[0].cause, STALL_BLOCKED);
	ck_assert(!now[0].ongoing);
	ck_assert_uint_eq(stall_total(b, 2, STALL_LATE), 0);
}
END_TEST

/* ---- what loops go by that judge themselves ---------------------------------------------------------------------- */

static struct watch_loop *first_loop;
static _Atomic uint64_t entered_ns;

/* A look at all loops has found none held.  On the monitor's thread, in place of the loop, which enters now. */
static void enter_behind_a_look(void *unused, uint64_t now_ns)
{
	(void)unused;
	if (atomic_load(&entered_ns))
		return;
	watch_enter(first_loop, WATCH_HANDLER, 0, now_ns, NULL, NULL);
	atomic_store(&entered_ns, now_ns);
}

START_TEST(a_loop_that_enters_just_before_the_monitor_sleeps_knows_when_that_is_to_look_again)
{
	struct watch_conf wc = { .loops = 1, .nroutes = 2, .limit_ns = LIMIT, .name = name_of, .log = text_log,
		.tick = enter_behind_a_look };
	struct watch *w = watch_new(&wc);
	uint64_t now;

	entered_ns = 0;
	first_loop = watch_attach(w, 0);
	now = clock_now_ns() + 1000 * NS_PER_S;
	ck_assert_uint_eq(watch_may_be_lost(first_loop, now), 0);       /* it does not run yet */
	ck_assert_int_eq(watch_start(w), 0);
	while (!atomic_load(&entered_ns) || atomic_load(&first_loop->shared->tick_ns) == atomic_load(&entered_ns)) {
		now = clock_now_ns() + 1000 * NS_PER_S; /* if it has not looked by then */
		ck_assert_uint_gt(watch_may_be_lost(first_loop, now), NS_PER_S);
	}
	watch_leave(first_loop, clock_now_ns());
	watch_detach(first_loop);
	watch_free(w);
}
END_TEST

static void *keep_a_cpu_busy(void *unused)
{
	while (!atomic_load(&quiet))
		;
	return unused;
}

/* Two threads on one CPU, until they have met. */
START_TEST(what_a_loop_waited_for_a_cpu_in_a_hold_is_nobodys)
{
	struct watch_loop *l = watch_attach(watch, 0);
	uint64_t end = clock_now_ns() + 30 * NS_PER_S, start, now, nobodys;
	struct watch_mark mark;
	cpu_set_t before;
	pthread_t other;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	share_one_cpu();
	ck_assert_int_eq(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
	ck_assert_int_eq(pthread_create(&other, NULL, keep_a_cpu_busy, NULL), 0);
	do {
		start = clock_now_ns();
		mark = watch_mark(l);
		spin(50 * MS);
		now = clock_now_ns();
		nobodys = watch_nobodys(l, &mark, now);
		ck_assert_uint_lt(nobodys, clock_now_ns() - start);
	} while (nobodys < 20 * MS && now < end);
	ck_assert_uint_ge(nobodys, 20 * MS);
	ck_assert_uint_eq(watch_nobodys(NULL, &(struct watch_mark){ 0, 0 }, now), 0);
	atomic_store(&quiet, true);
	pthread_join(other, NULL);
	sched_setaffinity(0, sizeof(before), &before);
	watch_detach(l);
}
END_TEST

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* Whether a descriptor leads to the program's own file. */
static bool program_is_open(void)
{
	char program[PATH_MAX] = "", path[64], target[PATH_MAX];
	bool found = false;

	ck_assert_int_gt(readlink("/proc/self/exe", program, sizeof(program) - 1), 0);
	for (int fd = 0; fd < 256 && !found; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		found = n > 0 && (size_t)n == strlen(program) && memcmp(target, program, (size_t)n) == 0;
	}
	return found;
}

static void *busy_loop(void *unused)
{
	struct watch_loop *l = watch_attach(watch, 0);

	sem_post(&attached);
	while (!atomic_load(&over)) {
		watch_enter(l, WATCH_HANDLER, 1, clock_now_ns(), NULL, NULL);
		watch_leave(l, clock_now_ns());
		watch_turn(l);
	}
	watch_detach(l);
	return unused;
}

START_TEST(files_are_opened_before_the_start_and_read_after_it)
{
	pthread_t loop;

	ck_assert(program_is_open());
	if (_i == 1) {  /* it never sleeps */
		ck_assert_int_eq(pthread_create(&loop, NULL, busy_loop, NULL), 0);
		sem_wait(&attached);
	}
	ck_assert(program_is_open());
	ck_assert_int_eq(watch_start(watch), 0);
	UNTIL(!program_is_open());
	over = true;
	if (_i == 1)
		pthread_join(loop, NULL);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("monitor");
	TCase *c = tcase_create("holds that go on");

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, who_computes_and_loses_its_cpu_is_never_told_to_block);
	tcase_add_test(c, who_has_slept_and_now_waits_for_a_cpu_blocks_no_longer);
	tcase_add_test(c, a_stall_that_was_counted_is_told_as_what_it_was_counted_as);
	tcase_add_test(c, a_hold_that_ends_and_is_forgotten_by_its_loop_within_one_look_keeps_what_was_seen_of_it);
	tcase_add_test(c, a_loop_that_enters_just_before_the_monitor_sleeps_knows_when_that_is_to_look_again);
	tcase_add_test(c, what_a_loop_waited_for_a_cpu_in_a_hold_is_nobodys);
	tcase_add_loop_test(c, files_are_opened_before_the_start_and_read_after_it, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
