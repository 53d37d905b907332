/* lab_by_hand.c: `offloop lab peer NAME DIR`, which lays a peer out so that somebody can start it.
 *
 * The report shows the command of each subject.  A model's can be repeated as it stands; a peer's needs the files that
 * it runs, which are part of this program and were in a folder that went with the run.  This makes such a folder, at a
 * place of the user's, which must be new or empty, and prints the command, with as many processes as a run here would
 * give it.  Nothing is started.
 *
 * Exit status: 0; 1 when the peer is not installed or the folder cannot be made; 2 for wrong arguments.
 */
#include "base/nearest.h"
#include "cli/lab.h"
#include "cli/lab_peers.h"
#include "cli/lab_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PORT 8000

/* NULL after a line that names those that are. */
static const struct lab_peer *find(const char *name)
{
	struct nearest nearest = { .wanted = name };

	for (size_t i = 0; i < lab_npeers; i++) {
		if (strcmp(lab_peers[i].name, name) == 0)
			return &lab_peers[i];
		nearest_offer(&nearest, lab_peers[i].name);
	}
	fprintf(stderr, "offloop lab peer: there is no peer \"%.60s\": ", name);
	if (nearest.best)
		fprintf(stderr, "did you mean %s?", nearest.best);
	else
		for (size_t i = 0; i < lab_npeers; i++)
			fprintf(stderr, "%s%s", i ? ", " : "there are ", lab_peers[i].name);
	fprintf(stderr, "\n");
	return NULL;
}

/* 0 or -errno, after a line. */
static int lay_out(const struct lab_peer *peer, const char *program, char *folder)
{
	struct lab_machine machine;
	char *enter[] = { "cd", folder, NULL }, **argv = NULL, *line = NULL, *cd = lab_line_of(enter);
	int rc = cd ? lab_machine_init(&machine) : -ENOMEM;

	if (rc == 0 && mkdir(folder, 0777) && errno != EEXIST)
		rc = -errno;
	if (rc == 0)
		rc = lab_peer_write(peer, folder, PORT, machine.server_cpus);
	if (rc == 0 && (!(argv = lab_peer_command(peer, program, PORT, machine.server_cpus)) ||
		!(line = lab_line_of(argv))))
		rc = -ENOMEM;
	if (rc)
		fprintf(stderr, "offloop lab peer: %s: %s\n", folder, strerror(-rc));
	else
		printf("%s && %s\n", cd, line);
	free(cd);
	free(argv);
	free(line);
	return rc;
}

int lab_peer(int argc, char **argv)
{
	const struct lab_peer *peer;
	struct lab_found found;
	int rc;

	if (argc != 3 || argv[1][0] == '-') {
		fprintf(stderr, "offloop lab peer: expected NAME and DIR, as in: offloop lab peer fastapi ./fastapi\n");
		return 2;
	}
	if (!(peer = find(argv[1])))
		return 2;
	if ((rc = lab_peer_find(peer, &found))) {
		fprintf(stderr, "offloop lab peer: %s\n", strerror(-rc));
		return 1;
	}
	if (found.program)
		rc = lay_out(peer, found.program, argv[2]);
	else
		fprintf(stderr, "offloop lab peer: %s is not installed: %s\n", peer->name, found.why);
	rc = rc || !found.program;
	lab_found_fini(&found);
	return rc;
}
