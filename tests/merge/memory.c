/*
 * Every allocation of a merge fails in turn: alone, and with all that follow, and then jansson's
 * too (which alone it does not always notice). There is an error each time and nothing is left
 * behind, or it did not matter and the result is the one of a run in which none failed.
 */
#include "merge/fixtures.h"

#include "base/memory.h"

#include <jansson.h>

/* What is merged how; opening the models is a part of it. */
typedef struct merge {
    const char *method;
    const char *models[2], *base;
    int threads;
} merge;

static mc_status run(const merge *m, const char *folder, const char *target, mc_error *error)
{
    mc_model *opened[3] = {0};
    const char *const names[] = {m->models[0], m->models[1], m->base};
    const mc_method *const method = mc_method_find(m->method);
    mc_plan *plan = NULL;
    mc_status status = MC_OK;
    char path[1024];
    for (int i = 0; i < 3 && status == MC_OK; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        status = mc_model_open(path, &opened[i], error);
    }
    const mc_plan_input input = {.method = method,
                                 .models = (const mc_model *const *)opened,
                                 .model_count = 2,
                                 .base = method->needs_base ? opened[2] : NULL,
                                 .passthrough = (const char *const[]){"head"},
                                 .passthrough_count = 1,
                                 .allow_unused = true};
    const mc_run_options options = {
        .threads = m->threads, .no_sync = true, .overwrite = true, .shard_size = 12000};
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

/* ---- one allocation after another ------------------------------------------------------------ */

typedef void fail_from(long count);

static void fail_after(long count)
{
    json_set_alloc_funcs(mc_alloc, mc_free);
    mc_memory_fail_after(count);
}

static void fail_once(long count)
{
    json_set_alloc_funcs(malloc, free);
    mc_memory_fail_once(count);
}

typedef struct place {
    const char *folder;       /* with the models */
    char *target, *reference; /* of one name, which the model card tells */
    char *parent;             /* of the target, made by the run */
} place;

/* One run in which memory fails at `at`; false when it made fewer allocations. */
static bool fails_at(const merge *m, const place *p, fail_from *refuse, long at)
{
    mc_error error = MC_ERROR_NONE;
    refuse(at);
    const mc_status status = run(m, p->folder, p->target, &error);
    const bool reached = mc_memory_allocations() > at;
    mc_memory_fail_after(-1);
    if (status == MC_OK) {
        assert_same_folders(p->reference, p->target);
        assert_int_equal(count_entries(p->parent), 1);
        nftw(p->parent, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    } else if (status != MC_NO_MEMORY || error.code != MC_NO_MEMORY) {
        fail_msg("%s, allocation %ld: expected 'out of memory', found '%s' (%s)", m->method, at,
                 error.text, error.file);
    }
    if (exists(p->folder, "new"))
        fail_msg("%s, allocation %ld: something is left behind", m->method, at);
    return reached;
}

/* `step`: how many allocations are passed over, in percent of those before. */
static void check(const merge *m, const char *folder, fail_from *refuse, long step)
{
    place p = {.folder = folder,
               .parent = path_of(folder, "new"),
               .target = path_of(folder, "new/out"),
               .reference = path_of(folder, "reference/out")};
    assert_done(run(m, folder, p.reference, &error));
    long at = 0, times = 0;
    for (; fails_at(m, &p, refuse, at); at += 1 + at * step / 100)
        times++;
    assert_true(at > 100 && times > 30);
    free(p.parent), free(p.target), free(p.reference);
}

static void check_folder(const merge *merges, size_t count, long step)
{
    char *const folder = temporary_folder();
    fill_folder(folder);
    for (size_t i = 0; i < count; i++) {
        check(&merges[i], folder, fail_after, step);
        check(&merges[i], folder, fail_once, step);
    }
    remove_temporary(folder);
}

static bool thorough;

#define WITH(method_, threads_)                                                                    \
    {                                                                                              \
        method_, {"a", "b"}, "base", threads_                                                      \
    }

static void test_methods(void **state)
{
    (void)state;
    static const merge merges[] = {WITH("soup", 1), WITH("task", 1), WITH("ties", 1),
                                   WITH("slerp", 1), WITH("dare", 1)};
    check_folder(merges, sizeof merges / sizeof *merges, thorough ? 0 : 2);
}

/* Which thread it hits is another one each time. */
static void test_threads(void **state)
{
    (void)state;
    static const merge merges[] = {WITH("soup", 8), WITH("ties", 8), WITH("slerp", 8)};
    check_folder(merges, sizeof merges / sizeof *merges, thorough ? 0 : 5);
}

/* Formats that are read in other ways: shards, zip files with pickles, the older kind. */
static void test_formats(void **state)
{
    (void)state;
    static const merge merges[] = {{"soup", {"rte-1", "rte-2"}, "base", 1},
                                   {"ties", {"rte-3", "rte-4"}, "base", 2},
                                   {"task", {"rte-5", "rte-1"}, "base", 1}};
    char *const folder = temporary_folder();
    static const char *const names[] = {"rte-1", "rte-2", "rte-3", "rte-4", "rte-5", "base"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *const path = path_of(folder, names[i]);
        char *const model = path_of(MC_SOURCE_DIR "/examples/models", names[i]);
        assert_int_equal(symlink(model, path), 0);
        free(path), free(model);
    }
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        check(&merges[i], folder, fail_after, thorough ? 1 : 15);
        check(&merges[i], folder, fail_once, thorough ? 1 : 15);
    }
    remove_temporary(folder);
}

/* ---- in memory ------------------------------------------------------------------------------- */

static mc_status compute(const mc_state_dict *a, const mc_state_dict *b, mc_state_dict **out,
                         mc_error *error)
{
    mc_state_dict *vector = NULL, *half = NULL, *merged = NULL;
    const mc_run_options options = {.threads = 2};
    const mc_state_dict *const models[] = {a, b};
    const mc_merge_input input = {.models = models, .model_count = 2, .base = a};
    mc_status status = mc_model_merge(mc_method_find("task"), &input, &merged, NULL, error);
    if (status == MC_OK)
        status = mc_state_dict_combine(MC_SUBTRACT, merged, a, NULL, &vector, error);
    if (status == MC_OK)
        status = mc_state_dict_combine_number(MC_MULTIPLY, vector, .5, false, &half, error);
    if (status == MC_OK)
        status = mc_state_dict_materialize(half, &options, out, NULL, error);
    mc_state_dict_free(vector);
    mc_state_dict_free(half);
    mc_state_dict_free(merged);
    return status;
}

static void check_dicts(fail_from *refuse)
{
    mc_state_dict *const a = dict_new(), *const b = dict_new();
    mc_state_dict *reference = NULL;
    dict_add(a, "x", MC_F32, SHAPE(9001), 1), dict_add(b, "x", MC_F32, SHAPE(9001), 2);
    dict_add(a, "y", MC_BF16, SHAPE(3), 3), dict_add(b, "y", MC_F64, SHAPE(3), 4);
    assert_done(compute(a, b, &reference, &error));
    long at = 0;
    for (bool reached = true; reached; at++) {
        mc_state_dict *out = NULL;
        mc_error error = MC_ERROR_NONE;
        refuse(at);
        const mc_status status = compute(a, b, &out, &error);
        reached = mc_memory_allocations() > at;
        mc_memory_fail_after(-1);
        if (status == MC_OK)
            assert_same_dicts(reference, out, "with little memory");
        else
            assert_int_equal(status, MC_NO_MEMORY);
        mc_state_dict_free(out);
    }
    assert_true(at > 20);
    mc_state_dict_free(reference);
    mc_state_dict_free(a);
    mc_state_dict_free(b);
}

static void test_dicts(void **state)
{
    (void)state;
    check_dicts(fail_after);
    check_dicts(fail_once);
}

int main(int argc, char **argv)
{
    thorough = argc > 1 && strcmp(argv[1], "long") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_dicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
