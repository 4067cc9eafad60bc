/* Which tensors are merged, averaged, copied or left out, and what is said of it. */
#include "merge/fixtures.h"

#include <float.h>
#include <math.h>

typedef struct merged {
    mc_state_dict *dict;
    mc_report *report;
} merged;

typedef struct pair {
    mc_state_dict *a, *b, *base;
    mc_merge_input input;
    const mc_state_dict *models[2];
} pair;

static void pair_new(pair *p)
{
    *p = (pair){.a = dict_new(), .b = dict_new(), .base = dict_new()};
    p->models[0] = p->a;
    p->models[1] = p->b;
    p->input = (mc_merge_input){.models = p->models, .model_count = 2};
}

static void pair_free(pair *p)
{
    mc_state_dict_free(p->a);
    mc_state_dict_free(p->b);
    mc_state_dict_free(p->base);
}

static merged merge(const pair *p, const char *method)
{
    merged out = {0};
    assert_done(mc_report_new(&out.report, &error));
    assert_done(mc_model_merge(mc_method_find(method), &p->input, &out.dict, out.report, &error));
    return out;
}

static void merged_free(merged *m)
{
    mc_state_dict_free(m->dict);
    mc_report_free(m->report);
}

static mc_status try_merge(const pair *p, const char *method, mc_error *error)
{
    mc_state_dict *dict = NULL;
    const mc_status status = mc_model_merge(mc_method_find(method), &p->input, &dict, NULL, error);
    mc_state_dict_free(dict);
    return status;
}

/* What is only a remark becomes an error under strict. */
static void assert_strict(pair *p, const char *method, const char *part)
{
    p->input.strict = true;
    assert_error(MC_MISMATCH, part, try_merge(p, method, &error));
    assert_error(MC_MISMATCH, "(strict)", try_merge(p, method, &error));
    p->input.strict = false;
    assert_status(MC_OK, try_merge(p, method, &error));
}

static void test_shapes_differ(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add(p.a, "layer.weight", MC_F32, SHAPE(2, 3), 1);
    dict_add(p.b, "layer.weight", MC_F32, SHAPE(3, 2), 2);
    assert_error(MC_MISMATCH, "tensor 'layer.weight'", try_merge(&p, "soup", &error));
    assert_error(MC_MISMATCH, "[2, 3] in model 1 and [3, 2] in model 2",
                 try_merge(&p, "soup", &error));
    pair_free(&p);
    pair_new(&p);
    dict_add(p.a, "bert.word_embeddings.weight", MC_F32, SHAPE(20, 3), 1);
    dict_add(p.b, "bert.word_embeddings.weight", MC_F32, SHAPE(21, 3), 2);
    assert_error(MC_MISMATCH, "vocabularies differ", try_merge(&p, "soup", &error));
    pair_free(&p);
}

/*
 * A passthrough tensor cannot be averaged over different shapes either; the base does not take part
 * in it.
 */
static void test_shapes_elsewhere(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add(p.a, "x", MC_F32, SHAPE(4), 1), dict_add(p.b, "x", MC_F32, SHAPE(4), 2);
    dict_add(p.base, "x", MC_F32, SHAPE(5), 3);
    p.input.base = p.base;
    assert_error(MC_MISMATCH, "[4] in model 1 and [5] in the base", try_merge(&p, "task", &error));
    p.input.passthrough = (const char *const[]){"x"};
    p.input.passthrough_count = 1;
    assert_status(MC_OK, try_merge(&p, "task", &error));
    dict_add(p.b, "x", MC_F32, SHAPE(5), 2);
    assert_error(MC_MISMATCH, "'x'", try_merge(&p, "task", &error));
    pair_free(&p);
}

static void test_only_in_some(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1, 2), dict_add_floats(p.b, "x", 3, 6);
    dict_add_floats(p.b, "late", 7);
    dict_add_floats(p.a, "early", 5);
    merged m = merge(&p, "soup");
    assert_int_equal(mc_state_dict_count(m.dict), 3);
    assert_string_equal(mc_state_dict_name(m.dict, 2), "late");
    assert_floats(m.dict, "x", 2, 4);
    assert_floats(m.dict, "early", 5);
    assert_floats(m.dict, "late", 7);
    assert_reported(m.report, "2 tensors are only in some of the models and averaged over those");
    assert_strict(&p, "soup", "only in some of the models");
    merged_free(&m);
    pair_free(&p);
}

