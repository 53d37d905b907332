/* symbols.h: names for addresses of this process. */
#ifndef OL_SYMBOLS_H
#define OL_SYMBOLS_H

#include "base/checked.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct symbols;

/* Empty: the program's files are read when one of their addresses is first asked for, and kept.  For one thread at a
 * time; not in a signal handler.  NULL with errno. */
CHECKED struct symbols *symbols_new(void);
void symbols_free(struct symbols *s);

#define SYMBOLS_OPEN_MAX 4

/* Opens the file that address lies in, to be read later; it is not kept open beyond that.  What cannot be opened now,
 * or is one too many, is when one of its addresses is asked for. */
void symbols_open(struct symbols *s, uintptr_t address);

/* Reads one of the files that were opened; whether there are more. */
bool symbols_read_one(struct symbols *s);

#define SYMBOL_TEXT_MAX 256

/* One line for an address, NUL-terminated and cut at n; its length.  In this order:
 *   handler+0x1c (app.so)               the function and its file, from .symtab, else .dynsym
 *   5f0c...9b+0x1234 (app.so)           build id and address within the file: `offloop symbolize` resolves it elsewhere
 *   app.so+0x1234                       a file without a build id
 *   0x7f0012345678                      in no file that is loaded
 * Names are as they stand in the file, without characters that a terminal or JSON could take amiss; those of C++ are
 * demangled where the program has libstdc++. */
size_t symbols_format(struct symbols *s, uintptr_t address, char *dst, size_t n);

#endif
