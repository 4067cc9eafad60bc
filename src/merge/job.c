#include "merge/job.h"

#include "base/memory.h"
#include "merge/merged.h"
#include "merge/survey.h"
#include "methods/variant.h"
#include "model/parts.h"
#include "tensor/convert.h"

#include <assert.h>
#include <fnmatch.h>
#include <math.h>
#include <string.h>

/* ---- making one ----------------------------------------------------------------------------- */

static mc_dtype widest_of(const mc_merged_parts *parts, size_t count)
{
    mc_dtype dtype = parts->inputs[0]->dtype;
    for (size_t i = 1; i < count; i++)
        dtype = mc_dtype_widest(dtype, parts->inputs[i]->dtype);
    return dtype;
}

mc_dtype mc_job_dtype(const mc_merged_parts *parts)
{
    return widest_of(parts, parts->model_count);
}

static mc_source *const *side_of(const mc_merged_parts *parts, size_t side)
{
    return parts->inputs + parts->model_count * (side + 1) + parts->has_base + parts->has_merged;
}

/*
 * Checks that a side tensor has the models' shape. If it is given as a whole, all models' side
 * tensors have one shape instead.
 */
static mc_status check_side_tensor(const mc_merged_parts *parts, const mc_side_input *side,
                                   const mc_source *tensor, const mc_source *like, mc_error *error)
{
    char expected[128], found[128];
    if (mc_dtype_kind_of(tensor->dtype) != MC_KIND_FLOAT)
        return mc_fail_at(error, MC_MISMATCH, NULL, parts->name, -1,
                          "side input '%s': expected float tensors, found %s", side->name,
                          mc_dtype_name(tensor->dtype));
    if (!mc_source_same_shape(tensor, like))
        return mc_fail_at(error, MC_MISMATCH, NULL, parts->name, -1,
                          "side input '%s': expected %s %s, found %s", side->name,
                          side->whole ? "one shape for all models," : "the models' shape",
                          mc_shape_text(like->rank, like->shape, expected, sizeof expected),
                          mc_shape_text(tensor->rank, tensor->shape, found, sizeof found));
    return MC_OK;
}

static mc_status check_sides(const mc_merged_parts *parts, mc_error *error)
{
    for (size_t s = 0; s < parts->side_count; s++) {
        const mc_side_input *const side = &parts->method->sides[s];
        mc_source *const *const tensors = side_of(parts, s);
        if (side->whole && parts->method->scope != MC_TENSOR)
            return mc_fail(error, MC_USAGE,
                           "%s: side input '%s' is given as a whole: expected the scope MC_TENSOR",
                           parts->method->name, side->name);
        const mc_source *const like = side->whole ? tensors[0] : parts->inputs[0];
        for (size_t i = 0; i < parts->model_count; i++)
            MC_TRY(check_side_tensor(parts, side, tensors[i], like, error));
    }
    return MC_OK;
}

static bool fits_one(const char *const *patterns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    return false;
}

/*
 * Whether methods of matrices treat the tensor as one. The user's patterns decide if there are any.
 * Otherwise any tensor of two dimensions is a matrix, except embeddings and heads: their rows stand
 * for tokens, positions or labels.
 */
static bool is_matrix(const mc_merged_parts *parts, int rank, mc_part_role role)
{
    if (parts->matrix_count > 0)
        return rank == 2 && fits_one(parts->matrices, parts->matrix_count, parts->name);
    switch (role) {
    case MC_PART_INPUT_EMBEDDING:
    case MC_PART_POSITION_EMBEDDING:
    case MC_PART_TYPE_EMBEDDING:
    case MC_PART_OUTPUT_HEAD:
    case MC_PART_HEAD:
        return false;
    default:
        return rank == 2;
    }
}

/* Names and shapes of side inputs: methods may read them before values are loaded. */
static void describe_sides(mc_job *job)
{
    const size_t before = mc_job_sides_at(job);
    for (size_t s = 0; s < job->side_count; s++) {
        const mc_side_input *const side = &job->method->sides[s];
        const mc_source *const first = job->inputs[before + s * job->model_count];
        job->sides[s] = (mc_side){.name = side->name,
                                  .rank = first->rank,
                                  .shape = first->shape,
                                  .count = side->whole ? (size_t)first->count : 0};
    }
}

