/* signals.h: SIGTERM, SIGINT, SIGTTIN and SIGTTOU, waited for by a thread of their own. */
#ifndef OL_SIGNALS_H
#define OL_SIGNALS_H

#include "base/checked.h"
#include "base/clock.h"
#include <stdbool.h>
#include <stdint.h>

struct signals;

/* Blocks those four in the calling thread, and so in all threads it starts from now on, and ignores SIGPIPE and
 * SIGXFSZ.  NULL with errno. */
CHECKED struct signals *signals_new(void);

/* Whether one that comes at now_ns is but the first SIGTERM or SIGINT once more: timeout(1), for one, sends it to its
 * child and then to their group.  So is the same one for SIGNALS_SAME_NS.  Remembers the first. */
#define SIGNALS_SAME_NS (500 * NS_PER_MS)
struct signals_first {
	int sig;                        /* 0: none yet */
	uint64_t at_ns;
};
bool signals_same(struct signals_first *first, int sig, uint64_t now_ns);

/* For a process without that thread: a descriptor that can be read when one has come, and the next one of them, but for
 * what is the same; 0: none has.  After fork the child's are its own. */
int signals_fd(const struct signals *s);
int signals_next(struct signals *s);

/* Who is called on the signals' thread. */
struct signals_watcher {
	void (*caught)(void *arg, int sig, unsigned n);     /* n: how many of SIGTERM and SIGINT have come so far */
	bool (*readable)(void *arg);    /* fd can be read, or its other end is closed; false: that is the end of it */
	int fd;                         /* -1: none */
	void *arg;
};

/* Starts the thread that waits for them.  0 or -errno; once. */
CHECKED int signals_watch(struct signals *s, const struct signals_watcher *w);

/* Ends the thread and puts back what signals_new changed.  On the same thread as signals_new.  Takes NULL. */
void signals_free(struct signals *s);

#endif
