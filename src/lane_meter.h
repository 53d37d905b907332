/* lane_meter.h: what a thread spends its time in while it runs code of the app's. */
#ifndef OL_LANE_METER_H
#define OL_LANE_METER_H

#include "lane_rule.h"

/* One stretch after the other, on one thread. */
struct lane_meter {
	uint64_t begun_ns, cpu_ns;      /* the present stretch's beginning; the thread's CPU time then, */
	long slept, preempted;          /* and how often it had slept, or lost its CPU */
	unsigned outside;               /* depth of what suspends: no stretch is open */
	uint64_t longest_ns;            /* of all stretches */
	uint64_t certain_ns;            /* the longest, as far as it was certainly not spent waiting for a CPU */
	bool has_slept;                 /* in one of them */
};

/* The first stretch begins; clears the meter. */
void lane_meter_begin(struct lane_meter *m);

/* The code waits where a fiber would be suspended, from `pause` until `go_on`: no stretch is open.  They nest. */
void lane_meter_pause(struct lane_meter *m);
void lane_meter_go_on(struct lane_meter *m);

/* The last stretch is over; if the code pauses, it was. */
void lane_meter_end(struct lane_meter *m);

/* The same for a meter of one stretch: true when it was at least limit_ns long; only then the meter says more. */
CHECKED bool lane_meter_end_over(struct lane_meter *m, uint64_t limit_ns);

/* What the longest stretch is due to, for who asks whether it was over limit_ns. */
enum lane_cause lane_meter_cause(const struct lane_meter *m, uint64_t limit_ns);

#endif
