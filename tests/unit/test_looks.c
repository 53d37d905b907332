/* test_looks.c: what the monitor's looks make of a hold, wherever they fall: of a thread that only these tests know, on
 * a clock of their own.  It computes, sleeps, waits for a CPU, or has its CPU stolen, which the kernel accounts as
 * nothing at all. */
#include "base/clock.h"
#include "base/futex.h"
#include "base/log.h"
#include "capture.h"
#include "watch.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t present;

static uint64_t test_now(void)
{
	return present;
}

static int test_gettime(clockid_t clock, struct timespec *t)
{
	(void)clock;
	*t = clock_timespec(present);
	return 0;
}

static int test_times(const struct capture_thread *t, uint64_t *cpu_ns, uint64_t *waited_ns);
static int test_glance(const struct capture_thread *t, const struct capture_where *where, struct capture *out);

static int waits;

/* Nobody wakes it before the end of the first wait, and somebody does before that of the second. */
static bool test_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t until_ns)
{
	(void)expected;
	if (waits++ == 0) {
		present = until_ns;
		return false;
	}
	atomic_store(word, 0);
	return true;
}

static int test_look(struct capturer *c, struct capture_thread *t, const struct capture_where *where,
	struct capture *out)
{
	(void)c;
	out->nframes = 1;
	out->frames[0] = (uintptr_t)test_look;
	return test_glance(t, where, out);
}

/* The monitor is compiled here once more, with these eyes; the linker then has no use for the library's own. */
#define clock_now_ns test_now
#define clock_gettime test_gettime
#define capture_thread_times test_times
#define capture_glance test_glance
#define capture_look test_look
#define futex_wait test_wait
#include "monitor.c"
#undef clock_now_ns
#undef clock_gettime
#undef capture_thread_times
#undef capture_glance
#undef capture_look
#undef futex_wait

#define MS NS_PER_MS
#define BEGUN (1000 * NS_PER_S)
#define LITTLE (NS_PER_MS / 5)
#define PIECES 8
#define PHASES 60       /* of a period, at which looks are made */

enum does { COMPUTES, SLEEPS, WAITS, STOLEN };

/* What the thread does from BEGUN on, one after the other. */
struct piece {
	enum does does;
	uint64_t ns;
};

static const uint64_t limits[] = { MS, 2 * MS, 5 * MS, 10 * MS, 25 * MS, 100 * MS };
#define LIMITS ((int)(sizeof(limits) / sizeof(limits[0])))

static uint64_t limit;
static struct piece does[PIECES + 1];
static struct watch_loop *loop;
static struct stall_book *book;
static struct log *silent;
static int glances;
static unsigned stalls;
static bool sleeps, was_away;   /* once the hold is over */
static struct stall latest[STALL_KEPT];

/* A wait is accounted when it is over. */
static struct account_times thread_at(uint64_t at_ns, enum does *state)
{
	struct account_times t = { .at_ns = at_ns, .cpu_ns = 77 * MS, .waited_ns = 33 * MS };
	uint64_t left = at_ns - BEGUN;
	const struct piece *p = does;

	for (; p->ns > 0 && left >= p->ns; left -= p->ns, p++) {
		t.cpu_ns += p->does == COMPUTES ? p->ns : 0;
		t.waited_ns += p->does == WAITS ? p->ns : 0;
	}
	t.cpu_ns += p->does == COMPUTES ? left : 0;
	*state = p->does;
	return t;
}

static int test_times(const struct capture_thread *t, uint64_t *cpu_ns, uint64_t *waited_ns)
{
	enum does state;
	struct account_times times = thread_at(present, &state);

	(void)t;
	*cpu_ns = times.cpu_ns;
	*waited_ns = times.waited_ns;
	return 0;
}

static int test_glance(const struct capture_thread *t, const struct capture_where *where, struct capture *out)
{
	enum does state;

	(void)t;
	(void)where;
	glances++;
	thread_at(present, &state);
	out->state = state == SLEEPS ? CAPTURE_SLEEPING : CAPTURE_RUNNING;
	return 0;
}

static const char *name_of(void *arg, uint32_t route)
{
	(void)arg;
	(void)route;
	return "GET /";
}

/* As watch_leave does it, by the thread that only these tests know. */
static void leave(uint64_t start, uint64_t end)
{
	enum does state;
	struct account_times t = thread_at(end, &state);

	if (end - start >= limit) {
		loop->longs[0] = (struct watch_long){ .seq = counter_read(&loop->line.seq), .start_ns = start,
			.end_ns = end, .cpu_ns = t.cpu_ns, .waited_ns = t.waited_ns, .age = WATCH_OLD };
		loop->longs_end = 1;
	}
	counter_add(&loop->line.seq, 1);
}

