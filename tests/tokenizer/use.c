/* Long texts, several threads, and memory that runs out. */
#include "tokenizer/folder.h"

#include "base/memory.h"

#include <pthread.h>

#define GOLDEN MC_TEST_DATA "/tokenizer/"

static mc_tokenizer *open_golden(const char *name)
{
    mc_tokenizer *tokenizer = NULL;
    assert_int_equal(mc_tokenizer_open(name, &tokenizer, NULL), MC_OK);
    return tokenizer;
}

static const char *const folders[] = {GOLDEN "uncased", GOLDEN "roberta_added"};
enum { FOLDERS = sizeof folders / sizeof *folders };

/* A part that is repeated. */
static char *repeated(const char *part, size_t count, size_t *size)
{
    *size = strlen(part) * count;
    char *const text = malloc(*size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * strlen(part), part, strlen(part) + 1);
    return text;
}

static void check_long(const mc_tokenizer *tokenizer, const char *part, size_t count)
{
    mc_encoding encoding = {0};
    size_t size;
    char *const text = repeated(part, count, &size);
    assert_int_equal(mc_tokenizer_encode(tokenizer, text, size, text, size, 512, &encoding, NULL),
                     MC_OK);
    assert_true(encoding.truncated);
    assert_int_equal(encoding.count, 512);
    assert_int_equal(mc_tokenizer_encode(tokenizer, text, size, NULL, 0, 0, &encoding, NULL),
                     MC_OK);
    assert_false(encoding.truncated);
    assert_true(encoding.count > count / 4);
    mc_encoding_free(&encoding);
    free(text);
}

/*
 * 100,000 words; one word of 100,000 characters, which is one token for BERT, and marks that have
 * to be put in order.
 */
static void test_long(void **state)
{
    (void)state;
    static const char *const parts[] = {"a ", "don't ", "\xe4\xb8\xad", ". [SEP]"};
    for (size_t i = 0; i < FOLDERS; i++) {
        mc_tokenizer *const tokenizer = open_golden(folders[i]);
        mc_encoding encoding = {0};
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
            check_long(tokenizer, parts[k], 100000);
        size_t size;
        char *const word = repeated("xy\xe3\x80\xae\xe1\xad\x84", 100000, &size);
        assert_int_equal(mc_tokenizer_encode(tokenizer, word, size, NULL, 0, 16, &encoding, NULL),
                         MC_OK);
        assert_int_equal(encoding.count, i ? 16 : 3);
        mc_encoding_free(&encoding);
        free(word);
        mc_tokenizer_close(tokenizer);
    }
}

static void test_length(void **state)
{
    (void)state;
    mc_tokenizer *const tokenizer = open_golden(folders[1]);
    mc_encoding encoding = {0};
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(mc_tokenizer_encode(tokenizer, "a", 1, "b", 1, 3, &encoding, &error),
                     MC_USAGE);
    assert_string_equal(error.text,
                        "expected a length of at least 4, for special tokens alone, found 3");
    assert_int_equal(encoding.count, 0);
    assert_int_equal(mc_tokenizer_encode(tokenizer, "a", 1, "b", 1, 4, &encoding, &error), MC_OK);
    assert_int_equal(encoding.count, 4);
    assert_true(encoding.truncated);
    assert_int_equal(mc_tokenizer_encode(tokenizer, NULL, 0, NULL, 0, 0, &encoding, &error), MC_OK);
    assert_int_equal(encoding.count, 2);
    mc_encoding_free(&encoding);
    mc_tokenizer_close(tokenizer);
}

/* One encoding for two tokenizers in turn: what it keeps of one is not taken for the other's. */
static void test_reused(void **state)
{
    (void)state;
    static const char text[] = "the nurses don't pull a tractor";
    mc_encoding both = {0};
    for (size_t i = 0; i < 4; i++) {
        mc_tokenizer *const tokenizer = open_golden(i % 2 ? GOLDEN "roberta"
                                                          : GOLDEN "whole_words");
        mc_encoding own = {0};
        assert_int_equal(
            mc_tokenizer_encode(tokenizer, text, sizeof text - 1, NULL, 0, 0, &both, NULL), MC_OK);
        assert_int_equal(
            mc_tokenizer_encode(tokenizer, text, sizeof text - 1, NULL, 0, 0, &own, NULL), MC_OK);
        assert_int_equal(own.count, both.count);
        assert_memory_equal(own.ids, both.ids, own.count * sizeof *own.ids);
        mc_encoding_free(&own);
        mc_tokenizer_close(tokenizer);
    }
    mc_encoding_free(&both);
}

enum { THREADS = 4, ROUNDS = 200 };

/* Encodes numbers in words; returns a sum of all ids. */
static void *encode_much(void *argument)
{
    const mc_tokenizer *const tokenizer = argument;
    mc_encoding encoding = {0};
    uint64_t sum = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char text[64];
        const int size = snprintf(text, sizeof text, "\xc3\x89tait %u [SEP] nurses %u", round,
                                  round * 7919);
        if (mc_tokenizer_encode(tokenizer, text, (size_t)size, "a", 1, 16, &encoding, NULL) !=
            MC_OK)
            return NULL;
        for (size_t i = 0; i < encoding.count; i++)
            sum = sum * 31 + (uint64_t)encoding.ids[i];
    }
    mc_encoding_free(&encoding);
    return (void *)(uintptr_t)sum;
}

static void test_threads(void **state)
{
    (void)state;
    for (size_t i = 0; i < FOLDERS; i++) {
        mc_tokenizer *const tokenizer = open_golden(folders[i]);
        void *const expected = encode_much(tokenizer);
        pthread_t threads[THREADS];
        assert_non_null(expected);
        for (size_t k = 0; k < THREADS; k++)
            assert_int_equal(pthread_create(&threads[k], NULL, encode_much, tokenizer), 0);
        for (size_t k = 0; k < THREADS; k++) {
            void *found;
            assert_int_equal(pthread_join(threads[k], &found), 0);
            assert_ptr_equal(found, expected);
        }
        mc_tokenizer_close(tokenizer);
    }
}

static mc_status open_and_encode(const char *folder, mc_error *error)
{
    static const char text[] = "\xc3\x89tait \xe3\x80\xae\xe1\xad\x84 [SEP] \xff left nurses";
    mc_tokenizer *tokenizer = NULL;
    mc_encoding encoding = {0};
    mc_status status = mc_tokenizer_open(folder, &tokenizer, error);
    if (status == MC_OK)
        status = mc_tokenizer_encode(tokenizer, text, sizeof text - 1, "a b", 3, 0, &encoding,
                                     error);
    mc_encoding_free(&encoding);
    mc_tokenizer_close(tokenizer);
    return status;
}

/* Every allocation fails in turn. Those of a vocabulary are many and alike: of them some. */
static void test_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < FOLDERS; i++) {
        mc_error error = MC_ERROR_NONE;
        mc_memory_fail_after(1L << 40);
        assert_int_equal(open_and_encode(folders[i], &error), MC_OK);
        const long all = mc_memory_allocations();
        for (long allowed = 0;
             allowed<all; allowed += allowed> 20 && allowed < all - 200 ? 97 : 1) {
            mc_memory_fail_after(allowed);
            const mc_status status = open_and_encode(folders[i], &error);
            mc_memory_fail_after(-1);
            if (status != MC_NO_MEMORY || error.code != MC_NO_MEMORY)
                fail_msg("after %ld of %ld allocations: expected 'out of memory', found '%s'",
                         allowed, all, error.text);
        }
        mc_memory_fail_after(-1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long), cmocka_unit_test(test_length), cmocka_unit_test(test_reused),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
