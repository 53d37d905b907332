/* index.c: GET /: what the service has, as a page for people or as JSON for programs.
 *
 * Both are made from the table of routes itself, so they cannot leave a route out or name a lane that is not what the
 * route is declared as.  Which one a client gets is its Accept header's choice (RFC 9110 §12.5.1): JSON when it likes
 * that better than HTML.  The page stands alone: no script, no font, no image, and a policy that allows none.  What
 * comes from the request (its Host, in the examples for curl) is escaped.
 */
#include "atlas.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const methods[] = {
	[OL_METHOD_GET] = "GET", [OL_METHOD_POST] = "POST", [OL_METHOD_DELETE] = "DELETE",
};

static const struct about *about_of(const struct ol_route *route)
{
	return route->data;
}

/* The next route to show from *route on, which may be that one; NULL at the end. */
static const struct ol_route *shown(const struct ol_route *route, const struct atlas *a)
{
	while (route->path && route->async == footgun && !a->footgun)
		route++;
	return route->path ? route : NULL;
}

static const char *pool_of(const struct ol_route *route)
{
	return route->pool ? route->pool : "default";
}

/* ---- which of the two -------------------------------------------------------------------------------------------- */

/* "q=0.8" among the parameters of a media range, in thousandths; 1000 without. */
static int weight(const char *params, size_t n)
{
	const char *end = params + n, *q = memmem(params, n, "q=", 2);
	int value, digit = 100;

	if (!q || q + 2 >= end)
		return 1000;
	q += 2;
	value = *q++ == '1' ? 1000 : 0;
	if (q < end && *q == '.')
		for (q++; q < end && *q >= '0' && *q <= '9' && digit > 0; q++, digit /= 10)
			value += (*q - '0') * digit;
	return value < 1000 ? value : 1000;
}

/* How closely a media range fits a type: 3 exactly, 2 by its first half, 1 as any type, 0 not. */
static int fits(const char *range, size_t n, const char *type)
{
	size_t half = strcspn(type, "/") + 1;

	if (n == strlen(type) && strncasecmp(range, type, n) == 0)
		return 3;
	if (n == half + 1 && strncasecmp(range, type, half) == 0 && range[half] == '*')
		return 2;
	return n == 3 && memcmp(range, "*/*", 3) == 0;
}

