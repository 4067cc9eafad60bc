/*
 * Finds the tensors that two models have in common: by equal names, by an old and a new name of one
 * tensor (checkpoint/renames.h), or behind a prefix that one model has before the names of its
 * encoder ("bert.") and the other lacks.
 */
#ifndef MC_MODEL_MATCH_H
#define MC_MODEL_MATCH_H

#include <mergecraft/model.h>

#define MC_MATCH_NONE SIZE_MAX

/* The tensors of one side; borrowed. */
typedef struct mc_match_side {
    const char *const *names;
    mc_source *const *sources; /* whose shapes have to agree; NULL: shapes are unknown */
    size_t count;
} mc_match_side;

typedef struct mc_match {
    size_t *partners; /* per name of `mine`: the index of the same tensor in `theirs`, or NONE */
    size_t renamed;   /* how many have partners of another name, apart from the prefix */
    char *prefix;     /* what `theirs` has before names of `mine`, or … */
    bool strip;       /* … what `mine` has before names of `theirs`; NULL: neither */
    /* A prefix that was not used because another one fits as many names; NULL: none. */
    char *ambiguous;
} mc_match;

/*
 * Matches the names of `mine` with those of `theirs`. `usual` is the prefix that the model type
 * has, NULL if it is not known: it is taken if several fit equally well. Zero-initialise *out; free
 * it also after a failure.
 */
mc_status mc_match_new(const mc_match_side *mine, const mc_match_side *theirs, const char *usual,
                       mc_match *out, mc_error *error);
void mc_match_free(mc_match *match);

/* The name with the prefix put before it or taken away, in new memory; NULL: no memory. */
char *mc_match_apply(const mc_match *match, const char *name);

#endif
