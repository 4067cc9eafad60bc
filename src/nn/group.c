#include "nn/group.h"

#include "base/memory.h"

enum { ALIGNMENT = 64 };

size_t mc_group_rows(const mc_group *group, int value)
{
    return group->network->values[value].rows == MC_ROWS_TOKENS ? group->tokens : group->count;
}

size_t mc_group_start(const mc_group *group, size_t sequence)
{
    const size_t *const starts = group->batch->starts + group->first;
    return starts[sequence] - starts[0];
}

size_t mc_group_room(const mc_group *group, int value)
{
    const size_t rows = mc_group_rows(group, value), most = MC_PRODUCT_ROWS_MOST;
    return (rows + most - 1) / most * most;
}

/* Scales are stored behind the rows. An int8 row has no padding, so its pitch is the width. */
float *mc_group_scales(const mc_group *group, int value)
{
    const size_t width = (size_t)group->network->values[value].width;
    const size_t rows = mc_group_room(group, value);
    return (float *)((char *)group->values->inputs[value] + rows * width);
}

/* Each panel has rows of its own pitch: oneDNN reads a panel as a matrix. */
static size_t bytes_of_inputs(mc_dtype dtype, size_t rows, const mc_nn_value *v)
{
    const size_t scales = dtype == MC_I8 ? rows * sizeof(float) : 0;
    const size_t pitch = (size_t)(v->panels * mc_product_pitch(dtype, v->width / v->panels));
    return rows * pitch * (size_t)mc_dtype_bytes(dtype, 1) + scales;
}

/* Hands out the next `size` bytes; base NULL: only counts them. */
static void *take(char *base, size_t *used, size_t size)
{
    void *const at = base ? base + *used : NULL;
    *used += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

/*
 * Places all values from `base` on; returns the bytes that they take. base NULL: only counts.
 *
 * The memory of a group's values, each part aligned to 64 bytes. A value has one part or both:
 *
 *   │ float32 [room][width] │ rows in the dtype of products, scales (int8) │ next value …
 */
static size_t place_values(const mc_group *g, char *base)
{
    const mc_network *const n = g->network;
    mc_values *const to = g->values;
    size_t used = 0;
    for (size_t i = 0; i < n->value_count; i++) {
        const mc_nn_value *const v = &n->values[i];
        const size_t rows = mc_group_room(g, (int)i), width = (size_t)v->width;
        const bool floats = v->floats || n->dtype == MC_F32;
        to->floats[i] = floats ? take(base, &used, rows * width * sizeof(float)) : NULL;
        to->inputs[i] = n->dtype == MC_F32 ? to->floats[i] : NULL;
        if (v->inputs && n->dtype != MC_F32)
            to->inputs[i] = take(base, &used, bytes_of_inputs(n->dtype, rows, v));
    }
    return used;
}

static size_t widest_value(const mc_network *n)
{
    int widest = 0;
    for (size_t i = 0; i < n->value_count; i++)
        widest = n->values[i].width > widest ? n->values[i].width : widest;
    return (size_t)widest;
}

static size_t place_workspace(const mc_group *g, char *base)
{
    const mc_network *const n = g->network;
    mc_nn_workspace *const to = g->workspace;
    /* Value 0 is a state, whose width the heads share. */
    const size_t head_size = (size_t)(n->values[0].width / n->heads);
    const size_t attention = mc_attention_scratch(g->longest, head_size);
    size_t used = 0;
    to->attention = take(base, &used, attention * sizeof(float));
    to->product = take(base, &used, g->weights->product_scratch);
    if (n->dtype == MC_I8) {
        /* Sums and their values in float32, of the largest block. */
        const size_t block = MC_PRODUCT_ROWS_MOST * widest_value(n);
        to->sums = take(base, &used, block * sizeof *to->sums);
        to->block = take(base, &used, block * sizeof *to->block);
    }
    return used;
}

/*
 * Makes room for `size` bytes, zeros if they are new; returns the aligned start, or NULL if there
 * is no memory. Allocations are aligned to less than ALIGNMENT, so one is added.
 */
static char *reserve(char **memory, size_t *had, size_t size)
{
    if (size + ALIGNMENT > *had) {
        mc_free(*memory);
        *memory = mc_alloc_zero(1, size + ALIGNMENT);
        *had = *memory ? size + ALIGNMENT : 0;
    }
    return *memory ? *memory + (ALIGNMENT - (uintptr_t)*memory % ALIGNMENT) % ALIGNMENT : NULL;
}

/* Memory starts as zeros: products also compute the rows that fill up the last block. */
mc_status mc_group_reserve_values(mc_group *group, mc_worker *worker, mc_error *error)
{
    const size_t count = group->network->value_count;
    mc_values *const values = group->values = &worker->values;
    if (!values->floats)
        values->floats = mc_alloc_zero(count, sizeof *values->floats);
    if (!values->inputs)
        values->inputs = mc_alloc_zero(count, sizeof *values->inputs);
    if (!values->floats || !values->inputs)
        return mc_fail_memory(error);
    /* Placed twice: first to count the bytes, then to set the pointers. */
    char *const base = reserve(&worker->values_memory, &worker->values_size,
                               place_values(group, NULL));
    if (!base)
        return mc_fail_memory(error);
    place_values(group, base);
    return MC_OK;
}

mc_status mc_group_reserve_workspace(mc_group *group, mc_worker *worker, mc_error *error)
{
    group->workspace = &worker->workspace;
    char *const base = reserve(&worker->workspace_memory, &worker->workspace_size,
                               place_workspace(group, NULL));
    if (!base)
        return mc_fail_memory(error);
    place_workspace(group, base);
    return MC_OK;
}
