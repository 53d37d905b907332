/* test_watch.c: what a loop says of itself, how long holds are judged, and what the monitor makes of both. */
#include "base/clock.h"
#include "base/log.h"
#include "capture.h"
#include "monitor.h"
#include "stall.h"
#include "watch.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS NS_PER_MS
#define LIMIT (10 * MS)

/* ---- judging ----------------------------------------------------------------------------------------------------- */

static enum stall_cause judge(unsigned cpu_ms, unsigned waited_ms, unsigned blocked_ms, unsigned lost_ms)
{
	struct stall_parts p = { .cpu = cpu_ms * MS, .waited = waited_ms * MS, .blocked = blocked_ms * MS,
		.lost = lost_ms * MS };

	p.wall = p.cpu + p.waited + p.blocked;
	return stall_judge(&p, LIMIT);
}

START_TEST(the_greatest_part_names_the_cause)
{
	ck_assert_int_eq(judge(300, 0, 0, 0), STALL_CPU);
	ck_assert_int_eq(judge(0, 0, 300, 0), STALL_BLOCKED);
	ck_assert_int_eq(judge(100, 20, 180, 0), STALL_BLOCKED);
	ck_assert_int_eq(judge(180, 20, 100, 0), STALL_CPU);
	ck_assert_int_eq(judge(1, 300, 0, 0), STALL_RUNNABLE);
	ck_assert_int_eq(judge(6, 0, 5, 0), STALL_CPU);
}
END_TEST

START_TEST(waiting_for_a_cpu_blames_nobody)
{
	ck_assert_int_eq(judge(9, 8, 0, 0), STALL_RUNNABLE);    /* without the wait it was no stall */
	ck_assert_int_eq(judge(0, 3, 9, 0), STALL_RUNNABLE);
	ck_assert_int_eq(judge(5, 40, 9, 0), STALL_RUNNABLE);
	ck_assert_int_eq(judge(11, 3, 0, 0), STALL_CPU);
}
END_TEST

START_TEST(what_is_over_the_limit_by_itself_is_its_own_however_long_it_waited_besides)
{
	ck_assert_int_eq(judge(300, 900, 0, 0), STALL_CPU);
	ck_assert_int_eq(judge(10, 900, 0, 0), STALL_CPU);
	ck_assert_int_eq(judge(9, 900, 5, 0), STALL_RUNNABLE);
	ck_assert_int_eq(judge(9, 900, 9, 0), STALL_RUNNABLE);
	ck_assert_int_eq(judge(40, 233, 59, 0), STALL_BLOCKED);
	ck_assert_int_eq(judge(59, 233, 40, 0), STALL_CPU);
	ck_assert_int_eq(judge(16, 25, 22, 0), STALL_BLOCKED);
	ck_assert_int_eq(judge(0, 900, 10, 0), STALL_BLOCKED);
	ck_assert_int_eq(judge(0, 900, 19, 10), STALL_RUNNABLE);        /* less what was lost */
	ck_assert_int_eq(judge(0, 900, 100, 60), STALL_RUNNABLE);       /* most of which was lost */
	ck_assert_int_eq(judge(0, 900, 100, 40), STALL_BLOCKED);
}
END_TEST

START_TEST(a_machine_that_stood_still_blames_nobody)
{
	ck_assert_int_eq(judge(0, 0, 500, 500), STALL_LATE);
	ck_assert_int_eq(judge(500, 0, 0, 495), STALL_LATE);
	ck_assert_int_eq(judge(12, 0, 0, 5), STALL_LATE);
	ck_assert_int_eq(judge(300, 0, 0, 10), STALL_CPU);
	ck_assert_int_eq(judge(0, 0, 300, 10), STALL_BLOCKED);
	ck_assert_int_eq(judge(0, 0, 30, 16), STALL_LATE);
}
END_TEST

