/*
 * A folder that appears under its name only when it is complete. Files are written into a hidden
 * one beside it (".NAME.merging"). A process locks it while it works in it, and renames it at the
 * end.
 */
#ifndef MC_MERGE_FOLDER_H
#define MC_MERGE_FOLDER_H

#include "base/file.h"

#include <jansson.h>

/* A file that was written, for mergecraft.json. */
typedef struct mc_folder_file {
    char *name;
    int64_t size;
    uint64_t checksum;
} mc_folder_file;

typedef struct mc_folder {
    char *target, *work;
    char *made;    /* the outermost parent folder that was created for it; NULL if all existed */
    int fd;        /* of the hidden folder, locked … */
    bool unlocked; /* … unless the file system has no locks */
    bool overwrite, sync;
    mc_folder_file *files;
    size_t file_count, file_capacity;
} mc_folder;

/*
 * Creates (or finds again) and locks the hidden folder; of a target that is a link, beside what it
 * leads to. MC_EXISTS if the target exists and may not be replaced, MC_BUSY if another process
 * works on it. Ends with one of mc_folder_commit, _discard, _keep, which all free it; after a
 * failure here there is nothing to end.
 */
mc_status mc_folder_begin(const char *target, bool overwrite, bool sync, mc_folder *out,
                          mc_error *error);

/*
 * Sets `target` and `work` of the folder and *parent, in new memory, also after a failure: the
 * caller frees all three. MC_USAGE if the target is not a name, such as "..".
 */
mc_status mc_folder_names(const char *target, mc_folder *folder, char **parent, mc_error *error);

/* MC_EXISTS if the target exists and may not be replaced. */
mc_status mc_folder_check_target(const char *target, bool overwrite, mc_error *error);

/* Removes what an earlier process left in the hidden folder. */
mc_status mc_folder_clear(mc_folder *folder, mc_error *error);

/* A new file in the hidden folder with this content. It is added to `files`. */
mc_status mc_folder_write(mc_folder *folder, const char *name, const void *bytes, size_t size,
                          mc_error *error);
/* The same, of a JSON value, indented. */
mc_status mc_folder_write_json(mc_folder *folder, const char *name, const json_t *value,
                               mc_error *error);

/* Adds a file that was written in another way to `files`. */
mc_status mc_folder_add_file(mc_folder *folder, const char *name, int64_t size, uint64_t checksum,
                             mc_error *error);

/* MC_NO_SPACE if the file system has less room than `bytes`. */
mc_status mc_folder_check_room(const mc_folder *folder, int64_t bytes, mc_error *error);

/* Gives the folder its name. On failure it is discarded. */
mc_status mc_folder_commit(mc_folder *folder, mc_error *error);
void mc_folder_discard(mc_folder *folder); /* removes it */
void mc_folder_keep(mc_folder *folder);    /* leaves it for a later run */

/* Opens a file in the hidden folder for writing, creating it if needed. −1 and errno on failure. */
int mc_folder_open(const mc_folder *folder, const char *name);
/* The same, but empty, whatever an earlier run has left; "sub/name" in a folder that is made. */
int mc_folder_create(const mc_folder *folder, const char *name);
/* Creates an empty file PREFIX and what no other process or moment gives, of at most 63 bytes. */
mc_status mc_folder_create_unique(const mc_folder *folder, const char *prefix, char name[64],
                                  mc_error *error);

/*
 * Removes a folder and what is in it; links are removed, not followed. 0, or −1 if something is
 * left.
 */
int mc_folder_remove(const char *path);

#endif
