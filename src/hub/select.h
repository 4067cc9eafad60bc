/* Selects the files of a repository that a merge needs. */
#ifndef MC_HUB_SELECT_H
#define MC_HUB_SELECT_H

#include "hub/listing.h"

typedef enum mc_file_role {
    MC_FILE_SMALL,  /* configuration, tokenizer and the like */
    MC_FILE_INDEX,  /* names the shards of the weights */
    MC_FILE_WEIGHTS /* large */
} mc_file_role;

typedef mc_status mc_select_file(void *user, const char *path, mc_file_role role, mc_error *error);

/*
 * Calls `add` for each needed file of the listing, with weights in one format only. MC_NOT_FOUND if
 * there are no weights in a supported format.
 */
mc_status mc_select_files(const mc_listing *listing, mc_select_file *add, void *user,
                          mc_error *error);

/* Calls `add` once for each shard that the text of an index names. Folders are rejected. */
mc_status mc_select_shards(const char *text, size_t size, mc_select_file *add, void *user,
                           mc_error *error);

#endif
