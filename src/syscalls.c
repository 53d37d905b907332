/* syscalls.c: system calls and their arguments as text.
 *
 * A table names the calls in which a thread can be found asleep for longer than a moment: those that wait, and those
 * that touch files, which may lie on a slow disk or another machine.  Beside each name stand the kinds of its arguments
 * that help to find the cause; one that is not in the table is told by its number, which `ausyscall` resolves.
 *
 * A descriptor is told by what it is: readlink of /proc/self/fd/N, and for sockets the address of the peer, else the
 * own one ("listening").  That is asked after the look, so a descriptor that was closed and opened again meanwhile
 * could be told wrong; whoever calls checks that the hold it looked at still lasts.  What pointers point at is read
 * with capture_read, never followed.
 *
 * On the thread of the monitor; makes system calls, never in a signal handler.
 */
#include "syscalls.h"
#include "base/peer.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Kinds of arguments, one letter each; what need not be told ends the string:
 *   f descriptor   a address   s path   p an array of struct pollfd, and how many   - not told */
struct call {
	long number;
	const char *name, *args;
};

#define PAGE 4096 /* at least; no mapping ends elsewhere */
#define CALL(name, args) { SYS_##name, #name, args }

static const struct call calls[] = {
	/* waiting for time, threads, processes, signals */
	CALL(nanosleep, ""), CALL(clock_nanosleep, ""), CALL(futex, "a"), CALL(wait4, ""), CALL(waitid, ""),
	CALL(rt_sigtimedwait, ""), CALL(rt_sigsuspend, ""), CALL(restart_syscall, ""), CALL(sched_yield, ""),
	CALL(semop, ""), CALL(semtimedop, ""), CALL(msgsnd, ""), CALL(msgrcv, ""), CALL(mq_timedsend, "f"),
	CALL(mq_timedreceive, "f"), CALL(membarrier, ""), CALL(ptrace, ""), CALL(execve, "s"), CALL(clone, ""),
	CALL(exit, ""), CALL(exit_group, ""), CALL(getrandom, ""),
	/* waiting for descriptors */
	CALL(ppoll, "p"), CALL(pselect6, ""), CALL(epoll_pwait, "f"), CALL(io_uring_enter, "f"), CALL(io_getevents, ""),
	/* reading and writing */
	CALL(read, "f"), CALL(write, "f"), CALL(readv, "f"), CALL(writev, "f"), CALL(pread64, "f"), CALL(pwrite64, "f"),
	CALL(preadv, "f"), CALL(pwritev, "f"), CALL(preadv2, "f"), CALL(pwritev2, "f"), CALL(sendfile, "ff"),
	CALL(splice, "f-f"), CALL(tee, "ff"), CALL(vmsplice, "f"), CALL(copy_file_range, "f-f"), CALL(getdents64, "f"),
	CALL(fsync, "f"), CALL(fdatasync, "f"), CALL(sync_file_range, "f"), CALL(sync, ""), CALL(syncfs, "f"),
	CALL(fallocate, "f"), CALL(ftruncate, "f"), CALL(truncate, "s"), CALL(readahead, "f"), CALL(fadvise64, "f"),
	CALL(ioctl, "f"), CALL(fcntl, "f"), CALL(flock, "f"), CALL(lseek, "f"), CALL(close, "f"),
	/* sockets */
	CALL(connect, "f"), CALL(accept, "f"), CALL(accept4, "f"), CALL(sendto, "f"), CALL(recvfrom, "f"),
	CALL(sendmsg, "f"), CALL(recvmsg, "f"), CALL(sendmmsg, "f"), CALL(recvmmsg, "f"), CALL(shutdown, "f"),
	/* files by their names */
	CALL(openat, "-s"), CALL(newfstatat, "-s"), CALL(statx, "-s"), CALL(fstat, "f"), CALL(statfs, "s"),
	CALL(fstatfs, "f"), CALL(faccessat, "-s"), CALL(readlinkat, "-s"), CALL(mkdirat, "-s"), CALL(unlinkat, "-s"),
	CALL(linkat, "-s"), CALL(symlinkat, "s"), CALL(fchmodat, "-s"), CALL(fchownat, "-s"), CALL(utimensat, "-s"),
	CALL(mount, "-s"), CALL(umount2, "s"), CALL(chdir, "s"), CALL(fchdir, "f"),
	/* memory */
	CALL(mmap, "----f"), CALL(munmap, "a"), CALL(mremap, "a"), CALL(msync, "a"), CALL(madvise, "a"),
	CALL(mprotect, "a"), CALL(mlock, "a"), CALL(mlockall, ""), CALL(brk, ""), CALL(process_vm_readv, ""),
#ifdef __x86_64__
	/* the older calls that aarch64 was made without */
	CALL(open, "s"), CALL(creat, "s"), CALL(stat, "s"), CALL(lstat, "s"), CALL(access, "s"), CALL(readlink, "s"),
	CALL(mkdir, "s"), CALL(rmdir, "s"), CALL(unlink, "s"), CALL(rename, "s"), CALL(link, "s"), CALL(symlink, "s"),
	CALL(chmod, "s"), CALL(chown, "s"), CALL(getdents, "f"), CALL(poll, "p"), CALL(select, ""),
	CALL(epoll_wait, "f"), CALL(pause, ""), CALL(vfork, ""), CALL(fork, ""),
#endif
#ifdef SYS_renameat
	CALL(renameat, "-s"),
#endif
	CALL(renameat2, "-s"),
	/* younger than the headers of some systems */
#ifdef SYS_clone3
	CALL(clone3, ""),
#endif
#ifdef SYS_openat2
	CALL(openat2, "-s"),
#endif
#ifdef SYS_faccessat2
	CALL(faccessat2, "-s"),
#endif
#ifdef SYS_epoll_pwait2
	CALL(epoll_pwait2, "f"),
#endif
#ifdef SYS_futex_waitv
	CALL(futex_waitv, "a"),
#endif
#ifdef SYS_futex_wait
	CALL(futex_wait, "a"),
#endif
#ifdef SYS_process_madvise
	CALL(process_madvise, ""),
#endif
};

