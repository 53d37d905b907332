/* symbolize.c: `offloop symbolize [FILE ...]`.
 *
 * A server whose files were stripped tells the places in its stacks as build id and address, "5f0c...9b+0x1234".  This
 * command puts function names there: it copies its input to its output, and what looks like such a place is replaced.
 * So it takes log lines, and the JSON of /stalls, and anything else they have been pasted into.
 *
 * A build id is looked for in the files that were named, one with all symbols before one with a few, and then where
 * distributions install debug symbols (/usr/lib/debug/.build-id).  One that is found nowhere is left as it is, and told
 * once on stderr at the end.  Names come from files, so what could break a line or a JSON string is shown as '?'.
 *
 * Exit status: 0; 1 when places were left unresolved for want of a file; 2 when a file named cannot be used.
 */
#include "cli/cli.h"
#include "elf_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_MIN 8 /* hex digits; what is shorter is no build id */
#define ID_MAX (BUILD_ID_TEXT - 1)

struct known {
	char id[BUILD_ID_TEXT];
	struct elf_file *file; /* NULL: there is none */
};

struct known_files {
	struct known *all;
	size_t n;
};

static int remember(struct known_files *files, const char *id, struct elf_file *file)
{
	struct known *all = realloc(files->all, (files->n + 1) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	files->all = all;
	all[files->n].file = file;
	snprintf(all[files->n++].id, BUILD_ID_TEXT, "%s", id);
	return 0;
}

/* 0 or -1 after one line on stderr. */
static int add_file(struct known_files *files, const char *path)
{
	struct elf_file *f = elf_file_open(path);

	if (!f && errno == ENOEXEC)
		fprintf(stderr, "offloop symbolize: %s: not an ELF file of this machine's kind\n", path);
	else if (!f)
		fprintf(stderr, "offloop symbolize: %s: %s\n", path, strerror(errno));
	else if (elf_file_build_id(f)[0] == '\0')
		fprintf(stderr, "offloop symbolize: %s: has no build id: link it with -Wl,--build-id\n", path);
	else if (remember(files, elf_file_build_id(f), f) == 0)
		return 0;
	else
		fprintf(stderr, "offloop symbolize: no memory\n");
	elf_file_free(f);
	return -1;
}

/* The file of that build id; NULL when there is none, which is remembered too. */
static const struct elf_file *file_of(struct known_files *files, const char *id)
{
	const struct elf_file *best = NULL;
	struct elf_file *debug;
	bool met = false;

	for (size_t i = 0; i < files->n; i++) {
		const struct known *k = &files->all[i];

		if (strcmp(k->id, id) != 0)
			continue;
		met = true;
		if (k->file && (!best || (elf_file_is_full(k->file) && !elf_file_is_full(best))))
			best = k->file;
	}
	if (met)
		return best;
	debug = elf_file_debug(id);
	if (remember(files, id, debug) == 0)
		return debug;
	elf_file_free(debug);
	return NULL;
}

/* Whether a place begins at s: its id, its address, and the length of both. */
static size_t place(const char *s, char id[BUILD_ID_TEXT], uint64_t *address)
{
	size_t n = 0, digits = 0;

	while (isxdigit((unsigned char)s[n]) && n <= ID_MAX)
		n++;
	if (n < ID_MIN || n > ID_MAX || strncmp(s + n, "+0x", 3) != 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		id[i] = (char)tolower((unsigned char)s[i]);
	id[n] = '\0';
	n += 3;
	while (isxdigit((unsigned char)s[n + digits]))
		digits++;
	if (digits == 0 || digits > 16)
		return 0;
	*address = strtoull(s + n, NULL, 16);
	return n + digits;
}

static void put_name(const char *name, uint64_t offset)
{
	for (; *name; name++)
		putchar(*name > ' ' && *name <= '~' && *name != '"' && *name != '\\' ? *name : '?');
	printf("+0x%llx", (unsigned long long)offset);
}

static void put_line(struct known_files *files, const char *line, size_t n)
{
	char id[BUILD_ID_TEXT];
	uint64_t address, offset;
	bool inside = false; /* of a word, where no build id begins */

	for (size_t i = 0; i < n;) {
		size_t len = inside ? 0 : place(line + i, id, &address);
		const struct elf_file *f = len ? file_of(files, id) : NULL;
		const char *name = f ? elf_file_function(f, address, &offset) : NULL;

		if (name) {
			put_name(name, offset);
			i += len;
			continue;
		}
		inside = isalnum((unsigned char)line[i]) || line[i] == '_';
		putchar(line[i++]);
	}
}

/* The exit status. */
static int copy(struct known_files *files)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int status = 0;

	while ((n = getline(&line, &room, stdin)) > 0)
		put_line(files, line, (size_t)n);
	free(line);
	if (ferror(stdin) || fflush(stdout) != 0) {
		fprintf(stderr, "offloop symbolize: %s\n", strerror(errno));
		status = 1;
	}
	for (size_t i = 0; i < files->n; i++) {
		if (files->all[i].file)
			continue;
		fprintf(stderr,
			"offloop symbolize: no file has the build id %s: name it, or install its debug symbols\n",
			files->all[i].id);
		status = 1;
	}
	return status;
}

static int run(int argc, char **argv)
{
	struct known_files files = { NULL, 0 };
	int status = 0;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		printf("Usage: offloop %s\n\n%s", command_symbolize.usage, command_symbolize.details);
		return 0;
	}
	for (int i = 1; i < argc && status == 0; i++)
		status = add_file(&files, argv[i]) == 0 ? 0 : 2;
	if (status == 0)
		status = copy(&files);
	for (size_t i = 0; i < files.n; i++)
		elf_file_free(files.all[i].file);
	free(files.all);
	return status;
}

const struct command command_symbolize = { "symbolize", "symbolize [FILE ...]", "put names into stacks, by build id",
	"Copies standard input to standard output and puts function names where it finds a build id and an address,\n"
	"as in 5f0c9b3e...+0x1234: the log of stalls of a stripped server, or what its /stalls tells.  Each FILE is\n"
	"a program, a library or its debug symbols; others are looked for in /usr/lib/debug/.build-id.\n",
	run };
