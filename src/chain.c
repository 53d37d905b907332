/* chain.c: what runs around a handler, and how what it returns becomes the reply.
 *
 * All of it is one call (chain_run), so one job on one thread, or one fiber:
 *
 *     middleware, outermost first → needs → handler → its return is settled → needs, in reverse → back through the
 *     middleware, each return settled → a reply that is pulled is pulled → a stream's pipe is ended
 *
 * Settling: a return that is no reply becomes one (the latched status, or a logged 500), and a reply that is an error
 * is shown to the app's on_error, once, as soon as the function that made it has returned.  So what is outside always
 * finds a reply, and a latched status is used up.  A stream that is committed cannot be replaced: a failure from then
 * on breaks it off, which is remembered until the outermost has returned.
 *
 * Needs that were acquired are a prefix of the chain's list (r->nheld), whatever stopped the acquiring: an error, a
 * reply, a latched 500.  They are released from its end, also when nobody waits for the reply any more; meanwhile
 * r->sealed keeps the reply as it is.  A reply that may come from them is pulled before they are released; any other is
 * pulled last, when nothing is held, so that a job may leave its thread meanwhile.  Neither side skips anything for a
 * cancelled request: what waits is told.
 *
 * A request that was answered before its handler (404, 422 of a parameter) comes here for on_error only.
 *
 * Threads: the handler's; chain_admit on the loop's own stack.  Where requests wait for their turn is not known here.
 */
#include "chain.h"
#include "dispatch.h"

#include <errno.h>
#include <string.h>

/* Valid while the middleware it was given to runs. */
struct ol_next {
	unsigned inner;     /* index of the middleware it leads to; nmiddleware: to needs and handler */
	bool used;
};

struct value {
	struct value *next;
	const char *name;
	void *value;
};

/* Whose return is settled, as the log calls it. */
struct step {
	const char *failed, *broke_off;
};

static const struct step handler_step = { "handler failed", "handler broke off its stream" };
static const struct step middleware_step = { "middleware failed", "middleware broke off its stream" };
static const struct step need_step = { "need failed", "need broke off its stream" };
static const struct step error_step = { "error handler failed", "error handler broke off its stream" };
static const struct step pull_step = { "pull failed", "pull broke off its stream" };
static const struct step admit_step = { "admit hook failed", "admit hook broke off its stream" };

/* ---- settling ---------------------------------------------------------------------------------------------------- */

/* What a return says that is no reply; -1 is what a handler returns when it has nothing to say. */
static const char *reason(int rc, char *text, size_t n)
{
	if (rc > 0)
		return "it returned a number above 0";
	if (rc == 0)
		return "it returned 0 without a reply";
	return rc == -1 ? "it returned -1" : strerror_r(-rc, text, n);
}

void chain_log_failure(struct ol_req *r, const char *what, int rc)
{
	char text[64];
	struct log_field fields[] = {
		LOG_FIELD_STR("route", slice_of(r->endpoint->name)),
		LOG_FIELD_STR("error", slice_of(reason(rc, text, sizeof(text)))),
	};

	log_line(r->home->shared->log, LOG_ERROR, slice_of(what), fields, 2);
}

static void break_off(struct ol_req *r, int rc, const struct step *by)
{
	r->broken = true;
	if (!ol_cancelled(r))
		chain_log_failure(r, by->broke_off, rc);
}

static void fail(struct ol_req *r, int rc, const struct step *by)
{
	chain_log_failure(r, by->failed, rc);
	reply_error(r, 500, "Internal Server Error");
}

/* Makes the reply of what a step came to, where that is not one yet. */
static void settle(struct ol_req *r, int rc, const struct step *by)
{
	if (r->committed) {
		if (rc != 0)
			break_off(r, rc, by);
		r->broken |= r->latched == 500; /* logged when it was latched */
	} else if (r->latched == 500) {
		reply_error(r, 500, "Internal Server Error"); /* logged when it was latched */
	} else if (rc < 0 && r->latched) {
		reply_latched(r);
	} else if (rc < 0 && ol_cancelled(r)) {
		reply_error(r, 503, "The request was cancelled");
		r->error_new = false; /* nobody will see what it looks like */
	} else if (rc != 0 || !r->replied) {
		fail(r, rc, by);
	}
	r->erred |= r->reply.status == 500 && !r->committed;
	r->failed |= rc != 0 || r->reply.status == 500;
	r->latched = 0;
	r->invalid = NULL;
}

bool chain_has_on_error(const struct chain *c, int status)
{
	return c && c->on_error && status >= CHAIN_ERROR_MIN && status <= CHAIN_ERROR_MAX &&
		c->on_error[status - CHAIN_ERROR_MIN];
}

/* Shows an error to the app, which may make another reply of it.  If that fails the error stays as it was. */
static void show_error(struct ol_req *r)
{
	const struct chain *c = r->endpoint->chain;
	struct error_kept was;
	int rc;

	if (!r->error_new || !chain_has_on_error(c, r->reply.status)) {
		r->error_new = false;
		return;
	}
	reply_keep(r, &was);
	rc = c->on_error[r->reply.status - CHAIN_ERROR_MIN](r);
	if (rc == 0 && r->latched == 500)
		rc = -EINVAL;
	if (rc != 0 && r->committed) {
		break_off(r, rc, &error_step);
	} else if (rc != 0) {
		r->erred = true;
		chain_log_failure(r, error_step.failed, rc);
		reply_restore(r, &was);
	}
	r->error_new = false;
	r->latched = 0;
	r->invalid = NULL;
}

