/* import.c: fills the database from Debian's iso-codes: languages (ISO 639-3), countries (3166-1), subdivisions
 * (3166-2).
 *
 * Each file of the package is an object with one member, an array of flat objects of strings.  A table below says
 * for each which members go into which statement's parameters.  Everything happens in one transaction, whose last
 * change is the format's number in PRAGMA user_version: an import that was interrupted leaves no trace and is
 * simply made at the next start, and two servers that start at once on one file make it once, because the second
 * waits for the first's lock and then finds the number.
 *
 * The tables of iso-codes are dropped and made anew when the number is another; notes are people's, and stay.  A
 * newer number than ours is refused: whoever wrote that knows better.  The transaction begins with the write lock,
 * so a file that cannot be written is found at start and not by the first note.
 */
#include "import.h"

#include "atlas.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT 1
#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x)

struct source {
	const char *file, *member;
	const char *insert;
	const char *fields[8];  /* for ?1, ?2, ... */
};

static const struct source sources[] = {
	{ "iso_639-3.json", "639-3", "INSERT INTO languages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
		{ "alpha_3", "alpha_2", "bibliographic", "name", "inverted_name", "common_name", "scope", "type" } },
	{ "iso_3166-1.json", "3166-1", "INSERT INTO countries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
		{ "alpha_2", "alpha_3", "numeric", "name", "official_name", "common_name", "flag" } },
	/* A parent is given with or without its country: "GB-ENG", "4". */
	{ "iso_3166-2.json", "3166-2",
		"INSERT INTO subdivisions VALUES (?1, substr(?1, 1, 2), ?2, ?3,"
		" CASE WHEN instr(?4, '-') THEN ?4 ELSE substr(?1, 1, 3) || ?4 END)",
		{ "code", "name", "type", "parent" } },
};

/* What is searched lies in the order it is shown in, and its names, one a line, in one column: so a search, which no
 * index can help, takes a third of the time. */
static const char schema[] =
	"DROP TABLE IF EXISTS languages;"
	"DROP TABLE IF EXISTS countries;"
	"DROP TABLE IF EXISTS subdivisions;"
	"CREATE TABLE languages (alpha_3 TEXT NOT NULL UNIQUE, alpha_2 TEXT, bibliographic TEXT, name TEXT NOT NULL,"
	" inverted_name TEXT, common_name TEXT, scope TEXT NOT NULL, type TEXT NOT NULL,"
	" names TEXT AS (name || char(10) || ifnull(inverted_name, '') || char(10) || ifnull(common_name, '')) STORED,"
	" PRIMARY KEY (name, alpha_3)) WITHOUT ROWID;"
	"CREATE TABLE countries (alpha_2 TEXT NOT NULL UNIQUE, alpha_3 TEXT NOT NULL, numeric TEXT NOT NULL,"
	" name TEXT NOT NULL, official_name TEXT, common_name TEXT, flag TEXT,"
	" names TEXT AS (name || char(10) || ifnull(official_name, '') || char(10) || ifnull(common_name, '')) STORED,"
	" PRIMARY KEY (name, alpha_2)) WITHOUT ROWID;"
	"CREATE TABLE subdivisions (code TEXT PRIMARY KEY COLLATE NOCASE, country TEXT NOT NULL, name TEXT NOT NULL,"
	" type TEXT NOT NULL, parent TEXT) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL,"
	" created TEXT NOT NULL);"
	"PRAGMA user_version = " QUOTE(FORMAT) ";";

/* ---- the JSON files ---------------------------------------------------------------------------------------------- */

static json_t *load(const char *iso_codes, const char *file)
{
	json_t *root = NULL;
	json_error_t err;
	char *path;

	if (asprintf(&path, "%s/%s", iso_codes, file) < 0) {
		complain("%s", strerror(ENOMEM));
		return NULL;
	}
	if (access(path, F_OK) < 0)
		complain("%s: %s: install iso-codes", path, strerror(errno));
	else if (!(root = json_load_file(path, 0, &err)))
		complain("%s:%d: %s", path, err.line, err.text);
	free(path);
	return root;
}

static int insert_row(sqlite3 *db, sqlite3_stmt *insert, const struct source *source, const json_t *item)
{
	int n = sqlite3_bind_parameter_count(insert), rc = SQLITE_OK;

	for (int i = 0; i < n && rc == SQLITE_OK; i++) {
		const json_t *field = json_object_get(item, source->fields[i]);

		rc = sqlite3_bind_text(insert, i + 1, json_string_value(field), -1, SQLITE_STATIC); /* none: NULL */
	}
	if (rc == SQLITE_OK && sqlite3_step(insert) == SQLITE_DONE)
		return sqlite3_reset(insert);
	return sqlite3_errcode(db);
}

static int insert_all(sqlite3 *db, const struct source *source, const json_t *items)
{
	sqlite3_stmt *insert;
	int rc = sqlite3_prepare_v2(db, source->insert, -1, &insert, NULL);
	const json_t *item;
	size_t i;

	if (rc != SQLITE_OK)
		return rc;
	json_array_foreach(items, i, item) {
		rc = insert_row(db, insert, source, item);
		if (rc != SQLITE_OK)
			break;
	}
	sqlite3_finalize(insert); /* gives insert_row's error again */
	return rc;
}

static int import_one(sqlite3 *db, const char *path, const char *iso_codes, const struct source *source)
{
	json_t *root = load(iso_codes, source->file), *items = json_object_get(root, source->member);
	int rc = -EIO;

	if (!root)
		return -ENOENT;
	if (json_array_size(items) == 0)
		complain("%s/%s: there is no \"%s\" in it", iso_codes, source->file, source->member);
	else if (insert_all(db, source, items) != SQLITE_OK)
		complain("%s, importing %s: %s", path, source->file, sqlite3_errmsg(db));
	else
		rc = 0;
	json_decref(root);
	return rc;
}

/* ---- the transaction --------------------------------------------------------------------------------------------- */

static int execute(sqlite3 *db, const char *path, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	complain("%s: %s", path, sqlite3_errmsg(db));
	return -EIO;
}

/* The number of the format the file has; 0: none yet; -EIO. */
static int format_of(sqlite3 *db, const char *path)
{
	sqlite3_stmt *get = NULL;
	int format = -EIO;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &get, NULL) == SQLITE_OK &&
		sqlite3_step(get) == SQLITE_ROW)
		format = sqlite3_column_int(get, 0);
	else
		complain("%s: %s", path, sqlite3_errmsg(db));
	sqlite3_finalize(get);
	return format;
}

static int fill(sqlite3 *db, const char *path, const char *iso_codes)
{
	int format = format_of(db, path), rc;

	if (format < 0 || format == FORMAT)
		return format < 0 ? format : 0;
	if (format > FORMAT) {
		complain("%s was made by a newer atlas (its format is %d, ours is %d)", path, format, FORMAT);
		return -EINVAL;
	}
	rc = execute(db, path, schema);
	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources) && rc == 0; i++)
		rc = import_one(db, path, iso_codes, &sources[i]);
	return rc;
}

int import_all(sqlite3 *db, const char *path, const char *iso_codes)
{
	int rc = execute(db, path, "BEGIN IMMEDIATE");

	if (rc < 0)
		return rc;
	rc = fill(db, path, iso_codes);
	if (rc == 0)
		rc = execute(db, path, "COMMIT");
	if (rc < 0 && !sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}
