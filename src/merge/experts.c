#include "merge/experts.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/renames.h"
#include "tensor/pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char between[] = ".experts.";

/*
 * What a tensor of all experts is called after `between`, and the tensors of one expert that it
 * holds, one below the other:
 *
 *     gate_up_proj [experts, 2·inner, hidden]    gate_proj, up_proj [inner, hidden] of each expert
 *     down_proj    [experts, hidden, inner]      down_proj [hidden, inner] of each expert
 */
static const struct {
    const char *fused;
    const char *parts[2];
    int part_count;
} kinds[] = {
    {"gate_up_proj", {"gate_proj.weight", "up_proj.weight"}, 2},
    {"down_proj", {"down_proj.weight"}, 1},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

/*
 * The tensors of a dict's experts, by the meaning of their names: families call the same matrix
 * gate_proj or w1.
 */
typedef struct table {
    const mc_state_dict *dict;
    char **meanings; /* per tensor of the dict; NULL: not of experts */
    mc_index index;  /* meaning → index in the dict */
} table;

static void free_table(table *t)
{
    for (size_t i = 0; t->meanings && i < mc_state_dict_count(t->dict); i++)
        mc_free(t->meanings[i]);
    mc_free(t->meanings);
    mc_index_free(&t->index);
}

static bool is_of_experts(const char *name)
{
    return strstr(name, "experts.") || strstr(name, "block_sparse_moe.");
}

static mc_status fill_table(table *t, mc_error *error)
{
    t->meanings = mc_alloc_zero(mc_state_dict_count(t->dict), sizeof *t->meanings);
    if (!t->meanings)
        return mc_fail_memory(error);
    for (size_t i = 0; i < mc_state_dict_count(t->dict); i++) {
        if (!is_of_experts(mc_state_dict_name(t->dict, i)))
            continue;
        t->meanings[i] = mc_canonical_name(mc_state_dict_name(t->dict, i));
        if (!t->meanings[i] || !mc_index_set(&t->index, t->meanings[i], i))
            return mc_fail_memory(error);
    }
    return MC_OK;
}

/* The index of the tensor that means STEM + between + `rest`; NONE. */
static mc_status find(const table *t, const char *meaning, size_t stem, const char *rest,
                      size_t *out, mc_error *error)
{
    char *const name = mc_format("%.*s%s%s", (int)stem, meaning, between, rest);
    if (!name)
        return mc_fail_memory(error);
    *out = mc_index_find(&t->index, name);
    mc_free(name);
    return MC_OK;
}

static bool has_shape(const mc_source *source, int rank, const int64_t *shape)
{
    return source->rank == rank && memcmp(source->shape, shape, (size_t)rank * sizeof *shape) == 0;
}

/* Takes over the source, also on failure. */
static mc_status add_made(mc_experts *out, const char *name, mc_source *source, size_t origin,
                          mc_error *error)
{
    if (!MC_GROW(out->made, out->count, out->capacity)) {
        mc_source_unref(source);
        return mc_fail_memory(error);
    }
    out->made[out->count++] = (mc_expert){name, source, origin};
    return MC_OK;
}

/* ---- one tensor of all experts ---- */

/*
 * Finds the tensors that a fused one is made of, expert by expert. *complete stays false if one is
 * missing or has another shape: then the fused tensor is not made.
 */
static mc_status find_parts(const table *t, const char *meaning, size_t stem, int kind,
                            const mc_source *wanted, size_t *parts, bool *complete, mc_error *error)
{
    const int each = kinds[kind].part_count;
    const int64_t shape[] = {wanted->shape[1] / each, wanted->shape[2]};
    for (int64_t i = 0; i < wanted->shape[0] * each; i++) {
        char rest[64];
        snprintf(rest, sizeof rest, "%lld.%s", (long long)(i / each), kinds[kind].parts[i % each]);
        MC_TRY(find(t, meaning, stem, rest, &parts[i], error));
        if (parts[i] == MC_INDEX_NONE ||
            !has_shape(mc_state_dict_source(t->dict, parts[i]), 2, shape))
            return MC_OK;
    }
    *complete = true;
    return MC_OK;
}

static mc_status join(const table *t, const size_t *parts, size_t count, const char *name,
                      const mc_source *wanted, mc_experts *out, mc_error *error)
{
    mc_source *made = NULL;
    mc_source **const sources = mc_alloc(count * sizeof *sources);
    if (!sources)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        sources[i] = mc_state_dict_source(t->dict, parts[i]);
        out->used[parts[i]] = true;
    }
    const mc_status status = mc_source_join(sources, count, 3, wanted->shape, &made, error);
    mc_free(sources);
    return status == MC_OK ? add_made(out, name, made, parts[0], error) : status;
}

