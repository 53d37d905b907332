/* modules.c: the files that this process is made of.
 *
 * The dynamic loader knows them, and asking it needs neither /proc nor privileges, which a server may have given up.
 * It also counts what it has loaded and unloaded (dlpi_adds, dlpi_subs), so that a refresh that finds both counts as
 * they were ends after the first module.  Otherwise the list is made anew, and what had been read of files that are
 * still there moves over.
 *
 * The loader asks us back with its lock held.  An allocator that is watched (a heap profiler's) may take that lock, to
 * see who calls it, with its own one held; so nothing is allocated there: the list goes into memory reserved before,
 * and if that did not suffice the loader is asked once more with as much as it would have taken.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MODULES_SPARE 16 /* room for so many more than there were */
#define PATHS_SPARE 1024 /* bytes */

struct modules {
	struct module *all;
	size_t n, paths_used;
	unsigned long long adds, subs;
	char program[PATH_MAX]; /* where the program lay when this began */
};

/* The list while it is made.  n and used go on counting where there is no room left. */
struct making {
	const struct modules *old;
	struct module *all;
	size_t n, room;
	char *paths; /* theirs, one behind the other */
	size_t used, paths_room;
	unsigned long long adds, subs;
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

struct comparison {
	const struct modules *old;
	bool same;
};

/* Asked back by the loader, once. */
static int compare(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct comparison *c = arg;

	(void)size;
	c->same = c->old->n && info->dlpi_adds == c->old->adds && info->dlpi_subs == c->old->subs;
	return 1;
}

/* Asked back by the loader, which calls the program "", and the vDSO by a name that is no path. */
static int add(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct making *making = arg;
	bool first = making->n == 0;
	const char *path = first ? "/proc/self/exe" : info->dlpi_name;
	size_t len = strlen(path) + 1;

	(void)size;
	if (first) {
		making->adds = info->dlpi_adds;
		making->subs = info->dlpi_subs;
	}
	if (making->n < making->room && making->used + len <= making->paths_room) {
		struct module *m = &making->all[making->n];

		describe(m, info);
		m->in_memory = !first && !strchr(path, '/');
		m->path = memcpy(making->paths + making->used, path, len);
	}
	making->n++;
	making->used += len;
	return 0;
}

/* Reserves room for n modules whose paths take so many bytes. */
static bool reserve(struct making *making, size_t n, size_t bytes)
{
	free(making->all);
	free(making->paths);
	*making = (struct making){ .old = making->old, .room = n, .paths_room = bytes };
	making->all = malloc(n * sizeof(*making->all));
	making->paths = malloc(bytes);
	return making->all && making->paths;
}

/* Asks the loader; false without memory. */
static bool ask(struct making *making)
{
	size_t n = making->old->n + MODULES_SPARE, bytes = making->old->paths_used + PATHS_SPARE;

	do {
		if (!reserve(making, n, bytes))
			return false;
		dl_iterate_phdr(add, making);
		n = making->n + MODULES_SPARE;
		bytes = making->used + PATHS_SPARE;
	} while (making->n > making->room || making->used > making->paths_room);
	return true;
}

/* Gives each a path of its own.  False without memory; those that have one are the first, then. */
static bool name_all(struct making *making, const struct modules *ms, size_t *named)
{
	for (*named = 0; *named < making->n; ++*named) {
		struct module *m = &making->all[*named];
		const char *shown = *named == 0 ? ms->program : m->path, *slash = strrchr(shown, '/');
		char *path = strdup(m->path);

		if (!path)
			return false;
		m->name = *named == 0 ? (slash ? slash + 1 : shown) : slash ? path + (slash + 1 - shown) : path;
		m->path = path;
	}
	return true;
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
	struct comparison comparison = { .old = ms };
	struct making making = { .old = ms };
	size_t named = 0;
	bool made;

	dl_iterate_phdr(compare, &comparison);
	*changed = !comparison.same;
	if (comparison.same)
		return 0;
	made = ask(&making) && name_all(&making, ms, &named);
	free(making.paths);
	if (!made) {
		drop(making.all, named);
		return -ENOMEM;
	}
	for (size_t i = 0; i < making.n; i++)
		keep_file(ms, &making.all[i]);
	drop(ms->all, ms->n);
	qsort(making.all, making.n, sizeof(*making.all), by_place);
	ms->all = making.all;
	ms->n = making.n;
	ms->paths_used = making.used;
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

bool modules_mapped_file(const struct module *m, dev_t *device, ino_t *inode)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];
	bool found = false;

	while (maps && !found && fgets(line, sizeof(line), maps)) {
		unsigned long low, high, number;
		unsigned major, minor;

		/* low-high rwxp offset major:minor inode path; what goes on in a next line is no such head */
		found = sscanf(line, "%lx-%lx %*4c %*x %x:%x %lu", &low, &high, &major, &minor, &number) == 5 &&
			m->low >= low && m->low < high;
		if (found) {
			*device = makedev(major, minor);
			*inode = number;
		}
	}
	if (maps)
		fclose(maps);
	return found;
}

bool modules_is_code(const struct modules *ms, uintptr_t address)
{
	const struct module *m = modules_find(ms, address);

	for (unsigned i = 0; m && i < m->ncode; i++)
		if (address >= m->code[i].low && address < m->code[i].high)
			return true;
	return false;
}
