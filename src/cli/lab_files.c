/* lab_files.c: the files the lab brings along, and the folder it works in.
 *
 * The report's template and the peers' scripts stand in src/cli/lab/ and are part of the program (lab_embed.S), so the
 * lab needs nothing but the program.  What an interpreter must find as a file is written into a folder that mkdtemp
 * made: nobody else can put anything there, and each file is made anew (O_EXCL), so nothing is written through a link.
 * A run has one such folder, and in it each peer that runs has its own.
 *
 * A folder goes with everything in it, what the peers left there too, depth first and without following links.
 * What cannot be removed stays; the folder's name says whose it was.
 *
 * Any thread; the files never change.
 */
#include "cli/lab_files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_DECLARED(name) extern const char lab_file_##name[], lab_file_##name##_end[]
FILE_DECLARED(report_html);
FILE_DECLARED(report_css);
FILE_DECLARED(report_js);
FILE_DECLARED(plots_js);
FILE_DECLARED(lab_work_py);
FILE_DECLARED(app_fastapi_py);
FILE_DECLARED(app_starlette_py);
FILE_DECLARED(app_flask_py);
FILE_DECLARED(app_tornado_py);
FILE_DECLARED(app_node_js);
FILE_DECLARED(nginx_conf);

#define ENDS(name) lab_file_##name, lab_file_##name##_end

static const struct {
	const char *name;
	const char *start, *end;
} files[] = {
	{ "report.html", ENDS(report_html) },
	{ "report.css", ENDS(report_css) },
	{ "report.js", ENDS(report_js) },
	{ "plots.js", ENDS(plots_js) },
	{ "lab_work.py", ENDS(lab_work_py) },
	{ "app_fastapi.py", ENDS(app_fastapi_py) },
	{ "app_starlette.py", ENDS(app_starlette_py) },
	{ "app_flask.py", ENDS(app_flask_py) },
	{ "app_tornado.py", ENDS(app_tornado_py) },
	{ "app_node.js", ENDS(app_node_js) },
	{ "nginx.conf", ENDS(nginx_conf) },
};

struct slice lab_file(const char *name)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (strcmp(files[i].name, name) == 0)
			return (struct slice){ files[i].start, (size_t)(files[i].end - files[i].start) };
	return (struct slice){ NULL, 0 };
}

int lab_write_all(int fd, struct slice bytes)
{
	while (bytes.n > 0) {
		ssize_t wrote = write(fd, bytes.p, bytes.n);

		if (wrote < 0 && errno != EINTR)
			return -errno;
		if (wrote > 0) {
			bytes.p += wrote;
			bytes.n -= (size_t)wrote;
		}
	}
	return 0;
}

int lab_folder_write(const char *folder, const char *name, const char *p, size_t n)
{
	char *path;
	int fd, rc;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return -ENOMEM;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	rc = fd < 0 ? -errno : lab_write_all(fd, (struct slice){ p, n });
	if (fd >= 0 && close(fd) && rc == 0)
		rc = -errno;
	free(path);
	return rc;
}

char *lab_folder_new(const char *in)
{
	const char *where = in ? in : getenv("TMPDIR");
	char *path;

	if (asprintf(&path, "%s/offloop-lab-XXXXXX", where && where[0] == '/' ? where : "/tmp") < 0)
		return NULL;
	if (mkdtemp(path))
		return path;
	free(path);
	return NULL;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	remove(path);
	return 0;
}

bool lab_folder_remove(const char *folder)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	return access(folder, F_OK) != 0;
}

void lab_folder_free(char *folder)
{
	if (folder)
		lab_folder_remove(folder);
	free(folder);
}
