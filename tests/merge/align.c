/* One name per tensor across models. */
#include "merge/fixtures.h"

#include "merge/align.h"

typedef struct set {
    char *folder;
    mc_model *models[3];
    size_t count;
    mc_alignment aligned;
    mc_report *report;
} set;

static set set_new(void)
{
    return (set){.folder = temporary_folder()};
}

/* Adds a model of named scalars; its values differ from those of others by `offset`. */
static void set_add(set *s, const char *const *names, size_t count, float offset)
{
    char name[16];
    mc_state_dict *const dict = dict_new();
    snprintf(name, sizeof name, "m%zu", s->count);
    for (size_t i = 0; i < count; i++)
        dict_add_floats(dict, names[i], offset + (float)i);
    save_model(s->folder, name, dict);
    s->models[s->count++] = open_model(s->folder, name);
}

#define SET_ADD(set_, offset_, ...)                                                                \
    set_add((set_), (const char *const[]){__VA_ARGS__},                                            \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (offset_))

static void set_align(set *s, size_t tuned)
{
    assert_done(mc_report_new(&s->report, &error));
    assert_done(mc_align((const mc_model *const *)s->models, tuned, s->count, &s->aligned,
                         s->report, &error));
}

static void set_free(set *s)
{
    mc_alignment_free(&s->aligned);
    mc_report_free(s->report);
    for (size_t i = 0; i < s->count; i++)
        mc_model_close(s->models[i]);
    remove_temporary(s->folder);
}

/* The base is a bare encoder; the head comes first in the model's file. */
static void test_bare_base(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "classifier.weight", "roberta.embeddings.w", "roberta.encoder.0.w");
    SET_ADD(&s, 5, "embeddings.w", "encoder.0.w", "pooler.w");
    set_align(&s, 1);
    assert_floats(s.aligned.dicts[1], "roberta.embeddings.w", 5);
    assert_floats(s.aligned.dicts[1], "roberta.encoder.0.w", 6);
    assert_floats(s.aligned.dicts[1], "roberta.pooler.w", 7);
    assert_string_equal(mc_alignment_origin(&s.aligned, 1, "roberta.encoder.0.w"), "encoder.0.w");
    assert_string_equal(mc_alignment_origin(&s.aligned, 0, "roberta.encoder.0.w"),
                        "roberta.encoder.0.w");
    assert_reported(s.report, "matched with 'roberta.' before their names");
    set_free(&s);
}

/* The base has a head and the models are bare: output names are the models'. */
static void test_bare_models(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "embeddings.w", "encoder.0.w");
    SET_ADD(&s, 3, "embeddings.w", "encoder.0.w");
    SET_ADD(&s, 5, "bert.embeddings.w", "bert.encoder.0.w", "cls.w");
    set_align(&s, 2);
    assert_floats(s.aligned.dicts[2], "encoder.0.w", 6);
    assert_floats(s.aligned.dicts[2], "cls.w", 7);
    assert_reported(s.report, "matched without 'bert.' before their names");
    set_free(&s);
}

/* A bare model among models with heads, in either place. */
static void test_mixed_models(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "embeddings.w", "encoder.0.w");
    SET_ADD(&s, 5, "bert.embeddings.w", "bert.encoder.0.w", "cls.w");
    set_align(&s, 2);
    assert_floats(s.aligned.dicts[0], "bert.encoder.0.w", 1);
    set_free(&s);
    s = set_new();
    SET_ADD(&s, 5, "bert.embeddings.w", "bert.encoder.0.w", "cls.w");
    SET_ADD(&s, 0, "embeddings.w", "encoder.0.w");
    set_align(&s, 2);
    assert_floats(s.aligned.dicts[0], "encoder.0.w", 6);
    assert_floats(s.aligned.dicts[0], "cls.w", 7);
    set_free(&s);
}

/* Two parts, as in "model.language_model."; a bare part fits one of them only. */
static void test_nested_prefix(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "model.language_model.layers.0.q", "model.language_model.norm",
            "model.vision.layers.0.k", "lm_head");
    SET_ADD(&s, 5, "layers.0.q", "norm");
    set_align(&s, 1);
    assert_floats(s.aligned.dicts[1], "model.language_model.layers.0.q", 5);
    assert_floats(s.aligned.dicts[1], "model.language_model.norm", 6);
    set_free(&s);
}

