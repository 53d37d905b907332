/* request.c: reading a request: parameters, query, header fields, cookies, body, JSON, trailers.
 *
 * The head lies in the exchange's arena, copied whole, so its strings can be terminated where they stand: behind a
 * field's name is its colon, behind its value a CR or a blank, behind target and method a space, none of which is
 * needed any more.  What must be decoded (parameters, query, path) is decoded once, into the arena.  Parameters are
 * decoded and checked before the handler starts (on the loop); all else when it is asked for (on the handler's thread).
 *
 * A body is in r->body, buffered by the loop before the handler starts; or, on a .stream route, comes by the pipe
 * r->in.  A body that could not be had latches its status, so that a handler's `return -1` answers it.
 * An admit hook is asked before the body has been read (r->park is NULL then), and gets none of it.
 */
#include "dispatch.h"
#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct query {
	struct query *next;
	const char *name, *value;
};

struct trailer {
	struct slice name;
	const char *value;
};

/* On the heap, not in the arena: they come while the handler may be using that. */
struct trailers {
	size_t n;
	struct trailer *field;
	char *text;
};

/* The n bytes at offset `at` of the head as a string.  What follows them is overwritten: see above. */
static const char *head_string(const ol_req *r, uint32_t at, uint32_t n)
{
	char *s = (char *)(uintptr_t)r->head.base + at;

	if (s[n] != '\0')
		s[n] = '\0';
	return s;
}

const char *ol_method(const ol_req *r)
{
	OWNS(r);
	return head_string(r, r->head.method_at, r->head.method_n);
}

const char *ol_target(const ol_req *r)
{
	OWNS(r);
	return head_string(r, r->head.target, r->head.target_n);
}

const char *ol_path(const ol_req *r_)
{
	ol_req *r = (ol_req *)(uintptr_t)r_; /* decoding it late changes nothing a caller sees */

	OWNS(r);
	if (!r->path) {
		char *p = arena_alloc(&r->arena, r->raw_path.n + 1);

		if (!p)
			return "";
		p[percent_decode(p, r->raw_path, false)] = '\0';
		r->path = p;
	}
	return r->path;
}

const char *ol_route_path(const ol_req *r)
{
	OWNS(r);
	return r->endpoint->pattern->text;
}

const void *ol_route_data(const ol_req *r)
{
	OWNS(r);
	return r->endpoint->data;
}

ol_server *ol_server_of(const ol_req *r)
{
	return r->home->shared->server;
}

void *ol_app_data(const ol_req *r)
{
	OWNS(r);
	/* Acquire: what on_start prepared is seen. */
	return atomic_load_explicit(&r->home->shared->data, memory_order_acquire);
}

