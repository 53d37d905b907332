/* loop_seen.h: an io that writes down what it is told, and sockets to try it on; for tests of the loop with real
 * backends.
 *
 * Nothing is waited for by time: turns are run until something has happened, and 10 s without it is a failure. */
#ifndef OL_LOOP_SEEN_H
#define OL_LOOP_SEEN_H

#include "../src/loop.h"

#include <check.h>
#include <netinet/in.h>

/* A loop of the backend that OFFLOOP_BACKEND names: uring or (default) libevent. */
struct loop *seen_loop(const struct loop_conf *conf);
bool seen_on_uring(void);

/* For main: 0, or 77 having said why, when the backend asked for is not to be had. */
int seen_skip(void);

struct seen {
	struct loop_io io;
	struct loop *loop;
	bool in_call;                   /* the test is inside a loop_* call: nothing may be called */
	bool keep, echo, close_at_once;
	struct seen *stops, *closes;    /* the io whose receive is stopped, or that is closed, at its next bytes */
	int accepts, accepted_fd[64], accept_error, accept_ended;
	int received, recv_end, recv_ended;
	int sends, send_res;
	int hups, hup_res;
	int connects, connect_res;
	int released;
	struct loop_buf kept[64];
	int nkept;
	char *bytes;
	size_t nbytes;
	struct iovec iov[3];
	struct msghdr msg;
	char echoed[4096];
};

/* Owns fd. */
struct seen *seen_new(struct loop *l, int fd);

/* Closes the io unless that was done, waits for `released`, and looks a while for what must not come after it. */
void seen_free(struct seen *s);

/* loop_* of its io, having seen to it that nothing is called from inside. */
int seen_accept(struct seen *s);
int seen_accept_one(struct seen *s);
int seen_recv(struct seen *s);
int seen_send(struct seen *s, const void *p, size_t n);
int seen_hup(struct seen *s);
void seen_stop(struct seen *s, unsigned ops);
void seen_close(struct seen *s);

/* Gives back the buffers it kept. */
void seen_lend_back(struct seen *s);

/* One turn that must end before `seen_patience`. */
extern uint64_t seen_patience;
void seen_turn(struct loop *l);

#define UNTIL(l, condition) \
	for (seen_patience = clock_now_ns() + 10 * NS_PER_S; !(condition);) \
		seen_turn(l)

/* Some turns that do not sleep, for what must not happen. */
void seen_settle(struct loop *l);

/* The number of turns the loop takes in so many milliseconds. */
uint64_t seen_turns_in(struct loop *l, unsigned ms);

int listen_tcp(struct sockaddr_in *sa);
int connect_tcp(const struct sockaddr_in *sa);

/* Two ends of a connection: TCP for i == 0, a unix socket for 1.  ends[0] is the loop's. */
void make_pair(int i, int ends[2]);
void write_all(int fd, const char *p, size_t n);
void read_all(int fd, const char *want, size_t n);
void reset_tcp(int fd);

#endif
