/*
 * HTTP, by libcurl, which is loaded when it is first needed; the one file that knows it. Many requests run side by side in one
 * thread and share connections. Redirects are followed here, one by one, so that the token goes to the endpoint and nobody else.
 */
#ifndef MC_HUB_HTTP_H
#define MC_HUB_HTTP_H

#include "hub/reply.h"
#include "hub/settings.h"
#include "hub/url.h"

typedef struct mc_http mc_http;

/* How a request came to its end. */
typedef enum mc_http_end {
    MC_HTTP_REPLIED, /* the whole reply is there, whatever its status */
    MC_HTTP_STOPPED, /* `body` wanted no more */
    MC_HTTP_BROKEN,  /* no connection, or it broke, or it fell silent: worth another try */
    MC_HTTP_REFUSED  /* a certificate, a redirect or a protocol that cannot be accepted: final */
} mc_http_end;

typedef struct mc_request mc_request;
struct mc_request {
    /* What is asked; owned by the caller, but for `url`, which follows redirects. Zero-initialise the rest. */
    char *url; /* by mc_alloc; freed by mc_request_clear */
    bool head;
    bool stay; /* give back a redirect that leads away from the endpoint, instead of following it */
    int64_t begin, end; /* bytes begin … end − 1; both 0: all; end 0: to the end of the file */
    long timeout;       /* seconds for all of it; 0: as long as bytes arrive */
    /* Gets the body of a good reply (2xx) piece by piece; false to stop. NULL: nobody wants it. */
    bool (*body)(mc_request *request, const char *bytes, size_t size);
    void (*done)(mc_request *request); /* called from mc_http_step; may start the request again */
    void *user;

    /* What came of it. */
    mc_reply reply;
    mc_http_end how;
    char problem[256]; /* in words, if not MC_HTTP_REPLIED */

    /* Of http.c. */
    mc_http *http;
    void *easy;
    char failure[256];
    int redirects;
    bool stopped;
    size_t ignored; /* bytes of a body that nobody wants */
    double wake;    /* when to start; 0: running */
    mc_request *next;
};

/* MC_UNSUPPORTED without libcurl. The settings must outlive it. */
mc_status mc_http_new(const mc_hub_settings *settings, mc_http **out, mc_error *error);
void mc_http_free(mc_http *http); /* after its requests were cleared; accepts NULL */

/* Starts a request in `pause` seconds (0: now). It must stay where it is until it is done, or cleared. */
mc_status mc_http_start(mc_http *http, mc_request *request, double pause, mc_error *error);

/* Lets requests go on; waits at most `seconds` for something to happen. */
mc_status mc_http_step(mc_http *http, double seconds, mc_error *error);

/* Makes a step that waits in another thread return. */
void mc_http_wake(mc_http *http);

/* Ends the request, whatever it does, and frees what it owns. */
void mc_request_clear(mc_request *request);

#endif
