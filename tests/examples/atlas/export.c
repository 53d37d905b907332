/* export.c: GET /export/languages: all languages as CSV (RFC 4180), streamed.
 *
 * Rows are read a page at a time and written between queries: ol_write waits for clients that read slowly, and
 * while it does, no transaction is open and no connection is taken, only a thread of a pool that nothing else
 * uses.  The next page begins after the last key, so nothing is read twice.  At most a page is in memory, whatever
 * the size of the table.
 *
 * A failure before the first write is a 500; after it the stream is broken off, so that nobody takes a part for
 * the whole.
 */
#include "atlas.h"
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 500 /* rows: about 20 KB */

static const char sql[] =
	"SELECT alpha_3, alpha_2, bibliographic, name, inverted_name, common_name, scope, type FROM languages"
	" WHERE (name, alpha_3) > (?1, ?2) ORDER BY name, alpha_3 LIMIT ?3"; /* the table's own order */

/* The key of the last row that was put. */
struct position {
	const char *name, *code;
};

static void put_field(FILE *out, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, out);
		return;
	}
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			putc('"', out);
		putc(*text, out);
	}
	putc('"', out);
}

static void put_header(FILE *out, sqlite3_stmt *statement)
{
	for (int i = 0; i < sqlite3_column_count(statement); i++) {
		fputs(i > 0 ? "," : "", out);
		put_field(out, sqlite3_column_name(statement, i));
	}
	fputs("\r\n", out);
}

static void put_row(FILE *out, sqlite3_stmt *statement)
{
	for (int i = 0; i < sqlite3_column_count(statement); i++) {
		const char *text = (const char *)sqlite3_column_text(statement, i);

		fputs(i > 0 ? "," : "", out);
		put_field(out, text ? text : "");
	}
	fputs("\r\n", out);
}

static int remember(ol_req *r, struct position *last, sqlite3_stmt *statement)
{
	last->name = ol_strdup(r, (const char *)sqlite3_column_text(statement, 3));
	last->code = ol_strdup(r, (const char *)sqlite3_column_text(statement, 0));
	return last->name && last->code ? 0 : -ENOMEM;
}

/* Puts the page after *last into out and moves *last.  The number of rows, or below 0. */
static int put_page(ol_req *r, struct position *last, FILE *out)
{
	const struct atlas *a = ol_app_data(r);
	struct query q;
	int n = 0, rc;

	query_begin(&q, a->store, r, sql);
	query_bind_text(&q, 1, last->name);
	query_bind_text(&q, 2, last->code);
	query_bind_int(&q, 3, PAGE);
	while ((rc = query_step(&q)) > 0) {
		if (n++ == 0 && !*last->name)
			put_header(out, q.statement);
		put_row(out, q.statement);
		if (n == PAGE && (rc = remember(r, last, q.statement)) < 0)
			break;
	}
	query_end(&q);
	return rc < 0 ? rc : n;
}

/* Writes the page after *last. */
static int write_page(ol_req *r, struct position *last)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	int rows, rc = 0;

	if (!out)
		return -errno;
	rows = put_page(r, last, out);
	if (fclose(out) != 0)
		rc = -ENOMEM;
	else if (rows > 0)
		rc = ol_write(r, text, n);
	free(text);
	return rc < 0 ? rc : rows;
}

int export_languages(ol_req *r)
{
	struct position last = { "", "" };
	int rc = ol_stream(r, 200, "text/csv; charset=utf-8; header=present");

	if (rc == 0)
		rc = ol_header_set(r, "Content-Disposition", "attachment; filename=\"languages.csv\"");
	if (rc < 0)
		return rc;
	do
		rc = write_page(r, &last);
	while (rc == PAGE);
	return rc < 0 ? rc : 0;
}
