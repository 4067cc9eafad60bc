/*
 * Everything that adds task vectors to a base: task_arithmetic, ties, dare_*, della*, breadcrumbs*.
 * Four steps, each a setting:
 *
 *     sparsify     none | magnitude | outliers | random | ranked     what is kept of a task vector
 *     rescale      the kept elements get the whole vector's L1 norm
 *     consensus    only elements with the elected sign count
 *     normalize    divide by the weights that took part
 *
 * A method file defines TASK_SPARSIFY and TASK_CONSENSUS, then includes this file. The statistics
 * find thresholds (ranks.h), then, for rescaling, the norms before and after.
 */
#ifndef MC_METHODS_MERGEKIT_TASK_H
#define MC_METHODS_MERGEKIT_TASK_H

#include "methods/mergekit/ranked.h"
#include "methods/mergekit/ranks.h"

typedef enum task_sparsify {
    TASK_NONE,
    TASK_MAGNITUDE, /* the largest are kept */
    TASK_OUTLIERS,  /* the same, but the very largest are dropped too */
    TASK_RANDOM,    /* a random choice is kept */
    TASK_RANKED     /* a random choice, in which large elements have better chances */
} task_sparsify;

static const task_sparsify task_sparsify_of = TASK_SPARSIFY;
static const bool task_consensus = TASK_CONSENSUS;

/* The parameters of the methods, in parts. */
#define TASK_WEIGHT                                                                                \
    {                                                                                              \
        "weight", MC_NUMBER, "weight of each model's task vector", .per_input = true,              \
                                                                   .required = true                \
    }
#define TASK_DENSITY                                                                               \
    {                                                                                              \
        "density", MC_NUMBER, "share of each task vector's elements that is kept",                 \
            .fallback = 1, .per_input = true                                                       \
    }
#define TASK_GAMMA                                                                                 \
    {                                                                                              \
        "gamma", MC_NUMBER, "share of each task vector's largest elements that is dropped",        \
            .fallback = .01, .per_input = true                                                     \
    }
#define TASK_EPSILON                                                                               \
    {                                                                                              \
        "epsilon", MC_NUMBER, "by how much the chance of the largest element exceeds the density", \
            .fallback = .15, .per_input = true                                                     \
    }
#define TASK_LAMBDA                                                                                \
    {                                                                                              \
        "lambda", MC_NUMBER, "what the merged task vector is multiplied by", .fallback = 1         \
    }
#define TASK_NORMALIZE(fallback_)                                                                  \
    {                                                                                              \
        "normalize", MC_FLAG, "divide by the sum of the weights that took part",                   \
            .fallback = fallback_                                                                  \
    }
#define TASK_RESCALE(fallback_)                                                                    \
    {                                                                                              \
        "rescale", MC_FLAG, "give what is kept of a task vector the L1 norm of the whole",         \
            .fallback = fallback_                                                                  \
    }
#define TASK_INT8_MASK                                                                             \
    {                                                                                              \
        "int8_mask", MC_FLAG, "has no effect: masks take no memory here"                           \
    }

/* Checks of what a random choice needs; `densities` are one per model. */
static inline MC_UNUSED mc_status task_check_density(const mc_value *densities, size_t model_count,
                                                     mc_error *error)
{
    (void)model_count;
    for (size_t m = 0; m < densities->count; m++)
        if (densities->numbers[m] < 0)
            return mc_fail(error, MC_USAGE, "density: expected at least 0, found %g",
                           densities->numbers[m]);
    return MC_OK;
}

/* As in mergekit, whose users sometimes mean percent. */
static inline MC_UNUSED const char *task_note(const mc_value *values, size_t model_count)
{
    (void)model_count;
    for (size_t m = 0; m < values[1].count; m++)
        if (values[1].numbers[m] < 0 || values[1].numbers[m] > 1)
            return "density: expected a share from 0 to 1: a smaller one keeps nothing of a task "
                   "vector, a larger one everything";
    return NULL;
}

