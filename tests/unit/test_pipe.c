/* test_pipe.c: bytes between a loop and a handler: order, bounds, notices, and how it ends, with the handler on a fiber
 * and on a thread.
 *
 * The loop's side is the test itself, so each notice, lend and push comes when the test wants it.
 */
#include "../loop_script.h"

#include "pipe.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((size_t)16 * 1024)

static struct loop *loop;
static struct fiber_pool *fibers;
static struct pipe pipe_;
static struct park park;
static unsigned notices, refills;
static char pattern[4 * PIPE_HIGH], got[4 * PIPE_HIGH];

static void ready(struct pipe *p)
{
	ck_assert_ptr_eq(p, &pipe_);
	ck_assert(!p->posted);
	notices++;
}

static void refill(struct pipe *p)
{
	ck_assert_ptr_eq(p, &pipe_);
	ck_assert(!p->left);
	refills++;
}

static void set_up(void)
{
	loop = loop_new_script(NULL);
	fibers = fiber_pool_new(&(struct fiber_conf){ .live_max = 4, .spare_max = 4 });
	ck_assert_ptr_nonnull(fibers);
	pipe_init(&pipe_, loop, NULL, ready);
	park_init_thread(&park);
	pipe_.refill = refill;
	notices = refills = 0;
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)(i * 7 + i / 251);
}

static void tear_down(void)
{
	pipe_fini(&pipe_);
	fiber_pool_free(fibers);
	loop_free(loop);
}

/* Lends once: the bytes, whose content is checked against the pattern from `at` on; *rc is what lend said. */
static size_t lend(size_t at, size_t budget, unsigned iovs, int *rc)
{
	struct iovec iov[16];
	size_t n = 0;

	*rc = pipe_.source.lend(&pipe_.source, iov, &iovs, budget);
	for (unsigned i = 0; i < iovs; i++) {
		ck_assert_uint_gt(iov[i].iov_len, 0);
		ck_assert_int_eq(memcmp(iov[i].iov_base, pattern + at + n, iov[i].iov_len), 0);
		n += iov[i].iov_len;
	}
	ck_assert_uint_le(n, budget);
	return n;
}

static void taken(size_t n)
{
	pipe_.source.taken(&pipe_.source, n);
}

static void write_now(size_t at, size_t n)
{
	ck_assert_int_eq(pipe_write(&pipe_, &park, pattern + at, n), 0);
}

/* ---- out --------------------------------------------------------------------------------------------------------- */

START_TEST(what_is_written_is_lent_in_order_whatever_the_pieces)
{
	size_t at = 0, lent = 0;
	int rc;

	for (size_t n = 1; at + n < PIPE_HIGH; at += n, n = n * 3 / 2 + 1)
		write_now(at, n);
	for (size_t n = 1; lent < at; n = n * 2 + 1) {
		size_t k = lend(lent, n, 1 + (unsigned)(n % 4), &rc);

		ck_assert_int_eq(rc, 1);
		ck_assert_uint_gt(k, 0);
		taken(k);
		lent += k;
	}
	ck_assert_uint_eq(lend(lent, 10, 4, &rc), 0);
	ck_assert_int_eq(rc, 1);
	ck_assert_uint_eq(pipe_.total, at);
}
END_TEST

START_TEST(lending_again_goes_on_behind_what_was_lent)
{
	int rc;

	write_now(0, 3 * BLOCK);
	ck_assert_uint_eq(lend(0, 100, 4, &rc), 100);
	ck_assert_uint_eq(lend(100, BLOCK, 1, &rc), BLOCK - 100 - (sizeof(void *) + 2 * sizeof(size_t)));
	taken(60);                              /* less than was lent */
	ck_assert_uint_gt(lend(BLOCK - 24, BLOCK * 4, 4, &rc), 0);
	ck_assert_uint_eq(pipe_.lent, pipe_.bytes);
	taken(pipe_.lent);
	ck_assert_uint_eq(pipe_.bytes, 0);
	ck_assert_uint_eq(pipe_.total, 3 * BLOCK);
}
END_TEST

