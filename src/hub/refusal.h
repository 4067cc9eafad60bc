/* What a failed request means to the user. */
#ifndef MC_HUB_REFUSAL_H
#define MC_HUB_REFUSAL_H

#include "hub/repository.h"

/*
 * Fills the error for a request that did not end with 2xx: MC_NOT_FOUND for a repository, revision
 * or file that is missing, private or gated, else MC_IO. `path` is the file in the repository, NULL
 * for the repository itself.
 */
void mc_refusal(const mc_repository *repository, const char *path, const mc_request *request,
                mc_error *error);

#endif
