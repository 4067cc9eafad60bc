#include "merge/merged.h"

#include "base/memory.h"
#include "merge/reduce.h"
#include "methods/variant.h"
#include "tensor/convert.h"

#include <assert.h>

enum { LINE = 64, TILE = 8 * MC_LEAF };

/* ---- workspace --------------------------------------------------------------------------------- */

void mc_workspace_free(mc_workspace *workspace)
{
    mc_free(workspace->memory);
    mc_free(workspace->pointers);
    *workspace = (mc_workspace){0};
}

static char *aligned(const mc_workspace *workspace)
{
    return (char *)(((uintptr_t)workspace->memory + LINE - 1) / LINE * LINE);
}

mc_status mc_workspace_reserve(mc_workspace *workspace, size_t size, mc_error *error)
{
    if (size <= workspace->size)
        return MC_OK;
    mc_free(workspace->memory);
    workspace->memory = mc_alloc(size + LINE);
    workspace->size = workspace->memory ? size : 0;
    return workspace->memory ? MC_OK : mc_fail_memory(error);
}

/* Room for the pointers of a tile and of a leaf: inputs, and lists with their items among the inputs. */
static mc_status reserve_pointers(mc_workspace *workspace, const mc_merged *merged, mc_error *error)
{
    const size_t one = merged->input_count * sizeof(void *) +
                       (merged->list_count + 1) * sizeof(mc_tiles);
    if (2 * one <= workspace->pointer_size)
        return MC_OK;
    mc_free(workspace->pointers);
    workspace->pointers = mc_alloc(2 * one);
    workspace->pointer_size = workspace->pointers ? 2 * one : 0;
    return workspace->pointers ? MC_OK : mc_fail_memory(error);
}

/* An array of count reals, and one cache line more so that the arrays of a tile do not fall on the same cache sets. */
static size_t array_bytes(const mc_merged *merged, int64_t count)
{
    const size_t real = merged->real == MC_F64 ? sizeof(double) : sizeof(float);
    return ((size_t)count * real + LINE - 1) / LINE * LINE + LINE;
}

size_t mc_merged_scratch_bytes(const mc_merged *merged, int64_t count)
{
    mc_layer layer = mc_merged_whole(merged, NULL, NULL);
    layer.count = (size_t)count;
    return merged->method->scratch_bytes ? merged->method->scratch_bytes(&layer) : 0;
}

size_t mc_merged_tile_bytes(const mc_merged *merged, int64_t count)
{
    return array_bytes(merged, count) * (merged->input_count + 1) +
           mc_merged_scratch_bytes(merged, count);
}

mc_layer mc_merged_whole(const mc_merged *merged, void *state, mc_error *error)
{
    return (mc_layer){
        .name = merged->name,
        .rank = merged->source.rank,
        .shape = merged->source.shape,
        .size = merged->source.count,
        .model_count = merged->model_count,
        .list_count = merged->list_count,
        .params = merged->method->params,
        .values = merged->params->values,
        .random_key = merged->random_key,
        .state = state,
        .error = error,
    };
}

/* Points a layer's lists into its input pointers. `inputs` are in the order of merged->inputs. */
static void set_inputs(const mc_merged *merged, mc_layer *layer, const mc_real **inputs,
                       mc_tiles *lists)
{
    assert(inputs && (lists || merged->list_count == 0));
    layer->models = inputs;
    layer->base = merged->has_base ? inputs[merged->model_count] : NULL;
    const mc_real **at = inputs + merged->model_count + merged->has_base;
    for (size_t i = 0; i < merged->list_count; i++, at += merged->model_count)
        lists[i] = (mc_tiles){
            .name = merged->method->lists[i], .items = at, .count = merged->model_count};
    layer->lists = lists;
}

mc_status mc_workspace_load(mc_workspace *workspace, const mc_merged *merged, int64_t first,
                            int64_t count, void *state, mc_error *error)
{
    MC_TRY(reserve_pointers(workspace, merged, error));
    MC_TRY(mc_workspace_reserve(workspace, mc_merged_tile_bytes(merged, count), error));
    const mc_real **const inputs = workspace->pointers;
    assert(inputs);
    const size_t step = array_bytes(merged, count);
    char *at = aligned(workspace);
    for (size_t i = 0; i < merged->input_count; i++, at += step) {
        const void *const view = mc_source_view(merged->inputs[i], first, count, merged->real);
        inputs[i] = view ? view : (const mc_real *)at;
        if (!view)
            MC_TRY(mc_in_tensor(
                error, merged->name,
                mc_source_read_as(merged->inputs[i], first, count, merged->real, at, error)));
    }
    workspace->layer = mc_merged_whole(merged, state, error);
    workspace->layer.first = first;
    workspace->layer.count = (size_t)count;
    workspace->layer.out = (mc_real *)at;
    workspace->layer.scratch = at + step;
    set_inputs(merged, &workspace->layer, inputs, (mc_tiles *)(inputs + merged->input_count));
    return MC_OK;
}

