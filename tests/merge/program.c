/*
 * What a program brings along: tensors that a function makes, models that are not in files, methods
 * made at run time.
 */
#include "merge/fixtures.h"

#include <pthread.h>

/* ---- computed tensors ------------------------------------------------------------------------ */

/* Counts what it is asked for, and by whom. */
typedef struct counter {
    int64_t next;
    bool in_order, here;
    pthread_t caller;
    int released;
} counter;

static mc_status count_up(void *cookie, int64_t first, int64_t count, void *out, mc_error *error)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    counter *const c = cookie;
    (void)error;
    /* Where the source does not ask for one thread, several call. */
    pthread_mutex_lock(&lock);
    c->in_order = c->in_order && first == c->next;
    c->here = c->here && pthread_equal(pthread_self(), c->caller);
    c->next = first + count;
    pthread_mutex_unlock(&lock);
    for (int64_t i = 0; i < count; i++)
        ((float *)out)[i] = (float)(first + i);
    return MC_OK;
}

static mc_status refuse(void *cookie, int64_t first, int64_t count, void *out, mc_error *error)
{
    (void)cookie, (void)first, (void)count, (void)out;
    return mc_fail(error, MC_USAGE, "no values today");
}

static void release(void *cookie)
{
    ((counter *)cookie)->released++;
}

static mc_state_dict *computed_dict(mc_dtype dtype, mc_compute compute, counter *c)
{
    mc_state_dict *const dict = dict_new();
    mc_source *source = NULL;
    const int64_t shape[] = {300, 1000};
    *c = (counter){.in_order = true, .here = true, .caller = pthread_self()};
    assert_done(mc_source_compute(dtype, 2, shape, compute, release, c, &source, &error));
    assert_done(mc_state_dict_set(dict, "x", source, &error));
    mc_source_unref(source);
    return dict;
}

static void note_progress(const mc_progress *progress, void *user)
{
    *(int64_t *)user = progress->bytes_done;
}

static void test_computed(void **state)
{
    (void)state;
    counter c;
    int64_t done = 0;
    mc_state_dict *const dict = computed_dict(MC_BF16, count_up, &c);
    mc_state_dict *made = NULL;
    const mc_run_options one = {.threads = 1, .progress = note_progress, .user = &done};
    assert_done(mc_state_dict_materialize(dict, &one, &made, NULL, &error));
    assert_true(c.in_order && c.here);
    assert_int_equal(c.next, 300000);
    assert_int_equal(done, 600000);
    const uint16_t *const bytes = mc_source_data(mc_state_dict_find(made, "x"));
    assert_non_null(bytes);
    assert_int_equal(bytes[1], 0x3f80);      /* 1.0 */
    assert_int_equal(bytes[299999], 0x4892); /* 299999 is rounded to 299008 */
    assert_null(mc_source_data(mc_state_dict_find(dict, "x")));
    mc_state_dict_free(made);
    assert_done(mc_state_dict_materialize(dict, NULL, &made, NULL, &error));
    assert_same_dicts(dict, made, "computed by several threads");
    mc_state_dict_free(made);
    assert_int_equal(c.released, 0);
    mc_state_dict_free(dict);
    assert_int_equal(c.released, 1);
}

static void test_computed_fails(void **state)
{
    (void)state;
    counter c;
    mc_source *source = NULL;
    mc_state_dict *made = NULL;
    mc_state_dict *const dict = computed_dict(MC_F32, refuse, &c);
    for (int threads = 1; threads <= 3; threads++) {
        const mc_run_options options = {.threads = threads};
        assert_error(MC_USAGE, "no values today",
                     mc_state_dict_materialize(dict, &options, &made, NULL, &error));
    }
    mc_state_dict_free(dict);
    assert_error(MC_UNSUPPORTED, "expected a float dtype, found I64",
                 mc_source_compute(MC_I64, 0, NULL, refuse, release, &c, &source, &error));
    assert_int_equal(c.released, 1);
}

/* One thread stops where it is told to, as several do. */
static void test_cancelled(void **state)
{
    (void)state;
    counter c;
    mc_state_dict *made = NULL;
    mc_state_dict *const dict = computed_dict(MC_F32, count_up, &c);
    const volatile int cancel = 1;
    const mc_run_options options = {.threads = 1, .cancel = &cancel};
    assert_status(MC_INTERRUPTED, mc_state_dict_materialize(dict, &options, &made, NULL, &error));
    mc_state_dict_free(dict);
}

/* ---- where tensors are ----------------------------------------------------------------------- */

static void test_place(void **state)
{
    (void)state;
    char *const folder = temporary_folder();
    mc_state_dict *const dict = dict_new();
    float values[3] = {0};
    mc_place place;
    dict_add_floats(dict, "a", 1, 2), dict_add_floats(dict, "b", 3, 4, 5);
    assert_false(mc_source_place(mc_state_dict_find(dict, "b"), &place));
    save_model(folder, "model", dict);
    mc_model *const model = open_model(folder, "model");
    const mc_source *const b = mc_state_dict_find(mc_model_state_dict(model), "b");
    assert_null(mc_source_data(b));
    assert_true(mc_source_place(b, &place));
    assert_non_null(strstr(place.path, "/model/model.safetensors"));
    assert_int_equal(pread(place.fd, values, sizeof values, place.offset), sizeof values);
    assert_true(values[0] == 3 && values[1] == 4 && values[2] == 5);
    mc_model_close(model);
    remove_temporary(folder);
}

