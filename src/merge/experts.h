/*
 * Mixtures of experts under two layouts: a tensor per expert, as most files have them, and one
 * tensor of all experts, as transformers has had in memory since version 5:
 *
 *     X.experts.E.gate_proj.weight [I, H] ┐
 *     X.experts.E.up_proj.weight   [I, H] ┴ X.experts.gate_up_proj [experts, 2 I, H]
 *     X.experts.E.down_proj.weight [H, I] ─ X.experts.down_proj    [experts, H, I]
 */
#ifndef MC_MERGE_EXPERTS_H
#define MC_MERGE_EXPERTS_H

#include "model/match.h"

/* A tensor of the wanted layout, made of those that the dict has. */
typedef struct mc_expert {
    const char *name; /* as wanted; borrowed */
    mc_source *source;
    size_t origin; /* the first of the dict's tensors that it is made of */
} mc_expert;

typedef struct mc_experts {
    mc_expert *made;
    size_t count, capacity;
    bool *used; /* per tensor of the dict: what is made replaces it */
} mc_experts;

/*
 * Makes the wanted tensors that the dict lacks and has in the other layout. Zero-initialise *out;
 * free it also after a failure.
 */
mc_status mc_experts_make(const mc_state_dict *dict, const mc_match_side *wanted, mc_experts *out,
                          mc_error *error);
void mc_experts_free(mc_experts *experts);

#endif
