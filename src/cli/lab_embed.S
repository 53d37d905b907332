/* lab_embed.S: the files of src/cli/lab/ as they are, in the program's read-only data.
 *
 * The assembler takes them in (.incbin), so they need no tool and no generated source.  lab_files.c knows what each
 * file is called.
 */
#include "fiber_switch.h"

	.macro	file name:req, path:req
	.globl	lab_file_\name
	.globl	lab_file_\name\()_end
	.hidden	lab_file_\name
	.hidden	lab_file_\name\()_end
	.type	lab_file_\name, %object
lab_file_\name:
	.incbin	"\path"
lab_file_\name\()_end:
	.size	lab_file_\name, . - lab_file_\name
	.endm

	.section .rodata
	file	report_html, "cli/lab/report.html"
	file	report_css, "cli/lab/report.css"
	file	report_js, "cli/lab/report.js"
	file	plots_js, "cli/lab/plots.js"
	file	lab_work_py, "cli/lab/lab_work.py"
	file	app_fastapi_py, "cli/lab/app_fastapi.py"
	file	app_starlette_py, "cli/lab/app_starlette.py"
	file	app_flask_py, "cli/lab/app_flask.py"
	file	app_tornado_py, "cli/lab/app_tornado.py"
	file	app_node_js, "cli/lab/app_node.js"
	file	nginx_conf, "cli/lab/nginx.conf"

	fiber_notes 3
