/*
 * What is searched: makes the plan of a trial from the values of its dimensions. Values are bound
 * to the rows of the plan before, unless other models take part, or the merge is a recipe.
 */
#ifndef MC_SEARCH_SUBJECT_H
#define MC_SEARCH_SUBJECT_H

#include "search/space.h"

#include <mergecraft/search.h>

typedef struct mc_subject {
    const mc_search_input *input;
    const mc_space *space;
    char *template; /* text of the recipe with its ${NAME}; NULL: a method */
    mc_recipe *recipe;
    char *recipe_text; /* of the current plan */
    mc_plan *plan;     /* the current one; NULL: none */
    bool *in;          /* [models] which take part in it */
    /* Of models that take part: settings, and arrays for mc_plan_new. */
    char **settings;
    size_t setting_count;
    const mc_model **models;
    const mc_model ***sides;
} mc_subject;

/*
 * Fills *space, which the subject borrows, from the input's text and its recipe, and checks that
 * the merge takes both ends of each dimension. Zero-initialise both; free them also after a
 * failure.
 */
mc_status mc_subject_new(const mc_search_input *input, mc_space *space, mc_subject *out,
                         mc_error *error);
void mc_subject_free(mc_subject *subject);

/* Makes subject->plan. values[count of dimensions]. Errors: those of mc_plan_new, mc_recipe_plan */
mc_status mc_subject_bind(mc_subject *subject, const double *values, mc_error *error);

#endif