/* An encoder and a decoder of the same shapes: which one is meant is not guessed. */
static void test_ambiguous(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "encoder.block.0.w", "decoder.block.0.w");
    SET_ADD(&s, 5, "block.0.w");
    set_align(&s, 1);
    assert_floats(s.aligned.dicts[1], "block.0.w", 5);
    assert_reported(s.report, "several prefixes");
    set_free(&s);
}

/* Models that have their names in common are left alone, whatever their heads are called. */
static void test_nothing_to_do(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "bert.w", "classifier.weight");
    SET_ADD(&s, 5, "bert.w", "score.weight");
    set_align(&s, 2);
    assert_ptr_equal(s.aligned.dicts[0], mc_model_state_dict(s.models[0]));
    assert_int_equal(mc_report_count(s.report), 0);
    set_free(&s);
}

/* Equal endings with other shapes are not the same tensor. */
static void test_shapes_decide(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "bert.weight");
    mc_state_dict *const dict = dict_new();
    dict_add_floats(dict, "weight", 1, 2, 3);
    save_model(s.folder, "m1", dict);
    s.models[s.count++] = open_model(s.folder, "m1");
    set_align(&s, 2);
    assert_non_null(mc_state_dict_find(s.aligned.dicts[0], "bert.weight"));
    assert_int_equal(mc_report_count(s.report), 0);
    set_free(&s);
}

/* An old name in a model: the last model's names are those of the result, whichever they are. */
static void test_versions(void **state)
{
    (void)state;
    for (int last_is_old = 0; last_is_old < 2; last_is_old++) {
        set s = set_new();
        if (!last_is_old)
            SET_ADD(&s, 0, "LayerNorm.gamma", "LayerNorm.beta", "conv.weight_g");
        SET_ADD(&s, 5, "LayerNorm.weight", "LayerNorm.bias",
                "conv.parametrizations.weight.original0");
        if (last_is_old)
            SET_ADD(&s, 0, "LayerNorm.gamma", "LayerNorm.beta", "conv.weight_g");
        set_align(&s, 2);
        const float offset = last_is_old ? 5 : 0;
        assert_floats(s.aligned.dicts[0], last_is_old ? "LayerNorm.gamma" : "LayerNorm.weight",
                      offset);
        assert_floats(s.aligned.dicts[0],
                      last_is_old ? "conv.weight_g" : "conv.parametrizations.weight.original0",
                      offset + 2);
        assert_reported(s.report, "3 tensors are matched by the name that another version");
        set_free(&s);
    }
}

/* What the last model lacks gets one name too: that of the model before it. */
static void test_names_of_others(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 0, "x", "norm.gamma");
    SET_ADD(&s, 5, "x", "norm.weight");
    SET_ADD(&s, 9, "x");
    set_align(&s, 3);
    assert_floats(s.aligned.dicts[0], "norm.weight", 1);
    set_free(&s);
}

/* ---- experts --------------------------------------------------------------------------------- */

enum { EXPERTS = 3, INNER = 2, HIDDEN = 4 };

/* Experts of consecutive numbers: the same ones in either layout. */
static mc_state_dict *experts_new(bool fused, const char *stem)
{
    static const char *const single[] = {"gate_proj", "up_proj", "down_proj"};
    float gate_up[EXPERTS][2][INNER * HIDDEN], down[EXPERTS][HIDDEN * INNER];
    float *const all = (float *)gate_up, *const rest = (float *)down;
    mc_state_dict *const dict = dict_new();
    char name[64];
    for (int i = 0; i < EXPERTS * 2 * INNER * HIDDEN; i++)
        all[i] = (float)i;
    for (int i = 0; i < EXPERTS * HIDDEN * INNER; i++)
        rest[i] = 1000 + (float)i;
    dict_add_floats(dict, "norm", 1);
    if (fused) {
        snprintf(name, sizeof name, "%s.gate_up_proj", stem);
        dict_add_bytes(dict, name, MC_F32, SHAPE(EXPERTS, 2 * INNER, HIDDEN), gate_up,
                       sizeof gate_up);
        snprintf(name, sizeof name, "%s.down_proj", stem);
        dict_add_bytes(dict, name, MC_F32, SHAPE(EXPERTS, HIDDEN, INNER), down, sizeof down);
        return dict;
    }
    for (int e = 0; e < EXPERTS; e++)
        for (int i = 0; i < 3; i++) {
            const float *const values = i < 2 ? gate_up[e][i] : down[e];
            const int64_t shape[] = {i < 2 ? INNER : HIDDEN, i < 2 ? HIDDEN : INNER};
            snprintf(name, sizeof name, "%s.%d.%s.weight", stem, e, single[i]);
            dict_add_bytes(dict, name, MC_F32, 2, shape, values, sizeof down[e]);
        }
    return dict;
}

