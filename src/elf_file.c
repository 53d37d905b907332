/* elf_file.c: the functions and the build id of an ELF file.
 *
 * Of the section headers only two tables matter: .symtab, which names every function, static ones too, and in its
 * absence .dynsym, which names what other files link with.  Both are boiled down to an array of functions sorted by
 * address; the strings are kept as they stand in the file, but for the symbols' versions.  Of several names for one
 * place the plainest stays: fewest underscores in front, then global before local ("clock_nanosleep", not
 * "__clock_nanosleep").
 *
 * A file is input like any other: it may be truncated, made by an enemy, or change while it is read.  So nothing is
 * mapped (a file that shrinks would raise SIGBUS); each part is read into memory after its place has been held against
 * the file's size, numbers are copied out before they are used, and every string ends because a zero is put behind the
 * last.  What cannot be right is left out: a file with a broken table has no functions, which is no error.  So is what
 * is too large to be kept by a server for the sake of names; .dynsym may serve then.
 *
 * Any thread; a file that has been read is constant.  Not done here: compressed tables (.gnu_debugdata), line numbers,
 * other word sizes and byte orders than this machine's.
 */
#include "elf_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYMBOL_TYPE(info) ((info)&0xf) /* the same in both word sizes */
#define SYMBOL_BIND(info) ((info) >> 4)
#define SIZELESS_MAX 4096 /* how far a function reaches at most that does not say: to its section's end */
#define TABLE_MAX (UINT64_C(32) << 20) /* bytes of symbols, 1.4 million of them, */
#define NAMES_MAX (UINT64_C(64) << 20) /* of their names, */
#define NOTES_MAX (UINT64_C(64) << 10) /* and of one part with notes */
#define NOTE_PARTS_MAX 64
#define NESTED_MAX 8      /* how many functions may begin within one, before its end is lost */

struct function {
	uint64_t address;
	uint32_t size;
	uint32_t name; /* offset in names */
};

struct elf_file {
	char build_id[BUILD_ID_TEXT];
	dev_t device; /* of an image both are 0 */
	ino_t inode;
	bool full;
	struct function *functions;
	size_t nfunctions;
	char *names;
	size_t names_size;
};

struct sections {
	ElfW(Shdr) *all;
	size_t n;
};

/* Where the bytes come from: a file, or an image when fd is below 0. */
struct source {
	int fd;
	const unsigned char *image;
	uint64_t size;
};

/* True when all n bytes at `at` have been copied. */
static bool fetch(const struct source *s, uint64_t at, void *dst, size_t n)
{
	size_t have = 0;

	if (at > s->size || n > s->size - at)
		return false;
	if (s->fd < 0) {
		if (n)
			memcpy(dst, s->image + at, n);
		return true;
	}
	while (have < n) {
		ssize_t got = pread(s->fd, (char *)dst + have, n - have, (off_t)(at + have));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return true;
}

/* A copy of n bytes with a zero behind them; NULL when they are not there, or there is no memory (*err says which). */
static void *fetch_new(const struct source *s, uint64_t at, uint64_t n, int *err)
{
	char *copy;

	*err = 0;
	if (at > s->size || n > s->size - at)
		return NULL;
	copy = malloc((size_t)n + 1);
	if (!copy) {
		*err = ENOMEM;
		return NULL;
	}
	if (!fetch(s, at, copy, (size_t)n)) {
		free(copy);
		return NULL;
	}
	copy[n] = '\0';
	return copy;
}

/* ---- the build id ------------------------------------------------------------------------------------------------ */

static void to_hex(char *dst, const unsigned char *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*dst++ = digits[p[i] >> 4];
		*dst++ = digits[p[i] & 15];
	}
	*dst = '\0';
}

bool elf_notes_build_id(const void *notes, size_t n, size_t align, char id[BUILD_ID_TEXT])
{
	const unsigned char *p = notes;
	ElfW(Nhdr) note;

	align = align == 8 ? 8 : 4;
	while (n >= sizeof(note)) {
		size_t name, desc;

		memcpy(&note, p, sizeof(note));
		name = (note.n_namesz + align - 1) & ~(align - 1);
		if (name < note.n_namesz || name > n - sizeof(note) || note.n_descsz > n - sizeof(note) - name)
			return false;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(p + sizeof(note), "GNU", 4) == 0 &&
			note.n_descsz > 0) {
			desc = note.n_descsz < BUILD_ID_TEXT / 2 ? note.n_descsz : BUILD_ID_TEXT / 2;
			to_hex(id, p + sizeof(note) + name, desc);
			return true;
		}
		desc = (note.n_descsz + align - 1) & ~(align - 1);
		if (desc < note.n_descsz || desc > n - sizeof(note) - name)
			return false;
		p += sizeof(note) + name + desc;
		n -= sizeof(note) + name + desc;
	}
	return false;
}

