#include "tokenizer/special.h"

#include "base/memory.h"
#include "tokenizer/build.h"

#include <stdlib.h>
#include <string.h>

/* ---- special tokens by name ------------------------------------------------------------------ */

/* The token of each class if the configuration does not name one; NULL: none. */
typedef struct special_name {
    const char *name, *bert, *roberta;
} special_name;

static const special_name names[] = {
    {"bos_token", NULL, "<s>"},        {"eos_token", NULL, "</s>"},
    {"unk_token", "[UNK]", "<unk>"},   {"sep_token", "[SEP]", "</s>"},
    {"pad_token", "[PAD]", "<pad>"},   {"cls_token", "[CLS]", "<s>"},
    {"mask_token", "[MASK]", "<mask>"}};
enum { NAMES = sizeof names / sizeof *names };

static const char *default_text(const special_name *name, mc_tokenizer_class class)
{
    return class == MC_TOKENIZER_BERT      ? name->bert
           : class == MC_TOKENIZER_ROBERTA ? name->roberta
                                           : NULL;
}

static bool is_named(const char *name)
{
    for (size_t i = 0; i < NAMES; i++)
        if (strcmp(name, names[i].name) == 0)
            return true;
    return false;
}

const char *mc_special_text(const mc_tokenizer_config *config, const char *name)
{
    const char *const text = mc_tokenizer_config_text(config, name);
    for (size_t i = 0; !text && i < NAMES; i++)
        if (strcmp(name, names[i].name) == 0)
            return default_text(&names[i], config->class);
    return text;
}

static bool is_added(const mc_tokenizer *tokenizer, const char *text)
{
    return mc_vocabulary_find(&tokenizer->added.texts, text, strlen(text)) != MC_NO_TOKEN;
}

/* `value`: a text, or an object with the text as `content`, and attributes. */
static mc_status add_special(mc_tokenizer *tokenizer, const json_t *value, mc_error *error)
{
    mc_added_token token = {.text = json_string_value(value), .id = MC_NO_TOKEN};
    if (json_is_object(value))
        MC_TRY(mc_build_token(value, MC_NO_TOKEN, &token, error));
    if (!token.text || is_added(tokenizer, token.text))
        return MC_OK;
    token.special = true;
    return mc_build_added(tokenizer, token, error);
}

/*
 * A default counts only if it is in the vocabulary: no tokenizer grows by tokens nobody asked for.
 */
static mc_status add_default(mc_tokenizer *tokenizer, const char *text, mc_error *error)
{
    const mc_added_token token = {.text = text, .id = MC_NO_TOKEN, .special = true};
    if (!text || is_added(tokenizer, text) ||
        mc_vocabulary_find(&tokenizer->vocabulary, text, strlen(text)) == MC_NO_TOKEN)
        return MC_OK;
    return mc_build_added(tokenizer, token, error);
}

static mc_status add_named(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                           mc_error *error)
{
    for (size_t i = 0; i < NAMES; i++) {
        const json_t *const value = json_object_get(config->values, names[i].name);
        MC_TRY(value ? add_special(tokenizer, value, error)
                     : add_default(tokenizer, default_text(&names[i], config->class), error));
    }
    return MC_OK;
}

/* A list of tokens, or an object of named ones. */
static const json_t *further_tokens(const mc_tokenizer_config *config)
{
    const json_t *const extra = json_object_get(config->values, "extra_special_tokens");
    return json_array_size(extra) || json_object_size(extra)
               ? extra
               : json_object_get(config->values, "additional_special_tokens");
}

/* Members of the configuration such as "image_token": "<image>". */
static bool is_custom(const char *name, const json_t *value)
{
    const size_t length = strlen(name);
    return length > 6 && strcmp(name + length - 6, "_token") == 0 && json_is_string(value) &&
           !is_named(name);
}

static mc_status add_further(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                             mc_error *error)
{
    const json_t *const further = further_tokens(config);
    const char *name;
    json_t *value;
    for (size_t i = 0; i < json_array_size(further); i++)
        MC_TRY(add_special(tokenizer, json_array_get(further, i), error));
    json_object_foreach((json_t *)(uintptr_t)further, name, value)
        MC_TRY(add_special(tokenizer, value, error));
    json_object_foreach(config->values, name, value) if (is_custom(name, value))
        MC_TRY(add_special(tokenizer, value, error));
    return MC_OK;
}

/* ---- tokens with ids ------------------------------------------------------------------------- */

/* A token of added_tokens_decoder ("5": {"content": …}), tokenizer.json, or added_tokens.json. */
typedef struct found_token {
    int32_t id;
    const char *text; /* NULL: that of the block */
    const json_t *block;
    size_t order; /* of two with the same id the later one counts */
} found_token;

typedef struct found_list {
    found_token *items; /* room for all */
    size_t count;
} found_list;

