/*
 * The statistics of regmean++: Gram matrices of inputs that come from merged blocks.
 *
 *   embeddings ─▶ merged ─▶ states of every task
 *                             │
 *        block:  every model's block on its task's states ─▶ Gram matrices
 *                             │                                   │
 *                             │            merged block ◀─ regmean++ of the block
 *                             ▼                 │
 *                 states of the next block ◀────┘
 *
 * The head is observed on the last states, as a block, and not merged.
 */
#include "base/memory.h"
#include "base/system.h"
#include "pipeline/joint.h"

#include <string.h>

typedef struct propagation {
    mc_joint joint;
    const mc_method *method;
    float **states;        /* [count] of each task: [tokens][width] */
    mc_state_dict **grams; /* [count] by the names of tensors */
    int block;             /* the one that is worked on; −1: the embeddings */
} propagation;

static void close(propagation *p)
{
    for (size_t t = 0; t < p->joint.count; t++) {
        mc_free(p->states ? p->states[t] : NULL);
        mc_state_dict_free(p->grams ? p->grams[t] : NULL);
    }
    mc_free(p->states);
    mc_free(p->grams);
    mc_joint_close(&p->joint);
}

static mc_status set_up(propagation *p, mc_error *error)
{
    mc_joint *const j = &p->joint;
    const mc_network *const n = mc_joint_network(j, 0);
    const size_t width = (size_t)n->values[mc_network_state(n, 0)].width;
    p->states = mc_alloc_zero(j->count, sizeof *p->states);
    p->grams = mc_alloc_zero(j->count, sizeof *p->grams);
    if (!p->states || !p->grams)
        return mc_fail_memory(error);
    for (size_t t = 0; t < j->count; t++) {
        p->states[t] = mc_alloc(j->results[t].tokens * width * sizeof **p->states);
        if (!p->states[t])
            return mc_fail_memory(error);
        MC_TRY(mc_state_dict_new(&p->grams[t], error));
    }
    return MC_OK;
}

/* ---- Gram matrices of a block ---------------------------------------------------------------- */

static mc_status add(mc_state_dict *dict, const char *name, mc_source *source, mc_error *error)
{
    return name ? mc_state_dict_set(dict, name, source, error) : mc_fail_memory(error);
}

/* The Gram matrix of weight `index`, which takes over the array; those that share it get it too. */
static mc_status add_gram(propagation *p, size_t task, const mc_network *n, mc_observed *found,
                          size_t index, mc_error *error)
{
    const int64_t width = n->weights[index].shape[1], square[] = {width, width};
    float *const array = found->arrays[index];
    mc_source *source = NULL;
    MC_TRY(mc_source_wrap(MC_F32, 2, square, array, mc_free, array, &source, error));
    found->arrays[index] = NULL; /* the source's now */
    mc_status status = MC_OK;
    for (size_t i = 0; status == MC_OK && i < n->weight_count; i++) {
        if (found->owner[i] != index || n->weights[i].kind != MC_WEIGHT_MATRIX)
            continue;
        char *const name = mc_format("propagated_grams/%s", n->weights[i].name);
        status = add(p->grams[task], n->weights[i].name, source, error);
        if (status == MC_OK)
            status = add(p->joint.found[task], name, source, error);
        mc_free(name);
    }
    mc_source_unref(source);
    return status;
}

static mc_status observe_task(propagation *p, size_t task, const mc_watch *watch, mc_error *error)
{
    mc_joint *const j = &p->joint;
    mc_trace_f32 *const trace = j->traces[task];
    const mc_network *const n = mc_joint_network(j, task);
    mc_observed found = {0};
    MC_TRY(mc_trace_load_block_f32(trace, j->alignment.dicts[task], p->block, error));
    mc_status status = mc_observe_block(trace, &j->batches[task].batch, p->block, p->states[task],
                                        watch, &found, error);
    for (size_t i = 0; status == MC_OK && i < n->weight_count; i++)
        if (found.arrays[i])
            status = add_gram(p, task, n, &found, i, error);
    mc_observed_free(&found);
    return status;
}

/* ---- merging a block ------------------------------------------------------------------------- */

/* The part of each dict that the operations of the block read. */
static mc_status subset(const propagation *p, const mc_state_dict *from, mc_state_dict **out,
                        mc_error *error)
{
    const mc_network *const n = mc_joint_network(&p->joint, 0);
    MC_TRY(mc_state_dict_new(out, error));
    const size_t first = mc_network_first(n, p->block);
    for (size_t i = first; i < n->op_count && n->ops[i].block == n->ops[first].block; i++)
        for (int k = 0; k < 3; k++) {
            const int w = n->ops[i].weights[k];
            mc_source *const source = w < 0 ? NULL : mc_state_dict_find(from, n->weights[w].name);
            if (source)
                MC_TRY(mc_state_dict_set(*out, n->weights[w].name, source, error));
        }
    return MC_OK;
}