static void set_add_dict(set *s, mc_state_dict *dict)
{
    char name[16];
    snprintf(name, sizeof name, "m%zu", s->count);
    save_model(s->folder, name, dict);
    s->models[s->count++] = open_model(s->folder, name);
}

static void test_experts(void **state)
{
    (void)state;
    for (int fused = 0; fused < 2; fused++) {
        set s = set_new();
        mc_state_dict *const expected = experts_new(!fused, "mlp.experts");
        set_add_dict(&s, experts_new(fused, "mlp.experts"));
        set_add_dict(&s, experts_new(!fused, "mlp.experts"));
        set_align(&s, 2);
        assert_int_equal(mc_state_dict_count(s.aligned.dicts[0]), mc_state_dict_count(expected));
        for (size_t i = 0; i < mc_state_dict_count(expected); i++) {
            const char *const name = mc_state_dict_name(expected, i);
            const mc_source *const want = mc_state_dict_source(expected, i);
            const mc_source *const found = mc_state_dict_find(s.aligned.dicts[0], name);
            if (!found)
                fail_msg("expected '%s', found none", name);
            char *const left = bytes_of_source(want), *const right = bytes_of_source(found);
            assert_int_equal(mc_source_rank(found), mc_source_rank(want));
            assert_memory_equal(left, right, (size_t)mc_source_bytes(want));
            free(left);
            free(right);
        }
        assert_reported(s.report, fused ? "tensors that hold all experts"
                                        : "tensors that hold one expert each");
        set_free(&s);
        mc_state_dict_free(expected);
    }
}

/* Mixtral's names: another stem, and w1, w2 and w3; one expert less is another model. */
static void test_other_experts(void **state)
{
    (void)state;
    set s = set_new();
    mc_state_dict *const single = dict_new();
    for (int e = 0; e < 2; e++)
        for (int i = 1; i <= 3; i++) {
            char name[64];
            snprintf(name, sizeof name, "block_sparse_moe.experts.%d.w%d.weight", e, i);
            dict_add_bytes(single, name, MC_F32, SHAPE(1, 1), &(float){(float)(10 * e + i)}, 4);
        }
    mc_state_dict *const fused = dict_new();
    dict_add_bytes(fused, "mlp.experts.gate_up_proj", MC_F32, SHAPE(2, 2, 1), (float[4]){0}, 16);
    dict_add_bytes(fused, "mlp.experts.down_proj", MC_F32, SHAPE(3, 1, 1), (float[3]){0}, 12);
    set_add_dict(&s, single);
    set_add_dict(&s, fused);
    set_align(&s, 2);
    assert_floats(s.aligned.dicts[0], "mlp.experts.gate_up_proj", 1, 3, 11, 13);
    assert_null(mc_state_dict_find(s.aligned.dicts[0], "mlp.experts.down_proj"));
    assert_floats(s.aligned.dicts[0], "block_sparse_moe.experts.1.w2.weight", 12);
    assert_string_equal(mc_alignment_origin(&s.aligned, 0, "mlp.experts.gate_up_proj"),
                        "block_sparse_moe.experts.0.w1.weight");
    set_free(&s);
}

/* ---- tied heads ------------------------------------------------------------------------------ */

/* A model with a configuration; the head is left out of the file if it is tied. */
static void set_add_causal(set *s, float offset, const char *config, bool head)
{
    char name[16];
    snprintf(name, sizeof name, "m%zu", s->count);
    mc_state_dict *const dict = dict_new();
    dict_add_floats(dict, "model.embed_tokens.weight", offset);
    if (head)
        dict_add_floats(dict, "lm_head.weight", offset + 1);
    save_model(s->folder, name, dict);
    char *const path = path_of(s->folder, name);
    write_text(path, "config.json", config);
    free(path);
    s->models[s->count++] = open_model(s->folder, name);
}

static const char tied_config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"tie_word_embeddings\": true}";
static const char bare_config[] =
    "{\"architectures\": [\"LlamaModel\"], \"tie_word_embeddings\": true}";
static const char untied_config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"tie_word_embeddings\": false}";

