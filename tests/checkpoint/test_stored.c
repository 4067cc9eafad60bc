/* Tensors in files: strides, windows, conversions, files that change. */
#include "files.h"

#include "checkpoint/reader.h"
#include "checkpoint/stored.h"
#include "tensor/source.h"

enum { FILE_BYTES = 1 << 20 };

typedef struct fixture {
    char *folder, *path;
    unsigned char *bytes;
    mc_file *file;
} fixture;

static uint64_t next_random(void)
{
    static uint64_t state = 12345;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state >> 33;
}

static int set_up(void **state)
{
    fixture *const f = calloc(1, sizeof *f);
    f->folder = make_folder();
    f->path = join(f->folder, "data");
    f->bytes = malloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        f->bytes[i] = (unsigned char)next_random();
    save_file(f->path, f->bytes, FILE_BYTES);
    assert_int_equal(mc_file_open(f->path, &f->file, NULL), MC_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    mc_file_unref(f->file);
    free(f->bytes);
    free(f->path);
    remove_folder(f->folder);
    free(f);
    return 0;
}

static mc_source *make(const fixture *f, int64_t offset, mc_dtype dtype, int rank,
                       const int64_t *shape, const int64_t *strides)
{
    mc_source *source = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_stored_new(f->file, 0, FILE_BYTES, offset, dtype, rank, shape, strides, &source,
                      &error) != MC_OK)
        fail_msg("%s", message_of(&error));
    return source;
}

/* The definition: element by element. */
static unsigned char *gather(const fixture *f, int64_t offset, const mc_source *source,
                             const int64_t *strides)
{
    const int64_t element = mc_dtype_bytes(source->dtype, 1);
    unsigned char *const out = malloc((size_t)source->bytes + 1);
    for (int64_t i = 0; i < source->count; i++) {
        int64_t rest = i, at = 0;
        for (int d = source->rank - 1; d >= 0; d--) {
            at += rest % source->shape[d] * strides[d];
            rest /= source->shape[d];
        }
        memcpy(out + i * element, f->bytes + offset + at * element, (size_t)element);
    }
    return out;
}

static void check_part(const mc_source *source, const unsigned char *whole, int64_t first,
                       int64_t size)
{
    unsigned char *const part = malloc((size_t)size + 1);
    mc_error error = MC_ERROR_NONE;
    if (mc_source_read_raw(source, first, size, part, &error) != MC_OK)
        fail_msg("%s", message_of(&error));
    assert_memory_equal(part, whole + first, (size_t)size);
    free(part);
}

static void check_strided(const fixture *f, int64_t offset, mc_dtype dtype, int rank,
                          const int64_t *shape, const int64_t *strides)
{
    mc_source *const source = make(f, offset, dtype, rank, shape, strides);
    unsigned char *const whole = gather(f, offset, source, strides);
    check_part(source, whole, 0, source->bytes);
    for (int i = 0; i < 8 && source->bytes > 0; i++) {
        const int64_t first = (int64_t)(next_random() % (uint64_t)source->bytes);
        check_part(source, whole, first,
                   (int64_t)(next_random() % (uint64_t)(source->bytes - first + 1)));
    }
    free(whole);
    mc_source_unref(source);
}

/*
 * Larger than the window through which strided tensors are read, in all ways that torch makes them.
 */
static void test_large_strided(void **state)
{
    const fixture *const f = *state;
    check_strided(f, 64, MC_F32, 2, (int64_t[]){301, 211}, (int64_t[]){1, 301});
    check_strided(f, 3, MC_F16, 2, (int64_t[]){97, 1009}, (int64_t[]){2011, 1});
    check_strided(f, 3, MC_U8, 2, (int64_t[]){9, 40000}, (int64_t[]){50000, 1});
    check_strided(f, 0, MC_U8, 2, (int64_t[]){9, 50000}, (int64_t[]){50000, 1});
    check_strided(f, 0, MC_F64, 3, (int64_t[]){11, 13, 700}, (int64_t[]){0, 1, 13});
    check_strided(f, 8, MC_BF16, 4, (int64_t[]){12, 7, 64, 9}, (int64_t[]){64, 6912, 1, 768});
    check_strided(f, 0, MC_C64, 2, (int64_t[]){2, 2}, (int64_t[]){1, 130000});
    check_strided(f, 0, MC_I32, 2, (int64_t[]){1000, 100}, (int64_t[]){3, 2});
    check_strided(f, 1048575, MC_U8, 2, (int64_t[]){200, 300}, (int64_t[]){0, 0});
}

