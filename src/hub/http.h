/*
 * HTTP by libcurl, which is loaded when first used; no other file uses it. One thread runs many
 * requests in parallel over shared connections. Redirects are followed here, one at a time, so that
 * the token is sent to the endpoint only.
 */
#ifndef MC_HUB_HTTP_H
#define MC_HUB_HTTP_H

#include "base/file.h"
#include "hub/reply.h"
#include "hub/settings.h"
#include "hub/url.h"

typedef struct mc_http mc_http;

/* How a request ended. */
typedef enum mc_http_end {
    MC_HTTP_REPLIED, /* the whole reply arrived, whatever its status */
    MC_HTTP_STOPPED, /* `body` returned false */
    MC_HTTP_BROKEN,  /* no connection, or it broke, or it was silent too long: retry */
    MC_HTTP_REFUSED  /* certificate, redirect or protocol rejected: final */
} mc_http_end;

typedef struct mc_request mc_request;
struct mc_request {
    /* The request. Zero-initialise the rest. The caller owns everything but `url`. */
    char *url; /* by mc_alloc; replaced by redirects; freed by mc_request_clear */
    bool head;
    const char *method;         /* with a body to send: "POST" or "PUT"; NULL: GET or HEAD */
    const char *const *headers; /* further lines, ending with NULL; NULL: none */
    const char *send;           /* the body to send, unless it is part of a file */
    const mc_file *send_file;
    int64_t send_begin, send_size; /* of the file; the size also of `send` */
    bool once; /* never sent twice: libcurl repeats a request if a reused connection is closed */
    long patience;      /* seconds without a byte; 0: the setting */
    bool stay;          /* return a redirect that leaves the endpoint instead of following it */
    int64_t begin, end; /* bytes begin … end − 1; both 0: all; end 0: to the end of the file */
    long timeout;       /* seconds for the whole request; 0: no limit while bytes arrive */
    /* Receives the body of a reply with status 2xx in pieces; false stops. NULL: ignored. */
    bool (*body)(mc_request *request, const char *bytes, size_t size);
    void (*done)(mc_request *request); /* called from mc_http_step; may start the request again */
    void *user;

    /* The result. */
    int64_t sent;     /* bytes of the body so far */
    bool send_failed; /* reading the file failed: send_error */
    mc_error send_error;
    mc_reply reply;
    mc_http_end how;
    char problem[256]; /* error text unless MC_HTTP_REPLIED */

    /* Private to http.c. */
    mc_http *http;
    void *easy;
    void *lines; /* its headers, if it has some of its own */
    char failure[256];
    int redirects;
    bool stopped;
    size_t ignored; /* bytes of a body without a receiver */
    double wake;    /* when to start, by mc_seconds; 0: running */
    double heard;   /* time of the last bytes; 0: not connected yet */
    mc_request *next;
};

/* MC_UNSUPPORTED without libcurl. The settings must outlive it. */
mc_status mc_http_new(const mc_hub_settings *settings, mc_http **out, mc_error *error);
void mc_http_free(mc_http *http); /* after all its requests were cleared; accepts NULL */

/* Starts a request in `pause` seconds (0: now). It must not move until it is done or cleared. */
mc_status mc_http_start(mc_http *http, mc_request *request, double pause, mc_error *error);

/* Advances all requests; waits at most `seconds` for an event. */
mc_status mc_http_step(mc_http *http, double seconds, mc_error *error);

/* Aborts the request if it runs, and frees what it owns. */
void mc_request_clear(mc_request *request);

#endif
