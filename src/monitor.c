/* monitor.c: one thread that looks at all loops, every few milliseconds while they work, and finds what holds them.
 *
 * It detects by wall time: a loop's line shows the same seq, and its start is older than the limit.  It judges by the
 * thread's times, and whether it sleeps, at every look, and by its times at the end of a long hold (account.c).  What
 * is looked at counts only if seq has not moved meanwhile; so a route can never be named for what another one did.
 * A hold whose cause is its route's own is recorded as soon as it has reached the limit, with a look at the thread's
 * stack and system call; one that could merely not get a CPU is recorded when it is over and that is certain.  Holds
 * that the monitor never saw, being late itself, come by the loops' rings; nobody is blamed for those.  Who acts on a
 * route that is blamed is told at the first look after the hold, or while it lasts and lasts, unless its loop has
 * claimed to do that itself; the record waits a little longer, until its victims are known.
 *
 * Its own lateness is measured at every look (lateness.c): as far as it says that the process stood still, or may have
 * while the monitor had no CPU to know it, it is taken off what any route may be blamed for.  Wake-ups cost, and looks
 * at threads: so looks are rare, but less than the limit apart, and a hold that has just begun is left to the next.
 *
 * When no loop has entered code of the app's since the last look, it says that it sleeps (`asleep`), looks once more a
 * period later, and then sleeps without an end; the next loop to enter wakes it.  That second look takes the place of a
 * fence at each entry: an entry that did not see `asleep` was made before it was set, so its seq is to be seen by
 * then.  Idle loops cost no wake-up, and a loop pays one load.  Pools' threads are looked at when crew.c wants it,
 * every second at most while there are any, so the sleep has an end until they are gone.  The files that name what is
 * on stacks are opened by monitor_new, for an app may give up its privileges before it serves; they are read before the
 * first long sleep, or one a look when the process has been busy for a while: its first requests need not wait for it.
 *
 * Threads: all on the monitor's own but monitor_new, _start and _free.  It holds no lock of the app's or of a loop's
 * path, so it goes on when all of them are stuck.
 */
#include "monitor.h"
#include "account.h"
#include "base/clock.h"
#include "base/futex.h"
#include "capture.h"
#include "crew.h"
#include "lateness.h"
#include "stall.h"
#include "symbols.h"
#include "syscalls.h"
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#define PERIOD_MIN NS_PER_MS
#define PERIOD_MAX (10 * NS_PER_MS)
#define YOUNG 8                         /* of a period: a hold of less is left to the next look */
#define TICK_NS NS_PER_S
#define SYMBOLS_AFTER_NS (20 * NS_PER_MS) /* what has started may have somebody waiting for it */
#define ASK_AGAIN NS_PER_MS             /* of a thread that was asked for its frames */
#define VICTIMS_NS (20 * NS_PER_MS)     /* after a hold, when only connections that were accepted late may add some */
#define VICTIMS_MAX_NS (200 * NS_PER_MS)

enum asked { NOT_ASKED, WAITS_FOR_STACK, HAS_STACK };

/* A hold that was seen. */
struct sight {
	uint64_t seq;                   /* 0: none */
	uint64_t start_ns;
	struct account account;         /* of its time, if `timed` */
	struct lateness_grant grant;    /* what of its time nobody can speak for */
	bool timed;                     /* the thread's times were read while it lasted */
	bool counted, blamed;           /* and told to who acts on it */
	uint32_t counted_route;         /* as what it was counted */
	enum stall_cause counted_cause;
	struct stall_parts parts;       /* once it is over */
	enum asked asked;
	uint64_t tell_ns;               /* the age at which the log is told next */
	struct stall *stall;            /* what is recorded of it; NULL: nothing yet */
};

struct monitored {
	struct watch_loop *loop;
	uint64_t seq;                   /* at the last look */
	uint64_t lost;                  /* holds its ring had no room for, counted so far */
	struct account_times times;     /* its thread's, at the last look; not known: at_ns is 0 */
	struct account_times before;    /* and at the look before */
	struct sight now;
	struct sight over[WATCH_LONG];  /* what was seen of the holds in its ring */
};

