/* screen.h: lines of text, for a terminal or for a file. */
#ifndef OL_CLI_SCREEN_H
#define OL_CLI_SCREEN_H

#include "base/buf.h"
#include "base/checked.h"
#include <stdbool.h>

enum style { PLAIN, BOLD, QUIET, GOOD, WARN, BAD, STYLES };

/* A picture in the making.  What is wider than `width` columns or lower than `height` lines is left out. */
struct screen {
	unsigned width, height; /* height 0: as many lines as come */
	bool colour;
	bool ascii;             /* no character beyond ASCII of our own */
	bool terminal;          /* lines end in what clears their rest */
	unsigned column, line;
	struct buf b;
	bool failed;            /* no memory: the picture is not shown */
};

/* An empty picture. */
void screen_begin(struct screen *s);

/* Text at the present place, cut off at the right edge.  Control characters become '?'. */
void screen_put(struct screen *s, enum style style, const char *text);
void screen_printf(struct screen *s, enum style style, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Text in `width` columns, filled with blanks, cut off with an ellipsis; to the left, or to the right. */
void screen_cell(struct screen *s, enum style style, const char *text, unsigned width, bool right);

/* `part` of `whole` as a bar. */
void screen_bar(struct screen *s, enum style style, double part, double whole, unsigned width);

void screen_end_line(struct screen *s);

/* How many lines there is still room for. */
unsigned screen_left(const struct screen *s);

/* Writes the picture; 0 or -errno. */
CHECKED int screen_show(struct screen *s, int fd);

void screen_fini(struct screen *s);

/* Columns that a text of UTF-8 takes, one a character. */
unsigned screen_columns(const char *text);

#endif
