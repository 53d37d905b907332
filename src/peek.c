/* peek.c: reads memory of this process that may not be there.
 *
 * A stack may be unmapped while it is looked at, a library unloaded, and a pointer on a stack may be anything.  So
 * memory is not touched but asked for: process_vm_readv answers EFAULT where a load would raise SIGSEGV.  Sandboxes may
 * forbid that call (older container runtimes do); /proc/self/mem, opened at the start, is the second way.
 *
 * To follow a stack takes some hundred small reads of code and unwind tables, a system call each.  These do not change
 * while their file is loaded, so they are read by the page and kept, in a table indexed by the page's number, where one
 * page drives another out.  Whoever knows that files came or went says so with peek_forget.
 *
 * One thread at a time.
 */
#include "peek.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE ((size_t)4096) /* no mapping has smaller pages */
#define PAGES 64

struct page {
	uintptr_t at; /* 0: none */
	unsigned char bytes[PAGE];
};

struct peek {
	int memory_fd; /* -1: no second way */
	bool refused;
	struct page pages[PAGES];
};

struct peek *peek_new(void)
{
	struct peek *p = malloc(sizeof(*p));

	if (!p)
		return NULL;
	p->refused = false;
	p->memory_fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	peek_forget(p);
	return p;
}

void peek_free(struct peek *p)
{
	if (!p)
		return;
	if (p->memory_fd >= 0)
		close(p->memory_fd);
	free(p);
}

size_t peek(struct peek *p, uintptr_t at, void *dst, size_t n)
{
	struct iovec local = { .iov_base = dst, .iov_len = n }, remote = { .iov_base = (void *)at, .iov_len = n };
	ssize_t got = -1;

	if (!p->refused) {
		got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
		p->refused = got < 0 && (errno == EPERM || errno == ENOSYS || errno == EACCES);
	}
	if (p->refused && at <= (uintptr_t)INTPTR_MAX)
		got = pread(p->memory_fd, dst, n, (off_t)at);
	return got > 0 ? (size_t)got : 0;
}

static const struct page *page_at(struct peek *p, uintptr_t at)
{
	struct page *page = &p->pages[at / PAGE % PAGES];

	if (page->at == at)
		return page;
	page->at = peek(p, at, page->bytes, PAGE) == PAGE ? at : 0;
	return page->at ? page : NULL;
}

size_t peek_constant(struct peek *p, uintptr_t at, void *dst, size_t n)
{
	size_t done = 0;

	while (done < n) {
		size_t within = (at + done) % PAGE, part = PAGE - within;
		const struct page *page = page_at(p, at + done - within);

		if (!page)
			break;
		if (part > n - done)
			part = n - done;
		memcpy((char *)dst + done, page->bytes + within, part);
		done += part;
	}
	return done;
}

void peek_forget(struct peek *p)
{
	for (size_t i = 0; i < PAGES; i++)
		p->pages[i].at = 0;
}
