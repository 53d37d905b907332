/* checked.h: results that must be looked at. */
#ifndef OL_CHECKED_H
#define OL_CHECKED_H

/* Before the declaration of a function whose result says whether it was done: a call that drops it is a warning. */
#define CHECKED __attribute__((warn_unused_result))

#endif