mc_status mc_job_init(mc_job *job, const mc_merged_parts *parts, mc_error *error)
{
    assert(parts->model_count > 0);
    assert(parts->input_count ==
           parts->model_count * (1 + parts->side_count) + parts->has_base + parts->has_merged);
    MC_TRY(check_sides(parts, error));
    const mc_source *const first = parts->inputs[0];
    const mc_part part = mc_part_of(parts->model_type, parts->name);
    *job = (mc_job){.params = mc_params_ref(parts->params),
                    .name = mc_strdup(parts->name),
                    .rank = first->rank,
                    .shape = first->shape,
                    .count = first->count,
                    .matrix = is_matrix(parts, first->rank, part.role),
                    .transposed = part.transposed,
                    .block = part.block,
                    .survey = parts->survey ? mc_survey_ref(parts->survey) : NULL,
                    .random_key = mc_random_key(parts->seed, parts->name),
                    .inputs = mc_alloc_zero(parts->input_count, sizeof *job->inputs),
                    .sides = mc_alloc_zero(parts->side_count, sizeof *job->sides),
                    .input_count = parts->input_count,
                    .model_count = parts->model_count,
                    .side_count = parts->side_count,
                    .has_base = parts->has_base,
                    .has_merged = parts->has_merged};
    if (!job->name || !job->inputs || !job->sides)
        return mc_fail_memory(error);
    /* One float64 input makes the whole layer float64; so does one layer of a shared survey. */
    const bool wide = widest_of(parts, parts->input_count) == MC_F64 ||
                      (job->survey && mc_survey_wide(job->survey));
    job->method = mc_method_variant(parts->method, wide);
    job->real = job->method->real_size == sizeof(double) ? MC_F64 : MC_F32;
    for (size_t i = 0; i < parts->input_count; i++)
        job->inputs[i] = mc_source_ref(parts->inputs[i]);
    describe_sides(job);
    return MC_OK;
}

void mc_job_free(mc_job *job)
{
    for (size_t i = 0; job->inputs && i < job->input_count; i++)
        mc_source_unref(job->inputs[i]);
    mc_free(job->inputs);
    mc_free(job->sides);
    mc_free(job->name);
    mc_params_unref(job->params);
    mc_survey_unref(job->survey);
    *job = (mc_job){0};
}

/* ---- what it is ----------------------------------------------------------------------------- */

size_t mc_job_sides_at(const mc_job *job)
{
    return job->model_count + job->has_base + job->has_merged;
}

const mc_statistics *mc_job_statistics(const mc_job *job)
{
    return job->count > 0 ? job->method->statistics : NULL;
}

int64_t mc_job_grain(const mc_job *job)
{
    if (job->count == 0)
        return 1;
    const mc_source *const merged = job->has_merged ? job->inputs[job->model_count + job->has_base]
                                                    : NULL;
    if (job->method->scope == MC_TENSOR)
        return job->count;
    /* The input computes whole tensors only: each read of a tile would compute all of it again. */
    if (merged && mc_merged_job(merged) && mc_job_grain(mc_merged_job(merged)) == job->count)
        return job->count;
    if (job->method->scope != MC_ROW || job->rank == 0)
        return 1;
    const int64_t row = job->shape[job->rank - 1];
    /* As many whole rows as reach a leaf, so that short rows do not make tiny tiles. */
    return row * ((MC_LEAF + row - 1) / row);
}

int64_t mc_job_tile(const mc_job *job, int64_t elements)
{
    const int64_t grain = mc_job_grain(job);
    return grain >= elements ? grain : elements / grain * grain;
}

size_t mc_job_real_bytes(const mc_job *job)
{
    return job->real == MC_F64 ? sizeof(double) : sizeof(float);
}

size_t mc_job_scratch_bytes(const mc_job *job, int64_t count)
{
    mc_layer layer = mc_job_whole(job, NULL, NULL);
    layer.count = (size_t)count;
    return job->method->scratch_bytes ? job->method->scratch_bytes(&layer) : 0;
}

mc_layer mc_job_whole(const mc_job *job, const void *state, mc_error *error)
{
    return (mc_layer){
        .name = job->name,
        .rank = job->rank,
        .shape = job->shape,
        .size = job->count,
        .matrix = job->matrix,
        .transposed = job->transposed,
        .block = job->block,
        .block_count = job->survey ? mc_survey_blocks(job->survey) : 0,
        .model_count = job->model_count,
        .sides = job->sides,
        .side_count = job->side_count,
        .params = job->method->params,
        .values = job->params->values,
        .random_key = job->random_key,
        .state = state,
        .model_state = job->survey ? mc_survey_state(job->survey) : NULL,
        .error = error,
    };
}

