/*
 * Alignment: one name per tensor across models, before line-up makes rows. Output tensors have the
 * names of the last model's files. Other names for the same tensor are renamed:
 *
 *     encoder prefixes   a bare encoder has "embeddings.…" where a model with a head has
 *                        "bert.embeddings.…"; either may be a model or the base
 *     versions           an old and a new name of one tensor (checkpoint/renames.h)
 *     experts            a tensor per expert, or one of all experts (experts.h)
 *     tied tensors       one tensor under two names in one model, two tensors in another
 *
 * Every renaming is reported.
 */
#ifndef MC_MERGE_ALIGN_H
#define MC_MERGE_ALIGN_H

#include <mergecraft/merge.h>

#include "base/hash.h"

typedef struct mc_alignment {
    size_t count;                /* models, then the base if there is one, then sides' items */
    const mc_state_dict **dicts; /* by aligned names */
    const char **labels;         /* what the models are called */
    bool *untied; /* per model: a tied tensor of it is a tensor of its own in the dict */
    /* private: dicts that were made here, and of those aligned name → index in the model's dict */
    const mc_model *const *models;
    mc_state_dict **own;
    mc_index *origins;
} mc_alignment;

/*
 * `models` (borrowed, as long as the alignment): tuned_count that are merged, then the others.
 * Zero-initialise *out; free it also after a failure.
 */
mc_status mc_align(const mc_model *const *models, size_t tuned_count, size_t count,
                   mc_alignment *out, mc_report *report, mc_error *error);
void mc_alignment_free(mc_alignment *alignment);

/* Gives a model another tensor under a name that it has. Takes its own reference. */
mc_status mc_alignment_replace(mc_alignment *alignment, size_t model, const char *name,
                               mc_source *source, mc_error *error);

/* The name that the tensor of an aligned name has in its model's files; mc_name_of of lineup.h. */
const char *mc_alignment_origin(const void *alignment, size_t model, const char *name);

#endif
