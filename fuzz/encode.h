/* For the targets of tokenizers: what was opened is used. */
#ifndef MC_FUZZ_ENCODE_H
#define MC_FUZZ_ENCODE_H

#include "fuzz.h"

#include <mergecraft/tokenizer.h>

#include <string.h>

/*
 * Encodes into an encoding that was used before, and into a new one: the same, within the
 * vocabulary.
 */
static void fuzz_encode(const mc_tokenizer *tokenizer, const char *text, size_t size,
                        const char *pair, size_t most, mc_encoding *used)
{
    mc_encoding fresh = {0};
    mc_error error = MC_ERROR_NONE, again = MC_ERROR_NONE;
    const size_t pair_size = pair ? strlen(pair) : 0;
    const mc_status status = mc_tokenizer_encode(tokenizer, text, size, pair, pair_size, most, used,
                                                 &error);
    const mc_status second = mc_tokenizer_encode(tokenizer, text, size, pair, pair_size, most,
                                                 &fresh, &again);
    fuzz_check_status(status, &error);
    fuzz_check_status(second, &again);
    if (status == MC_OK && second == MC_OK)
        fuzz_require(used->count == fresh.count && used->truncated == fresh.truncated &&
                         (!fresh.count ||
                          (memcmp(used->ids, fresh.ids, fresh.count * sizeof *fresh.ids) == 0 &&
                           memcmp(used->types, fresh.types, fresh.count) == 0)),
                     "what was encoded before does not matter");
    if (status == MC_OK && most)
        fuzz_require(used->count <= most, "no more tokens than were asked for");
    for (size_t i = 0; i < used->count; i++)
        fuzz_require(mc_tokenizer_token(tokenizer, used->ids[i]) != NULL,
                     "ids are those of tokens");
    mc_encoding_free(&fresh);
}

static void fuzz_use_tokenizer(const mc_tokenizer *tokenizer, const char *data, size_t size)
{
    static const char *const texts[] = {"",
                                        "Hello, the [SEP]  world's 12 <mask> \xc3\xa9t\xc3\xa9 ",
                                        "\xe4\xb8\xad\xcc\x81\xe2\x82 don't\r\n\t'LL \xea\xb0\x81"};
    mc_encoding encoding = {0};
    const size_t count = mc_tokenizer_vocabulary_size(tokenizer);
    fuzz_require(count == 0 || mc_tokenizer_token(tokenizer, (int32_t)count - 1),
                 "the last id is a token");
    fuzz_require(!mc_tokenizer_token(tokenizer, -1) &&
                     !mc_tokenizer_token(tokenizer, (int32_t)count),
                 "other ids are none");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        fuzz_encode(tokenizer, texts[i], strlen(texts[i]), i ? texts[i - 1] : NULL, 7 * i,
                    &encoding);
    fuzz_encode(tokenizer, data, size < 4096 ? size : 4096, NULL, 0, &encoding);
    mc_encoding_free(&encoding);
}

/* Opens the tokenizer in the folder "model", and encodes texts with it, `data` among them. */
static void fuzz_tokenizer(const uint8_t *data, size_t size)
{
    mc_tokenizer *tokenizer = NULL;
    mc_error error = MC_ERROR_NONE;
    const mc_status status = mc_tokenizer_open("model", &tokenizer, &error);
    fuzz_check_status(status, &error);
    if (status == MC_OK)
        fuzz_use_tokenizer(tokenizer, (const char *)data, size);
    mc_tokenizer_close(tokenizer);
    fuzz_remove_files();
}

#endif