struct monitor {
	struct monitor_conf conf;
	uint64_t period_ns, young_ns;
	struct capturer *capturer;
	struct symbols *symbols;
	struct capture_thread *self;    /* its own times; NULL: /proc does not tell */
	struct monitored *loops;
	struct lateness late;
	uint64_t tick_ns;               /* the next tick */
	uint64_t symbols_ns;            /* from when on files are read, one a look */
	pthread_t thread;
	bool started;
	_Atomic uint32_t stop;
};

uint64_t monitor_period(uint64_t limit_ns)
{
	uint64_t period = limit_ns / 4 * 3;

	return period < PERIOD_MIN ? PERIOD_MIN : period > PERIOD_MAX ? PERIOD_MAX : period;
}

/* ---- its own lateness -------------------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void *unused)
{
	(void)unused;
	return clock_now_ns();
}

/* How long the machine has been suspended since it started, to within the reading of two clocks. */
static uint64_t suspended_ns(void *unused)
{
	uint64_t monotonic = clock_now_ns(), boot = clock_ns(CLOCK_BOOTTIME);

	(void)unused;
	return boot > monotonic ? boot - monotonic : 0;
}

static bool own_times(void *arg, uint64_t *cpu_ns, uint64_t *waited_ns)
{
	const struct monitor *m = arg;

	return m->self && capture_thread_times(m->self, cpu_ns, waited_ns) == 0;
}

/* What loops go by that judge holds themselves; due_ns: see watch_shared.  First what was lost; the other two with
 * release, so that who sees one of them sees that as well (watch_may_be_lost). */
static void publish(struct monitor *m, uint64_t due_ns)
{
	struct watch_shared *s = m->conf.shared;

	atomic_store_explicit(&s->lost_ns, m->late.doubt_ns, memory_order_relaxed);
	atomic_store_explicit(&s->tick_ns, m->late.looked_ns, memory_order_release);
	atomic_store_explicit(&s->due_ns, due_ns, memory_order_release);
}

static void look_at_clock(struct monitor *m)
{
	/* Relaxed: a number, for its own sake.  Earlier than what was published: who woke it has set that. */
	uint64_t due = atomic_load_explicit(&m->conf.shared->due_ns, memory_order_relaxed);

	if (due < m->late.due_ns)
		lateness_wake(&m->late, due - WATCH_LOOK_NS);
	lateness_look(&m->late);
	publish(m, m->late.looked_ns + WATCH_LOOK_NS);
}

/* The look is over; with `asleep` the next may be made when it is woken. */
static void rest(struct monitor *m, uint64_t due_ns, bool asleep)
{
	lateness_rest(&m->late, due_ns);
	publish(m, asleep ? NEVER : m->late.due_ns);
}

/* ---- looking at a loop ------------------------------------------------------------------------------------------- */

/* Acquire: what was read before is not taken from after the hold. */
static bool still(const struct watch_line *line, uint64_t seq)
{
	return atomic_load_explicit(&line->seq, memory_order_acquire) == seq;
}

/* The clock is read with the times, for a look may have begun long before: waits that the thread has had since then
 * would be missing from what was watched, and look as if it had slept. */
static struct account_times read_times(struct watch_loop *l)
{
	struct account_times t = { .at_ns = 0 };

	pthread_mutex_lock(&l->looking);
	if (l->thread && capture_thread_times(l->thread, &t.cpu_ns, &t.waited_ns) == 0)
		t.at_ns = clock_now_ns();
	pthread_mutex_unlock(&l->looking);
	return t;
}

/* Counts only if the hold is still the same. */
static bool is_asleep(struct watch_loop *l, uint64_t seq)
{
	struct capture_where where = { .seq = &l->line.seq, .expected = seq };
	struct capture c = { .state = CAPTURE_UNKNOWN };
	int rc = -ENOENT;

	pthread_mutex_lock(&l->looking);
	if (l->thread)
		rc = capture_glance(l->thread, &where, &c);
	pthread_mutex_unlock(&l->looking);
	return rc == 0 && c.state == CAPTURE_SLEEPING;
}