static void test_base_and_head(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3), dict_add_floats(p.base, "x", 1);
    dict_add_floats(p.a, "head", 10), dict_add_floats(p.b, "head", 20);
    dict_add_floats(p.base, "pooler", 5);
    p.input.base = p.base;
    p.input.params = (const char *const[]){"scale=2"};
    p.input.param_count = 1;
    merged m = merge(&p, "task");
    assert_int_equal(mc_state_dict_count(m.dict), 2);
    assert_floats(m.dict, "x", 3);
    assert_floats(m.dict, "head", 15);
    assert_reported(m.report, "1 tensor is not in the base and averaged over the models: head");
    assert_reported(m.report, "1 tensor is only in the base and left out: pooler");
    assert_strict(&p, "task", "not in the base");
    mc_state_dict_remove(p.a, (const char *const[]){"head"}, 1, NULL);
    mc_state_dict_remove(p.b, (const char *const[]){"head"}, 1, NULL);
    assert_strict(&p, "task", "only in the base");
    merged_free(&m);
    pair_free(&p);
}

/* A mask that the base stores as integers does not stop the merge of everything else. */
static void test_base_of_integers(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "w", 1, 2);
    dict_add_floats(p.b, "w", 3, 4);
    dict_add_floats(p.base, "w", 0, 0);
    dict_add_floats(p.a, "mask", 1, 0);
    dict_add_floats(p.b, "mask", 3, 0);
    dict_add_bytes(p.base, "mask", MC_U8, SHAPE(2), "ab", 2);
    p.input.base = p.base;
    merged m = merge(&p, "task");
    assert_floats(m.dict, "w", 2, 3);
    assert_floats(m.dict, "mask", 2, 0);
    assert_reported(m.report,
                    "1 tensor is not floats in the base and averaged over the models: mask");
    merged_free(&m);
    assert_strict(&p, "task", "not floats in the base");
    pair_free(&p);
}

static void test_base_not_used(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3), dict_add_floats(p.base, "x", 9);
    p.input.base = p.base;
    merged m = merge(&p, "soup");
    assert_floats(m.dict, "x", 2);
    assert_reported(m.report, "soup uses no base model");
    merged_free(&m);
    p.input.base = NULL;
    assert_error(MC_USAGE, "task needs a base model", try_merge(&p, "task", &error));
    pair_free(&p);
}

static void test_passthrough(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "body.x", 1), dict_add_floats(p.b, "body.x", 3);
    dict_add_floats(p.a, "classifier.weight", 1), dict_add_floats(p.b, "classifier.weight", 3);
    dict_add_floats(p.a, "classifier.bias", 1), dict_add_floats(p.a, "other", 1);
    dict_add_floats(p.b, "other", 3);
    dict_add_floats(p.base, "body.x", 0), dict_add_floats(p.base, "classifier.weight", 100);
    dict_add_floats(p.base, "other", 0);
    p.input.base = p.base;
    p.input.passthrough = (const char *const[]){"classifier.*", "oth?r"};
    p.input.passthrough_count = 2;
    p.input.params = (const char *const[]){"scale=0"};
    p.input.param_count = 1;
    merged m = merge(&p, "task");
    assert_floats(m.dict, "body.x", 0);
    assert_floats(m.dict, "classifier.weight", 2);
    assert_floats(m.dict, "classifier.bias", 1);
    assert_floats(m.dict, "other", 2);
    assert_int_equal(mc_report_count(m.report), 0);
    merged_free(&m);
    p.input.passthrough = (const char *const[]){"classifier.*", "Other"};
    assert_error(MC_USAGE, "matches the passthrough pattern 'Other'",
                 try_merge(&p, "task", &error));
    p.input.allow_unused = true;
    m = merge(&p, "task");
    assert_reported(m.report, "no tensor name matches the passthrough pattern 'Other'");
    assert_floats(m.dict, "other", 0);
    merged_free(&m);
    p.input.strict = true;
    assert_error(MC_MISMATCH, "passthrough pattern 'Other' (strict)",
                 try_merge(&p, "task", &error));
    pair_free(&p);
}

/* Heads of different sizes: those of one model are copied, and nothing of them is compared. */
static void test_excluded(void **state)
{
    (void)state;
    const float two[] = {1, 2}, three[] = {3, 4, 5};
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3);
    dict_add_bytes(p.a, "head", MC_F32, SHAPE(2), two, sizeof two);
    dict_add_bytes(p.b, "head", MC_F32, SHAPE(3), three, sizeof three);
    dict_add_floats(p.a, "extra", 1);
    assert_error(MC_MISMATCH, "head", try_merge(&p, "soup", &error));
    p.input.exclude = (const char *const[]){"head", "extra"};
    p.input.exclude_count = 2;
    merged m = merge(&p, "soup");
    assert_floats(m.dict, "x", 2);
    assert_int_equal(mc_source_bytes(mc_state_dict_find(m.dict, "head")), sizeof three);
    assert_null(mc_state_dict_find(m.dict, "extra"));
    assert_reported(m.report, "extra");
    merged_free(&m);
    p.input.keep = 1;
    m = merge(&p, "soup");
    assert_int_equal(mc_source_bytes(mc_state_dict_find(m.dict, "head")), sizeof two);
    assert_floats(m.dict, "extra", 1);
    assert_int_equal(mc_report_count(m.report), 0);
    merged_free(&m);
    p.input.keep = 3;
    assert_error(MC_USAGE, "expected a model from 1 to 2, found 3", try_merge(&p, "soup", &error));
    pair_free(&p);
}

