/* options_value.c: the texts of options as values.
 *
 * Numbers, durations, sizes, choices, switches and addresses, as people write them.  All of it is decimal digits and
 * ASCII, read without the C library's number functions, because those follow the locale ("2,5") and accept more than is
 * meant (" 8", "0x10", "1e3").  A value that does not fit 64 bits is no value; ranges are options.c's business.
 *
 * Pure functions, any thread, no allocation.
 */
#include "options_value.h"
#include "base/slice.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define K UINT64_C(1024)
#define S UINT64_C(1000)

/* Decimal digits at *s, at least one; false also when they do not fit. */
static bool digits(const char **s, uint64_t *v)
{
	const char *start = *s;

	for (*v = 0; **s >= '0' && **s <= '9'; (*s)++)
		if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, (uint64_t)(**s - '0'), v))
			return false;
	return *s > start;
}

bool value_number(const char *s, uint64_t *v)
{
	return digits(&s, v) && *s == 0;
}

bool value_ms(const char *s, uint64_t *ms)
{
	uint64_t whole, thousandths = 0, unit = 100;

	if (!digits(&s, &whole))
		return false;
	*ms = whole;
	if (strcmp(s, "ms") == 0)
		return true;
	if (*s == '.') {
		if (s[1] < '0' || s[1] > '9')
			return false;
		for (s++; *s >= '0' && *s <= '9' && unit; s++, unit /= 10)
			thousandths += (uint64_t)(*s - '0') * unit;
	}
	return (*s == 0 || strcmp(s, "s") == 0) && !__builtin_mul_overflow(whole, S, ms) &&
		!__builtin_add_overflow(*ms, thousandths, ms);
}

bool value_bytes(const char *s, uint64_t *v)
{
	static const char units[] = "kmg";
	const char *unit;

	if (!digits(&s, v))
		return false;
	if (*s == 0)
		return true;
	unit = strchr(units, ascii_lower(*s));
	if (!unit || s[1])
		return false;
	for (ptrdiff_t i = 0; i <= unit - units; i++)
		if (__builtin_mul_overflow(*v, K, v))
			return false;
	return true;
}

bool value_choice(const char *choices, const char *s, uint64_t *v)
{
	size_t n = strlen(s);

	*v = 0;
	for (const char *at = choices;; at++, (*v)++) {
		size_t len = strcspn(at, "|");

		if (len == n && memcmp(at, s, n) == 0)
			return true;
		at += len;
		if (!*at)
			return false;
	}
}

bool value_bool(const char *s, uint64_t *v)
{
	static const char *const words[] = { "false", "true", "0", "1", "no", "yes", "off", "on" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(s, words[i]) == 0) {
			*v = i & 1;
			return true;
		}
	return false;
}

int value_address(const char *text, struct address *a)
{
	const char *host = text, *end = strrchr(text, ':'), *digit = end ? end + 1 : "";
	uint64_t port;

	*a = (struct address){ .off = strcmp(text, "off") == 0 };
	if (a->off)
		return 0;
	if (strncmp(text, "unix:", 5) == 0) {
		a->unix_path = text + 5;
		return *a->unix_path ? 0 : -EINVAL;
	}
	if (!digits(&digit, &port) || *digit || port > 65535)
		return -EINVAL;
	if (*host == '[') {
		host++;
		if (end <= host || *--end != ']')
			return -EINVAL;
	} else if (memchr(host, ':', (size_t)(end - host))) {
		return -EINVAL;         /* an IPv6 address without brackets: which colon is the port's? */
	}
	if (end == host || (size_t)(end - host) >= sizeof(a->host))
		return -EINVAL;
	memcpy(a->host, host, (size_t)(end - host));
	a->port = (unsigned)port;
	return 0;
}