static inline MC_UNUSED mc_status task_check_epsilon(const mc_value *densities,
                                                     const mc_value *epsilons, size_t model_count,
                                                     mc_error *error)
{
    for (size_t m = 0; m < model_count; m++) {
        const double density = densities->numbers[m], epsilon = epsilons->numbers[m];
        const bool drops = density > 0 && density < 1;
        /* A negative epsilon gives the small elements the better chances. */
        if (drops && (density - fabs(epsilon) <= 0 || density + fabs(epsilon) >= 1))
            return mc_fail(error, MC_USAGE,
                           "epsilon: expected density ± epsilon between 0 and 1, found %g ± %g",
                           density, fabs(epsilon));
    }
    return MC_OK;
}

/* ---- one model ------------------------------------------------------------------------------- */
static inline double task_value(const mc_layer *layer, const char *name, size_t model)
{
    return mc_numbers(layer, name)[model];
}

/* Density 1 and above keeps everything, and rescales nothing. */
static inline bool task_keeps_all(const mc_layer *layer, size_t model)
{
    return task_sparsify_of == TASK_NONE || task_value(layer, "density", model) >= 1;
}

/*
 * Whether nothing is kept. Of a tensor with few elements, the share between small and very large
 * ones may round to none.
 */
static inline bool task_keeps_none(const mc_layer *layer, size_t model)
{
    if (task_keeps_all(layer, model))
        return false;
    const double density = task_value(layer, "density", model);
    const bool rounds = task_sparsify_of == TASK_OUTLIERS && density * (double)layer->size < 1;
    return density <= 0 || rounds;
}

static inline bool task_rescales(const mc_layer *layer)
{
    return task_sparsify_of != TASK_NONE && mc_number(layer, "rescale") != 0;
}

/* ---- thresholds ------------------------------------------------------------------------------ */
static const size_t task_searches_per_model = TASK_SPARSIFY == TASK_MAGNITUDE  ? 1
                                              : TASK_SPARSIFY == TASK_OUTLIERS ? 2
                                                                               : 0;

static inline size_t task_searches(const mc_layer *layer)
{
    return task_searches_per_model * layer->model_count;
}

MC_PASS void task_find_keys(const mc_real *model, const mc_real *base, mc_bits *keys, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        keys[i] = mc_bits_of(mc_absolute(model[i] - base[i]));
}

static inline void task_keys(const mc_layer *layer, size_t model, size_t start, size_t count,
                             mc_bits *keys)
{
    task_find_keys(layer->models[model] + start, layer->base + start, keys, count);
}

/*
 * The ranks that a model's searches look for: of the smallest element that is kept, and of the
 * smallest that is too large.
 */
static inline int64_t task_rank(const mc_layer *layer, size_t search, int64_t zeros)
{
    (void)zeros;
    const size_t model = task_searches_per_model > 1 ? search / 2 : search;
    const double size = (double)layer->size, density = task_value(layer, "density", model);
    if (task_keeps_all(layer, model) || task_keeps_none(layer, model))
        return -1;
    const int64_t kept = (int64_t)(density * size);
    if (task_sparsify_of == TASK_MAGNITUDE)
        return layer->size - (kept > 0 ? kept : 1);
    const int64_t outliers = (int64_t)(task_value(layer, "gamma", model) * size);
    const int64_t small = layer->size - kept - outliers, first = small > 0 ? small : 0;
    if (search % 2 == 0)
        return first;
    return first + kept < layer->size ? first + kept : -1;
}

static const rank_selection task_selection = {.searches = task_searches,
                                              .sharing = task_searches_per_model,
                                              .keys = task_keys,
                                              .rank = task_rank};

/* ---- what is kept of one model --------------------------------------------------------------- */
/* Searches, then what each model's kept elements are multiplied by. */
typedef struct task_state {
    bool summing;            /* this round adds up norms; otherwise it searches */
    order_search searches[]; /* [task_searches] */
} task_state;

