/* Which files of a repository a merge needs. */
#ifndef MC_HUB_WANT_H
#define MC_HUB_WANT_H

#include "hub/reply.h"

typedef enum mc_role {
    MC_ROLE_SMALL,  /* configuration, tokenizer */
    MC_ROLE_INDEX,  /* names the files of the weights */
    MC_ROLE_WEIGHTS /* large */
} mc_role;

/*
 * Calls `add` for each file of the listing that is needed: weights in one format only. MC_NOT_FOUND if there are no weights that
 * could be read.
 */
mc_status mc_want_select(const mc_listing *listing,
                         mc_status (*add)(void *user, const char *path, mc_role role,
                                          mc_error *error),
                         void *user, mc_error *error);

/* The files of the weights, by an index: each once. The same checks as in checkpoints: names without folders. */
mc_status mc_want_shards(const char *text, size_t size,
                         mc_status (*add)(void *user, const char *path, mc_role role,
                                          mc_error *error),
                         void *user, mc_error *error);

#endif
