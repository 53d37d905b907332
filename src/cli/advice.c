/* advice.c: `offloop advice [ADDRESS]`.
 *
 * Asks a control plane what should be changed, and prints it, a line each: "GET /report held loop 0 for 412 ms in
 * read(fd 17), 96 requests waited: declare it .sync".  When nothing should, it says so on standard error, so that the
 * output stays empty for who counts lines; and when its monitor is off, that little was measured, or when there were
 * stalls, but too few to advise on, how many.  Names come from the server's app, so what a terminal could take amiss is
 * shown as '?'.
 *
 * Exit status: 0; 1 when the control plane does not answer, or with something else; 2 for wrong arguments.
 */
#include "advice.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/figures.h"
#include "cli/safe_text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNWATCHED "; but the monitor is off (--monitor off), so nobody saw what holds loops and threads"

static void put_line(const char *text)
{
	while (*text) {
		bool safe;
		size_t n = safe_character(text, &safe);

		printf("%.*s", safe ? (int)n : 1, safe ? text : "?");
		text += n;
	}
	putchar('\n');
}

/* Stalls that a route is blamed for. */
static double blamed(const struct figures *f)
{
	double sum = 0;
	char label[16];

	for (size_t i = 0; i < f->nrouted; i++) {
		const struct sample *s = f->by_route[i];

		if (strcmp(s->name, "offloop_loop_stalls_total") == 0 && strcmp(s->route, "none") != 0 &&
			sample_label(s, "cause", label, sizeof(label)) &&
			(strcmp(label, "cpu") == 0 || strcmp(label, "blocked") == 0))
			sum += s->value;
	}
	return sum;
}

/* Why there is no advice, as far as the server's figures tell: its monitor is off if stalls are none of them.  Takes
 * the text. */
static void explain(char *text, char *dst, size_t n)
{
	bool watched = strstr(text, "offloop_loop_stalls_total");
	struct figures f;
	double stalls;

	if (!watched && strstr(text, "offloop_build_info"))
		snprintf(dst, n, "%s", UNWATCHED);
	if (figures_parse(&f, text, 0))
		return;
	stalls = blamed(&f);
	if (stalls > 0)
		snprintf(dst, n, "; %.0f stall%s seen, but a route is advised on from its %dth: see /stalls", stalls,
			stalls > 1 ? "s" : "", ADVICE_HOLDS);
	figures_fini(&f);
}

static void say_nothing(const char *address)
{
	struct answer a = { .body = NULL };
	char err[512], why[160] = "";

	if (ask(address, "/metrics", &a, err, sizeof(err)) == 0 && a.status == 200)
		explain(a.body, why, sizeof(why));
	else
		free(a.body);
	fprintf(stderr, "offloop advice: nothing that was measured calls for a change%s\n", why);
}

/* The exit status. */
static int show(const char *address, const struct answer *a)
{
	json_t *all = a->status == 200 ? json_loadb(a->body, a->n, 0, NULL) : NULL;
	int status = json_is_array(all) ? 0 : 1;

	if (a->status != 200)
		fprintf(stderr, "offloop advice: %s answers %d for /advice: is it a control plane?\n", address,
			a->status);
	else if (status)
		fprintf(stderr, "offloop advice: what %s answers for /advice is no list: is it a control plane?\n",
			address);
	else if (json_array_size(all) == 0)
		say_nothing(address);
	for (size_t i = 0; status == 0 && i < json_array_size(all); i++) {
		const char *text = json_string_value(json_object_get(json_array_get(all, i), "text"));

		put_line(text ? text : "");
	}
	json_decref(all);
	return status;
}

static int run(int argc, char **argv)
{
	const char *address = argc > 1 ? argv[1] : ASK_DEFAULT;
	struct answer a = { .body = NULL };
	char err[512];
	int status = 1;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		printf("Usage: offloop %s\n\n%s", command_advice.usage, command_advice.details);
		return 0;
	}
	if (argc > 2 || address[0] == '-') {
		fprintf(stderr, "offloop advice: \"%s\" is one argument too many: offloop %s\n", argv[argc - 1],
			command_advice.usage);
		return 2;
	}
	if (ask_check(address, err, sizeof(err))) {
		fprintf(stderr, "offloop advice: %s\n", err);
		return 2;
	}
	if (ask(address, "/advice", &a, err, sizeof(err)))
		fprintf(stderr, "offloop advice: %s\n", err);
	else
		status = show(address, &a);
	free(a.body);
	return status;
}

const struct command command_advice = { "advice", "advice [ADDRESS]", "tell what a running server should change",
	"Prints what the server whose control plane is at ADDRESS should change, a line each: routes that are in the\n"
	"wrong lane, pools with too few threads or too many, limits that refuse often; each with what was measured.\n"
	"ADDRESS is HOST:PORT, [ADDRESS]:PORT or unix:PATH, as --control takes it; 127.0.0.1:9190 when not given.\n",
	run };
