/* One file: asking about it, fetching it, trying again. */
#include "hub/session.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"

#include <stdio.h>
#include <string.h>

enum { FIRST_HEADER = 65536, HEADER_LENGTH = 8, HEADER_LIMIT = 100000000 };
/* Files whose size nobody tells are small ones: large ones have it in their announcement. */
#define UNKNOWN_LIMIT (INT64_C(64) << 20)
#define PROGRESS (INT64_C(1) << 20)

static void close_item(mc_item *item)
{
    item->session->open--;
    item->waiting[0] = '\0';
}

/* Ends the session; the item comes to its end when its request does. */
static void fail_session(mc_item *item, const mc_error *error)
{
    char *const name = mc_format("%s/%s", item->repository->id.name, item->path);
    mc_session_fail(item->session, name, error);
    mc_free(name);
}

static void fail_item(mc_item *item, const mc_error *error)
{
    fail_session(item, error);
    close_item(item);
}

static void refuse_item(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    mc_refusal(item->repository, item->path, &item->request, &error);
    fail_item(item, &error);
}

/* Says in the bar why nothing arrives. */
static void say_waiting(mc_item *item, double pause)
{
    const mc_request *const request = &item->request;
    item->next_try = mc_seconds() + pause;
    if (request->how == MC_HTTP_REPLIED && request->reply.status / 100 != 2)
        snprintf(item->waiting, sizeof item->waiting, "answer %d", request->reply.status);
    else if (request->how == MC_HTTP_BROKEN)
        snprintf(item->waiting, sizeof item->waiting, "%.80s", request->problem);
    else
        snprintf(item->waiting, sizeof item->waiting, "the connection ended early");
}

/* ---- the place in the snapshot ----------------------------------------------------------------- */

/* Uses a blob that is there; false if there is none. */
static bool use_blob(mc_item *item)
{
    int64_t size = 0;
    mc_error error = MC_ERROR_NONE;
    mc_repository *const repository = item->repository;
    char *const blob = mc_cache_blob(repository->folder, item->etag);
    const bool there = blob && mc_cache_has(blob, &size) && (item->size < 0 || size == item->size);
    mc_free(blob);
    if (!there)
        return false;
    if (mc_cache_place(&item->session->settings, repository->folder, repository->commit, item->path,
                       item->etag, false, &error) == MC_OK) {
        item->size = size;
        item->state = MC_ITEM_DONE;
        close_item(item);
    } else {
        fail_item(item, &error);
    }
    return true;
}

static mc_status commit_blob(mc_item *item, mc_error *error)
{
    mc_repository *const repository = item->repository;
    MC_TRY(mc_partial_commit(&item->partial, error));
    mc_cache_tag(&item->session->settings);
    return mc_cache_place(&item->session->settings, repository->folder, repository->commit,
                          item->path, item->etag, true, error);
}

/* ---- asking ------------------------------------------------------------------------------------ */

static void start_try(mc_item *item, double pause);

static mc_status take_answer(mc_item *item, mc_error *error)
{
    const mc_reply *const reply = &item->request.reply;
    const char *const etag = reply->linked_etag[0] ? reply->linked_etag : reply->etag;
    const size_t digits = strlen(etag);
    if (!reply->commit[0])
        return mc_fail(
            error, MC_FORMAT,
            "the server's answer has no X-Repo-Commit: it is no Hub (see HF_ENDPOINT and "
            "proxies)");
    if (strcmp(reply->commit, item->repository->commit) != 0)
        return mc_fail(error, MC_CHANGED, "expected the file of commit %s, found that of %s",
                       item->repository->commit, reply->commit);
    if ((digits != 40 && digits != 64) || !mc_hub_is_hex(etag, digits))
        return mc_fail(error, MC_FORMAT,
                       "expected an ETag that is a sha256 or a git sha1, by which the file can be "
                       "checked, found '%s'",
                       etag);
    const bool plain = reply->status == 200 && !reply->encoded && !reply->linked_etag[0];
    item->size = reply->linked_size >= 0 ? reply->linked_size : plain ? reply->length : -1;
    if (digits == 64 && item->size < 0)
        return mc_fail(error, MC_FORMAT, "the server does not say how large the file is");
    snprintf(item->etag, sizeof item->etag, "%s", etag);
    mc_free(item->address);
    item->address = mc_strdup(reply->status == 200 ? item->request.url : reply->location);
    return item->address ? MC_OK : mc_fail_memory(error);
}