static int by_id(const void *a, const void *b)
{
    const found_token *const x = a, *const y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static void put(found_list *list, json_int_t id, const char *text, const json_t *block)
{
    list->items[list->count] = (found_token){(int32_t)id, text, block, list->count};
    list->count++;
}

static mc_status find_decoded(const json_t *decoder, found_list *list, mc_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)decoder, name, value)
    {
        char *end;
        const long id = strtol(name, &end, 10);
        if (*end || end == name || id < 0 || id >= MC_MOST_TOKENS)
            return mc_fail(error, MC_FORMAT, "added_tokens_decoder: expected ids, found '%s'",
                           name);
        put(list, id, NULL, value);
    }
    return MC_OK;
}

static mc_status find_legacy(const json_t *added, found_list *list, mc_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)added, name, value)
    {
        const json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= MC_MOST_TOKENS)
            return mc_fail(error, MC_FORMAT, "added_tokens.json: '%s': expected an id", name);
        put(list, id, name, NULL);
    }
    return MC_OK;
}

static mc_status find_stored(const json_t *added_tokens, found_list *list, mc_error *error)
{
    for (size_t i = 0; i < json_array_size(added_tokens); i++) {
        const json_t *const block = json_array_get(added_tokens, i);
        int32_t id;
        MC_TRY(mc_build_token_id(json_object_get(block, "id"), "added_tokens", &id, error));
        put(list, id, NULL, block);
    }
    return MC_OK;
}

/* Returns whether added_tokens.json has a token that is a special one by its text. */
static bool is_special(const mc_tokenizer_config *config, const char *text)
{
    const json_t *const further = further_tokens(config);
    for (size_t i = 0; i < NAMES; i++) {
        const char *const named = mc_tokenizer_config_text(config, names[i].name);
        if (named && strcmp(named, text) == 0)
            return true;
    }
    for (size_t i = 0; i < json_array_size(further); i++) {
        const json_t *const item = json_array_get(further, i);
        const json_t *const content = json_object_get(item, "content");
        const char *const other = json_string_value(content ? content : item);
        if (other && strcmp(other, text) == 0)
            return true;
    }
    return false;
}

static mc_status add_found(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                           const found_token *found, mc_error *error)
{
    const bool special = found->text && is_special(config, found->text);
    mc_added_token token = {
        .text = found->text, .id = found->id, .special = special, .normalized = !special};
    if (found->block)
        MC_TRY(mc_build_token(found->block, found->id, &token, error));
    return is_added(tokenizer, token.text) ? MC_OK : mc_build_added(tokenizer, token, error);
}

static mc_status add_with_ids(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                              const json_t *added_tokens, found_list *list, mc_error *error)
{
    const json_t *const decoder = json_object_get(config->values, "added_tokens_decoder");
    if (decoder) {
        MC_TRY(find_decoded(decoder, list, error));
    } else {
        MC_TRY(find_legacy(config->added, list, error));
        MC_TRY(find_stored(added_tokens, list, error));
    }
    qsort(list->items, list->count, sizeof *list->items, by_id);
    for (size_t i = 0; i < list->count; i++) {
        /* by_id puts equal ids in the order in which they were found. */
        if (i + 1 < list->count && list->items[i].id == list->items[i + 1].id)
            continue;
        MC_TRY(add_found(tokenizer, config, &list->items[i], error));
    }
    return MC_OK;
}

/*
 * The tokens of tokenizer.json belong to the tokenizer itself: it is an error if one appears twice.
 */
static mc_status add_stored(mc_tokenizer *tokenizer, const json_t *added_tokens, mc_error *error)
{
    for (size_t i = 0; i < json_array_size(added_tokens); i++) {
        const json_t *const block = json_array_get(added_tokens, i);
        mc_added_token token;
        int32_t id;
        MC_TRY(mc_build_token_id(json_object_get(block, "id"), "added_tokens", &id, error));
        MC_TRY(mc_build_token(block, id, &token, error));
        MC_TRY(mc_build_added(tokenizer, token, error));
    }
    return MC_OK;
}

mc_status mc_special_add(mc_tokenizer *tokenizer, const mc_tokenizer_config *config,
                         const json_t *added_tokens, mc_error *error)
{
    const json_t *const further = further_tokens(config);
    const size_t with_ids = json_array_size(added_tokens) + json_object_size(config->added) +
                            json_object_size(
                                json_object_get(config->values, "added_tokens_decoder"));
    /* An upper bound: texts that repeat are added once. */
    const size_t most = json_array_size(added_tokens) + with_ids + NAMES +
                        json_array_size(further) + json_object_size(further) +
                        json_object_size(config->values);
    if (added_tokens && !json_is_array(added_tokens))
        return mc_fail(error, MC_FORMAT, "added_tokens: expected a list");
    MC_TRY(mc_build_added_reserve(tokenizer, most, error));
    /* For a known class, this list is read below, with the tokens of other files. */
    if (config->class == MC_TOKENIZER_AS_STORED)
        MC_TRY(add_stored(tokenizer, added_tokens, error));
    found_list list = {.items = mc_alloc_zero(with_ids, sizeof *list.items)};
    mc_status status = list.items ? add_with_ids(tokenizer, config, added_tokens, &list, error)
                                  : mc_fail_memory(error);
    mc_free(list.items);
    MC_TRY(status);
    /* Tokens with ids come first: a token that is new gets the next free id. */
    MC_TRY(add_named(tokenizer, config, error));
    return add_further(tokenizer, config, error);
}
