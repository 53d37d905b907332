/* store.h: the SQLite database behind the demo: connections, and queries on them. */
#ifndef ATLAS_STORE_H
#define ATLAS_STORE_H

#include <offloop.h>

#include <sqlite3.h>
#include <stdbool.h>

struct store;

/* Opens DIR/atlas.db, making it from the JSON files of iso-codes in iso_codes when it is not there or not
 * complete.  NULL: it has said why on stderr. */
struct store *store_open(const char *dir, const char *iso_codes);

/* When no query is open.  Takes NULL. */
void store_close(struct store *s);

/* One run of a statement, on a connection of its own between query_begin and query_end.  What goes wrong is logged
 * with SQLite's message and, when there is a request, its route; from then on the query's functions do nothing and
 * query_step repeats the error. */
struct query {
	struct store *store;
	ol_req *r;                      /* NULL: on_start */
	struct connection *connection;
	sqlite3_stmt *statement;
	int error;                      /* 0, or what query_step gives: -EIO, -EBUSY */
};

/* Blocks.  sql must be a string that stays where it is: connections remember what they have prepared by its
 * address.  query_end is due whether it failed or not. */
void query_begin(struct query *q, struct store *s, ol_req *r, const char *sql);
void query_end(struct query *q);

/* Parameters, from 1.  text is borrowed until query_end. */
void query_bind_text(struct query *q, int i, const char *text);
void query_bind_int(struct query *q, int i, int64_t value);

/* The next row: 1; no more: 0; below 0: failed, return it from the handler. */
OL_CHECKED_ int query_step(struct query *q);

/* The row as a JSON object, its columns' names being the keys; NULL: no memory. */
json_t *query_row(const struct query *q);

/* The id of the row inserted; rows that the last statement changed. */
int64_t query_id(const struct query *q);
int query_changes(const struct query *q);

#endif