/* The last look may have left the hold to this one: its times are the hold's then, too. */
static void begin_account(struct monitored *l, const struct account_times *earlier, bool asleep)
{
	struct account *a = &l->now.account;

	if (l->before.at_ns > l->now.start_ns) {
		account_begin(a, l->now.start_ns, earlier, &l->before, asleep);
		account_look(a, &l->times, asleep);
	} else {
		account_begin(a, l->now.start_ns, &l->before, &l->times, asleep);
	}
}

/* Times that were read when the hold was over already are greater than those at its end: they do not count.  earlier:
 * those of the look before the last. */
static void first_sight(struct monitor *m, struct monitored *l, const struct watch_view *v,
	const struct account_times *earlier)
{
	bool asleep = is_asleep(l->loop, v->seq);

	l->now = (struct sight){ .seq = v->seq, .start_ns = v->start_ns };
	lateness_first(&m->late, &l->now.grant, v->start_ns, m->period_ns + m->young_ns);
	l->now.timed = l->times.at_ns && still(&l->loop->line, v->seq);
	if (l->now.timed)
		begin_account(l, earlier, asleep);
}

static struct stall_parts parts_of(struct monitor *m, struct sight *s, const struct account_times *now)
{
	uint64_t lost = lateness_granted(&m->late, &s->grant), hidden = s->grant.hidden_ns;
	struct stall_parts p = account_parts(&s->account, now, lost);

	p.hidden = hidden < p.blocked ? hidden : p.blocked;
	return p;
}

/* ---- what is recorded of it -------------------------------------------------------------------------------------- */

static const char *what_name(enum watch_what what)
{
	return what == WATCH_POST ? "ol_post" : what == WATCH_HOOK ? "hook" : "handler";
}

/* Sets what the parts come to.  Who is not blamed is not named. */
static void judge(const struct monitor *m, struct stall *s, const struct stall_parts *parts, uint32_t route,
	enum watch_what what)
{
	struct stall_book *b = m->conf.book;

	s->parts = *parts;
	s->cause = stall_judge(parts, m->conf.limit_ns);
	s->route = stall_blames(s->cause) ? route : stall_no_route(b);
	s->name = stall_blames(s->cause) ? stall_route_name(b, route) : NULL;
	s->what = what_name(what);
}

/* The same for a stall that is recorded.  One that has been counted stays what it was counted as, however it goes on:
 * counts do not run backwards, and the log, the record and the counts are to tell the same. */
static void judge_record(const struct monitor *m, const struct sight *s, struct stall *stall,
	const struct stall_parts *parts, uint32_t route, enum watch_what what)
{
	judge(m, stall, parts, route, what);
	if (!s->counted)
		return;
	stall->route = s->counted_route;
	stall->cause = s->counted_cause;
	stall->name = stall_route_name(m->conf.book, stall->route);
}

static struct stall *new_stall(const struct monitor *m, const struct monitored *l, uint64_t start_ns)
{
	struct stall *s = calloc(1, sizeof(*s));

	if (s) {
		s->loop = (unsigned)(l - m->loops);
		s->began = stall_real_time(start_ns);
	}
	return s;
}

/* ---- a hold that goes on ----------------------------------------------------------------------------------------- */

/* What the thread does, while the hold lasts, and with `frames` where; 0 when it is known. */
static int look_at_thread(struct monitor *m, struct monitored *l, const struct watch_view *v, bool frames,
	struct capture *c)
{
	struct capture_where where = { v->low, v->high, &l->loop->line.seq, v->seq };
	struct capture_thread *t;
	int rc = -ENOENT;

	pthread_mutex_lock(&l->loop->looking);
	t = l->loop->thread;
	if (t && m->capturer) {
		if (where.high == 0)
			capture_thread_stack(t, &where.low, &where.high);
		rc = frames ? capture_look(m->capturer, t, &where, c) : capture_glance(t, &where, c);
	}
	pthread_mutex_unlock(&l->loop->looking);
	return rc;
}

