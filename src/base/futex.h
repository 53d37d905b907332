/* futex.h: sleeping on a word until another thread of the process changes it (futex(2)).
 *
 * Says nothing of memory order: whoever waits and whoever wakes name theirs where they load and store the word.
 */
#ifndef OL_FUTEX_H
#define OL_FUTEX_H

#include "clock.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sleeps while *word is `expected`, at most until until_ns (NEVER: for as long as it takes).  False when the time has
 * come.  May return early: the caller looks again. */
static inline bool futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t until_ns)
{
	struct timespec at = clock_timespec(until_ns);
	long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
		until_ns == NEVER ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY);

	return rc == 0 || errno != ETIMEDOUT;
}

/* Wakes one that sleeps there.  An address whose memory is gone by now is harmless: it wakes nobody, or somebody who
 * looks again. */
static inline void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

#endif
