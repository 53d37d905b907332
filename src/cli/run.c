/* run.c: `offloop run APP.so[:SYMBOL] [options]`.
 *
 * Loads an app from a shared object and runs it as its own main would: ol_main does the rest, with the same table of
 * options, and is told the program's name as "offloop run APP.so".  The symbol is a `const struct ol_app`, "app" when
 * none is named; a colon behind the last slash separates it.  A name without a slash is a file of the working
 * directory: the search path of shared libraries is no place for apps.
 *
 * Whether the symbol is an app at all shows in the size it begins with; ol_main looks at that.  The object stays loaded
 * until the process ends, since the app's threads may still be in its code.
 *
 * The loader's own words do for what a shared object lacks.  Of a file that is none they tell little, so we look at its
 * head ourselves, and say what it is and what is wanted.
 */
#include "cli/cli.h"
#include "offloop.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUILD "cc -shared -fPIC app.c -o app.so $(pkg-config --cflags --libs offloop)"

/* Copies target's file, made a path, and gives its symbol; NULL after one line on stderr. */
static const char *split(const char *target, char *path, size_t n)
{
	const char *slash = strrchr(target, '/'), *colon = strchr(slash ? slash : target, ':');
	size_t len = colon ? (size_t)(colon - target) : strlen(target);
	const char *symbol = colon ? colon + 1 : "app";

	if (len == 0 || *symbol == 0) {
		fprintf(stderr, "offloop run: \"%s\": expected APP.so or APP.so:SYMBOL\n", target);
		return NULL;
	}
	if ((size_t)snprintf(path, n, "%s%.*s", slash ? "" : "./", (int)len, target) >= n) {
		fprintf(stderr, "offloop run: the path is longer than %zu bytes\n", n - 1);
		return NULL;
	}
	return symbol;
}

/* Whether it names a loader: it is to be started, then. */
static bool has_interpreter(int fd, const ElfW(Ehdr) *head)
{
	ElfW(Phdr) part;

	for (unsigned i = 0; i < head->e_phnum; i++) {
		off_t at = (off_t)(head->e_phoff + (size_t)i * sizeof(part));

		if (pread(fd, &part, sizeof(part), at) != sizeof(part))
			return false;
		if (part.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* What a file is that could not be loaded; NULL: a shared object, or unreadable, which the loader has said. */
static const char *other_kind(const char *path)
{
	ElfW(Ehdr) head = { .e_type = ET_NONE };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *kind = NULL;
	ssize_t n = fd >= 0 ? pread(fd, &head, sizeof(head), 0) : -1;

	if (n >= 0 && (n < SELFMAG || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0))
		kind = "no shared object";
	else if (n == sizeof(head) && head.e_type == ET_REL)
		kind = "an object file";
	else if (n == sizeof(head) && (head.e_type == ET_EXEC || has_interpreter(fd, &head)))
		kind = "a program, which is started by itself";
	if (fd >= 0)
		close(fd);
	return kind;
}

static void complain(const char *path, const char *why)
{
	const char *kind = other_kind(path);

	if (kind)
		fprintf(stderr, "offloop run: %s is %s: a shared object is made by " BUILD "\n", path, kind);
	else
		fprintf(stderr, "offloop run: %s\n", why);
}

static const struct ol_app *load(const char *path, const char *symbol)
{
	void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct ol_app *app = object ? dlsym(object, symbol) : NULL;

	if (!object)
		complain(path, dlerror());
	else if (!app)
		fprintf(stderr, "offloop run: %s has no symbol \"%s\": it must hold a const struct ol_app\n", path,
			symbol);
	return app;
}

static int run(int argc, char **argv)
{
	char path[PATH_MAX], name[PATH_MAX + 16];
	const struct ol_app *app;
	const char *symbol;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		printf("Usage: offloop %s\n\n%s", command_run.usage, command_run.details);
		return 0;
	}
	if (argc < 2 || argv[1][0] == '-') {
		fprintf(stderr, "offloop run: the app comes first, as in offloop run ./app.so --port 8000\n");
		return 2;
	}
	symbol = split(argv[1], path, sizeof(path));
	app = symbol ? load(path, symbol) : NULL;
	if (!app)
		return 2;
	snprintf(name, sizeof(name), "offloop run %s", argv[1]);
	argv[1] = name;
	return ol_main(argc - 1, argv + 1, app);
}

const struct command command_run = { "run", "run APP.so[:SYMBOL] [OPTION ...]", "run an app from a shared object",
	"Loads APP.so and runs the struct ol_app named SYMBOL (\"app\" when not given) until SIGTERM or SIGINT.\n"
	"A name without a slash is a file of the working directory.  offloop run APP.so --help lists the options.\n",
	run };