START_TEST(the_last_bytes_are_the_last_only_once_all_are_lent)
{
	int rc;

	write_now(0, 100);
	pipe_end(&pipe_, 0);
	ck_assert_uint_eq(lend(0, 60, 4, &rc), 60);
	ck_assert_int_eq(rc, 1);
	ck_assert_uint_eq(lend(60, 60, 4, &rc), 40);
	ck_assert_int_eq(rc, 0);
	taken(100);
}
END_TEST

START_TEST(an_empty_pipe_that_has_ended_lends_its_end)
{
	int rc;

	pipe_end(&pipe_, 0);
	ck_assert_uint_eq(lend(0, 60, 4, &rc), 0);
	ck_assert_int_eq(rc, 0);
}
END_TEST

START_TEST(breaking_off_is_told_at_once_also_while_bytes_are_lent)
{
	int rc;

	write_now(0, 100);
	ck_assert_uint_eq(lend(0, 60, 4, &rc), 60);
	pipe_end(&pipe_, -ECONNABORTED);
	(void)lend(60, 60, 4, &rc);
	ck_assert_int_eq(rc, -ECONNABORTED);
	taken(60);
	ck_assert_int_eq(pipe_write(&pipe_, &park, "x", 1), -ECONNABORTED);
}
END_TEST

START_TEST(the_first_end_counts)
{
	int rc;

	pipe_end(&pipe_, 0);
	pipe_end(&pipe_, -ECANCELED);
	(void)lend(0, 10, 4, &rc);
	ck_assert_int_eq(rc, 0);
}
END_TEST

START_TEST(many_writes_are_one_notice)
{
	for (size_t i = 0; i < 100; i++)
		write_now(i * 10, 10);
	script_turns(loop, 3);
	ck_assert_uint_eq(notices, 1);
}
END_TEST

START_TEST(no_notice_is_given_while_bytes_are_on_their_way_out)
{
	int rc;

	write_now(0, 10);
	script_turns(loop, 2);
	ck_assert_uint_eq(lend(0, 100, 4, &rc), 10);
	write_now(10, 10);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
	taken(10);
	ck_assert_uint_eq(lend(10, 100, 4, &rc), 10);
	taken(10);
	ck_assert_uint_eq(lend(20, 100, 4, &rc), 0);
	write_now(20, 10);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 2);
}
END_TEST

START_TEST(a_notice_on_its_way_is_not_sent_again)
{
	struct loop_msg *first;
	int rc;

	write_now(0, 10);                       /* the notice is in the loop's inbox, and stays there for now */
	first = atomic_load(&loop->inbox);
	ck_assert_ptr_eq(first, &pipe_.msg);
	ck_assert_uint_eq(lend(0, 100, 4, &rc), 10);
	taken(10);
	ck_assert_uint_eq(lend(10, 100, 4, &rc), 0);
	write_now(10, 10);
	ck_assert_ptr_ne(pipe_.msg.next, &pipe_.msg);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
	ck_assert(!pipe_.posted);
	ck_assert_uint_eq(lend(10, 100, 4, &rc), 10);   /* and says it all */
}
END_TEST

/* ---- room -------------------------------------------------------------------------------------------------------- */

/* Fills as much of what is reserved as n allows, with the pattern from `at` on: how much. */
static size_t fill(size_t at, size_t n)
{
	void *room;
	ssize_t size = pipe_reserve(&pipe_, &park, &room);

	ck_assert_int_ge(size, 4096);
	n = n < (size_t)size ? n : (size_t)size;
	memcpy(room, pattern + at, n);
	pipe_added(&pipe_, n);
	return n;
}

START_TEST(what_is_put_into_room_is_lent_where_it_lies)
{
	struct iovec iov;
	unsigned n = 1;
	void *room;
	int rc;

	ck_assert_int_ge(pipe_reserve(&pipe_, &park, &room), 4096);
	memcpy(room, pattern, 100);
	pipe_added(&pipe_, 100);
	ck_assert_int_eq(pipe_.source.lend(&pipe_.source, &iov, &n, 1000), 1);
	ck_assert_ptr_eq(iov.iov_base, room);
	taken(100);
	for (size_t at = 100; at < 3 * BLOCK;)
		at += fill(at, 3000);
	ck_assert_uint_gt(lend(100, 2 * BLOCK, 16, &rc), BLOCK);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
}
END_TEST

