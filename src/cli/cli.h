/* cli.h: the commands of the `offloop` program, one a file. */
#ifndef OL_CLI_H
#define OL_CLI_H

#include <stddef.h>

struct command {
	const char *name;
	const char *usage;              /* what follows "offloop " */
	const char *summary;            /* one line */
	const char *details;            /* for `offloop help NAME`: lines, each with its end */
	int (*run)(int argc, char **argv);  /* argv[0] is the command's name; the exit status */
};

extern const struct command command_run, command_top, command_advice, command_symbolize, command_lab,
	command_help;

/* All of them, in the order help lists them. */
extern const struct command *const commands[];
extern const size_t ncommands;

/* NULL after one line on stderr, which asks whether the nearest name was meant. */
const struct command *command_find(const char *name);

#endif
