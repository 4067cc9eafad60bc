#include "recipe/vocabulary.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <string.h>

#define FILE_LIMIT (INT64_C(256) << 20)

const char *const mc_tokenizer_files[] = {"tokenizer.json",     "tokenizer_config.json",
                                          "tokenizer.model",    "special_tokens_map.json",
                                          "added_tokens.json",  "vocab.json",
                                          "vocab.txt",          "merges.txt",
                                          "spiece.model",       "chat_template.jinja",
                                          "chat_template.json", NULL};

/* A file of a model's folder; *out is NULL if there is none. */
static mc_status load(const mc_model *model, const char *name, char **out, size_t *size,
                      mc_error *error)
{
    const char *const folder = mc_model_folder(model);
    *out = NULL;
    *size = 0;
    if (!folder)
        return MC_OK;
    char *const path = mc_format("%s/%s", folder, name);
    if (!path)
        return mc_fail_memory(error);
    mc_error ignored = MC_ERROR_NONE;
    const mc_status status = mc_file_load(path, FILE_LIMIT, out, size, &ignored);
    mc_free(path);
    if (status == MC_OK || status == MC_NOT_FOUND)
        return MC_OK;
    if (error)
        *error = ignored;
    return status;
}

/* Same tokens and ids of two tokenizer.json: vocabulary, merges and added tokens. */
static bool same_tokenizers(const json_t *a, const json_t *b)
{
    const json_t *const model_a = json_object_get(a, "model"), *const model_b = json_object_get(
                                                                   b, "model");
    const json_t *const added_a = json_object_get(a, "added_tokens");
    const json_t *const added_b = json_object_get(b, "added_tokens");
    const json_t *const vocabulary = json_object_get(model_a, "vocab");
    if (!json_equal(vocabulary, json_object_get(model_b, "vocab")))
        return false;
    if (json_array_size(added_a) != json_array_size(added_b))
        return false;
    for (size_t i = 0; i < json_array_size(added_a); i++) {
        const json_t *const one = json_array_get(added_a, i), *const other = json_array_get(added_b,
                                                                                            i);
        if (!json_equal(json_object_get(one, "id"), json_object_get(other, "id")) ||
            !json_equal(json_object_get(one, "content"), json_object_get(other, "content")))
            return false;
    }
    return true;
}

static mc_status compare_json(const char *a, size_t a_size, const char *b, size_t b_size,
                              bool *same, mc_error *error)
{
    json_t *first = NULL, *second = NULL;
    mc_status status = mc_json_parse(a, a_size, &first, error);
    if (status == MC_OK)
        status = mc_json_parse(b, b_size, &second, error);
    if (status == MC_OK)
        *same = same_tokenizers(first, second);
    json_decref(first);
    json_decref(second);
    return status;
}

static mc_status compare(const mc_model *a, const mc_model *b, const char *name, bool json,
                         bool *same, mc_error *error)
{
    char *first = NULL, *second = NULL;
    size_t first_size = 0, second_size = 0;
    mc_status status = load(a, name, &first, &first_size, error);
    if (status == MC_OK)
        status = load(b, name, &second, &second_size, error);
    if (status == MC_OK && first && second) {
        *same = first_size == second_size && memcmp(first, second, first_size) == 0;
        if (!*same && json)
            status = compare_json(first, first_size, second, second_size, same, error);
    }
    mc_free(first);
    mc_free(second);
    return status;
}

mc_status mc_same_vocabulary(const mc_model *a, const mc_model *b, bool *same, mc_error *error)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer.model", "vocab.json",
                                        "vocab.txt",      "spiece.model",    "added_tokens.json"};
    *same = true;
    for (size_t i = 0; *same && a != b && i < sizeof files / sizeof *files; i++)
        MC_TRY(compare(a, b, files[i], strcmp(files[i], "tokenizer.json") == 0, same, error));
    return MC_OK;
}
