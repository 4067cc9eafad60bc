#include "merge/tokenizer_files.h"

#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#define FILE_LIMIT (INT64_C(256) << 20)

const char *const mc_tokenizer_files[] = {"tokenizer.json",
                                          "tokenizer_config.json",
                                          "tokenizer.model",
                                          "special_tokens_map.json",
                                          "added_tokens.json",
                                          "vocab.json",
                                          "vocab.txt",
                                          "merges.txt",
                                          "spiece.model",
                                          "chat_template.jinja",
                                          "chat_template.json",
                                          "sentencepiece.bpe.model",
                                          NULL};

const char *const mc_sentencepiece_files[] = {"tokenizer.model", "spiece.model",
                                              "sentencepiece.bpe.model", NULL};

mc_status mc_tokenizer_text(const mc_tokenizer_owner *model, const char *name, char **out,
                            size_t *size, mc_error *error)
{
    const char *const folder = mc_model_folder(model->model);
    *out = NULL;
    *size = 0;
    if (model->outfit)
        return mc_outfit_text(model->outfit, name, out, size, error);
    if (!folder)
        return MC_OK;
    char *const path = mc_format("%s/%s", folder, name);
    if (!path)
        return mc_fail_memory(error);
    mc_error found = MC_ERROR_NONE;
    const mc_status status = mc_file_load(path, FILE_LIMIT, out, size, &found);
    mc_free(path);
    /* A missing file is not an error: the caller sees NULL. */
    if (status == MC_OK || status == MC_NOT_FOUND)
        return MC_OK;
    if (error)
        *error = found;
    return status;
}

mc_status mc_tokenizer_load(const mc_tokenizer_owner *model, mc_document_files *out,
                            mc_error *error)
{
    const struct {
        const char *name;
        mc_document_file *file;
        bool lists; /* the whole vocabulary */
    } all[] = {{"tokenizer.json", &out->tokenizer, true},
               {"vocab.txt", &out->vocab_txt, true},
               {"vocab.json", &out->vocab_json, true},
               {"tokenizer_config.json", &out->config, false},
               {"added_tokens.json", &out->added, false}};
    bool listed = false;
    mc_status status = MC_OK;
    *out = (mc_document_files){0};
    for (size_t i = 0; status == MC_OK && i < sizeof all / sizeof *all; i++) {
        if (all[i].lists && listed)
            continue;
        status = mc_tokenizer_text(model, all[i].name, &all[i].file->text, &all[i].file->size,
                                   error);
        listed |= all[i].lists && all[i].file->text;
    }
    if (status != MC_OK)
        mc_document_files_free(out);
    return status;
}

mc_status mc_tokenizer_parse(const mc_tokenizer_owner *model, mc_document_files *files,
                             mc_document **out, bool *own, mc_error *error)
{
    const mc_status status = mc_document_of_files(files, out, own, error);
    /* The parser knows the name of the file only; users of several models need the folder too. */
    if (status != MC_OK && error && mc_model_folder(model->model)) {
        char *const path = mc_format("%s/%s", mc_model_folder(model->model), error->file);
        if (path && error->file[0] && error->file[0] != '/')
            snprintf(error->file, sizeof error->file, "%s", path);
        mc_free(path);
    }
    return status;
}

mc_status mc_tokenizer_document(const mc_tokenizer_owner *model, mc_document **out, bool *own,
                                mc_error *error)
{
    mc_document_files files;
    MC_TRY(mc_tokenizer_load(model, &files, error));
    const mc_status status = mc_tokenizer_parse(model, &files, out, own, error);
    mc_document_files_free(&files);
    return status;
}

mc_status mc_tokenizer_same_file(const mc_tokenizer_owner *a, const mc_tokenizer_owner *b,
                                 const char *name, bool *same, mc_error *error)
{
    char *first = NULL, *second = NULL;
    size_t first_size = 0, second_size = 0;
    mc_status status = mc_tokenizer_text(a, name, &first, &first_size, error);
    if (status == MC_OK)
        status = mc_tokenizer_text(b, name, &second, &second_size, error);
    *same = status == MC_OK && first && second && first_size == second_size &&
            memcmp(first, second, first_size) == 0;
    mc_free(first);
    mc_free(second);
    return status;
}

mc_status mc_tokenizer_has_file(const mc_tokenizer_owner *model, const char *const *names,
                                bool *has, mc_error *error)
{
    *has = false;
    for (size_t i = 0; !*has && names[i]; i++) {
        char *text = NULL;
        size_t size;
        MC_TRY(mc_tokenizer_text(model, names[i], &text, &size, error));
        *has = text != NULL;
        mc_free(text);
    }
    return MC_OK;
}