static void test_integers(void **state)
{
    (void)state;
    const int64_t one[] = {1, 2, 3}, two[] = {1, 2, 4};
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3);
    dict_add_bytes(p.a, "ids", MC_I64, SHAPE(3), one, sizeof one);
    dict_add_bytes(p.b, "ids", MC_I64, SHAPE(3), one, sizeof one);
    merged m = merge(&p, "soup");
    assert_reported(m.report, "1 tensor is not floats and copied from the last model: ids");
    assert_false(report_says(m.report, "not the same in all models"));
    p.input.strict = true;
    assert_status(MC_OK, try_merge(&p, "soup", &error));
    p.input.strict = false;
    merged_free(&m);
    dict_add_bytes(p.b, "ids", MC_I64, SHAPE(3), two, sizeof two);
    m = merge(&p, "soup");
    char *const bytes = bytes_of_source(mc_state_dict_find(m.dict, "ids"));
    assert_memory_equal(bytes, two, sizeof two);
    assert_reported(m.report, "1 tensor is not the same in all models and copied from the last");
    assert_strict(&p, "soup", "not the same in all models");
    free(bytes);
    merged_free(&m);
    pair_free(&p);
}

static void test_opaque(void **state)
{
    (void)state;
    const mc_dtype dtypes[] = {MC_U64, MC_U16, MC_C64, MC_F8_E8M0, MC_F6_E2M3, MC_F4};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        unsigned char bytes[24];
        for (size_t j = 0; j < sizeof bytes; j++)
            bytes[j] = (unsigned char)(37 * j + 5 * i + 200);
        const int64_t count = (int64_t)sizeof bytes * 8 / mc_dtype_bits(dtypes[i]);
        pair p;
        pair_new(&p);
        dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3);
        dict_add_bytes(p.a, "o", dtypes[i], 1, &count, bytes, sizeof bytes);
        bytes[7] ^= 1;
        dict_add_bytes(p.b, "o", dtypes[i], 1, &count, bytes, sizeof bytes);
        merged m = merge(&p, "soup");
        char *const found = bytes_of_source(mc_state_dict_find(m.dict, "o"));
        assert_memory_equal(found, bytes, sizeof bytes);
        assert_int_equal(mc_source_dtype(mc_state_dict_find(m.dict, "o")), dtypes[i]);
        assert_reported(m.report, "of a dtype that cannot be merged, and copied");
        assert_strict(&p, "soup", "of a dtype that cannot be merged");
        free(found);
        merged_free(&m);
        pair_free(&p);
    }
}

static void test_widest_dtype(void **state)
{
    (void)state;
    const struct {
        mc_dtype a, b, out;
    } cases[] = {
        {MC_F16, MC_BF16, MC_F32},    {MC_BF16, MC_F16, MC_F32},
        {MC_F16, MC_F16, MC_F16},     {MC_BF16, MC_BF16, MC_BF16},
        {MC_BF16, MC_F32, MC_F32},    {MC_F16, MC_F64, MC_F64},
        {MC_F8_E4M3, MC_F16, MC_F16}, {MC_F8_E4M3, MC_F8_E4M3, MC_F8_E4M3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pair p;
        pair_new(&p);
        dict_add(p.a, "x", cases[i].a, SHAPE(9), 1), dict_add(p.b, "x", cases[i].b, SHAPE(9), 2);
        merged m = merge(&p, "soup");
        assert_int_equal(mc_source_dtype(mc_state_dict_find(m.dict, "x")), cases[i].out);
        merged_free(&m);
        pair_free(&p);
    }
}

static void test_mixed_kinds(void **state)
{
    (void)state;
    const int32_t ids[] = {1, 2};
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1, 2);
    dict_add_bytes(p.b, "x", MC_I32, SHAPE(2), ids, sizeof ids);
    dict_add_floats(p.a, "y", 1), dict_add_floats(p.b, "y", 3);
    merged m = merge(&p, "soup");
    assert_floats(m.dict, "y", 2);
    assert_int_equal(mc_source_dtype(mc_state_dict_find(m.dict, "x")), MC_I32);
    assert_reported(m.report, "1 tensor is not floats in every model and copied from the last: x");
    merged_free(&m);
    assert_strict(&p, "soup", "not floats in every model");
    const mc_state_dict *const turned[] = {p.b, p.a};
    p.input.models = turned;
    m = merge(&p, "soup");
    assert_floats(m.dict, "x", 1, 2);
    merged_free(&m);
    pair_free(&p);
}

