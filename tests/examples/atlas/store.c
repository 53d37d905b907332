/* store.c: SQLite connections for handlers that run at once.
 *
 * A connection of SQLite serves one thread at a time, and opening one and preparing its statements costs more than
 * most queries.  So connections are kept: a query takes the one that was given back last, or opens one when all
 * are taken, and gives it back at its end.  There are never more than queries at once, which the pools of the
 * routes bound.  Each keeps the statements it has prepared, found by the address of their SQL.
 *
 * The database is in WAL mode with synchronous=FULL: readers and the writer do not wait for each other, and a
 * COMMIT that returned is on the disk.  When somebody else's lock lasts longer than BUSY_MS, when the disk is full
 * or the file damaged, the query fails and says so in the log with the route; its connection is closed, so that
 * the next one starts afresh: no error is sticky.
 *
 * The list of idle connections is under a lock, held for a few instructions.  store_open and store_close run while
 * no handler does.  Handlers must not suspend in an open query for long: a read keeps the WAL from being folded
 * back into the database.
 */
#include "store.h"

#include "atlas.h"
#include "import.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define BUSY_MS 1000        /* how long a query waits for a lock of another process */
#define IMPORT_BUSY_MS 30000 /* and an import, while another atlas makes the same file */
#define STATEMENTS_MAX 16   /* kinds of query an app has; more would not be remembered */

struct prepared {
	const char *sql;
	sqlite3_stmt *statement;
};

struct connection {
	struct connection *next;
	sqlite3 *db;
	size_t n;
	struct prepared prepared[STATEMENTS_MAX];
};

struct store {
	char *path;
	pthread_mutex_t lock;
	struct connection *idle;        /* under lock */
};

/* ---- connections ------------------------------------------------------------------------------------------------- */

/* What went wrong in SQLite, where it belongs: the log of the request, or stderr at start. */
static void say(const struct store *s, ol_req *r, const char *what)
{
	if (r)
		ol_log(r, OL_LOG_ERROR, "%s: %s", s->path, what);
	else
		complain("%s: %s", s->path, what);
}

static void close_connection(struct connection *c)
{
	for (size_t i = 0; i < c->n; i++)
		sqlite3_finalize(c->prepared[i].statement);
	sqlite3_close(c->db);
	free(c);
}

static struct connection *open_connection(const struct store *s, ol_req *r)
{
	struct connection *c = calloc(1, sizeof(*c));
	int rc;

