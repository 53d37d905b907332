/* lab_sentence.h: texts and figures of a report, and sentences made of them. */
#ifndef OL_CLI_LAB_SENTENCE_H
#define OL_CLI_LAB_SENTENCE_H

#include "base/checked.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Figures that differ by less than this part are alike, whatever their spreads, and those of one round by this. */
#define FIGURES_ALIKE 0.03
#define FIGURES_ALIKE_ONE 0.2

/* A cell's figure: its median, and how far its rounds lie apart. */
struct figure {
	bool known;
	double mid, low, high;
	size_t rounds;
};

/* A number of an object by "name" or "group.name"; false when it has none, or one below 0. */
bool figure_number(const json_t *of, const char *path, double *value);

/* The cell's figure of that name. */
struct figure figure_of(const json_t *cell, const char *path);

/* Whether nothing sets them apart. */
bool figures_overlap(const struct figure *a, const struct figure *b);

/* A text; "" when there is none.  A subject's cell of a workload; NULL when there is none. */
const char *report_text(const json_t *object, const char *key);
const json_t *report_cell(const json_t *report, const char *subject, const char *workload);

/* Sets a member to a new value, NULL when there was no memory for it: 0 or -ENOMEM. */
CHECKED int report_put(json_t *object, const char *key, json_t *value);

/* A figure's sum over the rounds that have it. */
double rounds_sum(const json_t *rounds, const char *key);

/* Whether others disturbed a round, and how many of these they did. */
bool round_dirty(const json_t *round);
size_t rounds_dirty(const json_t *rounds);

/* Text that grows; after -ENOMEM it stays as it is and says so at its end.  Zeroed memory is an empty one. */
struct sentence {
	char *p;
	size_t n;
	bool failed;
};

void __attribute__((format(printf, 2, 3))) sentence_say(struct sentence *t, const char *format, ...);

/* A number, and one with its unit. */
void sentence_count(struct sentence *t, double value);
void sentence_ms(struct sentence *t, double ms);
void sentence_us(struct sentence *t, double us);
void sentence_mb(struct sentence *t, double kb);
void sentence_percent(struct sentence *t, double part);

/* " (178,000 to 185,000)", when there was more than one round and the ends do not read the same. */
void sentence_spread(struct sentence *t, const struct figure *f, void (*one)(struct sentence *, double));

/* The text as a JSON string, new; it is empty then.  NULL: no memory. */
json_t *sentence_json(struct sentence *t);

#endif
