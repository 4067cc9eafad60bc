/*
 * The settings of a tokenizer in the files beside its vocabulary, resolved as transformers 5 does:
 * its class builds the tokenizer from tokenizer_config.json, and takes little more than the
 * vocabulary from tokenizer.json.
 */
#ifndef MC_TOKENIZER_CONFIG_H
#define MC_TOKENIZER_CONFIG_H

#include "base/json.h"
#include "tokenizer/tokenizer.h"

/* A file of a tokenizer has at most this many bytes. */
#define MC_TOKENIZER_FILE_BYTES (INT64_C(64) << 20)

/*
 * The class that transformers would create. AS_STORED: the tokenizer is that of tokenizer.json.
 * This holds for PreTrainedTokenizerFast, for unknown classes, and if no file names a class.
 */
typedef enum mc_tokenizer_class {
    MC_TOKENIZER_AS_STORED,
    MC_TOKENIZER_BERT,
    MC_TOKENIZER_ROBERTA
} mc_tokenizer_class;

typedef struct mc_tokenizer_config {
    mc_tokenizer_class class;
    char *class_name; /* as a file has it; NULL: none does */
    /* tokenizer_config.json, an empty object if it is missing, with special_tokens_map.json. */
    json_t *values;
    json_t *added; /* added_tokens.json; NULL: missing, or not to be read */
} mc_tokenizer_config;

/* Paths; NULL: the file does not exist. */
typedef struct mc_tokenizer_config_paths {
    const char *tokenizer_config, *special_tokens_map, *added_tokens, *model_config;
} mc_tokenizer_config_paths;

/*
 * Reads them. special_tokens_map.json and added_tokens.json are formats of older versions, and read
 * only if tokenizer_config.json has no added_tokens_decoder. Free with mc_tokenizer_config_free
 * also after an error, which names the file.
 */
mc_status mc_tokenizer_config_read(const mc_tokenizer_config_paths *paths, mc_tokenizer_config *out,
                                   mc_error *error);
void mc_tokenizer_config_free(mc_tokenizer_config *config);

/* Reads a JSON object; *out stays NULL if path is NULL. Numbers are reals if `reals` is true. */
mc_status mc_tokenizer_config_load(const char *path, bool reals, json_t **out, mc_error *error);

/*
 * Returns the text of a special token such as "cls_token"; NULL if the configuration does not name
 * it.
 */
const char *mc_tokenizer_config_text(const mc_tokenizer_config *config, const char *name);

#endif
