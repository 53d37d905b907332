/* test_crew_look.c: what the monitor holds, and what it does not, while it looks at workers. */
#include "base/clock.h"
#include "base/log.h"
#include "capture.h"
#include "crew.h"
#include "stall.h"
#include "symbols.h"
#include "watch.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIMIT (10 * NS_PER_MS)

static sem_t asked, answer;     /* a name is wanted; it may be given */
static sem_t working, over;     /* the worker is in its job; that may end */

/* symbols.c asks libstdc++'s function for names of C++, where there is one: here this one, which waits as a cold disk
 * would have it wait. */
char *__cxa_demangle(const char *mangled, char *buf, size_t *n, int *status);

char *__cxa_demangle(const char *mangled, char *buf, size_t *n, int *status)
{
	(void)buf, (void)n, (void)status;
	sem_post(&asked);
	sem_wait(&answer);
	return strdup(mangled + 3);
}

/* What looks like C++ in the worker's stack. */
void wait_for_end(void) __asm__("_Z12wait_for_endv");

__attribute__((noinline)) void wait_for_end(void)
{
	sem_wait(&over);
	__asm__ volatile("");   /* no tail call */
}

static _Atomic pid_t worker_tid;

static struct {
	struct log *log;
	struct stall_book *book;
	struct watch_shared shared;
	struct crew *crew;
	struct work_line line;
	pthread_t worker, monitor;
} all;

static const char *name_of(void *arg, uint32_t route)
{
	(void)arg, (void)route;
	return "GET /slow";
}

static const char *pool_of(void *arg, unsigned pool)
{
	(void)arg, (void)pool;
	return "db";
}

static void look_at_pool(void *arg, unsigned pool, struct crew_pool *now)
{
	(void)arg, (void)pool;
	*now = (struct crew_pool){ .limit = 1, .busy = 1 };
}

static void *worker(void *unused)
{
	(void)unused;
	atomic_store(&worker_tid, gettid());
	crew_join(all.crew, 0, &all.line);
	work_begin(&all.line, 0, clock_now_ns());
	sem_post(&working);
	wait_for_end();
	work_end(&all.line);
	crew_leave(all.crew, &all.line);
	return NULL;
}

/* Until the worker sleeps in its job: one that only waits for a CPU is asked for its frames, and the stall is recorded
 * before they have come. */
static void wait_until_asleep(void)
{
	char path[64], asleep[64], text[512] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)atomic_load(&worker_tid));
	snprintf(asleep, sizeof(asleep), "%d 0x%lx ", SYS_futex, (unsigned long)(uintptr_t)&over);
	while (strncmp(text, asleep, strlen(asleep)) != 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		ck_assert_int_gt(n, 0);
		text[n] = '\0';
		close(fd);
		usleep(200);
	}
}

/* Looks until the stall is recorded. */
static void *monitor(void *unused)
{
	struct capturer *capturer = capturer_new();
	struct symbols *symbols = symbols_new();

	(void)unused;
	while (crew_stalls(all.crew, 0, 0) == 0)
		crew_look(all.crew, capturer, symbols, clock_now_ns(), 0);
	symbols_free(symbols);
	capturer_free(capturer);
	return NULL;
}

static void set_up(void)
{
	struct crew_conf conf = { .pools = 1, .nroutes = 1, .limit_ns = LIMIT, .pool_name = pool_of,
		.pool_look = look_at_pool, .shared = &all.shared };

	memset(&all, 0, sizeof(all));
	sem_init(&asked, 0, 0);
	sem_init(&answer, 0, 0);
	sem_init(&working, 0, 0);
	sem_init(&over, 0, 0);
	all.log = log_new(&(struct log_conf){ .fd = STDERR_FILENO, .level = LOG_ERROR });
	ck_assert_ptr_nonnull(all.log);
	all.book = conf.book = stall_book_new(1, name_of, NULL, all.log);
	ck_assert_ptr_nonnull(all.book);
	all.crew = crew_new(&conf);
	ck_assert_ptr_nonnull(all.crew);
	pthread_create(&all.worker, NULL, worker, NULL);
	sem_wait(&working);
	wait_until_asleep();
	pthread_create(&all.monitor, NULL, monitor, NULL);
}

static void tear_down(void)
{
	crew_free(all.crew);
	stall_book_free(all.book);
	log_free(all.log, 1000);
}

/* The name may be given, and the worker may go. */
static void let_go(void)
{
	sem_post(&answer);
	pthread_join(all.monitor, NULL);
	sem_post(&over);
	pthread_join(all.worker, NULL);
}

/* What is recorded, when all is over. */
static void check_told(void)
{
	static struct stall latest[STALL_KEPT];

	crew_look(all.crew, NULL, NULL, clock_now_ns(), 0);
	ck_assert_uint_eq(stall_latest(all.book, latest), 1);
	ck_assert(!latest[0].ongoing);
	ck_assert_str_eq(latest[0].name, "GET /slow");
	ck_assert_uint_gt(latest[0].nframes, 0);
	crew_look(all.crew, NULL, NULL, clock_now_ns(), 0);
	ck_assert_uint_eq(crew_due(all.crew), NEVER);           /* it has gone from the list */
}

START_TEST(while_names_are_read_from_files_nobody_waits_for_them)
{
	struct work_line mine = { 0 };
	struct crew_times times;

	sem_wait(&asked);
	ck_assert(crew_times(all.crew, 0, clock_now_ns(), &times));
	ck_assert_uint_gt(times.unfinished_ns, 0);
	crew_join(all.crew, 0, &mine);
	crew_leave(all.crew, &mine);
	ck_assert_uint_eq(crew_stalls(all.crew, 0, 0), 0);
	let_go();
	check_told();
}
END_TEST

START_TEST(a_worker_that_leaves_while_its_names_are_read_is_told_of_to_the_end)
{
	sem_wait(&asked);
	sem_post(&over);
	pthread_join(all.worker, NULL);
	sem_post(&answer);
	pthread_join(all.monitor, NULL);
	check_told();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("crew_look");
	TCase *c = tcase_create("look");

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, while_names_are_read_from_files_nobody_waits_for_them);
	tcase_add_test(c, a_worker_that_leaves_while_its_names_are_read_is_told_of_to_the_end);
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
