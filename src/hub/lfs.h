/* The large file storage of a repository: Git LFS with the Hub's multipart transfers. */
#ifndef MC_HUB_LFS_H
#define MC_HUB_LFS_H

#include "hub/exchange.h"
#include "hub/upload_files.h"

/*
 * Sends the content of large files that the storage does not have yet:
 *
 *     batch request ─▶ per file: nothing to do │ PUT (basic) │ PUT of parts, then POST (multipart)
 *                                └─▶ POST verify, if the server asks for it
 *
 * `files` are `count` entries with sha256; those with `same` set are left out. `progress` receives
 * the bytes sent of one of them. *sent is raised by the bytes that were sent.
 */
mc_status mc_lfs_upload(const mc_repository *repository, const mc_upload_files *files,
                        void (*progress)(const mc_upload_entry *entry, int64_t sent, void *user),
                        void *user, int64_t *sent, mc_error *error);

#endif
