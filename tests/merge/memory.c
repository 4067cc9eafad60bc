/* Every allocation of a merge fails in turn: there is an error each time, and nothing is left behind. */
#include "merge/fixtures.h"

#include "base/memory.h"

static mc_status merge(const char *folder, const char *method, const char *target, mc_error *error)
{
    mc_model *opened[3] = {0};
    static const char *const names[] = {"a", "b", "base"};
    mc_plan *plan = NULL;
    mc_status status = MC_OK;
    char path[1024];
    for (int i = 0; i < 3 && status == MC_OK; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        status = mc_model_open(path, &opened[i], error);
    }
    const mc_plan_input input = {.method = mc_method_find(method),
                                 .models = (const mc_model *const *)opened,
                                 .model_count = 2,
                                 .base = mc_method_find(method)->needs_base ? opened[2] : NULL,
                                 .passthrough = (const char *const[]){"head"},
                                 .passthrough_count = 1};
    const mc_run_options options = {.threads = 1, .no_sync = true};
    if (status == MC_OK)
        status = mc_plan_new(&input, &plan, error);
    if (status == MC_OK)
        status = mc_plan_run(plan, target, &options, NULL, error);
    mc_plan_free(plan);
    for (int i = 0; i < 3; i++)
        mc_model_close(opened[i]);
    return status;
}

static void fill_folder(const char *folder)
{
    static const char *const names[] = {"a", "b", "base"};
    const int32_t ids[] = {1, 2};
    for (uint64_t i = 0; i < 3; i++) {
        mc_state_dict *const dict = dict_new();
        dict_add(dict, "bert.x", MC_F32, SHAPE(3, 1501), i);
        dict_add(dict, "bert.y", i ? MC_F16 : MC_BF16, SHAPE(7), i);
        if (i < 2)
            dict_add(dict, "head", MC_F32, SHAPE(2), i);
        dict_add_bytes(dict, "ids", MC_I32, SHAPE(2), ids, sizeof ids);
        save_model(folder, names[i], dict);
        char *const path = path_of(folder, names[i]);
        write_text(path, "config.json", "{\"id2label\": {\"0\": \"yes\", \"1\": \"no\"}}");
        write_text(path, "vocab.txt", "a\nb\n");
        free(path);
    }
}

static void check_method(const char *folder, const char *method)
{
    char *const target = path_of(folder, "new/out");
    long failures = 0;
    mc_status status = MC_NO_MEMORY;
    while (status != MC_OK) {
        mc_error error = MC_ERROR_NONE;
        mc_memory_fail_after(failures);
        status = merge(folder, method, target, &error);
        mc_memory_fail_after(-1);
        if (status == MC_OK)
            break;
        if (status != MC_NO_MEMORY || error.code != MC_NO_MEMORY)
            fail_msg("%s, after %ld allocations: expected 'out of memory', found '%s'", method,
                     failures, error.text);
        assert_true(++failures < 100000);
        if (exists(folder, "new"))
            fail_msg("%s, after %ld allocations: something is left behind", method, failures - 1);
    }
    assert_true(failures > 100);
    assert_true(exists(target, "model.safetensors"));
    free(target);
}

static void test_merges(void **state)
{
    (void)state;
    static const char *const methods[] = {"soup", "task", "ties", "slerp"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char *const folder = temporary_folder();
        fill_folder(folder);
        check_method(folder, methods[i]);
        remove_temporary(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_merges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
