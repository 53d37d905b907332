/* options.c: the four places that options are read from, and who wins.
 *
 * Every option of the server stands once in options_table.c: its name, kind, place, default, range and help.
 * The flag (--head-max), the variable (OFFLOOP_HEAD_MAX), the key of the JSON file ("head-max"), the lines of --help
 * and the errors are all made from that.  An app's own options are turned into entries of the same kind and appended,
 * so nothing below knows two sorts.
 *
 * All values are text until option_parse has checked them, whichever layer they come from; a JSON value of the right
 * type is turned into the text a flag would have had.  Layers are read from the weakest (table, app) to the strongest
 * (flags), but flags before file and environment, since they may name the file: a value is kept unless a stronger layer
 * has set the option already.  So a wrong value is refused even where it would lose, and says where it was found.
 *
 * Every mistake is refused, also an OFFLOOP_ variable or a key nobody knows, as a limit that was misspelt is a limit
 * that is not there.  An empty variable counts as unset.  The first mistake ends the reading; its message is one line.
 *
 * Nothing here depends on the locale.  Used by one thread; options_app_value and options_config only read.
 */
#include "options.h"
#include "base/nearest.h"
#include "model.h"
#include "options_table.h"
#include "options_value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE_MAX ((size_t)1 << 20)

static const char *const group_titles[GROUPS] = { [WHERE] = "Where it listens", [LANES] = "Loops and pools",
	[LIMITS] = "Limits", [LOGS] = "Log", [OTHER] = "Other" };

struct options {
	struct config config;
	struct option *list;
	size_t n;
	size_t server_n;        /* the first ones are the server's, the others the app's */
	struct options_in in;
	struct ol_app app;
	struct buf *out;
	int status;
};

/* ---- what is said ------------------------------------------------------------------------------------------------ */

static void out_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char *p;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	p = n < 0 ? NULL : buf_reserve(b, (size_t)n + 1);
	if (p)
		buf_added(b, (size_t)vsnprintf(p, (size_t)n + 1, fmt, ap));
}

static void __attribute__((format(printf, 2, 3))) out_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	out_vprintf(b, fmt, ap);
	va_end(ap);
}

/* The one line; -EINVAL.  What users wrote is quoted in it, so anything that could make a second line is replaced. */
static int __attribute__((format(printf, 2, 3))) wrong(struct options *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	out_vprintf(o->out, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < o->out->n; i++)
		if ((unsigned char)o->out->p[o->out->off + i] < ' ')
			o->out->p[o->out->off + i] = '?';
	o->status = 2;
	return -EINVAL;
}

