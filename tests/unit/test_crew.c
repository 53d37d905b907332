/* test_crew.c: workers that hang and pools that starve, as the monitor finds and tells them; the time is the test's.
 *
 * What workers say of themselves is written by the test, in lines of its own; where it matters what a thread does there
 * is one, which waits for what the test does.
 */
#include "base/clock.h"
#include "base/log.h"
#include "capture.h"
#include "crew.h"
#include "stall.h"
#include "symbols.h"
#include "watch.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define S NS_PER_S
#define LIMIT (30 * S)
#define WORKERS 3

static struct {
	struct log *log;
	int log_fd;
	struct stall_book *book;
	struct watch_shared shared;
	struct crew *crew;
	struct capturer *capturer;
	struct symbols *symbols;
	struct crew_pool pool;          /* what the pool says of itself */
	struct work_line *ends;         /* a job that ends while it is looked at */
	struct work_line lines[WORKERS];
	unsigned joined;
	uint64_t t;                     /* when the test began */
	int pipe[2];
} all;

static struct stall latest[STALL_KEPT];

static const char *route_name(void *arg, uint32_t route)
{
	(void)arg;
	return route == 0 ? "GET /slow" : "GET /other";
}

/* Asked for once a worker is found to hang, before its thread is looked at. */
static const char *pool_name(void *arg, unsigned pool)
{
	(void)arg, (void)pool;
	if (all.ends)
		work_end(all.ends);
	return "db";
}

static void pool_look(void *arg, unsigned pool, struct crew_pool *now)
{
	(void)arg, (void)pool;
	*now = all.pool;
}

static void setup(void)
{
	struct crew_conf conf = { .pools = 1, .nroutes = 2, .limit_ns = LIMIT, .pool_name = pool_name,
		.pool_look = pool_look, .shared = &all.shared };

	memset(&all, 0, sizeof(all));
	all.log_fd = memfd_create("log", MFD_CLOEXEC);
	ck_assert_int_ge(all.log_fd, 0);
	all.log = log_new(&(struct log_conf){ .fd = all.log_fd, .level = LOG_INFO });
	all.book = conf.book = stall_book_new(2, route_name, NULL, all.log);
	all.crew = crew_new(&conf);
	all.capturer = capturer_new();
	all.symbols = symbols_new();
	ck_assert(all.log && all.book && all.crew && all.capturer && all.symbols);
	ck_assert_int_eq(pipe(all.pipe), 0);
	all.t = clock_now_ns();
}

static void teardown(void)
{
	while (all.joined > 0)
		crew_leave(all.crew, &all.lines[--all.joined]);
	crew_free(all.crew);
	stall_book_free(all.book);
	capturer_free(all.capturer);
	symbols_free(all.symbols);
	log_free(all.log, 1000);
	close(all.log_fd);
	close(all.pipe[0]);
	close(all.pipe[1]);
}

/* A worker that is this thread, as far as anybody looks. */
static struct work_line *join(void)
{
	struct work_line *line = &all.lines[all.joined++];

	crew_join(all.crew, 0, line);
	return line;
}

static void look_at(uint64_t after_ns)
{
	crew_look(all.crew, all.capturer, all.symbols, all.t + after_ns, 0);
}

/* How many lines of the log have that. */
static unsigned told(const char *text)
{
	static char lines[1 << 16];
	unsigned n = 0;
	ssize_t got;

	log_flush(all.log, 10000);
	got = pread(all.log_fd, lines, sizeof(lines) - 1, 0);
	ck_assert_int_ge(got, 0);
	lines[got] = '\0';
	for (const char *at = lines; (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* ---- one that hangs ---------------------------------------------------------------------------------------------- */

START_TEST(a_job_hangs_from_the_limit_on)
{
	struct work_line *line = join();

	work_begin(line, 0, all.t);
	look_at(S);
	look_at(LIMIT - 1);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 0), 0);
	ck_assert_uint_eq(stall_latest(all.book, latest), 0);
	ck_assert_uint_eq(crew_due(all.crew), all.t + LIMIT);
	look_at(LIMIT + S);     /* should this thread have had to wait for a CPU meanwhile, that is taken off */
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 0), 1);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 1), 0);
	ck_assert_uint_eq(stall_latest(all.book, latest), 1);
	ck_assert_int_eq(latest[0].kind, STALL_WORKER);
	ck_assert_str_eq(latest[0].name, "GET /slow");
	ck_assert_str_eq(latest[0].pool, "db");
	ck_assert_int_eq(latest[0].cause, STALL_BLOCKED);       /* this thread has used less CPU time than that */
	ck_assert_uint_eq(latest[0].parts.wall, LIMIT + S);
	ck_assert(latest[0].ongoing);
}
END_TEST