static void test_any_strides(void **state)
{
    const fixture *const f = *state;
    static const mc_dtype dtypes[] = {MC_U8, MC_F16, MC_F32, MC_F64};
    for (int i = 0; i < 400; i++) {
        int64_t shape[5], strides[5];
        const int rank = (int)(next_random() % 6);
        for (int d = 0; d < rank; d++) {
            shape[d] = (int64_t)(next_random() % 7);
            strides[d] = next_random() % 4 ? (int64_t)(next_random() % 900) : 0;
        }
        check_strided(f, (int64_t)(next_random() % 1000), dtypes[next_random() % 4], rank, shape,
                      strides);
    }
}

/* Strides of dimensions with one element say nothing. */
static void test_row_major(void **state)
{
    const fixture *const f = *state;
    mc_source *const plain = make(f, 16, MC_F32, 3, (int64_t[]){4, 1, 3}, NULL);
    mc_source *const strided = make(f, 16, MC_F32, 3, (int64_t[]){4, 1, 3}, (int64_t[]){3, 99, 1});
    mc_source *const other = make(f, 16, MC_F32, 3, (int64_t[]){4, 1, 3}, (int64_t[]){3, 1, 3});
    mc_source *const moved = make(f, 20, MC_F32, 3, (int64_t[]){4, 1, 3}, NULL);
    mc_source *const bits = make(f, 16, MC_I32, 3, (int64_t[]){4, 1, 3}, NULL);
    mc_source *const flat = make(f, 16, MC_F32, 1, (int64_t[]){12}, NULL);
    mc_source *const again = make(f, 16, MC_F32, 3, (int64_t[]){2, 2, 3}, NULL);
    assert_true(mc_stored_same(plain, strided));
    assert_false(mc_stored_same(plain, other));
    assert_false(mc_stored_same(plain, moved));
    assert_false(mc_stored_same(plain, bits));
    assert_false(mc_stored_same(plain, flat));
    assert_false(mc_stored_same(plain, again));
    assert_int_equal(mc_stored_compare(plain, moved), -mc_stored_compare(moved, plain));
    mc_source *const all[] = {plain, strided, other, moved, bits, flat, again};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mc_source_unref(all[i]);
}

static void test_other_kinds(void **state)
{
    const fixture *const f = *state;
    const float values[3] = {1, 2, 3};
    mc_source *memory = NULL;
    assert_int_equal(mc_source_wrap(MC_F32, 1, (int64_t[]){3}, values, NULL, NULL, &memory, NULL),
                     MC_OK);
    mc_source *const stored = make(f, 0, MC_F32, 1, (int64_t[]){3}, NULL);
    assert_null(mc_stored_file(memory));
    assert_ptr_equal(mc_stored_file(stored), f->file);
    assert_false(mc_stored_same(memory, memory));
    assert_false(mc_stored_same(stored, memory));
    mc_source_unref(memory);
    mc_source_unref(stored);
}

/* Wide to narrow goes through a small buffer: many more elements than it holds. */
static void test_narrowing(void **state)
{
    const fixture *const f = *state;
    enum { COUNT = 5000 };
    mc_source *const source = make(f, 8, MC_F64, 1, (int64_t[]){COUNT}, NULL);
    float *const found = malloc(COUNT * sizeof *found), *const expected = malloc(COUNT * 4);
    mc_dtype_from_f64(MC_F32, expected, (const double *)(const void *)(f->bytes + 16), COUNT - 1);
    assert_int_equal(mc_source_read_f32(source, 1, COUNT - 1, found, NULL), MC_OK);
    assert_memory_equal(found, expected, (COUNT - 1) * sizeof *found);
    free(found);
    free(expected);
    mc_source_unref(source);
}

static void expect_refusal(const fixture *f, int64_t begin, int64_t end, int64_t offset,
                           mc_dtype dtype, int rank, const int64_t *shape, const int64_t *strides,
                           mc_status expected, const char *text)
{
    mc_source *source = NULL;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(
        mc_stored_new(f->file, begin, end, offset, dtype, rank, shape, strides, &source, &error),
        expected);
    assert_null(source);
    if (!strstr(message_of(&error), text))
        fail_msg("expected '%s' in: %s", text, message_of(&error));
}

