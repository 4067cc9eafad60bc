/* Data sets from bytes in memory. */
#ifndef MC_TESTS_GLUE_BYTES_H
#define MC_TESTS_GLUE_BYTES_H

#include "checkpoint/files.h"

#include "glue/data.h"
#include "glue/table.h"

#include <math.h>

/* As mc_glue_load of a file with this name and content. The error may be NULL. */
static inline mc_status load_bytes(const char *task, const char *name, const void *bytes,
                                   size_t size, mc_glue_data **out, mc_error *error)
{
    mc_glue_data *data = NULL;
    char *const copy = mc_alloc(size + 1);
    mc_status status = copy ? mc_glue_data_new(mc_glue_task_find(task), MC_TABLE_BYTES,
                                               MC_TABLE_ROWS, &data, error)
                            : mc_fail_memory(error);
    if (copy)
        memcpy(copy, bytes, size);
    if (status == MC_OK)
        status = mc_glue_data_add(data, mc_glue_format_of(name, copy, size), copy, size, error);
    else
        mc_free(copy);
    if (status == MC_OK)
        *out = data;
    else
        mc_glue_data_free(data);
    return status;
}

/* As load_bytes, with each allocation failing in turn; frees the result. */
static inline mc_status load_as_memory_fails(const char *task, const char *name, const void *bytes,
                                             size_t size)
{
    mc_status status = MC_NO_MEMORY;
    for (long allowed = 0; status == MC_NO_MEMORY; allowed++) {
        mc_glue_data *data = NULL;
        mc_error error = MC_ERROR_NONE;
        mc_memory_fail_after(allowed);
        status = load_bytes(task, name, bytes, size, &data, &error);
        mc_memory_fail_after(-1);
        assert_int_equal(error.code, status);
        mc_glue_data_free(data);
        assert_true(allowed < 1000);
    }
    return status;
}

static inline bool same_text(const char *a, size_t a_size, const char *b, size_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static inline void assert_same_data(const mc_glue_data *a, const mc_glue_data *b)
{
    assert_int_equal(mc_glue_count(a), mc_glue_count(b));
    for (size_t i = 0; i < mc_glue_count(a); i++) {
        const mc_glue_example x = mc_glue_example_at(a, i), y = mc_glue_example_at(b, i);
        assert_true(same_text(x.text, x.size, y.text, y.size));
        assert_true(same_text(x.pair, x.pair_size, y.pair, y.pair_size));
        assert_true(x.label == y.label || (isnan(x.label) && isnan(y.label)));
        assert_true(x.index == y.index);
    }
}

#endif
