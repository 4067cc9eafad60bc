/*
 * A blob while it is downloaded. Each process writes to a file of its own,
 * BLOB.mcHOST-PID-N.incomplete, since some file systems grant a lock to everyone. The content is
 * hashed while it arrives, and the file is renamed to BLOB if the hash matches. The next process
 * takes over what a dead one left behind:
 *
 *     begin ▶ lock ▶ open (take over, or create) ▶ write … ▶ check ▶ commit ▶ end
 *                                      ▲             │         │
 *                                      └── restart ──┴─────────┘
 */
#ifndef MC_HUB_PARTIAL_H
#define MC_HUB_PARTIAL_H

#include "hub/cache.h"
#include "hub/sha.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct mc_partial {
    char *blob, *path; /* the final name, and the name until then */
    char etag[MC_ETAG_SIZE];
    int fd, lock;    /* −1: not open, not locked */
    int64_t written; /* bytes from the start that are there */
    bool resumed;    /* some of them by an earlier process */
    /*
     * Large files are hashed by a thread. `mutex` protects `target`, up to which it may read, and
     * `stop`; `changed` is signalled when they change. `hashed`, `hash_status` and `hash_error`
     * belong to the thread until it is joined.
     */
    bool threaded;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int64_t target;
    bool stop;
    atomic_bool quit;
    mc_sha *sha;
    int64_t hashed;
    mc_status hash_status;
    mc_error hash_error;
} mc_partial;

typedef enum mc_lock { MC_LOCK_HELD, MC_LOCK_BUSY } mc_lock;

/* Zero-initialise first. `etag`: 40 or 64 hexadecimal digits. */
mc_status mc_partial_begin(mc_partial *partial, const char *repository, const char *etag,
                           mc_error *error);

/*
 * Tries the lock that keeps other processes from downloading the same blob. It counts as held on a
 * file system without locks.
 */
mc_lock mc_partial_lock(mc_partial *partial, const mc_hub_settings *settings,
                        const char *repository);

/* Returns the bytes of the blob that an earlier or another process has written so far. */
int64_t mc_partial_arrived(const char *repository, const char *etag);

/* Opens the file, taking over a partial one if possible. `size`: the final size, −1: unknown. */
mc_status mc_partial_open(mc_partial *partial, int64_t size, mc_error *error);

mc_status mc_partial_write(mc_partial *partial, const void *bytes, size_t size, mc_error *error);
/* Truncates the file to nothing. */
mc_status mc_partial_restart(mc_partial *partial, mc_error *error);

/* Compares the checksum with the ETag: MC_FORMAT if they differ. */
mc_status mc_partial_check(mc_partial *partial, mc_error *error);
mc_status mc_partial_commit(mc_partial *partial, mc_error *error);

/* Frees everything. A partial file stays for the next call unless `remove` is set. */
void mc_partial_end(mc_partial *partial, bool remove);

#endif