/* Text that grows up to a bound and is always terminated. */
struct text {
	char *p;
	size_t n, room;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(t->p + t->n, t->room - t->n, fmt, args);
	va_end(args);
	t->n += (size_t)len < t->room - t->n ? (size_t)len : t->room - t->n - 1;
}

/* Paths are anybody's bytes: what could upset a log line or JSON is shown as '?'.  So is all that is not ASCII: it may
 * be no UTF-8, or stop being so where the text is cut, and then the stall could not be told as JSON. */
static void put_plain(struct text *t, const char *s)
{
	size_t from = t->n;

	put(t, "%s", s);
	for (size_t i = from; i < t->n; i++)
		if (t->p[i] < ' ' || t->p[i] > '~' || t->p[i] == '"' || t->p[i] == '\\')
			t->p[i] = '?';
}

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

static void put_unix(struct text *t, const char *what, const struct sockaddr_un *sun, socklen_t len)
{
	size_t n = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;
	char path[sizeof(sun->sun_path) + 1] = "";

	memcpy(path, sun->sun_path, n < sizeof(sun->sun_path) ? n : sizeof(sun->sun_path));
	if (n > 1 && path[0] == '\0')
		path[0] = '@'; /* an abstract name */
	put(t, "%s", what);
	if (path[0])
		put_plain(t, path);
}

static void put_address(struct text *t, const char *what, const struct sockaddr_storage *at, socklen_t len)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)at;
	const struct sockaddr_in *in = (const struct sockaddr_in *)at;
	struct peer peer = { .family = at->ss_family };
	char text[PEER_TEXT_MAX];

	if (at->ss_family == AF_UNIX) {
		put_unix(t, what, (const struct sockaddr_un *)at, len);
		return;
	}
	if (at->ss_family == AF_INET) {
		peer.port = ntohs(in->sin_port);
		memcpy(peer.addr, &in->sin_addr, sizeof(in->sin_addr));
	} else if (at->ss_family == AF_INET6) {
		peer.port = ntohs(in6->sin6_port);
		memcpy(peer.addr, &in6->sin6_addr, sizeof(in6->sin6_addr));
	} else {
		put(t, "%sof family %d", what, at->ss_family);
		return;
	}
	peer_format(text, &peer);
	put(t, "%s%s", what, text);
}

