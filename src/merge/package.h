/* The files of a merged model beside its weights: configuration, tokenizer, model card, provenance. */
#ifndef MC_MERGE_PACKAGE_H
#define MC_MERGE_PACKAGE_H

#include "merge/folder.h"
#include "merge/plan.h"

mc_status mc_package_write(const mc_plan *plan, mc_folder *folder, mc_error *error);

#endif
