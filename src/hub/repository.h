/* One repository at one revision: its name, its URLs, its folder in the cache. */
#ifndef MC_HUB_REPOSITORY_H
#define MC_HUB_REPOSITORY_H

#include "hub/name.h"
#include "hub/transfers.h"

typedef struct mc_repository {
    mc_transfers *transfers; /* borrowed */
    mc_hub_id id;
    char *folder;                /* in the cache */
    char commit[MC_COMMIT_SIZE]; /* that the revision resolves to; "" if it is not known yet */
} mc_repository;

/* Parses ORG/NAME[@REVISION]. Zero-initialise first; call mc_repository_close also on failure. */
mc_status mc_repository_open(mc_repository *repository, mc_transfers *transfers, const char *name,
                             mc_hub_kind kind, mc_error *error);
void mc_repository_close(mc_repository *repository);

/* These return a new URL, or NULL without memory. The file is that of the commit. */
char *mc_repository_file_url(const mc_repository *repository, const char *path);
/* …/api/models/ORG/NAME/ACTION/REVISION, e.g. "revision", "tree", "commit", "preupload". */
char *mc_repository_api_url(const mc_repository *repository, const char *action,
                            const char *revision);

#endif
