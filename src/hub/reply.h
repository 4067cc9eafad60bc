/* What a server answers: headers, and listings of repositories. Nothing of it is trusted. */
#ifndef MC_HUB_REPLY_H
#define MC_HUB_REPLY_H

#include "hub/name.h"

/* Of one reply. −1 stands for a number that was not there, "" or NULL for text. */
typedef struct mc_reply {
    int status;
    bool encoded; /* the body is compressed: its length is not the file's */
    char commit[MC_COMMIT_SIZE];
    char etag[MC_ETAG_SIZE]; /* without quotes; cut if it is none of ours */
    char linked_etag[MC_ETAG_SIZE];
    int64_t length, linked_size;     /* Content-Length, X-Linked-Size */
    int64_t range_begin, range_size; /* Content-Range: first byte, bytes of the whole file */
    double retry_after;              /* seconds from now */
    char error_code[32], error_message[256];
    char *location;
    char *next; /* the following page of a listing */
} mc_reply;

/* An empty one, with −1 where that stands for nothing; frees what was there. */
void mc_reply_clear(mc_reply *reply);

/*
 * Takes one header line, or the status line, which begins a new reply. `now` is the time in seconds since 1970, for dates in
 * Retry-After. What cannot be understood is left out.
 */
void mc_reply_header(mc_reply *reply, const char *line, size_t size, int64_t now);

/* Files of a repository, of a commit. */
typedef struct mc_listing {
    char commit[MC_COMMIT_SIZE];
    bool complete; /* the reply had a list of files */
    char **names;  /* those that mc_hub_path_ok allows; others are nothing that could be used */
    size_t count, capacity;
} mc_listing;

/* …/api/models/ORG/NAME/revision/REVISION. Zero-initialise *out; free it also after a failure. */
mc_status mc_listing_parse(const char *text, size_t size, mc_listing *out, mc_error *error);
/* A page of …/api/models/ORG/NAME/tree/COMMIT?recursive=true: adds its files. */
mc_status mc_listing_parse_tree(const char *text, size_t size, mc_listing *listing,
                                mc_error *error);
mc_status mc_listing_add(mc_listing *listing, const char *name, mc_error *error);
bool mc_listing_has(const mc_listing *listing, const char *name);
void mc_listing_free(mc_listing *listing);

#endif