static int read_build_id(struct elf_file *f, const struct source *s, const ElfW(Ehdr) *head)
{
	unsigned parts = 0;
	ElfW(Phdr) part;
	int err = 0;

	if (head->e_phentsize != sizeof(part))
		return 0;
	for (size_t i = 0; i < head->e_phnum && f->build_id[0] == '\0' && parts < NOTE_PARTS_MAX; i++) {
		char *notes;

		if (head->e_phoff > s->size || !fetch(s, head->e_phoff + i * sizeof(part), &part, sizeof(part)))
			return 0;
		if (part.p_type != PT_NOTE || part.p_filesz > NOTES_MAX)
			continue;
		parts++;
		notes = fetch_new(s, part.p_offset, part.p_filesz, &err);
		if (notes)
			elf_notes_build_id(notes, part.p_filesz, part.p_align, f->build_id);
		else if (err)
			return err;
		free(notes);
	}
	return 0;
}

/* ---- functions --------------------------------------------------------------------------------------------------- */

/* Sorts by address, then by how little we like the name: the last of an address is the one to show. */
struct order {
	struct function f;
	uint8_t underscores, local;
};

static int by_address(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (x->f.address != y->f.address)
		return x->f.address < y->f.address ? -1 : 1;
	if (x->underscores != y->underscores)
		return x->underscores > y->underscores ? -1 : 1;
	if (x->local != y->local)
		return x->local > y->local ? -1 : 1;
	return x->f.name < y->f.name ? 1 : x->f.name > y->f.name ? -1 : 0;
}

static bool is_function(const struct elf_file *f, const ElfW(Sym) *symbol)
{
	unsigned type = SYMBOL_TYPE(symbol->st_info);

	return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol->st_shndx != SHN_UNDEF && symbol->st_value != 0 &&
	       symbol->st_name < f->names_size && f->names[symbol->st_name] != '\0';
}

/* Functions written in assembler may have no size. */
static uint32_t size_of(const struct sections *sections, const ElfW(Sym) *symbol)
{
	const ElfW(Shdr) *in;
	uint64_t left;

	if (symbol->st_size)
		return symbol->st_size < UINT32_MAX ? (uint32_t)symbol->st_size : UINT32_MAX;
	if (symbol->st_shndx >= sections->n)
		return 0;
	in = &sections->all[symbol->st_shndx];
	if (symbol->st_value < in->sh_addr || symbol->st_value - in->sh_addr >= in->sh_size)
		return 0;
	left = in->sh_size - (symbol->st_value - in->sh_addr);
	return left < SIZELESS_MAX ? (uint32_t)left : SIZELESS_MAX;
}

static struct order order_of(const struct elf_file *f, const ElfW(Sym) *symbol)
{
	const char *name = f->names + symbol->st_name;
	struct order o = { .f = { .address = symbol->st_value, .name = symbol->st_name } };

	o.underscores = (uint8_t)((name[0] == '_') + (name[0] == '_' && name[1] == '_'));
	o.local = SYMBOL_BIND(symbol->st_info) == STB_LOCAL;
	return o;
}

/* A debug file's .symtab has "memcpy@@GLIBC_2.14".  Strings that share their end with others lose the same. */
static void cut_versions(char *names, size_t n)
{
	for (char *at = names; (at = memchr(at, '@', n - (size_t)(at - names))); at++)
		*at = '\0';
}

/* Boils n symbols down to f->functions; f->names is there. */
static int boil_down(struct elf_file *f, const struct sections *sections, const char *symbols, size_t n)
{
	struct order *all = malloc(n * sizeof(*all) + 1);
	size_t count = 0;
	ElfW(Sym) symbol;

	if (!all)
		return ENOMEM;
	for (size_t i = 0; i < n; i++) {
		memcpy(&symbol, symbols + i * sizeof(symbol), sizeof(symbol));
		if (!is_function(f, &symbol))
			continue;
		all[count] = order_of(f, &symbol);
		all[count++].f.size = size_of(sections, &symbol);
	}
	qsort(all, count, sizeof(*all), by_address);
	f->functions = malloc(count * sizeof(*f->functions) + 1);
	for (size_t i = 0; i < count && f->functions; i++)
		if (i + 1 == count || all[i + 1].f.address != all[i].f.address)
			f->functions[f->nfunctions++] = all[i].f;
	free(all);
	return f->functions ? 0 : ENOMEM;
}

static int read_functions(struct elf_file *f, const struct source *s, const struct sections *sections,
	const ElfW(Shdr) *table)
{
	const ElfW(Shdr) *names = &sections->all[table->sh_link];
	char *symbols;
	int err;

	f->names = fetch_new(s, names->sh_offset, names->sh_size, &err);
	if (!f->names)
		return err;
	f->names_size = names->sh_size;
	cut_versions(f->names, f->names_size);
	symbols = fetch_new(s, table->sh_offset, table->sh_size, &err);
	if (!symbols)
		return err;
	err = boil_down(f, sections, symbols, table->sh_size / sizeof(ElfW(Sym)));
	free(symbols);
	return err;
}

