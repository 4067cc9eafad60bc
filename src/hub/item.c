#include "hub/item.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "hub/refusal.h"
#include "hub/retry.h"

#include <stdio.h>
#include <string.h>

enum { FIRST_HEADER = 65536, HEADER_LENGTH = 8, HEADER_LIMIT = 100000000 };
/* A file without a known size is a small one: servers announce the size of large files. */
#define UNKNOWN_LIMIT (INT64_C(64) << 20)
/* If this much arrives in an attempt, failures are counted from zero again. */
#define PROGRESS (INT64_C(1) << 20)

/*
 * Every path that ends the work on an item comes here once: the session runs while `pending` > 0.
 */
static void close_item(mc_item *item)
{
    item->repository->transfers->pending--;
    item->waiting[0] = '\0';
}

/* Ends the whole call. The item stays pending until its request ends. */
static void fail_transfers(mc_item *item, const mc_error *error)
{
    char *const name = mc_format("%s/%s", item->repository->id.name, item->path);
    mc_transfers_fail(item->repository->transfers, name, error);
    mc_free(name);
}

static void fail_item(mc_item *item, const mc_error *error)
{
    fail_transfers(item, error);
    close_item(item);
}

static void refuse_item(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    mc_refusal(item->repository, item->path, &item->request, &error);
    fail_item(item, &error);
}

/* Sets what progress reports while the item waits for its next attempt. */
static void set_waiting(mc_item *item)
{
    const mc_request *const request = &item->request;
    if (request->how == MC_HTTP_REPLIED && request->reply.status / 100 != 2)
        snprintf(item->waiting, sizeof item->waiting, "status %d", request->reply.status);
    else if (request->how == MC_HTTP_BROKEN)
        snprintf(item->waiting, sizeof item->waiting, "%.80s", request->problem);
    else
        snprintf(item->waiting, sizeof item->waiting, "the connection ended early");
}

/* ---- blobs and snapshots --------------------------------------------------------------------- */

/*
 * Links a blob of the cache into the snapshot; false if there is none. A blob of another size than
 * the announced one is not used.
 */
static bool use_blob(mc_item *item)
{
    int64_t size = 0;
    mc_error error = MC_ERROR_NONE;
    const mc_repository *const repository = item->repository;
    char *const blob = mc_cache_blob(repository->folder, item->etag);
    const bool there = blob && mc_cache_has(blob, &size) && (item->size < 0 || size == item->size);
    mc_free(blob);
    if (!there)
        return false;
    if (mc_cache_place(&item->repository->transfers->settings, repository->folder,
                       repository->commit, item->path, item->etag, false, &error) == MC_OK) {
        item->size = size;
        item->state = MC_ITEM_DONE;
        close_item(item);
    } else {
        fail_item(item, &error);
    }
    return true;
}

/*
 * The blob is renamed before it is linked: a snapshot never has a link to a file that is not
 * complete, even if the process dies in between.
 */
static mc_status commit_blob(mc_item *item, mc_error *error)
{
    const mc_repository *const repository = item->repository;
    MC_TRY(mc_partial_commit(&item->partial, error));
    mc_cache_tag(&item->repository->transfers->settings);
    return mc_cache_place(&item->repository->transfers->settings, repository->folder,
                          repository->commit, item->path, item->etag, true, error);
}

/* ---- size and checksum: HEAD ----------------------------------------------------------------- */

static void start_attempt(mc_item *item, double pause);

/*
 * Requires what makes the download verifiable. Without the commit the server is not a Hub, but
 * perhaps the login page of a proxy. The ETag must be a checksum. A large file is announced by
 * X-Linked-Etag, since the ETag of a redirect is that of the small pointer file.
 */
