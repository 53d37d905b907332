/* test_loop_turn.c: closing, messages and time, with the backend that OFFLOOP_BACKEND names (uring or libevent).
 *
 * Every io that is closed is released once, whatever was under way; a message of any thread runs once, in its order,
 * and ends a sleep; timers end it when they are due.  Exits 77 when io_uring is asked for and not to be had. */
#include "../loop_seen.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- close ------------------------------------------------------------------------------------------------------- */

START_TEST(closing_with_everything_armed_gives_one_released_and_the_peer_its_fin)
{
	enum { LARGE = 20000000 };
	struct loop *l = seen_loop(NULL);
	char *data = calloc(1, LARGE), part[65536];
	struct seen *s;
	ssize_t n;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_recv(s), 0);
	ck_assert_int_eq(seen_hup(s), 0);
	ck_assert_int_eq(seen_send(s, data, LARGE), 0);
	seen_settle(l);
	seen_close(s);
	ck_assert_int_eq(loop_recv(&s->io), -EBADF);
	ck_assert_int_eq(s->released, 0);
	UNTIL(l, s->released);
	ck_assert_int_eq(s->recv_ended + s->hups + s->sends, 0);
	while ((n = recv(ends[1], part, sizeof(part), 0)) > 0)
		;
	ck_assert_int_eq(n, 0);
	close(ends[1]);
	seen_free(s);
	free(data);
	loop_free(l);
}
END_TEST

START_TEST(a_lent_descriptor_stays_open_until_the_loan_is_over)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	char c;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_recv(s), 0);
	seen_settle(l);
	loop_lend(&s->io);
	seen_close(s);
	seen_settle(l);
	ck_assert_int_eq(s->released, 0);
	ck_assert_int_eq(send(ends[0], "x", 1, MSG_DONTWAIT), 1);
	loop_unlend(&s->io);
	UNTIL(l, s->released);
	ck_assert_int_eq(recv(ends[1], &c, 1, 0), 1);
	ck_assert_int_eq(recv(ends[1], &c, 1, 0), 0);
	close(ends[1]);
	seen_free(s);
	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	loop_lend(&s->io);
	loop_unlend(&s->io);
	seen_settle(l);
	ck_assert_int_eq(s->released, 0);
	close(ends[1]);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(an_idle_receive_does_not_keep_the_fin_from_the_peer)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	char c;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_recv(s), 0);
	seen_settle(l);
	seen_close(s);
	UNTIL(l, s->released);
	ck_assert_int_eq(recv(ends[1], &c, 1, 0), 0);
	close(ends[1]);
	seen_free(s);
	loop_free(l);
}
END_TEST

START_TEST(an_io_may_be_closed_in_its_own_callback)
{
	struct sockaddr_in sa;
	struct loop *l = seen_loop(NULL);
	struct seen *in_recv, *in_sent, *in_hup, *in_fin, *in_accept;
	int a[2], b[2], c[2], d[2], client;

	make_pair(0, a);
	make_pair(1, b);
	make_pair(0, c);
	make_pair(1, d);
	in_recv = seen_new(l, a[0]);
	in_sent = seen_new(l, b[0]);
	in_hup = seen_new(l, c[0]);
	in_fin = seen_new(l, d[0]);
	in_accept = seen_new(l, listen_tcp(&sa));
	in_recv->close_at_once = in_sent->close_at_once = in_hup->close_at_once = in_fin->close_at_once = true;
	in_accept->close_at_once = true;
	client = connect_tcp(&sa);
	ck_assert_int_eq(seen_recv(in_recv), 0);
	ck_assert_int_eq(seen_hup(in_recv), 0);
	ck_assert_int_eq(seen_send(in_sent, "text", 4), 0);
	ck_assert_int_eq(seen_recv(in_sent), 0);
	ck_assert_int_eq(seen_hup(in_hup), 0);
	ck_assert_int_eq(seen_recv(in_fin), 0);
	ck_assert_int_eq(seen_accept(in_accept), 0);
	write_all(a[1], "hello", 5);
	close(a[1]);
	close(c[1]);
	close(d[1]);
	UNTIL(l, in_recv->released && in_sent->released && in_hup->released && in_fin->released && in_accept->released);
	ck_assert_int_eq(in_recv->received, 5);
	ck_assert_int_eq(in_recv->recv_ended + in_recv->hups, 0);
	ck_assert_int_eq(in_sent->sends, 1);
	ck_assert_int_eq(in_hup->hups, 1);
	ck_assert_int_eq(in_accept->accepts, 1);
	close(in_accept->accepted_fd[0]);
	close(client);
	close(b[1]);
	seen_free(in_recv);
	seen_free(in_sent);
	seen_free(in_hup);
	seen_free(in_fin);
	seen_free(in_accept);
	loop_free(l);
}
END_TEST

