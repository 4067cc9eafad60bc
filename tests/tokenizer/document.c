/* tokenizer.json as a document: what is not replaced stays byte for byte. */
#include "tokenizer/document.h"
#include "tokenizer/splice.h"

#include "base/file.h"
#include "base/memory.h"
#include "tokenizer/folder.h"

static char *load(const char *name, size_t *size)
{
    char path[1024], *text = NULL;
    snprintf(path, sizeof path, "%s/tokenizer/%s/tokenizer.json", MC_TEST_DATA, name);
    assert_int_equal(mc_file_load(path, 1 << 24, &text, size, NULL), MC_OK);
    return text;
}

static mc_document *parse(const char *text, size_t size)
{
    mc_document *document = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_document_parse(text, size, &document, &error) != MC_OK)
        fail_msg("%s", error.text);
    return document;
}

static void check_text(const mc_document *document, const char *expected)
{
    size_t size;
    assert_string_equal(mc_document_text(document, &size), expected);
    assert_int_equal(size, strlen(expected));
}

/* ---- splicing -------------------------------------------------------------------------------- */

static void test_splice(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *value, *expected;
    } all[] = {
        {"{\"a\":1,\"b\":[{\"a\":2}]}", "a", "7", "{\"a\":7,\"b\":[{\"a\":2}]}"},
        {" { \"b\" : \"}\\\"\" , \"a\" : { } } ", "a", "[]",
         " { \"b\" : \"}\\\"\" , \"a\" : [] } "},
        {"{\"a\":1,\"a\":2}", "a", "3", "{\"a\":1,\"a\":3}"},
        {"{\"b\":1.50}", "a", "3", "{\"b\":1.50,\n  \"a\": 3}"},
        {"{ }", "a", "3", "{\n  \"a\": 3 }"},
        {"{\"aa\":1}", "a", "3", "{\"aa\":1,\n  \"a\": 3}"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const size_t size = strlen(all[i].text);
        const mc_span root = mc_splice_root(all[i].text, size);
        char *made = NULL;
        assert_int_equal(
            mc_splice_set(all[i].text, size, root, all[i].name, all[i].value, &made, NULL, NULL),
            MC_OK);
        assert_string_equal(made, all[i].expected);
        mc_free(made);
    }
    char *made = NULL;
    assert_int_equal(mc_splice_set("[1]", 3, (mc_span){0, 3}, "a", "1", &made, NULL, NULL),
                     MC_FORMAT);
}

/* ---- documents ------------------------------------------------------------------------------- */

static void test_unchanged(void **state)
{
    (void)state;
    static const char *const names[] = {"uncased", "bert_added", "roberta", "fused", "dropped"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t size, count;
        char *const text = load(names[i], &size);
        mc_document *const document = parse(text, size);
        check_text(document, text);
        const mc_document_token *const tokens = mc_document_tokens(document, &count);
        assert_true(count > 100);
        for (size_t j = 1; j < count; j++)
            assert_true(tokens[j].id > tokens[j - 1].id);
        mc_document_free(document);
        mc_free(text);
    }
}

