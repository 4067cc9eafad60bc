#include "tokenizer/added.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/normalize.h"
#include "tokenizer/unicode.h"

#include <string.h>

/* Searches here are for whole texts: the prefix is empty. */
static const mc_prefix no_prefix = {.text = "", .hash = MC_HASH_START};

void mc_added_free(mc_added *added)
{
    for (size_t i = 0; i < added->count; i++)
        mc_free((char *)(uintptr_t)added->tokens[i].text);
    mc_free(added->tokens);
    mc_free(added->normalized_texts);
    mc_vocabulary_free(&added->texts);
    mc_vocabulary_free(&added->plain.texts);
    mc_vocabulary_free(&added->normalized.texts);
    *added = (mc_added){0};
}

static mc_status add_text(mc_finder *finder, const char *text, size_t size, size_t index,
                          mc_error *error)
{
    int32_t old;
    finder->first[(unsigned char)text[0]] = true;
    return mc_vocabulary_add(&finder->texts, text, size, (int32_t)index, &old, error);
}

/*
 * Normalises the texts to find into one block, which the finder points into. lengths[i] is 0 for
 * tokens that stay as they are.
 */
static mc_status normalize_texts(mc_added *added, const mc_normalizer *normalizer, size_t *lengths,
                                 mc_error *error)
{
    size_t total = 1;
    for (size_t i = 0; i < added->count; i++)
        /*
         * The most that normalisation can make of a text, so that no text moves once it is in the
         * finder.
         */
        total += added->tokens[i].size * MC_UNICODE_GROWTH;
    char *end = added->normalized_texts = mc_alloc(total);
    mc_buffer buffer = {0};
    mc_status status = end ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; i < added->count && status == MC_OK; i++) {
        const mc_added_token *const token = &added->tokens[i];
        if (!token->normalized)
            continue;
        /*
         * Text is searched for these tokens after it was normalised, so they are normalised, too.
         */
        if (!mc_normalize(normalizer, token->text, token->size, &buffer, &lengths[i])) {
            status = mc_fail_memory(error);
        } else if (lengths[i] == 0) {
            /* An empty text would be found everywhere. */
            status = mc_fail(error, MC_UNSUPPORTED,
                             "nothing is left of the added token '%s' when it is normalised",
                             token->text);
        } else {
            memcpy(end, buffer.bytes, lengths[i]);
            end += lengths[i];
        }
    }
    mc_free(buffer.bytes);
    return status;
}

static mc_status add_texts(mc_added *added, const size_t *lengths, bool special, mc_error *error)
{
    const char *normalized = added->normalized_texts;
    for (size_t i = 0; i < added->count; i++) {
        const mc_added_token *const token = &added->tokens[i];
        if (token->special == special && token->normalized)
            MC_TRY(add_text(&added->normalized, normalized, lengths[i], i, error));
        else if (token->special == special)
            MC_TRY(add_text(&added->plain, token->text, token->size, i, error));
        normalized += lengths[i];
    }
    return MC_OK;
}

mc_status mc_added_prepare(mc_added *added, const mc_normalizer *normalizer, mc_error *error)
{
    MC_TRY(mc_vocabulary_reserve(&added->plain.texts, added->count, error));
    MC_TRY(mc_vocabulary_reserve(&added->normalized.texts, added->count, error));
    size_t *const lengths = mc_alloc_zero(added->count, sizeof *lengths);
    if (!lengths)
        return mc_fail_memory(error);
    mc_status status = normalize_texts(added, normalizer, lengths, error);
    if (status == MC_OK)
        /*
         * Special tokens first: of two tokens with the same normalised text, the first one added is
         * found.
         */
        status = add_texts(added, lengths, true, error);
    if (status == MC_OK)
        status = add_texts(added, lengths, false, error);
    mc_free(lengths);
    return status;
}

static uint16_t flags_at(const char *at)
{
    size_t length;
    return mc_unicode_character(mc_utf8_next(at, &length)).flags;
}

/* Returns the start of the blanks before `end`. */
static const char *blanks_before(const char *text, const char *end)
{
    while (end > text) {
        const char *const before = mc_utf8_before(end);
        if (!(flags_at(before) & MC_SPACE))
            break;
        end = before;
    }
    return end;
}

static const char *blanks_after(const char *at, const char *end)
{
    while (at < end) {
        size_t length;
        if (!(mc_unicode_character(mc_utf8_next(at, &length)).flags & MC_SPACE))
            break;
        at += length;
    }
    return at;
}

/* Returns whether no letter, digit or mark is beside [start, stop). */
static bool stands_alone(const char *text, const char *end, const char *start, const char *stop)
{
    if (start > text && (flags_at(mc_utf8_before(start)) & MC_WORD))
        return false;
    return stop == end || !(flags_at(stop) & MC_WORD);
}

/*
 * Passes the text on in order: at each byte the longest token that begins there, and the text
 * between tokens. `at` may be inside of a character; a token is valid UTF-8, so none begins there.
 */
bool mc_added_find(const mc_added *added, const mc_finder *finder, const char *text, size_t size,
                   const mc_added_walk *walk)
{
    const char *const end = text + size;
    const char *done = text; /* everything before it has been passed on */
    size_t length;
    for (const char *at = text; at < end && finder->texts.count; at += length) {
        const int32_t found = finder->first[(unsigned char)*at]
                                  ? mc_vocabulary_longest(&finder->texts, &no_prefix, at,
                                                          (size_t)(end - at), &length)
                                  : MC_NO_TOKEN;
        if (found == MC_NO_TOKEN) {
            length = 1;
            continue;
        }
        const mc_added_token *const token = &added->tokens[found];
        const char *start = at, *stop = at + length;
        /* `length` is that of the token: the search goes on behind it. */
        if (token->single_word && !stands_alone(text, end, start, stop))
            continue;
        if (token->left_strip)
            /*
             * The blanks may belong to the token before, up to `done`: then no text is between
             * them.
             */
            start = blanks_before(text, start);
        if (token->right_strip)
            stop = blanks_after(stop, end);
        if (done < start && !walk->text(walk->user, done, (size_t)(start - done)))
            return false;
        walk->token(walk->user, token->id);
        done = stop;
    }
    return done == end || walk->text(walk->user, done, (size_t)(end - done));
}
