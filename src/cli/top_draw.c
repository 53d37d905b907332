/* top_draw.c: what `offloop top` shows.
 *
 * From top to bottom: totals, loops, pools, advice, stalls, routes by load.  Routes come last because there are most of
 * them, and take what lines are left.  A table has one column that stretches, its first; others have a fixed width, and
 * those that matter less appear only where the terminal is wide enough, so that a line is never broken.
 *
 * What a server does not tell of is left out; nothing here fails.
 */
#include "cli/top.h"
#include "cli/top_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DURATION "http_server_request_duration_seconds"
#define EVERYWHERE ((struct where){ NULL, NULL })
#define LONG_HOLD 0.01
#define LOOPS_MAX 8
#define STALLS_MAX 5
#define FRAMES_MAX 4
#define ADVICE_MAX 4
#define LOW 36          /* lines: on lower screens stalls and advice leave room for routes */

static bool is_low(const struct screen *s)
{
	return s->height > 0 && s->height < LOW;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

struct column {
	const char *title;
	unsigned width;         /* 0: what is left */
	unsigned from;          /* only on screens at least this wide */
	bool left;
};

struct cell {
	enum style style;
	char text[400];
};

/* How full something is: beside its name. */
struct bar {
	enum style style;
	double part, whole;
};

#define STRETCH_MIN 12
#define NAME 14         /* of what has a bar */
#define CELLS 12

static unsigned stretch(const struct screen *s, const struct column *columns, unsigned n)
{
	unsigned others = 0;

	for (unsigned i = 0; i < n; i++)
		if (columns[i].width && s->width >= columns[i].from)
			others += columns[i].width + 1;
	if (s->width < others + STRETCH_MIN)
		return STRETCH_MIN;
	/* on a wide screen figures should stand near their names */
	return s->width - others > 60 ? 60 : s->width - others;
}

static void first_cell(struct screen *s, const struct cell *cell, unsigned width, const struct bar *bar)
{
	bool both = bar && width >= NAME + 8;

	screen_cell(s, cell->style, cell->text, both ? NAME : width, false);
	if (both)
		screen_bar(s, bar->style, bar->part, bar->whole, width - NAME);
}

/* bar: NULL, or for the first column. */
static void table_line(struct screen *s, const struct column *columns, const struct cell *cells, unsigned n,
	const struct bar *bar)
{
	first_cell(s, &cells[0], stretch(s, columns, n), bar);
	for (unsigned i = 1; i < n; i++) {
		if (s->width < columns[i].from)
			continue;
		screen_put(s, PLAIN, " ");
		screen_cell(s, cells[i].style, cells[i].text, columns[i].width, !columns[i].left);
	}
	screen_end_line(s);
}

static void table_head(struct screen *s, const struct column *columns, unsigned n)
{
	struct cell cells[CELLS];

	screen_end_line(s);
	for (unsigned i = 0; i < n; i++) {
		cells[i].style = BOLD;
		snprintf(cells[i].text, sizeof(cells[i].text), "%s", columns[i].title);
	}
	table_line(s, columns, cells, n, NULL);
}

static void set(struct cell *c, enum style style, const char *text)
{
	c->style = style;
	snprintf(c->text, sizeof(c->text), "%s", text);
}

static void set_count(struct cell *c, double v, enum style when_not_zero)
{
	char text[32];

	set(c, v >= 0.05 ? when_not_zero : PLAIN, text_count(text, sizeof(text), v));
}

static bool is_over(const struct spread *s, double q, double limit)
{
	char bound;

	return spread_quantile(s, q, &bound) > limit;
}

static void set_quantile(struct cell *c, const struct spread *s, double q, double limit)
{
	char text[32];

	set(c, limit > 0 && is_over(s, q, limit) ? WARN : PLAIN, text_quantile(text, sizeof(text), s, q));
}

static void set_share(struct cell *c, double v)
{
	c->style = v > 0.9 ? WARN : PLAIN;
	snprintf(c->text, sizeof(c->text), "%.1f %%", v * 100);
}

/* ---- totals ------------------------------------------------------------------------------------------------------ */

#define GAP "   "       /* between items */

/* "name value". */
struct item {
	const char *name;
	char value[40];
	enum style style;
};

static void set_count_item(struct item *i, const char *name, double v, const char *unit, enum style when_not_zero)
{
	char number[32];

	*i = (struct item){ .name = name, .style = v >= 0.05 ? when_not_zero : PLAIN };
	snprintf(i->value, sizeof(i->value), "%s%s", text_count(number, sizeof(number), v), v < 0 ? "" : unit);
}

static void set_quantile_item(struct item *i, const char *name, const struct spread *of, double q)
{
	*i = (struct item){ .name = name, .style = PLAIN };
	text_quantile(i->value, sizeof(i->value), of, q);
}

/* Those that say something together, behind what stands in the line, or on the next one. */
static void put_items(struct screen *s, const struct item *items, unsigned n)
{
	unsigned width = 0;

	for (unsigned i = 0; i < n; i++)
		width += screen_columns(GAP) + screen_columns(items[i].name) + 1 + screen_columns(items[i].value);
	if (s->column > 0 && s->column + width > s->width)
		screen_end_line(s);
	for (unsigned i = 0; i < n; i++) {
		if (s->column > 0)
			screen_put(s, PLAIN, GAP);
		screen_put(s, QUIET, items[i].name);
		screen_put(s, PLAIN, " ");
		screen_put(s, items[i].style, items[i].value);
	}
}

static void put_count(struct screen *s, const char *name, double v, const char *unit, enum style when_not_zero)
{
	struct item i;

	set_count_item(&i, name, v, unit, when_not_zero);
	put_items(s, &i, 1);
}

/* A piece of the first line, behind what stands there, or on the next one. */
static void put_piece(struct screen *s, enum style style, const char *gap, const char *text)
{
	if (s->column + screen_columns(gap) + screen_columns(text) > s->width)
		screen_end_line(s);
	else
		screen_put(s, PLAIN, gap);
	screen_put(s, style, text);
}

static void about(struct screen *s, const struct top_told *t)
{
	char version[32] = "", backend[32] = "", worker[32] = "", up[40], text[400];
	time_t now = time(NULL);
	struct tm local;
	double started;
	bool known = figures_sum(&t->now, "process_start_time_seconds", EVERYWHERE, &started);

	for (size_t i = 0; i < t->now.n; i++) {
		const struct sample *one = &t->now.samples[i];

		if (strcmp(one->name, "offloop_worker_info") == 0)
			sample_label(one, "worker", worker, sizeof(worker));
		if (strcmp(one->name, "offloop_build_info") != 0)
			continue;
		sample_label(one, "version", version, sizeof(version));
		sample_label(one, "backend", backend, sizeof(backend));
	}
	screen_put(s, BOLD, "offloop");
	snprintf(text, sizeof(text), "%s on %s", version, backend);
	put_piece(s, PLAIN, " ", text);
	snprintf(text, sizeof(text), "worker %s", worker);
	if (*worker)
		put_piece(s, BOLD, " ", text);
	snprintf(text, sizeof(text), "at %s%s", t->address, known ? "," : "");
	put_piece(s, PLAIN, " ", text);
	snprintf(text, sizeof(text), "up %s", text_up(up, sizeof(up), (double)now - started));
	if (known)
		put_piece(s, QUIET, " ", text);
	if (localtime_r(&now, &local)) {
		snprintf(text, sizeof(text), "%02d:%02d:%02d", local.tm_hour, local.tm_min, local.tm_sec);
		put_piece(s, QUIET, GAP, text);
	}
	screen_end_line(s);
	if (t->lost) {
		screen_put(s, BAD, t->lost);
		screen_end_line(s);
	}
}

/* What all limits have turned away: counters overlap, and each leaves something out, so it is the largest. */
static double turned_away(const struct top_told *t)
{
	static const char *const names[] = { "offloop_requests_shed_total", "offloop_pool_rejected_total",
		"offloop_route_rejected_total" };
	double most = t->then ? 0 : -1;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		double v = figures_rate(&t->now, t->then, names[i], EVERYWHERE);

		most = v > most ? v : most;
	}
	return most;
}

