/* Vocabularies of each kind of file that lists one, and of files that contradict each other. */
#include "tokenizer/document_files.h"

#include "base/memory.h"
#include "tokenizer/folder.h"

static mc_document_file file_of(const char *text)
{
    return text ? (mc_document_file){mc_strdup(text), strlen(text)} : (mc_document_file){0};
}

typedef struct texts {
    const char *tokenizer, *vocab_txt, *vocab_json, *config, *added;
} texts;

static mc_document_files files_of(texts t)
{
    return (mc_document_files){file_of(t.tokenizer), file_of(t.vocab_txt), file_of(t.vocab_json),
                               file_of(t.config), file_of(t.added)};
}

static mc_document *document_of(texts t, bool expect_own)
{
    mc_document_files files = files_of(t);
    mc_document *document = NULL;
    mc_error error = MC_ERROR_NONE;
    bool own = !expect_own;
    if (mc_document_of_files(&files, &document, &own, &error) != MC_OK)
        fail_msg("%s", error.text);
    assert_true(own == expect_own);
    mc_document_files_free(&files);
    return document;
}

/* "a 0, b 1": all tokens in their order, an added one with +. */
static void check_tokens(mc_document *document, const char *expected)
{
    char found[512] = "";
    size_t count;
    assert_non_null(document);
    const mc_document_token *const tokens = mc_document_tokens(document, &count);
    for (size_t i = 0; i < count; i++)
        snprintf(found + strlen(found), 64, "%s%s%s %d", i ? ", " : "",
                 mc_document_find_added(document, tokens[i].text) ? "+" : "", tokens[i].text,
                 tokens[i].id);
    assert_string_equal(found, expected);
    mc_document_free(document);
}

static void check_error(texts t, const char *file, const char *part)
{
    mc_document_files files = files_of(t);
    mc_document *document = NULL;
    mc_error error = MC_ERROR_NONE;
    bool own;
    assert_int_equal(mc_document_of_files(&files, &document, &own, &error), MC_FORMAT);
    assert_null(document);
    assert_string_equal(error.file, file);
    if (!strstr(error.text, part))
        fail_msg("expected an error with \"%s\", found \"%s\"", part, error.text);
    mc_document_files_free(&files);
}

#define WORDS "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0, \"b\": 1}}}"

static void test_kinds(void **state)
{
    (void)state;
    check_tokens(document_of((texts){.tokenizer = WORDS}, true), "a 0, b 1");
    /* The first of the three files counts. */
    check_tokens(
        document_of((texts){.tokenizer = WORDS, .vocab_txt = "x", .vocab_json = "{}"}, true),
        "a 0, b 1");
    check_tokens(document_of((texts){.vocab_json = "{\"b\": 1, \"a\": 0}"}, false), "a 0, b 1");
    /* Line ends of Windows, an empty line, a line that repeats, no end of the last line. */
    check_tokens(document_of((texts){.vocab_txt = "[PAD]\r\na\n\"\\\na\nlast"}, false),
                 "[PAD] 0, a 1, \"\\ 2, last 4");
    assert_null(document_of((texts){0}, false));
    assert_null(document_of((texts){.added = "{\"c\": 2}"}, false));
}

static void test_other_files(void **state)
{
    (void)state;
    const char *const decoder = "{\"added_tokens_decoder\": {"
                                "\"3\": {\"content\": \"d\", \"special\": true, \"lstrip\": true},"
                                "\"2\": {\"content\": \"c\"},"
                                "\"1\": {\"content\": \"b\"}, \"0\": {\"content\": \"other\"},"
                                "\"9\": {}, \"-1\": {\"content\": \"negative\"}}}";
    mc_document *const d = document_of((texts){.tokenizer = WORDS, .config = decoder}, true);
    const mc_document_added *const token = mc_document_find_added(d, "d");
    assert_true(token && token->special && token->left_strip && !token->normalized);
    check_tokens(d, "a 0, b 1, +c 2, +d 3");
    /* Only one of the two files is read. */
    check_tokens(document_of((texts){.vocab_txt = "a\nb",
                                     .config = "{\"added_tokens_decoder\": "
                                               "{}}",
                                     .added = "{\"c\": 2}"},
                             false),
                 "a 0, b 1");
    mc_document *const plain = document_of(
        (texts){.vocab_txt = "a\nb",
                .config = "{}",
                .added = "{\"d\": 3, \"c\": 2, \"a\": 7, \"x\": 1, \"n\": null}"},
        false);
    assert_true(mc_document_find_added(plain, "c")->normalized);
    check_tokens(plain, "a 0, b 1, +c 2, +d 3");
}

static void test_errors(void **state)
{
    (void)state;
    check_error((texts){.tokenizer = "{"}, "tokenizer.json", "not valid JSON");
    check_error((texts){.vocab_json = "{\"a\": 0"}, "vocab.json", "not valid JSON");
    check_error((texts){.vocab_json = "{\"a\": 0}, \"b\": {}"}, "vocab.json", "not valid JSON");
    check_error((texts){.vocab_json = "{\"a\": -1}"}, "vocab.json", "token 'a'");
    check_error((texts){.vocab_json = "{\"a\": 0, \"b\": 0}"}, "vocab.json", "two tokens");
    check_error((texts){.vocab_txt = "a\n\xff"}, "vocab.txt", "UTF-8");
    check_error((texts){.tokenizer = WORDS, .config = "["}, "tokenizer_config.json", "JSON");
    check_error((texts){.tokenizer = WORDS, .added = "{"}, "added_tokens.json", "JSON");
    check_error((texts){.tokenizer = WORDS,
                        .config = "{\"added_tokens_decoder\": {\"2\": "
                                  "{\"content\": \"c\"}, \"3\": {\"content\": "
                                  "\"c\"}}}"},
                "", "'c'");
}

static uint64_t key_of(texts t)
{
    mc_document_files files = files_of(t);
    const uint64_t key = mc_document_files_key(&files);
    mc_document_files_free(&files);
    return key;
}

/* Equal for files that list the same vocabulary, whatever else the configuration has. */
static void test_key(void **state)
{
    (void)state;
    const char *const decoder = "{\"added_tokens_decoder\": {\"2\": {\"content\": \"c\"}}}";
    const uint64_t key = key_of((texts){.tokenizer = WORDS, .config = "{}"});
    assert_true(key == key_of((texts){.tokenizer = WORDS}));
    assert_true(key == key_of((texts){.tokenizer = WORDS, .config = "{\"chat_template\": \"x\"}"}));
    assert_false(key == key_of((texts){.tokenizer = WORDS " "}));
    assert_false(key == key_of((texts){.vocab_txt = WORDS}));
    assert_false(key == key_of((texts){.tokenizer = WORDS, .config = decoder}));
    assert_false(key == key_of((texts){.tokenizer = WORDS, .added = "{\"c\": 2}"}));
    assert_false(key == key_of((texts){.tokenizer = WORDS, .config = "no JSON"}));
    /* added_tokens.json is not read beside a decoder. */
    assert_true(key_of((texts){.tokenizer = WORDS, .config = decoder}) ==
                key_of((texts){.tokenizer = WORDS, .config = decoder, .added = "{\"c\": 2}"}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds),
                                       cmocka_unit_test(test_other_files),
                                       cmocka_unit_test(test_errors), cmocka_unit_test(test_key)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
