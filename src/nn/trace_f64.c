/* In double, with the functions of libm: what the fast form is compared with. */
#define REAL double
#define TYPE mc_trace_f64
#define TRACE(name_) mc_trace_##name_##_f64
#define GEMM(name_) mc_gemm_##name_##_f64
#define PRODUCT mc_gemm_f64
#define BLAS_GEMM gemm
#include "nn/trace_real.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* An activation and its derivative. */
typedef struct valued {
    double value, slope;
} valued;

/* d/dx x·s(fx) = s + f·x·s·(1 − s) */
static valued swish(double x, double factor)
{
    const double s = sigmoid(factor * x);
    return (valued){x * s, s + factor * x * s * (1 - s)};
}

static valued gelu_tanh(double x)
{
    const double root = 0.79788456080286535588, inner = root * (x + .044715 * x * x * x);
    const double t = tanh(inner), slope = root * (1 + 3 * .044715 * x * x);
    return (valued){x / 2 * (1 + t), (1 + t) / 2 + x / 2 * (1 - t * t) * slope};
}

static valued gelu(double x)
{
    /* erfc keeps its digits where Φ(x) is close to 0. */
    const double phi = erfc(-x * 0.70710678118654752440) / 2;
    return (valued){x * phi, phi + x * exp(-x * x / 2) * 0.39894228040143267794};
}

static valued activation_at(double x, mc_activation activation)
{
    switch (activation) {
    case MC_ACTIVATION_GELU:
        return gelu(x);
    case MC_ACTIVATION_GELU_TANH:
        return gelu_tanh(x);
    case MC_ACTIVATION_QUICK_GELU:
        return swish(x, 1.702);
    case MC_ACTIVATION_SILU:
        return swish(x, 1);
    case MC_ACTIVATION_RELU:
        return (valued){x > 0 ? x : 0, x > 0};
    case MC_ACTIVATION_TANH:
        return (valued){tanh(x), 1 - tanh(x) * tanh(x)};
    case MC_ACTIVATION_SIGMOID:
        return (valued){sigmoid(x), sigmoid(x) * (1 - sigmoid(x))};
    default:
        return (valued){x, 1};
    }
}

static void activate(double *out, const double *in, size_t count, mc_activation activation)
{
    for (size_t i = 0; i < count; i++)
        out[i] = activation_at(in[i], activation).value;
}

static void activate_back(double *gradient, const double *in, size_t count,
                          mc_activation activation)
{
    for (size_t i = 0; i < count; i++)
        gradient[i] *= activation_at(in[i], activation).slope;
}

static void softmax(double *x, size_t rows, size_t count)
{
    for (size_t row = 0; row < rows; row++, x += count) {
        double largest = x[0], total = 0;
        for (size_t i = 1; i < count; i++)
            largest = x[i] > largest ? x[i] : largest;
        for (size_t i = 0; i < count; i++)
            total += x[i] = exp(x[i] - largest);
        for (size_t i = 0; i < count; i++)
            x[i] /= total;
    }
}

static void add_squares(double *out, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] += in[i] * in[i];
}

static mc_status read_weight(const mc_source *source, double *out, mc_error *error)
{
    return mc_source_read_f64(source, 0, mc_source_count(source), out, error);
}