static void look_now(struct monitor *m, uint64_t *due)
{
	look_around(m, due);
	rest(m, *due, false);
}

/* The monitor's looks at a hold, all of them in time, and one of them so long after the hold began. */
static void look_at_hold(struct monitor *m, uint64_t start, uint64_t end, uint64_t phase)
{
	const struct lateness_clock clock = { now_ns, suspended_ns, own_times, m };
	uint64_t due;

	present = start + phase - (start + phase - BEGUN) / m->period_ns * m->period_ns;
	lateness_init(&m->late, &clock);
	m->symbols_ns = NEVER;
	for (; present < start; present = due)
		look_now(m, &due);
	watch_enter(loop, WATCH_HANDLER, 0, start, NULL, NULL);
	for (glances = 0; present < end; present = due)
		look_now(m, &due);
	leave(start, end);
	for (int i = 0; i < 2; i++, present = due)
		look_now(m, &due);
}

/* It sleeps beside idle loops, and is woken. */
static void sleep_once(struct monitor *m)
{
	uint64_t due;

	present += MS;
	look_now(m, &due);
	waits = 0;
	sleep_long(m);
	was_away = m->late.away;
}

/* What comes of a hold that lasts from `start` to `end`. */
static void watch_hold(uint64_t start, uint64_t end, uint64_t phase)
{
	static struct watch_shared shared;      /* not on the stack, whose copy in ASan is aligned for less */
	struct monitor_conf conf = { .loops = 1, .shared = &shared, .limit_ns = limit };
	struct monitor *m;

	loop = conf.watched = aligned_alloc(_Alignof(struct watch_loop), sizeof(*loop));
	ck_assert_ptr_nonnull(loop);
	memset(loop, 0, sizeof(*loop));
	pthread_mutex_init(&loop->looking, NULL);
	memset(&shared, 0, sizeof(shared));
	shared.due_ns = NEVER;
	loop->shared = &shared;
	loop->thread = capture_thread_new();
	ck_assert_ptr_nonnull(loop->thread);
	book = conf.book = stall_book_new(1, name_of, NULL, silent);
	ck_assert_ptr_nonnull(book);
	m = monitor_new(&conf);
	ck_assert_ptr_nonnull(m);
	look_at_hold(m, start, end, phase);
	stalls = stall_latest(book, latest);
	if (sleeps)
		sleep_once(m);
	monitor_free(m);
	stall_book_free(book);
	capture_thread_free(loop->thread);
	pthread_mutex_destroy(&loop->looking);
	free(loop);
}

/* A hold, wherever the looks fall, with what the thread does before it: the times are thousandths of the limit, but
 * that a hold is longer by `more`. */
static void each_phase(const struct piece *before, const struct piece *hold, uint64_t more, enum stall_cause cause)
{
	uint64_t start = BEGUN, end, period = monitor_period(limit);
	int n = 0;

	memset(does, 0, sizeof(does));
	for (; before->ns > 0; before++, start += does[n++].ns)
		does[n] = (struct piece){ before->does, before->ns * limit / 1000 };
	for (end = start; hold->ns > 0; hold++, end += does[n++].ns)
		does[n] = (struct piece){ hold->does, hold->ns * limit / 1000 + more };
	for (uint64_t phase = 0; phase < period; phase += period / PHASES) {
		watch_hold(start, end, phase);
		ck_assert_uint_eq(stalls, 1);
		ck_assert_uint_eq(latest[0].parts.wall, end - start);
		ck_assert_uint_eq(latest[0].parts.lost, 0);
		ck_assert_msg(latest[0].cause == cause, "%s, limit %d us, a look at %d us: cpu %d, blocked %d",
			stall_cause_name(latest[0].cause), (int)(limit / NS_PER_US), (int)(phase / NS_PER_US),
			(int)(latest[0].parts.cpu / NS_PER_US), (int)(latest[0].parts.blocked / NS_PER_US));
	}
}

static const struct piece idle[] = { { SLEEPS, 12000 }, { SLEEPS, 0 } };
static const struct piece busy[] = { { COMPUTES, 12000 }, { SLEEPS, 0 } };
static const struct piece starved[] = { { WAITS, 8000 }, { COMPUTES, 2500 }, { SLEEPS, 0 } };
static const struct piece *const lives[] = { idle, busy, starved };

START_TEST(who_computes_for_a_little_over_the_limit_is_told_to)
{
	static const struct piece hold[] = { { COMPUTES, 1000 }, { SLEEPS, 0 } };

	limit = limits[_i];
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		each_phase(lives[i], hold, LITTLE, STALL_CPU);
}
END_TEST

START_TEST(who_sleeps_for_a_little_over_the_limit_blocks)
{
	static const struct piece hold[] = { { SLEEPS, 1000 }, { SLEEPS, 0 } };

	limit = limits[_i];
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		each_phase(lives[i], hold, LITTLE, STALL_BLOCKED);
}
END_TEST

