/*
 * test_pool_spares.c: jobs that say that they wait for something outside, and the threads that run meanwhile; the whole
 * pool against a model of it; its sums while all of it moves.
 *
 * Jobs are actors: each does one thing after the other as the test tells it, so at any time it is known exactly who
 * runs, who is blocked, and who must wait.
 */
#include "pool_fixture.h"

#include <sched.h>
#include <stdlib.h>

#define ACTORS 40
#define LATER (3600 * NS_PER_S)

enum act { BLOCK, UNBLOCK, RETURN };
enum actor_state { AWAY, RUNS, IS_BLOCKED };

struct actor {
	struct pool_job job;
	sem_t cue;
	enum act act;
	atomic_int state;
	atomic_bool gone;                       /* told that it has expired */
};

static struct actor actors[ACTORS];

static void run_actor(struct pool_job *job)
{
	struct actor *a = (struct actor *)job;

	atomic_store(&a->state, RUNS);
	for (;;) {
		while (sem_wait(&a->cue) != 0)
			;
		switch (a->act) {
		case BLOCK:
			pool_block_begin();
			atomic_store(&a->state, IS_BLOCKED);
			break;
		case UNBLOCK:
			pool_block_end();
			atomic_store(&a->state, RUNS);
			break;
		case RETURN:
			atomic_store(&a->state, AWAY);
			return;
		}
	}
}

static void tell_actor(struct pool_job *job, enum pool_expiry why)
{
	ck_assert_int_eq(why, POOL_TIMED_OUT);
	atomic_store(&((struct actor *)job)->gone, true);
}

static void set_up_actors(void)
{
	memset(actors, 0, sizeof(actors));
	for (unsigned i = 0; i < ACTORS; i++) {
		actors[i].job.run = run_actor;
		sem_init(&actors[i].cue, 0, 0);
	}
}

static void cue(unsigned i, enum act act)
{
	actors[i].act = act;
	sem_post(&actors[i].cue);
}

static void expect(unsigned i, enum actor_state state)
{
	EVENTUALLY(atomic_load(&actors[i].state) == (int)state);
}

static void enter_stage(unsigned first, unsigned n)
{
	struct pool_batch batch = { 0 };

	for (unsigned i = first; i < first + n; i++) {
		ck_assert(pool_admit(pool));
		pool_batch_add(&batch, &actors[i].job);
	}
	pool_splice(pool, &batch);
}

static void block(unsigned i)
{
	cue(i, BLOCK);
	expect(i, IS_BLOCKED);
}

static void unblock(unsigned i)
{
	cue(i, UNBLOCK);
	expect(i, RUNS);
}

static void leave_stage(unsigned i)
{
	uint64_t done = stats().done;

	cue(i, RETURN);
	EVENTUALLY(stats().done == done + 1);
}

static void make_spare_pool(unsigned threads, unsigned spares, unsigned queue)
{
	make_pool_of((struct pool_conf){ .threads = threads, .spares = spares, .queue = queue });
}

/* Nobody is about to start, and this is who is there. */
static bool settled(unsigned running, unsigned blocked, unsigned queued)
{
	struct pool_stats s = stats();

	return s.waking == 0 && s.running == running && s.blocked == blocked && s.queued == queued;
}

/* ---- lending a token --------------------------------------------------------------------------------------------- */

START_TEST(while_one_is_blocked_another_runs)
{
	make_spare_pool(1, 1, 10);
	enter_stage(0, 3);
	expect(0, RUNS);
	EVENTUALLY(settled(1, 0, 2));
	block(0);
	expect(1, RUNS);
	EVENTUALLY(settled(1, 1, 1));
	ck_assert_uint_eq(stats().threads, 2);
	ck_assert_uint_eq(stats().limit, 1);

	unblock(0);                             /* two run, for a moment; nobody is preempted and nobody starts */
	EVENTUALLY(settled(2, 0, 1));
	leave_stage(0);
	EVENTUALLY(settled(1, 0, 1));
	ck_assert_int_eq(atomic_load(&actors[2].state), AWAY);
	leave_stage(1);
	expect(2, RUNS);
	EVENTUALLY(settled(1, 0, 0));
	leave_stage(2);
	EVENTUALLY(settled(0, 0, 0));
}
END_TEST