static void test_nothing_in_common(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "y", 1), dict_add_floats(p.base, "z", 1);
    assert_error(MC_MISMATCH, "no tensor name in common", try_merge(&p, "soup", &error));
    dict_add_floats(p.b, "x", 1);
    p.input.base = p.base;
    assert_error(MC_MISMATCH, "the models and the base have no tensor name in common",
                 try_merge(&p, "task", &error));
    const int32_t ids[] = {1, 2};
    dict_add_bytes(p.a, "ids", MC_I32, SHAPE(2), ids, sizeof ids);
    dict_add_bytes(p.b, "ids", MC_I32, SHAPE(2), ids, sizeof ids);
    assert_error(MC_MISMATCH, "the models and the base have no tensor of floats in common",
                 try_merge(&p, "task", &error));
    pair_free(&p);
}

/* ---- parameters ------------------------------------------------------------------------------ */

static mc_status try_params(pair *p, const char *method, const char *setting, mc_error *error)
{
    p->input.params = &setting;
    p->input.param_count = 1;
    return try_merge(p, method, error);
}

static void test_params(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3), dict_add_floats(p.base, "x", 1);
    p.input.base = p.base;
    assert_error(MC_USAGE, "did you mean 'scale'?", try_params(&p, "task", "scael=1", &error));
    assert_error(MC_USAGE, "median has no parameter 'k'", try_params(&p, "median", "k=1", &error));
    assert_error(MC_USAGE, "expected a number from 0 to 1, found '1.5'",
                 try_params(&p, "dare", "p=1.5", &error));
    assert_error(MC_USAGE, "found 'nan'", try_params(&p, "task", "scale=nan", &error));
    assert_error(MC_USAGE, "found 'inf'", try_params(&p, "task", "scale=inf", &error));
    assert_error(MC_USAGE, "found '1x'", try_params(&p, "task", "scale=1x", &error));
    assert_error(MC_USAGE, "found ''", try_params(&p, "task", "scale=", &error));
    assert_error(MC_USAGE, "NAME=VALUE", try_params(&p, "task", "scale", &error));
    assert_error(MC_USAGE, "NAME=VALUE", try_params(&p, "task", "=1", &error));
    assert_error(MC_USAGE, "one of survivors, models", try_params(&p, "dare", "average=x", &error));
    assert_error(MC_USAGE, "expected one value, or one per model (2), found 3",
                 try_params(&p, "soup", "weights=1,2,3", &error));
    assert_error(MC_USAGE, "weights", try_params(&p, "soup", "weights=1,-1", &error));
    assert_error(MC_USAGE, "expected 1 or -1", try_params(&p, "task", "signs=1,2", &error));
    assert_status(MC_OK, try_params(&p, "soup", "weights=[1, 3]", &error));
    merged m = merge(&p, "soup");
    assert_floats(m.dict, "x", 2.5f);
    merged_free(&m);
    pair_free(&p);
}

static void test_model_counts(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3);
    const mc_state_dict *const three[] = {p.a, p.b, p.a};
    p.input.models = three;
    p.input.model_count = 3;
    assert_error(MC_USAGE, "slerp: expected exactly 2 models, found 3",
                 try_merge(&p, "slerp", &error));
    p.input.model_count = 0;
    assert_error(MC_USAGE, "at least 1 model, found 0", try_merge(&p, "soup", &error));
    p.input.model_count = 1;
    assert_status(MC_OK, try_merge(&p, "soup", &error));
    pair_free(&p);
}

MC_LAYER_MERGE(by_hessian, .help = "models weighted by hessians", .sides = MC_SIDES({"hessians"}))
{
    for (size_t i = 0; i < layer->count; i++) {
        float sum = 0, total = 0;
        for (size_t m = 0; m < layer->model_count; m++) {
            sum += layer->sides[0].tiles[m][i] * layer->models[m][i];
            total += layer->sides[0].tiles[m][i];
        }
        layer->out[i] = sum / total;
    }
    return MC_OK;
}

