/* lab_work.c: the workloads, and one sample of one of them.
 *
 * A workload is one or two groups of clients: those that are measured, and what goes on beside them.  Where both matter
 * (fast requests beside blocking ones) the sample's own figures are of both together, and "fast" is of the first alone;
 * slow clients' times are their own doing, so with them both are of the fast ones, errors too.
 *
 * A sample: the clients begin; what they do in the first tenth of a second is not counted, so that threads are there
 * and memory is warm, nor, with a subject that has to learn first, what they do for longer.  Then the time runs, with
 * the server's CPU and the machine's read at both ends, and its memory at the end, still under load; where a process
 * has ended meanwhile and nobody waited for it, the CPU time is not known.  Then what is under way is waited for
 * (lab_load.c says why); the rate does not count it.
 * Where so few replies came that the clients have not had one each, the time runs on for up to 2.5 s until they have: a
 * loop that is blocked forty times in a row sends forty replies at once, and any shorter look would see none or all.
 *
 * A server that stops in the middle of a sample has a rate, that of before, and no time that tells of it.  So where at
 * the end all that ask wait, and nobody has had a reply for longer than half the sample and than all requests block one
 * after the other, the server gets another second, and without a reply in that it has failed.
 *
 * Connections that rest are made before: each has had one reply and stays, as a browser's would.  A server that does
 * not keep them cannot be measured so; how many it kept is what we say.
 */
#include "cli/lab_work.h"
#include "base/clock.h"
#include "cli/lab_load.h"
#include "cli/lab_proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_NS (100 * NS_PER_MS)
#define MORE_NS (5 * NS_PER_S / 2)
#define SLICE_NS (20 * NS_PER_MS)
#define DRAIN_NS (300 * NS_PER_MS)
#define GRACE_NS NS_PER_S
#define REST_NS (8 * NS_PER_S)
#define PROBES 200
#define BIG "/big"

#define BLOCKING(ms, n) { "/block" #ms, "/offload" #ms, n, LOAD_ASK, ms }
#define ASK(path, n) { path, NULL, n, LOAD_ASK, 0 }

const struct lab_workload lab_workloads[] = {
	{ "trivial", "A handler that replies at once, in async code: what the server itself costs.", ASK("/", 64),
		.all = true },
	{ "block10", "A handler that waits 10 ms in a blocking call, as on a database.",
		BLOCKING(10, 64), .all = true },
	{ "block50", "A handler that waits 50 ms in a blocking call.", BLOCKING(50, 44), .all = true },
	{ "cpu", "A handler that computes for about a millisecond.", ASK("/cpu", 16), .all = true },
	{ "mixed", "Eight clients of a fast handler, beside 16 of one that blocks for 50 ms.",
		ASK("/", 8), BLOCKING(50, 16), .all = true },
	{ "slow", "Sixteen clients of a fast handler, beside 32 that send eight bytes at a time and 32 that read "
		"1 MiB slowly.", ASK("/", 16), { "/upload", NULL, 32, LOAD_TRICKLE, 0 }, .all = false,
		.no_memory = "Memory is not compared here: while pieces come faster than a loop gets to read "
			"them its ring of receive buffers grows, up to 4 MiB, and stays so.  Whether that has "
			"happened is chance." },
	{ "idle", "Clients of a fast handler, while many connections are open and silent.", ASK("/", 64),
		.all = true, .idle = 10000 },
	{ "wrong-lane", "Sixteen clients of a fast handler, beside one of a handler that is declared async and blocks "
		"for 50 ms.", ASK("/", 16), { "/wrong50", NULL, 1, LOAD_ASK, 50 }, .all = true },
};

const size_t lab_nworkloads = sizeof(lab_workloads) / sizeof(lab_workloads[0]);

_Static_assert(sizeof(lab_workloads) / sizeof(lab_workloads[0]) <= LAB_WORKLOADS_MAX, "workloads are bits of a word");

enum { FAST, BESIDE, SIPPING, GROUPS };

/* What a sample holds while it is taken. */
struct sample {
	const struct lab_workload *workload;
	struct load_group groups[GROUPS], resting;
	size_t ngroups;
	struct load *load, *rest;
	uint64_t in_time[GROUPS];       /* requests answered while the time ran */
	double secs, foreign;
	uint64_t cpu_ns, load_ns;       /* CPU time: the server's, and this process's */
	bool silent;                    /* it answered nobody any more */
	bool cpu_known;                 /* no process took what it had used with it */
	struct proc_use before, after;  /* the time ran */
	double rest_bytes;              /* memory of a connection that rests */
	bool rest_known;
	unsigned held;
	double opened_ms;
};

