/* lab_conclude.c: what somebody who has to choose reads first: from the verdicts, a line for each kind of service.
 *
 * A kind of service is one workload or a few of the same sort.  Of it are named who suits all of these, the best in all
 * of them first; where nobody suits, who is fair; and who rests on disturbed rounds has a question mark.  The last line
 * is of those models that suit most workloads, and tells where they do not, and whether a variant of theirs does.  With
 * few workloads there is little to conclude, and lines of none are left out.
 *
 * Pure, and makes no judgement of its own: what is not in the verdicts is not here.
 */
#include "cli/lab_sentence.h"
#include "cli/lab_verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OF_KIND 2

static const struct kind {
	const char *name;
	const char *workloads[OF_KIND];
} kinds[] = {
	{ "Handlers that answer at once", { "trivial" } },
	{ "Mostly blocking calls", { "block10", "block50" } },
	{ "Mostly computing", { "cpu" } },
	{ "Mixed, fast beside blocking", { "mixed" } },
	{ "Slow clients", { "slow" } },
	{ "Many idle connections", { "idle" } },
	{ "A handler in the wrong lane", { "wrong-lane" } },
};

static const json_t *find(const json_t *array, const char *key, const char *value)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (strcmp(report_text(json_array_get(array, i), key), value) == 0)
			return json_array_get(array, i);
	return NULL;
}

static const json_t *verdict_on(const json_t *report, const char *workload)
{
	return workload ? find(json_object_get(report, "verdicts"), "workload", workload) : NULL;
}

static bool among(const json_t *names, const char *name)
{
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *one = json_string_value(json_array_get(names, i));

		if (one && strcmp(one, name) == 0)
			return true;
	}
	return false;
}

/* ---- a kind of service ------------------------------------------------------------------------------------------- */

/* What a subject is in a kind of service: what it is in the worst of its workloads. */
enum standing { NOTHING, FAIR, SUITS, BEST };

static enum standing standing_in(const json_t *verdict, const char *name)
{
	const char *suits = report_text(json_object_get(verdict, "suits"), name);

	if (among(json_object_get(verdict, "best"), name))
		return BEST;
	return strcmp(suits, "yes") == 0 ? SUITS : strcmp(suits, "fair") == 0 ? FAIR : NOTHING;
}

static enum standing standing_of(const json_t *report, const struct kind *kind, const char *name, bool *doubt)
{
	enum standing all = BEST;

	*doubt = false;
	for (size_t i = 0; i < OF_KIND; i++) {
		const json_t *verdict = verdict_on(report, kind->workloads[i]);
		enum standing one = standing_in(verdict, name);

		if (!verdict)
			continue;
		all = one < all ? one : all;
		*doubt = *doubt || json_object_get(json_object_get(verdict, "doubt"), name);
	}
	return all;
}

/* Adds who stands so, with what is said before the first of them: how many. */
static size_t say_who(struct sentence *t, const json_t *report, const struct kind *kind, enum standing standing,
	const char *before)
{
	const json_t *subjects = json_object_get(report, "subjects");
	size_t n = 0;
	bool doubt;

	for (size_t i = 0; i < json_array_size(subjects); i++) {
		const char *name = report_text(json_array_get(subjects, i), "name");

		if (standing_of(report, kind, name, &doubt) == standing)
			sentence_say(t, "%s%s%s", n++ == 0 ? before : ", ", name, doubt ? " (?)" : "");
	}
	return n;
}

static bool there(const json_t *report, const struct kind *kind)
{
	return verdict_on(report, kind->workloads[0]) || verdict_on(report, kind->workloads[1]);
}

static json_t *line(const char *what, struct sentence *t)
{
	json_t *text = sentence_json(t);

	return text ? json_pack("{s:s, s:[], s:o}", "for", what, "workloads", "text", text) : NULL;
}

