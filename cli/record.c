#include "record.h"

#include "output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mc_status fail_record(const char *path, mc_status status, const char *what, mc_error *error)
{
    mc_fail(error, status, "%s", what);
    snprintf(error->file, sizeof error->file, "%s", path);
    return status;
}

mc_status record_load(const char *path, json_t **out, mc_error *error)
{
    json_error_t problem;
    *out = json_load_file(path, 0, &problem);
    /* A missing file is reported as everywhere else, with a status of its own. */
    if (!*out && access(path, R_OK) != 0)
        return fail_record(path, MC_NOT_FOUND, "no such file", error);
    if (!*out)
        return fail_record(path, MC_FORMAT, problem.text, error);
    return json_is_array(json_object_get(*out, "models"))
               ? MC_OK
               : fail_record(path, MC_FORMAT, "expected a mergecraft.json, found no list of models",
                             error);
}

char *record_model(const json_t *model)
{
    const char *const name = json_string_value(json_object_get(model, "name"));
    const char *const repository = json_string_value(json_object_get(model, "repository"));
    const char *const commit = json_string_value(json_object_get(model, "commit"));
    if (!name || !repository || !commit)
        return format_text("%s", name ? name : "");
    return format_text("%s@%s%s", repository, commit, name + strcspn(name, "+"));
}
