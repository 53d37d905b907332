/* subdivisions.c: GET /subdivisions/{code}: one row of SQLite, by its key, in any case. */
#include "atlas.h"
#include "store.h"

#include <errno.h>

int get_subdivision(ol_req *r)
{
	static const char sql[] = "SELECT code, country, name, type, parent FROM subdivisions WHERE code = ?1";
	const struct atlas *a = ol_app_data(r);
	json_t *row = NULL;
	struct query q;
	int rc;

	query_begin(&q, a->store, r, sql);
	query_bind_text(&q, 1, ol_param(r, "code"));
	rc = query_step(&q);
	if (rc > 0)
		row = query_row(&q);
	query_end(&q);
	if (rc == 0)
		return ol_error(r, 404, "No subdivision has this code");
	return rc < 0 ? rc : ol_json_new(r, 200, row);
}
