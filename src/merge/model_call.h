/* Methods of scope MC_MODEL: whole state dicts in, one state dict out. */
#ifndef MC_MERGE_MODEL_CALL_H
#define MC_MERGE_MODEL_CALL_H

#include "merge/outputs.h"

/*
 * A method with the state dicts that it sees. Owns copies of the dicts; their tensors are shared.
 */
typedef struct mc_model_call mc_model_call;

/*
 * `names`: the tensors that the method merges, and the only ones that it sees of the models and the
 * base. Side inputs are passed on whole.
 */
mc_status mc_model_call_new(const mc_method *method, const mc_merge_input *input,
                            const char *const *names, size_t count, mc_model_call **out,
                            mc_error *error);
void mc_model_call_free(mc_model_call *call); /* accepts NULL */

/* Calls the method. The caller frees *out. */
mc_status mc_model_call_run(mc_model_call *call, const mc_params *params, mc_state_dict **out,
                            mc_error *error);

/*
 * Calls the method again with other parameters, and sets the sources of the rows of action
 * MC_ACTION_MERGE. If it now makes other tensors, returns MC_UNSUPPORTED and changes no row.
 */
mc_status mc_model_call_bind(mc_model_call *call, mc_params *params, mc_outputs *outputs,
                             mc_error *error);

#endif
