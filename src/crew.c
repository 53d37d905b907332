/* crew.c: the workers of the pools: which job hangs, and what all of them wait for while others wait for them.
 *
 * Each worker says in a line of its own which job it runs and since when (work_line.h).  The monitor reads the lines
 * every second at most; a worker pays two stores a job for that, and is asked nothing.  A job that runs for longer
 * than the limit is a stall of kind "worker": recorded with its route, its system call and stack, and where its time
 * went; counted once, told in the log at ages that double, and once more when it is over.  Its end is seen at the next
 * look, so its length is known to that precision.  As on a loop, time without a CPU and time in which the machine stood
 * still blame no route.
 *
 * A pool starves when all it may run is running and a job has waited for more than a second.  Then every worker is
 * looked at, and those that wait for the same thing are told together: one line for the log and one record, at ages
 * that double, while it lasts.
 *
 * Threads join and leave as the pools start and end them.  The first of them, up to a sixteenth of the descriptors that
 * the process may have, are known with what it takes to look at them (capture.h); of the others only route and time can
 * be told.  What threads that have ended used up is kept, so that the sums only grow.
 *
 * One mutex guards the list and what is known of its members.  Workers take it when they begin and end, the monitor
 * while it looks, who asks for crew_times for a copy; loops and jobs never.  Names of functions come from files, and a
 * disk may be slow, so the monitor lets go of it for them: a member with a stall is freed by the monitor alone.  The
 * counts are atomics with one writer at a time, under the mutex.
 */
#include "crew.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/list.h"
#include "base/thread.h"
#include "capture.h"
#include "stall.h"
#include "symbols.h"
#include "syscalls.h"
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PERIOD_MIN (10 * NS_PER_MS)
#define PERIOD_MAX NS_PER_S
#define ASK_AGAIN NS_PER_MS             /* of a thread that was asked for its frames */
#define STARVES_NS NS_PER_S             /* a job has waited so long while all were busy */
#define LOOKED_MAX 256                  /* workers that can be looked at, at most */
#define DESCRIPTORS_EACH 2
#define GROUPS 12                       /* things waited for that are told apart */

LOCK_ROLE(crew_role);

struct member {
	struct list node;
	const struct work_line *line;
	unsigned pool;
	struct capture_thread *thread;  /* NULL: it cannot be looked at */
	uint64_t since_ns;              /* of the job it was last seen in; 0: none */
	uint32_t route;
	uint64_t first_ns;              /* when that was first seen, and what was so then: */
	uint64_t cpu_ns, waited_ns, lost_ns;
	bool timed;                     /* the times are known */
	bool asked;                     /* for its frames */
	uint64_t tell_ns;               /* the age at which the log is told next */
	struct stall *stall;            /* what is recorded of it; NULL: nothing */
	bool left;                      /* its thread has ended, and the end of its stall is still to be told */
};

struct pool_seen {
	struct crew_times gone;         /* of threads that have ended */
	unsigned members, looked;       /* of these, with a capture_thread */
	uint64_t tell_ns;
	struct stall *starved;          /* NULL: it is not */
	uint64_t starved_ns;            /* since when */
	_Atomic uint64_t starvations;
	_Atomic uint64_t *stalls;       /* by route */
};

struct crew {
	struct crew_conf conf;
	uint64_t period_ns;
	unsigned looked_max;
	_Atomic uint64_t due_ns;
	pthread_mutex_t mutex;
	struct list members GUARDED_BY(crew_role);
	unsigned looked GUARDED_BY(crew_role);
	struct pool_seen *pools GUARDED_BY(crew_role);
};

/* What a look at all of them works with. */
struct looking {
	struct capturer *capturer;
	struct symbols *symbols;
	uint64_t now_ns, lost_ns, next_ns;
};