/* Counts it and tells of it while it goes on, at an age that doubles. */
static void tell_ongoing(struct monitor *m, struct monitored *l)
{
	struct sight *s = &l->now;
	uint64_t age = m->late.looked_ns - s->start_ns;

	if (s->tell_ns == 0)
		s->tell_ns = stall_next_told(0, m->conf.limit_ns);
	if (age < s->tell_ns)
		return;
	while (s->tell_ns <= age)
		s->tell_ns = stall_next_told(s->tell_ns, m->conf.limit_ns);
	if (!s->counted) {
		s->counted = true;
		s->counted_route = s->stall->route;
		s->counted_cause = s->stall->cause;
		stall_count(m->conf.book, s->stall);
	}
	if (!s->blamed && watch_claim_seq(l->loop, s->seq)) {
		s->blamed = true;
		stall_blame(m->conf.book, s->stall);
	}
	stall_tell(m->conf.book, s->stall, m->late.looked_ns);
}

/* A look at a hold over the limit.  Nothing is kept of it unless the hold is the same afterwards. */
static void goes_on(struct monitor *m, struct monitored *l, const struct watch_view *v)
{
	struct sight *s = &l->now;
	struct capture c = { .state = CAPTURE_UNKNOWN };
	char call[SYSCALL_TEXT_MAX] = "";
	bool frames = s->asked != HAS_STACK;
	struct stall_parts parts;
	int rc;

	if (!s->timed || !l->times.at_ns)
		return;                 /* its end will tell */
	rc = look_at_thread(m, l, v, frames, &c);
	if (frames && rc == 0)
		syscall_format(m->capturer, &c, call, sizeof(call));
	if (rc == -ESTALE || !still(&l->loop->line, v->seq))
		return;
	account_look(&s->account, &l->times, c.state == CAPTURE_SLEEPING);
	parts = parts_of(m, s, &l->times);
	if (rc == -EINPROGRESS)
		s->asked = WAITS_FOR_STACK;
	else if (rc != 0 || c.nframes > 0 || parts.wall > m->conf.limit_ns * 2)
		s->asked = HAS_STACK;   /* or there is none to be had; else it was caught at a bad moment */
	if (!s->stall && !(s->stall = new_stall(m, l, v->start_ns)))
		return;
	judge_record(m, s, s->stall, &parts, v->route, v->what);
	s->stall->ongoing = true;
	if (frames && rc == 0)
		stall_look(s->stall, m->symbols, &c, call);
	else if (s->stall->cause == STALL_BLOCKED && s->stall->state != CAPTURE_SLEEPING && c.state == CAPTURE_SLEEPING)
		s->asked = NOT_ASKED;   /* it was caught before it slept: where it does is for the next look */
	if (!s->stall->id && !stall_blames(s->stall->cause)) {
		if (s->stall->nframes == 0)
			s->asked = NOT_ASKED;
		return;                 /* its end will tell, with the stack that was seen */
	}
	if (s->stall->id)
		stall_change(m->conf.book, s->stall);
	else
		stall_open(m->conf.book, s->stall);
	tell_ongoing(m, l);
}

/* ---- a hold that is over ----------------------------------------------------------------------------------------- */

/* Where its time went; all of it is lost when it was not watched. */
static void divide(struct monitor *m, struct sight *s, const struct watch_long *e)
{
	uint64_t wall = e->end_ns - e->start_ns;

	s->parts = (struct stall_parts){ .wall = wall, .lost = wall };
	if (s->timed && e->cpu_ns)
		s->parts = parts_of(m, s, &(struct account_times){ e->end_ns, e->cpu_ns, e->waited_ns });
}

/* Tells who acts on it, without waiting for its victims to be known. */
static void blame(struct monitor *m, struct sight *s, const struct watch_long *e)
{
	struct stall verdict = { .kind = STALL_LOOP };

	if (s->blamed || e->told)
		return;
	judge(m, &verdict, &s->parts, e->route, e->what);
	s->blamed = true;
	stall_blame(m->conf.book, &verdict);
}

