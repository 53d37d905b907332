/* safe_text.h: which characters of somebody else's text a terminal may be given. */
#ifndef OL_CLI_SAFE_TEXT_H
#define OL_CLI_SAFE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The length of the character of UTF-8 that begins at text, which is not at its end.  *safe: it is one, and neither
 * steers a terminal nor makes text look like something else; else it is shown as '?'. */
size_t safe_character(const char *text, bool *safe);

#endif
