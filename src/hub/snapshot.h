/* A repository at a commit, with its files that are needed: in the cache, or to download. */
#ifndef MC_HUB_SNAPSHOT_H
#define MC_HUB_SNAPSHOT_H

#include "base/text.h"
#include "hub/item.h"
#include "hub/listing.h"

typedef struct mc_snapshot {
    mc_repository repository;
    const mc_hub_spec *spec; /* borrowed */
    bool cached;             /* everything is in the cache, and the server is not asked */
    mc_listing listing;      /* of the server, or of the cache */
    mc_request request;      /* for the listing */
    mc_text body;            /* of its reply */
    int failures;            /* of that request */
    mc_item **items;
    size_t count, capacity;
} mc_snapshot;

/* Zero-initialise first; call mc_snapshot_close also after a failure. */
mc_status mc_snapshot_open(mc_snapshot *snapshot, mc_transfers *transfers, const mc_hub_spec *spec,
                           mc_error *error);
void mc_snapshot_close(mc_snapshot *snapshot);

/* Adds the files of the specification, or of the listing as mc_select_files selects them. */
mc_status mc_snapshot_add_files(mc_snapshot *snapshot, const mc_listing *listing, mc_error *error);
/* Adds the files that files which are DONE refer to (mc_select_referenced). */
mc_status mc_snapshot_add_referenced(mc_snapshot *snapshot, mc_error *error);

/* Takes all files from the cache and sets `cached`; MC_NOT_FOUND names the first missing file. */
mc_status mc_snapshot_use_cache(mc_snapshot *snapshot, mc_error *error);
/* Forgets what mc_snapshot_use_cache found. */
void mc_snapshot_reset(mc_snapshot *snapshot);

/* Whether the cache has any file of the revision. */
bool mc_snapshot_is_in_cache(const mc_snapshot *snapshot);
/* Whether a tokenizer is among the files, or the specification names the files. */
bool mc_snapshot_has_tokenizer(const mc_snapshot *snapshot);

/* Whether all files are in the snapshot. */
bool mc_snapshot_is_complete(const mc_snapshot *snapshot);

#endif
