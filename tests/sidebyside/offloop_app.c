/* offloop_app.c: the offloop half of the side-by-side test: the routes of fastapi_app.py, and what only offloop has.
 *
 * `.sync` handlers block in plain semaphores, as a library would that knows nothing of offloop; an `.async` route lets
 * them go.  It is never installed.
 */
#include <offloop.h>

#include <errno.h>
#include <semaphore.h>
#include <string.h>

#define MARKS_MAX 1024
#define CONNECTIONS 10
#define PIECE "0123456789"

static sem_t gate, connections;
static pthread_mutex_t marks_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t marks[MARKS_MAX]; /* ids of /mark, in the order in which their handlers ran */
static size_t nmarks;

static void take(sem_t *s)
{
	while (sem_wait(s) < 0 && errno == EINTR)
		;
}

static int number(ol_req *r, const char *name, int64_t *value)
{
	*value = 0;
	return ol_query_int(r, name, 0, 1000000, value);
}

static int hold(ol_req *r)
{
	take(&gate);
	return ol_text(r, 200, "held");
}

static int let_go(ol_req *r)
{
	int64_t n;

	if (number(r, "n", &n) < 0)
		return -1;
	while (n-- > 0)
		sem_post(&gate);
	return ol_text(r, 200, "let go");
}

static int quick(ol_req *r)
{
	return ol_text(r, 200, "quick");
}

static int mark(ol_req *r)
{
	int64_t id;

	if (number(r, "id", &id) < 0)
		return -1;
	pthread_mutex_lock(&marks_lock);
	if (nmarks < MARKS_MAX)
		marks[nmarks++] = id;
	pthread_mutex_unlock(&marks_lock);
	return ol_text(r, 200, "marked");
}

static int served(ol_req *r)
{
	json_t *ids = json_array();

	pthread_mutex_lock(&marks_lock);
	for (size_t i = 0; i < nmarks; i++)
		json_array_append_new(ids, json_integer(marks[i]));
	pthread_mutex_unlock(&marks_lock);
	return ol_json_new(r, 200, ids);
}

/* One of the connections, as a database's pool hands them out: who finds none left waits for one. */
static int connect_database(ol_req *r, void **value)
{
	(void)r;
	take(&connections);
	*value = &connections;
	return 0;
}

static void leave_database(ol_req *r, void *value)
{
	(void)r;
	sem_post(value);
}

static const struct ol_need database = { .name = "database", .acquire = connect_database, .release = leave_database,
	.blocking = 1 };

static int row(ol_req *r)
{
	return ol_text(r, 200, ol_need_value(r, "database") ? "row" : "no connection");
}

static int written(ol_req *r)
{
	int64_t n;
	int rc;

	if (number(r, "n", &n) < 0)
		return -1;
	rc = ol_stream(r, 200, NULL);
	while (n-- > 0 && rc == 0)
		rc = ol_write(r, PIECE, strlen(PIECE));
	return rc;
}

static ssize_t next_piece(ol_req *r, void *arg, void *buf, size_t n)
{
	int64_t *left = arg;

	(void)r;
	if (n < strlen(PIECE))
		return -EMSGSIZE;
	if ((*left)-- == 0)
		return 0;
	memcpy(buf, PIECE, strlen(PIECE));
	return (ssize_t)strlen(PIECE);
}

static int pulled(ol_req *r)
{
	int64_t *left = ol_alloc(r, sizeof(*left));

	if (!left)
		return -ENOMEM;
	if (number(r, "n", left) < 0)
		return -1;
	return ol_pull(r, 200, NULL, next_piece, NULL, left);
}

static const struct ol_route routes[] = {
	OL_GET("/hold", .sync = hold),
	OL_GET("/hold/300ms", .sync = hold, .timeout = 300),
	OL_GET("/let-go", .async = let_go),
	OL_GET("/quick", .sync = quick),
	OL_GET("/quick/300ms", .sync = quick, .queue_timeout = 300),
	OL_GET("/other/quick", .sync = quick, .pool = "other"),
	OL_GET("/mark", .sync = mark),
	OL_GET("/served", .async = served),
	OL_GET("/row", .sync = row, .needs = { &database }),
	OL_GET("/pieces/written", .sync = written),
	OL_GET("/pieces/pulled", .sync = pulled),
};

static const struct ol_pool pools[] = { { .name = "other", .threads = 4 } };

static const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_POOLS(pools), .name = "offloop_app" };

int main(int argc, char **argv)
{
	if (sem_init(&gate, 0, 0) < 0 || sem_init(&connections, 0, CONNECTIONS) < 0)
		return 1;
	return ol_main(argc, argv, &app);
}