static json_t *line_on(const json_t *report, const struct kind *kind)
{
	struct sentence t = { NULL, 0, false };
	json_t *out;
	size_t best = say_who(&t, report, kind, BEST, "");

	if (best + say_who(&t, report, kind, SUITS, best ? "; also suited: " : "") == 0 &&
		say_who(&t, report, kind, FAIR, "nobody suits well; fair: ") == 0)
		sentence_say(&t, "nobody suits");
	if (!(out = line(kind->name, &t)))
		return NULL;
	for (size_t i = 0; i < OF_KIND; i++)
		if (verdict_on(report, kind->workloads[i]) && json_array_append_new(json_object_get(out, "workloads"),
			json_string(kind->workloads[i]))) {
			json_decref(out);
			return NULL;
		}
	return out;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static bool is_model(const json_t *subject)
{
	return strcmp(report_text(subject, "kind"), "model") == 0 && !json_object_get(subject, "as");
}

static size_t yeses(const json_t *report, const char *name)
{
	const json_t *verdicts = json_object_get(report, "verdicts");
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(verdicts); i++)
		n += standing_in(json_array_get(verdicts, i), name) >= SUITS;
	return n;
}

static void say_variants(struct sentence *t, const json_t *report, const json_t *verdict, const char *name)
{
	const json_t *subjects = json_object_get(report, "subjects");

	for (size_t i = 0; i < json_array_size(subjects); i++) {
		const json_t *s = json_array_get(subjects, i);

		if (strcmp(report_text(s, "as"), name) == 0 && standing_in(verdict, report_text(s, "name")) >= SUITS)
			sentence_say(t, " (%s suits)", report_text(s, "name"));
	}
}

/* Where a model does not suit. */
static void say_but(struct sentence *t, const json_t *report, const char *name)
{
	const json_t *verdicts = json_object_get(report, "verdicts");
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(verdicts); i++) {
		const json_t *verdict = json_array_get(verdicts, i);
		const char *suits = report_text(json_object_get(verdict, "suits"), name);

		if (standing_in(verdict, name) >= SUITS)
			continue;
		sentence_say(t, "%s%s: %s", n++ == 0 ? "; " : ", ", report_text(verdict, "workload"),
			suits[0] ? suits : "not measured");
		say_variants(t, report, verdict, name);
	}
}

static json_t *line_on_all(const json_t *report)
{
	const json_t *subjects = json_object_get(report, "subjects");
	size_t n = json_array_size(json_object_get(report, "verdicts")), most = 0, said = 0;
	struct sentence t = { NULL, 0, false };

	for (size_t i = 0; i < json_array_size(subjects); i++) {
		const json_t *s = json_array_get(subjects, i);
		size_t yes = is_model(s) ? yeses(report, report_text(s, "name")) : 0;

		most = yes > most ? yes : most;
	}
	for (size_t i = 0; most > 0 && i < json_array_size(subjects); i++) {
		const json_t *s = json_array_get(subjects, i);
		const char *name = report_text(s, "name");

		if (!is_model(s) || yeses(report, name) < most)
			continue;
		sentence_say(&t, "%s%s suits %zu of %zu workloads", said++ == 0 ? "" : ".  ", name, most, n);
		say_but(&t, report, name);
	}
	if (most == 0)
		sentence_say(&t, "no model suits any of them");
	return line("One model for everything", &t);
}

json_t *lab_conclusion(const json_t *report)
{
	json_t *out = json_array();
	size_t n = 0;
	int rc = out ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (there(report, &kinds[i])) {
			rc = json_array_append_new(out, line_on(report, &kinds[i])) ? -ENOMEM : 0;
			n++;
		}
	if (rc == 0 && n > 1)
		rc = json_array_append_new(out, line_on_all(report)) ? -ENOMEM : 0;
	if (rc == 0)
		return out;
	json_decref(out);
	return NULL;
}

int lab_judge(json_t *report)
{
	int rc = report_put(report, "verdicts", lab_verdicts(report));

	if (rc == 0)
		rc = report_put(report, "limits", lab_limits());
	return rc ? rc : report_put(report, "conclusion", lab_conclusion(report));
}
