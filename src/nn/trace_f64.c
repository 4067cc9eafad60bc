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

static void add(double *out, const double *in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] += in[i];
}

/* x = (in + added − mean) / deviation of a row; returns 1 / deviation. */
static double standardize(double *x, const double *in, const double *added, size_t width,
                          float epsilon)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < width; i++)
        mean += x[i] = added ? in[i] + added[i] : in[i];
    mean /= (double)width;
    for (size_t i = 0; i < width; i++)
        variance += (x[i] - mean) * (x[i] - mean);
    const double scale = 1 / sqrt(variance / (double)width + (double)epsilon);
    for (size_t i = 0; i < width; i++)
        x[i] = (x[i] - mean) * scale;
    return scale;
}

static void normalize(double *out, const double *in, const double *added, size_t rows, size_t width,
                      const double *gain, const double *shift, float epsilon)
{
    for (size_t row = 0; row < rows; row++, in += width, out += width) {
        standardize(out, in, added ? added + row * width : NULL, width, epsilon);
        for (size_t i = 0; i < width; i++)
            out[i] = out[i] * gain[i] + shift[i];
    }
}

static void normalize_back(double *dx, double *x, double *gains, double *shifts, const double *in,
                           const double *added, const double *dy, const double *gain, size_t width,
                           float epsilon)
{
    const double scale = standardize(x, in, added, width, epsilon);
    double mean = 0, slope = 0;
    for (size_t i = 0; i < width; i++) {
        gains[i] += dy[i] * x[i];
        shifts[i] += dy[i];
        dx[i] = dy[i] * gain[i];
        mean += dx[i] / (double)width;
        slope += dx[i] * x[i] / (double)width;
    }
    for (size_t i = 0; i < width; i++)
        dx[i] = scale * (dx[i] - mean - x[i] * slope);
}

static void softmax_back(double *dp, const double *p, size_t rows, size_t count, double scale)
{
    for (; rows > 0; rows--, p += count, dp += count) {
        double mean = 0;
        for (size_t i = 0; i < count; i++)
            mean += p[i] * dp[i];
        for (size_t i = 0; i < count; i++)
            dp[i] = p[i] * (dp[i] - mean) * scale;
    }
}

static mc_status read_weight(const mc_source *source, double *out, mc_error *error)
{
    return mc_source_read_f64(source, 0, mc_source_count(source), out, error);
}
