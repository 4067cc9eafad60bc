#include "lora/combine.h"

#include "base/memory.h"

#include <mergecraft/random.h>

#include <assert.h>
#include <math.h>
#include <string.h>

/* Random words that are drawn at a time. */
enum { CHUNK = 4096 };

bool mc_needs_cuts(const mc_combining *c)
{
    return (c->how == MC_COMBINE_PRUNE || c->how == MC_COMBINE_TIES) && c->density < 1;
}

/* ---- pruning by magnitude -------------------------------------------------------------------- */

/* The bits of magnitudes are in the order of their values, with NaN above all. */
static uint32_t bits_of(float magnitude)
{
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    return bits;
}

/*
 * The value at index `place` if the array were sorted in descending order: Hoare's selection
 * (1961), which takes linear time on average. Reorders the array.
 */
static float select_largest(float *x, int64_t count, int64_t place)
{
    int64_t low = 0, high = count - 1;
    while (low < high) {
        const uint32_t pivot = bits_of(x[low + (high - low) / 2]);
        int64_t i = low - 1, j = high + 1;
        for (;;) {
            do
                i++;
            while (bits_of(x[i]) > pivot);
            do
                j--;
            while (bits_of(x[j]) < pivot);
            if (i >= j)
                break;
            const float other = x[i];
            x[i] = x[j];
            x[j] = other;
        }
        if (place <= j)
            high = j;
        else
            low = j + 1;
    }
    return x[low];
}

/*
 * As in PEFT, int(density · count) values are kept; of equal ones the first. So a cut is a value,
 * and the index before which values equal to it are kept. Any part of the array can then be pruned
 * alone.
 */
mc_cut mc_find_cut(const float *magnitudes, float *scratch, int64_t count, double density)
{
    const int64_t wanted = (int64_t)(density * (double)count);
    mc_cut cut = {.above = INFINITY, .before = 0};
    if (wanted == 0)
        return cut;
    memcpy(scratch, magnitudes, (size_t)count * sizeof *scratch);
    cut.above = select_largest(scratch, count, wanted - 1);
    const uint32_t limit = bits_of(cut.above);
    int64_t left = wanted;
    for (int64_t i = 0; i < count; i++)
        left -= bits_of(magnitudes[i]) > limit;
    for (; left > 0; cut.before++)
        left -= bits_of(magnitudes[cut.before]) == limit;
    return cut;
}

static void prune(double *x, int64_t count, int64_t first, const mc_cut *cut)
{
    const uint32_t above = bits_of(cut->above);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = bits_of(fabsf((float)x[i]));
        if (bits < above || (bits == above && first + i >= cut->before))
            x[i] = 0;
    }
}

/* ---- at random ------------------------------------------------------------------------------- */

/*
 * DARE: keeps each element with probability `density` and divides it by that, which keeps the
 * expected value. The random number depends on the element's index only, so parts may be computed
 * in any order.
 */
static void drop(double *x, int64_t count, int64_t first, const mc_combining *c, uint32_t stream)
{
    uint32_t words[CHUNK];
    const double limit = c->density * 0x1p32;
    for (int64_t done = 0; done < count; done += CHUNK) {
        const int64_t n = count - done < CHUNK ? count - done : CHUNK;
        mc_random_u32(c->key, stream, first + done, (size_t)n, words);
        for (int64_t i = 0; i < n; i++)
            x[done + i] = words[i] < limit ? x[done + i] / c->density : 0;
    }
}

/* ---- sums ------------------------------------------------------------------------------------ */

static double sign_of(double x)
{
    return (x > 0) - (x < 0);
}

static void add_up(double *const *arrays, const double *weights, size_t n, int64_t count,
                   double *out)
{
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += weights[k] * arrays[k][i];
        out[i] = sum;
    }
}

/*
 * TIES as PEFT computes it: signs are elected without weights, and a sum of zero elects plus. The
 * mean is over the values that agree; NaN in a vote propagates.
 */
static void add_agreeing(const mc_combining *c, double *const *arrays, const double *weights,
                         size_t n, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i++) {
        double votes = 0, sum = 0;
        size_t agreeing = 0;
        for (size_t k = 0; k < n; k++)
            votes += c->frequency ? sign_of(arrays[k][i]) : arrays[k][i];
        const double elected = votes >= 0 ? 1 : -1;
        for (size_t k = 0; k < n; k++)
            if (sign_of(arrays[k][i]) == elected) {
                sum += weights[k] * arrays[k][i];
                agreeing++;
            }
        out[i] = votes != votes ? votes : agreeing ? sum / (double)agreeing : 0;
    }
}

void mc_combine(const mc_combining *c, double *const *arrays, const double *weights, size_t n,
                const mc_cut *cuts, int64_t first, int64_t count, double *out)
{
    assert(cuts || !mc_needs_cuts(c));
    for (size_t k = 0; k < n && c->density < 1; k++) {
        if (c->how == MC_COMBINE_PRUNE || c->how == MC_COMBINE_TIES)
            prune(arrays[k], count, first, &cuts[k]);
        else if (c->how != MC_COMBINE_LINEAR)
            drop(arrays[k], count, first, c, c->stream + (uint32_t)k);
    }
    if (c->how == MC_COMBINE_TIES || c->how == MC_COMBINE_DARE_TIES)
        add_agreeing(c, arrays, weights, n, count, out);
    else
        add_up(arrays, weights, n, count, out);
}

mc_status mc_combine_whole(const mc_combining *c, double *const *arrays, const double *weights,
                           size_t n, int64_t count, double *out, mc_error *error)
{
    mc_cut *const cuts = mc_alloc(n * sizeof *cuts);
    float *const magnitudes = mc_alloc(2 * (size_t)count * sizeof *magnitudes);
    mc_status status = cuts && magnitudes ? MC_OK : mc_fail_memory(error);
    for (size_t k = 0; status == MC_OK && mc_needs_cuts(c) && k < n; k++) {
        for (int64_t i = 0; i < count; i++)
            magnitudes[i] = fabsf((float)arrays[k][i]);
        cuts[k] = mc_find_cut(magnitudes, magnitudes + count, count, c->density);
    }
    if (status == MC_OK)
        mc_combine(c, arrays, weights, n, cuts, 0, count, out);
    mc_free(cuts);
    mc_free(magnitudes);
    return status;
}
