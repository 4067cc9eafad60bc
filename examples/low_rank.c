/*
 * A method that sees whole tensors, needs scratch memory and can fail: the mean task vector of each
 * weight matrix is replaced by its best approximation of rank k, the Eckart-Young truncation of its
 * singular value decomposition. Fine-tuning changes weights in few directions; the rest is noise.
 *
 *     mergecraft merge ./low_rank.c A B --base BASE -p k=16 -o DIR
 *
 * The decomposition is a one-sided Jacobi iteration (Hestenes 1958), which fits on a page. It takes
 * minutes for the matrices of large models, where a library's routine takes seconds: see tsvm.
 */
#include <mergecraft/method.h>

#include <float.h>

/* The matrix as the fewer and longer of its rows and columns: `count` vectors of `length`. */
typedef struct vectors {
    size_t count, length;
    size_t next, step; /* from one vector to the next, and inside of one, in elements */
} vectors;

static vectors vectors_of(const mc_layer *layer)
{
    const size_t rows = (size_t)layer->shape[0], columns = (size_t)layer->shape[1];
    return rows < columns ? (vectors){rows, columns, columns, 1}
                          : (vectors){columns, rows, 1, columns};
}

static double mean_task_vector(const mc_layer *layer, size_t i)
{
    double sum = 0;
    for (size_t m = 0; m < layer->model_count; m++)
        sum += (double)layer->models[m][i] - (double)layer->base[i];
    return sum / (double)layer->model_count;
}

static double dot(const double *a, const double *b, size_t length)
{
    double sum = 0;
    for (size_t i = 0; i < length; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Makes two vectors orthogonal by a rotation; returns whether they were not yet. */
static bool rotate(double *a, double *b, size_t length)
{
    const double aa = dot(a, a, length), bb = dot(b, b, length), ab = dot(a, b, length);
    if (fabs(ab) <= 1e-14 * sqrt(aa * bb))
        return false;
    const double zeta = (bb - aa) / (2 * ab);
    const double t = copysign(1 / (fabs(zeta) + sqrt(1 + zeta * zeta)), zeta);
    const double cosine = 1 / sqrt(1 + t * t), sine = t * cosine;
    for (size_t i = 0; i < length; i++) {
        const double old = a[i];
        a[i] = cosine * old - sine * b[i];
        b[i] = sine * old + cosine * b[i];
    }
    return true;
}

/* Rotates all pairs until none changes: then the vectors are singular ones times their values. */
static mc_status orthogonalise(double *work, vectors v, mc_error *error)
{
    enum { SWEEPS = 60 };
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        bool changed = false;
        for (size_t i = 0; i + 1 < v.count; i++)
            for (size_t j = i + 1; j < v.count; j++)
                changed |= rotate(work + i * v.length, work + j * v.length, v.length);
        if (!changed)
            return MC_OK;
    }
    return mc_fail(error, MC_UNSUPPORTED, "expected the Jacobi iteration to end in %d sweeps",
                   SWEEPS);
}

/* Moves the k longest vectors to the front and gives them length 1; returns how many are not 0. */
static size_t keep_longest(double *work, vectors v, size_t k)
{
    for (size_t kept = 0; kept < k; kept++) {
        double *const place = work + kept * v.length;
        double *longest = place;
        for (size_t i = kept; i < v.count; i++) {
            double *const each = work + i * v.length;
            if (dot(each, each, v.length) > dot(longest, longest, v.length))
                longest = each;
        }
        const double norm = sqrt(dot(longest, longest, v.length));
        if (norm <= DBL_MIN)
            return kept;
        for (size_t i = 0; i < v.length; i++) {
            const double other = place[i];
            place[i] = longest[i] / norm;
            if (longest != place)
                longest[i] = other;
        }
    }
    return k;
}

static size_t scratch_bytes(const mc_layer *layer)
{
    if (!layer->matrix)
        return 0;
    const vectors v = vectors_of(layer);
    return (v.count + 2) * v.length * sizeof(double);
}

/* The projection of each vector of the task vector on the kept directions, added to the base. */
static void write_projections(const mc_layer *layer, vectors v, const double *kept, size_t k,
                              double *vector, double *sum)
{
    for (size_t i = 0; i < v.count; i++) {
        for (size_t j = 0; j < v.length; j++) {
            vector[j] = mean_task_vector(layer, i * v.next + j * v.step);
            sum[j] = 0;
        }
        for (size_t d = 0; d < k; d++) {
            const double *const direction = kept + d * v.length;
            const double along = dot(vector, direction, v.length);
            for (size_t j = 0; j < v.length; j++)
                sum[j] += along * direction[j];
        }
        for (size_t j = 0; j < v.length; j++) {
            const size_t at = i * v.next + j * v.step;
            layer->out[at] = (mc_real)((double)layer->base[at] + sum[j]);
        }
    }
}

MC_LAYER_MERGE(low_rank, .help = "base plus the mean task vector, each matrix cut to rank k",
               .paper = "Eckart and Young 1936, doi:10.1007/BF02288367", .scope = MC_TENSOR,
               .needs_base = true, .scratch_bytes = scratch_bytes,
               .params = MC_PARAMS({"k", MC_INTEGER, "rank", .fallback = 16, .minimum = 1,
                                    .maximum = 1e6}))
{
    if (!layer->matrix) {
        for (size_t i = 0; i < layer->count; i++)
            layer->out[i] = (mc_real)((double)layer->base[i] + mean_task_vector(layer, i));
        return MC_OK;
    }
    const vectors v = vectors_of(layer);
    double *const work = layer->scratch;
    for (size_t i = 0; i < v.count; i++)
        for (size_t j = 0; j < v.length; j++) {
            const double value = mean_task_vector(layer, i * v.next + j * v.step);
            if (!isfinite(value))
                return mc_fail(layer->error, MC_UNSUPPORTED, "expected finite task vectors");
            work[i * v.length + j] = value;
        }
    const mc_status status = orthogonalise(work, v, layer->error);
    if (status != MC_OK)
        return status;
    const size_t wanted = (size_t)layer->values[0].numbers[0];
    const size_t k = keep_longest(work, v, wanted < v.count ? wanted : v.count);
    double *const vector = work + v.count * v.length;
    write_projections(layer, v, work, k, vector, vector + v.length);
    return MC_OK;
}