static mc_status read_head(mc_item *item, mc_error *error)
{
    const mc_reply *const reply = &item->request.reply;
    const char *const etag = reply->linked_etag[0] ? reply->linked_etag : reply->etag;
    const size_t digits = strlen(etag);
    if (!reply->commit[0])
        return mc_fail(
            error, MC_FORMAT,
            "the reply lacks X-Repo-Commit: the server is not a Hub (see HF_ENDPOINT and proxies)");
    if (strcmp(reply->commit, item->repository->commit) != 0)
        return mc_fail(error, MC_CHANGED, "expected the file of commit %s, found that of commit %s",
                       item->repository->commit, reply->commit);
    if ((digits != 40 && digits != 64) || !mc_hub_is_hex(etag, digits))
        return mc_fail(error, MC_FORMAT, "expected a sha256 or a git sha1 as ETag, found '%s'",
                       etag);
    /* The length of a compressed body, or of a redirect, is not that of the file. */
    const bool plain = reply->status == 200 && !reply->encoded && !reply->linked_etag[0];
    item->size = reply->linked_size >= 0 ? reply->linked_size : plain ? reply->length : -1;
    if (digits == 64 && item->size < 0)
        return mc_fail(error, MC_FORMAT, "expected X-Linked-Size in the reply, found none");
    snprintf(item->etag, sizeof item->etag, "%s", etag);
    mc_free(item->address);
    item->address = mc_strdup(reply->status == 200 ? item->request.url : reply->location);
    return item->address ? MC_OK : mc_fail_memory(error);
}

/*
 * Handles the reply to a HEAD request. There are at most two per attempt: the first for size and
 * checksum, and another one (RUNNING) when the signed address of the content has expired.
 */
static void on_head(mc_request *request)
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
        set_waiting(item);
        if (mc_http_start(item->repository->transfers->http, request, pause, &error) != MC_OK)
            fail_item(item, &error);
    } else if (!found) {
        /* Other clients of the cache then need no request to find that the file does not exist. */
        if (strcmp(reply->error_code, "EntryNotFound") == 0 && reply->commit[0])
            mc_cache_note_missing(item->repository->folder, reply->commit, item->path);
        refuse_item(item);
    } else if (read_head(item, &error) != MC_OK) {
        fail_item(item, &error);
    } else if (item->state == MC_ITEM_RUNNING) {
        start_attempt(item, 0);
    } else {
        item->state = MC_ITEM_KNOWN;
        if (!use_blob(item))
            close_item(item);
    }
}

static void send_head(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    mc_request_clear(&item->request);
    item->request = (mc_request){.url = mc_repository_file_url(item->repository, item->path),
                                 .head = true,
                                 .stay = true,
                                 .timeout = item->repository->transfers->settings.head_timeout,
                                 .done = on_head,
                                 .user = item};
    const mc_status status = item->request.url ? mc_http_start(item->repository->transfers->http,
                                                               &item->request, 0, &error)
                                               : mc_fail_memory(&error);
    if (status != MC_OK)
        fail_item(item, &error);
}

void mc_item_ask(mc_item *item)
{
    item->repository->transfers->pending++;
    send_head(item);
}

/* ---- content --------------------------------------------------------------------------------- */

/* Returns whether the body that begins continues the partial file; sets `restart` if not. */
static bool check_reply(mc_item *item, mc_error *error)
{
    const mc_request *const request = &item->request;
    const mc_reply *const reply = &request->reply;
    item->checked = true;
    /* From byte 0 on, any reply with the content fits: 200 or 206. */
    if (request->begin == 0)
        return true;
    if (reply->status == 206 && reply->range_begin == request->begin && !reply->encoded &&
        (reply->range_size < 0 || item->size < 0 || reply->range_size == item->size))
        return true;
    if (reply->status == 206) {
        item->restart = true;
        return false;
    }
    item->whole = true; /* a server without ranges sends the whole file */
    return mc_partial_restart(&item->partial, error) == MC_OK;
}

/* The limit protects the disk from a server that sends more than it announced. */
static bool on_bytes(mc_request *request, const char *bytes, size_t size)
{
    mc_item *const item = request->user;
    mc_error error = MC_ERROR_NONE;
    const int64_t limit = item->size >= 0 ? item->size : UNKNOWN_LIMIT;
    item->waiting[0] = '\0';
    mc_status status = item->checked || check_reply(item, &error) ? MC_OK : error.code;
    if (item->restart)
        return false;
    if (status == MC_OK && (int64_t)size > limit - item->partial.written)
        status = mc_fail(&error, MC_FORMAT, "expected %lld bytes as announced, found more",
                         (long long)limit);
    if (status == MC_OK)
        status = mc_partial_write(&item->partial, bytes, size, &error);
    item->received += (int64_t)size;
    if (status == MC_OK)
        return true;
    fail_transfers(item, &error);
    return false;
}

