/* ratelimit.c: so many requests a second from each address, and 429 for more.
 *
 * Every address has a bucket of tokens: a request takes one, and they come back at --rate a second, up to --burst.  The
 * hook is asked on the loop before a request costs a thread or its body is read, so it must be quick: one look into a
 * table of fixed size under a lock that is held for that only.  An address that has been silent for longest makes room
 * for a new one; its bucket has had the most time to fill, so it loses least by it.
 *
 * ./ratelimit --rate 5 --burst 10
 */
#include <offloop.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SETS 1024
#define WAYS 8 /* addresses that may share a set */

struct bucket {
	char address[48];
	double tokens, when; /* so many there were at that time, in seconds */
};

static struct bucket table[SETS][WAYS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static double rate, burst;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* FNV-1a; who can choose addresses freely can make others share a set with him, but not their buckets. */
static unsigned hash(const char *s)
{
	unsigned h = 2166136261u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

/* The address's bucket, perhaps a new one, full. */
static struct bucket *bucket_of(const char *address, double t)
{
	struct bucket *set = table[hash(address) % SETS], *oldest = set;

	for (int i = 0; i < WAYS; i++) {
		if (strcmp(set[i].address, address) == 0)
			return &set[i];
		if (set[i].when < oldest->when)
			oldest = &set[i];
	}
	*oldest = (struct bucket){ .tokens = burst, .when = t };
	strncpy(oldest->address, address, sizeof(oldest->address) - 1);
	return oldest;
}

/* Takes a token: 0, or the seconds until there will be one. */
static double take(const char *address)
{
	struct bucket *b;
	double t = now(), missing;

	pthread_mutex_lock(&lock);
	b = bucket_of(address, t);
	b->tokens = fmin(burst, b->tokens + (t - b->when) * rate);
	b->when = t;
	missing = fmax(0, 1 - b->tokens);
	if (missing == 0)
		b->tokens -= 1;
	pthread_mutex_unlock(&lock);
	return missing / rate;
}

/* "192.0.2.1:4711" without its port; all clients of a unix socket are one. */
static const char *address_of(ol_req *r)
{
	char *address = ol_strdup(r, ol_remote(r)), *colon = address ? strrchr(address, ':') : NULL;

	if (colon)
		*colon = '\0';
	return address;
}

static int limit(ol_req *r)
{
	const char *address = address_of(r);
	double seconds;
	char *after;

	if (!address)
		return -ENOMEM;
	seconds = take(address);
	if (seconds == 0)
		return 0;
	after = ol_printf(r, "%.0f", ceil(seconds));
	if (!after || ol_header_set(r, "Retry-After", after) < 0)
		return -ENOMEM;
	return ol_error(r, 429, "Too many requests");
}

static int hello(ol_req *r)
{
	return ol_text(r, 200, "Hello!\n");
}

static int on_start(ol_server *s)
{
	rate = strtod(ol_option_get(s, "rate"), NULL);
	burst = strtod(ol_option_get(s, "burst"), NULL);
	if (rate > 0 && burst >= 1)
		return 0;
	ol_server_log(s, OL_LOG_ERROR, "--rate must be above 0, --burst at least 1");
	return -EINVAL;
}

static const struct ol_route routes[] = {
	OL_GET("/", .async = hello),
	OL_POST("/", .sync = hello),
};

static const struct ol_option options[] = {
	{ "rate", "N", "10", "requests a second from one address" },
	{ "burst", "N", "20", "requests at once after a silence" },
};

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), OL_APP_OPTIONS(options), .on_start = on_start,
	.admit = { limit } };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