static inline double *task_scales(const mc_layer *layer, const void *state)
{
    const task_state *const s = state;
    return (double *)(uintptr_t)(s->searches + task_searches(layer));
}

/*
 * A stride larger than any tensor: a round without a search then loads one leaf only, and ignores
 * it.
 */
#define TASK_ONE_LEAF (INT64_C(1) << 40)

/* Elements computed at a time: MC_RANDOM_GROUP, and a leaf; of ranked methods a row. */
enum { TASK_UNIT = 4096 };

static inline size_t task_unit(const mc_layer *layer)
{
    return task_sparsify_of == TASK_RANKED ? ranked_row(layer) : TASK_UNIT;
}

/* Elements from one unit in the scratch memory to the next. */
static inline size_t task_stride_of(const mc_layer *layer)
{
    return task_sparsify_of == TASK_RANKED ? ranked_stride(layer) : TASK_UNIT;
}

static inline mc_status task_check_rows(const mc_layer *layer)
{
    return task_sparsify_of == TASK_RANKED ? ranked_check(layer) : MC_OK;
}

/* The length of the unit that begins at `start`. */
static inline size_t task_unit_at(const mc_layer *layer, size_t start)
{
    const size_t unit = task_unit(layer), left = layer->count - start;
    const size_t whole = unit - (size_t)((layer->first + (int64_t)start) % (int64_t)unit);
    return left < whole ? left : whole;
}

/*
 * Zeroes what is not between two keys: first ≤ key < first + span. Keys and masks have one width,
 * and there are no branches, so that compilers vectorise it.
 */
MC_PASS void task_keep_between(mc_bits first, mc_bits span, mc_real *task, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_bits bits = mc_bits_of(task[i]);
        task[i] = mc_real_of(bits & -(mc_bits)((bits & ~MC_TOP_BIT) - first < span));
    }
}

/*
 * Zeroes what the thresholds drop: below the element of `low`, and from that of `high` on. Among
 * elements with the key of a threshold the place decides; the outcome changes once per tensor.
 */
static inline void task_threshold(const order_search *low, const order_search *high, mc_real *task,
                                  uint64_t place, size_t count)
{
    const size_t low_places = rank_places(low, place, count);
    const size_t high_places = high->none ? 0 : rank_places(high, place, count);
    for (size_t from = 0, to; from < count; from = to) {
        to = from < low_places ? low_places : count;
        to = from < high_places && high_places < to ? high_places : to;
        const mc_bits first = low->key + (from >= low_places);
        const mc_bits end = high->none ? MC_TOP_BIT : high->key + (from >= high_places);
        task_keep_between(first, end > first ? end - first : 0, task + from, to - from);
    }
}

/*
 * What the statistics chose of a unit, for `apply`: a choice by ranks takes longer than to remember
 * it; one that only draws numbers does not. Every unit has bytes of its own, which one thread
 * writes before `apply` begins. A unit without a mark, or beyond the room, is chosen again: the
 * choice is always the same.
 */
typedef struct task_choice {
    unsigned char *made;
    uint64_t *kept; /* [ranked_words] bits, see ranked_space */
} task_choice;

enum { TASK_CHOICE_BYTES = 32 << 20 }; /* of a tensor, at most */

/* How many units have room for the choices of all models. */
static inline size_t task_choices(const mc_layer *layer)
{
    const size_t unit = task_unit(layer), bytes = ranked_words(unit) * sizeof(uint64_t) + 1;
    const size_t units = ((size_t)layer->size + unit - 1) / unit;
    const size_t most = TASK_CHOICE_BYTES / (bytes * layer->model_count);
    if (task_sparsify_of != TASK_RANKED || !task_rescales(layer))
        return 0;
    return units < most ? units : most;
}

static inline size_t task_state_size(const mc_layer *layer)
{
    const size_t choice = ranked_words(task_unit(layer)) * sizeof(uint64_t) + 1;
    return sizeof(task_state) + task_searches(layer) * sizeof(order_search) +
           layer->model_count * (sizeof(double) + task_choices(layer) * choice);
}

