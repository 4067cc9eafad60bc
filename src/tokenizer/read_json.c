#include "tokenizer/read_json.h"

#include "tokenizer/build.h"
#include "tokenizer/read_vocab.h"
#include "tokenizer/special.h"
#include "tokenizer/template.h"

#include <stdio.h>
#include <string.h>

static const char *type_of(const json_t *block)
{
    const char *const type = json_string_value(json_object_get(block, "type"));
    return type ? type : "";
}

static bool is_type(const json_t *block, const char *type)
{
    return strcmp(type_of(block), type) == 0;
}

/*
 * Parts that are not implemented are rejected: skipping one would give other ids without any error.
 */
static mc_status not_supported(const char *part, const json_t *block, const char *expected,
                               mc_error *error)
{
    return mc_fail(error, MC_UNSUPPORTED, "%s '%s' is not supported: expected %s", part,
                   type_of(block), expected);
}

/* A sequence of one item is that item. */
static const json_t *unwrapped(const json_t *block, const char *members)
{
    if (is_type(block, "Sequence")) {
        const json_t *const list = json_object_get(block, members);
        if (json_array_size(list) == 1)
            return json_array_get(list, 0);
    }
    return block;
}

static mc_status read_normalizer(mc_tokenizer *tokenizer, const json_t *json, mc_error *error)
{
    const json_t *const block = unwrapped(json_object_get(json, "normalizer"), "normalizers");
    mc_normalizer *const steps = &tokenizer->normalizer;
    if (!block || json_is_null(block))
        return MC_OK;
    if (!is_type(block, "BertNormalizer"))
        return not_supported("normalizer", block, "BertNormalizer or none", error);
    MC_TRY(mc_build_flag(block, "clean_text", true, &steps->clean, error));
    MC_TRY(mc_build_flag(block, "handle_chinese_chars", true, &steps->chinese, error));
    MC_TRY(mc_build_flag(block, "lowercase", true, &steps->lower, error));
    /* null follows `lowercase`, as in the package `tokenizers`. */
    return mc_build_flag(block, "strip_accents", steps->lower, &steps->strip, error);
}

/* ---- models ---------------------------------------------------------------------------------- */

static mc_status read_wordpiece(mc_tokenizer *tokenizer, const json_t *json, const json_t *model,
                                mc_error *error)
{
    const json_t *const words = unwrapped(json_object_get(json, "pre_tokenizer"), "pretokenizers");
    const json_t *const most = json_object_get(model, "max_input_chars_per_word");
    const char *const unknown = json_string_value(json_object_get(model, "unk_token"));
    const char *const prefix = json_string_value(
        json_object_get(model, "continuing_subword_prefix"));
    if (!is_type(words, "BertPreTokenizer"))
        return not_supported("pre_tokenizer", words, "BertPreTokenizer for WordPiece", error);
    if (most && (!json_is_integer(most) || json_integer_value(most) < 0))
        return mc_fail(error, MC_FORMAT, "'max_input_chars_per_word': expected a number");
    MC_TRY(mc_build_vocabulary(tokenizer, json_object_get(model, "vocab"), error));
    return mc_build_wordpiece(tokenizer, unknown ? unknown : "[UNK]", prefix ? prefix : "##",
                              most ? (size_t)json_integer_value(most) : 100, error);
}

/* Rejects options of BPE that are not implemented. */
static mc_status check_bpe(const json_t *model, mc_error *error)
{
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    bool fallback;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *const text = json_string_value(json_object_get(model, texts[i]));
        if (text && *text)
            return mc_fail(error, MC_UNSUPPORTED, "BPE with '%s' is not supported", texts[i]);
    }
    /* Dropout makes ids random; it is meant for training. */
    if (json_number_value(json_object_get(model, "dropout")) != 0)
        return mc_fail(error, MC_UNSUPPORTED, "BPE with 'dropout' is not supported");
    MC_TRY(mc_build_flag(model, "byte_fallback", false, &fallback, error));
    return fallback ? mc_fail(error, MC_UNSUPPORTED, "BPE with 'byte_fallback' is not supported")
                    : MC_OK;
}

/* "a b", or ["a", "b"]. */
static mc_status read_merge(mc_tokenizer *tokenizer, const json_t *merge, int32_t rank,
                            mc_error *error)
{
    const json_t *const left = json_array_get(merge, 0), *const right = json_array_get(merge, 1);
    if (json_is_string(merge))
        return mc_build_merge_text(tokenizer, json_string_value(merge), json_string_length(merge),
                                   rank, error);
    if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
        return mc_fail(error, MC_FORMAT, "merge %d: expected two tokens", rank);
    return mc_build_merge(tokenizer, json_string_value(left), json_string_length(left),
                          json_string_value(right), json_string_length(right), rank, error);
}

