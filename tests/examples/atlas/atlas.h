/* atlas.h: what the parts of the demo share: its state, its handlers, and what describes a route to people. */
#ifndef ATLAS_H
#define ATLAS_H

#include <offloop.h>

#include <stdbool.h>

struct store;
struct countries;

/* The app's data, from on_start to on_stop; constant between them. */
struct atlas {
	struct store *store;
	struct countries *countries;    /* in memory */
	bool footgun;                   /* --footgun was given */
};

/* A route's .data: how `/` explains it. */
struct about {
	const char *what;       /* a sentence without its full stop */
	const char *example;    /* a path and query to try */
	const char *curl;       /* what curl needs besides; NULL: nothing, a link will do */
};

/* For complaints at start: one line on stderr. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The routes, for `/`; ends with a route without path. */
extern const struct ol_route atlas_routes[];

ol_handler show_index;

/* Reads all countries from the store.  NULL: it has said why. */
struct countries *countries_new(struct store *s);
void countries_free(struct countries *c);
ol_handler get_country, list_countries;

ol_handler list_languages, export_languages;
ol_handler get_subdivision;
ol_handler add_note, get_note, delete_note;
ol_handler hash_password;
ol_handler block_pool, nap, footgun;

/* A member of the body's JSON object that must be a string of min..max characters (code points); NULL: 422 is
 * latched. */
const char *body_string(ol_req *r, const char *name, size_t min, size_t max);

#endif
