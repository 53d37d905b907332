/* lab_report.c: a run's report as one page that needs nothing else.
 *
 * The page is a template (src/cli/lab/report.html) whose {{NAME}} are replaced by style, scripts and the report's JSON;
 * what is put in is not looked at again.  The JSON stands in a <script> that is data, so what ends or changes a script
 * in HTML must not occur in it: '<', '>' and '&' are written as escapes, and so is all that is not ASCII, the line
 * separators U+2028 and U+2029 among it.  In JSON these can only stand in strings, where the escapes mean the same.
 * The page's policy lets it ask nothing of anybody.
 *
 * One thread.
 */
#include "cli/lab_report.h"
#include "base/slice.h"
#include "cli/lab_files.h"
#include "cli/lab_out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_HOLE "report.json"

/* JSON's text so that it can stand in a <script>. */
static int append_json(struct buf *out, const char *text)
{
	int rc = 0;

	while (rc == 0 && *text) {
		size_t plain = strcspn(text, "<>&");
		char escape[16];

		rc = buf_append(out, text, plain);
		text += plain;
		if (rc == 0 && *text) {
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char)*text++);
			rc = buf_append(out, escape, 6);
		}
	}
	return rc;
}

/* What stands for {{name}}. */
static int append_hole(struct buf *out, struct slice name, const char *json)
{
	char file[32];
	struct slice content;

	if (slice_eq(name, SLICE(JSON_HOLE)))
		return append_json(out, json);
	snprintf(file, sizeof(file), "%.*s", (int)name.n, name.p);
	content = lab_file(file);
	return content.p ? buf_append(out, content.p, content.n) : -ENOENT;
}

static int append_page(struct buf *out, struct slice page, const char *json)
{
	int rc = 0;

	while (rc == 0 && page.n > 0) {
		const char *hole = memmem(page.p, page.n, "{{", 2);
		const char *end = hole ? memmem(hole, page.n - (size_t)(hole - page.p), "}}", 2) : NULL;
		size_t plain = end ? (size_t)(hole - page.p) : page.n;

		rc = buf_append(out, page.p, plain);
		if (rc == 0 && end) {
			rc = append_hole(out, (struct slice){ hole + 2, (size_t)(end - hole) - 2 }, json);
			plain = (size_t)(end - page.p) + 2;
		}
		page.p += plain;
		page.n -= plain;
	}
	return rc;
}

int lab_report_page(const json_t *report, struct buf *out)
{
	char *json = json_dumps(report, JSON_INDENT(1) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
	int rc = json ? append_page(out, lab_file("report.html"), json) : -ENOMEM;

	free(json);
	return rc;
}

int lab_report_write(const json_t *report, const char *path)
{
	struct buf page = { 0 };
	int rc = lab_report_page(report, &page);

	if (rc)
		fprintf(stderr, "offloop lab: cannot make %s: %s\n", path, strerror(-rc));
	else
		rc = lab_out_write(path, buf_slice(&page));
	buf_fini(&page);
	return rc;
}
