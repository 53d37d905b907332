/* top_text.c: numbers and times as `offloop top` writes them.
 *
 * As short as its columns are, with a unit where there is one, and with no more digits than are known: a bound, which
 * is all that a histogram knows of a time, has those it was given.  What is not known is "-".
 *
 * Functions of their arguments, but that a clock is told in the time zone of who looks.
 */
#include "cli/top_text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const char *text_count(char *dst, size_t n, double v)
{
	if (v < 0)
		snprintf(dst, n, "-");
	else if (v >= 1e6)
		snprintf(dst, n, "%.3g M", v / 1e6);
	else if (v >= 1e4)
		snprintf(dst, n, "%.3g k", v / 1e3);
	else if (v < 0.05)
		snprintf(dst, n, "0");
	else
		snprintf(dst, n, v >= 100 || v == (double)(long)v ? "%.0f" : "%.1f", v);
	return dst;
}

const char *text_time(char *dst, size_t n, double seconds, char bound)
{
	double v = seconds * 1e3;
	const char *unit = "ms";
	int digits;

	if (seconds < 0) {
		snprintf(dst, n, "-");
		return dst;
	}
	if (v < 0.1 || (bound && v < 1)) {
		v *= 1e3;
		unit = "us";
	} else if (v >= 1000) {
		v /= 1e3;
		unit = "s";
	}
	digits = v >= 100 || strcmp(unit, "us") == 0 ? 0 : v >= 10 ? 1 : 2;
	if (bound)
		snprintf(dst, n, "%c%.3g %s", bound, v, unit);
	else
		snprintf(dst, n, "%.*f %s", digits, v, unit);
	return dst;
}

const char *text_quantile(char *dst, size_t n, const struct spread *s, double q)
{
	char bound;
	double v = spread_quantile(s, q, &bound);

	return text_time(dst, n, v, bound);
}

const char *text_up(char *dst, size_t n, double s)
{
	long t = (long)s;

	if (t >= 86400)
		snprintf(dst, n, "%ld d %ld h", t / 86400, t / 3600 % 24);
	else if (t >= 3600)
		snprintf(dst, n, "%ld h %ld min", t / 3600, t / 60 % 60);
	else if (t >= 60)
		snprintf(dst, n, "%ld min %ld s", t / 60, t % 60);
	else
		snprintf(dst, n, "%ld s", t);
	return dst;
}

void text_clock(char *dst, size_t n, const char *iso)
{
	struct tm utc = { 0 }, local;
	time_t t;

	if (strptime(iso, "%Y-%m-%dT%H:%M:%S", &utc) && (t = timegm(&utc)) != -1 && localtime_r(&t, &local))
		snprintf(dst, n, "%02d:%02d:%02d", local.tm_hour, local.tm_min, local.tm_sec);
	else
		snprintf(dst, n, "%s", iso);
}
