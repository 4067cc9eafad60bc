#include "transplant/token_match.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Byte-level BPE writes a blank as "Ġ" (U+0120), SentencePiece as "▁" (U+2581). */
#define BYTE_LEVEL "\304\240"
#define SENTENCE "\342\226\201"

/* The first byte of forms that are not plain texts: tokens do not begin with control characters. */
#define WORD "\001"
#define ROLE "\002"

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* ---- roles of special tokens ----------------------------------------------------------------- */

/* A token with several roles counts by the first of them. */
static const char *const roles[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
enum { ROLES = sizeof roles / sizeof *roles };

/* special_tokens_map.json and tokenizer_config.json, of which the former counts. */
typedef struct special_files {
    json_t *map, *config;
} special_files;

static mc_status load_object(const mc_tokenizer_owner *owner, const char *name, json_t **out,
                             mc_error *error)
{
    char *text = NULL;
    size_t size = 0;
    MC_TRY(mc_tokenizer_text(owner, name, &text, &size, error));
    const mc_status status = text ? mc_in_file(error, name, mc_json_parse(text, size, out, error))
                                  : MC_OK;
    mc_free(text);
    return status;
}

/* A special token is a text, or an object with attributes. */
static const char *text_of(const json_t *object, const char *name)
{
    const json_t *const value = json_object_get(object, name);
    const json_t *const content = json_object_get(value, "content");
    return json_string_value(content ? content : value);
}

static const char *role_of(const special_files *files, const char *token)
{
    for (size_t i = 0; i < ROLES; i++) {
        const char *const mapped = text_of(files->map, roles[i]);
        const char *const text = mapped ? mapped : text_of(files->config, roles[i]);
        if (text && strcmp(text, token) == 0)
            return roles[i];
    }
    return NULL;
}

/* ---- normal forms ---------------------------------------------------------------------------- */

/* The mark that more tokens begin with. */
static const char *find_word_start(const mc_document *document)
{
    size_t count, byte_level = 0, sentence = 0;
    const mc_document_token *const tokens = mc_document_tokens(document, &count);
    for (size_t i = 0; i < count; i++) {
        byte_level += starts_with(tokens[i].text, BYTE_LEVEL);
        sentence += starts_with(tokens[i].text, SENTENCE);
    }
    return byte_level + sentence == 0 ? "" : byte_level >= sentence ? BYTE_LEVEL : SENTENCE;
}

static char *form_of(const mc_vocabulary_side *side, const special_files *files, const char *token)
{
    if (*side->word_start && starts_with(token, side->word_start))
        return mc_format(WORD "%s", token + strlen(side->word_start));
    const char *const role = role_of(files, token);
    return role ? mc_format(ROLE "%s", role) : mc_strdup(token);
}

static mc_status make_forms(mc_vocabulary_side *side, const special_files *files, mc_error *error)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(side->document, &count);
    side->word_start = find_word_start(side->document);
    side->forms = mc_alloc_zero(count, sizeof *side->forms);
    if (!side->forms)
        return mc_fail_memory(error);
    side->count = count;
    for (size_t i = 0; i < count; i++) {
        side->forms[i] = form_of(side, files, tokens[i].text);
        if (!side->forms[i])
            return mc_fail_memory(error);
    }
    return MC_OK;
}

mc_status mc_vocabulary_side_read(const mc_tokenizer_owner *owner, mc_vocabulary_side *out,
                                  mc_error *error)
{
    special_files files = {0};
    bool own;
    *out = (mc_vocabulary_side){0};
    MC_TRY(mc_tokenizer_document(owner, &out->document, &own, error));
    if (!out->document)
        return mc_fail(error, MC_UNSUPPORTED,
                       "expected a tokenizer.json, vocab.txt or vocab.json of '%s', found none",
                       owner->name);
    mc_status status = own ? mc_in_file(error, owner->name,
                                        mc_document_check_numbers(out->document, error))
                           : MC_OK;
    mc_document_drop_text(out->document);
    if (status == MC_OK)
        status = load_object(owner, "special_tokens_map.json", &files.map, error);
    if (status == MC_OK)
        status = load_object(owner, "tokenizer_config.json", &files.config, error);
    if (status == MC_OK)
        status = make_forms(out, &files, error);
    json_decref(files.map);
    json_decref(files.config);
    return status;
}