mc_status mc_workspace_apply(mc_workspace *workspace, const mc_merged *merged, mc_error *error)
{
    MC_TRY(mc_in_tensor(error, merged->name, merged->method->apply(&workspace->layer)));
    mc_unify_nan(merged->real, workspace->layer.out, workspace->layer.count);
    return MC_OK;
}

void mc_workspace_cut(mc_workspace *workspace, const mc_merged *merged, size_t first, size_t count)
{
    const mc_layer *const layer = &workspace->layer;
    const size_t offset = first * (merged->real == MC_F64 ? sizeof(double) : sizeof(float));
    const mc_real **const leaf_inputs = (const mc_real **)((char *)workspace->pointers +
                                                           workspace->pointer_size / 2);
    for (size_t i = 0; i < merged->input_count; i++)
        leaf_inputs[i] =
            (const mc_real *)((const char *)((const mc_real **)workspace->pointers)[i] + offset);
    workspace->leaf = *layer;
    workspace->leaf.first = layer->first + (int64_t)first;
    workspace->leaf.count = layer->count - first < count ? layer->count - first : count;
    workspace->leaf.out = (mc_real *)((char *)layer->out + offset);
    set_inputs(merged, &workspace->leaf, leaf_inputs,
               (mc_tiles *)(leaf_inputs + merged->input_count));
}

/* ---- the source -------------------------------------------------------------------------------- */

const mc_statistics *mc_merged_statistics(const mc_merged *merged)
{
    return merged->source.count > 0 ? merged->method->statistics : NULL;
}

int64_t mc_merged_grain(const mc_merged *merged)
{
    const mc_source *const source = &merged->source;
    if (merged->method->scope == MC_TENSOR)
        return source->count;
    if (merged->method->scope != MC_ROW || source->rank == 0 || source->count == 0)
        return 1;
    const int64_t row = source->shape[source->rank - 1];
    return row * ((MC_LEAF + row - 1) / row);
}

/* The state, computed by the first who needs it. Never changed after that. */
static mc_status lazy_state(mc_merged *merged, mc_workspace *workspace, void **state,
                            mc_error *error)
{
    if (!mc_merged_statistics(merged)) {
        *state = NULL;
        return MC_OK;
    }
    pthread_mutex_lock(&merged->lock);
    const mc_status status = merged->state
                                 ? MC_OK
                                 : mc_reduce_all(merged, workspace, &merged->state, error);
    *state = merged->state;
    pthread_mutex_unlock(&merged->lock);
    return status;
}

