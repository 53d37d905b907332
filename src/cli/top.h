/* top.h: what `offloop top` has been told, and how it is drawn. */
#ifndef OL_CLI_TOP_H
#define OL_CLI_TOP_H

#include "cli/figures.h"
#include "cli/screen.h"
#include <jansson.h>

struct top_told {
	const char *address;
	struct figures now;
	const struct figures *then;                     /* an earlier page of the same process; NULL: there is none */
	json_t *pools, *routes, *stalls, *advice;       /* NULL: not told of */
	const char *lost;                               /* NULL, or why there has been no answer since */
};

/* Draws all of it, as far as the screen goes. */
void top_draw(struct screen *s, const struct top_told *t);

#endif
