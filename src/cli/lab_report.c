/* lab_report.c: a run's report as one page that needs nothing else.
 *
 * The page is a template (src/cli/lab/report.html) whose {{NAME}} are replaced by style, scripts and the report's JSON;
 * what is put in is not looked at again.  The JSON stands in a <script> that is data, so what ends or changes a script
 * in HTML must not occur in it: '<', '>' and '&' are written as escapes, and so is all that is not ASCII, the line
 * separators U+2028 and U+2029 among it.  In JSON these can only stand in strings, where the escapes mean the same.
 * The page's policy lets it ask nothing of anybody.
 *
 * The file is made beside its place under another name, synced, and renamed, so that whoever opens the path sees a
 * whole page, the old or the new.  Where the path leads through a link, the link stays and its target is replaced.
 * What is there and no ordinary file (a device, a pipe) is left alone.
 *
 * One thread.
 */
#include "cli/lab_report.h"
#include "base/slice.h"
#include "cli/lab_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_HOLE "report.json"

/* ---- the page ---------------------------------------------------------------------------------------------------- */

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

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* As open(2) would have made it: mkostemp lets nobody else read it. */
static int allow_readers(int fd)
{
	mode_t mask = umask(0);

	umask(mask);
	return fchmod(fd, 0666 & ~mask) ? -errno : 0;
}

/* Makes the file under a name of its own, which takes the place of path when all of it is on the disk. */
static int replace(const char *path, struct slice bytes)
{
	char *name;
	int fd, rc;

	if (asprintf(&name, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0) {
		rc = -errno;
		free(name);
		return rc;
	}
	rc = lab_write_all(fd, bytes);
	if (rc == 0)
		rc = allow_readers(fd);
	if (rc == 0 && fsync(fd))
		rc = -errno;
	if (close(fd) && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(name, path))
		rc = -errno;
	if (rc)
		unlink(name);
	free(name);
	return rc;
}

/* Where a page for path is to be put, new: its target, when it is a link.  NULL with errno. */
static char *place_of(const char *path)
{
	struct stat st;

	if (stat(path, &st)) {
		/* A link that leads nowhere has no target to replace. */
		if (errno != ENOENT || lstat(path, &st) == 0)
			return NULL;
		return strdup(path);
	}
	if (S_ISREG(st.st_mode))
		return realpath(path, NULL);
	errno = S_ISDIR(st.st_mode) ? EISDIR : EEXIST;
	return NULL;
}

int lab_report_write(const json_t *report, const char *path)
{
	struct buf page = { 0 };
	char *place = place_of(path);
	int rc = place ? lab_report_page(report, &page) : -errno;

	if (rc == 0)
		rc = replace(place, buf_slice(&page));
	if (rc)
		fprintf(stderr, "offloop lab: cannot write the report to %s: %s\n", path,
			rc == -EEXIST ? "It is no ordinary file" : strerror(-rc));
	buf_fini(&page);
	free(place);
	return rc;
}
