/* Requests the list of a repository's files, which also resolves the revision to a commit. */
#ifndef MC_HUB_LIST_H
#define MC_HUB_LIST_H

#include "hub/snapshot.h"

/*
 * Starts the request, which counts as pending in the transfers until it ends: with
 * snapshot->listing and the commit filled, with snapshot->cached if the server rejects it or cannot
 * be reached and the cache has all files, or with a failure.
 */
mc_status mc_list_begin(mc_snapshot *snapshot, mc_error *error);

#endif
