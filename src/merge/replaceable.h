/* Which folders --overwrite may replace. */
#ifndef MC_MERGE_REPLACEABLE_H
#define MC_MERGE_REPLACEABLE_H

#include "base/error.h"

/*
 * MC_EXISTS unless the folder is empty, or a model and nothing else: weights, configuration and the
 * files that transformers' save_pretrained writes, or those that its mergecraft.json lists.
 * Sub-folders count only if mergecraft.json lists their files.
 */
mc_status mc_replaceable(const char *folder, mc_error *error);

#endif