/* The hold that was watched is over: what was seen of it is put beside its entry in the loop's ring. */
static void is_over(struct monitor *m, struct monitored *l)
{
	struct watch_loop *w = l->loop;
	struct sight *s = &l->now;
	/* Relaxed: the monitor's own.  Acquire: pairs with watch_over_limit, so that the entries are whole. */
	uint32_t i = atomic_load_explicit(&w->longs_begin, memory_order_relaxed);
	uint32_t end = atomic_load_explicit(&w->longs_end, memory_order_acquire);

	while (i != end && w->longs[i % WATCH_LONG].seq != s->seq)
		i++;
	if (i != end) {
		divide(m, s, &w->longs[i % WATCH_LONG]);
		blame(m, s, &w->longs[i % WATCH_LONG]);
		l->over[i % WATCH_LONG] = *s;
	} else if (s->stall) {  /* its end came just before the limit, or the ring was full */
		stall_retract(m->conf.book, s->stall->id);
		free(s->stall);
	}
	*s = (struct sight){ .seq = 0 };
}

static bool victims_known(const struct watch_long *e, uint64_t now_ns)
{
	/* Acquire: pairs with watch_age, so that the last victim is seen. */
	uint32_t age = atomic_load_explicit(&e->age, memory_order_acquire);
	uint64_t since = now_ns > e->end_ns ? now_ns - e->end_ns : 0;

	return age >= WATCH_OLD || (age == WATCH_OLD - 1 && since > VICTIMS_NS) || since > VICTIMS_MAX_NS;
}

/* The last word on a hold that was over the limit. */
static void conclude(struct monitor *m, struct monitored *l, const struct watch_long *e, struct sight *s)
{
	struct stall_parts parts = { .wall = e->end_ns - e->start_ns, .lost = e->end_ns - e->start_ns };
	struct stall *stall = s->stall ? s->stall : new_stall(m, l, e->start_ns);

	if (!stall) {
		stall_count_unseen(m->conf.book, 1);
		return;
	}
	if (s->seq == e->seq)
		parts = s->parts;
	judge_record(m, s, stall, &parts, e->route, e->what);
	if (!stall->name) {     /* what was seen of it is nobody's */
		stall->nframes = 0;
		stall->syscall[0] = '\0';
		stall->state = CAPTURE_UNKNOWN;
	}
	stall->victims = atomic_load_explicit(&e->victims, memory_order_relaxed);
	stall->ongoing = false;
	if (!s->counted)        /* first, so that who sees that it is over finds it counted */
		stall_count(m->conf.book, stall);
	stall_count_victims(m->conf.book, stall);
	if (stall->id)
		stall_change(m->conf.book, stall);
	else
		stall_open(m->conf.book, stall);
	stall_tell(m->conf.book, stall, m->late.looked_ns);
	free(stall);
}

/* Fetches what the loop's ring holds, as soon as the victims are known; but not the hold that is watched, which may
 * have ended during this look: what was seen of it is put beside its entry by the next.  Whether more is to come. */