static mc_status try_sides(const pair *p, const mc_side_dicts *list, size_t count, mc_error *error)
{
    mc_merge_input input = p->input;
    mc_state_dict *dict = NULL;
    input.sides = list;
    input.side_count = count;
    const mc_status status = mc_model_merge(&by_hessian, &input, &dict, NULL, error);
    mc_state_dict_free(dict);
    return status;
}

static void test_lists(void **state)
{
    (void)state;
    pair p;
    pair_new(&p);
    mc_state_dict *const one = dict_new(), *const two = dict_new();
    const mc_state_dict *const hessians[] = {one, two};
    mc_side_dicts sides[] = {{"hessians", hessians, 2}, {"more", hessians, 2}};
    dict_add_floats(p.a, "x", 1), dict_add_floats(p.b, "x", 3);
    dict_add_floats(p.a, "y", 1), dict_add_floats(p.b, "y", 3);
    dict_add_floats(one, "x", 3), dict_add_floats(two, "x", 1);
    assert_error(MC_USAGE, "needs the side input 'hessians'", try_sides(&p, NULL, 0, &error));
    assert_error(MC_USAGE, "takes 1 side input", try_sides(&p, sides, 2, &error));
    sides[0].count = 1;
    assert_error(MC_USAGE, "as many as are merged, found 1", try_sides(&p, sides, 1, &error));
    sides[0].count = 2;
    mc_report *report = NULL;
    mc_state_dict *made = NULL;
    p.input.sides = sides;
    p.input.side_count = 1;
    assert_done(mc_report_new(&report, &error));
    assert_done(mc_model_merge(&by_hessian, &p.input, &made, report, &error));
    assert_floats(made, "x", 1.5f);
    assert_floats(made, "y", 2);
    assert_reported(report, "1 tensor is not in every side input and averaged over the models: y");
    dict_add(two, "x", MC_F32, SHAPE(2), 1);
    assert_error(MC_MISMATCH, "[1] in model 1 and [2] in side input 'hessians'",
                 try_sides(&p, sides, 1, &error));
    mc_report_free(report);
    mc_state_dict_free(made);
    mc_state_dict_free(one);
    mc_state_dict_free(two);
    pair_free(&p);
}

/* ---- plans over checkpoints ------------------------------------------------------------------ */

static mc_status make_plan(const mc_plan_input *input, mc_plan **out, mc_error *error)
{
    *out = NULL;
    return mc_plan_new(input, out, error);
}

static const mc_plan_line *line_of(const mc_plan *plan, const char *name)
{
    static mc_plan_line line;
    for (size_t i = 0; i < mc_plan_count(plan); i++) {
        mc_plan_line_at(plan, i, &line);
        if (strcmp(line.name, name) == 0)
            return &line;
    }
    return NULL;
}

/* How the tensor is made, in words. */
static const char *text_of(const mc_plan *plan, const char *name)
{
    static char text[256];
    return mc_plan_line_text(line_of(plan, name), text, sizeof text);
}

static void test_convert(void **state)
{
    (void)state;
    const int64_t ids[] = {1, 2};
    char *const folder = temporary_folder();
    for (int i = 0; i < 2; i++) {
        mc_state_dict *const dict = dict_new();
        dict_add(dict, "x", MC_F32, SHAPE(9), (uint64_t)i);
        dict_add(dict, "wide", MC_F64, SHAPE(9), (uint64_t)i);
        dict_add_bytes(dict, "ids", MC_I64, SHAPE(2), ids, sizeof ids);
        save_model(folder, i ? "b" : "a", dict);
    }
    mc_model *const a = open_model(folder, "a"), *const b = open_model(folder, "b");
    const mc_model *const models[] = {a, b};
    mc_plan_input input = {.method = mc_method_find("soup"), .models = models, .model_count = 2};
    mc_plan *plan = NULL;
    assert_done(make_plan(&input, &plan, &error));
    assert_int_equal(line_of(plan, "x")->dtype, MC_F32);
    assert_int_equal(line_of(plan, "wide")->dtype, MC_F64);
    mc_plan_free(plan);
    input.convert = true;
    input.dtype = MC_BF16;
    assert_done(make_plan(&input, &plan, &error));
    assert_int_equal(line_of(plan, "x")->dtype, MC_BF16);
    assert_int_equal(line_of(plan, "wide")->dtype, MC_BF16);
    assert_int_equal(line_of(plan, "ids")->dtype, MC_I64);
    assert_string_equal(text_of(plan, "x"), "soup of 2");
    mc_plan_free(plan);
    const mc_dtype bad[] = {MC_I8, MC_BOOL, MC_C64, MC_F4};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        input.dtype = bad[i];
        assert_error(MC_USAGE, "expected a dtype of floats for the result",
                     make_plan(&input, &plan, &error));
    }
    mc_model_close(a);
    mc_model_close(b);
    remove_temporary(folder);
}

