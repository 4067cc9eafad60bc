/* The files of a tokenizer: what is taken from each, and what is said of those that are broken. */
#include "tokenizer/folder.h"

#define BERT_VOCAB "\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"a\":4,\"##b\":5,\"B\":6"
#define BERT(normalizer_, model_, rest_)                                                           \
    "{\"normalizer\":" normalizer_ ",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"           \
    "\"model\":{" model_ "}" rest_ "}"
#define WORDPIECE(vocab_)                                                                          \
    "\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","         \
    "\"max_input_chars_per_word\":100,\"vocab\":{" vocab_ "}"
#define BPE(vocab_, merges_, rest_)                                                                \
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":"  \
    "\"BPE\","                                                                                     \
    "\"vocab\":{" vocab_ "},\"merges\":[" merges_ "]" rest_ "}}"
#define ADDED(tokens_) ",\"added_tokens\":[" tokens_ "]"
#define GOOD BERT("null", WORDPIECE(BERT_VOCAB), "")

typedef struct bad_json {
    const char *text;
    mc_status status;
    const char *said; /* a part of the error */
} bad_json;

static const bad_json bad[] = {
    {"", MC_FORMAT, "not valid JSON"},
    {"[]", MC_FORMAT, "expected a JSON object"},
    {"{}", MC_FORMAT, "expected an object 'model', found none"},
    {"{\"model\":{\"type\":\"Unigram\"}}", MC_UNSUPPORTED, "model 'Unigram' is not supported"},
    {BERT("{\"type\":\"NFC\"}", WORDPIECE(BERT_VOCAB), ""), MC_UNSUPPORTED,
     "normalizer 'NFC' is not supported"},
    {BERT("{\"type\":\"BertNormalizer\",\"lowercase\":1}", WORDPIECE(BERT_VOCAB), ""), MC_FORMAT,
     "'lowercase': expected true or false"},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{" WORDPIECE(BERT_VOCAB) "}}",
     MC_UNSUPPORTED, "pre_tokenizer 'Whitespace' is not supported"},
    {BERT("null", WORDPIECE(""), ""), MC_FORMAT, "expected a vocabulary"},
    {BERT("null", WORDPIECE(BERT_VOCAB ",\"c\":6"), ""), MC_FORMAT,
     "id 6 belongs to two tokens, 'B' and 'c'"},
    {BERT("null", WORDPIECE(BERT_VOCAB ",\"c\":-7"), ""), MC_FORMAT,
     "token 'c': expected an id of 0 to 4194303, found -7"},
    {BERT("null", WORDPIECE(BERT_VOCAB ",\"c\":4194304"), ""), MC_FORMAT,
     "token 'c': expected an id of 0 to 4194303, found 4194304"},
    {BERT("null", WORDPIECE("\"a\":0"), ""), MC_FORMAT,
     "unk_token '[UNK]' is not in the vocabulary"},
    {BERT("null", WORDPIECE(BERT_VOCAB), ADDED("{\"id\":8,\"content\":\"x\"}")), MC_FORMAT,
     "added token 'x': expected id 7, found 8"},
    {BERT("null", WORDPIECE(BERT_VOCAB),
          ADDED("{\"id\":4,\"content\":\"a\"},{\"id\":4,\"content\":\"a\"}")),
     MC_FORMAT, "added token 'a' appears twice"},
    {BERT("{\"type\":\"BertNormalizer\"}", WORDPIECE(BERT_VOCAB),
          ADDED("{\"id\":7,\"content\":\"\\u0301\",\"normalized\":true}")),
     MC_UNSUPPORTED, "nothing is left of the added token"},
    {BERT("null", WORDPIECE(BERT_VOCAB), ",\"post_processor\":{\"type\":\"Other\"}"),
     MC_UNSUPPORTED, "post_processor 'Other' is not supported"},
    {BERT("null", WORDPIECE(BERT_VOCAB),
          ",\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",77],\"cls\":[\"y\",1]}"),
     MC_FORMAT, "expected ids of tokens, found 77, which none has"},
    {BPE("\"a\":0,\"b\":1", "\"a b\"", ""), MC_FORMAT, "merge 0: 'ab' is not in the vocabulary"},
    {BPE("\"a\":0,\"ab\":1", "\"a b\"", ""), MC_FORMAT, "merge 0: 'b' is not in the vocabulary"},
    {BPE("\"a\":0", "\"a\"", ""), MC_FORMAT, "merge 0: expected two tokens and a blank, found 'a'"},
    {BPE("\"a\":0", "", ",\"byte_fallback\":true"), MC_UNSUPPORTED, "'byte_fallback'"},
    {BPE("\"a\":0", "", ",\"dropout\":0.1"), MC_UNSUPPORTED, "'dropout'"},
    {BPE("\"a\":0", "", ",\"end_of_word_suffix\":\"</w>\""), MC_UNSUPPORTED,
     "'end_of_word_suffix'"},
};

