/* stall.c: stalls as numbers, as records, and as lines of the log: of loops, of workers, and of pools that starve.
 *
 * Judging is pure: numbers in, a verdict out.  A hold's time has three parts: on a CPU, runnable without one, and
 * blocked, which is the rest.  The greatest names the cause, with these exceptions, all in favour of the route: what
 * was not its own doing (waiting for a CPU, a machine that stood still) is taken off first, and when less than the
 * limit is left no route is blamed, for then it was the waiting that made a stall of it, or nobody can say what did.
 * Time in which the machine stood still may show up as CPU time or as being blocked, depending on the hypervisor, so it
 * is taken off both; of a stop while the monitor had no CPU itself it would not know, so that time is taken off what
 * was blocked.  One exception goes the other way: when its CPU time, or its time blocked, is over the limit by itself,
 * then the hold is the route's, however long it waited besides; the greater of the two names it.
 *
 * The latest stalls are kept in a ring, written by the monitor and copied by who asks, under a mutex that is held for a
 * copy only.  An entry is opened while its stall goes on, and changed as more is known of it.  Of those that the ring
 * drops the worst of each route and cause is remembered, without its stack, so that advice need not be taken back for
 * want of evidence when others stall.  Counts are atomics with one writer, the monitor, and never limited.  The log is:
 * of loops at most ten lines at once, and of workers, and one a second from then on; those left out are counted, and
 * the next line says how many.
 *
 * Threads: the monitor's, but for the functions of which stall.h says more.  Nothing here looks at a loop.
 */
#include "stall.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/log.h"
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_TOLD_NS NS_PER_S
#define LINES 10                /* of the log, at once */
#define LINE_NS NS_PER_S        /* another one after */
#define FRAMES_TOLD 8
#define READINGS_NS (100 * NS_PER_US)   /* that readings of the clocks may be apart */
#define READINGS 10                     /* then the last ones do */

LOCK_ROLE(book_role);

struct route_stalls {
	_Atomic uint64_t count[STALL_CAUSES];
	_Atomic uint64_t victims;
	struct stall_hold *worst[STALL_CAUSES]; /* of those the ring has dropped; under the mutex.  NULL: none */
};

/* Lines of the log. */
struct allowance {
	unsigned lines;                 /* that may be written now */
	uint64_t refilled_ns;
};

struct stall_book {
	const char *(*name)(void *arg, uint32_t route);
	void *arg;
	struct log *log;
	stall_told *told;               /* NULL: nobody */
	void *told_arg;
	uint32_t nroutes;
	struct route_stalls *routes;    /* the last for no route */
	struct allowance of_loops, of_workers;
	uint64_t untold;                /* since the last line */
	_Atomic uint64_t untold_total;
	pthread_mutex_t mutex;
	uint64_t last_id GUARDED_BY(book_role);
	struct stall kept[STALL_KEPT] GUARDED_BY(book_role);
};

static void lock(struct stall_book *b) ACQUIRES(book_role);
static void unlock(struct stall_book *b) RELEASES(book_role);

static UNCHECKED void lock(struct stall_book *b)
{
	pthread_mutex_lock(&b->mutex);
}

