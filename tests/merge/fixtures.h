/* State dicts and checkpoints made on the spot, and temporary folders to put them in. */
#ifndef MC_TESTS_MERGE_FIXTURES_H
#define MC_TESTS_MERGE_FIXTURES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <mergecraft/mergecraft.h>

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Fails the test with the error's own words. */
#define assert_done(call_)                                                                         \
    do {                                                                                           \
        mc_error error = MC_ERROR_NONE;                                                            \
        const mc_status status_ = (call_);                                                         \
        if (status_ != MC_OK) {                                                                    \
            char text_[512];                                                                       \
            fail_msg("%s: %s", #call_, mc_error_message(&error, text_, sizeof text_));             \
        }                                                                                          \
    } while (0)

#define assert_status(expected_, call_)                                                            \
    do {                                                                                           \
        mc_error error = MC_ERROR_NONE;                                                            \
        const mc_status status_ = (call_);                                                         \
        if (status_ != (expected_)) {                                                              \
            char text_[512];                                                                       \
            fail_msg("%s: expected '%s', found '%s': %s", #call_, mc_status_text(expected_),       \
                     mc_status_text(status_), mc_error_message(&error, text_, sizeof text_));      \
        }                                                                                          \
    } while (0)

/* The status, and a part of the text that tells the user what is wrong. */
#define assert_error(expected_, part_, call_)                                                      \
    do {                                                                                           \
        mc_error error = MC_ERROR_NONE;                                                            \
        const mc_status status_ = (call_);                                                         \
        char text_[6000];                                                                          \
        mc_error_message(&error, text_, sizeof text_);                                             \
        if (status_ != (expected_) || !strstr(text_, (part_)))                                     \
            fail_msg("%s: expected '%s' with \"%s\", found '%s': %s", #call_,                      \
                     mc_status_text(expected_), (part_), mc_status_text(status_), text_);          \
    } while (0)

/* ---- tensors --------------------------------------------------------------------------------- */

static inline mc_state_dict *dict_new(void)
{
    mc_state_dict *dict = NULL;
    assert_done(mc_state_dict_new(&dict, &error));
    return dict;
}

/* Adds a copy of bytes that are there. */
static inline void dict_add_bytes(mc_state_dict *dict, const char *name, mc_dtype dtype, int rank,
                                  const int64_t *shape, const void *bytes, size_t size)
{
    mc_source *source = NULL;
    void *const copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    assert_done(mc_source_wrap(dtype, rank, shape, copy, free, copy, &source, &error));
    assert_int_equal(mc_source_bytes(source), size);
    assert_done(mc_state_dict_set(dict, name, source, &error));
    mc_source_unref(source);
}

static inline int64_t shape_product(int rank, const int64_t *shape)
{
    int64_t product = 1;
    for (int i = 0; i < rank; i++)
        product *= shape[i];
    return product;
}

/* A number in (−1, 1) that depends on everything. */
static inline double value_at(uint64_t seed, int64_t element)
{
    const uint64_t bits = mc_random_mix((seed << 40) + (uint64_t)element + 0x9e3779b97f4a7c15);
    return (double)(int64_t)bits * 0x1p-63;
}

/* Adds a float tensor of numbers that `seed` determines. */
static inline void dict_add(mc_state_dict *dict, const char *name, mc_dtype dtype, int rank,
                            const int64_t *shape, uint64_t seed)
{
    const int64_t count = shape_product(rank, shape);
    double *const values = malloc((size_t)count * sizeof(double) + 1);
    char *const bytes = malloc((size_t)count * sizeof(double) + 1);
    assert_true(values && bytes);
    for (int64_t i = 0; i < count; i++)
        values[i] = value_at(seed, i);
    mc_dtype_from_f64(dtype, bytes, values, (size_t)count);
    dict_add_bytes(dict, name, dtype, rank, shape, bytes, (size_t)mc_dtype_bytes(dtype, count));
    free(values);
    free(bytes);
}

#define SHAPE(...)                                                                                 \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (const int64_t[])                                 \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* A vector of a few floats. */
#define dict_add_floats(dict_, name_, ...)                                                         \
    dict_add_bytes((dict_), (name_), MC_F32,                                                       \
                   SHAPE((int64_t)(sizeof((float[]){__VA_ARGS__}) / sizeof(float))),               \
                   (float[]){__VA_ARGS__}, sizeof((float[]){__VA_ARGS__}))

/* Reads a tensor as floats; the caller frees them. */
static inline float *floats_of(const mc_state_dict *dict, const char *name)
{
    const mc_source *const source = mc_state_dict_find(dict, name);
    if (!source)
        fail_msg("expected a tensor '%s', found none", name);
    float *const values = malloc((size_t)mc_source_count(source) * sizeof(float) + 1);
    assert_non_null(values);
    assert_done(mc_source_read_f32(source, 0, mc_source_count(source), values, &error));
    return values;
}

#define assert_floats(dict_, name_, ...)                                                           \
    do {                                                                                           \
        const float expected_[] = {__VA_ARGS__};                                                   \
        float *const found_ = floats_of((dict_), (name_));                                         \
        const size_t count_ = sizeof expected_ / sizeof *expected_;                                \
        assert_int_equal(mc_source_count(mc_state_dict_find((dict_), (name_))), count_);           \
        for (size_t i_ = 0; i_ < count_; i_++)                                                     \
            if (!(found_[i_] == expected_[i_] || (isnan(found_[i_]) && isnan(expected_[i_]))))     \
                fail_msg("%s[%zu]: expected %g, found %g", (name_), i_, (double)expected_[i_],     \
                         (double)found_[i_]);                                                      \
        free(found_);                                                                              \
    } while (0)

/* All bytes of a tensor, in its own dtype; the caller frees them. */
static inline char *bytes_of_source(const mc_source *source)
{
    const int64_t size = mc_source_bytes(source);
    char *const bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_done(mc_source_read_raw(source, 0, size, bytes, &error));
    return bytes;
}

/* Two state dicts are the same: names in order, dtypes, shapes, bits. */
static inline void assert_same_dicts(const mc_state_dict *a, const mc_state_dict *b,
                                     const char *what)
{
    assert_int_equal(mc_state_dict_count(a), mc_state_dict_count(b));
    for (size_t i = 0; i < mc_state_dict_count(a); i++) {
        const mc_source *const x = mc_state_dict_source(a, i), *const y = mc_state_dict_source(b,
                                                                                               i);
        assert_string_equal(mc_state_dict_name(a, i), mc_state_dict_name(b, i));
        assert_int_equal(mc_source_dtype(x), mc_source_dtype(y));
        assert_int_equal(mc_source_bytes(x), mc_source_bytes(y));
        char *const left = bytes_of_source(x), *const right = bytes_of_source(y);
        if (memcmp(left, right, (size_t)mc_source_bytes(x)) != 0)
            fail_msg("%s: '%s' differs", what, mc_state_dict_name(a, i));
        free(left);
        free(right);
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static inline char *path_of(const char *folder, const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

static inline char *temporary_folder(void)
{
    const char *const parent = getenv("TMPDIR");
    char *const path = path_of(parent ? parent : "/tmp", "mergecraft-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline int remove_entry(const char *path, const struct stat *status, int type,
                               struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(path);
}

/* Removes a folder and what is in it; frees the path. */
static inline void remove_temporary(char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

static inline void write_text(const char *folder, const char *name, const char *text)
{
    char *const path = path_of(folder, name);
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static inline char *read_text(const char *path, size_t *size)
{
    FILE *const file = fopen(path, "r");
    if (!file)
        fail_msg("%s: expected a file, found none", path);
    struct stat status;
    assert_int_equal(fstat(fileno(file), &status), 0);
    char *const text = calloc(1, (size_t)status.st_size + 1);
    assert_int_equal(fread(text, 1, (size_t)status.st_size, file), status.st_size);
    fclose(file);
    *size = (size_t)status.st_size;
    return text;
}

static inline bool exists(const char *folder, const char *name)
{
    struct stat status;
    char *const path = path_of(folder, name);
    const bool found = lstat(path, &status) == 0;
    free(path);
    return found;
}

/* How many entries a folder has; with its path, to count open descriptors: "/proc/self/fd". */
static inline int count_entries(const char *folder)
{
    DIR *const entries = opendir(folder);
    assert_non_null(entries);
    int count = -2; /* . and .. */
    while (readdir(entries))
        count++;
    closedir(entries);
    return count;
}

static inline void assert_same_files(const char *a, const char *b)
{
    size_t left = 0, right = 0;
    char *const x = read_text(a, &left), *const y = read_text(b, &right);
    if (left != right || memcmp(x, y, left) != 0)
        fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

/* Every file of `a` is in `b`, with the same bytes, and there are no others. */
static inline void assert_same_folders(const char *a, const char *b)
{
    assert_int_equal(count_entries(a), count_entries(b));
    DIR *const entries = opendir(a);
    assert_non_null(entries);
    for (const struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.')
            continue;
        char *const x = path_of(a, entry->d_name), *const y = path_of(b, entry->d_name);
        assert_same_files(x, y);
        free(x);
        free(y);
    }
    closedir(entries);
}

/* Saves a dict as a model in folder/name; frees the dict. */
static inline void save_model(const char *folder, const char *name, mc_state_dict *dict)
{
    char *const path = path_of(folder, name);
    const mc_run_options options = {.threads = 1, .no_sync = true};
    assert_done(mc_state_dict_save(dict, path, &options, NULL, &error));
    mc_state_dict_free(dict);
    free(path);
}

static inline mc_model *open_model(const char *folder, const char *name)
{
    mc_model *model = NULL;
    char *const path = path_of(folder, name);
    assert_done(mc_model_open(path, &model, &error));
    free(path);
    return model;
}

/* A report has a line with this in it. */
static inline bool report_says(const mc_report *report, const char *part)
{
    for (size_t i = 0; i < mc_report_count(report); i++)
        if (strstr(mc_report_line(report, i), part))
            return true;
    return false;
}

#define assert_reported(report_, part_)                                                            \
    do {                                                                                           \
        if (!report_says((report_), (part_)))                                                      \
            fail_msg("expected a report with \"%s\", found %zu lines, the first \"%s\"", (part_),  \
                     mc_report_count(report_),                                                     \
                     mc_report_count(report_) ? mc_report_line((report_), 0) : "");                \
    } while (0)

#endif
