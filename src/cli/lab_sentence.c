/* lab_sentence.c: texts and figures of a report, and sentences made of them.
 *
 * A figure is a cell's median with the least and the most of its rounds: of the clean ones, or of all where none is
 * clean.  A single round has no spread: a tenth either way is taken for it, and no spread is taken for less than a
 * few percent, since no machine repeats itself better.  What is missing or has the wrong type is
 * not known.
 *
 * A sentence is text that grows.  It is made by many small calls, so a want of memory is kept in it and told once, at
 * its end.  Numbers are written as people read them: with commas, and with no more digits than they are worth.
 *
 * Pure: no clock, no files, nothing kept.
 */
#include "cli/lab_sentence.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sentences --------------------------------------------------------------------------------------------------- */

void sentence_say(struct sentence *t, const char *format, ...)
{
	va_list args;
	char *more, *grown;
	int n;

	va_start(args, format);
	n = vasprintf(&more, format, args);
	va_end(args);
	if (n < 0) {
		t->failed = true;
		return;
	}
	grown = realloc(t->p, t->n + (size_t)n + 1);
	if (grown) {
		memcpy(grown + t->n, more, (size_t)n + 1);
		t->p = grown;
		t->n += (size_t)n;
	} else {
		t->failed = true;
	}
	free(more);
}

/* The text as a JSON string, new; the text is empty then.  NULL: no memory. */
json_t *sentence_json(struct sentence *t)
{
	json_t *string = t->failed ? NULL : json_string(t->p ? t->p : "");

	free(t->p);
	*t = (struct sentence){ NULL, 0, false };
	return string;
}

/* 182340 as "182,340"; what is less than a hundred and not whole with one digit behind the point. */
void sentence_count(struct sentence *t, double value)
{
	char digits[64];
	size_t n;

	if (value < 100 && value - (double)(long)value > 0.05) {
		sentence_say(t, "%.1f", value);
		return;
	}
	n = (size_t)snprintf(digits, sizeof(digits), "%.0f", value < 1e15 ? value : 1e15);
	for (size_t i = 0; i < n; i++)
		sentence_say(t, "%s%c", i > 0 && (n - i) % 3 == 0 ? "," : "", digits[i]);
}

void sentence_ms(struct sentence *t, double ms)
{
	sentence_say(t, "%.*f ms", ms < 0.1 ? 3 : ms < 1 ? 2 : ms < 10 ? 1 : 0, ms);
}

void sentence_us(struct sentence *t, double us)
{
	sentence_say(t, "%.*f \xc2\xb5s", us < 10 ? 1 : 0, us);
}

void sentence_mb(struct sentence *t, double kb)
{
	sentence_say(t, "%.*f MB", kb < 102400 ? 1 : 0, kb / 1024);
}

void sentence_percent(struct sentence *t, double part)
{
	double percent = 100 * part;

	if (percent < 0.01)
		sentence_say(t, "less than 0.01 %%");
	else
		sentence_say(t, "%.*f %%", percent < 1 ? 2 : percent < 9.95 ? 1 : 0, percent);
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

const char *report_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

const json_t *report_cell(const json_t *report, const char *subject, const char *workload)
{
	const json_t *cells = json_object_get(report, "cells");

	for (size_t i = 0; i < json_array_size(cells); i++) {
		const json_t *cell = json_array_get(cells, i);

		if (strcmp(report_text(cell, "subject"), subject) == 0 &&
			strcmp(report_text(cell, "workload"), workload) == 0)
			return cell;
	}
	return NULL;
}

int report_put(json_t *object, const char *key, json_t *value)
{
	return value && json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

/* A number of an object by "name" or "group.name"; false when it has none. */
bool figure_number(const json_t *of, const char *path, double *value)
{
	const char *dot = strchr(path, '.');
	const json_t *found;
	char group[32];

	if (dot) {
		snprintf(group, sizeof(group), "%.*s", (int)(dot - path), path);
		of = json_object_get(of, group);
		path = dot + 1;
	}
	found = json_object_get(of, path);
	*value = json_number_value(found);
	return json_is_number(found) && *value >= 0;
}

bool round_dirty(const json_t *round)
{
	return json_is_true(json_object_get(round, "dirty"));
}

size_t rounds_dirty(const json_t *rounds)
{
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(rounds); i++)
		n += round_dirty(json_array_get(rounds, i));
	return n;
}

double rounds_sum(const json_t *rounds, const char *key)
{
	double all = 0, value;

	for (size_t i = 0; i < json_array_size(rounds); i++)
		if (figure_number(json_array_get(rounds, i), key, &value))
			all += value;
	return all;
}

/* The median as the report has it, and how far the rounds it was made from lie apart: the clean ones, or all when all
 * are dirty. */
struct figure figure_of(const json_t *cell, const char *path)
{
	const json_t *rounds = json_object_get(cell, "rounds");
	bool dirty_too = rounds_dirty(rounds) == json_array_size(rounds);
	struct figure f = { .known = false };

	f.known = figure_number(json_object_get(cell, "median"), path, &f.mid);
	f.low = f.high = f.mid;
	for (size_t i = 0; i < json_array_size(rounds); i++) {
		const json_t *round = json_array_get(rounds, i);
		double value;

		if ((round_dirty(round) && !dirty_too) || !figure_number(round, path, &value))
			continue;
		f.low = value < f.low ? value : f.low;
		f.high = value > f.high ? value : f.high;
		f.rounds++;
	}
	if (f.rounds < 2) {
		f.low = (1 - FIGURES_ALIKE_ONE / 2) * f.mid;
		f.high = (1 + FIGURES_ALIKE_ONE / 2) * f.mid;
	}
	return f;
}

static double low_end(const struct figure *f)
{
	double least = f->mid * (1 - FIGURES_ALIKE / 2);

	return f->low < least ? f->low : least;
}

static double high_end(const struct figure *f)
{
	double most = f->mid * (1 + FIGURES_ALIKE / 2);

	return f->high > most ? f->high : most;
}

bool figures_overlap(const struct figure *a, const struct figure *b)
{
	return low_end(a) <= high_end(b) && low_end(b) <= high_end(a);
}

/* "(178,000 to 185,000)", when there was more than one round and the ends do not read the same. */
void sentence_spread(struct sentence *t, const struct figure *f, void (*one)(struct sentence *, double))
{
	struct sentence low = { NULL, 0, false }, high = { NULL, 0, false };

	if (f->rounds < 2)
		return;
	one(&low, f->low);
	one(&high, f->high);
	if (low.failed || high.failed)
		t->failed = true;
	else if (strcmp(low.p, high.p) != 0)
		sentence_say(t, " (%s to %s)", low.p, high.p);
	free(low.p);
	free(high.p);
}
