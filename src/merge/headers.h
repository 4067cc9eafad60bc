/* The public headers, for plug-ins that are compiled at run time. */
#ifndef MC_MERGE_HEADERS_H
#define MC_MERGE_HEADERS_H

#include <stddef.h>

typedef struct mc_header {
    const char *name; /* "mergecraft/method.h"; NULL ends the list */
    const unsigned char *bytes;
    size_t size;
} mc_header;

extern const mc_header mc_headers[];

#endif
