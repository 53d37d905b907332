/* log_line.c: one line of the log, as text or JSON.
 *
 * A line is written into memory of the caller's, from left to right.  Room for its end is always kept, so whatever did
 * not fit is left out from there on and the line says that it was cut.  What comes from outside, messages and strings,
 * is escaped: control characters, what looks like something else (bidirectional overrides, line separators) and bytes
 * that are no UTF-8.  So a line is one line, and no request can forge another.
 *
 * A field of the log's own, by which lines of several processes are told apart, is written behind even what was cut.
 *
 * Runs of plain characters are found eight bytes at a time, since nearly all of them are.
 *
 * Any thread; no lock, no allocation.
 */
#include "log_line.h"
#include "clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Room that is kept behind every line for its end, besides a field of the log's own: `","cut":true}\n` at most. */
#define TAIL_BYTES 16

enum escapes { ESC_TEXT, ESC_QUOTED, ESC_JSON };

static const char level_names[][6] = { "error", "warn", "info", "debug" };

static size_t room(const struct log_text *o)
{
	return o->at < o->end ? (size_t)(o->end - o->at) : 0;
}

static void add(struct log_text *o, const char *p, size_t n)
{
	memcpy(o->at, p, n);
	o->at += n;
}

static void add_text(struct log_text *o, const char *s)
{
	add(o, s, strlen(s));
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* False when one of the eight bytes is not plain: a subtraction sets a byte's top bit when the byte is below 0x20, or
 * has become 0 because it is the one looked for.  A borrow from the byte beside it may do so too, wrongly, but only
 * beside one that is not plain itself; it never clears one. */
static bool all_plain(uint64_t x)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	uint64_t quote = x ^ ones * '"', backslash = x ^ ones * '\\', del = x ^ ones * 0x7f;

	return (((x - ones * 0x20) | (quote - ones) | (backslash - ones) | (del - ones) | x) & tops) == 0;
}

static size_t plain_run(const char *p, size_t n)
{
	size_t i = 0;
	uint64_t x;

	for (; i + sizeof(x) <= n; i += sizeof(x)) {
		memcpy(&x, p + i, sizeof(x));
		if (!all_plain(x))
			break;
	}
	while (i < n && is_plain((unsigned char)p[i]))
		i++;
	return i;
}

/* The length of the UTF-8 sequence that p starts with (RFC 3629 §4) and its code point; 0 when it is not one. */
static size_t utf8_sequence(const unsigned char *p, size_t n, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
	uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*code = c;
	return len;
}

