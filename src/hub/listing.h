/* The list of files of a repository, as the server's API returns it. Its content is not trusted. */
#ifndef MC_HUB_LISTING_H
#define MC_HUB_LISTING_H

#include "hub/name.h"

/* Zero-initialise; call mc_listing_free also after a failure. */
typedef struct mc_listing {
    char commit[MC_COMMIT_SIZE];
    bool complete; /* the reply had a list of files */
    char **names;  /* only those that mc_hub_path_ok accepts */
    size_t count, capacity;
} mc_listing;

/* Parses …/api/models/ORG/NAME/revision/REVISION. */
mc_status mc_listing_parse(const char *text, size_t size, mc_listing *out, mc_error *error);
/* Parses a page of …/api/models/ORG/NAME/tree/COMMIT?recursive=true and adds its files. */
mc_status mc_listing_parse_tree(const char *text, size_t size, mc_listing *listing,
                                mc_error *error);
/* Adds a name; ignores one that mc_hub_path_ok rejects. */
mc_status mc_listing_add(mc_listing *listing, const char *name, mc_error *error);
bool mc_listing_has(const mc_listing *listing, const char *name);
void mc_listing_free(mc_listing *listing);

#endif
