/* mergecraft.json: the inputs and settings of a result, enough to make it again. */
#ifndef MC_MERGE_PROVENANCE_H
#define MC_MERGE_PROVENANCE_H

#include "merge/folder.h"
#include "merge/plan.h"

/* Write it last: it lists the folder's files with their checksums. */
mc_status mc_provenance_write(const mc_plan *plan, const mc_run_options *options, mc_folder *folder,
                              mc_error *error);

#endif
