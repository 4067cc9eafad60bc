/* Names of labels and columns, and their aliases. */
#ifndef MC_GLUE_TASKS_H
#define MC_GLUE_TASKS_H

#include <mergecraft/glue.h>

/* The columns that are read. */
typedef enum mc_glue_role {
    MC_COLUMN_TEXT,
    MC_COLUMN_PAIR,
    MC_COLUMN_LABEL,
    MC_COLUMN_INDEX,
    MC_COLUMN_ROLES
} mc_glue_role;

enum { MC_COLUMN_NAMES = 5 };

/*
 * Lists the names that a column may have, preferred ones first; ends with NULL. Returns names[0],
 * which is NULL if the task has no such column.
 */
const char *mc_glue_column_names(const mc_glue_task *task, mc_glue_role role,
                                 const char *names[MC_COLUMN_NAMES]);

/*
 * As mc_glue_label_find, for text that is not NUL-terminated. A name that matches exactly wins over
 * one that differs in case or punctuation.
 */
int mc_glue_label_number(const mc_glue_task *task, const char *name, size_t size);

/* Compares names, ignoring case, '-', '_' and blanks. */
bool mc_glue_same_name(const char *a, size_t a_size, const char *b);

#endif
