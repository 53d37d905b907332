/* lab_verdict.h: which subject suits which workload, from what was measured. */
#ifndef OL_CLI_LAB_VERDICT_H
#define OL_CLI_LAB_VERDICT_H

#include "base/checked.h"
#include <jansson.h>

/* The report's "verdicts", from its subjects, workloads and cells: a new array with an object for each workload:
 * {"workload", "best": [subject ...], "why", "suits": {subject: "yes"|"fair"|"no"}, "reason": {subject: sentence},
 * "doubt": {subject: sentence}}.  A subject that was not measured there is in "suits" only when it cannot run the
 * workload; each has its reason, and in "doubt" is whose grade rests on disturbed rounds alone.  What the report lacks
 * counts as not measured.  NULL: no memory. */
CHECKED json_t *lab_verdicts(const json_t *report);

/* The report's "limits", by which subjects are graded (lab_grade.c), new: {"rate", "left", "p99_times", "p99_more_ms":
 * {"yes", "fair"}, "tail", "failed", "alike", "alike_one", "alike_ms", "load_busy", "server_left"}.  NULL: no
 * memory. */
CHECKED json_t *lab_limits(void);

/* The report's "conclusion", from its verdicts (lab_conclude.c): a new array of {"for", "workloads": [...], "text"}, a
 * line for each kind of service, and one for all of them.  NULL: no memory. */
CHECKED json_t *lab_conclusion(const json_t *report);

/* Puts all three into the report.  0 or -ENOMEM. */
CHECKED int lab_judge(json_t *report);

#endif
