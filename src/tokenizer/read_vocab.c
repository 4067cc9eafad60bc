/*
 * vocab.txt (WordPiece), or vocab.json and merges.txt (byte-level BPE). What the tokenizer does with them is in tokenizer_config.json, or
 * as BERT and RoBERTa have it by default.
 */
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/build.h"

#include <stdlib.h>
#include <string.h>

/* A special token by its name in the configuration, and what it is where that does not say. */
typedef struct special_name {
    const char *name, *fallback;
    bool left_strip;
} special_name;

/* ---- configuration -------------------------------------------------------------------------- */

/* A special token is its text, or an object with that as `content`. */
static const char *named(const json_t *config, const char *name, const char *fallback)
{
    const json_t *const value = json_object_get(config, name);
    const json_t *const content = json_object_get(value, "content");
    const char *const text = json_string_value(content ? content : value);
    return text ? text : fallback;
}

static mc_status check_class(const json_t *config, const char *const *known, const char *files,
                             mc_error *error)
{
    const char *const class = json_string_value(json_object_get(config, "tokenizer_class"));
    for (size_t i = 0; class && known[i]; i++)
        if (strcmp(class, known[i]) == 0)
            return MC_OK;
    return class ? mc_fail(error, MC_UNSUPPORTED,
                           "expected %s to belong to a %s, found '%s' as tokenizer_class in "
                           "tokenizer_config.json",
                           files, known[0], class)
                 : MC_OK;
}

/* ---- added tokens --------------------------------------------------------------------------- */

/* A token of added_tokens_decoder ("5": {"content": …}), or of added_tokens.json ("text": 5). */
typedef struct found_token {
    int32_t id;
    const char *text; /* NULL: that of the block */
    const json_t *block;
} found_token;

static int by_id(const void *a, const void *b)
{
    const found_token *const x = a, *const y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static mc_status find_tokens(const json_t *decoder, const json_t *added, found_token *found,
                             size_t *count, mc_error *error)
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
        found[(*count)++] = (found_token){.id = (int32_t)id, .block = value};
    }
    json_object_foreach((json_t *)(uintptr_t)added, name, value)
    {
        const json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= MC_MOST_TOKENS)
            return mc_fail(error, MC_FORMAT, "added_tokens.json: '%s': expected an id", name);
        found[(*count)++] = (found_token){.id = (int32_t)id, .text = name};
    }
    qsort(found, *count, sizeof *found, by_id);
    return MC_OK;
}

static mc_status add_found(mc_tokenizer *tokenizer, const found_token *found, mc_error *error)
{
    mc_added_token token = {.text = found->text, .id = found->id, .normalized = true};
    if (found->block)
        MC_TRY(mc_build_token(found->block, found->id, &token, error));
    if (mc_vocabulary_find(&tokenizer->added.texts, token.text, strlen(token.text)) != MC_NO_TOKEN)
        return MC_OK;
    return mc_build_added(tokenizer, token, error);
}

/* A special token, unless it was added already, or is no token at all. */
static mc_status add_special(mc_tokenizer *tokenizer, const json_t *config,
                             const special_name *name, mc_error *error)
{
    const json_t *const block = json_object_get(config, name->name);
    const char *const text = named(config, name->name, name->fallback);
    const size_t size = strlen(text);
    mc_added_token token = {.text = text, .left_strip = name->left_strip};
    if (mc_vocabulary_find(&tokenizer->vocabulary, text, size) == MC_NO_TOKEN ||
        mc_vocabulary_find(&tokenizer->added.texts, text, size) != MC_NO_TOKEN)
        return MC_OK;
    if (json_is_object(block))
        MC_TRY(mc_build_token(block, MC_NO_TOKEN, &token, error));
    token.id = MC_NO_TOKEN;
    token.special = true;
    return mc_build_added(tokenizer, token, error);
}

static mc_status add_tokens(mc_tokenizer *tokenizer, const json_t *config, const json_t *added,
                            const special_name *names, size_t name_count, mc_error *error)
{
    const json_t *const decoder = json_object_get(config, "added_tokens_decoder");
    const size_t most = json_object_size(decoder) + json_object_size(added);
    MC_TRY(mc_build_added_reserve(tokenizer, most + name_count, error));
    found_token *const found = mc_alloc_zero(most, sizeof *found);
    size_t count = 0;
    if (!found)
        return mc_fail_memory(error);
    mc_status status = find_tokens(decoder, added, found, &count, error);
    for (size_t i = 0; i < count && status == MC_OK; i++)
        status = add_found(tokenizer, &found[i], error);
    for (size_t i = 0; i < name_count && status == MC_OK; i++)
        status = add_special(tokenizer, config, &names[i], error);
    mc_free(found);
    return status;
}

/* The tokens that begin and end a text. */
static mc_status find_ends(const mc_tokenizer *tokenizer, const json_t *config, const char *begins,
                           const char *ends, int32_t *cls, int32_t *sep, mc_error *error)
{
    MC_TRY(mc_build_find(tokenizer, "cls_token", named(config, "cls_token", begins), cls, error));
    return mc_build_find(tokenizer, "sep_token", named(config, "sep_token", ends), sep, error);
}

/* ---- vocab.txt ------------------------------------------------------------------------------ */

