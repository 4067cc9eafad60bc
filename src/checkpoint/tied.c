#include "checkpoint/tied.h"

#include "base/memory.h"
#include "checkpoint/stored.h"

#include <stdlib.h>
#include <string.h>

/* Models with several kinds of input may have the key in the configuration of the text model. */
bool mc_tied_is_off(const json_t *config)
{
    const json_t *tie = json_object_get(config, "tie_word_embeddings");
    if (!tie)
        tie = json_object_get(json_object_get(config, "text_config"), "tie_word_embeddings");
    return json_is_false(tie);
}

typedef struct candidate {
    const char *name;
    const mc_source *source;
    size_t position;
} candidate;

static int compare_candidates(const void *a, const void *b)
{
    const candidate *const x = a, *const y = b;
    const int difference = mc_stored_compare(x->source, y->source);
    /* Equal tensors in the order of the checkpoint: "the first" must not depend on qsort. */
    return difference ? difference : (x->position > y->position) - (x->position < y->position);
}

static mc_status add_alias(mc_checkpoint *checkpoint, const char *name, const char *tied_to,
                           mc_error *error)
{
    char *const alias = mc_strdup(name), *const kept = mc_strdup(tied_to);
    if (!alias || !kept) {
        mc_free(alias);
        mc_free(kept);
        return mc_fail_memory(error);
    }
    checkpoint->aliases[checkpoint->alias_count] = alias;
    checkpoint->tied_to[checkpoint->alias_count++] = kept;
    return MC_OK;
}

/* Adds aliases for candidates [first, last), which are the same tensor. */
static mc_status collect_group(mc_checkpoint *checkpoint, const candidate *candidates, size_t first,
                               size_t last, mc_error *error)
{
    size_t kept = first;
    while (kept < last && !(checkpoint->is_input_embedding &&
                            checkpoint->is_input_embedding(candidates[kept].name)))
        kept++;
    if (kept == last)
        kept = first;
    for (size_t i = first; i < last; i++)
        if (i != kept)
            MC_TRY(add_alias(checkpoint, candidates[i].name, candidates[kept].name, error));
    return MC_OK;
}

static mc_status collect_aliases(mc_checkpoint *checkpoint, const candidate *candidates,
                                 size_t count, mc_error *error)
{
    /* An upper bound: every candidate could be an alias. */
    checkpoint->aliases = mc_alloc_zero(count, sizeof *checkpoint->aliases);
    checkpoint->tied_to = mc_alloc_zero(count, sizeof *checkpoint->tied_to);
    if (!checkpoint->aliases || !checkpoint->tied_to)
        return mc_fail_memory(error);
    for (size_t first = 0, last; first < count; first = last) {
        last = first + 1;
        while (last < count && mc_stored_same(candidates[first].source, candidates[last].source))
            last++;
        MC_TRY(collect_group(checkpoint, candidates, first, last, error));
    }
    return mc_state_dict_remove(checkpoint->dict, (const char *const *)checkpoint->aliases,
                                checkpoint->alias_count, error);
}

mc_status mc_tied_deduplicate(mc_checkpoint *checkpoint, mc_error *error)
{
    const size_t all = mc_state_dict_count(checkpoint->dict);
    candidate *const candidates = mc_alloc(all * sizeof *candidates);
    if (!candidates)
        return mc_fail_memory(error);
    size_t count = 0;
    for (size_t i = 0; i < all; i++) {
        const mc_source *const source = mc_state_dict_source(checkpoint->dict, i);
        /* Empty tensors have no elements to share. */
        if (mc_source_count(source) > 0 && mc_stored_file(source))
            candidates[count++] = (candidate){mc_state_dict_name(checkpoint->dict, i), source, i};
    }
    qsort(candidates, count, sizeof *candidates, compare_candidates);
    const mc_status status = collect_aliases(checkpoint, candidates, count, error);
    mc_free(candidates);
    return status;
}
