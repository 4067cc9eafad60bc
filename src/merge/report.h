/* The report of a merge: one line per thing that was averaged, copied, left out or guessed. */
#ifndef MC_MERGE_REPORT_H
#define MC_MERGE_REPORT_H

#include <mergecraft/merge.h>

/* Adds a line; does nothing if `report` is NULL. */
mc_status mc_report_add(mc_report *report, mc_error *error, const char *format, ...)
    MC_PRINTF(3, 4);

/*
 * Adds a line unless the report has it: a plan may run several times. Takes over `text`; NULL: no
 * memory.
 */
mc_status mc_report_add_once(mc_report *report, char *text, mc_error *error);

/* Removes all lines but the first `count`. */
void mc_report_cut(mc_report *report, size_t count);

/* Names that belong to one remark, for "3 tensors …: a, b and 1 more". Zero-initialise. */
typedef struct mc_names {
    const char **names; /* borrowed */
    size_t count, capacity;
} mc_names;

mc_status mc_names_add(mc_names *names, const char *name, mc_error *error);
void mc_names_free(mc_names *names);

/*
 * Adds "N tensors WHAT: a, b, c and K more" if there are names. `what` follows "tensor is" or
 * "tensors are". Under strict it is an error instead.
 */
mc_status mc_report_names(mc_report *report, const mc_names *names, bool strict, const char *what,
                          mc_error *error);

#endif
