/*
 * Descriptors of files that are open for reading, within the process's limit: models of hundreds of
 * shards have more files than a process may have open. When the limit is near it is raised as far
 * as the system allows; then the file that was not read for the longest time is closed, and opened
 * again when it is read. Thread-safe.
 */
#ifndef MC_BASE_DESCRIPTOR_H
#define MC_BASE_DESCRIPTOR_H

#include "base/error.h"
#include "base/system.h"

/* What identifies a file, and the state of it that was opened. */
typedef struct mc_file_identity {
    uint64_t device, inode;
    int64_t size, modified_ns;
} mc_file_identity;

mc_file_identity mc_file_identity_from(const struct stat *status);
bool mc_file_identity_equal(const mc_file_identity *a, const mc_file_identity *b);

typedef struct mc_descriptor mc_descriptor;

/* Opens a regular file. Symbolic links are followed; folders, pipes and devices are rejected. */
mc_status mc_descriptor_open(const char *path, mc_descriptor **out, mc_file_identity *identity,
                             mc_error *error);
/*
 * The same, but opens the file at the first read. Its size and modification time must be those of
 * `expected`, which another process has determined.
 *
 * Errors: MC_MISMATCH  the file differs on this machine
 */
mc_status mc_descriptor_open_later(const char *path, const mc_file_identity *expected,
                                   mc_descriptor **out, mc_file_identity *identity,
                                   mc_error *error);
void mc_descriptor_close(mc_descriptor *descriptor); /* accepts NULL; it must have no readers */

/*
 * Hands out the descriptor, which stays open until it is released.
 * Errors: MC_CHANGED  the file was closed in between and is another one now
 */
mc_status mc_descriptor_acquire(mc_descriptor *descriptor, int *fd, mc_error *error);
void mc_descriptor_release(mc_descriptor *descriptor);

/* Closes files beyond `most` (for tests); 0: as the process's limit allows. */
void mc_descriptor_limit(size_t most);

#endif
