/* Memory for the activations of encoders. */
#ifndef MC_NN_SCRATCH_H
#define MC_NN_SCRATCH_H

#include "base/error.h"

#include <stdint.h>

/*
 * The values of a network, for one group, with memory for whole blocks of rows, as products write
 * them.
 */
typedef struct mc_values {
    float **floats; /* [value_count]; NULL: not kept in this form */
    void **inputs;  /* in the form that products read */
} mc_values;

/* Memory of one thread, besides the values. */
typedef struct mc_nn_workspace {
    float *attention;
    void *product;
    int32_t *sums; /* int8: the sums of a block of rows */
    float *block;  /* int8: their values */
} mc_nn_workspace;

/* One thread's memory. */
typedef struct mc_worker {
    mc_values values;
    mc_nn_workspace workspace;
    char *values_memory, *workspace_memory;
    size_t values_size, workspace_size;
} mc_worker;

/* One per concurrent call. It grows with what is computed, and is reused. */
typedef struct mc_scratch {
    mc_worker *workers;
    int count;
} mc_scratch;

mc_status mc_scratch_new(mc_scratch **out, mc_error *error);
void mc_scratch_free(mc_scratch *scratch); /* accepts NULL */

/* Makes room for `count` workers, empty ones at first. */
mc_status mc_scratch_reserve(mc_scratch *scratch, int count, mc_error *error);

#endif
