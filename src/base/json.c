#include "base/json.h"

#include "base/file.h"
#include "base/memory.h"

mc_status mc_json_parse(const char *bytes, size_t size, json_t **out, mc_error *error)
{
    json_error_t problem;
    json_t *const value = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &problem);
    if (!value)
        return mc_fail_at(error, MC_FORMAT, NULL, NULL, problem.position,
                          "not valid JSON at byte %d: %s", problem.position, problem.text);
    *out = value;
    return MC_OK;
}

mc_status mc_json_load(const char *path, int64_t limit, json_t **out, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_file_load(path, limit, &text, &size, error));
    const mc_status status = mc_in_file(error, path, mc_json_parse(text, size, out, error));
    mc_free(text);
    return status;
}
