/* Several repositories: what they have, what of it is needed, in which order it is fetched. */
#include "hub/session.h"

#include "base/disk.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE = 8 };
#define LISTING_LIMIT ((size_t)256 << 20)
#define INDEX_LIMIT (INT64_C(100) << 20)

static const double look_seconds = .1;

/* ---- failing, telling -------------------------------------------------------------------------- */

void mc_session_fail(mc_session *session, const char *file, const mc_error *error)
{
    if (session->status != MC_OK)
        return;
    session->status = error->code;
    session->error = *error;
    if (!session->error.file[0])
        snprintf(session->error.file, sizeof session->error.file, "%s", file ? file : "");
}

void mc_session_note(const mc_session *session, const char *format, ...)
{
    char text[1024];
    if (!session->options || !session->options->note)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    session->options->note(text, session->options->user);
}

static bool is_shown(const mc_item *item)
{
    return item->state == MC_ITEM_RUNNING || item->state == MC_ITEM_LOCKED || item->wanted ||
           item->received > 0;
}

static void describe(const mc_item *item, mc_hub_file *out)
{
    const bool complete = item->state == MC_ITEM_DONE;
    *out = (mc_hub_file){.repository = item->repository->id.name,
                         .path = item->path,
                         .bytes_total = item->size,
                         .bytes_done = complete ? item->size : item->partial.written,
                         .waiting = item->waiting[0] ? item->waiting : NULL,
                         .active = item->state == MC_ITEM_RUNNING || item->state == MC_ITEM_LOCKED};
}

static size_t item_total(const mc_session *session)
{
    size_t total = 0;
    for (size_t r = 0; r < session->count; r++)
        total += session->repositories[r].count;
    return total;
}

static void show(mc_session *session)
{
    const double now = mc_seconds();
    const mc_hub_options *const options = session->options;
    if (!options || !options->progress || now - session->shown < look_seconds)
        return;
    const size_t total = item_total(session);
    if (total > session->file_room) {
        mc_hub_file *const files = mc_realloc(session->files, total * sizeof *files);
        if (!files)
            return;
        session->files = files;
        session->file_room = total;
    }
    mc_hub_progress progress = {.seconds = now - session->begun, .files = session->files};
    for (size_t r = 0; r < session->count; r++)
        for (size_t i = 0; i < session->repositories[r].count; i++) {
            const mc_item *const item = session->repositories[r].items[i];
            if (!is_shown(item))
                continue;
            mc_hub_file *const file = &session->files[progress.file_count++];
            describe(item, file);
            progress.bytes_done += file->bytes_done;
            progress.bytes_total += file->bytes_total > 0 ? file->bytes_total : 0;
        }
    session->shown = now;
    options->progress(&progress, options->user);
}

/* ---- running ----------------------------------------------------------------------------------- */

/* Begins what is wanted, as far as there is a place; looks at locks. True if something is wanted still. */
static bool serve_items(mc_session *session, bool look)
{
    size_t running = 0;
    bool wanted = false;
    for (size_t r = 0; r < session->count; r++)
        for (size_t i = 0; i < session->repositories[r].count; i++) {
            mc_item *const item = session->repositories[r].items[i];
            if (item->state == MC_ITEM_LOCKED && look)
                mc_item_look(item);
            running += item->state == MC_ITEM_RUNNING || item->state == MC_ITEM_LOCKED;
        }
    for (size_t i = 0, more = 1; more; i++) {
        more = 0;
        /* One file of each repository in turn. */
        for (size_t r = 0; r < session->count; r++) {
            mc_repository *const repository = &session->repositories[r];
            more |= i < repository->count;
            mc_item *const item = i < repository->count ? repository->items[i] : NULL;
            if (!item || !item->wanted)
                continue;
            if (running < AT_ONCE) {
                mc_item_fetch(item);
                running += item->state != MC_ITEM_DONE;
            }
            wanted |= item->wanted;
        }
    }
    return wanted;
}

mc_status mc_session_pump(mc_session *session, mc_error *error)
{
    const mc_hub_options *const options = session->options;
    double looked = 0;
    bool wanted = serve_items(session, false);
    while (session->status == MC_OK && (session->open > 0 || wanted)) {
        mc_error problem = MC_ERROR_NONE;
        if (options && options->cancel && *options->cancel)
            mc_fail(&problem, MC_INTERRUPTED,
                    "interrupted; what has arrived is kept for the next time");
        else
            (void)mc_http_step(session->http, look_seconds, &problem);
        if (problem.code != MC_OK)
            mc_session_fail(session, NULL, &problem);
        const bool look = mc_seconds() - looked >= look_seconds;
        looked = look ? mc_seconds() : looked;
        wanted = session->status == MC_OK && serve_items(session, look);
        show(session);
    }
    if (session->status != MC_OK && error)
        *error = session->error;
    return session->status;
}

