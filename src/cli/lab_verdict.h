/* lab_verdict.h: which subject suits which workload, from what was measured. */
#ifndef OL_CLI_LAB_VERDICT_H
#define OL_CLI_LAB_VERDICT_H

#include "base/checked.h"
#include <jansson.h>

/* The report's "verdicts", from its subjects, workloads and cells: a new array with an object for each workload:
 * {"workload", "best": [subject ...], "why", "suits": {subject: "yes"|"fair"|"no"}, "reason": {subject: sentence}}.  A
 * subject that was not measured there is in "suits" only when it cannot run the workload; each has its reason.  What
 * the report lacks counts as not measured.  NULL: no memory. */
CHECKED json_t *lab_verdicts(const json_t *report);

/* The report's "limits", by which subjects are graded, new: {"rate", "left", "p99_times", "p99_more_ms": {"yes",
 * "fair"}, "tail", "failed"}.  NULL: no memory. */
CHECKED json_t *lab_limits(void);

#endif
