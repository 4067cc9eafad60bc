/* The public functions of the Hub. */
#include <mergecraft/hub.h>

#include "base/memory.h"
#include "hub/session.h"

#include <string.h>

bool mc_hub_is_name(const char *text)
{
    mc_hub_id id = {0};
    const bool good = strchr(text, '/') && mc_hub_id_parse(text, MC_HUB_MODEL, &id, NULL) == MC_OK;
    mc_hub_id_free(&id);
    /* A revision may contain slashes: only one before "@" belongs to the name. */
    return good && strcspn(text, "/") < strcspn(text, "@");
}

void mc_hub_snapshots_free(mc_hub_snapshot *snapshots, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t f = 0; f < snapshots[i].file_count; f++)
            mc_free(snapshots[i].files[f]);
        mc_free(snapshots[i].files);
        mc_free(snapshots[i].sizes);
        mc_free(snapshots[i].name);
        mc_free(snapshots[i].commit);
        mc_free(snapshots[i].folder);
        snapshots[i] = (mc_hub_snapshot){0};
    }
}

/* Copies what the caller keeps: the session ends before the function returns. */
static bool describe(const mc_snapshot *snapshot, mc_hub_snapshot *out)
{
    const mc_repository *const repository = &snapshot->repository;
    out->name = mc_strdup(repository->id.name);
    out->commit = mc_strdup(repository->commit);
    out->folder = mc_cache_snapshot(repository->folder, repository->commit);
    out->files = mc_alloc_zero(snapshot->count, sizeof *out->files);
    out->sizes = mc_alloc_zero(snapshot->count, sizeof *out->sizes);
    bool good = out->name && out->commit && out->folder && out->files && out->sizes;
    for (size_t i = 0; good && i < snapshot->count; i++) {
        out->files[i] = mc_strdup(snapshot->items[i]->path);
        out->sizes[i] = snapshot->items[i]->size;
        out->bytes_received += snapshot->items[i]->received;
        /* Counted before it is checked: mc_hub_snapshots_free accepts NULL. */
        out->file_count = i + 1;
        good = out->files[i] != NULL;
    }
    return good;
}

static mc_status describe_all(const mc_session *session, mc_hub_snapshot *out, mc_error *error)
{
    memset(out, 0, session->count * sizeof *out);
    for (size_t i = 0; i < session->count; i++)
        if (!describe(&session->snapshots[i], &out[i])) {
            mc_hub_snapshots_free(out, session->count);
            return mc_fail_memory(error);
        }
    return MC_OK;
}

mc_status mc_hub_download(const mc_hub_spec *specs, size_t count, const mc_hub_options *options,
                          mc_hub_snapshot *out, mc_error *error)
{
    mc_session session = {0};
    mc_status status = mc_session_begin(&session, specs, count, options, error);
    if (status == MC_OK)
        status = mc_session_fetch_weights(&session, true, error);
    if (status == MC_OK) {
        /* Only now: a ref must not lead to an incomplete snapshot. */
        mc_session_write_refs(&session);
        status = describe_all(&session, out, error);
    }
    mc_session_end(&session);
    return status;
}

mc_status mc_hub_dataset_file(const char *name, const char *path, const mc_hub_options *options,
                              char **out, mc_error *error)
{
    mc_hub_snapshot snapshot;
    const mc_hub_spec spec = {.name = name, .dataset = true, .files = &path, .file_count = 1};
    MC_TRY(mc_hub_download(&spec, 1, options, &snapshot, error));
    *out = mc_format("%s/%s", snapshot.folder, path);
    mc_hub_snapshots_free(&snapshot, 1);
    return *out ? MC_OK : mc_fail_memory(error);
}

void mc_hub_free(char *text)
{
    mc_free(text);
}
