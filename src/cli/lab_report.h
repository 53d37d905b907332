/* lab_report.h: a run's report as one page that needs nothing else. */
#ifndef OL_CLI_LAB_REPORT_H
#define OL_CLI_LAB_REPORT_H

#include "base/checked.h"
#include "base/buf.h"
#include <jansson.h>

/* Writes the report as an HTML page at path: all of it or, on an error, nothing, with what stood there before left as
 * it was.  0, or -errno after one line on stderr. */
CHECKED int lab_report_write(const json_t *report, const char *path);

/* The page itself, appended to out: 0 or -ENOMEM. */
CHECKED int lab_report_page(const json_t *report, struct buf *out);

#endif
