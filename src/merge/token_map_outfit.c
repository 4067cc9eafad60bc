#include "merge/token_map_outfit.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "merge/report.h"
#include "model/model.h"
#include "tokenizer/splice.h"

#include <stdio.h>
#include <string.h>

/* What the changes need. */
typedef struct dresser {
    const mc_token_map *map;
    const mc_tokenizer_owner *target;
    mc_outfit *outfit;
    mc_report *report;
    mc_error *error;
} dresser;

/* ---- files of another model than the donor --------------------------------------------------- */

static mc_status take_file(const dresser *d, const char *name)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_tokenizer_text(d->target, name, &text, &size, d->error));
    mc_status status = MC_OK;
    if (text)
        status = mc_outfit_put(d->outfit, name, text, size, d->error);
    else
        mc_outfit_remove(d->outfit, name);
    mc_free(text);
    return status;
}

static bool is_token_id(const char *key)
{
    return mc_ends_with(key, "_token_id");
}

/* Sets the ids of special tokens to the target's: rows have its order now. */
static mc_status take_ids(const dresser *d)
{
    const char *key;
    json_t *value;
    const json_t *const from = d->target->outfit ? d->target->outfit->config
                                                 : d->target->model->config;
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        if (!is_token_id(key) || json_is_null(value) ||
            json_equal(value, json_object_get(d->outfit->config, key)))
            continue;
        if (json_object_set_new(d->outfit->config, key, json_deep_copy(value)) != 0)
            return mc_fail_memory(d->error);
        MC_TRY(mc_report_add(d->report, d->error, "config.json: %s is that of '%s'", key,
                             d->target->name));
    }
    return MC_OK;
}

mc_status mc_outfit_take_tokenizer(mc_outfit *outfit, const mc_tokenizer_owner *from,
                                   mc_report *report, mc_error *error)
{
    const dresser taken = {NULL, from, outfit, report, error}, *const d = &taken;
    bool generation = false;
    static const char *const generation_config[] = {"generation_config.json", NULL};
    for (size_t i = 0; mc_tokenizer_files[i]; i++)
        MC_TRY(take_file(d, mc_tokenizer_files[i]));
    MC_TRY(mc_tokenizer_has_file(d->target, generation_config, &generation, d->error));
    if (generation)
        MC_TRY(take_file(d, generation_config[0]));
    return d->outfit->config ? take_ids(d) : MC_OK;
}

/* ---- files with more tokens ------------------------------------------------------------------ */

typedef mc_status (*token_visitor)(const dresser *d, const mc_document_added *token, json_t *into);

static mc_status each_new_token(const dresser *d, token_visitor visit, json_t *into)
{
    const mc_token_map *const map = d->map;
    size_t count;
    const mc_document_token *const all = mc_document_tokens(map->united->document, &count);
    for (size_t i = count - map->added; i < count; i++) {
        const mc_document_added *const token = mc_document_find_added(map->united->document,
                                                                      all[i].text);
        if (token)
            MC_TRY(visit(d, token, into));
    }
    return MC_OK;
}

static mc_status add_decoded(const dresser *d, const mc_document_added *token, json_t *into)
{
    char id[16];
    snprintf(id, sizeof id, "%d", token->id);
    json_t *const block = json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", token->text,
                                    "lstrip", token->left_strip, "normalized", token->normalized,
                                    "rstrip", token->right_strip, "single_word", token->single_word,
                                    "special", token->special);
    return block && json_object_set_new(into, id, block) == 0 ? MC_OK : mc_fail_memory(d->error);
}

static mc_status add_id(const dresser *d, const mc_document_added *token, json_t *into)
{
    return json_object_set_new(into, token->text, json_integer(token->id)) == 0
               ? MC_OK
               : mc_fail_memory(d->error);
}

static mc_status put_json(const dresser *d, const char *name, const json_t *value)
{
    char *const text = mc_json_write(value, JSON_INDENT(2));
    const mc_status status = text ? mc_outfit_put(d->outfit, name, text, strlen(text), d->error)
                                  : mc_fail_memory(d->error);
    mc_free(text);
    return status;
}

/*
 * Replaces one member of the configuration; every other byte stays, so that a comparison with the
 * target's file shows only what changed.
 */
static mc_status splice_decoder(const dresser *d, const char *text, size_t size,
                                const json_t *decoder)
{
    static const char name[] = "tokenizer_config.json";
    char *spliced = NULL;
    size_t spliced_size = 0;
    char *const value = mc_json_write(decoder, JSON_INDENT(2));
    mc_status status = value ? mc_splice_set(text, size, mc_splice_root(text, size),
                                             "added_tokens_decoder", value, &spliced, &spliced_size,
                                             d->error)
                             : mc_fail_memory(d->error);
    if (status == MC_OK)
        status = mc_outfit_put(d->outfit, name, spliced, spliced_size, d->error);
    mc_free(spliced);
    mc_free(value);
    return mc_in_file(d->error, name, status);
}

