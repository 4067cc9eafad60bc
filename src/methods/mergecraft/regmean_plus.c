/* RegMean++: RegMean with the Gram matrices of inputs that come from merged blocks. */
#define MC_METHOD_NAME(name_) "regmean++"

#include "methods/regmean.h"

MC_LAYER_MERGE(regmean_plus,
               .help = "as regmean, block by block: inputs come from the blocks merged before",
               .paper = "Nguyen et al. 2025, RegMean++, arXiv:2508.03121", .scope = MC_TENSOR,
               .reproducibility = MC_SAME_ON_MACHINE, .scratch_bytes = scratch_bytes,
               .check = regmean_check,
               .sides = MC_SIDES({"propagated_grams", .whole = true, .optional = true}),
               .params = REGMEAN_PARAMS(.95))
{
    return regmean_apply(layer);
}