static bool is_finite(const char *value, size_t size)
{
    float single;
    double wide;
    memcpy(size == sizeof single ? (void *)&single : (void *)&wide, value, size);
    return size == sizeof single ? isfinite(single) : isfinite(wide);
}

/* Whether all models, and the base, have the same bytes there. */
static bool agree_at(const mc_layer *layer, size_t offset, size_t size)
{
    const char *const first = (const char *)layer->models[0] + offset;
    for (size_t i = 1; i < layer->model_count; i++)
        if (memcmp((const char *)layer->models[i] + offset, first, size) != 0)
            return false;
    return !layer->base || memcmp((const char *)layer->base + offset, first, size) == 0;
}

/* Whether the values of all models, and of the base, are finite there. */
static bool finite_at(const mc_layer *layer, size_t offset, size_t size)
{
    for (size_t i = 0; i < layer->model_count; i++)
        if (!is_finite((const char *)layer->models[i] + offset, size))
            return false;
    return !layer->base || is_finite((const char *)layer->base + offset, size);
}

/*
 * Restores values that all models agree on where the result is not finite. A causal mask holds
 * infinities, or the largest number: a difference or a sum of two of them is NaN or infinite.
 * Returns how many others are not finite although the models' values are.
 */
static int64_t keep_agreed(const mc_job *job, const mc_layer *layer)
{
    const size_t size = mc_job_real_bytes(job);
    int64_t overflowed = 0;
    for (size_t i = 0; i < layer->count; i++) {
        char *const out = (char *)layer->out + i * size;
        if (is_finite(out, size))
            continue;
        if (agree_at(layer, i * size, size))
            memcpy(out, (const char *)layer->models[0] + i * size, size);
        else
            overflowed += finite_at(layer, i * size, size);
    }
    return overflowed;
}

/* Whether a tile is the same in all models and holds infinities, as a causal mask does. */
static bool is_mask(const mc_job *job, const mc_layer *layer)
{
    const size_t size = mc_job_real_bytes(job);
    if (!agree_at(layer, 0, layer->count * size))
        return false;
    for (size_t i = 0; i < layer->count; i++)
        if (!is_finite((const char *)layer->models[0] + i * size, size))
            return true;
    return false;
}

/*
 * Whether the method would reject a tensor that is a mask: decompositions fail on infinities. A
 * mask that all models share is copied instead.
 */
static bool is_agreed_mask(const mc_job *job, const mc_layer *layer)
{
    return job->method->scope == MC_TENSOR && is_mask(job, layer);
}

mc_status mc_job_apply(const mc_job *job, const mc_layer *layer, int64_t *overflowed)
{
    *overflowed = 0;
    if (is_agreed_mask(job, layer)) {
        memcpy(layer->out, layer->models[0], layer->count * mc_job_real_bytes(job));
        mc_unify_nan(job->real, layer->out, layer->count);
        return MC_OK;
    }
    MC_TRY(mc_in_tensor(layer->error, job->name, job->method->apply(layer)));
    /* All finite, which is the usual case: nothing to restore. */
    if (mc_unify_nan(job->real, layer->out, layer->count))
        return MC_OK;
    *overflowed = keep_agreed(job, layer);
    mc_unify_nan(job->real, layer->out, layer->count);
    return MC_OK;
}

mc_status mc_job_accumulate(const mc_job *job, const mc_layer *layer, void *partial)
{
    return mc_in_tensor(layer->error, job->name,
                        job->method->statistics->accumulate(layer, partial));
}

/*
 * Skips masks in sums over the model, which they would turn into NaN. Thresholds, which are
 * order_free, count all values: to them NaN is larger than any other magnitude.
 */
mc_status mc_job_survey(const mc_job *job, const mc_layer *layer, void *partial)
{
    const mc_statistics *const statistics = job->method->model_statistics;
    if ((job->method->scope == MC_TENSOR || !statistics->order_free) && is_mask(job, layer))
        return MC_OK;
    return mc_in_tensor(layer->error, job->name, statistics->accumulate(layer, partial));
}
