/* exchange.h: one request and its reply, from the head's arrival until the reply is sent and the handler has ended. */
#ifndef OL_EXCHANGE_H
#define OL_EXCHANGE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/checked.h"
#include "offloop.h"
#include "park.h"
#include "pipe.h"
#include "pool.h"
#include "proto.h"
#include "route.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>

struct dispatch;

/* How many requests of a route with .max_inflight are queued or run.  All loops write it, so it has a cache line to
 * itself. */
struct inflight {
	_Alignas(64) _Atomic unsigned now;  /* relaxed, here and below: a bound, it orders nothing */
	unsigned max;
	_Atomic uint64_t refused;
};

struct chain;
struct lane;

/* A route as the server runs it: checked, with defaults filled in.  Constant once the server has started, but for
 * `pooled`. */
struct endpoint {
	const struct route_pattern *pattern;
	ol_handler *handler;
	_Atomic bool pooled;        /* its next request goes to the pool.  Written by lane.c alone; relaxed, as a
	                             * change is for later requests, whenever they see it */
	_Atomic unsigned measured;  /* its holds of a loop are measured by that loop: for so many runs, or for good
	                             * (LANE_ALWAYS).  Written and read as `pooled` */
	bool adaptive;              /* its runs decide which lane it is in */
	bool by_model;              /* --model has decided it, for good */
	bool stream;
	uint32_t index;             /* its pattern's; the tag of its jobs and metrics */
	unsigned pool_index;        /* of those that may go to one */
	size_t stack, body_max;
	uint64_t timeout_ns;        /* from the handler's possible start to the reply; 0: none */
	uint64_t queue_timeout_ns;  /* of its jobs; 0: none */
	uint8_t priority;           /* and their pool_job.priority */
	const void *data;
	const char *name;           /* "GET /reports/{id:int}", for logs and stack overflows */
	const char *declared;       /* its lane, as the app has it: "async", "sync", "adaptive" */
	const char *pool_name;      /* NULL for one whose lane is the loop */
	struct lane *lane;          /* NULL: it stays where it is declared */
	const struct chain *chain;  /* around the handler; NULL: nothing is */
	struct inflight *inflight;  /* NULL without .max_inflight: those touch nothing shared */
};

/* Where its next request goes. */
static inline bool endpoint_pooled(const struct endpoint *e)
{
	return atomic_load_explicit(&e->pooled, memory_order_relaxed);
}

/* Who works on an exchange.  The loop owns it in every state but RUNNING on a thread. */
enum exchange_state {
	EXCHANGE_HEAD,      /* being set up, or answered without a handler */
	EXCHANGE_BODY,      /* the body is being buffered */
	EXCHANGE_QUEUED,    /* on its way to a worker */
	EXCHANGE_RUNNING,   /* the handler has started (for a queued job: may have) and has not returned */
	EXCHANGE_DONE,      /* no handler runs, or will */
	EXCHANGE_BACKGROUND, /* what ol_after has left runs, or will; the connection is done with it */
};

/* Who answers: OPEN until the handler's side commits a stream (HANDLER), its worker begins to send what it has made
 * whole (WORKER), or the loop gives the request up (LOOP). */
enum { CLAIM_OPEN, CLAIM_HANDLER, CLAIM_WORKER, CLAIM_LOOP };

struct query;           /* a decoded query parameter (request.c) */
struct trailers;
struct invalid;         /* one entry of a 422 (reply.c) */
struct events;          /* of an event stream (events.c) */
struct pull;            /* what a reply is pulled from (stream.c) */
struct release;         /* what ol_bytes_new borrowed */
struct offload;         /* a fiber's job on a worker (wait.c) */
struct after;           /* what ol_after has left (after.c) */
struct value;           /* set by ol_value_set (chain.c) */

struct ol_req {
#ifdef OL_DEBUG
	uint32_t magic;
#endif
	enum exchange_state state;      /* loop */
	uint32_t slot, gen;             /* its handle; gen changes when it ends */
	struct dispatch *home;
	struct stream *stream;          /* loop only; NULL once the connection is done with it */
	const struct endpoint *endpoint;/* NULL when no route matched */
	struct list node;               /* of the loop's spare exchanges, or of those in the background */
	struct arena arena;
	uint64_t start_ns;

