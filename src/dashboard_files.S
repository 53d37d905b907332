/* dashboard_files.S: the files of src/dashboard/ as they are, in the library's read-only data.
 *
 * The assembler takes them in (.incbin), so they need no tool and no generated source.  DYGRAPH_JS is the path of the
 * charting library's minified file, which configure looks for; a build without it has no_dygraph.js in its place, and
 * the page shows tables.  dashboard.c knows what each file is.
 */
#include "fiber_switch.h"

#ifndef DYGRAPH_JS
#define DYGRAPH_JS "dashboard/no_dygraph.js"
#endif

	.macro	file name:req, path:req
	.globl	dashboard_\name
	.globl	dashboard_\name\()_end
	.hidden	dashboard_\name
	.hidden	dashboard_\name\()_end
	.type	dashboard_\name, %object
dashboard_\name:
	.incbin	"\path"
dashboard_\name\()_end:
	.size	dashboard_\name, . - dashboard_\name
	.endm

	.section .rodata
	file	html, "dashboard/dashboard.html"
	file	colours_css, "dashboard/colours.css"
	file	css, "dashboard/dashboard.css"
	file	js, "dashboard/dashboard.js"
	file	dom_js, "dashboard/dom.js"
	file	figures_js, "dashboard/figures.js"
	file	charts_js, "dashboard/charts.js"
	file	stalls_js, "dashboard/stalls.js"
	file	dygraph_js, DYGRAPH_JS

	fiber_notes 3
