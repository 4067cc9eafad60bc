#include <mergecraft/method.h>

enum { SURVIVORS, MODELS };

/* Where a number is at least `limit`: sum += (model − base) / kept, survivors += 1. */
MC_PASS void add_survivors(mc_real *sum, mc_real *survivors, const uint32_t *numbers,
                           uint32_t limit, const mc_real *model, const mc_real *base, mc_real kept,
                           size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const bool survives = numbers[i] >= limit;
        const mc_real task = (model[i] - base[i]) / kept;
        sum[i] += survives ? task : 0;
        survivors[i] += survives ? (mc_real)1 : (mc_real)0;
    }
}

/* out = base + sum / divisor; the base itself, to the sign of its zero, where nothing survived. */
MC_PASS void add_mean(mc_real *out, const mc_real *base, const mc_real *sum,
                      const mc_real *survivors, mc_real models, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real divisor = models > 0 ? models : survivors[i];
        const mc_real merged = base[i] + sum[i] / divisor;
        out[i] = survivors[i] > 0 ? merged : base[i];
    }
}

/* The block of at most MC_TILE_BLOCK elements from `start` on. */
static void merge_block(const mc_layer *layer, uint32_t limit, mc_real kept, mc_real models,
                        size_t start, size_t count)
{
    mc_real sum[MC_TILE_BLOCK] = {0}, survivors[MC_TILE_BLOCK] = {0};
    uint32_t numbers[MC_TILE_BLOCK];
    for (size_t m = 0; m < layer->model_count; m++) {
        mc_random_u32(layer->random_key, (uint32_t)m, layer->first + (int64_t)start, count,
                      numbers);
        add_survivors(sum, survivors, numbers, limit, layer->models[m] + start, layer->base + start,
                      kept, count);
    }
    add_mean(layer->out + start, layer->base + start, sum, survivors, models, count);
}

MC_LAYER_MERGE(
    dare,
    .help = "base plus the mean of the task vectors with elements dropped at random, the rest "
            "scaled up",
    .paper = "Yu et al. 2023, Language models are super Mario, arXiv:2311.03099",
    .scope = MC_ELEMENTWISE, .needs_base = true,
    .params = MC_PARAMS({"p", MC_NUMBER, "probability that an element is dropped", .fallback = .5,
                         .maximum = 1},
                        {"average", MC_CHOICE,
                         "what a sum is divided by: the survivors of the element, or all models",
                         .choices = MC_NAMES("survivors", "models")}))
{
    const double p = mc_number(layer, "p");
    const double limit = ceil(p * 0x1p32); /* exact: only the exponent changes */
    const mc_real models = mc_number(layer, "average") == MODELS ? (mc_real)layer->model_count : 0;
    if (limit > UINT32_MAX) {
        mc_tile_copy(layer->out, layer->base, layer->count);
        return;
    }
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK)
        merge_block(layer, (uint32_t)limit, (mc_real)(1 - p), models, start,
                    mc_tile_block(start, layer->count));
}
