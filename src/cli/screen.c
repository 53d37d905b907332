/* screen.c: lines of text, for a terminal or for a file.
 *
 * A picture is made whole in memory and written at once, from the top left corner over the last one, each line clearing
 * what is left of it, so that nothing flickers and nothing scrolls.  The sequences are ECMA-48's that every terminal
 * knows: colour (SGR), home, clear to the end.  For a file there are none.
 *
 * What is shown comes from a server: names of routes and files may hold anything.  What could steer the terminal
 * becomes '?' (safe_text.c).  A character counts as one column, which is wrong for wide ones: their line is cut a
 * little early by the terminal itself (wrapping is off while we draw).
 *
 * One thread.  Without memory a picture is not shown, and screen_show says so.
 */
#include "cli/screen.h"
#include "cli/safe_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const styles[STYLES] = { "", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[31m" };

static void append(struct screen *s, const char *p, size_t n)
{
	if (!s->failed && buf_append(&s->b, p, n))
		s->failed = true;
}

static void append_text(struct screen *s, const char *text)
{
	append(s, text, strlen(text));
}

unsigned screen_columns(const char *text)
{
	unsigned n = 0;
	bool safe;

	for (; *text; n++)
		text += safe_character(text, &safe);
	return n;
}

void screen_begin(struct screen *s)
{
	buf_consume(&s->b, s->b.n);
	s->column = s->line = 0;
	s->failed = false;
	if (s->terminal)
		append_text(s, "\033[?7l\033[H");
}

unsigned screen_left(const struct screen *s)
{
	if (s->height == 0)
		return 1000000;
	return s->height > s->line ? s->height - s->line : 0;
}

/* At most `columns` characters of it. */
static void put_some(struct screen *s, const char *text, unsigned columns)
{
	for (unsigned i = 0; *text && i < columns; i++) {
		bool safe;
		size_t n = safe_character(text, &safe);

		append(s, safe ? text : "?", safe ? n : 1);
		text += n;
		s->column++;
	}
}

static bool is_visible(const struct screen *s)
{
	return screen_left(s) > 0 && s->column < s->width;
}

void screen_put(struct screen *s, enum style style, const char *text)
{
	if (!is_visible(s))
		return;
	if (s->colour && style != PLAIN)
		append_text(s, styles[style]);
	put_some(s, text, s->width - s->column);
	if (s->colour && style != PLAIN)
		append_text(s, "\033[0m");
}

void screen_printf(struct screen *s, enum style style, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	screen_put(s, style, text);
}

static void blanks(struct screen *s, unsigned n)
{
	for (; n > 0 && is_visible(s); n--)
		put_some(s, " ", 1);
}

/* The length of the first n characters. */
static size_t bytes_of(const char *text, unsigned n)
{
	const char *at = text;
	bool safe;

	for (; n > 0 && *at; n--)
		at += safe_character(at, &safe);
	return (size_t)(at - text);
}

void screen_cell(struct screen *s, enum style style, const char *text, unsigned width, bool right)
{
	unsigned n = screen_columns(text);
	char cut[1024];

	if (n > width && width > 0) {
		snprintf(cut, sizeof(cut), "%.*s%s", (int)bytes_of(text, width - 1), text, s->ascii ? "~" : "…");
		text = cut;
		n = width;
	}
	if (right && n < width)
		blanks(s, width - n);
	screen_put(s, style, text);
	if (!right && n < width)
		blanks(s, width - n);
}

void screen_bar(struct screen *s, enum style style, double part, double whole, unsigned width)
{
	static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
	double share = whole > 0 && part > 0 ? part < whole ? part / whole : 1 : 0;
	unsigned n = (unsigned)(share * width * 8 + 0.5), i = 0;

	if (s->ascii)
		n = (n + 4) / 8 * 8;
	for (; i < n / 8; i++)
		screen_put(s, style, s->ascii ? "#" : "█");
	if (n % 8) {
		screen_put(s, style, eighths[n % 8]);
		i++;
	}
	for (; i < width; i++)
		screen_put(s, QUIET, s->ascii ? "." : "·");
}

void screen_end_line(struct screen *s)
{
	if (screen_left(s) == 0)
		return;
	if (s->terminal && s->column < s->width) /* at the edge it would clear the last character */
		append_text(s, "\033[K");
	while (!s->terminal && s->b.n > 0 && s->b.p[s->b.off + s->b.n - 1] == ' ')
		s->b.n--;
	s->line++;
	s->column = 0;
	/* behind the last line of a terminal an end of line would scroll */
	if (screen_left(s) > 0)
		append_text(s, "\n");
}

int screen_show(struct screen *s, int fd)
{
	struct slice left;

	if (s->terminal)
		append_text(s, screen_left(s) > 0 ? "\033[J\033[?7h" : "\033[?7h");
	if (s->failed)
		return -ENOMEM;
	left = buf_slice(&s->b);
	while (left.n > 0) {
		ssize_t n = write(fd, left.p, left.n);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			left = (struct slice){ left.p + n, left.n - (size_t)n };
	}
	return 0;
}

void screen_fini(struct screen *s)
{
	buf_fini(&s->b);
}