static UNCHECKED void unlock(struct stall_book *b)
{
	pthread_mutex_unlock(&b->mutex);
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t without(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

const char *stall_cause_name(enum stall_cause cause)
{
	static const char *const names[] = { "cpu", "blocked", "runnable", "late", "unknown" };

	return names[cause];
}

/* What was not watched (before the monitor saw it first) is taken to have been like the rest. */
struct stall_parts stall_divide(uint64_t wall, uint64_t seen, uint64_t cpu, uint64_t waited, uint64_t lost)
{
	struct stall_parts p = { .wall = wall, .lost = lesser(lost, wall) };

	seen = lesser(seen, wall);
	/* A wait counts when it is over, so it may have begun before what was watched. */
	p.waited = lesser(waited, wall);
	p.cpu = lesser(cpu, lesser(seen, wall - p.waited));
	if (seen > 0 && p.waited <= seen) {
		double scale = (double)wall / (double)seen;

		p.cpu = (uint64_t)((double)p.cpu * scale);
		p.waited = (uint64_t)((double)p.waited * scale);
		p.cpu = lesser(p.cpu, wall - lesser(p.waited, wall));
	}
	p.blocked = without(wall, p.cpu + p.waited);
	return p;
}

enum stall_cause stall_judge(const struct stall_parts *p, uint64_t limit_ns)
{
	uint64_t cpu = without(p->cpu, p->lost), blocked = without(p->blocked, p->lost + p->hidden);

	if (without(p->wall, p->waited + p->lost + p->hidden) < limit_ns)
		return p->waited >= stall_late(p) ? STALL_RUNNABLE : STALL_LATE;
	if (cpu >= limit_ns && cpu >= blocked)
		return STALL_CPU;
	if (p->lost >= cpu && p->lost >= blocked && p->lost >= p->waited)
		return STALL_LATE;
	if (p->waited >= cpu && p->waited >= blocked && (blocked < limit_ns || blocked < p->lost))
		return STALL_RUNNABLE;
	return cpu >= blocked ? STALL_CPU : STALL_BLOCKED;
}

uint64_t stall_next_told(uint64_t told, uint64_t limit_ns)
{
	if (told > 0)
		return told > UINT64_MAX / 2 ? UINT64_MAX : told * 2;
	return limit_ns > FIRST_TOLD_NS ? limit_ns : FIRST_TOLD_NS;
}

uint64_t stall_lost(uint64_t late_ns, uint64_t waited_ns, uint64_t suspended_ns)
{
	uint64_t lost = without(late_ns, waited_ns);

	/* A timer is late by itself, too, by what the hardware and the kernel make of it. */
	if (lost < NS_PER_MS)
		lost = 0;
	return lost + (suspended_ns < NS_PER_MS ? 0 : suspended_ns);
}

/* ---- remembering ------------------------------------------------------------------------------------------------- */

const char *stall_kind_name(enum stall_kind kind)
{
	static const char *const names[] = { "loop", "worker", "pool" };

	return names[kind];
}

/* The names of the frames, as many as there is room for. */
void stall_look(struct stall *s, struct symbols *symbols, const struct capture *look, const char *call)
{
	size_t at = 0;
	unsigned i = 0;

	for (; symbols && i < look->nframes && at + SYMBOL_TEXT_MAX < sizeof(s->stack); i++)
		at += symbols_format(symbols, look->frames[i], s->stack + at, SYMBOL_TEXT_MAX) + 1;
	s->nframes = i;
	s->secret = look->secret;
	s->probable = look->probable;
	s->state = look->state;
	snprintf(s->syscall, sizeof(s->syscall), "%s", call);
}

const char *stall_no_stack(const struct stall *s)
{
	if (s->nframes > 0 || !s->secret)
		return NULL;
	if (s->secret == EACCES || s->secret == EPERM)
		return "privileges were dropped before this thread began, without prctl(PR_SET_DUMPABLE, 1) after";
	return "this kernel does not tell where a thread sleeps";
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Both clocks at one moment: who has lost its CPU between two of the readings reads them again. */
struct timespec stall_real_time(uint64_t at_ns)
{
	uint64_t before, real, after;
	int tries = 0;

	do {
		before = clock_now_ns();
		real = clock_ns(CLOCK_REALTIME);
		after = clock_now_ns();
	} while (after - before > READINGS_NS && ++tries < READINGS);
	return clock_timespec(real - (after - at_ns));
}

struct stall_book *stall_book_new(uint32_t nroutes, const char *(*name)(void *arg, uint32_t route), void *arg,
	struct log *log)
{
	struct stall_book *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->routes = calloc((size_t)nroutes + 1, sizeof(*b->routes));
	if (!b->routes) {
		free(b);
		return NULL;
	}
	b->nroutes = nroutes;
	b->name = name;
	b->arg = arg;
	b->log = log;
	b->of_loops.lines = b->of_workers.lines = LINES;
	pthread_mutex_init(&b->mutex, NULL);
	return b;
}

void stall_book_free(struct stall_book *b)
{
	if (!b)
		return;
	pthread_mutex_destroy(&b->mutex);
	for (uint32_t i = 0; i <= b->nroutes; i++)
		for (int cause = 0; cause < STALL_CAUSES; cause++)
			free(b->routes[i].worst[cause]);
	free(b->routes);
	free(b);
}

static double harm(uint64_t ns, uint32_t victims)
{
	return (double)ns * ((double)victims + 1);
}

static void keep_worse(struct stall_hold *worst, const struct stall *s)
{
	if (worst->ns > 0 && harm(s->parts.wall, s->victims) <= harm(worst->ns, worst->victims))
		return;
	worst->loop = s->loop;
	worst->ns = s->parts.wall;
	worst->victims = s->victims;
	memcpy(worst->syscall, s->syscall, sizeof(worst->syscall));
}

static void drop(struct stall_book *b, const struct stall *s) REQUIRES(book_role);

/* It is no longer among the latest.  Without memory it is forgotten. */
static void drop(struct stall_book *b, const struct stall *s)
{
	struct stall_hold **worst;

	if (!s->id || s->kind != STALL_LOOP || !stall_blames(s->cause))
		return;
	worst = &b->routes[s->route].worst[s->cause];
	if (*worst || (*worst = calloc(1, sizeof(**worst))))
		keep_worse(*worst, s);
}

uint64_t stall_open(struct stall_book *b, struct stall *s)
{
	lock(b);
	s->id = ++b->last_id;
	drop(b, &b->kept[s->id % STALL_KEPT]);
	b->kept[s->id % STALL_KEPT] = *s;
	unlock(b);
	return s->id;
}

void stall_change(struct stall_book *b, const struct stall *s)
{
	lock(b);
	if (b->kept[s->id % STALL_KEPT].id == s->id)
		b->kept[s->id % STALL_KEPT] = *s;
	else
		drop(b, s);
	unlock(b);
}

void stall_retract(struct stall_book *b, uint64_t id)
{
	lock(b);
	if (b->kept[id % STALL_KEPT].id == id)
		b->kept[id % STALL_KEPT].id = 0;
	unlock(b);
}

unsigned stall_latest(struct stall_book *b, struct stall *out)
{
	unsigned n = 0;

	lock(b);
	for (uint64_t id = b->last_id; id > 0 && b->last_id - id < STALL_KEPT; id--)
		if (b->kept[id % STALL_KEPT].id == id)
			out[n++] = b->kept[id % STALL_KEPT];
	unlock(b);
	return n;
}

bool stall_worst(struct stall_book *b, uint32_t route, enum stall_cause cause, struct stall_hold *out)
{
	*out = (struct stall_hold){ .ns = 0 };
	lock(b);
	if (b->routes[route].worst[cause])
		*out = *b->routes[route].worst[cause];
	for (unsigned i = 0; i < STALL_KEPT; i++) {
		const struct stall *s = &b->kept[i];

		if (s->id && s->kind == STALL_LOOP && s->route == route && s->cause == cause)
			keep_worse(out, s);
	}
	unlock(b);
	return out->ns > 0;
}

const char *stall_frame(const struct stall *s, unsigned i)
{
	const char *line = s->stack;

	if (i >= s->nframes)
		return NULL;
	while (i-- > 0)
		line += strlen(line) + 1;
	return line;
}

const char *stall_route_name(const struct stall_book *b, uint32_t route)
{
	return route < b->nroutes ? b->name(b->arg, route) : NULL;
}

uint32_t stall_no_route(const struct stall_book *b)
{
	return b->nroutes;
}

/* ---- counting ---------------------------------------------------------------------------------------------------- */

void stall_book_tell(struct stall_book *b, stall_told *told, void *arg)
{
	b->told = told;
	b->told_arg = arg;
}

void stall_count(struct stall_book *b, const struct stall *s)
{
	counter_add(&b->routes[s->route].count[s->cause], 1);
}

void stall_blame(struct stall_book *b, const struct stall *s)
{
	if (b->told && s->name && strcmp(s->what, "handler") == 0)
		b->told(b->told_arg, s->route, s->parts.wall, s->cause);
}

void stall_count_victims(struct stall_book *b, const struct stall *s)
{
	counter_add(&b->routes[s->route].victims, s->victims);
}

void stall_count_unseen(struct stall_book *b, uint64_t n)
{
	counter_add(&b->routes[b->nroutes].count[STALL_LATE], n);
}

uint64_t stall_total(const struct stall_book *b, uint32_t route, enum stall_cause cause)
{
	return counter_read(&b->routes[route].count[cause]);
}

uint64_t stall_victims(const struct stall_book *b, uint32_t route)
{
	return counter_read(&b->routes[route].victims);
}

uint64_t stall_untold(const struct stall_book *b)
{
	return counter_read(&b->untold_total);
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

/* Whether the log takes one more.  Threads that hang do not hide who holds a loop. */
static bool may_tell(struct stall_book *b, enum stall_kind kind, uint64_t now_ns)
{
	struct allowance *a = kind == STALL_LOOP ? &b->of_loops : &b->of_workers;
	uint64_t more = (now_ns - a->refilled_ns) / LINE_NS;

	if (more > 0) {
		a->lines = more > LINES - a->lines ? LINES : a->lines + (unsigned)more;
		a->refilled_ns = a->lines == LINES ? now_ns : a->refilled_ns + more * LINE_NS;
	}
	if (a->lines > 0) {
		a->lines--;
		return true;
	}
	b->untold++;
	counter_add(&b->untold_total, 1);
	return false;
}

static const char *message(const struct stall *s)
{
	if (s->kind == STALL_POOL)
		return "all threads of a pool are busy, and requests wait";
	if (s->kind == STALL_WORKER)
		return s->ongoing ? "a route holds a thread of its pool" : "a route held a thread of its pool";
	if (!s->name)
		return s->cause == STALL_RUNNABLE ? "a loop had no CPU: no route is to blame" :
			"a loop stood still, unwatched: no route is to blame";
	return s->ongoing ? "a route holds its loop" : "a route held its loop";
}

/* The innermost frames, "read < load ? < get_report": the mark of one that is only probable stands behind it. */
static size_t top_frames(const struct stall *s, char *dst, size_t n)
{
	const char *line;
	size_t at = 0;

	for (unsigned i = 0; i < FRAMES_TOLD && (line = stall_frame(s, i)); i++) {
		size_t len = strlen(line);

		if (at + len + 6 > n)
			break;
		if (i > 0) {
			memcpy(dst + at, " < ", 3);
			at += 3;
		}
		memcpy(dst + at, line, len);
		at += len;
		if (s->probable >> i & 1) {
			memcpy(dst + at, " ?", 2);
			at += 2;
		}
	}
	return at;
}

static void add(struct log_field *fields, size_t *n, struct log_field field)
{
	fields[(*n)++] = field;
}

#define TEXT(name_, slice_) ((struct log_field)LOG_FIELD_STR(name_, slice_))
#define TIME(name_, ns_) ((struct log_field)LOG_FIELD_US(name_, (int64_t)((ns_) / NS_PER_US)))
#define NUMBER(name_, n_) ((struct log_field)LOG_FIELD_INT(name_, (int64_t)(n_)))

/* Where its time went, as far as that is known. */
static void add_parts(struct log_field *fields, size_t *n, const struct stall *s)
{
	add(fields, n, TEXT("cause", slice_of(stall_cause_name(s->cause))));
	if (s->cause == STALL_UNKNOWN)
		return;
	add(fields, n, TIME("cpu", s->parts.cpu));
	add(fields, n, TIME("runnable", s->parts.waited));
	add(fields, n, TIME("blocked", s->parts.blocked));
	if (stall_late(&s->parts) > 0)
		add(fields, n, TIME("late", stall_late(&s->parts)));
}

/* What is told of a route, loop or thread. */
static void add_hold(struct log_field *fields, size_t *n, const struct stall *s)
{
	if (s->name)
		add(fields, n, TEXT("route", slice_of(s->name)));
	if (s->kind == STALL_LOOP)
		add(fields, n, NUMBER("loop", s->loop));
	else
		add(fields, n, TEXT("pool", slice_of(s->pool)));
	add(fields, n, TIME("held", s->parts.wall));
	add_parts(fields, n, s);
	if (s->name && s->syscall[0])
		add(fields, n, TEXT("syscall", slice_of(s->syscall)));
	if (s->kind == STALL_LOOP && !s->ongoing)
		add(fields, n, NUMBER("victims", s->victims));
	if (s->kind == STALL_LOOP && s->name && strcmp(s->what, "handler") != 0)
		add(fields, n, TEXT("in", slice_of(s->what)));
}

void stall_tell(struct stall_book *b, const struct stall *s, uint64_t now_ns)
{
	struct log_field fields[16];
	char frames[1024];
	size_t n = 0;

	if (s->kind != STALL_POOL && !may_tell(b, s->kind, now_ns)) /* there are few pools, and much depends on each */
		return;
	if (s->kind == STALL_POOL)
		add(fields, &n, TEXT("waiting_for", slice_of(s->text)));
	else
		add_hold(fields, &n, s);
	if (s->name && s->nframes > 0)
		add(fields, &n, TEXT("stack", ((struct slice){ frames, top_frames(s, frames, sizeof(frames)) })));
	if (s->name && stall_no_stack(s))
		add(fields, &n, TEXT("no_stack", slice_of(stall_no_stack(s))));
	if (b->untold > 0)
		add(fields, &n, NUMBER("suppressed", b->untold));
	b->untold = 0;
	log_line(b->log, LOG_WARN, slice_of(message(s)), fields, n);
}
