/* What the targets of GLUE's file formats share. */
#ifndef MC_FUZZ_GLUE_H
#define MC_FUZZ_GLUE_H

#include "fuzz.h"

#include "base/memory.h"
#include "glue/data.h"

#include <math.h>
#include <string.h>

enum { FUZZ_TEXT_BYTES = 1 << 20, FUZZ_ROWS = 4096 };

/* The texts can be read, and the labels are the task's. */
static inline void fuzz_glue_examples(const mc_glue_task *task, const mc_glue_data *data)
{
    unsigned sum = 0;
    fuzz_require(mc_glue_count(data) <= FUZZ_ROWS, "there are no more rows than allowed");
    for (size_t i = 0; i < mc_glue_count(data); i++) {
        const mc_glue_example one = mc_glue_example_at(data, i);
        for (size_t k = 0; k < one.size; k++)
            sum += (unsigned char)one.text[k];
        for (size_t k = 0; k < one.pair_size; k++)
            sum += (unsigned char)one.pair[k];
        fuzz_require(isnan(one.label) || (one.label >= 0 && one.label <= task->label_maximum),
                     "labels are in their range");
        fuzz_require((one.pair != NULL) == (task->columns[1] != NULL),
                     "pairs are where they belong");
    }
    volatile const unsigned read = sum;
    (void)read;
}

static inline void fuzz_glue(const char *name, mc_glue_format format, const void *bytes,
                             size_t size)
{
    const mc_glue_task *const task = mc_glue_task_find(name);
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_status status = mc_glue_data_new(task, FUZZ_TEXT_BYTES, FUZZ_ROWS, &data, &error);
    char *const copy = status == MC_OK ? mc_alloc(size + 1) : NULL;
    if (copy) {
        memcpy(copy, bytes, size);
        status = mc_glue_data_add(data, format, copy, size, &error);
    } else {
        status = mc_fail(&error, MC_NO_MEMORY, "out of memory");
    }
    fuzz_check_status(status, &error);
    if (status == MC_OK)
        fuzz_glue_examples(task, data);
    mc_glue_data_free(data);
}

#endif
