/* lab_progress.c: what the lab says while it works, on standard error.
 *
 * A run takes minutes, so somebody who watches should see that it moves, and somebody who reads a log should not be
 * flooded: on a terminal one line changes in place and each cell leaves a line when it is done; elsewhere there are
 * only those.
 *
 * Text alone; nothing is kept between calls.
 */
#include "base/clock.h"
#include "cli/lab_cell.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool live(void)
{
	return isatty(STDERR_FILENO);
}

void lab_progress(const struct lab_run *run, const char *workload, const char *subject, unsigned round)
{
	if (live())
		fprintf(stderr, "\r\033[K%u of %u, %u s: %s under %s, round %u of %u", run->cells_done + 1, run->cells,
			(unsigned)((clock_now_ns() - run->began_ns) / NS_PER_S), subject, workload, round,
			run->plan.rounds);
}

static double figure(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

void lab_progress_cell(const struct lab_run *run, const json_t *cell)
{
	const json_t *median = json_object_get(cell, "median"), *fast = json_object_get(median, "fast");
	const char *status = json_string_value(json_object_get(cell, "status"));

	fprintf(stderr, "%s%3u/%u  %-10s %-13s ", live() ? "\r\033[K" : "", run->cells_done, run->cells,
		json_string_value(json_object_get(cell, "workload")),
		json_string_value(json_object_get(cell, "subject")));
	if (!median)
		fprintf(stderr, "%s: %s\n", status, json_string_value(json_object_get(cell, "why")));
	else
		fprintf(stderr, "%9.0f/s  p99 %8.2f ms  %8.1f us of CPU%s\n", figure(fast ? fast : median, "rps"),
			figure(fast ? fast : median, "p99_ms"), figure(median, "cpu_us"),
			figure(median, "errors") > 0 ? "  with errors" : "");
}