static mc_status read_merges(mc_tokenizer *tokenizer, const json_t *merges, mc_error *error)
{
    /* A merge's place in the list is its rank. */
    const size_t count = json_array_size(merges);
    if (!json_is_array(merges))
        return mc_fail(error, MC_FORMAT, "expected a list 'merges', found none");
    MC_TRY(mc_bpe_reserve(&tokenizer->bpe, count, error));
    for (size_t i = 0; i < count; i++)
        MC_TRY(read_merge(tokenizer, json_array_get(merges, i), (int32_t)i, error));
    return MC_OK;
}

static mc_status read_bpe(mc_tokenizer *tokenizer, const json_t *json, const json_t *model,
                          mc_error *error)
{
    const json_t *const words = unwrapped(json_object_get(json, "pre_tokenizer"), "pretokenizers");
    const char *const unknown = json_string_value(json_object_get(model, "unk_token"));
    mc_bpe *const bpe = &tokenizer->bpe;
    if (!is_type(words, "ByteLevel"))
        return not_supported("pre_tokenizer", words, "ByteLevel for BPE", error);
    MC_TRY(check_bpe(model, error));
    MC_TRY(mc_build_vocabulary(tokenizer, json_object_get(model, "vocab"), error));
    mc_build_bpe(tokenizer);
    MC_TRY(mc_build_flag(words, "add_prefix_space", true, &bpe->prefix_space, error));
    MC_TRY(mc_build_flag(words, "use_regex", true, &bpe->split, error));
    MC_TRY(mc_build_flag(model, "fuse_unk", false, &bpe->fuse_unknown, error));
    MC_TRY(mc_build_flag(model, "ignore_merges", false, &bpe->whole_words, error));
    if (unknown) {
        bpe->unknown = mc_vocabulary_find(&tokenizer->vocabulary, unknown, strlen(unknown));
        if (bpe->unknown == MC_NO_TOKEN)
            return mc_fail(error, MC_FORMAT, "unk_token '%s' is not in the vocabulary", unknown);
    }
    return read_merges(tokenizer, json_object_get(model, "merges"), error);
}

/* Older files have no type. */
static bool is_model(const json_t *model, const char *type, const char *member)
{
    return is_type(model, type) ||
           (!json_object_get(model, "type") && json_object_get(model, member));
}

static bool is_wordpiece(const json_t *model)
{
    return is_model(model, "WordPiece", "max_input_chars_per_word");
}

static bool is_bpe(const json_t *model)
{
    return is_model(model, "BPE", "merges");
}

static mc_status read_model(mc_tokenizer *tokenizer, const json_t *json, mc_error *error)
{
    const json_t *const model = json_object_get(json, "model");
    if (!json_is_object(model))
        return mc_fail(error, MC_FORMAT, "expected an object 'model', found none");
    if (is_wordpiece(model))
        return read_wordpiece(tokenizer, json, model, error);
    if (is_bpe(model))
        return read_bpe(tokenizer, json, model, error);
    return not_supported("model", model, "WordPiece or BPE", error);
}

/* ---- post-processors ------------------------------------------------------------------------- */

static mc_status malformed_template(mc_error *error)
{
    return mc_fail(error, MC_FORMAT,
                   "post_processor: expected lists 'single' and 'pair' of SpecialToken and "
                   "Sequence, with an 'id' and a 'type_id' of 0 to 255 each, and the 'ids' of "
                   "each in 'special_tokens'");
}

static mc_status add_special(mc_template *template, const json_t *ids, uint8_t type,
                             mc_error *error)
{
    if (!json_is_array(ids))
        return malformed_template(error);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int32_t id;
        MC_TRY(mc_build_token_id(json_array_get(ids, i), "post_processor", &id, error));
        MC_TRY(mc_template_add(template, MC_PART_TOKEN, id, type, error));
    }
    return MC_OK;
}

static mc_status read_part(mc_template *template, const json_t *part, const json_t *tokens,
                           mc_error *error)
{
    const json_t *const token = json_object_get(part, "SpecialToken");
    const json_t *const block = token ? token : json_object_get(part, "Sequence");
    const char *const id = json_string_value(json_object_get(block, "id"));
    const json_t *const type = json_object_get(block, "type_id");
    /* Types are stored as bytes. */
    if (!id || !json_is_integer(type) || json_integer_value(type) < 0 ||
        json_integer_value(type) > UINT8_MAX)
        return malformed_template(error);
    const uint8_t number = (uint8_t)json_integer_value(type);
    if (token)
        return add_special(template, json_object_get(json_object_get(tokens, id), "ids"), number,
                           error);
    if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
        return malformed_template(error);
    return mc_template_add(template, id[0] == 'A' ? MC_PART_TEXT : MC_PART_PAIR, 0, number, error);
}

static size_t count_parts(const mc_template *template, mc_part_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < template->count; i++)
        count += template->parts[i].kind == kind;
    return count;
}

