/* signals.h: SIGTERM, SIGINT, SIGTTIN and SIGTTOU, waited for by a thread of their own. */
#ifndef OL_SIGNALS_H
#define OL_SIGNALS_H

#include "base/checked.h"

struct signals;

/* Blocks those four in the calling thread, and so in all threads it starts from now on, and ignores SIGPIPE and
 * SIGXFSZ.  NULL with errno. */
CHECKED struct signals *signals_new(void);

/* Starts the thread that waits for them: caught(arg, signal, n) is called there for each; n says how many of SIGTERM
 * and SIGINT have come so far.  0 or -errno; once. */
CHECKED int signals_watch(struct signals *s, void (*caught)(void *arg, int sig, unsigned n), void *arg);

/* Ends the thread and puts back what signals_new changed.  On the same thread as signals_new.  Takes NULL. */
void signals_free(struct signals *s);

#endif