/* How many of them a second; below 0, shown as "-", while there is one page only. */
static double per_second(const struct top_told *t, double gained)
{
	return t->then ? gained * 1e9 / (double)(t->now.at_ns - t->then->at_ns) : -1;
}

static void totals(struct screen *s, const struct top_told *t)
{
	struct spread all, failed, away;
	struct item items[3];
	double v;

	figures_gain(&t->now, t->then, DURATION, EVERYWHERE, NULL, &all);
	figures_gain(&t->now, t->then, DURATION, EVERYWHERE, "5", &failed);
	figures_gain(&t->now, t->then, DURATION, EVERYWHERE, "503", &away);
	set_count_item(&items[0], "requests", per_second(t, spread_count(&all)), "/s", BOLD);
	set_quantile_item(&items[1], "p50", &all, 0.5);
	set_quantile_item(&items[2], "p99", &all, 0.99);
	put_items(s, items, 3);
	put_count(s, "errors", per_second(t, spread_count(&failed) - spread_count(&away)), "/s", BAD);
	put_count(s, "turned away", turned_away(t), "/s", WARN);
	if (figures_sum(&t->now, "offloop_loop_requests_in_flight", EVERYWHERE, &v))
		put_count(s, "in flight", v, "", PLAIN);
	if (figures_sum(&t->now, "offloop_loop_connections", EVERYWHERE, &v))
		put_count(s, "connections", v, "", PLAIN);
	for (int sync = 0; sync < 2; sync++) {
		const char *lane = sync ? "sync" : "async";
		struct spread of;

		figures_gain(&t->now, t->then, DURATION, (struct where){ "lane", lane }, NULL, &of);
		set_count_item(&items[0], lane, per_second(t, spread_count(&of)), "/s", PLAIN);
		set_quantile_item(&items[1], "p99", &of, 0.99);
		put_items(s, items, 2);
	}
	screen_end_line(s);
}