START_TEST(what_a_wait_of_the_monitors_may_hide_is_taken_off_what_was_blocked)
{
	struct stall_parts p = { .wall = 20 * MS, .blocked = 20 * MS, .hidden = 12 * MS };

	ck_assert_int_eq(stall_judge(&p, LIMIT), STALL_LATE);   /* it may have had a CPU, and nobody knows */
	p.hidden = 9 * MS;
	ck_assert_int_eq(stall_judge(&p, LIMIT), STALL_BLOCKED);
	p = (struct stall_parts){ .wall = 33 * MS, .waited = 13 * MS, .blocked = 20 * MS, .hidden = 12 * MS };
	ck_assert_int_eq(stall_judge(&p, LIMIT), STALL_RUNNABLE);
	p = (struct stall_parts){ .wall = 32 * MS, .cpu = 12 * MS, .blocked = 20 * MS, .hidden = 20 * MS };
	ck_assert_int_eq(stall_judge(&p, LIMIT), STALL_CPU);
}
END_TEST

START_TEST(no_numbers_make_a_route_guilty_of_less_than_the_limit)
{
	for (unsigned cpu = 0; cpu < 24; cpu += 3)
		for (unsigned waited = 0; waited < 24; waited += 3)
			for (unsigned blocked = 0; blocked < 24; blocked += 3)
				for (unsigned lost = 0; lost < 24; lost += 3)
					if (cpu + blocked < 10 + lost)
						ck_assert(!stall_blames(judge(cpu, waited, blocked, lost)));
}
END_TEST

START_TEST(a_hold_is_divided_by_the_times_of_its_thread)
{
	struct stall_parts p = stall_divide(100 * MS, 100 * MS, 30 * MS, 20 * MS, 0);

	ck_assert_uint_eq(p.cpu, 30 * MS);
	ck_assert_uint_eq(p.waited, 20 * MS);
	ck_assert_uint_eq(p.blocked, 50 * MS);
	p = stall_divide(100 * MS, 50 * MS, 50 * MS, 0, 0);     /* the half that was seen was computing */
	ck_assert_uint_eq(p.cpu, 100 * MS);
	ck_assert_uint_eq(p.blocked, 0);
	p = stall_divide(100 * MS, 96 * MS, 0, 0, 0);
	ck_assert_uint_eq(p.blocked, 100 * MS);
}
END_TEST

START_TEST(parts_never_add_up_to_more_than_the_hold)
{
	for (unsigned seen = 0; seen <= 120; seen += 10)
		for (unsigned cpu = 0; cpu <= 120; cpu += 10)
			for (unsigned waited = 0; waited <= 150; waited += 10) {
				struct stall_parts p = stall_divide(100 * MS, seen * MS, cpu * MS, waited * MS,
					200 * MS);

				ck_assert_uint_le(p.cpu + p.waited + p.blocked, 100 * MS);
				ck_assert_uint_ge(p.cpu + p.waited + p.blocked, 100 * MS - 2);
				ck_assert_uint_eq(p.lost, 100 * MS);
			}
}
END_TEST

START_TEST(a_wait_that_began_before_the_first_look_counts)
{
	struct stall_parts p = stall_divide(50 * MS, 10 * MS, 2 * MS, 45 * MS, 0);

	ck_assert_uint_eq(p.waited, 45 * MS);
	ck_assert_uint_eq(p.cpu, 2 * MS);
}
END_TEST

START_TEST(a_stall_that_goes_on_is_told_at_ages_that_double)
{
	uint64_t age = stall_next_told(0, LIMIT);

	ck_assert_uint_eq(age, NS_PER_S);
	ck_assert_uint_eq(age = stall_next_told(age, LIMIT), 2 * NS_PER_S);
	ck_assert_uint_eq(stall_next_told(age, LIMIT), 4 * NS_PER_S);
	ck_assert_uint_eq(stall_next_told(0, 5 * NS_PER_S), 5 * NS_PER_S);
	ck_assert_uint_eq(stall_next_told(UINT64_MAX / 2 + 1, LIMIT), UINT64_MAX);
}
END_TEST

START_TEST(lateness_that_its_own_wait_explains_is_no_standstill)
{
	ck_assert_uint_eq(stall_lost(20 * MS, 20 * MS, 0), 0);
	ck_assert_uint_eq(stall_lost(20 * MS, 500 * MS, 0), 0);
	ck_assert_uint_eq(stall_lost(20 * MS, 5 * MS, 0), 15 * MS);
	ck_assert_uint_eq(stall_lost(MS / 2, 0, 1000), 0);      /* a timer's own */
	ck_assert_uint_eq(stall_lost(0, 0, 3 * NS_PER_S), 3 * NS_PER_S);
}
END_TEST