static mc_status make_fused(const table *t, const char *name, const char *meaning, size_t stem,
                            int kind, const mc_source *wanted, mc_experts *out, mc_error *error)
{
    /*
     * The number of experts comes from a file: it is bounded by the number of tensors before memory
     * is allocated for it.
     */
    const int64_t count = wanted->shape[0] * kinds[kind].part_count;
    bool complete = false;
    if (count <= 0 || (size_t)count > mc_state_dict_count(t->dict) ||
        wanted->shape[1] % kinds[kind].part_count != 0)
        return MC_OK;
    size_t *const parts = mc_alloc((size_t)count * sizeof *parts);
    mc_status status = parts ? find_parts(t, meaning, stem, kind, wanted, parts, &complete, error)
                             : mc_fail_memory(error);
    if (status == MC_OK && complete)
        status = join(t, parts, (size_t)count, name, wanted, out, error);
    mc_free(parts);
    return status;
}

/* ---- one expert of all ---- */

static mc_status make_single(const table *t, const char *name, const char *meaning, size_t stem,
                             int64_t expert, int kind, int part, const mc_source *wanted,
                             mc_experts *out, mc_error *error)
{
    const int each = kinds[kind].part_count;
    mc_source *made = NULL;
    size_t at = MC_INDEX_NONE;
    MC_TRY(find(t, meaning, stem, kinds[kind].fused, &at, error));
    if (at == MC_INDEX_NONE)
        return MC_OK;
    mc_source *const whole = mc_state_dict_source(t->dict, at);
    const int64_t shape[] = {whole->shape[0], wanted->shape[0] * each, wanted->shape[1]};
    if (!has_shape(whole, 3, shape) || expert >= whole->shape[0])
        return MC_OK;
    out->used[at] = true;
    MC_TRY(mc_source_window(whole, (expert * each + part) * wanted->count, 2, wanted->shape, &made,
                            error));
    return add_made(out, name, made, at, error);
}

/* ---- all ---- */

static mc_status make(const table *t, const char *name, const char *meaning,
                      const mc_source *wanted, mc_experts *out, mc_error *error)
{
    const char *const at = strstr(meaning, between);
    const char *const rest = at ? at + strlen(between) : "";
    const size_t stem = at ? (size_t)(at - meaning) : 0;
    char *after = NULL;
    const long expert = strtol(rest, &after, 10);
    for (int kind = 0; kind < KINDS; kind++) {
        if (wanted->rank == 3 && strcmp(rest, kinds[kind].fused) == 0)
            return make_fused(t, name, meaning, stem, kind, wanted, out, error);
        for (int part = 0; part < kinds[kind].part_count; part++)
            if (wanted->rank == 2 && after > rest && *after == '.' && expert >= 0 &&
                strcmp(after + 1, kinds[kind].parts[part]) == 0)
                return make_single(t, name, meaning, stem, expert, kind, part, wanted, out, error);
    }
    return MC_OK;
}

static mc_status make_all(const table *t, const mc_match_side *wanted, mc_experts *out,
                          mc_error *error)
{
    for (size_t i = 0; i < wanted->count; i++) {
        const char *const name = wanted->names[i];
        if (!is_of_experts(name) || mc_state_dict_find(t->dict, name))
            continue;
        char *const meaning = mc_canonical_name(name);
        if (!meaning)
            return mc_fail_memory(error);
        const mc_status status = make(t, name, meaning, wanted->sources[i], out, error);
        mc_free(meaning);
        MC_TRY(status);
    }
    return MC_OK;
}

mc_status mc_experts_make(const mc_state_dict *dict, const mc_match_side *wanted, mc_experts *out,
                          mc_error *error)
{
    table t = {.dict = dict};
    out->used = mc_alloc_zero(mc_state_dict_count(dict), sizeof *out->used);
    mc_status status = out->used ? fill_table(&t, error) : mc_fail_memory(error);
    if (status == MC_OK && t.index.count > 0)
        status = make_all(&t, wanted, out, error);
    free_table(&t);
    return status;
}

void mc_experts_free(mc_experts *experts)
{
    for (size_t i = 0; i < experts->count; i++)
        mc_source_unref(experts->made[i].source);
    mc_free(experts->made);
    mc_free(experts->used);
    *experts = (mc_experts){0};
}
