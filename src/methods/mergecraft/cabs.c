/*
 * Models come one after the other: an element that an earlier model has taken is not free for later
 * ones. The order of the models therefore matters.
 */
#include <mergecraft/method.h>

enum { LARGEST_BLOCK = 4096 };
enum { BLOCKS, MAGNITUDE }; /* choices of `prune` */

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    if (values[0].numbers[0] <= values[1].numbers[0])
        return MC_OK;
    return mc_fail(error, MC_USAGE, "n: expected at most m = %g, found %g", values[1].numbers[0],
                   values[0].numbers[0]);
}

/* One byte per element: whether a model has taken it. */
static size_t scratch_bytes(const mc_layer *layer)
{
    return (size_t)layer->size;
}

/* The magnitude of a free element of the task vector; 0 of one that is taken, or NaN. */
static mc_real size_of(const mc_layer *layer, const uint8_t *used, const mc_real *model, size_t i)
{
    const mc_real size = mc_absolute(model[i] - layer->base[i]);
    return !used[i] && size > 0 ? size : 0;
}

static void take(const mc_layer *layer, uint8_t *used, const mc_real *model, mc_real weight,
                 size_t i)
{
    layer->out[i] += weight * (model[i] - layer->base[i]);
    used[i] = true;
}

/*
 * Takes the n largest magnitudes of a block; of equal ones the first. Zeros are not taken: they
 * would only keep places from later models.
 */
static void take_block(const mc_layer *layer, uint8_t *used, const mc_real *model, mc_real weight,
                       size_t start, size_t n, size_t m)
{
    mc_real sizes[LARGEST_BLOCK];
    for (size_t j = 0; j < m; j++)
        sizes[j] = size_of(layer, used, model, start + j);
    for (size_t pick = 0; pick < n; pick++) {
        size_t at = 0;
        for (size_t j = 1; j < m; j++)
            at = sizes[j] > sizes[at] ? j : at;
        if (sizes[at] == 0)
            return;
        sizes[at] = 0;
        take(layer, used, model, weight, start + at);
    }
}

/*
 * The magnitude of rank `rank` from below, found bit by bit from the top: each pass counts how many
 * are below a guess. That takes as many passes as a real has bits, and no memory for a sort.
 * Elements that are taken count as zeros.
 */
static mc_real magnitude_of_rank(const mc_layer *layer, const uint8_t *used, const mc_real *model,
                                 size_t rank)
{
    mc_bits found = 0;
    for (mc_bits bit = MC_TOP_BIT >> 1; bit > 0; bit >>= 1) {
        const mc_real guess = mc_real_of(found | bit);
        size_t below = 0;
        for (size_t i = 0; i < layer->count; i++)
            below += size_of(layer, used, model, i) < guess;
        found |= guess == guess && below <= rank ? bit : 0;
    }
    return mc_real_of(found);
}

static void take_largest(const mc_layer *layer, uint8_t *used, const mc_real *model, mc_real weight)
{
    const size_t wanted = (size_t)(mc_number(layer, "sparsity") * (double)layer->count);
    if (layer->count == 0)
        return;
    const size_t rank = wanted < layer->count ? wanted : layer->count - 1;
    const mc_real limit = magnitude_of_rank(layer, used, model, rank);
    for (size_t i = 0; i < layer->count; i++)
        if (size_of(layer, used, model, i) > limit)
            take(layer, used, model, weight, i);
}

/* NaN is never among the largest: it would be lost. */
static void keep_nan(const mc_layer *layer)
{
    for (size_t t = 0; t < layer->model_count; t++)
        for (size_t i = 0; i < layer->count; i++)
            if (layer->models[t][i] != layer->models[t][i])
                layer->out[i] = (mc_real)NAN;
}

MC_LAYER_MERGE(
    cabs,
    .help = "base plus the largest n of every m task-vector elements, without overlap of models",
    .paper = "Yang et al. 2025, CABS, arXiv:2503.01874", .scope = MC_TENSOR, .needs_base = true,
    .check = check, .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS(
        {"n", MC_INTEGER, "elements that are kept of a block", .fallback = 64, .minimum = 1,
         .maximum = LARGEST_BLOCK},
        {"m", MC_INTEGER, "elements of a block; a shorter last block is dropped", .fallback = 256,
         .minimum = 1, .maximum = LARGEST_BLOCK},
        {"weights", MC_NUMBER, "factor of each model's task vector", .per_input = true,
         .required = true},
        {"prune", MC_CHOICE, "keep the largest of each block, or the largest of the tensor",
         .choices = MC_NAMES("blocks", "magnitude")},
        {"sparsity", MC_NUMBER, "share that prune=magnitude drops", .fallback = .75, .maximum = 1}))
{
    const size_t n = (size_t)mc_number(layer, "n"), m = (size_t)mc_number(layer, "m");
    const bool by_blocks = mc_number(layer, "prune") == BLOCKS;
    const double *const weights = mc_numbers(layer, "weights");
    uint8_t *const used = layer->scratch;
    memset(used, 0, layer->count);
    mc_tile_copy(layer->out, layer->base, layer->count);
    for (size_t t = 0; t < layer->model_count; t++) {
        const mc_real weight = (mc_real)weights[t];
        for (size_t start = 0; by_blocks && start + m <= layer->count; start += m)
            take_block(layer, used, layer->models[t], weight, start, n, m);
        if (!by_blocks)
            take_largest(layer, used, layer->models[t], weight);
    }
    keep_nan(layer);
    return MC_OK;
}
