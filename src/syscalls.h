/* syscalls.h: system calls and their arguments as text. */
#ifndef OL_SYSCALLS_H
#define OL_SYSCALLS_H

#include "capture.h"

#define SYSCALL_TEXT_MAX 256

/* What a sleeping thread waits in, NUL-terminated and cut at n; its length:
 *   read(fd 17, socket 10.0.0.5:5432)    fdatasync(fd 9, /var/lib/x.db)    futex(0x7f0012345678)    clock_nanosleep
 *   poll(fd 17, socket 10.0.0.5:5432)    openat(/mnt/nfs/x)                syscall 999              page fault
 *   the kernel's pipe_read               of the call the kernel makes a secret
 * and "" when it does not sleep.  Asks what the descriptor is now: call it soon after the look. */
size_t syscall_format(struct capturer *c, const struct capture *what, char *dst, size_t n);

#endif