/* *listed: the configuration lists added tokens by their ids. */
static mc_status extend_config(const dresser *d, bool *listed)
{
    static const char name[] = "tokenizer_config.json";
    char *text = NULL;
    size_t size = 0;
    json_t *config = NULL;
    MC_TRY(mc_outfit_text(d->outfit, name, &text, &size, d->error));
    mc_status status = text ? mc_json_parse(text, size, &config, d->error) : MC_OK;
    json_t *const decoder = json_object_get(config, "added_tokens_decoder");
    *listed = json_is_object(decoder);
    if (status == MC_OK && *listed)
        status = each_new_token(d, add_decoded, decoder);
    if (status == MC_OK && *listed)
        status = splice_decoder(d, text, size, decoder);
    json_decref(config);
    mc_free(text);
    return mc_in_file(d->error, name, status);
}

/* Extends added_tokens.json if it exists, or if nothing else lists the new tokens. */
static mc_status extend_added(const dresser *d, bool needed)
{
    static const char name[] = "added_tokens.json";
    char *text = NULL;
    size_t size = 0;
    json_t *added = NULL;
    MC_TRY(mc_outfit_text(d->outfit, name, &text, &size, d->error));
    if (!text && !needed)
        return MC_OK;
    mc_status status = text ? mc_json_parse(text, size, &added, d->error) : MC_OK;
    mc_free(text);
    if (status == MC_OK && !added && !(added = json_object()))
        status = mc_fail_memory(d->error);
    if (status == MC_OK)
        status = each_new_token(d, add_id, added);
    if (status == MC_OK)
        status = put_json(d, name, added);
    json_decref(added);
    return mc_in_file(d->error, name, status);
}

/*
 * Drops a SentencePiece model: it lacks the new tokens, and this library does not write its format.
 * Left in place, a slow tokenizer would load it without them.
 */
static mc_status drop_sentencepiece(const dresser *d)
{
    for (size_t i = 0; mc_sentencepiece_files[i]; i++) {
        const char *const name = mc_sentencepiece_files[i];
        if (!mc_outfit_find(d->outfit, name))
            continue;
        mc_outfit_remove(d->outfit, name);
        if (d->map->choice.strict)
            return mc_fail(d->error, MC_MISMATCH, "%s: cannot hold the added tokens (strict)",
                           name);
        MC_TRY(mc_report_add(d->report, d->error, "%s: left out: it cannot hold the added tokens",
                             name));
    }
    return MC_OK;
}

static mc_status extend_all(const dresser *d)
{
    const mc_document *const document = d->map->united->document;
    bool listed = false;
    size_t size;
    const char *const text = mc_document_text(document, &size);
    const bool json = mc_outfit_find(d->outfit, "tokenizer.json") != NULL;
    if (json)
        MC_TRY(mc_outfit_put(d->outfit, "tokenizer.json", text, size, d->error));
    MC_TRY(extend_config(d, &listed));
    MC_TRY(extend_added(d, !json && !listed));
    return drop_sentencepiece(d);
}

/* ---- config.json ----------------------------------------------------------------------------- */

/*
 * The size in config.json counts padding, as the embedding does. Models of several parts keep it in
 * text_config; a copy outside is kept equal.
 */
mc_status mc_outfit_set_vocabulary(mc_outfit *outfit, size_t rows, mc_error *error)
{
    json_t *const config = outfit->config;
    json_t *const inner = json_object_get(config, "text_config");
    const json_int_t size = (json_int_t)rows;
    if (!config)
        return MC_OK;
    if (json_is_object(inner) && json_object_set_new(inner, "vocab_size", json_integer(size)) != 0)
        return mc_fail_memory(error);
    if ((!json_is_object(inner) || json_object_get(config, "vocab_size")) &&
        json_object_set_new(config, "vocab_size", json_integer(size)) != 0)
        return mc_fail_memory(error);
    return MC_OK;
}

/* ---- all ------------------------------------------------------------------------------------- */

mc_status mc_token_map_dress(const mc_token_map *map, size_t donor, mc_outfit *outfit,
                             mc_report *report, mc_error *error)
{
    const mc_token_map_choice *const choice = &map->choice;
    const dresser d = {map, &choice->models[choice->target], outfit, report, error};
    if (choice->target != donor)
        MC_TRY(mc_outfit_take_tokenizer(outfit, d.target, report, error));
    if (!map->united)
        return MC_OK;
    if (map->added > 0)
        MC_TRY(extend_all(&d));
    return mc_outfit_set_vocabulary(outfit, map->padded, error);
}
