#include "merge/mean.h"

#include "merge/merged.h"
#include "methods/variant.h"

mc_status mc_mean_new(const char *name, mc_source *const *tensors, size_t count, mc_source **out,
                      mc_error *error)
{
    mc_params *params = NULL;
    MC_TRY(mc_params_new(mc_method_mean(), count, &params, error));
    const mc_merged_parts parts = {.method = mc_method_mean(),
                                   .params = params,
                                   .name = name,
                                   .inputs = tensors,
                                   .input_count = count,
                                   .model_count = count};
    const mc_status status = mc_merged_new(&parts, out, error);
    mc_params_unref(params);
    return status;
}