/* Two have bytes in the same turn, and the first that is told of its own ends the other. */
START_TEST(a_receive_that_another_callback_stops_loses_no_bytes)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s[2], *stopped;
	int ends[2][2];

	for (int i = 0; i < 2; i++) {
		make_pair(_i, ends[i]);
		s[i] = seen_new(l, ends[i][0]);
		ck_assert_int_eq(seen_recv(s[i]), 0);
	}
	seen_settle(l);
	s[0]->stops = s[1];
	s[1]->stops = s[0];
	write_all(ends[0][1], "hello", 5);
	write_all(ends[1][1], "hello", 5);
	UNTIL(l, s[0]->recv_ended || s[1]->recv_ended);
	stopped = s[0]->recv_ended ? s[0] : s[1];
	ck_assert_int_eq(stopped->recv_end, -ECANCELED);
	ck_assert_int_eq(seen_recv(stopped), 0);
	UNTIL(l, stopped->received == 5);
	UNTIL(l, s[0]->received == 5 && s[1]->received == 5);
	seen_settle(l);
	ck_assert_int_eq(s[0]->recv_ended + s[1]->recv_ended, 1);
	for (int i = 0; i < 2; i++) {
		close(ends[i][1]);
		seen_free(s[i]);
	}
	loop_free(l);
}
END_TEST

START_TEST(an_io_that_another_callback_closes_leaves_no_buffer_behind)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s[2];
	unsigned all;
	int ends[2][2];

	for (int i = 0; i < 2; i++) {
		make_pair(_i, ends[i]);
		s[i] = seen_new(l, ends[i][0]);
		ck_assert_int_eq(seen_recv(s[i]), 0);
	}
	seen_settle(l);
	all = l->bufs_free;
	s[0]->closes = s[1];
	s[1]->closes = s[0];
	write_all(ends[0][1], "hello", 5);
	write_all(ends[1][1], "hello", 5);
	UNTIL(l, s[0]->released || s[1]->released);
	ck_assert_int_eq(s[0]->received + s[1]->received, 5);
	for (int i = 0; i < 2; i++) {
		close(ends[i][1]);
		seen_free(s[i]);
	}
	ck_assert_uint_eq(l->bufs_free, all);
	loop_free(l);
}
END_TEST

START_TEST(what_is_sent_right_before_a_stop_or_a_close_goes_out)
{
	struct loop *l = seen_loop(NULL);
	struct seen *s;
	char c;
	int ends[2];

	make_pair(_i, ends);
	s = seen_new(l, ends[0]);
	ck_assert_int_eq(seen_send(s, "good", 4), 0);
	seen_stop(s, LOOP_SEND);
	UNTIL(l, s->sends);
	ck_assert_int_eq(s->send_res, 4);
	ck_assert_int_eq(seen_send(s, "bye", 3), 0);
	seen_close(s);
	UNTIL(l, s->released);
	read_all(ends[1], "goodbye", 7);
	ck_assert_int_eq(recv(ends[1], &c, 1, 0), 0);
	close(ends[1]);
	seen_free(s);
	loop_free(l);
}
END_TEST

/* More operations at once than the submission queue holds, and than a turn of libevent reports. */
START_TEST(hundreds_of_operations_started_at_once_all_finish)
{
	enum { MANY = 400 };
	static struct seen *s[MANY];
	static int far[MANY];
	struct loop *l = seen_loop(NULL);
	int done;

	ck_assert_int_eq(loop_turn(l, 0), 0);
	for (int i = 0; i < MANY; i++) {
		int ends[2];

		make_pair(1, ends);
		far[i] = ends[1];
		s[i] = seen_new(l, ends[0]);
		s[i]->echo = true;
		ck_assert_int_eq(seen_recv(s[i]), 0);
		ck_assert_int_eq(loop_poll_hup(&s[i]->io), 0);
		write_all(far[i], "ping", 4);
	}
	do {
		seen_patience = clock_now_ns() + 10 * NS_PER_S;
		seen_turn(l);
		done = 0;
		for (int i = 0; i < MANY; i++)
			done += s[i]->sends == 1;
	} while (done < MANY);
	for (int i = 0; i < MANY; i++) {
		read_all(far[i], "ping", 4);
		seen_close(s[i]);
	}
	for (int i = 0; i < MANY; i++) {
		UNTIL(l, s[i]->released);
		close(far[i]);
	}
	for (int i = 0; i < MANY; i++)
		seen_free(s[i]);
	loop_free(l);
}
END_TEST

