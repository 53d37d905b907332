/* lab_guard.h: who ends the servers when the lab cannot, and clears up. */
#ifndef OL_CLI_LAB_GUARD_H
#define OL_CLI_LAB_GUARD_H

#include "base/checked.h"
#include <sys/types.h>

/* Starts the guardian, of which there is one; a folder, unless it is NULL, is to go with the lab.  0 or -errno. */
CHECKED int lab_guard_start(const char *folder);

/* In a child that leads a process group and is about to become a server: its group is to end with the lab. */
void lab_guard_join(void);

/* Nothing is left of this group; to be said while its number cannot be another's. */
void lab_guard_leave(pid_t group);

/* Ends the guardian, and with it the folder, and every group that has not left. */
void lab_guard_stop(void);

#endif