static void lock(struct crew *c) ACQUIRES(crew_role);
static void unlock(struct crew *c) RELEASES(crew_role);
static void over(struct crew *c, struct member *m, uint64_t now_ns) REQUIRES(crew_role);
static void goes_on(struct crew *c, struct member *m, struct looking *l) REQUIRES(crew_role);
static void look_at(struct crew *c, struct member *m, struct looking *l) REQUIRES(crew_role);
static void write_waits(struct crew *c, unsigned pool, const struct crew_pool *now, struct looking *l)
	REQUIRES(crew_role);
static void look_at_pool(struct crew *c, unsigned pool, struct looking *l) REQUIRES(crew_role);

static UNCHECKED void lock(struct crew *c)
{
	pthread_mutex_lock(&c->mutex);
}

static UNCHECKED void unlock(struct crew *c)
{
	pthread_mutex_unlock(&c->mutex);
}

static void set_due(struct crew *c, uint64_t at_ns)
{
	/* Relaxed: a time, for its own sake; the list is read under the mutex. */
	atomic_store_explicit(&c->due_ns, at_ns, memory_order_relaxed);
}

uint64_t crew_due(const struct crew *c)
{
	return c ? atomic_load_explicit(&c->due_ns, memory_order_relaxed) : NEVER;
}

/* ---- made and unmade --------------------------------------------------------------------------------------------- */

static unsigned may_be_looked_at(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur / 16 / DESCRIPTORS_EACH >= LOOKED_MAX)
		return LOOKED_MAX;
	return (unsigned)(files.rlim_cur / 16 / DESCRIPTORS_EACH);
}

UNCHECKED struct crew *crew_new(const struct crew_conf *conf)
{
	struct crew *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->conf = *conf;
	c->period_ns = conf->limit_ns / 4;
	c->period_ns = c->period_ns < PERIOD_MIN ? PERIOD_MIN : c->period_ns > PERIOD_MAX ? PERIOD_MAX : c->period_ns;
	c->looked_max = may_be_looked_at();
	set_due(c, NEVER);
	list_init(&c->members);
	pthread_mutex_init(&c->mutex, NULL);
	c->pools = calloc(conf->pools ? conf->pools : 1, sizeof(*c->pools));
	for (unsigned i = 0; c->pools && i < conf->pools; i++) {
		c->pools[i].stalls = calloc((size_t)conf->nroutes + 1, sizeof(*c->pools[i].stalls));
		if (!c->pools[i].stalls) {
			crew_free(c);
			return NULL;
		}
	}
	if (c->pools)
		return c;
	crew_free(c);
	return NULL;
}

