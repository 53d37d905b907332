/* stallapp.c: routes that hold their loop, each in a way of its own; served by the scenarios about stalls.
 *
 * /block?how=sleep|spin|lock|pipe&ms= blocks, as an .async handler must not: in a sleep, on a CPU, behind a lock
 * that another thread holds, in a read of a pipe to which that thread writes in the end.  /gate reads the FIFO of
 * --gate until a test has written to it.  /twice blocks, waits as it should, and blocks again.  /post leaves its
 * blocking to ol_post.  /hook replies with bytes whose release blocks.  /honest computes a little, /nap waits
 * without blocking.  /work reads the gate on a thread.  With --drop the app gives up its privileges before it serves,
 * and with --drop dumpable has the kernel treat it as if it had not.
 */
#include <offloop.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 65534

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int gate = -1;

static void sleep_ms(int64_t ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* By the thread's own CPU time, so that a busy machine does not make it wait instead. */
static void spin_ms(int64_t ms)
{
	struct timespec t, start;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	while ((t.tv_sec - start.tv_sec) * 1000 + (t.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

struct holder {
	pthread_barrier_t held;
	int64_t ms;
	int fd;
};

static void *hold_lock(void *arg)
{
	struct holder *h = arg;

	pthread_mutex_lock(&lock);
	pthread_barrier_wait(&h->held);
	sleep_ms(h->ms);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *write_late(void *arg)
{
	struct holder *h = arg;

	pthread_barrier_wait(&h->held);
	sleep_ms(h->ms);
	return write(h->fd, "x", 1) == 1 ? NULL : arg;
}

/* Runs what the caller is to wait for on another thread, which has begun when this returns. */
static int begin(struct holder *h, pthread_t *t, void *(*fn)(void *arg))
{
	pthread_barrier_init(&h->held, NULL, 2);
	if (pthread_create(t, NULL, fn, h) != 0)
		return -EAGAIN;
	pthread_barrier_wait(&h->held);
	return 0;
}

static void wait_for_lock(int64_t ms)
{
	struct holder h = { .ms = ms };
	pthread_t t;

	if (begin(&h, &t, hold_lock) < 0)
		return;
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	pthread_join(t, NULL);
	pthread_barrier_destroy(&h.held);
}

static void wait_for_pipe(int64_t ms)
{
	struct holder h = { .ms = ms };
	pthread_t t;
	int fds[2];
	char c;

	if (pipe(fds) < 0)
		return;
	h.fd = fds[1];
	if (begin(&h, &t, write_late) == 0) {
		if (read(fds[0], &c, 1) != 1)
			abort();
		pthread_join(t, NULL);
		pthread_barrier_destroy(&h.held);
	}
	close(fds[0]);
	close(fds[1]);
}

static int block(ol_req *r)
{
	const char *how = ol_query(r, "how");
	int64_t ms = 60;

	if (ol_query_int(r, "ms", 0, 60000, &ms) < 0)
		return -1;
	if (how && strcmp(how, "spin") == 0)
		spin_ms(ms);
	else if (how && strcmp(how, "lock") == 0)
		wait_for_lock(ms);
	else if (how && strcmp(how, "pipe") == 0)
		wait_for_pipe(ms);
	else
		sleep_ms(ms);
	return ol_text(r, 200, "blocked\n");
}

static int wait_at_gate(ol_req *r)
{
	char c;

	return read(gate, &c, 1) == 1 ? ol_text(r, 200, "through\n") : -EIO;
}

static int twice(ol_req *r)
{
	int rc;

	sleep_ms(60);
	rc = ol_sleep(r, 20);
	spin_ms(60);
	return rc < 0 ? rc : ol_text(r, 200, "twice\n");
}

static void block_posted(ol_req *r, void *arg)
{
	(void)arg;
	sleep_ms(60);
	if (r)
		ol_wake(r);
}

static int post(ol_req *r)
{
	int rc = ol_post(ol_handle_of(r), block_posted, NULL);

	if (rc == 0)
		rc = ol_wait(r, -1);
	return rc < 0 ? rc : ol_text(r, 200, "posted\n");
}

static void release_late(void *arg)
{
	(void)arg;
	sleep_ms(60);
}

static int hook(ol_req *r)
{
	return ol_bytes_new(r, 200, "text/plain", "bytes\n", 6, release_late, NULL);
}

static int honest(ol_req *r)
{
	for (volatile unsigned i = 0; i < 2000; i++)
		continue;
	return ol_text(r, 200, "honest\n");
}

static int nap(ol_req *r)
{
	int rc = ol_sleep(r, 100);

	return rc < 0 ? rc : ol_text(r, 200, "rested\n");
}

/* Who has none to give up is made by the kernel as secret as if it had. */
static int drop(const char *how)
{
	if (geteuid() == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
			setresuid(NOBODY, NOBODY, NOBODY) < 0)
			return -errno;
	} else if (prctl(PR_SET_DUMPABLE, 0) < 0) {
		return -errno;
	}
	return strcmp(how, "dumpable") == 0 && prctl(PR_SET_DUMPABLE, 1) < 0 ? -errno : 0;
}

static int on_start(ol_server *s)
{
	const char *path = ol_option_get(s, "gate"), *how = ol_option_get(s, "drop");

	if (path)
		gate = open(path, O_RDWR | O_CLOEXEC);  /* for writing, too: so that it has no end */
	if (path && gate < 0)
		return -errno;
	return how ? drop(how) : 0;
}

static void on_stop(ol_server *s)
{
	(void)s;
	if (gate >= 0)
		close(gate);
}

static const struct ol_route routes[] = {
	OL_GET("/block", .async = block),
	OL_POST("/block", .async = honest),
	OL_GET("/gate", .async = wait_at_gate),
	OL_GET("/work", .sync = wait_at_gate),
	OL_GET("/twice", .async = twice),
	OL_GET("/post", .async = post),
	OL_GET("/hook", .async = hook),
	OL_GET("/honest/{n:int}", .async = honest),
	OL_GET("/nap", .async = nap),
};

static const struct ol_option options[] = {
	{ "gate", "FIFO", NULL, "what /gate reads" },
	{ "drop", "HOW", NULL, "give up privileges: secret or dumpable" },
};

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_APP_OPTIONS(options), .name = "stallapp",
	.on_start = on_start, .on_stop = on_stop };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
