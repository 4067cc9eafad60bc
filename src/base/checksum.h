/*
 * XXH64, as the tool xxhsum computes it (-H1, seed 0): a checksum that finds damaged files and not
 * attacks, at memory bandwidth. SHA-256 takes longer than many a merge.
 */
#ifndef MC_BASE_CHECKSUM_H
#define MC_BASE_CHECKSUM_H

#include "base/error.h"

typedef struct mc_checksum {
    uint64_t lanes[4];
    unsigned char rest[32]; /* bytes that do not fill a block yet: size % 32 of them */
    uint64_t size;          /* of all bytes so far */
} mc_checksum;

void mc_checksum_begin(mc_checksum *sum);
void mc_checksum_add(mc_checksum *sum, const void *bytes, size_t size);
uint64_t mc_checksum_end(const mc_checksum *sum);

/* 16 hexadecimal digits and NUL. */
enum { MC_CHECKSUM_TEXT = 17 };
void mc_checksum_text(uint64_t value, char out[MC_CHECKSUM_TEXT]);

/*
 * Computes the checksum and size of a file that is open. Stops with MC_INTERRUPTED once *cancel is
 * not 0; `cancel` may be NULL. `path` is for messages.
 */
mc_status mc_checksum_file(int fd, const char *path, const volatile int *cancel, int64_t *size,
                           uint64_t *value, mc_error *error);

/* Adds the bytes `from` to `end` of a file. MC_IO if it is shorter. */
mc_status mc_checksum_add_file(mc_checksum *sum, int fd, const char *path, int64_t from,
                               int64_t end, mc_error *error);

#endif