static void test_base_without_prefix(void **state)
{
    (void)state;
    char *const folder = temporary_folder();
    mc_state_dict *const model = dict_new(), *const base = dict_new();
    dict_add_floats(model, "bert.x", 3), dict_add_floats(model, "classifier", 7);
    dict_add_floats(base, "x", 1), dict_add_floats(base, "pooler", 1);
    save_model(folder, "model", model);
    save_model(folder, "base", base);
    mc_model *const a = open_model(folder, "model"), *const b = open_model(folder, "base");
    const mc_model *const models[] = {a, a};
    const mc_plan_input input = {.method = mc_method_find("task"),
                                 .models = models,
                                 .model_count = 2,
                                 .base = b,
                                 .params = (const char *const[]){"scale=2"},
                                 .param_count = 1};
    mc_plan *plan = NULL;
    mc_state_dict *dict = NULL;
    assert_done(make_plan(&input, &plan, &error));
    assert_reported(mc_plan_report(plan), "matched with 'bert.' before their names");
    assert_done(mc_plan_state_dict(plan, &dict, &error));
    assert_floats(dict, "bert.x", 5);
    assert_floats(dict, "classifier", 7);
    mc_state_dict_free(dict);
    mc_plan_free(plan);
    mc_model_close(a);
    mc_model_close(b);
    remove_temporary(folder);
}

static void test_labels(void **state)
{
    (void)state;
    char *const folder = temporary_folder();
    const char *const names[] = {"a", "b"};
    const char *const configs[] = {"{\"id2label\": {\"0\": \"yes\", \"1\": \"no\"}}",
                                   "{\"id2label\": {\"0\": \"no\", \"1\": \"yes\"}}"};
    mc_model *models[2];
    for (int i = 0; i < 2; i++) {
        mc_state_dict *const dict = dict_new();
        dict_add_floats(dict, "x", 1);
        save_model(folder, names[i], dict);
        char *const path = path_of(folder, names[i]);
        write_text(path, "config.json", configs[i]);
        free(path);
        models[i] = open_model(folder, names[i]);
    }
    mc_plan_input input = {.method = mc_method_find("soup"),
                           .models = (const mc_model *const *)models,
                           .model_count = 2};
    mc_plan *plan = NULL;
    assert_done(make_plan(&input, &plan, &error));
    assert_reported(mc_plan_report(plan), "/a has the labels [yes, no], but ");
    assert_reported(mc_plan_report(plan), "/b has [no, yes]");
    mc_plan_free(plan);
    input.strict = true;
    assert_error(MC_MISMATCH, "[no, yes]", make_plan(&input, &plan, &error));
    mc_model_close(models[0]);
    mc_model_close(models[1]);
    remove_temporary(folder);
}

/* Errors of plans call the models by the names that the user gave. */
static void test_plan_names(void **state)
{
    (void)state;
    char *const folder = temporary_folder();
    mc_state_dict *const one = dict_new(), *const two = dict_new();
    dict_add(one, "x", MC_F32, SHAPE(4), 1), dict_add(two, "x", MC_F32, SHAPE(5), 1);
    save_model(folder, "first", one);
    save_model(folder, "second", two);
    mc_model *const a = open_model(folder, "first"), *const b = open_model(folder, "second");
    const mc_model *const models[] = {a, b};
    const mc_plan_input input = {
        .method = mc_method_find("soup"), .models = models, .model_count = 2};
    mc_plan *plan = NULL;
    assert_error(MC_MISMATCH, "/first and [5] in ", make_plan(&input, &plan, &error));
    assert_error(MC_MISMATCH, "/second", make_plan(&input, &plan, &error));
    mc_model_close(a);
    mc_model_close(b);
    remove_temporary(folder);
}

/*
 * A torch file keeps tied tensors once; where another model has them apart, all are there under
 * both names.
 */