/* ---- messages and time ------------------------------------------------------------------------------------------- */

enum { POSTERS = 4, POSTS = 5000 };

struct post {
	struct loop_msg msg;
	int poster, n;
};

struct poster {
	struct loop *loop;
	struct post *posts;
	pthread_t thread;
};

static int ran_upto[POSTERS], nran, in_turn, most_in_turn;

static void run_post(struct loop_msg *m)
{
	struct post *p = container_of(m, struct post, msg);

	ck_assert_int_eq(p->n, ran_upto[p->poster]++);
	nran++;
	if (++in_turn > most_in_turn)
		most_in_turn = in_turn;
}

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < POSTS; i++)
		loop_post(p->loop, &p->posts[i].msg);
	return NULL;
}

START_TEST(messages_of_many_threads_all_run_each_in_order_and_64_a_turn)
{
	struct loop *l = seen_loop(NULL);
	struct poster p[POSTERS];

	nran = most_in_turn = 0;
	memset(ran_upto, 0, sizeof(ran_upto));
	for (int i = 0; i < POSTERS; i++) {
		p[i] = (struct poster){ .loop = l, .posts = calloc(POSTS, sizeof(struct post)) };
		for (int j = 0; j < POSTS; j++)
			p[i].posts[j] = (struct post){ { .fn = run_post }, i, j };
		ck_assert_int_eq(pthread_create(&p[i].thread, NULL, post_all, &p[i]), 0);
	}
	seen_patience = clock_now_ns() + 60 * NS_PER_S;
	while (nran < POSTERS * POSTS) {
		in_turn = 0;
		seen_turn(l);
	}
	ck_assert_int_le(most_in_turn, 64);
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert_int_eq(ran_upto[i], POSTS);
		free(p[i].posts);
	}
	loop_free(l);
}
END_TEST

struct pong {
	struct loop_msg msg;
	pthread_mutex_t lock;
	pthread_cond_t there;
	int at;
};

static void run_pong(struct loop_msg *m)
{
	struct pong *p = container_of(m, struct pong, msg);

	pthread_mutex_lock(&p->lock);
	p->at++;
	pthread_cond_signal(&p->there);
	pthread_mutex_unlock(&p->lock);
}

struct ponger {
	struct loop *loop;
	struct pong pong;
	struct loop_msg last;
};

static void run_last(struct loop_msg *m)
{
	loop_stop(container_of(m, struct ponger, last)->loop);
}

/* Posts, waits until that has run, posts again: each message finds the loop asleep, or about to be. */
static void *post_one_by_one(void *arg)
{
	struct ponger *p = arg;

	for (int i = 1; i <= 2000; i++) {
		loop_post(p->loop, &p->pong.msg);
		pthread_mutex_lock(&p->pong.lock);
		while (p->pong.at < i)
			pthread_cond_wait(&p->pong.there, &p->pong.lock);
		pthread_mutex_unlock(&p->pong.lock);
	}
	loop_post(p->loop, &p->last);
	return NULL;
}

START_TEST(a_message_wakes_the_sleeping_loop_each_time)
{
	struct ponger p = {
		.loop = seen_loop(NULL),
		.pong = { { .fn = run_pong }, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 },
		.last = { .fn = run_last },
	};
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, post_one_by_one, &p), 0);
	ck_assert_int_eq(loop_run(p.loop), 0);
	pthread_join(t, NULL);
	ck_assert_int_eq(p.pong.at, 2000);
	ck_assert_uint_gt(p.loop->count.wakes, 0);
	ck_assert_uint_gt(p.loop->count.idle_ns, 0);
	loop_free(p.loop);
}
END_TEST

