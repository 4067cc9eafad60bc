/*
 * A blob while it is fetched. It is written to BLOB.mcHOST-PID-N.incomplete, a name of its own for each process, hashed while it
 * arrives, and renamed when it is what its name says. What a process that died has left is taken over by the next one.
 */
#ifndef MC_HUB_PARTIAL_H
#define MC_HUB_PARTIAL_H

#include "hub/cache.h"
#include "hub/sha.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct mc_partial {
    char *blob, *path; /* the name to be, and the name until then */
    char etag[MC_ETAG_SIZE];
    int fd, lock;    /* −1: not open, not locked */
    int64_t written; /* bytes from the start that are there */
    bool resumed;    /* some of them from an earlier process */
    /* The thread that hashes, for large files; `target` and `stop` are shared with it. */
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

/* Tries the lock that says to other processes that the blob is being fetched. Where there can be none, it counts as held. */
mc_lock mc_partial_lock(mc_partial *partial, const mc_hub_settings *settings,
                        const char *repository);

/* How many bytes of the blob an earlier process has left, or another one has got so far. */
int64_t mc_partial_arrived(const char *repository, const char *etag);

/* Opens the file, with what is there of it already. `size`: what it will have, −1 if that is not known. */
mc_status mc_partial_open(mc_partial *partial, int64_t size, mc_error *error);

mc_status mc_partial_write(mc_partial *partial, const void *bytes, size_t size, mc_error *error);
/* Forgets what is there. */
mc_status mc_partial_restart(mc_partial *partial, mc_error *error);

/* Whether the content is what its name says: MC_FORMAT if not. */
mc_status mc_partial_check(mc_partial *partial, mc_error *error);
mc_status mc_partial_commit(mc_partial *partial, mc_error *error);

/* Lets go of everything. What is not committed stays for the next time, unless it is to be removed. */
void mc_partial_end(mc_partial *partial, bool remove);

#endif
