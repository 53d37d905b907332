/* advice.c: what to change, and the evidence for it: numbers in, sentences out.
 *
 * Nothing is said without numbers that show it, and enough of them.  What would mislead is left out: waiting for a CPU
 * is nobody's fault, so it makes no route guilty, and threads that wait for one are no sign that more threads would
 * help.
 *
 * How many threads a pool should have follows from Little's law: of jobs that are there at once, the mean number is to
 * the mean number that run as the time they spend there is to the time they run.  While all threads are busy, and most
 * jobs came then, so many run as there are threads; what was refused would have been there as long as the others ran.
 * So many threads would let none of them wait.  But a job needs its share of a CPU (what it computed
 * of its time, without what it waited for one), and when all CPUs are busy more threads only share them out; so the
 * number is bounded by CPUs over that share, and by what memory and limits allow.  If that is well over what there is,
 * it is the advice; if it is not, and the threads mostly compute, that is.
 *
 * Each threshold has a laxer one for what was being said already.
 *
 * Pure: no clock, no threads, nothing kept.
 */
#include "advice.h"
#include "base/clock.h"

#include <stdio.h>

/* ---- how numbers are said ---------------------------------------------------------------------------------------- */

#define TIME_MAX 32

/* "35 us", "2.5 ms", "412 ms", "31 s". */
static const char *say_time(char dst[TIME_MAX], uint64_t ns)
{
	if (ns < NS_PER_MS)
		snprintf(dst, TIME_MAX, "%llu us", (unsigned long long)((ns + NS_PER_US / 2) / NS_PER_US));
	else if (ns < 10 * NS_PER_MS)
		snprintf(dst, TIME_MAX, "%.1f ms", (double)ns / (double)NS_PER_MS);
	else if (ns < 10 * NS_PER_S)
		snprintf(dst, TIME_MAX, "%llu ms", (unsigned long long)((ns + NS_PER_MS / 2) / NS_PER_MS));
	else
		snprintf(dst, TIME_MAX, "%llu s", (unsigned long long)((ns + NS_PER_S / 2) / NS_PER_S));
	return dst;
}

