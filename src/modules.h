/* modules.h: the files that this process is made of: program, libraries, vDSO. */
#ifndef OL_MODULES_H
#define OL_MODULES_H

#include "base/checked.h"
#include "elf_file.h"

#define MODULE_PARTS 8

struct module {
	uintptr_t base;             /* add this to an address of the file */
	uintptr_t low, high;        /* everything of it lies here */
	struct {
		uintptr_t low, high;
	} code[MODULE_PARTS];       /* its parts that can be executed */
	unsigned ncode;
	uintptr_t unwind;           /* its .eh_frame_hdr; 0: none */
	bool in_memory;             /* the vDSO: there is no file */
	char build_id[BUILD_ID_TEXT];
	char *path;                 /* the program's is "/proc/self/exe" */
	const char *name;           /* as people call it: "app", "libc.so.6" */
	struct elf_file *file;      /* for symbols.c: kept while the module is loaded */
	bool file_tried;
};

struct modules;

/* One thread at a time; not in a signal handler.  NULL with errno. */
CHECKED struct modules *modules_new(void);
void modules_free(struct modules *m);

/* Looks whether anything was loaded or unloaded since the last time, which costs next to nothing, and sets *changed
 * when so.  0, or -ENOMEM: what was known stays known. */
CHECKED int modules_refresh(struct modules *m, bool *changed);

/* The module an address lies in, NULL for none; valid until the next refresh. */
struct module *modules_find(const struct modules *m, uintptr_t address);

/* Which file it was mapped from, as the kernel tells; false when it does not. */
CHECKED bool modules_mapped_file(const struct module *m, dev_t *device, ino_t *inode);

/* Whether code lies there. */
bool modules_is_code(const struct modules *m, uintptr_t address);

#endif