static int no_memory(struct options *o)
{
	wrong(o, "out of memory");
	o->status = 1;
	return -ENOMEM;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* Something like a number, so that it is out of range rather than no number at all. */
static bool numeric(const char *s)
{
	s += *s == '-' || *s == '+';
	return *s && s[strspn(s, "0123456789")] == 0;
}

static int wrong_value(struct options *o, const struct option *opt, const char *where, const char *text)
{
	const char *not = numeric(text) ? text : NULL;
	unsigned long long min = opt->min, max = opt->max;

	switch (opt->kind) {
	case NUMBER:
		if (not)
			return wrong(o, "%s: %s is not in %llu..%llu", where, text, min, max);
		return wrong(o, "%s: \"%s\" is not a whole number in %llu..%llu", where, text, min, max);
	case SECONDS:
		return wrong(o, "%s: \"%s\" is not a time in %s..%llu s, written like 30, 2.5 or 500ms", where, text,
			min ? "0.001" : "0", max / 1000);
	case BYTES:
		return wrong(o, "%s: \"%s\" is not a size in %llu..%llu, written like 1000, 64k, 1M or 1G", where, text,
			min, max);
	case ENUM:
		return wrong(o, "%s: \"%s\" is not one of %s", where, text, opt->arg);
	case BOOL:
		return wrong(o, "%s: \"%s\" is neither true nor false", where, text);
	case ADDRESS:
		return wrong(o, "%s: \"%s\" is not HOST:PORT, unix:PATH or off", where, text);
	default:
		return wrong(o, "%s: must not be empty", where);
	}
}

/* The number text means to opt, 0 for texts; false when it is not of its kind or out of its range. */
static bool option_parse(const struct option *opt, const char *text, uint64_t *v)
{
	struct address address;

	*v = 0;
	switch (opt->kind) {
	case NUMBER:
		return value_number(text, v) && *v >= opt->min && *v <= opt->max;
	case SECONDS:
		return value_ms(text, v) && *v >= opt->min && *v <= opt->max;
	case BYTES:
		return value_bytes(text, v) && *v >= opt->min && *v <= opt->max;
	case ENUM:
		return value_choice(opt->arg, text, v);
	case BOOL:
		return value_bool(text, v);
	case ADDRESS:
		return value_address(text, &address) == 0;
	default:
		return *text || opt->group == APP;
	}
}

static void store(struct config *config, const struct option *opt, uint64_t v)
{
	char *member = (char *)config + opt->at;

	if (opt->size == 0)
		return;
	switch (opt->kind) {
	case STRING:
	case ADDRESS:
		*(const char **)(void *)member = opt->text;
		break;
	case BOOL:
		*(bool *)member = v != 0;
		break;
	default:
		if (opt->size == sizeof(uint64_t))
			*(uint64_t *)(void *)member = v;
		else
			*(uint32_t *)(void *)member = (uint32_t)v;
	}
}

_Static_assert(sizeof(unsigned) == 4 && sizeof(enum config_backend) == 4 && sizeof(enum log_level) == 4, "store()");

/* Checks text and, unless a stronger layer has set the option, makes it its value.  where: what an error calls it. */
static int option_set(struct options *o, struct option *opt, enum layer layer, const char *where, const char *text)
{
	uint64_t v;
	char *copy;

	if (!option_parse(opt, text, &v))
		return wrong_value(o, opt, where, text);
	if (layer < opt->layer)
		return 0;
	copy = strdup(opt->kind != BOOL ? text : v ? "1" : "0");
	if (!copy)
		return no_memory(o);
	free(opt->text);
	opt->text = copy;
	opt->layer = layer;
	store(&o->config, opt, v);
	return 0;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static struct option *option_find(const struct options *o, const char *name, size_t n)
{
	for (size_t i = 0; i < o->n; i++)
		if (strlen(o->list[i].name) == n && memcmp(o->list[i].name, name, n) == 0)
			return &o->list[i];
	return NULL;
}

static const char *nearest_name(const struct options *o, const char *name)
{
	struct nearest nearest = { .wanted = name };

	for (size_t i = 0; i < o->n; i++)
		nearest_offer(&nearest, o->list[i].name);
	return nearest.best;
}

#define ENV_PREFIX "OFFLOOP_"

/* "head-max" as "HEAD_MAX", or back; dst has room for n + 1. */
static void env_style(char *dst, const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = name[i] == '-' ? '_' : name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 32) : name[i];
	dst[n] = 0;
}

static void flag_style(char *dst, const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = name[i] == '_' ? '-' : ascii_lower(name[i]);
	dst[n] = 0;
}

/* ---- the app's options and defaults ------------------------------------------------------------------------------ */

void options_element(void *dst, size_t dst_n, const void *from, size_t stride, size_t i)
{
	memset(dst, 0, dst_n);
	memcpy(dst, (const char *)from + i * stride, stride < dst_n ? stride : dst_n);
}

static bool good_name(const char *name)
{
	size_t n = strlen(name);

	return n && n < 48 && name[0] >= 'a' && name[0] <= 'z' && name[n - 1] != '-' &&
		name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == 0;
}

static int add_app_option(struct options *o, const struct ol_option *app)
{
	struct option *opt;

	if (!app->name || !good_name(app->name))
		return wrong(o, "the app's option \"%s\": a name is lower-case letters, digits and '-', as data-dir",
			app->name ? app->name : "");
	if ((opt = option_find(o, app->name, strlen(app->name))))
		return wrong(o, "the app's option \"%s\": %s has that name already", app->name,
			opt->group == APP ? "another of its options" : "an option of the server");
	opt = &o->list[o->n++];
	*opt = (struct option){ .name = app->name, .kind = app->arg ? STRING : BOOL, .group = APP, .value = app->value,
		.arg = app->arg, .help = app->help ? app->help : "" };
	if (opt->kind == BOOL && !opt->value)
		opt->value = "0";
	return 0;
}

static int add_options(struct options *o)
{
	int rc = 0;

	o->list = calloc(options_table_n + o->app.noptions, sizeof(*o->list));
	if (!o->list)
		return no_memory(o);
	memcpy(o->list, options_table, options_table_n * sizeof(*o->list));
	o->n = o->server_n = options_table_n;
	for (size_t i = 0; !rc && i < o->app.noptions; i++) {
		struct ol_option app;

		options_element(&app, sizeof(app), o->app.options, o->app.option_size, i);
		rc = add_app_option(o, &app);
	}
	return rc;
}

/* The app's defaults take the place of the table's, so that --help shows what holds. */
static int set_defaults(struct options *o)
{
	struct ol_default d;
	char where[96];
	int rc = 0;

	for (size_t i = 0; i < o->app.ndefaults; i++) {
		struct option *opt;

		options_element(&d, sizeof(d), o->app.defaults, o->app.default_size, i);
		opt = d.option ? option_find(o, d.option, strlen(d.option)) : NULL;
		if (!opt || opt >= o->list + o->server_n || opt->kind == FILE_NAME || opt->kind == ACTION)
			return wrong(o, "the app's defaults: \"%s\" is not an option of the server",
				d.option ? d.option : "");
		opt->value = d.value;
	}
	for (size_t i = 0; !rc && i < o->n; i++) {
		struct option *opt = &o->list[i];

		snprintf(where, sizeof(where), "the app's default of %s", opt->name);
		if (opt->value)
			rc = option_set(o, opt, DEFAULTS, where, opt->value);
	}
	return rc;
}

/* ---- flags ------------------------------------------------------------------------------------------------------- */

static int wrong_flag(struct options *o, const char *arg, size_t n)
{
	char name[64];
	const char *best = NULL;

	if (n > 2 && n < sizeof(name)) {
		flag_style(name, arg + 2, n - 2);
		best = nearest_name(o, name);
	}
	if (best)
		return wrong(o, "unknown option %.*s: did you mean --%s?", (int)n, arg, best);
	return wrong(o, "unknown option %.*s: --help lists them", (int)n, arg);
}

static void help(const struct options *o);

static void act(struct options *o, const struct option *opt)
{
	if (strcmp(opt->name, "help") == 0)
		help(o);
	else
		out_printf(o->out, "%s (offloop %s)\n", o->in.program, OL_VERSION);
	o->status = 0;
}

/* Reads argv[i] and perhaps its value.  How many arguments that took; 0 when the process is to end. */
static int read_flag(struct options *o, int i)
{
	const char *arg = o->in.argv[i], *next = i + 1 < o->in.argc ? o->in.argv[i + 1] : NULL, *value;
	size_t n = strcspn(arg, "=");
	struct option *opt;
	char where[64];
	int used = 1;

	if (arg[0] != '-')
		return wrong(o, "unexpected argument \"%s\": options begin with --", arg), 0;
	if (strcmp(arg, "-h") == 0)
		return act(o, option_find(o, "help", 4)), 0;
	opt = n > 2 && arg[1] == '-' ? option_find(o, arg + 2, n - 2) : NULL;
	if (!opt)
		return wrong_flag(o, arg, n), 0;
	value = arg[n] ? arg + n + 1 : NULL;
	snprintf(where, sizeof(where), "--%s", opt->name);
	if (opt->kind == ACTION)
		return value ? wrong(o, "%s: takes no value", where), 0 : (act(o, opt), 0);
	if (!value && opt->kind == BOOL)
		value = "true";
	if (!value) {
		if (!next || strncmp(next, "--", 2) == 0)
			return wrong(o, "%s: a value is missing, as in %s %s", where, where, opt->arg), 0;
		value = next;
		used = 2;
	}
	return option_set(o, opt, FLAGS, where, value) ? 0 : used;
}

static int read_flags(struct options *o)
{
	for (int i = 1, used; i < o->in.argc; i += used)
		if ((used = read_flag(o, i)) == 0)
			return -EINVAL;
	return 0;
}

/* ---- the environment --------------------------------------------------------------------------------------------- */

static int read_variable(struct options *o, const char *var)
{
	size_t n = strcspn(var, "="), prefix = sizeof(ENV_PREFIX) - 1;
	char name[64], env[64];
	const char *best = NULL;
	struct option *opt = NULL;

	if (strncmp(var, ENV_PREFIX, prefix) != 0 || !var[n] || !var[n + 1])
		return 0;
	if (n - prefix < sizeof(name)) {
		flag_style(name, var + prefix, n - prefix);
		env_style(env, name, n - prefix);
		if (memcmp(env, var + prefix, n - prefix) == 0)
			opt = option_find(o, name, n - prefix);
		best = opt ? NULL : nearest_name(o, name);
	}
	if (!opt || opt->kind == ACTION) {
		if (!best)
			return wrong(o, "unknown variable %.*s: --help lists the options", (int)n, var);
		env_style(env, best, strlen(best));
		return wrong(o, "unknown variable %.*s: did you mean " ENV_PREFIX "%s?", (int)n, var, env);
	}
	snprintf(name, sizeof(name), "%.*s", (int)n, var);
	return option_set(o, opt, ENVIRONMENT, name, var + n + 1);
}

static int read_environment(struct options *o)
{
	int rc = 0;

	for (char *const *var = o->in.env; !rc && var && *var; var++)
		rc = read_variable(o, *var);
	return rc;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* The line of the outermost object's key, 0 when it is not found (written with escapes): jansson forgets lines. */
static unsigned line_of_key(const char *json, size_t size, const char *key)
{
	unsigned line = 1, depth = 0;
	size_t n = strlen(key);

	for (const char *at = json, *end = json + size; at < end; at++) {
		if (*at == '\n') {
			line++;
		} else if (*at == '{' || *at == '[') {
			depth++;
		} else if (*at == '}' || *at == ']') {
			depth--;
		} else if (*at == '"') {
			const char *start = ++at;

			for (; at < end && *at != '"'; at++)
				at += *at == '\\';
			if (at >= end)
				break;
			if (depth == 1 && (size_t)(at - start) == n && memcmp(start, key, n) == 0) {
				const char *colon = at + 1;

				while (colon < end && strchr(" \t\r\n", *colon) && *colon)
					colon++;
				if (colon < end && *colon == ':')
					return line;
			}
		}
	}
	return 0;
}

static const char *const wanted_types[] = { [STRING] = "a string", [NUMBER] = "a whole number",
	[SECONDS] = "a number of seconds, or a string like \"500ms\"",
	[BYTES] = "a whole number, or a string like \"64k\"", [BOOL] = "true or false",
	[ENUM] = "a string", [ADDRESS] = "a string" };

/* A JSON value as the text a flag would have; false when it is of the wrong type. */
static bool json_text(const struct option *opt, const json_t *v, char *dst, size_t n, const char **text)
{
	*text = dst;
	if (json_is_string(v) && opt->kind != NUMBER && opt->kind != BOOL)
		*text = json_string_value(v);
	else if (json_is_integer(v) && (opt->kind == NUMBER || opt->kind == SECONDS || opt->kind == BYTES ||
		opt->group == APP))
		snprintf(dst, n, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v) && opt->kind == SECONDS && json_real_value(v) >= 0 && json_real_value(v) < 1e12)
		snprintf(dst, n, "%llums", (unsigned long long)(json_real_value(v) * 1000 + 0.5));
	else if (json_is_boolean(v) && opt->kind == BOOL)
		*text = json_is_true(v) ? "true" : "false";
	else
		return false;
	return true;
}

static int read_key(struct options *o, const char *where, const char *key, const json_t *v)
{
	struct option *opt = option_find(o, key, strlen(key));
	const char *best = nearest_name(o, key), *text;
	char room[64];

	if (opt && (opt->kind == FILE_NAME || opt->kind == ACTION))
		return wrong(o, "%s: cannot be given in a file", where);
	if (!opt && best)
		return wrong(o, "%s: unknown option, did you mean \"%s\"?", where, best);
	if (!opt)
		return wrong(o, "%s: unknown option, --help lists them", where);
	if (!json_text(opt, v, room, sizeof(room), &text))
		return wrong(o, "%s: must be %s", where, wanted_types[opt->kind]);
	return option_set(o, opt, FILE_, where, text);
}

/* All of a file, at most CONFIG_FILE_MAX.  0 or -errno. */
static int read_whole(const char *path, struct buf *b)
{
	FILE *f = fopen(path, "re");
	int rc = f ? 0 : -errno;

	while (f && !rc && !feof(f)) {
		char *p = buf_reserve(b, 4096);

		if (!p)
			rc = -ENOMEM;
		else
			buf_added(b, fread(p, 1, 4096, f));
		if (!rc && ferror(f))
			rc = errno ? -errno : -EIO;
		if (!rc && b->n > CONFIG_FILE_MAX)
			rc = -EFBIG;
	}
	if (f)
		fclose(f);
	return rc;
}

static int read_file(struct options *o, const char *path)
{
	struct buf b = { 0 };
	json_error_t error;
	json_t *root = NULL, *v;
	const char *key;
	int rc = read_whole(path, &b);

	if (rc) {
		wrong(o, "%s: %s", path, strerror(-rc));
		goto out;
	}
	root = json_loadb(b.n ? b.p + b.off : "", b.n, JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		rc = wrong(o, "%s:%d: %s", path, error.line, error.text);
		goto out;
	}
	if (!json_is_object(root))
		rc = wrong(o, "%s:1: must be an object, as {\"port\": 8000}", path);
	json_object_foreach(root, key, v) {
		char where[512];

		snprintf(where, sizeof(where), "%s:%u: %s", path, line_of_key(b.p + b.off, b.n, key), key);
		if (!rc)
			rc = read_key(o, where, key, v);
	}
out:
	json_decref(root);
	buf_fini(&b);
	return rc;
}

/* ---- help -------------------------------------------------------------------------------------------------------- */

#define HELP_COLUMN 33  /* where what an option is for begins: beside its name, or below one that is too long */

static void help_line(const struct options *o, const struct option *opt)
{
	char left[128];

	snprintf(left, sizeof(left), "%s--%s%s%s", strcmp(opt->name, "help") == 0 ? "-h, " : "", opt->name,
		opt->arg ? " " : "", opt->arg ? opt->arg : "");
	if (strlen(left) < HELP_COLUMN - 2)
		out_printf(o->out, "  %-*s%s", HELP_COLUMN - 2, left, opt->help);
	else
		out_printf(o->out, "  %s\n%*s%s", left, HELP_COLUMN, "", opt->help);
	if (opt->value && opt->kind != BOOL)
		out_printf(o->out, " [%s]", opt->value);
	else if (opt->value && strcmp(opt->value, "0") != 0 && strcmp(opt->value, "false") != 0)
		out_printf(o->out, " [on]");
	out_printf(o->out, "\n");
}

static void help(const struct options *o)
{
	out_printf(o->out, "Usage: %s [options]\n", o->in.program);
	for (int group = 0; group < GROUPS; group++) {
		bool any = false;

		for (size_t i = 0; i < o->n; i++) {
			if ((int)o->list[i].group != group)
				continue;
			if (!any && group == APP)
				out_printf(o->out, "\nOf %s\n", o->app.name ? o->app.name : "the app");
			else if (!any)
				out_printf(o->out, "\n%s\n", group_titles[group]);
			any = true;
			help_line(o, &o->list[i]);
		}
	}
	out_printf(o->out, "\nAn option is also read from the environment (--head-max as OFFLOOP_HEAD_MAX) and from\n"
		"the file of --config (\"head-max\").  A flag wins over the environment, that over the file, that\n"
		"over the defaults in [].\n");
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

static bool was_asked_for(const struct options *o, const char *name)
{
	return option_find(o, name, strlen(name))->layer > DEFAULTS;
}

/* What was asked for must go with the model; what the app would have by default gives way to it. */
static int fit_model(struct options *o)
{
	struct config *c = &o->config;
	const struct model *m = model_of(c->model);

	if (c->guard == GUARD_DEMOTE && model_decides(m)) {
		if (was_asked_for(o, "guard"))
			return wrong(o, "--guard demote moves routes to another lane, and --model %s has but one: "
				"leave out one of the two", m->name);
		c->guard = GUARD_WARN;
	}
	if (m->one_connection && c->loops != 1 && was_asked_for(o, "loops"))
		return wrong(o, "--model %s has one loop, for one connection at a time: leave out --loops %u", m->name,
			c->loops);
	if (m->loops && !was_asked_for(o, "loops"))
		c->loops = m->loops;
	if (m->threads)
		c->pool_threads = m->threads;
	return 0;
}

/* The members an older caller knows; what it does not know stays zero. */
static int copy_app(struct options *o)
{
	const struct ol_app *app = o->in.app;

	if (app->size < offsetof(struct ol_app, pools) || app->size > 4096)
		return wrong(o, "the app is not a struct ol_app that begins with OL_APP_INIT: its size says %zu",
			app->size);
	if (app->size > sizeof(o->app))
		return wrong(o, "the app was built for a newer offloop than %s", OL_VERSION);
	memcpy(&o->app, app, app->size);
	o->app.size = sizeof(o->app);
	return 0;
}

static int read_all(struct options *o)
{
	struct option *config;
	int rc;

	if ((rc = copy_app(o)) || (rc = add_options(o)) || (rc = set_defaults(o)) || (rc = read_flags(o)) ||
		(rc = read_environment(o)))
		return rc;
	config = option_find(o, "config", 6);
	rc = config->text ? read_file(o, config->text) : 0;
	return rc ? rc : fit_model(o);
}

struct options *options_new(const struct options_in *in, struct buf *text, int *status)
{
	struct options *o = calloc(1, sizeof(*o));

	if (!o) {
		*status = 1;
		return NULL;
	}
	o->in = *in;
	o->out = text;
	if (read_all(o) == 0)
		return o;
	*status = o->status;
	options_free(o);
	return NULL;
}

void options_free(struct options *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->n; i++)
		free(o->list[i].text);
	free(o->list);
	free(o);
}

const struct config *options_config(const struct options *o)
{
	return &o->config;
}

const struct ol_app *options_app(const struct options *o)
{
	return &o->app;
}

const char *options_app_value(const struct options *o, const char *name)
{
	const struct option *opt = option_find(o, name, strlen(name));

	if (!opt || opt->group != APP || (opt->kind == BOOL && strcmp(opt->text, "1") != 0))
		return NULL;
	return opt->text;
}