START_TEST(spares_are_no_more_than_the_pool_has)
{
	make_spare_pool(2, 3, 20);
	enter_stage(0, 10);
	for (unsigned i = 0; i < 5; i++) {      /* as each blocks, the next may run */
		expect(i, RUNS);
		block(i);
	}
	EVENTUALLY(settled(0, 5, 5));
	ck_assert_uint_eq(stats().threads, 5);
	unblock(0);
	EVENTUALLY(settled(1, 4, 5));
	leave_stage(0);
	expect(5, RUNS);
	EVENTUALLY(settled(1, 4, 4));
	ck_assert_uint_eq(stats().threads, 5);
	for (unsigned i = 1; i < 10; i++) {
		expect(i, i < 5 ? IS_BLOCKED : RUNS);
		leave_stage(i);
	}
	EVENTUALLY(stats().done == 10);
	ck_assert_uint_eq(stats().started, 5);
	EVENTUALLY(resting(5));
}
END_TEST

START_TEST(without_spares_a_blocked_job_is_told_of_and_nothing_else)
{
	make_spare_pool(2, 0, 20);
	enter_stage(0, 4);
	expect(0, RUNS);
	expect(1, RUNS);
	block(0);
	block(1);
	EVENTUALLY(settled(0, 2, 2));
	ck_assert_uint_eq(stats().threads, 2);
	leave_stage(0);
	expect(2, RUNS);
	EVENTUALLY(settled(1, 1, 1));
	for (unsigned i = 1; i < 4; i++)
		leave_stage(i);
	EVENTUALLY(resting(2));
}
END_TEST

START_TEST(a_lent_token_makes_a_place_too)
{
	make_spare_pool(1, 1, 0);
	enter_stage(0, 1);
	expect(0, RUNS);
	ck_assert(!pool_admit(pool));
	block(0);
	enter_stage(1, 1);
	expect(1, RUNS);
	ck_assert(!pool_admit(pool));
	unblock(0);
	leave_stage(0);
	ck_assert(!pool_admit(pool));
	leave_stage(1);
	enter_stage(2, 1);
	leave_stage(2);
}
END_TEST

static void run_unpaired(struct pool_job *job)
{
	pool_block_end();                       /* of nothing */
	pool_block_begin();
	pool_block_begin();
	pool_block_end();
	run_held(job);
}

START_TEST(pairs_nest_and_what_is_open_when_a_job_returns_is_closed)
{
	make_spare_pool(1, 1, 10);
	for (unsigned round = 1; round <= 3; round++) {
		submit(0, 1, run_unpaired);
		EVENTUALLY(settled(0, 1, 0));
		let_go(1);
		EVENTUALLY(stats().done == round);
		ck_assert_uint_eq(stats().blocked + stats().running, 0);
	}
	enter_stage(0, 2);
	expect(0, RUNS);
	EVENTUALLY(settled(1, 0, 1));           /* no token was left behind */
	leave_stage(0);
	leave_stage(1);
}
END_TEST

static void tell_and_block(struct pool_job *job, enum pool_expiry why)
{
	pool_block_begin();
	tell_actor(job, why);
	pool_block_begin();
	pool_block_end();
}

START_TEST(blocking_means_nothing_where_no_job_runs)
{
	uint64_t soon = clock_now_ns() + 3 * NS_PER_MS;

	pool_block_begin();
	pool_block_end();
	make_spare_pool(1, 1, 10);
	enter_stage(0, 1);
	actors[1].job.expired = tell_and_block;
	actors[1].job.expires_ns = soon;
	enter_stage(1, 1);
	expect(0, RUNS);
	EVENTUALLY(clock_now_ns() > soon);
	leave_stage(0);                         /* the worker itself calls back for the other */
	EVENTUALLY(atomic_load(&actors[1].gone));
	EVENTUALLY(resting(1));
	enter_stage(2, 2);
	expect(2, RUNS);
	EVENTUALLY(settled(1, 0, 1));
	leave_stage(2);
	leave_stage(3);
}
END_TEST

START_TEST(resizing_counts_what_is_lent)
{
	make_spare_pool(2, 2, 20);
	enter_stage(0, 8);
	expect(1, RUNS);
	expect(0, RUNS);
	block(0);
	block(1);
	expect(2, RUNS);
	expect(3, RUNS);
	pool_resize(pool, 1, 20);               /* tokens: 1, and 2 lent */
	leave_stage(2);
	EVENTUALLY(settled(1, 2, 4));
	pool_resize(pool, 0, 20);
	leave_stage(3);
	EVENTUALLY(settled(0, 2, 4));
	unblock(0);
	EVENTUALLY(settled(1, 1, 4));
	pool_resize(pool, 2, 20);
	expect(4, RUNS);
	EVENTUALLY(settled(2, 1, 3));
	pool_resize(pool, 0, 20);
	for (unsigned i = 0; i < 5; i++)
		if (i < 2 || i == 4)
			leave_stage(i);
	EVENTUALLY(stats().threads == 0);
	ck_assert_uint_eq(stats().queued, 3);
	pool_resize(pool, 1, 20);
	for (unsigned i = 5; i < 8; i++)
		leave_stage(i);
}
END_TEST

