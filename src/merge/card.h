/* README.md: the model card of a result. */
#ifndef MC_MERGE_CARD_H
#define MC_MERGE_CARD_H

#include "merge/folder.h"
#include "merge/plan.h"

mc_status mc_card_write(const mc_plan *plan, mc_folder *folder, mc_error *error);

#endif
