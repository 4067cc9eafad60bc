#include "hub/list.h"

#include "base/memory.h"
#include "hub/refusal.h"
#include "hub/retry.h"

#include <string.h>

/* Bounds the memory that a server can make the client use. */
#define LISTING_LIMIT ((size_t)256 << 20)

static bool on_bytes(mc_request *request, const char *bytes, size_t size)
{
    mc_snapshot *const snapshot = request->user;
    if (snapshot->body.length + size > LISTING_LIMIT)
        return false;
    mc_text_append(&snapshot->body, bytes, size);
    return !snapshot->body.failed;
}

static void on_listed(mc_request *request);

/* Takes the URL, which may be NULL: no memory. */
static mc_status request_list(mc_snapshot *snapshot, char *url, double pause, mc_error *error)
{
    mc_text_free(&snapshot->body);
    mc_request_clear(&snapshot->request);
    snapshot->request = (mc_request){
        .url = url, .body = on_bytes, .done = on_listed, .user = snapshot};
    return url ? mc_http_start(snapshot->repository.transfers->http, &snapshot->request, pause,
                               error)
               : mc_fail_memory(error);
}

mc_status mc_list_begin(mc_snapshot *snapshot, mc_error *error)
{
    mc_repository *const repository = &snapshot->repository;
    /* Until it is known, replies are those of …/revision/…. */
    repository->commit[0] = '\0';
    repository->transfers->pending++;
    return request_list(
        snapshot, mc_repository_api_url(repository, "revision", repository->id.revision), 0, error);
}

/* ---- replies --------------------------------------------------------------------------------- */

static char *first_tree_url(const mc_repository *repository)
{
    char *const base = mc_repository_api_url(repository, "tree", repository->commit);
    char *const url = base ? mc_format("%s?recursive=true", base) : NULL;
    mc_free(base);
    return url;
}

/* The next page must be on the endpoint: the request carries the token. */
static char *next_page_url(const mc_snapshot *snapshot, mc_error *error)
{
    const mc_request *const request = &snapshot->request;
    mc_origin home, there;
    char *const url = mc_url_resolve(request->url, request->reply.next);
    if (url && mc_url_origin(url, &there) &&
        mc_url_origin(snapshot->repository.transfers->settings.endpoint, &home) &&
        mc_origin_same(&home, &there))
        return url;
    mc_free(url);
    mc_fail(error, MC_FORMAT, "the next page of the server's list of files is on another server");
    return NULL;
}

/*
 * The first reply (…/revision/…) has the commit and usually all names. Old servers omit the names:
 * then …/tree/… follows, page by page. Sets *more if another page was requested.
 */
static mc_status read_reply(mc_snapshot *snapshot, bool *more, mc_error *error)
{
    mc_listing *const listing = &snapshot->listing;
    mc_repository *const repository = &snapshot->repository;
    const mc_text *const body = &snapshot->body;
    const char *const text = body->data ? body->data : "";
    char *url = NULL;
    *more = false;
    if (!repository->commit[0]) {
        MC_TRY(mc_listing_parse(text, body->length, listing, error));
        memcpy(repository->commit, listing->commit, MC_COMMIT_SIZE);
        /* With a list of files in the specification, the names on the server are not needed. */
        if (listing->complete || snapshot->spec->files)
            return MC_OK;
        url = first_tree_url(repository);
    } else {
        MC_TRY(mc_listing_parse_tree(text, body->length, listing, error));
        if (!snapshot->request.reply.next)
            return MC_OK;
        url = next_page_url(snapshot, error);
        if (!url)
            return MC_FORMAT;
    }
    *more = true;
    snapshot->failures = 0;
    return request_list(snapshot, url, 0, error);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* The cache is no substitute if the server reports that the revision does not exist (any more). */
static void fall_back_to_cache(mc_snapshot *snapshot)
{
    mc_error refusal = MC_ERROR_NONE, ignored = MC_ERROR_NONE;
    mc_transfers *const transfers = snapshot->repository.transfers;
    char line[sizeof refusal];
    mc_refusal(&snapshot->repository, NULL, &snapshot->request, &refusal);
    const bool gone = strcmp(snapshot->request.reply.error_code, "RevisionNotFound") == 0;
    if (!gone && mc_snapshot_use_cache(snapshot, &ignored) == MC_OK)
        mc_transfers_note(transfers, "%s; using the files in the cache",
                          mc_error_message(&refusal, line, sizeof line));
    else
        mc_transfers_fail(transfers, snapshot->repository.id.name, &refusal);
    transfers->pending--;
}

/* Retries only if the cache has nothing to fall back to. False if the request was not repeated. */
static bool retry(mc_snapshot *snapshot, mc_error *error)
{
    mc_request *const request = &snapshot->request;
    if (!mc_retry_is_worth(request) || mc_snapshot_is_in_cache(snapshot))
        return false;
    /* A server that cannot be reached is given up earlier than one that replies. */
    const double pause = mc_retry_pause(
        request, request->how == MC_HTTP_BROKEN ? MC_FEW_FAILURES : MC_MOST_FAILURES,
        &snapshot->failures);
    return pause >= 0 && request_list(snapshot, mc_strdup(request->url), pause, error) == MC_OK;
}

static void on_listed(mc_request *request)
{
    mc_snapshot *const snapshot = request->user;
    mc_transfers *const transfers = snapshot->repository.transfers;
    mc_error error = MC_ERROR_NONE;
    bool more = false;
    if (request->how == MC_HTTP_REPLIED && request->reply.status == 200)
        (void)read_reply(snapshot, &more, &error);
    else if (request->how == MC_HTTP_STOPPED)
        mc_fail(&error, MC_FORMAT, "expected a list of files of at most %zu bytes, found more",
                LISTING_LIMIT);
    else if (retry(snapshot, &error))
        more = true;
    else if (error.code == MC_OK) {
        fall_back_to_cache(snapshot);
        return;
    }
    if (error.code != MC_OK)
        mc_transfers_fail(transfers, snapshot->repository.id.name, &error);
    if (error.code != MC_OK || !more)
        transfers->pending--;
}
