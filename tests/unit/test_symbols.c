/*
 * test_symbols.c: addresses get the names of their functions, static ones too, from files that may be stripped, cut
 * off, broken or replaced.
 */
#include "elf_file.h"
#include "modules.h"
#include "symbols.h"

#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

static struct symbols *symbols;
static char *image; /* this program's file */
static size_t image_size;

static char *slurp(const char *path, size_t *n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *bytes;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	*n = (size_t)st.st_size;
	bytes = malloc(*n);
	ck_assert_ptr_nonnull(bytes);
	for (size_t have = 0; have < *n;) {
		ssize_t got = read(fd, bytes + have, *n - have);

		ck_assert_int_gt(got, 0);
		have += (size_t)got;
	}
	close(fd);
	return bytes;
}

static void spill(const char *path, const char *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

static void setup(void)
{
	symbols = symbols_new();
	ck_assert_ptr_nonnull(symbols);
	image = slurp("/proc/self/exe", &image_size);
}

static void teardown(void)
{
	symbols_free(symbols);
	free(image);
}

__attribute__((noinline)) static unsigned a_static_function(unsigned n)
{
	__asm__ volatile("");
	return n + 1;
}

static unsigned (*const volatile its_address)(unsigned) = a_static_function;
static int a_datum = 1;

static void is_told_as(uintptr_t address, const char *expected)
{
	char text[SYMBOL_TEXT_MAX], cut[10];

	ck_assert_uint_eq(symbols_format(symbols, address, text, sizeof(text)), strlen(text));
	ck_assert_str_eq(text, expected);
	ck_assert_uint_lt(symbols_format(symbols, address, cut, sizeof(cut)), sizeof(cut));
	ck_assert_int_eq(strncmp(cut, expected, 4), 0);
}

/* ---- this process ------------------------------------------------------------------------------------------------ */

START_TEST(a_static_function_of_the_program_is_named)
{
	is_told_as((uintptr_t)its_address, "a_static_function+0x0 (test_symbols)");
	is_told_as((uintptr_t)its_address + 1, "a_static_function+0x1 (test_symbols)");
}
END_TEST

START_TEST(a_function_of_a_library_is_named_plainly)
{
	void *there = dlsym(RTLD_NEXT, "getppid");
	char text[SYMBOL_TEXT_MAX];

	ck_assert_ptr_nonnull(there);
	symbols_format(symbols, (uintptr_t)there, text, sizeof(text));
	ck_assert_int_eq(strncmp(text, "getppid+0x0 (", 13), 0);
}
END_TEST

START_TEST(what_has_no_name_is_told_by_build_id_and_address)
{
	struct elf_file *f = elf_file_open("/proc/self/exe");
	struct modules *modules = modules_new();
	char expected[SYMBOL_TEXT_MAX];

	ck_assert(f && modules);
	ck_assert_uint_ge(strlen(elf_file_build_id(f)), 16);
	snprintf(expected, sizeof(expected), "%s+0x%llx (test_symbols)", elf_file_build_id(f),
		(unsigned long long)((uintptr_t)&a_datum - modules_find(modules, (uintptr_t)&a_datum)->base));
	is_told_as((uintptr_t)&a_datum, expected);
	is_told_as(0x10, "0x10");
	elf_file_free(f);
	modules_free(modules);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_now_is_read_later)
{
	void *there = dlsym(RTLD_NEXT, "getppid");
	char text[SYMBOL_TEXT_MAX];
	struct rlimit was, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	symbols_format(symbols, (uintptr_t)there, text, sizeof(text));
	ck_assert_ptr_null(strstr(text, "getppid"));
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	symbols_format(symbols, (uintptr_t)there, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "getppid"));
}
END_TEST

START_TEST(the_kernels_own_library_is_read_from_memory)
{
	uintptr_t at = (uintptr_t)getauxval(AT_SYSINFO_EHDR);
	struct modules *modules = modules_new();
	const struct module *m = modules_find(modules, at);
	struct elf_file *f;

	if (at && m) {
		ck_assert(m->in_memory);
		f = elf_file_read((const void *)m->low, m->high - m->low);
		ck_assert_ptr_nonnull(f);
		ck_assert_str_eq(elf_file_build_id(f), m->build_id);
		elf_file_free(f);
	}
	modules_free(modules);
}
END_TEST