/* ---- items ------------------------------------------------------------------------------------- */

char *mc_session_address(const mc_repository *repository, const char *path)
{
    mc_text text = {0};
    mc_text_add(&text, "%s/%s%s/resolve/", repository->session->settings.endpoint,
                repository->id.kind == MC_HUB_DATASET ? "datasets/" : "", repository->id.name);
    mc_url_add_encoded(&text, repository->commit, false);
    mc_text_add(&text, "/");
    mc_url_add_encoded(&text, path, true);
    if (!text.failed)
        return text.data;
    mc_text_free(&text);
    return NULL;
}

mc_item *mc_session_add(mc_repository *repository, const char *path, mc_role role, mc_error *error)
{
    for (size_t i = 0; i < repository->count; i++)
        if (strcmp(repository->items[i]->path, path) == 0)
            return repository->items[i];
    mc_item *const item = mc_alloc_zero(1, sizeof *item);
    char *const copy = mc_strdup(path);
    char *const pointer = mc_cache_pointer(repository->folder, repository->commit, path);
    if (!item || !copy || !pointer ||
        !MC_GROW(repository->items, repository->count, repository->capacity)) {
        mc_free(item);
        mc_free(copy);
        mc_free(pointer);
        mc_fail_memory(error);
        return NULL;
    }
    *item = (mc_item){.session = repository->session,
                      .repository = repository,
                      .path = copy,
                      .role = role,
                      .size = -1};
    if (mc_cache_has(pointer, &item->size))
        item->state = MC_ITEM_DONE;
    mc_free(pointer);
    repository->items[repository->count++] = item;
    return item;
}

static mc_status add_item(void *user, const char *path, mc_role role, mc_error *error)
{
    return mc_session_add(user, path, role, error) ? MC_OK : MC_NO_MEMORY;
}

static void drop_items(mc_repository *repository)
{
    for (size_t i = 0; i < repository->count; i++)
        mc_item_free(repository->items[i]);
    repository->count = 0;
}

static mc_status add_wanted(mc_repository *repository, const mc_listing *listing, mc_error *error)
{
    const mc_hub_want *const want = repository->want;
    if (!want->files)
        return mc_in_file(error, repository->id.name,
                          mc_want_select(listing, add_item, repository, error));
    for (size_t i = 0; i < want->file_count; i++)
        MC_TRY(add_item(repository, want->files[i], MC_ROLE_WEIGHTS, error));
    return MC_OK;
}

/* Adds the shards that an index names, as soon as it is there. */
static mc_status add_shards(mc_repository *repository, mc_error *error)
{
    for (size_t i = 0; i < repository->count; i++) {
        char *text = NULL;
        size_t size = 0;
        const mc_item *const item = repository->items[i];
        if (item->role != MC_ROLE_INDEX || item->state != MC_ITEM_DONE)
            continue;
        char *const path = mc_cache_pointer(repository->folder, repository->commit, item->path);
        mc_status status = path ? mc_file_load(path, INDEX_LIMIT, &text, &size, error)
                                : mc_fail_memory(error);
        if (status == MC_OK)
            status = mc_in_file(error, path,
                                mc_want_shards(text, size, add_item, repository, error));
        mc_free(text);
        mc_free(path);
        MC_TRY(status);
    }
    return MC_OK;
}

/* ---- the cache alone --------------------------------------------------------------------------- */

static mc_status missing(const mc_repository *repository, const char *path, mc_error *error)
{
    const char *const why = repository->session->settings.offline
                                ? "HF_HUB_OFFLINE is set, so that it is not downloaded"
                                : "the server cannot be asked for it";
    mc_fail(error, MC_NOT_FOUND, "%s of %s is not in the cache (%s), and %s",
            path ? path : "this revision", repository->id.name, repository->session->settings.cache,
            why);
    if (error)
        snprintf(error->file, sizeof error->file, "%s@%s", repository->id.name,
                 repository->id.revision);
    return MC_NOT_FOUND;
}

