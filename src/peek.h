/* peek.h: reads memory of this process that may not be there. */
#ifndef OL_PEEK_H
#define OL_PEEK_H

#include "base/checked.h"
#include <stddef.h>
#include <stdint.h>

struct peek;

/* For one thread at a time; before privileges are dropped.  NULL with errno. */
CHECKED struct peek *peek_new(void);
void peek_free(struct peek *p);

/* Bytes at `at`, as far as they are mapped: the number read, 0 without.  Never faults. */
size_t peek(struct peek *p, uintptr_t at, void *dst, size_t n);

/* The same of code and tables, which do not change while their file is loaded: what was read is kept. */
size_t peek_constant(struct peek *p, uintptr_t at, void *dst, size_t n);

/* Files have been loaded or unloaded: nothing kept is used any more. */
void peek_forget(struct peek *p);

#endif