static void *run_loop(void *arg)
{
	return (void *)(intptr_t)loop_run(arg);
}

START_TEST(a_loop_made_here_runs_on_another_thread)
{
	struct sockaddr_in sa;
	struct ponger p = { .loop = seen_loop(NULL), .last = { .fn = run_last } };
	struct seen *s = seen_new(p.loop, listen_tcp(&sa));
	pthread_t t;
	void *rc;

	ck_assert_int_eq(seen_accept(s), 0);
	seen_close(s);
	ck_assert_int_eq(pthread_create(&t, NULL, run_loop, p.loop), 0);
	loop_post(p.loop, &p.last);
	pthread_join(t, &rc);
	ck_assert_ptr_null(rc);
	ck_assert_int_eq(s->released, 1);
	free(s);
	loop_free(p.loop);
}
END_TEST

struct alarm {
	struct timer timer;
	struct loop *loop;
	uint64_t fired_ns;
};

static void fired(struct timer *t)
{
	struct alarm *a = container_of(t, struct alarm, timer);

	a->fired_ns = loop_clock(a->loop);
}

START_TEST(timers_end_the_wait_when_they_are_due_and_not_before)
{
	static const int ms[] = { 30, 5, 12, 1, 0 };
	struct loop *l = seen_loop(NULL);
	struct alarm a[5];

	for (int i = 0; i < 5; i++) {
		a[i] = (struct alarm){ .loop = l };
		timer_init(&a[i].timer, fired);
	}
	for (int i = 0; i < 5; i++) {
		uint64_t at = loop_clock(l) + (uint64_t)ms[i] * NS_PER_MS;

		wheel_add(&l->wheel, &a[i].timer, at);
		UNTIL(l, a[i].fired_ns);
		ck_assert_uint_ge(a[i].fired_ns, at);
		ck_assert_uint_lt(a[i].fired_ns, at + 5 * NS_PER_S);
	}
	loop_free(l);
}
END_TEST

START_TEST(a_turn_waits_until_its_deadline_at_most)
{
	struct loop *l = seen_loop(NULL);
	uint64_t deadline = clock_now_ns() + 20 * NS_PER_MS;

	ck_assert_int_eq(loop_turn(l, deadline), 0);
	while (l->now_ns < deadline)    /* it may be early, when there was something to look at */
		ck_assert_int_eq(loop_turn(l, deadline), 0);
	ck_assert_uint_le(l->count.turns, 4);
	ck_assert_int_eq(loop_turn(l, deadline), 0);    /* a time that has passed: does not wait */
	loop_free(l);
}
END_TEST

START_TEST(loop_free_takes_null_and_a_loop_that_never_ran)
{
	loop_free(NULL);
	loop_free(seen_loop(NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop turns");
	TCase *t = tcase_create("contract");
	SRunner *runner;
	int failed;

	if ((failed = seen_skip()))
		return failed;
	tcase_add_loop_test(t, closing_with_everything_armed_gives_one_released_and_the_peer_its_fin, 0, 2);
	tcase_add_loop_test(t, a_lent_descriptor_stays_open_until_the_loan_is_over, 0, 2);
	tcase_add_loop_test(t, an_idle_receive_does_not_keep_the_fin_from_the_peer, 0, 2);
	tcase_add_test(t, an_io_may_be_closed_in_its_own_callback);
	tcase_add_loop_test(t, a_receive_that_another_callback_stops_loses_no_bytes, 0, 2);
	tcase_add_loop_test(t, an_io_that_another_callback_closes_leaves_no_buffer_behind, 0, 2);
	tcase_add_loop_test(t, what_is_sent_right_before_a_stop_or_a_close_goes_out, 0, 2);
	tcase_add_test(t, hundreds_of_operations_started_at_once_all_finish);
	tcase_add_test(t, messages_of_many_threads_all_run_each_in_order_and_64_a_turn);
	tcase_add_test(t, a_message_wakes_the_sleeping_loop_each_time);
	tcase_add_test(t, a_loop_made_here_runs_on_another_thread);
	tcase_add_test(t, timers_end_the_wait_when_they_are_due_and_not_before);
	tcase_add_test(t, a_turn_waits_until_its_deadline_at_most);
	tcase_add_test(t, loop_free_takes_null_and_a_loop_that_never_ran);
	tcase_set_timeout(t, 120);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