/* ---- against a model --------------------------------------------------------------------------------------------- */

/* What the pool promises, as plainly as it can be said. */
static struct {
	unsigned limit, spares, queue;
	unsigned waiting[ACTORS], nwaiting;     /* in the order of splices */
	enum actor_state state[ACTORS];
	unsigned running, blocked, high_run;
	uint64_t done, dropped, expired;
	uint64_t now;                           /* what pool_expire is told: far from the clock that workers read */
} model;

static unsigned model_tokens(void)
{
	unsigned lent = model.blocked < model.spares ? model.blocked : model.spares;

	return model.limit > 0 ? model.limit + lent : 0;
}

static void model_forget(unsigned k)
{
	memmove(&model.waiting[k], &model.waiting[k + 1], (model.nwaiting - k - 1) * sizeof(model.waiting[0]));
	model.nwaiting--;
}

static unsigned model_first(unsigned priority)
{
	unsigned k = 0;

	while (k < model.nwaiting && actors[model.waiting[k]].job.priority != priority)
		k++;
	return k;
}

static void model_grant(void)
{
	while (model.running + model.blocked < model_tokens() && model.nwaiting > 0) {
		unsigned high = model_first(1), normal = model_first(0), none = model.nwaiting;
		unsigned k = high < none && (normal == none || model.high_run < 8) ? high : normal;

		model.high_run = k == high && normal < none ? model.high_run + 1 : 0;
		model.state[model.waiting[k]] = RUNS;
		model.running++;
		model_forget(k);
	}
}

static bool model_waits(unsigned i)
{
	for (unsigned k = 0; k < model.nwaiting; k++)
		if (model.waiting[k] == i)
			return true;
	return false;
}

/* Grants in the model, and waits until the pool has done the same; then it must be so in every particular. */
static void compare(void)
{
	struct pool_stats s;

	model_grant();
	EVENTUALLY(settled(model.running, model.blocked, model.nwaiting));
	for (unsigned i = 0; i < ACTORS; i++)
		expect(i, model.state[i]);
	s = stats();
	ck_assert_uint_eq(s.running, model.running);
	ck_assert_uint_eq(s.blocked, model.blocked);
	ck_assert_uint_eq(s.queued, model.nwaiting);
	ck_assert_uint_eq(s.done, model.done);
	ck_assert_uint_eq(s.dropped, model.dropped);
	ck_assert_uint_eq(s.expired[POOL_TIMED_OUT], model.expired);
}

static void do_splice(unsigned *seed)
{
	struct pool_batch batch = { 0 };
	unsigned taken = model.running + model.blocked + model.nwaiting, n = 1 + (unsigned)rand_r(seed) % 3;

	for (unsigned i = 0; i < ACTORS && n > 0; i++) {
		if (model.state[i] != AWAY || model_waits(i))
			continue;
		n--;
		if (taken >= model_tokens() + model.queue) {
			ck_assert(!pool_admit(pool));
			continue;
		}
		ck_assert(pool_admit(pool));
		if (rand_r(seed) % 8 == 0) {
			pool_unadmit(pool);
			continue;
		}
		actors[i].job.priority = rand_r(seed) % 3 > 0;
		actors[i].job.expired = rand_r(seed) % 2 ? tell_actor : NULL;
		actors[i].job.expires_ns = model.now + (1 + (unsigned)rand_r(seed) % 4) * LATER;
		atomic_store(&actors[i].gone, false);
		pool_batch_add(&batch, &actors[i].job);
		model.waiting[model.nwaiting++] = i;
		taken++;
	}
	pool_splice(pool, &batch);
}

static void do_expire(void)
{
	model.now += LATER;
	pool_expire(pool, model.now + 2 * NS_PER_MS);
	for (unsigned k = model.nwaiting; k-- > 0;) {
		struct actor *a = &actors[model.waiting[k]];

		ck_assert(atomic_load(&a->gone) == (a->job.expired && a->job.expires_ns <= model.now));
		if (atomic_load(&a->gone)) {
			model_forget(k);
			model.expired++;
		}
	}
}

static void do_drop(unsigned i)
{
	bool waits = model_waits(i);

	ck_assert(pool_drop(pool, &actors[i].job) == waits);
	for (unsigned k = 0; waits && k < model.nwaiting; k++)
		if (model.waiting[k] == i) {
			model_forget(k);
			model.dropped++;
			break;
		}
}

