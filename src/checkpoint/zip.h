/* The members of a zip file that stores them uncompressed, as torch writes it. */
#ifndef MC_CHECKPOINT_ZIP_H
#define MC_CHECKPOINT_ZIP_H

#include "base/file.h"
#include "base/hash.h"

typedef struct mc_zip_member {
    char *name;
    int64_t header;     /* where its local header begins */
    int64_t begin, end; /* its bytes in the file */
} mc_zip_member;

typedef struct mc_zip {
    mc_zip_member *members; /* in the order of the file */
    size_t count;
    mc_index index; /* name → member */
} mc_zip;

/*
 * Reads the directory and checks it against the members' own headers: names once each and inside
 * the archive, nothing compressed, encrypted or overlapping. Zero-initialise *out; free it also
 * after a failure. Memory: about three times the directory.
 */
mc_status mc_zip_open(const mc_file *file, mc_zip *out, mc_error *error);
void mc_zip_free(mc_zip *zip);

/* NULL if there is no member of that name. */
const mc_zip_member *mc_zip_find(const mc_zip *zip, const char *name);

#endif