static bool fetch(struct monitor *m, struct monitored *l)
{
	struct watch_loop *w = l->loop;
	uint32_t i = atomic_load_explicit(&w->longs_begin, memory_order_relaxed);
	uint32_t end = atomic_load_explicit(&w->longs_end, memory_order_acquire);
	uint64_t lost = counter_read(&w->longs_lost);

	for (; i != end && w->longs[i % WATCH_LONG].seq != l->now.seq; i++) {
		if (!victims_known(&w->longs[i % WATCH_LONG], m->late.looked_ns))
			break;
		conclude(m, l, &w->longs[i % WATCH_LONG], &l->over[i % WATCH_LONG]);
		l->over[i % WATCH_LONG] = (struct sight){ .seq = 0 };
		/* Release: the loop may write the slot again only now. */
		atomic_store_explicit(&w->longs_begin, i + 1, memory_order_release);
	}
	if (lost != l->lost)
		stall_count_unseen(m->conf.book, lost - l->lost);
	l->lost = lost;
	return i != end;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

/* A look at a hold that has not reached the limit. */
static void look_early(struct monitored *l, uint64_t seq)
{
	bool asleep = is_asleep(l->loop, seq);

	if (l->now.timed && l->times.at_ns && still(&l->loop->line, seq))
		account_look(&l->now.account, &l->times, asleep);
}

/* Most holds are over by the next look, so one that has just begun is left to that. */
static bool is_seen(const struct monitor *m, const struct watch_view *v)
{
	return v->seq && m->late.looked_ns >= v->start_ns + m->young_ns;
}

/* Looks at one loop; sets *due back to when it is to be looked at again.  Whether there was anything to see. */
static bool look(struct monitor *m, struct monitored *l, uint64_t *due)
{
	struct watch_view v = watch_read(&l->loop->line);
	uint64_t seq = atomic_load_explicit(&l->loop->line.seq, memory_order_relaxed), next = NEVER;
	const struct account_times earlier = l->before;
	bool moved = seq != l->seq, seen = is_seen(m, &v);

	l->seq = seq;
	l->before = l->times;   /* with a hold or without: what was done before the next must not count as its own */
	l->times = read_times(l->loop);
	lateness_again(&m->late, &l->now.grant);
	if (l->now.seq && l->now.seq != v.seq)
		is_over(m, l);
	if (seen && l->now.seq != v.seq)
		first_sight(m, l, &v, &earlier);
	else if (seen && m->late.looked_ns < v.start_ns + m->conf.limit_ns)
		look_early(l, v.seq);
	if (seen && m->late.looked_ns >= v.start_ns + m->conf.limit_ns)
		goes_on(m, l, &v);
	else if (v.seq)
		next = v.start_ns + m->conf.limit_ns;
	if (l->now.asked == WAITS_FOR_STACK && l->now.seq)
		next = m->late.looked_ns + ASK_AGAIN;
	if (next < *due)
		*due = next;
	return fetch(m, l) || moved || v.seq;
}

/* Reads one of the files that name what is on stacks: at the first stall there is no time for it.  Whether there are
 * more. */
static bool read_symbols(struct monitor *m)
{
	return m->symbols && symbols_read_one(m->symbols);
}

/* What is looked at more rarely: the pools' workers, and what others want to do on this thread now and then. */
static void look_besides(struct monitor *m)
{
	if (m->late.looked_ns >= crew_due(m->conf.crew))
		crew_look(m->conf.crew, m->capturer, m->symbols, m->late.looked_ns, m->late.lost_ns);
	if (m->conf.tick && m->late.looked_ns >= m->tick_ns) {
		m->conf.tick(m->conf.tick_arg, m->late.looked_ns);
		m->tick_ns = m->late.looked_ns + TICK_NS;
	}
	if (m->late.looked_ns >= m->symbols_ns)
		(void)read_symbols(m);
}

/* Looks at all of them; whether there was anything to see.  *due: when to look again. */
static bool look_around(struct monitor *m, uint64_t *due)
{
	bool busy = false;

	look_at_clock(m);
	*due = m->late.looked_ns + m->period_ns;
	for (unsigned i = 0; i < m->conf.loops; i++)
		busy |= look(m, &m->loops[i], due);
	look_besides(m);
	if (crew_due(m->conf.crew) < *due)
		*due = crew_due(m->conf.crew);
	if (*due < m->late.looked_ns + ASK_AGAIN)
		*due = m->late.looked_ns + ASK_AGAIN;
	return busy;
}

static bool stopped(const struct monitor *m)
{
	/* Sequentially consistent, as the stores to `asleep` and `stop`: either this sees the stop, or who stops sees
	 * that it sleeps. */
	return atomic_load_explicit(&m->stop, memory_order_seq_cst) != 0;
}

/* Sleeps until a loop enters code of the app's, but for looks at workers.  What an entry that did not see `asleep`
 * began is seen by the look that is made a period after; so is a first worker. */
static void sleep_long(struct monitor *m)
{
	_Atomic uint32_t *asleep = &m->conf.shared->asleep;
	uint64_t due;
	bool busy;

	atomic_store_explicit(asleep, 1, memory_order_seq_cst);
	if (!stopped(m) && futex_wait(asleep, 1, m->late.due_ns))
		goto woken;
	busy = look_around(m, &due);
	rest(m, busy ? due : crew_due(m->conf.crew), !busy);
	while (!busy && !stopped(m) && atomic_load_explicit(asleep, memory_order_relaxed) == 1) {
		lateness_leave(&m->late);
		if (!read_symbols(m) && !futex_wait(asleep, 1, m->late.due_ns)) {
			look_at_clock(m);
			look_besides(m);
			rest(m, crew_due(m->conf.crew), true);
		}
	}
woken:
	atomic_store_explicit(asleep, 0, memory_order_relaxed);
}

static void *monitor_thread(void *arg)
{
	struct monitor *m = arg;
	const struct lateness_clock clock = { now_ns, suspended_ns, own_times, m };
	uint64_t due;

	pthread_setname_np(pthread_self(), "ol-monitor");
	m->self = capture_thread_new();
	lateness_init(&m->late, &clock);
	m->symbols_ns = clock_now_ns() + SYMBOLS_AFTER_NS;
	while (!stopped(m)) {
		bool busy = look_around(m, &due);

		rest(m, due, false);    /* if it now sleeps, a loop may yet have entered before it could see that */
		if (busy)
			(void)futex_wait(&m->stop, 0, m->late.due_ns);
		else
			sleep_long(m);
	}
	capture_thread_free(m->self);
	return NULL;
}

/* Opens the files that name what lies in the program, in this library and in libc. */
static void open_symbols(struct monitor *m)
{
	const uintptr_t addresses[] = { (uintptr_t)getauxval(AT_ENTRY), (uintptr_t)open_symbols,
		(uintptr_t)clock_nanosleep };

	for (size_t i = 0; m->symbols && i < sizeof(addresses) / sizeof(addresses[0]); i++)
		symbols_open(m->symbols, addresses[i]);
}

struct monitor *monitor_new(const struct monitor_conf *conf)
{
	struct monitor *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->conf = *conf;
	m->period_ns = monitor_period(conf->limit_ns);
	m->young_ns = m->period_ns < conf->limit_ns ? m->period_ns / YOUNG : 0; /* else the next look is late */
	m->loops = calloc(conf->loops, sizeof(*m->loops));
	if (!m->loops) {
		free(m);
		return NULL;
	}
	for (unsigned i = 0; i < conf->loops; i++)
		m->loops[i].loop = &conf->watched[i];
	/* Without them there are no stacks, or no names, but routes and causes all the same. */
	m->capturer = capturer_new();
	m->symbols = symbols_new();
	open_symbols(m);
	return m;
}

/* Signals are left to other threads: a handler of the app's may block, and who watches must not.  Faults are its
 * own. */
int monitor_start(struct monitor *m)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t blocked, saved;
	int rc;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&blocked, faults[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, &saved);
	/* Relaxed: a number.  It is awaited from now on: nothing is known until it has looked for the first time. */
	atomic_store_explicit(&m->conf.shared->due_ns, clock_now_ns() + WATCH_LOOK_NS, memory_order_relaxed);
	rc = pthread_create(&m->thread, NULL, monitor_thread, m);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	m->started = rc == 0;
	return -rc;
}

void monitor_stop(struct monitor *m)
{
	if (!m->started)
		return;
	atomic_store_explicit(&m->stop, 1, memory_order_seq_cst);
	futex_wake(&m->stop);
	if (atomic_exchange_explicit(&m->conf.shared->asleep, 0, memory_order_seq_cst))
		futex_wake(&m->conf.shared->asleep);
	pthread_join(m->thread, NULL);
	m->started = false;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	monitor_stop(m);
	for (unsigned i = 0; i < m->conf.loops; i++) {
		free(m->loops[i].now.stall);
		for (unsigned k = 0; k < WATCH_LONG; k++)
			free(m->loops[i].over[k].stall);
	}
	capturer_free(m->capturer);
	symbols_free(m->symbols);
	free(m->loops);
	free(m);
}