/* ---- the list of files ------------------------------------------------------------------------------------------- */

static bool watching;
static size_t allocated_there;

#ifndef SANITIZED
static size_t times_asked_back;
static int (*asked_back)(struct dl_phdr_info *info, size_t size, void *arg);

static int watched(struct dl_phdr_info *info, size_t size, void *arg)
{
	size_t before = mallinfo2().uordblks;
	int rc = asked_back(info, size, arg);

	allocated_there += mallinfo2().uordblks - before;
	times_asked_back++;
	return rc;
}

/* In place of the loader's, for all of this program; a sanitizer has one of its own there. */
int dl_iterate_phdr(int (*fn)(struct dl_phdr_info *info, size_t size, void *arg), void *arg)
{
	int (*real)(int (*)(struct dl_phdr_info *, size_t, void *), void *);

	*(void **)&real = dlsym(RTLD_NEXT, "dl_iterate_phdr");
	asked_back = fn;
	return real(watching ? watched : fn, arg);
}
#endif

#define LIBRARIES 40

/* More than is reserved at first. */
START_TEST(nothing_is_allocated_while_the_loader_is_asked)
{
	char folder[] = "/tmp/offloop-symbols-XXXXXX", path[LIBRARIES][64];
	void *library[LIBRARIES];
	struct modules *modules;
	bool changed;
	Dl_info where;
	json_t *used = json_object();
	char *bytes;
	size_t n;

	ck_assert_int_ne(dladdr(dlsym(RTLD_DEFAULT, "json_object"), &where), 0);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	bytes = slurp(where.dli_fname, &n);
	watching = true;
	modules = modules_new();
	ck_assert_ptr_nonnull(modules);
	watching = false;
	for (unsigned i = 0; i < LIBRARIES; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/copy-%u.so", folder, i);
		spill(path[i], bytes, n);
		library[i] = dlopen(path[i], RTLD_NOW | RTLD_LOCAL);
		ck_assert_ptr_nonnull(library[i]);
	}
	watching = true;
	ck_assert_int_eq(modules_refresh(modules, &changed), 0);
	ck_assert(changed);
	ck_assert_int_eq(modules_refresh(modules, &changed), 0);
	ck_assert(!changed);
	watching = false;
	for (unsigned i = 0; i < LIBRARIES; i++) {
		const struct module *m = modules_find(modules, (uintptr_t)dlsym(library[i], "json_object"));

		ck_assert_ptr_nonnull(m);
		ck_assert_str_eq(m->path, path[i]);
		ck_assert_str_eq(m->name, strrchr(path[i], '/') + 1);
		ck_assert_int_eq(dlclose(library[i]), 0);
		ck_assert_int_eq(unlink(path[i]), 0);
	}
#ifndef SANITIZED
	ck_assert_uint_gt(times_asked_back, LIBRARIES);
#endif
	ck_assert_uint_eq(allocated_there, 0);
	ck_assert_int_eq(rmdir(folder), 0);
	modules_free(modules);
	free(bytes);
	json_decref(used);
}
END_TEST

/* An upgrade puts another file in its place while the old one runs on. */
START_TEST(a_file_that_was_replaced_is_not_believed)
{
	char folder[] = "/tmp/offloop-symbols-XXXXXX", path[64], text[SYMBOL_TEXT_MAX], id[BUILD_ID_TEXT];
	struct modules *modules;
	Dl_info where;
	json_t *used = json_object(); /* else the linker would leave the library out */
	void *library, *function;
	char *bytes;
	size_t n;

	ck_assert_int_ne(dladdr(dlsym(RTLD_DEFAULT, "json_object"), &where), 0);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/copy.so", folder);
	bytes = slurp(where.dli_fname, &n);
	spill(path, bytes, n);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	ck_assert_ptr_nonnull(library);
	function = dlsym(library, "json_object");
	modules = modules_new();
	memcpy(id, modules_find(modules, (uintptr_t)function)->build_id, sizeof(id));
	modules_free(modules);
	ck_assert_uint_gt(strlen(id), 0);

	ck_assert_int_eq(unlink(path), 0);
	spill(path, image, image_size);
	symbols_format(symbols, (uintptr_t)function, text, sizeof(text));
	ck_assert_int_eq(strncmp(text, id, strlen(id)), 0);
	ck_assert_ptr_nonnull(strstr(text, " (copy.so)"));

	ck_assert_int_eq(dlclose(library), 0);
	symbols_format(symbols, (uintptr_t)function, text, sizeof(text));
	ck_assert_ptr_null(strstr(text, "copy.so"));
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	free(bytes);
	json_decref(used);
}
END_TEST