START_TEST(it_looks_often_enough_and_not_too_often)
{
	ck_assert_uint_eq(monitor_period(1 * MS), MS);
	ck_assert_uint_eq(monitor_period(4 * MS), 3 * MS);
	ck_assert_uint_eq(monitor_period(10 * MS), 7500 * NS_PER_US);
	ck_assert_uint_eq(monitor_period(1000 * MS), 10 * MS);
}
END_TEST

/* ---- what a loop says of itself ---------------------------------------------------------------------------------- */

static const char *name_of(void *arg, uint32_t route)
{
	static const char *const names[] = { "GET /first", "GET /second" };

	(void)arg;
	return names[route];
}

static struct watch *watch;
static struct watch_loop *loop;
static struct log *text_log;
static char log_path[] = "/tmp/test_watchXXXXXX";

static void set_up(void)
{
	struct log_conf lc = { .level = LOG_DEBUG };
	struct watch_conf wc = { .loops = 2, .nroutes = 2, .limit_ns = LIMIT, .name = name_of };

	memcpy(log_path + strlen(log_path) - 6, "XXXXXX", 6);
	lc.fd = mkstemp(log_path);
	ck_assert_int_ge(lc.fd, 0);
	wc.log = text_log = log_new(&lc);
	close(lc.fd);
	watch = watch_new(&wc);
	ck_assert_ptr_nonnull(watch);
	loop = watch_attach(watch, 0);
}

static void tear_down(void)
{
	watch_detach(loop);
	watch_free(watch);
	log_free(text_log, 1000);
	unlink(log_path);
}

