/* The headers of a server's reply. Their content is not trusted. */
#ifndef MC_HUB_REPLY_H
#define MC_HUB_REPLY_H

#include "hub/name.h"

/* A missing header is −1 for numbers, "" or NULL for text. */
typedef struct mc_reply {
    int status;
    bool encoded; /* the body is compressed: its length is not the file's */
    char commit[MC_COMMIT_SIZE];
    char etag[MC_ETAG_SIZE]; /* without quotes; "" if it is too long */
    char linked_etag[MC_ETAG_SIZE];
    int64_t length, linked_size;     /* Content-Length, X-Linked-Size */
    int64_t range_begin, range_size; /* Content-Range: first byte, bytes of the whole file */
    double retry_after;              /* seconds from now */
    char error_code[32], error_message[256];
    char *location;
    char *next; /* URL of the next page of a listing */
} mc_reply;

/* Resets a reply to "no headers" and frees what it owned. */
void mc_reply_clear(mc_reply *reply);

/*
 * Parses a header line, or the status line, which begins a new reply. Malformed headers are
 * ignored. `now`: seconds since 1970, for dates in Retry-After.
 */
void mc_reply_header(mc_reply *reply, const char *line, size_t size, int64_t now);

#endif
