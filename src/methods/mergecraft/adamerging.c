#include <mergecraft/method.h>

/*
 * mc_learn_coefficients finds the coefficients, one per tensor and model, and reads all parameters.
 * A tensor without coefficients, such as one of a head, is averaged.
 */
MC_LAYER_MERGE(
    adamerging, .help = "base plus task vectors; coefficients minimise entropy on examples",
    .paper = "Yang et al. 2023, AdaMerging, arXiv:2310.02575", .scope = MC_TENSOR,
    .reproducibility = MC_SAME_ON_MACHINE, .needs_base = true,
    .sides = MC_SIDES({"coefficients", .whole = true, .optional = true}),
    .params = MC_PARAMS({"mode", MC_CHOICE, "one coefficient per tensor and model, or per model",
                         .choices = MC_NAMES("layer", "task")},
                        {"steps", MC_INTEGER, "steps of Adam", .fallback = 500, .maximum = 1000000},
                        {"lr", MC_NUMBER, "length of a step", .fallback = 1e-3, .maximum = 1},
                        {"batch", MC_INTEGER, "examples per task and step", .fallback = 32,
                         .minimum = 1, .maximum = 1 << 22},
                        {"initial", MC_NUMBER, "coefficients before the first step", .fallback = .3,
                         .minimum = -10, .maximum = 10},
                        {"clamp", MC_FLAG, "limit coefficients to [0, 1]", .fallback = 1}))
{
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0;
        for (size_t t = 0; t < layer->model_count; t++) {
            const double factor = layer->side_count > 0 ? (double)layer->sides[0].tiles[t][0]
                                                        : 1 / (double)layer->model_count;
            sum += factor * ((double)layer->models[t][i] - (double)layer->base[i]);
        }
        layer->out[i] = (mc_real)((double)layer->base[i] + sum);
    }
    return MC_OK;
}
