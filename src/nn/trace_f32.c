#define REAL float
#define TYPE mc_trace_f32
#define TRACE(name_) mc_trace_##name_##_f32
#define GEMM(name_) mc_gemm_##name_##_f32
#define PRODUCT mc_gemm_f32
#define BLAS_GEMM sgemm
#include "nn/trace_real.h"

#include "nn/kernels.h"

static void activate(float *out, const float *in, size_t count, mc_activation activation)
{
    mc_nn_kernels_now()->activate(out, in, count, activation);
}

static void activate_back(float *gradient, const float *in, size_t count, mc_activation activation)
{
    mc_nn_kernels_now()->activate_back(gradient, in, count, activation);
}

static void softmax(float *x, size_t rows, size_t count)
{
    mc_nn_kernels_now()->softmax(x, rows, count, count);
}

static void add_squares(float *out, const float *in, size_t count)
{
    mc_nn_kernels_now()->add_squares(out, in, count);
}

static void add(float *out, const float *in, size_t count)
{
    mc_nn_kernels_now()->add(out, in, count);
}

static void normalize(float *out, const float *in, const float *added, size_t rows, size_t width,
                      const float *gain, const float *shift, float epsilon)
{
    mc_nn_kernels_now()->normalize(out, in, added, rows, width, gain, shift, epsilon);
}

static void normalize_back(float *dx, float *x, float *gains, float *shifts, const float *in,
                           const float *added, const float *dy, const float *gain, size_t width,
                           float epsilon)
{
    mc_nn_kernels_now()->normalize_back(dx, x, gains, shifts, in, added, dy, gain, width, epsilon);
}

static void softmax_back(float *dp, const float *p, size_t rows, size_t count, float scale)
{
    mc_nn_kernels_now()->softmax_back(dp, p, rows, count, scale);
}

static mc_status read_weight(const mc_source *source, float *out, mc_error *error)
{
    return mc_source_read_f32(source, 0, mc_source_count(source), out, error);
}
