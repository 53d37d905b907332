/* lab_files.h: the files the lab brings along, and the folder it works in. */
#ifndef OL_CLI_LAB_FILES_H
#define OL_CLI_LAB_FILES_H

#include "base/checked.h"
#include "base/slice.h"
#include <stdbool.h>

/* A file of src/cli/lab/, for the life of the program; empty when there is none of this name. */
struct slice lab_file(const char *name);

/* Writes all of it: 0 or -errno. */
CHECKED int lab_write_all(int fd, struct slice bytes);

/* Writes n bytes as folder/name, which must not be there: 0 or -errno. */
CHECKED int lab_folder_write(const char *folder, const char *name, const char *p, size_t n);

/* A new empty folder of ours alone, in a folder; NULL: in TMPDIR or /tmp.  Its path, the caller's; NULL with errno. */
CHECKED char *lab_folder_new(const char *in);

/* Removes it with everything in it, as far as that can be.  Links are removed, not followed.  Whether it is gone. */
bool lab_folder_remove(const char *folder);

/* Removes it likewise, and frees the path, which may be NULL. */
void lab_folder_free(char *folder);

#endif
