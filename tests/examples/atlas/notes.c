/* notes.c: POST /notes, GET and DELETE /notes/{id:int}: what people leave here, kept durably.
 *
 * A note that was answered with 201 is on the disk, and one whose DELETE was answered with 204 is gone from it:
 * SQLite commits with synchronous=FULL before the reply is made.  A statement is a transaction of its own, which
 * ends when query_step has given 0.  An id is never used twice.
 */
#include "atlas.h"
#include "store.h"

#include <errno.h>

#define TEXT_MAX 10000 /* characters */

/* Runs to its end a query that gives one row, or none.  rc as query_step's first. */
static int only_row(struct query *q, json_t **row)
{
	int rc = query_step(q), end;

	*row = rc > 0 ? query_row(q) : NULL;
	if (rc > 0 && (end = query_step(q)) < 0)
		rc = end;
	if (rc < 0) {
		json_decref(*row);
		*row = NULL;
	}
	return rc;
}

int add_note(ol_req *r)
{
	static const char sql[] =
		"INSERT INTO notes (text, created) VALUES (?1, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))"
		" RETURNING id, text, created";
	const struct atlas *a = ol_app_data(r);
	const char *text = body_string(r, "text", 1, TEXT_MAX);
	struct query q;
	json_t *note;
	int64_t id;
	int rc;

	if (!text)
		return -1;
	query_begin(&q, a->store, r, sql);
	query_bind_text(&q, 1, text);
	rc = only_row(&q, &note);
	query_end(&q);
	if (rc < 0)
		return rc;
	id = json_integer_value(json_object_get(note, "id"));
	ol_header_set(r, "Location", ol_printf(r, "/notes/%lld", (long long)id));
	return ol_json_new(r, 201, note);
}

int get_note(ol_req *r)
{
	const struct atlas *a = ol_app_data(r);
	struct query q;
	json_t *note;
	int rc;

	query_begin(&q, a->store, r, "SELECT id, text, created FROM notes WHERE id = ?1");
	query_bind_int(&q, 1, ol_param_int(r, "id"));
	rc = only_row(&q, &note);
	query_end(&q);
	if (rc == 0)
		return ol_error(r, 404, "No note has this id");
	return rc < 0 ? rc : ol_json_new(r, 200, note);
}

int delete_note(ol_req *r)
{
	const struct atlas *a = ol_app_data(r);
	int rc, deleted = 0;
	struct query q;

	query_begin(&q, a->store, r, "DELETE FROM notes WHERE id = ?1");
	query_bind_int(&q, 1, ol_param_int(r, "id"));
	rc = query_step(&q);
	if (rc == 0)
		deleted = query_changes(&q);
	query_end(&q);
	if (rc < 0)
		return rc;
	return deleted ? ol_empty(r, 204) : ol_error(r, 404, "No note has this id");
}
