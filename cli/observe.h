/* Statistics of models: the common part of `observe` and `merge --data`. */
#ifndef CLI_OBSERVE_H
#define CLI_OBSERVE_H

#include "options.h"

#include <mergecraft/observe.h>

/* The statistics to compute, and the examples. */
typedef struct observe_request {
    const char *data; /* a GLUE task, or a file */
    const char *task, *split;
    mc_glue_columns columns;    /* of a file of one's own */
    uint64_t examples, threads; /* 0: all */
    bool strict;                /* notes and warnings are errors */
    mc_observe_options what;
} observe_request;

/* Checks the options before anything is opened. */
mc_status observe_check(const observe_request *request, mc_error *error);

/* A model, and the examples that it is observed on. */
typedef struct observed {
    mc_model *model;
    mc_pipeline *pipeline; /* without weights */
    mc_glue_task *own;     /* NULL: a GLUE task */
    const mc_glue_task *task;
    mc_glue_data *data;
} observed;

/* Zero-initialise *out, and close it also after a failure. */
mc_status observe_open(const observe_request *request, const char *model,
                       const common_options *common, observed *out, mc_error *error);
void observe_close(observed *opened);

/* Observes a model; `path` NULL: into the cache. Ends with observe_say. */
mc_status observe_model(const observe_request *request, const char *model, const char *path,
                        const common_options *common, mc_observe_result *result, mc_error *error);

/*
 * Reports truncated examples, fewer examples than requested, and singular Gram matrices, unless
 * --quiet. Errors: MC_MISMATCH  the request is strict, and there is something to report
 */
mc_status observe_say(const observe_request *request, const common_options *common,
                      const mc_observe_result *result, mc_error *error);

#endif
