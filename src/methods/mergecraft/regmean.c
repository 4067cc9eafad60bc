#include "methods/regmean.h"

MC_LAYER_MERGE(regmean,
               .help = "linear layers that reproduce every model's outputs on its own inputs best",
               .paper = "Jin et al. 2023, Dataless knowledge fusion, arXiv:2212.09849",
               .scope = MC_TENSOR, .reproducibility = MC_SAME_ON_MACHINE,
               .scratch_bytes = scratch_bytes, .check = regmean_check,
               .sides = MC_SIDES({"grams", .whole = true, .optional = true}),
               .params = REGMEAN_PARAMS(.9))
{
    return regmean_apply(layer);
}
