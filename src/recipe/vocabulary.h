/* Whether models have the same vocabulary, by their tokenizer files. */
#ifndef MC_RECIPE_VOCABULARY_H
#define MC_RECIPE_VOCABULARY_H

#include <mergecraft/model.h>

#include "base/error.h"

/* The files of a folder that make a tokenizer; NULL ends the list. */
extern const char *const mc_tokenizer_files[];

/*
 * *same: every token of either model has the same id in the other. Models without tokenizer files
 * say nothing and agree with all.
 */
mc_status mc_same_vocabulary(const mc_model *a, const mc_model *b, bool *same, mc_error *error);

#endif