static unsigned percent(uint64_t part, uint64_t whole)
{
	double p = whole > 0 ? 100 * (double)part / (double)whole : 0;

	return (unsigned)(p > 100 ? 100 : p + 0.5);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* To a number that does not pretend to be exact. */
static unsigned rounded(double n)
{
	unsigned step = n < 20 ? 1 : n < 100 ? 5 : n < 1000 ? 10 : 100;

	return (unsigned)(n / step + 0.5) * step;
}

static double lesser(double a, double b)
{
	return a < b ? a : b;
}

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

bool advice_hold(const struct advice_hold *in, struct advice *out)
{
	bool blocked = in->blocked >= in->cpu;
	char time[TIME_MAX], moved[80] = "";

	if (in->blocked + in->cpu < ADVICE_HOLDS)
		return false;
	snprintf(out->evidence, sizeof(out->evidence), "held loop %u for %s%s%s, %llu request%s waited", in->loop,
		say_time(time, in->ns), !blocked ? " on CPU" : in->call[0] ? " in " : ", blocked",
		blocked ? in->call : "", (unsigned long long)in->victims, plural(in->victims));
	if (in->mover)
		snprintf(moved, sizeof(moved), "%s has moved it to a pool; let its declaration follow: ", in->mover);
	if (in->remedy)
		snprintf(out->remedy, sizeof(out->remedy), "%s", in->remedy);
	else if (in->streams && !in->mover)
		snprintf(out->remedy, sizeof(out->remedy),
			"let ol_offload %s: it streams events, so as .sync each of them would hold a thread",
			blocked ? "do what blocks" : "compute");
	else if (blocked)
		snprintf(out->remedy, sizeof(out->remedy), "%sdeclare it .sync", moved);
	else
		snprintf(out->remedy, sizeof(out->remedy),
			"%sdeclare it .sync in a pool of about as many threads as CPUs (%u)", moved, in->cpus);
	return true;
}

bool advice_short(const struct advice_short *in, bool was, struct advice *out)
{
	uint64_t hop = was ? 2 * in->hop_ns : in->hop_ns;
	char p99[TIME_MAX], wait[TIME_MAX];

	if (in->runs < (was ? ADVICE_RUNS / 2 : ADVICE_RUNS) || in->sampled < (was ? 1 : ADVICE_SAMPLES))
		return false;
	if (in->slept > 0 || in->p99_ns > hop || in->p999_ns > in->stall_ns)
		return false;
	snprintf(out->evidence, sizeof(out->evidence),
		"ran %llu times in pool %s, 99%% of them for at most %s and none asleep, having waited %s for a thread "
		"on average", (unsigned long long)in->runs, in->pool, say_time(p99, in->p99_ns),
		say_time(wait, in->hop_ns));
	snprintf(out->remedy, sizeof(out->remedy), "declare it .async");
	return true;
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static uint64_t blocked_ns(const struct advice_pool *in)
{
	uint64_t rest = in->cpu_ns + in->runnable_ns;

	return in->busy_ns > rest ? in->busy_ns - rest : 0;
}

/* More threads than that find no CPU free. */
static double useful(const struct advice_pool *in)
{
	double own = (double)in->cpu_ns + (double)blocked_ns(in);

	return in->cpu_ns > 0 ? (double)in->cpus * own / (double)in->cpu_ns : (double)in->threads_max;
}

unsigned advice_threads_wanted(const struct advice_pool *in)
{
	double run = in->busy_ns > 0 ? (double)in->busy_ns : 1;
	double refused = in->jobs > 0 ? (double)in->refused / (double)in->jobs : 0;
	double there = in->threads * (1 + (double)in->wait_ns / run + refused);
	double wanted = lesser(lesser(there, useful(in)), (double)in->threads_max);
	unsigned n = rounded(wanted < 1 ? 1 : wanted);

	return n > in->threads_max ? in->threads_max : n;
}

/* Whether most of what comes waits for a thread, and some of it long. */
static bool is_short_of(const struct advice_pool *in, bool was)
{
	return in->wait_p99_ns >= (was ? 5 : 10) * NS_PER_MS && percent(in->waited, in->jobs) >= (was ? 30 : 50);
}

static bool advice_more(const struct advice_pool *in, bool was, struct advice *out)
{
	unsigned wanted = advice_threads_wanted(in);
	char wait[TIME_MAX];

	if ((double)wanted < (was ? 1.1 : 1.25) * in->threads)
		return false;
	snprintf(out->evidence, sizeof(out->evidence), "%u thread%s %u%% blocked, queue wait p99 %s", in->threads,
		plural(in->threads), percent(blocked_ns(in), in->busy_ns), say_time(wait, in->wait_p99_ns));
	snprintf(out->remedy, sizeof(out->remedy), "raise threads to about %u (%s)%s", wanted, in->setting,
		wanted == in->threads_max ? ", as many as memory and limits allow" : "");
	return true;
}

static bool advice_cpu_bound(const struct advice_pool *in, bool was, struct advice *out)
{
	uint64_t computing = in->cpu_ns + in->runnable_ns;
	double enough = useful(in);
	char wait[TIME_MAX];

	if (percent(computing, in->busy_ns) < (was ? 60 : 70) || in->threads < in->cpus)
		return false;
	snprintf(out->evidence, sizeof(out->evidence),
		"%u thread%s %u%% on a CPU or waiting for one, queue wait p99 %s", in->threads, plural(in->threads),
		percent(computing, in->busy_ns), say_time(wait, in->wait_p99_ns));
	snprintf(out->remedy, sizeof(out->remedy), "CPU-bound: more threads than %u will not help",
		enough < in->cpus * 1.5 ? in->cpus : (unsigned)enough + 1);
	return true;
}

static bool advice_fewer(const struct advice_pool *in, bool was, struct advice *out)
{
	if (in->age_ns < ADVICE_UNUSED_NS || in->done < ADVICE_RUNS || in->threads < 8 || in->used_max == 0 ||
		in->used_max > in->threads / (was ? 3 : 4))
		return false;
	snprintf(out->evidence, sizeof(out->evidence), "threads %u, at most %u %s ever used", in->threads, in->used_max,
		in->used_max == 1 ? "was" : "were");
	snprintf(out->remedy, sizeof(out->remedy), "about %u would do (%s)", in->used_max * 2, in->setting);
	return true;
}

bool advice_threads(const struct advice_pool *in, bool was, struct advice *out)
{
	if (in->known && in->threads > 0 && in->window_ns >= ADVICE_WINDOW_NS && in->jobs >= ADVICE_JOBS &&
		in->busy_ns > 0 && is_short_of(in, was) &&
		(advice_more(in, was, out) || advice_cpu_bound(in, was, out)))
		return true;
	return advice_fewer(in, was, out);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

bool advice_refused(const struct advice_refused *in, bool was, struct advice *out)
{
	char window[TIME_MAX];

	if (in->refused < (was ? 1 : ADVICE_REFUSED) || in->refused * (was ? 200 : 100) < in->offered)
		return false;
	snprintf(out->evidence, sizeof(out->evidence), "refused %llu of %llu requests (%u%%) in %s, %s",
		(unsigned long long)in->refused, (unsigned long long)in->offered, percent(in->refused, in->offered),
		say_time(window, in->window_ns), in->what);
	snprintf(out->remedy, sizeof(out->remedy), "%s", in->remedy);
	return true;
}

/* ---- histograms -------------------------------------------------------------------------------------------------- */

/* The bucket in which the q-th lies, and how far into it, from 0 to 1; n: there is none. */
static unsigned find(const uint64_t *counts, unsigned n, double q, double *into)
{
	uint64_t all = 0, before = 0;
	double rank;

	for (unsigned i = 0; i < n; i++)
		all += counts[i];
	rank = q * (double)all;
	for (unsigned i = 0; i < n; i++) {
		if (counts[i] > 0 && (double)(before + counts[i]) >= rank) {
			*into = (rank - (double)before) / (double)counts[i];
			return i;
		}
		before += counts[i];
	}
	return n;
}

uint64_t advice_quantile_bound(const uint64_t *bounds, const uint64_t *counts, unsigned n, double q)
{
	double into;
	unsigned i = find(counts, n, q, &into);

	return i == n ? 0 : bounds[i];
}

uint64_t advice_quantile_about(const uint64_t *bounds, const uint64_t *counts, unsigned n, double q)
{
	double into;
	unsigned i = find(counts, n, q, &into);
	uint64_t low = i > 0 && i <= n ? bounds[i - 1] : 0;

	if (i == n)
		return 0;
	return bounds[i] == UINT64_MAX ? low : low + (uint64_t)(into * (double)(bounds[i] - low));
}
