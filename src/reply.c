/* reply.c: building a reply, the public ol_text ... ol_trailer_set and the server's own answers.
 *
 * A reply stays structured (status, fields, a body source) until the protocol drains it.  All of it lies in the
 * exchange's arena or is borrowed from the handler, so nothing here allocates from the heap.  A handler may change its
 * mind as often as it likes: each call that succeeds replaces the body (one that fails leaves what there was), until
 * the reply is committed, which happens when the handler returns or at the first ol_write (stream.c).  Fields are
 * checked when they are set (RFC 9110 §5.5): a request can never add a field, or a second reply, by what a handler
 * copies from it.
 *
 * Everything runs on the handler's thread, except the reply_* functions that dispatch calls before a handler has
 * started (loop, which owns the exchange then).
 */
#include "exchange.h"
#include "dispatch.h"
#include "json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_PLAIN SLICE("text/plain; charset=utf-8")
#define JSON_TYPE SLICE("application/json")

struct release {
	struct release *next;
	void (*fn)(void *arg);
	void *arg;
};

struct invalid {
	struct invalid *next;
	struct slice in, name, msg, type;
};

static void run_releases(struct ol_req *r)
{
	while (r->releases) {
		struct release *rel = r->releases;

		r->releases = rel->next;
		rel->fn(rel->arg);
	}
}

/* Forgets the body, keeps the fields. */
static void drop_body(struct ol_req *r)
{
	run_releases(r);
	stream_drop(r);
	r->reply.kind = BODY_NONE;
	r->reply.length = 0;
}

void reply_reset(struct ol_req *r)
{
	drop_body(r);
	r->reply.fields = r->reply.trailers = NULL;
	r->fields_end = &r->reply.fields;
	r->trailers_end = &r->reply.trailers;
	r->type_fixed = false;
	r->reply.type = (struct slice){ NULL, 0 };
	r->replied = r->error_new = false;
	r->detail = NULL;
}

void reply_forget(struct ol_req *r)
{
	drop_body(r);
	r->replied = r->error_new = false;
	r->detail = NULL;
}

void reply_fini(struct ol_req *r)
{
	bool app = r->releases || r->pull;

	events_fini(r);
	if (app)
		dispatch_enter_app(r->home, r, WATCH_HOOK);
	drop_body(r);
	if (app)
		dispatch_leave_app(r->home);
}

int reply_begin(struct ol_req *r, int status, struct slice type)
{
	OWNS(r);
	if (r->committed || r->sealed || stream_is_pulling(r))
		return -EALREADY;
	if (status < 200 || status > 599)
		return -EINVAL;
	reply_forget(r);
	r->reply.status = status;
	if (!r->type_fixed)
		r->reply.type = type;
	r->replied = true;
	return 0;
}

static void set_bytes(struct ol_req *r, const void *p, size_t n)
{
	r->reply.kind = BODY_BYTES;
	r->reply.body.bytes = (struct slice){ p, n };
	r->reply.length = n;
}

/* ---- header fields ----------------------------------------------------------------------------------------------- */

static bool is_token(struct slice s)
{
	static const char extra[] = "!#$%&'*+-.^_`|~"; /* RFC 9110 §5.6.2 */

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
				(c != '\0' && strchr(extra, c))))
			return false;
	}
	return s.n > 0;
}

