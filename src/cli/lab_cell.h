/* lab_cell.h: rounds, and what they come to. */
#ifndef OL_CLI_LAB_CELL_H
#define OL_CLI_LAB_CELL_H

#include "cli/lab.h"
#include "cli/lab_server.h"

/* A whole run. */
struct lab_run {
	struct lab_plan plan;
	struct lab_machine machine;
	struct lab_setting how;
	char *folder;                           /* of the peers' files; NULL: none is to run */
	struct lab_found found[LAB_SUBJECTS_MAX];       /* of peers */
	uint64_t repeats_ns;                    /* how long dirty samples may still be taken again */
	unsigned cells, cells_done;
	uint64_t began_ns, told_ns;             /* and when a line was written last */
	json_t *report;                         /* its "cells" grow */
};

/* Measures one workload for all subjects of the plan, round by round, and adds its cells to the report.  After
 * lab_stopped() those that could not be measured any more say so.  0 or -errno. */
CHECKED int lab_cells(struct lab_run *run, unsigned workload);

/* Median and spread of rounds, the clean ones when there are any: {"median": {...}, "spread": {...}} is added to the
 * cell.  0 or -ENOMEM. */
CHECKED int lab_cell_sum(json_t *cell);

/* lab_progress.c: what is going on, on standard error. */
void lab_progress_plan(const struct lab_run *run);
void lab_progress(struct lab_run *run, const char *workload, const char *subject, unsigned round);
void lab_progress_cell(struct lab_run *run, const json_t *cell);

/* How long a run of this plan takes, in seconds, more or less. */
double lab_estimate(const struct lab_plan *p);

#endif
