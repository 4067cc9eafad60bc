#include "search/strategy.h"

#include "base/memory.h"
#include "search/sobol.h"

#include <mergecraft/text.h>

#include <math.h>
#include <string.h>

static double *new_point(const mc_space *space, double value)
{
    double *const point = mc_alloc_zero(space->count, sizeof *point);
    for (size_t i = 0; point && i < space->count; i++)
        point[i] = value;
    return point;
}

/* Failed trials are worse than all others. */
static bool is_better(double score, double than)
{
    return score > than || (isnan(than) && !isnan(score));
}

/* ---- grid ------------------------------------------------------------------------------------ */

size_t mc_grid_count(const mc_space *space)
{
    size_t count = 1;
    for (size_t i = 0; i < space->count; i++)
        if (__builtin_mul_overflow(count, space->dimensions[i].levels, &count))
            return SIZE_MAX;
    return count;
}

/* All points, the last dimension fastest. */
static mc_status run_grid(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error)
{
    (void)seed;
    double *const point = new_point(space, 0), score;
    if (!point)
        return mc_fail_memory(error);
    const size_t count = mc_grid_count(space);
    bool more = true;
    for (size_t i = 0; more && i < count; i++) {
        size_t rest = i;
        for (size_t d = space->count; d-- > 0;) {
            const mc_dimension *const dimension = &space->dimensions[d];
            point[d] = mc_dimension_level(dimension, rest % dimension->levels);
            rest /= dimension->levels;
        }
        more = mc_trials_ask(trials, point, &score);
    }
    mc_free(point);
    return MC_OK;
}

/* ---- random ---------------------------------------------------------------------------------- */

static mc_status run_random(const mc_space *space, uint64_t seed, mc_trials *trials,
                            mc_error *error)
{
    double *const point = new_point(space, 0), score;
    if (!point)
        return mc_fail_memory(error);
    bool more = true;
    for (uint32_t i = 0; more && i < UINT32_MAX; i++) {
        mc_sobol_point(seed, i, point, space->count);
        more = mc_trials_ask(trials, point, &score);
    }
    mc_free(point);
    return MC_OK;
}

/* ---- coordinate ------------------------------------------------------------------------------ */

/*
 * Coordinate search, one dimension after the other:
 *
 *     for each dimension: try a step up and one down, or every other choice; move to the better
 *     nothing is better:  halve the step; below the smallest one, begin again at another point
 */
typedef struct walk {
    const mc_space *space;
    mc_trials *trials;
    double *point, *best; /* `best` is where the walk is, `point` what is tried */
    double score;         /* there */
    double step;
    bool more, moved;
} walk;

static const double first_step = 0.25, smallest_step = 0x1p-10;

static void try_at(walk *w, size_t dimension, double unit)
{
    double score;
    if (!w->more || unit < 0 || unit > 1)
        return;
    memcpy(w->point, w->best, w->space->count * sizeof *w->point);
    w->point[dimension] = unit;
    /* A step that is too short for a whole number or a choice. */
    const mc_dimension *const d = &w->space->dimensions[dimension];
    if (mc_dimension_value(d, unit) == mc_dimension_value(d, w->best[dimension]))
        return;
    w->more = mc_trials_ask(w->trials, w->point, &score);
    if (!w->more || !is_better(score, w->score))
        return;
    w->best[dimension] = unit;
    w->score = score;
    w->moved = true;
}

static void walk_along(walk *w, size_t dimension)
{
    const mc_dimension *const d = &w->space->dimensions[dimension];
    if (d->kind == MC_DIMENSION_CHOICE) {
        for (size_t i = 0; i < d->choice_count; i++)
            try_at(w, dimension, mc_dimension_level(d, i));
        return;
    }
    /* At least to the next whole number. */
    const double least = d->kind == MC_DIMENSION_INTEGER ? 1 / (d->high - d->low + 1) : 0;
    const double step = fmax(w->step, least), from = w->best[dimension];
    try_at(w, dimension, fmin(from + step, 1));
    if (w->best[dimension] == from)
        try_at(w, dimension, fmax(from - step, 0));
}

static void walk_from(walk *w)
{
    w->more = mc_trials_ask(w->trials, w->best, &w->score);
    for (w->step = first_step; w->more && w->step >= smallest_step;) {
        w->moved = false;
        for (size_t d = 0; d < w->space->count; d++)
            walk_along(w, d);
        w->step = w->moved ? w->step : w->step / 2;
    }
}

