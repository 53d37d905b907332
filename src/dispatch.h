/* dispatch.h: from a request's head to its handler, in its lane, and back. */
#ifndef OL_DISPATCH_H
#define OL_DISPATCH_H

#include "base/checked.h"
#include "base/log.h"
#include "config.h"
#include "exchange.h"
#include "lane_meter.h"
#include "metrics.h"
#include "watch.h"

/* Why queued work is taken back. */
enum dispatch_drop { DROP_CLIENT_LEFT, DROP_DEADLINE, DROP_SHUTDOWN, DROPS };

/* A pool as requests see it.  The atomics are relaxed: bounds and counts, they order nothing. */
struct dispatch_pool {
	struct pool *pool;
	const char *name;
	pthread_mutex_t resizing;           /* held from reading the sizes to having changed them */
	uint64_t codel_interval_ns;         /* 0: it does not shed by CoDel */
	unsigned streams_fixed;             /* the cap that was asked for; 0: half the threads */
	_Atomic unsigned streams_max;
	_Atomic unsigned streams;           /* .stream requests on its threads; any loop */
	_Atomic uint64_t streams_refused;
	_Atomic uint64_t dropped[DROPS];    /* jobs taken back; any loop */
};

/* What all loops of a server share.  Constant while it runs, but for the atomics. */
struct dispatch_shared {
	ol_server *server;                  /* ol_server_of */
	const struct config *config;
	struct log *log;
	const struct router *router;
	const struct endpoint *endpoints;   /* by pattern index; behind them that of requests no route takes */
	uint32_t nendpoints;
	ol_handler *const *admit;           /* hooks, in their order, ended by NULL */
	struct dispatch_pool *pools;
	unsigned npools;
	_Atomic uint64_t body_bytes;        /* buffered bodies of the process; relaxed: a bound, it orders nothing */
	unsigned requests_max, fibers_max;  /* of each loop: its share of the server's */
	void *_Atomic data;                 /* ol_app_data */
};

struct exchange_slot {
	struct ol_req *req;
	uint32_t gen;
	uint32_t next_free;
};

/* One loop's, on its thread. */
struct dispatch {
	struct loop *loop;
	struct dispatch_shared *shared;
	struct metrics_loop *metrics;
	struct watch_loop *watch;           /* NULL: the monitor is off */
	const struct ol_req *just_ended;    /* in this turn, and now_ns was read then; NULL: none */
	struct fiber_pool *fibers;
	struct lane_meter meter;            /* of the hold that goes on now, */
	bool metered;                       /* if that is measured */
	struct watch_mark mark;             /* then: of its beginning, if its route is guarded */
	struct pool_batch *batches;         /* by pool: jobs of this turn */
	unsigned batched;
	bool abandoned;                     /* the grace is over: what ends from now on ends for that */
	struct timer expire;                /* jobs may have waited too long in their pools */
	uint64_t expires_ns;                /* the first to, of this turn's */
	struct timer retry;                 /* a pool could not start the thread it needs */
	uint64_t tell_stalled_ns;           /* when the log may be told so again */
	struct list spare;                  /* exchanges that serve the next requests */
	unsigned nlive, nspare;
	struct ol_req *lent;                /* the one whose worker may send its reply itself; NULL: none */
	pthread_mutex_t nesting;            /* guards `nested` and `told` of its exchanges */
	struct list after;                  /* exchanges whose reply is over and whose work for after it is not */
	unsigned nafter;                    /* of those; not among nlive */
	unsigned nholds;                    /* threads and places that slow clients have (hold.c) */
	struct hold *ending;                /* those whose threads are let go at the end of this turn */
	struct exchange_slot *slots;
	uint32_t nslots, free_slot;
};

/* On the loop's thread.  0 or -errno. */
CHECKED int dispatch_init(struct dispatch *d, struct loop *l, struct dispatch_shared *shared, struct metrics_loop *m);
void dispatch_fini(struct dispatch *d);

/* What the connection tells, in the order of proto.h's events.  On the loop's thread. */
void dispatch_head(struct dispatch *d, struct stream *s, const struct head *h);
void dispatch_body(struct dispatch *d, struct stream *s, struct slice data);
void dispatch_end(struct dispatch *d, struct stream *s, const struct head *trailers);
/* The protocol refuses the request, or what follows of it; or (408) it comes too slowly.  why: a static string.  status
 * 0: a reply is under way, so only a handler that still reads is told. */
