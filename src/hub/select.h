/* Selects the files of a repository that a merge needs. */
#ifndef MC_HUB_SELECT_H
#define MC_HUB_SELECT_H

#include "hub/listing.h"

typedef enum mc_file_role {
    MC_FILE_SMALL,   /* tokenizer and the like */
    MC_FILE_CONFIG,  /* config.json, which may refer to code */
    MC_FILE_MODULES, /* modules.json of sentence-transformers: names folders */
    MC_FILE_INDEX,   /* names the shards of the weights */
    MC_FILE_WEIGHTS  /* large */
} mc_file_role;

typedef mc_status mc_select_file(void *user, const char *path, mc_file_role role, mc_error *error);

/*
 * Calls `add` for each needed file of the listing, with weights in one format only. MC_NOT_FOUND if
 * there are no weights in a supported format.
 */
mc_status mc_select_files(const mc_listing *listing, mc_select_file *add, void *user,
                          mc_error *error);

/*
 * Calls `add` for each file that the content of a file refers to: shards of an index; of the files
 * in the listing, those in the folders of modules.json, and code if config.json has an auto_map.
 * Code is never executed, only copied along.
 */
mc_status mc_select_referenced(mc_file_role role, const char *text, size_t size,
                               const mc_listing *listing, mc_select_file *add, void *user,
                               mc_error *error);

#endif
