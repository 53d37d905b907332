/* labpage.c: the page of a report that was written by hand, or kept.  labpage REPORT.json PAGE.html
 *
 * Verdicts are made anew.  So tests of the page need no run of the lab.
 */
#include "cli/lab_report.h"
#include "cli/lab_verdict.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	json_error_t error;
	json_t *report;
	int rc;

	if (argc != 3) {
		fprintf(stderr, "labpage REPORT.json PAGE.html\n");
		return 2;
	}
	report = json_load_file(argv[1], 0, &error);
	if (!report) {
		fprintf(stderr, "labpage: %s:%d: %s\n", argv[1], error.line, error.text);
		return 1;
	}
	rc = lab_judge(report);
	if (rc == 0)
		rc = lab_report_write(report, argv[2]);
	json_decref(report);
	return rc ? 1 : 0;
}
