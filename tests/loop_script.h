/* loop_script.h: a loop whose kernel is the test: what completes, when, and how, is written down by it.
 *
 *     struct loop *l = loop_new_script(NULL);
 *     ... loop_accept(&listener) ...
 *     struct script_peer *p = script_connect(l);      a client comes
 *     script_give(p, "GET / HT", 8);                  sends half a request
 *     script_turns(l, 3);
 *     script_advance(l, 10 * NS_PER_S);               and then nothing for ten seconds
 *     script_turns(l, 3);                             p->out has what it was sent, p->closed whether it was closed
 *
 * Completions run in the order written, inside the next turn whose operation they fit; until then they wait, as bytes
 * do in a socket.  Left alone, a send completes in full and a cancelled operation with -ECANCELED in the next turn;
 * script_hold leaves both to the test, for short writes, late completions and races with a cancellation.  The bytes of
 * a send are copied when it completes and not before, so that memory given up too early is seen by ASan.  Time stands
 * still but for script_advance; a turn that would sleep for ever waits for loop_post of another thread, at most 10 real
 * seconds. */
#ifndef OL_LOOP_SCRIPT_H
#define OL_LOOP_SCRIPT_H

#include "../src/base/buf.h"
#include "../src/loop.h"

/* The far end of a connection; belongs to the loop and lives until loop_free. */
struct script_peer {
	struct list node;
	struct loop *loop;
	struct loop_io *io;             /* whose descriptor it is; NULL before its first operation and once released */
	int fd;
	unsigned flight;                /* LOOP_* that the backend owes a completion */
	const struct msghdr *msg;       /* of the send in flight */
	struct buf out;                 /* what was sent to it */
	bool closed;
};

struct loop *loop_new_script(const struct loop_conf *conf);

void script_advance(struct loop *l, uint64_t ns);
void script_turns(struct loop *l, int n);               /* n turns, none of which sleeps */

/* A client: accepted by the io that last accepted. */
struct script_peer *script_connect(struct loop *l);
/* The far end of an io that the test made itself and that has had an operation. */
struct script_peer *script_peer_of(struct loop_io *io);
/* A descriptor that may be closed: give it to loop_io_init. */
int script_fd(void);

void script_accept(struct loop *l, int res, bool more);                 /* an errno, or the end of the multishot */
void script_give(struct script_peer *p, const void *bytes, size_t n);   /* in buffers of the loop's size */
void script_give_last(struct script_peer *p, const void *bytes, size_t n); /* one buffer; the multishot ends with it */
void script_end(struct script_peer *p, int res);                        /* 0: FIN, or an errno, as -ENOBUFS */
void script_sent(struct script_peer *p, int res);                       /* while sends are held */
void script_hup(struct script_peer *p, int events);
void script_connected(struct script_peer *p, int res);
void script_cancelled(struct script_peer *p, unsigned op);              /* held cancellations; accept: script_accept */

void script_hold(struct loop *l, bool sends, bool cancels);
/* The nth operation started from now (1: the next) fails with err; 0: none. */
void script_fail(struct loop *l, unsigned nth, int err);
unsigned script_started(const struct loop *l);          /* operations started so far, failed ones included */

#endif
