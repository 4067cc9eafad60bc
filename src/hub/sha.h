/* SHA-1 and SHA-256 by libcrypto, which is loaded when first used. */
#ifndef MC_HUB_SHA_H
#define MC_HUB_SHA_H

#include "base/error.h"

typedef struct mc_sha mc_sha;

enum { MC_SHA_HEX = 65 }; /* size of a result in hexadecimal digits, with NUL */

/* `bits`: 160 or 256. MC_UNSUPPORTED without libcrypto. */
mc_status mc_sha_new(int bits, mc_sha **out, mc_error *error);
mc_status mc_sha_add(mc_sha *sha, const void *bytes, size_t size, mc_error *error);
mc_status mc_sha_finish(mc_sha *sha, char hex[MC_SHA_HEX], mc_error *error);
void mc_sha_free(mc_sha *sha); /* accepts NULL */

#endif