/* Written anew, a vocabulary says the same: every text has the ids that it had. */
static void check_same_ids(const char *name, const char *text)
{
    size_t size, count, added_count;
    char *const before = load(name, &size);
    mc_document *const document = parse(before, size);
    const mc_document_added *const added = mc_document_added_tokens(document, &added_count);
    mc_document_added *const kept = malloc((added_count + 1) * sizeof *kept);
    assert_non_null(kept);
    for (size_t i = 0; i < added_count; i++) {
        kept[i] = added[i];
        kept[i].text = strdup(added[i].text);
    }
    const mc_document_token *tokens = mc_document_tokens(document, &count);
    kept[added_count] = (mc_document_added){
        .text = "<new\303\251>", .id = tokens[count - 1].id + 1, .special = true};
    assert_int_equal(mc_document_set_added(document, kept, added_count + 1, NULL), MC_OK);
    const folder_file files[] = {{"tokenizer.json", mc_document_text(document, &size)},
                                 {NULL, NULL}},
                      old[] = {{"tokenizer.json", before}, {NULL, NULL}};
    mc_tokenizer *one = NULL, *two = NULL;
    assert_int_equal(folder_open(old, &one, NULL), MC_OK);
    assert_int_equal(folder_open(files, &two, NULL), MC_OK);
    mc_encoding a = {0}, b = {0};
    assert_int_equal(mc_tokenizer_encode(one, text, strlen(text), NULL, 0, 0, &a, NULL), MC_OK);
    assert_int_equal(mc_tokenizer_encode(two, text, strlen(text), NULL, 0, 0, &b, NULL), MC_OK);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.ids, b.ids, a.count * sizeof *a.ids);
    assert_string_equal(mc_tokenizer_token(two, kept[added_count].id), "<new\303\251>");
    mc_encoding_free(&a);
    mc_encoding_free(&b);
    mc_tokenizer_close(one);
    mc_tokenizer_close(two);
    for (size_t i = 0; i < added_count; i++)
        free((char *)(uintptr_t)kept[i].text);
    free(kept);
    mc_document_free(document);
    mc_free(before);
}

static void test_added(void **state)
{
    (void)state;
    check_same_ids("uncased", "Hello [SEP] w\303\266rld, the surgeon slept");
    check_same_ids("bert_added", "Hello left right [SEP] whole wholes");
    check_same_ids("roberta", "Hello w\303\266rld <mask> the surgeon");
}

#define UNIGRAM                                                                                    \
    "{\n  \"version\": \"1.0\",\n  \"added_tokens\": [],\n  \"normalizer\": {\"type\": "           \
    "\"Precompiled\", \"precompiled_charsmap\": \"AA==\"},\n  \"model\": {\n    \"type\": "        \
    "\"Unigram\",\n    \"unk_id\": 0,\n    \"vocab\": %s,\n    \"byte_fallback\": false\n  }\n}"

static void test_unigram(void **state)
{
    (void)state;
    char text[1024], expected[1024];
    size_t count;
    snprintf(text, sizeof text, UNIGRAM, "[[\"<unk>\", 0.0], [\"\342\226\201a\", -2.50]]");
    mc_document *const document = parse(text, strlen(text));
    assert_string_equal(mc_document_model(document), "Unigram");
    const mc_document_token *const tokens = mc_document_tokens(document, &count);
    assert_int_equal(count, 2);
    assert_string_equal(tokens[1].text, "\342\226\201a");
    assert_true(tokens[1].score == -2.5);
    const mc_document_token more[] = {
        {"<unk>", 0, 0}, {"\342\226\201a", 1, -2.5}, {"b\"", 2, -0.1}};
    assert_int_equal(mc_document_set_vocabulary(document, more, 3, NULL), MC_OK);
    snprintf(expected, sizeof expected, UNIGRAM,
             "[\n      [\n        \"<unk>\",\n        0.0\n      ],\n      [\n        "
             "\"\342\226\201a\",\n        -2.5\n      ],\n      [\n        \"b\\\"\",\n        "
             "-0.1\n      ]\n    ]");
    check_text(document, expected);
    const mc_document_token gap[] = {{"<unk>", 0, 0}, {"a", 2, -1}};
    assert_int_equal(mc_document_set_vocabulary(document, gap, 2, NULL), MC_USAGE);
    check_text(document, expected);
    mc_document_free(document);
}

#define BPE_TEXT                                                                                   \
    "{\"decoder\":{\"x\":1.50},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"  \
    "\"merges\":[\"a b\"]},\"added_tokens\":[]}"

