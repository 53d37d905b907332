/* elf_file.h: the functions and the build id of an ELF file. */
#ifndef OL_ELF_FILE_H
#define OL_ELF_FILE_H

#include "base/checked.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BUILD_ID_TEXT 65    /* 32 bytes as hex digits, and their end; longer ones are cut */

struct elf_file;

/* A descriptor of the file, to be read later; of the file of debug symbols that a distribution keeps for a build id
 * (/usr/lib/debug/.build-id).  -errno without. */
CHECKED int elf_file_descriptor(const char *path);
CHECKED int elf_file_debug_descriptor(const char *build_id);

/* Reads what is needed of the file at once, and closes it; what the two above returned may be given as it is.  NULL
 * with errno: that of opening or reading it, ENOEXEC for what is no ELF file of this machine's word size and byte
 * order, ENOMEM. */
CHECKED struct elf_file *elf_file_take(int fd);

/* The same by the path, or by the build id; the file may change or vanish afterwards. */
CHECKED struct elf_file *elf_file_open(const char *path);
CHECKED struct elf_file *elf_file_debug(const char *build_id);

/* The same of an image in memory, which is not needed afterwards. */
CHECKED struct elf_file *elf_file_read(const void *image, size_t n);

void elf_file_free(struct elf_file *f);

/* Hex digits; "" when the file has none. */
const char *elf_file_build_id(const struct elf_file *f);

/* Whether it was read from that file. */
bool elf_file_is(const struct elf_file *f, dev_t device, ino_t inode);

/* Whether it has a full table of symbols, and not only those that others link with.  One that is too large to be kept
 * is as good as none. */
bool elf_file_is_full(const struct elf_file *f);

/* The function at an address as the file counts them, and how far into it that is; NULL when none is there.  The name
 * is the file's own bytes, without a symbol's version, and lives as long as f. */
const char *elf_file_function(const struct elf_file *f, uint64_t address, uint64_t *offset);

/* The build id among ELF notes; false without. */
bool elf_notes_build_id(const void *notes, size_t n, size_t align, char id[BUILD_ID_TEXT]);

#endif
