/* In what two model folders differ beside their weights: config.json, tokenizer, other files. */
#ifndef MC_MERGE_FOLDER_DIFFERENCES_H
#define MC_MERGE_FOLDER_DIFFERENCES_H

#include <mergecraft/merge.h>

/*
 * Reports each key of config.json with different values, and each companion file (base/companion.h)
 * that differs byte for byte or that only one folder has. Model cards are not compared. A model
 * without a folder has no companion files to compare.
 */
mc_status mc_report_folder_differences(const mc_model *model, const mc_model *other,
                                       mc_report *report, mc_error *error);

#endif
