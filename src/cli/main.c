/* main.c: the `offloop` program.
 *
 * A table of commands, each in a file of its own; this one finds the command that argv names.  The program uses the
 * library as any app does, through its public names, so that an app it loads and the program share one copy of the
 * library.
 *
 * Exit status: the command's; 2 when there is no such command.
 */
#include "base/nearest.h"
#include "cli/cli.h"
#include "offloop.h"

#include <stdio.h>
#include <string.h>

const struct command *const commands[] = { &command_run, &command_top, &command_advice,
	&command_symbolize, &command_lab, &command_help };
const size_t ncommands = sizeof(commands) / sizeof(commands[0]);

const struct command *command_find(const char *name)
{
	struct nearest nearest = { .wanted = name };

	for (size_t i = 0; i < ncommands; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
		nearest_offer(&nearest, commands[i]->name);
	}
	if (nearest.best)
		fprintf(stderr, "offloop: unknown command \"%s\": did you mean %s?\n", name, nearest.best);
	else
		fprintf(stderr, "offloop: unknown command \"%s\": offloop help lists them\n", name);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct command *command;
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		fprintf(stderr, "offloop: a command is missing: offloop help lists them\n");
		return 2;
	}
	if (strcmp(name, "--version") == 0) {
		printf("offloop %s\n", OL_VERSION);
		return 0;
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	command = command_find(name);
	return command ? command->run(argc - 1, argv + 1) : 2;
}
