/* lab_options.c: the arguments of `offloop lab`.
 *
 * What is asked for becomes a plan: which subjects and workloads, how many rounds of what length, where the report
 * goes.  Names are looked up in the tables, and one that is not there is refused with the nearest that is.  Nothing is
 * done here that could not be undone: no file is opened, nothing is started.
 *
 * The short run, the default, is made to end within two minutes on two CPUs without peers; --long takes samples long
 * enough, and rounds enough, to tell differences of a few percent.
 *
 * Pure but for the text it writes into err.
 */
#include "base/nearest.h"
#include "cli/lab.h"
#include "options_value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 50
#define SECS_MAX 60.0
#define IDLE_MAX 50000

static int complain(char *err, size_t n, const char *name, const char *value, const char *expected)
{
	snprintf(err, n, "%s: \"%.60s\": expected %s", name, value, expected);
	return -EINVAL;
}

/* ---- lists of names ---------------------------------------------------------------------------------------------- */

static const char *subject_name(size_t i)
{
	return i < lab_nsubjects() ? lab_subject(i).name : NULL;
}

static const char *workload_name(size_t i)
{
	return i < lab_nworkloads ? lab_workloads[i].name : NULL;
}

static int find(const char *(*name_of)(size_t), const char *what, const char *wanted, uint32_t *bits, char *err,
	size_t n)
{
	struct nearest nearest = { .wanted = wanted };
	char all[512];
	size_t at = 0;

	for (size_t i = 0; name_of(i); i++) {
		if (strcmp(name_of(i), wanted) == 0) {
			*bits |= UINT32_C(1) << i;
			return 0;
		}
		nearest_offer(&nearest, name_of(i));
		at += (size_t)snprintf(all + at, at < sizeof(all) ? sizeof(all) - at : 0, "%s%s", i ? ", " : "",
			name_of(i));
		at = at < sizeof(all) ? at : sizeof(all) - 1;
	}
	if (nearest.best)
		snprintf(err, n, "there is no %s \"%.60s\": did you mean %s?", what, wanted, nearest.best);
	else
		snprintf(err, n, "there is no %s \"%.60s\": there are %s", what, wanted, all);
	return -EINVAL;
}

