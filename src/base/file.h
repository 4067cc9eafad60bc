/* A file that is open for reading, shared by the tensors in it. */
#ifndef MC_BASE_FILE_H
#define MC_BASE_FILE_H

#include "base/descriptor.h"
#include "base/error.h"
#include "base/excerpt.h"
#include "base/system.h"

typedef struct mc_file mc_file;

/*
 * Opens a regular file (symbolic links are followed; folders, pipes and devices are rejected).
 * Returns one reference.
 */
mc_status mc_file_open(const char *path, mc_file **out, mc_error *error);
mc_file *mc_file_ref(mc_file *file);
void mc_file_unref(mc_file *file); /* accepts NULL */

const char *mc_file_path(const mc_file *file);
int64_t mc_file_size(const mc_file *file);
/* Returns the descriptor, borrowed, and keeps it open as long as the file; -1 if it cannot. */
int mc_file_descriptor(const mc_file *file);
mc_file_identity mc_file_identity_of(const mc_file *file);

/*
 * Reads exactly `size` bytes from `offset`; retries short and interrupted reads. A range beyond the
 * size at opening is MC_FORMAT, an end that comes earlier MC_CHANGED (the file shrank).
 * Thread-safe.
 */
mc_status mc_file_read(const mc_file *file, int64_t offset, void *out, size_t size,
                       mc_error *error);

/* Adds what is read to an excerpt, until mc_file_forget; meanwhile, one thread reads. */
void mc_file_record(mc_file *file, mc_excerpt *excerpt);
/*
 * Opens a file that another process has opened and recorded. What is in the excerpt is read from
 * there, until mc_file_forget; the file is opened when something else is read.
 *
 * Errors: MC_MISMATCH  the file differs on this machine
 */
mc_status mc_file_open_excerpt(const char *path, const mc_file_identity *identity,
                               mc_excerpt *excerpt, mc_file **out, mc_error *error);
void mc_file_forget(mc_file *file);

/*
 * Limits reads to the first `size` bytes: the others were not downloaded. Call it before the file
 * is shared with other threads.
 */
void mc_file_limit(mc_file *file, int64_t size);

/* Hints that the range will be read soon: the system starts reading what it has not cached. */
void mc_file_read_ahead(const mc_file *file, int64_t offset, int64_t size);

/* MC_CHANGED if the file at the path is not the one that was opened, or was modified since. */
mc_status mc_file_check(const mc_file *file, mc_error *error);

/* Bytes that this process has read from files with mc_file_read. */
int64_t mc_file_bytes_read(void);

/*
 * Opens the folder at a path to list it; NULL with errno on failure. Close it with closedir.
 * mc_next_entry returns the name of the next entry except "." and "..", valid until the next call.
 * It returns NULL at the end, with errno 0, and on failure.
 */
DIR *mc_list_folder(const char *path);
const char *mc_next_entry(DIR *entries);

/*
 * Reads a whole small file; MC_FORMAT if it is larger than limit. *out is NUL-terminated, the
 * caller frees it.
 */
mc_status mc_file_load(const char *path, int64_t limit, char **out, size_t *size, mc_error *error);

/* Reads standard input to its end, otherwise as mc_file_load. */
mc_status mc_input_load(int64_t limit, char **out, size_t *size, mc_error *error);

/* Results of mc_lock_file. */
typedef enum mc_locked {
    MC_LOCKED_HERE,      /* until the descriptor is closed */
    MC_LOCKED_ELSEWHERE, /* another process has the lock */
    MC_LOCKED_NOT,       /* the file system has no locks */
    MC_LOCKED_FAILED     /* see errno */
} mc_locked;

/* Locks the open file or folder `fd` against other processes, without waiting. */
mc_locked mc_lock_file(int fd);

/* Writes all bytes; retries short and interrupted writes. The error names the file. */
mc_status mc_write_all(int fd, const char *name, const void *bytes, size_t size, int64_t offset,
                       mc_error *error);

#endif