static void test_refused(void **state)
{
    (void)state;
    mc_document *const document = parse(BPE_TEXT, strlen(BPE_TEXT));
    mc_error error = MC_ERROR_NONE;
    const mc_document_token reordered[] = {{"ab", 0, 0}, {"b", 1, 0}, {"a", 2, 0}, {"c", 3, 0}};
    const mc_document_token twice[] = {{"a", 0, 0}, {"b", 1, 0}, {"ab", 1, 0}};
    const mc_document_token same[] = {{"a", 0, 0}, {"b", 1, 0}, {"a", 2, 0}};
    const mc_document_token missing[] = {{"a", 0, 0}, {"ab", 1, 0}};
    assert_int_equal(mc_document_set_vocabulary(document, twice, 3, &error), MC_USAGE);
    assert_string_equal(error.text, "id 1 belongs to two tokens, 'ab' and 'b'");
    assert_int_equal(mc_document_set_vocabulary(document, same, 3, &error), MC_USAGE);
    assert_int_equal(mc_document_set_vocabulary(document, missing, 2, &error), MC_MISMATCH);
    assert_string_equal(error.text,
                        "merge 0: expected its tokens in the new vocabulary, found no 'b'");
    const mc_document_added pair[] = {{.text = "x", .id = 3}, {.text = "x", .id = 4}};
    const mc_document_added taken[] = {{.text = "x", .id = 2}};
    const mc_document_added moved[] = {{.text = "a", .id = 5}};
    assert_int_equal(mc_document_set_added(document, pair, 2, &error), MC_USAGE);
    assert_string_equal(error.text, "added token 'x' appears twice");
    assert_int_equal(mc_document_set_added(document, taken, 1, &error), MC_USAGE);
    assert_int_equal(mc_document_set_added(document, moved, 1, &error), MC_USAGE);
    check_text(document, BPE_TEXT);
    assert_int_equal(mc_document_set_vocabulary(document, reordered, 4, &error), MC_OK);
    check_text(document, "{\"decoder\":{\"x\":1.50},\"model\":{\"type\":\"BPE\",\"vocab\":{\n      "
                         "\"ab\": 0,\n      \"b\": 1,\n      \"a\": 2,\n      \"c\": 3\n    },"
                         "\"merges\":[\"a b\"]},\"added_tokens\":[]}");
    mc_document_free(document);
}

static void test_broken(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mc_status status;
        const char *said;
    } all[] = {
        {"", MC_FORMAT, "not valid JSON"},
        {"[]", MC_FORMAT, "expected an object 'model'"},
        {"{\"model\":{\"type\":\"Magic\"}}", MC_UNSUPPORTED, "model 'Magic'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[]}}", MC_FORMAT, "expected a vocabulary"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}}}", MC_FORMAT, "expected an id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":1}}}", MC_FORMAT, "two tokens"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", MC_FORMAT, "a score"},
        {"{\"model\":{\"vocab\":{\"a\":1}},\"added_tokens\":{}}", MC_FORMAT, "expected a list"},
        {"{\"model\":{\"vocab\":{\"a\":1}},\"added_tokens\":[{\"id\":2}]}", MC_FORMAT, "'content'"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        mc_document *document = NULL;
        mc_error error = MC_ERROR_NONE;
        const mc_status status = mc_document_parse(all[i].text, strlen(all[i].text), &document,
                                                   &error);
        if (status != all[i].status || !strstr(error.text, all[i].said))
            fail_msg("%s: expected '%s', found %d, '%s'", all[i].text, all[i].said, (int)status,
                     error.text);
        assert_null(document);
    }
}

/* Every allocation fails in turn. */
static void test_memory(void **state)
{
    (void)state;
    const mc_document_added new_token = {.text = "x", .id = 3};
    mc_status status = MC_NO_MEMORY;
    for (long failures = 0; status == MC_NO_MEMORY; failures++) {
        mc_document *document = NULL;
        mc_memory_fail_after(failures);
        status = mc_document_parse(BPE_TEXT, strlen(BPE_TEXT), &document, NULL);
        if (status == MC_OK)
            status = mc_document_set_added(document, &new_token, 1, NULL);
        mc_memory_fail_after(-1);
        mc_document_free(document);
    }
    assert_int_equal(status, MC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splice),  cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_added),   cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_broken),
        cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
