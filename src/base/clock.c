/*
 * clock.c: the Date header's text.
 *
 * Every reply carries a Date (RFC 9110 §6.6.1), and formatting one costs more than much of the rest of a reply.  So each
 * loop keeps the text of the present second, and looks at the wall clock at most every 100 ms of its own monotonic clock,
 * which it has read anyway: the text is never more than 100 ms behind the wall clock's second, and a wall clock that is set
 * is followed just as fast.
 *
 * The format is IMF-fixdate (RFC 9110 §5.6.7), always English and GMT; strftime would ask the locale.  Years that four
 * digits cannot say are taken for the nearest that they can.
 *
 * An http_date belongs to one thread; the rest keeps nothing.
 */
#include "clock.h"

#include <string.h>

#define CHECK_NS (100 * NS_PER_MS)
#define YEAR_1 ((time_t)-62135596800)       /* 0001-01-01T00:00:00Z */
#define YEAR_9999_END ((time_t)253402300799) /* 9999-12-31T23:59:59Z */

static void two_digits(char *dst, int n)
{
	dst[0] = (char)('0' + n / 10);
	dst[1] = (char)('0' + n % 10);
}

void http_date_format(char dst[HTTP_DATE_LEN], time_t t)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;
	int year;

	t = t < YEAR_1 ? YEAR_1 : t > YEAR_9999_END ? YEAR_9999_END : t;
	gmtime_r(&t, &tm);
	year = tm.tm_year + 1900;
	memcpy(dst, "Ddd, 00 Mmm 0000 00:00:00 GMT", HTTP_DATE_LEN);
	memcpy(dst, &days[tm.tm_wday * 3], 3);
	two_digits(dst + 5, tm.tm_mday);
	memcpy(dst + 8, &months[tm.tm_mon * 3], 3);
	two_digits(dst + 12, year / 100);
	two_digits(dst + 14, year % 100);
	two_digits(dst + 17, tm.tm_hour);
	two_digits(dst + 20, tm.tm_min);
	two_digits(dst + 23, tm.tm_sec);
}

const char *http_date_text(struct http_date *d, uint64_t now_ns)
{
	time_t now;

	if (d->text[0] && now_ns - d->checked_ns < CHECK_NS)
		return d->text;
	d->checked_ns = now_ns;
	now = time(NULL);
	if (!d->text[0] || now != d->second) {
		d->second = now;
		http_date_format(d->text, now);
		d->text[HTTP_DATE_LEN] = '\0';
	}
	return d->text;
}
