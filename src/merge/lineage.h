/* How the models of a plan relate: the same model twice, licences that differ. */
#ifndef MC_MERGE_LINEAGE_H
#define MC_MERGE_LINEAGE_H

#include "merge/plan.h"

/* Reports a model that is given twice, one that is also the base, and a single model. */
mc_status mc_lineage_check(const mc_plan *plan, mc_error *error);

/* Fills plan->cards from the models' own cards; reports licences that differ. */
mc_status mc_lineage_read_cards(mc_plan *plan, mc_error *error);

#endif