static void do_act(unsigned i, bool end)
{
	if (model.state[i] == AWAY)
		return;
	if (end) {
		*(model.state[i] == RUNS ? &model.running : &model.blocked) -= 1;
		model.state[i] = AWAY;
		model.done++;
		cue(i, RETURN);
	} else if (model.state[i] == RUNS) {
		model.running--;
		model.blocked++;
		model.state[i] = IS_BLOCKED;
		cue(i, BLOCK);
	} else {
		model.blocked--;
		model.running++;
		model.state[i] = RUNS;
		cue(i, UNBLOCK);
	}
}

START_TEST(any_sequence_of_operations_leaves_the_pool_as_the_model_says)
{
	unsigned seed = 1 + (unsigned)_i;

	memset(&model, 0, sizeof(model));
	model.limit = 3;
	model.spares = (unsigned)_i % 4;
	model.queue = 10;
	model.now = clock_now_ns() + LATER;
	make_pool_of((struct pool_conf){ .threads = 3, .spares = model.spares, .queue = 10, .idle_ns = NS_PER_MS });
	for (unsigned step = 0; step < 600; step++) {
		unsigned i = (unsigned)rand_r(&seed) % ACTORS, what = (unsigned)rand_r(&seed) % 16;

		if (what < 6) {
			do_splice(&seed);
		} else if (what < 13) {
			while (model.state[i] == AWAY && model.running + model.blocked > 0)
				i = (i + 1) % ACTORS;
			do_act(i, what >= 10);
		} else if (what == 13) {
			do_drop(i);
		} else if (what == 14) {
			do_expire();
		} else {
			model.limit = (unsigned)rand_r(&seed) % 6;
			model.queue = (unsigned)rand_r(&seed) % 15;
			pool_resize(pool, model.limit, model.queue);
		}
		compare();
		ck_assert_uint_le(stats().running + stats().blocked, 5 + model.spares);
	}
	ck_assert_uint_gt(model.done, 20);
	ck_assert_uint_gt(model.dropped + model.expired, 5);

	model.limit = 5;
	pool_resize(pool, 5, model.queue);
	while (model.running + model.blocked + model.nwaiting > 0) {
		for (unsigned i = 0; i < ACTORS; i++)
			do_act(i, true);
		compare();
	}
}
END_TEST

/* ---- while all of it moves --------------------------------------------------------------------------------------- */

#define CHURNERS 3
#define CHURN_JOBS 3000
#define CHURN_LIMIT 4
#define CHURN_SPARES 2

struct churn {
	struct pool_job job;
	atomic_uchar run, told, dropped;
};

static struct churn churn[CHURNERS][CHURN_JOBS];
static atomic_bool churn_over;

static void run_churn(struct pool_job *job)
{
	struct churn *c = (struct churn *)job;

	if (job->tag & 1)
		pool_block_begin();
	sched_yield();
	if (job->tag == 1)
		pool_block_end();               /* 3 forgets it */
	atomic_fetch_add(&c->run, 1);
}

static void tell_churn(struct pool_job *job, enum pool_expiry why)
{
	ck_assert_int_lt(why, POOL_EXPIRIES);
	atomic_fetch_add(&((struct churn *)job)->told, 1);
}

static void *churn_submit(void *arg)
{
	struct churn *mine = arg;
	unsigned seed = (unsigned)(mine - churn[0]) + 1, done = 0;

	while (done < CHURN_JOBS) {
		struct pool_batch batch = { 0 };
		unsigned n = 1 + (unsigned)rand_r(&seed) % 20, first = done;

		for (; batch.n < n && done < CHURN_JOBS && pool_admit(pool); done++) {
			struct pool_job *job = &mine[done].job;

			job->run = run_churn;
			job->tag = (unsigned)rand_r(&seed) % TAGS;
			job->priority = rand_r(&seed) % 2;
			job->expired = rand_r(&seed) % 4 ? tell_churn : NULL;
			job->expires_ns = rand_r(&seed) % 2 ? clock_now_ns() + (unsigned)rand_r(&seed) % NS_PER_MS : 0;
			pool_batch_add(&batch, job);
		}
		pool_splice(pool, &batch);
		for (unsigned i = first; i < done; i += 5)
			if (pool_drop(pool, &mine[i].job))
				atomic_fetch_add(&mine[i].dropped, 1);
	}
	return NULL;
}

static void *churn_resize(void *arg)
{
	unsigned seed = 7;

	(void)arg;
	while (!atomic_load(&churn_over)) {
		pool_resize(pool, 1 + (unsigned)rand_r(&seed) % CHURN_LIMIT, 20 + (unsigned)rand_r(&seed) % 60);
		pool_expire(pool, clock_now_ns());
		usleep((useconds_t)rand_r(&seed) % 200);
	}
	return NULL;
}