START_TEST(one_that_hangs_is_told_at_ages_that_double_and_at_its_end)
{
	static const struct {
		unsigned age_s, told;
	} steps[] = { { 29, 0 }, { 31, 1 }, { 32, 1 }, { 59, 1 }, { 60, 2 }, { 61, 2 }, { 119, 2 }, { 120, 3 },
		{ 500, 4 }, { 501, 4 } };
	struct work_line *line = join();

	work_begin(line, 1, all.t);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		look_at(steps[i].age_s * S);
		/* It may have been asked for its frames; then it is told when it has answered, or will not. */
		for (unsigned n = 0; told("a route holds a thread") < steps[i].told && n < 1000; n++) {
			usleep(1000);
			look_at(steps[i].age_s * S);
		}
		ck_assert_uint_eq(told("a route holds a thread"), steps[i].told);
	}
	ck_assert_uint_eq(told("held="), 4);
	ck_assert_uint_eq(told("route=\"GET /other\""), 4);
	work_end(line);
	look_at(502 * S);
	ck_assert_uint_eq(told("a route held a thread"), 1);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 1), 1);
	ck_assert_uint_eq(stall_latest(all.book, latest), 1);
	ck_assert(!latest[0].ongoing);
	ck_assert_uint_eq(latest[0].parts.wall, 502 * S);
}
END_TEST

START_TEST(a_job_after_the_other_is_no_long_one)
{
	struct work_line *line = join();

	for (unsigned i = 0; i < 10; i++) {
		work_begin(line, 0, all.t + i * 20 * S);
		look_at(i * 20 * S + 19 * S);
		work_end(line);
	}
	look_at(500 * S);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 0), 0);
	ck_assert_uint_eq(told("thread of its pool"), 0);
}
END_TEST

START_TEST(a_job_that_ends_while_it_is_looked_at_is_not_reported)
{
	struct work_line *line = join();

	work_begin(line, 0, all.t);
	look_at(S);
	all.ends = line;
	look_at(LIMIT + S);
	ck_assert_uint_eq(atomic_load(&line->since_ns), 0);
	look_at(LIMIT + 2 * S);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 0), 0);
	ck_assert_uint_eq(stall_latest(all.book, latest), 0);
	ck_assert_uint_eq(told("thread of its pool"), 0);
}
END_TEST

START_TEST(a_worker_that_leaves_in_its_stall_is_told_of_to_the_end)
{
	work_begin(join(), 0, all.t);
	look_at(S);
	look_at(LIMIT + S);
	crew_leave(all.crew, &all.lines[--all.joined]);
	look_at(LIMIT + 2 * S);
	look_at(LIMIT + 3 * S);
	ck_assert_uint_eq(told("a route held a thread"), 1);
	ck_assert_uint_eq(crew_due(all.crew), NEVER);   /* it has gone from the list */
}
END_TEST

START_TEST(a_machine_that_stood_still_blames_no_route)
{
	struct work_line *line = join();

	work_begin(line, 0, all.t);
	crew_look(all.crew, all.capturer, all.symbols, all.t + S, 0);
	crew_look(all.crew, all.capturer, all.symbols, all.t + LIMIT + S, LIMIT);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 0), 0);
	ck_assert_uint_eq(told("thread of its pool"), 0);
	crew_look(all.crew, all.capturer, all.symbols, all.t + 3 * LIMIT, LIMIT);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 0), 1);
}
END_TEST

/* ---- a pool that starves ----------------------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	void (*job)(void);
	uint32_t route;
	struct work_line *line;
	sem_t working, over;
	sigset_t pending;       /* at the end of its job */
};

static void read_pipe(void)
{
	char c;

	ck_assert_int_eq(read(all.pipe[0], &c, 1), 1);
}

static _Atomic bool stop;

static void spin(void)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		continue;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	sigset_t signal;

	crew_join(all.crew, 0, w->line);
	sigemptyset(&signal);
	if (capture_signal())
		sigaddset(&signal, capture_signal());
	pthread_sigmask(SIG_BLOCK, &signal, NULL);
	work_begin(w->line, w->route, all.t);
	sem_post(&w->working);
	w->job();
	sigpending(&w->pending);
	work_end(w->line);
	while (sem_wait(&w->over) != 0)
		;
	crew_leave(all.crew, w->line);
	return NULL;
}

static void start(struct worker *w, unsigned i, void (*job)(void), uint32_t route)
{
	*w = (struct worker){ .job = job, .route = route, .line = &all.lines[i] };
	sem_init(&w->working, 0, 0);
	sem_init(&w->over, 0, 0);
	ck_assert_int_eq(pthread_create(&w->thread, NULL, work, w), 0);
	while (sem_wait(&w->working) != 0)
		;
}

static void end(struct worker *w)
{
	sem_post(&w->over);
	pthread_join(w->thread, NULL);
}

static void starve(uint64_t since_ns)
{
	all.pool = (struct crew_pool){ .limit = 2, .busy = 2, .queued = 5, .oldest_ns = since_ns };
}