static void test_tied(void **state)
{
    (void)state;
    const char *const tied = "bert.embeddings.word_embeddings.weight";
    const char *const alias = "cls.decoder.weight";
    char *const folder = temporary_folder();
    mc_model *const a = open_model(MC_TEST_DATA "/checkpoints", "tied.pt");
    mc_source *const source = mc_state_dict_find(mc_model_state_dict(a), tied);
    assert_non_null(source);
    assert_null(mc_state_dict_find(mc_model_state_dict(a), alias));
    mc_state_dict *const dict = dict_new();
    assert_done(mc_state_dict_set(dict, tied, source, &error));
    dict_add(dict, alias, mc_source_dtype(source), mc_source_rank(source), mc_source_shape(source),
             5);
    save_model(folder, "apart", dict);
    mc_model *const b = open_model(folder, "apart");
    const mc_model *const models[] = {a, b};
    mc_plan_input input = {.method = mc_method_find("soup"), .models = models, .model_count = 2};
    mc_plan *plan = NULL;
    assert_done(make_plan(&input, &plan, &error));
    assert_non_null(line_of(plan, alias));
    assert_string_equal(text_of(plan, alias), "soup of 2");
    assert_string_equal(text_of(plan, tied), "soup of 2");
    mc_plan_free(plan);
    input.models = (const mc_model *const[]){a, a};
    assert_done(make_plan(&input, &plan, &error));
    assert_null(line_of(plan, alias));
    mc_plan_free(plan);
    mc_model_close(a);
    mc_model_close(b);
    remove_temporary(folder);
}

/* Equal in all models and the base: infinities and the largest numbers stay, in every method. */
static void test_equal_extremes(void **state)
{
    (void)state;
    const float extremes[] = {0, -INFINITY, FLT_MAX, -FLT_MAX, INFINITY, 1, -INFINITY, 0, 2};
    size_t done = 0;
    mc_state_dict *dicts[4];
    for (size_t i = 0; i < 4; i++) {
        dicts[i] = dict_new();
        dict_add_bytes(dicts[i], "mask", MC_F32, SHAPE(3, 3), extremes, sizeof extremes);
        dict_add(dicts[i], "w", MC_F32, SHAPE(3, 3), i);
    }
    for (size_t i = 0; i < mc_method_count(); i++) {
        const mc_method *const method = mc_method_at(i);
        const mc_merge_input input = {.models = (const mc_state_dict *const *)dicts,
                                      .model_count = method->max_models == 2 ? 2 : 3,
                                      .base = dicts[3]};
        mc_state_dict *out = NULL;
        mc_error error = MC_ERROR_NONE;
        if (mc_model_merge(method, &input, &out, NULL, &error) != MC_OK)
            continue; /* it needs a list, a parameter or one model */
        float *const mask = floats_of(out, "mask");
        for (size_t k = 0; k < 9; k++)
            if (!isfinite(extremes[k]) || fabsf(extremes[k]) == FLT_MAX)
                if (mask[k] != extremes[k])
                    fail_msg("%s:%s: expected %g, found %g", method->family, method->name,
                             (double)extremes[k], (double)mask[k]);
        free(mask);
        mc_state_dict_free(out);
        done++;
    }
    assert_true(done >= 10);
    for (size_t i = 0; i < 4; i++)
        mc_state_dict_free(dicts[i]);
}

/* Finite values that float16 cannot hold are counted, and an error under strict. */
static void test_overflow(void **state)
{
    (void)state;
    char *const root = temporary_folder(), *const out = path_of(root, "out");
    mc_state_dict *const dict = dict_new();
    dict_add_floats(dict, "a", 1, 2);
    dict_add_floats(dict, "b", 65504, 65519, 65520, -1e6F, INFINITY, NAN);
    dict_add_floats(dict, "c", 1e5F);
    save_model(root, "m", dict);
    mc_model *const model = open_model(root, "m");
    const mc_model *const models[] = {model, model};
    mc_plan_input input = {.method = mc_method_find("soup"),
                           .models = models,
                           .model_count = 2,
                           .convert = true,
                           .dtype = MC_F16};
    mc_plan *plan = NULL;
    mc_run_result result;
    const mc_run_options options = {.threads = 1, .no_sync = true};
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_done(mc_plan_run(plan, out, &options, &result, &error));
    assert_int_equal(result.overflowed, 3);
    assert_int_equal(result.overflowed_tensors, 2);
    assert_reported(mc_plan_report(plan), "3 values of 2 tensors, 'b' among them, are beyond");
    mc_plan_free(plan);
    input.dtype = MC_BF16;
    assert_done(mc_plan_new(&input, &plan, &error));
    const mc_run_options again = {.threads = 1, .no_sync = true, .overwrite = true};
    assert_done(mc_plan_run(plan, out, &again, &result, &error));
    assert_int_equal(result.overflowed, 0);
    mc_plan_free(plan);
    mc_model_close(model);
    free(out);
    remove_temporary(root);
}

