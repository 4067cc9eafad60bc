#include "tokenizer/wordpiece.h"

#include "base/hash.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

static const mc_prefix no_prefix = {.text = "", .hash = MC_HASH_START};

/*
 * Takes the longest token at the start, then the longest "##…" behind it, and so on; unknown if
 * none fits.
 */
static void encode_word(const mc_tokenizer *tokenizer, const char *word, size_t size,
                        size_t characters, mc_ids *ids)
{
    const mc_wordpiece *const model = &tokenizer->wordpiece;
    const size_t before = ids->count;
    const mc_prefix *prefix = &no_prefix;
    /* As in BERT. It also bounds the time for a text without blanks. */
    if (characters > model->most_characters) {
        mc_ids_add(ids, model->unknown);
        return;
    }
    for (size_t at = 0, length; at < size; at += length) {
        const int32_t id = mc_vocabulary_longest(&tokenizer->vocabulary, prefix, word + at,
                                                 size - at, &length);
        if (id == MC_NO_TOKEN) {
            /* One unknown token for the word, not one per part. */
            ids->count = before;
            mc_ids_add(ids, model->unknown);
            return;
        }
        mc_ids_add(ids, id);
        prefix = &model->prefix;
    }
}

/* Blanks separate words; each punctuation character is a word. */
void mc_wordpiece_encode(const mc_tokenizer *tokenizer, const char *text, size_t size, mc_ids *ids)
{
    const char *const end = text + size;
    const char *word = text;
    size_t characters = 0, length;
    for (const char *at = text; at < end; at += length) {
        const uint16_t flags = mc_unicode_character(mc_utf8_next(at, &length)).flags;
        if (!(flags & (MC_SPACE | MC_PUNCTUATION))) {
            characters++;
            continue;
        }
        if (characters)
            encode_word(tokenizer, word, (size_t)(at - word), characters, ids);
        if (flags & MC_PUNCTUATION)
            encode_word(tokenizer, at, length, 1, ids);
        word = at + length;
        characters = 0;
    }
    if (characters)
        encode_word(tokenizer, word, (size_t)(end - word), characters, ids);
}