static void on_asked(mc_request *request)
{
    mc_item *const item = request->user;
    mc_error error = MC_ERROR_NONE;
    const mc_reply *const reply = &request->reply;
    const bool found = request->how == MC_HTTP_REPLIED &&
                       (reply->status == 200 || (reply->status / 100 == 3 && reply->location));
    if (mc_retry_is_worth(request)) {
        const double pause = mc_retry_pause(request, MC_MOST_FAILURES, &item->failures);
        if (pause < 0) {
            refuse_item(item);
            return;
        }
        say_waiting(item, pause);
        if (mc_http_start(item->session->http, request, pause, &error) != MC_OK)
            fail_item(item, &error);
    } else if (!found) {
        if (strcmp(reply->error_code, "EntryNotFound") == 0 && reply->commit[0])
            mc_cache_note_missing(item->repository->folder, reply->commit, item->path);
        refuse_item(item);
    } else if (take_answer(item, &error) != MC_OK) {
        fail_item(item, &error);
    } else if (item->state == MC_ITEM_RUNNING) {
        start_try(item, 0);
    } else {
        item->state = MC_ITEM_KNOWN;
        if (!use_blob(item))
            close_item(item);
    }
}

static void send_question(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    mc_request_clear(&item->request);
    item->request = (mc_request){.url = mc_session_address(item->repository, item->path),
                                 .head = true,
                                 .stay = true,
                                 .timeout = item->session->settings.head_timeout,
                                 .done = on_asked,
                                 .user = item};
    const mc_status status = item->request.url
                                 ? mc_http_start(item->session->http, &item->request, 0, &error)
                                 : mc_fail_memory(&error);
    if (status != MC_OK)
        fail_item(item, &error);
}

void mc_item_ask(mc_item *item)
{
    item->session->open++;
    send_question(item);
}

/* ---- fetching ---------------------------------------------------------------------------------- */

/* Whether the body that begins is what was asked for. */
static bool look_at_reply(mc_item *item, mc_error *error)
{
    const mc_request *const request = &item->request;
    const mc_reply *const reply = &request->reply;
    item->looked = true;
    if (request->begin == 0)
        return true;
    if (reply->status == 206 && reply->range_begin == request->begin && !reply->encoded &&
        (reply->range_size < 0 || item->size < 0 || reply->range_size == item->size))
        return true;
    if (reply->status == 206) {
        item->restart = true;
        return false;
    }
    item->fresh_try = true; /* a server that knows no ranges sends it all again */
    return mc_partial_restart(&item->partial, error) == MC_OK;
}

static bool on_bytes(mc_request *request, const char *bytes, size_t size)
{
    mc_item *const item = request->user;
    mc_error error = MC_ERROR_NONE;
    const int64_t limit = item->size >= 0 ? item->size : UNKNOWN_LIMIT;
    item->waiting[0] = '\0';
    mc_status status = item->looked || look_at_reply(item, &error) ? MC_OK : error.code;
    if (item->restart)
        return false;
    if (status == MC_OK && (int64_t)size > limit - item->partial.written)
        status = mc_fail(&error, MC_FORMAT,
                         "expected %lld bytes, as the server announced, but it sends more",
                         (long long)limit);
    if (status == MC_OK)
        status = mc_partial_write(&item->partial, bytes, size, &error);
    item->received += (int64_t)size;
    if (status == MC_OK)
        return true;
    fail_session(item, &error);
    return false;
}

