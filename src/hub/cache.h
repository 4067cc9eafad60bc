/*
 * The cache that all tools of the Hub share, as huggingface_hub lays it out:
 *
 *     CACHE/models--ORG--NAME/blobs/ETAG                   content
 *                            /refs/REVISION                the commit that it was last
 *                            /snapshots/COMMIT/PATH        link to ../../blobs/ETAG
 *                            /.no_exist/COMMIT/PATH        the server said that this is not there
 *     CACHE/.locks/models--ORG--NAME/ETAG.lock             held while a blob is fetched
 *     CACHE/CACHEDIR.TAG
 */
#ifndef MC_HUB_CACHE_H
#define MC_HUB_CACHE_H

#include "hub/reply.h"
#include "hub/settings.h"

/* Folder of a repository. NULL: no memory; the same for all that return text. */
char *mc_cache_repository(const mc_hub_settings *settings, const mc_hub_id *id);
char *mc_cache_snapshot(const char *repository, const char *commit);
char *mc_cache_pointer(const char *repository, const char *commit, const char *path);
char *mc_cache_blob(const char *repository, const char *etag);

/* Whether there is a file (links are followed); *size is set if it is not NULL. */
bool mc_cache_has(const char *path, int64_t *size);

/* mkdir -p of the folder that a path is in. */
mc_status mc_cache_make_parents(const char *path, mc_error *error);

/* The commit that a revision was last, "" if that is not known. A commit is its own. */
mc_status mc_cache_read_ref(const char *repository, const char *revision,
                            char commit[MC_COMMIT_SIZE], mc_error *error);
/* Does nothing if it says so already. */
mc_status mc_cache_write_ref(const char *repository, const char *revision, const char *commit,
                             mc_error *error);

/* The files that lie in a snapshot itself, not in folders of it; none if there is no such snapshot. */
mc_status mc_cache_list(const char *repository, const char *commit, mc_listing *out,
                        mc_error *error);

/*
 * Gives a blob its place in a snapshot: a link, or, with settings->copies or where there are no links, the file itself, moved there
 * if it is `fresh` (nobody else has it), copied otherwise.
 */
mc_status mc_cache_place(const mc_hub_settings *settings, const char *repository,
                         const char *commit, const char *path, const char *etag, bool fresh,
                         mc_error *error);

/* Best effort: notes for other tools, which nothing depends on. */
void mc_cache_tag(const mc_hub_settings *settings);
void mc_cache_note_missing(const char *repository, const char *commit, const char *path);

#endif