/* ---- loops ------------------------------------------------------------------------------------------------------- */

static const struct column loop_columns[] = { { "LOOP", 0, 0, true }, { "BUSY", 7, 0, false },
	{ "LAG P50", 9, 60, false }, { "P99", 9, 0, false }, { "LONGEST", 9, 50, false }, { "CONN", 7, 40, false },
	{ "FLIGHT", 7, 70, false }, { "FIBERS", 7, 80, false } };
#define LOOP_COLUMNS (sizeof(loop_columns) / sizeof(loop_columns[0]))

/* What share of the time a loop worked between the two pages, whoever else asks; false while there is one only. */
static bool busy(const struct top_told *t, struct where loop, double *part)
{
	double worked = figures_rate(&t->now, t->then, "offloop_loop_busy_seconds_total", loop);
	double all = worked + figures_rate(&t->now, t->then, "offloop_loop_idle_seconds_total", loop);

	*part = all > 0 ? worked / all : 0;
	return all > 0;
}

static void loop_line(struct screen *s, const struct top_told *t, const char *loop)
{
	static const char *const gauges[] = { "offloop_loop_connections", "offloop_loop_requests_in_flight",
		"offloop_loop_fibers" };
	struct where mine = { "loop", loop };
	struct cell cells[LOOP_COLUMNS];
	struct bar bar = { GOOD, 0, 1 };
	struct spread lag;
	double v;

	figures_gain(&t->now, t->then, "offloop_loop_lag_seconds", mine, NULL, &lag);
	set(&cells[0], PLAIN, loop);
	set(&cells[1], PLAIN, "-");
	if (busy(t, mine, &bar.part))
		set_share(&cells[1], bar.part);
	if (bar.part > 0.9)
		bar.style = WARN;
	set_quantile(&cells[2], &lag, 0.5, 0);
	set_quantile(&cells[3], &lag, 0.99, LONG_HOLD);
	set_quantile(&cells[4], &lag, 1, LONG_HOLD);
	for (int i = 0; i < 3; i++) {
		figures_sum(&t->now, gauges[i], mine, &v);
		set_count(&cells[5 + i], v, PLAIN);
	}
	table_line(s, loop_columns, cells, LOOP_COLUMNS, &bar);
}