/* The first walk begins in the middle. */
static mc_status run_coordinate(const mc_space *space, uint64_t seed, mc_trials *trials,
                                mc_error *error)
{
    walk w = {.space = space,
              .trials = trials,
              .point = new_point(space, 0.5),
              .best = new_point(space, 0.5),
              .more = true};
    const mc_status status = w.point && w.best ? MC_OK : mc_fail_memory(error);
    for (uint32_t i = 0; status == MC_OK && w.more; i++) {
        walk_from(&w);
        mc_sobol_point(seed, i, w.best, space->count);
    }
    mc_free(w.point);
    mc_free(w.best);
    return status;
}

/* ---- greedy ---------------------------------------------------------------------------------- */

/* The best of the models that are not taken yet; of equal ones the first. */
static size_t next_best(const double *scores, const bool *taken, size_t count)
{
    size_t best = count;
    for (size_t i = 0; i < count; i++)
        if (!taken[i] && (best == count || is_better(scores[i], scores[best])))
            best = i;
    return best;
}

static bool score_single(const mc_space *space, mc_trials *trials, double *point, double *scores)
{
    for (size_t i = 0; i < space->count; i++) {
        for (size_t k = 0; k < space->count; k++)
            point[k] = mc_dimension_level(&space->dimensions[k], k == i);
        if (!mc_trials_ask(trials, point, &scores[i]))
            return false;
    }
    return true;
}

/*
 * Greedy soup: M. Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models
 * improves accuracy without increasing inference time", ICML 2022, recipe 1. Models in the order of
 * their own scores; each stays in if the merge is not worse with it.
 */
static void add_greedily(const mc_space *space, mc_trials *trials, double *point,
                         const double *scores, bool *taken)
{
    const size_t first = next_best(scores, taken, space->count);
    double best = scores[first], score;
    taken[first] = true;
    for (size_t k = 0; k < space->count; k++)
        point[k] = mc_dimension_level(&space->dimensions[k], k == first);
    for (size_t n = 1; n < space->count; n++) {
        const size_t next = next_best(scores, taken, space->count);
        taken[next] = true;
        point[next] = mc_dimension_level(&space->dimensions[next], 1);
        if (!mc_trials_ask(trials, point, &score))
            return;
        if (is_better(score, best) || score == best)
            best = score;
        else
            point[next] = mc_dimension_level(&space->dimensions[next], 0);
    }
}

static mc_status run_greedy(const mc_space *space, uint64_t seed, mc_trials *trials,
                            mc_error *error)
{
    (void)seed;
    double *const point = new_point(space, 0), *const scores = new_point(space, 0);
    bool *const taken = mc_alloc_zero(space->count, sizeof *taken);
    const mc_status status = point && scores && taken ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK && score_single(space, trials, point, scores))
        add_greedily(space, trials, point, scores, taken);
    mc_free(point);
    mc_free(scores);
    mc_free(taken);
    return status;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const mc_strategy strategies[] = {
    {"random", "points of a Sobol sequence", .independent = true, .run = run_random},
    {"grid", "all combinations", .independent = true, .run = run_grid},
    {"coordinate", "one parameter after the other, in shorter and shorter steps",
     .run = run_coordinate},
    {"greedy", "adds models in the order of their own scores", .only_switches = true,
     .run = run_greedy},
    {"nelder-mead", "simplex of NLopt: local, without derivatives", .run = mc_nlopt_nelder_mead},
    {"bobyqa", "quadratic models of NLopt: local, for smooth scores", .run = mc_nlopt_bobyqa},
    {"crs", "controlled random search of NLopt: global", .run = mc_nlopt_crs},
    {"esch", "evolution of NLopt: global", .run = mc_nlopt_esch},
};

enum { STRATEGIES = sizeof strategies / sizeof *strategies };

mc_status mc_strategy_find(const char *name, const mc_strategy **out, mc_error *error)
{
    const char *names[STRATEGIES];
    for (size_t i = 0; i < STRATEGIES; i++) {
        names[i] = strategies[i].name;
        if (strcmp(name, names[i]) != 0)
            continue;
        *out = &strategies[i];
        return MC_OK;
    }
    const char *const near = mc_suggest(name, names, STRATEGIES);
    return mc_fail(error, MC_USAGE,
                   near ? "unknown strategy '%s'; did you mean '%s'?"
                        : "unknown strategy '%s': expected random, grid, coordinate, greedy, "
                          "nelder-mead, bobyqa, crs or esch%s",
                   name, near ? near : "");
}