static void complete(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    mc_status status = mc_partial_check(&item->partial, &error);
    if (status == MC_FORMAT && !item->fresh_try) {
        /* What an earlier process, or try, has left may be what was wrong. */
        status = mc_partial_restart(&item->partial, &error);
        if (status == MC_OK) {
            start_try(item, 0);
            return;
        }
    }
    if (status == MC_OK)
        status = commit_blob(item, &error);
    item->size = item->partial.written;
    mc_partial_end(&item->partial, status == MC_FORMAT);
    if (status != MC_OK) {
        fail_item(item, &error);
        return;
    }
    item->state = MC_ITEM_DONE;
    close_item(item);
}

static void try_again(mc_item *item)
{
    if (item->partial.written - item->begun_at >= PROGRESS) {
        item->failures = 0;
        item->asked_again = false; /* an address may be good for less time than the file takes */
    }
    const double pause = mc_retry_pause(&item->request, MC_MOST_FAILURES, &item->failures);
    if (pause >= 0) {
        say_waiting(item, pause);
        start_try(item, pause);
        return;
    }
    if (item->request.how == MC_HTTP_REPLIED && item->request.reply.status / 100 == 2) {
        item->request.how = MC_HTTP_BROKEN;
        snprintf(item->request.problem, sizeof item->request.problem,
                 "the connection ended after %lld of %lld bytes, %d times",
                 (long long)item->partial.written, (long long)item->size, item->failures);
    }
    refuse_item(item);
}

/* The beginning that is there is none of what the server has, or it cannot go on from there. */
static void start_over(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    item->restart = false;
    if (mc_partial_restart(&item->partial, &error) != MC_OK)
        fail_item(item, &error);
    else
        try_again(item);
}

static void on_fetched(mc_request *request)
{
    mc_item *const item = request->user;
    const int status = request->reply.status;
    const bool good = request->how == MC_HTTP_REPLIED && status / 100 == 2;
    /* The address of a content delivery network is signed, for some time. */
    const bool expired = request->how == MC_HTTP_REPLIED &&
                         (status == 401 || status == 403 || status == 404 || status == 410);
    if (item->session->status != MC_OK) {
        close_item(item);
    } else if (item->restart || (request->how == MC_HTTP_REPLIED && status == 416)) {
        start_over(item);
    } else if (good && (item->size < 0 || item->partial.written == item->size)) {
        complete(item);
    } else if (good || mc_retry_is_worth(request)) {
        try_again(item);
    } else if (expired && !item->asked_again) {
        item->asked_again = true;
        send_question(item);
    } else {
        refuse_item(item);
    }
}

/* Sends what item->request says, for the item's address. */
static void send_request(mc_item *item, double pause)
{
    mc_error error = MC_ERROR_NONE;
    item->looked = false;
    item->request.url = mc_strdup(item->address);
    item->request.user = item;
    const mc_status status = item->request.url
                                 ? mc_http_start(item->session->http, &item->request, pause, &error)
                                 : mc_fail_memory(&error);
    if (status != MC_OK)
        fail_item(item, &error);
}

static void start_try(mc_item *item, double pause)
{
    mc_request_clear(&item->request);
    if (item->size >= 0 && item->partial.written == item->size) {
        complete(item);
        return;
    }
    item->begun_at = item->partial.written;
    item->fresh_try = item->begun_at == 0;
    item->request = (mc_request){.begin = item->begun_at, .body = on_bytes, .done = on_fetched};
    send_request(item, pause);
}

void mc_item_look(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    const mc_repository *const repository = item->repository;
    const mc_lock lock = mc_partial_lock(&item->partial, &item->session->settings,
                                         repository->folder);
    if (use_blob(item)) {
        mc_partial_end(&item->partial, false);
    } else if (lock == MC_LOCK_BUSY) {
        snprintf(item->waiting, sizeof item->waiting, "another process fetches it");
    } else if (mc_partial_open(&item->partial, item->size, &error) != MC_OK) {
        fail_item(item, &error);
    } else {
        item->waiting[0] = '\0';
        item->state = MC_ITEM_RUNNING;
        start_try(item, 0);
    }
}