UNCHECKED void crew_free(struct crew *c)
{
	struct list *node;

	if (!c)
		return;
	while ((node = list_pop(&c->members))) {        /* of stalls whose end nobody came to tell */
		free(container_of(node, struct member, node)->stall);
		free(container_of(node, struct member, node));
	}
	for (unsigned i = 0; c->pools && i < c->conf.pools; i++) {
		free(c->pools[i].starved);
		free(c->pools[i].stalls);
	}
	free(c->pools);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

void crew_join(struct crew *c, unsigned pool, const struct work_line *line)
{
	struct member *m = c ? calloc(1, sizeof(*m)) : NULL;
	bool first, look;

	if (!m)
		return;         /* without memory it goes unwatched */
	m->line = line;
	m->pool = pool;
	lock(c);
	look = c->looked < c->looked_max;
	c->looked += look;
	unlock(c);
	m->thread = look ? capture_thread_new() : NULL;
	lock(c);
	if (look && !m->thread)
		c->looked--;
	c->pools[pool].members++;
	c->pools[pool].looked += m->thread != NULL;
	first = list_empty(&c->members);
	list_push_back(&c->members, &m->node);
	if (first)
		set_due(c, clock_now_ns() + c->period_ns);
	unlock(c);
	if (first)
		watch_wake(c->conf.shared, clock_now_ns()); /* it may mean to sleep without an end */
}

void crew_leave(struct crew *c, const struct work_line *line)
{
	struct capture_thread *thread = NULL;
	struct member *m = NULL;
	struct pool_seen *p;
	uint64_t cpu, waited;
	bool gone = false;

	if (!c)
		return;
	lock(c);
	for (struct list *node = c->members.next; node != &c->members && !m; node = node->next)
		if (container_of(node, struct member, node)->line == line)
			m = container_of(node, struct member, node);
	if (m) {
		p = &c->pools[m->pool];
		if (m->thread && capture_thread_times(m->thread, &cpu, &waited) == 0) {
			p->gone.cpu_ns += cpu;
			p->gone.waited_ns += waited;
		}
		p->members--;
		p->looked -= m->thread != NULL;
		c->looked -= m->thread != NULL;
		thread = m->thread;
		m->thread = NULL;
		m->line = NULL;
		m->left = m->stall != NULL;     /* the monitor concludes it, and frees */
		gone = !m->left;
		if (gone)
			list_del(&m->node);
	}
	unlock(c);
	capture_thread_free(thread);
	if (gone)
		free(m);
}

/* ---- one that hangs ---------------------------------------------------------------------------------------------- */

static bool read_times(const struct member *m, uint64_t *cpu, uint64_t *waited)
{
	return m->thread && capture_thread_times(m->thread, cpu, waited) == 0;
}

static void first_sight(struct member *m, uint64_t since_ns, uint32_t route, const struct looking *l)
{
	m->since_ns = since_ns;
	m->route = route;
	m->first_ns = l->now_ns;
	m->lost_ns = l->lost_ns;
	m->tell_ns = 0;
	m->asked = false;
	m->timed = read_times(m, &m->cpu_ns, &m->waited_ns);
}

/* Where the job's time went.  Unknown parts are nothing, and then the cause is unknown, too. */
static void divide(const struct crew *c, const struct member *m, const struct looking *l, struct stall *s)
{
	uint64_t wall = l->now_ns - m->since_ns, cpu, waited;

	s->parts = (struct stall_parts){ .wall = wall };
	s->cause = STALL_UNKNOWN;
	if (!m->timed || !read_times(m, &cpu, &waited))
		return;
	s->parts = stall_divide(wall, l->now_ns - m->first_ns, cpu - m->cpu_ns, waited - m->waited_ns,
		l->lost_ns - m->lost_ns);
	s->cause = stall_judge(&s->parts, c->conf.limit_ns);
}

/* What the thread does in the job that began at since_ns, and the system call it sleeps in ("": none).  As
 * capture_look, or without `frames` as capture_glance, which asks it for nothing; -ESTALE also when the job ended
 * meanwhile. */
static int look_at_thread(const struct member *m, uint64_t since_ns, struct looking *l, bool frames,
	struct capture *out, char call[SYSCALL_TEXT_MAX])
{
	struct capture_where where = { .seq = &m->line->since_ns, .expected = since_ns };
	int rc;

	call[0] = '\0';
	if (!m->thread || !l->capturer)
		return -ENOENT;
	where.low = atomic_load_explicit(&m->line->low, memory_order_relaxed);
	where.high = atomic_load_explicit(&m->line->high, memory_order_relaxed);
	if (where.low == 0 || where.high <= where.low) /* or it was just changing */
		capture_thread_stack(m->thread, &where.low, &where.high);
	rc = frames ? capture_look(l->capturer, m->thread, &where, out) : capture_glance(m->thread, &where, out);
	if (rc == 0)
		syscall_format(l->capturer, out, call, SYSCALL_TEXT_MAX);
	/* Acquire: what was read before is not taken from after the job. */
	return atomic_load_explicit(&m->line->since_ns, memory_order_acquire) == since_ns ? rc : -ESTALE;
}

/* The job that was watched is over, perhaps since a while. */
static void over(struct crew *c, struct member *m, uint64_t now_ns)
{
	if (m->stall) {
		m->stall->ongoing = false;
		m->stall->parts.wall = now_ns - m->since_ns;
		stall_change(c->conf.book, m->stall);
		stall_tell(c->conf.book, m->stall, now_ns);
	}
	free(m->stall);
	m->stall = NULL;
	m->since_ns = 0;
}

static struct stall *new_stall(const struct crew *c, enum stall_kind kind, unsigned pool, uint64_t began_ns)
{
	struct stall *s = calloc(1, sizeof(*s));

	if (s) {
		s->kind = kind;
		s->pool = c->conf.pool_name(c->conf.arg, pool);
		s->began = stall_real_time(began_ns);
		s->what = "job";
		s->ongoing = true;
	}
	return s;
}

/* A job over the limit.  Nobody is told of until somebody is to blame.  Lets go of the mutex while files are read for
 * the names of its stack. */
static void goes_on(struct crew *c, struct member *m, struct looking *l)
{
	bool tell = l->now_ns - m->since_ns >= m->tell_ns;
	struct stall *s = m->stall ? m->stall : new_stall(c, STALL_WORKER, m->pool, m->since_ns);
	char call[SYSCALL_TEXT_MAX];
	struct capture look;
	int rc = -EALREADY;

	if (!s)
		return;
	divide(c, m, l, s);
	if (tell || m->asked)
		rc = look_at_thread(m, m->since_ns, l, true, &look, call);
	m->asked = rc == -EINPROGRESS;
	if (m->asked && l->next_ns > l->now_ns + ASK_AGAIN)
		l->next_ns = l->now_ns + ASK_AGAIN;
	if (rc == -ESTALE || (!m->stall && !stall_blames(s->cause) && s->cause != STALL_UNKNOWN)) {
		if (!m->stall)
			free(s);
		return;
	}
	m->stall = s;   /* from now on m is this thread's to free */
	s->route = m->route;
	s->name = stall_route_name(c->conf.book, m->route);
	if (rc == 0) {
		unlock(c);
		stall_look(s, l->symbols, &look, call);
		lock(c);
	}
	if (s->id == 0) {
		stall_open(c->conf.book, s);
		counter_add(&c->pools[m->pool].stalls[m->route], 1);
	} else {
		stall_change(c->conf.book, s);
	}
	if (!tell || m->asked)
		return;
	m->tell_ns = stall_next_told(m->tell_ns > c->conf.limit_ns ? m->tell_ns : c->conf.limit_ns, 0);
	while (m->tell_ns <= l->now_ns - m->since_ns)
		m->tell_ns = stall_next_told(m->tell_ns, 0);
	stall_tell(c->conf.book, s, l->now_ns);
}

static void look_at(struct crew *c, struct member *m, struct looking *l)
{
	uint64_t since = 0, due;
	uint32_t route = 0;

	if (!m->line || !work_read(m->line, &since, &route))
		since = 0;
	if (m->since_ns && m->since_ns != since)
		over(c, m, l->now_ns);
	if (!since || since > l->now_ns)
		return;
	if (m->since_ns != since)
		first_sight(m, since, route, l);
	due = since + c->conf.limit_ns;
	if (l->now_ns >= due)
		goes_on(c, m, l);
	else if (due < l->next_ns)
		l->next_ns = due;
}

/* ---- a pool that starves ----------------------------------------------------------------------------------------- */

/* Workers that wait for the same thing, on behalf of one route. */
struct group {
	char waits_in[SYSCALL_TEXT_MAX];        /* "" on a CPU, or waiting for one */
	uint32_t route;
	unsigned n;
	bool alike;                             /* in the number of the descriptor, too */
};

struct groups {
	struct group all[GROUPS];
	unsigned n, others;
};

/* What follows the number of the descriptor in "read(fd 17, socket 10.0.0.5:5432)"; NULL where there is none. */
static const char *behind_number(const char *call)
{
	const char *fd = strstr(call, "(fd "), *end = fd ? fd + 4 + strspn(fd + 4, "0123456789") : NULL;

	return end && strncmp(end, ", ", 2) == 0 ? end + 2 : NULL;
}

/* Whether they are the same, or the same but for the number of the descriptor. */
static bool same_thing(const char *a, const char *b)
{
	const char *a2 = behind_number(a), *b2 = behind_number(b);

	if (strcmp(a, b) == 0)
		return true;
	return a2 && b2 && strcspn(a, "(") == strcspn(b, "(") && strncmp(a, b, strcspn(a, "(")) == 0 &&
		strcmp(a2, b2) == 0;
}

static void count(struct groups *g, const char *waits_in, uint32_t route)
{
	unsigned i = 0;

	while (i < g->n && !(g->all[i].route == route && same_thing(g->all[i].waits_in, waits_in)))
		i++;
	if (i == GROUPS) {
		g->others++;
		return;
	}
	if (i == g->n) {
		snprintf(g->all[i].waits_in, sizeof(g->all[i].waits_in), "%s", waits_in);
		g->all[i].route = route;
		g->all[i].alike = true;
		g->n++;
	}
	g->all[i].alike &= strcmp(g->all[i].waits_in, waits_in) == 0;
	g->all[i].n++;
}

static int by_number(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return x->n != y->n ? (x->n < y->n ? 1 : -1) : strcmp(x->waits_in, y->waits_in);
}

/* "read(fd 17, socket ...)", or of several descriptors "read(socket ...)". */
static void put_call(const struct group *g, char *dst, size_t n)
{
	const char *behind = behind_number(g->waits_in);

	if (!g->waits_in[0])
		snprintf(dst, n, "on CPU");
	else if (g->alike || !behind)
		snprintf(dst, n, "in %s", g->waits_in);
	else
		snprintf(dst, n, "in %.*s(%s", (int)strcspn(g->waits_in, "("), g->waits_in, behind);
}

static void put_groups(const struct crew *c, struct groups *g, char *dst, size_t n)
{
	size_t at = 0;

	qsort(g->all, g->n, sizeof(g->all[0]), by_number);
	for (unsigned i = 0; i < g->n && at < n; i++) {
		const char *name = stall_route_name(c->conf.book, g->all[i].route);
		char call[SYSCALL_TEXT_MAX + 8];

		put_call(&g->all[i], call, sizeof(call));
		at += (size_t)snprintf(dst + at, n - at, "%s%u %s for %s", i > 0 ? ", " : "", g->all[i].n, call,
			name ? name : "work of no route");
	}
	if (g->others > 0 && at < n)
		snprintf(dst + at, n - at, ", %u for other things", g->others);
}

/* What each worker of the pool does now; for that nobody's frames are needed. */
static void write_waits(struct crew *c, unsigned pool, const struct crew_pool *now, struct looking *l)
{
	struct stall *s = c->pools[pool].starved;
	struct groups *g = calloc(1, sizeof(*g));
	char waits_in[SYSCALL_TEXT_MAX];
	int at;

	if (!g)
		return;
	for (struct list *node = c->members.next; node != &c->members; node = node->next) {
		const struct member *m = container_of(node, struct member, node);
		struct capture look = { .state = CAPTURE_UNKNOWN };
		uint64_t since;
		uint32_t route;
		int rc;

		if (m->pool != pool || !m->line || !work_read(m->line, &since, &route))
			continue;
		rc = look_at_thread(m, since, l, false, &look, waits_in);
		if (rc == -ESTALE)
			continue;       /* it has just been done */
		if (look.state == CAPTURE_UNKNOWN)
			snprintf(waits_in, sizeof(waits_in), "something unknown");
		count(g, waits_in, route);
	}
	at = snprintf(s->text, sizeof(s->text), "%s: %u of %u threads busy, %u requests wait, oldest %.1f s: ", s->pool,
		now->busy, now->limit, now->queued, (double)(l->now_ns - now->oldest_ns) / (double)NS_PER_S);
	put_groups(c, g, s->text + at, sizeof(s->text) - (size_t)at);
	free(g);
}

static bool starves(const struct crew_pool *now, uint64_t now_ns)
{
	return now->queued > 0 && now->busy >= now->limit && now->oldest_ns && now_ns >= now->oldest_ns + STARVES_NS;
}

static void look_at_pool(struct crew *c, unsigned pool, struct looking *l)
{
	struct pool_seen *p = &c->pools[pool];
	struct crew_pool now = { 0 };
	bool tell;

	c->conf.pool_look(c->conf.arg, pool, &now);
	if (!starves(&now, l->now_ns)) {
		if (p->starved) {
			p->starved->ongoing = false;
			stall_change(c->conf.book, p->starved);
		}
		free(p->starved);
		p->starved = NULL;
		return;
	}
	if (!p->starved) {
		p->starved_ns = now.oldest_ns;
		p->tell_ns = 0;
		p->starved = new_stall(c, STALL_POOL, pool, p->starved_ns);
		if (!p->starved)
			return;
		p->starved->route = stall_no_route(c->conf.book);
		p->starved->cause = STALL_UNKNOWN;
		counter_add(&p->starvations, 1);
	}
	p->starved->parts.wall = l->now_ns - p->starved_ns;
	tell = p->starved->parts.wall >= p->tell_ns;
	if (tell)
		write_waits(c, pool, &now, l);
	if (p->starved->id)
		stall_change(c->conf.book, p->starved);
	else
		stall_open(c->conf.book, p->starved);
	if (!tell)
		return;
	p->tell_ns = p->starved->parts.wall * 2;
	stall_tell(c->conf.book, p->starved, l->now_ns);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

void crew_look(struct crew *c, struct capturer *capturer, struct symbols *symbols, uint64_t now_ns, uint64_t lost_ns)
{
	struct looking l = { capturer, symbols, now_ns, lost_ns, NEVER };

	lock(c);
	if (!list_empty(&c->members))
		l.next_ns = now_ns + c->period_ns;
	for (struct list *node = c->members.next, *next; node != &c->members; node = next) {
		struct member *m = container_of(node, struct member, node);

		look_at(c, m, &l);
		next = node->next;      /* only now: others may have left meanwhile */
		if (m->left && !m->stall) {
			list_del(node);
			free(m);
		}
	}
	for (unsigned i = 0; i < c->conf.pools; i++)
		look_at_pool(c, i, &l);
	set_due(c, l.next_ns);
	unlock(c);
}

UNCHECKED uint64_t crew_stalls(const struct crew *c, unsigned pool, uint32_t route)
{
	return counter_read(&c->pools[pool].stalls[route]);
}

UNCHECKED uint64_t crew_starvations(const struct crew *c, unsigned pool)
{
	return counter_read(&c->pools[pool].starvations);
}

bool crew_times(struct crew *c, unsigned pool, uint64_t now_ns, struct crew_times *t)
{
	bool known;

	lock(c);
	*t = c->pools[pool].gone;
	known = c->pools[pool].members == c->pools[pool].looked;
	for (struct list *node = c->members.next; node != &c->members; node = node->next) {
		const struct member *m = container_of(node, struct member, node);
		uint64_t cpu, waited, since;
		uint32_t route;

		if (m->pool != pool || !m->line)
			continue;
		if (!read_times(m, &cpu, &waited)) {
			known = false;
			continue;
		}
		t->cpu_ns += cpu;
		t->waited_ns += waited;
		if (work_read(m->line, &since, &route) && since < now_ns)
			t->unfinished_ns += now_ns - since;
	}
	unlock(c);
	return known;
}
