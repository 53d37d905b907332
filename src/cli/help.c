/* help.c: `offloop help [COMMAND]`.
 *
 * Lists the commands, or says more of one.  What there is to say stands with each command, in its own file, so this one
 * knows none of them by name.  The options of an app are not repeated here: `offloop run APP.so --help` prints the
 * table that ol_main reads them with, the app's own among them.
 */
#include "cli/cli.h"

#include <stdio.h>

static void list(void)
{
	printf("Usage: offloop COMMAND ...\n\n");
	for (size_t i = 0; i < ncommands; i++)
		printf("  %-34s %s\n", commands[i]->usage, commands[i]->summary);
	printf("\noffloop help COMMAND says more of one; offloop --version tells the version.\n");
}

static int run(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		list();
		return 0;
	}
	command = command_find(argv[1]);
	if (!command)
		return 2;
	printf("Usage: offloop %s\n\n%s", command->usage, command->details);
	return 0;
}

const struct command command_help = { "help", "help [COMMAND]", "list the commands, or say more of one",
	"Lists the commands, or says more of one.\n", run };
