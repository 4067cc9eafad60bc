#include "hub/session.h"

#include "base/disk.h"
#include "base/memory.h"
#include "base/system.h"
#include "hub/list.h"

#include <string.h>

enum { MOST_RUNNING = 8 };

/* Between two progress reports, and between two attempts at a lock. */
static const double interval_seconds = .1;

/* ---- items of all snapshots ------------------------------------------------------------------ */

/* Visits all items; declares the variable `item_`. The innermost loop runs once per item. */
#define FOR_EACH_ITEM(session_, item_)                                                             \
    for (size_t s_ = 0; s_ < (session_)->count; s_++)                                              \
        for (size_t i_ = 0; i_ < (session_)->snapshots[s_].count; i_++)                            \
            for (mc_item *item_ = (session_)->snapshots[s_].items[i_]; item_; item_ = NULL)

static size_t count_items(const mc_session *session)
{
    size_t total = 0;
    for (size_t s = 0; s < session->count; s++)
        total += session->snapshots[s].count;
    return total;
}

/* ---- progress -------------------------------------------------------------------------------- */

/* Only files that are transferred: those from the cache would distort the rate. */
static bool is_reported(const mc_item *item)
{
    return item->state == MC_ITEM_RUNNING || item->state == MC_ITEM_LOCKED || item->queued ||
           item->received > 0;
}

static mc_hub_file describe(const mc_item *item)
{
    const bool complete = item->state == MC_ITEM_DONE;
    return (mc_hub_file){.repository = item->repository->id.name,
                         .path = item->path,
                         .bytes_total = item->size,
                         .bytes_done = complete ? item->size : item->partial.written,
                         .waiting = item->waiting[0] ? item->waiting : NULL,
                         .active = item->state == MC_ITEM_RUNNING || item->state == MC_ITEM_LOCKED};
}

static void report_progress(mc_session *session)
{
    const double now = mc_seconds();
    const mc_hub_options *const options = session->transfers.options;
    if (!options || !options->progress || now - session->shown < interval_seconds)
        return;
    const size_t total = count_items(session);
    if (total > session->file_room) {
        mc_hub_file *const files = mc_realloc(session->files, total * sizeof *files);
        if (!files)
            return;
        session->files = files;
        session->file_room = total;
    }
    mc_hub_progress progress = {.seconds = now - session->begun, .files = session->files};
    FOR_EACH_ITEM (session, item) {
        if (!is_reported(item))
            continue;
        const mc_hub_file file = session->files[progress.file_count++] = describe(item);
        progress.bytes_done += file.bytes_done;
        progress.bytes_total += file.bytes_total > 0 ? file.bytes_total : 0;
    }
    session->shown = now;
    options->progress(&progress, options->user);
}

/* ---- running --------------------------------------------------------------------------------- */

static size_t count_running(const mc_session *session)
{
    size_t running = 0;
    FOR_EACH_ITEM (session, item)
        running += item->state == MC_ITEM_RUNNING || item->state == MC_ITEM_LOCKED;
    return running;
}

/*
 * Starts queued items while fewer than MOST_RUNNING run, one of each repository in turn, so that
 * several models of one merge arrive side by side. True if items are still queued.
 */
static bool start_queued(mc_session *session)
{
    size_t running = count_running(session);
    bool queued = false;
    for (size_t i = 0, more = 1; more; i++) {
        more = 0;
        for (size_t s = 0; s < session->count; s++) {
            const mc_snapshot *const snapshot = &session->snapshots[s];
            more |= i < snapshot->count;
            mc_item *const item = i < snapshot->count ? snapshot->items[i] : NULL;
            if (!item || !item->queued)
                continue;
            if (running < MOST_RUNNING) {
                mc_item_fetch(item);
                /* A blob in the cache completes an item at once. */
                running += item->state != MC_ITEM_DONE;
            }
            queued |= item->queued;
        }
    }
    return queued;
}

static void try_locks(mc_session *session)
{
    FOR_EACH_ITEM (session, item)
        if (item->state == MC_ITEM_LOCKED)
            mc_item_try_lock(item);
}

/* Runs until nothing is pending or queued, or something failed. */
static mc_status run(mc_session *session, mc_error *error)
{
    mc_transfers *const transfers = &session->transfers;
    double tried = 0;
    bool queued = start_queued(session);
    while (transfers->status == MC_OK && (transfers->pending > 0 || queued)) {
        mc_transfers_step(transfers, interval_seconds);
        /* Locks are polled: flock cannot wait for several at once. */
        if (transfers->status == MC_OK && mc_seconds() - tried >= interval_seconds) {
            tried = mc_seconds();
            try_locks(session);
        }
        queued = transfers->status == MC_OK && start_queued(session);
        report_progress(session);
    }
    if (transfers->status != MC_OK && error)
        *error = transfers->error;
    return transfers->status;
}

/* ---- stages ---------------------------------------------------------------------------------- */

