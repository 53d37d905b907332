/* lab_progress.c: what the lab says while it works, on standard error.
 *
 * A run takes minutes, so somebody who watches should see that it moves, and somebody who reads a log should not be
 * flooded: on a terminal one line changes in place and each cell leaves a line when it is done; elsewhere there are
 * those, and a line of where it is after ten seconds without one.  Before all there is an estimate of the time: what
 * samples and the pauses of a loop that is blocked take is known, what starts take is not, and a busy machine adds up
 * to an eighth for samples that are taken again.
 *
 * Text alone; of what it said it keeps when, in the run.
 */
#include "base/clock.h"
#include "cli/lab_cell.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define QUIET_NS (10 * NS_PER_S)

/* Seconds beside its rounds' own: a server's start and end; of a round, warming up and what is under way at its end;
 * opening connections that rest, by a server that starts anew; and what a blocked loop may have to answer everybody. */
#define START_S 0.15
#define START_PEER_S 0.8
#define ROUND_S 0.15
#define REST_S 1.2
#define MORE_S 2.5

static bool live(void)
{
	return isatty(STDERR_FILENO);
}

/* A loop that blocks answers many at once, so its sample lasts until all have had a reply (lab_work.c): about half as
 * long again as all of them block. */
static double sample_secs(const struct lab_plan *p, const struct lab_subject *s, const struct lab_workload *w)
{
	bool blocks = !s->peer && !s->many && s->pool == 0;
	double all = blocks ? 1.5 * w->fast.connections * w->fast.blocks_ms / 1e3 : 0;

	return all <= p->secs ? p->secs : all < p->secs + MORE_S ? all : p->secs + MORE_S;
}

static double round_secs(const struct lab_plan *p, const struct lab_subject *s, const struct lab_workload *w)
{
	return sample_secs(p, s, w) + ROUND_S + s->settle_ms / 1e3 + (w->idle ? REST_S : 0);
}

double lab_estimate(const struct lab_plan *p)
{
	double secs = 0;

	for (size_t i = 0; i < lab_nsubjects(); i++) {
		const struct lab_subject s = lab_subject(i);

		for (size_t n = 0; n < lab_nworkloads; n++) {
			const struct lab_workload *w = &lab_workloads[n];

			if (!(p->subjects >> i & 1) || !(p->workloads >> n & 1) || !lab_takes_part(&s, w->name) ||
				(s.peer && lab_peer_cannot(s.peer, w->name)))
				continue;
			secs += (s.peer ? START_PEER_S : START_S) + p->rounds * round_secs(p, &s, w);
		}
	}
	return secs;
}

static unsigned seconds(const struct lab_run *run)
{
	return (unsigned)((clock_now_ns() - run->began_ns) / NS_PER_S);
}

void lab_progress_plan(const struct lab_run *run)
{
	double secs = lab_estimate(&run->plan);

	fprintf(stderr, "offloop lab: %u cell%s, each %u round%s of %g s: about %.0f s\n", run->cells,
		run->cells == 1 ? "" : "s", run->plan.rounds, run->plan.rounds == 1 ? "" : "s", run->plan.secs,
		secs < 1 ? 1 : secs);
}

/* A line that stays where it is: one that is wrapped could not be cleared. */
static void say_in_place(const char *line)
{
	struct winsize w;
	int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col : 80;

	fprintf(stderr, "\r\033[K%.*s", columns - 1, line);
}

void lab_progress(struct lab_run *run, const char *workload, const char *subject, unsigned round)
{
	bool due = clock_now_ns() - run->told_ns >= QUIET_NS;
	char line[160];

	if (!live() && !due)
		return;
	snprintf(line, sizeof(line), "%u of %u done, %u s: %s under %s, round %u of %u", run->cells_done, run->cells,
		seconds(run), subject, workload, round, run->plan.rounds);
	if (live())
		say_in_place(line);
	else
		fprintf(stderr, "%s\n", line);
	run->told_ns = clock_now_ns();
}

static double figure(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

void lab_progress_cell(struct lab_run *run, const json_t *cell)
{
	const json_t *median = json_object_get(cell, "median"), *fast = json_object_get(median, "fast");
	const char *status = json_string_value(json_object_get(cell, "status"));

	run->told_ns = clock_now_ns();
	fprintf(stderr, "%s%3u/%u  %-10s %-15s ", live() ? "\r\033[K" : "", run->cells_done, run->cells,
		json_string_value(json_object_get(cell, "workload")),
		json_string_value(json_object_get(cell, "subject")));
	if (!median)
		fprintf(stderr, "%s: %s\n", status, json_string_value(json_object_get(cell, "why")));
	else
		fprintf(stderr, "%9.0f/s  p99 %8.2f ms  %8.1f us of CPU%s\n", figure(fast ? fast : median, "rps"),
			figure(fast ? fast : median, "p99_ms"), figure(median, "cpu_us"),
			figure(median, "errors") > 0 ? "  with errors" : "");
}
