/*
 * merges.txt, vocab.json and the files that come with them, vocab.txt as the last: one after the
 * other, with NUL between.
 */
#include "encode.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"model/merges.txt",
                                        "model/vocab.json",
                                        "model/tokenizer_config.json",
                                        "model/special_tokens_map.json",
                                        "model/added_tokens.json",
                                        "model/vocab.txt"};
    const uint8_t *at = data, *const end = data + size;
    for (size_t i = 0; i < sizeof names / sizeof *names && at <= end; i++) {
        const uint8_t *const nul = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
        const uint8_t *const stop = nul ? nul : end;
        fuzz_put(names[i], at, (size_t)(stop - at));
        at = stop + 1;
    }
    fuzz_tokenizer(data, size);
}