/*
 * A checksum that does not match leads to one more attempt from byte 0, unless this one began
 * there: the fault may lie in the bytes of an earlier process or attempt. After a whole attempt the
 * server's file is wrong, and the partial file is removed.
 */
static void complete(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    mc_status status = mc_partial_check(&item->partial, &error);
    if (status == MC_FORMAT && !item->whole) {
        /* Only the checksum gives MC_FORMAT. Other failures, such as of the disk, are final. */
        status = mc_partial_restart(&item->partial, &error);
        if (status == MC_OK) {
            start_attempt(item, 0);
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

/*
 * Failures are counted from the last megabyte of progress: a connection that breaks every minute
 * must not stop a download of hours.
 */
static void retry(mc_item *item)
{
    if (item->partial.written - item->begun_at >= PROGRESS) {
        item->failures = 0;
        item->asked_again = false; /* signed addresses may expire before a large file is complete */
    }
    const double pause = mc_retry_pause(&item->request, MC_MOST_FAILURES, &item->failures);
    if (pause >= 0) {
        set_waiting(item);
        start_attempt(item, pause);
        return;
    }
    /* A complete reply with too few bytes: the status would be a misleading text. */
    if (item->request.how == MC_HTTP_REPLIED && item->request.reply.status / 100 == 2) {
        item->request.how = MC_HTTP_BROKEN;
        snprintf(item->request.problem, sizeof item->request.problem,
                 "the connection ended after %lld of %lld bytes, %d times",
                 (long long)item->partial.written, (long long)item->size, item->failures);
    }
    refuse_item(item);
}

/* The partial file is not a prefix of the server's file, or the server cannot resume. */
static void start_over(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    item->restart = false;
    if (mc_partial_restart(&item->partial, &error) != MC_OK)
        fail_item(item, &error);
    else
        retry(item);
}

/*
 * How an attempt ends:
 *
 *     the call has failed elsewhere      ─▶ nothing more
 *     416, or a reply that does not fit  ─▶ start over from byte 0
 *     all bytes are there                ─▶ checksum, commit
 *     cut off, 5xx, 429, silence         ─▶ resume after a pause
 *     401, 403, 404, 410                 ─▶ ask for a new address, once
 *     anything else                      ─▶ error
 */
static void on_fetched(mc_request *request)
{
    mc_item *const item = request->user;
    const int status = request->reply.status;
    const bool good = request->how == MC_HTTP_REPLIED && status / 100 == 2;
    /* Signed addresses of content delivery networks expire: ask for a new one, once. */
    const bool expired = request->how == MC_HTTP_REPLIED &&
                         (status == 401 || status == 403 || status == 404 || status == 410);
    if (item->repository->transfers->status != MC_OK) {
        close_item(item);
    } else if (item->restart || (request->how == MC_HTTP_REPLIED && status == 416)) {
        start_over(item);
    } else if (good && (item->size < 0 || item->partial.written == item->size)) {
        complete(item);
    } else if (good || mc_retry_is_worth(request)) {
        retry(item);
    } else if (expired && !item->asked_again) {
        item->asked_again = true;
        send_head(item);
    } else {
        refuse_item(item);
    }
}

/* Sends item->request to the item's address. */
static void send_request(mc_item *item, double pause)
{
    mc_error error = MC_ERROR_NONE;
    item->checked = false;
    item->request.url = mc_strdup(item->address);
    item->request.user = item;
    const mc_status status = item->request.url ? mc_http_start(item->repository->transfers->http,
                                                               &item->request, pause, &error)
                                               : mc_fail_memory(&error);
    if (status != MC_OK)
        fail_item(item, &error);
}

static void start_attempt(mc_item *item, double pause)
{
    mc_request_clear(&item->request);
    /* A partial file that was taken over may be complete already. */
    if (item->size >= 0 && item->partial.written == item->size) {
        complete(item);
        return;
    }
    item->begun_at = item->partial.written;
    item->whole = item->begun_at == 0;
    item->request = (mc_request){.begin = item->begun_at, .body = on_bytes, .done = on_fetched};
    send_request(item, pause);
}

void mc_item_try_lock(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    const mc_repository *const repository = item->repository;
    const mc_lock lock = mc_partial_lock(&item->partial, &item->repository->transfers->settings,
                                         repository->folder);
    /* Also while waiting for the lock: the other process may have completed the blob. */
    if (use_blob(item)) {
        mc_partial_end(&item->partial, false);
    } else if (lock == MC_LOCK_BUSY) {
        snprintf(item->waiting, sizeof item->waiting, "another process is downloading it");
    } else if (mc_partial_open(&item->partial, item->size, &error) != MC_OK) {
        fail_item(item, &error);
    } else {
        item->waiting[0] = '\0';
        item->state = MC_ITEM_RUNNING;
        start_attempt(item, 0);
    }
}

void mc_item_fetch(mc_item *item)
{
    mc_error error = MC_ERROR_NONE;
    item->repository->transfers->pending++;
    item->queued = false;
    item->state = MC_ITEM_LOCKED;
    item->failures = 0;
    if (mc_partial_begin(&item->partial, item->repository->folder, item->etag, &error) == MC_OK)
        mc_item_try_lock(item);
    else
        fail_item(item, &error);
}

/* ---- headers of safetensors files ------------------------------------------------------------ */

/* Bytes of the header and its length field; 0 while unknown, −1 if the length is impossible. */
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
    if (!item->checked && request->reply.status == 200)
        item->header_size = 0; /* a server without ranges sends the whole file */
    item->checked = true;
    /* Twice the size: the header arrives in many pieces. */
    if (item->header_size + size > item->header_room) {
        const size_t room = (item->header_size + size) * 2;
        char *const longer = mc_realloc(item->header, room);
        mc_error error = MC_ERROR_NONE;
        if (!longer) {
            mc_fail_memory(&error);
            fail_transfers(item, &error);
            return false;
        }
        item->header = longer;
        item->header_room = room;
    }
    memcpy(item->header + item->header_size, bytes, size);
    item->header_size += size;
    /* Returning false ends the request once the header is complete. */
    return !has_header(item);
}

static void ask_header(mc_item *item, double pause);

static void on_header_fetched(mc_request *request)
{
    mc_item *const item = request->user;
    const bool good = request->how == MC_HTTP_REPLIED && request->reply.status / 100 == 2;
    if (item->repository->transfers->status != MC_OK || has_header(item) ||
        (good && (int64_t)item->header_size >= item->size)) {
        close_item(item);
    } else if (good && item->checked) {
        ask_header(item, 0);
    } else if (mc_retry_is_worth(request)) {
        const double pause = mc_retry_pause(request, MC_MOST_FAILURES, &item->failures);
        if (pause < 0) {
            refuse_item(item);
            return;
        }
        set_waiting(item);
        ask_header(item, pause);
    } else {
        refuse_item(item);
    }
}

/* Most headers fit into the first request. The rest of a longer one follows in a second. */
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
    item->repository->transfers->pending++;
    item->failures = 0;
    if (item->size > 0)
        ask_header(item, 0);
    else
        close_item(item);
}

int64_t mc_item_missing(const mc_item *item)
{
    const int64_t missing = item->size - mc_partial_arrived(item->repository->folder, item->etag);
    /* At least 1: even a complete partial file still has to be checked. */
    return missing > 0 ? missing : 1;
}

mc_item *mc_item_new(const mc_repository *repository, const char *path, mc_file_role role)
{
    mc_item *const item = mc_alloc_zero(1, sizeof *item);
    char *const copy = mc_strdup(path);
    char *const pointer = mc_cache_pointer(repository->folder, repository->commit, path);
    if (!item || !copy || !pointer) {
        mc_free(item);
        mc_free(copy);
        mc_free(pointer);
        return NULL;
    }
    *item = (mc_item){.repository = repository, .path = copy, .role = role, .size = -1};
    if (mc_cache_has(pointer, &item->size))
        item->state = MC_ITEM_DONE;
    mc_free(pointer);
    return item;
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