static mc_status take_snapshot(mc_repository *repository, mc_error *error)
{
    mc_listing listing = {0};
    mc_status status = mc_cache_list(repository->folder, repository->commit, &listing, error);
    if (status == MC_OK && !listing.complete)
        status = missing(repository, NULL, error);
    if (status == MC_OK) {
        status = add_wanted(repository, &listing, NULL);
        if (status == MC_NOT_FOUND) /* the snapshot has no weights */
            status = missing(repository, "model.safetensors", error);
    }
    mc_listing_free(&listing);
    if (status == MC_OK)
        status = add_shards(repository, error);
    for (size_t i = 0; status == MC_OK && i < repository->count; i++)
        if (repository->items[i]->state != MC_ITEM_DONE)
            status = missing(repository, repository->items[i]->path, error);
    return status;
}

mc_status mc_session_use_cache(mc_repository *repository, mc_error *error)
{
    MC_TRY(
        mc_cache_read_ref(repository->folder, repository->id.revision, repository->commit, error));
    drop_items(repository);
    const mc_status status = repository->commit[0] ? take_snapshot(repository, error)
                                                   : missing(repository, NULL, error);
    repository->settled = status == MC_OK;
    if (status != MC_OK)
        drop_items(repository);
    return status;
}

/* Other tools fetch the tokenizer later than the weights: a snapshot without one may not be all there is. */
static bool has_tokenizer(const mc_repository *repository)
{
    for (size_t i = 0; i < repository->count; i++) {
        const char *const path = repository->items[i]->path;
        if (strncmp(path, "tokenizer", 9) == 0 || strncmp(path, "vocab.", 6) == 0 ||
            mc_ends_with(path, ".model"))
            return true;
    }
    return repository->want->files != NULL;
}

/* ---- listings ---------------------------------------------------------------------------------- */

static bool on_listing_bytes(mc_request *request, const char *bytes, size_t size)
{
    mc_repository *const repository = request->user;
    if (repository->body.length + size > LISTING_LIMIT)
        return false;
    mc_text_append(&repository->body, bytes, size);
    return !repository->body.failed;
}

static void on_listed(mc_request *request);

static mc_status ask_listing(mc_repository *repository, char *address, double pause,
                             mc_error *error)
{
    mc_session *const session = repository->session;
    mc_text_free(&repository->body);
    mc_request_clear(&repository->request);
    repository->request = (mc_request){
        .url = address, .body = on_listing_bytes, .done = on_listed, .user = repository};
    return address ? mc_http_start(session->http, &repository->request, pause, error)
                   : mc_fail_memory(error);
}

static char *listing_address(const mc_repository *repository, const char *page)
{
    mc_text text = {0};
    const bool tree = page != NULL;
    mc_text_add(&text, "%s/api/%s/%s/%s/", repository->session->settings.endpoint,
                mc_hub_kind_name(repository->id.kind), repository->id.name,
                tree ? "tree" : "revision");
    mc_url_add_encoded(&text, tree ? repository->commit : repository->id.revision, false);
    mc_text_add(&text, "%s", tree ? page : "");
    if (!text.failed)
        return text.data;
    mc_text_free(&text);
    return NULL;
}

/* The next page must be the endpoint's own: it is asked with the token. */
static char *next_page(const mc_repository *repository, mc_error *error)
{
    const mc_request *const request = &repository->request;
    mc_origin home, there;
    char *const url = mc_url_resolve(request->url, request->reply.next);
    if (url && mc_url_origin(url, &there) &&
        mc_url_origin(repository->session->settings.endpoint, &home) &&
        mc_origin_same(&home, &there))
        return url;
    mc_free(url);
    mc_fail(error, MC_FORMAT, "the server's list of files goes on at another server");
    return NULL;
}

/* Takes what arrived; *more: another page was asked for. */
static mc_status take_listing(mc_repository *repository, bool *more, mc_error *error)
{
    mc_listing *const listing = &repository->listing;
    const mc_text *const body = &repository->body;
    const char *const text = body->data ? body->data : "";
    char *address = NULL;
    *more = false;
    if (!repository->commit[0]) {
        MC_TRY(mc_listing_parse(text, body->length, listing, error));
        memcpy(repository->commit, listing->commit, MC_COMMIT_SIZE);
        if (listing->complete || repository->want->files)
            return MC_OK;
        address = listing_address(repository, "?recursive=true");
    } else {
        MC_TRY(mc_listing_parse_tree(text, body->length, listing, error));
        if (!repository->request.reply.next)
            return MC_OK;
        address = next_page(repository, error);
        if (!address)
            return MC_FORMAT;
    }
    *more = true;
    repository->failures = 0;
    return ask_listing(repository, address, 0, error);
}

