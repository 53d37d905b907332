/* top_text.h: numbers and times as `offloop top` writes them.  All but text_clock give dst, which has room for n. */
#ifndef OL_CLI_TOP_TEXT_H
#define OL_CLI_TOP_TEXT_H

#include "cli/figures.h"

/* "12", "3.5", "12.3 k"; "-" below 0. */
const char *text_count(char *dst, size_t n, double v);

/* bound: '<' or '>', with the digits it has; 0: a time that was measured, to three digits.  "-" below 0. */
const char *text_time(char *dst, size_t n, double seconds, char bound);

/* What is known of a quantile. */
const char *text_quantile(char *dst, size_t n, const struct spread *s, double q);

/* "3 d 4 h", "5 s". */
const char *text_up(char *dst, size_t n, double s);

/* "12:03:01", in local time, of "2026-11-22T11:59:02.387Z"; the text itself when it is no such time. */
void text_clock(char *dst, size_t n, const char *iso);

#endif
