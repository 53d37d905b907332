/* import.h: from the JSON files of iso-codes to the tables of the database. */
#ifndef ATLAS_IMPORT_H
#define ATLAS_IMPORT_H

#include <sqlite3.h>

/* Brings the database to this version of its format: does nothing when it is, and everything or nothing when it is
 * not.  path is the database's, for what it says.  0, or -errno having said why on stderr. */
int import_all(sqlite3 *db, const char *path, const char *iso_codes);

#endif
