/* Unions of tokenizers: which tokens, in which order, with which ids in each model. */
#include "tokenizer/union.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BPE(vocab_, added_)                                                                        \
    "{\"decoder\":{\"type\":\"X\"},\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab_                 \
    "},\"merges\":[\"a b\"]},\"added_tokens\":[" added_ "]}"
#define BASE BPE("\"a\":0,\"b\":1,\"ab\":2", "{\"id\":3,\"content\":\"<s>\",\"special\":true}")
/* In another order, with a token of its own, and added tokens. */
#define MOVED                                                                                      \
    BPE("\"ab\":0,\"a\":1,\"c\":2,\"b\":3",                                                        \
        "{\"id\":4,\"content\":\"<s>\",\"special\":true,\"lstrip\":true},"                         \
        "{\"id\":5,\"content\":\"<chat>\",\"special\":true}")
/* Without <s>; what is added there is ordinary in MOVED; the last id has no row. */
#define SMALL                                                                                      \
    BPE("\"a\":0,\"b\":1,\"ab\":2",                                                                \
        "{\"id\":3,\"content\":\"c\",\"rstrip\":true},{\"id\":4,\"content\":\"<x>\"}")

static mc_document *parse(const char *text)
{
    mc_document *document = NULL;
    assert_int_equal(mc_document_parse(text, strlen(text), &document, NULL), MC_OK);
    return document;
}

static void check_map(const mc_union *united, size_t model, const int32_t *expected)
{
    for (size_t i = 0; i < united->count; i++)
        assert_int_equal(united->ids[model][i], expected[i]);
}

/* The union's text lists the tokens that the union has. */
static void check_text(const mc_union *united)
{
    size_t size, count, again;
    const char *const text = mc_document_text(united->document, &size);
    mc_document *const parsed = parse(text);
    const mc_document_token *const left = mc_document_tokens(united->document, &count);
    const mc_document_token *const right = mc_document_tokens(parsed, &again);
    assert_int_equal(strlen(text), size);
    assert_int_equal(count, again);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(left[i].text, right[i].text);
        assert_int_equal(left[i].id, right[i].id);
        assert_int_equal(mc_document_find(united->document, right[i].text), right[i].id);
    }
    const mc_document_added *const one = mc_document_added_tokens(united->document, &count);
    const mc_document_added *const other = mc_document_added_tokens(parsed, &again);
    assert_int_equal(count, again);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(one[i].text, other[i].text);
        assert_int_equal(one[i].in_vocabulary, other[i].in_vocabulary);
        assert_int_equal(one[i].special, other[i].special);
        assert_ptr_equal(mc_document_find_added(united->document, other[i].text), &one[i]);
    }
    mc_document_free(parsed);
}

/* A base that lists an added token twice, one without a list, and tokens of a vocabulary. */
static void test_texts(void **state)
{
    static const char *const bases[] = {
        BPE("\"a\":0,\"b\":1,\"ab\":2",
            "{\"id\":3,\"content\":\"<s>\"},{\"id\":3,\"content\":\"<s>\",\"special\":true},"
            "{\"id\":1,\"content\":\"b\"}"),
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"c\":7}}}"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const mc_union_input inputs[] = {
            {parse(bases[i]), 0}, {parse(SMALL), 0}, {parse(MOVED), 0}};
        mc_union *united = NULL;
        assert_int_equal(mc_union_new(inputs, 3, &(mc_union_options){.base = 0}, &united, NULL),
                         MC_OK);
        assert_non_null(united->made);
        check_text(united);
        mc_union_free(united);
        for (size_t k = 0; k < 3; k++)
            mc_document_free((mc_document *)(uintptr_t)inputs[k].document);
    }
}

static void test_union(void **state)
{
    (void)state;
    const mc_union_input inputs[] = {{parse(MOVED), 0}, {parse(BASE), 8}, {parse(SMALL), 4}};
    mc_union *united = NULL;
    size_t count;
    assert_int_equal(mc_union_new(inputs, 3, &(mc_union_options){.base = 1}, &united, NULL), MC_OK);
    static const char *const texts[] = {"a", "b", "ab", "<s>", "c", "<chat>"};
    const mc_document_token *const tokens = mc_document_tokens(united->document, &count);
    assert_int_equal(count, 6);
    assert_int_equal(united->count, 6);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(tokens[i].text, texts[i]);
        assert_int_equal(tokens[i].id, i);
    }
    check_map(united, 0, (const int32_t[]){1, 3, 0, 4, 2, 5});
    check_map(united, 1, (const int32_t[]){0, 1, 2, 3, -1, -1});
    check_map(united, 2, (const int32_t[]){0, 1, 2, -1, 3, -1});
    check_text(united);
    assert_int_equal(united->skipped, 1);     /* <x> */
    assert_int_equal(united->conflicting, 2); /* <s> by lstrip, c by rstrip */
    const mc_document_added *const added = mc_document_added_tokens(united->document, &count);
    assert_int_equal(count, 3);
    assert_false(added[0].left_strip);
    assert_true(added[1].normalized && !added[1].special);
    assert_true(added[2].special);
    mc_union_free(united);
    for (size_t i = 0; i < 3; i++)
        mc_document_free((mc_document *)(uintptr_t)inputs[i].document);
}

/* With nothing to add, the base's bytes. */
static void test_same(void **state)
{
    (void)state;
    const mc_union_input inputs[] = {{parse(BASE), 0}, {parse(BASE), 0}};
    mc_union *united = NULL;
    size_t size;
    assert_int_equal(mc_union_new(inputs, 2, &(mc_union_options){.base = 0}, &united, NULL), MC_OK);
    assert_string_equal(mc_document_text(united->document, &size), BASE);
    mc_union_free(united);
    for (size_t i = 0; i < 2; i++)
        mc_document_free((mc_document *)(uintptr_t)inputs[i].document);
}

static void test_refused(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    const mc_union_input input = {parse(BASE), 3};
    mc_union *united = NULL;
    assert_int_equal(mc_union_new(&input, 1, &(mc_union_options){.base = 1}, &united, &error),
                     MC_USAGE);
    assert_int_equal(mc_union_new(&input, 1, &(mc_union_options){.base = 0}, &united, &error),
                     MC_MISMATCH);
    assert_string_equal(error.text, "token '<s>' of the base: expected an id below vocab_size (3), "
                                    "found 3");
    assert_null(united);
    mc_document_free((mc_document *)(uintptr_t)input.document);
}

static void test_memory(void **state)
{
    (void)state;
    const mc_union_input inputs[] = {{parse(BASE), 0}, {parse(MOVED), 0}};
    mc_status status = MC_NO_MEMORY;
    for (long failures = 0; status == MC_NO_MEMORY; failures++) {
        mc_union *united = NULL;
        mc_memory_fail_after(failures);
        status = mc_union_new(inputs, 2, &(mc_union_options){.base = 0}, &united, NULL);
        mc_memory_fail_after(-1);
        mc_union_free(united);
    }
    assert_int_equal(status, MC_OK);
    for (size_t i = 0; i < 2; i++)
        mc_document_free((mc_document *)(uintptr_t)inputs[i].document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_union), cmocka_unit_test(test_texts),
                                       cmocka_unit_test(test_same), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
