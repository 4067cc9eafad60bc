/* Models whose configurations or vocabularies differ at equal shapes. */
#include "merge/fixtures.h"

#include "merge/agreement.h"
#include "merge/report.h"

/* Two models of one tensor; `config` and one more file each. */
typedef struct pair {
    char *folder;
    mc_model *models[2];
    mc_report *report;
} pair;

static pair pair_new(const char *file, const char *first, const char *second)
{
    pair p = {.folder = temporary_folder()};
    const char *const texts[] = {first, second};
    for (int i = 0; i < 2; i++) {
        char name[] = {'m', (char)('0' + i), 0};
        mc_state_dict *const dict = dict_new();
        dict_add_floats(dict, "w", 1);
        save_model(p.folder, name, dict);
        char *const path = path_of(p.folder, name);
        write_text(path, "config.json", "{}");
        write_text(path, file, texts[i]);
        free(path);
        p.models[i] = open_model(p.folder, name);
    }
    assert_done(mc_report_new(&p.report, &error));
    return p;
}

static void pair_free(pair *p)
{
    mc_report_free(p->report);
    mc_model_close(p->models[0]);
    mc_model_close(p->models[1]);
    remove_temporary(p->folder);
}

/* Expects a line of the report with this in it, and an error under strict; NULL: neither. */
static void assert_configs(const char *first, const char *second, const char *line)
{
    pair p = pair_new("config.json", first, second);
    const mc_model *const *const models = (const mc_model *const *)p.models;
    assert_done(mc_agree_on_configs(models, 2, models[1], false, false, p.report, &error));
    if (line) {
        assert_int_equal(mc_report_count(p.report), 1);
        assert_reported(p.report, line);
        assert_error(MC_MISMATCH, line,
                     mc_agree_on_configs(models, 2, models[1], false, true, p.report, &error));
    } else {
        assert_int_equal(mc_report_count(p.report), 0);
    }
    pair_free(&p);
}

static void test_configs(void **state)
{
    (void)state;
    assert_configs("{\"num_attention_heads\": 4}", "{\"num_attention_heads\": 8}",
                   "num_attention_heads 4, not 8");
    assert_configs("{\"hidden_act\": \"gelu\"}", "{\"hidden_act\": \"relu\"}",
                   "hidden_act \"gelu\", not \"relu\"");
    assert_configs("{\"model_type\": \"bert\", \"a\": 1}",
                   "{\"model_type\": \"electra\", \"a\": 2}", "the model type 'bert'");
    assert_configs("{\"sliding_window\": null}", "{\"sliding_window\": 4096}",
                   "sliding_window null, not 4096");
    assert_configs("{\"layer_norm_eps\": 1e-5}", "{\"layer_norm_eps\": 1e-12}", "layer_norm_eps");
    /* What is false where it is missing. */
    assert_configs("{\"is_decoder\": true}", "{\"a\": null}", "is_decoder true, not false");
    assert_configs("{\"a\": false}", "{\"is_decoder\": false}", NULL);
    assert_configs("{}", "{\"position_embedding_type\": \"relative_key\"}",
                   "position_embedding_type \"absolute\", not \"relative_key\"");
    assert_configs("{\"position_embedding_type\": \"absolute\"}", "{}", NULL);
    assert_configs("{\"residual_multiplier\": 1.0}", "{}", NULL);
    assert_configs("{\"text_config\": {\"residual_multiplier\": 0.2}}", "{\"text_config\": {}}",
                   "text_config.residual_multiplier 0.2, not 1");
    assert_configs("{\"text_config\": {\"rms_norm_eps\": 1}}",
                   "{\"text_config\": {\"rms_norm_eps\": 2}}", "text_config.rms_norm_eps 1, not 2");
    assert_configs("{\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1}",
                   "{\"a\": 2, \"b\": 2, \"c\": 2, \"d\": 2, \"e\": 2}", "and 1 more");
}

static void test_rope(void **state)
{
    (void)state;
    static const char old[] = "{\"rope_theta\": 10000.0, \"rope_scaling\": null}";
    assert_configs(old, "{\"rope_theta\": 500000, \"rope_scaling\": null}",
                   "rope_theta 10000.0, not 500000");
    /* transformers 5 has both in one object */
    assert_configs(
        old, "{\"rope_parameters\": {\"rope_theta\": 10000, \"rope_type\": \"default\"}}", NULL);
    /* Without any key, the type is the default one. */
    assert_configs("{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}}", "{}",
                   "rope_type \"yarn\", not \"default\"");
    assert_configs(old, "{}", NULL);
    assert_configs(old, "{\"rope_parameters\": {\"rope_theta\": 10000, \"rope_type\": \"yarn\"}}",
                   "rope_type \"default\", not \"yarn\"");
    assert_configs(
        "{\"rope_theta\": 1, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
        "{\"rope_theta\": 1, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4}}",
        "factor 2, not 4");
}

