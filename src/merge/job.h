/*
 * One layer to merge: its method, parameters and inputs. Everything that runs a method works on a
 * job: the workspace (tiles), the reduction (statistics), the trial, the lazy source, the executor.
 *
 * Thread-safety: a job is immutable after mc_job_init.
 */
#ifndef MC_MERGE_JOB_H
#define MC_MERGE_JOB_H

#include <mergecraft/method.h>

#include "merge/params.h"
#include "tensor/source.h"

/* The statistics of a whole model: survey.h. */
typedef struct mc_survey mc_survey;

typedef struct mc_job {
    const mc_method *method; /* compiled for `real` */
    mc_params *params;
    char *name;    /* of the output tensor */
    mc_dtype real; /* F32 or F64: what it is computed in */
    int rank;
    const int64_t *shape; /* of the models' tensors and of the result; of the first input */
    int64_t count;
    bool matrix, transposed; /* as in mc_layer … */
    int block;               /* … as is this */
    mc_survey *survey;       /* NULL unless the method has model_statistics */
    uint64_t random_key;
    /*
     * Models, then the base if there is one, then what the method before made if this is an add-on,
     * then the side inputs, each of model_count sources.
     */
    mc_source **inputs;
    size_t input_count, model_count, side_count;
    mc_side *sides; /* names and shapes of the side inputs, without tiles */
    bool has_base, has_merged;
} mc_job;

/* What a layer is made of. Everything is borrowed; a job takes its own references. */
typedef struct mc_merged_parts {
    const mc_method *method;
    mc_params *params;
    const char *name;
    const char *model_type; /* of config.json; NULL: unknown */
    uint64_t seed;
    mc_source *const *inputs; /* as in mc_job */
    size_t input_count, model_count, side_count;
    bool has_base, has_merged;
    const char *const *matrices; /* mc_merge_input.matrices */
    size_t matrix_count;
    mc_survey *survey; /* of the layers that the method makes; NULL if it needs none */
} mc_merged_parts;

/*
 * Fills a zeroed job. Models and base have one shape and are floats; side inputs are checked here.
 * Call mc_job_free also after a failure.
 *
 * Errors: MC_MISMATCH  a side input is not of floats, or has another shape than it must have
 *         MC_USAGE     the method wants whole side inputs but not the whole tensor
 */
mc_status mc_job_init(mc_job *job, const mc_merged_parts *parts, mc_error *error);
void mc_job_free(mc_job *job);

/* The widest dtype of the models, which the result has. */
mc_dtype mc_job_dtype(const mc_merged_parts *parts);

/* Where its side inputs begin among the inputs. */
size_t mc_job_sides_at(const mc_job *job);

/* Its statistics; NULL if the method has none, or there is no element. */
const mc_statistics *mc_job_statistics(const mc_job *job);

/* A tile of `apply` has a multiple of so many elements: 1, whole rows of a leaf or more, or all. */
int64_t mc_job_grain(const mc_job *job);

/* The size of tiles that have whole grains: about `elements`, or one grain. */
int64_t mc_job_tile(const mc_job *job, int64_t elements);

/* Bytes of one number: of a float or a double. */
size_t mc_job_real_bytes(const mc_job *job);

/* Bytes of scratch that the method asks for on a tile of `count` elements. */
size_t mc_job_scratch_bytes(const mc_job *job, int64_t count);

/* A layer that describes the whole tensor without tiles: what state_size, stride and next get. */
mc_layer mc_job_whole(const mc_job *job, const void *state, mc_error *error);

/*
 * Calls the method, and names the tensor in its error. mc_job_apply also makes all NaN of the
 * result the same quiet NaN, so that its bits do not depend on which of several NaN a computation
 * kept. *overflowed: how many values became NaN or infinite although the models' are finite.
 */
mc_status mc_job_apply(const mc_job *job, const mc_layer *layer, int64_t *overflowed);
mc_status mc_job_accumulate(const mc_job *job, const mc_layer *layer, void *partial);
/* The same for the statistics of the whole model. */
mc_status mc_job_survey(const mc_job *job, const mc_layer *layer, void *partial);

#endif