json_t *lab_number(double v)
{
	return json_real((double)(int64_t)(v * 1000 + (v < 0 ? -0.5 : 0.5)) / 1000);
}

static const char *path_of(const struct lab_group *g, const struct lab_subject *s)
{
	return s && s->offloads && g->path_offloaded ? g->path_offloaded : g->path;
}

void lab_paths(const struct lab_workload *w, const struct lab_subject *s, char *dst, size_t n)
{
	bool trickle = w->beside.kind == LOAD_TRICKLE;
	int at = snprintf(dst, n, "GET %s", path_of(&w->fast, s));

	if (w->beside.path && at > 0 && (size_t)at < n)
		snprintf(dst + at, n - (size_t)at, " beside %s %s%s", trickle ? "POST" : "GET", path_of(&w->beside, s),
			trickle ? " and GET " BIG : "");
}

int lab_beside(const struct lab_workload *w)
{
	return (int)w->beside.connections * (w->beside.kind == LOAD_TRICKLE ? 2 : 1);
}

/* ---- taking it --------------------------------------------------------------------------------------------------- */

static struct load_group clients(const struct lab_group *g, const struct lab_subject *subject)
{
	return (struct load_group){ .connections = g->connections, .kind = (enum load_kind)g->kind,
		.path = path_of(g, subject) };
}

static void make_groups(struct sample *t, const struct lab_subject *subject)
{
	t->groups[t->ngroups++] = clients(&t->workload->fast, subject);
	if (t->workload->beside.path)
		t->groups[t->ngroups++] = clients(&t->workload->beside, subject);
	if (t->workload->beside.kind == LOAD_TRICKLE)
		t->groups[t->ngroups++] = (struct load_group){ .path = BIG, .kind = LOAD_SIP,
			.connections = t->workload->beside.connections };
}

/* Opens the connections that rest.  0 or -errno. */
static int open_resting(struct sample *t, struct lab_server *s, unsigned n)
{
	uint64_t began = clock_now_ns();
	struct proc_use without, with;
	int rc;

	proc_use(s->pid, true, &without);
	t->resting = (struct load_group){ .path = "/", .kind = LOAD_REST, .connections = n };
	if ((rc = load_new(&t->rest, s->port, &t->resting, 1)) || (rc = load_run(t->rest, REST_NS)))
		return rc;
	t->opened_ms = (double)(clock_now_ns() - began) / (double)NS_PER_MS;
	t->held = load_held(t->rest);
	proc_use(s->pid, true, &with);
	t->rest_known = without.pss_known && with.pss_known;
	t->rest_bytes = t->held ? ((double)with.pss_kb - (double)without.pss_kb) * 1024 / t->held : 0;
	return 0;
}

static uint64_t errors_of(const struct load_group *g)
{
	uint64_t n = 0;

	for (int i = 0; i < LOAD_ERRORS; i++)
		n += g->errors[i];
	return n;
}

/* Whether its clients have had one reply each. */
static bool seen_enough(const struct sample *t)
{
	for (size_t i = 0; i < t->ngroups; i++)
		if (t->groups[i].kind == LOAD_ASK &&
			t->groups[i].requests + errors_of(&t->groups[i]) < t->groups[i].connections)
			return false;
	return true;
}

static int let_time_run(struct sample *t, const struct lab_plan *p, const struct lab_machine *m, struct lab_server *s)
{
	uint64_t began, took, busy;
	int rc = load_run(t->load, WARM_NS + s->subject.settle_ms * NS_PER_MS);

	load_reset(t->load);
	busy = proc_busy_ns(&m->all);
	t->load_ns = proc_own_ns();
	proc_use(s->pid, false, &t->before);
	began = clock_now_ns();
	if (rc == 0)
		rc = load_run(t->load, (uint64_t)(p->secs * (double)NS_PER_S));
	for (uint64_t more = 0; rc == 0 && more < MORE_NS && !seen_enough(t) && !lab_stopped(); more += SLICE_NS)
		rc = load_run(t->load, SLICE_NS);
	took = clock_now_ns() - began;
	for (size_t i = 0; i < t->ngroups; i++)
		t->in_time[i] = t->groups[i].requests;
	proc_use(s->pid, false, &t->after);
	t->load_ns = proc_own_ns() - t->load_ns;
	busy = proc_busy_ns(&m->all) - busy;
	t->cpu_known = t->after.cpu_ns >= t->before.cpu_ns;
	t->cpu_ns = t->cpu_known ? t->after.cpu_ns - t->before.cpu_ns : 0;
	t->secs = (double)took / (double)NS_PER_S;
	t->foreign = ((double)busy - (double)t->load_ns - (double)t->cpu_ns) / (double)took;
	t->foreign = t->foreign > 0 ? t->foreign : 0;
	if (rc == 0)
		proc_use(s->pid, true, &t->after);
	return rc;
}

