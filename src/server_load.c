/* server_load.c: how much of their time the loops of a server have worked.
 *
 * A loop worked while it ran outside of its wait, on a CPU or not, and while the kernel worked for it inside: of a span
 * between two readings that is the greater of the time outside and the CPU time of its thread, and the rest it was
 * idle.  Added up span by span these are two counters that never run backwards, whose difference between any two
 * moments is what somebody wants to know who remembers the first: so as many may ask as want to, each about a time of
 * his own.  More readings only make the spans shorter, and what is said of them less an underestimate.
 *
 * For who remembers nothing there is a share of the last ten seconds.  It rests on marks, what had been counted at
 * moments at least a second apart; between two of them the loop is taken to have worked evenly.  Who asks often leaves
 * no more marks than the monitor, so nobody's asking changes what another is told, but that where the monitor is off a
 * mark is all there is between two questions.
 *
 * A loop is read while it runs, so what is read at the very end of a turn may be off by that turn; the highest figure
 * is kept, and the others are waited for.
 *
 * The monitor looks once a second while it is awake, and the control plane when it is asked: one mutex, under which
 * nothing waits.  While nothing runs nobody looks, and nothing is missed: the loops wait.
 */
#include "server_load.h"
#include "base/clock.h"
#include "base/thread.h"
#include "loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

LOCK_ROLE(load_role);

struct server_load {
	const ol_server *server;
	unsigned n;
	pthread_mutex_t mutex;
	struct load_meter *meters GUARDED_BY(load_role);        /* by loop */
};

static void lock(struct server_load *l) ACQUIRES(load_role);
static void unlock(struct server_load *l) RELEASES(load_role);

static UNCHECKED void lock(struct server_load *l)
{
	pthread_mutex_lock(&l->mutex);
}

static UNCHECKED void unlock(struct server_load *l)
{
	pthread_mutex_unlock(&l->mutex);
}

/* ---- one loop's -------------------------------------------------------------------------------------------------- */

/* How much it has grown by, and from then on the higher one. */
static uint64_t advance(uint64_t *last, uint64_t now)
{
	uint64_t more = now > *last ? now - *last : 0;

	*last += more;
	return more;
}

static void set_mark(struct load_meter *m, struct load_mark mark)
{
	if (m->nmarks == LOAD_MARKS)
		memmove(&m->marks[0], &m->marks[1], --m->nmarks * sizeof(m->marks[0]));
	m->marks[m->nmarks++] = mark;
}

void load_add(struct load_meter *m, const struct load_reading *r)
{
	uint64_t busy = advance(&m->last.busy_ns, r->busy_ns), all = busy + advance(&m->last.idle_ns, r->idle_ns);
	uint64_t cpu = advance(&m->last.cpu_ns, r->cpu_ns);

	if (cpu > busy)
		busy = cpu < all ? cpu : all;
	if (m->nmarks == 0)
		set_mark(m, (struct load_mark){ .at_ns = r->at_ns > all ? r->at_ns - all : 0 });
	(void)advance(&m->now.at_ns, r->at_ns);
	m->now.busy_ns += busy;
	m->now.idle_ns += all - busy;
	if (m->now.at_ns - m->marks[m->nmarks - 1].at_ns >= LOAD_MARK_NS)
		set_mark(m, m->now);
}

/* What had been counted by that time, between two marks. */
static struct load_mark between(const struct load_mark *a, const struct load_mark *b, uint64_t at_ns)
{
	double part = (double)(at_ns - a->at_ns) / (double)(b->at_ns - a->at_ns);

	return (struct load_mark){ at_ns, a->busy_ns + (uint64_t)(part * (double)(b->busy_ns - a->busy_ns)),
		a->idle_ns + (uint64_t)(part * (double)(b->idle_ns - a->idle_ns)) };
}

double load_share(const struct load_meter *m)
{
	uint64_t from = m->now.at_ns > LOAD_SHARE_NS ? m->now.at_ns - LOAD_SHARE_NS : 0;
	struct load_mark begin = m->marks[0];
	double busy, all;
	unsigned i = 0;

	while (i < m->nmarks && m->marks[i].at_ns <= from)
		i++;
	if (i > 0)
		begin = between(&m->marks[i - 1], i < m->nmarks ? &m->marks[i] : &m->now, from);
	busy = (double)(m->now.busy_ns - begin.busy_ns);
	all = busy + (double)(m->now.idle_ns - begin.idle_ns);
	return all > 0 ? busy / all : 0;
}

/* ---- all loops' -------------------------------------------------------------------------------------------------- */

UNCHECKED struct server_load *server_load_new(const ol_server *s)
{
	struct server_load *l = calloc(1, sizeof(*l));
	struct server_info info;

	if (!l)
		return NULL;
	server_info(s, &info);
	l->server = s;
	l->n = info.loops;
	l->meters = calloc(l->n, sizeof(*l->meters));
	pthread_mutex_init(&l->mutex, NULL);
	if (l->meters)
		return l;
	server_load_free(l);
	return NULL;
}

UNCHECKED void server_load_free(struct server_load *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->mutex);
	free(l->meters);
	free(l);
}

void server_load_look(struct server_load *l)
{
	if (!l)
		return;
	lock(l);
	for (unsigned i = 0; i < l->n; i++) {
		struct load_reading r = { .at_ns = clock_now_ns(), .cpu_ns = server_loop_cpu_ns(l->server, i) };

		loop_load(server_loop_of(l->server, i), r.at_ns, &r.busy_ns, &r.idle_ns);
		load_add(&l->meters[i], &r);
	}
	unlock(l);
}

struct loop_load server_load_of(struct server_load *l, unsigned i)
{
	struct loop_load told;

	lock(l);
	told = (struct loop_load){ l->meters[i].now.busy_ns, l->meters[i].now.idle_ns, load_share(&l->meters[i]) };
	unlock(l);
	return told;
}
