/* timing.c: /slow, /nap and /footgun: three ways to take one's time.
 *
 * /slow blocks and says so: it has a thread of the pool.  /nap waits without blocking: its fiber is suspended and
 * the loop goes on.  /footgun blocks although it is declared async, so that everybody on its loop waits: what an
 * app must not do, here to be looked at, with --footgun only.
 */
#include "atlas.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define MS_MAX 60000

/* ?ms= into *ms, which holds its default. */
static int get_ms(ol_req *r, int64_t *ms)
{
	*ms = 100;
	return ol_query_int(r, "ms", 0, MS_MAX, ms);
}

static int answer(ol_req *r, int64_t ms)
{
	return ol_json_new(r, 200, json_pack("{sI}", "ms", (json_int_t)ms));
}

static void block(int64_t ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void spin(int64_t ms)
{
	int64_t end = now_ms() + ms;

	while (now_ms() < end)
		;
}

int block_pool(ol_req *r)
{
	int64_t ms;

	if (get_ms(r, &ms) < 0)
		return -1;
	block(ms);
	return answer(r, ms);
}

int nap(ol_req *r)
{
	int64_t ms;
	int rc = get_ms(r, &ms);

	if (rc == 0)
		rc = ol_sleep(r, ms);
	return rc < 0 ? rc : answer(r, ms);
}

int footgun(ol_req *r)
{
	const struct atlas *a = ol_app_data(r);
	const char *how = ol_query(r, "how");
	int64_t ms;

	if (!a->footgun)
		return ol_error(r, 404, "Not Found");
	if (get_ms(r, &ms) < 0)
		return -1;
	if (how && strcmp(how, "spin") == 0)
		spin(ms);
	else if (!how || strcmp(how, "sleep") == 0)
		block(ms);
	else
		return ol_invalid(r, "query", "how", "unexpected value; permitted: 'sleep', 'spin'",
			"value_error.const");
	return answer(r, ms);
}
