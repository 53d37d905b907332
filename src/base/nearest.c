/* nearest.c: which of these names was meant.
 *
 * Whoever mistypes an option, a variable, a key or a command is asked about the name that is nearest by edit distance
 * (Damerau's, in its restricted form: insert, delete, change, swap two neighbours, each for one).  Three rows of the
 * usual table suffice, since a swap looks back two rows.  A name is near enough when at most a third of its letters
 * differ (and always one); farther away a question would only mislead.  Among equals the first offered wins.
 *
 * Pure functions, any thread.  It also belongs to the `offloop` program, which sees only the library's public symbols,
 * so it depends on nothing.
 */
#include "base/nearest.h"

#include <stdint.h>
#include <string.h>

#define LONGEST 64

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b)
{
	size_t rows[3][LONGEST + 1], an = strlen(a), bn = strlen(b);
	size_t *before = rows[0], *above = rows[1], *row = rows[2];

	if (an >= LONGEST || bn >= LONGEST)
		return SIZE_MAX;
	for (size_t j = 0; j <= bn; j++)
		above[j] = j;
	for (size_t i = 1; i <= an; i++) {
		size_t *oldest = before;

		row[0] = i;
		for (size_t j = 1; j <= bn; j++) {
			row[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), least(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		before = above;
		above = row;
		row = oldest;
	}
	return above[bn];
}

void nearest_offer(struct nearest *n, const char *name)
{
	size_t distance = nearest_distance(n->wanted, name), near = strlen(name) / 3;

	if (distance > (near ? near : 1) || (n->best && distance >= n->distance))
		return;
	n->best = name;
	n->distance = distance;
}