/* What an Accept header gives a type, in thousandths: by its range that fits most closely. */
static int liking(const char *accept, const char *type)
{
	int best = 0, given = 0;

	while (*accept) {
		size_t n = strcspn(accept, ","), name;

		name = strcspn(accept, ",; \t");
		if (fits(accept, name, type) > best) {
			best = fits(accept, name, type);
			given = weight(accept + name, n - name);
		}
		accept += n;
		accept += strspn(accept, ", \t");
	}
	return given;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static int as_json(ol_req *r, const struct atlas *a)
{
	json_t *list = json_array();

	for (const struct ol_route *e = atlas_routes; (e = shown(e, a)); e++) {
		json_t *one = json_pack("{ss, ss, ss, ss*, ss, ss}", "method", methods[e->method], "path", e->path,
			"lane", e->async ? "async" : "sync", "pool", e->async ? NULL : pool_of(e),
			"what", about_of(e)->what, "example", about_of(e)->example);

		if (json_array_append_new(list, one) < 0) {
			json_decref(list);
			return -ENOMEM;
		}
	}
	return ol_json_new(r, 200, json_pack("{ss, so}", "service", "atlas", "routes", list));
}

/* ---- HTML -------------------------------------------------------------------------------------------------------- */

static const char top[] =
	"<!doctype html>\n"
	"<html lang=\"en\">\n"
	"<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta name=\"color-scheme\" content=\"light dark\">\n"
	"<link rel=\"icon\" href=\"data:,\">\n"
	"<title>atlas</title>\n"
	"<style>\n"
	":root { --text: #1c2733; --quiet: #5d6b79; --page: #f7f8f6; --card: #fff; --line: #dde2e0; --loop: #0b6e4f;\n"
	"	--pool: #8a4b08; --link: #0a58a8 }\n"
	"@media (prefers-color-scheme: dark) { :root { --text: #e4e8ea; --quiet: #98a5b0; --page: #14191d;\n"
	"	--card: #1c2328; --line: #303a41; --loop: #5fd0a5; --pool: #f0b26b; --link: #7db8f2 } }\n"
	"* { box-sizing: border-box }\n"
	"body { margin: 0 auto; max-width: 56rem; padding: 2rem 1rem 4rem; background: var(--page);\n"
	"	color: var(--text); font: 16px/1.5 system-ui, sans-serif }\n"
	"h1 { margin: 0; font-size: 1.8rem }\n"
	"p { margin: .3rem 0 1.5rem; color: var(--quiet) }\n"
	"ul { list-style: none; margin: 0; padding: 0 }\n"
	"li { margin: 0 0 .6rem; padding: .7rem 1rem; background: var(--card); border: 1px solid var(--line);\n"
	"	border-radius: .5rem }\n"
	"code { font: .9rem/1.6 ui-monospace, monospace; overflow-wrap: anywhere }\n"
	"a { color: var(--link) }\n"
	".try { display: block; color: var(--quiet) }\n"
	".lane { float: right; margin-left: 1rem; font-size: .85rem }\n"
	".loop { color: var(--loop) } .pool { color: var(--pool) }\n"
	"</style>\n"
	"<h1>atlas</h1>\n"
	"<p>Countries, languages and subdivisions of the ISO standards, and your notes.\n"
	"Each as it is declared: <span class=\"loop\">.async</span> is answered at once, on the loop, without a\n"
	"thread; <span class=\"pool\">.sync</span> may block, on a thread of its pool. A --model other than hybrid\n"
	"has its own way.</p>\n"
	"<ul>\n";

static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			putc(*text, out);
		}
}

static void put_lane(FILE *out, const struct ol_route *route)
{
	if (route->async)
		fputs("<span class=\"lane loop\">.async</span>", out);
	else
		fprintf(out, "<span class=\"lane pool\">.sync, pool %s</span>", pool_of(route));
}

/* The path and query are quoted for the shell: both have no quote of their own. */
static void put_curl(FILE *out, const struct about *about, const char *host)
{
	fputs("<code class=\"try\">curl ", out);
	if (about->curl) {
		put_escaped(out, about->curl);
		putc(' ', out);
	}
	fputs("'http://", out);
	put_escaped(out, host);
	put_escaped(out, about->example);
	fputs("'</code>", out);
}

static void put_route(FILE *out, const struct ol_route *route, const char *host)
{
	const struct about *about = about_of(route);

	fputs("<li>", out);
	put_lane(out, route);
	fprintf(out, "<code>%s ", methods[route->method]);
	if (about->curl) {
		fputs(route->path, out);
	} else {
		fputs("<a href=\"", out);
		put_escaped(out, about->example);
		fprintf(out, "\">%s</a>", route->path);
	}
	fprintf(out, "</code><br>%s.", about->what);
	put_curl(out, about, host);
	fputs("</li>\n", out);
}

static int as_page(ol_req *r, const struct atlas *a)
{
	const char *host = ol_header(r, "Host");
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		return -errno;
	fputs(top, out);
	for (const struct ol_route *e = atlas_routes; (e = shown(e, a)); e++)
		put_route(out, e, host && *host ? host : "127.0.0.1:8000");
	fputs("</ul>\n</html>\n", out);
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	ol_header_set(r, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:");
	return ol_bytes_new(r, 200, "text/html; charset=utf-8", text, n, free, text);
}

int show_index(ol_req *r)
{
	const struct atlas *a = ol_app_data(r);
	const char *accept = ol_header(r, "Accept");

	ol_header_set(r, "Vary", "Accept");
	if (accept && liking(accept, "application/json") > liking(accept, "text/html"))
		return as_json(r, a);
	return as_page(r, a);
}