/* The server does not give it: the cache may have it. */
static void do_without(mc_repository *repository)
{
    mc_error refused = MC_ERROR_NONE, ignored = MC_ERROR_NONE;
    mc_session *const session = repository->session;
    char line[sizeof refused];
    mc_refusal(repository, NULL, &repository->request, &refused);
    const bool gone = strcmp(repository->request.reply.error_code, "RevisionNotFound") == 0;
    if (!gone && mc_session_use_cache(repository, &ignored) == MC_OK)
        mc_session_note(session, "%s; what the cache has of it is used",
                        mc_error_message(&refused, line, sizeof line));
    else
        mc_session_fail(session, repository->id.name, &refused);
    session->open--;
}

static bool is_cached(mc_repository *repository)
{
    char commit[MC_COMMIT_SIZE];
    char *path = NULL;
    const bool known = mc_cache_read_ref(repository->folder, repository->id.revision, commit,
                                         NULL) == MC_OK &&
                       commit[0] && (path = mc_cache_snapshot(repository->folder, commit)) != NULL;
    struct stat status;
    const bool there = known && mc_system->stat(path, &status) == 0;
    mc_free(path);
    return there;
}

/* Asks again, if that may help: not while the cache has something. False if it was not asked. */
static bool list_again(mc_repository *repository, mc_error *error)
{
    mc_request *const request = &repository->request;
    if (!mc_retry_is_worth(request) || is_cached(repository))
        return false;
    const double pause = mc_retry_pause(
        request, request->how == MC_HTTP_BROKEN ? MC_FEW_FAILURES : MC_MOST_FAILURES,
        &repository->failures);
    return pause >= 0 && ask_listing(repository, mc_strdup(request->url), pause, error) == MC_OK;
}

static void on_listed(mc_request *request)
{
    mc_repository *const repository = request->user;
    mc_session *const session = repository->session;
    mc_error error = MC_ERROR_NONE;
    bool more = false;
    if (request->how == MC_HTTP_REPLIED && request->reply.status == 200)
        (void)take_listing(repository, &more, &error);
    else if (request->how == MC_HTTP_STOPPED)
        mc_fail(&error, MC_FORMAT, "the server's list of files is too long");
    else if (list_again(repository, &error))
        more = true;
    else if (error.code == MC_OK) {
        do_without(repository);
        return;
    }
    if (error.code != MC_OK)
        mc_session_fail(session, repository->id.name, &error);
    if (error.code != MC_OK || !more)
        session->open--;
}

/* ---- the order of things ----------------------------------------------------------------------- */

static mc_status open_repository(mc_session *session, const mc_hub_want *want,
                                 mc_repository *repository, mc_error *error)
{
    repository->session = session;
    repository->want = want;
    MC_TRY(mc_hub_id_parse(want->name, want->dataset ? MC_HUB_DATASET : MC_HUB_MODEL,
                           &repository->id, error));
    for (size_t i = 0; i < want->file_count; i++)
        if (!mc_hub_path_ok(want->files[i]))
            return mc_fail(error, MC_USAGE,
                           "expected the path of a file in a repository, found '%s'",
                           want->files[i]);
    repository->folder = mc_cache_repository(&session->settings, &repository->id);
    return repository->folder ? MC_OK : mc_fail_memory(error);
}

/* What needs no server. */
static mc_status try_cache(mc_repository *repository, mc_error *error)
{
    if (repository->session->settings.offline)
        return mc_session_use_cache(repository, error);
    if (!mc_hub_is_commit(repository->id.revision) ||
        mc_session_use_cache(repository, NULL) != MC_OK)
        return MC_OK;
    repository->settled = has_tokenizer(repository);
    if (!repository->settled)
        drop_items(repository);
    return MC_OK;
}

static mc_status list_all(mc_session *session, mc_error *error)
{
    for (size_t r = 0; r < session->count; r++) {
        mc_repository *const repository = &session->repositories[r];
        if (repository->settled)
            continue;
        if (!session->http)
            MC_TRY(mc_http_new(&session->settings, &session->http, error));
        repository->commit[0] = '\0';
        session->open++;
        MC_TRY(ask_listing(repository, listing_address(repository, NULL), 0, error));
    }
    MC_TRY(mc_session_pump(session, error));
    for (size_t r = 0; r < session->count; r++)
        if (!session->repositories[r].settled)
            MC_TRY(add_wanted(&session->repositories[r], &session->repositories[r].listing, error));
    return MC_OK;
}