static int take_names(const char *(*name_of)(size_t), const char *what, const char *list, uint32_t *bits, char *err,
	size_t n)
{
	*bits = 0;
	for (;;) {
		size_t len = strcspn(list, ",");
		char name[64];
		int rc;

		snprintf(name, sizeof(name), "%.*s", (int)(len < sizeof(name) ? len : sizeof(name) - 1), list);
		if ((rc = find(name_of, what, name, bits, err, n)) || list[len] == 0)
			return rc;
		list += len + 1;
	}
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static bool take_decimal(const char *text, double least, double most, double *v)
{
	char *end;

	*v = strtod(text, &end);
	return end != text && *end == 0 && *v >= least && *v <= most;
}

static bool take_count(const char *text, uint64_t least, uint64_t most, unsigned *v)
{
	uint64_t n;

	if (!value_number(text, &n) || n < least || n > most)
		return false;
	*v = (unsigned)n;
	return true;
}

static int take(struct lab_plan *p, const char *name, const char *value, bool *named, char *err, size_t n)
{
	uint64_t choice;

	if (strcmp(name, "--only") == 0) {
		*named = true;
		return take_names(subject_name, "subject", value, &p->subjects, err, n);
	}
	if (strcmp(name, "--workloads") == 0)
		return take_names(workload_name, "workload", value, &p->workloads, err, n);
	if (strcmp(name, "--rounds") == 0)
		return take_count(value, 1, ROUNDS_MAX, &p->rounds) ? 0 :
			complain(err, n, name, value, "a number from 1 to 50");
	if (strcmp(name, "--secs") == 0)
		return take_decimal(value, 0.05, SECS_MAX, &p->secs) ? 0 :
			complain(err, n, name, value, "seconds from 0.05 to 60");
	if (strcmp(name, "--guard") == 0)
		return take_decimal(value, 0, 1024, &p->guard) ? 0 :
			complain(err, n, name, value, "a number of CPUs, as 0.12");
	if (strcmp(name, "--idle") == 0)
		return take_count(value, 1, IDLE_MAX, &p->idle) ? 0 :
			complain(err, n, name, value, "a number from 1 to 50000");
	if (strcmp(name, "--backend") == 0) {
		p->backend = value;
		return value_choice("auto|uring|libevent", value, &choice) ? 0 :
			complain(err, n, name, value, "auto, uring or libevent");
	}
	*(strcmp(name, "--out") == 0 ? &p->out : &p->json) = value;
	return *value ? 0 : complain(err, n, name, value, "a file's name");
}

/* What stands alone: 1 when name is such. */
static int take_switch(struct lab_plan *p, const char *name)
{
	if (strcmp(name, "--peers") == 0)
		p->peers = true;
	else if (strcmp(name, "--short") == 0)
		p->rounds = 3, p->secs = 0.45;
	else if (strcmp(name, "--long") == 0)
		p->rounds = 6, p->secs = 2;
	else
		return 0;
	return 1;
}

static int unknown(const char *name, char *err, size_t n)
{
	static const char *const all[] = { "--peers", "--only", "--workloads", "--rounds", "--secs", "--short",
		"--long", "--out", "--json", "--guard", "--idle", "--backend" };
	struct nearest nearest = { .wanted = name };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(all[i], name) == 0)
			return 0;
		nearest_offer(&nearest, all[i]);
	}
	if (name[0] != '-')
		snprintf(err, n, "\"%.60s\" is one argument too many", name);
	else if (nearest.best)
		snprintf(err, n, "unknown option %.60s: did you mean %s?", name, nearest.best);
	else
		snprintf(err, n, "unknown option %.60s: offloop help lab lists them", name);
	return -EINVAL;
}

/* Peers are measured when they are asked for, together or by name. */
static int settle_subjects(struct lab_plan *p, bool named, char *err, size_t n)
{
	for (size_t i = 0; i < lab_nsubjects(); i++) {
		struct lab_subject s = lab_subject(i);
		uint32_t bit = UINT32_C(1) << i;

		if (!named && (p->peers || !s.peer))
			p->subjects |= bit;
		if (named && (p->subjects & bit) && s.peer && !p->peers) {
			snprintf(err, n, "--only %s: that is a server of another maker's: give --peers, too", s.name);
			return -EINVAL;
		}
	}
	return 0;
}

int lab_options(struct lab_plan *p, int argc, char **argv, char *err, size_t n)
{
	bool named = false;
	int rc;

	*p = (struct lab_plan){ .rounds = 3, .secs = 0.45, .guard = 0.12, .idle = 10000, .backend = "auto",
		.out = "lab.html", .json = "lab.json", .workloads = (UINT32_C(1) << lab_nworkloads) - 1 };
	/* what --short and --long set, single options change, wherever they stand */
	for (int i = 1; i < argc; i++)
		take_switch(p, argv[i]);
	for (int i = 1; i < argc; i++) {
		char name[64];
		const char *equals = strchr(argv[i], '='), *value = equals ? equals + 1 : NULL;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return 1;
		snprintf(name, sizeof(name), "%.*s", equals ? (int)(equals - argv[i]) : (int)sizeof(name) - 1, argv[i]);
		if ((rc = unknown(name, err, n)))
			return rc;
		if (strcmp(name, "--peers") == 0 || strcmp(name, "--short") == 0 || strcmp(name, "--long") == 0) {
			if (value)
				return complain(err, n, name, value, "no value");
			continue;
		}
		if (!value && ++i == argc) {
			snprintf(err, n, "%s: its value is missing", name);
			return -EINVAL;
		}
		if ((rc = take(p, name, value ? value : argv[i], &named, err, n)))
			return rc;
	}
	return settle_subjects(p, named, err, n);
}
