/* options_table.h: one option, and the table of all that the server has. */
#ifndef OL_OPTIONS_TABLE_H
#define OL_OPTIONS_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum kind { STRING, NUMBER, SECONDS, BYTES, BOOL, ENUM, ADDRESS, FILE_NAME, ACTION };
enum group { WHERE, LANES, LIMITS, LOGS, OTHER, APP, GROUPS };
enum layer { DEFAULTS, FILE_, ENVIRONMENT, FLAGS };

struct option {
	const char *name;
	enum kind kind;
	enum group group;
	size_t at, size;        /* of the member of struct config; size 0: none */
	const char *value;      /* default; NULL: none */
	uint64_t min, max;      /* SECONDS: in ms */
	const char *arg;        /* what --help calls the value; for ENUM the choices, in the enum's order */
	const char *help;
	char *text;             /* the value it has now; NULL: none */
	enum layer layer;       /* that set it */
};

/* Those of the server, as they are before anything has been read: no text. */
extern const struct option options_table[];
extern const size_t options_table_n;

#endif
