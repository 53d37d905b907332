/* lateness.h: how far the monitor can trust the times it sees, since the machine may have stood still meanwhile. */
#ifndef OL_LATENESS_H
#define OL_LATENESS_H

#include <stdbool.h>
#include <stdint.h>

/* What it goes by: the monitor's thread's, or a test's. */
struct lateness_clock {
	uint64_t (*now_ns)(void *arg);
	uint64_t (*suspended_ns)(void *arg);    /* how long the machine has been suspended, ever */
	/* This thread's times: on a CPU, and runnable without one; false: not known. */
	bool (*times)(void *arg, uint64_t *cpu_ns, uint64_t *waited_ns);
	void *arg;
};

struct lateness {
	struct lateness_clock clock;
	uint64_t looked_ns;             /* the last look */
	uint64_t lost_ns;               /* all the time the machine stood still, as far as is certain */
	uint64_t doubt_ns;              /* the same with all its margins */
	uint64_t margin_ns;             /* as much more may have been lost before the last look; 0: it was in time */
	uint64_t hidden_ns;             /* and that more, if it looked as if who has stood still were blocked */
	uint64_t hiding_ns;             /* the same, since the last look began */
	uint64_t gap_ns;                /* what may have been lost between the beginnings of the last two */
	uint64_t noted_ns;              /* lost since the last began */
	bool away;                      /* it has done other things than to sleep since the last look */
	bool woken;                     /* the last look was made before it was due */
	uint64_t waited_now_ns;         /* for a CPU, before it; 0 as well when it was in time and did not ask */
	uint64_t explained_ns;          /* as much of that as no earlier look can have waited */
	uint64_t due_ns;                /* the next look; NEVER: it sleeps until it is woken */
	uint64_t rested_ns;             /* since when nothing is to be done until then */
	uint64_t told_ns;               /* up to here, what a look took has been explained */
	uint64_t cpu_ns, waited_ns;     /* its times, when it last asked */
	uint64_t unasked_ns;            /* how long looks took since, and were late: no more have they used of both */
	uint64_t suspended_ns;
};

void lateness_init(struct lateness *l, const struct lateness_clock *clock);

/* It was to be woken at since_ns, before its next look was due: to be told before that look. */
void lateness_wake(struct lateness *l, uint64_t since_ns);

/* A look begins. */
void lateness_look(struct lateness *l);

/* During a look, before what it has seen is judged: takes note of what it has lost so far. */
void lateness_note(struct lateness *l);

/* A look is over; the next is made at due_ns, or now when that has gone by. */
void lateness_rest(struct lateness *l, uint64_t due_ns);

/* Before the next look, this thread does other things than to sleep. */
void lateness_leave(struct lateness *l);

/* What one hold is granted for it: so much of its time cannot be held against who holds. */
struct lateness_grant {
	uint64_t lost_ns;               /* the monitor's, when it was first seen */
	uint64_t unseen_ns;             /* of what went by before, so much may have been lost */
	uint64_t margin_ns, hidden_ns;  /* and besides what was lost since: the greatest of its looks' */
};

/* During the look that has first seen a hold, which began at start_ns. */
void lateness_first(struct lateness *l, struct lateness_grant *g, uint64_t start_ns, uint64_t period_ns);

/* A later look at it has begun, or that which has found it over. */
void lateness_again(const struct lateness *l, struct lateness_grant *g);

/* During a look: what was lost of it up to now, with the margin; and what more may be hidden, in g->hidden_ns. */
uint64_t lateness_granted(struct lateness *l, struct lateness_grant *g);

#endif
