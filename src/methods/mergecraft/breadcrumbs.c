/*
 * As in the authors' code: each row of the last dimension by itself, and the sum of what is kept.
 * mergekit:breadcrumbs takes whole tensors and weights.
 */
#include <mergecraft/method.h>

/* Scratch of one row: its magnitudes, and twice the order of its elements, for merging. */
static size_t row_of(const mc_layer *layer)
{
    return layer->rank > 0 && layer->size > 0 ? (size_t)layer->shape[layer->rank - 1] : 1;
}

static size_t scratch_bytes(const mc_layer *layer)
{
    return row_of(layer) * (sizeof(mc_bits) + 2 * sizeof(uint32_t));
}

/*
 * Sorts indices by descending key; of equal keys the lower index comes first. A stable merge sort,
 * so that ties have one order on every machine.
 */
static void sort_row(const mc_bits *keys, uint32_t *order, uint32_t *other, size_t count)
{
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            const size_t middle = begin + width < count ? begin + width : count;
            const size_t end = middle + width < count ? middle + width : count;
            size_t left = begin, right = middle;
            for (size_t at = begin; at < end; at++) {
                const bool first = left < middle &&
                                   (right >= end || keys[order[left]] >= keys[order[right]]);
                other[at] = first ? order[left++] : order[right++];
            }
        }
        memcpy(order, other, count * sizeof *order);
    }
}

/* Adds what is kept of one row of a task vector to `sum`. */
static void add_row(const mc_layer *layer, const mc_real *model, const mc_real *base, mc_real *sum)
{
    const size_t count = row_of(layer);
    mc_bits *const keys = layer->scratch;
    uint32_t *const order = (uint32_t *)(keys + count);
    const size_t removed = (size_t)((double)count * mc_number(layer, "remove"));
    const size_t kept = (size_t)((double)count * mc_number(layer, "keep"));
    const size_t end = removed + kept < count ? removed + kept : count;
    for (size_t i = 0; i < count; i++)
        keys[i] = mc_bits_of(mc_absolute(model[i] - base[i]));
    sort_row(keys, order, order + count, count);
    for (size_t rank = removed; rank < end; rank++)
        sum[order[rank]] += model[order[rank]] - base[order[rank]];
    for (size_t i = 0; i < count; i++)
        /*
         * NaN ranks above all numbers and would be dropped with the largest: it is kept in any
         * case, so that it is seen.
         */
        sum[i] = model[i] != model[i] ? model[i] : sum[i];
}

MC_LAYER_MERGE(
    breadcrumbs,
    .help = "base plus the sum of the task vectors without the smallest and largest of each row",
    .paper = "Davari and Belilovsky 2023, Model Breadcrumbs, arXiv:2312.06795", .scope = MC_ROW,
    .needs_base = true, .scratch_bytes = scratch_bytes,
    .params = MC_PARAMS({"keep", MC_NUMBER, "share of a row's elements that is kept",
                         .fallback = .15, .maximum = 1},
                        {"remove", MC_NUMBER,
                         "share of a row's elements, the largest, that is dropped first",
                         .fallback = .006, .maximum = 1},
                        {"alpha", MC_NUMBER, "factor of the sum", .fallback = .2},
                        {"per", MC_CHOICE,
                         "what is ranked together; for whole tensors, see mergekit:breadcrumbs",
                         .choices = MC_NAMES("row")}))
{
    const size_t row = row_of(layer);
    const mc_real alpha = (mc_real)mc_number(layer, "alpha");
    mc_tile_fill(layer->out, 0, layer->count);
    for (size_t start = 0; start < layer->count; start += row)
        for (size_t t = 0; t < layer->model_count; t++)
            add_row(layer, layer->models[t] + start, layer->base + start, layer->out + start);
    mc_tile_add_scaled(layer->out, layer->base, alpha, layer->out, layer->count);
    return MC_OK;
}