/* All headers of sections; none where the file does not hold them all.  0, or ENOMEM. */
static int read_sections(struct sections *sections, const struct source *s, const ElfW(Ehdr) *head)
{
	int err = 0;

	if (head->e_shoff == 0 || head->e_shentsize != sizeof(*sections->all))
		return 0;
	sections->all = fetch_new(s, head->e_shoff, head->e_shnum * sizeof(*sections->all), &err);
	sections->n = sections->all ? head->e_shnum : 0;
	return err;
}

/* Whether its names are there, and both may be kept. */
static bool is_readable(const struct sections *sections, const ElfW(Shdr) *table)
{
	const ElfW(Shdr) *names = table->sh_link < sections->n ? &sections->all[table->sh_link] : NULL;

	return names && names->sh_type == SHT_STRTAB && table->sh_size <= TABLE_MAX && names->sh_size <= NAMES_MAX;
}

/* The section of that type that has symbols; NULL without. */
static const ElfW(Shdr) *find_table(const struct sections *sections, unsigned type)
{
	for (size_t i = 0; i < sections->n; i++) {
		const ElfW(Shdr) *table = &sections->all[i];

		if (table->sh_type == type && table->sh_entsize == sizeof(ElfW(Sym)) && table->sh_size > 0)
			return is_readable(sections, table) ? table : NULL;
	}
	return NULL;
}

static int read_all(struct elf_file *f, const struct source *s)
{
	static const unsigned char kind[] = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
		sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32,
		__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB };
	struct sections sections = { NULL, 0 };
	const ElfW(Shdr) *table;
	ElfW(Ehdr) head;
	int err;

	if (!fetch(s, 0, &head, sizeof(head)) || memcmp(head.e_ident, kind, sizeof(kind)) != 0)
		return ENOEXEC;
	err = read_build_id(f, s, &head);
	if (!err)
		err = read_sections(&sections, s, &head);
	if (err)
		return err;
	table = find_table(&sections, SHT_SYMTAB);
	f->full = table != NULL;
	if (!table)
		table = find_table(&sections, SHT_DYNSYM);
	if (table)
		err = read_functions(f, s, &sections, table);
	free(sections.all);
	return err;
}

static struct elf_file *read_source(const struct source *s)
{
	struct elf_file *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return NULL;
	err = read_all(f, s);
	if (!err)
		return f;
	elf_file_free(f);
	errno = err;
	return NULL;
}

/* ---- for others -------------------------------------------------------------------------------------------------- */

struct elf_file *elf_file_read(const void *image, size_t n)
{
	return read_source(&(struct source){ .fd = -1, .image = image, .size = n });
}

int elf_file_descriptor(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

int elf_file_debug_descriptor(const char *build_id)
{
	char path[BUILD_ID_TEXT + 64];

	if (strlen(build_id) < 3)
		return -ENOENT;
	snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s.debug", build_id, build_id + 2);
	return elf_file_descriptor(path);
}

struct elf_file *elf_file_take(int fd)
{
	struct source s = { .fd = fd };
	struct elf_file *f = NULL;
	struct stat st;
	int err;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	if (fstat(fd, &st) != 0)
		goto out;
	errno = ENOEXEC;
	if (!S_ISREG(st.st_mode))
		goto out;
	s.size = (uint64_t)st.st_size;
	f = read_source(&s);
	if (f) {
		f->device = st.st_dev;
		f->inode = st.st_ino;
	}
out:
	err = errno;
	close(fd);
	errno = err;
	return f;
}

struct elf_file *elf_file_open(const char *path)
{
	return elf_file_take(elf_file_descriptor(path));
}

struct elf_file *elf_file_debug(const char *build_id)
{
	return elf_file_take(elf_file_debug_descriptor(build_id));
}

void elf_file_free(struct elf_file *f)
{
	if (!f)
		return;
	free(f->functions);
	free(f->names);
	free(f);
}

const char *elf_file_build_id(const struct elf_file *f)
{
	return f->build_id;
}

bool elf_file_is(const struct elf_file *f, dev_t device, ino_t inode)
{
	return f->device == device && f->inode == inode;
}

bool elf_file_is_full(const struct elf_file *f)
{
	return f->full;
}

const char *elf_file_function(const struct elf_file *f, uint64_t address, uint64_t *offset)
{
	size_t low = 0, high = f->nfunctions;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (f->functions[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (unsigned tries = 0; low > 0 && tries < NESTED_MAX; tries++) {
		const struct function *fn = &f->functions[--low];

		if (address - fn->address < fn->size) {
			*offset = address - fn->address;
			return f->names + fn->name;
		}
	}
	return NULL;
}