	/* request */
	struct head head;               /* its bytes and fields in the arena */
	const char *path;               /* decoded; NULL until asked for */
	struct slice raw_path;          /* normalised, still encoded; the arena's */
	const char *params[ROUTE_PARAMS_MAX];
	struct query *query;            /* parsed when asked for (request.c) */
	bool query_parsed;
	struct peer peer;
	struct buf body;
	size_t body_read;               /* ol_body_read's place in it */
	uint64_t body_seen;             /* bytes of body that have come */
	bool body_whole;
	int body_error;                 /* what ol_body failed with: a part of a body is never given as all of it */
	json_t *json;
	struct pipe *in, *out;          /* of a .stream request; of a streamed reply */
	struct trailers *trailers;

	/* reply */
	struct reply reply;
	struct reply_field **fields_end, **trailers_end;
	bool replied, committed, streaming;
	bool type_fixed;                /* the handler set Content-Type itself */
	size_t unsent;                  /* bytes written to a reply without content since the handler last paused */
	int latched;                    /* a status that a return below 0 turns into the reply */
	struct invalid *invalid;
	struct release *releases;
	struct pull *pull;
	struct events *events;
	bool answered;                  /* the connection has sent it all */
	bool may_send;                  /* its worker, by itself: set before it is queued, */
	uint64_t lent_turn;             /* in this turn of the loop */
	struct stream *lent;            /* to its worker, which reads it with CLAIM_WORKER only; else the loop's */
	struct own_send own;            /* what that has sent */
	bool error_new;                 /* it is an error that on_error has not been shown */
	const char *detail;             /* what that error says; NULL for a reply that is none */

	/* around the handler (chain.c) */
	struct value *values;
	void **held;                    /* what the first nheld of the chain's needs were acquired as */
	unsigned nheld;
	bool sealed;                    /* they are being released, or all is over: the reply stays as it is */
	bool broken;                    /* the stream was broken off */
	bool failed;                    /* a step has: nothing is done after the reply */
	bool erred;                     /* one was answered 500, or could not say how an error looks */

	/* running */
	bool pooled;                    /* it runs, or will, on a worker: chosen when it starts */
	bool reached;                   /* its handler has been called; only kept where a chain is around it */
	struct fiber *fiber;
	struct park *park;              /* of whoever runs the handler now; NULL before it: nothing may wait */
	struct park own_park;
	struct offload *offload;        /* loop only: what a suspended fiber waits for in a pool */
	struct offload *nested;         /* what a worker waits for in another pool; with home->nesting held */
	unsigned told;                  /* that nobody waits: why (enum dispatch_drop) + 1, or 0; with the same held */
	struct pool_job job;
	struct loop_msg done;
	_Atomic bool woken;             /* ol_wake came */
	bool counted_stream;            /* holds a place of its pool's streams */
	bool counted_inflight;          /* and one of its route's */
	struct timer deadline;          /* its route's .timeout; armed while a reply is awaited from the handler */
	bool overdue;                   /* it has fired while the handler ran, */
	bool given_up;                  /* before any reply had begun: the loop has answered in the handler's stead */
	struct after *after;            /* what is to be done when the reply is over; NULL: nothing */
	bool background;                /* that is being done */
	_Atomic int claim;
	_Atomic bool cancelled;
};

#define EXCHANGE_SIZE ((size_t)4096)    /* struct and first piece of arena */
#define EXCHANGE_MAGIC 0x6f6c7271u

/* Debug builds check what each public function's comment promises: that its caller owns the request. */
#ifdef OL_DEBUG
bool exchange_owned(const struct ol_req *r);
#define OWNS(r) assert((r)->magic == EXCHANGE_MAGIC && exchange_owned(r))
#else
#define OWNS(r) ((void)(r))
#endif

/* Sets up a new exchange (dispatch.c keeps the memory).  Copies the head.  0 or -ENOMEM. */
CHECKED int exchange_init(struct ol_req *r, struct dispatch *home, struct stream *s, const struct head *h,
	uint64_t now_ns);
/* Gives back everything it holds but its own memory.  On the loop. */
void exchange_fini(struct ol_req *r);

/* Says for whom the calling thread works from now on, NULL: for nobody; gives for whom it did (ol_current). */
struct ol_req *exchange_current(struct ol_req *r);

