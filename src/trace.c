/* trace.c: whose trace a request belongs to, as its client says: the field traceparent of W3C Trace Context (Level 1).
 *
 *	version "-" trace-id "-" parent-id "-" trace-flags      each in lower-case hex: 2, 32, 16 and 2 digits
 *
 * What is not valid by that grammar is as if it were not there (§3.2.2.5 and §4.3): upper case, ids of zeros only,
 * version ff, version 00 with anything behind it, two such fields.  Of a later version its beginning is read, if it is
 * as long as this one's or goes on after a dash (§3.2.4).
 *
 * The ids are taken over into log lines and given to handlers; nothing is made, sent on or sampled here.  The field is
 * looked for anew each time it is asked for: a log line costs more than that, and what is kept for a request would be
 * shared by its handler and the loop, which logs it.
 *
 * Threads: whoever may read the request's head.
 */
#include "trace.h"
#include "exchange.h"

#include <string.h>

#define VERSION_LEN 2
#define FLAGS_LEN 2
#define LEN (VERSION_LEN + 1 + TRACE_ID_LEN + 1 + SPAN_ID_LEN + 1 + FLAGS_LEN)

/* So many digits at p, and whether one of them is not 0. */
static bool is_hex(const char *p, size_t n, bool *any)
{
	*any = false;
	for (size_t i = 0; i < n; i++) {
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
			return false;
		*any |= p[i] != '0';
	}
	return true;
}

bool trace_parse(struct slice value, struct trace *t)
{
	const char *version = value.p, *id, *span, *flags;
	bool later, has_id, has_span, any;

	if (value.n < LEN)
		return false;
	id = version + VERSION_LEN + 1;
	span = id + TRACE_ID_LEN + 1;
	flags = span + SPAN_ID_LEN + 1;
	if (id[-1] != '-' || span[-1] != '-' || flags[-1] != '-')
		return false;
	if (!is_hex(version, VERSION_LEN, &later) || memcmp(version, "ff", VERSION_LEN) == 0 ||
		!is_hex(id, TRACE_ID_LEN, &has_id) || !is_hex(span, SPAN_ID_LEN, &has_span) ||
		!is_hex(flags, FLAGS_LEN, &any))
		return false;
	if (!has_id || !has_span || (value.n > LEN && (!later || value.p[LEN] != '-')))
		return false;
	memcpy(t->trace_id, id, TRACE_ID_LEN);
	memcpy(t->span_id, span, SPAN_ID_LEN);
	t->trace_id[TRACE_ID_LEN] = t->span_id[SPAN_ID_LEN] = '\0';
	return true;
}

bool trace_of(const struct ol_req *r, struct trace *t)
{
	const struct slice want = SLICE("traceparent");
	bool found = false;

	for (uint32_t i = 0; i < r->head.nfields; i++) {
		const struct head_field *f = &r->head.fields[i];

		if (f->name_n != want.n || !slice_eq_nocase(head_slice(&r->head, f->name, f->name_n), want))
			continue;
		if (found || !trace_parse(head_slice(&r->head, f->value, f->value_n), t))
			return false;
		found = true;
	}
	return found;
}

const char *ol_trace_id(ol_req *r)
{
	struct trace t;

	OWNS(r);
	return trace_of(r, &t) ? arena_strndup(&r->arena, t.trace_id, TRACE_ID_LEN) : NULL;
}

const char *ol_span_id(ol_req *r)
{
	struct trace t;

	OWNS(r);
	return trace_of(r, &t) ? arena_strndup(&r->arena, t.span_id, SPAN_ID_LEN) : NULL;
}
