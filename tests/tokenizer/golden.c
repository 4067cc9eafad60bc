/*
 * Texts whose tokens the package `tokenizers` has found: tests/data/tokenizer/NAME/golden.txt,
 * written by make_tokenizers.py there. A line is: the length to cut to, the text, its pair or "-"
 * (bytes in hexadecimal, after a "."), "=", ids and types as 12:0.
 */
#include <mergecraft/tokenizer.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

/* Decodes hexadecimal in place; returns the number of bytes. */
static size_t unhex(char *text)
{
    size_t size = 0;
    unsigned byte;
    for (const char *at = text + 1; sscanf(at, "%2x", &byte) == 1; at += 2)
        text[size++] = (char)byte;
    return size;
}

/* "12:0 13:0 …" */
static char *shown(const mc_encoding *encoding)
{
    char *const text = malloc(encoding->count * 24 + 1);
    assert_non_null(text);
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < encoding->count; i++)
        length += (size_t)sprintf(text + length, "%s%d:%u", i ? " " : "", encoding->ids[i],
                                  encoding->types[i]);
    return text;
}

static void check_line(const mc_tokenizer *tokenizer, const char *name, int number, char *line,
                       mc_encoding *encoding)
{
    mc_error error = MC_ERROR_NONE;
    char message[2048];
    char *rest = NULL;
    char *const length = strtok_r(line, " ", &rest);
    char *const text = strtok_r(NULL, " ", &rest);
    char *const pair = strtok_r(NULL, " ", &rest);
    char *const expected = strchr(rest, '=') + 2;
    const size_t size = unhex(text);
    const int alone = *pair == '-';
    const size_t pair_size = alone ? 0 : unhex(pair);
    if (mc_tokenizer_encode(tokenizer, text, size, alone ? NULL : pair, pair_size,
                            strtoul(length, NULL, 10), encoding, &error) != MC_OK)
        fail_msg("%s:%d: %s", name, number, mc_error_message(&error, message, sizeof message));
    char *const found = shown(encoding);
    if (strcmp(found, expected) != 0)
        fail_msg("%s:%d: expected %s, found %s", name, number, expected, found);
    free(found);
}

static void check_file(const mc_tokenizer *tokenizer, const char *name)
{
    FILE *const golden = fopen(name, "r");
    assert_non_null(golden);
    mc_encoding encoding = {0};
    char *line = NULL;
    size_t capacity = 0;
    int number = 0;
    for (ssize_t length; (length = getline(&line, &capacity, golden)) > 0;) {
        line[length - 1] = '\0';
        check_line(tokenizer, name, ++number, line, &encoding);
    }
    assert_true(number >= 300);
    mc_encoding_free(&encoding);
    free(line);
    fclose(golden);
}

static void test_golden(void **state)
{
    mc_tokenizer *tokenizer = NULL;
    mc_error error = MC_ERROR_NONE;
    char message[2048], path[1024];
    snprintf(path, sizeof path, MC_TEST_DATA "/tokenizer/%s", (const char *)*state);
    if (mc_tokenizer_open(path, &tokenizer, &error) != MC_OK)
        fail_msg("%s", mc_error_message(&error, message, sizeof message));
    strcat(path, "/golden.txt");
    check_file(tokenizer, path);
    mc_tokenizer_close(tokenizer);
}

#define GOLDEN(name_)                                                                              \
    {                                                                                              \
        .name = name_, .test_func = test_golden, .initial_state = (void *)(uintptr_t)name_         \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        GOLDEN("uncased"),        GOLDEN("cased"),        GOLDEN("accents"),
        GOLDEN("cased_stripped"), GOLDEN("unclean"),      GOLDEN("not_normalized"),
        GOLDEN("bert_added"),     GOLDEN("roberta"),      GOLDEN("prefixed"),
        GOLDEN("unknown"),        GOLDEN("fused"),        GOLDEN("dropped"),
        GOLDEN("whole_words"),    GOLDEN("roberta_added")};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
