#define RAM_RESCALES false
#include "methods/mergekit/ram.h"

MC_LAYER_MERGE(ram,
               .help = "base plus changes: those of one model in full, shared ones as their mean",
               .paper = "Reinforced Agent Merging, as mergekit has it", .scope = MC_ELEMENTWISE,
               .needs_base = true, .params = MC_PARAMS(RAM_EPSILON))
{
    return ram_apply(layer);
}