/* Of what it computed in the period before the first look no more than half can be taken for the hold's, so a hold that
 * computes for less than half of the limit itself is nobody's at every phase, also where the period is the limit. */
START_TEST(what_the_thread_computed_before_does_not_count_when_its_cpu_is_stolen)
{
	static const struct piece first[] = { { STOLEN, 720 }, { COMPUTES, 480 }, { SLEEPS, 0 } };
	static const struct piece last[] = { { COMPUTES, 300 }, { STOLEN, 900 }, { COMPUTES, 100 }, { SLEEPS, 0 } };

	limit = limits[_i];
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		each_phase(lives[i], first, 0, STALL_RUNNABLE);
		each_phase(lives[i], last, 0, STALL_RUNNABLE);
	}
}
END_TEST

START_TEST(who_waits_for_a_cpu_at_first_has_not_slept_then)
{
	static const struct piece hold[] = { { WAITS, 100 }, { SLEEPS, 950 }, { SLEEPS, 0 } };

	limit = limits[_i];
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		each_phase(lives[i], hold, 0, STALL_RUNNABLE);
}
END_TEST

START_TEST(who_was_seen_running_before_it_slept_has_not_slept_until_then)
{
	static const struct piece hold[] = { { STOLEN, 900 }, { SLEEPS, 150 }, { SLEEPS, 0 } };

	limit = limits[_i];
	each_phase(idle, hold, 0, STALL_RUNNABLE);
}
END_TEST

/* What the record says that it did when its stack was taken. */
START_TEST(who_blocks_is_shown_where_it_sleeps_though_it_was_first_seen_running)
{
	static const struct piece blocks[] = { { COMPUTES, 1200 }, { SLEEPS, 6000 }, { SLEEPS, 0 } };
	static const struct piece computes[] = { { COMPUTES, 6000 }, { SLEEPS, 1200 }, { SLEEPS, 0 } };

	limit = limits[_i];
	each_phase(idle, blocks, 0, STALL_BLOCKED);
	ck_assert_int_eq(latest[0].state, CAPTURE_SLEEPING);
	ck_assert_uint_eq(latest[0].nframes, 1);
	each_phase(idle, computes, 0, STALL_CPU);
	ck_assert_int_eq(latest[0].state, CAPTURE_RUNNING);
}
END_TEST

START_TEST(a_hold_that_has_just_begun_is_left_to_the_next_look)
{
	uint64_t start = BEGUN + 12 * MS, period;

	limit = limits[_i];
	period = monitor_period(limit);
	memset(does, 0, sizeof(does));
	does[0] = (struct piece){ COMPUTES, 1000 * MS };
	watch_hold(start, start + period / 5, period / 9);
	ck_assert_int_eq(glances, (period < limit ? 0 : 1));      /* the next would come too late */
	watch_hold(start, start + period / 5, period / 7);
	ck_assert_int_eq(glances, 1);
}
END_TEST

START_TEST(who_slept_long_may_have_done_other_things)
{
	limit = 10 * MS;
	memset(does, 0, sizeof(does));
	does[0] = (struct piece){ SLEEPS, 1000 * MS };
	sleeps = true;
	watch_hold(BEGUN + 20 * MS, BEGUN + 21 * MS, 0);
	ck_assert_int_eq(waits, 2);
	ck_assert(was_away);
}
END_TEST

static void set_up(void)
{
	sleeps = false;
	silent = log_new(&(struct log_conf){ .fd = STDERR_FILENO, .level = LOG_ERROR });
	ck_assert_ptr_nonnull(silent);
}

static void tear_down(void)
{
	log_free(silent, 1000);
}

static Suite *suite(void)
{
	Suite *s = suite_create("looks");
	TCase *c = tcase_create("holds");

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, who_computes_for_a_little_over_the_limit_is_told_to, 0, LIMITS);
	tcase_add_loop_test(c, who_sleeps_for_a_little_over_the_limit_blocks, 0, LIMITS);
	tcase_add_loop_test(c, what_the_thread_computed_before_does_not_count_when_its_cpu_is_stolen, 0, LIMITS);
	tcase_add_loop_test(c, who_waits_for_a_cpu_at_first_has_not_slept_then, 0, LIMITS);
	tcase_add_loop_test(c, who_was_seen_running_before_it_slept_has_not_slept_until_then, 1, LIMITS);
	tcase_add_loop_test(c, who_blocks_is_shown_where_it_sleeps_though_it_was_first_seen_running, 0, LIMITS);
	tcase_add_loop_test(c, a_hold_that_has_just_begun_is_left_to_the_next_look, 0, LIMITS);
	tcase_add_test(c, who_slept_long_may_have_done_other_things);
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