static void test_tied_heads(void **state)
{
    (void)state;
    for (int last_is_tied = 0; last_is_tied < 2; last_is_tied++) {
        set s = set_new();
        if (!last_is_tied)
            set_add_causal(&s, 1, tied_config, false);
        set_add_causal(&s, 5, untied_config, true);
        if (last_is_tied)
            set_add_causal(&s, 1, tied_config, false);
        set_align(&s, 2);
        assert_floats(s.aligned.dicts[last_is_tied], "lm_head.weight", 1);
        assert_true(s.aligned.untied[last_is_tied]);
        assert_false(s.aligned.untied[!last_is_tied]);
        assert_reported(s.report, "is tied to the input embeddings, but not in other models");
        set_free(&s);
    }
}

/* A model without a head, or with an untied one that its file lacks, gets none. */
static void test_no_head(void **state)
{
    (void)state;
    set s = set_new();
    set_add_causal(&s, 1, bare_config, false);
    set_add_causal(&s, 3, untied_config, false);
    set_add_causal(&s, 5, untied_config, true);
    set_align(&s, 3);
    assert_null(mc_state_dict_find(s.aligned.dicts[0], "lm_head.weight"));
    assert_null(mc_state_dict_find(s.aligned.dicts[1], "lm_head.weight"));
    set_free(&s);
}

/* The configuration of the result says what its files hold. */
static void test_untied_config(void **state)
{
    (void)state;
    set s = set_new();
    set_add_causal(&s, 5, untied_config, true);
    set_add_causal(&s, 1, tied_config, false);
    const mc_plan_input input = {.method = mc_method_find("soup"),
                                 .models = (const mc_model *const *)s.models,
                                 .model_count = 2};
    mc_plan *plan = NULL;
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_reported(mc_plan_report(plan), "tie_word_embeddings of the result is false");
    char *const out = path_of(s.folder, "out");
    const mc_run_options options = {.threads = 1, .no_sync = true};
    assert_done(mc_plan_run(plan, out, &options, NULL, &error));
    mc_model *const made = open_model(s.folder, "out");
    assert_floats(mc_model_state_dict(made), "lm_head.weight", 3.5);
    assert_floats(mc_model_state_dict(made), "model.embed_tokens.weight", 3);
    assert_non_null(strstr(mc_model_config(made), "\"tie_word_embeddings\": false"));
    mc_model_close(made);
    mc_plan_free(plan);
    free(out);
    set_free(&s);
}

/* A recipe sees tensors by the names of the model whose configuration it takes. */
static void test_recipe(void **state)
{
    (void)state;
    set s = set_new();
    SET_ADD(&s, 1, "LayerNorm.gamma", "LayerNorm.beta");
    SET_ADD(&s, 5, "LayerNorm.weight", "LayerNorm.bias");
    char text[1024];
    snprintf(text, sizeof text,
             "merge_method: linear\nmodels:\n  - model: %s/m0\n    parameters: {weight: 1}\n"
             "  - model: %s/m1\n    parameters: {weight: 1}\n",
             s.folder, s.folder);
    mc_recipe *recipe = NULL;
    mc_plan *plan = NULL;
    mc_state_dict *dict = NULL;
    assert_done(mc_recipe_parse("test.yml", text, strlen(text), &recipe, &error));
    assert_done(mc_recipe_plan(recipe, NULL, &plan, &error));
    assert_reported(mc_plan_report(plan), "m1: 2 tensors are matched by the name");
    assert_done(mc_plan_state_dict(plan, &dict, &error));
    assert_int_equal(mc_state_dict_count(dict), 2);
    assert_floats(dict, "LayerNorm.gamma", 3);
    assert_floats(dict, "LayerNorm.beta", 4);
    mc_state_dict_free(dict);
    mc_plan_free(plan);
    mc_recipe_close(recipe);
    set_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare_base),     cmocka_unit_test(test_bare_models),
        cmocka_unit_test(test_mixed_models),  cmocka_unit_test(test_nested_prefix),
        cmocka_unit_test(test_ambiguous),     cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_shapes_decide), cmocka_unit_test(test_recipe),
        cmocka_unit_test(test_versions),      cmocka_unit_test(test_names_of_others),
        cmocka_unit_test(test_experts),       cmocka_unit_test(test_other_experts),
        cmocka_unit_test(test_tied_heads),    cmocka_unit_test(test_no_head),
        cmocka_unit_test(test_untied_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
