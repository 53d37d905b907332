/* monitor.h: the thread that looks at the loops. */
#ifndef OL_MONITOR_H
#define OL_MONITOR_H

#include "base/checked.h"
#include <stdint.h>

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
};

/* Everything is borrowed until monitor_free.  NULL with errno. */
CHECKED struct monitor *monitor_new(const struct monitor_conf *conf);
/* 0 or -errno. */
CHECKED int monitor_start(struct monitor *m);
/* Ends the thread, if it was started.  Takes NULL. */
void monitor_free(struct monitor *m);

/* How often it looks while there is something to see. */
uint64_t monitor_period(uint64_t limit_ns);

#endif
