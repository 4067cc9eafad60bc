#include "tokenizer/tokenizer.h"

#include "base/memory.h"
#include "base/system.h"
#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/normalize.h"
#include "tokenizer/read_json.h"
#include "tokenizer/read_vocab.h"

#include <stdatomic.h>
#include <string.h>

void mc_tokenizer_close(mc_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    mc_vocabulary_free(&tokenizer->vocabulary);
    mc_added_free(&tokenizer->added);
    mc_bpe_free(&tokenizer->bpe);
    mc_free(tokenizer->wordpiece.prefix_text);
    mc_free(tokenizer->tokens);
    mc_free(tokenizer->texts);
    mc_free(tokenizer);
}

/* The files of a tokenizer. */
enum { JSON, VOCAB_TXT, VOCAB_JSON, MERGES, CONFIG, SPECIAL, ADDED, MODEL, FILES };

static const char *const file_names[FILES] = {"tokenizer.json",
                                              "vocab.txt",
                                              "vocab.json",
                                              "merges.txt",
                                              "tokenizer_config.json",
                                              "special_tokens_map.json",
                                              "added_tokens.json",
                                              "config.json"};

/* Those of a folder; NULL: missing. */
typedef struct tokenizer_files {
    char *paths[FILES];
    json_t *json;
    mc_tokenizer_config config;
} tokenizer_files;

static void free_files(tokenizer_files *files)
{
    for (size_t i = 0; i < FILES; i++)
        mc_free(files->paths[i]);
    json_decref(files->json);
    mc_tokenizer_config_free(&files->config);
}

static mc_status look_for(const char *folder, const char *name, char **path, mc_error *error)
{
    struct stat status;
    *path = mc_format("%s/%s", folder, name);
    if (!*path)
        return mc_fail_memory(error);
    if (mc_system->stat(*path, &status) != 0) {
        mc_free(*path);
        *path = NULL;
    }
    return MC_OK;
}

static mc_status look_for_files(const char *folder, tokenizer_files *files, mc_error *error)
{
    for (size_t i = 0; i < FILES; i++)
        MC_TRY(look_for(folder, file_names[i], &files->paths[i], error));
    if (files->paths[JSON] || files->paths[VOCAB_TXT] ||
        (files->paths[VOCAB_JSON] && files->paths[MERGES]))
        return MC_OK;
    return mc_fail_at(error, MC_NOT_FOUND, folder, NULL, -1,
                      "expected a tokenizer: tokenizer.json, or vocab.txt, or vocab.json and "
                      "merges.txt; found none");
}

/* Settings for any kind of files. transformers writes 1e30 for an unknown length. */
static void read_config(mc_tokenizer *tokenizer, const json_t *config)
{
    const json_t *const stated = json_object_get(config, "model_max_length");
    const double length = json_number_value(stated ? stated : json_object_get(config, "max_len"));
    const char *const side = json_string_value(json_object_get(config, "truncation_side"));
    /* A limit beyond any model means none. */
    if (length >= 1 && length <= 1 << 24)
        tokenizer->max_length = (size_t)length;
    tokenizer->cut_left = side && strcmp(side, "left") == 0;
}

/*
 * Drops unused ids from the end of the table.
 *
 * The table grows by doubling.
 */
static void trim(mc_tokenizer *tokenizer)
{
    while (tokenizer->token_count && !tokenizer->tokens[tokenizer->token_count - 1])
        tokenizer->token_count--;
}

static mc_status check_template(const mc_tokenizer *tokenizer, const mc_template *template,
                                mc_error *error)
{
    for (size_t i = 0; i < template->count; i++) {
        const mc_template_part *const part = &template->parts[i];
        if (part->kind == MC_PART_TOKEN && !mc_tokenizer_token(tokenizer, part->id))
            return mc_fail(error, MC_FORMAT,
                           "post_processor: expected ids of tokens, found %d, which none has",
                           part->id);
    }
    return MC_OK;
}

/* Builds what depends on everything that was read. */
static mc_status finish(mc_tokenizer *tokenizer, mc_error *error)
{
    static atomic_uint_least64_t serial;
    /*
     * Unique in the process: the address of a closed tokenizer may be used again, and a cache of
     * words would take the new one for it.
     */
    tokenizer->serial = ++serial;
    trim(tokenizer);
    mc_normalizer_prepare(&tokenizer->normalizer);
    MC_TRY(check_template(tokenizer, &tokenizer->single, error));
    MC_TRY(check_template(tokenizer, &tokenizer->pair, error));
    return mc_added_prepare(&tokenizer->added, &tokenizer->normalizer, error);
}

static mc_status read_files(mc_tokenizer *tokenizer, tokenizer_files *files, mc_error *error)
{
    char *const *const paths = files->paths;
    /* tokenizer.json has everything; transformers prefers it, too. */
    const char *const main_file = paths[JSON]        ? paths[JSON]
                                  : paths[VOCAB_TXT] ? paths[VOCAB_TXT]
                                                     : paths[VOCAB_JSON];
    const mc_tokenizer_config_paths beside = {paths[CONFIG], paths[SPECIAL], paths[ADDED],
                                              paths[MODEL]};
    mc_status status;
    MC_TRY(mc_tokenizer_config_read(&beside, &files->config, error));
    read_config(tokenizer, files->config.values);
    if (paths[JSON]) {
        MC_TRY(mc_tokenizer_config_load(paths[JSON], false, &files->json, error));
        status = mc_tokenizer_read_json(tokenizer, files->json, &files->config, error);
    } else if (paths[VOCAB_TXT]) {
        status = mc_tokenizer_read_vocab_txt(tokenizer, main_file, &files->config, error);
    } else {
        status = mc_tokenizer_read_vocab_json(tokenizer, main_file, paths[MERGES], &files->config,
                                              error);
    }
    if (status == MC_OK)
        status = finish(tokenizer, error);
    return mc_in_file(error, main_file, status);
}

mc_status mc_tokenizer_open(const char *folder, mc_tokenizer **out, mc_error *error)
{
    tokenizer_files files = {0};
    mc_tokenizer *const tokenizer = mc_alloc_zero(1, sizeof *tokenizer);
    mc_status status = tokenizer ? look_for_files(folder, &files, error) : mc_fail_memory(error);
    if (status == MC_OK)
        status = read_files(tokenizer, &files, error);
    free_files(&files);
    if (status == MC_OK)
        *out = tokenizer;
    else
        mc_tokenizer_close(tokenizer);
    return status;
}

size_t mc_tokenizer_vocabulary_size(const mc_tokenizer *tokenizer)
{
    return tokenizer->token_count;
}

size_t mc_tokenizer_max_length(const mc_tokenizer *tokenizer)
{
    return tokenizer->max_length;
}

const char *mc_tokenizer_token(const mc_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->token_count ? tokenizer->tokens[id] : NULL;
}
