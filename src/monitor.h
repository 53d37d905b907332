/* monitor.h: the thread that looks at the loops. */
#ifndef OL_MONITOR_H
#define OL_MONITOR_H

#include "base/checked.h"
#include <stdint.h>

struct crew;
struct monitor;
struct stall_book;
struct watch_loop;
struct watch_shared;

struct monitor_conf {
	unsigned loops;
	struct watch_loop *watched;
	struct watch_shared *shared;
	struct stall_book *book;
	uint64_t limit_ns;
	struct crew *crew;              /* NULL: there are no pools */
	void (*tick)(void *arg, uint64_t now_ns);       /* about once a second while it is awake; may be NULL */
	void *tick_arg;
};

/* Everything is borrowed until monitor_free.  NULL with errno. */
CHECKED struct monitor *monitor_new(const struct monitor_conf *conf);
/* 0 or -errno. */
CHECKED int monitor_start(struct monitor *m);
/* Ends the thread, if it runs. */
void monitor_stop(struct monitor *m);
/* Stops it.  Takes NULL. */
void monitor_free(struct monitor *m);

/* How often it looks while there is something to see. */
uint64_t monitor_period(uint64_t limit_ns);

#endif
