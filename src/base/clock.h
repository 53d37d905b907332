/* clock.h: the time. */
#ifndef OL_CLOCK_H
#define OL_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define NEVER UINT64_MAX    /* a deadline that does not come */

/* Nanoseconds of CLOCK_MONOTONIC.  About 20 ns through the vDSO. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The moment `ms` from `now_ns`; NEVER when ms is below 0 or so large that it would wrap. */
static inline uint64_t clock_after_ms(uint64_t now_ns, int64_t ms)
{
	if (ms < 0 || (uint64_t)ms > (NEVER - now_ns) / NS_PER_MS)
		return NEVER;
	return now_ns + (uint64_t)ms * NS_PER_MS;
}

/* A time of clock_now_ns as system calls take it. */
static inline struct timespec clock_timespec(uint64_t at_ns)
{
	return (struct timespec){ .tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S) };
}

#define HTTP_DATE_LEN 29

/* An IMF-fixdate (RFC 9110 §5.6.7), kept for one thread and made anew when the second has changed. */
struct http_date {
	uint64_t checked_ns;
	time_t second;
	char text[HTTP_DATE_LEN + 1];
};

/* The text for the present; now_ns is the caller's monotonic clock, so that the wall clock is read at most every
 * 100 ms. */
const char *http_date_text(struct http_date *d, uint64_t now_ns);

/* Writes the IMF-fixdate of t, without terminator. */
void http_date_format(char dst[HTTP_DATE_LEN], time_t t);

#define ISO_TIME_LEN 24

/* Writes t, a time of CLOCK_REALTIME, as "2026-11-22T07:53:25.123Z" (RFC 3339), without terminator. */
void iso_time_format(char dst[ISO_TIME_LEN], struct timespec t);

#endif