/* ---- models and methods ---------------------------------------------------------------------- */

/* A method that keeps more than a descriptor: its name is chosen when the program runs. */
typedef struct factor_method {
    mc_method method;
    double factor;
} factor_method;

static mc_status multiply(const mc_merge_input *input, mc_state_dict **out, mc_error *error)
{
    const factor_method *const self = (const factor_method *)input->method;
    return mc_state_dict_combine_number(MC_MULTIPLY, input->models[0], self->factor, false, out,
                                        error);
}

static mc_model *wrapped_model(const char *name, float value, const char *config)
{
    mc_model *model = NULL;
    mc_state_dict *const dict = dict_new();
    dict_add_floats(dict, "x", value);
    assert_done(mc_model_wrap(name, dict, config, NULL, &model, &error));
    mc_state_dict_free(dict);
    return model;
}

static void assert_has_text(const char *folder, const char *name, const char *part)
{
    size_t size = 0;
    char *const path = path_of(folder, name), *const text = read_text(path, &size);
    if (!strstr(text, part))
        fail_msg("%s: expected %s, found %s", name, part, text);
    free(path);
    free(text);
}

static void test_wrapped_models(void **state)
{
    (void)state;
    static const char config[] = "{\"architectures\": [\"Small\"], \"id2label\": {\"0\": \"no\"}}";
    char *const folder = temporary_folder(), *const out = path_of(folder, "out");
    mc_model *const models[] = {wrapped_model("first", 1, config),
                                wrapped_model("second", 2, config)};
    const factor_method twice = {.method = {.api = MC_METHOD_API,
                                            .real_size = sizeof(mc_real),
                                            .name = "twice",
                                            .scope = MC_MODEL,
                                            .merge = multiply},
                                 .factor = 2};
    const mc_plan_input input = {.method = &twice.method,
                                 .models = (const mc_model *const *)models,
                                 .model_count = 2,
                                 .method_origin = "here",
                                 .method_text = "times 2"};
    const mc_run_options options = {.threads = 1, .no_sync = true};
    mc_plan *plan = NULL;
    assert_string_equal(mc_model_architecture(models[0]), "Small");
    assert_string_equal(mc_model_label(models[0], 0), "no");
    assert_string_equal(mc_model_format(models[0]), "memory");
    assert_null(mc_model_folder(models[0]));
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_done(mc_plan_run(plan, out, &options, NULL, &error));
    mc_plan_free(plan);
    mc_model *const merged = open_model(folder, "out");
    assert_floats(mc_model_state_dict(merged), "x", 2);
    assert_string_equal(mc_model_architecture(merged), "Small");
    mc_model_close(merged);
    assert_has_text(out, "mergecraft.json", "\"file\": \"here\"");
    assert_has_text(out, "mergecraft.json", "\"text\": \"times 2\"");
    assert_has_text(out, "README.md", "| `first` | merged |");
    for (int i = 0; i < 2; i++)
        mc_model_close(models[i]);
    free(out);
    remove_temporary(folder);
}

/* A stopped run of models that nobody can tell again leaves nothing behind. */
static void test_not_resumed(void **state)
{
    (void)state;
    char *const folder = temporary_folder(), *const out = path_of(folder, "out");
    const mc_model *const model = wrapped_model("first", 1, NULL);
    const mc_plan_input input = {
        .method = mc_method_find("soup"), .models = &model, .model_count = 1};
    const volatile int cancel = 1;
    const mc_run_options options = {.threads = 1, .cancel = &cancel};
    mc_plan *plan = NULL;
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_status(MC_INTERRUPTED, mc_plan_run(plan, out, &options, NULL, &error));
    assert_int_equal(count_entries(folder), 0);
    mc_plan_free(plan);
    mc_model_close((mc_model *)(uintptr_t)model);
    free(out);
    remove_temporary(folder);
}

static void test_wrapped_config_is_checked(void **state)
{
    (void)state;
    mc_model *model = NULL;
    mc_state_dict *const dict = dict_new();
    assert_error(MC_FORMAT, "mine: expected a JSON object",
                 mc_model_wrap("mine", dict, "[]", NULL, &model, &error));
    assert_status(MC_FORMAT, mc_model_wrap("mine", dict, "{", NULL, &model, &error));
    mc_state_dict_free(dict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_computed),
        cmocka_unit_test(test_computed_fails),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_wrapped_models),
        cmocka_unit_test(test_not_resumed),
        cmocka_unit_test(test_wrapped_config_is_checked),
    };
    return cmocka_run_group_tests_name("what a program brings along", tests, NULL, NULL);
}
