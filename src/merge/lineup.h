/* Lining models up by tensor name: which layers are merged, which averaged, copied, left out; and what is to be said of it. */
#ifndef MC_MERGE_LINEUP_H
#define MC_MERGE_LINEUP_H

#include "merge/dict_map.h"

typedef struct mc_line {
    char *name;
    mc_source *source;
    char *how; /* "median of 5", "average of 2", "copy of MODEL" */
} mc_line;

typedef struct mc_lineup {
    mc_line *lines; /* in the order of the models */
    size_t count, capacity;
} mc_lineup;

/* Zero-initialise *out; free it also after a failure. labels: as in mc_map. */
mc_status mc_lineup_make(const mc_method *method, const mc_merge_input *input,
                         const char *const *labels, mc_lineup *out, mc_report *report,
                         mc_error *error);
void mc_lineup_free(mc_lineup *lineup);

#endif
