/* options.h: the options that a server was started with. */
#ifndef OL_OPTIONS_H
#define OL_OPTIONS_H

#include "base/buf.h"
#include "base/checked.h"
#include "config.h"
#include "offloop.h"

struct options;

struct options_in {
	const char *program;        /* for --help and --version */
	const struct ol_app *app;   /* its options and defaults; at least app->size bytes are there */
	int argc;
	char *const *argv;          /* argv[0] is not looked at */
	char *const *env;           /* "NAME=value" strings, ended by NULL */
};

/* Merges flags, OFFLOOP_* variables, the JSON file of --config, the app's defaults and the table's, in that order of
 * precedence, and checks everything, also what loses.  NULL when the process is to end with *status: then text holds
 * what to tell: for status 0 (--help, --version) whole lines, else one line without its end that says what was wrong
 * and what would be right (2; 1 when memory was short).  text is the caller's to free. */
CHECKED struct options *options_new(const struct options_in *in, struct buf *text, int *status);
/* Takes NULL. */
void options_free(struct options *o);

/* Its strings are the options' own. */
const struct config *options_config(const struct options *o);

/* in->app, with the members its caller does not know zero and its size that of this version. */
const struct ol_app *options_app(const struct options *o);

/* The value of one of the app's own options; NULL when it has none, or when there is no such option.  Any thread. */
const char *options_app_value(const struct options *o, const char *name);

/* Copies element i of a user's table, whose elements are `stride` bytes apart, to dst of dst_n bytes: what an older
 * caller does not know becomes zero, what a newer one knows beyond dst_n is left out. */
void options_element(void *dst, size_t dst_n, const void *table, size_t stride, size_t i);

#endif