	if (!c) {
		say(s, r, strerror(ENOMEM));
		return NULL;
	}
	/* Never made here: a file that was removed is an error, not an empty atlas. */
	rc = sqlite3_open_v2(s->path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(c->db, BUSY_MS);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(c->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
	if (rc != SQLITE_OK) {
		say(s, r, c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
		close_connection(c);
		return NULL;
	}
	return c;
}

static struct connection *take_connection(struct store *s, ol_req *r)
{
	struct connection *c;

	pthread_mutex_lock(&s->lock);
	c = s->idle;
	if (c)
		s->idle = c->next;
	pthread_mutex_unlock(&s->lock);
	return c ? c : open_connection(s, r);
}

static void give_back(struct store *s, struct connection *c)
{
	pthread_mutex_lock(&s->lock);
	c->next = s->idle;
	s->idle = c;
	pthread_mutex_unlock(&s->lock);
}

/* ---- queries ----------------------------------------------------------------------------------------------------- */

static int fail(struct query *q, int rc)
{
	say(q->store, q->r, sqlite3_errmsg(q->connection->db));
	q->error = (rc & 0xff) == SQLITE_BUSY ? -EBUSY : -EIO;
	return q->error;
}

static sqlite3_stmt *prepared(struct query *q, const char *sql)
{
	struct connection *c = q->connection;
	sqlite3_stmt *statement;
	int rc;

	for (size_t i = 0; i < c->n; i++)
		if (c->prepared[i].sql == sql)
			return c->prepared[i].statement;
	if (c->n == STATEMENTS_MAX)
		sqlite3_finalize(c->prepared[--c->n].statement);
	rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
	if (rc != SQLITE_OK) {
		fail(q, rc);
		return NULL;
	}
	c->prepared[c->n++] = (struct prepared){ sql, statement };
	return statement;
}

void query_begin(struct query *q, struct store *s, ol_req *r, const char *sql)
{
	*q = (struct query){ .store = s, .r = r, .connection = take_connection(s, r) };
	if (q->connection)
		q->statement = prepared(q, sql);
	else
		q->error = -EIO;
}

void query_end(struct query *q)
{
	if (!q->connection)
		return;
	if (q->statement) {
		sqlite3_reset(q->statement);
		sqlite3_clear_bindings(q->statement);
	}
	if (q->error)
		close_connection(q->connection);
	else
		give_back(q->store, q->connection);
	q->connection = NULL;
}

void query_bind_text(struct query *q, int i, const char *text)
{
	int rc = q->error ? SQLITE_OK : sqlite3_bind_text(q->statement, i, text, -1, SQLITE_STATIC);

	if (rc != SQLITE_OK)
		fail(q, rc);
}

void query_bind_int(struct query *q, int i, int64_t value)
{
	int rc = q->error ? SQLITE_OK : sqlite3_bind_int64(q->statement, i, value);

	if (rc != SQLITE_OK)
		fail(q, rc);
}

int query_step(struct query *q)
{
	int rc;

	if (q->error)
		return q->error;
	rc = sqlite3_step(q->statement);
	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : fail(q, rc);
}

static json_t *value(sqlite3_stmt *statement, int i)
{
	const char *text;

	switch (sqlite3_column_type(statement, i)) {
	case SQLITE_NULL:
		return json_null();
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(statement, i));
	default:
		text = (const char *)sqlite3_column_text(statement, i);
		return text ? json_stringn(text, (size_t)sqlite3_column_bytes(statement, i)) : NULL;
	}
}

json_t *query_row(const struct query *q)
{
	json_t *row = json_object();

	for (int i = 0; row && i < sqlite3_column_count(q->statement); i++)
		if (json_object_set_new(row, sqlite3_column_name(q->statement, i), value(q->statement, i)) < 0) {
			json_decref(row);
			row = NULL;
		}
	return row;
}

int64_t query_id(const struct query *q)
{
	return sqlite3_last_insert_rowid(q->connection->db);
}

int query_changes(const struct query *q)
{
	return sqlite3_changes(q->connection->db);
}

/* ---- start and end ----------------------------------------------------------------------------------------------- */

/* "ok", or the first thing that is wrong with the file. */
static int first_fault(void *arg, int n, char **column, char **name)
{
	char **fault = arg;

	(void)name;
	if (n > 0 && column[0] && strcmp(column[0], "ok") != 0 && !*fault)
		*fault = strdup(column[0]);
	return 0;
}

static int check_whole(struct store *s, sqlite3 *db)
{
	char *fault = NULL;
	int rc = sqlite3_exec(db, "PRAGMA quick_check(1)", first_fault, &fault, NULL);

	if (rc != SQLITE_OK)
		complain("%s: %s", s->path, sqlite3_errmsg(db));
	else if (fault)
		complain("%s is damaged: %s", s->path, fault);
	rc = rc != SQLITE_OK || fault ? -EIO : 0;
	free(fault);
	return rc;
}

/* The change to WAL wants the file for itself and does not wait for it: while another process makes the same change it
 * is tried again, for as long as other statements would wait. */
static int use_wal(sqlite3 *db)
{
	const struct timespec pause = { 0, 20 * 1000 * 1000 };
	int rc = SQLITE_BUSY;

	for (int waited_ms = 0; rc == SQLITE_BUSY && waited_ms < IMPORT_BUSY_MS; waited_ms += 20) {
		if (waited_ms > 0)
			nanosleep(&pause, NULL);
		rc = sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL, NULL);
	}
	return rc;
}

/* On a connection of its own, the only one that may make the file. */
static int prepare_file(struct store *s, const char *iso_codes)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(s->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db, IMPORT_BUSY_MS);
	if (rc == SQLITE_OK)
		rc = use_wal(db);
	if (rc != SQLITE_OK) {
		complain("%s: %s", s->path, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
		rc = -EIO;
	} else {
		rc = check_whole(s, db);
	}
	if (rc == 0)
		rc = import_all(db, s->path, iso_codes);
	sqlite3_close(db);
	return rc;
}

struct store *store_open(const char *dir, const char *iso_codes)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s || asprintf(&s->path, "%s/atlas.db", dir) < 0) {
		complain("%s", strerror(ENOMEM));
		free(s);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	/* A file at its size limit is an error of one write, as a full disk is, and not the end of the process. */
	signal(SIGXFSZ, SIG_IGN);
	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		complain("%s: %s", dir, strerror(errno));
	else if (prepare_file(s, iso_codes) == 0)
		return s;
	store_close(s);
	return NULL;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	for (struct connection *c = s->idle, *next; c; c = next) {
		next = c->next;
		close_connection(c);
	}
	pthread_mutex_destroy(&s->lock);
	free(s->path);
	free(s);
}
