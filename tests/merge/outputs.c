/* The table of outputs: rows made by hand, rows of plans, new parameters for rows that exist. */
#include "merge/fixtures.h"

#include "merge/align.h"
#include "merge/outputs.h"
#include "merge/plan.h"

/* A folder with models a, b, c and base of the same tensors. */
typedef struct family {
    char *folder;
    mc_model *models[3], *base;
} family;

static void save_member(const char *folder, const char *name, uint64_t seed)
{
    const int64_t ids[] = {1, 2, (int64_t)seed};
    mc_state_dict *const dict = dict_new();
    dict_add(dict, "wide", MC_F32, SHAPE(130, 70), seed);
    dict_add(dict, "half", MC_BF16, SHAPE(64, 65), seed + 10);
    dict_add(dict, "head", MC_F32, SHAPE(9), seed + 20);
    dict_add_bytes(dict, "ids", MC_I64, SHAPE(3), ids, sizeof ids);
    save_model(folder, name, dict);
}

static family family_new(void)
{
    static const char *const names[] = {"a", "b", "c"};
    family f = {.folder = temporary_folder()};
    for (int i = 0; i < 3; i++) {
        save_member(f.folder, names[i], (uint64_t)i + 1);
        f.models[i] = open_model(f.folder, names[i]);
    }
    save_member(f.folder, "base", 7);
    f.base = open_model(f.folder, "base");
    return f;
}

static void family_free(family *f)
{
    for (int i = 0; i < 3; i++)
        mc_model_close(f->models[i]);
    mc_model_close(f->base);
    remove_temporary(f->folder);
}

static mc_plan *plan_of(const family *f, const char *method, const char *const *params,
                        size_t count)
{
    const mc_method *const found = mc_method_find(method);
    mc_plan *plan = NULL;
    const mc_plan_input input = {.method = found,
                                 .models = (const mc_model *const *)f->models,
                                 .model_count = found->max_models == 2 ? 2 : 3,
                                 .base = found->needs_base ? f->base : NULL,
                                 .params = params,
                                 .param_count = count,
                                 .passthrough = (const char *const[]){"head"},
                                 .passthrough_count = 1,
                                 .seed = 3};
    assert_done(mc_plan_new(&input, &plan, &error));
    return plan;
}

static mc_state_dict *dict_of(const mc_plan *plan)
{
    mc_state_dict *dict = NULL;
    assert_done(mc_plan_state_dict(plan, &dict, &error));
    return dict;
}

/* A value of each kind that differs from every default; the caller frees it. */
static char *another_value(const mc_param *param, size_t models)
{
    char *text = NULL;
    int length = 0;
    if (param->type == MC_CHOICE)
        length = asprintf(&text, "%s=%s", param->name,
                          param->choices[param->fallback == 0 && param->choices[1] ? 1 : 0]);
    else if (param->type == MC_FLAG)
        length = asprintf(&text, "%s=%d", param->name, param->fallback == 0);
    else if (param->per_input)
        length = asprintf(&text, "%s=%s", param->name, models == 2 ? "1,-1" : "1,-1,1");
    else
        length = asprintf(&text, "%s=%.17g", param->name,
                          param->type == MC_INTEGER ? param->fallback + 1
                                                    : param->fallback / 2 + .125);
    assert_true(length > 0);
    return text;
}

/* Rows that are bound anew make the same bits as a new plan, and fail without a change. */
static void check_bind(const family *f, const mc_method *method)
{
    mc_plan *const bound = plan_of(f, method->name, NULL, 0);
    mc_state_dict *const before = dict_of(bound);
    for (const mc_param *param = method->params; param && param->name; param++) {
        char *const text = another_value(param, method->max_models == 2 ? 2 : 3);
        mc_error error = MC_ERROR_NONE;
        const char *const settings[] = {text};
        if (mc_plan_bind(bound, settings, 1, &error) == MC_OK) {
            mc_plan *const made = plan_of(f, method->name, settings, 1);
            mc_state_dict *const left = dict_of(bound), *const right = dict_of(made);
            assert_same_dicts(left, right, text);
            assert_string_equal(mc_plan_parameters(bound), mc_plan_parameters(made));
            mc_state_dict_free(left);
            mc_state_dict_free(right);
            mc_plan_free(made);
        } else {
            assert_int_equal(error.code, MC_USAGE);
        }
        free(text);
    }
    assert_done(mc_plan_bind(bound, NULL, 0, &error));
    mc_state_dict *const again = dict_of(bound);
    assert_same_dicts(before, again, method->name);
    mc_state_dict_free(before);
    mc_state_dict_free(again);
    mc_plan_free(bound);
}