/* Looks anew, in episodes of its own, until the last is told with that text. */
static bool comes_to_be_told(const char *text)
{
	for (unsigned i = 0; i < 10000; i++) {
		starve(all.t);
		look_at(S);
		ck_assert_uint_ge(stall_latest(all.book, latest), 1);
		if (strcmp(latest[0].text, text) == 0)
			return true;
		all.pool.queued = 0;
		look_at(S);
		usleep(100);
	}
	printf("%s\n", latest[0].text);
	return false;
}

START_TEST(a_pool_starves_when_all_are_busy_and_one_has_waited)
{
	starve(all.t);
	look_at(S - 1);
	ck_assert_uint_eq(crew_starvations(all.crew, 0), 0);
	all.pool.busy = 1;
	look_at(2 * S);
	ck_assert_uint_eq(crew_starvations(all.crew, 0), 0);
	starve(all.t);
	look_at(2 * S);
	ck_assert_uint_eq(crew_starvations(all.crew, 0), 1);
}
END_TEST

START_TEST(an_episode_is_counted_once_and_told_at_ages_that_double)
{
	static const struct {
		unsigned age_s, told;
	} steps[] = { { 1, 1 }, { 2, 2 }, { 3, 2 }, { 4, 3 }, { 7, 3 }, { 8, 4 } };

	for (unsigned episode = 0; episode < 2; episode++) {
		uint64_t begin_ns = episode * 100 * S;

		starve(all.t + begin_ns);
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			look_at(begin_ns + steps[i].age_s * S);
			ck_assert_uint_eq(told("all threads of a pool are busy"), episode * 4 + steps[i].told);
		}
		ck_assert_uint_eq(crew_starvations(all.crew, 0), episode + 1);
		ck_assert_uint_eq(stall_latest(all.book, latest), episode + 1);
		ck_assert(latest[0].ongoing);
		all.pool.queued = 0;
		look_at(begin_ns + 9 * S);
		ck_assert_uint_eq(stall_latest(all.book, latest), episode + 1);
		ck_assert(!latest[0].ongoing);
	}
}
END_TEST

START_TEST(those_that_wait_for_the_same_are_told_together)
{
	struct worker workers[3];
	char expected[256];

	start(&workers[0], 0, read_pipe, 0);
	start(&workers[1], 1, spin, 1);
	start(&workers[2], 2, read_pipe, 0);
	snprintf(expected, sizeof(expected), "db: 2 of 2 threads busy, 5 requests wait, oldest 1.0 s: "
		"2 in read(fd %d, pipe) for GET /slow, 1 on CPU for GET /other", all.pipe[0]);
	ck_assert(comes_to_be_told(expected));
	ck_assert_int_eq(latest[0].kind, STALL_POOL);
	ck_assert_ptr_null(latest[0].name);
	ck_assert_int_eq(write(all.pipe[1], "xx", 2), 2);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++)
		end(&workers[i]);
	atomic_store(&stop, false);
}
END_TEST

static void spin_for_20_ms(void)
{
	struct timespec t;

	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		continue;
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	while (t.tv_nsec % 1000000000 < 20000000 && t.tv_sec == 0);
}

/* Its frames are not told, so it is not asked for them: its CPU-time timer would have sent it the signal. */
START_TEST(who_runs_while_its_pool_starves_is_not_asked)
{
	struct worker worker;

	start(&worker, 0, spin_for_20_ms, 0);
	starve(all.t);
	look_at(S);
	ck_assert_uint_eq(crew_starvations(all.crew, 0), 1);
	ck_assert_ptr_nonnull(strstr(stall_latest(all.book, latest) ? latest[0].text : "", "1 on CPU for GET /slow"));
	atomic_store(&stop, true);
	end(&worker);
	atomic_store(&stop, false);
	ck_assert(!capture_signal() || !sigismember(&worker.pending, capture_signal()));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("crew");
	TCase *tc = tcase_create("crew");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_job_hangs_from_the_limit_on);
	tcase_add_test(tc, one_that_hangs_is_told_at_ages_that_double_and_at_its_end);
	tcase_add_test(tc, a_job_after_the_other_is_no_long_one);
	tcase_add_test(tc, a_job_that_ends_while_it_is_looked_at_is_not_reported);
	tcase_add_test(tc, a_worker_that_leaves_in_its_stall_is_told_of_to_the_end);
	tcase_add_test(tc, a_machine_that_stood_still_blames_no_route);
	tcase_add_test(tc, a_pool_starves_when_all_are_busy_and_one_has_waited);
	tcase_add_test(tc, an_episode_is_counted_once_and_told_at_ages_that_double);
	tcase_add_test(tc, those_that_wait_for_the_same_are_told_together);
	tcase_add_test(tc, who_runs_while_its_pool_starves_is_not_asked);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