/* Of a unit that is computed as a whole; NULL, NULL if it is not, or if there is no room. */
static inline task_choice task_choice_of(const mc_layer *layer, size_t model, size_t start,
                                         size_t count)
{
    const size_t unit = task_unit(layer), words = ranked_words(unit);
    const size_t first = (size_t)layer->first + start;
    const size_t choices = task_choices(layer), at = first / unit * layer->model_count + model;
    const bool ends = count == unit || first + count == (size_t)layer->size;
    if (first / unit >= choices || first % unit != 0 || !ends)
        return (task_choice){0};
    uint64_t *const kept = (uint64_t *)(void *)(task_scales(layer, layer->state) +
                                                layer->model_count);
    unsigned char *const made = (unsigned char *)(kept + choices * layer->model_count * words);
    return (task_choice){made + at, kept + at * words};
}

/* Zeroes what a choice by ranks drops of a unit. `remember`: keeps the choice for `apply`. */
static inline void task_ranked(const mc_layer *layer, size_t model, size_t start, size_t count,
                               bool remember, mc_real *task)
{
    const task_choice choice = task_choice_of(layer, model, start, count);
    const bool made = choice.made && *choice.made;
    uint64_t *const kept = made || (choice.made && remember) ? choice.kept
                                                             : ranked_space_of(layer).kept;
    if (!made)
        ranked_choose(layer, model, start, task, kept);
    if (choice.made && remember)
        *choice.made = 1;
    ranked_drop(kept, task, count);
}

/* Keeps an element with probability `density`, to the nearest multiple of 2^-16. */
static inline void task_random(const mc_layer *layer, size_t model, size_t start, size_t count,
                               mc_real *task)
{
    uint16_t kept[TASK_UNIT];
    const double limit = nearbyint((1 - task_value(layer, "density", model)) * 0x1p16);
    if (limit > UINT16_MAX) {
        mc_tile_fill(task, 0, count);
        return;
    }
    mc_random_bernoulli(layer->random_key, (uint32_t)model, layer->first + (int64_t)start, count,
                        (uint16_t)limit, kept);
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        task[i] = kept[i] ? task[i] : 0;
}

/* Zeroes what is dropped of a unit of a task vector. `remember`: keeps slow choices for `apply`. */
static inline void task_drop(const mc_layer *layer, size_t model, size_t start, size_t count,
                             bool remember, mc_real *task)
{
    static const order_search no_limit = {.none = true};
    if (task_keeps_all(layer, model))
        return;
    if (task_keeps_none(layer, model)) {
        mc_tile_fill(task, 0, count);
    } else if (task_searches_per_model > 0) {
        const order_search *const found = ((const task_state *)layer->state)->searches +
                                          model * task_searches_per_model;
        task_threshold(found, task_searches_per_model > 1 ? found + 1 : &no_limit, task,
                       (uint64_t)layer->first + start, count);
    } else if (task_sparsify_of == TASK_RANDOM) {
        task_random(layer, model, start, count, task);
    } else {
        task_ranked(layer, model, start, count, remember, task);
    }
}

/* ---- statistics ------------------------------------------------------------------------------ */
/*
 * Norms are added up per leaf (per block of rows, if ranked) and per model, each in a place of its
 * own, and the places in their order at the end. So the sum does not depend on who added what
 * first.
 */
typedef struct task_norms {
    double whole, kept;
} task_norms;

static inline int64_t task_block(const mc_layer *layer)
{
    const int64_t unit = (int64_t)task_unit(layer);
    return unit * ((MC_LEAF + unit - 1) / unit);
}

static inline size_t task_block_count(const mc_layer *layer)
{
    const int64_t block = task_block(layer);
    return (size_t)((layer->size + block - 1) / block);
}

static inline bool task_sums(const mc_layer *layer)
{
    return ((const task_state *)layer->state)->summing;
}

