/* From names to open models: what is on the Hub is fetched first, for all of them together. */
#include "model/open.h"

#include "base/memory.h"
#include "base/system.h"
#include "model/remote.h"

#include <stdio.h>
#include <string.h>

/* A path that exists is never looked up on the Hub. */
bool mc_is_remote(const char *name)
{
    struct stat status;
    return mc_system->stat(name, &status) != 0 && mc_hub_is_name(name);
}

/*
 * Makes an error name a file as the Hub does: the temporary folder with its header does not exist
 * any more when the error is read.
 */
static void name_as_hub(const mc_repository *repository, const char *folder, mc_error *error)
{
    const size_t length = folder ? strlen(folder) : 0;
    if (!error || length == 0 || strncmp(error->file, folder, length) != 0)
        return;
    char *const name = mc_format("%s%s", repository->id.name, error->file + length);
    if (name)
        snprintf(error->file, sizeof error->file, "%s", name);
    mc_free(name);
}

static mc_status open_remote(const char *name, const mc_snapshot *snapshot, const mc_comm *comm,
                             mc_model **out, mc_error *error)
{
    const mc_repository *const repository = &snapshot->repository;
    char *const folder = mc_cache_snapshot(repository->folder, repository->commit);
    if (!folder)
        return mc_fail_memory(error);
    const bool complete = mc_snapshot_is_complete(snapshot);
    char *header_folder = NULL;
    mc_status status = complete ? MC_OK
                                : mc_remote_make_folder(snapshot, folder, &header_folder, error);
    if (status == MC_OK)
        status = mc_model_open_path(name, complete ? folder : header_folder, comm, out, error);
    if (status != MC_OK)
        name_as_hub(repository, header_folder, error);
    /* Files that are open stay readable after they were removed. */
    mc_remote_remove(header_folder);
    if (status == MC_OK) {
        mc_model *const model = *out;
        /* The folder with the headers is gone: tokenizer and licences are in the snapshot. */
        mc_free(model->folder);
        model->folder = folder;
        model->repository = mc_strdup(repository->id.name);
        model->commit = mc_strdup(repository->commit);
        mc_remote_limit(snapshot, model);
        if (model->repository && model->commit)
            return MC_OK;
        mc_model_close(model);
        return mc_fail_memory(error);
    }
    mc_free(folder);
    return status;
}

/*
 * The first `remote_count` of specs are the names that were downloaded, in their order. They are
 * compared by pointer, since a name may occur twice.
 */
static mc_status open_all(const char *const *names, size_t count, const mc_hub_spec *specs,
                          size_t remote_count, const mc_session *session, const mc_comm *comm,
                          mc_model **out, mc_error *error)
{
    size_t remote = 0;
    for (size_t i = 0; i < count; i++) {
        const mc_status status = remote < remote_count && specs[remote].name == names[i]
                                     ? open_remote(names[i], &session->snapshots[remote++], comm,
                                                   &out[i], error)
                                     : mc_model_open_path(names[i], names[i], comm, &out[i], error);
        if (status == MC_OK)
            continue;
        while (i > 0) {
            mc_model_close(out[--i]);
            out[i] = NULL;
        }
        return status;
    }
    return MC_OK;
}

/* Fetches what must be in the cache before the models can be opened. */
static mc_status fetch(mc_session *session, const mc_hub_spec *specs, size_t count,
                       const mc_hub_options *hub, bool headers_only, mc_error *error)
{
    if (count == 0)
        return MC_OK;
    MC_TRY(mc_session_begin(session, specs, count, hub, error));
    MC_TRY(headers_only ? mc_session_fetch_headers(session, error) : MC_OK);
    MC_TRY(mc_session_fetch_weights(session, !headers_only, error));
    /* A snapshot with headers only is incomplete: no ref may lead to it. */
    if (!headers_only)
        mc_session_write_refs(session);
    return MC_OK;
}

mc_status mc_models_open_plain(const char *const *names, size_t count, const mc_hub_options *hub,
                               bool headers_only, mc_model **out, mc_error *error)
{
    mc_hub_spec *const specs = mc_alloc_zero(count, sizeof *specs);
    mc_session session = {0};
    size_t remote = 0;
    if (!specs)
        return mc_fail_memory(error);
    for (size_t i = 0; i < count; i++)
        if (mc_is_remote(names[i]))
            specs[remote++].name = names[i];
    mc_status status = fetch(&session, specs, remote, hub, headers_only, error);
    if (status == MC_OK)
        status = open_all(names, count, specs, remote, &session, hub ? hub->comm : NULL, out,
                          error);
    mc_session_end(&session);
    mc_free(specs);
    return status;
}
