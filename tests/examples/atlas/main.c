/* main.c: atlas, the demo of offloop: a service on real data, with one route for each thing that lanes are for.
 *
 * Debian's iso-codes (languages, countries, subdivisions) are put into SQLite at the first start.  What is in
 * memory is answered on the loop (a country, `/`); what asks SQLite, computes or blocks is declared `.sync` and
 * runs on a pool.  The routes below say which lane, which pool and, for people, what they do: `/` shows this
 * table.
 *
 * The pools.  "db" reads: as many at once as a disk likes.  SQLite has one writer at a time, so "writer" has one
 * thread: notes wait in its queue, in order, and not in SQLite's lock, and readers never wait behind them.
 * "passwords" computes: more threads than CPUs would only take turns.  "export" waits for its clients, who may be
 * slow readers, and so must not use up anybody else's threads.  /slow blocks in the default pool.
 */
#include "atlas.h"
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ABOUT(what, example) CURL(what, example, NULL)
#define CURL(what, example, curl) .data = &(const struct about){ what, example, curl }

const struct ol_route atlas_routes[] = {
	OL_GET("/", .async = show_index, ABOUT("This page; as JSON for who prefers that", "/")),
	OL_GET("/countries/{alpha2}", .async = get_country,
		ABOUT("A country by its two letters, from memory", "/countries/SE")),
	OL_GET("/countries", .sync = list_countries, .pool = "db",
		ABOUT("Countries by code or part of a name; limit is 1 to 250", "/countries?q=land&limit=10")),
	OL_GET("/languages", .sync = list_languages, .pool = "db",
		ABOUT("Languages by code or part of a name; limit is 1 to 250", "/languages?q=sami&limit=20")),
	OL_GET("/subdivisions/{code}", .sync = get_subdivision, .pool = "db",
		ABOUT("A county, a province, a state by its code", "/subdivisions/SE-AB")),
	OL_GET("/export/languages", .sync = export_languages, .pool = "export",
		ABOUT("All languages as CSV, streamed as fast as it is read", "/export/languages")),
	OL_POST("/notes", .sync = add_note, .pool = "writer",
		CURL("Keep a note; it is on the disk when the answer comes", "/notes", "-d '{\"text\": \"hej\"}'")),
	OL_GET("/notes/{id:int}", .sync = get_note, .pool = "db", ABOUT("Read a note", "/notes/1")),
	OL_DELETE("/notes/{id:int}", .sync = delete_note, .pool = "writer",
		CURL("Throw a note away", "/notes/1", "-X DELETE")),
	OL_POST("/passwords", .sync = hash_password, .pool = "passwords",
		CURL("A password's yescrypt hash: work for a CPU", "/passwords", "-d '{\"password\": \"secret\"}'")),
	OL_GET("/slow", .sync = block_pool, ABOUT("Block a thread of the pool", "/slow?ms=500")),
	OL_GET("/nap", .async = nap, ABOUT("Wait on the loop, which goes on meanwhile", "/nap?ms=500")),
	OL_GET("/footgun", .async = footgun,
		ABOUT("Block a loop, as async code must not; how=spin computes", "/footgun?ms=500")),
	{ .path = NULL },
};

#define NROUTES (sizeof(atlas_routes) / sizeof(*atlas_routes) - 1)

static const struct ol_pool pools[] = {
	{ .name = "db", .threads = 16, .queue = 1024 },
	{ .name = "writer", .threads = 1, .queue = 1024 },
	{ .name = "passwords", .threads = 2, .queue = 64 },
	{ .name = "export", .threads = 8, .queue = 64 },
};

static const struct ol_option options[] = {
	{ "data", "DIR", ".", "where the database, atlas.db, is kept" },
	{ "iso-codes", "DIR", "/usr/share/iso-codes/json", "what it is made from, at the first start" },
	{ "footgun", NULL, NULL, "serve /footgun, which blocks a loop" },
};

static const struct ol_default defaults[] = {
	{ "port", "8000" },
	{ "control", "127.0.0.1:9190" },
};

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	flockfile(stderr);
	fputs("atlas: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	funlockfile(stderr);
	va_end(ap);
}

static int on_start(ol_server *s)
{
	struct atlas *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	ol_server_data_set(s, a);
	a->footgun = ol_option_get(s, "footgun") != NULL;
	a->store = store_open(ol_option_get(s, "data"), ol_option_get(s, "iso-codes"));
	if (a->store)
		a->countries = countries_new(a->store);
	return a->countries ? 0 : -EIO;
}

static void on_stop(ol_server *s)
{
	struct atlas *a = ol_server_data(s);

	if (!a)
		return;
	countries_free(a->countries);
	store_close(a->store);
	free(a);
}

const struct ol_app app = { OL_APP_INIT, .routes = atlas_routes, .nroutes = NROUTES,
	.route_size = sizeof(*atlas_routes),
	OL_POOLS(pools), OL_APP_OPTIONS(options), OL_DEFAULTS(defaults), .name = "atlas", .on_start = on_start,
	.on_stop = on_stop };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
