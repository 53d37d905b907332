/* lab_out.c: the files that a run leaves.
 *
 * A file is made beside its place under another name, synced, and renamed, so that whoever opens the path sees a whole
 * file, the old or the new, and a disk that is full costs nobody what was there.  Where the path leads through a link,
 * the link stays and its target is replaced.  What is there and no ordinary file (a device, a pipe) is left alone, and
 * so is a file that we may not write, though its folder would let us replace it.
 *
 * A run takes minutes and its files come last, so whatever can be known beforehand is asked for beforehand, by the same
 * steps: lab_out_check makes the other file, and removes it.  What is not known until then is room on the disk.
 *
 * One thread.
 */
#include "cli/lab_out.h"
#include "cli/lab_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As open(2) would have made it: mkostemp lets nobody else read it. */
static int allow_readers(int fd)
{
	mode_t mask = umask(0);

	umask(mask);
	return fchmod(fd, 0666 & ~mask) ? -errno : 0;
}

/* The place of what is not there yet: its folder's, and its name. */
static char *place_in_folder(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *folder = slash ? strndup(path, (size_t)(name - path)) : strdup("."), *real, *place = NULL;

	if (!folder)
		return NULL;
	real = realpath(folder, NULL);
	free(folder);
	if (!real)
		return NULL;
	if (!name[0])
		errno = ENOENT;
	else if (asprintf(&place, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name) < 0)
		place = NULL;
	free(real);
	return place;
}

char *lab_out_place(const char *path)
{
	struct stat st;

	if (stat(path, &st)) {
		/* A link that leads nowhere has no target to replace. */
		if (errno != ENOENT || lstat(path, &st) == 0)
			return NULL;
		return place_in_folder(path);
	}
	if (S_ISREG(st.st_mode))
		return access(path, W_OK) ? NULL : realpath(path, NULL);
	errno = S_ISDIR(st.st_mode) ? EISDIR : EEXIST;
	return NULL;
}

/* A new file beside the place, whose own name may be as long as names can be: its descriptor, or -errno. */
static int make_beside(const char *place, char **name)
{
	int folder = (int)(strrchr(place, '/') - place), fd;

	if (asprintf(name, "%.*s/.offloop-lab-XXXXXX", folder, place) < 0) {
		*name = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(*name, O_CLOEXEC);
	if (fd < 0) {
		fd = -errno;
		free(*name);
		*name = NULL;
	}
	return fd;
}

static int replace(const char *place, struct slice bytes)
{
	char *name;
	int fd = make_beside(place, &name), rc;

	if (fd < 0)
		return fd;
	rc = lab_write_all(fd, bytes);
	if (rc == 0)
		rc = allow_readers(fd);
	if (rc == 0 && fsync(fd))
		rc = -errno;
	if (close(fd) && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(name, place))
		rc = -errno;
	if (rc)
		unlink(name);
	free(name);
	return rc;
}

static int try(const char *place)
{
	char *name;
	int fd = make_beside(place, &name);

	if (fd < 0)
		return fd;
	close(fd);
	unlink(name);
	free(name);
	return 0;
}

static int complain(const char *path, int rc)
{
	if (rc)
		fprintf(stderr, "offloop lab: cannot write %s: %s\n", path,
			rc == -EEXIST ? "it is no ordinary file" : strerror(-rc));
	return rc;
}

int lab_out_check(const char *path)
{
	char *place = lab_out_place(path);
	int rc = place ? try(place) : -errno;

	free(place);
	return complain(path, rc);
}

int lab_out_write(const char *path, struct slice bytes)
{
	char *place = lab_out_place(path);
	int rc = place ? replace(place, bytes) : -errno;

	free(place);
	return complain(path, rc);
}
