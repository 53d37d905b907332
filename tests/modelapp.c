/* modelapp.c: an app for the scenarios of --model: who waits for whom.
 *
 * GET /where/{async,sync,adaptive}, and whatever has no route, tell the thread they run on.  GET /read/{async,sync}
 * read a byte from the pipe that --gate names: a call that blocks its thread, which the scenario lets go by writing
 * one; what they do is in the log.  GET /offload does so by ol_offload, GET /after by ol_after; GET /stay waits in a
 * call of the header's.  GET /hello waits for nothing, POST /length for its body, and GET /large has more to say than
 * sockets take in.  It is never installed.
 */
#include <offloop.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static int gate = -1;

static int where(ol_req *r)
{
	char name[16] = "";

	pthread_getname_np(pthread_self(), name, sizeof(name));
	return ol_text(r, ol_status(r) ? ol_status(r) : 200, name);
}

static int hello(ol_req *r)
{
	return ol_text(r, 200, "hello\n");
}

static int pass(void *unused)
{
	char c;
	ssize_t n;

	(void)unused;
	do
		n = read(gate, &c, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -EIO;
}

static int block(ol_req *r)
{
	int rc;

	ol_log(r, OL_LOG_INFO, "at the gate");
	rc = pass(NULL);
	return rc < 0 ? rc : ol_text(r, 200, "let go\n");
}

static int offload(ol_req *r)
{
	int rc;

	ol_log(r, OL_LOG_INFO, "at the gate");
	rc = ol_offload(r, "other", pass, NULL);
	return rc < 0 ? rc : ol_text(r, 200, "let go\n");
}

static int work(ol_req *r, void *arg)
{
	int rc = ol_sleep(r, 1);

	ol_log(r, OL_LOG_INFO, "at the gate");
	return rc < 0 ? rc : pass(arg);
}

static int after(ol_req *r)
{
	int rc = ol_after(r, NULL, work, NULL);

	return rc < 0 ? rc : ol_text(r, 200, "later\n");
}

static int nonesuch(ol_req *r)
{
	return ol_textf(r, 200, "%d\n", ol_offload(r, "nonesuch", pass, NULL) == -ENOENT);
}

static int stay(ol_req *r)
{
	ol_log(r, OL_LOG_INFO, "stays");
	return ol_wait(r, -1);
}

static int length(ol_req *r)
{
	size_t n;

	return ol_body(r, &n) ? ol_textf(r, 200, "%zu\n", n) : -1;
}

/* More than sockets take in. */
static int large(ol_req *r)
{
	static const char zeros[1 << 25];

	return ol_bytes_new(r, 200, NULL, zeros, sizeof(zeros), NULL, NULL);
}

static int touch(ol_req *r, unsigned kb)
{
	volatile char deep[1024];

	deep[0] = (char)kb;
	return kb == 0 ? ol_text(r, 200, "came back\n") : touch(r, kb - 1) + deep[0] * 0;
}

/* More stack than a fiber usually has. */
static int deep(ol_req *r)
{
	return touch(r, 1024);
}

static const struct ol_route routes[] = {
	OL_GET("/hello", .async = hello),
	OL_GET("/where/async", .async = where),
	OL_GET("/where/sync", .sync = where, .pool = "other"),
	OL_GET("/where/adaptive", .adaptive = where),
	OL_GET("/read/async", .async = block),
	OL_GET("/read/sync", .sync = block, .pool = "other"),
	OL_GET("/offload", .async = offload),
	OL_GET("/offload/nonesuch", .async = nonesuch),
	OL_GET("/after", .async = after),
	OL_GET("/stay", .async = stay),
	OL_GET("/deep", .sync = deep),
	OL_POST("/length", .async = length),
	OL_GET("/large", .async = large),
};

static const struct ol_pool pools[] = { { .name = "other", .threads = 4 } };
static const struct ol_on_error errors[] = { { 404, where } };
static const struct ol_option options[] = { { "gate", "FIFO", NULL, "what blocks reads from it" } };
static const struct ol_default defaults[] = { { "loops", "2" }, { "guard", "demote" } };

static int on_start(ol_server *s)
{
	const char *path = ol_option_get(s, "gate");

	gate = path ? open(path, O_RDWR | O_CLOEXEC) : -1; /* for both: else it would end with its writers */
	return path && gate < 0 ? -errno : 0;
}

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), OL_APP_OPTIONS(options),
	OL_DEFAULTS(defaults), .name = "modelapp", .on_start = on_start, OL_ON_ERROR(errors) };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
