#include "nn/kernels.h"

#include "base/cpu.h"
#include "nn/vector.h"

const mc_nn_kernels *mc_nn_kernels_now(void)
{
#if MC_SIMD
    static const mc_nn_kernels *const tables[MC_CPU_LEVELS] = {
        &mc_nn_kernels_scalar, &mc_nn_kernels_avx2, &mc_nn_kernels_avx512};
    return tables[mc_cpu()];
#else
    return &mc_nn_kernels_scalar;
#endif
}

/*
 * The arrays of lay_out in kernels_level.c: keys and values, and scores, queries and results of
 * MC_QUERIES queries.
 */
size_t mc_attention_scratch(size_t key_count, size_t size)
{
    const size_t keys = mc_vector_ceil(key_count), padded = mc_vector_ceil(size);
    return MC_QUERIES * (keys + 2 * padded) + 2 * keys * padded;
}