static inline void task_begin(const mc_layer *layer, void *state)
{
    task_state *const s = state;
    for (size_t m = 0; m < layer->model_count; m++)
        task_scales(layer, state)[m] = 1;
    if (task_searches_per_model > 0)
        rank_begin(layer, &task_selection, s->searches);
    s->summing = task_searches_per_model == 0;
}

static inline size_t task_partial_size(const mc_layer *layer)
{
    if (task_sums(layer))
        return task_rescales(layer)
                   ? task_block_count(layer) * layer->model_count * sizeof(task_norms)
                   : 1;
    return order_partial_size(((const task_state *)layer->state)->searches, task_searches(layer));
}

static inline size_t task_partial_zeros(const mc_layer *layer)
{
    if (task_sums(layer))
        return task_partial_size(layer);
    return order_partial_zeros(((const task_state *)layer->state)->searches, task_searches(layer));
}

static inline int64_t task_stride(const mc_layer *layer, int round)
{
    (void)round;
    if (task_sums(layer))
        return task_rescales(layer) ? 1 : TASK_ONE_LEAF;
    return order_stride(((const task_state *)layer->state)->searches, task_searches(layer));
}

/* task = model − base; returns its L1 norm, as task_norm. */
MC_PASS double task_subtract(const mc_real *model, const mc_real *base, mc_real *task, size_t count)
{
    double lanes[MC_TILE_LANES] = {0};
    size_t i = 0;
    for (; i + MC_TILE_LANES <= count; i += MC_TILE_LANES)
        for (size_t l = 0; l < MC_TILE_LANES; l++) {
            task[i + l] = model[i + l] - base[i + l];
            lanes[l] += (double)mc_absolute(task[i + l]);
        }
    for (size_t l = 0; i + l < count; l++) {
        task[i + l] = model[i + l] - base[i + l];
        lanes[l] += (double)mc_absolute(task[i + l]);
    }
    return mc_tile_lanes_total(lanes);
}

/* The sum of magnitudes, in the lanes of mc_tile_dot. */
static inline double task_norm(const mc_real *a, size_t count)
{
    double lanes[MC_TILE_LANES] = {0};
    size_t i = 0;
    for (; i + MC_TILE_LANES <= count; i += MC_TILE_LANES)
        for (size_t l = 0; l < MC_TILE_LANES; l++)
            lanes[l] += (double)mc_absolute(a[i + l]);
    for (size_t l = 0; i + l < count; l++)
        lanes[l] += (double)mc_absolute(a[i + l]);
    return mc_tile_lanes_total(lanes);
}

static inline void task_add_norms(const mc_layer *layer, task_norms *norms)
{
    const size_t models = layer->model_count;
    const int64_t block = task_block(layer);
    mc_real *const task = layer->scratch;
    for (size_t start = 0, count; start < layer->count; start += count) {
        count = task_unit_at(layer, start);
        task_norms *const here = norms + (size_t)((layer->first + (int64_t)start) / block) * models;
        for (size_t m = 0; m < models; m++) {
            if (task_keeps_all(layer, m) || task_keeps_none(layer, m))
                continue;
            here[m].whole += task_subtract(layer->models[m] + start, layer->base + start, task,
                                           count);
            task_drop(layer, m, start, count, true, task);
            here[m].kept += task_norm(task, count);
        }
    }
}

static inline mc_status task_accumulate(const mc_layer *layer, void *partial)
{
    if (!task_sums(layer))
        return rank_accumulate(layer, &task_selection, ((const task_state *)layer->state)->searches,
                               partial);
    const mc_status status = task_check_rows(layer);
    if (status == MC_OK && task_rescales(layer))
        task_add_norms(layer, partial);
    return status;
}

