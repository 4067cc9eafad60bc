/*
 * What the values of tensors show while they are computed: NaN and infinities of inputs, overflow,
 * and tensors that the method could only average. A list per tile, per record of the journal, and
 * per run.
 */
#ifndef MC_MERGE_FOUND_H
#define MC_MERGE_FOUND_H

#include <mergecraft/merge.h>

#include "base/error.h"
#include "tensor/source.h"

enum { MC_FOUND_RESULT = -1 };

/* Of one tensor, or of an input of it. Processes exchange it as bytes. */
typedef struct mc_finding {
    int64_t tensor;           /* its index */
    int64_t input;            /* of the tensor's job; MC_FOUND_RESULT: the tensor itself */
    int64_t nans, infinities; /* of the input */
    int64_t overflowed;       /* values that the tensor's dtype cannot hold */
    int64_t averaged;         /* how many parts of it were averaged */
} mc_finding;

/* Why the first of the averaged tensors was averaged. */
typedef struct mc_found_reason {
    int64_t known; /* 0: none was */
    int64_t tensor;
    char text[sizeof((mc_run_result *)0)->averaged_reason];
} mc_found_reason;

/* Zero-initialise. Not thread-safe. */
typedef struct mc_found {
    mc_finding *items;
    size_t count, capacity;
    mc_found_reason reason;
} mc_found;

mc_status mc_found_add(mc_found *found, const mc_finding *finding, mc_error *error);
/* Keeps the reason if there is none yet, or only that of a later tensor. */
void mc_found_explain(mc_found *found, size_t tensor, const char *text);
mc_status mc_found_add_all(mc_found *to, const mc_found *from, mc_error *error);

/* Sorts by tensor and input, and makes one finding of those of the same. */
void mc_found_combine(mc_found *found);

/* Sets what the result of a run reports on overflow and averaged tensors. Combines. */
void mc_found_total(mc_found *found, mc_run_result *result);

/* Whether everything is about these tensors and their inputs: a file may say anything. */
bool mc_found_fits(const mc_found *found, mc_source *const *tensors, size_t count);

/* Empties it; the memory is kept for more. */
void mc_found_clear(mc_found *found);
void mc_found_free(mc_found *found);

#endif
