/* soakapp.c: routes that hold their loop for a time that is given, and say afterwards how they did: served by
 * tests/soak/soak.py, which holds what the server reports against that.
 *
 * Each way has a route of its own, so that route and cause are known of each stall: /sleep, /spin, /lock (which another
 * thread holds) and /pipe (to which one writes in the end), each with ?ms=.  /nested/sleep and so on do it twice, in a
 * fiber that waits before, between and after without blocking: in ol_sleep, and in ol_offload for a thread that sleeps.
 * All reply "LOOP" and for each hold " BEGIN:WALL:CPU": the name of the loop's thread, when it began by the machine's
 * clock, how long it took and how much of that on a CPU, in microseconds.
 *
 * /honest?us= computes a little, /nap waits, /offload has a thread wait, /sync waits on a thread: nobody may be blamed
 * for those.  /honest ends by its thread's CPU clock; when that has jumped far ahead (the kernel charges a thread with
 * interrupts, and with stops of its virtual CPU that the hypervisor does not tell of) it tells of its hold like the
 * others.
 */
#include <offloop.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WAY __attribute__((noinline))   /* it is to be found in stacks */
#define HOLDS_MAX 2
#define OVERSHOT_US 7000                /* of CPU time, for who wanted 2 ms at most */

struct hold {
	int64_t begin_us, wall_us, cpu_us;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t clock_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- ways to hold a loop ----------------------------------------------------------------------------------------- */

static WAY void sleep_us(int64_t us)
{
	struct timespec left = { us / 1000000, us % 1000000 * 1000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* By the thread's own CPU time, so that a busy machine does not make it wait instead. */
static WAY void spin_us(int64_t us)
{
	int64_t start = clock_us(CLOCK_THREAD_CPUTIME_ID);

	while (clock_us(CLOCK_THREAD_CPUTIME_ID) - start < us)
		;
}

struct holder {
	pthread_barrier_t begun;
	int64_t us;
	int fd;
};

static void *hold_lock(void *arg)
{
	struct holder *h = arg;

	pthread_mutex_lock(&lock);
	pthread_barrier_wait(&h->begun);
	sleep_us(h->us);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *write_late(void *arg)
{
	struct holder *h = arg;

	pthread_barrier_wait(&h->begun);
	sleep_us(h->us);
	if (write(h->fd, "x", 1) != 1)
		abort();
	return NULL;
}

/* Runs what the caller is to wait for on another thread, which has begun when this returns. */
static pthread_t begin(struct holder *h, void *(*fn)(void *arg))
{
	pthread_t t;

	pthread_barrier_init(&h->begun, NULL, 2);
	if (pthread_create(&t, NULL, fn, h) != 0)
		abort();
	pthread_barrier_wait(&h->begun);
	return t;
}

static void finish(struct holder *h, pthread_t t)
{
	pthread_join(t, NULL);
	pthread_barrier_destroy(&h->begun);
}

static WAY void wait_for_lock(int64_t us)
{
	struct holder h = { .us = us };
	pthread_t t = begin(&h, hold_lock);

	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	finish(&h, t);
}

static WAY void wait_for_pipe(int64_t us)
{
	struct holder h = { .us = us };
	pthread_t t;
	int fds[2];
	char c;

	if (pipe(fds) < 0)
		abort();
	h.fd = fds[1];
	t = begin(&h, write_late);
	if (read(fds[0], &c, 1) != 1)
		abort();
	finish(&h, t);
	close(fds[0]);
	close(fds[1]);
}

/* ---- routes that do so ------------------------------------------------------------------------------------------- */

static struct hold hold(void (*way)(int64_t us), int64_t us)
{
	struct hold h = { 0 };
	int64_t wall, cpu;

	do { /* again when it has lost its CPU in between: a hold told as a later one would be another's */
		wall = clock_us(CLOCK_MONOTONIC);
		cpu = clock_us(CLOCK_THREAD_CPUTIME_ID);
		h.begin_us = clock_us(CLOCK_REALTIME);
	} while (clock_us(CLOCK_MONOTONIC) - wall > 1000);
	way(us);
	h.cpu_us = clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu;
	h.wall_us = clock_us(CLOCK_MONOTONIC) - wall;
	return h;
}

static int tell(ol_req *r, const struct hold *holds, int n)
{
	char text[HOLDS_MAX * 64], loop[16] = "";
	int at = 0;

	pthread_getname_np(pthread_self(), loop, sizeof(loop));
	for (int i = 0; i < n; i++)
		at += snprintf(text + at, sizeof(text) - (size_t)at, " %lld:%lld:%lld", (long long)holds[i].begin_us,
			(long long)holds[i].wall_us, (long long)holds[i].cpu_us);
	return ol_textf(r, 200, "%s%s\n", loop, text);
}

static int once(ol_req *r, void (*way)(int64_t us))
{
	struct hold h;
	int64_t ms = 0;

	if (ol_query_int(r, "ms", 0, 60000, &ms) < 0)
		return -1;
	h = hold(way, ms * 1000);
	return tell(r, &h, 1);
}

static int rest(void *us)
{
	sleep_us(*(int64_t *)us);
	return 0;
}

static int nested(ol_req *r, void (*way)(int64_t us))
{
	int64_t ms = 0, rest_us = 15000;
	struct hold h[HOLDS_MAX];
	int rc;

	if (ol_query_int(r, "ms", 0, 60000, &ms) < 0)
		return -1;
	if ((rc = ol_sleep(r, 3)) < 0)
		return rc;
	h[0] = hold(way, ms * 1000);
	if ((rc = ol_offload(r, NULL, rest, &rest_us)) < 0)
		return rc;
	h[1] = hold(way, ms * 1000);
	if ((rc = ol_sleep(r, 20)) < 0)
		return rc;
	return tell(r, h, 2);
}

static int once_sleep(ol_req *r)
{
	return once(r, sleep_us);
}

static int once_spin(ol_req *r)
{
	return once(r, spin_us);
}

static int once_lock(ol_req *r)
{
	return once(r, wait_for_lock);
}

static int once_pipe(ol_req *r)
{
	return once(r, wait_for_pipe);
}

static int nested_sleep(ol_req *r)
{
	return nested(r, sleep_us);
}

static int nested_spin(ol_req *r)
{
	return nested(r, spin_us);
}

static int nested_lock(ol_req *r)
{
	return nested(r, wait_for_lock);
}

static int nested_pipe(ol_req *r)
{
	return nested(r, wait_for_pipe);
}

/* ---- honest ones ------------------------------------------------------------------------------------------------- */

static int honest(ol_req *r)
{
	struct hold h;
	int64_t us = 20;

	if (ol_query_int(r, "us", 0, 2000, &us) < 0)
		return -1;
	h = hold(spin_us, us);
	return h.cpu_us < OVERSHOT_US ? ol_text(r, 200, "honest\n") : tell(r, &h, 1);
}

static int nap(ol_req *r)
{
	int rc = ol_sleep(r, 30);

	return rc < 0 ? rc : ol_text(r, 200, "rested\n");
}

static int offload(ol_req *r)
{
	int64_t us = 30000;
	int rc = ol_offload(r, NULL, rest, &us);

	return rc < 0 ? rc : ol_text(r, 200, "rested\n");
}

static int sync_nap(ol_req *r)
{
	sleep_us(30000);
	return ol_text(r, 200, "rested\n");
}

static const struct ol_route routes[] = {
	OL_GET("/sleep", .async = once_sleep),
	OL_GET("/spin", .async = once_spin),
	OL_GET("/lock", .async = once_lock),
	OL_GET("/pipe", .async = once_pipe),
	OL_GET("/nested/sleep", .async = nested_sleep),
	OL_GET("/nested/spin", .async = nested_spin),
	OL_GET("/nested/lock", .async = nested_lock),
	OL_GET("/nested/pipe", .async = nested_pipe),
	OL_GET("/honest", .async = honest),
	OL_GET("/nap", .async = nap),
	OL_GET("/offload", .async = offload),
	OL_GET("/sync", .sync = sync_nap),
};

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .name = "soakapp" };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
