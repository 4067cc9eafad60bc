/* Requests that wait for their reply, with retries: what an upload consists of. */
#ifndef MC_HUB_EXCHANGE_H
#define MC_HUB_EXCHANGE_H

#include "hub/repository.h"

#include <jansson.h>

typedef struct mc_exchange {
    const char *method; /* "GET", "POST", "PUT" */
    const char *url;
    const char *const *headers; /* lines, ending with NULL; NULL: none */
    const char *body;           /* NULL: none, or the file */
    size_t size;
    mc_file *file; /* bytes begin … begin + count − 1 are the body */
    int64_t begin, count;
    bool once; /* a broken connection is an error: the server may have acted on the request */
    const char *path; /* of the file in the repository, for errors; NULL: the repository */
    /* Called now and then with the bytes of the body that were sent; may be NULL. */
    void (*progress)(int64_t sent, void *user);
    void *user;
    /* The reply, whatever its status. */
    int status;
    char error_code[32];
    char etag[MC_ETAG_SIZE];
    json_t *json; /* NULL if the body is not JSON; json_decref it */
} mc_exchange;

/*
 * Sends a request and waits. MC_OK for any reply that retries cannot change; the caller looks at
 * the status. mc_exchange_expect fails unless it is 2xx.
 */
mc_status mc_exchange_send(const mc_repository *repository, mc_exchange *exchange, mc_error *error);
mc_status mc_exchange_expect(const mc_repository *repository, mc_exchange *exchange,
                             mc_error *error);

#endif
