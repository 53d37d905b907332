/* dashboard.c: the control plane's page for people, and the files it is made of.
 *
 * The files stand in src/dashboard/ and are part of the library (dashboard_files.S), so the page needs nothing but
 * the control plane: no file system, no build step of its own, no other host.  What it shows it asks for itself, at
 * /metrics, /pools, /routes, /stalls and /advice; nothing here knows a figure.
 *
 * A browser is told to hold the page to that (Content-Security-Policy): scripts, styles and requests of this origin
 * only, no script inside the page, no frame around it, so that a page from elsewhere cannot lay it under somebody's
 * mouse.  Who does not ask for HTML gets a text in its place: a list of paths is of more use in a terminal.
 *
 * The control loop's thread; the files never change.
 */
#include "dashboard.h"

#include <stddef.h>
#include <string.h>

#define FILE_DECLARED(name) extern const char dashboard_##name[], dashboard_##name##_end[]
FILE_DECLARED(html);
FILE_DECLARED(colours_css);
FILE_DECLARED(css);
FILE_DECLARED(js);
FILE_DECLARED(dom_js);
FILE_DECLARED(figures_js);
FILE_DECLARED(charts_js);
FILE_DECLARED(stalls_js);
FILE_DECLARED(dygraph_js);

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"

static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
	"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct file {
	const char *name;
	const char *type;
	const char *start, *end;
};

static const struct file page = { "dashboard.html", HTML, dashboard_html, dashboard_html_end };

static const struct file files[] = {
	{ "colours.css", CSS, dashboard_colours_css, dashboard_colours_css_end },
	{ "dashboard.css", CSS, dashboard_css, dashboard_css_end },
	{ "dashboard.js", SCRIPT, dashboard_js, dashboard_js_end },
	{ "dom.js", SCRIPT, dashboard_dom_js, dashboard_dom_js_end },
	{ "figures.js", SCRIPT, dashboard_figures_js, dashboard_figures_js_end },
	{ "charts.js", SCRIPT, dashboard_charts_js, dashboard_charts_js_end },
	{ "stalls.js", SCRIPT, dashboard_stalls_js, dashboard_stalls_js_end },
	{ "dygraph.js", SCRIPT, dashboard_dygraph_js, dashboard_dygraph_js_end },
};

static int answer(ol_req *r, const struct file *f)
{
	ol_header_set(r, "Content-Security-Policy", policy);
	ol_header_set(r, "X-Content-Type-Options", "nosniff");
	ol_header_set(r, "Referrer-Policy", "no-referrer");
	return ol_bytes_new(r, 200, f->type, f->start, (size_t)(f->end - f->start), NULL, NULL);
}

int dashboard_page(ol_req *r, const char *text)
{
	const char *accept = ol_header(r, "Accept");

	ol_header_set(r, "Vary", "Accept");
	return accept && strstr(accept, "text/html") ? answer(r, &page) : ol_text(r, 200, text);
}

int dashboard_file(ol_req *r)
{
	const char *name = ol_param(r, "file");

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (strcmp(files[i].name, name) == 0)
			return answer(r, &files[i]);
	return ol_error(r, 404, "the dashboard has no file of this name");
}
