#include "tokenizer/config.h"

#include "base/memory.h"

#include <string.h>

void mc_tokenizer_config_free(mc_tokenizer_config *config)
{
    json_decref(config->values);
    json_decref(config->added);
    mc_free(config->class_name);
    *config = (mc_tokenizer_config){0};
}

mc_status mc_tokenizer_config_load(const char *path, bool reals, json_t **out, mc_error *error)
{
    if (!path)
        return MC_OK;
    MC_TRY((reals ? mc_json_load_reals : mc_json_load)(path, MC_TOKENIZER_FILE_BYTES, out, error));
    if (!json_is_object(*out))
        return mc_fail_at(error, MC_FORMAT, path, NULL, -1,
                          "expected a JSON object, found something else");
    return MC_OK;
}

/* ---- classes --------------------------------------------------------------------------------- */

/* "BertTokenizerFast" is "BertTokenizer". */
static bool is_class(const char *name, const char *class)
{
    const size_t size = strlen(class);
    return strncmp(name, class, size) == 0 &&
           (name[size] == '\0' || strcmp(name + size, "Fast") == 0);
}

static mc_tokenizer_class class_of(const char *name)
{
    static const char *const bert[] = {"BertTokenizer",
                                       "DistilBertTokenizer",
                                       "MobileBertTokenizer",
                                       "ConvBertTokenizer",
                                       "DPRContextEncoderTokenizer",
                                       "SqueezeBertTokenizer",
                                       "DPRQuestionEncoderTokenizer"};
    for (size_t i = 0; i < sizeof bert / sizeof *bert; i++)
        if (is_class(name, bert[i]))
            return MC_TOKENIZER_BERT;
    return is_class(name, "RobertaTokenizer") ? MC_TOKENIZER_ROBERTA : MC_TOKENIZER_AS_STORED;
}

/* The class that transformers uses for a model whose files do not name one. */
static const char *class_of_model(const char *model_type)
{
    if (model_type && (strcmp(model_type, "bert") == 0 || strcmp(model_type, "distilbert") == 0))
        return "BertTokenizer";
    return model_type && strcmp(model_type, "roberta") == 0 ? "RobertaTokenizer" : NULL;
}

static mc_status find_class(const char *model_config, mc_tokenizer_config *out, mc_error *error)
{
    static const char member[] = "tokenizer_class";
    json_t *model = NULL;
    const char *name = json_string_value(json_object_get(out->values, member));
    mc_status status = name ? MC_OK : mc_tokenizer_config_load(model_config, true, &model, error);
    if (!name)
        name = json_string_value(json_object_get(model, member));
    if (!name)
        name = class_of_model(json_string_value(json_object_get(model, "model_type")));
    if (status == MC_OK && name) {
        out->class = class_of(name);
        out->class_name = mc_strdup(name);
        if (!out->class_name)
            status = mc_fail_memory(error);
    }
    json_decref(model);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

mc_status mc_tokenizer_config_read(const mc_tokenizer_config_paths *paths, mc_tokenizer_config *out,
                                   mc_error *error)
{
    json_t *special = NULL;
    *out = (mc_tokenizer_config){0};
    MC_TRY(mc_tokenizer_config_load(paths->tokenizer_config, true, &out->values, error));
    if (!out->values && !(out->values = json_object()))
        return mc_fail_memory(error);
    MC_TRY(find_class(paths->model_config, out, error));
    /* This member replaces the two older files, as in transformers. */
    if (json_object_get(out->values, "added_tokens_decoder"))
        return MC_OK;
    MC_TRY(mc_tokenizer_config_load(paths->added_tokens, false, &out->added, error));
    const mc_status status = mc_tokenizer_config_load(paths->special_tokens_map, false, &special,
                                                      error);
    /* special_tokens_map.json wins over tokenizer_config.json. */
    const bool merged = status != MC_OK || !special ||
                        json_object_update(out->values, special) == 0;
    json_decref(special);
    return merged ? status : mc_fail_memory(error);
}

const char *mc_tokenizer_config_text(const mc_tokenizer_config *config, const char *name)
{
    const json_t *const value = json_object_get(config->values, name);
    /* A special token is a text, or an object with attributes. */
    const json_t *const content = json_object_get(value, "content");
    return json_string_value(content ? content : value);
}
