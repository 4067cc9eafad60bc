/*
 * The ways in for programs: state dicts, arithmetic, methods on whole models, methods from files.
 */
#include "merge/fixtures.h"

#include "base/memory.h"

/* ---- maps and merges ------------------------------------------------------------------------- */

static void test_dict_map(void **state)
{
    (void)state;
    mc_state_dict *const a = dict_new(), *const b = dict_new();
    mc_state_dict *out = NULL;
    mc_report *report = NULL;
    dict_add_floats(a, "y", 1, 3), dict_add_floats(b, "y", 3, 5);
    dict_add_floats(a, "x", 1), dict_add_floats(b, "x", 2);
    dict_add_floats(a, "only", 1);
    const mc_state_dict *const models[] = {a, b};
    mc_merge_input input = {.models = models, .model_count = 2};
    assert_done(mc_report_new(&report, &error));
    assert_done(mc_dict_map(mc_method_find("soup"), &input, &out, report, &error));
    assert_int_equal(mc_state_dict_count(out), 2);
    assert_string_equal(mc_state_dict_name(out, 0), "y");
    assert_floats(out, "y", 2, 4);
    assert_floats(out, "x", 1.5f);
    assert_reported(report, "1 tensor is not in all models and left out: only");
    mc_state_dict_free(out);
    input.strict = true;
    assert_error(MC_MISMATCH, "only (strict)",
                 mc_dict_map(mc_method_find("soup"), &input, &out, NULL, &error));
    mc_report_free(report);
    mc_state_dict_free(a);
    mc_state_dict_free(b);
}

/* The first model, plus the mean of all, less half the base: a map and arithmetic in one. */
MC_MODEL_MERGE(mixture, .help = "a map and arithmetic", .needs_base = true,
               .params = MC_PARAMS({"divisor", MC_NUMBER, "of the base", .fallback = 2}))
{
    mc_state_dict *mean = NULL, *sum = NULL, *half = NULL;
    mc_merge_input plain = *input; /* the other method has other parameters */
    plain.param_count = 0;
    mc_status status = mc_dict_map(mc_method_find("soup"), &plain, &mean, NULL, error);
    if (status == MC_OK)
        status = mc_state_dict_combine(MC_ADD, input->models[0], mean, NULL, &sum, error);
    if (status == MC_OK)
        status = mc_state_dict_combine_number(
            MC_DIVIDE, input->base, mc_input_number(input, "divisor"), false, &half, error);
    if (status == MC_OK)
        status = mc_state_dict_combine(MC_SUBTRACT, sum, half, NULL, out, error);
    mc_state_dict_free(mean);
    mc_state_dict_free(sum);
    mc_state_dict_free(half);
    return status;
}

