/* Repositories that are fetched together. */
#ifndef MC_HUB_SESSION_H
#define MC_HUB_SESSION_H

#include <mergecraft/hub.h>

#include "base/text.h"
#include "hub/http.h"
#include "hub/partial.h"
#include "hub/want.h"

typedef struct mc_session mc_session;
typedef struct mc_repository mc_repository;

typedef enum mc_item_state {
    MC_ITEM_NEW,     /* nothing is known but the name */
    MC_ITEM_KNOWN,   /* the server told its size and checksum */
    MC_ITEM_LOCKED,  /* another process fetches it: waiting */
    MC_ITEM_RUNNING, /* being fetched, or waiting for another try */
    MC_ITEM_DONE     /* in the snapshot */
} mc_item_state;

/* One file of a repository. */
typedef struct mc_item {
    mc_session *session;
    mc_repository *repository;
    char *path;
    mc_role role;
    mc_item_state state;
    int64_t size; /* −1: not known */
    char etag[MC_ETAG_SIZE];
    char *address; /* where the content is */
    mc_request request;
    mc_partial partial;
    int failures;     /* since there was progress */
    int64_t begun_at; /* bytes that were there when this try began */
    int64_t received; /* by this process */
    double next_try;  /* by mc_seconds, while it waits */
    char waiting[96]; /* why; "" if it does not wait */
    bool wanted;      /* to be fetched when there is a place */
    bool looked;      /* the reply of this try was found to be what was asked for */
    bool restart;     /* it was not: once more from the beginning */
    bool fresh_try;   /* this try began at byte 0 */
    bool asked_again; /* for a new address, after the old one was refused */
    char *header;     /* its bytes */
    size_t header_size, header_room;
} mc_item;

struct mc_repository {
    mc_session *session;
    mc_hub_id id;
    const mc_hub_want *want;
    char *folder; /* in the cache */
    char commit[MC_COMMIT_SIZE];
    bool settled; /* all of it is in the cache: nothing is asked */
    mc_listing listing;
    mc_request request; /* for the listing */
    mc_text body;
    int failures;
    mc_item **items;
    size_t count, capacity;
};

struct mc_session {
    const mc_hub_options *options;
    mc_hub_settings settings;
    mc_http *http; /* NULL until there is something to ask */
    mc_repository *repositories;
    size_t count;
    size_t open; /* requests, and waits, that have not come to their end */
    mc_status status;
    mc_error error; /* the first failure */
    double begun, shown;
    mc_hub_file *files; /* for progress */
    size_t file_room;
};

/* The first pause before another try, in seconds; each is twice as long. A test makes it shorter. */
extern double mc_hub_first_pause;

/*
 * Finds out everything about the repositories, and fetches what is small: after it sizes are known and there is room for them.
 * `wants` and `options` must outlive the session. Zero-initialise; mc_session_end also after a failure.
 */
mc_status mc_session_begin(mc_session *session, const mc_hub_want *wants, size_t count,
                           const mc_hub_options *options, mc_error *error);

/* Fetches the headers of the safetensors files that are not in the cache, into item->header. */
mc_status mc_session_headers(mc_session *session, mc_error *error);

/* Fetches weights: all, or only those that have no header to look at. */
mc_status mc_session_weights(mc_session *session, bool all, mc_error *error);

/* Notes which commits the revisions are. */
mc_status mc_session_settle(mc_session *session, mc_error *error);

void mc_session_end(mc_session *session);

/* ---- between the files of this part ------------------------------------------------------------ */

/* Keeps the first failure, which ends everything. */
void mc_session_fail(mc_session *session, const char *file, const mc_error *error);
/* Runs until nothing is open, or something failed. */
mc_status mc_session_pump(mc_session *session, mc_error *error);
mc_item *mc_session_add(mc_repository *repository, const char *path, mc_role role, mc_error *error);
char *mc_session_address(const mc_repository *repository, const char *path);
void mc_session_note(const mc_session *session, const char *format, ...) MC_PRINTF(2, 3);

/* Whether how a request ended is worth another try; in how many seconds: < 0: there were `most`. `failures` counts them. */
bool mc_retry_is_worth(const mc_request *request);
double mc_retry_pause(const mc_request *request, int most, int *failures);
/* A server that cannot be reached at all is soon told; one that answers, or did, gets more time. */
enum { MC_FEW_FAILURES = 3, MC_MOST_FAILURES = 6 };

/* Says what a server's refusal means. `path` may be NULL. */
void mc_refusal(const mc_repository *repository, const char *path, const mc_request *request,
                mc_error *error);

/* Takes what is in the cache for the whole repository: MC_NOT_FOUND says what is not there. */
mc_status mc_session_use_cache(mc_repository *repository, mc_error *error);

/* Asks about a file; fetches it. They count as open until they come to their end. */
/* How many bytes of a file that is not complete have to arrive still, at least 1. */
int64_t mc_item_missing(const mc_item *item);
void mc_item_ask(mc_item *item);
void mc_item_fetch(mc_item *item);
void mc_item_fetch_header(mc_item *item);
/* Looks again at a lock that was taken. */
void mc_item_look(mc_item *item);
void mc_item_free(mc_item *item);

#endif
