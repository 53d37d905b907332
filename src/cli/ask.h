/* ask.h: asks a control plane, for the commands that show what it tells. */
#ifndef OL_CLI_ASK_H
#define OL_CLI_ASK_H

#include "base/checked.h"
#include <stddef.h>

#define ASK_DEFAULT "127.0.0.1:9190" /* --control's default too */

struct answer {
	int status;     /* HTTP's */
	char *body;     /* NUL-terminated; the caller's to free; NULL after an error */
	size_t n;
};

/* GET path at an address of --control's forms (HOST:PORT, [ADDRESS]:PORT, unix:PATH).  Takes 5 s at most, and 64 MiB.
 * 0, whatever the status; or -errno with one line in err that names the address.  Any thread. */
CHECKED int ask(const char *address, const char *path, struct answer *a, char *err, size_t err_n);

/* Whether an address has one of these forms; else one line in err. */
CHECKED int ask_check(const char *address, char *err, size_t err_n);

#endif
