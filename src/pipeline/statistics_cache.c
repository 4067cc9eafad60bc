#include "pipeline/statistics_cache.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/system.h"
#include "checkpoint/safetensors_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static mc_status make_folder(const char *path, mc_error *error)
{
    /* For the user only: statistics reveal something about the data. */
    if (mc_system->mkdir(path, 0700) == 0 || errno == EEXIST)
        return MC_OK;
    return mc_fail_errno(error, path, "cannot create the folder for statistics");
}

/* HOME, then mergecraft and mergecraft/statistics in it. */
static mc_status make_folders(char *home, mc_error *error)
{
    char *const own = mc_format("%s/mergecraft", home);
    char *const all = mc_format("%s/mergecraft/statistics", home);
    mc_status status = own && all ? make_folder(home, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = make_folder(own, error);
    if (status == MC_OK)
        status = make_folder(all, error);
    mc_free(own);
    mc_free(all);
    return status;
}

static size_t number_of(const json_t *metadata, const char *key)
{
    const char *const text = json_string_value(json_object_get(metadata, key));
    return text ? (size_t)strtoull(text, NULL, 10) : 0;
}

/* Reads what the run that wrote the file reported, so that it is reported again. */
static mc_status read_counts(mc_observe_result *result, mc_error *error)
{
    json_t *metadata = NULL;
    MC_TRY(mc_safetensors_metadata(result->path, &metadata, error));
    result->examples = number_of(metadata, "examples");
    result->tokens = number_of(metadata, "tokens");
    result->truncated = number_of(metadata, "truncated");
    result->singular = number_of(metadata, "singular") > 0;
    json_decref(metadata);
    return MC_OK;
}

static mc_status find_in_cache(uint64_t key, mc_observe_result *result, mc_error *error)
{
    const char *const cache = getenv("XDG_CACHE_HOME"), *const home = getenv("HOME");
    struct stat ignored;
    char *const folder = cache && cache[0] == '/' ? mc_strdup(cache)
                         : home && home[0] == '/' ? mc_format("%s/.cache", home)
                                                  : NULL;
    if (!folder)
        return mc_fail(error, MC_USAGE,
                       "expected XDG_CACHE_HOME or HOME to keep statistics in, found neither");
    mc_status status = make_folders(folder, error);
    const int length = snprintf(result->path, sizeof result->path,
                                "%s/mergecraft/statistics/%016" PRIx64 ".stats", folder, key);
    /* A name that is cut would be that of other statistics, too. */
    if (status == MC_OK && length >= (int)sizeof result->path)
        status = mc_fail(error, MC_USAGE, "expected a shorter path of the user's cache");
    mc_free(folder);
    result->cached = status == MC_OK && mc_system->stat(result->path, &ignored) == 0;
    return result->cached ? read_counts(result, error) : status;
}

mc_status mc_statistics_place(const char *path, uint64_t key, mc_observe_result *result,
                              mc_error *error)
{
    if (!path)
        return find_in_cache(key, result, error);
    /* A path that the user names is always written. */
    if (snprintf(result->path, sizeof result->path, "%s", path) >= (int)sizeof result->path)
        return mc_fail(error, MC_USAGE, "expected a shorter path for the statistics");
    return MC_OK;
}