/* What says nothing about the computation, in both or in one of the two. */
static void test_same(void **state)
{
    (void)state;
    assert_configs(
        "{\"transformers_version\": \"4.40\", \"torch_dtype\": \"float16\", "
        "\"hidden_dropout_prob\": 0.1, \"eos_token_id\": 2, \"use_cache\": true, "
        "\"initializer_range\": 0.02, \"heads\": 4, \"head_dim\": null, \"eps\": 1e-5}",
        "{\"transformers_version\": \"5.1\", \"torch_dtype\": \"float32\", "
        "\"hidden_dropout_prob\": 0.2, \"eos_token_id\": 9, \"use_cache\": false, "
        "\"initializer_range\": 0.01, \"heads\": 4.0, \"head_dim\": 8, \"eps\": 0.00001}",
        NULL);
    assert_configs("{\"_name_or_path\": \"x\", \"architectures\": [\"A\"], \"a\": {}, \"b\": []}",
                   "{\"transformers_version\": \"5.1\", \"dtype\": \"bfloat16\", \"c\": false}",
                   NULL);
}

/* Expects a note, which is no error under strict. */
static void assert_noted(const char *first, const char *second, const char *line)
{
    pair p = pair_new("config.json", first, second);
    const mc_model *const *const models = (const mc_model *const *)p.models;
    assert_done(mc_agree_on_configs(models, 2, models[1], false, true, p.report, &error));
    assert_int_equal(mc_report_count(p.report), 1);
    assert_reported(p.report, line);
    pair_free(&p);
}

/* Keys that one model lacks, and whose default depends on the class. */
static void test_missing_keys(void **state)
{
    (void)state;
    assert_noted("{\"final_logit_softcapping\": 30}", "{}", "library: final_logit_softcapping 30");
    assert_noted("{}", "{\"final_logit_softcapping\": 30}", "library: final_logit_softcapping 30");
    assert_noted("{\"text_config\": {\"x\": 1}}", "{\"text_config\": {}}", "text_config.x 1");
    assert_noted("{\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1}", "{}", "d 1 and 1 more");
}

static void assert_tokens(const char *file, const char *first, const char *second, const char *line)
{
    pair p = pair_new(file, first, second);
    const mc_model *const *const models = (const mc_model *const *)p.models;
    assert_done(mc_agree_on_tokens(models, 2, models[1], false, p.report, &error));
    assert_int_equal(mc_report_count(p.report), line ? 1 : 0);
    if (line) {
        assert_reported(p.report, line);
        assert_error(MC_MISMATCH, line,
                     mc_agree_on_tokens(models, 2, models[1], true, p.report, &error));
    }
    pair_free(&p);
}

static void test_tokens(void **state)
{
    (void)state;
    assert_tokens("vocab.txt", "a\nb\nc\n", "a\nb\nc\n", NULL);
    assert_tokens("vocab.txt", "a\nb\nc\n", "a\nb\nc", NULL);
    assert_tokens("vocab.txt", "a\nb\nc\n", "a\nc\nb\n", "different vocabularies: '");
    assert_tokens("vocab.json", "{\"a\": 0, \"b\": 1}", "{\"b\": 1, \"a\": 0}", NULL);
    assert_tokens("vocab.json", "{\"a\": 0, \"b\": 1}", "{\"b\": 0, \"a\": 1}", "different vocab");
    assert_tokens("spiece.model", "x", "y", "different vocabularies; the merge has");
    static const char plain[] = "{\"model\": {\"vocab\": {\"a\": 0}}, \"added_tokens\": []}";
    assert_tokens("tokenizer.json", plain, "{\"model\": {\"vocab\": {\"a\": 0}}, \"version\": 1}",
                  NULL);
    assert_tokens("tokenizer.json", plain,
                  "{\"model\": {\"vocab\": {\"a\": 0}}, "
                  "\"added_tokens\": [{\"id\": 1, \"content\": \"<x>\"}]}",
                  "'<x>'");
    assert_tokens("tokenizer.json", "{\"model\": {\"vocab\": [[\"a\", 0.5], [\"b\", 1]]}}",
                  "{\"model\": {\"vocab\": [[\"a\", 1], [\"b\", 0.5]]}}", NULL);
    /* a file that nobody can read is not this comparison's business */
    assert_tokens("tokenizer.json", plain, "{", "different vocabularies; the merge has");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configs), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_same),    cmocka_unit_test(test_missing_keys),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
