/*
 * Several models, each with the examples of its task, for statistics that depend on all of them:
 * what regmean++ and adamerging run while they learn.
 */
#ifndef MC_PIPELINE_JOINT_H
#define MC_PIPELINE_JOINT_H

#include "merge/align.h"
#include "merge/params.h"
#include "nn/observe.h"
#include "pipeline/batch.h"

#include <mergecraft/observe.h>

typedef struct mc_joint {
    const mc_observed_model *models;
    size_t count;
    bool has_base;          /* the alignment's last one */
    mc_alignment alignment; /* one name per tensor */
    mc_params *params;
    const char **settings; /* those given for the method itself, without those of add-ons */
    size_t setting_count;
    const mc_pipeline_run *run;
    mc_observe_result *results;
    mc_token_batch *batches; /* [count] */
    /*
     * Networks whose weights have the same indices: models with equally many labels share one. They
     * differ in the shapes of the head only.
     */
    mc_trace_f32 **traces; /* [count], with open */
    mc_state_dict **found; /* [count] what is written to the files: "SIDE/TENSOR" */
} mc_joint;

/*
 * Aligns models (and a base, or NULL), parses the parameters of `method`, tokenizes the examples,
 * and looks whether the results are in the cache: then *cached is set and nothing else has to be
 * done. Call mc_joint_close also after a failure.
 */
mc_status mc_joint_new(const mc_observed_model *models, size_t count, const mc_model *base,
                       const mc_method *method, const char *const *params, size_t param_count,
                       const mc_pipeline_run *run, const char *const *paths, bool shuffled,
                       mc_observe_result *results, mc_joint *out, bool *cached, mc_error *error);
/* Makes the networks. */
mc_status mc_joint_open(mc_joint *joint, bool whole, mc_error *error);
/* Writes a file per model. */
mc_status mc_joint_save(const mc_joint *joint, mc_error *error);
void mc_joint_close(mc_joint *joint);

static inline mc_network *mc_joint_network(const mc_joint *joint, size_t model)
{
    return mc_trace_network_f32(joint->traces[model]);
}

static inline mc_status mc_joint_check_cancel(const mc_joint *joint, mc_error *error)
{
    const volatile int *const cancel = joint->run ? joint->run->cancel : NULL;
    return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)
               ? mc_fail(error, MC_INTERRUPTED, "interrupted")
               : MC_OK;
}

#endif