const char *ol_remote(ol_req *r)
{
	char *text = arena_alloc(&r->arena, PEER_TEXT_MAX);

	OWNS(r);
	if (!text)
		return "unknown";
	peer_format(text, &r->peer);
	return text;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static const struct {
	const char *msg, *type;
} wrong_type[] = {
	[ROUTE_INT] = { "value is not a valid integer", "type_error.integer" },
	[ROUTE_FLOAT] = { "value is not a valid float", "type_error.float" },
	[ROUTE_UUID] = { "value is not a valid uuid", "type_error.uuid" },
};

static bool has_type(struct slice v, enum route_param_type type)
{
	int64_t i;
	double f;

	switch (type) {
	case ROUTE_INT:
		return route_value_int(v, &i);
	case ROUTE_FLOAT:
		return route_value_float(v, &f);
	case ROUTE_UUID:
		return route_value_uuid(v);
	default:
		return true;
	}
}

int request_params(struct ol_req *r, const struct route_match *m)
{
	for (unsigned i = 0; i < m->pattern->nparams; i++) {
		const struct route_param *p = &m->pattern->params[i];
		char *value = arena_alloc(&r->arena, m->values[i].n + 1);
		ssize_t n;

		if (!value)
			return -ENOMEM;
		n = percent_decode(value, m->values[i], false);
		value[n] = '\0';
		r->params[i] = value;
		if (!has_type((struct slice){ value, (size_t)n }, p->type)) {
			char *name = arena_strndup(&r->arena, p->name.p, p->name.n);

			ol_invalid(r, "path", name ? name : "", wrong_type[p->type].msg, wrong_type[p->type].type);
		}
	}
	return r->invalid ? -EINVAL : 0;
}

void request_undeclared(struct ol_req *r, const char *why, const char *what, const char *name)
{
	struct log_field fields[] = {
		LOG_FIELD_STR("route", slice_of(r->endpoint->name)),
		LOG_FIELD_STR(what, slice_of(name)),
	};

	log_line(r->home->shared->log, LOG_ERROR, slice_of(why), fields, 2);
	reply_latch(r, 500);
}

const char *ol_param(ol_req *r, const char *name)
{
	const struct route_pattern *p = r->endpoint->pattern;

	OWNS(r);
	for (unsigned i = 0; i < p->nparams; i++)
		if (slice_eq(p->params[i].name, slice_of(name)))
			return r->params[i];
	request_undeclared(r, "handler asked for a parameter its route does not declare", "parameter", name);
	return NULL;
}

int64_t ol_param_int(ol_req *r, const char *name)
{
	const char *s = ol_param(r, name);
	int64_t v = 0;

	return s && route_value_int(slice_of(s), &v) ? v : 0;
}

double ol_param_float(ol_req *r, const char *name)
{
	const char *s = ol_param(r, name);
	double v = 0;

	return s && route_value_float(slice_of(s), &v) ? v : 0;
}

/* ---- query ------------------------------------------------------------------------------------------------------- */

/* Decodes s; a bad escape is left as it stands (the protocol has refused those in the target already). */
static const char *query_decode(ol_req *r, struct slice s)
{
	char *p = arena_alloc(&r->arena, s.n + 1);
	ssize_t n;

	if (!p)
		return NULL;
	n = percent_decode(p, s, true);
	p[n < 0 ? 0 : n] = '\0';
	return p;
}

static void query_parse(ol_req *r)
{
	struct slice rest = head_slice(&r->head, r->head.query, r->head.query_n);
	struct query **end = &r->query;

	r->query_parsed = true;
	while (rest.n > 0) {
		struct slice value = slice_cut(&rest, '&'), name = slice_cut(&value, '=');
		struct query *q;

		if (name.n == 0)
			continue;
		q = arena_alloc(&r->arena, sizeof(*q));
		if (!q)
			return;
		*q = (struct query){ NULL, query_decode(r, name), query_decode(r, value) };
		if (!q->name || !q->value)
			return;
		*end = q;
		end = &q->next;
	}
}

const char *ol_query(ol_req *r, const char *name)
{
	OWNS(r);
	if (!r->query_parsed)
		query_parse(r);
	for (const struct query *q = r->query; q; q = q->next)
		if (strcmp(q->name, name) == 0)
			return q->value;
	return NULL;
}

int ol_query_int(ol_req *r, const char *name, int64_t min, int64_t max, int64_t *value)
{
	const char *s = ol_query(r, name);
	char msg[96];
	int64_t v;

	if (!s)
		return 0;
	if (!route_value_int(slice_of(s), &v))
		return ol_invalid(r, "query", name, "value is not a valid integer", "type_error.integer");
	if (v < min) {
		snprintf(msg, sizeof(msg), "ensure this value is greater than or equal to %lld", (long long)min);
		return ol_invalid(r, "query", name, msg, "value_error.number.not_ge");
	}
	if (v > max) {
		snprintf(msg, sizeof(msg), "ensure this value is less than or equal to %lld", (long long)max);
		return ol_invalid(r, "query", name, msg, "value_error.number.not_le");
	}
	*value = v;
	return 0;
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

const char *ol_header_at(ol_req *r, size_t i, const char **value)
{
	const struct head_field *f;

	OWNS(r);
	if (i >= r->head.nfields)
		return NULL;
	f = &r->head.fields[i];
	if (value)
		*value = head_string(r, f->value, f->value_n);
	return head_string(r, f->name, f->name_n);
}

const char *ol_header(ol_req *r, const char *name)
{
	struct slice want = slice_of(name);

	OWNS(r);
	for (uint32_t i = 0; i < r->head.nfields; i++) {
		const struct head_field *f = &r->head.fields[i];

		if (f->name_n == want.n && slice_eq_nocase(head_slice(&r->head, f->name, f->name_n), want))
			return head_string(r, f->value, f->value_n);
	}
	return NULL;
}

static const char *cookie_in(ol_req *r, struct slice rest, struct slice want)
{
	while (rest.n > 0) {
		struct slice value = slice_cut(&rest, ';'), name = slice_trim(slice_cut(&value, '='));

		if (!slice_eq(name, want))
			continue;
		value = slice_trim(value);
		if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
			value = (struct slice){ value.p + 1, value.n - 2 };
		return arena_strndup(&r->arena, value.p, value.n);
	}
	return NULL;
}

const char *ol_cookie(ol_req *r, const char *name)
{
	OWNS(r);
	for (uint32_t i = 0; i < r->head.nfields; i++) {
		const struct head_field *f = &r->head.fields[i];
		const char *found;

		if (f->id != FIELD_COOKIE)
			continue;
		found = cookie_in(r, head_slice(&r->head, f->value, f->value_n), slice_of(name));
		if (found)
			return found;
	}
	return NULL;
}

int request_trailers(struct ol_req *r, const struct head *h)
{
	size_t bytes = 0;
	struct trailers *t;
	char *at;

	if (!h || h->nfields == 0)
		return 0;
	for (uint32_t i = 0; i < h->nfields; i++)
		bytes += h->fields[i].name_n + h->fields[i].value_n + 1u;
	t = calloc(1, sizeof(*t) + h->nfields * sizeof(*t->field) + bytes);
	if (!t)
		return -ENOMEM;
	t->n = h->nfields;
	t->field = (struct trailer *)(t + 1);
	at = t->text = (char *)(t->field + t->n);
	for (uint32_t i = 0; i < h->nfields; i++) {
		const struct head_field *f = &h->fields[i];

		memcpy(at, h->base + f->name, f->name_n);
		t->field[i].name = (struct slice){ at, f->name_n };
		at += f->name_n;
		memcpy(at, h->base + f->value, f->value_n);
		t->field[i].value = at;
		at += f->value_n + 1u;
	}
	r->trailers = t;
	return 0;
}

const char *ol_trailer(ol_req *r, const char *name)
{
	OWNS(r);
	if (r->in && !r->body_whole)
		return NULL; /* not read to its end: they may not have come */
	for (size_t i = 0; r->trailers && i < r->trailers->n; i++)
		if (slice_eq_nocase(r->trailers->field[i].name, slice_of(name)))
			return r->trailers->field[i].value;
	return NULL;
}

/* ---- body -------------------------------------------------------------------------------------------------------- */

static void latch_body_error(ol_req *r, int rc)
{
	if (rc == -EMSGSIZE)
		reply_latch(r, 413);
	else if (rc == -ETIMEDOUT)
		reply_latch(r, 408);
	else if (rc == -EBADMSG)
		reply_latch(r, 400);
	else if (rc == -ENOBUFS || rc == -ENOMEM)
		reply_latch(r, 503);
}

ssize_t ol_body_read(ol_req *r, void *buf, size_t n)
{
	size_t left;
	ssize_t got;

	OWNS(r);
	if (!r->park && r->head.has_body)
		return -EDEADLK;
	if (r->body_error)
		return r->body_error;
	if (!r->in || r->body.n > 0) { /* buffered, by the loop or by ol_body */
		left = r->body.n - r->body_read;
		n = n < left ? n : left;
		if (n > 0)
			memcpy(buf, buf_slice(&r->body).p + r->body_read, n);
		r->body_read += n;
		return (ssize_t)n;
	}
	if (n == 0 || r->body_whole)
		return 0;
	got = pipe_read(r->in, r->park, buf, n);
	if (got < 0)
		latch_body_error(r, (int)got);
	if (got == 0)
		r->body_whole = true;
	return got;
}

/* Reads a .stream request's body to its end into r->body. */
static int collect(ol_req *r)
{
	struct dispatch_shared *s = r->home->shared;

	while (!r->body_whole && !r->body_error) {
		char *room = buf_reserve(&r->body, 16384);
		ssize_t got = room ? pipe_read(r->in, r->park, room, 16384) : -ENOMEM;

		if (got > 0 && !dispatch_body_room(s, (size_t)got))
			got = -ENOBUFS;
		if (got < 0) {
			latch_body_error(r, (int)got);
			r->body_error = (int)got;
			break;
		}
		buf_added(&r->body, (size_t)got);
		r->body_whole = got == 0;
	}
	return r->body_error;
}

const char *ol_body(ol_req *r, size_t *n)
{
	char *end;

	OWNS(r);
	if (n)
		*n = 0;
	if (!r->park && r->head.has_body)
		return NULL; /* an admit hook: it has not been read */
	if (r->in && collect(r) < 0)
		return NULL;
	end = buf_reserve(&r->body, 1);
	if (!end) {
		reply_latch(r, 503);
		return NULL;
	}
	*end = '\0';
	if (n)
		*n = r->body.n;
	return r->body.p + r->body.off;
}

json_t *ol_body_json(ol_req *r)
{
	const char *why = NULL, *text;
	char at[32];
	size_t n, offset = 0;

	OWNS(r);
	if (r->json)
		return r->json;
	text = ol_body(r, &n);
	if (!text)
		return NULL;
	r->json = json_parse(&r->arena, (struct slice){ text, n }, &why, &offset);
	if (!r->json) {
		snprintf(at, sizeof(at), "%zu", offset);
		(void)ol_invalid(r, "body", at, why ? why : "not JSON", "value_error.jsondecode");
	}
	return r->json;
}

void request_fini(struct ol_req *r)
{
	json_decref(r->json);
	r->json = NULL;
	dispatch_body_free(r->home->shared, r->body.n);
	buf_fini(&r->body);
	if (r->in) {
		pipe_fini(r->in);
		free(r->in);
		r->in = NULL;
	}
	free(r->trailers);
	r->trailers = NULL;
}
