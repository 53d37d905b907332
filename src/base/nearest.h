/* nearest.h: which of these names was meant. */
#ifndef OL_NEAREST_H
#define OL_NEAREST_H

#include <stddef.h>

/* A search for the name nearest to `wanted`.  Zeroed but for wanted; offer it every name there is, then read best. */
struct nearest {
	const char *wanted;
	const char *best;   /* borrowed from the offers; NULL when no name is near enough to be worth a question */
	size_t distance;
};

/* Looks at one name, which must outlive the search. */
void nearest_offer(struct nearest *n, const char *name);

/* Letters to insert, delete, change or swap with their neighbour to make b of a; SIZE_MAX when one is over 63 long. */
size_t nearest_distance(const char *a, const char *b);

#endif
