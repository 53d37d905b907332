/* search.c: GET /countries and GET /languages: rows whose code is ?q=, or whose names have it in them.
 *
 * Both are one function with different SQL.  q is a value for SQLite and never SQL: a bound parameter, in which
 * what LIKE would take for a wildcard is escaped.  LIKE knows upper and lower case of ASCII only.  The rows are
 * copied out and the connection given back before the reply is written.
 */
#include "atlas.h"
#include "store.h"

#include <errno.h>
#include <string.h>

/* %q% with \ before each %, _ and \ of q. */
static const char *like_pattern(ol_req *r, const char *q)
{
	char *pattern = ol_alloc(r, 2 * strlen(q) + 3), *p = pattern;

	if (!pattern)
		return NULL;
	*p++ = '%';
	for (; *q; q++) {
		if (*q == '%' || *q == '_' || *q == '\\')
			*p++ = '\\';
		*p++ = *q;
	}
	*p++ = '%';
	*p = '\0';
	return pattern;
}

/* All rows that are left.  NULL with *error. */
static json_t *rows_of(struct query *q, int *error)
{
	json_t *rows = json_array();
	int rc = rows ? 0 : -ENOMEM;

	while (rc == 0 && (rc = query_step(q)) > 0)
		rc = json_array_append_new(rows, query_row(q)) < 0 ? -ENOMEM : 0;
	*error = rc;
	if (rc == 0)
		return rows;
	json_decref(rows);
	return NULL;
}

static int search(ol_req *r, const char *sql)
{
	const struct atlas *a = ol_app_data(r);
	const char *text = ol_query(r, "q"), *pattern = like_pattern(r, text ? text : "");
	int64_t limit = 50;
	struct query q;
	json_t *rows;
	int rc;

	if (ol_query_int(r, "limit", 1, 250, &limit) < 0)
		return -1;
	if (!pattern)
		return -ENOMEM;
	query_begin(&q, a->store, r, sql);
	query_bind_text(&q, 1, pattern);
	query_bind_text(&q, 2, text);
	query_bind_int(&q, 3, limit);
	rows = rows_of(&q, &rc);
	query_end(&q);
	return rows ? ol_json_new(r, 200, rows) : rc;
}

int list_countries(ol_req *r)
{
	static const char sql[] =
		"SELECT alpha_2, alpha_3, numeric, name, official_name, common_name, flag FROM countries"
		" WHERE names LIKE ?1 ESCAPE '\\' OR alpha_2 = upper(?2) OR alpha_3 = upper(?2) OR numeric = ?2"
		" ORDER BY name LIMIT ?3";

	return search(r, sql);
}

int list_languages(ol_req *r)
{
	static const char sql[] =
		"SELECT alpha_3, alpha_2, bibliographic, name, inverted_name, common_name, scope, type FROM languages"
		" WHERE names LIKE ?1 ESCAPE '\\'"
		" OR alpha_3 = lower(?2) OR alpha_2 = lower(?2) OR bibliographic = lower(?2)"
		" ORDER BY name LIMIT ?3";

	return search(r, sql);
}
