/* Chat templates: named ones, that of most models, texts, and the special tokens that they need. */
#include "merge/chat_template.h"

#include "base/error.h"
#include "base/memory.h"
#include "merge/outfit.h"
#include "merge/report.h"
#include "merge/vocabularies.h"

#define CHAT "{\"id\": 2, \"content\": \"<|im_start|>\"}, {\"id\": 3, \"content\": \"<|im_end|>\"}"
#define TEMPLATE(text_) "{\"chat_template\": \"" text_ "\", \"eos_token\": \"b\"}"

static const vocabulary four[] = {
    {"\"a\": 0, \"b\": 1", NULL, 2, 0, TEMPLATE("{{ messages }} one")},
    {"\"a\": 0, \"b\": 1", CHAT, 4, 0, TEMPLATE("{{ messages }} two")},
    {"\"a\": 0, \"b\": 1", NULL, 2, 0,
     "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"{{ messages }} one\"}, "
     "{\"name\": \"default\", \"template\": \"{{ messages }} two\\n\"}]}"},
    {"\"a\": 0, \"b\": 1", NULL, 2, 0, NULL}};

/* Sets a template into the outfit of model `donor`. */
static mc_status set(const models *m, size_t donor, const char *text, bool complete, char **out,
                     mc_error *error)
{
    mc_outfit outfit = {0};
    const mc_chat_template_choice choice = {.text = text,
                                            .models = m->owners,
                                            .count = m->count,
                                            .donor = m->models[donor],
                                            .complete = complete};
    size_t size;
    assert_int_equal(mc_outfit_from_model(m->models[donor], false, &outfit, m->report, error),
                     MC_OK);
    mc_status status = mc_chat_template_set(&choice, &outfit, m->report, error);
    if (out && status == MC_OK)
        status = mc_outfit_text(&outfit, "chat_template.jinja", out, &size, error);
    mc_outfit_free(&outfit);
    return status;
}

static void check_set(const models *m, size_t donor, const char *text, const char *expected)
{
    char *found = NULL;
    assert_done(set(m, donor, text, true, &found, &error));
    if (!found || !strstr(found, expected))
        fail_msg("%s: expected a template with \"%s\", found \"%s\"", text, expected,
                 found ? found : "none");
    mc_free(found);
}

static void test_named(void **state)
{
    (void)state;
    models m = models_new(four, 2);
    check_set(&m, 1, "chatml", "<|im_start|>assistant");
    check_set(&m, 1, "alpaca", "### Response:");
    assert_error(MC_MISMATCH, "'<|im_start|>'", set(&m, 0, "chatml", true, NULL, &error));
    assert_error(MC_MISMATCH, "'<|start_header_id|>'", set(&m, 0, "llama3", true, NULL, &error));
    /* b is the token at the end; that of the beginning has no name. */
    assert_error(MC_MISMATCH, "'bos_token'", set(&m, 0, "mistral", true, NULL, &error));
    assert_error(MC_MISMATCH, "'[|system|]'", set(&m, 0, "exaone", true, NULL, &error));
    assert_done(set(&m, 0, "chatml", false, NULL, &error));
    assert_reported(m.report, "needs the special token '<|im_end|>'");
    assert_error(MC_USAGE, "found 'magic'", set(&m, 0, "magic", true, NULL, &error));
    models_free(&m);
}

/* Blanks at both ends do not count; of equally frequent ones the first wins. */
static void test_auto(void **state)
{
    (void)state;
    models m = models_new(four, 4);
    check_set(&m, 3, "auto", "two");
    m.count = 2;
    check_set(&m, 1, "auto", "one");
    m.count = 4;
    models_free(&m);
    models none = models_new(&four[3], 1);
    assert_done(set(&none, 0, "auto", true, NULL, &error));
    assert_reported(none.report, "no model has a chat template to choose");
    models_free(&none);
}

static void test_texts(void **state)
{
    (void)state;
    models m = models_new(four, 1);
    check_set(&m, 0, "{{ messages }} and {{ eos_token }}", "and {{ eos_token }}");
    assert_error(MC_MISMATCH, "'<|unknown|>'",
                 set(&m, 0, "{{ messages }}<|unknown|>", true, NULL, &error));
    assert_error(MC_USAGE, "expected a template", set(&m, 0, "{{ x }}", true, NULL, &error));
    models_free(&m);
}

/* The template file counts before the configuration; both agree in the result. */
static void test_files(void **state)
{
    (void)state;
    models m = models_new(four, 1);
    mc_outfit outfit = {0};
    char *text = NULL;
    size_t size;
    bool exists = false;
    char *const path = path_of(m.folder, "m0");
    assert_done(mc_chat_template_of(&m.owners[0], &text, &error));
    assert_string_equal(text, "{{ messages }} one");
    mc_free(text);
    write_text(path, "chat_template.jinja", "of the file");
    assert_done(mc_chat_template_of(&m.owners[0], &text, &error));
    assert_string_equal(text, "of the file");
    mc_free(text);
    assert_done(mc_chat_template_exists(&m.owners[0], &exists, &error));
    assert_true(exists);
    assert_done(mc_outfit_from_model(m.models[0], false, &outfit, m.report, &error));
    const mc_chat_template_choice choice = {.text = "{{ messages }} \"new\"",
                                            .models = m.owners,
                                            .count = 1,
                                            .donor = m.models[0],
                                            .complete = true};
    assert_done(mc_chat_template_set(&choice, &outfit, m.report, &error));
    assert_done(mc_outfit_text(&outfit, "tokenizer_config.json", &text, &size, &error));
    assert_string_equal(text, TEMPLATE("{{ messages }} \\\"new\\\""));
    mc_free(text);
    mc_outfit_free(&outfit);
    write_text(path, "tokenizer_config.json", "{");
    write_text(path, "chat_template.jinja", "");
    char *const file = path_of(path, "chat_template.jinja");
    assert_int_equal(remove(file), 0);
    assert_error(MC_FORMAT, "tokenizer_config.json",
                 mc_chat_template_of(&m.owners[0], &text, &error));
    free(file);
    free(path);
    models_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_named), cmocka_unit_test(test_auto),
                                       cmocka_unit_test(test_texts), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