static void put_socket(struct text *t, int fd)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	int listening = 0;
	socklen_t size = sizeof(listening);

	memset(&at, 0, sizeof(at));
	if (getpeername(fd, (struct sockaddr *)&at, &len) == 0) {
		const struct sockaddr_un *sun = (const struct sockaddr_un *)&at;

		/* An accepted or paired unix socket knows its own name at best. */
		if (at.ss_family != AF_UNIX || len > offsetof(struct sockaddr_un, sun_path)) {
			put_address(t, sun->sun_family == AF_UNIX ? "unix socket " : "socket ", &at, len);
			return;
		}
	}
	len = sizeof(at);
	memset(&at, 0, sizeof(at));
	if (getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
		put(t, "socket");
		return;
	}
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
	if (at.ss_family == AF_UNIX)
		put_address(t, listening ? "unix socket listening on " : "unix socket ", &at, len);
	else
		put_address(t, listening ? "socket listening on " : "unconnected socket ", &at, len);
}

static void put_descriptor(struct text *t, int fd)
{
	char link[32], what[128];
	ssize_t n;

	put(t, "fd %d", fd);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, what, sizeof(what) - 1);
	if (n <= 0)
		return;
	what[n] = '\0';
	put(t, ", ");
	if (strncmp(what, "socket:", 7) == 0)
		put_socket(t, fd);
	else if (strncmp(what, "pipe:", 5) == 0)
		put(t, "pipe");
	else if (strncmp(what, "anon_inode:", 11) == 0)
		put_plain(t, what + 11); /* "[eventfd]" */
	else
		put_plain(t, what);
	while (t->n > 0 && t->p[t->n - 1] == ' ')
		t->p[--t->n] = '\0';
}

static void put_polled(struct text *t, struct capturer *c, uint64_t at, uint64_t n)
{
	struct pollfd first;

	if (n == 0 || capture_read(c, (uintptr_t)at, &first, sizeof(first)) != sizeof(first)) {
		put(t, "%llu descriptors", (unsigned long long)n);
		return;
	}
	put_descriptor(t, first.fd);
	if (n > 1)
		put(t, ", and %llu more", (unsigned long long)(n - 1));
}

/* A path.  It may end just before memory that is not there, so each page is read by itself. */
static void put_path(struct text *t, struct capturer *c, uint64_t at)
{
	char path[128];
	size_t n = 0, left_on_page;

	memset(path, 0, sizeof(path));
	do {
		size_t room = sizeof(path) - 1 - n, got;

		left_on_page = PAGE - (at + n) % PAGE;
		got = capture_read(c, (uintptr_t)at + n, path + n, left_on_page < room ? left_on_page : room);
		if (got == 0 || memchr(path + n, 0, got))
			break;
		n += got;
	} while (n < sizeof(path) - 1);
	put_plain(t, path);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static const struct call *find(int64_t number)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].number == number)
			return &calls[i];
	return NULL;
}

static void put_arguments(struct text *t, struct capturer *c, const struct call *call, const uint64_t *args)
{
	const char *between = "(";

	for (unsigned i = 0; call->args[i]; i++) {
		if (call->args[i] == '-' || (call->args[i] == 'f' && (int)args[i] < 0))
			continue;
		put(t, "%s", between);
		between = ", ";
		if (call->args[i] == 'f')
			put_descriptor(t, (int)args[i]);
		else if (call->args[i] == 'a')
			put(t, "0x%llx", (unsigned long long)args[i]);
		else if (call->args[i] == 's')
			put_path(t, c, args[i]);
		else
			put_polled(t, c, args[i], args[i + 1]);
	}
	if (between[0] == ',')
		put(t, ")");
}

size_t syscall_format(struct capturer *c, const struct capture *what, char *dst, size_t n)
{
	const struct call *call = find(what->syscall);
	struct text t = { dst, 0, n };

	dst[0] = '\0';
	if (what->state != CAPTURE_SLEEPING)
		return 0;
	if (what->secret) {
		if (what->channel[0])
			put(&t, "the kernel's ");
		put_plain(&t, what->channel);
	} else if (what->syscall < 0) {
		put(&t, "page fault");
	} else if (!call) {
		put(&t, "syscall %lld", (long long)what->syscall);
	} else {
		put(&t, "%s", call->name);
		put_arguments(&t, c, call, what->args);
	}
	return t.n;
}
