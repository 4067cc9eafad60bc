#include "merge/workspace.h"

#include "base/available_memory.h"
#include "base/comm.h"
#include "base/memory.h"

#include <assert.h>

/* Bytes of a cache line; every array begins at one, which also suits the widest vectors. */
enum { LINE = 64 };

enum { DEFAULT_MEMORY = 64 << 20 };

int64_t mc_tile_memory(const mc_run_options *options)
{
    return options->memory > 0 ? options->memory : DEFAULT_MEMORY;
}

int64_t mc_whole_memory(const mc_run_options *options)
{
    const int64_t part = mc_available_memory() / 4 / mc_comm_size(options->comm);
    return options->memory > 0 || part < DEFAULT_MEMORY ? mc_tile_memory(options) : part;
}

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

/*
 * Makes room for the pointers of a tile and of a part. Each half holds one pointer per input, then
 * the side inputs, which point into the half's own pointers.
 */
static mc_status reserve_pointers(mc_workspace *workspace, const mc_job *job, mc_error *error)
{
    const size_t one = job->input_count * sizeof(void *) + (job->side_count + 1) * sizeof(mc_side);
    if (2 * one <= workspace->pointer_size)
        return MC_OK;
    mc_free(workspace->pointers);
    workspace->pointers = mc_alloc(2 * one);
    workspace->pointer_size = workspace->pointers ? 2 * one : 0;
    return workspace->pointers ? MC_OK : mc_fail_memory(error);
}

/* ---- where the arrays are ------------------------------------------------------------------- */

/*
 * Bytes of an array, with one cache line more than needed: arrays of a power of two of elements
 * would otherwise fall on the same cache sets.
 */
static size_t array_bytes(const mc_job *job, int64_t count)
{
    return ((size_t)count * mc_job_real_bytes(job) + LINE - 1) / LINE * LINE + LINE;
}

/* The side input that input `index` belongs to, if it is one that is given as a whole. */
static const mc_side_input *whole_side(const mc_job *job, size_t index)
{
    const size_t before = mc_job_sides_at(job);
    if (index < before)
        return NULL;
    const mc_side_input *const side = &job->method->sides[(index - before) / job->model_count];
    return side->whole ? side : NULL;
}

/*
 * How many elements of an input belong to a tile of `count` elements. A whole side input has no
 * tiles: it is loaded with the whole tensor, and not at all with a part of it.
 */
static int64_t elements_of(const mc_job *job, size_t index, int64_t count)
{
    if (!whole_side(job, index))
        return count;
    return count == job->count ? job->inputs[index]->count : 0;
}

size_t mc_workspace_bytes(const mc_job *job, int64_t count)
{
    size_t bytes = array_bytes(job, count) + mc_job_scratch_bytes(job, count);
    for (size_t i = 0; i < job->input_count; i++)
        bytes += array_bytes(job, elements_of(job, i, count));
    return bytes;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Points a layer into its input pointers, which are in the order of job->inputs. */
static void set_inputs(const mc_job *job, mc_layer *layer, const mc_real **inputs, mc_side *sides)
{
    assert(inputs && sides);
    layer->models = inputs;
    layer->base = job->has_base ? inputs[job->model_count] : NULL;
    layer->merged = job->has_merged ? inputs[job->model_count + job->has_base] : NULL;
    const size_t before = mc_job_sides_at(job);
    for (size_t i = 0; i < job->side_count; i++) {
        const size_t at = before + i * job->model_count;
        const mc_source *const tensor = job->inputs[at];
        sides[i] = (mc_side){.name = job->method->sides[i].name,
                             .rank = tensor->rank,
                             .shape = tensor->shape,
                             .tiles = inputs + at,
                             .count = whole_side(job, at) ? (size_t)tensor->count : layer->count};
    }
    layer->sides = sides;
}

/*
 * Reads an input into `buffer`, unless its values already lie in memory in the dtype that is
 * needed: then *out points to them. *out stays NULL for a whole side input without the whole
 * tensor.
 */
static mc_status load_input(const mc_job *job, size_t index, int64_t first, int64_t count,
                            char *buffer, const mc_real **out, mc_error *error)
{
    const mc_source *const input = job->inputs[index];
    const int64_t from = whole_side(job, index) ? 0 : first;
    const int64_t elements = elements_of(job, index, count);
    *out = NULL;
    if (elements == 0 && count > 0)
        return MC_OK;
    *out = mc_source_view(input, from, elements, job->real);
    if (*out)
        return MC_OK;
    *out = (const mc_real *)buffer;
    return mc_in_tensor(error, job->name,
                        mc_source_read_as(input, from, elements, job->real, buffer, error));
}

mc_status mc_workspace_load(mc_workspace *workspace, const mc_job *job, int64_t first,
                            int64_t count, const void *state, mc_error *error)
{
    MC_TRY(reserve_pointers(workspace, job, error));
    MC_TRY(mc_workspace_reserve(workspace, mc_workspace_bytes(job, count), error));
    const mc_real **const inputs = workspace->pointers;
    assert(inputs);
    char *at = aligned(workspace);
    for (size_t i = 0; i < job->input_count; i++) {
        MC_TRY(load_input(job, i, first, count, at, &inputs[i], error));
        at += array_bytes(job, elements_of(job, i, count));
    }
    mc_layer *const layer = &workspace->layer;
    *layer = mc_job_whole(job, state, error);
    layer->averaged = &workspace->averaged;
    workspace->averaged = NULL;
    layer->first = first;
    layer->count = (size_t)count;
    layer->out = (mc_real *)at;
    layer->scratch = at + array_bytes(job, count);
    set_inputs(job, layer, inputs, (mc_side *)(inputs + job->input_count));
    return MC_OK;
}

void mc_workspace_cut(mc_workspace *workspace, const mc_job *job, size_t first, size_t count)
{
    const mc_layer *const layer = &workspace->layer;
    const size_t offset = first * mc_job_real_bytes(job);
    const mc_real **const inputs = workspace->pointers;
    const mc_real **const cut = (const mc_real **)((char *)workspace->pointers +
                                                   workspace->pointer_size / 2);
    assert(first < layer->count || layer->count == 0);
    for (size_t i = 0; i < job->input_count; i++)
        cut[i] = whole_side(job, i) ? inputs[i]
                                    : (const mc_real *)((const char *)inputs[i] + offset);
    mc_layer *const part = &workspace->part;
    *part = *layer;
    part->first = layer->first + (int64_t)first;
    part->count = layer->count - first < count ? layer->count - first : count;
    part->out = (mc_real *)((char *)layer->out + offset);
    set_inputs(job, part, cut, (mc_side *)(cut + job->input_count));
}