static bool is_value(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* Fields by which a message is framed are the server's. */
static bool is_reserved(struct slice name)
{
	static const struct slice reserved[] = {
		{ "connection", 10 }, { "content-length", 14 }, { "date", 4 }, { "keep-alive", 10 }, { "trailer", 7 },
		{ "transfer-encoding", 17 }, { "upgrade", 7 },
	};

	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (slice_eq_nocase(name, reserved[i]))
			return true;
	return false;
}

static int check_field(struct slice name, struct slice value)
{
	if (!is_token(name) || !is_value(value))
		return -EINVAL;
	return is_reserved(name) ? -EPERM : 0;
}

static struct reply_field *new_field(struct ol_req *r, struct slice name, struct slice value)
{
	struct reply_field *f = arena_alloc(&r->arena, sizeof(*f));

	if (!f)
		return NULL;
	f->next = NULL;
	f->name = (struct slice){ arena_strndup(&r->arena, name.p, name.n), name.n };
	f->value = (struct slice){ arena_strndup(&r->arena, value.p, value.n), value.n };
	return f->name.p && f->value.p ? f : NULL;
}

static int append_field(struct ol_req *r, struct reply_field ***end, struct slice name, struct slice value)
{
	struct reply_field *f = new_field(r, name, value);

	if (!f)
		return -ENOMEM;
	**end = f;
	*end = &f->next;
	return 0;
}

int reply_field_add(struct ol_req *r, const char *name, struct slice value)
{
	return append_field(r, &r->fields_end, slice_of(name), value);
}

static void remove_fields(struct ol_req *r, struct slice name)
{
	struct reply_field **at = &r->reply.fields;

	while (*at) {
		if (slice_eq_nocase((*at)->name, name))
			*at = (*at)->next;
		else
			at = &(*at)->next;
	}
	r->fields_end = at;
}

static int set_type(struct ol_req *r, struct slice value)
{
	char *copy = arena_strndup(&r->arena, value.p, value.n);

	if (!copy)
		return -ENOMEM;
	r->reply.type = (struct slice){ copy, value.n };
	r->type_fixed = true;
	return 0;
}

static int put_field(struct ol_req *r, const char *name_, const char *value_, bool replace)
{
	struct slice name = slice_of(name_), value = slice_of(value_);
	int rc = check_field(name, value);

	OWNS(r);
	if (rc < 0)
		return rc;
	if (r->committed || r->sealed)
		return -EALREADY;
	if (slice_eq_nocase(name, SLICE("content-type")))
		return set_type(r, value);
	if (replace)
		remove_fields(r, name);
	return append_field(r, &r->fields_end, name, value);
}

int ol_header_set(ol_req *r, const char *name, const char *value)
{
	return put_field(r, name, value, true);
}

int ol_header_add(ol_req *r, const char *name, const char *value)
{
	return put_field(r, name, value, false);
}

static bool is_cookie_value(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= 0x20 || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\') /* RFC 6265 §4.1.1 */
			return false;
	}
	return true;
}

int ol_cookie_set(ol_req *r, const char *name, const char *value, const char *attributes)
{
	char *text;

	OWNS(r);
	if (!is_token(slice_of(name)) || !is_cookie_value(slice_of(value)))
		return -EINVAL;
	text = arena_printf(&r->arena, NULL, "%s=%s%s%s", name, value, attributes ? "; " : "",
		attributes ? attributes : "");
	return text ? put_field(r, "Set-Cookie", text, false) : -ENOMEM;
}

int ol_trailer_set(ol_req *r, const char *name, const char *value)
{
	int rc = check_field(slice_of(name), slice_of(value));

	OWNS(r);
	if (rc < 0)
		return rc;
	if (r->sealed)
		return -EALREADY;
	if (!r->streaming)
		return -EINVAL;
	return append_field(r, &r->trailers_end, slice_of(name), slice_of(value));
}

/* ---- whole replies ----------------------------------------------------------------------------------------------- */

int ol_text(ol_req *r, int status, const char *text)
{
	return ol_bytes(r, status, NULL, text, strlen(text));
}

int ol_textf_(ol_req *r, int status, const char *fmt, ...)
{
	size_t n;
	va_list ap;
	char *text;
	int rc;

	va_start(ap, fmt);
	text = arena_vprintf(&r->arena, &n, fmt, ap);
	va_end(ap);
	rc = text ? reply_begin(r, status, TEXT_PLAIN) : -ENOMEM;
	if (rc == 0)
		set_bytes(r, text, n);
	return rc;
}

