/* lane_rule.c: when a route changes its lane.
 *
 * Pure: it knows neither threads nor clocks, so tests play whole lives of a route by script.
 *
 * Up: an adaptive route is promoted when so many runs in a row were clean.  Clean means that the thread never slept,
 * and that no stretch was over the budget, of which one run in a hundred is let off: then the 99th percentile is within
 * it.  What is not clean begins the count anew.  Runs that prove nothing either way are not counted: those that were
 * over the budget only because others had the CPU, and short ones that took a short cut, as an error is one.
 *
 * Down: the first hold of a loop over the limit, computing or blocked, moves an adaptive route back.  That limit lies
 * above the budget, so that a run in a hundred is not enough.  Then the next promotion takes twice as many runs, up to
 * a bound, and half of it is forgiven for each ten minutes that go by: a route that is short most of the time holds a
 * loop ever more rarely, and one that was unlucky once is not marked for good.
 *
 * An .async route is moved after a few holds, and stays: the app has declared it wrongly, and time does not mend that.
 */
#include "lane_rule.h"

#include <string.h>

static void begin_anew(struct lane_record *rec)
{
	rec->runs = rec->over = 0;
	memset(rec->bucket, 0, sizeof(rec->bucket));
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned i = 0;

	while (i < LANE_BUCKETS - 1 && ns > NS_PER_US << i)
		i++;
	return i;
}

unsigned lane_rule_needed(const struct lane_record *rec, const struct lane_limits *lim, uint64_t now_ns)
{
	uint64_t halved = now_ns > rec->demoted_ns ? (now_ns - rec->demoted_ns) / LANE_FORGIVES_NS : 0;
	unsigned n = halved < 32 ? rec->needed >> halved : 0;

	return n > lim->runs ? n : lim->runs;
}

bool lane_rule_ran(struct lane_record *rec, const struct lane_limits *lim, const struct lane_run *run, uint64_t now_ns)
{
	bool over = run->longest_ns > lim->budget_ns;
	unsigned needed = lane_rule_needed(rec, lim, now_ns);

	if (rec->kind != LANE_ADAPTIVE || !rec->pooled)
		return false;
	if (run->cause == LANE_BLOCKED) {
		begin_anew(rec);
		return false;
	}
	if (!run->proof || (over && run->cause == LANE_WAITED))
		return false;
	if (over && (rec->over + 1) * 100ull > needed) {
		begin_anew(rec);
		return false;
	}
	rec->runs++;
	rec->over += over;
	rec->bucket[bucket_of(run->longest_ns)]++;
	return rec->runs >= needed && rec->over * 100ull <= rec->runs;
}

bool lane_rule_held(struct lane_record *rec, const struct lane_limits *lim, uint64_t hold_ns, enum lane_cause cause)
{
	uint64_t limit = rec->kind == LANE_ADAPTIVE ? lim->hold_ns : lim->stall_ns;

	if (rec->pooled || cause == LANE_WAITED || hold_ns < limit)
		return false;
	rec->holds++;
	return rec->kind == LANE_ADAPTIVE || (rec->kind == LANE_GUARDED && rec->holds >= LANE_HOLDS) ||
		rec->holds == LANE_HOLDS;
}

void lane_rule_moved(struct lane_record *rec, const struct lane_limits *lim, bool pooled, bool blamed, uint64_t now_ns)
{
	rec->pooled = pooled;
	if (blamed) {
		uint64_t twice = 2 * (uint64_t)lane_rule_needed(rec, lim, now_ns);
		uint64_t most = (uint64_t)LANE_BACKOFF_MAX * lim->runs;

		rec->needed = (unsigned)(twice < most ? twice : most);
		rec->demoted_ns = now_ns;
	}
	if (pooled)
		begin_anew(rec);
	else
		rec->holds = 0;
}

uint64_t lane_rule_p99_ns(const struct lane_record *rec)
{
	unsigned left = rec->runs, i = LANE_BUCKETS - 1;

	if (rec->runs == 0)
		return 0;
	/* From above, until what has been passed over is more than one in a hundred. */
	while (i > 0 && (rec->runs - (left - rec->bucket[i])) * 100ull <= rec->runs)
		left -= rec->bucket[i--];
	return NS_PER_US << i;
}
