/* clock.c: the time as text, for Date headers and for the log.
 *
 * Every reply carries a Date (RFC 9110 §6.6.1), and formatting one costs more than much of the rest of a reply.  So
 * each loop keeps the text of the present second, and looks at the wall clock at most every 100 ms of its own monotonic
 * clock, which it has read anyway: the text is never more than 100 ms behind the wall clock's second, and a wall clock
 * that is set is followed just as fast.
 *
 * Dates are always English, Gregorian and UTC.  strftime would ask the locale and gmtime_r takes a lock of the C
 * library's, so the calendar is done here: in years that begin in March a leap day is the last day of its year, and the
 * months before any day of the year have (153 m + 2) / 5 days.  Years that four digits cannot say are taken for the
 * nearest that they can.
 *
 * An http_date belongs to one thread; the other functions keep nothing.
 */
#include "clock.h"

#include <string.h>

#define CHECK_NS (100 * NS_PER_MS)
#define YEAR_1 INT64_C(-62135596800)            /* 0001-01-01T00:00:00Z */
#define YEAR_9999_END INT64_C(253402300799)     /* 9999-12-31T23:59:59Z */
#define DAY 86400
#define MARCH_OF_YEAR_0 INT64_C(-719468)        /* 0000-03-01, a Wednesday, in days from 1970 */
#define DAYS_OF_400_YEARS 146097

struct civil {
	unsigned year, month, day, weekday;     /* 1 to 9999, 1 to 12, 1 to 31, 0 (Sunday) to 6 */
	unsigned hour, minute, second;
};

static struct civil civil_of(time_t t)
{
	int64_t at = t < YEAR_1 ? YEAR_1 : t > YEAR_9999_END ? YEAR_9999_END : t;
	uint32_t seconds = (uint32_t)((at - YEAR_1) % DAY);
	uint32_t days = (uint32_t)((at - seconds) / DAY - MARCH_OF_YEAR_0);
	uint32_t in_400 = days % DAYS_OF_400_YEARS;
	uint32_t years = (in_400 - in_400 / 1460 + in_400 / 36524 - in_400 / 146096) / 365;
	uint32_t in_year = in_400 - (365 * years + years / 4 - years / 100);
	uint32_t month = (5 * in_year + 2) / 153;

	return (struct civil){
		.year = days / DAYS_OF_400_YEARS * 400 + years + (month >= 10),
		.month = month < 10 ? month + 3 : month - 9,
		.day = in_year - (153 * month + 2) / 5 + 1,
		.weekday = (days + 3) % 7,
		.hour = seconds / 3600,
		.minute = seconds / 60 % 60,
		.second = seconds % 60,
	};
}

static void two_digits(char *dst, unsigned n)
{
	dst[0] = (char)('0' + n / 10);
	dst[1] = (char)('0' + n % 10);
}

void http_date_format(char dst[HTTP_DATE_LEN], time_t t)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct civil c = civil_of(t);

	memcpy(dst, "Ddd, 00 Mmm 0000 00:00:00 GMT", HTTP_DATE_LEN);
	memcpy(dst, &days[c.weekday * 3], 3);
	two_digits(dst + 5, c.day);
	memcpy(dst + 8, &months[(c.month - 1) * 3], 3);
	two_digits(dst + 12, c.year / 100);
	two_digits(dst + 14, c.year % 100);
	two_digits(dst + 17, c.hour);
	two_digits(dst + 20, c.minute);
	two_digits(dst + 23, c.second);
}

void iso_time_format(char dst[ISO_TIME_LEN], struct timespec t)
{
	struct civil c = civil_of(t.tv_sec);
	unsigned ms = (unsigned)(t.tv_nsec / 1000000);

	memcpy(dst, "0000-00-00T00:00:00.000Z", ISO_TIME_LEN);
	two_digits(dst, c.year / 100);
	two_digits(dst + 2, c.year % 100);
	two_digits(dst + 5, c.month);
	two_digits(dst + 8, c.day);
	two_digits(dst + 11, c.hour);
	two_digits(dst + 14, c.minute);
	two_digits(dst + 17, c.second);
	two_digits(dst + 20, ms / 10);
	dst[22] = (char)('0' + ms % 10);
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