/* A step of the chain has returned. */
static void returned(struct ol_req *r, int rc, const struct step *by)
{
	settle(r, rc, by);
	show_error(r);
}

/* ---- needs ------------------------------------------------------------------------------------------------------- */

/* True when all are held, and no reply was made of it: a stream that middleware had committed before is none. */
static bool acquire(struct ol_req *r, const struct chain *c)
{
	bool replied_before = r->replied;

	r->held = c->nneeds > 0 ? arena_alloc(&r->arena, c->nneeds * sizeof(*r->held)) : NULL;
	if (c->nneeds > 0 && !r->held) {
		returned(r, -ENOMEM, &need_step);
		return false;
	}
	for (unsigned i = 0; i < c->nneeds; i++) {
		void *value = NULL;
		int rc = c->needs[i]->acquire(r, &value);
		bool replied = r->replied && !replied_before;

		if (rc == 0 && !replied)
			r->held[r->nheld++] = value;
		if (rc != 0 || replied || r->latched == 500) {
			returned(r, rc, &need_step);
			return false;
		}
	}
	return true;
}

static void release(struct ol_req *r, const struct chain *c)
{
	r->sealed = true;
	while (r->nheld > 0) {
		const struct ol_need *need = c->needs[--r->nheld];

		if (need->release)
			need->release(r, r->held[r->nheld]);
	}
	r->sealed = false;
	r->latched = 0; /* by a release: too late */
	r->invalid = NULL;
}

void *ol_need_value(ol_req *r, const char *name)
{
	const struct chain *c = r->endpoint->chain;

	OWNS(r);
	for (unsigned i = 0; c && i < c->nneeds; i++)
		if (strcmp(c->needs[i]->name, name) == 0)
			return i < r->nheld ? r->held[i] : NULL;
	request_undeclared(r, "handler asked for a need its route does not have", "need", name);
	return NULL;
}

/* ---- the chain --------------------------------------------------------------------------------------------------- */

/* Pulls the reply, if it is to be pulled.  If that fails before the first byte the error is shown to the app, which may
 * have another pulled; only once.  False: it has left. */
static bool pull(struct ol_req *r, bool may_leave)
{
	bool shown = false;

	while (stream_is_open(r)) {
		int rc;

		if (!stream_pull(r, may_leave, &rc))
			return false;
		settle(r, rc, &pull_step);
		r->error_new = r->error_new && !shown;
		show_error(r);
		shown = true;
	}
	return true;
}

static void run_layer(struct ol_req *r, const struct chain *c, unsigned i)
{
	struct ol_next next = { .inner = i + 1 };

	if (i < c->nmiddleware) {
		returned(r, c->middleware[i](r, &next), &middleware_step);
		return;
	}
	if (acquire(r, c)) {
		r->reached = true;
		returned(r, r->endpoint->handler(r), &handler_step);
	}
	if (c->nneeds > 0)
		(void)pull(r, false); /* it may be from what is released now */
	release(r, c);
}

int ol_next_run(ol_next *next, ol_req *r)
{
	OWNS(r);
	if (next->used)
		return -EALREADY;
	next->used = true;
	if (!r->committed)
		reply_forget(r); /* it is for those inside to reply now */
	run_layer(r, r->endpoint->chain, next->inner);
	return 0;
}

bool chain_go_on(struct ol_req *r)
{
	if (!pull(r, r->pooled))
		return false;
	if (r->streaming) {
		park_pauses(r->park, true);
		pipe_end(r->out, r->broken ? -ECONNABORTED : 0); /* without a write: an empty body */
		park_pauses(r->park, false);
	}
	return true;
}

bool chain_run(struct ol_req *r)
{
	const struct chain *c = r->endpoint->chain;

	if (!c)
		settle(r, r->endpoint->handler(r), &handler_step);
	else if (r->error_new)
		show_error(r);
	else
		run_layer(r, c, 0);
	return chain_go_on(r);
}

/* ---- admission --------------------------------------------------------------------------------------------------- */

/* What a hook latches is its own; what the parameters have latched waits until all hooks have let the request pass. */
bool chain_admit(struct ol_req *r)
{
	int latched = r->latched;
	struct invalid *invalid = r->invalid;

	for (ol_handler *const *hook = r->home->shared->admit; *hook; hook++) {
		int rc;

		r->latched = 0;
		r->invalid = NULL;
		rc = (*hook)(r);
		if (rc == 0 && !r->replied && r->latched != 500)
			continue;
		settle(r, rc, &admit_step);
		r->error_new = false;
		if (r->streaming)
			pipe_end(r->out, 0);
		return false;
	}
	r->latched = latched;
	r->invalid = invalid;
	return true;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static struct value *find_value(const struct ol_req *r, const char *name)
{
	struct value *v = r->values;

	while (v && strcmp(v->name, name) != 0)
		v = v->next;
	return v;
}

int ol_value_set(ol_req *r, const char *name, void *value)
{
	struct value *v = find_value(r, name);

	OWNS(r);
	if (!v) {
		v = arena_alloc(&r->arena, sizeof(*v));
		if (!v)
			return -ENOMEM;
		*v = (struct value){ r->values, name, NULL };
		r->values = v;
	}
	v->value = value;
	return 0;
}

void *ol_value(const ol_req *r, const char *name)
{
	const struct value *v = find_value(r, name);

	OWNS(r);
	return v ? v->value : NULL;
}
