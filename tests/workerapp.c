/* workerapp.c: an app for the scenarios of worker processes: it says which process answers, and dies when told to.
 *
 * What on_start does hangs on files named by options, so that a scenario can let a later worker fail where the first
 * one did not.  It is never installed.  While there is the file of --wait-if, on_start waits.
 */
#include <offloop.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t number(ol_req *r, const char *name, int64_t otherwise)
{
	const char *s = ol_query(r, name);

	return s ? strtoll(s, NULL, 10) : otherwise;
}

static int pid(ol_req *r)
{
	return ol_textf(r, 200, "%d", (int)getpid());
}

static int nap(ol_req *r)
{
	int rc = ol_sleep(r, number(r, "ms", 10));

	return rc < 0 ? rc : pid(r);
}

static int block(ol_req *r)
{
	int64_t ms = number(r, "ms", 10);
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	ol_log(r, OL_LOG_INFO, "blocking in %d", (int)getpid());
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
	return pid(r);
}

static int die(ol_req *r)
{
	(void)r;
	return kill(getpid(), SIGKILL);
}

static int leave(ol_req *r)
{
	(void)r;
	_exit((int)number(r, "status", 3));
}

static int stop(ol_req *r)
{
	ol_server_stop(ol_server_of(r));
	return pid(r);
}

static const struct ol_route routes[] = {
	OL_GET("/pid", .async = pid),
	OL_GET("/nap", .async = nap),
	OL_GET("/block", .async = block),
	OL_GET("/sync", .sync = block),
	OL_GET("/die", .async = die),
	OL_GET("/leave", .async = leave),
	OL_GET("/stop", .async = stop),
};

static const struct ol_option options[] = {
	{ "fail-if", "FILE", NULL, "let on_start fail when there is such a file" },
	{ "die-if", "FILE", NULL, "let on_start kill the process when there is" },
	{ "wait-if", "FILE", NULL, "let on_start wait while there is" },
};

static int exists(ol_server *s, const char *option)
{
	const char *file = ol_option_get(s, option);

	return file && access(file, F_OK) == 0;
}

static int on_start(ol_server *s)
{
	struct timespec moment = { 0, 1000000 };

	ol_server_log(s, OL_LOG_INFO, "on_start in %d", (int)getpid());
	while (exists(s, "wait-if"))
		nanosleep(&moment, NULL);
	if (exists(s, "die-if"))
		kill(getpid(), SIGKILL);
	return exists(s, "fail-if") ? -EBUSY : 0;
}

static void on_stop(ol_server *s)
{
	ol_server_log(s, OL_LOG_INFO, "on_stop in %d", (int)getpid());
}

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_APP_OPTIONS(options), .name = "workerapp",
	.on_start = on_start, .on_stop = on_stop };

int main(int argc, char **argv)
{
	int status = ol_main(argc, argv, &app);

	if (status == 0)
		printf("main goes on\n");
	return status;
}