static void test_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const folder_file files[] = {{"tokenizer.json", bad[i].text}, {NULL, NULL}};
        mc_tokenizer *tokenizer = NULL;
        mc_error error = MC_ERROR_NONE;
        const mc_status status = folder_open(files, &tokenizer, &error);
        if (status != bad[i].status || error.code != status || !strstr(error.text, bad[i].said) ||
            !strstr(error.file, "tokenizer.json"))
            fail_msg("%s: expected %d, '%s', found %d, '%s' in '%s'", bad[i].text,
                     (int)bad[i].status, bad[i].said, (int)status, error.text, error.file);
        assert_null(tokenizer);
    }
}

static void test_no_files(void **state)
{
    (void)state;
    const folder_file none[] = {{NULL, NULL}}, half[] = {{"vocab.json", "{}"}, {NULL, NULL}};
    mc_tokenizer *tokenizer = NULL;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(folder_open(none, &tokenizer, &error), MC_NOT_FOUND);
    assert_non_null(strstr(error.text, "expected a tokenizer"));
    assert_int_equal(folder_open(half, &tokenizer, &error), MC_NOT_FOUND);
}

/* Ids may have holes, in a vocabulary as in what is said of it. */
static void test_holes(void **state)
{
    (void)state;
    const folder_file files[] = {
        {"tokenizer.json", BERT("null", WORDPIECE(BERT_VOCAB ",\"c\":70"), "")}, {NULL, NULL}};
    mc_tokenizer *tokenizer = NULL;
    assert_int_equal(folder_open(files, &tokenizer, NULL), MC_OK);
    assert_int_equal(mc_tokenizer_vocabulary_size(tokenizer), 71);
    assert_null(mc_tokenizer_token(tokenizer, 69));
    assert_string_equal(mc_tokenizer_token(tokenizer, 70), "c");
    assert_string_equal(mc_tokenizer_token(tokenizer, 5), "##b");
    assert_null(mc_tokenizer_token(tokenizer, 71));
    assert_null(mc_tokenizer_token(tokenizer, -1));
    check_ids(tokenizer, "ab c b", NULL, 0, "4 5 70 1", "0 0 0 0");
    check_ids(tokenizer, "a", "c", 0, "4 70", "0 1");
    mc_tokenizer_close(tokenizer);
}

/* tokenizer.json comes first, whatever else is there. */
static void test_order(void **state)
{
    (void)state;
    const folder_file files[] = {
        {"tokenizer.json", GOOD}, {"vocab.txt", "[UNK]\n"}, {"vocab.json", "{}"}, {NULL, NULL}};
    mc_tokenizer *tokenizer = NULL;
    assert_int_equal(folder_open(files, &tokenizer, NULL), MC_OK);
    check_ids(tokenizer, "a", NULL, 0, "4", "0");
    mc_tokenizer_close(tokenizer);
}