/* Makes the note with the build id one of another kind. */
static void take_build_id(char *bytes, size_t n)
{
	static const char head[] = { 3, 0, 0, 0, 'G', 'N', 'U', 0 };
	char *note = memmem(bytes, n, head, sizeof(head));

	ck_assert_ptr_nonnull(note);
	note[0] = 99;
}

START_TEST(a_file_without_a_build_id_is_believed_while_it_is_the_one_that_runs)
{
	char folder[] = "/tmp/offloop-symbols-XXXXXX", path[64], text[SYMBOL_TEXT_MAX];
	json_t *used = json_object();
	void *library, *function;
	char *bytes, *name;
	Dl_info where;
	size_t n;

	ck_assert_int_ne(dladdr(dlsym(RTLD_DEFAULT, "json_object"), &where), 0);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/copy.so", folder);
	bytes = slurp(where.dli_fname, &n);
	take_build_id(bytes, n);
	spill(path, bytes, n);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	ck_assert_ptr_nonnull(library);
	function = dlsym(library, "json_object");
	if (_i)         /* another one in its place, with other names */
		ck_assert_int_eq(unlink(path), 0);
	while (_i && (name = memmem(bytes, n, "json_object", sizeof("json_object"))))
		memcpy(name, "some_others", sizeof("some_others"));
	if (_i)
		spill(path, bytes, n);
	symbols_format(symbols, (uintptr_t)function, text, sizeof(text));
	ck_assert_int_eq(strncmp(text, _i ? "copy.so+0x" : "json_object+0x0 ", _i ? 10 : 16), 0);
	ck_assert_int_eq(dlclose(library), 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	free(bytes);
	json_decref(used);
}
END_TEST

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* As by a server that gives up its privileges, or its root: nothing can be opened any more. */
START_TEST(a_file_that_was_opened_is_read_when_it_can_no_longer_be_opened)
{
	char folder[] = "/tmp/offloop-symbols-XXXXXX", path[64];
	unsigned before = descriptors();
	void *library, *function;
	json_t *used = json_object();
	Dl_info where;
	char *bytes;
	size_t n;

	ck_assert_int_ne(dladdr(dlsym(RTLD_DEFAULT, "json_object"), &where), 0);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/copy.so", folder);
	bytes = slurp(where.dli_fname, &n);
	if (_i == 2)
		take_build_id(bytes, n);        /* such a one is read at once */
	spill(path, bytes, n);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	ck_assert_ptr_nonnull(library);
	function = dlsym(library, "json_object");
	symbols_open(symbols, (uintptr_t)function);
	if (_i < 2)
		ck_assert_uint_gt(descriptors(), before);
	symbols_open(symbols, (uintptr_t)function + 1);
	ck_assert_int_eq(unlink(path), 0);
	if (_i == 1)
		ck_assert(!symbols_read_one(symbols));
	is_told_as((uintptr_t)function, "json_object+0x0 (copy.so)");
	ck_assert_uint_eq(descriptors(), before);
	ck_assert(!symbols_read_one(symbols));
	ck_assert_int_eq(dlclose(library), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	free(bytes);
	json_decref(used);
}
END_TEST

/* One is unloaded before it is read; the others are never read. */
START_TEST(what_was_opened_is_closed)
{
	char folder[] = "/tmp/offloop-symbols-XXXXXX", path[64];
	unsigned before = descriptors();
	json_t *used = json_object();
	struct symbols *own = symbols_new();
	void *library;
	Dl_info where;
	char *bytes;
	size_t n;

	ck_assert_ptr_nonnull(own);
	ck_assert_int_ne(dladdr(dlsym(RTLD_DEFAULT, "json_object"), &where), 0);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/copy.so", folder);
	bytes = slurp(where.dli_fname, &n);
	spill(path, bytes, n);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	ck_assert_ptr_nonnull(library);
	symbols_open(own, (uintptr_t)its_address);
	symbols_open(own, (uintptr_t)where.dli_saddr);
	symbols_open(own, (uintptr_t)dlsym(library, "json_object"));
	ck_assert_int_eq(dlclose(library), 0);
	ck_assert(symbols_read_one(own));
	symbols_free(own);
	ck_assert_uint_eq(descriptors(), before);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	free(bytes);
	json_decref(used);
}
END_TEST

/* ---- files ------------------------------------------------------------------------------------------------------- */

static uint64_t address_in_file(void)
{
	struct modules *modules = modules_new();
	uintptr_t address = (uintptr_t)its_address;

	address -= modules_find(modules, address)->base;
	modules_free(modules);
	return address;
}

static const char *name_in(const struct elf_file *f)
{
	uint64_t offset;
	const char *name = elf_file_function(f, address_in_file() + 1, &offset);

	ck_assert(!name || offset <= address_in_file() + 1);
	return name;
}

START_TEST(a_stripped_file_still_has_its_build_id)
{
	struct elf_file *whole = elf_file_read(image, image_size), *stripped;
	ElfW(Ehdr) *head = (ElfW(Ehdr) *)(void *)image;

	ck_assert_ptr_nonnull(whole);
	ck_assert(elf_file_is_full(whole));
	ck_assert_str_eq(name_in(whole), "a_static_function");
	for (size_t i = 0; i < head->e_shnum; i++) {
		ElfW(Shdr) *section = (ElfW(Shdr) *)(void *)(image + head->e_shoff) + i;

		if (section->sh_type == SHT_SYMTAB)
			section->sh_type = SHT_NULL;
	}
	stripped = elf_file_read(image, image_size);
	ck_assert_ptr_nonnull(stripped);
	ck_assert(!elf_file_is_full(stripped));
	ck_assert(!name_in(stripped) || strcmp(name_in(stripped), "a_static_function") != 0);
	ck_assert_str_eq(elf_file_build_id(stripped), elf_file_build_id(whole));
	elf_file_free(stripped);
	elf_file_free(whole);
}
END_TEST

/* As the table of a libc's debug file has them: memcpy@@GLIBC_2.14. */
START_TEST(the_version_of_a_symbol_is_not_told)
{
	struct elf_file *f;
	char *name;

	while ((name = memmem(image, image_size, "a_static_function", sizeof("a_static_function"))))
		memcpy(name, "a_static_fn@@V2.0", sizeof("a_static_fn@@V2.0"));
	f = elf_file_read(image, image_size);
	ck_assert_ptr_nonnull(f);
	ck_assert_str_eq(name_in(f), "a_static_fn");
	elf_file_free(f);
}
END_TEST

/* Each copy lies in memory of its own size, so that a sanitizer sees a byte read behind its end. */
START_TEST(a_file_cut_off_anywhere_is_harmless)
{
	size_t step = image_size / 300 + 1;

	for (size_t n = 0; n < image_size; n += n < 2048 ? 7 : step) {
		char *cut = malloc(n + 1);
		struct elf_file *f;

		ck_assert_ptr_nonnull(cut);
		memcpy(cut, image, n);
		f = elf_file_read(cut, n);
		if (f)
			name_in(f);
		else
			ck_assert_int_eq(errno, ENOEXEC);
		elf_file_free(f);
		free(cut);
	}
}
END_TEST

static void break_byte(size_t at)
{
	static const unsigned char values[] = { 0x00, 0x7f, 0x80, 0xff };
	char old = image[at];
	struct elf_file *f;

	image[at] = (char)values[at % sizeof(values)];
	f = elf_file_read(image, image_size);
	if (f)
		name_in(f);
	elf_file_free(f);
	image[at] = old;
}

START_TEST(a_file_with_broken_headers_is_harmless)
{
	const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)(const void *)image;
	size_t sections = head->e_shoff, n = head->e_shnum * sizeof(ElfW(Shdr));

	for (size_t at = 0; at < sizeof(*head); at++)
		break_byte(at);
	for (size_t at = 0; at < n; at += 3)
		break_byte(sections + at);
}
END_TEST

/* Its table of symbols would take more memory than a server should spend on names. */
START_TEST(a_table_beyond_all_measure_is_left_alone)
{
	char path[] = "/tmp/offloop-symbols-XXXXXX";
	ElfW(Ehdr) *head = (ElfW(Ehdr) *)(void *)image;
	struct elf_file *f;
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	for (size_t i = 0; i < head->e_shnum; i++) {
		ElfW(Shdr) *section = (ElfW(Shdr) *)(void *)(image + head->e_shoff) + i;

		if (section->sh_type == SHT_SYMTAB)
			section->sh_size = (uint64_t)40 << 20;
	}
	spill(path, image, image_size);
	ck_assert_int_eq(ftruncate(fd, (off_t)1 << 30), 0);
	f = elf_file_open(path);
	ck_assert_ptr_nonnull(f);
	ck_assert(!elf_file_is_full(f));
	ck_assert(!name_in(f) || strcmp(name_in(f), "a_static_function") != 0);
	ck_assert_uint_ge(strlen(elf_file_build_id(f)), 16);
	elf_file_free(f);
	close(fd);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(what_is_no_elf_file_is_refused)
{
	ck_assert_ptr_null(elf_file_open("/dev/null"));
	ck_assert_int_eq(errno, ENOEXEC);
	ck_assert_ptr_null(elf_file_open("/"));
	ck_assert_int_eq(errno, ENOEXEC);
	ck_assert_ptr_null(elf_file_open("/nonexistent"));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_null(elf_file_read("\177ELF", 4));
	ck_assert_int_eq(errno, ENOEXEC);
	ck_assert_ptr_null(elf_file_debug("no"));
	ck_assert_ptr_null(elf_file_debug("00000000000000000000"));
}
END_TEST

START_TEST(a_build_id_is_found_among_notes)
{
	static const unsigned char notes[] = {
		4,
		0,
		0,
		0,
		2,
		0,
		0,
		0,
		9,
		0,
		0,
		0,
		'G',
		'N',
		'U',
		0,
		1,
		2,
		0,
		0, /* another one */
		4,
		0,
		0,
		0,
		3,
		0,
		0,
		0,
		3,
		0,
		0,
		0,
		'G',
		'N',
		'U',
		0,
		0xab,
		0xcd,
		0xef,
		0,
	};
	static const unsigned char endless[] = { 255, 255, 255, 255, 255, 255, 255, 255, 3, 0, 0, 0, 'G', 'N', 'U', 0 };
	char id[BUILD_ID_TEXT];

	ck_assert(elf_notes_build_id(notes, sizeof(notes), 4, id));
	ck_assert_str_eq(id, "abcdef");
	for (size_t n = 0; n + 1 < sizeof(notes); n++)
		ck_assert(!elf_notes_build_id(notes, n, 4, id));
	ck_assert(!elf_notes_build_id(endless, sizeof(endless), 4, id));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("symbols");
	TCase *tc = tcase_create("symbols");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_static_function_of_the_program_is_named);
	tcase_add_test(tc, a_function_of_a_library_is_named_plainly);
	tcase_add_test(tc, what_has_no_name_is_told_by_build_id_and_address);
	tcase_add_test(tc, a_file_that_cannot_be_opened_now_is_read_later);
	tcase_add_test(tc, the_kernels_own_library_is_read_from_memory);
	tcase_add_test(tc, nothing_is_allocated_while_the_loader_is_asked);
	tcase_add_test(tc, a_file_that_was_replaced_is_not_believed);
	tcase_add_loop_test(tc, a_file_without_a_build_id_is_believed_while_it_is_the_one_that_runs, 0, 2);
	tcase_add_loop_test(tc, a_file_that_was_opened_is_read_when_it_can_no_longer_be_opened, 0, 3);
	tcase_add_test(tc, what_was_opened_is_closed);
	tcase_add_test(tc, a_stripped_file_still_has_its_build_id);
	tcase_add_test(tc, the_version_of_a_symbol_is_not_told);
	tcase_add_test(tc, a_file_cut_off_anywhere_is_harmless);
	tcase_add_test(tc, a_file_with_broken_headers_is_harmless);
	tcase_add_test(tc, a_table_beyond_all_measure_is_left_alone);
	tcase_add_test(tc, what_is_no_elf_file_is_refused);
	tcase_add_test(tc, a_build_id_is_found_among_notes);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
