/* Every checkpoint that torch and safetensors wrote must give what its .expected says. */
#include "files.h"

#include "base/memory.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/reader.h"
#include "checkpoint/stored.h"
#include "tensor/source.h"

#include <inttypes.h>

static int is_expected(const char *name)
{
    return has_ending(name, ".expected");
}

static char *checkpoint_path(const char *folder, const char *expected)
{
    char *const path = join(folder, expected);
    path[strlen(path) - strlen(".expected")] = '\0';
    return path;
}

static void open_checkpoint(const char *path, mc_checkpoint *out)
{
    mc_error error = MC_ERROR_NONE;
    out->is_input_embedding = is_input_embedding;
    if (mc_checkpoint_open(path, NULL, out, &error) != MC_OK)
        fail_msg("%s", message_of(&error));
}

static uint64_t fnv(const unsigned char *bytes, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static unsigned char *read_whole(const mc_source *source)
{
    mc_error error = MC_ERROR_NONE;
    unsigned char *const bytes = malloc((size_t)source->bytes + 1);
    assert_non_null(bytes);
    if (mc_source_read_raw(source, 0, source->bytes, bytes, &error) != MC_OK)
        fail_msg("%s", message_of(&error));
    return bytes;
}

/* "F32 2,3 HASH name", as in .expected. */
static char *describe(const char *name, const mc_source *source)
{
    char shape[256] = "-", *text = NULL;
    for (int d = 0, at = 0; d < source->rank; d++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%" PRId64, d ? "," : "",
                       source->shape[d]);
    unsigned char *const bytes = read_whole(source);
    assert_true(asprintf(&text, "tensor %s %s %016" PRIx64 " %s", mc_dtype_name(source->dtype),
                         shape, fnv(bytes, (size_t)source->bytes), name) > 0);
    free(bytes);
    return text;
}

/* Compares one line and moves on behind it. */
static void expect_line(char **rest, const char *found)
{
    char *const line = strsep(rest, "\n");
    assert_non_null(*rest);
    assert_string_equal(found, line);
}

static void check_fixture(const char *folder, const char *name)
{
    char *const path = checkpoint_path(folder, name), *const list = join(folder, name);
    size_t size = 0;
    char *const text = load_file(list, &size), *rest = text;
    mc_checkpoint checkpoint = {0};
    open_checkpoint(path, &checkpoint);
    char line[1024];
    snprintf(line, sizeof line, "format %s", checkpoint.format);
    expect_line(&rest, line);
    for (size_t i = 0; i < mc_state_dict_count(checkpoint.dict); i++) {
        char *const found = describe(mc_state_dict_name(checkpoint.dict, i),
                                     mc_state_dict_source(checkpoint.dict, i));
        expect_line(&rest, found);
        free(found);
    }
    /* Aliases come in the order of the file, which is not promised. */
    for (size_t i = 0; i < checkpoint.alias_count; i++) {
        snprintf(line, sizeof line, "\nalias %s %s\n", checkpoint.aliases[i],
                 checkpoint.tied_to[i]);
        char *const whole = load_file(list, &size);
        if (!strstr(whole, line))
            fail_msg("%s: not expected:%s", name, line);
        free(whole);
        assert_non_null(strsep(&rest, "\n"));
    }
    assert_string_equal(rest, "");
    mc_checkpoint_close(&checkpoint);
    free(text);
    free(list);
    free(path);
}

static void test_contents(void **state)
{
    (void)state;
    assert_true(for_each_name(CHECKPOINTS, is_expected, check_fixture) >= 30);
}

/* Any part must be the same as that part of the whole. */
static void check_raw_parts(const mc_source *source)
{
    unsigned char *const whole = read_whole(source);
    unsigned char part[4096];
    const int64_t step = source->bytes > 64 ? 7 : 1;
    for (int64_t first = 0; first <= source->bytes; first += step) {
        for (int64_t size = 0; size <= source->bytes - first; size += step) {
            assert_true(size < (int64_t)sizeof part);
            part[size] = 0xa5;
            assert_int_equal(mc_source_read_raw(source, first, size, part, NULL), MC_OK);
            assert_memory_equal(part, whole + first, size);
            assert_int_equal(part[size], 0xa5);
        }
    }
    assert_int_equal(mc_source_read_raw(source, 1, source->bytes, part, NULL), MC_USAGE);
    free(whole);
}

static void check_float_parts(const mc_source *source)
{
    if (!mc_stored_file(source)) /* computed: not rounded before it is written */
        return;
    unsigned char *const raw = read_whole(source);
    const size_t count = (size_t)source->count;
    float *const f32 = malloc((count + 1) * sizeof *f32), part[600];
    double *const f64 = malloc((count + 1) * sizeof *f64), part64[600];
    mc_dtype_to_f32(source->dtype, f32, raw, count);
    mc_dtype_to_f64(source->dtype, f64, raw, count);
    for (size_t first = 0; first <= count; first += count > 40 ? 5 : 1) {
        for (size_t n = 0; n <= count - first; n += count > 40 ? 3 : 1) {
            assert_true(n <= sizeof part / sizeof *part);
            assert_int_equal(mc_source_read_f32(source, (int64_t)first, (int64_t)n, part, NULL),
                             MC_OK);
            assert_memory_equal(part, f32 + first, n * sizeof *part);
            assert_int_equal(mc_source_read_f64(source, (int64_t)first, (int64_t)n, part64, NULL),
                             MC_OK);
            assert_memory_equal(part64, f64 + first, n * sizeof *part64);
        }
    }
    free(f64);
    free(f32);
    free(raw);
}

static void check_parts(const char *folder, const char *name)
{
    char *const path = checkpoint_path(folder, name);
    mc_checkpoint checkpoint = {0};
    open_checkpoint(path, &checkpoint);
    for (size_t i = 0; i < mc_state_dict_count(checkpoint.dict); i++) {
        const mc_source *const source = mc_state_dict_source(checkpoint.dict, i);
        if (source->bytes >= 1024)
            continue;
        check_raw_parts(source);
        if (mc_dtype_kind_of(source->dtype) == MC_KIND_FLOAT)
            check_float_parts(source);
        mc_source_read_ahead(source, 0, source->bytes);
        assert_int_equal(mc_source_check(source, NULL), MC_OK);
    }
    mc_checkpoint_close(&checkpoint);
    free(path);
}

static void test_parts(void **state)
{
    (void)state;
    for_each_name(CHECKPOINTS, is_expected, check_parts);
}

static void check_out_of_memory(const char *folder, const char *name)
{
    char *const path = checkpoint_path(folder, name);
    const mc_status status = open_as_memory_fails(path, 100000);
    assert_int_equal(status, MC_OK);
    free(path);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for_each_name(CHECKPOINTS, is_expected, check_out_of_memory);
}

static void test_state_dict_open(void **state)
{
    (void)state;
    mc_state_dict *dict = NULL;
    assert_int_equal(mc_state_dict_open(CHECKPOINTS "/sharded", &dict, NULL), MC_OK);
    /* The files stay open for the tensors. */
    for (size_t i = 0; i < mc_state_dict_count(dict); i++)
        free(read_whole(mc_state_dict_source(dict, i)));
    mc_state_dict_free(dict);
    mc_state_dict *none = NULL;
    assert_int_equal(mc_state_dict_open(CHECKPOINTS "/absent", &none, NULL), MC_NOT_FOUND);
    assert_null(none);
}

/* An index is opened by its own path as well, and says the same. */
static void test_index_file(void **state)
{
    (void)state;
    mc_checkpoint checkpoint = {0};
    open_checkpoint(CHECKPOINTS "/sharded/model.safetensors.index.json", &checkpoint);
    assert_int_equal(mc_state_dict_count(checkpoint.dict), 6);
    assert_int_equal(checkpoint.file_count, 2);
    assert_string_equal(checkpoint.folder, CHECKPOINTS "/sharded");
    assert_string_equal(mc_file_path(checkpoint.files[1]),
                        CHECKPOINTS "/sharded/model-00002-of-00002.safetensors");
    mc_checkpoint_close(&checkpoint);
}

/* The hub's cache has links to files whose names are hashes: what counts is what is in them. */
static void test_links(void **state)
{
    (void)state;
    char *const folder = make_folder();
    char *const link = join(folder, "model.safetensors");
    assert_int_equal(symlink(CHECKPOINTS "/dtypes_p2.pt", link), 0);
    mc_checkpoint checkpoint = {0};
    open_checkpoint(folder, &checkpoint);
    assert_string_equal(checkpoint.format, "torch zip");
    mc_checkpoint_close(&checkpoint);
    free(link);
    remove_folder(folder);
}

static void test_relative_path(void **state)
{
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(CHECKPOINTS), 0);
    mc_checkpoint checkpoint = {0};
    open_checkpoint("flat.pt", &checkpoint);
    assert_string_equal(checkpoint.folder, ".");
    mc_checkpoint_close(&checkpoint);
    assert_int_equal(chdir(before), 0);
}

static void check_opens_after_closing(const char *path)
{
    mc_checkpoint checkpoint = {0};
    open_checkpoint(path, &checkpoint);
    mc_source *const kept = mc_source_ref(mc_state_dict_source(checkpoint.dict, 0));
    mc_checkpoint_close(&checkpoint);
    assert_non_null(mc_stored_file(kept));
    free(read_whole(kept));
    mc_source_unref(kept);
}

static void test_source_outlives_checkpoint(void **state)
{
    (void)state;
    check_opens_after_closing(CHECKPOINTS "/dtypes.safetensors");
    check_opens_after_closing(CHECKPOINTS "/dtypes_p2.pt");
    check_opens_after_closing(CHECKPOINTS "/dtypes_p2.bin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),      cmocka_unit_test(test_parts),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_state_dict_open),
        cmocka_unit_test(test_index_file),    cmocka_unit_test(test_links),
        cmocka_unit_test(test_relative_path), cmocka_unit_test(test_source_outlives_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