START_TEST(room_stays_while_all_before_it_is_sent)
{
	void *room;
	ssize_t n;
	int rc;

	write_now(0, 10);
	n = pipe_reserve(&pipe_, &park, &room);         /* behind the ten, in the same block */
	ck_assert_uint_eq(lend(0, 100, 4, &rc), 10);
	taken(10);
	ck_assert_uint_eq(lend(10, 100, 4, &rc), 0);
	memset(room, 'r', (size_t)n);                   /* ASan: the block is there yet */
	memcpy(room, pattern + 10, 20);
	pipe_added(&pipe_, 20);
	script_turns(loop, 2);
	ck_assert_uint_eq(lend(10, 100, 4, &rc), 20);
	taken(20);
	fill(30, 0);
	ck_assert_uint_eq(lend(30, 100, 4, &rc), 0);
	write_now(30, 2 * BLOCK);                       /* goes on behind a block without bytes */
	ck_assert_uint_eq(lend(30, 4 * BLOCK, 4, &rc), 2 * BLOCK);
	taken(2 * BLOCK);
	ck_assert_uint_eq(pipe_.bytes, 0);
}
END_TEST

/* Fills the pipe until it is full, and leaves: the bytes in it. */
static size_t fill_and_leave(void)
{
	size_t at = 0;
	void *room;

	while (at < PIPE_HIGH)
		at += fill(at, BLOCK);
	ck_assert_int_eq(pipe_reserve(&pipe_, NULL, &room), -EAGAIN);
	return at;
}

START_TEST(who_has_left_is_called_back_once_below_the_low_mark)
{
	size_t n = fill_and_leave(), at = 0;
	void *room;
	int rc;

	while (at < n) {
		size_t k = lend(at, 1000, 4, &rc);

		taken(k);
		at += k;
		ck_assert_uint_eq(refills, pipe_.bytes < PIPE_LOW);
	}
	pipe_end(&pipe_, -ECANCELED);
	ck_assert_uint_eq(refills, 1);
	ck_assert_int_eq(pipe_reserve(&pipe_, NULL, &room), -ECANCELED);
}
END_TEST

START_TEST(who_has_left_is_called_back_at_the_end)
{
	fill_and_leave();
	pipe_end(&pipe_, -ECANCELED);
	pipe_end(&pipe_, -ECANCELED);
	ck_assert_uint_eq(refills, 1);
}
END_TEST

START_TEST(what_is_held_is_told_at_its_end_or_when_it_must_wait)
{
	pipe_hold(&pipe_);
	write_now(0, 10);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 0);
	pipe_tell(&pipe_);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
}
END_TEST

START_TEST(nothing_is_put_between_what_is_held_nor_before_what_waits)
{
	int rc;

	ck_assert(pipe_interject(&pipe_, (struct slice){ pattern, 3 }));
	ck_assert(!pipe_interject(&pipe_, SLICE("abc")));       /* the first is there yet */
	ck_assert_uint_eq(lend(0, 10, 4, &rc), 3);
	taken(3);
	pipe_hold(&pipe_);
	ck_assert(!pipe_interject(&pipe_, SLICE("abc")));
	write_now(3, 4);
	ck_assert_uint_eq(lend(3, 10, 4, &rc), 4);
	taken(4);
	ck_assert(!pipe_interject(&pipe_, SLICE("abc")));       /* empty, but in the midst */
	pipe_tell(&pipe_);
	ck_assert(pipe_interject(&pipe_, (struct slice){ pattern + 7, 3 }));
	ck_assert_uint_eq(lend(7, 10, 4, &rc), 3);
	taken(3);
	pipe_end(&pipe_, 0);
	ck_assert(!pipe_interject(&pipe_, SLICE("abc")));
}
END_TEST

/* ---- a handler that waits ---------------------------------------------------------------------------------------- */

struct handler {
	struct park park;
	struct fiber *fiber;
	size_t n, step;                 /* bytes to write, or read so far; bytes a call */
	ssize_t rc;
	bool ended;
};

static struct handler handler;

static void resume(struct park *p)
{
	handler.ended = fiber_resume(p->fiber);
}

static void write_main(void *arg)
{
	struct handler *h = arg;
	size_t at = 0;

	h->rc = 0;
	while (at < h->n && h->rc == 0) {
		size_t k = h->n - at < h->step ? h->n - at : h->step;

		h->rc = pipe_write(&pipe_, &h->park, pattern + at, k);
		at += k;
	}
	pipe_end(&pipe_, 0);
}