static inline void task_combine(const mc_layer *layer, void *into, const void *from)
{
    if (!task_sums(layer)) {
        order_combine(((const task_state *)layer->state)->searches, task_searches(layer), into,
                      from);
        return;
    }
    task_norms *const all = into;
    const task_norms *const more = from;
    const size_t count = task_rescales(layer) ? task_block_count(layer) * layer->model_count : 0;
    for (size_t i = 0; i < count; i++) {
        all[i].whole += more[i].whole;
        all[i].kept += more[i].kept;
    }
}

/*
 * Sets what each model's kept elements are multiplied by. Models with next to nothing kept, or next
 * to no task vector, are not rescaled: the quotient would be noise.
 */
static inline void task_set_scales(const mc_layer *layer, const task_norms *norms, double *scales)
{
    const double smallest = 1e-7;
    const size_t blocks = task_block_count(layer), models = layer->model_count;
    for (size_t m = 0; m < models; m++) {
        task_norms sum = {0};
        for (size_t b = 0; b < blocks; b++) {
            sum.whole += norms[b * models + m].whole;
            sum.kept += norms[b * models + m].kept;
        }
        scales[m] = sum.whole < smallest || sum.kept < smallest ? 1 : sum.whole / sum.kept;
    }
}

static inline mc_status task_next(const mc_layer *layer, int round, void *state, const void *total,
                                  bool *more)
{
    (void)round;
    task_state *const s = state;
    if (s->summing) {
        if (task_rescales(layer))
            task_set_scales(layer, total, task_scales(layer, state));
        return MC_OK;
    }
    rank_next(layer, &task_selection, s->searches, total);
    s->summing = order_done(s->searches, task_searches(layer));
    *more = !s->summing || task_rescales(layer);
    return MC_OK;
}

static MC_UNUSED const mc_statistics task_statistics = {.state_size = task_state_size,
                                                        .begin = task_begin,
                                                        .partial_size = task_partial_size,
                                                        .partial_zeros = task_partial_zeros,
                                                        .order_free = true,
                                                        .stride = task_stride,
                                                        .accumulate = task_accumulate,
                                                        .combine = task_combine,
                                                        .next = task_next};

/* ---- apply ----------------------------------------------------------------------------------- */
/* A unit of each model's task vector and one of their sum, and what ranks need. */
static inline size_t task_scratch(const mc_layer *layer)
{
    const size_t ranked = task_sparsify_of == TASK_RANKED ? ranked_scratch(layer) : 0;
    return ranked + (layer->model_count + 1) * task_stride_of(layer) * sizeof(mc_real);
}

/* task *= scale, *= weight; total += task, or = task if there is no total yet */
MC_PASS void task_weigh(mc_real *task, mc_real *total, bool first, mc_real scale, mc_real weight,
                        size_t count)
{
    if (first) {
        MC_INDEPENDENT
        for (size_t i = 0; i < count; i++)
            total[i] = task[i] = weight * (scale * task[i]);
        return;
    }
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real weighted = weight * (scale * task[i]);
        task[i] = weighted;
        total[i] += weighted;
    }
}

/* The same of a task vector that is kept as it is, and not needed afterwards. */
MC_PASS void task_weigh_whole(const mc_real *model, const mc_real *base, mc_real *total, bool first,
                              mc_real weight, size_t count)
{
    if (first) {
        MC_INDEPENDENT
        for (size_t i = 0; i < count; i++)
            total[i] = weight * (model[i] - base[i]);
        return;
    }
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        total[i] += weight * (model[i] - base[i]);
}

/* total += task; agreeing elements: agreed += task, weights += weight */
MC_PASS void task_elect(const mc_real *total, mc_real *agreed, mc_real *weights,
                        const mc_real *task, mc_real weight, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        /* A product, not a choice: compilers vectorise it. */
        const bool agrees = task[i] * (total[i] >= 0 ? (mc_real)1 : (mc_real)-1) > 0;
        agreed[i] += agrees ? task[i] : 0;
        weights[i] += agrees ? weight : 0;
    }
}

/*
 * out = base + merged / divisor · factor; where `total` is NaN, that. A divisor of 0 counts as 1,
 * and so do all if there are none.
 */