/* So are results that float32 cannot hold, but not those of models that are not finite. */
static void test_overflow_of_results(void **state)
{
    (void)state;
    char *const root = temporary_folder(), *const out = path_of(root, "out");
    mc_state_dict *const dict = dict_new(), *const zero = dict_new();
    dict_add_floats(dict, "a", 1e38F, 3e38F, -2e38F, INFINITY, NAN);
    dict_add_floats(zero, "a", 0, 0, 0, 0, 0);
    save_model(root, "m", dict);
    save_model(root, "zero", zero);
    mc_model *const model = open_model(root, "m"), *const base = open_model(root, "zero");
    const mc_model *const models[] = {model};
    const char *const params[] = {"scale=3"};
    mc_plan_input input = {.method = mc_method_find("task"),
                           .models = models,
                           .model_count = 1,
                           .base = base,
                           .params = params,
                           .param_count = 1};
    mc_plan *plan = NULL;
    mc_run_result result;
    const mc_run_options options = {.threads = 1, .no_sync = true};
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_done(mc_plan_run(plan, out, &options, &result, &error));
    assert_int_equal(result.overflowed, 2);
    assert_reported(mc_plan_report(plan), "2 values of 1 tensor, 'a' among them, are beyond the "
                                          "range of float32 and became infinite or NaN");
    mc_plan_free(plan);
    /* Merges into memory report the same. */
    mc_state_dict *made = NULL;
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_done(mc_plan_materialize(plan, NULL, &options, &made, &result, &error));
    assert_int_equal(result.overflowed, 2);
    assert_reported(mc_plan_report(plan), "2 values of 1 tensor, 'a' among them, are beyond the "
                                          "range of float32 and became infinite or NaN");
    assert_reported(mc_plan_report(plan), "1 NaN and 1 infinite values in 1 tensor");
    mc_state_dict_free(made);
    mc_plan_free(plan);
    input.strict = true;
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_status(MC_MISMATCH, mc_plan_materialize(plan, NULL, &options, &made, NULL, &error));
    mc_plan_free(plan);
    mc_model_close(model);
    mc_model_close(base);
    free(out);
    remove_temporary(root);
}

/* Runs tsvm on three models and a base of one matrix [2, 3] each. */
static mc_status run_tsvm(const mc_model *model, const char *param, bool strict, const char *out,
                          mc_error *failure, bool *reported)
{
    const mc_model *const models[] = {model, model, model};
    const mc_plan_input input = {.method = mc_method_find("tsvm"),
                                 .models = models,
                                 .model_count = 3,
                                 .base = model,
                                 .params = &param,
                                 .param_count = 1,
                                 .strict = strict};
    const mc_run_options options = {.threads = 1, .no_sync = true, .overwrite = true};
    mc_plan *plan = NULL;
    if (mc_plan_new(&input, &plan, failure) != MC_OK)
        fail_msg("%s", failure->text);
    const mc_status status = mc_plan_run(plan, out, &options, NULL, failure);
    *reported = report_says(mc_plan_report(plan), "1 tensor, 'm' among them, was averaged: ");
    mc_plan_free(plan);
    return status;
}

/* What a method can only average is reported, and an error under strict. */
static void test_averaged(void **state)
{
    (void)state;
    char *const root = temporary_folder(), *const out = path_of(root, "out");
    static const int64_t shape[] = {2, 3};
    mc_state_dict *const dict = dict_new();
    dict_add(dict, "m", MC_F32, 2, shape, 1);
    dict_add_floats(dict, "v", 1, 2);
    save_model(root, "m", dict);
    mc_model *const model = open_model(root, "m");
    bool reported = false;
    assert_done(run_tsvm(model, "rank=0", false, out, &error, &reported));
    assert_true(reported);
    assert_error(MC_MISMATCH, "(strict)", run_tsvm(model, "rank=0", true, out, &error, &reported));
    assert_done(run_tsvm(model, "rank=.5", true, out, &error, &reported));
    assert_false(reported);
    assert_done(run_tsvm(model, "rank=.4", false, out, &error, &reported));
    assert_true(reported);
    assert_error(MC_MISMATCH, "averaged: rank keeps none of its singular directions (strict)",
                 run_tsvm(model, "rank=.4", true, out, &error, &reported));
    mc_model_close(model);
    free(out);
    remove_temporary(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_averaged),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_overflow_of_results),
        cmocka_unit_test(test_equal_extremes),
        cmocka_unit_test(test_shapes_differ),
        cmocka_unit_test(test_shapes_elsewhere),
        cmocka_unit_test(test_only_in_some),
        cmocka_unit_test(test_base_and_head),
        cmocka_unit_test(test_base_of_integers),
        cmocka_unit_test(test_base_not_used),
        cmocka_unit_test(test_passthrough),
        cmocka_unit_test(test_excluded),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_opaque),
        cmocka_unit_test(test_widest_dtype),
        cmocka_unit_test(test_mixed_kinds),
        cmocka_unit_test(test_nothing_in_common),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_model_counts),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_base_without_prefix),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_plan_names),
        cmocka_unit_test(test_tied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