static void test_vocab_txt(void **state)
{
    (void)state;
    const folder_file plain[] = {{"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\nB"},
                                 {NULL, NULL}};
    const folder_file cased[] = {
        {"vocab.txt", "<pad>\r\n<unk>\r\n<cls>\r\n<sep>\r\na\r\n##b\r\nB\r\n"},
        {"tokenizer_config.json",
         "{\"do_lower_case\":false,\"tokenizer_class\":\"BertTokenizer\",\"unk_token\":\"<unk>\","
         "\"model_max_length\":1000000000000000019884624838656}"},
        {"special_tokens_map.json",
         "{\"cls_token\":{\"content\":\"<cls>\"},\"sep_token\":\"<sep>\"}"},
        {"added_tokens.json", "{\"more\":7}"},
        {NULL, NULL}};
    mc_tokenizer *tokenizer = NULL;
    assert_int_equal(folder_open(plain, &tokenizer, NULL), MC_OK);
    check_ids(tokenizer, "AB [SEP]", "\303\241", 0, "2 4 5 3 3 4 3", "0 0 0 0 0 1 1");
    assert_int_equal(mc_tokenizer_max_length(tokenizer), 0);
    mc_tokenizer_close(tokenizer);
    assert_int_equal(folder_open(cased, &tokenizer, NULL), MC_OK);
    check_ids(tokenizer, "Bb A<sep>moreab", NULL, 0, "2 6 5 1 3 7 4 5 3", NULL);
    assert_int_equal(mc_tokenizer_max_length(tokenizer), 0);
    mc_tokenizer_close(tokenizer);
}

static void test_bad_vocab_txt(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"", "{}", "expected tokens, one per line, found none"},
        {"[UNK]\n[CLS]\n[SEP]\n[UNK]\n", "{}", "token '[UNK]' appears twice, with ids 0 and 3"},
        {"[UNK]\n\377\n", "{}", "expected text in UTF-8"},
        {"[UNK]\n", "{}", "cls_token '[CLS]' is not in the vocabulary"},
        {"[UNK]\n", "{\"tokenizer_class\":\"PhobertTokenizer\"}", "found 'PhobertTokenizer'"},
        {"[UNK]\n", "[]", "expected a JSON object"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const folder_file files[] = {
            {"vocab.txt", cases[i][0]}, {"tokenizer_config.json", cases[i][1]}, {NULL, NULL}};
        mc_tokenizer *tokenizer = NULL;
        mc_error error = MC_ERROR_NONE;
        assert_int_not_equal(folder_open(files, &tokenizer, &error), MC_OK);
        if (!strstr(error.text, cases[i][2]))
            fail_msg("expected '%s', found '%s'", cases[i][2], error.text);
    }
}

static void test_vocab_json(void **state)
{
    (void)state;
    static const char vocab[] =
        "{\"<s>\":0,\"<pad>\":1,\"</s>\":2,\"<unk>\":3,\"<mask>\":4,\"a\":5,"
        "\"b\":6,\"\304\240\":7,\"ab\":8,\"\304\240a\":9}";
    const folder_file files[] = {
        {"vocab.json", vocab},
        {"merges.txt", "#version: 0.2\na b\n\304\240 a\n"},
        {"tokenizer_config.json",
         "{\"model_max_length\":512,\"truncation_side\":\"left\",\"added_tokens_decoder\":"
         "{\"10\":{\"content\":\"new\"},\"0\":{\"content\":\"<s>\",\"special\":true}}}"},
        {NULL, NULL}};
    const folder_file wrong[] = {{"vocab.json", vocab}, {"merges.txt", "a b\na c\n"}, {NULL, NULL}};
    mc_tokenizer *tokenizer = NULL;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(folder_open(files, &tokenizer, &error), MC_OK);
    assert_int_equal(mc_tokenizer_max_length(tokenizer), 512);
    assert_int_equal(mc_tokenizer_vocabulary_size(tokenizer), 11);
    check_ids(tokenizer, "ab a ba  <mask>new", "a", 0, "0 8 9 7 6 5 7 7 4 10 2 2 5 2",
              "0 0 0 0 0 0 0 0 0 0 0 0 0 0");
    check_ids(tokenizer, "ab a b", NULL, 4, "0 7 6 2", NULL);
    mc_tokenizer_close(tokenizer);
    assert_int_equal(folder_open(wrong, &tokenizer, &error), MC_FORMAT);
    assert_string_equal(error.text, "merge 1: 'c' is not in the vocabulary");
    assert_non_null(strstr(error.file, "merges.txt"));
}

/* ---- what tokenizer_config.json changes ------------------------------------------------------ */

#define LOWERED "{\"type\":\"BertNormalizer\",\"lowercase\":true}"
#define BERT_CLASS "\"tokenizer_class\":\"BertTokenizer\""

/* The ids that a folder's tokenizer gives a text; the files end with tokenizer.json. */
typedef struct config_case {
    const char *config, *special_map, *added; /* NULL: the file is missing */
    const char *text, *ids;
} config_case;

