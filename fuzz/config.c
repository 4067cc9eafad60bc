/* A model's config.json: its architecture and labels. The weights beside it are right. */
#include "fuzz.h"

#include <mergecraft/model.h>

#include "model/model.h"

#include <string.h>

/* A float32 tensor, and an FP8 one with its scale. */
static const char weights[] =
    "\xc0\0\0\0\0\0\0\0"
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"y.wei"
    "ght_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
    "\"y.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[8,"
    "12]}}       "
    "\0\0\0\0\0\0\0\0\0\0\0";

static void check_model(const mc_model *model)
{
    const char *const architecture = mc_model_architecture(model);
    size_t length = architecture ? strlen(architecture) : 0;
    for (size_t i = 0; i < mc_model_label_count(model); i++)
        length += strlen(mc_model_label(model, i));
    for (size_t i = 0; i < mc_model_note_count(model); i++)
        fuzz_require(mc_model_note(model, i)[0] != '\0', "notes have text");
    fuzz_require(mc_model_note_count(model) == 1, "the scale is noted");
    fuzz_require(length <= strlen(mc_model_config(model)) * 2, "texts are those of the file");
    fuzz_require(strcmp(mc_model_name(model), "model") == 0, "it has its name");
    fuzz_require(strcmp(mc_model_folder(model), "model") == 0, "it has its folder");
    fuzz_require(strcmp(mc_model_format(model), "safetensors") == 0, "it has its format");
    fuzz_require(mc_model_file_count(model) == 1 && strstr(mc_model_file(model, 0), "model.safe"),
                 "it has its file");
    fuzz_require(mc_state_dict_count(mc_model_state_dict(model)) == 2, "it has its tensors");
    fuzz_require(!mc_model_tied(model, "x"), "the tensor is nobody's alias");
    fuzz_require(mc_model_is_complete(model), "all of it is there");
    fuzz_require(!mc_model_has_adapters(model), "it has no adapter");
    fuzz_require(!mc_model_type(model) || strstr(mc_model_config(model), "model_type"),
                 "its type is in the file");
    fuzz_require(!mc_model_repository(model) && !mc_model_commit(model), "it is from no Hub");
    fuzz_require(mc_model_check(model, NULL) == MC_OK, "its file has not changed");
    fuzz_require(mc_model_fingerprint(model) == mc_model_fingerprint(model),
                 "its fingerprint is a property of it");
}

/* The same text with the same tensor, brought along by a program. A NUL ends the text there. */
static void wrap(const mc_model *model, size_t size)
{
    const char *const text = mc_model_config(model);
    mc_model *wrapped = NULL;
    mc_error error = MC_ERROR_NONE;
    const mc_status status = mc_model_wrap("wrapped", mc_model_state_dict(model), text, "folder",
                                           &wrapped, &error);
    fuzz_check_status(status, &error);
    if (strlen(text) == size && status != MC_NO_MEMORY)
        fuzz_require(status == MC_OK &&
                         mc_model_label_count(wrapped) == mc_model_label_count(model),
                     "it is the same model");
    mc_model_close(wrapped);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    mc_model *model = NULL;
    mc_error error = MC_ERROR_NONE;
    fuzz_put("model/config.json", data, size);
    fuzz_put("model/model.safetensors", weights, sizeof weights);
    const mc_status status = mc_model_open("model", &model, &error);
    if (status == MC_OK)
        wrap(model, size);
    fuzz_check_status(status, &error);
    if (status == MC_OK)
        check_model(model);
    else if (status != MC_NO_MEMORY)
        fuzz_require(strncmp(error.file, "model", 5) == 0, "what is wrong is in the folder");
    mc_model_close(model);
}
