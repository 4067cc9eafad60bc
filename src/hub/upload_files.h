/* The files of a folder that is uploaded. */
#ifndef MC_HUB_UPLOAD_FILES_H
#define MC_HUB_UPLOAD_FILES_H

#include "hub/sha.h"
#include "hub/transfers.h"

typedef struct mc_upload_entry {
    char *path; /* in the repository */
    char *file; /* on the disk */
    int64_t size;
    bool large;              /* goes to the large file storage (LFS) */
    bool same;               /* the repository has it already */
    bool ignored;            /* by the repository's .gitignore */
    char sha256[MC_SHA_HEX]; /* of large files; "" until it is computed */
} mc_upload_entry;

typedef struct mc_upload_files {
    mc_upload_entry *entries; /* sorted by path */
    size_t count, capacity;
} mc_upload_files;

/*
 * Lists all files of a folder and of the folders in it, following links to files. Names that begin
 * with '.', and links to folders, are skipped with a note. Zero-initialise first; call
 * mc_upload_files_free also after a failure. MC_NOT_FOUND if there is nothing to upload.
 */
mc_status mc_upload_files_list(const mc_transfers *transfers, const char *folder,
                               mc_upload_files *out, mc_error *error);
void mc_upload_files_free(mc_upload_files *files);

/* Computes the sha256 of a large file, unless that is done. */
mc_status mc_upload_hash(const mc_transfers *transfers, mc_upload_entry *entry, mc_error *error);

/* Reads a small file. */
mc_status mc_upload_load(const mc_upload_entry *entry, char **out, mc_error *error);

/* Compares a file with the id that the repository has for its path: a git sha1 or a sha256. */
mc_status mc_upload_compare(const mc_transfers *transfers, mc_upload_entry *entry, const char *oid,
                            mc_error *error);

#endif
