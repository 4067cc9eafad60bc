/*
 * Strategies: in which order points of the space are tried. A strategy runs from start to end and
 * asks for the score of one point after another. A resumed search runs it again and answers from
 * the journal, so no strategy has a state to save: the same seed and the same scores give the same
 * points.
 */
#ifndef MC_SEARCH_STRATEGY_H
#define MC_SEARCH_STRATEGY_H

#include "search/space.h"

/* The trials of a search, which a strategy asks for. */
typedef struct mc_trials mc_trials;

/*
 * Scores the point at unit[count of dimensions]: *score is larger for better ones, NaN if the trial
 * failed. Returns false once no more trials are wanted, or after an error: the strategy returns.
 */
bool mc_trials_ask(mc_trials *trials, const double *unit, double *score);

typedef struct mc_strategy {
    const char *name, *help;
    /*
     * No point depends on the scores of others: a score from a part of the examples does not
     * mislead it, and trials may be computed at the same time. It gets NaN as score if they are.
     */
    bool independent;
    bool only_switches; /* it chooses models and nothing else */
    /* Returns when it has no more points, or mc_trials_ask returned false. */
    mc_status (*run)(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error);
} mc_strategy;

/* MC_USAGE, with the nearest name, if there is none. */
mc_status mc_strategy_find(const char *name, const mc_strategy **out, mc_error *error);

/* Points of a grid; SIZE_MAX if there are more. */
size_t mc_grid_count(const mc_space *space);

/* Those of NLopt (nlopt.c). */
mc_status mc_nlopt_nelder_mead(const mc_space *space, uint64_t seed, mc_trials *trials,
                               mc_error *error);
mc_status mc_nlopt_bobyqa(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error);
mc_status mc_nlopt_crs(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error);
mc_status mc_nlopt_esch(const mc_space *space, uint64_t seed, mc_trials *trials, mc_error *error);

#endif
