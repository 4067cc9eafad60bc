#include "hub/snapshot.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/*
 * The index of a model with 100,000 tensors has about 10 MB. The limit leaves room for ten times as
 * many.
 */
#define REFERRING_LIMIT (INT64_C(100) << 20)

mc_status mc_snapshot_open(mc_snapshot *snapshot, mc_transfers *transfers, const mc_hub_spec *spec,
                           mc_error *error)
{
    snapshot->spec = spec;
    MC_TRY(mc_repository_open(&snapshot->repository, transfers, spec->name,
                              spec->dataset ? MC_HUB_DATASET : MC_HUB_MODEL, error));
    for (size_t i = 0; i < spec->file_count; i++)
        if (!mc_hub_path_ok(spec->files[i]))
            return mc_fail(error, MC_USAGE,
                           "expected the path of a file in a repository, found '%s'",
                           spec->files[i]);
    return MC_OK;
}

/* The capacity of the list stays for the next use. */
void mc_snapshot_reset(mc_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        mc_item_free(snapshot->items[i]);
    mc_listing_free(&snapshot->listing);
    snapshot->count = 0;
    snapshot->cached = false;
}

void mc_snapshot_close(mc_snapshot *snapshot)
{
    mc_snapshot_reset(snapshot);
    mc_free(snapshot->items);
    mc_request_clear(&snapshot->request);
    mc_text_free(&snapshot->body);
    mc_repository_close(&snapshot->repository);
    *snapshot = (mc_snapshot){0};
}

/* ---- files ----------------------------------------------------------------------------------- */

/*
 * Adds a file once: it may be needed for two reasons, such as config.json of a model with an
 * adapter.
 */
static mc_status add_item(void *user, const char *path, mc_file_role role, mc_error *error)
{
    mc_snapshot *const snapshot = user;
    for (size_t i = 0; i < snapshot->count; i++)
        if (strcmp(snapshot->items[i]->path, path) == 0)
            return MC_OK;
    if (!MC_GROW(snapshot->items, snapshot->count, snapshot->capacity))
        return mc_fail_memory(error);
    mc_item *const item = mc_item_new(&snapshot->repository, path, role);
    if (!item)
        return mc_fail_memory(error);
    snapshot->items[snapshot->count++] = item;
    return MC_OK;
}

mc_status mc_snapshot_add_files(mc_snapshot *snapshot, const mc_listing *listing, mc_error *error)
{
    const mc_hub_spec *const spec = snapshot->spec;
    if (!spec->files)
        return mc_in_file(error, snapshot->repository.id.name,
                          mc_select_files(listing, add_item, snapshot, error));
    /* Named files are treated as weights: they may be large, and nothing is read in them. */
    for (size_t i = 0; i < spec->file_count; i++)
        MC_TRY(add_item(snapshot, spec->files[i], MC_FILE_WEIGHTS, error));
    return MC_OK;
}

static mc_status add_referenced_by(mc_snapshot *snapshot, const mc_item *item, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    const mc_repository *const repository = &snapshot->repository;
    char *const path = mc_cache_pointer(repository->folder, repository->commit, item->path);
    mc_status status = path ? mc_file_load(path, REFERRING_LIMIT, &text, &size, error)
                            : mc_fail_memory(error);
    if (status == MC_OK)
        status = mc_in_file(error, path,
                            mc_select_referenced(item->role, text, size, &snapshot->listing,
                                                 add_item, snapshot, error));
    mc_free(text);
    mc_free(path);
    return status;
}

static bool refers(const mc_item *item)
{
    return item->state == MC_ITEM_DONE &&
           (item->role == MC_FILE_INDEX || item->role == MC_FILE_MODULES ||
            item->role == MC_FILE_CONFIG);
}

mc_status mc_snapshot_add_referenced(mc_snapshot *snapshot, mc_error *error)
{
    for (size_t i = 0; i < snapshot->count; i++)
        if (refers(snapshot->items[i]))
            MC_TRY(add_referenced_by(snapshot, snapshot->items[i], error));
    return MC_OK;
}

/* ---- the cache alone ------------------------------------------------------------------------- */

static mc_status fail_missing(const mc_snapshot *snapshot, const char *path, mc_error *error)
{
    const mc_repository *const repository = &snapshot->repository;
    const mc_hub_settings *const settings = &repository->transfers->settings;
    mc_fail(error, MC_NOT_FOUND, "%s of %s is not in the cache (%s), and %s",
            path ? path : "this revision", repository->id.name, settings->cache,
            settings->offline ? "HF_HUB_OFFLINE is set" : "the server cannot be reached");
    if (error)
        snprintf(error->file, sizeof error->file, "%s@%s", repository->id.name,
                 repository->id.revision);
    return MC_NOT_FOUND;
}

static mc_status add_cached_files(mc_snapshot *snapshot, mc_error *error)
{
    const mc_repository *const repository = &snapshot->repository;
    mc_listing *const listing = &snapshot->listing;
    MC_TRY(mc_cache_list(repository->folder, repository->commit, listing, error));
    if (!listing->complete)
        return fail_missing(snapshot, NULL, error);
    /* Without `error`: what is missing is reported as missing in the cache. */
    const mc_status status = mc_snapshot_add_files(snapshot, listing, NULL);
    if (status == MC_NOT_FOUND) /* no weights */
        return fail_missing(snapshot, "model.safetensors", error);
    MC_TRY(status);
    MC_TRY(mc_snapshot_add_referenced(snapshot, error));
    /* Referenced files count too: a shard that is missing makes the snapshot unusable. */
    for (size_t i = 0; i < snapshot->count; i++)
        if (snapshot->items[i]->state != MC_ITEM_DONE)
            return fail_missing(snapshot, snapshot->items[i]->path, error);
    return MC_OK;
}

/*
 * All or nothing: a snapshot without some of its files would be taken for a model without, for
 * example, a tokenizer.
 */
mc_status mc_snapshot_use_cache(mc_snapshot *snapshot, mc_error *error)
{
    mc_repository *const repository = &snapshot->repository;
    MC_TRY(
        mc_cache_read_ref(repository->folder, repository->id.revision, repository->commit, error));
    mc_snapshot_reset(snapshot);
    const mc_status status = repository->commit[0] ? add_cached_files(snapshot, error)
                                                   : fail_missing(snapshot, NULL, error);
    if (status != MC_OK)
        mc_snapshot_reset(snapshot);
    snapshot->cached = status == MC_OK;
    return status;
}

bool mc_snapshot_is_in_cache(const mc_snapshot *snapshot)
{
    const mc_repository *const repository = &snapshot->repository;
    char commit[MC_COMMIT_SIZE];
    struct stat status;
    if (mc_cache_read_ref(repository->folder, repository->id.revision, commit, NULL) != MC_OK ||
        !commit[0])
        return false;
    char *const path = mc_cache_snapshot(repository->folder, commit);
    const bool found = path && mc_system->stat(path, &status) == 0;
    mc_free(path);
    return found;
}

/* By the names of which every tokenizer of the Hub has at least one. */
bool mc_snapshot_has_tokenizer(const mc_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        const char *const path = snapshot->items[i]->path;
        if (strncmp(path, "tokenizer", 9) == 0 || strncmp(path, "vocab.", 6) == 0 ||
            mc_ends_with(path, ".model"))
            return true;
    }
    return snapshot->spec->files != NULL;
}

bool mc_snapshot_is_complete(const mc_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        if (snapshot->items[i]->state != MC_ITEM_DONE)
            return false;
    return true;
}
