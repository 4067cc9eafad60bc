/*
 * bench_tokenizer FOLDER FILE RUNS: seconds of processor time that it takes to encode all pairs of
 * FILE (texts that end with NUL, two a pair), a line for each run. tokenizer.py compares them with
 * the tokenizers package.
 */
#include "base/file.h"
#include "base/memory.h"

#include <mergecraft/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Encodes all pairs; returns the number of tokens. */
static size_t encode_all(const mc_tokenizer *tokenizer, const char *text, const char *end,
                         mc_encoding *encoding)
{
    size_t tokens = 0;
    while (text < end) {
        const size_t size = strlen(text);
        const char *const pair = text + size + 1;
        const size_t pair_size = strlen(pair);
        if (mc_tokenizer_encode(tokenizer, text, size, pair, pair_size, 0, encoding, NULL) != MC_OK)
            abort();
        tokens += encoding->count;
        text = pair + pair_size + 1;
    }
    return tokens;
}

int main(int argc, char **argv)
{
    mc_error error = MC_ERROR_NONE;
    mc_tokenizer *tokenizer = NULL;
    mc_encoding encoding = {0};
    char *text = NULL, message[2048];
    size_t size = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: bench_tokenizer FOLDER FILE RUNS\n");
        return 2;
    }
    const double before = now();
    if (mc_tokenizer_open(argv[1], &tokenizer, &error) != MC_OK ||
        mc_file_load(argv[2], INT64_C(1) << 30, &text, &size, &error) != MC_OK) {
        fprintf(stderr, "%s\n", mc_error_message(&error, message, sizeof message));
        return 1;
    }
    fprintf(stderr, "opened in %.1f ms\n", 1e3 * (now() - before));
    for (long run = 0; run < strtol(argv[3], NULL, 10); run++) {
        const double start = now();
        const size_t tokens = encode_all(tokenizer, text, text + size, &encoding);
        printf("%.9f %zu\n", now() - start, tokens);
    }
    mc_encoding_free(&encoding);
    mc_tokenizer_close(tokenizer);
    mc_free(text);
    return 0;
}