void mc_item_fetch(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    item->session->open++;
    item->wanted = false;
    item->state = MC_ITEM_LOCKED;
    item->failures = 0;
    if (mc_partial_begin(&item->partial, item->repository->folder, item->etag, &error) == MC_OK)
        mc_item_look(item);
    else
        fail_item(item, &error);
}

/* ---- headers ----------------------------------------------------------------------------------- */

/* How many bytes the header has with its length; 0 while that is not known, −1 if it cannot be. */
static int64_t header_bytes(const mc_item *item)
{
    uint64_t length = 0;
    if (item->header_size < HEADER_LENGTH)
        return 0;
    for (int i = HEADER_LENGTH - 1; i >= 0; i--)
        length = length << 8 | (unsigned char)item->header[i];
    return length <= HEADER_LIMIT && (int64_t)length <= item->size - HEADER_LENGTH
               ? (int64_t)length + HEADER_LENGTH
               : -1;
}

static bool has_header(const mc_item *item)
{
    const int64_t bytes = header_bytes(item);
    return bytes < 0 || (bytes > 0 && (int64_t)item->header_size >= bytes);
}

static bool on_header_bytes(mc_request *request, const char *bytes, size_t size)
{
    mc_item *const item = request->user;
    if (!item->looked && request->reply.status == 200)
        item->header_size = 0; /* no ranges: from the beginning */
    item->looked = true;
    if (item->header_size + size > item->header_room) {
        const size_t room = (item->header_size + size) * 2;
        char *const longer = mc_realloc(item->header, room);
        mc_error error = MC_ERROR_NONE;
        if (!longer) {
            mc_fail_memory(&error);
            fail_session(item, &error);
            return false;
        }
        item->header = longer;
        item->header_room = room;
    }
    memcpy(item->header + item->header_size, bytes, size);
    item->header_size += size;
    return !has_header(item);
}

static void ask_header(mc_item *item, double pause);

static void on_header_fetched(mc_request *request)
{
    mc_item *const item = request->user;
    const bool good = request->how == MC_HTTP_REPLIED && request->reply.status / 100 == 2;
    if (item->session->status != MC_OK || has_header(item) ||
        (good && (int64_t)item->header_size >= item->size)) {
        close_item(item);
    } else if (good && item->looked) {
        ask_header(item, 0);
    } else if (mc_retry_is_worth(request)) {
        const double pause = mc_retry_pause(request, MC_MOST_FAILURES, &item->failures);
        if (pause < 0) {
            refuse_item(item);
            return;
        }
        say_waiting(item, pause);
        ask_header(item, pause);
    } else {
        refuse_item(item);
    }
}

static void ask_header(mc_item *item, double pause)
{
    const int64_t bytes = header_bytes(item);
    int64_t end = bytes > 0 ? bytes : FIRST_HEADER;
    end = end < item->size ? end : item->size;
    mc_request_clear(&item->request);
    item->request = (mc_request){.begin = (int64_t)item->header_size,
                                 .end = end,
                                 .body = on_header_bytes,
                                 .done = on_header_fetched};
    send_request(item, pause);
}

void mc_item_fetch_header(mc_item *item)
{
    item->session->open++;
    item->failures = 0;
    if (item->size > 0)
        ask_header(item, 0);
    else
        close_item(item);
}

int64_t mc_item_missing(const mc_item *item)
{
    const int64_t missing = item->size - mc_partial_arrived(item->repository->folder, item->etag);
    return missing > 0 ? missing : 1;
}

void mc_item_free(mc_item *item)
{
    mc_request_clear(&item->request);
    mc_partial_end(&item->partial, false);
    mc_free(item->header);
    mc_free(item->address);
    mc_free(item->path);
    mc_free(item);
}
