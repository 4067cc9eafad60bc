/*
 * A model on the Hub of which only the headers are here. It is opened like any other, in a temporary folder that has the headers,
 * with holes for the values, which cannot be read then.
 */
#ifndef MC_MODEL_REMOTE_H
#define MC_MODEL_REMOTE_H

#include "hub/session.h"
#include "model/model.h"

bool mc_remote_is_complete(const mc_repository *repository);

/* Makes the folder; `snapshot` has the files that are complete. */
mc_status mc_remote_stand_in(const mc_repository *repository, const char *snapshot, char **out,
                             mc_error *error);
/* Removes it, and its name's memory; accepts NULL. Open models are not disturbed. */
void mc_remote_remove(char *folder);

/* Makes the values that are not here unreadable, and notes how many bytes are missing. */
void mc_remote_limit(const mc_repository *repository, mc_model *model);

#endif
