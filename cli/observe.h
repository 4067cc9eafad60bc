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
    mc_observe_options what;
} observe_request;

/* Checks the options before anything is opened. */
mc_status observe_check(const observe_request *request, mc_error *error);

/* Observes a model; `path` NULL: into the cache. Prints notes unless --quiet. */
mc_status observe_model(const observe_request *request, const char *model, const char *path,
                        const common_options *common, mc_observe_result *result, mc_error *error);

#endif