/* The loop has claimed it: nobody waits for what the handler will say. */
bool exchange_given_up(const struct ol_req *r);

/* Claims for `who`: true when it was open, or who's already. */
CHECKED bool exchange_claim(struct ol_req *r, int who);

/* Its worker has claimed it: its message is on its way, or here. */
bool exchange_sent_by_worker(const struct ol_req *r);

/* ---- request.c --------------------------------------------------------------------------------------------------- */

/* Decodes and checks the parameters.  -EINVAL: one is wrong, and a 422 is latched.  -ENOMEM.  On the loop. */
CHECKED int request_params(struct ol_req *r, const struct route_match *m);
/* Keeps a copy of the trailers of a chunked body; h may be NULL.  0 or -ENOMEM.  On the loop. */
CHECKED int request_trailers(struct ol_req *r, const struct head *h);
/* Latches a 500 for a name the route does not declare, and logs why, what (a parameter, a need) and which. */
void request_undeclared(struct ol_req *r, const char *why, const char *what, const char *name);
/* Gives back body, JSON, trailers and the request's pipe.  On the loop. */
void request_fini(struct ol_req *r);

/* ---- reply.c, by whoever owns the exchange ----------------------------------------------------------------------- */

/* The reply is {"detail": detail}, instead of whatever there was, committed or not. */
void reply_error(struct ol_req *r, int status, const char *detail);
/* Latches a status, unless one is latched. */
void reply_latch(struct ol_req *r, int status);
/* The reply is that of the latched status: of a 422 with all its entries. */
void reply_latched(struct ol_req *r);
/* There is no reply, and none of its fields. */
void reply_reset(struct ol_req *r);
/* There is no reply that is not committed, but its fields stay for the next. */
void reply_forget(struct ol_req *r);
/* An error as it stands, and back to it after another reply was begun (not committed). */
struct error_kept {
	struct reply reply;
	bool type_fixed;
	const char *detail;
};
void reply_keep(struct ol_req *r, struct error_kept *was);
void reply_restore(struct ol_req *r, const struct error_kept *was);
/* Adds a field without checking it: value is the server's own.  Both are copied.  0 or -ENOMEM. */
int reply_field_add(struct ol_req *r, const char *name, struct slice value);
/* Gives back what the reply holds or borrows.  On the loop. */
void reply_fini(struct ol_req *r);
/* A new reply may begin: 0, or why not.  The body of the old one is dropped. */
CHECKED int reply_begin(struct ol_req *r, int status, struct slice type);
/* A media type as given by a handler, copied; NULL: plain text.  0, -EINVAL or -ENOMEM. */
CHECKED int reply_type(struct ol_req *r, const char *type, struct slice *out);

/* ---- stream.c ---------------------------------------------------------------------------------------------------- */

/* The reply is no stream any more; nobody has written to it, or the loop is done with it.  Closes what it is pulled
 * from, unless that has been done. */
void stream_drop(struct ol_req *r);
/* Whether what is written is sent at all (RFC 9110 §6.4.1). */
bool stream_has_content(const struct ol_req *r);
/* The stream is the reply from now on: 0, or -ECANCELED. */
CHECKED int stream_commit(struct ol_req *r);
/* n bytes are written to a reply without content.  Nobody is sent them, so nobody's pace holds the handler up; but a
 * stream that has no end must neither keep its loop from others nor outlive its client: 0, or -ECANCELED. */
CHECKED int stream_write_nothing(struct ol_req *r, size_t n);
/* A reply is being pulled, so it cannot be replaced. */
bool stream_is_pulling(const struct ol_req *r);

/* It is yet to be pulled. */
bool stream_is_open(const struct ol_req *r);
/* Pulls an open stream, and closes what it is pulled from: on the handler's thread, when it has returned, before what
 * its route needs is released.  *rc: 0, or what broke it off.
 * may_leave: on a worker that holds nothing for the request but its place.  False: it has left it to the loop while the
 * client is behind, and must not touch it; this is called again in the job of dispatch_pull_again. */
CHECKED bool stream_pull(struct ol_req *r, bool may_leave, int *rc);

/* ---- events.c ---------------------------------------------------------------------------------------------------- */

/* The loop has heard of an event stream.  On the loop. */
void events_begun(struct ol_req *r);
/* On the loop; harmless where there is none. */
void events_fini(struct ol_req *r);

#endif