static mc_status ask_all(mc_session *session, mc_error *error)
{
    for (size_t r = 0; r < session->count; r++)
        for (size_t i = 0; i < session->repositories[r].count; i++)
            if (session->repositories[r].items[i]->state == MC_ITEM_NEW)
                mc_item_ask(session->repositories[r].items[i]);
    return mc_session_pump(session, error);
}

static mc_status fetch_small(mc_session *session, mc_error *error)
{
    for (size_t r = 0; r < session->count; r++)
        for (size_t i = 0; i < session->repositories[r].count; i++) {
            mc_item *const item = session->repositories[r].items[i];
            item->wanted = item->state == MC_ITEM_KNOWN && item->role != MC_ROLE_WEIGHTS;
        }
    MC_TRY(mc_session_pump(session, error));
    for (size_t r = 0; r < session->count; r++)
        MC_TRY(add_shards(&session->repositories[r], error));
    return ask_all(session, error);
}

static mc_status check_room(const mc_session *session, mc_error *error)
{
    mc_disk disk;
    char needed[16], there[16];
    int64_t bytes = 0;
    for (size_t r = 0; r < session->count; r++)
        for (size_t i = 0; i < session->repositories[r].count; i++) {
            const mc_item *const item = session->repositories[r].items[i];
            if (item->state == MC_ITEM_KNOWN && item->size > 0)
                bytes += mc_item_missing(item);
        }
    if (bytes == 0 || !mc_disk_at(session->settings.cache, &disk) || bytes <= disk.free)
        return MC_OK;
    return mc_fail_at(error, MC_NO_SPACE, session->settings.cache, NULL, -1,
                      "expected room for %s that have to be downloaded, found %s",
                      mc_format_bytes(bytes, needed, sizeof needed),
                      mc_format_bytes(disk.free, there, sizeof there));
}

mc_status mc_session_begin(mc_session *session, const mc_hub_want *wants, size_t count,
                           const mc_hub_options *options, mc_error *error)
{
    session->options = options;
    session->begun = mc_seconds();
    MC_TRY(mc_hub_settings_read(&session->settings, error));
    session->repositories = mc_alloc_zero(count, sizeof *session->repositories);
    if (!session->repositories)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++) {
        session->count = i + 1;
        MC_TRY(open_repository(session, &wants[i], &session->repositories[i], error));
    }
    for (size_t i = 0; i < count; i++)
        MC_TRY(try_cache(&session->repositories[i], error));
    MC_TRY(list_all(session, error));
    MC_TRY(ask_all(session, error));
    MC_TRY(fetch_small(session, error));
    return check_room(session, error);
}

static bool has_no_header(const mc_item *item)
{
    return !mc_ends_with(item->path, ".safetensors");
}

mc_status mc_session_headers(mc_session *session, mc_error *error)
{
    for (size_t r = 0; r < session->count; r++)
        for (size_t i = 0; i < session->repositories[r].count; i++) {
            mc_item *const item = session->repositories[r].items[i];
            if (item->state == MC_ITEM_KNOWN && item->role == MC_ROLE_WEIGHTS &&
                !has_no_header(item))
                mc_item_fetch_header(item);
        }
    return mc_session_pump(session, error);
}

mc_status mc_session_weights(mc_session *session, bool all, mc_error *error)
{
    for (size_t r = 0; r < session->count; r++)
        for (size_t i = 0; i < session->repositories[r].count; i++) {
            mc_item *const item = session->repositories[r].items[i];
            item->wanted = item->state == MC_ITEM_KNOWN && (all || has_no_header(item));
        }
    return mc_session_pump(session, error);
}

mc_status mc_session_settle(mc_session *session, mc_error *error)
{
    (void)error;
    for (size_t r = 0; r < session->count; r++) {
        const mc_repository *const repository = &session->repositories[r];
        /* A cache that is only read keeps what it has. */
        if (!repository->settled)
            (void)mc_cache_write_ref(repository->folder, repository->id.revision,
                                     repository->commit, NULL);
    }
    return MC_OK;
}

void mc_session_end(mc_session *session)
{
    for (size_t r = 0; r < session->count; r++) {
        mc_repository *const repository = &session->repositories[r];
        drop_items(repository);
        mc_free(repository->items);
        mc_request_clear(&repository->request);
        mc_text_free(&repository->body);
        mc_listing_free(&repository->listing);
        mc_hub_id_free(&repository->id);
        mc_free(repository->folder);
    }
    mc_free(session->repositories);
    mc_free(session->files);
    mc_http_free(session->http);
    mc_hub_settings_free(&session->settings);
    *session = (mc_session){0};
}
