/* method.h: the names of request methods. */
#ifndef OL_METHOD_H
#define OL_METHOD_H

#include "base/slice.h"

#define METHODS 9       /* one more than the greatest enum ol_method */

/* The name of an enum ol_method; NULL for what is none. */
const char *method_name(unsigned method);

/* The enum ol_method that is called so; 0 when there is none. */
unsigned method_of(struct slice name);

#endif
