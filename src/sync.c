/* sync.c: ol_mutex and ol_sem, locks that handlers of both lanes share.
 *
 * A thread lock held across a suspending call would stop a loop, or deadlock it against itself; these suspend instead.
 * A semaphore is a count and a queue of waiters, each on its waiter's stack, under a thread lock that is held for a few
 * instructions only.  A post hands its unit to the first waiter directly (so it is fair, and no third can snatch it)
 * and wakes it under that lock, which the waiter takes before it goes on: that keeps the waiter's memory alive for the
 * waker.  A mutex is a semaphore of one.
 *
 * Any thread may post; waits are the handler's own.  An admit hook, which has no park, may not wait: -EDEADLK.
 */
#include "exchange.h"

#include <errno.h>

struct ol_waiter_ {
	struct ol_waiter_ *next;
	struct park *park;
	bool granted;
};

static void enqueue(ol_sem *s, struct ol_waiter_ *w)
{
	if (s->tail_)
		s->tail_->next = w;
	else
		s->head_ = w;
	s->tail_ = w;
}

static void take_out(ol_sem *s, const struct ol_waiter_ *w)
{
	struct ol_waiter_ **at = &s->head_, *before = NULL;

	while (*at != w) {
		before = *at;
		at = &before->next;
	}
	*at = w->next;
	if (s->tail_ == w)
		s->tail_ = before;
}

/* Locked on entry and return. */
static int wait_granted(ol_req *r, ol_sem *s, struct ol_waiter_ *w, uint64_t deadline)
{
	int rc = 0;

	while (!w->granted) {
		if (ol_cancelled(r))
			rc = -ECANCELED;
		if (rc < 0) {
			take_out(s, w);
			return rc;
		}
		pthread_mutex_unlock(&s->lock_);
		rc = park_wait(r->park, deadline);
		pthread_mutex_lock(&s->lock_);
	}
	return 0;
}

int ol_sem_wait(ol_req *r, ol_sem *s, int64_t timeout_ms)
{
	struct ol_waiter_ w = { NULL, r->park, false };
	int rc = 0;

	OWNS(r);
	if (!r->park)
		return -EDEADLK;
	pthread_mutex_lock(&s->lock_);
	if (s->count_ > 0) {
		s->count_--;
	} else {
		enqueue(s, &w);
		rc = wait_granted(r, s, &w, clock_after_ms(park_clock(r->park), timeout_ms)); /* NEVER below 0 */
	}
	pthread_mutex_unlock(&s->lock_);
	return rc;
}

void ol_sem_post(ol_sem *s)
{
	struct ol_waiter_ *w;

	pthread_mutex_lock(&s->lock_);
	w = s->head_;
	if (w) {
		s->head_ = w->next;
		if (!s->head_)
			s->tail_ = NULL;
		w->granted = true;
		park_wake(w->park);
	} else {
		s->count_++;
	}
	pthread_mutex_unlock(&s->lock_);
}

int ol_mutex_lock(ol_req *r, ol_mutex *m)
{
	return ol_sem_wait(r, &m->sem_, -1);
}

void ol_mutex_unlock(ol_mutex *m)
{
	ol_sem_post(&m->sem_);
}