void dispatch_refuse(struct dispatch *d, struct stream *s, int status, const char *why);
/* The reply is on the wire, and the connection does not look at the exchange again. */
void dispatch_sent(struct dispatch *d, struct stream *s);
/* The client has left for good (reset), or the connection was closed under the request. */
void dispatch_gone(struct dispatch *d, struct stream *s);
/* The client has sent its FIN: nobody may be waiting any more, but the reply is still sent. */
void dispatch_cancel(struct dispatch *d, struct stream *s);

/* The grace is over: what is given up from now on is given up for that.  What ol_after has left is dropped, or told
 * when it runs. */
void dispatch_abandon(struct dispatch *d);

/* Hands the turn's jobs to the pools: the loop's before_wait. */
void dispatch_flush(struct dispatch *d);

/* Around code of the app's that runs on the loop itself, for r, or for no request. */
void dispatch_enter_app(struct dispatch *d, const struct ol_req *r, enum watch_what what);
void dispatch_leave_app(struct dispatch *d);

/* Finds an exchange by its handle; NULL when stale. */
struct ol_req *dispatch_lookup(struct dispatch *d, uint32_t slot, uint32_t gen);

/* A streamed reply's pipe has something to send. */
void dispatch_stream_ready(struct pipe *p);
/* There is room again for a pulled reply that has left its worker: it goes on, in another job. */
void dispatch_pull_again(struct pipe *p);

/* dispatch_lane.c, on a pool's thread: the last thing it does (pool_conf.thread_stop); fn(arg), for a handler that
 * would have it run in this pool wherever it runs. */
void dispatch_thread_ends(void *unused, const struct work_line *nor_this);
int dispatch_lane_offload(struct ol_req *r, int (*fn)(void *arg), void *arg);

/* ---- dispatch_pool.c: the pools, and the places that requests take before they may run ---- */

/* streams: how many .stream requests may hold its threads; 0: half of them.  0 or -errno. */
CHECKED int dispatch_pool_init(struct dispatch_pool *p, const struct pool_conf *conf, unsigned streams);
/* Harmless on zeroed memory. */
void dispatch_pool_fini(struct dispatch_pool *p);

/* Index of a pool by its name (NULL: the default one); -1 when there is none.  Any thread. */
int dispatch_pool_index(const struct dispatch_shared *s, const char *name);

/* Changes the sizes of a pool while it runs, and logs who did; 0 leaves one as it is.  -ENOENT; -EINVAL: out of range;
 * -ENOTSUP: the model gives it one size for good.  Any thread. */
CHECKED int dispatch_resize(struct dispatch_shared *s, const char *name, unsigned threads, unsigned queue,
	const char *by);

/* For ol_pool_look: as much of *info as its size says.  -ENOENT.  Any thread. */
CHECKED int dispatch_look(const struct dispatch_shared *s, const char *name, struct ol_pool_info *info);

/* Gives the default pool so many threads more (or fewer), within its bounds.  Any thread. */
void dispatch_step(struct dispatch_shared *s, int threads, const char *by);

/* Takes the places a request needs before its handler may be queued or started: of its route's .max_inflight, of its
 * pool's streams.  NULL, or why not: then it holds none.  dispatch_leave gives back those it holds.  On the loop. */
CHECKED const char *dispatch_enter(struct ol_req *r);
void dispatch_leave(struct ol_req *r);

/* wait.c: takes back what r waits for in a pool, when it is still queued.  On the loop. */
void offload_cancel(ol_req *r, enum dispatch_drop why);
/* dispatch_queue.c: adds a job, which has been admitted, to those of this turn for pool `index`. */
void dispatch_enqueue(struct dispatch *d, unsigned index, struct pool_job *job);
/* dispatch_queue.c: takes a job of this loop back from pool `index`, spliced or not yet, and counts it: true, and it
 * will never run; false when a worker has begun it. */
CHECKED bool dispatch_take_back(struct dispatch *d, unsigned index, struct pool_job *job, enum dispatch_drop why);
/* For the bodies: takes or gives back bytes of the process's total; false when there is no room. */
CHECKED bool dispatch_body_room(struct dispatch_shared *s, size_t n);
void dispatch_body_free(struct dispatch_shared *s, size_t n);

#endif