static void loops(struct screen *s, const struct top_told *t)
{
	unsigned shown = 0, all = 0;

	table_head(s, loop_columns, LOOP_COLUMNS);
	for (size_t i = 0; i < t->now.n; i++) {
		char loop[16];

		if (strcmp(t->now.samples[i].name, "offloop_loop_connections") != 0 ||
			!sample_label(&t->now.samples[i], "loop", loop, sizeof(loop)))
			continue;
		all++;
		if (s->height && shown == LOOPS_MAX)
			continue;
		loop_line(s, t, loop);
		shown++;
	}
	if (shown < all) {
		screen_printf(s, QUIET, "and %u more", all - shown);
		screen_end_line(s);
	}
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

static const struct column pool_columns[] = { { "POOL", 0, 0, true }, { "BUSY", 6, 0, false }, { "OF", 6, 0, false },
	{ "WAITING", 8, 0, false }, { "OF", 9, 76, false }, { "WAIT P99", 9, 54, false }, { "RUN P99", 9, 66, false },
	{ "DONE/S", 8, 90, false }, { "AWAY/S", 7, 44, false } };
#define POOL_COLUMNS (sizeof(pool_columns) / sizeof(pool_columns[0]))

static double number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void pools(struct screen *s, const struct top_told *t)
{
	struct cell cells[POOL_COLUMNS];
	json_t *pool;
	size_t i;

	table_head(s, pool_columns, POOL_COLUMNS);
	json_array_foreach(t->pools, i, pool) {
		struct where mine = { "pool", text_of(pool, "name") };
		double running = number(pool, "running"), limit = number(pool, "limit");
		struct bar bar = { running >= limit ? WARN : GOOD, running, limit };
		struct spread wait, run;

		figures_gain(&t->now, t->then, "offloop_pool_queue_wait_seconds", mine, NULL, &wait);
		figures_gain(&t->now, t->then, "offloop_pool_run_seconds", mine, NULL, &run);
		set(&cells[0], PLAIN, mine.value);
		set_count(&cells[1], running, running >= limit ? WARN : PLAIN);
		set_count(&cells[2], limit, PLAIN);
		set_count(&cells[3], number(pool, "queued"), WARN);
		set_count(&cells[4], number(pool, "queue"), PLAIN);
		set_quantile(&cells[5], &wait, 0.99, 0.1);
		set_quantile(&cells[6], &run, 0.99, 0);
		set_count(&cells[7], per_second(t, spread_count(&run)), PLAIN);
		set_count(&cells[8], figures_rate(&t->now, t->then, "offloop_pool_rejected_total", mine), BAD);
		table_line(s, pool_columns, cells, POOL_COLUMNS, &bar);
	}
}

/* ---- advice and stalls ------------------------------------------------------------------------------------------- */

/* Text over several lines, broken at blanks. */
static void wrapped(struct screen *s, enum style style, const char *text)
{
	while (*text && screen_left(s) > 0) {
		char word[400];
		size_t n = strcspn(text, " ");

		snprintf(word, sizeof(word), "%.*s", (int)n, text);
		if (s->column > 2 && s->column + 1 + screen_columns(word) > s->width) {
			screen_end_line(s);
			screen_put(s, PLAIN, "  ");
		} else if (s->column > 2) {
			screen_put(s, PLAIN, " ");
		}
		screen_put(s, style, word);
		text += n;
		text += strspn(text, " ");
	}
}

static void advice(struct screen *s, const struct top_told *t)
{
	char evidence[600];
	json_t *one;
	size_t i;

	if (json_array_size(t->advice) == 0)
		return;
	screen_end_line(s);
	screen_put(s, BOLD, "ADVICE");
	screen_end_line(s);
	json_array_foreach(t->advice, i, one) {
		if (s->height && i == (is_low(s) ? 1 : ADVICE_MAX))
			break;
		screen_put(s, PLAIN, "  ");
		wrapped(s, BOLD, text_of(one, "name"));
		snprintf(evidence, sizeof(evidence), "%s:", text_of(one, "evidence"));
		wrapped(s, PLAIN, evidence);
		wrapped(s, WARN, text_of(one, "remedy"));
		screen_end_line(s);
	}
}

static const struct column stall_columns[] = { { "STALL", 0, 0, true }, { "AT", 8, 50, true },
	{ "CAUSE", 9, 0, true }, { "HELD", 10, 0, false }, { "WHERE", 12, 60, true }, { "VICTIMS", 8, 70, false },
	{ "IN", 34, 110, true } };
#define STALL_COLUMNS (sizeof(stall_columns) / sizeof(stall_columns[0]))

static void frames(struct screen *s, const json_t *stall)
{
	const json_t *stack = json_object_get(stall, "stack");
	const json_t *frame;
	size_t i;

	json_array_foreach(stack, i, frame) {
		if (i == FRAMES_MAX)
			break;
		screen_printf(s, QUIET, "  %s%s", text_of(frame, "at"),
			json_is_true(json_object_get(frame, "probable")) ? " ?" : "");
		screen_end_line(s);
	}
}

static bool is_kind(const json_t *stall, const char *kind)
{
	return strcmp(text_of(stall, "kind"), kind) == 0;
}

/* A starved pool is nobody's doing: its place stands for a route. */
static void stall_line(struct screen *s, const json_t *stall)
{
	bool ongoing = json_is_true(json_object_get(stall, "ongoing"));
	bool of_loop = is_kind(stall, "loop"), starved = is_kind(stall, "pool");
	const char *name = text_of(stall, "name"), *cause = starved ? "starved" : text_of(stall, "cause");
	struct cell cells[STALL_COLUMNS];
	char text[64], held[32];

	if (of_loop)
		snprintf(cells[4].text, sizeof(cells[4].text), "loop %.0f", number(stall, "loop"));
	else
		snprintf(cells[4].text, sizeof(cells[4].text), "pool %.300s", text_of(stall, "pool"));
	cells[4].style = PLAIN;
	set(&cells[0], PLAIN, *name ? name : starved ? cells[4].text : "(no route)");
	text_clock(text, sizeof(text), text_of(stall, "time"));
	set(&cells[1], QUIET, text);
	set(&cells[2], strcmp(cause, "blocked") == 0 || strcmp(cause, "cpu") == 0 || starved ? BAD : QUIET, cause);
	snprintf(text, sizeof(text), "%s%s", text_time(held, sizeof(held), number(stall, "ms") / 1e3, 0),
		ongoing ? "+" : "");
	set(&cells[3], ongoing ? BAD : PLAIN, text);
	set_count(&cells[5], of_loop ? number(stall, "victims") : -1, PLAIN);
	set(&cells[6], PLAIN, text_of(stall, "syscall"));
	table_line(s, stall_columns, cells, STALL_COLUMNS, NULL);
}

/* What a starved pool's threads wait for: in whole, or as much as goes into a line. */
static void waits(struct screen *s, const json_t *stall, bool whole)
{
	const char *text = text_of(stall, "text");

	if (!*text)
		return;
	screen_put(s, PLAIN, "  ");
	if (whole)
		wrapped(s, QUIET, text);
	else
		screen_cell(s, QUIET, text, s->width - 2, false);
	screen_end_line(s);
}

/* The latest, and where there is room the innermost frames of the latest that names a route.  What a pool's threads
 * wait for is told of each, and where there is room in whole of the latest. */
static void stalls(struct screen *s, const struct top_told *t)
{
	bool told = is_low(s), in_whole = is_low(s);
	json_t *stall;
	size_t i;

	if (json_array_size(t->stalls) == 0)
		return;
	table_head(s, stall_columns, STALL_COLUMNS);
	json_array_foreach(t->stalls, i, stall) {
		if (i == (is_low(s) ? 2 : STALLS_MAX))
			break;
		stall_line(s, stall);
		if (is_kind(stall, "pool")) {
			waits(s, stall, !in_whole);
			in_whole = true;
		} else if (!told && *text_of(stall, "name")) {
			frames(s, stall);
			told = true;
		}
	}
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

static const struct column route_columns[] = { { "ROUTE", 0, 0, true }, { "LANE", 14, 90, true },
	{ "REQ/S", 7, 0, false }, { "P50", 9, 60, false }, { "P99", 9, 0, false }, { "5XX/S", 7, 45, false },
	{ "LOOP", 7, 80, false }, { "HOLD P99", 9, 70, false }, { "STALLS", 6, 50, false },
	{ "VICTIMS", 8, 100, false } };
#define ROUTE_COLUMNS (sizeof(route_columns) / sizeof(route_columns[0]))

/* A template with all its methods: holds and stalls are counted by template. */
struct route {
	const char *text;
	char methods[100], lane[40];
	struct spread told;
};

/* By load, then by name, so that idle ones keep their places. */
static int compare(const void *a, const void *b)
{
	const struct route *x = a, *y = b;
	double m = spread_count(&x->told), n = spread_count(&y->told);

	return m < n ? 1 : m > n ? -1 : strcmp(x->text, y->text);
}

static void add_method(struct route *r, const char *method)
{
	size_t n = strlen(r->methods);

	snprintf(r->methods + n, sizeof(r->methods) - n, "%s%s", n ? "," : "", method);
}

/* Every template once; all has room for n + 1.  How many there are. */
static size_t gather(const struct top_told *t, struct route *all)
{
	size_t n = 0, i, j;
	json_t *told;

	json_array_foreach(t->routes, i, told) {
		const char *text = text_of(told, "route");

		for (j = 0; j < n && strcmp(all[j].text, text) != 0; j++)
			;
		add_method(&all[j], text_of(told, "method"));
		if (j < n)
			continue;
		all[n].text = text;
		snprintf(all[n].lane, sizeof(all[n].lane), "%s %s", text_of(told, "lane"),
			strcmp(text_of(told, "lane"), "sync") == 0 ? text_of(told, "pool") : "");
		figures_gain(&t->now, t->then, DURATION, (struct where){ "route", text }, NULL, &all[n++].told);
	}
	all[n].text = "none";
	figures_gain(&t->now, t->then, DURATION, (struct where){ "route", "none" }, NULL, &all[n].told);
	return n + (spread_count(&all[n].told) > 0);
}

static void route_line(struct screen *s, const struct top_told *t, const struct route *r, double loops_n)
{
	struct where mine = { "route", r->text };
	double v;
	struct cell cells[ROUTE_COLUMNS];
	struct spread failed, hold;

	figures_gain(&t->now, t->then, DURATION, mine, "5", &failed);
	figures_gain(&t->now, t->then, "offloop_loop_hold_seconds", mine, NULL, &hold);
	cells[0].style = PLAIN;
	if (*r->methods)
		snprintf(cells[0].text, sizeof(cells[0].text), "%s %.250s", r->methods, r->text);
	else
		set(&cells[0], PLAIN, "(no route)");
	set(&cells[1], QUIET, r->lane);
	set_count(&cells[2], per_second(t, spread_count(&r->told)), BOLD);
	set_quantile(&cells[3], &r->told, 0.5, 0);
	set_quantile(&cells[4], &r->told, 0.99, 0);
	set_count(&cells[5], per_second(t, spread_count(&failed)), BAD);
	set(&cells[6], PLAIN, "-");
	if (spread_count(&hold) > 0)
		set_share(&cells[6], per_second(t, hold.sum) / loops_n);
	set_quantile(&cells[7], &hold, 0.99, LONG_HOLD);
	figures_sum(&t->now, "offloop_loop_stalls_total", mine, &v);
	set_count(&cells[8], v, BAD);
	figures_sum(&t->now, "offloop_loop_stall_victims_total", mine, &v);
	set_count(&cells[9], v, PLAIN);
	table_line(s, route_columns, cells, ROUTE_COLUMNS, NULL);
}

static void routes(struct screen *s, const struct top_told *t)
{
	struct route *all = calloc(json_array_size(t->routes) + 1, sizeof(*all));
	double loops_n = 0;
	size_t n;

	if (!all)
		return;
	for (size_t i = 0; i < t->now.n; i++)
		loops_n += strcmp(t->now.samples[i].name, "offloop_loop_connections") == 0;
	n = gather(t, all);
	qsort(all, n, sizeof(*all), compare);
	table_head(s, route_columns, ROUTE_COLUMNS);
	for (size_t i = 0; i < n && screen_left(s) > 0; i++)
		route_line(s, t, &all[i], loops_n > 0 ? loops_n : 1);
	free(all);
}

void top_draw(struct screen *s, const struct top_told *t)
{
	screen_begin(s);
	about(s, t);
	totals(s, t);
	loops(s, t);
	pools(s, t);
	advice(s, t);
	stalls(s, t);
	routes(s, t);
}