static void read_main(void *arg)
{
	struct handler *h = arg;

	h->n = 0;
	while ((h->rc = pipe_read(&pipe_, &h->park, got + h->n, h->step)) > 0)
		h->n += (size_t)h->rc;
}

static void run_on_fiber(void (*fn)(void *), size_t n, size_t step)
{
	struct fiber *f;

	handler = (struct handler){ .n = n, .step = step };
	park_init_fiber(&handler.park, loop, fibers, resume);
	ck_assert_int_eq(fiber_start(fibers, 0, "handler", fn, &handler, &f), 0);
	handler.ended = f == NULL;
}

START_TEST(a_writer_waits_at_the_high_mark_and_goes_on_below_the_low_one)
{
	size_t at = 0;
	int rc;

	run_on_fiber(write_main, 2 * PIPE_HIGH, 1000);
	ck_assert(!handler.ended);
	ck_assert_uint_ge(pipe_.bytes, PIPE_HIGH);
	ck_assert_uint_lt(pipe_.bytes, PIPE_HIGH + BLOCK);
	while (pipe_.bytes > PIPE_LOW) {
		size_t before = pipe_.bytes, k = lend(at, 1000, 4, &rc);

		taken(k);
		at += k;
		script_turns(loop, 2);
		if (pipe_.bytes > before)
			break;
	}
	ck_assert_uint_lt(at, PIPE_HIGH + BLOCK);
	ck_assert_uint_gt(at, PIPE_LOW);        /* not woken for every piece */
	while (!handler.ended || pipe_.bytes > 0) {
		size_t k = lend(at, BLOCK, 4, &rc);

		taken(k);
		at += k;
		script_turns(loop, 2);
	}
	ck_assert_uint_eq(at, 2 * PIPE_HIGH);
	ck_assert_int_eq(handler.rc, 0);
}
END_TEST

START_TEST(one_large_write_waits_in_the_middle)
{
	size_t at = 0;
	int rc;

	run_on_fiber(write_main, 3 * PIPE_HIGH, 3 * PIPE_HIGH);
	while (!handler.ended || pipe_.bytes > 0) {
		size_t k = lend(at, BLOCK, 16, &rc);

		ck_assert_uint_lt(pipe_.bytes, PIPE_HIGH + BLOCK);
		taken(k);
		at += k;
		script_turns(loop, 2);
	}
	ck_assert_uint_eq(at, 3 * PIPE_HIGH);
}
END_TEST

START_TEST(a_held_write_that_must_wait_tells_the_loop_first)
{
	pipe_hold(&pipe_);
	run_on_fiber(write_main, 2 * PIPE_HIGH, 1000);
	ck_assert(!handler.ended);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
	pipe_end(&pipe_, -ECANCELED);
	script_turns(loop, 2);
	ck_assert(handler.ended);
}
END_TEST

START_TEST(a_writer_that_waits_is_told_that_it_broke)
{
	run_on_fiber(write_main, 3 * PIPE_HIGH, PIPE_HIGH);
	ck_assert(!handler.ended);
	pipe_end(&pipe_, -ECANCELED);
	script_turns(loop, 2);
	ck_assert(handler.ended);
	ck_assert_int_eq(handler.rc, -ECANCELED);
}
END_TEST

START_TEST(a_wake_that_is_not_the_pipes_lets_nobody_go_on)
{
	run_on_fiber(write_main, 3 * PIPE_HIGH, PIPE_HIGH);
	park_wake(&handler.park);
	script_turns(loop, 2);
	ck_assert(!handler.ended);
	ck_assert_uint_lt(pipe_.bytes, PIPE_HIGH + BLOCK);
	pipe_end(&pipe_, -ECANCELED);
	script_turns(loop, 2);
	ck_assert(handler.ended);
}
END_TEST

