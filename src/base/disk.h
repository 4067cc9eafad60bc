/* Room on file systems. */
#ifndef MC_BASE_DISK_H
#define MC_BASE_DISK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mc_disk {
    uint64_t device; /* the same for two paths: the same file system */
    int64_t free;    /* bytes that the user may still write */
} mc_disk;

/*
 * Finds the file system of a path, or of the nearest folder above it that exists. Returns false if
 * it cannot be determined.
 */
bool mc_disk_at(const char *path, mc_disk *out);

#endif