/* How long there may be no reply at all while a server works. */
static uint64_t patience_ns(const struct sample *t, const struct lab_plan *p)
{
	const struct lab_group *fast = &t->workload->fast, *beside = &t->workload->beside;
	uint64_t blocks = (fast->connections * fast->blocks_ms + beside->connections * beside->blocks_ms) * NS_PER_MS;
	uint64_t half = (uint64_t)(p->secs * (double)NS_PER_S / 2);

	return blocks > half ? blocks : half;
}

static int await_replies(struct sample *t, const struct lab_plan *p)
{
	int rc = load_wait(t->load, DRAIN_NS);

	if (rc == 0 && load_silent(t->load, patience_ns(t, p))) {
		rc = load_wait(t->load, GRACE_NS);
		t->silent = load_silent(t->load, GRACE_NS);
	}
	return rc ? rc : load_drain(t->load, 0);
}

static int take(struct sample *t, const struct lab_plan *p, const struct lab_machine *m, struct lab_server *s)
{
	int rc = load_new(&t->load, s->port, t->groups, t->ngroups);

	if (rc == 0)
		rc = let_time_run(t, p, m, s);
	if (rc == 0)
		rc = await_replies(t, p);
	if (rc == 0 && t->rest)
		t->held = load_held(t->rest);
	return rc;
}

/* ---- telling of it ----------------------------------------------------------------------------------------------- */

/* Whether a group counts in the cell's own figures. */
static bool counts(const struct sample *t, size_t group)
{
	return group == FAST || t->workload->all;
}

static json_t *error_kinds(const struct sample *t)
{
	json_t *o = json_object();

	for (int i = 0; i < LOAD_ERRORS; i++) {
		uint64_t n = 0;

		for (size_t g = 0; g < t->ngroups; g++)
			n += counts(t, g) ? t->groups[g].errors[i] : 0;
		if (n > 0)
			json_object_set_new(o, load_error_names[i], json_integer((json_int_t)n));
	}
	return o;
}

static json_t *ms(const struct histogram *h, double part)
{
	return h->n ? lab_number(histogram_us(h, part) / 1000) : json_null();
}

/* How many CPUs were busy for that long. */
static json_t *cpus(const struct sample *t, uint64_t ns)
{
	return lab_number((double)ns / (double)NS_PER_S / t->secs);
}

/* Rate and times of one group, beside its cell's own. */
static json_t *group_json(const struct sample *t, size_t i)
{
	const struct load_group *g = &t->groups[i];

	return json_pack("{s:o, s:I, s:o, s:o, s:I}", "rps", lab_number((double)t->in_time[i] / t->secs), "requests",
		(json_int_t)t->in_time[i], "p50_ms", ms(&g->times, 0.5), "p99_ms", ms(&g->times, 0.99), "errors",
		(json_int_t)errors_of(g));
}

static void put_times(json_t *o, const struct histogram *times)
{
	json_object_set_new(o, "p50_ms", ms(times, 0.5));
	json_object_set_new(o, "p90_ms", ms(times, 0.9));
	json_object_set_new(o, "p99_ms", ms(times, 0.99));
	json_object_set_new(o, "p999_ms", ms(times, 0.999));
	json_object_set_new(o, "max_ms", times->n ? lab_number((double)times->max_us / 1000) : json_null());
}

/* What the server has used for so many requests, all there were. */
static void put_server(json_t *o, const struct sample *t, uint64_t requests)
{
	json_object_set_new(o, "cpu_us", requests && t->cpu_known ?
		lab_number((double)t->cpu_ns / 1000 / (double)requests) : json_null());
	json_object_set_new(o, "cpus", t->cpu_known ? cpus(t, t->cpu_ns) : json_null());
	json_object_set_new(o, "memory_kb", t->after.pss_known ? json_integer((json_int_t)t->after.pss_kb) :
		json_null());
	json_object_set_new(o, "processes", json_integer(t->after.processes));
	json_object_set_new(o, "threads", json_integer(t->after.threads));
}

/* What the load has used, and others. */
static void put_rest(json_t *o, const struct sample *t, const struct lab_plan *p)
{
	json_object_set_new(o, "load_cpus", cpus(t, t->load_ns));
	json_object_set_new(o, "foreign", lab_number(t->foreign));
	json_object_set_new(o, "dirty", json_boolean(t->foreign > p->guard));
}