static mc_status read_template(mc_template *template, const json_t *block, const char *name,
                               size_t pairs, mc_error *error)
{
    const json_t *const parts = json_object_get(block, name);
    for (size_t i = 0; i < json_array_size(parts); i++)
        MC_TRY(read_part(template, json_array_get(parts, i),
                         json_object_get(block, "special_tokens"), error));
    /* Truncation counts each sequence once. */
    if (count_parts(template, MC_PART_TEXT) != 1 || count_parts(template, MC_PART_PAIR) != pairs)
        return mc_fail(error, MC_UNSUPPORTED, "post_processor: expected '%s' to have %s", name,
                       pairs ? "the sequences A and B once each" : "the sequence A, once");
    return MC_OK;
}

/* "sep": ["</s>", 2] */
static mc_status read_pair_id(const json_t *block, const char *name, int32_t *id, mc_error *error)
{
    return mc_build_token_id(json_array_get(json_object_get(block, name), 1), "post_processor", id,
                             error);
}

static mc_status read_processor(mc_tokenizer *tokenizer, const json_t *block, mc_error *error)
{
    /*
     * TemplateProcessing states its ids in full; the two older types are templates of two tokens.
     */
    int32_t cls = 0, sep = 0;
    if (is_type(block, "TemplateProcessing")) {
        MC_TRY(read_template(&tokenizer->single, block, "single", 0, error));
        return read_template(&tokenizer->pair, block, "pair", 1, error);
    }
    if (!is_type(block, "BertProcessing") && !is_type(block, "RobertaProcessing"))
        return not_supported("post_processor", block,
                             "TemplateProcessing, BertProcessing, RobertaProcessing or ByteLevel",
                             error);
    MC_TRY(read_pair_id(block, "cls", &cls, error));
    MC_TRY(read_pair_id(block, "sep", &sep, error));
    return is_type(block, "BertProcessing") ? mc_build_bert_template(tokenizer, cls, sep, error)
                                            : mc_build_roberta_template(tokenizer, cls, sep, error);
}

/* ByteLevel changes offsets only, so a sequence may have one other processor. */
static mc_status read_post_processor(mc_tokenizer *tokenizer, const json_t *json, mc_error *error)
{
    const json_t *const block = json_object_get(json, "post_processor");
    const json_t *found = NULL;
    const bool sequence = is_type(block, "Sequence");
    const json_t *const list = json_object_get(block, "processors");
    for (size_t i = 0; i < (sequence ? json_array_size(list) : 1); i++) {
        const json_t *const one = sequence ? json_array_get(list, i) : block;
        if (!one || json_is_null(one) || is_type(one, "ByteLevel"))
            continue;
        if (found)
            return mc_fail(error, MC_UNSUPPORTED,
                           "post_processor: expected one, and ByteLevel, found '%s' and '%s'",
                           type_of(found), type_of(one));
        found = one;
    }
    return found ? read_processor(tokenizer, found, error)
                 : mc_build_plain_template(tokenizer, error);
}

static mc_status read_stored(mc_tokenizer *tokenizer, const json_t *json,
                             const mc_tokenizer_config *config, mc_error *error)
{
    MC_TRY(read_normalizer(tokenizer, json, error));
    MC_TRY(read_model(tokenizer, json, error));
    MC_TRY(mc_special_add(tokenizer, config, json_object_get(json, "added_tokens"), error));
    return read_post_processor(tokenizer, json, error);
}

/* The class makes normalizer, pre-tokenizer and post-processor from its own settings. */
static mc_status read_vocabulary(mc_tokenizer *tokenizer, const json_t *json,
                                 const mc_tokenizer_config *config, mc_error *error)
{
    const json_t *const model = json_object_get(json, "model");
    const json_t *const added = json_object_get(json, "added_tokens");
    const bool bert = config->class == MC_TOKENIZER_BERT;
    if (!json_is_object(model))
        return mc_fail(error, MC_FORMAT, "expected an object 'model', found none");
    /* The class would read the vocabulary of another model as its own. */
    if (!(bert ? is_wordpiece(model) : is_bpe(model)))
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a model '%s' for tokenizer_class '%s', "
                       "found '%s'",
                       bert ? "WordPiece" : "BPE", config->class_name, type_of(model));
    MC_TRY(mc_build_vocabulary(tokenizer, json_object_get(model, "vocab"), error));
    if (bert)
        return mc_tokenizer_make_bert(tokenizer, config, added, error);
    mc_build_bpe(tokenizer);
    MC_TRY(read_merges(tokenizer, json_object_get(model, "merges"), error));
    return mc_tokenizer_make_roberta(tokenizer, config, added, error);
}

mc_status mc_tokenizer_read_json(mc_tokenizer *tokenizer, const json_t *json,
                                 const mc_tokenizer_config *config, mc_error *error)
{
    return config->class == MC_TOKENIZER_AS_STORED
               ? read_stored(tokenizer, json, config, error)
               : read_vocabulary(tokenizer, json, config, error);
}
