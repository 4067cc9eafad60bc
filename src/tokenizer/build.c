#include "tokenizer/build.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/template.h"

#include <string.h>

mc_status mc_build_flag(const json_t *object, const char *name, bool fallback, bool *flag,
                        mc_error *error)
{
    const json_t *const value = json_object_get(object, name);
    if (value && !json_is_boolean(value) && !json_is_null(value))
        return mc_fail(error, MC_FORMAT, "'%s': expected true or false", name);
    *flag = json_is_boolean(value) ? json_is_true(value) : fallback;
    return MC_OK;
}

/* `where` names what holds the id, for the error. */
mc_status mc_build_token_id(const json_t *value, const char *where, int32_t *id, mc_error *error)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) >= MC_MOST_TOKENS)
        return mc_fail(error, MC_FORMAT, "%s: expected ids of 0 to %d", where, MC_MOST_TOKENS - 1);
    *id = (int32_t)json_integer_value(value);
    return MC_OK;
}

mc_status mc_build_token(const json_t *block, int32_t id, mc_added_token *token, mc_error *error)
{
    *token = (mc_added_token){.text = json_string_value(json_object_get(block, "content")),
                              .id = id};
    if (!token->text)
        return mc_fail(error, MC_FORMAT, "expected added tokens to have a 'content'");
    MC_TRY(mc_build_flag(block, "special", false, &token->special, error));
    MC_TRY(mc_build_flag(block, "lstrip", false, &token->left_strip, error));
    MC_TRY(mc_build_flag(block, "rstrip", false, &token->right_strip, error));
    MC_TRY(mc_build_flag(block, "single_word", false, &token->single_word, error));
    /* The default of the package `tokenizers`: special tokens are searched in the raw text. */
    return mc_build_flag(block, "normalized", !token->special, &token->normalized, error);
}

/* Makes room for `id` in the table of tokens. */
static mc_status reserve_id(mc_tokenizer *tokenizer, json_int_t id, const char *text,
                            mc_error *error)
{
    if (id < 0 || id >= MC_MOST_TOKENS)
        return mc_fail(error, MC_FORMAT,
                       "token '%s': expected an id of 0 to %d, found %" JSON_INTEGER_FORMAT, text,
                       MC_MOST_TOKENS - 1, id);
    if ((size_t)id < tokenizer->token_count)
        return MC_OK;
    size_t count = tokenizer->token_count ? tokenizer->token_count : 256;
    /* Ids come in any order: doubling keeps the table at O(n) instead of O(n²) moves. */
    while (count <= (size_t)id)
        count *= 2;
    const char **const tokens = mc_realloc(tokenizer->tokens, count * sizeof *tokens);
    if (!tokens)
        return mc_fail_memory(error);
    memset(tokens + tokenizer->token_count, 0, (count - tokenizer->token_count) * sizeof *tokens);
    tokenizer->tokens = tokens;
    tokenizer->token_count = count;
    return MC_OK;
}

static mc_status set_token(mc_tokenizer *tokenizer, json_int_t id, const char *text,
                           mc_error *error)
{
    MC_TRY(reserve_id(tokenizer, id, text, error));
    /*
     * A table with two texts of one id would decode differently from the library that made the
     * model.
     */
    if (tokenizer->tokens[id])
        return mc_fail(error, MC_FORMAT,
                       "id %" JSON_INTEGER_FORMAT " belongs to two tokens, '%s' and '%s'", id,
                       tokenizer->tokens[id], text);
    tokenizer->tokens[id] = text;
    return MC_OK;
}

/* Adds a token of `size` bytes and a terminator. */
static mc_status add_token(mc_tokenizer *tokenizer, const char *text, size_t size, json_int_t id,
                           mc_error *error)
{
    int32_t old;
    MC_TRY(set_token(tokenizer, id, text, error));
    MC_TRY(mc_vocabulary_add(&tokenizer->vocabulary, text, size, (int32_t)id, &old, error));
    if (old != MC_NO_TOKEN)
        return mc_fail(error, MC_FORMAT,
                       "token '%s' appears twice, with ids %d and %" JSON_INTEGER_FORMAT, text, old,
                       id);
    return MC_OK;
}

mc_status mc_build_vocabulary(mc_tokenizer *tokenizer, const json_t *vocab, mc_error *error)
{
    const char *name;
    json_t *id;
    size_t total = 1;
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return mc_fail(error, MC_FORMAT, "expected a vocabulary of tokens and ids, found none");
    /*
     * All texts in one block: 128,000 allocations would take longer than the rest of the opening.
     */
    json_object_foreach((json_t *)(uintptr_t)vocab, name, id) total += strlen(name) + 1;
    char *end = tokenizer->texts = mc_alloc(total);
    if (!end)
        return mc_fail_memory(error);
    MC_TRY(mc_vocabulary_reserve(&tokenizer->vocabulary, json_object_size(vocab), error));
    json_object_foreach((json_t *)(uintptr_t)vocab, name, id)
    {
        const size_t size = strlen(name);
        if (!json_is_integer(id))
            return mc_fail(error, MC_FORMAT, "token '%s': expected a number as its id", name);
        memcpy(end, name, size + 1);
        MC_TRY(add_token(tokenizer, end, size, json_integer_value(id), error));
        end += size + 1;
    }
    return MC_OK;
}