/* Code points that some reader may take for the end of a line, or that turn the direction of what follows. */
static bool is_deceptive(uint32_t c)
{
	return (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static size_t hex(char *dst, const char *prefix, uint32_t value, size_t digits)
{
	size_t n = strlen(prefix);

	memcpy(dst, prefix, n);
	for (size_t i = 0; i < digits; i++)
		dst[n + i] = "0123456789abcdef"[value >> (4 * (digits - 1 - i)) & 15];
	return n + digits;
}

/* Writes what stands for the first character of p, at most 8 bytes; *used of p are done with. */
static size_t escape(char *dst, const char *p, size_t n, enum escapes how, size_t *used)
{
	static const char special[] = "\n\r\t\"\\", letters[] = "nrt\"\\";
	unsigned char c = (unsigned char)*p;
	const char *found = memchr(special, c, sizeof(special) - 1);
	uint32_t code;

	*used = 1;
	if (found && !(c == '"' && how == ESC_TEXT)) {
		dst[0] = '\\';
		dst[1] = letters[found - special];
		return 2;
	}
	*used = utf8_sequence((const unsigned char *)p, n, &code);
	if (*used == 0) {
		*used = 1;
		return hex(dst, how == ESC_JSON ? "\\\\x" : "\\x", c, 2);
	}
	if (code < 0x20 || is_deceptive(code))
		return hex(dst, "\\u", code, 4);
	memcpy(dst, p, *used);
	return *used;
}

static void add_escaped(struct log_text *o, struct slice s, enum escapes how)
{
	while (s.n > 0 && !o->cut) {
		size_t used = plain_run(s.p, s.n), n = used;
		const char *from = s.p;
		char one[8];

		if (used == 0) {
			n = escape(one, s.p, s.n, how, &used);
			from = one;
		}
		if (n > room(o)) {
			o->cut = true;
			n = from == s.p ? room(o) : 0;
		}
		add(o, from, n);
		s.p += used;
		s.n -= used;
	}
}

static void add_uint(struct log_text *o, uint64_t v, unsigned min_digits)
{
	char text[20], *p = text + sizeof(text);

	for (; v > 0 || min_digits > 0; v /= 10) {
		*--p = (char)('0' + v % 10);
		min_digits -= min_digits > 0;
	}
	add(o, p, (size_t)(text + sizeof(text) - p));
}

static void add_int(struct log_text *o, int64_t v)
{
	if (v < 0)
		*o->at++ = '-';
	add_uint(o, v < 0 ? -(uint64_t)v : (uint64_t)v, 1);
}

/* JSON: seconds, "0.012345".  Text: milliseconds, "12.345ms". */
static void add_duration(struct log_text *o, int64_t us)
{
	uint64_t v = us < 0 ? -(uint64_t)us : (uint64_t)us, unit = o->json ? 1000000 : 1000;

	if (us < 0)
		*o->at++ = '-';
	add_uint(o, v / unit, 1);
	*o->at++ = '.';
	add_uint(o, v % unit, o->json ? 6 : 3);
	if (!o->json)
		add_text(o, "ms");
}

/* Text leaves the quotes off a value that can be told from its surroundings without them. */
static bool wants_quotes(struct slice s)
{
	if (s.n == 0 || plain_run(s.p, s.n) < s.n)
		return true;
	return memchr(s.p, ' ', s.n) || memchr(s.p, '=', s.n);
}

static void add_string(struct log_text *o, struct slice s)
{
	if (!o->json && !wants_quotes(s)) {
		add_escaped(o, s, ESC_QUOTED);
		return;
	}
	*o->at++ = '"';
	add_escaped(o, s, o->json ? ESC_JSON : ESC_QUOTED);
	*o->at++ = '"';
}

/* Of a number, at most. */
static size_t field_size(const struct log_field *f)
{
	return strlen(f->name) + 32;    /* the longest number has 21 characters */
}

static void add_field(struct log_text *o, const struct log_field *f)
{
	add_text(o, o->json ? ",\"" : " ");
	add_text(o, f->name);
	add_text(o, o->json ? "\":" : "=");
	if (f->kind == LOG_STR)
		add_string(o, f->str);
	else if (f->kind == LOG_INT)
		add_int(o, f->num);
	else
		add_duration(o, f->num);
}

static void add_head(struct log_text *o, enum log_level level, struct slice msg)
{
	char time[ISO_TIME_LEN];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	iso_time_format(time, now);
	if (o->json)
		add_text(o, "{\"time\":\"");
	add(o, time, sizeof(time));
	add_text(o, o->json ? "\",\"level\":\"" : " ");
	add_text(o, level_names[level]);
	if (o->json) {
		add_text(o, "\",\"msg\":");
		add_string(o, msg);
	} else {
		add(o, "  ", level_names[level][4] ? 1 : 2);
		add_escaped(o, msg, ESC_TEXT);
	}
}

size_t log_compose(struct log_text *o, bool json, enum log_level level, struct slice msg,
	const struct log_field *fields, size_t n, const struct log_field *own)
{
	o->at = o->bytes;
	o->end = o->bytes + sizeof(o->bytes) - TAIL_BYTES - (own->name ? field_size(own) : 0);
	o->json = json;
	o->cut = false;
	add_head(o, level, msg);
	for (size_t i = 0; i < n && !o->cut; i++) {
		o->cut = room(o) < field_size(&fields[i]);
		if (!o->cut)
			add_field(o, &fields[i]);
	}
	if (own->name)
		add_field(o, own);
	if (o->cut)
		add_text(o, json ? ",\"cut\":true" : " (cut)");
	add_text(o, json ? "}\n" : "\n");
	return (size_t)(o->at - o->bytes);
}
