/* Finds the files of a split in a folder. */
#ifndef MC_GLUE_FIND_H
#define MC_GLUE_FIND_H

#include "base/error.h"

#include <mergecraft/glue.h>

/* Paths of the parts of a split, in order. Zero-initialise; free with mc_glue_files_free. */
typedef struct mc_glue_files {
    char **paths;
    size_t count, capacity;
} mc_glue_files;

/* MC_NOT_FOUND if there is none (the message names what was searched) or a part is missing. */
mc_status mc_glue_find(const mc_glue_task *task, const char *folder, const char *split,
                       mc_glue_files *out, mc_error *error);
void mc_glue_files_free(mc_glue_files *files);
/* Takes over the path, also if it fails. A path of NULL is a failed allocation: MC_NO_MEMORY. */
mc_status mc_glue_files_add(mc_glue_files *files, char *path, mc_error *error);

#endif