static void test_model_method(void **state)
{
    (void)state;
    mc_state_dict *const a = dict_new(), *const b = dict_new(), *const base = dict_new();
    mc_state_dict *out = NULL, *made = NULL;
    dict_add_floats(a, "x", 1, 2), dict_add_floats(b, "x", 3, 6), dict_add_floats(base, "x", 2, 4);
    dict_add_floats(a, "head", 4), dict_add_floats(b, "head", 6);
    const mc_state_dict *const models[] = {a, b};
    const mc_merge_input input = {.models = models, .model_count = 2, .base = base};
    assert_done(mc_model_merge(&mixture, &input, &out, NULL, &error));
    assert_floats(out, "x", 2, 4);
    assert_floats(out, "head", 5);
    assert_done(mc_state_dict_materialize(out, NULL, &made, NULL, &error));
    assert_same_dicts(out, made, "mixture");
    const char *const setting = "divisor=4";
    mc_merge_input other = input;
    other.params = &setting, other.param_count = 1;
    mc_state_dict_free(out);
    assert_done(mc_model_merge(&mixture, &other, &out, NULL, &error));
    assert_floats(out, "x", 2.5f, 5);
    assert_true(isnan(mc_input_number(&other, "divisor"))); /* set for the method alone */
    assert_error(MC_USAGE, "whole state dicts", mc_dict_map(&mixture, &input, &out, NULL, &error));
    mc_state_dict_free(out);
    mc_state_dict_free(made);
    mc_state_dict_free(a);
    mc_state_dict_free(b);
    mc_state_dict_free(base);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

static void check_number(const mc_state_dict *a, mc_operator op, double number, bool first,
                         float expected)
{
    mc_state_dict *out = NULL;
    assert_done(mc_state_dict_combine_number(op, a, number, first, &out, &error));
    assert_floats(out, "x", expected);
    mc_state_dict_free(out);
}

static void check_dicts(const mc_state_dict *a, mc_operator op, const mc_state_dict *b,
                        float expected)
{
    mc_state_dict *out = NULL;
    assert_done(mc_state_dict_combine(op, a, b, NULL, &out, &error));
    assert_floats(out, "x", expected);
    mc_state_dict_free(out);
}

static void test_arithmetic(void **state)
{
    (void)state;
    mc_state_dict *const a = dict_new(), *const b = dict_new(), *const zero = dict_new();
    dict_add_floats(a, "x", 8), dict_add_floats(b, "x", 2), dict_add_floats(zero, "x", 0);
    check_number(a, MC_ADD, 3, false, 11), check_number(a, MC_ADD, 3, true, 11);
    check_number(a, MC_SUBTRACT, 3, false, 5), check_number(a, MC_SUBTRACT, 3, true, -5);
    check_number(a, MC_MULTIPLY, 3, false, 24), check_number(a, MC_MULTIPLY, 3, true, 24);
    check_number(a, MC_DIVIDE, 4, false, 2), check_number(a, MC_DIVIDE, 4, true, .5f);
    check_dicts(a, MC_ADD, b, 10), check_dicts(a, MC_SUBTRACT, b, 6);
    check_dicts(a, MC_MULTIPLY, b, 16), check_dicts(a, MC_DIVIDE, b, 4);
    check_dicts(a, MC_DIVIDE, zero, (float)INFINITY);
    check_dicts(zero, MC_DIVIDE, zero, (float)NAN);
    check_number(a, MC_MULTIPLY, (double)NAN, false, (float)NAN);
    check_number(zero, MC_DIVIDE, -1, true, -(float)INFINITY);
    dict_add_floats(b, "x", 1, 2);
    mc_state_dict *out = NULL;
    assert_error(MC_MISMATCH, "tensor 'x': expected equal shapes, found [1] and [2]",
                 mc_state_dict_combine(MC_ADD, a, b, NULL, &out, &error));
    mc_state_dict_free(a);
    mc_state_dict_free(b);
    mc_state_dict_free(zero);
}

static bool is_short(const char *name, const mc_source *source, void *user)
{
    (void)name;
    return mc_source_count(source) <= *(const int64_t *)user;
}

static void test_picking(void **state)
{
    (void)state;
    mc_state_dict *const a = dict_new();
    mc_state_dict *copy = NULL, *part = NULL, *zeros = NULL;
    int64_t limit = 2;
    dict_add_floats(a, "one", 1), dict_add_floats(a, "two", 1, 2);
    dict_add_floats(a, "three", 1, 2, 3);
    assert_done(mc_state_dict_copy(a, &copy, &error));
    assert_done(mc_state_dict_filter(copy, is_short, &limit, &error));
    assert_int_equal(mc_state_dict_count(copy), 2);
    assert_null(mc_state_dict_find(copy, "three"));
    assert_done(mc_state_dict_remove(copy, (const char *const[]){"one", "none"}, 2, &error));
    assert_int_equal(mc_state_dict_count(copy), 1);
    assert_floats(copy, "two", 1, 2);
    assert_int_equal(mc_state_dict_count(a), 3);
    assert_done(mc_state_dict_subset(a, (const char *const[]){"three", "one"}, 2, &part, &error));
    assert_string_equal(mc_state_dict_name(part, 0), "three");
    mc_state_dict *none = NULL;
    assert_error(MC_NOT_FOUND, "'four'",
                 mc_state_dict_subset(a, (const char *const[]){"one", "four"}, 2, &none, &error));
    assert_done(mc_state_dict_zeros_like(a, &zeros, &error));
    assert_floats(zeros, "three", 0, 0, 0);
    mc_state_dict_free(copy);
    mc_state_dict_free(part);
    mc_state_dict_free(zeros);
    mc_state_dict_free(a);
}

/* A tensor of 2^40 elements: nothing of its size is ever allocated, and its end can be read. */
static void test_lazy(void **state)
{
    (void)state;
    const int64_t shape[] = {INT64_C(1) << 20, INT64_C(1) << 20};
    mc_source *one = NULL, *zeros = NULL;
    mc_state_dict *sum = NULL, *merged = NULL;
    mc_state_dict *const dict = dict_new();
    static const float nothing[1] = {0};
    assert_done(mc_source_wrap(MC_F32, 2, shape, nothing, NULL, NULL, &one, &error));
    assert_done(mc_source_zeros_like(one, &zeros, &error));
    assert_done(mc_state_dict_set(dict, "x", zeros, &error));
    assert_done(mc_state_dict_combine_number(MC_ADD, dict, 3, false, &sum, &error));
    const mc_state_dict *const models[] = {dict, sum};
    const mc_merge_input input = {.models = models, .model_count = 2};
    assert_done(mc_model_merge(mc_method_find("soup"), &input, &merged, NULL, &error));
    float last[3] = {0};
    assert_done(mc_source_read_f32(mc_state_dict_find(merged, "x"), (INT64_C(1) << 40) - 3, 3, last,
                                   &error));
    assert_true(last[0] == 1.5f && last[2] == 1.5f);
    mc_source_unref(one);
    mc_source_unref(zeros);
    mc_state_dict_free(sum);
    mc_state_dict_free(merged);
    mc_state_dict_free(dict);
}

static void test_depth(void **state)
{
    (void)state;
    mc_state_dict *dict = dict_new();
    mc_status status = MC_OK;
    mc_error error = MC_ERROR_NONE;
    int depth = 0;
    dict_add_floats(dict, "x", 0);
    for (; depth < 10000 && status == MC_OK; depth++) {
        mc_state_dict *next = NULL;
        status = mc_state_dict_combine_number(MC_ADD, dict, 1, false, &next, &error);
        if (status == MC_OK) {
            mc_state_dict_free(dict);
            dict = next;
        }
    }
    assert_int_equal(status, MC_UNSUPPORTED);
    assert_non_null(strstr(error.text, "mc_state_dict_materialize"));
    float *const value = floats_of(dict, "x");
    assert_true((int)value[0] == depth - 1);
    free(value);
    mc_state_dict_free(dict);
}

static void test_save(void **state)
{
    (void)state;
    char *const folder = temporary_folder(), *const path = path_of(folder, "model");
    mc_state_dict *const a = dict_new();
    mc_state_dict *half = NULL, *found = NULL;
    dict_add(a, "x", MC_BF16, SHAPE(7, 1001), 1);
    dict_add(a, "scalar", MC_F32, 0, NULL, 2);
    dict_add(a, "empty", MC_F32, SHAPE(0), 3);
    dict_add(a, "y", MC_F32, SHAPE(5003), 4);
    assert_done(mc_state_dict_combine_number(MC_MULTIPLY, a, .5, false, &half, &error));
    const mc_run_options options = {.shard_size = 15000};
    mc_run_result result;
    assert_done(mc_state_dict_save(half, path, &options, &result, &error));
    assert_int_equal(result.bytes_written, 7 * 1001 * 2 + 4 + 5003 * 4);
    assert_true(exists(path, "model.safetensors.index.json"));
    assert_done(mc_state_dict_open(path, &found, &error));
    assert_int_equal(mc_state_dict_count(found), 4);
    for (size_t i = 0; i < 4; i++) {
        const char *const name = mc_state_dict_name(half, i);
        char *const x = bytes_of_source(mc_state_dict_find(half, name));
        char *const y = bytes_of_source(mc_state_dict_find(found, name));
        assert_memory_equal(x, y, mc_source_bytes(mc_state_dict_find(half, name)));
        free(x), free(y);
    }
    mc_state_dict_free(found);
    mc_state_dict_free(half);
    mc_state_dict_free(a);
    free(path);
    remove_temporary(folder);
}

/* Names that would make a file that nobody can open. */
static void test_save_names(void **state)
{
    (void)state;
    static const char *const names[] = {"__metadata__", "\xff\xfe"};
    char *const folder = temporary_folder(), *const path = path_of(folder, "model");
    for (size_t i = 0; i < 2; i++) {
        mc_state_dict *const dict = dict_new();
        dict_add(dict, names[i], MC_F32, SHAPE(2), 1);
        assert_error(MC_UNSUPPORTED, names[i], mc_state_dict_save(dict, path, NULL, NULL, &error));
        assert_false(exists(folder, "model"));
        mc_state_dict_free(dict);
    }
    free(path);
    remove_temporary(folder);
}

/* ---- methods from files ---------------------------------------------------------------------- */

static const char good_text[] = "#include <mergecraft/method.h>\n"
                                "MC_LAYER_MERGE(first_of_all, .help = \"the first\")\n"
                                "{\n"
                                "    mc_tile_copy(layer->out, layer->models[0], layer->count);\n"
                                "    return MC_OK;\n"
                                "}\n";

static mc_status open_plugin(const char *folder, const char *name, mc_plugin **out, mc_error *error)
{
    char *const path = path_of(folder, name);
    const mc_status status = mc_plugin_open(path, NULL, out, error);
    free(path);
    return status;
}

static void test_plugin(void **state)
{
    (void)state;
    char *const folder = temporary_folder(), *const cache = path_of(folder, "cache");
    mc_plugin *plugin = NULL, *again = NULL;
    mc_state_dict *out = NULL;
    setenv("XDG_CACHE_HOME", cache, 1);
    unsetenv("CC");
    write_text(folder, "good.c", good_text);
    assert_done(open_plugin(folder, "good.c", &plugin, &error));
    assert_int_equal(mc_plugin_method_count(plugin), 1);
    const mc_method *const method = mc_plugin_method(plugin, 0);
    assert_string_equal(method->name, "first_of_all");
    mc_state_dict *const a = dict_new();
    dict_add_floats(a, "x", 5);
    const mc_state_dict *const models[] = {a, a};
    const mc_merge_input input = {.models = models, .model_count = 2};
    assert_done(mc_dict_map(method, &input, &out, NULL, &error));
    assert_floats(out, "x", 5);
    /* The second time no compiler is needed, and there is none. */
    setenv("PATH", "/nowhere", 1);
    assert_done(open_plugin(folder, "good.c", &again, &error));
    assert_int_equal(mc_plugin_method_count(again), 1);
    write_text(folder, "new.c", good_text);
    assert_error(MC_NOT_FOUND, "cannot run the compiler 'cc'",
                 open_plugin(folder, "new.c", &again, &error));
    mc_state_dict_free(out);
    mc_state_dict_free(a);
    free(cache);
    remove_temporary(folder);
}

static void test_plugin_errors(void **state)
{
    (void)state;
    char *const folder = temporary_folder(), *const cache = path_of(folder, "cache");
    char *const open_cache = path_of(folder, "open"), *const own = path_of(open_cache,
                                                                           "mergecraft");
    mc_plugin *plugin = NULL;
    setenv("XDG_CACHE_HOME", cache, 1);
    write_text(folder, "bad.c",
               "#include <mergecraft/method.h>\n\nMC_LAYER_MERGE(bad)\n{\n    missing(1\n}\n");
    assert_error(MC_COMPILE, "bad.c:5:", open_plugin(folder, "bad.c", &plugin, &error));
    write_text(folder, "none.c", "int nothing;\n");
    assert_error(MC_FORMAT, "none", open_plugin(folder, "none.c", &plugin, &error));
    write_text(folder, "text.so", "no code\n");
    assert_error(MC_FORMAT, "cannot load it", open_plugin(folder, "text.so", &plugin, &error));
    assert_status(MC_NOT_FOUND, open_plugin(folder, "absent.c", &plugin, &error));
    assert_int_equal(mkdir(open_cache, 0700), 0);
    assert_int_equal(mkdir(own, 0700), 0);
    assert_int_equal(chmod(own, 0777), 0);
    setenv("XDG_CACHE_HOME", open_cache, 1);
    write_text(folder, "good.c", good_text);
    assert_error(MC_IO, "only this user can write to",
                 open_plugin(folder, "good.c", &plugin, &error));
    free(own), free(open_cache), free(cache);
    remove_temporary(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dict_map),
        cmocka_unit_test(test_model_method),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_picking),
        cmocka_unit_test(test_lazy),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_save_names),
        cmocka_unit_test(test_plugin_errors),
        /* Takes the compiler away. */
        cmocka_unit_test(test_plugin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
