#define RAM_RESCALES true
#include "methods/mergekit/ram.h"

MC_LAYER_MERGE(ramplus_tl,
               .help = "as ram, with changes of one model enlarged by how much it shares",
               .paper = "Reinforced Agent Merging, as mergekit has it", .scope = MC_ELEMENTWISE,
               .needs_base = true, .statistics = &ram_statistics,
               .params = MC_PARAMS(RAM_EPSILON,
                                   {"r", MC_NUMBER, "how much is enlarged", .fallback = .1},
                                   {"alpha", MC_NUMBER, "ratio of shared to own changes at most",
                                    .fallback = .2}))
{
    return ram_apply(layer);
}
