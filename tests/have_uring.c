/* have_uring.c: exits 0 where io_uring can be used, 77 (skip) where it cannot, saying at which stage it failed.
 *
 * Scripts that run a server per backend ask it first. */
#include "loop.h"

#include <stdio.h>
#include <string.h>

int main(void)
{
	const char *stage = "";
	int rc = loop_probe_uring(&stage);

	if (rc < 0) {
		printf("skipped: no io_uring here: %s: %s\n", stage, strerror(-rc));
		return 77;
	}
	return 0;
}
