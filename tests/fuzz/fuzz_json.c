/* fuzz_json.c: any text is parsed; what is JSON must be written as json_dumpb writes it, unless there are reals in it,
 * which need no more bytes than there, and read back as the same value.  Any text is quoted; the result must be a JSON
 * string. */
#include "json.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_json: %s\n", what);
	abort();
}

static bool has_reals(const json_t *v)
{
	size_t i;
	const char *key;
	json_t *member;

	json_array_foreach(v, i, member)
		if (has_reals(member))
			return true;
	json_object_foreach((json_t *)v, key, member)
		if (has_reals(member))
			return true;
	return json_is_real(v);
}

static void check_written(struct arena *a, const json_t *v)
{
	size_t n = json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY), at;
	char *theirs = malloc(n + 1);
	struct slice ours = { NULL, 0 };
	const char *why;
	json_t *again;

	must(theirs != NULL, "no memory");
	must(json_dumpb(v, theirs, n, JSON_COMPACT | JSON_ENCODE_ANY) == n, "jansson changed its mind");
	must(json_write(a, v, &ours) == 0, "not written");
	if (has_reals(v))
		must(ours.n <= n, "written longer than by jansson");
	else
		must(ours.n == n && memcmp(ours.p, theirs, n) == 0, "written otherwise than by jansson");
	again = json_parse(a, ours, &why, &at);
	must(again && json_equal(v, again), "read back as another value");
	json_decref(again);
	free(theirs);
}

static void check_quoted(struct arena *a, struct slice text)
{
	char *quoted = malloc(6 * text.n + 2);
	size_t n;
	json_t *v;

	must(quoted != NULL, "no memory");
	n = json_quote(quoted, text);
	must(n <= 6 * text.n + 2, "a quoted string longer than promised");
	v = json_loadb(quoted, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	must(json_is_string(v), "quoted, but no JSON string");
	if (text.n == 0 || !memchr(text.p, '\0', text.n)) /* json_parse refuses what has NUL */
		check_written(a, v);
	json_decref(v);
	free(quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { (const char *)data, size };
	struct arena a;
	const char *why = NULL;
	size_t at = 0;
	json_t *v;

	arena_init(&a, NULL, 0);
	v = json_parse(&a, text, &why, &at);
	if (v)
		check_written(&a, v);
	else
		must(why && !strchr(why, '\n') && at <= size, "refused without a reason in one line, or at no place");
	json_decref(v);
	check_quoted(&a, text);
	arena_reset(&a);
	return 0;
}
