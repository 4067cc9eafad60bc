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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare_base),     cmocka_unit_test(test_bare_models),
        cmocka_unit_test(test_mixed_models),  cmocka_unit_test(test_nested_prefix),
        cmocka_unit_test(test_ambiguous),     cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_shapes_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
