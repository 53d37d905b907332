/* symbols.c: names for addresses of this process.
 *
 * The module an address lies in says which file to read, and whether that file, as it lies on the disk today, is still
 * the one that runs: its build id must be the one in memory, else a server whose libraries were upgraded under it would
 * show names of other functions.  Without a build id it must be the very file that is mapped, by device and inode; the
 * program's own is opened by the kernel's link, which leads there.  A file with .dynsym alone is helped out by the
 * distribution's debug file, where that is installed.  Each file is read once, when one of its addresses is first asked
 * for; or when one is asked for again, if there was no descriptor or memory for it.
 *
 * What has no name is told by build id and address within the file, which `offloop symbolize` can resolve later and on
 * another machine.  Names come from files, so characters beyond those of C and C++ names are shown as '?'.
 *
 * One thread at a time: the monitor's.  It takes the loader's lock and allocates, so never in a signal handler.
 */
#include "symbols.h"
#include "modules.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE ((size_t)4096) /* at least; a mapping has no smaller ones */

struct symbols {
	struct modules *modules;
};

/* libstdc++'s, where the program has it. */
__attribute__((weak)) char *__cxa_demangle(const char *mangled, char *buf, size_t *n, int *status);

static bool is_what_runs(const struct elf_file *f, const struct module *m)
{
	dev_t device;
	ino_t inode;

	if (strcmp(elf_file_build_id(f), m->build_id) != 0)
		return false;
	if (m->build_id[0] || m->in_memory || strcmp(m->path, "/proc/self/exe") == 0)
		return true;
	return modules_mapped_file(m, &device, &inode) && elf_file_is(f, device, inode);
}

static struct elf_file *file_of(const struct module *m)
{
	size_t whole_pages = (m->high - m->low + PAGE - 1) / PAGE * PAGE; /* its section headers lie behind the rest */
	struct elf_file *f = m->in_memory ? elf_file_read((const void *)m->low, whole_pages) : elf_file_open(m->path);
	struct elf_file *debug;

	if (f && !is_what_runs(f, m)) {
		elf_file_free(f);
		f = NULL;
	}
	if ((f && elf_file_is_full(f)) || m->build_id[0] == '\0')
		return f;
	debug = elf_file_debug(m->build_id);
	if (!debug || strcmp(elf_file_build_id(debug), m->build_id) != 0) {
		elf_file_free(debug);
		return f;
	}
	elf_file_free(f);
	return debug;
}

/* What kept a file from being read may be over next time: a server that stalls may be short of descriptors. */
static bool may_come_later(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == EINTR;
}

struct symbols *symbols_new(void)
{
	struct symbols *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->modules = modules_new();
	if (s->modules)
		return s;
	free(s);
	errno = ENOMEM;
	return NULL;
}

void symbols_free(struct symbols *s)
{
	if (!s)
		return;
	modules_free(s->modules);
	free(s);
}

__attribute__((format(printf, 3, 4))) static size_t format(char *dst, size_t n, const char *fmt, ...)
{
	va_list args;
	size_t len;

	va_start(args, fmt);
	len = (size_t)vsnprintf(dst, n, fmt, args);
	va_end(args);
	len = len < n ? len : n - 1;
	for (size_t i = 0; i < len; i++)
		if (dst[i] < ' ' || dst[i] > '~' || dst[i] == '"' || dst[i] == '\\')
			dst[i] = '?';
	return len;
}

static size_t format_function(const char *name, uint64_t offset, const char *file, char *dst, size_t n)
{
	char *plain =
		name[0] == '_' && name[1] == 'Z' && __cxa_demangle ? __cxa_demangle(name, NULL, NULL, NULL) : NULL;
	size_t len;

	len = format(dst, n, "%.*s+0x%llx (%.*s)", (int)n / 2, plain ? plain : name, (unsigned long long)offset,
		(int)n / 4, file);
	free(plain);
	return len;
}

size_t symbols_format(struct symbols *s, uintptr_t address, char *dst, size_t n)
{
	bool changed;
	struct module *m = modules_refresh(s->modules, &changed) == 0 ? modules_find(s->modules, address) : NULL;
	unsigned long long within;
	const char *function;
	uint64_t offset = 0;

	if (!m)
		return format(dst, n, "0x%llx", (unsigned long long)address);
	if (!m->file_tried) {
		errno = 0;
		m->file = file_of(m);
		m->file_tried = m->file || !may_come_later(errno);
	}
	within = address - m->base;
	function = m->file ? elf_file_function(m->file, within, &offset) : NULL;
	if (function)
		return format_function(function, offset, m->name, dst, n);
	if (m->build_id[0] == '\0')
		return format(dst, n, "%.*s+0x%llx", (int)n / 2, m->name, within);
	return format(dst, n, "%s+0x%llx (%.*s)", m->build_id, within, (int)n / 4, m->name);
}
