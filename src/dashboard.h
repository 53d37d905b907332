/* dashboard.h: the control plane's page for people, and the files it is made of. */
#ifndef OL_DASHBOARD_H
#define OL_DASHBOARD_H

#include "offloop.h"

/* Answers with the page when the client's Accept names HTML, as a browser's does; else with `text`. */
int dashboard_page(ol_req *r, const char *text);

/* Answers with the file that the parameter {file} of the path names, or 404. */
int dashboard_file(ol_req *r);

#endif
