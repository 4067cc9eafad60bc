#include "checkpoint/names.h"

#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/reader.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *old, *last, *new;
} renamed[] = {
    {"LayerNorm.gamma", "gamma", "weight"},
    {"LayerNorm.beta", "beta", "bias"},
};

/* The new name in new memory; *out stays NULL if the name is not an old one, or the new one is taken. */
static mc_status new_name(const mc_state_dict *dict, const char *name, char **out, mc_error *error)
{
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) {
        if (!mc_ends_with(name, renamed[i].old))
            continue;
        const size_t kept = strlen(name) - strlen(renamed[i].last);
        char *const changed = mc_format("%.*s%s", (int)kept, name, renamed[i].new);
        if (!changed)
            return mc_fail_memory(error);
        if (mc_state_dict_find(dict, changed))
            mc_free(changed);
        else
            *out = changed;
    }
    return MC_OK;
}

static mc_status copy_renamed(const mc_state_dict *from, mc_state_dict *to, mc_error *error)
{
    for (size_t i = 0; i < mc_state_dict_count(from); i++) {
        const char *const name = mc_state_dict_name(from, i);
        char *changed = NULL;
        MC_TRY(new_name(from, name, &changed, error));
        const mc_status status = mc_state_dict_set(to, changed ? changed : name,
                                                   mc_state_dict_source(from, i), error);
        mc_free(changed);
        MC_TRY(status);
    }
    return MC_OK;
}

mc_status mc_rename_old(mc_state_dict **dict, mc_error *error)
{
    mc_state_dict *changed = NULL;
    MC_TRY(mc_state_dict_new(&changed, error));
    const mc_status status = copy_renamed(*dict, changed, error);
    if (status != MC_OK) {
        mc_state_dict_free(changed);
        return status;
    }
    mc_state_dict_free(*dict);
    *dict = changed;
    return MC_OK;
}

/* What input embeddings are called; a tied output layer is the copy of one. */
static const char *const embeddings[] = {
    "embeddings.word_embeddings.weight",
    "embed_tokens.weight",
    "wte.weight",
    "shared.weight",
    "word_embedding.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
};

static bool is_embedding(const char *name)
{
    for (size_t i = 0; i < sizeof embeddings / sizeof *embeddings; i++)
        if (mc_ends_with(name, embeddings[i]))
            return true;
    return false;
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

/* candidates [first, last) are the same tensor. */
static mc_status untie_group(mc_checkpoint *checkpoint, const candidate *candidates, size_t first,
                             size_t last, mc_error *error)
{
    size_t kept = first;
    while (kept < last && !is_embedding(candidates[kept].name))
        kept++;
    if (kept == last)
        kept = first;
    for (size_t i = first; i < last; i++)
        if (i != kept)
            MC_TRY(add_alias(checkpoint, candidates[i].name, candidates[kept].name, error));
    return MC_OK;
}

static mc_status untie_groups(mc_checkpoint *checkpoint, const candidate *candidates, size_t count,
                              mc_error *error)
{
    checkpoint->aliases = mc_alloc_zero(count, sizeof *checkpoint->aliases);
    checkpoint->tied_to = mc_alloc_zero(count, sizeof *checkpoint->tied_to);
    if (!checkpoint->aliases || !checkpoint->tied_to)
        return mc_fail_memory(error);
    for (size_t first = 0, last; first < count; first = last) {
        last = first + 1;
        while (last < count && mc_stored_same(candidates[first].source, candidates[last].source))
            last++;
        MC_TRY(untie_group(checkpoint, candidates, first, last, error));
    }
    return mc_state_dict_remove(checkpoint->dict, (const char *const *)checkpoint->aliases,
                                checkpoint->alias_count, error);
}

mc_status mc_untie(mc_checkpoint *checkpoint, mc_error *error)
{
    const size_t all = mc_state_dict_count(checkpoint->dict);
    candidate *const candidates = mc_alloc(all * sizeof *candidates);
    if (!candidates)
        return mc_fail_memory(error);
    size_t count = 0;
    for (size_t i = 0; i < all; i++) {
        const mc_source *const source = mc_state_dict_source(checkpoint->dict, i);
        /* Empty tensors have no elements to share. */
        if (mc_source_count(source) > 0)
            candidates[count++] = (candidate){mc_state_dict_name(checkpoint->dict, i), source, i};
    }
    qsort(candidates, count, sizeof *candidates, compare_candidates);
    const mc_status status = untie_groups(checkpoint, candidates, count, error);
    mc_free(candidates);
    return status;
}
