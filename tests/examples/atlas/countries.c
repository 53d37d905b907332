/* countries.c: GET /countries/{alpha2}, on the loop: nothing to wait for, so no thread to go to.
 *
 * At start every country is made into the JSON text of its reply, found by its two letters.  The texts do not
 * change and live as long as the server, so a reply borrows its text: nothing is copied, built or locked.
 */
#include "atlas.h"
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct countries {
	char *json[26 * 26];
	size_t n[26 * 26];
};

/* The place of two ASCII letters, of any case; -1 for anything else. */
static int place(const char *code)
{
	int at = 0;

	for (int i = 0; i < 2; i++) {
		int letter = (code[i] | 0x20) - 'a';

		if (letter < 0 || letter >= 26)
			return -1;
		at = at * 26 + letter;
	}
	return code[2] == '\0' ? at : -1;
}

static int add(struct countries *c, const struct query *q)
{
	json_t *row = query_row(q);
	const char *code = json_string_value(json_object_get(row, "alpha_2"));
	int at = code ? place(code) : -1;

	if (at >= 0 && !c->json[at])
		c->json[at] = json_dumps(row, JSON_COMPACT);
	json_decref(row);
	if (at < 0 || !c->json[at])
		return -ENOMEM;
	c->n[at] = strlen(c->json[at]);
	return 0;
}

struct countries *countries_new(struct store *s)
{
	static const char sql[] =
		"SELECT alpha_2, alpha_3, numeric, name, official_name, common_name, flag FROM countries";
	struct countries *c = calloc(1, sizeof(*c));
	struct query q;
	int rc;

	if (!c)
		return NULL;
	query_begin(&q, s, NULL, sql);
	while ((rc = query_step(&q)) > 0 && (rc = add(c, &q)) == 0)
		;
	query_end(&q);
	if (rc == 0)
		return c;
	if (rc == -ENOMEM)
		complain("a country cannot be used");
	countries_free(c);
	return NULL;
}

void countries_free(struct countries *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < sizeof(c->json) / sizeof(*c->json); i++)
		free(c->json[i]);
	free(c);
}

int get_country(ol_req *r)
{
	const struct atlas *a = ol_app_data(r);
	int at = place(ol_param(r, "alpha2"));

	if (at < 0 || !a->countries->json[at])
		return ol_error(r, 404, "No country has this code");
	return ol_bytes_new(r, 200, "application/json", a->countries->json[at], a->countries->n[at], NULL, NULL);
}