int ol_bytes(ol_req *r, int status, const char *type, const void *p, size_t n)
{
	char *copy = arena_alloc(&r->arena, n);
	int rc;

	if (!copy)
		return -ENOMEM;
	if (n > 0)
		memcpy(copy, p, n);
	rc = ol_bytes_new(r, status, type, copy, n, NULL, NULL);
	return rc;
}

int reply_type(struct ol_req *r, const char *type, struct slice *out)
{
	*out = TEXT_PLAIN;
	if (!type)
		return 0;
	if (!is_value(slice_of(type)))
		return -EINVAL;
	*out = (struct slice){ arena_strndup(&r->arena, type, strlen(type)), strlen(type) };
	return out->p ? 0 : -ENOMEM;
}

int ol_bytes_new(ol_req *r, int status, const char *type, const void *p, size_t n,
	void (*release)(void *arg), void *arg)
{
	struct release *rel = NULL;
	struct slice t;
	int rc = reply_type(r, type, &t);

	if (rc == 0 && release) {
		rel = arena_alloc(&r->arena, sizeof(*rel));
		rc = rel ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = reply_begin(r, status, t);
	if (rc < 0) {
		if (release)
			release(arg);
		return rc;
	}
	if (rel) {
		*rel = (struct release){ r->releases, release, arg };
		r->releases = rel;
	}
	set_bytes(r, p, n);
	return 0;
}

int ol_json(ol_req *r, int status, const json_t *value)
{
	struct slice text;
	int rc;

	if (!value)
		return -ENOMEM; /* how a failed json_pack looks */
	rc = json_write(&r->arena, value, &text);
	if (rc == 0)
		rc = reply_begin(r, status, JSON_TYPE);
	if (rc == 0)
		set_bytes(r, text.p, text.n);
	return rc;
}

int ol_json_new(ol_req *r, int status, json_t *value)
{
	int rc = ol_json(r, status, value);

	json_decref(value);
	return rc;
}

int ol_empty(ol_req *r, int status)
{
	return reply_begin(r, status, (struct slice){ NULL, 0 });
}

/* {"detail": detail} in the arena; an empty slice without memory. */
static struct slice detail_text(struct ol_req *r, const char *detail)
{
	static const char head[] = "{\"detail\":";
	size_t n = strlen(detail), k = sizeof(head) - 1;
	char *p = arena_alloc(&r->arena, k + 6 * n + 3);

	if (!p)
		return (struct slice){ NULL, 0 };
	memcpy(p, head, k);
	k += json_quote(p + k, (struct slice){ detail, n });
	p[k++] = '}';
	return (struct slice){ p, k };
}

/* text: {"detail": ...}.  detail: what stands there, for ol_detail: a string, or the text of a list. */
static void set_error(struct ol_req *r, struct slice text, const char *detail)
{
	set_bytes(r, text.p, text.n);
	r->error_new = true;
	r->detail = detail;
}

int ol_error(ol_req *r, int status, const char *detail)
{
	int rc = reply_begin(r, status, JSON_TYPE);

	if (rc == 0)
		set_error(r, detail_text(r, detail), arena_strndup(&r->arena, detail, strlen(detail)));
	return rc;
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

int ol_redirect(ol_req *r, int status, const char *location)
{
	int rc;

	if (!is_redirect(status) || !is_value(slice_of(location)))
		return -EINVAL;
	rc = ol_empty(r, status);
	return rc < 0 ? rc : put_field(r, "Location", location, true);
}

/* ---- the server's own -------------------------------------------------------------------------------------------- */

void reply_error(struct ol_req *r, int status, const char *detail)
{
	reply_reset(r);
	r->reply.status = status;
	r->reply.type = JSON_TYPE;
	r->replied = true;
	set_error(r, detail_text(r, detail), detail);
}

/* Of its fields the list is copied, since the present one may be changed anywhere; without memory it ends early. */
void reply_keep(struct ol_req *r, struct error_kept *was)
{
	struct reply_field **end = &was->reply.fields;

	*was = (struct error_kept){ r->reply, r->type_fixed, r->detail };
	for (const struct reply_field *f = r->reply.fields; f; f = f->next) {
		struct reply_field *copy = arena_alloc(&r->arena, sizeof(*copy));

		if (!copy)
			break;
		*copy = *f;
		*end = copy;
		end = &copy->next;
	}
	*end = NULL;
}

void reply_restore(struct ol_req *r, const struct error_kept *was)
{
	reply_forget(r);
	r->reply = was->reply;
	r->fields_end = &r->reply.fields;
	while (*r->fields_end)
		r->fields_end = &(*r->fields_end)->next;
	r->type_fixed = was->type_fixed;
	r->replied = true;
	r->detail = was->detail;
}

int ol_status(const ol_req *r)
{
	OWNS(r);
	if (r->broken)
		return 500;
	return r->replied || r->committed ? r->reply.status : 0;
}

const char *ol_detail(const ol_req *r)
{
	OWNS(r);
	return r->detail ? r->detail : "";
}

void reply_latch(struct ol_req *r, int status)
{
	if (!r->latched)
		r->latched = status;
}

static struct slice dup_slice(struct ol_req *r, const char *s)
{
	char *copy = s ? arena_strndup(&r->arena, s, strlen(s)) : NULL;

	return (struct slice){ copy, copy ? strlen(s) : 0 };
}

int ol_invalid(ol_req *r, const char *in, const char *name, const char *msg, const char *type)
{
	struct invalid *v = arena_alloc(&r->arena, sizeof(*v)), **at = &r->invalid;

	reply_latch(r, 422);
	if (v) {
		*v = (struct invalid){ .in = dup_slice(r, in), .name = dup_slice(r, name), .msg = dup_slice(r, msg),
			.type = dup_slice(r, type) };
		while (*at)
			at = &(*at)->next;
		*at = v;
	}
	return -EINVAL;
}

static size_t put_str(char *dst, const char *s)
{
	size_t n = strlen(s);

	memcpy(dst, s, n);
	return n;
}

static size_t put_invalid(char *dst, const struct invalid *v)
{
	size_t k = put_str(dst, "{\"loc\":[");

	k += json_quote(dst + k, v->in);
	if (v->name.p) {
		k += put_str(dst + k, ",");
		k += json_quote(dst + k, v->name);
	}
	k += put_str(dst + k, "],\"msg\":");
	k += json_quote(dst + k, v->msg);
	k += put_str(dst + k, ",\"type\":");
	k += json_quote(dst + k, v->type);
	return k + put_str(dst + k, "}");
}

static struct slice invalid_text(struct ol_req *r)
{
	size_t room = 32, k;
	char *p;

	for (const struct invalid *v = r->invalid; v; v = v->next)
		room += 64 + 6 * (v->in.n + v->name.n + v->msg.n + v->type.n);
	p = arena_alloc(&r->arena, room);
	if (!p)
		return (struct slice){ NULL, 0 };
	k = put_str(p, "{\"detail\":[");
	for (const struct invalid *v = r->invalid; v; v = v->next) {
		k += put_invalid(p + k, v);
		if (v->next)
			p[k++] = ',';
	}
	k += put_str(p + k, "]}");
	return (struct slice){ p, k };
}

/* The list in {"detail":[...]}, as a string of its own. */
static const char *list_of(struct ol_req *r, struct slice text)
{
	static const size_t before = sizeof("{\"detail\":") - 1;

	return text.p ? arena_strndup(&r->arena, text.p + before, text.n - before - 1) : NULL;
}

static const char *latched_detail(int status)
{
	switch (status) {
	case 408:
		return "The body came too slowly";
	case 413:
		return "The body is too large";
	case 400:
		return "The body is malformed";
	default:
		return "The request cannot be processed";
	}
}

void reply_latched(struct ol_req *r)
{
	int status = r->latched;

	reply_error(r, status, latched_detail(status));
	if (status == 422 && r->invalid) {
		struct slice text = invalid_text(r);

		set_error(r, text, list_of(r, text));
	}
	r->reply.close = status == 408 || status == 413 || status == 400;
}
