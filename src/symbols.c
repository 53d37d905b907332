/* symbols.c: names for addresses of this process.
 *
 * The module an address lies in says which file to read, and whether that file, as it lies on the disk today, is still
 * the one that runs: its build id must be the one in memory, else a server whose libraries were upgraded under it would
 * show names of other functions.  Without a build id it must be the very file that is mapped, by device and inode; the
 * program's own is opened by the kernel's link, which leads there.  A file with .dynsym alone is helped out by the
 * distribution's debug file, where that is installed.  Each file is read once, when one of its addresses is first asked
 * for; or when one is asked for again, if there was no descriptor or memory for it.  To read takes milliseconds, and
 * leave of the system, which a server may be about to give up: so files that will be wanted can be opened at once
 * (symbols_open), and be read later from what was opened.
 *
 * What has no name is told by build id and address within the file, which `offloop symbolize` can resolve later and on
 * another machine.  Names come from files, so characters beyond those of C and C++ names are shown as '?'.
 *
 * One thread at a time: the monitor's, once it runs.  It takes the loader's lock and allocates, so never in a signal
 * handler.
 */
#include "symbols.h"
#include "modules.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE ((size_t)4096) /* at least; a mapping has no smaller ones */

/* The files of the module at an address: descriptors, or -errno. */
struct opened {
	uintptr_t address;
	int fd, debug_fd;
};

struct symbols {
	struct modules *modules;
	struct opened opened[SYMBOLS_OPEN_MAX];
	size_t nopened;
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

static void close_opened(const struct opened *o)
{
	if (o->fd >= 0)
		close(o->fd);
	if (o->debug_fd >= 0)
		close(o->debug_fd);
}

/* Which of those that are opened is the module's; s->nopened: none. */
static size_t find_opened(const struct symbols *s, const struct module *m)
{
	size_t i = 0;

	while (i < s->nopened && (s->opened[i].address < m->low || s->opened[i].address >= m->high))
		i++;
	return i;
}

/* What was opened of the module is the caller's from here on. */
static struct opened take_opened(struct symbols *s, const struct module *m)
{
	struct opened o = { .fd = -ENOENT, .debug_fd = -ENOENT };
	size_t i = find_opened(s, m);

	if (i < s->nopened) {
		o = s->opened[i];
		s->opened[i] = s->opened[--s->nopened];
	}
	return o;
}

static struct elf_file *read_own(const struct module *m, int fd)
{
	size_t whole_pages = (m->high - m->low + PAGE - 1) / PAGE * PAGE; /* its section headers lie behind the rest */
	struct elf_file *f;

	if (m->in_memory)
		f = elf_file_read((const void *)m->low, whole_pages);
	else
		f = fd >= 0 ? elf_file_take(fd) : elf_file_open(m->path);
	if (!f || is_what_runs(f, m))
		return f;
	elf_file_free(f);
	return NULL;
}

static struct elf_file *read_debug(const struct module *m, int fd)
{
	struct elf_file *f = fd >= 0 ? elf_file_take(fd) : elf_file_debug(m->build_id);

	if (!f || strcmp(elf_file_build_id(f), m->build_id) == 0)
		return f;
	elf_file_free(f);
	return NULL;
}

static struct elf_file *file_of(struct symbols *s, const struct module *m)
{
	struct opened o = take_opened(s, m);
	struct elf_file *f = read_own(m, o.fd), *debug;

	if ((f && elf_file_is_full(f)) || m->build_id[0] == '\0') {
		if (o.debug_fd >= 0)
			close(o.debug_fd);
		return f;
	}
	debug = read_debug(m, o.debug_fd);
	if (!debug)
		return f;
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
	for (size_t i = 0; i < s->nopened; i++)
		close_opened(&s->opened[i]);
	modules_free(s->modules);
	free(s);
}

/* The module at an address, NULL for none. */
static struct module *module_at(struct symbols *s, uintptr_t address)
{
	bool changed;

	return modules_refresh(s->modules, &changed) == 0 ? modules_find(s->modules, address) : NULL;
}

static void know(struct symbols *s, struct module *m)
{
	if (m->file_tried)
		return;
	errno = 0;
	m->file = file_of(s, m);
	m->file_tried = m->file || !may_come_later(errno);
}

void symbols_open(struct symbols *s, uintptr_t address)
{
	struct module *m = module_at(s, address);

	if (!m || m->in_memory || m->file_tried || find_opened(s, m) < s->nopened || s->nopened == SYMBOLS_OPEN_MAX)
		return;
	s->opened[s->nopened++] = (struct opened){ .address = address, .fd = elf_file_descriptor(m->path),
		.debug_fd = elf_file_debug_descriptor(m->build_id) };
	/* Whether it is what runs is for the kernel to tell, which it may refuse later. */
	if (m->build_id[0] == '\0')
		know(s, m);
}

bool symbols_read_one(struct symbols *s)
{
	size_t n = s->nopened;
	struct module *m = n > 0 ? module_at(s, s->opened[n - 1].address) : NULL;

	if (m)
		know(s, m);
	if (n > 0 && s->nopened == n)   /* it is gone, or known already */
		close_opened(&s->opened[--s->nopened]);
	return s->nopened > 0;
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
	struct module *m = module_at(s, address);
	unsigned long long within;
	const char *function;
	uint64_t offset = 0;

	if (!m)
		return format(dst, n, "0x%llx", (unsigned long long)address);
	know(s, m);
	within = address - m->base;
	function = m->file ? elf_file_function(m->file, within, &offset) : NULL;
	if (function)
		return format_function(function, offset, m->name, dst, n);
	if (m->build_id[0] == '\0')
		return format(dst, n, "%.*s+0x%llx", (int)n / 2, m->name, within);
	return format(dst, n, "%s+0x%llx (%.*s)", m->build_id, within, (int)n / 4, m->name);
}