/* Loads a text in UTF-8, without NUL. The caller frees it, also after an error. */
static mc_status load_text(const char *path, char **text, size_t *size, mc_error *error)
{
    MC_TRY(mc_file_load(path, MC_TOKENIZER_FILE_BYTES, text, size, error));
    const size_t valid = mc_utf8_valid(*text, *size);
    const char *const nul = memchr(*text, '\0', *size);
    if (valid < *size || nul)
        return mc_fail_at(error, MC_FORMAT, path, NULL, nul ? nul - *text : (int64_t)valid,
                          "expected text in UTF-8, found %s", nul ? "a NUL" : "other bytes");
    return MC_OK;
}

mc_status mc_tokenizer_read_vocab_txt(mc_tokenizer *tokenizer, const char *path,
                                      const json_t *config, const json_t *added, mc_error *error)
{
    static const char *const classes[] = {"BertTokenizer", "BertTokenizerFast",
                                          "DistilBertTokenizer", "DistilBertTokenizerFast", NULL};
    static const special_name names[] = {{"unk_token", "[UNK]", false},
                                         {"sep_token", "[SEP]", false},
                                         {"pad_token", "[PAD]", false},
                                         {"cls_token", "[CLS]", false},
                                         {"mask_token", "[MASK]", false}};
    mc_normalizer *const steps = &tokenizer->normalizer;
    int32_t cls, sep;
    size_t size = 0;
    MC_TRY(check_class(config, classes, "vocab.txt", error));
    steps->clean = true;
    MC_TRY(mc_build_flag(config, "do_lower_case", true, &steps->lower, error));
    MC_TRY(mc_build_flag(config, "strip_accents", steps->lower, &steps->strip, error));
    MC_TRY(mc_build_flag(config, "tokenize_chinese_chars", true, &steps->chinese, error));
    MC_TRY(load_text(path, &tokenizer->texts, &size, error));
    MC_TRY(mc_build_lines(tokenizer, size, error));
    MC_TRY(mc_build_wordpiece(tokenizer, named(config, "unk_token", "[UNK]"), "##", 100, error));
    MC_TRY(add_tokens(tokenizer, config, added, names, sizeof names / sizeof *names, error));
    MC_TRY(find_ends(tokenizer, config, "[CLS]", "[SEP]", &cls, &sep, error));
    return mc_build_bert_template(tokenizer, cls, sep, error);
}

/* ---- vocab.json and merges.txt -------------------------------------------------------------- */

/* A line "a b" each; those that begin with "#version" say nothing. */
static mc_status read_lines(mc_tokenizer *tokenizer, const char *text, size_t size, mc_error *error)
{
    size_t lines = 1;
    int32_t rank = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    MC_TRY(mc_bpe_reserve(&tokenizer->bpe, lines, error));
    for (const char *line = text, *const end = text + size; line < end;) {
        const char *const next = memchr(line, '\n', (size_t)(end - line));
        const char *stop = next ? next : end;
        if (stop > line && stop[-1] == '\r')
            stop--;
        if (strncmp(line, "#version", 8) != 0)
            MC_TRY(mc_build_merge_text(tokenizer, line, (size_t)(stop - line), rank++, error));
        line = next ? next + 1 : end;
    }
    return MC_OK;
}

static mc_status read_merges(mc_tokenizer *tokenizer, const char *path, mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    mc_status status = load_text(path, &text, &size, error);
    if (status == MC_OK)
        status = mc_in_file(error, path, read_lines(tokenizer, text, size, error));
    mc_free(text);
    return status;
}

static mc_status read_vocabulary(mc_tokenizer *tokenizer, const char *path, mc_error *error)
{
    json_t *vocab = NULL;
    MC_TRY(mc_json_load(path, MC_TOKENIZER_FILE_BYTES, &vocab, error));
    const mc_status status = mc_build_vocabulary(tokenizer, vocab, error);
    json_decref(vocab);
    return mc_in_file(error, path, status);
}

mc_status mc_tokenizer_read_vocab_json(mc_tokenizer *tokenizer, const char *path,
                                       const char *merges, const json_t *config,
                                       const json_t *added, mc_error *error)
{
    static const char *const classes[] = {"RobertaTokenizer", "RobertaTokenizerFast", NULL};
    static const special_name names[] = {
        {"bos_token", "<s>", false},   {"eos_token", "</s>", false},  {"unk_token", "<unk>", false},
        {"sep_token", "</s>", false},  {"pad_token", "<pad>", false}, {"cls_token", "<s>", false},
        {"mask_token", "<mask>", true}};
    mc_bpe *const bpe = &tokenizer->bpe;
    int32_t cls, sep;
    MC_TRY(check_class(config, classes, "vocab.json and merges.txt", error));
    MC_TRY(read_vocabulary(tokenizer, path, error));
    mc_build_bpe(tokenizer);
    bpe->split = true;
    MC_TRY(mc_build_flag(config, "add_prefix_space", false, &bpe->prefix_space, error));
    MC_TRY(read_merges(tokenizer, merges, error));
    MC_TRY(add_tokens(tokenizer, config, added, names, sizeof names / sizeof *names, error));
    MC_TRY(find_ends(tokenizer, config, "<s>", "</s>", &cls, &sep, error));
    return mc_build_roberta_template(tokenizer, cls, sep, error);
}
