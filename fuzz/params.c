/* Parameters as the command takes them, one a line, for each method in turn. */
#include "fuzz.h"

#include "base/memory.h"
#include "merge/params.h"

#include <string.h>

enum { MOST_SETTINGS = 16 };

static void parse(const mc_method *method, const char *const *settings, size_t count)
{
    mc_params *params = NULL;
    mc_error error = MC_ERROR_NONE;
    const mc_status status = mc_params_parse(method, settings, count, 3, &params, &error);
    if (status == MC_OK) {
        char *const json = mc_params_json(method, params);
        fuzz_require(json && json[0] == '{', "what was parsed can be written");
        mc_free(json);
        mc_params_unref(params);
    } else {
        fuzz_require(status == MC_USAGE && error.text[0] != '\0', "a refusal is wrong usage");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *settings[MOST_SETTINGS] = {0};
    size_t count = 0;
    char *const text = mc_strndup((const char *)data, size), *rest = text;
    while (rest && count < MOST_SETTINGS)
        settings[count++] = strsep(&rest, "\n");
    for (size_t i = 0; i < mc_method_count(); i++)
        parse(mc_method_at(i), settings, count);
    mc_free(text);
    return 0;
}