MC_PASS void task_add(mc_real *out, const mc_real *base, const mc_real *total,
                      const mc_real *merged, const mc_real *divisors, mc_real factor, size_t count)
{
    if (!divisors) {
        MC_INDEPENDENT
        for (size_t i = 0; i < count; i++) {
            const mc_real result = base[i] + merged[i] * factor;
            out[i] = total[i] != total[i] ? total[i] : result;
        }
        return;
    }
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real divisor = divisors[i] != 0 ? divisors[i] : 1;
        const mc_real result = base[i] + merged[i] / divisor * factor;
        out[i] = total[i] != total[i] ? total[i] : result;
    }
}

static inline double task_weight_sum(const mc_layer *layer)
{
    const double *const weights = mc_numbers(layer, "weight");
    double total = 0;
    for (size_t m = 0; m < layer->model_count; m++)
        total += weights[m];
    return fabs(total) < 1e-8 ? 1 : total;
}

/* What the blocks of a tile have in common. */
typedef struct task_settings {
    const double *weights;
    bool normalize;
    mc_real weight_sum, lambda;
} task_settings;

/* The weighted task vectors of a block are tasks[m · stride]. */
static inline void task_merge_block(const mc_layer *layer, const task_settings *settings,
                                    const mc_real *tasks, size_t stride, const mc_real *total,
                                    size_t start, size_t count)
{
    mc_real agreed[MC_TILE_BLOCK] = {0}, divisors[MC_TILE_BLOCK] = {0};
    for (size_t m = 0; task_consensus && m < layer->model_count; m++)
        task_elect(total, agreed, divisors, tasks + m * stride, (mc_real)settings->weights[m],
                   count);
    if (settings->normalize && !task_consensus)
        mc_tile_fill(divisors, settings->weight_sum, count);
    task_add(layer->out + start, layer->base + start, total, task_consensus ? agreed : total,
             settings->normalize ? divisors : NULL, settings->lambda, count);
}

/* The weighted task vectors of a unit, and their sum. */
static inline void task_weigh_unit(const mc_layer *layer, const task_settings *settings,
                                   size_t start, size_t count, mc_real *tasks, mc_real *total)
{
    const double *const scales = task_rescales(layer) ? task_scales(layer, layer->state) : NULL;
    for (size_t m = 0; m < layer->model_count; m++) {
        const mc_real *const model = layer->models[m] + start, *const base = layer->base + start;
        mc_real *const task = tasks + m * task_stride_of(layer);
        const mc_real weight = (mc_real)settings->weights[m];
        if (task_sparsify_of == TASK_NONE && !task_consensus) {
            task_weigh_whole(model, base, total, m == 0, weight, count);
            continue;
        }
        mc_tile_subtract(task, model, base, count);
        task_drop(layer, m, start, count, false, task);
        task_weigh(task, total, m == 0, scales ? (mc_real)scales[m] : 1, weight, count);
    }
}

static inline mc_status task_apply(const mc_layer *layer)
{
    const task_settings settings = {.weights = mc_numbers(layer, "weight"),
                                    .normalize = mc_number(layer, "normalize") != 0,
                                    .weight_sum = (mc_real)task_weight_sum(layer),
                                    .lambda = (mc_real)mc_number(layer, "lambda")};
    const mc_status status = task_check_rows(layer);
    if (status != MC_OK)
        return status;
    const size_t stride = task_stride_of(layer);
    mc_real *const tasks = layer->scratch, *const total = tasks + layer->model_count * stride;
    for (size_t start = 0, count; start < layer->count; start += count) {
        count = task_unit_at(layer, start);
        task_weigh_unit(layer, &settings, start, count, tasks, total);
        for (size_t at = 0; at < count; at += MC_TILE_BLOCK)
            task_merge_block(layer, &settings, tasks + at, stride, total + at, start + at,
                             mc_tile_block(at, count));
    }
    return MC_OK;
}

#endif
