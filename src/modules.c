/* modules.c: the files that this process is made of.
 *
 * The dynamic loader knows them, and asking it needs neither /proc nor privileges, which a server may have given up.
 * It also counts what it has loaded and unloaded (dlpi_adds, dlpi_subs), so that a refresh that finds both counts as
 * they were ends after the first module.  Otherwise the list is made anew, and what had been read of files that are
 * still there moves over.
 *
 * A module's build id comes from memory, so it is that of the code which runs, whatever has become of the file since.
 *
 * Invariant: modules are sorted by address and do not overlap.  One thread at a time.  Code that no loader loaded (a
 * just-in-time compiler's) is not known here.
 */
#include "modules.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct modules {
	struct module *all;
	size_t n;
	unsigned long long adds, subs;
	char program[PATH_MAX]; /* where the program lay when this began */
};

/* The list while it is made. */
struct making {
	const struct modules *old;
	struct module *all;
	size_t n, room;
	unsigned long long adds, subs;
	bool same, failed;
};

static void note_part(struct module *m, const ElfW(Phdr) *part)
{
	uintptr_t low = m->base + part->p_vaddr, high = low + part->p_memsz;

	if (high > m->high)
		m->high = high;
	if (low < m->low)
		m->low = low;
	if ((part->p_flags & PF_X) && m->ncode < MODULE_PARTS) {
		m->code[m->ncode].low = low;
		m->code[m->ncode++].high = high;
	}
}

static void describe(struct module *m, const struct dl_phdr_info *info)
{
	*m = (struct module){ .base = info->dlpi_addr, .low = UINTPTR_MAX };
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		const void *at = (const void *)(m->base + part->p_vaddr); /* of notes, which are loaded with the rest */

		if (part->p_type == PT_LOAD)
			note_part(m, part);
		else if (part->p_type == PT_GNU_EH_FRAME)
			m->unwind = m->base + part->p_vaddr;
		else if (part->p_type == PT_NOTE && m->build_id[0] == '\0')
			elf_notes_build_id(at, part->p_memsz, part->p_align, m->build_id);
	}
}

/* The loader calls the program "", and the vDSO by a name that is no path. */
static bool name_it(struct module *m, const struct modules *ms, const char *name, bool first)
{
	const char *shown = first ? ms->program : name, *slash = strrchr(shown, '/');

	m->in_memory = !first && !strchr(name, '/');
	m->path = strdup(first ? "/proc/self/exe" : name);
	if (m->path)
		m->name = first                   ? (slash ? slash + 1 : shown)
			  : strrchr(m->path, '/') ? strrchr(m->path, '/') + 1
						  : m->path;
	return m->path;
}

static bool grow(struct making *making)
{
	size_t room = making->room ? 2 * making->room : 32;
	struct module *all;

	if (making->n < making->room)
		return true;
	all = realloc(making->all, room * sizeof(*all));
	if (!all)
		return false;
	making->all = all;
	making->room = room;
	return true;
}

static int add(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct making *making = arg;
	bool first = making->n == 0;
	struct module m;

	(void)size;
	if (first) {
		making->adds = info->dlpi_adds;
		making->subs = info->dlpi_subs;
		making->same =
			making->old->n && info->dlpi_adds == making->old->adds && info->dlpi_subs == making->old->subs;
		if (making->same)
			return 1;
	}
	describe(&m, info);
	making->failed = !grow(making) || !name_it(&m, making->old, info->dlpi_name, first);
	if (!making->failed)
		making->all[making->n++] = m;
	return making->failed;
}

static void keep_file(const struct modules *ms, struct module *m)
{
	for (size_t i = 0; i < ms->n; i++) {
		struct module *old = &ms->all[i];

		if (old->base == m->base && strcmp(old->path, m->path) == 0 &&
			strcmp(old->build_id, m->build_id) == 0) {
			m->file = old->file;
			m->file_tried = old->file_tried;
			old->file = NULL;
			return;
		}
	}
}

static void drop(struct module *all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		elf_file_free(all[i].file);
		free(all[i].path);
	}
	free(all);
}

static int by_place(const void *a, const void *b)
{
	const struct module *x = a, *y = b;

	return x->low < y->low ? -1 : x->low > y->low;
}

int modules_refresh(struct modules *ms, bool *changed)
{
	struct making making = { .old = ms };

	dl_iterate_phdr(add, &making);
	*changed = !making.same;
	if (making.same)
		return 0;
	if (making.failed) {
		drop(making.all, making.n);
		return -ENOMEM;
	}
	for (size_t i = 0; i < making.n; i++)
		keep_file(ms, &making.all[i]);
	drop(ms->all, ms->n);
	qsort(making.all, making.n, sizeof(*making.all), by_place);
	ms->all = making.all;
	ms->n = making.n;
	ms->adds = making.adds;
	ms->subs = making.subs;
	return 0;
}

struct modules *modules_new(void)
{
	struct modules *ms = calloc(1, sizeof(*ms));
	bool changed;
	ssize_t n;

	if (!ms)
		return NULL;
	n = readlink("/proc/self/exe", ms->program, sizeof(ms->program) - 1);
	if (n <= 0)
		memcpy(ms->program, "program", sizeof("program"));
	if (modules_refresh(ms, &changed) == 0)
		return ms;
	free(ms);
	errno = ENOMEM;
	return NULL;
}

void modules_free(struct modules *ms)
{
	if (!ms)
		return;
	drop(ms->all, ms->n);
	free(ms);
}

struct module *modules_find(const struct modules *ms, uintptr_t address)
{
	size_t low = 0, high = ms->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ms->all[middle].low <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && address < ms->all[low - 1].high ? &ms->all[low - 1] : NULL;
}

bool modules_is_code(const struct modules *ms, uintptr_t address)
{
	const struct module *m = modules_find(ms, address);

	for (unsigned i = 0; m && i < m->ncode; i++)
		if (address >= m->code[i].low && address < m->code[i].high)
			return true;
	return false;
}
