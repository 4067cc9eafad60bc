/* What of the tasks is not public: names in use for labels and columns. */
#ifndef MC_GLUE_TASKS_H
#define MC_GLUE_TASKS_H

#include <mergecraft/glue.h>

/* What an example consists of: the columns that are read. */
typedef enum mc_glue_role {
    MC_ROLE_TEXT,
    MC_ROLE_PAIR,
    MC_ROLE_LABEL,
    MC_ROLE_INDEX,
    MC_ROLES
} mc_glue_role;

enum { MC_COLUMN_NAMES = 5 };

/*
 * The names that a column may have, the Hub's first, the one to be preferred first; ends with NULL. Returns names[0], NULL if the
 * task has no such column.
 */
const char *mc_glue_column_names(const mc_glue_task *task, mc_glue_role role,
                                 const char *names[MC_COLUMN_NAMES]);

/* As mc_glue_label_find, for text that is not NUL-terminated. */
int mc_glue_label_number(const mc_glue_task *task, const char *name, size_t size);

/* Whether names are the same, but for case, '-', '_' and blanks. */
bool mc_glue_same_name(const char *a, size_t a_size, const char *b);

#endif
