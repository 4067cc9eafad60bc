/*
 * Strategies of NLopt, which is loaded on first use. It calls back for every score. A resumed
 * search gives it the scores of the journal, so it reaches the same state.
 */
#include "base/library.h"
#include "base/memory.h"
#include "search/sobol.h"
#include "search/strategy.h"

#include <math.h>
#include <pthread.h>

typedef struct nlopt_object nlopt_object;
typedef double (*nlopt_function)(unsigned count, const double *point, double *gradient, void *user);

/* The functions of nlopt.h that are used; an algorithm is an enum, a result an int. */
static struct {
    int (*algorithm_from_string)(const char *name);
    nlopt_object *(*create)(int algorithm, unsigned count);
    void (*destroy)(nlopt_object *);
    int (*set_max_objective)(nlopt_object *, nlopt_function, void *user);
    int (*set_lower_bounds1)(nlopt_object *, double bound);
    int (*set_upper_bounds1)(nlopt_object *, double bound);
    int (*set_initial_step1)(nlopt_object *, double step);
    int (*set_xtol_abs1)(nlopt_object *, double tolerance);
    int (*optimize)(nlopt_object *, double *point, double *value);
    int (*force_stop)(nlopt_object *);
    void (*srand)(unsigned long seed);
} nlopt;

/* Set once by `load` and constant from then on: no lock is needed to read them. */
static mc_status loaded;
static mc_error failure;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    static const char *const names[] = {"libnlopt.so.0", "libnlopt.so.1", NULL};
    const mc_symbol symbols[] = {
        {"nlopt_algorithm_from_string", (void **)&nlopt.algorithm_from_string},
        {"nlopt_create", (void **)&nlopt.create},
        {"nlopt_destroy", (void **)&nlopt.destroy},
        {"nlopt_set_max_objective", (void **)&nlopt.set_max_objective},
        {"nlopt_set_lower_bounds1", (void **)&nlopt.set_lower_bounds1},
        {"nlopt_set_upper_bounds1", (void **)&nlopt.set_upper_bounds1},
        {"nlopt_set_initial_step1", (void **)&nlopt.set_initial_step1},
        {"nlopt_set_xtol_abs1", (void **)&nlopt.set_xtol_abs1},
        {"nlopt_optimize", (void **)&nlopt.optimize},
        {"nlopt_force_stop", (void **)&nlopt.force_stop},
        {"nlopt_srand", (void **)&nlopt.srand},
        {0}};
    loaded = mc_library_load("NLopt (Debian: libnlopt0)", names, symbols, &failure);
}

typedef struct climb {
    mc_trials *trials;
    nlopt_object *optimizer;
    double best, worst; /* scores so far; NaN before the first */
    bool more;
} climb;

/*
 * What a failed trial counts: clearly worse than all others, but not infinite, which would ruin the
 * models that BOBYQA fits.
 */
static double penalty(const climb *c)
{
    return isnan(c->worst) ? -1 : c->worst - (c->best - c->worst) - 1;
}

static double score_of(unsigned count, const double *point, double *gradient, void *user)
{
    climb *const c = user;
    double score = NAN;
    (void)count;
    (void)gradient;
    /* NLopt asks once more after force_stop, depending on the algorithm. */
    c->more = c->more && mc_trials_ask(c->trials, point, &score);
    if (!c->more)
        nlopt.force_stop(c->optimizer);
    if (isnan(score))
        return penalty(c);
    c->best = fmax(c->best, score);
    c->worst = fmin(c->worst, score);
    return score;
}

/* Below this distance of coordinates, values of six digits hardly differ. */
static const double tolerance = 1e-5;

/* One run from `point` on; local algorithms end when they have converged. */
static mc_status climb_from(climb *c, int algorithm, unsigned count, bool local, double *point,
                            mc_error *error)
{
    double value;
    c->optimizer = nlopt.create(algorithm, count);
    if (!c->optimizer)
        return mc_fail_memory(error);
    nlopt.set_max_objective(c->optimizer, score_of, c);
    nlopt.set_lower_bounds1(c->optimizer, 0);
    nlopt.set_upper_bounds1(c->optimizer, 1);
    if (local) {
        nlopt.set_initial_step1(c->optimizer, 0.25);
        nlopt.set_xtol_abs1(c->optimizer, tolerance);
    }
    const int result = nlopt.optimize(c->optimizer, point, &value);
    nlopt.destroy(c->optimizer);
    /* −5 is our force_stop; −4: rounding prevents any progress, as after convergence. */
    if (result < 0 && result != -5 && result != -4)
        return result == -3 ? mc_fail_memory(error)
                            : mc_fail(error, MC_UNSUPPORTED, "NLopt failed with result %d", result);
    return MC_OK;
}

/* The first run begins in the middle; when one has converged, the next begins elsewhere. */
static mc_status run_nlopt(const char *name, bool local, const mc_space *space, uint64_t seed,
                           mc_trials *trials, mc_error *error)
{
    pthread_once(&once, load);
    if (loaded != MC_OK) {
        if (error)
            *error = failure;
        return loaded;
    }
    climb c = {.trials = trials, .best = NAN, .worst = NAN, .more = true};
    double *const point = mc_alloc_zero(space->count, sizeof *point);
    mc_status status = point ? MC_OK : mc_fail_memory(error);
    for (size_t i = 0; status == MC_OK && i < space->count; i++)
        point[i] = 0.5;
    for (uint32_t i = 0; status == MC_OK && c.more; i++) {
        nlopt.srand((unsigned long)(seed + i));
        status = climb_from(&c, nlopt.algorithm_from_string(name), (unsigned)space->count, local,
                            point, error);
        mc_sobol_point(seed, i, point, space->count);
    }
    mc_free(point);
    return status;
}

mc_status mc_nlopt_nelder_mead(const mc_space *space, uint64_t seed, mc_trials *trials,
                               mc_error *error)
{
    return run_nlopt("LN_NELDERMEAD", true, space, seed, trials, error);
}

mc_status mc_nlopt_bobyqa(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error)
{
    return run_nlopt("LN_BOBYQA", true, space, seed, trials, error);
}

mc_status mc_nlopt_crs(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error)
{
    return run_nlopt("GN_CRS2_LM", false, space, seed, trials, error);
}

mc_status mc_nlopt_esch(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error)
{
    return run_nlopt("GN_ESCH", false, space, seed, trials, error);
}