START_TEST(a_reader_gets_what_was_pushed_and_then_the_end)
{
	bool full;

	run_on_fiber(read_main, 0, 700);
	ck_assert(!handler.ended);
	ck_assert_int_eq(pipe_push(&pipe_, pattern, 1000, &full), 0);
	ck_assert(!full);
	script_turns(loop, 2);
	ck_assert_uint_eq(handler.n, 1000);
	ck_assert_int_eq(pipe_push(&pipe_, pattern + 1000, 10, &full), 0);
	pipe_end(&pipe_, 0);
	script_turns(loop, 2);
	ck_assert(handler.ended);
	ck_assert_int_eq(handler.rc, 0);
	ck_assert_uint_eq(handler.n, 1010);
	ck_assert_int_eq(memcmp(got, pattern, 1010), 0);
	ck_assert_uint_eq(notices, 0);
}
END_TEST

START_TEST(a_reader_gets_all_bytes_before_the_error)
{
	bool full;

	ck_assert_int_eq(pipe_push(&pipe_, pattern, 1000, &full), 0);
	pipe_end(&pipe_, -EBADMSG);
	ck_assert_int_eq(pipe_push(&pipe_, pattern, 1000, &full), 0);   /* too late: forgotten */
	run_on_fiber(read_main, 0, 700);
	ck_assert(handler.ended);
	ck_assert_uint_eq(handler.n, 1000);
	ck_assert_int_eq(handler.rc, -EBADMSG);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 0);          /* nobody is to push any more */
}
END_TEST

START_TEST(room_in_a_full_pipe_is_told_once_below_the_low_mark)
{
	bool full;

	ck_assert_int_eq(pipe_push(&pipe_, pattern, PIPE_HIGH - 1, &full), 0);
	ck_assert(!full);
	ck_assert_int_eq(pipe_push(&pipe_, pattern, 1, &full), 0);
	ck_assert(full);
	while (pipe_.bytes > PIPE_LOW) {
		ck_assert_int_eq(pipe_read(&pipe_, &park, got, 1024), 1024);
		script_turns(loop, 1);
		ck_assert_uint_eq(notices, pipe_.bytes < PIPE_LOW);
	}
	while (pipe_.bytes > 0)
		(void)!pipe_read(&pipe_, &park, got, 1024);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
}
END_TEST

START_TEST(a_pipe_filled_while_its_notice_is_on_its_way_is_not_told_of_twice)
{
	bool full;

	pipe_.asked = false;
	run_on_fiber(read_main, 0, 2 * PIPE_HIGH);      /* asks: the notice is in the inbox, and stays there */
	ck_assert_ptr_eq(atomic_load(&loop->inbox), &pipe_.msg);
	ck_assert_int_eq(pipe_push(&pipe_, pattern, PIPE_HIGH, &full), 0);
	ck_assert(full);
	ck_assert_int_gt(pipe_read(&pipe_, &park, got, PIPE_HIGH), 0);
	ck_assert_ptr_ne(pipe_.msg.next, &pipe_.msg);
	script_turns(loop, 3);
	ck_assert_uint_eq(notices, 1);
	pipe_end(&pipe_, 0);
	script_turns(loop, 3);
	ck_assert(handler.ended);
}
END_TEST

START_TEST(a_first_byte_that_is_awaited_is_asked_for_once)
{
	bool full;

	pipe_.asked = false;
	run_on_fiber(read_main, 0, 100);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
	park_wake(&handler.park);
	script_turns(loop, 2);
	ck_assert_uint_eq(notices, 1);
	ck_assert_int_eq(pipe_push(&pipe_, pattern, 10, &full), 0);
	pipe_end(&pipe_, 0);
	script_turns(loop, 2);
	ck_assert(handler.ended);
	ck_assert_uint_eq(handler.n, 10);
}
END_TEST

/* ---- with a thread at the handler's end -------------------------------------------------------------------------- */

static void *write_thread(void *arg)
{
	write_main(arg);
	return NULL;
}

static void *read_thread(void *arg)
{
	read_main(arg);
	return NULL;
}

START_TEST(a_thread_writes_in_small_pieces_while_the_loop_lends)
{
	pthread_t thread;
	size_t at = 0;
	int rc;

	handler = (struct handler){ .n = sizeof(pattern), .step = 13 };
	park_init_thread(&handler.park);
	ck_assert_int_eq(pthread_create(&thread, NULL, write_thread, &handler), 0);
	for (;;) {
		size_t k = lend(at, 4000, 4, &rc);

		taken(k);
		at += k;
		if (rc == 0)
			break;
		script_turns(loop, 1);
		ck_assert_int_eq(rc, 1);
	}
	pthread_join(thread, NULL);
	script_turns(loop, 3);
	ck_assert_uint_eq(at, sizeof(pattern));
	ck_assert_int_eq(handler.rc, 0);
	ck_assert(!pipe_.posted);
}
END_TEST

