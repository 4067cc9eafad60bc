/*
 * The cache that all tools of the Hub share, in the layout of huggingface_hub:
 *
 *     CACHE/models--ORG--NAME/blobs/ETAG                   content
 *                            /refs/REVISION                commit that the revision resolved to
 *                            /snapshots/COMMIT/PATH        link to ../../blobs/ETAG
 *                            /.no_exist/COMMIT/PATH        file that does not exist on the server
 *     CACHE/.locks/models--ORG--NAME/ETAG.lock             held while a blob is downloaded
 *     CACHE/CACHEDIR.TAG
 */
#ifndef MC_HUB_CACHE_H
#define MC_HUB_CACHE_H

#include "hub/listing.h"
#include "hub/settings.h"

/* These return new paths, or NULL without memory. */
char *mc_cache_repository(const mc_hub_settings *settings, const mc_hub_id *id);
char *mc_cache_snapshot(const char *repository, const char *commit);
char *mc_cache_pointer(const char *repository, const char *commit, const char *path);
char *mc_cache_blob(const char *repository, const char *etag);

/* Returns whether a file exists (following links); *size is set if it is not NULL. */
bool mc_cache_has(const char *path, int64_t *size);

/* Creates the parent folders of a path. */
mc_status mc_cache_make_parents(const char *path, mc_error *error);

/* Reads the commit that a revision last resolved to; "" if unknown. A commit is returned as is. */
mc_status mc_cache_read_ref(const char *repository, const char *revision,
                            char commit[MC_COMMIT_SIZE], mc_error *error);
/* Leaves a ref that is up to date untouched, so that a read-only cache works. */
mc_status mc_cache_write_ref(const char *repository, const char *revision, const char *commit,
                             mc_error *error);

/* Lists the files of a snapshot; out->complete is false if there is no such snapshot. */
mc_status mc_cache_list(const char *repository, const char *commit, mc_listing *out,
                        mc_error *error);

/*
 * Adds a blob to a snapshot: as a link, or, with settings->copies or on a file system without
 * links, as the file itself. A `fresh` blob, which no other snapshot uses, is moved, others are
 * copied.
 */
mc_status mc_cache_place(const mc_hub_settings *settings, const char *repository,
                         const char *commit, const char *path, const char *etag, bool fresh,
                         mc_error *error);

/* Best effort: files for other tools, on which nothing here depends. */
void mc_cache_tag(const mc_hub_settings *settings);
void mc_cache_note_missing(const char *repository, const char *commit, const char *path);

#endif