void mc_vocabulary_side_free(mc_vocabulary_side *side)
{
    for (size_t i = 0; side->forms && i < side->count; i++)
        mc_free(side->forms[i]);
    mc_free(side->forms);
    mc_document_free(side->document);
    *side = (mc_vocabulary_side){0};
}

/* ---- matching -------------------------------------------------------------------------------- */

static mc_status fill_index(const mc_vocabulary_side *side, mc_index *index, mc_error *error)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(side->document, &count);
    /* From the last token on: of two with one form the lowest id counts. */
    for (size_t i = count; i-- > 0;)
        if (!mc_index_set(index, side->forms[i], (size_t)tokens[i].id))
            return mc_fail_memory(error);
    return MC_OK;
}

static void match_tokens(const mc_vocabulary_side *model, const mc_vocabulary_side *donor,
                         const mc_index *index, mc_token_match *out)
{
    size_t count;
    const mc_document_token *const tokens = mc_document_tokens(donor->document, &count);
    for (size_t r = 0; r < out->rows; r++)
        out->from[r] = -1;
    for (size_t i = 0; i < count; i++) {
        const size_t found = mc_index_find(index, donor->forms[i]);
        /* A special token whose role the model lacks may still be a token there. */
        const int32_t id = found != MC_INDEX_NONE ? (int32_t)found
                           : donor->forms[i][0] == ROLE[0]
                               ? mc_document_find(model->document, tokens[i].text)
                               : -1;
        out->from[tokens[i].id] = id;
        out->texts[tokens[i].id] = tokens[i].text;
        out->common += id >= 0;
        out->lacks += id < 0;
    }
}

mc_status mc_token_match_new(const mc_vocabulary_side *model, const mc_vocabulary_side *donor,
                             mc_token_match *out, mc_error *error)
{
    size_t count;
    mc_index index = {0};
    const mc_document_token *const tokens = mc_document_tokens(donor->document, &count);
    const size_t rows = count > 0 ? (size_t)tokens[count - 1].id + 1 : 0;
    *out = (mc_token_match){.rows = rows,
                            .from = mc_alloc(rows * sizeof *out->from),
                            .texts = mc_alloc_zero(rows, sizeof *out->texts)};
    mc_status status = out->from && out->texts ? fill_index(model, &index, error)
                                               : mc_fail_memory(error);
    if (status == MC_OK)
        match_tokens(model, donor, &index, out);
    mc_index_free(&index);
    if (status != MC_OK)
        mc_token_match_free(out);
    return status;
}

void mc_token_match_free(mc_token_match *match)
{
    mc_free(match->from);
    mc_free(match->texts);
    *match = (mc_token_match){0};
}

/* ---- plain text ------------------------------------------------------------------------------ */

/* Writes the byte that a character of byte-level BPE stands for, or the character. */
static char *put_byte(char *out, uint32_t code)
{
    for (unsigned byte = 0; byte < 256; byte++)
        if (mc_bpe_character((unsigned char)byte) == code) {
            *out++ = (char)byte;
            return out;
        }
    return mc_utf8_put(out, code);
}

static char *decode_byte_level(const char *token, char *out)
{
    for (size_t length = 0; *token; token += length)
        out = put_byte(out, mc_utf8_next(token, &length));
    return out;
}

static char *decode_sentence(const char *token, char *out)
{
    unsigned byte;
    int end = 0;
    /* A byte as byte fallback writes it. */
    if (sscanf(token, "<0x%2X>%n", &byte, &end) == 1 && end == 6 && !token[end]) {
        *out++ = (char)byte;
        return out;
    }
    while (*token)
        if (starts_with(token, SENTENCE)) {
            *out++ = ' ';
            token += sizeof SENTENCE - 1;
        } else {
            *out++ = *token++;
        }
    return out;
}

char *mc_token_plain_text(const mc_vocabulary_side *side, const char *token, size_t *size)
{
    const bool word_piece = strcmp(mc_document_model(side->document), "WordPiece") == 0;
    /* Added tokens are texts already. */
    const bool is_text = word_piece || mc_document_find_added(side->document, token);
    const char *const from = word_piece && starts_with(token, "##") ? token + 2 : token;
    char *const text = mc_alloc(strlen(token) + 1);
    if (!text)
        return NULL;
    char *const end = is_text                                     ? stpcpy(text, from)
                      : strcmp(side->word_start, BYTE_LEVEL) == 0 ? decode_byte_level(from, text)
                                                                  : decode_sentence(from, text);
    *end = '\0';
    *size = (size_t)(end - text);
    return text;
}