/* stats() itself holds the sums against each other. */
static void *churn_look(void *arg)
{
	(void)arg;
	while (!atomic_load(&churn_over)) {
		struct pool_stats s = stats();

		ck_assert_uint_le(s.running + s.blocked, CHURN_LIMIT + CHURN_SPARES);
		ck_assert_uint_le(s.threads, CHURN_LIMIT + CHURN_SPARES);
		ck_assert_uint_le(s.limit, CHURN_LIMIT);
		sched_yield();
	}
	return NULL;
}

static uint64_t gone(void)
{
	struct pool_stats s = stats();

	return s.done + s.dropped + s.expired[POOL_TIMED_OUT] + s.expired[POOL_SHED];
}

/* With CoDel in the second run: a target that is missed now and then. */
START_TEST(every_spliced_job_ends_in_one_way_and_all_sums_add_up)
{
	pthread_t submitters[CHURNERS], resizer, looker;
	uint64_t ran = 0, told = 0, dropped = 0;
	struct pool_stats s;

	atomic_store(&churn_over, false);
	memset(churn, 0, sizeof(churn));
	make_pool_of((struct pool_conf){ .threads = CHURN_LIMIT, .spares = CHURN_SPARES, .queue = 60, .codel = _i == 1,
		.codel_target_ns = 20 * NS_PER_US, .codel_interval_ns = NS_PER_MS, .idle_ns = 200 * NS_PER_US });
	for (unsigned i = 0; i < CHURNERS; i++)
		ck_assert_int_eq(pthread_create(&submitters[i], NULL, churn_submit, churn[i]), 0);
	ck_assert_int_eq(pthread_create(&resizer, NULL, churn_resize, NULL), 0);
	ck_assert_int_eq(pthread_create(&looker, NULL, churn_look, NULL), 0);
	for (unsigned i = 0; i < CHURNERS; i++)
		pthread_join(submitters[i], NULL);
	EVENTUALLY(gone() == CHURNERS * CHURN_JOBS);
	atomic_store(&churn_over, true);
	pthread_join(resizer, NULL);
	pthread_join(looker, NULL);
	EVENTUALLY(stats().threads == 0);

	for (unsigned i = 0; i < CHURNERS * CHURN_JOBS; i++) {
		struct churn *c = &churn[i / CHURN_JOBS][i % CHURN_JOBS];

		ck_assert_int_eq(atomic_load(&c->run) + atomic_load(&c->told) + atomic_load(&c->dropped), 1);
		ran += atomic_load(&c->run);
		told += atomic_load(&c->told);
		dropped += atomic_load(&c->dropped);
	}
	s = stats();
	ck_assert_uint_eq(s.done, ran);
	ck_assert_uint_eq(s.dropped, dropped);
	ck_assert_uint_eq(s.expired[POOL_TIMED_OUT] + s.expired[POOL_SHED], told);
	ck_assert_uint_eq(s.queued + s.running + s.blocked, 0);
	ck_assert(_i == 1 || s.expired[POOL_SHED] == 0);
	pool_resize(pool, 10, 10);
	for (unsigned i = 0; i < 20; i++)       /* and no place was lost */
		ck_assert(pool_admit(pool));
	ck_assert(!pool_admit(pool));
}
END_TEST

int main(void)
{
	TCase *lending = tcase_create("lending"), *whole = tcase_create("model"), *moving = tcase_create("moving");
	TCase *cases[] = { lending, whole, moving };

	tcase_add_test(lending, while_one_is_blocked_another_runs);
	tcase_add_test(lending, spares_are_no_more_than_the_pool_has);
	tcase_add_test(lending, without_spares_a_blocked_job_is_told_of_and_nothing_else);
	tcase_add_test(lending, a_lent_token_makes_a_place_too);
	tcase_add_test(lending, pairs_nest_and_what_is_open_when_a_job_returns_is_closed);
	tcase_add_test(lending, blocking_means_nothing_where_no_job_runs);
	tcase_add_test(lending, resizing_counts_what_is_lent);
	tcase_add_loop_test(whole, any_sequence_of_operations_leaves_the_pool_as_the_model_says, 0, 4);
	tcase_add_loop_test(moving, every_spliced_job_ends_in_one_way_and_all_sums_add_up, 0, 2);

	tcase_add_checked_fixture(lending, set_up_actors, NULL);
	tcase_add_checked_fixture(whole, set_up_actors, NULL);
	return run_suite("pool spares", cases, sizeof(cases) / sizeof(cases[0]));
}
