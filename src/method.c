/* method.c: the names of request methods (RFC 9110 §9.3, RFC 5789).
 *
 * Several rooms speak of methods: the parser reads them, and a 405's Allow, complaints about patterns, logs and metrics
 * write them.  This is the one table they share; enum ol_method, which handlers see, is its index.  A method that is
 * not in it is answered 501.
 *
 * Case counts (RFC 9110 §9.1): "get" is not a method.  Pure functions, any thread.
 */
#include "method.h"
#include "offloop.h"

static const struct slice names[METHODS] = {
	[OL_METHOD_GET] = { "GET", 3 },
	[OL_METHOD_HEAD] = { "HEAD", 4 },
	[OL_METHOD_POST] = { "POST", 4 },
	[OL_METHOD_PUT] = { "PUT", 3 },
	[OL_METHOD_PATCH] = { "PATCH", 5 },
	[OL_METHOD_DELETE] = { "DELETE", 6 },
	[OL_METHOD_OPTIONS] = { "OPTIONS", 7 },
	[OL_METHOD_TRACE] = { "TRACE", 5 },
};

const char *method_name(unsigned method)
{
	return method < METHODS ? names[method].p : NULL;
}

unsigned method_of(struct slice name)
{
	for (unsigned i = 1; i < METHODS; i++)
		if (slice_eq(names[i], name))
			return i;
	return 0;
}
