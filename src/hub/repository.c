#include "hub/repository.h"

#include "base/memory.h"
#include "hub/cache.h"
#include "hub/url.h"

mc_status mc_repository_open(mc_repository *repository, mc_transfers *transfers, const char *name,
                             mc_hub_kind kind, mc_error *error)
{
    repository->transfers = transfers;
    MC_TRY(mc_hub_id_parse(name, kind, &repository->id, error));
    repository->folder = mc_cache_repository(&transfers->settings, &repository->id);
    return repository->folder ? MC_OK : mc_fail_memory(error);
}

void mc_repository_close(mc_repository *repository)
{
    mc_hub_id_free(&repository->id);
    mc_free(repository->folder);
    *repository = (mc_repository){0};
}

static char *take_text(mc_text *text)
{
    if (!text->failed)
        return text->data;
    mc_text_free(text);
    return NULL;
}

/* By commit, not by branch: all files come from one state, even if the branch moves meanwhile. */
char *mc_repository_file_url(const mc_repository *repository, const char *path)
{
    mc_text text = {0};
    mc_text_add(&text, "%s/%s%s/resolve/", repository->transfers->settings.endpoint,
                repository->id.kind == MC_HUB_DATASET ? "datasets/" : "", repository->id.name);
    mc_url_add_encoded(&text, repository->commit, false);
    mc_text_add(&text, "/");
    mc_url_add_encoded(&text, path, true);
    return take_text(&text);
}

char *mc_repository_api_url(const mc_repository *repository, const char *action,
                            const char *revision)
{
    mc_text text = {0};
    mc_text_add(&text, "%s/api/%s/%s/%s/", repository->transfers->settings.endpoint,
                mc_hub_kind_name(repository->id.kind), repository->id.name, action);
    /* A branch name may have slashes (refs/pr/1), which must not end the path segment. */
    mc_url_add_encoded(&text, revision, false);
    return take_text(&text);
}