/* Uses the cache alone where that is allowed: offline, or for a commit, which cannot change. */
static mc_status try_cache(mc_snapshot *snapshot, mc_error *error)
{
    if (snapshot->repository.transfers->settings.offline)
        return mc_snapshot_use_cache(snapshot, error);
    if (!mc_hub_is_commit(snapshot->repository.id.revision) ||
        mc_snapshot_use_cache(snapshot, NULL) != MC_OK)
        return MC_OK;
    /* Other tools may download the tokenizer later: a snapshot without one may be incomplete. */
    if (!mc_snapshot_has_tokenizer(snapshot))
        mc_snapshot_reset(snapshot);
    return MC_OK;
}

static mc_status list_files(mc_session *session, mc_error *error)
{
    for (size_t s = 0; s < session->count; s++) {
        if (session->snapshots[s].cached)
            continue;
        MC_TRY(mc_transfers_connect(&session->transfers, error));
        MC_TRY(mc_list_begin(&session->snapshots[s], error));
    }
    MC_TRY(run(session, error));
    for (size_t s = 0; s < session->count; s++)
        if (!session->snapshots[s].cached)
            MC_TRY(mc_snapshot_add_files(&session->snapshots[s], &session->snapshots[s].listing,
                                         error));
    return MC_OK;
}

/* All HEAD requests are in flight at once. */
static mc_status ask_sizes(mc_session *session, mc_error *error)
{
    FOR_EACH_ITEM (session, item)
        if (item->state == MC_ITEM_NEW)
            mc_item_ask(item);
    return run(session, error);
}

static mc_status fetch_known_small_files(mc_session *session, mc_error *error)
{
    FOR_EACH_ITEM (session, item)
        item->queued = item->state == MC_ITEM_KNOWN && item->role != MC_FILE_WEIGHTS;
    return run(session, error);
}

static mc_status fetch_small_files(mc_session *session, mc_error *error)
{
    MC_TRY(fetch_known_small_files(session, error));
    for (size_t s = 0; s < session->count; s++)
        MC_TRY(mc_snapshot_add_referenced(&session->snapshots[s], error));
    /* The references added items whose size is not known yet. */
    MC_TRY(ask_sizes(session, error));
    return fetch_known_small_files(session, error);
}

/* Only what is missing: partial files of earlier calls are on the disk already. */
static mc_status check_room(const mc_session *session, mc_error *error)
{
    mc_disk disk;
    char needed[16], free[16];
    int64_t bytes = 0;
    const char *const cache = session->transfers.settings.cache;
    FOR_EACH_ITEM (session, item)
        if (item->state == MC_ITEM_KNOWN && item->size > 0)
            bytes += mc_item_missing(item);
    if (bytes == 0 || !mc_disk_at(cache, &disk) || bytes <= disk.free)
        return MC_OK;
    return mc_fail_at(error, MC_NO_SPACE, cache, NULL, -1,
                      "expected free space of %s for the download, found %s",
                      mc_format_bytes(bytes, needed, sizeof needed),
                      mc_format_bytes(disk.free, free, sizeof free));
}

mc_status mc_session_begin(mc_session *session, const mc_hub_spec *specs, size_t count,
                           const mc_hub_options *options, mc_error *error)
{
    session->begun = mc_seconds();
    MC_TRY(mc_transfers_begin(&session->transfers, options, error));
    session->snapshots = mc_alloc_zero(count, sizeof *session->snapshots);
    if (!session->snapshots)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        session->count = i + 1;
        MC_TRY(mc_snapshot_open(&session->snapshots[i], &session->transfers, &specs[i], error));
    }
    for (size_t i = 0; i < count; i++)
        MC_TRY(try_cache(&session->snapshots[i], error));
    MC_TRY(list_files(session, error));
    MC_TRY(ask_sizes(session, error));
    MC_TRY(fetch_small_files(session, error));
    return check_room(session, error);
}

static bool has_header(const mc_item *item)
{
    return mc_ends_with(item->path, ".safetensors");
}

mc_status mc_session_fetch_headers(mc_session *session, mc_error *error)
{
    FOR_EACH_ITEM (session, item)
        if (item->state == MC_ITEM_KNOWN && item->role == MC_FILE_WEIGHTS && has_header(item))
            mc_item_fetch_header(item);
    return run(session, error);
}

mc_status mc_session_fetch_weights(mc_session *session, bool all, mc_error *error)
{
    FOR_EACH_ITEM (session, item)
        /* The weights are what remains KNOWN by now. */
        item->queued = item->state == MC_ITEM_KNOWN && (all || !has_header(item));
    return run(session, error);
}

void mc_session_write_refs(mc_session *session)
{
    for (size_t s = 0; s < session->count; s++) {
        const mc_repository *const repository = &session->snapshots[s].repository;
        /* What came from the cache alone was not resolved by the server. */
        if (!session->snapshots[s].cached)
            (void)mc_cache_write_ref(repository->folder, repository->id.revision,
                                     repository->commit, NULL);
    }
}

void mc_session_end(mc_session *session)
{
    for (size_t s = 0; s < session->count; s++)
        mc_snapshot_close(&session->snapshots[s]);
    mc_free(session->snapshots);
    mc_free(session->files);
    mc_transfers_end(&session->transfers);
    *session = (mc_session){0};
}
