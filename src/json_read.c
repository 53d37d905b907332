/* json_read.c: JSON text read by jansson, behind a check of its depth.
 *
 * jansson's parser is recursive, and what a client sends must not decide how deep the stack gets.  So one pass over the
 * text counts open brackets outside of strings first.  As long as the text is well-formed the pass and the parser agree
 * on what is a string, and the parser stops where it is not; hence its recursion is never deeper than what was counted.
 *
 * Strings that hold \u0000 are refused, as jansson does unless told otherwise, although RFC 8259 allows them: to a
 * handler in C a string ends at its first NUL, and one that is checked by length and used by NUL is a hole.  Any value
 * may stand at the top.  Of members with one name the last wins.
 *
 * Complaints are jansson's, cut to one line: its text quotes what is near, and that is the client's.
 *
 * Any thread.  The arena only takes the complaint; values live on the heap until their last reference is dropped.
 */
#include "json.h"

#include <stdbool.h>

static const char too_deep[] = "nested deeper than 64 levels";
_Static_assert(JSON_DEPTH_MAX == 64, "too_deep names the limit");

/* The offset of the bracket that opens a level too many; text.n when there is none. */
static size_t depth_exceeded(struct slice text)
{
	size_t depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (in_string) {
			if (c == '\\')
				i++;
			in_string = c != '"';
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			if (depth++ == JSON_DEPTH_MAX)
				return i;
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		}
	}
	return text.n;
}

/* jansson's complaint as one line of the arena's, or a plain one when there is no memory for it. */
static const char *explain(struct arena *a, const json_error_t *e)
{
	char *line;

	if (json_error_code(e) == json_error_out_of_memory || e->text[0] == '\0')
		return "not enough memory";
	line = arena_strndup(a, e->text, strlen(e->text));
	if (!line)
		return "not valid JSON";
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	return line;
}

json_t *json_parse(struct arena *a, struct slice text, const char **why, size_t *at)
{
	json_error_t e;
	json_t *v;

	*at = depth_exceeded(text);
	if (*at < text.n) {
		*why = too_deep;
		return NULL;
	}
	v = json_loadb(text.n ? text.p : "", text.n, JSON_DECODE_ANY, &e);
	if (!v) {
		*why = explain(a, &e);
		*at = e.position > 0 ? (size_t)e.position : 0;
	}
	return v;
}
