/* mergecraft.json: what a result was made of and how, enough to do it again. */
#ifndef MC_MERGE_PROVENANCE_H
#define MC_MERGE_PROVENANCE_H

#include "merge/folder.h"
#include "merge/plan.h"

mc_status mc_provenance_write(const mc_plan *plan, mc_folder *folder, mc_error *error);

#endif
