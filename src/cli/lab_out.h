/* lab_out.h: files that a run leaves: all of each or nothing. */
#ifndef OL_CLI_LAB_OUT_H
#define OL_CLI_LAB_OUT_H

#include "base/checked.h"
#include "base/slice.h"

/* Where a file for path is put, by a path without links, new: its target, when it is a link.  NULL with errno; EEXIST:
 * what is there is no ordinary file. */
CHECKED char *lab_out_place(const char *path);

/* Whether a file could be put at path; tries it, and leaves nothing.  0, or -errno after one line on stderr. */
CHECKED int lab_out_check(const char *path);

/* Puts a file of these bytes at path: all of it or, on an error, nothing, with what stood there before left as it was.
 * 0, or -errno after one line on stderr. */
CHECKED int lab_out_write(const char *path, struct slice bytes);

#endif
