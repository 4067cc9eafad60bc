#include <mergecraft/method.h>

enum { SURVIVORS, MODELS };

/* Where an element survives: sum += model − base, survivors += 1. */
MC_PASS void add_survivors(mc_real *restrict sum, uint16_t *restrict survivors,
                           const uint16_t *restrict survives, const mc_real *restrict model,
                           const mc_real *restrict base, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real more = sum[i] + (model[i] - base[i]);
        sum[i] = survives[i] ? more : sum[i];
    }
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        survivors[i] = (uint16_t)(survivors[i] + survives[i]);
}

/* out = base + sum / (kept · divisor); the base itself, to the sign of its zero, where nothing survived. */
MC_PASS void add_mean(mc_real *restrict out, const mc_real *restrict base,
                      const mc_real *restrict sum, const uint16_t *restrict survivors, mc_real kept,
                      mc_real models, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real divisor = models > 0 ? models : (mc_real)survivors[i];
        const mc_real merged = base[i] + sum[i] / (kept * divisor);
        out[i] = survivors[i] > 0 ? merged : base[i];
    }
}

/* At most MC_RANDOM_GROUP elements from `start` on. */
static void merge_group(const mc_layer *layer, uint16_t limit, mc_real models, size_t start,
                        size_t count)
{
    mc_real sum[MC_RANDOM_GROUP] = {0};
    uint16_t survivors[MC_RANDOM_GROUP] = {0}, survives[MC_RANDOM_GROUP];
    const mc_real *const base = layer->base + start;
    for (size_t m = 0; m < layer->model_count; m++) {
        mc_random_bernoulli(layer->random_key, (uint32_t)m, layer->first + (int64_t)start, count,
                            limit, survives);
        add_survivors(sum, survivors, survives, layer->models[m] + start, base, count);
    }
    const mc_real kept = (mc_real)(1 - limit * 0x1p-16);
    add_mean(layer->out + start, base, sum, survivors, kept, models, count);
}

MC_LAYER_MERGE(
    dare,
    .help = "base plus the mean of the task vectors with elements dropped at random, the rest "
            "scaled up",
    .paper = "Yu et al. 2023, Language models are super Mario, arXiv:2311.03099",
    .scope = MC_ELEMENTWISE, .needs_base = true,
    .params = MC_PARAMS({"p", MC_NUMBER,
                         "probability that an element is dropped, to the nearest multiple of 2^-16",
                         .fallback = .5, .maximum = 1},
                        {"average", MC_CHOICE,
                         "what a sum is divided by: the survivors of the element, or all models",
                         .choices = MC_NAMES("survivors", "models")}))
{
    const double limit = nearbyint(mc_number(layer, "p") * 0x1p16);
    const mc_real models = mc_number(layer, "average") == MODELS ? (mc_real)layer->model_count : 0;
    if (limit > UINT16_MAX) {
        mc_tile_copy(layer->out, layer->base, layer->count);
        return;
    }
    for (size_t start = 0, next; start < layer->count; start = next) {
        const size_t left = layer->count - start;
        const size_t whole = MC_RANDOM_GROUP -
                             (size_t)(layer->first + (int64_t)start) % MC_RANDOM_GROUP;
        next = start + (left < whole ? left : whole);
        merge_group(layer, (uint16_t)limit, models, start, next - start);
    }
}