static mc_status merge_parts(const propagation *p, mc_state_dict **parts, mc_state_dict **out,
                             mc_error *error)
{
    const size_t count = p->joint.count;
    const mc_side_dicts side = {p->method->sides[0].name,
                                (const mc_state_dict *const *)parts + count, count};
    /* Nothing in the embeddings has a Gram matrix: they are averaged. */
    const bool averaged = p->block < 0;
    const mc_merge_input input = {.models = (const mc_state_dict *const *)parts,
                                  .model_count = count,
                                  .sides = averaged ? NULL : &side,
                                  .side_count = !averaged,
                                  .params = averaged ? NULL : p->joint.settings,
                                  .param_count = averaged ? 0 : p->joint.setting_count};
    return mc_model_merge(averaged ? mc_method_find("mergecraft:soup") : p->method, &input, out,
                          NULL, error);
}

static mc_status merge_block(const propagation *p, mc_state_dict **out, mc_error *error)
{
    const size_t count = p->joint.count;
    mc_state_dict **const parts = mc_alloc_zero(2 * count, sizeof *parts);
    mc_status status = parts ? MC_OK : mc_fail_memory(error);
    for (size_t t = 0; status == MC_OK && t < count; t++)
        status = subset(p, p->joint.alignment.dicts[t], &parts[t], error);
    for (size_t t = 0; status == MC_OK && t < count; t++)
        status = subset(p, p->grams[t], &parts[count + t], error);
    if (status == MC_OK)
        status = merge_parts(p, parts, out, error);
    for (size_t i = 0; parts && i < 2 * count; i++)
        mc_state_dict_free(parts[i]);
    mc_free(parts);
    return status;
}

/* Passes the states of every task through the merged block, which is computed once. */
static mc_status advance(propagation *p, const mc_watch *watch, mc_error *error)
{
    mc_joint *const j = &p->joint;
    const mc_run_options run = {.threads = j->models[0].pipeline->options.threads,
                                .cancel = watch->cancel};
    mc_state_dict *lazy = NULL, *merged = NULL;
    mc_status status = merge_block(p, &lazy, error);
    if (status == MC_OK)
        status = mc_state_dict_materialize(lazy, &run, &merged, NULL, error);
    for (size_t t = 0; status == MC_OK && t < j->count; t++) {
        status = mc_trace_load_block_f32(j->traces[t], merged, p->block, error);
        if (status == MC_OK)
            status = mc_advance_states(j->traces[t], &j->batches[t].batch, p->block, p->states[t],
                                       watch, error);
    }
    mc_state_dict_free(merged);
    mc_state_dict_free(lazy);
    return status;
}

/* ---- all together ---------------------------------------------------------------------------- */

static void report(const propagation *p)
{
    const mc_joint *const j = &p->joint;
    size_t tokens = 0;
    for (size_t t = 0; t < j->count; t++)
        tokens += j->results[t].tokens;
    const size_t blocks = (size_t)mc_joint_network(j, 0)->blocks + 2;
    if (j->run && j->run->progress)
        j->run->progress(tokens * (size_t)(p->block + 2) / blocks, tokens, j->run->user);
}

static mc_status propagate(propagation *p, mc_error *error)
{
    mc_joint *const j = &p->joint;
    const mc_watch watch = {.cancel = j->run ? j->run->cancel : NULL};
    MC_TRY(mc_joint_open(j, true, error));
    MC_TRY(set_up(p, error));
    for (size_t t = 0; t < j->count; t++)
        j->results[t].singular = mc_grams_are_singular(mc_joint_network(j, t),
                                                       j->results[t].tokens);
    const int blocks = mc_joint_network(j, 0)->blocks;
    for (p->block = -1; p->block <= blocks; p->block++) {
        for (size_t t = 0; p->block >= 0 && t < j->count; t++)
            MC_TRY(observe_task(p, t, &watch, error));
        if (p->block < blocks)
            MC_TRY(advance(p, &watch, error));
        report(p);
    }
    return mc_joint_save(j, error);
}

mc_status mc_observe_propagated(const mc_observed_model *models, size_t count,
                                const char *const *params, size_t param_count,
                                const mc_pipeline_run *run, const char *const *paths,
                                mc_observe_result *results, mc_error *error)
{
    propagation p = {.method = mc_method_find("regmean++")};
    bool cached = false;
    const double start = mc_seconds();
    mc_status status = mc_joint_new(models, count, NULL, p.method, params, param_count, run, paths,
                                    false, results, &p.joint, &cached, error);
    if (status == MC_OK && !cached)
        status = propagate(&p, error);
    for (size_t t = 0; status == MC_OK && t < count; t++)
        results[t].seconds = mc_seconds() - start;
    close(&p);
    return status;
}