/* Computes one tile and copies the part [first, first + count) of it that is wanted. */
static mc_status read_tile(const mc_merged *merged, mc_workspace *workspace, void *state,
                           int64_t begin, int64_t end, int64_t first, int64_t count, char *out,
                           mc_error *error)
{
    MC_TRY(mc_workspace_load(workspace, merged, begin, end - begin, state, error));
    MC_TRY(mc_workspace_apply(workspace, merged, error));
    const size_t real = merged->real == MC_F64 ? sizeof(double) : sizeof(float);
    memcpy(out, (const char *)workspace->layer.out + (size_t)(first - begin) * real,
           (size_t)count * real);
    return MC_OK;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static mc_status read_tiles(const mc_merged *merged, mc_workspace *workspace, void *state,
                            int64_t first, int64_t count, char *out, mc_error *error)
{
    const int64_t grain = mc_merged_grain(merged);
    const int64_t step = grain > TILE ? grain : TILE / grain * grain;
    const int64_t real = merged->real == MC_F64 ? 8 : 4;
    for (int64_t done = 0; done < count;) {
        const int64_t at = first + done;
        const int64_t begin = at / grain * grain;
        const int64_t end = least(begin + step, merged->source.count);
        const int64_t wanted = least(end - at, count - done);
        MC_TRY(read_tile(merged, workspace, state, begin,
                         least(end, (at + wanted + grain - 1) / grain * grain), at, wanted,
                         out + done * real, error));
        done += wanted;
    }
    return MC_OK;
}

static mc_status merged_read(const mc_source *self, int64_t first, int64_t count, mc_dtype as,
                             void *out, mc_error *error)
{
    mc_merged *const merged = (mc_merged *)(uintptr_t)self;
    assert(as == merged->real);
    (void)as;
    if (count == 0)
        return MC_OK;
    mc_workspace workspace = {0};
    void *state = NULL;
    mc_status status = lazy_state(merged, &workspace, &state, error);
    if (status == MC_OK)
        status = read_tiles(merged, &workspace, state, first, count, out, error);
    mc_workspace_free(&workspace);
    return status;
}

static void merged_ahead(const mc_source *self, int64_t first, int64_t size)
{
    const mc_merged *const merged = (const mc_merged *)self;
    for (size_t i = 0; i < merged->input_count; i++)
        mc_source_ahead_operand(self, merged->inputs[i], first, size);
}

static mc_status merged_check(const mc_source *self, mc_error *error)
{
    const mc_merged *const merged = (const mc_merged *)self;
    for (size_t i = 0; i < merged->input_count; i++)
        MC_TRY(mc_source_check(merged->inputs[i], error));
    return MC_OK;
}

static void merged_free(mc_source *self)
{
    mc_merged *const merged = (mc_merged *)self;
    for (size_t i = 0; merged->inputs && i < merged->input_count; i++)
        mc_source_unref(merged->inputs[i]);
    mc_free(merged->inputs);
    mc_free(merged->name);
    mc_free(merged->state);
    mc_params_unref(merged->params);
    pthread_mutex_destroy(&merged->lock);
}

static const mc_source_class merged_class = {.name = "merged",
                                             .read = merged_read,
                                             .read_ahead = merged_ahead,
                                             .check = merged_check,
                                             .free = merged_free};

const mc_merged *mc_merged_of(const mc_source *source)
{
    const mc_source *const inner = mc_source_uncast(source);
    return inner->class == &merged_class ? (const mc_merged *)inner : NULL;
}

static mc_dtype widest_of(const mc_merged_parts *parts, size_t count)
{
    mc_dtype dtype = parts->inputs[0]->dtype;
    for (size_t i = 1; i < count; i++)
        dtype = mc_dtype_widest(dtype, parts->inputs[i]->dtype);
    return dtype;
}

static int deepest_of(const mc_merged_parts *parts)
{
    int depth = 0;
    for (size_t i = 0; i < parts->input_count; i++)
        depth = parts->inputs[i]->depth > depth ? parts->inputs[i]->depth : depth;
    return depth;
}

mc_status mc_merged_new(const mc_merged_parts *parts, mc_source **out, mc_error *error)
{
    assert(parts->model_count > 0 && parts->input_count >= parts->model_count);
    const mc_source *const first = parts->inputs[0];
    if (deepest_of(parts) >= MC_SOURCE_MAX_DEPTH)
        return mc_fail(error, MC_UNSUPPORTED,
                       "more than %d operations on top of each other: compute the state dict in "
                       "between (mc_state_dict_materialize)",
                       MC_SOURCE_MAX_DEPTH);
    mc_source *source = NULL;
    MC_TRY(mc_source_create(&merged_class, sizeof(mc_merged), widest_of(parts, parts->model_count),
                            first->rank, first->shape, &source, error));
    mc_merged *const merged = (mc_merged *)source;
    pthread_mutex_init(&merged->lock, NULL);
    merged->params = mc_params_ref(parts->params);
    merged->name = mc_strdup(parts->name);
    merged->inputs = mc_alloc_zero(parts->input_count, sizeof *merged->inputs);
    if (!merged->name || !merged->inputs) {
        mc_source_unref(source);
        return mc_fail_memory(error);
    }
    source->depth = 1 + deepest_of(parts);
    merged->generic = parts->method;
    const bool wide = widest_of(parts, parts->input_count) == MC_F64;
    merged->method = mc_method_variant(parts->method, wide);
    merged->real = merged->method->real_size == sizeof(double) ? MC_F64 : MC_F32;
    source->wide = merged->real == MC_F64;
    merged->random_key = mc_random_key(parts->seed, parts->name);
    merged->input_count = parts->input_count;
    merged->model_count = parts->model_count;
    merged->list_count = parts->list_count;
    merged->has_base = parts->has_base;
    for (size_t i = 0; i < parts->input_count; i++)
        merged->inputs[i] = mc_source_ref(parts->inputs[i]);
    *out = source;
    return MC_OK;
}