START_TEST(a_thread_reads_what_the_loop_pushes_when_there_is_room)
{
	pthread_t thread;
	size_t at = 0;
	bool full = false;

	handler = (struct handler){ .step = 1000 };
	park_init_thread(&handler.park);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_thread, &handler), 0);
	while (at < sizeof(pattern)) {
		size_t n = sizeof(pattern) - at < 3000 ? sizeof(pattern) - at : 3000;

		ck_assert_int_eq(pipe_push(&pipe_, pattern + at, n, &full), 0);
		at += n;
		for (notices = 0; full && notices == 0;)        /* and not a byte more before */
			(void)loop_turn(loop, loop->now_ns + NS_PER_MS);
	}
	pipe_end(&pipe_, 0);
	pthread_join(thread, NULL);
	script_turns(loop, 3);
	ck_assert_uint_eq(handler.n, sizeof(pattern));
	ck_assert_int_eq(memcmp(got, pattern, sizeof(pattern)), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pipe");
	TCase *out = tcase_create("out"), *fiber = tcase_create("fiber"), *thread = tcase_create("thread");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(out, set_up, tear_down);
	tcase_add_checked_fixture(fiber, set_up, tear_down);
	tcase_add_checked_fixture(thread, set_up, tear_down);
	tcase_set_timeout(thread, 60);
	tcase_add_test(out, what_is_written_is_lent_in_order_whatever_the_pieces);
	tcase_add_test(out, lending_again_goes_on_behind_what_was_lent);
	tcase_add_test(out, the_last_bytes_are_the_last_only_once_all_are_lent);
	tcase_add_test(out, an_empty_pipe_that_has_ended_lends_its_end);
	tcase_add_test(out, breaking_off_is_told_at_once_also_while_bytes_are_lent);
	tcase_add_test(out, the_first_end_counts);
	tcase_add_test(out, many_writes_are_one_notice);
	tcase_add_test(out, no_notice_is_given_while_bytes_are_on_their_way_out);
	tcase_add_test(out, a_notice_on_its_way_is_not_sent_again);
	tcase_add_test(out, what_is_put_into_room_is_lent_where_it_lies);
	tcase_add_test(out, room_stays_while_all_before_it_is_sent);
	tcase_add_test(out, who_has_left_is_called_back_once_below_the_low_mark);
	tcase_add_test(out, who_has_left_is_called_back_at_the_end);
	tcase_add_test(out, what_is_held_is_told_at_its_end_or_when_it_must_wait);
	tcase_add_test(out, nothing_is_put_between_what_is_held_nor_before_what_waits);
	tcase_add_test(fiber, a_held_write_that_must_wait_tells_the_loop_first);
	tcase_add_test(fiber, a_writer_waits_at_the_high_mark_and_goes_on_below_the_low_one);
	tcase_add_test(fiber, one_large_write_waits_in_the_middle);
	tcase_add_test(fiber, a_writer_that_waits_is_told_that_it_broke);
	tcase_add_test(fiber, a_wake_that_is_not_the_pipes_lets_nobody_go_on);
	tcase_add_test(fiber, a_reader_gets_what_was_pushed_and_then_the_end);
	tcase_add_test(fiber, a_reader_gets_all_bytes_before_the_error);
	tcase_add_test(fiber, room_in_a_full_pipe_is_told_once_below_the_low_mark);
	tcase_add_test(fiber, a_pipe_filled_while_its_notice_is_on_its_way_is_not_told_of_twice);
	tcase_add_test(fiber, a_first_byte_that_is_awaited_is_asked_for_once);
	tcase_add_test(thread, a_thread_writes_in_small_pieces_while_the_loop_lends);
	tcase_add_test(thread, a_thread_reads_what_the_loop_pushes_when_there_is_room);
	suite_add_tcase(suite, out);
	suite_add_tcase(suite, fiber);
	suite_add_tcase(suite, thread);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
