/* Base64 (RFC 4648), which the Hub's API uses for the content of small files. */
#ifndef MC_HUB_BASE64_H
#define MC_HUB_BASE64_H

#include "base/text.h"

/* Returns the encoded bytes as new text; NULL without memory. */
char *mc_base64(const void *bytes, size_t size);

#endif
