/* capture.h: what a thread of ours does now, seen from another thread of the process, without disturbing it. */
#ifndef OL_CAPTURE_H
#define OL_CAPTURE_H

#include "base/checked.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPTURE_FRAMES 32

/* ---- the thread that is watched ---------------------------------------------------------------------------------- */

struct capture_thread;

/* On the thread to be watched.  After privileges were dropped the kernel makes a secret of where the threads sleep that
 * begin from then on, unless prctl(PR_SET_DUMPABLE, 1) was called since; of one that has begun before it goes on
 * telling.  Also unblocks, in this thread, the signal that capture_signal names.  Costs two descriptors, a timer, and
 * 64 KiB that are touched when it is first caught running.  NULL with errno; ENOENT where there is no /proc. */
CHECKED struct capture_thread *capture_thread_new(void);

/* On the same thread, and not during a call below for it.  Takes NULL. */
void capture_thread_free(struct capture_thread *t);

/* The real-time signal in use: the highest that had its default disposition when the first thread was made known; 0
 * when none had. */
int capture_signal(void);

/* Whether it can be asked for its frames while it runs.  Where there is no timer for that it gives them asleep only. */
bool capture_thread_answers(const struct capture_thread *t);

/* The thread's own stack, [low, high). */
void capture_thread_stack(const struct capture_thread *t, uintptr_t *low, uintptr_t *high);

/* How long it has been on a CPU, and runnable without one, since it began: nanoseconds.  The second counts a wait when
 * it is over.  0 or -errno.  Any thread. */
CHECKED int capture_thread_times(const struct capture_thread *t, uint64_t *cpu_ns, uint64_t *waited_ns);

/* ---- the thread that looks --------------------------------------------------------------------------------------- */

struct capturer;

/* What looking needs: scratch memory, and a map of the program's code.  For one thread at a time.  NULL with errno. */
CHECKED struct capturer *capturer_new(void);
void capturer_free(struct capturer *c);

/* What is looked at: the stack in use (the thread's own, or its fiber's), and how to tell that it still is.  seq may be
 * NULL; else a look counts only while *seq == expected, also when seen from the thread itself. */
struct capture_where {
	uintptr_t low, high;
	const _Atomic uint64_t *seq;
	uint64_t expected;
};

enum capture_state {
	CAPTURE_UNKNOWN,    /* the kernel does not tell */
	CAPTURE_RUNNING,    /* on a CPU, or waiting for one */
	CAPTURE_SLEEPING,   /* in a system call, or in a page fault */
};

#define CAPTURE_CHANNEL_MAX 48

struct capture {
	enum capture_state state;
	int secret;                         /* SLEEPING: the errno for which the kernel tells neither call nor place,
	                                     * so that there are no frames; 0: it tells */
	char channel[CAPTURE_CHANNEL_MAX];  /* then: the kernel's function it sleeps in; "": not told either */
	int64_t syscall;                    /* SLEEPING: its number; -1: none, a page fault */
	uint64_t args[6];
	unsigned nframes;                   /* innermost first; 0: no stack is to be had */
	uintptr_t frames[CAPTURE_FRAMES];   /* [0]: where it is; others: inside of the call that has not returned */
	uint32_t probable;                  /* bit i: frames[i] was searched for, or found by one that was */
};

static inline bool capture_is_probable(const struct capture *c, unsigned frame)
{
	return c->probable >> frame & 1;
}

/* Looks at what t does now.  Never waits, and never signals a thread that sleeps.
 *   0             *out is whole.
 *   -EINPROGRESS  out->state is RUNNING; the thread has been asked for its frames and answers at its next tick on a CPU
 *                 (1 to 10 ms, as CONFIG_HZ says).  Call again with the same `where` in a millisecond or so: that call
 *                 has the frames, or looks anew if the thread sleeps by now.  After 100 ms without an answer it
 *                 returns 0 without frames, as it always does under TSan.
 *   -ESTALE       *seq was no longer as expected, so nothing is known; *out is not to be used.
 * A different `where` withdraws what was asked before. */
CHECKED int capture_look(struct capturer *c, struct capture_thread *t, const struct capture_where *where,
	struct capture *out);

/* The same but for the frames, so that no thread is asked for anything, and what one has been asked stays asked.  0 or
 * -ESTALE. */
CHECKED int capture_glance(const struct capture_thread *t, const struct capture_where *where, struct capture *out);

/* Bytes of this process at `at`, as far as they are mapped, without a fault.  The number read, 0 when there are none.
 * */
size_t capture_read(struct capturer *c, uintptr_t at, void *dst, size_t n);

#endif