/* A class builds the tokenizer from its settings; without one, it is what tokenizer.json says. */
static void test_config_over_json(void **state)
{
    (void)state;
    static const config_case all[] = {
        {NULL, NULL, NULL, "B a", "1 4"},
        {"{}", NULL, NULL, "B a", "1 4"},
        {"{\"do_lower_case\":false}", NULL, NULL, "B a", "1 4"},
        {"{" BERT_CLASS "}", NULL, NULL, "B a", "2 1 4 3"},
        {"{" BERT_CLASS ",\"do_lower_case\":false}", NULL, NULL, "B a", "2 6 4 3"},
        {"{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"do_lower_case\":false}", NULL, NULL,
         "B a", "1 4"},
        {"{" BERT_CLASS ",\"strip_accents\":false}", NULL, NULL, "\303\241", "2 1 3"},
        {"{" BERT_CLASS "}", NULL, NULL, "\303\241", "2 4 3"},
        {"{" BERT_CLASS "}", NULL, "{\"new\":7}", "anewa", "2 4 7 4 3"},
        {"{" BERT_CLASS "}", "{\"additional_special_tokens\":[\"new\"]}", NULL, "a new", "2 4 7 3"},
        {"{" BERT_CLASS ",\"extra_special_tokens\":[\"new\"]}", NULL, NULL, "a new", "2 4 7 3"},
        {"{" BERT_CLASS ",\"image_token\":\"new\"}", NULL, NULL, "a new", "2 4 7 3"},
        {"{" BERT_CLASS ",\"added_tokens_decoder\":{\"7\":{\"content\":\"new\"}}}",
         "{\"additional_special_tokens\":[\"a\"]}", "{\"x\":9}", "a new x", "2 4 7 1 3"},
        {"{" BERT_CLASS "}", "{\"sep_token\":\"[PAD]\"}", NULL, "a", "2 4 0"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        folder_file files[5] = {{"tokenizer.json", BERT(LOWERED, WORDPIECE(BERT_VOCAB), "")}};
        size_t count = 1;
        if (all[i].config)
            files[count++] = (folder_file){"tokenizer_config.json", all[i].config};
        if (all[i].special_map)
            files[count++] = (folder_file){"special_tokens_map.json", all[i].special_map};
        if (all[i].added)
            files[count++] = (folder_file){"added_tokens.json", all[i].added};
        mc_tokenizer *tokenizer = NULL;
        mc_error error = MC_ERROR_NONE;
        if (folder_open(files, &tokenizer, &error) != MC_OK)
            fail_msg("case %zu: %s", i, error.text);
        check_ids(tokenizer, all[i].text, NULL, 0, all[i].ids, NULL);
        mc_tokenizer_close(tokenizer);
    }
}

/* Without tokenizer_class the model's type decides. */
static void test_class_of_model(void **state)
{
    (void)state;
    const folder_file files[] = {{"tokenizer.json", BERT(LOWERED, WORDPIECE(BERT_VOCAB), "")},
                                 {"tokenizer_config.json", "{\"do_lower_case\":false}"},
                                 {"config.json", "{\"model_type\":\"distilbert\"}"},
                                 {NULL, NULL}};
    const folder_file wrong[] = {{"tokenizer.json", BERT("null", WORDPIECE(BERT_VOCAB), "")},
                                 {"config.json", "{\"model_type\":\"roberta\"}"},
                                 {NULL, NULL}};
    mc_tokenizer *tokenizer = NULL;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(folder_open(files, &tokenizer, NULL), MC_OK);
    check_ids(tokenizer, "B a", NULL, 0, "2 6 4 3", NULL);
    mc_tokenizer_close(tokenizer);
    assert_int_equal(folder_open(wrong, &tokenizer, &error), MC_UNSUPPORTED);
    assert_string_equal(error.text, "expected a model 'BPE' for tokenizer_class "
                                    "'RobertaTokenizer', found 'WordPiece'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken),        cmocka_unit_test(test_no_files),
        cmocka_unit_test(test_holes),         cmocka_unit_test(test_order),
        cmocka_unit_test(test_vocab_txt),     cmocka_unit_test(test_bad_vocab_txt),
        cmocka_unit_test(test_vocab_json),    cmocka_unit_test(test_config_over_json),
        cmocka_unit_test(test_class_of_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
