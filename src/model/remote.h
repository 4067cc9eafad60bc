/*
 * A model on the Hub of which only the headers were downloaded. It is opened like any other, from a
 * temporary folder with files as long as the server's. Values are holes, which cannot be read.
 */
#ifndef MC_MODEL_REMOTE_H
#define MC_MODEL_REMOTE_H

#include "hub/session.h"
#include "model/model.h"

/* Makes the folder; `folder` is the snapshot in the cache, which has the complete files. */
mc_status mc_remote_make_folder(const mc_snapshot *snapshot, const char *folder, char **out,
                                mc_error *error);
/* Removes it and frees its path; accepts NULL. Models that are open stay usable. */
void mc_remote_remove(char *folder);

/* Makes values that were not downloaded unreadable, and counts their bytes. */
void mc_remote_limit(const mc_snapshot *snapshot, mc_model *model);

#endif