static bool has_required(const mc_method *method)
{
    for (const mc_param *param = method->params; param && param->name; param++)
        if (param->required)
            return true;
    return false;
}

static void test_bind(void **state)
{
    (void)state;
    family f = family_new();
    for (size_t i = 0; i < mc_method_count(); i++) {
        const mc_method *const method = mc_method_at(i);
#if defined __SANITIZE_THREAD__ || defined __aarch64__
        /*
         * A decomposition takes a minute there (arm64 is tested in an emulator), and what is bound
         * does not depend on it.
         */
        if (method->reproducibility == MC_SAME_ON_MACHINE)
            continue;
#endif
        if (strcmp(method->family, "mergecraft") == 0 && !method->sides && !has_required(method))
            check_bind(&f, method);
    }
    family_free(&f);
}

static void test_bind_refused(void **state)
{
    (void)state;
    family f = family_new();
    mc_plan *const plan = plan_of(&f, "task", (const char *const[]){"scale=2"}, 1);
    mc_state_dict *const before = dict_of(plan);
    const char *const bad[] = {"scale=x", "unknown=1", "scale"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_status(MC_USAGE, mc_plan_bind(plan, &bad[i], 1, &error));
    mc_state_dict *const after = dict_of(plan);
    assert_same_dicts(before, after, "refused");
    assert_non_null(strstr(mc_plan_parameters(plan), "\"scale\": 2"));
    mc_state_dict_free(before);
    mc_state_dict_free(after);
    mc_plan_free(plan);
    family_free(&f);
}

/* Rows know what they are made of: action, inputs with role and index, and no sentence. */
static void test_rows_of_plan(void **state)
{
    (void)state;
    family f = family_new();
    mc_plan *const plan = plan_of(&f, "task", NULL, 0);
    size_t merged = 0, mean = 0, copied = 0;
    for (size_t i = 0; i < plan->outputs.count; i++) {
        const mc_output *const row = &plan->outputs.rows[i];
        size_t base = 0;
        if (row->action == MC_ACTION_MERGE) {
            merged++;
            assert_int_equal(mc_output_count(row, MC_ROLE_MODEL, NULL), 3);
            assert_int_equal(mc_output_count(row, MC_ROLE_BASE, &base), 1);
            assert_int_equal(base, 3);
            assert_non_null(row->params);
        } else if (row->action == MC_ACTION_MEAN) {
            mean++;
            assert_string_equal(row->name, "head");
            assert_int_equal(row->input_count, 3);
        } else {
            copied++;
            assert_string_equal(row->name, "ids");
            assert_int_equal(row->inputs[0].model, 2);
        }
        assert_ptr_equal(mc_source_ref(row->source), row->source);
        mc_source_unref(row->source);
    }
    assert_int_equal(merged, 2);
    assert_int_equal(mean, 1);
    assert_int_equal(copied, 1);
    mc_plan_free(plan);
    family_free(&f);
}

static void add_input(mc_output *row, mc_state_dict *dict, const char *name, mc_role role,
                      size_t model)
{
    const mc_input input = {.source = mc_state_dict_find(dict, name),
                            .role = role,
                            .model = model,
                            .name = (char *)(uintptr_t)name};
    assert_done(mc_output_add_input(row, &input, &error));
}

/* As a recipe makes them: other names in the inputs, other parameters in each row. */
static void test_rows_by_hand(void **state)
{
    (void)state;
    mc_state_dict *const a = dict_new(), *const base = dict_new();
    dict_add_floats(a, "layers.3.w", 3, 5);
    dict_add_floats(base, "layers.7.w", 1, 1);
    const mc_method *const task = mc_method_find("task");
    const mc_labels labels = {.model_count = 1};
    mc_outputs outputs = {0};
    for (int i = 0; i < 2; i++) {
        mc_params *params = NULL;
        mc_output *row = NULL;
        const char *const setting = i ? "scale=2" : "scale=0";
        assert_done(mc_params_parse(task, &setting, 1, 1, &params, &error));
        assert_done(mc_outputs_add(&outputs, i ? "layers.1.w" : "layers.0.w", MC_ACTION_MERGE, task,
                                   params, &row, &error));
        add_input(row, a, "layers.3.w", MC_ROLE_MODEL, 0);
        add_input(row, base, "layers.7.w", MC_ROLE_BASE, 0);
        assert_string_equal(row->inputs[0].name, "layers.3.w");
        mc_params_unref(params);
    }
    assert_done(mc_outputs_resolve(&outputs, &labels, &error));
    mc_state_dict *made = NULL;
    assert_done(mc_outputs_dict(&outputs, &made, &error));
    assert_floats(made, "layers.0.w", 1, 1);
    assert_floats(made, "layers.1.w", 5, 9);
    assert_int_equal(mc_output_bytes_read(&outputs.rows[0]), 16);
    mc_state_dict_free(made);
    mc_outputs_free(&outputs);
    mc_state_dict_free(a);
    mc_state_dict_free(base);
}

static void test_rows_that_do_not_fit(void **state)
{
    (void)state;
    const int32_t ids[] = {1, 2};
    mc_state_dict *const a = dict_new();
    dict_add(a, "x", MC_F32, SHAPE(2), 1);
    dict_add(a, "y", MC_F32, SHAPE(3), 1);
    dict_add_bytes(a, "ids", MC_I32, SHAPE(2), ids, sizeof ids);
    const mc_labels labels = {.model_count = 2};
    const char *const others[] = {"y", "ids"};
    const char *const texts[] = {"[2] in model 1 and [3] in model 2", "found I32 in model 2"};
    for (int i = 0; i < 2; i++) {
        mc_outputs outputs = {0};
        mc_output *row = NULL;
        assert_done(mc_outputs_add(&outputs, "x", MC_ACTION_MEAN, NULL, NULL, &row, &error));
        add_input(row, a, "x", MC_ROLE_MODEL, 0);
        if (i == 0)
            add_input(row, a, others[i], MC_ROLE_MODEL, 1);
        else
            row->inputs[0].model = 1, mc_source_unref(row->inputs[0].source),
            row->inputs[0].source = mc_source_ref(mc_state_dict_find(a, others[i]));
        assert_error(MC_MISMATCH, texts[i], mc_output_resolve(row, &outputs, &labels, &error));
        mc_outputs_free(&outputs);
    }
    mc_state_dict_free(a);
}

/* The dtype is that of the models, also after a conversion that comes before rows are resolved. */
static void test_convert(void **state)
{
    (void)state;
    mc_state_dict *const a = dict_new();
    dict_add_floats(a, "x", 1, 2);
    mc_outputs outputs = {0};
    mc_output *row = NULL;
    const mc_labels labels = {.model_count = 1};
    assert_done(mc_outputs_add(&outputs, "x", MC_ACTION_COPY, NULL, NULL, &row, &error));
    add_input(row, a, "x", MC_ROLE_MODEL, 0);
    assert_int_equal(row->dtype, MC_F32);
    assert_done(mc_outputs_convert(&outputs, MC_BF16, &error));
    assert_done(mc_outputs_resolve(&outputs, &labels, &error));
    assert_int_equal(mc_source_dtype(row->source), MC_BF16);
    assert_int_equal(mc_source_bytes(row->source), 4);
    mc_outputs_free(&outputs);
    mc_state_dict_free(a);
}

/* A method may be misspelt: mc_method_find gives NULL. */
static void test_no_method(void **state)
{
    (void)state;
    family f = family_new();
    mc_plan *plan = NULL;
    mc_state_dict *dict = NULL;
    const mc_state_dict *const dicts[] = {mc_model_state_dict(f.models[0])};
    const mc_merge_input input = {.models = dicts, .model_count = 1};
    const mc_plan_input models = {.models = (const mc_model *const *)f.models, .model_count = 3};
    assert_error(MC_USAGE, "expected a method", mc_plan_new(&models, &plan, &error));
    assert_error(MC_USAGE, "expected a method", mc_dict_map(NULL, &input, &dict, NULL, &error));
    assert_error(MC_USAGE, "expected a method", mc_model_merge(NULL, &input, &dict, NULL, &error));
    family_free(&f);
}

/* What programs read of a plan is what its rows say. */
static void test_json(void **state)
{
    (void)state;
    family f = family_new();
    mc_plan *const plan = plan_of(&f, "task", NULL, 0);
    char *text = NULL;
    assert_done(mc_plan_json(plan, NULL, &text, &error));
    static const char *const parts[] = {
        "\"method\":\"task\"",
        "\"tensors\":4",
        "\"warnings\":[",
        "{\"name\":\"head\",\"dtype\":\"F32\",\"shape\":[9],\"bytes\":36,\"how\":",
        "\"how\":\"average of 3\"}",
        "\"how\":\"task of 3\"",
        "\"how\":\"copy of "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(text, parts[i]))
            fail_msg("expected %s in %s", parts[i], text);
    mc_plan_json_free(text);
    mc_plan_json_free(NULL);
    mc_plan_free(plan);
    family_free(&f);
}

/* ---- methods of model scope ------------------------------------------------------------------ */

static mc_status scaled(const mc_merge_input *input, double scale, mc_state_dict **out,
                        mc_error *error)
{
    return mc_state_dict_combine_number(MC_MULTIPLY, input->models[0], scale, false, out, error);
}

MC_MODEL_MERGE(scale_first, .help = "the first model, scaled; below zero: one tensor less",
               .params = MC_PARAMS({"scale", MC_NUMBER, "factor", .fallback = 1}))
{
    const double scale = mc_input_number(input, "scale");
    const mc_status status = scaled(input, scale, out, error);
    if (status == MC_OK && scale < 0)
        return mc_state_dict_remove(*out, (const char *const[]){"wide"}, 1, error);
    return status;
}

static void test_bind_model_scope(void **state)
{
    (void)state;
    family f = family_new();
    mc_plan_input input = {
        .method = &scale_first, .models = (const mc_model *const *)f.models, .model_count = 3};
    mc_plan *bound = NULL, *made = NULL;
    assert_done(mc_plan_new(&input, &bound, &error));
    const char *const settings[] = {"scale=3"}, *const fewer[] = {"scale=-1"};
    assert_done(mc_plan_bind(bound, settings, 1, &error));
    input.params = settings;
    input.param_count = 1;
    assert_done(mc_plan_new(&input, &made, &error));
    mc_state_dict *const left = dict_of(bound), *const right = dict_of(made);
    assert_same_dicts(left, right, "model scope");
    assert_error(MC_UNSUPPORTED, "make a new plan", mc_plan_bind(bound, fewer, 1, &error));
    mc_state_dict *const kept = dict_of(bound);
    assert_same_dicts(kept, right, "refused");
    mc_state_dict_free(kept);
    mc_state_dict_free(left);
    mc_state_dict_free(right);
    mc_plan_free(bound);
    mc_plan_free(made);
    family_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bind),
        cmocka_unit_test(test_bind_refused),
        cmocka_unit_test(test_rows_of_plan),
        cmocka_unit_test(test_rows_by_hand),
        cmocka_unit_test(test_rows_that_do_not_fit),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_no_method),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_bind_model_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
