/* body.c: what handlers ask of a JSON body: that it is an object with a string in it, of a length with bounds.
 *
 * Length is counted in characters (code points), as JSON and its users count, not in bytes.  What is wrong is said
 * in the shape and the words of FastAPI.
 */
#include "atlas.h"

#include <stdio.h>

static size_t characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

const char *body_string(ol_req *r, const char *name, size_t min, size_t max)
{
	json_t *body = ol_body_json(r), *member = json_object_get(body, name);
	char msg[80];
	size_t n;

	if (!body)
		return NULL;
	if (!json_is_object(body)) {
		ol_invalid(r, "body", name, "value is not a valid dict", "type_error.dict");
		return NULL;
	}
	if (!member) {
		ol_invalid(r, "body", name, "field required", "value_error.missing");
		return NULL;
	}
	if (!json_is_string(member)) {
		ol_invalid(r, "body", name, "str type expected", "type_error.str");
		return NULL;
	}
	n = characters(json_string_value(member));
	if (n < min) {
		snprintf(msg, sizeof(msg), "ensure this value has at least %zu characters", min);
		ol_invalid(r, "body", name, msg, "value_error.any_str.min_length");
		return NULL;
	}
	if (n > max) {
		snprintf(msg, sizeof(msg), "ensure this value has at most %zu characters", max);
		ol_invalid(r, "body", name, msg, "value_error.any_str.max_length");
		return NULL;
	}
	return json_string_value(member);
}