mc_status mc_build_lines(mc_tokenizer *tokenizer, size_t size, mc_error *error)
{
    char *const text = tokenizer->texts;
    size_t lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    MC_TRY(mc_vocabulary_reserve(&tokenizer->vocabulary, lines, error));
    json_int_t id = 0;
    for (char *line = text; line < text + size; id++) {
        char *const next = memchr(line, '\n', (size_t)(text + size - line));
        char *end = next ? next : text + size;
        char *const following = end + 1;
        if (end > line && end[-1] == '\r')
            end--;
        *end = '\0';
        /* An empty line has an id and no token, as in transformers. */
        if (end > line)
            MC_TRY(add_token(tokenizer, line, (size_t)(end - line), id, error));
        line = following;
    }
    if (tokenizer->vocabulary.count == 0)
        return mc_fail(error, MC_FORMAT, "expected tokens, one per line, found none");
    return MC_OK;
}

mc_status mc_build_find(const mc_tokenizer *tokenizer, const char *what, const char *token,
                        int32_t *id, mc_error *error)
{
    const size_t size = strlen(token);
    const mc_added *const added = &tokenizer->added;
    /* An added token hides a token of the vocabulary with the same text. */
    const int32_t index = mc_vocabulary_find(&added->texts, token, size);
    *id = index == MC_NO_TOKEN ? mc_vocabulary_find(&tokenizer->vocabulary, token, size)
                               : added->tokens[index].id;
    if (*id == MC_NO_TOKEN)
        return mc_fail(error, MC_FORMAT, "%s '%s' is not in the vocabulary", what, token);
    return MC_OK;
}

mc_status mc_build_wordpiece(mc_tokenizer *tokenizer, const char *unknown, const char *prefix,
                             size_t most_characters, mc_error *error)
{
    mc_wordpiece *const model = &tokenizer->wordpiece;
    tokenizer->kind = MC_WORDPIECE;
    model->prefix_text = mc_strdup(prefix);
    if (!model->prefix_text)
        return mc_fail_memory(error);
    model->prefix = mc_prefix_of(model->prefix_text, strlen(prefix));
    model->most_characters = most_characters;
    model->unknown = mc_vocabulary_find(&tokenizer->vocabulary, unknown, strlen(unknown));
    if (model->unknown == MC_NO_TOKEN)
        return mc_fail(error, MC_FORMAT, "unk_token '%s' is not in the vocabulary", unknown);
    return MC_OK;
}

void mc_build_bpe(mc_tokenizer *tokenizer)
{
    mc_bpe *const bpe = &tokenizer->bpe;
    tokenizer->kind = MC_BYTE_BPE;
    bpe->unknown = MC_NO_TOKEN;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        const char *const end = mc_utf8_put(text, mc_bpe_character((unsigned char)byte));
        /* A vocabulary may lack bytes: those are unknown, or dropped. */
        bpe->bytes[byte] = mc_vocabulary_find(&tokenizer->vocabulary, text, (size_t)(end - text));
    }
}

static mc_status missing(const char *text, size_t size, int32_t rank, mc_error *error)
{
    return mc_fail(error, MC_FORMAT, "merge %d: '%.*s' is not in the vocabulary", rank, (int)size,
                   text);
}

mc_status mc_build_merge(mc_tokenizer *tokenizer, const char *left, size_t left_size,
                         const char *right, size_t right_size, int32_t rank, mc_error *error)
{
    const mc_vocabulary *const vocabulary = &tokenizer->vocabulary;
    /* Tokens longer than MC_TOKEN_BYTES are not in the vocabulary, so that both parts fit. */
    char merged[2 * MC_TOKEN_BYTES];
    mc_bpe_merge merge = {.rank = rank};
    merge.left = mc_vocabulary_find(vocabulary, left, left_size);
    if (merge.left == MC_NO_TOKEN)
        return missing(left, left_size, rank, error);
    merge.right = mc_vocabulary_find(vocabulary, right, right_size);
    if (merge.right == MC_NO_TOKEN)
        return missing(right, right_size, rank, error);
    memcpy(merged, left, left_size);
    memcpy(merged + left_size, right, right_size);
    merge.merged = mc_vocabulary_find(vocabulary, merged, left_size + right_size);
    if (merge.merged == MC_NO_TOKEN)
        return missing(merged, left_size + right_size, rank, error);
    return mc_bpe_add(&tokenizer->bpe, merge, error);
}

