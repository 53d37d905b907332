/* lab_work.h: one sample of a workload. */
#ifndef OL_CLI_LAB_WORK_H
#define OL_CLI_LAB_WORK_H

#include "cli/lab.h"
#include "cli/lab_server.h"

enum lab_outcome { LAB_MEASURED, LAB_CANNOT, LAB_FAILED };

/* Measures: *round is the report's object, to be given back, and *foreign how many CPUs others used; or says why not.
 * With LAB_FAILED and lab_stopped() nothing is to be made of it. */
CHECKED enum lab_outcome lab_sample(const struct lab_plan *p, const struct lab_machine *m,
	const struct lab_workload *w, struct lab_server *s, json_t **round, double *foreign, char *why, size_t n);

/* A number rounded to three decimals, for people who read the JSON. */
json_t *lab_number(double v);

#endif