/* The log so far, with what is still queued. */
static const char *logged(void)
{
	static char text[65536];
	int fd = open(log_path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	log_flush(text_log, 1000);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* A hold of route from ms to ms of a clock that only these tests know. */
static void hold(uint32_t route, uint64_t from_ms, uint64_t to_ms)
{
	watch_enter(loop, WATCH_HANDLER, route, from_ms * MS, NULL, NULL);
	watch_leave(loop, to_ms * MS);
}

START_TEST(a_line_says_what_runs_and_nothing_once_it_has_left)
{
	char stack[2];
	struct watch_view v;

	ck_assert_uint_eq(watch_read(&loop->line).seq, 0);
	watch_enter(loop, WATCH_POST, 1, 5, stack, stack + 1);
	v = watch_read(&loop->line);
	ck_assert_uint_eq(v.seq & 1, 1);
	ck_assert_uint_eq(v.route, 1);
	ck_assert_uint_eq(v.start_ns, 5);
	ck_assert_uint_eq(v.low, (uintptr_t)stack);
	ck_assert_uint_eq(v.high, (uintptr_t)(stack + 1));
	ck_assert_int_eq(v.what, WATCH_POST);
	watch_leave(loop, 6);
	ck_assert_uint_eq(watch_read(&loop->line).seq, 0);
}
END_TEST

START_TEST(every_hold_is_counted_by_route)
{
	struct watch_hist h;

	hold(0, 0, 0);
	hold(0, 10, 12);
	hold(1, 20, 50);
	hold(2, 60, 61);
	watch_hist(watch, 0, &h);
	ck_assert_uint_eq(h.count, 2);
	ck_assert_uint_eq(h.bucket[0], 1);
	ck_assert_uint_eq(h.bucket[3], 1);
	ck_assert_uint_eq(h.sum_ns, 2 * MS);
	watch_hist(watch, 1, &h);
	ck_assert_uint_eq(h.sum_ns, 30 * MS);
	watch_hist(watch, 2, &h);
	ck_assert_uint_eq(h.count, 1);
}
END_TEST

START_TEST(a_hold_begins_no_earlier_than_the_monitors_last_look)
{
	atomic_store(&loop->shared->tick_ns, 30 * MS);
	hold(0, 10, 32);        /* the loop's clock was old: it did something else first */
	ck_assert_uint_eq(atomic_load(&loop->longs_end), 0);
	watch_enter(loop, WATCH_HANDLER, 0, 31 * MS, NULL, NULL);
	ck_assert_uint_eq(watch_read(&loop->line).start_ns, 31 * MS);
	watch_leave(loop, 31 * MS);
}
END_TEST

START_TEST(a_hold_over_the_limit_is_left_for_the_monitor)
{
	hold(0, 0, 9);
	ck_assert_uint_eq(atomic_load(&loop->longs_end), 0);
	hold(1, 10, 20);
	ck_assert_uint_eq(atomic_load(&loop->longs_end), 1);
	ck_assert_uint_eq(loop->longs[0].route, 1);
	ck_assert_uint_eq(loop->longs[0].start_ns, 10 * MS);
	ck_assert_uint_eq(loop->longs[0].end_ns, 20 * MS);
	ck_assert_uint_eq(loop->longs[0].seq, 3);
}
END_TEST

START_TEST(a_hold_is_claimed_by_one_of_both)
{
	hold(0, 0, 9);
	watch_enter(loop, WATCH_HANDLER, 0, 10 * MS, NULL, NULL);
	ck_assert(watch_claim_seq(loop, 3));    /* the monitor, while it lasts */
	ck_assert(!watch_claim(loop));
	ck_assert(watch_leave(loop, 20 * MS));
	watch_enter(loop, WATCH_HANDLER, 0, 20 * MS, NULL, NULL);
	ck_assert(watch_claim(loop));
	ck_assert(!watch_claim(loop));
	ck_assert(watch_leave(loop, 30 * MS));
	hold(0, 30, 40);
	watch_enter(loop, WATCH_HANDLER, 0, 40 * MS, NULL, NULL);
	ck_assert(!watch_claim_seq(loop, 5));   /* a monitor that is behind */
	ck_assert(watch_claim(loop));
	ck_assert(!watch_leave(loop, 49 * MS));
	ck_assert(loop->longs[0].told && loop->longs[1].told && !loop->longs[2].told);
	ck_assert(watch_claim(NULL));
}
END_TEST

START_TEST(a_monitor_that_is_late_may_have_missed_that_the_machine_stood_still)
{
	struct watch_shared *s = loop->shared;

	ck_assert_uint_eq(watch_may_be_lost(loop, 1000 * MS), 0);       /* it is not to look */
	atomic_store(&s->lost_ns, 3 * MS);
	atomic_store(&s->tick_ns, 15 * MS);
	atomic_store(&s->due_ns, 20 * MS);
	ck_assert_uint_eq(watch_lost(loop), 3 * MS);
	ck_assert_uint_eq(watch_may_be_lost(loop, 20 * MS), 3 * MS);
	ck_assert_uint_eq(watch_may_be_lost(loop, 24 * MS), 12 * MS);   /* since it looked, perhaps */
	ck_assert_uint_eq(watch_may_be_lost(NULL, 24 * MS), 0);
}
END_TEST

/* It has looked, and told what was lost, between the end of a hold and the loop's question, which may still find what
 * was due before. */
START_TEST(a_look_just_made_leaves_only_what_was_lost_before_it)
{
	struct watch_shared *s = loop->shared;

	atomic_store(&s->lost_ns, 3 * MS);
	atomic_store(&s->tick_ns, 30 * MS);
	atomic_store(&s->due_ns, 20 * MS);
	ck_assert_uint_eq(watch_may_be_lost(loop, 24 * MS), 3 * MS);
	ck_assert_uint_eq(watch_may_be_lost(loop, 30 * MS), 3 * MS);
	ck_assert_uint_eq(watch_may_be_lost(loop, 31 * MS), 4 * MS);
}
END_TEST

START_TEST(what_the_ring_has_no_room_for_is_counted)
{
	for (uint64_t i = 0; i < WATCH_LONG + 3; i++)
		hold(0, i * 100, i * 100 + 50);
	ck_assert_uint_eq(atomic_load(&loop->longs_end), WATCH_LONG);
	ck_assert_uint_eq(counter_read(&loop->longs_lost), 3);
}
END_TEST

START_TEST(victims_are_those_that_were_there_while_it_lasted)
{
	struct watch_long *l = &loop->longs[0];

	watch_request(loop, false);
	hold(0, 0, 50);
	watch_request(loop, false);             /* dispatched in the same turn */
	ck_assert(watch_held_up(loop));
	watch_turn(loop);
	watch_request(loop, false);             /* gathered by the next wait */
	watch_request(loop, false);
	ck_assert(watch_held_up(loop));
	watch_turn(loop);
	ck_assert(!watch_held_up(loop));
	watch_request(loop, false);             /* came after it */
	watch_request(loop, true);              /* on a connection accepted in the turn before */
	watch_turn(loop);
	ck_assert(!watch_aftermath(loop));
	watch_request(loop, true);
	ck_assert_uint_eq(atomic_load(&l->victims), 4);
	ck_assert_uint_eq(atomic_load(&l->age), WATCH_OLD);
}
END_TEST

START_TEST(who_waited_behind_two_holds_is_a_victim_of_both)
{
	hold(0, 0, 50);
	watch_request(loop, false);
	hold(1, 50, 100);
	watch_request(loop, false);
	ck_assert_uint_eq(atomic_load(&loop->longs[0].victims), 2);
	ck_assert_uint_eq(atomic_load(&loop->longs[1].victims), 1);
}
END_TEST

START_TEST(without_a_monitor_nothing_is_written)
{
	watch_enter(NULL, WATCH_HANDLER, 0, 0, NULL, NULL);
	watch_leave(NULL, 5);
	watch_turn(NULL);
	watch_request(NULL, true);
	ck_assert(!watch_held_up(NULL));
	ck_assert_ptr_null(watch_attach(NULL, 3));
	watch_detach(NULL);
	watch_free(NULL);
}
END_TEST

/* A loop that never rests, each hold of which says the same in every member. */
static void *busy_loop(void *arg)
{
	struct watch_loop *l = watch_attach(watch, 1);
	_Atomic bool *stop = arg;

	for (uint64_t i = 1; !atomic_load(stop); i++) {
		void *same = (void *)(uintptr_t)i;

		watch_enter(l, (enum watch_what)(i % 2), (uint32_t)(i % 2), i, same, same);
		watch_leave(l, i);
	}
	watch_detach(l);
	return NULL;
}

START_TEST(a_line_is_never_read_half_of_one_hold_and_half_of_another)
{
	_Atomic bool stop = false;
	const struct watch_line *line = &(loop + 1)->line;
	unsigned seen = 0;
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, busy_loop, &stop), 0);
	while (atomic_load(&line->seq) == 0)
		usleep(500);
	for (unsigned i = 0; i < 20000000 && seen < 20000; i++) {
		struct watch_view v = watch_read(line);

		if (!v.seq)
			continue;
		seen++;
		ck_assert_uint_eq(v.start_ns, (v.seq + 1) / 2);
		ck_assert_uint_eq(v.low, v.start_ns);
		ck_assert_uint_eq(v.high, v.start_ns);
		ck_assert_uint_eq(v.route, v.start_ns % 2);
		ck_assert_uint_eq((unsigned)v.what, v.start_ns % 2);
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	ck_assert_uint_gt(seen, 0);
}
END_TEST

/* ---- the book ---------------------------------------------------------------------------------------------------- */

static struct stall a_stall(uint32_t route)
{
	return (struct stall){ .route = route, .name = name_of(NULL, route), .what = "handler",
		.cause = STALL_BLOCKED, .parts = { .wall = 20 * MS, .blocked = 20 * MS }, .victims = 3 };
}

START_TEST(the_latest_stalls_are_kept_newest_first)
{
	static struct stall latest[STALL_KEPT];
	struct stall_book *b = watch_book(watch);
	struct stall s = a_stall(0);

	ck_assert_uint_eq(stall_latest(b, latest), 0);
	for (int i = 0; i < STALL_KEPT + 6; i++)
		ck_assert_uint_eq(stall_open(b, &s), (uint64_t)i + 1);
	ck_assert_uint_eq(stall_latest(b, latest), STALL_KEPT);
	ck_assert_uint_eq(latest[0].id, STALL_KEPT + 6);
	ck_assert_uint_eq(latest[STALL_KEPT - 1].id, 7);
	s.id = 3;
	stall_change(b, &s);                    /* forgotten already */
	s.id = STALL_KEPT;
	s.victims = 99;
	stall_change(b, &s);
	stall_retract(b, STALL_KEPT + 6);
	ck_assert_uint_eq(stall_latest(b, latest), STALL_KEPT - 1);
	ck_assert_uint_eq(latest[5].id, STALL_KEPT);
	ck_assert_uint_eq(latest[5].victims, 99);
}
END_TEST

START_TEST(the_worst_of_a_route_is_known_though_many_others_came_after_it)
{
	struct stall_book *b = watch_book(watch);
	struct stall worst = a_stall(0), retracted = a_stall(0), s = a_stall(1);
	struct stall_hold hold;

	ck_assert(!stall_worst(b, 0, STALL_BLOCKED, &hold));
	worst.loop = 1;
	worst.parts.wall = 50 * MS;
	snprintf(worst.syscall, sizeof(worst.syscall), "fsync");
	stall_open(b, &worst);
	retracted.parts.wall = 90 * MS;
	stall_open(b, &retracted);
	stall_retract(b, retracted.id);
	for (int i = 0; i < 3 * STALL_KEPT; i++)
		stall_open(b, &s);
	ck_assert(stall_worst(b, 0, STALL_BLOCKED, &hold));
	ck_assert_uint_eq(hold.ns, 50 * MS);
	ck_assert_uint_eq(hold.loop, 1);
	ck_assert_uint_eq(hold.victims, 3);
	ck_assert_str_eq(hold.syscall, "fsync");
	ck_assert(!stall_worst(b, 0, STALL_CPU, &hold));

	worst.parts.wall = 70 * MS;             /* it went on, and ends only now */
	stall_change(b, &worst);
	ck_assert(stall_worst(b, 0, STALL_BLOCKED, &hold));
	ck_assert_uint_eq(hold.ns, 70 * MS);
	s = a_stall(0);
	stall_open(b, &s);                      /* a later one that was less */
	ck_assert(stall_worst(b, 0, STALL_BLOCKED, &hold));
	ck_assert_uint_eq(hold.ns, 70 * MS);
}
END_TEST

START_TEST(the_log_is_spared_but_the_counts_are_not)
{
	struct stall_book *b = watch_book(watch);
	uint64_t now = 100 * NS_PER_S;
	const char *text, *line;
	unsigned lines = 0;
	struct stall s;

	for (int i = 0; i < 25; i++) {
		s = a_stall((uint32_t)i % 2);
		stall_count(b, &s);
		stall_count_victims(b, &s);
		stall_tell(b, &s, now);
	}
	ck_assert_uint_eq(stall_untold(b), 15);
	s = a_stall(0);
	s.kind = STALL_WORKER;
	s.pool = "db";
	stall_tell(b, &s, now);                 /* those are limited apart */
	ck_assert_uint_eq(stall_untold(b), 15);
	s = a_stall(0);
	stall_tell(b, &s, now + NS_PER_S);
	stall_tell(b, &s, now + NS_PER_S);
	ck_assert_uint_eq(stall_untold(b), 16);
	ck_assert_uint_eq(stall_total(b, 0, STALL_BLOCKED), 13);
	ck_assert_uint_eq(stall_total(b, 1, STALL_BLOCKED), 12);
	ck_assert_uint_eq(stall_total(b, 0, STALL_CPU), 0);
	ck_assert_uint_eq(stall_victims(b, 1), 36);
	text = logged();
	for (line = text; (line = strchr(line, '\n')); line++)
		lines++;
	ck_assert_uint_eq(lines, 12);
	ck_assert_ptr_nonnull(strstr(text, "a route held its loop route=\"GET /first\" loop=0 held=20.000ms "
		"cause=blocked cpu=0.000ms runnable=0.000ms blocked=20.000ms victims=3"));
	ck_assert_ptr_nonnull(strstr(text, "suppressed=15"));
}
END_TEST

START_TEST(the_log_marks_what_is_only_probable_in_a_stack)
{
	static const char frames[] = "read+0x10\0load+0x20\0get_report+0x30";
	struct stall s = a_stall(0);

	memcpy(s.stack, frames, sizeof(frames));
	s.nframes = 3;
	s.probable = 1u << 1;
	stall_tell(watch_book(watch), &s, 100 * NS_PER_S);
	ck_assert_ptr_nonnull(strstr(logged(), "stack=\"read+0x10 < load+0x20 ? < get_report+0x30\""));
}
END_TEST

/* ---- the monitor itself ------------------------------------------------------------------------------------------ */

/* Until it has seen what the test waits for; with a bound that only a broken monitor reaches. */
#define UNTIL(condition)                                                       \
	do {                                                                   \
		uint64_t end_ = clock_now_ns() + 30 * NS_PER_S;                \
		while (!(condition)) {                                         \
			ck_assert_msg(clock_now_ns() < end_, "%s", #condition);\
			usleep(500);                                           \
		}                                                              \
	} while (0)

static struct stall latest[STALL_KEPT];

/* Holds of the second route, and those that are nobody's. */
static uint64_t counted(const struct stall_book *b)
{
	uint64_t n = 0;

	for (enum stall_cause cause = 0; cause < STALL_CAUSES; cause++)
		n += stall_total(b, 1, cause) + stall_total(b, stall_no_route(b), cause);
	return n;
}

/* Holds the loop until that is found and counted, which a late monitor cannot take back: true; or false, and it has
 * ended: the machine stood still meanwhile, or the monitor had no CPU, and nobody is blamed. */
static bool held_and_blamed(struct stall_book *b, unsigned before)
{
	watch_enter(loop, WATCH_HANDLER, 1, clock_now_ns(), NULL, NULL);
	/* this thread is the loop: it is in usleep most of the time, so found blocked */
	UNTIL(stall_latest(b, latest) == before + 1);
	if (latest[0].name) {
		UNTIL(counted(b) == before + 1);
		ck_assert_uint_eq(stall_latest(b, latest), before + 1);
		if (latest[0].name)
			return true;
	}
	watch_leave(loop, clock_now_ns());
	watch_turn(loop);
	UNTIL(stall_latest(b, latest) == before + 1 && !latest[0].ongoing);
	return false;
}

START_TEST(a_loop_that_sleeps_is_found_while_it_does)
{
	struct stall_book *b = watch_book(watch);
	unsigned before = 0;

	ck_assert_int_eq(watch_start(watch), 0);
	while (!held_and_blamed(b, before))
		ck_assert_uint_lt(++before, 20);
	ck_assert(latest[0].ongoing);
	ck_assert_str_eq(latest[0].name, "GET /second");
	watch_leave(loop, clock_now_ns());
	watch_turn(loop);
	watch_request(loop, false);
	watch_turn(loop);
	watch_turn(loop);
	UNTIL(stall_latest(b, latest) == before + 1 && !latest[0].ongoing);
	ck_assert_str_eq(latest[0].name, "GET /second");
	ck_assert_uint_eq(latest[0].victims, 1);
	ck_assert_uint_eq(stall_total(b, 1, latest[0].cause), 1);
	ck_assert_uint_ge(latest[0].parts.wall, LIMIT);
}
END_TEST

START_TEST(short_holds_are_nobodys_stall)
{
	struct watch_hist h;

	ck_assert_int_eq(watch_start(watch), 0);
	for (int i = 0; i < 20000; i++) {
		watch_enter(loop, WATCH_HANDLER, (uint32_t)i % 2, clock_now_ns(), NULL, NULL);
		watch_leave(loop, clock_now_ns());
	}
	usleep(20000);
	for (unsigned n = stall_latest(watch_book(watch), latest); n-- > 0;)
		ck_assert_ptr_null(latest[n].name);
	watch_hist(watch, 0, &h);
	ck_assert_uint_eq(h.count, 10000);
}
END_TEST

START_TEST(it_sleeps_while_nothing_runs_and_wakes_for_the_next)
{
	ck_assert_int_eq(watch_start(watch), 0);
	for (int i = 0; i < 3; i++) {
		uint64_t before, tick;

		UNTIL(atomic_load(&loop->shared->asleep) == 1);
		before = atomic_load(&loop->shared->tick_ns);
		usleep(20000);          /* in which its second look comes, unless it gets no CPU, */
		tick = atomic_load(&loop->shared->tick_ns);
		usleep(30000);          /* or now, but no third */
		ck_assert(tick == before || atomic_load(&loop->shared->tick_ns) == tick);
		tick = atomic_load(&loop->shared->tick_ns);
		watch_enter(loop, WATCH_HANDLER, 0, clock_now_ns(), NULL, NULL);
		UNTIL(atomic_load(&loop->shared->tick_ns) > tick);
		watch_leave(loop, clock_now_ns());
	}
}
END_TEST

START_TEST(it_ends_in_whatever_state_it_is)
{
	ck_assert_int_eq(watch_start(watch), 0);
	watch_enter(loop, WATCH_HANDLER, 0, clock_now_ns(), NULL, NULL);
	usleep(30000);          /* tear_down ends it in the middle of a stall */
}
END_TEST

static void on_signal(int sig)
{
	(void)sig;
}

START_TEST(it_takes_no_signal_that_is_meant_for_others)
{
	struct sigaction handled = { .sa_handler = on_signal };
	sigset_t set, pending;

	ck_assert_int_eq(sigaction(SIGUSR2, &handled, NULL), 0);
	ck_assert_int_eq(watch_start(watch), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	ck_assert_int_eq(kill(getpid(), SIGUSR2), 0);
	usleep(20000);          /* time enough for a thread that takes it */
	ck_assert_int_eq(sigpending(&pending), 0);
	ck_assert_int_eq(sigismember(&pending, SIGUSR2), 1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("watch");
	TCase *c = tcase_create("judging");

	tcase_add_test(c, the_greatest_part_names_the_cause);
	tcase_add_test(c, waiting_for_a_cpu_blames_nobody);
	tcase_add_test(c, what_is_over_the_limit_by_itself_is_its_own_however_long_it_waited_besides);
	tcase_add_test(c, a_machine_that_stood_still_blames_nobody);
	tcase_add_test(c, what_a_wait_of_the_monitors_may_hide_is_taken_off_what_was_blocked);
	tcase_add_test(c, no_numbers_make_a_route_guilty_of_less_than_the_limit);
	tcase_add_test(c, a_hold_is_divided_by_the_times_of_its_thread);
	tcase_add_test(c, parts_never_add_up_to_more_than_the_hold);
	tcase_add_test(c, a_wait_that_began_before_the_first_look_counts);
	tcase_add_test(c, a_stall_that_goes_on_is_told_at_ages_that_double);
	tcase_add_test(c, lateness_that_its_own_wait_explains_is_no_standstill);
	tcase_add_test(c, it_looks_often_enough_and_not_too_often);
	suite_add_tcase(s, c);
	c = tcase_create("lines");
	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, a_line_says_what_runs_and_nothing_once_it_has_left);
	tcase_add_test(c, every_hold_is_counted_by_route);
	tcase_add_test(c, a_hold_begins_no_earlier_than_the_monitors_last_look);
	tcase_add_test(c, a_hold_over_the_limit_is_left_for_the_monitor);
	tcase_add_test(c, a_hold_is_claimed_by_one_of_both);
	tcase_add_test(c, a_monitor_that_is_late_may_have_missed_that_the_machine_stood_still);
	tcase_add_test(c, a_look_just_made_leaves_only_what_was_lost_before_it);
	tcase_add_test(c, what_the_ring_has_no_room_for_is_counted);
	tcase_add_test(c, victims_are_those_that_were_there_while_it_lasted);
	tcase_add_test(c, who_waited_behind_two_holds_is_a_victim_of_both);
	tcase_add_test(c, without_a_monitor_nothing_is_written);
	tcase_add_test(c, a_line_is_never_read_half_of_one_hold_and_half_of_another);
	tcase_add_test(c, the_latest_stalls_are_kept_newest_first);
	tcase_add_test(c, the_worst_of_a_route_is_known_though_many_others_came_after_it);
	tcase_add_test(c, the_log_is_spared_but_the_counts_are_not);
	tcase_add_test(c, the_log_marks_what_is_only_probable_in_a_stack);
	tcase_add_test(c, a_loop_that_sleeps_is_found_while_it_does);
	tcase_add_test(c, short_holds_are_nobodys_stall);
	tcase_add_test(c, it_sleeps_while_nothing_runs_and_wakes_for_the_next);
	tcase_add_test(c, it_ends_in_whatever_state_it_is);
	tcase_add_test(c, it_takes_no_signal_that_is_meant_for_others);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