mc_status mc_build_merge_text(mc_tokenizer *tokenizer, const char *text, size_t size, int32_t rank,
                              mc_error *error)
{
    const char *const blank = memchr(text, ' ', size);
    if (!blank || memchr(blank + 1, ' ', (size_t)(text + size - blank - 1)))
        return mc_fail(error, MC_FORMAT, "merge %d: expected two tokens and a blank, found '%.*s'",
                       rank, (int)(size < 100 ? size : 100), text);
    const size_t left_size = (size_t)(blank - text);
    return mc_build_merge(tokenizer, text, left_size, blank + 1, size - left_size - 1, rank, error);
}

mc_status mc_build_added_reserve(mc_tokenizer *tokenizer, size_t count, mc_error *error)
{
    mc_added *const added = &tokenizer->added;
    added->largest = MC_NO_TOKEN;
    added->tokens = mc_alloc_zero(count, sizeof *added->tokens);
    added->capacity = count;
    return added->tokens ? mc_vocabulary_reserve(&added->texts, count, error)
                         : mc_fail_memory(error);
}

/*
 * Returns the id of a new token that is not in the vocabulary. It follows the vocabulary, or the
 * largest added id where files left a gap, as the package `tokenizers` numbers them.
 */
static int32_t next_id(const mc_tokenizer *tokenizer)
{
    const int32_t size = (int32_t)tokenizer->vocabulary.count;
    return tokenizer->added.largest < size ? size : tokenizer->added.largest + 1;
}

mc_status mc_build_added(mc_tokenizer *tokenizer, mc_added_token token, mc_error *error)
{
    mc_added *const added = &tokenizer->added;
    /*
     * The package numbers tokens itself; a file that states another id would have other rows of the
     * embedding than the model was trained with.
     */
    const int32_t stated = token.id;
    int32_t old;
    char *const text = mc_strdup(token.text);
    if (!text)
        return mc_fail_memory(error);
    token.text = text;
    token.size = strlen(text);
    token.id = mc_vocabulary_find(&tokenizer->vocabulary, text, token.size);
    const bool known = token.id != MC_NO_TOKEN;
    if (!known)
        token.id = next_id(tokenizer);
    /* Stored before the checks, so that mc_added_free also frees the text after an error. */
    added->tokens[added->count++] = token;
    added->largest = token.id > added->largest ? token.id : added->largest;
    if (token.size == 0)
        return mc_fail(error, MC_FORMAT, "an added token is empty");
    if (stated != MC_NO_TOKEN && stated != token.id)
        return mc_fail(error, MC_FORMAT, "added token '%s': expected id %d, found %d", text,
                       token.id, stated);
    MC_TRY(
        mc_vocabulary_add(&added->texts, text, token.size, (int32_t)added->count - 1, &old, error));
    if (old != MC_NO_TOKEN)
        return mc_fail(error, MC_FORMAT, "added token '%s' appears twice", text);
    /* A token of the vocabulary has its place in the table already. */
    return known ? MC_OK : set_token(tokenizer, token.id, text, error);
}

static mc_status add_parts(mc_template *template, const mc_template_part *parts, size_t count,
                           mc_error *error)
{
    for (size_t i = 0; i < count; i++)
        MC_TRY(mc_template_add(template, parts[i].kind, parts[i].id, parts[i].type, error));
    return MC_OK;
}

mc_status mc_build_plain_template(mc_tokenizer *tokenizer, mc_error *error)
{
    const mc_template_part parts[] = {{MC_PART_TEXT, 0, 0}, {MC_PART_PAIR, 0, 1}};
    MC_TRY(add_parts(&tokenizer->single, parts, 1, error));
    return add_parts(&tokenizer->pair, parts, 2, error);
}

mc_status mc_build_bert_template(mc_tokenizer *tokenizer, int32_t cls, int32_t sep, mc_error *error)
{
    const mc_template_part parts[] = {{MC_PART_TOKEN, cls, 0},
                                      {MC_PART_TEXT, 0, 0},
                                      {MC_PART_TOKEN, sep, 0},
                                      {MC_PART_PAIR, 0, 1},
                                      {MC_PART_TOKEN, sep, 1}};
    MC_TRY(add_parts(&tokenizer->single, parts, 3, error));
    return add_parts(&tokenizer->pair, parts, 5, error);
}

mc_status mc_build_roberta_template(mc_tokenizer *tokenizer, int32_t cls, int32_t sep,
                                    mc_error *error)
{
    const mc_template_part parts[] = {{MC_PART_TOKEN, cls, 0}, {MC_PART_TEXT, 0, 0},
                                      {MC_PART_TOKEN, sep, 0}, {MC_PART_TOKEN, sep, 0},
                                      {MC_PART_PAIR, 0, 0},    {MC_PART_TOKEN, sep, 0}};
    MC_TRY(add_parts(&tokenizer->single, parts, 3, error));
    return add_parts(&tokenizer->pair, parts, 6, error);
}