static void test_refusals(void **state)
{
    const fixture *const f = *state;
    const int64_t three[] = {3}, pair[] = {2, 2}, big[] = {INT64_MAX};
    const int64_t most = INT64_MAX;
    expect_refusal(f, 0, 11, 0, MC_F32, 1, three, NULL, MC_FORMAT, "expected 12 bytes");
    expect_refusal(f, 4, 99, 0, MC_F32, 1, three, NULL, MC_FORMAT, "storage is bytes 4 to 99");
    expect_refusal(f, 0, 99, 100, MC_F32, 1, three, NULL, MC_FORMAT, "from byte 100");
    expect_refusal(f, 0, FILE_BYTES + 1, 0, MC_F32, 1, three, NULL, MC_FORMAT, "1048577");
    expect_refusal(f, -4, 99, 0, MC_F32, 1, three, NULL, MC_FORMAT, "bytes -4");
    expect_refusal(f, 99, 4, 0, MC_F32, 1, three, NULL, MC_FORMAT, "bytes 99 to 4");
    expect_refusal(f, 0, 99, -8, MC_F32, 1, three, NULL, MC_FORMAT, "byte -8");
    expect_refusal(f, 0, 99, 0, MC_F32, 1, big, NULL, MC_FORMAT, "too large");
    expect_refusal(f, 0, 99, 0, MC_F32, 1, (int64_t[]){-1}, NULL, MC_FORMAT, "found -1");
    expect_refusal(f, 0, 40, 0, MC_F32, 1, three, (int64_t[]){5}, MC_FORMAT, "expected 44 bytes");
    expect_refusal(f, 0, 99, 0, MC_F32, 1, three, (int64_t[]){-1}, MC_FORMAT, "strides");
    expect_refusal(f, 0, 99, 0, MC_F32, 1, three, (int64_t[]){most}, MC_FORMAT, "strides");
    expect_refusal(f, 0, 99, 0, MC_F32, 2, pair, (int64_t[]){most, most}, MC_FORMAT, "strides");
    expect_refusal(f, 0, 99, 0, MC_F32, 2, pair, (int64_t[]){most, 0}, MC_FORMAT, "strides");
    expect_refusal(f, 0, 99, 0, MC_F32, 2, pair, (int64_t[]){most / 2, 0}, MC_FORMAT, "strides");
    expect_refusal(f, 0, 99, 0, MC_F4, 2, pair, (int64_t[]){2, 1}, MC_UNSUPPORTED, "F4");
    expect_refusal(f, 0, 99, 0, MC_F32, 17, pair, NULL, MC_FORMAT, "16 dimensions");
}

/* Empty tensors have no place: any offset will do. */
static void test_empty(void **state)
{
    const fixture *const f = *state;
    mc_source *const source = make(f, 1 << 30, MC_F32, 2, (int64_t[]){0, 5}, (int64_t[]){9, 9});
    float none;
    assert_int_equal(mc_source_read_f32(source, 0, 0, &none, NULL), MC_OK);
    assert_int_equal(mc_source_read_raw(source, 0, 0, &none, NULL), MC_OK);
    mc_source_unref(source);
}

static void test_file_shrinks(void **state)
{
    const fixture *const f = *state;
    mc_source *const source = make(f, 0, MC_F32, 1, (int64_t[]){FILE_BYTES / 4}, NULL);
    float *const values = malloc(FILE_BYTES);
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(mc_source_check(source, &error), MC_OK);
    assert_int_equal(truncate(f->path, 1000), 0);
    assert_int_equal(mc_source_read_f32(source, 0, FILE_BYTES / 4, values, &error), MC_CHANGED);
    assert_non_null(strstr(message_of(&error), f->path));
    assert_int_equal(mc_source_check(source, &error), MC_CHANGED);
    assert_int_equal(mc_source_read_f32(source, 0, 250, values, NULL), MC_OK);
    free(values);
    mc_source_unref(source);
}

static long syscalls;

static ssize_t counting_pread(int fd, void *out, size_t size, off_t offset)
{
    syscalls++;
    return mc_system_real.pread(fd, out, size, offset);
}

/* A transposed matrix is read in large pieces, not an element at a time; a plain tensor in one. */
static void test_few_reads(void **state)
{
    const fixture *const f = *state;
    mc_system_calls counting = mc_system_real;
    counting.pread = counting_pread;
    mc_system = &counting;
    float *const values = malloc(FILE_BYTES);
    mc_source *const plain = make(f, 0, MC_F32, 1, (int64_t[]){FILE_BYTES / 4}, NULL);
    mc_source *const transposed = make(f, 0, MC_F32, 2, (int64_t[]){512, 512}, (int64_t[]){1, 512});
    syscalls = 0;
    assert_int_equal(mc_source_read_f32(plain, 0, plain->count, values, NULL), MC_OK);
    assert_int_equal(syscalls, 1);
    syscalls = 0;
    assert_int_equal(mc_source_read_f32(transposed, 0, transposed->count, values, NULL), MC_OK);
    assert_true(syscalls <= FILE_BYTES / 32768);
    mc_system = &mc_system_real;
    mc_source_unref(plain);
    mc_source_unref(transposed);
    free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_large_strided, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_any_strides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_row_major, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_narrowing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file_shrinks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_few_reads, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