static void put_groups(json_t *o, const struct sample *t)
{
	if (t->workload->idle)
		json_object_set_new(o, "idle", json_pack("{s:i, s:i, s:o, s:o}", "wanted", (int)t->resting.connections,
			"held", (int)t->held, "open_ms", lab_number(t->opened_ms), "bytes_each",
			t->rest_known ? lab_number(t->rest_bytes) : json_null()));
	if (t->ngroups == 1)
		return;
	json_object_set_new(o, "fast", group_json(t, FAST));
	json_object_set_new(o, "beside", group_json(t, BESIDE));
	if (t->ngroups > SIPPING)
		json_object_set_new(o, "sipping", group_json(t, SIPPING));
}

/* NULL: no memory. */
static json_t *sample_json(const struct sample *t, const struct lab_plan *p)
{
	struct histogram *times = calloc(1, sizeof(*times));
	uint64_t requests = 0, errors = 0, everything = 0;
	unsigned unanswered = 0;
	json_t *o;

	if (!times)
		return NULL;
	for (size_t i = 0; i < t->ngroups; i++) {
		everything += t->in_time[i];
		if (!counts(t, i))
			continue;
		errors += errors_of(&t->groups[i]);
		histogram_merge(times, &t->groups[i].times);
		requests += t->in_time[i];
		unanswered += t->groups[i].unanswered;
	}
	o = json_pack("{s:o, s:I, s:I, s:o, s:i}", "rps", lab_number((double)requests / t->secs), "requests",
		(json_int_t)requests, "errors", (json_int_t)errors, "error_kinds", error_kinds(t), "unanswered",
		(int)unanswered);
	put_times(o, times);
	put_server(o, t, everything);
	put_rest(o, t, p);
	put_groups(o, t);
	free(times);
	return o;
}

/* ---- the sample -------------------------------------------------------------------------------------------------- */

/* Whether it holds the connections it is to hold. */
static bool holds(const struct sample *t)
{
	return t->held * 100.0 >= t->resting.connections * 99.0;
}

static enum lab_outcome judge(struct sample *t, const struct lab_plan *p, struct lab_server *s, json_t **round,
	char *why, size_t n)
{
	char end[240];

	if (!lab_server_runs(s)) {
		lab_server_end(s, end, sizeof(end));
		snprintf(why, n, "it ended under the load %s", end);
		return LAB_FAILED;
	}
	if (t->silent) {
		snprintf(why, n, "it stopped answering: at the end of a sample all its clients waited");
		return LAB_FAILED;
	}
	if (t->groups[FAST].times.n == 0) {
		snprintf(why, n, "it answered no request for %s: %llu errors", t->groups[FAST].path,
			(unsigned long long)errors_of(&t->groups[FAST]));
		return LAB_FAILED;
	}
	if ((*round = sample_json(t, p)))
		return LAB_MEASURED;
	snprintf(why, n, "no memory");
	return LAB_FAILED;
}

static enum lab_outcome run_sample(struct sample *t, const struct lab_plan *p, const struct lab_machine *m,
	struct lab_server *s, json_t **round, char *why, size_t n)
{
	/* of one that has no room for any, a few are enough to know it */
	unsigned resting = s->subject.many && p->idle > PROBES ? PROBES : p->idle;
	int rc = t->workload->idle ? open_resting(t, s, resting) : 0;

	if (rc == 0 && t->workload->idle && !holds(t) && !lab_stopped()) {
		snprintf(why, n, "%sof %u that were to stay open after their first reply it kept %u",
			s->subject.many ? "a process has one connection at a time, and closes it with its reply: " : "",
			t->resting.connections, t->held);
		return LAB_CANNOT;
	}
	if (rc == 0)
		rc = take(t, p, m, s);
	if (lab_stopped())
		return LAB_FAILED;
	if (rc) {
		snprintf(why, n, "the load could not go on: %s", strerror(-rc));
		return LAB_FAILED;
	}
	return judge(t, p, s, round, why, n);
}

enum lab_outcome lab_sample(const struct lab_plan *p, const struct lab_machine *m, const struct lab_workload *w,
	struct lab_server *s, json_t **round, double *foreign, char *why, size_t n)
{
	struct sample *t = calloc(1, sizeof(*t));
	enum lab_outcome outcome;

	if (!t) {
		snprintf(why, n, "no memory");
		return LAB_FAILED;
	}
	t->workload = w;
	make_groups(t, &s->subject);
	outcome = run_sample(t, p, m, s, round, why, n);
	*foreign = t->foreign;
	load_free(t->load);
	load_free(t->rest);
	free(t);
	return outcome;
}
